//! Ends a sleep of the loop when something is due.
//!
//! Knows not what: it is told a time.
//!
//! Rule: a sleep may end early, and by at most a millisecond late.

use std::time::{Duration, Instant};

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use timer::Alarm;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use timeout::Alarm;

fn left(due: Instant) -> Duration {
    due.saturating_duration_since(Instant::now())
}

/// A timer that stays set from sleep to sleep. The kernel sets and clears the timeout of a poll
/// every time. This one is set only when something is due earlier than it would ring, so a loop
/// whose first deadline is minutes away does not touch it.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod timer {
    use super::super::Wait;
    use super::left;
    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::fd::{AsRawFd, OwnedFd};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io;
    use std::time::{Duration, Instant};

    #[derive(Debug)]
    pub(in crate::net) struct Alarm {
        timer: OwnedFd,
        /// When it rings; none if it has rung.
        rings_at: Option<Instant>,
    }

    impl Alarm {
        pub(in crate::net) fn register(registry: &Registry, token: Token) -> io::Result<Alarm> {
            // The clock of `Instant`.
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Alarm {
                timer,
                rings_at: None,
            })
        }

        /// Sees to it that a poll with the returned timeout sleeps no longer than it may.
        pub(in crate::net) fn set(&mut self, wait: Wait) -> io::Result<Option<Duration>> {
            let due = match wait {
                Wait::Not => return Ok(Some(Duration::ZERO)),
                Wait::Until(due) if self.rings_at.is_none_or(|at| due < at) => due,
                Wait::Until(_) | Wait::Forever => return Ok(None),
            };
            let left = left(due);
            if left.is_zero() {
                return Ok(Some(left));
            }
            // What is due within the same millisecond is one end of a sleep, unless that is the
            // first.
            let after = match left.as_millis() as u64 {
                0 => left,
                millis => Duration::from_millis(millis + 1),
            };
            let value = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec {
                    tv_sec: after.as_secs() as i64,
                    tv_nsec: i64::from(after.subsec_nanos()),
                },
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value)?;
            self.rings_at = Some(due);
            Ok(None)
        }

        /// The poll said that it rings. Nothing need be read: setting it anew ends that, and each
        /// time it rings is a new edge.
        pub(in crate::net) fn note_ring(&mut self) {
            self.rings_at = None;
        }
    }
}

/// The timeout of the poll.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod timeout {
    use super::super::Wait;
    use super::left;
    use mio::{Registry, Token};
    use std::io;
    use std::time::{Duration, Instant};

    #[derive(Debug)]
    pub(in crate::net) struct Alarm;

    impl Alarm {
        pub(in crate::net) fn register(_: &Registry, _: Token) -> io::Result<Alarm> {
            Ok(Alarm)
        }

        /// Sees to it that a poll with the returned timeout sleeps no longer than it may.
        pub(in crate::net) fn set(&mut self, wait: Wait) -> io::Result<Option<Duration>> {
            Ok(match wait {
                Wait::Not => Some(Duration::ZERO),
                Wait::Until(due) => Some(left(due)),
                Wait::Forever => None,
            })
        }

        pub(in crate::net) fn note_ring(&mut self) {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Wait;
    use super::*;
    use mio::{Events, Poll, Token};

    const ALARM: Token = Token(3);
    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(10);

    struct Sleeper {
        poll: Poll,
        alarm: Alarm,
    }

    impl Sleeper {
        fn new() -> Sleeper {
            let poll = Poll::new().expect("a poll");
            let alarm = Alarm::register(poll.registry(), ALARM).expect("an alarm");
            Sleeper { poll, alarm }
        }

        /// Sleeps once; says for how long, and whether the alarm rang.
        fn sleep(&mut self, due: Duration) -> (Duration, bool) {
            let from = Instant::now();
            let timeout = self
                .alarm
                .set(Wait::Until(from + due))
                .expect("it can be set");
            let timeout = timeout.or(Some(LATE));
            let mut events = Events::with_capacity(8);
            self.poll
                .poll(&mut events, timeout)
                .expect("no signal comes");
            let rang = events.iter().any(|event| event.token() == ALARM);
            if rang {
                self.alarm.note_ring();
            }
            (from.elapsed(), rang)
        }
    }

    #[test]
    fn each_sleep_ends_when_something_is_due() {
        let mut sleeper = Sleeper::new();
        for _ in 0..3 {
            let (slept, _) = sleeper.sleep(SOON);
            assert!(slept >= SOON && slept < LATE, "{slept:?}");
        }
    }

    #[test]
    fn what_is_due_already_is_not_slept_for() {
        let timeout = Sleeper::new().alarm.set(Wait::Until(Instant::now()));
        assert_eq!(timeout.expect("it can be set"), Some(Duration::ZERO));
    }

    #[test]
    fn it_can_be_set_to_an_earlier_time() {
        let mut sleeper = Sleeper::new();
        let set = sleeper.alarm.set(Wait::Until(Instant::now() + 2 * LATE));
        set.expect("it can be set");
        let (slept, _) = sleeper.sleep(SOON);
        assert!(slept >= SOON && slept < LATE, "{slept:?}");
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn it_stays_set_when_something_is_due_later() {
        let mut sleeper = Sleeper::new();
        let set = sleeper.alarm.set(Wait::Until(Instant::now() + SOON));
        set.expect("it can be set");
        let (slept, rang) = sleeper.sleep(2 * LATE);
        assert!(rang && slept < LATE, "{slept:?}");
        let (slept, rang) = sleeper.sleep(SOON);
        assert!(rang && slept >= SOON && slept < LATE, "{slept:?}");
    }
}
