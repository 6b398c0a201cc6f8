//! How much of a core another process uses during a part of its time.
//!
//! Knows how much it had used at which moments; not what it does.
//!
//! Rule: a share is of the time that is measured. What the process uses while connections are made
//! or closed belongs to no throughput.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::command::process;

/// How often it is read, which is how fine the account of the system is.
const EVERY: Duration = Duration::from_millis(10);

/// Reads the processor time of a process now and then, until it is asked.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Closed to end the thread.
    stop: Sender<()>,
    thread: JoinHandle<Readings>,
}

/// The processor time that a process had used by then, in the order of time.
#[derive(Debug, Default)]
pub(crate) struct Readings(Vec<(Instant, Duration)>);

impl Meter {
    /// A meter of process `id`.
    pub(crate) fn start(id: u32) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            let mut readings = Readings::default();
            let mut is_last = false;
            while let Some(used) = process::processor_time(id) {
                readings.0.push((Instant::now(), used));
                if is_last {
                    break;
                }
                is_last = stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Disconnected);
            }
            readings
        });
        Self { stop, thread }
    }

    /// What it has read.
    pub(crate) fn stop(self) -> Readings {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

impl Readings {
    /// How much of one core the process used between `from` and `until`, in percent.
    pub(crate) fn percent(&self, from: Instant, until: Instant) -> Option<f64> {
        let used = self.at(until)?.saturating_sub(self.at(from)?);
        let length = until.saturating_duration_since(from).as_secs_f64();
        (length > 0.0).then(|| 100.0 * used.as_secs_f64() / length)
    }

    /// What had been used at `time`: between two readings, a straight line.
    fn at(&self, time: Instant) -> Option<Duration> {
        let later = self.0.partition_point(|(read, _)| *read < time);
        let (until, after) = *self.0.get(later)?;
        let Some((from, before)) = later.checked_sub(1).map(|place| self.0[place]) else {
            return Some(after);
        };
        let share = (time - from).div_duration_f64(until - from);
        Some(before + after.saturating_sub(before).mul_f64(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_before_and_behind_does_not_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        // A second of connecting takes all of a core, two of load a fifth of it, then nothing.
        let readings = [
            (0, 0),
            (500, 500),
            (1000, 1000),
            (2000, 1200),
            (3000, 1400),
            (4000, 1400),
        ];
        let readings = readings.map(|(ms, used)| (at(ms), Duration::from_millis(used)));
        let readings = Readings(readings.to_vec());
        let percent = |from, until| readings.percent(at(from), at(until)).map(f64::round);
        assert_eq!(percent(1000, 3000), Some(20.0));
        assert_eq!(percent(1250, 2750), Some(20.0), "between readings");
        assert_eq!(percent(0, 4000), Some(35.0));
        assert_eq!(percent(1000, 5000), None, "nobody has read that");
        assert_eq!(percent(1000, 1000), None);
    }

    #[test]
    fn a_meter_reads_until_it_is_asked() {
        let from = Instant::now();
        let meter = Meter::start(std::process::id());
        let until = Instant::now();
        let readings = meter.stop();
        assert!(readings.percent(from, until).is_some(), "{readings:?}");
        assert!(Meter::start(u32::MAX).stop().0.is_empty());
    }
}
