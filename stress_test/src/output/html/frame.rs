//! What stands around every picture: its two sizes, axes, and lines across it.
//!
//! Knows places and labels; not what is drawn between them.
//!
//! Rule: each picture is drawn twice, wide and narrow, so that its text keeps its size; the page
//! shows the one that fits. Colours are the page's, so that they follow light and dark.

use std::fmt::Write;

use super::page::escape;
use super::scale::{Scale, short};

/// One axis.
#[derive(Debug)]
pub(crate) struct Axis {
    /// What it shows, with its unit.
    pub(crate) label: String,
    /// Powers of ten are equally far from each other.
    pub(crate) is_log: bool,
    /// Where the labels stand, if not at round numbers.
    pub(crate) ticks: Option<Vec<(f64, String)>>,
    /// A place on it in words, for the tip of a point.
    pub(crate) show: fn(f64) -> String,
}

impl Axis {
    /// From zero or the smallest value on, in equal steps.
    pub(crate) fn linear(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            is_log: false,
            ticks: None,
            show: short,
        }
    }

    /// In powers of ten.
    pub(crate) fn log(label: &str) -> Self {
        Self {
            is_log: true,
            ..Self::linear(label)
        }
    }

    /// The same with `show` for the places in tips.
    pub(crate) fn shown_by(self, show: fn(f64) -> String) -> Self {
        Self { show, ..self }
    }

    /// In powers, with labels of its own.
    pub(crate) fn with_ticks(label: &str, ticks: impl Iterator<Item = (f64, String)>) -> Self {
        Self {
            ticks: Some(ticks.collect()),
            ..Self::log(label)
        }
    }

    /// What stands beside it. Equal steps that are not equal amounts are named as such.
    fn caption(&self) -> String {
        let kind = if self.is_log { " (log scale)" } else { "" };
        format!("{}{kind}", self.label)
    }
}

/// Width and height of a picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    class: &'static str,
    pub(crate) width: f64,
    height: f64,
    /// About so many labels have room beside the horizontal axis.
    pub(crate) ticks: usize,
}

pub(crate) const WIDE: Size = Size {
    class: "wide",
    width: 760.0,
    height: 340.0,
    ticks: 8,
};
pub(crate) const NARROW: Size = Size {
    class: "narrow",
    width: 360.0,
    height: 280.0,
    ticks: 5,
};
pub(crate) const LEFT: f64 = 52.0;
pub(crate) const TOP: f64 = 26.0;
const RIGHT: f64 = 18.0;
const BOTTOM: f64 = 42.0;
/// What a character of a label takes, generously.
const CHARACTER: f64 = 6.8;
/// From one line of text to the next.
const LINE: f64 = 15.0;

impl Size {
    /// The same, so high that `inside` is left between the axes.
    pub(crate) fn with_inside(self, inside: f64) -> Self {
        Self {
            height: TOP + inside + BOTTOM,
            ..self
        }
    }

    /// Where the horizontal axis ends.
    pub(crate) fn right(&self) -> f64 {
        self.width - RIGHT
    }

    /// Where the vertical axis begins.
    pub(crate) fn bottom(&self) -> f64 {
        self.height - BOTTOM
    }
}

/// The picture `title` with its `legend`, in each of `sizes` as `draw` says.
pub(crate) fn figure(
    title: &str,
    legend: &str,
    sizes: [Size; 2],
    draw: impl Fn(&mut String, &Size),
) -> String {
    let title = escape(title);
    let mut html = format!("<figure><figcaption>{title}</figcaption>\n{legend}");
    for size in sizes {
        let (class, width, height) = (size.class, size.width, size.height);
        let _infallible = writeln!(
            html,
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{title}\">"
        );
        draw(&mut html, &size);
        html += "</svg>\n";
    }
    html + "</figure>\n"
}

/// The axes `x` and `y`, each with its scale.
pub(crate) fn draw_axes(svg: &mut String, size: &Size, x: (&Axis, &Scale), y: (&Axis, &Scale)) {
    let right = size.right();
    let ticks = y.0.ticks.clone().unwrap_or_else(|| y.1.ticks(6));
    for (value, label) in ticks {
        let at = y.1.place(value);
        let _infallible = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            escape(&label)
        );
    }
    draw_horizontal(svg, size, x);
    let _infallible = writeln!(
        svg,
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{}H{right}\"/>\
         <text class=\"label\" x=\"4\" y=\"14\">{}</text>",
        size.bottom(),
        escape(&y.0.caption())
    );
}

