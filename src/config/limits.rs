//! Each number that a person may set: name, default, range, unit and reason.
//!
//! Knows no command line: `command/cli.rs` turns the same table into flags.
//!
//! Rule: a limit stands here once, and the [`Config`](super::Config) field has its name.

/// A number that a person may set, with the range in which the server keeps its promises.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The flag's name without the dashes; the [`Config`](super::Config) field has the same name.
    pub flag: &'static str,
    /// What holds when nobody says otherwise.
    pub default: u64,
    /// The smallest value allowed.
    pub min: u64,
    /// The largest value allowed.
    pub max: u64,
    /// What the number counts.
    pub unit: &'static str,
    /// What it bounds, and why the default is what it is.
    pub reason: &'static str,
}

impl Limit {
    /// Reads a value as a person writes it: ASCII digits only, in range.
    ///
    /// # Errors
    /// One sentence that names the allowed range.
    pub fn parse(&self, text: &str) -> Result<u64, String> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(value) if digits && self.contains(value) => Ok(value),
            _ => Err(format!(
                "allowed are whole numbers from {} to {} ({})",
                self.min, self.max, self.unit
            )),
        }
    }

    pub(super) fn contains(&self, value: u64) -> bool {
        (self.min..=self.max).contains(&value)
    }
}

/// Workers of the pool.
pub const WORKERS: Limit = Limit {
    flag: "workers",
    default: 4,
    min: 1,
    max: 1024,
    unit: "threads",
    reason: "Threads that run requests; the cores for CPU work, more for work that blocks",
};
/// The stack of one worker.
pub const WORKER_STACK: Limit = Limit {
    flag: "worker-stack",
    default: 2_097_152,
    min: 131_072,
    max: 1_073_741_824,
    unit: "bytes",
    reason: "Stack of each worker; a request that needs more ends the program",
};
/// Slots of the work queue.
pub const QUEUE: Limit = Limit {
    flag: "queue",
    default: 256,
    min: 1,
    max: 1000,
    unit: "requests",
    reason: "Requests that may wait for a worker; beyond it they wait with their connection",
};
/// How long a request waits for a queue slot.
pub const BUSY_TIMEOUT: Limit = Limit {
    flag: "busy-timeout",
    default: 1000,
    min: 0,
    max: 3_600_000,
    unit: "ms",
    reason: "Longest wait for a queue slot before `ERR server busy`; 0 refuses at once",
};
/// Longest request line.
pub const MAX_LINE: Limit = Limit {
    flag: "max-line",
    default: 65_536,
    min: 1,
    max: 16_777_216,
    unit: "bytes",
    reason: "Longest request line without its ending; bounds the memory of a connection",
};
/// Requests of one connection that are framed and unanswered.
pub const MAX_INFLIGHT: Limit = Limit {
    flag: "max-inflight",
    default: 128,
    min: 1,
    max: 65_536,
    unit: "requests",
    reason: "Requests of one connection, framed and not yet answered; more stay in its socket",
};
/// Requests of one connection that the workers have at a time.
pub const MAX_PARALLEL: Limit = Limit {
    flag: "max-parallel",
    default: 65_536,
    min: 1,
    max: 65_536,
    unit: "requests",
    reason: "Requests of one connection at workers at a time; 1 runs one after the other",
};
/// Quick requests of one connection that travel together.
pub const MAX_RUN: Limit = Limit {
    flag: "max-run",
    default: 64,
    min: 1,
    max: 1000,
    unit: "requests",
    reason: "Quick requests of one connection that travel together; 1 sends each by itself",
};
/// Connections served at a time.
pub const MAX_CONNECTIONS: Limit = Limit {
    flag: "max-connections",
    default: 10_000,
    min: 1,
    max: 1_000_000,
    unit: "connections",
    reason: "Connections served at a time; one more is told `ERR too many connections`",
};
/// Connections of one address served at a time.
pub const MAX_CONNECTIONS_PER_ADDRESS: Limit = Limit {
    flag: "max-connections-per-address",
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: "connections",
    reason: "The same for each address of IPv4, or /64 of IPv6; 0 for no limit",
};
/// Requests of one address that are framed and unanswered.
pub const MAX_INFLIGHT_PER_ADDRESS: Limit = Limit {
    flag: "max-inflight-per-address",
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: "requests",
    reason: "As --max-inflight, for all connections of an address together; 0 for no limit",
};
/// Connections beyond [`MAX_CONNECTIONS`] that may be told so at a time; more wait in the listen
/// backlog.
pub const REFUSAL_RESERVE: usize = 64;
/// Bytes that all connections may hold beyond their first request.
pub const MAX_BUFFERED: Limit = Limit {
    flag: "max-buffered",
    default: 268_435_456,
    min: 0,
    max: 1_099_511_627_776,
    unit: "bytes",
    reason: "Bytes buffered for all connections; past it only those with nothing in flight are read",
};
/// Longest wait for what a proxy says of its client.
pub const PROXY_HEADER_TIMEOUT: Limit = Limit {
    flag: "proxy-header-timeout",
    default: 5,
    min: 1,
    max: 3600,
    unit: "s",
    reason: "Longest wait for the header of --proxy-protocol, from the connect to its last byte",
};
/// Time without progress before a connection is closed.
pub const IDLE_TIMEOUT: Limit = Limit {
    flag: "idle-timeout",
    default: 300,
    min: 0,
    max: 31_536_000,
    unit: "s",
    reason: "Time without progress after which a connection is closed; 0 never closes one",
};
/// Time from the first byte of a request to its last.
pub const REQUEST_TIMEOUT: Limit = Limit {
    flag: "request-timeout",
    default: 0,
    min: 0,
    max: 86_400,
    unit: "s",
    reason: "Time from the first byte of a request to its last after which its connection is closed; 0 leaves it to the idle timeout",
};
/// How fast a client has to take its responses.
pub const MIN_READ_RATE: Limit = Limit {
    flag: "min-read-rate",
    default: 0,
    min: 0,
    max: 1_073_741_824,
    unit: "bytes/s",
    reason: "Bytes a second that a client has to take of its responses, or its connection is closed once it is 10 s and 256 KiB behind; 0 is off",
};
/// Time from a stop that is asked for to its beginning.
pub const STOP_DELAY: Limit = Limit {
    flag: "stop-delay",
    default: 0,
    min: 0,
    max: 86_400,
    unit: "s",
    reason: "Time to serve on after SIGTERM, SIGINT or SIGHUP, not ready any more, before stopping",
};
/// Longest wait for framed requests at the stop.
pub const DRAIN_TIMEOUT: Limit = Limit {
    flag: "drain-timeout",
    default: 10,
    min: 0,
    max: 86_400,
    unit: "s",
    reason: "Longest wait for framed requests once the server stops; 0 waits for nothing",
};

