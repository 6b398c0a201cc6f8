//! A frame: one request among all others of a run, and the tag that tells it from them.
//!
//! Knows two numbers; not what is asked for.
//!
//! Rule: a text that begins with a tag is traced to one frame.

use crate::wire::put_decimal;

/// One request of one client. Both are counted from 0; the hogs are numbered after the ordinary
/// clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Which client sends it.
    pub(crate) client: u32,
    /// Its number among the requests of that client.
    pub(crate) sequence: u32,
}

/// A tag has so many bytes at most: `c`, `.f` and `.` with two numbers of ten digits.
const MOST_TAG_BYTES: usize = 24;

/// Appends what tells a frame from all others: `c12.f345.`
///
/// It is written where it stays: a copy of single bytes that were just written waits for them.
#[inline(always)]
pub(crate) fn append_tag(frame: Frame, line: &mut Vec<u8>) {
    let start = line.len();
    line.extend_from_slice(&[b'.'; MOST_TAG_BYTES]);
    let tag = &mut line[start..];
    tag[0] = b'c';
    let dot = 1 + put_decimal(&mut tag[1..], u64::from(frame.client));
    tag[dot + 1] = b'f';
    let sequence = dot + 2;
    let dot = sequence + put_decimal(&mut tag[sequence..], u64::from(frame.sequence));
    line.truncate(start + dot + 1);
}

/// The frame that a text begins with the tag of.
pub(crate) fn tagged_frame(text: &[u8]) -> Option<Frame> {
    let (client, rest) = split_number(text.strip_prefix(b"c")?)?;
    let (sequence, rest) = split_number(rest.strip_prefix(b".f")?)?;
    rest.starts_with(b".").then_some(Frame { client, sequence })
}

fn split_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_the_frame_that_it_was_written_for() {
        let numbers = [0, 9, 10, 345, 999_999, u32::MAX];
        for (client, sequence) in numbers
            .iter()
            .flat_map(|&one| numbers.map(|two| (one, two)))
        {
            let frame = Frame { client, sequence };
            let mut line = b"x".to_vec();
            append_tag(frame, &mut line);
            let text = format!("xc{client}.f{sequence}.");
            assert_eq!(line, text.as_bytes());
            assert_eq!(tagged_frame(&line[1..]), Some(frame));
        }
    }

    #[test]
    fn only_whole_tags_are_read() {
        assert_eq!(
            tagged_frame(b"c12.f345.x"),
            Some(Frame {
                client: 12,
                sequence: 345
            })
        );
        for text in [
            &b"c12.f345"[..],
            b"c.f3.",
            b"c1.f.",
            b"x1.f2.",
            b"c99999999999.f1.",
            b"",
        ] {
            assert_eq!(tagged_frame(text), None, "{}", text.escape_ascii());
        }
    }
}
