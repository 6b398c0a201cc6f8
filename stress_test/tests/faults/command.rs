//! The command around the run: flags, exit codes, Ctrl-C, and the server that it starts itself.
//!
//! Knows the command line, signals and processes; no protocol.
//!
//! Rule: it waits for what it needs with a deadline, and leaves no process behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal as BlockedSignal};
use rustix::process::{Pid, Signal, kill_process};
use stress_test::Fault;

use crate::support::{
    DEADLINE, Report, against, program, refusing_port, run, run_while, server, stress_test,
};

#[test]
fn nothing_listening_is_one_line_and_exit_3() {
    let port = refusing_port();
    let address = format!("127.0.0.1:{port}");
    let report = run(stress_test(&["--port", &port]));
    report.assert_complains(3, &["nothing is listening on", &address, "refused"]);
}

#[test]
fn a_wrong_flag_is_one_line_with_flag_and_range_and_exit_2() {
    let cases = [
        ("--port", "0", "1 to 65535"),
        ("--clients", "0", "1 to 50000"),
        ("--clients", "50001", "1 to 50000"),
        ("--frames", "0", "1 to 1000000000"),
        ("--requests", "x", "1 to 1000000000"),
        ("--max-inflight", "0", "1 to 100000"),
        ("--mix", "tea", "echo, sleep, hash, balanced, errors"),
        ("--payload", "5..1", "MIN..MAX"),
        ("--payload", "1..65532", "up to 65531"),
        ("--sleep-ms", "x", "MIN..MAX"),
        ("--sleep-ms", "10001", "up to 10000"),
        ("--max-line", "15", "16 to 16777216"),
        ("--max-sleep", "-1", "0 to 86400000"),
        ("--seed", "4294967296", "0 to 4294967295"),
        ("--timeout", "0", "0.1 to 3600"),
        ("--timeout", "nan", "0.1 to 3600"),
        ("--retries", "101", "0 to 100"),
        ("--connect-rate", "0", "1 to 1000000"),
        ("--rounds", "0", "1 to 1000"),
        ("--hogs", "1001", "0 to 1000"),
        ("--hog-inflight", "0", "1 to 100000"),
        ("--hog-mix", "tea", "echo, sleep, hash, balanced, errors"),
        ("--workers", "0", "1 to 100000"),
        ("--queue", "1001", "1 to 1000"),
        ("--no-such-flag", "1", "unexpected argument"),
    ];
    for (flag, value, range) in cases {
        let given = format!("{flag}={value}");
        // Both names of one flag are the flag.
        let named = flag.replace("--requests", "--frames");
        run(stress_test(&[&given])).assert_complains(2, &[&named, range]);
    }
    run(stress_test(&["--queue", "5"])).assert_complains(2, &["--spawn"]);
    for (flag, value) in [("--workers", "4"), ("--queue", "5"), ("--server-arg", "-q")] {
        let report = run(stress_test(&[flag, value, "--port", "5"]));
        report.assert_complains(2, &[flag, "--port"]);
    }
    run(stress_test(&["--spawn", "--port", "5"])).assert_complains(2, &["--spawn", "--port"]);
}

#[test]
fn a_wrong_environment_variable_is_a_wrong_flag() {
    let mut command = stress_test(&[]);
    command.env("STRESS_TEST_CLIENTS", "0");
    run(command).assert_complains(2, &["--clients", "1 to 50000"]);
}

#[test]
fn ctrl_c_prints_the_report_so_far() {
    let server = server(Fault::None);
    let mut is_interrupted = false;
    let report = run_while(against(&server, &["--frames", "1000000000"]), |id| {
        if !is_interrupted && server.answered() > 500 {
            is_interrupted = true;
            interrupt(id);
        }
    });
    assert_eq!(report.code, Some(130), "{report}");
    let verdict = report.verdict();
    assert!(
        verdict.starts_with("INTERRUPTED (no failure so far): 50 clients "),
        "{report}"
    );
    assert!(report.stdout.contains("\n  latency "), "{report}");
    // What was in flight at the end was there until then.
    let little = report
        .stdout
        .lines()
        .find(|line| line.starts_with("Little"));
    assert!(
        little.is_some_and(|line| line.ends_with("(holds)")),
        "{report}"
    );
}

