//! What an embedder implements who needs more than the bytes of a request.
//!
//! Knows the handler, which is the easy way, and what workers can ask about a connection.
//!
//! Rule: what a worker owns never leaves its thread.

use crate::address::Peer;
use crate::connections::Connections;
use crate::handler::{Handler, Response};
use crate::task::ConnectionId;
use std::error::Error;
use std::time::{Duration, Instant};

/// One request, as [`Service::handle`] sees it. Whatever is not asked for costs nothing.
#[derive(Debug)]
pub struct Request<'a> {
    bytes: &'a [u8],
    connection: ConnectionId,
    framed_at: Instant,
    connections: &'a Connections,
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        bytes: &'a [u8],
        connection: ConnectionId,
        framed_at: Instant,
        connections: &'a Connections,
    ) -> Request<'a> {
        Request {
            bytes,
            connection,
            framed_at,
            connections,
        }
    }

    /// What the codec calls the payload, such as a line without its ending.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The connection that it came from. No id is ever used twice.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Its client; none once the connection has gone.
    pub fn peer(&self) -> Option<Peer> {
        self.connections.peer(self.connection)
    }

    /// How long ago it was read.
    pub fn age(&self) -> Duration {
        self.framed_at.elapsed()
    }

    /// Whether nobody waits for the response any more: the connection was reset, or closed for
    /// want of progress, or the server has given up waiting at its stop. Long work asks now and
    /// then, and ends early; what it then responds is dropped. A client that has only shut its
    /// sending side still waits.
    pub fn is_gone(&self) -> bool {
        self.connections.is_gone(self.connection)
    }
}

/// Answers requests, with a state of its own for each worker. Every [`Handler`] is one.
///
/// ```
/// use reactor_pool::{ConnectionId, Request, Response, Service};
/// use std::cell::Cell;
/// use std::error::Error;
///
/// /// Counts what each worker has answered, without a lock.
/// struct Count;
///
/// impl Service for Count {
///     type Worker = Cell<u64>;
///
///     fn start(&self, _worker: usize) -> Result<Cell<u64>, Box<dyn Error + Send + Sync>> {
///         Ok(Cell::new(0))
///     }
///
///     fn handle(&self, count: &mut Cell<u64>, _: &Request<'_>, response: &mut Response<'_>) {
///         count.set(count.get() + 1);
///         response.push(format!("OK {}", count.get()).as_bytes());
///     }
/// }
/// ```
pub trait Service: Send + Sync + 'static {
    /// What one worker owns, such as a database connection or a buffer. It is made, used and
    /// dropped in the worker's thread, so it need be neither `Send` nor `Sync`.
    type Worker: 'static;

    /// Makes what the worker of that number owns, from 0. Called in its thread before
    /// [`Builder::serve`](crate::Builder::serve) returns, and again after a panic in
    /// [`Service::handle`], before the next request.
    ///
    /// # Errors
    /// Whatever keeps the worker from starting: `serve` fails with it. After a panic, requests
    /// are answered with an internal error until a start succeeds.
    fn start(&self, worker: usize) -> Result<Self::Worker, Box<dyn Error + Send + Sync>>;

    /// Answers one request, as [`Handler::handle`] does.
    fn handle(&self, worker: &mut Self::Worker, request: &Request<'_>, response: &mut Response<'_>);

    /// Whether a request is quick: see [`Handler::is_quick`].
    fn is_quick(&self, request: &[u8]) -> bool {
        let _ = request;
        false
    }

    /// A connection was accepted; `false` closes it without a word. Called by the event loop,
    /// which waits for it: take a decision, and return. A panic counts as `false`.
    fn opened(&self, connection: ConnectionId, peer: Peer) -> bool {
        let _ = (connection, peer);
        true
    }

    /// A connection that was opened has gone; requests of it may still run. Called by the event
    /// loop.
    fn closed(&self, connection: ConnectionId) {
        let _ = connection;
    }
}

impl<H: Handler> Service for H {
    type Worker = ();

    fn start(&self, _worker: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn handle(&self, (): &mut (), request: &Request<'_>, response: &mut Response<'_>) {
        Handler::handle(self, request.bytes(), response);
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        Handler::is_quick(self, request)
    }
}
