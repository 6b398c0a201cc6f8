//! The command line and the log: flags, their environment variables and ranges, exit codes, the
//! one line that says what is wrong, and what the log shows.
//!
//! Knows the name, default and range of each flag (the table below) and no way to read a setting
//! back but the start line, the help and the behaviour.
//!
//! Rule: a mistake of the caller gives one line on standard error, nothing on standard output, and
//! exit code 2; an address that cannot be had gives one line, and exit code 1.

mod common;
#[path = "command_line/log.rs"]
mod log;
#[path = "command_line/start.rs"]
mod start;
#[path = "command_line/unix.rs"]
mod unix;
#[path = "command_line/wrong_values.rs"]
mod wrong_values;

use std::ffi::OsStr;
use std::io::Read as _;
use std::net::{Ipv6Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{DEADLINE, Launch, Server, clean_environment, wait_until};

/// A flag that takes a number: name, default, smallest and greatest value.
const NUMBERS: &[(&str, &str, u64, u64)] = &[
    ("--port", "9000", 0, 65535),
    ("--workers", "4", 1, 1024),
    ("--queue", "256", 1, 1000),
    ("--busy-timeout", "1000", 0, 3_600_000),
    ("--max-line", "65536", 1, 16_777_216),
    ("--max-inflight", "128", 1, 65536),
    ("--max-connections", "10000", 1, 1_000_000),
];

/// Numbers whose range is the server's own choice: name and default.
const OTHER_NUMBERS: &[(&str, &str)] = &[
    ("--max-sleep", "10000"),
    ("--idle-timeout", "300"),
    ("--proxy-header-timeout", "5"),
    ("--request-timeout", "0"),
    ("--min-read-rate", "0"),
    ("--max-connections-per-address", "0"),
    ("--max-inflight-per-address", "0"),
    ("--stop-delay", "0"),
    ("--drain-timeout", "10"),
    ("--max-run", "64"),
    ("--max-buffered", "268435456"),
    ("--stats-interval", "0"),
    ("--stuck-after", "0"),
    ("--socket-buffer", "131072"),
    ("--worker-stack", "2097152"),
];

/// A flag that takes one of a few words: name, default, all words.
const WORDS: &[(&str, &str, &[&str])] = &[
    ("--queue-order", "fair", &["fair", "fifo"]),
    ("--log-format", "text", &["text", "json"]),
];

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// The one line on standard error of a run that failed with `code`.
    #[track_caller]
    fn only_line(&self, code: i32, context: &str) -> &str {
        assert_eq!(self.code, Some(code), "{context}: {}", self.stderr);
        assert_eq!(self.stdout, "", "{context}");
        assert_eq!(
            self.stderr.lines().count(),
            1,
            "{context}: not one line:\n{}",
            self.stderr
        );
        assert!(
            !self.stderr.contains('\x1b'),
            "{context}: colours: {:?}",
            self.stderr
        );
        self.stderr.trim_end()
    }
}

/// Runs a server that is expected to end by itself.
fn run(args: &[&str], env: &[(&str, &str)]) -> Outcome {
    let args: Vec<_> = args.iter().map(OsStr::new).collect();
    run_with(&args, env)
}

