//! `Http1`: what it finds in a stream, and which responses it lets pass.
//!
//! Knows the codec and the plain reader of `http_reference.rs`; no engine.
//!
//! Rule: codec and reader cut every stream at the same places, so nobody in front of this server
//! who reads plainly sees other requests than it does.

use super::Input;
use super::codec::{Found, REFUSALS, found, show};
use super::http_reference::{self as reference, Limits};
use reactor_pool::Response;
use reactor_pool::codec::http1::{self, respond};
use reactor_pool::codec::{Codec, Http1, Outcome, Refusal};

/// Longer streams only take longer.
const LONGEST_STREAM_BYTES: usize = 1500;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// That of the codec.
const MAX_HEADERS: usize = 64;

/// What the bytes from 0x80 on stand for, so that inputs come to whole messages soon; the others
/// stand for themselves.
const PIECES: [&str; 41] = [
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\n",
    "GET /a?b=c HTTP/1.0\r\n",
    "connection: keep-alive\r\n",
    "connection: close\r\n",
    "content-length: 3\r\n",
    "content-length: 0\r\n",
    "Content-Length:",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding:",
    "transfer-encoding: gzip\r\n",
    "\r\n",
    "\r\n\r\n",
    "\r",
    "\n",
    "abc",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "1\r\n",
    "2;a=b\r\nxy\r\n",
    "ffffffffffffffff\r\n",
    "18446744073709551616",
    "host: b\r\n",
    "x: y\r\n",
    " x\r\n",
    "x : y\r\n",
    ": y\r\n",
    "a: b\r\na: b\r\na: b\r\na: b\r\na: b\r\na: b\r\na: b\r\na: b\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0 500 \r\n",
    "HTTP/1.1",
    "\u{e4}",
    "\0",
    "\t",
    "chunked",
    "expect: 100-continue\r\n",
];

/// The byte that stands for this piece.
pub(crate) fn piece(text: &str) -> u8 {
    let piece = PIECES.iter().position(|piece| *piece == text);
    0x80 + piece.expect("it is one of them") as u8
}

fn expanded(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for &byte in bytes {
        match byte.checked_sub(0x80) {
            None => text.push(byte),
            Some(0x7f) => text.push(0xff),
            Some(piece) => text.extend(PIECES[usize::from(piece) % PIECES.len()].bytes()),
        }
    }
    text.truncate(LONGEST_STREAM_BYTES);
    text
}

/// What the inputs have reached.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) with_body: u64,
    pub(crate) last: u64,
    pub(crate) too_long: u64,
    pub(crate) malformed: u64,
    pub(crate) incomplete: u64,
    /// Requests whose body is not sent before the server says so.
    pub(crate) waiting: u64,
    /// What a handler wrote and is a response, and what is none.
    pub(crate) responses: u64,
    pub(crate) no_responses: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.requests += other.requests;
        self.with_body += other.with_body;
        self.last += other.last;
        self.too_long += other.too_long;
        self.malformed += other.malformed;
        self.incomplete += other.incomplete;
        self.waiting += other.waiting;
        self.responses += other.responses;
        self.no_responses += other.no_responses;
    }

    pub(crate) fn all(&self) -> [u64; 9] {
        [
            self.requests,
            self.with_body,
            self.last,
            self.too_long,
            self.malformed,
            self.incomplete,
            self.waiting,
            self.responses,
            self.no_responses,
        ]
    }
}

