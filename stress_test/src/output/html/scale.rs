//! From numbers to places on an axis, and to the texts that stand beside it and in tables.
//!
//! Knows arithmetic only.
//!
//! Rule: whatever numbers come, the places are finite and on the axis.

use crate::figures::distribution::Known;

/// No scale goes beyond this, or, of what is not zero, below its inverse: an axis has so many
/// powers.
const LARGEST: f64 = 1e15;

/// A scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    is_log: bool,
    from: f64,
    to: f64,
    /// Where `from` and `to` are.
    places: (f64, f64),
}

impl Scale {
    /// A scale for `values` between two `places`.
    pub(crate) fn new(is_log: bool, values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let usable = |value: &f64| value.is_finite() && (!is_log || *value > 0.0);
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values
            .filter(usable)
            .map(|value| within_size(is_log, value))
        {
            from = from.min(value);
            to = to.max(value);
        }
        if from > to {
            (from, to) = (1.0, 10.0);
        }
        if from == to {
            (from, to) = match (is_log, from) {
                (true, value) => (value / 2.0, value * 2.0),
                (false, 0.0) => (0.0, 1.0),
                (false, value) => (value - value.abs() / 2.0, value + value.abs() / 2.0),
            };
        }
        Self {
            is_log,
            from,
            to,
            places,
        }
    }

    /// It begins at zero, if it is not in powers.
    pub(crate) fn with_zero(self) -> Self {
        let from = self.from.min(0.0);
        Self { from, ..self }
    }

    /// In powers, it ends a little beyond its values, so that these do not lie on its edge. Values
    /// that are close together look so: its end is at least twice its beginning.
    pub(crate) fn padded(self) -> Self {
        let wide = self.to / self.from;
        let beyond = wide.powf(0.06).max((2.0 / wide).sqrt());
        Self {
            from: self.from / beyond,
            to: self.to * beyond,
            ..self
        }
    }

    /// It ends at round numbers.
    pub(crate) fn rounded(self, ticks: usize) -> Self {
        if self.is_log {
            return self;
        }
        let step = step(self.to - self.from, ticks);
        Self {
            from: (self.from / step).floor() * step,
            to: (self.to / step).ceil() * step,
            ..self
        }
    }

    /// Where `value` is.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.places.0 + share.clamp(0.0, 1.0) * (self.places.1 - self.places.0)
    }

    /// About `count` round numbers with their labels.
    pub(crate) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let values = if self.is_log {
            self.powers(count)
        } else {
            let step = step(self.to - self.from, count);
            let (first, last) = (self.from / step, self.to / step);
            let steps = (first - 1e-9).ceil() as i64..=(last + 1e-9).floor() as i64;
            steps.map(|number| number as f64 * step).collect()
        };
        values
            .into_iter()
            .map(|value| (value, short(value)))
            .collect()
    }

    /// Powers of ten, and between few of them 2 and 5, or every step.
    fn powers(&self, count: usize) -> Vec<f64> {
        let powers = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
        let grids: [&[f64]; 4] = [
            &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            &[1.0, 2.0, 3.0, 5.0, 7.0],
            &[1.0, 2.0, 5.0],
            &[1.0],
        ];
        let of = |grid: &[f64]| -> Vec<f64> {
            let all = powers
                .clone()
                .flat_map(|power| grid.iter().map(move |digit| digit * 10_f64.powi(power)));
            let inside = self.from * (1.0 - 1e-9)..=self.to * (1.0 + 1e-9);
            all.filter(|value| inside.contains(value)).collect()
        };
        let found = grids.into_iter().map(of);
        let coarser = |fine: Vec<f64>, coarse| {
            if fine.len() <= count + 1 {
                fine
            } else {
                coarse
            }
        };
        found.reduce(coarser).expect("there are grids")
    }
}

