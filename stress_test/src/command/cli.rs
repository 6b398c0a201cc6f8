//! The command line: flags and environment variables to a [`Plan`] and the way to its server.
//!
//! Knows clap and the ranges; does nothing.
//!
//! Rule: what is wrong is said in one line that names the flag and what it allows.

mod comparing;
mod environment;
mod series;
mod shared;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};

pub(crate) use self::comparing::{CompareArguments, CsvArguments};
pub(crate) use self::environment::parse;
pub(crate) use self::series::{RampArguments, ReportArguments, SweepArguments};
use self::series::{check_conditions, check_warmup};
pub(crate) use self::shared::{
    FramingArguments, GrowthArguments, LoadArguments, OutputArguments, RequestArguments,
    TargetArguments,
};
use self::values::{check_stages, file, rate, seconds, stage, whole};
pub(crate) use self::values::{is_asked_for, one_line};
use crate::figures::threshold::Threshold;
use crate::load::plan::{Arrivals, Load, Mix, OpenLoop, Plan};
use crate::load::stages::Stage;

/// How long an open loop lasts unless it is told.
const OPEN_LOOP_DURATION: Duration = Duration::from_secs(10);
/// How often a refused request is sent again in a closed loop unless it is told.
const CLOSED_LOOP_RETRIES: u32 = 5;

const AFTER_HELP: &str = "\
Every answer is compared byte for byte, in order, with the one right answer. A wrong one is named:
swapped, foreign (another client's), repeated, altered, missing, unexpected (nothing asked for it).
Clients and frames are counted from 0. Payloads carry both, as far as they are long enough (some 10
characters); answers of SLEEP and errors carry neither, so a stray one can be noticed but not traced.

Each request has three times: due, written, answered. Latency counts from when it was due, service
time from when it was written; send lag is what lies between. In an open loop (--rate, --stages) the
timetable says when it is due, so waits that a slow server causes are in the latency; in a closed
loop it is due when the client has room. Requests without an answer stay in the latencies as at
least their age. A percentile is n/a when fewer than 10 of the sample lie above it: p99 takes 1000
requests.

--send and --expect drive any server that answers each request with known bytes, here redis, where
the length of an argument stands before it:

    stress_test --port 6379 --send '*2\\r\\n$4\\r\\nECHO\\r\\n$8\\r\\n{n:8}\\r\\n' --expect '$8\\r\\n{n:8}\\r\\n'

--http loads an HTTP server. Verified are the status, 200, and the body, by default against that
of the first answer. Not verified are other headers (such as Date), and the order of equal answers:

    stress_test --port 8080 --http /index.html

stdout is the report, its last line the verdict; everything else goes to stderr.

Exit codes:
    0  PASS
    1  FAIL, or interrupted after something had failed
    2  a flag is wrong
    3  nothing is listening, or there is no server to spawn
    4  every answer was right, but a --fail-if condition was met, or could not be judged
    5  every answer was right, but the figures show the limit of this program, not the server's
       (in an open loop or with --fail-if, or when it was stopped or had no processor for a fifth
       of a second; otherwise it is a line in the report)
  130  interrupted by Ctrl-C, nothing had failed until then";

/// Loads a server of the reactor-pool protocol (with --http or --send any other) with many
/// clients, verifies every answer, and measures latency, throughput and fairness.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, max_term_width = 100, args_override_self = true,
    args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// The run that it is without a command.
    #[command(flatten)]
    pub(crate) run: RunArguments,

    /// What else it can do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Everything but a run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows that each check fires: runs against a built-in server with one fault at a time
    Selftest(FramingArguments),
    /// Measures every combination of pool sizes, workloads, clients and queues: starts the server
    /// anew for each, in several rounds of shuffled order
    Sweep(Box<SweepArguments>),
    /// Raises the rate of an open loop until the service level breaks, and reports the highest
    /// rate that holds
    Ramp(Box<RampArguments>),
    /// Says whether one server is faster or slower than another, from several rounds of each
    Compare(CompareArguments),
    /// Makes comma-separated values of the JSON files of runs, sweeps and ramps
    Csv(CsvArguments),
    /// Makes one self-contained HTML page of the JSON files of runs, sweeps and ramps
    Report(ReportArguments),
}

