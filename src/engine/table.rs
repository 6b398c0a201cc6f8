//! The connections that are there.
//!
//! Knows nothing of what they do.
//!
//! Rule: an id finds its own connection, and never a later one that uses the same slot.

use super::connection::Connection;
use crate::config::{Config, REFUSAL_RESERVE};
use crate::task::ConnectionId;
use slab::Slab;
use std::ops::{Index, IndexMut};

#[derive(Debug)]
pub(super) struct Table {
    slots: Slab<Connection>,
    /// Connections that may be there at a time, those included that are only refused.
    most: usize,
    /// Connections accepted so far.
    accepted: u64,
}

impl Table {
    pub(super) fn new(config: &Config) -> Table {
        let most = (config.max_connections + REFUSAL_RESERVE).min(ConnectionId::SLOTS);
        Table {
            // Allocated once, it leaves no smaller tables behind when it grows; the memory of a
            // slot is not touched before it is used.
            slots: Slab::with_capacity(most),
            most,
            accepted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.len() < self.most
    }

    /// One more connection, which is made for the id that it is given.
    pub(super) fn insert(&mut self, make: impl FnOnce(ConnectionId) -> Connection) -> ConnectionId {
        self.accepted += 1;
        let entry = self.slots.vacant_entry();
        let id = ConnectionId::new(self.accepted, entry.key());
        entry.insert(make(id));
        id
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        Some(self.slots.remove(id.slot()))
    }

    #[inline]
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.slots.get(id.slot());
        connection.filter(|connection| connection.id == id)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.slots.get_mut(id.slot());
        connection.filter(|connection| connection.id == id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> + Clone {
        self.slots.iter().map(|(_, connection)| connection)
    }
}

/// For connections that are known to be there.
impl Index<ConnectionId> for Table {
    type Output = Connection;

    #[inline]
    fn index(&self, id: ConnectionId) -> &Connection {
        let connection = &self.slots[id.slot()];
        debug_assert_eq!(connection.id, id, "it has gone, and another one came");
        connection
    }
}

impl IndexMut<ConnectionId> for Table {
    #[inline]
    fn index_mut(&mut self, id: ConnectionId) -> &mut Connection {
        let connection = &mut self.slots[id.slot()];
        debug_assert_eq!(connection.id, id, "it has gone, and another one came");
        connection
    }
}
