//! The line protocol: a request is what stands before an LF, a response is one line.
//!
//! Knows no operations: what a line asks for is the handler's.
//!
//! Rule: one CR right before the LF belongs to the ending. The limit counts what stands before
//! that, and no byte of a line that is too long is kept.

use super::{Codec, Frame, NotOneResponse, Notes, Outcome, Refusal, Then, append_words};
use crate::proxy;
use memchr::memchr;

const LF: u8 = b'\n';

/// Requests and responses are lines. A response that begins with `OK` counts as a success.
///
/// If the first line of a connection is one of HTTP, such as `GET / HTTP/1.1`, or a header of the
/// PROXY protocol, the client is told so and the connection closes. If these were answered as
/// requests, every later answer would be taken for that to another request. A binary header is
/// known by its first 12 bytes, if they come together.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    max_line: usize,
}

impl Lines {
    /// Lines of at most `max_line` bytes, the ending (LF or CR LF) not counted.
    pub fn new(max_line: usize) -> Lines {
        Lines { max_line }
    }
}

impl Codec for Lines {
    /// A line of the limit, and the CR of its ending.
    fn max_incomplete_bytes(&self) -> usize {
        self.max_line.saturating_add(1)
    }

    #[inline(always)]
    fn frame(&self, bytes: &[u8], seen: usize, _notes: &mut Notes) -> Frame {
        let Some(at) = find_lf(&bytes[seen..]) else {
            if without_cr(bytes) <= self.max_line {
                return Frame::Incomplete;
            }
            return Frame::Malformed {
                why: Refusal::TooLong,
                bytes: bytes.len(),
                then: Then::Rest,
            };
        };
        let lf = seen + at;
        let line = without_cr(&bytes[..lf]);
        if line > self.max_line {
            return Frame::Malformed {
                why: Refusal::TooLong,
                bytes: lf + 1,
                then: Then::Next,
            };
        }
        Frame::Request {
            payload: 0..line,
            bytes: lf + 1,
            is_last: false,
            runs_alone: false,
        }
    }

    fn foreign(&self, bytes: &[u8], seen: usize) -> Option<Refusal> {
        if proxy::is_binary_header(bytes) {
            return Some(Refusal::ProxyHeader);
        }
        let lf = seen + find_lf(&bytes[seen..])?;
        let line = &bytes[..without_cr(&bytes[..lf])];
        if line.len() > self.max_line {
            None
        } else if proxy::is_text_header(line) {
            Some(Refusal::ProxyHeader)
        } else {
            is_http(line).then_some(Refusal::Http)
        }
    }

    fn skip(&self, bytes: &[u8]) -> Option<usize> {
        find_lf(bytes).map(|lf| lf + 1)
    }

    #[inline(always)]
    fn finish(
        &self,
        _request: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        _closes: bool,
    ) -> Result<Outcome, NotOneResponse> {
        let line = &out[start..];
        if find_lf(line).is_some() {
            return Err(NotOneResponse("the handler wrote more than one line"));
        }
        let outcome = match line.starts_with(b"OK") {
            true => Outcome::Ok,
            false => Outcome::Error,
        };
        out.push(LF);
        Ok(outcome)
    }

    fn refuse(&self, why: Refusal, _request: &[u8], out: &mut Vec<u8>) {
        append_words(why, self.max_line, out);
        out.push(LF);
    }
}

/// Whether a line is the first one of a request of HTTP: a method, a target and a version.
fn is_http(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 10] = [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
        // What HTTP/2 begins with.
        b"PRI",
    ];
    let mut words = line.split(|byte| *byte == b' ');
    let [method, _, version, end] = [(); 4].map(|()| words.next());
    let is_version = |version: &[u8]| {
        let digits = version.strip_prefix(b"HTTP/");
        matches!(digits, Some([b'0'..=b'9', b'.', b'0'..=b'9']))
    };
    method.is_some_and(|method| METHODS.contains(&method))
        && version.is_some_and(is_version)
        && end.is_none()
}

