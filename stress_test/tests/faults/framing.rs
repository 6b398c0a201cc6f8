//! `--framing length`: the same promises where each request and response has its length in front.
//!
//! Knows the double in both framings.
//!
//! Rule: what differs between the framings is asserted here; what does not, where lines are
//! tested.

use std::fs;

use serde_json::Value;
use stress_test::{Fault, FaultyServer, Framing};

use crate::command::folder_with_server;
use crate::measuring::{assert_valid, run_json};
use crate::support::{Report, against, program, run, server, server_of, stress_test};

const LENGTH: [&str; 2] = ["--framing", "length"];
const CLIENTS: [&str; 6] = ["--clients", "4", "--frames", "50", "--max-inflight", "4"];

fn length_server(fault: Fault) -> FaultyServer {
    server_of(fault, Framing::Length)
}

fn run_fault(fault: Fault, flags: &[&str]) -> Report {
    let flags = [&LENGTH[..], &CLIENTS, &["--payload", "20..40"], flags].concat();
    run(against(&length_server(fault), &flags))
}

#[test]
fn a_right_server_passes_with_every_mix() {
    let server = length_server(Fault::None);
    for mix in ["echo", "sleep", "hash", "balanced", "errors"] {
        for inflight in ["1", "8"] {
            let flags = ["--clients", "20", "--frames", "40", "--sleep-ms", "0..2"];
            let flags = [
                &LENGTH[..],
                &flags,
                &["--mix", mix, "--max-inflight", inflight],
            ]
            .concat();
            let report = run(against(&server, &flags));
            report.assert_passes("20 clients x 40 frames = 800 verified, 0 failures, ");
        }
    }
}

#[test]
fn payloads_of_every_length_pass() {
    let server = length_server(Fault::None);
    for payload in ["0", "1", "0..12", "1995"] {
        let flags = [&LENGTH[..], &["--payload", payload, "--max-inflight", "8"]].concat();
        let report = run(against(&server, &flags));
        report.assert_passes("50 clients x 100 frames = 5000 verified, 0 failures, ");
    }
}

#[test]
fn selftest_shows_that_every_check_fires() {
    let report = run(stress_test(&["selftest", "--framing", "length"]));
    assert_eq!(report.code, Some(0), "{report}");
    assert!(report.verdict().starts_with("PASS: "), "{report}");
    assert!(!report.stdout.contains("FAIL"), "{report}");
}

#[test]
fn half_an_answer_is_shown_with_its_length() {
    let flags = ["--max-inflight", "1", "--payload", "20"];
    let report = run_fault(Fault::CutInside, &flags);
    let text = r#"after 5 of 50 answers and half an answer, "\x00\x00\x00\x17OK c"#;
    report.assert_fails(45, text);
}

#[test]
fn a_spawned_server_is_told_the_framing() {
    let double = length_server(Fault::None);
    let script = format!(
        "echo \"$@\" > arguments\necho addr={} >&2\ntrap 'exit 0' TERM\n\
         while :; do sleep 0.05; done\n",
        double.address()
    );
    let folder = folder_with_server(Some(&script));
    for mix in ["balanced", "echo", "errors"] {
        let flags = [
            "--spawn",
            "--max-line",
            "2000",
            "--framing",
            "length",
            "--mix",
            mix,
        ];
        let report = run(program(&folder.path().join("stress_test"), &flags));
        report.assert_passes("50 clients x 100 frames = 5000 verified, 0 failures, ");
        let arguments = fs::read_to_string(folder.path().join("arguments"));
        let arguments = arguments.expect("the script wrote it");
        assert!(arguments.contains(" --framing length "), "{arguments}");
    }
}

#[test]
fn a_server_of_lines_that_waits_for_a_line_end_is_given_up() {
    let flags = ["--payload", "0", "--timeout", "0.5"];
    let flags = [&LENGTH[..], &CLIENTS, &flags].concat();
    let report = run(against(&server(Fault::None), &flags));
    report.assert_fails(200, "missing: no answer within 0.5 s");
    assert!(
        report
            .stdout
            .contains("given up after 1 s without an answer after 0 of 50 answers"),
        "{report}"
    );
}

#[test]
fn a_server_of_lines_that_answers_is_given_up_at_its_first_word() {
    // So many bytes of all kinds hold an LF, which ends what the server takes for a line.
    let flags = ["--payload", "1500", "--timeout", "0.5"];
    let flags = [&LENGTH[..], &CLIENTS, &flags].concat();
    let report = run(against(&server(Fault::None), &flags));
    let text = "frame 0: missing: given up at a length of 1163022880, which no right answer has, \
                after 0 of 50 answers and half an answer, \"ERR ";
    report.assert_fails(200, text);
}

#[test]
fn a_server_of_lengths_that_is_asked_in_lines_is_a_failure() {
    let report = run(against(&length_server(Fault::None), &CLIENTS));
    let text = "after 0 of 50 answers and half an answer, \
                \"\\x00\\x00\\x00$ERR line too long (limit 2000 bytes)\"";
    report.assert_fails(200, text);
}

#[test]
fn report_and_json_name_the_framing() {
    for framing in [Framing::Lines, Framing::Length] {
        let name = framing.to_string();
        let flags = ["--framing", name.as_str(), "--frames", "5"];
        let (report, json) = run_json(&server_of(Fault::None, framing), &flags);
        let shown = format!(", framing {name}\n");
        assert!(report.stdout.contains(&shown), "{report}");
        assert_valid(&json);
        assert_eq!(json["load"]["framing"], name);
    }
    let template = ["--send", r"ECHO {n}\n", "--expect", r"OK {n}\n"];
    let (_, json) = run_json(&server(Fault::None), &template);
    assert_eq!(json["load"].get("framing"), None);
    let (_, mut json) = run_json(&server(Fault::None), &["--frames", "5"]);
    json["load"]["framing"] = Value::from("tea");
    assert!(!crate::schema::errors(&json).is_empty());
}

#[test]
fn framing_is_lines_or_length_and_not_for_a_template() {
    let report = run(stress_test(&["--framing", "tea"]));
    report.assert_complains(2, &["--framing", "lines, length"]);
    for framing in ["--framing=length", "--framing=lines"] {
        let report = run(stress_test(&["--send", "x", "--expect", "x", framing]));
        report.assert_complains(2, &["--send", "--framing", "cannot be used with"]);
        let ramp = ["ramp", "--send", "x", "--expect", "x", framing];
        let report = run(stress_test(&ramp));
        report.assert_complains(2, &["--send", "--framing", "cannot be used with"]);
    }
}
