//! Results as comma-separated values.
//!
//! Reads and writes files; knows no column.
//!
//! Rule: it is written when every file was read, or not at all.

use crate::command::cli::CsvArguments;
use crate::command::error::Error;
use crate::command::exit;
use crate::command::publish::write_to;
use crate::command::saved;
use crate::figures::saved::Saved;
use crate::output::csv;

/// Writes what `arguments` ask for, and returns the exit code.
pub(crate) fn csv(arguments: &CsvArguments) -> Result<u8, Error> {
    saved::spare("--output", Some(&arguments.output), arguments.files.iter())?;
    let read = |path| saved::read(path).map(|saved| (path.display().to_string(), saved));
    let files = arguments.files.iter().map(|path| read(path.as_path()));
    let files: Vec<(String, Saved)> = files.collect::<Result<_, _>>()?;
    let table = if arguments.intervals {
        csv::of_slices(&files)
    } else {
        csv::of_runs(&files)
    };
    let table = table.map_err(|text| Error::System(anyhow::Error::msg(text)))?;
    write_to(&arguments.output, &table)?;
    Ok(exit::PASS)
}
