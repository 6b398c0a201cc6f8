//! Who is at the other end of the sockets of which a proxy has not said yet who its client is.
//!
//! Knows no headers: the engine finds them.
//!
//! Rule: nobody is told of a connection before its client is known.

use super::warn_limit::WarnLimit;
use crate::address::Peer;
use crate::engine::{ConnectionView, HeaderFault};
use crate::log::warn;
use crate::task::ConnectionId;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

/// Empty where no proxies are expected.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    proxies: HashMap<ConnectionId, Peer>,
    warnings: WarnLimit,
}

impl Introductions {
    /// A connection awaits its header; `proxy` is at the other end of its socket.
    pub(super) fn begin(&mut self, id: ConnectionId, proxy: Peer) {
        self.proxies.insert(id, proxy);
    }

    /// The header names that client, or none: then the socket tells.
    pub(super) fn end(&mut self, id: ConnectionId, client: Option<SocketAddr>) -> Option<Peer> {
        let proxy = self.proxies.remove(&id)?;
        Some(client.map_or(proxy, Peer::Tcp))
    }

    /// No valid header has come.
    pub(super) fn warn(&mut self, id: ConnectionId, fault: HeaderFault, all: u64, now: Instant) {
        let proxy = self.proxies.get(&id);
        if let Some(peer) = proxy.filter(|_| self.warnings.allows(now)) {
            warn!(%peer, cause = %fault, bad_headers = all,
                "no valid PROXY header: a proxy is not set up to send one, or this is none");
        }
    }

    /// A connection has gone.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.proxies.remove(&id);
    }

    /// Adds who is at the other end, as far as that is known here.
    pub(super) fn complete(&self, mut view: ConnectionView) -> ConnectionView {
        view.peer = self.proxies.get(&view.id).copied();
        view
    }
}
