//! The table of stages in the report.
//!
//! Knows columns; the figures come from `figures`.
//!
//! Rule: a line has 80 columns at most.

use std::io::{self, Write};

use super::digits;
use crate::figures::stages::StageFigures;

/// Writes a row for each of `stages`, if there are any.
pub(crate) fn write(out: &mut impl Write, stages: &[StageFigures]) -> io::Result<()> {
    if stages.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "  #  at s  offered      due  answers   rate/s  p50 ms  p99 ms  max ms  busy wait"
    )?;
    for (number, stage) in (1..).zip(stages) {
        writeln!(out, "{}", row(number, stage))?;
    }
    Ok(())
}

fn row(number: u32, stage: &StageFigures) -> String {
    let latency = &stage.latency;
    let throughput = stage.throughput_per_s;
    let throughput = throughput.map_or_else(|| "warmup".to_owned(), |rate| format!("{rate:.0}"));
    format!(
        "{number:>3}{:>6}{:>9}{:>9}{:>9}{throughput:>9}{:>8}{:>8}{:>8}{:>6}{:>5}",
        stage.begin_s,
        stage.offered_per_s,
        stage.due,
        stage.answers,
        digits(latency.at(50.0)),
        digits(latency.at(99.0)),
        digits(latency.longest()),
        stage.busy,
        percent(stage.waited_percent()),
    )
}

/// A small share to a tenth.
fn percent(percent: f64) -> String {
    let decimals = usize::from(percent < 0.95);
    format!("{percent:.decimals$}%")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::figures::latencies::Latencies;
    use crate::figures::stages::tests::stage;

    #[test]
    fn each_stage_has_a_row_of_80_columns_at_most() {
        let mut latencies = Latencies::default();
        latencies.record_many(Duration::from_millis(20), 9_000_000);
        latencies.record_unanswered(Duration::from_secs(10));
        let long = StageFigures {
            begin_s: 12_345.0,
            offered_per_s: 10_000_000.0,
            busy: 90_000,
            waited: 900_000,
            ..stage(&latencies)
        };
        let skipped = StageFigures {
            throughput_per_s: None,
            ..stage(&Latencies::default())
        };
        let mut out = Vec::new();
        write(&mut out, &[skipped, long]).expect("a Vec takes it all");
        let text = String::from_utf8(out).expect("it is text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
        let words: Vec<Vec<&str>> = lines
            .iter()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let warmup = ["1", "0", "1000", "0", "0", "warmup", "n/a", "n/a", "n/a"];
        assert_eq!(words[1][..9], warmup);
        let row = ["2", "12345", "10000000", "9000001", "9000001", "9000001"];
        assert_eq!(words[2][..6], row);
        let row = ["20.0", "20.0", ">=10000", "90000", "10%"];
        assert_eq!(words[2][6..], row);
        let mut none = Vec::new();
        write(&mut none, &[]).expect("a Vec takes it all");
        assert!(none.is_empty());
    }
}
