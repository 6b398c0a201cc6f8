//! The flags of the commands that make several runs.
//!
//! Knows clap and the ranges; does nothing.
//!
//! Rule: what varies is a list, separated by commas; what does not has the flag of a run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::shared::{
    GrowthArguments, LoadArguments, OutputArguments, RequestArguments, TargetArguments,
};
use super::values::{file, rate, seconds, whole};
use crate::figures::threshold::Threshold;
use crate::load::plan::{Arrivals, Load, Mix, OpenLoop, Plan, Requests};
use crate::load::stages::Stage;

/// The flags of every command that makes several runs.
#[derive(Debug, Args)]
pub(crate) struct SeriesArguments {
    /// Seconds of it that are verified but not measured, 0 to 86400
    #[arg(long, default_value = "0.5", value_name = "SECONDS",
        value_parser = seconds(0.0, 86_400.0))]
    pub(crate) warmup: Duration,

    #[command(flatten)]
    pub(crate) load: LoadArguments,

    /// Writes every figure into this file, in the format of docs/stress_test.schema.json. With -
    /// the JSON goes to stdout and the report to stderr
    #[arg(long, value_name = "FILE", value_parser = file, help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

impl SeriesArguments {
    /// What one run is. An error is one line that names the flag.
    fn plan(&self, clients: u32, load: Load, requests: Requests) -> Result<Plan, String> {
        if let Some(duration) = load.duration() {
            check_warmup(self.warmup, duration)?;
        }
        Ok(Plan {
            warmup: self.warmup,
            ..self.load.plan(clients, load, requests)?
        })
    }
}

const SWEEP_HELP: &str = "\
Each cell of the table is the median of its rounds, with the smallest and the largest beside it.
Where workers that only sleep are what limits, the ideal is workers x 1000 / milliseconds per second
(balanced: as if ECHO took no time). The server's processor time and memory come from /proc.

What has been measured is kept and shown, whatever comes then. Exit codes are those of a run; a
wrong answer in any cell is 1.

    stress_test sweep --workers 1,2,4,8 --mix sleep --sleep-ms 10 --json sweep.json
    stress_test report sweep.json -o sweep.html";

/// The flags of a sweep.
#[derive(Debug, Args)]
#[command(after_help = SWEEP_HELP)]
pub(crate) struct SweepArguments {
    /// Pool sizes: the server's --workers, each 1 to 1024
    #[arg(long, default_value = "1,2,4,8,16", value_name = "N,...", value_delimiter = ',',
        value_parser = whole::<1, 1024>)]
    pub(crate) workers: Vec<u32>,

    /// Workloads: echo, hash, sleep, balanced, errors
    #[arg(
        long,
        default_value = "echo,hash,sleep,balanced",
        value_name = "MIX,...",
        value_delimiter = ',',
        value_parser = Mix::parse_name
    )]
    pub(crate) mix: Vec<Mix>,

    /// Numbers of clients, each 1 to 50000
    #[arg(long, default_value = "64", value_name = "N,...", value_delimiter = ',',
        value_parser = whole::<1, 50_000>)]
    pub(crate) clients: Vec<u32>,

    /// Queue sizes: the server's --queue, each 1 to 1000
    #[arg(long, default_value = "256", value_name = "N,...", value_delimiter = ',',
        value_parser = whole::<1, 1000>)]
    pub(crate) queue: Vec<u32>,

    /// How often each combination is measured, 1 to 100
    #[arg(long, default_value = "3", value_parser = whole::<1, 100>)]
    pub(crate) rounds: u32,

    /// One more argument for the server; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) server_arg: Vec<OsString>,

    /// Seconds of one measurement, warmup included, 0.1 to 86400
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds(0.1, 86_400.0))]
    pub(crate) duration: Duration,

    #[command(flatten)]
    pub(crate) series: SeriesArguments,
}

impl SweepArguments {
    /// What one measurement is, of all that the sweep varies the first of each. An error is one
    /// line that names the flag.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let first = (self.clients.first(), self.mix.first());
        let (Some(&clients), Some(&mix)) = first else {
            return Err("--clients and --mix need a value".to_owned());
        };
        let load = Load::Duration(self.duration);
        self.series.plan(clients, load, Requests::all_of(mix))
    }
}

const RAMP_HELP: &str = "\
A rate holds when every condition of --slo does, nothing that was due remained unsent or without an
answer, and the backlog of what was due did not grow by more than chance explains. One that does not
hold is tried a second time. Rates are doubled until one breaks, and then halved in between until
both ends are within --precision. Each step lasts as long as its percentiles need, and as long as it
takes for a backlog to show that a rate is too high by the precision: 6400 requests with 5 %, 1600
with 10 %. What has been measured is shown, whatever comes then.

