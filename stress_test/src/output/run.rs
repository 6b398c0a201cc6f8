//! The report on stdout: what was done, how long it took, how fair it was, and the verdict.
//!
//! Knows words and units; every figure and the verdict come from `results`.
//!
//! Rule: the last line is the verdict, and it can be read without the others.

mod stages;

use std::fmt;
use std::io::{self, Write};

use crate::figures::backlog::BacklogFigures;
use crate::figures::distribution::{Distribution, Known, REPORTED_PERCENTILES};
use crate::figures::queueing::QueueingFigures;
use crate::figures::results::{RunResult, Verdict};

/// How wide a line is at most that is not a name or a verdict.
const WIDTH: usize = 80;

/// Writes the report of `result`: all of it, or with `brief` the failures and the verdict only.
pub(crate) fn write(out: &mut impl Write, result: &RunResult, brief: bool) -> io::Result<()> {
    if !brief {
        write_load(out, result)?;
        write_answers(out, result)?;
        write_connections(out, result)?;
        write_account(out, result)?;
        write_generator(out, result)?;
    }
    write_failures(out, result)?;
    writeln!(out, "{}", verdict_line(result))
}

fn write_load(out: &mut impl Write, result: &RunResult) -> io::Result<()> {
    let load = &result.load;
    writeln!(out, "target      {}", result.target)?;
    let (amount, max_inflight) = (load.amount_in_words(), load.max_inflight);
    let amount = format!("load        {amount}, {max_inflight} in flight each");
    writeln!(out, "{}", folded(&amount))?;
    writeln!(out, "            {}", load.in_words())?;
    if load.warmup_s > 0.0 {
        let warmup = load.warmup_s;
        writeln!(
            out,
            "            the first {warmup} s verified, not measured"
        )?;
    }
    if load.hogs > 0 {
        writeln!(out, "            {} hogs beside them", load.hogs)?;
    }
    let seed = load.seed;
    writeln!(
        out,
        "seed        {seed} (repeat this run with --seed {seed})"
    )
}

/// `line` with its end on a second one below the text, if it is too long.
fn folded(line: &str) -> String {
    match line.split_once(" over ") {
        Some((what, who)) if line.len() > WIDTH => format!("{what}\n            over {who}"),
        _ => line.to_owned(),
    }
}

fn write_answers(out: &mut impl Write, result: &RunResult) -> io::Result<()> {
    writeln!(out, "answers     {}", answers_in_words(result))?;
    let mut rows = vec![("latency", &result.latency)];
    let operations = result.operations.iter();
    rows.extend(operations.map(|(operation, latency)| (operation.name(), latency)));
    // A closed loop sends what is due at once: there is one time to tell.
    if result.load.rate_per_s.is_some() {
        rows.push(("service", &result.service));
        rows.push(("send lag", &result.send_lag));
    }
    rows.push(("refusal", &result.busy.latency));
    rows.push(("connect", &result.connections.connect_time));
    if let Some(hogs) = &result.hogs {
        rows.push(("hogs", &hogs.latency));
    }
    write_distributions(out, &rows)?;
    stages::write(out, &result.stages)?;
    if result.busy.answers > 0 {
        let (busy, retried) = (result.busy.answers, result.busy.retried);
        let refused = busy - retried;
        writeln!(
            out,
            "  busy      {busy} answers, {retried} retried, {refused} final"
        )?;
    }
    write_fairness(out, result)?;
    if let Some(hogs) = &result.hogs {
        writeln!(
            out,
            "hogs        {} verified, {:.0} frames/s, {} busy",
            hogs.verified, hogs.throughput_per_s, hogs.busy
        )?;
    }
    Ok(())
}

