//! The requests of one connection between framing and outbox: each has a place, and leaves in turn.
//!
//! Knows no bytes of requests beyond their number, no queue and no time but what it carries along.
//!
//! Rule: one door in, `open`, one door out, `fill`. Whatever answers a request fills its place, so
//! there is exactly one response to each, in the order of the requests.

use crate::task::Sequence;
use std::collections::VecDeque;
use std::time::Instant;

/// All places that have been opened and not yet left to the outbox.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// In the order of the requests; the first one is the oldest unanswered.
    places: VecDeque<Place>,
    /// Places that have left.
    left: u64,
    /// Bytes of the requests that have a place here.
    request_bytes: usize,
    /// Bytes of the responses that wait here for an earlier one.
    response_bytes: usize,
    /// Position in `places` of the first one that may still wait for a slot: all before it do not.
    first_waiting: usize,
    /// Places that wait for a slot.
    waiting: usize,
}

#[derive(Debug)]
struct Place {
    /// Bytes of the request line.
    request_bytes: usize,
    framed_at: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waits for a queue slot, with its request line.
    Waiting(Vec<u8>),
    /// Queued, running, or on its way back.
    Submitted,
    /// Answered; the response line waits for those before it.
    Answered(Vec<u8>),
}

/// A response line that leaves: its place has come to the front.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) sequence: Sequence,
    pub(super) framed_at: Instant,
    pub(super) line: Vec<u8>,
}

impl Order {
    /// Places taken.
    pub(super) fn len(&self) -> usize {
        self.places.len()
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

    /// Places that wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Opens the last place, for a request that now waits for a slot.
    pub(super) fn open(&mut self, line: Vec<u8>, framed_at: Instant) -> Sequence {
        self.request_bytes += line.len();
        self.waiting += 1;
        let request_bytes = line.len();
        self.places.push_back(Place {
            request_bytes,
            framed_at,
            state: State::Waiting(line),
        });
        self.last()
    }

    /// Opens the last place and fills it at once: for what the loop answers itself.
    pub(super) fn open_answered(&mut self, response: Vec<u8>, framed_at: Instant) -> Sequence {
        self.response_bytes += response.len();
        let state = State::Answered(response);
        self.places.push_back(Place {
            request_bytes: 0,
            framed_at,
            state,
        });
        self.last()
    }

    /// Places opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.last().0
    }

    /// Whether a request is queued, running, or on its way back. Linear in the places.
    pub(super) fn has_submitted(&self) -> bool {
        self.places
            .iter()
            .any(|place| matches!(place.state, State::Submitted))
    }

    fn last(&self) -> Sequence {
        Sequence(self.left + self.places.len() as u64)
    }

    /// When the longest waiting request was framed.
    pub(super) fn waiting_since(&mut self) -> Option<Instant> {
        self.find_waiting()
            .map(|position| self.places[position].framed_at)
    }

    /// Gives the slot to the longest waiting request: its line, to be submitted.
    pub(super) fn submit(&mut self) -> Option<(Sequence, Vec<u8>, Instant)> {
        let position = self.find_waiting()?;
        let place = &mut self.places[position];
        let State::Waiting(line) = std::mem::replace(&mut place.state, State::Submitted) else {
            unreachable!("find_waiting found a waiting place")
        };
        self.waiting -= 1;
        Some((
            Sequence(self.left + 1 + position as u64),
            line,
            place.framed_at,
        ))
    }

    /// Answers the longest waiting request with `response`: its wait for a slot is over.
    pub(super) fn refuse(&mut self, response: Vec<u8>) -> Option<Sequence> {
        let (sequence, _, _) = self.submit()?;
        self.fill(sequence, response);
        Some(sequence)
    }

    /// Fills the place of a submitted request.
    pub(super) fn fill(&mut self, sequence: Sequence, response: Vec<u8>) {
        let position = (sequence.0 - self.left - 1) as usize;
        let place = &mut self.places[position];
        debug_assert!(
            matches!(place.state, State::Submitted),
            "{sequence} is answered once"
        );
        self.response_bytes += response.len();
        place.state = State::Answered(response);
    }

    /// The next response whose turn it is to leave.
    pub(super) fn leave(&mut self) -> Option<Leaving> {
        let Some(Place {
            state: State::Answered(_),
            ..
        }) = self.places.front()
        else {
            return None;
        };
        let place = self.places.pop_front().expect("it was seen just now");
        let State::Answered(line) = place.state else {
            unreachable!("it was answered just now")
        };
        self.left += 1;
        self.first_waiting = self.first_waiting.saturating_sub(1);
        self.request_bytes -= place.request_bytes;
        self.response_bytes -= line.len();
        if self.places.is_empty() {
            // An idle connection keeps no buffer.
            self.places = VecDeque::new();
        }
        Some(Leaving {
            sequence: Sequence(self.left),
            framed_at: place.framed_at,
            line,
        })
    }

