//! The table of a comparison.
//!
//! Knows which figures make a row.
//!
//! Rule: a change is never without its interval.

use super::page::{heading, list, paragraph, table};
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
    let summary = format!("Changes with {} % confidence", result.confidence_percent);
    let head = "figure | base | new | change | interval | comes to";
    html + &table(&summary, head, result.figures.iter().map(row))
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
