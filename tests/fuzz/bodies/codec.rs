//! What a codec finds in a stream, cut as a connection cuts it.
//!
//! Knows of a codec what its trait promises, and of no engine.
//!
//! Rule: what every codec has to keep to is checked at each call; how the bytes were split never
//! changes what is found.

use reactor_pool::codec::{Codec, Frame, Notes, Refusal, Then};

/// What a place in the order of a connection is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Request {
        /// With everything that frames it.
        whole: Vec<u8>,
        payload: Vec<u8>,
        is_last: bool,
        runs_alone: bool,
    },
    Refused(Refusal),
    /// The stream ended inside a request.
    Incomplete,
}

/// The pieces of a stream, of these lengths in turn.
pub(crate) fn pieces(stream: &[u8], lengths: [usize; 4]) -> Vec<&[u8]> {
    let (mut pieces, mut rest) = (Vec::new(), stream);
    for length in lengths.into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// All that `codec` finds in `stream`: in one piece, in pieces of these lengths in turn, and byte
/// by byte, which has to be the same.
pub(crate) fn found(codec: &impl Codec, stream: &[u8], lengths: [usize; 4]) -> Vec<Found> {
    let whole = found_in(codec, &[stream]);
    for lengths in [lengths, [1; 4]] {
        let split = found_in(codec, &pieces(stream, lengths));
        assert_eq!(split, whole, "in pieces of {lengths:?}: {}", show(stream));
    }
    whole
}

fn found_in(codec: &impl Codec, pieces: &[&[u8]]) -> Vec<Found> {
    let (mut kept, mut found) = (Vec::new(), Vec::new());
    let (mut seen, mut notes) = (0, Notes::default());
    let mut is_skipping = false;
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            if is_skipping {
                let end = codec.skip(&kept);
                is_skipping = end.is_none();
                kept.drain(..end.unwrap_or(kept.len()));
            }
            let frame = codec.frame(&kept, seen, &mut notes);
            check(codec, &kept, &frame);
            if frame != Frame::Incomplete {
                (seen, notes) = (0, Notes::default());
            }
            match frame {
                Frame::Incomplete => {
                    seen = kept.len();
                    break;
                }
                Frame::Request {
                    payload,
                    bytes,
                    is_last,
                    runs_alone,
                } => {
                    let payload = kept[payload].to_vec();
                    let whole = kept.drain(..bytes).collect();
                    found.push(Found::Request {
                        whole,
                        payload,
                        is_last,
                        runs_alone,
                    });
                    if is_last {
                        return found;
                    }
                }
                Frame::Blank { bytes } => drop(kept.drain(..bytes)),
                Frame::Malformed { why, bytes, then } => {
                    kept.drain(..bytes);
                    found.push(Found::Refused(why));
                    match then {
                        Then::Next => {}
                        Then::Rest => is_skipping = true,
                        Then::Close => return found,
                        _ => panic!("{then:?}: nothing here knows it"),
                    }
                }
                _ => panic!("{frame:?}: nothing here knows it"),
            }
        }
    }
    if !kept.is_empty() {
        found.push(Found::Incomplete);
    }
    found
}

/// Whether what a codec said of `bytes` can be.
fn check(codec: &impl Codec, bytes: &[u8], frame: &Frame) {
    match frame {
        Frame::Incomplete => assert!(
            bytes.len() <= codec.max_incomplete_bytes(),
            "{} bytes are still incomplete",
            bytes.len()
        ),
        Frame::Request {
            payload,
            bytes: length,
            ..
        } => {
            assert!(*length > 0 && *length <= bytes.len(), "{frame:?}");
            assert!(payload.start <= payload.end && payload.end <= *length);
            // So a worker finds the same, which cuts it once more.
            let again = codec.frame(&bytes[..*length], 0, &mut Notes::default());
            assert_eq!(&again, frame, "{}", show(bytes));
        }
        Frame::Malformed { bytes: length, .. } | Frame::Blank { bytes: length } => {
            assert!(*length > 0 && *length <= bytes.len(), "{frame:?}");
        }
        _ => panic!("{frame:?}: nothing here knows it"),
    }
}

/// All reasons for which a request is refused.
pub(crate) const REFUSALS: [Refusal; 11] = [
    Refusal::Busy,
    Refusal::TooLong,
    Refusal::Malformed,
    Refusal::Incomplete,
    Refusal::Internal,
    Refusal::TooManyConnections,
    Refusal::IdleTimeout,
    Refusal::NoProxyHeader,
    Refusal::ProxyHeader,
    Refusal::Http,
    Refusal::RequestTimeout,
];

/// Bytes for the message of a failed check.
pub(crate) fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
