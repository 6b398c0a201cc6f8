//! The promises over unix sockets, where the system does some things otherwise than over TCP.
//!
//! Knows what unix(7) says of buffers, of the end of a connection, and of descriptors that are
//! passed along.
//!
//! Rule: what a client over TCP is promised, a local one gets, too.

use crate::harness::DEADLINE;
use crate::local::{Client, Folder, Local, echo, listen_unix};
use reactor_pool::{Config, ConnectionId, Peer, Request, Response, Service, StopReason};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::SockRef;
use std::error::Error;
use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn the_answers_of_a_pool_come_in_order_over_a_unix_socket() {
    let folder = Folder::new();
    let server = Local::start(Config::default().workers(4), &folder.path(), echo);
    let requests: Vec<_> = (0..200)
        .map(|n| format!("{} {n}", if n % 7 == 0 { "nap" } else { "x" }))
        .collect();
    let mut client = server.connect();
    client.send(requests.join("\n"));
    client.half_close();
    for request in &requests[..199] {
        client.expect(&format!("OK {request}"));
    }
    // It has no LF.
    client.expect("ERR incomplete line");
    client.expect_end();
    assert_eq!(server.stop().stats.answered_ok, 199);
}

/// Answers with the peer.
struct Who(Mutex<Vec<Peer>>);

impl Service for Who {
    type Worker = ();

    fn start(&self, _: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn handle(&self, (): &mut (), request: &Request<'_>, response: &mut Response<'_>) {
        let opened = self.0.lock().expect("no panic")[0];
        let peer = request.peer().expect("its client waits");
        assert_eq!((peer, peer.ip()), (opened, None));
        write!(response, "OK {peer}").expect("a response takes every write");
    }

    fn opened(&self, _: ConnectionId, peer: Peer) -> bool {
        self.0.lock().expect("no panic").push(peer);
        true
    }
}

#[test]
fn a_service_is_told_that_a_peer_is_local() {
    let folder = Folder::new();
    let server = Local::start(Config::default(), &folder.path(), Who(Mutex::default()));
    let mut client = server.connect();
    client.send("who\n");
    client.expect("OK unix");
    drop(client);
    server.stop();
}

#[test]
fn one_connection_too_many_is_told_so_over_a_unix_socket() {
    let folder = Folder::new();
    let config = Config::default().max_connections(1);
    let server = Local::start(config, &folder.path(), echo);
    let mut first = server.connect();
    first.send("a\n");
    first.expect("OK a");
    let mut second = server.connect();
    second.send("b\n");
    second.expect("ERR too many connections");
    second.expect_end();
    drop((first, second));
    server.stop();
}

#[test]
fn an_idle_client_of_a_unix_socket_is_told_so() {
    let folder = Folder::new();
    let config = Config::default().idle_timeout(Duration::from_secs(1));
    let server = Local::start(config, &folder.path(), echo);
    let mut client = server.connect();
    client.send("half a line");
    client.expect("ERR idle timeout");
    client.expect_end();
    server.stop();
}

/// What a client reads in so even a pace does not stop for a second, and the system says that
/// there is room only when three quarters of a buffer of 256 KiB are free.
#[test]
fn a_local_client_that_reads_slowly_is_not_idle() {
    const ANSWER_BYTES: usize = 600_000;
    const BYTES_PER_S: usize = 120_000;
    let folder = Folder::new();
    let config = Config::default()
        .idle_timeout(Duration::from_secs(1))
        .max_line(ANSWER_BYTES);
    let server = Local::start(config, &folder.path(), echo);
    let mut client = server.connect();
    let line = "x".repeat(ANSWER_BYTES - "OK \n".len());
    client.send(format!("{line}\n"));
    let (start, mut got, mut piece) = (Instant::now(), 0, [0; 8192]);
    // What its own buffer holds, it has: the rest of that may come at once.
    while got < ANSWER_BYTES - 300_000 {
        let count = client
            .0
            .get_mut()
            .read(&mut piece)
            .expect("the server sends");
        assert_ne!(count, 0, "cut off after {got} bytes");
        got += count;
        let due = Duration::from_secs_f64(got as f64 / BYTES_PER_S as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    while got < ANSWER_BYTES {
        let count = client
            .0
            .get_mut()
            .read(&mut piece)
            .expect("the server sends");
        assert_ne!(count, 0, "cut off after {got} bytes");
        got += count;
    }
    client.send("next\n");
    client.expect("OK next");
    drop(client);
    let stats = server.stop().stats;
    assert_eq!((stats.idle_closed, stats.answered_ok), (0, 2));
}

#[test]
fn a_local_client_that_takes_nothing_is_idle_however_much_is_written_for_it() {
    let folder = Folder::new();
    let config = Config::default()
        .idle_timeout(Duration::from_secs(1))
        .max_line(2_000_000);
    let server = Local::start(config, &folder.path(), echo);
    let mut client = server.connect();
    client.send(format!("{}\n", "x".repeat(1_000_000)));
    let start = Instant::now();
    let mut closed = [PollFd::new(client.0.get_ref(), PollFlags::RDHUP)];
    let limit = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    poll(&mut closed, Some(&limit)).expect("no signal comes");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    let _gone = client;
    assert_eq!(server.stop().stats.idle_closed, 1);
}

#[test]
fn a_descriptor_that_is_passed_along_is_closed_and_holds_up_no_request_behind_it() {
    let folder = Folder::new();
    let builder = listen_unix(Config::default(), &folder.path()).expect("a new name");
    let mut client = Client::over(UnixStream::connect(folder.path()).expect("it listens"));
    let (passed, other_end) = UnixStream::pair().expect("descriptors");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = [passed.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&rights)));
    let bytes = [IoSlice::new(b"wi")];
    let sent = sendmsg(client.0.get_ref(), &bytes, &mut control, SendFlags::empty());
    assert_eq!(sent.expect("there is room"), 2);
    client.send("thout\n");
    drop(passed);
    // All of it is there when the server looks for the first time; its read stops behind the
    // descriptor.
    let server = builder.serve(echo).expect("threads");
    let stopper = server.stopper();
    let thread = thread::spawn(move || server.run());
    client.expect("OK without");
    other_end
        .set_read_timeout(Some(DEADLINE))
        .expect("not zero");
    let end = (&other_end).read(&mut [0]);
    assert_eq!(end.expect("no copy of it is open"), 0);
    drop(client);
    stopper.stop();
    thread.join().expect("no panic").expect("no error");
}

#[test]
fn urgent_data_over_a_unix_socket_is_no_data_and_holds_up_no_request_behind_it() {
    let folder = Folder::new();
    let builder = listen_unix(Config::default(), &folder.path()).expect("a new name");
    let mut client = Client::over(UnixStream::connect(folder.path()).expect("it listens"));
    client.send("wi");
    if SockRef::from(client.0.get_ref())
        .send_out_of_band(b"!")
        .is_err()
    {
        eprintln!("skipped: this system has no urgent data on unix sockets");
        return;
    }
    client.send("thout\n");
    // All of it is there when the server looks for the first time.
    let server = builder.serve(echo).expect("threads");
    let stopper = server.stopper();
    let thread = thread::spawn(move || server.run());
    client.expect("OK without");
    drop(client);
    stopper.stop();
    thread.join().expect("no panic").expect("no error");
}

#[test]
fn a_local_client_that_does_not_read_holds_no_more_than_the_socket_buffer() {
    const BUFFER_BYTES: usize = 16_384;
    let folder = Folder::new();
    let config = Config::default()
        .socket_buffer(BUFFER_BYTES)
        .max_line(1_000_000);
    let server = Local::start(config, &folder.path(), echo);
    let mut client = server.connect();
    client.send(format!("{}\n", "x".repeat(500_000)));
    client.peek();
    // The loop writes in one go as much as there is room for.
    let mut other = server.connect();
    other.send("a\n");
    other.expect("OK a");
    let held = rustix::io::ioctl_fionread(client.0.get_ref()).expect("a socket");
    // socket(7): the kernel doubles the size, and what fills it may go beyond.
    assert!(held <= 4 * BUFFER_BYTES as u64, "{held} bytes");
    drop((client, other));
    server.stop();
}

/// Works until nobody waits any more.
struct Patient {
    started: mpsc::SyncSender<()>,
    gave_up: mpsc::SyncSender<()>,
}

impl Service for Patient {
    type Worker = ();

