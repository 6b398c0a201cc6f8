//! Whether the server is alive, and whether it is ready for more.
//!
//! Knows snapshots and what the workers do; no HTTP.
//!
//! Rule: whatever is not well has one reason, in one line for people.

use reactor_pool::{ServerState, Snapshot, WorkerView};
use std::time::Duration;

/// A queue that has been full for longer than this is no burst.
const STALLED_TOO_LONG: Duration = Duration::from_secs(1);

/// Why the server should be started anew; none if it is alive.
pub(super) fn why_not_alive(snapshot: &Snapshot) -> Option<String> {
    (snapshot.state == ServerState::Ended).then(|| "ended".to_owned())
}

/// Why it should get no new clients; none if it is ready.
pub(super) fn why_not_ready(
    snapshot: &Snapshot,
    workers: &[WorkerView],
    stuck_after: Duration,
) -> Option<String> {
    let why = match snapshot.state {
        ServerState::Starting => "not serving yet",
        ServerState::Serving => return why_overloaded(snapshot, workers, stuck_after),
        ServerState::LameDuck => "about to stop",
        ServerState::Draining => "draining",
        _ => "ended",
    };
    Some(why.to_owned())
}

fn why_overloaded(
    snapshot: &Snapshot,
    workers: &[WorkerView],
    stuck_after: Duration,
) -> Option<String> {
    if let Some(stalled) = snapshot
        .stalled_for
        .filter(|stalled| *stalled > STALLED_TOO_LONG)
    {
        return Some(format!(
            "the queue has been full for {} s",
            stalled.as_secs()
        ));
    }
    let running = workers.iter().enumerate();
    let running = running.filter_map(|(number, worker)| Some((number, worker.running.as_ref()?)));
    let (worker, oldest) = running.max_by_key(|(_, running)| running.age)?;
    let is_stuck = !stuck_after.is_zero() && oldest.age > stuck_after;
    is_stuck.then(|| {
        format!(
            "request {} of connection {} has run on worker {worker} for {} s",
            oldest.first,
            oldest.connection,
            oldest.age.as_secs()
        )
    })
}
