//! The bounded queue between the loop and the workers: one Mutex and one Condvar.
//!
//! Knows neither what a task means nor which requests wait when it is full; that is the engine's.
//!
//! Rule: the loop never blocks on it for room, a worker never spins on it for work, and the pop
//! that makes room that the loop waits for says so.

use super::parking::{Parking, Whereabouts};
use super::round_robin::RoundRobin;
use super::sync::{Condvar, Mutex, MutexGuard};
use crate::config::QueueOrder;
use crate::stats::{Gauge, QueueStats};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A handler may be wrong about what it calls quick. So once the queue has not been empty for this
/// long, a worker is woken for each task, however soon others should be back. With the time in
/// which the loop gets to it, no request waits for longer than a millisecond beside a parked
/// worker.
pub const PATIENCE: Duration = Duration::from_micros(900);

/// A queue of tasks, together at most `capacity` slots, for any number of workers.
///
/// The pusher side is the loop: it pushes what fits and keeps the rest, so there is no wait for
/// room and no deadline in here. The worker side is [`Taker::pop`], which blocks.
pub struct WorkQueue<T> {
    state: Mutex<State<T>>,
    /// Where workers are parked: notified for each that is woken, and for all at the close.
    parked: Condvar,
}

/// All of it is guarded by the one lock.
struct State<T> {
    tasks: RoundRobin<T>,
    /// When a push last found it empty.
    occupied_since: Instant,
    /// Slots that the tasks take.
    taken: usize,
    capacity: usize,
    order: QueueOrder,
    parking: Parking,
    /// The last push ended at "full": the next pop must say that it made room.
    room_wanted: bool,
    closed: bool,
    /// The most slots that were taken at a time: ever, and since [`WorkQueue::start_interval`].
    peak: usize,
    recent_peak: usize,
    lock_waits: u64,
    lock_wait_time: Duration,
}

/// What the queue has to know of a task.
pub trait Slotted {
    /// The flow that takes a turn for it.
    fn flow(&self) -> usize;

    /// How many slots it takes.
    fn slots(&self) -> usize;

    /// Whether the worker that takes it is expected back within microseconds.
    fn is_quick(&self) -> bool;
}

/// How a push left the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Slots that are free now. If there are none, the next pop reports that it made room.
    pub room: usize,
    /// When to [`WorkQueue::check`], unless another push comes first.
    pub check_at: Option<Instant>,
}

/// What [`Taker::pop`] hands out.
#[derive(Debug, PartialEq, Eq)]
pub struct Popped<T> {
    /// What is to be done.
    pub task: T,
    /// Whether the pusher waits for the slots that this pop freed: wake it before starting to
    /// work.
    pub made_room: bool,
}

/// One worker's end of the queue.
#[derive(Debug)]
pub struct Taker<T: Slotted> {
    queue: Arc<WorkQueue<T>>,
    whereabouts: Whereabouts,
}

impl<T: Slotted> Taker<T> {
    /// An end for one more worker.
    pub fn new(queue: &Arc<WorkQueue<T>>) -> Taker<T> {
        Taker {
            queue: Arc::clone(queue),
            whereabouts: Whereabouts::Elsewhere,
        }
    }

