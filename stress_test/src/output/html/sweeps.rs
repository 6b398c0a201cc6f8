//! The pictures of a sweep: throughput, efficiency and latency against the size of the pool.
//!
//! Knows which figures of a sweep make which plot.
//!
//! Rule: a median is drawn with its spread, and the ideal where there is one.

use super::frame::Axis;
use super::page::{heading, list, paragraph, table, verdict};
use super::plot::{Look, Plot, Point, Series};
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
        html += &section_of_mix(mix, &cells, sweep.cores);
    }
    html
}

fn section_of_mix(mix: &str, cells: &[&CellFigures], cores: usize) -> String {
    let mut html = throughput(mix, cells, cores).render();
    html += &throughput_table(cells);
    if cells.iter().any(|cell| cell.limited.is_some()) {
        html += &paragraph("* The generator was the limit in a round: the server may be faster.");
    }
    let efficiency = efficiency(mix, cells, cores);
    if !efficiency.is_empty() {
        html += &efficiency.render();
        html += &efficiency_table(cells, cores);
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

/// What `cell` of `group` could do at best, where that is known. HASH only computes, so that each
/// worker can do as much as one of the fewest, as far as there are cores.
fn ideal(cell: &CellFigures, group: &[&CellFigures], cores: usize) -> Option<f64> {
    if cell.ideal_per_s.is_some() || cell.mix != "hash" {
        return cell.ideal_per_s;
    }
    let fewest = group.first()?;
    // One cell is its own ideal, and what the generator could do is none.
    if group.len() < 2 || fewest.limited.is_some() {
        return None;
    }
    let busy = |cell: &CellFigures| (cell.workers as usize).min(cores) as f64;
    Some(fewest.throughput_per_s.median / busy(fewest).max(1.0) * busy(cell))
}

/// What the line of the ideal says.
fn ideal_in_words(mix: &str, group: &[&CellFigures], cores: usize) -> String {
    match group.first() {
        Some(fewest) if mix == "hash" => {
            let workers = fewest.workers;
            format!("ideal: in proportion to --workers {workers}, up to {cores} cores")
        }
        _ => "ideal: workers x 1000 / mean ms of work".to_owned(),
    }
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

fn throughput(mix: &str, cells: &[&CellFigures], cores: usize) -> Plot {
    let mut lines = Vec::new();
    let mut ideals: Vec<Vec<(u32, f64)>> = Vec::new();
    for (name, group) in groups(cells) {
        let ideal = group
            .iter()
            .filter_map(|cell| Some((cell.workers, ideal(cell, &group, cores)?)));
        let ideal: Vec<(u32, f64)> = ideal.collect();
        if !ideal.is_empty() && !ideals.contains(&ideal) {
            let points = ideal.iter();
            let points = points.map(|&(workers, rate)| Point::new(f64::from(workers), rate));
            let name = ideal_in_words(mix, &group, cores);
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

fn efficiency(mix: &str, cells: &[&CellFigures], cores: usize) -> Plot {
    let lines = groups(cells).into_iter().map(|(name, group)| {
        series(name, &group, |cell| {
            Some(
                cell.throughput_per_s
                    .times(100.0 / ideal(cell, &group, cores)?),
            )
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

fn efficiency_table(cells: &[&CellFigures], cores: usize) -> String {
    let head = format!("{NAMES} | answers/s | ideal/s | % of it");
    let mut rows = Vec::new();
    for (_, group) in groups(cells) {
        rows.extend(group.iter().filter_map(|cell| {
            let ideal = ideal(cell, &group, cores)?;
            let rate = cell.throughput_per_s.median;
            let mut row = names(cell);
            row.extend([
                format!("{rate:.1}"),
                short(ideal),
                format!("{:.1}", 100.0 * rate / ideal),
            ]);
            Some(row)
        }));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(mix: &str, workers: u32, rate: f64) -> CellFigures {
        CellFigures {
            mix: mix.to_owned(),
            workers,
            clients: 64,
            queue: 256,
            rounds: 1,
            throughput_per_s: Spread::of([rate].into_iter()).expect("one round"),
            p50_us: None,
            p99_us: None,
            ideal_per_s: None,
            efficiency_percent: None,
            server_cpu_percent: None,
            server_memory_bytes: None,
            generator_cpu_percent: None,
            limited: None,
            busy: 0,
            failures: 0,
            first_failure: None,
        }
    }

    fn ideals(cells: &[CellFigures]) -> Vec<Option<f64>> {
        let group: Vec<&CellFigures> = cells.iter().collect();
        group.iter().map(|cell| ideal(cell, &group, 4)).collect()
    }

    #[test]
    fn the_ideal_of_computing_is_in_proportion_to_the_fewest_workers_up_to_the_cores() {
        let hash = |workers, rate| cell("hash", workers, rate);
        let mut cells = [hash(2, 2000.0), hash(4, 3000.0), hash(8, 3000.0)];
        assert_eq!(ideals(&cells), [Some(2000.0), Some(4000.0), Some(4000.0)]);
        assert_eq!(ideals(&cells[..1]), [None]);
        let all: Vec<&CellFigures> = cells.iter().collect();
        let html = section_of_mix("hash", &all, 4);
        for text in [
            "ideal: in proportion to --workers 2, up to 4 cores",
            "<td>3000.0</td><td>4000</td><td>75.0</td>",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
        cells[0].limited = Some("too slow".to_owned());
        assert_eq!(ideals(&cells), [None, None, None]);
        assert_eq!(
            ideals(&[cell("echo", 1, 1.0), cell("echo", 2, 1.0)]),
            [None, None]
        );
    }
}
