//! What a request and a response look like on the wire.
//!
//! Knows no connections, no order and no time: bytes in, the place of a request in them out.
//!
//! Rule: no other file of the server mentions how a request ends. The server counts bytes and
//! requests; what it has to say itself is a [`Refusal`], and the codec finds the words.

mod lines;

pub use lines::Lines;
use std::fmt;
use std::ops::Range;

/// What stands at the front of the bytes of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole request.
    Request {
        /// Where the bytes are that the handler gets.
        payload: Range<usize>,
        /// Length of the whole request, with everything that frames it.
        bytes: usize,
    },
    /// The beginning of a request, or nothing.
    Incomplete,
    /// What can never become a request.
    Malformed {
        /// What its client is told, in the place of a response.
        why: Refusal,
        /// How much of the bytes belongs to it.
        bytes: usize,
        /// Whether it ends there. If not, the rest of it is what [`Codec::skip`] says.
        is_over: bool,
    },
}

/// What the server answers itself, in the place of the handler's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request found no slot of the work queue in time.
    Busy,
    /// The request passed the codec's limit.
    TooLong,
    /// The stream ended inside a request.
    Incomplete,
    /// The handler panicked, or what it wrote is no response.
    Internal,
    /// The connection limit is reached; the connection closes.
    TooManyConnections,
    /// Nothing has moved for the idle timeout; the connection closes.
    IdleTimeout,
}

/// How a handler's response counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
/// requests with it, and the workers cut them once more and write the responses.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// The longest request that [`Codec::frame`] may still call incomplete, in bytes.
    fn max_incomplete_bytes(&self) -> usize;

    /// What stands at the front of `bytes`; the first `seen` of them were [`Frame::Incomplete`]
    /// before.
    fn frame(&self, bytes: &[u8], seen: usize) -> Frame;

    /// How many of `bytes` are the rest of a malformed request, when its end is among them.
    fn skip(&self, bytes: &[u8]) -> Option<usize>;

    /// Ends the response to `request`, a whole one, that the handler wrote to `out` from `start`
    /// on.
    ///
    /// # Errors
    /// What the handler wrote would be no response, or more than one; `out` is then of no use from
    /// `start` on.
    fn finish(
        &self,
        request: &[u8],
        out: &mut Vec<u8>,
        start: usize,
    ) -> Result<Outcome, NotOneResponse>;

    /// Appends the response that tells a client `why`; `request` is the whole one that is refused,
    /// or empty if there is none.
    fn refuse(&self, why: Refusal, request: &[u8], out: &mut Vec<u8>);
}

/// Each whole request in `frames`, with its payload.
pub(crate) fn frames_of<'a>(
    frames: &'a [u8],
    codec: &dyn Codec,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Frame::Request { payload, bytes } = codec.frame(rest, 0) else {
            unreachable!("a run consists of whole requests")
        };
        let frame;
        (frame, rest) = rest.split_at(bytes);
        Some((frame, &frame[payload]))
    })
}
