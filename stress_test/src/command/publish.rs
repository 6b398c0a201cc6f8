//! Where results and pages go: files, pipes, stdout.
//!
//! Knows streams; not what is written to them.
//!
//! Rule: whatever was measured is published, also when it was interrupted or a check fired, and no
//! part of it is lost with another.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::command::error::Error;
use crate::stderr::{flush, say_at_the_end};

/// By these names a file to write is stdout.
const STDOUT_NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

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
