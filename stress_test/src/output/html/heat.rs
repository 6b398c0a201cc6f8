//! The heat map of a run: when requests were due, how long they took, and how many there were.
//!
//! Knows slices and buckets; not what was asked.
//!
//! Rule: every answer of the timeline is in exactly one cell.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::frame::{Axis, LEFT, Lines, NARROW, Size, TOP, WIDE, draw_axes, figure};
use super::page::escape;
use super::scale::{Scale, short};
use crate::figures::heat::{begin_us, bucket};
use crate::figures::results::TimelineFigures;

/// More columns than this are no longer told apart.
const MOST_COLUMNS: usize = 120;
/// As many shades of a colour are.
const SHADES: usize = 6;

/// What was due in one stretch of time: a bucket and how many are in it.
type Column = BTreeMap<usize, u64>;

/// A heat map.
struct HeatMap {
    /// How long a column is, in seconds.
    seconds: f64,
    columns: Vec<Column>,
    /// The smallest count of each shade, rising, 1 first.
    shades: Vec<u64>,
    x: Axis,
    y: Axis,
    lines: Lines,
}

/// The heat map of `timeline` with vertical lines where `marks` says; nothing if nothing was
/// answered.
pub(crate) fn heat_map(timeline: &TimelineFigures, marks: Vec<(f64, String)>) -> Option<String> {
    let (columns, slices) = columns(timeline);
    let most = columns.iter().flat_map(Column::values).max()?;
    let map = HeatMap {
        seconds: slices as f64 * timeline.slice_ms as f64 / 1000.0,
        shades: shades(*most),
        columns,
        x: Axis::linear("seconds since the start, when due"),
        y: Axis::log("ms"),
        lines: Lines {
            marks,
            levels: Vec::new(),
        },
    };
    let title = "Heat map of latency, by when requests were due";
    Some(figure(title, &map.legend(), [WIDE, NARROW], |svg, size| {
        map.draw(svg, size);
    }))
}

/// The columns, and of how many slices each is.
fn columns(timeline: &TimelineFigures) -> (Vec<Column>, usize) {
    let slices = &timeline.slices;
    // Answers still come when nothing is due any more.
    let last = slices
        .iter()
        .rposition(|slice| !slice.due_buckets.is_empty());
    let slices = &slices[..last.map_or(0, |last| last + 1)];
    let each = slices.len().div_ceil(MOST_COLUMNS).max(1);
    let columns = slices.chunks(each).map(|slices| {
        let mut column = Column::new();
        for &(us, count) in slices.iter().flat_map(|slice| &slice.due_buckets) {
            let sum: &mut u64 = column.entry(bucket(us)).or_default();
            *sum = sum.saturating_add(count);
        }
        column.retain(|_, count| *count > 0);
        column
    });
    (columns.collect(), each)
}

/// The smallest count of each shade, so that `most` has the last one: equal ratios, as counts
/// differ by powers.
fn shades(most: u64) -> Vec<u64> {
    // A whole number stays what it is, in spite of rounding.
    let whole = |value: f64| (value * (1.0 - 1e-9)).ceil() as u64;
    let step = |place: usize| whole((most as f64).powf(place as f64 / SHADES as f64));
    let mut shades: Vec<u64> = (0..SHADES).map(step).collect();
    shades.dedup();
    shades
}

impl HeatMap {
    fn shade(&self, count: u64) -> usize {
        let reached = self.shades.iter().filter(|least| **least <= count).count();
        // With few shades the darkest are used.
        reached + SHADES - self.shades.len() - 1
    }

    fn legend(&self) -> String {
        let mut html = "<ul class=\"legend\"><li>requests in a cell:</li>".to_owned();
        for (place, least) in self.shades.iter().enumerate() {
            let text = match self.shades.get(place + 1) {
                Some(next) if next - 1 > *least => {
                    format!("{} to {}", whole(*least), whole(next - 1))
                }
                Some(_) => whole(*least),
                None => format!("{} and more", whole(*least)),
            };
            let shade = self.shade(*least);
            let _infallible = write!(
                html,
                "<li><svg width=\"14\" height=\"12\" aria-hidden=\"true\"><path class=\"heat \
                 h{shade}\" d=\"M0 0H14V12H0z\"/></svg>{text}</li>"
            );
        }
        html + "</ul>\n"
    }

