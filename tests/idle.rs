//! What time does to clients that are slow, idle, or slow to ask, and to those of a server that
//! was stopped (promise 8).
//!
//! Knows time only as the rate at which a client reads, and as the timeout that it is compared
//! with.
//!
//! Rule: whoever keeps reading is never cut off, and what has arrived is read before a deadline is
//! judged.

mod common;

use common::{Client, DEADLINE, Launch, Server, ms, show, wait_until};
use std::io::{ErrorKind, Read as _};
use std::thread;
use std::time::{Duration, Instant};

/// Reads `want` bytes in an even pace, in pieces of 8 KiB; says how many came before the end.
fn read_evenly(client: &mut Client, want: usize, bytes_per_s: usize) -> usize {
    let (mut stream, start) = (client.writer(), Instant::now());
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    let (mut got, mut piece) = (0, [0; 8192]);
    while got < want {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(cause) if cause.kind() == ErrorKind::ConnectionReset => break,
            Err(cause) => panic!("after {got} bytes: {cause}"),
        }
        let due = Duration::from_secs_f64(got as f64 / bytes_per_s as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    got
}

const ANSWER_BYTES: usize = 600_000;
/// So slow that the system calls the socket writable less often than once an idle timeout: it
/// waits until a third of the 256 KiB behind `--socket-buffer` is free.
const BYTES_PER_S: usize = 70_000;

/// A server whose idle timeout is a second, and a client to which it owes one long answer and has
/// sent as much of it as the sockets take.
fn slow_reader(flags: &[&str]) -> (Server, Client) {
    let all = [&["--idle-timeout", "1", "--max-line", "1000000"], flags].concat();
    let server = Server::start(&all);
    let mut client = Client::connect_with_small_buffers(server.address());
    let text = "z".repeat(ANSWER_BYTES - "OK \n".len());
    client.send(format!("ECHO {text}\n"));
    (server, client)
}

#[test]
fn a_client_that_reads_slowly_all_the_time_is_not_idle() {
    let (_server, mut client) = slow_reader(&[]);
    let got = read_evenly(&mut client, ANSWER_BYTES, BYTES_PER_S);
    assert_eq!(got, ANSWER_BYTES);
    client.send("ECHO next\n");
    client.expect("OK next");
}

#[test]
fn a_half_closed_client_that_reads_slowly_gets_everything() {
    let (_server, mut client) = slow_reader(&[]);
    client.half_close();
    let got = read_evenly(&mut client, ANSWER_BYTES, BYTES_PER_S);
    assert_eq!(got, ANSWER_BYTES);
    client.expect_end();
}

#[test]
fn a_stop_waits_for_a_client_that_reads_slowly_and_goes_on_sending() {
    let (mut server, mut client) = slow_reader(&[]);
    let mut writer = client.writer();
    thread::spawn(move || {
        // Nobody reads it; closed with such bytes unread, the connection would be reset.
        while std::io::Write::write_all(&mut writer, b"x").is_ok() {
            thread::sleep(ms(20));
        }
    });
    server.signal("TERM");
    let got = read_evenly(&mut client, ANSWER_BYTES, BYTES_PER_S);
    assert_eq!(got, ANSWER_BYTES);
    client.expect_end();
    assert_eq!(server.wait_for_exit(DEADLINE).code(), Some(0));
}

#[test]
fn a_stop_waits_for_a_client_that_pauses_for_longer_than_it_may_idle() {
    let (mut server, mut client) = slow_reader(&[]);
    client.writer().peek(&mut [0]).expect("the answer begins");
    server.signal("TERM");
    server.wait_until_refusing(DEADLINE);
    // Longer than the idle timeout, and than a client that has everything is waited for.
    thread::sleep(ms(2500));
    let got = read_evenly(&mut client, ANSWER_BYTES, 10 * BYTES_PER_S);
    assert_eq!(got, ANSWER_BYTES);
    client.expect_end();
    drop(client);
    assert_eq!(server.wait_for_exit(DEADLINE).code(), Some(0));
}

#[test]
fn what_a_slow_client_had_not_taken_when_the_drain_timeout_passed_is_abandoned_and_said() {
    let (mut server, mut client) = slow_reader(&["--drain-timeout", "1"]);
    // It has been answered, and cannot take long to be written as far as the sockets take it.
    client.writer().peek(&mut [0]).expect("the answer begins");
    server.signal("TERM");
    let reader = thread::spawn(move || read_evenly(&mut client, ANSWER_BYTES, BYTES_PER_S));
    assert_eq!(server.wait_for_exit(DEADLINE).code(), Some(1));
    let line = server
        .log()
        .wait_for("says what", |line| line.contains("abandoned"));
    let bytes = line
        .split_once("unsent_bytes=")
        .expect("a number of bytes")
        .1;
    let bytes: usize = bytes.trim().parse().expect("a number");
    assert!((1..ANSWER_BYTES).contains(&bytes), "{line}");
    reader.join().expect("it ends");
}

#[test]
fn a_client_that_takes_nothing_is_idle_however_much_is_written_for_it() {
    let (server, client) = slow_reader(&[]);
    client.writer().peek(&mut [0]).expect("the answer begins");
    let open = server.descriptors();
    let start = Instant::now();
    wait_until("it is closed", DEADLINE, || server.descriptors() < open);
    // The timeout and the eighth in which it was last looked at, or a little more.
    assert!(start.elapsed() < ms(4000), "after {:?}", start.elapsed());
    drop(client);
}

#[test]
fn bytes_that_complete_no_line_are_no_activity_after_an_answer_either() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut client = server.connect();
    client.send("ECHO a\n");
    client.expect("OK a");
    let start = Instant::now();
    loop {
        client.send("x");
        if let Some(line) = client.try_line(ms(50)) {
            assert_eq!(show(&line), "ERR idle timeout");
            break;
        }
        assert!(
            start.elapsed() < ms(5000),
            "one byte at a time keeps it open"
        );
    }
}

