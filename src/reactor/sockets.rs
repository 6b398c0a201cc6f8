//! The sockets of all connections, with what the poll has said about each.
//!
//! Knows no requests and no limits: bytes go in and out.
//!
//! Rule: readiness is state. Edge-triggered events set it, "would block" clears it, and nothing
//! else is believed.

use crate::task::ConnectionId;
use mio::event::Event;
use mio::net::TcpStream;
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{self, ErrorKind};
use std::net::Shutdown;

/// A peer that has gone is an error, not a signal.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::empty();

/// By slot of the connection's id.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Option<Socket>>);

#[derive(Debug)]
pub(super) struct Socket {
    id: ConnectionId,
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// A short read says nothing here: the end of the stream has been announced, or urgent data, at
    /// whose mark a read stops although there is more (tcp(7)).
    short_reads_mislead: bool,
    /// The poll announced an error, which waits in the socket.
    failed: bool,
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    Bytes(usize),
    End,
    /// Nothing now.
    Blocked,
}

impl Sockets {
    pub(super) fn insert(&mut self, id: ConnectionId, stream: TcpStream) {
        if id.slot() >= self.0.len() {
            self.0.resize_with(id.slot() + 1, || None);
        }
        // A new socket takes the first bytes of output; what there is to read is announced.
        let socket = Socket {
            id,
            stream,
            readable: false,
            writable: true,
            short_reads_mislead: false,
            failed: false,
        };
        let before = self.0[id.slot()].replace(socket);
        debug_assert!(before.is_none(), "a slot is free before it is used again");
    }

    /// The socket of exactly this connection: not that of a later one in the same slot.
    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        self.0
            .get_mut(id.slot())?
            .as_mut()
            .filter(|socket| socket.id == id)
    }

    /// Closes the socket.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        if self.get(id).is_some() {
            self.0[id.slot()] = None;
        }
    }
}

impl Socket {
    /// Takes note of what the poll says.
    pub(super) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed();
        self.writable |= event.is_writable();
        self.short_reads_mislead |= event.is_read_closed() || event.is_priority();
        self.failed |= event.is_error();
    }

    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    /// There may be something to read, whatever the poll has said.
    pub(super) fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Bytes that have come and have not been read; none where the system does not tell.
    pub(super) fn unread_bytes(&self) -> usize {
        ioctl_fionread(&self.stream).map_or(0, |bytes| bytes as usize)
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Fails when the poll announced an error: also when the engine does not want to read now, for
    /// the requests of a connection that was reset need not be run.
    pub(super) fn check(&self) -> io::Result<()> {
        if !self.failed {
            return Ok(());
        }
        Err(self
            .stream
            .take_error()?
            .unwrap_or_else(|| ErrorKind::ConnectionReset.into()))
    }

    // The system calls themselves: those of a libc are points at which a thread may be cancelled, and in a
    // program of several threads they pay for that. On epoll and kqueue mio has no part in them; where it polls
    // with poll(2), it would have to be told of "would block" (`TcpStream::try_io`).

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
        loop {
            match recv(&self.stream, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => {
                    self.readable = false;
                    return Ok(ReadOutcome::End);
                }
                Ok((count, _)) => {
                    // A short read has emptied the socket: what comes next is a new edge (epoll(7),
                    // question 9), so the read that would only say so is saved.
                    self.readable = count == buffer.len() || self.short_reads_mislead;
                    return Ok(ReadOutcome::Bytes(count));
                }
                Err(Errno::WOULDBLOCK) => {
                    self.readable = false;
                    return Ok(ReadOutcome::Blocked);
                }
                Err(Errno::INTR) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }

    /// Writes what the socket takes of `bytes`; nothing while it is known to be full.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.writable {
            match send(&self.stream, bytes, SEND_FLAGS) {
                Ok(count) => return Ok(count),
                Err(Errno::WOULDBLOCK) => self.writable = false,
                Err(Errno::INTR) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        Ok(0)
    }

    pub(super) fn shut_down_writing(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}
