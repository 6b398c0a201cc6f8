//! The account of a run: what was sent, and what became of it.
//!
//! Adds up what the clients report; judges nothing but whether the account balances.
//!
//! Rule: ordinary clients and hogs are never added together, except in the list of failures.

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

use crate::check::failure::{Failures, Kind, Sender};
use crate::figures::latencies::Latencies;
use crate::figures::occupancy::Occupancy;
use crate::figures::stages::StageTallies;
use crate::figures::timeline::{Slice, Timeline};
use crate::load::mix::Operation;
use crate::load::stages::Stage;

/// The account of all clients.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Everything that was wrong.
    pub(crate) failures: Failures,
    /// What the ordinary clients got.
    pub(crate) clients: Tally,
    /// What the hogs got.
    pub(crate) hogs: Tally,
    /// When the ordinary clients got it.
    pub(crate) timeline: Timeline,
    /// The same by the stages of an open loop that has several.
    pub(crate) stages: StageTallies,
    /// What they got since [`Self::take_recent`].
    recent: Slice,
    window: Window,
}

/// The part of a run that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Requests due before this are verified only.
    pub(crate) from: Instant,
    /// Answers after this do not count towards the throughput. `None`: until the last answer.
    pub(crate) until: Option<Instant>,
}

impl Window {
    /// Whether what is due at `intended` is measured.
    pub(crate) fn is_measured(self, intended: Instant) -> bool {
        intended >= self.from
    }

    /// Whether `now` is in it.
    pub(crate) fn contains(self, now: Instant) -> bool {
        now >= self.from && self.until.is_none_or(|until| now < until)
    }
}

/// Two of the three times of a request; the third is when it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// What was asked for, where there was a choice.
    pub(crate) operation: Option<Operation>,
    /// When it was meant to be sent.
    pub(crate) intended: Instant,
    /// When its last byte was handed to the kernel (of a retried one: its last try's).
    pub(crate) written: Instant,
}

impl Times {
    /// All three, of a request that was answered `now`.
    pub(crate) fn answered(self, now: Instant) -> Answered {
        Answered {
            operation: self.operation,
            intended: self.intended,
            now,
            latency: now.saturating_duration_since(self.intended),
            service: now.saturating_duration_since(self.written),
        }
    }
}

/// A request that was answered. How long it took is told once, to all who count it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    operation: Option<Operation>,
    /// When it was meant to be sent.
    pub(crate) intended: Instant,
    /// When its answer came.
    pub(crate) now: Instant,
    /// How long it took since it was meant to be sent.
    pub(crate) latency: Duration,
    /// How long it took since its last byte was handed to the kernel.
    pub(crate) service: Duration,
}

impl Ledger {
    /// Nothing yet.
    pub(crate) fn new(failures: Failures, now: Instant) -> Self {
        Self {
            failures,
            clients: Tally::default(),
            hogs: Tally::default(),
            timeline: Timeline::new(now),
            stages: StageTallies::new(now, now, &[]),
            recent: Slice::new(),
            window: Window {
                from: now,
                until: None,
            },
        }
    }

    /// The run begins at `start`; `window` of it is measured. An open loop has `stages`.
    pub(crate) fn begin(&mut self, start: Instant, window: Window, stages: &[Stage]) {
        self.timeline = Timeline::new(start);
        self.stages = StageTallies::new(start, window.from, stages);
        self.window = window;
    }

    /// Adds what the clients of another loop of the same run got.
    pub(crate) fn merge(&mut self, other: Self) {
        self.failures.merge(other.failures);
        self.clients.merge(&other.clients);
        self.hogs.merge(&other.hogs);
        self.timeline.merge(other.timeline);
        self.stages.merge(other.stages);
    }

    /// What the ordinary clients got since the last time.
    pub(crate) fn take_recent(&mut self) -> Slice {
        mem::replace(&mut self.recent, Slice::new())
    }

