//! The way back: responses from all workers to the loop, and one wake for as many as have come.
//!
//! Knows no sockets; what a wake is, it is told.
//!
//! Rule: push, then announce; clear, then drain. A response is either seen by the drain that runs
//! or announced to the next one.

use super::sync::{AtomicBool, Ordering, SegQueue};
use std::fmt;

/// Items on their way to one consumer, which sleeps in a poll that `wake` ends.
pub struct ResponseQueue<T> {
    /// Unbounded as a type; in fact bounded by what the loop has submitted and not yet collected.
    items: SegQueue<T>,
    /// Whether a wake is under way that no drain has answered yet. Set by workers, cleared by the
    /// loop.
    announced: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl<T> ResponseQueue<T> {
    /// An empty queue whose consumer `wake` ends the sleep of.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> ResponseQueue<T> {
        ResponseQueue {
            items: SegQueue::new(),
            announced: AtomicBool::new(false),
            wake: Box::new(wake),
        }
    }

    /// Hands over one item; [`ResponseQueue::announce`] sees to it that the consumer comes for it.
    pub fn push(&self, item: T) {
        self.items.push(item);
    }

    /// Makes the consumer come, unless somebody already has since its last drain.
    pub fn announce(&self) {
        // Release, with the acquire in `drain`: who clears the flag sees what was pushed before
        // it was set. Acquire, with the release in `drain`: a false read here belongs to a drain
        // that has begun, and whose pops may have missed our item, so we wake.
        if !self.announced.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// Passes all that has come to `take`. Only the consumer calls it.
    pub fn drain(&self, mut take: impl FnMut(T)) {
        // Clear first: an item pushed after our last pop finds the flag down, and wakes again.
        self.announced.swap(false, Ordering::AcqRel);
        while let Some(item) = self.items.pop() {
            take(item);
        }
    }
}

impl<T> fmt::Debug for ResponseQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseQueue")
            .field("items", &self.items.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn one_wake_announces_all_that_came_before_the_drain() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wakes);
        let queue = ResponseQueue::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let push = |item| {
            queue.push(item);
            queue.announce();
        };
        (0..3).for_each(push);
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        let mut got = Vec::new();
        queue.drain(|item| got.push(item));
        assert_eq!(got, [0, 1, 2]);
        push(3);
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn what_is_pushed_is_there_for_a_drain_before_it_is_announced() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wakes);
        let queue = ResponseQueue::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (0..3).for_each(|item| queue.push(item));
        assert_eq!(wakes.load(Ordering::SeqCst), 0);
        let mut got = Vec::new();
        queue.drain(|item| got.push(item));
        assert_eq!(got, [0, 1, 2]);
        queue.announce();
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_consumer_that_sleeps_between_wakes_gets_everything() {
        let (wake, wakes) = mpsc::channel();
        let queue = Arc::new(ResponseQueue::new(move || {
            wake.send(()).expect("the consumer listens")
        }));
        const ITEMS: usize = 20_000;
        for worker in 0..4 {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                for n in (0..ITEMS).filter(|n| n % 4 == worker) {
                    queue.push(n);
                    // The last of each is announced: 20000 are a multiple of 4 * 5.
                    if n / 4 % 5 == 4 {
                        queue.announce();
                    }
                }
            });
        }
        let mut got = Vec::new();
        while got.len() < ITEMS {
            wakes
                .recv_timeout(Duration::from_secs(10))
                .expect("every item is announced");
            queue.drain(|item| got.push(item));
        }
        got.sort_unstable();
        assert!(got.into_iter().eq(0..ITEMS));
    }
}
