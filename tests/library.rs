//! The library from outside: what an embedder sees who binds a server with a handler of his own.
//!
//! Knows the public names of the crate, and TCP; nothing of the `server` command or its operations.
//!
//! Rule: a handler can do no harm beyond its own answer, and every wait here has a deadline.

use reactor_pool::{Config, Ending, ResponseLine, Server, Stopper, Summary};
use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Once, mpsc};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// What any single event may take on a machine that is busy with something else.
const DEADLINE: Duration = Duration::from_secs(20);

// ---- the house of these tests --------------------------------------------------------------------

/// A server on a thread of its own.
struct Running {
    address: SocketAddr,
    stopper: Stopper,
    thread: JoinHandle<io::Result<Summary>>,
}

impl Running {
    fn start(
        config: Config,
        handler: impl Fn(&[u8], &mut ResponseLine<'_>) + Send + Sync + 'static,
    ) -> Running {
        let server = Server::bind("127.0.0.1", 0, config, handler).expect("a free port");
        Running {
            address: server.local_addr(),
            stopper: server.stopper(),
            thread: thread::spawn(move || server.run()),
        }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("the server accepts");
        Client::over(stream)
    }

    /// Stops the server and waits for its end.
    fn stop(self) -> Summary {
        self.stopper.stop();
        self.end()
    }

    fn end(self) -> Summary {
        wait_until("the server has ended", || self.thread.is_finished());
        let ended = self.thread.join().expect("the reactor does not panic");
        ended.expect("polling does not fail")
    }
}

/// One connection, blocking, with a deadline on each read and write.
struct Client(BufReader<TcpStream>);

impl Client {
    fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("not zero");
        Client(BufReader::new(stream))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let stream = self.0.get_mut();
        stream
            .write_all(bytes.as_ref())
            .expect("the server takes the bytes");
    }

    fn half_close(&self) {
        let stream = self.0.get_ref();
        stream.shutdown(Shutdown::Write).expect("half-close");
    }

    /// The next line without its LF.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("a line in time");
        assert_eq!(line.pop(), Some(b'\n'), "the last line is cut: {line:?}");
        String::from_utf8(line).expect("the handlers here answer in ASCII")
    }

    #[track_caller]
    fn expect(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.line(), *line);
        }
    }

    #[track_caller]
    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an orderly end");
        assert!(rest.is_empty(), "{} bytes too many", rest.len());
    }
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// What the library has logged in this process. All tests share it, so each looks for words of its own.
#[derive(Clone, Copy)]
struct Log(&'static Mutex<Vec<u8>>);

impl Log {
    /// The log from here on, at warn and above.
    fn capture() -> Log {
        static BYTES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_max_level(tracing::Level::WARN)
                .with_writer(Log(&BYTES));
            subscriber.init();
        });
        Log(&BYTES)
    }

    /// How many lines hold all of `words`.
    fn count(self, words: &[&str]) -> usize {
        self.lines(words).len()
    }

    /// The lines that hold all of `words`.
    fn lines(self, words: &[&str]) -> Vec<String> {
        let bytes = self.0.lock().expect("nobody panics while writing a line");
        let text = String::from_utf8_lossy(&bytes);
        let holds_all = |line: &&str| words.iter().all(|word| line.contains(word));
        text.split('\n')
            .filter(holds_all)
            .map(str::to_owned)
            .collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().expect("nobody panics while writing a line");
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        *self
    }
}

/// The default hook writes the message, and where asked a backtrace, of each panic to standard error:
/// thousands of lines in which a real failure would drown. Panics of workers are what these tests are
/// about, so theirs are silenced; those of the tests' own threads are shown as ever.
fn silence_panics_of_workers() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = thread::current();
            if !thread
                .name()
                .is_some_and(|name| name.starts_with("worker-"))
            {
                default(panic);
            }
        }));
    });
}

// ---- a handler that panics ------------------------------------------------------------------------

const WORKERS: usize = 8;
const CLIENTS: usize = 16;
const REQUESTS: usize = 600;

/// What request `n` asks for; two of three panic, with each kind of message that Rust knows.
fn request(client: usize, n: usize) -> String {
    match n % 6 {
        0 => format!("say {client}.{n}"),
        1 => format!("panic with a String {client}.{n}"),
        2 => "panic with a &str".to_owned(),
        3 => format!("shout {client}.{n}"),
        4 => "panic without a text".to_owned(),
        _ => format!("panic in the middle of the answer {client}.{n}"),
    }
}

