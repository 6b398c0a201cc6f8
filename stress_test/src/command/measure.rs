//! What every command that measures does: catches signals, drives a plan, publishes the result.
//!
//! Joins the parts; knows no verdict.
//!
//! Rule: whatever was measured is published, also when it was interrupted or a check fired.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use signal_hook_mio::v1_0::Signals;

use crate::command::error::Error;
use crate::command::process;
use crate::command::target::Target;
use crate::drive::crew;
use crate::figures::outcome::{Ended, Outcome};
use crate::load::plan::Plan;
use crate::output::progress::Progress;
use crate::stderr::{flush, say, say_at_the_end};

/// Descriptors for everything that is not a client.
const OTHER_DESCRIPTORS: u64 = 32;
/// By these names a file to write is stdout.
const STDOUT_NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// From here on a signal stops the run, not the program: a spawned server must be stopped. What
/// was ignored when the program started stays ignored: by nohup, or by a shell that started it in
/// the background.
pub(crate) fn catch_signals() -> anyhow::Result<Signals> {
    let wanted = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let caught = wanted
        .iter()
        .filter(|signal| !process::ignores(**signal as u32));
    let caught: Vec<Signal> = caught.copied().collect();
    let numbers = caught.iter().map(|signal| *signal as i32);
    let signals = Signals::new(numbers).context("cannot catch signals")?;
    // Whoever started this program may have blocked them, and the mask is inherited.
    SigSet::from_iter(caught)
        .thread_unblock()
        .context("cannot unblock signals")?;
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
    raise_descriptor_limit(u64::from(plan.most_connections()) + OTHER_DESCRIPTORS);
    let mut show = |standing| progress.show(&standing);
    let mut causes = Vec::new();
    for &address in &target.addresses {
        let outcome = crew::run(plan, address, signals, verbose, &mut show)
            .context("an event loop failed")?;
        match outcome.ended {
            Ended::NothingListening(cause) => causes.push((address, cause)),
            Ended::Finished | Ended::Interrupted(_) => return Ok(outcome),
        }
    }
    Err(Error::NothingListening {
        target: target.name.clone(),
        cause: in_one(causes),
    })
}

/// What several addresses of one name came to; of one address, its own error.
fn in_one(mut causes: Vec<(SocketAddr, io::Error)>) -> io::Error {
    if causes.len() == 1 {
        return causes.remove(0).1;
    }
    let causes = causes
        .iter()
        .map(|(address, cause)| format!("{address}: {cause}"));
    io::Error::other(causes.collect::<Vec<_>>().join("; "))
}

/// Where the JSON goes.
#[derive(Debug)]
pub(crate) enum Json {
    /// Nowhere.
    Unwanted,
    /// To stdout; then the report for people goes to stderr.
    Stdout,
    /// Into this file, pipe or device.
    File(File),
}

/// Opens what the results go to, before there are any: a wrong name shows at once. What is in a
/// file stays until then.
pub(crate) fn create(path: Option<&Path>) -> Result<Json, Error> {
    let Some(path) = path else {
        return Ok(Json::Unwanted);
    };
    // Opened a second time, a file that is stdout would be written from two places.
    if is_stdout(path) {
        return Ok(Json::Stdout);
    }
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).open(path);
    opened
        .map(Json::File)
        .map_err(|error| Error::Usage(format!("--json: cannot write {}: {error}", path.display())))
}

/// Writes `result` as JSON to where that goes, and by `write` as a `form` for people to stdout,
/// or to stderr if stdout is the JSON's. Neither is lost with the other.
pub(crate) fn publish(
    result: &impl Serialize,
    json: Json,
    form: &str,
    write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut text = Vec::new();
    write(&mut text).with_context(|| format!("cannot make the {form}"))?;
    // What was said meanwhile stands before it, also where both are one terminal.
    flush();
    let (json, text) = match json {
        Json::Unwanted => (Ok(()), to_stdout(&text)),
        Json::File(file) => (write_file(file, result), to_stdout(&text)),
        Json::Stdout => {
            say_at_the_end(String::from_utf8_lossy(&text).trim_end());
            (write_json(io::stdout().lock(), result), Ok(()))
        }
    };
    json.context("cannot write the JSON")?;
    text.with_context(|| format!("cannot write the {form}"))
}

/// Writes `contents` into the file `path`, or to stdout if that is one of its names.
pub(crate) fn write_to(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let written = if is_stdout(path) {
        to_stdout(contents)
    } else {
        fs::write(path, contents)
    };
    written.map_err(|error| Error::File(path.to_owned(), format!("cannot write it: {error}")))
}

/// Whether `path` is a name of stdout.
pub(crate) fn is_stdout(path: &Path) -> bool {
    STDOUT_NAMES.iter().any(|name| path == Path::new(name))
}

/// Writes `text` to stdout. If its reader has gone (`| head`), it has what it wants.
pub(crate) fn to_stdout(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn write_file(file: File, result: &impl Serialize) -> io::Result<()> {
    // A pipe or a device has no length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    write_json(file, result)
}

fn write_json(out: impl Write, result: &impl Serialize) -> io::Result<()> {
    let mut out = BufWriter::new(out);
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
            say(format_args!(
                "stress_test: cannot raise the limit of open files: {error}"
            ));
        }
    }
}
