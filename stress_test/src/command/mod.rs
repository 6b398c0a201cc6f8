//! What the program can do: a run, rounds, the selftest, a sweep, a ramp, a comparison, a table, a
//! page.
//!
//! Reads the command line, calls the command, and turns what comes of it into an exit code.
//!
//! Rule: here alone are flags, exit codes, and processes that are started.

mod cli;
mod compare;
mod csv;
mod error;
mod exit;
mod measure;
mod meter;
mod process;
mod provenance;
mod publish;
mod ramp;
mod report;
mod rounds;
mod run;
mod saved;
mod selftest;
mod series;
mod spawn;
mod sweep;
mod target;

use std::ffi::OsString;
use std::process::ExitCode;

use self::cli::Command;
use self::error::Error;
use crate::stderr::{flush, say_at_the_end};

/// Does what the command line of this process says, and returns what to exit with.
pub fn main() -> ExitCode {
    match command() {
        Ok(code) => {
            flush();
            ExitCode::from(code)
        }
        Err(error) => {
            say_at_the_end(format_args!("stress_test: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn command() -> Result<u8, Error> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(error) = spawn::become_server(&arguments) {
        return Err(error);
    }
    let cli = match cli::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) if cli::is_asked_for(&error) => error.exit(),
        Err(error) => return Err(Error::Usage(cli::one_line(&error))),
    };
    match &cli.command {
        Some(Command::Selftest(arguments)) => selftest::selftest(arguments.framing),
        Some(Command::Sweep(arguments)) => sweep::sweep(arguments),
        Some(Command::Ramp(arguments)) => ramp::ramp(arguments),
        Some(Command::Compare(arguments)) => compare::compare(arguments),
        Some(Command::Csv(arguments)) => csv::csv(arguments),
        Some(Command::Report(arguments)) => report::report(arguments),
        None if cli.run.rounds > 1 => rounds::rounds(&cli.run),
        None => run::run(&cli.run),
    }
}
