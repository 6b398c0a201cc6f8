//! The log: what it shows at which level, in which format, and that it is fit to be read.
//!
//! Knows a line by its level, its message and its fields, not by its place.
//!
//! Rule: one event, one line, and no byte of a client raw in it.

use crate::common::{DEADLINE, Launch, Server};
use crate::run;

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
