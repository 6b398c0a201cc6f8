//! The same load several times: connections, and a spawned server, are new for each round.
//!
//! Knows in which order; a round is measured and judged as the one run of `run`.
//!
//! Rule: what has been measured is kept, whatever comes.

use signal_hook_mio::v1_0::Signals;

use crate::command::cli::RunArguments;
use crate::command::error::Error;
use crate::command::exit;
use crate::command::measure::catch_signals;
use crate::command::publish::{create, publish};
use crate::command::run::measure_once;
use crate::command::series::End;
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
    let came_to = measure_all(arguments, &plan, &mut signals, &mut measured);
    let end = End::of(came_to, !measured.is_empty())?;
    let mut result = RoundsResult::new(arguments.rounds, measured);
    conclude(&mut result, &end);
    publish(&result, json, "report", |out| {
        output::rounds::write(out, &result, arguments.output.quiet)
    })?;
    end.exit(result.exit_code)
}

fn measure_all(
    arguments: &RunArguments,
    plan: &Plan,
    signals: &mut Signals,
    measured: &mut Vec<RunResult>,
) -> Result<(), Error> {
    for number in 0..arguments.rounds {
        let result = round(arguments, plan, number, signals)?;
        let was_interrupted = result.verdict.is_interrupted();
        // Part of a round is no round, but what was wrong in it is told.
        if !was_interrupted || result.failures.total > 0 {
            measured.push(result);
        }
        if was_interrupted {
            return Err(Error::Interrupted);
        }
    }
    Ok(())
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

fn conclude(result: &mut RoundsResult, end: &End) {
    let mut codes = result.rounds.iter().map(|round| round.exit_code);
    let failed = codes.any(|code| code == exit::FAIL);
    let is_failing = result.verdict == Verdict::Fail || failed;
    let complete = match result.verdict {
        verdict if failed => (verdict, exit::FAIL),
        Verdict::Fail => (Verdict::Fail, exit::THRESHOLD),
        Verdict::GeneratorLimited => (Verdict::GeneratorLimited, exit::GENERATOR_LIMITED),
        verdict => (verdict, exit::PASS),
    };
    (result.verdict, result.exit_code) = end.cut_short(is_failing).unwrap_or(complete);
}
