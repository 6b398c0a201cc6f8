//! One client, fed with lines by hand.

mod anew;

use super::*;
use crate::check::failure::Failures;
use crate::check::oracle::BUSY;
use crate::check::sent::Sent;
use crate::drive::client::lengths::Taken;
use crate::drive::outbox::Outbox;
use crate::figures::latencies::Latencies;
use crate::load::plan::tests::plan;
use crate::load::plan::{Arrivals, Load, Mix, OpenLoop, Plan, Requests, Span};
use crate::load::template::Exchange;

/// A client, and a server that says what the test says.
struct Bench {
    client: Client,
    desk: Desk,
    now: Instant,
    sent: Vec<u32>,
}

impl Bench {
    fn new(max_inflight: usize, frames: u32) -> Self {
        let mut plan = plan(Mix::Echo);
        plan.payload = Span { min: 20, max: 40 }.into();
        plan.max_inflight = max_inflight;
        plan.load = Load::Frames(frames);
        Self::with(&plan)
    }

    /// A client whose answers are told apart by their lengths.
    fn of_lengths(max_inflight: usize, frames: u32) -> Self {
        let mut plan = plan(Mix::Echo);
        let exchange = Exchange::parse(r"{c:2}{n:4}", r"<{c:2}\n{n:4}\n>");
        plan.requests = Requests::Template(exchange.expect("both templates are well formed"));
        plan.max_inflight = max_inflight;
        plan.load = Load::Frames(frames);
        Self::with(&plan)
    }

    /// A client that goes on with another connection.
    fn reconnecting(max_inflight: usize, frames: u32) -> Self {
        let mut plan = plan(Mix::Echo);
        plan.payload = Span { min: 20, max: 40 }.into();
        plan.max_inflight = max_inflight;
        plan.load = Load::Frames(frames);
        plan.reconnect = true;
        Self::with(&plan)
    }

    fn with(plan: &Plan) -> Self {
        let now = Instant::now();
        let sent = Sent::none(plan.most_connections());
        let desk = Desk::new(plan, sent, Ledger::new(Failures::new(false), now));
        let demand = Demand {
            frames: plan.load.frames(),
            paced: matches!(plan.load, Load::Rate(_)),
            max_inflight: plan.max_inflight,
            retries: plan.retries,
            last_frame_alone: desk.expectations.last_frame_may_end_the_stream(1),
            reconnect: plan.reconnect.then_some(plan.timeout),
            choice: plan.requests.choice(false, plan.seed),
        };
        Self {
            client: Client::new(1, Sender::Client(1), demand, plan.seed, now),
            desk,
            now,
            sent: Vec::new(),
        }
    }

    /// Sends what the client will send now.
    fn send(&mut self) -> Vec<u32> {
        let before = self.sent.len();
        while let Some((what, count)) = self.client.next_tries(self.now) {
            let mut frame = self.client.frame(what);
            let mut ends_stream = false;
            for _ in 0..count {
                let expectations = &mut self.desk.expectations;
                ends_stream = expectations.append_request(frame, &mut Vec::new());
                let offset = self.sent.len() as u64;
                self.client.placed(offset..offset + 1);
                self.sent.push(frame.sequence);
                frame.sequence += 1;
            }
            let (offset, ledger) = (self.sent.len() as u64, &mut self.desk.ledger);
            self.client.queued(what, ends_stream, self.now, ledger);
            self.client.written_up_to(offset, self.now, ledger);
        }
        self.sent[before..].to_vec()
    }

    fn say(&mut self, line: &[u8]) -> Next {
        let next = self.client.on_line(line, self.now, &mut self.desk);
        self.client.book(&mut self.desk.ledger);
        next
    }

    /// Takes one answer off the beginning of `bytes`.
    fn give(&mut self, bytes: &[u8]) -> Taken {
        let taken = self.client.on_bytes(bytes, self.now, &mut self.desk);
        self.client.book(&mut self.desk.ledger);
        taken
    }

    /// The right answer to a frame of this client.
    fn answer(&mut self, sequence: u32) {
        self.answer_of(1, sequence);
    }

