//! How a server ends: all that follows from a signal.
//!
//! Knows no sockets; what is pending, the engine says.
//!
//! Rule: the stage only moves down this table.
//!
//! | stage | what moves it | next |
//! |---|---|---|
//! | `Running` | a first signal, or [`Stopper::stop`] | `LameDuck` |
//! | `LameDuck` | the stop delay passes, which may be zero | `Draining` |
//! | `LameDuck` | a second signal | `Ended`, forced if something is unfinished |
//! | `Draining` | every connection is closed, and no request runs | `Ended`, drained |
//! | `Draining` | the drain timeout passes | `Ended`, timed out if something is unfinished |
//! | `Draining` | a second signal | `Ended`, forced if something is unfinished |
//!
//! A lame duck serves as before, new connections included: it only says that it is about to stop,
//! to whoever asks a [`Monitor`](super::Monitor). In the second half of the delay connections
//! *part*: each one stops with an answer behind which nothing is pending. The end of its stream
//! leaves with that answer. So a client that asks one request at a time has none on its way then.
//! One that opens meanwhile does so in the second half of what was left then: a client that comes
//! straight back does not connect for each request.
//!
//! Nothing is accepted in that half from a listener that the server [shares]: what connects waits
//! for the next server, for this one might close it before its first request comes.
//!
//! [shares]: crate::Builder::shared_listener
//!
//! On its way to `Draining` the server accepts and reads once what has arrived by then, and frames
//! it as far as the bounds allow. Then the listeners close, and nothing more is framed. Each
//! connection is shut after its last answer. It is closed when its client has closed, or has
//! lingered for too long.

use super::backlog::Backlog;
use super::{Reactor, ServerState, SocketKernel};
use crate::codec::Codec;
use crate::engine::Unfinished;
use crate::log::{info, warn};
use crate::net::{BACKLOG, Net, Signal};
use crate::pool::ResponseQueue;
use crate::task::Completion;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A loop that wakes [`LATE`] after the drain timeout has not just slept; then the timeout is
/// moved once, by [`CATCH_UP`].
pub(super) const LATE: Duration = Duration::from_millis(100);
pub(super) const CATCH_UP: Duration = Duration::from_millis(500);

/// Asks a running server to stop, from any thread.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<ResponseQueue<Completion>>);

impl Stopper {
    pub(crate) fn new(completions: &Arc<ResponseQueue<Completion>>) -> Stopper {
        Stopper(Arc::clone(completions))
    }

    /// Does what SIGTERM does: the server serves on for [`Config::stop_delay`], answers what has
    /// arrived by then, and ends.
    ///
    /// [`Config::stop_delay`]: crate::Config::stop_delay
    pub fn stop(&self) {
        self.0.ask_to_stop();
    }
}

/// How a server ended. It displays as a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Nothing was unfinished: all that was framed has been answered, and each answer was taken or
    /// its client has gone.
    Drained,
    /// The drain timeout passed first; this was abandoned.
    TimedOut(Unfinished),
    /// A second signal came first; this was abandoned.
    Forced(Unfinished),
}

impl StopReason {
    /// What was abandoned; nothing if the server has drained.
    pub fn unfinished(self) -> Unfinished {
        match self {
            StopReason::Drained => Unfinished::default(),
            StopReason::TimedOut(unfinished) | StopReason::Forced(unfinished) => unfinished,
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopReason::Drained => "drained",
            StopReason::TimedOut(_) => "the drain timeout has passed",
            StopReason::Forced(_) => "ended by a second signal",
        })
    }
}

/// Where the server is in its life.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    Running,
    /// It serves as before, and stops at that time.
    LameDuck {
        since: Instant,
        until: Instant,
        why: &'static str,
    },
    /// Nothing is accepted or read any more; what was framed is answered.
    Draining {
        by: Instant,
        /// `by` has been moved, because the loop came late to it.
        was_late: bool,
        /// All is answered and written: clients are waited for that have not closed.
        is_written: bool,
    },
    Ended(StopReason),
}

impl Stage {
    /// When time moves it.
    pub(super) fn next_due(self) -> Option<Instant> {
        match self {
            Stage::LameDuck { until: due, .. } | Stage::Draining { by: due, .. } => Some(due),
            Stage::Running | Stage::Ended(_) => None,
        }
    }

    /// At that time, connections part that opened until then; none if that is not so.
    pub(super) fn parts_opened_until(self, now: Instant) -> Option<Instant> {
        let Stage::LameDuck { since, until, .. } = self else {
            return None;
        };
        // As long ago as the end is away.
        let opened = now.checked_sub(until.checked_duration_since(now)?)?;
        (since <= opened && now < until).then_some(opened)
    }

