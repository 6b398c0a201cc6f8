//! One run: the engine under test with the production queues, a stand-in for the reactor, workers,
//! clients and a clock that a seed moves.
//!
//! Knows what src/reactor/mod.rs does with sockets and does the same with models of them.
//!
//! Rule: after each step everything is compared with the oracle; and whenever the reactor would
//! sleep, nothing may be left that it should have done.

mod checks;
mod reactor;
mod workers;

use crate::answers;
use crate::client::{Act, Client};
use crate::oracle::{Oracle, Run};
use crate::random::Random;
use crate::settings::{Counts, Settings};
use crate::socket::Socket;
use reactor_pool::codec::Lines;
use reactor_pool::engine::Engine;
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
    accepted: Option<(ConnectionId, Oracle)>,
}

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) steps: u64,
    pub(crate) counts: Counts,
}

pub(crate) struct World {
    random: Random,
    settings: Settings,
    base: Instant,
    now: Instant,
    engine: Engine,
    queue: Arc<WorkQueue<Task>>,
    /// Tasks in the queue, in the order in which they were pushed, and when that was.
    queued: VecDeque<(Run, Instant)>,
    /// When the loop looks whether they wait beside parked workers.
    look_at: Option<Instant>,
    /// The most requests that were queued at a time.
    queued_peak: usize,
    responses: ResponseQueue<Completion>,
    /// The poll's waker has been used and the poll has not returned since.
    woken: Arc<AtomicBool>,
    /// The poll waits for something to happen.
    asleep: bool,
    /// Responses that have not been drained, in their order: of each request whether it panicked.
    undrained: VecDeque<Vec<bool>>,
    /// Of all responses that have been drained.
    outcomes: Outcomes,
    /// Requests that got a slot.
    slots_given: u64,
    workers: Vec<Worker>,
    peers: Vec<Peer>,
    connects: u32,
    /// Connections of the backlog that the poll has not announced.
    listener_edge: bool,
    listener_ready: bool,
    stop_asked: bool,
    stopping: bool,
    /// The clients behave, and readiness is not withheld any more.
    ending: bool,
    /// Of connections that have gone.
    gone: Counts,
    steps: u64,
    trace: Trace,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace) -> World {
        let mut random = Random::new(seed);
        let settings = Settings::draw(&mut random);
        let base = Instant::now();
        let woken = Arc::new(AtomicBool::new(false));
        let waker = Arc::clone(&woken);
        let config = settings.config.clone();
        let quick_bytes = settings.quick_bytes;
        let is_quick = Box::new(move |line: &[u8]| answers::is_quick(line, quick_bytes));
        let queue = Arc::new(WorkQueue::new(config.queue, config.queue_order));
        let mut world = World {
            random,
            base,
            now: base,
            workers: (0..config.workers).map(|_| Worker::new(&queue)).collect(),
            queue,
            queued: VecDeque::new(),
            look_at: None,
            queued_peak: 0,
            responses: ResponseQueue::new(move || waker.store(true, Ordering::Relaxed)),
            woken,
            asleep: false,
            undrained: VecDeque::new(),
            outcomes: Outcomes::default(),
            slots_given: 0,
            peers: Vec::new(),
            connects: 0,
            listener_edge: false,
            listener_ready: false,
            stop_asked: false,
            stopping: false,
            ending: false,
            gone: Counts::default(),
            steps: 0,
            trace,
            engine: Engine::new(
                config.clone(),
                Arc::new(Lines::new(config.max_line)),
                is_quick,
            ),
            settings,
        };
        world.fall_asleep();
        world.note(|| format!("{:?}", world.settings));
        world
    }

    /// Lives through `steps` random steps, then sees that everything comes to its end.
    pub(crate) fn run(mut self, steps: u64) -> Summary {
        while self.steps < steps {
            let before = self.steps;
            self.random_step();
            if self.steps > before {
                self.check();
            }
        }
        self.end();
        Summary {
            steps: self.steps,
            counts: self.gone,
        }
    }

    fn random_step(&mut self) {
        let weights = self.settings.weights;
        let all = weights.clients + weights.workers + weights.clock + weights.turns;
        let mut dice = self.random.below(all);
        if dice < weights.clients {
            return self.client_acts();
        }
        dice -= weights.clients;
        if dice < weights.workers {
            return self.worker_acts();
        }
        dice -= weights.workers;
        if dice < weights.clock {
            return self.time_passes();
        }
        // A poll may return for nothing, but seldom does.
        if self.is_turn_due() || self.random.percent(1) {
            self.turn();
        }
    }

    // The world around the reactor.

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
        self.peers.push(Peer {
            client: Client::new(self.connects, &mut self.random),
            socket,
            accepted: None,
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
            let max_line = self.settings.config.max_line;
            peer.client
                .act(&mut peer.socket, max_line, &mut self.random)
        };
        let did = !matches!(act, Act::Nothing);
        if did {
            self.steps += 1;
            self.note(|| format!("client {}: {act:?}", self.peers[at].client.number()));
        }
        did
    }

    fn time_passes(&mut self) {
        let ms = Duration::from_millis;
        let by = match self.random.below(100) {
            0 => ms(700),
            1..=5 => ms(40),
            6..=15 => return self.jump_to_deadline(),
            _ => ms(self.random.below(4) as u64),
        };
        self.set_clock(self.now + by);
    }

    /// To the very moment of the next deadline, or just before it.
    fn jump_to_deadline(&mut self) {
        let Some(deadline) = self.next_due() else {
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
