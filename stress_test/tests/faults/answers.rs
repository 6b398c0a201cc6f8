//! Each fault of a server is found and named, and nothing else is.
//!
//! Knows the faults and the words for them.
//!
//! Rule: one fault, one server, one run; the count of failures is asserted with the words.

use stress_test::Fault;

use crate::support::{Report, against, run, server};

/// Payloads that always carry their frame.
const TAGGED: [&str; 2] = ["--payload", "20..40"];

/// 4 clients with 50 tagged frames each, 4 in flight, against a server with `fault`.
fn run_fault(fault: Fault, flags: &[&str]) -> Report {
    let server = server(fault);
    let load = ["--clients", "4", "--frames", "50", "--max-inflight", "4"];
    run(against(&server, &[&load, &TAGGED[..], flags].concat()))
}

#[test]
fn a_right_server_passes_with_every_mix() {
    let server = server(Fault::None);
    for mix in ["echo", "sleep", "hash", "balanced", "errors"] {
        for inflight in ["1", "8"] {
            let flags = [
                "--clients",
                "6",
                "--frames",
                "60",
                "--sleep-ms",
                "0..2",
                "--mix",
                mix,
            ];
            let flags = [&flags[..], &["--max-inflight", inflight]].concat();
            let report = run(against(&server, &flags));
            report.assert_passes("6 clients x 60 frames = 360 verified, 0 failures, ");
        }
    }
}

#[test]
fn payloads_of_every_length_pass() {
    let server = server(Fault::None);
    for payload in ["0", "1", "0..12", "1995"] {
        let report = run(against(
            &server,
            &["--payload", payload, "--max-inflight", "8"],
        ));
        report.assert_passes("50 clients x 100 frames = 5000 verified, 0 failures, ");
    }
}

#[test]
fn hogs_are_verified_and_reported_apart() {
    let server = server(Fault::None);
    let flags = [
        "--hogs",
        "2",
        "--hog-inflight",
        "32",
        "--hog-mix",
        "hash",
        "--frames",
        "200",
    ];
    let report = run(against(&server, &flags));
    report.assert_passes("50 clients x 200 frames = 10000 verified (and 2 hogs: ");
    assert!(report.stdout.contains("\nhogs "), "{report}");
    assert!(!report.verdict().contains("hogs: 0 verified"), "{report}");
}

#[test]
fn a_fault_towards_a_hog_is_a_failure_too() {
    let flags = ["--clients", "1", "--hogs", "1", "--hog-inflight", "4"];
    let report = run_fault(Fault::Cross, &flags);
    report.assert_fails(
        2,
        "client 0 frame 5: foreign: got the answer to hog 0 frame 5",
    );
    report.assert_fails(
        2,
        "hog 0 frame 5: foreign: got the answer to client 0 frame 5",
    );
}

#[test]
fn hogs_take_a_refusal_for_an_answer() {
    let flags = [
        "--clients",
        "1",
        "--hogs",
        "1",
        "--retries",
        "1",
        "--frames",
        "5",
    ];
    let report = run_fault(Fault::BusyAlways, &flags);
    report.assert_fails(5, "client 0 frame 0: busy: all 2 tries were answered");
    assert!(
        report.stdout.contains("\nhogs        0 verified"),
        "{report}"
    );
}

#[test]
fn swapped_answers_are_named() {
    let report = run_fault(Fault::Swap, &[]);
    report.assert_fails(1, "frame 5: swapped: got the answer to frame 6");
}

#[test]
fn swapped_digests_are_named() {
    let report = run_fault(Fault::Swap, &["--mix", "hash"]);
    report.assert_fails(1, "frame 5: swapped: got the answer to frame 6");
}

#[test]
fn swapped_sleeps_are_named() {
    let report = run_fault(Fault::Swap, &["--mix", "sleep", "--sleep-ms", "0..5"]);
    report.assert_fails(1, "frame 5: swapped: got the answer to frame 6");
}

#[test]
fn a_dropped_answer_is_one_failure_when_others_follow() {
    let report = run_fault(Fault::Drop, &[]);
    report.assert_fails(
        1,
        "frame 5: missing: no answer, the next one was the answer to frame 6",
    );
}

#[test]
fn a_dropped_answer_is_one_failure_after_the_timeout_when_none_follow() {
    let report = run_fault(Fault::Drop, &["--max-inflight", "1", "--timeout", "0.5"]);
    report.assert_fails(1, "frame 5: missing: no answer within 0.5 s");
}

#[test]
fn a_repeated_answer_is_named() {
    // In place of the answer to frame 6, or before frame 6 was sent.
    let report = run_fault(Fault::Repeat, &[]);
    report.assert_fails(1, ": repeated: got again the answer to frame 5");
}

