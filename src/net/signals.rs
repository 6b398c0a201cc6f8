//! Signals as events of the loop, and how the process gets them back.
//!
//! Knows no stop and no report: it says which signals are pending.
//!
//! Rule: what is taken over is unblocked, and what is given back does again what it did before. A
//! SIGHUP that was ignored when the program started stays ignored.

use super::Signal;
use crate::config::{Config, StopSignals};
use mio::{Interest, Registry, Token};
use nix::sys::signal::SigSet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag::register_conditional_default;
use signal_hook_mio::v1_0::Signals;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The signals that one server has taken over; dropped, it gives them back.
pub(super) struct SignalSource {
    // The claim goes first: what comes while both go must not be swallowed.
    _claim: Option<Claim>,
    signals: Signals,
}

impl fmt::Debug for SignalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalSource").finish_non_exhaustive()
    }
}

impl SignalSource {
    /// From here on the signals are events of `token`, if the server is to take them over.
    pub(super) fn take_over(
        config: &Config,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Option<SignalSource>> {
        if config.stop_signals == StopSignals::None {
            return Ok(None);
        }
        let mut numbers = vec![SIGTERM, SIGINT, SIGUSR1];
        if disposition(SIGHUP) != Disposition::Ignored {
            numbers.push(SIGHUP);
        }
        prepare_to_give_back(&numbers)?;
        let mut signals = Signals::new(&numbers)?;
        registry.register(&mut signals, token, Interest::READABLE)?;
        let claim = Claim::new();
        unblock(&numbers)?;
        let claim = match config.stop_signals {
            StopSignals::UntilExit => {
                std::mem::forget(claim);
                None
            }
            StopSignals::None | StopSignals::WhileRunning => Some(claim),
        };
        Ok(Some(SignalSource {
            _claim: claim,
            signals,
        }))
    }

    /// All that have come since the last call, each once.
    pub(super) fn pending(&mut self) -> Vec<Signal> {
        let meaning = |number| match number {
            SIGUSR1 => Signal::Report,
            SIGHUP => Signal::Stop("SIGHUP"),
            SIGINT => Signal::Stop("SIGINT"),
            _ => Signal::Stop("SIGTERM"),
        };
        self.signals.pending().map(meaning).collect()
    }
}

/// A blocked mask is inherited; threads that are started from here on inherit this one.
fn unblock(numbers: &[i32]) -> io::Result<()> {
    let mut set = SigSet::empty();
    for number in numbers {
        set.add((*number).try_into()?);
    }
    Ok(set.thread_unblock()?)
}

/// signal-hook keeps its handler for good, which swallows signals that nobody wants any more. So
/// each signal whose default action was in force gets an action that emulates it, while no server
/// claims it.
fn prepare_to_give_back(numbers: &[i32]) -> io::Result<()> {
    static PREPARED: Mutex<Vec<i32>> = Mutex::new(Vec::new());
    let mut prepared = PREPARED.lock().unwrap_or_else(PoisonError::into_inner);
    for number in numbers {
        if !prepared.contains(number) {
            if disposition(*number) == Disposition::Default {
                register_conditional_default(*number, Arc::clone(unclaimed()))?;
            }
            prepared.push(*number);
        }
    }
    Ok(())
}

/// Whether no server of this process claims the signals.
fn unclaimed() -> &'static Arc<AtomicBool> {
    static UNCLAIMED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    UNCLAIMED.get_or_init(|| Arc::new(AtomicBool::new(true)))
}

/// While one exists, signals do not have their default action.
#[derive(Debug)]
struct Claim;

/// How many there are.
static CLAIMS: Mutex<usize> = Mutex::new(0);

impl Claim {
    fn new() -> Claim {
        let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
        *claims += 1;
        unclaimed().store(false, Ordering::SeqCst);
        Claim
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
        *claims -= 1;
        unclaimed().store(*claims == 0, Ordering::SeqCst);
    }
}

/// What a signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disposition {
    Default,
    Ignored,
    Caught,
}

/// From the masks in proc_pid_status(5). Where there is no such file, the default action is
/// assumed.
fn disposition(number: i32) -> Disposition {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let is_in = |mask: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(mask));
        let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        bits.is_some_and(|bits| bits >> (number - 1) & 1 == 1)
    };
    if is_in("SigIgn:") {
        Disposition::Ignored
    } else if is_in("SigCgt:") {
        Disposition::Caught
    } else {
        Disposition::Default
    }
}
