//! The pictures of a sweep: throughput, efficiency and latency against the size of the pool.
//!
//! Knows which figures of a sweep make which plot.
//!
//! Rule: a median is drawn with its spread, and the ideal where there is one.

use super::page::{heading, list, paragraph, table, verdict};
use super::plot::{Axis, Look, Plot, Point, Series};
use super::runs::{LIMITED, ms};
use super::scale::short;
use crate::figures::sweep::{CellFigures, Spread, SweepResult};

/// The part of the page that shows `sweep`.
pub(crate) fn section(name: &str, sweep: &SweepResult) -> String {
    let mut html = heading(&format!("Sweep: {name}"));
    html += &verdict(sweep.verdict);
    let cell = format!(
        "median of {} rounds of {} s, the first {} s not measured; bars: smallest and largest \
         round",
        sweep.rounds, sweep.duration_s, sweep.warmup_s
    );
    let load = format!(
        "closed loop, {} in flight each, payload {}, sleep {} ms, framing {}",
        sweep.max_inflight, sweep.payload, sweep.sleep_ms, sweep.framing
    );
    let machine = format!("{} cores for server and generator", sweep.cores);
    html += &list(&[
        ("each cell", cell),
        ("load", load),
        ("machine", machine),
        ("seed", sweep.seed.to_string()),
    ]);
    let mut mixes: Vec<&str> = Vec::new();
    for cell in &sweep.cells {
        if !mixes.contains(&cell.mix.as_str()) {
            mixes.push(&cell.mix);
        }
    }
    for mix in mixes {
        let cells: Vec<&CellFigures> = sweep.cells.iter().filter(|cell| cell.mix == mix).collect();
        html += &section_of_mix(mix, &cells);
    }
    html
}

fn section_of_mix(mix: &str, cells: &[&CellFigures]) -> String {
    let mut html = throughput(mix, cells).render();
    html += &throughput_table(cells);
    if cells.iter().any(|cell| cell.limited.is_some()) {
        html += &paragraph("* The generator was the limit in a round: the server may be faster.");
    }
    let efficiency = efficiency(mix, cells);
    if !efficiency.is_empty() {
        html += &efficiency.render();
        html += &efficiency_table(cells);
    }
    let latency = latency(mix, cells);
    if !latency.is_empty() {
        html += &latency.render();
        html += &latency_table(cells);
    }
    html
}

/// Cells that differ only in workers, with what they have in common.
fn groups<'a>(cells: &[&'a CellFigures]) -> Vec<(String, Vec<&'a CellFigures>)> {
    let mut groups: Vec<((u32, u32), Vec<&CellFigures>)> = Vec::new();
    for &cell in cells {
        let key = (cell.clients, cell.queue);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push(cell),
            None => groups.push((key, vec![cell])),
        }
    }
    let named = groups.into_iter().map(|((clients, queue), mut group)| {
        group.sort_by_key(|cell| cell.workers);
        (format!("{clients} clients, queue {queue}"), group)
    });
    named.collect()
}

/// A plot against the number of workers.
fn plot(title: String, cells: &[&CellFigures], y: Axis, series: Vec<Series>) -> Plot {
    let mut workers: Vec<u32> = cells.iter().map(|cell| cell.workers).collect();
    workers.sort_unstable();
    workers.dedup();
    let ticks = workers.into_iter();
    let ticks = ticks.map(|count| (f64::from(count), count.to_string()));
    Plot::new(title, Axis::with_ticks("workers", ticks), y, series).with_hollow(LIMITED)
}

fn series(
    name: String,
    group: &[&CellFigures],
    figure: impl Fn(&CellFigures) -> Option<Spread>,
) -> Series {
    let points = group.iter().filter_map(|cell| {
        let Spread { median, min, max } = figure(cell)?;
        Some(Point {
            spread: Some((min, max)),
            is_hollow: cell.limited.is_some(),
            ..Point::new(f64::from(cell.workers), median)
        })
    });
    Series::new(name, Look::Dots, points)
}