fn answer_or_panic(request: &str, response: &mut ResponseLine<'_>) {
    match request {
        "panic with a &str" => panic!("a text of the program"),
        "panic without a text" => panic_any(42),
        _ if request.starts_with("panic with a String") => panic!("{request}"),
        _ if request.starts_with("panic in the middle") => {
            response.push(b"OK half an ans");
            panic!("{request}")
        }
        _ => response.push(format!("OK {request}").as_bytes()),
    }
}

fn expected(client: usize, n: usize) -> String {
    let request = request(client, n);
    if request.starts_with("panic") {
        "ERR internal error".to_owned()
    } else {
        format!("OK {request}")
    }
}

/// The threads that answer `WORKERS` requests which wait for each other: it takes as many live workers.
#[track_caller]
fn workers_that_meet(server: &Running, seen: &Mutex<HashSet<ThreadId>>) -> HashSet<ThreadId> {
    seen.lock().expect("the handler holds it alone").clear();
    let mut client = server.connect();
    client.send("meet\n".repeat(WORKERS));
    client.expect(&["OK met"; WORKERS]);
    seen.lock().expect("the handler holds it alone").clone()
}

#[test]
fn thousands_of_panics_cost_their_own_answers_and_nothing_else() {
    silence_panics_of_workers();
    let log = Log::capture();
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let meeting = Barrier::new(WORKERS);
    let by_handler = Arc::clone(&seen);
    let config = Config {
        workers: WORKERS,
        ..Config::default()
    };
    let server = Running::start(config, move |request: &[u8], response: &mut _| {
        let mut seen = by_handler.lock().expect("nothing panics in between");
        seen.insert(thread::current().id());
        drop(seen);
        if request == b"meet" {
            meeting.wait();
            response.push(b"OK met");
        } else {
            let request = std::str::from_utf8(request).expect("this test sends ASCII");
            answer_or_panic(request, response);
        }
    });
    let before = workers_that_meet(&server, &seen);
    assert_eq!(before.len(), WORKERS);

    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = server.connect();
            scope.spawn(move || {
                let mut writer = client.0.get_ref().try_clone().expect("a second handle");
                let lines: String = (0..REQUESTS).map(|n| request(number, n) + "\n").collect();
                let sending = thread::spawn(move || writer.write_all(lines.as_bytes()));
                for n in 0..REQUESTS {
                    assert_eq!(client.line(), expected(number, n), "request {number}.{n}");
                }
                let sent = sending.join().expect("it only writes");
                sent.expect("the server takes everything");
                client.half_close();
                client.expect_end();
            });
        }
    });

    let served = seen.lock().expect("the handler is idle").clone();
    assert!(served.is_subset(&before), "a worker was replaced");
    let after = workers_that_meet(&server, &seen);
    assert_eq!(after, before, "a worker is gone");

    let stats = server.stop().stats;
    let panics = CLIENTS * REQUESTS * 2 / 3;
    assert_eq!(stats.answered_internal, panics as u64);
    assert_eq!(
        stats.answered_ok,
        (CLIENTS * REQUESTS - panics + 2 * WORKERS) as u64
    );
    assert_eq!(stats.answered_error, 0);

    // One line of the log for each panic, with its message.
    let of_each_kind = CLIENTS * REQUESTS / 6;
    for message in [
        "panic with a String",
        "a text of the program",
        "not a text",
        "panic in the middle of the answer",
    ] {
        let count = log.count(&["ERROR", "the handler panicked", message]);
        assert_eq!(count, of_each_kind, "{message}");
    }
    assert_eq!(log.count(&["panic with a String 7.301"]), 1);
}

