//! What a run came to, as figures: the one source of the report, the JSON file and the pictures.
//!
//! Knows how figures follow from the account of a run; not how they are shown.
//!
//! Rule: this is the format of docs/stress_test.schema.json. A field that is added is no new
//! version; one that is renamed, removed or means something else is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::figures::backlog::BacklogFigures;
use crate::figures::connections::ConnectionFigures;
use crate::figures::distribution::{Distribution, microseconds};
use crate::figures::fairness::FairnessFigures;
use crate::figures::generator::GeneratorFigures;
use crate::figures::ledger::Tally;
use crate::figures::load::LoadFigures;
use crate::figures::occupancy::Little;
use crate::figures::outcome::{Ended, Outcome};
use crate::figures::provenance::Provenance;
use crate::figures::queueing::QueueingFigures;
use crate::figures::stages::StageFigures;
use crate::figures::timeline::Timeline;
use crate::load::mix::Operation;
use crate::load::plan::{Load, Plan};

/// The name and version of the format.
pub(crate) const SCHEMA: &str = "reactor-pool/stress_test/1";

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunResult {
    /// [`SCHEMA`].
    pub(crate) schema: String,
    /// `run`.
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
    /// What was asked for.
    pub(crate) load: LoadFigures,
    /// From the first request to the last answer, in seconds.
    pub(crate) elapsed_s: f64,
    /// How long the measured window was, in seconds; 0 if the load ended before it began.
    pub(crate) measured_s: f64,
    /// Verified answers per second of the measured window.
    pub(crate) throughput_per_s: f64,
    /// What became of every frame.
    pub(crate) ledger: LedgerFigures,
    /// From due to answered, unanswered requests included as "at least their age".
    pub(crate) latency: Distribution,
    /// The latency of each operation, where there was a choice.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) operations: BTreeMap<Operation, Distribution>,
    /// Each stage, where an open loop has several.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) stages: Vec<StageFigures>,
    /// From written to answered.
    pub(crate) service: Distribution,
    /// From due to written.
    pub(crate) send_lag: Distribution,
    /// Refusals.
    pub(crate) busy: BusyFigures,
    /// Whether the answers kept up, in an open loop.
    pub(crate) backlog: Option<BacklogFigures>,
    /// How the clients came to their connections.
    pub(crate) connections: ConnectionFigures,
    /// Little's law.
    pub(crate) little: Little,
    /// What theory says of the mean latency, where it applies and it is known how many workers
    /// there were.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) queueing: Option<QueueingFigures>,
    /// The load generator itself.
    pub(crate) generator: GeneratorFigures,
    /// How evenly the clients were served.
    pub(crate) fairness: FairnessFigures,
    /// What came when.
    pub(crate) timeline: TimelineFigures,
    /// What was wrong.
    pub(crate) failures: FailureFigures,
    /// The pipelining clients, if there were any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) hogs: Option<HogFigures>,
    /// The conditions of `--fail-if` that were met.
    pub(crate) thresholds_broken: Vec<String>,
}

/// What the run comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub(crate) enum Verdict {
    /// Every answer was right.
    Pass,
    /// Some were not, or did not come, or a threshold was broken.
    Fail,
    /// Every answer was right, but the figures are the generator's, not the server's.
    GeneratorLimited,
    /// Stopped by a signal; nothing was wrong until then.
    InterruptedClean,
    /// Stopped by a signal; something had been wrong already.
    InterruptedFailing,
}

impl Verdict {
    /// Whether a signal ended it before its time.
    pub(crate) fn is_interrupted(self) -> bool {
        matches!(self, Self::InterruptedClean | Self::InterruptedFailing)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::GeneratorLimited => "GENERATOR-LIMITED",
            Self::InterruptedClean => "INTERRUPTED (no failure so far)",
            Self::InterruptedFailing => "INTERRUPTED (FAIL so far)",
        })
    }
}

