//! The requests of one connection between framing and outbox: each has a place, and leaves in
//! turn.
//!
//! Knows neither queue nor clock; where requests end in their bytes, the codec says.
//!
//! Rule: one door in, `open`, one door out, `fill`. Whatever answers a request fills its place, so
//! there is exactly one response to each, in the order of the requests.

use crate::codec::{Broken, Codec, Guarded, Refusal, Whole};
use crate::task::{Run, Sequence, Span};
use std::collections::VecDeque;
use std::time::Instant;

/// A run never grows past this; a single request may be longer.
pub(in crate::engine) const RUN_BYTES: usize = 16_384;

/// Room that a run gets when another request joins, so that it need not grow with each: more often
/// than not others follow.
const RUN_GROWTH_BYTES: usize = 256;

/// All places that have been opened and not yet left to the outbox.
#[derive(Debug)]
pub(in crate::engine) struct Order {
    /// Runs that may be submitted at a time; the others are held back until one comes back.
    max_parallel: usize,
    /// In the order of the requests; the first one is the oldest unanswered.
    places: VecDeque<Place>,
    /// Requests that have a place here.
    requests: usize,
    /// Requests whose place has left.
    left: u64,
    /// Bytes of the payloads of the requests that have a place here.
    payload_bytes: usize,
    /// Bytes of the responses that wait here for an earlier one.
    response_bytes: usize,
    /// Position in `places` of the first one that waits for a slot; their number if none does.
    first_waiting: usize,
    /// Requests that wait for a slot, or are held back.
    waiting: usize,
    /// Runs that got their slots and have not come back, those included whose place has gone.
    runs_submitted: usize,
    /// The one that was submitted runs alone.
    runs_alone: bool,
    /// When requests were last released that had been held back.
    released_at: Option<Instant>,
}

/// The place of a run: of requests that follow each other, were framed at one time and fare alike.
#[derive(Debug)]
struct Place {
    span: Span,
    payload_bytes: usize,
    framed_at: Instant,
    state: State,
    is_quick: bool,
    runs_alone: bool,
}

#[derive(Debug)]
enum State {
    /// Waits for queue slots, with the bytes of its requests.
    Waiting(Vec<u8>),
    /// Queued, running, or on its way back; since when.
    Submitted(Instant),
    /// Answered; the responses wait for those before them.
    Answered(Vec<u8>),
}

impl Place {
    fn waiting(&self) -> usize {
        match self.state {
            State::Waiting(_) => self.span.requests,
            State::Submitted(_) | State::Answered(_) => 0,
        }
    }
}

/// Responses that leave: their place has come to the front.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) span: Span,
    pub(super) framed_at: Instant,
    pub(super) responses: Vec<u8>,
}

impl Order {
    pub(super) fn new(max_parallel: usize) -> Order {
        Order {
            max_parallel,
            places: VecDeque::new(),
            requests: 0,
            left: 0,
            payload_bytes: 0,
            response_bytes: 0,
            first_waiting: 0,
            waiting: 0,
            runs_submitted: 0,
            runs_alone: false,
            released_at: None,
        }
    }

