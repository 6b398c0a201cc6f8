//! Several connections and few slots: connections get slots in turn (promise 4).
//!
//! Knows the engine's door for slots; no time-outs, no queue, and sockets that take everything.
//!
//! Rule: the connection that has gone longest without a slot gets the next, for one run or the
//! part of it that there is room for.

use super::{Input, MAX_RUNS, is_quick, lines, lines_of};
use reactor_pool::Config;
use reactor_pool::codec::Lines;
use reactor_pool::engine::{Action, Engine};
use reactor_pool::task::{Completion, ConnectionId, Outcomes, Task};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longer rounds only take longer.
const MOST_CONNECTIONS: usize = 6;
const LONGEST_STEPS: usize = 400;
const MAX_INFLIGHT: usize = 40;

/// How often what happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    /// Calls that gave slots to several connections, and to one of them more than once.
    pub(crate) several_rounds: u64,
    /// Runs of which only a part got slots.
    pub(crate) parts: u64,
    /// Tasks with more than one request.
    pub(crate) runs: u64,
}

struct Connection {
    id: ConnectionId,
    sent: u64,
    /// Places and lines that it sent, and for which there was no place in the order.
    unframed: VecDeque<Request>,
    /// Those of requests that have no slot.
    waiting: VecDeque<Run>,
    /// When it last got a slot, as a count.
    ticket: u64,
}

/// A place in its connection's order, and its line.
type Request = (u64, Vec<u8>);

/// Requests that were framed at the same time and travel together.
struct Run {
    requests: Vec<Request>,
    is_quick: bool,
    framed_at: Instant,
}

struct Round {
    max_run: usize,
    engine: Engine<Lines>,
    now: Instant,
    connections: Vec<Connection>,
    running: Vec<Task>,
    tickets: u64,
    framed: u64,
    counts: Counts,
}

/// Checks one input: a byte that chooses `max_run`, then two for each thing that happens.
pub(crate) fn check(data: &[u8]) -> Counts {
    let mut input = Input(data);
    let config = Config::default()
        .max_inflight(MAX_INFLIGHT)
        .max_run(MAX_RUNS[input.byte_or_zero() % 4])
        // Longer than all steps take.
        .busy_timeout(Duration::from_secs(60));
    let mut round = Round {
        max_run: config.max_run,
        engine: Engine::new(config.clone(), lines(&config), Box::new(is_quick)),
        now: Instant::now(),
        connections: Vec::new(),
        running: Vec::new(),
        tickets: 0,
        framed: 0,
        counts: Counts::default(),
    };
    for _ in 0..LONGEST_STEPS {
        let Some(what) = input.byte() else { break };
        round.happens(usize::from(what), input.byte_or_zero());
        round.engine.check_invariants();
    }
    round.counts
}

impl Round {
    fn happens(&mut self, what: usize, how: usize) {
        match what % 8 {
            0..=2 => self.sends(what / 8, how),
            3 | 4 => self.submits(how % 32),
            5 | 6 => self.completes(how),
            7 if how < 32 => self.resets(what / 8),
            _ => self.now += Duration::from_millis(1),
        }
    }

    /// One connection sends some lines, quick and slow ones by the bits of `how`; a new one, if
    /// `which` says so.
    fn sends(&mut self, which: usize, how: usize) {
        let which = which % MOST_CONNECTIONS;
        if which >= self.connections.len() {
            self.tickets += 1;
            self.connections.push(Connection {
                id: self.engine.accept(self.now).id,
                sent: 0,
                unframed: VecDeque::new(),
                waiting: VecDeque::new(),
                ticket: self.tickets,
            });
        }
        let which = which.min(self.connections.len() - 1);
        let connection = &mut self.connections[which];
        if self.engine.next_action(connection.id, true) != Action::Read {
            return;
        }
        let mut bytes = Vec::new();
        for nth in 0..1 + how / 16 {
            let first = if how >> (nth % 4) & 1 == 1 { 's' } else { 'x' };
            connection.sent += 1;
            let line = format!("{first}{}", connection.sent).into_bytes();
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
            connection.unframed.push_back((connection.sent, line));
        }
        let id = connection.id;
        self.engine.received(id, &bytes, self.now);
        self.note_framed(id);
    }