/// What became of every frame of the ordinary clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LedgerFigures {
    /// What the plan came to.
    pub(crate) planned: u64,
    /// Sent, each counted once.
    pub(crate) sent: u64,
    /// Planned and never sent.
    pub(crate) unsent: u64,
    /// Those of them whose client, or every client, had lost its connection.
    pub(crate) cut_off: u64,
    /// Answered rightly with OK.
    pub(crate) ok: u64,
    /// Answered rightly with an error.
    pub(crate) expected_errors: u64,
    /// Refused as busy at last.
    pub(crate) busy: u64,
    /// Answered wrongly.
    pub(crate) wrong: u64,
    /// Not answered, or too late.
    pub(crate) missing: u64,
    /// In flight when the connection was closed, where clients reconnect.
    pub(crate) lost: u64,
    /// Under way when the run was interrupted.
    pub(crate) under_way: u64,
    /// Whether `planned = sent + unsent`, and `sent` is the sum of what became of them.
    pub(crate) balances: bool,
}

/// `ERR server busy`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BusyFigures {
    /// Such answers.
    pub(crate) answers: u64,
    /// Requests that were sent again because of one.
    pub(crate) retried: u64,
    /// From written to refused.
    pub(crate) latency: Distribution,
}

/// What came when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TimelineFigures {
    /// How long each slice is.
    pub(crate) slice_ms: u64,
    /// The slices from the start of the run on.
    pub(crate) slices: Vec<SliceFigures>,
}

/// One slice of the timeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SliceFigures {
    /// Verified answers.
    pub(crate) answers: u64,
    /// `ERR server busy`.
    pub(crate) busy: u64,
    /// The median latency of the answers.
    pub(crate) p50_us: Option<f64>,
    /// Their p99, which in a small slice is the longest.
    pub(crate) p99_us: Option<f64>,
    /// The longest.
    pub(crate) max_us: Option<f64>,
    /// The longest latency of what was due in this slice, whenever its answer came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) due_max_us: Option<f64>,
    /// Of these, pairs of microseconds and a count: so many took at least so long, and less than
    /// the next quarter of an octave.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) due_buckets: Vec<(u64, u64)>,
}

/// What was wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FailureFigures {
    /// How many failures there were.
    pub(crate) total: u64,
    /// By kind.
    pub(crate) by_kind: BTreeMap<String, u64>,
    /// The first ones in full.
    pub(crate) first: Vec<String>,
    /// Whether there were more.
    pub(crate) is_cut: bool,
}

/// The pipelining clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HogFigures {
    /// Right answers.
    pub(crate) verified: u64,
    /// Right answers per second.
    pub(crate) throughput_per_s: f64,
    /// `ERR server busy` answers.
    pub(crate) busy: u64,
    /// From due to answered.
    pub(crate) latency: Distribution,
}

impl RunResult {
    /// The figures of `outcome`, a run of `plan` against `target`.
    pub(crate) fn of(plan: &Plan, target: &str, outcome: &Outcome) -> Self {
        let tally = &outcome.ledger.clients;
        let elapsed = tally.last_answer.map_or(Duration::ZERO, |last| {
            last.saturating_duration_since(outcome.start)
        });
        let ledger = ledger_figures(outcome);
        let latency = Distribution::of(&tally.latencies);
        let service = Distribution::of(&tally.service);
        let generator = GeneratorFigures::of(plan, outcome, &service);
        let hogs = (plan.hogs > 0).then(|| hog_figures(outcome));
        let failures = failure_figures(outcome);
        let little = tally.occupancy.little();
        let is_right = failures.total == 0;
        let verdict = match outcome.ended {
            Ended::Interrupted(_) if is_right => Verdict::InterruptedClean,
            Ended::Interrupted(_) => Verdict::InterruptedFailing,
            _ if !is_right || !ledger.balances || !little.holds => Verdict::Fail,
            // Nothing was wrong because nothing was said.
            _ if tally.verified + tally.busy_answers == 0 => Verdict::Fail,
            _ => Verdict::Pass,
        };
        Self {
            schema: SCHEMA.to_owned(),
            kind: "run".to_owned(),
            verdict,
            exit_code: 0,
            target: target.to_owned(),
            provenance: None,
            load: LoadFigures::of(plan),
            elapsed_s: elapsed.as_secs_f64(),
            measured_s: window_s(tally, outcome),
            throughput_per_s: throughput(tally, outcome),
            ledger,
            latency,
            operations: operation_figures(tally),
            stages: stage_figures(plan, outcome),
            backlog: backlog_figures(plan, outcome),
            service,
            send_lag: Distribution::of(&tally.send_lag),
            busy: BusyFigures {
                answers: tally.busy_answers,
                retried: tally.retries,
                latency: Distribution::of(&tally.busy_latencies),
            },
            connections: ConnectionFigures::of(tally),
            little,
            queueing: None,
            generator,
            fairness: FairnessFigures::of(&outcome.shares, window_s(tally, outcome)),
            timeline: timeline_figures(&outcome.ledger.timeline),
            failures,
            hogs,
            thresholds_broken: Vec::new(),
        }
    }

