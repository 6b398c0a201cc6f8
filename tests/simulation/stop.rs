//! How a stop goes, as PROTOCOL says it should: who parts, who is still accepted, what is read.
//!
//! Knows the world around the reactor.
//!
//! Rule: nothing that had arrived is lost, and nothing is taken that belongs to the next server.

use super::net::Stream;
use super::{Peer, World};
use reactor_pool::engine::Action;
use std::time::Instant;

impl World {
    /// The reactor reads for the last time, unless it has not heard of the stop yet.
    pub(super) fn is_stop_pass(&self) -> bool {
        let is_due = match self.stop_at {
            Some(at) => at <= self.tick_at(),
            None => self.settings.config.stop_delay.is_zero(),
        };
        self.stop_asked && is_due && !self.stopping
    }

    /// The second half of the stop delay, or of what was left of it when the connection opened.
    fn is_parting(&self, opened_at: Instant) -> bool {
        let (now, delay) = (self.tick_at(), self.settings.config.stop_delay);
        self.stop_at.is_some_and(|at| {
            let since = opened_at.max(at - delay);
            now < at && since <= now && now - since >= at - now
        })
    }

    /// What connects is the next server's: in the second half of the stop delay.
    pub(super) fn has_left_listener(&self) -> bool {
        let delay = self.settings.config.stop_delay;
        let is_second_half = |(now, at): (Instant, Instant)| now + delay / 2 >= at;
        let times = self.tick_at.zip(self.stop_at);
        self.settings.shares_listener && !delay.is_zero() && times.is_some_and(is_second_half)
    }

    /// Promise 9: a client that waits for its last answer sees the end of the stream with it.
    pub(super) fn may_part(&mut self, stream: Stream, is_last: bool) {
        let now = self.tick_at();
        let opened_at = self.peer(stream).accepted().1.opened_at;
        let is_parting = self.is_parting(opened_at);
        let peer = self.peer(stream);
        let unread = peer.socket.unread();
        let (id, oracle) = peer.accepted();
        if is_parting && unread == 0 && oracle.is_quiet() {
            oracle.stop(now);
            oracle.counts.parted += 1;
        }
        assert!(
            oracle.is_over() || is_last == oracle.is_unsent_last(),
            "{id:?}: whether the end follows what is unsent"
        );
    }

    pub(super) fn stop(&mut self) {
        self.note(|| "stop".to_owned());
        let now = self.tick_at();
        assert!(self.is_stop_pass(), "promise 9: it stops too early");
        self.check_last_pass();
        self.stopping = true;
        self.looked_at.clear();
        let connected = self.peers.len();
        self.peers.retain(|peer| peer.accepted.is_some());
        if self.has_left_listener() {
            self.gone.left_to_the_next += (connected - self.peers.len()) as u64;
        }
        self.oracles_mut().for_each(|(_, oracle)| oracle.stop(now));
    }

    /// Promise 9: what had arrived when the tick began has been accepted, and has been read as far
    /// as the bounds allow.
    fn check_last_pass(&mut self) {
        let is_paused = self
            .accept_paused_until
            .is_some_and(|until| until > self.tick_at());
        let may_accept = !is_paused
            && self.may_accept()
            && !self.has_closed_at_stop
            && !self.has_left_listener();
        let is_early = |peer: &&Peer| peer.client.number() <= self.connects_before_tick;
        let early = self.peers.iter().filter(is_early);
        let mut left = early.filter(|peer| peer.accepted.is_none());
        assert!(
            !may_accept || left.next().is_none(),
            "promise 9: a connection had arrived, and is not accepted"
        );
        let has_slots = self.queued_requests() < self.settings.config.queue;
        for peer in &mut self.peers {
            let Some((id, oracle)) = &mut peer.accepted else {
                continue;
            };
            let left = peer.socket.left_to_stop;
            let left = left.unwrap_or_else(|| panic!("promise 9: {id:?} is not read once more"));
            // Slots, and a budget that is free again, may come after its turn; so only who is owed
            // nothing is sure to be read.
            let action = oracle.next_action(peer.socket.readable, true);
            assert!(
                left == 0 || !matches!(action, Action::Read | Action::ReadHeader),
                "promise 9: {left} bytes of {id:?} had arrived, and are not read"
            );
            assert!(
                left == 0 || !has_slots || oracle.waiting() == 0,
                "promise 9: {left} bytes of {id:?} are not read, though there are slots for what waits"
            );
        }
    }
}
