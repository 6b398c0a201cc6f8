//! What both sides of the comparison name in the same words: what a server was started with that
//! decides its answers, how a request ends, a length in front, a number in decimal.
//!
//! Knows no request and no answer.
//!
//! Rule: what is asked and what is right meet here and nowhere below.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What the server under test was started with that decides its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How its requests and responses are told apart.
    pub framing: Framing,
    /// The most bytes of a request, without its line ending or the length in front of it.
    pub max_line_bytes: usize,
    /// The longest SLEEP in milliseconds.
    pub max_sleep_ms: u32,
}

/// How requests and responses are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Each is a line.
    #[default]
    Lines,
    /// Each has its length in front: four bytes, the most significant one first.
    Length,
}

impl Framing {
    /// How a request ends unless it is after a corner of its framing.
    pub(crate) fn usual_ending(self) -> LineEnding {
        match self {
            Self::Lines => LineEnding::Lf,
            Self::Length => LineEnding::None,
        }
    }

    /// Where an answer ends.
    pub(crate) fn answer_end(self) -> AnswerEnd {
        match self {
            Self::Lines => AnswerEnd::LineEnd,
            Self::Length => AnswerEnd::Length,
        }
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "lines",
            Self::Length => "length",
        })
    }
}

/// Where an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerEnd {
    /// Before the next LF.
    LineEnd,
    /// Where the length in front of it says.
    Length,
    /// After as many bytes as the one that is due has.
    AsDue,
    /// Where its head says, over HTTP.
    Head,
}

/// How a request ends on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnding {
    /// LF.
    Lf,
    /// CR LF.
    CrLf,
    /// None: its length stands in front of it.
    None,
    /// The client shuts its sending side down inside the request. If a length is to stand in front
    /// of it, that length, or the beginning of one, is part of what is sent.
    Eof,
}

impl LineEnding {
    /// Makes the bytes from `start` on, a request or an answer, what is sent.
    #[inline]
    pub(crate) fn enclose(self, start: usize, bytes: &mut Vec<u8>) {
        match self {
            Self::Lf => bytes.push(b'\n'),
            Self::CrLf => bytes.extend_from_slice(b"\r\n"),
            Self::None => {
                let length = u32::try_from(bytes.len() - start);
                insert_length(start, length.expect("no limit is above 16 MiB"), bytes);
            }
            Self::Eof => {}
        }
    }

    /// The request that `sent`, a line, encloses, and how it ends there.
    #[inline]
    pub(crate) fn split_off(sent: &[u8]) -> (&[u8], Self) {
        match sent {
            [line @ .., b'\r', b'\n'] => (line, Self::CrLf),
            [line @ .., b'\n'] => (line, Self::Lf),
            line => (line, Self::Eof),
        }
    }
}

/// A length in front has so many bytes.
pub(crate) const LENGTH_BYTES: usize = size_of::<u32>();

/// Puts `length` before the bytes from `start` on.
pub(crate) fn insert_length(start: usize, length: u32, bytes: &mut Vec<u8>) {
    bytes.splice(start..start, length.to_be_bytes());
}

/// The length that stands in front of `bytes`, and what follows it, unless it is incomplete.
pub(crate) fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*length) as usize, rest))
}

/// A number in decimal has so many digits at most.
const MOST_DIGITS: usize = 20;

/// Appends `number` in plain decimal.
pub(crate) fn append_decimal(text: &mut Vec<u8>, number: u64) {
    let start = text.len();
    text.extend_from_slice(&[0; MOST_DIGITS]);
    let digits = put_decimal(&mut text[start..], number);
    text.truncate(start + digits);
}

/// Writes `number` in plain decimal to the beginning of `place`, which has room for it. Returns
/// how many digits that are.
#[inline]
pub(crate) fn put_decimal(place: &mut [u8], mut number: u64) -> usize {
    let digits = 1 + number.checked_ilog10().unwrap_or(0) as usize;
    let place = &mut place[..digits];
    let mut left = digits;
    // Two at a time, as a division is most of what a digit costs.
    while left >= 2 {
        left -= 2;
        place[left..left + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if left == 1 {
        place[0] = b'0' + number as u8;
    }
    digits
}

/// The numbers below 100 in two digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        let (tens, ones) = (number / 10, number % 10);
        pairs[number] = [b'0' + tens as u8, b'0' + ones as u8];
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_its_digits_and_no_other() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let around =
            powers.flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(7)]);
        for number in around.chain(0..1100).chain([u64::MAX]) {
            let mut text = Vec::new();
            append_decimal(&mut text, number);
            assert_eq!(text, number.to_string().into_bytes());
        }
    }

    #[test]
    fn a_line_is_taken_apart_as_it_was_put_together() {
        for ending in [LineEnding::Lf, LineEnding::CrLf, LineEnding::Eof] {
            for line in [&b""[..], b"ECHO x", b"x\ry"] {
                let mut sent = line.to_vec();
                ending.enclose(0, &mut sent);
                assert_eq!(LineEnding::split_off(&sent), (line, ending));
            }
        }
    }

    #[test]
    fn a_length_in_front_is_four_bytes_the_most_significant_first() {
        let mut bytes = b"before".to_vec();
        bytes.extend_from_slice(&[b'x'; 258]);
        LineEnding::None.enclose(6, &mut bytes);
        assert_eq!(&bytes[..12], b"before\0\0\x01\x02xx");
        assert_eq!(split_length(&bytes[6..]), Some((258, &[b'x'; 258][..])));
        assert_eq!(split_length(b"\0\0\0"), None);
        assert_eq!(split_length(b"\0\0\0\0"), Some((0, &b""[..])));
    }
}
