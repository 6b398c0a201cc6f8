//! A plot as inline SVG: lines, dots with their spread, and a legend.
//!
//! Knows numbers and labels; not what they mean.
//!
//! Rule: whatever is not like the rest of a line is explained in the legend.

use std::fmt::Write;

use super::frame::{Axis, LEFT, Lines, NARROW, Size, TOP, WIDE, draw_axes, figure};
use super::page::escape;
use super::scale::{Scale, short};

/// One plot.
#[derive(Debug)]
pub(crate) struct Plot {
    title: String,
    x: Axis,
    y: Axis,
    /// In the order of the legend.
    series: Vec<Series>,
    lines: Lines,
    /// What a hollow point means.
    hollow: &'static str,
}

/// One line of a plot.
#[derive(Debug)]
pub(crate) struct Series {
    /// What the legend says.
    name: String,
    look: Look,
    /// From left to right.
    points: Vec<Point>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A line with dots.
    Dots,
    /// A line alone.
    Line,
    /// A thin dashed line without a colour of its own: what would be ideal.
    Ideal,
}

/// One point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Where.
    pub(crate) x: f64,
    /// How much; where that is not a number, the line is broken.
    pub(crate) y: f64,
    /// The smallest and the largest of what `y` is the middle of: a bar where there are dots, and
    /// a band behind a line.
    pub(crate) spread: Option<(f64, f64)>,
    /// Its dot is not filled: it is not quite what the others are.
    pub(crate) is_hollow: bool,
    /// It is at least that high. An arrow above it says so.
    pub(crate) is_lower_bound: bool,
}

impl Point {
    /// A point without spread, filled and known.
    pub(crate) fn new(x: f64, y: f64) -> Self {
        Self {
            x,
            y,
            spread: None,
            is_hollow: false,
            is_lower_bound: false,
        }
    }
}

impl Series {
    /// A line through `points`, called `name`.
    pub(crate) fn new(
        name: impl Into<String>,
        look: Look,
        points: impl IntoIterator<Item = Point>,
    ) -> Self {
        Self {
            name: name.into(),
            look,
            points: points.into_iter().collect(),
        }
    }

    /// Whether it has no points.
    pub(crate) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// How far it goes to the right, or 0.
    pub(crate) fn last_x(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.x)
    }
}

/// A line without dots has tips at about so many places, so that the page stays small.
const TIPS: usize = 100;

impl Plot {
    /// A plot of `series`, without marks.
    pub(crate) fn new(
        title: impl Into<String>,
        x: Axis,
        y: Axis,
        series: impl IntoIterator<Item = Series>,
    ) -> Self {
        Self {
            title: title.into(),
            x,
            y,
            series: series.into_iter().collect(),
            lines: Lines::default(),
            hollow: "",
        }
    }

    /// The same with vertical lines: where, and what they are.
    pub(crate) fn with_marks(mut self, marks: impl IntoIterator<Item = (f64, String)>) -> Self {
        self.lines.marks.extend(marks);
        self
    }

    /// The same with horizontal lines: how high, and what they are.
    pub(crate) fn with_levels(mut self, levels: impl IntoIterator<Item = (f64, String)>) -> Self {
        self.lines.levels.extend(levels);
        self
    }

    /// The same with what its hollow points mean.
    pub(crate) fn with_hollow(mut self, meaning: &'static str) -> Self {
        self.hollow = meaning;
        self
    }

    /// Whether there is anything to draw.
    pub(crate) fn is_empty(&self) -> bool {
        let mut points = self.series.iter().flat_map(|series| &series.points);
        points.all(|point| !point.y.is_finite())
    }

    /// The plot with its legend.
    pub(crate) fn render(&self) -> String {
        figure(&self.title, &self.legend(), [WIDE, NARROW], |svg, size| {
            self.draw(svg, size);
        })
    }

    fn legend(&self) -> String {
        let mut html = "<ul class=\"legend\">".to_owned();
        for (class, series) in self.classes().zip(&self.series) {
            let name = escape(&series.name);
            let _infallible = write!(
                html,
                "<li><svg width=\"26\" height=\"10\" aria-hidden=\"true\"><path class=\"{class}\" \
                 d=\"M1 5H25\"/></svg>{name}</li>"
            );
        }
        html += &self.legend_of_points();
        html + "</ul>\n"
    }

    /// What the points mean that are not like the others.
    fn legend_of_points(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let mut html = String::new();
        if points().any(|point| point.is_hollow) {
            let _infallible = write!(
                html,
                "<li><svg width=\"10\" height=\"10\" aria-hidden=\"true\"><circle \
                 class=\"plain hollow\" cx=\"5\" cy=\"5\" r=\"3.5\"/></svg>{}</li>",
                escape(self.hollow)
            );
        }
        if points().any(|point| point.is_lower_bound) {
            html += "<li><svg width=\"10\" height=\"14\" aria-hidden=\"true\"><path class=\"plain\" \
                     d=\"M5 13V2M2 5L5 2L8 5\"/></svg>at least: some got no answer</li>";
        }
        html
    }

