//! The comparison: reads the rounds of two sides and says whether they differ.
//!
//! Knows files and exit codes; what a difference is, is for `comparison`.
//!
//! Rule: what cannot be compared is an error: a guess would pass for a measurement.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::command::cli::CompareArguments;
use crate::command::error::Error;
use crate::command::exit;
use crate::command::provenance;
use crate::command::publish::{create, is_stdout, publish, write_to};
use crate::command::saved;
use crate::figures::comparison::{ComparisonResult, Difference, Side, load_differences};
use crate::figures::interval::LEAST_ROUNDS;
use crate::figures::results::RunResult;
use crate::figures::saved::Saved;
use crate::output::{self, html};

/// What stands at the top of its page.
const TITLE: &str = "Comparison by stress_test";

/// Compares what `arguments` name, and returns the exit code.
pub(crate) fn compare(arguments: &CompareArguments) -> Result<u8, Error> {
    let page = arguments.html.as_deref();
    if page.is_some_and(is_stdout) {
        let text = "compare --html: the table goes to stdout, so the page needs a file";
        return Err(Error::Usage(text.to_owned()));
    }
    let [base, new] = arguments.sides();
    for (name, output) in [("--json", arguments.json.as_deref()), ("--html", page)] {
        saved::spare(name, output, base.iter().chain(new))?;
    }
    let base = side("base", base, &[])?;
    let new = side("new", new, &base.rounds)?;
    let json = create(arguments.json.as_deref())?;
    let provenance = provenance::since(SystemTime::now());
    let mut result = ComparisonResult::of(base, new, arguments.ignore, provenance);
    result.exit_code = match result.verdict {
        Difference::Same | Difference::Faster => exit::PASS,
        Difference::Slower | Difference::Mixed => exit::THRESHOLD,
        Difference::GeneratorLimited => exit::GENERATOR_LIMITED,
        Difference::Fail => exit::FAIL,
    };
    publish(&result, json, "comparison", |out| {
        output::comparison::write(out, &result, arguments.quiet)
    })?;
    let exit_code = result.exit_code;
    if let Some(path) = page {
        let saved = Saved::Comparison(Box::new(result));
        let body = html::body(&[("base and new".to_owned(), saved)]);
        write_to(path, html::page(TITLE, &body).as_bytes())?;
    }
    Ok(exit_code)
}

/// The rounds of the side `name`, whose load has to be one and the same. `others` are those of the
/// other side, as far as they are known.
fn side(name: &str, files: &[PathBuf], others: &[RunResult]) -> Result<Side, Error> {
    let mut rounds: Vec<RunResult> = Vec::new();
    for path in files {
        let wrong = |text| Error::File(path.clone(), text);
        for round in read(path)? {
            if let Some(first) = rounds.first() {
                let differences = load_differences(&first.load, &round.load);
                if !differences.is_empty() {
                    let text = differences.join(", ");
                    return Err(wrong(format!("its load is not that of {name}: {text}")));
                }
            }
            let mut known = rounds.iter().chain(others);
            if known.any(|known| is_the_same(known, &round)) {
                return Err(wrong("one of its rounds is compared already".to_owned()));
            }
            rounds.push(round);
        }
    }
    if rounds.len() < LEAST_ROUNDS {
        return Err(Error::Usage(format!(
            "compare: at least {LEAST_ROUNDS} rounds a side are needed, {name} has {}: run with \
             --rounds 10, or name more files with --base and --new",
            rounds.len()
        )));
    }
    let shown = files.iter().map(|path| path.display().to_string());
    Ok(Side {
        files: shown.collect(),
        rounds,
    })
}

fn read(path: &Path) -> Result<Vec<RunResult>, Error> {
    let wrong = |text: &str| Error::File(path.to_owned(), text.to_owned());
    let rounds = match saved::read(path)? {
        Saved::Run(run) => vec![*run],
        Saved::Rounds(rounds) => rounds.rounds,
        Saved::Sweep(_) | Saved::Ramp(_) | Saved::Comparison(_) => {
            return Err(wrong("only runs can be compared, with --rounds or without"));
        }
    };
    if rounds.iter().any(|round| round.verdict.is_interrupted()) {
        return Err(wrong("a round of it was interrupted"));
    }
    Ok(rounds)
}

/// Whether both are one measurement. Without a time it cannot be told.
fn is_the_same(one: &RunResult, other: &RunResult) -> bool {
    one.provenance.is_some()
        && one.provenance == other.provenance
        && one.latency.histogram == other.latency.histogram
}
