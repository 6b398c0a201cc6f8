//! The `server` command: flags, log and exit code around the library.
//!
//! Knows neither the protocol nor sockets.
//!
//! Rule: a person's mistake gets one line on stderr; exit 2 for wrong usage, 1 for what the system
//! or the drain did not allow, 0 for a clean stop.

mod activation;
mod admin;
mod batch;
mod chrome_trace;
mod cli;
mod log;
mod notify;
mod operations;
mod process;
mod trace_file;

use activation::Passed;
use admin::{Admin, Facts};
use batch::BatchJobs;
use cli::{AdminAddress, Args, Framing, LogFormat, Usage};
use log::{Log, say};
use notify::Notifier;
use operations::Operations;
use reactor_pool::codec::LengthDelimited;
use reactor_pool::config::WorstCase;
use reactor_pool::{Builder, Config, Listener, Monitor, Server, StopReason, Summary};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Instant;
use trace_file::TraceFile;
use tracing::{field, info, warn};

const FAILED: ExitCode = ExitCode::FAILURE;

fn main() -> ExitCode {
    process::keep_free_memory();
    let args = match Args::parse() {
        Ok(args) => args,
        Err(Usage::Text(text)) => {
            return if text.print().is_ok() {
                ExitCode::SUCCESS
            } else {
                FAILED
            };
        }
        Err(Usage::Wrong(line)) => return wrong_usage(Args::log_format(), &line),
    };
    let format = args.log_format;
    let passed = match Passed::take() {
        Ok(passed) => passed,
        Err(line) => return wrong_usage(format, &line),
    };
    if let Err(line) = process::survive_file_size_limit() {
        return failed(format, &line);
    }
    let (writer, guard) = match log::writer() {
        Ok(writer_and_guard) => writer_and_guard,
        Err(line) => return failed(format, &line),
    };
    let log = match log::start(format, args.verbosity, writer) {
        Ok(log) => log,
        Err(line) => return wrong_usage(format, &line),
    };
    for variable in cli::unknown_variables() {
        warn!(
            variable,
            "unknown environment variable; `server --help` names those that are known"
        );
    }
    let ended = serve(args, passed, &log);
    let code = *ended.as_ref().unwrap_or(&FAILED);
    log::end(guard, format, ended.err().map(|error| error.to_string()));
    code
}

fn serve(args: Args, passed: Passed, log: &Log) -> io::Result<ExitCode> {
    let config = &args.config;
    let has_admin = args.admin.is_some() || !passed.admin.is_empty();
    let of_admin = has_admin.then(|| admin::config().max_connections);
    let connections = config.max_connections + of_admin.unwrap_or_default();
    let worst_case = worst_case(config, has_admin);
    let descriptors = process::raise_descriptor_limit(connections);
    let mut builder = Server::builder(config.clone())?;
    let by_default = args.is_tcp_by_default && !passed.main.is_empty();
    for listener in passed.main {
        builder = builder.shared_listener(listener)?;
    }
    if let Some((host, port)) = args.tcp.as_ref().filter(|_| !by_default) {
        builder = listen(builder, host, *port)?;
    }
    for path in &args.unix {
        builder = builder.listen_unix(path)?;
    }
    let admin = match has_admin {
        true => {
            let monitor = builder.monitor();
            Some(start_admin(&args, passed.admin, worst_case, monitor, log)?)
        }
        false => None,
    };
    let trace_file = args.trace_file.as_ref();
    let trace_file = trace_file
        .map(|path| TraceFile::create(path, builder.monitor()))
        .transpose()?;
    let (service, length) = (
        BatchJobs(Operations {
            max_sleep: args.max_sleep,
        }),
        LengthDelimited::new(config.max_line),
    );
    let server = match args.framing {
        Framing::Lines => builder.serve(service)?,
        Framing::Length => builder.codec(length).serve(service)?,
    };
    process::warn_of_descriptors(descriptors, connections);
    process::warn_of_memory(worst_case);
    say_where_it_listens(&server, &args, admin.as_ref(), worst_case, descriptors);
    let notifier = Notifier::start(server.monitor())?;
    let ended = server.run();
    drop(notifier);
    // Up to here it has told that the server drains.
    drop(admin);
    let traced = trace_file.map_or(Ok(()), TraceFile::finish);
    let code = farewell(&ended?);
    traced.map(|()| code)
}

/// The most memory that all of it can come to need.
fn worst_case(config: &Config, has_admin: bool) -> WorstCase {
    let main = config.worst_case_memory();
    match has_admin {
        true => admin::worst_case_beside(main),
        false => main,
    }
}

/// Starts it where `args` say, and at the sockets that were passed for it.
fn start_admin(
    args: &Args,
    passed: Vec<Listener>,
    worst_case: WorstCase,
    monitor: Monitor,
    log: &Log,
) -> io::Result<Admin> {
    let mut builder = Server::builder(admin::config())?;
    for listener in passed {
        builder = builder.listener(listener)?;
    }
    builder = match &args.admin {
        Some(AdminAddress::Tcp(host, port)) => listen(builder, host, *port)?,
        Some(AdminAddress::Unix(path)) => builder.listen_unix(path)?,
        None => builder,
    };
    let facts = Facts {
        monitor,
        config: args.config.clone(),
        settings: args.settings.clone(),
        worst_case,
        stuck_after: args.stuck_after,
        dropped_log_lines: log.dropped(),
        started_at: Instant::now(),
    };
    Admin::start(builder, facts, log)
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
    args: &Args,
    admin: Option<&Admin>,
    worst_case: WorstCase,
    descriptors: u64,
) {
    let config = &args.config;
    let admin = admin.map_or(&[][..], Admin::addresses);
    let [first, others @ ..] = server.local_addrs() else {
        unreachable!("a server listens on one address at least");
    };
    info!(
        addr = %first,
        workers = config.workers,
        queue = config.queue,
        queue_order = config.queue_order.name(),
        framing = match args.framing {
            Framing::Lines => "lines",
            Framing::Length => "length",
        },
        busy_timeout_ms = config.busy_timeout.as_millis() as u64,
        max_line = config.max_line,
        max_inflight = config.max_inflight,
        max_parallel = config.max_parallel,
        max_run = config.max_run,
        max_sleep_ms = args.max_sleep,
        max_connections = config.max_connections,
        max_connections_per_address = config.max_connections_per_address,
        max_inflight_per_address = config.max_inflight_per_address,
        max_buffered = config.max_buffered,
        proxy_header_timeout_s = config.proxy_header_timeout.as_secs(),
        idle_timeout_s = config.idle_timeout.as_secs(),
        request_timeout_s = config.request_timeout.as_secs(),
        min_read_rate = config.min_read_rate,
        stop_delay_s = config.stop_delay.as_secs(),
        drain_timeout_s = config.drain_timeout.as_secs(),
        stats_interval_s = config.stats_interval.as_secs(),
        slow_request_ms = config.slow_request.as_millis() as u64,
        stuck_after_s = args.stuck_after.as_secs(),
        trace_tasks = (config.trace_tasks > 0).then_some(config.trace_tasks),
        socket_buffer = config.socket_buffer,
        worker_stack = config.worker_stack,
        descriptors,
        worst_case_mib = worst_case.total() >> 20,
        admin = admin.first().map(field::display),
        "listening"
    );
    for addr in others {
        info!(%addr, "listening, too");
    }
    for admin in admin.iter().skip(1) {
        info!(%admin, "listening, too");
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
