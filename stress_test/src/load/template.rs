//! Requests and answers as a person spells them: `--send` and `--expect`, `--http` and its body.
//!
//! Knows escapes and placeholders; no protocol, no command line and no socket.
//!
//! Rule: what is wrong in a text is said when it is read; from then on every client and request
//! has its bytes.

use std::fmt;

use crate::load::frame::Frame;
use crate::wire::{AnswerEnd, append_decimal};

/// A number has so many digits at most, where a template says how many.
const MOST_DIGITS: usize = 1000;
/// As many digits as the largest number has.
const LONGEST_NUMBER: usize = 10;
/// So many characters of what is wrong are shown, and so many of a template in a report.
const SHOWN_WRONG: usize = 16;
const SHOWN_TEMPLATE: usize = 160;

const ALLOWED: &str = "allowed are {c} (the client), {n} (its request), {c:8} and {n:8} (the same \
     in 8 digits; 1 to 1000), {{ and }} (braces), \\n \\r \\t \\0 \\\\ and \\xHH (bytes in hex)";

/// What is sent, and what has to come back.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    send: Template,
    /// Of answers that are lines, without the LF.
    expect: Template,
    answer_end: AnswerEnd,
}

impl Exchange {
    /// The exchange that two templates describe. An error says what is wrong and what is allowed.
    pub(crate) fn parse(send: &str, expect: &str) -> Result<Self, String> {
        let send = Template::of_flag("send <TEMPLATE>", send)?;
        let mut expect = Template::of_flag("expect <TEMPLATE>", expect)?;
        let answer_end = if expect.cut_line_end() {
            AnswerEnd::LineEnd
        } else {
            AnswerEnd::AsDue
        };
        Ok(Self {
            send,
            expect,
            answer_end,
        })
    }

    /// Where its answers end.
    pub(crate) fn answer_end(&self) -> AnswerEnd {
        self.answer_end
    }

    /// What is sent.
    pub(crate) fn send(&self) -> &Template {
        &self.send
    }

    /// What has to come back, without the LF of answers that are lines.
    pub(crate) fn expect(&self) -> &Template {
        &self.expect
    }
}

/// Bytes with places for the numbers of a client and its request.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// As it was given.
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Number { of: Of, digits: Option<usize> },
}

/// Whose number it is; both are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Client,
    Request,
}

impl Template {
    /// The template that was given with `flag`, which an error names.
    pub(crate) fn of_flag(flag: &str, text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|what| format!("invalid value for '--{flag}': {what}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let after = &rest[first.len_utf8()..];
            rest = match first {
                '\\' => escape(after, &mut bytes)?,
                '{' | '}' if after.starts_with(first) => {
                    bytes.push(first as u8);
                    &after[1..]
                }
                '{' => {
                    let (number, after) = placeholder(after)?;
                    if !bytes.is_empty() {
                        pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
                    }
                    pieces.push(number);
                    after
                }
                '}' => return Err(wrong("there is a } without its {", "")),
                _ => {
                    bytes.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
                    after
                }
            };
        }
        if !bytes.is_empty() {
            pieces.push(Piece::Bytes(bytes));
        }
        if pieces.is_empty() {
            return Err("it is empty, and at least one byte is needed".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            pieces,
        })
    }

    /// Its bytes but the numbers.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = u8> {
        let texts = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.as_slice(),
            Piece::Number { .. } => b"",
        });
        texts.flatten().copied()
    }

    /// Takes the LF off its end if there is one, and no other one anywhere.
    fn cut_line_end(&mut self) -> bool {
        let line_ends = self.bytes().filter(|&byte| byte == b'\n').count();
        if let Some(Piece::Bytes(bytes)) = self.pieces.last_mut()
            && line_ends == 1
            && bytes.ends_with(b"\n")
        {
            bytes.pop();
            return true;
        }
        false
    }

    /// Appends its bytes for `frame`.
    pub(crate) fn append(&self, frame: Frame, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Number { of, digits } => {
                    let number = match of {
                        Of::Client => frame.client,
                        Of::Request => frame.sequence,
                    };
                    match digits {
                        Some(digits) => append_digits(out, number, *digits),
                        None => append_decimal(out, u64::from(number)),
                    }
                }
            }
        }
    }

    /// Whether its bytes are others for other clients or requests.
    pub(crate) fn varies(&self) -> bool {
        let mut pieces = self.pieces.iter();
        pieces.any(|piece| matches!(piece, Piece::Number { .. }))
    }

    /// It never has more bytes than this.
    pub(crate) fn longest_bytes(&self) -> usize {
        let lengths = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Number { digits, .. } => digits.unwrap_or(LONGEST_NUMBER),
        });
        lengths.sum()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.text, SHOWN_TEMPLATE))
    }
}

