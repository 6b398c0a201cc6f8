//! Warns of requests that run for long: while they do, and once more at their end.
//!
//! Knows what the workers' board says; no handler and no request's bytes.
//!
//! Rule: at most ten lines a second. What is not told is counted, and the next line says how much
//! that was.

use crate::address::Peer;
use crate::log::warn;
use crate::pool::Board;
use crate::task::{Completion, ConnectionId, Span};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LINES_PER_SECOND: u32 = 10;

#[derive(Debug)]
pub(super) struct SlowRequests {
    /// From when on a request is slow; zero if none is.
    limit: Duration,
    board: Arc<Board>,
    /// For each worker, the start of the last task that was warned of.
    warned: Vec<Option<Instant>>,
    /// When to look at the board.
    next: Option<Instant>,
    lines: Lines,
}

/// A slow task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slow {
    worker: usize,
    connection: ConnectionId,
    span: Span,
    age: Duration,
    /// Lines that were left out before this one.
    untold: u64,
}

impl SlowRequests {
    pub(super) fn new(limit: Duration, board: Arc<Board>) -> SlowRequests {
        SlowRequests {
            limit,
            warned: vec![None; board.lines().len()],
            board,
            next: None,
            lines: Lines::default(),
        }
    }

    /// When it wants to look.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.next
    }

    /// Tasks may have been queued since the last call.
    pub(super) fn check(
        &mut self,
        has_submitted: bool,
        peer: impl Fn(ConnectionId) -> Option<Peer>,
        now: Instant,
    ) {
        for slow in self.running(has_submitted, now) {
            let age_ms = slow.age.as_millis() as u64;
            let peer = shown(peer(slow.connection));
            warn!(conn = %slow.connection, %peer, seq = %slow.span.first, requests = slow.span.requests,
                worker = slow.worker, age_ms, untold = slow.untold, "a slow request runs");
        }
    }

    /// A task has ended.
    pub(super) fn note_end(
        &mut self,
        completion: &Completion,
        peer: impl Fn(ConnectionId) -> Option<Peer>,
        now: Instant,
    ) {
        if let Some(slow) = self.ended(completion, now) {
            let age_ms = slow.age.as_millis() as u64;
            let peer = shown(peer(slow.connection));
            warn!(conn = %slow.connection, %peer, seq = %slow.span.first, requests = slow.span.requests,
                worker = slow.worker, age_ms, untold = slow.untold, "a slow request has ended");
        }
    }

    /// Those that have become slow since the last look.
    fn running(&mut self, has_submitted: bool, now: Instant) -> Vec<Slow> {
        let mut slow = Vec::new();
        if self.limit.is_zero() || !has_submitted {
            self.next = None;
            return slow;
        }
        if self.next.is_none_or(|next| next > now) {
            // What starts now is slow then.
            self.next.get_or_insert(now + self.limit);
            return slow;
        }
        let mut next = now + self.limit;
        for (worker, line) in self.board.lines().into_iter().enumerate() {
            let Some(running) = line.running else {
                continue;
            };
            let due = running.started_at + self.limit;
            if due > now {
                next = next.min(due);
            } else if self.warned[worker].replace(running.started_at) != Some(running.started_at)
                && let Some(untold) = self.lines.allow(now)
            {
                slow.push(Slow {
                    worker,
                    connection: running.connection,
                    span: running.span,
                    age: now - running.started_at,
                    untold,
                });
            }
        }
        self.next = Some(next);
        slow
    }

    fn ended(&mut self, completion: &Completion, now: Instant) -> Option<Slow> {
        let age = completion.finished_at - completion.started_at;
        if self.limit.is_zero() || age < self.limit {
            return None;
        }
        let untold = self.lines.allow(now)?;
        Some(Slow {
            worker: completion.worker,
            connection: completion.connection,
            span: completion.span,
            age,
            untold,
        })
    }
}

fn shown(peer: Option<Peer>) -> String {
    peer.map_or_else(|| "gone".to_owned(), |peer| peer.to_string())
}

/// Lines of one second.
#[derive(Debug, Default)]
struct Lines {
    /// When the second began.
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Lines {
    /// Whether one more may be written; if so, how many were left out since the last one.
    fn allow(&mut self, now: Instant) -> Option<u64> {
        const SECOND: Duration = Duration::from_secs(1);
        if self.since.is_none_or(|since| now >= since + SECOND) {
            self.since = Some(now);
            self.told = 0;
        }
        if self.told == LINES_PER_SECOND {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Running;
    use crate::task::{Outcomes, Sequence};

    const MS: Duration = Duration::from_millis(1);

    fn running(started_at: Instant) -> Running {
        Running {
            connection: ConnectionId::new(7, 0),
            span: Span {
                first: Sequence(3),
                requests: 1,
            },
            started_at,
        }
    }

    #[test]
    fn a_slow_request_is_told_of_once_while_it_runs() {
        let start = Instant::now();
        let board = Arc::new(Board::new(2));
        let mut slow = SlowRequests::new(100 * MS, Arc::clone(&board));
        let mut told = Vec::new();
        for ms in 0..400u32 {
            let now = start + ms * MS;
            if ms == 10 {
                board.start(1, running(now));
            }
            let is_due = slow.next_due().is_none_or(|due| due <= now);
            let has_submitted = ms >= 10;
            if is_due || ms == 10 {
                let news = slow.running(has_submitted, now);
                told.extend(news.into_iter().map(|slow| (ms, slow.worker, slow.age)));
            }
        }
        assert_eq!(told, [(110, 1, 100 * MS)]);
        assert!(slow.running(false, start + 400 * MS).is_empty());
        assert_eq!(
            slow.next_due(),
            None,
            "nothing runs, so nothing is looked at"
        );
    }

    #[test]
    fn ten_lines_a_second_are_told_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut lines = Lines::default();
        let first: Vec<_> = (0..25).map(|ms| lines.allow(start + ms * MS)).collect();
        assert!(first[..10].iter().all(|told| *told == Some(0)));
        assert!(first[10..].iter().all(Option::is_none));
        assert_eq!(lines.allow(start + 1000 * MS), Some(15));
        assert_eq!(lines.allow(start + 1001 * MS), Some(0));
    }

    #[test]
    fn the_end_of_a_slow_request_is_told_and_that_of_another_is_not() {
        let start = Instant::now();
        let mut slow = SlowRequests::new(100 * MS, Arc::new(Board::new(1)));
        let completion = |took: Duration| Completion {
            connection: ConnectionId::new(7, 0),
            span: running(start).span,
            responses: Vec::new(),
            outcomes: Outcomes::default(),
            is_last: false,
            worker: 0,
            started_at: start,
            finished_at: start + took,
            is_overrun: false,
        };
        assert_eq!(slow.ended(&completion(99 * MS), start), None);
        let ended = slow.ended(&completion(150 * MS), start);
        assert_eq!(ended.map(|slow| slow.age), Some(150 * MS));
        let mut off = SlowRequests::new(Duration::ZERO, Arc::new(Board::new(1)));
        assert_eq!(off.ended(&completion(150 * MS), start), None);
    }
}