    /// The part of the run that is measured.
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// The tally of the group that `sender` belongs to.
    pub(crate) fn tally(&mut self, sender: Sender) -> &mut Tally {
        match sender {
            Sender::Client(_) => &mut self.clients,
            Sender::Hog(_) => &mut self.hogs,
        }
    }

    /// A connection was made, within `time`; `had_one` is said by a client that had one before.
    pub(crate) fn connected(&mut self, sender: Sender, time: Duration, had_one: bool) {
        let tally = self.tally(sender);
        tally.connect_times.record(time);
        tally.reconnects += u64::from(had_one);
    }

    /// `count` frames that were meant for `intended` were handed to the kernel.
    pub(crate) fn written(
        &mut self,
        sender: Sender,
        count: u32,
        intended: Instant,
        is_first_try: bool,
        now: Instant,
    ) {
        let is_measured = self.window.is_measured(intended);
        let tally = self.tally(sender);
        tally.occupancy.enter(count, now);
        if is_first_try && is_measured {
            let lag = now.saturating_duration_since(intended);
            tally.send_lag.record_many(lag, count.into());
        }
    }

    /// `count` frames that the kernel had for a time of `stay` are no longer in flight, for
    /// whatever reason.
    pub(crate) fn left(&mut self, sender: Sender, count: u32, stay: Duration, now: Instant) {
        self.tally(sender).occupancy.leave(count, stay, now);
    }

    /// `count` right answers came in their place, to requests that differ in no figure.
    pub(crate) fn verified(&mut self, sender: Sender, answered: Answered, count: u32) {
        let Answered {
            operation,
            intended,
            now,
            latency,
            service,
        } = answered;
        let is_measured = self.window.is_measured(intended);
        self.ended(sender, count, intended, now);
        if let Sender::Client(_) = sender {
            self.timeline.answered(now, latency, count);
            self.recent.answered(latency, count);
            if let Some(stage) = self.stages.at(now) {
                stage.came += u64::from(count);
            }
            if let Some(stage) = self.stages.at(intended) {
                stage.answers += u64::from(count);
                stage.latencies.record_many(latency, count.into());
            }
        }
        let is_in_window = self.window.contains(now);
        let tally = self.tally(sender);
        tally.verified += u64::from(count);
        if is_in_window {
            tally.in_window += u64::from(count);
        }
        tally.last_answer = Some(now);
        tally.quickest = Some(tally.quickest.map_or(service, |least| least.min(service)));
        if is_measured {
            tally.latencies.record_many(latency, count.into());
            tally.service.record_many(service, count.into());
            if let Some(operation) = operation {
                let latencies = tally.operations.entry(operation).or_default();
                latencies.record_many(latency, count.into());
            }
        }
    }

    /// It was answered `ERR server busy`, finally or not.
    pub(crate) fn busy(&mut self, sender: Sender, times: Times, now: Instant) {
        let is_measured = self.window.is_measured(times.intended);
        if let Sender::Client(_) = sender {
            self.timeline.refused(now);
            self.recent.busy += 1;
            if let Some(stage) = self.stages.at(times.intended) {
                stage.busy += 1;
            }
        }
        let tally = self.tally(sender);
        tally.busy_answers += 1;
        tally.last_answer = Some(now);
        if is_measured {
            tally.busy_latencies.record(times.answered(now).service);
        }
    }

    /// That was its end: it is not sent again, which is a failure if it was `tried_again`.
    pub(crate) fn refused(
        &mut self,
        sender: Sender,
        tried_again: bool,
        intended: Instant,
        now: Instant,
    ) {
        self.ended(sender, 1, intended, now);
        let tally = self.tally(sender);
        if tried_again {
            tally.given_up_busy += 1;
        } else {
            tally.refused += 1;
        }
    }

