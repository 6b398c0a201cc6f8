//! HTTP/1.1 requests and responses (RFC 9112), as far as a service behind a proxy or a `curl`
//! needs.
//!
//! Knows no routes: a handler gets the whole request, and [`Request::parse`] takes it apart.
//!
//! Rule: what two readers could understand differently is refused, and its connection closes.

use super::{Codec, Frame, NotOneResponse, Notes, Outcome, Refusal, Then};
use crate::handler::Response;
use httparse::{EMPTY_HEADER, Status};
use memchr::{memchr_iter, memmem};
use std::borrow::Cow;

/// More headers than any client of ours sends.
const MAX_HEADERS: usize = 64;
/// Lets a client send the body that it has announced (RFC 9110, section 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Ends a head.
const END: &[u8] = b"\r\n\r\n";
/// The longest request line and headers by default.
const MAX_HEAD_BYTES: usize = 16_384;

/// Requests with a Content-Length, in chunks, or without a body; connections are kept as the
/// client asks for, and pipelined requests are answered in order. What a handler writes has to be
/// a whole response: see [`respond`].
#[derive(Debug, Clone, Copy)]
pub struct Http1 {
    max_head: usize,
    max_body: usize,
}

impl Http1 {
    /// Bodies of at most `max_body` bytes; heads of at most 16 KiB.
    pub fn new(max_body: usize) -> Http1 {
        Http1 {
            max_head: MAX_HEAD_BYTES,
            max_body,
        }
    }

    /// The longest request line and headers, in bytes; also the longest line with the size of a
    /// chunk, and the longest trailers.
    #[must_use]
    pub fn max_head(self, bytes: usize) -> Http1 {
        Http1 {
            max_head: bytes,
            ..self
        }
    }

    /// The longest body in chunks, with their framing and the trailers.
    fn max_chunked(&self) -> usize {
        self.max_body.saturating_add(self.max_head)
    }
}

/// Why bytes are no whole request.
enum Fault {
    Incomplete,
    TooLong,
    Malformed,
}

/// The first line and the headers of a request.
struct Head<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    bytes: usize,
    body: Body,
    is_last: bool,
    expects_continue: bool,
    /// What the response says of the connection, with its CR LF.
    connection: &'static str,
}

#[derive(Clone, Copy)]
enum Body {
    Length(usize),
    Chunked(Chunks),
}

/// How far a body in chunks has come.
#[derive(Clone, Copy, Default)]
struct Chunks {
    /// Where in it the first chunk begins that is not whole.
    at: usize,
    /// How many bytes the chunks before have, without their framing.
    bytes: usize,
}

/// A request whose head is whole. It is noted until its body is, too. So a client that sends byte
/// by byte does not have the event loop parse the head, or walk over the chunks, for each of them.
struct Begun {
    head_bytes: usize,
    is_last: bool,
    runs_alone: bool,
    body: Body,
}

impl Begun {
    const LAST: usize = 1;
    const ALONE: usize = 2;
    const CHUNKED: usize = 4;

    fn of(head: &Head<'_>) -> Begun {
        Begun {
            head_bytes: head.bytes,
            is_last: head.is_last,
            runs_alone: !head.is_safe(),
            body: head.body,
        }
    }

    /// What was noted; none while the head is not whole.
    fn from_notes([head_bytes, bits, at, bytes]: Notes) -> Option<Begun> {
        (head_bytes > 0).then_some(Begun {
            head_bytes,
            is_last: bits & Begun::LAST != 0,
            runs_alone: bits & Begun::ALONE != 0,
            body: match bits & Begun::CHUNKED {
                0 => Body::Length(bytes),
                _ => Body::Chunked(Chunks { at, bytes }),
            },
        })
    }

    fn notes(&self) -> Notes {
        let mut bits = usize::from(self.is_last) * Begun::LAST;
        bits += usize::from(self.runs_alone) * Begun::ALONE;
        match self.body {
            Body::Length(bytes) => [self.head_bytes, bits, 0, bytes],
            Body::Chunked(Chunks { at, bytes }) => {
                [self.head_bytes, bits + Begun::CHUNKED, at, bytes]
            }
        }
    }
}

impl<'a> Head<'a> {
    /// Whether it changes nothing (RFC 9110, section 9.2.1).
    fn is_safe(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
    }

