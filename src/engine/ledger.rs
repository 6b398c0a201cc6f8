//! What became of each request: counted for everybody, and noted one by one for a trace.
//!
//! Knows no connection; it is told.
//!
//! Rule: nothing is decided by what stands here.

use super::connection::Counts;
use super::recorder::Recorder;
use super::trace::trace_each;
use crate::stats::Stats;
use crate::task::{Completion, ConnectionId, Span, Task};
use crate::trace::{TaskTimes, Work};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) stats: Stats,
    /// None if nobody wants to know the times of single tasks.
    recorder: Option<Box<Recorder>>,
}

impl Ledger {
    /// Keeps the times of that many tasks which have ended.
    pub(super) fn new(trace_tasks: usize) -> Ledger {
        Ledger {
            stats: Stats::default(),
            recorder: (trace_tasks > 0).then(|| Box::new(Recorder::new(trace_tasks))),
        }
    }

    /// A connection has changed.
    #[inline]
    pub(super) fn changed(&mut self, counts: &Counts) {
        let stats = &mut self.stats;
        stats.framed += counts.framed as u64;
        stats.discarded += counts.abandoned as u64;
        stats.refused_busy += counts.busy as u64;
        stats.too_long += counts.too_long as u64;
        stats.incomplete += counts.incomplete as u64;
        stats.foreign += counts.foreign as u64;
    }

    /// Requests got their slots.
    pub(super) fn submitted(&mut self, requests: usize, framed_at: Instant, now: Instant) {
        let stats = &mut self.stats;
        stats.waiting_time.record(framed_at, now, requests);
        stats.submitted.up(requests);
    }

    /// The same, of all that got theirs at a time.
    pub(super) fn queued(&mut self, tasks: &[Task], now: Instant) {
        if let Some(recorder) = &mut self.recorder {
            recorder.queued(tasks, now);
        }
    }

    /// A worker is done with a task.
    #[inline]
    pub(super) fn worked(&mut self, completion: &Completion) {
        let Completion {
            span,
            outcomes,
            started_at,
            finished_at,
            ..
        } = completion;
        if let Some(recorder) = &mut self.recorder {
            let work = Work {
                worker: completion.worker,
                started_at: *started_at,
                finished_at: Some(*finished_at),
            };
            recorder.worked(completion.connection, span.first, work);
        }
        let stats = &mut self.stats;
        stats.answered_ok += outcomes.ok as u64;
        stats.answered_error += outcomes.error as u64;
        stats.answered_internal += outcomes.internal as u64;
        stats.quick_overruns += u64::from(completion.is_overrun);
        let answered = outcomes.ok + outcomes.error + outcomes.internal;
        stats.discarded += (span.requests - answered) as u64;
        stats.submitted.down(span.requests);
        let working_time = &mut stats.working_time;
        working_time.record_shared(*started_at, *finished_at, span.requests);
    }

    /// The responses to these requests wait for their turn to be written.
    pub(super) fn answered(&mut self, span: Span, queued_at: Instant, started_at: Instant) {
        let queued_time = &mut self.stats.queued_time;
        queued_time.record(queued_at, started_at, span.requests);
    }

    /// Nobody takes the responses to these requests.
    pub(super) fn dropped(&mut self, id: ConnectionId, span: Span, now: Instant) {
        self.stats.dropped += span.requests as u64;
        if let Some(recorder) = &mut self.recorder {
            recorder.dropped(id, span.first, now);
        }
    }

    /// The last byte of the responses to these requests was written.
    #[inline]
    pub(super) fn written(
        &mut self,
        id: ConnectionId,
        span: Span,
        framed_at: Instant,
        now: Instant,
    ) {
        let written_time = &mut self.stats.written_time;
        written_time.record(framed_at, now, span.requests);
        if let Some(recorder) = &mut self.recorder {
            recorder.written(id, span, framed_at, now);
        }
        trace_each(id, span, "written");
    }

    /// A connection has gone, and that many of its requests never got a slot.
    pub(super) fn removed(&mut self, id: ConnectionId, without_slot: usize, now: Instant) {
        self.stats.discarded += without_slot as u64;
        self.stats.connections.down(1);
        if let Some(recorder) = &mut self.recorder {
            recorder.removed(id, now);
        }
    }

    /// The queue gave back these tasks of a connection that has gone, which have `requests`.
    pub(super) fn withdrawn(&mut self, tasks: &[Task], requests: usize, now: Instant) {
        if let Some(recorder) = &mut self.recorder {
            let dropped = |task: &Task| recorder.dropped(task.connection, task.run.span.first, now);
            tasks.iter().for_each(dropped);
        }
        self.stats.discarded += requests as u64;
        self.stats.submitted.down(requests);
    }

    /// The last tasks that have ended, then all that have slots, then those of `waiting`; and how
    /// many requests ended before those.
    pub(super) fn traced(
        &self,
        waiting: impl Iterator<Item = TaskTimes>,
    ) -> Option<(Vec<TaskTimes>, u64)> {
        let recorder = self.recorder.as_deref()?;
        let tasks = recorder.tasks().chain(waiting).collect();
        Some((tasks, recorder.dropped_requests()))
    }

    /// `is_traced` says whether somebody wants to know the times of single tasks.
    pub(super) fn check_invariants(&self, is_traced: bool) {
        assert_eq!(self.recorder.is_some(), is_traced, "off costs nothing");
        if let Some(recorder) = &self.recorder {
            recorder.check_invariants(&self.stats);
        }
    }
}
