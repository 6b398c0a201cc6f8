//! The harness of the black-box tests: starts the built `server`, talks to it as clients do, and
//! looks at it from outside, through its log, its exit code and `/proc`.
//!
//! Knows no line of the server's own code: what it expects stands in `docs/protocol.md`.
//!
//! Rule: every wait has a deadline and ends in a panic that says what was awaited; and a server
//! never outlives the test that started it.

// Each test file compiles this module for itself, and uses its own part of it.
#![allow(dead_code)]

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

/// What any single event may take on a machine that is busy with something else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// How often a state is looked at that nothing announces.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The limit of a request line that holds where `--max-line` is not given.
const DEFAULT_MAX_LINE: usize = 65536;

/// How many lines of the log a failure shows.
const LOG_LINES_SHOWN: usize = 30;

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Asks `done` until it says yes; panics with `what` when it does not within `timeout`.
pub(crate) fn wait_until(what: &str, timeout: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !done() {
        assert!(Instant::now() < deadline, "not within {timeout:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

// ---- the server ---------------------------------------------------------------------------------

/// What becomes of the server's standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stderr {
    /// A thread reads it into the log, so that it never fills up.
    Read,
    /// A pipe that stays open and that nobody reads.
    NobodyReads,
    /// A pipe whose reading end is closed once the server runs.
    ReaderGone,
    /// Descriptor 2 is closed before the server starts.
    Closed,
    /// Every write fails with "no space left on device".
    Full,
}

/// How a server is to be started: flags, environment, limits, standard error.
pub(crate) struct Launch {
    flags: Vec<String>,
    env: Vec<(String, String)>,
    port: u16,
    stderr: Stderr,
    descriptor_limit: Option<usize>,
}

impl Launch {
    pub(crate) fn new(flags: &[&str]) -> Self {
        Self {
            flags: flags.iter().map(ToString::to_string).collect(),
            env: Vec::new(),
            port: 0,
            stderr: Stderr::Read,
            descriptor_limit: None,
        }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_string(), value.to_string()));
        self
    }

    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub(crate) fn stderr(mut self, stderr: Stderr) -> Self {
        self.stderr = stderr;
        self
    }

    /// Hard and soft limit, so that the server cannot raise it again.
    pub(crate) fn descriptor_limit(mut self, limit: usize) -> Self {
        self.descriptor_limit = Some(limit);
        self
    }

    /// Starts the server and returns once it listens.
    pub(crate) fn start(self) -> Server {
        let mut command = self.command();
        command
            .args(&self.flags)
            .args(["--port", &self.port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(match self.stderr {
            Stderr::Read | Stderr::NobodyReads | Stderr::ReaderGone => Stdio::piped(),
            Stderr::Closed => Stdio::null(),
            Stderr::Full => Stdio::from(
                fs::OpenOptions::new()
                    .write(true)
                    .open("/dev/full")
                    .expect("/dev/full can be opened"),
            ),
        });
        clean_environment(&mut command);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().expect("the server binary starts");

        let mut server = Server {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            log: Log::default(),
            max_line: max_line_of(&self.flags),
        };
        if self.stderr == Stderr::Read {
            let stderr = server.child.stderr.take().expect("stderr is a pipe");
            server.log.read_from(stderr);
        }
        server.address = server.wait_for_address();
        if self.stderr == Stderr::ReaderGone {
            drop(server.child.stderr.take());
        }
        server
    }

    fn command(&self) -> Command {
        let limit = self
            .descriptor_limit
            .map(|limit| format!("ulimit -n {limit}; "));
        let closed = (self.stderr == Stderr::Closed).then_some(" 2>&-");
        if limit.is_none() && closed.is_none() {
            return Command::new(env!("CARGO_BIN_EXE_server"));
        }
        let script = format!(
            "{}exec \"$0\" \"$@\"{}",
            limit.unwrap_or_default(),
            closed.unwrap_or_default()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_server")]);
        command
    }
}

/// Takes away what the surroundings of the test run would tell the server.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REACTOR_POOL_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
}

fn max_line_of(flags: &[String]) -> usize {
    let position = flags.iter().position(|flag| flag == "--max-line");
    position.map_or(DEFAULT_MAX_LINE, |at| {
        flags[at + 1].parse().expect("the test gives a number")
    })
}

/// A running server. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: Log,
    max_line: usize,
}

impl Server {
    /// A server with these flags on a free port of the loopback interface.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Launch::new(flags).start()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends `input` on a connection of its own, shuts down the sending side and returns all that
    /// comes until the server closes.
    pub(crate) fn exchange(&self, input: impl AsRef<[u8]>) -> Vec<u8> {
        let input = input.as_ref();
        let mut client = self.connect();
        let mut writer = client.writer();
        thread::scope(|scope| {
            scope.spawn(move || {
                writer.write_all(input).expect("the server takes the input");
                writer.shutdown(Shutdown::Write).expect("half-close");
            });
            client.rest()
        })
    }

    /// Returns when the event loop has framed all that reached the server before this call.
    ///
    /// A line that is too long is answered by the event loop itself, and the loop hears of bytes in
    /// the order in which they arrive: so whatever came before has been read by then. Twice, so
    /// that also what is left to do after a read has been done.
    pub(crate) fn barrier(&self) {
        let mut client = self.connect();
        let too_long = vec![b'x'; self.max_line + 1];
        for _ in 0..2 {
            client.send(&too_long);
            client.expect(format!("ERR line too long (limit {} bytes)", self.max_line));
            client.send("\n");
        }
    }

    /// Gives `count` connections one `SLEEP` each, framed in this order before it returns. With as
    /// many as workers and queue slots, no request that comes later gets a slot before one of these
    /// is done.
    pub(crate) fn occupy(&self, count: usize, sleep_ms: u64) -> Vec<Client> {
        let occupy_one = |_| {
            let mut client = self.connect();
            client.send(format!("SLEEP {sleep_ms}\n"));
            self.barrier();
            client
        };
        (0..count).map(occupy_one).collect()
    }

    /// Asserts that a new client is served.
    pub(crate) fn assert_serves(&self) {
        let mut client = self.connect();
        client.send("ECHO still here\n");
        client.expect("OK still here");
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid().to_string()])
            .status()
            .expect("sh is there");
        assert!(status.success(), "SIG{name} was not sent");
    }

    /// The exit status; panics when the server still runs after `timeout`.
    pub(crate) fn wait_for_exit(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("the server is our child") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the server still runs after {timeout:?}; its log:\n{}",
                self.log.shown()
            );
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns when the listener is gone, which is the first thing that a stop does.
    pub(crate) fn wait_until_refusing(&self, timeout: Duration) {
        wait_until(
            "new connections are refused",
            timeout,
            || match TcpStream::connect_timeout(&self.address, DEADLINE) {
                Err(error) => error.kind() == ErrorKind::ConnectionRefused,
                Ok(_) => false,
            },
        );
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From the log where it is read, else from the table of listening sockets.
    fn wait_for_address(&mut self) -> SocketAddr {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let address = self
                .log
                .listening_address()
                .or_else(|| listening_address(self.pid()));
            if let Some(address) = address {
                return address;
            }
            let exited = self.child.try_wait().expect("the server is our child");
            assert!(
                exited.is_none() && Instant::now() < deadline,
                "the server does not listen ({exited:?}); its log:\n{}",
                self.log.shown()
            );
            thread::sleep(POLL_INTERVAL);
        }
    }

    // What the operating system says about the process.

    /// User and system time of all threads so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = self.proc_file("stat");
        // The name may hold spaces; what follows the parenthesis begins with field 3 of proc(5).
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .expect("a stat line")
            .split_whitespace()
            .collect();
        let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("a number of ticks");
        // USER_HZ is 100 on every Linux that Rust has as a target.
        ms((ticks(14) + ticks(15)) * 10)
    }

    /// The CPU time that the server uses while nothing is done for `period`.
    pub(crate) fn cpu_time_during(&self, period: Duration) -> Duration {
        let before = self.cpu_time();
        thread::sleep(period);
        self.cpu_time() - before
    }

    pub(crate) fn resident_bytes(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// The most that was ever resident.
    pub(crate) fn peak_resident_bytes(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> usize {
        let status = self.proc_file("status");
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .expect("proc(5) names it");
        let kilobytes = line.split_whitespace().nth(1).expect("a number");
        kilobytes.parse::<usize>().expect("a number") * 1024
    }

    pub(crate) fn descriptors(&self) -> usize {
        self.proc_dir("fd").len()
    }

    pub(crate) fn threads(&self) -> usize {
        self.proc_dir("task").len()
    }

    fn proc_file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid())).expect("the server runs")
    }

    fn proc_dir(&self, name: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(format!("/proc/{}/{name}", self.pid()));
        entries
            .expect("the server runs")
            .flatten()
            .map(|entry| entry.path())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited, as some tests want it to.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The address on which a process listens, from `/proc`: for servers whose log says nothing.
fn listening_address(pid: u32) -> Option<SocketAddr> {
    const LISTEN: &str = "0A";
    let links = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let sockets: HashSet<String> = links
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| {
            let link = link.to_string_lossy().into_owned();
            Some(
                link.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_string(),
            )
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields[3] != LISTEN || !sockets.contains(fields[9]) {
            return None;
        }
        let (ip, port) = fields[1].split_once(':')?;
        let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_le_bytes());
        Some(SocketAddr::from((ip, u16::from_str_radix(port, 16).ok()?)))
    })
}

