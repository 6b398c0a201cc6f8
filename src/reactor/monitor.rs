//! What a server can be asked while it runs, and how the loop answers.
//!
//! Knows the numbers that the loop knows; no sockets and no connection.
//!
//! Rule: the loop itself answers. So an answer says that it runs, and its numbers belong together.

use crate::pool::{Inquiry, ResponseQueue};
use crate::stats::{QueueStats, Stats};
use crate::task::Completion;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Asks a server for its numbers while it runs, from any thread.
///
/// The event loop answers at its next tick. It is asked through the waker that ends its sleep, so
/// neither workers that are all busy nor a full queue keep it from answering.
///
/// ```
/// use reactor_pool::{Config, Response, Server, ServerState};
/// use std::time::Duration;
///
/// let echo = |request: &[u8], response: &mut Response<'_>| response.push(request);
/// let server = Server::bind("127.0.0.1:0", Config::default().workers(2), echo)?;
/// let (monitor, stopper) = (server.monitor(), server.stopper());
/// let running = std::thread::spawn(move || server.run());
///
/// let snapshot = monitor.snapshot(Duration::from_secs(10))?;
/// assert_eq!((snapshot.workers, snapshot.stats.connections.now), (2, 0));
///
/// stopper.stop();
/// running.join().expect("the reactor does not panic")?;
/// let snapshot = monitor.snapshot(Duration::ZERO)?;
/// assert_eq!(snapshot.state, ServerState::Ended);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Monitor {
    inquiry: Arc<Inquiry<Arc<Snapshot>>>,
    completions: Arc<ResponseQueue<Completion>>,
}

impl Monitor {
    /// A monitor of a loop with that many workers, and the end of it that the loop has.
    pub fn new(
        workers: usize,
        completions: &Arc<ResponseQueue<Completion>>,
    ) -> (Monitor, Monitored) {
        let inquiry = Arc::new(Inquiry::new(Arc::new(Snapshot {
            state: ServerState::Starting,
            uptime: Duration::ZERO,
            stats: Stats::default(),
            queue: QueueStats::default(),
            workers,
            workers_busy: 0,
        })));
        let monitor = Monitor {
            inquiry: Arc::clone(&inquiry),
            completions: Arc::clone(completions),
        };
        (monitor, Monitored(inquiry))
    }

    /// The numbers as they are after the tick in which the loop hears of it, which begins at once
    /// unless one is under way. Monitors that ask together get the same answer. It costs the loop
    /// some ten microseconds, for the histograms of four times.
    ///
    /// Before [`Server::run`](crate::Server::run) there are no numbers, and nothing has been
    /// counted. After its end they are those at the end of the loop. Either comes at once.
    ///
    /// Handlers may call it. What the loop itself calls ([`Service::opened`],
    /// [`Service::closed`] and [`Service::is_quick`]) must not: the loop cannot answer meanwhile.
    ///
    /// [`Service::opened`]: crate::Service::opened
    /// [`Service::closed`]: crate::Service::closed
    /// [`Service::is_quick`]: crate::Service::is_quick
    ///
    /// # Errors
    /// The loop has not answered within `timeout`. A tick takes microseconds to a few
    /// milliseconds, so a loop that does not answer for a second hangs, has no processor, or is
    /// suspended.
    pub fn snapshot(&self, timeout: Duration) -> Result<Snapshot, NotAnswering> {
        let wake = || self.completions.announce();
        let snapshot = self.inquiry.ask(timeout, wake);
        let snapshot = snapshot.ok_or(NotAnswering { timeout })?;
        Ok(Arc::unwrap_or_clone(snapshot))
    }
}

/// What a server was doing at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// Where the server is in its life.
    pub state: ServerState,
    /// How long ago its workers had started.
    pub uptime: Duration,
    /// What the loop has counted. The recent peaks are those since the last report in the log.
    pub stats: Stats,
    /// What the work queue has been through.
    pub queue: QueueStats,
    /// Worker threads.
    pub workers: usize,
    /// Workers that have a request in hand.
    pub workers_busy: usize,
}

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServerState {
    /// It does not run yet: clients may have connected, and nobody is served.
    Starting,
    /// It accepts and serves.
    Serving,
    /// It is about to stop: it answers what has arrived and accepts nothing.
    Draining,
    /// It has ended, or it was dropped before it ran.
    Ended,
}

/// An event loop has not answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnswering {
    timeout: Duration,
}

impl NotAnswering {
    /// How long it was waited for.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl fmt::Display for NotAnswering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timeout = self.timeout;
        write!(f, "the event loop has not answered within {timeout:?}")
    }
}

impl Error for NotAnswering {}

/// The loop's end of its monitors. Dropped, it tells them that the server has ended.
#[derive(Debug)]
pub struct Monitored(Arc<Inquiry<Arc<Snapshot>>>);

impl Monitored {
    /// From here on the loop answers.
    pub(super) fn open(&self) {
        self.0.open();
    }

    /// The number of the last question, if one may wait for an answer.
    pub(super) fn asked(&self) -> Option<u64> {
        self.0.asked()
    }

    pub(super) fn answer(&self, number: u64, snapshot: Snapshot) {
        self.0.answer(number, Arc::new(snapshot));
    }

    /// The loop has ended, like that.
    pub(super) fn close(&self, snapshot: Snapshot) {
        self.0.close(|_| Arc::new(snapshot));
    }
}

impl Drop for Monitored {
    fn drop(&mut self) {
        self.0.close(|mut last| {
            if last.state != ServerState::Ended {
                Arc::make_mut(&mut last).state = ServerState::Ended;
            }
            last
        });
    }
}
