//! One connection, fed with bytes by hand.

use super::*;
use crate::check::failure::{Failures, Sender};
use crate::check::sent::Sent;
use crate::drive::client::Demand;
use crate::figures::ledger::Ledger;
use crate::load::frame::Frame;
use crate::load::mix::Choice;
use crate::load::plan::tests::plan;
use crate::load::plan::{Mix, Span};
use crate::wire::{Framing, LineEnding};

const FRAMES: u32 = 6;

/// A connection that has sent all of its requests, whose answers have their length in front.
struct Bench {
    connection: Connection,
    desk: Desk,
    /// All right answers as they come.
    answers: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let mut plan = plan(Mix::Echo);
        plan.limits.framing = Framing::Length;
        plan.payload = Span { min: 20, max: 400 }.into();
        let now = Instant::now();
        let sent = Sent::none(plan.most_connections());
        let mut desk = Desk::new(&plan, sent, Ledger::new(Failures::new(false), now));
        let demand = Demand {
            frames: Some(FRAMES),
            paced: false,
            max_inflight: FRAMES as usize,
            retries: 0,
            last_frame_alone: false,
            reconnect: None,
            choice: Choice::NONE,
        };
        let (client, sender) = (1, Sender::Client(1));
        let client_state = Client::new(client, sender, demand, plan.seed, now);
        let mut connection = Connection::new(client_state, now);
        connection.fill_outbox(now, &mut desk);
        let mut answers = Vec::new();
        for sequence in 0..FRAMES {
            let start = answers.len();
            answers.extend_from_slice(desk.expectations.answer(Frame { client, sequence }));
            LineEnding::None.enclose(start, &mut answers);
        }
        Self {
            connection,
            desk,
            answers,
        }
    }

    fn give(&mut self, bytes: &[u8]) {
        self.connection.take(bytes, Instant::now(), &mut self.desk);
    }

    fn failures(&self) -> Vec<String> {
        self.desk.ledger.failures.first()
    }
}

#[test]
fn requests_have_their_length_in_front() {
    let bench = Bench::new();
    let mut rest = bench.connection.outbox.unsent();
    for sequence in 0..FRAMES {
        let (length, behind) = split_length(rest).expect("a length");
        let request = &behind[..length];
        let tag = format!("ECHO c1.f{sequence}.");
        assert!(
            request.starts_with(tag.as_bytes()),
            "{}",
            request.escape_ascii()
        );
        rest = &behind[length..];
    }
    assert!(rest.is_empty());
}

#[test]
fn answers_behind_lengths_are_verified_however_they_are_split() {
    let most = Bench::new().answers.len();
    for size in (1..32).chain([100, 333, most - 1, most]) {
        let mut bench = Bench::new();
        assert!(bench.answers.contains(&b'\n') && bench.answers.contains(&b'\r'));
        let answers = bench.answers.clone();
        for (number, part) in answers.chunks(size).enumerate() {
            assert!(!bench.connection.client.is_done(), "{size}: {number}");
            bench.give(part);
        }
        assert!(bench.connection.client.is_done(), "{size}");
        assert!(bench.connection.partial.is_empty(), "{size}");
        assert_eq!(
            bench.desk.ledger.clients.verified,
            u64::from(FRAMES),
            "{size}"
        );
        assert!(
            bench.failures().is_empty(),
            "{size}: {:?}",
            bench.failures()
        );
    }
}

#[test]
fn a_wrong_answer_behind_its_length_takes_no_other_with_it() {
    let mut bench = Bench::new();
    let mut answers = bench.answers.clone();
    answers.splice(..0, *b"\0\0\0\x02\n?\0\0\0\0");
    for part in answers.chunks(3) {
        bench.give(part);
    }
    assert!(bench.connection.client.is_done());
    let expected = [
        r#"client 1 frame 0: unexpected: got "\n?" before its own answer"#,
        r#"client 1 frame 1: unexpected: got "" before its own answer"#,
    ];
    assert_eq!(bench.failures(), expected);
}

#[test]
fn a_length_that_no_right_answer_has_ends_the_connection_at_once() {
    let mut bench = Bench::new();
    let (length, _) = split_length(&bench.answers).expect("a length");
    let first = bench.answers[..LENGTH_BYTES + length].to_vec();
    bench.give(&[&first, &b"ERR "[..]].concat());
    assert_eq!(bench.connection.phase(), Phase::Over);
    let expected = "client 1 frame 1: missing: given up at a length of 1163022880, which no \
                    right answer has, after 1 of 6 answers and half an answer, \"ERR \"";
    assert_eq!(bench.failures(), [expected]);
}

#[test]
fn the_longest_answer_that_is_waited_for_is_bounded() {
    let mut bench = Bench::new();
    let longest = longest_taken(&bench.desk) as u32;
    bench.give(&longest.to_be_bytes());
    assert!(bench.failures().is_empty());
    let mut bench = Bench::new();
    bench.give(&(longest + 1).to_be_bytes());
    assert_eq!(bench.connection.phase(), Phase::Over);
}

#[test]
fn a_connection_that_meets_itself_is_no_server() {
    use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, socket};
    let own = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&own, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    connect(&own, &getsockname(&own).expect("it is bound")).expect("simultaneous open");
    let stream = std::net::TcpStream::from(own);
    stream.set_nonblocking(true).expect("a socket");
    let mut bench = Bench::new();
    bench.connection.stream = Some(TcpStream::from_std(stream));
    let now = Instant::now();
    let finished = bench.connection.finish_connect(now, &mut bench.desk);
    let error = finished.expect_err("there is no server");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(bench.connection.phase(), Phase::Connecting);
}
