//! One pass over the bytes of a connection: what is cut from them gets its place in the order.
//!
//! Knows neither phase nor output: it is told how many requests may be in flight.
//!
//! Rule: a bound ends the pass, and what is left is for the next one.

use super::Counts;
use super::batch::Batch;
use super::input::{Cut, Input};
use super::order::Order;
use super::rules::Rules;
use crate::codec::{Broken, Checked, Codec, Refusal};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Pass<'a, C> {
    pub(super) input: &'a mut Input,
    pub(super) order: &'a mut Order,
    pub(super) rules: &'a Rules<C>,
    pub(super) counts: &'a mut Counts,
    /// How many requests may be in flight.
    pub(super) most: usize,
    pub(super) now: Instant,
}

/// How a pass ended.
#[derive(Debug)]
pub(super) struct Passed {
    /// How many bytes were not cut.
    pub(super) left: usize,
    /// They wait for a place, or for room.
    pub(super) is_blocked: bool,
    /// They wait for a place.
    pub(super) lacks_place: bool,
    /// No request can follow.
    pub(super) is_last: bool,
}

/// Bytes while they are cut.
#[derive(Debug)]
struct Bytes<'a> {
    all: &'a [u8],
    /// Those of them that have not been cut.
    rest: &'a [u8],
    /// Quick requests that have no place yet.
    batch: Batch,
    is_last: bool,
}

/// Why cutting has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// Nothing whole is left.
    Starved,
    /// There is no place for what follows, or nothing may follow.
    Full,
    /// There is no room for what follows.
    NoRoom,
}

impl<C: Codec> Pass<'_, C> {
    /// Opens places for the requests in these bytes, as far as the bounds allow.
    pub(super) fn run(mut self, all: &[u8]) -> Passed {
        let mut bytes = Bytes {
            all,
            rest: all,
            batch: Batch::default(),
            is_last: false,
        };
        let codec = &self.rules.codec;
        let cut = codec.call(|codec| self.cut(&mut bytes, codec));
        bytes.batch.open(all, self.order, self.now);
        Passed {
            left: bytes.rest.len(),
            is_blocked: !matches!(cut, Ok(Stopped::Starved)),
            lacks_place: matches!(cut, Ok(Stopped::Full)),
            // What stands before the codec's mistake is answered.
            is_last: bytes.is_last || cut.is_err(),
        }
    }

    /// Cuts requests and gives them their places, until a bound or the end of what is whole.
    fn cut(
        &mut self,
        bytes: &mut Bytes<'_>,
        codec: Checked<'_, impl Codec>,
    ) -> Result<Stopped, Broken> {
        let Pass {
            input,
            order,
            rules,
            counts,
            most,
            now,
        } = self;
        let (config, now) = (&rules.config, *now);
        while !bytes.is_last && order.len() + bytes.batch.requests < *most {
            // One request alone may be as large as the codec allows.
            let room = match order.is_empty() && bytes.batch.requests == 0 {
                true => usize::MAX,
                false => (2 * config.max_line)
                    .saturating_sub(order.payload_bytes() + bytes.batch.payload_bytes),
            };
            match input.cut(&mut bytes.rest, room, codec)? {
                Cut::Request {
                    frame,
                    payload,
                    is_last,
                    runs_alone,
                } => {
                    counts.framed += 1;
                    bytes.is_last = is_last;
                    if runs_alone {
                        bytes.batch.open(bytes.all, order, now);
                        order.open_alone(frame, payload.len(), now);
                    } else if !rules.is_quick(payload) {
                        bytes.batch.open(bytes.all, order, now);
                        order.open(frame, 1, payload.len(), false, now);
                    } else if !bytes.batch.takes(frame, payload) {
                        bytes.batch.open(bytes.all, order, now);
                        let start = bytes.all.len() - bytes.rest.len() - frame.len();
                        let max_run = config.max_run;
                        bytes.batch = Batch::begin(start, frame, payload, order, max_run, now);
                    }
                }
                Cut::Refused {
                    why,
                    bytes: refused,
                    is_last,
                } => {
                    bytes.batch.open(bytes.all, order, now);
                    match why {
                        Refusal::Incomplete => counts.incomplete += 1,
                        _ => counts.too_long += 1,
                    }
                    order.open_refused(why, refused, &rules.codec, now)?;
                    bytes.is_last = is_last;
                }
                // A batch has no gaps.
                Cut::Blank => bytes.batch.open(bytes.all, order, now),
                Cut::Nothing => {
                    if !bytes.rest.is_empty() {
                        let interim = codec.interim(bytes.rest);
                        bytes.batch.open(bytes.all, order, now);
                        order.open_interim(interim, now);
                    }
                    return Ok(Stopped::Starved);
                }
                Cut::NoRoom => return Ok(Stopped::NoRoom),
            }
        }
        Ok(Stopped::Full)
    }
}
