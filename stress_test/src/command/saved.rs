//! Results that `--json` wrote, from files or stdin.
//!
//! Reads; what stands in them is for `figures`.
//!
//! Rule: what is wrong with a file is said in one line that names it.

use std::fs;
use std::io;
use std::path::Path;

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
