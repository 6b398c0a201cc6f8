//! One connection as pure state: what it may read, what is pending on it, how it ends.
//!
//! Knows no socket, no other connection and no queue.
//!
//! Rule: every bound of promise 5 on a connection is held here, by not framing and not reading.

mod batch;
mod deadlines;
mod input;
pub(super) mod order;
mod outbox;
mod pass;
mod phase;
mod read_rate;
mod rules;

use super::addresses::AddressSlot;
use super::admission::Ticket;
use super::read_gate::Pause;
use super::ready_list::Listed;
use super::timers::Armed;
use super::trace::trace_each;
use super::view::ConnectionView;
use super::{Action, Kernel};
use crate::codec::{Broken, Codec, Refusal};
use crate::config::Config;
use crate::proxy::{HeaderFault, MAX_HEADER_BYTES};
use crate::task::{ConnectionId, Sequence, Span};
pub(super) use deadlines::Due;
use deadlines::{Deadlines, Standing};
use input::Input;
use order::Order;
use outbox::Outbox;
use pass::Pass;
pub(super) use phase::{Event, Phase};
pub(super) use rules::Rules;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connection with more unsent output than this is neither framed nor read on.
pub const UNSENT_LIMIT_BYTES: usize = 65_536;

/// How long a connection that is over may still take its last words and send what nobody reads.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    phase: Phase,
    input: Input,
    pub(super) order: Order,
    pub(super) outbox: Outbox,
    deadlines: Deadlines,
    opened_at: Instant,
    bytes_in: u64,
    /// It was refused on arrival, and does not count against the connection limit.
    pub(super) is_refused: bool,
    /// Where its address stands, if what that has is limited.
    pub(super) address: Option<AddressSlot>,
    /// How many requests it may have in flight on account of others of that address.
    pub(super) most_in_flight: usize,
    /// What was read last has found no place, on account of others of that address.
    lacks_place: bool,

    // What the engine's parts note on it; each can be read by its own part alone.
    pub(super) ticket: Ticket,
    pub(super) armed: Armed,
    pub(super) listed: Listed,
    pub(super) pause: Pause,
    /// What it added to the engine's counts of buffered bytes and of waiting requests, and to what
    /// its address has in flight.
    pub(super) counted_bytes: usize,
    pub(super) counted_in_flight: usize,
    pub(super) counted_waiting: usize,
}

