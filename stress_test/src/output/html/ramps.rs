//! The pictures of a ramp: latency and throughput against the offered load.
//!
//! Knows which figures of a ramp make which plot.
//!
//! Rule: the highest rate that held, and from where on this program was the limit, are marked in
//! every plot, and what had to hold where it can be.

use super::frame::Axis;
use super::limit::{LIMITED, limited_from};
use super::page::{heading, list, table, verdict};
use super::plot::{Look, Plot, Point, Series};
use super::runs::{load, ms};
use super::scale::{known_ms, short};
use crate::figures::ramp::{RampResult, RampStep};
use crate::figures::sweep::Spread;
use crate::figures::threshold::Threshold;

/// The percentiles that are drawn.
const SHOWN: [(f64, &str); 4] = [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9")];

/// The part of the page that shows `ramp`.
pub(crate) fn section(name: &str, ramp: &RampResult) -> String {
    let mut html = heading(&format!("Ramp: {name}"));
    html += &verdict(ramp.verdict);
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
    let queue = queue(ramp);
    if !queue.is_empty() {
        html += &queue.render();
        html += &queue_table(&ramp.steps);
    }
    html += &throughput(ramp).render();
    html + &throughput_table(&ramp.steps)
}

/// A plot against the offered load.
fn plot(ramp: &RampResult, title: &str, unit: &str, series: Vec<Series>) -> Plot {
    let highest = ramp.highest_rate_per_s;
    let mark = highest.map(|rate| (rate, format!("{}/s holds", short(rate))));
    let (x, y) = (Axis::log("offered requests/s"), Axis::log(unit));
    let steps = ramp.steps.iter();
    let limit = limited_from(steps.map(|step| (step.rate_per_s, step.limited.is_some())));
    let plot = Plot::new(title, x, y, series).with_marks(mark.into_iter().chain(limit));
    plot.with_hollow(LIMITED)
}

/// A point of `step`.
fn point(step: &RampStep, y: f64) -> Point {
    Point {
        is_hollow: step.limited.is_some(),
        ..Point::new(step.rate_per_s, y)
    }
}

/// How one percentile of the latency grows with the rate.
pub(crate) fn percentile(ramp: &RampResult, percent: f64, name: &str) -> Series {
    let points = ramp.steps.iter().filter_map(|step| {
        let percentile = step.latency.percentile(percent)?;
        let ms = percentile.us? / 1000.0;
        Some(Point {
            is_lower_bound: percentile.is_lower_bound,
            ..point(step, ms)
        })
    });
    Series::new(name, Look::Dots, points)
}

fn latency(ramp: &RampResult) -> Plot {
    let series = SHOWN.into_iter();
    let series = series.map(|(percent, name)| percentile(ramp, percent, name));
    // A percentile that no step had the sample for is not shown.
    let series = series.filter(|series| !series.is_empty()).collect();
    let levels = ramp.slo.iter().filter_map(|text| {
        let us = Threshold::parse(text).ok()?.latency_us()?;
        Some((us / 1000.0, text.clone()))
    });
    plot(ramp, "Latency against offered load", "ms", series).with_levels(levels)
}

/// The mean latency beside what theory says of it; nothing where theory says nothing.
fn queue(ramp: &RampResult) -> Plot {
    let in_ms = |step: &RampStep, us: Option<f64>| Some(point(step, us? / 1000.0));
    let steps = || ramp.steps.iter();
    let predicted = steps().filter_map(|step| in_ms(step, step.predicted_mean_us));
    let known = steps().filter(|step| step.predicted_mean_us.is_some());
    let measured = known.filter_map(|step| in_ms(step, step.latency.mean_us));
    let series = vec![
        Series::new("in theory", Look::Ideal, predicted),
        Series::new("measured", Look::Dots, measured),
    ];
    plot(ramp, "Mean latency, measured and in theory", "ms", series)
}

/// By how many percent the mean of each step that held was above theory; nothing where theory says
/// nothing.
pub(crate) fn deviation(ramp: &RampResult) -> Option<Spread> {
    let steps = ramp.steps.iter().filter(|step| step.holds);
    Spread::of(steps.filter_map(deviation_percent))
}

fn deviation_percent(step: &RampStep) -> Option<f64> {
    let predicted = step.predicted_mean_us.filter(|&us| us > 0.0)?;
    Some(100.0 * (step.latency.mean_us? / predicted - 1.0))
}

fn queue_table(steps: &[RampStep]) -> String {
    let head = "offered/s | mean | in theory | deviation %";
    let rows = steps.iter().filter_map(|step| {
        let deviation = deviation_percent(step)?;
        Some(vec![
            format!("{:.0}", step.rate_per_s),
            ms(step.latency.mean_us),
            ms(step.predicted_mean_us),
            format!("{deviation:+.1}"),
        ])
    });
    table("Figures in ms", head, rows)
}

fn throughput(ramp: &RampResult) -> Plot {
    let series = |name, look, figure: fn(&RampStep) -> f64| {
        let steps = ramp.steps.iter();
        let points = steps.map(|step| point(step, figure(step)));
        Series::new(name, look, points)
    };
    let series = vec![
        series("as many as offered", Look::Ideal, |step| step.rate_per_s),
        series("answers", Look::Dots, |step| step.throughput_per_s),
    ];
    plot(ramp, "Answers against offered load", "answers/s", series)
}

fn latency_table(steps: &[RampStep]) -> String {
    let head = "offered/s | holds | p50 | p90 | p99 | p99.9 | max | service p99";
    let rows = steps.iter().map(|step| {
        let mut row = vec![
            format!("{:.0}", step.rate_per_s),
            if step.holds { "yes" } else { "no" }.to_owned(),
        ];
        row.extend(SHOWN.map(|(percent, _)| known_ms(step.latency.at(percent))));
        row.push(known_ms(step.latency.longest()));
        row.push(known_ms(step.service.at(99.0)));
        row
    });
    table("Figures in ms", head, rows)
}

fn throughput_table(steps: &[RampStep]) -> String {
    let head = "offered/s | answers/s | busy % | unsent | remarks";
    let rows = steps.iter().map(|step| {
        let mut remarks = step.broken.clone();
        let limited = step.limited.iter();
        remarks.extend(limited.map(|why| format!("generator-limited: {why}")));
        vec![
            format!("{:.0}", step.rate_per_s),
            format!("{:.0}", step.throughput_per_s),
            format!("{:.3}", step.busy_percent),
            step.unsent.to_string(),
            remarks.join("; "),
        ]
    });
    table("Figures", head, rows)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::figures::results::tests::{outcome, result};
    use crate::figures::results::{SCHEMA, Verdict};

    /// 1000 requests/s hold; at 2000 the generator was the limit, and some got no answer.
    pub(crate) fn ramp() -> RampResult {
        let run = result(&outcome());
        let step = |rate_per_s, limited: Option<&str>| {
            let mut latency = run.latency.clone();
            for percentile in &mut latency.percentiles {
                percentile.is_lower_bound = limited.is_some();
            }
            RampStep {
                rate_per_s,
                duration_s: Some(3.0),
                throughput_per_s: rate_per_s,
                holds: limited.is_none(),
                broken: Vec::new(),
                latency,
                predicted_mean_us: None,
                service: run.service.clone(),
                backlog: None,
                busy_percent: 0.0,
                unsent: 0,
                limited: limited.map(str::to_owned),
            }
        };
        RampResult {
            schema: SCHEMA.to_owned(),
            kind: "ramp".to_owned(),
            verdict: Verdict::Pass,
            exit_code: 0,
            target: "here".to_owned(),
            provenance: None,
            slo: vec!["p99<50ms".to_owned(), "busy<1%".to_owned()],
            highest_rate_per_s: Some(1000.0),
            lowest_broken_per_s: Some(2000.0),
            load: run.load.clone(),
            steps: vec![step(1000.0, None), step(2000.0, Some("too slow"))],
        }
    }

    #[test]
    fn the_mean_stands_beside_theory_where_there_is_one() {
        let mut ramp = ramp();
        assert!(!section("a", &ramp).contains("in theory"));
        ramp.steps[0].predicted_mean_us = Some(12_000.0);
        let html = section("a", &ramp);
        for text in [
            "in theory: 12 ms\noffered requests/s: 1000<",
            "<td>1000</td><td>15</td><td>12</td><td>+25.0</td>",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
        assert!(!html.contains("measured: 15 ms\noffered requests/s: 2000"));
        let deviation = deviation(&ramp).map(|all| (all.min.round(), all.max.round()));
        assert_eq!(deviation, Some((25.0, 25.0)));
    }

    #[test]
    fn what_had_to_hold_is_a_line_and_a_step_at_the_generators_limit_is_hollow() {
        let latency = latency(&ramp()).render();
        assert!(latency.contains(">p99&lt;50ms<"), "{latency}");
        assert!(!latency.contains("busy"), "{latency}");
        assert!(latency.contains("p99: 29.7 ms\noffered requests/s: 1000<"));
        let limited = "p99: &gt;= 29.7 ms\noffered requests/s: 2000\nhollow:";
        assert!(latency.contains(limited), "{latency}");
        let table = latency_table(&ramp().steps);
        let [exact, bound] = ["29.7", "&gt;=29.7"].map(|p99| format!("<td>{p99}</td><td>n/a</td>"));
        assert!(table.contains(&exact) && table.contains(&bound), "{table}");
        let throughput = throughput(&ramp()).render();
        assert!(throughput.contains("<circle class=\"dot c0\""));
        assert!(throughput.contains("<circle class=\"dot hollow c0\""));
        for picture in [latency, throughput] {
            assert!(
                picture.contains(">limit of this program: 2000/s<"),
                "{picture}"
            );
        }
    }
}
