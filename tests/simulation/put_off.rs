//! When a connection is not read because others wait for queue slots.
//!
//! Knows when the engine looked whether some wait, and nothing of the engine's list.
//!
//! Rule: only who pipelines is put off, and nobody for longer than [`PUT_OFF`].

use super::Oracle;
use std::time::{Duration, Instant};

/// Promise 4: for how long others that wait for slots may keep a connection from being read.
const PUT_OFF: Duration = Duration::from_millis(20);

impl Oracle {
    /// It could be read: whether it is not read now.
    pub(super) fn puts_off(&mut self, is_full: bool, now: Instant) -> bool {
        if !self.pipelines {
            return false;
        }
        let until = *self.put_off_until.get_or_insert(now + PUT_OFF);
        self.is_put_off = is_full && now < until;
        if self.is_put_off {
            self.counts.queue_pauses += 1;
        } else {
            self.counts.put_off_in_vain += u64::from(is_full);
            self.put_off_until = None;
        }
        self.is_put_off
    }

    /// Slots were given out, or time was looked at. Whether it has been put off until now.
    pub(crate) fn looked_whether_full(&mut self, is_full: bool, now: Instant) -> bool {
        let was_put_off = self.is_put_off;
        let is_over = self.put_off_until.is_some_and(|until| until <= now);
        self.is_put_off &= is_full && !is_over;
        was_put_off && !self.is_put_off
    }

    /// Until when it need not be read although it could be.
    pub(crate) fn put_off_until(&self) -> Option<Instant> {
        self.put_off_until.filter(|_| self.is_put_off)
    }
}
