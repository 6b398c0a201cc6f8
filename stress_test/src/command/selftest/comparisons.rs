//! Shows that `compare` says the truth: rounds of servers that are equal, or are known to differ.
//!
//! Knows how rounds vary; they go the way of real ones from their latencies on.
//!
//! Rule: one try in twenty may be wrong, as 95 % confidence has it. Of equal servers it may say
//! that they differ; where noise is a fifth of the difference, it may miss that.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::check::failure::{Failures, Sender};
use crate::figures::comparison::{ComparisonResult, Difference, Side};
use crate::figures::latencies::Latencies;
use crate::figures::ledger::{Ledger, Times};
use crate::figures::outcome::{Effort, Ended, Outcome};
use crate::figures::provenance::Provenance;
use crate::figures::results::RunResult;
use crate::load::plan::Plan;
use crate::random::normal;

/// How often each case is tried, with other random numbers.
const TRIES: u64 = 20;
/// Rounds of a side.
const ROUNDS: u32 = 10;
/// Answers of a round: as many as p99 takes.
const ANSWERS: u32 = 1000;
/// Clients that ask one after the other.
const CLIENTS: f64 = 8.0;
/// The mean latency of the base.
const MEAN_S: f64 = 0.001;
/// Changes up to this many percent are no difference, as in `compare` by default.
const IGNORED_PERCENT: f64 = 1.0;

/// Two servers, and what has to be said of them.
pub(super) struct Case {
    /// For people.
    pub(super) name: &'static str,
    /// By so much rounds differ from each other.
    noise: f64,
    /// How much longer every answer of the new server takes.
    slower: f64,
    /// How much longer one answer in thirty takes besides.
    tail: f64,
    /// By how much the machine slows down with each round.
    drift: f64,
    /// How much each round resembles the one before it.
    correlation: f64,
    /// Whether the sides are measured in turns.
    in_turns: bool,
    expected: Difference,
}

const EQUAL: Case = Case {
    name: "two equal servers",
    noise: 0.04,
    slower: 1.0,
    tail: 1.0,
    drift: 0.0,
    correlation: 0.0,
    in_turns: false,
    expected: Difference::Same,
};

/// All cases.
pub(super) const CASES: [Case; 5] = [
    EQUAL,
    Case {
        name: "the same, of rounds that resemble the last",
        noise: 0.02,
        correlation: 0.5,
        ..EQUAL
    },
    Case {
        name: "a server that is 5 % slower",
        noise: 0.01,
        slower: 1.05,
        expected: Difference::Slower,
        ..EQUAL
    },
    Case {
        name: "the same, in turns on a machine that slows",
        noise: 0.01,
        slower: 1.05,
        drift: 0.02,
        in_turns: true,
        expected: Difference::Slower,
        ..EQUAL
    },
    Case {
        name: "a server whose tail alone is slower",
        noise: 0.01,
        tail: 1.5,
        expected: Difference::Slower,
        ..EQUAL
    },
];

/// What came of the tries of a case.
pub(super) struct Finding {
    /// Whether it is as it should be.
    pub(super) is_right: bool,
    /// For people.
    pub(super) text: String,
}

/// Tries `case`; `plan` is any.
pub(super) fn judge(case: &Case, plan: &Plan) -> Finding {
    let said = (0..TRIES).map(|seed| compare(case, plan, seed).verdict);
    let right = said.filter(|&verdict| verdict == case.expected).count() as u64;
    let is_right = right + 1 >= TRIES;
    let text = format!("{} in {right} of {TRIES} tries", case.expected);
    Finding { is_right, text }
}

fn compare(case: &Case, plan: &Plan, seed: u64) -> ComparisonResult {
    let mut random = Rng::with_seed(seed);
    let mut side = |is_new: bool| {
        let mut noise = normal(&mut random);
        let rounds = (0..ROUNDS).map(|place| {
            let own = (1.0 - case.correlation.powi(2)).sqrt() * normal(&mut random);
            noise = case.correlation * noise + own;
            let common = (case.noise * noise + case.drift * f64::from(place)).exp();
            let (slower, tail) = if is_new {
                (case.slower, case.tail)
            } else {
                (1.0, 1.0)
            };
            let order = if case.in_turns { 2 * place } else { place };
            let order = match (is_new, case.in_turns) {
                (false, _) => order,
                (true, true) => order + 1,
                (true, false) => order + ROUNDS,
            };
            round(plan, &mut random, common * slower, tail, order)
        });
        Side {
            files: Vec::new(),
            rounds: rounds.collect(),
        }
    };
    let (base, new) = (side(false), side(true));
    ComparisonResult::of(base, new, IGNORED_PERCENT, provenance(0))
}

/// One round, the one at `order` of all in time.
fn round(plan: &Plan, random: &mut Rng, slower: f64, tail: f64, order: u32) -> RunResult {
    let start = Instant::now();
    let mut ledger = Ledger::new(Failures::new(false), start);
    let sender = Sender::Client(0);
    let mut answered_s = 0.0;
    for _ in 0..ANSWERS {
        let fast_s = MEAN_S * slower * (0.8 - 0.2 * (1.0 - random.f64()).ln());
        let latency_s = if random.u8(..30) == 0 {
            2.0 * tail * fast_s
        } else {
            fast_s
        };
        answered_s += latency_s / CLIENTS;
        // The warmup is over by then, and no time lies before the start.
        let written = start + Duration::from_secs_f64(answered_s);
        let times = Times {
            operation: None,
            intended: written,
            written,
        };
        let answered = written + Duration::from_secs_f64(latency_s);
        ledger.verified(sender, times.answered(answered), 1);
    }
    ledger.clients.sent = u64::from(ANSWERS);
    let outcome = Outcome {
        ended: Ended::Finished,
        start,
        ledger,
        shares: Vec::new(),
        planned: u64::from(ANSWERS),
        effort: Effort {
            cpu: Duration::ZERO,
            busiest: Duration::ZERO,
            threads: 1,
            elapsed: Duration::from_secs_f64(answered_s),
            delays: Latencies::default(),
            absent: Duration::ZERO,
            run_queue_waits: Latencies::default(),
            open_loop: None,
        },
    };
    let mut result = RunResult::of(plan, "a made-up server", &outcome);
    result.provenance = Some(provenance(order));
    result
}

fn provenance(order: u32) -> Provenance {
    Provenance {
        version: String::new(),
        arguments: Vec::new(),
        host: String::new(),
        processor: String::new(),
        processors: 1,
        kernel: String::new(),
        // Only the order counts.
        started: format!("{order:06}"),
    }
}