#[test]
fn ctrl_c_after_a_failure_exits_1() {
    let server = server(Fault::Alter);
    let mut is_interrupted = false;
    let report = run_while(against(&server, &["--frames", "1000000000"]), |id| {
        if !is_interrupted && server.answered() > 50_000 {
            is_interrupted = true;
            interrupt(id);
        }
    });
    assert_eq!(report.code, Some(1), "{report}");
    assert!(
        report.verdict().starts_with("INTERRUPTED (FAIL so far): "),
        "{report}"
    );
    assert!(report.stdout.contains(" frame 5: altered: "), "{report}");
}

/// A folder with a copy of `stress_test`, and beside it a `server` that is a shell script.
///
/// Other programs write both: a descriptor of this process, open for writing, would be inherited
/// by what other tests start at this moment, and a file that is open for writing cannot be
/// executed.
pub(crate) fn folder_with_server(script: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shell = |command: &str| {
        let mut shell = Command::new("sh");
        shell.current_dir(folder.path()).args(["-c", command]);
        shell.env("PROGRAM", env!("CARGO_BIN_EXE_stress_test"));
        shell.env("SCRIPT", script.unwrap_or_default());
        assert!(
            shell.status().expect("there is a shell").success(),
            "{command}"
        );
    };
    shell("cp \"$PROGRAM\" stress_test");
    if script.is_some() {
        shell(
            "printf '#!/bin/sh\\ncd \"%s\"\\n%s' \"$PWD\" \"$SCRIPT\" > server && chmod +x server",
        );
    }
    folder
}

fn run_spawn(folder: &tempfile::TempDir, flags: &[&str]) -> Report {
    let flags = [&["--spawn", "--max-line", "2000"], flags].concat();
    run(program(&folder.path().join("stress_test"), &flags))
}

#[test]
fn spawn_without_a_server_names_the_path_and_how_to_build_it() {
    let folder = folder_with_server(None);
    let path = folder.path().join("server").display().to_string();
    let report = run_spawn(&folder, &[]);
    report.assert_complains(3, &[&path, "cargo build --release"]);
}

#[test]
fn spawn_starts_the_server_with_its_flags_and_stops_it() {
    let double = server(Fault::None);
    let script = format!(
        "echo \"$@\" > arguments\n\
         echo 'INFO listening addr={} workers=2' >&2\n\
         trap 'echo stopped > stopped; exit 0' TERM\n\
         while :; do sleep 0.05; done\n",
        double.address()
    );
    let folder = folder_with_server(Some(&script));
    let flags = [
        "--workers",
        "2",
        "--queue",
        "7",
        "--server-arg=--log",
        "--server-arg",
        "-v",
    ];
    run_spawn(&folder, &flags)
        .assert_passes("50 clients x 100 frames = 5000 verified, 0 failures, ");
    let read = |name| fs::read_to_string(folder.path().join(name)).expect("the script wrote it");
    let arguments = "--host 127.0.0.1 --port 0 --workers 2 --queue 7 --max-line 2000 \
                     --max-sleep 10000 --log -v\n";
    assert_eq!(read("arguments"), arguments);
    assert_eq!(read("stopped"), "stopped\n");
}