    fn answer_of(&mut self, client: u32, sequence: u32) {
        let line = self
            .desk
            .expectations
            .answer(Frame { client, sequence })
            .to_vec();
        assert_eq!(self.say(&line), Next::Continue);
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// Ends the connection before its time.
    fn cut(&mut self, rest: &[u8]) {
        self.client
            .on_cut("cut", rest, self.now, &mut self.desk.ledger);
    }

    /// Ends the connection and returns what was wrong.
    fn failures(mut self) -> Vec<String> {
        self.client
            .on_end("closed", b"", self.now, &mut self.desk.ledger);
        self.desk.ledger.clients.assert_balanced();
        self.desk.ledger.failures.first()
    }
}

#[test]
fn no_more_than_max_inflight_are_under_way() {
    let mut bench = Bench::new(3, 5);
    assert_eq!(bench.send(), [0, 1, 2]);
    bench.answer(0);
    assert_eq!(bench.send(), [3]);
    for sequence in 1..4 {
        bench.answer(sequence);
    }
    assert_eq!(bench.send(), [4]);
    assert!(!bench.client.is_done());
    bench.answer(4);
    assert!(bench.client.is_done());
    assert_eq!(bench.desk.ledger.clients.verified, 5);
    assert!(bench.failures().is_empty());
}

#[test]
fn a_refused_frame_is_sent_again_after_its_backoff_and_answered_in_its_new_place() {
    let mut bench = Bench::new(2, 3);
    assert_eq!(bench.send(), [0, 1]);
    assert_eq!(bench.say(BUSY), Next::Continue);
    assert!(
        bench.send().is_empty(),
        "a waiting retry counts as under way"
    );
    bench.answer(1);
    assert_eq!(bench.send(), [2]);
    bench.wait(10);
    assert_eq!(bench.send(), [0]);
    bench.answer(2);
    bench.answer(0);
    assert!(bench.client.is_done());
    assert_eq!(bench.desk.ledger.clients.busy_answers, 1);
    assert_eq!(bench.desk.ledger.clients.verified, 3);
    assert!(bench.failures().is_empty());
}

#[test]
fn an_overtaken_frame_is_swapped_if_its_answer_still_comes() {
    let mut bench = Bench::new(4, 4);
    bench.send();
    for sequence in [2, 0, 1, 3] {
        bench.answer(sequence);
    }
    assert!(bench.client.is_done());
    let expected = [
        "client 1 frame 0: swapped: got the answer to frame 2, its own came later",
        "client 1 frame 1: swapped: got the answer to frame 2, its own came later",
    ];
    assert_eq!(bench.failures(), expected);
}

#[test]
fn an_overtaken_frame_is_missing_if_its_answer_never_comes() {
    let mut bench = Bench::new(4, 4);
    bench.send();
    for sequence in [0, 2, 3] {
        bench.answer(sequence);
    }
    assert!(bench.client.is_done());
    let expected = "client 1 frame 1: missing: no answer, the next one was the answer to frame 2";
    assert_eq!(bench.failures(), [expected]);
}

#[test]
fn a_foreign_answer_is_traced_to_its_client() {
    let mut bench = Bench::new(2, 2);
    bench.desk.expectations.append_request(
        Frame {
            client: 3,
            sequence: 0,
        },
        &mut Vec::new(),
    );
    bench.send();
    bench.answer_of(3, 0);
    bench.answer(1);
    assert!(bench.client.is_done());
    let expected = "client 1 frame 0: foreign: got the answer to hog 0 frame 0";
    assert_eq!(bench.failures(), [expected]);
}

#[test]
fn an_answer_in_place_of_another_is_repeated_and_missing() {
    let mut bench = Bench::new(3, 3);
    bench.send();
    for sequence in [0, 0, 2] {
        bench.answer(sequence);
    }
    let expected = [
        "client 1 frame 1: repeated: got again the answer to frame 0",
        "client 1 frame 1: missing: no answer, the next one was the answer to frame 2",
    ];
    assert_eq!(bench.failures(), expected);
}

#[test]
fn a_late_answer_is_missing_and_not_taken_for_another() {
    let timeout = Duration::from_secs(10);
    let mut bench = Bench::new(1, 3);
    bench.send();
    bench.wait(9_999);
    let patience = Patience::new(timeout);
    assert!(!bench.client.is_overdue(&patience, bench.now));
    bench.wait(1);
    assert!(bench.client.is_overdue(&patience, bench.now));
    let next = bench
        .client
        .on_timeout(timeout, bench.now, &mut bench.desk.ledger);
    assert_eq!(next, Next::Continue);
    assert_eq!(bench.send(), [1]);
    bench.wait(2000);
    bench.answer(0);
    bench.answer(1);
    assert_eq!(bench.send(), [2]);
    bench.answer(2);
    let expected = "client 1 frame 0: missing: its answer came too late, after 12.0 s";
    assert_eq!(bench.failures(), [expected]);
}

#[test]
fn two_timeouts_in_a_row_give_the_connection_up() {
    let timeout = Duration::from_secs(10);
    let mut bench = Bench::new(1, 30);
    bench.send();
    bench.wait(10_000);
    assert_eq!(
        bench
            .client
            .on_timeout(timeout, bench.now, &mut bench.desk.ledger),
        Next::Continue
    );
    bench.send();
    bench.wait(10_000);
    assert_eq!(
        bench
            .client
            .on_timeout(timeout, bench.now, &mut bench.desk.ledger),
        Next::Abandon
    );
    assert!(bench.client.is_done());
    assert_eq!(bench.desk.ledger.failures.total(), 30);
}

#[test]
fn the_end_of_the_connection_loses_all_that_is_outstanding() {
    let mut bench = Bench::new(4, 100);
    bench.send();
    bench.answer(0);
    bench.send();
    assert_eq!(bench.say(BUSY), Next::Continue);
    bench
        .client
        .on_end("closed", b"OK c1", bench.now, &mut bench.desk.ledger);
    assert!(bench.client.is_done());
    assert_eq!(bench.desk.ledger.failures.total(), 99);
    // Of 4 that were sent one waited for its retry; 95 were not sent.
    let cause = "closed after 1 of 100 answers and half an answer, \"OK c1\"";
    let texts = [("1: missing", cause), ("5: unsent", cause)];
    let texts = texts.map(|(what, cause)| format!("client 1 frame {what}: {cause}"));
    assert_eq!(bench.desk.ledger.failures.first(), texts);
    let tally = &bench.desk.ledger.clients;
    assert_eq!((tally.missing, tally.unsent, tally.cut_off), (4, 95, 95));
}

#[test]
fn a_frame_that_may_end_the_stream_waits_for_all_others() {
    let mut plan = plan(Mix::Errors);
    plan.load = Load::Frames(3);
    let mut bench = Bench::with(&plan);
    assert_eq!(bench.send(), [0, 1]);
    bench.answer(0);
    assert!(bench.send().is_empty());
    bench.answer(1);
    assert_eq!(bench.send(), [2]);
}

#[test]
fn service_time_counts_from_the_last_byte_written_and_latency_from_the_intention() {
    let mut bench = Bench::new(2, 2);
    let (what, count) = bench.client.next_tries(bench.now).expect("frames");
    assert_eq!(count, 2);
    bench.client.placed(0..100);
    bench.client.placed(100..200);
    let ledger = &mut bench.desk.ledger;
    bench.client.queued(what, false, bench.now, ledger);
    bench.wait(50);
    bench
        .client
        .written_up_to(199, bench.now, &mut bench.desk.ledger);
    bench.wait(50);
    bench
        .client
        .written_up_to(200, bench.now, &mut bench.desk.ledger);
    bench.wait(10);
    bench.answer(0);
    bench.answer(1);
    let tally = &bench.desk.ledger.clients;
    let ms = |latencies: &Latencies| {
        let shortest = latencies.shortest().expect("an answer");
        (shortest.as_millis(), latencies.longest().as_millis())
    };
    assert_eq!(ms(&tally.service), (10, 60));
    assert_eq!(ms(&tally.send_lag), (50, 100));
    assert_eq!(ms(&tally.latencies), (110, 110));
    assert!(tally.occupancy.little().holds);
}

fn paced(max_inflight: usize) -> Bench {
    let mut plan = plan(Mix::Echo);
    plan.payload = Span { min: 20, max: 40 }.into();
    plan.max_inflight = max_inflight;
    plan.retries = 1;
    let second = Duration::from_secs(1);
    plan.load = Load::Rate(OpenLoop::steady(10.0, Arrivals::Uniform, second));
    Bench::with(&plan)
}

#[test]
fn a_paced_client_sends_what_it_is_offered_and_counts_from_when_that_was_due() {
    let mut bench = paced(2);
    assert!(bench.send().is_empty());
    let due = bench.now;
    bench.wait(700);
    bench.client.offer(due);
    assert!(bench.client.has_room());
    bench.client.offer(due);
    assert!(!bench.client.has_room());
    assert_eq!(bench.send(), [0, 1]);
    bench.wait(5);
    bench.answer(0);
    assert!(bench.client.has_room());
    let tally = &bench.desk.ledger.clients;
    assert_eq!(tally.latencies.longest(), Duration::from_millis(705));
    assert_eq!(tally.service.longest(), Duration::from_millis(5));
    bench.client.stop();
    assert!(!bench.client.is_done());
    bench.answer(1);
    assert!(bench.client.is_done());
    assert!(bench.failures().is_empty());
}

#[test]
fn a_retried_frame_keeps_the_time_that_it_was_due() {
    let mut bench = paced(1);
    bench.client.offer(bench.now);
    assert_eq!(bench.send(), [0]);
    bench.wait(100);
    assert_eq!(bench.say(BUSY), Next::Continue);
    bench.wait(10);
    assert_eq!(bench.send(), [0]);
    bench.wait(3);
    bench.answer(0);
    let tally = &bench.desk.ledger.clients;
    assert_eq!(tally.latencies.longest(), Duration::from_millis(113));
    assert_eq!(tally.service.longest(), Duration::from_millis(3));
    assert_eq!(tally.busy_latencies.longest(), Duration::from_millis(100));
    assert_eq!((tally.sent, tally.retries), (1, 1));
}

#[test]
fn what_gets_no_answer_stays_in_the_latencies_as_at_least_its_age() {
    let mut bench = paced(3);
    for _ in 0..3 {
        bench.client.offer(bench.now);
        bench.wait(100);
    }
    bench.send();
    bench.answer(0);
    bench.wait(700);
    bench
        .client
        .on_end("closed", b"", bench.now, &mut bench.desk.ledger);
    let tally = &bench.desk.ledger.clients;
    assert_eq!((tally.verified, tally.missing), (1, 2));
    assert_eq!(tally.latencies.unanswered(), 2);
    assert_eq!(tally.latencies.count(), 3);
    assert_eq!(tally.latencies.longest(), Duration::from_millis(900));
    tally.assert_balanced();
}

#[test]
fn a_server_that_says_nonsense_only_costs_bounded_memory() {
    let mut bench = Bench::new(1, 1000);
    for _ in 0..1000 {
        bench.send();
        assert_eq!(bench.say(b"nonsense"), Next::Continue);
        assert!(bench.client.doubts.len() <= MAX_DOUBTS);
    }
    assert!(bench.client.is_done());
    bench
        .client
        .settle_doubts(bench.now, &mut bench.desk.ledger);
    assert_eq!(bench.desk.ledger.failures.total(), 1000);
}

#[test]
fn an_answer_is_taken_when_all_of_its_bytes_are_there() {
    let mut bench = Bench::of_lengths(2, 2);
    bench.send();
    for part in [&b"<"[..], b"<01\n", b"<01\n0000\n"] {
        assert_eq!(bench.give(part), Taken::Nothing);
    }
    assert_eq!(bench.give(b"<01\n0000\n><01"), Taken::Answer(10));
    assert_eq!(bench.give(b"<01\n0001\n>"), Taken::Answer(10));
    assert!(bench.client.is_done());
    assert_eq!(bench.desk.ledger.clients.verified, 2);
    assert!(bench.failures().is_empty());
}

#[test]
fn answers_of_known_lengths_are_traced_like_lines() {
    let mut bench = Bench::of_lengths(6, 6);
    let (client, sequence) = (2, 0);
    let other = Frame { client, sequence };
    bench
        .desk
        .expectations
        .append_request(other, &mut Vec::new());
    bench.send();
    // The first half of the next but one is nothing yet.
    assert_eq!(bench.give(b"<01\n0001"), Taken::Nothing);
    for answer in ["01\n0001", "01\n0000", "02\n0000", "01\n0003", "01\n0001"] {
        let bytes = format!("<{answer}\n><0");
        assert_eq!(bench.give(bytes.as_bytes()), Taken::Answer(10), "{answer}");
    }
    assert_eq!(bench.give(b"<01\n0005\n>"), Taken::Answer(10));
    let expected = [
        "client 1 frame 0: swapped: got the answer to frame 1, its own came later",
        "client 1 frame 4: repeated: got again the answer to frame 1",
        "client 1 frame 2: foreign: got the answer to client 2 frame 0",
        "client 1 frame 4: missing: no answer, the next one was the answer to frame 5",
    ];
    assert_eq!(bench.failures(), expected);
}

#[test]
fn bytes_that_are_no_answer_end_a_connection_of_lengths() {
    for (bytes, shown) in [
        (&b"-ERR"[..], r#""-ERR" (first difference at byte 1)"#),
        (b"<01\n0X", r#""<01\n0X" (first difference at byte 6)"#),
    ] {
        let mut bench = Bench::of_lengths(2, 5);
        bench.send();
        assert_eq!(bench.give(bytes), Taken::Abandon);
        let expected = [
            format!(r#"client 1 frame 0: altered: expected "<01\n0000\n>" got {shown}"#),
            "client 1 frame 1: missing: connection given up, as the next answer may begin \
             anywhere, after 0 of 5 answers"
                .to_owned(),
            "client 1 frame 2: unsent: connection given up, as the next answer may begin \
             anywhere, after 0 of 5 answers"
                .to_owned(),
        ];
        assert_eq!(bench.failures(), expected);
    }
}

#[test]
fn bytes_that_no_request_asked_for_are_unexpected_whatever_their_length() {
    let mut bench = Bench::of_lengths(1, 1);
    bench.send();
    assert_eq!(bench.give(b"<01\n0000\n>?!"), Taken::Answer(10));
    assert_eq!(bench.give(b"?!"), Taken::Answer(2));
    let expected = r#"client 1 after 1 frames: unexpected: got "?!" when no answer was due"#;
    assert_eq!(bench.failures(), [expected]);
}

#[test]
fn answers_of_one_read_are_entered_each_with_its_own_time() {
    let mut bench = Bench::new(3, 4);
    assert_eq!(bench.send(), [0, 1, 2]);
    bench.wait(3);
    bench.answer(0);
    assert_eq!(bench.send(), [3]);
    bench.wait(2);
    for sequence in 1..4 {
        let (client, desk) = (1, &mut bench.desk);
        let frame = Frame { client, sequence };
        let line = [desk.expectations.answer(frame), b"\n"].concat();
        let taken = bench
            .client
            .take_due_line(&line, &Outbox::default(), bench.now, desk);
        assert_eq!(taken, Some(line.len()));
    }
    bench.client.book(&mut bench.desk.ledger);
    // Of 3, 5, 5 and 2 ms.
    let latencies = &bench.desk.ledger.clients.latencies;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    assert_eq!((latencies.count(), ms(latencies.mean())), (4, 3.75));
    assert_eq!(
        (latencies.shortest().map(ms), ms(latencies.longest())),
        (Some(2.0), 5.0)
    );
    assert!(bench.desk.ledger.clients.occupancy.little().holds);
    assert!(bench.failures().is_empty());
}

#[test]
fn a_line_that_only_begins_with_the_answer_is_not_taken_for_it() {
    let mut bench = Bench::new(1, 2);
    bench.send();
    let (client, sequence) = (1, 0);
    let answer = bench.desk.expectations.answer(Frame { client, sequence });
    let (answer, longer) = (answer.to_vec(), [answer, b"x\n"].concat());
    let mut take = |bytes: &[u8]| {
        bench
            .client
            .take_due_line(bytes, &Outbox::default(), bench.now, &mut bench.desk)
    };
    assert_eq!(take(&longer), None);
    assert_eq!(take(&answer), None, "its end has not come");
    assert_eq!(
        take(&[&answer, &b"\nOK"[..]].concat()),
        Some(answer.len() + 1)
    );
}
