//! Where an answer over HTTP ends, and what of it is compared: its status and its body.
//!
//! Reads what has come over one connection, with httparse; knows nothing of the request but that
//! it was a GET.
//!
//! Rule: if it is not certain where an answer ends, none behind it is believed.

use httparse::{EMPTY_HEADER, Header, Status};

use crate::wire::append_decimal;

/// A body of more bytes is given up before all of it is there.
pub(crate) const MOST_BODY_BYTES: usize = 16 * 1024 * 1024;
/// So is a head, or what follows the last chunk.
const MOST_HEAD_BYTES: usize = 64 * 1024;
/// And one with more headers than this.
const MOST_HEADERS: usize = 100;

/// What stands before the body of a right answer.
pub(crate) const OK: &[u8] = b"200 ";
/// The same of an answer that there was no room for the request.
pub(crate) const BUSY: &[u8] = b"503 ";

/// How the end of a body is found.
#[derive(Debug, Clone, Copy)]
enum Body {
    Length(usize),
    Chunks,
}

struct Head {
    bytes: usize,
    status: u16,
    /// Nothing, if it does not say.
    body: Option<Body>,
}

/// Takes one answer off the beginning of `bytes`: writes its status, a space and its body into
/// `answer`, and returns how many bytes it had. `None` means that it is incomplete. An error says
/// why no end can be found.
pub(crate) fn cut(bytes: &[u8], answer: &mut Vec<u8>) -> Result<Option<usize>, String> {
    let mut start = 0;
    loop {
        let Some(head) = Head::read(&bytes[start..])? else {
            return Ok(None);
        };
        start += head.bytes;
        // Something that only announces the answer, such as 103.
        if matches!(head.status, 100 | 102..=199) {
            continue;
        }
        answer.clear();
        append_decimal(answer, u64::from(head.status));
        answer.push(b' ');
        let rest = &bytes[start..];
        let length = match head.body {
            Some(Body::Length(length)) if length > MOST_BODY_BYTES => return Err(too_long()),
            Some(Body::Length(length)) => rest.get(..length).map(|body| {
                answer.extend_from_slice(body);
                length
            }),
            // Nothing is copied before all of it is there, which may take many reads.
            Some(Body::Chunks) => match walk_chunks(rest, |_| {})? {
                Some(_) => walk_chunks(rest, |chunk| answer.extend_from_slice(chunk))?,
                None => None,
            },
            None => {
                let text = "an answer with neither Content-Length nor chunks, whose end is unknown";
                return Err(text.to_owned());
            }
        };
        return Ok(length.map(|length| start + length));
    }
}

impl Head {
    /// Reads the head at the beginning of `bytes`, if all of it is there.
    fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return partial(bytes),
            Err(error) => return Err(format!("what is no head of an HTTP answer ({error})")),
        };
        let status = response.code.expect("a whole head has a status");
        let body = match status {
            204 | 304 => Some(Body::Length(0)),
            _ => body_of(response.headers)?,
        };
        Ok(Some(Self {
            bytes: length,
            status,
            body,
        }))
    }
}

/// More has to come behind `bytes`, unless that is too much.
fn partial<T>(bytes: &[u8]) -> Result<Option<T>, String> {
    if bytes.len() > MOST_HEAD_BYTES {
        return Err(format!("a head of more than {MOST_HEAD_BYTES} bytes"));
    }
    Ok(None)
}

fn too_long() -> String {
    format!("a body of more than {MOST_BODY_BYTES} bytes")
}

/// How the end of the body is found, if the headers say it.
fn body_of(headers: &[Header<'_>]) -> Result<Option<Body>, String> {
    let mut body = None;
    for header in headers {
        let value = header.value.trim_ascii();
        let found = if header.name.eq_ignore_ascii_case("content-length") {
            Body::Length(length(value)?)
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                let coding = value.escape_ascii();
                return Err(format!("an answer with Transfer-Encoding: {coding}"));
            }
            Body::Chunks
        } else {
            continue;
        };
        if body.replace(found).is_some() {
            return Err("an answer that says twice how long its body is".to_owned());
        }
    }
    Ok(body)
}

fn length(value: &[u8]) -> Result<usize, String> {
    let is_plain = value.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(value).ok().filter(|_| is_plain);
    let length = text.and_then(|text| text.parse().ok());
    length.ok_or_else(|| format!("an answer with Content-Length: {}", value.escape_ascii()))
}

