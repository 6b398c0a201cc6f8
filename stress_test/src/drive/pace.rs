//! The open loop: hands each request that is due to a client with room, in turn.
//!
//! Knows the timetable, who has room, and the alarm for the next due time; sends nothing itself.
//!
//! Rule: what is due and finds no client with room waits in the timetable and keeps its due time.
//! Its wait for room is the server's. What comes on top is this program's own lag, and so is what
//! of that wait passed while the loop was away, as nobody looked who had room.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use crate::drive::absences::Absences;
use crate::drive::alarm::Alarm;
use crate::figures::latencies::Latencies;
use crate::figures::outcome::OpenLoopEffort;
use crate::load::part::Part;
use crate::load::plan::OpenLoop;
use crate::load::schedule::Schedule;

/// What is due when the duration ends may still be sent for so long.
const GRACE: Duration = Duration::from_secs(1);
/// Loops are away for less than this all the time, while they handle what has come.
const SHORTEST_ABSENCE: Duration = Duration::from_millis(1);

/// The pace of a run.
#[derive(Debug)]
pub(crate) struct Pace {
    schedule: Schedule,
    duration: Duration,
    start: Instant,
    alarm: Alarm,
    /// Connections with room, the one that has waited longest first.
    ready: VecDeque<usize>,
    /// Since when there has been one.
    ready_since: Instant,
    /// When the loop was away while there was something due that waits.
    absences: Absences,
    own_lag: Latencies,
    client_waits: Latencies,
    /// How many of these were waits, in each stage.
    waited: Vec<u64>,
    measured_from: Instant,
}

impl Pace {
    /// The pace of `part` of `open`, whose alarm has `token`.
    pub(crate) fn new(
        open: OpenLoop,
        seed: u64,
        part: Part,
        registry: &Registry,
        token: Token,
        now: Instant,
    ) -> io::Result<Self> {
        Ok(Self {
            duration: open.duration(),
            waited: vec![0; open.stages.len()],
            schedule: Schedule::new(open, seed, part),
            start: now,
            alarm: Alarm::new(registry, token)?,
            ready: VecDeque::new(),
            ready_since: now,
            absences: Absences::default(),
            own_lag: Latencies::default(),
            client_waits: Latencies::default(),
            measured_from: now,
        })
    }

    /// The timetable begins at `start`; its own lag is measured from `measured_from` on. Who has
    /// room by now had it at the start.
    pub(crate) fn begin(&mut self, start: Instant, measured_from: Instant) {
        self.start = start;
        self.ready_since = start;
        self.measured_from = measured_from;
    }

