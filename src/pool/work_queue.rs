//! The bounded queue between the loop and the workers: one Mutex, one Condvar.
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
use std::time::{Duration, Instant};

/// A queue of tasks, together at most `capacity` slots, for any number of workers.
///
/// The pusher side is the loop: it pushes what fits and keeps the rest, so there is no wait for
/// room and no deadline in here. The worker side is [`WorkQueue::pop`], which blocks.
pub struct WorkQueue<T> {
    state: Mutex<State<T>>,
    /// Signalled when there is a task for one more worker, and at the close.
    takeable: Condvar,
}

/// All of it is guarded by the one lock.
struct State<T> {
    tasks: Turns<Slotted<T>>,
    /// Slots that the tasks take.
    taken: usize,
    capacity: usize,
    order: QueueOrder,
    /// Workers inside `takeable.wait`.
    idle: usize,
    /// Workers that will be here soon, so that none need be woken: those woken already, and those
    /// out with a quick task. May be too low after a wake that nobody asked for, never too high.
    coming: usize,
    /// The last push ended at "full": the next pop must say that it made room.
    room_wanted: bool,
    closed: bool,
    /// The most slots that were taken at a time.
    peak: usize,
    lock_waits: u64,
    lock_wait_time: Duration,
}

/// A task and the slots that it takes.
struct Slotted<T> {
    task: T,
    slots: usize,
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
        let flow = self.state.flow(flow);
        self.state.taken += slots;
        self.state.tasks.push(
            flow,
            Slotted {
                task,
                slots,
                is_quick,
            },
        );
    }
}

/// What the queue has to know of one worker from one pop to the next.
#[derive(Debug, Default)]
pub struct Taker {
    /// It counts in [`State::coming`].
    is_coming: bool,
    /// Tasks taken since it last waited.
    streak: usize,
}

/// A worker that is out with a quick task is waited for, but only for so many tasks on end: then
/// there is enough to do for another one.
const QUICK_STREAK: usize = 16;

/// What [`WorkQueue::pop`] hands out.
#[derive(Debug, PartialEq, Eq)]
pub struct Popped<T> {
    /// The task.
    pub task: T,
    /// Whether the pusher waits for the slots that this pop freed: wake it before starting to work.
    pub made_room: bool,
}

impl<T> WorkQueue<T> {
    /// A queue of `capacity` slots whose tasks leave in `order`.
    pub fn new(capacity: usize, order: QueueOrder) -> WorkQueue<T> {
        let state = State {
            tasks: Turns::with_capacity(capacity),
            taken: 0,
            capacity,
            order,
            idle: 0,
            coming: 0,
            room_wanted: false,
            closed: false,
            peak: 0,
            lock_waits: 0,
            lock_wait_time: Duration::ZERO,
        };
        WorkQueue {
            state: Mutex::new(state),
            takeable: Condvar::new(),
        }
    }

