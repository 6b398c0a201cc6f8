//! A codec whose mistakes end one connection.
//!
//! Knows no framing: it calls a [`Codec`] that may be anybody's, and checks what that says.
//!
//! Rule: no panic of a codec passes, and no answer that would make the server read past its bytes,
//! stand still, or keep more than the codec's own bound.

use super::{Codec, Frame, Refusal};
use crate::log::error;
use crate::panics::catch;
use std::sync::Arc;

/// A codec, shared by the event loop and the workers.
#[derive(Debug, Clone)]
pub(crate) struct Guarded(Arc<dyn Codec>);

/// The codec has panicked, or said what cannot be right: its connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// A whole request, and the part of it that the handler gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole<'a> {
    pub(crate) whole: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Guarded {
    pub(crate) fn new(codec: Arc<dyn Codec>) -> Guarded {
        Guarded(codec)
    }

    pub(crate) fn max_incomplete_bytes(&self) -> usize {
        catch(|| self.0.max_incomplete_bytes()).unwrap_or(0)
    }

    pub(crate) fn frame(&self, bytes: &[u8], seen: usize) -> Result<Frame, Broken> {
        let frame = self.call(|| self.0.frame(bytes, seen))?;
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
            Frame::Malformed { bytes: length, .. } => *length > 0 && *length <= bytes.len(),
            Frame::Incomplete => bytes.len() <= self.max_incomplete_bytes(),
        };
        if !is_right {
            error!("the codec found a request that cannot be where it says");
            return Err(Broken);
        }
        Ok(frame)
    }

    pub(crate) fn skip(&self, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        let end = self.call(|| self.0.skip(bytes))?;
        match end {
            Some(end) if end > bytes.len() => Err(Broken),
            end => Ok(end),
        }
    }

    /// The codec itself, for calls inside a catch of the caller's.
    pub(crate) fn raw(&self) -> &dyn Codec {
        &*self.0
    }

    /// The first of the whole requests in `run`, and those behind it. A panic passes.
    pub(crate) fn split_first<'a>(&self, run: &'a [u8]) -> Result<(Whole<'a>, &'a [u8]), Broken> {
        let Frame::Request { payload, bytes, .. } = self.0.frame(run, 0) else {
            return Err(Broken);
        };
        let (whole, rest) = run.split_at_checked(bytes).ok_or(Broken)?;
        let payload = whole.get(payload).ok_or(Broken)?;
        Ok((Whole { whole, payload }, rest))
    }

    pub(crate) fn refuse(
        &self,
        why: Refusal,
        request: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        self.call(|| self.0.refuse(why, request, out))
    }

    fn call<R>(&self, call: impl FnOnce() -> R) -> Result<R, Broken> {
        catch(call).map_err(|panic| {
            error!(panic, "the codec panicked");
            Broken
        })
    }

    /// Each whole request of a run, with its payload.
    pub(crate) fn frames<'a>(
        &self,
        run: &'a [u8],
    ) -> impl Iterator<Item = Result<(&'a [u8], &'a [u8]), Broken>> {
        let mut rest = run;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let Ok(Frame::Request { payload, bytes, .. }) = self.frame(rest, 0) else {
                rest = &[];
                return Some(Err(Broken));
            };
            let frame;
            (frame, rest) = rest.split_at(bytes);
            Some(Ok((frame, &frame[payload])))
        })
    }
}
