//! How often one client has tried to get a connection, and whether that still makes sense.
//!
//! Knows times and counts; no socket and no request.
//!
//! Rule: only a connection that was of use ends a row of attempts. So a proxy that accepts and
//! closes at once is tried no longer than a port that refuses.

use std::time::{Duration, Instant};

/// A connection that lasted for so long was of use, even if nothing was said on it.
const OF_USE_AFTER: Duration = Duration::from_secs(1);

/// The attempts of one client.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// Since the last connection that was of use.
    row: u32,
    /// When the first of this row was begun.
    since: Instant,
    /// When the present connection was made, if there is one.
    made: Option<Instant>,
    was_made: bool,
}

impl Attempts {
    /// None yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            row: 0,
            since: now,
            made: None,
            was_made: false,
        }
    }

    /// One is begun.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.row == 0 {
            self.since = now;
        }
        self.row += 1;
    }

    /// It has become a connection. Returns whether there had been one before.
    pub(crate) fn made(&mut self, now: Instant) -> bool {
        self.made = Some(now);
        std::mem::replace(&mut self.was_made, true)
    }

    /// The server has said something.
    #[inline]
    pub(crate) fn heard(&mut self) {
        self.row = 0;
    }

    /// The attempt, or the connection that it became, is over.
    pub(crate) fn ended(&mut self, now: Instant) {
        let made = self.made.take();
        if made.is_some_and(|made| now.saturating_duration_since(made) >= OF_USE_AFTER) {
            self.row = 0;
        }
    }

    /// How many there were since the last connection that was of use.
    pub(crate) fn row(&self) -> u32 {
        self.row
    }

    /// Whether the row has lasted for `limit`.
    pub(crate) fn are_in_vain(&self, limit: Duration, now: Instant) -> bool {
        self.row > 0 && now.saturating_duration_since(self.since) >= limit
    }

    /// Whether one of them ever became a connection.
    pub(crate) fn was_made(&self) -> bool {
        self.was_made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_row_is_in_vain_after_the_limit_whether_refused_or_closed_at_once() {
        for is_accepted in [false, true] {
            let start = Instant::now();
            let mut attempts = Attempts::new(start);
            for second in 0..=10 {
                let now = start + Duration::from_secs(second);
                attempts.begin(now);
                if is_accepted {
                    attempts.made(now);
                }
                attempts.ended(now);
                assert_eq!(attempts.are_in_vain(LIMIT, now), second == 10);
            }
            assert_eq!((attempts.row(), attempts.was_made()), (11, is_accepted));
        }
    }

    #[test]
    fn an_answer_or_a_second_of_life_ends_a_row() {
        let start = Instant::now();
        let later = start + OF_USE_AFTER;
        let mut attempts = Attempts::new(start);
        attempts.begin(start);
        attempts.made(start);
        attempts.ended(later);
        assert_eq!(attempts.row(), 0, "it lasted");
        attempts.begin(later);
        assert!(attempts.made(later), "there had been one before");
        attempts.heard();
        attempts.ended(later);
        assert_eq!(attempts.row(), 0, "the server answered");
        assert!(!attempts.are_in_vain(LIMIT, later + LIMIT));
    }
}
