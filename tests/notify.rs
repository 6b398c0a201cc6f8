//! What the supervisor hears that has started the server: sd_notify(3). The test is the
//! supervisor.
//!
//! Knows the words of that protocol.
//!
//! Rule: what the supervisor hears is so at that moment, and a loop that hangs says nothing.

mod common;

use common::{DEADLINE, Launch, Server, ms};
use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a server may take to go, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Where the server speaks to.
struct Supervisor {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Supervisor {
    fn new() -> Supervisor {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("reactor-pool-notify-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let socket = UnixDatagram::bind(&path).expect("nothing is there");
        Supervisor { socket, path }
    }

    fn launch(&self, flags: &[&str]) -> Launch {
        Launch::new(flags).env("NOTIFY_SOCKET", self.path.to_str().expect("ASCII"))
    }

    /// The lines of the next message; none if there is none for so long.
    fn hears_within(&self, timeout: Duration) -> Option<Vec<String>> {
        self.socket
            .set_read_timeout(Some(timeout))
            .expect("not zero");
        let mut message = [0; 4096];
        match self.socket.recv(&mut message) {
            Ok(count) => {
                let text = String::from_utf8_lossy(&message[..count]);
                Some(text.lines().map(str::to_owned).collect())
            }
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => None,
            Err(cause) => panic!("{cause}"),
        }
    }

    #[track_caller]
    fn hears(&self) -> Vec<String> {
        let message = self.hears_within(DEADLINE);
        message.expect("the server says something in time")
    }

    /// Whoever speaks to it next waits until it has heard something.
    fn is_spoken_to_by_others(&self) {
        let other = UnixDatagram::unbound().expect("a descriptor");
        other.set_nonblocking(true).expect("a socket");
        while other.send_to(b"other", &self.path).is_ok() {}
    }

    /// All messages that have come and were not heard yet.
    fn rest(&self) -> Vec<Vec<String>> {
        std::iter::from_fn(|| self.hears_within(ms(1))).collect()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

fn has(message: &[String], line: &str) -> bool {
    message.iter().any(|said| said == line)
}

#[test]
fn the_supervisor_hears_once_that_the_server_is_ready_and_once_that_it_stops() {
    let supervisor = Supervisor::new();
    let mut server = supervisor.launch(&["--stop-delay", "1"]).start();
    let first = supervisor.hears();
    assert!(has(&first, "READY=1") && !has(&first, "STOPPING=1"));
    let mut client = server.connect();
    client.send("ECHO a\n");
    client.expect("OK a");
    server.signal("TERM");
    let second = supervisor.hears();
    assert!(has(&second, "STOPPING=1"), "{second:?}");
    // That was the first word of it: it serves still.
    client.send("ECHO b\n");
    client.expect("OK b");
    client.expect_end();
    drop(client);
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
    for later in supervisor.rest() {
        assert!(!has(&later, "READY=1") && !has(&later, "STOPPING=1"));
    }
}

#[test]
fn a_server_that_ends_at_once_waits_until_the_supervisor_can_hear_of_it() {
    let supervisor = Supervisor::new();
    let mut server = supervisor.launch(&[]).start();
    assert!(has(&supervisor.hears(), "READY=1"));
    supervisor.is_spoken_to_by_others();
    server.signal("TERM");
    server
        .log()
        .wait_for("it stops", |line| line.contains("stopping"));
    // A server that does not wait has gone by then.
    std::thread::sleep(ms(300));
    let said = supervisor.rest();
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0));
    let said = [said, supervisor.rest()].concat();
    assert!(
        said.iter().any(|message| has(message, "STOPPING=1")),
        "{said:?}"
    );
}

#[test]
fn the_watchdog_hears_of_the_loop_and_not_of_one_that_hangs() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let supervisor = Supervisor::new();
    let usec = TIMEOUT.as_micros().to_string();
    let server = supervisor.launch(&[]).env("WATCHDOG_USEC", &usec).start();
    let from = Instant::now();
    for _ in 0..6 {
        assert!(has(&supervisor.hears(), "WATCHDOG=1"));
    }
    // The first one comes with READY=1, the others twice in each timeout.
    let took = from.elapsed();
    assert!(took >= TIMEOUT && took < 4 * TIMEOUT, "{took:?}");

    // The loop runs in the first thread, whose number is that of the process.
    let thread = Pid::from_raw(i32::try_from(server.pid()).expect("a process id"));
    ptrace::attach(thread).expect("a child of ours may be traced");
    waitpid(thread, None).expect("it stops");
    // What it answered before is on its way.
    std::thread::sleep(ms(200));
    supervisor.rest();
    let said = supervisor.hears_within(3 * TIMEOUT);
    ptrace::detach(thread, None).expect("it is traced");
    assert_eq!(said, None, "the loop does not run");
    assert!(has(&supervisor.hears(), "WATCHDOG=1"));
}

#[test]
fn the_status_is_one_line_of_numbers() {
    let supervisor = Supervisor::new();
    let server = supervisor
        .launch(&[])
        .env("WATCHDOG_USEC", "200000")
        .start();
    let mut client = server.connect();
    client.send("ECHO a\nECHO b\n");
    client.expect_lines(&["OK a", "OK b"]);
    let expected = "STATUS=serving: connections 1, waiting 0, at workers 0, answered 2, busy 0";
    let deadline = Instant::now() + DEADLINE;
    loop {
        let message = supervisor.hears();
        if has(&message, expected) {
            break;
        }
        assert!(Instant::now() < deadline, "{message:?}");
    }
}

#[test]
fn without_a_supervisor_nobody_tells_and_one_that_has_gone_costs_a_warning() {
    let is_notifier = |(name, _): &(String, u32)| name == "notify";
    let server = Server::start(&[]);
    assert!(!server.policies().iter().any(is_notifier));

    let supervisor = Supervisor::new();
    let launch = supervisor.launch(&[]).env("WATCHDOG_USEC", "20000");
    drop(supervisor);
    let server = launch.start();
    let is_warning = |line: &str| line.contains("WARN") && line.contains("NOTIFY_SOCKET");
    server.log().wait_for("warns", is_warning);
    assert!(server.policies().iter().any(is_notifier));
    server.assert_serves();
    std::thread::sleep(ms(200));
    let lines = server.log().lines();
    assert_eq!(lines.iter().filter(|line| is_warning(line)).count(), 1);
}
