//! The pictures of one run: percentiles, timeline, fairness.
//!
//! Knows which figures of a run make which plot.
//!
//! Rule: below each plot stands a table with the figures that it is made of.

use super::page::{heading, list, paragraph, table, verdict};
use super::plot::{Axis, Look, Plot, Point, Series};
use super::scale::short;
use crate::figures::distribution::Distribution;
use crate::figures::results::{LoadFigures, RunResult, SliceFigures, Verdict};

/// The part of the page that shows `run`.
pub(crate) fn section(name: &str, run: &RunResult) -> String {
    let mut html = heading(&format!("Run: {name}"));
    html += &verdict(&run.verdict.to_string(), run.verdict == Verdict::Pass);
    html += &summary(run);
    for failure in run.failures.first.iter().chain(&run.thresholds_broken) {
        html += &paragraph(failure);
    }
    html += &percentiles(run);
    html += &timeline(run);
    html += &fairness(run);
    html
}

fn summary(run: &RunResult) -> String {
    let ledger = &run.ledger;
    let account = format!(
        "{} planned, {} sent = {} OK + {} expected errors + {} busy + {} wrong + {} missing",
        ledger.planned,
        ledger.sent,
        ledger.ok,
        ledger.expected_errors,
        ledger.busy,
        ledger.wrong,
        ledger.missing
    );
    let little = &run.little;
    let generator = match (&run.generator.limited, run.generator.cpu_percent) {
        (Some(why), _) => format!("the limit: {why}"),
        (None, Some(percent)) => format!("{percent:.0} % of a core"),
        (None, None) => "too short a run to tell".to_owned(),
    };
    list(&[
        ("server", run.target.clone()),
        ("load", load(&run.load)),
        ("answers", format!("{:.0} per second", run.throughput_per_s)),
        ("ledger", account),
        (
            "Little's law",
            format!(
                "{:.2} in flight = {:.0}/s x {:.3} ms",
                little.in_flight,
                little.rate_per_s,
                little.stay_us / 1000.0
            ),
        ),
        ("generator", generator),
        ("seed", run.load.seed.to_string()),
    ])
}

/// What was asked for, in one line.
pub(crate) fn load(load: &LoadFigures) -> String {
    let pace = match (load.rate_per_s, load.frames, load.duration_s) {
        (Some(rate), _, _) => format!(
            "open loop, {} requests/s ({})",
            short(rate),
            load.arrivals.as_deref().unwrap_or_default()
        ),
        (None, Some(frames), _) => format!("closed loop, {frames} frames each"),
        (None, None, seconds) => format!("closed loop, {} s", seconds.unwrap_or_default()),
    };
    format!(
        "{pace}, {} clients, {} in flight each, {}",
        load.clients,
        load.max_inflight,
        load.in_words()
    )
}

/// Milliseconds for people and tables.
pub(crate) fn ms(us: Option<f64>) -> String {
    us.map_or_else(|| "n/a".to_owned(), |us| short(us / 1000.0))
}

fn percentiles(run: &RunResult) -> String {
    let series = |name: &str, distribution: &Distribution| Series {
        name: name.to_owned(),
        look: Look::Line,
        points: distribution
            .curve
            .iter()
            .map(|&(percent, us)| Point::new(100.0 / (100.0 - percent), us / 1000.0))
            .collect(),
    };
    let ticks = [
        (1.0, "0 %"),
        (2.0, "50 %"),
        (10.0, "90 %"),
        (100.0, "99 %"),
        (1e3, "99.9 %"),
        (1e4, "99.99 %"),
        (1e5, "99.999 %"),
    ];
    let (latency, service) = (
        series("latency (from intended)", &run.latency),
        series("service time (from written)", &run.service),
    );
    let ends = latency.points.iter().chain(&service.points);
    let last = ends.map(|point| point.x).fold(1.0, f64::max);
    let ticks = ticks.into_iter().filter(|&(place, _)| place <= last);
    let plot = Plot {
        title: "Percentiles of latency and service time".to_owned(),
        x: Axis::with_ticks(
            "percentile",
            ticks.map(|(at, text)| (at, text.to_owned())).collect(),
        ),
        y: Axis::log("ms"),
        series: vec![latency, service],
        marks: Vec::new(),
    };
    let distributions = [
        ("latency", &run.latency),
        ("service time", &run.service),
        ("send lag", &run.send_lag),
        ("refused as busy", &run.busy.latency),
    ];
    let rows = distributions.map(|(name, distribution)| row(name, distribution));
    let mut html = if plot.is_empty() {
        paragraph("The sample is too small for a plot of percentiles.")
    } else {
        plot.render()
    };
    html += &table("Figures in ms", &HEAD, &rows);
    if run.latency.unanswered > 0 {
        html += &paragraph(&format!(
            "{} requests got no answer. They count as at least their age; percentiles with >= are \
             lower bounds.",
            run.latency.unanswered
        ));
    }
    html
}

/// The head of a table of distributions.
const HEAD: [&str; 12] = [
    "", "count", "min", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max",
];

