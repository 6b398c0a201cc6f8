//! The page: pictures of the JSON files of runs, sweeps and ramps.
//!
//! Reads those files and writes the page; knows no picture.
//!
//! Rule: it is written when every file was read, or not at all.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::command::cli::ReportArguments;
use crate::command::error::Error;
use crate::command::exit;
use crate::command::measure::{is_stdout, to_stdout};
use crate::output::html;

/// Writes the report, and returns the exit code.
pub(crate) fn report(arguments: &ReportArguments) -> Result<u8, Error> {
    let mut body = String::new();
    for path in &arguments.files {
        body += &section(path).map_err(|text| Error::File(path.clone(), text))?;
    }
    let html = html::page(&arguments.title, &body);
    let path = &arguments.output;
    if is_stdout(path) {
        to_stdout(html.as_bytes()).context("cannot write the page")?;
        return Ok(exit::PASS);
    }
    fs::write(path, &html)
        .map_err(|error| Error::File(path.clone(), format!("cannot write it: {error}")))?;
    let line = format!("{}: {} bytes\n", path.display(), html.len());
    to_stdout(line.as_bytes()).context("cannot say that the page is written")?;
    Ok(exit::PASS)
}

/// The part of the page that shows the file `path`.
fn section(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    html::section(&name, &text)
}
