//! The hand-off back: completions of all workers go to the loop, with one wake for many.
//!
//! Knows no sockets; what a wake is, it is told.
//!
//! Rule: push, then announce; drain, and sleep only if nothing has been announced since. A
//! response is seen by the drain that runs, or keeps the loop from parking, or wakes it.

use super::sync::{AtomicBool, AtomicU8, Ordering, SegQueue};
use std::fmt;

/// Items for one consumer, which parks in a poll that `wake` ends.
pub struct ResponseQueue<T> {
    /// Unbounded as a type; in fact bounded by what the loop has submitted and not yet collected.
    items: SegQueue<T>,
    /// [`AWAKE`], [`ANNOUNCED`] or [`PARKED`].
    consumer: AtomicU8,
    wake: Box<dyn Fn() + Send + Sync>,
    /// Somebody has asked the consumer to stop. Never cleared.
    stop_asked: AtomicBool,
    /// A worker has ended by a panic outside any handler. Never cleared.
    worker_died: AtomicBool,
}

/// The consumer has drained, or is about to, and nothing has been announced since.
const AWAKE: u8 = 0;
/// Something has been announced that no drain has looked for yet; if the consumer slept, it has
/// been woken.
const ANNOUNCED: u8 = 1;
/// The consumer is parked, or is about to be: an announcement wakes it.
const PARKED: u8 = 2;

impl<T> ResponseQueue<T> {
    /// An empty queue; `wake` ends the sleep of its consumer.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> ResponseQueue<T> {
        ResponseQueue {
            items: SegQueue::new(),
            consumer: AtomicU8::new(AWAKE),
            wake: Box::new(wake),
            stop_asked: AtomicBool::new(false),
            worker_died: AtomicBool::new(false),
        }
    }

    /// Hands over one item; [`ResponseQueue::announce`] sees to it that the consumer comes for it.
    pub fn push(&self, item: T) {
        self.items.push(item);
    }

    /// Makes the consumer come: wakes it if it is parked, and else keeps it from parking before it
    /// has drained.
    pub fn announce(&self) {
        // Release, with the acquire in `drain`: who finds this there, or what others have made of
        // it, sees what was pushed before it.
        if self.consumer.swap(ANNOUNCED, Ordering::Release) == PARKED {
            (self.wake)();
        }
    }

    /// Asks the consumer to stop.
    pub fn ask_to_stop(&self) {
        // Release, with the acquire in `is_stop_asked`. Stored before it is announced: the
        // consumer looks once after each drain, and sleeps if it finds nothing.
        self.stop_asked.store(true, Ordering::Release);
        self.announce();
    }

    /// Whether somebody has asked it to stop. The consumer looks after each drain, which ends the
    /// announcement: before it, a stop asked for in between would be heard by nobody.
    pub fn is_stop_asked(&self) -> bool {
        self.stop_asked.load(Ordering::Acquire)
    }

    /// Tells the consumer that a worker has died. It may have died while it announced something,
    /// between the note and the wake, so this wakes in any case.
    pub fn report_death(&self) {
        // Release, with the acquire in `has_death`.
        self.worker_died.store(true, Ordering::Release);
        self.announce();
        (self.wake)();
    }

    /// Whether a worker has died.
    pub fn has_death(&self) -> bool {
        self.worker_died.load(Ordering::Acquire)
    }

    /// Passes all that has come to `take`. Only the consumer calls it.
    pub fn drain(&self, mut take: impl FnMut(T)) {
        // First: the announcement of an item that is pushed after our last pop is for the next
        // drain.
        self.consumer.swap(AWAKE, Ordering::Acquire);
        while let Some(item) = self.items.pop() {
            take(item);
        }
    }

    /// Unless something has been announced since the last drain, the next announcement wakes the
    /// consumer; says whether that is so. Only the consumer calls it, before it sleeps; whatever
    /// ends the sleep, it drains then.
    pub fn park(&self) -> bool {
        // Relaxed: nothing is read on account of it. What came before an announcement, the drain
        // sees.
        self.consumer
            .compare_exchange(AWAKE, PARKED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
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

    /// A queue that counts the wakes of its consumer.
    fn counted() -> (ResponseQueue<u32>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wakes);
        let wake = move || {
            counter.fetch_add(1, Ordering::SeqCst);
        };
        (ResponseQueue::new(wake), wakes)
    }

    fn drained(queue: &ResponseQueue<u32>) -> Vec<u32> {
        let mut got = Vec::new();
        queue.drain(|item| got.push(item));
        got
    }

    #[test]
    fn a_death_wakes_a_consumer_whose_wake_was_lost_with_the_dying_one() {
        let (queue, wakes) = counted();
        assert!(queue.park());
        // The dying worker had noted its announcement, and did not come to the wake.
        queue.consumer.swap(ANNOUNCED, Ordering::Release);
        queue.report_death();
        assert!(wakes.load(Ordering::SeqCst) > 0 && queue.has_death());
    }

    #[test]
    fn one_wake_ends_a_sleep_whatever_is_announced_before_the_drain() {
        let (queue, wakes) = counted();
        for round in 1..=2 {
            assert!(queue.park());
            for item in 0..3 {
                queue.push(item);
                queue.announce();
            }
            assert_eq!(wakes.load(Ordering::SeqCst), round);
            assert_eq!(drained(&queue), [0, 1, 2]);
        }
    }

    #[test]
    fn what_is_announced_to_a_consumer_awake_keeps_it_awake_until_it_drains() {
        let (queue, wakes) = counted();
        for _ in 0..2 {
            queue.push(0);
            queue.announce();
            assert!(!queue.park());
            assert!(!queue.park());
            assert_eq!(drained(&queue), [0]);
        }
        assert!(queue.park());
        assert_eq!(wakes.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn what_is_pushed_is_there_for_a_drain_before_it_is_announced() {
        let (queue, wakes) = counted();
        queue.push(0);
        assert_eq!(drained(&queue), [0]);
        assert!(queue.park());
        queue.announce();
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        assert_eq!(drained(&queue), []);
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
            if queue.park() {
                wakes
                    .recv_timeout(Duration::from_secs(10))
                    .expect("every item is announced");
            }
            queue.drain(|item| got.push(item));
        }
        got.sort_unstable();
        assert!(got.into_iter().eq(0..ITEMS));
    }
}
