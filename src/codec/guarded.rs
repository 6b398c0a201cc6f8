//! A codec whose mistakes end one connection.
//!
//! Knows no framing: it calls a [`Codec`] that may be anybody's, and checks what that says.
//!
//! Rule: no panic of a codec passes, and no answer that would make the server read past its bytes,
//! stand still, or keep more than the codec's own bound.

use super::{Codec, Frame, NotOneResponse, Notes, Outcome, Refusal};
use crate::log::error;
use crate::panics::catch;
use std::sync::Arc;

/// A codec, shared by the event loop and the workers.
#[derive(Debug)]
pub(crate) struct Guarded<C> {
    codec: Arc<C>,
    max_incomplete_bytes: usize,
}

/// The codec has panicked, or said what cannot be right: its connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// A whole request, and the part of it that the handler gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole<'a> {
    pub(crate) frame: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<C> Clone for Guarded<C> {
    fn clone(&self) -> Guarded<C> {
        Guarded {
            codec: Arc::clone(&self.codec),
            ..*self
        }
    }
}

impl<C: Codec> Guarded<C> {
    pub(crate) fn new(codec: Arc<C>) -> Guarded<C> {
        let max_incomplete_bytes = catch(|| codec.max_incomplete_bytes());
        Guarded {
            codec,
            max_incomplete_bytes: max_incomplete_bytes.unwrap_or(0),
        }
    }

    pub(crate) fn max_incomplete_bytes(&self) -> usize {
        self.max_incomplete_bytes
    }

    /// Catches a panic of the codec once for all `calls`: a catch for each request costs a
    /// twentieth of the throughput of deep pipelines.
    pub(crate) fn call<R>(
        &self,
        calls: impl FnOnce(Checked<'_, C>) -> Result<R, Broken>,
    ) -> Result<R, Broken> {
        catch(|| calls(self.checked())).unwrap_or_else(|panic| {
            error!(panic, "the codec panicked");
            Err(Broken)
        })
    }

    /// For calls inside a catch of the caller's.
    pub(crate) fn checked(&self) -> Checked<'_, C> {
        Checked {
            codec: &self.codec,
            max_incomplete_bytes: self.max_incomplete_bytes,
        }
    }

    /// Appends the words of a refusal, whole or not at all.
    pub(crate) fn refuse(
        &self,
        why: Refusal,
        request: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let start = out.len();
        let refused = self.call(|codec| {
            codec.refuse(why, request, out);
            Ok(())
        });
        if refused.is_err() {
            out.truncate(start);
        }
        refused
    }
}

/// A codec whose panics somebody catches, and whose answers are checked.
pub(crate) struct Checked<'a, C> {
    codec: &'a C,
    max_incomplete_bytes: usize,
}

impl<C> Clone for Checked<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Checked<'_, C> {}

impl<C: Codec> Checked<'_, C> {
    // Inlined, as the calls in it are, it buys a tenth of the throughput of deep pipelines.
    #[inline(always)]
    pub(crate) fn frame(
        self,
        bytes: &[u8],
        seen: usize,
        notes: &mut Notes,
    ) -> Result<Frame, Broken> {
        let frame = self.codec.frame(bytes, seen, notes);
        let is_right = match &frame {
            Frame::Request {
                payload,
                bytes: length,
                ..
            } => {
                *length > 0
                    && *length <= bytes.len()
                    && payload.start <= payload.end
                    && payload.end <= *length
            }
            Frame::Malformed { bytes: length, .. } | Frame::Blank { bytes: length } => {
                *length > 0 && *length <= bytes.len()
            }
            Frame::Incomplete => bytes.len() <= self.max_incomplete_bytes,
        };
        if is_right {
            Ok(frame)
        } else {
            error!("the codec found a request that cannot be where it says");
            Err(Broken)
        }
    }

    pub(crate) fn foreign(self, bytes: &[u8], seen: usize) -> Option<Refusal> {
        self.codec.foreign(bytes, seen)
    }

    pub(crate) fn interim(self, incomplete: &[u8]) -> &'static [u8] {
        self.codec.interim(incomplete)
    }

    pub(crate) fn skip(self, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        match self.codec.skip(bytes) {
            Some(end) if end > bytes.len() => {
                error!("the codec skips more bytes than there are");
                Err(Broken)
            }
            end => Ok(end),
        }
    }

    /// The first of the whole requests in `run`.
    pub(crate) fn first<'b>(self, run: &'b [u8]) -> Result<Whole<'b>, Broken> {
        let Frame::Request { payload, bytes, .. } = self.frame(run, 0, &mut Notes::default())?
        else {
            return Err(Broken);
        };
        let frame = &run[..bytes];
        let payload = &frame[payload];
        Ok(Whole { frame, payload })
    }

    /// Each of the whole requests in `run`; nothing comes behind an error.
    pub(crate) fn all<'b>(self, run: &'b [u8]) -> impl Iterator<Item = Result<Whole<'b>, Broken>> {
        let mut rest = run;
        std::iter::from_fn(move || {
            let first = (!rest.is_empty()).then(|| self.first(rest))?;
            rest = first.map_or(&[], |whole| &rest[whole.frame.len()..]);
            Some(first)
        })
    }

    pub(crate) fn begin(self, request: &[u8], out: &mut Vec<u8>) {
        self.codec.begin(request, out);
    }

    pub(crate) fn finish(
        self,
        request: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        closes: bool,
    ) -> Result<Outcome, NotOneResponse> {
        self.codec.finish(request, out, start, closes)
    }

    pub(crate) fn refuse(self, why: Refusal, request: &[u8], out: &mut Vec<u8>) {
        self.codec.refuse(why, request, out);
    }
}
