//! What the command writes to: a file, a pipe, a stream that nobody reads.
//!
//! Knows the streams of a process; no protocol.
//!
//! Rule: a stream that takes nothing costs what was meant for it, and nothing else.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;
use stress_test::Fault;

use crate::command::folder_with_server;
use crate::support::{Report, against, program, run, server, stress_test};

/// A stream whose reader has gone.
fn closed() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// A stream on a full disk.
fn full() -> Stdio {
    let device = File::options().write(true).open("/dev/full");
    device.expect("the device is there").into()
}

#[track_caller]
fn assert_is_a_run(json: &str) {
    let json: Value = serde_json::from_str(json).expect("it is JSON, whole and alone");
    assert_eq!(json["kind"], "run");
}

#[test]
fn json_goes_to_stdout_and_the_report_to_stderr() {
    let server = server(Fault::None);
    for name in ["-", "/dev/stdout"] {
        let report = run(against(&server, &["--json", name, "--frames", "5"]));
        assert_is_a_run(&report.stdout);
        assert!(
            report.stderr.contains("\nPASS: 50 clients x 5 frames"),
            "{report}"
        );
    }
}

#[test]
fn json_goes_into_a_pipe_and_into_a_device() {
    let server = server(Fault::None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("there is mkfifo").success());
    let reader = thread::spawn({
        let path = path.clone();
        move || fs::read_to_string(path).expect("the pipe is ours")
    });
    let path = path.to_str().expect("a plain name");
    run(against(&server, &["--json", path])).assert_passes("5000 verified");
    assert_is_a_run(&reader.join().expect("it reads"));
    run(against(&server, &["--json", "/dev/null"])).assert_passes("5000 verified");
}

#[test]
fn json_is_written_although_the_report_cannot_be() {
    let server = server(Fault::None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (stdout, name, code) in [(full(), "full", 1), (closed(), "closed", 0)] {
        let path = folder.path().join(name);
        let mut command = against(&server, &["--json", path.to_str().expect("a plain name")]);
        command.stdout(stdout);
        let report = run(command);
        assert_eq!(report.code, Some(code), "{name}: {report}");
        let is_said = report.stderr
            == "stress_test: cannot write the report: No space left on device (os error 28)\n";
        assert_eq!(is_said, name == "full", "{report}");
        assert_is_a_run(&fs::read_to_string(path).expect("it was written"));
    }
}

#[test]
fn a_stderr_that_takes_nothing_ends_no_run() {
    for (stderr, name) in [(full(), "full"), (closed(), "closed")] {
        let server = server(Fault::Alter);
        let mut command = against(&server, &["-v", "--frames", "20"]);
        command.stderr(stderr);
        let report = run(command);
        assert_eq!(report.code, Some(1), "{name}: {report}");
        assert!(report.verdict().starts_with("FAIL: "), "{name}: {report}");
    }
    for stderr in [full(), closed()] {
        let mut command = stress_test(&["--bogus"]);
        command.stderr(stderr);
        assert_eq!(run(command).code, Some(2));
    }
}

/// Whoever runs a command here reads its pipes when it has ended.
#[test]
fn a_pipe_that_nobody_reads_does_not_hold_the_run() {
    let server = server(Fault::BusyAlways);
    let flags = ["-v", "--frames", "60", "--retries", "1"];
    let report = run(against(&server, &flags));
    assert_eq!(report.code, Some(1), "{}", report.stdout);
    assert!(report.verdict().contains(", 3000 failures (3000 busy)"));
    // It was more than a pipe holds.
    assert!(report.stderr.len() > 60_000, "{}", report.stderr.len());
}

#[test]
fn a_log_that_nobody_reads_any_more_is_no_dead_server() {
    let double = server(Fault::None);
    let script = format!(
        "echo 'INFO listening addr={}' >&2\nfor line in 1 2 3 4 5 6 7 8; do echo $line >&2; done\n\
         trap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n",
        double.address()
    );
    let folder = folder_with_server(Some(&script));
    for stderr in [full(), closed()] {
        let flags = ["--spawn", "-v", "--max-line", "2000"];
        let mut command = program(&folder.path().join("stress_test"), &flags);
        command.stderr(stderr);
        run(command).assert_passes("5000 verified, 0 failures");
    }
}

#[test]
fn a_spawned_server_that_closes_its_log_before_it_listens_does_not_hold_the_run() {
    let folder = folder_with_server(Some("exec 2>&-\nexec sleep 60\n"));
    let flags = ["--spawn", "--max-line", "2000"];
    let report = run(program(&folder.path().join("stress_test"), &flags));
    report.assert_complains(3, &["logged no listening address within 10 s"]);
}

#[test]
fn a_page_is_written_although_stdout_takes_nothing() {
    let server = server(Fault::None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name| folder.path().join(name).display().to_string();
    let (json, page) = (path("run.json"), path("run.html"));
    run(against(&server, &["--json", &json])).assert_passes("5000 verified");
    let mut command = stress_test(&["report", &json, "-o", &page]);
    command.stdout(full());
    let report = run(command);
    assert_eq!(report.code, Some(1), "{report}");
    assert_eq!(report.stderr.lines().count(), 1, "{report}");
    let mut html = String::new();
    let page = File::open(page).and_then(|mut page| page.read_to_string(&mut html));
    assert!(page.is_ok() && html.ends_with("</html>\n"), "{report}");
}

#[test]
fn a_page_goes_to_stdout_and_nothing_else_does() {
    let server = server(Fault::None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = folder.path().join("run.json").display().to_string();
    run(against(&server, &["--json", &json])).assert_passes("5000 verified");
    let mut command = stress_test(&["report", &json, "-o", "-"]);
    command.current_dir(folder.path());
    // A page is more than a pipe holds, and nobody reads while the program runs.
    let page = folder.path().join("page");
    command.stdout(File::create(&page).expect("a file"));
    let report = run(command);
    assert_eq!(report.code, Some(0), "{report}");
    let html = fs::read_to_string(page).expect("a page is text");
    let is_a_page = html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n");
    assert!(is_a_page && !folder.path().join("-").exists(), "{report}");
}

#[test]
fn a_selftest_on_a_full_disk_is_one_line() {
    let mut command = stress_test(&["selftest"]);
    command.stdout(full());
    let report: Report = run(command);
    report.assert_complains(1, &["cannot write the report"]);
}
