//! What a request and a response look like on the wire.
//!
//! Knows no connections, no order and no time: bytes in, the place of a request in them out.
//!
//! Rule: no other file of the server mentions how a request ends. The server counts bytes and
//! requests; what it has to say itself is a [`Refusal`], and the codec finds the words.

mod guarded;
#[cfg(feature = "http")]
pub mod http1;
mod length_delimited;
mod lines;

pub(crate) use guarded::{Broken, Checked, Guarded, Whole};
#[cfg(feature = "http")]
pub use http1::Http1;
pub use length_delimited::{ByteOrder, LengthDelimited};
pub use lines::Lines;
use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

/// What stands at the front of the bytes of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// A whole request.
    Request {
        /// Where the bytes are that the handler gets.
        payload: Range<usize>,
        /// Length of the whole request, with everything that frames it; at least one byte.
        bytes: usize,
        /// No request can follow it: the connection closes after its response.
        is_last: bool,
        /// Its effects are to come after those of the requests before it on its connection, and
        /// before those of the requests behind it: no other one runs while it does.
        runs_alone: bool,
    },
    /// The beginning of a request, or nothing.
    Incomplete,
    /// What belongs to no request and is thrown away, such as an empty line between two.
    Blank {
        /// How many bytes that is; at least one.
        bytes: usize,
    },
    /// What can never become a request.
    Malformed {
        /// What its client is told, in the place of a response.
        why: Refusal,
        /// How many of the bytes belong to it; at least one.
        bytes: usize,
        /// What follows it.
        then: Then,
    },
}

/// What a codec notes of the beginning of a request, to go on there when more of it has come.
pub type Notes = [usize; 4];

/// What follows a malformed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Then {
    /// The next request.
    Next,
    /// The rest of it, whose end [`Codec::skip`] finds.
    Rest,
    /// Nothing that can be told from a request: the connection closes after the refusal.
    Close,
}

/// What the server answers itself, in the place of the handler's response.
///
/// It displays as a few plain words, such as `server busy`: a codec's answer to the kinds that it
/// does not name, which another version of this crate may add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The request found no slot of the work queue in time.
    Busy,
    /// The request passed the codec's limit.
    TooLong,
    /// What came is no request.
    Malformed,
    /// The stream ended inside a request.
    Incomplete,
    /// The handler panicked, or what it wrote is no response.
    Internal,
    /// The connection limit is reached; the connection closes.
    TooManyConnections,
    /// Nothing has moved for the idle timeout; the connection closes.
    IdleTimeout,
    /// The connection does not begin with a valid PROXY header, which it has to; it closes.
    NoProxyHeader,
    /// The connection begins with a PROXY header, and none is expected; it closes.
    ProxyHeader,
    /// The connection begins with a request of HTTP, which is not served; it closes.
    Http,
    /// A request was begun and has not come whole in time; the connection closes.
    RequestTimeout,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Busy => "server busy",
            Refusal::TooLong => "request too long",
            Refusal::Malformed => "malformed request",
            Refusal::Incomplete => "incomplete request",
            Refusal::Internal => "internal error",
            Refusal::TooManyConnections => "too many connections",
            Refusal::IdleTimeout => "idle timeout",
            Refusal::NoProxyHeader => "no valid PROXY header",
            Refusal::ProxyHeader => "unexpected PROXY header",
            Refusal::Http => "this is not an HTTP server",
            Refusal::RequestTimeout => "request timeout",
        })
    }
}

/// How a handler's response counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// As a success.
    Ok,
    /// As an error that the handler answered with.
    Error,
}

/// What the handler wrote cannot be sent as one response; this is why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOneResponse(pub &'static str);

