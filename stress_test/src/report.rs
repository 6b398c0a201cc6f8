//! The report on stdout: what was done, how long it took, how fair it was, and the verdict.
//!
//! Knows figures and words; decides nothing but pass or fail.
//!
//! Rule: the last line is the verdict, and it can be read without the others.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::driver::{Ended, Outcome};
use crate::ledger::Tally;
use crate::measure::{Latencies, jains_index};
use crate::plan::Plan;

/// What the run comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every answer was right.
    Pass,
    /// Some were not, or did not come.
    Fail,
    /// Stopped by a signal; nothing was wrong until then.
    InterruptedClean,
    /// Stopped by a signal; something had been wrong already.
    InterruptedFailing,
}

impl Verdict {
    /// The verdict on `outcome`.
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let interrupted = matches!(outcome.ended, Ended::Interrupted);
        match (interrupted, outcome.ledger.failures.total()) {
            (false, 0) => Self::Pass,
            (false, _) => Self::Fail,
            (true, 0) => Self::InterruptedClean,
            (true, _) => Self::InterruptedFailing,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::InterruptedClean => "INTERRUPTED (no failure so far)",
            Self::InterruptedFailing => "INTERRUPTED (FAIL so far)",
        })
    }
}

/// Writes the report of `outcome`: all of it, or with `brief` the failures and the verdict only.
pub(crate) fn write(
    out: &mut impl Write,
    plan: &Plan,
    target: &str,
    outcome: &Outcome,
    brief: bool,
) -> io::Result<()> {
    if !brief {
        write_load(out, plan, target)?;
        write_figures(out, plan, outcome)?;
    }
    write_failures(out, outcome)?;
    writeln!(out, "{}", verdict_line(plan, outcome))
}

fn write_load(out: &mut impl Write, plan: &Plan, target: &str) -> io::Result<()> {
    writeln!(out, "target      {target}")?;
    writeln!(
        out,
        "load        {} clients x {} frames, {} in flight each, mix {}, payload {}, sleep {} ms",
        plan.clients, plan.frames, plan.max_inflight, plan.mix, plan.payload, plan.sleep_ms
    )?;
    if plan.hogs > 0 {
        writeln!(
            out,
            "            {} hogs, {} in flight each, mix {}",
            plan.hogs, plan.hog_inflight, plan.hog_mix
        )?;
    }
    writeln!(
        out,
        "seed        {} (repeat this run with --seed {0})",
        plan.seed
    )
}

fn write_figures(out: &mut impl Write, plan: &Plan, outcome: &Outcome) -> io::Result<()> {
    let Outcome { start, ledger, .. } = outcome;
    write_tally(out, "answers", &ledger.clients, *start)?;
    write_shares(out, outcome)?;
    if plan.hogs > 0 {
        write_tally(out, "hogs", &ledger.hogs, *start)?;
    }
    Ok(())
}

fn write_tally(out: &mut impl Write, name: &str, tally: &Tally, start: Instant) -> io::Result<()> {
    let rate = rate(tally, start);
    let seconds = active(tally, start).as_secs_f64();
    let verified = tally.verified;
    writeln!(
        out,
        "{name:<11} {verified} verified in {seconds:.3} s, {rate:.0} frames/s"
    )?;
    if verified > 0 {
        write_latencies(out, "latency", &tally.latencies)?;
    }
    if tally.busy_answers > 0 {
        let (busy, refused) = (tally.busy_answers, tally.busy_answers - tally.retries);
        let retried = tally.retries;
        writeln!(
            out,
            "  busy      {busy} answers, {retried} retried, {refused} final"
        )?;
        write_latencies(out, "refusal", &tally.busy_latencies)?;
    }
    Ok(())
}

fn write_latencies(out: &mut impl Write, name: &str, latencies: &Latencies) -> io::Result<()> {
    let at = |percent| Milliseconds(latencies.percentile(percent));
    writeln!(
        out,
        "  {name:<9} min {}  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        Milliseconds(latencies.shortest()),
        at(50.0),
        at(90.0),
        at(99.0),
        at(99.9),
        Milliseconds(latencies.longest()),
    )
}

fn write_shares(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let shares = &outcome.shares;
    let mut p99s: Vec<Duration> = shares.iter().filter_map(|share| share.p99()).collect();
    p99s.sort_unstable();
    let rates = shares
        .iter()
        .map(|share| share.accepted_rate(outcome.start));
    let index = jains_index(&rates.collect::<Vec<_>>());
    if let (Some(least), Some(most), Some(index)) = (p99s.first(), p99s.last(), index) {
        let median = p99s[p99s.len() / 2];
        writeln!(
            out,
            "  per client p99: min {}  median {}  max {}; Jain's index of accepted work {index:.4}",
            Milliseconds(*least),
            Milliseconds(median),
            Milliseconds(*most),
        )?;
    }
    Ok(())
}

fn write_failures(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let failures = &outcome.ledger.failures;
    for line in failures.first() {
        writeln!(out, "{line}")?;
    }
    if failures.is_cut() {
        writeln!(
            out,
            "(the first {} failures; the rest is counted)",
            failures.first().len()
        )?;
    }
    Ok(())
}

