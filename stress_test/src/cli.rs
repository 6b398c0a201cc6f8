//! The command line: flags and environment variables to a [`Plan`] and the way to its server.
//!
//! Knows clap and the ranges; does nothing.
//!
//! Rule: what is wrong is said in one line that names the flag and what it allows.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, Parser};

use crate::plan::{Limits, Mix, Plan, Span};

/// `ECHO ` and `HASH ` stand before a payload.
const OP_BYTES: u32 = 5;

const AFTER_HELP: &str = "\
Every answer is compared byte for byte, in order, with the one right answer. A wrong one is named:
swapped, foreign (another client's), repeated, altered, missing, unexpected (nothing asked for it).
Clients and frames are counted from 0. Payloads carry both, as far as they are long enough (some 10
characters); answers of SLEEP and errors carry neither, so a stray one can be noticed but not traced.

stdout is the report, its last line the verdict; everything else goes to stderr.

Exit codes:
    0  PASS
    1  FAIL, or interrupted after something had failed
    2  a flag is wrong
    3  nothing is listening, or there is no server to spawn
  130  interrupted by Ctrl-C, nothing had failed until then";

/// Loads a server of the reactor-pool protocol with many clients, verifies every answer, and
/// measures latency, throughput and fairness.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, max_term_width = 100, args_override_self = true)]
pub(crate) struct Arguments {
    /// The server's host name or address
    #[arg(
        long,
        env = "STRESS_TEST_HOST",
        default_value = "127.0.0.1",
        conflicts_with = "spawn"
    )]
    pub(crate) host: String,

    /// The server's port, 1 to 65535
    #[arg(long, env = "STRESS_TEST_PORT", default_value = "9000", value_parser = whole::<1, 65_535>,
        conflicts_with = "spawn")]
    pub(crate) port: u32,

    /// Clients, each on a connection of its own, 1 to 50000
    #[arg(long, env = "STRESS_TEST_CLIENTS", default_value = "50", value_parser = whole::<1, 50_000>)]
    clients: u32,

    /// Requests of each client, 1 to 1000000000
    #[arg(long, env = "STRESS_TEST_FRAMES", visible_alias = "requests",
        default_value = "100", value_parser = whole::<1, 1_000_000_000>)]
    frames: u32,

    /// Requests that a client keeps under way at a time (pipelining), 1 to 100000; one that waits
    /// for its retry counts as under way
    #[arg(long, env = "STRESS_TEST_MAX_INFLIGHT", default_value = "1",
        value_parser = whole::<1, 100_000>)]
    max_inflight: u32,

    /// What to ask for; balanced is half SLEEP, half ECHO; errors provokes every error text
    #[arg(long, env = "STRESS_TEST_MIX", default_value = "echo", value_enum)]
    mix: Mix,

    /// Characters in an ECHO or HASH argument: MIN..MAX (both included) or one number, up to
    /// --max-line less 5
    #[arg(long, env = "STRESS_TEST_PAYLOAD", default_value = "1..100", value_name = "MIN..MAX",
        value_parser = span)]
    payload: Span,

    /// Milliseconds of a SLEEP: MIN..MAX (both included) or one number, up to --max-sleep
    #[arg(long, env = "STRESS_TEST_SLEEP_MS", default_value = "1..10", value_name = "MIN..MAX",
        value_parser = span)]
    sleep_ms: Span,

    /// The server's --max-line, which its error texts name, 16 to 16777216
    #[arg(long, env = "STRESS_TEST_MAX_LINE", default_value = "65536", value_name = "BYTES",
        value_parser = whole::<16, 16_777_216>)]
    max_line: u32,

    /// The server's --max-sleep, which its error texts name, 0 to 86400000
    #[arg(long, env = "STRESS_TEST_MAX_SLEEP", default_value = "10000", value_name = "MS",
        value_parser = whole::<0, 86_400_000>)]
    max_sleep: u32,

    /// Repeats the requests of an earlier run, 0 to 4294967295; the report names it [default: random]
    #[arg(long, env = "STRESS_TEST_SEED", value_parser = whole::<0, { u32::MAX }>)]
    seed: Option<u32>,

    /// Seconds that a connection may stay without a response while one is due, 0.1 to 3600; then
    /// those requests are missing, and after two such waits in a row the connection is given up
    #[arg(long, env = "STRESS_TEST_TIMEOUT", default_value = "10", value_name = "SECONDS",
        value_parser = seconds)]
    timeout: Duration,

    /// How often a request answered ERR server busy is sent again, 0 to 100, after 10 ms doubling
    /// to 1 s, with jitter; refused once more, it is a failure. 0 counts refusals instead: they
    /// are reported and no failures
    #[arg(long, env = "STRESS_TEST_RETRIES", default_value = "5", value_parser = whole::<0, 100>)]
    retries: u32,

    /// Connections begun per second, 1 to 1000000; the load starts when all are made
    #[arg(long, env = "STRESS_TEST_CONNECT_RATE", default_value = "5000", value_name = "RATE",
        value_parser = whole::<1, 1_000_000>)]
    connect_rate: u32,

    /// Extra clients that keep --hog-inflight requests under way for as long as the others run, 0
    /// to 1000; reported apart, verified as well, never retrying what is refused
    #[arg(long, env = "STRESS_TEST_HOGS", default_value = "0", value_parser = whole::<0, 1000>)]
    hogs: u32,

    /// Requests that a hog keeps under way, 1 to 100000
    #[arg(long, env = "STRESS_TEST_HOG_INFLIGHT", default_value = "128", value_name = "REQUESTS",
        value_parser = whole::<1, 100_000>)]
    hog_inflight: u32,

    /// What the hogs ask for [default: as --mix]
    #[arg(long, env = "STRESS_TEST_HOG_MIX", value_name = "MIX", value_enum)]
    hog_mix: Option<Mix>,

    /// Starts the `server` that lies beside this program on a free port, and stops it at the end
    #[arg(long, env = "STRESS_TEST_SPAWN", value_parser = FalseyValueParser::new(),
        action = ArgAction::SetTrue)]
    pub(crate) spawn: bool,

    /// The spawned server's --workers
    #[arg(long, env = "STRESS_TEST_WORKERS", requires = "spawn", value_parser = whole::<1, 100_000>)]
    workers: Option<u32>,

    /// The spawned server's --queue
    #[arg(long, env = "STRESS_TEST_QUEUE", requires = "spawn", value_parser = whole::<1, 1000>)]
    queue: Option<u32>,

    /// One more argument for the spawned server, such as --server-arg=--reject-when-full; may be
    /// given several times
    #[arg(
        long,
        env = "STRESS_TEST_SERVER_ARG",
        value_name = "ARG",
        requires = "spawn",
        allow_hyphen_values = true
    )]
    server_arg: Vec<OsString>,

    /// Names each failure on stderr at once, and copies the spawned server's log there
    #[arg(short, long, env = "STRESS_TEST_VERBOSE", value_parser = FalseyValueParser::new(),
        action = ArgAction::SetTrue, conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Prints failures and the verdict only
    #[arg(short, long, env = "STRESS_TEST_QUIET", value_parser = FalseyValueParser::new(),
        action = ArgAction::SetTrue)]
    pub(crate) quiet: bool,
}

