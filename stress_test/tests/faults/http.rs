//! `--http`: a server of HTTP, right and with one fault at a time.
//!
//! Knows a small server of its own, whose answers a test spells byte for byte.
//!
//! Rule: what is promised for a mix holds over HTTP too, as far as answers can be told apart.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use serde_json::Value;
use stress_test::Fault;

use crate::measuring::assert_valid;
use crate::support::{Report, against, run, server, stress_test};

/// The number of the answer that is faulty.
const FAULTY: usize = 5;
/// One client, for whose answers it matters when they come.
const PIPELINE: [&str; 6] = ["--clients", "1", "--max-inflight", "4", "--frames", "50"];

/// One request, as the server sees it.
struct Seen<'a> {
    /// Of its connection, from 0.
    connection: usize,
    /// Of the request on it, from 0.
    number: usize,
    path: &'a str,
}

/// What is sent for a request, and whether the connection is closed behind it.
struct Sent {
    bytes: String,
    closes: bool,
}

impl From<String> for Sent {
    fn from(bytes: String) -> Self {
        let closes = false;
        Self { bytes, closes }
    }
}

fn with_length(status: u16, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {status} Words\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn right(body: &str) -> String {
    with_length(200, body.len(), body)
}

/// Serves any number of connections, and answers each request as `answer` says. Returns its port.
fn http_server(answer: fn(&Seen<'_>) -> Sent) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("127.0.0.1 has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for (connection, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a client comes");
            let copy = stream.try_clone().expect("a socket can be shared");
            thread::spawn(move || {
                let mut lines = BufReader::new(copy).lines();
                for number in 0.. {
                    let Some(Ok(request)) = lines.next() else {
                        return;
                    };
                    let path = request.strip_prefix("GET ").expect("a GET");
                    let path = path.strip_suffix(" HTTP/1.1").expect("of this version");
                    let host = format!("Host: 127.0.0.1:{port}");
                    let head: Vec<_> = lines.by_ref().map_while(Result::ok).take(2).collect();
                    assert_eq!(head, [host, String::new()]);
                    let seen = Seen {
                        connection,
                        number,
                        path,
                    };
                    let sent = answer(&seen);
                    // The client may have given up.
                    if stream.write_all(sent.bytes.as_bytes()).is_err() {
                        return;
                    }
                    if sent.closes {
                        stream.shutdown(Shutdown::Write).ok();
                        // To close it with unread requests would reset it.
                        while lines.next().is_some_and(|line| line.is_ok()) {}
                        return;
                    }
                }
            });
        }
    });
    port
}

fn run_http(port: u16, flags: &[&str]) -> Report {
    let port = port.to_string();
    run(stress_test(&[&["--port", &port], flags].concat()))
}

/// `hello` as the body of every answer but one, which `fault` sends.
macro_rules! all_but_one {
    ($fault:expr) => {
        http_server(|seen| {
            if seen.number == FAULTY {
                Sent::from($fault)
            } else {
                right("hello").into()
            }
        })
    };
}

#[test]
fn right_answers_pass_whatever_their_heads_say() {
    let port = http_server(|seen| {
        let body = &seen.path[1..];
        let (middle, number) = (body.len() / 2, seen.number);
        let answer = match number % 3 {
            0 => right(body),
            1 => format!(
                "HTTP/1.1 103 Early Hints\r\nLink: {number}\r\n\r\n{}",
                right(body)
            ),
            _ => format!(
                "HTTP/1.1 200 OK\r\nDate: {number}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {middle:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                &body[..middle],
                body.len() - middle,
                &body[middle..]
            ),
        };
        answer.into()
    });
    let path = ["--http", "/client{c}/{n:3}", "--clients", "4"];
    let body = ["--expect-body", "client{c}/{n:3}"];
    let flags = [&path[..], &body, &["--max-inflight", "8"]].concat();
    let verdict = "4 clients x 100 frames = 400 verified, 0 failures";
    run_http(port, &flags).assert_passes(verdict);
    let flags = ["--http", "/same", "--clients", "4"];
    run_http(port, &flags).assert_passes(verdict);
    let flags = [&flags[..], &["--rate", "500", "--duration", "0.4"]].concat();
    let report = run_http(port, &flags);
    // Whether the generator kept up is the machine's business.
    assert!(matches!(report.code, Some(0 | 5)), "{report}");
}

