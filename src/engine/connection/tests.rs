//! A connection by itself: which requests travel together.
//!
//! Knows no engine around it.
//!
//! Rule: the runs are those of a definition line by line, however the bytes are split.

use super::order::RUN_BYTES;
use super::*;
use crate::codec::{Frame, Guarded, Lines, NotOneResponse, Notes, Outcome};
use crate::engine::IsQuick;
use crate::engine::admission::Admission;
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::{Arc, mpsc};

/// Lines that begin with a `q` are quick; the receiver gets each line that is asked about.
fn rules(config: Config) -> (Rules<Lines>, mpsc::Receiver<Vec<u8>>) {
    let (asked, all_asked) = mpsc::channel();
    let is_quick: IsQuick = Box::new(move |line| {
        asked.send(line.to_vec()).expect("the test listens");
        line.starts_with(b"q")
    });
    let codec = Guarded::new(Arc::new(Lines::new(config.max_line)));
    let rules = Rules {
        config,
        codec,
        is_quick,
    };
    (rules, all_asked)
}

fn connection(now: Instant) -> Connection {
    let id = ConnectionId::new(1, 0);
    Connection::new(id, Admission::default().ticket(now), usize::MAX, now)
}

/// Gives slots to all that wait, and answers it. Adds to `got` which lines came together.
fn answer(
    connection: &mut Connection,
    rules: &Rules<impl Codec>,
    now: Instant,
    got: &mut Vec<Vec<Vec<u8>>>,
) -> Counts {
    let submit = || connection.order.submit(usize::MAX, &rules.codec, now);
    let runs: Vec<_> = std::iter::from_fn(submit).collect();
    let mut counts = Counts::default();
    for run in runs {
        let requests = rules.codec.checked().all(&run.frames).flatten();
        let lines: Vec<_> = requests.map(|whole| whole.payload.to_vec()).collect();
        assert_eq!(lines.len(), run.span.requests);
        let quick = |line: &Vec<u8>| line.starts_with(b"q") == run.is_quick;
        assert!(lines.iter().all(quick));
        connection
            .order
            .fill(run.span, b"\n".repeat(run.span.requests), now);
        got.push(lines);
    }
    connection.advance(rules, now, &mut counts);
    let unsent = connection.outbox.unsent().len();
    connection.outbox.sent(unsent, |_, _| ());
    counts
}

/// The definition of the runs, line by line. When a line finds no place, all before it are
/// answered.
fn runs(lines: &[(Vec<u8>, bool)], config: &Config) -> Vec<Vec<Vec<u8>>> {
    let (mut runs, mut places, mut bytes) = (Vec::<Vec<Vec<u8>>>::new(), 0, 0);
    let mut run_bytes = 0;
    for (line, has_cr) in lines {
        let frame_bytes = line.len() + 1 + usize::from(*has_cr);
        let blocked = places == config.max_inflight || bytes + line.len() > 2 * config.max_line;
        if blocked {
            (places, bytes) = (0, 0);
        }
        (places, bytes) = (places + 1, bytes + line.len());
        let run = runs.last_mut().filter(|run| {
            !blocked
                && line.starts_with(b"q")
                && run[0].starts_with(b"q")
                && run.len() < config.max_run
                && run_bytes + frame_bytes <= RUN_BYTES
        });
        match run {
            Some(run) => {
                run.push(line.clone());
                run_bytes += frame_bytes;
            }
            None => {
                runs.push(vec![line.clone()]);
                run_bytes = frame_bytes;
            }
        }
    }
    runs
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 0..20usize, 1 => 4000..6000usize, 1 => 16_200..16_500usize];
    let first = prop::sample::select(b"qqqqs".to_vec());
    (first, length).prop_map(|(first, length)| [vec![first], vec![b'x'; length]].concat())
}

