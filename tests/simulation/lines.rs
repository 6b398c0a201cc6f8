//! Lines, from docs/protocol.md: an LF ends each, and one CR before it belongs to the ending.
//!
//! Knows nothing of the codec of production.
//!
//! Rule: the plain way, never the fast one.

use super::{Cut, Cutter, Framing};
use crate::random::Random;
use reactor_pool::codec;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    max_line: usize,
}

impl Lines {
    pub(super) fn new(max_line: usize) -> Lines {
        Lines { max_line }
    }
}

impl Framing for Lines {
    fn codec(&self) -> Arc<dyn codec::Codec> {
        Arc::new(codec::Lines::new(self.max_line))
    }

    fn limit(&self) -> usize {
        self.max_line
    }

    fn overhead(&self) -> usize {
        1
    }

    /// The longest line, and the CR of its ending.
    fn max_partial_bytes(&self) -> usize {
        self.max_line + 1
    }

    fn cutter(&self) -> Box<dyn Cutter> {
        Box::new(LineCutter {
            max_line: self.max_line,
            partial: Vec::new(),
            said: false,
            bytes: 0,
            skipped_until: 0,
        })
    }

    fn cut_whole(&self, stream: &[u8], ended: bool) -> Vec<Cut> {
        let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
        let tail = pieces.pop().unwrap_or_default();
        let mut cuts: Vec<Cut> = pieces
            .into_iter()
            .map(|piece| match without_cr(piece) {
                line if line.len() > self.max_line => Cut::TooLong { is_last: false },
                line => Cut::Request(line.to_vec()),
            })
            .collect();
        if without_cr(tail).len() > self.max_line {
            cuts.push(Cut::TooLong { is_last: false });
        } else if ended && !tail.is_empty() {
            cuts.push(Cut::Incomplete);
        }
        cuts
    }

    fn requests<'a>(&self, run: &'a [u8]) -> Vec<&'a [u8]> {
        self.responses(run).into_iter().map(without_cr).collect()
    }

    fn responses<'a>(&self, output: &'a [u8]) -> Vec<&'a [u8]> {
        let lines = output.split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| line.strip_suffix(b"\n").expect("an LF ends each line"))
            .collect()
    }

    fn response(&self, text: &[u8]) -> Option<Vec<u8>> {
        Some([text, b"\n"].concat())
    }

    fn alphabet(&self) -> &'static [u8] {
        b"EeCcOoSs 019\r\r\0\xff~\x7f!\t"
    }

    fn long(&self, random: &mut Random) -> usize {
        match random.below(if self.max_line > 1000 { 16 } else { 4 }) {
            // Short enough that several fit into a run, and together do not: four lines of 4095
            // bytes just do.
            4..=13 => random.between(4094, 4096),
            14.. => random.between(1000, 5000),
            0 => self.max_line * random.between(1, 5),
            1 => self.max_line.saturating_sub(1),
            2 => self.max_line,
            _ => self.max_line + random.between(1, 2),
        }
    }

    fn request(&self, mut payload: Vec<u8>, random: &mut Random) -> Vec<u8> {
        let ending: &[u8] = random.pick(&[&b"\n"[..], b"\n", b"\n", b"\r\n", b"\r\r\n"]);
        payload.extend(ending);
        payload
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[derive(Debug)]
struct LineCutter {
    max_line: usize,
    /// The line that has not ended.
    partial: Vec<u8>,
    /// It was too long already, and that was said.
    said: bool,
    bytes: usize,
    skipped_until: usize,
}

impl Cutter for LineCutter {
    /// A line that is too long ends at its LF, if that has come.
    fn add(&mut self, bytes: &[u8], cuts: &mut VecDeque<(Cut, usize)>) {
        let mut too_long = None;
        for &byte in bytes {
            self.bytes += 1;
            if byte == b'\n' {
                let line = std::mem::take(&mut self.partial);
                if !std::mem::take(&mut self.said) {
                    cuts.push_back((Cut::Request(without_cr(&line).to_vec()), self.bytes));
                } else if let Some(at) = too_long.take() {
                    let (_, end): &mut (Cut, usize) = &mut cuts[at];
                    *end = self.bytes;
                } else {
                    self.skipped_until = self.bytes;
                }
                continue;
            }
            if self.said {
                continue;
            }
            self.partial.push(byte);
            if without_cr(&self.partial).len() > self.max_line {
                self.partial.clear();
                self.said = true;
                too_long = Some(cuts.len());
                cuts.push_back((Cut::TooLong { is_last: false }, self.bytes));
            }
        }
        if let Some(at) = too_long {
            cuts[at].1 = self.bytes;
        }
    }

    fn end(&mut self, cuts: &mut VecDeque<(Cut, usize)>) {
        if !self.partial.is_empty() {
            cuts.push_back((Cut::Incomplete, self.bytes));
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.partial.clear();
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn skipped_until(&self) -> usize {
        self.skipped_until
    }

    fn partial(&self) -> &[u8] {
        &self.partial
    }

    fn is_begun(&self) -> bool {
        self.said || !self.partial.is_empty()
    }
}