Exit codes: 0 with the highest rate that holds, 4 if none does, 5 if the generator was the limit,
otherwise those of a run.

    stress_test ramp --spawn --workers 4 --mix sleep --sleep-ms 10 --slo 'p99<50ms' --start 100";

/// The flags of a ramp.
#[derive(Debug, Args)]
#[command(after_help = RAMP_HELP)]
pub(crate) struct RampArguments {
    /// What has to hold, separated by commas: conditions as those of --fail-if of a run, turned
    /// round
    #[arg(long, default_value = "p99<10ms,busy<0.1%", value_name = "CONDITION,...",
        value_delimiter = ',', value_parser = Threshold::parse)]
    pub(crate) slo: Vec<Threshold>,

    /// The first rate in requests a second, 0.1 to 10M
    #[arg(long, default_value = "1k", value_name = "RATE", value_parser = rate)]
    pub(crate) start: f64,

    /// Rates above this are not tried, 0.1 to 10M
    #[arg(long, default_value = "1M", value_name = "RATE", value_parser = rate)]
    pub(crate) max_rate: f64,

    /// How close the highest rate that holds and the lowest that does not shall be, in percent, 1
    /// to 100
    #[arg(long, default_value = "5", value_name = "PERCENT", value_parser = whole::<1, 100>)]
    pub(crate) precision: u32,

    /// Clients, each on a connection of its own, 1 to 50000
    #[arg(long, env = "STRESS_TEST_CLIENTS", default_value = "50",
        value_parser = whole::<1, 50_000>)]
    pub(crate) clients: u32,

    #[command(flatten)]
    pub(crate) growth: GrowthArguments,

    #[command(flatten)]
    pub(crate) requests: RequestArguments,

    /// How requests are spread in time
    #[arg(long, env = "STRESS_TEST_ARRIVALS", default_value = "poisson")]
    pub(crate) arrivals: Arrivals,

    /// Seconds of a step, warmup included, 0.1 to 86400; longer where a percentile of --slo or
    /// --precision need more requests than that gives, up to a minute
    #[arg(long, default_value = "3", value_name = "SECONDS", value_parser = seconds(0.1, 86_400.0))]
    pub(crate) duration: Duration,

    #[command(flatten)]
    pub(crate) series: SeriesArguments,

    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

impl RampArguments {
    /// The first step. An error is one line that names the flag.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let open = OpenLoop::steady(self.start, self.arrivals, self.duration);
        let requests = self.requests.requests(None, &self.target)?;
        check_conditions("--slo", &self.slo, &requests, &[])?;
        let plan = self.series.plan(self.clients, Load::Rate(open), requests)?;
        self.growth.apply(plan)
    }
}

/// The flags of a report.
#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// What --json wrote, one or more; - is stdin
    #[arg(required = true, value_name = "FILE", value_parser = file)]
    pub(crate) files: Vec<PathBuf>,

    /// The page; it needs no other file, no network and no script. - is stdout
    #[arg(short, long, default_value = "stress_test.html", value_name = "FILE",
        value_parser = file)]
    pub(crate) output: PathBuf,

    /// What stands at its top
    #[arg(long, default_value = "Stress test of reactor-pool")]
    pub(crate) title: String,
}

/// A condition on an operation needs a mix that has it, and one on a stage several of `stages`.
pub(crate) fn check_conditions(
    flag: &str,
    conditions: &[Threshold],
    requests: &Requests,
    stages: &[Stage],
) -> Result<(), String> {
    let has = |operation| match requests {
        Requests::Mixes { clients, .. } => clients.has(operation),
        Requests::Template(_) | Requests::Http(_) => false,
    };
    let is_known = |stage| stages.len() > 1 && (1..=stages.len()).contains(&stage);
    let mut complaints = conditions.iter().filter_map(|condition| {
        if condition.operation().is_some_and(|of| !has(of)) {
            return Some((condition, "--mix does not have that operation"));
        }
        let is_strange = condition.stage().is_some_and(|stage| !is_known(stage));
        is_strange.then_some((condition, "there is no such stage of several"))
    });
    match complaints.next() {
        Some((condition, complaint)) => Err(format!(
            "invalid value '{condition}' for '{flag} <CONDITION>': {complaint}"
        )),
        None => Ok(()),
    }
}

/// A warmup leaves something to measure.
pub(crate) fn check_warmup(warmup: Duration, duration: Duration) -> Result<(), String> {
    if warmup < duration {
        return Ok(());
    }
    Err(format!(
        "invalid value '{}' for '--warmup <SECONDS>': it must be shorter than the duration, {} s",
        warmup.as_secs_f64(),
        duration.as_secs_f64()
    ))
}
