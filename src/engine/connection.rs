//! One connection as pure state: what it may read, what it owes, how it ends.
//!
//! Knows no socket, no other connection and no queue.
//!
//! Rule: every bound of promise 5 is held here, by not framing and not reading.

use super::Rules;
use super::admission::Turn;
use super::framing::{Frame, Framer};
use super::order::Order;
use super::outbox::Outbox;
use super::trace::trace_each;
use crate::config::Config;
use crate::stats::Stats;
use crate::task::ConnectionId;
use crate::wire::ErrorLine;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// A connection with more unsent output than this is neither framed nor read on.
pub const UNSENT_LIMIT_BYTES: usize = 65_536;

/// How long a connection that is over may still take its last words and send what nobody reads.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// While a client has not taken all that was written, it is looked at so often within a timeout
/// whether it goes on taking: the clock of the timeout is at most that part of it wrong.
pub(super) const LOOKS_PER_TIMEOUT: u32 = 8;
/// How much of that is read: no honest client has more under way than the buffers of two hosts.
/// What comes beyond waits in the socket, and slows its sender, until the time is up.
pub(super) const LINGER_LIMIT_BYTES: usize = 64 << 20;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests may come.
    Serving,
    /// Nothing more is read; what is owed is written, then the sending side is shut.
    Ending {
        /// When to give up writing; none where the drain timeout sees to it.
        by: Option<Instant>,
    },
    /// The sending side is shut; what still comes is read and thrown away, until the client has
    /// taken nothing for [`LINGER_TIMEOUT`].
    Lingering {
        /// The server drains: what has not been taken is waited for, and the drain timeout sees to it.
        drains: bool,
        /// How much more may be thrown away.
        left_bytes: usize,
    },
    /// To be closed at once.
    Over {
        /// What the log says of it.
        why: &'static str,
    },
}

impl Phase {
    /// The server drains, and this connection has been cut off from sending.
    pub(super) fn drains(self) -> bool {
        matches!(
            self,
            Phase::Ending { by: None } | Phase::Lingering { drains: true, .. }
        )
    }
}

/// Why a connection that had bytes to read was not read: it must be attended when that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadPause {
    None,
    /// One of its own bounds was reached.
    OwnBounds,
    /// The budget of all connections was spent, and it owed something.
    Budget,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) phase: Phase,
    /// The client has shut its sending side, and all it sent has been read.
    pub(super) peer_finished: bool,
    framer: Framer,
    /// Bytes read and, for want of a place in the order, not framed yet: those from `unframed_from`
    /// on. While there are any, nothing more is read.
    unframed: Vec<u8>,
    unframed_from: usize,
    pub(super) order: Order,
    pub(super) outbox: Outbox,

    pub(super) opened_at: Instant,
    /// When response bytes were last written or seen to be taken, the last request was answered, the
    /// sending side was shut, or the connection opened.
    pub(super) last_progress: Instant,
    /// Written bytes that the client is known to have taken.
    taken: u64,
    /// It is idle, unless the bytes that had come by then bring a request: so many are to be read.
    pub(super) idle_unless: Option<u32>,
    /// When it last got a queue slot.
    pub(super) last_slot_at: Instant,
    /// Its place in the round of those that wait for a slot.
    pub(super) last_turn: Turn,
    pub(super) bytes_in: u64,

    /// It was refused on arrival, and does not count against the connection limit.
    pub(super) refused: bool,
    /// Its place in the deadlines, if it has one.
    pub(super) armed: Option<Instant>,
    /// It stands on the attention list.
    pub(super) attended: bool,
    pub(super) read_pause: ReadPause,
    /// What it added to the engine's count of buffered bytes.
    pub(super) counted_bytes: usize,
}

impl Rules {
    /// Whether the handler calls a line quick. Where no line shares a run it is not asked.
    fn is_quick(&self, line: &[u8]) -> bool {
        self.config.max_run > 1 && (self.is_quick)(line)
    }
}

