//! The command line of `server`: flags and environment variables to a [`Config`].
//!
//! Knows no sockets and no protocol; the numbers, their ranges and reasons are those of
//! `config/limits.rs`.
//!
//! Rule: what is wrong is said in one line that names the flag and what is allowed.

mod settings;
mod usage;

use clap::builder::{EnumValueParser, OsStringValueParser, PathBufValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum};
use reactor_pool::config::{self, Config, Limit, QueueOrder, StopSignals};
pub(crate) use settings::Setting;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;
pub(crate) use usage::{Usage, in_one_line};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Args {
    /// Host and port; none if unix sockets are asked for and neither of these.
    pub(crate) tcp: Option<(String, u16)>,
    /// Neither host nor port is given: both are the defaults.
    pub(crate) is_tcp_by_default: bool,
    /// Paths of unix sockets.
    pub(crate) unix: Vec<PathBuf>,
    pub(crate) config: Config,
    /// Where it can be asked how it does; none if nowhere.
    pub(crate) admin: Option<AdminAddress>,
    /// The age of a running request from which on the server does not count as ready; zero for
    /// none.
    pub(crate) stuck_after: Duration,
    /// What holds for each flag.
    pub(crate) settings: Vec<Setting>,
    /// The longest SLEEP, in milliseconds.
    pub(crate) max_sleep: u64,
    pub(crate) framing: Framing,
    /// Where the trace goes, if one is wanted.
    pub(crate) trace_file: Option<PathBuf>,
    pub(crate) log_format: LogFormat,
    /// `-v` counts up, `-q` down.
    pub(crate) verbosity: i16,
}

/// Where the admin interface listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AdminAddress {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl AdminAddress {
    fn parse(text: &str) -> Result<AdminAddress, String> {
        let tcp = || {
            let (host, port) = text.rsplit_once(':')?;
            let in_brackets = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            let host = in_brackets.or_else(|| (!host.contains(':')).then_some(host))?;
            let port = PORT.parse(port).ok()?;
            (!host.is_empty()).then(|| AdminAddress::Tcp(host.to_owned(), port as u16))
        };
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Some(AdminAddress::Unix(path.into())),
            Some(_) => None,
            None => tcp(),
        }
        .ok_or_else(|| "allowed are HOST:PORT, [IPV6]:PORT and unix:PATH".to_owned())
    }
}

/// How requests and responses are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// Each is a line.
    Lines,
    /// Each has its length in front: four bytes, the most significant one first.
    Length,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

const PORT: Limit = Limit {
    flag: "port",
    default: 9000,
    min: 0,
    max: 65_535,
    unit: "port",
    reason: "TCP port to listen on; 0 takes a free one, which the log names",
};

/// Longest SLEEP.
const MAX_SLEEP: Limit = Limit {
    flag: "max-sleep",
    default: 10_000,
    min: 0,
    max: 86_400_000,
    unit: "ms",
    reason: "Longest SLEEP: how long one request can hold a worker",
};

/// Age of a running request that is too much.
const STUCK_AFTER: Limit = Limit {
    flag: "stuck-after",
    default: 0,
    min: 0,
    max: 86_400,
    unit: "s",
    reason: "Not ready, for /readyz of --admin, while a request has run for longer; 0 for never",
};

/// What a trace file holds; without one nothing is kept.
const TRACE_TASKS: Limit = Limit {
    default: 20_000,
    min: 1,
    ..config::TRACE_TASKS
};

/// In the order of the help.
const LIMITS: &[Limit] = &[
    PORT,
    config::WORKERS,
    config::WORKER_STACK,
    config::QUEUE,
    config::BUSY_TIMEOUT,
    config::MAX_LINE,
    config::MAX_INFLIGHT,
    config::MAX_PARALLEL,
    config::MAX_RUN,
    MAX_SLEEP,
    config::MAX_CONNECTIONS,
    config::MAX_CONNECTIONS_PER_ADDRESS,
    config::MAX_INFLIGHT_PER_ADDRESS,
    config::MAX_BUFFERED,
    config::PROXY_HEADER_TIMEOUT,
    config::IDLE_TIMEOUT,
    config::REQUEST_TIMEOUT,
    config::MIN_READ_RATE,
    config::STOP_DELAY,
    config::DRAIN_TIMEOUT,
    config::STATS_INTERVAL,
    config::SLOW_REQUEST,
    STUCK_AFTER,
    TRACE_TASKS,
    config::SOCKET_BUFFER,
];

impl Args {
    pub(crate) fn parse() -> Result<Args, Usage> {
        let matches = command().try_get_matches().map_err(Usage::of)?;
        Ok(Args::from(&matches))
    }

