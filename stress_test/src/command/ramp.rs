//! The ramp: open loops of rising rates, until the service level breaks.
//!
//! Knows how one rate is measured and judged; which rate comes next is `search`'s.
//!
//! Rule: a rate breaks when two measurements in a row say so, as one may be the machine's bad
//! luck; where it was the generator that broke, the server is not blamed.

mod search;

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use signal_hook_mio::v1_0::Signals;

use self::search::Search;
use crate::command::cli::RampArguments;
use crate::command::error::Error;
use crate::command::exit;
use crate::command::measure::{catch_signals, measure};
use crate::command::provenance;
use crate::command::publish::{create, publish};
use crate::command::series::End;
use crate::command::target::Target;
use crate::figures::backlog::{self, BacklogFigures};
use crate::figures::load::LoadFigures;
use crate::figures::outcome::Ended;
use crate::figures::ramp::{RampResult, RampStep};
use crate::figures::results::{RunResult, SCHEMA, Verdict};
use crate::figures::threshold::Threshold;
use crate::load::plan::{Load, OpenLoop, Plan};
use crate::output;
use crate::output::progress::Progress;
use crate::stderr::say;

/// A step is not made longer than this, however large a sample it needs.
const LONGEST_STEP: Duration = Duration::from_secs(60);
/// A random number of arrivals may be smaller than its mean; so much more is planned.
const MARGIN: f64 = 1.2;

/// Runs the ramp, and returns the exit code.
pub(crate) fn ramp(arguments: &RampArguments) -> Result<u8, Error> {
    let plan = arguments.plan().map_err(Error::Usage)?;
    let series = &arguments.series;
    let json = create(series.json.as_deref())?;
    let mut signals = catch_signals()?;
    let verbose = series.output.verbose;
    let target = Target::find(
        &arguments.target,
        &series.load,
        plan.most_connections(),
        verbose,
        &mut signals,
    )?;
    let mut ramp = Ramp {
        arguments,
        plan,
        target,
        started: SystemTime::now(),
        steps: Vec::new(),
        is_wrong: false,
        wrong: Vec::new(),
    };
    let came_to = ramp.climb(&mut signals);
    let end = End::of(came_to, !ramp.steps.is_empty())?;
    let result = ramp.into_result(&end)?;
    publish(&result, json, "table", |out| {
        output::ramp::write(out, &result, series.output.quiet)
    })?;
    end.exit(result.exit_code)
}

struct Ramp<'a> {
    arguments: &'a RampArguments,
    plan: Plan,
    target: Target,
    started: SystemTime,
    steps: Vec<RampStep>,
    /// An answer of the server was wrong, which ends it.
    is_wrong: bool,
    /// The first failures that are not only a matter of load.
    wrong: Vec<String>,
}

