//! The event loop: connects its part of the clients, and ticks until they are done.
//!
//! Knows readiness, timers and orders of the crew; leaves bytes to `connection` and judgement to
//! `client`.
//!
//! Rule: it sleeps until something can be done; nothing in it spins and nothing in it blocks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::check::failure::{Failures, Kind, Sender};
use crate::check::sent::Sent;
use crate::drive::connection::{Connection, Phase};
use crate::drive::desk::Desk;
use crate::drive::orders::{LoopEnd, News, Order};
use crate::drive::pace::Pace;
use crate::drive::patience::{ABSENCE, Patience};
use crate::drive::roster::{clients, connection};
use crate::drive::watch::Watch;
use crate::figures::ledger::{Ledger, Window};
use crate::figures::outcome::{Ended, Outcome};
use crate::load::part::Part;
use crate::load::plan::{Load, Plan};

const ORDERS: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);
/// How many readiness events one tick takes.
const EVENTS: usize = 1024;
/// How many requests that are due one tick hands out, so that answers are read between them.
const HANDED_OUT: usize = 256;
/// How often timeouts are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(50);
/// In an open loop, one of so many clients shall have room, and as many as a burst takes; if fewer
/// do, more are connected.
const SPARE_SHARE: usize = 8;
/// How often new connections are begun while there are some to begin.
const CONNECT_EVERY: Duration = Duration::from_millis(1);

/// One event loop.
pub(crate) struct Driver {
    poll: Poll,
    address: SocketAddr,
    plan: Plan,
    part: Part,
    crew: LoopEnd,
    /// The first ordinary clients, then hogs, then the clients that an open loop has added. A
    /// connection's token is its index.
    connections: Vec<Connection>,
    hogs: Range<usize>,
    desk: Desk,
    /// When the first connection was begun.
    opened: Instant,
    /// How many connections have been begun.
    begun: usize,
    /// How many of these have been made, and how many could not.
    made: usize,
    failed: usize,
    first_connect_error: Option<io::Error>,
    /// The crew knows that all connections that had been begun by then had failed.
    is_nothing_made: bool,
    /// The crew knows that all connections have been made or given up.
    is_settled: bool,
    /// When the clients were let loose, which is when the last connection of all was made.
    start: Option<Instant>,
    /// The open loop, if it is one.
    pace: Option<Pace>,
    /// The load has come to its end; what is under way is waited for.
    load_ended: bool,
    watch: Watch,
    /// The last tick did not come to the end of what was due.
    more_to_hand_out: bool,
    /// The crew knows that the ordinary clients are over.
    are_clients_over: bool,
    /// How many connections, from the first on, are over for certain.
    over: usize,
    /// Retries to come. A connection has one timer that counts, the one it knows itself.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    next_sweep: Instant,
    patience: Patience,
    events: Option<Events>,
}

impl Driver {
    /// The loop that does `part` of `plan`. All loops of a run count in `sent`.
    pub(crate) fn new(
        plan: &Plan,
        part: Part,
        address: SocketAddr,
        sent: Sent,
        failures: Failures,
        crew: LoopEnd,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let poll = Poll::new()?;
        let pace = match &plan.load {
            Load::Rate(open) => {
                let (open, part, registry) = (open.clone(), part.clone(), poll.registry());
                Some(Pace::new(open, plan.seed, part, registry, ALARM, now)?)
            }
            Load::Frames(_) | Load::Duration(_) => None,
        };
        let desk = Desk::new(plan, sent, Ledger::new(failures, now));
        let hogs = part.clients.len()..part.clients.len() + part.hogs.len();
        let ids = part.clients.clone().chain(part.hogs.clone());
        let connections = ids.map(|id| connection(plan, &desk, id, now));
        Ok(Self {
            poll,
            address,
            plan: plan.clone(),
            connections: connections.collect(),
            part,
            crew,
            hogs,
            desk,
            opened: now,
            begun: 0,
            made: 0,
            failed: 0,
            first_connect_error: None,
            is_nothing_made: false,
            is_settled: false,
            start: None,
            pace,
            load_ended: false,
            watch: Watch::new(now),
            more_to_hand_out: false,
            are_clients_over: false,
            over: 0,
            timers: BinaryHeap::new(),
            next_sweep: now + SWEEP_EVERY,
            patience: Patience::new(plan.timeout),
            events: Some(Events::with_capacity(EVENTS)),
        })
    }

