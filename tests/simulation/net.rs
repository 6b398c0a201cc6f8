//! The simulated network: [`Net`] on models of the sockets, for the reactor of production.
//!
//! Knows what the reactor asks for and what happens around it; not what the engine thinks.
//!
//! Rule: whatever the reactor does, the oracle has foretold: each call is compared with it, and
//! then passed on to it. Workers, clients and time do not wait for the end of a tick, so they go
//! on between any two calls.

use super::{Oracle, Peer, Run, Undrained, World};
use crate::oracle::CLOSE;
use crate::socket::Read;
use reactor_pool::config::REFUSAL_RESERVE;
use reactor_pool::engine::Action;
use reactor_pool::net::{Event, Net, Wait};
use reactor_pool::task::{ConnectionId, Task};
use std::cell::{RefCell, RefMut};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long accepting pauses for want of descriptors.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The number of a client names its stream.
pub(super) type Stream = u32;

#[derive(Clone)]
pub(super) struct SimNet(pub(super) Rc<RefCell<World>>);

impl SimNet {
    fn world(&self) -> RefMut<'_, World> {
        self.0.borrow_mut()
    }
}

impl Net for SimNet {
    type Stream = Stream;

    fn now(&self) -> Instant {
        self.world().time_is_read()
    }

    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        assert_eq!(wait, Wait::Not, "who simulates the sleep has ended it");
        self.world().tell_events(events);
        Ok(())
    }

    fn accept(&mut self, listener: usize) -> io::Result<Option<(Stream, reactor_pool::Peer)>> {
        assert_eq!(listener, 0, "there is one listener");
        let mut world = self.world();
        world.meanwhile();
        world.accept()
    }

    fn register(&mut self, stream: &mut Stream, id: ConnectionId) -> io::Result<()> {
        self.world().register(*stream, id);
        Ok(())
    }

    fn short_reads_mislead(&self, stream: &Stream) -> bool {
        self.world().peer(*stream).socket.is_unix
    }

    fn receive(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world();
        world.meanwhile();
        world.may_be_interrupted()?;
        world.receive(*stream, buffer)
    }

    fn send(&mut self, stream: &mut Stream, bytes: &[u8], is_last: bool) -> io::Result<usize> {
        let mut world = self.world();
        world.may_part(*stream, is_last);
        world.meanwhile();
        world.may_be_interrupted()?;
        world.send(*stream, bytes, is_last)
    }

    fn shut(&mut self, stream: &mut Stream) -> io::Result<()> {
        self.world().shut(*stream)
    }

    fn take_error(&mut self, stream: &mut Stream) -> io::Error {
        let mut world = self.world();
        let peer = world.peer(*stream);
        assert!(peer.socket.failed, "no error was announced");
        peer.lose()
    }

    fn unread(&mut self, stream: &Stream) -> usize {
        let mut world = self.world();
        let is_stop_pass = world.is_stop_pass();
        let socket = &mut world.peer(*stream).socket;
        if is_stop_pass {
            // The last pass believes this, and no edges.
            socket.readable |= socket.unread() > 0;
            socket.left_to_stop = Some(socket.unread());
        }
        socket.unread()
    }

    fn unacknowledged(&mut self, stream: &Stream) -> Option<usize> {
        let mut world = self.world();
        let peer = world.peer(*stream);
        let bytes = peer.socket.unacknowledged();
        // Where nobody tells, the reactor tries whether there is room.
        let is_tried = bytes.is_none() && !peer.accepted().1.unsent().is_empty();
        let was_full = !peer.socket.writable;
        peer.socket.writable |= bytes.is_none();
        world.gone.tried_again += u64::from(is_tried && was_full);
        world.looked_at.push((*stream, bytes.unwrap_or_default()));
        bytes
    }

    fn close(&mut self, stream: Stream) {
        self.world().close(stream);
    }

    fn stop_listening(&mut self) {
        self.world().stop();
    }

    fn note_tasks(&mut self, tasks: &[Task]) {
        let mut world = self.world();
        world.workers_go_on();
        world.queue_tasks(tasks);
    }
}

impl Peer {
    /// The reactor is told that the client has reset the connection.
    fn lose(&mut self) -> io::Error {
        self.is_lost = true;
        ErrorKind::ConnectionReset.into()
    }

    pub(super) fn accepted(&mut self) -> (ConnectionId, &mut Oracle) {
        let (id, oracle) = self.accepted.as_mut().expect("it was accepted");
        (*id, oracle)
    }
}

