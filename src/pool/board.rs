//! What each worker does, for people who look.
//!
//! Knows ids and times; no handler and no queue.
//!
//! Rule: a worker writes its own line only, and nobody holds a lock for longer than that takes.

use crate::task::{ConnectionId, Span};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A line for each worker.
#[derive(Debug)]
pub struct Board(Vec<Mutex<Line>>);

/// What a worker does, and what it has done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// The task that it has in hand.
    pub running: Option<Running>,
    /// Tasks that it has done.
    pub tasks: u64,
    /// Requests that were in them.
    pub requests: u64,
    /// The time that these took.
    pub busy: Duration,
}

/// A task in the hands of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Whose requests they are.
    pub connection: ConnectionId,
    /// Which requests they are; they are answered one after the other.
    pub span: Span,
    /// When the worker took them.
    pub started_at: Instant,
}

impl Board {
    /// For that many workers; none has done anything.
    pub fn new(workers: usize) -> Board {
        Board((0..workers).map(|_| Mutex::default()).collect())
    }

    /// All lines, in the order of the workers' numbers.
    pub fn lines(&self) -> Vec<Line> {
        self.0.iter().map(|line| *lock(line)).collect()
    }

    /// The same, and when they were read.
    pub fn look(&self) -> (Vec<Line>, Instant) {
        (self.lines(), Instant::now())
    }

    pub(crate) fn start(&self, worker: usize, running: Running) {
        lock(&self.0[worker]).running = Some(running);
    }

    pub(super) fn finish(&self, worker: usize, at: Instant) {
        let mut line = lock(&self.0[worker]);
        if let Some(running) = line.running.take() {
            line.tasks += 1;
            line.requests += running.span.requests as u64;
            line.busy += at.saturating_duration_since(running.started_at);
        }
    }
}

fn lock(line: &Mutex<Line>) -> std::sync::MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
