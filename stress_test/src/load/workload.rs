//! What each client asks for: request number `sequence` of client `client` as a pure function of
//! the seed.
//!
//! Knows no sockets, no time and no right answers.
//!
//! Rule: a frame is always the same bytes, so nothing about it has to be kept until its answer
//! comes, and an answer that belongs to another frame can be traced to it.

use fastrand::Rng;

use crate::load::frame::Frame;
use crate::load::hostile;
use crate::load::mix::Operation;
use crate::load::payload::{Payloads, Rotation};
use crate::load::plan::{Mix, Plan};
use crate::load::sizes::Sizes;
use crate::random;
use crate::wire::{LineEnding, append_decimal};

/// The requests of one group of clients.
#[derive(Debug)]
pub(crate) struct Workload {
    seed: u64,
    mix: Mix,
    /// The last sequence of each client, if there is one.
    last_sequence: Option<u32>,
    payloads: Payloads,
    sleeps: Sleeps,
}

/// How long SLEEPs are.
#[derive(Debug)]
enum Sleeps {
    /// Each number of a span equally often, and neighbours differ.
    InTurn(Rotation),
    /// At random, as answers that cannot be told apart may have it.
    Drawn(Sizes),
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
            sleeps: match plan.sleep_ms {
                Sizes::Uniform(span) => Sleeps::InTurn(Rotation::new(plan.seed, span)),
                sizes => Sleeps::Drawn(sizes),
            },
        }
    }

    /// Whether the last frame of a client may shut its sending side down, so that it has to wait
    /// until everything else has been answered.
    pub(crate) fn last_frame_may_end_the_stream(&self) -> bool {
        self.mix == Mix::Errors && self.last_sequence.is_some()
    }

    /// Appends the request of `frame` without its ending, and returns that ending.
    pub(crate) fn append_request(&self, frame: Frame, line: &mut Vec<u8>) -> LineEnding {
        let mut random = random::of(self.seed, frame.client, frame.sequence);
        match self.mix.pick(&mut random) {
            Some(Operation::Sleep) => self.append_sleep(frame, &mut random, line),
            Some(operation) => {
                line.extend_from_slice(if operation == Operation::Echo {
                    b"ECHO "
                } else {
                    b"HASH "
                });
                self.payloads.append(frame, &mut random, line);
            }
            None => {
                let is_last = self.last_sequence == Some(frame.sequence);
                return hostile::append(&self.payloads, frame, is_last, &mut random, line);
            }
        }
        self.payloads.limits().framing.usual_ending()
    }

    fn append_sleep(&self, frame: Frame, random: &mut Rng, line: &mut Vec<u8>) {
        line.extend_from_slice(b"SLEEP ");
        let ms = match &self.sleeps {
            Sleeps::InTurn(rotation) => rotation.at(frame),
            Sleeps::Drawn(sizes) => sizes.pick(random),
        };
        append_decimal(line, u64::from(ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::frame::tagged_frame;
    use crate::load::plan::Span;
    use crate::load::plan::tests::plan;
    use crate::wire::Framing;
    use std::collections::HashSet;

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
        plan.payload = Span { min: 12, max: 15 }.into();
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
    fn payloads_hold_bytes_of_all_kinds_unless_they_are_in_lines() {
        for (framing, least, most) in [(Framing::Lines, 90, 94), (Framing::Length, 250, 256)] {
            let mut plan = plan(Mix::Echo);
            plan.limits.framing = framing;
            let workload = Workload::of_clients(&plan, Mix::Echo);
            let lines = (0..200).map(|sequence| line(&workload, 1, sequence));
            let payloads = lines.map(|line| line["ECHO ".len()..].to_vec());
            let bytes: HashSet<u8> = payloads.flatten().collect();
            assert!((least..=most).contains(&bytes.len()), "{}", bytes.len());
            let has_line_ends = bytes.contains(&b'\n') && bytes.contains(&b'\r');
            assert_eq!(has_line_ends, framing == Framing::Length);
        }
    }

    #[test]
    fn payloads_too_short_for_a_tag_still_differ_from_their_neighbours() {
        let mut plan = plan(Mix::Echo);
        plan.payload = Span { min: 1, max: 1 }.into();
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
        plan.payload = Span { min: 0, max: 0 }.into();
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
        plan.sleep_ms = Span { min: 300, max: 300 }.into();
        assert_eq!(
            line(&Workload::of_clients(&plan, Mix::Sleep), 0, 5),
            b"SLEEP 300"
        );
    }

    #[test]
    fn sleeps_and_payloads_follow_their_distributions() {
        let mut plan = plan(Mix::Weighted([1, 1, 0]));
        plan.sleep_ms = Sizes::parse("bimodal:5,100@20%").expect("it is one");
        plan.payload = Sizes::parse("bimodal:3,40@20%").expect("it is one");
        let [one, other] = [(); 2].map(|()| Workload::of_clients(&plan, Mix::Weighted([1, 1, 0])));
        let mut counts = [0_u32; 4];
        for sequence in 0..10_000 {
            let request = line(&one, 2, sequence);
            assert_eq!(
                request,
                line(&other, 2, sequence),
                "a frame is always the same"
            );
            let place = match request.as_slice() {
                b"SLEEP 5" => 0,
                b"SLEEP 100" => 1,
                echo if echo.len() == b"ECHO abc".len() => 2,
                echo => {
                    assert_eq!(echo.len(), b"ECHO ".len() + 40);
                    3
                }
            };
            counts[place] += 1;
        }
        for (count, expected) in counts.into_iter().zip([4000, 1000, 4000, 1000]) {
            assert!(count.abs_diff(expected) < 200, "{counts:?}");
        }
    }

    #[test]
    fn balanced_is_about_half_sleep_and_half_echo() {
        let workload = Workload::of_clients(&plan(Mix::Balanced), Mix::Balanced);
        let sleeps = (0..1000).filter(|&n| line(&workload, 0, n).starts_with(b"SLEEP "));
        assert!((400..600).contains(&sleeps.count()));
    }

    #[test]
    fn tiny_limits_still_give_requests_and_with_lengths_only_the_last_is_too_long() {
        for framing in [Framing::Lines, Framing::Length] {
            let mut plan = plan(Mix::Errors);
            plan.limits.framing = framing;
            plan.limits.max_line_bytes = 16;
            plan.payload = Span { min: 1, max: 11 }.into();
            let workload = Workload::of_clients(&plan, Mix::Errors);
            let mut longest = 0;
            for client in 0..500 {
                for sequence in 90..100 {
                    let mut line = Vec::new();
                    let frame = Frame { client, sequence };
                    if workload.append_request(frame, &mut line) == LineEnding::None {
                        longest = longest.max(line.len());
                    }
                }
            }
            let expected = match framing {
                Framing::Lines => 0,
                Framing::Length => 16,
            };
            assert_eq!(longest, expected, "{framing}");
        }
    }
}
