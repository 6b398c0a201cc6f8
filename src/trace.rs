//! What became of a server's last tasks, and when: what a time line is drawn from.
//!
//! Knows ids and times; no request's bytes, no connection's state and no clock.
//!
//! Rule: the memory is bounded, and whatever had to go for it is counted.

use crate::task::ConnectionId;
use std::collections::VecDeque;
use std::time::Instant;

/// The last tasks of a server, and the last ticks of its event loop.
///
/// A *task* is what a worker takes at a time: one request, or a run of quick ones of one
/// connection. These share all their times.
///
/// Times of the loop are those at which its tick began: it reads the clock once for all that a
/// tick does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Trace {
    /// When the server's uptime began. Nothing here is older.
    pub started_at: Instant,
    /// When the loop told all this. Nothing here is younger.
    pub taken_at: Instant,
    /// Those that have ended, in that order, at most [`Config::trace_tasks`]; then all that are
    /// under way.
    ///
    /// A request that got no queue slot is here while it waits for one, and again once the answer
    /// that the loop gave it is written. It is not here in between, nor if its connection went
    /// first.
    ///
    /// [`Config::trace_tasks`]: crate::Config::trace_tasks
    pub tasks: Vec<TaskTimes>,
    /// In the order in which they began, at most [`Config::trace_tasks`].
    ///
    /// [`Config::trace_tasks`]: crate::Config::trace_tasks
    pub ticks: Vec<Tick>,
    /// Requests that ended before those, and are not kept.
    pub dropped_requests: u64,
    /// Ticks that began before those, and are not kept.
    pub dropped_ticks: u64,
}

/// What became of one task, and when.
///
/// The times that are known ascend: framed, queued, started, finished, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskTimes {
    /// Whose requests they are.
    pub connection: ConnectionId,
    /// The number of the first request on its connection, from 1.
    pub first: u64,
    /// How many they are.
    pub requests: usize,
    /// When the loop had read them whole.
    pub framed_at: Instant,
    /// When they got their queue slots. None while they wait for these, and of requests that the
    /// loop has answered itself, such as those refused as busy.
    pub queued_at: Option<Instant>,
    /// What a worker did with them. None before it has taken them, and if none ever will.
    pub work: Option<Work>,
    /// None while they are under way.
    pub end: Option<TaskEnd>,
}

/// The time that a worker had a task in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Work {
    /// The number of the worker, from 0.
    pub worker: usize,
    /// When it took the task.
    pub started_at: Instant,
    /// When it was done with it, none while it is at it.
    pub finished_at: Option<Instant>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskEnd {
    /// The last byte of its responses was written, then.
    Written(Instant),
    /// Its connection had gone by then, or closes after an earlier response: it was not run, or
    /// its responses were thrown away.
    Dropped(Instant),
}

impl TaskEnd {
    /// When that was.
    pub fn at(self) -> Instant {
        match self {
            TaskEnd::Written(at) | TaskEnd::Dropped(at) => at,
        }
    }
}

/// One pass of the event loop, without its sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tick {
    /// When the sleep was over.
    pub began_at: Instant,
    /// When all was done.
    pub ended_at: Instant,
}

/// The last items of many.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    items: VecDeque<T>,
    capacity: usize,
}

impl<T> Ring<T> {
    /// Keeps `capacity` items. Memory that no item has used yet is not touched.
    pub(crate) fn new(capacity: usize) -> Ring<T> {
        Ring {
            items: VecDeque::with_capacity(capacity),
            capacity,
        }
    }

    /// Puts in the youngest item; hands out what has to go for it.
    pub(crate) fn push(&mut self, item: T) -> Option<T> {
        let is_full = self.items.len() == self.capacity;
        let gone = is_full.then(|| self.items.pop_front()).flatten();
        self.items.push_back(item);
        gone
    }

    /// From the oldest to the youngest.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }
}

/// The last ticks of a loop.
#[derive(Debug)]
pub(crate) struct Ticks {
    ring: Ring<Tick>,
    dropped: u64,
}

impl Ticks {
    /// Keeps `capacity` ticks, none if that is zero.
    pub(crate) fn new(capacity: usize) -> Option<Ticks> {
        (capacity > 0).then(|| Ticks {
            ring: Ring::new(capacity),
            dropped: 0,
        })
    }

    pub(crate) fn note(&mut self, began_at: Instant, ended_at: Instant) {
        let tick = Tick { began_at, ended_at };
        self.dropped += u64::from(self.ring.push(tick).is_some());
    }

    /// Those that are kept, and how many are not.
    pub(crate) fn kept(&self) -> (Vec<Tick>, u64) {
        (self.ring.iter().copied().collect(), self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TRACED_BYTES;
    use std::time::Duration;

    #[test]
    fn what_is_kept_of_a_task_fits_three_times_into_the_worst_case_of_memory() {
        assert!(3 * (size_of::<TaskTimes>() + size_of::<Tick>()) <= TRACED_BYTES);
    }

    #[test]
    fn a_ring_keeps_the_last_items_and_hands_out_the_others() {
        let mut ring = Ring::new(3);
        let gone: Vec<_> = (0..5).map(|item| ring.push(item)).collect();
        assert_eq!(gone, [None, None, None, Some(0), Some(1)]);
        assert!(ring.iter().eq(&[2, 3, 4]));
    }

    #[test]
    fn ticks_are_kept_if_somebody_asks_for_them_and_those_dropped_are_counted() {
        assert!(Ticks::new(0).is_none());
        let mut ticks = Ticks::new(2).expect("two are asked for");
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for ms in 0..5 {
            ticks.note(at(10 * ms), at(10 * ms + 1));
        }
        let (kept, dropped) = ticks.kept();
        let began: Vec<_> = kept.iter().map(|tick| tick.began_at).collect();
        assert_eq!((began, dropped), (vec![at(30), at(40)], 3));
    }
}
