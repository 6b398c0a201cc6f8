//! What a sweep came to, as figures.
//!
//! Knows how the figures of one cell follow from those of its rounds; not how they were measured.
//!
//! Rule: a median is never without its spread.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::figures::provenance::Provenance;
use crate::figures::results::{RunResult, SCHEMA, Verdict};
use crate::load::plan::{Mix, Plan};
use crate::wire::Framing;

/// One sweep, in the format of docs/stress_test.schema.json.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SweepResult {
    /// [`SCHEMA`].
    pub(crate) schema: String,
    /// `sweep`.
    pub(crate) kind: String,
    /// Whether every answer of every cell was right.
    pub(crate) verdict: Verdict,
    /// What the command exits with.
    pub(crate) exit_code: u8,
    /// Who measured, where and when, which the command says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) provenance: Option<Provenance>,
    /// How often each cell was to be measured.
    pub(crate) rounds: u32,
    /// How long a round lasted, warmup included.
    pub(crate) duration_s: f64,
    /// What of it was not measured.
    pub(crate) warmup_s: f64,
    /// Requests of one client under way at most.
    pub(crate) max_inflight: usize,
    /// How requests and responses were told apart.
    pub(crate) framing: Framing,
    /// Characters of a payload.
    pub(crate) payload: String,
    /// Milliseconds of a SLEEP.
    pub(crate) sleep_ms: String,
    /// Where the requests and the order of the rounds came from.
    pub(crate) seed: u64,
    /// Processors that the server and the generator shared.
    pub(crate) cores: usize,
    /// Every cell that was measured at least once.
    pub(crate) cells: Vec<CellFigures>,
}

/// One combination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CellFigures {
    /// What was asked for.
    pub(crate) mix: String,
    /// The server's `--workers`.
    pub(crate) workers: u32,
    /// Clients.
    pub(crate) clients: u32,
    /// The server's `--queue`.
    pub(crate) queue: u32,
    /// How often it was measured.
    pub(crate) rounds: usize,
    /// Verified answers per second.
    pub(crate) throughput_per_s: Spread,
    /// The median latency in microseconds.
    pub(crate) p50_us: Option<Spread>,
    /// The p99 in microseconds, of the rounds where the sample was large enough.
    pub(crate) p99_us: Option<Spread>,
    /// What workers that only sleep could do, where sleeping is what limits.
    pub(crate) ideal_per_s: Option<f64>,
    /// The median throughput as a share of that.
    pub(crate) efficiency_percent: Option<f64>,
    /// How much of one core the server used in the measured window.
    pub(crate) server_cpu_percent: Option<Spread>,
    /// The server's peak resident memory.
    pub(crate) server_memory_bytes: Option<Spread>,
    /// How much of one core the generator used.
    pub(crate) generator_cpu_percent: Option<Spread>,
    /// Why the figures of a round were the generator's limit, if they were.
    pub(crate) limited: Option<String>,
    /// `ERR server busy` answers of all rounds.
    pub(crate) busy: u64,
    /// Failures of all rounds.
    pub(crate) failures: u64,
    /// The first of them.
    pub(crate) first_failure: Option<String>,
}

/// A figure of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The median; of an even number, the mean of the two in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `values`, if there are any.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }

    /// All of it in a unit that is `factor` times as small.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            min: self.min * factor,
            max: self.max * factor,
        }
    }

    /// How far the rounds are from the median at most, in percent of it.
    pub(crate) fn percent(self) -> f64 {
        let distance = (self.max - self.median).max(self.median - self.min);
        if self.median > 0.0 {
            100.0 * distance / self.median
        } else {
            0.0
        }
    }
}

/// What is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    /// What is asked for.
    pub(crate) mix: Mix,
    /// The server's `--workers`.
    pub(crate) workers: u32,
    /// Clients.
    pub(crate) clients: u32,
    /// The server's `--queue`.
    pub(crate) queue: u32,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} workers, {} clients, queue {}",
            self.mix, self.workers, self.clients, self.queue
        )
    }
}

/// One round of a cell.
#[derive(Debug)]
pub(crate) struct Round {
    /// The run.
    pub(crate) result: RunResult,
    /// How much of one core the server used.
    pub(crate) server_cpu_percent: Option<f64>,
    /// The server's peak resident memory.
    pub(crate) server_memory_bytes: Option<u64>,
}

