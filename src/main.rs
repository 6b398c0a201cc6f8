//! The `server` command: flags, log and exit code around the library.
//!
//! Knows neither the protocol nor sockets.
//!
//! Rule: a person's mistake gets one line on stderr; exit 2 for wrong usage, 1 for what the system
//! or the drain did not allow, 0 for a clean stop.

mod cli;

use cli::{Args, LogFormat, Refusal};
use reactor_pool::operations::Operations;
use reactor_pool::{Ending, Owed, Server, Summary};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing::{info, warn};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

const FAILED: ExitCode = ExitCode::FAILURE;

fn main() -> ExitCode {
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
    let _log = match start_log(&args) {
        Ok(guard) => guard,
        Err(line) => return wrong_usage(&line),
    };
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

fn farewell(summary: &Summary) -> ExitCode {
    let stats = &summary.stats;
    info!(
        connections = stats.accepted,
        ok = stats.answered_ok,
        errors = stats.answered_error,
        internal = stats.answered_internal,
        busy = stats.refused_busy,
        bytes_in = stats.bytes_in,
        bytes_out = stats.bytes_out,
        "stopped"
    );
    match summary.ending {
        Ending::Drained => ExitCode::SUCCESS,
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

/// Log lines go to stderr through a thread of their own, and are dropped when it cannot keep up: a
/// reader that stalls must not stall the event loop.
fn start_log(args: &Args) -> Result<WorkerGuard, String> {
    let level = match args.verbosity {
        ..=-2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "debug",
        2.. => "trace",
    };
    let directives = std::env::var_os("RUST_LOG").filter(|set| !set.is_empty());
    let directives = directives.map_or(level.to_owned(), |set| set.to_string_lossy().into_owned());
    let filter = EnvFilter::builder().parse(&directives).map_err(|cause| {
        format!("error: RUST_LOG is '{directives}': allowed are tracing directives such as info or reactor_pool=debug ({cause})")
    })?;
    let (writer, guard) = NonBlockingBuilder::default().finish(std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(guard)
}

fn wrong_usage(line: &str) -> ExitCode {
    say(line);
    ExitCode::from(2)
}

/// Says one line on stderr. When nobody can read it, the exit code still tells.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
