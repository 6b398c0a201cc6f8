//! One run: the reactor of production lives in a [`World`] through random steps.
//!
//! Knows when a reactor that sleeps would be woken.
//!
//! Rule: after each step everything is compared with the oracles; and whenever the reactor would
//! sleep, nothing may be left that it should have done.

use super::net::SimNet;
use super::{Summary, Trace, World};
use crate::answers;
use reactor_pool::Peer;
use reactor_pool::codec::Codec;
use reactor_pool::net::Wait;
use reactor_pool::pool::Board;
use reactor_pool::reactor::{Monitor, Protocol, Reactor, ServerState, Sessions, StopReason};
use reactor_pool::task::ConnectionId;
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) struct Life {
    pub(super) reactor: Reactor<SimNet, Arc<dyn Codec>>,
    monitor: Monitor,
    world: Rc<RefCell<World>>,
    /// What the reactor has told of connections.
    pub(super) open: Arc<Mutex<BTreeMap<ConnectionId, Peer>>>,
    /// How long the poll sleeps.
    wait: Wait,
}

/// Is told of connections.
struct OpenConnections(Arc<Mutex<BTreeMap<ConnectionId, Peer>>>);

impl Sessions for OpenConnections {
    fn opened(&self, id: ConnectionId, peer: Peer) -> bool {
        let before = self.0.lock().expect("no panic").insert(id, peer);
        before.is_none()
    }

    fn closed(&self, id: ConnectionId) {
        self.0.lock().expect("no panic").remove(&id);
    }

    fn ended(&self) {}
}

impl Life {
    pub(crate) fn new(seed: u64, trace: Trace) -> Life {
        let world = World::new(seed, trace);
        let (settings, queue) = (&world.settings, Arc::clone(&world.queue));
        let shares_listener = settings.shares_listener;
        let codec = Arc::clone(&world.codec);
        let (config, quick_bytes) = (settings.config.clone(), settings.quick_bytes);
        let is_quick = Box::new(move |payload: &[u8]| answers::is_quick(payload, quick_bytes));
        let completions = Arc::clone(&world.completions);
        let world = Rc::new(RefCell::new(world));
        let net = SimNet(Rc::clone(&world));
        let open = Arc::default();
        let sessions = Box::new(OpenConnections(Arc::clone(&open)));
        let protocol = Protocol {
            codec: Arc::new(codec),
            is_quick,
            sessions,
        };
        let board = Arc::new(Board::new(config.workers));
        let (monitor, monitored) = Monitor::new(board, &completions);
        let mut reactor = Reactor::new(&config, net, protocol, queue, completions, monitored);
        reactor.start_accepting([shares_listener]);
        let wait = reactor.park();
        Life {
            reactor,
            monitor,
            world,
            open,
            wait,
        }
    }

    pub(super) fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }

    /// Lives through `steps` random steps, then sees that everything comes to its end.
    pub(crate) fn run(mut self, steps: u64) -> Summary {
        while self.world().steps < steps && self.reactor.stop_reason().is_none() {
            let before = self.world().steps;
            self.random_step();
            if self.world().steps > before {
                self.check();
            }
        }
        self.end();
        let world = self.world();
        Summary {
            steps: world.steps,
            counts: world.gone,
        }
    }

    fn random_step(&mut self) {
        let weights = self.world().settings.weights;
        let others = weights.clients + weights.workers + weights.clock;
        if self.world().random.below(others + weights.ticks) < others {
            let next_due = self.next_due();
            return self.world().acts(next_due);
        }
        // A poll may return for nothing, but seldom does.
        if self.is_tick_due() || self.world().random.percent(1) {
            self.tick();
        }
    }

    /// When the poll ends though nothing happens. Nobody waits here for the drain timeout.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let world = self.world();
        let far = world.now + world.settings.config.drain_timeout / 2;
        match self.wait {
            Wait::Until(at) if at < far => Some(at),
            Wait::Not | Wait::Until(_) | Wait::Forever => None,
        }
    }

    pub(super) fn is_tick_due(&self) -> bool {
        if self.reactor.stop_reason().is_some() {
            return false;
        }
        let next_due = self.next_due();
        let world = self.world();
        let mut accepted = world.peers.iter().filter(|peer| peer.accepted.is_some());
        self.wait == Wait::Not
            || world.is_woken()
            || accepted.any(|peer| peer.socket.has_edges())
            || (!world.stopping && world.listener_edge)
            || next_due.is_some_and(|at| at <= world.now)
    }

    pub(super) fn tick(&mut self) {
        let called = {
            let mut world = self.world();
            world.is_ticking = true;
            world.has_pushed = false;
            world.queue.parking().woken()
        };
        self.reactor.tick(Wait::Not).expect("no poll fails here");
        {
            let mut world = self.world();
            world.is_ticking = false;
            let state = self.monitor.wait_for(ServerState::Starting, Duration::ZERO);
            world.check_state(state);
            world.end_tick();
            let called_now = world.queue.parking().woken();
            if !world.has_pushed {
                world.gone.woken_in_time += called_now.saturating_sub(called) as u64;
            }
        }
        self.wait = self.reactor.park();
    }

    /// How the server ended, which it does once it is stopped.
    pub(super) fn check_stop_reason(&self) {
        let expected = self.world().stopping.then_some(StopReason::Drained);
        assert_eq!(self.reactor.stop_reason(), expected, "promise 9");
    }
}
