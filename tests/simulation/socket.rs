//! A model of one TCP connection: two bounded buffers, and readiness that is told by edges.
//!
//! Knows no lines and no engine.
//!
//! Rule: as with epoll, an edge comes when something changes and never again; the reactor's side
//! keeps what it was told until it meets "would block".

use reactor_pool::engine::SocketQueues;
use std::collections::VecDeque;

/// What changed and the poll has not said yet.
#[derive(Debug, Clone, Copy, Default)]
struct Edges {
    readable: bool,
    writable: bool,
    read_closed: bool,
    failed: bool,
}

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
    edges: Edges,

    // What the reactor knows, as in src/reactor/sockets.rs.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    read_closed: bool,
    pub(crate) failed: bool,
}

/// What a firehose delivers with each read.
const FIREHOSE_BYTES: usize = 9 << 20;

pub(crate) enum Read {
    Bytes(Vec<u8>),
    /// So many, of a firehose: nobody looks at them.
    Count(usize),
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
            edges: Edges::default(),
            readable: false,
            writable: true,
            read_closed: false,
            failed: false,
        }
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
        self.edges.read_closed = true;
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
        let Edges {
            readable,
            writable,
            read_closed,
            failed,
        } = self.edges;
        readable || writable || read_closed || failed
    }

    /// Passes the edges on to the reactor's side.
    pub(crate) fn note_edges(&mut self) {
        let edges = std::mem::take(&mut self.edges);
        self.readable |= edges.readable || edges.read_closed;
        self.writable |= edges.writable;
        self.read_closed |= edges.read_closed;
        self.failed |= edges.failed;
    }

    // The kernel's side.

    pub(crate) fn queues(&self) -> SocketQueues {
        let outgoing = self.outgoing.len();
        SocketQueues {
            unread: self.incoming.len(),
            // The end of the stream is acknowledged with the last byte.
            unacknowledged: outgoing + usize::from(self.server_shut && outgoing > 0),
        }
    }

    // The reactor's side.

    pub(crate) fn read(&mut self, buffer_bytes: usize, discard: bool) -> Read {
        if self.reset {
            return Read::Reset;
        }
        if self.incoming.is_empty() {
            if discard && self.is_firehose && self.server_shut && !self.finished {
                return Read::Count(FIREHOSE_BYTES);
            }
            self.readable = false;
            return if self.finished {
                Read::End
            } else {
                Read::Blocked
            };
        }
        let count = buffer_bytes.min(self.incoming.len());
        let bytes = self.incoming.drain(..count).collect();
        self.readable = count == buffer_bytes || self.read_closed || self.is_firehose;
        Read::Bytes(bytes)
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
        if self.is_firehose {
            self.edges.readable = true;
        }
        Ok(())
    }
}
