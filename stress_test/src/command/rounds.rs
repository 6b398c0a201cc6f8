//! The same load several times: connections, and a spawned server, are new for each round.
//!
//! Knows in which order; a round is measured and judged as the one run of `run`.
//!
//! Rule: what has been measured is kept, whatever comes.

use signal_hook_mio::v1_0::Signals;

use crate::command::cli::RunArguments;
use crate::command::error::Error;
use crate::command::exit;
use crate::command::measure::{catch_signals, create, publish};
use crate::command::run::measure_once;
use crate::figures::results::{RunResult, Verdict};
use crate::figures::rounds::RoundsResult;
use crate::load::plan::Plan;
use crate::output;
use crate::output::progress::Progress;

/// Runs what `arguments` say in several rounds, and returns the exit code.
pub(crate) fn rounds(arguments: &RunArguments) -> Result<u8, Error> {
    let plan = arguments.plan().map_err(Error::Usage)?;
    let json = create(arguments.json.as_deref())?;
    let mut signals = catch_signals()?;
    let mut measured = Vec::new();
    let mut end = End::Complete;
    while (measured.len() as u32) < arguments.rounds {
        match round(arguments, &plan, measured.len() as u32, &mut signals) {
            Ok(result) => {
                if was_interrupted(&result) {
                    end = End::Interrupted;
                }
                // Part of a round is no round, but what was wrong in it is told.
                if matches!(end, End::Complete) || result.failures.total > 0 {
                    measured.push(result);
                }
            }
            Err(Error::Interrupted) => end = End::Interrupted,
            Err(error) if measured.is_empty() => return Err(error),
            Err(error) => end = End::Broken(error),
        }
        if !matches!(end, End::Complete) {
            break;
        }
    }
    let mut result = RoundsResult::new(arguments.rounds, measured);
    conclude(&mut result, &end);
    publish(&result, json, "report", |out| {
        output::rounds::write(out, &result, arguments.output.quiet)
    })?;
    match end {
        End::Broken(error) => Err(error),
        End::Complete | End::Interrupted => Ok(result.exit_code),
    }
}

/// How a series of rounds ended.
#[derive(Debug)]
enum End {
    /// All have been measured.
    Complete,
    /// By a signal.
    Interrupted,
    /// A round could not be measured.
    Broken(Error),
}

/// Round `number`, counted from 0.
fn round(
    arguments: &RunArguments,
    plan: &Plan,
    number: u32,
    signals: &mut Signals,
) -> Result<RunResult, Error> {
    // Seeds are numbers that --seed takes.
    let seed = (plan.seed as u32).wrapping_add(number);
    let plan = Plan {
        seed: u64::from(seed),
        ..plan.clone()
    };
    let mut progress = Progress::new(arguments.output.quiet);
    let (share, place) = (f64::from(number) / f64::from(arguments.rounds), number + 1);
    progress.step(share, format!("round {place} of {}", arguments.rounds));
    measure_once(arguments, &plan, progress, signals)
}

fn was_interrupted(round: &RunResult) -> bool {
    let interrupted = [Verdict::InterruptedClean, Verdict::InterruptedFailing];
    interrupted.contains(&round.verdict)
}

fn conclude(result: &mut RoundsResult, end: &End) {
    let mut codes = result.rounds.iter().map(|round| round.exit_code);
    let failed = codes.any(|code| code == exit::FAIL);
    let is_failing = result.verdict == Verdict::Fail || failed;
    (result.verdict, result.exit_code) = match (end, result.verdict) {
        (End::Interrupted, _) if is_failing => (Verdict::InterruptedFailing, exit::FAIL),
        (End::Interrupted, _) => (Verdict::InterruptedClean, exit::INTERRUPTED),
        (End::Broken(error), _) => (Verdict::Fail, error.exit_code()),
        (End::Complete, verdict) if failed => (verdict, exit::FAIL),
        (End::Complete, Verdict::Fail) => (Verdict::Fail, exit::THRESHOLD),
        (End::Complete, Verdict::GeneratorLimited) => {
            (Verdict::GeneratorLimited, exit::GENERATOR_LIMITED)
        }
        (End::Complete, verdict) => (verdict, exit::PASS),
    };
}
