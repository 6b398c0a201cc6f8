//! What a server may use, and how long it waits.
//!
//! Knows no command line and no sockets: the command fills [`Config`] from its flags, an embedder
//! by hand.
//!
//! Rule: what has passed [`Config::check`] is in range, so nobody behind it checks again.

mod limits;
mod worst_case;

pub use limits::{
    BUSY_TIMEOUT, DRAIN_TIMEOUT, IDLE_TIMEOUT, Limit, MAX_BUFFERED, MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_ADDRESS, MAX_INFLIGHT, MAX_INFLIGHT_PER_ADDRESS, MAX_LINE, MAX_PARALLEL,
    MAX_RUN, MIN_READ_RATE, PROXY_HEADER_TIMEOUT, QUEUE, REFUSAL_RESERVE, REQUEST_TIMEOUT,
    SLOW_REQUEST, SOCKET_BUFFER, STATS_INTERVAL, STOP_DELAY, TRACE_TASKS, WORKER_STACK, WORKERS,
};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;
#[cfg(test)]
pub(crate) use worst_case::TRACED_BYTES;
pub use worst_case::WorstCase;

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
        /// Tasks whose times are kept for [`Monitor::trace`], those that ended last, and as many
        /// ticks of the loop; zero for none. See [`TRACE_TASKS`].
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
}
