//! The pictures of a sweep: throughput, efficiency and latency against what it varied.
//!
//! Knows which figures of a sweep make which plot.
//!
//! Rule: a median is drawn with its spread, the ideal where there is one, and the limit of this
//! program where it was reached.

use super::frame::Axis;
use super::limit::{LIMITED, ceiling};
use super::page::{heading, list, paragraph, table, verdict};
use super::plot::{Look, Plot, Point, Series};
use super::runs::ms;
use super::scale::short;
use super::varied::Varied;
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
    for (mix, cells) in by_mix(sweep) {
        html += &section_of_mix(mix, &cells, sweep.cores);
    }
    html
}

/// The cells of each mix.
fn by_mix(sweep: &SweepResult) -> Vec<(&str, Vec<&CellFigures>)> {
    let mut mixes: Vec<(&str, Vec<&CellFigures>)> = Vec::new();
    for cell in &sweep.cells {
        match mixes.iter_mut().find(|(mix, _)| *mix == cell.mix) {
            Some((_, cells)) => cells.push(cell),
            None => mixes.push((&cell.mix, vec![cell])),
        }
    }
    mixes
}

/// What the sweep found of each mix, in a sentence each.
pub(crate) fn findings(sweep: &SweepResult) -> Vec<String> {
    let mixes = by_mix(sweep).into_iter();
    let findings = mixes.map(|(mix, cells)| finding(mix, &cells, sweep.cores));
    findings.collect()
}

/// What a reader is to see at a glance: how much was answered, how near that is to the ideal, and
/// whether size matters at all.
fn finding(mix: &str, cells: &[&CellFigures], cores: usize) -> String {
    let varied = Varied::of(cells);
    let rate = |cell: &&&CellFigures| cell.throughput_per_s.median;
    let by_rate = |one: &&&CellFigures, other: &&&CellFigures| rate(one).total_cmp(&rate(other));
    let (Some(least), Some(most)) = (cells.iter().min_by(by_rate), cells.iter().max_by(by_rate))
    else {
        return String::new();
    };
    let (low, high) = (rate(&least), rate(&most));
    let mut text = format!("{mix}: {} to {} answers/s", short(low), short(high));
    let best = varied.in_words(varied.value(most));
    let spread = |cell: &&CellFigures| cell.throughput_per_s.percent();
    let widest = cells.iter().map(spread).fold(0.0, f64::max);
    let apart = 100.0 * (high - low) / high;
    text += &if cells.len() < 2 {
        String::new()
    } else if apart <= widest {
        ", no trend: rounds of one cell are as far apart".to_owned()
    } else {
        format!(", most with {best}")
    };
    let groups = varied.groups(cells);
    let shares = groups.iter().flat_map(|(_, group)| {
        let share = |cell: &&CellFigures| {
            let ideal = ideal(cell, group, cores)?;
            Some(100.0 * cell.throughput_per_s.median / ideal)
        };
        group.iter().filter_map(share).collect::<Vec<_>>()
    });
    if let Some(shares) = Spread::of(shares) {
        text += &format!("; {:.1} to {:.1} % of the ideal", shares.min, shares.max);
    }
    let limited = cells.iter().filter(|cell| cell.limited.is_some()).count();
    if limited > 0 {
        let count = cells.len();
        text += &format!("; this program was the limit in {limited} of {count} cells");
    }
    text
}

