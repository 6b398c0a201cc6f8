//! A server as a library: bound, running, stopped.
//!
//! Knows neither the command line nor the protocol's operations; it only joins the parts.
//!
//! Rule: the thread that calls [`Server::run`] is the reactor.

mod builder;

use crate::address::{Address, Peer};
use crate::codec::Codec;
use crate::config::Config;
use crate::connections::Connections;
use crate::log::{debug, error};
use crate::net::MioNet;
use crate::panics::catch;
use crate::pool::{Pool, WorkQueue};
use crate::reactor::{Monitor, Reactor, Sessions, StopReason, Stopper};
use crate::service::Service;
use crate::stats::{QueueStats, Stats};
use crate::task::{ConnectionId, Task};
pub use builder::Builder;
use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Instant;
use tracing::{Level, enabled};

/// A bound server with its workers, ready to run.
///
/// ```
/// use reactor_pool::{Config, Response, Server};
/// use std::io::{BufRead, BufReader, Write};
///
/// let reverse = |request: &[u8], response: &mut Response<'_>| {
///     response.push(b"OK ");
///     request.iter().rev().for_each(|byte| response.push(&[*byte]));
/// };
/// let server = Server::bind("127.0.0.1:0", Config::default(), reverse)?;
/// let (address, stopper) = (server.local_addr(), server.stopper());
/// let running = std::thread::spawn(move || server.run());
///
/// let mut client = std::net::TcpStream::connect(address)?;
/// client.write_all(b"stressed\n")?;
/// let mut line = String::new();
/// BufReader::new(&client).read_line(&mut line)?;
/// assert_eq!(line, "OK desserts\n");
///
/// drop(client);
/// stopper.stop();
/// let summary = running.join().expect("the reactor does not panic")?;
/// assert_eq!(summary.stats.answered_ok, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Server {
    /// [`Run::until_stopped`], which knows the codec.
    run: Box<dyn FnOnce() -> io::Result<Summary> + Send>,
    /// At least one.
    addresses: Vec<Address>,
    stopper: Stopper,
    monitor: Monitor,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Tells a service, and the workers, of connections.
struct ServiceSessions<S> {
    service: Arc<S>,
    connections: Arc<Connections>,
}

impl<S: Service> Sessions for ServiceSessions<S> {
    fn opened(&self, id: ConnectionId, peer: Peer) -> bool {
        let is_welcome = catch(|| self.service.opened(id, peer));
        let is_welcome = is_welcome.unwrap_or_else(|panic| {
            error!(conn = %id, panic, "the service panicked at a connection");
            false
        });
        if is_welcome {
            self.connections.open(id, peer);
        }
        is_welcome
    }

    fn closed(&self, id: ConnectionId) {
        if self.connections.close(id)
            && let Err(panic) = catch(|| self.service.closed(id))
        {
            error!(conn = %id, panic, "the service panicked at the end of a connection");
        }
    }

    fn ended(&self) {
        self.connections.end();
    }

    fn peer(&self, id: ConnectionId) -> Option<Peer> {
        self.connections.peer(id)
    }
}

/// What a server did in its life.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// How it ended.
    pub stop_reason: StopReason,
    /// Its counters and times.
    pub stats: Stats,
    /// What the work queue has been through.
    pub queue: QueueStats,
}

impl Server {
    /// A server of lines: [`Server::builder`], [`Builder::listen`] and [`Builder::serve`] in one.
    ///
    /// # Errors
    /// As those three.
    pub fn bind<S: Service>(
        addresses: impl ToSocketAddrs,
        config: Config,
        service: S,
    ) -> io::Result<Server> {
        Server::builder(config)?.listen(addresses)?.serve(service)
    }

    /// Begins to set up a server with these limits. Signals, if `config` says so, are taken over
    /// from here on: whoever can connect can also stop it.
    ///
    /// # Errors
    /// A number of `config` out of range, or want of descriptors; the message says which.
    pub fn builder(config: Config) -> io::Result<Builder> {
        Builder::new(config)
    }

    /// Where it listens: the first address, if there are several.
    pub fn local_addr(&self) -> Address {
        self.addresses[0].clone()
    }

    /// All addresses on which it listens, in the order in which they were given.
    pub fn local_addrs(&self) -> &[Address] {
        &self.addresses
    }

    /// A handle that stops the server from another thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// A handle that asks the server for its numbers while it runs, from any thread.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Serves until it is stopped. Workers that still run a request when the drain timeout has
    /// passed are left behind, and what is still queued then is not run.
    ///
    /// # Errors
    /// When polling fails, which is no matter of any single connection, or a worker has died
    /// outside a handler, which is a bug of this crate.
    pub fn run(self) -> io::Result<Summary> {
        debug!(addr = %self.local_addr(), "serving");
        (self.run)()
    }
}

/// What runs: the event loop, and what it shares with the workers.
struct Run<C> {
    reactor: Reactor<MioNet, C>,
    pool: Pool,
    queue: Arc<WorkQueue<Task>>,
}

impl<C: Codec> Run<C> {
    fn until_stopped(mut self) -> io::Result<Summary> {
        let ended = self.reactor.run();
        let stats = self.reactor.engine().stats().clone();
        if matches!(ended, Ok(StopReason::Drained)) && !self.reactor.engine().has_submitted() {
            self.pool.join();
        } else {
            self.pool.abandon();
        }
        // Nobody has asked for this report: it comes at the level of this module.
        if enabled!(Level::INFO) {
            self.reactor.report(Instant::now());
        }
        let queue = self.queue.stats();
        Ok(Summary {
            stop_reason: ended?,
            stats,
            queue,
        })
    }
}
