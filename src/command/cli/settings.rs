//! What holds for each flag, and who said so.
//!
//! Knows flags and environment variables by their names; not what they mean.
//!
//! Rule: what is shown is what is in force, also where two flags say the same thing.

use super::{LIMITS, refuses_at_once};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use reactor_pool::config::BUSY_TIMEOUT;

/// A flag, its value, and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Without its dashes.
    pub(crate) flag: String,
    /// As they would be written; none for what is off.
    pub(crate) values: Vec<String>,
    /// What a number counts.
    pub(crate) unit: Option<&'static str>,
    pub(crate) source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    Environment,
    Flag,
}

impl Source {
    fn of(matches: &ArgMatches, flag: &str) -> Source {
        match matches.value_source(flag) {
            Some(ValueSource::CommandLine) => Source::Flag,
            Some(ValueSource::EnvVariable) => Source::Environment,
            _ => Source::Default,
        }
    }

    /// A word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Source::Default => "default",
            Source::Environment => "environment",
            Source::Flag => "flag",
        }
    }
}

/// Those that have a variable, too, which are all but the level of the log.
pub(super) fn settings(command: &Command, matches: &ArgMatches) -> Vec<Setting> {
    let flags = command
        .get_arguments()
        .filter(|arg| arg.get_env().is_some());
    let flags = flags.map(|arg| arg.get_id().as_str());
    let setting = |flag: &str| {
        let busy_by_another = flag == BUSY_TIMEOUT.flag && refuses_at_once(matches);
        let values = matches.get_raw(flag).unwrap_or_default();
        Setting {
            flag: flag.to_owned(),
            values: match busy_by_another {
                true => vec!["0".to_owned()],
                false => values
                    .map(|value| value.to_string_lossy().into_owned())
                    .collect(),
            },
            unit: LIMITS
                .iter()
                .find(|limit| limit.flag == flag)
                .map(|limit| limit.unit),
            source: match busy_by_another {
                true => Source::of(matches, "reject-when-full"),
                false => Source::of(matches, flag),
            },
        }
    };
    flags.map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str, flag: &str) -> Setting {
        let words = std::iter::once("server").chain(line.split_whitespace());
        let command = super::super::command();
        let matches = command
            .clone()
            .try_get_matches_from(words)
            .expect("a right line");
        let mut all = settings(&command, &matches).into_iter();
        all.find(|setting| setting.flag == flag).expect("a flag")
    }

    #[test]
    fn a_setting_has_its_value_and_its_source() {
        for (line, flag, values, source) in [
            ("", "workers", &["4"][..], Source::Default),
            ("--workers 9", "workers", &["9"], Source::Flag),
            ("--queue-size 7", "queue", &["7"], Source::Flag),
            ("--unix a --unix b", "unix", &["a", "b"], Source::Flag),
            ("", "unix", &[], Source::Default),
            ("", "queue-order", &["fair"], Source::Default),
            (
                "--admin unix:/run/a",
                "admin",
                &["unix:/run/a"],
                Source::Flag,
            ),
        ] {
            let setting = of(line, flag);
            assert_eq!(
                (setting.values, setting.source),
                (values.iter().map(ToString::to_string).collect(), source),
                "{line}"
            );
        }
        assert_eq!(of("", "queue").unit, Some("requests"));
    }

    #[test]
    fn a_busy_timeout_that_another_flag_sets_is_shown_as_it_holds() {
        let setting = of("--reject-when-full --busy-timeout 5", "busy-timeout");
        assert_eq!(
            (setting.values, setting.source),
            (vec!["0".to_owned()], Source::Flag)
        );
    }
}
