//! Puts reading off while requests wait for queue slots.
//!
//! Knows no connection's own bounds: whoever they stop is not read anyway.
//!
//! Rule: a pipeline that is framed while the queue is full gets its slots one by one, and its answers leave in as
//! many writes. Left in the socket until there is room, it is served whole; but no connection is left unread for
//! longer than [`PUT_OFF`], and none that sends its requests one at a time.

use super::{Engine, find};
use crate::task::ConnectionId;
use std::time::{Duration, Instant};

/// How long reading of a connection is put off at most. Long enough for the pipelines of many clients before it to
/// be served; a client can tell only where the queue stays full for seconds.
pub const PUT_OFF: Duration = Duration::from_millis(20);

impl Engine {
    /// Whether a connection that could be read is not read now; then it is attended when that is over.
    pub(super) fn puts_off(&mut self, id: ConnectionId, now: Instant) -> bool {
        let connection = &mut self.connections[id.slot()];
        if !connection.pipelines {
            return false;
        }
        // Since it was read last: being let go and put off again is not starting over.
        let until = *connection.put_off_until.get_or_insert(now + PUT_OFF);
        if self.is_full && now < until {
            self.stats.queue_pauses += u64::from(self.put_off.insert((until, id)));
            return true;
        }
        self.put_off.remove(&(until, id));
        connection.put_off_until = None;
        false
    }

    /// After slots were given out, or somebody's wait for one has ended: sees whether requests still wait, and
    /// who is to be read now.
    pub(super) fn review_intake(&mut self, now: Instant) {
        self.is_full = self.has_waiting();
        let mut over = Vec::new();
        while let Some((until, id)) = self.put_off.first().copied()
            && (!self.is_full || until <= now)
        {
            self.put_off.remove(&(until, id));
            over.push(id);
        }
        // Before those that have been read meanwhile, the longest put off first: else who always has more to
        // read could fill the queue again each time.
        for id in over.into_iter().rev() {
            if let Some(connection) = find(&mut self.connections, id)
                && !connection.attended
            {
                connection.attended = true;
                self.attention.push_front(id);
            }
        }
    }

    /// Each is put off until the time that it knows, and nobody is while there is room.
    pub(super) fn check_intake(&self) {
        for (until, id) in &self.put_off {
            let connection = self.connections.get(id.slot()).filter(|c| c.id == *id);
            assert!(connection.is_none_or(|c| c.put_off_until == Some(*until)));
        }
        assert!(self.is_full || self.put_off.is_empty());
    }
}