    /// When the next request is due, if there is one more.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.schedule.peek().map(|due| self.start + due)
    }

    /// The loop was away for `delay`, until `now`. Absences are kept until all that came due in
    /// them is handed out, which may take many ticks.
    pub(crate) fn was_away(&mut self, delay: Duration, now: Instant) {
        if delay >= SHORTEST_ABSENCE {
            self.absences.forget_before(self.next_due().unwrap_or(now));
            self.absences.add(delay, now);
        }
    }

    /// `index` has room.
    pub(crate) fn add_ready(&mut self, index: usize, now: Instant) {
        if self.ready.is_empty() {
            self.ready_since = now;
        }
        self.ready.push_back(index);
    }

    /// How many have room.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Takes the connection with room that has waited longest.
    pub(crate) fn pop_ready(&mut self) -> Option<usize> {
        self.ready.pop_front()
    }

    /// Takes the next request, which is due and for which there is a connection with room. Returns
    /// when it was due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.start + self.schedule.take()?;
        let wait = self.wait_for_room(due, self.ready_since);
        if due >= self.measured_from {
            let lag = now.saturating_duration_since(due);
            self.own_lag.record(lag.saturating_sub(wait));
        }
        self.note_client_wait(due, wait);
        Some(due)
    }

    /// Takes what will not be sent any more: all that is due by `now`.
    pub(crate) fn take_unsent(&mut self, now: Instant) -> Option<Instant> {
        self.next_due().filter(|&due| due <= now)?;
        self.schedule.take().map(|due| self.start + due)
    }

    /// What was due at `due` has found no client with room by `now`, and waits no more.
    pub(crate) fn gave_up(&mut self, due: Instant, now: Instant) {
        self.note_client_wait(due, self.wait_for_room(due, now));
    }

    /// How much of the time from `due` to `until` was a wait for a client with room.
    fn wait_for_room(&self, due: Instant, until: Instant) -> Duration {
        until.saturating_duration_since(due) - self.absences.between(due, until)
    }

    fn note_client_wait(&mut self, due: Instant, wait: Duration) {
        if due >= self.measured_from {
            self.client_waits.record(wait);
            let since_start = due.saturating_duration_since(self.start);
            self.waited[self.schedule.stage_at(since_start)] += u64::from(wait > Duration::ZERO);
        }
    }

    /// Whether nothing more will be sent.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.schedule.peek().is_none() || now >= self.end()
    }

    /// When nothing more will be sent, whatever is left.
    pub(crate) fn end(&self) -> Instant {
        self.start + self.duration + GRACE
    }

    /// Sees to it that the event loop wakes when there is something to do: when the next request
    /// is due, if there is room for it. Where there is none, an answer has to come first.
    pub(crate) fn set_alarm(&mut self, now: Instant) -> io::Result<()> {
        match self.next_due() {
            Some(due) if !self.ready.is_empty() => self.alarm.set(due, now),
            _ => Ok(()),
        }
    }

    /// When the alarm goes off, if that is after `now`.
    pub(crate) fn alarm(&self, now: Instant) -> Option<Instant> {
        self.alarm.next(now)
    }

    /// How many requests have been due and taken.
    pub(crate) fn taken(&self) -> u64 {
        self.schedule.taken()
    }

    /// How the timetable was kept, by `clients` in the end.
    pub(crate) fn into_effort(self, clients: u32) -> OpenLoopEffort {
        OpenLoopEffort {
            own_lag: self.own_lag,
            clients,
            client_waits: self.client_waits,
            waited: self.waited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::tests::plan;
    use crate::load::plan::{Arrivals, Mix};
    use mio::Poll;

    fn pace(rate: f64) -> (Poll, Pace, Instant) {
        let poll = Poll::new().expect("there is a poll");
        let now = Instant::now();
        let open = OpenLoop::steady(rate, Arrivals::Uniform, Duration::from_secs(1));
        let part = Part::all_of(&plan(Mix::Echo)).remove(0);
        let pace = Pace::new(open, 1, part, poll.registry(), Token(0), now);
        (poll, pace.expect("there is a timer"), now)
    }

    #[test]
    fn a_wait_for_room_is_not_its_own_lag() {
        let (_poll, mut pace, start) = pace(10.0);
        let at = |ms| start + Duration::from_millis(ms);
        pace.begin(start, start);
        pace.add_ready(3, at(500));
        assert_eq!(pace.pop_ready(), Some(3));
        assert_eq!(pace.take(at(502)), Some(start));
        assert_eq!(pace.own_lag.longest(), Duration::from_millis(2));
        pace.add_ready(4, at(600));
        assert_eq!(pace.take(at(640)), Some(at(100)));
        assert_eq!(pace.own_lag.longest(), Duration::from_millis(40));
    }

    #[test]
    fn a_wait_for_room_while_the_loop_was_away_is_its_own_lag() {
        let (_poll, mut pace, start) = pace(10.0);
        let at = |ms| start + Duration::from_millis(ms);
        pace.begin(start, start);
        pace.was_away(Duration::from_millis(300), at(400));
        // It is handed out over many ticks, each a little late.
        pace.was_away(Duration::from_micros(900), at(440));
        pace.add_ready(3, at(450));
        // Due at 0, 100 and 200, of which 300, 300 and 200 ms were the absence.
        let due = [(); 3].map(|()| pace.take(at(460)).expect("it is due"));
        assert_eq!(due, [at(0), at(100), at(200)]);
        assert_eq!(pace.own_lag.longest(), Duration::from_millis(310));
        assert_eq!(pace.client_waits.longest(), Duration::from_millis(150));
        pace.was_away(Duration::from_millis(100), at(900));
        assert_eq!(
            pace.wait_for_room(at(500), at(600)),
            Duration::from_millis(100)
        );
    }

    #[test]
    fn a_wait_for_a_client_counts_in_the_stage_in_which_it_was_due() {
        let poll = Poll::new().expect("there is a poll");
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut open = OpenLoop::steady(10.0, Arrivals::Uniform, Duration::from_millis(200));
        open.stages.push(open.stages[0]);
        let part = Part::all_of(&plan(Mix::Echo)).remove(0);
        let pace = Pace::new(open, 1, part, poll.registry(), Token(0), start);
        let mut pace = pace.expect("there is a timer");
        pace.add_ready(3, at(10));
        pace.begin(start, start);
        assert_eq!(pace.take(at(50)), Some(start), "there was room at once");
        assert_eq!(pace.own_lag.longest(), Duration::from_millis(50));
        pace.pop_ready();
        pace.add_ready(3, at(250));
        let due: Vec<_> = std::iter::from_fn(|| pace.take(at(350))).collect();
        assert_eq!(due, [at(100), at(200), at(300)]);
        assert_eq!(pace.into_effort(1).waited, [1, 1]);
    }

    #[test]
    fn what_is_due_at_the_end_may_be_sent_for_a_grace() {
        let (_poll, mut pace, start) = pace(10.0);
        pace.begin(start, start);
        assert!(!pace.is_over(start + Duration::from_secs(1)));
        let end = start + Duration::from_secs(2);
        assert!(pace.is_over(end));
        let unsent = std::iter::from_fn(|| pace.take_unsent(end)).count();
        assert_eq!(unsent, 10);
        assert_eq!(pace.taken(), 10);
    }

    #[test]
    fn what_is_not_due_yet_is_not_unsent() {
        let (_poll, mut pace, start) = pace(10.0);
        pace.begin(start, start);
        let interrupted = start + Duration::from_millis(250);
        let unsent = std::iter::from_fn(|| pace.take_unsent(interrupted)).count();
        assert_eq!(unsent, 3);
    }
}
