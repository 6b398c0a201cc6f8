//! Servers that are not what was expected: they talk on and on, or speak HTTP; and a run that is
//! itself stopped for a while.
//!
//! Knows sockets; the double takes no part but in the last one.
//!
//! Rule: a run ends, and says what it met.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stress_test::Fault;

use crate::support::{against, run, run_stopped, server, stress_test};

/// A server whose every connection `handle` gets. Returns its port.
fn listen(handle: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            thread::spawn(move || handle(stream));
        }
    });
    port.to_string()
}

/// Answers each line as an ECHO.
fn answer(stream: &TcpStream) {
    let mut writer = stream;
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else {
            return;
        };
        let answer = [b"OK ", &line[5..], b"\n"].concat();
        if writer.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Writes `text` until the client has gone.
fn talk(mut stream: &TcpStream, text: &[u8], pause: Duration) {
    while stream.write_all(text).is_ok() {
        thread::sleep(pause);
    }
}

fn now_and_then(stream: TcpStream) {
    answer(&stream);
    talk(&stream, b"PING\n", Duration::from_millis(100));
}

/// More than a reader takes, of lines so long that a debug build keeps up with their number.
fn flood(stream: &TcpStream) {
    let line = [&[b'x'; 1000][..], b"\n"].concat();
    talk(stream, &line.repeat(50), Duration::ZERO);
}

fn without_a_pause(stream: TcpStream) {
    answer(&stream);
    flood(&stream);
}

fn without_listening(stream: TcpStream) {
    flood(&stream);
}

fn http(mut stream: TcpStream) {
    let mut request = [0; 1];
    let text = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    stream
        .read_exact(&mut request)
        .and_then(|()| stream.write_all(text))
        .ok();
}

#[test]
fn a_server_that_talks_on_after_the_last_answer_does_not_hold_the_run() {
    for handle in [now_and_then, without_a_pause] {
        let flags = ["--clients", "1", "--frames", "3", "--timeout", "1"];
        let report = run(stress_test(
            &[&flags[..], &["--port", &listen(handle)]].concat(),
        ));
        assert_eq!(report.code, Some(1), "{report}");
        let text = "not closed within 1 s of the client's half-close";
        let is_named = report.stdout.contains(text) || report.stdout.contains("1 unclosed");
        assert!(is_named, "{report}");
    }
}

#[test]
fn a_server_that_only_talks_does_not_hold_the_run() {
    let began = Instant::now();
    let flags = ["--clients", "2", "--duration", "1", "--timeout", "1"];
    let port = listen(without_listening);
    let report = run(stress_test(&[&flags[..], &["--port", &port]].concat()));
    assert_eq!(report.code, Some(1), "{report}");
    assert!(began.elapsed() < Duration::from_secs(60), "{report}");
}

#[test]
fn an_http_server_is_named_as_such() {
    for framing in ["lines", "length"] {
        let flags = ["--clients", "1", "--frames", "3", "--framing", framing];
        let report = run(stress_test(
            &[&flags[..], &["--port", &listen(http)]].concat(),
        ));
        assert_eq!(report.code, Some(1), "{report}");
        let is_named = report.stdout.contains("an HTTP server answers here");
        assert!(is_named, "{framing}: {report}");
    }
}

/// Whether [`pause_once`] has got its first request.
static WAS_ASKED: AtomicBool = AtomicBool::new(false);

/// Echoes, but only after four seconds the first time, as if it had been stopped.
fn pause_once(stream: TcpStream) {
    let mut writer = stream.try_clone().expect("a descriptor");
    for line in BufReader::new(stream).lines() {
        if !WAS_ASKED.swap(true, Ordering::Relaxed) {
            thread::sleep(Duration::from_secs(4));
        }
        let line = line.expect("a request");
        let text = line.strip_prefix("ECHO ").expect("the mix is echo");
        let answer = writeln!(writer, "OK {text}");
        answer.expect("the client reads");
    }
}

#[test]
fn a_run_whose_machine_was_stopped_does_not_blame_the_server() {
    let port = listen(pause_once);
    let flags = [
        "--port",
        &port,
        "--clients",
        "1",
        "--frames",
        "3",
        "--timeout",
        "2",
    ];
    let is_time = || WAS_ASKED.load(Ordering::Relaxed);
    let report = run_stopped(stress_test(&flags), is_time, Duration::from_secs(3));
    report.assert_passes("1 clients x 3 frames");
}

#[test]
fn a_run_that_was_stopped_itself_does_not_blame_the_server() {
    let server = server(Fault::Slow);
    let flags = ["--clients", "20", "--duration", "4", "--timeout", "0.5"];
    let is_time = || server.answered() > 200;
    let report = run_stopped(
        against(&server, &flags),
        is_time,
        Duration::from_millis(1500),
    );
    report.assert_passes("20 clients for 4 s");
}
