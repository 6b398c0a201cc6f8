//! The numbers for a Prometheus, in its text format.
//!
//! Knows names and units by the conventions of Prometheus; how a number comes about, the library
//! does.
//!
//! Rule: seconds and bytes, and a counter's name ends in `_total`. A label has few values, all
//! known before: no client adds one.

use super::json::{bounds, name};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue};
use prometheus_client::encoding::{EncodeMetric, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use reactor_pool::stats::Times;
use reactor_pool::{Config, ServerState, Snapshot, WorkerView};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the text is, for Content-Type.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that is told at one moment.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) workers: Vec<WorkerView>,
    pub(super) config: Config,
    /// Since 1970.
    pub(super) started: Duration,
    pub(super) dropped_log_lines: u64,
    /// None where the system does not tell.
    pub(super) resident_bytes: Option<u64>,
    /// The most that the process can come to need.
    pub(super) worst_case_bytes: u64,
}

impl Scrape {
    pub(super) fn text(self) -> String {
        let mut registry = Registry::with_prefix("reactor_pool");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).expect("a string takes every write");
        text
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        self.server(&mut out)?;
        self.pool(&mut out)?;
        self.requests(&mut out)?;
        self.connections(&mut out)?;
        self.memory(&mut out)?;
        let stats = &self.snapshot.stats;
        let help = "Time of a request from framed to queued.";
        out.histogram("request_waiting", help, &stats.waiting_time)?;
        let help = "Time of a request from queued to started: what it waited for a worker.";
        out.histogram("request_queued", help, &stats.queued_time)?;
        let help = "Time of a request from started to finished.";
        out.histogram("request_working", help, &stats.working_time)?;
        let help = "Time of a request from framed until its response was written.";
        out.histogram("request_written", help, &stats.written_time)
    }
}

impl Scrape {
    fn server(&self, out: &mut Out<'_>) -> fmt::Result {
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        out.info("build", "The version that runs.", &build)?;
        let state = |state| (name(state), u64::from(self.snapshot.state == state));
        let states = [
            ServerState::Starting,
            ServerState::Serving,
            ServerState::LameDuck,
            ServerState::Draining,
            ServerState::Ended,
        ];
        let help = "Where the server is in its life: 1 for the state that it is in.";
        out.gauges("state", help, "state", &states.map(state))?;
        let help = "When the server was started, in seconds since 1970.";
        out.seconds("start_time", help, self.started)?;
        let help = "How long ago its workers had started.";
        out.seconds("uptime", help, self.snapshot.uptime)?;
        let help = "Log lines that were dropped, since nobody read them.";
        out.counter("log_lines_dropped", None, help, self.dropped_log_lines)
    }

    fn pool(&self, out: &mut Out<'_>) -> fmt::Result {
        let (snapshot, workers) = (&self.snapshot, &self.workers);
        out.gauge("workers", None, "Worker threads.", snapshot.workers)?;
        let help = "Workers that have a request in hand.";
        out.gauge("workers_busy", None, help, snapshot.workers_busy)?;
        let busy: Duration = workers.iter().map(|worker| worker.busy).sum();
        let help = "Time that all workers together took for what they have done.";
        out.counter("worker_busy", Some(Unit::Seconds), help, busy.as_secs_f64())?;
        let tasks: u64 = workers.iter().map(|worker| worker.tasks).sum();
        let help = "Tasks done: single requests, and runs of quick ones.";
        out.counter("worker_tasks", None, help, tasks)?;
        let running = workers.iter().filter_map(|worker| worker.running.as_ref());
        let oldest = running.map(|running| running.age).max();
        let help = "How long the oldest running request has run; 0 if none runs.";
        out.seconds("oldest_running", help, oldest.unwrap_or_default())?;

        let queue = &snapshot.queue;
        let help = "Requests in the work queue.";
        out.gauge("queue_requests", None, help, queue.queued.now)?;
        out.gauge(
            "queue_slots",
            None,
            "Requests that the work queue can hold.",
            self.config.queue,
        )?;
        let help =
            "How long requests have waited for a queue slot without any of them getting one.";
        out.seconds(
            "queue_stalled",
            help,
            snapshot.stalled_for.unwrap_or_default(),
        )?;
        let help = "Times that a thread found the queue's lock taken.";
        out.counter("queue_lock_waits", None, help, queue.lock_waits)?;
        let help = "What those threads waited, together.";
        let waited = queue.lock_wait_time.as_secs_f64();
        out.counter("queue_lock_wait", Some(Unit::Seconds), help, waited)
    }