    /// A frame that was sent ended as a failure of `kind`.
    pub(crate) fn failed(
        &mut self,
        sender: Sender,
        kind: Kind,
        operation: Option<Operation>,
        intended: Instant,
        now: Instant,
    ) {
        self.ended(sender, 1, intended, now);
        let tally = self.tally(sender);
        match kind {
            Kind::Missing => tally.missing += 1,
            Kind::Lost => tally.lost += 1,
            _ => tally.wrong += 1,
        }
        if matches!(kind, Kind::Missing | Kind::Lost) {
            self.unanswered(sender, operation, intended, now);
        }
    }

    /// A frame that was due at `intended` was not sent and will not be.
    pub(crate) fn unsent_due(&mut self, sender: Sender, intended: Instant, now: Instant) {
        self.ended(sender, 1, intended, now);
        self.tally(sender).unsent += 1;
        // What it would have asked for was not decided yet.
        self.unanswered(sender, None, intended, now);
    }

    /// A frame that was due at `intended`, sent or not, has no end when the run is interrupted.
    pub(crate) fn left_open(
        &mut self,
        sender: Sender,
        operation: Option<Operation>,
        intended: Instant,
        now: Instant,
    ) {
        self.due(sender, 1, intended);
        self.unanswered(sender, operation, intended, now);
    }

    /// `count` frames that were due at `intended` came to their end, whichever that was.
    fn ended(&mut self, sender: Sender, count: u32, intended: Instant, now: Instant) {
        self.due(sender, count, intended);
        if self.window.contains(now) {
            self.tally(sender).ended_in_window += u64::from(count);
        }
    }

    /// `count` frames were due at `intended`.
    fn due(&mut self, sender: Sender, count: u32, intended: Instant) {
        if let Sender::Client(_) = sender
            && let Some(stage) = self.stages.at(intended)
        {
            stage.due += u64::from(count);
        }
        if self.window.is_measured(intended) {
            self.tally(sender).due += u64::from(count);
        }
    }

    fn unanswered(
        &mut self,
        sender: Sender,
        operation: Option<Operation>,
        intended: Instant,
        now: Instant,
    ) {
        if self.window.is_measured(intended) {
            let age = now.saturating_duration_since(intended);
            if let Sender::Client(_) = sender
                && let Some(stage) = self.stages.at(intended)
            {
                stage.latencies.record_unanswered(age);
            }
            let tally = self.tally(sender);
            tally.latencies.record_unanswered(age);
            if let Some(operation) = operation {
                let latencies = tally.operations.entry(operation).or_default();
                latencies.record_unanswered(age);
            }
        }
    }
}

/// What one group of clients (the ordinary ones, or the hogs) got.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Frames that were queued for writing, each counted once.
    pub(crate) sent: u64,
    /// Frames whose right answer came in its place.
    pub(crate) verified: u64,
    /// Those of them whose right answer was an error.
    pub(crate) expected_errors: u64,
    /// Frames that ended in `ERR server busy` without being a failure.
    pub(crate) refused: u64,
    /// Frames that ended in `ERR server busy` after their last retry, which is a failure.
    pub(crate) given_up_busy: u64,
    /// Frames that were answered wrongly: altered, swapped, foreign and so on.
    pub(crate) wrong: u64,
    /// Frames that were sent and not answered, or too late.
    pub(crate) missing: u64,
    /// Frames that were in flight when their connection was closed, where clients reconnect.
    pub(crate) lost: u64,
    /// Frames of the plan that could not be sent.
    pub(crate) unsent: u64,
    /// Those of them whose client, or whichever client might have sent them, had lost its
    /// connection.
    pub(crate) cut_off: u64,
    /// Frames that were due in the measured window, and have come to an end or were left open.
    pub(crate) due: u64,
    /// Frames that came to an end within it, whenever they were due.
    pub(crate) ended_in_window: u64,
    /// Connections that were made by a client that had had one before.
    pub(crate) reconnects: u64,
    /// Connections that were refused, by the system or by the server.
    pub(crate) connects_refused: u64,
    /// How long it took to make a connection, of those that were made.
    pub(crate) connect_times: Latencies,
    /// Verified frames that were answered within the measured window.
    pub(crate) in_window: u64,
    /// `ERR server busy` answers, retried or not.
    pub(crate) busy_answers: u64,
    /// Tries after a first one.
    pub(crate) retries: u64,
    /// From intended to answered, of verified frames, and of missing ones so far as is known.
    pub(crate) latencies: Latencies,
    /// The same for each operation, where there was a choice.
    pub(crate) operations: BTreeMap<Operation, Latencies>,
    /// From written to answered, of verified frames (of a retried one: its last try).
    pub(crate) service: Latencies,
    /// The shortest time from written to answered, of the warmup too: what the server takes when
    /// it has little to do. A server that is overloaded from the warmup on shows it there alone.
    pub(crate) quickest: Option<Duration>,
    /// From intended to written.
    pub(crate) send_lag: Latencies,
    /// From written to `ERR server busy`.
    pub(crate) busy_latencies: Latencies,
    /// How many were in flight.
    pub(crate) occupancy: Occupancy,
    /// When the last answer came.
    pub(crate) last_answer: Option<Instant>,
}

