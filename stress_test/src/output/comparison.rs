//! The table of a comparison on stdout.
//!
//! Knows columns and units; every figure comes from `figures`.
//!
//! Rule: the last line is the verdict, and it can be read without the table.

use std::io::{self, Write};

use crate::figures::comparison::{
    Change, ComparisonResult, Difference, FigureChange, Middle, SideFigures,
};
use crate::output::run::Milliseconds;

/// Writes `result`: the table and the verdict, or with `brief` the verdict only.
pub(crate) fn write(
    out: &mut impl Write,
    result: &ComparisonResult,
    brief: bool,
) -> io::Result<()> {
    if !brief {
        write_side(out, "base", &result.base)?;
        write_side(out, "new", &result.new)?;
        writeln!(out, "rounds      {}", order_in_words(result))?;
        for difference in &result.differs {
            writeln!(out, "differs     {difference}")?;
        }
        if let Some(why) = &result.limited {
            writeln!(out, "limited     {why}")?;
        }
        write_table(out, result)?;
    }
    writeln!(out, "{}", verdict_line(result))
}

fn write_side(out: &mut impl Write, name: &str, side: &SideFigures) -> io::Result<()> {
    let others = match side.files.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let file = side.files.first().map(String::as_str).unwrap_or_default();
    let (rounds, target) = (side.rounds, &side.target);
    writeln!(
        out,
        "{name:<11} {file}{others}: {rounds} rounds of {target}"
    )?;
    writeln!(
        out,
        "            {}, {}",
        side.load.amount_in_words(),
        side.load.in_words()
    )
}

/// How the rounds were measured, and what follows.
pub(crate) fn order_in_words(result: &ComparisonResult) -> &'static str {
    if result.is_interleaved {
        "in turns, compared in pairs"
    } else {
        "not in turns: what changed on the machine meanwhile counts as a difference"
    }
}

fn write_table(out: &mut impl Write, result: &ComparisonResult) -> io::Result<()> {
    writeln!(
        out,
        "\n              base        new     change   {} % confidence",
        result.confidence_percent
    )?;
    for figure in &result.figures {
        writeln!(
            out,
            "{:<7} {:>10} {:>10} {:>10}   {:<20} {}",
            figure.name,
            shown(figure, figure.base),
            shown(figure, figure.new),
            figure
                .change
                .map_or_else(String::new, |change| signed(change.percent)),
            figure.change.map_or_else(String::new, range),
            in_words(figure),
        )?;
    }
    Ok(())
}

/// A figure in its unit.
pub(crate) fn shown(figure: &FigureChange, middle: Option<Middle>) -> String {
    match middle {
        None => "n/a".to_owned(),
        Some(middle) if figure.name == "rate" => format!("{:.0}/s", middle.typical),
        Some(middle) => Milliseconds(middle.typical).to_string(),
    }
}

/// An interval for people.
pub(crate) fn range(change: Change) -> String {
    let Change {
        low_percent,
        high_percent,
        ..
    } = change;
    format!("{} to {}", signed(low_percent), signed(high_percent))
}

/// A change for people.
pub(crate) fn signed(percent: f64) -> String {
    // No "-0.0".
    let rounded = (percent * 10.0).round() / 10.0 + 0.0;
    format!("{rounded:+.1} %")
}

/// What a figure comes to.
pub(crate) fn in_words(figure: &FigureChange) -> &'static str {
    match figure.verdict {
        _ if figure.change.is_none() => "not compared: rounds are too short",
        Difference::Slower => "worse",
        Difference::Faster => "better",
        _ => "no difference",
    }
}

fn verdict_line(result: &ComparisonResult) -> String {
    let compared = result.figures.iter();
    let compared = compared.filter_map(|figure| Some((figure, figure.change?)));
    let rounds = format!(
        "{} against {} rounds",
        result.base.rounds, result.new.rounds
    );
    let changes: Vec<String> = match result.verdict {
        Difference::Fail => {
            vec!["a round had wrong answers or none, so its times mean nothing".to_owned()]
        }
        Difference::Same | Difference::GeneratorLimited => compared
            .map(|(figure, change)| format!("{} {}", figure.name, range(change)))
            .collect(),
        Difference::Faster | Difference::Slower | Difference::Mixed => compared
            .filter(|(figure, _)| figure.verdict != Difference::Same)
            .map(|(figure, change)| {
                let percent = signed(change.percent);
                format!("{} {percent} ({})", figure.name, range(change))
            })
            .collect(),
    };
    let limit = match result.verdict {
        Difference::GeneratorLimited => " (the limit is this program, not the server)",
        _ => "",
    };
    format!(
        "{}: {rounds}, {}{limit}",
        result.verdict,
        changes.join(", ")
    )
}
