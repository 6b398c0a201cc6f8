//! What the program can do: a run, the selftest, a sweep, a ramp, a page.
//!
//! Reads the command line, calls the command, and turns what comes of it into an exit code.
//!
//! Rule: here alone are flags, exit codes, and processes that are started.

pub(crate) mod cli;
pub(crate) mod exit;
mod process;
mod ramp;
mod report;
pub(crate) mod run;
mod selftest;
mod spawn;
mod sweep;

use std::process::ExitCode;

use clap::Parser;

use self::cli::{Cli, Command};
use self::run::Refusal;

/// Does what the command line of this process says, and returns what to exit with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if cli::is_asked_for(&error) => error.exit(),
        Err(error) => return complain(&cli::one_line(&error), exit::USAGE),
    };
    match command(&cli) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(refusal)) => complain(&refusal.text, refusal.code),
        Err(error) => complain(&format!("{error:#}"), exit::FAIL),
    }
}

fn command(cli: &Cli) -> anyhow::Result<Result<u8, Refusal>> {
    match &cli.command {
        Some(Command::Selftest) => selftest::selftest().map(Ok),
        Some(Command::Sweep(arguments)) => sweep::sweep(arguments),
        Some(Command::Ramp(arguments)) => ramp::ramp(arguments),
        Some(Command::Report(arguments)) => Ok(report::report(arguments)),
        None => match cli.run.plan() {
            Ok(plan) => run::run(&cli.run, &plan),
            Err(text) => Ok(Err(run::usage(text))),
        },
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    eprintln!("stress_test: {text}");
    ExitCode::from(code)
}