fn draw_horizontal(svg: &mut String, size: &Size, (axis, scale): (&Axis, &Scale)) {
    let bottom = size.bottom();
    let ticks = axis.ticks.clone();
    let mut free_from = f64::NEG_INFINITY;
    for (value, label) in ticks.unwrap_or_else(|| scale.ticks(size.ticks)) {
        let at = scale.place(value);
        let half = label.chars().count() as f64 * CHARACTER / 2.0;
        let _infallible = write!(svg, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
        // A label that would run into the one before it is left out.
        let middle = at.min(size.width - half);
        if middle - half >= free_from {
            let _infallible = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                escape(&label)
            );
            free_from = middle + half + 4.0;
        }
    }
    let _infallible = writeln!(
        svg,
        "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(LEFT, size.right()),
        size.height - 6.0,
        escape(&axis.caption())
    );
}

/// Lines across a picture, with what they are.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Vertical ones: where, and what they are.
    pub(crate) marks: Vec<(f64, String)>,
    /// Horizontal ones: how high, and what they are.
    pub(crate) levels: Vec<(f64, String)>,
}

impl Lines {
    /// Draws them. Their words are returned: they belong above all that is drawn later.
    pub(crate) fn draw(&self, svg: &mut String, size: &Size, x: &Scale, y: &Scale) -> String {
        let mut words = String::new();
        let mut rows = Rows::default();
        for (place, text) in &self.marks {
            let at = x.place(*place);
            let bottom = size.bottom();
            let _infallible = writeln!(svg, "<path class=\"mark\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
            // Beside the line, on the side that has room, and below the words that are in the way.
            let length = text.chars().count() as f64 * CHARACTER;
            let (anchor, shift, left) = if at > size.width / 2.0 {
                ("end", -5.0, at - 5.0 - length)
            } else {
                ("start", 5.0, at + 5.0)
            };
            let height = TOP + 12.0 + LINE * rows.take(left, left + length) as f64;
            write_words(&mut words, (at + shift, height), anchor, text);
        }
        let free_from = TOP + 12.0 + LINE * rows.count() as f64;
        for (level, text) in &self.levels {
            let (at, right) = (y.place(*level), size.right());
            let _infallible = writeln!(svg, "<path class=\"mark\" d=\"M{LEFT} {at:.1}H{right}\"/>");
            write_words(
                &mut words,
                (LEFT + 5.0, (at - 5.0).max(free_from)),
                "start",
                text,
            );
        }
        words
    }
}

/// Lines of text, so that none is written over another.
#[derive(Default)]
struct Rows {
    /// What is taken: a row, from where, and to where.
    taken: Vec<(usize, f64, f64)>,
}

impl Rows {
    /// The first row that is free between two places, which it is no longer.
    fn take(&mut self, from: f64, to: f64) -> usize {
        let taken = &self.taken;
        let is_free = |row: &usize| {
            let mut in_row = taken.iter().filter(|(other, ..)| other == row);
            in_row.all(|&(_, begin, end)| to <= begin || end <= from)
        };
        let row = (0..).find(is_free).expect("there are rows without end");
        self.taken.push((row, from, to));
        row
    }

    /// How many rows have words.
    fn count(&self) -> usize {
        self.taken
            .iter()
            .map(|(row, ..)| row + 1)
            .max()
            .unwrap_or(0)
    }
}

fn write_words(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _infallible = writeln!(
        svg,
        "<text class=\"halo\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escape(text)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_beside_lines_share_a_row_unless_they_are_in_each_others_way() {
        let mut rows = Rows::default();
        assert_eq!(rows.take(0.0, 50.0), 0);
        assert_eq!(rows.take(40.0, 90.0), 1);
        assert_eq!(rows.take(50.0, 90.0), 0);
        assert_eq!(rows.take(80.0, 95.0), 2);
        assert_eq!(rows.count(), 3);
        let words = |number: u32| (f64::from(number), format!("stage {number}"));
        let lines = Lines {
            marks: (1..5).map(words).collect(),
            levels: vec![(1.0, "level".to_owned())],
        };
        let scale = |places| Scale::new(false, [0.0, 5.0].into_iter(), places);
        let x = scale((LEFT, WIDE.right()));
        let text = lines.draw(&mut String::new(), &WIDE, &x, &scale((WIDE.bottom(), TOP)));
        assert_eq!(text.matches("y=\"38.0\"").count(), 4, "{text}");
    }
}
