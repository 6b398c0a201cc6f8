//! The tests of the codec for HTTP/1.1: bytes in, the place of a request in them out.
//!
//! Knows no sockets.
//!
//! Rule: each refusal has the bytes that bring it.

use super::*;
use proptest::prelude::*;

const HOST: &str = "host: a\r\n";

fn frame(text: &str) -> Frame {
    Http1::new(100)
        .max_head(200)
        .frame(text.as_bytes(), 0, &mut Notes::default())
}

fn request(text: &str, is_last: bool) -> Frame {
    let is_safe = text.starts_with("GET ") || text.starts_with("HEAD ");
    Frame::Request {
        payload: 0..text.len(),
        bytes: text.len(),
        is_last,
        runs_alone: !is_safe,
    }
}

fn refused(text: &str) -> Option<Refusal> {
    match frame(text) {
        Frame::Malformed { why, then, .. } => {
            assert_eq!(then, Then::Close);
            Some(why)
        }
        Frame::Request { .. } | Frame::Incomplete | Frame::Blank { .. } => None,
    }
}

#[test]
fn a_request_ends_with_its_body() {
    for (head, body) in [
        ("GET /a?b HTTP/1.1\r\n", ""),
        ("POST / HTTP/1.1\r\ncontent-length: 3\r\n", "abc"),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n",
            "0\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n",
            "2;x=y\r\nab\r\n1\r\n\n\r\n0\r\nt: v\r\n\r\n",
        ),
    ] {
        let whole = format!("{head}{HOST}\r\n{body}");
        for end in 0..whole.len() {
            assert_eq!(
                frame(&whole[..end]),
                Frame::Incomplete,
                "{:?}",
                &whole[..end]
            );
        }
        let expected = request(&whole, false);
        assert_eq!(frame(&format!("{whole}GET")), expected, "{whole:?}");
    }
}

#[test]
fn a_connection_is_kept_as_the_client_asks() {
    for (version, header, is_last) in [
        ("1.1", "", false),
        ("1.1", "Connection: Close\r\n", true),
        ("1.1", "connection: te, close\r\n", true),
        ("1.0", "", true),
        ("1.0", "connection: keep-alive\r\n", false),
        ("1.0", "connection: keep-alive, close\r\n", true),
    ] {
        let text = format!("GET / HTTP/{version}\r\n{HOST}{header}\r\n");
        assert_eq!(frame(&text), request(&text, is_last), "{text:?}");
    }
}

#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    for headers in [
        "content-length: 1\r\ntransfer-encoding: chunked\r\n",
        "content-length: 1\r\ncontent-length: 1\r\n",
        "content-length: 1, 1\r\n",
        "content-length: +1\r\n",
        "content-length: \r\n",
        "content-length: 0x1\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "a: b\r\n c\r\n",
        "a: b\rc\r\n",
        "a: \0\r\n",
        "a : b\r\n",
        "host: b\r\n",
        "a: b\n",
    ] {
        let text = format!("POST / HTTP/1.1\r\n{HOST}{headers}\r\n");
        assert_eq!(refused(&text), Some(Refusal::Malformed), "{text:?}");
    }
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
        "hello\n",
        "GET / HTTP/2.0\r\n\r\n",
    ] {
        assert_eq!(refused(text), Some(Refusal::Malformed), "{text:?}");
    }
    let chunked = format!("POST / HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n");
    for body in [
        "x\r\n",
        "1\r\nab",
        "-1\r\n",
        "\r\n",
        "1;a\nb\r\n",
        "1;a\0\r\n",
        "0\r\na: b\n\r\n",
        "0\r\na: b\rc\r\n\r\n",
        "0\r\na: b\r\n c\r\n\r\n",
        "0\r\na\r\n\r\n",
    ] {
        let text = format!("{chunked}{body}");
        assert_eq!(refused(&text), Some(Refusal::Malformed), "{text:?}");
    }
}

