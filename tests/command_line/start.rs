//! What a start tells a person: the limits in force, what does not fit, and each error with its
//! subject.
//!
//! Knows the lines by their fields.
//!
//! Rule: each number in them is what really holds.

use crate::common::{DEADLINE, Launch, Server};
use crate::{NUMBERS, OTHER_NUMBERS, free_port, run};
use reactor_pool::Config;
use std::net::TcpStream;
use std::process::Command;

/// The value of `name=` in a line.
#[track_caller]
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let words = line.split_whitespace();
    let found = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let values: Vec<&str> = found.collect();
    assert_eq!(values.len(), 1, "{name} in: {line}");
    values[0]
}

#[test]
fn the_start_line_shows_every_limit_in_force() {
    let server = Server::start(&[
        "--max-sleep",
        "77",
        "--idle-timeout",
        "8",
        "--queue-order",
        "fifo",
    ]);
    let line = server
        .log()
        .wait_for("says listening", |line| line.contains("listening"));
    for (flag, default) in NUMBERS
        .iter()
        .map(|(flag, default, ..)| (flag, default))
        .chain(OTHER_NUMBERS.iter().map(|(flag, default)| (flag, default)))
        .filter(|(flag, _)| **flag != "--port")
    {
        let name = flag.trim_start_matches('-').replace('-', "_");
        let unit = match *flag {
            "--busy-timeout" | "--max-sleep" => "_ms",
            "--idle-timeout"
            | "--proxy-header-timeout"
            | "--request-timeout"
            | "--stop-delay"
            | "--drain-timeout"
            | "--stats-interval"
            | "--stuck-after" => "_s",
            _ => "",
        };
        let expected = match *flag {
            "--max-sleep" => "77",
            "--idle-timeout" => "8",
            _ => default,
        };
        assert_eq!(field(&line, &format!("{name}{unit}")), expected, "{line}");
    }
    assert_eq!(field(&line, "queue_order"), "\"fifo\"");
    let worst_case = Config::default().worst_case_memory().total() >> 20;
    assert_eq!(field(&line, "worst_case_mib"), worst_case.to_string());
}

#[test]
fn operations_md_shows_what_the_formula_gives_for_the_defaults() {
    let page = include_str!("../../docs/operations.md");
    let worst_case = Config::default().worst_case_memory();
    for (what, mib) in [
        ("process", worst_case.process() >> 20),
        ("kernel", worst_case.kernel >> 20),
        ("together", worst_case.total() >> 20),
    ] {
        let row = format!("| {what} | {mib} MiB |");
        assert!(page.contains(&row), "docs/operations.md lacks: {row}");
    }
}

#[test]
fn the_descriptor_warning_names_how_many_connections_really_fit() {
    let server = Launch::new(&[]).descriptor_limit(60).start();
    let line = server.log().wait_for("warns of descriptors", |line| {
        line.contains("WARN") && line.contains("descriptor")
    });
    let fits: usize = field(&line, "fits").parse().expect("a number");
    let mut clients: Vec<_> = (0..fits).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("ECHO fits\n");
        client.expect("OK fits");
    }
    // One more waits in the backlog, until another one goes.
    let mut more = server.connect();
    more.send("ECHO more\n");
    server.log().wait_for("says that accepting pauses", |line| {
        line.contains("accepting pauses")
    });
    drop(clients.pop());
    more.expect("OK more");
}

