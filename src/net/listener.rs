//! Listening sockets: bound to each address that is asked for, with a deep backlog.
//!
//! Knows no connections; the limit on them is the engine's.
//!
//! Rule: an address in use is an error, and a connection that broke before it was accepted is
//! none.

use super::cannot;
use super::socket_file::{self, SocketFile};
use super::stream::Stream;
use crate::address::{Address, Peer};
use crate::config::Config;
use crate::log::{debug, warn};
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::sockopt::set_socket_reuseport;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;

/// Connections that the kernel completes ahead of us. The 128 that std and mio use overflow when a
/// few hundred clients connect at once, and then each retransmitted SYN costs a second.
pub(crate) const BACKLOG: i32 = 4096;

/// How often a free port is looked for that all addresses of a name have.
const PORT_TRIES: usize = 20;

/// A socket that listens already, for [`Builder::listener`](crate::Builder::listener).
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// Of TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

impl From<std::net::TcpListener> for Listener {
    fn from(listener: std::net::TcpListener) -> Listener {
        Listener::Tcp(listener)
    }
}

impl From<std::os::unix::net::UnixListener> for Listener {
    fn from(listener: std::os::unix::net::UnixListener) -> Listener {
        Listener::Unix(listener)
    }
}

/// A socket at which a server is going to accept.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: BoundSocket,
    address: Address,
    /// Somebody else keeps it open when this server has ended.
    is_shared: bool,
}

#[derive(Debug)]
enum BoundSocket {
    /// It has its address and does not listen yet: nobody can connect.
    Silent(Socket),
    Listening(Option<SocketFile>, Listener),
}

impl Bound {
    /// Takes all of `addresses`; those with port 0 get the same one. Those that this machine does
    /// not have are skipped, with a warning, if there is another one.
    pub(crate) fn tcp(addresses: &[SocketAddr], config: &Config) -> io::Result<Vec<Bound>> {
        let takes_free_port = addresses.iter().any(|address| address.port() == 0);
        let mut tries = PORT_TRIES;
        loop {
            tries -= 1;
            match bind_all(addresses, config) {
                // A free port of the first address may be in use at the next.
                Err(cause)
                    if takes_free_port && tries > 0 && cause.kind() == io::ErrorKind::AddrInUse => {
                }
                other => return other,
            }
        }
    }

    /// Listens at `path`, where nobody else does.
    pub(crate) fn unix(path: &Path) -> io::Result<Bound> {
        let address = Address::Unix(Some(path.to_owned()));
        match socket_file::listen(path) {
            Ok((file, listener)) => Ok(Bound {
                socket: BoundSocket::Listening(Some(file), Listener::Unix(listener)),
                address,
                is_shared: false,
            }),
            Err(cause) => Err(cannot_listen(&address, cause)),
        }
    }

    /// Takes over what somebody else has made.
    pub(crate) fn given(listener: Listener) -> io::Result<Bound> {
        let (fd, address) = match &listener {
            Listener::Tcp(listener) => (listener.as_fd(), Address::Tcp(listener.local_addr()?)),
            Listener::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().map(Path::to_owned);
                (listener.as_fd(), Address::Unix(path))
            }
        };
        // Apple's systems do not tell.
        #[cfg(not(target_vendor = "apple"))]
        if !rustix::net::sockopt::socket_acceptconn(fd)? {
            let error = "the socket does not listen";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        ioctl_fionbio(fd, true)?;
        Ok(Bound {
            socket: BoundSocket::Listening(None, listener),
            address,
            is_shared: false,
        })
    }

