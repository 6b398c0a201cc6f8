//! The next connection of a client whose last one ended before its time, or was refused.
//!
//! Decides whether there is to be one, and when; the driver begins it.
//!
//! Rule: a client that has said all it wants to say, or has tried for too long, gets no other one.

use std::io;
use std::time::Instant;

use crate::drive::connection::{Connection, OUTBOX_BYTES, Phase};
use crate::drive::desk::Desk;

/// What a client is told that the server turned away in words.
const TURNED_AWAY: &str = "the server has too many connections";

impl Connection {
    /// Whether it ever was made.
    pub(crate) fn was_made(&self) -> bool {
        self.attempts.was_made()
    }

    /// When it has something to do even if nothing happens.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting => Some(self.due),
            // With a full outbox a retry has to wait until the kernel takes more.
            Phase::Running if self.outbox.unsent().len() < OUTBOX_BYTES => {
                self.client.next_retry_due()
            }
            _ => None,
        }
    }

    /// Whether the next connection is to be begun now.
    pub(crate) fn is_to_connect(&self, now: Instant) -> bool {
        self.phase == Phase::Waiting && self.due <= now && !self.client.is_done()
    }

    /// It could not be made. If `may_try_again`, there may be another attempt.
    pub(crate) fn on_connect_failed(
        &mut self,
        error: &io::Error,
        may_try_again: bool,
        desk: &mut Desk,
    ) {
        let now = Instant::now();
        desk.ledger.tally(self.client.sender()).connects_refused += 1;
        if may_try_again && self.client.reconnects_for().is_some() {
            self.open_anew(&error.to_string(), now, desk);
        } else {
            self.give_up_connecting(error, now, desk);
        }
    }

    pub(super) fn give_up_connecting(&mut self, error: &io::Error, now: Instant, desk: &mut Desk) {
        let text = format!("connecting failed: {error}");
        self.client.on_refused(&text, now, &mut desk.ledger);
        self.close();
    }

    /// The other side has ended it because of `cause`.
    pub(super) fn on_closed(&mut self, cause: &str, desk: &mut Desk) {
        if self.client.reconnects_for().is_none() {
            return self.end(cause, desk);
        }
        let now = Instant::now();
        self.client
            .on_cut(cause, &self.partial, now, &mut desk.ledger);
        self.open_anew(cause, now, desk);
    }

    /// It is of no further use; if the client still wants something, the next one may be.
    pub(super) fn abandon(&mut self, desk: &mut Desk) {
        self.open_anew(TURNED_AWAY, Instant::now(), desk);
    }

    fn open_anew(&mut self, cause: &str, now: Instant, desk: &mut Desk) {
        self.close();
        self.attempts.ended(now);
        let Some(limit) = self.client.reconnects_for() else {
            return;
        };
        if self.attempts.are_in_vain(limit, now) {
            let seconds = limit.as_secs_f64();
            let text = format!("no connection that lasts within {seconds} s: {cause}");
            return self.client.on_refused(&text, now, &mut desk.ledger);
        }
        self.due = now + self.client.wait_to_reconnect(self.attempts.row());
        self.phase = Phase::Waiting;
    }
}
