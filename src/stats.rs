//! What the server has done so far, in numbers: counters, peaks and histograms of time.
//!
//! Knows nothing of how the numbers come about; only the loop writes them, so there is no lock.
//!
//! Rule: a counter only grows, a gauge has its peak beside it, a time is in nanoseconds.

use crate::config::Config;
use crate::log::info;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};
use tracing::Value;

/// A number that goes up and down, with the highest it has been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauge {
    /// The number now.
    pub now: u64,
    /// The highest so far.
    pub peak: u64,
    /// The highest since the last report in the log.
    pub recent_peak: u64,
}

impl Gauge {
    pub(crate) fn up(&mut self, count: usize) {
        self.now += count as u64;
        self.note_peak();
    }

    pub(crate) fn down(&mut self, count: usize) {
        self.now -= count as u64;
    }

    pub(crate) fn note_peak(&mut self) {
        self.recent_peak = self.recent_peak.max(self.now);
        self.peak = self.peak.max(self.recent_peak);
    }

    pub(crate) fn start_interval(&mut self) {
        self.recent_peak = self.now;
    }
}

/// What the queue has been through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Requests in it now, and the most that there have been.
    pub queued: Gauge,
    /// Times that a thread found the queue's lock taken.
    pub lock_waits: u64,
    /// What those threads waited, together.
    pub lock_wait_time: Duration,
}

/// Durations, to two significant digits, at most an hour each.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Times {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let histogram = Histogram::new_with_max(HOUR_NS, 2);
        Times(histogram.expect("2 digits up to an hour are allowed"))
    }
}

impl Times {
    /// The same time for each of `count` requests.
    pub(crate) fn record(&mut self, from: Instant, to: Instant, count: usize) {
        self.0.saturating_record_n(nanos(from, to), count as u64);
    }

