//! How many frames each client has sent, for all loops of a run.
//!
//! Knows numbers; no frame.
//!
//! Rule: each number has one writer, the loop of its client. The others read it when they look for
//! the owner of a stray answer, and that answer has come after the number was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// One number for each client, hogs last.
#[derive(Debug, Clone)]
pub(crate) struct Sent(Arc<[AtomicU32]>);

impl Sent {
    /// Nothing yet, by `clients`.
    pub(crate) fn none(clients: u32) -> Self {
        Self((0..clients).map(|_| AtomicU32::new(0)).collect())
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> u32 {
        self.0.len() as u32
    }

    /// How many frames `client` has sent, if there is one of this number.
    pub(crate) fn by(&self, client: u32) -> Option<u32> {
        // Plain counters: nothing else is read because of them.
        let sent = self.0.get(client as usize)?;
        Some(sent.load(Ordering::Relaxed))
    }

    /// `client` has sent `frames` or more.
    pub(crate) fn at_least(&self, client: u32, frames: u32) {
        let sent = &self.0[client as usize];
        // Not one operation, as nobody else writes this number.
        if sent.load(Ordering::Relaxed) < frames {
            sent.store(frames, Ordering::Relaxed);
        }
    }
}
