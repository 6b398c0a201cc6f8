//! Questions to the main server's loop, and how long an answer holds.
//!
//! Knows no HTTP.
//!
//! Rule: an answer is younger than the request that gets it, but for the list of connections. A
//! loop that does not answer holds up nobody for longer than two times [`TIMEOUT`], however many
//! ask, and a crowd that asks costs the loop no more than a few do.

use reactor_pool::{ConnectionView, Monitor, NotAnswering, Snapshot};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long the loop has for an answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

/// The time between two questions, on average: an answer costs the loop some ten
/// microseconds.
const GAP: Duration = Duration::from_millis(5);

/// How far questions may be ahead of that, before those who ask wait: twenty probes at once.
const BURST: Duration = Duration::from_millis(100);

/// For how long a list of connections is told again. It costs the loop some milliseconds where
/// there are ten thousand.
const LIST_HOLDS: Duration = Duration::from_millis(250);

/// What the loop has said last. The one worker owns it.
///
/// A request that was sent while the worker waited for a loop that did not answer gets that for an
/// answer, too, since the loop has not answered since that request came. So one worker is enough:
/// with several, each would wait for the same loop.
#[derive(Debug)]
pub(super) struct Asker {
    monitor: Monitor,
    snapshot: Option<Answered<Arc<Snapshot>>>,
    connections: Option<Answered<Arc<[ConnectionView]>>>,
    failure: Option<Answered<NotAnswering>>,
    /// Up to when the questions so far would have lasted, with a [`GAP`] behind each.
    paid_until: Instant,
}

#[derive(Debug, Clone)]
struct Answered<A> {
    at: Instant,
    answer: A,
}

impl<A: Clone> Answered<A> {
    /// The answer, unless it is older than `age`.
    fn within(this: &Option<Self>, age: Duration) -> Option<A> {
        let young = this.as_ref().filter(|this| this.at.elapsed() <= age);
        young.map(|this| this.answer.clone())
    }
}

impl Asker {
    pub(super) fn new(monitor: Monitor) -> Asker {
        Asker {
            monitor,
            snapshot: None,
            connections: None,
            failure: None,
            paid_until: Instant::now(),
        }
    }

    /// The numbers, for a request of that age.
    pub(super) fn snapshot(&mut self, age: Duration) -> Result<Arc<Snapshot>, NotAnswering> {
        if let Some(snapshot) = Answered::within(&self.snapshot, age) {
            return Ok(snapshot);
        }
        let answer = self.ask(age, |monitor| monitor.snapshot(TIMEOUT))?;
        let answer = Arc::new(answer);
        self.snapshot = Some(just_now(Arc::clone(&answer)));
        Ok(answer)
    }

    /// The connections that have most of something, for a request of that age.
    pub(super) fn connections(
        &mut self,
        age: Duration,
    ) -> Result<Arc<[ConnectionView]>, NotAnswering> {
        if let Some(views) = Answered::within(&self.connections, age.max(LIST_HOLDS)) {
            return Ok(views);
        }
        let answer = self.ask(age, |monitor| monitor.connections(TIMEOUT))?;
        let answer: Arc<[ConnectionView]> = answer.into();
        self.connections = Some(just_now(Arc::clone(&answer)));
        Ok(answer)
    }

    fn ask<A>(
        &mut self,
        age: Duration,
        ask: impl FnOnce(&Monitor) -> Result<A, NotAnswering>,
    ) -> Result<A, NotAnswering> {
        if let Some(failure) = Answered::within(&self.failure, age) {
            return Err(failure);
        }
        let now = Instant::now();
        thread::sleep(self.paid_until.saturating_duration_since(now + BURST));
        self.paid_until = self.paid_until.max(now) + GAP;
        ask(&self.monitor).inspect_err(|failure| self.failure = Some(just_now(*failure)))
    }
}

fn just_now<A>(answer: A) -> Answered<A> {
    Answered {
        at: Instant::now(),
        answer,
    }
}
