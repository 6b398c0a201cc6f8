//! The requests of one connection between framing and outbox: each has a place, and leaves in turn.
//!
//! Knows no bytes of requests beyond their number, no queue and no time but what it carries along.
//!
//! Rule: one door in, `open`, one door out, `fill`. Whatever answers a request fills its place, so
//! there is exactly one response to each, in the order of the requests.

use super::short_deque::ShortDeque;
use crate::task::{Lines, Sequence};
use memchr::memchr_iter;
use std::borrow::Cow;
use std::time::Instant;

/// A run never grows past so many bytes, the LFs counted; a single line may be longer.
pub(super) const RUN_BYTES: usize = 16_384;
/// What a run has room for once a second line has joined, so that it need not grow with each.
const RUN_GROWTH_BYTES: usize = 256;

/// All places that have been opened and not yet left to the outbox.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// In the order of the requests; the first one is the oldest unanswered.
    places: ShortDeque<Place>,
    /// Requests that have a place here.
    requests: usize,
    /// Requests whose place has left.
    left: u64,
    /// Bytes of the requests that have a place here.
    request_bytes: usize,
    /// Bytes of the responses that wait here for an earlier one.
    response_bytes: usize,
    /// Position in `places` of the first one that may still wait for a slot: all before it do not.
    first_waiting: usize,
    /// Requests that wait for a slot.
    waiting: usize,
}

/// The place of a run: of requests that follow each other, were framed at the same time and fare alike.
#[derive(Debug)]
struct Place {
    first: Sequence,
    requests: usize,
    /// Bytes of the request lines, their endings not counted.
    request_bytes: usize,
    framed_at: Instant,
    /// When it got its slots; meaningless while it waits for them.
    queued_at: Instant,
    state: State,
    is_quick: bool,
    /// Those of the requests while they wait, those of the responses once they are there.
    lines: Lines,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Waits for queue slots.
    Waiting,
    /// Queued, running, or on its way back; without lines.
    Submitted,
    /// Answered; the responses wait for those before them.
    Answered,
}

impl Place {
    /// The request lines, if quick ones that were framed at that time may still join them.
    fn quick_run(&mut self, framed_at: Instant) -> Option<&mut Lines> {
        let is_open = self.is_quick && self.state == State::Waiting && self.framed_at == framed_at;
        is_open.then_some(&mut self.lines)
    }
}

/// Requests that got their slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submitted {
    pub(super) first: Sequence,
    pub(super) requests: usize,
    /// The request lines, each ended by one LF.
    pub(super) lines: Lines,
    pub(super) is_quick: bool,
    pub(super) framed_at: Instant,
}

/// Response lines that leave: their place has come to the front.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) first: Sequence,
    pub(super) requests: usize,
    pub(super) framed_at: Instant,
    pub(super) lines: Lines,
}