    fn parse(bytes: &'a [u8]) -> Result<Head<'a>, Fault> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let head = match request.parse(bytes) {
            Ok(Status::Complete(length)) => &bytes[..length],
            Ok(Status::Partial) => return Err(Fault::Incomplete),
            Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooLong),
            Err(_) => return Err(Fault::Malformed),
        };
        if has_lone_lf(head) {
            return Err(Fault::Malformed);
        }
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(Fault::Malformed);
        };
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|header| (header.name, header.value))
            .collect();
        let has = |name: &str, token: &[u8]| {
            let values = all(&headers, name).flat_map(|value| value.split(|byte| *byte == b','));
            values
                .map(<[u8]>::trim_ascii)
                .any(|value| value.eq_ignore_ascii_case(token))
        };
        let keeps = minor > 0 || has("connection", b"keep-alive");
        let is_last = !keeps || has("connection", b"close");
        if minor > 0 && all(&headers, "host").count() != 1 {
            return Err(Fault::Malformed);
        }
        let expects_continue = minor > 0 && has("expect", b"100-continue");
        let body = body_of(&headers, minor)?;
        Ok(Head {
            method,
            target,
            headers,
            bytes: head.len(),
            body,
            is_last,
            expects_continue,
            connection: match minor {
                _ if is_last => CLOSE,
                0 => "connection: keep-alive\r\n",
                _ => "",
            },
        })
    }
}

/// Tells a client that the connection closes.
const CLOSE: &str = "connection: close\r\n";

/// An LF without its CR ends a line for some readers, and for others it does not.
fn has_lone_lf(head: &[u8]) -> bool {
    memchr_iter(b'\n', head).any(|lf| !head[..lf].ends_with(b"\r"))
}

/// The values of all headers of that name.
fn all<'h, 'a>(
    headers: &'h [(&'a str, &'a [u8])],
    name: &'h str,
) -> impl Iterator<Item = &'a [u8]> + 'h {
    let own = headers
        .iter()
        .filter(move |(own, _)| own.eq_ignore_ascii_case(name));
    own.map(|(_, value)| *value)
}

/// How the body is framed (RFC 9112, section 6.3). Two framings, or two lengths, are how requests
/// are smuggled past a proxy.
fn body_of(headers: &[(&str, &[u8])], minor: u8) -> Result<Body, Fault> {
    let mut codings = all(headers, "transfer-encoding");
    let mut lengths = all(headers, "content-length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Body::Length(0)),
        (None, Some(length)) if lengths.next().is_none() => {
            let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(length).ok().filter(|_| is_number);
            // What no number can hold is above every limit.
            let number = number.ok_or(Fault::Malformed)?.parse();
            Ok(Body::Length(number.unwrap_or(usize::MAX)))
        }
        (Some(coding), None) if minor > 0 && codings.next().is_none() => {
            match coding.eq_ignore_ascii_case(b"chunked") {
                true => Ok(Body::Chunked(Chunks::default())),
                false => Err(Fault::Malformed),
            }
        }
        _ => Err(Fault::Malformed),
    }
}

impl Chunks {
    /// Goes on to the end of the body, whose first bytes are `bytes`, and says how long the whole
    /// is. Passes each chunk that it comes to, once it is whole, to `take`. The chunks have at
    /// most `max_body` bytes, and each line with a size, and the trailers, at most `max_line`.
    fn go_on(
        &mut self,
        bytes: &[u8],
        max_body: usize,
        max_line: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Result<usize, Fault> {
        loop {
            let rest = &bytes[self.at..];
            let (line, size) = within(rest, max_line, size_line)?;
            if size == 0 {
                let trailers = within(&rest[line..], max_line, trailers)?;
                return Ok(self.at + line + trailers);
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let all = self.bytes.checked_add(size);
            let all = all.filter(|all| *all <= max_body).ok_or(Fault::TooLong)?;
            let chunk = rest[line..].get(..size).ok_or(Fault::Incomplete)?;
            let end = line_end(rest, line + size)?;
            take(chunk);
            self.at += end;
            self.bytes = all;
        }
    }
}

/// How long the line with the size of a chunk is, and the size.
fn size_line(bytes: &[u8]) -> Result<(usize, u64), Fault> {
    if bytes.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(Fault::Malformed);
    }
    let (length, size) = match httparse::parse_chunk_size(bytes) {
        Ok(Status::Complete(chunk)) => chunk,
        Ok(Status::Partial) => return Err(Fault::Incomplete),
        Err(_) => return Err(Fault::Malformed),
    };
    // An extension may hold anything for httparse; an LF there ends the line for others.
    let mut line = bytes[..length - 2].iter();
    match line.any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        true => Err(Fault::Malformed),
        false => Ok((length, size)),
    }
}

