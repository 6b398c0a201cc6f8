//! Bytes that begin with the header of a proxy, or nearly, and a split: however they arrive, the
//! server takes the same client from them, and frames the same requests.
//!
//! Knows the engine's doors for headers and for bytes; no time passes here.
//!
//! Rule: what the whole stream gives, every split of it gives.

use super::codec::pieces;
use super::{Input, is_quick, lines};
use reactor_pool::Config;
use reactor_pool::engine::{Action, Engine};
use std::net::SocketAddr;
use std::time::Instant;

/// Longer streams only take longer.
const LONGEST_STREAM_BYTES: usize = 5000;

const STARTS: [&[u8]; 6] = [
    b"",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    b"PROXY TCP6 2001:db8::1 ::2 1 65535\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
];

/// How often what happened: so a test can see that its inputs reach every corner.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) clients: u64,
    pub(crate) local: u64,
    pub(crate) bad: u64,
    pub(crate) requests: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.clients += other.clients;
        self.local += other.local;
        self.bad += other.bad;
        self.requests += other.requests;
    }
}

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Who is at the other end, and how long the header is.
    client: Option<(Option<SocketAddr>, usize)>,
    /// What the server says itself.
    output: Vec<u8>,
    framed: u64,
    bad_headers: u64,
}

/// Checks one input: a byte that says with what the stream begins, two that say which byte of that
/// becomes which, four lengths of pieces that take turns, then the rest of the stream.
pub(crate) fn check(data: &[u8]) -> Counts {
    let mut input = Input(data);
    let mut stream = STARTS[input.byte_or_zero() % STARTS.len()].to_vec();
    let (at, to) = (input.byte_or_zero(), input.byte_or_zero());
    if let Some(byte) = stream.get_mut(at) {
        *byte = to as u8;
    }
    let lengths = [(); 4].map(|()| 1 + input.byte_or_zero() % 60);
    stream.extend(input.take(LONGEST_STREAM_BYTES));

    let whole = arrive(&[&stream]);
    for lengths in [lengths, [1; 4]] {
        let split = arrive(&pieces(&stream, lengths));
        assert_eq!(
            split,
            whole,
            "in pieces of {lengths:?}: {}",
            stream.escape_ascii()
        );
    }
    match whole.client {
        Some((client, bytes)) => {
            assert!(bytes > 0 && bytes <= stream.len().min(4096), "{whole:?}");
            Counts {
                clients: u64::from(client.is_some()),
                local: u64::from(client.is_none()),
                bad: 0,
                requests: whole.framed,
            }
        }
        None => {
            assert_eq!(whole.framed, 0, "framed before its client was known");
            assert_eq!(whole.bad_headers, u64::from(!stream.is_empty()));
            Counts {
                bad: whole.bad_headers,
                ..Counts::default()
            }
        }
    }
}

/// One connection whose stream arrives in `pieces`, and then ends.
fn arrive(pieces: &[&[u8]]) -> Outcome {
    // As many requests as the stream can hold: nothing is in the way.
    let config = Config::default()
        .proxy_protocol(true)
        .max_line(LONGEST_STREAM_BYTES)
        .max_inflight(LONGEST_STREAM_BYTES);
    let mut engine = Engine::new(config.clone(), lines(&config), Box::new(is_quick));
    let now = Instant::now();
    let id = engine.accept(now).id;
    let (mut client, mut output) = (None, Vec::new());
    let mut come = 0;
    for piece in pieces {
        let mut piece = *piece;
        if engine.next_action(id, true) == Action::ReadHeader {
            let introduction = engine.received_header(id, piece, now);
            engine.check_invariants();
            let Ok(Some(introduction)) = introduction else {
                come += piece.len();
                continue;
            };
            client = Some((introduction.client, come + introduction.bytes));
            piece = &piece[introduction.bytes..];
        }
        if !piece.is_empty() && engine.next_action(id, true) == Action::Read {
            engine.received(id, piece, now);
            engine.check_invariants();
        }
        // What is said of the end of a stream depends on what was answered by then.
        engine.submit(usize::MAX, now, &mut Vec::new());
    }
    engine.received_end(id, now);
    engine.check_invariants();
    let unsent = engine.unsent(id).to_vec();
    output.extend_from_slice(&unsent);
    Outcome {
        client,
        output,
        framed: engine.stats().framed,
        bad_headers: engine.stats().bad_headers,
    }
}
