//! What an event loop itself does while it measures: its processor time, and how long it is away.
//!
//! Knows clocks and the scheduler's own account; nothing of connections.
//!
//! Rule: an answer is read when the loop looks for it. For how long it had not looked is a delay
//! of this program, be it busy, stopped by a signal or waiting for a processor.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::drive::patience::ABSENCE;
use crate::figures::latencies::Latencies;
use crate::figures::outcome::{Effort, OpenLoopEffort};

/// The scheduler's account of the thread that reads it: nanoseconds on a processor, nanoseconds
/// that it was ready and had none, and how often it got one.
const SCHEDULER: &str = "/proc/thread-self/schedstat";

/// The watch over one event loop.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The processor time and the time when measuring began.
    from: Option<(Duration, Instant)>,
    /// The same, when the load ended.
    until: Option<(Duration, Instant)>,
    /// When the loop last found out what had happened.
    looked: Instant,
    /// The processor time when the loop last looked at its timeouts.
    worked: Duration,
    delays: Latencies,
    /// How long all absences were.
    absent: Duration,
    run_queue: Option<RunQueue>,
    run_queue_waits: Latencies,
    /// Events since the scheduler's account was last read.
    events: u64,
}

/// The scheduler's account, and how it stood.
#[derive(Debug)]
struct RunQueue {
    account: File,
    waited: Duration,
    turns: u64,
}

impl Watch {
    /// Over a loop that begins at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            from: None,
            until: None,
            looked: now,
            worked: Duration::ZERO,
            delays: Latencies::default(),
            absent: Duration::ZERO,
            run_queue: None,
            run_queue_waits: Latencies::default(),
            events: 0,
        }
    }

    /// The warmup is over, which may be said again.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.from.is_none() {
            self.from = Some((processor_time(), now));
            self.run_queue = RunQueue::open();
        }
    }

    /// The load has ended.
    pub(crate) fn end(&mut self, now: Instant) {
        self.until = Some((processor_time(), now));
    }

    /// The loop has looked what has happened: it asked at `asked`, to be woken at `wake` at the
    /// latest, and knew at `now`. Says for how long it had not looked before.
    pub(crate) fn looked(&mut self, asked: Instant, wake: Instant, now: Instant) -> Duration {
        let busy = asked.saturating_duration_since(self.looked);
        let late = now.saturating_duration_since(wake.max(asked));
        self.looked = now;
        busy + late
    }

    /// `delay`, for which the loop had not looked, held up so many events.
    pub(crate) fn held_up(&mut self, delay: Duration, events: u64) {
        if events > 0 && self.from.is_some() && self.until.is_none() {
            self.delays.record_many(delay, events);
            self.events += events;
            if delay >= ABSENCE {
                self.absent += delay;
            }
        }
    }

    /// For how long the loop has used the processor since this was asked last.
    pub(crate) fn worked(&mut self) -> Duration {
        let worked = processor_time();
        worked - std::mem::replace(&mut self.worked, worked)
    }

    /// Reads the scheduler's account; each event since the last time waited for its mean.
    pub(crate) fn look_at_the_scheduler(&mut self) {
        let wait = self.run_queue.as_mut().and_then(RunQueue::mean_wait);
        let events = std::mem::take(&mut self.events);
        if let Some(wait) = wait
            && events > 0
        {
            self.run_queue_waits.record_many(wait, events);
        }
    }

    /// What the loop did.
    pub(crate) fn into_effort(self, open_loop: Option<OpenLoopEffort>) -> Effort {
        let now = || (processor_time(), Instant::now());
        let (cpu, until) = self.until.unwrap_or_else(now);
        let (cpu_before, from) = self.from.unwrap_or((cpu, until));
        let cpu = cpu.saturating_sub(cpu_before);
        Effort {
            cpu,
            busiest: cpu,
            threads: 1,
            elapsed: until.saturating_duration_since(from),
            delays: self.delays,
            absent: self.absent,
            run_queue_waits: self.run_queue_waits,
            open_loop,
        }
    }
}

impl RunQueue {
    /// The account of this thread, where the system keeps one.
    fn open() -> Option<Self> {
        let account = File::open(SCHEDULER).ok()?;
        let (waited, turns) = read(&account)?;
        Some(Self {
            account,
            waited,
            turns,
        })
    }

    /// For how long this thread waited for a processor since the last time, each time on average.
    fn mean_wait(&mut self) -> Option<Duration> {
        let (waited, turns) = read(&self.account)?;
        let (since, times) = (waited - self.waited, turns - self.turns);
        (self.waited, self.turns) = (waited, turns);
        Some(since.div_f64(times.max(1) as f64))
    }
}

/// How long the thread whose `account` it is has waited so far, and how often it has run.
fn read(account: &File) -> Option<(Duration, u64)> {
    let mut text = [0; 80];
    let length = account.read_at(&mut text, 0).ok()?;
    parse(std::str::from_utf8(&text[..length]).ok()?)
}

/// The second and the third number of `account`.
fn parse(account: &str) -> Option<(Duration, u64)> {
    let mut numbers = account.split_whitespace().skip(1);
    let waited = Duration::from_nanos(numbers.next()?.parse().ok()?);
    Some((waited, numbers.next()?.parse().ok()?))
}

/// The processor time of this thread so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("no thread has used a negative time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn what_lies_between_two_looks_is_a_delay() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let looked = |watch: &mut Watch, asked, wake, now, events| {
            let delay = watch.looked(asked, wake, now);
            watch.held_up(delay, events);
        };
        looked(&mut watch, start, at(start, 50), at(start, 10), 1);
        assert_eq!(watch.delays.count(), 0, "it is not measured yet");
        watch.begin(start);
        // It handled events for 3 ms, and slept for less than it might have.
        looked(&mut watch, at(start, 13), at(start, 50), at(start, 20), 5);
        assert_eq!(watch.delays.longest(), Duration::from_millis(3));
        assert_eq!(watch.delays.count(), 5);
        // It was to be woken at 70, and was stopped meanwhile.
        looked(&mut watch, at(start, 20), at(start, 70), at(start, 500), 1);
        assert_eq!(watch.delays.longest(), Duration::from_millis(430));
        assert_eq!(watch.absent, Duration::from_millis(430), "3 ms are none");
        // Nothing had happened, so nothing was delayed.
        looked(
            &mut watch,
            at(start, 500),
            at(start, 550),
            at(start, 2000),
            0,
        );
        assert_eq!(watch.delays.count(), 6);
    }

    #[test]
    fn the_scheduler_says_how_long_a_thread_waited_and_how_often_it_ran() {
        let parsed = parse("62035467 1500000 42\n");
        assert_eq!(parsed, Some((Duration::from_micros(1500), 42)));
        assert_eq!(parse("62035467"), None);
        let account = RunQueue::open();
        let waited = account.map(|mut account| account.mean_wait());
        assert!(waited.is_none_or(|wait| wait.is_some()), "{SCHEDULER}");
    }
}
