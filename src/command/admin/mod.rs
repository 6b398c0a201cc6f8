//! The admin interface: HTTP that tells how the server does, whatever that is doing.
//!
//! Knows the server as a [`Monitor`], and what was set; nothing of its clients' requests.
//!
//! Rule: it is a second, tiny server of this library, with a loop, a worker and limits of its own.
//! So whoever asks takes nothing from the clients of the first one, and changes nothing.

mod asker;
mod health;
mod json;
mod metrics;
mod page;
mod pages;

use crate::cli::Setting;
use crate::log::Log;
use pages::Pages;
use reactor_pool::codec::Http1;
use reactor_pool::config::WorstCase;
use reactor_pool::{Address, Builder, Config, Monitor, Server, Stopper};
use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::{dispatcher, error, error_span};
use tracing_appender::non_blocking::ErrorCounter;

/// The longest body of a request, which nobody reads.
const MAX_BODY: usize = 4096;

/// What the admin interface may use: enough for probes, a Prometheus and some browsers.
///
/// One worker answers them all: none waits for another one, but for a loop that does not answer
/// ([`asker`]).
pub(crate) fn config() -> Config {
    Config::default()
        .workers(1)
        .worker_name("admin-worker".to_owned())
        .worker_stack(512 << 10)
        .queue(64)
        .busy_timeout(Duration::from_secs(5))
        // No answer is longer, so that the worst case is one: /workers of 1024 workers.
        .max_line(256 << 10)
        .max_inflight(4)
        .max_connections(64)
        .max_buffered(4 << 20)
        .idle_timeout(Duration::from_secs(30))
        // The program waits for it.
        .drain_timeout(Duration::from_millis(100))
        .socket_buffer(64 << 10)
}

/// The most memory that a server with an admin interface can come to need.
pub(crate) fn worst_case_beside(mut main: WorstCase) -> WorstCase {
    let admin = config().worst_case_memory();
    main.connections += admin.connections;
    main.pool += admin.pool;
    main.kernel += admin.kernel;
    main
}

/// What it tells of, beside what the monitor says.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) monitor: Monitor,
    pub(crate) config: Config,
    pub(crate) settings: Vec<Setting>,
    pub(crate) worst_case: WorstCase,
    /// The age of a running request from which on the server does not count as ready; zero for
    /// none.
    pub(crate) stuck_after: Duration,
    pub(crate) dropped_log_lines: ErrorCounter,
    /// When the server was started.
    pub(crate) started_at: Instant,
}

/// An admin interface that runs. Dropped, it ends, and answers before that what it has read.
#[derive(Debug)]
pub(crate) struct Admin {
    addresses: Vec<Address>,
    stopper: Stopper,
    /// None once it has ended.
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Starts it where `builder`, which has its [`config`], listens.
    pub(crate) fn start(builder: Builder, facts: Facts, log: &Log) -> io::Result<Admin> {
        let log = log.of_warnings();
        let pages = Pages::new(facts, log.clone());
        let server = builder.codec(Http1::new(MAX_BODY)).serve(pages)?;
        let (addresses, stopper) = (server.local_addrs().to_vec(), server.stopper());
        let run = move || dispatcher::with_default(&log, || run(server));
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(run);
        let cannot =
            |cause| io::Error::new(cause, format!("cannot start the admin interface: {cause}"));
        Ok(Admin {
            addresses,
            stopper,
            thread: Some(thread.map_err(|error| cannot(error.kind()))?),
        })
    }

    /// Where it listens; at least one address.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // A panic has been told of, and the server has ended anyway.
            drop(thread.join());
        }
    }
}

fn run(server: Server) {
    let _span = error_span!("admin").entered();
    // That something was abandoned at the end means a client that did not read.
    if let Err(error) = server.run() {
        error!(%error, "the admin interface has ended");
    }
}
