//! What the connections of one address have together: how many they are, and their requests in
//! flight.
//!
//! Knows addresses, and of connections only their ids; not what a request is.
//!
//! Rule: while connections wait for a place in flight, no other one of their address gets one.
//! They are called in the order in which they came, each for one place at least.

use crate::config::Config;
use crate::task::ConnectionId;
use slab::Slab;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// The place of a connection among those that wait: the lowest is called first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// Where an address stands among those that have connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AddressSlot(usize);

#[derive(Debug)]
pub(super) struct Addresses {
    /// Zero for no limit, both.
    max_connections: usize,
    max_inflight: usize,
    slots: HashMap<IpAddr, usize>,
    shares: Slab<Share>,
    /// The last one that was given.
    place: Place,
}

/// What a connection has of its address: for tests.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) id: ConnectionId,
    pub(super) address: AddressSlot,
    pub(super) in_flight: usize,
    pub(super) waits: bool,
    pub(super) is_called: bool,
}

#[derive(Debug)]
struct Share {
    key: IpAddr,
    connections: usize,
    in_flight: usize,
    /// Connections that have been called and have framed nothing since.
    called: usize,
    /// Those that wait to be called.
    queue: BTreeMap<Place, ConnectionId>,
}

impl Addresses {
    pub(super) fn new(config: &Config) -> Addresses {
        Addresses {
            max_connections: config.max_connections_per_address,
            max_inflight: config.max_inflight_per_address,
            slots: HashMap::new(),
            shares: Slab::new(),
            place: Place::default(),
        }
    }

    /// One more connection of that address; none stands for those without one, and where nothing
    /// is limited.
    ///
    /// # Errors
    /// It is one too many.
    pub(super) fn enter(&mut self, address: Option<IpAddr>) -> Result<Option<AddressSlot>, ()> {
        let is_limited = self.max_connections > 0 || self.max_inflight > 0;
        let Some(key) = address.filter(|_| is_limited).map(key) else {
            return Ok(None);
        };
        let shares = &mut self.shares;
        let slot = *self.slots.entry(key).or_insert_with(|| {
            shares.insert(Share {
                key,
                connections: 0,
                in_flight: 0,
                called: 0,
                queue: BTreeMap::new(),
            })
        });
        let share = &mut self.shares[slot];
        if self.max_connections > 0 && share.connections == self.max_connections {
            return Err(());
        }
        share.connections += 1;
        Ok(Some(AddressSlot(slot)))
    }

    /// A connection has gone, that has nothing in flight and does not wait.
    pub(super) fn leave(&mut self, AddressSlot(slot): AddressSlot) {
        let share = &mut self.shares[slot];
        share.connections -= 1;
        if share.connections == 0 {
            let share = self.shares.remove(slot);
            self.slots.remove(&share.key);
        }
    }

    /// Whether a connection of it may not be read, unless it was called.
    pub(super) fn is_full(&self, AddressSlot(slot): AddressSlot) -> bool {
        self.max_inflight > 0 && self.shares[slot].taken() >= self.max_inflight
    }

    /// How many more requests of it may be in flight, besides those for which connections were
    /// called.
    pub(super) fn room(&self, AddressSlot(slot): AddressSlot) -> usize {
        match self.max_inflight {
            0 => usize::MAX,
            most => most.saturating_sub(self.shares[slot].taken()),
        }
    }

    /// How many connections of it wait to be called.
    pub(super) fn queued(&self, AddressSlot(slot): AddressSlot) -> usize {
        self.shares[slot].queue.len()
    }

    /// A connection of it has another number of requests in flight than before.
    pub(super) fn recount(&mut self, AddressSlot(slot): AddressSlot, before: usize, after: usize) {
        let share = &mut self.shares[slot];
        share.in_flight = share.in_flight - before + after;
    }

    /// A connection waits from now on until it is called.
    pub(super) fn enqueue(&mut self, AddressSlot(slot): AddressSlot, id: ConnectionId) -> Place {
        self.place = Place(self.place.0 + 1);
        self.shares[slot].queue.insert(self.place, id);
        self.place
    }

    /// A connection waits no more.
    pub(super) fn dequeue(&mut self, AddressSlot(slot): AddressSlot, place: Place) {
        self.shares[slot].queue.remove(&place);
    }

    /// The next connection that waits, if there is a place for it, which it has from now on.
    pub(super) fn call(&mut self, address: AddressSlot) -> Option<ConnectionId> {
        if self.is_full(address) {
            return None;
        }
        let share = &mut self.shares[address.0];
        let (_, id) = share.queue.pop_first()?;
        share.called += 1;
        Some(id)
    }

    /// A connection that was called is read, or need not be any more.
    pub(super) fn end_call(&mut self, AddressSlot(slot): AddressSlot) {
        self.shares[slot].called -= 1;
    }

    /// `standings` are those of all connections that have an address.
    pub(super) fn check_invariants(&self, standings: &[Standing]) {
        for (slot, share) in &self.shares {
            let is_own = |standing: &&Standing| standing.address == AddressSlot(slot);
            let own: Vec<_> = standings.iter().filter(is_own).collect();
            assert_eq!(self.slots.get(&share.key), Some(&slot));
            assert!(share.connections > 0 && share.connections == own.len());
            assert!(self.max_connections == 0 || share.connections <= self.max_connections);
            let in_flight: usize = own.iter().map(|standing| standing.in_flight).sum();
            let called = own.iter().filter(|standing| standing.is_called);
            assert_eq!((share.in_flight, share.called), (in_flight, called.count()));
            let mut waiting: Vec<_> = share.queue.values().copied().collect();
            waiting.sort_unstable();
            let waits = own.iter().filter(|standing| standing.waits);
            let mut expected: Vec<_> = waits.map(|standing| standing.id).collect();
            expected.sort_unstable();
            assert_eq!(waiting, expected);
            if self.max_inflight > 0 {
                assert!(share.taken() <= self.max_inflight, "too many: {share:?}");
                let is_free = share.taken() < self.max_inflight;
                assert!(!is_free || waiting.is_empty(), "a place is free: {share:?}");
            }
        }
        assert_eq!(self.slots.len(), self.shares.len());
        assert!(
            standings
                .iter()
                .all(|standing| self.shares.contains(standing.address.0))
        );
    }
}

impl Share {
    fn taken(&self) -> usize {
        self.in_flight + self.called
    }
}

/// What counts as one address: of IPv6, what one customer has at least.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [one, two, three, four, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(one, two, three, four, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
