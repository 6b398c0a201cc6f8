//! What the server has done so far, in numbers: counters, peaks and histograms of time.
//!
//! Knows nothing of how the numbers come about; only the loop writes them, so there is no lock.
//!
//! Rule: a counter only grows, a gauge has its peak beside it, a time is in nanoseconds.

use hdrhistogram::Histogram;
use std::time::{Duration, Instant};
use tracing::info;

/// A number that goes up and down, with the highest it has been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauge {
    /// The number now.
    pub now: u64,
    /// The highest so far.
    pub peak: u64,
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
        self.peak = self.peak.max(self.now);
    }
}

/// What the queue has been through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Requests in it now, and the most that there have been.
    pub queued: Gauge,
    /// Times that a thread found the queue's lock taken.
    pub lock_waits: u64,
    /// What those threads waited, together.
    pub lock_wait_time: Duration,
}

/// Durations, to two significant digits, at most an hour each.
///
/// Requests that were framed, queued or written together have their times in common: what repeats is counted, and goes into
/// the histogram when another time comes.
#[derive(Debug, Clone)]
pub struct Times {
    histogram: Histogram<u64>,
    /// The time that was recorded last, and for how many requests; they are not in the histogram.
    last: Option<(Instant, Instant)>,
    repeats: u64,
}

impl Default for Times {
    fn default() -> Times {
        const HOUR_NS: u64 = 3_600_000_000_000;
        Times {
            histogram: Histogram::new_with_max(HOUR_NS, 2)
                .expect("2 digits up to an hour are allowed"),
            last: None,
            repeats: 0,
        }
    }
}

impl Times {
    /// The same time for each of `count` requests.
    pub(crate) fn record(&mut self, from: Instant, to: Instant, count: usize) {
        if self.last != Some((from, to)) {
            self.settle();
            self.last = Some((from, to));
        }
        self.repeats += count as u64;
    }

    /// A time that `count` requests share: each has its part of it.
    pub(crate) fn record_shared(&mut self, from: Instant, to: Instant, count: usize) {
        let share = nanos(from, to) / count as u64;
        self.histogram.saturating_record_n(share, count as u64);
    }

    /// Puts what was recorded last into the histogram.
    fn settle(&mut self) {
        if let Some((from, to)) = self.last.take() {
            let repeats = std::mem::take(&mut self.repeats);
            self.histogram.saturating_record_n(nanos(from, to), repeats);
        }
    }

    fn settled(&self) -> Histogram<u64> {
        let mut times = self.clone();
        times.settle();
        times.histogram
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len() + self.repeats
    }

    /// The time that `quantile` (0 to 1) of them did not exceed.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.settled().value_at_quantile(quantile))
    }

    /// The longest, to two significant digits.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.settled().max())
    }
}

fn nanos(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
}

/// Everything that the loop counts.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Connections that are open, those included that are only told why they are closed.
    pub connections: Gauge,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections told `ERR too many connections`.
    pub too_many: u64,
    /// Connections told `ERR idle timeout`, or closed because they could not be told.
    pub idle_closed: u64,
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
    /// The same, because other requests waited for queue slots.
    pub queue_pauses: u64,
    /// Times that accepting paused for want of descriptors or memory.
    pub accept_pauses: u64,

    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,

    /// From framed to queued.
    pub waiting_time: Times,
    /// From queued to started, which is when a worker took them, those that it took together; of requests whose connection is
    /// still there when they are answered.
    pub queued_time: Times,
    /// From started to finished; of requests that a worker took together, each has its share of the time.
    pub working_time: Times,
    /// From framed until the last byte of the response was written.
    pub written_time: Times,
}

impl Stats {
    /// Writes all of it to the log, at info: a line for each group.
    ///
    /// `threads` are the loop and the workers, `uptime` is how long they have run: the share of time that
    /// they waited for the queue's lock is taken of both.
    pub fn log(&self, queue: &QueueStats, threads: usize, uptime: Duration) {
        let Stats {
            connections,
            waiting,
            submitted,
            buffered,
            ..
        } = self;
        info!(
            open = connections.now,
            peak = connections.peak,
            accepted = self.accepted,
            too_many = self.too_many,
            idle_closed = self.idle_closed,
            lost = self.lost,
            accept_pauses = self.accept_pauses,
            "stats: connections"
        );
        info!(
            framed = self.framed,
            waiting = waiting.now,
            waiting_peak = waiting.peak,
            queued = queue.queued.now,
            queued_peak = queue.queued.peak,
            running = submitted.now.saturating_sub(queue.queued.now),
            "stats: requests"
        );
        info!(
            ok = self.answered_ok,
            error = self.answered_error,
            internal = self.answered_internal,
            busy = self.refused_busy,
            too_long = self.too_long,
            incomplete = self.incomplete,
            discarded = self.discarded,
            dropped = self.dropped,
            "stats: answers"
        );
        info!(
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            buffered = buffered.now,
            buffered_peak = buffered.peak,
            read_pauses = self.read_pauses,
            budget_pauses = self.budget_pauses,
            queue_pauses = self.queue_pauses,
            "stats: bytes"
        );
        for (name, times) in [
            ("waiting for a slot", &self.waiting_time),
            ("in the queue", &self.queued_time),
            ("in the worker", &self.working_time),
            ("framed to written", &self.written_time),
        ] {
            // Two digits are known; more would only look precise.
            let us = |nanos: u64| (nanos as f64 / 100.0).round() / 10.0;
            let times = times.settled();
            info!(
                what = name,
                count = times.len(),
                p50_us = us(times.value_at_quantile(0.5)),
                p99_us = us(times.value_at_quantile(0.99)),
                p999_us = us(times.value_at_quantile(0.999)),
                max_us = us(times.max()),
                "stats: time"
            );
        }
        let lived = uptime.as_secs_f64() * threads as f64;
        info!(
            waits = queue.lock_waits,
            wait_ms = queue.lock_wait_time.as_secs_f64() * 1e3,
            share = queue.lock_wait_time.as_secs_f64() / lived.max(f64::MIN_POSITIVE),
            "stats: queue lock"
        );
    }
}