/// Time between two reports of the counters.
pub const STATS_INTERVAL: Limit = Limit {
    flag: "stats-interval",
    default: 0,
    min: 0,
    max: 86_400,
    unit: "s",
    reason: "Time between two reports of all counters in the log; 0 for SIGUSR1 and the end only",
};

/// Time after which a running request is warned of.
pub const SLOW_REQUEST: Limit = Limit {
    flag: "slow-request",
    default: 0,
    min: 0,
    max: 86_400_000,
    unit: "ms",
    reason: "Warns of a request that runs for longer, meanwhile and at its end; 0 for never",
};

/// Tasks that have ended of which the times are kept.
pub const TRACE_TASKS: Limit = Limit {
    flag: "trace-tasks",
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: "tasks",
    reason: "Tasks whose times are kept for the trace: those that ended last",
};

/// What the kernel may hold of one connection, in each direction.
pub const SOCKET_BUFFER: Limit = Limit {
    flag: "socket-buffer",
    default: 131_072,
    min: 4096,
    max: 1_073_741_824,
    unit: "bytes",
    reason: "Kernel buffer of a connection, for each direction; smaller ones slow down long answers",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_digits_in_range_parse() {
        assert_eq!(WORKERS.parse("8"), Ok(8));
        for wrong in [
            "",
            "0",
            "+1",
            "-1",
            " 1",
            "1.5",
            "1025",
            "99999999999999999999",
            "four",
        ] {
            let message = WORKERS.parse(wrong).expect_err(wrong);
            assert_eq!(
                message,
                "allowed are whole numbers from 1 to 1024 (threads)"
            );
        }
    }
}
