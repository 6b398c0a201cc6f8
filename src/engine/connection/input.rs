//! What a client has sent and is not a request yet.
//!
//! Knows no order and no queue; how a request ends, the codec says.
//!
//! Rule: how the bytes were split on their way never changes the requests, and no byte of a
//! malformed request is kept.

use crate::codec::{Codec, Frame, Refusal};

#[derive(Debug, Default)]
pub(super) struct Input {
    /// Bytes that were read and not framed: those from `start` on.
    kept: Vec<u8>,
    start: usize,
    /// How many of those the codec has called incomplete.
    seen: usize,
    /// What is kept waits for a place in the order. Until then nothing more is read.
    is_blocked: bool,
    /// Inside a malformed request, the rest of which is thrown away.
    is_skipping: bool,
    /// The client has shut its sending side, and all that it sent has been read.
    is_finished: bool,
    /// Nothing that comes from here on becomes a request.
    is_cut_off: bool,
}

/// What [`Input::cut`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut<'a> {
    /// A whole request: its frame, and the part of it that the handler gets.
    Request(&'a [u8], &'a [u8]),
    /// No request; this is its answer.
    Refused(Refusal),
    /// Nothing whole is left.
    Nothing,
    /// A request whose payload has more bytes than there is room for.
    NoRoom,
}

impl Input {
    /// Bytes kept, framed or not.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.len() - self.start
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The client's stream has ended.
    pub(super) fn finish(&mut self) {
        self.is_finished = true;
    }

    /// Whether cutting what is kept may bring something.
    pub(super) fn has_more(&self) -> bool {
        self.is_blocked || self.is_finished && self.kept_bytes() > 0
    }

    /// From here on nothing that the client sends becomes a request.
    pub(super) fn cut_off(&mut self) {
        *self = Input {
            is_finished: self.is_finished,
            is_cut_off: true,
            ..Input::default()
        };
    }

    /// All that is to be cut, with `chunk` as its end; what is left goes back by [`Input::keep`].
    pub(super) fn take<'a>(&mut self, chunk: &'a [u8], codec: &dyn Codec) -> Taken<'a> {
        if self.is_cut_off {
            return Taken::Chunk(&[]);
        }
        if self.kept.is_empty() {
            return Taken::Chunk(chunk);
        }
        self.append(chunk, codec);
        let start = std::mem::take(&mut self.start);
        Taken::Kept(std::mem::take(&mut self.kept), start)
    }

    /// Takes the next request from the front of `rest`; a payload of more than `room` bytes stays
    /// there.
    pub(super) fn cut<'a>(
        &mut self,
        rest: &mut &'a [u8],
        room: usize,
        codec: &dyn Codec,
    ) -> Cut<'a> {
        let bytes = *rest;
        if self.is_skipping {
            let end = codec.skip(bytes);
            self.is_skipping = end.is_none();
            *rest = &bytes[end.unwrap_or(bytes.len())..];
            if self.is_skipping {
                return Cut::Nothing;
            }
            return self.cut(rest, room, codec);
        }
        match codec.frame(bytes, std::mem::take(&mut self.seen)) {
            Frame::Request { payload, .. } if payload.len() > room => Cut::NoRoom,
            Frame::Request {
                payload,
                bytes: length,
            } => {
                let frame;
                (frame, *rest) = bytes.split_at(length);
                Cut::Request(frame, &frame[payload])
            }
            Frame::Malformed {
                why,
                bytes: length,
                is_over,
            } => {
                self.is_skipping = !is_over;
                *rest = &bytes[length..];
                Cut::Refused(why)
            }
            Frame::Incomplete if self.is_finished && !bytes.is_empty() => {
                *rest = &[];
                Cut::Refused(Refusal::Incomplete)
            }
            Frame::Incomplete => {
                self.seen = bytes.len();
                Cut::Nothing
            }
        }
    }

    /// What was not framed of `taken` is kept: its last `left` bytes. `is_blocked` says that they
    /// wait for a place.
    pub(super) fn keep(
        &mut self,
        taken: Taken<'_>,
        left: usize,
        is_blocked: bool,
        codec: &dyn Codec,
    ) {
        self.is_blocked = is_blocked && left > 0;
        if left == 0 {
            return;
        }
        match taken {
            Taken::Chunk(chunk) => self.append(&chunk[chunk.len() - left..], codec),
            // The beginning of a request does not hold on to the memory of those before it.
            Taken::Kept(kept, _) if !self.is_blocked && left < kept.len() => {
                self.append(&kept[kept.len() - left..], codec);
            }
            Taken::Kept(kept, _) => {
                self.start = kept.len() - left;
                self.kept = kept;
            }
        }
    }

    /// Grows as a Vec does, but never past what an incomplete request can need: the bound on
    /// memory counts that.
    fn append(&mut self, bytes: &[u8], codec: &dyn Codec) {
        let needed = self.kept.len() + bytes.len();
        if needed > self.kept.capacity() {
            let doubled = 2 * self.kept.capacity();
            let capacity = doubled.min(codec.max_incomplete_bytes()).max(needed);
            self.kept.reserve_exact(capacity - self.kept.len());
        }
        self.kept.extend_from_slice(bytes);
    }

    pub(super) fn check_invariants(&self, codec: &dyn Codec) {
        assert!(self.is_blocked || self.kept_bytes() <= codec.max_incomplete_bytes());
        assert!(!(self.is_blocked && self.kept_bytes() == 0));
        assert!(self.start <= self.kept.len() && self.seen <= self.kept_bytes());
    }
}

/// What is being cut.
#[derive(Debug)]
pub(super) enum Taken<'a> {
    /// What was read just now.
    Chunk(&'a [u8]),
    /// What was kept, from a position on.
    Kept(Vec<u8>, usize),
}

impl Taken<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Taken::Chunk(chunk) => chunk,
            Taken::Kept(kept, start) => &kept[*start..],
        }
    }
}
