//! A frame: one request among all others of a run, and the tag that tells it from them.
//!
//! Knows two numbers; not what is asked for.
//!
//! Rule: a text that begins with a tag is traced to one frame.

use crate::wire::append_decimal;

/// One request of one client. Both are counted from 0; the hogs are numbered after the ordinary
/// clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Which client sends it.
    pub(crate) client: u32,
    /// Its number among the requests of that client.
    pub(crate) sequence: u32,
}

/// Appends what tells a frame from all others.
pub(crate) fn append_tag(frame: Frame, line: &mut Vec<u8>) {
    line.push(b'c');
    append_decimal(line, u64::from(frame.client));
    line.extend_from_slice(b".f");
    append_decimal(line, u64::from(frame.sequence));
    line.push(b'.');
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
