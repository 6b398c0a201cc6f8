//! The clocks by themselves: no connection, no requests and no socket.
//!
//! Knows which deadlines docs/protocol.md promises.
//!
//! Rule: each test lets time pass by hand.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

/// A connection that is served, and has nothing to do.
const SERVING: Standing = Standing {
    phase: Phase::Serving,
    is_in_flight: false,
    is_unsent: false,
    written: 0,
    is_kept_waiting: false,
};

fn config() -> Config {
    Config::default()
        .idle_timeout(80 * SECOND)
        .request_timeout(20 * SECOND)
        .proxy_header_timeout(5 * SECOND)
}

/// Deadlines, and a time that is set in seconds since they began.
struct Clocks {
    deadlines: Deadlines,
    config: Config,
    start: Instant,
}

impl Clocks {
    fn new() -> Clocks {
        let start = Instant::now();
        Clocks {
            deadlines: Deadlines::new(start),
            config: config(),
            start,
        }
    }

    fn at(&self, seconds: u32) -> Instant {
        self.start + seconds * SECOND
    }

    /// In how many seconds since the beginning there is something to do.
    fn next(&self, standing: Standing, now: u32) -> Option<u64> {
        let next = self.deadlines.next(&standing, &self.config, self.at(now));
        next.map(|at| (at - self.start).as_secs())
    }

    /// What is due where nothing has come that could be read.
    fn due(&mut self, standing: Standing, now: u32) -> Due {
        let now = self.at(now);
        let unread = || unreachable!("nothing can be read");
        self.deadlines
            .due(&standing, None, &self.config, now, unread)
    }

    /// The same where `unread` bytes lie in the socket, and 10 more may come.
    fn due_unless_read(&mut self, standing: Standing, unread: usize, now: u32) -> Due {
        let now = self.at(now);
        self.deadlines
            .due(&standing, Some(10), &self.config, now, || unread)
    }
}

#[test]
fn the_idle_clock_stands_while_the_server_has_something_to_do() {
    let mut clocks = Clocks::new();
    assert_eq!(clocks.next(SERVING, 30), Some(80));
    let in_flight = Standing {
        is_in_flight: true,
        ..SERVING
    };
    let kept_waiting = Standing {
        is_kept_waiting: true,
        ..SERVING
    };
    for busy in [in_flight, kept_waiting] {
        assert_eq!(clocks.next(busy, 30), Some(110));
        assert_eq!(clocks.due(busy, 200), Due::Nothing);
    }
    clocks.deadlines.wrote(clocks.at(30));
    assert_eq!(clocks.due(SERVING, 109), Due::Nothing);
    assert_eq!(clocks.due(SERVING, 110), Due::Idle);
}

#[test]
fn a_request_has_its_time_from_its_first_byte_or_the_last_write() {
    let mut clocks = Clocks::new();
    clocks.deadlines.framed(true, clocks.at(7));
    clocks.deadlines.framed(true, clocks.at(9));
    assert_eq!(clocks.next(SERVING, 10), Some(27));
    assert_eq!(clocks.due(SERVING, 26), Due::Nothing);
    assert_eq!(clocks.due(SERVING, 27), Due::Request);
    clocks.deadlines.wrote(clocks.at(12));
    assert_eq!(clocks.next(SERVING, 12), Some(32));
    // Its client may wait for what is pending.
    let pending = Standing {
        is_unsent: true,
        ..SERVING
    };
    assert_eq!(clocks.due(pending, 40), Due::Nothing);
    clocks.deadlines.framed(false, clocks.at(41));
    assert_eq!(clocks.due(SERVING, 61), Due::Nothing, "it has come whole");
}

#[test]
fn the_end_of_a_request_comes_before_that_of_an_idle_connection() {
    let mut clocks = Clocks::new();
    clocks.config = config().request_timeout(80 * SECOND);
    assert_eq!(clocks.due(SERVING, 80), Due::Idle);
    clocks.deadlines.framed(true, clocks.at(0));
    assert_eq!(clocks.due(SERVING, 80), Due::Request);
}

