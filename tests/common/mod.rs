//! The harness of the black-box tests: starts the built `server`, talks to it as clients do, and
//! looks at it from outside, through its log, its exit code and `/proc`.
//!
//! Knows no line of the server's own code: what it expects stands in `docs/protocol.md`.
//!
//! Rule: every wait has a deadline and ends in a panic that says what was awaited; and a server
//! never outlives the test that started it.

// Each test file compiles this module for itself, and uses its own part of it.
#![allow(dead_code, unused_imports)]

mod client;
mod log;
mod random;
mod server;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use client::{Client, Counter};
pub(crate) use log::Log;
pub(crate) use random::Random;
pub(crate) use server::{Launch, Server, Stderr, clean_environment};

/// What any single event may take on a machine that is busy with something else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// How often a state is looked at that nothing announces.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Asks `done` until it says yes; panics with `what` when it does not within `timeout`.
pub(crate) fn wait_until(what: &str, timeout: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !done() {
        assert!(Instant::now() < deadline, "not within {timeout:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Bytes for a person to read: escaped, and shortened in the middle.
pub(crate) fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    if bytes.len() <= SHOWN {
        return bytes.escape_ascii().to_string();
    }
    let (head, tail) = (&bytes[..SHOWN / 2], &bytes[bytes.len() - SHOWN / 2..]);
    format!(
        "{} … {} ({} bytes)",
        head.escape_ascii(),
        tail.escape_ascii(),
        bytes.len()
    )
}

/// The lines of a whole exchange; the last one must be complete.
#[track_caller]
pub(crate) fn lines_of(bytes: &[u8]) -> Vec<String> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let whole = bytes.strip_suffix(b"\n");
    let whole = whole.unwrap_or_else(|| panic!("the last line is cut: {:?}", show(bytes)));
    let lines = whole.split(|byte| *byte == b'\n');
    lines
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}
