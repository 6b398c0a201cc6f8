//! What the supervisor is told that has started the program: sd_notify(3).
//!
//! Knows the server as a [`Monitor`], and of the supervisor what its variables say.
//!
//! Rule: what is said has just been found out from the loop. A loop that does not answer says
//! nothing, and so the supervisor's watchdog ends it.

use reactor_pool::{Monitor, ServerState, Snapshot};
use sd_notify::NotifyState;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use std::{env, io};
use tracing::warn;

/// The longest time between two lines of numbers.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// How long the last word may take that the supervisor is told.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Tells the supervisor how the server does, until that has ended.
#[derive(Debug)]
pub(crate) struct Notifier {
    /// Closed once all is said.
    said: Receiver<()>,
}

impl Notifier {
    /// Starts to tell, if there is a supervisor that listens.
    pub(crate) fn start(monitor: Monitor) -> io::Result<Option<Notifier>> {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(None);
        }
        let (saying, said) = channel();
        let tell = move || {
            tell(&monitor);
            drop(saying);
        };
        let thread = thread::Builder::new().name("notify".to_owned()).spawn(tell);
        let cannot = |cause| {
            io::Error::new(
                cause,
                format!("cannot start to tell the supervisor: {cause}"),
            )
        };
        thread.map_err(|error| cannot(error.kind()))?;
        Ok(Some(Notifier { said }))
    }
}

impl Drop for Notifier {
    /// Call it when the server has ended: it waits until the supervisor has been told.
    fn drop(&mut self) {
        if self.said.recv_timeout(LAST_WORD).is_ok() {
            unreachable!("nobody sends anything");
        }
    }
}

fn tell(monitor: &Monitor) {
    let watchdog = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero());
    let interval = watchdog.map_or(STATUS_INTERVAL, |timeout| {
        (timeout / 2).min(STATUS_INTERVAL)
    });
    let mut told = ServerState::Starting;
    let mut is_heard = true;
    while told < ServerState::Ended {
        // What is new is told at once, and the rest from time to time.
        let next = match told {
            ServerState::Starting => ServerState::Serving,
            ServerState::Serving => ServerState::LameDuck,
            _ => ServerState::Ended,
        };
        if monitor.wait_for(next, interval) == ServerState::Starting {
            continue;
        }
        let Ok(snapshot) = monitor.snapshot(interval) else {
            continue;
        };
        let status = status(&snapshot);
        let mut news = vec![NotifyState::Status(&status)];
        if told < ServerState::Serving {
            news.push(NotifyState::Ready);
        }
        if told < ServerState::LameDuck && snapshot.state >= ServerState::LameDuck {
            news.push(NotifyState::Stopping);
        }
        if watchdog.is_some() {
            news.push(NotifyState::Watchdog);
        }
        if let Err(cause) = sd_notify::notify(&news)
            && is_heard
        {
            is_heard = false;
            warn!(%cause, "the supervisor is not told how the server does (NOTIFY_SOCKET)");
        }
        told = snapshot.state;
    }
}

/// One line for people.
fn status(snapshot: &Snapshot) -> String {
    let state = match snapshot.state {
        ServerState::Starting => "starting",
        ServerState::Serving => "serving",
        ServerState::LameDuck => "about to stop",
        ServerState::Draining => "draining",
        _ => "ended",
    };
    let stats = &snapshot.stats;
    let answered = stats.answered_ok + stats.answered_error + stats.answered_internal;
    format!(
        "{state}: connections {}, waiting {}, at workers {}, answered {answered}, busy {}",
        stats.connections.now, stats.waiting.now, stats.submitted.now, stats.refused_busy
    )
}