#[test]
fn a_repeated_digest_is_named() {
    let report = run_fault(Fault::Repeat, &["--mix", "hash", "--max-inflight", "1"]);
    report.assert_fails(1, ": repeated: got again the answer to frame 5");
}

#[test]
fn an_altered_answer_is_shown_with_the_first_difference() {
    let report = run_fault(Fault::Alter, &["--payload", "20"]);
    report.assert_fails(1, "frame 5: altered: expected \"OK c");
    assert!(
        report.stdout.contains("(first difference at byte 23)"),
        "{report}"
    );
}

#[test]
fn an_altered_sleep_does_not_take_others_with_it() {
    let flags = ["--mix", "sleep", "--sleep-ms", "1", "--max-inflight", "1"];
    let report = run_fault(Fault::Alter, &flags);
    let text = "frame 5: altered: expected \"OK 1\" got \"OK 0\" (first difference at byte 4)";
    report.assert_fails(1, text);
}

#[test]
fn crossed_answers_are_named_with_their_owner() {
    for mix in ["echo", "hash"] {
        let report = run_fault(Fault::Cross, &["--mix", mix]);
        report.assert_fails(2, "frame 5: foreign: got the answer to client ");
        let owners = report
            .stdout
            .lines()
            .filter(|line| line.ends_with(" frame 5"));
        assert_eq!(owners.count(), 2, "{report}");
    }
}

#[test]
fn a_cut_connection_says_how_many_answers_came() {
    let report = run_fault(Fault::Cut, &[]);
    report.assert_fails(45, "frame 5: missing: connection ");
    assert!(report.stdout.contains(" after 5 of 50 answers"), "{report}");
}

#[test]
fn half_an_answer_is_shown() {
    let report = run_fault(Fault::CutInside, &["--max-inflight", "1"]);
    report.assert_fails(45, "after 5 of 50 answers and half an answer, \"OK c");
}

#[test]
fn an_extra_line_is_named() {
    let report = run_fault(Fault::Extra, &[]);
    let text = "frame 5: unexpected: got \"OK nobody asked for this\" before its own answer";
    report.assert_fails(1, text);
}

#[test]
fn a_repeated_answer_after_the_last_one_is_named() {
    let report = run_fault(Fault::ExtraAtEnd, &[]);
    report.assert_fails(
        1,
        " after 50 frames: repeated: got again the answer to frame 49",
    );
}

#[test]
fn half_a_line_after_the_last_answer_is_named() {
    let report = run_fault(Fault::HalfLineAtEnd, &[]);
    report.assert_fails(
        1,
        " after 50 frames: unexpected: got half an answer, \"OK half a li\"",
    );
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let report = run_fault(Fault::FallSilent, &["--timeout", "0.5"]);
    report.assert_fails(45, "missing: no answer within 0.5 s");
    assert!(
        report
            .stdout
            .contains("given up after 1 s without an answer"),
        "{report}"
    );
}

#[test]
fn a_connection_that_is_not_closed_is_named() {
    let report = run_fault(Fault::StayOpen, &["--timeout", "0.5"]);
    report.assert_fails(
        1,
        "unclosed: not closed within 0.5 s of the client's half-close",
    );
}

#[test]
fn a_refused_connection_is_a_failure_of_its_own_kind() {
    let report = run_fault(Fault::TooMany, &[]);
    report.assert_fails(50, ": refused: \"ERR too many connections\"");
}

#[test]
fn busy_answers_are_retried() {
    let report = run_fault(Fault::BusyFirst, &[]);
    report.assert_passes("4 clients x 50 frames = 200 verified, 0 failures, ");
    assert!(
        report
            .stdout
            .contains("  busy      200 answers, 200 retried"),
        "{report}"
    );
}

#[test]
fn busy_after_the_last_retry_is_a_failure() {
    let report = run_fault(Fault::BusyAlways, &["--retries", "2", "--frames", "5"]);
    report.assert_fails(20, "busy: all 3 tries were answered \"ERR server busy\"");
}

#[test]
fn busy_without_retries_is_counted_and_no_failure() {
    let report = run_fault(Fault::BusyFirst, &["--retries", "0"]);
    report.assert_passes("4 clients x 50 frames = 0 verified + 200 refused as busy, 0 failures, ");
}

#[test]
fn the_same_seed_repeats_the_run() {
    let altered = |report: &Report| {
        let line = report
            .stdout
            .lines()
            .find(|line| line.contains(": altered: "));
        line.map(str::to_owned).expect("an altered answer")
    };
    let flags = ["--clients", "1", "--seed", "7"];
    let first = altered(&run_fault(Fault::Alter, &flags));
    assert_eq!(first, altered(&run_fault(Fault::Alter, &flags)));
    assert_ne!(
        first,
        altered(&run_fault(Fault::Alter, &["--clients", "1", "--seed", "8"]))
    );
}
