//! What people may see of a connection.
//!
//! Knows numbers and names; never a byte that a client sent.
//!
//! Rule: a view is a copy, made when somebody asks.

use crate::address::Peer;
use crate::task::ConnectionId;
use std::time::Duration;

/// One connection at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionView {
    /// Its name.
    pub id: ConnectionId,
    /// The other side.
    pub peer: Option<Peer>,
    /// How long ago it was accepted.
    pub age: Duration,
    /// What it is doing.
    pub state: ConnectionState,
    /// Why it is not read although it has sent something; none if it is read.
    pub pause: Option<PauseReason>,
    /// Requests that it has sent so far.
    pub requests: u64,
    /// Requests that are framed and not answered.
    pub in_flight: usize,
    /// Of those, requests without a queue slot.
    pub waiting: usize,
    /// Bytes that the server holds for it: requests, responses, and the notes on them.
    pub buffered_bytes: usize,
    /// Bytes of responses that its socket has not taken.
    pub unsent_bytes: usize,
    /// Bytes that were read from it.
    pub bytes_in: u64,
    /// Bytes that were written to it.
    pub bytes_out: u64,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Its proxy has not said yet who its client is.
    Header,
    /// It is served.
    Serving,
    /// What was framed is answered, and nothing more is read.
    Closing,
    /// The sending side is shut; its client takes the rest and closes.
    Lingering,
    /// Its socket is about to be closed.
    Over,
}

impl ConnectionState {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            ConnectionState::Header => "header",
            ConnectionState::Serving => "serving",
            ConnectionState::Closing => "closing",
            ConnectionState::Lingering => "lingering",
            ConnectionState::Over => "over",
        }
    }
}

/// Why a connection is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PauseReason {
    /// A request of it waits for a queue slot.
    QueueFull,
    /// It has as many requests in flight as it may.
    InFlight,
    /// What was read last found no room beside its requests in flight, or its unsent responses.
    Blocked,
    /// It does not take its responses.
    Unsent,
    /// Too much is buffered for all connections.
    Budget,
    /// The connections of its address have as many requests in flight as they may together.
    Address,
}

impl PauseReason {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            PauseReason::QueueFull => "queue_full",
            PauseReason::InFlight => "in_flight",
            PauseReason::Blocked => "blocked",
            PauseReason::Unsent => "unsent",
            PauseReason::Budget => "budget",
            PauseReason::Address => "address",
        }
    }
}
