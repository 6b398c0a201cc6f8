//! What a command line comes to that starts no server: a text for people, or what is wrong.
//!
//! Knows clap's errors, and where a value came from; no flag by its name.
//!
//! Rule: what is wrong is one line. Clap writes paragraphs.

use super::variable_of;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A wrong command line, or a question that is answered by text.
#[derive(Debug)]
pub(crate) enum Usage {
    /// `--help` or `--version`: print it, and all is well.
    Text(clap::Error),
    /// One line that says what is wrong.
    Wrong(String),
}

impl Usage {
    /// Clap's errors are paragraphs; a script and a log want a line.
    pub(super) fn of(mut error: clap::Error) -> Usage {
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        ) {
            return Usage::Text(error);
        }
        let variable = from_environment(&error);
        for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue] {
            if let Some(ContextValue::String(text)) = error.get(kind) {
                let in_one_line = in_one_line(text);
                error.insert(kind, ContextValue::String(in_one_line));
            }
        }
        let text = error.to_string();
        let mut line = text
            .lines()
            .next()
            .unwrap_or("error: wrong usage")
            .trim_end()
            .to_owned();
        // The possible values of an enum stand on a line of their own.
        if let Some(allowed) = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("[possible values:"))
        {
            line = format!(
                "{line}: allowed are {}",
                allowed.trim().trim_end_matches(']')
            );
        }
        if let Some(similar) = error.get(ContextKind::SuggestedArg) {
            line.push_str(&format!("; a similar flag is {similar}"));
        }
        if let Some(variable) = variable {
            line.push_str(&format!(" (from the environment variable {variable})"));
        }
        Usage::Wrong(line)
    }
}

/// A line feed in what a person wrote is shown, and ends no line. What is a command of a terminal
/// is shown, too.
pub(crate) fn in_one_line(text: &str) -> String {
    let shown = text.chars().map(|letter| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    });
    shown.collect()
}

/// The environment variable that a wrong value came from, when the command line does not hold it.
fn from_environment(error: &clap::Error) -> Option<String> {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let (flag, value) = (
        context(ContextKind::InvalidArg)?,
        context(ContextKind::InvalidValue)?,
    );
    let flag = flag.split_whitespace().next()?.to_owned();
    let given = std::env::args_os().skip(1).any(|arg| {
        let arg = arg.to_string_lossy();
        arg == flag || arg.starts_with(&format!("{flag}="))
    });
    let variable = variable_of(flag.trim_start_matches('-'));
    (!given && std::env::var_os(&variable).is_some_and(|set| set.to_string_lossy() == value))
        .then_some(variable)
}
