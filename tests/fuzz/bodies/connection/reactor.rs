//! What the reactor does with the engine, step by step, and what each step may be.
//!
//! Knows the engine's doors; a client's socket is a window and some bytes.
//!
//! Rule: it does what `Engine::step` says, and fails where that breaks a promise.

use super::super::reference::{Cut, cut};
use super::super::{is_quick, lines_of};
use super::served::{Client, Served, State};
use super::{Life, TOO_MANY};
use reactor_pool::codec::Lines;
use reactor_pool::engine::{Action, Engine, Kernel, UNSENT_LIMIT_BYTES};
use reactor_pool::task::{ConnectionId, Task};
use std::time::Instant;

/// Reads of one connection in one tick.
const READS_PER_TICK: usize = 4;
/// What a run of several requests may be at most.
const RUN_BYTES: usize = 16_384;

/// A kernel of which the clients have taken all that was written.
struct Asked<'a> {
    clients: Vec<&'a Client>,
    /// Whom it was asked about.
    of: Vec<ConnectionId>,
}

impl Kernel for Asked<'_> {
    fn unread(&mut self, id: ConnectionId) -> usize {
        let client = self.clients.iter().find(|client| client.id == id);
        client.map_or(0, |client| client.network.len())
    }

    fn unacknowledged(&mut self, id: ConnectionId) -> usize {
        self.of.push(id);
        0
    }
}

impl Life {
    pub(super) fn tick(&mut self) {
        self.serve_ready();
        self.submit();
        self.expire();
    }

    pub(super) fn serve_ready(&mut self) {
        for _ in 0..self.engine.ready_len() {
            let Some(id) = self.engine.next_ready() else {
                return;
            };
            let serves = |served: &Served| served.client.id == id;
            if self.served.as_ref().is_some_and(serves) {
                self.serve();
            } else if let Some(which) = self.refused.iter().position(|client| client.id == id) {
                self.see_off(which);
            }
        }
    }

    /// Writes, reads and closes as the engine says.
    fn serve(&mut self) {
        for _ in 0..READS_PER_TICK {
            self.flush_served();
            let readable = self.served().client.readable;
            let id = self.served().client.id;
            match self.engine.next_action(id, readable) {
                Action::Wait => {
                    let is_full = self.engine.unsent(id).len() > UNSENT_LIMIT_BYTES;
                    self.counts.unsent_pauses += u64::from(readable && is_full);
                    return;
                }
                Action::ReadHeader => panic!("no header is expected"),
                Action::Read => {
                    self.check_that_it_may_read();
                    if !self.read() {
                        return;
                    }
                }
                Action::Discard => {
                    let served = self.served.as_mut().expect("it is served");
                    let client = &mut served.client;
                    assert!(client.shut_at.is_some(), "it is read until then");
                    if !discard(client, &mut self.engine, self.now) {
                        return;
                    }
                }
                Action::ShutDown => {
                    let (now, stopping) = (self.now, self.stopping);
                    let served = self.served();
                    assert!(served.client.shut_at.is_none(), "shut twice");
                    assert!(served.is_cut_off || stopping, "promise 3: shut too early");
                    assert!(served.in_flight().is_empty(), "promise 1: shut too early");
                    served.client.shut_at = Some(now);
                    self.engine.shut_down(id, now);
                }
                Action::Close { .. } => {
                    let served = self.served.take().expect("it is served");
                    self.check_the_close(&served);
                    self.remove(&served, "closed");
                    return;
                }
            }
        }
        let id = self.served().client.id;
        self.engine.mark_ready(id);
    }

    fn flush_served(&mut self) {
        let now = self.now;
        let served = self.served.as_mut().expect("it is served");
        let sent = served.client.received.len();
        flush(&mut served.client, &mut self.engine, now);
        if served.client.received.len() > sent {
            served.last_progress = now;
        }
        self.settle();
    }

    /// Whether there was something.
    fn read(&mut self) -> bool {
        let (count, now) = (self.bytes_per_read, self.now);
        let served = self.served.as_mut().expect("it is served");
        let client = &mut served.client;
        let chunk: Vec<u8> = client
            .network
            .drain(..count.min(client.network.len()))
            .collect();
        if !chunk.is_empty() {
            served.stream.extend_from_slice(&chunk);
            self.engine.received(client.id, &chunk, now);
        } else if client.half_closed {
            client.readable = false;
            client.end_read = true;
            self.engine.received_end(client.id, now);
        } else {
            client.readable = false;
            return false;
        }
        served.cuts = cut(&served.stream, served.client.end_read, self.config.max_line);
        self.settle();
        true
    }

    /// Serves one that is only told why it is closed.
    fn see_off(&mut self, which: usize) {
        let client = &mut self.refused[which];
        for _ in 0..READS_PER_TICK {
            flush(client, &mut self.engine, self.now);
            match self.engine.next_action(client.id, client.readable) {
                Action::Wait => return,
                Action::Read | Action::ReadHeader => panic!("a refused connection is not read"),
                Action::Discard => {
                    if !discard(client, &mut self.engine, self.now) {
                        return;
                    }
                }
                Action::ShutDown => {
                    assert!(client.received == TOO_MANY, "its last words");
                    client.shut_at = Some(self.now);
                    self.engine.shut_down(client.id, self.now);
                }
                Action::Close { .. } => {
                    assert!(client.received == TOO_MANY || client.is_overdue(self.now));
                    let client = self.refused.swap_remove(which);
                    self.engine.remove(client.id, self.now, "seen off");
                    return;
                }
            }
        }
        self.engine.mark_ready(client.id);
    }