/// The lines that the server has written to its standard error.
#[derive(Clone, Default)]
pub(crate) struct Log {
    shared: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Log {
    fn read_from(&self, stderr: impl Read + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let (lines, more) = &*shared;
                lines
                    .lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&line).into_owned());
                more.notify_all();
            }
        });
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().clone()
    }

    /// The first line that `wanted` accepts, now or within the deadline.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        let (lines, more) = &*self.shared;
        let mut lines = lines.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(line) = lines[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no line of the log {what}:\n{}",
                tail(&lines)
            );
            lines = more.wait_timeout(lines, left).unwrap().0;
        }
    }

    fn listening_address(&self) -> Option<SocketAddr> {
        let lines = self.shared.0.lock().unwrap();
        let line = lines.iter().find(|line| line.contains("listening"))?;
        let address = line.split_once("addr=")?.1.split_whitespace().next()?;
        address.parse().ok()
    }

    fn shown(&self) -> String {
        tail(&self.shared.0.lock().unwrap())
    }
}

fn tail(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

// ---- the client ---------------------------------------------------------------------------------

/// What the next read brings.
enum Event {
    Line(Vec<u8>),
    End,
    Timeout,
}

/// One connection, blocking, with a deadline on each read and write.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Where the next line begins in `unread`.
    next: usize,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server accepts");
        Self::over(stream)
    }

    /// With buffers so small that what is not read soon stays in the server. The sending one still
    /// holds a full segment: below that, each write waits for a delayed acknowledgement.
    pub(crate) fn connect_with_small_buffers(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap();
        socket
            .connect_timeout(&address.into(), DEADLINE)
            .expect("the server accepts");
        Self::over(socket.into())
    }

    /// With a sending buffer so small that what the server does not read soon blocks.
    pub(crate) fn connect_with_small_send_buffer(address: SocketAddr) -> Self {
        let client = Self::connect(address);
        SockRef::from(&client.stream)
            .set_send_buffer_size(64 * 1024)
            .unwrap();
        client
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self {
            stream,
            unread: Vec::new(),
            next: 0,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the server takes the bytes");
    }

    /// Sends a byte out of band; the server does not take it for data.
    pub(crate) fn send_urgent(&mut self, byte: u8) {
        let sent = SockRef::from(&self.stream).send_out_of_band(&[byte]);
        assert_eq!(sent.expect("the socket takes it"), 1);
    }

    /// The sending side by itself, for a thread that writes while this one reads.
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream
            .try_clone()
            .expect("a second handle of the socket")
    }

    /// Sends until the server has taken nothing for `patience`; returns how many bytes went out.
    pub(crate) fn send_until_blocked(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            // In pieces: one long write would return, and begin its wait anew, in the middle.
            let end = bytes.len().min(sent + 64 * 1024);
            match self.stream.write(&bytes[sent..end]) {
                Ok(count) => sent += count,
                Err(error) if is_timeout(&error) => break,
                Err(error) => panic!("after {sent} bytes: {error}"),
            }
        }
        self.stream.set_write_timeout(Some(DEADLINE)).unwrap();
        sent
    }

    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("half-close");
    }

    /// Ends the connection with a reset instead of a FIN.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// The next line without its LF.
    pub(crate) fn line(&mut self) -> Vec<u8> {
        self.try_line(DEADLINE)
            .unwrap_or_else(|| panic!("no line within {DEADLINE:?}"))
    }

    /// The next line without its LF, or nothing when none is complete within `timeout`.
    pub(crate) fn try_line(&mut self, timeout: Duration) -> Option<Vec<u8>> {
        match self.next_event(timeout) {
            Event::Line(line) => Some(line),
            Event::Timeout => None,
            Event::End => panic!(
                "the connection ended; a line was expected after {:?}",
                self.shown()
            ),
        }
    }

    /// The next line without its LF, or nothing when the stream ends here in an orderly way.
    pub(crate) fn line_or_end(&mut self) -> Option<Vec<u8>> {
        match self.next_event(DEADLINE) {
            Event::Line(line) => Some(line),
            Event::End if self.next == self.unread.len() => None,
            Event::End => panic!("the last line is cut: {:?}", self.shown()),
            Event::Timeout => panic!("neither a line nor the end within {DEADLINE:?}"),
        }
    }

    fn next_event(&mut self, timeout: Duration) -> Event {
        let deadline = Instant::now() + timeout;
        let mut searched = self.next;
        loop {
            if let Some(at) = self.unread[searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let end = searched + at;
                let line = self.unread[self.next..end].to_vec();
                self.next = end + 1;
                return Event::Line(line);
            }
            searched = self.unread.len() - self.next;
            self.unread.drain(..self.next);
            self.next = 0;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Event::Timeout;
            }
            match self.read_some(left) {
                Ok(0) => return Event::End,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Event::Timeout,
                Err(error) => panic!("{error}; a line was expected after {:?}", self.shown()),
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, line: impl AsRef<[u8]>) {
        let got = self.line();
        let wanted = line.as_ref();
        assert!(
            got == wanted,
            "got {:?}, expected {:?}",
            show(&got),
            show(wanted)
        );
    }

    #[track_caller]
    pub(crate) fn expect_lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.expect(line);
        }
    }

    /// Asserts an orderly end right here: no further byte, no reset.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "got {:?}, expected the end", show(&rest));
    }

    /// All that comes until the server closes in an orderly way; a reset is a failure.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.read_some(DEADLINE) {
                Ok(0) => return self.unread.split_off(self.next),
                Ok(_) => {}
                Err(error) => panic!(
                    "{error} after {} bytes, where the end was expected; last bytes: {:?}",
                    self.unread.len() - self.next,
                    self.shown()
                ),
            }
        }
    }

    /// What comes until the connection ends in whatever way.
    pub(crate) fn rest_or_reset(&mut self) -> Vec<u8> {
        while let Ok(1..) = self.read_some(DEADLINE) {}
        self.unread.split_off(self.next)
    }

    /// Reads on a thread of its own and counts the lines.
    pub(crate) fn count_in_background(mut self) -> Counter {
        let count = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&count);
        let thread = thread::spawn(move || {
            let mut seen = 0;
            while let Ok(1..) = self.read_some(DEADLINE) {
                let lines = self.unread[seen..]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count();
                shared.fetch_add(lines, Ordering::Relaxed);
                seen = self.unread.len();
            }
            self.unread
        });
        Counter { count, thread }
    }

    fn read_some(&mut self, timeout: Duration) -> std::io::Result<usize> {
        self.stream.set_read_timeout(Some(timeout.max(ms(1))))?;
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.unread.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
            }
        }
    }

    fn shown(&self) -> String {
        show(&self.unread[self.unread.len().saturating_sub(100)..])
    }
}

/// The answers of a connection, counted as they come.
pub(crate) struct Counter {
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<u8>>,
}

impl Counter {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// All bytes, once the connection has ended.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.thread
            .join()
            .expect("the counting thread has no reason to panic")
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Bytes for a person to read: escaped, and shortened in the middle.
pub(crate) fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    if bytes.len() <= SHOWN {
        return bytes.escape_ascii().to_string();
    }
    let (head, tail) = (&bytes[..SHOWN / 2], &bytes[bytes.len() - SHOWN / 2..]);
    format!(
        "{} … {} ({} bytes)",
        head.escape_ascii(),
        tail.escape_ascii(),
        bytes.len()
    )
}

/// The lines of a whole exchange; the last one must be complete.
#[track_caller]
pub(crate) fn lines_of(bytes: &[u8]) -> Vec<String> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let whole = bytes.strip_suffix(b"\n");
    let whole = whole.unwrap_or_else(|| panic!("the last line is cut: {:?}", show(bytes)));
    let lines = whole.split(|byte| *byte == b'\n');
    lines
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

// ---- chance -------------------------------------------------------------------------------------

/// Seeded random numbers (xorshift64*), the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero would stay zero for ever.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number from 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 32) as usize * end) >> 32
    }
}