proptest! {
    #[test]
    fn runs_are_the_same_as_line_by_line_however_the_bytes_are_split(
        lines in prop::collection::vec((line(), prop::bool::weighted(0.1)), 1..60),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
        max_run in 2..9usize,
        max_inflight in 1..40usize,
    ) {
        let config = Config::default().max_run(max_run).max_inflight(max_inflight);
        let (rules, asked) = rules(config.max_line(20_000));
        let mut bytes = Vec::new();
        for (line, has_cr) in &lines {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(if *has_cr { b"\r\n" } else { b"\n" });
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let now = Instant::now();
        let mut connection = connection(now);
        let (mut got, mut framed) = (Vec::new(), 0);
        for cut in cuts.windows(2) {
            let chunk = &bytes[cut[0]..cut[1]];
            framed += connection.receive(chunk, &rules, now).framed;
            connection.counted_bytes = connection.buffered_bytes();
            connection.counted_waiting = connection.order.waiting();
            connection.check_invariants(&rules);
            while connection.input.is_blocked() {
                framed += answer(&mut connection, &rules, now, &mut got).framed;
            }
        }
        framed += answer(&mut connection, &rules, now, &mut got).framed;
        prop_assert_eq!(framed, lines.len());
        let asked_about = asked.try_iter();
        prop_assert!(asked_about.eq(lines.iter().map(|(line, _)| line.clone())), "each line is asked about once");
        prop_assert_eq!(got, runs(&lines, &rules.config));
    }
}

#[test]
fn a_line_that_is_too_long_has_its_place_between_those_around_it() {
    let (rules, _asked) = rules(Config::default().max_line(9));
    let now = Instant::now();
    let mut connection = connection(now);
    let chunks = [&b"q1\nq2\nxxxxxxxxxx\nq4\nyyyyyyyyyyyy"[..], b"y\nq6\nq7\n"];
    for chunk in chunks {
        connection.receive(chunk, &rules, now);
    }
    let runs = std::iter::from_fn(|| connection.order.submit(9, &rules.codec, now));
    let runs: Vec<_> = runs.map(|run| (run.span.first.0, run.frames)).collect();
    let expected = [(1, &b"q1\nq2\n"[..]), (4, b"q4\n"), (6, b"q6\nq7\n")];
    assert_eq!(runs, expected.map(|(first, lines)| (first, lines.to_vec())));
}

/// Lines; whoever has sent a part of one is told to go on.
#[derive(Debug)]
struct GoOn(Lines);

impl Codec for GoOn {
    fn max_incomplete_bytes(&self) -> usize {
        self.0.max_incomplete_bytes()
    }

    fn frame(&self, bytes: &[u8], seen: usize, notes: &mut Notes) -> Frame {
        self.0.frame(bytes, seen, notes)
    }

    fn interim(&self, _: &[u8]) -> &'static [u8] {
        b"go on\n"
    }

    fn finish(
        &self,
        request: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        closes: bool,
    ) -> Result<Outcome, NotOneResponse> {
        self.0.finish(request, out, start, closes)
    }

    fn refuse(&self, why: Refusal, request: &[u8], out: &mut Vec<u8>) {
        self.0.refuse(why, request, out);
    }
}

#[test]
fn a_client_is_told_to_go_on_as_soon_as_there_is_room_for_what_it_has_begun() {
    let config = Config::default().max_inflight(1);
    let rules = Rules {
        codec: Guarded::new(Arc::new(GoOn(Lines::new(config.max_line)))),
        config,
        is_quick: Box::new(|_| false),
    };
    let now = Instant::now();
    let mut connection = connection(now);
    connection.receive(b"one\ntw", &rules, now);
    let run = connection.order.submit(1, &rules.codec, now);
    // More than may be unsent while anything is framed.
    let response = vec![b'x'; UNSENT_LIMIT_BYTES + 1];
    let all = response.len();
    let span = run.expect("it waits").span;
    connection.complete(span, response, false, &rules, now);
    assert_eq!(connection.outbox.unsent().len(), all);
    connection.sent(all, &rules, now, |_, _| ());
    assert_eq!(connection.outbox.unsent(), b"go on\n");
}

#[test]
fn no_request_is_awaited_behind_the_end_of_the_stream() {
    let timeout = Duration::from_secs(1);
    let config = Config::default().max_line(3).request_timeout(timeout);
    let (rules, _asked) = rules(config);
    let now = Instant::now();
    let mut connection = connection(now);
    // The rest of a line that is too long is awaited, and thrown away.
    connection.receive(b"too long", &rules, now);
    let unsent = connection.outbox.unsent().len();
    connection.sent(unsent, &rules, now, |_, _| ());
    let awaited_until = |connection: &Connection| connection.deadline(&rules.config, now);
    assert_eq!(awaited_until(&connection), Some(now + timeout));
    let framed = connection.receive_end(&rules, now);
    assert_eq!(framed, Ok(Counts::default()));
    assert!(awaited_until(&connection).is_none_or(|at| at > now + timeout));
}

#[cfg(feature = "http")]
#[test]
fn what_stands_between_quick_requests_does_not_travel_with_them() {
    let config = Config::default();
    let rules = Rules {
        codec: Guarded::new(Arc::new(crate::codec::Http1::new(9))),
        config,
        is_quick: Box::new(|_| true),
    };
    let now = Instant::now();
    let mut connection = connection(now);
    let [a, b] = ["/a", "/b"].map(|target| format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n"));
    connection.receive(format!("\r\n{a}\r\n{b}{a}\r").as_bytes(), &rules, now);
    connection.receive(format!("\n{b}").as_bytes(), &rules, now);
    let runs = std::iter::from_fn(|| connection.order.submit(9, &rules.codec, now));
    let frames: Vec<u8> = runs.flat_map(|run| run.frames).collect();
    assert_eq!(frames, format!("{a}{b}{a}{b}").into_bytes());
}
