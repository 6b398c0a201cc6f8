//! The bounded queue between the loop and the workers: one Mutex, and a Condvar for each worker.
//!
//! Knows neither what a task means nor who waits when it is full; that is the engine's.
//!
//! Rule: the loop never blocks on it for room, a worker never spins on it for work, and whoever
//! makes room that somebody waits for is told so by its own `pop`.

use super::sync::{Condvar, Mutex, MutexGuard};
use super::turns::Turns;
use crate::config::QueueOrder;
use crate::stats::{Gauge, QueueStats};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A queue of tasks, together at most `capacity` slots, for any number of workers.
///
/// The pusher side is the loop: it pushes what fits and keeps the rest, so there is no wait for
/// room and no deadline in here. The worker side is [`WorkQueue::pop`], which blocks.
pub struct WorkQueue<T> {
    state: Mutex<State<T>>,
}

/// All of it is guarded by the one lock.
struct State<T> {
    tasks: Turns<Slotted<T>>,
    /// Slots that the tasks take.
    taken: usize,
    capacity: usize,
    order: QueueOrder,
    /// The bells of the workers that sleep and have not been woken for a task. Who fell asleep last is woken first: one
    /// worker then does all that it can, on the core where it and its caches are.
    asleep: Vec<Arc<Condvar>>,
    /// Workers that will be here soon, so that none need be woken: those woken already, and those
    /// out with a quick task.
    coming: usize,
    /// The last push ended at "full": the next pop of a slow task must say that it made room.
    room_wanted: bool,
    closed: bool,
    /// The most slots that were taken at a time: ever, and since [`WorkQueue::start_interval`].
    peak: usize,
    recent_peak: usize,
    lock_waits: u64,
    lock_wait_time: Duration,
}

/// A task and the slots that it takes.
struct Slotted<T> {
    task: T,
    /// Whose it is, whatever the order.
    flow: u32,
    slots: u32,
    is_quick: bool,
}

/// The free slots of a queue, under its lock: handed out by [`WorkQueue::push_while_room`].
pub struct Room<'a, T> {
    state: &'a mut State<T>,
}

impl<T> fmt::Debug for Room<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").field(&self.slots()).finish()
    }
}

impl<T> Room<'_, T> {
    /// Free slots.
    pub fn slots(&self) -> usize {
        self.state.capacity - self.state.taken
    }

    /// Puts in a task that takes `slots` slots; `flow` takes its turn for it. Whoever takes a quick
    /// one is expected back within microseconds.
    ///
    /// # Panics
    /// When there is no such room.
    pub fn push(&mut self, flow: usize, slots: usize, is_quick: bool, task: T) {
        assert!(slots <= self.slots(), "a task is no larger than the room");
        self.state.taken += slots;
        self.state.tasks.push(
            self.state.flow(flow),
            Slotted {
                task,
                flow: flow as u32,
                slots: slots as u32,
                is_quick,
            },
        );
    }
}

/// What the queue has to know of one worker from one pop to the next.
#[derive(Debug, Default)]
pub struct Taker {
    /// Rung for this worker alone: when there is a task for it, and at the close.
    bell: Arc<Condvar>,
    /// It counts in [`State::coming`].
    is_coming: bool,
    /// What it has worked since it last waited, or last left what is queued to another.
    streak: Duration,
}

impl Taker {
    /// What was taken last kept it busy for so long; counted if that was quick and nobody else was let in.
    pub fn worked_for(&mut self, time: Duration) {
        if self.is_coming {
            self.streak += time;
        }
    }
}

/// A worker that is out with quick tasks is waited for, but not when it has been at it for so long: then
/// there is enough to do for another one. About ten times what it costs to wake one.
const QUICK_STREAK: Duration = Duration::from_micros(50);

/// Quick tasks that leave together, at most, each of another flow; and the slots of all of them, unless a single
/// one takes more.
pub(super) const QUICK_BATCH: usize = 8;
const QUICK_BATCH_SLOTS: usize = 64;

/// What [`WorkQueue::pop`] hands out.
#[derive(Debug, PartialEq, Eq)]
pub struct Popped<T> {
    /// One task, or quick ones of different flows whose turns follow each other.
    pub tasks: Vec<T>,
    /// Whether the pusher waits for the slots that this pop freed, and this task may take long: wake it before
    /// starting to work. After quick ones it is woken soon, for their results.
    pub made_room: bool,
}

impl<T> WorkQueue<T> {
    /// A queue of `capacity` slots whose tasks leave in `order`.
    pub fn new(capacity: usize, order: QueueOrder) -> WorkQueue<T> {
        let state = State {
            tasks: Turns::new(),
            taken: 0,
            capacity,
            order,
            asleep: Vec::new(),
            coming: 0,
            room_wanted: false,
            closed: false,
            peak: 0,
            recent_peak: 0,
            lock_waits: 0,
            lock_wait_time: Duration::ZERO,
        };
        WorkQueue {
            state: Mutex::new(state),
        }
    }

