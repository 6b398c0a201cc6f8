//! How a client gets on with what it is sent, and when it is idle.
//!
//! Knows no socket: it is told what was written, taken and read.
//!
//! Rule: what has come before a connection is called idle is read first.

use std::time::{Duration, Instant};

/// How often the bytes are counted that a client takes, where it has to take so many.
pub(super) const RATE_CHECK: Duration = Duration::from_secs(1);
/// How far a client may be behind: what it should have taken in that time,
const ALLOWED_SECONDS: u64 = 10;
/// and so many bytes. A client's system makes room for more in pieces, of up to a sixteenth of
/// its buffer; between two of them a client that goes on reading seems to stand still.
const ALLOWED_BYTES: u64 = 256 << 10;

/// How a client gets on with what it is sent.
#[derive(Debug)]
pub(super) struct Progress {
    /// When response bytes were last written or seen to be taken, the last request was answered,
    /// the sending side was shut, or the connection opened.
    pub(super) last: Instant,
    /// When the first byte of the request that is begun came, or something was written since.
    pub(super) begun_at: Instant,
    /// Written bytes that the client is known to have taken.
    pub(super) taken: u64,
    /// How far it is behind the least rate, since it last had taken all.
    pub(super) arrears: Option<Box<Arrears>>,
    /// It is idle, unless what has come brings a request.
    pub(super) last_chance: Option<Box<LastChance>>,
}

/// What is read of a connection that is idle otherwise: it has come, so it counts.
#[derive(Debug)]
pub(super) struct LastChance {
    /// Bytes that lie in the socket and are to be read.
    pub(super) left: usize,
    /// Bytes that may count when they come while those are read: the rest of a long request. No
    /// more, for the rest of one that is too long may never end.
    pub(super) more: usize,
}

/// What a client has not taken, and should have.
#[derive(Debug)]
pub(super) struct Arrears {
    bytes: u64,
    /// When that was counted, and how much it had taken by then.
    counted_at: Instant,
    taken: u64,
}

impl Arrears {
    /// When they are to be counted.
    pub(super) fn due_at(&self) -> Instant {
        self.counted_at + RATE_CHECK
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due_at() <= now
    }
}

impl LastChance {
    /// Counts what has come meanwhile, when nothing is left. Says whether there is something to
    /// read.
    pub(super) fn look_again(&mut self, unread: impl FnOnce() -> usize) -> bool {
        if self.left == 0 && self.more > 0 {
            self.left = self.more.min(unread());
            self.more -= self.left;
        }
        self.left > 0
    }
}

impl Progress {
    pub(super) fn new(now: Instant) -> Progress {
        Progress {
            last: now,
            begun_at: now,
            taken: 0,
            arrears: None,
            last_chance: None,
        }
    }

    /// There is something to take: from now on it is counted, if it is not yet.
    pub(super) fn begin_arrears(&mut self, now: Instant) {
        let taken = self.taken;
        self.arrears.get_or_insert_with(|| {
            Box::new(Arrears {
                bytes: 0,
                counted_at: now,
                taken,
            })
        });
    }

    /// Counts what has been taken since that was last counted. Says whether that is too little for
    /// too long, at `rate` bytes a second.
    pub(super) fn is_too_slow(&mut self, rate: u64, now: Instant) -> bool {
        let Some(arrears) = self.arrears.as_mut().filter(|a| a.is_due(now)) else {
            return false;
        };
        // In more time than that the loop did not run: the client could not be sent more.
        let passed = now.saturating_duration_since(arrears.counted_at);
        let passed = passed.min(2 * RATE_CHECK).as_millis() as u64;
        let behind = arrears.bytes + rate * passed / 1000;
        arrears.bytes = behind.saturating_sub(self.taken - arrears.taken);
        (arrears.counted_at, arrears.taken) = (now, self.taken);
        arrears.bytes > rate * ALLOWED_SECONDS + ALLOWED_BYTES
    }

    /// A response, or a part of it, is on its way.
    pub(super) fn wrote(&mut self, now: Instant) {
        (self.last, self.begun_at) = (now, now);
    }

    /// Bytes of a last chance were read.
    pub(super) fn read(&mut self, count: usize) {
        if let Some(chance) = &mut self.last_chance {
            chance.left = chance.left.saturating_sub(count);
        }
    }

    /// Whether an idle connection is read before it is called idle: at first in any case, for the
    /// end of its stream may have come. Of what comes while that is read, at most `more` bytes
    /// count.
    pub(super) fn is_read_first(&mut self, more: usize, unread: impl FnOnce() -> usize) -> bool {
        if let Some(chance) = &mut self.last_chance {
            return chance.look_again(unread);
        }
        self.last_chance = Some(Box::new(LastChance {
            left: unread(),
            more,
        }));
        true
    }

    /// Its client has taken that many bytes of all that were written.
    pub(super) fn note_taken(&mut self, taken: u64, now: Instant) {
        if taken > self.taken {
            self.last = now;
            self.taken = taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a client is too slow that has taken `taken(s)` bytes after s
    /// seconds, if it is within `end` seconds.
    fn too_slow_after(rate: u64, end: u64, taken: impl Fn(u64) -> u64) -> Option<u64> {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        progress.begin_arrears(start);
        (1..=end).find(|second| {
            let now = start + Duration::from_secs(*second);
            progress.note_taken(taken(*second), now);
            progress.is_too_slow(rate, now)
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
        let at_first = too_slow_after(1 << 20, 1000, |_| 1 << 40);
        assert_eq!(at_first, Some(1 + 11));
    }

    #[test]
    fn time_in_which_the_loop_did_not_run_does_not_count() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        progress.begin_arrears(start);
        assert!(!progress.is_too_slow(1 << 30, start + Duration::from_secs(3600)));
    }
}
