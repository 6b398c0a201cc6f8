//! The stages of a run: what was offered over time, where each begins, and its figures.
//!
//! Knows which of them stand in a plot or a table; draws nothing itself.
//!
//! Rule: a run of one rate has none.

use super::page::table;
use super::plot::{Look, Point, Series};
use super::scale::{known_ms, short};
use crate::figures::results::RunResult;

/// With more stages than this, their marks are numbers alone.
const NAMED: usize = 4;

/// The rate that was asked for, of an open loop that lasted until `end_s` at least.
pub(crate) fn offered(run: &RunResult, end_s: f64) -> Option<Series> {
    let steady = [(
        0.0,
        run.load.duration_s.unwrap_or(end_s),
        run.load.rate_per_s?,
    )];
    let stages = run.stages.iter();
    let mut stages: Vec<_> = stages
        .map(|stage| (stage.begin_s, stage.end_s, stage.offered_per_s))
        .collect();
    if stages.is_empty() {
        stages.extend(steady);
    }
    let ends = stages
        .into_iter()
        .flat_map(|(begin, end, rate)| [(begin, rate), (end, rate)]);
    let points = ends.map(|(second, rate)| Point::new(second, rate));
    Some(Series::new("offered", Look::Ideal, points))
}

/// Where each stage begins but the first, and where measuring does if that is later than the load.
pub(crate) fn marks(run: &RunResult) -> Vec<(f64, String)> {
    let word = if run.stages.len() > NAMED {
        ""
    } else {
        "stage "
    };
    let stages = (1..).zip(&run.stages).skip(1);
    let mut marks: Vec<_> = stages
        .map(|(number, stage)| (stage.begin_s, format!("{word}{number}")))
        .collect();
    let warmup_s = run.load.warmup_s;
    match marks.iter_mut().find(|(begin_s, _)| *begin_s == warmup_s) {
        Some((_, text)) => *text += ", measured from here",
        None if warmup_s > 0.0 => marks.push((warmup_s, "measured from here".to_owned())),
        None => {}
    }
    marks
}

/// The figures of each stage.
pub(crate) fn figures(run: &RunResult) -> String {
    if run.stages.is_empty() {
        return String::new();
    }
    let head = "stage | from s | to s | offered/s | due | answered | answers/s | p50 ms | p99 ms | \
                longest ms | busy | waited for a client";
    let rows = (1..).zip(&run.stages).map(|(number, stage)| {
        let latency = &stage.latency;
        let rate = stage.throughput_per_s;
        vec![
            i32::to_string(&number),
            short(stage.begin_s),
            short(stage.end_s),
            short(stage.offered_per_s),
            stage.due.to_string(),
            stage.answers.to_string(),
            rate.map_or_else(|| "warmup".to_owned(), |rate| format!("{rate:.0}")),
            known_ms(latency.at(50.0)),
            known_ms(latency.at(99.0)),
            known_ms(latency.longest()),
            stage.busy.to_string(),
            format!("{:.1} %", stage.waited_percent()),
        ]
    });
    table("Figures of the stages", head, rows)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::figures::latencies::Latencies;
    use crate::figures::results::tests::{outcome, result};
    use crate::figures::stages::tests::stage;

    #[test]
    fn each_stage_has_a_row_and_a_mark_where_it_begins() {
        let mut run = result(&outcome());
        assert_eq!(figures(&run), "");
        assert!(marks(&run).is_empty());
        let mut latencies = Latencies::default();
        latencies.record_many(Duration::from_millis(20), 1000);
        run.stages = vec![stage(&Latencies::default()), stage(&latencies)];
        run.stages[1].begin_s = 1.0;
        assert_eq!(marks(&run), [(1.0, "stage 2".to_owned())]);
        run.load.warmup_s = 0.5;
        assert_eq!(marks(&run)[1], (0.5, "measured from here".to_owned()));
        run.load.warmup_s = 1.0;
        let both = (1.0, "stage 2, measured from here".to_owned());
        assert_eq!(marks(&run), [both]);
        let html = figures(&run);
        let row = "<td>1000</td><td>1000</td><td>1000</td><td>20</td><td>20</td><td>20</td>";
        assert!(html.contains(row), "{html}");
        run.stages.resize_with(5, || stage(&latencies));
        run.load.warmup_s = 0.0;
        assert_eq!(marks(&run)[0].1, "2");
    }

    #[test]
    fn what_was_offered_goes_up_where_a_stage_begins() {
        let mut run = result(&outcome());
        assert!(offered(&run, 3.0).is_none(), "a closed loop");
        run.load.rate_per_s = Some(500.0);
        let steady = offered(&run, 3.0).expect("an open loop");
        assert_eq!(steady.last_x(), 3.0);
        run.stages = vec![stage(&Latencies::default()); 2];
        (run.stages[1].begin_s, run.stages[1].end_s) = (1.0, 5.0);
        assert_eq!(offered(&run, 3.0).expect("an open loop").last_x(), 5.0);
    }
}