impl CellFigures {
    /// The figures of `cell` in a sweep of `plan`, if it has been measured.
    pub(crate) fn of(cell: Cell, plan: &Plan, rounds: &[Round]) -> Option<Self> {
        let runs = || rounds.iter().map(|round| &round.result);
        let throughput_per_s = Spread::of(runs().map(|run| run.throughput_per_s))?;
        let ideal_per_s = ideal_per_s(cell, plan);
        let cpu = rounds.iter().filter_map(|round| round.server_cpu_percent);
        let memory = rounds.iter().filter_map(|round| round.server_memory_bytes);
        Some(Self {
            mix: cell.mix.to_string(),
            workers: cell.workers,
            clients: cell.clients,
            queue: cell.queue,
            rounds: rounds.len(),
            throughput_per_s,
            p50_us: Spread::of(runs().filter_map(|run| run.latency.us(50.0))),
            p99_us: Spread::of(runs().filter_map(|run| run.latency.us(99.0))),
            ideal_per_s,
            efficiency_percent: ideal_per_s.map(|ideal| 100.0 * throughput_per_s.median / ideal),
            server_cpu_percent: Spread::of(cpu),
            server_memory_bytes: Spread::of(memory.map(|bytes| bytes as f64)),
            generator_cpu_percent: Spread::of(runs().filter_map(|run| run.generator.cpu_percent)),
            limited: runs().find_map(|run| run.generator.limited.clone()),
            busy: runs().map(|run| run.busy.answers).sum(),
            failures: runs().map(|run| run.failures.total).sum(),
            first_failure: runs().find_map(|run| run.failures.first.first().cloned()),
        })
    }
}

/// Requests per second of a pool in which each worker always sleeps: `workers x 1000 / n` for
/// SLEEP n. Of a mix only its share of SLEEP counts; the rest is taken to cost nothing. No
/// more workers count than there are requests under way.
fn ideal_per_s(cell: Cell, plan: &Plan) -> Option<f64> {
    let mean_ms = plan.sleep_ms.mean();
    let ms_per_request = mean_ms * cell.mix.share_of_sleep();
    let under_way = cell.clients as usize * plan.max_inflight;
    let sleeping = (cell.workers as usize).min(under_way);
    (ms_per_request > 0.0).then(|| sleeping as f64 * 1000.0 / ms_per_request)
}

impl SweepResult {
    /// The sweep of `plan` so far; the verdict is on the answers only.
    pub(crate) fn new(plan: &Plan, rounds: u32, cells: Vec<CellFigures>) -> Self {
        let failures: u64 = cells.iter().map(|cell| cell.failures).sum();
        let verdict = if failures == 0 {
            Verdict::Pass
        } else {
            Verdict::Fail
        };
        Self {
            schema: SCHEMA.to_owned(),
            kind: "sweep".to_owned(),
            verdict,
            exit_code: 0,
            provenance: None,
            rounds,
            duration_s: plan.load.duration().unwrap_or_default().as_secs_f64(),
            warmup_s: plan.warmup.as_secs_f64(),
            max_inflight: plan.max_inflight,
            framing: plan.limits.framing,
            payload: plan.payload.to_string(),
            sleep_ms: plan.sleep_ms.to_string(),
            seed: plan.seed,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cells,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::results::tests::{outcome, result};
    use crate::load::plan::Span;
    use crate::load::plan::tests::plan;

    fn cell(mix: Mix, workers: u32) -> Cell {
        Cell {
            mix,
            workers,
            clients: 8,
            queue: 256,
        }
    }

    #[test]
    fn the_ideal_is_known_where_sleeping_limits() {
        let mut plan = plan(Mix::Sleep);
        plan.max_inflight = 1;
        plan.sleep_ms = Span { min: 10, max: 10 }.into();
        assert_eq!(ideal_per_s(cell(Mix::Sleep, 4), &plan), Some(400.0));
        assert_eq!(ideal_per_s(cell(Mix::Balanced, 4), &plan), Some(800.0));
        assert_eq!(ideal_per_s(cell(Mix::Sleep, 16), &plan), Some(800.0));
        assert_eq!(ideal_per_s(cell(Mix::Echo, 4), &plan), None);
        plan.sleep_ms = Span { min: 0, max: 0 }.into();
        assert_eq!(ideal_per_s(cell(Mix::Sleep, 4), &plan), None);
    }

    #[test]
    fn a_spread_holds_median_and_extremes() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        let (median, min, max) = (20.0, 10.0, 50.0);
        assert_eq!(
            spread(&[50.0, 10.0, 20.0]),
            Some(Spread { median, min, max })
        );
        assert_eq!(spread(&[1.0, 2.0]).map(|spread| spread.median), Some(1.5));
        assert_eq!(
            spread(&[90.0, 100.0, 105.0]).map(Spread::percent),
            Some(10.0)
        );
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_cell_is_the_median_of_its_rounds_and_the_sum_of_its_failures() {
        let round = |throughput| {
            let mut result = result(&outcome());
            result.throughput_per_s = throughput;
            result.failures.total = 1;
            Round {
                result,
                server_cpu_percent: None,
                server_memory_bytes: Some(1000),
            }
        };
        let mut plan = plan(Mix::Sleep);
        plan.sleep_ms = Span { min: 10, max: 10 }.into();
        let rounds = [round(390.0), round(380.0), round(396.0)];
        let cell = CellFigures::of(cell(Mix::Sleep, 4), &plan, &rounds).expect("rounds");
        assert_eq!(cell.throughput_per_s.median, 390.0);
        assert_eq!(cell.efficiency_percent, Some(97.5));
        assert_eq!(cell.failures, 3);
        assert_eq!(cell.server_cpu_percent, None);
    }
}
