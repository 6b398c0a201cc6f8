//! Every limit and timeout of the server, once: name, default, range, unit and reason.
//!
//! Knows no command line and no sockets: `command/cli.rs` turns the same table into flags, an
//! embedder fills [`Config`] by hand.
//!
//! Rule: what has passed [`Config::check`] is in range, so nobody behind it checks again.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A number that a person may set, with the range in which the server keeps its promises.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The flag's name without the dashes; the [`Config`] field has the same name.
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

    fn contains(&self, value: u64) -> bool {
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
    reason: "Of so many tasks, the last to end, the times are kept for the trace",
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

/// Which signals a server takes over; only with the feature `signals` of this crate.
///
/// Where it takes them over, SIGTERM, SIGINT and SIGHUP stop it, and a second one ends it at once.
/// SIGHUP stays ignored if it was when the program started. SIGUSR1 writes the counters to the
/// log. It takes them over before anybody can connect, and unblocks them.
#[cfg(feature = "signals")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopSignals {
    /// None: the program calls [`Stopper::stop`](crate::Stopper::stop).
    None,
    /// From [`Server::builder`](crate::Server::builder) until [`Server::run`](crate::Server::run)
    /// returns. Then each does what it did before; handlers that the program registers itself, it
    /// registers before.
    WhileRunning,
    /// For good: what comes while the program ends is ignored.
    UntilExit,
}

/// In which order workers take queued requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueOrder {
    /// Connections in turn, one request each (round robin).
    Fair,
    /// First in, first out, from all connections: the order to compare with.
    Fifo,
}

impl QueueOrder {
    /// `fair` or `fifo`: what the flag takes.
    pub fn name(self) -> &'static str {
        match self {
            QueueOrder::Fair => "fair",
            QueueOrder::Fifo => "fifo",
        }
    }
}

