//! The socket of one connection, of whatever kind.
//!
//! Knows no requests: bytes go in and out.
//!
//! Rule: nobody outside this folder knows of which kind a connection's socket is.
//!
//! What unix sockets do otherwise (unix(7)):
//!
//! | what | over TCP | over a unix socket |
//! |---|---|---|
//! | what was written | is here until acknowledged | is at the client at once |
//! | a close with input unread | a reset: what is unread is lost | read first, then the error |
//! | a short read | has emptied the socket | may end behind a passed descriptor |
//! | size of the sending buffer | the listener's | set for each connection |
//! | size of the receiving buffer | the listener's | that of the client's sending one |

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Whether a short read does not mean that the socket is empty: a read stops behind each
    /// descriptor that a client passes along, although there is more.
    pub(super) fn short_reads_mislead(&self) -> bool {
        match self {
            Stream::Tcp(_) => false,
            Stream::Unix(_) => true,
        }
    }

    /// A response goes out when it is there, not when the last one has been acknowledged; a peer
    /// that has vanished is found out in the end. Over a unix socket neither can be otherwise.
    pub(super) fn set_options(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                SockRef::from(stream).set_keepalive(true)
            }
            Stream::Unix(_) => Ok(()),
        }
    }

    pub(super) fn shut(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Stream::Tcp(stream) => stream.take_error(),
            Stream::Unix(stream) => stream.take_error(),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        }
    }
}

impl AsFd for Stream {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, what: Interest) -> io::Result<()> {
        self.source().register(registry, token, what)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, what: Interest) -> io::Result<()> {
        self.source().reregister(registry, token, what)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}
