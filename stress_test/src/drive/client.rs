//! One client as pure state: what it may send next, what it waits for, and whether each line that
//! comes is right. A line is one answer, whatever told it from the next one on the wire.
//!
//! Lines and `now` go in, frames to send and entries in the ledger come out. Knows no socket and
//! not how a frame looks.
//!
//! Rule: every frame ends as exactly one of verified, refused (busy, with retries off), failed.

mod anew;
pub(crate) mod lengths;
mod open;
mod verified;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::check::expectations::Expectations;
use crate::check::failure::{Kind, Sender, difference, quoted, speaker};
use crate::check::oracle::{IDLE_TIMEOUT, TOO_MANY_CONNECTIONS};
use crate::drive::backoff::backoff;
use crate::drive::batch::Batch;
use crate::drive::desk::Desk;
use crate::drive::doubt::{Cause, Doubt};
use crate::drive::in_flight::{InFlight, Retry, Run, Try};
use crate::drive::patience::Patience;
use crate::figures::fairness::Share;
use crate::figures::ledger::Ledger;
use crate::load::frame::Frame;
use crate::load::mix::Choice;
use crate::random;

/// More doubts of one client than this are settled, oldest first.
const MAX_DOUBTS: usize = 64;
/// After so many timeouts without a line between them the connection is given up.
const MAX_SILENT_TIMEOUTS: u32 = 2;

/// What a client wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// How many frames; `None` goes on until it is stopped.
    pub(crate) frames: Option<u32>,
    /// It sends only what it is offered (open loop), not whenever it has room.
    pub(crate) paced: bool,
    /// How many may be under way, those that wait for a retry included.
    pub(crate) max_inflight: usize,
    /// How often a refused frame is sent again; 0 counts it as refused instead.
    pub(crate) retries: u32,
    /// The last frame is sent when everything else has been answered.
    pub(crate) last_frame_alone: bool,
    /// A connection that ends before its time is followed by another one, which is tried for so
    /// long. `None` makes its end the client's.
    pub(crate) reconnect: Option<Duration>,
    /// Which operation each frame asks for.
    pub(crate) choice: Choice,
}

/// Whether the connection is of further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// Go on.
    Continue,
    /// Close it; what it did not get is in the ledger, or left for the next connection.
    Abandon,
}

/// The state of one client.
#[derive(Debug)]
pub(crate) struct Client {
    id: u32,
    sender: Sender,
    demand: Demand,
    next_sequence: u32,
    /// In the order of the answers that are due.
    in_flight: InFlight,
    retries: Vec<Retry>,
    /// When the frames were due that it has been offered and has not sent yet.
    offered: VecDeque<Instant>,
    doubts: VecDeque<Doubt>,
    last_answered: Option<u32>,
    verified: u32,
    stopped: bool,
    /// When the last line came.
    heard: Instant,
    silent_timeouts: u32,
    jitter: Rng,
    share: Share,
    /// Answers that have come and are not in the account yet.
    batch: Batch,
}

impl Client {
    /// Client number `id`, which has sent nothing yet.
    pub(crate) fn new(id: u32, sender: Sender, demand: Demand, seed: u64, now: Instant) -> Self {
        Self {
            id,
            sender,
            demand,
            next_sequence: 0,
            in_flight: InFlight::default(),
            retries: Vec::new(),
            offered: VecDeque::new(),
            doubts: VecDeque::new(),
            last_answered: None,
            verified: 0,
            stopped: false,
            heard: now,
            silent_timeouts: 0,
            jitter: random::of(seed, id, u32::MAX - 1),
            share: Share::new(),
            batch: Batch::none(now),
        }
    }

    /// Who it is.
    pub(crate) fn sender(&self) -> Sender {
        self.sender
    }

    /// What it got.
    pub(crate) fn into_share(self) -> Share {
        self.share
    }

