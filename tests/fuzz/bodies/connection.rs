//! The whole life of a connection: the input says what client, socket, workers and time do.
//!
//! Knows the engine's doors, as the reactor does, and the reference; no sockets, no threads.
//!
//! Rule: after every step the bytes that went out, or are about to, are the answers to the answered
//! front of the order, neither more nor less; and at the end everything has been answered once.

use super::Input;
use super::reference::{Cut, answer_of_the_loop, cut};
use reactor_pool::Config;
use reactor_pool::engine::{Engine, Step, UNSENT_LIMIT_BYTES};
use reactor_pool::task::{ConnectionId, Outcome, Response, Task};
use std::collections::VecDeque;
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
/// More than the engine can count for each unsent answer beyond its bytes.
const NOTE_BYTES: usize = 64;
/// Reads of one connection in one turn.
const READS_PER_TURN: usize = 4;

/// How often what happened: so a test can see that its inputs reach every corner.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) steps: u64,
    pub(crate) lines: u64,
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

/// One place in the order of the served connection.
#[derive(Debug)]
struct Place {
    cut: Cut,
    framed_at: Instant,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Submitted,
    Answered(Vec<u8>),
}

/// A client and its socket.
#[derive(Debug)]
struct Client {
    id: ConnectionId,
    /// Sent by the client, not yet read by the server.
    network: VecDeque<u8>,
    half_closed: bool,
    /// Bytes that its socket still takes.
    window: usize,
    readable: bool,
    end_read: bool,
    /// All that reached it.
    received: Vec<u8>,
    /// When the server shut its sending side.
    shut_at: Option<Instant>,
    /// When it was told goodbye before its time.
    farewell_at: Option<Instant>,
}

/// What the reference knows about the connection that is served.
#[derive(Debug)]
struct Served {
    client: Client,
    /// All that the engine was given to frame.
    stream: Vec<u8>,
    cuts: Vec<Cut>,
    /// Every place ever opened; those before `left` have left.
    places: Vec<Place>,
    left: usize,
    /// What must have gone out, or be about to.
    output: Vec<u8>,
    last_progress: Instant,
    last_slot_at: Instant,
    /// Nothing more is framed: it was idle, or the server is stopping.
    is_cut_off: bool,
    /// It was idle with unsent bytes: to be closed without a word.
    is_given_up: bool,
}

struct Life {
    config: Config,
    engine: Engine,
    now: Instant,
    served: Option<Served>,
    /// Refused on arrival, since one connection is the limit here.
    refused: Vec<Client>,
    /// The work queue, `slots` long.
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

impl Client {
    fn new(id: ConnectionId) -> Client {
        Client {
            id,
            network: VecDeque::new(),
            half_closed: false,
            window: 100,
            readable: false,
            end_read: false,
            received: Vec::new(),
            shut_at: None,
            farewell_at: None,
        }
    }

    /// Whether the time is over in which it may take its last words.
    fn is_overdue(&self, now: Instant) -> bool {
        let since = self.shut_at.or(self.farewell_at);
        since.is_some_and(|since| since + LINGER_TIMEOUT <= now)
    }
}

impl Served {
    fn in_flight(&self) -> &[Place] {
        &self.places[self.left..]
    }

    fn oldest_waiting(&mut self) -> Option<&mut Place> {
        let mut in_flight = self.places[self.left..].iter_mut();
        in_flight.find(|place| place.state == State::Waiting)
    }

    fn request_bytes(&self) -> usize {
        let places = self.in_flight().iter();
        places.map(|place| line_bytes(&place.cut)).sum()
    }

    /// Promise 4: it has waited so long since it was framed, and since the last slot.
    fn busy_deadline(&mut self, busy_timeout: Duration) -> Option<Instant> {
        let last_slot_at = self.last_slot_at;
        let waiting = self.oldest_waiting()?;
        Some(waiting.framed_at.max(last_slot_at) + busy_timeout)
    }