/// Appends the byte that the characters after a `\` stand for, and returns what follows them.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let Some(first) = text.chars().next() else {
        return Err(wrong("it ends with a single \\", ""));
    };
    let (byte, length) = match first {
        'n' => (b'\n', 1),
        'r' => (b'\r', 1),
        't' => (b'\t', 1),
        '0' => (b'\0', 1),
        '\\' => (b'\\', 1),
        'x' => match text.get(1..3).map(hex_byte) {
            Some(Some(byte)) => (byte, 3),
            _ => return Err(wrong("two hex digits have to follow \\x, not ", &text[1..])),
        },
        _ => return Err(wrong("there is no escape \\", &text[..first.len_utf8()])),
    };
    bytes.push(byte);
    Ok(&text[length..])
}

fn hex_byte(digits: &str) -> Option<u8> {
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

/// The placeholder that `text` goes on with after its `{`, and what follows it.
fn placeholder(text: &str) -> Result<(Piece, &str), String> {
    let Some((inside, after)) = text.split_once('}') else {
        return Err(wrong("there is no } after {", text));
    };
    let (name, digits) = match inside.split_once(':') {
        Some((name, digits)) => (name, Some(digits)),
        None => (inside, None),
    };
    let of = match name {
        "c" => Of::Client,
        "n" => Of::Request,
        _ => return Err(wrong("there is no placeholder {", &text[..=inside.len()])),
    };
    let digits = match digits.map(width) {
        Some(None) => {
            let place = &text[..=inside.len()];
            return Err(wrong("1 to 1000 digits are possible, not {", place));
        }
        Some(Some(digits)) => Some(digits),
        None => None,
    };
    Ok((Piece::Number { of, digits }, after))
}

fn width(text: &str) -> Option<usize> {
    let is_plain = text.bytes().all(|digit| digit.is_ascii_digit());
    let digits = text.parse().ok().filter(|_| is_plain)?;
    (1..=MOST_DIGITS).contains(&digits).then_some(digits)
}

fn wrong(what: &str, text: &str) -> String {
    format!("{what}{}; {ALLOWED}", shown(text, SHOWN_WRONG))
}

/// The first `most` characters of `text`, control characters escaped.
fn shown(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == most {
            shown += "...";
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Appends the last `digits` decimal digits of `number`, with zeros before them.
fn append_digits(out: &mut Vec<u8>, mut number: u32, digits: usize) {
    let start = out.len();
    out.resize(start + digits, b'0');
    for place in out[start..].iter_mut().rev() {
        if number == 0 {
            break;
        }
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expanded(text: &str, client: u32, sequence: u32) -> String {
        let template = Template::parse(text).expect("a good template");
        let mut out = Vec::new();
        template.append(Frame { client, sequence }, &mut out);
        assert!(out.len() <= template.longest_bytes());
        out.escape_ascii().to_string()
    }

    #[test]
    fn placeholders_are_the_numbers_of_client_and_request() {
        assert_eq!(expanded("ECHO {c}-{n}", 12, 345), "ECHO 12-345");
        assert_eq!(expanded("{n}", 0, u32::MAX), "4294967295");
        assert_eq!(expanded("{c}{n}{c}", 1, 2), "121");
    }

    #[test]
    fn a_width_is_kept_whatever_the_number() {
        assert_eq!(expanded("{n:8}", 0, 345), "00000345");
        assert_eq!(expanded("{n:2}|{c:1}", 19, 345), "45|9");
        assert_eq!(expanded("{n:20}", 0, u32::MAX), "00000000004294967295");
        assert_eq!(expanded("{n:1000}", 0, 7).len(), 1000);
    }

    #[test]
    fn escapes_are_bytes_and_double_braces_are_braces() {
        assert_eq!(
            expanded(r"\n\r\t\0\\\x00\xfF", 0, 0),
            r"\n\r\t\x00\\\x00\xff"
        );
        assert_eq!(expanded("{{n}} {{{n}}}", 0, 7), "{n} {7}");
        assert_eq!(expanded("\u{e4}\r\n", 0, 0), r"\xc3\xa4\r\n");
    }

    #[test]
    fn what_is_wrong_is_named_in_one_line_with_what_is_allowed() {
        for (text, named) in [
            ("", "it is empty"),
            ("{}", "no placeholder {}"),
            ("a{id}b", "no placeholder {id}"),
            ("{N}", "no placeholder {N}"),
            ("{n", "no } after {n"),
            ("{", "no } after {"),
            ("x}", "a } without its {"),
            ("{{n}", "a } without its {"),
            ("{n:}", "1 to 1000 digits are possible, not {n:}"),
            ("{n:0}", "1 to 1000 digits are possible, not {n:0}"),
            ("{n:1001}", "1 to 1000 digits are possible, not {n:1001}"),
            ("{n:+8}", "1 to 1000 digits are possible, not {n:+8}"),
            ("{c:-1}", "1 to 1000 digits are possible, not {c:-1}"),
            ("{n:99999999999999999999}", "not {n:99999999999999..."),
            ("a\\", "ends with a single \\"),
            ("\\q", "no escape \\q"),
            ("\\\u{e4}", "no escape \\\u{e4}"),
            ("\\x", "two hex digits have to follow \\x, not ;"),
            ("\\x4", "two hex digits have to follow \\x, not 4;"),
            ("\\x+4", "two hex digits have to follow \\x, not +4;"),
            (
                "\\x4\u{e4}",
                "two hex digits have to follow \\x, not 4\u{e4};",
            ),
            ("{\n\n}", "no placeholder {\\n\\n}"),
        ] {
            let error = Template::parse(text).expect_err(text);
            assert!(error.contains(named), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{text:?}: {error}");
            assert!(
                text.is_empty() || error.contains("allowed are {c}"),
                "{error}"
            );
        }
        for (send, expect, flag) in [("{", "a", "--send"), ("a", "}", "--expect")] {
            let error = Exchange::parse(send, expect).expect_err("a bad template");
            assert!(error.contains(flag), "{error}");
        }
    }

    #[test]
    fn an_answer_with_one_lf_at_its_end_is_a_line() {
        for (expect, answer_end, kept) in [
            (r"OK {n}\n", AnswerEnd::LineEnd, "OK 7"),
            (r"END\r\n", AnswerEnd::LineEnd, r"END\r"),
            (r"\n", AnswerEnd::LineEnd, ""),
            (r"$5\r\nhello\r\n", AnswerEnd::AsDue, r"$5\r\nhello\r\n"),
            (r"\nx", AnswerEnd::AsDue, r"\nx"),
            (r"\n{n}", AnswerEnd::AsDue, r"\n7"),
            ("{n}", AnswerEnd::AsDue, "7"),
        ] {
            let exchange = Exchange::parse("x", expect).expect("a good template");
            assert_eq!(exchange.answer_end(), answer_end, "{expect}");
            let mut out = Vec::new();
            let (client, sequence) = (0, 7);
            let frame = Frame { client, sequence };
            exchange.expect().append(frame, &mut out);
            assert_eq!(out.escape_ascii().to_string(), kept, "{expect}");
        }
    }

    #[test]
    fn it_is_shown_as_it_was_given() {
        let shown = |text| Template::parse(text).expect("a good template").to_string();
        assert_eq!(shown(r"ECHO {n}\r\n"), r"ECHO {n}\r\n");
        assert_eq!(shown("ECHO {n}\n"), r"ECHO {n}\n");
        assert_eq!(shown(&"x".repeat(500)).len(), SHOWN_TEMPLATE + 3);
    }
}