/// How many answers there were, and what the rate is made of.
fn answers_in_words(result: &RunResult) -> String {
    let verified = result.ledger.verified();
    let (Some(rate), seconds) = (result.rate_per_s(), result.measured_s) else {
        let why = match result.load.warmup_s {
            warmup if warmup > 0.0 => ": the load ended within the warmup",
            _ => "",
        };
        return format!("{verified} verified, none of them measured{why}");
    };
    let within = (rate * seconds).round();
    let rate = PerSecond(Some(rate));
    if within == verified as f64 {
        return format!("{verified} verified in {seconds:.3} s, {rate}");
    }
    format!("{verified} verified, {within} of them in the {seconds:.3} s measured: {rate}")
}

/// A table of times in milliseconds, a row each.
fn write_distributions(
    out: &mut impl Write,
    rows: &[(&'static str, &Distribution)],
) -> io::Result<()> {
    write!(out, "  {:<10}{:>9}", "ms", "min")?;
    for percent in REPORTED_PERCENTILES {
        write!(out, "{:>9}", format!("p{percent}"))?;
    }
    writeln!(out, "{:>9}", "max")?;
    let rows = rows.iter().filter(|(_, times)| times.count > 0);
    for (name, times) in rows.clone() {
        write!(out, "  {name:<10}{:>9}", digits(exactly(times.min_us)))?;
        for percent in REPORTED_PERCENTILES {
            write!(out, "{:>9}", digits(times.at(percent)))?;
        }
        writeln!(out, "{:>9}", digits(times.longest()))?;
    }
    for (name, times) in rows.filter(|(_, times)| times.unanswered > 0) {
        writeln!(
            out,
            "  {name}: {} of {} got no answer and count as at least their age",
            times.unanswered, times.count
        )?;
    }
    Ok(())
}

/// A time as the digits of milliseconds, for a column of them.
fn digits(time: Known) -> String {
    let shown = Shown(time).to_string();
    shown.trim_end_matches(" ms").to_owned()
}

fn exactly(us: Option<f64>) -> Known {
    Known {
        us,
        is_lower_bound: false,
    }
}

fn write_fairness(out: &mut impl Write, result: &RunResult) -> io::Result<()> {
    let fairness = &result.fairness;
    // One client is as well served as itself.
    let Some(index) = fairness.jains_index.filter(|_| fairness.clients > 1) else {
        return Ok(());
    };
    let times = &fairness.times_us;
    let mut text = String::new();
    if let (Some(percent), Some(least), Some(most)) =
        (fairness.percent, times.first(), times.last())
    {
        let (least, median) = (digits(exactly(Some(*least))), times[times.len() / 2]);
        let (most, median) = (Milliseconds(*most), Milliseconds(median));
        text = format!("p{percent} of a client {least} to {most}, median {median}; ");
    }
    writeln!(out, "fairness    {text}Jain's index {index:.4}")
}

fn write_connections(out: &mut impl Write, result: &RunResult) -> io::Result<()> {
    let connections = &result.connections;
    let (made, anew, refused) = (
        connections.made,
        connections.reconnects,
        connections.refused,
    );
    write!(out, "connections {made} made")?;
    if result.load.reconnect || refused > 0 {
        write!(out, ", {anew} of them anew, {refused} connects refused")?;
    }
    writeln!(out)
}

/// The two sums that must come out: every frame has one end, and Little's law.
fn write_account(out: &mut impl Write, result: &RunResult) -> io::Result<()> {
    let ledger = &result.ledger;
    if result.load.reconnect {
        writeln!(
            out,
            "requests    {} sent, {} answered, {} refused, {} lost",
            ledger.sent,
            ledger.verified(),
            ledger.busy,
            ledger.lost
        )?;
    }
    writeln!(out, "ledger      {}", ledger.in_words())?;
    if let Some(complaint) = result.backlog.as_ref().and_then(BacklogFigures::complaint) {
        writeln!(
            out,
            "backlog     {complaint}: the rate is more than is served"
        )?;
    }
    let little = &result.little;
    let holds = if little.holds {
        "holds"
    } else {
        "DOES NOT HOLD"
    };
    writeln!(
        out,
        "Little      {:.2} in flight = {:.0}/s x {} ({holds})",
        little.in_flight,
        little.rate_per_s,
        Milliseconds(little.stay_us)
    )?;
    match (&result.queueing, result.latency.mean_us) {
        (Some(theory), Some(mean)) => writeln!(out, "queueing    {}", in_theory(theory, mean)),
        _ => Ok(()),
    }
}

/// What theory says of a mean latency, beside what it was.
pub(crate) fn in_theory(theory: &QueueingFigures, mean_us: f64) -> String {
    let (predicted, mean) = (
        Milliseconds(theory.predicted_mean_us),
        Milliseconds(mean_us),
    );
    format!(
        "{}, {:.0} % busy: mean {predicted} in theory, {mean} here ({:+.1} %)",
        theory.model, theory.load_percent, theory.deviation_percent
    )
}

fn write_generator(out: &mut impl Write, result: &RunResult) -> io::Result<()> {
    let generator = &result.generator;
    let cpu = match generator.cpu_percent {
        Some(percent) if generator.threads > 1 => {
            format!("{percent:.0} % of a core, {} threads", generator.threads)
        }
        Some(percent) => format!("{percent:.0} % of a core"),
        None => "too short a run to tell its share of a core".to_owned(),
    };
    write!(out, "generator   {cpu}")?;
    if let Some(lag) = &generator.own_lag {
        let p99 = Shown(lag.at(99.0));
        let longest = Shown(lag.longest());
        write!(out, ", own lag p99 {p99}  max {longest}")?;
    }
    if let Some(delay) = &generator.delay {
        let longest = Shown(delay.longest());
        write!(out, ", away for at most {longest}")?;
    }
    writeln!(out)?;
    if let Some(clients) = &generator.clients {
        let (count, most, percent) = (clients.count, clients.most, clients.waited_percent);
        let p99 = Shown(clients.wait.at(99.0));
        writeln!(
            out,
            "clients     {count} of at most {most}; {percent:.1} % of requests waited for one, p99 {p99}"
        )?;
    }
    if let Some(why) = &generator.limited {
        writeln!(out, "            generator-limited: {why}")?;
    }
    Ok(())
}

fn write_failures(out: &mut impl Write, result: &RunResult) -> io::Result<()> {
    let failures = &result.failures;
    for line in &failures.first {
        writeln!(out, "{line}")?;
    }
    if failures.is_cut {
        writeln!(
            out,
            "(the first {} failures; the rest is counted)",
            failures.first.len()
        )?;
    }
    for text in &result.thresholds_broken {
        writeln!(out, "--fail-if {text}")?;
    }
    Ok(())
}

fn verdict_line(result: &RunResult) -> String {
    let ledger = &result.ledger;
    let mut refused = String::new();
    if ledger.busy > 0 {
        refused = format!(" + {} refused as busy", ledger.busy);
    }
    let hogs = match (&result.hogs, result.load.hogs) {
        (None, _) => String::new(),
        (Some(hogs), 1) => format!(" (and 1 hog: {} verified)", hogs.verified),
        (Some(hogs), count) => format!(" (and {count} hogs: {} verified)", hogs.verified),
    };
    format!(
        "{}: {} = {} verified{refused}{hogs}, {} failures{}, {}, p50 {}, p99 {}",
        result.verdict,
        result.load.amount_in_words(),
        ledger.verified(),
        result.failures.total,
        kinds(result),
        PerSecond(result.rate_per_s()),
        Shown(result.latency.at(50.0)),
        Shown(result.latency.at(99.0)),
    )
}

fn kinds(result: &RunResult) -> String {
    let by_kind = result.failures.by_kind.iter();
    let mut kinds: Vec<String> = by_kind
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if !result.ledger.balances {
        kinds.push("the ledger does not balance".to_owned());
    }
    let was_finished = matches!(result.verdict, Verdict::Pass | Verdict::Fail);
    if was_finished && !result.little.holds {
        kinds.push("Little's law does not hold".to_owned());
    }
    if was_finished && result.ledger.verified() + result.busy.answers == 0 {
        kinds.push(match result.ledger.wrong {
            0 => "no request was answered".to_owned(),
            _ => "no answer was right".to_owned(),
        });
    }
    let thresholds = result.thresholds_broken.len();
    if thresholds > 0 {
        kinds.push(format!("{thresholds} of --fail-if"));
    }
    if result.verdict == Verdict::GeneratorLimited {
        kinds.push("the figures are this program's limit, not the server's".to_owned());
    }
    if kinds.is_empty() {
        String::new()
    } else {
        format!(" ({})", kinds.join(", "))
    }
}

/// A time for people, with `>=` before what is a lower bound.
pub(crate) struct Shown(pub(crate) Known);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_least = if self.0.is_lower_bound { ">=" } else { "" };
        match self.0.us {
            Some(us) => f.pad(&format!("{at_least}{}", Milliseconds(us))),
            None => f.pad("n/a"),
        }
    }
}