    /// Requests that have a place.
    pub(in crate::engine) fn len(&self) -> usize {
        self.requests
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of the payloads whose response has not left.
    pub(super) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Of those, the bytes in the first place.
    pub(super) fn first_payload_bytes(&self) -> usize {
        self.places.front().map_or(0, |place| place.payload_bytes)
    }

    /// Bytes kept for these places. A request counts until its response has left, although the
    /// worker gives its bytes back earlier: the bound is what matters, and it errs to the safe
    /// side.
    pub(super) fn kept_bytes(&self) -> usize {
        self.payload_bytes + self.response_bytes
    }

    /// Requests that wait for a slot.
    pub(in crate::engine) fn waiting(&self) -> usize {
        match self.is_held_back() {
            true => 0,
            false => self.waiting,
        }
    }

    /// Requests without a slot, whatever they wait for.
    pub(in crate::engine) fn without_slot(&self) -> usize {
        self.waiting
    }

    /// As many runs are submitted as may be at a time. The next one waits for all of them if it
    /// runs alone.
    fn is_held_back(&self) -> bool {
        let next_runs_alone = || {
            let next = self.places.get(self.first_waiting);
            next.is_some_and(|place| place.runs_alone)
        };
        self.runs_submitted >= self.max_parallel
            || self.runs_alone
            || self.runs_submitted > 0 && next_runs_alone()
    }

    /// Requests that were given a place so far.
    pub(in crate::engine) fn opened(&self) -> u64 {
        self.left + self.requests as u64
    }

    /// Whether a request is queued, running, or on its way back.
    pub(in crate::engine) fn has_submitted(&self) -> bool {
        self.runs_submitted > 0
    }

    /// How many requests, and how many bytes, may join the last run, if they are quick and were
    /// framed at that time.
    pub(super) fn room_to_join(&self, max_run: usize, framed_at: Instant) -> (usize, usize) {
        match self.places.back() {
            Some(Place {
                span,
                state: State::Waiting(frames),
                is_quick: true,
                framed_at: at,
                ..
            }) if *at == framed_at => (
                max_run.saturating_sub(span.requests),
                RUN_BYTES.saturating_sub(frames.len()),
            ),
            _ => (0, 0),
        }
    }

    /// Requests that now wait for a slot join the last run; they have to be within
    /// [`Order::room_to_join`].
    pub(super) fn join(&mut self, frames: &[u8], requests: usize, payload_bytes: usize) {
        let last = self.places.back_mut().expect("there is a run with room");
        let State::Waiting(run) = &mut last.state else {
            unreachable!("a run with room waits")
        };
        if run.capacity() - run.len() < frames.len() {
            run.reserve(frames.len() + RUN_GROWTH_BYTES);
        }
        run.extend_from_slice(frames);
        last.span.requests += requests;
        last.payload_bytes += payload_bytes;
        self.requests += requests;
        self.waiting += requests;
        self.payload_bytes += payload_bytes;
    }

    /// Opens a place for a run of requests that now wait for slots. Several are quick, at most as
    /// many as a run may have.
    pub(super) fn open(
        &mut self,
        frames: &[u8],
        requests: usize,
        payload_bytes: usize,
        is_quick: bool,
        framed_at: Instant,
    ) {
        self.waiting += requests;
        self.payload_bytes += payload_bytes;
        self.push(Place {
            span: self.next_span(requests),
            payload_bytes,
            framed_at,
            state: State::Waiting(frames.to_vec()),
            is_quick,
            runs_alone: false,
        });
    }

    /// Opens a place for a request during which no other one runs.
    pub(super) fn open_alone(&mut self, frame: &[u8], payload_bytes: usize, framed_at: Instant) {
        self.waiting += 1;
        self.payload_bytes += payload_bytes;
        self.push(Place {
            span: self.next_span(1),
            payload_bytes,
            framed_at,
            state: State::Waiting(frame.to_vec()),
            is_quick: false,
            runs_alone: true,
        });
    }

    /// Opens a place for what the loop says between two responses, if it is anything.
    pub(super) fn open_interim(&mut self, interim: &[u8], framed_at: Instant) {
        if !interim.is_empty() {
            self.open_filled(0, interim.to_vec(), framed_at);
        }
    }

    /// Opens a place for what is no request, and fills it with a refusal. Where the codec has no
    /// words for that, it stays empty.
    pub(super) fn open_refused(
        &mut self,
        why: Refusal,
        request: &[u8],
        codec: &Guarded<impl Codec>,
        framed_at: Instant,
    ) -> Result<(), Broken> {
        let mut response = Vec::new();
        let refused = codec.refuse(why, request, &mut response);
        self.open_answered(response, framed_at);
        refused
    }

    /// Opens a place and fills it at once.
    fn open_answered(&mut self, response: Vec<u8>, framed_at: Instant) {
        self.open_filled(1, response, framed_at);
    }

    fn open_filled(&mut self, requests: usize, response: Vec<u8>, framed_at: Instant) {
        self.response_bytes += response.len();
        self.push(Place {
            span: self.next_span(requests),
            payload_bytes: 0,
            framed_at,
            state: State::Answered(response),
            is_quick: false,
            runs_alone: false,
        });
    }

    fn next_span(&self, requests: usize) -> Span {
        Span {
            first: Sequence(self.opened() + 1),
            requests,
        }
    }

    fn push(&mut self, place: Place) {
        self.requests += place.span.requests;
        push_lean(&mut self.places, place);
        self.find_first_waiting();
    }

    /// Since when the longest waiting request waits for a slot.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let framed_at = self.places[self.next_waiting()?].framed_at;
        Some(self.released_at.map_or(framed_at, |at| at.max(framed_at)))
    }

