//! Any framing whose codec says more of requests than where they are: that one runs alone, that
//! one is the last, that a client is to go on with one.
//!
//! Knows nothing of the framing beneath it.
//!
//! Rule: the marks are in the bytes, so that codec and oracle see the same ones.

use super::{Cut, Cutter, Framing};
use crate::random::Random;
use reactor_pool::codec::{Codec, Frame, NotOneResponse, Notes, Outcome, Refusal};
use std::rc::Rc;
use std::sync::Arc;

/// What a client is told to go on with what it has begun.
pub(crate) const GO_ON: &[u8] = b"GO ON";

#[derive(Debug)]
pub(super) struct Marked {
    inner: Rc<dyn Framing>,
    /// [`GO_ON`] as a whole response.
    go_on: &'static [u8],
}

impl Marked {
    pub(super) fn new(inner: Rc<dyn Framing>) -> Marked {
        let go_on = inner.response(GO_ON).expect("it is short");
        Marked {
            inner,
            // A codec says it for ever, so a few bytes of each run are never given back.
            go_on: Box::leak(go_on.into_boxed_slice()),
        }
    }
}

fn runs_alone(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(b'h' | b'H'))
}

fn is_last(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(b'f' | b'F'))
}

/// Whether the client hears something that has sent this part of a request.
fn goes_on(partial: &[u8]) -> bool {
    partial.len() % 3 == 1
}

impl Framing for Marked {
    fn codec(&self) -> Arc<dyn Codec> {
        Arc::new(MarkedCodec {
            inner: self.inner.codec(),
            go_on: self.go_on,
        })
    }

    fn runs_alone(&self, payload: &[u8]) -> bool {
        runs_alone(payload)
    }

    fn is_last(&self, payload: &[u8]) -> bool {
        is_last(payload)
    }

    fn interim(&self, partial: &[u8]) -> &'static [u8] {
        match goes_on(partial) {
            true => self.go_on,
            false => b"",
        }
    }

    fn limit(&self) -> usize {
        self.inner.limit()
    }

    fn overhead(&self) -> usize {
        self.inner.overhead()
    }

    fn max_partial_bytes(&self) -> usize {
        self.inner.max_partial_bytes()
    }

    fn cutter(&self) -> Box<dyn Cutter> {
        self.inner.cutter()
    }

    fn cut_whole(&self, stream: &[u8], ended: bool) -> Vec<Cut> {
        self.inner.cut_whole(stream, ended)
    }

    fn requests<'a>(&self, run: &'a [u8]) -> Vec<&'a [u8]> {
        self.inner.requests(run)
    }

    fn responses<'a>(&self, output: &'a [u8]) -> Vec<&'a [u8]> {
        self.inner.responses(output)
    }

    fn response(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.inner.response(text)
    }

    fn alphabet(&self) -> &'static [u8] {
        self.inner.alphabet()
    }

    fn long(&self, random: &mut Random) -> usize {
        self.inner.long(random)
    }

    fn request(&self, payload: Vec<u8>, random: &mut Random) -> Vec<u8> {
        self.inner.request(payload, random)
    }
}

/// A codec of production that sees the marks.
#[derive(Debug)]
struct MarkedCodec {
    inner: Arc<dyn Codec>,
    go_on: &'static [u8],
}

impl Codec for MarkedCodec {
    fn max_incomplete_bytes(&self) -> usize {
        self.inner.max_incomplete_bytes()
    }

    fn frame(&self, bytes: &[u8], seen: usize, notes: &mut Notes) -> Frame {
        match self.inner.frame(bytes, seen, notes) {
            Frame::Request {
                payload,
                bytes: length,
                ..
            } => Frame::Request {
                is_last: is_last(&bytes[payload.clone()]),
                runs_alone: runs_alone(&bytes[payload.clone()]),
                payload,
                bytes: length,
            },
            other => other,
        }
    }

    fn skip(&self, bytes: &[u8]) -> Option<usize> {
        self.inner.skip(bytes)
    }

    fn interim(&self, incomplete: &[u8]) -> &'static [u8] {
        match goes_on(incomplete) {
            true => self.go_on,
            false => b"",
        }
    }

    fn begin(&self, request: &[u8], out: &mut Vec<u8>) {
        self.inner.begin(request, out);
    }

    fn finish(
        &self,
        request: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        closes: bool,
    ) -> Result<Outcome, NotOneResponse> {
        self.inner.finish(request, out, start, closes)
    }

    fn refuse(&self, why: Refusal, request: &[u8], out: &mut Vec<u8>) {
        self.inner.refuse(why, request, out);
    }
}
