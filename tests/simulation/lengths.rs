//! Requests and responses with their length in front, from docs/protocol.md and the words of
//! `LengthDelimited`: any bytes may stand in them, and behind a length above the limit nothing can
//! be told from a request.
//!
//! Knows nothing of the codec of production.
//!
//! Rule: the plain way, never the fast one.

use super::{Cut, Cutter, Framing};
use crate::random::Random;
use reactor_pool::codec::{ByteOrder, Codec, LengthDelimited};
use std::collections::VecDeque;
use std::sync::Arc;

/// All bytes that there are.
static ALL_BYTES: [u8; 256] = {
    let (mut all, mut at) = ([0; 256], 0);
    while at < all.len() {
        all[at] = at as u8;
        at += 1;
    }
    all
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    limit: usize,
    /// Bytes of a length.
    width: usize,
    is_big_endian: bool,
}

impl Lengths {
    pub(super) fn new(limit: usize, width: usize, is_big_endian: bool) -> Lengths {
        Lengths {
            limit,
            width,
            is_big_endian,
        }
    }

    /// The greatest number that a length can say.
    fn greatest(self) -> u128 {
        256_u128.pow(self.width as u32) - 1
    }

    /// What the length in front of these bytes says.
    fn number(self, bytes: &[u8]) -> u128 {
        let weight = |position: usize| match self.is_big_endian {
            true => 256_u128.pow((self.width - 1 - position) as u32),
            false => 256_u128.pow(position as u32),
        };
        let digits = bytes[..self.width].iter().enumerate();
        digits
            .map(|(position, byte)| u128::from(*byte) * weight(position))
            .sum()
    }

    /// `text` with its length in front.
    fn framed(self, text: &[u8]) -> Vec<u8> {
        let mut length = (text.len() as u128).to_le_bytes()[..self.width].to_vec();
        if self.is_big_endian {
            length.reverse();
        }
        [&length, text].concat()
    }

    /// What stands in front of these bytes, and what is behind it; nothing if it is not whole.
    fn split(self, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        if bytes.len() < self.width {
            return None;
        }
        let (text, length) = (&bytes[self.width..], self.number(bytes));
        (length <= text.len() as u128).then(|| text.split_at(length as usize))
    }

    /// What all of these say.
    fn split_all(self, mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let (text, rest) = self.split(bytes).expect("all of them are whole");
            all.push(text);
            bytes = rest;
        }
        all
    }
}

impl Framing for Lengths {
    fn codec(&self) -> Arc<dyn Codec> {
        let byte_order = match self.is_big_endian {
            true => ByteOrder::Big,
            false => ByteOrder::Little,
        };
        let codec = LengthDelimited::new(self.limit).width(self.width);
        Arc::new(codec.byte_order(byte_order))
    }

    fn limit(&self) -> usize {
        self.limit
    }

    fn overhead(&self) -> usize {
        self.width
    }

    fn max_partial_bytes(&self) -> usize {
        self.width + self.limit
    }

    fn cutter(&self) -> Box<dyn Cutter> {
        Box::new(LengthCutter {
            lengths: *self,
            partial: Vec::new(),
            is_over: false,
            bytes: 0,
        })
    }

    fn cut_whole(&self, mut stream: &[u8], ended: bool) -> Vec<Cut> {
        let mut cuts = Vec::new();
        loop {
            if stream.len() >= self.width && self.number(stream) > self.limit as u128 {
                cuts.push(Cut::TooLong { is_last: true });
                return cuts;
            }
            let Some((payload, rest)) = self.split(stream) else {
                break;
            };
            cuts.push(Cut::Request(payload.to_vec()));
            stream = rest;
        }
        if ended && !stream.is_empty() {
            cuts.push(Cut::Incomplete);
        }
        cuts
    }

    fn requests<'a>(&self, run: &'a [u8]) -> Vec<&'a [u8]> {
        self.split_all(run)
    }

    fn responses<'a>(&self, output: &'a [u8]) -> Vec<&'a [u8]> {
        self.split_all(output)
    }

    fn response(&self, text: &[u8]) -> Option<Vec<u8>> {
        let can_be_said = text.len() as u128 <= self.greatest();
        can_be_said.then(|| self.framed(text))
    }

    fn alphabet(&self) -> &'static [u8] {
        &ALL_BYTES
    }

    /// Seldom too long, for nothing is served behind that.
    fn long(&self, random: &mut Random) -> usize {
        match random.below(if self.limit > 1000 { 40 } else { 16 }) {
            // Four of 4096 bytes, their lengths included, just fit into a run.
            16..=33 => 4096 - self.width + 1 - random.below(3),
            34.. => random.between(1000, 5000),
            0 => self.limit + random.between(1, 2 * self.limit),
            1 => self.limit + 1,
            2..=5 => self.limit - 1,
            _ => self.limit,
        }
    }

    /// No length says more than its bytes can. A few say anything, or all that they can.
    fn request(&self, mut payload: Vec<u8>, random: &mut Random) -> Vec<u8> {
        payload.truncate(self.greatest().min(1 << 20) as usize);
        let mut request = self.framed(&payload);
        match random.below(400) {
            0 => request[..self.width].fill(0xff),
            1 => request[random.below(self.width)] = random.pick(&ALL_BYTES),
            _ => {}
        }
        request
    }
}

#[derive(Debug)]
struct LengthCutter {
    lengths: Lengths,
    /// The request that is not whole.
    partial: Vec<u8>,
    /// A length was above the limit: no request can follow.
    is_over: bool,
    bytes: usize,
}

impl Cutter for LengthCutter {
    fn add(&mut self, bytes: &[u8], cuts: &mut VecDeque<(Cut, usize)>) {
        for &byte in bytes {
            self.bytes += 1;
            if self.is_over {
                continue;
            }
            self.partial.push(byte);
            if self.partial.len() < self.lengths.width {
                continue;
            }
            let length = self.lengths.number(&self.partial);
            let come = (self.partial.len() - self.lengths.width) as u128;
            if length > self.lengths.limit as u128 {
                self.is_over = true;
                self.partial.clear();
                cuts.push_back((Cut::TooLong { is_last: true }, self.bytes));
            } else if come == length {
                let payload = self.partial.split_off(self.lengths.width);
                self.partial.clear();
                cuts.push_back((Cut::Request(payload), self.bytes));
            }
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

    /// What is too long is the end.
    fn skipped_until(&self) -> usize {
        0
    }

    fn partial(&self) -> &[u8] {
        &self.partial
    }
}