impl Tally {
    /// How many of the frames that were sent have come to an end, right or wrong.
    pub(crate) fn ended(&self) -> u64 {
        self.verified + self.refused + self.given_up_busy + self.wrong + self.missing + self.lost
    }

    fn merge(&mut self, other: &Self) {
        // All fields are named, so that none is forgotten.
        let Self {
            sent,
            verified,
            expected_errors,
            refused,
            given_up_busy,
            wrong,
            missing,
            lost,
            unsent,
            due,
            ended_in_window,
            cut_off,
            reconnects,
            connects_refused,
            connect_times,
            in_window,
            busy_answers,
            retries,
            latencies,
            operations,
            service,
            send_lag,
            busy_latencies,
            quickest,
            occupancy,
            last_answer,
        } = other;
        self.sent += sent;
        self.verified += verified;
        self.expected_errors += expected_errors;
        self.refused += refused;
        self.given_up_busy += given_up_busy;
        self.wrong += wrong;
        self.missing += missing;
        self.lost += lost;
        self.unsent += unsent;
        self.due += due;
        self.ended_in_window += ended_in_window;
        self.cut_off += cut_off;
        self.reconnects += reconnects;
        self.connects_refused += connects_refused;
        self.connect_times.merge(connect_times);
        self.in_window += in_window;
        self.busy_answers += busy_answers;
        self.retries += retries;
        self.latencies.merge(latencies);
        for (operation, latencies) in operations {
            self.operations
                .entry(*operation)
                .or_default()
                .merge(latencies);
        }
        self.service.merge(service);
        self.send_lag.merge(send_lag);
        self.busy_latencies.merge(busy_latencies);
        self.quickest = match (self.quickest, quickest) {
            (Some(one), Some(two)) => Some(one.min(*two)),
            (one, two) => one.or(*two),
        };
        self.occupancy.merge(occupancy);
        self.last_answer = self.last_answer.max(*last_answer);
    }

    #[cfg(test)]
    #[track_caller]
    pub(crate) fn assert_balanced(&self) {
        assert_eq!(self.sent, self.ended(), "{self:#?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_in_the_warmup_is_verified_but_not_measured() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ledger = Ledger::new(Failures::new(false), start);
        let window = Window {
            from: at(100),
            until: Some(at(200)),
        };
        ledger.begin(start, window, &[]);
        let sender = Sender::Client(0);
        for (intended, answered) in [(50, 60), (99, 110), (100, 150), (190, 210)] {
            let times = Times {
                operation: None,
                intended: at(intended),
                written: at(intended + 1),
            };
            ledger.verified(sender, times.answered(at(answered)), 1);
        }
        let tally = &ledger.clients;
        assert_eq!(tally.verified, 4);
        assert_eq!(tally.latencies.count(), 2);
        assert_eq!(tally.in_window, 2, "answered at 110 and 150");
    }
}
