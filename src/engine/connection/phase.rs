//! Where a connection is in its life, and the only place where that changes.
//!
//! Knows no requests and no bytes beyond their number.
//!
//! Rule: a connection only moves down this table.
//!
//! | phase | what it means | event | next |
//! |---|---|---|---|
//! | `Header` | its proxy has not said yet who its client is | `Introduced` | `Serving` |
//! | | | `Stop`, `Farewell` | `Closing` |
//! | `Serving` | requests may come | `Stop`, `Last`, `Farewell` | `Closing` |
//! | `Closing` | nothing more is read; what is pending is written | `Shut` | `Lingering` |
//! | `Lingering` | the sending side is shut; what comes is discarded | `Discarded` | `Lingering` |
//! | any | | `GiveUp` | `Over` |
//! | `Over` | the socket is to be closed at once | any | `Over` |
//!
//! A connection whose client finishes first is closed from `Header` or `Serving`. A stop tells
//! also a connection after its last request that the drain timeout sees to its end.

use crate::engine::{Action, ConnectionState};
use std::time::Instant;

/// What a connection discards after its sending side was shut. No honest client has more under way
/// than the buffers of two hosts; what comes beyond waits in the socket, and slows its sender.
pub(super) const LINGER_LIMIT_BYTES: usize = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Phase {
    Header,
    Serving,
    Closing(Closing),
    Lingering {
        /// A client that still takes its responses is waited for, and the drain timeout sees to
        /// the end of that.
        is_draining: bool,
        /// How much more may be discarded.
        left_bytes: usize,
    },
    Over {
        /// What the log says of it.
        why: &'static str,
    },
}

/// Why nothing more is read, and what ends the wait for a client that does not take what is
/// pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Closing {
    /// The server stops: the drain timeout.
    Drain,
    /// The last request has come, or what is none and cannot be followed by one: the idle timeout.
    Last,
    /// The connection is told why it closes: this time.
    Farewell { by: Instant },
}

/// What moves a connection from one phase to the next.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) enum Event {
    /// Its client is known.
    Introduced,
    /// The server stops.
    Stop,
    /// No request can follow the last one.
    Last,
    /// The connection is told why it closes, and has until then to take it.
    Farewell { by: Instant },
    /// Its sending side was shut.
    Shut,
    /// That many bytes came and were thrown away.
    Discarded(usize),
    /// Its time is over, or it cannot go on.
    GiveUp(&'static str),
}

impl Phase {
    pub(super) fn after(self, event: Event) -> Phase {
        match (self, event) {
            (Phase::Over { .. }, _) => self,
            (_, Event::GiveUp(why)) => Phase::Over { why },
            (Phase::Header, Event::Introduced) => Phase::Serving,
            (Phase::Header | Phase::Serving | Phase::Closing(Closing::Last), Event::Stop) => {
                Phase::Closing(Closing::Drain)
            }
            (Phase::Serving, Event::Last) => Phase::Closing(Closing::Last),
            (Phase::Header | Phase::Serving, Event::Farewell { by }) => {
                Phase::Closing(Closing::Farewell { by })
            }
            (Phase::Closing(closing), Event::Shut) => Phase::Lingering {
                is_draining: closing == Closing::Drain,
                left_bytes: LINGER_LIMIT_BYTES,
            },
            (
                Phase::Lingering {
                    is_draining,
                    left_bytes,
                },
                Event::Discarded(count),
            ) => Phase::Lingering {
                is_draining,
                left_bytes: left_bytes.saturating_sub(count),
            },
            // A stop changes nothing for a connection that lingers already, and so on.
            (Phase::Header | Phase::Serving | Phase::Closing(_) | Phase::Lingering { .. }, _) => {
                self
            }
        }
    }

    /// What is to be done with a connection whose unsent bytes have been offered to its socket;
    /// none if it may be read. The end of what its client sends `is_ended`, if it has been read;
    /// `is_finished` says whether nothing is pending, and nothing more can come.
    pub(super) fn action(
        self,
        readable: bool,
        is_ended: bool,
        is_finished: impl Fn() -> bool,
    ) -> Option<Action> {
        const FINISHED: Action = Action::Close { why: "finished" };
        Some(match self {
            Phase::Header | Phase::Serving if !is_ended => return None,
            Phase::Header | Phase::Serving | Phase::Closing(_) if !is_finished() => Action::Wait,
            Phase::Closing(_) if !is_ended => Action::ShutDown,
            Phase::Header | Phase::Serving | Phase::Closing(_) => FINISHED,
            Phase::Lingering { .. } if is_ended => FINISHED,
            Phase::Lingering {
                left_bytes: 1.., ..
            } if readable => Action::Discard,
            Phase::Lingering { .. } => Action::Wait,
            Phase::Over { why } => Action::Close { why },
        })
    }

    /// What people see of it.
    pub(super) fn state(self) -> ConnectionState {
        match self {
            Phase::Header => ConnectionState::Header,
            Phase::Serving => ConnectionState::Serving,
            Phase::Closing(_) => ConnectionState::Closing,
            Phase::Lingering { .. } => ConnectionState::Lingering,
            Phase::Over { .. } => ConnectionState::Over,
        }
    }

    /// What its client sends may still become requests.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Phase::Header | Phase::Serving)
    }

    /// The server drains, and this connection has been cut off from sending.
    pub(super) fn is_draining(self) -> bool {
        match self {
            Phase::Closing(closing) => closing == Closing::Drain,
            Phase::Lingering { is_draining, .. } => is_draining,
            Phase::Header | Phase::Serving | Phase::Over { .. } => false,
        }
    }
}
