//! Nothing that happens around the server stops it from serving: signals, a log that nobody reads,
//! a full server, many that come or send at once.
//!
//! Knows of the server's inside only its limits: events in batches of 64, 64 refused connections.
//!
//! Rule: where several things have to happen at once, the server is suspended meanwhile.

mod common;

use std::fs;
use std::time::Duration;

use common::{Client, DEADLINE, Launch, Server, Stderr, ms, wait_until};

/// What a server may take to go, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn connect(server: &Server, count: usize) -> Vec<Client> {
    (0..count).map(|_| server.connect()).collect()
}

// ---- many at once
// -------------------------------------------------------------------------------

#[test]
fn everybody_is_heard_when_many_others_go_on_at_once() {
    let server = Server::start(&[
        "--workers",
        "1",
        "--queue",
        "100",
        "--busy-timeout",
        "60000",
    ]);
    let (mut waiting, mut others) = (connect(&server, 100), connect(&server, 300));
    let _occupant = server.occupy(1, 1500);
    let mut holder = server.connect();
    holder.send("SLEEP 0\n".repeat(100));
    server.barrier();
    // The first request of each waits for a slot, so the second one is not read.
    for request in ["ECHO first\n", "ECHO second\n"] {
        waiting.iter_mut().for_each(|client| client.send(request));
        server.barrier();
    }
    // All slots come free at once. When the server hears of most of the others, it has yet to read
    // from all that have waited.
    server.suspend();
    holder.reset();
    for (number, client) in others.iter_mut().enumerate() {
        client.send(format!("ECHO {number}\n"));
    }
    server.resume();
    for (number, client) in others.iter_mut().enumerate() {
        client.expect(format!("OK {number}"));
    }
    for client in &mut waiting {
        client.expect_lines(&["OK first", "OK second"]);
    }
}

#[test]
fn hundreds_that_connect_while_the_server_is_held_up_are_all_served() {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux has it");
    let limit: usize = limit.trim().parse().expect("a number");
    assert!(
        limit >= 400,
        "net.core.somaxconn is {limit}, and this test needs 400"
    );
    let server = Server::start(&[]);
    server.suspend();
    let mut clients = connect(&server, 300);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("ECHO {number}\n"));
    }
    server.resume();
    for (number, client) in clients.iter_mut().enumerate() {
        client.expect(format!("OK {number}"));
    }
}

#[test]
fn connections_that_wait_at_the_connection_limit_cost_no_cpu_time() {
    const REFUSED_AT_A_TIME: usize = 64;
    let server = Server::start(&["--max-connections", "1"]);
    let mut place = server.connect();
    place.send("ECHO first\n");
    place.expect("OK first");
    // None of them closes. The server keeps 64 for two seconds, then takes 64 more, and so on.
    let mut refused = connect(&server, 5 * REFUSED_AT_A_TIME);
    for client in &mut refused[..REFUSED_AT_A_TIME] {
        client.expect("ERR too many connections");
    }
    let period = ms(1000);
    let used = server.cpu_time_during(period);
    assert!(
        used < period / 2,
        "{used:?} of CPU time in {period:?} with nothing to do"
    );
    place.send("ECHO still\n");
    place.expect("OK still");
}

// ---- signals
// ------------------------------------------------------------------------------------

#[test]
fn a_stop_that_comes_together_with_a_report_is_heard() {
    let mut server = Server::start(&[]);
    server.suspend();
    server.signal("USR1");
    server.signal("TERM");
    server.resume();
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

#[test]
fn a_report_that_is_asked_for_during_a_stop_does_not_end_it() {
    let mut server = Server::start(&[]);
    let mut client = server.occupy(1, 2000).remove(0);
    server.signal("TERM");
    server.wait_until_refusing(DEADLINE);
    server.signal("USR1");
    client.expect("OK 2000");
    client.expect_end();
    drop(client);
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

// ---- a log that nobody reads
// --------------------------------------------------------------------

#[test]
fn lost_connections_hold_nobody_up_when_standard_error_takes_nothing() {
    let server = Launch::new(&[]).stderr(Stderr::FullPipe).start();
    server.assert_serves();
    let before = server.descriptors();
    for mut client in connect(&server, 20) {
        client.send("ECHO here\n");
        client.expect("OK here");
        client.reset();
    }
    server.assert_serves();
    wait_until("the lost connections are closed", DEADLINE, || {
        server.descriptors() <= before
    });
}

#[test]
fn a_server_ends_when_nobody_takes_its_last_lines() {
    // A trace that cannot be written is said on standard error, after all else.
    let flags = ["--trace-file", "/dev/full"];
    let mut server = Launch::new(&flags).stderr(Stderr::FullPipe).start();
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(SOON).code(), Some(1));

    // Five lines a request, and more than 128,000 of them, which the log keeps before it drops
    // some. Standard output is the same pipe, as in `server 2>&1 | less`.
    let launch = Launch::new(&["-vv"]).in_shell("exec 1>&2");
    let mut server = launch.stderr(Stderr::FullPipe).start();
    let answers = server.exchange("ECHO x\n".repeat(40_000));
    assert!(answers == b"OK x\n".repeat(40_000));
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}
