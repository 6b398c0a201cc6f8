//! What is told as JSON.
//!
//! Knows numbers and names; no bytes of requests.
//!
//! Rule: times are in the unit that a field's name ends with, and numbers belong together.

use super::Facts;
use reactor_pool::stats::{Gauge, Stats, Times};
use reactor_pool::{RunningView, ServerState, Snapshot, WorkerView};
use serde_json::{Value, json};
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
        ServerState::Draining => "draining",
        _ => "ended",
    }
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
        "busy_s": worker.busy.as_secs_f64(),
    })
}

fn running(running: &RunningView) -> Value {
    json!({
        "connection": running.connection.serial(),
        "peer": running.peer.map(|peer| peer.to_string()),
        "sequence": running.first,
        "requests": running.requests,
        "age_ms": running.age.as_secs_f64() * 1e3,
    })
}

/// All counters, each by the name that it has in the library.
fn totals(stats: &Stats) -> Value {
    macro_rules! by_name {
        ($($counter:ident),*) => { json!({$(stringify!($counter): stats.$counter,)*}) };
    }
    by_name!(
        accepted,
        too_many,
        idle_closed,
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
        accept_pauses,
        bytes_in,
        bytes_out
    )
}