#[test]
fn what_has_come_is_read_before_a_connection_is_idle() {
    let mut clocks = Clocks::new();
    let judged = |clocks: &mut Clocks, unread| clocks.due_unless_read(SERVING, unread, 80);
    assert!(!clocks.deadlines.has_last_chance());
    assert_eq!(judged(&mut clocks, 100), Due::ReadFirst);
    assert!(clocks.deadlines.has_last_chance());
    clocks.deadlines.read(99);
    assert_eq!(judged(&mut clocks, 0), Due::ReadFirst, "one is left");
    clocks.deadlines.read(1);
    // They may have been the first part of a long request: of its rest, ten more count.
    assert_eq!(judged(&mut clocks, 8), Due::ReadFirst);
    clocks.deadlines.read(8);
    assert_eq!(judged(&mut clocks, 8), Due::ReadFirst);
    clocks.deadlines.read(2);
    assert_eq!(judged(&mut clocks, 8), Due::Idle);
}

#[test]
fn a_connection_that_goes_on_has_its_last_chance_again() {
    let mut clocks = Clocks::new();
    assert_eq!(clocks.due_unless_read(SERVING, 0, 80), Due::ReadFirst);
    clocks.deadlines.wrote(clocks.at(80));
    assert_eq!(clocks.due_unless_read(SERVING, 0, 81), Due::Nothing);
    assert!(!clocks.deadlines.has_last_chance());
    assert_eq!(clocks.due_unless_read(SERVING, 0, 160), Due::ReadFirst);
    assert_eq!(clocks.due_unless_read(SERVING, 0, 160), Due::Idle);
}

#[test]
fn a_header_has_its_time_from_the_connect_whatever_comes_of_it() {
    let mut clocks = Clocks::new();
    let header = Standing {
        phase: Phase::Header,
        ..SERVING
    };
    clocks.deadlines.read(1);
    assert_eq!(clocks.next(header, 4), Some(5));
    assert_eq!(clocks.due_unless_read(header, 1, 5), Due::ReadFirst);
    clocks.deadlines.read(1);
    assert_eq!(clocks.due_unless_read(header, 0, 5), Due::Header);
    clocks.deadlines.moved_on(clocks.at(5));
    assert_eq!(clocks.next(SERVING, 5), Some(85));
}

#[test]
fn a_client_that_takes_its_responses_is_asked_about_and_not_idle() {
    let mut clocks = Clocks::new();
    let written = Standing {
        written: 100,
        ..SERVING
    };
    clocks.deadlines.wrote(clocks.at(0));
    assert!(clocks.deadlines.depends_on_taken(&written));
    // An eighth of the timeout later.
    assert_eq!(clocks.next(written, 0), Some(10));
    let note = |clocks: &mut Clocks, unacknowledged, now| {
        let now = clocks.at(now);
        let deadlines = &mut clocks.deadlines;
        deadlines.note_unacknowledged(unacknowledged, &written, now);
    };
    note(&mut clocks, 60, 10);
    note(&mut clocks, 60, 20);
    assert_eq!(clocks.due(written, 89), Due::Nothing);
    assert_eq!(clocks.due(written, 90), Due::Idle);
    note(&mut clocks, 0, 30);
    assert!(!clocks.deadlines.depends_on_taken(&written));
    assert_eq!(clocks.next(written, 30), Some(110));
}

