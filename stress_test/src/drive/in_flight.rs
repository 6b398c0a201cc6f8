//! Frames on their way: which try of each, and since when.
//!
//! Knows times and places in the stream; not whose frames they are, nor what their answers are.
//!
//! Rule: a frame keeps the time that it was meant for, however often it is sent. Frames that are
//! sent together are kept together for speed alone: one by one, they are most of the memory that
//! a client looks at.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::time::Instant;

use crate::figures::ledger::Times;
use crate::load::mix::Operation;

/// A frame, and how often it has been sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Try {
    /// The frame's number.
    pub(crate) sequence: u32,
    /// What it asks for, where there is a choice.
    pub(crate) operation: Option<Operation>,
    /// When it was meant to be sent for the first time: in an open loop by the timetable, in a
    /// closed one as soon as there was room for it.
    pub(crate) intended: Instant,
    /// 0 for the first try.
    pub(crate) earlier_tries: u32,
}

/// Frames that were queued together. They differ in nothing but their numbers, which follow each
/// other, and their places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// The first one, and which try of it.
    pub(crate) what: Try,
    /// How many they are.
    count: usize,
    /// When they were queued for writing, and then when the last byte was handed to the kernel.
    pub(crate) sent: Instant,
    /// The kernel has all of them.
    pub(crate) is_written: bool,
    /// It shuts the sending side down, so it cannot be refused: it never becomes a request.
    pub(crate) ends_stream: bool,
}

impl Run {
    /// When they were meant to be sent, and when they were.
    pub(crate) fn times(&self) -> Times {
        Times {
            operation: self.what.operation,
            intended: self.what.intended,
            written: self.sent,
        }
    }

    /// The one behind `earlier` others.
    fn nth(&self, earlier: usize) -> Try {
        Try {
            sequence: self.what.sequence + earlier as u32,
            ..self.what
        }
    }

    /// Takes the first one off.
    fn advance(&mut self) {
        self.count -= 1;
        self.what.sequence += 1;
    }
}

/// The frames that were sent and whose answers are due, in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    runs: VecDeque<Run>,
    /// Where the first frame begins among the connection's outgoing bytes.
    begin: u64,
    /// Where each of them ends there.
    ends: VecDeque<u64>,
    /// How many of these, from the last one on, belong to the run to come.
    placed: usize,
}

impl InFlight {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The first one, with those that are alike behind it.
    #[inline]
    pub(crate) fn front(&self) -> Option<&Run> {
        self.runs.front()
    }

