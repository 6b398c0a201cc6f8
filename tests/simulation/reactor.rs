//! The stand-in for the reactor: turns as in src/reactor/mod.rs, with models of the sockets.
//!
//! Knows what the engine says, and does it.
//!
//! Rule: whatever it hands to the engine it hands to the oracle, and their answers are the same.

use super::{Oracle, Peer, World};
use crate::oracle::{CLOSE, Run};
use crate::socket::Read;
use reactor_pool::engine::{Action, REFUSAL_RESERVE};
use reactor_pool::task::ConnectionId;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const ACCEPTS_PER_TURN: usize = 64;

impl World {
    pub(super) fn is_turn_due(&self) -> bool {
        let sockets = || self.peers.iter().filter(|peer| peer.accepted.is_some());
        !self.asleep
            || self.woken()
            || sockets().any(|peer| peer.socket.has_edges())
            || (!self.stopping && self.listener_edge)
            || (!self.stopping && self.listener_ready && self.engine.may_accept())
            || self.next_due().is_some_and(|at| at <= self.now)
    }

    /// When the poll ends though nothing happens.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = [self.engine.next_deadline(), self.look_at];
        due.into_iter().flatten().min()
    }

    pub(super) fn turn(&mut self) {
        self.steps += 1;
        self.note(|| "turn".to_owned());
        self.woken.store(false, Ordering::Relaxed);
        let now = self.now;
        self.collect(now);
        self.meanwhile();
        self.note_events();
        self.meanwhile();
        self.accept(now, ACCEPTS_PER_TURN);
        self.meanwhile();
        // After the drain: an announcement before it is taken as answered.
        if std::mem::take(&mut self.stop_asked) && !self.stopping {
            self.stop(now);
        }
        self.submit(now);
        for _ in 0..self.engine.ready_len() {
            let Some(id) = self.engine.next_ready() else {
                break;
            };
            if self.serve(id, now).is_err() {
                self.close(id, now, true);
            }
            self.check_connections();
            self.meanwhile();
            if self.random.percent(10) {
                self.submit(now);
            }
        }
        self.submit(now);
        self.meanwhile();
        self.look_at_queue();
        self.expire(now);
        self.fall_asleep();
    }

    fn look_at_queue(&mut self) {
        if self.look_at.is_some_and(|at| at <= self.now) {
            let called = self.queue.parking().called();
            self.look_at = self.queue.check(self.now);
            let called = self.queue.parking().called() - called;
            self.gone.called_in_time += called as u64;
        }
    }

    fn expire(&mut self, now: Instant) {
        let budget_spent = self.is_budget_spent();
        let (peers, mut asked) = (&self.peers, Vec::new());
        let busy_before = self.engine.stats().refused_busy;
        let refused = self.engine.expire(now, |id| {
            let accepted = |peer: &&Peer| peer.accepted.as_ref().is_some_and(|(at, _)| *at == id);
            let peer = peers.iter().find(accepted);
            let queues = peer
                .expect("only who is there is asked about")
                .socket
                .queues();
            asked.push((id, queues.unacknowledged));
            queues
        });
        assert_eq!(
            refused as u64,
            self.engine.stats().refused_busy - busy_before
        );
        for (id, unacknowledged) in asked {
            let oracle = self.oracle(id).expect("it was asked about just now");
            oracle.looked(unacknowledged, now);
        }
        for peer in &mut self.peers {
            let unread = peer.socket.queues().unread;
            if let Some((_, oracle)) = &mut peer.accepted {
                oracle.expire(unread, budget_spent, now);
            }
        }
    }

    /// From here on only an event, a deadline or the waker begins a turn, if anything does.
    pub(super) fn fall_asleep(&mut self) {
        self.asleep = self.engine.ready_len() == 0 && self.responses.fall_asleep();
    }

    /// Workers and clients do not wait for the end of a turn, and time does not either.
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

    fn note_events(&mut self) {
        self.listener_ready |= std::mem::take(&mut self.listener_edge);
        let withheld = if self.ending {
            0
        } else {
            self.settings.withheld
        };
        for peer in &mut self.peers {
            let Some((id, _)) = peer.accepted else {
                continue;
            };
            if peer.socket.has_edges() && !self.random.percent(withheld) {
                peer.socket.note_edges();
                self.engine.mark_ready(id);
            }
        }
    }

    pub(super) fn stop(&mut self, now: Instant) {
        self.note(|| "stop".to_owned());
        self.listener_ready = true;
        self.accept(now, usize::MAX);
        for id in self.engine.ids() {
            self.read_what_has_arrived(id, now);
        }
        self.stopping = true;
        self.peers.retain(|peer| peer.accepted.is_some());
        self.engine.stop(now);
        self.oracles_mut().for_each(|(_, oracle)| oracle.stop(now));
        self.check_connections();
    }

    fn read_what_has_arrived(&mut self, id: ConnectionId, now: Instant) {
        let at = self.find(id).expect("the engine knows only who is there");
        let mut unread = self.peers[at].socket.queues().unread;
        self.peers[at].socket.readable |= unread > 0;
        while unread > 0 && self.find(id).is_some() {
            let read = match self.serve(id, now) {
                Ok(read) => read,
                Err(()) => return self.close(id, now, true),
            };
            self.gone.read_at_stop += read as u64;
            unread = unread.saturating_sub(read);
            if read == 0 {
                return;
            }
            self.submit(now);
        }
    }

    fn accept(&mut self, now: Instant, most: usize) {
        if self.stopping || !self.listener_ready {
            return;
        }
        for _ in 0..most {
            let open = self
                .peers
                .iter()
                .filter(|peer| peer.accepted.is_some())
                .count();
            let may_accept = open < self.settings.config.max_connections + REFUSAL_RESERVE;
            assert_eq!(self.engine.may_accept(), may_accept);
            if !may_accept {
                self.gone.accept_pauses += 1;
                return;
            }
            let Some(at) = self.peers.iter().position(|peer| peer.accepted.is_none()) else {
                self.listener_ready = false;
                return;
            };
            let served = self.oracles().filter(|oracle| !oracle.is_refused).count();
            let id = self.engine.accept(now).id;
            let mut oracle = Oracle::new(&self.settings, now);
            if served >= self.settings.config.max_connections {
                oracle.refuse_connection(now);
                self.gone.too_many += 1;
            }
            self.peers[at].accepted = Some((id, oracle));
            self.note(|| {
                format!(
                    "client {} is {id:?}, {served} are served",
                    self.peers[at].client.number()
                )
            });
            self.check_connection(at);
        }
    }

    fn collect(&mut self, now: Instant) {
        let mut responses = Vec::new();
        self.responses.drain(|response| responses.push(response));
        let undrained = std::mem::take(&mut self.undrained);
        assert_eq!(responses.len(), undrained.len(), "a drain leaves nothing");
        for (response, panicked) in responses.into_iter().zip(undrained) {
            self.outcomes.ok += response.outcomes.ok;
            self.outcomes.error += response.outcomes.error;
            self.outcomes.internal += response.outcomes.internal;
            let (id, first) = (response.connection, response.span.first.0);
            self.engine.completed(response, now);
            match self.oracle(id) {
                Some(oracle) => oracle.completed(first, &panicked, now),
                None => self.gone.dropped += panicked.len() as u64,
            }
            self.check_connections();
        }
    }

    fn serve(&mut self, id: ConnectionId, now: Instant) -> Result<usize, ()> {
        let mut read = 0;
        let at = self.find(id).expect("the engine knows only who is there");
        if self.peers[at].socket.failed {
            return Err(());
        }
        for _ in 0..self.settings.reads_per_turn {
            self.flush(at, now)?;
            let readable = self.peers[at].socket.readable;
            let budget_spent = self.is_budget_spent();
            let step = match self.engine.next_action(id, readable) {
                Action::Close { .. } => CLOSE,
                other => other,
            };
            let peer = &mut self.peers[at];
            let (_, oracle) = peer.accepted.as_mut().expect("it was found");
            assert_eq!(
                step,
                oracle.step(readable, budget_spent),
                "{id:?}: another step is right"
            );
            match step {
                Action::Wait => return Ok(read),
                Action::Read | Action::Discard => {
                    let discard = step == Action::Discard;
                    let buffer = self.random.between(1, self.settings.chunk);
                    match peer.socket.read(buffer, discard) {
                        Read::Bytes(bytes) if discard => {
                            self.engine.discarded(id, bytes.len());
                            oracle.discarded(bytes.len());
                        }
                        Read::Bytes(bytes) => {
                            read += bytes.len();
                            self.engine.received(id, &bytes, now);
                            oracle.received(&bytes, now);
                            if !peer.socket.readable {
                                return Ok(read);
                            }
                        }
                        Read::Count(count) => {
                            self.engine.discarded(id, count);
                            oracle.discarded(count);
                        }
                        Read::End => {
                            self.engine.received_end(id, now);
                            oracle.received_end(now);
                        }
                        Read::Blocked => return Ok(read),
                        Read::Reset => return Err(()),
                    }
                }
                Action::ShutDown => {
                    peer.socket.shut_down_writing()?;
                    self.engine.shut_down(id, now);
                    oracle.shut_down(now);
                }
                Action::Close { .. } => {
                    self.close(id, now, false);
                    return Ok(read);
                }
            }
            self.note(|| format!("{id:?}: {step:?}"));
            self.check_connection(at);
        }
        self.engine.mark_ready(id);
        Ok(read)
    }

    fn flush(&mut self, at: usize, now: Instant) -> Result<(), ()> {
        loop {
            let Peer {
                socket, accepted, ..
            } = &mut self.peers[at];
            let (id, oracle) = accepted.as_mut().expect("only who is accepted is served");
            let unsent = self.engine.unsent(*id);
            if unsent.is_empty() {
                return Ok(());
            }
            let room = socket.write_room()?.min(unsent.len());
            if room == 0 {
                return Ok(());
            }
            let count = if self.random.percent(70) {
                room
            } else {
                self.random.between(1, room)
            };
            socket.write(&unsent[..count]);
            self.engine.sent(*id, count, now);
            oracle.sent(count, now);
            self.check_connection(at);
        }
    }

    fn submit(&mut self, now: Instant) {
        assert_eq!(
            self.engine.has_waiting(),
            self.waiting() > 0,
            "promise 4: who waits is known"
        );
        if !self.engine.has_waiting() {
            return;
        }
        let room = self.queue.push(self.now, []).room;
        let mut tasks = Vec::new();
        self.engine.submit(room, now, &mut tasks);
        let pushed: Vec<_> = tasks.iter().map(Run::of).collect();
        self.look_at = self.queue.push(self.now, tasks).check_at;
        for run in &pushed {
            let (id, first, more) = (run.id, run.first, run.requests - 1);
            self.note(|| format!("{id:?} {first} and {more} more are queued"));
            let oracle = self.oracle(run.id);
            let oracle = oracle.expect("promise 6: slots for who has gone");
            oracle.check_run(run);
        }
        for (turn, run) in pushed.iter().enumerate() {
            let id = run.id;
            for (_, other) in self.oracles_mut().filter(|(other, _)| *other != id) {
                other.passed_by_turn_of(id);
            }
            let oracle = self.oracle(id).expect("it was there just now");
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
        assert!(
            taken == capacity || self.waiting() == 0,
            "promise 4: a request waits beside a free slot"
        );
    }

    fn close(&mut self, id: ConnectionId, now: Instant, lost: bool) {
        let at = self.find(id).expect("it was served just now");
        let mut peer = self.peers.swap_remove(at);
        let (_, oracle) = peer.accepted.take().expect("it was served just now");
        self.note(|| format!("{id:?} is closed, lost: {lost}"));
        self.gone.lost += u64::from(lost);
        let removed = self.engine.remove(id, now, "").expect("it was there");
        let is_submitted = oracle.queued() + oracle.running() > 0;
        assert_eq!(
            removed.has_submitted, is_submitted,
            "promise 6: what is queued has to be taken back"
        );
        if removed.has_submitted {
            let unwanted = self.queue.discard(id.slot(), |task| task.connection == id);
            let requests = unwanted.iter().map(|task| task.run.span.requests).sum();
            self.engine.withdrawn(requests);
            assert_eq!(
                requests,
                oracle.queued(),
                "promise 6: not all were taken back"
            );
            self.gone.runs_discarded += u64::from(requests > unwanted.len());
            self.queued.retain(|(run, _)| run.id != id);
        }
        self.gone.discarded += (oracle.queued() + oracle.waiting()) as u64;
        self.gone.add(&oracle.counts);
        if !lost {
            let all = peer.socket.takeable();
            peer.client.received.extend(peer.socket.client_takes(all));
            let is_whole = oracle.check_whole(&peer.client.received);
            self.gone.closed_whole += u64::from(is_whole);
        }
    }
}
