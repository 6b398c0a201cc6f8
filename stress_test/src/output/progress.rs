//! How a run is going, on stderr: one moving line on a terminal, a plain line now and then in a
//! log.
//!
//! Knows counts and times; not where they come from.
//!
//! Rule: stdout is the result's, and the last thing that is left on a terminal is not a bar. A
//! line tells what came since the line before, so that a change shows at once.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::figures::distribution::microseconds;
use crate::figures::outcome::Standing;
use crate::figures::timeline::Slice;
use crate::output::run::Milliseconds;
use crate::stderr::say;

/// How often the text changes on a terminal.
const TEXT_EVERY: Duration = Duration::from_secs(1);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where progress is shown.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nowhere.
    Quiet,
    /// A line that is drawn over and over, and taken away when this is dropped.
    Bar(ProgressBar, Interval),
    /// A line every few seconds.
    Lines(Interval),
}

/// What came since a text was made of it.
#[derive(Debug)]
pub(crate) struct Interval {
    /// When that was, from the start of the run.
    since: Duration,
    came: Slice,
}

impl Progress {
    /// Progress for people, unless it is `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if io::stderr().is_terminal() {
            let bar =
                ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(style());
            Self::Bar(bar, Interval::new())
        } else {
            Self::Lines(Interval::new())
        }
    }

    /// The run is so far.
    pub(crate) fn show(&mut self, standing: &Standing) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar, interval) => {
                set_position(bar, standing.done);
                if let Some(text) = interval.text(standing, TEXT_EVERY) {
                    bar.set_message(text);
                }
            }
            Self::Lines(interval) => {
                if let Some(text) = interval.text(standing, LINE_EVERY) {
                    say(text);
                }
            }
        }
    }

    /// Of several runs, the share `done` is done; `text` says what comes next.
    pub(crate) fn step(&mut self, done: f64, text: String) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar, _) => {
                set_position(bar, done);
                bar.set_message(text);
            }
            Self::Lines(_) => say(format_args!("{:>3.0} %  {text}", done * 100.0)),
        }
    }
}

fn set_position(bar: &ProgressBar, done: f64) {
    bar.set_position((done.clamp(0.0, 1.0) * 1000.0) as u64);
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:16} {percent:>3} %  {msg}")
        .expect("the template is well formed")
}

impl Interval {
    fn new() -> Self {
        Self {
            since: Duration::ZERO,
            came: Slice::new(),
        }
    }

    /// What is to be said now that the run is so far, if it is time for one `every` so often.
    fn text(&mut self, standing: &Standing, every: Duration) -> Option<String> {
        self.came.add(&standing.recent);
        let lasted = standing.elapsed.saturating_sub(self.since);
        if lasted < every {
            return None;
        }
        let text = text(standing, &self.came, lasted);
        *self = Self {
            since: standing.elapsed,
            ..Self::new()
        };
        Some(text)
    }
}

/// The run is so far, and in the last time, which `lasted` so long, that came.
fn text(standing: &Standing, came: &Slice, lasted: Duration) -> String {
    let (seconds, done) = (standing.elapsed.as_secs_f64(), standing.done);
    let left = if done > 0.0 {
        seconds * (1.0 - done.min(1.0)) / done
    } else {
        0.0
    };
    let lasted_s = lasted.as_secs_f64();
    let rate = came.answers as f64 / lasted_s;
    let mut text =
        format!("{seconds:.0} s, {left:.0} s left; the last {lasted_s:.0} s: {rate:.0}/s");
    if let Some(p99) = came.percentile(99.0) {
        text += &format!(", p99 {}", Milliseconds(microseconds(p99)));
    }
    if came.busy > 0 {
        text += &format!(", {} busy", came.busy);
    }
    if standing.failures > 0 {
        text += &format!("; {} failures so far", standing.failures);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `elapsed` after the start of a run of 40 s, after so many answers of `ms` each.
    fn standing(elapsed: Duration, answers: u32, ms: u64) -> Standing {
        let mut recent = Slice::new();
        recent.answered(Duration::from_millis(ms), answers);
        Standing {
            elapsed,
            done: elapsed.as_secs_f64() / 40.0,
            failures: 0,
            recent,
        }
    }

    #[test]
    fn a_text_tells_of_the_time_since_the_last_one() {
        let mut interval = Interval::new();
        let mut texts = Vec::new();
        for tenth in 1..=20 {
            let elapsed = Duration::from_millis(100 * tenth);
            // The second second is slower.
            let (answers, ms) = if tenth <= 10 { (500, 2) } else { (10, 70) };
            let standing = standing(elapsed, answers, ms);
            texts.extend(interval.text(&standing, TEXT_EVERY));
        }
        let expected = [
            "1 s, 39 s left; the last 1 s: 5000/s, p99 2.00 ms",
            "2 s, 38 s left; the last 1 s: 100/s, p99 70.0 ms",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn what_is_wrong_is_told_only_if_there_is_something() {
        let mut standing = standing(Duration::from_secs(10), 0, 0);
        standing.recent = Slice::new();
        let mut silent = Interval::new();
        let text = silent.text(&standing, LINE_EVERY);
        assert_eq!(text.as_deref(), Some("10 s, 30 s left; the last 10 s: 0/s"));
        standing.recent.busy = 7;
        standing.failures = 2;
        let text = Interval::new().text(&standing, LINE_EVERY);
        let expected = "10 s, 30 s left; the last 10 s: 0/s, 7 busy; 2 failures so far";
        assert_eq!(text.as_deref(), Some(expected));
    }
}
