//! How long a refused request waits before it is sent again.
//!
//! Knows how often it has been refused; not what it asks for.
//!
//! Rule: clients that were refused together do not come back together.

use std::time::Duration;

/// The wait before the first retry; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
/// The longest wait before a retry.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// How long to wait before the next try: doubling, and with "equal jitter" (half of it is fixed,
/// half random, `share` of it), so that clients that were refused together do not come back
/// together.
///
/// M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
pub(crate) fn backoff(earlier_tries: u32, share: f64) -> Duration {
    let longest = FIRST_BACKOFF
        .saturating_mul(1 << earlier_tries.min(16))
        .min(LONGEST_BACKOFF);
    let half = longest / 2;
    half + half.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_a_second_with_half_of_it_random() {
        let ms = |tries, share| backoff(tries, share).as_millis();
        assert_eq!((ms(0, 0.0), ms(0, 1.0)), (5, 10));
        assert_eq!((ms(3, 0.0), ms(3, 1.0)), (40, 80));
        assert_eq!((ms(100, 0.0), ms(100, 1.0)), (500, 1000));
    }
}
