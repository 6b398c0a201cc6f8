//! Which connections are open, for workers that ask.
//!
//! Knows ids and peers; no sockets and no requests.
//!
//! Rule: the event loop writes, workers read, and nobody holds the lock for longer than that.

use crate::address::Peer;
use crate::task::ConnectionId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// By slot of the connection's id.
    open: Mutex<Vec<Option<(ConnectionId, Peer)>>>,
    /// The server has ended, whoever is still connected. Written once, by the event loop.
    has_ended: AtomicBool,
}

impl Connections {
    pub(crate) fn open(&self, id: ConnectionId, peer: Peer) {
        let mut open = self.lock();
        if id.slot() >= open.len() {
            open.resize(id.slot() + 1, None);
        }
        open[id.slot()] = Some((id, peer));
    }

    /// Whether it was open.
    pub(crate) fn close(&self, id: ConnectionId) -> bool {
        let mut open = self.lock();
        let slot = open.get_mut(id.slot());
        slot.and_then(|slot| slot.take_if(|(there, _)| *there == id))
            .is_some()
    }

    /// None is open any more, as far as workers care.
    pub(crate) fn end(&self) {
        // Relaxed: nothing is read on account of it.
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// The other side, while the connection is open.
    pub(crate) fn peer(&self, id: ConnectionId) -> Option<Peer> {
        let open = self.lock();
        let there = open.get(id.slot()).copied().flatten();
        there
            .filter(|(there, _)| *there == id)
            .map(|(_, peer)| peer)
    }

    pub(crate) fn is_gone(&self, id: ConnectionId) -> bool {
        self.has_ended.load(Ordering::Relaxed) || self.peer(id).is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<(ConnectionId, Peer)>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_gone_once_it_is_closed_or_the_server_has_ended() {
        let connections = Connections::default();
        let [one, other] = [1, 2].map(|serial| ConnectionId::new(serial, 0));
        let peer = Peer::Tcp(([127, 0, 0, 1], 1).into());
        connections.open(one, peer);
        assert_eq!(
            (connections.peer(one), connections.peer(other)),
            (Some(peer), None)
        );
        assert!(!connections.is_gone(one) && connections.is_gone(other));
        assert!(connections.close(one) && !connections.close(one));
        assert!(connections.is_gone(one));
        connections.open(other, peer);
        connections.end();
        assert!(connections.is_gone(other) && connections.peer(other).is_some());
    }
}