fn section_of_mix(mix: &str, cells: &[&CellFigures], cores: usize) -> String {
    let mut html = paragraph(&format!("{}.", finding(mix, cells, cores)));
    html += &throughput(mix, cells, cores).render();
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

/// What `cell` of `group` could do at best, where that is known. HASH only computes, so that each
/// worker can do as much as one of the fewest, as far as there are cores.
fn ideal(cell: &CellFigures, group: &[&CellFigures], cores: usize) -> Option<f64> {
    if cell.ideal_per_s.is_some() || cell.mix != "hash" {
        return cell.ideal_per_s;
    }
    let fewest = group.first()?;
    // A number of workers is its own ideal, and what the generator could do is none.
    let have_one_size = group.iter().all(|cell| cell.workers == fewest.workers);
    if have_one_size || fewest.limited.is_some() {
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

/// A plot of `what` against what was varied.
fn plot(what: &str, cells: &[&CellFigures], y: Axis, series: Vec<Series>) -> Plot {
    let varied = Varied::of(cells);
    let name = varied.name();
    let ticks = varied.values(cells).into_iter();
    let ticks = ticks.map(|count| (f64::from(count), count.to_string()));
    let (title, x) = (
        format!("{what} against {name}"),
        Axis::with_ticks(name, ticks),
    );
    Plot::new(title, x, y, series).with_hollow(LIMITED)
}

fn series(
    varied: Varied,
    name: String,
    group: &[&CellFigures],
    figure: impl Fn(&CellFigures) -> Option<Spread>,
) -> Series {
    let points = group.iter().filter_map(|cell| {
        let Spread { median, min, max } = figure(cell)?;
        Some(Point {
            spread: Some((min, max)),
            is_hollow: cell.limited.is_some(),
            ..Point::new(f64::from(varied.value(cell)), median)
        })
    });
    Series::new(name, Look::Dots, points)
}

fn throughput(mix: &str, cells: &[&CellFigures], cores: usize) -> Plot {
    let mut lines = Vec::new();
    let mut ideals: Vec<Vec<(u32, f64)>> = Vec::new();
    let varied = Varied::of(cells);
    for (name, group) in varied.groups(cells) {
        let ideal = group
            .iter()
            .filter_map(|cell| Some((varied.value(cell), ideal(cell, &group, cores)?)));
        let ideal: Vec<(u32, f64)> = ideal.collect();
        if !ideal.is_empty() && !ideals.contains(&ideal) {
            let points = ideal.iter();
            let points = points.map(|&(size, rate)| Point::new(f64::from(size), rate));
            let name = ideal_in_words(mix, &group, cores);
            lines.push(Series::new(name, Look::Ideal, points));
            ideals.push(ideal);
        }
        lines.push(series(varied, name, &group, |cell| {
            Some(cell.throughput_per_s)
        }));
    }
    // With both axes in powers, what grows with the workers is a straight line.
    let y = if ideals.is_empty() {
        Axis::linear("answers/s")
    } else {
        Axis::log("answers/s")
    };
    let rates = cells.iter();
    let rates = rates.map(|cell| (cell.throughput_per_s.median, cell.limited.is_some()));
    plot(&format!("{mix}: throughput"), cells, y, lines).with_levels(ceiling(rates))
}

fn efficiency(mix: &str, cells: &[&CellFigures], cores: usize) -> Plot {
    let varied = Varied::of(cells);
    let lines = varied.groups(cells).into_iter().map(|(name, group)| {
        series(varied, name, &group, |cell| {
            Some(
                cell.throughput_per_s
                    .times(100.0 / ideal(cell, &group, cores)?),
            )
        })
    });
    let y = Axis::linear("% of the ideal");
    plot(
        &format!("{mix}: share of the ideal"),
        cells,
        y,
        lines.collect(),
    )
}

fn latency(mix: &str, cells: &[&CellFigures]) -> Plot {
    let varied = Varied::of(cells);
    let groups = varied.groups(cells);
    let mut lines = Vec::new();
    for (name, group) in &groups {
        let suffix = match groups.len() {
            1 => String::new(),
            _ => format!(", {name}"),
        };
        let in_ms = |spread: Spread| spread.times(1e-3);
        lines.push(series(varied, format!("p50{suffix}"), group, |cell| {
            cell.p50_us.map(in_ms)
        }));
        lines.push(series(varied, format!("p99{suffix}"), group, |cell| {
            cell.p99_us.map(in_ms)
        }));
    }
    // A percentile that no cell had the sample for is not shown.
    lines.retain(|series| !series.is_empty());
    plot(&format!("{mix}: latency"), cells, Axis::log("ms"), lines)
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
    for (_, group) in Varied::of(cells).groups(cells) {
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
        let found = finding("hash", &all, 4);
        let expected =
            "hash: 2000 to 3000 answers/s, most with 8 workers; 75.0 to 100.0 % of the ideal";
        assert_eq!(found, expected);
        cells[0].limited = Some("too slow".to_owned());
        assert_eq!(ideals(&cells), [None, None, None]);
        assert_eq!(
            ideals(&[cell("echo", 1, 1.0), cell("echo", 2, 1.0)]),
            [None, None]
        );
    }

    #[test]
    fn what_is_varied_is_the_axis() {
        let mut cells = [1, 16, 256].map(|queue| CellFigures {
            queue,
            throughput_per_s: Spread::of([990.0, 1000.0, 1010.0].into_iter()).expect("rounds"),
            ..cell("sleep", 4, 1000.0)
        });
        let all: Vec<&CellFigures> = cells.iter().collect();
        let html = section_of_mix("sleep", &all, 2);
        for text in [
            ">sleep: throughput against queue<",
            ">queue (log scale)<",
            "</svg>4 workers, 64 clients</li>",
            "4 workers, 64 clients: 1000 answers/s\nqueue: 16",
            "sleep: 1000 to 1000 answers/s, no trend: rounds of one cell are as far apart.",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
        for cell in &mut cells {
            (cell.clients, cell.queue) = (cell.queue, 256);
        }
        let all: Vec<&CellFigures> = cells.iter().collect();
        assert_eq!(Varied::of(&all), Varied::Clients);
        assert_eq!(Varied::of(&all[..1]), Varied::Workers);
    }

    #[test]
    fn where_this_program_was_the_limit_its_rate_is_a_line() {
        let mut cells = [cell("echo", 1, 900.0), cell("echo", 2, 1000.0)];
        let html = |cells: &[CellFigures]| {
            let all: Vec<&CellFigures> = cells.iter().collect();
            section_of_mix("echo", &all, 2)
        };
        assert!(!html(&cells).contains("limit of this program"));
        cells[1].limited = Some("too slow".to_owned());
        let html = html(&cells);
        for text in [
            ">limit of this program: 1000/s<",
            "; this program was the limit in 1 of 2 cells.",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
    }
}
