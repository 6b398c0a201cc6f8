//! What is said on stderr beside the result.
//!
//! Knows no text of its own.
//!
//! Rule: stderr may be closed at its other end, or on a full disk. Then what is said is lost, and
//! nothing else: no run ends by that.

use std::fmt;
use std::io::{self, Write};

/// Writes `text` and the end of the line, if anybody takes it.
pub(crate) fn say(text: impl fmt::Display) {
    // In one piece, so that lines of several threads do not mix.
    io::stderr().write_all(format!("{text}\n").as_bytes()).ok();
}
