//! The report: one self-contained HTML file from the JSON of runs, sweeps and ramps.
//!
//! Checks that they are ours, and draws them; reads and writes no file.
//!
//! Rule: it needs nothing but those files: what is in the picture is in the JSON.

mod page;
mod plot;
mod ramps;
mod runs;
mod scale;
mod sweeps;

use serde_json::Value;

pub(crate) use self::page::page;
use crate::figures::ramp::RampResult;
use crate::figures::results::{RunResult, SCHEMA};
use crate::figures::sweep::SweepResult;

/// The part of the page that shows `text`, what --json wrote into the file `name`. An error says
/// what is wrong with it.
pub(crate) fn section(name: &str, text: &str) -> Result<String, String> {
    let wrong = |error: serde_json::Error| format!("not a result of stress_test: {error}");
    let json: Value = serde_json::from_str(text).map_err(wrong)?;
    if json["schema"] != SCHEMA {
        return Err(format!("not a result of stress_test: no schema {SCHEMA}"));
    }
    match json["kind"].as_str() {
        Some("run") => serde_json::from_value::<RunResult>(json)
            .map(|run| runs::section(name, &run))
            .map_err(wrong),
        Some("sweep") => serde_json::from_value::<SweepResult>(json)
            .map(|sweep| sweeps::section(name, &sweep))
            .map_err(wrong),
        Some("ramp") => serde_json::from_value::<RampResult>(json)
            .map(|ramp| ramps::section(name, &ramp))
            .map_err(wrong),
        _ => Err("not a result of stress_test: its kind is not run, sweep or ramp".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::results::tests::{outcome, result};

    #[test]
    fn a_run_survives_the_way_through_json_into_a_page() {
        let result = result(&outcome());
        let text = serde_json::to_string(&result).expect("figures are JSON");
        let html = section("my <run>", &text).expect("a run");
        for part in [
            "Run: my &lt;run&gt;",
            "Percentiles of latency and service time",
            "Answers over time",
            "Latency over time",
            "<td>29.7</td>",
            ">PASS<",
        ] {
            assert!(html.contains(part), "no {part} in {html}");
        }
        assert!(!html.contains("NaN"), "{html}");
    }

    #[test]
    fn what_is_no_result_is_said() {
        for text in ["", "{}", r#"{"schema":"reactor-pool/stress_test/1"}"#] {
            let error = section("x", text).expect_err(text);
            assert!(error.contains("not a result of stress_test"), "{error}");
        }
    }
}