    /// The frame to send now, if there is one: a retry that is due, or else the next new one. With
    /// it comes how many frames may be sent together, itself included. The others have the numbers
    /// that follow. The caller sends one at least, and says which by [`Self::queued`].
    pub(crate) fn next_tries(&mut self, now: Instant) -> Option<(Try, usize)> {
        if let Some(due) = self.retries.iter().position(|retry| retry.due <= now) {
            return Some((self.retries.swap_remove(due).what, 1));
        }
        let (intended, wanted) = if self.demand.paced {
            (self.offered.pop_front()?, 1)
        } else {
            (now, self.wants())
        };
        let sequence = self.next_sequence;
        let operation = self.demand.choice.operation(self.frame_of(sequence));
        let mut count = wanted.min((u32::MAX - sequence) as usize);
        if operation.is_some() {
            // The next frame may ask for another one.
            count = count.min(1);
        }
        let what = Try {
            sequence,
            operation,
            intended,
            earlier_tries: 0,
        };
        (count > 0).then_some((what, count))
    }

    /// How many more new frames it sends of its own accord (closed loop).
    fn wants(&self) -> usize {
        if !self.has_room() {
            return 0;
        }
        let room = self.demand.max_inflight - self.under_way();
        let Some(frames) = self.demand.frames else {
            return room;
        };
        let left = (frames - self.next_sequence) as usize;
        match left {
            1 if self.demand.last_frame_alone && self.under_way() > 0 => 0,
            2.. if self.demand.last_frame_alone => room.min(left - 1),
            _ => room.min(left),
        }
    }

    /// Whether it can be offered one more frame.
    pub(crate) fn has_room(&self) -> bool {
        !self.stopped && self.under_way() < self.demand.max_inflight
    }

    /// It shall send one more frame, which was due at `intended`. It has room.
    pub(crate) fn offer(&mut self, intended: Instant) {
        debug_assert!(self.demand.paced && self.has_room());
        self.offered.push_back(intended);
    }

    fn under_way(&self) -> usize {
        self.in_flight.len() + self.retries.len() + self.offered.len()
    }

    /// The frame of `what`.
    pub(crate) fn frame(&self, what: Try) -> Frame {
        self.frame_of(what.sequence)
    }

    /// The next frame of those to be [`Self::queued`] is at `place` among the outgoing bytes.
    #[inline]
    pub(crate) fn placed(&mut self, place: Range<u64>) {
        self.in_flight.place_next(place);
    }

    /// `what`, and those behind it that have been placed, are queued for writing.
    pub(crate) fn queued(
        &mut self,
        what: Try,
        ends_stream: bool,
        now: Instant,
        ledger: &mut Ledger,
    ) {
        let count = self.in_flight.push_placed(what, ends_stream, now) as u32;
        if what.earlier_tries == 0 {
            // One that has come back from an earlier connection counts again as sent.
            self.next_sequence = self.next_sequence.max(what.sequence + count);
            ledger.tally(self.sender).sent += u64::from(count);
        }
    }

    /// Where the first frame whose answer is due is among the outgoing bytes.
    pub(crate) fn first_place(&self) -> Option<u64> {
        self.in_flight.first_place().map(|place| place.start)
    }

    /// The kernel has taken the outgoing bytes up to `offset`.
    pub(crate) fn written_up_to(&mut self, offset: u64, now: Instant, ledger: &mut Ledger) {
        self.in_flight.written_up_to(offset, now, |count, first| {
            let is_first_try = first.earlier_tries == 0;
            ledger.written(self.sender, count as u32, first.intended, is_first_try, now);
        });
    }

    /// When the next retry is due.
    pub(crate) fn next_retry_due(&self) -> Option<Instant> {
        self.retries.iter().map(|retry| retry.due).min()
    }

    /// Sends nothing more, except what has been offered, or sent and refused.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether everything it wants has been sent, and answered or given up.
    pub(crate) fn is_done(&self) -> bool {
        let sent_all = self.stopped || self.demand.frames == Some(self.next_sequence);
        sent_all && self.under_way() == 0
    }

    /// One line has come, without its LF or the length in front of it.
    #[inline]
    pub(crate) fn on_line(&mut self, line: &[u8], now: Instant, desk: &mut Desk) -> Next {
        if let Some(due) = self.due()
            && desk.expectations.is_answer(due, line)
        {
            self.verify(line, now, &mut desk.ledger);
            return Next::Continue;
        }
        self.on_other_line(line, now, desk)
    }

