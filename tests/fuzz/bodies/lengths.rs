//! `LengthDelimited`, with any limit, width and byte order: what it finds, and what it writes.
//!
//! Knows the codec and a reference of its own; no engine.
//!
//! Rule: nothing of the reference is taken from the code that it is compared with.

use super::Input;
use super::codec::{Found, REFUSALS, found, show};
use reactor_pool::codec::{ByteOrder, Codec, LengthDelimited, NotOneResponse, Outcome, Refusal};

/// Longer streams only take longer.
const LONGEST_STREAM_BYTES: usize = 2000;

/// What the inputs have reached.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) too_long: u64,
    pub(crate) incomplete: u64,
    /// Responses that no length can say.
    pub(crate) unsayable: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.requests += other.requests;
        self.too_long += other.too_long;
        self.incomplete += other.incomplete;
        self.unsayable += other.unsayable;
    }

    pub(crate) fn all(&self) -> [u64; 4] {
        [
            self.requests,
            self.too_long,
            self.incomplete,
            self.unsayable,
        ]
    }
}

/// What a length is.
#[derive(Debug, Clone, Copy)]
struct Reference {
    width: usize,
    is_big_endian: bool,
    limit: usize,
}

impl Reference {
    /// The length that these bytes are.
    fn number(self, bytes: &[u8]) -> u64 {
        let mut eight = [0; 8];
        if self.is_big_endian {
            eight[8 - self.width..].copy_from_slice(bytes);
            u64::from_be_bytes(eight)
        } else {
            eight[..self.width].copy_from_slice(bytes);
            u64::from_le_bytes(eight)
        }
    }

    /// The requests of a stream that has ended.
    fn cut(self, mut stream: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        while !stream.is_empty() {
            if stream.len() < self.width {
                found.push(Found::Incomplete);
                return found;
            }
            let length = self.number(&stream[..self.width]);
            if length > self.limit as u64 {
                found.push(Found::Refused(Refusal::TooLong));
                return found;
            }
            let behind = &stream[self.width..];
            if length > behind.len() as u64 {
                found.push(Found::Incomplete);
                return found;
            }
            let (whole, rest) = stream.split_at(self.width + length as usize);
            found.push(Found::Request {
                whole: whole.to_vec(),
                payload: whole[self.width..].to_vec(),
                is_last: false,
                runs_alone: false,
            });
            stream = rest;
        }
        found
    }
}

/// Checks one input: the width and order of lengths, the limit, four lengths of pieces that take
/// turns, how long a response is, then the stream.
pub(crate) fn check(data: &[u8]) -> Counts {
    let mut input = Input(data);
    let choice = input.byte_or_zero();
    let reference = Reference {
        width: 1 + choice % 8,
        is_big_endian: (choice / 8).is_multiple_of(2),
        limit: match input.byte_or_zero() {
            small @ 0..=199 => small % 40,
            255 => usize::MAX,
            greater => greater * greater,
        },
    };
    let byte_order = match reference.is_big_endian {
        true => ByteOrder::Big,
        false => ByteOrder::Little,
    };
    let codec = LengthDelimited::new(reference.limit)
        .width(reference.width)
        .byte_order(byte_order);
    let lengths = [(); 4].map(|()| 1 + input.byte_or_zero() % 40);
    let response_bytes = input.byte_or_zero() * (1 + choice / 128);
    let stream = input.take(LONGEST_STREAM_BYTES);

    let found = found(&codec, stream, lengths);
    assert_eq!(found, reference.cut(stream), "{reference:?}");
    let mut counts = Counts::default();
    for one in &found {
        match one {
            Found::Request { whole, payload, .. } => {
                counts.requests += 1;
                let text = payload.iter().chain(whole).copied().cycle();
                let text: Vec<u8> = text.take(response_bytes).collect();
                counts.unsayable += u64::from(!respond(codec, reference, whole, &text));
            }
            Found::Refused(_) => counts.too_long += 1,
            Found::Incomplete => counts.incomplete += 1,
        }
    }
    refuse(codec, reference, stream);
    counts
}

/// Answers a request; whether a length can say that.
fn respond(codec: LengthDelimited, reference: Reference, request: &[u8], text: &[u8]) -> bool {
    let mut out = b"before".to_vec();
    codec.begin(request, &mut out);
    out.extend_from_slice(text);
    let finished = codec.finish(request, &mut out, "before".len(), false);
    let can_be_said = reference.width == 8 || (text.len() as u64) >> (8 * reference.width) == 0;
    if !can_be_said {
        assert!(matches!(finished, Err(NotOneResponse(_))), "{finished:?}");
        return false;
    }
    let expected = match text.starts_with(b"ERR") {
        true => Outcome::Error,
        false => Outcome::Ok,
    };
    assert_eq!(finished, Ok(expected));
    let (before, response) = out.split_at("before".len());
    assert_eq!(before, b"before");
    let (length, said) = response.split_at(reference.width);
    assert_eq!(reference.number(length), text.len() as u64);
    assert_eq!(said, text);
    true
}

/// Each refusal is one response, in the words of docs/protocol.md.
fn refuse(codec: LengthDelimited, reference: Reference, request: &[u8]) {
    for why in REFUSALS {
        let mut out = b"before".to_vec();
        codec.refuse(why, request, &mut out);
        let (before, response) = out.split_at("before".len());
        assert_eq!(before, b"before");
        let (length, words) = response.split_at(reference.width);
        assert_eq!(reference.number(length), words.len() as u64);
        assert!(words.starts_with(b"ERR "), "{why:?}: {}", show(words));
    }
}
