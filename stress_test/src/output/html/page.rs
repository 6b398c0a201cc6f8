//! The page around the plots: one file that needs no script, no network and no other file.
//!
//! Knows HTML and colours; not what is shown.
//!
//! Rule: every text that comes from outside is escaped.

use crate::figures::results::Verdict;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--paper:#fff;--grid:#e4e7eb;--edge:#8c959f;\
--band:#f6f8fa;--c0:#0072b2;--c1:#d55e00;--c2:#007f5f;--c3:#a64d79;--c4:#8a6d00;--c5:#5b4fc7}\n\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--paper:#0d1117;--grid:#262c36;\
--edge:#6e7681;--band:#161b22;--c0:#58a6ff;--c1:#ff9a57;--c2:#3fd0a4;--c3:#f08cc0;--c4:#e3c04d;--c5:#b3a6ff}}\n\
*{box-sizing:border-box}\n\
body{margin:0 auto;padding:1rem;max-width:960px;background:var(--paper);color:var(--ink);\
font:15px/1.5 system-ui,sans-serif}\n\
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .4rem;\
border-bottom:1px solid var(--grid);padding-bottom:.2rem}p{margin:.5rem 0}\n\
figure{margin:1.4rem 0 .4rem}figcaption{font-weight:600}\n\
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:.3rem 0;padding:0;\
font-size:13px;color:var(--soft)}.legend li{display:flex;align-items:center;gap:.35rem}\n\
svg.wide,svg.narrow{display:block;width:100%;height:auto}svg.narrow{display:none}\n\
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}svg text.label{fill:var(--ink)}\n\
svg text.halo{fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:4px}\n\
svg path{fill:none}.grid{stroke:var(--grid)}.axis{stroke:var(--edge)}\n\
.line{stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.ideal{stroke:var(--edge);stroke-width:1.5;\
stroke-dasharray:6 4}.mark{stroke:var(--ink);stroke-dasharray:2 3}\n\
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}\
.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}\n\
.line.c1{stroke-dasharray:9 3}.line.c2{stroke-dasharray:3 3}.line.c4{stroke-dasharray:9 3 2 3}.line.spread{stroke-dasharray:none}\n\
.plain{stroke:var(--soft);stroke-width:2}circle{stroke-width:2}\
.tip,.column{fill:transparent;stroke:none}.tip:hover{fill:var(--edge)}.column:hover{stroke:var(--ink)}\n\
.heat{fill:var(--c0);stroke:none;shape-rendering:crispEdges}.h0{fill-opacity:.24}.h1{fill-opacity:.4}\
.h2{fill-opacity:.55}.h3{fill-opacity:.7}.h4{fill-opacity:.85}\n\
.dot.c0{fill:var(--c0)}.dot.c1{fill:var(--c1)}.dot.c2{fill:var(--c2)}.dot.c3{fill:var(--c3)}\
.dot.c4{fill:var(--c4)}.dot.c5{fill:var(--c5)}.dot.hollow,circle.plain{fill:var(--paper)}\n\
.band{fill-opacity:.16;stroke:none}.band.c0{fill:var(--c0)}.band.c1{fill:var(--c1)}.band.c2{fill:var(--c2)}\
.band.c3{fill:var(--c3)}.band.c4{fill:var(--c4)}.band.c5{fill:var(--c5)}\n\
.ignored{fill:var(--grid)}.interval{stroke-width:2.5}.better{stroke:var(--c2)}.worse{stroke:var(--c1)}.same{stroke:var(--soft)}\
circle.better{fill:var(--c2)}circle.worse{fill:var(--c1)}circle.same{fill:var(--soft)}\n\
details{margin:.2rem 0 1.2rem}summary{cursor:pointer;color:var(--soft);font-size:13px}\n\
.scroll{overflow:auto;max-height:26rem;border:1px solid var(--grid);border-radius:4px;margin-top:.3rem}\n\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;width:100%}\n\
th,td{padding:.2rem .5rem;text-align:right;white-space:nowrap}\
th{position:sticky;top:0;background:var(--band);font-weight:600}\
td:first-child,th:first-child,td.prose{text-align:left}td.prose{white-space:pre-line;min-width:16rem}tr:nth-child(even) td{background:var(--band)}\n\
nav td,nav th{text-align:left}a{color:var(--c0)}\n\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.6rem 0}\
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\n\
.verdict{display:inline-block;padding:.1rem .6rem;border-radius:4px;border:1px solid currentColor;\
font-weight:600}.good{color:var(--c2)}.bad{color:var(--c1)}\n\
@media(max-width:600px){body{padding:.7rem}svg.wide{display:none}svg.narrow{display:block}\
dl{grid-template-columns:1fr}dd{margin-bottom:.3rem}}";

