//! The built `server` as a child process: how it is started, what it is asked to do, and what the
//! operating system says about it.
//!
//! Knows its log only as a [`Log`], and of the protocol what brings it into a known state.
//!
//! Rule: a server listens when its start returns, and is killed when it is dropped.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Client, DEADLINE, Log, POLL_INTERVAL, ms, wait_until};

/// The limit of a request line that holds where `--max-line` is not given.
const DEFAULT_MAX_LINE: usize = 65536;

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
    /// A pipe that nobody reads and that is full from the start: every write would wait for ever.
    FullPipe,
}

/// How a server is to be started: flags, environment, limits, standard error.
pub(crate) struct Launch {
    flags: Vec<String>,
    env: Vec<(String, String)>,
    port: Option<u16>,
    stderr: Stderr,
    /// Sockets that it is started with; they come as its first two streams.
    passed: Vec<OwnedFd>,
    /// What a shell does before it becomes the server.
    shell: Vec<String>,
}

impl Launch {
    pub(crate) fn new(flags: &[&str]) -> Self {
        Self {
            flags: flags.iter().map(ToString::to_string).collect(),
            env: Vec::new(),
            port: Some(0),
            stderr: Stderr::Read,
            passed: Vec::new(),
            shell: Vec::new(),
        }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_string(), value.to_string()));
        self
    }

    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Leaves it to the flags where it listens; they name no address of TCP.
    pub(crate) fn without_port(mut self) -> Self {
        self.port = None;
        self
    }

    /// Starts it with these sockets, two at most, as a supervisor does (sd_listen_fds(3)); `names`
    /// is what each is called, with colons between them. Where it listens beside them, the flags
    /// say.
    pub(crate) fn passing(mut self, sockets: Vec<OwnedFd>, names: &str) -> Self {
        let count = sockets.len();
        assert!((1..=2).contains(&count), "{count} sockets");
        self.passed = sockets;
        let named = match names {
            "" => String::new(),
            names => format!("export LISTEN_FDNAMES='{names}'; "),
        };
        self.without_port().in_shell(&format!(
            "exec 3<&0 4<&1 0</dev/null 1>/dev/null; \
             {named}export LISTEN_FDS={count} LISTEN_PID=$$"
        ))
    }

    pub(crate) fn stderr(mut self, stderr: Stderr) -> Self {
        self.stderr = stderr;
        self
    }

    /// Hard and soft limit, so that the server cannot raise it again.
    pub(crate) fn descriptor_limit(self, limit: usize) -> Self {
        self.in_shell(&format!("ulimit -n {limit}"))
    }

    /// Starts it by a shell that runs `command` first.
    pub(crate) fn in_shell(mut self, command: &str) -> Self {
        self.shell.push(command.to_owned());
        self
    }

    /// Starts the server and returns once it listens.
    pub(crate) fn start(mut self) -> Server {
        let mut command = self.command();
        command.args(&self.flags);
        if let Some(port) = self.port {
            command.args(["--port", &port.to_string()]);
        }
        let mut passed = self.passed.drain(..).map(Stdio::from);
        command.stdin(passed.next().unwrap_or_else(Stdio::null));
        command.stdout(passed.next().unwrap_or_else(Stdio::null));
        drop(passed);
        let mut unread = None;
        command.stderr(match self.stderr {
            Stderr::Read | Stderr::NobodyReads | Stderr::ReaderGone => Stdio::piped(),
            Stderr::Closed => Stdio::null(),
            Stderr::Full => Stdio::from(
                fs::OpenOptions::new()
                    .write(true)
                    .open("/dev/full")
                    .expect("/dev/full can be opened"),
            ),
            Stderr::FullPipe => {
                let (reader, writer) = full_pipe();
                unread = Some(reader);
                Stdio::from(writer)
            }
        });
        clean_environment(&mut command);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().expect("the server binary starts");

        let mut server = Server {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            log: Log::default(),
            max_line: max_line_of(&self.flags),
            _unread: unread,
        };
        if self.stderr == Stderr::Read {
            let stderr = server.child.stderr.take().expect("stderr is a pipe");
            server.log.read_from(stderr);
        }
        let has_admin = self.flags.iter().any(|flag| flag == "--admin");
        match self.port {
            Some(_) => server.address = server.wait_for_address(has_admin),
            None => drop(
                server
                    .log
                    .wait_for("says listening", |line| line.contains("listening")),
            ),
        }
        if self.stderr == Stderr::ReaderGone {
            drop(server.child.stderr.take());
        }
        server
    }

    fn command(&self) -> Command {
        let closed = (self.stderr == Stderr::Closed).then_some(" 2>&-");
        if self.shell.is_empty() && closed.is_none() {
            return Command::new(env!("CARGO_BIN_EXE_server"));
        }
        let before: String = self.shell.iter().map(|line| format!("{line}; ")).collect();
        let script = format!("{before}exec \"$0\" \"$@\"{}", closed.unwrap_or_default());
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_server")]);
        command
    }
}

