//! The table of several rounds of one load.
//!
//! Knows which figures of a round make a row.
//!
//! Rule: every round has a row, whatever came of it.

use super::page::{heading, list, paragraph, table, verdict};
use super::runs::load;
use super::scale::known_ms;
use crate::figures::results::RunResult;
use crate::figures::rounds::RoundsResult;

/// The part of the page that shows `result`.
pub(crate) fn section(name: &str, result: &RoundsResult) -> String {
    let mut html = heading(&format!("Rounds: {name}"));
    html += &verdict(result.verdict);
    if let Some(first) = result.rounds.first() {
        let (done, planned) = (result.rounds.len(), result.planned);
        html += &list(&[
            ("server", first.target.clone()),
            ("load", load(&first.load)),
            ("rounds", format!("{done} of {planned}")),
        ]);
    }
    let rounds = (1..).zip(&result.rounds);
    for (place, round) in rounds.clone() {
        for text in round.failures.first.iter().chain(&round.thresholds_broken) {
            html += &paragraph(&format!("round {place}: {text}"));
        }
    }
    let head = "round | verdict | seed | answers/s | p50 | p90 | p99 | p99.9 | max";
    html + &table("Rounds, times in ms", head, rounds.map(row))
}

fn row((place, round): (usize, &RunResult)) -> Vec<String> {
    let latency = &round.latency;
    let mut cells = vec![
        place.to_string(),
        round.verdict.to_string(),
        round.load.seed.to_string(),
        format!("{:.0}", round.throughput_per_s),
    ];
    cells.extend([50.0, 90.0, 99.0, 99.9].map(|percent| known_ms(latency.at(percent))));
    cells.push(known_ms(latency.longest()));
    cells
}