/// The flags of a run.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Clients, each on a connection of its own, 1 to 50000
    #[arg(long, env = "STRESS_TEST_CLIENTS", default_value = "50",
        value_parser = whole::<1, 50_000>)]
    clients: u32,

    #[command(flatten)]
    growth: GrowthArguments,

    /// Requests of each client in a closed loop (one that sends when it has room), 1 to 1000000000
    #[arg(long, env = "STRESS_TEST_FRAMES", visible_alias = "requests",
        conflicts_with_all = ["rate", "duration", "stages"], default_value = "100",
        value_parser = whole::<1, 1_000_000_000>)]
    frames: u32,

    /// Open loop: requests that are due each second (1k is 1000, 0.1 to 10M), of all clients
    /// together, whether or not the server keeps up; each goes to the next client with room
    #[arg(long, env = "STRESS_TEST_RATE", value_name = "RATE", value_parser = rate)]
    rate: Option<f64>,

    /// Open loop instead of --rate and --duration: rates that follow each other, each with its
    /// time, such as 10s:1k,500ms:20k,30s:5k. The times are 0.001 to 86400 seconds (or with ms, s,
    /// m or h), the rates as of --rate; 0 is a pause, but not the last one. 50 stages and 86400
    /// seconds at most. The report has the figures of each
    #[arg(long, env = "STRESS_TEST_STAGES", value_name = "TIME:RATE,...", value_delimiter = ',',
        conflicts_with_all = ["rate", "duration"], value_parser = stage)]
    stages: Vec<Stage>,

    /// How requests are spread in time with --rate or --stages
    #[arg(long, env = "STRESS_TEST_ARRIVALS", default_value = "poisson")]
    arrivals: Arrivals,

    /// Requests that are due at the same time with --rate or --stages, 1 to 10000. The rate stays
    /// what it is, so bursts are as much rarer; --arrivals says how these are spread. An open loop
    /// begins with as many clients as a burst takes, if --max-clients allows
    #[arg(long, env = "STRESS_TEST_BURST", default_value = "1", value_name = "REQUESTS",
        conflicts_with = "frames", value_parser = whole::<1, 10_000>)]
    burst: u32,

    /// How long requests are due, 0.1 to 86400 seconds (or with ms, s, m or h) [default: 10 with
    /// --rate; otherwise --frames ends the load]. In an open loop, what is due at the end may
    /// still be sent for a second, and is a failure (unsent) after that
    #[arg(long, env = "STRESS_TEST_DURATION", value_name = "SECONDS",
        value_parser = seconds(0.1, 86_400.0))]
    duration: Option<Duration>,

    /// Seconds at the beginning that are verified but not measured, 0 to 86400
    #[arg(long, env = "STRESS_TEST_WARMUP", default_value = "0", value_name = "SECONDS",
        value_parser = seconds(0.0, 86_400.0))]
    warmup: Duration,

    /// How many times the load is run, 1 to 1000: connections, seed and a spawned server are new
    /// each time. The JSON file then holds each round as a run of its own, for `compare`
    #[arg(long, env = "STRESS_TEST_ROUNDS", default_value = "1", value_parser = whole::<1, 1000>)]
    pub(crate) rounds: u32,

    #[command(flatten)]
    requests: RequestArguments,

    /// How often a request answered ERR server busy (or 503 over HTTP) is sent again, 0 to 100,
    /// after 10 ms doubling to 1 s, with jitter; refused once more, it is a failure. 0 counts
    /// refusals instead: they are reported and no failures [default: 5, in an open loop 0]
    #[arg(long, env = "STRESS_TEST_RETRIES", value_parser = whole::<0, 100>)]
    retries: Option<u32>,

    /// Extra clients that keep --hog-inflight requests under way for as long as the others run, 0
    /// to 1000; reported apart, verified as well, never retrying what is refused
    #[arg(long, env = "STRESS_TEST_HOGS", default_value = "0", value_parser = whole::<0, 1000>)]
    hogs: u32,

    /// Requests that a hog keeps under way, 1 to 100000
    #[arg(long, env = "STRESS_TEST_HOG_INFLIGHT", default_value = "128", value_name = "REQUESTS",
        value_parser = whole::<1, 100_000>)]
    hog_inflight: u32,

    /// What the hogs ask for [default: as --mix]
    #[arg(
        long,
        env = "STRESS_TEST_HOG_MIX",
        value_name = "MIX",
        value_parser = Mix::parse,
        conflicts_with_all = ["send", "expect", "http", "expect_body"]
    )]
    hog_mix: Option<Mix>,

    /// Opens a connection anew that is closed between two requests, and counts it. One that is
    /// closed with requests in flight has lost them: that fails the run, and goes on as well. A
    /// connect that is refused is tried again for --timeout, once there has been a server
    #[arg(long, env = "STRESS_TEST_RECONNECT", value_parser = FalseyValueParser::new(),
        action = ArgAction::SetTrue)]
    reconnect: bool,

    #[command(flatten)]
    pub(crate) load: LoadArguments,

    #[command(flatten)]
    pub(crate) target: TargetArguments,

    /// Fails the run (exit 4) when a condition is met, such as 'p99>5ms', 'service.p99.9>=20ms',
    /// 'sleep.p99>30ms', 'stage2.p99>9ms', 'busy>0.1%', 'rate<20k', 'unsent>0'; several are
    /// separated by commas. A percentile that the sample is too small for fails too
    #[arg(long, env = "STRESS_TEST_FAIL_IF", value_name = "CONDITION", value_delimiter = ',',
        value_parser = Threshold::parse, help_heading = "Output")]
    pub(crate) fail_if: Vec<Threshold>,

    /// Writes every figure into this file, in the format of docs/stress_test.schema.json. With -
    /// the JSON goes to stdout and the report to stderr
    #[arg(long, env = "STRESS_TEST_JSON", value_name = "FILE", value_parser = file,
        help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