#[test]
fn a_panic_with_bytes_of_a_client_is_one_short_escaped_line_of_the_log() {
    silence_panics_of_workers();
    let log = Log::capture();
    let text = |request: &[u8]| format!("client said\n{}", String::from_utf8_lossy(request));
    let server = Running::start(
        Config::default(),
        move |request: &[u8], _: &mut ResponseLine<'_>| panic!("{}", text(request)),
    );
    // Colours, a carriage return, a tab, a NUL, a quote, writing from right to left, no UTF-8.
    let short = b"\x1b[31mred\r\t\0\"\xe2\x80\xae\xff end".to_vec();
    let long = [&short[..], &[b'x'; 5000]].concat();
    let mut client = server.connect();
    for request in [&short, &long] {
        client.send([request, &b"\n"[..]].concat());
        client.expect(&["ERR internal error"]);
    }
    drop(client);
    server.stop();
    let shown = |request: &[u8]| {
        let first_chars = text(request).chars().take(200).collect::<String>();
        // Escaped for whoever reads the field, and quoted once more by the text format.
        format!("panic={:?}", first_chars.escape_debug().to_string())
    };
    let lines = log.lines(&["client said"]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, request) in lines.iter().zip([&short, &long]) {
        assert!(line.contains("the handler panicked"), "{line:?}");
        assert!(
            line.ends_with(&shown(request)),
            "{line:?} and not {}",
            shown(request)
        );
    }
    assert_eq!(log.count(&["red"]), 2);
}

/// A message that panics once more when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("and once more");
    }
}

#[test]
fn a_panic_message_that_panics_when_it_is_dropped_takes_no_worker() {
    silence_panics_of_workers();
    let config = Config {
        workers: 1,
        ..Config::default()
    };
    let server = Running::start(config, |request: &[u8], response: &mut _| {
        if request == b"bomb" {
            panic_any(Bomb);
        }
        response.push(b"OK");
    });
    let mut client = server.connect();
    client.send("bomb\nfine\nbomb\nfine\n");
    const INTERNAL: &str = "ERR internal error";
    client.expect(&[INTERNAL, "OK", INTERNAL, "OK"]);
    drop(client);
    let stats = server.stop().stats;
    assert_eq!((stats.answered_internal, stats.answered_ok), (2, 2));
}

// ---- answers of every shape ------------------------------------------------------------------------

#[test]
fn an_answer_of_more_than_one_line_becomes_an_internal_error() {
    let log = Log::capture();
    let server = Running::start(
        Config::default(),
        |request: &[u8], response: &mut _| match request {
            b"end" => response.push(b"OK with an LF of its own\n"),
            b"middle" => response.push(b"OK one\nOK two"),
            b"only" => response.push(b"\n"),
            _ => response.push(b"OK"),
        },
    );
    let mut client = server.connect();
    client.send("end\nfine\nmiddle\nonly\nfine\n");
    const INTERNAL: &str = "ERR internal error";
    client.expect(&[INTERNAL, "OK", INTERNAL, INTERNAL, "OK"]);
    client.half_close();
    client.expect_end();
    let stats = server.stop().stats;
    assert_eq!((stats.answered_internal, stats.answered_ok), (3, 2));
    assert_eq!(
        log.count(&["ERROR", "the handler wrote more than one line"]),
        3
    );
}

#[test]
fn an_empty_answer_is_an_empty_line() {
    let server = Running::start(Config::default(), |request: &[u8], response: &mut _| {
        response.push(request);
    });
    let mut client = server.connect();
    client.send("\nOK a\n\r\n\n");
    client.expect(&["", "OK a", "", ""]);
    drop(client);
    let stats = server.stop().stats;
    assert_eq!((stats.answered_error, stats.answered_ok), (3, 1));
}

/// Bytes that show where in the answer they stand; no LF among them.
fn huge_answer(bytes: usize) -> Vec<u8> {
    let number = |n: usize| format!("{n:07},").into_bytes();
    (0..bytes / 8).flat_map(number).collect()
}

#[test]
fn a_huge_answer_reaches_a_slow_reader_whole_while_others_are_served() {
    const HUGE_BYTES: usize = 5 << 20;
    let server = Running::start(Config::default(), |request: &[u8], response: &mut _| {
        if request == b"huge" {
            response.reserve(HUGE_BYTES);
            response.push(&huge_answer(HUGE_BYTES));
        } else {
            response.push(request);
        }
    });
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small is allowed");
    socket
        .connect(&server.address.into())
        .expect("the server accepts");
    let mut slow = Client::over(socket.into());
    let mut other = server.connect();
    slow.send("huge\nafterwards\n");

    let mut got = vec![0; HUGE_BYTES];
    let mut round_trips = 0;
    for piece in got.chunks_mut(HUGE_BYTES / 64) {
        // While the slow one does not read, the other one is answered at once.
        for _ in 0..3 {
            other.send("quick\n");
            other.expect(&["quick"]);
            round_trips += 1;
        }
        slow.0.read_exact(piece).expect("the next piece");
    }
    assert!(got == huge_answer(HUGE_BYTES), "the answer was altered");
    slow.expect(&["", "afterwards"]);
    slow.half_close();
    slow.expect_end();
    drop(other);
    let stats = server.stop().stats;
    assert_eq!(stats.framed, round_trips + 2);
    assert!(stats.buffered.peak > (HUGE_BYTES / 2) as u64, "it was slow");
}