impl Order {
    /// Requests that have a place.
    pub(super) fn len(&self) -> usize {
        self.requests
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of the requests whose response has not left.
    pub(super) fn request_bytes(&self) -> usize {
        self.request_bytes
    }

    /// Bytes kept for these places. A request counts until its response has left, although the worker
    /// gives its line back earlier: the bound is what matters, and it errs to the safe side.
    pub(super) fn kept_bytes(&self) -> usize {
        self.request_bytes + self.response_bytes
    }

    /// Requests that wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Requests that were given a place so far.
    pub(super) fn opened(&self) -> u64 {
        self.left + self.requests as u64
    }

    /// Whether a request is queued, running, or on its way back. Linear in the places.
    pub(super) fn has_submitted(&self) -> bool {
        self.places
            .iter()
            .any(|place| place.state == State::Submitted)
    }

    /// Opens a place at the end for requests that now wait for slots; their lines are `lines`, without the
    /// last LF. Quick ones join the run before them, if that then has at most `max_run` requests, all
    /// quick and framed at the same time. Several at once are quick, within [`Order::run_room`].
    pub(super) fn open(
        &mut self,
        lines: Cow<'_, [u8]>,
        requests: usize,
        is_quick: bool,
        max_run: usize,
        framed_at: Instant,
    ) -> Sequence {
        let first = Sequence(self.opened() + 1);
        let bytes = lines.len() + 1;
        let request_bytes = bytes - requests;
        self.requests += requests;
        self.waiting += requests;
        self.request_bytes += request_bytes;
        if is_quick
            && let Some(place) = self.places.back_mut()
            && place.requests + requests <= max_run
            && let Some(run) = place.quick_run(framed_at)
            && run.len() + bytes <= RUN_BYTES
        {
            if run.capacity() - run.len() < bytes {
                run.reserve(bytes + RUN_GROWTH_BYTES);
            }
            run.extend_from_slice(&lines);
            run.push(b'\n');
            place.requests += requests;
            place.request_bytes += request_bytes;
            return first;
        }
        let place = self.places.push_back(Place {
            first,
            requests,
            request_bytes,
            framed_at,
            queued_at: framed_at,
            state: State::Waiting,
            is_quick,
            lines: Lines::new(),
        });
        match lines {
            Cow::Borrowed(lines) => {
                place.lines.reserve_exact(bytes);
                place.lines.extend_from_slice(lines);
            }
            // It came in pieces, and has a buffer of its own.
            Cow::Owned(line) => place.lines = Lines::from_vec(line),
        }
        place.lines.push(b'\n');
        first
    }

    /// How many requests, and how many bytes with their LFs, [`Order::open`] would put into one run if they
    /// were opened one by one, all of them quick, and the first a line of `first_bytes`.
    pub(super) fn run_room(
        &mut self,
        first_bytes: usize,
        max_run: usize,
        framed_at: Instant,
    ) -> (usize, usize) {
        if let Some(place) = self.places.back_mut()
            && let requests = place.requests
            && requests < max_run
            && let Some(run) = place.quick_run(framed_at)
            && run.len() + first_bytes < RUN_BYTES
        {
            return (max_run - requests, RUN_BYTES - run.len());
        }
        (max_run, RUN_BYTES.max(first_bytes + 1))
    }

    /// Opens a place at the end and fills it at once: for what the loop answers itself.
    pub(super) fn open_answered(&mut self, response: Lines, framed_at: Instant) {
        let first = Sequence(self.opened() + 1);
        self.requests += 1;
        self.response_bytes += response.len();
        self.places.push_back(Place {
            first,
            requests: 1,
            request_bytes: 0,
            framed_at,
            queued_at: framed_at,
            state: State::Answered,
            is_quick: false,
            lines: response,
        });
    }

    /// When the longest waiting request was framed.
    pub(super) fn waiting_since(&mut self) -> Option<Instant> {
        self.find_waiting()
            .map(|position| self.places[position].framed_at)
    }

    /// Gives at most `slots` slots to the longest waiting requests: those of one run, or a part of it.
    pub(super) fn submit(&mut self, slots: usize, now: Instant) -> Option<Submitted> {
        let position = self.find_waiting()?;
        if self.places[position].requests > slots {
            self.split(position, slots);
        }
        let place = &mut self.places[position];
        place.state = State::Submitted;
        place.queued_at = now;
        self.waiting -= place.requests;
        Some(Submitted {
            first: place.first,
            requests: place.requests,
            lines: std::mem::take(&mut place.lines),
            is_quick: place.is_quick,
            framed_at: place.framed_at,
        })
    }

    /// Makes two places of a waiting one: its first `requests`, and the others.
    fn split(&mut self, position: usize, requests: usize) {
        let place = &mut self.places[position];
        let end = memchr_iter(b'\n', &place.lines)
            .nth(requests - 1)
            .expect("each request is a line");
        let rest = Lines::from_slice(&place.lines[end + 1..]);
        place.lines.truncate(end + 1);
        let rest = Place {
            first: Sequence(place.first.0 + requests as u64),
            requests: place.requests - requests,
            request_bytes: rest.len() - (place.requests - requests),
            framed_at: place.framed_at,
            queued_at: place.queued_at,
            state: State::Waiting,
            is_quick: place.is_quick,
            lines: rest,
        };
        place.requests = requests;
        place.request_bytes -= rest.request_bytes;
        self.places.insert_after(position, rest);
    }

    /// Answers the run that has waited longest, each request with `response`: its wait is over.
    pub(super) fn refuse(&mut self, response: &[u8], now: Instant) -> Option<(Sequence, usize)> {
        let Submitted {
            first, requests, ..
        } = self.submit(usize::MAX, now)?;
        self.fill(first, response.repeat(requests).into());
        Some((first, requests))
    }

    /// Fills the place of a submitted run, which begins with `first`; says when that got its slots.
    pub(super) fn fill(&mut self, first: Sequence, responses: Lines) -> Instant {
        let position = self.places.partition_point(|place| place.first < first);
        let place = &mut self.places[position];
        debug_assert!(
            place.first == first && place.state == State::Submitted,
            "{first} is answered once"
        );
        self.response_bytes += responses.len();
        place.state = State::Answered;
        place.lines = responses;
        place.queued_at
    }

    /// Whether there are responses whose turn it is to leave.
    #[inline]
    pub(super) fn has_leaving(&self) -> bool {
        let front = self.places.front();
        front.is_some_and(|place| place.state == State::Answered)
    }

    /// The next responses whose turn it is to leave.
    #[inline]
    pub(super) fn leave(&mut self) -> Option<Leaving> {
        if !self.has_leaving() {
            return None;
        }
        let place = self.places.pop_front()?;
        self.left += place.requests as u64;
        self.requests -= place.requests;
        self.first_waiting = self.first_waiting.saturating_sub(1);
        self.request_bytes -= place.request_bytes;
        self.response_bytes -= place.lines.len();
        Some(Leaving {
            first: place.first,
            requests: place.requests,
            framed_at: place.framed_at,
            lines: place.lines,
        })
    }

    /// Position of the first waiting place; amortised O(1), as the cursor passes each place once.
    fn find_waiting(&mut self) -> Option<usize> {
        if self.waiting == 0 {
            self.first_waiting = self.places.len();
            return None;
        }
        while self.places[self.first_waiting].state != State::Waiting {
            self.first_waiting += 1;
        }
        Some(self.first_waiting)
    }

    /// Recounts what the fields claim.
    pub(super) fn check_invariants(&self) {
        let places = || self.places.iter().enumerate();
        let sum = |of: fn(&Place) -> usize| self.places.iter().map(of).sum::<usize>();
        let waiting = |place: &Place| match &place.state {
            State::Waiting => place.requests,
            State::Submitted | State::Answered => 0,
        };
        assert_eq!(self.waiting, sum(waiting));
        assert!(places().all(|(n, place)| n >= self.first_waiting || waiting(place) == 0));
        assert_eq!(self.requests, sum(|place| place.requests));
        assert_eq!(self.request_bytes, sum(|place| place.request_bytes));
        let response_bytes = |place: &Place| match place.state {
            State::Answered => place.lines.len(),
            State::Waiting | State::Submitted => 0,
        };
        assert_eq!(self.response_bytes, sum(response_bytes));
        let mut next = Sequence(self.left + 1);
        for place in self.places.iter() {
            assert_eq!(place.first, next, "places follow each other");
            next = Sequence(next.0 + place.requests as u64);
            match place.state {
                State::Waiting => {
                    assert_eq!(place.lines.len(), place.request_bytes + place.requests);
                    assert_eq!(memchr_iter(b'\n', &place.lines).count(), place.requests);
                }
                State::Submitted => assert!(place.lines.is_empty()),
                State::Answered => {}
            }
        }
        let front = self.places.front();
        assert!(
            front.is_none_or(|place| place.state != State::Answered),
            "an answered front has left"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::split_lines;
    use proptest::prelude::*;

    const MAX_RUN: usize = 3;

    /// Responses by the number of their request.
    fn leaving(order: &mut Order) -> Vec<(u64, Vec<u8>)> {
        let mut got = Vec::new();
        while let Some(leaving) = order.leave() {
            let lines = split_lines(&leaving.lines).map(<[u8]>::to_vec);
            got.extend(leaving.first.run(leaving.requests).map(|n| n.0).zip(lines));
        }
        got
    }

    fn open(order: &mut Order, text: &str, is_quick: bool, now: Instant) -> Sequence {
        order.open(Cow::Borrowed(text.as_bytes()), 1, is_quick, MAX_RUN, now)
    }

    /// How the next waiting requests are submitted, with that many slots.
    fn submitted(order: &mut Order, slots: usize) -> Option<(u64, usize, String)> {
        let run = order.submit(slots, Instant::now())?;
        let lines = String::from_utf8(run.lines.to_vec()).expect("ASCII");
        Some((run.first.0, run.requests, lines))
    }

    #[test]
    fn a_response_waits_for_all_before_it() {
        let (mut order, now) = (Order::default(), Instant::now());
        let first = open(&mut order, "a", false, now);
        order.open_answered(b"too long\n"[..].into(), now);
        let third = open(&mut order, "c", false, now);
        assert_eq!(order.submit(9, now).map(|run| run.first), Some(first));
        assert_eq!(order.submit(9, now).map(|run| run.first), Some(third));
        order.fill(third, b"3\n"[..].into());
        assert_eq!(leaving(&mut order), []);
        order.fill(first, b"1\n"[..].into());
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
        let (mut order, now) = (Order::default(), Instant::now());
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
            let (mut order, now) = (Order::default(), Instant::now());
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
        let (mut order, now) = (Order::default(), Instant::now());
        for text in ["a", "bb", ""] {
            open(&mut order, text, true, now);
        }
        assert_eq!(submitted(&mut order, 1), Some((1, 1, "a\n".to_owned())));
        order.check_invariants();
        assert_eq!(submitted(&mut order, 5), Some((2, 2, "bb\n\n".to_owned())));
        assert_eq!(submitted(&mut order, 5), None);
        order.fill(Sequence(2), b"2\n3\n"[..].into());
        order.fill(Sequence(1), b"1\n"[..].into());
        let numbers = leaving(&mut order).into_iter().map(|(n, _)| n);
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn every_request_of_a_refused_run_is_answered() {
        let (mut order, now) = (Order::default(), Instant::now());
        open(&mut order, "a", true, now);
        open(&mut order, "b", true, now);
        assert_eq!(order.refuse(b"no\n", now), Some((Sequence(1), 2)));
        assert_eq!(
            leaving(&mut order),
            [(1, b"no".to_vec()), (2, b"no".to_vec())]
        );
    }

    proptest! {
        /// Steps: open a request, quick or not; open one that is answered at once; give slots;
        /// refuse; or complete any of the submitted runs. Then finish in any order.
        #[test]
        fn any_completion_order_gives_request_order(
            steps in prop::collection::vec((0..7u8, 1..5usize, any::<prop::sample::Index>()), 1..200),
            finish in any::<u64>(),
        ) {
            let (mut order, mut now) = (Order::default(), Instant::now());
            let (mut opened, mut running, mut got) = (0u64, Vec::new(), Vec::new());
            let mut expected = Vec::new();
            let mut release = |order: &mut Order| {
                got.extend(leaving(order));
                order.check_invariants();
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
                        order.open_answered(format!("{text}\n").into_bytes().into(), now);
                        expected.push((opened, text.into_bytes()));
                        now += std::time::Duration::from_millis(1);
                    }
                    4 => {
                        if let Some(run) = order.submit(slots, now) {
                            prop_assert!(run.requests <= slots.min(MAX_RUN));
                            running.push((run.first, run.lines));
                        }
                    }
                    5 => {
                        if let Some((first, requests)) = order.refuse(b"no\n", now) {
                            for n in first.run(requests) {
                                expected[n.0 as usize - 1].1 = b"no".to_vec();
                            }
                        }
                    }
                    _ if running.is_empty() => {}
                    _ => {
                        let (first, lines) = running.swap_remove(pick.index(running.len()));
                        order.fill(first, lines);
                    }
                }
                release(&mut order);
            }
            running.extend(std::iter::from_fn(|| order.submit(9, now)).map(|run| (run.first, run.lines)));
            running.sort_by_key(|(first, _)| (first.0 ^ finish).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            for (first, lines) in running {
                order.fill(first, lines);
                release(&mut order);
            }
            prop_assert_eq!(got, expected);
            prop_assert!(order.is_empty());
        }
    }
}
