//! What stands before the parts of a page of several files: contents, and what can be compared.
//!
//! Knows one line of each kind of result; the parts know the rest.
//!
//! Rule: a page of one file has none.

use super::frame::Axis;
use super::limit::LIMITED;
use super::page::{contents, heading, paragraph};
use super::plot::Plot;
use super::{ramps, runs, sweeps};
use crate::figures::results::Verdict;
use crate::figures::saved::Saved;
use crate::figures::sweep::Spread;

/// The contents of a page of `files`, each with its name.
pub(crate) fn overview(files: &[(String, Saved)]) -> String {
    let lines: Vec<Line> = files.iter().map(|(_, saved)| line(saved)).collect();
    let mut html = heading("Contents") + &paragraph(&summary(&lines));
    let rows = files.iter().zip(lines).map(|((name, _), line)| {
        let Line {
            kind,
            verdict,
            mix,
            result,
        } = line;
        vec![name.clone(), verdict, result, kind.to_owned(), mix]
    });
    html += &contents("file | verdict | result | kind | mix", rows);
    for plot in [curves(files), ramps_together(files)] {
        if !plot.is_empty() {
            html += &plot.render();
        }
    }
    html
}

/// What one file comes to.
struct Line {
    kind: &'static str,
    verdict: String,
    mix: String,
    result: String,
}

fn line(saved: &Saved) -> Line {
    let line = |kind, verdict: &dyn ToString, mix: &str, result| Line {
        kind,
        verdict: verdict.to_string(),
        mix: mix.to_owned(),
        result,
    };
    match saved {
        Saved::Run(run) => {
            let time = |percent| runs::ms(run.latency.us(percent));
            let (p50, p99, longest) = (time(50.0), time(99.0), runs::ms(run.latency.max_us));
            let rate = run.throughput_per_s;
            let theory = run.queueing.as_ref().map_or_else(String::new, |theory| {
                let (model, deviation) = (&theory.model, theory.deviation_percent);
                format!("; mean {deviation:+.1} % from {model} in theory")
            });
            let result = format!(
                "{rate:.0} answers/s, p50 {p50}, p99 {p99}, longest {longest} (ms){theory}"
            );
            line("run", &run.verdict, &run.load.mix, result)
        }
        Saved::Rounds(rounds) => {
            let rates = rounds.rounds.iter().map(|round| round.throughput_per_s);
            let rate = Spread::of(rates).map_or(0.0, |rates| rates.median);
            let result = format!("{rate:.0} answers/s in the median round");
            let mix = rounds.rounds.first().map_or("", |round| &round.load.mix);
            line("rounds", &rounds.verdict, mix, result)
        }
        Saved::Sweep(sweep) => {
            let mut mixes: Vec<&str> = sweep.cells.iter().map(|cell| cell.mix.as_str()).collect();
            mixes.sort_unstable();
            mixes.dedup();
            let result = sweeps::findings(sweep).join("\n");
            line("sweep", &sweep.verdict, &mixes.join(" "), result)
        }
        Saved::Ramp(ramp) => {
            let slo = ramp.slo.join(", ");
            let mut result = match ramp.highest_rate_per_s {
                Some(rate) => format!("{rate:.0} requests/s hold {slo}"),
                None => format!("no rate holds {slo}"),
            };
            if let Some(theory) = ramps::deviation(ramp) {
                let (min, max) = (theory.min, theory.max);
                result += &format!("; mean {min:+.1} to {max:+.1} % from theory");
            }
            line("ramp", &ramp.verdict, &ramp.load.mix, result)
        }
        Saved::Comparison(result) => {
            let sides = format!("{} and {}", result.base.target, result.new.target);
            let mix = &result.base.load.mix;
            line("comparison", &result.verdict, mix, sides)
        }
    }
}

/// How many files there are, and how many have passed.
fn summary(lines: &[Line]) -> String {
    let pass = Verdict::Pass.to_string();
    let judged = || lines.iter().filter(|line| line.kind != "comparison");
    let passed = judged().filter(|line| line.verdict == pass).count();
    let (count, of) = (lines.len(), judged().count());
    if of == 0 {
        return format!("{count} files.");
    }
    format!("{count} files. {passed} of {of} measurements have the verdict {pass}.")
}

/// The latencies of all runs on one axis, if there are several.
fn curves(files: &[(String, Saved)]) -> Plot {
    let curves = files.iter().filter_map(|(name, saved)| match saved {
        Saved::Run(run) => Some(runs::curve(name, &run.latency)),
        _ => None,
    });
    let curves: Vec<_> = several(curves.collect());
    let x = runs::percentile_axis(&curves);
    Plot::new(
        "All runs: percentiles of latency",
        x,
        Axis::log("ms"),
        curves,
    )
}

/// The p99 of all ramps on one axis, if there are several.
fn ramps_together(files: &[(String, Saved)]) -> Plot {
    let series = files.iter().filter_map(|(name, saved)| match saved {
        Saved::Ramp(ramp) => Some(ramps::percentile(ramp, 99.0, name)),
        _ => None,
    });
    let (x, y) = (Axis::log("offered requests/s"), Axis::log("ms"));
    let title = "All ramps: p99 against offered load";
    Plot::new(title, x, y, several(series.collect())).with_hollow(LIMITED)
}

/// `all`, or nothing if there is nothing to compare one with.
fn several<T>(all: Vec<T>) -> Vec<T> {
    if all.len() > 1 { all } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::results::tests::{outcome, result};

    fn run(name: &str) -> (String, Saved) {
        let run = result(&outcome());
        (name.to_owned(), Saved::Run(Box::new(run)))
    }

    fn ramp(name: &str) -> (String, Saved) {
        let ramp = ramps::tests::ramp();
        (name.to_owned(), Saved::Ramp(Box::new(ramp)))
    }

    #[test]
    fn each_file_has_a_line_that_leads_to_its_part() {
        let mut files = [run("<one>"), ramp("two")];
        if let Saved::Run(run) = &mut files[0].1 {
            run.verdict = Verdict::Fail;
        }
        let html = overview(&files);
        for text in [
            "2 files. 1 of 2 measurements have the verdict PASS.",
            "<a href=\"#file-1\">&lt;one&gt;</a></td><td>FAIL</td><td class=\"prose\">1000 answers/s, p50 15, p99 29.7, longest 30 (ms)</td>",
            "<a href=\"#file-2\">two</a></td><td>PASS</td><td>1000 requests/s hold p99&lt;50ms, busy&lt;1%</td>",
            "<td>run</td><td>echo</td>",
            "<td>ramp</td><td>echo</td>",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
        assert!(!html.contains("<figure>"), "one of each: {html}");
    }

    #[test]
    fn results_of_one_kind_share_an_axis() {
        let html = overview(&[run("one"), ramp("a"), run("two"), ramp("b")]);
        for text in [
            "All runs: percentiles of latency",
            "</svg>one</li>",
            "</svg>two</li>",
            "All ramps: p99 against offered load",
            "</svg>a</li>",
            "</svg>b</li>",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
    }
}
