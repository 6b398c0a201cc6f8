//! What a ramp came to, as figures.
//!
//! Knows the format of docs/stress_test.schema.json; not how rates are chosen.
//!
//! Rule: every step that was measured is kept, those that broke included.

use serde::{Deserialize, Serialize};

use crate::figures::backlog::BacklogFigures;
use crate::figures::distribution::Distribution;
use crate::figures::load::LoadFigures;
use crate::figures::provenance::Provenance;
use crate::figures::results::Verdict;

/// One ramp.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RampResult {
    /// The name and version of the format.
    pub(crate) schema: String,
    /// `ramp`.
    pub(crate) kind: String,
    /// What it came to.
    pub(crate) verdict: Verdict,
    /// What the command exits with.
    pub(crate) exit_code: u8,
    /// The server, for people.
    pub(crate) target: String,
    /// Who measured, where and when, which the command says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) provenance: Option<Provenance>,
    /// What had to hold.
    pub(crate) slo: Vec<String>,
    /// The highest rate that held.
    pub(crate) highest_rate_per_s: Option<f64>,
    /// The lowest rate above it that did not.
    pub(crate) lowest_broken_per_s: Option<f64>,
    /// The load of the steps, with the rate of the first one.
    pub(crate) load: LoadFigures,
    /// Every step, in the order of their rates.
    pub(crate) steps: Vec<RampStep>,
}

/// One rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RampStep {
    /// What was offered.
    pub(crate) rate_per_s: f64,
    /// For how long, the warmup included.
    pub(crate) duration_s: Option<f64>,
    /// Verified answers per second.
    pub(crate) throughput_per_s: f64,
    /// Whether the service level held.
    pub(crate) holds: bool,
    /// What did not.
    pub(crate) broken: Vec<String>,
    /// From due to answered.
    pub(crate) latency: Distribution,
    /// What the mean of that is in theory, where requests only sleep and the number of workers is
    /// known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) predicted_mean_us: Option<f64>,
    /// From written to answered.
    pub(crate) service: Distribution,
    /// Whether the answers kept up.
    pub(crate) backlog: Option<BacklogFigures>,
    /// `ERR server busy` answers, of all tries.
    pub(crate) busy_percent: f64,
    /// Requests that were due and could not be sent.
    pub(crate) unsent: u64,
    /// Why the figures were the generator's limit, if they were.
    pub(crate) limited: Option<String>,
}
