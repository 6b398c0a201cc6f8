//! A codec that makes any mistake there is, as its clients ask for: it panics, finds requests
//! where none can be, says what it did not say before.
//!
//! Knows the engine's doors and the codec's trait; a worker answers each request with its number.
//!
//! Rule: no mistake makes the engine panic or stand still, and a connection whose bytes bring none
//! is served as ever.

use super::Input;
use reactor_pool::Config;
use reactor_pool::codec::{Codec, Frame, NotOneResponse, Notes, Outcome, Refusal, Then};
use reactor_pool::engine::{Action, Engine, Kernel};
use reactor_pool::task::{Completion, ConnectionId, Outcomes, Task};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LONGEST_LIFE_STEPS: usize = 400;
/// What frames a good request: its kind, its number, and two bytes for the mistakes.
const HEAD_BYTES: usize = 4;
const GOOD: u8 = 0;
/// Good requests have lower numbers, so that a response is not taken for a refusal.
const LAST_NUMBER: u8 = b'!';
/// What the codec has written of a refusal when it panics.
const HALF_WORDS: u8 = b'?';

/// What the inputs have reached.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// Requests without a mistake that were answered.
    pub(crate) good: u64,
    /// Connections of the other client that were closed by a mistake, or after a last request.
    pub(crate) closed: u64,
    /// Requests of it that were run.
    pub(crate) run: u64,
}

/// A request is a kind, a number, two bytes more, and as many as the number says. The kinds from
/// 0x40 on are mistakes.
#[derive(Debug)]
struct Wild {
    /// Some answers change from call to call.
    is_fickle: bool,
    calls: AtomicUsize,
    has_panicked: AtomicBool,
}

impl Wild {
    /// Panics as a codec of somebody else's might; no hook is told, which would end a fuzzer.
    fn panics(&self) -> ! {
        self.has_panicked.store(true, Ordering::Relaxed);
        resume_unwind(Box::new("as the input asks"))
    }

    /// Whether a mistake is made this time.
    fn errs(&self) -> bool {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        !self.is_fickle || !calls.is_multiple_of(3)
    }
}

fn request(payload: std::ops::Range<usize>, bytes: usize, flags: usize) -> Frame {
    Frame::Request {
        payload,
        bytes,
        is_last: flags % 4 == 1,
        runs_alone: flags % 4 == 2,
    }
}

impl Codec for Wild {
    fn max_incomplete_bytes(&self) -> usize {
        HEAD_BYTES + 7
    }

    fn frame(&self, bytes: &[u8], _seen: usize, _notes: &mut Notes) -> Frame {
        let [kind, a, b, c, ..] = *bytes else {
            return Frame::Incomplete;
        };
        let [a, b, c] = [a, b, c].map(usize::from);
        let end = HEAD_BYTES + a % 8;
        let errs = kind >= 0x40 && self.errs();
        match kind {
            0x40 if errs => self.panics(),
            // What is no request when it is alone changes, too.
            0x41 if errs && (self.is_fickle || !(1..HEAD_BYTES).contains(&c)) => {
                request(a..b, c, 0)
            }
            0x42 if errs => request(0..bytes.len() + a, bytes.len() + b, c),
            0x43 if errs => Frame::Incomplete,
            0x44 if errs => Frame::Malformed {
                why: [Refusal::TooLong, Refusal::Malformed, Refusal::Busy][a % 3],
                bytes: b,
                then: [Then::Next, Then::Rest, Then::Close][c % 3],
            },
            _ if bytes.len() < end => Frame::Incomplete,
            0x45.. => request(HEAD_BYTES..end, end, b),
            _ => request(HEAD_BYTES..end, end, 0),
        }
    }

    fn skip(&self, bytes: &[u8]) -> Option<usize> {
        match bytes.first()? {
            0x40 => self.panics(),
            kind @ 0x41.. => Some(usize::from(*kind) - 0x41),
            _ => None,
        }
    }

    fn finish(
        &self,
        _: &[u8],
        _: &mut Vec<u8>,
        _: usize,
        _: bool,
    ) -> Result<Outcome, NotOneResponse> {
        unreachable!("no worker is here")
    }

    fn interim(&self, incomplete: &[u8]) -> &'static [u8] {
        match incomplete.first() {
            Some(0x40) => self.panics(),
            Some(0x46) => b"i",
            _ => b"",
        }
    }

    fn refuse(&self, _: Refusal, request: &[u8], out: &mut Vec<u8>) {
        if matches!(request, [0x46..=0xff, ..] | [0x44, 0x80..=0xff, ..]) {
            out.push(HALF_WORDS);
            self.panics();
        }
        out.push(b'!');
    }
}