#[test]
fn what_passes_a_limit_is_refused_before_it_has_come() {
    let post = format!("POST / HTTP/1.1\r\n{HOST}");
    for text in [
        format!("{post}content-length: 101\r\n\r\n"),
        format!("{post}content-length: 99999999999999999999999\r\n\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\n65\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\n1\r\na\r\n64\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
        format!(
            "{post}transfer-encoding: chunked\r\n\r\n9;{}",
            "x".repeat(301)
        ),
        format!("{post}x: {}", "x".repeat(200)),
        format!("{post}{}\r\n", "a: b\r\n".repeat(65)),
        // A line with a size, and trailers.
        format!(
            "{post}transfer-encoding: chunked\r\n\r\n9;{}\r\n",
            "x".repeat(197)
        ),
        format!(
            "{post}transfer-encoding: chunked\r\n\r\n0\r\nx: {}",
            "x".repeat(198)
        ),
        // What is wrong beyond a limit is not looked at: it may not have come yet.
        format!("{post}x: {}\r\r", "x".repeat(200)),
        format!(
            "{post}transfer-encoding: chunked\r\n\r\n9;{}\r\r",
            "x".repeat(301)
        ),
    ] {
        assert_eq!(refused(&text), Some(Refusal::TooLong), "{text:?}");
    }
    // The longest head, and the longest body in chunks, without its last byte.
    let codec = Http1::new(100).max_head(200);
    let head = format!("{post}transfer-encoding: chunked\r\nx: ");
    let head = format!("{head}{}\r\n\r\n", "y".repeat(200 - head.len() - 4));
    let body = format!(
        "64;{}\r\n{}\r\n0\r\n\r\n",
        "z".repeat(300 - 112),
        "b".repeat(100)
    );
    let whole = [head, body].concat();
    let (last, part) = whole.as_bytes().split_last().expect("it has bytes");
    assert_eq!(part.len() + 1, codec.max_incomplete_bytes(), "{last}");
    assert_eq!(
        codec.frame(part, 0, &mut Notes::default()),
        Frame::Incomplete
    );
    assert_eq!(
        codec.frame(whole.as_bytes(), 0, &mut Notes::default()),
        request(&whole, false)
    );
    for header in ["content-length: 100", "transfer-encoding: chunked"] {
        let text = format!("{post}{header}\r\n\r\n");
        assert_eq!(frame(&text), Frame::Incomplete);
    }
    let text = format!("{post}transfer-encoding: chunked\r\n\r\n64\r\n");
    assert_eq!(frame(&text), Frame::Incomplete);
}

/// Sends `text` to the codec byte by byte, and the bytes before each chunk once more as rubbish:
/// that changes nothing only if they are not looked at again.
#[test]
fn a_body_that_comes_byte_by_byte_is_looked_at_once() {
    let codec = Http1::new(100).max_head(200);
    let post = format!("POST / HTTP/1.1\r\n{HOST}connection: close\r\n");
    let chunk = "3;x\r\nabc\r\n";
    for (head, body, unit) in [
        (
            "transfer-encoding: chunked",
            format!("{}0\r\nt: u\r\n\r\n", chunk.repeat(20)),
            chunk.len(),
        ),
        ("content-length: 90", "x".repeat(90), 1),
    ] {
        let head = format!("{post}{head}\r\n\r\n");
        let whole = format!("{head}{body}").into_bytes();
        let mut notes = Notes::default();
        for end in 1..whole.len() {
            let mut bytes = whole[..end].to_vec();
            if let Some(body) = end.checked_sub(head.len() + 1) {
                let seen = head.len() + (body / unit * unit).min(20 * unit);
                bytes[..seen].fill(b'\0');
            }
            let found = codec.frame(&bytes, end - 1, &mut notes);
            assert_eq!(found, Frame::Incomplete, "{}", bytes.escape_ascii());
        }
        let mut bytes = vec![b'\0'; whole.len()];
        let end = b"0\r\nt: u\r\n\r\n";
        let start = whole.len() - end.len();
        bytes[start..].copy_from_slice(end);
        let expected = Frame::Request {
            payload: 0..whole.len(),
            bytes: whole.len(),
            is_last: true,
            runs_alone: true,
        };
        assert_eq!(codec.frame(&bytes, whole.len() - 1, &mut notes), expected);
    }
}

/// What is sent for what a handler wrote.
fn finished(request: &str, status: u16, body: &str) -> (Result<Outcome, NotOneResponse>, String) {
    finished_and(false, request, status, body)
}

fn finished_and(
    closes: bool,
    request: &str,
    status: u16,
    body: &str,
) -> (Result<Outcome, NotOneResponse>, String) {
    let mut out = b"before".to_vec();
    respond(
        &mut Response::new(&mut out),
        status,
        "text/plain",
        body.as_bytes(),
    );
    let outcome = Http1::new(9).finish(request.as_bytes(), &mut out, "before".len(), closes);
    let text = String::from_utf8(out).expect("ASCII");
    (outcome, text["before".len()..].to_owned())
}

#[test]
fn headers_of_a_handler_stand_in_the_head_and_what_is_none_is_an_internal_error() {
    let finished = |headers: &[(&str, &str)]| {
        let mut out = Vec::new();
        let mut response = Response::new(&mut out);
        respond_with(&mut response, 405, "text/plain", headers, b"no");
        let request = format!("PUT / HTTP/1.1\r\n{HOST}connection: close\r\n\r\n");
        let outcome = Http1::new(9).finish(request.as_bytes(), &mut out, 0, false);
        (outcome, String::from_utf8(out).expect("ASCII"))
    };
    let (outcome, text) = finished(&[("allow", "GET, HEAD"), ("x", "")]);
    assert_eq!(outcome, Ok(Outcome::Error));
    let fields = "content-type: text/plain\r\ncontent-length: 2\r\nallow: GET, HEAD\r\nx: \r\n";
    let head = format!("HTTP/1.1 405 Method Not Allowed\r\n{fields}connection: close\r\n\r\n");
    assert_eq!(text, format!("{head}no"));
    for wrong in [
        ("no name", "a"),
        ("a", "b\r\n\r\nc"),
        ("a", "b\nc: d"),
        ("content-length", "1"),
    ] {
        assert!(finished(&[wrong]).0.is_err(), "{wrong:?}");
    }
}

#[test]
fn a_response_says_whether_the_connection_closes_and_has_no_body_for_head() {
    let (get, head) = (
        format!("GET / HTTP/1.1\r\n{HOST}\r\n"),
        format!("HEAD / HTTP/1.1\r\n{HOST}\r\n"),
    );
    let fields = "content-type: text/plain\r\ncontent-length: 2\r\n";
    let (outcome, text) = finished(&get, 200, "hi");
    assert_eq!(text, format!("HTTP/1.1 200 OK\r\n{fields}\r\nhi"));
    assert_eq!(outcome, Ok(Outcome::Ok));
    let (outcome, text) = finished(&head, 404, "no");
    assert_eq!(text, format!("HTTP/1.1 404 Not Found\r\n{fields}\r\n"));
    assert_eq!(outcome, Ok(Outcome::Error));
    for (header, connection) in [("", "close"), ("connection: keep-alive\r\n", "keep-alive")] {
        let old = format!("GET / HTTP/1.0\r\n{header}\r\n");
        let (_, text) = finished(&old, 200, "hi");
        let expected = format!("{fields}connection: {connection}\r\n");
        assert_eq!(text, format!("HTTP/1.1 200 OK\r\n{expected}\r\nhi"));
        // The handler has it closed.
        let expected = format!("HTTP/1.1 200 OK\r\n{fields}connection: close\r\n\r\nhi");
        assert_eq!(finished_and(true, &old, 200, "hi").1, expected);
        assert_eq!(finished_and(true, &get, 200, "hi").1, expected);
    }
    for (status, expected) in [(399, Outcome::Ok), (400, Outcome::Error)] {
        assert_eq!(finished(&get, status, "").0, Ok(expected));
    }
}

#[test]
fn a_status_that_has_no_body_has_no_length_either() {
    let get = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    for (status, reason) in [(204, "No Content"), (304, "Not Modified")] {
        let (outcome, text) = finished(&get, status, "");
        let fields = "content-type: text/plain\r\n";
        assert_eq!(text, format!("HTTP/1.1 {status} {reason}\r\n{fields}\r\n"));
        assert_eq!(outcome, Ok(Outcome::Ok));
        assert!(finished(&get, status, "x").0.is_err());
        let mut by_hand = format!("HTTP/1.1 {status} {reason}\r\ncontent-length: 0\r\n\r\n").into();
        let outcome = Http1::new(9).finish(get.as_bytes(), &mut by_hand, 0, false);
        assert_eq!(outcome, Ok(Outcome::Ok), "many frameworks write it");
    }
}

#[test]
fn what_is_no_whole_response_is_refused() {
    let get = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    for wrong in [
        "",
        "OK",
        "HTTP/1.1 200 OK\r\n\r\nno length",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\ntoo much",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ntoo few",
        // Where one reader ends it, another does not.
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 0\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\nx",
        "HTTP/1.1 200 OK\na: b\r\ncontent-length: 1\r\n\r\nx",
        "\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 204 No Content\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 204 No Content\r\n\r\nx",
        "HTTP/1.1 200 OK\r\n\r\n",
        // Another one has to follow it.
        "HTTP/1.1 100 Continue\r\ncontent-length: 0\r\n\r\n",
    ] {
        let mut out = wrong.as_bytes().to_vec();
        let outcome = Http1::new(9).finish(get.as_bytes(), &mut out, 0, false);
        assert!(outcome.is_err(), "{wrong:?}");
    }
}

/// The whole refusal of `request`.
fn refusal(why: Refusal, request: &str) -> String {
    let mut out = Vec::new();
    let codec = Http1::new(9).max_head(200);
    codec.refuse(why, request.as_bytes(), &mut out);
    String::from_utf8(out).expect("ASCII")
}

#[test]
fn refusals_have_their_status_and_say_whether_the_connection_closes() {
    let get = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    let last = format!("GET / HTTP/1.1\r\n{HOST}connection: close\r\n\r\n");
    let old = "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
    let overflow = format!(
        "POST / HTTP/1.1\r\n{HOST}content-length: {}\r\n\r\n",
        "9".repeat(30)
    );
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n{HOST}\r\n", "y".repeat(200));
    let (close, kept) = ("connection: close\r\n", "connection: keep-alive\r\n");
    let retry = "retry-after: 1\r\n";
    for (why, request, status, connection, more) in [
        (
            Refusal::Busy,
            get.as_str(),
            "503 Service Unavailable",
            "",
            retry,
        ),
        (Refusal::Busy, &last, "503 Service Unavailable", close, ""),
        (Refusal::Busy, old, "503 Service Unavailable", kept, retry),
        (Refusal::Internal, &get, "500 Internal Server Error", "", ""),
        (
            Refusal::Internal,
            &last,
            "500 Internal Server Error",
            close,
            "",
        ),
        (
            Refusal::TooManyConnections,
            "",
            "503 Service Unavailable",
            close,
            "",
        ),
        (Refusal::IdleTimeout, "", "408 Request Timeout", close, ""),
        (Refusal::IdleTimeout, &get, "408 Request Timeout", close, ""),
        (
            Refusal::RequestTimeout,
            "GET",
            "408 Request Timeout",
            close,
            "",
        ),
        (Refusal::Malformed, "x", "400 Bad Request", close, ""),
        (Refusal::Incomplete, "GET", "400 Bad Request", close, ""),
        (Refusal::TooLong, &get, "413 Content Too Large", close, ""),
        (
            Refusal::TooLong,
            &overflow,
            "413 Content Too Large",
            close,
            "",
        ),
        (
            Refusal::TooLong,
            "GET",
            "431 Request Header Fields Too Large",
            close,
            "",
        ),
        (
            Refusal::TooLong,
            &long,
            "431 Request Header Fields Too Large",
            close,
            "",
        ),
    ] {
        let body = format!("{}\n", &status[4..]);
        let fields = format!(
            "content-type: text/plain\r\ncontent-length: {}\r\n",
            body.len()
        );
        let expected = format!("HTTP/1.1 {status}\r\n{fields}{connection}{more}\r\n{body}");
        assert_eq!(refusal(why, request), expected, "{why:?} {request:?}");
    }
    let head = refusal(Refusal::Busy, &get.replace("GET", "HEAD"));
    assert!(head.ends_with("\r\n\r\n"), "no body: {head:?}");
}

#[test]
fn a_client_that_waits_for_it_is_told_to_go_on_before_it_sends_the_body() {
    let interim = |expect: &str, body: &str| {
        let head = format!("POST / HTTP/1.1\r\n{HOST}content-length: 3\r\n{expect}\r\n\r\n");
        assert_eq!(frame(&format!("{head}{body}")), Frame::Incomplete);
        Http1::new(100).interim(format!("{head}{body}").as_bytes())
    };
    assert_eq!(interim("expect: 100-Continue", ""), CONTINUE);
    assert_eq!(
        interim("expect: 100-continue", "x"),
        b"",
        "it has not waited"
    );
    assert_eq!(interim("x-y: z", ""), b"");
    let head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\n";
    assert_eq!(Http1::new(100).interim(head), b"", "the head is not whole");
}

#[test]
fn a_request_is_taken_apart() {
    let text = format!(
        "POST /a?b=c HTTP/1.1\r\n{HOST}X-Y: z\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
    );
    let request = Request::parse(text.as_bytes()).expect("it is one");
    assert_eq!((request.method, request.target), ("POST", "/a?b=c"));
    assert_eq!(
        (request.header("x-y"), request.header("x")),
        (Some(&b"z"[..]), None)
    );
    assert_eq!(&*request.body, b"abc");
}

proptest! {
    /// Neither panics nor says what cannot be right, whatever the bytes.
    #[test]
    fn any_bytes_are_a_request_a_part_of_one_or_refused(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST / HTTP/1.0\r\n", "host: a\r\n", "content-length: 3\r\n",
            "transfer-encoding: chunked\r\n", "\r\n", "\n", "\r", "3\r\nabc\r\n", "0\r\n", "abc", "\0", ":", "ffffffffffffffff\r\n",
        ]), 0..12),
    ) {
        let bytes = pieces.concat();
        let codec = Http1::new(20).max_head(60);
        match codec.frame(bytes.as_bytes(), 0, &mut Notes::default()) {
            Frame::Request { bytes: whole, .. } => {
                prop_assert!(whole > 0 && whole <= bytes.len());
                let parsed = Request::parse(&bytes.as_bytes()[..whole]);
                prop_assert!(parsed.is_some_and(|request| request.body.len() <= 20));
            }
            Frame::Blank { bytes: length } => prop_assert!(bytes[..length].ends_with("\r\n")),
            Frame::Incomplete => prop_assert!(bytes.len() <= codec.max_incomplete_bytes()),
            Frame::Malformed { bytes: length, .. } => prop_assert_eq!(length, bytes.len()),
        }
    }
}
