//! Other protocols than lines, good and broken ones.
//!
//! Knows the public names of the crate, and TCP.
//!
//! Rule: whatever a codec does, connections that it has nothing to do with are served.

use super::harness::{Client, Running};
use reactor_pool::codec::{Codec, Frame, LengthDelimited, NotOneResponse, Notes, Outcome, Refusal};
use reactor_pool::{Config, Response};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;

fn reverse(request: &[u8], response: &mut Response<'_>) {
    assert_ne!(request, b"panic", "as asked");
    request
        .iter()
        .rev()
        .for_each(|byte| response.push(&[*byte]));
}

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    [&length.to_be_bytes()[..], payload].concat()
}

#[track_caller]
pub(crate) fn expect_bytes(client: &mut Client, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    client.0.read_exact(&mut got).expect("a response in time");
    assert_eq!(
        got.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

fn length_delimited(limit: usize) -> Running {
    let config = Config::default().max_line(limit);
    Running::start_codec(config, LengthDelimited::new(limit), reverse)
}

#[test]
fn any_bytes_travel_with_their_length_in_front_however_they_are_split() {
    let server = length_delimited(1000);
    let mut client = server.connect();
    let all: Vec<u8> = (0..=255).collect();
    let requests = [&b""[..], b"a\nb\r\n", &all, b"\0"];
    let bytes: Vec<u8> = requests.iter().flat_map(|request| frame(request)).collect();
    let responses: Vec<u8> = requests
        .iter()
        .flat_map(|request| frame(&request.iter().rev().copied().collect::<Vec<_>>()))
        .collect();
    client.send(&bytes);
    expect_bytes(&mut client, &responses);
    for byte in bytes {
        client.send([byte]);
    }
    expect_bytes(&mut client, &responses);
    server.stop();
}

#[test]
fn a_length_above_the_limit_is_refused_in_its_turn_and_closes() {
    let server = length_delimited(10);
    let mut client = server.connect();
    client.send([frame(b"ab"), vec![0, 0, 0, 11], b"more".to_vec()].concat());
    expect_bytes(&mut client, &frame(b"ba"));
    expect_bytes(&mut client, &frame(b"ERR line too long (limit 10 bytes)"));
    client.expect_end();
    let stats = server.stop().stats;
    assert_eq!((stats.framed, stats.too_long), (1, 1));
}

#[test]
fn a_stream_that_ends_inside_a_request_is_told_so() {
    let server = length_delimited(10);
    let mut client = server.connect();
    client.send(b"\0\0\0\x04abc");
    client.half_close();
    expect_bytes(&mut client, &frame(b"ERR incomplete line"));
    client.expect_end();
    server.stop();
}

#[test]
fn a_panic_of_the_handler_is_a_response_like_any_other() {
    let server = length_delimited(10);
    let mut client = server.connect();
    client.send([frame(b"panic"), frame(b"ab")].concat());
    expect_bytes(&mut client, &frame(b"ERR internal error"));
    expect_bytes(&mut client, &frame(b"ba"));
    server.stop();
}

/// One byte is one request. Some make a mistake.
#[derive(Debug)]
struct Bytes;

impl Codec for Bytes {
    fn max_incomplete_bytes(&self) -> usize {
        3
    }

    fn frame(&self, bytes: &[u8], _: usize, _: &mut Notes) -> Frame {
        let frame = |payload, bytes| Frame::Request {
            payload,
            bytes,
            is_last: false,
            runs_alone: false,
        };
        match bytes.first() {
            None => Frame::Incomplete,
            Some(b'P') => panic!("as arranged"),
            Some(b'Z') => frame(0..0, 0),
            Some(b'L') => frame(0..1, bytes.len() + 1),
            Some(b'O') => frame(1..9, 1),
            Some(b'K') => Frame::Incomplete,
            Some(b'E') => Frame::Request {
                payload: 0..1,
                bytes: 1,
                is_last: true,
                runs_alone: false,
            },
            Some(_) => frame(0..1, 1),
        }
    }

    fn begin(&self, request: &[u8], _: &mut Vec<u8>) {
        assert_ne!(request, b"B", "as arranged");
    }

    fn finish(
        &self,
        request: &[u8],
        _: &mut Vec<u8>,
        _: usize,
        _: bool,
    ) -> Result<Outcome, NotOneResponse> {
        assert_ne!(request, b"F", "as arranged");
        match request {
            b"N" | b"R" => Err(NotOneResponse("as arranged")),
            _ => Ok(Outcome::Ok),
        }
    }

    fn refuse(&self, why: Refusal, request: &[u8], out: &mut Vec<u8>) {
        assert_ne!(request, b"R", "as arranged");
        assert_eq!(why, Refusal::Internal);
        out.push(b'!');
    }
}

#[test]
fn a_mistake_of_a_codec_closes_its_connection_after_what_came_before_and_harms_no_other() {
    let server = Running::start_codec(Config::default(), Bytes, reverse);
    let mut other = server.connect();
    for (mistake, responses) in [
        (&b"abPc"[..], &b"ab"[..]),
        (b"abZc", b"ab"),
        (b"abLc", b"ab"),
        (b"abOc", b"ab"),
        (b"abKcccc", b"ab"),
        (b"abBc", b"ab"),
        (b"abFc", b"ab"),
        (b"abRc", b"ab"),
        // This one is no mistake, and neither is the next.
        (b"abEc", b"abE"),
        (b"abN", b"ab!"),
    ] {
        let mut stream = server.connect().0.into_inner();
        stream
            .write_all(mistake)
            .expect("the server takes the bytes");
        if mistake.ends_with(b"N") {
            stream.shutdown(Shutdown::Write).expect("half-close");
        }
        let mut got = Vec::new();
        let read = stream.read_to_end(&mut got);
        // What comes behind a mistake was not read, so the end may be a reset.
        let name = mistake.escape_ascii().to_string();
        assert!(
            responses.starts_with(&got),
            "{name}: {}",
            got.escape_ascii()
        );
        assert!(
            got == responses || read.is_err(),
            "{name}: {}",
            got.escape_ascii()
        );
        other.send("xy");
        expect_bytes(&mut other, b"xy");
    }
    server.stop();
}
