//! Which rate to try next: doubling until one breaks, then the middle between both ends.
//!
//! Knows rates and whether they hold; measures nothing.
//!
//! Rule: it ends, whatever the answers are.

use std::fmt;

/// Below the first rate, so often half of it is tried.
const MOST_HALVINGS: u32 = 10;
/// Rates below this are not tried: they would take minutes to tell anything.
const LEAST: f64 = 1.0;

/// A search for the highest rate that holds.
#[derive(Debug)]
pub(crate) struct Search {
    start: f64,
    most: f64,
    /// The ends may be so far apart, as a share of the lower one.
    precision: f64,
    holds: Option<f64>,
    breaks: Option<f64>,
    halvings: u32,
}

impl Search {
    /// A search from `start` on, up to `most`.
    pub(crate) fn new(start: f64, most: f64, precision: f64) -> Self {
        Self {
            start: start.min(most),
            most,
            precision,
            holds: None,
            breaks: None,
            halvings: 0,
        }
    }

    /// The rate to try, unless the answer is known.
    pub(crate) fn next(&self) -> Option<f64> {
        match (self.holds, self.breaks) {
            (None, None) => Some(self.start),
            (Some(holds), None) => (holds < self.most).then(|| (holds * 2.0).min(self.most)),
            (None, Some(breaks)) => {
                let is_worth_it = self.halvings < MOST_HALVINGS && breaks / 2.0 >= LEAST;
                is_worth_it.then_some(breaks / 2.0)
            }
            (Some(holds), Some(breaks)) => {
                let is_close = breaks <= holds * (1.0 + self.precision);
                (!is_close).then(|| (holds * breaks).sqrt())
            }
        }
    }

    /// Whether `rate`, which was the one to try, holds.
    pub(crate) fn judged(&mut self, rate: f64, holds: bool) {
        if holds {
            self.holds = Some(rate);
        } else {
            self.halvings += u32::from(self.holds.is_none());
            self.breaks = Some(rate);
        }
    }

    /// About how much of the search is behind; doubling may go on for long.
    pub(crate) fn share_done(&self) -> f64 {
        match (self.holds, self.breaks) {
            (Some(holds), Some(breaks)) => {
                let left = (breaks / holds).ln() / (1.0 + self.precision).ln();
                1.0 - 0.1 * left.max(1.0).log2().min(5.0)
            }
            (Some(_), None) | (None, Some(_)) => 0.3,
            (None, None) => 0.0,
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.holds, self.breaks) {
            (None, None) => f.write_str("nothing known yet"),
            (Some(holds), None) => write!(f, "{holds:.0} holds"),
            (None, Some(breaks)) => write!(f, "{breaks:.0} does not hold"),
            (Some(holds), Some(breaks)) => write!(f, "{holds:.0} holds, {breaks:.0} does not"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where every rate up to `limit` holds; returns the answer and the number of steps.
    fn find(start: f64, most: f64, limit: f64) -> (Option<f64>, u32) {
        let mut search = Search::new(start, most, 0.05);
        let mut steps = 0;
        while let Some(rate) = search.next() {
            assert!(rate <= most && (0.0..=1.0).contains(&search.share_done()));
            search.judged(rate, rate <= limit);
            steps += 1;
            assert!(steps < 50, "{search:?}");
        }
        (search.holds, steps)
    }

    #[test]
    fn it_finds_the_limit_within_its_precision() {
        for limit in [100.0, 390.0, 1000.0, 64_123.0] {
            let (found, steps) = find(1000.0, 1e6, limit);
            let found = found.expect("a rate holds");
            assert!(found <= limit && limit <= found * 1.05, "{limit}: {found}");
            assert!(steps <= 14, "{limit}: {steps}");
        }
    }

    #[test]
    fn it_stops_at_the_highest_rate_and_when_nothing_holds() {
        assert_eq!(find(1000.0, 5000.0, 1e9).0, Some(5000.0));
        assert_eq!(find(9000.0, 5000.0, 1e9), (Some(5000.0), 1));
        assert_eq!(find(1e6, 5e6, 0.0), (None, MOST_HALVINGS));
        assert_eq!(find(4.0, 5000.0, 0.0), (None, 3));
    }
}
