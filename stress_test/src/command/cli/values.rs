//! How the value of a flag is read, and what is said when it cannot be.
//!
//! Knows texts and ranges; not which flag it is.
//!
//! Rule: what is wrong is said in one line that names what is allowed.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;

use crate::load::stages::{Stage, duration};

/// How long a load may last.
const LONGEST_LOAD: Duration = Duration::from_secs(86_400);
/// How many stages a load may have. Each has a histogram in each event loop.
const MOST_STAGES: usize = 50;
/// The lowest and the highest rate.
const RATES: std::ops::RangeInclusive<f64> = 0.1..=10_000_000.0;

/// One line of what clap has to say in several.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first_paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first_paragraph.split_whitespace().collect();
    let line = words.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// Whether `error` is the help or the version, asked for.
pub(crate) fn is_asked_for(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    )
}

pub(crate) fn whole<const MIN: u32, const MAX: u32>(text: &str) -> Result<u32, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (MIN..=MAX).contains(number));
    number.ok_or_else(|| format!("a whole number from {MIN} to {MAX} is needed"))
}

/// A time: a number of seconds, or a number with its unit.
pub(crate) fn seconds(
    min: f64,
    max: f64,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    move |text| {
        let units = [
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
            ("", 1.0),
        ];
        let number = units.iter().find_map(|(unit, factor)| {
            let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(number * factor)
        });
        let number = number.filter(|number| (min..=max).contains(number));
        let seconds = number.map(Duration::from_secs_f64);
        seconds.ok_or_else(|| {
            format!("a number of seconds from {min} to {max}, or with ms, s, m or h, is needed")
        })
    }
}

/// Requests per second, with k or M, and with /s if that is said.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let text = text.strip_suffix("/s").unwrap_or(text);
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let rate = number.parse().ok().map(|number: f64| number * factor);
    rate.filter(|rate| RATES.contains(rate))
        .ok_or_else(|| "a number from 0.1 to 10000000, or with k or M, is needed".to_owned())
}

/// A time and a rate, which may be 0.
pub(crate) fn stage(text: &str) -> Result<Stage, String> {
    let Some((time, of_rate)) = text.split_once(':') else {
        return Err("TIME:RATE, such as 30s:5k, is needed".to_owned());
    };
    let duration = seconds(0.001, LONGEST_LOAD.as_secs_f64())(time)?;
    let rate = match of_rate {
        "0" => 0.0,
        of_rate => rate(of_rate).map_err(|needed| format!("of the rate, 0, or {needed}"))?,
    };
    Ok(Stage { duration, rate })
}

/// Whether `stages` can follow each other. An error is one line that names the flag.
pub(crate) fn check_stages(stages: &[Stage]) -> Result<(), String> {
    let (count, total) = (stages.len(), duration(stages));
    let complaint = if count > MOST_STAGES {
        format!("{count} stages: {MOST_STAGES} are possible")
    } else if total > LONGEST_LOAD {
        let (total, most) = (total.as_secs_f64(), LONGEST_LOAD.as_secs());
        format!("{total} s: together they may last for {most} s")
    } else if stages.last().is_some_and(|stage| stage.rate == 0.0) {
        "a pause has to be followed by a rate".to_owned()
    } else {
        return Ok(());
    };
    Err(format!(
        "invalid value for '--stages <TIME:RATE,...>': {complaint}"
    ))
}

/// A share in percent.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "a number from 0 to 100 is needed".to_owned())
}

/// A file to write; that it has a name is all that can be said.
pub(crate) fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the name of a file is needed".to_owned());
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_a_unit() {
        let read = seconds(0.1, 7200.0);
        for (text, ms) in [
            ("1", 1000),
            ("0.5", 500),
            ("1s", 1000),
            ("1.5s", 1500),
            ("250ms", 250),
            ("2m", 120_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(read(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "", "s", "0", "1 s", "1S", "99ms", "3h", "nan", "infs", "-1s",
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains("from 0.1 to 7200, or with ms"), "{error}");
        }
    }

    #[test]
    fn rates_may_be_in_thousands() {
        assert_eq!(rate("500"), Ok(500.0));
        assert_eq!(rate("1k"), Ok(1000.0));
        assert_eq!(rate("2.5k"), Ok(2500.0));
        assert_eq!(rate("1M"), Ok(1_000_000.0));
        assert_eq!(rate("1k/s"), Ok(1000.0));
        for text in ["", "k", "0", "-1", "11M", "nan", "1 k", "1K"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