#[test]
fn an_unknown_variable_that_looks_like_ours_is_warned_of() {
    let server = Launch::new(&[]).env("REACTOR_POOL_WORKER", "3").start();
    server.log().wait_for("names it", |line| {
        line.contains("WARN") && line.contains("REACTOR_POOL_WORKER\"")
    });
    let server = Launch::new(&[]).env("REACTOR_POOL_WORKERS", "3").start();
    server.assert_serves();
    assert!(
        !server
            .log()
            .lines()
            .iter()
            .any(|line| line.contains("WARN"))
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_socket_buffer_above_what_the_kernel_allows_is_warned_of() {
    for limit in ["wmem_max", "rmem_max"] {
        let path = format!("/proc/sys/net/core/{limit}");
        let most = std::fs::read_to_string(path).expect("Linux tells");
        let most: usize = most.trim().parse().expect("a number");
        let warns = |size: usize| {
            let server = Server::start(&["--socket-buffer", &size.to_string()]);
            server.assert_serves();
            let lines = server.log().lines().into_iter();
            let mut lines = lines.filter(|line| line.contains("WARN") && line.contains(limit));
            lines.next().map(|line| field(&line, "granted").to_owned())
        };
        assert_eq!(warns(most), None);
        assert_eq!(warns(most + 1), Some(most.to_string()));
    }
}

#[test]
fn a_worst_case_above_the_memory_limit_is_warned_of() {
    // In KiB: 2 GiB are enough to start, and less than the default worst case.
    let server = Launch::new(&[]).in_shell("ulimit -v 2097152").start();
    let line = server.log().wait_for("warns of memory", |line| {
        line.contains("WARN") && line.contains("memory")
    });
    assert_eq!(field(&line, "limit_mib"), "2048");
    let process = Config::default().worst_case_memory().process() >> 20;
    assert_eq!(field(&line, "worst_case_mib"), process.to_string());

    let flags = ["--max-connections", "100", "--max-buffered", "1000000"];
    let server = Launch::new(&flags).in_shell("ulimit -v 2097152").start();
    server.assert_serves();
    assert!(
        !server
            .log()
            .lines()
            .iter()
            .any(|line| line.contains("address space"))
    );
}

#[test]
fn a_wrong_flag_is_answered_with_the_similar_one() {
    let outcome = run(&["--wrokers", "4"], &[]);
    let line = outcome.only_line(2, "--wrokers");
    assert!(
        line.contains("--wrokers") && line.contains("--workers"),
        "{line}"
    );
}

#[test]
fn a_trace_file_that_cannot_be_made_is_an_error_before_anybody_is_served() {
    let folder = std::env::temp_dir();
    let missing = folder.join("no such folder").join("trace.json");
    for path in [missing, folder] {
        let path = path.to_str().expect("a plain path");
        let outcome = run(&["--port", "0", "--trace-file", path], &[]);
        let line = outcome.only_line(1, path);
        assert!(line.contains("trace") && line.contains(path), "{line}");
    }
}

#[test]
fn errors_of_a_start_are_json_where_the_log_is() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = holder.local_addr().expect("it is bound").port().to_string();
    let json = ["--log-format", "json"];
    for (what, args, env, code, subject) in [
        (
            "an address in use",
            &["--port", &port][..],
            None,
            1,
            port.as_str(),
        ),
        (
            "a wrong value",
            &["--workers", "0"][..],
            None,
            2,
            "--workers",
        ),
        ("a wrong flag", &["--wrokers=9"][..], None, 2, "--wrokers"),
        (
            "a wrong RUST_LOG",
            &["--port", "0"][..],
            Some(("RUST_LOG", "a=b=c")),
            2,
            "RUST_LOG",
        ),
    ] {
        for by_variable in [false, true] {
            let format = ("REACTOR_POOL_LOG_FORMAT", "json");
            let env: Vec<_> = env
                .into_iter()
                .chain(by_variable.then_some(format))
                .collect();
            let args = match by_variable {
                true => args.to_vec(),
                false => [args, &json].concat(),
            };
            let outcome = run(&args, &env);
            let line = outcome.only_line(code, what);
            let value: serde_json::Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{what}: {error} in {line}"));
            let message = value["message"]
                .as_str()
                .unwrap_or_else(|| panic!("{line}"));
            assert!(message.contains(subject), "{what}: {line}");
            assert_eq!(value["level"], "ERROR", "{line}");
        }
    }
}

#[test]
fn an_error_for_want_of_descriptors_says_what_could_not_be_made() {
    // Standard streams and a few more: each limit ends the start at another place.
    let mut subjects = Vec::new();
    for limit in 4..12 {
        let port = free_port().to_string();
        let script = format!("ulimit -n {limit}; exec \"$0\" --port {port}");
        let outcome = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_server")])
            .stdin(std::process::Stdio::null())
            .spawn_and_stop();
        let Some(text) = outcome else { break };
        assert!(text.starts_with("error: cannot "), "{limit}: {text}");
        assert!(text.contains("Too many open files"), "{limit}: {text}");
        assert!(!text.starts_with("error: cannot Too"), "{limit}: {text}");
        subjects.push(text);
    }
    assert!(subjects.len() >= 3, "{subjects:?}");
}

trait SpawnAndStop {
    /// The last line on standard error of a program that ends by itself with 1; none if it listens
    /// instead.
    fn spawn_and_stop(&mut self) -> Option<String>;
}

impl SpawnAndStop for Command {
    fn spawn_and_stop(&mut self) -> Option<String> {
        let mut child = self
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("sh is there");
        let mut text = String::new();
        let stderr = child.stderr.take().expect("a pipe");
        for line in std::io::BufRead::lines(std::io::BufReader::new(stderr)) {
            text = line.expect("UTF-8");
            if text.contains("listening") {
                child.kill().expect("it runs");
                child.wait().expect("it is our child");
                return None;
            }
        }
        assert_eq!(
            child.wait().expect("it is our child").code(),
            Some(1),
            "{text}"
        );
        Some(text)
    }
}

#[test]
fn colours_are_for_terminals_that_can_show_them_and_people_who_want_them() {
    for (name, value, has_colours) in [
        ("TERM", "xterm", true),
        ("NO_COLOR", "1", false),
        ("NO_COLOR", "", true),
        ("TERM", "dumb", false),
    ] {
        let log = log_on_terminal(name, value);
        assert!(log.contains("listening"), "{log:?}");
        assert_eq!(log.contains('\x1b'), has_colours, "{name}={value}: {log:?}");
    }
}

/// What a server writes to a terminal until it has stopped.
fn log_on_terminal(name: &str, value: &str) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).expect("it is ours");
    unlockpt(&ours).expect("it is ours");
    let path = ptsname(&ours, Vec::new()).expect("it has a name");
    let theirs = std::fs::OpenOptions::new()
        .write(true)
        .open(path.to_str().expect("ASCII"))
        .expect("it is unlocked");
    let port = free_port();
    let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
        .args(["--port", &port.to_string()])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env(name, value)
        .stdin(std::process::Stdio::null())
        .stderr(theirs)
        .spawn()
        .expect("the server binary starts");
    let deadline = std::time::Instant::now() + DEADLINE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(std::time::Instant::now() < deadline, "it does not listen");
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    child.wait().expect("it is our child");
    // Nobody has the other end open any more, which ends the stream with an error.
    let mut log = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(ours), &mut log).ok();
    String::from_utf8(log).expect("UTF-8")
}
