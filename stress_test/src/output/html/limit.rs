//! How pictures show that this program itself was the limit.
//!
//! Knows rates and whether they were limited; not why.
//!
//! Rule: a line is called a limit only if no point that was not limited lies above it.

use super::scale::short;

/// What a hollow point means.
pub(crate) const LIMITED: &str = "hollow: this program was the limit, the server may be faster";

/// The highest rate at which this program itself was the limit, with the words beside its line.
/// Each of `points` is a rate, and whether it was limited.
///
/// There is none if it did more elsewhere: then it was late for another reason than the rate.
pub(crate) fn ceiling(points: impl Iterator<Item = (f64, bool)>) -> Option<(f64, String)> {
    let (mut limited, mut free) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for (rate, is_limited) in points {
        let highest = if is_limited { &mut limited } else { &mut free };
        *highest = highest.max(rate);
    }
    let is_ceiling = limited.is_finite() && limited > 0.0 && limited > free;
    is_ceiling.then(|| {
        (
            limited,
            format!("limit of this program: {}/s", short(limited)),
        )
    })
}

/// The lowest rate from which on this program was the limit at every rate, with the words beside
/// its line. Each of `steps` is a rate that was offered, and whether it was limited.
pub(crate) fn limited_from(steps: impl Iterator<Item = (f64, bool)>) -> Option<(f64, String)> {
    let mut steps: Vec<(f64, bool)> = steps.collect();
    steps.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    let above = steps.iter().rev().take_while(|(_, is_limited)| *is_limited);
    let (rate, _) = above.last()?;
    Some((*rate, format!("limit of this program: {}/s", short(*rate))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_the_highest_limited_rate_unless_more_was_done_without_a_limit() {
        let rate = |points: &[(f64, bool)]| ceiling(points.iter().copied()).map(|(rate, _)| rate);
        let limited = [(100.0, false), (300.0, true), (280.0, true)];
        assert_eq!(rate(&limited), Some(300.0));
        assert_eq!(rate(&[(300.0, true), (301.0, false)]), None);
        assert_eq!(rate(&[(300.0, false)]), None);
        assert_eq!(rate(&[(f64::INFINITY, true)]), None);
        assert_eq!(rate(&[]), None);
    }

    #[test]
    fn a_ramp_is_limited_from_where_nothing_above_was_free() {
        let from =
            |steps: &[(f64, bool)]| limited_from(steps.iter().copied()).map(|(rate, _)| rate);
        let steps = [(400.0, true), (100.0, true), (200.0, false), (300.0, true)];
        assert_eq!(from(&steps), Some(300.0));
        assert_eq!(from(&[(100.0, true), (200.0, false)]), None);
        assert_eq!(from(&[]), None);
    }
}
