//! The turns of connections at the places in flight that their address has.
//!
//! Knows which connection is next only from [`ReadGate`](super::read_gate::ReadGate).
//!
//! Rule: a connection that is called is on the ready list, to be read, or has been read, and gets
//! its place before the next requests get their slots.

use super::Engine;
use super::addresses::AddressSlot;
use crate::codec::Codec;
use std::time::Instant;

impl<C: Codec> Engine<C> {
    /// Calls those whose turn has come at an address.
    #[inline]
    pub(super) fn call(&mut self, address: Option<AddressSlot>) {
        if let Some(address) = address {
            let connections = &mut self.connections;
            self.read_gate.call(address, connections, &mut self.ready);
        }
    }

    /// What was read of connections gets the places for which these were called. Call it before
    /// [`Engine::submit`].
    pub fn frame_called(&mut self, now: Instant) {
        while let Some(id) = self.read_gate.next_called(&self.connections) {
            let connection = &mut self.connections[id];
            self.read_gate.allow_called(connection);
            connection.end_wait(now);
            let counts = connection.go_on(&self.rules, now);
            // More may have come meanwhile.
            self.ready.mark(id, &mut connection.listed);
            self.settle(id, counts, now);
        }
    }
}
