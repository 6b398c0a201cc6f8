//! What every command that measures does: catches signals, drives a plan, publishes the result.
//!
//! Joins the parts; knows no verdict.
//!
//! Rule: whatever was measured is published, also when it was interrupted or a check fired.

use std::fs::File;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::Path;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::check::failure::Failures;
use crate::command::error::Error;
use crate::command::target::Target;
use crate::drive::driver;
use crate::figures::outcome::{Ended, Outcome};
use crate::load::plan::Plan;
use crate::output::progress::Progress;

/// Descriptors for everything that is not a client.
const OTHER_DESCRIPTORS: u64 = 32;

/// From here on a signal stops the run, not the program: a spawned server must be stopped.
pub(crate) fn catch_signals() -> anyhow::Result<Signals> {
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot catch signals")?;
    // Whoever started this program may have blocked them, and the mask is inherited.
    let mut caught = SigSet::empty();
    caught.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    caught.thread_unblock().context("cannot unblock signals")?;
    Ok(signals)
}

/// Runs `plan` once. With `verbose`, every failure is written to stderr at once.
pub(crate) fn measure(
    plan: &Plan,
    target: &Target,
    signals: &mut Signals,
    verbose: bool,
    mut progress: Progress,
) -> Result<Outcome, Error> {
    raise_descriptor_limit(u64::from(plan.clients + plan.hogs) + OTHER_DESCRIPTORS);
    let failures = Failures::new(verbose);
    let mut show = |standing| progress.show(standing);
    let outcome = driver::run(plan, target.address, signals, failures, &mut show)
        .context("the event loop failed")?;
    match outcome.ended {
        Ended::NothingListening(cause) => Err(Error::NothingListening {
            target: target.name.clone(),
            cause,
        }),
        Ended::Finished | Ended::Interrupted => Ok(outcome),
    }
}

/// Opens the file for the results, before there are any: a wrong name shows at once. What is in it
/// stays until then.
pub(crate) fn create(path: Option<&Path>) -> Result<Option<File>, Error> {
    let Some(path) = path else {
        return Ok(None);
    };
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).open(path);
    opened
        .map(Some)
        .map_err(|error| Error::Usage(format!("--json: cannot write {}: {error}", path.display())))
}

/// Writes `result` to stdout by `write`, as a `form` for people, and as JSON into the file if
/// there is one.
pub(crate) fn publish(
    result: &impl Serialize,
    json: Option<File>,
    form: &str,
    write: impl FnOnce(&mut StdoutLock<'_>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    write(&mut out)
        .and_then(|()| out.flush())
        .with_context(|| format!("cannot write the {form}"))?;
    json.map_or(Ok(()), |file| write_json(file, result))
        .context("cannot write the JSON file")
}

fn write_json(file: File, result: &impl Serialize) -> io::Result<()> {
    file.set_len(0)?;
    let mut out = BufWriter::new(file);
    serde_json::to_writer_pretty(&mut out, result)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Raises the soft limit of open files where the hard limit allows it. If it does not, connecting
/// fails for some clients, and the report says so.
fn raise_descriptor_limit(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit {
            current: Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed))),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            eprintln!("stress_test: cannot raise the limit of open files: {error}");
        }
    }
}
