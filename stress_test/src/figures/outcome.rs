//! What a run leaves behind: its account, and how it ended.
//!
//! Knows what was counted and timed; whoever drives the run fills it in.
//!
//! Rule: nothing in it is computed yet; the figures are.

use std::io;
use std::time::{Duration, Instant};

use crate::figures::fairness::Share;
use crate::figures::latencies::Latencies;
use crate::figures::ledger::Ledger;
use crate::figures::timeline::Slice;

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Every client has everything, or will not get it.
    Finished,
    /// By a signal, at this moment.
    Interrupted(Instant),
    /// Not one connection could be made, for this reason.
    NothingListening(io::Error),
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) ended: Ended,
    /// When the first request was written.
    pub(crate) start: Instant,
    /// The account.
    pub(crate) ledger: Ledger,
    /// What each ordinary client got.
    pub(crate) shares: Vec<Share>,
    /// How many requests the plan came to.
    pub(crate) planned: u64,
    /// What this program itself was doing.
    pub(crate) effort: Effort,
}

impl Outcome {
    /// Adds what came of the next part of the same run, whose clients follow.
    pub(crate) fn merge(&mut self, other: Self) {
        self.ledger.merge(other.ledger);
        self.shares.extend(other.shares);
        self.planned += other.planned;
        self.effort.merge(other.effort);
    }
}

/// What the generator did while it measured.
#[derive(Debug)]
pub(crate) struct Effort {
    /// The processor time of its event loops, all together.
    pub(crate) cpu: Duration,
    /// That of the busiest one.
    pub(crate) busiest: Duration,
    /// How many there were.
    pub(crate) threads: u32,
    /// While this time went by.
    pub(crate) elapsed: Duration,
    /// At each event, for how long a loop had not looked for any.
    pub(crate) delays: Latencies,
    /// For how long the one that was away most did not look in all, delays of less than a fifth of
    /// a second left out.
    pub(crate) absent: Duration,
    /// At each event, for how long the thread of the loop waits for a processor each time that it
    /// needs one, on average of some milliseconds.
    pub(crate) run_queue_waits: Latencies,
    /// How the timetable of an open loop was kept.
    pub(crate) open_loop: Option<OpenLoopEffort>,
}

/// How the timetable of an open loop was kept.
#[derive(Debug)]
pub(crate) struct OpenLoopEffort {
    /// How late requests were handed out that could have been sent.
    pub(crate) own_lag: Latencies,
    /// How many ordinary clients there were in the end.
    pub(crate) clients: u32,
    /// For how long due requests waited until a client had room.
    pub(crate) client_waits: Latencies,
    /// How many of them waited at all, in each stage.
    pub(crate) waited: Vec<u64>,
}

impl Effort {
    fn merge(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.busiest = self.busiest.max(other.busiest);
        self.threads += other.threads;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.delays.merge(&other.delays);
        self.absent = self.absent.max(other.absent);
        self.run_queue_waits.merge(&other.run_queue_waits);
        if let (Some(open), Some(others)) = (&mut self.open_loop, &other.open_loop) {
            open.own_lag.merge(&others.own_lag);
            open.clients += others.clients;
            open.client_waits.merge(&others.client_waits);
            for (waited, more) in open.waited.iter_mut().zip(&others.waited) {
                *waited += more;
            }
        }
    }
}

/// How far a run is.
#[derive(Debug)]
pub(crate) struct Standing {
    /// How long it has been running.
    pub(crate) elapsed: Duration,
    /// How much of it is done, 0 to 1.
    pub(crate) done: f64,
    /// Failures of all kinds.
    pub(crate) failures: u64,
    /// What came since the last time that somebody was told.
    pub(crate) recent: Slice,
}
