//! A server as a library: configuration and handler in, a running server out.
//!
//! Knows neither the command line nor the protocol's operations; it only joins the parts.
//!
//! Rule: the thread that calls [`Server::run`] is the reactor.

use crate::config::Config;
use crate::handler::{Handler, catch};
use crate::pool::{Pool, WorkQueue};
use crate::reactor::{Ending, Reactor, Stopper, bind};
use crate::stats::{QueueStats, Stats};
use crate::task::Task;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::{info, warn};

/// A bound server with its workers, ready to run.
///
/// ```
/// use reactor_pool::{Config, ResponseLine, Server};
/// use std::io::{BufRead, BufReader, Write};
///
/// let reverse = |request: &[u8], response: &mut ResponseLine<'_>| {
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
    reactor: Reactor,
    pool: Pool,
    queue: Arc<WorkQueue<Task>>,
    address: SocketAddr,
    workers: usize,
    queue_slots: usize,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What a server did in its life.
#[derive(Debug, Clone)]
pub struct Summary {
    /// How it ended.
    pub ending: Ending,
    /// Its counters and times.
    pub stats: Stats,
    /// What the work queue has been through.
    pub queue: QueueStats,
}

impl Server {
    /// Listens on `host` and `port` (0 takes a free one) and starts the workers.
    ///
    /// # Errors
    /// A number of `config` out of range, an address that cannot be listened on (the message names
    /// it), or want of threads or descriptors.
    pub fn bind<H: Handler>(
        host: &str,
        port: u16,
        config: Config,
        handler: H,
    ) -> io::Result<Server> {
        config
            .check()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = bind(host, port)?;
        let address = listener.local_addr()?;
        let queue = Arc::new(WorkQueue::new(config.queue, config.queue_order));
        let handler = Arc::new(handler);
        let is_quick = {
            let handler = Arc::clone(&handler);
            Box::new(move |line: &[u8]| catch(|| handler.is_quick(line)).unwrap_or(false))
        };
        let reactor = Reactor::new(&config, is_quick, listener, Arc::clone(&queue))?;
        let (responses, loop_core) = (reactor.responses(), reactor.loop_core());
        let pool = Pool::start(config.workers, &handler, &queue, responses, loop_core)?;
        if !address.ip().is_loopback() {
            warn!(addr = %address, "reachable from other hosts, without encryption or passwords");
        }
        Ok(Server {
            reactor,
            pool,
            queue,
            address,
            workers: config.workers,
            queue_slots: config.queue,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle that stops the server from another thread.
    pub fn stopper(&self) -> Stopper {
        self.reactor.stopper()
    }

    /// Makes SIGTERM and SIGINT stop this server, a second one of them end it at once, and SIGUSR1
    /// write its counters to the log. For programs whose only business is this server; others call [`Stopper::stop`].
    ///
    /// # Errors
    /// When the signals cannot be taken over.
    pub fn stop_on_signals(&mut self) -> io::Result<()> {
        self.reactor.handle_signals()
    }

    /// Serves until it is stopped. Workers that still run a request when the drain timeout has
    /// passed are left behind, and what is still queued then is not run.
    ///
    /// # Errors
    /// When polling fails, which is no matter of any single connection.
    pub fn run(mut self) -> io::Result<Summary> {
        let (workers, queue) = (self.workers, self.queue_slots);
        info!(addr = %self.address, workers, queue, "listening");
        let ending = self.reactor.run()?;
        let stats = self.reactor.engine().stats().clone();
        if ending == Ending::Drained && stats.submitted.now == 0 {
            self.pool.join();
        } else {
            self.pool.abandon();
        }
        self.reactor.log_stats();
        let queue = self.queue.stats();
        Ok(Summary {
            ending,
            stats,
            queue,
        })
    }
}
