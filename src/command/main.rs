//! The `server` command: flags, log and exit code around the library.
//!
//! Knows neither the protocol nor sockets.
//!
//! Rule: a person's mistake gets one line on stderr; exit 2 for wrong usage, 1 for what the system
//! or the drain did not allow, 0 for a clean stop.

mod cli;

use cli::{Args, LogFormat, Refusal};
use reactor_pool::engine::REFUSAL_RESERVE;
use reactor_pool::operations::Operations;
use reactor_pool::{Ending, Owed, Server, Summary};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::hint::black_box;
use std::io::{IsTerminal, Write};
use std::panic;
use std::process::ExitCode;
use tracing::{info, warn};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

const FAILED: ExitCode = ExitCode::FAILURE;

fn main() -> ExitCode {
    keep_free_memory();
    let args = match Args::parse() {
        Ok(args) => args,
        Err(Refusal::Text(text)) => {
            return if text.print().is_ok() {
                ExitCode::SUCCESS
            } else {
                FAILED
            };
        }
        Err(Refusal::Wrong(line)) => return wrong_usage(&line),
    };
    let (writer, _guard) = match log_writer() {
        Ok(writer_and_guard) => writer_and_guard,
        Err(line) => {
            say(&line);
            return FAILED;
        }
    };
    if let Err(line) = start_log(&args, writer) {
        return wrong_usage(&line);
    }
    raise_descriptor_limit(args.config.max_connections);
    let handler = Operations {
        max_sleep: args.max_sleep,
    };
    let served =
        Server::bind(&args.host, args.port, args.config, handler).and_then(|mut server| {
            server.stop_on_signals()?;
            server.run()
        });
    match served {
        Ok(summary) => farewell(&summary),
        Err(error) => {
            say(&format!("error: {error}"));
            FAILED
        }
    }
}

/// Has the allocator keep up to 16 MiB of free memory a heap for what comes next. By itself it keeps 128 KiB, and
/// requests of some kilobytes make the heap shrink and grow all the time, a page fault for each 4 KiB.
///
/// glibc has two thresholds for this, and raises both when a block is freed that was large enough to be mapped by
/// itself: beyond its size blocks are mapped, and twice its size may stay free (mallopt(3), `M_MMAP_THRESHOLD`; whoever
/// sets them in `GLIBC_TUNABLES` or `MALLOC_TRIM_THRESHOLD_` is heard instead). Nobody writes to the block, so it takes no memory. For other
/// allocators it means nothing.
fn keep_free_memory() {
    const KEPT_BYTES: usize = 16 << 20;
    drop(black_box(Vec::<u8>::with_capacity(KEPT_BYTES / 2)));
}

fn farewell(summary: &Summary) -> ExitCode {
    match summary.ending {
        Ending::Drained => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Ending::TimedOut(Owed { requests, bytes }) => {
            warn!(
                requests,
                unsent_bytes = bytes,
                "abandoned: the drain timeout has passed"
            );
            FAILED
        }
        Ending::Forced(Owed { requests, bytes }) => {
            warn!(
                requests,
                unsent_bytes = bytes,
                "abandoned: ended by a second signal"
            );
            FAILED
        }
    }
}

/// Raises the soft limit of descriptors to what the connection limit needs, as far as allowed.
fn raise_descriptor_limit(max_connections: usize) {
    /// Standard streams, poll, waker, signals, listener, and what the system takes in passing.
    const OWN: u64 = 32;
    let needed = (max_connections + REFUSAL_RESERVE) as u64 + OWN;
    let limits = getrlimit(Resource::Nofile);
    let soft = limits.current.unwrap_or(u64::MAX);
    if soft >= needed {
        return;
    }
    let raised = needed.min(limits.maximum.unwrap_or(u64::MAX));
    let wanted = Rlimit {
        current: Some(raised),
        maximum: limits.maximum,
    };
    let allowed = if setrlimit(Resource::Nofile, wanted).is_ok() {
        raised
    } else {
        soft
    };
    if allowed < needed {
        let fits = allowed.saturating_sub(needed - max_connections as u64);
        warn!(
            max_connections,
            fits,
            descriptors = allowed,
            "the descriptor limit allows fewer connections"
        );
    }
}

/// Log lines go to stderr through a thread of their own, and are dropped when it cannot keep up: a
/// reader that stalls must not stall the event loop.
fn log_writer() -> Result<(NonBlocking, WorkerGuard), String> {
    // Where the system gives no thread, tracing-appender panics: to a person that is one line, too.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let started = panic::catch_unwind(|| NonBlockingBuilder::default().finish(std::io::stderr()));
    panic::set_hook(hook);
    started.map_err(|panic| {
        let cause = panic.downcast_ref::<String>().map_or("", String::as_str);
        format!("error: cannot start the log: {cause}")
    })
}

fn start_log(args: &Args, writer: NonBlocking) -> Result<(), String> {
    let level = match args.verbosity {
        ..=-2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "debug",
        2.. => "trace",
    };
    let directives = std::env::var_os("RUST_LOG").filter(|set| !set.is_empty());
    // Ours in detail; of the crates below us only what is an error.
    let flags = || format!("error,reactor_pool={level},server={level}");
    let directives = directives.map_or_else(flags, |set| set.to_string_lossy().into_owned());
    let filter = EnvFilter::builder().parse(&directives).map_err(|cause| {
        format!("error: RUST_LOG is '{directives}': allowed are tracing directives such as info or reactor_pool=debug ({cause})")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

fn wrong_usage(line: &str) -> ExitCode {
    say(line);
    ExitCode::from(2)
}

/// Says one line on stderr. When nobody can read it, the exit code still tells.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
