//! The server's standard error, read line by line as it comes.
//!
//! Knows no line but the one that names the address.
//!
//! Rule: it is read all the time, so that the server never waits for its reader.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use super::DEADLINE;

/// How many lines of the log a failure shows.
const LINES_SHOWN: usize = 30;

/// The lines that the server has written to its standard error.
#[derive(Clone, Default)]
pub(crate) struct Log {
    shared: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Log {
    pub(super) fn read_from(&self, stderr: impl Read + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let (lines, more) = &*shared;
                lines
                    .lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&line).into_owned());
                more.notify_all();
            }
        });
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().clone()
    }

    /// The first line that `wanted` accepts, now or within the deadline.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        let (lines, more) = &*self.shared;
        let mut lines = lines.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(line) = lines[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no line of the log {what}:\n{}",
                tail(&lines)
            );
            lines = more.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub(super) fn listening_address(&self) -> Option<SocketAddr> {
        let lines = self.shared.0.lock().unwrap();
        let line = lines.iter().find(|line| line.contains("listening"))?;
        let address = line.split_once("addr=")?.1.split_whitespace().next()?;
        address.parse().ok()
    }

    pub(super) fn shown(&self) -> String {
        tail(&self.shared.0.lock().unwrap())
    }
}

fn tail(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}
