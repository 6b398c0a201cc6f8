//! What a run is: how many clients ask for how much of what, and for how long they wait.
//!
//! Knows no command line and no socket; `cli` fills it in, everything else reads it.
//!
//! Rule: once a [`Plan`] exists, every number in it is in its range.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use clap::ValueEnum;

use crate::load::http::HttpExchange;
use crate::load::mix::Choice;
pub(crate) use crate::load::mix::Mix;
use crate::load::sizes::Sizes;
pub(crate) use crate::load::sizes::Span;
use crate::load::stages::{self, Stage};
use crate::load::template::Exchange;
use crate::wire::Limits;

/// What the requests of a run are.
#[derive(Debug, Clone)]
pub(crate) enum Requests {
    /// Operations of the protocol.
    Mixes {
        /// What the ordinary clients ask for.
        clients: Mix,
        /// What the hogs ask for.
        hogs: Mix,
    },
    /// What `--send` and `--expect` spell out, of ordinary clients and hogs alike.
    Template(Exchange),
    /// What `--http` asks for, of all alike.
    Http(HttpExchange),
}

impl Requests {
    /// Which operation each frame of ordinary clients, or of hogs, asks for.
    pub(crate) fn choice(&self, of_hogs: bool, seed: u64) -> Choice {
        match self {
            Self::Mixes { hogs, .. } if of_hogs => Choice::of(*hogs, seed),
            Self::Mixes { clients, .. } => Choice::of(*clients, seed),
            Self::Template(_) | Self::Http(_) => Choice::NONE,
        }
    }

    /// Ordinary clients and hogs ask for the same.
    pub(crate) fn all_of(mix: Mix) -> Self {
        Self::Mixes {
            clients: mix,
            hogs: mix,
        }
    }
}

/// When requests are due in an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// At random, each independent of the others: gaps of an exponential distribution.
    Poisson,
    /// One every 1/rate seconds.
    Uniform,
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(*self, f)
    }
}

/// Writes `value` as it is spelled on the command line.
fn write_name(value: impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shown = value.to_possible_value();
    f.write_str(shown.expect("no value is skipped").get_name())
}

/// What decides when the ordinary clients send, and when they have sent enough.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Load {
    /// Closed loop: a client sends as soon as it has room, so many frames each.
    Frames(u32),
    /// Closed loop: a client sends as soon as it has room, for so long.
    Duration(Duration),
    /// Open loop: requests are due at times that do not depend on the server.
    Rate(OpenLoop),
}

/// The timetable of an open loop.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OpenLoop {
    /// One after the other, at least one. The last one is no pause.
    pub(crate) stages: Vec<Stage>,
    /// How requests are spread within each.
    pub(crate) arrivals: Arrivals,
    /// So many are due at the same time, at least one.
    pub(crate) burst: u32,
}

impl OpenLoop {
    /// One rate for all of `duration`.
    pub(crate) fn steady(rate: f64, arrivals: Arrivals, duration: Duration) -> Self {
        Self {
            stages: vec![Stage { duration, rate }],
            arrivals,
            burst: 1,
        }
    }

    /// Requests are due for so long.
    pub(crate) fn duration(&self) -> Duration {
        stages::duration(&self.stages)
    }

    /// Requests per second on average.
    pub(crate) fn rate(&self) -> f64 {
        match self.stages.as_slice() {
            [stage] => stage.rate,
            several => {
                let duration = self.duration();
                stages::requests_by(several, duration) / duration.as_secs_f64()
            }
        }
    }
}

impl Load {
    /// How many frames each client sends, where that is known beforehand.
    pub(crate) fn frames(&self) -> Option<u32> {
        match *self {
            Self::Frames(frames) => Some(frames),
            Self::Duration(_) | Self::Rate(_) => None,
        }
    }

