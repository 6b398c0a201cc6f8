//! Requests and responses with their length in front: any bytes may stand in them.
//!
//! Knows no operations and no meaning of the bytes.
//!
//! Rule: a length above the limit is refused before a byte behind it is kept.

use super::{Codec, Frame, NotOneResponse, Notes, Outcome, Refusal, Then, append_words};

/// In which order the bytes of a length stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The most significant one first, as is usual in networks.
    Big,
    /// The least significant one first.
    Little,
}

/// Each request and each response is a length and that many bytes. By default the length is an
/// unsigned number of four bytes, the most significant one first, as in tokio-util's codec of the
/// same name.
///
/// A response that begins with `ERR` counts as an error. After a request that is too long the
/// connection closes: what follows cannot be told from a request.
///
/// ```
/// use reactor_pool::codec::{ByteOrder, LengthDelimited};
///
/// let codec = LengthDelimited::new(1 << 20).width(2).byte_order(ByteOrder::Little);
/// # let _ = codec;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LengthDelimited {
    limit: usize,
    width: usize,
    byte_order: ByteOrder,
}

impl LengthDelimited {
    /// Requests of at most `limit` bytes, their length not counted.
    pub fn new(limit: usize) -> LengthDelimited {
        LengthDelimited {
            limit,
            width: 4,
            byte_order: ByteOrder::Big,
        }
    }

    /// A length of that many bytes.
    ///
    /// # Panics
    /// When it is not from 1 to 8.
    #[must_use]
    pub fn width(self, bytes: usize) -> LengthDelimited {
        assert!(
            (1..=8).contains(&bytes),
            "a length has 1 to 8 bytes, not {bytes}"
        );
        LengthDelimited {
            width: bytes,
            ..self
        }
    }

    /// The order of the length's bytes.
    #[must_use]
    pub fn byte_order(self, byte_order: ByteOrder) -> LengthDelimited {
        LengthDelimited { byte_order, ..self }
    }

    /// The number that `bytes`, as many as a length has, stand for.
    fn length(&self, bytes: &[u8]) -> u64 {
        let append = |length: u64, byte: &u8| length << 8 | u64::from(*byte);
        match self.byte_order {
            ByteOrder::Big => bytes.iter().fold(0, append),
            ByteOrder::Little => bytes.iter().rev().fold(0, append),
        }
    }

    /// Writes `length` into `bytes`; says whether it fits.
    fn put_length(&self, length: usize, bytes: &mut [u8]) -> bool {
        let mut rest = length as u64;
        let mut put = |byte: &mut u8| {
            *byte = rest as u8;
            rest >>= 8;
        };
        match self.byte_order {
            ByteOrder::Big => bytes.iter_mut().rev().for_each(&mut put),
            ByteOrder::Little => bytes.iter_mut().for_each(&mut put),
        }
        rest == 0
    }
}

impl Codec for LengthDelimited {
    fn max_incomplete_bytes(&self) -> usize {
        self.width.saturating_add(self.limit)
    }

    fn frame(&self, bytes: &[u8], _seen: usize, _notes: &mut Notes) -> Frame {
        let Some((length, rest)) = bytes.split_at_checked(self.width) else {
            return Frame::Incomplete;
        };
        let length = self.length(length);
        if length > self.limit as u64 {
            return Frame::Malformed {
                why: Refusal::TooLong,
                bytes: bytes.len(),
                then: Then::Close,
            };
        }
        if length > rest.len() as u64 {
            return Frame::Incomplete;
        }
        let end = self.width + length as usize;
        Frame::Request {
            payload: self.width..end,
            bytes: end,
            is_last: false,
            runs_alone: false,
        }
    }

    fn begin(&self, _request: &[u8], out: &mut Vec<u8>) {
        out.resize(out.len() + self.width, 0);
    }

    fn finish(
        &self,
        _request: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        _closes: bool,
    ) -> Result<Outcome, NotOneResponse> {
        let (length, response) = out[start..].split_at_mut(self.width);
        if !self.put_length(response.len(), length) {
            return Err(NotOneResponse(
                "the handler wrote more than a length of this width can say",
            ));
        }
        Ok(match response.starts_with(b"ERR") {
            true => Outcome::Error,
            false => Outcome::Ok,
        })
    }

