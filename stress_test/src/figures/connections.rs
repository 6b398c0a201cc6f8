//! How many connections a run took, and how long it took to make one.
//!
//! Knows the tally of the ordinary clients; nothing of requests.
//!
//! Rule: the time to connect is part of no latency: requests wait for it only where clients
//! reconnect.

use serde::{Deserialize, Serialize};

use crate::figures::distribution::Distribution;
use crate::figures::ledger::Tally;

/// The connections of the ordinary clients.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ConnectionFigures {
    /// Connections that were made.
    pub(crate) made: u64,
    /// Those of them that followed another one of the same client.
    pub(crate) reconnects: u64,
    /// Attempts that were refused, by the system or by the server.
    pub(crate) refused: u64,
    /// From the beginning of an attempt to the connection, of those that were made.
    pub(crate) connect_time: Distribution,
}

impl ConnectionFigures {
    /// The figures of `tally`.
    pub(crate) fn of(tally: &Tally) -> Self {
        Self {
            made: tally.connect_times.count(),
            reconnects: tally.reconnects,
            refused: tally.connects_refused,
            connect_time: Distribution::of(&tally.connect_times),
        }
    }
}
