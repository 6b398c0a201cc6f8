//! Mixes by weight, and each operation's own latency.
//!
//! Knows the flags, the report and the JSON.
//!
//! Rule: how fast the double is, is nobody's promise; how often it is asked for what, is.

use stress_test::Fault;

use crate::measuring::{assert_valid, figure, run_json};
use crate::support::{run, server, stress_test};

#[test]
fn each_operation_of_a_mix_has_its_own_latency() {
    let flags = ["--clients", "4", "--frames", "250", "--seed", "1"];
    let mix = ["--mix", "echo=70,hash=20,sleep=10", "--sleep-ms", "30"];
    let flags = [&flags[..], &mix].concat();
    let (report, json) = run_json(&server(Fault::None), &flags);
    report.assert_passes("1000 verified");
    assert_valid(&json);
    assert_eq!(json["load"]["mix"], "echo=70,sleep=10,hash=20");
    let count = |operation: &str| figure(&json, &format!("/operations/{operation}/count"));
    assert_eq!(
        count("echo") + count("hash") + count("sleep"),
        1000.0,
        "{report}"
    );
    for (operation, expected) in [("echo", 700.0), ("hash", 200.0), ("sleep", 100.0)] {
        assert!((count(operation) - expected).abs() < 60.0, "{report}");
        assert!(
            report.stdout.contains(&format!("\n  {operation} ")),
            "{report}"
        );
    }
}

#[test]
fn a_condition_may_be_about_one_operation() {
    let flags = [
        "--clients",
        "4",
        "--mix",
        "echo=1,sleep=1",
        "--sleep-ms",
        "5",
    ];
    let with = |condition| [&flags[..], &["--fail-if", condition]].concat();
    let double = server(Fault::None);
    // Whether the generator kept up, which the exit code tells first, is the machine's business.
    for (condition, is_met) in [("sleep.max>0", true), ("sleep.p90>50s", false)] {
        let (report, json) = run_json(&double, &with(condition));
        assert_valid(&json);
        let broken = json["thresholds_broken"].as_array().expect("a list");
        assert_eq!(!broken.is_empty(), is_met, "{report}");
    }
    let refused = |mix, condition| {
        let flags = ["--mix", mix, "--fail-if", condition];
        run(stress_test(&flags)).assert_complains(2, &["--fail-if", condition, "--mix"]);
    };
    refused("echo=1,sleep=1", "hash.p50>4ms");
    refused("echo", "sleep.p99>4ms");
    refused("errors", "echo.p99>4ms");
}

#[test]
fn what_gets_no_answer_stays_in_the_latency_of_its_operation() {
    let flags = [
        "--clients",
        "1",
        "--mix",
        "echo=1,hash=1",
        "--timeout",
        "0.5",
    ];
    let (report, json) = run_json(
        &server(Fault::FallSilent),
        &[&flags[..], &["--max-inflight", "8"]].concat(),
    );
    assert_eq!(report.code, Some(1), "{report}");
    assert_valid(&json);
    let unanswered = |pointer: &str| figure(&json, &format!("{pointer}/unanswered"));
    let both = unanswered("/operations/echo") + unanswered("/operations/hash");
    assert_eq!(both, unanswered("/latency"), "{report}");
    assert!(both > 0.0, "{report}");
}

#[test]
fn sizes_may_come_from_a_distribution() {
    let flags = [
        "--clients",
        "2",
        "--mix",
        "echo=1,sleep=1",
        "--payload",
        "exp:50",
    ];
    let flags = [&flags[..], &["--sleep-ms", "bimodal:0,1@12.5%"]].concat();
    let (report, json) = run_json(&server(Fault::None), &flags);
    report.assert_passes("200 verified");
    assert_valid(&json);
    assert_eq!(json["load"]["payload"], "exp:50");
    assert_eq!(json["load"]["sleep_ms"], "bimodal:0,1@12.5%");
    assert!(
        report.stdout.contains("sleep bimodal:0,1@12.5% ms"),
        "{report}"
    );
    // An exponential one is cut at ten times its mean.
    for (flag, value, text) in [
        ("--payload", "exp:6554", "up to 65531"),
        ("--sleep-ms", "bimodal:5,10001@1%", "up to 10000"),
        ("--payload", "exp:0", "exp:MEAN"),
        ("--sleep-ms", "bimodal:5,100", "bimodal:5,100@1%"),
    ] {
        run(stress_test(&[flag, value])).assert_complains(2, &[flag, text]);
    }
}

#[test]
fn one_operation_needs_no_table_of_several() {
    let (report, json) = run_json(&server(Fault::None), &["--clients", "1", "--mix", "hash=7"]);
    assert_eq!(report.code, Some(0), "{report}");
    assert_eq!(json["load"]["mix"], "hash");
    assert!(json.get("operations").is_none(), "{report}");
}

#[test]
fn a_wrong_mix_says_what_it_may_be() {
    for mix in [
        "echo=0",
        "tea=1",
        "echo=1,echo=2",
        "echo=1;hash=2",
        "balanced=1",
    ] {
        let report = run(stress_test(&["--mix", mix]));
        report.assert_complains(2, &["--mix", "such as echo=70,hash=20,sleep=10"]);
    }
    let report = run(stress_test(&["sweep", "--mix", "echo=1"]));
    report.assert_complains(2, &["--mix", "echo, sleep, hash, balanced or errors"]);
}