    fn draw(&self, svg: &mut String, size: &Size) {
        let end = self.seconds * self.columns.len() as f64;
        let x = Scale::new(false, [0.0, end].into_iter(), (LEFT, size.right()));
        let buckets = || self.columns.iter().flat_map(Column::keys);
        let edges = buckets().flat_map(|bucket| [edge_ms(*bucket), edge_ms(bucket + 1)]);
        let y = Scale::new(true, edges, (size.bottom(), TOP)).padded();
        draw_axes(svg, size, (&self.x, &x), (&self.y, &y));
        for (shade, cells) in self.cells(&x, &y) {
            let _infallible = writeln!(svg, "<path class=\"heat h{shade}\" d=\"{cells}\"/>");
        }
        let words = self.lines.draw(svg, size, &x, &y);
        *svg += &words;
        for (place, column) in self.columns.iter().enumerate() {
            let (from, to) = self.ends(place);
            let (left, width) = (x.place(from), x.place(to) - x.place(from));
            let _infallible = writeln!(
                svg,
                "<rect class=\"column\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                 height=\"{:.1}\"><title>{}</title></rect>",
                size.bottom() - TOP,
                escape(&tip(from, to, column))
            );
        }
    }

    /// From when to when requests of the column at `place` were due, in seconds.
    fn ends(&self, place: usize) -> (f64, f64) {
        let from = place as f64 * self.seconds;
        (from, from + self.seconds)
    }

    /// The cells of each shade, as one path.
    fn cells(&self, x: &Scale, y: &Scale) -> BTreeMap<usize, String> {
        let mut paths: BTreeMap<usize, String> = BTreeMap::new();
        for (place, column) in self.columns.iter().enumerate() {
            let (from, to) = self.ends(place);
            let (left, right) = (x.place(from), x.place(to));
            for (&bucket, &count) in column {
                let (bottom, top) = (y.place(edge_ms(bucket)), y.place(edge_ms(bucket + 1)));
                let path = paths.entry(self.shade(count)).or_default();
                let _infallible = write!(
                    path,
                    "M{left:.1} {bottom:.1}H{right:.1}V{top:.1}H{left:.1}z"
                );
            }
        }
        paths
    }
}

/// The milliseconds that a bucket begins at; below a microsecond half of one, as an axis in powers
/// has no zero.
fn edge_ms(bucket: usize) -> f64 {
    begin_us(bucket).max(0.5) / 1000.0
}

/// What a column says if one points at it: all that is in it, the longest first.
fn tip(from: f64, to: f64, column: &Column) -> String {
    let sum: u64 = column
        .values()
        .fold(0, |sum, count| sum.saturating_add(*count));
    let mut text = format!(
        "due from {} to {} s: {} answered",
        short(from),
        short(to),
        whole(sum)
    );
    for (&bucket, &count) in column.iter().rev() {
        let (low, high) = (begin_us(bucket) / 1000.0, begin_us(bucket + 1) / 1000.0);
        let _infallible = write!(
            text,
            "\n{} to {} ms: {}",
            short(low),
            short(high),
            whole(count)
        );
    }
    text
}

/// A count for people.
fn whole(count: u64) -> String {
    if count < 10_000 {
        count.to_string()
    } else {
        short(count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::results::tests::{outcome, result};

    #[test]
    fn the_cells_hold_every_answer_however_many_slices_become_a_column() {
        let mut timeline = result(&outcome()).timeline;
        let sum = |columns: &[Column]| columns.iter().flat_map(Column::values).sum::<u64>();
        let (of_each, each) = columns(&timeline);
        assert_eq!((sum(&of_each), of_each.len(), each), (3000, 30, 1));
        while timeline.slices.len() < 240 {
            timeline.slices.extend_from_within(..1);
        }
        let added: u64 = (31..240).map(|_| sum(&of_each[..1])).sum();
        let (merged, each) = columns(&timeline);
        assert_eq!((sum(&merged), merged.len(), each), (3000 + added, 120, 2));
    }

    #[test]
    fn shades_rise_by_equal_ratios_and_few_counts_have_few() {
        assert_eq!(shades(1_000_000), [1, 10, 100, 1000, 10_000, 100_000]);
        assert_eq!(shades(1), [1]);
        assert_eq!(shades(3), [1, 2, 3]);
    }

    #[test]
    fn a_column_says_what_is_in_it_and_the_legend_what_the_shades_are() {
        let mut timeline = result(&outcome()).timeline;
        timeline.slices.truncate(1);
        timeline.slices[0].due_buckets = vec![(1024, 1), (20_480, 64)];
        let marks = vec![(0.05, "from <here>".to_owned())];
        let html = heat_map(&timeline, marks).expect("there are answers");
        for text in [
            "<title>due from 0 to 0.1 s: 65 answered\n20.5 to 24.6 ms: 64\n1.02 to 1.28 ms: 1<",
            "requests in a cell:",
            "</svg>1</li>",
            "</svg>32 and more</li>",
            "class=\"heat h0\"",
            "class=\"heat h5\"",
            ">ms (log scale)<",
            ">from &lt;here&gt;<",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
        timeline.slices[0].due_buckets = vec![(1024, 1)];
        let html = heat_map(&timeline, Vec::new()).expect("there is an answer");
        assert!(html.contains("class=\"heat h5\"") && !html.contains("class=\"heat h0\""));
        timeline.slices[0].due_buckets.clear();
        assert!(
            heat_map(&timeline, Vec::new()).is_none(),
            "nothing was answered"
        );
    }
}
