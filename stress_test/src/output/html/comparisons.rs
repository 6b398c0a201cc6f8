//! The pictures of a comparison: the latencies of both sides, and the changes.
//!
//! Knows which figures make which picture.
//!
//! Rule: a change is never without its interval.

use super::forest::{self, Change, Kind};
use super::frame::Axis;
use super::page::{heading, list, paragraph, table};
use super::plot::{Look, Plot, Point, Series};
use super::runs::{percentile_axis, percentile_place};
use crate::figures::comparison::{ComparisonResult, Difference, FigureChange, SideFigures};
use crate::output::comparison::{in_words, order_in_words, range, shown, signed};

/// The part of the page that shows `result`.
pub(crate) fn section(name: &str, result: &ComparisonResult) -> String {
    let class = match result.verdict {
        Difference::Same | Difference::Faster => "good",
        _ => "bad",
    };
    let mut html = heading(&format!("Comparison: {name}"));
    html += &format!("<p class=\"verdict {class}\">{}</p>\n", result.verdict);
    html += &list(&[
        ("base", side(&result.base)),
        ("new", side(&result.new)),
        ("rounds", order_in_words(result).to_owned()),
    ]);
    for difference in &result.differs {
        html += &paragraph(&format!("The sides differ: {difference}."));
    }
    if let Some(why) = &result.limited {
        html += &paragraph(&format!("The generator was the limit: {why}."));
    }
    let curves = curves(result);
    if !curves.is_empty() {
        html += &curves.render();
    }
    html += &changes(result);
    let summary = format!("Changes with {} % confidence", result.confidence_percent);
    let head = "figure | base | new | change | interval | comes to";
    html + &table(&summary, head, result.figures.iter().map(row))
}

/// The percentiles of both sides.
fn curves(result: &ComparisonResult) -> Plot {
    let curve = |name: &str, side: &SideFigures| {
        let points = side.curve.iter().map(|point| {
            let in_ms = |us: f64| us / 1000.0;
            Point {
                spread: Some((in_ms(point.us.min), in_ms(point.us.max))),
                ..Point::new(percentile_place(point.percent), in_ms(point.us.typical))
            }
        });
        Series::new(format!("{name}: the typical round"), Look::Line, points)
    };
    let curves = [curve("base", &result.base), curve("new", &result.new)];
    let (title, x) = (
        "Percentiles of latency; shaded: from the smallest round to the largest",
        percentile_axis(&curves),
    );
    Plot::new(title, x, Axis::log("ms"), curves)
}

/// Every change with its interval, as a picture; nothing if nothing could be compared.
fn changes(result: &ComparisonResult) -> String {
    let changes = result.figures.iter().filter_map(|figure| {
        let known = figure.change?;
        Some(Change {
            name: figure.name.clone(),
            percent: known.percent,
            low: known.low_percent,
            high: known.high_percent,
            words: format!("{}, {}", signed(known.percent), in_words(figure)),
            tip: format!(
                "{}: {}\n{}",
                figure.name,
                signed(known.percent),
                range(known)
            ),
            kind: match figure.verdict {
                Difference::Faster => Kind::Better,
                Difference::Slower => Kind::Worse,
                _ => Kind::Same,
            },
        })
    });
    let changes: Vec<Change> = changes.collect();
    let title = format!(
        "Change from base to new, with {} % confidence",
        result.confidence_percent
    );
    forest::forest(&title, &changes, result.ignored_percent)
}

fn side(side: &SideFigures) -> String {
    let files = side.files.join(", ");
    let load = side.load.amount_in_words();
    format!(
        "{} rounds of {}, {load} ({files})",
        side.rounds, side.target
    )
}

fn row(figure: &FigureChange) -> Vec<String> {
    let change = |show: fn(_) -> String| figure.change.map_or_else(|| "n/a".to_owned(), show);
    vec![
        figure.name.clone(),
        shown(figure, figure.base),
        shown(figure, figure.new),
        change(|change| signed(change.percent)),
        change(range),
        in_words(figure).to_owned(),
    ]
}