    /// The colour of each series; what is ideal takes none.
    fn classes(&self) -> impl Iterator<Item = String> {
        let mut colour = 0;
        self.series.iter().map(move |series| match series.look {
            Look::Ideal => "ideal".to_owned(),
            Look::Dots | Look::Line => {
                colour += 1;
                format!("line c{}", (colour - 1) % 6)
            }
        })
    }

    fn draw(&self, svg: &mut String, size: &Size) {
        let (x, y) = self.scales(size);
        draw_axes(svg, size, (&self.x, &x), (&self.y, &y));
        let words = self.lines.draw(svg, size, &x, &y);
        for (class, series) in self.classes().zip(&self.series) {
            if series.look == Look::Line {
                draw_band(svg, &class, series, &x, &y);
            }
        }
        for (class, series) in self.classes().zip(&self.series) {
            self.draw_series(svg, &class, series, &x, &y);
        }
        *svg += &words;
    }

    fn scales(&self, size: &Size) -> (Scale, Scale) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let xs = points()
            .map(|point| point.x)
            .chain(self.lines.marks.iter().map(|mark| mark.0));
        let ys = points().flat_map(|point| {
            let (low, high) = point.spread.unwrap_or((point.y, point.y));
            [low, point.y, high]
        });
        // Above a line there is room for its words.
        let room = if self.y.is_log { 1.0 } else { 1.08 };
        let levels = self.lines.levels.iter();
        let ys = ys.chain(levels.flat_map(|(level, _)| [*level, room * level]));
        let x = Scale::new(self.x.is_log, xs, (LEFT, size.right()));
        let y = Scale::new(self.y.is_log, ys, (size.bottom(), TOP));
        // Labels of the ticks belong inside; lines that start at zero show proportions.
        let x = match &self.x.ticks {
            Some(_) => x,
            None => x.rounded(size.ticks),
        };
        let y = if self.y.is_log {
            y.padded()
        } else {
            y.with_zero()
        };
        (x, y.rounded(6))
    }

    fn draw_series(&self, svg: &mut String, class: &str, series: &Series, x: &Scale, y: &Scale) {
        let line = path(series, x, y);
        let _infallible = writeln!(svg, "<path class=\"{class}\" d=\"{line}\"/>");
        let is_dotted = series.look == Look::Dots;
        let nth = if is_dotted {
            1
        } else {
            series.points.len().div_ceil(TIPS).max(1)
        };
        let known = |point: &&Point| point.y.is_finite();
        for point in series.points.iter().step_by(nth).filter(known) {
            let (at, height) = (x.place(point.x), y.place(point.y));
            if is_dotted {
                draw_extent(svg, class, point, at, y);
            }
            let (class, radius) = match (is_dotted, point.is_hollow) {
                (true, false) => (class.replace("line", "dot"), 3.5),
                (true, true) => (class.replace("line", "dot hollow"), 3.5),
                (false, _) => ("tip".to_owned(), 5.0),
            };
            let _infallible = writeln!(
                svg,
                "<circle class=\"{class}\" cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"{radius}\">\
                 <title>{}</title></circle>",
                escape(&self.tip(series, point))
            );
        }
    }

    /// What a point says if one points at it.
    fn tip(&self, series: &Series, point: &Point) -> String {
        let (name, unit, label) = (&series.name, &self.y.label, &self.x.label);
        let at_least = if point.is_lower_bound { ">= " } else { "" };
        let (y, x) = (short(point.y), (self.x.show)(point.x));
        let mut tip = format!("{name}: {at_least}{y} {unit}\n{label}: {x}");
        if let Some((low, high)) = point.spread {
            tip += &format!("\n{} to {} {unit}", short(low), short(high));
        }
        if point.is_hollow {
            tip += &format!("\n{}", self.hollow);
        }
        tip
    }
}

/// The line through the points that are known.
fn path(series: &Series, x: &Scale, y: &Scale) -> String {
    let mut line = String::new();
    let mut is_begun = false;
    for point in &series.points {
        if point.y.is_finite() {
            let (at, height) = (x.place(point.x), y.place(point.y));
            // A line of no length shows a point that stands alone.
            let (letter, dot) = if is_begun { ('L', "") } else { ('M', "l0 0") };
            let _infallible = write!(line, "{letter}{at:.1} {height:.1}{dot}");
        }
        is_begun = point.y.is_finite();
    }
    line
}

/// The spread of a line without dots, as a band behind it.
fn draw_band(svg: &mut String, class: &str, series: &Series, x: &Scale, y: &Scale) {
    let points = series.points.iter();
    let ends = points.filter_map(|point| Some((x.place(point.x), point.spread?)));
    let ends: Vec<(f64, (f64, f64))> = ends.collect();
    if ends.is_empty() {
        return;
    }
    let corner = |at: f64, height: f64| format!("L{at:.1} {:.1}", y.place(height));
    let lows = ends.iter().map(|&(at, (low, _))| corner(at, low));
    let highs = ends.iter().rev().map(|&(at, (_, high))| corner(at, high));
    let path: String = lows.chain(highs).collect();
    let (class, path) = (class.replace("line", "band"), path.replacen('L', "M", 1));
    let _infallible = writeln!(svg, "<path class=\"{class}\" d=\"{path}z\"/>");
}

