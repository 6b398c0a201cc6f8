//! What each client asks for: request number `sequence` of client `client` as a pure function of
//! the seed.
//!
//! Knows no sockets, no time and no right answers.
//!
//! Rule: a frame is always the same bytes, so nothing about it has to be kept until its answer
//! comes, and an answer that belongs to another frame can be traced to it.

use crate::check::oracle::{Ending, append_decimal};
use crate::draws::Draws;
use crate::load::hostile;
use crate::load::plan::{Limits, Mix, Plan, Span};

/// Where the filler of a payload may begin in the table of filler.
const FILLER_STARTS: u64 = 1 << 16;
/// However small the limits are, so many bytes of filler follow after any start.
const SHORTEST_REST: usize = 128;
/// How many printable characters there are that are not a space: 0x21 to 0x7e.
const PRINTABLE: u64 = 94;

/// One request of one client. Both are counted from 0; the hogs are numbered after the ordinary
/// clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Which client sends it.
    pub(crate) client: u32,
    /// The how manieth of that client it is.
    pub(crate) sequence: u32,
}

/// The requests of one group of clients.
#[derive(Debug)]
pub(crate) struct Workload {
    seed: u64,
    mix: Mix,
    /// The last sequence of each client, if there is one.
    last_sequence: Option<u32>,
    payloads: Payloads,
    sleeps: Rotation,
}

impl Workload {
    /// The requests of the ordinary clients of `plan`, which ask for `mix`.
    pub(crate) fn of_clients(plan: &Plan, mix: Mix) -> Self {
        let frames = plan.load.frames();
        Self::new(plan, mix, frames.and_then(|frames| frames.checked_sub(1)))
    }

    /// The requests of the hogs of `plan`, which ask for `mix`.
    pub(crate) fn of_hogs(plan: &Plan, mix: Mix) -> Self {
        Self::new(plan, mix, None)
    }

    fn new(plan: &Plan, mix: Mix, last_sequence: Option<u32>) -> Self {
        Self {
            seed: plan.seed,
            mix,
            last_sequence,
            payloads: Payloads::new(plan.seed, plan.payload, plan.limits),
            sleeps: Rotation::new(plan.seed, plan.sleep_ms),
        }
    }

    /// Whether the last frame of a client may shut its sending side down, so that it has to wait
    /// until everything else has been answered.
    pub(crate) fn last_frame_may_end_the_stream(&self) -> bool {
        self.mix == Mix::Errors && self.last_sequence.is_some()
    }

    /// Appends the request line of `frame` without its ending, and returns that ending.
    pub(crate) fn append_request(&self, frame: Frame, line: &mut Vec<u8>) -> Ending {
        let mut draws = Draws::of(self.seed, frame.client, frame.sequence);
        match self.mix {
            Mix::Echo => self.append_echo(frame, &mut draws, line),
            Mix::Sleep => self.append_sleep(frame, line),
            Mix::Hash => {
                line.extend_from_slice(b"HASH ");
                self.payloads.append(frame, &mut draws, line);
            }
            Mix::Balanced if draws.below(2) == 0 => self.append_sleep(frame, line),
            Mix::Balanced => self.append_echo(frame, &mut draws, line),
            Mix::Errors if self.last_sequence == Some(frame.sequence) => {
                return hostile::append_last_line(&self.payloads, frame, &mut draws, line);
            }
            Mix::Errors => return hostile::append_line(&self.payloads, frame, &mut draws, line),
        }
        Ending::Lf
    }

    fn append_echo(&self, frame: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
        line.extend_from_slice(b"ECHO ");
        self.payloads.append(frame, draws, line);
    }

    fn append_sleep(&self, frame: Frame, line: &mut Vec<u8>) {
        line.extend_from_slice(b"SLEEP ");
        append_decimal(line, u64::from(self.sleeps.at(frame)));
    }
}

/// The arguments of ECHO and HASH.
#[derive(Debug)]
pub(crate) struct Payloads {
    span: Span,
    limits: Limits,
    first_characters: Rotation,
    /// Printable characters; every payload takes a stretch of it.
    filler: Vec<u8>,
}

