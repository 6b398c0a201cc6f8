//! Results that `--json` wrote, from files or stdin.
//!
//! Reads, and sees to it that nothing is written over what is read; what stands in the files is for
//! `figures`.
//!
//! Rule: what is wrong with a file is said in one line that names it. A measurement is never lost.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::command::error::Error;
use crate::figures::saved::Saved;

/// By this name a file is stdin.
const STDIN: &str = "-";

/// Reads the result in `path`.
pub(crate) fn read(path: &Path) -> Result<Saved, Error> {
    let wrong = |text| Error::File(path.to_owned(), text);
    let text = if path == Path::new(STDIN) {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(path)
    };
    let text = text.map_err(|error| wrong(format!("cannot read it: {error}")))?;
    Saved::parse(&text).map_err(wrong)
}

/// Refuses `output`, which the flag `name` gave, if it is one of the files that are read: it would
/// take the place of a measurement.
pub(crate) fn spare<'a>(
    name: &str,
    output: Option<&Path>,
    mut inputs: impl Iterator<Item = &'a PathBuf>,
) -> Result<(), Error> {
    let Some(path) = output else {
        return Ok(());
    };
    // One that is not there yet has no other name.
    let real = |path: &Path| fs::canonicalize(path).ok().filter(|path| path.is_file());
    let output = real(path);
    if output.is_some() && inputs.any(|input| real(input) == output) {
        return Err(Error::Usage(format!(
            "{name}: {} is one of the results that are read",
            path.display()
        )));
    }
    Ok(())
}