    /// How an error of the command line is to be said: looked for by hand, for what is wrong may
    /// stand before it.
    pub(crate) fn log_format() -> LogFormat {
        let mut words = std::env::args_os().skip(1);
        let mut format = std::env::var_os(variable_of("log-format"));
        while let Some(word) = words.next() {
            if word == "--log-format" {
                format = words.next();
            } else if let Some(value) = word
                .to_str()
                .and_then(|word| word.strip_prefix("--log-format="))
            {
                format = Some(value.into());
            }
        }
        match format {
            Some(format) if format == "json" => LogFormat::Json,
            _ => LogFormat::Text,
        }
    }

    fn from(matches: &ArgMatches) -> Args {
        let number = |limit: Limit| {
            *matches
                .get_one::<u64>(limit.flag)
                .expect("it has a default")
        };
        let millis = |limit| Duration::from_millis(number(limit));
        let seconds = |limit| Duration::from_secs(number(limit));
        let busy_timeout = match refuses_at_once(matches) {
            true => Duration::ZERO,
            false => millis(config::BUSY_TIMEOUT),
        };
        let trace_file: Option<PathBuf> = matches.get_one("trace-file").cloned();
        let trace_tasks = trace_file.as_ref().map_or(0, |_| number(TRACE_TASKS));
        let config = Config::default()
            .workers(number(config::WORKERS) as usize)
            .worker_stack(number(config::WORKER_STACK) as usize)
            .queue(number(config::QUEUE) as usize)
            .queue_order(*matches.get_one("queue-order").expect("it has a default"))
            .busy_timeout(busy_timeout)
            .max_line(number(config::MAX_LINE) as usize)
            .max_inflight(number(config::MAX_INFLIGHT) as usize)
            .max_parallel(number(config::MAX_PARALLEL) as usize)
            .max_run(number(config::MAX_RUN) as usize)
            .max_connections(number(config::MAX_CONNECTIONS) as usize)
            .max_connections_per_address(number(config::MAX_CONNECTIONS_PER_ADDRESS) as usize)
            .max_inflight_per_address(number(config::MAX_INFLIGHT_PER_ADDRESS) as usize)
            .max_buffered(number(config::MAX_BUFFERED) as usize)
            .proxy_protocol(matches.get_flag("proxy-protocol"))
            .proxy_header_timeout(seconds(config::PROXY_HEADER_TIMEOUT))
            .idle_timeout(seconds(config::IDLE_TIMEOUT))
            .request_timeout(seconds(config::REQUEST_TIMEOUT))
            .min_read_rate(number(config::MIN_READ_RATE) as usize)
            .stop_delay(seconds(config::STOP_DELAY))
            .drain_timeout(seconds(config::DRAIN_TIMEOUT))
            .stats_interval(seconds(config::STATS_INTERVAL))
            .slow_request(millis(config::SLOW_REQUEST))
            .trace_tasks(trace_tasks as usize)
            .socket_buffer(number(config::SOCKET_BUFFER) as usize)
            .reuse_port(matches.get_flag("reuse-port"))
            .stop_signals(StopSignals::UntilExit);
        let unix: Vec<_> = matches
            .get_many("unix")
            .unwrap_or_default()
            .cloned()
            .collect();
        let is_default = |flag| matches.value_source(flag) == Some(ValueSource::DefaultValue);
        let is_tcp_by_default = is_default("host") && is_default(PORT.flag);
        let host: &String = matches.get_one("host").expect("it has a default");
        let tcp = (host.clone(), number(PORT) as u16);
        Args {
            tcp: (unix.is_empty() || !is_tcp_by_default).then_some(tcp),
            is_tcp_by_default,
            unix,
            config,
            admin: matches.get_one("admin").cloned(),
            stuck_after: seconds(STUCK_AFTER),
            settings: settings::settings(&command(), matches),
            max_sleep: number(MAX_SLEEP),
            framing: *matches.get_one("framing").expect("it has a default"),
            trace_file,
            log_format: *matches.get_one("log-format").expect("it has a default"),
            verbosity: i16::from(matches.get_count("verbose"))
                - i16::from(matches.get_count("quiet")),
        }
    }
}

/// Whether the two flags that say how long a request may wait together mean not at all. The
/// command line wins over the environment, also where two flags say the same thing.
fn refuses_at_once(matches: &ArgMatches) -> bool {
    let from = |flag| matches.value_source(flag);
    let overruled = from("reject-when-full") == Some(ValueSource::EnvVariable)
        && from(config::BUSY_TIMEOUT.flag) == Some(ValueSource::CommandLine);
    matches.get_flag("reject-when-full") && !overruled
}

/// What the names of all our environment variables begin with.
const VARIABLE_PREFIX: &str = "REACTOR_POOL_";

