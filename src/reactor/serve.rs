//! What one connection gets in a tick.
//!
//! Knows what the engine says of it, and does that.
//!
//! Rule: a connection has a bounded share of a tick; what is left waits for the next one.

use super::sockets::{ReadOutcome, Socket};
use super::{Reactor, SUBMIT_REQUESTS};
use crate::codec::Codec;
use crate::engine::{Action, Engine, Introduction};
use crate::log::debug;
use crate::net::Net;
use crate::task::ConnectionId;
use std::io;
use std::time::Instant;

/// Reads of one connection in one tick, before the others have theirs.
pub(super) const READS_PER_TICK: usize = 4;

impl<N: Net, C: Codec> Reactor<N, C> {
    /// Serves each connection on the ready list once; what comes up meanwhile waits for the next
    /// tick. What they ask goes to the workers as soon as [`SUBMIT_REQUESTS`] wait.
    pub(super) fn serve_ready(&mut self, now: Instant) {
        for _ in 0..self.engine.ready_len() {
            let Some(id) = self.engine.next_ready() else {
                return;
            };
            self.serve(id, now);
            if self.engine.waiting() >= SUBMIT_REQUESTS {
                self.submit(now);
            }
        }
    }

    /// Serves one connection; one whose socket reports an error is lost. Says how many bytes came
    /// that may be requests.
    pub(super) fn serve(&mut self, id: ConnectionId, now: Instant) -> usize {
        match self.try_serve(id, now) {
            Ok(read) => read,
            Err(cause) => {
                self.engine.stats_mut().lost += 1;
                self.close(id, &cause.to_string(), now);
                0
            }
        }
    }

    /// Writes, reads and closes as the engine says, until there is nothing to do or the connection
    /// has had its share of the tick.
    fn try_serve(&mut self, id: ConnectionId, now: Instant) -> io::Result<usize> {
        let parts = self.stage.parts_opened_until(now);
        let (net, engine) = (&mut self.net, &mut self.engine);
        let Some(socket) = self.sockets.get(id) else {
            return Ok(0);
        };
        socket.check(net)?;
        let mut read = 0;
        for _ in 0..READS_PER_TICK {
            flush(net, socket, engine, id, parts, now)?;
            match engine.next_action(id, socket.is_readable()) {
                Action::Wait => return Ok(read),
                Action::Read => match socket.read(net, &mut self.buffer)? {
                    ReadOutcome::Bytes(count) => {
                        read += count;
                        engine.received(id, &self.buffer[..count], now);
                        if !socket.is_readable() {
                            // What follows from it is on the ready list.
                            return Ok(read);
                        }
                    }
                    ReadOutcome::End => engine.received_end(id, now),
                    ReadOutcome::Blocked => {
                        engine.received_nothing(id, now);
                        return Ok(read);
                    }
                },
                Action::ReadHeader => return self.read_header(id, now),
                Action::Discard => match socket.read(net, &mut self.buffer)? {
                    ReadOutcome::Bytes(count) => engine.discarded(id, count),
                    ReadOutcome::End => engine.received_end(id, now),
                    ReadOutcome::Blocked => return Ok(read),
                },
                Action::ShutDown => {
                    socket.shut(net)?;
                    engine.shut_down(id, now);
                }
                Action::Close { why } => {
                    self.close(id, why, now);
                    return Ok(read);
                }
            }
        }
        engine.mark_ready(id);
        Ok(read)
    }

    /// Reads a connection of which nobody has said yet who its client is. What follows from it is
    /// on the ready list.
    fn read_header(&mut self, id: ConnectionId, now: Instant) -> io::Result<usize> {
        let Some(socket) = self.sockets.get(id) else {
            return Ok(0);
        };
        match socket.read(&mut self.net, &mut self.buffer)? {
            ReadOutcome::Bytes(count) => {
                if socket.is_readable() {
                    self.engine.mark_ready(id);
                }
                if !self.introduce(id, count, now) {
                    self.close(id, "turned away", now);
                }
                Ok(count)
            }
            ReadOutcome::End => {
                self.engine.received_end(id, now);
                Ok(0)
            }
            ReadOutcome::Blocked => Ok(0),
        }
    }

    /// Takes what the buffer holds for the header of a proxy, or a part of it, and what stands
    /// behind it for requests. Says whether the client is welcome, as far as it is known.
    fn introduce(&mut self, id: ConnectionId, count: usize, now: Instant) -> bool {
        let chunk = &self.buffer[..count];
        let found = self.engine.received_header(id, chunk, now);
        let Introduction { client, bytes } = match found {
            Ok(Some(introduction)) => introduction,
            Ok(None) => return true,
            Err(fault) => {
                let all = self.engine.stats().bad_headers;
                self.introductions.warn(id, fault, all, now);
                return true;
            }
        };
        let peer = self.introductions.end(id, client);
        let peer = peer.expect("a connection that awaits a header has a socket");
        debug!(conn = %id, %peer, "introduced");
        if !self.engine.introduce(id, peer.ip(), now) {
            self.warn_of_address(peer, now);
            return true;
        }
        let is_welcome = self.sessions.opened(id, peer);
        if is_welcome && bytes < count {
            self.engine.received(id, &self.buffer[bytes..count], now);
        }
        is_welcome
    }

    fn close(&mut self, id: ConnectionId, why: &str, now: Instant) {
        if let Some(stream) = self.sockets.remove(id) {
            self.net.close(stream);
        }
        self.introductions.forget(id);
        let removed = self.engine.remove(id, now, why);
        self.sessions.closed(id);
        if removed.is_some_and(|removed| removed.has_submitted) {
            let withdrawn = self.queue.discard(id.slot(), |task| task.connection == id);
            self.engine.withdrawn(&withdrawn, now);
        }
    }

    /// Reads what lies in the sockets once, as far as the bounds allow. Linear in the connections.
    pub(super) fn read_what_has_arrived(&mut self, now: Instant) {
        for id in self.engine.ids() {
            let Some(socket) = self.sockets.get(id) else {
                continue;
            };
            let mut unread = self.net.unread(socket.stream());
            if unread > 0 {
                socket.set_readable();
            }
            while unread > 0 {
                let read = self.serve(id, now);
                unread = unread.saturating_sub(read);
                // What waits for slots keeps its connection from being read, also what was framed
                // because responses have left.
                let waiting = self.engine.waiting();
                self.submit(now);
                if read == 0 && self.engine.waiting() == waiting {
                    break;
                }
            }
        }
    }
}

fn flush<N: Net>(
    net: &mut N,
    socket: &mut Socket<N::Stream>,
    engine: &mut Engine<impl Codec>,
    id: ConnectionId,
    parts_opened_until: Option<Instant>,
    now: Instant,
) -> io::Result<()> {
    loop {
        if let Some(opened) = parts_opened_until
            && socket.is_writable()
            && engine.is_quiet(id, opened)
            && net.unread(socket.stream()) == 0
        {
            // It parts: its client waits for this answer, and so has no request on its way.
            engine.part(id, now);
        }
        let unsent = engine.unsent(id);
        if unsent.is_empty() {
            return Ok(());
        }
        match socket.write(net, unsent, engine.is_unsent_last(id))? {
            0 => return Ok(()),
            count => engine.sent(id, count, now),
        }
    }
}
