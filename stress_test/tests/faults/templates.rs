//! `--send` and `--expect`: any server that has one right answer to each request.
//!
//! Knows the double, and a server of another protocol, whose answers are no lines.
//!
//! Rule: what is promised for a mix holds for a template too.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::Value;
use stress_test::Fault;

use crate::measuring::assert_valid;
use crate::support::{Report, against, run, server, stress_test};

/// ECHO of what tells all requests of a run from each other.
const ECHO: [&str; 4] = ["--send", r"ECHO {c}-{n}.\n", "--expect", r"OK {c}-{n}.\n"];
const CLIENTS: [&str; 4] = ["--clients", "4", "--max-inflight", "4"];

fn run_echo(fault: Fault, flags: &[&str]) -> Report {
    run(against(&server(fault), &[&ECHO, &CLIENTS, flags].concat()))
}

#[test]
fn a_template_drives_a_right_server_in_every_kind_of_load() {
    for (flags, verdict) in [
        (
            &["--frames", "200"][..],
            "4 clients x 200 frames = 800 verified, 0 failures",
        ),
        (
            &["--frames", "50", "--hogs", "1"],
            " = 200 verified (and 1 hog: ",
        ),
        (
            &["--duration", "0.3", "--warmup", "0.1"],
            "4 clients for 0.3 s = ",
        ),
    ] {
        run_echo(Fault::None, flags).assert_passes(verdict);
    }
    let open = [
        "--rate",
        "500",
        "--duration",
        "0.4",
        "--arrivals",
        "uniform",
    ];
    let report = run_echo(Fault::None, &open);
    // Whether the generator kept up is the machine's business.
    assert!(matches!(report.code, Some(0 | 5)), "{report}");
    assert!(
        report.verdict().contains(" = 200 verified, 0 failures"),
        "{report}"
    );
    let report = run_echo(Fault::None, &["--fail-if", "max>0us"]);
    assert!(matches!(report.code, Some(4 | 5)), "{report}");
}

#[test]
fn faults_towards_a_template_are_named_as_those_towards_a_mix() {
    for (fault, failures, text) in [
        (
            Fault::Swap,
            1,
            "frame 5: swapped: got the answer to frame 6",
        ),
        (
            Fault::Cross,
            2,
            "frame 5: foreign: got the answer to client ",
        ),
        (
            Fault::Repeat,
            1,
            "repeated: got again the answer to frame 5",
        ),
        (
            Fault::Drop,
            1,
            "frame 5: missing: no answer, the next one was",
        ),
        (Fault::Cut, 45, "frame 5: missing: connection "),
        (
            Fault::Extra,
            1,
            r#"got "OK nobody asked for this" before its own answer"#,
        ),
    ] {
        run_echo(fault, &["--frames", "50"]).assert_fails(failures, text);
    }
    let report = run_echo(Fault::Alter, &["--frames", "50"]);
    report.assert_fails(1, "frame 5: altered: expected \"OK ");
    run_echo(Fault::BusyFirst, &["--frames", "50"]).assert_passes(" = 200 verified, 0 failures");
}

#[test]
fn an_answer_may_be_several_lines() {
    let flags = ["--send", r"ECHO {n:8}\nHASH\n", "--clients", "2"];
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let expect = format!(r"OK {{n:8}}\nOK {digest}\n");
    let flags = [&flags[..], &["--max-inflight", "8", "--expect", &expect]].concat();
    let report = run(against(&server(Fault::None), &flags));
    report.assert_passes("2 clients x 100 frames = 200 verified, 0 failures");
    let report = run(against(&server(Fault::Alter), &flags));
    let text = "frame 2: altered: expected \"...";
    // Behind bytes that are nobody's the next answer may begin anywhere.
    report.assert_fails(98, text);
    assert!(report.stdout.contains("connection given up"), "{report}");
}

/// Serves one connection in a protocol of blocks: answers each request of 8 bytes by `$8`, CR LF,
/// these bytes, CR LF. The answers number 5 and 6 change places if it `swaps`.
fn block_server(swaps: bool) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("127.0.0.1 has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let mut held = Vec::new();
        let mut request = [0; 8];
        for number in 0.. {
            if stream.read_exact(&mut request).is_err() {
                return;
            }
            let answer = [&b"$8\r\n"[..], &request, b"\r\n"].concat();
            if swaps && number == 5 {
                held = answer;
                continue;
            }
            // In two parts, as answers that are no lines may come.
            for part in [&answer[..7], &answer[7..], &std::mem::take(&mut held)] {
                stream.write_all(part).expect("the client reads");
            }
        }
    });
    port
}

#[test]
fn answers_that_are_no_lines_are_told_apart_by_their_lengths() {
    let flags = [
        "--send",
        "{n:8}",
        "--expect",
        r"$8\r\n{n:8}\r\n",
        "--clients",
        "1",
    ];
    let flags = [&flags[..], &["--max-inflight", "8", "--frames", "500"]].concat();
    let run_blocks = |swaps| {
        let port = block_server(swaps).to_string();
        run(stress_test(&[&flags[..], &["--port", &port]].concat()))
    };
    run_blocks(false).assert_passes("1 clients x 500 frames = 500 verified, 0 failures");
    let text = "client 0 frame 5: swapped: got the answer to frame 6, its own came later";
    run_blocks(true).assert_fails(1, text);
}

#[test]
fn report_and_json_show_the_templates() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.json");
    let name = file.to_str().expect("the folder has a plain name");
    let report = run_echo(Fault::None, &["--json", name]);
    report.assert_passes(" = 400 verified");
    let shown = r"            send 'ECHO {c}-{n}.\n' expect 'OK {c}-{n}.\n'";
    assert!(report.stdout.contains(shown), "{report}");
    let text = std::fs::read_to_string(&file).expect("the file was written");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_valid(&json);
    assert_eq!(json["load"]["mix"], "template");
    assert_eq!(json["load"]["send"], r"ECHO {c}-{n}.\n");
    assert_eq!(json["load"]["expect"], r"OK {c}-{n}.\n");
}

#[test]
fn a_wrong_template_is_one_line_that_says_what_is_allowed() {
    for (flag, text, named) in [
        ("--send", "{id}", "there is no placeholder {id}"),
        ("--send", r"\q", r"there is no escape \q"),
        ("--expect", "{n:0}", "1 to 1000 digits are possible"),
        ("--expect", "{n", "there is no } after {n"),
    ] {
        let other = if flag == "--send" {
            "--expect"
        } else {
            "--send"
        };
        let report = run(stress_test(&[flag, text, other, "x"]));
        report.assert_complains(2, &[flag, named, "allowed are {c}"]);
    }
    run(stress_test(&["--send", "", "--expect", "x"])).assert_complains(2, &["--send", "empty"]);
}

#[test]
fn templates_go_together_and_not_with_what_a_mix_needs() {
    run(stress_test(&["--send", "x"])).assert_complains(2, &["--expect"]);
    run(stress_test(&["--expect", "x"])).assert_complains(2, &["--send"]);
    for other in [
        "--mix=hash",
        "--payload=5",
        "--sleep-ms=5",
        "--hog-mix=hash",
    ] {
        let flag = other.split('=').next().expect("a flag");
        let report = run(stress_test(&["--send", "x", "--expect", "x", other]));
        report.assert_complains(2, &["--send", flag, "cannot be used with"]);
        let report = run(stress_test(&["--expect", "x", other]));
        report.assert_complains(2, &["--expect", flag, "cannot be used with"]);
    }
}