fn verdict_line(plan: &Plan, outcome: &Outcome) -> String {
    let verdict = Verdict::of(outcome);
    let tally = &outcome.ledger.clients;
    let failures = &outcome.ledger.failures;
    let mut refused = String::new();
    if tally.refused > 0 {
        refused = format!(" + {} refused as busy", tally.refused);
    }
    let mut kinds: Vec<String> = Vec::new();
    for (kind, count) in failures.by_kind() {
        kinds.push(format!("{count} {kind}"));
    }
    let mut by_kind = String::new();
    if !kinds.is_empty() {
        by_kind = format!(" ({})", kinds.join(", "));
    }
    let hogs = match plan.hogs {
        0 => String::new(),
        1 => format!(" (and 1 hog: {} verified)", outcome.ledger.hogs.verified),
        hogs => format!(
            " (and {hogs} hogs: {} verified)",
            outcome.ledger.hogs.verified
        ),
    };
    format!(
        "{verdict}: {} clients x {} frames = {} verified{refused}{hogs}, {} failures{by_kind}, \
         {:.0} frames/s, p50 {}, p99 {}",
        plan.clients,
        plan.frames,
        tally.verified,
        failures.total(),
        rate(tally, outcome.start),
        Milliseconds(tally.latencies.percentile(50.0)),
        Milliseconds(tally.latencies.percentile(99.0)),
    )
}

/// From the first request of the run to the last answer of this group.
fn active(tally: &Tally, start: Instant) -> Duration {
    tally
        .last_answer
        .map_or(Duration::ZERO, |last| last.saturating_duration_since(start))
}

fn rate(tally: &Tally, start: Instant) -> f64 {
    tally.verified as f64 / active(tally, start).as_secs_f64().max(1e-6)
}

/// A duration in milliseconds with three digits that mean something.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_secs_f64() * 1000.0;
        let decimals = match ms {
            ms if ms < 1.0 => 3,
            ms if ms < 10.0 => 2,
            ms if ms < 100.0 => 1,
            _ => 0,
        };
        write!(f, "{ms:.decimals$} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failures, Kind};
    use crate::ledger::Ledger;
    use crate::measure::Share;
    use crate::plan::Mix;
    use crate::workload::tests::plan;

    fn outcome(ended: Ended) -> Outcome {
        let start = Instant::now();
        let mut ledger = Ledger::new(Failures::new(false));
        let mut share = Share::new();
        for n in 1..=300u64 {
            let latency = Duration::from_micros(n * 10);
            let now = start + Duration::from_millis(n);
            ledger.clients.verified += 1;
            ledger.clients.latencies.record(latency);
            ledger.clients.last_answer = Some(now);
            share.record(latency, now);
        }
        Outcome {
            ended,
            start,
            ledger,
            shares: vec![share],
        }
    }

    fn report(outcome: &Outcome, brief: bool) -> String {
        let mut out = Vec::new();
        write(&mut out, &plan(Mix::Echo), "here", outcome, brief).expect("a Vec takes it all");
        String::from_utf8(out).expect("the report is text")
    }

    #[test]
    fn a_pass_is_one_line_with_the_figures() {
        let report = report(&outcome(Ended::Finished), true);
        assert_eq!(
            report,
            "PASS: 3 clients x 100 frames = 300 verified (and 1 hog: 0 verified), 0 failures, \
             1000 frames/s, p50 1.50 ms, p99 2.97 ms\n"
        );
    }

    #[test]
    fn a_fail_counts_by_kind_and_shows_the_first_in_full() {
        let mut outcome = outcome(Ended::Finished);
        let failures = &mut outcome.ledger.failures;
        failures.add(
            Kind::Missing,
            20,
            format_args!("client 1 frame 80"),
            "closed",
        );
        failures.add(Kind::Swapped, 1, format_args!("client 2 frame 3"), "late");
        let report = report(&outcome, true);
        assert!(
            report.starts_with("client 1 frame 80: missing: closed\nclient 2 "),
            "{report}"
        );
        assert!(
            report.contains("\nFAIL: 3 clients x 100 frames = 300 verified"),
            "{report}"
        );
        assert!(
            report.contains("21 failures (1 swapped, 20 missing)"),
            "{report}"
        );
    }

    #[test]
    fn an_interrupted_run_says_how_it_stood() {
        let mut outcome = outcome(Ended::Interrupted);
        assert_eq!(Verdict::of(&outcome), Verdict::InterruptedClean);
        outcome
            .ledger
            .failures
            .add(Kind::Altered, 1, format_args!("client 0"), "x");
        assert_eq!(Verdict::of(&outcome), Verdict::InterruptedFailing);
        assert!(report(&outcome, true).contains("INTERRUPTED (FAIL so far): "));
    }

    #[test]
    fn the_full_report_names_load_latencies_busy_and_fairness() {
        let mut outcome = outcome(Ended::Finished);
        outcome.ledger.clients.busy_answers = 5;
        outcome.ledger.clients.refused = 2;
        outcome.ledger.clients.retries = 3;
        let report = report(&outcome, false);
        for text in [
            "seed        7 ",
            "p99.9 ",
            "Jain's index of accepted work 1.0000",
            "  busy      5 answers, 3 retried, 2 final",
            "300 verified + 2 refused as busy",
            "hogs        0 verified",
        ] {
            assert!(report.contains(text), "no {text:?} in:\n{report}");
        }
    }
}
