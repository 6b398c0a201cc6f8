//! The pool works: a bounded queue of tasks, N worker threads, a queue of responses back.
//!
//! Knows no sockets and no connections beyond their ids.
//!
//! Rule: tasks pass through one lock, responses through none, and no lock is held while a handler
//! runs.

mod response_queue;
mod turns;
mod work_queue;
mod worker;

pub use response_queue::ResponseQueue;
pub use work_queue::{Popped, QueueStats, WorkQueue};
pub use worker::Pool;

/// The primitives under the queues: std's, or loom's when the model checker runs them.
mod sync {
    #[cfg(loom)]
    pub(super) use loom::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    };
    #[cfg(not(loom))]
    pub(super) use std::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    };
}