/// One client, and what the engine has told it.
#[derive(Debug)]
struct Client {
    id: ConnectionId,
    has_ended: bool,
    is_shut: bool,
    received: Vec<u8>,
}

/// A kernel that has sent everything.
struct Nothing;

impl Kernel for Nothing {
    fn unread(&mut self, _: ConnectionId) -> usize {
        0
    }

    fn unacknowledged(&mut self, _: ConnectionId) -> usize {
        0
    }
}

struct Life {
    codec: Arc<Wild>,
    engine: Engine<Wild>,
    is_fickle: bool,
    now: Instant,
    good: Client,
    /// The numbers that the good client has sent.
    sent: u8,
    wild: Option<Client>,
    tasks: Vec<Task>,
    counts: Counts,
}

/// Lives the life that `data` says: a byte of limits, then one byte for each thing that happens
/// and one for how much of it; what the other client sends stands in between.
pub(crate) fn check(data: &[u8]) -> Counts {
    let mut input = Input(data);
    let mut life = Life::new(input.byte_or_zero());
    for _ in 0..LONGEST_LIFE_STEPS {
        let Some(what) = input.byte() else { break };
        let how = input.byte_or_zero();
        life.happens(what, how, &mut input);
        life.check();
    }
    life.come_to_its_end()
}

impl Life {
    fn new(choice: usize) -> Life {
        let is_fickle = choice % 4 == 3;
        let config = Config::default()
            .max_line(1 + choice % 9)
            .max_inflight(1 + choice / 4 % 5)
            .max_run([1, 3][choice / 32 % 2])
            .busy_timeout(Duration::from_millis(if choice < 128 {
                3_600_000
            } else {
                20
            }))
            .idle_timeout(Duration::ZERO);
        let codec = Arc::new(Wild {
            is_fickle,
            calls: AtomicUsize::new(0),
            has_panicked: AtomicBool::new(false),
        });
        let is_quick = Box::new(|payload: &[u8]| payload.len() % 2 == 1);
        let mut engine = Engine::new(config, Arc::clone(&codec), is_quick);
        let now = Instant::now();
        let good = Client::accept(&mut engine, now);
        Life {
            codec,
            engine,
            is_fickle,
            now,
            good,
            sent: 0,
            wild: None,
            tasks: Vec::new(),
            counts: Counts::default(),
        }
    }

    fn happens(&mut self, what: u8, how: usize, input: &mut Input<'_>) {
        match what % 16 {
            0..=6 => {
                let bytes = input.take(1 + how % 24);
                self.wild_sends(bytes);
            }
            7 | 8 => self.good_sends(how),
            9 => self.submit(1 + how % 4),
            10 | 11 => self.completes(how),
            12 => self.serve(),
            13 => {
                self.now += Duration::from_millis(how as u64);
                self.engine.expire(self.now, &mut Nothing);
            }
            14 => self.wild_ends(how),
            _ => self.serve(),
        }
    }

    fn wild_sends(&mut self, bytes: &[u8]) {
        let (engine, now) = (&mut self.engine, self.now);
        let wild = self.wild.get_or_insert_with(|| {
            self.codec.has_panicked.store(false, Ordering::Relaxed);
            Client::accept(engine, now)
        });
        if engine.next_action(wild.id, true) == Action::Read {
            // Where answers change, a worker may be the first to see the mistake.
            let has_panicked = self.codec.has_panicked.load(Ordering::Relaxed);
            assert!(!has_panicked || self.is_fickle, "it goes on after a panic");
            engine.received(wild.id, bytes, now);
        }
    }

    /// It resets the connection, or shuts its sending side.
    fn wild_ends(&mut self, how: usize) {
        let Some(wild) = &mut self.wild else { return };
        if !how.is_multiple_of(4) {
            wild.has_ended = true;
            return;
        }
        let removed = self.engine.remove(wild.id, self.now, "reset");
        assert!(removed.is_some());
        let id = wild.id;
        let is_kept = |task: &Task| task.connection != id;
        let (kept, withdrawn): (Vec<_>, Vec<_>) = self.tasks.drain(..).partition(is_kept);
        self.tasks = kept;
        self.engine.withdrawn(&withdrawn, self.now);
        self.wild = None;
    }