/// A pipe without room for one more byte.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    // The flag belongs to the pipe's end, which the server inherits, so it is cleared again.
    rustix::io::ioctl_fionbio(&writer, true).expect("a pipe has the flag");
    while writer.write(b"x").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("a pipe has the flag");
    (reader, writer)
}

/// Takes away what the surroundings of the test run would tell the server.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        // The last two tune the allocator.
        if ["REACTOR_POOL_", "MALLOC_", "GLIBC_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    let of_supervisors = [
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
    ];
    for name in of_supervisors.into_iter().chain(["RUST_LOG"]) {
        command.env_remove(name);
    }
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
    /// Kept open, so that writes wait instead of failing.
    _unread: Option<PipeReader>,
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
    /// A line that is too long is answered by the event loop itself, and the loop hears of bytes
    /// in the order in which they arrive: so whatever came before has been read by then. Twice, so
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
    /// many as workers and queue slots, no request that comes later gets a slot before one of
    /// these is done.
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

    /// Holds every thread of the server still; what happens meanwhile it finds all at once.
    pub(crate) fn suspend(&self) {
        self.signal("STOP");
        wait_until("every thread is stopped", DEADLINE, || {
            let is_stopped = |thread: &PathBuf| {
                let stat = fs::read_to_string(thread.join("stat")).expect("the server runs");
                let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
                rest.starts_with('T')
            };
            self.proc_dir("task").iter().all(is_stopped)
        });
    }

    pub(crate) fn resume(&self) {
        self.signal("CONT");
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

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From the log where it is read and shows it, else from the table of listening sockets, where
    /// the admin interface stands, too.
    fn wait_for_address(&mut self, has_admin: bool) -> SocketAddr {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let listening = || listening_address(self.pid()).filter(|_| !has_admin);
            let address = self.log.listening_address().or_else(listening);
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
        // USER_HZ is 100 on every Linux that Rust has as a target.
        ms((self.stat_field(14) + self.stat_field(15)) * 10)
    }

    /// How often the event loop, which runs in the first thread, has gone to sleep.
    pub(crate) fn loop_sleeps(&self) -> u64 {
        let status = self.proc_file(&format!("task/{}/status", self.pid()));
        let sleeps = |line: &str| {
            line.strip_prefix("voluntary_ctxt_switches:")?
                .trim()
                .parse()
                .ok()
        };
        status.lines().find_map(sleeps).expect("proc(5) names it")
    }

    /// Pages that the system had to hand out, or to find in memory, so far.
    pub(crate) fn page_faults(&self) -> u64 {
        self.stat_field(10)
    }

    /// A number, by its place in proc_pid_stat(5).
    fn stat_field(&self, field: usize) -> u64 {
        let stat = self.proc_file("stat");
        // The name may hold spaces; what follows the parenthesis begins with field 3.
        let (_, rest) = stat.rsplit_once(')').expect("a name in brackets");
        let field = rest.split_whitespace().nth(field - 3).expect("a field");
        field.parse().expect("a number")
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

    /// Bytes that the kernel holds for the connections of this server, both ways: proc_net_tcp(5).
    pub(crate) fn bytes_in_kernel(&self) -> usize {
        let port = format!(":{:04X}", self.address.port());
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
        let rows = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = rows.filter(|fields| fields[1].ends_with(&port));
        let queues = ours.map(|fields| {
            let (out, into) = fields[4].split_once(':').expect("two queues");
            let bytes = |hex| usize::from_str_radix(hex, 16).expect("a number");
            bytes(out) + bytes(into)
        });
        queues.sum()
    }

    pub(crate) fn descriptors(&self) -> usize {
        self.proc_dir("fd").len()
    }

    pub(crate) fn threads(&self) -> usize {
        self.proc_dir("task").len()
    }

    /// The scheduling policy of each thread, by the name of the thread.
    pub(crate) fn policies(&self) -> Vec<(String, u32)> {
        let policy_of = |thread: PathBuf| {
            let stat = fs::read_to_string(thread.join("stat")).expect("the server runs");
            // proc_pid_stat(5): the name stands in brackets, the policy is field 41 of all.
            let (name, rest) = stat.rsplit_once(") ").expect("a name in brackets");
            let policy = rest.split(' ').nth(41 - 3).expect("a field 41");
            let (_, name) = name.split_once('(').expect("a name in brackets");
            (name.to_owned(), policy.parse().expect("a number"))
        };
        self.proc_dir("task").into_iter().map(policy_of).collect()
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
