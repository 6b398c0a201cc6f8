//! The `server` command: flags, log and exit code around the library.
//!
//! Knows neither the protocol nor sockets.
//!
//! Rule: a person's mistake gets one line on stderr; exit 2 for wrong usage, 1 for what the system
//! or the drain did not allow, 0 for a clean stop.

mod batch;
mod cli;
mod log;
mod operations;
mod process;

use batch::BatchJobs;
use cli::{Args, Framing, LogFormat, Refusal};
use log::say;
use operations::Operations;
use reactor_pool::codec::LengthDelimited;
use reactor_pool::{Builder, Config, Server, StopReason, Summary};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::process::ExitCode;
use tracing::{info, warn};

const FAILED: ExitCode = ExitCode::FAILURE;

fn main() -> ExitCode {
    process::keep_free_memory();
    let args = match Args::parse() {
        Ok(args) => args,
        Err(Refusal::Text(text)) => {
            return if text.print().is_ok() {
                ExitCode::SUCCESS
            } else {
                FAILED
            };
        }
        Err(Refusal::Wrong(line)) => return wrong_usage(Args::log_format(), &line),
    };
    let format = args.log_format;
    if let Err(line) = process::survive_file_size_limit() {
        return failed(format, &line);
    }
    let (writer, _guard) = match log::writer() {
        Ok(writer_and_guard) => writer_and_guard,
        Err(line) => return failed(format, &line),
    };
    if let Err(line) = log::start(format, args.verbosity, writer) {
        return wrong_usage(format, &line);
    }
    for variable in cli::unknown_variables() {
        warn!(
            variable,
            "unknown environment variable; `server --help` names those that are known"
        );
    }
    match serve(args) {
        Ok(summary) => farewell(&summary),
        Err(error) => failed(format, &error.to_string()),
    }
}

fn serve(args: Args) -> io::Result<Summary> {
    let Args {
        tcp,
        unix,
        config,
        max_sleep,
        framing,
        ..
    } = args;
    let descriptors = process::raise_descriptor_limit(config.max_connections);
    let mut builder = Server::builder(config.clone())?;
    if let Some((host, port)) = tcp {
        builder = listen(builder, &host, port)?;
    }
    for path in unix {
        builder = builder.listen_unix(path)?;
    }
    let (service, length) = (
        BatchJobs(Operations { max_sleep }),
        LengthDelimited::new(config.max_line),
    );
    let server = match framing {
        Framing::Lines => builder.serve(service)?,
        Framing::Length => builder.codec(length).serve(service)?,
    };
    process::warn_of_descriptors(descriptors, config.max_connections);
    process::warn_of_memory(config.worst_case_memory());
    say_where_it_listens(&server, &config, framing, max_sleep, descriptors);
    server.run()
}

/// Listens on every address of `host`; an error names it, too.
fn listen(builder: Builder, host: &str, port: u16) -> io::Result<Builder> {
    let named = |text: String, cause: io::Error| io::Error::new(cause.kind(), text);
    let addresses = (host, port).to_socket_addrs().map_err(|cause| {
        let address = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        named(format!("cannot listen on {address}: {cause}"), cause)
    })?;
    let addresses: Vec<_> = addresses.collect();
    builder.listen(&addresses[..]).map_err(|error| {
        // The library says "cannot listen on ADDRESS: CAUSE".
        let text = error.to_string();
        match host.parse::<IpAddr>() {
            Ok(_) => error,
            Err(_) => named(text.replacen(": ", &format!(" ({host}): "), 1), error),
        }
    })
}

/// The start line, with all limits in force; a line more for each further address.
fn say_where_it_listens(
    server: &Server,
    config: &Config,
    framing: Framing,
    max_sleep_ms: u64,
    descriptors: u64,
) {
    let [first, others @ ..] = server.local_addrs() else {
        unreachable!("a server listens on one address at least");
    };
    info!(
        addr = %first,
        workers = config.workers,
        queue = config.queue,
        queue_order = config.queue_order.name(),
        framing = match framing {
            Framing::Lines => "lines",
            Framing::Length => "length",
        },
        busy_timeout_ms = config.busy_timeout.as_millis() as u64,
        max_line = config.max_line,
        max_inflight = config.max_inflight,
        max_parallel = config.max_parallel,
        max_run = config.max_run,
        max_sleep_ms,
        max_connections = config.max_connections,
        max_buffered = config.max_buffered,
        idle_timeout_s = config.idle_timeout.as_secs(),
        drain_timeout_s = config.drain_timeout.as_secs(),
        stats_interval_s = config.stats_interval.as_secs(),
        slow_request_ms = config.slow_request.as_millis() as u64,
        socket_buffer = config.socket_buffer,
        worker_stack = config.worker_stack,
        descriptors,
        worst_case_mib = config.worst_case_memory().total() >> 20,
        "listening"
    );
    for addr in others {
        info!(%addr, "listening, too");
    }
}

fn farewell(summary: &Summary) -> ExitCode {
    let why = summary.stop_reason;
    if why == StopReason::Drained {
        info!("stopped");
        return ExitCode::SUCCESS;
    }
    let unfinished = why.unfinished();
    warn!(
        requests = unfinished.requests,
        unsent_bytes = unfinished.bytes,
        "abandoned: {why}"
    );
    FAILED
}

fn failed(format: LogFormat, line: &str) -> ExitCode {
    say(format, line);
    FAILED
}

fn wrong_usage(format: LogFormat, line: &str) -> ExitCode {
    say(format, line);
    ExitCode::from(2)
}