// ---- the end ----------------------------------------------------------------------------------------

#[test]
fn a_stopper_lets_what_was_framed_be_answered() {
    let (started, starts) = mpsc::channel();
    let config = Config {
        workers: 2,
        ..Config::default()
    };
    let server = Running::start(config, move |request: &[u8], response: &mut _| {
        started.send(()).expect("the test listens");
        thread::sleep(Duration::from_millis(20));
        response.push(b"OK ");
        response.push(request);
    });
    let mut client = server.connect();
    // One segment, so that one read frames all of it.
    client.send("1\n2\n3\n4\n5\n6\n7\n8\n");
    starts.recv_timeout(DEADLINE).expect("the first one runs");
    let stopper = server.stopper.clone();
    let stopping = thread::spawn(move || {
        stopper.stop();
        stopper.stop();
    });
    let answers: Vec<String> = (1..=8).map(|n| format!("OK {n}")).collect();
    client.expect(&answers.iter().map(String::as_str).collect::<Vec<_>>());
    client.expect_end();
    stopping.join().expect("stopping twice is allowed");
    let address = server.address;
    drop(client);
    let summary = server.end();
    assert_eq!(summary.ending, Ending::Drained);
    assert_eq!(summary.stats.answered_ok, 8);
    TcpStream::connect(address).expect_err("nobody listens any more");
}

#[test]
fn a_handler_may_stop_its_own_server_and_a_stop_may_come_before_the_run() {
    let stop: Arc<Mutex<Option<Stopper>>> = Arc::default();
    let by_handler = Arc::clone(&stop);
    let server = Server::bind(
        "127.0.0.1",
        0,
        Config::default(),
        move |_: &[u8], response: &mut ResponseLine<'_>| {
            let stopper = by_handler.lock().expect("nothing panics in between");
            stopper.as_ref().expect("it is set before the run").stop();
            response.push(b"OK stopping");
        },
    );
    let server = server.expect("a free port");
    *stop.lock().expect("no request yet") = Some(server.stopper());
    let running = Running {
        address: server.local_addr(),
        stopper: server.stopper(),
        thread: thread::spawn(move || server.run()),
    };
    let mut client = running.connect();
    client.send("stop\n");
    client.expect(&["OK stopping"]);
    client.expect_end();
    drop(client);
    assert_eq!(running.end().ending, Ending::Drained);

    let handler = |_: &[u8], _: &mut ResponseLine<'_>| {};
    let server = Server::bind("127.0.0.1", 0, Config::default(), handler).expect("a free port");
    server.stopper().stop();
    let running = Running {
        address: server.local_addr(),
        stopper: server.stopper(),
        thread: thread::spawn(move || server.run()),
    };
    assert_eq!(running.end().ending, Ending::Drained);
}

#[test]
fn a_stop_that_cannot_wait_says_what_it_abandoned() {
    let (started, starts) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let config = Config {
        workers: 1,
        drain_timeout: Duration::ZERO,
        ..Config::default()
    };
    let server = Running::start(config, move |_: &[u8], _: &mut _| {
        // The later ones may run when the test has gone.
        started.send(()).ok();
        let gate = may_go_on.lock().expect("one worker");
        gate.recv_timeout(DEADLINE).ok();
    });
    let mut client = server.connect();
    client.send("a\nb\nc\n");
    starts.recv_timeout(DEADLINE).expect("the first one runs");
    let summary = server.stop();
    let Ending::TimedOut(owed) = summary.ending else {
        panic!("three requests were unanswered: {:?}", summary.ending);
    };
    assert_eq!((owed.requests, owed.bytes), (3, 0));
    go_on.send(()).expect("the worker waits");
}