/// Where the first LF is. Most lines are short, and end before `memchr` has begun: looking at
/// eight bytes at a time buys a twentieth of the throughput of deep pipelines.
///
/// A byte of `word` is zero where there is an LF, and the lowest such byte has its highest bit set
/// in `found` (Mycroft's test: Anderson, "Bit Twiddling Hacks", "Determine if a word has a zero
/// byte").
fn find_lf(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    const SHORT: usize = 24;
    let mut at = 0;
    while at < SHORT
        && let Some((word, _)) = bytes[at..].split_first_chunk::<8>()
    {
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(LF));
        let found = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = &bytes[at..];
    let lf = match rest.len() < 8 {
        true => rest.iter().position(|byte| *byte == LF),
        false => memchr(LF, rest),
    };
    lf.map(|lf| at + lf)
}

/// Length of a line whose ending may begin with a CR.
fn without_cr(line: &[u8]) -> usize {
    line.len() - usize::from(line.last() == Some(&b'\r'))
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

    /// What a connection keeps between two reads.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Kept {
        bytes: Vec<u8>,
        seen: usize,
        is_skipping: bool,
    }

    /// Cuts what has been kept and `chunk`.
    fn frames(lines: Lines, kept: &mut Kept, chunk: &[u8]) -> Vec<Got> {
        kept.bytes.extend_from_slice(chunk);
        let mut got = Vec::new();
        loop {
            let bytes = if kept.is_skipping {
                let end = lines.skip(&kept.bytes);
                kept.is_skipping = end.is_none();
                end.unwrap_or(kept.bytes.len())
            } else {
                match lines.frame(&kept.bytes, kept.seen, &mut Notes::default()) {
                    Frame::Request { payload, bytes, .. } => {
                        got.push(Got::Line(kept.bytes[payload].to_vec()));
                        bytes
                    }
                    Frame::Malformed { why, bytes, then } => {
                        assert_eq!(why, Refusal::TooLong);
                        kept.is_skipping = then == Then::Rest;
                        got.push(Got::TooLong);
                        bytes
                    }
                    Frame::Blank { .. } => unreachable!("an empty line is a request"),
                    Frame::Incomplete => {
                        kept.seen = kept.bytes.len();
                        assert!(kept.seen <= lines.max_incomplete_bytes());
                        return got;
                    }
                }
            };
            kept.bytes.drain(..bytes);
            kept.seen = 0;
            if kept.is_skipping {
                return got;
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
        let mut kept = Kept::default();
        let got = frames(Lines::new(100), &mut kept, b"a\nb\r\nc\r\r\n\r\n\nd\re\n");
        assert_eq!(got, lines(&["a", "b", "c\r", "", "", "d\re"]));
        assert_eq!(kept.bytes, b"");
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
            let whole = frames(Lines::new(5), &mut Kept::default(), input);
            assert_eq!(whole, std::slice::from_ref(&expected), "{name} whole");
            let mut kept = Kept::default();
            let bytewise: Vec<Got> = input
                .iter()
                .flat_map(|byte| frames(Lines::new(5), &mut kept, &[*byte]))
                .collect();
            assert_eq!(bytewise, [expected], "{name} byte by byte");
        }
    }

    #[test]
    fn where_no_line_is_too_long_each_is_as_long_as_it_is() {
        let unlimited = Lines::new(usize::MAX);
        assert_eq!(unlimited.max_incomplete_bytes(), usize::MAX);
        assert_eq!(frames(unlimited, &mut Kept::default(), &[b'x'; 99]), []);
    }

    #[test]
    fn too_long_is_said_before_the_line_ends_and_nothing_of_it_is_kept() {
        let (five, mut kept) = (Lines::new(5), Kept::default());
        assert_eq!(frames(five, &mut kept, b"12345"), []);
        assert_eq!(frames(five, &mut kept, b"\r"), [], "the LF may still come");
        assert_eq!(frames(five, &mut kept, b"x"), [Got::TooLong]);
        assert_eq!(frames(five, &mut kept, &[b'y'; 1000]), []);
        assert_eq!(kept.bytes, b"");
        assert_eq!(frames(five, &mut kept, b"z\nok\n"), lines(&["ok"]));
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames(
            bytes in prop::collection::vec(prop::sample::select(b"\n\n\r\rab ".to_vec()), 0..80),
            cuts in prop::collection::vec(0..80usize, 0..12),
            max_line in 1..8usize,
        ) {
            let codec = Lines::new(max_line);
            let mut whole = Kept::default();
            let expected = frames(codec, &mut whole, &bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut split = Kept::default();
            let got: Vec<Got> = cuts
                .windows(2)
                .flat_map(|cut| frames(codec, &mut split, &bytes[cut[0]..cut[1]]))
                .collect();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(split, whole);
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
            prop_assert_eq!(frames(Lines::new(max_line), &mut Kept::default(), &bytes), expected);
        }
    }

    #[test]
    fn the_first_lf_is_found_at_any_length() {
        for length in 0..100 {
            let mut bytes = vec![b'x'; length];
            assert_eq!(find_lf(&bytes), None);
            for lf in (0..length).rev() {
                bytes[lf] = LF;
                assert_eq!(find_lf(&bytes), Some(lf));
            }
        }
    }

    #[test]
    fn only_the_first_line_of_another_protocol_is_foreign() {
        let header = Some(Refusal::ProxyHeader);
        for (bytes, expected) in [
            (&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], header),
            (b"PROXY TCP6 nothing of it need be right\n", header),
            (b"PROXY UNKNOWN\r\nECHO x\n", header),
            (b"\r\n\r\n\0\r\nQUIT\n", header),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", header),
            (b"GET / HTTP/1.1\r\nHost: x\r\n", Some(Refusal::Http)),
            (b"POST /x?y HTTP/1.0\n", Some(Refusal::Http)),
            (b"PRI * HTTP/2.0\r\n\r\nSM", Some(Refusal::Http)),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2", None),
            (b"\r\n\r\n\0\r\nQUIT", None),
            (b"GET / HTTP/1.1", None),
            (b"ECHO GET / HTTP/1.1\n", None),
            (b"ECHO / HTTP/1.1\n", None),
            (b"GET /\n", None),
            (b"GET / more HTTP/1.1\n", None),
            (b"GET / HTTP/1.1 more\n", None),
            (b"GET / HTTP/1.1\x8d\n", None),
            (b"GET / HTTP/11\n", None),
            (b"GET /\xff HTTP/1.1\n", Some(Refusal::Http)),
            (b"PROXY\n", None),
            (b"proxy TCP4 x\n", None),
            (b"\r\nGET / HTTP/1.1\r\n", None),
        ] {
            for seen in [0, bytes.len().min(3)] {
                let name = bytes.escape_ascii();
                assert_eq!(Lines::new(100).foreign(bytes, seen), expected, "{name}");
            }
        }
        let too_long = b"GET /which_is_too_long HTTP/1.1\n";
        assert_eq!(Lines::new(20).foreign(too_long, 0), None);
    }

    #[test]
    fn a_response_is_one_line_and_ok_is_a_success() {
        for (answer, expected) in [
            ("OK yes", Ok(Outcome::Ok)),
            ("ERR no", Ok(Outcome::Error)),
            ("", Ok(Outcome::Error)),
            (
                "OK\nOK",
                Err(NotOneResponse("the handler wrote more than one line")),
            ),
        ] {
            let mut out = format!("before\n{answer}").into_bytes();
            let got = Lines::new(9).finish(b"", &mut out, "before\n".len(), false);
            assert_eq!(got, expected, "{answer:?}");
            assert!(got.is_err() || out == format!("before\n{answer}\n").into_bytes());
        }
    }

    #[test]
    fn every_refusal_has_the_words_of_the_protocol() {
        for (why, text) in [
            (Refusal::Busy, "ERR server busy\n"),
            (Refusal::TooLong, "ERR line too long (limit 65536 bytes)\n"),
            (Refusal::Incomplete, "ERR incomplete line\n"),
            (Refusal::Internal, "ERR internal error\n"),
            (Refusal::TooManyConnections, "ERR too many connections\n"),
            (Refusal::IdleTimeout, "ERR idle timeout\n"),
            (Refusal::NoProxyHeader, "ERR no valid PROXY header\n"),
            (Refusal::ProxyHeader, "ERR unexpected PROXY header\n"),
            (Refusal::Http, "ERR this is not an HTTP server\n"),
            (Refusal::RequestTimeout, "ERR request timeout\n"),
        ] {
            let mut out = Vec::new();
            Lines::new(65_536).refuse(why, b"", &mut out);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}
