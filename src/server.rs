//! A server as a library: configuration and handler in, a running server out.
//!
//! Knows neither the command line nor the protocol's operations; it only joins the parts.
//!
//! Rule: the thread that calls [`Server::run`] is the reactor.

use crate::codec::{Codec, Guarded, Lines};
use crate::config::Config;
use crate::connections::Connections;
use crate::log::{debug, error, warn};
use crate::net::{Bound, MioNet};
use crate::panics::catch;
use crate::pool::{Crew, Pool, ResponseQueue, WorkQueue};
use crate::reactor::{Protocol, Reactor, Sessions, StopReason, Stopper};
use crate::service::Service;
use crate::stats::{QueueStats, Stats};
use crate::task::{ConnectionId, Task};
use std::fmt;
use std::io;
use std::net::SocketAddr;
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
/// let server = Server::bind("127.0.0.1", 0, Config::default(), reverse)?;
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
    reactor: Reactor<MioNet>,
    pool: Pool,
    queue: Arc<WorkQueue<Task>>,
    /// At least one.
    addresses: Vec<SocketAddr>,
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
    fn opened(&self, id: ConnectionId, peer: SocketAddr) -> bool {
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
    /// Starts the workers, then listens on `port` (0 takes a free one) of every address that
    /// `host` has.
    ///
    /// Signals, if `config` says so, are taken over before that: whoever can connect can also stop
    /// it.
    ///
    /// # Errors
    /// A number of `config` out of range, an address that cannot be listened on (the message names
    /// it), or want of threads or descriptors (the message says for what). An address of a name
    /// that this machine does not have is only warned of, if there is another one.
    pub fn bind<S: Service>(
        host: &str,
        port: u16,
        config: Config,
        service: S,
    ) -> io::Result<Server> {
        let codec = Lines::new(config.max_line);
        Server::bind_with_codec(host, port, config, codec, service)
    }

    /// The same for another protocol than that of lines.
    ///
    /// [`Config::max_line`] bounds the payloads of the requests that a connection has in flight:
    /// twice as many bytes. So it should be the codec's own limit.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn bind_with_codec<S: Service>(
        host: &str,
        port: u16,
        config: Config,
        codec: impl Codec,
        service: S,
    ) -> io::Result<Server> {
        config
            .check()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let bound = Bound::bind(host, port, config.socket_buffer)?;
        let addresses = bound.addresses();
        let queue = Arc::new(WorkQueue::new(config.queue, config.queue_order));
        let (service, codec) = (Arc::new(service), Arc::new(codec) as Arc<dyn Codec>);
        let net = MioNet::new(config.stop_signals)?;
        let crew = Crew {
            service: Arc::clone(&service),
            codec: Guarded::new(Arc::clone(&codec)),
            queue: Arc::clone(&queue),
            completions: Arc::new(ResponseQueue::new(net.waker()?)),
            connections: Arc::default(),
        };
        let pool = Pool::start(config.workers, config.batch_workers, &crew)?;
        let sessions = ServiceSessions {
            service: Arc::clone(&service),
            connections: Arc::clone(&crew.connections),
        };
        let is_quick = move |request: &[u8]| catch(|| service.is_quick(request)).unwrap_or(false);
        let mut reactor = Reactor::new(
            &config,
            net,
            Protocol {
                codec,
                is_quick: Box::new(is_quick),
                sessions: Box::new(sessions),
            },
            Arc::clone(&queue),
            crew.completions,
        );
        let listeners = reactor.net_mut().listen(bound)?;
        reactor.start_accepting(listeners);
        for addr in addresses.iter().filter(|addr| !addr.ip().is_loopback()) {
            warn!(%addr, "reachable from other hosts, without encryption or passwords");
        }
        Ok(Server {
            reactor,
            pool,
            queue,
            addresses,
        })
    }

    /// Where it listens; the first address, if its host has several.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses on which it listens, at one port.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A handle that stops the server from another thread.
    pub fn stopper(&self) -> Stopper {
        self.reactor.stopper()
    }

    /// Serves until it is stopped. Workers that still run a request when the drain timeout has
    /// passed are left behind, and what is still queued then is not run.
    ///
    /// # Errors
    /// When polling fails, which is no matter of any single connection, or a worker has died
    /// outside a handler, which is a bug of this crate.
    pub fn run(mut self) -> io::Result<Summary> {
        debug!(addr = %self.local_addr(), "serving");
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
