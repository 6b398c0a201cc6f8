//! The table of a ramp on stdout.
//!
//! Knows columns and units; every figure comes from `figures`.
//!
//! Rule: the last line is the verdict, and it can be read without the table.

use std::io::{self, Write};

use crate::figures::ramp::{RampResult, RampStep};
use crate::figures::results::Verdict;
use crate::output::run::Shown;

/// The names of the columns, as wide as the columns are.
const HEAD: &str = "  offered/s   answers/s       p50       p99     p99.9       max    busy  holds";

/// Writes `result`: the table and the verdict, or with `brief` the verdict only.
pub(crate) fn write(out: &mut impl Write, result: &RampResult, brief: bool) -> io::Result<()> {
    let slo = result.slo.join(", ");
    if !brief {
        writeln!(out, "target      {}", result.target)?;
        writeln!(out, "load        {}, rising", result.load.amount_in_words())?;
        if let Some(length) = length_in_words(&result.steps) {
            writeln!(out, "            {length}")?;
        }
        writeln!(out, "level       {slo}\n")?;
        writeln!(out, "{HEAD}")?;
        for step in &result.steps {
            write_step(out, step)?;
        }
    }
    let rate = |rate: Option<f64>| rate.map(|rate| format!("{rate:.0}"));
    let highest = rate(result.highest_rate_per_s).map(|rate| format!("{rate} requests/s"));
    let highest = highest.unwrap_or_else(|| "no rate".to_owned());
    let broken = match (result.verdict, rate(result.lowest_broken_per_s)) {
        (Verdict::GeneratorLimited, Some(broken)) => {
            format!(" (at {broken} this program was the limit, not the server)")
        }
        (_, Some(broken)) => format!(" ({broken} does not)"),
        (_, None) => String::new(),
    };
    if result.steps.is_empty() {
        return writeln!(out, "{}: no rate was decided for {slo}", result.verdict);
    }
    writeln!(out, "{}: {highest} holds {slo}{broken}", result.verdict)
}

/// How long the steps were: a low rate takes longer until it is decided.
fn length_in_words(steps: &[RampStep]) -> Option<String> {
    let lengths = steps.iter().filter_map(|step| step.duration_s);
    let (least, most) = lengths
        .clone()
        .reduce(f64::min)
        .zip(lengths.reduce(f64::max))?;
    Some(format!(
        "or longer, as a rate needs it: steps of {least:.1} to {most:.1} s"
    ))
}

fn write_step(out: &mut impl Write, step: &RampStep) -> io::Result<()> {
    let latency = &step.latency;
    let mut holds = if step.holds {
        "yes".to_owned()
    } else {
        format!("no: {}", step.broken.join("; "))
    };
    if let (false, Some(why)) = (step.holds, &step.limited) {
        holds += &format!("; generator-limited: {why}");
    }
    writeln!(
        out,
        "{:>11.0} {:>11.0} {:>9} {:>9} {:>9} {:>9} {:>7}  {holds}",
        step.rate_per_s,
        step.throughput_per_s,
        Shown(latency.at(50.0)),
        Shown(latency.at(99.0)),
        Shown(latency.at(99.9)),
        Shown(latency.longest()),
        format!("{:.2} %", step.busy_percent),
    )
}