impl Arguments {
    /// What to run. An error is one line that names the flag.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let longest_payload = self.max_line - OP_BYTES;
        if self.payload.max > longest_payload {
            return Err(format!(
                "invalid value '{}' for '--payload <MIN..MAX>': with --max-line {} it may be up \
                 to {longest_payload}",
                self.payload, self.max_line
            ));
        }
        if self.sleep_ms.max > self.max_sleep {
            return Err(format!(
                "invalid value '{}' for '--sleep-ms <MIN..MAX>': with --max-sleep {} it may be up \
                 to {1}",
                self.sleep_ms, self.max_sleep
            ));
        }
        Ok(Plan {
            clients: self.clients,
            frames: self.frames,
            max_inflight: self.max_inflight as usize,
            mix: self.mix,
            hogs: self.hogs,
            hog_inflight: self.hog_inflight as usize,
            hog_mix: self.hog_mix.unwrap_or(self.mix),
            payload: self.payload,
            sleep_ms: self.sleep_ms,
            limits: Limits {
                max_line_bytes: self.max_line as usize,
                max_sleep_ms: self.max_sleep,
            },
            seed: u64::from(self.seed.unwrap_or_else(|| fastrand::u32(..))),
            timeout: self.timeout,
            retries: self.retries,
            connect_rate: self.connect_rate,
        })
    }

    /// The arguments of the spawned server, without address.
    pub(crate) fn server_arguments(&self) -> Vec<OsString> {
        let flags = [
            ("--workers", self.workers),
            ("--queue", self.queue),
            ("--max-line", Some(self.max_line)),
            ("--max-sleep", Some(self.max_sleep)),
        ];
        let mut arguments = Vec::new();
        for (flag, value) in flags {
            if let Some(value) = value {
                arguments.push(OsString::from(flag));
                arguments.push(OsString::from(value.to_string()));
            }
        }
        arguments.extend(self.server_arg.iter().cloned());
        arguments
    }
}

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