#[test]
fn a_rate_counts_only_while_there_is_something_to_take() {
    let mut clocks = Clocks::new();
    clocks.config = config().min_read_rate(1 << 30);
    let written = Standing {
        written: 100,
        ..SERVING
    };
    let watch = |clocks: &mut Clocks, standing| {
        let now = clocks.at(0);
        let Clocks {
            deadlines, config, ..
        } = clocks;
        deadlines.watch_rate(standing, config, now);
    };
    watch(&mut clocks, &SERVING);
    assert_eq!(
        clocks.next(SERVING, 0),
        Some(80),
        "there is nothing to take"
    );
    watch(&mut clocks, &written);
    assert_eq!(clocks.next(written, 0), Some(1));
    for second in 1..11 {
        assert_eq!(clocks.due(written, second), Due::Nothing);
    }
    assert_eq!(clocks.due(written, 11), Due::Rate);
    let draining = Standing {
        phase: Phase::Closing(Closing::Drain),
        ..written
    };
    assert_eq!(clocks.due(draining, 12), Due::Nothing);
    assert_eq!(
        clocks.next(draining, 12),
        None,
        "it is not counted any more"
    );
}

#[test]
fn a_last_word_and_a_shut_connection_have_two_seconds_each() {
    let mut clocks = Clocks::new();
    let by = clocks.at(2);
    let told = Standing {
        phase: Phase::Closing(Closing::Farewell { by }),
        is_unsent: true,
        written: 10,
        ..SERVING
    };
    clocks.deadlines.wrote(clocks.at(1));
    assert_eq!(clocks.next(told, 1), Some(2), "progress changes nothing");
    assert_eq!(clocks.due(told, 2), Due::GiveUp);
    let lingering = |is_draining| Standing {
        phase: Phase::Lingering {
            is_draining,
            left_bytes: 1,
        },
        written: 10,
        ..SERVING
    };
    clocks.deadlines.moved_on(clocks.at(3));
    assert_eq!(clocks.due(lingering(false), 4), Due::Nothing);
    assert_eq!(clocks.due(lingering(false), 5), Due::GiveUp);
    // The drain timeout sees to a client that has not taken all.
    assert_eq!(clocks.due(lingering(true), 5), Due::Nothing);
    let now = clocks.at(6);
    let deadlines = &mut clocks.deadlines;
    deadlines.note_unacknowledged(0, &lingering(true), now);
    assert_eq!(clocks.due(lingering(true), 7), Due::Nothing);
    assert_eq!(clocks.due(lingering(true), 8), Due::GiveUp);
}

fn standing() -> impl Strategy<Value = Standing> {
    let by = Instant::now() + 3 * SECOND;
    let phases = [
        Phase::Header,
        Phase::Serving,
        Phase::Closing(Closing::Last),
        Phase::Closing(Closing::Drain),
        Phase::Closing(Closing::Farewell { by }),
        Phase::Lingering {
            is_draining: false,
            left_bytes: 1,
        },
        Phase::Lingering {
            is_draining: true,
            left_bytes: 1,
        },
        Phase::Over { why: "" },
    ];
    let facts = (0..3u64, any::<[bool; 3]>());
    (prop::sample::select(phases.to_vec()), facts).prop_map(|(phase, (written, facts))| {
        let [is_in_flight, is_unsent, is_kept_waiting] = facts;
        Standing {
            phase,
            is_in_flight,
            is_unsent,
            written,
            is_kept_waiting,
        }
    })
}

proptest! {
    #[test]
    fn nothing_is_due_before_it_was_said_to_be(
        standing in standing(), read in 0..100u32, wrote in 0..100u32, now in 0..200u32,
        rate in 0..2usize,
    ) {
        let mut clocks = Clocks::new();
        clocks.config = config().min_read_rate(rate << 30);
        clocks.deadlines.framed(true, clocks.at(read));
        clocks.deadlines.wrote(clocks.at(wrote));
        let (at, config) = (clocks.at(wrote), clocks.config.clone());
        clocks.deadlines.watch_rate(&standing, &config, at);
        let next = clocks.next(standing, now.min(wrote));
        if clocks.due(standing, now) != Due::Nothing {
            prop_assert!(next.is_some_and(|at| at <= u64::from(now)), "{next:?}");
        }
    }
}
