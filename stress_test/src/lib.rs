//! The `stress_test` command: many clients against one server, every answer verified.
//!
//! All of it is here but the binary's `main`, which calls [`main`]. The rest that is public is the
//! server with one fault, for tests of the built command.
//!
//! Rule: who may know whom goes one way: `driver` turns the event loop over `connection`s, each of
//! which owns a `client`; that judges answers by `expectations`, which joins `workload` (what is
//! asked) and `oracle` (what is right), or takes both from a `template`, and accounts for them in the
//! `ledger`. `results` makes figures of that, which every output is made of. Only `driver`,
//! `connection` and `alarm` know descriptors.

mod alarm;
mod backoff;
mod cli;
mod client;
mod connection;
mod doubt;
mod draws;
mod driver;
mod exit;
mod expectations;
mod failure;
mod faulty_server;
mod hostile;
mod html;
mod ledger;
mod limits;
mod measure;
mod occupancy;
mod oracle;
mod pace;
mod plan;
mod process;
mod progress;
mod ramp;
mod report;
mod results;
mod run;
mod schedule;
mod selftest;
mod spawn;
mod sweep;
mod template;
mod threshold;
mod timeline;
mod workload;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::run::Refusal;

pub use crate::faulty_server::{Fault, FaultyServer, STALL};
pub use crate::plan::Limits;

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
        Some(Command::Report(arguments)) => Ok(html::report(arguments)),
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
