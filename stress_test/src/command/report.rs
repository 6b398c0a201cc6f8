//! The page: pictures of the JSON files of runs, sweeps and ramps.
//!
//! Reads those files and writes the page; knows no picture.
//!
//! Rule: it is written when every file was read, or not at all.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::command::cli::ReportArguments;
use crate::command::error::Error;
use crate::command::exit;
use crate::command::publish::{is_stdout, to_stdout, write_to};
use crate::command::saved;
use crate::output::html;

/// Writes the report, and returns the exit code.
pub(crate) fn report(arguments: &ReportArguments) -> Result<u8, Error> {
    saved::spare("--output", Some(&arguments.output), arguments.files.iter())?;
    let mut files = Vec::new();
    for path in &arguments.files {
        files.push((name(path, &arguments.files), saved::read(path)?));
    }
    let html = html::page(&arguments.title, &html::body(&files));
    let path = &arguments.output;
    write_to(path, html.as_bytes())?;
    if !is_stdout(path) {
        let line = format!("{}: {} bytes\n", path.display(), html.len());
        to_stdout(line.as_bytes()).context("cannot say that the page is written")?;
    }
    Ok(exit::PASS)
}

/// What the page calls the file `path` of `all`: no more than tells it from the others.
fn name(path: &Path, all: &[PathBuf]) -> String {
    let alike = all
        .iter()
        .filter(|other| other.file_stem() == path.file_stem());
    match path.file_stem() {
        Some(stem) if alike.count() <= 1 => stem.to_string_lossy().into_owned(),
        _ => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_are_told_apart_by_their_folders() {
        let all = ["a/run.json", "b/run.json", "b/ramp.json"].map(PathBuf::from);
        let names = all.each_ref().map(|path| name(path, &all));
        assert_eq!(names, ["a/run.json", "b/run.json", "ramp"]);
    }
}
