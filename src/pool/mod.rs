//! The pool works: a bounded queue of tasks, N worker threads, a queue of responses back.
//!
//! Knows no sockets and no connections beyond their ids.
//!
//! Rule: tasks pass through one lock, responses through none, and no lock is held while a handler
//! runs.

mod board;
mod inquiry;
mod parking;
mod response_queue;
mod round_robin;
mod work_queue;
mod worker;

pub use board::{Board, Line, Running};
pub use inquiry::Inquiry;
pub use parking::Parking;
pub use response_queue::ResponseQueue;
pub use work_queue::{PATIENCE, Popped, Pushed, Slotted, Taker, WorkQueue};
pub use worker::{Crew, Pool};

use crate::task::Task;

impl Slotted for Task {
    fn flow(&self) -> usize {
        self.connection.slot()
    }

    fn slots(&self) -> usize {
        self.run.span.requests
    }

    fn is_quick(&self) -> bool {
        self.run.is_quick
    }
}

/// The primitives under the queues: std's and crossbeam's, or loom's when the model checker runs
/// them.
mod sync {
    #[cfg(not(loom))]
    pub(super) use crossbeam_queue::SegQueue;
    #[cfg(not(loom))]
    pub(super) use std::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, Ordering},
    };

    #[cfg(loom)]
    pub(super) use loom::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, Ordering},
    };
    #[cfg(loom)]
    pub(super) use model::SegQueue;

    /// What the queues need of crossbeam's `SegQueue`, in loom's primitives, for any number of
    /// pushers and one popper.
    ///
    /// As there, a push first claims a slot and then fills it, and a pop waits for a slot that is
    /// claimed and not filled. Weaker than there, a pop may read an old count of claims and miss
    /// what nothing but the flag of the response queue makes visible: so the flag's orderings are
    /// checked too.
    #[cfg(loom)]
    mod model {
        use loom::sync::Mutex;
        use loom::sync::atomic::{AtomicUsize, Ordering};

        /// More items than any model pushes.
        const SLOTS: usize = 4;

        pub(in super::super) struct SegQueue<T> {
            slots: [Mutex<Option<T>>; SLOTS],
            claimed: AtomicUsize,
            popped: AtomicUsize,
        }

        impl<T> SegQueue<T> {
            pub(in super::super) fn new() -> SegQueue<T> {
                SegQueue {
                    slots: std::array::from_fn(|_| Mutex::new(None)),
                    claimed: AtomicUsize::new(0),
                    popped: AtomicUsize::new(0),
                }
            }

            pub(in super::super) fn push(&self, item: T) {
                let slot = self.claimed.fetch_add(1, Ordering::AcqRel);
                *self.slots[slot].lock().expect("no model panics in here") = Some(item);
            }

            pub(in super::super) fn pop(&self) -> Option<T> {
                let slot = self.popped.load(Ordering::Relaxed);
                if slot == self.claimed.load(Ordering::Acquire) {
                    return None;
                }
                loop {
                    let filled = self.slots[slot]
                        .lock()
                        .expect("no model panics in here")
                        .take();
                    if let Some(item) = filled {
                        self.popped.store(slot + 1, Ordering::Relaxed);
                        return Some(item);
                    }
                    loom::thread::yield_now();
                }
            }

            pub(in super::super) fn len(&self) -> usize {
                self.claimed.load(Ordering::Acquire) - self.popped.load(Ordering::Relaxed)
            }
        }
    }
}
