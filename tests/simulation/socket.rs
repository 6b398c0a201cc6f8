//! A model of one connection, over TCP or a unix socket: two bounded buffers, and readiness that
//! is told by edges.
//!
//! Knows no lines and no engine.
//!
//! Rule: as with epoll, an edge comes when something changes and never again; the reactor's side
//! keeps what it was told until it meets "would block".

use reactor_pool::net::Readiness;
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Socket {
    /// On its way to the server.
    incoming: VecDeque<u8>,
    incoming_limit: usize,
    /// On its way to the client.
    outgoing: VecDeque<u8>,
    outgoing_limit: usize,
    /// The client has shut its sending side.
    finished: bool,
    /// After the server shut its own, the client sends without an end.
    pub(crate) is_firehose: bool,
    reset: bool,
    server_shut: bool,
    /// The server has met a full buffer: room is worth an edge.
    blocked: bool,
    /// What has changed and the poll has not said yet.
    edges: Readiness,
    /// The client's system does not acknowledge the end of what the server sends.
    pub(crate) is_end_ignored: bool,
    /// What was written waits for the end of the stream, to leave with it.
    pub(crate) is_end_due: bool,
    /// Short reads mislead from the beginning, and nobody tells what the client has taken.
    pub(crate) is_unix: bool,
    /// Urgent data has come: short reads mislead.
    pub(crate) is_urgent: bool,

    // What the reactor knows, as in src/reactor/sockets.rs.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    short_reads_mislead: bool,
    pub(crate) failed: bool,
    /// What the reactor has heard, before it stops, that there is to read, and has not read.
    pub(crate) left_to_stop: Option<usize>,
}

pub(crate) enum Read {
    Bytes(usize),
    End,
    Blocked,
    Reset,
}

impl Socket {
    pub(crate) fn new(incoming_limit: usize, outgoing_limit: usize) -> Socket {
        Socket {
            incoming: VecDeque::new(),
            incoming_limit,
            outgoing: VecDeque::new(),
            outgoing_limit,
            finished: false,
            is_firehose: false,
            reset: false,
            server_shut: false,
            blocked: false,
            edges: Readiness::default(),
            is_end_ignored: false,
            is_end_due: false,
            is_unix: false,
            is_urgent: false,
            readable: false,
            writable: true,
            short_reads_mislead: false,
            failed: false,
            left_to_stop: None,
        }
    }

    pub(crate) fn become_unix(&mut self) {
        self.is_unix = true;
        self.short_reads_mislead = true;
    }

    // The client's side.

    /// How many bytes the client can send now.
    pub(crate) fn room(&self) -> usize {
        if self.finished || self.reset {
            return 0;
        }
        self.incoming_limit - self.incoming.len()
    }

    pub(crate) fn client_sends(&mut self, bytes: impl Iterator<Item = u8>) {
        self.incoming.extend(bytes);
        self.edges.readable = true;
    }

    pub(crate) fn client_finishes(&mut self) {
        self.finished = true;
        self.edges.readable = true;
        self.edges.short_reads_mislead = true;
    }

    pub(crate) fn client_resets(&mut self) {
        self.reset = true;
        self.edges.failed = true;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.reset
    }

    /// Bytes that the client can take.
    pub(crate) fn takeable(&self) -> usize {
        self.outgoing.len()
    }

    pub(crate) fn client_takes(&mut self, count: usize) -> impl Iterator<Item = u8> {
        if std::mem::take(&mut self.blocked) {
            self.edges.writable = true;
        }
        self.outgoing.drain(..count)
    }

    /// From now on the buffers are large, so that no run takes for ever to end.
    pub(crate) fn widen(&mut self) {
        self.incoming_limit = 1 << 20;
        self.outgoing_limit = 1 << 20;
        if std::mem::take(&mut self.blocked) {
            self.edges.writable = true;
        }
    }

    // The poll.

    pub(crate) fn has_edges(&self) -> bool {
        self.edges != Readiness::default()
    }

    /// Tells the reactor's side what has changed.
    pub(crate) fn tell_edges(&mut self) -> Readiness {
        let mut edges = std::mem::take(&mut self.edges);
        edges.short_reads_mislead |= self.is_urgent;
        self.readable |= edges.readable;
        self.writable |= edges.writable;
        self.short_reads_mislead |= edges.short_reads_mislead;
        self.failed |= edges.failed;
        edges
    }

    // The kernel's side.

    pub(crate) fn unread(&self) -> usize {
        self.incoming.len()
    }

    /// The end of the stream is acknowledged with the last byte, or never.
    pub(crate) fn unacknowledged(&self) -> Option<usize> {
        let outgoing = self.outgoing.len();
        let end = usize::from(self.server_shut && (outgoing > 0 || self.is_end_ignored));
        (!self.is_unix).then_some(outgoing + end)
    }

    // The reactor's side.

    /// Reads at most `at_most` bytes. What there is beyond them comes later, with an edge of its
    /// own, unless the reactor goes on reading anyway.
    pub(crate) fn read(&mut self, buffer: &mut [u8], at_most: usize, discard: bool) -> Read {
        if self.reset {
            return Read::Reset;
        }
        if self.incoming.is_empty() {
            if discard && self.is_firehose && self.server_shut && !self.finished {
                // Nobody looks at these.
                self.readable = true;
                return Read::Bytes(buffer.len());
            }
            self.readable = false;
            return match self.finished {
                true => Read::End,
                false => Read::Blocked,
            };
        }
        let count = at_most.min(self.incoming.len());
        if let Some(left) = &mut self.left_to_stop {
            *left = left.saturating_sub(count);
        }
        for (place, byte) in buffer.iter_mut().zip(self.incoming.drain(..count)) {
            *place = byte;
        }
        self.readable = count == buffer.len() || self.short_reads_mislead;
        let has_more = !self.incoming.is_empty() || self.is_firehose && self.server_shut;
        self.edges.readable |= !self.readable && has_more;
        Read::Bytes(count)
    }

    /// How many bytes it takes now; none once it is known to be full.
    pub(crate) fn write_room(&mut self) -> Result<usize, ()> {
        if !self.writable {
            return Ok(0);
        }
        if self.reset {
            return Err(());
        }
        assert!(!self.server_shut, "promise 3: written after the shutdown");
        let room = self.outgoing_limit - self.outgoing.len();
        if room == 0 {
            self.writable = false;
            self.blocked = true;
        }
        Ok(room)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
    }

    pub(crate) fn shut_down_writing(&mut self) -> Result<(), ()> {
        if self.reset {
            return Err(());
        }
        assert!(!self.server_shut, "shut down twice");
        self.server_shut = true;
        self.is_end_due = false;
        if self.is_firehose {
            self.edges.readable = true;
        }
        Ok(())
    }
}