    fn start(&self, _: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn handle(&self, (): &mut (), request: &Request<'_>, response: &mut Response<'_>) {
        response.push(b"OK");
        if request.bytes() == b"quick" {
            return;
        }
        self.started.send(()).expect("the test listens");
        while !request.is_gone() {
            thread::sleep(Duration::from_millis(1));
        }
        self.gave_up.send(()).expect("the test listens");
    }
}

#[test]
fn long_work_sees_that_a_local_client_has_gone_with_an_answer_unread() {
    let folder = Folder::new();
    let (started, starts) = mpsc::sync_channel(9);
    let (gave_up, ends) = mpsc::sync_channel(9);
    let config = Config::default().workers(1);
    let server = Local::start(config, &folder.path(), Patient { started, gave_up });
    let mut client = server.connect();
    client.send("quick\nlong\nnever run\n");
    starts.recv_timeout(DEADLINE).expect("it is run");
    client.peek();
    drop(client);
    ends.recv_timeout(DEADLINE).expect("it sees that");
    let stats = server.stop().stats;
    assert_eq!((stats.lost, stats.discarded), (1, 1), "{stats:?}");
}

#[test]
fn a_local_client_that_closes_early_harms_nobody() {
    let folder = Folder::new();
    let server = Local::start(Config::default(), &folder.path(), echo);
    for _ in 0..50 {
        let mut client = server.connect();
        client.send("nap 1\nnap 2\nx\n");
        drop(client);
    }
    let mut client = server.connect();
    client.send("a\n");
    client.expect("OK a");
    drop(client);
    let stats = server.stop().stats;
    assert_eq!(stats.connections.now, 0);
    let fates = stats.answered_ok + stats.discarded;
    assert_eq!(fates, stats.framed, "each request has one fate: {stats:?}");
}

#[test]
fn a_stop_answers_what_came_over_a_unix_socket_and_the_client_reads_it_later() {
    let folder = Folder::new();
    let server = Local::start(Config::default(), &folder.path(), echo);
    let mut client = server.connect();
    client.send("nap 1\nnap 2\n");
    let summary = server.stop();
    assert_eq!(summary.stop_reason, StopReason::Drained);
    client.expect("OK nap 1");
    client.expect("OK nap 2");
    client.expect_end();
}
