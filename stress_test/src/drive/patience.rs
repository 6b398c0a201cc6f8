//! How long a server is waited for.
//!
//! Knows times; no socket and no request.
//!
//! Rule: a time in which this program did not run counts for no timeout. The server may have been
//! stopped with it, and what it said meanwhile has not been looked at.

use std::time::{Duration, Instant};

use crate::drive::absences::Absences;

/// A loop that did not run for so long when it should have was stopped, or had no processor.
pub(crate) const ABSENCE: Duration = Duration::from_millis(200);

/// The timeout, and the absences that do not count for it.
#[derive(Debug)]
pub(crate) struct Patience {
    timeout: Duration,
    absences: Absences,
}

impl Patience {
    /// One of `timeout`, and no absence so far.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            absences: Absences::default(),
        }
    }

    /// The timeout.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The loop looks at its timeouts `late`, and has used the processor for `worked` since the
    /// last time. What is left over is an absence, if it is long.
    pub(crate) fn late(&mut self, late: Duration, worked: Duration, now: Instant) {
        let absent = late.saturating_sub(worked);
        if absent >= ABSENCE {
            self.absences.add(absent, now);
        }
    }

    /// Whether what has been waited for since `since` takes too long.
    pub(crate) fn is_over(&self, since: Instant, now: Instant) -> bool {
        let waited = now.saturating_duration_since(since);
        waited >= self.timeout && waited >= self.timeout + self.absences.between(since, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_takes_as_long_as_the_timeout_takes_too_long() {
        let patience = Patience::new(seconds(10));
        let since = Instant::now();
        assert!(!patience.is_over(since, since + Duration::from_millis(9_999)));
        assert!(patience.is_over(since, since + seconds(10)));
    }

    #[test]
    fn an_absence_does_not_count_for_what_was_waited_for_during_it() {
        let mut patience = Patience::new(seconds(10));
        let begin = Instant::now();
        let at = |second| begin + seconds(second);
        patience.late(seconds(31), seconds(1), at(40));
        patience.late(seconds(5), seconds(0), at(50));
        assert!(!patience.is_over(at(6), at(50)), "9 of 44 s count");
        assert!(patience.is_over(at(5), at(50)), "10 of 45 s count");
        assert!(!patience.is_over(at(41), at(55)), "9 of 14 s count");
        assert!(patience.is_over(at(41), at(56)), "10 of 15 s count");
        assert!(patience.is_over(at(51), at(61)), "there was none since");
    }

    #[test]
    fn a_loop_that_works_is_not_absent() {
        let mut patience = Patience::new(seconds(10));
        let begin = Instant::now();
        for second in 1..=20 {
            let now = begin + seconds(second);
            patience.late(seconds(1), Duration::from_millis(850), now);
        }
        assert!(patience.is_over(begin, begin + seconds(10)));
    }
}
