//! One connection as pure state: what it may read, what is pending on it, how it ends.
//!
//! Knows no socket, no other connection and no queue.
//!
//! Rule: every bound of promise 5 on a connection is held here, by not framing and not reading.

mod batch;
mod input;
pub(super) mod order;
mod outbox;
mod phase;
mod progress;

use super::addresses::AddressSlot;
use super::admission::Ticket;
use super::read_gate::Pause;
use super::ready_list::Listed;
use super::timers::Armed;
use super::trace::trace_each;
use super::view::{ConnectionState, ConnectionView};
use super::{IsQuick, Kernel};
use crate::codec::{Broken, Checked, Codec, Guarded, Refusal};
use crate::config::Config;
use crate::proxy::{HeaderFault, MAX_HEADER_BYTES};
use crate::task::{ConnectionId, Sequence, Span};
use batch::Batch;
use input::{Cut, Input};
use order::Order;
use outbox::Outbox;
use phase::Closing;
pub(super) use phase::{Event, Phase};
use progress::Progress;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connection with more unsent output than this is neither framed nor read on.
pub const UNSENT_LIMIT_BYTES: usize = 65_536;

/// How long a connection that is over may still take its last words and send what nobody reads.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// While a client has not taken all that was written, the engine checks so often within a timeout
/// whether it goes on taking. So the clock of the timeout is wrong by at most that part of it.
const CHECKS_PER_TIMEOUT: u32 = 8;

/// What holds for every connection.
pub(super) struct Rules<C> {
    pub(super) config: Config,
    pub(super) codec: Guarded<C>,
    pub(super) is_quick: IsQuick,
}

impl<C: fmt::Debug> fmt::Debug for Rules<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("config", &self.config)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl<C: Codec> Rules<C> {
    /// Whether the handler calls a request quick. Where none shares a run it is not asked.
    fn is_quick(&self, payload: &[u8]) -> bool {
        self.config.max_run > 1 && (self.is_quick)(payload)
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    phase: Phase,
    input: Input,
    pub(super) order: Order,
    pub(super) outbox: Outbox,
    progress: Progress,
    opened_at: Instant,
    bytes_in: u64,
    /// It was refused on arrival, and does not count against the connection limit.
    pub(super) is_refused: bool,
    /// Where its address stands, if what that has is limited.
    pub(super) address: Option<AddressSlot>,
    /// How many requests it may have in flight on account of others of that address.
    pub(super) most_in_flight: usize,

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

/// Bytes while they are cut.
#[derive(Debug)]
struct Pass<'a> {
    bytes: &'a [u8],
    /// Those of them that have not been cut.
    rest: &'a [u8],
    batch: Batch,
    /// No request can follow.
    is_last: bool,
}

/// Why cutting has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// Nothing whole is left.
    Starved,
    /// There is no place or no room for what follows, or nothing may follow.
    Bounded,
}

/// What became of bytes that were cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Framed {
    /// Requests that now have a place.
    pub(super) requests: usize,
    /// Requests that will not be run, because they stood behind a last one.
    pub(super) abandoned: usize,
    /// Answered in their place: too long, and cut short by the end of the stream.
    pub(super) too_long: usize,
    pub(super) incomplete: usize,
    /// The client speaks another protocol, and was told so: once at most.
    pub(super) foreign: usize,
}

