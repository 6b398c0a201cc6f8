//! The bodies of the fuzz targets, as plain functions: bytes in, a panic where a promise is
//! broken.
//!
//! Knows nothing of who makes the bytes up: libFuzzer, a seeded generator, or a kept input.
//!
//! Rule: whatever the bytes are, they mean some life of a connection; no input is refused.

// Each target compiles this module for itself, and uses its own part of it.
#![allow(dead_code)]

pub(crate) mod codec;
pub(crate) mod connection;
pub(crate) mod framing;
pub(crate) mod headers;
pub(crate) mod http;
mod http_reference;
pub(crate) mod lengths;
pub(crate) mod mistakes;
pub(crate) mod reference;
pub(crate) mod slots;

use reactor_pool::Config;
use reactor_pool::codec::Lines;
use std::sync::Arc;

/// `max_run`, as inputs choose it: by the first of these each request travels alone.
const MAX_RUNS: [usize; 4] = [1, 2, 4, 32];

/// Which lines are quick: those that begin with an odd byte, and the empty one.
fn is_quick(line: &[u8]) -> bool {
    line.first().is_none_or(|byte| byte % 2 == 1)
}

/// The input, taken from the front.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next byte, or zero.
    pub(crate) fn byte_or_zero(&mut self) -> usize {
        usize::from(self.byte().unwrap_or(0))
    }

    /// The next `count` bytes, or as many as there are.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// The line codec of an engine with this `config`.
pub(crate) fn lines(config: &Config) -> Arc<Lines> {
    Arc::new(Lines::new(config.max_line))
}

/// The lines of a run, without their endings.
pub(crate) fn lines_of(frames: &[u8]) -> Vec<&[u8]> {
    let lines = frames.split_inclusive(|byte| *byte == b'\n');
    let without_ending = |line: &'_ [u8]| {
        let line = line
            .strip_suffix(b"\n")
            .expect("a run consists of whole lines");
        line.len() - usize::from(line.last() == Some(&b'\r'))
    };
    lines.map(|line| &line[..without_ending(line)]).collect()
}
