//! Keeps one cause from filling the log: at most one warning a second.
//!
//! Knows neither what is warned of nor the clock: it is handed `now`.
//!
//! Rule: the first warning is never held back.

use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// One for each cause, so that none hides another.
#[derive(Debug, Default)]
pub(super) struct WarnLimit {
    warned_at: Option<Instant>,
}

impl WarnLimit {
    /// Whether a warning may be written now; counts it as written.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.warned_at.is_none_or(|at| now >= at + INTERVAL);
        if allowed {
            self.warned_at = Some(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_a_second_is_allowed_and_the_first_one_at_once() {
        let start = Instant::now();
        let mut limit = WarnLimit::default();
        let allowed: Vec<u64> = (0..3000)
            .filter(|ms| limit.allows(start + Duration::from_millis(*ms)))
            .collect();
        assert_eq!(allowed, [0, 1000, 2000]);
    }
}