    /// Gives at most `slots` slots to the longest waiting requests: those of one run, or a part of
    /// it.
    pub(in crate::engine) fn submit(
        &mut self,
        slots: usize,
        codec: &Guarded<impl Codec>,
        now: Instant,
    ) -> Option<Run> {
        let position = self.next_waiting()?;
        if self.places[position].span.requests > slots {
            self.split(position, slots, codec);
        }
        let place = &mut self.places[position];
        let State::Waiting(frames) = std::mem::replace(&mut place.state, State::Submitted(now))
        else {
            unreachable!("it was found waiting")
        };
        self.waiting -= place.span.requests;
        self.runs_submitted += 1;
        self.runs_alone = place.runs_alone;
        let run = Run {
            span: place.span,
            frames,
            framed_at: place.framed_at,
            is_quick: place.is_quick,
        };
        self.find_first_waiting();
        Some(run)
    }

    /// Makes two places of a waiting one: its first `requests`, and the others.
    fn split(&mut self, position: usize, requests: usize, codec: &Guarded<impl Codec>) {
        let place = &mut self.places[position];
        let State::Waiting(frames) = &mut place.state else {
            unreachable!("only what waits is split")
        };
        let (mut bytes, mut payload_bytes) = (0, 0);
        let measured = codec.call(|codec| {
            codec.all(frames).take(requests).try_for_each(|whole| {
                let Whole { frame, payload } = whole?;
                bytes += frame.len();
                payload_bytes += payload.len();
                Ok(())
            })
        });
        // A broken codec is found out once more by the worker, which closes the connection.
        let (Ok(()) | Err(Broken)) = measured;
        let rest = Place {
            span: Span {
                first: Sequence(place.span.first.0 + requests as u64),
                requests: place.span.requests - requests,
            },
            payload_bytes: place.payload_bytes - payload_bytes,
            framed_at: place.framed_at,
            state: State::Waiting(frames.split_off(bytes)),
            is_quick: place.is_quick,
            runs_alone: false,
        };
        place.span.requests = requests;
        place.payload_bytes = payload_bytes;
        self.places.insert(position + 1, rest);
    }

    /// Refuses the run that has waited longest, each request of it: their wait is over.
    pub(super) fn refuse(
        &mut self,
        codec: &Guarded<impl Codec>,
    ) -> Option<(Span, Result<(), Broken>)> {
        let position = self.next_waiting()?;
        let place = &mut self.places[position];
        let (mut responses, mut whole_bytes) = (Vec::new(), 0);
        let refused = match &place.state {
            State::Waiting(frames) => codec.call(|codec| {
                codec.all(frames).try_for_each(|whole| {
                    codec.refuse(Refusal::Busy, whole?.frame, &mut responses);
                    whole_bytes = responses.len();
                    Ok(())
                })
            }),
            State::Submitted(_) | State::Answered(_) => unreachable!("it was found waiting"),
        };
        // No half words of a codec that has panicked.
        responses.truncate(whole_bytes);
        self.waiting -= place.span.requests;
        self.response_bytes += responses.len();
        place.state = State::Answered(responses);
        let span = place.span;
        self.find_first_waiting();
        Some((span, refused))
    }

    /// Fills the place of a submitted run; says when that got its slots. None if the place has
    /// gone with others behind a last one.
    pub(in crate::engine) fn fill(
        &mut self,
        span: Span,
        responses: Vec<u8>,
        now: Instant,
    ) -> Option<Instant> {
        if self.is_held_back() {
            self.released_at = Some(now);
        }
        self.runs_submitted -= 1;
        // No other one was submitted beside one that runs alone.
        self.runs_alone = false;
        let position = self
            .places
            .partition_point(|place| place.span.end() <= span.first);
        let place = self.places.get_mut(position)?;
        assert_eq!(place.span, span, "a run has one place");
        self.response_bytes += responses.len();
        match std::mem::replace(&mut place.state, State::Answered(responses)) {
            State::Submitted(at) => Some(at),
            State::Waiting(_) | State::Answered(_) => {
                unreachable!("a run is submitted once, and answered once")
            }
        }
    }

