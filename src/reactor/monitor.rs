//! What a server can be asked while it runs, and how the loop answers.
//!
//! Knows the numbers that the loop knows, and the board of the workers; no sockets.
//!
//! Rule: the loop itself answers for what it knows. So an answer says that it runs, and its
//! numbers belong together.

use crate::address::Peer;
use crate::connections::Connections;
use crate::engine::ConnectionView;
use crate::pool::{Board, Inquiry, Line, ResponseQueue};
use crate::stats::{QueueStats, Stats};
use crate::task::{Completion, ConnectionId};
use crate::trace::Trace;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How many connections of a kind [`Monitor::connections`] tells of.
pub const TOP_CONNECTIONS: usize = 100;

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
    snapshots: Arc<Inquiry<Arc<Snapshot>>>,
    views: Arc<Inquiry<Arc<Vec<ConnectionView>>>>,
    traces: Arc<Inquiry<Option<Arc<Trace>>>>,
    completions: Arc<ResponseQueue<Completion>>,
    board: Arc<Board>,
    connections: Arc<Connections>,
    life: Arc<Life>,
}

impl Monitor {
    /// A monitor of a loop whose workers have that board, and the end of it that the loop has.
    pub fn new(
        board: Arc<Board>,
        completions: &Arc<ResponseQueue<Completion>>,
    ) -> (Monitor, Monitored) {
        let monitor = Monitor {
            snapshots: Arc::new(Inquiry::new(Arc::new(Snapshot {
                state: ServerState::Starting,
                uptime: Duration::ZERO,
                stats: Stats::default(),
                queue: QueueStats::default(),
                stalled_for: None,
                workers: board.lines().len(),
                workers_busy: 0,
            }))),
            views: Arc::new(Inquiry::new(Arc::default())),
            traces: Arc::new(Inquiry::new(None)),
            completions: Arc::clone(completions),
            board: Arc::clone(&board),
            connections: Arc::default(),
            life: Arc::default(),
        };
        let monitored = Monitored {
            snapshots: Arc::clone(&monitor.snapshots),
            views: Arc::clone(&monitor.views),
            traces: Arc::clone(&monitor.traces),
            board,
            life: Arc::clone(&monitor.life),
            state: ServerState::Starting,
        };
        (monitor, monitored)
    }

    /// The connections whose peers it tells.
    pub(crate) fn connections_open(&self) -> &Arc<Connections> {
        &self.connections
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
        let snapshot = self.snapshots.ask(timeout, wake);
        let snapshot = snapshot.ok_or(NotAnswering { timeout })?;
        Ok(Arc::unwrap_or_clone(snapshot))
    }

    /// The connections that have the most requests in flight, those for which the most bytes are
    /// buffered, and the oldest: of each kind [`TOP_CONNECTIONS`] at most. It costs the loop a
    /// look at every connection.
    ///
    /// Before the run and after its end there are none.
    ///
    /// # Errors
    /// As [`Monitor::snapshot`].
    pub fn connections(&self, timeout: Duration) -> Result<Vec<ConnectionView>, NotAnswering> {
        let views = self.views.ask(timeout, || self.completions.announce());
        let mut views = Arc::unwrap_or_clone(views.ok_or(NotAnswering { timeout })?);
        for view in &mut views {
            view.peer = self.connections.peer(view.id).or(view.peer);
        }
        Ok(views)
    }

    /// Waits until the server is in `state` or in a later one, in the order of [`ServerState`];
    /// says in which it is then, or after `timeout`.
    ///
    /// It asks nobody, so it costs the loop nothing, and says nothing of a loop that hangs.
    pub fn wait_for(&self, state: ServerState, timeout: Duration) -> ServerState {
        self.life.wait_for(state, timeout)
    }

    /// The times of the last tasks and ticks, as [`Config::trace_tasks`] asks for them. It costs
    /// the loop a copy of all that is kept, of a hundred bytes and more for each task.
    ///
    /// None where nothing is kept, and before the run. After its end all is there that was kept,
    /// with what was under way then.
    ///
    /// ```
    /// use reactor_pool::{Config, Response, Server};
    /// use std::io::{Read, Write};
    /// use std::time::Duration;
    ///
    /// let echo = |request: &[u8], response: &mut Response<'_>| response.push(request);
    /// let server = Server::bind("127.0.0.1:0", Config::default().trace_tasks(1000), echo)?;
    /// let (address, monitor, stopper) = (server.local_addr(), server.monitor(), server.stopper());
    /// let running = std::thread::spawn(move || server.run());
    ///
    /// let mut client = std::net::TcpStream::connect(address)?;
    /// client.write_all(b"hello\n")?;
    /// client.read_exact(&mut [0; 6])?;
    /// drop(client);
    /// stopper.stop();
    /// running.join().expect("the reactor does not panic")?;
    ///
    /// let trace = monitor.trace(Duration::ZERO)?.expect("the config asks for it");
    /// let task = trace.tasks[0];
    /// let (work, end) = (task.work.expect("it ran"), task.end.expect("it was answered"));
    /// println!(
    ///     "worker {} took it {:?} after it had come, and {:?} in all",
    ///     work.worker,
    ///     work.started_at - task.framed_at,
    ///     end.at() - task.framed_at
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`Config::trace_tasks`]: crate::Config::trace_tasks
    ///
    /// # Errors
    /// As [`Monitor::snapshot`].
    pub fn trace(&self, timeout: Duration) -> Result<Option<Arc<Trace>>, NotAnswering> {
        let trace = self.traces.ask(timeout, || self.completions.announce());
        trace.ok_or(NotAnswering { timeout })
    }

    /// What each worker does, in the order of their numbers. It asks nobody, so it answers also
    /// when the loop does not.
    pub fn workers(&self) -> Vec<WorkerView> {
        let (lines, now) = self.board.look();
        let view = |line: Line| WorkerView {
            running: line.running.map(|running| RunningView {
                connection: running.connection,
                peer: self.connections.peer(running.connection),
                first: running.span.first.0,
                requests: running.span.requests,
                age: now.saturating_duration_since(running.started_at),
            }),
            tasks: line.tasks,
            requests: line.requests,
            busy: line.busy,
        };
        lines.into_iter().map(view).collect()
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
    /// How long requests have waited for a queue slot without any of them getting one; none while
    /// slots are given, or nothing waits.
    pub stalled_for: Option<Duration>,
    /// Worker threads.
    pub workers: usize,
    /// Workers that have a request in hand.
    pub workers_busy: usize,
}

