//! The whole life of a connection: the input says what client, socket, workers and time do.
//!
//! Knows the engine's doors, as the reactor does, and the reference; no sockets, no threads.
//!
//! Rule: after every step the bytes that went out, or are about to, are the answers to the
//! answered front of the order, neither more nor less; and at the end everything has been answered
//! once.

mod checks;
mod reactor;
mod served;

use super::{Input, MAX_RUNS, is_quick, lines};
use reactor_pool::Config;
use reactor_pool::codec::Lines;
use reactor_pool::engine::Engine;
use reactor_pool::task::{Completion, Outcomes, Task};
use served::{Client, Served, State};
use std::time::{Duration, Instant};

/// Longer lives only take longer.
const LONGEST_STREAM_BYTES: usize = 3000;
const LONGEST_LIFE_STEPS: usize = 600;

const BUSY: &[u8] = b"ERR server busy\n";
const INTERNAL: &[u8] = b"ERR internal error\n";
const IDLE: &[u8] = b"ERR idle timeout\n";
const TOO_MANY: &[u8] = b"ERR too many connections\n";

/// Promise 3.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often what happened: so a test can see that its inputs reach every corner.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) steps: u64,
    pub(crate) lines: u64,
    /// Tasks of quick requests, and those with more than one.
    pub(crate) quick: u64,
    pub(crate) runs: u64,
    pub(crate) too_long: u64,
    pub(crate) incomplete: u64,
    pub(crate) busy: u64,
    pub(crate) internal: u64,
    pub(crate) idle: u64,
    pub(crate) resets: u64,
    pub(crate) refused: u64,
    pub(crate) stops: u64,
    pub(crate) dropped: u64,
    pub(crate) unsent_pauses: u64,
    pub(crate) budget_pauses: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.steps += other.steps;
        self.lines += other.lines;
        self.quick += other.quick;
        self.runs += other.runs;
        self.too_long += other.too_long;
        self.incomplete += other.incomplete;
        self.busy += other.busy;
        self.internal += other.internal;
        self.idle += other.idle;
        self.resets += other.resets;
        self.refused += other.refused;
        self.stops += other.stops;
        self.dropped += other.dropped;
        self.unsent_pauses += other.unsent_pauses;
        self.budget_pauses += other.budget_pauses;
    }

    /// The names of those that are zero.
    pub(crate) fn never(&self) -> Vec<&'static str> {
        let all = [
            ("steps", self.steps),
            ("lines", self.lines),
            ("quick", self.quick),
            ("runs", self.runs),
            ("too_long", self.too_long),
            ("incomplete", self.incomplete),
            ("busy", self.busy),
            ("internal", self.internal),
            ("idle", self.idle),
            ("resets", self.resets),
            ("refused", self.refused),
            ("stops", self.stops),
            ("dropped", self.dropped),
            ("unsent_pauses", self.unsent_pauses),
            ("budget_pauses", self.budget_pauses),
        ];
        let zero = all.into_iter().filter(|(_, count)| *count == 0);
        zero.map(|(name, _)| name).collect()
    }
}

/// Lives the life that `data` says and checks each step of it.
///
/// Six bytes of limits, then one byte for each thing that happens and one for how much of it; what
/// the client sends stands in between.
pub(crate) fn check(data: &[u8]) -> Counts {
    let mut input = Input(data);
    let mut life = Life::new(&mut input);
    for _ in 0..LONGEST_LIFE_STEPS {
        let Some(what) = input.byte() else { break };
        let how = input.byte_or_zero();
        life.happens(what, how, &mut input);
        life.check();
    }
    life.come_to_its_end()
}

struct Life {
    config: Config,
    engine: Engine<Lines>,
    now: Instant,
    served: Option<Served>,
    /// Refused on arrival, since one connection is the limit here.
    refused: Vec<Client>,
    /// The work queue of `slots` slots.
    queue: Vec<Task>,
    slots: usize,
    running: Vec<Task>,
    workers: usize,
    stopping: bool,
    bytes_per_read: usize,
    answers: u64,
    /// What `Served::places` of all connections so far add up to.
    opened: [u64; 3],
    refused_busy: u64,
    idle_closed: u64,
    counts: Counts,
}

