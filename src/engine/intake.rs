//! Whether connections are read while requests wait for queue slots.
//!
//! Knows no connection's own bounds: whoever they stop is not read anyway.
//!
//! Rule: what is framed while the queue is full gets its slots one by one, and its answers leave in as many
//! writes. Left in the sockets until there is room, it is served whole; but nobody is left there for longer
//! than [`PUT_OFF`].

use super::connection::ReadPause;
use super::{Engine, find};
use crate::task::ConnectionId;
use std::time::{Duration, Instant};

/// While requests wait for queue slots, reading is put off for at most so long. Long enough for workers to make
/// room for quick requests, and too short for a client to tell.
pub const PUT_OFF: Duration = Duration::from_millis(1);

/// The state of all reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// No request waited when there was last a look.
    Open,
    /// Some wait: the workers have until then to make room for them, and nothing is read.
    PutOff { until: Instant },
    /// They did not: reading goes on until none waits, for whoever must be refused is to be refused in time.
    Regardless,
}

impl Engine {
    /// Puts reading off, or takes it up again.
    pub(super) fn review_intake(&mut self, now: Instant) {
        let before = self.intake;
        self.intake = match before {
            _ if !self.has_waiting() => Intake::Open,
            Intake::Open => Intake::PutOff {
                until: now + PUT_OFF,
            },
            Intake::PutOff { until } if until <= now => Intake::Regardless,
            Intake::PutOff { .. } | Intake::Regardless => return,
        };
        for id in std::mem::take(&mut self.put_off) {
            if let Some(connection) = find(&mut self.connections, id)
                && connection.read_pause == ReadPause::FullQueue
            {
                connection.read_pause = ReadPause::None;
                self.attend(id);
            }
        }
    }

    /// Whether a connection that could be read is not read now; then it is attended when that is over.
    pub(super) fn puts_off(&mut self, id: ConnectionId) -> bool {
        let is_put_off = matches!(self.intake, Intake::PutOff { .. });
        if is_put_off
            && let Some(connection) = find(&mut self.connections, id)
            && connection.read_pause != ReadPause::FullQueue
        {
            connection.read_pause = ReadPause::FullQueue;
            self.put_off.push(id);
            self.stats.queue_pauses += 1;
        }
        is_put_off
    }

    /// Whoever is put off is on the list, and nobody is while reading goes on.
    pub(super) fn check_intake(&self) {
        let mut connections = self.connections.iter();
        assert!(connections.all(|(_, connection)| {
            connection.read_pause != ReadPause::FullQueue || self.put_off.contains(&connection.id)
        }));
        assert!(self.put_off.is_empty() || matches!(self.intake, Intake::PutOff { .. }));
    }
}