    /// Lets `fill` push as much as there is room for, under one lock; so it must be quick.
    ///
    /// A push that ends with the queue full makes the next `pop` report `made_room`. Deciding that
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
        state.peak = state.peak.max(state.taken);
        self.wake_if_wanted(state);
    }

    /// Takes the next task; waits for one while there is none. `None` once the queue is closed
    /// and empty.
    pub fn pop(&self, taker: &mut Taker) -> Option<Popped<T>> {
        let mut state = self.lock();
        state.arrived(taker);
        loop {
            if let Some(slotted) = state.tasks.pop() {
                return Some(self.hand_out(slotted, state, taker));
            }
            if state.closed {
                return None;
            }
            taker.streak = 0;
            state.idle += 1;
            state = self.takeable.wait(state).expect(UNPOISONED);
            state.idle -= 1;
            taker.is_coming = true;
            state.arrived(taker);
        }
    }

    /// Takes the next task, if there is one now.
    pub fn try_pop(&self, taker: &mut Taker) -> Option<Popped<T>> {
        let mut state = self.lock();
        state.arrived(taker);
        let slotted = state.tasks.pop()?;
        Some(self.hand_out(slotted, state, taker))
    }

    fn hand_out(
        &self,
        slotted: Slotted<T>,
        mut state: MutexGuard<'_, State<T>>,
        taker: &mut Taker,
    ) -> Popped<T> {
        let Slotted {
            task,
            slots,
            is_quick,
        } = slotted;
        state.taken -= slots;
        taker.streak += 1;
        taker.is_coming = is_quick && !taker.streak.is_multiple_of(QUICK_STREAK);
        state.coming += usize::from(taker.is_coming);
        let made_room = std::mem::take(&mut state.room_wanted);
        self.wake_if_wanted(state);
        Popped { task, made_room }
    }

    /// Unlocks; wakes a worker if there is a task and nobody will be here for it soon. A push
    /// wakes at most one, and whoever leaves tasks behind for long wakes the next.
    fn wake_if_wanted(&self, mut state: MutexGuard<'_, State<T>>) {
        let wake = !state.tasks.is_empty() && state.idle > 0 && state.coming == 0;
        state.coming += usize::from(wake);
        drop(state);
        if wake {
            self.takeable.notify_one();
        }
    }

    /// Takes back the tasks of `flow` that `unwanted` picks and that no worker has started.
    pub fn discard(&self, flow: usize, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let flow = state.flow(flow);
        let removed = state.tasks.remove(flow, |slotted| unwanted(&slotted.task));
        state.taken -= removed.iter().map(|slotted| slotted.slots).sum::<usize>();
        removed.into_iter().map(|slotted| slotted.task).collect()
    }

    /// Ends the queue: what is in it is still handed out, then every `pop` returns `None`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.takeable.notify_all();
    }

    /// Ends the queue and empties it: no worker takes another task.
    pub fn abandon(&self) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        state.taken = 0;
        let abandoned = std::iter::from_fn(|| state.tasks.pop())
            .map(|slotted| slotted.task)
            .collect();
        drop(state);
        self.takeable.notify_all();
        abandoned
    }

    /// What the queue has been through so far.
    pub fn stats(&self) -> QueueStats {
        let state = self.lock();
        let queued = Gauge {
            now: state.taken as u64,
            peak: state.peak as u64,
        };
        let (lock_waits, lock_wait_time) = (state.lock_waits, state.lock_wait_time);
        QueueStats {
            queued,
            lock_waits,
            lock_wait_time,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Only the contended path reads the clock, so measuring costs nothing where it matters.
        if let Ok(state) = self.state.try_lock() {
            return state;
        }
        let start = Instant::now();
        let mut state = self.state.lock().expect(UNPOISONED);
        state.lock_waits += 1;
        state.lock_wait_time += start.elapsed();
        state
    }
}

const UNPOISONED: &str = "nothing that runs under the queue's lock panics";

impl<T> State<T> {
    /// Whose turn a task takes: its own flow's, or in FIFO order that of the one flow of all.
    fn flow(&self, flow: usize) -> usize {
        match self.order {
            QueueOrder::Fair => flow,
            QueueOrder::Fifo => 0,
        }
    }

    /// A worker has the lock that was on its way here, or came unasked.
    fn arrived(&mut self, taker: &mut Taker) {
        if std::mem::take(&mut taker.is_coming) {
            self.coming = self.coming.saturating_sub(1);
        }
    }
}