fn row(name: &str, distribution: &Distribution) -> Vec<String> {
    let mut row = vec![
        name.to_owned(),
        distribution.count.to_string(),
        ms(distribution.min_us),
        ms(distribution.mean_us),
    ];
    for percentile in &distribution.percentiles {
        let at_least = if percentile.is_lower_bound { ">=" } else { "" };
        row.push(format!("{at_least}{}", ms(percentile.us)));
    }
    row.push(ms(distribution.max_us));
    row
}

fn timeline(run: &RunResult) -> String {
    let timeline = &run.timeline;
    let seconds = timeline.slice_ms as f64 / 1000.0;
    // A point stands in the middle of its slice; the last one may be cut short.
    let whole = timeline.slices.len().saturating_sub(1).max(1);
    let middle = |place: usize| (place as f64 + 0.5) * seconds;
    let rates = |name: &str, count: fn(&SliceFigures) -> u64| Series {
        name: name.to_owned(),
        look: Look::Line,
        points: timeline
            .slices
            .iter()
            .take(whole)
            .enumerate()
            .map(|(place, slice)| Point::new(middle(place), count(slice) as f64 / seconds))
            .collect(),
    };
    let times = |name: &str, time: fn(&SliceFigures) -> Option<f64>| Series {
        name: name.to_owned(),
        look: Look::Line,
        points: timeline
            .slices
            .iter()
            .take(whole)
            .enumerate()
            .map(|(place, slice)| {
                let ms = time(slice).map_or(f64::NAN, |us| us / 1000.0);
                Point::new(middle(place), ms)
            })
            .collect(),
    };
    let mut series = vec![rates("answers", |slice| slice.answers)];
    if run.busy.answers > 0 {
        series.push(rates("ERR server busy", |slice| slice.busy));
    }
    let marks = || match run.load.warmup_s {
        warmup if warmup > 0.0 => vec![(warmup, "measured from here".to_owned())],
        _ => Vec::new(),
    };
    let throughput = Plot {
        title: "Answers over time".to_owned(),
        x: Axis::linear("seconds since the start"),
        y: Axis::linear("per second"),
        series,
        marks: marks(),
    };
    let latency = Plot {
        title: "Latency over time".to_owned(),
        x: Axis::linear("seconds since the start"),
        y: Axis::log("ms"),
        series: vec![
            times("p50", |slice| slice.p50_us),
            times("p99", |slice| slice.p99_us),
            times("longest", |slice| slice.max_us),
        ],
        marks: marks(),
    };
    if throughput.is_empty() || latency.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = timeline
        .slices
        .iter()
        .enumerate()
        .map(|(place, slice)| {
            vec![
                format!("{:.1}", place as f64 * seconds),
                slice.answers.to_string(),
                slice.busy.to_string(),
                ms(slice.p50_us),
                ms(slice.p99_us),
                ms(slice.max_us),
            ]
        })
        .collect();
    let summary = format!(
        "Figures of {} slices of {} ms",
        rows.len(),
        timeline.slice_ms
    );
    let head = [
        "from s",
        "answers",
        "busy",
        "p50 ms",
        "p99 ms",
        "longest ms",
    ];
    throughput.render() + &latency.render() + &table(&summary, &head, &rows)
}

fn fairness(run: &RunResult) -> String {
    let fairness = &run.fairness;
    if fairness.clients < 2 || fairness.rates_per_s.is_empty() {
        return String::new();
    }
    let series = |name: &str, values: &[f64]| {
        let share = 100.0 / (values.len().max(2) - 1) as f64;
        Series {
            name: name.to_owned(),
            look: Look::Line,
            points: values
                .iter()
                .enumerate()
                .map(|(place, &value)| Point::new(place as f64 * share, value))
                .collect(),
        }
    };
    let in_ms: Vec<f64> = fairness.p99s_us.iter().map(|us| us / 1000.0).collect();
    let index = fairness
        .jains_index
        .map_or_else(|| "n/a".to_owned(), |index| format!("{index:.4}"));
    let rates = Plot {
        title: format!("Accepted work of each client (Jain's index {index})"),
        x: Axis::linear("clients, from the least served to the best, in %"),
        y: Axis::linear("answers/s"),
        series: vec![series("answers per second", &fairness.rates_per_s)],
        marks: Vec::new(),
    };
    let p99s = Plot {
        title: "p99 of each client".to_owned(),
        x: Axis::linear("clients, from the lowest p99 to the highest, in %"),
        y: Axis::linear("ms"),
        series: vec![series("p99", &in_ms)],
        marks: Vec::new(),
    };
    let at = |values: &[f64], share: f64| {
        let place = (share * (values.len().max(1) - 1) as f64).round() as usize;
        values
            .get(place)
            .map_or_else(String::new, |&value| short(value))
    };
    let rows: Vec<Vec<String>> = [("lowest", 0.0), ("a quarter", 0.25), ("median", 0.5)]
        .into_iter()
        .chain([("three quarters", 0.75), ("highest", 1.0)])
        .map(|(name, share)| {
            vec![
                name.to_owned(),
                at(&fairness.rates_per_s, share),
                at(&in_ms, share),
            ]
        })
        .collect();
    let summary = format!("Figures of {} clients", fairness.clients);
    let mut html = rates.render();
    if !p99s.is_empty() {
        html += &p99s.render();
    }
    html + &table(&summary, &["", "answers/s", "p99 ms"], &rows)
}
