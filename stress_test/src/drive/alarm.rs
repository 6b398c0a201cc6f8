//! A timer that wakes the event loop to the microsecond.
//!
//! Knows a descriptor that becomes readable when its time has come; not what is due then.
//!
//! Rule: needed because the poll timeout of mio is rounded up to a whole millisecond.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timer of the kernel, for one time at a time.
#[derive(Debug)]
pub(crate) struct Alarm {
    descriptor: OwnedFd,
    /// What it is set to; past, once it has gone off.
    set_to: Option<Instant>,
}

impl Alarm {
    /// An alarm whose event in `registry` has `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let raw = descriptor.as_raw_fd();
        // Edge-triggered: each time that it goes off is announced, so it need not be read.
        SourceFd(&raw).register(registry, token, Interest::READABLE)?;
        Ok(Self {
            descriptor,
            set_to: None,
        })
    }

    /// Lets it go off at `time`, or at once when that is past. An earlier setting is forgotten.
    pub(crate) fn set(&mut self, time: Instant, now: Instant) -> io::Result<()> {
        if self.set_to == Some(time) {
            return Ok(());
        }
        // Zero would switch it off.
        let wait = time
            .saturating_duration_since(now)
            .max(Duration::from_nanos(1));
        let value = Itimerspec {
            it_interval: Timespec::default(),
            it_value: wait.try_into().map_err(io::Error::other)?,
        };
        timerfd_settime(self.descriptor.as_fd(), TimerfdTimerFlags::empty(), &value)?;
        self.set_to = Some(time);
        Ok(())
    }

    /// When it goes off, if that is after `now`.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.set_to.filter(|&time| time > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};

    #[test]
    fn it_goes_off_every_time_it_is_set_and_not_before() {
        let mut poll = Poll::new().expect("there is a poll");
        let mut events = Events::with_capacity(8);
        let mut alarm = Alarm::new(poll.registry(), Token(3)).expect("there is a timer");
        for wait in [300, 1500, 0].map(Duration::from_micros) {
            let now = Instant::now();
            alarm.set(now + wait, now).expect("it can be set");
            assert_eq!(alarm.next(now), (!wait.is_zero()).then_some(now + wait));
            let patience = Some(Duration::from_secs(60));
            poll.poll(&mut events, patience)
                .expect("it can be waited for");
            assert_eq!(
                events.iter().map(|event| event.token()).next(),
                Some(Token(3))
            );
            assert!(now.elapsed() >= wait);
        }
    }
}