/// Environment variables that look like ours and mean nothing.
pub(crate) fn unknown_variables() -> Vec<String> {
    let command = command();
    let is_known = |name: &OsStr| {
        command
            .get_arguments()
            .any(|arg| arg.get_env() == Some(name))
    };
    std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| {
            name.as_encoded_bytes()
                .starts_with(VARIABLE_PREFIX.as_bytes())
        })
        .filter(|name| !is_known(name))
        .map(|name| name.to_string_lossy().escape_debug().to_string())
        .collect()
}

fn command() -> Command {
    let queue_order = Arg::new("queue-order")
        .long("queue-order")
        .env("REACTOR_POOL_QUEUE_ORDER")
        .value_name("ORDER")
        .default_value("fair")
        .allow_negative_numbers(true)
        .value_parser(EnumValueParser::<Order>::new().map(QueueOrder::from))
        .help("Whose request a worker takes next");
    let reject_when_full = Arg::new("reject-when-full")
        .long("reject-when-full")
        .env("REACTOR_POOL_REJECT_WHEN_FULL")
        .action(ArgAction::SetTrue)
        .value_parser(parsed_by(switch))
        .help("The same as --busy-timeout 0: a full queue refuses at once");
    let framing = Arg::new("framing")
        .long("framing")
        .env("REACTOR_POOL_FRAMING")
        .value_name("FRAMING")
        .default_value("lines")
        .allow_negative_numbers(true)
        .value_parser(EnumValueParser::<Framing>::new())
        .help("How requests and responses are told apart");
    let log_format = Arg::new("log-format")
        .long("log-format")
        .env("REACTOR_POOL_LOG_FORMAT")
        .value_name("FORMAT")
        .default_value("text")
        .allow_negative_numbers(true)
        .value_parser(EnumValueParser::<LogFormat>::new())
        .help("How log lines on stderr look");
    let mut command = Command::new("server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A TCP line server: one reactor thread, one bounded queue, a fixed pool of workers")
        .after_help(
            "RUST_LOG takes tracing directives (such as reactor_pool=trace) and overrides -v and -q.\n\
             Exit codes: 0 stopped and drained, 1 could not listen or did not drain, 2 wrong usage.",
        )
        .args(address_args());
    for limit in LIMITS.iter().copied() {
        command = command.arg(limit_arg(limit));
    }
    command
        .mut_arg("queue", |arg| arg.visible_alias("queue-size"))
        .mut_arg("max-connections", |arg| arg.visible_alias("max-clients"))
        .args([reject_when_full, queue_order, framing, log_format])
        .arg(trace_file_arg())
        .arg(
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .action(ArgAction::Count)
                .help("Log connections (-v) and requests (-vv)"),
        )
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .action(ArgAction::Count)
                .help("Log warnings only (-q), errors only (-qq)"),
        )
}

fn trace_file_arg() -> Arg {
    Arg::new("trace-file")
        .long("trace-file")
        .env("REACTOR_POOL_TRACE_FILE")
        .value_name("FILE")
        .value_parser(PathBufValueParser::new())
        .help("Writes the times of the last requests at the end, and at SIGUSR1: for Perfetto")
}

/// Where it listens, but for the port.
fn address_args() -> [Arg; 5] {
    let host = Arg::new("host")
        .long("host")
        .env("REACTOR_POOL_HOST")
        .value_name("HOST")
        .default_value("127.0.0.1")
        .value_parser(parsed_by(host))
        .help("Address or name to listen on; only this host reaches the default");
    let unix = Arg::new("unix")
        .long("unix")
        .env("REACTOR_POOL_UNIX")
        .value_name("PATH")
        .action(ArgAction::Append)
        .value_parser(PathBufValueParser::new())
        .help(
            "Unix socket to listen on, too; may be given several times. Without --host and --port \
             there is no TCP then",
        );
    let admin = Arg::new("admin")
        .long("admin")
        .env("REACTOR_POOL_ADMIN")
        .value_name("ADDR")
        .value_parser(parsed_by(AdminAddress::parse))
        .help(
            "Where HTTP tells how the server does, HOST:PORT or unix:PATH: health, metrics, a live \
             page. Whoever reaches it may read all of it",
        );
    let reuse_port = Arg::new("reuse-port")
        .long("reuse-port")
        .env("REACTOR_POOL_REUSE_PORT")
        .action(ArgAction::SetTrue)
        .value_parser(parsed_by(switch))
        .help("Share --port with other processes that have this flag, too");
    let proxy_protocol = Arg::new("proxy-protocol")
        .long("proxy-protocol")
        .env("REACTOR_POOL_PROXY_PROTOCOL")
        .action(ArgAction::SetTrue)
        .value_parser(parsed_by(switch))
        .help(
            "Each connection has to begin with a header of the PROXY protocol, v1 or v2, that names \
             its client: only behind proxies, which alone can be reached",
        );
    [host, unix, reuse_port, proxy_protocol, admin]
}

