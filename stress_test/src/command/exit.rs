//! What the command exits with, for scripts.
//!
//! Knows numbers; each command decides which one it is.
//!
//! Rule: a number means the same in every command, and never changes.

/// All is well.
pub(crate) const PASS: u8 = 0;
/// Something was wrong.
pub(crate) const FAIL: u8 = 1;
/// A flag is wrong.
pub(crate) const USAGE: u8 = 2;
/// There is no server.
pub(crate) const NOTHING_LISTENING: u8 = 3;
/// A condition of `--fail-if` was met.
pub(crate) const THRESHOLD: u8 = 4;
/// The figures are the load generator's limit.
pub(crate) const GENERATOR_LIMITED: u8 = 5;
/// What shells report for a program that SIGINT ended.
pub(crate) const INTERRUPTED: u8 = 130;