/// Answers a second, if anything was measured; of a few, with the digits that mean something.
pub(crate) struct PerSecond(pub(crate) Option<f64>);

impl fmt::Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("n/a frames/s"),
            Some(rate) if rate < 10.0 => write!(f, "{rate:.2} frames/s"),
            Some(rate) => write!(f, "{rate:.0} frames/s"),
        }
    }
}

/// Microseconds as milliseconds with three digits that mean something.
pub(crate) struct Milliseconds(pub(crate) f64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 / 1000.0;
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
    use std::time::Duration;

    use super::*;
    use crate::check::failure::{Kind, Sender};
    use crate::figures::outcome::{Ended, Outcome};
    use crate::figures::results::tests::{outcome, result};

    fn report(outcome: &Outcome, brief: bool) -> String {
        let mut out = Vec::new();
        write(&mut out, &result(outcome), brief).expect("a Vec takes it all");
        String::from_utf8(out).expect("the report is text")
    }

    #[test]
    fn a_pass_is_one_line_with_the_figures() {
        assert_eq!(
            report(&outcome(), true),
            "PASS: 3 clients x 1000 frames = 3000 verified (and 1 hog: 0 verified), 0 failures, \
             1000 frames/s, p50 15.0 ms, p99 29.7 ms\n"
        );
    }

    #[test]
    fn a_fail_counts_by_kind_and_shows_the_first_in_full() {
        let mut outcome = outcome();
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
            report.contains("\nFAIL: 3 clients x 1000 frames = 3000 verified"),
            "{report}"
        );
        assert!(
            report.contains("21 failures (20 missing, 1 swapped)"),
            "{report}"
        );
    }

    #[test]
    fn an_interrupted_run_says_how_it_stood() {
        let mut outcome = outcome();
        outcome.ended = Ended::Interrupted(outcome.start);
        assert_eq!(result(&outcome).verdict, Verdict::InterruptedClean);
        outcome
            .ledger
            .failures
            .add(Kind::Altered, 1, format_args!("client 0"), "x");
        assert_eq!(result(&outcome).verdict, Verdict::InterruptedFailing);
        assert!(report(&outcome, true).contains("INTERRUPTED (FAIL so far): "));
    }

    #[test]
    fn the_full_report_names_load_latencies_busy_fairness_and_account() {
        let mut outcome = outcome();
        outcome.planned += 2;
        outcome.ledger.clients.sent += 2;
        outcome.ledger.clients.busy_answers = 5;
        outcome.ledger.clients.refused = 2;
        outcome.ledger.clients.retries = 3;
        let report = report(&outcome, false);
        for text in [
            "seed        7 ",
            "      n/a      n/a     30.0\n",
            "Jain's index 1.0000",
            "  busy      5 answers, 3 retried, 2 final",
            "3000 verified + 2 refused as busy",
            "hogs        0 verified",
            "3002 planned = 3002 sent; sent = 3000 OK + 2 busy (balances)",
            "generator   10 % of a core",
        ] {
            assert!(report.contains(text), "no {text:?} in:\n{report}");
        }
    }

    #[test]
    fn the_ends_in_the_ledger_line_add_up_to_what_was_sent() {
        let mut outcome = outcome();
        let ends = &mut outcome.ledger.clients;
        (ends.wrong, ends.missing, ends.lost, ends.unsent) = (1, 2, 4, 8);
        ends.sent += 1 + 2 + 4;
        outcome.planned += 1 + 2 + 4 + 8;
        let line = "3015 planned = 3007 sent + 8 unsent; sent = 3000 OK + 1 wrong + 2 missing + \
                    4 lost (balances)";
        let report = report(&outcome, false);
        assert!(report.contains(line), "{report}");
    }

    #[test]
    fn theory_stands_beside_the_mean_in_one_line_that_fits() {
        let mut result = result(&outcome());
        let text = |result: &RunResult| {
            let mut out = Vec::new();
            write(&mut out, result, false).expect("a Vec takes it all");
            String::from_utf8(out).expect("the report is text")
        };
        assert!(!text(&result).contains("queueing"));
        result.queueing = Some(QueueingFigures {
            model: "M/D/1000".to_owned(),
            load_percent: 99.0,
            predicted_mean_us: 12_345.6,
            deviation_percent: -12.3,
        });
        let line = "\nqueueing    M/D/1000, 99 % busy: mean 12.3 ms in theory, 15.0 ms here \
                    (-12.3 %)\n";
        let report = text(&result);
        assert!(report.contains(line) && line.len() <= 82, "{report}");
    }

    #[test]
    fn a_ledger_that_does_not_balance_fails_the_run() {
        let mut outcome = outcome();
        outcome.ledger.clients.sent += 1;
        outcome.planned += 1;
        assert_eq!(result(&outcome).verdict, Verdict::Fail);
        assert!(report(&outcome, false).contains("(DOES NOT BALANCE)"));
    }

    #[test]
    fn a_run_against_littles_law_fails() {
        let mut outcome = outcome();
        for _ in 0..1000 {
            outcome.ledger.clients.occupancy.enter(1, outcome.start);
        }
        let end = outcome.start + Duration::from_secs(10);
        outcome
            .ledger
            .left(Sender::Client(0), 1, end - outcome.start, end);
        assert_eq!(result(&outcome).verdict, Verdict::Fail);
        assert!(report(&outcome, true).contains("(Little's law does not hold)"));
    }

    #[test]
    fn a_time_keeps_its_column_whatever_is_known_of_it() {
        let known = |us, is_lower_bound| Shown(Known { us, is_lower_bound });
        let times = [known(None, true), known(Some(900.0), false)];
        let times = times.map(|time| format!("{time:>10}"));
        assert_eq!(times, ["       n/a", "  0.900 ms"]);
        let bound = known(Some(12_345.0), true);
        assert_eq!(format!("{bound:>10}"), " >=12.3 ms");
    }

    #[test]
    fn percentiles_that_unanswered_requests_reach_are_lower_bounds() {
        let mut outcome = outcome();
        for _ in 0..100 {
            let (sender, intended) = (Sender::Client(0), outcome.start);
            let now = intended + Duration::from_millis(50);
            outcome.ledger.clients.sent += 1;
            outcome
                .ledger
                .failed(sender, Kind::Missing, None, intended, now);
        }
        let report = report(&outcome, false);
        let bounds = "   >=50.0      n/a      n/a   >=50.0\n";
        assert!(report.contains(bounds), "{report}");
        assert!(
            report.contains("100 of 3100 got no answer and count as at least their age"),
            "{report}"
        );
    }
}
