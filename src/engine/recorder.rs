//! The times of tasks, from their queue slots to the last byte of their responses.
//!
//! Knows tasks by connection and numbers; what they ask for it does not see.
//!
//! Rule: a task is open from its slots to its end, and each ends once. Where nobody asked for the
//! times there is no recorder, and the engine pays one check for a whole task.

use crate::stats::{Stats, Times};
use crate::task::{ConnectionId, Sequence, Span, Task};
use crate::trace::{Ring, TaskEnd, TaskTimes, Work};
use std::collections::BTreeMap;
use std::time::Instant;

/// Names a task by its first request.
type Key = (ConnectionId, Sequence);

#[derive(Debug)]
pub(super) struct Recorder {
    /// Tasks that have got their slots and have not ended. Their number is bounded as that of
    /// requests in flight is.
    open: BTreeMap<Key, TaskTimes>,
    ended: Ring<TaskTimes>,
    /// Requests that the ring has lost.
    dropped_requests: u64,
}

impl Recorder {
    /// Keeps that many tasks which have ended.
    pub(super) fn new(capacity: usize) -> Recorder {
        Recorder {
            open: BTreeMap::new(),
            ended: Ring::new(capacity),
            dropped_requests: 0,
        }
    }

    /// These tasks got their slots.
    #[cold]
    pub(super) fn queued(&mut self, tasks: &[Task], now: Instant) {
        for Task { connection, run } in tasks {
            let task = TaskTimes {
                queued_at: Some(now),
                ..framed(*connection, run.span, run.framed_at)
            };
            self.open.insert((*connection, run.span.first), task);
        }
    }

    /// A worker is done with a task.
    #[cold]
    pub(super) fn worked(&mut self, id: ConnectionId, first: Sequence, work: Work) {
        let task = self.open.get_mut(&(id, first));
        let task = task.expect("a task that comes back has got slots and has not ended");
        task.work = Some(work);
    }

    /// The last byte of the responses to these requests was written. Those of them that have no
    /// task were answered by the loop itself.
    #[cold]
    pub(super) fn written(
        &mut self,
        id: ConnectionId,
        span: Span,
        framed_at: Instant,
        now: Instant,
    ) {
        let tasks = self.open.range((id, span.first)..(id, span.end()));
        let tasks: Vec<TaskTimes> = tasks.map(|(_, task)| *task).collect();
        let mut next = span.first;
        for task in tasks {
            let first = Sequence(task.first);
            self.written_by_the_loop(id, next, first, framed_at, now);
            self.open.remove(&(id, first));
            // A worker may have finished since the tick began.
            self.end(task, TaskEnd::Written(now.max(last_known(&task))));
            next = Sequence(task.first + task.requests as u64);
        }
        self.written_by_the_loop(id, next, span.end(), framed_at, now);
    }

    /// The same of those from `first` up to `end`, none if that is the same.
    fn written_by_the_loop(
        &mut self,
        id: ConnectionId,
        first: Sequence,
        end: Sequence,
        framed_at: Instant,
        now: Instant,
    ) {
        let requests = (end.0 - first.0) as usize;
        if requests > 0 {
            let task = framed(id, Span { first, requests }, framed_at);
            self.end(task, TaskEnd::Written(now));
        }
    }

    /// Nobody takes the responses of a task that has come back, or it was taken back itself.
    #[cold]
    pub(super) fn dropped(&mut self, id: ConnectionId, first: Sequence, now: Instant) {
        let task = self.open.remove(&(id, first));
        let task = task.expect("a task that is dropped has not ended");
        self.end(task, TaskEnd::Dropped(now.max(last_known(&task))));
    }

    /// A connection has gone. Those of its tasks that have not come back do so later, or are taken
    /// back.
    #[cold]
    pub(super) fn removed(&mut self, id: ConnectionId, now: Instant) {
        let all = (id, Sequence(0))..=(id, Sequence(u64::MAX));
        let have_come_back = self.open.range(all).filter(|(_, task)| task.work.is_some());
        let keys: Vec<Key> = have_come_back.map(|(key, _)| *key).collect();
        for (id, first) in keys {
            self.dropped(id, first, now);
        }
    }

    fn end(&mut self, mut task: TaskTimes, end: TaskEnd) {
        task.end = Some(end);
        if let Some(gone) = self.ended.push(task) {
            self.dropped_requests += gone.requests as u64;
        }
    }

    /// All tasks that are kept: those that have ended first.
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskTimes> {
        self.ended.iter().chain(self.open.values()).copied()
    }

    /// Each request stands here once, with all the times that were counted of it.
    pub(super) fn check_invariants(&self, stats: &Stats) {
        assert!(self.open.values().all(|task| task.end.is_none()));
        let (mut queued, mut worked, mut written) = (0, 0, 0);
        for task in self.tasks() {
            let requests = task.requests as u64;
            let has = |is_so| if is_so { requests } else { 0 };
            queued += has(task.queued_at.is_some());
            worked += has(task.work.is_some());
            written += has(matches!(task.end, Some(TaskEnd::Written(_))));
            let work = task
                .work
                .map(|work| (Some(work.started_at), work.finished_at));
            let (started_at, finished_at) = work.unwrap_or_default();
            let times = [task.queued_at, started_at, finished_at];
            let end = task.end.map(TaskEnd::at);
            let known = times.into_iter().chain([end]).flatten();
            assert!([task.framed_at].into_iter().chain(known).is_sorted());
        }
        if self.dropped_requests == 0 {
            let times = [
                &stats.waiting_time,
                &stats.working_time,
                &stats.written_time,
            ];
            assert_eq!([queued, worked, written], times.map(Times::count));
        }
    }

