//! How requests and responses stand in a byte stream: the one seam between the simulation and what
//! its clients and the server speak.
//!
//! Knows no operations, and of the codecs of production only which of them is held to it.
//!
//! Rule: what differs from framing to framing stands behind [`Framing`], written the plain way;
//! the oracle has no case of its own for any of them.

mod lengths;
mod lines;
mod marked;

use crate::random::Random;
use lengths::Lengths;
use lines::Lines;
pub(crate) use marked::GO_ON;
use marked::Marked;
use reactor_pool::codec::Codec;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// What the bytes of a client amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A request, without what frames it.
    Request(Vec<u8>),
    /// A request that is too long; where nothing behind it can be a request, the last.
    TooLong { is_last: bool },
    /// The stream ended inside a request.
    Incomplete,
}

impl Cut {
    /// What counts for the bound on requests in flight.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Cut::Request(payload) => payload.len(),
            Cut::TooLong { .. } | Cut::Incomplete => 0,
        }
    }
}

/// A framing with its limit.
pub(crate) trait Framing: fmt::Debug {
    /// What the server of production is given.
    fn codec(&self) -> Arc<dyn Codec>;

    /// Whether no other request of its connection runs beside this one.
    fn runs_alone(&self, payload: &[u8]) -> bool {
        let _ = payload;
        false
    }

    /// Whether no request can follow this one.
    fn is_last(&self, payload: &[u8]) -> bool {
        let _ = payload;
        false
    }

    /// What a client is told that has sent this part of a request; empty if nothing.
    fn interim(&self, partial: &[u8]) -> &'static [u8] {
        let _ = partial;
        b""
    }

    /// The longest request, what frames it not counted.
    fn limit(&self) -> usize;

    /// Bytes that stand beside a request, or beside a response: the fewest.
    fn overhead(&self) -> usize;

    /// The longest part of a request that has to be remembered.
    fn max_partial_bytes(&self) -> usize;

    /// For one connection.
    fn cutter(&self) -> Box<dyn Cutter>;

    /// Cuts a whole byte stream: the definition, to which the cutter is held at the end of each
    /// connection.
    fn cut_whole(&self, stream: &[u8], ended: bool) -> Vec<Cut>;

    /// What whole requests that stand side by side ask.
    fn requests<'a>(&self, run: &'a [u8]) -> Vec<&'a [u8]>;

    /// What whole responses that follow each other say.
    fn responses<'a>(&self, output: &'a [u8]) -> Vec<&'a [u8]>;

    /// The response that says `text`; none if no response can.
    fn response(&self, text: &[u8]) -> Option<Vec<u8>>;

    // What clients need.

    /// Bytes of which requests may consist.
    fn alphabet(&self) -> &'static [u8];

    /// How long a request of a client is that likes long ones.
    fn long(&self, random: &mut Random) -> usize;

    /// What a client sends that asks for `payload`; which may be too long, or not be meant well.
    fn request(&self, payload: Vec<u8>, random: &mut Random) -> Vec<u8>;
}

/// Cuts a byte stream as it comes.
pub(crate) trait Cutter: fmt::Debug {
    /// Adds what bytes amount to, with where in the stream each ends.
    fn add(&mut self, bytes: &[u8], cuts: &mut VecDeque<(Cut, usize)>);

    /// The stream has ended.
    fn end(&mut self, cuts: &mut VecDeque<(Cut, usize)>);

    /// What has come and is no request yet will not be one.
    fn forget(&mut self);

    /// Bytes that have come.
    fn bytes(&self) -> usize;

    /// Where the last one ended that was too long before its end came.
    fn skipped_until(&self) -> usize;

    /// What has come of a request that is not whole; it has to be remembered.
    fn partial(&self) -> &[u8];

    /// Whether the first bytes of a request have come, and not the last.
    fn is_begun(&self) -> bool {
        !self.partial().is_empty()
    }
}

/// The framing of a run, where a connection may have twice `max_line` bytes in flight.
pub(crate) fn draw(max_line: usize, random: &mut Random) -> Rc<dyn Framing> {
    let framing: Rc<dyn Framing> = if random.percent(60) {
        Rc::new(Lines::new(max_line))
    } else {
        // One request alone may have more than the bound on those in flight.
        let limit = max_line * random.pick(&[1, 1, 1, 3]);
        let width = random.pick(&[1, 2, 4, 4, 4, 8]);
        Rc::new(Lengths::new(limit, width, random.percent(70)))
    };
    match random.percent(25) {
        true => Rc::new(Marked::new(framing)),
        false => framing,
    }
}
