//! The log: what it shows at which level, in which format, and that it is fit to be read.
//!
//! Knows a line by its level, its message and its fields, not by its place.
//!
//! Rule: one event, one line, and no byte of a client raw in it.

use crate::common::{DEADLINE, Launch, Server, ms};
use crate::run;
use std::time::Instant;

fn logs_listening(launch: Launch) -> bool {
    let mut server = launch.start();
    server.assert_serves();
    server.signal("TERM");
    server.wait_for_exit(DEADLINE);
    server
        .log()
        .lines()
        .iter()
        .any(|line| line.contains("listening"))
}

#[test]
fn quiet_silences_the_start_line_and_rust_log_wins() {
    assert!(logs_listening(Launch::new(&[])));
    assert!(logs_listening(Launch::new(&["-v"])));
    assert!(!logs_listening(Launch::new(&["-q"])));
    assert!(!logs_listening(Launch::new(&[]).env("RUST_LOG", "warn")));
    assert!(!logs_listening(
        Launch::new(&["-vv"]).env("RUST_LOG", "warn")
    ));
    assert!(logs_listening(Launch::new(&["-q"]).env("RUST_LOG", "info")));
}

/// Asserts that the way of one request can be followed by its connection and sequence.
fn assert_one_request_can_be_followed(server: &Server) {
    server.assert_serves();
    let field = |line: &str, name: &str| {
        let value = line.split_once(&format!("{name}="))?.1;
        Some(format!("{name}={}", value.split_whitespace().next()?))
    };
    let framed = server.log().wait_for("shows a framed request", |line| {
        line.contains("framed") && line.contains("conn=") && line.contains("seq=")
    });
    let conn = field(&framed, "conn").expect("just seen");
    let seq = field(&framed, "seq").expect("just seen");
    for step in ["queued", "started", "finished", "written"] {
        server
            .log()
            .wait_for(&format!("shows that {conn} {seq} was {step}"), |line| {
                line.contains(step)
                    && field(line, "conn").as_ref() == Some(&conn)
                    && field(line, "seq").as_ref() == Some(&seq)
            });
    }
}

#[test]
fn at_trace_one_request_can_be_followed_through_the_log() {
    assert_one_request_can_be_followed(&Launch::new(&[]).env("RUST_LOG", "trace").start());
    assert_one_request_can_be_followed(&Server::start(&["-vv"]));
}

#[test]
fn at_debug_the_opening_and_the_closing_of_a_connection_are_shown_and_no_requests() {
    let server = Server::start(&["-v"]);
    server.assert_serves();
    let is_debug = |line: &str| line.contains("DEBUG") && line.contains("conn=");
    server.log().wait_for("shows that it opened", |line| {
        is_debug(line) && line.contains("open")
    });
    server.log().wait_for("shows that it closed", |line| {
        is_debug(line) && line.contains("close")
    });
    assert!(
        !server
            .log()
            .lines()
            .iter()
            .any(|line| line.contains("TRACE"))
    );
}

#[test]
fn bytes_of_clients_are_never_raw_in_the_log() {
    let server = Server::start(&["-vv"]);
    let mut client = server.connect();
    client.send("ECHO \x1b[31mred\n\x1b]0;title\x07\nSLEEP \x1b[2J\n");
    client.send(b"\xff\xfe\x00\r\x08\x9b31m\n");
    client.half_close();
    client.rest();
    server.log().wait_for("shows the end of it", |line| {
        line.contains("DEBUG") && line.contains("close")
    });
    for line in server.log().lines() {
        let raw = line.chars().find(|c| c.is_control() && *c != '\t');
        assert_eq!(raw, None, "{line:?}");
        assert!(!line.contains('\u{fffd}'), "not UTF-8: {line:?}");
    }
}

#[test]
fn a_wrong_rust_log_gives_one_line_and_exit_code_2() {
    for filter in ["reactor_pool=loud", "=", "a=b=c", "[{"] {
        let outcome = run(&["--port", "0"], &[("RUST_LOG", filter)]);
        let line = outcome.only_line(2, filter);
        assert!(line.contains("RUST_LOG"), "{line}");
    }
}

#[test]
fn a_log_that_gets_no_thread_gives_one_line_and_exit_code_1() {
    // std takes the size of each thread's stack from here, and no address space holds this one.
    let outcome = run(
        &["--port", "0"],
        &[("RUST_MIN_STACK", "1152921504606846976")],
    );
    let line = outcome.only_line(1, "no thread");
    assert!(line.starts_with("error: cannot start the log: "), "{line}");
}

#[test]
fn the_json_log_is_one_object_a_line() {
    let mut server = Server::start(&["--log-format", "json", "-vv", "--workers", "3"]);
    server.assert_serves();
    server.signal("TERM");
    server.wait_for_exit(DEADLINE);
    let lines = server.log().lines();
    let mut start = None;
    for line in &lines {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert!(value.is_object(), "{line}");
        let fields = value.get("fields").unwrap_or(&value);
        if fields.get("message").and_then(serde_json::Value::as_str) == Some("listening") {
            start = Some(fields.clone());
        }
    }
    let start = start.unwrap_or_else(|| panic!("no start line in\n{}", lines.join("\n")));
    assert_eq!(
        start.get("workers").and_then(serde_json::Value::as_u64),
        Some(3),
        "{start}"
    );
    assert_eq!(
        start.get("addr").and_then(serde_json::Value::as_str),
        Some(server.address().to_string().as_str()),
        "{start}"
    );
}