    /// Lets `fill` push as much as there is room for, under one lock; so it must be quick. What it keeps
    /// back it must keep back for want of room alone, to the last slot.
    ///
    /// A push that ends with the queue full makes the next `pop` of a slow task report `made_room`. Deciding that
    /// under the lock is the point: a count read earlier could miss the pop that made room just
    /// then, and a request would wait beside a free slot.
    pub fn push_while_room(&self, fill: impl FnOnce(&mut Room<'_, T>)) {
        let mut state = self.lock();
        debug_assert!(
            !state.closed,
            "the loop pushes nothing after it closed the queue"
        );
        fill(&mut Room { state: &mut state });
        state.room_wanted = state.taken == state.capacity;
        state.recent_peak = state.recent_peak.max(state.taken);
        state.peak = state.peak.max(state.recent_peak);
        self.wake_if_wanted(state);
    }

    /// Takes the next task, and if it is quick, some of the quick ones right after it, until one flow's turn comes
    /// again; waits while there is none. `None` once the queue is closed and empty.
    pub fn pop(&self, taker: &mut Taker) -> Option<Popped<T>> {
        let mut state = self.lock();
        state.arrived(taker);
        loop {
            if let Some(first) = state.tasks.pop() {
                return Some(self.hand_out(first, state, taker));
            }
            if state.closed {
                return None;
            }
            taker.streak = Duration::ZERO;
            state.asleep.push(Arc::clone(&taker.bell));
            let woken = taker.bell.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
            if !state.take_back(&taker.bell) {
                state.coming -= 1;
            }
        }
    }

    /// The same, but it does not wait: `None` when there is no task now. For tests in one thread.
    pub fn try_pop(&self, taker: &mut Taker) -> Option<Popped<T>> {
        let mut state = self.lock();
        state.arrived(taker);
        let first = state.tasks.pop()?;
        Some(self.hand_out(first, state, taker))
    }

    fn hand_out(
        &self,
        first: Slotted<T>,
        mut state: MutexGuard<'_, State<T>>,
        taker: &mut Taker,
    ) -> Popped<T> {
        let (is_quick, mut slots) = (first.is_quick, first.slots as usize);
        let most = if is_quick { QUICK_BATCH } else { 1 };
        let mut flows = [first.flow; QUICK_BATCH];
        let mut tasks = Vec::with_capacity(most);
        tasks.push(first.task);
        while tasks.len() < most
            && let Some(next) = state.tasks.pop_if(|next| {
                next.is_quick
                    && slots + next.slots as usize <= QUICK_BATCH_SLOTS
                    && !flows.contains(&next.flow)
            })
        {
            flows[tasks.len()] = next.flow;
            slots += next.slots as usize;
            tasks.push(next.task);
        }
        state.taken -= slots;
        taker.is_coming = is_quick && taker.streak < QUICK_STREAK;
        if taker.is_coming {
            state.coming += 1;
        } else {
            taker.streak = Duration::ZERO;
        }
        let made_room = !is_quick && std::mem::take(&mut state.room_wanted);
        self.wake_if_wanted(state);
        Popped { tasks, made_room }
    }

    /// Unlocks; wakes a worker if there is a task and nobody will be here for it soon. A push
    /// wakes at most one, and whoever leaves tasks behind for long wakes the next.
    fn wake_if_wanted(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.tasks.is_empty() || state.coming > 0 {
            return;
        }
        if let Some(bell) = state.asleep.pop() {
            state.coming += 1;
            drop(state);
            bell.notify_one();
        }
    }

    /// Takes back the tasks of `flow` that `unwanted` picks and that no worker has started.
    pub fn discard(&self, flow: usize, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let flow = state.flow(flow);
        let removed = state.tasks.remove(flow, |slotted| unwanted(&slotted.task));
        state.taken -= removed
            .iter()
            .map(|slotted| slotted.slots as usize)
            .sum::<usize>();
        removed.into_iter().map(|slotted| slotted.task).collect()
    }

    /// Ends the queue: what is in it is still handed out, then every `pop` returns `None`.
    pub fn close(&self) {
        self.lock().close();
    }

    /// Ends the queue and empties it: no worker takes another task.
    pub fn abandon(&self) -> Vec<T> {
        let mut state = self.lock();
        state.close();
        state.taken = 0;
        std::iter::from_fn(|| state.tasks.pop())
            .map(|slotted| slotted.task)
            .collect()
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

    /// A panic under the lock would be a bug of this program. It ends the worker, and so the server; until
    /// then the others go on, for the loop has to come to its end.
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

impl<T> State<T> {
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

    /// Whose turn a task takes: its own flow's, or in FIFO order that of the one flow of all.
    fn flow(&self, flow: usize) -> usize {
        match self.order {
            QueueOrder::Fair => flow,
            QueueOrder::Fifo => 0,
        }
    }

    /// The sleep of this bell's worker has ended: takes the bell off the stack. False if it was rung for a task.
    fn take_back(&mut self, bell: &Arc<Condvar>) -> bool {
        let at = self
            .asleep
            .iter()
            .position(|other| Arc::ptr_eq(other, bell));
        at.map(|at| self.asleep.remove(at)).is_some()
    }

    fn close(&mut self) {
        self.closed = true;
        for bell in &self.asleep {
            bell.notify_one();
        }
    }

    /// A worker that was on its way here has the lock.
    fn arrived(&mut self, taker: &mut Taker) {
        if std::mem::take(&mut taker.is_coming) {
            self.coming -= 1;
        }
    }
}

impl<T> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
