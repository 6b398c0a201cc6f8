//! What every command that measures does: catches signals and drives a plan.
//!
//! Joins the parts; knows no verdict and no file.
//!
//! Rule: all addresses of a name are tried before nothing is said to listen.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook_mio::v1_0::Signals;

use crate::command::error::Error;
use crate::command::process;
use crate::command::target::Target;
use crate::drive::crew;
use crate::figures::outcome::{Ended, Outcome};
use crate::load::plan::Plan;
use crate::output::progress::Progress;
use crate::stderr::say;

/// Descriptors for everything that is not a client.
const OTHER_DESCRIPTORS: u64 = 32;

/// From here on a signal stops the run, not the program: a spawned server must be stopped. What
/// was ignored when the program started stays ignored: by nohup, or by a shell that started it in
/// the background.
pub(crate) fn catch_signals() -> anyhow::Result<Signals> {
    let wanted = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let caught = wanted
        .iter()
        .filter(|signal| !process::ignores(**signal as u32));
    let caught: Vec<Signal> = caught.copied().collect();
    let numbers = caught.iter().map(|signal| *signal as i32);
    let signals = Signals::new(numbers).context("cannot catch signals")?;
    // Whoever started this program may have blocked them, and the mask is inherited.
    SigSet::from_iter(caught)
        .thread_unblock()
        .context("cannot unblock signals")?;
    Ok(signals)
}

/// Runs `plan` once. With `verbose`, every failure is written to stderr at once.
pub(crate) fn measure(
    plan: &Plan,
    target: &Target,
    signals: &mut Signals,
    verbose: bool,
    mut progress: Progress,
) -> Result<Outcome, Error> {
    raise_descriptor_limit(plan)?;
    let mut show = |standing| progress.show(&standing);
    let mut causes = Vec::new();
    for &address in &target.addresses {
        let outcome = crew::run(plan, address, signals, verbose, &mut show)
            .context("an event loop failed")?;
        match outcome.ended {
            Ended::NothingListening(cause) => causes.push((address, cause)),
            Ended::Finished | Ended::Interrupted(_) => return Ok(outcome),
        }
    }
    Err(Error::NothingListening {
        target: target.name.clone(),
        cause: in_one(causes),
    })
}

/// What several addresses of one name came to; of one address, its own error.
fn in_one(mut causes: Vec<(SocketAddr, io::Error)>) -> io::Error {
    if causes.len() == 1 {
        return causes.remove(0).1;
    }
    let causes = causes
        .iter()
        .map(|(address, cause)| format!("{address}: {cause}"));
    io::Error::other(causes.collect::<Vec<_>>().join("; "))
}

/// Raises the soft limit of open files as far as `plan` needs it and the hard limit allows it.
/// Where that is too low for the first clients, the server could not be blamed for what follows.
fn raise_descriptor_limit(plan: &Plan) -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    let first = u64::from(plan.clients + plan.hogs);
    if let Some(most) = limit.maximum.filter(|most| *most <= first) {
        let clients = plan.clients;
        return Err(Error::Usage(format!(
            "--clients {clients}: the system allows this program only {most} open files (ulimit -n)"
        )));
    }
    let needed = u64::from(plan.most_connections()) + OTHER_DESCRIPTORS;
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit {
            current: Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed))),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            say(format_args!(
                "stress_test: cannot raise the limit of open files: {error}"
            ));
        }
    }
    Ok(())
}