    /// Whatever has been framed just now is of this connection, and waits for a slot.
    fn note_framed(&mut self, id: ConnectionId) {
        let framed = self.engine.stats().framed;
        let new = framed - std::mem::replace(&mut self.framed, framed);
        if let Some(connection) = self.connections.iter_mut().find(|c| c.id == id) {
            for request in connection.unframed.drain(..new as usize) {
                let is_quick = self.max_run > 1 && is_quick(&request.1);
                let last = connection.waiting.back_mut().filter(|run| {
                    let is_open = run.is_quick && run.framed_at == self.now;
                    is_open && is_quick && run.requests.len() < self.max_run
                });
                match last {
                    Some(run) => run.requests.push(request),
                    None => connection.waiting.push_back(Run {
                        requests: vec![request],
                        is_quick,
                        framed_at: self.now,
                    }),
                }
            }
        } else {
            assert_eq!(new, 0, "it has gone");
        }
    }

    fn submits(&mut self, room: usize) {
        let mut tasks = Vec::new();
        self.engine.submit(room, self.now, &mut tasks);
        let parts = |round: &Round| {
            round
                .connections
                .iter()
                .map(|c| c.waiting.len())
                .sum::<usize>()
        };
        let waiting = parts(self);
        let expected = self.one_by_one(room);
        self.counts.parts += (expected.len() + parts(self) - waiting) as u64;
        let of_task = |task: &Task| {
            let lines = lines_of(&task.run.frames);
            assert_eq!(lines.len(), task.run.span.requests);
            let places = task.run.span.sequences().map(|place| place.0);
            let lines = lines.into_iter().map(<[u8]>::to_vec);
            (task.connection, places.zip(lines).collect::<Vec<_>>())
        };
        let got: Vec<_> = tasks.iter().map(of_task).collect();
        assert_eq!(got, expected, "promise 4, of {room} slots");
        let several = tasks
            .iter()
            .any(|task| task.connection != tasks[0].connection);
        let twice = |task: &Task| {
            let own = tasks
                .iter()
                .filter(|other| other.connection == task.connection);
            own.count() > 1
        };
        self.counts.several_rounds += u64::from(several && tasks.iter().any(twice));
        self.counts.requests += tasks
            .iter()
            .map(|task| task.run.span.requests as u64)
            .sum::<u64>();
        self.counts.runs += tasks
            .iter()
            .filter(|task| task.run.span.requests > 1)
            .count() as u64;
        self.running.extend(tasks);
    }

    /// The tasks that `room` slots are given to if connections take turns, one run each:
    /// connection, and places with their lines.
    fn one_by_one(&mut self, mut room: usize) -> Vec<(ConnectionId, Vec<Request>)> {
        let mut given = Vec::new();
        while room > 0 {
            let waiting = self
                .connections
                .iter_mut()
                .filter(|c| !c.waiting.is_empty());
            let Some(next) = waiting.min_by_key(|connection| connection.ticket) else {
                break;
            };
            let run = &mut next.waiting[0].requests;
            let part = run.drain(..run.len().min(room)).collect::<Vec<_>>();
            if run.is_empty() {
                next.waiting.pop_front();
            }
            room -= part.len();
            self.tickets += 1;
            next.ticket = self.tickets;
            given.push((next.id, part));
        }
        given
    }

    fn completes(&mut self, how: usize) {
        if self.running.is_empty() {
            return;
        }
        let task = self.running.swap_remove(how % self.running.len());
        let id = task.connection;
        let span = task.run.span;
        let completion = Completion {
            connection: id,
            span,
            responses: b"OK\n".repeat(span.requests),
            outcomes: Outcomes {
                ok: span.requests,
                ..Outcomes::default()
            },
            started_at: self.now,
            finished_at: self.now,
            is_last: false,
            worker: 0,
            is_overrun: false,
        };
        self.engine.completed(completion, self.now);
        let unsent = self.engine.unsent(id).len();
        self.engine.sent(id, unsent, self.now);
        self.note_framed(id);
    }

    fn resets(&mut self, which: usize) {
        if self.connections.is_empty() {
            return;
        }
        let which = which % self.connections.len();
        let connection = self.connections.swap_remove(which);
        let removed = self.engine.remove(connection.id, self.now, "reset");
        assert!(removed.is_some(), "it was there");
    }
}