/// How far `point` may be from where it is drawn: its spread, and an arrow up if it is a lower
/// bound.
fn draw_extent(svg: &mut String, class: &str, point: &Point, at: f64, y: &Scale) {
    let (left, right) = (at - 4.0, at + 4.0);
    if let Some((low, high)) = point.spread {
        let (low, high) = (y.place(low), y.place(high));
        let _infallible = writeln!(
            svg,
            "<path class=\"{class} spread\" d=\"M{at:.1} {low:.1}V{high:.1}M{left:.1} {low:.1}H{right:.1}\
             M{left:.1} {high:.1}H{right:.1}\"/>"
        );
    }
    if point.is_lower_bound {
        let from = y.place(point.y);
        let (top, wings) = (from - 16.0, from - 11.0);
        let _infallible = writeln!(
            svg,
            "<path class=\"{class} spread\" d=\"M{at:.1} {from:.1}V{top:.1}M{left:.1} {wings:.1}\
             L{at:.1} {top:.1}L{right:.1} {wings:.1}\"/>"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        let ideal = [Point::new(1.0, 100.0), Point::new(8.0, 800.0)];
        let measured = Point {
            spread: Some((98.0, 99.5)),
            ..Point::new(1.0, 99.0)
        };
        let series = [
            Series::new("ideal", Look::Ideal, ideal),
            Series::new("measured & more", Look::Dots, [measured]),
        ];
        let (x, y) = (Axis::log("workers"), Axis::linear("answers/s"));
        Plot::new("A < B", x, y, series).with_marks([(4.0, "here".to_owned())])
    }

    #[test]
    fn a_plot_is_drawn_for_wide_and_narrow_pages_with_legend_and_units() {
        let html = plot().render();
        for text in [
            "A &lt; B",
            "measured &amp; more",
            "class=\"wide\"",
            "class=\"narrow\"",
            "answers/s",
            "workers",
            "<circle class=\"dot c0\"",
            "class=\"ideal\"",
            ">here<",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let mut html = String::new();
        plot().draw(&mut html, &NARROW);
        let numbers = html.split("cx=\"").skip(1);
        for number in numbers {
            let at: f64 = number.split('"').next().unwrap_or("").parse().expect("cx");
            assert!((LEFT..=NARROW.right()).contains(&at), "{at}");
        }
    }

    #[test]
    fn an_axis_in_powers_is_named_as_such_and_an_equal_one_is_not() {
        let html = plot().render();
        assert!(html.contains(">workers (log scale)<"), "{html}");
        assert!(html.contains(">answers/s<"), "{html}");
    }

    #[test]
    fn a_point_says_what_it_is() {
        let html = plot().render();
        let tip =
            "<title>measured &amp; more: 99 answers/s\nworkers: 1\n98 to 99.5 answers/s</title>";
        assert!(html.contains(tip), "{html}");
        let long = (0..1000).map(|n| Point::new(f64::from(n), 1.0));
        let line = Series::new("line", Look::Line, long);
        let (x, y) = (
            Axis::linear("s").shown_by(|x| format!("<{x}>")),
            Axis::linear("ms"),
        );
        let mut html = String::new();
        Plot::new("", x, y, [line]).draw(&mut html, &WIDE);
        assert_eq!(html.matches("<title>").count(), TIPS);
        assert!(html.contains("line: 1 ms\ns: &lt;10&gt;<"), "{html}");
    }

    #[test]
    fn hollow_points_and_lower_bounds_are_explained_where_there_are_any() {
        let plot = |point| {
            let series = Series::new("p99", Look::Dots, [Point::new(1.0, 5.0), point]);
            let (x, y) = (Axis::log("requests/s"), Axis::log("ms"));
            let plot = Plot::new("", x, y, [series]).with_hollow("too <weak>");
            plot.with_levels([(50.0, "p99<50ms".to_owned())]).render()
        };
        let html = plot(Point::new(2.0, 9.0));
        for text in ["hollow", "at least", "&gt;= "] {
            assert!(!html.contains(text), "{text} in {html}");
        }
        assert!(html.contains(">p99&lt;50ms<"), "{html}");
        let html = plot(Point {
            is_hollow: true,
            is_lower_bound: true,
            ..Point::new(2.0, 9.0)
        });
        for text in [
            "<circle class=\"dot hollow c0\"",
            "</svg>too &lt;weak&gt;</li>",
            "p99: &gt;= 9 ms\nrequests/s: 2\ntoo &lt;weak&gt;</title>",
            "</svg>at least: some got no answer</li>",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
    }

    #[test]
    fn a_level_above_all_points_lies_inside() {
        let series = Series::new(
            "p99",
            Look::Dots,
            [Point::new(1.0, 5.0), Point::new(2.0, 6.0)],
        );
        let plot = Plot::new("", Axis::log("x"), Axis::log("ms"), [series]);
        let (_, y) = plot.with_levels([(50.0, "level".to_owned())]).scales(&WIDE);
        assert!(y.place(50.0) > TOP, "{y:?}");
    }
}