    /// Requests that are not kept.
    pub(super) fn dropped_requests(&self) -> u64 {
        self.dropped_requests
    }
}

/// Requests of which no more is known.
pub(super) fn framed(connection: ConnectionId, span: Span, framed_at: Instant) -> TaskTimes {
    TaskTimes {
        connection,
        first: span.first.0,
        requests: span.requests,
        framed_at,
        queued_at: None,
        work: None,
        end: None,
    }
}

fn last_known(task: &TaskTimes) -> Instant {
    let finished_at = task.work.and_then(|work| work.finished_at);
    finished_at.or(task.queued_at).unwrap_or(task.framed_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Run;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    fn span(first: u64, requests: usize) -> Span {
        Span {
            first: Sequence(first),
            requests,
        }
    }

    /// A recorder, and the beginning of its time.
    struct Test {
        recorder: Recorder,
        start: Instant,
        id: ConnectionId,
    }

    impl Test {
        fn new(capacity: usize) -> Test {
            Test {
                recorder: Recorder::new(capacity),
                start: Instant::now(),
                id: ConnectionId::new(7, 0),
            }
        }

        fn at(&self, ms: u32) -> Instant {
            self.start + ms * MS
        }

        /// Framed one millisecond before.
        fn queue(&mut self, span: Span, ms: u32) {
            let run = Run {
                span,
                frames: Vec::new(),
                framed_at: self.at(ms - 1),
                is_quick: true,
            };
            let (connection, at) = (self.id, self.at(ms));
            self.recorder.queued(&[Task { connection, run }], at);
        }

        fn work(&mut self, first: u64, from_ms: u32, to_ms: u32) {
            let work = Work {
                worker: 3,
                started_at: self.at(from_ms),
                finished_at: Some(self.at(to_ms)),
            };
            self.recorder.worked(self.id, Sequence(first), work);
        }

        /// Which requests they are, the number of the first one, and how they ended.
        fn tasks(&self) -> Vec<(u64, usize, bool, Option<TaskEnd>)> {
            let tasks = self.recorder.tasks();
            tasks
                .map(|task| (task.first, task.requests, task.work.is_some(), task.end))
                .collect()
        }
    }

    #[test]
    fn what_is_written_ends_its_tasks_and_what_had_none_was_answered_by_the_loop() {
        let mut test = Test::new(10);
        test.queue(span(2, 3), 1);
        test.queue(span(5, 1), 1);
        test.queue(span(7, 1), 1);
        test.work(5, 2, 3);
        test.work(2, 2, 9);
        assert!(test.tasks().iter().all(|(.., end)| end.is_none()));
        // The tick in which it is written began before the worker was done.
        let (framed_at, now) = (test.at(0), test.at(8));
        test.recorder.written(test.id, span(1, 6), framed_at, now);
        let written = |ms| Some(TaskEnd::Written(test.at(ms)));
        let expected = [
            (1, 1, false, written(8)),
            (2, 3, true, written(9)),
            (5, 1, true, written(8)),
            (6, 1, false, written(8)),
            (7, 1, false, None),
        ];
        assert_eq!(test.tasks(), expected);
    }

    #[test]
    fn requests_that_the_ring_loses_are_counted() {
        let mut test = Test::new(2);
        for first in [1, 4, 7] {
            test.queue(span(first, 3), 1);
        }
        for first in [1, 4, 7] {
            test.work(first, 2, 3);
            let (framed_at, now) = (test.at(0), test.at(4));
            test.recorder
                .written(test.id, span(first, 3), framed_at, now);
        }
        let kept: Vec<_> = test.tasks().iter().map(|(first, ..)| *first).collect();
        assert_eq!((kept, test.recorder.dropped_requests()), (vec![4, 7], 3));
    }

    #[test]
    fn tasks_of_a_connection_that_has_gone_end_once_they_have_come_back() {
        let mut test = Test::new(10);
        test.queue(span(1, 1), 1);
        test.queue(span(2, 1), 1);
        test.work(2, 2, 3);
        let another = std::mem::replace(&mut test.id, ConnectionId::new(8, 1));
        test.queue(span(1, 1), 1);
        test.id = another;
        test.recorder.removed(test.id, test.at(4));
        let dropped = |ms| Some(TaskEnd::Dropped(test.at(ms)));
        let expected = [
            (2, 1, true, dropped(4)),
            (1, 1, false, None),
            (1, 1, false, None),
        ];
        assert_eq!(test.tasks(), expected);
        let last = dropped(5);
        test.work(1, 2, 5);
        test.recorder.dropped(test.id, Sequence(1), test.at(4));
        assert_eq!(test.tasks()[1], (1, 1, true, last));
        assert_eq!(test.recorder.open.len(), 1);
    }
}