// ---- overload and counters
// ----------------------------------------------------------------------

#[test]
fn overload_is_warned_of_by_the_second_and_so_is_its_end() {
    let flags = ["--workers", "1", "--queue", "1", "--reject-when-full"];
    let server = Server::start(&flags);
    let mut client = server.connect();
    // One runs, one is queued; the others are refused.
    let mut refused = 0;
    let start = Instant::now();
    while start.elapsed() < ms(1500) {
        client.send("SLEEP 20\n".repeat(20));
        let answers = (0..20).map(|_| client.line());
        refused += answers.filter(|line| line == b"ERR server busy").count();
    }
    let over = server.log().wait_for("says that it is over", |line| {
        line.contains("WARN") && line.contains("the overload is over")
    });
    let number = |line: &str| -> usize {
        let value = line.split_once("refused=").expect("a number").1;
        value
            .split_whitespace()
            .next()
            .expect("a number")
            .parse()
            .expect("a number")
    };
    assert_eq!(number(&over), refused);
    let lines = server.log().lines();
    let warnings = lines
        .iter()
        .filter(|line| line.contains("requests are refused"));
    let counts: Vec<usize> = warnings.map(|line| number(line)).collect();
    assert_eq!(counts.iter().sum::<usize>(), refused, "{counts:?}");
    // One at once, then one a second for as long as it lasted, on a busy machine too.
    let seconds = start.elapsed().as_secs() as usize + 2;
    assert!(
        (2..=seconds).contains(&counts.len()),
        "{counts:?} in {seconds} s"
    );
}

#[test]
fn counters_that_were_asked_for_are_written_however_quiet_the_log_is() {
    for quiet in ["-q", "-qq"] {
        let mut server = Server::start(&[quiet]);
        server.assert_serves();
        server.signal("USR1");
        let report = |line: &str| line.contains("stats: answers ok=1");
        server.log().wait_for("reports", report);
        server.signal("TERM");
        server.wait_for_exit(DEADLINE);
        // Nobody has asked for the one at the end.
        assert_eq!(
            server
                .log()
                .lines()
                .iter()
                .filter(|line| report(line))
                .count(),
            1
        );

        let server = Server::start(&[quiet, "--stats-interval", "1"]);
        server.assert_serves();
        server.log().wait_for("reports", report);
    }
}

#[test]
fn a_report_is_of_the_time_since_the_last_one_with_the_totals_beside() {
    let server = Server::start(&[]);
    let ask = |requests: usize, pause: u64| {
        let mut client = server.connect();
        client.send(format!("SLEEP {pause}\n").repeat(requests));
        (0..requests).for_each(|_| client.expect(format!("OK {pause}")));
        drop(client);
        server.barrier();
        server.signal("USR1");
    };
    ask(3, 100);
    server.log().wait_for("has the first", |line| {
        line.contains("stats: answers ok=3 ok.total=3")
    });
    ask(5, 0);
    server.log().wait_for("has the second", |line| {
        line.contains("stats: answers ok=5 ok.total=8")
    });
    let in_worker = |line: &str| line.contains("what=\"in the worker\"");
    server.log().wait_for("has its times", |line| {
        in_worker(line) && line.contains("count=5 count.total=8")
    });
    let lines = server.log().lines();
    let worked: Vec<&String> = lines.iter().filter(|line| in_worker(line)).collect();
    let longest = |line: &str| -> f64 {
        let value = line.split_once("max_us=").expect("a number").1;
        value.trim().parse().expect("a number")
    };
    assert!(longest(worked[0]) >= 100_000.0, "{worked:?}");
    assert!(
        longest(worked[1]) < 100_000.0,
        "not of the interval: {worked:?}"
    );
    // Two digits, no zeros, nothing said twice.
    for line in lines.iter().filter(|line| line.contains("::stats: ")) {
        assert!(!line.contains("stats: stats"), "{line}");
        for word in line.split_whitespace().filter(|word| word.contains("_us=")) {
            let digits = word.split_once('=').expect("a number").1.replace('.', "");
            let digits = digits.trim_matches('0');
            assert!((1..=2).contains(&digits.len()), "{word} in {line}");
        }
        let zero = line.split_whitespace().find(|word| word.ends_with("=0"));
        assert!(zero.is_none() || line.contains("stats: report"), "{line}");
    }
}

#[test]
fn a_slow_request_is_warned_of_while_it_runs_and_at_its_end() {
    let server = Server::start(&["--workers", "2", "--slow-request", "200"]);
    let mut client = server.connect();
    client.send("ECHO quick\nSLEEP 1000\n");
    client.expect("OK quick");
    let fields = [
        "WARN",
        "conn=",
        "peer=127.0.0.1:",
        "seq=2",
        "requests=1",
        "worker=",
        "age_ms=",
    ];
    let is_of_it =
        |line: &str, what| line.contains(what) && fields.iter().all(|field| line.contains(field));
    let what = "warns of a request that runs";
    server
        .log()
        .wait_for(what, |line| is_of_it(line, "a slow request runs"));
    assert_eq!(client.try_line(ms(1)), None, "it runs");
    client.expect("OK 1000");
    let what = "says how long it took";
    server
        .log()
        .wait_for(what, |line| is_of_it(line, "a slow request has ended"));
    server.assert_serves();
    let slow = server.log().lines();
    assert_eq!(
        slow.iter()
            .filter(|line| line.contains("a slow request"))
            .count(),
        2
    );
}
