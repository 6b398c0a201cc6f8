//! The sockets of all connections, with what the poll has said about each.
//!
//! Knows no requests and no limits: bytes go in and out.
//!
//! Rule: readiness is state. Edges set it, "would block" clears it, and nothing else is believed.

use crate::net::{Net, Readiness};
use crate::task::ConnectionId;
use std::io::{self, ErrorKind};

/// By slot of the connection's id.
#[derive(Debug)]
pub(super) struct Sockets<S>(Vec<Option<Socket<S>>>);

#[derive(Debug)]
pub(super) struct Socket<S> {
    id: ConnectionId,
    stream: S,
    is_readable: bool,
    is_writable: bool,
    /// [`Net::short_reads_mislead`], or [`Readiness::short_reads_mislead`] since.
    short_reads_mislead: bool,
    has_failed: bool,
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    Bytes(usize),
    End,
    /// Nothing now.
    Blocked,
}

impl<S> Sockets<S> {
    pub(super) fn new() -> Sockets<S> {
        Sockets(Vec::new())
    }

    pub(super) fn insert(&mut self, id: ConnectionId, stream: S, short_reads_mislead: bool) {
        if id.slot() >= self.0.len() {
            self.0.resize_with(id.slot() + 1, || None);
        }
        // A new socket takes the first bytes of output; what there is to read is announced.
        let socket = Socket {
            id,
            stream,
            is_readable: false,
            is_writable: true,
            short_reads_mislead,
            has_failed: false,
        };
        let before = self.0[id.slot()].replace(socket);
        debug_assert!(before.is_none(), "a slot is free before it is used again");
    }

    /// The socket of exactly this connection: not that of a later one in the same slot.
    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Socket<S>> {
        self.0
            .get_mut(id.slot())?
            .as_mut()
            .filter(|socket| socket.id == id)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<S> {
        self.get(id)?;
        self.0[id.slot()].take().map(|socket| socket.stream)
    }
}

impl<S> Socket<S> {
    /// Takes note of what the poll says.
    pub(super) fn note(&mut self, readiness: Readiness) {
        self.is_readable |= readiness.readable;
        self.is_writable |= readiness.writable;
        self.short_reads_mislead |= readiness.short_reads_mislead;
        self.has_failed |= readiness.failed;
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) fn is_readable(&self) -> bool {
        self.is_readable
    }

    /// There may be something to read, whatever the poll has said.
    pub(super) fn set_readable(&mut self) {
        self.is_readable = true;
    }

    /// There may be room to write, whatever the poll has said.
    pub(super) fn set_writable(&mut self) {
        self.is_writable = true;
    }

    /// Fails when the poll announced an error: also when the engine does not want to read now, for
    /// the requests of a connection that was reset need not be run.
    pub(super) fn check(&mut self, net: &mut impl Net<Stream = S>) -> io::Result<()> {
        match self.has_failed {
            false => Ok(()),
            true => Err(net.take_error(&mut self.stream)),
        }
    }

    pub(super) fn read(
        &mut self,
        net: &mut impl Net<Stream = S>,
        buffer: &mut [u8],
    ) -> io::Result<ReadOutcome> {
        loop {
            match net.receive(&mut self.stream, buffer) {
                Ok(0) => {
                    self.is_readable = false;
                    return Ok(ReadOutcome::End);
                }
                Ok(count) => {
                    // A short read has emptied the socket: what comes next is a new edge
                    // (epoll(7), question 9), so the read that would only say so is saved.
                    self.is_readable = count == buffer.len() || self.short_reads_mislead;
                    return Ok(ReadOutcome::Bytes(count));
                }
                Err(cause) => match cause.kind() {
                    ErrorKind::WouldBlock => {
                        self.is_readable = false;
                        return Ok(ReadOutcome::Blocked);
                    }
                    ErrorKind::Interrupted => {}
                    _ => return Err(cause),
                },
            }
        }
    }

    pub(super) fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// Writes what the socket takes of `bytes`; nothing while it is known to be full. `is_last` as
    /// for [`Net::send`].
    pub(super) fn write(
        &mut self,
        net: &mut impl Net<Stream = S>,
        bytes: &[u8],
        is_last: bool,
    ) -> io::Result<usize> {
        while self.is_writable {
            match net.send(&mut self.stream, bytes, is_last) {
                Ok(count) => return Ok(count),
                Err(cause) => match cause.kind() {
                    ErrorKind::WouldBlock => self.is_writable = false,
                    ErrorKind::Interrupted => {}
                    _ => return Err(cause),
                },
            }
        }
        Ok(0)
    }

    pub(super) fn shut(&mut self, net: &mut impl Net<Stream = S>) -> io::Result<()> {
        net.shut(&mut self.stream)
    }
}
