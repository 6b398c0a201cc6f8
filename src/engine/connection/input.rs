//! What a client has sent and is not a request yet.
//!
//! Knows no order and no queue; how a request ends, the codec says.
//!
//! Rule: how the bytes were split on their way never changes the requests, and no byte of a
//! malformed request is kept.

use crate::codec::{Broken, Checked, Codec, Frame, Guarded, Notes, Refusal, Then};
use crate::proxy::{self, Header, HeaderFault, MAX_HEADER_BYTES};
use std::net::SocketAddr;

#[derive(Debug, Default)]
pub(super) struct Input {
    /// Bytes that were read and not framed: those from `start` on.
    kept: Vec<u8>,
    start: usize,
    /// How many of those the codec has called incomplete, and what it has noted of them.
    seen: usize,
    notes: Option<Box<Notes>>,
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
    /// A whole request.
    Request {
        frame: &'a [u8],
        /// The part of it that the handler gets.
        payload: &'a [u8],
        is_last: bool,
        runs_alone: bool,
    },
    /// No request.
    Refused {
        why: Refusal,
        bytes: &'a [u8],
        /// Nothing that comes behind it can be a request.
        is_last: bool,
    },
    /// Bytes that belong to no request.
    Blank,
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

    /// Whether the first bytes of a request have come, and not the last.
    pub(super) fn is_begun(&self) -> bool {
        self.kept_bytes() > 0 || self.is_skipping
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

    /// Takes the header of a proxy, which comes before all requests: the end of what was kept,
    /// then `chunk`. Says which client it names, and how much of `chunk` belongs to it; none if it
    /// is not whole, and is kept.
    pub(super) fn cut_header(
        &mut self,
        chunk: &[u8],
    ) -> Result<Option<(Option<SocketAddr>, usize)>, HeaderFault> {
        let kept = self.kept.len();
        if kept == 0
            && let Some(Header { client, bytes }) = proxy::header(chunk)?
        {
            return Ok(Some((client, bytes)));
        }
        let more = chunk.len().min(MAX_HEADER_BYTES - kept);
        self.kept.extend_from_slice(&chunk[..more]);
        let found = proxy::header(&self.kept)?;
        Ok(found.map(|Header { client, bytes }| {
            self.kept = Vec::new();
            (client, bytes - kept)
        }))
    }

    /// How many of the bytes kept the codec has called incomplete.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// All that is to be cut, with `chunk` as its end; what is left goes back by [`Input::keep`].
    pub(super) fn take<'a>(&mut self, chunk: &'a [u8], codec: &Guarded<impl Codec>) -> Taken<'a> {
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
        codec: Checked<'_, impl Codec>,
    ) -> Result<Cut<'a>, Broken> {
        if self.is_skipping {
            self.skip(rest, codec)?;
            if self.is_skipping {
                return Ok(Cut::Nothing);
            }
        }
        let bytes = *rest;
        let seen = std::mem::take(&mut self.seen);
        let before = self.take_notes(seen);
        let mut notes = before;
        Ok(match codec.frame(bytes, seen, &mut notes)? {
            Frame::Request { payload, .. } if payload.len() > room => {
                // What was seen of it before holds when it is cut again.
                self.seen = seen;
                self.note(before);
                Cut::NoRoom
            }
            Frame::Request {
                payload,
                bytes: length,
                is_last,
                runs_alone,
            } => {
                let frame;
                (frame, *rest) = bytes.split_at(length);
                let payload = &frame[payload];
                Cut::Request {
                    frame,
                    payload,
                    is_last,
                    runs_alone,
                }
            }
            Frame::Blank { bytes: length } => {
                *rest = &bytes[length..];
                Cut::Blank
            }
            Frame::Malformed {
                why,
                bytes: length,
                then,
            } => {
                let malformed;
                (malformed, *rest) = bytes.split_at(length);
                self.is_skipping = then == Then::Rest;
                Cut::Refused {
                    why,
                    bytes: malformed,
                    is_last: then == Then::Close,
                }
            }
            Frame::Incomplete if self.is_finished && !bytes.is_empty() => {
                *rest = &[];
                Cut::Refused {
                    why: Refusal::Incomplete,
                    bytes,
                    is_last: true,
                }
            }
            Frame::Incomplete => {
                self.seen = bytes.len();
                self.note(notes);
                Cut::Nothing
            }
        })
    }

    /// What the codec has noted of bytes that it has seen.
    fn take_notes(&mut self, seen: usize) -> Notes {
        let noted = self.notes.take().filter(|_| seen > 0);
        noted.map_or_else(Notes::default, |notes| *notes)
    }

    /// Most codecs note nothing, and that takes no memory.
    fn note(&mut self, notes: Notes) {
        self.notes = (notes != Notes::default()).then(|| Box::new(notes));
    }

    /// Throws away the rest of a malformed request.
    fn skip(&mut self, rest: &mut &[u8], codec: Checked<'_, impl Codec>) -> Result<(), Broken> {
        let end = codec.skip(rest)?;
        self.is_skipping = end.is_none();
        *rest = &rest[end.unwrap_or(rest.len())..];
        Ok(())
    }

    /// What was not framed of `taken` is kept: its last `left` bytes. `is_blocked` says that they
    /// wait for a place.
    pub(super) fn keep(
        &mut self,
        taken: Taken<'_>,
        left: usize,
        is_blocked: bool,
        codec: &Guarded<impl Codec>,
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
    fn append(&mut self, bytes: &[u8], codec: &Guarded<impl Codec>) {
        let needed = self.kept.len() + bytes.len();
        if needed > self.kept.capacity() {
            let doubled = 2 * self.kept.capacity();
            let capacity = doubled.min(codec.max_incomplete_bytes()).max(needed);
            self.kept.reserve_exact(capacity - self.kept.len());
        }
        self.kept.extend_from_slice(bytes);
    }

    /// `is_header` says that what is kept is a header.
    pub(super) fn check_invariants(&self, codec: &Guarded<impl Codec>, is_header: bool) {
        let most = match is_header {
            true => MAX_HEADER_BYTES - 1,
            false => codec.max_incomplete_bytes(),
        };
        assert!(self.is_blocked || self.kept_bytes() <= most);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Lines;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn codec(max_line: usize) -> Guarded<Lines> {
        Guarded::new(Arc::new(Lines::new(max_line)))
    }

    /// Cuts what is kept and `chunk`, at most `places` requests. Returns the payloads, and whether
    /// a line was too long or cut short in the place of one.
    fn cut(
        input: &mut Input,
        chunk: &[u8],
        places: usize,
        lines: &Guarded<Lines>,
    ) -> Vec<Result<Vec<u8>, Refusal>> {
        let taken = input.take(chunk, lines);
        let mut rest = taken.bytes();
        let (mut got, mut is_blocked) = (Vec::new(), true);
        while got.len() < places {
            match input
                .cut(&mut rest, usize::MAX, lines.checked())
                .expect("no mistake")
            {
                Cut::Request { frame, payload, .. } => {
                    assert!(frame.starts_with(payload) && frame.ends_with(b"\n"));
                    got.push(Ok(payload.to_vec()));
                }
                Cut::Refused { why, .. } => got.push(Err(why)),
                Cut::Blank => unreachable!("an empty line is a request"),
                Cut::Nothing => {
                    is_blocked = false;
                    break;
                }
                Cut::NoRoom => unreachable!("there is room for everything"),
            }
        }
        let left = rest.len();
        input.keep(taken, left, is_blocked, lines);
        input.check_invariants(lines, false);
        got
    }

    #[test]
    fn a_request_without_room_stays_where_it_is() {
        let (mut input, lines) = (Input::default(), codec(100));
        assert_eq!(cut(&mut input, b"12", 9, &lines), []);
        let taken = input.take(b"345\nrest", &lines);
        let mut rest = taken.bytes();
        assert_eq!(input.cut(&mut rest, 4, lines.checked()), Ok(Cut::NoRoom));
        assert_eq!(rest, b"12345\nrest");
        let expected = Cut::Request {
            frame: b"12345\n",
            payload: b"12345",
            is_last: false,
            runs_alone: false,
        };
        assert_eq!(input.cut(&mut rest, 5, lines.checked()), Ok(expected));
        assert_eq!(rest, b"rest");
    }

    #[test]
    fn the_beginning_of_a_request_takes_no_more_memory_than_the_longest_one() {
        let (mut input, lines) = (Input::default(), codec(1000));
        for _ in 0..1000 {
            assert_eq!(cut(&mut input, b"x", 9, &lines), []);
        }
        assert!(input.kept.capacity() <= 1001, "{}", input.kept.capacity());
    }

    #[test]
    fn the_beginning_of_a_request_does_not_keep_the_memory_of_those_before_it() {
        let (mut input, lines) = (Input::default(), codec(100));
        assert_eq!(cut(&mut input, b"beg", 9, &lines), []);
        let chunk = [&b"in\n"[..], &b"another\n".repeat(1000), b"next"].concat();
        assert_eq!(cut(&mut input, &chunk, usize::MAX, &lines).len(), 1001);
        assert!(input.kept.capacity() <= 101, "{}", input.kept.capacity());
        assert_eq!(cut(&mut input, b"\n", 9, &lines), [Ok(b"next".to_vec())]);
        assert_eq!(input.kept.capacity(), 0);
    }

    #[test]
    fn only_an_end_inside_a_request_is_answered() {
        for (bytes, expected) in [
            (&b"whole\n"[..], vec![Ok(b"whole".to_vec())]),
            (b"\r", vec![Err(Refusal::Incomplete)]),
            (b"too long and cut short", vec![Err(Refusal::TooLong)]),
        ] {
            let (mut input, lines) = (Input::default(), codec(5));
            let mut got = cut(&mut input, bytes, 9, &lines);
            input.finish();
            got.extend(cut(&mut input, b"", 9, &lines));
            assert_eq!(got, expected, "{}", bytes.escape_ascii());
            assert!(!input.has_more());
        }
    }

    proptest! {
        /// However the bytes come, and however many places there are at a time.
        #[test]
        fn any_split_of_the_bytes_gives_the_same_requests(
            bytes in prop::collection::vec(prop::sample::select(b"\n\n\r\rab ".to_vec()), 0..80),
            cuts in prop::collection::vec(0..80usize, 0..12),
            places in 1..4usize,
            max_line in 1..8usize,
        ) {
            let lines = codec(max_line);
            let mut whole = Input::default();
            let mut expected = cut(&mut whole, &bytes, usize::MAX, &lines);
            whole.finish();
            expected.extend(cut(&mut whole, b"", usize::MAX, &lines));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let (mut split, mut got) = (Input::default(), Vec::new());
            for piece in cuts.windows(2) {
                got.extend(cut(&mut split, &bytes[piece[0]..piece[1]], places, &lines));
                while split.is_blocked() {
                    got.extend(cut(&mut split, b"", places, &lines));
                }
            }
            split.finish();
            while split.has_more() {
                got.extend(cut(&mut split, b"", places, &lines));
            }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(split.kept_bytes(), 0);
        }
    }
}