/// What a worker does, and what it has done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerView {
    /// What it has in hand.
    pub running: Option<RunningView>,
    /// Tasks that it has done: single requests, and runs of quick ones.
    pub tasks: u64,
    /// Requests that were in them.
    pub requests: u64,
    /// The time that these took.
    pub busy: Duration,
}

/// What a worker has in hand.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunningView {
    /// Whose requests they are.
    pub connection: ConnectionId,
    /// The other side of it, if it is still there.
    pub peer: Option<Peer>,
    /// The number of the first request on its connection, from 1.
    pub first: u64,
    /// How many they are: several quick ones may travel together.
    pub requests: usize,
    /// How long it has had them.
    pub age: Duration,
}

/// Where a server is in its life; later ones are greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServerState {
    /// It does not run yet: clients may have connected, and nobody is served.
    #[default]
    Starting,
    /// It accepts and serves.
    Serving,
    /// It is about to stop ([`Config::stop_delay`](crate::Config::stop_delay)): it accepts and
    /// serves still, and whoever can should go elsewhere.
    LameDuck,
    /// It stops: it answers what has arrived and accepts nothing.
    Draining,
    /// It has ended, or it was dropped before it ran.
    Ended,
}

/// Where a server is in its life, for those who wait for it to go on.
#[derive(Debug, Default)]
struct Life {
    state: Mutex<ServerState>,
    /// Notified whenever it has gone on.
    went_on: Condvar,
}

impl Life {
    fn go_on(&self, state: ServerState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.went_on.notify_all();
    }

    fn wait_for(&self, state: ServerState, timeout: Duration) -> ServerState {
        let now = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_before = |now: &mut ServerState| *now < state;
        let waited = self.went_on.wait_timeout_while(now, timeout, is_before);
        let (now, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *now
    }
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
pub struct Monitored {
    snapshots: Arc<Inquiry<Arc<Snapshot>>>,
    views: Arc<Inquiry<Arc<Vec<ConnectionView>>>>,
    traces: Arc<Inquiry<Option<Arc<Trace>>>>,
    board: Arc<Board>,
    life: Arc<Life>,
    /// What `life` was last told.
    state: ServerState,
}

impl Monitored {
    /// What the workers do.
    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// From here on the loop answers.
    pub(super) fn open(&mut self) {
        self.snapshots.open();
        self.views.open();
        self.traces.open();
        self.note(ServerState::Serving);
    }

    /// Tells those who wait for it that the server is in `state`.
    pub(super) fn note(&mut self, state: ServerState) {
        if self.state != state {
            self.state = state;
            self.life.go_on(state);
        }
    }

    /// Answers whoever has asked.
    pub(super) fn answer(
        &self,
        snapshot: impl FnOnce() -> Snapshot,
        views: impl FnOnce() -> Vec<ConnectionView>,
        trace: impl FnOnce() -> Option<Trace>,
    ) {
        if let Some(number) = self.snapshots.asked() {
            self.snapshots.answer(number, Arc::new(snapshot()));
        }
        if let Some(number) = self.views.asked() {
            self.views.answer(number, Arc::new(top(views())));
        }
        if let Some(number) = self.traces.asked() {
            self.traces.answer(number, trace().map(Arc::new));
        }
    }

    /// The loop has ended, like that.
    pub(super) fn close(&self, snapshot: Snapshot, trace: Option<Trace>) {
        self.snapshots.close(|_| Arc::new(snapshot));
        self.views.close(|_| Arc::default());
        self.traces.close(|_| trace.map(Arc::new));
        self.life.go_on(ServerState::Ended);
    }
}

impl Drop for Monitored {
    fn drop(&mut self) {
        self.snapshots.close(|mut last| {
            if last.state != ServerState::Ended {
                Arc::make_mut(&mut last).state = ServerState::Ended;
            }
            last
        });
        self.views.close(|_| Arc::default());
        self.traces.close(|last| last);
        self.life.go_on(ServerState::Ended);
    }
}

/// The first [`TOP_CONNECTIONS`] of each order; those with the most in flight first.
fn top(mut views: Vec<ConnectionView>) -> Vec<ConnectionView> {
    let orders: [fn(&ConnectionView) -> u128; 3] = [
        |view| view.age.as_nanos(),
        |view| view.buffered_bytes as u128,
        |view| view.in_flight as u128,
    ];
    let mut first = BTreeSet::new();
    for order in orders {
        views.sort_unstable_by_key(|view| (Reverse(order(view)), view.id));
        first.extend(views.iter().take(TOP_CONNECTIONS).map(|view| view.id));
    }
    views.retain(|view| first.contains(&view.id));
    views
}