    /// What wakes it; there is one.
    pub(crate) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), ORDERS)
    }

    /// Ticks until all is done or the crew ends it.
    pub(crate) fn run(mut self) -> io::Result<Outcome> {
        let ended = loop {
            if let Some(ended) = self.tick()? {
                break ended;
            }
        };
        self.crew.is_finished = true;
        Ok(self.into_outcome(ended))
    }

    /// One pass of the event loop. Returns how the run ended, when it has.
    fn tick(&mut self) -> io::Result<Option<Ended>> {
        self.begin_connections(Instant::now());
        self.take_events()?;
        while let Some(order) = self.crew.order() {
            match order {
                Order::Start(start) => self.start(start),
                Order::StopHogs => self.stop_hogs(),
                Order::End => return Ok(Some(self.interrupt(Instant::now()))),
            }
        }
        let now = Instant::now();
        self.fire_timers(now);
        self.sweep(now);
        self.tell_how_connecting_went()?;
        self.begin_measuring(now);
        self.hand_out()?;
        self.add_clients(now);
        self.end_load(Instant::now());
        self.count_over()?;
        let all_over = self.start.is_some() && self.over == self.connections.len();
        if all_over {
            self.go_through_the_rest(now);
        }
        Ok(all_over.then_some(Ended::Finished))
    }

    /// Begins as many connections as the rate allows by now.
    fn begin_connections(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.opened).as_secs_f64();
        let rate = f64::from(self.plan.connect_rate) / f64::from(self.part.count);
        let allowed = 1 + (elapsed * rate) as usize;
        while self.begun < self.connections.len().min(allowed) {
            let index = self.begun;
            self.begun += 1;
            self.connect(index, now);
        }
    }

    fn connect(&mut self, index: usize, now: Instant) {
        let registry = self.poll.registry();
        let connection = &mut self.connections[index];
        if let Err(error) = connection.connect(self.address, registry, Token(index), now) {
            self.on_connect_failed(index, error);
        }
    }

    /// Waits for events and handles them.
    fn take_events(&mut self) -> io::Result<()> {
        let mut events = self.events.take().expect("each tick puts the events back");
        let (wake, asked) = (self.next_wake(), Instant::now());
        let timeout = wake.saturating_duration_since(asked);
        let mut polled = self.poll.poll(&mut events, Some(timeout));
        while matches!(&polled, Err(error) if error.kind() == ErrorKind::Interrupted) {
            // It was stopped and continued, and has not seen what came meanwhile.
            polled = self.poll.poll(&mut events, Some(Duration::ZERO));
        }
        let now = Instant::now();
        let alarm = self.pace.as_ref().and_then(|pace| pace.alarm(asked));
        let wake = alarm.map_or(wake, |alarm| wake.min(alarm));
        let delay = self.watch.looked(asked, wake, now);
        if let Some(pace) = &mut self.pace {
            pace.was_away(delay, now);
        }
        let (mut count, mut in_flight) = (0, 0);
        if delay >= ABSENCE {
            // All that is in flight was held up, not only what has come. If nothing is, it counts
            // as one, so that the figures show it.
            in_flight = self.connections.iter().map(Connection::unanswered).sum();
            in_flight = in_flight.max(1);
        }
        for event in &events {
            match event.token() {
                // They have woken the loop, which is all that they are for.
                ORDERS | ALARM => {}
                Token(index) => {
                    self.on_event(index, event);
                    count += 1;
                }
            }
        }
        self.watch.held_up(delay, in_flight.max(count));
        events.clear();
        self.events = Some(events);
        polled
    }

    fn on_event(&mut self, index: usize, event: &mio::event::Event) {
        let connection = &mut self.connections[index];
        if connection.phase() == Phase::Connecting {
            let (now, was_made) = (Instant::now(), connection.was_made());
            match connection.finish_connect(now, &mut self.desk) {
                Err(error) => return self.on_connect_failed(index, error),
                Ok(()) if connection.phase() == Phase::Connecting => return,
                Ok(()) => self.made += usize::from(!was_made),
            }
            self.crew.note_reached();
            if self.start.is_some() {
                connection.start(now, &mut self.desk);
            }
        }
        connection.on_event(event, &mut self.desk);
        connection.announce_rest(self.poll.registry(), Token(index), &mut self.desk);
        self.set_timer(index);
        self.offer_room(index);
    }

    fn on_connect_failed(&mut self, index: usize, error: io::Error) {
        // Where there has never been a server, nobody waits for one.
        let may_try_again = self.crew.has_been_reached();
        let connection = &mut self.connections[index];
        connection.on_connect_failed(&error, may_try_again, &mut self.desk);
        if connection.phase() == Phase::Over && !connection.was_made() {
            self.failed += 1;
            self.first_connect_error.get_or_insert(error);
        }
        self.set_timer(index);
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
        if self.more_to_hand_out {
            wake = Instant::now();
        }
        wake
    }

    /// Keeps a timer for the next retry of a connection, or the next attempt to make one.
    fn set_timer(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if let Some(due) = connection.next_due()
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
                if connection.is_to_connect(now) {
                    self.connect(index, now);
                } else {
                    connection.pump(now, &mut self.desk);
                }
                self.set_timer(index);
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        let late = now.saturating_duration_since(self.next_sweep);
        self.patience.late(late, self.watch.worked(), now);
        self.next_sweep = now + SWEEP_EVERY;
        self.watch.look_at_the_scheduler();
        self.crew.counts.publish(&mut self.desk.ledger);
        for index in 0..self.begun {
            let connection = &mut self.connections[index];
            let was_connecting = connection.phase() == Phase::Connecting;
            connection.check_time(&self.patience, now, &mut self.desk);
            connection.announce_rest(self.poll.registry(), Token(index), &mut self.desk);
            let is_given_up = was_connecting && connection.phase() == Phase::Over;
            if is_given_up && !connection.was_made() {
                self.failed += 1;
                let error = io::Error::from(ErrorKind::TimedOut);
                self.first_connect_error.get_or_insert(error);
            }
            self.set_timer(index);
        }
    }

    /// Tells the crew when all connections have been made or given up, and when all that were
    /// begun have failed.
    fn tell_how_connecting_went(&mut self) -> io::Result<()> {
        let is_nothing_there = self.failed == self.begun && !self.crew.has_been_reached();
        if is_nothing_there
            && !self.is_nothing_made
            && let Some(error) = self.first_connect_error.take()
        {
            self.is_nothing_made = true;
            self.crew.tell(News::NothingMade(error))?;
        }
        if !self.is_settled && self.made + self.failed == self.connections.len() {
            self.is_settled = true;
            self.crew.tell(News::Settled)?;
        }
        Ok(())
    }

    /// Lets the clients loose together, so that the load is what the plan says from the start.
    fn start(&mut self, start: Instant) {
        self.start = Some(start);
        let from = start + self.plan.warmup;
        let until = self.plan.load.duration().map(|duration| start + duration);
        let (window, stages) = (Window { from, until }, self.plan.load.stages());
        self.desk.ledger.begin(start, window, stages);
        for index in 0..self.connections.len() {
            self.connections[index].start(Instant::now(), &mut self.desk);
            self.set_timer(index);
            self.offer_room(index);
        }
        if let Some(pace) = &mut self.pace {
            pace.begin(start, from);
        }
    }

    /// Watches the loop itself from the end of the warmup on.
    fn begin_measuring(&mut self, now: Instant) {
        let is_warm = self
            .start
            .is_some_and(|start| now >= start + self.plan.warmup);
        if is_warm {
            self.watch.begin(now);
        }
    }

    /// Puts a connection into the ring of those with room, if it has some.
    fn offer_room(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if let Some(pace) = &mut self.pace
            && !self.hogs.contains(&index)
            && !connection.is_ready
            && connection.has_room()
        {
            connection.is_ready = true;
            pace.add_ready(index, Instant::now());
        }
    }

    /// Connects more clients when few of an open loop's have room. Those that are being connected
    /// will have some, the ones that lost their connection included.
    fn add_clients(&mut self, now: Instant) {
        let ready = self.pace.as_ref().map_or(usize::MAX, Pace::ready);
        let there = self.connections.len() - self.hogs.len();
        let may_come = self.part.added.len();
        let burst = self.plan.clients_of_a_burst().div_ceil(self.part.count);
        let spare = (there / SPARE_SHARE + 1).max(burst as usize);
        let needed = spare.saturating_sub(ready);
        // Who is told that there is no room for more does not ask again.
        let is_running = self.start.is_some() && !self.load_ended;
        if !is_running || self.failed > 0 || needed.min(may_come) == 0 {
            return;
        }
        let is_coming =
            |client: &&mut Connection| matches!(client.phase(), Phase::Connecting | Phase::Waiting);
        let coming = clients(&mut self.connections, &self.hogs).filter(is_coming);
        let needed = needed.saturating_sub(coming.count());
        for id in self.part.added.by_ref().take(needed) {
            let added = connection(&self.plan, &self.desk, id, now);
            self.connections.push(added);
        }
        self.begin_connections(now);
    }

    /// Hands the requests that are due to connections with room.
    fn hand_out(&mut self) -> io::Result<()> {
        if self.start.is_none() || self.load_ended {
            return Ok(());
        }
        self.more_to_hand_out = false;
        for count in 0.. {
            let now = Instant::now();
            let Some(pace) = &mut self.pace else {
                return Ok(());
            };
            if pace.next_due().is_none_or(|due| due > now) {
                return pace.set_alarm(now);
            }
            if count == HANDED_OUT {
                self.more_to_hand_out = true;
                return Ok(());
            }
            let Some(index) = pace.pop_ready() else {
                return Ok(());
            };
            let connection = &mut self.connections[index];
            connection.is_ready = false;
            if connection.has_room()
                && let Some(due) = pace.take(now)
            {
                connection.client_mut().offer(due);
                connection.pump(now, &mut self.desk);
                self.set_timer(index);
            }
            self.offer_room(index);
        }
        Ok(())
    }

    /// Ends the load when its time is over: what is under way is still waited for, what was due
    /// and could not be sent is not.
    fn end_load(&mut self, now: Instant) {
        let Some(start) = self.start else {
            return;
        };
        let is_over = match (&self.pace, self.plan.load.duration()) {
            (Some(pace), _) => pace.is_over(now),
            (None, Some(duration)) => now >= start + duration,
            (None, None) => false,
        };
        if self.load_ended || !is_over {
            return;
        }
        self.load_ended = true;
        self.more_to_hand_out = false;
        self.watch.end(now);
        self.give_up_unsent(now);
        for connection in clients(&mut self.connections, &self.hogs) {
            connection.client_mut().stop();
            connection.pump(now, &mut self.desk);
        }
    }

    /// No connection is left. What would still be due can get no answer, which is as certain now
    /// as at the end of the load: it counts as what is unsent then.
    fn go_through_the_rest(&mut self, now: Instant) {
        let end = self.pace.as_ref().map(Pace::end);
        if let Some(end) = end.filter(|_| !self.load_ended) {
            self.load_ended = true;
            self.watch.end(now);
            self.give_up_unsent(end);
        }
    }

    /// What is due by `now` and has not been sent will not be.
    fn give_up_unsent(&mut self, now: Instant) {
        let is_any_left = self.over < self.connections.len();
        let Some(pace) = &mut self.pace else {
            return;
        };
        let ledger = &mut self.desk.ledger;
        let mut count = 0;
        while let Some(due) = pace.take_unsent(now) {
            ledger.unsent_due(Sender::Client(0), due, now);
            if is_any_left {
                pace.gave_up(due, now);
            } else {
                ledger.clients.cut_off += 1;
            }
            count += 1;
        }
        if count > 0 {
            let text = match is_any_left {
                true => "due, but no client had room for it before the end",
                false => "due, but no connection was left",
            };
            ledger
                .failures
                .add(Kind::Unsent, count, "all clients", text);
        }
    }

    /// Moves on over the connections that are over, which costs next to nothing per tick.
    fn count_over(&mut self) -> io::Result<()> {
        let open = self.connections[self.over..].iter();
        self.over += open
            .take_while(|connection| connection.phase() == Phase::Over)
            .count();
        if self.are_clients_over || self.over < self.hogs.start {
            return Ok(());
        }
        let is_over = |client: &mut Connection| client.phase() == Phase::Over;
        if clients(&mut self.connections, &self.hogs).all(is_over) {
            self.are_clients_over = true;
            self.crew.tell(News::ClientsOver)?;
        }
        Ok(())
    }

    /// Hogs run for as long as there are others that they can be in the way of.
    fn stop_hogs(&mut self) {
        let now = Instant::now();
        for hog in &mut self.connections[self.hogs.clone()] {
            hog.client_mut().stop();
            hog.pump(now, &mut self.desk);
        }
    }

    /// The run is over before its time. What is due by `now` and was not sent is left open.
    fn interrupt(&mut self, now: Instant) -> Ended {
        if let Some(pace) = self.pace.as_mut().filter(|_| self.start.is_some()) {
            let ledger = &mut self.desk.ledger;
            while let Some(due) = pace.take_unsent(now) {
                pace.gave_up(due, now);
                ledger.clients.unsent += 1;
                ledger.left_open(Sender::Client(0), None, due, now);
            }
        }
        Ended::Interrupted(now)
    }

    fn into_outcome(mut self, ended: Ended) -> Outcome {
        let now = Instant::now();
        for connection in &mut self.connections {
            connection.abort(now, &mut self.desk);
        }
        let clients = (self.connections.len() - self.hogs.len()) as u32;
        let sent = self.desk.ledger.clients.sent + self.desk.ledger.clients.unsent;
        let planned = match self.plan.load {
            Load::Frames(frames) => self.hogs.start as u64 * u64::from(frames),
            Load::Duration(_) => sent,
            Load::Rate(_) => self.pace.as_ref().map_or(0, Pace::taken),
        };
        let open_loop = self.pace.map(|pace| pace.into_effort(clients));
        let effort = self.watch.into_effort(open_loop);
        // Those that came later had less time.
        let first = self.connections.into_iter().take(self.hogs.start);
        Outcome {
            planned,
            effort,
            ended,
            start: self.start.unwrap_or_else(Instant::now),
            ledger: self.desk.ledger,
            shares: first.map(Connection::into_share).collect(),
        }
    }
}
