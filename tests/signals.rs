//! Signals, from outside: from which moment they are heard, which of them stop the server, and
//! what a stop still serves (promise 9).
//!
//! Knows nothing of how the server hears them.
//!
//! Rule: whoever can connect can also stop the server, in an orderly way, whatever it was started
//! by.

mod common;

use common::{Client, DEADLINE, Launch, Server, ms, wait_until};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a server may take to go, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

// ---- hearing them
// ---------------------------------------------------------------------------------

/// Connects as soon as anybody listens on `port`.
fn connect_at_once(port: u16) -> TcpStream {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(cause) => assert!(Instant::now() < deadline, "nobody listens: {cause}"),
        }
    }
}

#[test]
fn signals_are_heard_from_the_moment_at_which_the_port_can_be_reached() {
    for signal in ["TERM", "INT", "HUP", "USR1"] {
        // Many workers, so that much is still to be done if they are started afterwards.
        for workers in ["1", "200"] {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|holder| holder.local_addr());
            let port = port.expect("a free port").port();
            let mut server = Command::new(env!("CARGO_BIN_EXE_server"))
                .args(["--workers", workers, "--port", &port.to_string(), "-qq"])
                .stderr(Stdio::null())
                .spawn()
                .expect("the server binary starts");
            let client = connect_at_once(port);
            let send = |name| nix::sys::signal::kill(pid_of(&server), name).expect("it runs");
            send(format!("SIG{signal}").parse().expect("a signal"));
            if signal == "USR1" {
                // It only reports, so it is still there for the next one.
                send(Signal::SIGTERM);
            }
            drop(client);
            let status = server.wait().expect("it is our child");
            assert_eq!(
                status.code(),
                Some(0),
                "SIG{signal}, {workers} workers: {status}"
            );
        }
    }
}

fn pid_of(child: &std::process::Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
}