fn limit_arg(limit: Limit) -> Arg {
    let Limit {
        flag,
        min,
        max,
        unit,
        reason,
        ..
    } = limit;
    Arg::new(flag)
        .long(flag)
        .env(variable_of(flag))
        .value_name(unit.to_uppercase())
        .default_value(limit.default.to_string())
        .allow_negative_numbers(true)
        .value_parser(parsed_by(move |text| limit.parse(text)))
        .help(format!("{reason} [{min} to {max}]"))
}

/// What stands for a value that is no text.
const NO_TEXT: &str = "\u{fffd}";

/// What a variable says of a flag without a value.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err("allowed are true and false".to_owned()),
    }
}

fn host(text: &str) -> Result<String, String> {
    match text {
        "" | NO_TEXT => Err("allowed is an address or a name".to_owned()),
        host => Ok(host.to_owned()),
    }
}

/// Of a value that is no text, clap would not say to which flag it belongs. So `parse` gets what
/// is wrong for every flag.
fn parsed_by<T: Clone + Send + Sync + 'static>(
    parse: impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |value| parse(value.to_str().unwrap_or(NO_TEXT)))
}

fn variable_of(flag: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", flag.replace('-', "_").to_uppercase())
}

/// The names that the flag takes for a [`QueueOrder`].
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// connections in turn
    Fair,
    /// first in, first out
    Fifo,
}

impl From<Order> for QueueOrder {
    fn from(order: Order) -> QueueOrder {
        match order {
            Order::Fair => QueueOrder::Fair,
            Order::Fifo => QueueOrder::Fifo,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("server").chain(line.split_whitespace());
        match command().try_get_matches_from(words) {
            Ok(matches) => Ok(Args::from(&matches)),
            Err(error) => match Usage::of(error) {
                Usage::Wrong(line) => Err(line),
                Usage::Text(text) => panic!("{text}"),
            },
        }
    }

    #[test]
    fn the_command_is_well_formed_and_defaults_to_the_default_config() {
        command().debug_assert();
        let args = parse("").expect("nothing is required");
        let expected = Config::default().stop_signals(StopSignals::UntilExit);
        assert_eq!(args.config, expected);
        assert_eq!(args.tcp, Some(("127.0.0.1".to_owned(), 9000)));
        assert_eq!((args.unix.len(), args.max_sleep), (0, 10_000));
    }

    #[test]
    fn a_flag_with_a_typing_error_is_answered_with_the_similar_one() {
        for (wrong, similar) in [
            ("--worker 3", "--workers"),
            ("--max-conections 3", "--max-connections"),
        ] {
            let line = parse(wrong).expect_err(wrong);
            assert!(line.contains(similar) && !line.contains('\n'), "{line}");
        }
        let line = parse("--zzz").expect_err("no such flag");
        assert!(
            line.contains("--zzz") && !line.contains("similar"),
            "{line}"
        );
    }

    #[test]
    fn a_unix_socket_takes_the_place_of_tcp_unless_that_is_asked_for_too() {
        for (line, tcp) in [
            ("--unix a", None),
            ("--unix a --port 9000", Some(("127.0.0.1", 9000))),
            ("--unix a --host ::1", Some(("::1", 9000))),
        ] {
            let args = parse(line).expect(line);
            let tcp = tcp.map(|(host, port): (&str, u16)| (host.to_owned(), port));
            assert_eq!(
                (args.tcp, args.unix),
                (tcp, vec![PathBuf::from("a")]),
                "{line}"
            );
        }
        let args = parse("--unix a --unix b").expect("several");
        assert_eq!(args.unix, ["a", "b"].map(PathBuf::from));
    }

    #[test]
    fn reject_when_full_is_a_busy_timeout_of_zero() {
        let args = parse("--reject-when-full --busy-timeout 5").expect("both may be given");
        assert_eq!(args.config.busy_timeout, Duration::ZERO);
    }

    #[test]
    fn a_wrong_value_is_one_line_with_flag_and_range() {
        for limit in LIMITS.iter().copied() {
            let Limit {
                flag,
                min,
                max,
                unit,
                ..
            } = limit;
            for wrong in ["x", "-1", "1.5", &(u128::from(max) + 1).to_string()] {
                let line = parse(&format!("--{flag} {wrong}")).expect_err(wrong);
                assert!(
                    line.contains(&format!("--{flag}")) && line.contains(wrong),
                    "{line}"
                );
                assert!(
                    line.contains(&format!("from {min} to {max} ({unit})")),
                    "{line}"
                );
                assert!(!line.contains('\n'));
            }
        }
        let line = parse("--queue-order random").expect_err("no such order");
        assert!(
            line.contains("--queue-order") && line.contains("fair, fifo"),
            "{line}"
        );
    }
}
