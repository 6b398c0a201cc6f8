//! Cuts the bytes of one connection into request lines.
//!
//! Knows no requests, no order and no time; how much may be in flight, it is told.
//!
//! Rule: how the bytes were split on their way never changes the lines, and no byte of a line that
//! is too long is kept.

use crate::task::find_lf;
use std::borrow::Cow;

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A whole line that stood at the front of the chunk, just as a worker gets it; its LF came next.
    Plain(&'a [u8]),
    /// A whole line without its ending, where a CR belongs to that or the line came in pieces.
    Line(Cow<'a, [u8]>),
    /// A line passed the limit: said once a line, as soon as it is sure.
    TooLong,
    /// Here ended a line that was too long.
    Dropped,
    /// No complete line is left; the chunk is used up.
    Incomplete,
    /// There is a line, but it holds more than `room` bytes; nothing has been consumed.
    NoRoom,
}

/// Frames one byte stream.
#[derive(Debug)]
pub(super) struct Framer {
    /// Longest line, in bytes, the ending not counted; [`MAX_LINE`](crate::config::MAX_LINE) fits.
    max_line: u32,
    /// The beginning of a line whose LF has not come: no LF in it, at most `max_line` bytes and a CR.
    partial: Vec<u8>,
    /// Inside a line that was too long: everything up to its LF is dropped.
    discarding: bool,
}

impl Framer {
    pub(super) fn new(max_line: usize) -> Framer {
        Framer {
            max_line: max_line as u32,
            partial: Vec::new(),
            discarding: false,
        }
    }

    /// Whether the stream would end inside a line if it ended here. A line that was too long has
    /// had its answer and does not count.
    pub(super) fn is_inside_line(&self) -> bool {
        !self.partial.is_empty()
    }

    fn max_line(&self) -> usize {
        self.max_line as usize
    }

    /// Bytes kept for an incomplete line.
    pub(super) fn kept_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Takes the next frame from the front of `chunk`; a line of more than `room` bytes stays there.
    pub(super) fn next<'a>(&mut self, chunk: &mut &'a [u8], room: usize) -> Frame<'a> {
        let bytes = *chunk;
        let Some(lf) = find_lf(bytes) else {
            *chunk = &[];
            return self.keep(bytes);
        };
        let (line, rest) = (&bytes[..lf], &bytes[lf + 1..]);
        if self.discarding {
            self.discarding = false;
            *chunk = rest;
            return Frame::Dropped;
        }
        let length = self.length_with(line);
        if length > self.max_line() {
            self.partial = Vec::new();
            *chunk = rest;
            return Frame::TooLong;
        }
        if length > room {
            return Frame::NoRoom;
        }
        *chunk = rest;
        if self.partial.is_empty() {
            return if length == lf {
                Frame::Plain(line)
            } else {
                Frame::Line(Cow::Borrowed(&line[..length]))
            };
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(line);
        whole.truncate(length);
        Frame::Line(Cow::Owned(whole))
    }

    /// The line at the front of `bytes`, if [`Framer::next`] would find it plain there. Only for what follows
    /// a line.
    pub(super) fn plain_line<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        debug_assert!(self.partial.is_empty() && !self.discarding);
        let line = &bytes[..find_lf(bytes)?];
        let is_plain = line.len() <= self.max_line() && line.last() != Some(&b'\r');
        is_plain.then_some(line)
    }

    /// Length of the line that `end` completes, without the one CR that belongs to the ending.
    fn length_with(&self, end: &[u8]) -> usize {
        let length = self.partial.len() + end.len();
        let last = end.last().or(self.partial.last());
        length - usize::from(last == Some(&b'\r'))
    }

    /// Keeps bytes without an LF, as long as they can still become a line within the limit: the limit
    /// itself, and one CR more.
    fn keep(&mut self, bytes: &[u8]) -> Frame<'static> {
        if self.discarding {
            return Frame::Incomplete;
        }
        if self.length_with(bytes) > self.max_line() {
            self.partial = Vec::new();
            self.discarding = true;
            return Frame::TooLong;
        }
        let needed = self.partial.len() + bytes.len();
        if needed > self.partial.capacity() {
            // Double as a Vec does, but never past what a line can need: the bound on memory counts it.
            let capacity = (2 * self.partial.capacity())
                .min(self.max_line() + 1)
                .max(needed);
            self.partial.reserve_exact(capacity - self.partial.len());
        }
        self.partial.extend_from_slice(bytes);
        Frame::Incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Eq, Clone)]
    enum Got {
        Line(Vec<u8>),
        TooLong,
    }

    fn frames(framer: &mut Framer, mut chunk: &[u8]) -> Vec<Got> {
        let mut got = Vec::new();
        loop {
            match framer.next(&mut chunk, usize::MAX) {
                Frame::Plain(line) => got.push(Got::Line(line.to_vec())),
                Frame::Line(line) => got.push(Got::Line(line.into_owned())),
                Frame::TooLong => got.push(Got::TooLong),
                Frame::Dropped => {}
                Frame::Incomplete => return got,
                Frame::NoRoom => unreachable!("there is room for everything"),
            }
        }
    }

    fn lines(text: &[&str]) -> Vec<Got> {
        text.iter()
            .map(|line| Got::Line(line.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn lf_ends_a_line_and_one_cr_before_it_belongs_to_the_ending() {
        let mut framer = Framer::new(100);
        let got = frames(&mut framer, b"a\nb\r\nc\r\r\n\r\n\nd\re\n");
        assert_eq!(got, lines(&["a", "b", "c\r", "", "", "d\re"]));
        assert!(!framer.is_inside_line());
    }

    #[test]
    fn a_line_of_the_limit_is_legal_with_either_ending_and_one_byte_more_is_not() {
        for (input, expected) in [
            (&b"12345\n"[..], Got::Line(b"12345".to_vec())),
            (b"12345\r\n", Got::Line(b"12345".to_vec())),
            (b"1234\r\r\n", Got::Line(b"1234\r".to_vec())),
            (b"123456\n", Got::TooLong),
            (b"12345\rx\n", Got::TooLong),
            (b"12345\r\r\n", Got::TooLong),
        ] {
            let name = input.escape_ascii().to_string();
            assert_eq!(
                frames(&mut Framer::new(5), input),
                std::slice::from_ref(&expected),
                "{name} whole"
            );
            let mut framer = Framer::new(5);
            let bytewise: Vec<Got> = input
                .iter()
                .flat_map(|byte| frames(&mut framer, &[*byte]))
                .collect();
            assert_eq!(bytewise, [expected], "{name} byte by byte");
        }
    }

    #[test]
    fn too_long_is_said_before_the_line_ends_and_nothing_of_it_is_kept() {
        let mut framer = Framer::new(5);
        assert_eq!(frames(&mut framer, b"12345"), []);
        assert_eq!(frames(&mut framer, b"\r"), [], "the LF may still come");
        assert_eq!(frames(&mut framer, b"x"), [Got::TooLong]);
        assert_eq!(frames(&mut framer, &[b'y'; 1000]), []);
        assert_eq!((framer.kept_bytes(), framer.is_inside_line()), (0, false));
        assert_eq!(frames(&mut framer, b"z\nok\n"), lines(&["ok"]));
    }

    #[test]
    fn a_line_without_room_stays_where_it_is() {
        let mut framer = Framer::new(100);
        assert_eq!(frames(&mut framer, b"12"), []);
        let mut chunk = &b"345\nrest"[..];
        assert_eq!(framer.next(&mut chunk, 4), Frame::NoRoom);
        assert_eq!(chunk, b"345\nrest");
        assert_eq!(
            framer.next(&mut chunk, 5),
            Frame::Line(Cow::Owned(b"12345".to_vec()))
        );
        assert_eq!(chunk, b"rest");
    }

    #[test]
    fn a_partial_line_takes_no_more_memory_than_the_longest_line() {
        let mut framer = Framer::new(1000);
        for _ in 0..1000 {
            assert_eq!(frames(&mut framer, b"x"), []);
        }
        assert!(
            framer.partial.capacity() <= 1001,
            "{}",
            framer.partial.capacity()
        );
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames(
            bytes in prop::collection::vec(prop::sample::select(b"\n\n\r\rab ".to_vec()), 0..80),
            cuts in prop::collection::vec(0..80usize, 0..12),
            max_line in 1..8usize,
        ) {
            let mut whole = Framer::new(max_line);
            let expected = frames(&mut whole, &bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut split = Framer::new(max_line);
            let got: Vec<Got> = cuts
                .windows(2)
                .flat_map(|cut| frames(&mut split, &bytes[cut[0]..cut[1]]))
                .collect();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(split.is_inside_line(), whole.is_inside_line());
        }

        /// The definition of a line, written the plain way.
        #[test]
        fn frames_are_what_splitting_at_lf_gives(
            bytes in prop::collection::vec(prop::sample::select(b"\n\n\r\rab ".to_vec()), 0..80),
            max_line in 1..8usize,
        ) {
            let mut expected: Vec<Got> = bytes
                .split(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                .map(|line| if line.len() > max_line { Got::TooLong } else { Got::Line(line.to_vec()) })
                .collect();
            // What follows the last LF is no line, but may be too long for one already.
            if expected.last() != Some(&Got::TooLong) {
                expected.pop();
            }
            prop_assert_eq!(frames(&mut Framer::new(max_line), &bytes), expected);
        }
    }
}
