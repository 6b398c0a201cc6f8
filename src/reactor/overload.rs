//! Tells a person of overload: that requests are refused, how many, and when that is over.
//!
//! Knows neither requests nor the clock: it is told how many were refused, and handed `now`.
//!
//! Rule: the first refusal is told at once, then at most one line a second says how many there
//! were, and one more says that a second has passed without any.

use crate::log::warn;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// No overload, by default.
#[derive(Debug, Default)]
pub(super) struct Overload(Option<Ongoing>);

#[derive(Debug)]
struct Ongoing {
    since: Instant,
    /// Requests refused since then.
    refused: usize,
    /// Of these, those that the log has been told of.
    told: usize,
    /// When the log is told again, or that it is over.
    next: Instant,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Refused(usize),
    Over { refused: usize, lasted: Duration },
}

impl Overload {
    /// `refused` requests were refused since the last call.
    pub(super) fn note(&mut self, refused: usize, now: Instant) {
        match self.news(refused, now) {
            Some(News::Refused(refused)) => {
                warn!(refused, "overload: requests are refused as busy");
            }
            Some(News::Over { refused, lasted }) => {
                let lasted_s = lasted.as_secs();
                warn!(refused, lasted_s, "the overload is over");
            }
            None => {}
        }
    }

    /// When it wants to be called again, though nothing may have been refused.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.as_ref().map(|ongoing| ongoing.next)
    }

    fn news(&mut self, refused: usize, now: Instant) -> Option<News> {
        let Some(ongoing) = &mut self.0 else {
            if refused > 0 {
                self.0 = Some(Ongoing {
                    since: now,
                    refused,
                    told: refused,
                    next: now + INTERVAL,
                });
                return Some(News::Refused(refused));
            }
            return None;
        };
        ongoing.refused += refused;
        if now < ongoing.next {
            return None;
        }
        ongoing.next = now + INTERVAL;
        let untold = ongoing.refused - std::mem::replace(&mut ongoing.told, ongoing.refused);
        if untold > 0 {
            return Some(News::Refused(untold));
        }
        let over = News::Over {
            refused: ongoing.refused,
            lasted: now - ongoing.since,
        };
        self.0 = None;
        Some(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn refusals_are_told_at_once_then_by_the_second_and_so_is_their_end() {
        let start = Instant::now();
        let mut overload = Overload::default();
        let mut told = Vec::new();
        for ms in 0..5000u32 {
            // Three each millisecond for 2.5 s.
            let refused = if ms < 2500 { 3 } else { 0 };
            if let Some(news) = overload.news(refused, start + ms * MS) {
                told.push((ms, news));
            }
        }
        let over = News::Over {
            refused: 7500,
            lasted: 4000 * MS,
        };
        let expected = [
            (0, News::Refused(3)),
            (1000, News::Refused(3000)),
            (2000, News::Refused(3000)),
            (3000, News::Refused(1497)),
            (4000, over),
        ];
        assert_eq!(told, expected);
        assert_eq!(overload.next_due(), None);
    }

    #[test]
    fn without_refusals_nothing_is_told() {
        let start = Instant::now();
        let mut overload = Overload::default();
        assert!((0..5000).all(|ms| overload.news(0, start + ms * MS).is_none()));
    }
}
