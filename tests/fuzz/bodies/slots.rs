//! Several connections and few slots: whatever waits, slots go round one by one (promise 4).
//!
//! Knows the engine's door for slots; no time-outs, no queue, and sockets that take everything.
//!
//! Rule: the requests that one call gives slots to, ordered by their number within their connection, are
//! those that get one if each connection in turn takes one slot, round after round.

use super::{Input, MAX_RUNS, is_quick};
use reactor_pool::Config;
use reactor_pool::engine::{Engine, PUT_OFF, SocketQueues, Step};
use reactor_pool::task::{Batch, ConnectionId, Outcomes, Response, Task, split_lines};
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
    /// Calls that gave slots to several connections, and to one of them more than one.
    pub(crate) several_rounds: u64,
    /// Tasks with more than one request.
    pub(crate) runs: u64,
}

struct Connection {
    id: ConnectionId,
    sent: u64,
    /// Places and lines that it sent, and for which there was no place in the order.
    unframed: VecDeque<(u64, Vec<u8>)>,
    /// Those of requests that have no slot.
    waiting: VecDeque<(u64, Vec<u8>)>,
    /// When it last had its turn, as a count.
    last_turn: u64,
}

struct Round {
    engine: Engine,
    now: Instant,
    connections: Vec<Connection>,
    running: Vec<Task>,
    turns: u64,
    framed: u64,
    counts: Counts,
}

/// Checks one input: a byte that chooses `max_run`, then two for each thing that happens.
pub(crate) fn check(data: &[u8]) -> Counts {
    let mut input = Input(data);
    let config = Config {
        max_inflight: MAX_INFLIGHT,
        max_run: MAX_RUNS[input.byte_or_zero() % 4],
        // Longer than all steps take, each of which may pass the time that reading is put off.
        busy_timeout: LONGEST_STEPS as u32 * 2 * PUT_OFF,
        ..Config::default()
    };
    let mut round = Round {
        engine: Engine::new(config, Box::new(is_quick)),
        now: Instant::now(),
        connections: Vec::new(),
        running: Vec::new(),
        turns: 0,
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

    /// One connection sends some lines, quick and slow ones by the bits of `how`; a new one, if `which`
    /// says so.
    fn sends(&mut self, which: usize, how: usize) {
        let which = which % MOST_CONNECTIONS;
        if which >= self.connections.len() {
            self.turns += 1;
            self.connections.push(Connection {
                id: self.engine.accept(self.now),
                sent: 0,
                unframed: VecDeque::new(),
                waiting: VecDeque::new(),
                last_turn: self.turns,
            });
        }
        let which = which.min(self.connections.len() - 1);
        let connection = &mut self.connections[which];
        if self.engine.step(connection.id, true, self.now) != Step::Read {
            // If it was put off, it is read from then on.
            self.now += PUT_OFF;
            self.engine.expire(self.now, |_| SocketQueues::default());
            if self.engine.step(connection.id, true, self.now) != Step::Read {
                return;
            }
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
            let new = connection.unframed.drain(..new as usize);
            connection.waiting.extend(new);
        } else {
            assert_eq!(new, 0, "it has gone");
        }
    }

    /// Where a round begins, the engine says: with who has gone longest without a turn. It gives several
    /// turns at once, so that order is taken from what it gave before.
    fn submits(&mut self, room: usize) {
        let mut tasks = Vec::new();
        self.engine.submit(room, self.now, |flow, task| {
            assert_eq!(flow, task.connection.slot());
            tasks.push(task);
        });
        let expected = self.one_by_one(room);
        let got = self.expand(&tasks);
        assert_eq!(got, expected, "promise 4, of {room} slots");
        let several = tasks
            .iter()
            .any(|task| task.connection != tasks[0].connection);
        let twice = |task: &Task| {
            let requests = tasks
                .iter()
                .filter(|other| other.connection == task.connection);
            requests.map(|other| other.requests).sum::<usize>() > 1
        };
        self.counts.several_rounds += u64::from(several && tasks.iter().any(twice));
        self.counts.requests += got.len() as u64;
        self.counts.runs += tasks.iter().filter(|task| task.requests > 1).count() as u64;
        for task in &tasks {
            self.turns += 1;
            let mut connections = self.connections.iter_mut();
            let found = connections.find(|connection| connection.id == task.connection);
            found.expect("it gets slots, so it is there").last_turn = self.turns;
        }
        self.running.extend(tasks);
    }

    /// Who gets `room` slots if there is one for each in turn: connection, place and line.
    fn one_by_one(&mut self, mut room: usize) -> Vec<(ConnectionId, u64, Vec<u8>)> {
        self.connections
            .sort_by_key(|connection| connection.last_turn);
        let mut given = Vec::new();
        while room > 0 && self.connections.iter().any(|c| !c.waiting.is_empty()) {
            for connection in &mut self.connections {
                if room > 0
                    && let Some((place, line)) = connection.waiting.pop_front()
                {
                    given.push((connection.id, place, line));
                    room -= 1;
                }
            }
        }
        given
    }

    /// The requests of `tasks`, ordered by their number within their connection, then by the turns of the
    /// connections, in whose order they stand here.
    fn expand(&self, tasks: &[Task]) -> Vec<(ConnectionId, u64, Vec<u8>)> {
        let mut all = Vec::new();
        for (turn, connection) in self.connections.iter().enumerate() {
            let own = tasks.iter().filter(|task| task.connection == connection.id);
            let requests = own.flat_map(|task| {
                assert_eq!(split_lines(&task.lines).count(), task.requests);
                let places = task.first.run(task.requests);
                places.zip(split_lines(&task.lines))
            });
            for (number, (place, line)) in requests.enumerate() {
                all.push((number, turn, (connection.id, place.0, line.to_vec())));
            }
        }
        all.sort_by_key(|(number, turn, _)| (*number, *turn));
        all.into_iter().map(|(.., request)| request).collect()
    }

    fn completes(&mut self, how: usize) {
        if self.running.is_empty() {
            return;
        }
        let task = self.running.swap_remove(how % self.running.len());
        let id = task.connection;
        let response = Response {
            connection: id,
            first: task.first,
            requests: task.requests,
            lines: b"OK\n".repeat(task.requests).into(),
        };
        let batch = Batch {
            responses: vec![response],
            outcomes: Outcomes {
                ok: task.requests,
                ..Outcomes::default()
            },
            started_at: self.now,
            finished_at: self.now,
        };
        self.engine.completed(batch, self.now);
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