#[test]
fn a_line_without_an_end_is_no_activity() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut client = server.connect();
    let mut writer = client.writer();
    thread::spawn(move || while std::io::Write::write_all(&mut writer, &[b'x'; 65_536]).is_ok() {});
    client.expect("ERR line too long (limit 65536 bytes)");
    client.expect("ERR idle timeout");
    client.expect_end();
}

/// Stops the server's process for longer than its idle timeout, and lets `clients` do something
/// meanwhile.
fn stop_meanwhile(server: &Server, clients: &mut [Client], act: impl Fn(&mut Client)) {
    server.signal("STOP");
    let stopped_at = Instant::now();
    clients.iter_mut().for_each(act);
    wait_until("the idle timeout has passed", DEADLINE, || {
        stopped_at.elapsed() > ms(1300)
    });
    server.signal("CONT");
}

#[test]
fn what_hundreds_sent_while_the_process_was_stopped_is_answered() {
    // Far more than one poll tells of.
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut clients: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    server.barrier();
    stop_meanwhile(&server, &mut clients, |client| client.send("ECHO here\n"));
    for client in &mut clients {
        client.expect("OK here");
    }
}

#[test]
fn a_long_line_sent_while_the_process_was_stopped_is_answered() {
    // More than a tick reads of one connection.
    let server = Launch::new(&["--idle-timeout", "1", "--max-line", "1000000"]).start();
    let text = "y".repeat(300_000);
    let mut clients = [server.connect()];
    server.barrier();
    thread::scope(|scope| {
        let mut writer = clients[0].writer();
        let line = format!("ECHO {text}\n");
        scope.spawn(move || std::io::Write::write_all(&mut writer, line.as_bytes()));
        stop_meanwhile(&server, &mut clients, |_| ());
        let answer = clients[0].line();
        assert_eq!(show(&answer), show(format!("OK {text}").as_bytes()));
    });
}