/// What time has done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// Nothing.
    Nothing,
    /// That many requests were refused, for want of a slot.
    Refused(usize),
    /// It is idle, unless what has come brings a request: it is to be read.
    ReadFirst,
    /// It was idle, and is told so or closed.
    Idle,
    /// The header of its proxy was not whole in time.
    HeaderLate,
    /// A request took too long to come whole, and its client is told so.
    RequestTimeout,
    /// It is closed, for its client takes too little of what it is sent.
    TooSlow,
    /// It has lingered for too long.
    GivenUp,
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
            progress: Progress::new(now),
            opened_at: now,
            bytes_in: 0,
            is_refused: false,
            address: None,
            most_in_flight: usize::MAX,
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

    /// Places in flight that its address cannot give to others: those of its requests, and one for
    /// the first of what was read and found no room.
    pub(super) fn places_taken(&self) -> usize {
        self.order.len().max(usize::from(self.input.is_blocked()))
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

    /// Whether its client has shut its sending side, and all that it sent has been read.
    pub(super) fn is_input_finished(&self) -> bool {
        self.input.is_finished()
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

    /// Whether more is unsent than a connection may have that is read on.
    pub(super) fn is_output_full(&self) -> bool {
        self.outbox.kept_bytes() > UNSENT_LIMIT_BYTES
    }

    /// Whether there may be something to read before it is called idle.
    pub(super) fn is_read_before_idle(&self) -> bool {
        self.progress.last_chance.is_some()
    }

    pub(super) fn view(&self, now: Instant) -> ConnectionView {
        ConnectionView {
            id: self.id,
            peer: None,
            age: self.age(now),
            state: match self.phase {
                Phase::Header { .. } => ConnectionState::Header,
                Phase::Serving => ConnectionState::Serving,
                Phase::Closing(_) => ConnectionState::Closing,
                Phase::Lingering { .. } => ConnectionState::Lingering,
                Phase::Over { .. } => ConnectionState::Over,
            },
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

    /// The header of a proxy comes first, and has to be whole by then.
    pub(super) fn await_header(&mut self, by: Instant) {
        self.phase = Phase::Header { by };
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
        self.progress.read(count);
        match found {
            Ok(Some(_)) => {
                self.change(Event::Introduced);
                self.progress.last_chance = None;
                self.progress.last = now;
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
    ) -> Framed {
        debug_assert!(
            !self.input.is_blocked(),
            "a connection whose input is blocked is not read"
        );
        self.bytes_in += chunk.len() as u64;
        self.progress.read(chunk.len());
        let was_begun = self.input.is_begun();
        let mut framed = Framed::default();
        self.frame(chunk, rules, now, &mut framed);
        self.advance(rules, now, &mut framed);
        if !was_begun {
            self.progress.begun_at = now;
        }
        framed
    }

    /// Its client's stream has ended. That is a fault inside a header.
    pub(super) fn receive_end(
        &mut self,
        rules: &Rules<impl Codec>,
        now: Instant,
    ) -> Result<Framed, HeaderFault> {
        self.input.finish();
        if matches!(self.phase, Phase::Header { .. }) && self.input.kept_bytes() > 0 {
            self.farewell(Refusal::NoProxyHeader, rules, now);
            return Err(HeaderFault::Incomplete);
        }
        let mut framed = Framed::default();
        self.advance(rules, now, &mut framed);
        Ok(framed)
    }

    /// It was kept waiting by others, and is read now: no clock has run meanwhile.
    pub(super) fn end_wait(&mut self, now: Instant) {
        self.progress.wrote(now);
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
    ) -> (Option<Instant>, Framed) {
        let mut framed = Framed::default();
        let queued_at = self.order.fill(span, responses, now);
        if is_last && queued_at.is_some() {
            framed.abandoned = self.order.end_after(span);
            self.end_input();
        }
        self.advance(rules, now, &mut framed);
        self.watch_rate(&rules.config, now);
        (queued_at, framed)
    }

    /// The socket took the next `count` bytes of the outbox. Tells which responses have gone, and
    /// when their requests were framed.
    pub(super) fn sent(
        &mut self,
        count: usize,
        rules: &Rules<impl Codec>,
        now: Instant,
        written: impl FnMut(Span, Instant),
    ) -> Framed {
        self.progress.wrote(now);
        self.outbox.sent(count, written);
        let mut framed = Framed::default();
        self.advance(rules, now, &mut framed);
        self.watch_rate(&rules.config, now);
        framed
    }

    /// Its sending side was shut.
    pub(super) fn shut_down(&mut self, now: Instant) {
        self.progress.last = now;
        self.change(Event::Shut);
    }

    /// From here on nothing that the client sends becomes a request.
    pub(super) fn stop(&mut self, rules: &Rules<impl Codec>, now: Instant) {
        self.change(Event::Stop);
        self.input.cut_off();
        self.advance(rules, now, &mut Framed::default());
    }

    /// Says goodbye with an error, and gives the client a limited time to take it.
    pub(super) fn farewell(&mut self, why: Refusal, rules: &Rules<impl Codec>, now: Instant) {
        let by = now + LINGER_TIMEOUT;
        self.change(Event::Farewell { by });
        self.input.cut_off();
        // Nothing comes behind it, whether the codec has words for it or not.
        let (Ok(()) | Err(Broken)) = self.refuse(why, b"", rules, now);
        self.advance(rules, now, &mut Framed::default());
    }

    /// Opens a place for a refusal. Where the codec has no words for it, it stays empty.
    fn refuse(
        &mut self,
        why: Refusal,
        request: &[u8],
        rules: &Rules<impl Codec>,
        now: Instant,
    ) -> Result<(), Broken> {
        let mut response = Vec::new();
        let refused = rules.codec.refuse(why, request, &mut response);
        self.order.open_answered(response, now);
        refused
    }

    /// No request can follow those that have a place.
    fn end_input(&mut self) {
        self.change(Event::Last);
        self.input.cut_off();
    }

    // What follows.

    /// Moves on what can move: answers to the outbox, and requests into the places that this
    /// freed.
    fn advance(&mut self, rules: &Rules<impl Codec>, now: Instant, framed: &mut Framed) {
        loop {
            while let Some(leaving) = self.order.leave() {
                self.outbox.push(leaving);
                if self.order.is_empty() {
                    self.progress.wrote(now);
                }
            }
            if !self.input.has_more() || !self.frame(b"", rules, now, framed) {
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
        framed: &mut Framed,
    ) -> bool {
        let codec = &rules.codec;
        let taken = self.input.take(chunk, codec);
        let bytes = taken.bytes();
        let opened_before = self.order.opened();
        if opened_before == 0 && !bytes.is_empty() {
            let foreign = self.foreign(bytes, rules);
            if let Some(why) = foreign {
                framed.foreign += 1;
                self.farewell(why, rules, now);
                return true;
            }
        }
        let mut pass = Pass {
            bytes,
            rest: bytes,
            batch: Batch::default(),
            is_last: false,
        };
        let cut = codec.call(|codec| self.cut(&mut pass, codec, rules, now, framed));
        pass.batch.open(bytes, &mut self.order, now);
        let left = pass.rest.len();
        let is_blocked = !matches!(cut, Ok(Stopped::Starved));
        // What stands before the codec's mistake is answered.
        let is_last = pass.is_last || cut.is_err();
        self.input.keep(taken, left, is_blocked, codec);
        if is_last {
            self.end_input();
        }
        let opened = self.order.opened() - opened_before;
        self.trace_framed(opened_before, opened);
        // What stands between two responses is no request.
        opened > 0 || self.order.can_leave()
    }

    /// What a client is told that has sent these bytes, the first ones, and speaks another
    /// protocol.
    fn foreign(&self, bytes: &[u8], rules: &Rules<impl Codec>) -> Option<Refusal> {
        let seen = self.input.seen();
        let foreign = rules.codec.call(|codec| Ok(codec.foreign(bytes, seen)));
        // The codec's next call makes its mistake again. Behind a header there is a proxy that
        // knows where it belongs, and what looks like one more was sent by its client.
        let foreign = foreign.ok().flatten();
        let is_proxied = rules.config.proxy_protocol;
        foreign.filter(|why| !(is_proxied && *why == Refusal::ProxyHeader))
    }

    /// Cuts requests and gives them their places, until a bound or the end of what is whole.
    fn cut(
        &mut self,
        pass: &mut Pass<'_>,
        codec: Checked<'_, impl Codec>,
        rules: &Rules<impl Codec>,
        now: Instant,
        framed: &mut Framed,
    ) -> Result<Stopped, Broken> {
        let config = &rules.config;
        // Responses only join the output after this.
        if self.is_output_full() {
            return Ok(Stopped::Bounded);
        }
        let most = config.max_inflight.min(self.most_in_flight);
        while !pass.is_last && self.order.len() + pass.batch.requests < most {
            // One request alone may be as large as the codec allows.
            let room = match self.order.is_empty() && pass.batch.requests == 0 {
                true => usize::MAX,
                false => (2 * config.max_line)
                    .saturating_sub(self.order.payload_bytes() + pass.batch.payload_bytes),
            };
            match self.input.cut(&mut pass.rest, room, codec)? {
                Cut::Request {
                    frame,
                    payload,
                    is_last,
                    runs_alone,
                } => {
                    framed.requests += 1;
                    pass.is_last = is_last;
                    if runs_alone {
                        pass.batch.open(pass.bytes, &mut self.order, now);
                        self.order.open_alone(frame, payload.len(), now);
                    } else if !rules.is_quick(payload) {
                        pass.batch.open(pass.bytes, &mut self.order, now);
                        self.order.open(frame, 1, payload.len(), false, now);
                    } else if !pass.batch.takes(frame, payload) {
                        pass.batch.open(pass.bytes, &mut self.order, now);
                        let start = pass.bytes.len() - pass.rest.len() - frame.len();
                        let (order, max_run) = (&self.order, config.max_run);
                        pass.batch = Batch::begin(start, frame, payload, order, max_run, now);
                    }
                }
                Cut::Refused {
                    why,
                    bytes,
                    is_last,
                } => {
                    pass.batch.open(pass.bytes, &mut self.order, now);
                    match why {
                        Refusal::Incomplete => framed.incomplete += 1,
                        _ => framed.too_long += 1,
                    }
                    self.refuse(why, bytes, rules, now)?;
                    pass.is_last = is_last;
                }
                // A batch has no gaps.
                Cut::Blank => pass.batch.open(pass.bytes, &mut self.order, now),
                Cut::Nothing => {
                    if !pass.rest.is_empty() {
                        let interim = codec.interim(pass.rest);
                        pass.batch.open(pass.bytes, &mut self.order, now);
                        self.order.open_interim(interim, now);
                    }
                    return Ok(Stopped::Starved);
                }
                Cut::NoRoom => return Ok(Stopped::Bounded),
            }
        }
        Ok(Stopped::Bounded)
    }

    fn trace_framed(&self, opened_before: u64, opened: u64) {
        if opened > 0 {
            let span = Span {
                first: Sequence(opened_before + 1),
                requests: opened as usize,
            };
            trace_each(self.id, span, "framed");
        }
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
    ) -> (Expired, Framed) {
        if self.may_be_taking() || self.progress.arrears.is_some() {
            self.note_unacknowledged(kernel.unacknowledged(self.id), now);
        }
        let mut framed = Framed::default();
        if self.is_too_slow(&rules.config, now) {
            self.change(Event::GiveUp("read too slowly"));
            return (Expired::TooSlow, framed);
        }
        let gives_up_at = match self.phase {
            Phase::Closing(Closing::Farewell { by }) => Some(by),
            Phase::Lingering { .. } => self.linger_deadline(),
            Phase::Header { .. } | Phase::Serving | Phase::Closing(_) | Phase::Over { .. } => None,
        };
        if gives_up_at.is_some_and(|by| by <= now) {
            self.change(Event::GiveUp("lingered for too long"));
            return (Expired::GivenUp, framed);
        }
        if self.order.waiting() > 0 {
            self.progress.last_chance = None;
            let refused = self.refuse_overdue(rules, now, &mut framed);
            self.advance(rules, now, &mut framed);
            return (Expired::Refused(refused), framed);
        }
        let expired = match self.phase {
            Phase::Header { by } => self.check_header(by, rules, now, kernel),
            Phase::Serving | Phase::Closing(Closing::Last) => {
                self.check_silent(rules, is_budget_spent, now, kernel)
            }
            Phase::Closing(_) | Phase::Lingering { .. } | Phase::Over { .. } => Expired::Nothing,
        };
        (expired, framed)
    }

    /// Refuses the waiting requests whose time is over; says how many.
    fn refuse_overdue(
        &mut self,
        rules: &Rules<impl Codec>,
        now: Instant,
        framed: &mut Framed,
    ) -> usize {
        let mut refused = 0;
        while self
            .busy_deadline(&rules.config)
            .is_some_and(|deadline| deadline <= now)
            && let Some((span, outcome)) = self.order.refuse(&rules.codec)
        {
            if outcome.is_err() {
                framed.abandoned += self.order.end_after(span);
                self.end_input();
            }
            refused += span.requests;
            trace_each(self.id, span, "refused: busy");
        }
        refused
    }

    /// What has come before the deadline of a header is read before that is judged.
    fn check_header(
        &mut self,
        by: Instant,
        rules: &Rules<impl Codec>,
        now: Instant,
        kernel: &mut impl Kernel,
    ) -> Expired {
        if by > now {
            return Expired::Nothing;
        }
        let unread = || kernel.unread(self.id);
        if !self.input.is_finished() && self.progress.is_read_first(MAX_HEADER_BYTES, unread) {
            return Expired::ReadFirst;
        }
        self.farewell(Refusal::NoProxyHeader, rules, now);
        Expired::HeaderLate
    }

    /// Judges how long the server has waited for its client: for the rest of a request, or for
    /// anything at all.
    fn check_silent(
        &mut self,
        rules: &Rules<impl Codec>,
        is_budget_spent: bool,
        now: Instant,
        kernel: &mut impl Kernel,
    ) -> Expired {
        let config = &rules.config;
        let request = self.request_deadline(config);
        let first = [self.idle_deadline(config, now), request];
        let Some(due) = first.into_iter().flatten().min().filter(|at| *at <= now) else {
            self.progress.last_chance = None;
            return Expired::Nothing;
        };
        let may_bring_a_request = self.phase == Phase::Serving
            && !self.input.is_finished()
            && !self.is_output_full()
            && (self.outbox.is_empty() || !is_budget_spent);
        let most = rules.codec.max_incomplete_bytes();
        let unread = || kernel.unread(self.id);
        if may_bring_a_request && self.progress.is_read_first(most, unread) {
            return Expired::ReadFirst;
        }
        if request == Some(due) {
            self.farewell(Refusal::RequestTimeout, rules, now);
            return Expired::RequestTimeout;
        }
        if self.phase == Phase::Serving && self.outbox.is_empty() {
            self.farewell(Refusal::IdleTimeout, rules, now);
        } else {
            // It does not take what it has been sent, so it will not take the error either.
            self.change(Event::GiveUp("idle"));
        }
        Expired::Idle
    }

    /// When the longest waiting request is to be refused: once it has waited for the busy timeout,
    /// and the connection has got no slot for that long either.
    fn busy_deadline(&mut self, config: &Config) -> Option<Instant> {
        let since = self.order.waiting_since()?.max(self.ticket.last_slot_at());
        Some(since + config.busy_timeout)
    }

    /// When this connection is due next, as far as is known now.
    pub(super) fn deadline(&mut self, config: &Config, now: Instant) -> Option<Instant> {
        let (end, timeout) = match self.phase {
            Phase::Header { by } => return Some(by),
            Phase::Serving | Phase::Closing(Closing::Last) => {
                let first = [
                    self.busy_deadline(config),
                    self.idle_deadline(config, now),
                    self.request_deadline(config),
                ];
                (first.into_iter().flatten().min(), config.idle_timeout)
            }
            Phase::Closing(Closing::Drain) => return self.busy_deadline(config),
            Phase::Closing(Closing::Farewell { by }) => (Some(by), Duration::ZERO),
            Phase::Lingering { .. } => (self.linger_deadline(), LINGER_TIMEOUT),
            Phase::Over { .. } => return None,
        };
        let has_checks = self.may_be_taking() && !timeout.is_zero();
        let check = has_checks.then(|| now + timeout / CHECKS_PER_TIMEOUT);
        let rate = self.rate_deadline();
        [end, check, rate].into_iter().flatten().min()
    }

    /// When it is due although nothing happens to it: to check whether its client takes what there
    /// is to take, or because a request has to have come whole.
    #[inline]
    pub(super) fn watch_deadline(&self, config: &Config, now: Instant) -> Option<Instant> {
        let check = self.may_be_taking();
        let check = check.then(|| now + config.idle_timeout / CHECKS_PER_TIMEOUT);
        let all = [check, self.request_deadline(config), self.rate_deadline()];
        all.into_iter().flatten().min()
    }

    /// When the request that is begun has to have come whole. While something is pending, the
    /// client may wait for that, and the server may not read; so then no time passes.
    fn request_deadline(&self, config: &Config) -> Option<Instant> {
        let is_awaited = !config.request_timeout.is_zero()
            && self.input.is_begun()
            && self.has_nothing_pending()
            && !self.pause.is_by_address()
            && self.phase == Phase::Serving
            && !self.input.is_finished();
        is_awaited.then(|| self.progress.begun_at + config.request_timeout)
    }

    /// Whether it is closed for reading too slowly. The drain timeout alone sees to that while the
    /// server stops.
    fn has_rate(&self, config: &Config) -> bool {
        let is_over = self.phase.is_draining() || matches!(self.phase, Phase::Over { .. });
        config.min_read_rate > 0 && !is_over && !self.is_taken()
    }

    /// Sees to it that what its client takes is counted, if there is something to take.
    #[inline]
    fn watch_rate(&mut self, config: &Config, now: Instant) {
        if self.has_rate(config) {
            self.progress.begin_arrears(now);
        }
    }

    fn is_too_slow(&mut self, config: &Config, now: Instant) -> bool {
        let arrears = self.progress.arrears.as_ref();
        if arrears.is_some_and(|arrears| arrears.is_due(now)) && !self.has_rate(config) {
            self.progress.arrears = None;
        }
        self.progress.is_too_slow(config.min_read_rate as u64, now)
    }

    fn rate_deadline(&self) -> Option<Instant> {
        self.progress
            .arrears
            .as_ref()
            .map(|arrears| arrears.due_at())
    }

    fn idle_deadline(&self, config: &Config, now: Instant) -> Option<Instant> {
        match config.idle_timeout {
            Duration::ZERO => None,
            // Progress starts the clock anew, so while a response is pending there is time.
            timeout if !self.order.is_empty() || self.pause.is_by_address() => Some(now + timeout),
            timeout => Some(self.progress.last + timeout),
        }
    }

    /// When lingering is over: [`LINGER_TIMEOUT`] after the client last took something.
    fn linger_deadline(&self) -> Option<Instant> {
        let waits = self.phase.is_draining() && !self.is_taken();
        (!waits).then(|| self.progress.last + LINGER_TIMEOUT)
    }

    /// Whether its client has taken all that was written, as far as is known.
    pub(super) fn is_taken(&self) -> bool {
        self.outbox.is_empty() && self.progress.taken == self.outbox.sent_in_all()
    }

    /// Whether its clock runs although its client may just be taking bytes: only the kernel knows.
    fn may_be_taking(&self) -> bool {
        self.order.is_empty() && !self.is_taken()
    }

    /// Of what was written, that many bytes have not been acknowledged. A client that has taken
    /// some since the last check makes progress.
    fn note_unacknowledged(&mut self, bytes: usize, now: Instant) {
        let bytes = self.without_end(bytes) as u64;
        let taken = self.outbox.sent_in_all().saturating_sub(bytes);
        self.progress.note_taken(taken, now);
    }

    /// A shut sending side counts as one byte until it is acknowledged.
    pub(super) fn without_end(&self, unacknowledged: usize) -> usize {
        let is_shut = matches!(self.phase, Phase::Lingering { .. });
        unacknowledged.saturating_sub(usize::from(is_shut))
    }

    pub(super) fn check_invariants(&self, rules: &Rules<impl Codec>) {
        let config = &rules.config;
        self.order.check_invariants(&rules.codec);
        let is_header = matches!(self.phase, Phase::Header { .. });
        self.input.check_invariants(&rules.codec, is_header);
        assert!(!is_header || self.order.opened() == 0);
        assert!(self.order.len() <= config.max_inflight);
        let (all, first) = (self.order.payload_bytes(), self.order.first_payload_bytes());
        // What is behind one larger than that has no bytes.
        assert!(all <= 2 * config.max_line || all == first);
        assert!(self.order.len() <= self.most_in_flight);
        let is_waiting = self.is_output_full() || !self.order.is_empty();
        assert!(
            !self.input.is_blocked() || is_waiting,
            "blocked input waits for something"
        );
        assert_eq!(self.counted_bytes, self.buffered_bytes());
        assert_eq!(self.counted_waiting, self.order.waiting());
        assert!(self.progress.taken <= self.outbox.sent_in_all());
    }
}

#[cfg(test)]
mod tests;