#[test]
fn signals_that_the_parent_has_blocked_are_heard() {
    for signal in ["TERM", "INT", "HUP", "USR1"] {
        let mut blocked = SigSet::empty();
        blocked.extend([
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
        ]);
        let mask = blocked
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .expect("a mask");
        let mut server = Server::start(&[]);
        mask.thread_set_mask().expect("the mask of before");
        server.signal(signal);
        if signal == "USR1" {
            server
                .log()
                .wait_for("reports", |line| line.contains("stats: report"));
            server.signal("TERM");
        }
        assert_eq!(server.wait_for_exit(SOON).code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn sighup_answers_what_is_framed_before_it_ends_the_server() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    client.send("SLEEP 300\n");
    server.barrier();
    server.signal("HUP");
    client.expect("OK 300");
    client.expect_end();
    drop(client);
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
    server
        .log()
        .wait_for("says why", |line| line.contains("stopping why=\"SIGHUP\""));
}

#[test]
fn sighup_that_was_ignored_at_the_start_stays_ignored() {
    // As nohup does.
    let mut server = Launch::new(&[]).in_shell("trap '' HUP").start();
    server.signal("HUP");
    server.assert_serves();
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
    let hung_up = server
        .log()
        .lines()
        .iter()
        .any(|line| line.contains("SIGHUP"));
    assert!(!hung_up);
}

#[test]
fn a_log_file_at_its_size_limit_does_not_end_the_server() {
    let path = std::env::temp_dir().join(format!("reactor-pool-log-{}", std::process::id()));
    let to_file = format!("ulimit -f 2; exec 2>'{}'", path.display());
    let mut server = Launch::new(&["-vv"]).in_shell(&to_file).start();
    // Far more lines than fit.
    for _ in 0..200 {
        server.assert_serves();
    }
    let bytes = std::fs::metadata(&path).expect("the log").len();
    assert!((1..=2048).contains(&bytes), "{bytes} bytes");
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
    std::fs::remove_file(&path).expect("it was ours");
}

// ---- what a stop still serves
// -----------------------------------------------------------------------

#[test]
fn what_had_arrived_at_a_stop_is_accepted_read_and_answered() {
    // More than one tick accepts, and more than one tick takes events.
    const CLIENTS: usize = 1500;
    let mut server = Server::start(&[]);
    let mut known: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    server.barrier();
    // While it cannot run, everything arrives.
    server.signal("STOP");
    for client in &mut known {
        client.send("ECHO known\nECHO twice\n");
    }
    let mut new: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut new {
        client.send("ECHO new\n");
    }
    server.signal("TERM");
    server.signal("CONT");
    for client in &mut known {
        client.expect_lines(&["OK known", "OK twice"]);
        client.expect_end();
    }
    for client in &mut new {
        client.expect("OK new");
        client.expect_end();
    }
    drop((known, new));
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

#[test]
fn a_stop_delay_is_served_through_also_for_new_connections() {
    let mut server = Server::start(&["--stop-delay", "2"]);
    let mut known = server.connect();
    known.send("ECHO before\n");
    known.expect("OK before");
    let signalled_at = Instant::now();
    server.signal("TERM");
    server
        .log()
        .wait_for("says that it is about to stop", |line| {
            line.contains("about to stop") && line.contains("SIGTERM") && line.contains("delay_s=2")
        });
    let mut new = server.connect();
    for client in [&mut known, &mut new] {
        client.send("ECHO meanwhile\n");
        client.expect("OK meanwhile");
    }
    // From there on as without a delay: what is framed is answered, and nobody else gets in.
    new.send("SLEEP 2500\n");
    known.expect_end();
    let stopped_after = signalled_at.elapsed();
    assert!(stopped_after >= ms(2000), "stopped after {stopped_after:?}");
    server.wait_until_refusing(DEADLINE);
    new.expect("OK 2500");
    new.expect_end();
    drop((known, new));
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

/// Asks one request at a time over one connection, until the server closes that. Says how many
/// were answered; none if the last one was not.
fn ask_until_closed(mut client: Client) -> Option<u64> {
    let mut answered = 0;
    while !client.has_ended() {
        client.send("ECHO a\n");
        let _answer = client.line_or_end()?;
        answered += 1;
    }
    Some(answered)
}

#[test]
fn a_client_with_one_request_at_a_time_has_none_on_its_way_when_a_stop_delay_ends_its_connection() {
    // The second half, in which all of them have to ask once more, is long for a busy machine.
    let mut server = Server::start(&["--stop-delay", "4"]);
    let mut idle = server.connect();
    let clients = (0..32).map(|_| server.connect());
    let clients: Vec<_> = clients
        .map(|client| std::thread::spawn(|| ask_until_closed(client)))
        .collect();
    server.signal("TERM");
    for client in clients {
        let answered = client.join().expect("an orderly end");
        assert!(answered.is_some(), "a request was lost");
    }
    // Those who come still are served.
    server.assert_serves();
    idle.send("ECHO at last\n");
    idle.expect("OK at last");
    assert!(idle.has_ended(), "with its last answer");
    drop(idle);
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

#[test]
fn a_stop_delay_closes_no_connection_inside_a_request() {
    let mut server = Server::start(&["--stop-delay", "4"]);
    let mut client = server.connect();
    client.send("ECHO a\nECHO");
    client.expect("OK a");
    let mut other = server.connect();
    server.barrier();
    server.signal("TERM");
    wait_until("connections are closed after an answer", DEADLINE, || {
        other.send("ECHO other\n");
        other.expect("OK other");
        other.has_ended()
    });
    client.send(" b\nECHO");
    client.expect("OK b");
    assert!(!client.has_ended(), "it has begun another request");
    client.send(" c\n");
    client.expect("OK c");
    assert!(client.has_ended());
    drop((client, other));
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}

#[test]
fn a_second_signal_during_the_stop_delay_ends_the_server_at_once() {
    for (request, code) in [("ECHO a\n", 0), ("SLEEP 9000\n", 1)] {
        let mut server = Server::start(&["--stop-delay", "3600"]);
        let mut client = server.connect();
        client.send(request);
        server.barrier();
        server.signal("TERM");
        server
            .log()
            .wait_for("says that it is about to stop", |line| {
                line.contains("about to stop")
            });
        server.signal("INT");
        let status = server.wait_for_exit(SOON);
        assert_eq!(status.code(), Some(code), "{request:?}");
    }
}

#[test]
fn the_wait_for_clients_that_do_not_close_is_logged_and_ends() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    client.send("ECHO a\n");
    client.expect("OK a");
    server.signal("TERM");
    client.expect_end();
    server.log().wait_for("says whom it waits for", |line| {
        line.contains("waiting for clients") && line.contains("connections=1")
    });
    // The client keeps its side open, and the default drain timeout of 10 s is not used up.
    assert_eq!(server.wait_for_exit(ms(6000)).code(), Some(0));
}

#[test]
fn a_second_signal_when_nothing_is_owed_ends_the_server_with_0() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    client.send("ECHO a\n");
    client.expect("OK a");
    server.signal("TERM");
    server.log().wait_for("waits for its client", |line| {
        line.contains("waiting for clients")
    });
    server.signal("INT");
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
    let lines = server.log().lines();
    assert!(
        !lines.iter().any(|line| line.contains("abandoned")),
        "{lines:?}"
    );
}

#[test]
fn a_stop_of_the_process_is_not_the_drain_timeout() {
    // Answers that wait for their clients, which take them while the server cannot run.
    let mut server = Server::start(&["--drain-timeout", "1"]);
    let mut client = Client::connect_with_small_buffers(server.address());
    let requests = format!("ECHO {}\n", "x".repeat(60_000)).repeat(5);
    client.send_until_blocked(requests.as_bytes(), ms(300));
    server.signal("TERM");
    server.wait_until_refusing(DEADLINE);
    server.signal("STOP");
    let stopped_at = Instant::now();
    let reader = std::thread::spawn(move || client.rest());
    wait_until("the drain timeout has passed", DEADLINE, || {
        stopped_at.elapsed() > ms(1300)
    });
    server.signal("CONT");
    let answers = reader.join().expect("the stream ends in order");
    // Those that were framed: what waited in the socket behind them was not.
    assert!(answers.len() >= 2 * 60_004 && answers.len() % 60_004 == 0);
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
}