impl Life {
    fn new(input: &mut Input<'_>) -> Life {
        let mut choose = || input.byte_or_zero();
        let (max_line, max_inflight) = (1 + choose() % 24, 1 + choose() % 12);
        let pool = choose();
        let busy_timeout = Duration::from_millis([0, 10, 1000, 100_000][choose() % 4]);
        let idle_timeout = Duration::from_secs([0, 1, 5, 300][choose() % 4]);
        let max_buffered = [0, 40, 1000, 1 << 20][choose() % 4];
        let config = Config::default()
            .max_line(max_line)
            .max_inflight(max_inflight)
            .max_run(MAX_RUNS[pool / 9 % 4])
            .max_connections(1)
            .max_buffered(max_buffered)
            .busy_timeout(busy_timeout)
            .idle_timeout(idle_timeout);
        Life {
            engine: Engine::new(config.clone(), lines(&config), Box::new(is_quick)),
            config,
            now: Instant::now(),
            served: None,
            refused: Vec::new(),
            queue: Vec::new(),
            slots: 1 + pool % 3 + pool / 36 * 3,
            running: Vec::new(),
            workers: 1 + pool / 3 % 3,
            stopping: false,
            bytes_per_read: 16,
            answers: 0,
            opened: [0; 3],
            refused_busy: 0,
            idle_closed: 0,
            counts: Counts::default(),
        }
    }

    // What happens.

    fn happens(&mut self, what: u8, how: usize, input: &mut Input<'_>) {
        self.counts.steps += 1;
        match what % 16 {
            0 | 1 => self.sends(input.take(1 + how % 32)),
            2 => self.sends(&b"abcdefg\n".repeat(1 + how % 16)),
            3 => self.sends(&vec![
                if how.is_multiple_of(2) { b'\n' } else { b'x' };
                how / 2
            ]),
            4 => self.half_closes(how),
            5 => self.resets(how),
            6 => self.takes(how * how),
            7 => {
                self.bytes_per_read = 1 + how;
                self.serve_ready();
            }
            8 => self.submit(),
            9 => self.starts(how),
            10 | 11 => self.completes(how),
            12 => self.passes(Duration::from_millis(how as u64 * 8)),
            13 => self.passes(Duration::from_millis(how as u64 * 1000)),
            14 => self.tick(),
            15 if how < 24 => self.stops(),
            _ => self.knocks(),
        }
    }

    fn served(&mut self) -> &mut Served {
        self.served.as_mut().expect("the caller has seen it")
    }

    /// The client there is; a new one, if there is none and the server takes one.
    fn client(&mut self) -> Option<&mut Client> {
        if self.served.is_none() && self.engine.may_accept() {
            let id = self.engine.accept(self.now).id;
            self.served = Some(Served::new(id, self.now));
        }
        self.served.as_mut().map(|served| &mut served.client)
    }

    fn sends(&mut self, bytes: &[u8]) {
        let room = match &self.served {
            Some(served) => LONGEST_STREAM_BYTES - served.stream.len().min(LONGEST_STREAM_BYTES),
            None => LONGEST_STREAM_BYTES,
        };
        let Some(client) = self.client().filter(|client| !client.half_closed) else {
            return;
        };
        let is_first = room == LONGEST_STREAM_BYTES && client.network.is_empty();
        let room = room.saturating_sub(client.network.len());
        let mut bytes = bytes[..bytes.len().min(room)].to_vec();
        if is_first && let Some(byte) = bytes.first_mut() {
            // The first line is never one of another protocol: that is for the body of framing.
            *byte = match *byte {
                b'\r' => b'r',
                other => other.to_ascii_lowercase(),
            };
        }
        client.network.extend(&bytes);
        client.readable = true;
        let id = client.id;
        self.engine.mark_ready(id);
    }

    fn half_closes(&mut self, how: usize) {
        let refused = match how % 4 {
            0 => self.refused.first_mut(),
            _ => None,
        };
        let Some(client) = refused.or(self.served.as_mut().map(|served| &mut served.client)) else {
            return;
        };
        client.half_closed = true;
        client.readable = true;
        self.engine.mark_ready(client.id);
    }

    fn resets(&mut self, how: usize) {
        if how.is_multiple_of(4) && !self.refused.is_empty() {
            let client = self.refused.swap_remove(0);
            let removed = self.engine.remove(client.id, self.now, "reset");
            assert!(!removed.expect("it was there").has_submitted);
        } else if let Some(served) = self.served.take() {
            self.counts.resets += 1;
            self.remove(&served, "reset");
        }
    }

    /// Forgets a connection as the reactor does, with what is queued of it.
    fn remove(&mut self, served: &Served, why: &str) {
        let id = served.client.id;
        let removed = self.engine.remove(id, self.now, why);
        let mut in_flight = served.in_flight().iter();
        assert_eq!(
            removed.expect("it was there").has_submitted,
            in_flight.any(|place| place.state == State::Submitted)
        );
        let is_kept = |task: &Task| task.connection != id;
        let (kept, withdrawn) = self.queue.drain(..).partition(is_kept);
        self.queue = kept;
        self.engine.withdrawn(&withdrawn, self.now);
        assert_eq!(self.engine.remove(id, self.now, "again"), None);
    }

