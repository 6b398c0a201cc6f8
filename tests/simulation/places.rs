//! What a connection holds and waits for, and what its client should have got in the end.
//!
//! Knows of a connection what the oracle does.
//!
//! Rule: all is counted anew each time; nothing is kept up to date.

use super::{NOTE_BYTES, Oracle, Phase, Place, State};
use crate::answers;
use crate::framing::{Cut, GO_ON};
use reactor_pool::task::ConnectionId;

impl Oracle {
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    pub(super) fn unsent_weight(&self) -> usize {
        self.output.len() - self.sent + self.notes.len() * NOTE_BYTES
    }

    pub(super) fn has_nothing_pending(&self) -> bool {
        self.places.is_empty() && self.unsent().is_empty()
    }

    /// Its client has all its answers once what is unsent has gone, and has begun no request.
    pub(crate) fn is_quiet(&self) -> bool {
        self.phase == Phase::Serving
            && self.places.is_empty()
            && self.unframed.is_empty()
            && !self.unsent().is_empty()
            && !self.cutter.is_begun()
            && !self.end_read
    }

    /// It is to be closed at once, whatever is unsent.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Nothing follows what is unsent but the end of the stream.
    pub(crate) fn is_unsent_last(&self) -> bool {
        let input_over = self.end_read || self.phase != Phase::Serving;
        input_over && self.places.is_empty() && self.unframed.is_empty()
    }

    pub(super) fn request_bytes(&self) -> usize {
        self.places
            .iter()
            .map(|place| place.cut.payload_bytes())
            .sum()
    }

    /// Bytes that are kept for this connection: of what has come and is not framed; of the
    /// requests in flight, until their response leaves; of the responses that wait for an earlier
    /// one; and of what is unsent.
    pub(crate) fn kept_bytes(&self) -> usize {
        let answers = self.places.iter().map(|place| match &place.state {
            State::Answered(response) => response.len(),
            State::Waiting | State::Queued | State::Running => 0,
        });
        let words = self.places.iter().map(|place| place.words.len());
        let unframed = match self.unframed.front() {
            Some(_) => self.cutter.bytes() - self.framed_until.max(self.cutter.skipped_until()),
            None => self.cutter.partial().len(),
        };
        let answers = answers.chain(words).sum::<usize>();
        let header = match self.phase {
            Phase::Header { .. } => self.header_read,
            _ => 0,
        };
        header + unframed + self.request_bytes() + answers + self.unsent_weight()
    }

    /// As many of it run at a time as may: the others are held back.
    pub(super) fn is_held_back(&self) -> bool {
        self.in_flight >= self.max_parallel
            || self.alone_in_flight
            || self.in_flight > 0 && self.next_runs_alone()
    }

    /// Whether the next request to be submitted runs alone.
    pub(super) fn next_runs_alone(&self) -> bool {
        let mut waiting = self
            .places
            .iter()
            .filter(|place| place.state == State::Waiting);
        waiting.next().is_some_and(|place| match &place.cut {
            Cut::Request(payload) => self.framing.runs_alone(payload),
            Cut::TooLong { .. } | Cut::Incomplete => false,
        })
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting() > 0
    }

    /// Requests that wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        match self.is_held_back() {
            true => 0,
            false => self.without_slot(),
        }
    }

    pub(crate) fn without_slot(&self) -> usize {
        self.count(&State::Waiting)
    }

    /// Requests that are held back.
    pub(crate) fn held_back(&self) -> usize {
        self.without_slot() - self.waiting()
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.first(&State::Queued).is_some()
    }

    /// Requests that a removal takes out of the queue.
    pub(crate) fn queued(&self) -> usize {
        self.count(&State::Queued)
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.places.len()
    }

    pub(super) fn count(&self, state: &State) -> usize {
        self.places
            .iter()
            .filter(|place| place.state == *state)
            .count()
    }

    pub(super) fn first(&self, state: &State) -> Option<u64> {
        let position = self.places.iter().position(|place| place.state == *state)?;
        Some(self.left + 1 + position as u64)
    }

    pub(super) fn place(&mut self, sequence: u64) -> &mut Place {
        let position = sequence
            .checked_sub(self.left + 1)
            .expect("promise 1: answered twice");
        let place = self.places.get_mut(position as usize);
        place.expect("promise 1: no such request")
    }

    /// Promise 4: while this one waits, each other connection has one turn at most; being refused
    /// and asking again is not starting over.
    pub(crate) fn passed_by_turn_of(&mut self, other: ConnectionId) {
        if self.has_waiting() {
            let twice = self.passed_for_slots.contains(&other);
            assert!(
                !twice,
                "promise 4: {other:?} had two turns while this one waited"
            );
            self.passed_for_slots.push(other);
        }
    }

    /// Promise 7: the same for workers. A task is one request where `max_run` is 1.
    pub(crate) fn passed_by_task_of(&mut self, other: ConnectionId) {
        if self.has_queued() {
            let twice = self.passed_for_workers.contains(&other);
            assert!(
                !twice,
                "promise 7: {other:?} was served twice while this one was queued"
            );
            self.passed_for_workers.push(other);
        }
    }

    /// Promises 1 and 2 once more for the whole life of a connection that was closed, not lost:
    /// the whole stream against everything that the client got. Whether it got all.
    pub(crate) fn check_whole(&self, received: &[u8]) -> bool {
        let written = &self.output[..self.sent];
        assert!(received == written, "not all that was written came");
        if !self.unsent().is_empty() {
            assert_eq!(self.phase, Phase::Over, "closed with bytes unsent");
            return false;
        }
        let mut cuts = self.framing.cut_whole(&self.stream, self.ended_by_client);
        let is_last = |cut: &Cut| match cut {
            Cut::Request(payload) => self.framing.is_last(payload),
            Cut::TooLong { .. } | Cut::Incomplete => false,
        };
        if let Some(last) = cuts.iter().position(is_last) {
            cuts.truncate(last + 1);
        }
        let texts = self.framing.responses(received).into_iter();
        let mut texts = texts.filter(|text| *text != GO_ON);
        let mut answered = 0;
        for (cut, text) in cuts.iter().zip(texts.by_ref()) {
            let fits = match cut {
                Cut::Request(payload) => {
                    text == answers::BUSY
                        || text == answers::INTERNAL
                        || text == answers::answer(payload)
                }
                Cut::TooLong { .. } => text == answers::too_long(self.framing.limit()),
                Cut::Incomplete => text == answers::INCOMPLETE,
            };
            assert!(fits, "promise 1: {cut:?} got {}", text.escape_ascii());
            answered += 1;
        }
        assert!(
            self.cut_off || answered == cuts.len(),
            "promise 1: {answered} of {cuts:?}"
        );
        let more: Vec<&[u8]> = texts.collect();
        let is_goodbye =
            self.cut_off
                && matches!(
                    more[..],
                    [answers::IDLE
                        | answers::REQUEST_TIMEOUT
                        | answers::TOO_MANY
                        | answers::NO_HEADER]
                );
        assert!(
            more.is_empty() || is_goodbye,
            "promise 1: a response too many"
        );
        true
    }
}