impl Payloads {
    fn new(seed: u64, span: Span, limits: Limits) -> Self {
        // Enough after any start for the longest payload and for a line over the limit.
        let longest = (limits.max_line_bytes * 2)
            .max(span.max as usize)
            .max(SHORTEST_REST);
        let length = FILLER_STARTS as usize + longest;
        let mut draws = Draws::of(seed, u32::MAX, u32::MAX);
        let filler = (0..length).map(|_| 0x21 + draws.below(PRINTABLE) as u8);
        Self {
            span,
            limits,
            first_characters: Rotation::new(
                seed,
                Span {
                    min: 0x21,
                    max: 0x7e,
                },
            ),
            filler: filler.collect(),
        }
    }

    /// The limits of the server under test.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Appends a payload: `c12.f345.` and filler. One that is too short for that begins with a
    /// character that is another one for the frames before and after it, and goes on with filler.
    pub(crate) fn append(&self, frame: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
        let length = self.span.min as usize + draws.below(self.span.width()) as usize;
        let start = line.len();
        append_tag(frame, line);
        if line.len() - start > length {
            line.truncate(start);
            if length > 0 {
                line.push(self.first_characters.at(frame) as u8);
            }
        }
        self.append_filler(length - (line.len() - start), draws, line);
    }

    /// Appends `length` printable characters, at most twice the longest line or 128.
    pub(crate) fn append_filler(&self, length: usize, draws: &mut Draws, line: &mut Vec<u8>) {
        debug_assert!(length <= self.filler.len() - FILLER_STARTS as usize);
        let start = draws.below(FILLER_STARTS) as usize;
        line.extend_from_slice(&self.filler[start..start + length]);
    }
}

/// Appends what tells a frame from all others.
pub(crate) fn append_tag(frame: Frame, line: &mut Vec<u8>) {
    line.push(b'c');
    append_decimal(line, u64::from(frame.client));
    line.extend_from_slice(b".f");
    append_decimal(line, u64::from(frame.sequence));
    line.push(b'.');
}

/// The frame that a text begins with the tag of.
pub(crate) fn tagged_frame(text: &[u8]) -> Option<Frame> {
    let (client, rest) = split_number(text.strip_prefix(b"c")?)?;
    let (sequence, rest) = split_number(rest.strip_prefix(b".f")?)?;
    rest.starts_with(b".").then_some(Frame { client, sequence })
}

fn split_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, &text[end..]))
}

/// Numbers of a span in an order in which neighbours differ: from frame to frame it steps on by
/// about the golden section of the span, and comes to each number equally often.
#[derive(Debug)]
struct Rotation {
    seed: u64,
    span: Span,
    step: u64,
}

impl Rotation {
    fn new(seed: u64, span: Span) -> Self {
        let width = span.width();
        let golden = (width as f64 * 0.618) as u64;
        let step = (golden.max(1)..).find(|&step| greatest_common_divisor(step, width) == 1);
        Self {
            seed,
            span,
            step: step.expect("there is a number without a common divisor above any number"),
        }
    }

