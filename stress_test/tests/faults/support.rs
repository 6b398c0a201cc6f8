//! Runs the built `stress_test` and judges what it printed.
//!
//! Knows its exit codes, its verdict line and the double; no test's subject.
//!
//! Rule: no run lasts beyond a deadline, and a failed assertion shows all that was printed.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use stress_test::{Fault, FaultyServer, Framing, Limits};

use crate::command::signal;

/// Far more than any run here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
/// The double's, small so that lines over the limit are cheap.
const LIMITS: Limits = Limits {
    framing: Framing::Lines,
    max_line_bytes: 2000,
    max_sleep_ms: 10_000,
};

pub(crate) struct Report {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Report {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("the report is text"),
            stderr: String::from_utf8(output.stderr).expect("messages are text"),
        }
    }

    pub(crate) fn verdict(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }

    /// Exit 1, exactly `count` failures, and one line that ends (after client and frame) in
    /// `text`.
    #[track_caller]
    pub(crate) fn assert_fails(&self, count: u32, text: &str) {
        let verdict = self.verdict();
        let counted = verdict.contains(&format!(", {count} failures ("));
        let named = self.stdout.lines().any(|line| line.contains(text));
        let is_fail = self.code == Some(1) && verdict.starts_with("FAIL: ");
        assert!(
            is_fail && counted && named,
            "no {count} x {text:?} in:\n{self}"
        );
    }

    /// Every answer was right. Whether the generator kept up is the machine's business.
    #[track_caller]
    pub(crate) fn assert_passes(&self, text: &str) {
        let verdict = self.verdict();
        let is_pass = match self.code {
            Some(0) => verdict.starts_with("PASS: "),
            Some(5) => verdict.starts_with("GENERATOR-LIMITED: "),
            _ => false,
        };
        assert!(is_pass && verdict.contains(text), "no {text:?} in:\n{self}");
    }

    /// The exit code, nothing on stdout, and one line on stderr with all of `texts`.
    #[track_caller]
    pub(crate) fn assert_complains(&self, code: i32, texts: &[&str]) {
        let is_one_line = self.stdout.is_empty() && self.stderr.lines().count() == 1;
        let is_named = texts.iter().all(|text| self.stderr.contains(text));
        assert!(
            self.code == Some(code) && is_one_line && is_named,
            "no {texts:?} in:\n{self}"
        );
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "exit {:?}", self.code)?;
        write!(f, "{}\n{}", self.stdout, self.stderr)
    }
}

pub(crate) fn stress_test(flags: &[&str]) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_stress_test")), flags)
}

pub(crate) fn program(path: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(path);
    command
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in std::env::vars() {
        if name.starts_with("STRESS_TEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it to its end; `meanwhile` is called again and again with its process id.
pub(crate) fn run_while(mut command: Command, mut meanwhile: impl FnMut(u32)) -> Report {
    let mut child = command.spawn().expect("the program can be run");
    let started = Instant::now();
    while child.try_wait().expect("a child can be asked").is_none() {
        if started.elapsed() > DEADLINE {
            child.kill().expect("a child can be killed");
            let report = Report::of(child.wait_with_output().expect("it has ended"));
            panic!("not done within {DEADLINE:?}:\n{report}");
        }
        meanwhile(child.id());
        thread::sleep(Duration::from_millis(5));
    }
    Report::of(child.wait_with_output().expect("it has ended"))
}

/// Runs it, and stops it for `pause` once `is_time`.
pub(crate) fn run_stopped(
    command: Command,
    mut is_time: impl FnMut() -> bool,
    pause: Duration,
) -> Report {
    let (mut stopped, mut is_continued) = (None, false);
    let report = run_while(command, |id| match stopped {
        None if is_time() => {
            signal(id, Signal::STOP);
            stopped = Some(Instant::now());
        }
        Some(at) if !is_continued && at.elapsed() > pause => {
            signal(id, Signal::CONT);
            is_continued = true;
        }
        _ => {}
    });
    assert!(is_continued, "it ended before: {report}");
    report
}

pub(crate) fn run(command: Command) -> Report {
    run_while(command, |_| {})
}

/// A port on which nothing listens.
pub(crate) fn refusing_port() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("127.0.0.1 has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    port.to_string()
}

pub(crate) fn server(fault: Fault) -> FaultyServer {
    server_of(fault, Framing::Lines)
}

pub(crate) fn server_of(fault: Fault, framing: Framing) -> FaultyServer {
    let limits = Limits { framing, ..LIMITS };
    FaultyServer::start(fault, limits).expect("127.0.0.1 has a free port")
}

pub(crate) fn against(server: &FaultyServer, flags: &[&str]) -> Command {
    let mut command = stress_test(&["--max-line", "2000"]);
    command
        .args(["--port", &server.address().port().to_string()])
        .args(flags);
    command
}