    /// Takes the next task; waits while there is none. `None` once the queue is closed and empty.
    pub fn pop(&mut self) -> Option<Popped<T>> {
        let mut state = self.queue.lock();
        loop {
            match state.next(&mut self.whereabouts) {
                Next::Task(popped) => {
                    self.queue.wake_one_if_wanted(state);
                    return Some(popped);
                }
                Next::End => return None,
                Next::Parked => {
                    let woken = self.queue.parked.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// The same, but where `pop` would sleep it returns `None`: then this worker counts as parked
    /// until it is back. For tests in one thread.
    pub fn try_pop(&mut self) -> Option<Popped<T>> {
        let mut state = self.queue.lock();
        match state.next(&mut self.whereabouts) {
            Next::Task(popped) => {
                self.queue.wake_one_if_wanted(state);
                Some(popped)
            }
            Next::End | Next::Parked => None,
        }
    }
}

/// A worker that will not come back is not counted on.
impl<T: Slotted> Drop for Taker<T> {
    fn drop(&mut self) {
        self.queue.lock().parking.enter(&mut self.whereabouts);
    }
}

/// What a worker finds.
enum Next<T> {
    Task(Popped<T>),
    End,
    Parked,
}

impl<T: Slotted> WorkQueue<T> {
    /// A queue of `capacity` slots whose tasks leave in `order`.
    pub fn new(capacity: usize, order: QueueOrder) -> WorkQueue<T> {
        let state = State {
            tasks: RoundRobin::new(),
            occupied_since: Instant::now(),
            taken: 0,
            capacity,
            order,
            parking: Parking::default(),
            room_wanted: false,
            closed: false,
            peak: 0,
            recent_peak: 0,
            lock_waits: 0,
            lock_wait_time: Duration::ZERO,
        };
        WorkQueue {
            state: Mutex::new(state),
            parked: Condvar::new(),
        }
    }

    /// Puts in tasks that fit into the room that the last push left; it may have become more. The
    /// pusher keeps tasks back only while there is no room.
    ///
    /// A push that leaves the queue full makes the next `pop` report `made_room`. Deciding that
    /// under the lock is the point: a count read earlier could miss the pop that made room just
    /// then, and a request would wait beside a free slot.
    ///
    /// # Panics
    /// When there is no such room.
    pub fn push(&self, now: Instant, tasks: impl IntoIterator<Item = T>) -> Pushed {
        let mut state = self.lock();
        assert!(!state.closed, "nothing is pushed into a closed queue");
        if state.tasks.len() == 0 {
            state.occupied_since = now;
        }
        for task in tasks {
            state.taken += task.slots();
            let flow = state.flow(task.flow());
            state.tasks.push(flow, task);
        }
        let room = state.capacity.checked_sub(state.taken);
        let room = room.expect("a task is no larger than the room");
        state.room_wanted = room == 0;
        state.recent_peak = state.recent_peak.max(state.taken);
        state.peak = state.peak.max(state.recent_peak);
        Pushed {
            room,
            check_at: self.wake(state, now),
        }
    }

    /// Wakes workers that have been parked beside a task for too long. Says when to check again,
    /// unless a push comes first; `None` if no task waits for a worker that is out.
    pub fn check(&self, now: Instant) -> Option<Instant> {
        self.wake(self.lock(), now)
    }

    fn wake(&self, mut state: MutexGuard<'_, State<T>>, now: Instant) -> Option<Instant> {
        let tasks = state.tasks.len();
        let check_at = state.occupied_since + PATIENCE;
        let workers = if check_at <= now {
            state.parking.missing(tasks)
        } else {
            usize::from(state.parking.wants_one(tasks))
        };
        state.parking.wake(workers);
        let relies_on_others = state.parking.missing(tasks) > 0;
        drop(state);
        (0..workers).for_each(|_| self.parked.notify_one());
        relies_on_others.then_some(check_at)
    }

    /// Unlocks; wakes a worker if what is queued is too much for those that will be here soon.
    fn wake_one_if_wanted(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.parking.wants_one(state.tasks.len()) {
            state.parking.wake(1);
            drop(state);
            self.parked.notify_one();
        }
    }

    /// Takes back the tasks of `flow` that `unwanted` picks and that no worker has started.
    pub fn discard(&self, flow: usize, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let flow = state.flow(flow);
        let removed = state.tasks.remove(flow, unwanted);
        state.taken -= removed.iter().map(T::slots).sum::<usize>();
        removed
    }

    /// Ends the queue: what is in it is still handed out, then every `pop` returns `None`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.parked.notify_all();
    }

    /// Ends the queue and empties it: no worker takes another task.
    pub fn abandon(&self) -> Vec<T> {
        self.close();
        let mut state = self.lock();
        state.taken = 0;
        std::iter::from_fn(|| state.tasks.pop()).collect()
    }

    /// Where the workers are.
    pub fn parking(&self) -> Parking {
        self.lock().parking
    }

    /// What the queue has been through so far.
    pub fn stats(&self) -> QueueStats {
        self.lock().stats()
    }

    /// The same; from here on it has another recent peak.
    pub fn start_interval(&self) -> QueueStats {
        let mut state = self.lock();
        let stats = state.stats();
        state.recent_peak = state.taken;
        stats
    }

    /// A panic under the lock would be a bug of this program. It ends the worker, and so the
    /// server; until then the others go on, for the loop has to come to its end.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Only the contended path reads the clock, so measuring costs nothing where it matters.
        if let Ok(state) = self.state.try_lock() {
            return state;
        }
        let start = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lock_waits += 1;
        state.lock_wait_time += start.elapsed();
        state
    }
}

impl<T: Slotted> State<T> {
    fn stats(&self) -> QueueStats {
        QueueStats {
            queued: Gauge {
                now: self.taken as u64,
                peak: self.peak as u64,
                recent_peak: self.recent_peak as u64,
            },
            lock_waits: self.lock_waits,
            lock_wait_time: self.lock_wait_time,
        }
    }

    /// The flow that takes a turn for a task: its own, or in FIFO order the one flow of all.
    fn flow(&self, flow: usize) -> usize {
        match self.order {
            QueueOrder::Fair => flow,
            QueueOrder::Fifo => 0,
        }
    }

    fn next(&mut self, worker: &mut Whereabouts) -> Next<T> {
        self.parking.enter(worker);
        let Some(task) = self.tasks.pop() else {
            if self.closed {
                return Next::End;
            }
            self.parking.park(worker);
            return Next::Parked;
        };
        self.taken -= task.slots();
        if task.is_quick() {
            self.parking.leave_quick(worker);
        }
        Next::Task(Popped {
            task,
            made_room: std::mem::take(&mut self.room_wanted),
        })
    }
}

impl<T> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
