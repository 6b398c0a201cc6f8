//! One run: finds or starts the server, drives the load, judges what came of it.
//!
//! Knows verdicts and exit codes, and no protocol.
//!
//! Rule: a wrong answer outweighs every other reason to fail.

use std::time::SystemTime;

use signal_hook_mio::v1_0::Signals;

use crate::command::cli::RunArguments;
use crate::command::error::Error;
use crate::command::exit;
use crate::command::measure::{catch_signals, measure};
use crate::command::provenance;
use crate::command::publish::{create, publish};
use crate::command::target::Target;
use crate::figures::results::{RunResult, Verdict};
use crate::figures::threshold::Threshold;
use crate::load::plan::{Load, Plan};
use crate::output;
use crate::output::progress::Progress;
use crate::stderr::say;

/// Runs what `arguments` say, and returns the exit code.
pub(crate) fn run(arguments: &RunArguments) -> Result<u8, Error> {
    let plan = arguments.plan().map_err(Error::Usage)?;
    let json = create(arguments.json.as_deref())?;
    let mut signals = catch_signals()?;
    let progress = Progress::new(arguments.output.quiet);
    let result = measure_once(arguments, &plan, progress, &mut signals)?;
    publish(&result, json, "report", |out| {
        output::run::write(out, &result, arguments.output.quiet)
    })?;
    Ok(result.exit_code)
}

/// Runs `plan` once against the server of `arguments`, which is new if it is spawned, and judges
/// what came of it.
pub(crate) fn measure_once(
    arguments: &RunArguments,
    plan: &Plan,
    progress: Progress,
    signals: &mut Signals,
) -> Result<RunResult, Error> {
    let (load, verbose) = (&arguments.load, arguments.output.verbose);
    let target = Target::find(
        &arguments.target,
        load,
        plan.most_connections(),
        verbose,
        signals,
    )?;
    if verbose {
        let (clients, seed) = (plan.clients + plan.hogs, plan.seed);
        say(format_args!(
            "connecting {clients} clients to {}, seed {seed}",
            target.name
        ));
    }
    let started = SystemTime::now();
    let mut outcome = measure(plan, &target, signals, verbose, progress)?;
    let name = target.name.clone();
    target.stop(&mut outcome)?;
    let workers = arguments.target.workers;
    let mut result = RunResult::of(plan, &name, &outcome).with_theory(plan, workers);
    result.provenance = Some(provenance::since(started));
    conclude(&mut result, plan, &arguments.fail_if);
    Ok(result)
}

/// Judges `result` by the thresholds and by what the generator itself was able to do.
fn conclude(result: &mut RunResult, plan: &Plan, fail_if: &[Threshold]) {
    let findings = fail_if.iter().map(|threshold| threshold.judge(result));
    let broken = findings.filter(|finding| finding.is_met != Some(false));
    result.thresholds_broken = broken.map(|finding| finding.text).collect();
    let generator = &result.generator;
    let is_measurement = matches!(plan.load, Load::Rate(_)) || !fail_if.is_empty();
    let is_limited = generator.was_away || is_measurement && generator.limited.is_some();
    let only_unsent = result.ledger.cut_off == 0
        && result.failures.total > 0
        && result.failures.by_kind.get("unsent") == Some(&result.failures.total);
    match result.verdict {
        Verdict::Pass if is_limited => result.verdict = Verdict::GeneratorLimited,
        Verdict::Fail if is_limited && only_unsent => result.verdict = Verdict::GeneratorLimited,
        _ => {}
    }
    result.exit_code = match result.verdict {
        Verdict::Pass if result.thresholds_broken.is_empty() => exit::PASS,
        Verdict::Pass => {
            result.verdict = Verdict::Fail;
            exit::THRESHOLD
        }
        Verdict::Fail | Verdict::InterruptedFailing => exit::FAIL,
        Verdict::GeneratorLimited => exit::GENERATOR_LIMITED,
        Verdict::InterruptedClean => exit::INTERRUPTED,
    };
}
