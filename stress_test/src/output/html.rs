//! The report: one self-contained HTML file from the JSON files of other commands.
//!
//! Checks that they are ours, and draws them; reads and writes no file.
//!
//! Rule: it needs nothing but those files: what is in the picture is in the JSON.

mod comparisons;
mod forest;
mod frame;
mod heat;
mod limit;
mod overview;
mod page;
mod plot;
mod ramps;
mod rounds;
mod runs;
mod scale;
mod stages;
mod sweeps;
mod varied;

pub(crate) use self::page::page;
use crate::figures::saved::Saved;

/// What stands on the page of `files`, each with its name.
pub(crate) fn body(files: &[(String, Saved)]) -> String {
    let mut html = match files {
        [_] => String::new(),
        several => overview::overview(several),
    };
    let parts = files.iter().map(|(name, saved)| section(name, saved));
    html.extend(
        (1..)
            .zip(parts)
            .map(|(place, part)| page::part(place, &part)),
    );
    html
}

/// The part of the page that shows `saved`, the result with this name.
fn section(name: &str, saved: &Saved) -> String {
    match saved {
        Saved::Run(run) => runs::section(name, run),
        Saved::Rounds(rounds) => rounds::section(name, rounds),
        Saved::Sweep(sweep) => sweeps::section(name, sweep),
        Saved::Ramp(ramp) => ramps::section(name, ramp),
        Saved::Comparison(comparison) => comparisons::section(name, comparison),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::results::tests::{outcome, result};
    use serde_json::Value;

    /// The body of a page of one file that holds `text`.
    fn page_of(name: &str, text: &str) -> Result<String, String> {
        Ok(body(&[(name.to_owned(), Saved::parse(text)?)]))
    }

    #[test]
    fn only_a_page_of_several_files_has_contents() {
        let result = result(&outcome());
        let run = |name: &str| (name.to_owned(), Saved::Run(Box::new(result.clone())));
        assert!(!body(&[run("one")]).contains("Contents"));
        let html = body(&[run("one"), run("two")]);
        for text in [
            "Contents",
            "<section id=\"file-1\">",
            "<section id=\"file-2\">",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
    }

    #[test]
    fn a_run_survives_the_way_through_json_into_a_page() {
        let result = result(&outcome());
        let text = serde_json::to_string(&result).expect("figures are JSON");
        let html = page_of("my <run>", &text).expect("a run");
        for part in [
            "Run: my &lt;run&gt;",
            "Percentiles of latency and service time",
            "Answers over time",
            "Latency over time",
            "Heat map of latency",
            "<td>29.7</td>",
            ">PASS<",
        ] {
            assert!(html.contains(part), "no {part} in {html}");
        }
        assert!(!html.contains("NaN"), "{html}");
    }

    /// The paths of all numbers in `json`.
    fn numbers(json: &Value, path: &str, found: &mut Vec<String>) {
        match json {
            Value::Number(_) => found.push(path.to_owned()),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    numbers(item, &format!("{path}/{index}"), found);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    numbers(field, &format!("{path}/{name}"), found);
                }
            }
            _ => {}
        }
    }

    /// Hands `look` each form of a run in which one number is an odd one, with what that is.
    fn with_any_number(mut look: impl FnMut(&str, &str)) {
        let json = serde_json::to_value(result(&outcome())).expect("figures are JSON");
        let mut paths = Vec::new();
        numbers(&json, "", &mut paths);
        assert!(paths.len() > 100, "{paths:?}");
        for path in paths {
            for number in [
                Value::from(1e308),
                Value::from(-1e308),
                Value::from(1e-320),
                Value::from(u64::MAX),
            ] {
                let mut json = json.clone();
                let what = format!("{path} = {number}");
                *json.pointer_mut(&path).expect("it was found") = number;
                look(&what, &json.to_string());
            }
        }
    }

    #[test]
    fn whatever_a_number_is_there_is_a_page_or_a_line() {
        with_any_number(|what, text| {
            // That it returns is the promise.
            if let Ok(html) = page_of("run", text) {
                let is_drawn = !html.contains("NaN") && !html.contains("\"inf");
                assert!(is_drawn, "{what}");
            }
        });
    }

    #[test]
    fn whatever_a_number_is_there_is_a_table() {
        with_any_number(|_, text| {
            if let Ok(saved) = Saved::parse(text) {
                let files = [("file".to_owned(), saved)];
                crate::output::csv::of_runs(&files).expect("a run has a row");
                crate::output::csv::of_slices(&files).expect("a run has slices");
            }
        });
    }

    #[test]
    fn what_is_no_result_is_said() {
        for text in ["", "{}", r#"{"schema":"reactor-pool/stress_test/1"}"#] {
            let error = page_of("x", text).expect_err(text);
            assert!(error.contains("not a result of stress_test"), "{error}");
        }
    }
}
