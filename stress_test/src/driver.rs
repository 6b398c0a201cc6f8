//! The event loop: connects all clients, starts them together, and turns until they are done.
//!
//! Knows readiness, timers and signals; leaves bytes to `connection` and judgement to `client`.
//!
//! Rule: it sleeps until something can be done; nothing in it spins and nothing in it blocks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use signal_hook_mio::v1_0::Signals;

use crate::client::{Client, Demand};
use crate::connection::{Connection, Desk, Phase};
use crate::failure::{Failures, Sender};
use crate::ledger::Ledger;
use crate::measure::Share;
use crate::plan::Plan;

const SIGNALS: Token = Token(usize::MAX);
/// How many readiness events one turn takes.
const EVENTS: usize = 1024;
/// How often timeouts are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(50);
/// How often new connections are begun while there are some to begin.
const CONNECT_EVERY: Duration = Duration::from_millis(1);

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Every client has everything, or will not get it.
    Finished,
    /// By a signal.
    Interrupted,
    /// Not one connection could be made, for this reason.
    NothingListening(io::Error),
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) ended: Ended,
    /// When the first request was written.
    pub(crate) start: Instant,
    /// The account.
    pub(crate) ledger: Ledger,
    /// What each ordinary client got.
    pub(crate) shares: Vec<Share>,
}

/// Runs `plan` against the server at `address`, until all is done or a signal comes.
pub(crate) fn run(
    plan: &Plan,
    address: SocketAddr,
    signals: &mut Signals,
    failures: Failures,
) -> io::Result<Outcome> {
    let mut driver = Driver::new(plan, address, failures)?;
    driver
        .poll
        .registry()
        .register(signals, SIGNALS, Interest::READABLE)?;
    let ended = loop {
        if let Some(ended) = driver.turn(signals)? {
            break ended;
        }
    };
    driver.poll.registry().deregister(signals)?;
    Ok(driver.into_outcome(ended))
}

struct Driver {
    poll: Poll,
    address: SocketAddr,
    connect_rate: u32,
    /// Ordinary clients first, then hogs; a connection's token is its index.
    connections: Vec<Connection>,
    clients: usize,
    desk: Desk,
    /// When the first connection was begun.
    opened: Instant,
    /// How many connections have been begun.
    begun: usize,
    /// How many of these have been made, and how many could not.
    made: usize,
    failed: usize,
    first_connect_error: Option<io::Error>,
    /// When the clients were let loose, which is when the last connection was made.
    start: Option<Instant>,
    hogs_stopped: bool,
    /// How many connections, from the first on, are over for certain.
    over: usize,
    /// Retries to come. A connection has one timer that counts, the one it knows itself.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    next_sweep: Instant,
    events: Option<Events>,
}

impl Driver {
    fn new(plan: &Plan, address: SocketAddr, failures: Failures) -> io::Result<Self> {
        let now = Instant::now();
        let desk = Desk::new(plan, Ledger::new(failures));
        let connections = (0..plan.clients + plan.hogs).map(|id| {
            let sender = desk.expectations.sender(id);
            let demand = demand(
                plan,
                sender,
                desk.expectations.last_frame_may_end_the_stream(id),
            );
            Connection::new(Client::new(id, sender, demand, plan.seed, now), now)
        });
        Ok(Self {
            poll: Poll::new()?,
            address,
            connect_rate: plan.connect_rate,
            connections: connections.collect(),
            clients: plan.clients as usize,
            desk,
            opened: now,
            begun: 0,
            made: 0,
            failed: 0,
            first_connect_error: None,
            start: None,
            hogs_stopped: false,
            over: 0,
            timers: BinaryHeap::new(),
            next_sweep: now + SWEEP_EVERY,
            events: Some(Events::with_capacity(EVENTS)),
        })
    }

    fn turn(&mut self, signals: &mut Signals) -> io::Result<Option<Ended>> {
        self.begin_connections(Instant::now());
        if self.take_events()? && signals.pending().next().is_some() {
            return Ok(Some(Ended::Interrupted));
        }
        let now = Instant::now();
        self.fire_timers(now);
        self.sweep(now);
        if let Some(error) = self.nothing_listening() {
            return Ok(Some(Ended::NothingListening(error)));
        }
        self.start_when_connected(now);
        self.count_over();
        self.stop_hogs_when_alone(now);
        let all_over = self.start.is_some() && self.over == self.connections.len();
        Ok(all_over.then_some(Ended::Finished))
    }