#[test]
fn a_server_that_is_never_run_takes_its_workers_along() {
    let held = Arc::new(());
    let by_handler = Arc::clone(&held);
    let handler = move |_: &[u8], response: &mut ResponseLine<'_>| {
        response.push(format!("OK {}", Arc::strong_count(&by_handler)).as_bytes());
    };
    let server = Server::bind("127.0.0.1", 0, Config::default(), handler).expect("a free port");
    drop(server);
    wait_until("no worker keeps the handler", || {
        Arc::strong_count(&held) == 1
    });
}

// ---- what bind refuses ------------------------------------------------------------------------------

fn bind_error(host: &str, port: u16, config: Config) -> io::Error {
    let called = Arc::new(AtomicUsize::new(0));
    let by_handler = Arc::clone(&called);
    let handler = move |_: &[u8], _: &mut ResponseLine<'_>| {
        by_handler.fetch_add(1, Ordering::Relaxed);
    };
    let error = Server::bind(host, port, config, handler).expect_err("it cannot be bound");
    assert_eq!(
        Arc::strong_count(&called),
        1,
        "the handler is dropped, and no worker keeps it"
    );
    error
}

#[test]
fn a_number_out_of_range_is_an_error_that_names_it_with_its_range() {
    let base = Config::default;
    let cases = [
        (
            Config {
                workers: 0,
                ..base()
            },
            "workers is 0 threads: allowed are whole numbers from 1 to 1024",
        ),
        (
            Config {
                queue: 1001,
                ..base()
            },
            "queue is 1001 requests: allowed are whole numbers from 1 to 1000",
        ),
        (
            Config {
                max_line: 0,
                ..base()
            },
            "max-line is 0 bytes: allowed are whole numbers from 1 to 16777216",
        ),
        (
            Config {
                max_inflight: 65_537,
                ..base()
            },
            "max-inflight is 65537 requests: allowed are whole numbers from 1 to 65536",
        ),
        (
            Config {
                max_connections: 0,
                ..base()
            },
            "max-connections is 0 connections: allowed are whole numbers from 1 to 1000000",
        ),
        (
            Config {
                busy_timeout: Duration::MAX,
                ..base()
            },
            "busy-timeout is 18446744073709551615999 ms: allowed are whole numbers from 0 to 3600000",
        ),
        (
            Config {
                idle_timeout: Duration::from_secs(31_536_001),
                ..base()
            },
            "idle-timeout is 31536001 s: allowed are whole numbers from 0 to 31536000",
        ),
        (
            Config {
                drain_timeout: Duration::from_secs(86_401),
                ..base()
            },
            "drain-timeout is 86401 s: allowed are whole numbers from 0 to 86400",
        ),
    ];
    for (config, message) in cases {
        let error = bind_error("127.0.0.1", 0, config);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let error = bind_error("127.0.0.1", port, Config::default());
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let begin = format!("cannot listen on 127.0.0.1:{port}: ");
    assert!(error.to_string().starts_with(&begin), "{error}");

    // RFC 5737 keeps this address for documentation: no host has it.
    let error = bind_error("192.0.2.1", 9000, Config::default());
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    let begin = "cannot listen on 192.0.2.1:9000: ";
    assert!(error.to_string().starts_with(begin), "{error}");

    // Hosts without IPv6 say so in other words; the address is always named with its brackets.
    let error = bind_error("2001:db8::1", 9000, Config::default());
    let begin = "cannot listen on [2001:db8::1]:9000: ";
    assert!(error.to_string().starts_with(begin), "{error}");
}

#[test]
fn a_port_is_free_again_at_once() {
    let handler = |_: &[u8], response: &mut ResponseLine<'_>| response.push(b"OK");
    let start = |port| Server::bind("127.0.0.1", port, Config::default(), handler);
    let mut port = 0;
    for _ in 0..5 {
        let server = start(port).expect("the port of the one before");
        port = server.local_addr().port();
        let running = Running {
            address: server.local_addr(),
            stopper: server.stopper(),
            thread: thread::spawn(move || server.run()),
        };
        let mut client = running.connect();
        client.send("x\n");
        client.expect(&["OK"]);
        // The server closes first, so its side of the connection stays in TIME_WAIT.
        running.stopper.stop();
        client.expect_end();
        drop(client);
        assert_eq!(running.end().ending, Ending::Drained);
    }
}
