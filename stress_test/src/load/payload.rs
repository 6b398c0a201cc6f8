//! The arguments of ECHO and HASH, each of which carries its frame.
//!
//! Knows frames and the seed; not which operation is asked for.
//!
//! Rule: payloads of neighbouring frames differ, so that two answers that change places can be
//! noticed.

use fastrand::Rng;

use crate::load::frame::{Frame, append_tag};
use crate::load::plan::Span;
use crate::load::sizes::Sizes;
use crate::random;
use crate::wire::{Framing, Limits};

/// Where the filler of a payload may begin in the table of filler.
const FILLER_STARTS: usize = 1 << 16;
/// However small the limits are, so many bytes of filler follow after any start.
const SHORTEST_REST: usize = 128;
/// The printable characters that are not a space.
const PRINTABLE: Span = Span {
    min: 0x21,
    max: 0x7e,
};
/// Every byte; a line cannot hold all of them.
const ANY: Span = Span {
    min: 0,
    max: u8::MAX as u32,
};

/// The arguments of ECHO and HASH.
#[derive(Debug)]
pub(crate) struct Payloads {
    sizes: Sizes,
    limits: Limits,
    first_characters: Rotation,
    /// Printable characters, or bytes of all kinds where the framing allows them; every payload
    /// takes a stretch of it.
    filler: Vec<u8>,
}

impl Payloads {
    /// The payloads of `sizes` characters in the run `seed`.
    pub(crate) fn new(seed: u64, sizes: Sizes, limits: Limits) -> Self {
        // Enough after any start for the longest payload and for a line over the limit.
        let longest = (limits.max_line_bytes * 2)
            .max(sizes.max() as usize)
            .max(SHORTEST_REST);
        let length = FILLER_STARTS + longest;
        let characters = match limits.framing {
            Framing::Lines => PRINTABLE,
            Framing::Length => ANY,
        };
        let mut random = random::of(seed, u32::MAX, u32::MAX);
        let filler = (0..length).map(|_| characters.pick(&mut random) as u8);
        Self {
            sizes,
            limits,
            first_characters: Rotation::new(seed, characters),
            filler: filler.collect(),
        }
    }

    /// The limits of the server under test.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Appends a payload: `c12.f345.` and filler. One that is too short for that begins with a
    /// character that is another one for the frames before and after it, and goes on with filler.
    #[inline(always)]
    pub(crate) fn append(&self, frame: Frame, random: &mut Rng, line: &mut Vec<u8>) {
        let length = self.sizes.pick(random) as usize;
        let start = line.len();
        append_tag(frame, line);
        if line.len() - start > length {
            line.truncate(start);
            if length > 0 {
                line.push(self.first_characters.at(frame) as u8);
            }
        }
        self.append_filler(length - (line.len() - start), random, line);
    }

    /// Appends `length` characters of filler, at most twice the longest line or 128.
    pub(crate) fn append_filler(&self, length: usize, random: &mut Rng, line: &mut Vec<u8>) {
        debug_assert!(length <= self.filler.len() - FILLER_STARTS);
        let start = random.usize(..FILLER_STARTS);
        line.extend_from_slice(&self.filler[start..start + length]);
    }
}

/// Numbers of a span in an order in which neighbours differ: from frame to frame it steps on by
/// about the golden section of the span, and comes to each number equally often.
#[derive(Debug)]
pub(crate) struct Rotation {
    seed: u64,
    span: Span,
    step: u64,
}

impl Rotation {
    /// The numbers of `span` in the run `seed`.
    pub(crate) fn new(seed: u64, span: Span) -> Self {
        let width = span.width();
        let golden = (width as f64 * 0.618) as u64;
        let step = (golden.max(1)..).find(|&step| greatest_common_divisor(step, width) == 1);
        Self {
            seed,
            span,
            step: step.expect("there is a number without a common divisor above any number"),
        }
    }

    /// The number of `frame`.
    pub(crate) fn at(&self, frame: Frame) -> u32 {
        let width = self.span.width();
        let start = random::of(self.seed, frame.client, u32::MAX).u64(..width);
        let steps = u64::from(frame.sequence) % width;
        self.span.min + ((start + steps * (self.step % width)) % width) as u32
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}
