//! The world around the reactor of production: the queues, stand-ins for the workers, clients with
//! models of their sockets, and a clock that a seed moves.
//!
//! Knows what happened, and of each connection what its oracle foretells.
//!
//! Rule: whoever acts, one seed decides it.

mod checks;
mod life;
mod net;
mod stop;
mod workers;

use crate::client::{Act, Client};
use crate::header::Header;
use crate::oracle::{Oracle, Run};
use crate::random::Random;
use crate::settings::{Counts, Settings};
use crate::socket::Socket;
pub(crate) use life::Life;
use reactor_pool::codec::Codec;
use reactor_pool::pool::{ResponseQueue, WorkQueue};
use reactor_pool::task::{Completion, ConnectionId, Outcomes, Task};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use workers::Worker;

/// What happened, one line a step; filled only when a failed run is repeated.
pub(crate) type Trace = Option<Rc<RefCell<VecDeque<String>>>>;
const TRACE_STEPS: usize = 40;

/// One client, its socket and, once it is accepted, what should become of it.
struct Peer {
    client: Client,
    socket: Socket,
    /// What it begins with, if it has to begin with a header.
    header: Option<Header>,
    accepted: Option<(ConnectionId, Oracle)>,
    /// The reactor has been told that the client has reset the connection.
    is_lost: bool,
    /// It was to be read before it is called idle when the tick began.
    must_be_read: bool,
}

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) steps: u64,
    pub(crate) counts: Counts,
}

/// What a worker has pushed and the reactor has not drained.
struct Undrained {
    id: ConnectionId,
    first: u64,
    outcomes: Outcomes,
    /// Of each request, whether its handler panicked.
    panicked: Vec<bool>,
}

/// Everything but the reactor.
pub(crate) struct World {
    random: Random,
    settings: Settings,
    base: Instant,
    now: Instant,
    /// That of production.
    codec: Arc<dyn Codec>,
    queue: Arc<WorkQueue<Task>>,
    /// Tasks in the queue, in the order in which they were pushed, and when that was.
    queued: VecDeque<(Run, Instant)>,
    /// The most requests that were queued at a time.
    queued_peak: usize,
    completions: Arc<ResponseQueue<Completion>>,
    /// The poll's waker has been used and the poll has not returned since.
    woken: Arc<AtomicBool>,
    /// In their order.
    undrained: Vec<Undrained>,
    /// Of all completions that have been drained.
    outcomes: Outcomes,
    /// Requests that got a slot.
    slots_given: u64,
    workers: Vec<Worker>,
    peers: Vec<Peer>,
    connects: u32,
    connects_before_tick: u32,
    /// Connections of the backlog that the poll has not announced.
    listener_edge: bool,
    /// It has been announced, and not been found empty since.
    listener_ready: bool,
    accept_paused_until: Option<Instant>,
    /// The reactor is in a tick, and has queued something in it.
    is_ticking: bool,
    has_pushed: bool,
    /// When that began, from when on it has read the time.
    tick_at: Option<Instant>,
    /// Whose unacknowledged bytes this tick has asked for, and how many they were.
    looked_at: Vec<(net::Stream, usize)>,
    stop_asked: bool,
    /// It was asked for when the last poll returned.
    stop_asked_before_tick: bool,
    /// The reactor has heard of it, and serves on until then.
    stop_at: Option<Instant>,
    stopping: bool,
    /// The last pass has closed a connection, which may have left a place to one more.
    has_closed_at_stop: bool,
    /// The clients behave, and readiness is not withheld any more.
    ending: bool,
    /// Of connections that have gone.
    gone: Counts,
    steps: u64,
    trace: Trace,
}