/// `value`, or the largest or smallest that a scale goes to.
fn within_size(is_log: bool, value: f64) -> f64 {
    let size = value.abs();
    if size > LARGEST {
        LARGEST.copysign(value)
    } else if size >= 1.0 / LARGEST {
        value
    } else if is_log {
        1.0 / LARGEST
    } else {
        0.0
    }
}

/// A round step for about `count` of them in `width`.
fn step(width: f64, count: usize) -> f64 {
    let rough = width / count.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|digit| digit * power >= rough * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

/// A number as short as it can be read: 0.25, 12, 3400, 12k, 1.5M.
pub(crate) fn short(value: f64) -> String {
    let (number, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match number.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.01 => 3,
        _ => 4,
    };
    let text = format!("{number:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// Microseconds as milliseconds for people and tables.
pub(crate) fn ms(us: Option<f64>) -> String {
    us.map_or_else(|| "n/a".to_owned(), |us| short(us / 1000.0))
}

/// A time for people and tables, with `>=` before what is a lower bound.
pub(crate) fn known_ms(time: Known) -> String {
    let is_bound = time.is_lower_bound && time.us.is_some();
    let at_least = if is_bound { ">=" } else { "" };
    format!("{at_least}{}", ms(time.us))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, count: usize) -> Vec<String> {
        let ticks = scale.ticks(count).into_iter();
        ticks.map(|(_, label)| label).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_cover_the_values() {
        let scale = Scale::new(false, [3.0, 3170.0].into_iter(), (0.0, 100.0));
        let scale = scale.with_zero().rounded(6);
        let expected = ["0", "1000", "2000", "3000", "4000"];
        assert_eq!(labels(scale, 6), expected);
        assert_eq!(scale.place(2000.0), 50.0);
    }

    #[test]
    fn log_ticks_are_powers_or_finer_where_there_is_room() {
        let wide = Scale::new(true, [0.05, 990.0].into_iter(), (0.0, 1.0));
        assert_eq!(labels(wide, 6), ["0.1", "1", "10", "100"]);
        let close = Scale::new(true, [1.1, 6.0].into_iter(), (0.0, 1.0));
        assert_eq!(labels(close, 6), ["1.5", "2", "3", "4", "5", "6"]);
    }

    #[test]
    fn close_values_lie_in_the_middle_of_an_axis_in_powers_that_has_labels() {
        let scale = Scale::new(true, [48.2, 49.0].into_iter(), (0.0, 1.0)).padded();
        assert_eq!(labels(scale, 6), ["40", "50", "60"]);
        assert!(scale.place(49.0) - scale.place(48.2) < 0.03);
        let scale = Scale::new(true, [1290.0, 1455.0].into_iter(), (0.0, 1.0)).padded();
        assert_eq!(labels(scale, 6), ["1000", "1500"]);
    }

    #[test]
    fn odd_values_give_finite_places() {
        for values in [
            &[][..],
            &[0.0],
            &[5.0],
            &[f64::NAN],
            &[-1.0, 0.0],
            &[0.3, 1e308],
            &[1e-320, 1e308],
            &[-1e308, 1e308],
            &[-5e-324, 5e-324],
            &[1e308],
            &[f64::INFINITY, 1e-320],
            &[1.0, 1.0 + f64::EPSILON],
        ] {
            for is_log in [false, true] {
                let scale = Scale::new(is_log, values.iter().copied(), (10.0, 20.0));
                let drawn = if is_log {
                    scale.padded()
                } else {
                    scale.with_zero()
                };
                for scale in [scale, drawn, drawn.rounded(6)] {
                    for value in [0.0, -1.0, 5.0, 1e300, 1e-320] {
                        let place = scale.place(value);
                        assert!((10.0..=20.0).contains(&place), "{values:?} {value} {place}");
                    }
                    let ticks = scale.ticks(6).len();
                    assert!(ticks < 50, "{values:?}: {ticks} ticks");
                }
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.05, "0.05"),
            (2.5, "2.5"),
            (99.94, "99.9"),
            (3400.0, "3400"),
            (12_000.0, "12k"),
            (1_500_000.0, "1.5M"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }
}
