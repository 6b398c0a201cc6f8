//! The pictures of one run: percentiles, timeline, fairness.
//!
//! Knows which figures of a run make which plot.
//!
//! Rule: below each plot stands a table with the figures that it is made of.

use super::frame::Axis;
use super::heat;
use super::page::{heading, list, paragraph, table, verdict};
use super::plot::{Look, Plot, Point, Series};
pub(crate) use super::scale::ms;
use super::scale::{known_ms, short};
use super::stages;
use crate::figures::distribution::Distribution;
use crate::figures::load::LoadFigures;
use crate::figures::results::{RunResult, SliceFigures, TimelineFigures};
use crate::output::run::in_theory;

/// The part of the page that shows `run`.
pub(crate) fn section(name: &str, run: &RunResult) -> String {
    let mut html = heading(&format!("Run: {name}"));
    html += &verdict(run.verdict);
    html += &summary(run);
    for failure in run.failures.first.iter().chain(&run.thresholds_broken) {
        html += &paragraph(failure);
    }
    html += &percentiles(run);
    html += &stages::figures(run);
    html += &timeline(run);
    html + &fairness(run)
}

fn summary(run: &RunResult) -> String {
    let little = &run.little;
    let law = format!(
        "{:.2} in flight = {:.0}/s x {:.3} ms",
        little.in_flight,
        little.rate_per_s,
        little.stay_us / 1000.0
    );
    let generator = match (&run.generator.limited, run.generator.cpu_percent) {
        (Some(why), _) => format!("the limit: {why}"),
        (None, Some(percent)) => format!("{percent:.0} % of a core"),
        (None, None) => "too short a run to tell".to_owned(),
    };
    let mut entries = vec![
        ("server", run.target.clone()),
        ("load", load(&run.load)),
        ("answers", format!("{:.0} per second", run.throughput_per_s)),
        ("ledger", run.ledger.in_words()),
        ("Little's law", law),
    ];
    if let (Some(theory), Some(mean)) = (&run.queueing, run.latency.mean_us) {
        entries.push(("queueing theory", in_theory(theory, mean)));
    }
    entries.push(("generator", generator));
    entries.push(("seed", run.load.seed.to_string()));
    list(&entries)
}