impl World {
    fn new(seed: u64, trace: Trace) -> World {
        let mut random = Random::new(seed);
        let settings = Settings::draw(&mut random);
        let base = Instant::now();
        let woken = Arc::new(AtomicBool::new(false));
        let waker = Arc::clone(&woken);
        let wake = move || waker.store(true, Ordering::Relaxed);
        let config = &settings.config;
        let queue = Arc::new(WorkQueue::new(config.queue, config.queue_order));
        let world = World {
            random,
            base,
            now: base,
            codec: settings.framing.codec(),
            workers: (0..config.workers).map(|_| Worker::new(&queue)).collect(),
            queue,
            queued: VecDeque::new(),
            queued_peak: 0,
            completions: Arc::new(ResponseQueue::new(wake)),
            woken,
            undrained: Vec::new(),
            outcomes: Outcomes::default(),
            slots_given: 0,
            peers: Vec::new(),
            connects: 0,
            connects_before_tick: 0,
            listener_edge: false,
            listener_ready: false,
            accept_paused_until: None,
            is_ticking: false,
            has_pushed: false,
            tick_at: None,
            looked_at: Vec::new(),
            stop_asked: false,
            stop_asked_before_tick: false,
            stop_at: None,
            stopping: false,
            has_closed_at_stop: false,
            ending: false,
            gone: Counts::default(),
            steps: 0,
            trace,
            settings,
        };
        world.note(|| format!("{:?}", world.settings));
        world
    }

    /// A client, a worker or the clock does something.
    fn acts(&mut self, next_due: Option<Instant>) {
        let weights = self.settings.weights;
        let mut dice = self
            .random
            .below(weights.clients + weights.workers + weights.clock);
        if dice < weights.clients {
            return self.client_acts();
        }
        dice -= weights.clients;
        if dice < weights.workers {
            return self.worker_acts();
        }
        self.time_passes(next_due);
    }

    // The clients.

    fn client_acts(&mut self) {
        let settings = &self.settings;
        if self.peers.is_empty()
            || (self.peers.len() < settings.clients && self.random.percent(settings.connects))
        {
            return self.client_connects();
        }
        if settings.stops && !self.stop_asked && self.random.below(settings.stop_one_in) == 0 {
            return self.ask_for_stop();
        }
        let at = self.random.below(self.peers.len());
        self.peer_acts(at);
    }

    fn client_connects(&mut self) {
        if self.stopping {
            return;
        }
        self.connects += 1;
        let (incoming, outgoing) = (self.settings.incoming, self.settings.outgoing);
        let mut socket = Socket::new(incoming, outgoing);
        socket.is_firehose = self.random.percent(3);
        socket.is_urgent = self.random.percent(5);
        if self.random.percent(25) {
            socket.become_unix();
        }
        socket.is_end_ignored = self.random.percent(20);
        let mut client = Client::new(self.connects, &mut self.random);
        let config = &self.settings.config;
        let random = &mut self.random;
        let header = config
            .proxy_protocol
            .then(|| Header::draw(self.connects, config, random));
        if let Some(header) = &header {
            client.begin_with(header);
        }
        self.peers.push(Peer {
            client,
            socket,
            header,
            accepted: None,
            is_lost: false,
            must_be_read: false,
        });
        self.listener_edge = true;
        self.steps += 1;
        self.note(|| format!("client {} connects", self.connects));
    }

    fn peer_acts(&mut self, at: usize) -> bool {
        let peer = &mut self.peers[at];
        let act = if self.ending {
            peer.client
                .behave(&mut peer.socket, !self.settings.ends_with_stop)
        } else {
            let framing = &*self.settings.framing;
            peer.client.act(&mut peer.socket, framing, &mut self.random)
        };
        let did = !matches!(act, Act::Nothing);
        if did {
            self.steps += 1;
            self.note(|| format!("client {}: {act:?}", self.peers[at].client.number()));
        }
        did
    }

    fn time_passes(&mut self, next_due: Option<Instant>) {
        let ms = Duration::from_millis;
        // Ten seconds and more have to pass until a client has taken too little.
        let jumps = match self.settings.config.min_read_rate {
            0 => 6..16,
            _ => 6..60,
        };
        let by = match self.random.below(100) {
            0 => ms(700),
            1..=5 => ms(40),
            dice if jumps.contains(&dice) => return self.jump_to(next_due),
            _ => ms(self.random.below(4) as u64),
        };
        self.set_clock(self.now + by);
    }

    /// To the very moment of the next deadline, or just before it.
    fn jump_to(&mut self, next_due: Option<Instant>) {
        let Some(deadline) = next_due else {
            return;
        };
        let early = Duration::from_millis(self.random.below(2) as u64);
        let at = deadline
            .checked_sub(early)
            .unwrap_or(deadline)
            .max(self.now);
        self.set_clock(at);
    }

    fn set_clock(&mut self, at: Instant) {
        self.now = at;
        self.steps += 1;
        self.note(|| "time passes".to_owned());
    }
}
