//! The server that a run starts for itself: found beside this program, listening on a free port,
//! gone at the end.
//!
//! Knows the server's flags and its log line with the address; nothing of the protocol.
//!
//! Rule: whatever happens here, no server is left behind.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook_mio::v1_0::Signals;

use crate::command::error::Error;
use crate::stderr::say;

/// How long the server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to stop: longer than its own default `--drain-timeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How often something is looked at that cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The first argument of a process that is to be the server.
const BECOME_SERVER: &str = "become-server";
/// So many of its last log lines are shown when it fails.
const KEPT_LOG_LINES: usize = 5;

/// How to start the server.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Arguments after `--host` and `--port`.
    pub(crate) arguments: Vec<OsString>,
    /// Its log is copied to stderr.
    pub(crate) show_log: bool,
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self
            .arguments
            .iter()
            .map(|argument| argument.to_string_lossy());
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

/// A running server. Dropping it kills it; [`SpawnedServer::stop`] is the kind way.
#[derive(Debug)]
pub(crate) struct SpawnedServer {
    child: Child,
    last_lines: LastLines,
}

type LastLines = Arc<Mutex<VecDeque<String>>>;

impl SpawnedServer {
    /// Starts the server that lies beside this program and waits until it listens. Returns where,
    /// too.
    pub(crate) fn start(
        options: &Options,
        signals: &mut Signals,
    ) -> Result<(Self, SocketAddr), Error> {
        let own = own_path().map_err(Error::NotStarted)?;
        let path = own.with_file_name(format!("server{}", std::env::consts::EXE_SUFFIX));
        if !path.is_file() {
            return Err(Error::NoServer(path));
        }
        let (mut server, addresses) = Self::launch(&path, options).map_err(Error::NotStarted)?;
        let address = server.wait_for_address(&addresses, signals)?;
        Ok((server, address))
    }

    /// A server that does not listen yet, and where its address will come from.
    fn launch(path: &Path, options: &Options) -> anyhow::Result<(Self, Receiver<SocketAddr>)> {
        let mut child = spawn(path, options)?;
        let stderr = child.stderr.take();
        let server = Self {
            child,
            last_lines: LastLines::default(),
        };
        let stderr = stderr.context("the server's stderr is not piped")?;
        let addresses = follow_log(stderr, &server.last_lines, options.show_log)?;
        Ok((server, addresses))
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it with SIGTERM, and if that takes too long (in a `hurry`, sooner) with SIGKILL. Says
    /// what was wrong with its end, if anything was: that it had ended before, did not stop, or
    /// did not exit with 0. It is no fault of a server that it outlasts a hurry.
    pub(crate) fn stop(mut self, hurry: bool) -> anyhow::Result<Option<String>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(format!("ended by itself, {}", self.describe(status))));
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("the server has no process id")?, Signal::TERM)?;
        let patience = if hurry {
            STOP_TIMEOUT / 10
        } else {
            STOP_TIMEOUT
        };
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                let ended_well = status.success();
                let text = || format!("did not stop cleanly, {}", self.describe(status));
                return Ok((!ended_well).then(text));
            }
            thread::sleep(LOOK_EVERY);
        }
        let seconds = patience.as_secs_f64();
        let text = format!("did not stop within {seconds} s of SIGTERM and was killed");
        if hurry {
            say(format_args!("the spawned server {text}"));
            return Ok(None);
        }
        Ok(Some(text))
    }

    fn wait_for_address(
        &mut self,
        addresses: &Receiver<SocketAddr>,
        signals: &mut Signals,
    ) -> Result<SocketAddr, Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if signals.pending().next().is_some() {
                return Err(Error::Interrupted);
            }
            match addresses.recv_timeout(LOOK_EVERY) {
                Ok(address) => return Ok(address),
                Err(RecvTimeoutError::Timeout) => {}
                // Its log has ended, which a server that lives may do, too.
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.child.try_wait().context("cannot wait for the server");
                    if let Some(status) = ended.map_err(Error::NotStarted)? {
                        let text = format!("the server did not start, {}", self.describe(status));
                        return Err(Error::NotStarted(anyhow!(text)));
                    }
                    thread::sleep(LOOK_EVERY);
                }
            }
        }
        let seconds = START_TIMEOUT.as_secs();
        let text = format!("the server logged no listening address within {seconds} s");
        Err(Error::NotStarted(anyhow!("{text}{}", self.said())))
    }

    fn describe(&self, status: ExitStatus) -> String {
        format!("{status}{}", self.said())
    }

    /// Its last words, on one line.
    fn said(&self) -> String {
        let lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return String::new();
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("; its log ends: {}", lines.join(" | "))
    }
}