    /// Moves the answered front out of the order.
    fn leave(&mut self, now: Instant) {
        let before = self.left;
        while let Some(place) = self.places.get(self.left) {
            let State::Answered(line) = &place.state else {
                break;
            };
            self.output.extend_from_slice(line);
            self.left += 1;
        }
        if self.left > before && self.in_flight().is_empty() {
            self.last_progress = now;
        }
    }
}

fn line_bytes(cut: &Cut) -> usize {
    match cut {
        Cut::Line(line) => line.len(),
        Cut::TooLong | Cut::Incomplete => 0,
    }
}

impl Life {
    fn new(input: &mut Input<'_>) -> Life {
        let mut choose = || input.byte_or_zero();
        let (max_line, max_inflight) = (1 + choose() % 24, 1 + choose() % 6);
        let pool = choose();
        let busy_timeout = Duration::from_millis([0, 10, 1000, 100_000][choose() % 4]);
        let idle_timeout = Duration::from_secs([0, 1, 5, 300][choose() % 4]);
        let max_buffered = [0, 40, 1000, 1 << 20][choose() % 4];
        let config = Config {
            max_line,
            max_inflight,
            max_connections: 1,
            max_buffered,
            busy_timeout,
            idle_timeout,
            ..Config::default()
        };
        Life {
            engine: Engine::new(config.clone()),
            config,
            now: Instant::now(),
            served: None,
            refused: Vec::new(),
            queue: Vec::new(),
            slots: 1 + pool % 3,
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
                self.attend();
            }
            8 => self.submit(),
            9 => self.starts(how),
            10 | 11 => self.completes(how),
            12 => self.passes(Duration::from_millis(how as u64 * 8)),
            13 => self.passes(Duration::from_millis(how as u64 * 1000)),
            14 => self.turn(),
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
            let client = Client::new(self.engine.accept(self.now));
            self.served = Some(Served {
                client,
                stream: Vec::new(),
                cuts: Vec::new(),
                places: Vec::new(),
                left: 0,
                output: Vec::new(),
                last_progress: self.now,
                last_slot_at: self.now,
                is_cut_off: false,
                is_given_up: false,
            });
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
        let room = room.saturating_sub(client.network.len());
        client.network.extend(&bytes[..bytes.len().min(room)]);
        client.readable = true;
        let id = client.id;
        self.engine.attend(id);
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
        self.engine.attend(client.id);
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
        let is_submitted = |place: &Place| place.state == State::Submitted;
        assert_eq!(
            removed.expect("it was there").has_submitted,
            served.in_flight().iter().any(is_submitted)
        );
        let before = self.queue.len();
        self.queue.retain(|task| task.connection != id);
        self.engine.withdrawn(before - self.queue.len());
        assert_eq!(self.engine.remove(id, self.now, "again"), None);
    }