    /// A time that `count` requests share: each has its part of it.
    pub(crate) fn record_shared(&mut self, from: Instant, to: Instant, count: usize) {
        let share = nanos(from, to) / count as u64;
        self.0.saturating_record_n(share, count as u64);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that `quantile` (0 to 1) of them did not exceed.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// How many did not exceed each of `bounds`, which ascend: the buckets of a histogram that
    /// only grows. A bound is met to two significant digits.
    pub fn cumulative(&self, bounds: &[Duration]) -> Vec<u64> {
        let mut recorded = self.0.iter_recorded().peekable();
        let mut count = 0;
        let up_to = |bound: &Duration| {
            let bound = bound.as_nanos() as u64;
            while let Some(value) = recorded.next_if(|value| value.value_iterated_to() <= bound) {
                count += value.count_since_last_iteration();
            }
            count
        };
        bounds.iter().map(up_to).collect()
    }

    /// All of them together, to two significant digits.
    pub fn sum(&self) -> Duration {
        let recorded = self.0.iter_recorded();
        let nanos = recorded.map(|value| {
            let middle = self.0.median_equivalent(value.value_iterated_to());
            u128::from(middle) * u128::from(value.count_at_value())
        });
        let nanos: u128 = nanos.sum();
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        Duration::new(seconds as u64, rest as u32)
    }

    /// The longest, to two significant digits.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}

fn nanos(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
}

/// Everything that the loop counts.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that are open, those included that are only told why they are closed.
    pub connections: Gauge,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections told `ERR too many connections`.
    pub too_many: u64,
    /// The same, because of one address.
    pub too_many_per_address: u64,
    /// Connections told `ERR no valid PROXY header`.
    pub bad_headers: u64,
    /// Connections told that they speak another protocol: that of HTTP, or a PROXY header where
    /// none is expected.
    pub foreign: u64,
    /// Connections told `ERR idle timeout`, or closed because they could not be told.
    pub idle_closed: u64,
    /// Connections told `ERR request timeout`.
    pub request_timeouts: u64,
    /// Connections closed because their clients took their responses more slowly than
    /// [`Config::min_read_rate`](crate::Config::min_read_rate).
    pub slow_closed: u64,
    /// Connections closed with an answer because the server was about to stop.
    pub parted: u64,
    /// Connections lost to a reset or another error of the socket.
    pub lost: u64,

    /// Request lines framed.
    pub framed: u64,
    /// Requests waiting for a queue slot; the peak is taken when the free slots have been given.
    pub waiting: Gauge,
    /// Requests queued, running, or on their way back.
    pub submitted: Gauge,
    /// Bytes buffered for all connections.
    pub buffered: Gauge,

    /// Requests that a handler answered with `OK`.
    pub answered_ok: u64,
    /// Requests that a handler answered with another line.
    pub answered_error: u64,
    /// Requests whose handler panicked or broke its contract.
    pub answered_internal: u64,
    /// Tasks that the handler calls quick and that took longer than a millisecond.
    pub quick_overruns: u64,
    /// Requests refused with `ERR server busy`.
    pub refused_busy: u64,
    /// Lines refused as too long.
    pub too_long: u64,
    /// Lines that the stream ended inside of.
    pub incomplete: u64,
    /// Requests not run, because their connection had gone before a worker took them.
    pub discarded: u64,
    /// Responses whose connection had gone.
    pub dropped: u64,

    /// Times that a connection with bytes to read was not read, because of a bound of its own.
    pub read_pauses: u64,
    /// The same, because the budget of all was spent.
    pub budget_pauses: u64,
    /// The same, because other connections of its address had as many requests in flight as they
    /// may together.
    pub address_pauses: u64,
    /// Times that accepting paused for want of descriptors or memory.
    pub accept_pauses: u64,

    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,

    /// From framed to queued.
    pub waiting_time: Times,
    /// From queued to started, which is when a worker took them, those that it took together; of
    /// requests whose connection is still there when they are answered.
    pub queued_time: Times,
    /// From started to finished; of requests that a worker took together, each has its share of
    /// the time.
    pub working_time: Times,
    /// From framed until the last byte of the response was written.
    pub written_time: Times,
}

/// One line of the log: some gauges, and each counter twice, since the last report and, as
/// `….total`, since the start. What is zero is left out, and so is a line in which all is.
macro_rules! line {
    ($name:literal, $now:expr, $last:expr, [$($shown:ident: $counter:ident),*], [$($gauge:ident = $value:expr),*]) => {{
        let (now, last) = ($now, $last);
        let is_zero = [$(now.$counter,)* $($value,)*].iter().all(|number| *number == 0);
        if !is_zero {
            info!(
                $($gauge = nonzero($value),)*
                $($shown = nonzero(now.$counter - last.$counter), $shown.total = nonzero(now.$counter),)*
                $name
            );
        }
    }};
}

fn nonzero(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

/// The reports of one server: each is of the time since the one before.
#[derive(Debug)]
pub(crate) struct Reports {
    last: Stats,
    last_queue: QueueStats,
    last_at: Instant,
    started_at: Instant,
    /// The loop and the workers.
    threads: usize,
    /// Zero for none but those that are asked for.
    interval: Duration,
    next: Option<Instant>,
}

impl Reports {
    pub(crate) fn new(config: &Config, now: Instant) -> Reports {
        let interval = config.stats_interval;
        Reports {
            last: Stats::default(),
            last_queue: QueueStats::default(),
            last_at: now,
            started_at: now,
            threads: 1 + config.workers,
            interval,
            next: (!interval.is_zero()).then(|| now + interval),
        }
    }

    /// How long the server is there.
    pub(crate) fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started_at)
    }

    /// When its uptime began.
    pub(crate) fn started_at(&self) -> Instant {
        self.started_at
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.next
    }

    /// Writes one to the log, at info: a line that begins it, and one for each group.
    pub(crate) fn write(&mut self, stats: &mut Stats, queue: QueueStats, now: Instant) {
        let lasted = now.saturating_duration_since(self.last_at);
        let uptime = self.uptime(now);
        info!(
            of_the_last_s = lasted.as_secs(),
            uptime_s = uptime.as_secs(),
            "report"
        );
        self.write_counters(stats, &queue);
        for (what, times, last) in [
            (
                "waiting for a slot",
                &stats.waiting_time,
                &self.last.waiting_time,
            ),
            ("in the queue", &stats.queued_time, &self.last.queued_time),
            (
                "in the worker",
                &stats.working_time,
                &self.last.working_time,
            ),
            (
                "framed to written",
                &stats.written_time,
                &self.last.written_time,
            ),
        ] {
            write_times(what, times, last);
        }
        let waits = queue.lock_waits - self.last_queue.lock_waits;
        if waits > 0 {
            let waited = queue.lock_wait_time - self.last_queue.lock_wait_time;
            let lived = lasted * self.threads as u32;
            info!(
                waits,
                waits.total = queue.lock_waits,
                waited_us = two_digits(waited.as_secs_f64() * 1e6),
                share = two_digits(waited.as_secs_f64() / lived.as_secs_f64().max(1e-9)),
                "queue lock"
            );
        }
        for gauge in [
            &mut stats.connections,
            &mut stats.waiting,
            &mut stats.submitted,
            &mut stats.buffered,
        ] {
            gauge.start_interval();
        }
        self.last = stats.clone();
        self.last_queue = queue;
        self.last_at = now;
        self.next = self.next.map(|_| now + self.interval);
    }