/// What was asked for, in one line.
pub(crate) fn load(load: &LoadFigures) -> String {
    let pace = match (load.rate_per_s, load.frames, load.duration_s) {
        (Some(_), ..) if !load.stages.is_empty() => format!(
            "open loop, requests/s in stages of {} ({})",
            load.stages_in_words(),
            load.arrivals_in_words()
        ),
        (Some(rate), _, _) => format!(
            "open loop, {} requests/s ({})",
            short(rate),
            load.arrivals_in_words()
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

/// Percentiles as a line, the rare ones as far from each other as the usual ones.
pub(crate) fn curve(name: &str, distribution: &Distribution) -> Series {
    let curve = distribution.curve.iter();
    let points = curve.map(|(percent, us)| Point::new(percentile_place(*percent), us / 1000.0));
    Series::new(name, Look::Line, points)
}

/// Where a percentile is on the axis of [`percentile_axis`].
pub(crate) fn percentile_place(percent: f64) -> f64 {
    100.0 / (100.0 - percent)
}

/// The axis below `curves`.
pub(crate) fn percentile_axis(curves: &[Series]) -> Axis {
    let last = curves.iter().map(Series::last_x).fold(1.0, f64::max);
    let ticks = [
        (1.0, "0 %"),
        (2.0, "50 %"),
        (10.0, "90 %"),
        (100.0, "99 %"),
        (1e3, "99.9 %"),
        (1e4, "99.99 %"),
        (1e5, "99.999 %"),
    ];
    let ticks = ticks.into_iter().filter(|&(place, _)| place <= last);
    let x = Axis::with_ticks("percentile", ticks.map(|(at, text)| (at, text.to_owned())));
    x.shown_by(|place| format!("{} %", (1e5 * (1.0 - 1.0 / place)).round() / 1e3))
}

fn percentiles(run: &RunResult) -> String {
    let latency = curve("latency (from due)", &run.latency);
    let service = curve("service time (from written)", &run.service);
    let operations = run.operations.iter();
    let operations = operations.map(|(operation, latency)| curve(operation.name(), latency));
    let mut curves = vec![latency, service];
    curves.extend(operations);
    let x = percentile_axis(&curves);
    let title = "Percentiles of latency and service time";
    let mut percentiles = run.latency.percentiles.iter();
    let bound = percentiles.find(|percentile| percentile.is_lower_bound);
    let bound = bound.map(|bound| {
        let place = percentile_place(bound.percent);
        (place, "at least that, from here".to_owned())
    });
    let plot = Plot::new(title, x, Axis::log("ms"), curves).with_marks(bound);
    let mut html = if plot.is_empty() {
        paragraph("The sample is too small for a plot of percentiles.")
    } else {
        plot.render()
    };
    let head = "| count | min | mean | p50 | p75 | p90 | p95 | p99 | p99.9 | p99.99 | max";
    let operations = run.operations.iter();
    let operations = operations.map(|(operation, latency)| row(operation.name(), latency));
    let rows = [row("latency", &run.latency)].into_iter().chain(operations);
    let rows = rows.chain([
        row("service time", &run.service),
        row("send lag", &run.send_lag),
        row("refused as busy", &run.busy.latency),
    ]);
    html += &table("Figures in ms", head, rows);
    if run.latency.unanswered > 0 {
        html += &paragraph(&format!(
            "{} requests got no answer. They count as at least their age; percentiles with >= are \
             lower bounds.",
            run.latency.unanswered
        ));
    }
    html
}

fn row(name: &str, distribution: &Distribution) -> Vec<String> {
    let mut row = vec![
        name.to_owned(),
        distribution.count.to_string(),
        ms(distribution.min_us),
        ms(distribution.mean_us),
    ];
    let percentiles = distribution.percentiles.iter();
    row.extend(percentiles.map(|percentile| known_ms(percentile.into())));
    row.push(known_ms(distribution.longest()));
    row
}

fn timeline(run: &RunResult) -> String {
    let slices = &run.timeline.slices;
    let seconds = run.timeline.slice_ms as f64 / 1000.0;
    // A point stands in the middle of its slice; the last one may be cut short.
    let whole = slices.len().saturating_sub(1).max(1);
    let series = |name, figure: &dyn Fn(&SliceFigures) -> f64| {
        let points = slices.iter().take(whole).enumerate();
        let points =
            points.map(|(place, slice)| Point::new((place as f64 + 0.5) * seconds, figure(slice)));
        Series::new(name, Look::Line, points)
    };
    let mut rates = Vec::new();
    rates.extend(stages::offered(run, whole as f64 * seconds));
    rates.push(series("answers", &|slice| slice.answers as f64 / seconds));
    if run.busy.answers > 0 {
        rates.push(series("ERR server busy", &|slice| {
            slice.busy as f64 / seconds
        }));
    }
    let in_ms = |us: Option<f64>| us.map_or(f64::NAN, |us| us / 1000.0);
    let mut times = vec![
        series("p50", &|slice| in_ms(slice.p50_us)),
        series("p99", &|slice| in_ms(slice.p99_us)),
        series("longest", &|slice| in_ms(slice.max_us)),
    ];
    if slices.iter().any(|slice| slice.due_max_us.is_some()) {
        let name = "longest of those due then";
        times.push(series(name, &|slice| in_ms(slice.due_max_us)));
    }
    let plot = |title: &str, y, series: Vec<Series>| {
        let x = Axis::linear("seconds since the start");
        Plot::new(title, x, y, series).with_marks(stages::marks(run))
    };
    let throughput = plot("Answers over time", Axis::linear("per second"), rates);
    let latency = plot("Latency over time", Axis::log("ms"), times);
    if throughput.is_empty() || latency.is_empty() {
        return String::new();
    }
    let mut html = throughput.render() + &latency.render();
    html += &heat::heat_map(&run.timeline, stages::marks(run)).unwrap_or_default();
    html + &timeline_table(&run.timeline, seconds)
}

fn timeline_table(timeline: &TimelineFigures, seconds: f64) -> String {
    let (count, slice_ms) = (timeline.slices.len(), timeline.slice_ms);
    let summary = format!("Figures of {count} slices of {slice_ms} ms");
    let head = "from s | answers | busy | p50 ms | p99 ms | longest ms | longest of due ms";
    let rows = timeline.slices.iter().enumerate().map(|(place, slice)| {
        vec![
            format!("{:.1}", place as f64 * seconds),
            slice.answers.to_string(),
            slice.busy.to_string(),
            ms(slice.p50_us),
            ms(slice.p99_us),
            ms(slice.max_us),
            ms(slice.due_max_us),
        ]
    });
    table(&summary, head, rows)
}

fn fairness(run: &RunResult) -> String {
    let fairness = &run.fairness;
    if fairness.clients < 2 || fairness.rates_per_s.is_empty() {
        return String::new();
    }
    let plot = |title: &str, order: &str, y: &str, name: &str, values: &[f64]| {
        let share = 100.0 / (values.len().max(2) - 1) as f64;
        let points = values.iter().enumerate();
        let points = points.map(|(place, &value)| Point::new(place as f64 * share, value));
        let x = Axis::linear(&format!("clients, from the {order}, in %"));
        let series = Series::new(name, Look::Line, points);
        Plot::new(title, x, Axis::linear(y), [series])
    };
    let rates = &fairness.rates_per_s;
    let in_ms: Vec<f64> = fairness.times_us.iter().map(|us| us / 1000.0).collect();
    let index = fairness.jains_index;
    let index = index.map_or_else(|| "n/a".to_owned(), |index| format!("{index:.4}"));
    let title = format!("Accepted work of each client (Jain's index {index})");
    let (order, name) = ("least served to the best", "answers per second");
    let mut html = plot(&title, order, "answers/s", name, rates).render();
    let percent = fairness.percent;
    let name = percent.map_or_else(|| "time".to_owned(), |percent| format!("p{percent}"));
    let (title, order) = (
        format!("{name} of each client"),
        format!("lowest {name} to the highest"),
    );
    let times = plot(&title, &order, "ms", &name, &in_ms);
    if !times.is_empty() {
        html += &times.render();
    }
    let at = |values: &[f64], share: f64| {
        let place = (share * (values.len().max(1) - 1) as f64).round() as usize;
        values
            .get(place)
            .map_or_else(String::new, |&value| short(value))
    };
    let shares = [
        ("lowest", 0.0),
        ("a quarter", 0.25),
        ("median", 0.5),
        ("three quarters", 0.75),
        ("highest", 1.0),
    ];
    let rows =
        shares.map(|(name, share)| vec![name.to_owned(), at(rates, share), at(&in_ms, share)]);
    let summary = format!("Figures of {} clients", fairness.clients);
    html + &table(&summary, &format!("| answers/s | {name} ms"), rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::queueing::QueueingFigures;
    use crate::figures::results::tests::{outcome, result};

    #[test]
    fn an_open_loop_shows_what_was_offered_beside_what_was_answered() {
        let mut run = result(&outcome());
        assert!(!timeline(&run).contains("offered"));
        run.load.rate_per_s = Some(1500.0);
        run.load.duration_s = Some(3.0);
        let html = timeline(&run);
        let tip = "<title>offered: 1500 per second\nseconds since the start: 3<";
        assert!(html.contains(tip), "{html}");
    }

    #[test]
    fn what_theory_says_stands_in_the_summary() {
        let mut run = result(&outcome());
        assert!(!summary(&run).contains("theory"));
        run.queueing = Some(QueueingFigures {
            model: "M/D/4".to_owned(),
            load_percent: 75.0,
            predicted_mean_us: 12_000.0,
            deviation_percent: 25.0,
        });
        let html = summary(&run);
        let entry = "<dt>queueing theory</dt><dd>M/D/4, 75 % busy: mean 12.0 ms in theory, \
                     15.0 ms here (+25.0 %)</dd>";
        assert!(html.contains(entry), "{html}");
    }

    #[test]
    fn latency_over_time_is_also_by_when_requests_were_due() {
        let mut run = result(&outcome());
        let name = "longest of those due then";
        assert!(timeline(&run).contains(name));
        for slice in &mut run.timeline.slices {
            slice.due_max_us = None;
        }
        assert!(
            !timeline(&run).contains(name),
            "nothing that was due got an answer"
        );
    }

    #[test]
    fn a_curve_says_from_where_on_it_is_a_lower_bound() {
        let mut run = result(&outcome());
        assert!(!percentiles(&run).contains("at least that"));
        for percentile in &mut run.latency.percentiles {
            percentile.is_lower_bound = percentile.percent >= 90.0;
        }
        let html = percentiles(&run);
        assert!(html.contains(">at least that, from here<"), "{html}");
        assert!(html.contains("percentile: 0 %<"), "{html}");
    }
}
