//! What the engine and the reactor say to each other.
//!
//! Knows values alone: no connection, and no socket.
//!
//! Rule: each says what happened or what is to be done; how, the other side knows.

use crate::task::ConnectionId;
use std::net::SocketAddr;

/// Tells of a request whether the handler calls it quick.
pub type IsQuick = Box<dyn Fn(&[u8]) -> bool + Send>;

/// What the reactor is to do next with one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing now: the connection is marked ready again when there is something.
    Wait,
    /// Read, and hand over what came.
    Read,
    /// Read, and hand over what came to
    /// [`Engine::received_header`](super::Engine::received_header).
    ReadHeader,
    /// Read, throw it away, and say how much it was.
    Discard,
    /// Shut the sending side.
    ShutDown,
    /// Close the socket and [`Engine::remove`](super::Engine::remove) the connection.
    Close {
        /// What the log says of it.
        why: &'static str,
    },
}

/// What [`Engine::accept`](super::Engine::accept) made of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: ConnectionId,
    /// What is to become of it.
    pub entry: Entry,
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is served.
    Served,
    /// It is once the header of its proxy has come.
    AwaitsHeader,
    /// It is one too many, and is only told so.
    Refused,
}

/// What a proxy has said of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduction {
    /// The client's address, if it says one.
    pub client: Option<SocketAddr>,
    /// How many of the bytes belong to that; the others may be requests.
    pub bytes: usize,
}

/// What a connection left behind when it was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Requests of it are queued or running: the queue can be rid of those not started.
    pub has_submitted: bool,
}

/// What is framed and not answered, or answered and not taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Requests without an answer.
    pub requests: usize,
    /// Bytes of answers that no socket has taken, or that its client has not acknowledged.
    pub bytes: usize,
}

/// What the kernel holds of the sockets, which nobody announces.
pub trait Kernel {
    /// Bytes that have come and have not been read.
    fn unread(&mut self, id: ConnectionId) -> usize;

    /// Bytes that were written and that the other side has not acknowledged, a shut sending side
    /// counted as one; zero where the system does not tell.
    fn unacknowledged(&mut self, id: ConnectionId) -> usize;
}