impl World {
    pub(super) fn peer(&mut self, stream: Stream) -> &mut Peer {
        let mut peers = self.peers.iter_mut();
        let peer = peers.find(|peer| peer.client.number() == stream);
        peer.expect("a stream is there until it is closed")
    }

    /// A poll ends: what has happened since the last one, or a part of it.
    fn tell_events(&mut self, events: &mut Vec<Event>) {
        self.steps += 1;
        self.note(|| "tick".to_owned());
        self.woken.store(false, Ordering::Relaxed);
        self.tick_at = None;
        self.connects_before_tick = self.connects;
        self.has_closed_at_stop = false;
        self.stop_asked_before_tick = self.stop_asked;
        let withheld = if self.ending {
            0
        } else {
            self.settings.withheld
        };
        if self.listener_edge && !self.random.percent(withheld) {
            self.listener_edge = false;
            self.listener_ready = true;
            events.push(Event::Connect(0));
        }
        for peer in &mut self.peers {
            peer.socket.left_to_stop = None;
            let Some((id, oracle)) = &mut peer.accepted else {
                continue;
            };
            peer.must_be_read = oracle.must_be_read();
            if peer.socket.has_edges() && !self.random.percent(withheld) {
                events.push(Event::Stream(*id, peer.socket.tell_edges()));
            }
        }
    }

    /// The first time that a tick reads is its own, and all that was announced before is drained
    /// then.
    fn time_is_read(&mut self) -> Instant {
        if self.tick_at.is_none() && self.is_ticking {
            self.tick_at = Some(self.now);
            self.completions_are_drained();
        }
        self.now
    }

    /// When the tick began, as the engine is told.
    pub(super) fn tick_at(&self) -> Instant {
        self.tick_at.expect("a tick reads the time first")
    }

    fn completions_are_drained(&mut self) {
        let now = self.tick_at();
        for Undrained {
            id,
            first,
            outcomes,
            panicked,
        } in std::mem::take(&mut self.undrained)
        {
            self.outcomes.ok += outcomes.ok;
            self.outcomes.error += outcomes.error;
            self.outcomes.internal += outcomes.internal;
            match self.oracle(id) {
                Some(oracle) => oracle.completed(first, &panicked, now),
                None => self.gone.dropped += panicked.len() as u64,
            }
        }
    }

    /// Workers and clients do not wait for the end of a tick, and time does not either.
    fn meanwhile(&mut self) {
        if self.ending {
            return;
        }
        if self.settings.stops && !self.stop_asked && self.random.below(300) == 0 {
            return self.ask_for_stop();
        }
        match self.random.below(16) {
            0 => self.client_acts(),
            1 | 2 => self.worker_acts(),
            3 => self.set_clock(self.now + Duration::from_micros(300)),
            _ => {}
        }
    }