    /// The second half of a stop delay has begun.
    fn is_parting(self, now: Instant) -> bool {
        match self {
            Stage::LameDuck { since, until, .. } => {
                since < until && now.duration_since(since) >= until.saturating_duration_since(now)
            }
            Stage::Running | Stage::Draining { .. } | Stage::Ended(_) => false,
        }
    }

    pub(super) fn state(self) -> ServerState {
        match self {
            Stage::Running => ServerState::Serving,
            Stage::LameDuck { .. } => ServerState::LameDuck,
            Stage::Draining { .. } => ServerState::Draining,
            Stage::Ended(_) => ServerState::Ended,
        }
    }
}

impl<N: Net, C: Codec> Reactor<N, C> {
    /// How it ended, if it has.
    pub fn stop_reason(&self) -> Option<StopReason> {
        match self.stage {
            Stage::Ended(reason) => Some(reason),
            Stage::Running | Stage::LameDuck { .. } | Stage::Draining { .. } => None,
        }
    }

    /// After the drain in `collect`, see [`ResponseQueue::is_stop_asked`].
    pub(super) fn note_stop(&mut self, now: Instant) {
        if self.completions.is_stop_asked() && matches!(self.stage, Stage::Running) {
            self.announce_stop("asked", now);
        }
        for signal in std::mem::take(&mut self.signals) {
            match (signal, self.stage) {
                (Signal::Report, _) => self.report(now),
                (Signal::Stop(why), Stage::Running) => self.announce_stop(why, now),
                (Signal::Stop(why), _) => {
                    warn!(signal = why, "second signal: ending at once");
                    self.end(StopReason::Forced);
                }
            }
        }
        self.stop_if_due(now);
    }

    /// Before anything is accepted: what connects in this half is the next server's.
    pub(super) fn leave_shared_listeners(&mut self, now: Instant) {
        if self.stage.is_parting(now) {
            self.backlogs.iter_mut().for_each(Backlog::leave);
        }
    }

    fn announce_stop(&mut self, why: &'static str, now: Instant) {
        let until = now + self.stop_delay;
        if until > now {
            let delay_s = self.stop_delay.as_secs();
            info!(why, delay_s, "about to stop; all is served meanwhile");
        }
        self.stage = Stage::LameDuck {
            since: now,
            until,
            why,
        };
        self.stop_if_due(now);
    }

    fn stop_if_due(&mut self, now: Instant) {
        if let Stage::LameDuck { until, why, .. } = self.stage
            && until <= now
        {
            self.stop(why, now);
        }
    }

    pub(super) fn stop(&mut self, why: &str, now: Instant) {
        for backlog in &mut self.backlogs {
            backlog.set_ready();
        }
        self.accept(now, BACKLOG as usize);
        self.read_what_has_arrived(now);
        self.engine.stop(now);
        let Unfinished { requests, bytes } = self.unfinished();
        info!(why, unanswered = requests, unsent_bytes = bytes, "stopping");
        self.backlogs.clear();
        self.net.stop_listening();
        self.stage = Stage::Draining {
            by: now + self.drain_timeout,
            was_late: false,
            is_written: false,
        };
    }

    fn unfinished(&mut self) -> Unfinished {
        self.engine.unfinished(&mut SocketKernel {
            net: &mut self.net,
            sockets: &mut self.sockets,
        })
    }

    pub(super) fn check_drained(&mut self, now: Instant) {
        let Stage::Draining {
            by,
            was_late,
            is_written,
        } = self.stage
        else {
            return;
        };
        // A request may still run for a client that has gone: time for it, while signals are
        // heard.
        let connections = self.engine.len();
        if connections == 0 && !self.engine.has_submitted() {
            self.stage = Stage::Ended(StopReason::Drained);
        } else if now >= by + LATE && !was_late {
            // The process was stopped, or had no processor: what has happened meanwhile comes
            // first.
            self.stage = Stage::Draining {
                by: now + CATCH_UP,
                was_late: true,
                is_written,
            };
        } else if now >= by {
            self.end(StopReason::TimedOut);
        } else if !is_written && connections > 0 && self.engine.is_written() {
            info!(
                connections,
                "all is answered; waiting for clients to take it and close"
            );
            self.stage = Stage::Draining {
                by,
                was_late,
                is_written: true,
            };
        }
    }

    /// Ends the server, as `abandoned` if that loses something.
    fn end(&mut self, abandoned: fn(Unfinished) -> StopReason) {
        let unfinished = self.unfinished();
        self.stage = Stage::Ended(match unfinished == Unfinished::default() {
            true => StopReason::Drained,
            false => abandoned(unfinished),
        });
    }
}