    /// Where the first one is among the outgoing bytes.
    #[inline]
    pub(crate) fn first_place(&self) -> Option<Range<u64>> {
        Some(self.begin..*self.ends.front()?)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Try> {
        let runs = self.runs.iter();
        runs.flat_map(|run| (0..run.count).map(|earlier| run.nth(earlier)))
    }

    /// One more is at `place` among the outgoing bytes, behind all others.
    #[inline]
    pub(crate) fn place_next(&mut self, place: Range<u64>) {
        if self.ends.is_empty() {
            self.begin = place.start;
        }
        self.ends.push_back(place.end);
        self.placed += 1;
    }

    /// Those that were placed are queued for writing: `what`, and those behind it. Returns how many
    /// they are.
    pub(crate) fn push_placed(&mut self, what: Try, ends_stream: bool, now: Instant) -> usize {
        let count = mem::take(&mut self.placed);
        debug_assert!(count > 0 && !(ends_stream && count > 1));
        self.runs.push_back(Run {
            what,
            count,
            sent: now,
            is_written: false,
            ends_stream,
        });
        count
    }

    /// The kernel has taken the outgoing bytes up to `offset`. `tell` is told how many frames are
    /// whole there by that, and which is their first.
    pub(crate) fn written_up_to(
        &mut self,
        offset: u64,
        now: Instant,
        mut tell: impl FnMut(usize, Try),
    ) {
        let unwritten = self.runs.iter().rev().take_while(|run| !run.is_written);
        let (runs, frames) =
            unwritten.fold((0, 0), |(runs, frames), run| (runs + 1, frames + run.count));
        let mut first = self.ends.len() - frames;
        for place in self.runs.len() - runs..self.runs.len() {
            let run = &mut self.runs[place];
            let count = run.count;
            let mut whole = count;
            if self.ends[first + count - 1] > offset {
                let ends = self.ends.range(first..first + count);
                whole = ends.take_while(|end| **end <= offset).count();
            }
            if whole == 0 {
                return;
            }
            let rest = Run {
                what: run.nth(whole),
                count: count - whole,
                ..*run
            };
            (run.count, run.sent, run.is_written) = (whole, now, true);
            tell(whole, run.what);
            if rest.count > 0 {
                return self.runs.insert(place + 1, rest);
            }
            first += whole;
        }
    }

    /// Takes the first one off, as a run of its own.
    pub(crate) fn pop_front(&mut self) -> Option<Run> {
        let first = Run {
            count: 1,
            ..*self.front()?
        };
        self.advance();
        self.drop_run();
        Some(first)
    }

    /// Takes the first one off. Returns whether its run is over by that; it still is the front one
    /// then, until it is dropped.
    #[inline]
    pub(crate) fn advance(&mut self) -> bool {
        let (Some(run), Some(end)) = (self.runs.front_mut(), self.ends.pop_front()) else {
            return false;
        };
        self.begin = end;
        run.advance();
        run.count == 0
    }

    /// Drops the front run if it is over.
    pub(crate) fn drop_run(&mut self) {
        if self.runs.front().is_some_and(|run| run.count == 0) {
            self.runs.pop_front();
        }
    }

    /// Takes off those of which the kernel has got nothing: those behind the first one that it has
    /// not got whole.
    pub(crate) fn take_back(&mut self) -> Vec<Try> {
        let written = self.runs.iter().take_while(|run| run.is_written);
        let begun = written.map(|run| run.count).sum::<usize>() + 1;
        let taken = self.iter().skip(begun).collect();
        while self.ends.len() > begun {
            self.ends.pop_back();
            if let Some(last) = self.runs.back_mut() {
                last.count -= 1;
                if last.count == 0 {
                    self.runs.pop_back();
                }
            }
        }
        taken
    }
}

/// A frame that was refused and waits until it is sent again.
#[derive(Debug)]
pub(crate) struct Retry {
    /// The try to come.
    pub(crate) what: Try,
    /// When it is due.
    pub(crate) due: Instant,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `count` frames from number 5 on, of ten bytes each, queued at `now`.
    fn queued(count: u64, now: Instant) -> InFlight {
        let mut in_flight = InFlight::default();
        for number in 0..count {
            in_flight.place_next(number * 10..number * 10 + 10);
        }
        let what = Try {
            sequence: 5,
            operation: None,
            intended: now,
            earlier_tries: 0,
        };
        assert_eq!(in_flight.push_placed(what, false, now), count as usize);
        in_flight
    }

    #[test]
    fn each_frame_has_its_place_until_it_is_answered() {
        let mut in_flight = queued(3, Instant::now());
        let numbers: Vec<u32> = in_flight.iter().map(|what| what.sequence).collect();
        assert_eq!(numbers, [5, 6, 7]);
        for (place, is_last) in [(0..10, false), (10..20, false), (20..30, true)] {
            assert_eq!(in_flight.first_place(), Some(place));
            assert_eq!(in_flight.advance(), is_last);
        }
        assert!(in_flight.is_empty() && in_flight.front().is_some());
        in_flight.drop_run();
        assert!(in_flight.front().is_none() && in_flight.first_place().is_none());
    }

    #[test]
    fn frames_that_the_kernel_takes_one_after_the_other_have_each_its_own_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut in_flight = queued(4, start);
        let mut told = Vec::new();
        for (offset, ms) in [(9, 1), (29, 2), (30, 3), (30, 4), (40, 5)] {
            in_flight.written_up_to(offset, at(ms), |count, first| {
                told.push((ms, count, first.sequence));
            });
        }
        assert_eq!(told, [(2, 2, 5), (3, 1, 7), (5, 1, 8)]);
        let runs: Vec<Run> = std::iter::from_fn(|| in_flight.pop_front()).collect();
        assert!(runs.iter().all(|run| run.is_written));
        let sent: Vec<_> = runs
            .iter()
            .map(|run| (run.what.sequence, run.sent))
            .collect();
        assert_eq!(sent, [(5, at(2)), (6, at(2)), (7, at(3)), (8, at(5))]);
    }

    #[test]
    fn a_frame_that_may_have_begun_is_not_taken_back() {
        let mut in_flight = queued(4, Instant::now());
        in_flight.written_up_to(10, Instant::now(), |_, _| ());
        let back: Vec<u32> = in_flight
            .take_back()
            .iter()
            .map(|what| what.sequence)
            .collect();
        assert_eq!((back, in_flight.len()), (vec![7, 8], 2));
        assert!(in_flight.take_back().is_empty());
    }
}
