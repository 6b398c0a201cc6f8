//! Who asks: the event loop, its connections, and the clients on them.
//!
//! Knows sockets and time; what is asked and what is right it looks up.
//!
//! Rule: a client is pure state; only the driver, the connections and the alarm know descriptors.

pub(crate) mod absences;
pub(crate) mod alarm;
pub(crate) mod attempts;
pub(crate) mod backoff;
pub(crate) mod batch;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod crew;
pub(crate) mod desk;
pub(crate) mod doubt;
pub(crate) mod driver;
pub(crate) mod in_flight;
pub(crate) mod orders;
pub(crate) mod outbox;
pub(crate) mod pace;
pub(crate) mod patience;
pub(crate) mod roster;
pub(crate) mod watch;
