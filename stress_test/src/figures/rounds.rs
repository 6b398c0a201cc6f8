//! What several rounds of one load came to: each of them a run of its own.
//!
//! Knows how a verdict follows from those of the rounds; what two such results say of each other
//! is for `comparison`.
//!
//! Rule: nothing is added up over rounds. A round is the unit that statistics count.

use serde::{Deserialize, Serialize};

use crate::figures::results::{RunResult, SCHEMA, Verdict};
use crate::figures::sweep::Spread;

/// Several rounds, in the format of docs/stress_test.schema.json.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoundsResult {
    /// [`SCHEMA`].
    pub(crate) schema: String,
    /// `rounds`.
    pub(crate) kind: String,
    /// What it came to.
    pub(crate) verdict: Verdict,
    /// What the command exits with.
    pub(crate) exit_code: u8,
    /// How many rounds there were to be.
    pub(crate) planned: u32,
    /// Those that were measured, in the order of time. They differ in their seeds alone.
    pub(crate) rounds: Vec<RunResult>,
}

impl RoundsResult {
    /// Those of `planned` rounds that were measured, without a verdict on more than their answers.
    pub(crate) fn new(planned: u32, rounds: Vec<RunResult>) -> Self {
        let is = |verdict| rounds.iter().any(|round| round.verdict == verdict);
        let verdict = match (is(Verdict::Fail), is(Verdict::GeneratorLimited)) {
            (true, _) => Verdict::Fail,
            (false, true) => Verdict::GeneratorLimited,
            (false, false) => Verdict::Pass,
        };
        Self {
            schema: SCHEMA.to_owned(),
            kind: "rounds".to_owned(),
            verdict,
            exit_code: 0,
            planned,
            rounds,
        }
    }

    /// Failures of all rounds.
    pub(crate) fn failures(&self) -> u64 {
        self.rounds.iter().map(|round| round.failures.total).sum()
    }

    /// A figure of all rounds that have it.
    pub(crate) fn spread(&self, figure: impl Fn(&RunResult) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(figure))
    }
}