#[test]
fn a_spawned_server_starts_with_a_clean_signal_mask() {
    // Not a shell, which clears its mask itself. It ends at once, and the run fails; its mask is
    // what matters.
    let folder = folder_with_server(None);
    let (path, mask_path) = (folder.path().join("server"), folder.path().join("mask"));
    let script = format!(
        "#!/usr/bin/perl\n\
         open(my $status, '<', '/proc/self/status'); open(my $mask, '>', '{}');\n\
         print $mask grep(/^SigBlk/, <$status>);\n",
        mask_path.display()
    );
    fs::write(&path, script).expect("the folder is ours");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, executable).expect("the file is ours");
    // As a parent that has blocked them: the mask is inherited.
    let mut blocked = SigSet::empty();
    blocked.extend([BlockedSignal::SIGTERM, BlockedSignal::SIGUSR1]);
    let mask = blocked
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .expect("a mask");
    let report = run_spawn(&folder, &[]);
    mask.thread_set_mask().expect("the mask of before");
    let mask =
        fs::read_to_string(mask_path).unwrap_or_else(|_| panic!("it did not run:\n{report}"));
    assert_eq!(mask, "SigBlk:\t0000000000000000\n");
}

#[test]
fn a_spawned_server_is_told_of_more_clients_than_it_takes_by_itself() {
    let folder = folder_with_server(Some("echo \"$@\" > arguments\nexit 1\n"));
    for (flags, limit) in [
        (&["--clients", "12000"][..], "--max-connections 12000\n"),
        (
            &["--clients", "9999", "--hogs", "2"],
            "--max-connections 10001\n",
        ),
        (&["--clients", "10000"], "--max-sleep 10000\n"),
        (
            &["--rate", "5", "--max-clients", "20000"],
            "--max-connections 20000\n",
        ),
        (
            &["--clients", "12000", "--server-arg=--max-connections=20000"],
            "--max-connections 12000 --max-connections=20000\n",
        ),
    ] {
        run_spawn(&folder, flags).assert_complains(3, &["did not start"]);
        let arguments = fs::read_to_string(folder.path().join("arguments"));
        let arguments = arguments.expect("the script wrote it");
        assert!(arguments.ends_with(limit), "{arguments}");
    }
    let ramp = ["ramp", "--spawn", "--max-clients", "11000"];
    let report = run(program(&folder.path().join("stress_test"), &ramp));
    report.assert_complains(3, &["did not start"]);
    let arguments = fs::read_to_string(folder.path().join("arguments"));
    let arguments = arguments.expect("the script wrote it");
    assert!(
        arguments.ends_with("--max-connections 11000\n"),
        "{arguments}"
    );
}

/// Connections that this program cannot open are no refusals of the server.
#[test]
fn more_clients_than_open_files_are_wrong_usage() {
    let double = server(Fault::None);
    let port = double.address().port().to_string();
    let limited = "ulimit -n 100 && exec \"$0\" \"$@\"";
    let run_with = |clients| {
        let this = env!("CARGO_BIN_EXE_stress_test");
        let flags = ["-c", limited, this, "--port", &port, "--max-line", "2000"];
        let flags = [&flags[..], &["--frames", "1", "--clients", clients]].concat();
        run(program(Path::new("/bin/sh"), &flags))
    };
    run_with("200").assert_complains(2, &["--clients 200", "only 100 open files"]);
    run_with("50").assert_passes("50 clients x 1 frames = 50 verified");
}

#[test]
fn no_spawned_server_outlives_a_run_that_is_killed() {
    let double = server(Fault::None);
    let script = format!(
        "echo $$ > id\necho addr={} >&2\ntrap '' TERM HUP INT\nwhile :; do sleep 0.05; done\n",
        double.address()
    );
    let folder = folder_with_server(Some(&script));
    let flags = ["--spawn", "--max-line", "2000", "--frames", "1000000000"];
    let mut is_killed = false;
    let command = program(&folder.path().join("stress_test"), &flags);
    let report = run_while(command, |id| {
        if !is_killed && double.answered() > 500 {
            is_killed = true;
            signal(id, Signal::KILL);
        }
    });
    assert_eq!(report.code, None, "{report}");
    let id = fs::read_to_string(folder.path().join("id")).expect("the script wrote it");
    let status = Path::new("/proc").join(id.trim()).join("status");
    // It has ended, whether or not somebody has asked how.
    let is_alive = || fs::read_to_string(&status).is_ok_and(|text| !text.contains("\nState:\tZ"));
    let deadline = Instant::now() + DEADLINE;
    while is_alive() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(!is_alive(), "the server lives on: {}", id.trim());
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let server = server(Fault::None);
    let port = server.address().port().to_string();
    // A shell hands on what it ignores.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' INT HUP; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_stress_test"),
    ]);
    command.args([
        "--port",
        &port,
        "--max-line",
        "2000",
        "--frames",
        "1000000000",
    ]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let (mut goes_on_from, mut is_ended) = (None, false);
    let report = run_while(command, |id| match goes_on_from {
        None if server.answered() > 500 => {
            signal(id, Signal::INT);
            signal(id, Signal::HUP);
            goes_on_from = Some(server.answered());
        }
        Some(answered) if !is_ended && server.answered() > answered + 50_000 => {
            is_ended = true;
            signal(id, Signal::TERM);
        }
        _ => {}
    });
    assert!(is_ended, "it did not go on: {report}");
    assert_eq!(report.code, Some(130), "{report}");
}

