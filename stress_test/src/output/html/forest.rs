//! Changes with their intervals, one below the other, on one axis.
//!
//! Knows percents and words; not what has changed.
//!
//! Rule: no change and what is ignored are drawn too, as an interval means something beside these.

use std::fmt::Write;

use super::frame::{Axis, LEFT, NARROW, Size, TOP, WIDE, draw_axes, figure};
use super::page::escape;
use super::scale::Scale;

/// How high a row is.
const ROW: f64 = 44.0;
/// Half of what the words of a change take, generously.
const HALF_WORDS: f64 = 80.0;

/// A change in percent.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Of what.
    pub(crate) name: String,
    /// The best guess.
    pub(crate) percent: f64,
    /// The lower end of the interval.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
    /// What stands above it.
    pub(crate) words: String,
    /// What it says if one points at it.
    pub(crate) tip: String,
    /// What it comes to.
    pub(crate) kind: Kind,
}

/// What a change comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A gain.
    Better,
    /// A loss.
    Worse,
    /// Neither.
    Same,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
        }
    }
}

/// The picture `title` of `changes`, where up to `ignored` percent are none; nothing without any.
pub(crate) fn forest(title: &str, changes: &[Change], ignored: f64) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let inside = ROW * changes.len() as f64;
    let sizes = [WIDE, NARROW].map(|size| size.with_inside(inside));
    let legend = format!(
        "<ul class=\"legend\"><li><svg width=\"14\" height=\"12\" aria-hidden=\"true\"><path \
         class=\"ignored\" d=\"M0 0H14V12H0z\"/></svg>ignored: up to {ignored} %</li></ul>\n"
    );
    figure(title, &legend, sizes, |svg, size| {
        draw(svg, size, changes, ignored);
    })
}

fn draw(svg: &mut String, size: &Size, changes: &[Change], ignored: f64) {
    let ends = changes.iter().flat_map(|change| [change.low, change.high]);
    // Both sides of nothing are seen, and intervals do not lie on the edge.
    let ends = ends
        .map(|end| 1.1 * end)
        .chain([-2.0 * ignored, 2.0 * ignored, 0.0]);
    let x = Scale::new(false, ends, (LEFT, size.right())).rounded(size.ticks);
    let rows = changes.len() as f64;
    let y = Scale::new(false, [0.0, rows].into_iter(), (TOP, size.bottom()));
    let (from, to) = (x.place(-ignored), x.place(ignored));
    let (top, bottom) = (TOP, size.bottom());
    let _infallible = writeln!(
        svg,
        "<path class=\"ignored\" d=\"M{from:.1} {top:.1}H{to:.1}V{bottom:.1}H{from:.1}z\"/>"
    );
    let names = changes.iter().enumerate();
    let names = names.map(|(row, change)| (row as f64 + 0.65, change.name.clone()));
    let y_axis = Axis {
        ticks: Some(names.collect()),
        ..Axis::linear("")
    };
    draw_axes(svg, size, (&Axis::linear("change in %"), &x), (&y_axis, &y));
    let none = x.place(0.0);
    let _infallible = writeln!(
        svg,
        "<path class=\"axis\" d=\"M{none:.1} {top}V{bottom}\"/>"
    );
    for (row, change) in changes.iter().enumerate() {
        draw_change(svg, size, change, &x, y.place(row as f64 + 0.65));
    }
}

fn draw_change(svg: &mut String, size: &Size, change: &Change, x: &Scale, height: f64) {
    let class = change.kind.class();
    let (low, at, high) = (
        x.place(change.low),
        x.place(change.percent),
        x.place(change.high),
    );
    let (above, below) = (height - 5.0, height + 5.0);
    let middle = at.clamp(LEFT + HALF_WORDS, size.right() - HALF_WORDS);
    let _infallible = writeln!(
        svg,
        "<path class=\"interval {class}\" d=\"M{low:.1} {height:.1}H{high:.1}M{low:.1} {above:.1}\
         V{below:.1}M{high:.1} {above:.1}V{below:.1}\"/>\
         <circle class=\"{class}\" cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"4.5\"><title>{}</title>\
         </circle><text class=\"halo\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        escape(&change.tip),
        height - 11.0,
        escape(&change.words)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_drawn_beside_none_and_what_is_ignored_in_the_colour_of_what_it_comes_to() {
        let change = |percent: f64, kind| Change {
            name: "p99".to_owned(),
            percent,
            low: percent - 1.0,
            high: percent + 1.0,
            words: format!("{percent} <words>"),
            tip: "tip".to_owned(),
            kind,
        };
        let changes = [
            change(5.0, Kind::Worse),
            change(-5.0, Kind::Better),
            change(0.0, Kind::Same),
            change(1e308, Kind::Worse),
        ];
        let html = forest("A < B", &changes[..3], 1.0);
        // From -8 to 8: 5 is at 397 + 690 * 5 / 16.
        for text in [
            "A &lt; B",
            "<circle class=\"worse\" cx=\"612.6\"",
            "<circle class=\"better\" cx=\"181.4\"",
            "<circle class=\"same\" cx=\"397.0\"",
            "<path class=\"ignored\" d=\"M353.9 26.0H440.1V158.0H353.9z\"/>",
            "5 &lt;words&gt;",
            "ignored: up to 1 %",
            "<title>tip</title>",
            "text-anchor=\"end\">p99<",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
        let html = forest("", &changes, 1.0);
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        assert!(forest("", &[], 1.0).is_empty());
    }
}