    /// The clients take so many bytes more.
    fn takes(&mut self, bytes: usize) {
        let served = self.served.as_mut().map(|served| &mut served.client);
        for client in served.into_iter().chain(&mut self.refused) {
            client.window += bytes;
            self.engine.attend(client.id);
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
        self.answers += 1;
        let answer = format!("OK {}", self.answers).into_bytes();
        let (line, outcome) = match how / 8 % 8 {
            0 => (INTERNAL.to_vec(), Outcome::Internal),
            1 => (b"\n".to_vec(), Outcome::Error),
            2 => {
                let long = [&answer[..], &b"y".repeat(70_000), b"\n"].concat();
                (long, Outcome::Ok)
            }
            _ => ([&answer[..], b"\n"].concat(), Outcome::Ok),
        };
        self.counts.internal += u64::from(outcome == Outcome::Internal);
        let dropped = self.engine.stats().dropped;
        let served = self.served.as_mut();
        if let Some(served) = served.filter(|served| served.client.id == task.connection) {
            let place = &mut served.places[task.sequence.0 as usize - 1];
            assert_eq!(place.state, State::Submitted);
            place.state = State::Answered(line.clone());
        } else {
            self.counts.dropped += 1;
        }
        let response = Response {
            connection: task.connection,
            sequence: task.sequence,
            line,
            outcome,
            queued_at: task.queued_at,
            started_at: task.queued_at,
            finished_at: self.now,
        };
        self.engine.completed(response, self.now);
        let lives = self.served.as_ref().map(|served| served.client.id) == Some(task.connection);
        assert_eq!(self.engine.stats().dropped - dropped, u64::from(!lives));
        self.settle();
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
        let mut client = Client::new(self.engine.accept(self.now));
        client.farewell_at = Some(self.now);
        self.refused.push(client);
    }

    // What the reactor does.

    fn turn(&mut self) {
        self.attend();
        self.submit();
        self.expire();
    }

    fn attend(&mut self) {
        for _ in 0..self.engine.attention_len() {
            let Some(id) = self.engine.next_attention() else {
                return;
            };
            let serves = |served: &Served| served.client.id == id;
            if self.served.as_ref().is_some_and(serves) {
                self.serve();
            } else if let Some(which) = self.refused.iter().position(|client| client.id == id) {
                self.see_off(which);
            }
        }
    }

    /// Writes, reads and closes as the engine says.
    fn serve(&mut self) {
        for _ in 0..READS_PER_TURN {
            self.flush_served();
            let readable = self.served().client.readable;
            let id = self.served().client.id;
            match self.engine.step(id, readable) {
                Step::Wait => {
                    let is_full = self.engine.unsent(id).len() > UNSENT_LIMIT_BYTES;
                    self.counts.unsent_pauses += u64::from(readable && is_full);
                    return;
                }
                Step::Read => {
                    self.check_that_it_may_read();
                    if !self.read() {
                        return;
                    }
                }
                Step::Discard => {
                    let served = self.served.as_mut().expect("it is served");
                    let client = &mut served.client;
                    assert!(client.shut_at.is_some(), "it is read until then");
                    if !discard(client, &mut self.engine, self.now) {
                        return;
                    }
                }
                Step::ShutDown => {
                    let (now, stopping) = (self.now, self.stopping);
                    let served = self.served();
                    assert!(served.client.shut_at.is_none(), "shut twice");
                    assert!(served.is_cut_off || stopping, "promise 3: shut too early");
                    assert!(served.in_flight().is_empty(), "promise 1: shut too early");
                    served.client.shut_at = Some(now);
                    self.engine.shut_down(id, now);
                }
                Step::Close { .. } => {
                    let served = self.served.take().expect("it is served");
                    self.check_the_close(&served);
                    self.remove(&served, "closed");
                    return;
                }
            }
        }
        let id = self.served().client.id;
        self.engine.attend(id);
    }

    fn flush_served(&mut self) {
        let now = self.now;
        let served = self.served.as_mut().expect("it is served");
        let sent = served.client.received.len();
        flush(&mut served.client, &mut self.engine, now);
        if served.client.received.len() > sent {
            served.last_progress = now;
        }
        self.settle();
    }

    /// Whether there was something.
    fn read(&mut self) -> bool {
        let (count, now) = (self.bytes_per_read, self.now);
        let served = self.served.as_mut().expect("it is served");
        let client = &mut served.client;
        let chunk: Vec<u8> = client
            .network
            .drain(..count.min(client.network.len()))
            .collect();
        if !chunk.is_empty() {
            served.stream.extend_from_slice(&chunk);
            self.engine.received(client.id, &chunk, now);
        } else if client.half_closed {
            client.readable = false;
            client.end_read = true;
            self.engine.received_end(client.id, now);
        } else {
            client.readable = false;
            return false;
        }
        served.cuts = cut(&served.stream, served.client.end_read, self.config.max_line);
        self.settle();
        true
    }

    /// Serves one that is only told why it is closed.
    fn see_off(&mut self, which: usize) {
        let client = &mut self.refused[which];
        for _ in 0..READS_PER_TURN {
            flush(client, &mut self.engine, self.now);
            match self.engine.step(client.id, client.readable) {
                Step::Wait => return,
                Step::Read => panic!("a refused connection is not read"),
                Step::Discard => {
                    if !discard(client, &mut self.engine, self.now) {
                        return;
                    }
                }
                Step::ShutDown => {
                    assert!(client.received == TOO_MANY, "its last words");
                    client.shut_at = Some(self.now);
                    self.engine.shut_down(client.id, self.now);
                }
                Step::Close { .. } => {
                    assert!(client.received == TOO_MANY || client.is_overdue(self.now));
                    let client = self.refused.swap_remove(which);
                    self.engine.remove(client.id, self.now, "seen off");
                    return;
                }
            }
        }
        self.engine.attend(client.id);
    }

    fn submit(&mut self) {
        while self.queue.len() < self.slots && self.engine.has_waiting() {
            let now = self.now;
            let (slot, task) = self.engine.next_task(now).expect("one waits");
            let served = self.served();
            assert_eq!(
                (task.connection, slot),
                (served.client.id, task.connection.slot())
            );
            let place = served.oldest_waiting().expect("promise 1: nothing waits");
            assert_eq!(place.cut, Cut::Line(task.line.clone()), "another line");
            place.state = State::Submitted;
            let position = task.sequence.0 as usize - 1;
            assert_eq!(served.places[position].state, State::Submitted, "promise 2");
            served.last_slot_at = now;
            self.queue.push(task);
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        self.engine.expire(now);
        self.settle();
        self.note_idle();
        let Some(served) = &mut self.served else {
            return;
        };
        // Nothing that is due is left, and what is next is not missed.
        let next = self.engine.next_deadline();
        let watches = |deadline: Instant| next.is_some_and(|next| next <= deadline);
        let counts_time = served
            .client
            .shut_at
            .or(served.client.farewell_at)
            .is_none();
        if let Some(deadline) = served.busy_deadline(self.config.busy_timeout) {
            // What a refusal made room for is framed only now: the queue is asked before it is due.
            let framed_now = self.config.busy_timeout.is_zero() && deadline == now;
            assert!(
                deadline > now || framed_now,
                "promise 4: it has waited too long"
            );
            assert!(watches(deadline), "promise 4: nobody looks");
        } else if counts_time
            && served.in_flight().is_empty()
            && !served.is_given_up
            && !self.config.idle_timeout.is_zero()
        {
            let deadline = served.last_progress + self.config.idle_timeout;
            assert!(deadline > now, "promise 8: it has been idle too long");
            assert!(watches(deadline), "promise 8: nobody looks");
        }
    }

    // What follows.

    /// Takes note of what the engine says it has framed and refused, and compares.
    fn settle(&mut self) {
        let stats = self.engine.stats();
        let opened = [stats.framed, stats.too_long, stats.incomplete];
        let refused = stats.refused_busy - self.refused_busy;
        self.refused_busy = stats.refused_busy;
        let before = std::mem::replace(&mut self.opened, opened);
        let mut new = [0, 1, 2].map(|kind| opened[kind] - before[kind]);
        self.counts.lines += new[0];
        self.counts.too_long += new[1];
        self.counts.incomplete += new[2];
        self.counts.busy += refused;
        let now = self.now;
        let Some(served) = &mut self.served else {
            assert_eq!((new, refused), ([0; 3], 0), "there is no connection");
            return;
        };
        while new != [0; 3] {
            let cut = served.cuts.get(served.places.len());
            let cut = cut.expect("promise 1: framed, but never sent").clone();
            let kind = match cut {
                Cut::Line(_) => 0,
                Cut::TooLong => 1,
                Cut::Incomplete => 2,
            };
            assert!(new[kind] > 0, "{cut:?} was framed as something else");
            new[kind] -= 1;
            let state = match answer_of_the_loop(&cut, self.config.max_line) {
                Some(answer) => State::Answered(answer),
                None => State::Waiting,
            };
            served.places.push(Place {
                cut,
                framed_at: now,
                state,
            });
        }
        for _ in 0..refused {
            let deadline = served.busy_deadline(self.config.busy_timeout);
            let deadline = deadline.expect("promise 1: refused, but nothing waits");
            assert!(deadline <= now, "promise 4: refused too early");
            let place = served.oldest_waiting().expect("it has a deadline");
            place.state = State::Answered(BUSY.to_vec());
        }
        served.leave(now);
    }

    /// Takes note of a connection that was idle for too long.
    fn note_idle(&mut self) {
        let idle_closed = self.engine.stats().idle_closed;
        if std::mem::replace(&mut self.idle_closed, idle_closed) == idle_closed {
            return;
        }
        self.counts.idle += 1;
        let (now, timeout) = (self.now, self.config.idle_timeout);
        let served = self.served();
        assert!(
            served.in_flight().is_empty(),
            "promise 8: something is owed"
        );
        assert!(!timeout.is_zero(), "promise 8: never");
        assert!(
            served.last_progress + timeout <= now,
            "promise 8: too early"
        );
        if served.client.received.len() == served.output.len() && !served.is_cut_off {
            served.output.extend_from_slice(IDLE);
            served.client.farewell_at = Some(now);
        } else {
            served.is_given_up = true;
        }
        served.is_cut_off = true;
    }

    // What is so.

    fn check(&mut self) {
        self.engine.check_invariants();
        assert_eq!(self.engine.has_waiting(), self.is_anything_waiting());
        let (config, slots) = (&self.config, self.slots);
        assert!(self.queue.len() <= slots);
        self.check_that_nobody_is_forgotten();
        let Some(served) = &self.served else { return };
        let unsent = self.engine.unsent(served.client.id);
        let received = &served.client.received;
        assert!(
            served.output.len() == received.len() + unsent.len()
                && served.output.starts_with(received)
                && served.output.ends_with(unsent),
            "promises 1 and 2: {} bytes went out and {} wait, of {}",
            received.len(),
            unsent.len(),
            served.output.len()
        );
        // Promise 5.
        let in_flight = served.in_flight();
        let request_bytes = served.request_bytes();
        assert!(in_flight.len() <= config.max_inflight);
        assert!(request_bytes <= 2 * config.max_line);
        let next = served.cuts.get(served.places.len());
        if let Some(next) = next.filter(|_| !served.is_cut_off) {
            let notes = || NOTE_BYTES * unsent.split(|byte| *byte == b'\n').count();
            assert!(
                in_flight.len() == config.max_inflight
                    || request_bytes + line_bytes(next) > 2 * config.max_line
                    || unsent.len() + notes() > UNSENT_LIMIT_BYTES,
                "{next:?} was read, and nothing kept it from being framed"
            );
        }
    }

    /// Resume is not an event: whoever can be read on again is on the attention list.
    fn check_that_nobody_is_forgotten(&self) {
        let Some(served) = &self.served else { return };
        let unsent = self.engine.unsent(served.client.id);
        let notes = || NOTE_BYTES * unsent.split(|byte| *byte == b'\n').count();
        let owes = !served.in_flight().is_empty() || !unsent.is_empty();
        let is_within_budget = self.engine.stats().buffered.now <= self.config.max_buffered as u64;
        let may_be_read = served.client.readable
            && !served.is_cut_off
            && !served.client.end_read
            && !self.is_anything_waiting()
            && served.in_flight().len() < self.config.max_inflight
            && served.places.len() == served.cuts.len()
            && (is_within_budget || !owes)
            && unsent.len() <= UNSENT_LIMIT_BYTES
            && unsent.len() + notes() <= UNSENT_LIMIT_BYTES;
        assert!(
            !may_be_read || self.engine.attention_len() > 0,
            "readable, and forgotten"
        );
    }

    fn is_anything_waiting(&self) -> bool {
        let is_waiting = |place: &Place| place.state == State::Waiting;
        let served = self.served.iter();
        served.flat_map(Served::in_flight).any(is_waiting)
    }

    fn check_that_it_may_read(&mut self) {
        let waits = self.is_anything_waiting();
        let buffered = self.engine.stats().buffered.now;
        let (max_buffered, max_inflight) = (self.config.max_buffered, self.config.max_inflight);
        let id = self.served().client.id;
        let unsent = self.engine.unsent(id).len();
        let served = self.served();
        assert!(!served.is_cut_off, "promise 9: read after the end");
        assert!(!waits, "promise 4: read while a request waits");
        assert!(unsent <= UNSENT_LIMIT_BYTES, "promise 5: unsent");
        assert!(
            served.in_flight().len() < max_inflight,
            "promise 5: in flight"
        );
        assert_eq!(
            served.places.len(),
            served.cuts.len(),
            "promise 5: unframed"
        );
        let owes = !served.in_flight().is_empty() || unsent > 0;
        assert!(buffered <= max_buffered as u64 || !owes, "past the budget");
    }

    fn check_the_close(&self, served: &Served) {
        let is_whole = served.client.received == served.output && served.in_flight().is_empty();
        if is_whole && served.client.end_read {
            assert!(
                served.is_cut_off || served.places.len() == served.cuts.len(),
                "promise 1: closed before the last answer"
            );
        } else {
            assert!(
                served.is_given_up || served.client.is_overdue(self.now),
                "promise 3: closed too early"
            );
        }
    }

    /// The clients take everything and send no more, the workers work: then everything is answered and
    /// closed without any time passing.
    fn come_to_its_end(mut self) -> Counts {
        for _ in 0..10_000 {
            let served = self.served.as_mut().map(|served| &mut served.client);
            for client in served.into_iter().chain(&mut self.refused) {
                if client.window < usize::MAX || !client.half_closed {
                    // The socket announces it once; from then on the engine has to remember.
                    (client.window, client.half_closed, client.readable) = (usize::MAX, true, true);
                    self.engine.attend(client.id);
                }
            }
            self.turn();
            self.check();
            self.starts(0);
            self.completes(24);
            self.check();
            let is_quiet = self.engine.attention_len() == 0
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

/// Writes what the client's socket takes.
fn flush(client: &mut Client, engine: &mut Engine, now: Instant) {
    loop {
        let unsent = engine.unsent(client.id);
        let count = unsent.len().min(client.window);
        if count == 0 {
            return;
        }
        client.received.extend_from_slice(&unsent[..count]);
        client.window -= if client.window == usize::MAX {
            0
        } else {
            count
        };
        engine.sent(client.id, count, now);
    }
}

/// Reads and throws away; whether there was something.
fn discard(client: &mut Client, engine: &mut Engine, now: Instant) -> bool {
    if !client.network.is_empty() {
        let count = client.network.drain(..).count();
        engine.discarded(client.id, count);
    } else if client.half_closed {
        client.readable = false;
        client.end_read = true;
        engine.received_end(client.id, now);
    } else {
        client.readable = false;
        return false;
    }
    true
}