    fn at(&self, frame: Frame) -> u32 {
        let width = self.span.width();
        let start = Draws::of(self.seed, frame.client, u32::MAX).below(width);
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::plan::{Load, Requests};
    use std::collections::HashSet;
    use std::time::Duration;

    /// A small plan; tests change what they are about.
    pub(crate) fn plan(mix: Mix) -> Plan {
        Plan {
            clients: 3,
            load: Load::Frames(100),
            warmup: Duration::ZERO,
            max_inflight: 4,
            requests: Requests::all_of(mix),
            hogs: 1,
            hog_inflight: 16,
            payload: Span { min: 1, max: 100 },
            sleep_ms: Span { min: 1, max: 10 },
            limits: Limits {
                max_line_bytes: 1000,
                max_sleep_ms: 10_000,
            },
            seed: 7,
            timeout: Duration::from_secs(10),
            retries: 5,
            connect_rate: 1000,
        }
    }

    fn line(workload: &Workload, client: u32, sequence: u32) -> Vec<u8> {
        let mut line = Vec::new();
        workload.append_request(Frame { client, sequence }, &mut line);
        line
    }

    #[test]
    fn a_frame_is_a_pure_function_of_seed_client_and_sequence() {
        for mix in [Mix::Echo, Mix::Sleep, Mix::Hash, Mix::Balanced, Mix::Errors] {
            let one = Workload::of_clients(&plan(mix), mix);
            let other = Workload::of_clients(&plan(mix), mix);
            for sequence in (0..100).rev() {
                assert_eq!(line(&one, 2, sequence), line(&other, 2, sequence));
            }
        }
        let mut reseeded = plan(Mix::Echo);
        reseeded.seed = 8;
        let lines = |plan: &Plan| {
            let workload = Workload::of_clients(plan, Mix::Echo);
            (0..50).map(|n| line(&workload, 0, n)).collect::<Vec<_>>()
        };
        assert_ne!(lines(&plan(Mix::Echo)), lines(&reseeded));
    }

    #[test]
    fn payloads_keep_their_span_and_carry_their_frame() {
        let mut plan = plan(Mix::Echo);
        plan.payload = Span { min: 12, max: 15 };
        let workload = Workload::of_clients(&plan, Mix::Echo);
        let mut lengths = HashSet::new();
        for sequence in 0..100 {
            let line = line(&workload, 1, sequence);
            let payload = line.strip_prefix(b"ECHO ").expect("an ECHO");
            assert_eq!(
                tagged_frame(payload),
                Some(Frame {
                    client: 1,
                    sequence
                })
            );
            lengths.insert(payload.len());
        }
        assert_eq!(lengths, HashSet::from([12, 13, 14, 15]));
    }

    #[test]
    fn payloads_too_short_for_a_tag_still_differ_from_their_neighbours() {
        let mut plan = plan(Mix::Echo);
        plan.payload = Span { min: 1, max: 1 };
        let workload = Workload::of_clients(&plan, Mix::Echo);
        for sequence in 0..200 {
            let (one, next) = (
                line(&workload, 0, sequence),
                line(&workload, 0, sequence + 1),
            );
            assert_eq!(one.len(), b"ECHO x".len());
            assert_ne!(one, next, "frames {sequence} and the next");
        }
    }

    #[test]
    fn a_payload_may_be_empty() {
        let mut plan = plan(Mix::Echo);
        plan.payload = Span { min: 0, max: 0 };
        assert_eq!(
            line(&Workload::of_clients(&plan, Mix::Echo), 0, 5),
            b"ECHO "
        );
    }

    #[test]
    fn sleeps_keep_their_span_use_all_of_it_and_differ_from_their_neighbours() {
        let workload = Workload::of_clients(&plan(Mix::Sleep), Mix::Sleep);
        let sleeps: Vec<Vec<u8>> = (0..100).map(|n| line(&workload, 1, n)).collect();
        assert!(sleeps.windows(2).all(|pair| pair[0] != pair[1]));
        let distinct: HashSet<_> = sleeps.iter().cloned().collect();
        let expected = (1..=10).map(|ms| format!("SLEEP {ms}").into_bytes());
        assert_eq!(distinct, expected.collect());
    }

    #[test]
    fn a_span_of_one_sleep_is_that_sleep() {
        let mut plan = plan(Mix::Sleep);
        plan.sleep_ms = Span { min: 300, max: 300 };
        assert_eq!(
            line(&Workload::of_clients(&plan, Mix::Sleep), 0, 5),
            b"SLEEP 300"
        );
    }

    #[test]
    fn balanced_is_about_half_sleep_and_half_echo() {
        let workload = Workload::of_clients(&plan(Mix::Balanced), Mix::Balanced);
        let sleeps = (0..1000).filter(|&n| line(&workload, 0, n).starts_with(b"SLEEP "));
        assert!((400..600).contains(&sleeps.count()));
    }

    #[test]
    fn only_whole_tags_are_read() {
        assert_eq!(
            tagged_frame(b"c12.f345.x"),
            Some(Frame {
                client: 12,
                sequence: 345
            })
        );
        for text in [
            &b"c12.f345"[..],
            b"c.f3.",
            b"c1.f.",
            b"x1.f2.",
            b"c99999999999.f1.",
            b"",
        ] {
            assert_eq!(tagged_frame(text), None, "{}", text.escape_ascii());
        }
    }
}