fn throughput(mix: &str, cells: &[&CellFigures]) -> Plot {
    let mut lines = Vec::new();
    let mut ideals: Vec<Vec<(u32, f64)>> = Vec::new();
    for (name, group) in groups(cells) {
        let ideal = group
            .iter()
            .filter_map(|cell| Some((cell.workers, cell.ideal_per_s?)));
        let ideal: Vec<(u32, f64)> = ideal.collect();
        if !ideal.is_empty() && !ideals.contains(&ideal) {
            let points = ideal.iter();
            let points = points.map(|&(workers, rate)| Point::new(f64::from(workers), rate));
            let name = "ideal: workers x 1000 / mean ms of work";
            lines.push(Series::new(name, Look::Ideal, points));
            ideals.push(ideal);
        }
        lines.push(series(name, &group, |cell| Some(cell.throughput_per_s)));
    }
    // With both axes in powers, what grows with the workers is a straight line.
    let y = if ideals.is_empty() {
        Axis::linear("answers/s")
    } else {
        Axis::log("answers/s")
    };
    plot(
        format!("{mix}: throughput against workers"),
        cells,
        y,
        lines,
    )
}

fn efficiency(mix: &str, cells: &[&CellFigures]) -> Plot {
    let lines = groups(cells).into_iter().map(|(name, group)| {
        series(name, &group, |cell| {
            Some(cell.throughput_per_s.times(100.0 / cell.ideal_per_s?))
        })
    });
    let (title, y) = (
        format!("{mix}: share of the ideal"),
        Axis::linear("% of the ideal"),
    );
    plot(title, cells, y, lines.collect())
}

fn latency(mix: &str, cells: &[&CellFigures]) -> Plot {
    let groups = groups(cells);
    let mut lines = Vec::new();
    for (name, group) in &groups {
        let suffix = match groups.len() {
            1 => String::new(),
            _ => format!(", {name}"),
        };
        let in_ms = |spread: Spread| spread.times(1e-3);
        lines.push(series(format!("p50{suffix}"), group, |cell| {
            cell.p50_us.map(in_ms)
        }));
        lines.push(series(format!("p99{suffix}"), group, |cell| {
            cell.p99_us.map(in_ms)
        }));
    }
    plot(
        format!("{mix}: latency against workers"),
        cells,
        Axis::log("ms"),
        lines,
    )
}

/// What every table of cells begins with.
const NAMES: &str = "workers | clients | queue";

fn names(cell: &CellFigures) -> Vec<String> {
    [cell.workers, cell.clients, cell.queue]
        .map(|number| number.to_string())
        .to_vec()
}

fn throughput_table(cells: &[&CellFigures]) -> String {
    let head = format!(
        "{NAMES} | answers/s | smallest | largest | busy | failures | server CPU % | server MiB \
         | generator CPU %"
    );
    let or_not = |text: Option<String>| text.unwrap_or_else(|| "n/a".to_owned());
    let percent = |spread: Option<Spread>| or_not(spread.map(|it| format!("{:.0}", it.median)));
    let mib = |spread: Spread| format!("{:.1}", spread.median / f64::from(1 << 20));
    let rows = cells.iter().map(|cell| {
        let mark = if cell.limited.is_some() { "*" } else { "" };
        let spread = cell.throughput_per_s;
        let mut row = names(cell);
        row.extend([
            format!("{:.0}{mark}", spread.median),
            format!("{:.0}", spread.min),
            format!("{:.0}", spread.max),
            cell.busy.to_string(),
            cell.failures.to_string(),
            percent(cell.server_cpu_percent),
            or_not(cell.server_memory_bytes.map(mib)),
            percent(cell.generator_cpu_percent),
        ]);
        row
    });
    table("Figures", &head, rows)
}

fn efficiency_table(cells: &[&CellFigures]) -> String {
    let head = format!("{NAMES} | answers/s | ideal/s | % of it");
    let rows = cells.iter().filter_map(|cell| {
        let mut row = names(cell);
        row.extend([
            format!("{:.1}", cell.throughput_per_s.median),
            short(cell.ideal_per_s?),
            format!("{:.1}", cell.efficiency_percent?),
        ]);
        Some(row)
    });
    table("Figures", &head, rows)
}

fn latency_table(cells: &[&CellFigures]) -> String {
    let head = format!("{NAMES} | p50 ms | smallest | largest | p99 ms | smallest | largest");
    let rows = cells.iter().map(|cell| {
        let mut row = names(cell);
        for spread in [cell.p50_us, cell.p99_us] {
            row.extend([
                ms(spread.map(|spread| spread.median)),
                ms(spread.map(|spread| spread.min)),
                ms(spread.map(|spread| spread.max)),
            ]);
        }
        row
    });
    table("Figures", &head, rows)
}