    fn write_counters(&self, stats: &Stats, queue: &QueueStats) {
        let last = &self.last;
        line!(
            "connections",
            stats,
            last,
            [
                accepted: accepted,
                too_many: too_many,
                too_many_per_address: too_many_per_address,
                bad_headers: bad_headers,
                foreign: foreign,
                idle_closed: idle_closed,
                request_timeouts: request_timeouts,
                slow_closed: slow_closed,
                parted: parted,
                lost: lost,
                accept_pauses: accept_pauses
            ],
            [open = stats.connections.now, peak = stats.connections.recent_peak]
        );
        line!(
            "requests",
            stats,
            last,
            [framed: framed],
            [
                waiting = stats.waiting.now,
                waiting_peak = stats.waiting.recent_peak,
                queued = queue.queued.now,
                queued_peak = queue.queued.recent_peak,
                running = stats.submitted.now.saturating_sub(queue.queued.now)
            ]
        );
        line!(
            "answers",
            stats,
            last,
            [
                ok: answered_ok,
                error: answered_error,
                internal: answered_internal,
                quick_overruns: quick_overruns,
                busy: refused_busy,
                too_long: too_long,
                incomplete: incomplete,
                discarded: discarded,
                dropped: dropped
            ],
            []
        );
        line!(
            "bytes",
            stats,
            last,
            [
                bytes_in: bytes_in,
                bytes_out: bytes_out,
                read_pauses: read_pauses,
                budget_pauses: budget_pauses,
                address_pauses: address_pauses
            ],
            [buffered = stats.buffered.now, buffered_peak = stats.buffered.recent_peak]
        );
    }
}

fn write_times(what: &str, times: &Times, last: &Times) {
    let mut recent = times.0.clone();
    recent
        .subtract(&last.0)
        .expect("a histogram holds all that it held before");
    if recent.max() == 0 {
        return;
    }
    let us = |nanos: u64| two_digits(nanos as f64 / 1e3);
    info!(
        what,
        count = recent.len(),
        count.total = times.count(),
        p50_us = us(recent.value_at_quantile(0.5)),
        p99_us = us(recent.value_at_quantile(0.99)),
        p999_us = us(recent.value_at_quantile(0.999)),
        max_us = us(recent.max()),
        "time"
    );
}

/// A number for the log, with as many digits as are known, and without a fraction where it has
/// none.
fn two_digits(number: f64) -> Box<dyn Value> {
    let rounded = round_to_two_digits(number);
    if rounded.fract() == 0.0 {
        Box::new(rounded as u64)
    } else {
        Box::new(rounded)
    }
}

/// The histograms know two significant digits.
fn round_to_two_digits(number: f64) -> f64 {
    if number <= 0.0 {
        return 0.0;
    }
    let last_digit = number.log10().floor() as i32 - 1;
    if last_digit >= 0 {
        let unit = 10f64.powi(last_digit);
        (number / unit).round() * unit
    } else {
        // Divided by a whole number, the result is the nearest to what its digits say.
        let parts = 10f64.powi(-last_digit);
        (number * parts).round() / parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_up_to_each_bound_and_summed() {
        let (mut times, start) = (Times::default(), Instant::now());
        let ms = Duration::from_millis;
        assert_eq!(times.cumulative(&[ms(1), ms(2)]), [0, 0]);
        for (time, count) in [(ms(1), 3), (ms(10), 2), (ms(3_600_000), 1)] {
            times.record(start, start + time, count);
        }
        let bounds = [ms(0), ms(2), ms(9), ms(11), ms(60_000), ms(4_000_000)];
        assert_eq!(times.cumulative(&bounds), [0, 3, 3, 5, 5, 6]);
        let exact = 3.0 * 0.001 + 2.0 * 0.01 + 3600.0;
        assert!((times.sum().as_secs_f64() / exact - 1.0).abs() < 0.01);
    }

    #[test]
    fn times_are_shown_with_two_digits() {
        for (number, rounded) in [
            (0.0, 0.0),
            (0.000_134_9, 0.000_13),
            (1.26, 1.3),
            (9.96, 10.0),
            (12.4, 12.0),
            (999.0, 1000.0),
            (52_428.8, 52_000.0),
            (3.6e9, 3.6e9),
        ] {
            assert_eq!(round_to_two_digits(number), rounded, "{number}");
        }
    }
}
