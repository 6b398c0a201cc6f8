//! Signals of an embedder's process: taken over while its server runs, and given back afterwards.
//!
//! Knows nothing of how; signals are the whole process's, so each test runs its program in a
//! process of its own.
//!
//! Rule: what a signal did before the server it does again after it.

use crate::harness::DEADLINE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reactor_pool::{Config, Response, Server, StopReason, StopSignals};
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const VARIABLE: &str = "REACTOR_POOL_TEST_PROGRAM";

/// This test again as a process of its own, which only runs the program.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(test: &str) -> Program {
        let test = format!("signals::{test}");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", &test, "--nocapture"])
            .env(VARIABLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let stdout = child.stdout.take().expect("a pipe");
        Program {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    fn wait_for(&mut self, word: &str) {
        let said = self
            .lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains(word));
        assert!(said, "it ended without saying {word:?}");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    fn end(mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            if Instant::now() > deadline {
                self.child.kill().expect("it runs");
                panic!("it still runs");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn is_program() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

fn server(stop_signals: StopSignals) -> Server {
    let config = Config::default().stop_signals(stop_signals);
    let nothing = |_: &[u8], _: &mut Response<'_>| ();
    Server::bind("127.0.0.1:0", config, nothing).expect("a free port")
}

/// Runs a server that a signal has to end.
fn serve(stop_signals: StopSignals) {
    let server = server(stop_signals);
    println!("serving");
    let summary = server.run().expect("polling does not fail");
    assert_eq!(summary.stop_reason, StopReason::Drained);
    println!("returned");
}

fn wait_long() -> ! {
    thread::sleep(DEADLINE);
    println!("nothing came");
    std::process::exit(9)
}

#[test]
fn a_signal_does_again_what_it_did_before_when_run_returns() {
    if is_program() {
        // Twice, for the second server finds what the first one left behind.
        serve(StopSignals::WhileRunning);
        serve(StopSignals::WhileRunning);
        wait_long();
    }
    for last in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGHUP,
    ] {
        let mut program = Program::start("a_signal_does_again_what_it_did_before_when_run_returns");
        for stop in [Signal::SIGTERM, Signal::SIGHUP] {
            program.wait_for("serving");
            program.signal(stop);
            program.wait_for("returned");
        }
        program.signal(last);
        assert_eq!(program.end().signal(), Some(last as i32));
    }
}

#[test]
fn a_handler_that_the_program_had_before_goes_on_by_itself() {
    if is_program() {
        let mine = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(Signal::SIGTERM as i32, Arc::clone(&mine)).expect("SIGTERM");
        serve(StopSignals::WhileRunning);
        assert!(
            mine.swap(false, Ordering::SeqCst),
            "it was heard while the server ran"
        );
        println!("waiting");
        let deadline = Instant::now() + DEADLINE;
        while !mine.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "it is not heard any more");
            thread::sleep(Duration::from_millis(2));
        }
        std::process::exit(0);
    }
    let mut program = Program::start("a_handler_that_the_program_had_before_goes_on_by_itself");
    program.wait_for("serving");
    program.signal(Signal::SIGTERM);
    program.wait_for("waiting");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn until_exit_what_comes_after_the_server_is_ignored() {
    if is_program() {
        serve(StopSignals::UntilExit);
        // The test has sent its signals when it closes our standard input.
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("a pipe");
        std::process::exit(0);
    }
    let mut program = Program::start("until_exit_what_comes_after_the_server_is_ignored");
    program.wait_for("serving");
    program.signal(Signal::SIGTERM);
    program.wait_for("returned");
    program.signal(Signal::SIGTERM);
    program.signal(Signal::SIGINT);
    drop(program.child.stdin.take());
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn by_default_no_signal_is_taken_over() {
    if is_program() {
        let server = server(StopSignals::None);
        println!("serving");
        server.run().expect("polling does not fail");
        unreachable!("nobody stops it");
    }
    let mut program = Program::start("by_default_no_signal_is_taken_over");
    program.wait_for("serving");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.end().signal(), Some(Signal::SIGTERM as i32));
}
