//! One run: finds or starts the server, drives the load, writes the results.
//!
//! Joins the parts; knows exit codes, and no protocol.
//!
//! Rule: whatever was measured is written, also when it was interrupted or a check fired.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::check::failure::{Failures, Kind};
use crate::command::cli::{LoadArguments, RunArguments, TargetArguments};
use crate::command::exit;
use crate::command::spawn::{Options, SpawnedServer, StartError};
use crate::drive::driver;
use crate::figures::outcome::{Ended, Outcome};
use crate::figures::results::{RunResult, Verdict};
use crate::figures::threshold::{Finding, Threshold};
use crate::load::plan::{Load, Plan};
use crate::output::progress::Progress;
use crate::output::report;

/// Descriptors for everything that is not a client.
const OTHER_DESCRIPTORS: u64 = 32;

/// The server under test.
#[derive(Debug)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// For people.
    pub(crate) name: String,
    /// The server itself, if it is ours.
    pub(crate) server: Option<SpawnedServer>,
}

/// Why a command ends early: what to say, and the exit code.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// One line.
    pub(crate) text: String,
    /// What the command exits with.
    pub(crate) code: u8,
}

/// Runs what `arguments` say, and returns the exit code.
pub(crate) fn run(arguments: &RunArguments, plan: &Plan) -> anyhow::Result<Result<u8, Refusal>> {
    let json = match arguments.json.as_deref().map(create).transpose() {
        Ok(json) => json,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut signals = catch_signals()?;
    let output = &arguments.output;
    let target = match find(
        &arguments.target,
        &arguments.load,
        output.verbose,
        &mut signals,
    ) {
        Ok(target) => target,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if output.verbose {
        let (clients, seed) = (plan.clients + plan.hogs, plan.seed);
        eprintln!(
            "connecting {clients} clients to {}, seed {seed}",
            target.name
        );
    }
    let mut progress = Progress::new(output.quiet);
    let failures = Failures::new(output.verbose);
    let mut outcome = measure(plan, target.address, &mut signals, failures, &mut progress)?;
    if let Ended::NothingListening(cause) = &outcome.ended {
        return Ok(Err(nothing_listening(&target.name, cause)));
    }
    if let Some(server) = target.server {
        stop(server, &mut outcome)?;
    }
    let mut result = RunResult::of(plan, &target.name, &outcome);
    conclude(&mut result, plan, &arguments.fail_if);
    let mut out = io::stdout().lock();
    report::write(&mut out, &result, output.quiet)
        .and_then(|()| out.flush())
        .context("cannot write the report")?;
    if let Some(file) = json {
        write_json(file, &result)?;
    }
    Ok(Ok(result.exit_code))
}

/// From here on a signal stops the run, not the program: a spawned server must be stopped.
pub(crate) fn catch_signals() -> anyhow::Result<Signals> {
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot catch signals")?;
    // Whoever started this program may have blocked them, and the mask is inherited.
    let mut caught = SigSet::empty();
    caught.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    caught.thread_unblock().context("cannot unblock signals")?;
    Ok(signals)
}

/// Runs `plan` once.
pub(crate) fn measure(
    plan: &Plan,
    address: SocketAddr,
    signals: &mut Signals,
    failures: Failures,
    progress: &mut Progress,
) -> anyhow::Result<Outcome> {
    raise_descriptor_limit(u64::from(plan.clients + plan.hogs) + OTHER_DESCRIPTORS);
    let mut show = |standing| progress.show(standing);
    let outcome = driver::run(plan, address, signals, failures, &mut show);
    progress.finish();
    outcome.context("the event loop failed")
}

/// Judges `result` by the thresholds and by what the generator itself was able to do.
fn conclude(result: &mut RunResult, plan: &Plan, fail_if: &[Threshold]) {
    for threshold in fail_if {
        match threshold.judge(result) {
            Finding::NotMet(_) => {}
            Finding::Met(figure) => {
                let text = format!("{threshold}: it is {}", threshold.show(figure));
                result.thresholds_broken.push(text);
            }
            Finding::Unknown => {
                let text = format!("{threshold}: n/a, the sample is too small");
                result.thresholds_broken.push(text);
            }
        }
    }
    let is_measurement = matches!(plan.load, Load::Rate(_)) || !fail_if.is_empty();
    let is_limited = is_measurement && result.generator.limited.is_some();
    let only_unsent = result.failures.total > 0
        && result.failures.by_kind.get("unsent") == Some(&result.failures.total);
    match result.verdict {
        Verdict::Pass if is_limited => result.verdict = Verdict::GeneratorLimited,
        Verdict::Fail if is_limited && only_unsent => result.verdict = Verdict::GeneratorLimited,
        _ => {}
    }
    result.exit_code = match result.verdict {
        Verdict::Pass if result.thresholds_broken.is_empty() => exit::PASS,
        Verdict::Pass => {
            result.verdict = Verdict::Fail;
            exit::THRESHOLD
        }
        Verdict::Fail | Verdict::InterruptedFailing => exit::FAIL,
        Verdict::GeneratorLimited => exit::GENERATOR_LIMITED,
        Verdict::InterruptedClean => exit::INTERRUPTED,
    };
}

/// The server that `arguments` name, or a new one.
pub(crate) fn find(
    arguments: &TargetArguments,
    load: &LoadArguments,
    show_log: bool,
    signals: &mut Signals,
) -> Result<Target, Refusal> {
    if arguments.spawn {
        let (workers, queue) = (arguments.workers, arguments.queue);
        let options = Options {
            arguments: load.server_arguments(workers, queue, &arguments.server_arg),
            show_log,
        };
        spawn(&options, signals)
    } else {
        resolve(&arguments.host, arguments.port)
    }
}

/// A new server with `options`.
pub(crate) fn spawn(options: &Options, signals: &mut Signals) -> Result<Target, Refusal> {
    match SpawnedServer::start(options, signals) {
        Ok(server) => Ok(Target {
            address: server.address(),
            name: format!("{} (spawned: server {options})", server.address()),
            server: Some(server),
        }),
        Err(error) => {
            let code = match error {
                StartError::Interrupted => exit::INTERRUPTED,
                _ => exit::NOTHING_LISTENING,
            };
            let text = error.to_string();
            Err(Refusal { text, code })
        }
    }
}

fn resolve(host: &str, port: u32) -> Result<Target, Refusal> {
    let name = format!("{host}:{port}");
    let first = || -> io::Result<SocketAddr> {
        let port = u16::try_from(port).map_err(io::Error::other)?;
        let first = (host, port).to_socket_addrs()?.next();
        first.ok_or_else(|| io::Error::other("the name has no address"))
    };
    match first() {
        Ok(address) => Ok(Target {
            address,
            name,
            server: None,
        }),
        Err(error) => Err(nothing_listening(&name, &error)),
    }
}

/// A flag is wrong, which `text` says.
pub(crate) fn usage(text: String) -> Refusal {
    Refusal {
        text,
        code: exit::USAGE,
    }
}

/// There is no server at `name`.
pub(crate) fn nothing_listening(name: &str, cause: &io::Error) -> Refusal {
    Refusal {
        text: format!("nothing is listening on {name}: {cause}"),
        code: exit::NOTHING_LISTENING,
    }
}

/// Stops the spawned server; that it does not end well is a failure of the run.
pub(crate) fn stop(server: SpawnedServer, outcome: &mut Outcome) -> anyhow::Result<()> {
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

/// Opens the file for the results, before there are any: a wrong name shows at once. What is in it
/// stays until then.
pub(crate) fn create(path: &Path) -> Result<File, Refusal> {
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).open(path);
    opened.map_err(|error| Refusal {
        text: format!("--json: cannot write {}: {error}", path.display()),
        code: exit::USAGE,
    })
}

/// Writes `result` as JSON.
pub(crate) fn write_json(file: File, result: &impl Serialize) -> anyhow::Result<()> {
    file.set_len(0).context("cannot write the JSON file")?;
    let mut out = BufWriter::new(file);
    serde_json::to_writer_pretty(&mut out, result).context("cannot write the JSON file")?;
    out.write_all(b"\n")
        .and_then(|()| out.flush())
        .context("cannot write the JSON file")
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