impl Ramp<'_> {
    fn climb(&mut self, signals: &mut Signals) -> Result<(), Error> {
        let arguments = self.arguments;
        let (start, most) = (arguments.start, arguments.max_rate);
        let mut search = Search::new(start, most, self.precision());
        let mut progress = Progress::new(arguments.series.output.quiet);
        let began = Instant::now();
        while let Some(rate) = search.next() {
            let seconds = began.elapsed().as_secs_f64();
            let text = format!("{seconds:.0} s: trying {rate:.0} requests/s, {search}");
            progress.step(search.share_done(), text);
            let step = self.decide(rate, signals)?;
            search.judged(rate, step.holds);
            self.steps.push(step);
            if self.is_wrong {
                break;
            }
        }
        Ok(())
    }

    /// How far the ends may be apart, as a share.
    fn precision(&self) -> f64 {
        f64::from(self.arguments.precision) / 100.0
    }

    /// Measures `rate` until it is decided whether it holds.
    fn decide(&mut self, rate: f64, signals: &mut Signals) -> Result<RampStep, Error> {
        let step = self.measure(rate, signals)?;
        if step.holds || self.is_wrong {
            return Ok(step);
        }
        self.measure(rate, signals)
    }

    fn measure(&mut self, rate: f64, signals: &mut Signals) -> Result<RampStep, Error> {
        let open = OpenLoop::steady(rate, self.arguments.arrivals, self.length(rate));
        let plan = Plan {
            load: Load::Rate(open),
            ..self.plan.clone()
        };
        let (verbose, quiet) = (self.arguments.series.output.verbose, Progress::Quiet);
        let outcome = measure(&plan, &self.target, signals, verbose, quiet)?;
        if let Ended::Interrupted(_) = outcome.ended {
            return Err(Error::Interrupted);
        }
        let workers = self.arguments.target.workers;
        let result = RunResult::of(&plan, &self.target.name, &outcome).with_theory(&plan, workers);
        // What is late or refused is a matter of load; all else is the server's fault.
        let by_load = ["unsent", "missing"];
        let mut kinds = result.failures.by_kind.keys();
        if kinds.any(|kind| !by_load.contains(&kind.as_str())) || !result.ledger.balances {
            self.is_wrong = true;
            self.wrong.clone_from(&result.failures.first);
        }
        Ok(step(rate, result, &self.arguments.slo))
    }

    /// How long a step at `rate` lasts: every percentile of the service level is known then, and a
    /// rate that is too high by the precision shows.
    fn length(&self, rate: f64) -> Duration {
        let samples = self.arguments.slo.iter().map(Threshold::sample);
        let for_slo = MARGIN * samples.fold(0.0, f64::max);
        let needed_s = for_slo.max(backlog::needed(self.precision())) / rate;
        let needed = self.arguments.series.warmup + Duration::from_secs_f64(needed_s);
        needed.min(LONGEST_STEP).max(self.arguments.duration)
    }

    fn into_result(self, end: &End) -> Result<RampResult, Error> {
        let mut steps = self.steps;
        steps.sort_by(|one, other| one.rate_per_s.total_cmp(&other.rate_per_s));
        let holding = steps.iter().rev().find(|step| step.holds);
        let highest = holding.map(|step| step.rate_per_s);
        let above = |step: &&RampStep| !step.holds && Some(step.rate_per_s) > highest;
        let broken = steps.iter().find(above);
        let is_limited = broken.is_some_and(|step| step.limited.is_some());
        let mut wrong = self.wrong;
        if let Some(server) = self.target.server {
            let ended_badly = server.stop(matches!(end, End::Interrupted));
            wrong.extend(ended_badly.context("cannot stop the spawned server")?);
        }
        let is_failing = self.is_wrong || !wrong.is_empty();
        let complete = if is_failing {
            (Verdict::Fail, exit::FAIL)
        } else if is_limited {
            (Verdict::GeneratorLimited, exit::GENERATOR_LIMITED)
        } else if highest.is_none() {
            (Verdict::Fail, exit::THRESHOLD)
        } else {
            (Verdict::Pass, exit::PASS)
        };
        let (verdict, exit_code) = end.cut_short(is_failing).unwrap_or(complete);
        for text in &wrong {
            say(text);
        }
        Ok(RampResult {
            schema: SCHEMA.to_owned(),
            kind: "ramp".to_owned(),
            verdict,
            exit_code,
            target: self.target.name,
            provenance: Some(provenance::since(self.started)),
            slo: self.arguments.slo.iter().map(ToString::to_string).collect(),
            highest_rate_per_s: highest,
            lowest_broken_per_s: broken.map(|step| step.rate_per_s),
            load: LoadFigures::of(&self.plan),
            steps,
        })
    }
}

/// The figures of one measurement, judged by `slo`.
fn step(rate: f64, result: RunResult, slo: &[Threshold]) -> RampStep {
    let findings = slo.iter().map(|threshold| threshold.judge(&result));
    let not_met = findings.filter(|finding| finding.is_met != Some(true));
    let mut broken: Vec<String> = not_met.map(|finding| finding.text).collect();
    if result.ledger.unsent > 0 {
        broken.push(format!("{} could not be sent", result.ledger.unsent));
    }
    if result.ledger.missing > 0 {
        broken.push(format!("{} got no answer", result.ledger.missing));
    }
    broken.extend(result.backlog.as_ref().and_then(BacklogFigures::complaint));
    RampStep {
        rate_per_s: rate,
        duration_s: result.load.duration_s,
        throughput_per_s: result.throughput_per_s,
        holds: broken.is_empty(),
        broken,
        busy_percent: result.busy_percent().unwrap_or_default(),
        backlog: result.backlog,
        unsent: result.ledger.unsent,
        limited: result.generator.limited,
        latency: result.latency,
        predicted_mean_us: result.queueing.map(|theory| theory.predicted_mean_us),
        service: result.service,
    }
}