#[test]
fn a_spawned_server_that_ends_by_itself_is_a_failure() {
    let double = server(Fault::None);
    let script = format!("echo addr={} >&2\necho bye >&2\nexit 7\n", double.address());
    let folder = folder_with_server(Some(&script));
    // Slow enough that the script has ended long before the run does.
    let flags = [
        "--mix",
        "sleep",
        "--sleep-ms",
        "0",
        "--clients",
        "200",
        "--connect-rate",
        "200",
    ];
    let report = run_spawn(&folder, &flags);
    report.assert_fails(
        1,
        "the spawned server: server: ended by itself, exit status: 7",
    );
    assert!(report.stdout.contains("bye"), "{report}");
}

#[test]
fn a_spawned_server_that_does_not_start_shows_its_last_words() {
    let folder = folder_with_server(Some("echo 'cannot bind' >&2\nexit 1\n"));
    run_spawn(&folder, &[])
        .assert_complains(3, &["did not start", "exit status: 1", "cannot bind"]);
}

#[test]
fn ctrl_c_leaves_no_spawned_server_behind() {
    let (report, folder) = interrupt_spawn("echo stopped > stopped; exit 0");
    assert_eq!(report.code, Some(130), "{report}");
    assert!(folder.path().join("stopped").exists(), "{report}");
}

/// Its workers may have to finish what takes them seconds, which Ctrl-C does not wait for.
#[test]
fn ctrl_c_does_not_blame_a_server_that_takes_its_time_to_stop() {
    let (report, _) = interrupt_spawn(":");
    assert_eq!(report.code, Some(130), "{report}");
    let told = "the spawned server did not stop within 1.5 s of SIGTERM and was killed";
    assert!(report.stderr.contains(told), "{report}");
}

/// A run with Ctrl-C whose server does `on_term` on SIGTERM. No server is left.
fn interrupt_spawn(on_term: &str) -> (Report, tempfile::TempDir) {
    let double = server(Fault::None);
    let script = format!(
        "echo $$ > id\necho addr={} >&2\ntrap '{on_term}' TERM\nwhile :; do sleep 0.05; done\n",
        double.address()
    );
    let folder = folder_with_server(Some(&script));
    let flags = ["--spawn", "--max-line", "2000", "--frames", "1000000000"];
    let mut is_interrupted = false;
    let command = program(&folder.path().join("stress_test"), &flags);
    let report = run_while(command, |id| {
        if !is_interrupted && double.answered() > 500 {
            is_interrupted = true;
            interrupt(id);
        }
    });
    let id = fs::read_to_string(folder.path().join("id")).expect("the script wrote it");
    let is_alive = Path::new("/proc").join(id.trim()).exists();
    assert!(!is_alive, "{report}");
    (report, folder)
}

pub(crate) fn interrupt(id: u32) {
    signal(id, Signal::INT);
}

pub(crate) fn signal(id: u32, signal: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a child has an id"), signal).expect("it can be signalled");
}
