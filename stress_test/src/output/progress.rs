//! How a run is going, on stderr: one moving line on a terminal, a plain line now and then in a
//! log.
//!
//! Knows counts and times; not where they come from.
//!
//! Rule: stdout is the result's, and the last thing that is left on a terminal is not a bar.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::figures::outcome::Standing;
use crate::stderr::say;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where progress is shown.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nowhere.
    Quiet,
    /// A line that is drawn over and over, and taken away when this is dropped.
    Bar(ProgressBar),
    /// A line every few seconds.
    Lines {
        /// When the last one was written.
        last: Instant,
    },
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
            Self::Bar(bar)
        } else {
            Self::Lines {
                last: Instant::now(),
            }
        }
    }

    /// The run is so far.
    pub(crate) fn show(&mut self, standing: Standing) {
        match self {
            Self::Bar(bar) => draw(bar, standing.done, text(standing)),
            Self::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                say(text(standing));
            }
            Self::Quiet | Self::Lines { .. } => {}
        }
    }

    /// Of several runs, the share `done` is done; `text` says what comes next.
    pub(crate) fn step(&mut self, done: f64, text: String) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar) => draw(bar, done, text),
            Self::Lines { .. } => say(format_args!("{:>3.0} %  {text}", done * 100.0)),
        }
    }
}

fn draw(bar: &ProgressBar, done: f64, text: String) {
    bar.set_position((done.clamp(0.0, 1.0) * 1000.0) as u64);
    bar.set_message(text);
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}")
        .expect("the template is well formed")
}

fn text(standing: Standing) -> String {
    let Standing {
        elapsed,
        done,
        ended,
        busy,
        failures,
    } = standing;
    let seconds = elapsed.as_secs_f64();
    let rate = ended as f64 / seconds.max(1e-6);
    let left = if done > 0.0 {
        seconds * (1.0 - done.min(1.0)) / done
    } else {
        0.0
    };
    format!(
        "{seconds:.0} s, {left:.0} s left: {ended} ended, {rate:.0}/s, {busy} busy, \
         {failures} failures"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_how_long_it_will_take() {
        let standing = Standing {
            elapsed: Duration::from_secs(10),
            done: 0.25,
            ended: 5000,
            busy: 1,
            failures: 0,
        };
        let text = text(standing);
        assert_eq!(
            text,
            "10 s, 30 s left: 5000 ended, 500/s, 1 busy, 0 failures"
        );
    }
}