#[test]
fn an_answer_that_is_another_one_is_told() {
    let told = |port: u16, text: &str| {
        let flags = [&["--http", "/"], &PIPELINE[..]].concat();
        run_http(port, &flags).assert_fails(1, text);
    };
    told(
        all_but_one!(right("hellp")),
        r#"client 0 frame 5: altered: expected "200 hello" got "200 hellp""#,
    );
    told(
        all_but_one!(right("hell")),
        r#"client 0 frame 5: altered: expected "200 hello" got "200 hell""#,
    );
    told(
        all_but_one!(with_length(500, 4, "Oops")),
        r#"client 0 frame 5: altered: expected "200 hello" got "500 Oops""#,
    );
    // Which one came twice, equal bodies do not tell.
    told(
        all_but_one!(right("hello") + &right("hello")),
        "client 0 after 50 frames: repeated: got again the answer to frame 49",
    );
}

#[test]
fn behind_an_answer_of_another_length_nothing_is_believed() {
    let told = |port: u16, failures: &[&str]| {
        let flags = [&["--http", "/"], &PIPELINE[..]].concat();
        let report = run_http(port, &flags);
        for text in failures {
            report.assert_fails(45, text);
        }
    };
    told(
        all_but_one!(with_length(200, 3, "hello")),
        &[
            r#"client 0 frame 5: altered: expected "200 hello" got "200 hel""#,
            "client 0 frame 6: missing: given up at what is no head of an HTTP answer",
        ],
    );
    told(
        all_but_one!(with_length(200, 8, "hello")),
        &[r#"client 0 frame 5: altered: expected "200 hello" got "200 helloHTT""#],
    );
    told(
        all_but_one!("HTTP/1.1 200 OK\r\n\r\nhello".to_owned()),
        &["frame 5: missing: given up at an answer with neither Content-Length nor chunks"],
    );
    let bytes = with_length(200, 5, "hel");
    let port = http_server(|seen| match seen.number {
        FAULTY => Sent {
            bytes: with_length(200, 5, "hel"),
            closes: true,
        },
        _ => right("hello").into(),
    });
    let text = format!(
        "frame 5: missing: connection closed by the server after 5 of 50 answers and half an \
         answer, \"{}",
        &bytes[..20].escape_default()
    );
    told(port, &[text.as_str()]);
}

#[test]
fn an_answer_that_is_left_out_is_missing() {
    let port = all_but_one!(String::new());
    let flags = [&["--http", "/", "--timeout", "1"], &PIPELINE[..]].concat();
    // Which one it was, equal bodies do not tell.
    run_http(port, &flags).assert_fails(1, "client 0 frame 49: missing: no answer within 1 s");
    let port = http_server(|seen| match seen.number {
        FAULTY => String::new().into(),
        _ => right(seen.path).into(),
    });
    let flags = [&["--http", "/{n}", "--expect-body", "/{n}"], &PIPELINE[..]].concat();
    run_http(port, &flags).assert_fails(1, "client 0 frame 5: missing: no answer, the next one");
}

#[test]
fn bodies_with_numbers_in_them_show_swapped_answers() {
    let port = http_server(|seen| match seen.number {
        FAULTY | 6 => String::new().into(),
        7 => (right("/7") + &right("/6") + &right("/5")).into(),
        _ => right(seen.path).into(),
    });
    let flags = [&["--http", "/{n}", "--expect-body", "/{n}"], &PIPELINE[..]].concat();
    let report = run_http(port, &flags);
    for frame in ["frame 5", "frame 6"] {
        let text = format!("{frame}: swapped: got the answer to frame 7, its own came later");
        report.assert_fails(2, &text);
    }
}

#[test]
fn status_503_is_a_refusal() {
    let port = all_but_one!(with_length(503, 4, "Busy"));
    let flags = [&["--http", "/"], &PIPELINE[..]].concat();
    let report = run_http(port, &flags);
    report.assert_passes("1 clients x 50 frames = 50 verified, 0 failures");
    let report = run_http(port, &[&flags[..], &["--retries", "0"]].concat());
    report.assert_passes("49 verified");
    assert!(
        report.verdict().contains(" + 1 refused as busy,"),
        "{report}"
    );
    let port = http_server(|_| with_length(503, 4, "Busy").into());
    let report = run_http(port, &["--http", "/", "--frames", "1", "--retries", "1"]);
    report.assert_fails(50, r#"busy: all 2 tries were answered "503 Busy""#);
}

#[test]
fn the_first_body_counts_for_all_connections_and_threads() {
    let port = http_server(|seen| right(&format!("body {}", seen.connection)).into());
    let flags = ["--http", "/", "--clients", "2", "--frames", "50"];
    for threads in ["1", "2"] {
        let port = port.to_string();
        let more = ["--port", &port, "--threads", threads];
        let report = run(stress_test(&[&flags[..], &more].concat()));
        report.assert_fails(50, r#": altered: expected "200 body "#);
    }
}

#[test]
fn an_answer_before_the_first_right_one_is_no_measure() {
    let port = http_server(|seen| match seen.number {
        0 => with_length(404, 7, "Nowhere").into(),
        _ => right("hello").into(),
    });
    let flags = [&["--http", "/"], &PIPELINE[..]].concat();
    let text = r#"frame 0: altered: expected "200 and any body" got "404 Nowhere""#;
    run_http(port, &flags).assert_fails(1, text);
    let report = run(against(&server(Fault::None), &["--http", "/"]));
    report.assert_fails(5000, "no head of an HTTP answer");
}

#[test]
fn report_and_json_show_path_and_body() {
    let port = http_server(|seen| right(seen.path).into());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.json");
    let name = file.to_str().expect("the folder has a plain name");
    for (body, shown) in [
        (&[][..], "GET /x, expect status 200 and the first body"),
        (
            &["--expect-body", "/x"],
            "GET /x, expect status 200 and '/x'",
        ),
    ] {
        let flags = [&["--http", "/x", "--json", name], body].concat();
        let report = run_http(port, &flags);
        report.assert_passes(" = 5000 verified");
        assert!(
            report.stdout.contains(&format!("            {shown}\n")),
            "{report}"
        );
        let text = std::fs::read_to_string(&file).expect("the file was written");
        let json: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_valid(&json);
        assert_eq!(json["load"]["mix"], "http");
        assert_eq!(json["load"]["send"], "GET /x");
        let expected = body.get(1).copied().map_or(Value::Null, Value::from);
        assert_eq!(json["load"]["expect"], expected);
    }
}

#[test]
fn what_does_not_go_together_with_http_is_named() {
    run(stress_test(&["--expect-body", "x"])).assert_complains(2, &["--http"]);
    let report = run(stress_test(&["--http", "index.html"]));
    report.assert_complains(2, &["--http <PATH>", "begins with /"]);
    for other in [
        "--mix=hash",
        "--payload=5",
        "--framing=length",
        "--hog-mix=hash",
        "--spawn",
    ] {
        let flag = other.split('=').next().expect("a flag");
        let report = run(stress_test(&["--http", "/", other]));
        report.assert_complains(2, &["--http", flag, "cannot be used with"]);
        let report = run(stress_test(&["--expect-body", "x", other]));
        report.assert_complains(2, &["--expect-body", flag, "cannot be used with"]);
    }
    let report = run(stress_test(&[
        "--http", "/", "--send", "x", "--expect", "x",
    ]));
    report.assert_complains(2, &["--http", "--send", "cannot be used with"]);
}
