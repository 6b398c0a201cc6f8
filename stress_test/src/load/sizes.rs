//! How long payloads and sleeps are: a distribution of whole numbers.
//!
//! Knows how it is spelled and drawn; not what the numbers are for.
//!
//! Rule: no number that is drawn lies above the largest one, which is known beforehand.

use std::fmt;

use fastrand::Rng;

/// An exponential distribution is cut at so many means: one number in 22,000 lies beyond.
const MEANS: u32 = 10;
/// The longest mean, so that ten of them are a number.
const LONGEST_MEAN: u32 = u32::MAX / MEANS;
/// Shares are whole numbers of this.
const MILLION: u32 = 1_000_000;

/// What a distribution may be, for whoever spelled it wrongly.
const NEEDED: &str = "a whole number or MIN..MAX, with MIN not above MAX, exp:MEAN or \
    bimodal:USUAL,RARE@PERCENT%, such as bimodal:5,100@1%, is needed";

/// A range of whole numbers, both ends included; `min <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The smallest number.
    pub(crate) min: u32,
    /// The largest number.
    pub(crate) max: u32,
}

impl Span {
    /// One of its numbers.
    #[inline]
    pub(crate) fn pick(self, random: &mut Rng) -> u32 {
        random.u32(self.min..=self.max)
    }

    /// How many numbers there are in it, at least one.
    pub(crate) fn width(self) -> u64 {
        u64::from(self.max) - u64::from(self.min) + 1
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}..{}", self.min, self.max)
        }
    }
}

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// All numbers of a span alike; of one number, always that.
    Uniform(Span),
    /// Exponential with this mean, at most ten times that.
    Exponential(u32),
    /// One of two numbers.
    Bimodal {
        /// Most of the time.
        usual: u32,
        /// Now and then.
        rare: u32,
        /// In so many of a million.
        rare_per_million: u32,
    },
}

impl From<Span> for Sizes {
    fn from(span: Span) -> Self {
        Self::Uniform(span)
    }
}

impl Sizes {
    /// Reads a distribution.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let read = match text.split_once(':') {
            None => parse_span(text),
            Some(("exp", mean)) => {
                let mean = mean.parse().ok();
                let mean = mean.filter(|mean| (1..=LONGEST_MEAN).contains(mean));
                mean.map(Self::Exponential)
            }
            Some(("bimodal", numbers)) => parse_bimodal(numbers),
            Some(_) => None,
        };
        read.ok_or_else(|| NEEDED.to_owned())
    }

    /// One of its numbers.
    #[inline(always)]
    pub(crate) fn pick(self, random: &mut Rng) -> u32 {
        match self {
            Self::Uniform(span) => span.pick(random),
            Self::Exponential(mean) => {
                let drawn = -f64::from(mean) * (1.0 - random.f64()).ln();
                (drawn.round() as u32).min(mean * MEANS)
            }
            Self::Bimodal {
                usual,
                rare,
                rare_per_million,
            } => {
                if random.u32(..MILLION) < rare_per_million {
                    rare
                } else {
                    usual
                }
            }
        }
    }

    /// The largest of its numbers.
    pub(crate) fn max(self) -> u32 {
        match self {
            Self::Uniform(span) => span.max,
            Self::Exponential(mean) => mean * MEANS,
            Self::Bimodal { usual, rare, .. } => usual.max(rare),
        }
    }

    /// Their mean.
    pub(crate) fn mean(self) -> f64 {
        match self {
            Self::Uniform(span) => f64::midpoint(f64::from(span.min), f64::from(span.max)),
            Self::Exponential(mean) => f64::from(mean),
            Self::Bimodal {
                usual,
                rare,
                rare_per_million,
            } => {
                let share = f64::from(rare_per_million) / f64::from(MILLION);
                f64::from(usual) * (1.0 - share) + f64::from(rare) * share
            }
        }
    }

    /// Their variance; of an exponential distribution, as if it were not cut.
    pub(crate) fn variance(self) -> f64 {
        match self {
            Self::Uniform(span) => ((span.width() as f64).powi(2) - 1.0) / 12.0,
            Self::Exponential(mean) => f64::from(mean).powi(2),
            Self::Bimodal {
                usual,
                rare,
                rare_per_million,
            } => {
                let share = f64::from(rare_per_million) / f64::from(MILLION);
                share * (1.0 - share) * (f64::from(usual) - f64::from(rare)).powi(2)
            }
        }
    }
}