/// Finds the requests in a byte stream, and puts responses into one.
///
/// It keeps nothing between calls, so one codec serves all connections: the event loop cuts
/// requests with it, and the workers cut them once more and write the responses. Given the same
/// bytes it finds the same requests, however they are split.
///
/// # Panics
/// A panic in a codec, or an answer that cannot be right, such as a request of no bytes, closes
/// the connection of which the bytes are, and harms no other.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// The longest request that [`Codec::frame`] may still call incomplete, in bytes: as much
    /// memory as a part of a request may take. It is asked for once.
    fn max_incomplete_bytes(&self) -> usize;

    /// What stands at the front of `bytes`; the first `seen` of them were [`Frame::Incomplete`]
    /// before. The codec finds in `notes` what it wrote there then; at first, zeros.
    ///
    /// A client chooses how many calls one request takes, up to one for each byte. So a call
    /// should look at the new bytes, and at few of the others: that is what notes are for. With
    /// nothing seen and nothing noted it finds the same.
    fn frame(&self, bytes: &[u8], seen: usize, notes: &mut Notes) -> Frame;

    /// What a client is told that speaks another protocol, after which its connection closes.
    /// Asked before a request is framed, until the first one of a connection is: `bytes` are all
    /// that have come, at least one, and the first `seen` of them were [`Frame::Incomplete`]
    /// before.
    fn foreign(&self, bytes: &[u8], seen: usize) -> Option<Refusal> {
        let _ = (bytes, seen);
        None
    }

    /// What is sent to a client that waits for it before it sends the rest of a request, such as
    /// the `100 Continue` of HTTP. `incomplete` is the beginning of that request, at least one
    /// byte. The codec is asked each time that it has grown.
    fn interim(&self, incomplete: &[u8]) -> &'static [u8] {
        let _ = incomplete;
        b""
    }

    /// How many of `bytes` are the rest of a malformed request, when its end is among them. Only
    /// for a codec that says [`Then::Rest`].
    fn skip(&self, bytes: &[u8]) -> Option<usize> {
        let _ = bytes;
        None
    }

    /// Begins the response to `request`, a whole one: what has to stand before that which the
    /// handler writes.
    fn begin(&self, request: &[u8], out: &mut Vec<u8>) {
        let _ = (request, out);
    }

    /// Ends the response to `request`, a whole one, that the handler wrote to `out`. It begins at
    /// `start`, with what [`Codec::begin`] has put there. `closes` says that the handler has the
    /// connection closed after it ([`Response::close_after`]).
    ///
    /// [`Response::close_after`]: crate::Response::close_after
    ///
    /// # Errors
    /// What the handler wrote would be no response, or more than one; `out` is then of no use from
    /// `start` on.
    fn finish(
        &self,
        request: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        closes: bool,
    ) -> Result<Outcome, NotOneResponse>;

    /// Appends the response that tells a client `why`. `request` is the request that is refused: a
    /// whole one, or the malformed bytes; or empty if there is none.
    fn refuse(&self, why: Refusal, request: &[u8], out: &mut Vec<u8>);
}

/// A codec that others have, too, or that is chosen at run time.
impl<C: Codec + ?Sized> Codec for Arc<C> {
    fn max_incomplete_bytes(&self) -> usize {
        C::max_incomplete_bytes(self)
    }

    fn frame(&self, bytes: &[u8], seen: usize, notes: &mut Notes) -> Frame {
        C::frame(self, bytes, seen, notes)
    }

    fn foreign(&self, bytes: &[u8], seen: usize) -> Option<Refusal> {
        C::foreign(self, bytes, seen)
    }

    fn interim(&self, incomplete: &[u8]) -> &'static [u8] {
        C::interim(self, incomplete)
    }

    fn skip(&self, bytes: &[u8]) -> Option<usize> {
        C::skip(self, bytes)
    }

    fn begin(&self, request: &[u8], out: &mut Vec<u8>) {
        C::begin(self, request, out);
    }

    fn finish(
        &self,
        request: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        closes: bool,
    ) -> Result<Outcome, NotOneResponse> {
        C::finish(self, request, out, start, closes)
    }

    fn refuse(&self, why: Refusal, request: &[u8], out: &mut Vec<u8>) {
        C::refuse(self, why, request, out);
    }
}

/// Appends the words of a refusal: those of docs/protocol.md, which `Lines` and `LengthDelimited`
/// share.
fn append_words(why: Refusal, limit: usize, out: &mut Vec<u8>) {
    let written = match why {
        Refusal::TooLong => write!(out, "ERR line too long (limit {limit} bytes)"),
        Refusal::Incomplete => write!(out, "ERR incomplete line"),
        why => write!(out, "ERR {why}"),
    };
    written.expect("a Vec takes every byte");
}