    /// The same with what theory says of it, if the server has so many `workers`.
    pub(crate) fn with_theory(mut self, plan: &Plan, workers: Option<u32>) -> Self {
        let refused = self.busy.answers;
        self.queueing =
            workers.and_then(|workers| QueueingFigures::of(plan, workers, &self.latency, refused));
        self
    }

    /// Verified answers per second of the measured window, if there was one.
    pub(crate) fn rate_per_s(&self) -> Option<f64> {
        (self.measured_s > 0.0).then_some(self.throughput_per_s)
    }

    /// How many of the tries that are measured were refused as busy, if there were any. Each
    /// request has one try that is in the latencies, and one more for each refusal.
    pub(crate) fn busy_percent(&self) -> Option<f64> {
        let busy = self.busy.latency.count;
        let tries = self.latency.count + busy;
        (tries > 0).then(|| 100.0 * busy as f64 / tries as f64)
    }
}

impl LedgerFigures {
    /// How many got their right answer.
    pub(crate) fn verified(&self) -> u64 {
        self.ok + self.expected_errors
    }

    /// The account for people: both sums, without what there was none of.
    pub(crate) fn in_words(&self) -> String {
        let mut text = format!("{} planned = {} sent", self.planned, self.sent);
        if self.unsent > 0 {
            text += &format!(" + {} unsent", self.unsent);
        }
        let ends = [
            (self.ok, "OK"),
            (self.expected_errors, "expected errors"),
            (self.busy, "busy"),
            (self.wrong, "wrong"),
            (self.missing, "missing"),
            (self.lost, "lost"),
            (self.under_way, "under way"),
        ];
        let ends = ends.iter().filter(|(count, _)| *count > 0);
        let ends: Vec<_> = ends.map(|(count, end)| format!("{count} {end}")).collect();
        if !ends.is_empty() {
            text += &format!("; sent = {}", ends.join(" + "));
        }
        text + if self.balances {
            " (balances)"
        } else {
            " (DOES NOT BALANCE)"
        }
    }
}

fn ledger_figures(outcome: &Outcome) -> LedgerFigures {
    let tally = &outcome.ledger.clients;
    let was_interrupted = matches!(outcome.ended, Ended::Interrupted(_));
    let open = tally.sent.saturating_sub(tally.ended());
    let under_way = if was_interrupted { open } else { 0 };
    let accounted = tally.sent == tally.ended() + under_way;
    let complete = was_interrupted || outcome.planned == tally.sent + tally.unsent;
    LedgerFigures {
        planned: outcome.planned,
        sent: tally.sent,
        unsent: tally.unsent,
        cut_off: tally.cut_off,
        ok: tally.verified - tally.expected_errors,
        expected_errors: tally.expected_errors,
        busy: tally.refused + tally.given_up_busy,
        wrong: tally.wrong,
        missing: tally.missing,
        lost: tally.lost,
        under_way,
        balances: accounted && complete,
    }
}

/// Verified answers per second within the measured window.
fn throughput(tally: &Tally, outcome: &Outcome) -> f64 {
    tally.in_window as f64 / window_s(tally, outcome).max(1e-6)
}

/// How long the measured window is, in seconds. A load that has an end to its time is measured
/// until then, even if the server went before; any other until the last answer. A signal ends the
/// window, however long before that the last answer came.
fn window_s(tally: &Tally, outcome: &Outcome) -> f64 {
    let window = outcome.ledger.window();
    let last = tally.last_answer.unwrap_or(window.from);
    let end = match (&outcome.ended, window.until) {
        (Ended::Interrupted(at), until) => until.map_or(*at, |until| until.min(*at)),
        (_, until) => until.unwrap_or(last),
    };
    end.saturating_duration_since(window.from).as_secs_f64()
}