/// What became of requests in one change of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// They now have a place.
    pub(super) framed: usize,
    /// They will not be run, because they stood behind a last one.
    pub(super) abandoned: usize,
    /// Refused for want of a slot.
    pub(super) busy: usize,
    /// No requests, and refused in the place of one: too long, and cut short by the end of the
    /// stream.
    pub(super) too_long: usize,
    pub(super) incomplete: usize,
    /// The client speaks another protocol, and was told so: once at most.
    pub(super) foreign: usize,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        ticket: Ticket,
        max_parallel: usize,
        now: Instant,
    ) -> Connection {
        Connection {
            id,
            phase: Phase::Serving,
            input: Input::default(),
            order: Order::new(max_parallel),
            outbox: Outbox::default(),
            deadlines: Deadlines::new(now),
            opened_at: now,
            bytes_in: 0,
            is_refused: false,
            address: None,
            most_in_flight: usize::MAX,
            lacks_place: false,
            ticket,
            armed: Armed::default(),
            listed: Listed::default(),
            pause: Pause::default(),
            counted_bytes: 0,
            counted_in_flight: 0,
            counted_waiting: 0,
        }
    }

    // What it is.

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Bytes buffered for this connection.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.input.kept_bytes() + self.order.kept_bytes() + self.outbox.kept_bytes()
    }

    /// Whether nothing is pending: it holds at most the beginning of its next request.
    pub(super) fn has_nothing_pending(&self) -> bool {
        self.order.is_empty() && self.outbox.is_empty()
    }

    /// Whether more requests may come.
    pub(super) fn may_send(&self) -> bool {
        self.phase.is_open() && !self.input.is_finished()
    }

    /// Whether its client has all its answers once what is unsent has gone, has begun no other
    /// request, and could still do so.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase == Phase::Serving
            && self.order.is_empty()
            && !self.outbox.is_empty()
            && !self.input.is_begun()
            && !self.input.is_finished()
    }

    /// What is to be done with it, once its unsent bytes have been offered to its socket; none if
    /// it may be read.
    pub(super) fn action(&self, readable: bool) -> Option<Action> {
        let is_ended = self.input.is_finished();
        self.phase.action(readable, is_ended, || self.is_finished())
    }

    /// Whether nothing is left to answer, and nothing more can come: behind what is unsent there
    /// is only the end of the stream.
    pub(super) fn is_answered(&self) -> bool {
        let is_input_over = self.input.is_finished() || !self.phase.is_open();
        is_input_over && self.order.is_empty() && !self.input.has_more()
    }

    /// Whether nothing is left to answer or to write, and nothing more can come.
    pub(super) fn is_finished(&self) -> bool {
        self.outbox.is_empty() && self.is_answered()
    }

    /// Whether what was read last has no place in the order yet.
    pub(super) fn is_input_blocked(&self) -> bool {
        self.input.is_blocked()
    }

    /// Whether what was read last waits for a place that others of its address have.
    pub(super) fn lacks_place(&self) -> bool {
        self.lacks_place && self.input.is_blocked()
    }

    /// Whether more is unsent than a connection may have that is read on.
    pub(super) fn is_output_full(&self) -> bool {
        self.outbox.kept_bytes() > UNSENT_LIMIT_BYTES
    }

    /// Whether there may be something to read before it is called idle.
    pub(super) fn is_read_before_idle(&self) -> bool {
        self.deadlines.has_last_chance()
    }

    pub(super) fn view(&self, now: Instant) -> ConnectionView {
        ConnectionView {
            id: self.id,
            peer: None,
            age: self.age(now),
            state: self.phase.state(),
            pause: self.pause.reason(),
            requests: self.order.opened(),
            in_flight: self.order.len(),
            waiting: self.order.without_slot(),
            buffered_bytes: self.buffered_bytes(),
            unsent_bytes: self.outbox.unsent().len(),
            bytes_in: self.bytes_in,
            bytes_out: self.outbox.sent_in_all(),
        }
    }

    /// For the log.
    pub(super) fn bytes_in(&self) -> u64 {
        self.bytes_in
    }

    pub(super) fn opened_at(&self) -> Instant {
        self.opened_at
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened_at)
    }

    // What happens to it.

    pub(super) fn change(&mut self, event: Event) {
        self.phase = self.phase.after(event);
    }

    /// The header of a proxy comes first.
    pub(super) fn await_header(&mut self) {
        self.phase = Phase::Header;
    }

    /// Takes what was read just now for the header of a proxy, or a part of it. Says which client
    /// it names and how much belongs to it, once it is whole.
    pub(super) fn receive_header(
        &mut self,
        chunk: &[u8],
        rules: &Rules<impl Codec>,
        now: Instant,
    ) -> Result<Option<(Option<SocketAddr>, usize)>, HeaderFault> {
        let found = self.input.cut_header(chunk);
        let count = match found {
            Ok(Some((_, bytes))) => bytes,
            Ok(None) | Err(_) => chunk.len(),
        };
        self.bytes_in += count as u64;
        self.deadlines.read(count);
        match found {
            Ok(Some(_)) => {
                self.change(Event::Introduced);
                self.deadlines.moved_on(now);
            }
            Ok(None) => {}
            Err(_) => self.farewell(Refusal::NoProxyHeader, rules, now),
        }
        found
    }

    /// Frames what was read just now.
    pub(super) fn receive(
        &mut self,
        chunk: &[u8],
        rules: &Rules<impl Codec>,
        now: Instant,
    ) -> Counts {
        debug_assert!(
            !self.input.is_blocked(),
            "a connection whose input is blocked is not read"
        );
        self.bytes_in += chunk.len() as u64;
        self.deadlines.read(chunk.len());
        let mut counts = Counts::default();
        self.frame(chunk, rules, now, &mut counts);
        self.advance(rules, now, &mut counts);
        counts
    }

    /// Its client's stream has ended. That is a fault inside a header.
    pub(super) fn receive_end(
        &mut self,
        rules: &Rules<impl Codec>,
        now: Instant,
    ) -> Result<Counts, HeaderFault> {
        self.input.finish();
        self.deadlines.framed(false, now);
        if self.phase == Phase::Header && self.input.kept_bytes() > 0 {
            self.farewell(Refusal::NoProxyHeader, rules, now);
            return Err(HeaderFault::Incomplete);
        }
        let mut counts = Counts::default();
        self.advance(rules, now, &mut counts);
        Ok(counts)
    }

    /// Frames what has found no place before.
    pub(super) fn go_on(&mut self, rules: &Rules<impl Codec>, now: Instant) -> Counts {
        let mut counts = Counts::default();
        self.advance(rules, now, &mut counts);
        counts
    }

    /// It was kept waiting by others, and goes on now: no clock has run meanwhile.
    pub(super) fn end_wait(&mut self, now: Instant) {
        self.deadlines.wrote(now);
    }

    /// Bytes came and were thrown away.
    pub(super) fn discard(&mut self, count: usize) {
        self.bytes_in += count as u64;
        self.change(Event::Discarded(count));
    }

    /// Takes the responses to a run. Says when that got its slots; nothing if they come too late,
    /// because the connection closes after an earlier one.
    pub(super) fn complete(
        &mut self,
        span: Span,
        responses: Vec<u8>,
        is_last: bool,
        rules: &Rules<impl Codec>,
        now: Instant,
    ) -> (Option<Instant>, Counts) {
        let mut counts = Counts::default();
        let queued_at = self.order.fill(span, responses, now);
        if is_last && queued_at.is_some() {
            counts.abandoned = self.order.end_after(span);
            self.end_input();
        }
        self.advance(rules, now, &mut counts);
        self.deadlines
            .watch_rate(&self.standing(), &rules.config, now);
        (queued_at, counts)
    }

    /// The socket took the next `count` bytes of the outbox. Tells which responses have gone, and
    /// when their requests were framed.
    pub(super) fn sent(
        &mut self,
        count: usize,
        rules: &Rules<impl Codec>,
        now: Instant,
        written: impl FnMut(Span, Instant),
    ) -> Counts {
        self.deadlines.wrote(now);
        self.outbox.sent(count, written);
        let mut counts = Counts::default();
        self.advance(rules, now, &mut counts);
        self.deadlines
            .watch_rate(&self.standing(), &rules.config, now);
        counts
    }

    /// Its sending side was shut.
    pub(super) fn shut_down(&mut self, now: Instant) {
        self.deadlines.moved_on(now);
        self.change(Event::Shut);
    }

    /// From here on nothing that the client sends becomes a request.
    pub(super) fn stop(&mut self, rules: &Rules<impl Codec>, now: Instant) {
        self.change(Event::Stop);
        self.input.cut_off();
        self.advance(rules, now, &mut Counts::default());
    }

    /// Says goodbye with an error, and gives the client a limited time to take it.
    pub(super) fn farewell(&mut self, why: Refusal, rules: &Rules<impl Codec>, now: Instant) {
        let by = now + LINGER_TIMEOUT;
        self.change(Event::Farewell { by });
        self.input.cut_off();
        // Nothing comes behind it, whether the codec has words for it or not.
        let (Ok(()) | Err(Broken)) = self.order.open_refused(why, b"", &rules.codec, now);
        self.advance(rules, now, &mut Counts::default());
    }

    /// No request can follow those that have a place.
    fn end_input(&mut self) {
        self.change(Event::Last);
        self.input.cut_off();
    }

    // What follows.

    /// Moves on what can move: answers to the outbox, and requests into the places that this
    /// freed.
    fn advance(&mut self, rules: &Rules<impl Codec>, now: Instant, counts: &mut Counts) {
        loop {
            while let Some(leaving) = self.order.leave() {
                self.outbox.push(leaving);
                if self.order.is_empty() {
                    self.deadlines.wrote(now);
                }
            }
            if !self.input.has_more() || !self.frame(b"", rules, now, counts) {
                return;
            }
        }
    }

    /// Opens places for the requests in what was kept and in `chunk`, as far as the bounds allow.
    /// Says whether it has opened any.
    fn frame(
        &mut self,
        chunk: &[u8],
        rules: &Rules<impl Codec>,
        now: Instant,
        counts: &mut Counts,
    ) -> bool {
        let codec = &rules.codec;
        let taken = self.input.take(chunk, codec);
        let bytes = taken.bytes();
        let opened_before = self.order.opened();
        if opened_before == 0
            && !bytes.is_empty()
            && let Some(why) = rules.foreign(bytes, self.input.seen())
        {
            counts.foreign += 1;
            self.farewell(why, rules, now);
            return true;
        }
        // Responses only join the output after this.
        let is_output_full = self.is_output_full();
        let max_inflight = rules.config.max_inflight;
        let most = match is_output_full {
            true => 0,
            false => max_inflight.min(self.most_in_flight),
        };
        let pass = Pass {
            input: &mut self.input,
            order: &mut self.order,
            rules,
            counts,
            most,
            now,
        };
        let passed = pass.run(bytes);
        self.lacks_place = passed.lacks_place && !is_output_full && self.order.len() < max_inflight;
        self.input
            .keep(taken, passed.left, passed.is_blocked, codec);
        if passed.is_last {
            self.end_input();
        }
        let is_inside = self.input.is_begun() && !self.input.is_finished();
        self.deadlines.framed(is_inside, now);
        let span = Span {
            first: Sequence(opened_before + 1),
            requests: (self.order.opened() - opened_before) as usize,
        };
        trace_each(self.id, span, "framed");
        // What stands between two responses is no request.
        span.requests > 0 || self.order.can_leave()
    }

    // What time does to it.

    /// Judges every deadline of this connection. Asks `kernel` about its socket where its clock
    /// runs although its client may just be taking bytes.
    pub(super) fn expire(
        &mut self,
        rules: &Rules<impl Codec>,
        is_budget_spent: bool,
        now: Instant,
        kernel: &mut impl Kernel,
    ) -> (Due, Counts) {
        let standing = self.standing();
        if self.deadlines.depends_on_taken(&standing) {
            let bytes = self.without_end(kernel.unacknowledged(self.id));
            self.deadlines.note_unacknowledged(bytes, &standing, now);
        }
        let may_read = self.may_read_at_last(rules, is_budget_spent);
        let unread = || kernel.unread(self.id);
        let config = &rules.config;
        let due = self.deadlines.due(&standing, may_read, config, now, unread);
        let mut counts = Counts::default();
        match due {
            Due::Nothing if self.order.waiting() > 0 => {
                self.refuse_overdue(rules, now, &mut counts);
                self.advance(rules, now, &mut counts);
            }
            Due::Nothing | Due::ReadFirst => {}
            Due::Header => self.farewell(Refusal::NoProxyHeader, rules, now),
            Due::Request => self.farewell(Refusal::RequestTimeout, rules, now),
            Due::Idle if self.phase == Phase::Serving && self.outbox.is_empty() => {
                self.farewell(Refusal::IdleTimeout, rules, now);
            }
            // It does not take what it has been sent, so it will not take the error either.
            Due::Idle => self.change(Event::GiveUp("idle")),
            Due::Rate => self.change(Event::GiveUp("read too slowly")),
            Due::GiveUp => self.change(Event::GiveUp("lingered for too long")),
        }
        (due, counts)
    }

    /// How many bytes may be read besides those that have come, before it is judged; none if
    /// nothing that comes can change that.
    fn may_read_at_last(&self, rules: &Rules<impl Codec>, is_budget_spent: bool) -> Option<usize> {
        let may_read = self.may_send()
            && !self.is_output_full()
            && (self.outbox.is_empty() || !is_budget_spent);
        may_read.then(|| match self.phase {
            Phase::Header => MAX_HEADER_BYTES,
            _ => rules.codec.max_incomplete_bytes(),
        })
    }

    /// Refuses the waiting requests whose time is over.
    fn refuse_overdue(&mut self, rules: &Rules<impl Codec>, now: Instant, counts: &mut Counts) {
        while self
            .busy_deadline(&rules.config)
            .is_some_and(|deadline| deadline <= now)
            && let Some((span, outcome)) = self.order.refuse(&rules.codec)
        {
            if outcome.is_err() {
                counts.abandoned += self.order.end_after(span);
                self.end_input();
            }
            counts.busy += span.requests;
            trace_each(self.id, span, "refused: busy");
        }
    }

    /// When the longest waiting request is to be refused: once it has waited for the busy timeout,
    /// and the connection has got no slot for that long either.
    pub(super) fn busy_deadline(&self, config: &Config) -> Option<Instant> {
        let since = self.order.waiting_since()?.max(self.ticket.last_slot_at());
        Some(since + config.busy_timeout)
    }

    /// When it is due next, as far as is known now, beside its [`Connection::busy_deadline`].
    pub(super) fn deadline(&self, config: &Config, now: Instant) -> Option<Instant> {
        self.deadlines.next(&self.standing(), config, now)
    }

    /// The same after a change, for a connection that has a timer for its deadline before that.
    #[inline]
    pub(super) fn deadline_after_change(&self, config: &Config, now: Instant) -> Option<Instant> {
        self.deadlines
            .next_after_change(&self.standing(), config, now)
    }

    #[inline]
    fn standing(&self) -> Standing {
        Standing {
            phase: self.phase,
            is_in_flight: !self.order.is_empty(),
            is_unsent: !self.outbox.is_empty(),
            written: self.outbox.sent_in_all(),
            is_kept_waiting: self.pause.is_by_address(),
        }
    }

    /// Whether its client has taken all that was written, as far as is known.
    pub(super) fn is_taken(&self) -> bool {
        self.deadlines.is_all_taken(&self.standing())
    }

    /// A shut sending side counts as one byte until it is acknowledged.
    pub(super) fn without_end(&self, unacknowledged: usize) -> usize {
        let is_shut = matches!(self.phase, Phase::Lingering { .. });
        unacknowledged.saturating_sub(usize::from(is_shut))
    }

    pub(super) fn check_invariants(&self, rules: &Rules<impl Codec>) {
        let config = &rules.config;
        self.order.check_invariants(&rules.codec);
        let is_header = self.phase == Phase::Header;
        self.input.check_invariants(&rules.codec, is_header);
        assert!(!is_header || self.order.opened() == 0);
        assert!(self.order.len() <= config.max_inflight);
        let (all, first) = (self.order.payload_bytes(), self.order.first_payload_bytes());
        // What is behind one larger than that has no bytes.
        assert!(all <= 2 * config.max_line || all == first);
        let is_waiting = self.is_output_full() || !self.order.is_empty() || self.lacks_place;
        assert!(
            !self.input.is_blocked() || is_waiting,
            "blocked input waits for something"
        );
        assert_eq!(self.counted_bytes, self.buffered_bytes());
        assert_eq!(self.counted_waiting, self.order.waiting());
        self.deadlines.check_invariants(&self.standing());
    }
}

#[cfg(test)]
mod tests;