    /// The good client sends its next request, in two pieces or in one.
    fn good_sends(&mut self, how: usize) {
        let body = vec![self.sent; usize::from(self.sent % 8)];
        let frame = [&[GOOD, self.sent, 0, 0][..], &body].concat();
        let (first, second) = frame.split_at(how % frame.len());
        if self.sent == LAST_NUMBER || self.engine.next_action(self.good.id, true) != Action::Read {
            return;
        }
        self.sent += 1;
        self.engine.received(self.good.id, first, self.now);
        self.engine.received(self.good.id, second, self.now);
    }

    fn submit(&mut self, slots: usize) {
        self.engine.submit(slots, self.now, &mut self.tasks);
    }

    /// A worker is done with one of the tasks: each request is answered with its number.
    fn completes(&mut self, how: usize) {
        if self.tasks.is_empty() {
            return;
        }
        let task = self.tasks.swap_remove(how % self.tasks.len());
        let is_good = task.connection == self.good.id;
        let (mut responses, mut rest) = (Vec::new(), &task.run.frames[..]);
        for _ in task.run.span.sequences() {
            let number = rest.get(1).copied().unwrap_or_default();
            let end = HEAD_BYTES + usize::from(number % 8);
            rest = rest.get(end..).unwrap_or_default();
            responses.push(number.min(LAST_NUMBER));
        }
        assert!(!is_good || rest.is_empty(), "a run is whole requests");
        self.counts.run += u64::from(!is_good);
        let outcomes = Outcomes {
            ok: task.run.span.requests,
            ..Outcomes::default()
        };
        let completion = Completion {
            connection: task.connection,
            span: task.run.span,
            responses,
            outcomes,
            is_last: !is_good && how / 64 == 3,
            worker: 0,
            started_at: self.now,
            finished_at: self.now,
            is_overrun: false,
        };
        self.engine.completed(completion, self.now);
    }

    /// Does for each connection what the engine says.
    fn serve(&mut self) {
        let is_over = self.good.serve(&mut self.engine, self.now);
        assert!(!is_over || self.good.has_ended, "the good one is closed");
        if let Some(wild) = &mut self.wild
            && wild.serve(&mut self.engine, self.now)
        {
            self.engine.remove(wild.id, self.now, "closed");
            self.counts.closed += 1;
            self.wild = None;
        }
    }

    fn check(&self) {
        // Where answers change, no recount can be right.
        if !self.is_fickle {
            self.engine.check_invariants();
        }
        let expected: Vec<u8> = (0..self.sent).collect();
        let got = &self.good.received;
        let is_served = |got: &u8, sent: &u8| *got == *sent || *got == b'!';
        assert!(got.len() <= expected.len());
        assert!(
            got.iter()
                .zip(&expected)
                .all(|(got, sent)| is_served(got, sent)),
            "{got:?}"
        );
    }

    fn come_to_its_end(mut self) -> Counts {
        for _ in 0..1000 {
            self.serve();
            self.submit(usize::MAX);
            self.completes(0);
            self.check();
            let is_answered = self.good.received.len() == usize::from(self.sent);
            self.good.has_ended = is_answered;
            if let Some(wild) = &mut self.wild {
                wild.has_ended = true;
            }
            if is_answered && self.wild.is_none() && self.tasks.is_empty() {
                self.counts.good = self.good.received.len() as u64;
                return self.counts;
            }
        }
        panic!(
            "it does not come to its end: {:?} {:?}",
            self.good, self.wild
        );
    }
}

impl Client {
    fn accept(engine: &mut Engine<Wild>, now: Instant) -> Client {
        Client {
            id: engine.accept(now).id,
            has_ended: false,
            is_shut: false,
            received: Vec::new(),
        }
    }

    /// Does what the engine says, as far as there is something to do; whether it says to close.
    fn serve(&mut self, engine: &mut Engine<Wild>, now: Instant) -> bool {
        let unsent = engine.unsent(self.id).to_vec();
        engine.sent(self.id, unsent.len(), now);
        assert!(!unsent.contains(&HALF_WORDS), "{unsent:?}");
        self.received.extend(unsent);
        match engine.next_action(self.id, self.has_ended) {
            Action::Read | Action::Discard if self.has_ended => engine.received_end(self.id, now),
            Action::Read | Action::Discard | Action::Wait => {}
            Action::ReadHeader => panic!("no header is expected"),
            Action::ShutDown => {
                assert!(!self.is_shut, "shut twice");
                self.is_shut = true;
                engine.shut_down(self.id, now);
            }
            Action::Close { .. } => return true,
        }
        false
    }
}
