//! What is right, from docs/protocol.md alone: where lines end, and what each is answered.
//!
//! Knows nothing of the server's code, but for [`handle`], which is what a worker runs.
//!
//! Rule: the plain way, never the fast one.

use crate::operations::Operations;
use reactor_pool::{Handler, Response};
use std::collections::VecDeque;

/// What the bytes of a client amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A request line, without its ending.
    Line(Vec<u8>),
    TooLong,
    /// The stream ended inside a line.
    Incomplete,
}

/// Cuts a byte stream as it comes.
#[derive(Debug)]
pub(crate) struct Cutter {
    max_line: usize,
    /// The line that has not ended.
    partial: Vec<u8>,
    /// It was too long already, and that was said.
    said: bool,
    /// Bytes that have come.
    bytes: usize,
    /// Where the last line ended that was too long before what ended it came.
    skipped_until: usize,
}

impl Cutter {
    pub(crate) fn new(max_line: usize) -> Cutter {
        Cutter {
            max_line,
            partial: Vec::new(),
            said: false,
            bytes: 0,
            skipped_until: 0,
        }
    }

    /// Adds what bytes amount to, with where in the stream each ends: a line that is too long, at
    /// its LF, if that has come.
    pub(crate) fn add(&mut self, bytes: &[u8], cuts: &mut VecDeque<(Cut, usize)>) {
        let mut too_long = None;
        for &byte in bytes {
            self.bytes += 1;
            if byte == b'\n' {
                let line = std::mem::take(&mut self.partial);
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                if !std::mem::take(&mut self.said) {
                    cuts.push_back((Cut::Line(line.to_vec()), self.bytes));
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
            let sure = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
            if sure.len() > self.max_line {
                self.partial.clear();
                self.said = true;
                too_long = Some(cuts.len());
                cuts.push_back((Cut::TooLong, self.bytes));
            }
        }
        if let Some(at) = too_long {
            cuts[at].1 = self.bytes;
        }
    }

    pub(crate) fn end(&mut self, cuts: &mut VecDeque<(Cut, usize)>) {
        if !self.partial.is_empty() {
            cuts.push_back((Cut::Incomplete, self.bytes));
        }
        self.forget();
    }

    pub(crate) fn forget(&mut self) {
        self.partial.clear();
    }

    /// Bytes that have come.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn skipped_until(&self) -> usize {
        self.skipped_until
    }

    /// Bytes that have to be remembered.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.partial.len()
    }
}

/// Cuts a whole byte stream: the definition, to which [`Cutter`] is held at the end of each
/// connection.
pub(crate) fn cut_whole(stream: &[u8], ended: bool, max_line: usize) -> Vec<Cut> {
    let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let tail = pieces.pop().unwrap_or_default();
    let without_cr = |piece: &'_ [u8]| piece.strip_suffix(b"\r").unwrap_or(piece).to_vec();
    let mut cuts: Vec<Cut> = pieces
        .into_iter()
        .map(|piece| match without_cr(piece) {
            line if line.len() > max_line => Cut::TooLong,
            line => Cut::Line(line),
        })
        .collect();
    if without_cr(tail).len() > max_line {
        cuts.push(Cut::TooLong);
    } else if ended && !tail.is_empty() {
        cuts.push(Cut::Incomplete);
    }
    cuts
}

/// The longest SLEEP of the simulated server: nothing sleeps here.
pub(crate) const MAX_SLEEP: u64 = 0;
/// The longest response: that to `B9`, its LF included.
pub(crate) const MAX_RESPONSE_BYTES: usize = 5 + 9 * BULK_BYTES;
const BULK_BYTES: usize = 5_000;

/// `B<digit>`, the operation that this simulation adds: a long response to a short request.
pub(crate) fn bulk(request: &[u8]) -> Option<Vec<u8>> {
    let [b'B', digit @ b'0'..=b'9'] = request else {
        return None;
    };
    let mut line = b"OK ".to_vec();
    line.push(*digit);
    line.resize(line.len() + usize::from(digit - b'0') * BULK_BYTES, b'.');
    Some(line)
}

/// Whether a request may travel with its neighbours: the rule of the production operations, with a
/// length of its own for each run.
pub(crate) fn is_quick(request: &[u8], quick_bytes: usize) -> bool {
    request.len() <= quick_bytes && !matches!(request.first(), Some(b's' | b'S'))
}

/// What a worker does: the production operations, and that one more.
pub(crate) fn handle(request: &[u8], response: &mut Vec<u8>) {
    match bulk(request) {
        Some(line) => response.extend(line),
        None => {
            let operations = Operations {
                max_sleep: MAX_SLEEP,
            };
            operations.handle(request, &mut Response::new(response));
        }
    }
}

/// The response line to a request that a worker runs, its LF included.
pub(crate) fn answer(request: &[u8]) -> Vec<u8> {
    let mut line = match bulk(request) {
        Some(line) => line,
        None => plain_answer(request),
    };
    line.push(b'\n');
    line
}

fn plain_answer(request: &[u8]) -> Vec<u8> {
    if request.is_empty() {
        return b"ERR empty request".to_vec();
    }
    let (op, argument) = match request.iter().position(|byte| *byte == b' ') {
        Some(space) => (&request[..space], &request[space + 1..]),
        None => (request, &b""[..]),
    };
    match op.to_ascii_uppercase().as_slice() {
        b"ECHO" => [b"OK ", argument].concat(),
        b"SLEEP" => {
            let text = String::from_utf8_lossy(argument);
            let digits = text.trim_matches([' ', '\t']);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            match digits.parse::<u64>() {
                Ok(n) if is_number && (0..=MAX_SLEEP).contains(&n) => {
                    format!("OK {n}").into_bytes()
                }
                _ => format!("ERR SLEEP needs an integer from 0 to {MAX_SLEEP}").into_bytes(),
            }
        }
        b"HASH" => {
            assert!(argument.is_empty(), "the clients hash nothing else");
            b"OK e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_vec()
        }
        name => {
            let shown = name.iter().take(32);
            let shown = shown.map(|byte| match byte {
                0x21..=0x7e => *byte,
                _ => b'?',
            });
            b"ERR unknown op ".iter().copied().chain(shown).collect()
        }
    }
}

pub(crate) const BUSY: &[u8] = b"ERR server busy\n";
pub(crate) const INTERNAL: &[u8] = b"ERR internal error\n";
pub(crate) const INCOMPLETE: &[u8] = b"ERR incomplete line\n";
pub(crate) const IDLE: &[u8] = b"ERR idle timeout\n";
pub(crate) const TOO_MANY: &[u8] = b"ERR too many connections\n";

pub(crate) fn too_long(max_line: usize) -> Vec<u8> {
    format!("ERR line too long (limit {max_line} bytes)\n").into_bytes()
}
