//! What a client makes of a connection that ended before its time, when it is to go on with
//! another one (`--reconnect`).
//!
//! Knows which frames are in flight; not how a connection is made.
//!
//! Rule: a frame that was in flight is lost and never sent again, as nobody knows whether the
//! server has run it. One of which no byte was handed over, or that was refused, is sent again.

use std::time::{Duration, Instant};

use crate::check::failure::{Kind, quoted};
use crate::drive::backoff::backoff;
use crate::drive::client::Client;
use crate::drive::in_flight::{Retry, Try};
use crate::figures::ledger::Ledger;

impl Client {
    /// For how long it tries to get another connection, if it needs one.
    pub(crate) fn reconnects_for(&self) -> Option<Duration> {
        self.demand.reconnect.filter(|_| !self.is_done())
    }

    /// Whether the end of the connection would be no loss, and is no end of the run.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.demand.reconnect.is_some() && self.in_flight.is_empty()
    }

    /// How long to wait before the next attempt, after `row` of them in vain.
    pub(crate) fn wait_to_reconnect(&mut self, row: u32) -> Duration {
        let earlier = row.checked_sub(1);
        earlier.map_or(Duration::ZERO, |earlier| {
            backoff(earlier, self.jitter.f64())
        })
    }

    /// The connection has ended because of `cause`, with `rest` after the last whole answer.
    /// Whatever was not in flight is left for the next one.
    pub(crate) fn on_cut(&mut self, cause: &str, rest: &[u8], now: Instant, ledger: &mut Ledger) {
        self.take_back(now, ledger);
        self.settle_doubts(now, ledger);
        let Some(first) = self.in_flight.front() else {
            return self.on_stray_rest(rest, ledger);
        };
        let place = format!("{} frame {}", self.sender, first.what.sequence);
        let lost = self.in_flight.len() as u64;
        let mut text = format!(
            "{cause} with {lost} in flight, after {} answers",
            self.verified
        );
        if !rest.is_empty() {
            text += &format!(" and half an answer, {}", quoted(rest));
        }
        ledger.failures.add(Kind::Lost, lost, place, &text);
        while !self.in_flight.is_empty() {
            let what = self.pop_front(now, ledger).what;
            ledger.failed(self.sender, Kind::Lost, what.operation, what.intended, now);
        }
    }

    /// The server would not have the connection, so it has read none of the requests on it.
    pub(super) fn on_turned_away(&mut self, now: Instant, ledger: &mut Ledger) {
        ledger.tally(self.sender).connects_refused += 1;
        while !self.in_flight.is_empty() {
            let what = self.pop_front(now, ledger).what;
            let earlier_tries = what.earlier_tries + 1;
            let what = Try {
                earlier_tries,
                ..what
            };
            self.retries.push(Retry { what, due: now });
        }
    }

    /// Takes back the frames of which the kernel has got nothing.
    fn take_back(&mut self, now: Instant, ledger: &mut Ledger) {
        for what in self.in_flight.take_back() {
            if what.earlier_tries == 0 {
                ledger.tally(self.sender).sent -= 1;
            }
            self.retries.push(Retry { what, due: now });
        }
    }
}