    /// A line has come that is not the answer that is due.
    fn on_other_line(&mut self, line: &[u8], now: Instant, desk: &mut Desk) -> Next {
        self.book(&mut desk.ledger);
        self.hear(now);
        if let Some(front) = self.in_flight.front()
            && desk.expectations.is_busy(line)
            && !front.ends_stream
        {
            let front = self.pop_front(now, &mut desk.ledger);
            self.on_busy(&front, line, now, &mut desk.ledger);
            return Next::Continue;
        }
        if line == TOO_MANY_CONNECTIONS {
            match self.demand.reconnect {
                Some(_) => self.on_turned_away(now, &mut desk.ledger),
                None => self.on_refused(&quoted(line), now, &mut desk.ledger),
            }
            return Next::Abandon;
        }
        if line == IDLE_TIMEOUT && self.is_between_requests() {
            // The end of the connection follows, and says all that there is to know.
            return Next::Continue;
        }
        self.on_wrong_line(line, now, desk);
        Next::Continue
    }

    fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.silent_timeouts = 0;
    }

    fn on_busy(&mut self, front: &Run, line: &[u8], now: Instant, ledger: &mut Ledger) {
        ledger.busy(self.sender, front.times(), now);
        let what = front.what;
        if what.earlier_tries < self.demand.retries {
            ledger.tally(self.sender).retries += 1;
            self.retries.push(Retry {
                what: Try {
                    earlier_tries: what.earlier_tries + 1,
                    ..what
                },
                due: now + backoff(what.earlier_tries, self.jitter.f64()),
            });
            return;
        }
        let tried_again = self.demand.retries > 0;
        ledger.refused(self.sender, tried_again, what.intended, now);
        if tried_again {
            let tries = what.earlier_tries + 1;
            let text = format!("all {tries} tries were answered {}", quoted(line));
            self.fail(ledger, Kind::Busy, what.sequence, &text);
        }
    }

    /// Finds out what a line is that is not the answer that is due.
    fn on_wrong_line(&mut self, line: &[u8], now: Instant, desk: &mut Desk) {
        let (expectations, ledger) = (&mut desk.expectations, &mut desk.ledger);
        let answers = |doubt: &Doubt| expectations.is_answer(self.frame(doubt.what), line);
        if let Some(place) = self.doubts.iter().position(answers) {
            let doubt = self.doubts.remove(place);
            let doubt = doubt.expect("a position is within the list");
            self.last_answered = Some(doubt.what.sequence);
            return self.decide(doubt.what, doubt.answered(now), now, ledger);
        }
        if let Some(place) = self.place_in_flight(line, expectations) {
            return self.on_overtaking(place, line, now, ledger);
        }
        let owner = expectations.whose(line, self.id);
        if let Some(sequence) = self.repeated(line, owner, expectations) {
            let text = format!("got again the answer to frame {sequence}");
            return self.on_extra(Kind::Repeated, &text, ledger);
        }
        match (owner, self.in_flight.front()) {
            (Some(owner), _) if owner.client != self.id => {
                let sender = expectations.sender(owner.client);
                let text = format!("got the answer to {sender} frame {}", owner.sequence);
                self.on_replaced(Kind::Foreign, text, line, now, ledger);
            }
            (_, None) => {
                let (line, who) = (quoted(line), speaker(line));
                let text = format!("got {line} when no answer was due{who}");
                self.on_extra(Kind::Unexpected, &text, ledger);
            }
            (_, Some(front)) => {
                let text = difference(expectations.answer(self.frame(front.what)), line);
                self.on_replaced(Kind::Altered, text, line, now, ledger);
            }
        }
    }

    /// Which frame in flight, other than the first, `line` is the answer to. An answer that many
    /// frames could have (of SLEEP, an error) is taken for the second one's only.
    fn place_in_flight(&self, line: &[u8], expectations: &mut Expectations) -> Option<usize> {
        let looked_at = if expectations.is_distinctive(line) {
            self.in_flight.len()
        } else {
            2
        };
        let mut frames = self.in_flight.iter().take(looked_at).skip(1);
        let place = frames.position(|other| expectations.is_answer(self.frame(other), line));
        place.map(|place| place + 1)
    }

    /// The frame in flight at `place` was answered before the ones in front of it.
    fn on_overtaking(&mut self, place: usize, line: &[u8], now: Instant, ledger: &mut Ledger) {
        let overtaking = self.in_flight.iter().nth(place);
        let by = overtaking.expect("a place is within the list").sequence;
        for _ in 0..place {
            let what = self.pop_front(now, ledger).what;
            self.doubt(what, Cause::Overtaken { by }, now, ledger);
        }
        self.verify(line, now, ledger);
    }

    /// The frame of this client that had been answered before and that `line` answers again.
    fn repeated(
        &self,
        line: &[u8],
        owner: Option<Frame>,
        expectations: &mut Expectations,
    ) -> Option<u32> {
        if let Some(owner) = owner {
            let mut retries = self.retries.iter();
            let waits = retries.any(|retry| retry.what.sequence == owner.sequence);
            return (owner.client == self.id && !waits).then_some(owner.sequence);
        }
        let last = self.last_answered?;
        let is_repeated = expectations.is_answer(self.frame_of(last), line);
        is_repeated.then_some(last)
    }

    /// A line that is not the answer of the frame whose answer is due came in its place.
    fn on_replaced(
        &mut self,
        kind: Kind,
        text: String,
        line: &[u8],
        now: Instant,
        ledger: &mut Ledger,
    ) {
        if self.in_flight.is_empty() {
            return self.on_extra(kind, &text, ledger);
        }
        let what = self.pop_front(now, ledger).what;
        let line = quoted(line);
        self.doubt(what, Cause::Replaced { kind, text, line }, now, ledger);
    }

    /// A line that takes no frame's place.
    fn on_extra(&mut self, kind: Kind, text: &str, ledger: &mut Ledger) {
        if let Some(front) = self.in_flight.front() {
            let sequence = front.what.sequence;
            self.fail(ledger, kind, sequence, text);
        } else {
            let place = format!("{} after {} frames", self.sender, self.next_sequence);
            ledger.failures.add(kind, 1, place, text);
        }
    }

    /// Whether an answer is due and nothing has come for `timeout`.
    pub(crate) fn is_overdue(&self, patience: &Patience, now: Instant) -> bool {
        let front = self.in_flight.front();
        front.is_some_and(|front| patience.is_over(front.times().written.max(self.heard), now))
    }

    /// Nothing has come for `timeout`: what is in flight is missing, unless it comes late.
    pub(crate) fn on_timeout(
        &mut self,
        timeout: Duration,
        now: Instant,
        ledger: &mut Ledger,
    ) -> Next {
        self.heard = now;
        self.silent_timeouts += 1;
        while !self.in_flight.is_empty() {
            let front = self.pop_front(now, ledger);
            let written = front.times().written;
            self.doubt(front.what, Cause::Overdue { timeout, written }, now, ledger);
        }
        if self.silent_timeouts < MAX_SILENT_TIMEOUTS || self.is_done() {
            return Next::Continue;
        }
        let silence = timeout.as_secs_f64() * f64::from(self.silent_timeouts);
        self.on_end(
            &format!("given up after {silence} s without an answer"),
            b"",
            now,
            ledger,
        );
        Next::Abandon
    }

    /// The connection has ended because of `cause`, with `rest` after the last whole answer.
    pub(crate) fn on_end(&mut self, cause: &str, rest: &[u8], now: Instant, ledger: &mut Ledger) {
        self.book(ledger);
        let (missing, unsent) = (self.unanswered(), self.unsent());
        if missing + unsent > 0 {
            let first = self.first_outstanding();
            let mut text = format!("{cause} after {} answers", self.verified);
            if let Some(frames) = self.demand.frames {
                text = format!("{cause} after {} of {frames} answers", self.verified);
            }
            if !rest.is_empty() {
                text = format!("{text} and half an answer, {}", quoted(rest));
            }
            let place = format!("{} frame {first}", self.sender);
            if missing > 0 {
                ledger.failures.add(Kind::Missing, missing, place, &text);
            }
            if unsent > 0 {
                let place = format!("{} frame {}", self.sender, self.next_sequence);
                ledger.failures.add(Kind::Unsent, unsent, place, &text);
            }
            self.forget_outstanding(now, ledger);
        } else {
            self.on_stray_rest(rest, ledger);
        }
        self.settle_doubts(now, ledger);
    }

    /// No answer is due, and `rest` is what has come of one.
    fn on_stray_rest(&mut self, rest: &[u8], ledger: &mut Ledger) {
        if !rest.is_empty() {
            let text = format!(
                "got half an answer, {}, when no answer was due",
                quoted(rest)
            );
            self.on_extra(Kind::Unexpected, &text, ledger);
        }
    }

    /// There is no connection, or the server would not have it.
    pub(crate) fn on_refused(&mut self, cause: &str, now: Instant, ledger: &mut Ledger) {
        let lost = (self.unanswered() + self.unsent()).max(1);
        let place = format!("{}", self.sender);
        ledger.failures.add(Kind::Refused, lost, place, cause);
        self.forget_outstanding(now, ledger);
        self.settle_doubts(now, ledger);
    }

    /// Nothing more can come: what is in doubt is decided.
    pub(crate) fn settle_doubts(&mut self, now: Instant, ledger: &mut Ledger) {
        while let Some(doubt) = self.doubts.pop_front() {
            self.settle(doubt, now, ledger);
        }
    }

    fn settle(&self, doubt: Doubt, now: Instant, ledger: &mut Ledger) {
        self.decide(doubt.what, doubt.unanswered(), now, ledger);
    }

    /// The doubt about `what` is decided: it is a failure of this kind, with this text.
    fn decide(&self, what: Try, (kind, text): (Kind, String), now: Instant, ledger: &mut Ledger) {
        ledger.failed(self.sender, kind, what.operation, what.intended, now);
        self.fail(ledger, kind, what.sequence, &text);
    }

    fn doubt(&mut self, what: Try, cause: Cause, now: Instant, ledger: &mut Ledger) {
        if self.doubts.len() == MAX_DOUBTS
            && let Some(oldest) = self.doubts.pop_front()
        {
            self.settle(oldest, now, ledger);
        }
        self.doubts.push_back(Doubt { what, cause });
    }

    /// How many frames that were sent are neither answered nor in doubt.
    pub(crate) fn unanswered(&self) -> u64 {
        (self.in_flight.len() + self.retries.len()) as u64
    }

    /// How many frames have not been sent and should be.
    fn unsent(&self) -> u64 {
        let frames = self.demand.frames;
        let left = frames.map_or(0, |frames| frames - self.next_sequence);
        self.offered.len() as u64 + u64::from(left)
    }

    fn first_outstanding(&self) -> u32 {
        let in_flight = self.in_flight.iter().map(|what| what.sequence);
        let retries = self.retries.iter().map(|retry| retry.what.sequence);
        in_flight.chain(retries).min().unwrap_or(self.next_sequence)
    }

    fn forget_outstanding(&mut self, now: Instant, ledger: &mut Ledger) {
        while !self.in_flight.is_empty() {
            let lost = self.pop_front(now, ledger).what;
            ledger.failed(
                self.sender,
                Kind::Missing,
                lost.operation,
                lost.intended,
                now,
            );
        }
        for retry in self.retries.drain(..) {
            let what = retry.what;
            ledger.failed(
                self.sender,
                Kind::Missing,
                what.operation,
                what.intended,
                now,
            );
        }
        ledger.tally(self.sender).cut_off += self.unsent();
        for intended in self.offered.drain(..) {
            ledger.unsent_due(self.sender, intended, now);
        }
        if let Some(frames) = self.demand.frames {
            ledger.tally(self.sender).unsent += u64::from(frames - self.next_sequence);
            self.next_sequence = frames;
        }
        self.stopped = true;
    }

    fn pop_front(&mut self, now: Instant, ledger: &mut Ledger) -> Run {
        assert!(self.batch.count == 0, "answers are in the account first");
        let front = self.in_flight.pop_front();
        let front = front.expect("the caller has seen a frame in flight");
        if front.is_written {
            let stay = now.saturating_duration_since(front.sent);
            ledger.left(self.sender, 1, stay, now);
        }
        front
    }

    fn frame_of(&self, sequence: u32) -> Frame {
        Frame {
            client: self.id,
            sequence,
        }
    }

    fn fail(&self, ledger: &mut Ledger, kind: Kind, sequence: u32, text: &str) {
        let place = format!("{} frame {sequence}", self.sender);
        ledger.failures.add(kind, 1, place, text);
    }
}

#[cfg(test)]
mod tests;