fn whole<const MIN: u32, const MAX: u32>(text: &str) -> Result<u32, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (MIN..=MAX).contains(number));
    number.ok_or_else(|| format!("a whole number from {MIN} to {MAX} is needed"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (0.1..=3600.0).contains(number));
    number
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds from 0.1 to 3600 is needed".to_owned())
}

fn span(text: &str) -> Result<Span, String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    match (min.parse(), max.parse()) {
        (Ok(min), Ok(max)) if min <= max => Ok(Span { min, max }),
        _ => Err("a whole number or MIN..MAX, with MIN not above MAX, is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(flags: &[&str]) -> Result<Plan, String> {
        let arguments = [&["stress_test"], flags].concat();
        let arguments = Arguments::try_parse_from(arguments);
        arguments.map_err(|error| one_line(&error))?.plan()
    }

    #[test]
    fn the_command_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_is_an_environment_variable_too() {
        for argument in Arguments::command().get_arguments() {
            let Some(flag) = argument.get_long() else {
                continue;
            };
            let expected = format!("STRESS_TEST_{}", flag.to_uppercase().replace('-', "_"));
            let variable = argument.get_env().expect(flag);
            assert_eq!(variable.to_str(), Some(expected.as_str()));
        }
    }

    #[test]
    fn spans_are_a_number_or_two() {
        assert_eq!(span("5"), Ok(Span { min: 5, max: 5 }));
        assert_eq!(span("5..9"), Ok(Span { min: 5, max: 9 }));
        for text in ["", "..", "5..", "..5", "9..5", "-1..5", "5..=9", "a"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_payload_depends_on_the_longest_line() {
        let plan = parse(&["--max-line", "20", "--payload", "15"]).expect("it fits");
        assert_eq!(plan.payload.max, 15);
        let error = parse(&["--max-line", "20", "--payload", "16"]).expect_err("it does not fit");
        assert!(
            error.contains("--payload") && error.contains("15"),
            "{error}"
        );
    }

    #[test]
    fn hogs_ask_for_the_same_unless_told_otherwise() {
        let mixes = |flags: &[&str]| parse(flags).map(|plan| (plan.mix, plan.hog_mix));
        assert_eq!(mixes(&["--mix", "hash"]), Ok((Mix::Hash, Mix::Hash)));
        assert_eq!(mixes(&["--hog-mix", "sleep"]), Ok((Mix::Echo, Mix::Sleep)));
    }
}
