//! The file that `--trace-file` names: when it is written.
//!
//! Knows the monitor that tells the trace; how it looks in the file is `chrome_trace.rs`'s.
//!
//! Rule: a file that cannot be written is found out at the start, and what is written is said.

use crate::chrome_trace;
use reactor_pool::Monitor;
use signal_hook::consts::SIGUSR1;
use signal_hook::iterator::{Handle, Signals};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tracing::{error, info};

/// A trace that is written at the end, and meanwhile at each SIGUSR1.
pub(crate) struct TraceFile {
    writer: Writer,
    signals: Handle,
    thread: JoinHandle<()>,
}

#[derive(Clone)]
struct Writer {
    path: PathBuf,
    monitor: Monitor,
}

impl TraceFile {
    /// Empties the file, or creates it.
    ///
    /// # Errors
    /// When that is not allowed, or the system gives no descriptors or no thread.
    pub(crate) fn create(path: &Path, monitor: Monitor) -> io::Result<TraceFile> {
        let path = path.to_owned();
        let writer = Writer { path, monitor };
        writer.open()?;
        let signals = Signals::new([SIGUSR1]);
        let mut signals = signals.map_err(|cause| writer.cannot(&cause))?;
        let (handle, for_signals) = (signals.handle(), writer.clone());
        let write_at_signals = move || {
            for _ in signals.forever() {
                if let Err(cause) = for_signals.write() {
                    error!(%cause, "no trace was written");
                }
            }
        };
        let thread = thread::Builder::new().name("trace-file".to_owned());
        let thread = thread.spawn(write_at_signals);
        Ok(TraceFile {
            thread: thread.map_err(|cause| writer.cannot(&cause))?,
            writer,
            signals: handle,
        })
    }

    /// Writes the trace of the whole run, which is over.
    ///
    /// # Errors
    /// Those of the file.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.signals.close();
        // It has no reason to panic, and what is written now does not depend on it.
        drop(self.thread.join());
        self.writer.write()
    }
}

impl Writer {
    fn write(&self) -> io::Result<()> {
        /// A loop that has not answered by then hangs.
        const PATIENCE: Duration = Duration::from_secs(10);
        let trace = self.monitor.trace(PATIENCE).map_err(io::Error::other)?;
        let Some(trace) = trace else {
            return Ok(());
        };
        let server = concat!("reactor-pool ", env!("CARGO_PKG_VERSION"));
        let file = BufWriter::new(self.open()?);
        chrome_trace::write(&trace, server, file).map_err(|cause| self.cannot(&cause))?;
        info!(
            file = %self.path.display(),
            tasks = trace.tasks.len(),
            dropped_requests = trace.dropped_requests,
            "the trace was written"
        );
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        File::create(&self.path).map_err(|cause| self.cannot(&cause))
    }

    fn cannot(&self, cause: &io::Error) -> io::Error {
        let text = format!("cannot write the trace to {}: {cause}", self.path.display());
        io::Error::new(cause.kind(), text)
    }
}
