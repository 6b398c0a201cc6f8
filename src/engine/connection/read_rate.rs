//! How far a client is behind the least rate at which it has to take what it is sent.
//!
//! Knows no socket: it is told what was taken.
//!
//! Rule: what a client took before is no credit, and time in which the loop did not run is no
//! fault of it.

use std::time::{Duration, Instant};

/// How often it is counted what a client takes, where there is a least rate.
pub(super) const RATE_CHECK: Duration = Duration::from_secs(1);
/// A client may be behind by what it should have taken in this time, and by [`ALLOWED_BYTES`].
const ALLOWED_SECONDS: u64 = 10;
/// A client's system makes room for more in pieces of up to a sixteenth of its buffer. Between two
/// of them a client that goes on reading seems to stand still.
const ALLOWED_BYTES: u64 = 256 << 10;

/// What a client has not taken, and should have, since it last had taken all.
#[derive(Debug)]
pub(super) struct Arrears {
    bytes: u64,
    /// When that was counted, and how much it had taken by then.
    counted_at: Instant,
    taken: u64,
}

impl Arrears {
    /// From `now` on it is counted what a client takes, beside the `taken` bytes that it has.
    pub(super) fn new(taken: u64, now: Instant) -> Arrears {
        Arrears {
            bytes: 0,
            counted_at: now,
            taken,
        }
    }

    /// When they are to be counted.
    pub(super) fn due_at(&self) -> Instant {
        self.counted_at + RATE_CHECK
    }

    /// Counts what has been taken since that was last counted: that makes `taken` bytes in all.
    /// Says whether it is too little for too long, at `rate` bytes a second.
    pub(super) fn is_too_slow(&mut self, taken: u64, rate: u64, now: Instant) -> bool {
        // In more time than that the loop did not run: the client could not be sent more.
        let passed = now.saturating_duration_since(self.counted_at);
        let passed = passed.min(2 * RATE_CHECK).as_millis() as u64;
        let behind = self.bytes + rate * passed / 1000;
        self.bytes = behind.saturating_sub(taken - self.taken);
        (self.counted_at, self.taken) = (now, taken);
        self.bytes > rate * ALLOWED_SECONDS + ALLOWED_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a client is too slow that has taken `taken(s)` bytes after s
    /// seconds, if it is within `end` seconds.
    fn too_slow_after(rate: u64, end: u64, taken: impl Fn(u64) -> u64) -> Option<u64> {
        let start = Instant::now();
        let mut arrears = Arrears::new(taken(0), start);
        (1..=end).find(|second| {
            let now = start + Duration::from_secs(*second);
            arrears.is_too_slow(taken(*second), rate, now)
        })
    }

    #[test]
    fn a_client_that_takes_nothing_is_too_slow_when_it_is_as_far_behind_as_is_allowed() {
        assert_eq!(too_slow_after(1 << 30, 100, |_| 0), Some(11));
        // 256 KiB are 262 seconds and more at this rate.
        assert_eq!(too_slow_after(1000, 1000, |_| 0), Some(10 + 263));
    }

    #[test]
    fn a_client_that_keeps_to_the_rate_is_never_too_slow_in_whatever_pieces_it_takes() {
        const PIECE: u64 = 256 << 10;
        let in_pieces = |second: u64, rate: u64| second * rate / PIECE * PIECE;
        assert_eq!(too_slow_after(1000, 100_000, |s| in_pieces(s, 1000)), None);
        let slower = too_slow_after(1000, 100_000, |s| in_pieces(s, 900));
        assert!(slower.is_some(), "a tenth less is too little in the end");
    }

    #[test]
    fn what_a_client_took_before_is_no_credit() {
        let much = 1 << 40;
        assert_eq!(too_slow_after(1 << 20, 1000, |_| much), Some(11));
        let at_first = too_slow_after(1 << 20, 1000, |s| if s == 0 { 0 } else { much });
        assert_eq!(at_first, Some(1 + 11));
    }

    #[test]
    fn time_in_which_the_loop_did_not_run_does_not_count() {
        let start = Instant::now();
        let mut arrears = Arrears::new(0, start);
        assert!(!arrears.is_too_slow(0, 1 << 30, start + Duration::from_secs(3600)));
    }
}