#[test]
fn clients_that_half_closed_while_the_process_was_stopped_are_not_told_that_they_are_idle() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    server.barrier();
    stop_meanwhile(&server, &mut clients, Client::half_close);
    clients.iter_mut().for_each(Client::expect_end);
}

/// Sends byte by byte, so many milliseconds apart, until there is an answer or nothing is left.
fn trickle(client: &mut Client, text: &str, apart: u64) -> Option<Vec<u8>> {
    for byte in text.bytes() {
        client.send([byte]);
        let line = client.try_line(ms(apart));
        if line.is_some() {
            return line;
        }
    }
    None
}

#[test]
fn a_request_has_to_come_whole_within_its_timeout_and_who_has_begun_none_may_wait() {
    let server = Server::start(&["--request-timeout", "1"]);
    let (mut idle, mut slow) = (server.connect(), server.connect());
    idle.send("ECHO a\n");
    idle.expect("OK a");
    slow.send("ECHO a\n");
    slow.expect("OK a");
    let refusal = trickle(&mut slow, &"x".repeat(1000), 50);
    assert_eq!(show(&refusal.expect("one")), "ERR request timeout");
    slow.expect_end();
    idle.send("ECHO b\n");
    idle.expect("OK b");
    server.signal("USR1");
    let line = server
        .log()
        .wait_for("counts it", |line| line.contains("request_timeouts="));
    assert!(line.contains("request_timeouts=1 "), "{line}");
}

#[test]
fn a_line_that_is_too_long_and_does_not_end_in_time_is_over() {
    let server = Server::start(&["--request-timeout", "1", "--max-line", "10"]);
    let mut client = server.connect();
    client.send("x".repeat(100));
    client.expect("ERR line too long (limit 10 bytes)");
    let refusal = trickle(&mut client, &"x".repeat(1000), 50);
    assert_eq!(show(&refusal.expect("one")), "ERR request timeout");
    client.expect_end();
}

#[test]
fn requests_that_come_byte_by_byte_have_each_their_own_time() {
    let server = Server::start(&["--request-timeout", "2"]);
    let (mut client, start) = (server.connect(), Instant::now());
    while start.elapsed() < ms(2500) {
        assert_eq!(trickle(&mut client, "ECHO slo", 20), None);
        client.send("w\n");
        client.expect("OK slow");
    }
}

#[test]
fn a_request_that_is_begun_behind_one_that_runs_has_its_time_from_the_answer_on() {
    let server = Server::start(&["--request-timeout", "1"]);
    let mut client = server.connect();
    client.send("SLEEP 1500\nECHO be");
    client.expect("OK 1500");
    client.send("gun\n");
    client.expect("OK begun");
}

#[test]
fn a_request_that_came_whole_while_the_process_was_stopped_is_answered() {
    let server = Server::start(&["--request-timeout", "1"]);
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("EC"));
    server.barrier();
    stop_meanwhile(&server, &mut clients, |client| client.send("HO here\n"));
    for client in &mut clients {
        client.expect("OK here");
    }
}

#[test]
fn a_client_that_reads_more_slowly_than_it_has_to_is_closed_and_who_owes_nothing_is_not() {
    const LONG_BYTES: usize = 3_000_000;
    let server = Server::start(&["--min-read-rate", "1000000", "--max-line", "4000000"]);
    let (mut client, mut other) = (
        Client::connect_with_small_buffers(server.address()),
        server.connect(),
    );
    let text = "z".repeat(LONG_BYTES - "OK \n".len());
    client.send(format!("ECHO {text}\n"));
    other.send("ECHO a\n");
    other.expect("OK a");
    // It would have everything after 30 seconds.
    let got = read_evenly(&mut client, LONG_BYTES, LONG_BYTES / 30);
    assert!(got < LONG_BYTES, "it was not closed");
    server.signal("USR1");
    let line = server
        .log()
        .wait_for("counts it", |line| line.contains("slow_closed="));
    assert!(line.contains("slow_closed=1 "), "{line}");
    other.send("ECHO b\n");
    other.expect("OK b");
}
