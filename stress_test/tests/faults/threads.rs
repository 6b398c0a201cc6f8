//! `--threads`: what several event loops do is what one does.
//!
//! Knows the figures of a run as they stand in the JSON file, and the bytes that a server gets.
//!
//! Rule: each promise is checked with one loop and with several.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use stress_test::Fault;

use crate::command::interrupt;
use crate::measuring::{assert_valid, figure, run_json};
use crate::support::{against, refusing_port, run, run_while, server, stress_test};

fn sum(json: &Value, list: &str, name: &str) -> f64 {
    let items = json.pointer(list).and_then(Value::as_array);
    let numbers = items.expect(list).iter().map(|item| item[name].as_f64());
    numbers.map(|number| number.expect(name)).sum()
}

#[test]
fn the_account_of_several_threads_is_one() {
    for threads in ["1", "4"] {
        let flags = ["--clients", "9", "--frames", "200", "--threads", threads];
        let flags = [&flags[..], &["--mix", "errors", "--hogs", "3"]].concat();
        let (report, json) = run_json(&server(Fault::None), &flags);
        report.assert_passes("9 clients x 200 frames = 1800 verified (and 3 hogs: ");
        assert_valid(&json);
        assert_eq!(figure(&json, "/generator/threads").to_string(), threads);
        for (figures, expected) in [
            ("/ledger/planned", 1800.0),
            ("/ledger/sent", 1800.0),
            ("/latency/count", 1800.0),
            ("/service/count", 1800.0),
            ("/send_lag/count", 1800.0),
            ("/connections/connect_time/count", 9.0),
            ("/fairness/clients", 9.0),
        ] {
            assert_eq!(figure(&json, figures), expected, "{figures} in {report}");
        }
        assert_eq!(
            sum(&json, "/timeline/slices", "answers"),
            1800.0,
            "{report}"
        );
        assert_eq!(json["ledger"]["balances"], true, "{report}");
        assert_eq!(json["little"]["holds"], true, "{report}");
        assert!(figure(&json, "/hogs/verified") > 0.0, "{report}");
    }
}

/// All requests of a run with `flags`, in no order.
fn requests(flags: &[&str]) -> Vec<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 has a free port");
    let port = listener
        .local_addr()
        .expect("it listens")
        .port()
        .to_string();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    // It ends with the test.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen) = (stream.expect("a connection"), Arc::clone(&seen));
            thread::spawn(move || echo(stream, &seen));
        }
    });
    let report = run(stress_test(&[&["--port", &port], flags].concat()));
    report.assert_passes("0 failures");
    let mut requests = requests.lock().expect("nobody panics").clone();
    requests.sort_unstable();
    requests
}

fn echo(stream: TcpStream, seen: &Mutex<Vec<Vec<u8>>>) {
    let mut answers = stream.try_clone().expect("a socket can be shared");
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        let answer = [b"OK ", &line["ECHO ".len()..], b"\n"].concat();
        seen.lock().expect("nobody panics").push(line);
        if answers.write_all(&answer).is_err() {
            return;
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_requests_whatever_the_threads() {
    let of = |threads, seed| {
        let flags = ["--clients", "5", "--frames", "40", "--max-inflight", "3"];
        requests(&[&flags[..], &["--seed", seed, "--threads", threads]].concat())
    };
    let one = of("1", "7");
    assert_eq!(one.len(), 200);
    assert_eq!(one, of("3", "7"));
    assert_ne!(one, of("3", "8"));
}

#[test]
fn the_timetable_of_several_threads_is_that_of_one() {
    let planned = |threads| {
        let flags = ["--clients", "6", "--rate", "900", "--duration", "0.5"];
        let flags = [&flags[..], &["--seed", "3", "--threads", threads]].concat();
        let (report, json) = run_json(&server(Fault::None), &flags);
        // Whether the generator kept up is the machine's business.
        assert!(matches!(report.code, Some(0 | 5)), "{report}");
        assert_valid(&json);
        let planned = figure(&json, "/ledger/planned");
        assert_eq!(figure(&json, "/latency/count"), planned, "{report}");
        assert_eq!(figure(&json, "/generator/own_lag/count"), planned);
        planned
    };
    assert_eq!(planned("1"), planned("4"));
}

#[test]
fn an_answer_to_a_client_of_another_thread_is_named() {
    let flags = ["--clients", "2", "--threads", "2", "--payload", "20..40"];
    let report = run(against(&server(Fault::Cross), &flags));
    for (client, other) in [(0, 1), (1, 0)] {
        let text = format!("client {client} frame 5: foreign: got the answer to client {other}");
        report.assert_fails(2, &text);
    }
}

#[test]
fn no_thread_is_without_a_client() {
    let (_, json) = run_json(&server(Fault::None), &["--clients", "2", "--threads", "8"]);
    assert_eq!(figure(&json, "/generator/threads"), 2.0);
}

#[test]
fn ctrl_c_ends_all_threads_and_prints_the_report_so_far() {
    let server = server(Fault::None);
    let flags = ["--clients", "8", "--threads", "4", "--duration", "600"];
    let mut is_interrupted = false;
    let report = run_while(against(&server, &flags), |id| {
        if !is_interrupted && server.answered() > 500 {
            is_interrupted = true;
            interrupt(id);
        }
    });
    assert_eq!(report.code, Some(130), "{report}");
    let verdict = report.verdict();
    assert!(
        verdict.starts_with("INTERRUPTED (no failure so far): 8 clients "),
        "{report}"
    );
}

#[test]
fn without_a_server_all_threads_end_at_once() {
    let port = refusing_port();
    let address = format!("127.0.0.1:{port}");
    let report = run(stress_test(&["--port", &port, "--threads", "4"]));
    report.assert_complains(3, &["nothing is listening on", &address, "refused"]);
}
