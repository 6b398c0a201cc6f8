//! The `stress_test` command: many clients against one server, every answer verified.
//!
//! All of it is here but the binary's `main`, which calls [`main`]. The rest that is public is the
//! server with one fault, for tests of the built command.
//!
//! Rule: who may know whom goes one way, down this table, which `tests/imports.rs` checks:
//!
//! | folder | what lives there | what it may import |
//! |---|---|---|
//! | `command` | what the program can do: flags, exit codes, the server it starts | all below |
//! | `output` | what is shown: texts, tables, the page, progress | `figures`, `check` |
//! | `drive` | who asks: the event loop, connections, clients | `figures`, `check`, `load` |
//! | `figures` | what it came to: the account of a run, and what follows | `check`, `load` |
//! | `check` | what is right: the oracle, names of faults, a faulty server | `load` |
//! | `load` | what is asked: the plan of a run, its requests and its timetable | |
//! | `wire`, `random`, `stderr` | words that all share; random numbers; what is said | |
//!
//! The oracle may import `wire` only, so that it stays independent of what is asked, and nothing
//! here imports the server's crate. Clients are pure state; their connections alone know sockets.

// A stream that nobody reads must not end a run, and these macros panic then.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod check;
mod command;
mod drive;
mod figures;
mod load;
mod output;
mod random;
mod stderr;
mod wire;

pub use crate::check::faulty_server::{Fault, FaultyServer, STALL};
pub use crate::command::main;
pub use crate::wire::{Framing, Limits};
