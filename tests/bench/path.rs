//! The way of requests through the engine, without sockets and threads: what the loop does for
//! them.
//!
//! Knows one connection, and answers every task at once.
//!
//! Rule: an exchange leaves the engine as it found it.

use reactor_pool::Config;
use reactor_pool::codec::Lines;
use reactor_pool::engine::{Action, Engine};
use reactor_pool::task::{Completion, ConnectionId, Outcomes, Task};
use std::sync::Arc;
use std::time::Instant;

/// One engine with one connection.
pub(crate) struct Path {
    pub(crate) engine: Engine<Lines>,
    pub(crate) id: ConnectionId,
    tasks: Vec<Task>,
    now: Instant,
}

impl Path {
    /// `max_inflight` requests may be under way; all are quick, unless `max_run` is 1.
    pub(crate) fn new(max_inflight: usize, max_run: usize) -> Path {
        let config = Config::default()
            .max_inflight(max_inflight)
            .max_run(max_run);
        let codec = Arc::new(Lines::new(config.max_line));
        let mut engine = Engine::new(config, codec, Box::new(|_| true));
        let now = Instant::now();
        let id = engine.accept(now).id;
        Path {
            engine,
            id,
            tasks: Vec::new(),
            now,
        }
    }

    /// Reads `chunk`, answers all that it holds, and writes the answers; how many requests that
    /// were.
    pub(crate) fn exchange(&mut self, chunk: &[u8]) -> usize {
        let now = self.now;
        assert_eq!(self.engine.next_action(self.id, true), Action::Read);
        self.engine.received(self.id, chunk, now);
        let mut requests = 0;
        while self.engine.has_waiting() {
            self.engine.submit(1000, now, &mut self.tasks);
            for task in self.tasks.drain(..) {
                requests += task.run.span.requests;
                self.engine.completed(answer(task, now), now);
            }
        }
        let unsent = self.engine.unsent(self.id).len();
        assert!(!self.engine.is_unsent_last(self.id));
        self.engine.sent(self.id, unsent, now);
        while self.engine.next_ready().is_some() {}
        requests
    }
}

/// `OK` to each line.
fn answer(task: Task, now: Instant) -> Completion {
    let span = task.run.span;
    Completion {
        connection: task.connection,
        span,
        responses: b"OK hello\n".repeat(span.requests),
        outcomes: Outcomes {
            ok: span.requests,
            ..Outcomes::default()
        },
        started_at: now,
        finished_at: now,
        is_last: false,
        worker: 0,
        is_overrun: false,
    }
}
