//! What `--json` wrote, read back.
//!
//! Knows the kinds of docs/stress_test.schema.json; opens no file.
//!
//! Rule: what is none of them is said in one line.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::figures::comparison::ComparisonResult;
use crate::figures::ramp::RampResult;
use crate::figures::results::{RunResult, SCHEMA};
use crate::figures::rounds::RoundsResult;
use crate::figures::sweep::SweepResult;

/// A result.
#[derive(Debug)]
pub(crate) enum Saved {
    /// One run.
    Run(Box<RunResult>),
    /// Several rounds of one load.
    Rounds(RoundsResult),
    /// One sweep.
    Sweep(Box<SweepResult>),
    /// One ramp.
    Ramp(Box<RampResult>),
    /// One comparison.
    Comparison(Box<ComparisonResult>),
}

impl Saved {
    /// Reads `text`. An error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(wrong)?;
        if json["schema"] != SCHEMA {
            return Err(format!("not a result of stress_test: no schema {SCHEMA}"));
        }
        let kind = json["kind"].as_str().unwrap_or_default().to_owned();
        Ok(match kind.as_str() {
            "run" => Self::Run(read(json)?),
            "rounds" => Self::Rounds(*read(json)?),
            "sweep" => Self::Sweep(read(json)?),
            "ramp" => Self::Ramp(read(json)?),
            "comparison" => Self::Comparison(read(json)?),
            _ => {
                let kinds = "run, rounds, sweep, ramp or comparison";
                return Err(format!(
                    "not a result of stress_test: its kind is not {kinds}"
                ));
            }
        })
    }
}

fn read<T: DeserializeOwned>(json: Value) -> Result<Box<T>, String> {
    serde_json::from_value(json).map(Box::new).map_err(wrong)
}

fn wrong(error: serde_json::Error) -> String {
    format!("not a result of stress_test: {error}")
}
