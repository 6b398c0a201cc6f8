//! What is so after every step: the reference is brought up to date, and compared.
//!
//! Knows what the engine shows of itself: bytes, steps and numbers.
//!
//! Rule: an assertion names the promise of docs/protocol.md that it holds the engine to.

use super::super::reference::{Cut, answer_of_the_loop};
use super::served::{Place, Served, State, line_bytes};
use super::{BUSY, IDLE, Life};
use reactor_pool::engine::UNSENT_LIMIT_BYTES;

/// More than the engine can count for each unsent answer beyond its bytes.
const NOTE_BYTES: usize = 64;

impl Life {
    // What follows from a step.

    /// Takes note of what the engine says it has framed and refused, and compares.
    pub(super) fn settle(&mut self) {
        let stats = self.engine.stats();
        let opened = [stats.framed, stats.too_long, stats.incomplete];
        let refused = stats.refused_busy - self.refused_busy;
        self.refused_busy = stats.refused_busy;
        let before = std::mem::replace(&mut self.opened, opened);
        let mut new = [0, 1, 2].map(|kind| opened[kind] - before[kind]);
        self.counts.lines += new[0];
        self.counts.too_long += new[1];
        self.counts.incomplete += new[2];
        self.counts.busy += refused;
        let now = self.now;
        let Some(served) = &mut self.served else {
            assert_eq!((new, refused), ([0; 3], 0), "there is no connection");
            return;
        };
        while new != [0; 3] {
            let cut = served.cuts.get(served.places.len());
            let cut = cut.expect("promise 1: framed, but never sent").clone();
            let kind = match cut {
                Cut::Line(_) => 0,
                Cut::TooLong => 1,
                Cut::Incomplete => 2,
                Cut::Foreign(words) => panic!("no client is told: {words}"),
            };
            assert!(new[kind] > 0, "{cut:?} was framed as something else");
            new[kind] -= 1;
            let state = match answer_of_the_loop(&cut, self.config.max_line) {
                Some(answer) => State::Answered(answer),
                None => State::Waiting,
            };
            served.places.push(Place {
                cut,
                framed_at: now,
                state,
            });
        }
        for _ in 0..refused {
            let deadline = served.busy_deadline(self.config.busy_timeout);
            let deadline = deadline.expect("promise 1: refused, but nothing waits");
            assert!(deadline <= now, "promise 4: refused too early");
            let place = served.oldest_waiting().expect("it has a deadline");
            place.state = State::Answered(BUSY.to_vec());
        }
        served.leave(now);
    }

    /// Takes note of a connection that was idle for too long.
    pub(super) fn note_idle(&mut self) {
        let idle_closed = self.engine.stats().idle_closed;
        if std::mem::replace(&mut self.idle_closed, idle_closed) == idle_closed {
            return;
        }
        self.counts.idle += 1;
        let (now, timeout) = (self.now, self.config.idle_timeout);
        let served = self.served();
        assert!(
            served.in_flight().is_empty(),
            "promise 8: something is pending"
        );
        assert!(!timeout.is_zero(), "promise 8: never");
        assert!(
            served.last_progress + timeout <= now,
            "promise 8: too early"
        );
        if served.client.received.len() == served.output.len() && !served.is_cut_off {
            served.output.extend_from_slice(IDLE);
            served.client.farewell_at = Some(now);
        } else {
            served.is_given_up = true;
        }
        served.is_cut_off = true;
    }

    // What is so.

    pub(super) fn check(&mut self) {
        self.engine.check_invariants();
        assert_eq!(self.engine.has_waiting(), self.is_anything_waiting());
        let (config, slots) = (&self.config, self.slots);
        assert!(self.queued() <= slots);
        self.check_that_nobody_is_forgotten();
        let Some(served) = &self.served else { return };
        let unsent = self.engine.unsent(served.client.id);
        let received = &served.client.received;
        assert!(
            served.output.len() == received.len() + unsent.len()
                && served.output.starts_with(received)
                && served.output.ends_with(unsent),
            "promises 1 and 2: {} bytes went out and {} wait, of {}",
            received.len(),
            unsent.len(),
            served.output.len()
        );
        // Promise 5.
        let in_flight = served.in_flight();
        let request_bytes = served.request_bytes();
        assert!(in_flight.len() <= config.max_inflight);
        assert!(request_bytes <= 2 * config.max_line);
        let next = served.cuts.get(served.places.len());
        if let Some(next) = next.filter(|_| !served.is_cut_off) {
            let notes = || NOTE_BYTES * unsent.split(|byte| *byte == b'\n').count();
            assert!(
                in_flight.len() == config.max_inflight
                    || request_bytes + line_bytes(next) > 2 * config.max_line
                    || unsent.len() + notes() > UNSENT_LIMIT_BYTES,
                "{next:?} was read, and nothing kept it from being framed"
            );
        }
    }

    /// Resume is not an event: a connection that can be read on again is on the ready list.
    fn check_that_nobody_is_forgotten(&self) {
        let Some(served) = &self.served else { return };
        let unsent = self.engine.unsent(served.client.id);
        let notes = || NOTE_BYTES * unsent.split(|byte| *byte == b'\n').count();
        let is_pending = !served.in_flight().is_empty() || !unsent.is_empty();
        let is_within_budget = self.engine.stats().buffered.now <= self.config.max_buffered as u64;
        let may_be_read = served.client.readable
            && !served.is_cut_off
            && !served.client.end_read
            && !self.is_anything_waiting()
            && served.in_flight().len() < self.config.max_inflight
            && served.places.len() == served.cuts.len()
            && (is_within_budget || !is_pending)
            && unsent.len() <= UNSENT_LIMIT_BYTES
            && unsent.len() + notes() <= UNSENT_LIMIT_BYTES;
        assert!(
            !may_be_read || self.engine.ready_len() > 0,
            "readable, and forgotten"
        );
    }

    fn is_anything_waiting(&self) -> bool {
        self.served.iter().any(|served| served.waiting() > 0)
    }

    pub(super) fn check_that_it_may_read(&mut self) {
        let waits = self.is_anything_waiting();
        let buffered = self.engine.stats().buffered.now;
        let (max_buffered, max_inflight) = (self.config.max_buffered, self.config.max_inflight);
        let id = self.served().client.id;
        let unsent = self.engine.unsent(id).len();
        let served = self.served();
        assert!(!served.is_cut_off, "promise 9: read after the end");
        assert!(!waits, "promise 4: read while a request waits");
        assert!(unsent <= UNSENT_LIMIT_BYTES, "promise 5: unsent");
        assert!(
            served.in_flight().len() < max_inflight,
            "promise 5: in flight"
        );
        assert_eq!(
            served.places.len(),
            served.cuts.len(),
            "promise 5: unframed"
        );
        let is_pending = !served.in_flight().is_empty() || unsent > 0;
        assert!(
            buffered <= max_buffered as u64 || !is_pending,
            "past the budget"
        );
    }

    pub(super) fn check_the_close(&self, served: &Served) {
        let is_whole = served.client.received == served.output && served.in_flight().is_empty();
        if is_whole && served.client.end_read {
            assert!(
                served.is_cut_off || served.places.len() == served.cuts.len(),
                "promise 1: closed before the last answer"
            );
        } else {
            assert!(
                served.is_given_up || served.client.is_overdue(self.now),
                "promise 3: closed too early"
            );
        }
    }
}