    /// It stays open when this server has ended.
    pub(crate) fn shared(self) -> Bound {
        Bound {
            is_shared: true,
            ..self
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// From here on clients can connect. Connections of unix sockets get buffers of that size;
    /// those of TCP have the sizes of their listener.
    pub(super) fn listen(
        self,
        registry: &Registry,
        token: Token,
        buffer_bytes: usize,
    ) -> io::Result<Accepting> {
        let Bound {
            socket, address, ..
        } = self;
        let listener = match socket {
            BoundSocket::Silent(socket) => socket
                .listen(BACKLOG)
                .map(|()| Accepting::tcp(socket.into())),
            BoundSocket::Listening(_, Listener::Tcp(listener)) => Ok(Accepting::tcp(listener)),
            BoundSocket::Listening(file, Listener::Unix(listener)) => Ok(Accepting::Unix {
                _file: file,
                listener: UnixListener::from_std(listener),
                buffer_bytes,
            }),
        };
        let listener = listener.and_then(|mut listener| {
            registry.register(listener.source(), token, Interest::READABLE)?;
            Ok(listener)
        });
        listener.map_err(|cause| cannot_listen(&address, cause))
    }
}

fn bind_all(addresses: &[SocketAddr], config: &Config) -> io::Result<Vec<Bound>> {
    let (mut bound, mut absent) = (Vec::<Bound>::new(), Vec::new());
    let mut free_port = 0;
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].contains(address) {
            continue;
        }
        let mut asked = *address;
        if asked.port() == 0 {
            asked.set_port(free_port);
        }
        match bind_address(asked, addresses.len() > 1, config) {
            Ok(socket) => {
                let got = socket.local_addr()?.as_socket().unwrap_or(asked);
                if address.port() == 0 {
                    free_port = got.port();
                }
                if bound.is_empty() {
                    warn_of_small_buffers(&socket, config.socket_buffer);
                }
                bound.push(Bound {
                    socket: BoundSocket::Silent(socket),
                    address: Address::Tcp(got),
                    is_shared: false,
                });
            }
            Err(cause) if is_absent(&cause) => absent.push((asked, cause)),
            Err(cause) => return Err(cannot_listen(&Address::Tcp(asked), cause)),
        }
    }
    match (bound.is_empty(), absent.into_iter()) {
        (true, mut absent) => Err(match absent.next() {
            Some((address, cause)) => cannot_listen(&Address::Tcp(address), cause),
            None => io::Error::new(
                io::ErrorKind::NotFound,
                "cannot listen: the host has no address",
            ),
        }),
        (false, absent) => {
            for (address, cause) in absent {
                warn!(addr = %address, %cause, "this address of the name is left out");
            }
            Ok(bound)
        }
    }
}

fn cannot_listen(address: &Address, cause: io::Error) -> io::Error {
    cannot(&format!("listen on {address}"))(cause)
}

/// The kernel caps what it is asked for, silently.
fn warn_of_small_buffers(socket: &Socket, asked: usize) {
    for (size, limit) in [
        (socket.send_buffer_size(), "net.core.wmem_max"),
        (socket.recv_buffer_size(), "net.core.rmem_max"),
    ] {
        let is_linux = cfg!(any(target_os = "linux", target_os = "android"));
        let granted = size.ok().map(|size| match is_linux {
            // It reports twice what it was asked for (socket(7)).
            true => size / 2,
            false => size,
        });
        if let Some(granted) = granted.filter(|granted| *granted < asked) {
            warn!(
                asked,
                granted, limit, "the kernel allows smaller socket buffers than asked for"
            );
        }
    }
}

/// The machine has no such address, or no such protocol.
fn is_absent(cause: &io::Error) -> bool {
    let errno = Errno::from_io_error(cause);
    matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

fn bind_address(
    address: SocketAddr,
    is_one_of_several: bool,
    config: &Config,
) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if is_one_of_several && address.is_ipv6() {
        // The IPv4 addresses have sockets of their own.
        socket.set_only_v6(true)?;
    }
    // Connections of the last run that are in TIME_WAIT do not keep the port from us.
    socket.set_reuse_address(true)?;
    if config.reuse_port {
        set_socket_reuseport(&socket, true)?;
    }
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit them; set later, the window of the first ones would be another.
    socket.set_send_buffer_size(config.socket_buffer)?;
    socket.set_recv_buffer_size(config.socket_buffer)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A socket at which connections are accepted.
#[derive(Debug)]
pub(super) enum Accepting {
    Tcp(TcpListener),
    Unix {
        // It goes first, see `SocketFile`.
        _file: Option<SocketFile>,
        listener: UnixListener,
        buffer_bytes: usize,
    },
}

impl Accepting {
    fn tcp(listener: std::net::TcpListener) -> Accepting {
        Accepting::Tcp(TcpListener::from_std(listener))
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Accepting::Tcp(listener) => listener,
            Accepting::Unix { listener, .. } => listener,
        }
    }

    /// The next connection; none once accept would block.
    pub(super) fn accept(&self) -> io::Result<Option<(Stream, Peer)>> {
        match self {
            Accepting::Tcp(listener) => {
                let accepted = accept_one(|| listener.accept())?;
                Ok(accepted.map(|(stream, peer)| (Stream::Tcp(stream), Peer::Tcp(peer))))
            }
            Accepting::Unix {
                listener,
                buffer_bytes,
                ..
            } => {
                let Some((stream, _)) = accept_one(|| listener.accept())? else {
                    return Ok(None);
                };
                if let Err(cause) = SockRef::from(&stream).set_send_buffer_size(*buffer_bytes) {
                    debug!(%cause, "the size of a buffer is not set");
                }
                Ok(Some((Stream::Unix(stream), Peer::Unix)))
            }
        }
    }
}