    pub(super) fn submit(&mut self) {
        let (now, room) = (self.now, self.slots - self.queued());
        let waiting = self.served.as_ref().map_or(0, Served::waiting);
        let mut tasks = Vec::new();
        self.engine.submit(room, now, &mut tasks);
        let mut requests = 0;
        for task in tasks {
            let served = self.served();
            assert_eq!(task.connection, served.client.id);
            served.last_slot_at = now;
            requests += task.run.span.requests;
            self.check_the_task(&task);
            self.queue.push(task);
        }
        assert_eq!(requests, room.min(waiting), "promise 4: a slot stays free");
    }

    /// The requests of a task are those that have waited longest; they share it as they may.
    fn check_the_task(&mut self, task: &Task) {
        let max_run = self.config.max_run;
        let run = &task.run;
        let lines = lines_of(&run.frames);
        assert_eq!(lines.len(), run.span.requests, "a line for each request");
        assert_eq!(run.frames.last(), Some(&b'\n'));
        let is_run = lines.len() > 1;
        self.counts.runs += u64::from(is_run);
        self.counts.quick += u64::from(run.is_quick);
        assert!(lines.len() <= max_run && (!is_run || run.frames.len() <= RUN_BYTES));
        let are_quick = max_run > 1 && lines.iter().all(|line| is_quick(line));
        assert_eq!(run.is_quick, are_quick);
        assert!(are_quick || !is_run, "a slow one travels alone");
        let served = self.served();
        let mut framed_at = None;
        for (sequence, line) in run.span.sequences().zip(lines) {
            let place = served.oldest_waiting();
            let place = place.expect("promise 1: nothing waits");
            assert_eq!(place.cut, Cut::Line(line.to_vec()), "another line");
            assert_eq!(*framed_at.get_or_insert(place.framed_at), place.framed_at);
            place.state = State::Submitted;
            let position = sequence.0 as usize - 1;
            assert_eq!(served.places[position].state, State::Submitted, "promise 2");
        }
    }

    fn expire_once(&mut self) {
        let clients = self.served.iter().map(|served| &served.client);
        let clients: Vec<&Client> = clients.chain(&self.refused).collect();
        let mut kernel = Asked {
            clients,
            of: Vec::new(),
        };
        self.engine.expire(self.now, &mut kernel);
        let asked = kernel.of;
        // Promise 8: that it has taken more is progress.
        if let Some(served) = &mut self.served
            && asked.contains(&served.client.id)
            && served.client.received.len() > served.taken
        {
            served.taken = served.client.received.len();
            served.last_progress = self.now;
        }
        self.settle();
        self.note_idle();
    }

    pub(super) fn expire(&mut self) {
        let now = self.now;
        self.expire_once();
        // Promise 8: what has come is read before that.
        while self.served.as_ref().is_some_and(|served| {
            served
                .idle_deadline(self.config.idle_timeout)
                .is_some_and(|deadline| deadline <= now)
        }) {
            self.serve_ready();
            self.expire_once();
        }
        let Some(served) = &mut self.served else {
            return;
        };
        // Nothing that is due is left, and what is next is not missed.
        let next = self.engine.next_deadline();
        let watches = |deadline: Instant| next.is_some_and(|next| next <= deadline);
        if let Some(deadline) = served.busy_deadline(self.config.busy_timeout) {
            // What a refusal made room for is framed only now: the queue is asked before it is
            // due.
            let framed_now = self.config.busy_timeout.is_zero() && deadline == now;
            assert!(
                deadline > now || framed_now,
                "promise 4: it has waited too long"
            );
            assert!(watches(deadline), "promise 4: nobody looks");
        } else if let Some(deadline) = served.idle_deadline(self.config.idle_timeout) {
            assert!(watches(deadline), "promise 8: nobody looks");
        }
    }
}

/// Writes what the client's socket takes.
fn flush(client: &mut Client, engine: &mut Engine<Lines>, now: Instant) {
    loop {
        let unsent = engine.unsent(client.id);
        let count = unsent.len().min(client.window);
        if count == 0 {
            return;
        }
        client.received.extend_from_slice(&unsent[..count]);
        client.window -= if client.window == usize::MAX {
            0
        } else {
            count
        };
        engine.sent(client.id, count, now);
    }
}

/// Reads and throws away; whether there was something.
fn discard(client: &mut Client, engine: &mut Engine<Lines>, now: Instant) -> bool {
    if !client.network.is_empty() {
        let count = client.network.drain(..).count();
        engine.discarded(client.id, count);
    } else if client.half_closed {
        client.readable = false;
        client.end_read = true;
        engine.received_end(client.id, now);
    } else {
        client.readable = false;
        return false;
    }
    true
}