impl<T> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::{Arc, mpsc};
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Pushes one slow task of one slot; false when there was no room.
    fn push(queue: &WorkQueue<u32>, flow: usize, task: u32) -> bool {
        let mut pushed = false;
        queue.push_while_room(|room| {
            if room.slots() > 0 {
                room.push(flow, 1, false, task);
                pushed = true;
            }
        });
        pushed
    }

    /// Pushes quick tasks of one slot each, all of one flow.
    fn push_quick(queue: &WorkQueue<u32>, tasks: impl IntoIterator<Item = u32>) {
        queue.push_while_room(|room| {
            tasks
                .into_iter()
                .for_each(|task| room.push(0, 1, true, task))
        });
    }

    /// What a worker gets that was never here before.
    fn pop(queue: &WorkQueue<u32>) -> Option<Popped<u32>> {
        queue.pop(&mut Taker::default())
    }

    fn try_pop(queue: &WorkQueue<u32>, taker: &mut Taker) -> Option<u32> {
        queue.try_pop(taker).map(|popped| popped.task)
    }

    fn popped(task: u32, made_room: bool) -> Option<Popped<u32>> {
        Some(Popped { task, made_room })
    }

    fn free_slots(queue: &WorkQueue<u32>) -> usize {
        let mut slots = 0;
        queue.push_while_room(|room| slots = room.slots());
        slots
    }

    fn fair(capacity: usize) -> WorkQueue<u32> {
        WorkQueue::new(capacity, QueueOrder::Fair)
    }

    /// A worker in a thread of its own; sends each task that it takes, and ends with the queue.
    fn worker(queue: &Arc<WorkQueue<u32>>) -> mpsc::Receiver<u32> {
        let (took, tasks) = mpsc::channel();
        let queue = Arc::clone(queue);
        thread::spawn(move || {
            let mut taker = Taker::default();
            while let Some(popped) = queue.pop(&mut taker) {
                took.send(popped.task).expect("the test listens");
            }
        });
        tasks
    }

    fn await_idle(queue: &WorkQueue<u32>, idle: usize) {
        let start = Instant::now();
        while queue.lock().idle != idle {
            assert!(start.elapsed() < PATIENCE, "{idle} workers wait for a task");
            thread::yield_now();
        }
    }

    /// Workers that wait, and those that were woken and have not come yet or are out with a quick task.
    fn idle_and_coming(queue: &WorkQueue<u32>) -> (usize, usize) {
        let state = queue.lock();
        (state.idle, state.coming)
    }

    // Room.

    #[test]
    fn a_full_queue_takes_nothing() {
        let queue = fair(2);
        assert!(push(&queue, 0, 1) && push(&queue, 0, 2));
        assert_eq!(free_slots(&queue), 0);
        assert!(!push(&queue, 0, 3));
    }

    #[test]
    fn a_task_takes_its_slots_and_gives_them_back_when_it_is_popped() {
        let queue = fair(5);
        queue.push_while_room(|room| {
            room.push(0, 3, true, 1);
            assert_eq!(room.slots(), 2);
            room.push(0, 2, false, 2);
            assert_eq!(room.slots(), 0);
        });
        assert_eq!(queue.stats().queued, Gauge { now: 5, peak: 5 });
        assert_eq!(pop(&queue), popped(1, true));
        assert_eq!(free_slots(&queue), 3);
        assert_eq!(pop(&queue), popped(2, false));
        assert_eq!(free_slots(&queue), 5);
        assert_eq!(queue.stats().queued, Gauge { now: 0, peak: 5 });
    }

    #[test]
    fn a_discarded_task_gives_its_slots_back() {
        let queue = fair(6);
        queue.push_while_room(|room| {
            room.push(1, 3, true, 10);
            room.push(1, 2, true, 20);
            room.push(2, 1, true, 30);
        });
        assert_eq!(queue.discard(1, |task| *task == 10), [10]);
        assert_eq!(free_slots(&queue), 3);
        assert_eq!(queue.discard(2, |_| true), [30]);
        assert_eq!(free_slots(&queue), 4);
        assert_eq!(pop(&queue), popped(20, false));
        assert_eq!(free_slots(&queue), 6);
    }

    #[test]
    #[should_panic(expected = "a task is no larger than the room")]
    fn a_task_larger_than_the_room_is_a_bug_of_the_pusher() {
        let queue = fair(3);
        push(&queue, 0, 1);
        queue.push_while_room(|room| room.push(0, 3, true, 2));
    }

    #[test]
    fn the_pop_that_makes_awaited_room_says_so_once() {
        let queue = fair(2);
        push(&queue, 0, 1);
        assert_eq!(pop(&queue), popped(1, false));
        push(&queue, 0, 2);
        push(&queue, 0, 3);
        assert_eq!(pop(&queue), popped(2, true));
        assert_eq!(pop(&queue), popped(3, false));
    }

    // Order and end.

    #[test]
    fn fifo_keeps_arrival_order_where_fair_takes_turns() {
        for (order, expected) in [(QueueOrder::Fifo, [1, 2, 3]), (QueueOrder::Fair, [1, 3, 2])] {
            let queue = WorkQueue::new(3, order);
            for (flow, task) in [(7, 1), (7, 2), (8, 3)] {
                push(&queue, flow, task);
            }
            let got = expected.map(|_| pop(&queue).expect("three tasks").task);
            assert_eq!(got, expected, "{order:?}");
        }
    }

    #[test]
    fn discard_takes_only_what_is_unwanted_in_either_order() {
        for order in [QueueOrder::Fifo, QueueOrder::Fair] {
            let queue = WorkQueue::new(8, order);
            for (flow, task) in [(1, 10), (2, 20), (1, 11)] {
                push(&queue, flow, task);
            }
            assert_eq!(queue.discard(1, |task| task / 10 == 1), [10, 11]);
            assert_eq!(pop(&queue).map(|popped| popped.task), Some(20));
        }
    }

    #[test]
    fn close_lets_the_queue_drain_and_then_ends_every_worker() {
        let queue = Arc::new(fair(8));
        for task in 0..5 {
            push(&queue, 0, task);
        }
        queue.close();
        let drained: Vec<_> = std::iter::from_fn(|| pop(&queue))
            .map(|popped| popped.task)
            .collect();
        assert_eq!(drained, [0, 1, 2, 3, 4]);
        let idle = Arc::new(fair(8));
        let workers = [(); 3].map(|()| {
            let queue = Arc::clone(&idle);
            thread::spawn(move || pop(&queue))
        });
        idle.close();
        for worker in workers {
            assert_eq!(worker.join().expect("no panic"), None);
        }
    }

    #[test]
    fn an_abandoned_queue_hands_out_nothing_more() {
        let queue = fair(8);
        push(&queue, 0, 1);
        push(&queue, 1, 2);
        assert_eq!(queue.abandon(), [1, 2]);
        assert_eq!(pop(&queue), None);
    }

    // Who is woken. The test is one worker, `worker` starts the other.

    #[test]
    fn a_worker_out_with_a_quick_task_is_not_doubled_by_waking_another() {
        let (queue, mut taker) = (Arc::new(fair(8)), Taker::default());
        push_quick(&queue, [1]);
        assert_eq!(try_pop(&queue, &mut taker), Some(1));
        let _other = worker(&queue);
        await_idle(&queue, 1);
        push(&queue, 0, 2);
        assert_eq!(idle_and_coming(&queue), (1, 1), "only this one");
        assert_eq!(try_pop(&queue, &mut taker), Some(2));
        queue.close();
    }

    #[test]
    fn a_worker_that_is_woken_is_not_doubled_by_waking_another() {
        let queue = fair(8);
        // Two workers wait, and the one that is woken takes its time.
        queue.lock().idle = 2;
        for task in 1..4 {
            push(&queue, 0, task);
            assert_eq!(idle_and_coming(&queue), (2, 1), "only one");
        }
        // Another one takes a task in between: what it leaves is for the one that was woken.
        assert_eq!(pop(&queue), popped(1, false));
        assert_eq!(idle_and_coming(&queue), (2, 1));
    }

    #[test]
    fn after_a_streak_of_quick_tasks_another_worker_is_woken_for_the_rest() {
        let (queue, mut taker) = (Arc::new(fair(64)), Taker::default());
        push_quick(&queue, [0]);
        assert_eq!(try_pop(&queue, &mut taker), Some(0));
        let other = worker(&queue);
        await_idle(&queue, 1);
        push_quick(&queue, 1..2 * QUICK_STREAK as u32);
        for task in 1..QUICK_STREAK as u32 - 1 {
            assert_eq!(try_pop(&queue, &mut taker), Some(task));
            assert_eq!(idle_and_coming(&queue), (1, 1), "only this one");
        }
        assert_eq!(
            try_pop(&queue, &mut taker),
            Some(QUICK_STREAK as u32 - 1),
            "the last of its streak"
        );
        for task in QUICK_STREAK as u32..2 * QUICK_STREAK as u32 {
            assert_eq!(other.recv_timeout(PATIENCE), Ok(task));
        }
        queue.close();
    }

    #[test]
    fn a_streak_ends_when_its_worker_waits() {
        let (queue, mut taker) = (Arc::new(fair(64)), Taker::default());
        push_quick(&queue, 0..QUICK_STREAK as u32 - 1);
        while try_pop(&queue, &mut taker).is_some() {}
        assert_eq!(taker.streak, QUICK_STREAK - 1);
        let pusher = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                await_idle(&queue, 1);
                push_quick(&queue, [1]);
            })
        };
        assert_eq!(queue.pop(&mut taker), popped(1, false));
        assert_eq!((taker.streak, idle_and_coming(&queue)), (1, (0, 1)));
        pusher.join().expect("no panic");
    }

    #[test]
    fn who_takes_a_slow_task_leaves_the_rest_to_another_at_once() {
        let (queue, mut taker) = (Arc::new(fair(8)), Taker::default());
        push_quick(&queue, [1]);
        assert_eq!(try_pop(&queue, &mut taker), Some(1));
        let other = worker(&queue);
        await_idle(&queue, 1);
        queue.push_while_room(|room| {
            room.push(0, 1, false, 2);
            room.push(0, 1, true, 3);
        });
        assert_eq!(try_pop(&queue, &mut taker), Some(2));
        assert_eq!(other.recv_timeout(PATIENCE), Ok(3));
        queue.close();
    }

    #[test]
    fn who_is_out_with_a_slow_task_is_not_waited_for() {
        let (queue, mut taker) = (Arc::new(fair(8)), Taker::default());
        push(&queue, 0, 1);
        assert_eq!(try_pop(&queue, &mut taker), Some(1));
        let other = worker(&queue);
        await_idle(&queue, 1);
        push_quick(&queue, [2]);
        assert_eq!(other.recv_timeout(PATIENCE), Ok(2));
        queue.close();
    }

    #[test]
    fn who_came_back_and_found_nothing_is_not_waited_for() {
        let (queue, mut taker) = (Arc::new(fair(8)), Taker::default());
        push_quick(&queue, [1]);
        assert_eq!(try_pop(&queue, &mut taker), Some(1));
        assert_eq!(try_pop(&queue, &mut taker), None);
        let other = worker(&queue);
        await_idle(&queue, 1);
        push_quick(&queue, [2]);
        assert_eq!(other.recv_timeout(PATIENCE), Ok(2));
        queue.close();
    }

    #[test]
    fn a_push_of_many_tasks_sets_as_many_workers_to_work() {
        let queue = Arc::new(fair(8));
        let (started, starts) = mpsc::channel();
        let gate = Arc::new(std::sync::Barrier::new(5));
        for _ in 0..4 {
            let (queue, started, gate) = (Arc::clone(&queue), started.clone(), Arc::clone(&gate));
            thread::spawn(move || {
                let mut taker = Taker::default();
                while let Some(popped) = queue.pop(&mut taker) {
                    started.send(popped.task).expect("the test listens");
                    gate.wait();
                }
            });
        }
        queue
            .push_while_room(|room| (0..4).for_each(|task| room.push(task, 1, false, task as u32)));
        // All four are in hands at once, or the barrier would never open.
        for _ in 0..4 {
            starts
                .recv_timeout(PATIENCE)
                .expect("each task wakes a worker");
        }
        gate.wait();
        queue.close();
    }

    #[test]
    fn many_workers_get_every_task_exactly_once() {
        let queue = Arc::new(fair(16));
        let (got, tasks) = mpsc::channel();
        let (room, rooms) = mpsc::channel();
        let workers: Vec<_> = (0..4)
            .map(|number| {
                let (queue, got, room) = (Arc::clone(&queue), got.clone(), room.clone());
                thread::spawn(move || {
                    let mut taker = Taker::default();
                    // Every other one looks before it waits.
                    let looks = |taker: &mut Taker| match number % 2 {
                        0 => queue.try_pop(taker),
                        _ => None,
                    };
                    while let Some(popped) = looks(&mut taker).or_else(|| queue.pop(&mut taker)) {
                        if popped.made_room {
                            room.send(()).expect("the pusher listens");
                        }
                        got.send(popped.task).expect("the test listens");
                    }
                })
            })
            .collect();
        const TASKS: u32 = 20_000;
        let mut source = (0..TASKS).peekable();
        while source.peek().is_some() {
            queue.push_while_room(|room| {
                while room.slots() > 0
                    && let Some(task) = source.next()
                {
                    let slots = room.slots().min(1 + task as usize % 3);
                    room.push(task as usize % 7, slots, !task.is_multiple_of(5), task);
                }
            });
            if source.peek().is_some() {
                // The pusher sleeps until it is told: a lost report ends the test here.
                rooms.recv_timeout(PATIENCE).expect("room is reported");
            }
        }
        queue.close();
        for worker in workers {
            worker.join().expect("no panic");
        }
        drop(got);
        let all: Vec<u32> = tasks.iter().collect();
        assert_eq!(all.len(), TASKS as usize, "nothing twice");
        assert_eq!(
            all.into_iter().collect::<BTreeSet<_>>().len(),
            TASKS as usize,
            "nothing lost"
        );
    }
}
