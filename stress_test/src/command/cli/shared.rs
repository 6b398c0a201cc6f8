//! Flags that several commands share.
//!
//! Knows clap and the ranges; does nothing.
//!
//! Rule: a flag means the same in every command that has it.

use std::ffi::OsString;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};

use super::values::{seconds, whole};
use crate::load::http::HttpExchange;
use crate::load::plan::{Load, Mix, Plan, Requests};
use crate::load::sizes::Sizes;
use crate::load::template::Exchange;
use crate::random;
use crate::wire::{Framing, Limits};

/// `ECHO ` and `HASH ` stand before a payload.
const OP_BYTES: u32 = 5;

/// The server's own default of `--max-connections`.
const SERVER_CONNECTIONS: u32 = 10_000;

/// Where a server is that this program does not start. clap asks for no flag that another one
/// excludes, so what needs `--spawn` excludes these itself.
const NOT_SPAWNED: [&str; 2] = ["host", "port"];

/// Where the server is, or how to start one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct TargetArguments {
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

    /// Starts the `server` that lies beside this program on a free port, and stops it at the end
    #[arg(long, env = "STRESS_TEST_SPAWN", value_parser = FalseyValueParser::new(),
        action = ArgAction::SetTrue)]
    pub(crate) spawn: bool,

    /// The spawned server's --workers
    #[arg(long, env = "STRESS_TEST_WORKERS", requires = "spawn",
        conflicts_with_all = NOT_SPAWNED, value_parser = whole::<1, 100_000>)]
    pub(crate) workers: Option<u32>,

    /// The spawned server's --queue
    #[arg(long, env = "STRESS_TEST_QUEUE", requires = "spawn",
        conflicts_with_all = NOT_SPAWNED, value_parser = whole::<1, 1000>)]
    pub(crate) queue: Option<u32>,

    /// One more argument for the spawned server, such as --server-arg=--reject-when-full; may be
    /// given several times
    #[arg(
        long,
        env = "STRESS_TEST_SERVER_ARG",
        value_name = "ARG",
        requires = "spawn",
        conflicts_with_all = NOT_SPAWNED,
        allow_hyphen_values = true
    )]
    pub(crate) server_arg: Vec<OsString>,
}

/// What a mix is made of. Whoever spells requests and answers has no use for it; an answer alone
/// names it too, as clap asks for no flag that another one excludes.
const OF_MIXES: [&str; 4] = ["mix", "payload", "sleep_ms", "framing"];

/// What else there is no use for over HTTP; the server that can be spawned does not speak it.
const NOT_OVER_HTTP: [&str; 3] = ["send", "expect", "spawn"];

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct RequestArguments {
    /// What to ask for: echo, sleep, hash, or several by weight, such as echo=70,hash=20,sleep=10;
    /// balanced is half SLEEP, half ECHO; errors provokes every error text. Of several, each
    /// operation's latency is told apart
    #[arg(long, env = "STRESS_TEST_MIX", default_value = "echo", value_parser = Mix::parse)]
    pub(crate) mix: Mix,

    // Help says "n in braces", as clap makes a line break of it without a width.
    /// Sends this instead of a mix, to any server with one right answer to it. {c} stands for the
    /// number of the client, n in braces for that of its request, both from 0; {c:4} and {n:8} are
    /// the same in 4 and 8 digits. {{ and }} are braces, \n \r \t \0 \\ and \xHH bytes
    #[arg(long, env = "STRESS_TEST_SEND", value_name = "TEMPLATE", requires = "expect",
        allow_hyphen_values = true, conflicts_with_all = OF_MIXES)]
    pub(crate) send: Option<String>,

    /// The right answer to --send, to the byte, spelled in the same way; with numbers in it,
    /// swapped answers can be found. One that is a line ends at its LF, any other has as many
    /// bytes as the one that is due, and there a wrong one that is no request's ends the
    /// connection
    #[arg(
        long,
        env = "STRESS_TEST_EXPECT",
        value_name = "TEMPLATE",
        requires = "send",
        conflicts_with_all = OF_MIXES,
        allow_hyphen_values = true
    )]
    pub(crate) expect: Option<String>,

    /// Sends GET of this path as HTTP/1.1 instead of a mix, spelled as --send, over kept
    /// connections. Status 200 and the body are verified, to the byte; 503 counts as busy. Of the
    /// headers only Content-Length and Transfer-Encoding: chunked are looked at. Between equal
    /// bodies, swapped answers cannot be noticed
    #[arg(long, env = "STRESS_TEST_HTTP", value_name = "PATH",
        conflicts_with_all = OF_MIXES, conflicts_with_all = NOT_OVER_HTTP)]
    pub(crate) http: Option<String>,

    /// The right body of each answer to --http, spelled as --send [default: as in the first answer
    /// with status 200, so one that is wrong in all of them is not noticed]
    #[arg(
        long,
        env = "STRESS_TEST_EXPECT_BODY",
        value_name = "TEMPLATE",
        requires = "http",
        conflicts_with_all = OF_MIXES,
        conflicts_with_all = NOT_OVER_HTTP,
        allow_hyphen_values = true
    )]
    pub(crate) expect_body: Option<String>,
}