    fn requests(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = &self.snapshot.stats;
        let help = "Requests that wait for a queue slot.";
        out.gauge("waiting_requests", None, help, stats.waiting.now)?;
        let help = "Requests queued, running, or on their way back.";
        out.gauge("submitted_requests", None, help, stats.submitted.now)?;
        out.counter("requests", None, "Requests framed.", stats.framed)?;
        let answers = [
            ("ok", stats.answered_ok),
            ("error", stats.answered_error),
            ("internal", stats.answered_internal),
        ];
        let help = "Requests that a handler answered; internal: it panicked or broke its contract.";
        out.counters("answers", help, "outcome", &answers)?;
        let refusals = [
            ("busy", stats.refused_busy),
            ("too_long", stats.too_long),
            ("incomplete", stats.incomplete),
            ("idle", stats.idle_closed),
            ("request_timeout", stats.request_timeouts),
            ("slow_reader", stats.slow_closed),
            ("too_many_connections", stats.too_many),
            (
                "too_many_connections_of_address",
                stats.too_many_per_address,
            ),
            ("proxy_header", stats.bad_headers),
            ("other_protocol", stats.foreign),
        ];
        let help = "Requests and connections that the server itself refused.";
        out.counters("refusals", help, "reason", &refusals)?;
        let abandoned = [("not_run", stats.discarded), ("not_sent", stats.dropped)];
        let help =
            "Requests whose connection had gone before they ran, or before they were answered.";
        out.counters("abandoned_requests", help, "stage", &abandoned)?;
        let help = "Tasks that the handler calls quick and that took longer than a millisecond.";
        out.counter("quick_overruns", None, help, stats.quick_overruns)
    }

    fn connections(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = &self.snapshot.stats;
        out.gauge(
            "connections",
            None,
            "Connections that are open.",
            stats.connections.now,
        )?;
        let help = "Connections that may be open at a time.";
        out.gauge("connections_limit", None, help, self.config.max_connections)?;
        out.counter(
            "connections_accepted",
            None,
            "Connections accepted.",
            stats.accepted,
        )?;
        let help = "Connections closed with an answer because the server was about to stop.";
        out.counter("connections_parted", None, help, stats.parted)?;
        let help = "Connections lost to a reset or another error of the socket.";
        out.counter("connections_lost", None, help, stats.lost)?;
        let bytes = || Some(Unit::Bytes);
        out.counter(
            "received",
            bytes(),
            "Bytes read from clients.",
            stats.bytes_in,
        )?;
        out.counter(
            "sent",
            bytes(),
            "Bytes written to clients.",
            stats.bytes_out,
        )?;
        let pauses = [
            ("connection", stats.read_pauses),
            ("budget", stats.budget_pauses),
            ("address", stats.address_pauses),
            ("accept", stats.accept_pauses),
        ];
        let help = "Times that a connection was not read because of a bound of its own (connection), \
                    of its address or of the budget of all, and that accepting paused for want of descriptors.";
        out.counters("pauses", help, "reason", &pauses)
    }

    fn memory(&self, out: &mut Out<'_>) -> fmt::Result {
        let bytes = || Some(Unit::Bytes);
        let buffered = self.snapshot.stats.buffered.now;
        out.gauge(
            "buffered",
            bytes(),
            "Bytes buffered for all connections.",
            buffered,
        )?;
        let help = "Bytes buffered from which on connections with anything pending are not read.";
        out.gauge("buffered_limit", bytes(), help, self.config.max_buffered)?;
        if let Some(resident) = self.resident_bytes {
            out.gauge(
                "resident_memory",
                bytes(),
                "Memory of the process.",
                resident,
            )?;
        }
        let help = "The most memory that the process can come to need, without what handlers take.";
        out.gauge("worst_case_memory", bytes(), help, self.worst_case_bytes)
    }
}

/// Where the metrics go, each with its HELP and its TYPE.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        value: V,
    ) -> fmt::Result {
        let descriptor = self
            .0
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge);
        ConstGauge::new(value).encode(descriptor?)
    }

    fn seconds(&mut self, name: &str, help: &str, time: Duration) -> fmt::Result {
        self.gauge(name, Some(Unit::Seconds), help, time.as_secs_f64())
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut all = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            ConstGauge::new(*value).encode(all.encode_family(&[(label, *of)])?)?;
        }
        Ok(())
    }

    fn counter<V: EncodeCounterValue>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        value: V,
    ) -> fmt::Result {
        let descriptor = self
            .0
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Counter);
        ConstCounter::new(value).encode(descriptor?)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut all = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            ConstCounter::new(*value).encode(all.encode_family(&[(label, *of)])?)?;
        }
        Ok(())
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        let mut info = self
            .0
            .encode_descriptor(name, help, None, MetricType::Info)?;
        info.encode_info(&labels)
    }

    fn histogram(&mut self, name: &str, help: &str, times: &Times) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut histogram = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Histogram)?;
        let (bounds, count) = (bounds(), times.count());
        let mut below = 0;
        let up_to = bounds.iter().zip(times.cumulative(&bounds));
        let mut buckets: Vec<_> = up_to
            .map(|(bound, up_to)| {
                let inside = up_to - below;
                below = up_to;
                (bound.as_secs_f64(), inside)
            })
            .collect();
        buckets.push((f64::INFINITY, count - below));
        let sum = times.sum().as_secs_f64();
        histogram.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}