fn timeline_figures(timeline: &Timeline) -> TimelineFigures {
    let slices = timeline.slices().iter().map(|slice| SliceFigures {
        answers: slice.answers,
        busy: slice.busy,
        p50_us: slice.percentile(50.0).map(microseconds),
        p99_us: slice.percentile(99.0).map(microseconds),
        max_us: (slice.answers > 0).then(|| microseconds(slice.longest)),
        due_max_us: slice.longest_of_due.map(microseconds),
        due_buckets: slice.due.pairs(),
    });
    TimelineFigures {
        slice_ms: timeline.slice_length().as_millis() as u64,
        slices: slices.collect(),
    }
}

fn failure_figures(outcome: &Outcome) -> FailureFigures {
    let failures = &outcome.ledger.failures;
    let by_kind = failures.by_kind();
    FailureFigures {
        total: failures.total(),
        by_kind: by_kind
            .map(|(kind, count)| (kind.to_string(), count))
            .collect(),
        first: failures.first(),
        is_cut: failures.is_cut(),
    }
}

fn operation_figures(tally: &Tally) -> BTreeMap<Operation, Distribution> {
    let operations = tally.operations.iter();
    operations
        .map(|(&operation, latencies)| (operation, Distribution::of(latencies)))
        .collect()
}

fn stage_figures(plan: &Plan, outcome: &Outcome) -> Vec<StageFigures> {
    let Some(open) = &outcome.effort.open_loop else {
        return Vec::new();
    };
    let (tallies, stages) = (&outcome.ledger.stages, plan.load.stages());
    StageFigures::of(tallies, stages, &open.waited, measured(plan, outcome))
}

fn backlog_figures(plan: &Plan, outcome: &Outcome) -> Option<BacklogFigures> {
    let Load::Rate(open) = &plan.load else {
        return None;
    };
    let (tally, measured) = (&outcome.ledger.clients, measured(plan, outcome));
    Some(BacklogFigures::of(tally, open, measured))
}

/// When measuring began and ended, from the start of the load.
fn measured(plan: &Plan, outcome: &Outcome) -> (Duration, Duration) {
    let length_s = window_s(&outcome.ledger.clients, outcome);
    (plan.warmup, plan.warmup + Duration::from_secs_f64(length_s))
}

fn hog_figures(outcome: &Outcome) -> HogFigures {
    let tally = &outcome.ledger.hogs;
    HogFigures {
        verified: tally.verified,
        throughput_per_s: throughput(tally, outcome),
        busy: tally.busy_answers,
        latency: Distribution::of(&tally.latencies),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Instant;

    use super::*;
    use crate::check::failure::{Failures, Sender};
    use crate::figures::fairness::Share;
    use crate::figures::latencies::Latencies;
    use crate::figures::ledger::{Ledger, Times};
    use crate::figures::outcome::Effort;
    use crate::load::plan::Mix;
    use crate::load::plan::tests::plan;

    /// 3000 answers of 10 us to 30 ms, one each millisecond.
    pub(crate) fn outcome() -> Outcome {
        let start = Instant::now();
        let mut ledger = Ledger::new(Failures::new(false), start);
        let mut shares = vec![Share::new(), Share::new()];
        for n in 1..=3000u64 {
            let latency = Duration::from_micros(n * 10);
            let now = start + Duration::from_millis(n);
            // The measured window begins before all of them.
            let written = now.checked_sub(latency).unwrap_or(start).max(start);
            let sender = Sender::Client(0);
            ledger.clients.sent += 1;
            ledger.clients.occupancy.enter(1, now);
            ledger.left(sender, 1, Duration::ZERO, now);
            let times = Times {
                operation: None,
                intended: written,
                written,
            };
            ledger.verified(sender, times.answered(now), 1);
            shares[n as usize % 2].record(times.answered(now), 1, ledger.window());
        }
        Outcome {
            ended: Ended::Finished,
            start,
            ledger,
            shares,
            planned: 3000,
            effort: Effort {
                cpu: Duration::from_millis(300),
                busiest: Duration::from_millis(300),
                threads: 1,
                elapsed: Duration::from_secs(3),
                delays: Latencies::default(),
                absent: Duration::ZERO,
                run_queue_waits: Latencies::default(),
                open_loop: None,
            },
        }
    }

    pub(crate) fn result(outcome: &Outcome) -> RunResult {
        let mut plan = plan(Mix::Echo);
        plan.load = Load::Frames(1000);
        RunResult::of(&plan, "here", outcome)
    }
}
