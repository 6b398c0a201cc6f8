//! Connections that share addresses, with an engine around them: limits hold, nobody is forgotten.
//!
//! Knows the engine's doors, as the reactor does.
//!
//! Rule: after each step everything is recounted; at the end everything that was asked is
//! answered.

use super::*;
use crate::codec::Lines;
use crate::engine::{Action, ConnectionState, Engine, Kernel, PauseReason, UNSENT_LIMIT_BYTES};
use crate::task::{Completion, Outcomes, Task};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn addresses_of_ipv6_are_told_apart_by_their_first_64_bits() {
    let key = |text: &str| key(text.parse().expect("an address"));
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("::ffff:192.0.2.1"), key("::ffff:192.0.2.2"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

/// A client with its socket.
struct Client {
    id: ConnectionId,
    incoming: Vec<u8>,
    readable: bool,
    has_ended: bool,
    /// Lines that it sent, and answers that it got.
    asked: usize,
    answered: usize,
}

struct World {
    engine: Engine<Lines>,
    now: Instant,
    clients: Vec<Client>,
    /// Tasks that the workers have.
    tasks: Vec<Task>,
    /// What one read takes.
    chunk: usize,
    /// Whether answers find room in the sockets. Otherwise they are long.
    takes: bool,
    /// Whose tasks were answered, in that order.
    answered: Vec<ConnectionId>,
}

/// The sockets of clients that have taken everything, with nothing to read in them.
struct Quiet;

impl Kernel for Quiet {
    fn unread(&mut self, _: ConnectionId) -> usize {
        0
    }

    fn unacknowledged(&mut self, _: ConnectionId) -> usize {
        0
    }
}

fn address(number: u8) -> Option<IpAddr> {
    // One in four has no address.
    (!number.is_multiple_of(4)).then(|| IpAddr::from([192, 0, 2, number % 4]))
}

impl World {
    fn new(config: Config, chunk: usize) -> World {
        let lines = Arc::new(Lines::new(config.max_line));
        World {
            engine: Engine::new(config, lines, Box::new(|_| false)),
            now: Instant::now(),
            clients: Vec::new(),
            tasks: Vec::new(),
            chunk,
            takes: true,
            answered: Vec::new(),
        }
    }

    /// A client connects. Says whether it is served.
    fn connect(&mut self, address: Option<IpAddr>) -> bool {
        let id = self.engine.accept(self.now).id;
        let is_served = self.engine.introduce(id, address, self.now);
        self.clients.push(Client {
            id,
            incoming: Vec::new(),
            readable: false,
            has_ended: false,
            asked: 0,
            answered: 0,
        });
        is_served
    }

    fn send(&mut self, client: usize, bytes: &[u8]) {
        let client = &mut self.clients[client];
        if !client.has_ended {
            client.incoming.extend_from_slice(bytes);
            client.asked += bytes.iter().filter(|byte| **byte == b'\n').count();
            client.readable = true;
            self.engine.mark_ready(client.id);
        }
    }

    /// Serves each connection on the ready list once, as the reactor does.
    fn serve(&mut self) {
        for _ in 0..self.engine.ready_len() {
            let Some(id) = self.engine.next_ready() else {
                return;
            };
            let Some(client) = self.clients.iter().position(|client| client.id == id) else {
                continue;
            };
            self.serve_one(client);
            self.engine.check_invariants();
        }
    }

    fn serve_one(&mut self, at: usize) {
        let (engine, now) = (&mut self.engine, self.now);
        let client = &mut self.clients[at];
        let id = client.id;
        if self.takes {
            let unsent = engine.unsent(id);
            client.answered += unsent.iter().filter(|byte| **byte == b'\n').count();
            match unsent.len() {
                0 => {}
                count => engine.sent(id, count, now),
            }
        }
        match engine.next_action(id, client.readable) {
            Action::Wait => {}
            Action::Read if client.incoming.is_empty() && client.has_ended => {
                client.readable = false;
                engine.received_end(id, now);
            }
            Action::Read if client.incoming.is_empty() => {
                client.readable = false;
                engine.received_nothing(id, now);
            }
            Action::Read => {
                let count = self.chunk.min(client.incoming.len());
                let bytes: Vec<_> = client.incoming.drain(..count).collect();
                engine.received(id, &bytes, now);
                engine.mark_ready(id);
            }
            Action::Discard => {
                client.incoming.clear();
                client.readable = false;
            }
            Action::ShutDown => engine.shut_down(id, now),
            Action::Close { .. } => self.close(at),
            Action::ReadHeader => panic!("no proxies here"),
        }
    }

    fn close(&mut self, client: usize) {
        let id = self.clients.swap_remove(client).id;
        self.engine.remove(id, self.now, "closed");
        let is_own = |task: &Task| task.connection == id;
        let (own, others): (Vec<_>, Vec<_>) = self.tasks.drain(..).partition(is_own);
        self.tasks = others;
        self.engine.withdrawn(&own, self.now);
    }

    fn submit(&mut self, room: usize) {
        self.engine.frame_called(self.now);
        self.engine.submit(room, self.now, &mut self.tasks);
    }

    /// A worker has answered a task.
    fn complete(&mut self, task: usize) {
        let task = self.tasks.swap_remove(task);
        self.answered.push(task.connection);
        let requests = task.run.span.requests;
        let answer = match self.takes {
            true => b"OK\n".to_vec(),
            false => [&[b'.'; UNSENT_LIMIT_BYTES][..], b"\n"].concat(),
        };
        let completion = Completion {
            connection: task.connection,
            span: task.run.span,
            responses: answer.repeat(requests),
            outcomes: Outcomes {
                ok: requests,
                ..Outcomes::default()
            },
            started_at: self.now,
            finished_at: self.now,
            is_last: false,
            worker: 0,
            is_overrun: false,
        };
        self.engine.completed(completion, self.now);
    }

    /// Everybody goes on until nothing changes any more.
    fn come_to_rest(&mut self) {
        self.takes = true;
        for client in &self.clients {
            self.engine.mark_ready(client.id);
        }
        while self.engine.ready_len() > 0 || !self.tasks.is_empty() {
            self.serve();
            self.submit(usize::MAX);
            if !self.tasks.is_empty() {
                self.complete(0);
            }
            self.engine.check_invariants();
        }
    }

    /// A connection that others keep waiting is not idle.
    fn time_passes(&mut self, time: Duration) {
        self.now += time;
        let views = self.engine.views(self.now);
        let waiting = views.filter(|view| view.pause == Some(PauseReason::Address));
        let waiting: Vec<_> = waiting.map(|view| view.id).collect();
        self.engine.expire(self.now, &mut Quiet);
        let views = self.engine.views(self.now);
        let mut waiting = views.filter(|view| waiting.contains(&view.id));
        assert!(waiting.all(|view| view.state == ConnectionState::Serving));
    }

    fn step(&mut self, what: u8, how: u8) {
        let client = (how as usize).checked_rem(self.clients.len());
        match (what % 16, client) {
            (0 | 1, _) | (_, None) if self.clients.len() < 12 => {
                self.connect(address(how));
            }
            (2..=5, Some(client)) => {
                let bytes = [&b"x\n"[..], b"y\nz\n", b"w", b"\n\n\n\n\n"];
                self.send(client, bytes[how as usize % 4]);
            }
            (6..=8, _) => self.serve(),
            (9 | 10, _) => self.submit(usize::from(how % 8)),
            (11 | 12, _) if !self.tasks.is_empty() => {
                self.complete(how as usize % self.tasks.len());
            }
            (13, Some(client)) if how.is_multiple_of(8) => self.close(client),
            (13, Some(client)) if how.is_multiple_of(3) => {
                let client = &mut self.clients[client];
                (client.has_ended, client.readable) = (true, true);
                self.engine.mark_ready(client.id);
            }
            // The poll says that there is something to read, and there is not.
            (13, Some(client)) => {
                self.clients[client].readable = true;
                self.engine.mark_ready(self.clients[client].id);
            }
            (14, _) => self.takes = !how.is_multiple_of(4),
            _ => self.time_passes(Duration::from_millis(u64::from(how))),
        }
        self.engine.check_invariants();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_the_limits_hold_and_nobody_waits_for_ever(
        max_connections in 0..4usize,
        max_inflight in 1..5usize,
        max_inflight_of_one in 1..5usize,
        chunk in 1..12usize,
        idle_timeout in prop::sample::select(vec![0, 100, 2000]),
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..400),
    ) {
        let config = Config::default()
            .max_connections_per_address(max_connections)
            .max_inflight_per_address(max_inflight)
            .max_inflight(max_inflight_of_one)
            .max_line(10)
            .busy_timeout(Duration::from_secs(3600))
            .idle_timeout(Duration::from_millis(idle_timeout));
        let mut world = World::new(config, chunk);
        for (what, how) in steps {
            world.step(what, how);
        }
        world.come_to_rest();
        for view in world.engine.views(world.now) {
            prop_assert_eq!(view.pause, None);
            prop_assert_eq!(view.in_flight, 0);
        }
        // Those that were refused or idle have been told so, and are not read.
        for client in &world.clients {
            prop_assert!(client.incoming.is_empty() || client.answered > 0);
        }
        let stats = world.engine.stats();
        prop_assert_eq!(stats.framed, stats.answered_ok + stats.discarded);
    }
}

#[test]
fn a_connection_that_pipelines_does_not_keep_others_of_its_address_waiting() {
    // In reads of one request, and in one read of all: then it asks for its second place at once.
    for (chunk, expected) in [(2, [0, 1, 2, 0, 0, 0]), (2000, [0, 0, 1, 2, 0, 0])] {
        let config = Config::default().max_inflight_per_address(1);
        let mut world = World::new(config, chunk);
        for number in 0..3 {
            assert!(world.connect(address(1)));
            world.send(number, &b"x\n".repeat(if number == 0 { 1000 } else { 1 }));
        }
        while world.answered.len() < 6 {
            world.serve();
            world.submit(usize::MAX);
            assert!(world.tasks.len() <= 1, "one in flight for all of them");
            if !world.tasks.is_empty() {
                world.complete(0);
            }
        }
        let turns = world.answered.iter();
        let turns = turns.map(|id| world.clients.iter().position(|client| client.id == *id));
        let turns: Vec<_> = turns.flatten().collect();
        assert_eq!(turns, expected);
        assert!(world.engine.stats().address_pauses > 0);
    }
}

#[test]
fn connections_that_pipeline_take_turns_at_the_places_of_their_address() {
    for most in 1..4 {
        let config = Config::default().max_inflight_per_address(most).max_run(1);
        let mut world = World::new(config, 2000);
        for number in 0..4 {
            assert!(world.connect(address(1)));
            world.send(number, &b"x\n".repeat(50));
        }
        let mut answered = [0; 4];
        for _ in 0..200 {
            while world.tasks.is_empty() {
                world.serve();
                world.submit(usize::MAX);
            }
            assert!(world.tasks.len() <= most);
            // The oldest one.
            world.tasks.rotate_left(1);
            world.complete(world.tasks.len() - 1);
            let id = world.answered.last().expect("just now");
            let client = world.clients.iter().position(|client| client.id == *id);
            answered[client.expect("all are there")] += 1;
            let (least, greatest) = (answered.iter().min(), answered.iter().max());
            let ahead = greatest.expect("four") - least.expect("four");
            assert!(ahead <= most + 1, "{answered:?} with {most}");
        }
        assert_eq!(answered, [50; 4]);
    }
}

#[test]
fn the_time_in_which_others_keep_a_connection_waiting_does_not_count_as_idle() {
    let ms = Duration::from_millis;
    let config = Config::default()
        .max_inflight_per_address(1)
        .idle_timeout(ms(1000));
    let mut world = World::new(config, 100);
    assert!(world.connect(address(1)) && world.connect(address(1)));
    world.send(0, b"x\n");
    world.send(1, b"the beginning of a request");
    world.serve();
    world.submit(1);
    world.time_passes(ms(5000));
    world.time_passes(ms(900));
    world.complete(0);
    let waits = |world: &World| {
        let mut views = world.engine.views(world.now);
        let view = views.find(|view| view.id == world.clients[1].id);
        let view = view.expect("it is there");
        (view.pause.is_some(), view.state)
    };
    assert_eq!(waits(&world), (false, ConnectionState::Serving));
    let mut lives_for = |times, state| {
        for _ in 0..times {
            world.serve();
            world.time_passes(ms(150));
        }
        assert_eq!(waits(&world), (false, state));
    };
    lives_for(6, ConnectionState::Serving);
    lives_for(3, ConnectionState::Lingering);
}

#[test]
fn an_address_is_limited_and_others_are_not() {
    let config = Config::default()
        .max_connections_per_address(2)
        .max_inflight_per_address(3);
    let mut world = World::new(config, 100);
    let served = [1, 1, 1, 2, 0, 0, 0].map(|number| world.connect(address(number)));
    assert_eq!(served, [true, true, false, true, true, true, true]);
    assert_eq!(world.engine.stats().too_many_per_address, 1);
    assert_eq!(
        world.engine.unsent(world.clients[2].id),
        b"ERR too many connections\n"
    );
    for client in [0, 1, 3, 4] {
        world.send(client, &b"x\n".repeat(5));
    }
    world.serve();
    let pause = |world: &World| {
        let views: Vec<_> = world.engine.views(world.now).collect();
        [0, 1, 3, 4].map(|client| (views[client].in_flight, views[client].pause))
    };
    // The second is not read at all, and the fourth has no address.
    let before = pause(&world);
    assert_eq!(before.map(|(in_flight, _)| in_flight), [3, 0, 3, 5]);
    assert_eq!(before[1].1, Some(PauseReason::Address));
    // A connection that goes makes room for others.
    world.close(0);
    assert!(world.connect(address(1)) && !world.connect(address(1)));
    world.come_to_rest();
    assert!(
        world
            .clients
            .iter()
            .all(|client| client.incoming.is_empty())
    );
}
