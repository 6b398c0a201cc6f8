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
    /// When requests were last held back no more.
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

    /// Opens a place and fills it at once: for what the loop answers itself.
    pub(super) fn open_answered(&mut self, response: Vec<u8>, framed_at: Instant) {
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
        let mut responses = Vec::new();
        let refused = match &place.state {
            State::Waiting(frames) => codec.call(|codec| {
                codec.all(frames).try_for_each(|whole| {
                    codec.refuse(Refusal::Busy, whole?.frame, &mut responses);
                    Ok(())
                })
            }),
            State::Submitted(_) | State::Answered(_) => unreachable!("it was found waiting"),
        };
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

    /// The next responses whose turn it is to leave.
    pub(super) fn leave(&mut self) -> Option<Leaving> {
        if !matches!(self.places.front()?.state, State::Answered(_)) {
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
        give_back(&mut self.places);
        Some(Leaving {
            span: place.span,
            framed_at: place.framed_at,
            responses,
        })
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
/// flight, so this buys a call of the allocator for each, at little memory while they are idle.
pub(super) fn push_lean<T>(deque: &mut VecDeque<T>, item: T) {
    if deque.capacity() == 0 {
        deque.reserve_exact(1);
    }
    deque.push_back(item);
}

/// An empty deque gives back the memory for more than one item.
pub(super) fn give_back<T>(deque: &mut VecDeque<T>) {
    if deque.is_empty() && deque.capacity() > 1 {
        *deque = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Lines;
    use proptest::prelude::*;
    use std::sync::Arc;

    const MAX_RUN: usize = 3;

    /// Responses by the number of their request.
    fn leaving(order: &mut Order) -> Vec<(u64, Vec<u8>)> {
        let mut got = Vec::new();
        while let Some(leaving) = order.leave() {
            let lines = leaving.responses.split_inclusive(|byte| *byte == b'\n');
            let lines = lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line).to_vec());
            got.extend(leaving.span.sequences().map(|n| n.0).zip(lines));
        }
        got
    }

    fn lines() -> Guarded<Lines> {
        Guarded::new(Arc::new(Lines::new(RUN_BYTES)))
    }

    fn span(first: u64, requests: usize) -> Span {
        Span {
            first: Sequence(first),
            requests,
        }
    }

    /// Opens a place for a line; says its number.
    fn open(order: &mut Order, text: &str, is_quick: bool, now: Instant) -> Sequence {
        let frame = format!("{text}\n");
        let (requests, bytes) = order.room_to_join(MAX_RUN, now);
        if is_quick && requests > 0 && frame.len() <= bytes {
            order.join(frame.as_bytes(), 1, text.len());
        } else {
            order.open(frame.as_bytes(), 1, text.len(), is_quick, now);
        }
        Sequence(order.opened())
    }

    fn submit(order: &mut Order, slots: usize, now: Instant) -> Option<Run> {
        order.submit(slots, &lines(), now)
    }

    /// How the next waiting requests are submitted, with that many slots.
    fn submitted(order: &mut Order, slots: usize) -> Option<(u64, usize, String)> {
        let run = submit(order, slots, Instant::now())?;
        let lines = String::from_utf8(run.frames).expect("ASCII");
        Some((run.span.first.0, run.span.requests, lines))
    }

    #[test]
    fn a_response_waits_for_all_before_it() {
        let (mut order, now) = (Order::new(usize::MAX), Instant::now());
        let first = open(&mut order, "a", false, now);
        order.open_answered(b"too long\n".to_vec(), now);
        let third = open(&mut order, "c", false, now);
        assert_eq!(
            submit(&mut order, 9, now).map(|run| run.span.first),
            Some(first)
        );
        assert_eq!(
            submit(&mut order, 9, now).map(|run| run.span.first),
            Some(third)
        );
        order.fill(span(third.0, 1), b"3\n".to_vec(), now);
        assert_eq!(leaving(&mut order), []);
        order.fill(span(first.0, 1), b"1\n".to_vec(), now);
        let expected = [
            (1, b"1".to_vec()),
            (2, b"too long".to_vec()),
            (3, b"3".to_vec()),
        ];
        assert_eq!(leaving(&mut order), expected);
        assert!(order.is_empty() && order.kept_bytes() == 0);
    }

    #[test]
    fn quick_requests_of_one_moment_run_together_and_others_alone() {
        let (mut order, now) = (Order::new(usize::MAX), Instant::now());
        let later = now + std::time::Duration::from_millis(1);
        for (text, is_quick, framed_at) in [
            ("a", true, now),
            ("b", true, now),
            ("c", true, now),
            ("past max_run", true, now),
            ("slow", false, now),
            ("slow too", false, now),
            ("d", true, now),
            ("e", true, later),
        ] {
            open(&mut order, text, is_quick, framed_at);
        }
        let runs = std::iter::from_fn(|| submitted(&mut order, 9));
        let lines: Vec<String> = runs.map(|(.., lines)| lines).collect();
        let expected = [
            "a\nb\nc\n",
            "past max_run\n",
            "slow\n",
            "slow too\n",
            "d\n",
            "e\n",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_run_is_at_most_so_long() {
        // With their LFs, two of the short lines fill a run, and a byte more does not fit.
        let (short, long) = ("x".repeat(RUN_BYTES / 2 - 1), "x".repeat(RUN_BYTES / 2));
        for (lines, expected) in [
            ([&short, &short, &short], [2, 1].as_slice()),
            ([&short, &long, &short], &[1, 1, 1]),
        ] {
            let (mut order, now) = (Order::new(usize::MAX), Instant::now());
            for line in lines {
                open(&mut order, line, true, now);
            }
            let runs = std::iter::from_fn(|| submitted(&mut order, 9));
            let requests: Vec<_> = runs.map(|(_, requests, _)| requests).collect();
            assert_eq!(requests, expected);
        }
    }

    #[test]
    fn a_run_is_split_where_slots_are_scarce() {
        let (mut order, now) = (Order::new(usize::MAX), Instant::now());
        for text in ["a", "bb", ""] {
            open(&mut order, text, true, now);
        }
        assert_eq!(submitted(&mut order, 1), Some((1, 1, "a\n".to_owned())));
        order.check_invariants(&lines());
        assert_eq!(submitted(&mut order, 5), Some((2, 2, "bb\n\n".to_owned())));
        assert_eq!(submitted(&mut order, 5), None);
        order.fill(span(2, 2), b"2\n3\n".to_vec(), now);
        order.fill(span(1, 1), b"1\n".to_vec(), now);
        let numbers = leaving(&mut order).into_iter().map(|(n, _)| n);
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn every_request_of_a_refused_run_is_answered() {
        let (mut order, now) = (Order::new(usize::MAX), Instant::now());
        open(&mut order, "a", true, now);
        open(&mut order, "b", true, now);
        let refused = order.refuse(&lines());
        assert_eq!(refused, Some((span(1, 2), Ok(()))));
        assert_eq!(
            leaving(&mut order),
            [1, 2].map(|n| (n, b"ERR server busy".to_vec()))
        );
    }

    #[test]
    fn requests_past_max_parallel_are_held_back_and_wait_from_their_release_on() {
        let (mut order, now) = (Order::new(1), Instant::now());
        let later = now + std::time::Duration::from_millis(1);
        open(&mut order, "a", false, now);
        open(&mut order, "b", false, now);
        assert_eq!((order.waiting(), order.waiting_since()), (2, Some(now)));
        let first = submit(&mut order, 9, now).expect("it waits").span;
        assert_eq!((order.waiting(), order.without_slot()), (0, 1));
        assert_eq!(
            (order.waiting_since(), submit(&mut order, 9, now)),
            (None, None)
        );
        order.fill(first, b"1\n".to_vec(), later);
        assert_eq!((order.waiting(), order.waiting_since()), (1, Some(later)));
        assert!(submit(&mut order, 9, later).is_some());
    }

    #[test]
    fn a_request_that_runs_alone_waits_for_those_before_it_and_holds_back_those_behind() {
        let (mut order, now) = (Order::new(usize::MAX), Instant::now());
        let text = |run: Run| String::from_utf8(run.frames).expect("ASCII");
        open(&mut order, "a", true, now);
        order.open_alone(b"b\n", 1, now);
        open(&mut order, "c", true, now);
        open(&mut order, "d", true, now);
        for (expected, first, requests) in [("a\n", 1, 1), ("b\n", 2, 1), ("c\nd\n", 3, 2)] {
            assert_eq!(order.waiting(), order.without_slot(), "{expected}");
            assert_eq!(
                submit(&mut order, 9, now).map(text).as_deref(),
                Some(expected)
            );
            assert_eq!((order.waiting(), submit(&mut order, 9, now)), (0, None));
            order.check_invariants(&lines());
            order.fill(span(first, requests), b"\n".repeat(requests), now);
            assert_eq!(leaving(&mut order).len(), requests);
        }
    }

    #[test]
    fn what_is_said_between_two_responses_leaves_between_them() {
        let (mut order, now) = (Order::new(usize::MAX), Instant::now());
        open(&mut order, "a", false, now);
        order.open_interim(b"go on\n", now);
        let second = open(&mut order, "b", false, now);
        order.open_interim(b"", now);
        let runs = [(); 2].map(|()| submit(&mut order, 1, now).expect("it waits").span);
        assert_eq!((order.len(), runs[1]), (2, span(second.0, 1)));
        order.fill(runs[1], b"2\n".to_vec(), now);
        order.check_invariants(&lines());
        order.fill(runs[0], b"1\n".to_vec(), now);
        let all: Vec<_> = std::iter::from_fn(|| order.leave()).collect();
        let expected = [&b"1\n"[..], b"go on\n", b"2\n"];
        assert!(
            all.iter()
                .map(|leaving| &leaving.responses[..])
                .eq(expected)
        );
    }

    #[test]
    fn nothing_behind_a_last_response_leaves() {
        let (mut order, now) = (Order::new(usize::MAX), Instant::now());
        for text in ["a", "b", "c", "d"] {
            open(&mut order, text, false, now);
        }
        let runs = [(); 3].map(|()| submit(&mut order, 1, now).expect("it waits").span);
        assert_eq!(order.fill(runs[2], b"3\n".to_vec(), now), Some(now));
        assert_eq!(order.end_after(runs[1]), 1, "the fourth waited");
        assert_eq!(order.fill(runs[1], b"2\n".to_vec(), now), Some(now));
        order.check_invariants(&lines());
        assert_eq!((order.len(), order.has_submitted()), (2, true));
        assert_eq!(order.fill(runs[0], b"1\n".to_vec(), now), Some(now));
        assert_eq!(leaving(&mut order).len(), 2);
        assert!(order.is_empty() && !order.has_submitted() && order.kept_bytes() == 0);
    }

    proptest! {
        /// Steps: open a request, quick or not; open one that is answered at once; give slots;
        /// refuse; or complete any of the submitted runs. Then finish in any order.
        #[test]
        fn any_completion_order_gives_request_order(
            steps in prop::collection::vec((0..7u8, 1..5usize, any::<prop::sample::Index>()), 1..200),
            finish in any::<u64>(),
        ) {
            let (mut order, mut now) = (Order::new(usize::MAX), Instant::now());
            let (mut opened, mut running, mut got) = (0u64, Vec::new(), Vec::new());
            let mut expected = Vec::new();
            let mut release = |order: &mut Order| {
                got.extend(leaving(order));
                order.check_invariants(&lines());
            };
            for (kind, slots, pick) in steps {
                match kind {
                    0..=2 => {
                        opened += 1;
                        let text = opened.to_string();
                        prop_assert_eq!(open(&mut order, &text, kind > 0, now), Sequence(opened));
                        expected.push((opened, text.into_bytes()));
                    }
                    3 => {
                        opened += 1;
                        let text = opened.to_string();
                        order.open_answered(format!("{text}\n").into_bytes(), now);
                        expected.push((opened, text.into_bytes()));
                        now += std::time::Duration::from_millis(1);
                    }
                    4 => {
                        if let Some(run) = submit(&mut order, slots, now) {
                            prop_assert!(run.span.requests <= slots.min(MAX_RUN));
                            running.push((run.span, run.frames));
                        }
                    }
                    5 => {
                        for n in order.refuse(&lines()).iter().flat_map(|(span, _)| span.sequences()) {
                            expected[n.0 as usize - 1].1 = b"ERR server busy".to_vec();
                        }
                    }
                    _ if running.is_empty() => {}
                    _ => {
                        let (span, lines) = running.swap_remove(pick.index(running.len()));
                        order.fill(span, lines, now);
                    }
                }
                release(&mut order);
            }
            running.extend(std::iter::from_fn(|| submit(&mut order, 9, now)).map(|run| (run.span, run.frames)));
            running.sort_by_key(|(span, _)| (span.first.0 ^ finish).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            for (span, lines) in running {
                order.fill(span, lines, now);
                release(&mut order);
            }
            prop_assert_eq!(got, expected);
            prop_assert!(order.is_empty());
        }
    }
}