/// More rows than this are folded away until they are asked for.
const OPEN_ROWS: usize = 40;
/// A cell with more characters is no figure.
const LONGEST_FIGURE: usize = 40;

/// The page `title` with `body`.
pub(crate) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// A table; `|` stands between the cells of its head.
pub(crate) fn table(
    summary: &str,
    head: &str,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let open = if rows.len() <= OPEN_ROWS { " open" } else { "" };
    let mut html = format!(
        "<details{open}><summary>{}</summary><div class=\"scroll\"><table>\n<thead><tr>",
        escape(summary)
    );
    let cells = head.split('|').map(|cell| escape(cell.trim()));
    html.extend(cells.map(|cell| format!("<th>{cell}</th>")));
    html += "</tr></thead>\n<tbody>\n";
    for row in rows {
        html += "<tr>";
        html.extend(row.iter().map(|cell| data(cell)));
        html += "</tr>\n";
    }
    html + "</tbody>\n</table></div></details>\n"
}

/// A table of the parts of the page: the first cell of each row leads to its part.
pub(crate) fn contents(head: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut html = "<nav class=\"scroll\"><table>\n<thead><tr>".to_owned();
    let cells = head.split('|').map(|cell| escape(cell.trim()));
    html.extend(cells.map(|cell| format!("<th>{cell}</th>")));
    html += "</tr></thead>\n<tbody>\n";
    for (place, row) in (1..).zip(rows) {
        let (name, others) = row.split_first().expect("a part has a name");
        let name = escape(name);
        html += &format!("<tr><td><a href=\"#{}\">{name}</a></td>", id(place));
        html.extend(others.iter().map(|cell| data(cell)));
        html += "</tr>\n";
    }
    html + "</tbody>\n</table></nav>\n"
}

/// The part of the page at `place`, counted from 1.
pub(crate) fn part(place: usize, html: &str) -> String {
    format!("<section id=\"{}\">\n{html}</section>\n", id(place))
}

fn id(place: usize) -> String {
    format!("file-{place}")
}

/// A cell of a table. What is too long for a column of figures is set as prose.
fn data(cell: &str) -> String {
    let is_prose = cell.chars().count() > LONGEST_FIGURE;
    let class = if is_prose { " class=\"prose\"" } else { "" };
    format!("<td{class}>{}</td>", escape(cell))
}

/// Names and what they stand for.
pub(crate) fn list(entries: &[(&str, String)]) -> String {
    let mut html = "<dl>\n".to_owned();
    for (name, text) in entries {
        html += &format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(text));
    }
    html + "</dl>\n"
}

/// The verdict, in its colour.
pub(crate) fn verdict(verdict: Verdict) -> String {
    let is_good = verdict == Verdict::Pass;
    let class = if is_good { "good" } else { "bad" };
    format!("<p class=\"verdict {class}\">{verdict}</p>\n")
}

/// A heading.
pub(crate) fn heading(text: &str) -> String {
    format!("<h2>{}</h2>\n", escape(text))
}

/// A paragraph.
pub(crate) fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

/// `text` as it can stand in HTML, in attributes too.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_else() {
        let page = page("a <b>", "");
        assert!(page.contains("<title>a &lt;b&gt;</title>"));
        for text in ["<script", "http", "url(", "src=", "<link"] {
            assert!(!page.contains(text), "{text}");
        }
        assert!(page.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn cells_are_escaped_and_long_tables_folded() {
        let row = vec!["<x>".to_owned()];
        let short = table("figures", "a", [row.clone()]);
        assert!(short.contains("&lt;x&gt;") && short.contains("<details open>"));
        assert!(!short.contains("prose"));
        let remark = table("figures", "a", [vec!["a long remark ".repeat(5)]]);
        assert!(remark.contains("<td class=\"prose\">a long"), "{remark}");
        let long = table("figures", "a", vec![row; 41]);
        assert!(long.contains("<details><summary>"));
    }
}