impl Connection {
    pub(super) fn new(id: ConnectionId, turn: Turn, max_line: usize, now: Instant) -> Connection {
        Connection {
            id,
            phase: Phase::Serving,
            peer_finished: false,
            framer: Framer::new(max_line),
            unframed: Vec::new(),
            unframed_from: 0,
            order: Order::default(),
            outbox: Outbox::default(),
            opened_at: now,
            last_progress: now,
            taken: 0,
            idle_unless: None,
            last_slot_at: now,
            last_turn: turn,
            bytes_in: 0,
            refused: false,
            armed: None,
            attended: false,
            read_pause: ReadPause::None,
            counted_bytes: 0,
        }
    }

    /// Bytes buffered for this connection.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.framer.kept_bytes()
            + self.unframed.len()
            + self.order.kept_bytes()
            + self.outbox.kept_bytes()
    }

    /// Whether it holds nothing but the beginning of its next request.
    pub(super) fn owes_nothing(&self) -> bool {
        self.order.is_empty() && self.outbox.is_empty()
    }

    /// Whether its client has taken all that was written, as far as is known.
    pub(super) fn is_taken(&self) -> bool {
        self.outbox.is_empty() && self.taken == self.outbox.sent_in_all()
    }

    /// Whether its clock runs although its client may just be taking bytes: only the kernel knows.
    pub(super) fn may_be_taking(&self) -> bool {
        self.order.is_empty() && !self.is_taken()
    }

    /// Of what was written, so many bytes have not been acknowledged. Having taken some since the last
    /// look is progress.
    pub(super) fn note_unacknowledged(&mut self, bytes: usize, now: Instant) {
        let bytes = self.without_end(bytes) as u64;
        let taken = self.outbox.sent_in_all().saturating_sub(bytes);
        if taken > self.taken {
            self.last_progress = now;
            self.taken = taken;
        }
    }

    /// A shut sending side counts as one byte until it is acknowledged.
    pub(super) fn without_end(&self, unacknowledged: usize) -> usize {
        let is_shut = matches!(self.phase, Phase::Lingering { .. });
        unacknowledged.saturating_sub(usize::from(is_shut))
    }

    /// Whether its own bounds let it read on.
    pub(super) fn may_read(&self, config: &Config) -> bool {
        self.phase == Phase::Serving
            && !self.peer_finished
            && self.unframed.is_empty()
            && self.order.waiting() == 0
            && self.order.len() < config.max_inflight
            && self.outbox.kept_bytes() <= UNSENT_LIMIT_BYTES
    }

    /// Whether what paused its reading is over, as far as this connection alone can tell.
    pub(super) fn pause_is_over(&self, config: &Config) -> bool {
        match self.read_pause {
            ReadPause::None => false,
            ReadPause::OwnBounds => self.may_read(config),
            // Past the budget only a connection that owes nothing is read: its next request can
            // always come, be answered and leave again, so the budget cannot lock the server up.
            ReadPause::Budget => self.owes_nothing(),
        }
    }

    /// Whether nothing is left to answer or to write, and nothing more can come.
    pub(super) fn is_finished(&self) -> bool {
        let input_over = self.peer_finished || self.phase != Phase::Serving;
        input_over && self.owes_nothing() && self.unframed.is_empty()
    }

    /// Frames what was read just now.
    pub(super) fn receive(&mut self, chunk: &[u8], rules: &Rules, now: Instant, stats: &mut Stats) {
        debug_assert!(
            self.unframed.is_empty(),
            "a connection with unframed bytes is not read"
        );
        self.bytes_in += chunk.len() as u64;
        if let Some(left) = &mut self.idle_unless {
            *left = left.saturating_sub(chunk.len() as u32);
        }
        let mut rest = chunk;
        self.frame(&mut rest, rules, now, stats);
        if !rest.is_empty() {
            self.unframed = rest.to_vec();
            self.unframed_from = 0;
        }
        self.advance(rules, now, stats);
    }

    /// Moves on what can move: answers to the outbox, unframed bytes into the places that this freed.
    #[inline]
    pub(super) fn advance(&mut self, rules: &Rules, now: Instant, stats: &mut Stats) {
        // Asked first, for of the changes of a request only its answer lets anything leave.
        if self.order.has_leaving() {
            self.release(now);
        }
        if !self.unframed.is_empty() || self.peer_finished {
            self.frame_unframed(rules, now, stats);
        }
    }

    /// Frames what was read before, as far as the bounds allow now.
    #[cold]
    fn frame_unframed(&mut self, rules: &Rules, now: Instant, stats: &mut Stats) {
        while !self.unframed.is_empty() || self.peer_finished {
            let places = self.order.len();
            let unframed = std::mem::take(&mut self.unframed);
            let mut rest = &unframed[self.unframed_from..];
            self.frame(&mut rest, rules, now, stats);
            if rest.is_empty() {
                self.unframed_from = 0;
            } else {
                self.unframed_from = unframed.len() - rest.len();
                self.unframed = unframed;
            }
            if self.order.len() == places {
                return;
            }
            self.release(now);
        }
    }

    /// Passes on the answers whose turn it is.
    fn release(&mut self, now: Instant) {
        while let Some(responses) = self.order.leave() {
            self.outbox.push(responses);
            if self.order.is_empty() {
                self.last_progress = now;
            }
        }
    }

    /// Opens places for the lines of `rest`, as far as the bounds allow.
    fn frame(&mut self, rest: &mut &[u8], rules: &Rules, now: Instant, stats: &mut Stats) {
        let config = &rules.config;
        if self.outbox.kept_bytes() > UNSENT_LIMIT_BYTES {
            return;
        }
        while self.order.len() < config.max_inflight && (!rest.is_empty() || self.peer_finished) {
            let room = 2 * config.max_line - self.order.request_bytes();
            let chunk = *rest;
            match self.framer.next(rest, room) {
                Frame::Plain(line) => {
                    let is_quick = rules.is_quick(line);
                    if is_quick && !rest.is_empty() {
                        *rest = self.open_run(line, chunk, room, rules, now, stats);
                    } else {
                        self.open(Cow::Borrowed(line), 1, is_quick, config, now, stats);
                    }
                }
                Frame::Line(line) => {
                    let is_quick = rules.is_quick(&line);
                    self.open(line, 1, is_quick, config, now, stats);
                }
                Frame::TooLong => {
                    stats.too_long += 1;
                    let max_line = config.max_line;
                    self.order
                        .open_answered(ErrorLine::LineTooLong { max_line }.to_line().into(), now);
                }
                Frame::Dropped => {}
                Frame::Incomplete if self.peer_finished && self.framer.is_inside_line() => {
                    stats.incomplete += 1;
                    self.framer = Framer::new(config.max_line);
                    self.order
                        .open_answered(ErrorLine::IncompleteLine.to_line().into(), now);
                }
                Frame::Incomplete | Frame::NoRoom => return,
            }
        }
    }

    /// Opens a place for the quick line `first` at the front of `chunk`, together with those after it that
    /// stand there side by side and join its run: one copy for all. Returns what follows them.
    fn open_run<'a>(
        &mut self,
        first: &[u8],
        chunk: &'a [u8],
        room: usize,
        rules: &Rules,
        now: Instant,
        stats: &mut Stats,
    ) -> &'a [u8] {
        let config = &rules.config;
        let (max_requests, max_bytes) = self.order.run_room(first.len(), config.max_run, now);
        let max_requests = max_requests.min(config.max_inflight - self.order.len());
        let (mut requests, mut bytes) = (1, first.len() + 1);
        let end = max_bytes.min(room).min(chunk.len()).max(bytes);
        let mut slow = None;
        while requests < max_requests
            && let Some(line) = self.framer.plain_line(&chunk[bytes..end])
        {
            if !rules.is_quick(line) {
                slow = Some(line);
                break;
            }
            requests += 1;
            bytes += line.len() + 1;
        }
        let lines = Cow::Borrowed(&chunk[..bytes - 1]);
        self.open(lines, requests, true, config, now, stats);
        if let Some(line) = slow {
            // It has been asked about, so it is opened here.
            bytes += line.len() + 1;
            self.open(Cow::Borrowed(line), 1, false, config, now, stats);
        }
        &chunk[bytes..]
    }

    fn open(
        &mut self,
        lines: Cow<'_, [u8]>,
        requests: usize,
        is_quick: bool,
        config: &Config,
        now: Instant,
        stats: &mut Stats,
    ) {
        stats.framed += requests as u64;
        stats.waiting.now += requests as u64;
        let first = self
            .order
            .open(lines, requests, is_quick, config.max_run, now);
        trace_each(self.id, first, requests, "framed");
    }

    /// From here on nothing that the client sends becomes a request.
    pub(super) fn end_input(&mut self, by: Option<Instant>, config: &Config) {
        self.phase = Phase::Ending { by };
        self.unframed = Vec::new();
        self.unframed_from = 0;
        self.framer = Framer::new(config.max_line);
    }

    /// When the longest waiting request is to be refused: once it has waited so long, and the
    /// connection has got no slot for so long either.
    pub(super) fn busy_deadline(&mut self, config: &Config) -> Option<Instant> {
        let since = self.order.waiting_since()?.max(self.last_slot_at);
        Some(since + config.busy_timeout)
    }

    /// When somebody has to look after this connection, as far as is known now.
    pub(super) fn deadline(&mut self, config: &Config, now: Instant) -> Option<Instant> {
        let (end, timeout) = match self.phase {
            Phase::Serving => {
                let idle = self.idle_deadline(config, now);
                let first = [self.busy_deadline(config), idle].into_iter().flatten();
                (first.min(), config.idle_timeout)
            }
            Phase::Ending { by: None } => return self.busy_deadline(config),
            Phase::Ending { by } => return by,
            Phase::Lingering { .. } => (self.linger_deadline(), LINGER_TIMEOUT),
            Phase::Over { .. } => return None,
        };
        let looks = self.may_be_taking() && !timeout.is_zero();
        let look = looks.then(|| now + timeout / LOOKS_PER_TIMEOUT);
        [end, look].into_iter().flatten().min()
    }

    fn idle_deadline(&self, config: &Config, now: Instant) -> Option<Instant> {
        match config.idle_timeout {
            Duration::ZERO => None,
            // Progress starts the clock anew, so while something is owed by us there is time.
            timeout if !self.order.is_empty() => Some(now + timeout),
            timeout => Some(self.last_progress + timeout),
        }
    }

    /// When lingering is over: [`LINGER_TIMEOUT`] after the client last took something.
    pub(super) fn linger_deadline(&self) -> Option<Instant> {
        let waits = self.phase.drains() && !self.is_taken();
        (!waits).then(|| self.last_progress + LINGER_TIMEOUT)
    }

    pub(super) fn check_invariants(&self, config: &Config) {
        self.order.check_invariants();
        assert!(self.order.len() <= config.max_inflight);
        assert!(self.order.request_bytes() <= 2 * config.max_line);
        assert!(self.framer.kept_bytes() <= config.max_line + 1);
        let blocked = self.order.len() == config.max_inflight
            || self.outbox.kept_bytes() > UNSENT_LIMIT_BYTES
            || !self.order.is_empty();
        assert!(
            self.unframed.is_empty() || blocked,
            "unframed bytes wait for something"
        );
        assert_eq!(self.counted_bytes, self.buffered_bytes());
        assert!(self.taken <= self.outbox.sent_in_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::IsQuick;
    use crate::engine::admission::Admission;
    use crate::engine::order::RUN_BYTES;
    use crate::task::split_lines;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use std::sync::mpsc;

    /// Lines that begin with a `q` are quick; the receiver gets each line that is asked about.
    fn rules(config: Config) -> (Rules, mpsc::Receiver<Vec<u8>>) {
        let (asked, all_asked) = mpsc::channel();
        let is_quick: IsQuick = Box::new(move |line| {
            asked.send(line.to_vec()).expect("the test listens");
            line.starts_with(b"q")
        });
        (Rules { config, is_quick }, all_asked)
    }

    fn connection(rules: &Rules, now: Instant) -> Connection {
        let id = ConnectionId::new(1, 0);
        let turn = Admission::default().new_turn();
        Connection::new(id, turn, rules.config.max_line, now)
    }

    /// Gives slots to all that wait, and answers it. Adds to `got` which lines came together.
    fn answer(
        connection: &mut Connection,
        rules: &Rules,
        now: Instant,
        stats: &mut Stats,
        got: &mut Vec<Vec<Vec<u8>>>,
    ) {
        let runs: Vec<_> =
            std::iter::from_fn(|| connection.order.submit(usize::MAX, now)).collect();
        for run in runs {
            let lines: Vec<_> = split_lines(&run.lines).map(<[u8]>::to_vec).collect();
            assert_eq!(lines.len(), run.requests);
            assert!(
                lines
                    .iter()
                    .all(|line| line.starts_with(b"q") == run.is_quick)
            );
            let responses = b"\n".repeat(run.requests).into();
            connection.order.fill(run.first, responses);
            got.push(lines);
        }
        connection.advance(rules, now, stats);
        let unsent = connection.outbox.unsent().len();
        connection.outbox.sent(unsent, |_| ());
    }

    /// The definition of the runs, line by line. When a line finds no place, all before it are answered.
    fn runs(lines: &[Vec<u8>], config: &Config) -> Vec<Vec<Vec<u8>>> {
        let (mut runs, mut places, mut bytes) = (Vec::<Vec<Vec<u8>>>::new(), 0, 0);
        for line in lines {
            let blocked = places == config.max_inflight || bytes + line.len() > 2 * config.max_line;
            if blocked {
                (places, bytes) = (0, 0);
            }
            (places, bytes) = (places + 1, bytes + line.len());
            let run = runs.last_mut().filter(|run| {
                let run_bytes: usize = run.iter().map(|line| line.len() + 1).sum();
                !blocked
                    && line.starts_with(b"q")
                    && run[0].starts_with(b"q")
                    && run.len() < config.max_run
                    && run_bytes + line.len() < RUN_BYTES
            });
            match run {
                Some(run) => run.push(line.clone()),
                None => runs.push(vec![line.clone()]),
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
            let (rules, asked) = rules(Config { max_run, max_inflight, max_line: 20_000, ..Config::default() });
            let mut bytes = Vec::new();
            for (line, has_cr) in &lines {
                bytes.extend_from_slice(line);
                bytes.extend_from_slice(if *has_cr { b"\r\n" } else { b"\n" });
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let now = Instant::now();
            let mut connection = connection(&rules, now);
            let (mut got, mut stats) = (Vec::new(), Stats::default());
            for cut in cuts.windows(2) {
                let chunk = &bytes[cut[0]..cut[1]];
                connection.receive(chunk, &rules, now, &mut stats);
                connection.counted_bytes = connection.buffered_bytes();
                connection.check_invariants(&rules.config);
                while !connection.unframed.is_empty() {
                    answer(&mut connection, &rules, now, &mut stats, &mut got);
                }
            }
            answer(&mut connection, &rules, now, &mut stats, &mut got);
            prop_assert_eq!(stats.framed, lines.len() as u64);
            let lines: Vec<_> = lines.into_iter().map(|(line, _)| line).collect();
            prop_assert!(asked.try_iter().eq(lines.iter().cloned()), "each line is asked about once");
            prop_assert_eq!(got, runs(&lines, &rules.config));
        }
    }

    #[test]
    fn a_line_that_is_too_long_has_its_place_between_those_around_it() {
        let (rules, _asked) = rules(Config {
            max_line: 9,
            ..Config::default()
        });
        let now = Instant::now();
        let (mut connection, mut stats) = (connection(&rules, now), Stats::default());
        let chunks = [&b"q1\nq2\nxxxxxxxxxx\nq4\nyyyyyyyyyyyy"[..], b"y\nq6\nq7\n"];
        for chunk in chunks {
            connection.receive(chunk, &rules, now, &mut stats);
        }
        let runs = std::iter::from_fn(|| connection.order.submit(9, now));
        let runs: Vec<_> = runs.map(|run| (run.first.0, run.lines.to_vec())).collect();
        let expected = [(1, &b"q1\nq2\n"[..]), (4, b"q4\n"), (6, b"q6\nq7\n")];
        assert_eq!(runs, expected.map(|(first, lines)| (first, lines.to_vec())));
    }
}
