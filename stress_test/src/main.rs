//! The `stress_test` command: many clients against one server, every answer verified.
//!
//! Puts the parts together and turns what comes of them into an exit code.
//!
//! Rule: who may know whom goes one way: `driver` turns the event loop over `connection`s, each of
//! which owns a `client`; that judges lines by `expectations`, which joins `workload` (what is
//! asked) and `oracle` (what is right). Only `driver` and `connection` know sockets.

mod cli;
mod client;
mod connection;
mod doubt;
mod draws;
mod driver;
mod expectations;
mod failure;
mod hostile;
mod ledger;
mod measure;
mod oracle;
mod plan;
mod report;
mod spawn;
mod workload;

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::cli::Arguments;
use crate::driver::{Ended, Outcome};
use crate::failure::{Failures, Kind};
use crate::plan::Plan;
use crate::report::Verdict;
use crate::spawn::{Options, SpawnedServer, StartError};

/// Descriptors for everything that is not a client.
const OTHER_DESCRIPTORS: u64 = 32;

const EXIT_FAIL: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_NOTHING_LISTENING: u8 = 3;
/// What shells report for a program that SIGINT ended.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if cli::is_asked_for(&error) => error.exit(),
        Err(error) => return complain(&cli::one_line(&error), EXIT_USAGE),
    };
    let plan = match arguments.plan() {
        Ok(plan) => plan,
        Err(error) => return complain(&error, EXIT_USAGE),
    };
    match run(&arguments, &plan) {
        Ok(code) => code,
        Err(error) => complain(&format!("{error:#}"), EXIT_FAIL),
    }
}

/// The server under test.
struct Target {
    address: SocketAddr,
    /// For people.
    name: String,
    /// The server itself, if it is ours.
    server: Option<SpawnedServer>,
}

fn run(arguments: &Arguments, plan: &Plan) -> anyhow::Result<ExitCode> {
    // From here on a signal stops the run, not the program: a spawned server must be stopped.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot catch signals")?;
    raise_descriptor_limit(u64::from(plan.clients + plan.hogs) + OTHER_DESCRIPTORS);
    let found = if arguments.spawn {
        spawn_target(arguments, &mut signals)
    } else {
        find_target(&arguments.host, arguments.port)
    };
    let target = match found {
        Ok(target) => target,
        Err((text, code)) => return Ok(complain(&text, code)),
    };
    if arguments.verbose {
        let (clients, seed) = (plan.clients + plan.hogs, plan.seed);
        eprintln!(
            "connecting {clients} clients to {}, seed {seed}",
            target.name
        );
    }
    let failures = Failures::new(arguments.verbose);
    let mut outcome = driver::run(plan, target.address, &mut signals, failures)
        .context("the event loop failed")?;
    if let Ended::NothingListening(cause) = &outcome.ended {
        let text = format!("nothing is listening on {}: {cause}", target.name);
        return Ok(complain(&text, EXIT_NOTHING_LISTENING));
    }
    if let Some(server) = target.server {
        stop(server, &mut outcome)?;
    }
    let mut out = io::stdout().lock();
    report::write(&mut out, plan, &target.name, &outcome, arguments.quiet)
        .and_then(|()| out.flush())
        .context("cannot write the report")?;
    Ok(match Verdict::of(&outcome) {
        Verdict::Pass => ExitCode::SUCCESS,
        Verdict::Fail | Verdict::InterruptedFailing => ExitCode::from(EXIT_FAIL),
        Verdict::InterruptedClean => ExitCode::from(EXIT_INTERRUPTED),
    })
}

fn spawn_target(arguments: &Arguments, signals: &mut Signals) -> Result<Target, (String, u8)> {
    let options = Options {
        arguments: arguments.server_arguments(),
        show_log: arguments.verbose,
    };
    match SpawnedServer::start(&options, signals) {
        Ok(server) => Ok(Target {
            address: server.address(),
            name: format!("{} (spawned: server {options})", server.address()),
            server: Some(server),
        }),
        Err(error @ StartError::Interrupted) => Err((error.to_string(), EXIT_INTERRUPTED)),
        Err(error) => Err((error.to_string(), EXIT_NOTHING_LISTENING)),
    }
}

fn find_target(host: &str, port: u32) -> Result<Target, (String, u8)> {
    let name = format!("{host}:{port}");
    match resolve(host, port) {
        Ok(address) => Ok(Target {
            address,
            name,
            server: None,
        }),
        Err(error) => {
            let text = format!("nothing is listening on {name}: {error}");
            Err((text, EXIT_NOTHING_LISTENING))
        }
    }
}

/// Stops the spawned server; that it does not end well is a failure of the run.
fn stop(server: SpawnedServer, outcome: &mut Outcome) -> anyhow::Result<()> {
    let hurry = matches!(outcome.ended, Ended::Interrupted);
    let wrong = server
        .stop(hurry)
        .context("cannot stop the spawned server")?;
    if let Some(text) = wrong {
        let place = format_args!("the spawned server");
        outcome.ledger.failures.add(Kind::Server, 1, place, &text);
    }
    Ok(())
}

fn resolve(host: &str, port: u32) -> io::Result<SocketAddr> {
    let port = u16::try_from(port).map_err(io::Error::other)?;
    let first = (host, port).to_socket_addrs()?.next();
    first.ok_or_else(|| io::Error::other("the name has no address"))
}

/// Raises the soft limit of open files where the hard limit allows it. If it does not, connecting
/// fails for some clients, and the report says so.
fn raise_descriptor_limit(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit {
            current: Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed))),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            eprintln!("stress_test: cannot raise the limit of open files: {error}");
        }
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    eprintln!("stress_test: {text}");
    ExitCode::from(code)
}