/// How long the trailers are. They are allowed and not looked at.
fn trailers(bytes: &[u8]) -> Result<usize, Fault> {
    let mut trailers = [EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(bytes, &mut trailers) {
        Ok(Status::Complete((length, _))) if has_lone_lf(&bytes[..length]) => Err(Fault::Malformed),
        Ok(Status::Complete((length, _))) => Ok(length),
        Ok(Status::Partial) => Err(Fault::Incomplete),
        Err(httparse::Error::TooManyHeaders) => Err(Fault::TooLong),
        Err(_) => Err(Fault::Malformed),
    }
}

/// Where the line ends that has to end at `at`.
fn line_end(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    match bytes.get(at..(at + 2).min(bytes.len())) {
        Some(b"\r\n") => Ok(at + 2),
        Some(b"" | b"\r") => Err(Fault::Incomplete),
        _ => Err(Fault::Malformed),
    }
}

impl Http1 {
    /// The request at the front of `bytes`, and the length of the whole. What lies beyond a limit
    /// is not looked at: so it makes no difference whether it has come.
    fn cut(&self, bytes: &[u8], notes: &mut Notes) -> Result<(Begun, usize), Fault> {
        let mut begun = match Begun::from_notes(*notes) {
            Some(begun) => begun,
            None => Begun::of(&within(bytes, self.max_head, Head::parse)?),
        };
        let rest = &bytes[begun.head_bytes..];
        let body = match &mut begun.body {
            Body::Length(length) if *length > self.max_body => Err(Fault::TooLong),
            Body::Length(length) if *length > rest.len() => Err(Fault::Incomplete),
            Body::Length(length) => Ok(*length),
            Body::Chunked(chunks) => within(rest, self.max_chunked(), |rest| {
                chunks.go_on(rest, self.max_body, self.max_head, |_| {})
            }),
        };
        *notes = begun.notes();
        let whole = begun.head_bytes + body?;
        Ok((begun, whole))
    }
}

/// Parses at most `limit` of the bytes. What is not whole within these is too long.
fn within<'a, R>(
    bytes: &'a [u8],
    limit: usize,
    parse: impl FnOnce(&'a [u8]) -> Result<R, Fault>,
) -> Result<R, Fault> {
    match parse(&bytes[..bytes.len().min(limit)]) {
        Err(Fault::Incomplete) if bytes.len() > limit => Err(Fault::TooLong),
        parsed => parsed,
    }
}

impl Codec for Http1 {
    fn max_incomplete_bytes(&self) -> usize {
        self.max_head.saturating_add(self.max_chunked())
    }

    fn frame(&self, bytes: &[u8], _seen: usize, notes: &mut Notes) -> Frame {
        if bytes.is_empty() {
            return Frame::Incomplete;
        }
        // Empty lines in front of a request (RFC 9112, section 2.2).
        let blank = bytes.chunks_exact(2).take_while(|two| two == b"\r\n");
        match 2 * blank.count() {
            0 => {}
            blank => return Frame::Blank { bytes: blank },
        }
        let why = match self.cut(bytes, notes) {
            Ok((begun, whole)) => {
                return Frame::Request {
                    payload: 0..whole,
                    bytes: whole,
                    is_last: begun.is_last,
                    runs_alone: begun.runs_alone,
                };
            }
            Err(Fault::Incomplete) => return Frame::Incomplete,
            Err(Fault::TooLong) => Refusal::TooLong,
            Err(Fault::Malformed) => Refusal::Malformed,
        };
        Frame::Malformed {
            why,
            bytes: bytes.len(),
            then: Then::Close,
        }
    }

    fn interim(&self, incomplete: &[u8]) -> &'static [u8] {
        let is_head = incomplete.ends_with(END) && {
            // A client that has begun with the body does not wait.
            let end = memmem::find(incomplete, END).map(|at| at + END.len());
            end == Some(incomplete.len())
        };
        match is_head.then(|| Head::parse(incomplete)) {
            Some(Ok(head)) if head.expects_continue => CONTINUE,
            _ => b"",
        }
    }

    fn finish(
        &self,
        request: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        closes: bool,
    ) -> Result<Outcome, NotOneResponse> {
        const NOT_ONE: NotOneResponse =
            NotOneResponse("the handler wrote no HTTP response, or more than one");
        let request = Head::parse(request).map_err(|_| NOT_ONE)?;
        let written = &out[start..];
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let (end, code) = match (response.parse(written), response.code) {
            // Anything below is no final response.
            (Ok(Status::Complete(end)), Some(code @ 200..)) => (end, code),
            _ => return Err(NOT_ONE),
        };
        let (head, body) = written.split_at(end);
        let named = |name: &'static str| {
            let headers = response.headers.iter();
            let named = headers.filter(move |header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| header.value)
        };
        // Where a reader could find another end than this one, the next response would begin
        // there.
        let mut lengths = named("content-length");
        let has_own_length = match lengths.next() {
            Some(length) => length == body.len().to_string().as_bytes() && lengths.next().is_none(),
            None => has_no_body(code),
        };
        let is_one = head.starts_with(b"HTTP/")
            && !has_lone_lf(head)
            && has_own_length
            && named("transfer-encoding").next().is_none()
            && (body.is_empty() || !has_no_body(code));
        if !is_one {
            return Err(NOT_ONE);
        }
        let end = start + end;
        if request.method == "HEAD" {
            out.truncate(end);
        }
        // Before the empty line that ends the head.
        let connection = if closes { CLOSE } else { request.connection };
        out.splice(end - 2..end - 2, connection.bytes());
        Ok(match code {
            0..400 => Outcome::Ok,
            _ => Outcome::Error,
        })
    }

    fn refuse(&self, why: Refusal, request: &[u8], out: &mut Vec<u8>) {
        if why == Refusal::Incomplete && request == b"\r" {
            // Of an empty line, which asks for nothing.
            return;
        }
        let head = within(request, self.max_head, Head::parse).ok();
        let (status, closes) = match why {
            Refusal::Busy => (503, false),
            Refusal::TooManyConnections => (503, true),
            Refusal::Internal => (500, false),
            Refusal::IdleTimeout | Refusal::RequestTimeout => (408, true),
            Refusal::Malformed
            | Refusal::Incomplete
            | Refusal::NoProxyHeader
            | Refusal::ProxyHeader
            | Refusal::Http => (400, true),
            Refusal::TooLong if head.is_some() => (413, true),
            Refusal::TooLong => (431, true),
        };
        let connection = match &head {
            Some(head) if !closes => head.connection,
            _ => CLOSE,
        };
        let retry = match connection {
            CLOSE => "",
            _ if status == 503 => "retry-after: 1\r\n",
            _ => "",
        };
        let body = format!("{}\n", reason(status));
        append_head(out, status, "text/plain", body.len());
        let end = out.len() - 2;
        out.splice(end..end, [connection, retry].concat().into_bytes());
        if head.is_none_or(|head| head.method != "HEAD") {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// Whether a response of that status ends with its head. Then it has no length either (RFC 9110,
/// section 8.6): a cache would take it for that of the body that it keeps.
fn has_no_body(status: u16) -> bool {
    matches!(status, 204 | 304)
}

fn append_head(out: &mut Vec<u8>, status: u16, content_type: &str, length: usize) {
    let reason = reason(status);
    let length = match has_no_body(status) {
        true => String::new(),
        false => format!("content-length: {length}\r\n"),
    };
    let head =
        format!("HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n{length}\r\n");
    out.extend_from_slice(head.as_bytes());
}

/// Writes a whole response: what a handler of this protocol has to write, once. For HEAD it writes
/// the body, too: the codec leaves it out. With 204 and 304 there is none: any other than an empty
/// one becomes an internal error.
pub fn respond(response: &mut Response<'_>, status: u16, content_type: &str, body: &[u8]) {
    respond_with(response, status, content_type, &[], body);
}

/// The same, with more headers: names and values, which are written as they are. What is no
/// header, or breaks off the head, becomes an internal error.
pub fn respond_with(
    response: &mut Response<'_>,
    status: u16,
    content_type: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) {
    let mut head = Vec::new();
    append_head(&mut head, status, content_type, body.len());
    let end = head.len() - 2;
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    head.splice(end..end, lines.collect::<String>().into_bytes());
    response.push(&head);
    response.push(body);
}

/// The words of RFC 9110, section 15, for the codes that services use most.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

/// A request taken apart.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request<'a> {
    /// `GET`, `POST` and so on, as the client wrote it.
    pub method: &'a str,
    /// The path and the query, as the client wrote them.
    pub target: &'a str,
    /// The headers in their order.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// The body, without the framing of chunks.
    pub body: Cow<'a, [u8]>,
}

impl<'a> Request<'a> {
    /// Takes apart what a handler gets; none only if that is no request that [`Http1`] has found.
    pub fn parse(bytes: &'a [u8]) -> Option<Request<'a>> {
        let head = Head::parse(bytes).ok()?;
        let rest = &bytes[head.bytes..];
        let body = match head.body {
            Body::Length(length) => Cow::Borrowed(rest.get(..length)?),
            Body::Chunked(mut chunks) => {
                let mut body = Vec::new();
                let take = |chunk: &[u8]| body.extend_from_slice(chunk);
                chunks.go_on(rest, usize::MAX, usize::MAX, take).ok()?;
                Cow::Owned(body)
            }
        };
        Some(Request {
            method: head.method,
            target: head.target,
            headers: head.headers,
            body,
        })
    }

    /// The value of the first header of that name, in upper or lower case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        all(&self.headers, name).next()
    }
}

#[cfg(test)]
mod tests;