/// What broke before it was ours is passed over: others may stand behind it, and nobody announces
/// them again. accept(2) lists these errors.
fn accept_one<T>(mut accept: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match accept() {
            Ok(connection) => return Ok(Some(connection)),
            Err(cause) => match cause.kind() {
                io::ErrorKind::WouldBlock => return Ok(None),
                io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::HostUnreachable => {}
                _ if Errno::from_io_error(&cause) == Some(Errno::PROTO) => {}
                _ => return Err(cause),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// What comes of accepts that fare one after the other as `outcomes` say.
    fn accepts(outcomes: Vec<Result<u8, io::Error>>) -> (io::Result<Option<u8>>, usize) {
        let mut outcomes = VecDeque::from(outcomes);
        let accepted = accept_one(|| outcomes.pop_front().expect("no further accept"));
        (accepted, outcomes.len())
    }

    #[test]
    fn a_connection_that_broke_on_the_way_does_not_hide_those_behind_it() {
        let broken = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::Interrupted,
            io::ErrorKind::NetworkDown,
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::HostUnreachable,
        ];
        for kind in broken {
            let (accepted, _) = accepts(vec![Err(kind.into()), Err(kind.into()), Ok(7)]);
            let accepted = accepted.expect("no error of ours");
            assert_eq!(accepted, Some(7), "{kind:?}");
        }
    }

    #[test]
    fn accepting_ends_when_it_would_block_or_the_system_has_no_more() {
        let blocked = io::Error::from(io::ErrorKind::WouldBlock);
        let (accepted, left) = accepts(vec![Err(blocked), Ok(7)]);
        assert_eq!((accepted.expect("no error"), left), (None, 1));
        let (accepted, left) = accepts(vec![Err(io::Error::from(Errno::MFILE)), Ok(7)]);
        assert!(accepted.is_err() && left == 1);
    }

    /// All of them are this machine's, as those of a name with two addresses may be.
    fn two_addresses(port: u16) -> [SocketAddr; 2] {
        [([127, 0, 0, 1], port).into(), ([127, 0, 0, 2], port).into()]
    }

    #[test]
    fn addresses_that_ask_for_a_free_port_get_the_same_one() {
        let bound = Bound::tcp(&two_addresses(0), &Config::default()).expect("a free port");
        let addresses: Vec<_> = bound
            .iter()
            .filter_map(|bound| bound.address().tcp())
            .collect();
        assert_eq!(addresses, two_addresses(addresses[0].port()));
        assert_ne!(addresses[0].port(), 0);
    }

    #[test]
    fn an_address_has_its_own_port_where_it_names_one_and_is_bound_once() {
        let free = || Bound::tcp(&two_addresses(0)[..1], &Config::default()).expect("a free port");
        let ports = [free(), free()].map(|bound| bound[0].address().tcp().expect("TCP").port());
        let [first, second] = two_addresses(0);
        let asked = [
            SocketAddr::new(first.ip(), ports[0]),
            SocketAddr::new(second.ip(), ports[1]),
            SocketAddr::new(first.ip(), ports[0]),
        ];
        let bound = Bound::tcp(&asked, &Config::default()).expect("they were free just now");
        let addresses: Vec<_> = bound
            .iter()
            .filter_map(|bound| bound.address().tcp())
            .collect();
        assert_eq!(addresses, asked[..2]);
    }

    #[test]
    fn one_address_that_is_in_use_is_an_error_that_names_it() {
        let bind = |address| std::net::TcpListener::bind(address);
        // Another process may have that port at the first address.
        let held = std::iter::repeat_with(|| {
            let holder = bind(SocketAddr::from(([127, 0, 0, 2], 0))).expect("a free port");
            let port = holder.local_addr().expect("it is bound").port();
            (holder, port)
        });
        let mut held = held.filter(|(_, port)| bind(([127, 0, 0, 1], *port).into()).is_ok());
        let (_holder, port) = held.next().expect("there is always one more");
        let error = Bound::tcp(&two_addresses(port), &Config::default()).expect_err("it is in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.contains(&format!("127.0.0.2:{port}: ")), "{text}");
    }

    #[test]
    fn an_address_that_the_machine_does_not_have_is_left_out_if_there_is_another() {
        // RFC 5737: an address for documentation, which no machine has.
        let absent: SocketAddr = ([192, 0, 2, 1], 0).into();
        let present: SocketAddr = ([127, 0, 0, 1], 0).into();
        let bound = Bound::tcp(&[absent, present], &Config::default()).expect("one is there");
        assert_eq!(bound.len(), 1);
        let error = Bound::tcp(&[absent], &Config::default()).expect_err("none is there");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        let error = Bound::tcp(&[], &Config::default()).expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
