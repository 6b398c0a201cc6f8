//! Quick requests side by side on their way into the order.
//!
//! Knows the bytes in which they stand, and the order.
//!
//! Rule: nothing but speed hangs on it. Without it, each request would open or join a run by
//! itself.

use super::order::{Order, RUN_BYTES};
use std::time::Instant;

/// Quick requests that stand side by side in the bytes that are being cut. They will travel as one
/// run, or join one. One copy for all of them buys a tenth of the throughput of deep pipelines.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Where they begin, and how long they are.
    start: usize,
    bytes: usize,
    pub(super) requests: usize,
    pub(super) payload_bytes: usize,
    /// They join the last run.
    joins: bool,
    /// What there is room for.
    max_requests: usize,
    max_bytes: usize,
}

impl Batch {
    /// A batch with one request, which stands at `start`.
    pub(super) fn begin(
        start: usize,
        frame: &[u8],
        payload: &[u8],
        order: &Order,
        max_run: usize,
        now: Instant,
    ) -> Batch {
        let (requests, bytes) = order.room_to_join(max_run, now);
        let joins = requests > 0 && frame.len() <= bytes;
        Batch {
            start,
            bytes: frame.len(),
            requests: 1,
            payload_bytes: payload.len(),
            joins,
            max_requests: if joins { requests } else { max_run },
            max_bytes: if joins { bytes } else { RUN_BYTES },
        }
    }

    /// Takes the next request, if there is room; an empty batch takes none.
    pub(super) fn takes(&mut self, frame: &[u8], payload: &[u8]) -> bool {
        let has_room = self.requests > 0
            && self.requests < self.max_requests
            && self.bytes + frame.len() <= self.max_bytes;
        if has_room {
            self.bytes += frame.len();
            self.requests += 1;
            self.payload_bytes += payload.len();
        }
        has_room
    }

    /// Gives its requests their place; it is empty then.
    pub(super) fn open(&mut self, bytes: &[u8], order: &mut Order, now: Instant) {
        let batch = std::mem::take(self);
        let frames = &bytes[batch.start..batch.start + batch.bytes];
        match batch.requests {
            0 => {}
            requests if batch.joins => order.join(frames, requests, batch.payload_bytes),
            requests => order.open(frames, requests, batch.payload_bytes, true, now),
        }
    }
}
