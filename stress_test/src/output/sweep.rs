//! The table of a sweep on stdout.
//!
//! Knows columns and units; every figure comes from `figures`.
//!
//! Rule: the last line is the verdict, and it can be read without the table.

use std::io::{self, Write};

use crate::figures::sweep::{CellFigures, Spread, SweepResult};
use crate::output::run::Milliseconds;

/// The names of the columns, as wide as the columns are.
const HEAD: &str = concat!(
    "mix       workers clients queue   answers/s  spread   ideal/s  of it",
    "       p50       p99 srv CPU srv MiB gen CPU"
);

/// Writes `result`: the table and the verdict, or with `brief` failures and the verdict only.
pub(crate) fn write(out: &mut impl Write, result: &SweepResult, brief: bool) -> io::Result<()> {
    if !brief {
        write_table(out, result)?;
    }
    for cell in &result.cells {
        if let Some(failure) = &cell.first_failure {
            writeln!(
                out,
                "{}, {} workers: {} failures, the first: {failure}",
                cell.mix, cell.workers, cell.failures
            )?;
        }
    }
    writeln!(out, "{}", verdict_line(result))
}

fn write_table(out: &mut impl Write, result: &SweepResult) -> io::Result<()> {
    writeln!(
        out,
        "sweep       {} rounds of {} s, the first {} s not measured; {} in flight each, payload {}, \
         sleep {} ms, framing {}, {} cores",
        result.rounds,
        result.duration_s,
        result.warmup_s,
        result.max_inflight,
        result.payload,
        result.sleep_ms,
        result.framing,
        result.cores
    )?;
    writeln!(
        out,
        "seed        {} (repeat the requests with --seed {0})\n",
        result.seed
    )?;
    writeln!(out, "{HEAD}")?;
    for cell in &result.cells {
        write_cell(out, cell)?;
    }
    if result.cells.iter().any(|cell| cell.limited.is_some()) {
        writeln!(
            out,
            "* the generator was the limit in a round: the server may be faster"
        )?;
    }
    Ok(())
}

fn write_cell(out: &mut impl Write, cell: &CellFigures) -> io::Result<()> {
    let percent = |figure: Option<Spread>| figure.map(|figure| format!("{:.0} %", figure.median));
    let time =
        |figure: Option<Spread>| figure.map(|figure| Milliseconds(figure.median).to_string());
    let mib = |figure: Spread| format!("{:.1}", figure.median / f64::from(1 << 20));
    let shown = |text: Option<String>| text.unwrap_or_else(|| "n/a".to_owned());
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mark = if cell.limited.is_some() { "*" } else { "" };
    writeln!(
        out,
        "{:<9} {:>7} {:>7} {:>5} {:>11} {:>7} {:>9} {:>6} {:>9} {:>9} {:>7} {:>7} {:>7}{mark}",
        cell.mix,
        cell.workers,
        cell.clients,
        cell.queue,
        format!("{:.0}", cell.throughput_per_s.median),
        format!("{:.1} %", cell.throughput_per_s.percent()),
        or_dash(cell.ideal_per_s.map(|ideal| format!("{ideal:.0}"))),
        or_dash(
            cell.efficiency_percent
                .map(|percent| format!("{percent:.1}%"))
        ),
        shown(time(cell.p50_us)),
        shown(time(cell.p99_us)),
        shown(percent(cell.server_cpu_percent)),
        shown(cell.server_memory_bytes.map(mib)),
        shown(percent(cell.generator_cpu_percent)),
    )
}

fn verdict_line(result: &SweepResult) -> String {
    let failures: u64 = result.cells.iter().map(|cell| cell.failures).sum();
    let busy: u64 = result.cells.iter().map(|cell| cell.busy).sum();
    let measured: usize = result.cells.iter().map(|cell| cell.rounds).sum();
    let spreads = result.cells.iter().map(|cell| cell.throughput_per_s);
    let widest = spreads.map(Spread::percent).fold(0.0, f64::max);
    format!(
        "{}: {} cells, {measured} runs, {failures} failures, {busy} busy, widest spread {widest:.1} %",
        result.verdict,
        result.cells.len()
    )
}