impl RequestArguments {
    /// The requests to `target`; of hogs, those of `hog_mix` if there is one. An error is one line
    /// that names the flag.
    pub(crate) fn requests(
        &self,
        hog_mix: Option<Mix>,
        target: &TargetArguments,
    ) -> Result<Requests, String> {
        if let Some(path) = &self.http {
            let server = (target.host.as_str(), target.port);
            let body = self.expect_body.as_deref();
            return HttpExchange::parse(path, body, server).map(Requests::Http);
        }
        match (&self.send, &self.expect) {
            (Some(send), Some(expect)) => Exchange::parse(send, expect).map(Requests::Template),
            _ => Ok(Requests::Mixes {
                clients: self.mix,
                hogs: hog_mix.unwrap_or(self.mix),
            }),
        }
    }
}

/// How many clients an open loop opens unless it is told.
const MOST_CLIENTS: u32 = 1000;

/// How many clients an open loop may come to.
#[derive(Debug, Args)]
pub(crate) struct GrowthArguments {
    /// In an open loop --clients are those at its beginning. More are connected as they are
    /// needed, up to this many, 1 to 50000 [default: 1000, or --clients if those are more]
    #[arg(long, env = "STRESS_TEST_MAX_CLIENTS", value_name = "CLIENTS",
        value_parser = whole::<1, 50_000>, help_heading = "Load")]
    max_clients: Option<u32>,
}

impl GrowthArguments {
    /// `plan` with as many clients from the beginning on as a burst takes.
    pub(crate) fn begin(&self, plan: Plan) -> Plan {
        let most = self.max_clients.unwrap_or(u32::MAX);
        let clients = plan.clients_of_a_burst().min(most).max(plan.clients);
        Plan { clients, ..plan }
    }

    /// Up to how many clients there may be in an open loop that begins with those of `plan`. An
    /// error is one line that names the flag.
    pub(crate) fn apply(&self, plan: Plan) -> Result<Plan, String> {
        let clients = plan.clients;
        let most_clients = match (&plan.load, self.max_clients) {
            (Load::Frames(_) | Load::Duration(_), _) => clients,
            (Load::Rate(_), None) => clients.max(MOST_CLIENTS),
            (Load::Rate(_), Some(most)) if most >= clients => most,
            (Load::Rate(_), Some(most)) => {
                return Err(format!(
                    "invalid value '{most}' for '--max-clients <CLIENTS>': it must be at least \
                     --clients, {clients}"
                ));
            }
        };
        Ok(Plan {
            most_clients,
            ..plan
        })
    }
}

/// How the server speaks.
#[derive(Debug, Args)]
pub(crate) struct FramingArguments {
    /// The server's --framing: each request and response is a line, or has its length in front, 4
    /// bytes with the most significant one first. Then payloads are bytes of all kinds
    #[arg(long, env = "STRESS_TEST_FRAMING", default_value = "lines")]
    pub(crate) framing: Framing,
}

/// What each client does.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArguments {
    #[command(flatten)]
    pub(crate) framing: FramingArguments,

    /// Requests that a client keeps under way at a time (pipelining), 1 to 100000; one that waits
    /// for its retry counts as under way
    #[arg(long, env = "STRESS_TEST_MAX_INFLIGHT", default_value = "1",
        value_parser = whole::<1, 100_000>)]
    pub(crate) max_inflight: u32,

    /// Event loops of this program, each in a thread of its own with its share of the clients, 1
    /// to 1000; no more than there are clients [default: half of the processors, the others being
    /// the server's]
    #[arg(long, env = "STRESS_TEST_THREADS", value_parser = whole::<1, 1000>)]
    pub(crate) threads: Option<u32>,

    /// Characters in an ECHO or HASH argument, up to --max-line less 5: one number, MIN..MAX (both
    /// included), exp:MEAN (exponential, cut at ten times that), or bimodal:USUAL,RARE@PERCENT%
    #[arg(long, env = "STRESS_TEST_PAYLOAD", default_value = "1..100", value_name = "MIN..MAX",
        value_parser = Sizes::parse)]
    pub(crate) payload: Sizes,

    /// Milliseconds of a SLEEP, up to --max-sleep, in the same forms: bimodal:5,100@1% is 100 in
    /// one of a hundred requests, and 5 in the others
    #[arg(long, env = "STRESS_TEST_SLEEP_MS", default_value = "1..10", value_name = "MIN..MAX",
        value_parser = Sizes::parse)]
    pub(crate) sleep_ms: Sizes,

    /// The server's --max-line, which its error texts name, 16 to 16777216
    #[arg(long, env = "STRESS_TEST_MAX_LINE", default_value = "65536", value_name = "BYTES",
        value_parser = whole::<16, 16_777_216>)]
    pub(crate) max_line: u32,

    /// The server's --max-sleep, which its error texts name, 0 to 86400000
    #[arg(long, env = "STRESS_TEST_MAX_SLEEP", default_value = "10000", value_name = "MS",
        value_parser = whole::<0, 86_400_000>)]
    pub(crate) max_sleep: u32,

    /// Repeats the requests of an earlier run, which names it in its report, 0 to 4294967295: what
    /// each client asks for, and in an open loop when requests are due; who sends which then
    /// depends on who has room [default: random]
    #[arg(long, env = "STRESS_TEST_SEED", value_parser = whole::<0, { u32::MAX }>)]
    pub(crate) seed: Option<u32>,

    /// Seconds that a connection may stay without a response while one is due, 0.1 to 3600; then
    /// those requests are missing, and after two such waits in a row the connection is given up
    #[arg(long, env = "STRESS_TEST_TIMEOUT", default_value = "10", value_name = "SECONDS",
        value_parser = seconds(0.1, 3600.0))]
    pub(crate) timeout: Duration,

    /// Connections begun per second, 1 to 1000000; the load starts when all are made
    #[arg(long, env = "STRESS_TEST_CONNECT_RATE", default_value = "5000", value_name = "RATE",
        value_parser = whole::<1, 1_000_000>)]
    pub(crate) connect_rate: u32,
}