/// The same with arguments of any bytes.
fn run_with(args: &[&OsStr], env: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    clean_environment(&mut command);
    command.args(args).envs(env.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the server binary starts");
    let deadline = Instant::now() + DEADLINE;
    let exited = loop {
        match child.try_wait().expect("it is our child") {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    if exited.is_none() {
        child.kill().expect("it still runs");
        child.wait().expect("it is our child");
    }
    let mut outcome = Outcome {
        code: exited.and_then(|status| status.code()),
        stdout: String::new(),
        stderr: String::new(),
    };
    child
        .stdout
        .take()
        .expect("a pipe")
        .read_to_string(&mut outcome.stdout)
        .expect("UTF-8");
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut outcome.stderr)
        .expect("UTF-8");
    assert!(
        exited.is_some(),
        "{args:?} {env:?} did not end:\n{}",
        outcome.stderr
    );
    outcome
}

fn variable_of(flag: &str) -> String {
    format!(
        "REACTOR_POOL_{}",
        flag.trim_start_matches('-')
            .replace('-', "_")
            .to_uppercase()
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

// ---- help and version
// ---------------------------------------------------------------------------

/// What the help says about one flag, on one line.
fn help_section(help: &str, flag: &str) -> String {
    // A list of words is marked with "- ".
    let begins_a_section = |line: &&str| {
        let line = line.trim_start();
        line.starts_with('-') && !line.starts_with("- ")
    };
    let names_the_flag = |line: &str| {
        line.split(|c: char| c.is_whitespace() || ",<[=".contains(c))
            .any(|word| word == flag)
    };
    let mut lines = help
        .lines()
        .skip_while(|line| !(begins_a_section(line) && names_the_flag(line)));
    let first = lines
        .next()
        .unwrap_or_else(|| panic!("the help does not mention {flag}:\n{help}"));
    let rest = lines.take_while(|line| !begins_a_section(line));
    let words = std::iter::once(first)
        .chain(rest)
        .flat_map(str::split_whitespace);
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_help_names_each_flag_with_its_default_and_its_variable() {
    let help = run(&["--help"], &[]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    let numbers = NUMBERS.iter().map(|(flag, default, ..)| (*flag, *default));
    let words = WORDS.iter().map(|(flag, default, _)| (*flag, *default));
    let others = OTHER_NUMBERS.iter().copied();
    for (flag, default) in numbers
        .chain(words)
        .chain(others)
        .chain([("--host", "127.0.0.1")])
    {
        let section = help_section(&help.stdout, flag);
        assert!(
            section.contains(&format!("[default: {default}]")),
            "{flag}: {section}"
        );
        assert!(section.contains(&variable_of(flag)), "{flag}: {section}");
        // Defaults with reasons: something is said beyond the name.
        assert!(section.split_whitespace().count() > 8, "{flag}: {section}");
    }
    let section = help_section(&help.stdout, "--reject-when-full");
    assert!(
        section.contains("REACTOR_POOL_REJECT_WHEN_FULL"),
        "{section}"
    );
    for flag in ["-v", "-q", "--help", "--version"] {
        help_section(&help.stdout, flag);
    }
    for alias in ["--queue-size", "--max-clients"] {
        assert!(
            help.stdout.contains(alias),
            "the help does not mention {alias}"
        );
    }
}

#[test]
fn the_short_help_also_ends_well() {
    let help = run(&["-h"], &[]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.contains("--workers"));
}

#[test]
fn the_version_is_printed() {
    let version = run(&["--version"], &[]);
    assert_eq!((version.code, version.stderr.as_str()), (Some(0), ""));
    assert!(
        version.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{}",
        version.stdout
    );
    assert_eq!(version.stdout.lines().count(), 1, "{}", version.stdout);
}

// ---- addresses
// ----------------------------------------------------------------------------------

#[test]
fn a_port_in_use_gives_one_line_with_address_and_cause_and_exit_code_1() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("it is bound").to_string();
    let port = address.rsplit(':').next().expect("a port");
    let outcome = run(&["--port", port], &[]);
    let line = outcome.only_line(1, &address);
    assert!(line.contains(&address), "{line}");
    assert!(line.to_lowercase().contains("in use"), "{line}");
}

#[test]
fn the_port_of_a_running_server_is_in_use() {
    let server = Server::start(&[]);
    let address = server.address().to_string();
    let port = server.address().port().to_string();
    for flags in [
        &["--port", &port][..],
        &["--port", "0", "--admin", &address],
    ] {
        let outcome = run(flags, &[]);
        let line = outcome.only_line(1, &address);
        assert!(
            line.contains(&address) && line.to_lowercase().contains("in use"),
            "{line}"
        );
    }
    server.assert_serves();
}

#[test]
fn an_address_of_another_machine_gives_one_line_with_address_and_cause_and_exit_code_1() {
    // RFC 5737: an address for documentation, which no machine has.
    let port = free_port().to_string();
    let outcome = run(&["--host", "192.0.2.1", "--port", &port], &[]);
    let line = outcome.only_line(1, "192.0.2.1");
    assert!(line.contains(&format!("192.0.2.1:{port}")), "{line}");
    assert!(line.to_lowercase().contains("assign"), "{line}");
}

#[test]
fn a_host_that_is_no_address_gives_one_line_that_names_it() {
    for host in ["not an address", "", "127.0.0.1:80", "256.256.256.256"] {
        let outcome = run(&["--host", host, "--port", "0"], &[]);
        // A wrong value or an address that cannot be had: both readings are right.
        let code = if outcome.code == Some(2) { 2 } else { 1 };
        let line = outcome.only_line(code, host);
        assert!(line.contains(host), "{host:?}: {line}");
    }
}

#[test]
fn an_address_of_a_name_that_cannot_be_had_is_named_with_the_name() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("it is bound").to_string();
    let port = address.rsplit(':').next().expect("a port");
    let outcome = run(&["--host", "localhost", "--port", port], &[]);
    let line = outcome.only_line(1, &address);
    let begin = format!("error: cannot listen on {address} (localhost): ");
    assert!(line.starts_with(&begin), "{line}");
}

#[test]
fn a_server_on_the_ipv6_loopback_address_is_reached_there() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let server = Server::start(&["--host", "::1"]);
    assert!(server.address().is_ipv6(), "{}", server.address());
    server.assert_serves();
}

#[test]
fn an_address_that_others_can_reach_is_warned_about() {
    let server = Server::start(&["--host", "0.0.0.0"]);
    server.log().wait_for("warns of 0.0.0.0", |line| {
        line.contains("WARN") && line.contains("0.0.0.0")
    });
    let server = Server::start(&[]);
    server.assert_serves();
    assert!(
        !server
            .log()
            .lines()
            .iter()
            .any(|line| line.contains("WARN"))
    );
}

// ---- settings that work
// -------------------------------------------------------------------------

#[test]
fn the_start_line_names_address_and_pool() {
    let server = Server::start(&[]);
    let line = server
        .log()
        .wait_for("says listening", |line| line.contains("listening"));
    let wanted = format!("listening addr={} workers=4 queue=256", server.address());
    assert!(line.contains(&wanted), "{line}");
    assert!(line.contains("INFO"), "{line}");
    assert!(
        !line.contains('\x1b'),
        "colours where no terminal is: {line:?}"
    );
}

#[test]
fn each_setting_comes_from_its_variable_and_the_flag_wins() {
    let server = Launch::new(&[])
        .env("REACTOR_POOL_WORKERS", "3")
        .env("REACTOR_POOL_QUEUE", "7")
        .env("REACTOR_POOL_MAX_SLEEP", "20")
        .env("REACTOR_POOL_MAX_LINE", "30")
        .start();
    server
        .log()
        .wait_for("shows the pool", |line| line.contains("workers=3 queue=7"));
    let mut client = server.connect();
    client.send(format!("SLEEP 21\n{}\n", "x".repeat(31)));
    client.expect("ERR SLEEP needs an integer from 0 to 20");
    client.expect("ERR line too long (limit 30 bytes)");

    let server = Launch::new(&["--workers", "2"])
        .env("REACTOR_POOL_WORKERS", "3")
        .start();
    server.log().wait_for("shows the pool", |line| {
        line.contains("workers=2 queue=256")
    });
}

#[test]
fn a_switch_comes_from_its_variable() {
    let server = Launch::new(&["--workers", "1", "--queue", "1"])
        .env("REACTOR_POOL_REJECT_WHEN_FULL", "true")
        .start();
    let mut client = server.connect();
    client.send(format!("SLEEP 300\n{}", "ECHO x\n".repeat(10)));
    client.expect("OK 300");
    let answers: Vec<Vec<u8>> = (0..10).map(|_| client.line()).collect();
    // With the timeout of 1 s in force, all would have been served.
    assert!(answers.iter().any(|answer| answer == b"ERR server busy"));
}

#[test]
fn a_busy_timeout_on_the_command_line_overrules_the_variable_that_refuses_at_once() {
    let flags = ["--workers", "1", "--queue", "1", "--busy-timeout", "20000"];
    let server = Launch::new(&flags)
        .env("REACTOR_POOL_REJECT_WHEN_FULL", "true")
        .start();
    let mut client = server.connect();
    client.send(format!("SLEEP 300\n{}", "ECHO x\n".repeat(10)));
    client.expect("OK 300");
    client.expect_lines(&["OK x"; 10]);
}

#[test]
fn aliases_work() {
    let server = Server::start(&["--queue-size", "7"]);
    server
        .log()
        .wait_for("shows the pool", |line| line.contains("queue=7"));

    let server = Server::start(&["--max-clients", "1"]);
    let mut first = server.connect();
    first.send("ECHO first\n");
    first.expect("OK first");
    let mut second = server.connect();
    second.expect("ERR too many connections");
    second.expect_end();
}

#[test]
fn a_given_port_is_used() {
    let port = free_port();
    let server = Launch::new(&[]).port(port).start();
    assert_eq!(server.address().port(), port);
    server.assert_serves();
}

/// sched(7): a thread under `SCHED_BATCH` does not interrupt another one when it is woken.
#[test]
fn workers_do_not_interrupt_the_loop_that_wakes_them() {
    const USUAL: u32 = 0;
    const BATCH: u32 = 3;
    let server = Server::start(&["--workers", "3"]);
    // Where this test runs under another policy than the usual one, so does all of the server.
    let is_loop = |(name, _): &(String, u32)| name == "server";
    let own = server.policies().into_iter().find(is_loop);
    let (_, own) = own.expect("the first thread has the name of the program");
    let expected = if own == USUAL { BATCH } else { own };
    wait_until("three workers have their policy", DEADLINE, || {
        let policies = server.policies().into_iter();
        let workers = policies.filter(|(name, _)| name.starts_with("worker-"));
        workers.filter(|(_, policy)| *policy == expected).count() == 3
    });
    let own_still = server.policies().into_iter().find(is_loop);
    assert_eq!(own_still, Some(("server".to_owned(), own)));
}