/// Shows each chunk that `bytes` begin with to `take`, and returns how long they are together, if
/// all are there.
fn walk_chunks(bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<Option<usize>, String> {
    let wrong = |what: &str| format!("an answer with a wrong {what}");
    let (mut start, mut body_bytes) = (0, 0);
    loop {
        let rest = &bytes[start..];
        let (line, size) = match httparse::parse_chunk_size(rest) {
            Ok(Status::Complete(found)) => found,
            Ok(Status::Partial) => return partial(rest),
            Err(_) => return Err(wrong("size of a chunk")),
        };
        start += line;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        body_bytes = size.saturating_add(body_bytes);
        if body_bytes > MOST_BODY_BYTES {
            return Err(too_long());
        }
        let Some(behind) = bytes.get(start + size..) else {
            return Ok(None);
        };
        take(&bytes[start..start + size]);
        if !b"\r\n".starts_with(&behind[..behind.len().min(2)]) {
            return Err(wrong("end of a chunk"));
        }
        if behind.len() < 2 {
            return Ok(None);
        }
        start += size + 2;
    }
    let mut trailers = [EMPTY_HEADER; MOST_HEADERS];
    match httparse::parse_headers(&bytes[start..], &mut trailers) {
        Ok(Status::Complete((length, _))) => Ok(Some(start + length)),
        Ok(Status::Partial) => partial(&bytes[start..]),
        Err(_) => Err(wrong("end of its chunks")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers that `bytes` hold, and what is left, or what is wrong there.
    fn answers(bytes: &[u8]) -> (Vec<String>, Result<usize, String>) {
        let (mut all, mut answer, mut start) = (Vec::new(), Vec::new(), 0);
        loop {
            match cut(&bytes[start..], &mut answer) {
                Ok(Some(length)) => {
                    start += length;
                    all.push(answer.escape_ascii().to_string());
                }
                Ok(None) => return (all, Ok(bytes.len() - start)),
                Err(text) => return (all, Err(text)),
            }
        }
    }

    const WITH_LENGTH: &[u8] =
        b"HTTP/1.1 200 OK\r\nDate: now\r\ncontent-LENGTH:  5 \r\n\r\nhel\n\xff";
    const IN_CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
        3\r\nhel\r\n2;a=b\r\n\n\xff\r\n0\r\nTrailer: x\r\n\r\n";

    #[test]
    fn status_and_body_are_kept_however_the_length_is_told() {
        let all = [
            WITH_LENGTH,
            IN_CHUNKS,
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 404 No\r\nContent-Length: 1\r\n\r\n-",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n",
        ]
        .concat();
        let expected = [r"200 hel\n\xff", r"200 hel\n\xff", "404 -", "204 ", "503 "];
        let (found, rest) = answers(&all);
        assert_eq!(found, expected);
        assert_eq!(rest, Ok(0));
    }

    #[test]
    fn an_answer_is_taken_when_its_last_byte_is_there_and_not_before() {
        for whole in [WITH_LENGTH, IN_CHUNKS] {
            for length in 0..whole.len() {
                let part = &whole[..length];
                assert_eq!(answers(part), (Vec::new(), Ok(length)), "{length}");
            }
        }
    }

    #[test]
    fn an_answer_without_a_certain_end_is_an_error() {
        for (head, named) in [
            ("OK abc\r\n", "no head of an HTTP answer"),
            ("HTTP/1.1 200 OK\r\n\r\nbody", "neither Content-Length nor"),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "neither"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
                "Length: +5",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "Length: "),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
                "Length: 9999",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 16777217\r\n\r\n",
                "more than 16777216 bytes",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                "says twice",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                "says twice",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                "Transfer-Encoding: gzip, chunked",
            ),
        ] {
            let (found, rest) = answers(head.as_bytes());
            let error = rest.expect_err(head);
            assert!(
                found.is_empty() && error.contains(named),
                "{head:?}: {error}"
            );
        }
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (chunks, named) in [
            ("x\r\n", "size of a chunk"),
            ("3\r\nabcd\r\n", "end of a chunk"),
            ("0\r\n\0\r\n", "end of its chunks"),
            ("1000001\r\n", "more than 16777216 bytes"),
            ("ffffffffffffffff\r\n", "more than 16777216 bytes"),
        ] {
            let (_, rest) = answers(format!("{chunked}{chunks}").as_bytes());
            let error = rest.expect_err(chunks);
            assert!(error.contains(named), "{chunks:?}: {error}");
        }
        let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; 70_000]].concat();
        assert!(answers(&endless).1.is_err());
    }
}
