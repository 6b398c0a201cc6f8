//! What is told as JSON.
//!
//! Knows numbers and names; no bytes of requests.
//!
//! Rule: times are in the unit that a field's name ends with, and numbers belong together.

use super::Facts;
use crate::cli::Setting;
use reactor_pool::stats::{Gauge, Stats, Times};
use reactor_pool::{ConnectionView, PauseReason, RunningView, ServerState, Snapshot, WorkerView};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The upper bounds of the buckets that times are counted in, in microseconds: up to 100 s.
const BOUNDS_US: [u64; 25] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1000,
    2000,
    5000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
];

/// The same as times.
pub(super) fn bounds() -> [Duration; BOUNDS_US.len()] {
    BOUNDS_US.map(Duration::from_micros)
}

/// What the live page shows.
pub(super) fn status(facts: &Facts, snapshot: &Snapshot, workers: &[WorkerView]) -> Value {
    let (config, stats) = (&facts.config, &snapshot.stats);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": name(snapshot.state),
        "uptime_s": snapshot.uptime.as_secs_f64(),
        "now_ms": now.unwrap_or_default().as_millis() as u64,
        "limits": {
            "workers": config.workers,
            "queue": config.queue,
            "max_connections": config.max_connections,
            "max_inflight": config.max_inflight,
        },
        "connections": gauge(&stats.connections),
        "waiting": gauge(&stats.waiting),
        "queued": gauge(&snapshot.queue.queued),
        "submitted": gauge(&stats.submitted),
        "buffered_bytes": gauge(&stats.buffered),
        "workers": workers.iter().enumerate().map(worker).collect::<Vec<_>>(),
        "totals": totals(stats),
        "times": {
            "le_s": bounds().map(|bound| bound.as_secs_f64()),
            "waiting": buckets(&stats.waiting_time),
            "queued": buckets(&stats.queued_time),
            "working": buckets(&stats.working_time),
            "written": buckets(&stats.written_time),
        },
    })
}

/// A word for the state of a server.
pub(super) fn name(state: ServerState) -> &'static str {
    match state {
        ServerState::Starting => "starting",
        ServerState::Serving => "serving",
        ServerState::LameDuck => "lame_duck",
        ServerState::Draining => "draining",
        _ => "ended",
    }
}

/// What each worker does, and how much of the server's life it was busy.
pub(super) fn workers(workers: &[WorkerView], lived: Duration) -> Value {
    let with_share = |(number, view): (usize, &WorkerView)| {
        let busy = view.busy
            + view
                .running
                .as_ref()
                .map_or(Duration::ZERO, |running| running.age);
        let mut worker = worker((number, view));
        worker["state"] = json!(if view.running.is_some() {
            "running"
        } else {
            "idle"
        });
        worker["busy_share"] =
            json!((1e6 * busy.as_secs_f64() / lived.as_secs_f64()).round() / 1e6);
        worker
    };
    workers.iter().enumerate().map(with_share).collect()
}

/// The first `count` by each of what a connection can have most of.
pub(super) fn connections(views: &[ConnectionView], count: usize) -> Value {
    let first = |most: fn(&ConnectionView) -> u128| {
        let mut views: Vec<_> = views.iter().collect();
        views.sort_by_key(|view| Reverse(most(view)));
        views
            .into_iter()
            .take(count)
            .map(connection)
            .collect::<Vec<_>>()
    };
    json!({
        "most_in_flight": first(|view| view.in_flight as u128),
        "most_buffered": first(|view| view.buffered_bytes as u128),
        "oldest": first(|view| view.age.as_nanos()),
    })
}

fn connection(view: &ConnectionView) -> Value {
    json!({
        "connection": view.id.serial(),
        "peer": view.peer.map(|peer| peer.to_string()),
        "age_s": view.age.as_secs_f64(),
        "state": view.state.name(),
        "not_read_because": view.pause.map(PauseReason::name),
        "requests": view.requests,
        "in_flight": view.in_flight,
        "waiting": view.waiting,
        "buffered_bytes": view.buffered_bytes,
        "unsent_bytes": view.unsent_bytes,
        "bytes_in": view.bytes_in,
        "bytes_out": view.bytes_out,
    })
}

/// What holds for each flag, by its name, and who said so.
pub(super) fn settings(settings: &[Setting]) -> Value {
    let shown = |setting: &Setting| {
        let values = setting
            .values
            .iter()
            .map(|value| match value.parse::<u64>() {
                Ok(number) if setting.unit.is_some() => json!(number),
                _ => json!(value),
            });
        let mut values: Vec<_> = values.collect();
        let value = match values.len() {
            0 => Value::Null,
            1 => values.remove(0),
            _ => Value::Array(values),
        };
        let from = setting.source.name();
        (
            setting.flag.clone(),
            json!({"value": value, "unit": setting.unit, "from": from}),
        )
    };
    Value::Object(settings.iter().map(shown).collect())
}

fn gauge(gauge: &Gauge) -> Value {
    json!({"now": gauge.now, "peak": gauge.peak})
}

/// How many took no longer than each of [`bounds`], and how many there are.
fn buckets(times: &Times) -> Vec<u64> {
    let mut counts = times.cumulative(&bounds());
    counts.push(times.count());
    counts
}

fn worker((number, worker): (usize, &WorkerView)) -> Value {
    json!({
        "number": number,
        "running": worker.running.as_ref().map(running),
        "tasks": worker.tasks,
        "requests": worker.requests,
        "busy_s": worker.busy.as_micros() as f64 / 1e6,
    })
}

fn running(running: &RunningView) -> Value {
    json!({
        "connection": running.connection.serial(),
        "peer": running.peer.map(|peer| peer.to_string()),
        "sequence": running.first,
        "requests": running.requests,
        "age_ms": running.age.as_micros() as f64 / 1e3,
    })
}

/// All counters, each by the name that it has in the library.
fn totals(stats: &Stats) -> Value {
    macro_rules! by_name {
        ($($counter:ident),*) => {
            Value::from_iter([$((stringify!($counter), stats.$counter)),*])
        };
    }
    by_name!(
        accepted,
        too_many,
        too_many_per_address,
        bad_headers,
        foreign,
        idle_closed,
        request_timeouts,
        slow_closed,
        parted,
        lost,
        framed,
        answered_ok,
        answered_error,
        answered_internal,
        quick_overruns,
        refused_busy,
        too_long,
        incomplete,
        discarded,
        dropped,
        read_pauses,
        budget_pauses,
        address_pauses,
        accept_pauses,
        bytes_in,
        bytes_out
    )
}