fn parse_span(text: &str) -> Option<Sizes> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let span = Span {
        min: min.parse().ok()?,
        max: max.parse().ok()?,
    };
    (span.min <= span.max).then_some(Sizes::Uniform(span))
}

fn parse_bimodal(text: &str) -> Option<Sizes> {
    let (numbers, percent) = text.strip_suffix('%')?.split_once('@')?;
    let (usual, rare) = numbers.split_once(',')?;
    let percent: f64 = percent.parse().ok()?;
    let rare_per_million = (percent * f64::from(MILLION) / 100.0).round();
    let is_share = rare_per_million >= 1.0 && rare_per_million < f64::from(MILLION);
    Some(Sizes::Bimodal {
        usual: usual.parse().ok()?,
        rare: rare.parse().ok()?,
        rare_per_million: is_share.then_some(rare_per_million as u32)?,
    })
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform(span) => span.fmt(f),
            Self::Exponential(mean) => write!(f, "exp:{mean}"),
            Self::Bimodal {
                usual,
                rare,
                rare_per_million,
            } => {
                let percent = f64::from(*rare_per_million) * 100.0 / f64::from(MILLION);
                write!(f, "bimodal:{usual},{rare}@{percent}%")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_read_as_they_are_shown() {
        let five = Span { min: 5, max: 5 };
        assert_eq!(Sizes::parse("5"), Ok(five.into()));
        for text in [
            "5",
            "5..9",
            "exp:20",
            "bimodal:5,100@1%",
            "bimodal:1,9@0.25%",
        ] {
            assert_eq!(
                Sizes::parse(text).map(|sizes| sizes.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "..",
            "5..",
            "..5",
            "9..5",
            "-1..5",
            "5..=9",
            "a",
            "exp:",
            "exp:0",
            "exp:x",
            "exp:429496730",
            "bimodal:5,100",
            "bimodal:5@1%",
            "bimodal:5,100@0%",
            "gamma:5",
            "bimodal:5,100@100%",
            "bimodal:5,100@nan%",
        ] {
            let error = Sizes::parse(text).expect_err(text);
            assert!(error.contains("bimodal:5,100@1%"), "{text}: {error}");
        }
    }

    /// 100,000 numbers of a distribution.
    fn drawn(text: &str) -> (Sizes, Vec<u32>) {
        let sizes = Sizes::parse(text).expect(text);
        let mut random = Rng::with_seed(4);
        (
            sizes,
            (0..100_000).map(|_| sizes.pick(&mut random)).collect(),
        )
    }

    #[test]
    fn numbers_have_the_mean_and_the_largest_that_are_told() {
        for (text, mean, max) in [
            ("7", 7.0, 7),
            ("10..30", 20.0, 30),
            ("exp:50", 50.0, 500),
            ("bimodal:5,100@10%", 14.5, 100),
        ] {
            let (sizes, drawn) = drawn(text);
            let sum: f64 = drawn.iter().map(|&number| f64::from(number)).sum();
            let found = sum / drawn.len() as f64;
            assert!((found - mean).abs() < 0.02 * mean, "{text}: {found}");
            assert!((sizes.mean() - mean).abs() < 1e-9, "{text}");
            assert_eq!(sizes.max(), max, "{text}");
            assert!(drawn.iter().all(|&number| number <= max), "{text}");
        }
    }

    #[test]
    fn exponential_numbers_have_the_tail_of_their_kind() {
        let (_, drawn) = drawn("exp:1000");
        for means in [1.0_f64, 2.0, 4.0] {
            let above = drawn
                .iter()
                .filter(|&&number| f64::from(number) > 1000.0 * means);
            let share = above.count() as f64 / drawn.len() as f64;
            let expected = (-means).exp();
            assert!((share - expected).abs() < 0.005, "{means}: {share}");
        }
    }
}