    /// Forgets all places behind those of `last`: its responses are the last. Says how many
    /// requests waited there.
    pub(super) fn end_after(&mut self, last: Span) -> usize {
        let waiting = self.waiting;
        while let Some(place) = self.places.back()
            && place.span.first > last.first
        {
            self.requests -= place.span.requests;
            self.waiting -= place.waiting();
            self.payload_bytes -= place.payload_bytes;
            if let State::Answered(responses) = &place.state {
                self.response_bytes -= responses.len();
            }
            self.places.pop_back();
        }
        self.first_waiting = self.first_waiting.min(self.places.len());
        waiting - self.waiting
    }

    /// Whether it is the turn of responses to leave.
    pub(super) fn can_leave(&self) -> bool {
        let front = self.places.front();
        front.is_some_and(|place| matches!(place.state, State::Answered(_)))
    }

    /// The next responses whose turn it is to leave.
    pub(super) fn leave(&mut self) -> Option<Leaving> {
        if !self.can_leave() {
            return None;
        }
        let place = self.places.pop_front()?;
        let State::Answered(responses) = place.state else {
            unreachable!("it is answered")
        };
        self.left += place.span.requests as u64;
        self.requests -= place.span.requests;
        self.first_waiting = self.first_waiting.saturating_sub(1);
        self.payload_bytes -= place.payload_bytes;
        self.response_bytes -= responses.len();
        if self.places.is_empty() {
            // An idle connection keeps no memory for them.
            self.places = VecDeque::new();
        }
        Some(Leaving {
            span: place.span,
            framed_at: place.framed_at,
            responses,
        })
    }

    /// What waits for slots, and when it was framed; those included that are held back.
    pub(in crate::engine) fn waiting_runs(&self) -> impl Iterator<Item = (Span, Instant)> {
        let waiting = self.places.iter().filter(|place| place.waiting() > 0);
        waiting.map(|place| (place.span, place.framed_at))
    }

    /// Position of the next place that may get slots.
    fn next_waiting(&self) -> Option<usize> {
        (self.waiting() > 0).then_some(self.first_waiting)
    }

    /// Moves on to the first waiting place; amortised O(1), as this passes each place once.
    fn find_first_waiting(&mut self) {
        let is_passed = |place: &Place| place.waiting() == 0;
        while self.places.get(self.first_waiting).is_some_and(is_passed) {
            self.first_waiting += 1;
        }
    }

    /// Recounts what the fields claim.
    pub(super) fn check_invariants(&self, codec: &Guarded<impl Codec>) {
        let sum = |of: fn(&Place) -> usize| self.places.iter().map(of).sum::<usize>();
        let places = || self.places.iter().enumerate();
        assert_eq!(self.waiting, sum(Place::waiting));
        let first_waiting = places().find(|(_, place)| place.waiting() > 0);
        let first_waiting = first_waiting.map_or(self.places.len(), |(position, _)| position);
        assert_eq!(self.first_waiting, first_waiting);
        assert!(!self.runs_alone || self.runs_submitted == 1);
        assert_eq!(self.requests, sum(|place| place.span.requests));
        assert_eq!(self.payload_bytes, sum(|place| place.payload_bytes));
        let response_bytes = |place: &Place| match &place.state {
            State::Answered(responses) => responses.len(),
            State::Waiting(_) | State::Submitted(_) => 0,
        };
        assert_eq!(self.response_bytes, sum(response_bytes));
        let mut next = Sequence(self.left + 1);
        for place in &self.places {
            assert_eq!(place.span.first, next, "places follow each other");
            next = place.span.end();
            if let State::Waiting(frames) = &place.state {
                let payloads = || {
                    let requests = codec.checked().all(frames).flatten();
                    requests.map(|whole| whole.payload.len())
                };
                assert_eq!(payloads().count(), place.span.requests);
                assert_eq!(payloads().sum::<usize>(), place.payload_bytes);
            }
        }
        let front = self.places.front();
        assert!(
            front.is_none_or(|place| !matches!(place.state, State::Answered(_))),
            "an answered front has left"
        );
    }
}

/// Appends to a deque that has room for one item at first: most connections have one request in
/// flight.
pub(super) fn push_lean<T>(deque: &mut VecDeque<T>, item: T) {
    if deque.capacity() == 0 {
        deque.reserve_exact(1);
    }
    deque.push_back(item);
}

#[cfg(test)]
mod tests;