/// What is said while it runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// Names each failure on stderr at once, and copies the spawned server's log there
    #[arg(short, long, env = "STRESS_TEST_VERBOSE", value_parser = FalseyValueParser::new(),
        action = ArgAction::SetTrue, conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Prints failures and the verdict only
    #[arg(short, long, env = "STRESS_TEST_QUIET", value_parser = FalseyValueParser::new(),
        action = ArgAction::SetTrue)]
    pub(crate) quiet: bool,
}

impl LoadArguments {
    /// A plan of `clients` that do `load`, without hogs, warmup and retries. An error is one line
    /// that names the flag.
    pub(crate) fn plan(
        &self,
        clients: u32,
        load: Load,
        requests: Requests,
    ) -> Result<Plan, String> {
        let longest_payload = self.max_line - OP_BYTES;
        if self.payload.max() > longest_payload {
            return Err(format!(
                "invalid value '{}' for '--payload <MIN..MAX>': with --max-line {} it may be up \
                 to {longest_payload}",
                self.payload, self.max_line
            ));
        }
        if self.sleep_ms.max() > self.max_sleep {
            return Err(format!(
                "invalid value '{}' for '--sleep-ms <MIN..MAX>': with --max-sleep {} it may be up \
                 to {1}",
                self.sleep_ms, self.max_sleep
            ));
        }
        Ok(Plan {
            clients,
            most_clients: clients,
            threads: self.threads.unwrap_or_else(usual_threads),
            load,
            warmup: Duration::ZERO,
            max_inflight: self.max_inflight as usize,
            requests,
            hogs: 0,
            hog_inflight: 1,
            payload: self.payload,
            sleep_ms: self.sleep_ms,
            limits: Limits {
                framing: self.framing.framing,
                max_line_bytes: self.max_line as usize,
                max_sleep_ms: self.max_sleep,
            },
            seed: u64::from(self.seed.unwrap_or_else(random::seed)),
            timeout: self.timeout,
            retries: 0,
            connect_rate: self.connect_rate,
            reconnect: false,
        })
    }

    /// The arguments of a spawned server that takes so many `connections`, without address.
    pub(crate) fn server_arguments(
        &self,
        workers: Option<u32>,
        queue: Option<u32>,
        connections: u32,
        more: &[OsString],
    ) -> Vec<OsString> {
        // What it takes unless it is told.
        let connections = Some(connections).filter(|&count| count > SERVER_CONNECTIONS);
        let flags = [
            ("--workers", workers),
            ("--queue", queue),
            ("--max-line", Some(self.max_line)),
            ("--max-sleep", Some(self.max_sleep)),
            ("--max-connections", connections),
        ];
        let mut arguments = Vec::new();
        // A server that knows no framing but lines knows no flag for it.
        if self.framing.framing != Framing::Lines {
            arguments.push(OsString::from("--framing"));
            arguments.push(OsString::from(self.framing.framing.to_string()));
        }
        for (flag, value) in flags {
            if let Some(value) = value {
                arguments.push(OsString::from(flag));
                arguments.push(OsString::from(value.to_string()));
            }
        }
        arguments.extend(more.iter().cloned());
        arguments
    }
}

/// Half of the processors, at least one.
fn usual_threads() -> u32 {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(processors / 2).map_or(1, |half| half.clamp(1, 1000))
}