impl Drop for SpawnedServer {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Both fail only if it has ended meanwhile, which is what is wanted.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// The child inherits the mask of the thread that starts it, which for this moment is empty:
/// whatever was blocked for this program, the server hears its signals.
fn spawn(path: &Path, options: &Options) -> anyhow::Result<Child> {
    let mask = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let child = spawn_with_present_mask(path, options);
    mask.thread_set_mask()?;
    child
}

fn spawn_with_present_mask(path: &Path, options: &Options) -> anyhow::Result<Child> {
    Command::new(own_path()?)
        .arg(BECOME_SERVER)
        .arg(std::process::id().to_string())
        .arg(path)
        .args(["--host", "127.0.0.1", "--port", "0"])
        .args(&options.arguments)
        // The line with the address must come, and come without colours.
        .env("RUST_LOG", "info")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C in the terminal is for this program, which then stops the server itself.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", path.display()))
}

/// What a process of this program does that is to be the server: `arguments` are the program's
/// name, [`BECOME_SERVER`], the process that wants the server, the server's path, and its
/// arguments. It asks the kernel to be killed when that process ends, which holds for the program
/// that it becomes, too. Returns why it did not become one, or `None` if it is not to.
pub(crate) fn become_server(arguments: &[OsString]) -> Option<Error> {
    let [_, word, parent, path, rest @ ..] = arguments else {
        return None;
    };
    if word != BECOME_SERVER {
        return None;
    }
    if let Err(error) = die_with(parent) {
        return Some(Error::System(error));
    }
    let error = Command::new(path).args(rest).exec();
    let path = Path::new(path).display();
    Some(Error::System(anyhow!("cannot run {path}: {error}")))
}

/// This process is killed when its parent ends, which is the process `parent`.
#[cfg(target_os = "linux")]
fn die_with(parent: &OsStr) -> anyhow::Result<()> {
    use rustix::process::{getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot bind the server's life to this program's")?;
    // It may have ended before.
    let now = getppid().map(|id| id.as_raw_nonzero().to_string());
    anyhow::ensure!(
        now.as_deref().map(OsStr::new) == Some(parent),
        "nobody wants a server any more"
    );
    Ok(())
}

/// Elsewhere a server outlives this program if that is killed.
#[cfg(not(target_os = "linux"))]
fn die_with(_parent: &OsStr) -> anyhow::Result<()> {
    Ok(())
}

fn own_path() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot tell where this program is")
}

/// Reads the log to its end on a thread of its own, so that the server never blocks on it. The
/// first address in it is sent; when the log ends, the channel closes.
fn follow_log(
    stderr: ChildStderr,
    last_lines: &LastLines,
    show: bool,
) -> anyhow::Result<Receiver<SocketAddr>> {
    let (found, addresses) = channel();
    let last_lines = Arc::clone(last_lines);
    let follow = move || copy_log(stderr, Some(found), &last_lines, show);
    thread::Builder::new()
        .name("server-log".to_owned())
        .spawn(follow)
        .context("cannot start a thread for the server's log")?;
    Ok(addresses)
}

fn copy_log(
    stderr: ChildStderr,
    mut found: Option<Sender<SocketAddr>>,
    last_lines: &LastLines,
    show: bool,
) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if show {
            say(format_args!("server: {text}"));
        }
        if let (Some(channel), Some(address)) = (&found, listening_address(text)) {
            // It fails if nobody waits any more; then nobody needs it.
            channel.send(address).ok();
            found = None;
        }
        let mut kept = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LOG_LINES {
            kept.pop_front();
        }
        kept.push_back(text.to_owned());
    }
}

/// The address after `addr=` or `"addr":"` in a log line.
fn listening_address(line: &str) -> Option<SocketAddr> {
    ["addr=", "addr\":"].into_iter().find_map(|key| {
        let (_, rest) = line.split_once(key)?;
        let rest = rest.trim_start_matches([' ', '"']);
        let end = rest.find([' ', '"', ',', '}']).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_every_log_format() {
        let lines = [
            "INFO server: listening addr=127.0.0.1:41234 workers=4 queue=256",
            "INFO listening workers=4 addr=127.0.0.1:41234",
            "INFO listening addr=\"127.0.0.1:41234\" workers=4",
            r#"{"fields":{"message":"listening","addr":"127.0.0.1:41234","workers":4}}"#,
        ];
        for line in lines {
            let address = listening_address(line);
            assert_eq!(
                address,
                Some(SocketAddr::from(([127, 0, 0, 1], 41234))),
                "{line}"
            );
        }
        for line in ["", "addr=", "addr=nowhere", "starting", "peer 1.2.3.4:5"] {
            assert_eq!(listening_address(line), None, "{line}");
        }
    }
}