impl RunArguments {
    /// What to run. An error is one line that names the flag.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let load = self.load()?;
        if let Some(duration) = load.duration() {
            check_warmup(self.warmup, duration)?;
        }
        let default_retries = match load {
            Load::Rate(_) => 0,
            Load::Frames(_) | Load::Duration(_) => CLOSED_LOOP_RETRIES,
        };
        let requests = self.requests.requests(self.hog_mix, &self.target)?;
        check_conditions("--fail-if", &self.fail_if, &requests, load.stages())?;
        let plan = self.load.plan(self.clients, load, requests)?;
        let plan = self.growth.begin(plan);
        let plan = self.growth.apply(plan)?;
        Ok(Plan {
            warmup: self.warmup,
            retries: self.retries.unwrap_or(default_retries),
            hogs: self.hogs,
            hog_inflight: self.hog_inflight as usize,
            reconnect: self.reconnect,
            ..plan
        })
    }

    fn load(&self) -> Result<Load, String> {
        let stages = match self.rate {
            Some(rate) => {
                let duration = self.duration.unwrap_or(OPEN_LOOP_DURATION);
                vec![Stage { duration, rate }]
            }
            None => self.stages.clone(),
        };
        if !stages.is_empty() {
            check_stages(&stages)?;
            let (arrivals, burst) = (self.arrivals, self.burst);
            return Ok(Load::Rate(OpenLoop {
                stages,
                arrivals,
                burst,
            }));
        }
        if self.burst > 1 {
            return Err(format!(
                "invalid value '{}' for '--burst <REQUESTS>': it needs --rate or --stages",
                self.burst
            ));
        }
        Ok(self
            .duration
            .map_or(Load::Frames(self.frames), Load::Duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Requests;
    use clap::CommandFactory;

    fn parse(flags: &[&str]) -> Result<Plan, String> {
        let arguments = [&["stress_test"], flags].concat();
        let cli = Cli::try_parse_from(arguments);
        cli.map_err(|error| one_line(&error))?.run.plan()
    }

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_shows_templates_as_they_have_to_be_typed() {
        let help = Cli::command().render_long_help().to_string();
        let example = r"--send '*2\r\n$4\r\nECHO\r\n$8\r\n{n:8}\r\n' --expect '$8\r\n{n:8}\r\n'";
        assert!(help.contains(example), "{help}");
    }

    #[test]
    fn every_flag_is_an_environment_variable_too() {
        for argument in Cli::command().get_arguments() {
            let Some(flag) = argument.get_long() else {
                continue;
            };
            let expected = format!("STRESS_TEST_{}", flag.to_uppercase().replace('-', "_"));
            let variable = argument.get_env().expect(flag);
            assert_eq!(variable.to_str(), Some(expected.as_str()));
        }
    }

    #[test]
    fn the_longest_payload_depends_on_the_longest_line() {
        let plan = parse(&["--max-line", "20", "--payload", "15"]).expect("it fits");
        assert_eq!(plan.payload.max(), 15);
        let error = parse(&["--max-line", "20", "--payload", "16"]).expect_err("it does not fit");
        assert!(
            error.contains("--payload") && error.contains("15"),
            "{error}"
        );
    }

    #[test]
    fn hogs_ask_for_the_same_unless_told_otherwise() {
        let mixes = |flags: &[&str]| match parse(flags).expect("flags").requests {
            Requests::Mixes { clients, hogs } => (clients, hogs),
            other => panic!("{other:?}"),
        };
        assert_eq!(mixes(&["--mix", "hash"]), (Mix::Hash, Mix::Hash));
        assert_eq!(mixes(&["--hog-mix", "sleep"]), (Mix::Echo, Mix::Sleep));
    }

    #[test]
    fn a_rate_makes_it_an_open_loop() {
        let plan = parse(&["--rate", "2k", "--duration", "3", "--warmup", "1"]).expect("flags");
        let Load::Rate(open) = plan.load else {
            panic!("{plan:?}");
        };
        assert_eq!((open.rate(), open.duration().as_secs()), (2000.0, 3));
        assert_eq!(open.arrivals, Arrivals::Poisson);
        assert_eq!((plan.warmup.as_secs(), plan.retries), (1, 0));
        let plan = parse(&["--duration", "3"]).expect("flags");
        assert_eq!(plan.load, Load::Duration(Duration::from_secs(3)));
        assert_eq!(plan.retries, 5);
        for flags in [
            &["--rate", "1k", "--frames", "5"][..],
            &["--rate", "1k", "--duration", "3", "--warmup", "3"],
        ] {
            assert!(parse(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn stages_are_an_open_loop_with_several_rates() {
        let plan = parse(&["--stages", "2:0,500ms:2.5k,1m:1"]).expect("flags");
        let stages = plan.load.stages().iter();
        let stages = stages.map(|stage| (stage.duration.as_millis(), stage.rate));
        let expected = [(2000, 0.0), (500, 2500.0), (60_000, 1.0)];
        assert_eq!(stages.collect::<Vec<_>>(), expected);
        assert_eq!((plan.retries, plan.most_clients), (0, 1000));
        // A stage may be all warmup.
        assert!(parse(&["--stages", "5s:10,5s:20", "--warmup", "5"]).is_ok());
    }

    #[test]
    fn an_open_loop_begins_with_the_clients_of_a_burst() {
        let clients = |flags: &str| {
            let flags: Vec<&str> = flags.split(' ').collect();
            let plan = parse(&flags).expect("flags");
            (plan.clients, plan.most_clients)
        };
        assert_eq!(clients("--rate 1k --burst 20"), (50, 1000));
        assert_eq!(clients("--rate 1k --burst 200"), (200, 1000));
        assert_eq!(clients("--stages 1s:5,1s:9 --burst 2000"), (2000, 2000));
        let pipelined = "--rate 1k --burst 2000 --max-inflight 16";
        assert_eq!(clients(pipelined), (125, 1000));
        let bounded = "--rate 1k --burst 200 --max-clients 60";
        assert_eq!(clients(bounded), (60, 60));
        for (flags, complaint) in [
            ("--burst 5", "it needs --rate or --stages"),
            ("--duration 1 --burst 5", "it needs --rate or --stages"),
            ("--frames 1 --burst 5", "cannot be used with"),
            ("--rate 5 --burst 0", "a whole number from 1 to 10000"),
        ] {
            let flags: Vec<&str> = flags.split(' ').collect();
            let error = parse(&flags).expect_err(complaint);
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_stages_is_one_line() {
        let many = vec!["1s:1"; 51].join(",");
        for (flags, complaint) in [
            ("--stages 10s", "TIME:RATE, such as 30s:5k, is needed"),
            ("--stages 10s:1k,", "TIME:RATE, such as 30s:5k, is needed"),
            ("--stages x:1k", "from 0.001 to 86400"),
            ("--stages 1s:-1", "0, or a number from 0.1 to 10000000"),
            ("--stages 1s:5,1s:0", "a pause has to be followed by a rate"),
            ("--stages 0.5d:5", "invalid value '0.5d:5' for '--stages"),
            ("--stages 20h:1,20h:1", "together they may last for 86400 s"),
            ("--stages 1s:1 --warmup 1", "shorter than the duration, 1 s"),
            ("--stages 1s:1,2s:1 --fail-if stage3.p99>1", "no such stage"),
            (
                "--rate 5 --fail-if stage1.p99>1",
                "no such stage of several",
            ),
            ("--stages 1s:1 --rate 5", "cannot be used with"),
            ("--stages 1s:1 --duration 5", "cannot be used with"),
            ("--stages 1s:1 --frames 5", "cannot be used with"),
            (&format!("--stages {many}"), "51 stages: 50 are possible"),
        ] {
            let flags: Vec<&str> = flags.split(' ').collect();
            let error = parse(&flags).expect_err(complaint);
            assert!(error.contains(complaint), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn conditions_are_separated_by_commas() {
        let flags = [
            "stress_test",
            "--fail-if",
            "p99>5ms,busy>1%",
            "--fail-if",
            "max>1s",
        ];
        let cli = Cli::try_parse_from(flags).expect("flags");
        let texts: Vec<String> = cli.run.fail_if.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["p99>5ms", "busy>1%", "max>1s"]);
    }
}