    fn refuse(&self, why: Refusal, request: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        self.begin(request, out);
        append_words(why, self.limit, out);
        // One byte says up to 255; no refusal is longer.
        let (length, words) = out[start..].split_at_mut(self.width);
        self.put_length(words.len(), length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(codec: LengthDelimited, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        codec.begin(b"", &mut out);
        out.extend_from_slice(payload);
        codec
            .finish(b"", &mut out, 0, false)
            .expect("it is short enough");
        out
    }

    #[test]
    fn the_default_is_four_bytes_the_most_significant_first() {
        let codec = LengthDelimited::new(1000);
        assert_eq!(framed(codec, b"abc"), b"\0\0\0\x03abc");
        assert_eq!(framed(codec, &[7; 258])[..4], [0, 0, 1, 2]);
        let little = codec.width(2).byte_order(ByteOrder::Little);
        assert_eq!(framed(little, &[7; 258])[..3], [2, 1, 7]);
    }

    #[test]
    fn a_length_above_the_limit_is_refused_as_soon_as_it_is_there() {
        let codec = LengthDelimited::new(5);
        assert_eq!(
            codec.frame(b"\0\0\0", 0, &mut Notes::default()),
            Frame::Incomplete
        );
        assert_eq!(
            codec.frame(b"\0\0\0\x05", 0, &mut Notes::default()),
            Frame::Incomplete
        );
        assert_eq!(codec.max_incomplete_bytes(), b"\0\0\0\x05abcde".len());
        let malformed = Frame::Malformed {
            why: Refusal::TooLong,
            bytes: 4,
            then: Then::Close,
        };
        assert_eq!(
            codec.frame(b"\0\0\0\x06", 0, &mut Notes::default()),
            malformed
        );
        assert_eq!(
            codec.frame(b"\xff\xff\xff\xff", 0, &mut Notes::default()),
            malformed
        );
        let widest = codec.width(8);
        assert!(matches!(
            widest.frame(&[0xff; 8], 0, &mut Notes::default()),
            Frame::Malformed { .. }
        ));
        // Where nothing is too long, it is as long as it says.
        let unlimited = LengthDelimited::new(usize::MAX).width(8);
        assert_eq!(
            unlimited.frame(&[0xff; 12], 0, &mut Notes::default()),
            Frame::Incomplete
        );
        assert_eq!(unlimited.max_incomplete_bytes(), usize::MAX);
    }

    #[test]
    fn a_response_that_its_length_cannot_say_is_none() {
        let codec = LengthDelimited::new(5).width(1);
        let mut out = vec![0; 1 + 255];
        assert_eq!(codec.finish(b"", &mut out, 0, false), Ok(Outcome::Ok));
        let mut out = vec![0; 1 + 256];
        assert!(codec.finish(b"", &mut out, 0, false).is_err());
    }

    #[test]
    fn a_response_that_begins_with_err_is_an_error() {
        for (text, expected) in [
            ("ERR no", Outcome::Error),
            ("OK", Outcome::Ok),
            ("er", Outcome::Ok),
            ("", Outcome::Ok),
        ] {
            let mut out = [b"\0\0\0\0", text.as_bytes()].concat();
            let finished = LengthDelimited::new(9).finish(b"", &mut out, 0, false);
            assert_eq!(finished, Ok(expected), "{text:?}");
        }
    }

    #[test]
    #[should_panic(expected = "a length has 1 to 8 bytes, not 9")]
    fn no_length_is_wider_than_a_number() {
        LengthDelimited::new(1).width(9).max_incomplete_bytes();
    }

    #[test]
    fn refusals_have_the_words_of_the_protocol_and_a_length() {
        let mut out = b"before".to_vec();
        LengthDelimited::new(9).refuse(Refusal::Busy, b"", &mut out);
        assert_eq!(out, b"before\0\0\0\x0fERR server busy");
    }

    proptest! {
        #[test]
        fn what_is_framed_is_found_again(
            payload in prop::collection::vec(any::<u8>(), 0..300),
            behind in prop::collection::vec(any::<u8>(), 0..9),
            width in 2..=8usize,
            is_big in any::<bool>(),
        ) {
            let order = if is_big { ByteOrder::Big } else { ByteOrder::Little };
            let codec = LengthDelimited::new(300).width(width).byte_order(order);
            let frame = framed(codec, &payload);
            for end in 0..frame.len() {
                prop_assert_eq!(codec.frame(&frame[..end], 0, &mut Notes::default()), Frame::Incomplete);
            }
            let request = Frame::Request { payload: width..frame.len(), bytes: frame.len(), is_last: false, runs_alone: false };
            prop_assert_eq!(codec.frame(&[frame, behind].concat(), 0, &mut Notes::default()), request);
        }
    }
}
