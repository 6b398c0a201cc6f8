//! Which operations are asked for, and how often each.
//!
//! Knows their names and weights; not how a request is spelled.
//!
//! Rule: the operation of a frame is a pure function of the seed and the frame, so nobody has to
//! keep it.

use std::fmt;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::load::frame::Frame;
use crate::random;

/// More than this of one operation for one of another would be a mix in name only.
const HEAVIEST: u32 = 1_000_000;

/// What a mix may be, for whoever spelled it wrongly.
const NEEDED: &str = "needed is echo, sleep, hash, balanced, errors, or weights from 1 to 1000000 \
    of echo, sleep and hash, such as echo=70,hash=20,sleep=10";

/// An operation of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// The argument comes back.
    Echo,
    /// A worker sleeps.
    Sleep,
    /// A worker computes.
    Hash,
}

impl Operation {
    /// All of them, in the order of weights.
    pub(crate) const ALL: [Self; 3] = [Self::Echo, Self::Sleep, Self::Hash];

    /// As flags, conditions and reports name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Sleep => "sleep",
            Self::Hash => "hash",
        }
    }
}

/// Which operations the requests of a run ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mix {
    /// ECHO only.
    Echo,
    /// SLEEP only.
    Sleep,
    /// HASH only.
    Hash,
    /// Half SLEEP, half ECHO.
    Balanced,
    /// Every error text that a request line can provoke, between right requests.
    Errors,
    /// Each operation of [`Operation::ALL`] by its weight; at least two are above 0.
    Weighted([u32; 3]),
}

impl Mix {
    /// Reads a name.
    pub(crate) fn parse_name(text: &str) -> Result<Self, String> {
        let named = [
            Self::Echo,
            Self::Sleep,
            Self::Hash,
            Self::Balanced,
            Self::Errors,
        ];
        let mut named = named.into_iter();
        named
            .find(|mix| mix.to_string() == text)
            .ok_or_else(|| "needed is echo, sleep, hash, balanced or errors".to_owned())
    }

    /// Reads a name, or operations with their weights.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            return Self::parse_name(text).map_err(|_| NEEDED.to_owned());
        }
        let mut weights = [0; 3];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or(NEEDED)?;
            let mut known = Operation::ALL.iter();
            let place = known
                .position(|operation| operation.name() == name)
                .ok_or(NEEDED)?;
            let weight = weight
                .parse()
                .ok()
                .filter(|weight| (1..=HEAVIEST).contains(weight));
            if weights[place] > 0 {
                return Err(format!("{name} has two weights; {NEEDED}"));
            }
            weights[place] = weight.ok_or(NEEDED)?;
        }
        Ok(match weights {
            [_, 0, 0] => Self::Echo,
            [0, _, 0] => Self::Sleep,
            [0, 0, _] => Self::Hash,
            weights => Self::Weighted(weights),
        })
    }

    /// The operation of one request, unless it provokes errors. Where there is no choice nothing
    /// is drawn.
    #[inline]
    pub(crate) fn pick(self, random: &mut Rng) -> Option<Operation> {
        Some(match self {
            Self::Echo => Operation::Echo,
            Self::Sleep => Operation::Sleep,
            Self::Hash => Operation::Hash,
            Self::Balanced if random.bool() => Operation::Sleep,
            Self::Balanced => Operation::Echo,
            Self::Errors => return None,
            Self::Weighted([echo, sleep, hash]) => {
                let drawn = random.u32(..echo + sleep + hash);
                match drawn {
                    drawn if drawn < echo => Operation::Echo,
                    drawn if drawn < echo + sleep => Operation::Sleep,
                    _ => Operation::Hash,
                }
            }
        })
    }

    /// Whether it may ask for `operation`.
    pub(crate) fn has(self, operation: Operation) -> bool {
        match self {
            Self::Echo => operation == Operation::Echo,
            Self::Sleep => operation == Operation::Sleep,
            Self::Hash => operation == Operation::Hash,
            Self::Balanced => operation != Operation::Hash,
            Self::Errors => false,
            Self::Weighted(weights) => weights[operation as usize] > 0,
        }
    }

    /// The share of SLEEP, 0 to 1.
    pub(crate) fn share_of_sleep(self) -> f64 {
        match self {
            Self::Sleep => 1.0,
            Self::Balanced => 0.5,
            Self::Weighted([echo, sleep, hash]) => {
                f64::from(sleep) / f64::from(echo + sleep + hash)
            }
            Self::Echo | Self::Hash | Self::Errors => 0.0,
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Sleep => "sleep",
            Self::Hash => "hash",
            Self::Balanced => "balanced",
            Self::Errors => "errors",
            Self::Weighted(weights) => {
                let parts = Operation::ALL.iter().zip(weights);
                let parts = parts.filter(|&(_, &weight)| weight > 0);
                let parts =
                    parts.map(|(operation, weight)| format!("{}={weight}", operation.name()));
                return f.write_str(&parts.collect::<Vec<_>>().join(","));
            }
        })
    }
}

/// Which operation each frame of a client asks for, where there is a choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    seed: u64,
    /// `None` where all frames are alike, or are no operations.
    mix: Option<Mix>,
}

impl Choice {
    /// No operation is told from another.
    pub(crate) const NONE: Self = Self { seed: 0, mix: None };

    /// The choice of `mix` in the run `seed`.
    pub(crate) fn of(mix: Mix, seed: u64) -> Self {
        let has_several = matches!(mix, Mix::Balanced | Mix::Weighted(_));
        Self {
            seed,
            mix: has_several.then_some(mix),
        }
    }

    /// The operation of `frame`.
    pub(crate) fn operation(self, frame: Frame) -> Option<Operation> {
        self.mix?
            .pick(&mut random::of(self.seed, frame.client, frame.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_names_or_weights() {
        assert_eq!(Mix::parse("balanced"), Ok(Mix::Balanced));
        assert_eq!(
            Mix::parse("hash=20,echo=70,sleep=10"),
            Ok(Mix::Weighted([70, 10, 20]))
        );
        assert_eq!(Mix::parse("hash=1,echo=3"), Ok(Mix::Weighted([3, 0, 1])));
        assert_eq!(
            Mix::parse("sleep=5"),
            Ok(Mix::Sleep),
            "one operation is no choice"
        );
        for text in [
            "",
            "tea",
            "tea=1",
            "echo=0",
            "echo=1,hash",
            "echo=-1",
            "echo=1,echo=2",
            "errors=5",
            "echo=1000001",
            "echo=1,",
        ] {
            let error = Mix::parse(text).expect_err(text);
            assert!(error.contains("echo=70,hash=20,sleep=10"), "{error}");
        }
        assert!(Mix::parse_name("echo=1").is_err());
        for text in ["echo", "errors", "echo=70,sleep=10,hash=20"] {
            assert_eq!(
                Mix::parse(text).map(|mix| mix.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn each_operation_is_as_frequent_as_its_weight() {
        let choice = Choice::of(Mix::Weighted([70, 10, 20]), 3);
        let frames = (0..10_000).map(|sequence| Frame {
            client: 1,
            sequence,
        });
        let drawn: Vec<Operation> = frames.filter_map(|frame| choice.operation(frame)).collect();
        for (operation, expected) in Operation::ALL.into_iter().zip([7000, 1000, 2000]) {
            let count = drawn.iter().filter(|&&drawn| drawn == operation).count();
            assert!(count.abs_diff(expected) < 200, "{count} {operation:?}");
        }
        let frame = Frame {
            client: 0,
            sequence: 0,
        };
        assert_eq!(Choice::of(Mix::Echo, 3).operation(frame), None);
    }
}