    /// Position of the first waiting place; amortised O(1), as the cursor passes each place once.
    fn find_waiting(&mut self) -> Option<usize> {
        if self.waiting == 0 {
            self.first_waiting = self.places.len();
            return None;
        }
        let is_waiting = |place: &Place| matches!(place.state, State::Waiting(_));
        while !is_waiting(&self.places[self.first_waiting]) {
            self.first_waiting += 1;
        }
        Some(self.first_waiting)
    }

    /// Recounts what the fields claim.
    pub(super) fn check_invariants(&self) {
        let places = || self.places.iter().enumerate();
        let waiting = |place: &Place| matches!(place.state, State::Waiting(_));
        assert_eq!(
            self.waiting,
            places().filter(|(_, place)| waiting(place)).count()
        );
        assert!(places().all(|(n, place)| n >= self.first_waiting || !waiting(place)));
        assert_eq!(
            self.request_bytes,
            places()
                .map(|(_, place)| place.request_bytes)
                .sum::<usize>()
        );
        let response_bytes = |place: &Place| match &place.state {
            State::Answered(line) => line.len(),
            State::Waiting(_) | State::Submitted => 0,
        };
        assert_eq!(
            self.response_bytes,
            places()
                .map(|(_, place)| response_bytes(place))
                .sum::<usize>()
        );
        let front = self.places.front().map(|place| &place.state);
        assert!(
            !matches!(front, Some(State::Answered(_))),
            "an answered front has left"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaving(order: &mut Order) -> Vec<(u64, Vec<u8>)> {
        std::iter::from_fn(|| order.leave())
            .map(|l| (l.sequence.0, l.line))
            .collect()
    }

    #[test]
    fn a_response_waits_for_all_before_it() {
        let (mut order, now) = (Order::default(), Instant::now());
        let first = order.open(b"a".to_vec(), now);
        order.open_answered(b"too long".to_vec(), now);
        let third = order.open(b"c".to_vec(), now);
        assert_eq!(order.submit().map(|(sequence, ..)| sequence), Some(first));
        assert_eq!(order.submit().map(|(sequence, ..)| sequence), Some(third));
        order.fill(third, b"3".to_vec());
        assert_eq!(leaving(&mut order), []);
        order.fill(first, b"1".to_vec());
        let expected = [
            (1, b"1".to_vec()),
            (2, b"too long".to_vec()),
            (3, b"3".to_vec()),
        ];
        assert_eq!(leaving(&mut order), expected);
        assert!(order.is_empty() && order.kept_bytes() == 0);
    }

    proptest! {
        /// Steps: open a request, open one that is answered at once, submit the next, refuse the next,
        /// or complete any of the submitted ones; then finish in any order.
        #[test]
        fn any_completion_order_gives_request_order(
            steps in prop::collection::vec((0..6u8, any::<prop::sample::Index>()), 1..200),
            finish in any::<u64>(),
        ) {
            let (mut order, now) = (Order::default(), Instant::now());
            let (mut opened, mut running, mut got) = (0u64, Vec::new(), Vec::new());
            let mut release = |order: &mut Order| {
                got.extend(leaving(order));
                order.check_invariants();
            };
            for (kind, pick) in steps {
                match kind {
                    0 | 1 => {
                        opened += 1;
                        let line = opened.to_string().into_bytes();
                        prop_assert_eq!(order.open(line, now), Sequence(opened));
                    }
                    2 => {
                        opened += 1;
                        order.open_answered(opened.to_string().into_bytes(), now);
                    }
                    3 => running.extend(order.submit().map(|(sequence, line, _)| (sequence, line))),
                    4 => {
                        if let Some((sequence, line, _)) = order.submit() {
                            // `refuse` is submit and fill at once; here with an answer to compare.
                            order.fill(sequence, line);
                        }
                    }
                    _ if running.is_empty() => {}
                    _ => {
                        let (sequence, line) = running.swap_remove(pick.index(running.len()));
                        order.fill(sequence, line);
                    }
                }
                release(&mut order);
            }
            running.extend(std::iter::from_fn(|| order.submit()).map(|(sequence, line, _)| (sequence, line)));
            running.sort_by_key(|(sequence, _)| (sequence.0 ^ finish).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            for (sequence, line) in running {
                order.fill(sequence, line);
                release(&mut order);
            }
            let expected: Vec<_> = (1..=opened).map(|n| (n, n.to_string().into_bytes())).collect();
            prop_assert_eq!(got, expected);
            prop_assert!(order.is_empty());
        }
    }
}