/// Checks one input: the limits of head and body, four lengths of pieces that take turns, how many
/// bytes a handler writes; these bytes, then the stream.
pub(crate) fn check(data: &[u8]) -> Counts {
    let mut input = Input(data);
    let (head, body) = (input.byte_or_zero(), input.byte_or_zero());
    let limits = Limits {
        head_bytes: 20 + 2 * head,
        body_bytes: match body {
            255 => 1 << 40,
            body => body % 50,
        },
        headers: MAX_HEADERS,
    };
    let codec = Http1::new(limits.body_bytes).max_head(limits.head_bytes);
    let lengths = [(); 4].map(|()| 1 + input.byte_or_zero() % 60);
    let handler_bytes = input.byte_or_zero() % 16;
    let written = expanded(input.take(handler_bytes));
    let stream = expanded(input.take(LONGEST_STREAM_BYTES));

    let found = found(&codec, &stream, lengths);
    let mut counts = Counts::default();
    let mut rest = &stream[..];
    for one in &found {
        while let Some(behind) = rest.strip_prefix(b"\r\n") {
            rest = behind;
        }
        let plain = reference::request(rest, limits);
        match (one, plain) {
            (Found::Request { whole, payload, .. }, Some(plain)) => {
                assert_eq!((whole, whole.len()), (payload, plain.bytes));
                check_request(one, &plain);
                counts.requests += 1;
                counts.with_body += u64::from(!plain.body.is_empty());
                counts.last += u64::from(plain.is_last);
                check_responses(codec, whole, &plain, &written, &mut counts);
                rest = &rest[whole.len()..];
            }
            (Found::Refused(why), None) => {
                let count = match why {
                    Refusal::TooLong => &mut counts.too_long,
                    _ => &mut counts.malformed,
                };
                *count += 1;
            }
            (Found::Incomplete, None) => {
                counts.incomplete += 1;
                let interim = codec.interim(rest);
                let waits = reference::waits_for_continue(rest);
                counts.waiting += u64::from(waits);
                assert_eq!(!interim.is_empty(), waits, "{}", show(rest));
                assert!(interim.is_empty() || interim == CONTINUE);
            }
            (one, plain) => panic!(
                "{} the codec: {one:?}; a plain reader: {plain:?}",
                show(rest)
            ),
        }
    }
    if rest != b"\r" {
        check_refusals(codec, rest, b"");
    }
    counts
}

/// The request says the same when it is taken apart.
fn check_request(one: &Found, plain: &reference::Request) {
    let Found::Request {
        whole,
        is_last,
        runs_alone,
        ..
    } = one
    else {
        unreachable!("it is a request")
    };
    assert_eq!(*is_last, plain.is_last, "{}", show(whole));
    let is_safe = matches!(&plain.method[..], b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE");
    assert_eq!(*runs_alone, !is_safe, "{}", show(whole));
    let request = http1::Request::parse(whole).expect("the codec has found it");
    assert_eq!(request.method.as_bytes(), plain.method);
    assert_eq!(request.target.as_bytes(), plain.target);
    assert_eq!(show(&request.body), show(&plain.body));
}

/// What a handler writes passes exactly if it is one response.
fn check_responses(
    codec: Http1,
    request: &[u8],
    plain: &reference::Request,
    written: &[u8],
    counts: &mut Counts,
) {
    let mut good = Vec::new();
    respond(
        &mut Response::new(&mut good),
        200,
        "text/plain",
        &plain.body,
    );
    for (text, must_pass, closes) in [
        (written, false, false),
        (&good, true, false),
        (&good, true, true),
    ] {
        let mut out = b"before".to_vec();
        out.extend_from_slice(text);
        let finished = codec.finish(request, &mut out, "before".len(), closes);
        let expected = reference::response(text, b"GET", MAX_HEADERS);
        assert_eq!(finished.is_ok(), expected.is_some(), "{}", show(text));
        assert!(finished.is_ok() || !must_pass);
        let Some((mut lines, mut body)) = expected else {
            counts.no_responses += 1;
            continue;
        };
        counts.responses += 1;
        let is_error = lines[0]["HTTP/1.1 ".len()..] >= b"400"[..];
        assert_eq!(finished == Ok(Outcome::Error), is_error);
        match closes || plain.is_last {
            true => lines.push(b"connection: close".to_vec()),
            false if plain.is_old => lines.push(b"connection: keep-alive".to_vec()),
            false => {}
        }
        if plain.method == b"HEAD" {
            body.clear();
        }
        let (before, response) = out.split_at("before".len());
        assert_eq!(before, b"before");
        let sent = reference::response(response, &plain.method, MAX_HEADERS + 1);
        assert_eq!(sent, Some((lines, body)), "{}", show(response));
    }
    check_refusals(codec, request, &plain.method);
}

/// Each refusal of these bytes is one response.
fn check_refusals(codec: Http1, request: &[u8], method: &[u8]) {
    for why in REFUSALS {
        let mut out = Vec::new();
        codec.refuse(why, request, &mut out);
        // Also a part of a request may say that it is a HEAD.
        let is_one =
            [method, b"GET", b"HEAD"].map(|method| reference::response(&out, method, MAX_HEADERS));
        assert!(
            is_one[0].is_some()
                || method.is_empty() && (is_one[1].is_some() || is_one[2].is_some()),
            "{why:?}: {}",
            show(&out)
        );
    }
}