    /// A call that a signal interrupts is made again.
    fn may_be_interrupted(&mut self) -> io::Result<()> {
        match self.random.percent(1) {
            true => Err(ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }

    /// Between the moment at which the loop knows how many slots are free and that at which it
    /// fills them.
    fn workers_go_on(&mut self) {
        if !self.ending && self.random.percent(20) {
            self.worker_acts();
        }
    }

    fn accept(&mut self) -> io::Result<Option<(Stream, reactor_pool::Peer)>> {
        assert!(!self.stopping, "accepted after the stop");
        assert!(
            !self.has_left_listener(),
            "accepted what is the next server's"
        );
        assert!(self.may_accept(), "one connection too many");
        assert!(
            self.accept_paused_until
                .is_none_or(|until| until <= self.tick_at()),
            "accepting did not pause"
        );
        if !self.ending && self.random.percent(self.settings.exhausted) {
            self.accept_paused_until = Some(self.tick_at() + ACCEPT_PAUSE);
            self.gone.accept_pauses += 1;
            return Err(io::Error::other("out of descriptors"));
        }
        self.accept_paused_until = None;
        let mut waiting = self.peers.iter().filter(|peer| peer.accepted.is_none());
        let Some(peer) = waiting.next() else {
            self.listener_ready = false;
            return Ok(None);
        };
        let stream = peer.client.number();
        Ok(Some((stream, reactor_pool::Peer::Unix)))
    }

    /// Whether the connection limit, and what is left for refusals, allows one more.
    pub(super) fn may_accept(&self) -> bool {
        self.oracles().count() < self.settings.config.max_connections + REFUSAL_RESERVE
    }

    fn register(&mut self, stream: Stream, id: ConnectionId) {
        let now = self.tick_at();
        let served = self.oracles().filter(|oracle| !oracle.is_refused).count();
        let mut oracle = Oracle::new(&self.settings, now);
        if served >= self.settings.config.max_connections {
            oracle.refuse_connection(now);
            self.gone.too_many += 1;
        } else if let Some(header) = self.peer(stream).header.clone() {
            oracle.await_header(header, now);
        }
        self.gone.accepted_by_lame_duck += u64::from(self.is_lame_duck());
        self.note(|| format!("client {stream} is {id:?}, {served} are served"));
        self.peer(stream).accepted = Some((id, oracle));
    }

    fn receive(&mut self, stream: Stream, buffer: &mut [u8]) -> io::Result<usize> {
        let (now, budget_spent) = (self.tick_at(), self.is_budget_spent());
        let at_most = self
            .random
            .between(1, self.settings.chunk)
            .min(buffer.len());
        let is_stop_pass = self.is_stop_pass();
        let is_address_full = self.is_address_full(stream);
        let peer = self.peer(stream);
        let readable = peer.socket.readable;
        let (id, oracle) = peer.accepted.as_mut().expect("it was accepted");
        oracle.is_address_full = is_address_full;
        let action = oracle.next_action(readable, budget_spent);
        assert!(
            matches!(action, Action::Read | Action::ReadHeader | Action::Discard),
            "{id:?} is read, and should not be: {action:?} is right"
        );
        oracle.is_read_due = false;
        let is_discarded = action == Action::Discard;
        let count = match peer.socket.read(buffer, at_most, is_discarded) {
            Read::Bytes(count) if is_discarded => {
                oracle.discarded(count);
                count
            }
            Read::Bytes(count) => {
                oracle.received(&buffer[..count], now);
                count
            }
            Read::End => {
                oracle.received_end(now);
                0
            }
            Read::Blocked => return Err(ErrorKind::WouldBlock.into()),
            Read::Reset => return Err(peer.lose()),
        };
        let id = *id;
        self.gone.read_by_lame_duck += if self.is_lame_duck() { count as u64 } else { 0 };
        self.gone.read_at_stop += if is_stop_pass { count as u64 } else { 0 };
        self.note(|| format!("{id:?}: {action:?} {count}"));
        Ok(count)
    }

    /// Whether the address that a client's header names has as many connections as it may.
    fn is_address_full(&mut self, stream: Stream) -> bool {
        let most = self.settings.config.max_connections_per_address;
        let header = self.peer(stream).header.as_ref();
        let Some(client) = header.and_then(|header| header.client) else {
            return false;
        };
        let is_of_it = |oracle: &&Oracle| {
            let peer = oracle.peer.and_then(reactor_pool::Peer::ip);
            peer == Some(client.ip())
        };
        most > 0 && self.oracles().filter(is_of_it).count() >= most
    }

    fn send(&mut self, stream: Stream, bytes: &[u8], is_last: bool) -> io::Result<usize> {
        let (now, is_whole, part) = (
            self.tick_at(),
            self.random.percent(70),
            self.random.below(bytes.len().max(1)),
        );
        let peer = self.peer(stream);
        let (id, oracle) = peer.accepted.as_mut().expect("it was accepted");
        compare(*id, bytes, oracle.unsent());
        assert!(
            peer.socket.writable,
            "{id:?} is written to, and is known to be full"
        );
        let room = match peer.socket.write_room() {
            Err(()) => return Err(peer.lose()),
            Ok(0) => return Err(ErrorKind::WouldBlock.into()),
            Ok(room) => room.min(bytes.len()),
        };
        let count = if is_whole { room } else { room.min(1 + part) };
        peer.socket.write(&bytes[..count]);
        peer.socket.is_end_due = is_last && count == bytes.len();
        oracle.sent(count, now);
        let id = *id;
        self.note(|| format!("{id:?}: sent {count}"));
        Ok(count)
    }

    fn shut(&mut self, stream: Stream) -> io::Result<()> {
        let (now, budget_spent) = (self.tick_at(), self.is_budget_spent());
        let peer = self.peer(stream);
        let readable = peer.socket.readable;
        let (id, oracle) = peer.accepted();
        let action = oracle.next_action(readable, budget_spent);
        assert_eq!(
            action,
            Action::ShutDown,
            "{id:?} is shut, and should not be"
        );
        let Ok(()) = peer.socket.shut_down_writing() else {
            return Err(peer.lose());
        };
        peer.accepted().1.shut_down(now);
        Ok(())
    }

    fn close(&mut self, stream: Stream) {
        let budget_spent = self.is_budget_spent();
        self.has_closed_at_stop |= self.is_stop_pass();
        let at = self
            .peers
            .iter()
            .position(|peer| peer.client.number() == stream);
        let mut peer = self.peers.swap_remove(at.expect("it is closed once"));
        let (id, mut oracle) = peer.accepted.take().expect("it was accepted");
        self.note(|| format!("{id:?} is closed, lost: {}", peer.is_lost));
        if peer.is_lost {
            self.gone.lost += 1;
        } else {
            let action = oracle.next_action(peer.socket.readable, budget_spent);
            assert_eq!(action, CLOSE, "{id:?} is closed, and should not be");
        }
        // The reactor takes back what no worker has started.
        let unwanted = self.queued.iter().filter(|(run, _)| run.id == id);
        let has_run = unwanted.clone().any(|(run, _)| run.requests > 1);
        self.gone.runs_discarded += u64::from(has_run);
        self.queued.retain(|(run, _)| run.id != id);
        self.gone.discarded += (oracle.queued() + oracle.without_slot()) as u64;
        self.gone.add(&oracle.counts);
        if !peer.is_lost {
            let all = peer.socket.takeable();
            peer.client.received.extend(peer.socket.client_takes(all));
            let is_whole = oracle.check_whole(&peer.client.received);
            self.gone.closed_whole += u64::from(is_whole);
        }
    }

    /// Slots are given, in this order.
    fn queue_tasks(&mut self, tasks: &[Task]) {
        let now = self.tick_at();
        assert!(
            !tasks.is_empty(),
            "promise 4: there is a free slot, and nobody who waits has a turn"
        );
        self.has_pushed = true;
        let pushed: Vec<_> = tasks.iter().map(Run::of).collect();
        for (turn, run) in pushed.iter().enumerate() {
            let (id, first, more) = (run.id, run.first, run.requests - 1);
            self.note(|| format!("{id:?} {first} and {more} more are queued"));
            for (_, other) in self.oracles_mut().filter(|(other, _)| *other != id) {
                other.passed_by_turn_of(id);
            }
            let oracle = self.oracle(id);
            let oracle = oracle.expect("promise 6: slots for a connection that has gone");
            oracle.check_run(run);
            oracle.task_queued();
            for sequence in run.sequences() {
                oracle.slot_given(sequence, now);
            }
            self.slots_given += run.requests as u64;
            let had_one = pushed[..turn].iter().any(|before| before.id == id);
            self.gone.later_turns += u64::from(had_one && id != pushed[0].id);
        }
        let pushed_at = self.now;
        self.queued
            .extend(pushed.into_iter().map(|run| (run, pushed_at)));
        let (taken, capacity) = (self.queued_requests(), self.settings.config.queue);
        self.queued_peak = self.queued_peak.max(taken);
        assert!(taken <= capacity, "promise 5: more slots than there are");
    }

    /// A tick is over; the last that it did was to judge deadlines.
    pub(super) fn end_tick(&mut self) {
        let (now, budget_spent) = (self.tick_at(), self.is_budget_spent());
        self.check_overdue(now);
        for (stream, unacknowledged) in std::mem::take(&mut self.looked_at) {
            self.peer(stream).accepted().1.looked(unacknowledged, now);
        }
        for peer in &mut self.peers {
            let client = peer.client.number();
            assert!(
                !peer.socket.is_end_due,
                "promise 9: the end of client {client}'s stream does not follow its last answer"
            );
            let unread = peer.socket.unread();
            if let Some((id, oracle)) = &mut peer.accepted {
                assert!(
                    !(peer.must_be_read && oracle.must_be_read()),
                    "promise 8: {id:?} is not read before it is called idle"
                );
                oracle.expire(unread, budget_spent, now);
            }
        }
    }
}

/// Promises 1, 2 and 6, byte for byte.
#[track_caller]
pub(super) fn compare(id: ConnectionId, unsent: &[u8], expected: &[u8]) {
    if unsent != expected {
        let end = |bytes: &[u8]| {
            let end = &bytes[bytes.len().saturating_sub(200)..];
            end.escape_ascii().to_string()
        };
        panic!(
            "promises 1, 2, 6: {id:?} has {} bytes unsent that end with {:?}, not {} that end with {:?}",
            unsent.len(),
            end(unsent),
            expected.len(),
            end(expected)
        );
    }
}
