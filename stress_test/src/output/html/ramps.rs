//! The pictures of a ramp: latency and throughput against the offered load.
//!
//! Knows which figures of a ramp make which plot.
//!
//! Rule: the highest rate that held is marked in every plot.

use super::page::{heading, list, table, verdict};
use super::plot::{Axis, Look, Plot, Point, Series};
use super::runs::{load, ms};
use super::scale::short;
use crate::figures::ramp::{RampResult, RampStep};
use crate::figures::results::Verdict;

/// The percentiles that are drawn.
const SHOWN: [(f64, &str); 4] = [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9")];

/// The part of the page that shows `ramp`.
pub(crate) fn section(name: &str, ramp: &RampResult) -> String {
    let mut html = heading(&format!("Ramp: {name}"));
    html += &verdict(&ramp.verdict.to_string(), ramp.verdict == Verdict::Pass);
    let rate = |rate: Option<f64>| {
        rate.map_or_else(|| "none".to_owned(), |rate| format!("{rate:.0} requests/s"))
    };
    html += &list(&[
        ("server", ramp.target.clone()),
        ("service level", ramp.slo.join(", ")),
        ("highest rate that holds", rate(ramp.highest_rate_per_s)),
        ("lowest that does not", rate(ramp.lowest_broken_per_s)),
        ("load", load(&ramp.load)),
    ]);
    html += &latency(ramp).render();
    html += &latency_table(&ramp.steps);
    html += &throughput(ramp).render();
    html += &throughput_table(&ramp.steps);
    html
}

fn marks(ramp: &RampResult) -> Vec<(f64, String)> {
    let highest = ramp.highest_rate_per_s;
    let mark = highest.map(|rate| (rate, format!("{}/s holds", short(rate))));
    mark.into_iter().collect()
}

fn latency(ramp: &RampResult) -> Plot {
    let series = SHOWN.map(|(percent, name)| Series {
        name: name.to_owned(),
        look: Look::Dots,
        points: ramp
            .steps
            .iter()
            .filter_map(|step| {
                let ms = step.latency.us(percent)? / 1000.0;
                Some(Point::new(step.rate_per_s, ms))
            })
            .collect(),
    });
    // A percentile that no step had the sample for is not shown.
    let series = series
        .into_iter()
        .filter(|series| !series.points.is_empty());
    Plot {
        title: "Latency against offered load".to_owned(),
        x: Axis::log("offered requests/s"),
        y: Axis::log("ms"),
        series: series.collect(),
        marks: marks(ramp),
    }
}

fn throughput(ramp: &RampResult) -> Plot {
    let points = |figure: fn(&RampStep) -> f64| {
        let points = ramp.steps.iter();
        points
            .map(|step| Point::new(step.rate_per_s, figure(step)))
            .collect()
    };
    Plot {
        title: "Answers against offered load".to_owned(),
        x: Axis::log("offered requests/s"),
        y: Axis::log("answers/s"),
        series: vec![
            Series {
                name: "as many as offered".to_owned(),
                look: Look::Ideal,
                points: points(|step| step.rate_per_s),
            },
            Series {
                name: "answers".to_owned(),
                look: Look::Dots,
                points: points(|step| step.throughput_per_s),
            },
        ],
        marks: marks(ramp),
    }
}

fn latency_table(steps: &[RampStep]) -> String {
    let mut head = vec!["offered/s", "holds"];
    head.extend(SHOWN.map(|(_, name)| name));
    head.extend(["max", "service p99"]);
    let rows = steps.iter().map(|step| {
        let mut row = vec![
            format!("{:.0}", step.rate_per_s),
            if step.holds { "yes" } else { "no" }.to_owned(),
        ];
        row.extend(SHOWN.map(|(percent, _)| ms(step.latency.us(percent))));
        row.push(ms(step.latency.max_us));
        row.push(ms(step.service.us(99.0)));
        row
    });
    table("Figures in ms", &head, &rows.collect::<Vec<_>>())
}

fn throughput_table(steps: &[RampStep]) -> String {
    let head = ["offered/s", "answers/s", "busy %", "unsent", "remarks"];
    let rows = steps.iter().map(|step| {
        let mut broken = step.broken.clone();
        broken.extend(
            step.limited
                .iter()
                .map(|why| format!("generator-limited: {why}")),
        );
        vec![
            format!("{:.0}", step.rate_per_s),
            format!("{:.0}", step.throughput_per_s),
            format!("{:.3}", step.busy_percent),
            step.unsent.to_string(),
            broken.join("; "),
        ]
    });
    table("Figures", &head, &rows.collect::<Vec<_>>())
}
