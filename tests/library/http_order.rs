//! What HTTP asks of the server beyond one response to each request: the order of effects, and the
//! word that a client waits for before it sends a body.
//!
//! Knows the public names of the crate, and HTTP as RFC 9110 has it.
//!
//! Rule: what must not happen is given time to happen.

use super::harness::DEADLINE;
use super::http::{get, response, start};
use reactor_pool::Config;
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

fn post(target: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
}

#[test]
fn a_request_that_may_change_something_runs_after_those_before_it_and_before_those_behind_it() {
    let (events, log) = mpsc::channel();
    let events = Mutex::new(events);
    let server = start(Config::default().workers(4), move |request| {
        let note = |what| {
            let event = format!("{what} {}", request.target);
            events.lock().expect("nobody panics").send(event)
        };
        note("start").expect("the test listens");
        // Time for others to start, if nothing holds them back.
        thread::sleep(Duration::from_millis(30));
        note("end").expect("the test listens");
        (200, String::new())
    });
    let mut client = server.connect();
    client.send([get("/a"), post("/b"), post("/c"), get("/d")].concat());
    for _ in 0..4 {
        assert_eq!(response(&mut client).0, 200);
    }
    let expected =
        ["/a", "/b", "/c", "/d"].map(|target| [format!("start {target}"), format!("end {target}")]);
    assert_eq!(log.try_iter().collect::<Vec<_>>(), expected.concat());
    server.stop();
}

#[test]
fn requests_that_change_nothing_run_beside_each_other() {
    let both = Barrier::new(2);
    let server = start(Config::default().workers(2), move |_| {
        both.wait();
        (200, String::new())
    });
    let mut client = server.connect();
    client.send([get("/a"), get("/b")].concat());
    assert_eq!(
        [response(&mut client).0, response(&mut client).0],
        [200, 200]
    );
    server.stop();
}

#[test]
fn a_client_that_waits_for_it_is_told_to_go_on_after_the_responses_before() {
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = start(Config::default(), move |request| {
        if request.target == "/wait" {
            let gate = gate.lock().expect("nobody panics here");
            gate.recv_timeout(DEADLINE).expect("the test lets it go on");
        }
        (200, String::from_utf8_lossy(&request.body).into_owned())
    });
    let mut client = server.connect();
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
    client.send(format!("{}{head}", get("/wait")));
    go_on.send(()).expect("it waits");
    assert_eq!(response(&mut client).0, 200);
    assert_eq!(response(&mut client).0, 100);
    client.send("abc");
    assert_eq!(response(&mut client), (200, false, "abc".to_owned()));
    client.send(format!("{head}def{}", get("/a")));
    assert_eq!(
        response(&mut client),
        (200, false, "def".to_owned()),
        "it did not wait"
    );
    assert_eq!(response(&mut client).0, 200);
    assert_eq!(server.stop().stats.framed, 4);
}
