//! Where a server listens, and who is at the other end of a connection.
//!
//! Knows no sockets.
//!
//! Rule: what is shown of an address is one line, whatever is in it.

use std::fmt::{self, Write as _};
use std::io;
use std::iter;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// Where a server listens.
///
/// It displays as `127.0.0.1:9000` or as the path. For what takes [`ToSocketAddrs`], such as
/// [`TcpStream::connect`](std::net::TcpStream::connect), a path is an error.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// The file of a unix socket; none if a listener without one was given.
    Unix(Option<PathBuf>),
}

impl Address {
    /// The address and port, if it is one of TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The socket's file, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Tcp(_) => None,
            Address::Unix(path) => path.as_deref(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(Some(path)) => write_path(path, f),
            Address::Unix(None) => f.write_str("a unix socket without a path"),
        }
    }
}

/// A path may hold a line feed, or what a terminal takes for a command.
fn write_path(path: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for letter in path.to_string_lossy().chars() {
        match letter.is_control() {
            true => write!(f, "{}", letter.escape_default())?,
            false => f.write_char(letter)?,
        }
    }
    Ok(())
}

impl ToSocketAddrs for Address {
    type Iter = iter::Once<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<iter::Once<SocketAddr>> {
        let address = self.tcp().map(iter::once);
        address.ok_or_else(|| {
            let error = format!("not an address of TCP: {self}");
            io::Error::new(io::ErrorKind::InvalidInput, error)
        })
    }
}

/// Who is at the other end of a connection. It displays as `192.0.2.1:4711` or `unix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// A client's address and port.
    Tcp(SocketAddr),
    /// A process of this machine, over a unix socket.
    Unix,
}

impl Peer {
    /// The client's address; none over a unix socket.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_peers_are_shown_in_one_line() {
        let tcp = SocketAddr::from(([192, 0, 2, 1], 9000));
        for (shown, expected) in [
            (Address::Tcp(tcp).to_string(), "192.0.2.1:9000"),
            (
                Address::Unix(Some("/run/it's.sock".into())).to_string(),
                "/run/it's.sock",
            ),
            (
                Address::Unix(Some("a\n\x1b[2J".into())).to_string(),
                "a\\n\\u{1b}[2J",
            ),
            (
                Address::Unix(None).to_string(),
                "a unix socket without a path",
            ),
            (Peer::Tcp(tcp).to_string(), "192.0.2.1:9000"),
            (Peer::Unix.to_string(), "unix"),
        ] {
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn only_an_address_of_tcp_can_be_connected_to_over_tcp() {
        let tcp = SocketAddr::from(([192, 0, 2, 1], 9000));
        let addresses = Address::Tcp(tcp).to_socket_addrs();
        assert!(addresses.is_ok_and(|mut all| all.next() == Some(tcp)));
        let path = Address::Unix(Some("/run/x.sock".into()));
        let error = path.to_socket_addrs().expect_err("a path");
        assert!(error.to_string().contains("/run/x.sock"), "{error}");
    }
}
