//! What can be wrong with a server, by kind, and the list of what was.
//!
//! Knows how to say it; never finds out by itself.
//!
//! Rule: every failure is counted, the first ones are kept in full, and memory stays bounded.

use std::fmt;
use std::time::Instant;

use crate::stderr::say;

/// So many failures are kept in full; all of them are counted.
const KEPT_FAILURES: usize = 10;
/// So many bytes of a line are shown.
const SHOWN_BYTES: usize = 64;
/// Where a longer line is cut, so many bytes before the first difference are shown.
const SHOWN_BEFORE_DIFFERENCE: usize = 24;

/// One way of being wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The right answer, after the answer to a later request.
    Swapped,
    /// The answer to another client's request.
    Foreign,
    /// An answer that had been given before.
    Repeated,
    /// Bytes that are nobody's answer, in the place of one.
    Altered,
    /// No answer.
    Missing,
    /// In flight when the connection was closed, where clients reconnect.
    Lost,
    /// An answer, or half an answer, that nothing asked for.
    Unexpected,
    /// Refused as busy more often than there are retries.
    Busy,
    /// No connection, or one that the server would not have.
    Refused,
    /// A connection that did not end cleanly after its last answer.
    Unclosed,
    /// Never sent: in an open loop no client had room for it, or its connection had ended.
    Unsent,
    /// The spawned server itself.
    Server,
}

impl Kind {
    /// Every kind and its name, in the order of the report.
    pub(crate) const NAMED: [(Self, &'static str); 12] = [
        (Self::Swapped, "swapped"),
        (Self::Foreign, "foreign"),
        (Self::Repeated, "repeated"),
        (Self::Altered, "altered"),
        (Self::Missing, "missing"),
        (Self::Lost, "lost"),
        (Self::Unexpected, "unexpected"),
        (Self::Busy, "busy"),
        (Self::Refused, "refused"),
        (Self::Unclosed, "unclosed"),
        (Self::Unsent, "unsent"),
        (Self::Server, "server"),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = Self::NAMED[*self as usize];
        f.write_str(name)
    }
}

/// Who sends: an ordinary client or a hog, each counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// An ordinary client.
    Client(u32),
    /// A hog.
    Hog(u32),
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => write!(f, "client {number}"),
            Self::Hog(number) => write!(f, "hog {number}"),
        }
    }
}

/// All failures of a run.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    counts: [u64; Kind::NAMED.len()],
    /// How often something was added, whatever it counted for.
    entries: usize,
    /// The first ones, each with when it was certain.
    first: Vec<(Instant, String)>,
    /// Said on stderr as they come.
    announced: bool,
}

impl Failures {
    /// An empty list; with `announced`, every failure is also written to stderr at once.
    pub(crate) fn new(announced: bool) -> Self {
        Self {
            announced,
            ..Self::default()
        }
    }

    /// Adds what stands for `count` failures of `kind`: `place` says where, `text` what.
    pub(crate) fn add(&mut self, kind: Kind, count: u64, place: impl fmt::Display, text: &str) {
        self.counts[kind as usize] += count;
        self.entries += 1;
        if self.first.len() < KEPT_FAILURES || self.announced {
            let line = format!("{place}: {kind}: {text}");
            if self.announced {
                say(&line);
            }
            if self.first.len() < KEPT_FAILURES {
                self.first.push((Instant::now(), line));
            }
        }
    }

    /// Adds those of `other`.
    pub(crate) fn merge(&mut self, other: Self) {
        for (count, others) in self.counts.iter_mut().zip(other.counts) {
            *count += others;
        }
        self.entries += other.entries;
        self.first.extend(other.first);
        self.first.sort_by_key(|&(time, _)| time);
        self.first.truncate(KEPT_FAILURES);
    }

    /// How many there are.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The kinds that occurred, with their counts.
    pub(crate) fn by_kind(&self) -> impl Iterator<Item = (Kind, u64)> {
        let kinds = Kind::NAMED.into_iter().map(|(kind, _)| kind);
        kinds.zip(self.counts).filter(|&(_, count)| count > 0)
    }

    /// Whether there were more than [`Failures::first`] shows.
    pub(crate) fn is_cut(&self) -> bool {
        self.entries > self.first.len()
    }

    /// The first ones, in the order in which they were certain.
    pub(crate) fn first(&self) -> Vec<String> {
        let texts = self.first.iter().map(|(_, text)| text.clone());
        texts.collect()
    }
}

/// `line` in quotes, escaped, and shortened where it is long.
pub(crate) fn quoted(line: &[u8]) -> String {
    quoted_from(line, 0)
}