    /// The stages of an open loop; a closed one has none.
    pub(crate) fn stages(&self) -> &[Stage] {
        match self {
            Self::Frames(_) | Self::Duration(_) => &[],
            Self::Rate(open) => &open.stages,
        }
    }

    /// After how long no new request is due, where that is known beforehand.
    pub(crate) fn duration(&self) -> Option<Duration> {
        match self {
            Self::Frames(_) => None,
            Self::Duration(duration) => Some(*duration),
            Self::Rate(open) => Some(open.duration()),
        }
    }
}

/// One run, complete.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Ordinary clients, each one connection; in an open loop, those at its beginning.
    pub(crate) clients: u32,
    /// In an open loop, so many there may be once it needs them; in a closed one, as many as
    /// `clients`.
    pub(crate) most_clients: u32,
    /// Event loops among which the clients are divided, at most one for each.
    pub(crate) threads: u32,
    /// When these send, and how much.
    pub(crate) load: Load,
    /// What becomes of requests due before this is verified, but not measured.
    pub(crate) warmup: Duration,
    /// Requests that an ordinary client keeps under way at most, with those that wait for a retry.
    pub(crate) max_inflight: usize,
    /// What is asked for.
    pub(crate) requests: Requests,
    /// Extra clients that pipeline without an end for as long as the ordinary ones run.
    pub(crate) hogs: u32,
    /// Requests that a hog keeps under way.
    pub(crate) hog_inflight: usize,
    /// Characters in an ECHO or HASH argument.
    pub(crate) payload: Sizes,
    /// Milliseconds that a SLEEP asks for.
    pub(crate) sleep_ms: Sizes,
    /// What the server under test was started with.
    pub(crate) limits: Limits,
    /// Where every choice of the run comes from; the same seed gives the same timetable, and the
    /// same requests of each client. Which client takes which time depends on who has room.
    pub(crate) seed: u64,
    /// How long a connection may stay without a response while one is due.
    pub(crate) timeout: Duration,
    /// How often a request answered `ERR server busy` is sent again; 0 counts it instead.
    pub(crate) retries: u32,
    /// New connections per second.
    pub(crate) connect_rate: u32,
    /// A connection that ends before its time is followed by another one, which is tried for as
    /// long as an answer is waited for.
    pub(crate) reconnect: bool,
}

impl Plan {
    /// How many clients a burst of an open loop takes, if each has room.
    pub(crate) fn clients_of_a_burst(&self) -> u32 {
        match &self.load {
            Load::Rate(open) => {
                // No burst is as large as what does not fit.
                let max_inflight = u32::try_from(self.max_inflight).unwrap_or(u32::MAX);
                open.burst.div_ceil(max_inflight)
            }
            Load::Frames(_) | Load::Duration(_) => 1,
        }
    }

    /// How many connections there may be at a time, hogs included.
    pub(crate) fn most_connections(&self) -> u32 {
        self.most_clients + self.hogs
    }

    /// The numbers of the hogs. Those of the first clients come before them, those of the clients
    /// that an open loop adds come after them.
    pub(crate) fn hog_numbers(&self) -> Range<u32> {
        self.clients..self.clients + self.hogs
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::Framing;

    /// A small plan; tests change what they are about.
    pub(crate) fn plan(mix: Mix) -> Plan {
        Plan {
            clients: 3,
            most_clients: 3,
            threads: 1,
            load: Load::Frames(100),
            warmup: Duration::ZERO,
            max_inflight: 4,
            requests: Requests::all_of(mix),
            hogs: 1,
            hog_inflight: 16,
            payload: Span { min: 1, max: 100 }.into(),
            sleep_ms: Span { min: 1, max: 10 }.into(),
            limits: Limits {
                framing: Framing::Lines,
                max_line_bytes: 1000,
                max_sleep_ms: 10_000,
            },
            seed: 7,
            timeout: Duration::from_secs(10),
            retries: 5,
            connect_rate: 1000,
            reconnect: false,
        }
    }
}