    /// Begins as many connections as the rate allows by now.
    fn begin_connections(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.opened).as_secs_f64();
        let allowed = 1 + (elapsed * f64::from(self.connect_rate)) as usize;
        while self.begun < self.connections.len().min(allowed) {
            let index = self.begun;
            self.begun += 1;
            let registry = self.poll.registry();
            let connection = &mut self.connections[index];
            if let Err(error) = connection.connect(self.address, registry, Token(index), now) {
                self.on_connect_failed(index, error);
            }
        }
    }

    /// Waits for events and handles them; says whether a signal was among them.
    fn take_events(&mut self) -> io::Result<bool> {
        let mut events = self.events.take().expect("each turn puts the events back");
        let timeout = self.next_wake().saturating_duration_since(Instant::now());
        let polled = self.poll.poll(&mut events, Some(timeout));
        let mut signalled = false;
        for event in &events {
            match event.token() {
                SIGNALS => signalled = true,
                Token(index) => self.on_event(index, event),
            }
        }
        events.clear();
        self.events = Some(events);
        match polled {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(signalled),
        }
    }

    fn on_event(&mut self, index: usize, event: &mio::event::Event) {
        let connection = &mut self.connections[index];
        if connection.phase() == Phase::Connecting {
            match connection.finish_connect(Instant::now()) {
                Err(error) => return self.on_connect_failed(index, error),
                Ok(()) if connection.phase() == Phase::Connecting => return,
                Ok(()) => self.made += 1,
            }
        }
        connection.on_event(event, &mut self.desk);
        self.set_timer(index);
    }

    fn on_connect_failed(&mut self, index: usize, error: io::Error) {
        self.connections[index].on_connect_failed(&error, &mut self.desk);
        self.failed += 1;
        self.first_connect_error.get_or_insert(error);
    }

    /// When something has to be done even if nothing happens.
    fn next_wake(&self) -> Instant {
        let mut wake = self.next_sweep;
        if let Some(Reverse((due, _))) = self.timers.peek() {
            wake = wake.min(*due);
        }
        if self.begun < self.connections.len() {
            wake = wake.min(Instant::now() + CONNECT_EVERY);
        }
        wake
    }

    /// Keeps a timer for the next retry of a connection.
    fn set_timer(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if let Some(due) = connection.client().next_retry_due()
            && connection.timer.is_none_or(|timer| due < timer)
        {
            connection.timer = Some(due);
            self.timers.push(Reverse((due, index)));
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some(&Reverse((due, index))) = self.timers.peek()
            && due <= now
        {
            self.timers.pop();
            let connection = &mut self.connections[index];
            if connection.timer == Some(due) {
                connection.timer = None;
                connection.pump(now, &mut self.desk);
                self.set_timer(index);
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP_EVERY;
        for connection in &mut self.connections[..self.begun] {
            let was_connecting = connection.phase() == Phase::Connecting;
            connection.check_time(now, &mut self.desk);
            if was_connecting && connection.phase() == Phase::Over {
                self.failed += 1;
                let error = io::Error::from(ErrorKind::TimedOut);
                self.first_connect_error.get_or_insert(error);
            }
        }
    }

    /// Why no connection at all was made, when that is certain: all that were begun have failed.
    fn nothing_listening(&mut self) -> Option<io::Error> {
        if self.made == 0 && self.failed == self.begun {
            return self.first_connect_error.take();
        }
        None
    }

    /// Lets the clients loose together, so that the load is what the plan says from the start.
    fn start_when_connected(&mut self, now: Instant) {
        if self.start.is_some() || self.made + self.failed < self.connections.len() {
            return;
        }
        self.start = Some(now);
        for index in 0..self.connections.len() {
            self.connections[index].start(Instant::now(), &mut self.desk);
            self.set_timer(index);
        }
    }

    /// Moves on over the connections that are over, which costs next to nothing per turn.
    fn count_over(&mut self) {
        let open = self.connections[self.over..].iter();
        self.over += open
            .take_while(|connection| connection.phase() == Phase::Over)
            .count();
    }

    /// Hogs run for as long as there are others that they can be in the way of.
    fn stop_hogs_when_alone(&mut self, now: Instant) {
        if self.hogs_stopped || self.over < self.clients {
            return;
        }
        self.hogs_stopped = true;
        for hog in &mut self.connections[self.clients..] {
            hog.client_mut().stop();
            hog.pump(now, &mut self.desk);
        }
    }

    fn into_outcome(mut self, ended: Ended) -> Outcome {
        for connection in &mut self.connections {
            connection.abort(&mut self.desk);
        }
        let clients = self.connections.into_iter().take(self.clients);
        Outcome {
            ended,
            start: self.start.unwrap_or_else(Instant::now),
            ledger: self.desk.ledger,
            shares: clients.map(Connection::into_share).collect(),
        }
    }
}

fn demand(plan: &Plan, sender: Sender, last_frame_alone: bool) -> Demand {
    match sender {
        Sender::Client(_) => Demand {
            frames: Some(plan.frames),
            max_inflight: plan.max_inflight,
            retries: plan.retries,
            last_frame_alone,
        },
        // A hog takes a refusal as an answer and goes on.
        Sender::Hog(_) => Demand {
            frames: None,
            max_inflight: plan.hog_inflight,
            retries: 0,
            last_frame_alone,
        },
    }
}