/// What was expected, what came, and where they part; bytes are counted from 1.
pub(crate) fn difference(expected: &[u8], line: &[u8]) -> String {
    let same = expected
        .iter()
        .zip(line)
        .take_while(|(a, b)| a == b)
        .count();
    let shown_from = if expected.len().max(line.len()) > SHOWN_BYTES {
        same.saturating_sub(SHOWN_BEFORE_DIFFERENCE)
    } else {
        0
    };
    format!(
        "expected {} got {} (first difference at byte {}){}",
        quoted_from(expected, shown_from),
        quoted_from(line, shown_from),
        same + 1,
        speaker(line)
    )
}

/// Who answers with `line`, if it is known by its first words: some HTTP servers answer what they
/// do not know with a page and nothing before it.
pub(crate) fn speaker(line: &[u8]) -> &'static str {
    let begins = |words: &str| {
        let start = line.get(..words.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(words.as_bytes()))
    };
    if ["HTTP/", "<html", "<!doctype html"].into_iter().any(begins) {
        "; an HTTP server answers here"
    } else {
        ""
    }
}

fn quoted_from(line: &[u8], from: usize) -> String {
    let from = from.min(line.len());
    let to = line.len().min(from + SHOWN_BYTES);
    let before = if from > 0 { "..." } else { "" };
    let shown = line[from..to].escape_ascii();
    if to - from == line.len() {
        format!("\"{shown}\"")
    } else {
        let after = if to < line.len() { "..." } else { "" };
        format!("\"{before}{shown}{after}\" ({} bytes)", line.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_kept() {
        let mut failures = Failures::new(false);
        for number in 0..25 {
            failures.add(
                Kind::Missing,
                2,
                format_args!("client {number}"),
                "no answer",
            );
        }
        failures.add(Kind::Swapped, 1, format_args!("client 7"), "late");
        assert_eq!(failures.total(), 51);
        let by_kind: Vec<_> = failures.by_kind().collect();
        assert_eq!(by_kind, [(Kind::Swapped, 1), (Kind::Missing, 50)]);
        assert_eq!(failures.first().len(), KEPT_FAILURES);
        assert_eq!(failures.first()[3], "client 3: missing: no answer");
    }

    #[test]
    fn of_two_lists_the_first_ones_are_kept_in_the_order_of_time() {
        let (mut one, mut other) = (Failures::new(false), Failures::new(false));
        for number in 0..8 {
            one.add(Kind::Missing, 1, format_args!("one {number}"), "x");
            other.add(Kind::Altered, 1, format_args!("other {number}"), "x");
        }
        one.merge(other);
        assert_eq!(one.total(), 16);
        let by_kind: Vec<_> = one.by_kind().collect();
        assert_eq!(by_kind, [(Kind::Altered, 8), (Kind::Missing, 8)]);
        assert_eq!(one.first().len(), KEPT_FAILURES);
        assert!(one.is_cut());
        let last = [&one.first()[8], &one.first()[9]];
        assert_eq!(last, ["one 4: missing: x", "other 4: altered: x"]);
    }

    #[test]
    fn every_kind_has_its_own_place() {
        for (place, (kind, _)) in Kind::NAMED.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }

    #[test]
    fn a_difference_says_where_it_is() {
        assert_eq!(
            difference(b"OK abc", b"OK aXc"),
            r#"expected "OK abc" got "OK aXc" (first difference at byte 5)"#
        );
        assert_eq!(
            difference(b"OK \xff", b"OK"),
            r#"expected "OK \xff" got "OK" (first difference at byte 3)"#
        );
    }

    #[test]
    fn an_http_server_is_known_by_its_first_words() {
        for line in [
            "HTTP/1.1 400 Bad Request",
            "<!DOCTYPE HTML>",
            "<HTML><head>",
        ] {
            let text = difference(b"OK abc", line.as_bytes());
            assert!(text.ends_with("; an HTTP server answers here"), "{text}");
        }
        for line in ["", "OK HTTP/1.1", "<h", "HTTP"] {
            assert_eq!(speaker(line.as_bytes()), "");
        }
    }

    #[test]
    fn long_lines_are_shown_around_the_difference() {
        let expected = [b'a'; 1000];
        let mut line = expected;
        line[500] = b'b';
        let text = difference(&expected, &line);
        assert!(text.contains("aaab"), "{text}");
        assert!(text.contains("(1000 bytes)"), "{text}");
        assert!(text.len() < 300, "{text}");
    }
}