/// The struct as it is written, and a setter for each field, which has the field's documentation.
macro_rules! with_setters {
    (
        $(#[$of_struct:meta])*
        pub struct $name:ident {
            $($(#[$of_field:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$of_struct])*
        pub struct $name {
            $($(#[$of_field])* pub $field: $type,)*
        }

        impl $name {
            $(
                $(#[$of_field])*
                #[must_use]
                pub fn $field(mut self, $field: $type) -> $name {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

with_setters! {
    /// What a server may use, and how long it waits. [`Config::default`] is what the flags default
    /// to.
    ///
    /// Each field has a setter of its name:
    ///
    /// ```
    /// use reactor_pool::Config;
    /// use std::time::Duration;
    ///
    /// let config = Config::default()
    ///     .workers(8)
    ///     .queue(100)
    ///     .busy_timeout(Duration::from_millis(200));
    /// assert_eq!(config.workers, 8);
    /// ```
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Config {
        /// Worker threads; see [`WORKERS`].
        pub workers: usize,
        /// What the workers' threads are called, such as `worker-0` where it is `worker`. Bytes
        /// that are zero are left out; Linux shows the first 15 of the others.
        pub worker_name: String,
        /// Stack of each worker in bytes; see [`WORKER_STACK`]. `RUST_MIN_STACK` has no say in it.
        pub worker_stack: usize,
        /// Slots of the work queue; see [`QUEUE`].
        pub queue: usize,
        /// In which order workers take queued requests.
        pub queue_order: QueueOrder,
        /// Longest wait for a queue slot; see [`BUSY_TIMEOUT`].
        pub busy_timeout: Duration,
        /// Longest request line in bytes; see [`MAX_LINE`].
        pub max_line: usize,
        /// Requests of one connection in flight; see [`MAX_INFLIGHT`].
        pub max_inflight: usize,
        /// Requests of one connection that are queued or run at a time; see [`MAX_PARALLEL`]. With
        /// 1 their effects come in the order of the requests; they are still read ahead. Quick
        /// requests that travel together count as one, for they run one after the other anyway.
        pub max_parallel: usize,
        /// Quick requests of one connection that travel together; see [`MAX_RUN`].
        pub max_run: usize,
        /// Connections served at a time; see [`MAX_CONNECTIONS`].
        pub max_connections: usize,
        /// Connections of one address served at a time, zero for no limit; one more is told `ERR
        /// too many connections`. An address is one of IPv4, or the first 64 bits of one of IPv6;
        /// behind a proxy that of the client. Peers of unix sockets have none. See
        /// [`MAX_CONNECTIONS_PER_ADDRESS`].
        pub max_connections_per_address: usize,
        /// Requests that all connections of an address together may have in flight, zero for no
        /// limit. Past it they are not read, and then take turns in the order in which they came.
        /// See [`MAX_INFLIGHT_PER_ADDRESS`].
        pub max_inflight_per_address: usize,
        /// Bytes buffered for all connections; see [`MAX_BUFFERED`].
        pub max_buffered: usize,
        /// Each connection, of TCP and of unix sockets alike, begins with a header of the PROXY
        /// protocol, version 1 or 2, that names its client: that is its
        /// [`Peer`](crate::Peer) then. A header that says `UNKNOWN` or `LOCAL` names none, and the
        /// peer is the one of the socket. A connection without a valid header is told so, and
        /// closes. Of what may be appended to a header nothing is looked at; with that it has at
        /// most 4096 bytes.
        ///
        /// Only for a server that nobody but its proxies can reach: whoever connects says who the
        /// client is. The header is described at
        /// <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>.
        pub proxy_protocol: bool,
        /// Longest wait for that header; see [`PROXY_HEADER_TIMEOUT`].
        pub proxy_header_timeout: Duration,
        /// Time without progress before a connection is closed, zero for never; see
        /// [`IDLE_TIMEOUT`].
        pub idle_timeout: Duration,
        /// Longest time from the first byte of a request to its last, zero for any; see
        /// [`REQUEST_TIMEOUT`]. It begins anew when something has been written to the client, and
        /// does not pass while a request before it is in flight, or a response unsent.
        pub request_timeout: Duration,
        /// Bytes a second that a client has to take of its responses, zero for any; see
        /// [`MIN_READ_RATE`]. Its connection is closed once it has taken 256 KiB, and what it
        /// should have taken in 10 s, less than that since it last had all. What the other
        /// side's system has acknowledged counts as taken; over a unix socket, what has left the
        /// server's buffer.
        pub min_read_rate: usize,
        /// Time from a stop that is asked for to its beginning, in which all is served; in its
        /// second half each connection closes after an answer. See [`STOP_DELAY`].
        pub stop_delay: Duration,
        /// Longest wait for framed requests at the stop; see [`DRAIN_TIMEOUT`].
        pub drain_timeout: Duration,
        /// Time between two reports of the counters, zero for none; see [`STATS_INTERVAL`].
        pub stats_interval: Duration,
        /// Time after which a running request is warned of, zero for never; see [`SLOW_REQUEST`].
        pub slow_request: Duration,
        /// Of so many tasks, the last to end, the times are kept for [`Monitor::trace`], and as
        /// many ticks of the loop; zero for none. See [`TRACE_TASKS`].
        ///
        /// [`Monitor::trace`]: crate::Monitor::trace
        pub trace_tasks: usize,
        /// Bytes that the kernel may hold of one connection in each direction; see
        /// [`SOCKET_BUFFER`].
        pub socket_buffer: usize,
        /// Other processes of the same user may listen at the same addresses of TCP, if they say
        /// so, too (`SO_REUSEPORT`, socket(7)). On Linux each new connection comes to one of them,
        /// by a hash of its addresses. One that stops accepts what has come to it; what comes
        /// between that and the close of its socket is refused, while a
        /// [`Listener`](crate::Listener) that processes share stays open.
        pub reuse_port: bool,
        /// Which signals the server takes over: none by default. Only with the feature `signals`
        /// of this crate.
        #[cfg(feature = "signals")]
        pub stop_signals: StopSignals,
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            workers: WORKERS.default as usize,
            worker_name: "worker".to_owned(),
            worker_stack: WORKER_STACK.default as usize,
            queue: QUEUE.default as usize,
            queue_order: QueueOrder::Fair,
            busy_timeout: Duration::from_millis(BUSY_TIMEOUT.default),
            max_line: MAX_LINE.default as usize,
            max_inflight: MAX_INFLIGHT.default as usize,
            max_parallel: MAX_PARALLEL.default as usize,
            max_run: MAX_RUN.default as usize,
            max_connections: MAX_CONNECTIONS.default as usize,
            max_connections_per_address: MAX_CONNECTIONS_PER_ADDRESS.default as usize,
            max_inflight_per_address: MAX_INFLIGHT_PER_ADDRESS.default as usize,
            max_buffered: MAX_BUFFERED.default as usize,
            proxy_protocol: false,
            proxy_header_timeout: Duration::from_secs(PROXY_HEADER_TIMEOUT.default),
            idle_timeout: Duration::from_secs(IDLE_TIMEOUT.default),
            request_timeout: Duration::from_secs(REQUEST_TIMEOUT.default),
            min_read_rate: MIN_READ_RATE.default as usize,
            stop_delay: Duration::from_secs(STOP_DELAY.default),
            drain_timeout: Duration::from_secs(DRAIN_TIMEOUT.default),
            stats_interval: Duration::from_secs(STATS_INTERVAL.default),
            slow_request: Duration::from_millis(SLOW_REQUEST.default),
            trace_tasks: TRACE_TASKS.default as usize,
            socket_buffer: SOCKET_BUFFER.default as usize,
            reuse_port: false,
            #[cfg(feature = "signals")]
            stop_signals: StopSignals::None,
        }
    }
}

impl Config {
    /// Says whether every number is in its range.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let count = |number: usize| number as u128;
        let millis = |time: Duration| time.as_millis();
        let seconds = |time: Duration| u128::from(time.as_secs());
        let numbers = [
            ("workers", WORKERS, count(self.workers)),
            ("worker_stack", WORKER_STACK, count(self.worker_stack)),
            ("queue", QUEUE, count(self.queue)),
            ("busy_timeout", BUSY_TIMEOUT, millis(self.busy_timeout)),
            ("max_line", MAX_LINE, count(self.max_line)),
            ("max_inflight", MAX_INFLIGHT, count(self.max_inflight)),
            ("max_parallel", MAX_PARALLEL, count(self.max_parallel)),
            ("max_run", MAX_RUN, count(self.max_run)),
            (
                "max_connections",
                MAX_CONNECTIONS,
                count(self.max_connections),
            ),
            (
                "max_connections_per_address",
                MAX_CONNECTIONS_PER_ADDRESS,
                count(self.max_connections_per_address),
            ),
            (
                "max_inflight_per_address",
                MAX_INFLIGHT_PER_ADDRESS,
                count(self.max_inflight_per_address),
            ),
            ("max_buffered", MAX_BUFFERED, count(self.max_buffered)),
            (
                "proxy_header_timeout",
                PROXY_HEADER_TIMEOUT,
                seconds(self.proxy_header_timeout),
            ),
            ("idle_timeout", IDLE_TIMEOUT, seconds(self.idle_timeout)),
            (
                "request_timeout",
                REQUEST_TIMEOUT,
                seconds(self.request_timeout),
            ),
            ("min_read_rate", MIN_READ_RATE, count(self.min_read_rate)),
            ("stop_delay", STOP_DELAY, seconds(self.stop_delay)),
            ("drain_timeout", DRAIN_TIMEOUT, seconds(self.drain_timeout)),
            (
                "stats_interval",
                STATS_INTERVAL,
                seconds(self.stats_interval),
            ),
            ("slow_request", SLOW_REQUEST, millis(self.slow_request)),
            ("trace_tasks", TRACE_TASKS, count(self.trace_tasks)),
            ("socket_buffer", SOCKET_BUFFER, count(self.socket_buffer)),
        ];
        for (field, limit, value) in numbers {
            if !u64::try_from(value).is_ok_and(|value| limit.contains(value)) {
                return Err(ConfigError {
                    field,
                    limit,
                    value,
                });
            }
        }
        Ok(())
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What the trace needs for a task that has ended, or for a request in flight. It may stand there
/// three times: among those kept, in the last copy that somebody asked for, and in the next.
pub(crate) const TRACED_BYTES: usize = 640;

/// The most memory that a server can come to need, in bytes; docs/reference.md derives each part.
/// A handler's own memory comes on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorstCase {
    /// What all connections together hold.
    pub connections: u64,
    /// What the queue and the workers hold.
    pub pool: u64,
    /// The program itself, its log and trace, and what the allocator keeps of what was free again.
    pub program: u64,
    /// The kernel's buffers of the sockets.
    pub kernel: u64,
}

impl WorstCase {
    /// All that is the process's own.
    pub fn process(self) -> u64 {
        self.connections + self.pool + self.program
    }

    /// All of it, as a cgroup counts.
    pub fn total(self) -> u64 {
        self.process() + self.kernel
    }
}

impl Config {
    /// Bytes of the process that a single connection can come to hold. For numbers in range.
    pub fn worst_case_connection(&self) -> u64 {
        11 * self.max_line as u64 + 896 * self.max_inflight as u64 + 256 * KIB
    }

    /// The most memory that the server can come to need. For numbers in range.
    pub fn worst_case_memory(&self) -> WorstCase {
        let (line, connections) = (self.max_line as u64, self.max_connections as u64);
        let workers = self.workers as u64;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let beside_the_budget = line + 896 * self.max_inflight as u64 + 256 * KIB;
        // Blocks that the allocator maps by themselves raise what it keeps, as the server arranges
        // it.
        let kept_by_heap = if line > MIB { 64 * MIB } else { 16 * MIB };
        let heaps = (1 + workers).min(8 * cores);
        let traced = match self.trace_tasks as u64 {
            0 => 0,
            ended => ended + connections * self.max_inflight as u64,
        };
        WorstCase {
            connections: 3 * self.max_buffered as u64 + connections * beside_the_budget,
            pool: self.queue as u64 * line
                + workers * (24 * line.max(16 * KIB) + self.worker_stack as u64),
            program: heaps * kept_by_heap + 40 * MIB + traced * TRACED_BYTES as u64,
            // socket(7): the kernel doubles what is asked for, and each direction has a buffer.
            // The segment that fills one may go beyond it, and the socket itself takes some.
            kernel: connections * (4 * self.socket_buffer as u64 + 64 * KIB),
        }
    }
}

/// A number of [`Config`] out of its range.
#[derive(Debug, Clone)]
pub struct ConfigError {
    field: &'static str,
    limit: Limit,
    value: u128,
}

impl ConfigError {
    /// The name of the field, such as `max_line`.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What the field holds, in its [unit](ConfigError::unit). Of a time that may be more than the
    /// range can name.
    pub fn value(&self) -> u128 {
        self.value
    }

    /// What it may hold, in its [unit](ConfigError::unit).
    pub fn allowed(&self) -> RangeInclusive<u64> {
        self.limit.min..=self.limit.max
    }

    /// What the numbers count: `threads`, `requests`, `connections`, `bytes`, `bytes/s`,
    /// `ms` or `s`.
    pub fn unit(&self) -> &'static str {
        self.limit.unit
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigError { field, value, .. } = self;
        let (unit, allowed) = (self.unit(), self.allowed());
        let (min, max) = allowed.into_inner();
        write!(
            f,
            "{field} is {value} {unit}: allowed are whole numbers from {min} to {max}"
        )
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        Config::default()
            .check()
            .expect("defaults pass their own check");
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_range() {
        let error = Config::default().queue(1001).check();
        let error = error.expect_err("1001 slots are too many");
        assert_eq!((error.field(), error.value()), ("queue", 1001));
        assert_eq!((error.allowed(), error.unit()), (1..=1000, "requests"));
        assert_eq!(
            error.to_string(),
            "queue is 1001 requests: allowed are whole numbers from 1 to 1000"
        );
    }

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