    /// The clients take so many bytes more.
    fn takes(&mut self, bytes: usize) {
        let served = self.served.as_mut().map(|served| &mut served.client);
        for client in served.into_iter().chain(&mut self.refused) {
            client.window += bytes;
            self.engine.mark_ready(client.id);
        }
    }

    fn starts(&mut self, how: usize) {
        if !self.queue.is_empty() && self.running.len() < self.workers {
            let task = self.queue.remove(how % self.queue.len());
            self.running.push(task);
        }
    }

    fn completes(&mut self, how: usize) {
        if self.running.is_empty() {
            return;
        }
        let task = self.running.swap_remove(how % self.running.len());
        let served = self.served.as_mut();
        let mut served = served.filter(|served| served.client.id == task.connection);
        let lives = served.is_some();
        let (mut lines, mut outcomes) = (Vec::new(), Outcomes::default());
        for (nth, sequence) in task.run.span.sequences().enumerate() {
            self.answers += 1;
            let answer = format!("OK {}", self.answers).into_bytes();
            let (line, count) = match (how / 8 + nth) % 8 {
                0 => (INTERNAL.to_vec(), &mut outcomes.internal),
                1 => (b"\n".to_vec(), &mut outcomes.error),
                2 => {
                    let long = [&answer[..], &b"y".repeat(70_000), b"\n"].concat();
                    (long, &mut outcomes.ok)
                }
                _ => ([&answer[..], b"\n"].concat(), &mut outcomes.ok),
            };
            *count += 1;
            lines.extend_from_slice(&line);
            if let Some(served) = &mut served {
                let place = &mut served.places[sequence.0 as usize - 1];
                assert_eq!(place.state, State::Submitted);
                place.state = State::Answered(line);
            }
        }
        self.counts.internal += outcomes.internal as u64;
        let requests = task.run.span.requests as u64;
        let expected = self.engine.stats().dropped + if lives { 0 } else { requests };
        self.counts.dropped += u64::from(!lives);
        let completion = Completion {
            connection: task.connection,
            span: task.run.span,
            responses: lines,
            outcomes,
            started_at: self.now,
            finished_at: self.now,
            is_last: false,
            worker: 0,
            is_overrun: false,
        };
        self.engine.completed(completion, self.now);
        assert_eq!(self.engine.stats().dropped, expected, "promise 6");
        self.settle();
    }

    /// Slots that are taken.
    fn queued(&self) -> usize {
        self.queue.iter().map(|task| task.run.span.requests).sum()
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        self.expire();
    }

    fn stops(&mut self) {
        self.counts.stops += u64::from(!self.stopping);
        self.stopping = true;
        self.engine.stop(self.now);
        if let Some(served) = &mut self.served {
            served.is_cut_off = true;
        }
    }

    /// One more connects while another one is served.
    fn knocks(&mut self) {
        if self.served.is_none() || self.refused.len() == 3 || !self.engine.may_accept() {
            return;
        }
        self.counts.refused += 1;
        let mut client = Client::new(self.engine.accept(self.now).id);
        client.farewell_at = Some(self.now);
        self.refused.push(client);
    }

    /// The clients take everything and send no more, the workers work: then everything is answered
    /// and closed without any time passing.
    fn come_to_its_end(mut self) -> Counts {
        for _ in 0..10_000 {
            let served = self.served.as_mut().map(|served| &mut served.client);
            for client in served.into_iter().chain(&mut self.refused) {
                if client.window < usize::MAX || !client.half_closed {
                    // The socket announces it once; from then on the engine has to remember.
                    (client.window, client.half_closed, client.readable) = (usize::MAX, true, true);
                    self.engine.mark_ready(client.id);
                }
            }
            self.tick();
            self.check();
            self.starts(0);
            self.completes(24);
            self.check();
            let is_quiet = self.engine.ready_len() == 0
                && self.running.is_empty()
                && self.queue.is_empty()
                && !self.engine.has_waiting();
            if is_quiet {
                break;
            }
        }
        assert!(
            self.engine.is_empty(),
            "promises 1 and 3: it is quiet, and not everything is answered and closed: {:?}",
            self.served
        );
        let stats = self.engine.stats();
        let answered = stats.answered_ok + stats.answered_error + stats.answered_internal;
        assert_eq!(
            stats.framed,
            answered + stats.refused_busy + stats.discarded,
            "promise 1: each line has one fate"
        );
        let left = [
            stats.connections,
            stats.waiting,
            stats.submitted,
            stats.buffered,
        ];
        assert_eq!(left.map(|gauge| gauge.now), [0; 4]);
        assert_eq!(self.engine.next_deadline(), None);
        self.counts.budget_pauses = stats.budget_pauses;
        self.counts
    }
}
