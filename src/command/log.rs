//! The log of the `server` command on stderr, and the errors that a start can end with.
//!
//! Knows formats and levels, not what is logged.
//!
//! Rule: nobody waits for whoever reads stderr, and each thing said is one line in the format
//! asked for.

use crate::cli::{LogFormat, in_one_line};
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tracing::{Dispatch, error};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How long the last lines may take: whoever reads stderr may have stopped.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Log lines go to stderr through a thread of their own, and are dropped when it cannot keep up: a
/// reader that stalls must not stall the event loop.
pub(crate) fn writer() -> Result<(NonBlocking, WorkerGuard), String> {
    // Where the system gives no thread, tracing-appender panics: to a person that is one line,
    // too.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let started = panic::catch_unwind(|| NonBlockingBuilder::default().finish(io::stderr()));
    panic::set_hook(hook);
    started.map_err(|panic| {
        let cause = panic.downcast_ref::<String>().map_or("", String::as_str);
        format!("cannot start the log: {cause}")
    })
}

/// A log that has started.
#[derive(Debug)]
pub(crate) struct Log {
    format: LogFormat,
    writer: NonBlocking,
}

impl Log {
    /// Counts the lines that were dropped, since nobody read them.
    pub(crate) fn dropped(&self) -> ErrorCounter {
        self.writer.error_counter()
    }

    /// The same log for threads of which only what is wrong is of interest.
    pub(crate) fn of_warnings(&self) -> Dispatch {
        subscriber(self.format, EnvFilter::new("warn"), self.writer.clone())
    }
}

pub(crate) fn start(format: LogFormat, verbosity: i16, writer: NonBlocking) -> Result<Log, String> {
    let level = match verbosity {
        ..=-2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "debug",
        2.. => "trace",
    };
    let directives = std::env::var_os("RUST_LOG").filter(|set| !set.is_empty());
    // Ours in detail; of the crates below us only what is an error. Counters are written when
    // somebody asks for them, and the one report that nobody has asked for depends on the level of
    // the others.
    let flags = || format!("error,reactor_pool={level},server={level},reactor_pool::stats=info");
    let directives = directives.map_or_else(flags, |set| set.to_string_lossy().into_owned());
    let filter = EnvFilter::builder().parse(&directives).map_err(|cause| {
        format!("RUST_LOG is '{directives}': allowed are tracing directives such as info or reactor_pool=debug ({cause})")
    })?;
    subscriber(format, filter, writer.clone()).init();
    Ok(Log { format, writer })
}

fn subscriber(format: LogFormat, filter: EnvFilter, writer: NonBlocking) -> Dispatch {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(wants_colours())
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.into(),
        LogFormat::Json => log.json().flatten_event(true).into(),
    }
}

/// A terminal that can show them, and nobody who wants none (no-color.org).
fn wants_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").as_deref() == Some(OsStr::new("dumb"));
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Ends the log, with one more line where an error ends the program.
///
/// A thread does so, which may wait for ever: to end a log that nobody reads, tracing-appender
/// writes to stdout, and that can be the same pipe.
pub(crate) fn end(guard: WorkerGuard, format: LogFormat, error: Option<String>) {
    let (saying, said) = channel::<()>();
    let line = error.clone();
    let end = move || {
        drop(guard);
        if let Some(line) = line {
            say(format, &line);
        }
        drop(saying);
    };
    let thread = thread::Builder::new().name("last-lines".to_owned());
    match thread.spawn(end) {
        // Whether they were taken or not, the program ends, and its exit code tells.
        Ok(_) => drop(said.recv_timeout(LAST_LINES)),
        Err(_) => error.iter().for_each(|line| say(format, line)),
    }
}

/// Says on stderr what ends the program. When nobody can read it, the exit code still tells.
pub(crate) fn say(format: LogFormat, line: &str) {
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match format {
        LogFormat::Text => drop(writeln!(io::stderr(), "error: {}", in_one_line(line))),
        LogFormat::Json => {
            let log = tracing_subscriber::fmt()
                .with_writer(io::stderr)
                .log_internal_errors(false)
                .json()
                .flatten_event(true)
                .finish();
            tracing::subscriber::with_default(log, || error!("{line}"));
        }
    }
}
