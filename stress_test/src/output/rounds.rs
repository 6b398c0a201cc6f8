//! The report of several rounds on stdout: a row for each, and what they have in common.
//!
//! Knows columns and units; every figure comes from `figures`.
//!
//! Rule: the last line is the verdict, and it can be read without the table.

use std::io::{self, Write};

use crate::figures::results::RunResult;
use crate::figures::rounds::RoundsResult;
use crate::figures::sweep::Spread;
use crate::output::run::{Milliseconds, Shown};

/// Writes `result`: the table and the verdict, or with `brief` failures and the verdict only.
pub(crate) fn write(out: &mut impl Write, result: &RoundsResult, brief: bool) -> io::Result<()> {
    if !brief {
        write_table(out, result)?;
    }
    for (place, round) in (1..).zip(&result.rounds) {
        let thresholds = round.thresholds_broken.iter();
        let thresholds = thresholds.map(|text| format!("--fail-if {text}"));
        for text in round.failures.first.iter().cloned().chain(thresholds) {
            writeln!(out, "round {place}: {text}")?;
        }
    }
    writeln!(out, "{}", verdict_line(result))
}

fn write_table(out: &mut impl Write, result: &RoundsResult) -> io::Result<()> {
    let Some(first) = result.rounds.first() else {
        return Ok(());
    };
    let load = &first.load;
    let words = load.in_words();
    writeln!(out, "target      {}", first.target)?;
    writeln!(out, "load        {}", load.amount_in_words())?;
    writeln!(
        out,
        "            {} in flight each, {words}",
        load.max_inflight
    )?;
    if load.warmup_s > 0.0 {
        let warmup = load.warmup_s;
        writeln!(
            out,
            "            the first {warmup} s verified, not measured"
        )?;
    }
    writeln!(
        out,
        "\nround        seed   answers/s       p50       p99     p99.9       max"
    )?;
    for (place, round) in (1..).zip(&result.rounds) {
        write_round(out, place, round)?;
    }
    if result.rounds.iter().any(is_limited) {
        writeln!(
            out,
            "* the generator was the limit: the server may be faster"
        )?;
    }
    Ok(())
}

fn write_round(out: &mut impl Write, place: usize, round: &RunResult) -> io::Result<()> {
    let latency = &round.latency;
    let mark = if is_limited(round) { "*" } else { "" };
    writeln!(
        out,
        "{place:>5} {:>11} {:>11.0} {:>9} {:>9} {:>9} {:>9}{mark}",
        round.load.seed,
        round.throughput_per_s,
        Shown(latency.at(50.0)),
        Shown(latency.at(99.0)),
        Shown(latency.at(99.9)),
        Shown(latency.longest()),
    )
}

fn is_limited(round: &RunResult) -> bool {
    round.generator.limited.is_some()
}

fn verdict_line(result: &RoundsResult) -> String {
    let (done, planned) = (result.rounds.len(), result.planned);
    let amount = result.rounds.first().map(|run| run.load.amount_in_words());
    let rate = result.spread(|run| Some(run.throughput_per_s));
    let percentile = |percent| {
        let shown = result.spread(|run| run.latency.us(percent));
        shown.map_or_else(|| "n/a".to_owned(), median)
    };
    let rate = rate.map_or_else(
        || "n/a".to_owned(),
        |rate| {
            format!(
                "{:.0} frames/s (spread {:.1} %)",
                rate.median,
                rate.percent()
            )
        },
    );
    format!(
        "{}: {done} of {planned} rounds of {}, {} failures, median {rate}, p50 {}, p99 {}",
        result.verdict,
        amount.unwrap_or_else(|| "the load".to_owned()),
        result.failures(),
        percentile(50.0),
        percentile(99.0),
    )
}

fn median(spread: Spread) -> String {
    Milliseconds(spread.median).to_string()
}
