//! What the models run on: a poll that sleeps until it is woken, and both ends of the queues.
//!
//! Knows the queues' contracts; of the reactor and the workers, in which order they call.
//!
//! Rule: nothing here decides anything that production code decides.

use loom::sync::{Arc, Condvar, Mutex};
use reactor_pool::config::QueueOrder;
use reactor_pool::pool::{Popped, ResponseQueue, Slotted, Taker, WorkQueue};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// When everything is pushed: a model's time stands still, so that its runs repeat each other.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Runs `model` in every interleaving; with `preemptions`, in those in which threads are
/// interrupted at most so often where they need not wait. Most bugs of this kind need two
/// (Musuvathi and Qadeer, "Iterative context bounding", 2007).
pub(crate) fn check(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let runs = std::sync::Arc::new(AtomicU64::new(0));
    let counter = std::sync::Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        counter.fetch_add(1, Relaxed);
        model();
    });
    let name = std::thread::current().name().map(str::to_owned);
    println!(
        "{} interleavings of {}",
        runs.load(Relaxed),
        name.unwrap_or_default()
    );
}

/// What `mio::Poll` with one `Waker` does: a wake is kept until the next sleep, several count as
/// one.
pub(crate) struct Poll {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Poll {
    pub(crate) fn new() -> Arc<Poll> {
        Arc::new(Poll {
            woken: Mutex::new(false),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn wake(&self) {
        *self.woken.lock().expect("no model panics in here") = true;
        self.changed.notify_one();
    }

    pub(crate) fn sleep(&self) {
        let mut woken = self.woken.lock().expect("no model panics in here");
        while !*woken {
            woken = self.changed.wait(woken).expect("no model panics in here");
        }
        *woken = false;
    }
}

/// Sleeps if there is nothing to drain, as the reactor does.
pub(crate) fn sleep<T>(responses: &ResponseQueue<T>, poll: &Poll) {
    if responses.park() {
        poll.sleep();
    }
}

pub(crate) fn responses<T>(poll: &Arc<Poll>) -> Arc<ResponseQueue<T>> {
    let poll = Arc::clone(poll);
    Arc::new(ResponseQueue::new(move || poll.wake()))
}

/// A task of one slot and of a flow of its own.
pub(crate) struct Job {
    pub(crate) number: u32,
    is_quick: bool,
}

impl Slotted for Job {
    fn flow(&self) -> usize {
        self.number as usize
    }

    fn slots(&self) -> usize {
        1
    }

    fn is_quick(&self) -> bool {
        self.is_quick
    }
}

/// What the takers share is std's `Arc`, which loom need not look into.
pub(crate) fn queue(capacity: usize) -> std::sync::Arc<WorkQueue<Job>> {
    std::sync::Arc::new(WorkQueue::new(capacity, QueueOrder::Fair))
}

/// The reactor's end of a queue: it knows how much room the last push left, at least.
pub(crate) struct Pusher {
    queue: std::sync::Arc<WorkQueue<Job>>,
    room: usize,
    pub(crate) called_quick: fn(u32) -> bool,
    pub(crate) check_at: Option<Instant>,
}

impl Pusher {
    pub(crate) fn new(queue: &std::sync::Arc<WorkQueue<Job>>, capacity: usize) -> Pusher {
        Pusher {
            queue: std::sync::Arc::clone(queue),
            room: capacity,
            called_quick: |_| false,
            check_at: None,
        }
    }

    /// Pushes what the queue has room for, from the end of `tasks`, as `Reactor::submit` does.
    pub(crate) fn submit(&mut self, tasks: &mut Vec<u32>) {
        while !tasks.is_empty() {
            if self.room < tasks.len() {
                self.push(Vec::new());
                if self.room == 0 {
                    return;
                }
            }
            let kept = tasks.len() - self.room.min(tasks.len());
            self.push(tasks.split_off(kept));
        }
    }

    fn push(&mut self, tasks: Vec<u32>) {
        let is_quick = self.called_quick;
        let jobs = tasks.into_iter().rev().map(|number| Job {
            number,
            is_quick: is_quick(number),
        });
        let pushed = self.queue.push(*START, jobs);
        self.room = pushed.room;
        self.check_at = pushed.check_at;
    }
}

/// Takes tasks until the queue ends.
pub(crate) fn take_all(mut taker: Taker<Job>, mut take: impl FnMut(Popped<u32>)) {
    while let Some(Popped { task, made_room }) = taker.pop() {
        take(Popped {
            task: task.number,
            made_room,
        });
    }
}

pub(crate) fn sorted(mut items: Vec<u32>) -> Vec<u32> {
    items.sort_unstable();
    items
}
