//! The listening socket: bound with a deep backlog, accepting until told otherwise.
//!
//! Knows no connections; the limit on them is the engine's.
//!
//! Rule: nothing that accept can say is fatal. A connection that broke on the way is skipped; want
//! of descriptors or memory pauses, for edge-triggered readiness is not announced twice.

use super::warn_limit::WarnLimit;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};
use tracing::warn;

/// Connections that the kernel completes ahead of us. The 128 that std and mio use overflow when a
/// few hundred clients connect at once, and then each retransmitted SYN costs a second.
const BACKLOG: i32 = 4096;

/// Nobody announces that descriptors are free again, so we look.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    /// There may be connections to accept: set by an event, cleared by "would block".
    ready: bool,
    paused_until: Option<Instant>,
    warnings: WarnLimit,
}

/// What [`Listener::accept`] found.
#[derive(Debug)]
pub(super) enum Accepted {
    Connection(TcpStream, SocketAddr),
    /// None now; it will be tried again.
    Nothing,
    /// Out of descriptors or memory; it will be tried again later.
    Exhausted,
}

/// Opens the listening socket on the first address of `host` that works.
pub(crate) fn bind(host: &str, port: u16) -> io::Result<std::net::TcpListener> {
    let with_address = |cause: io::Error| {
        let text = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        io::Error::new(cause.kind(), format!("cannot listen on {text}: {cause}"))
    };
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs().map_err(with_address)? {
        match bind_address(address) {
            Ok(listener) => return Ok(listener),
            Err(cause) => failed = cause,
        }
    }
    Err(with_address(failed))
}

fn bind_address(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of the last run that are in TIME_WAIT do not keep the port from us.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Listener {
    pub(super) fn register(
        listener: std::net::TcpListener,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Listener> {
        let mut socket = TcpListener::from_std(listener);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Listener {
            socket,
            ready: false,
            paused_until: None,
            warnings: WarnLimit::default(),
        })
    }

    pub(super) fn set_ready(&mut self) {
        self.ready = true;
    }

    /// When to try again: now, at the end of a pause, or when an event says so.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.ready
            .then(|| self.paused_until.unwrap_or_else(Instant::now))
    }

    pub(super) fn accept(&mut self, now: Instant) -> Accepted {
        if !self.ready || self.paused_until.is_some_and(|until| now < until) {
            return Accepted::Nothing;
        }
        self.paused_until = None;
        loop {
            let cause = match self.socket.accept() {
                Ok((stream, peer)) => return Accepted::Connection(stream, peer),
                Err(cause) => cause,
            };
            match cause.kind() {
                io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    return Accepted::Nothing;
                }
                // The connection broke before it was ours (accept(2) lists more of its errors).
                io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::HostUnreachable => {}
                _ if is_protocol_error(&cause) => {}
                _ => {
                    self.paused_until = Some(now + PAUSE);
                    if self.warnings.allows(now) {
                        warn!(%cause, "accepting pauses; new connections wait in the backlog");
                    }
                    return Accepted::Exhausted;
                }
            }
        }
    }
}

/// EPROTO on Linux, which has no `ErrorKind`.
fn is_protocol_error(cause: &io::Error) -> bool {
    const EPROTO: i32 = 71;
    cfg!(target_os = "linux") && cause.raw_os_error() == Some(EPROTO)
}
