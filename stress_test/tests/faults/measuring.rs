//! What is measured: the open loop, thresholds, the JSON file, and that the account is shown.
//!
//! Knows the figures of a run as they stand in the JSON file.
//!
//! Rule: no tight times; what is asserted holds on a machine that has other things to do.

use std::time::{Duration, Instant};

use serde_json::Value;
use stress_test::{Fault, FaultyServer, STALL};

use crate::command::interrupt;
use crate::schema;
use crate::support::{Report, against, run, run_stopped, run_while, server, stress_test};

/// Runs with `flags` and `--json`, and returns the report with what is in the file.
pub(crate) fn run_json(server: &FaultyServer, flags: &[&str]) -> (Report, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.json");
    let name = file.to_str().expect("the folder has a plain name");
    let report = run(against(server, &[flags, &["--json", name]].concat()));
    let text = std::fs::read_to_string(&file).expect("the file was written");
    (report, serde_json::from_str(&text).expect("it is JSON"))
}

#[track_caller]
pub(crate) fn assert_valid(json: &Value) {
    let mut errors = schema::errors(json);
    // That none of run, sweep and ramp matches says little; what is wrong with the kind it is
    // does.
    if !errors.is_empty() {
        let kind = json["kind"].as_str().unwrap_or_default();
        errors = schema::errors_as(kind, json);
    }
    assert!(errors.is_empty(), "{errors:#?}");
}

pub(crate) fn figure(json: &Value, pointer: &str) -> f64 {
    let figure = json.pointer(pointer).and_then(Value::as_f64);
    figure.unwrap_or_else(|| panic!("no {pointer} in {json:#}"))
}

/// Place of a percentile in a distribution.
const P50: &str = "/percentiles/0/us";
const P90: &str = "/percentiles/2/us";

#[test]
fn the_json_file_of_a_closed_loop_follows_the_schema() {
    let flags = ["--clients", "4", "--mix", "errors", "--hogs", "1"];
    let (report, json) = run_json(&server(Fault::None), &flags);
    report.assert_passes("4 clients x 100 frames = 400 verified");
    assert_valid(&json);
    assert_eq!(json["verdict"], "PASS");
    let ledger = |name| figure(&json, &format!("/ledger/{name}"));
    assert_eq!((ledger("planned"), ledger("sent")), (400.0, 400.0));
    assert_eq!(ledger("ok") + ledger("expected_errors"), 400.0);
    assert!(ledger("ok") > 50.0 && ledger("expected_errors") > 50.0);
    assert_eq!(json["ledger"]["balances"], true);
    assert_eq!(json["little"]["holds"], true, "{json:#}");
    let provenance = &json["provenance"];
    let arguments = provenance["arguments"].as_array().expect("a list");
    assert!(arguments.contains(&Value::from("--hogs")), "{provenance}");
    let started = provenance["started"].as_str().expect("a text");
    assert!(started.starts_with("20") && started.ends_with('Z'));
    // What HdrHistogram's own tools read; `distribution` has the test of what is in it.
    let histogram = json["latency"]["histogram"].as_str().expect("a text");
    assert!(histogram.starts_with("HISTFAAA"), "{histogram}");
}

#[test]
fn the_schema_is_strict() {
    let (_, json) = run_json(&server(Fault::None), &["--clients", "1"]);
    assert_valid(&json);
    let wrong: [fn(&mut Value); 5] = [
        |json| json["ledger"]["planned"] = Value::from("many"),
        |json| json["latency"]["percentiles"][0]["us"] = Value::from(-1),
        |json| json["schema"] = Value::from("reactor-pool/stress_test/2"),
        |json| json["verdict"] = Value::from("GOOD"),
        |json| {
            json["ledger"]
                .as_object_mut()
                .expect("an object")
                .remove("ok");
        },
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        let mut json = json.clone();
        change(&mut json);
        assert!(!schema::errors(&json).is_empty(), "change {number}");
        assert!(
            !schema::errors_as("run", &json).is_empty(),
            "change {number}"
        );
    }
}

#[test]
fn an_open_loop_sends_as_many_as_its_rate_says() {
    let flags = ["--clients", "8", "--rate", "1k", "--arrivals", "uniform"];
    let flags = [&flags[..], &["--duration", "0.5", "--max-inflight", "64"]].concat();
    let (report, json) = run_json(&server(Fault::None), &flags);
    // Whether the generator kept up is the machine's business.
    assert!(matches!(report.code, Some(0 | 5)), "{report}");
    assert_valid(&json);
    assert_eq!(figure(&json, "/ledger/planned"), 500.0);
    assert_eq!(figure(&json, "/latency/count"), 500.0);
    assert_eq!(figure(&json, "/generator/own_lag/count"), 500.0);
    assert!(
        report
            .stdout
            .contains("1000 requests/s (uniform) for 0.5 s over 8 to 1000 clients")
    );
}

#[test]
fn a_stalled_server_shows_in_the_latency_of_all_that_was_due_meanwhile() {
    let flags = ["--clients", "1", "--rate", "500", "--duration", "1"];
    let flags = [&flags[..], &["--arrivals", "uniform", "--max-clients", "1"]].concat();
    let (report, json) = run_json(&server(Fault::Stall), &flags);
    let (latency, service) = (
        figure(&json, &format!("/latency{P90}")),
        figure(&json, &format!("/service{P90}")),
    );
    // Of 500 requests, one was under way while the server stalled, and 150 were due.
    assert!(latency > 100_000.0, "{report}");
    assert!(service < latency / 2.0, "{report}");
    assert!(
        figure(&json, "/service/max_us") >= STALL.as_micros() as f64,
        "{report}"
    );
}

#[test]
fn a_closed_loop_hides_the_stall_which_is_why_there_is_an_open_one() {
    let flags = ["--clients", "1", "--duration", "1"];
    let (report, json) = run_json(&server(Fault::Stall), &flags);
    assert!(
        figure(&json, &format!("/latency{P90}")) < 100_000.0,
        "{report}"
    );
}

#[test]
fn what_could_not_be_sent_is_a_failure_and_stays_in_the_latencies() {
    let flags = ["--clients", "1", "--rate", "1k", "--duration", "0.5"];
    let flags = [&flags[..], &["--arrivals", "uniform", "--timeout", "3"]].concat();
    let flags = [&flags[..], &["--max-clients", "1"]].concat();
    let (report, json) = run_json(&server(Fault::FallSilent), &flags);
    assert_eq!(report.code, Some(1), "{report}");
    let ledger = |name| figure(&json, &format!("/ledger/{name}"));
    assert_eq!(ledger("planned"), 500.0, "{report}");
    assert_eq!(ledger("sent") + ledger("unsent"), 500.0, "{report}");
    assert!(ledger("unsent") > 400.0, "{report}");
    assert_eq!(figure(&json, "/latency/count"), 500.0, "{report}");
    assert!(
        figure(&json, &format!("/latency{P50}")) > 1_000_000.0,
        "{report}"
    );
    assert_eq!(json["latency"]["percentiles"][0]["is_lower_bound"], true);
    assert!(
        report
            .stdout
            .contains(" got no answer and count as at least their age")
    );
}

/// The double answers five requests and then says nothing, until somebody loses patience.
#[test]
fn a_server_that_hangs_until_ctrl_c_shows_in_every_figure() {
    let server = server(Fault::FallSilent);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.json");
    let flags = [
        "--rate",
        "500",
        "--arrivals",
        "uniform",
        "--duration",
        "600",
    ];
    let most = ["--clients", "1", "--max-clients", "1", "--timeout", "300"];
    let mut command = against(&server, &[&flags[..], &most].concat());
    command.arg("--json").arg(&file);
    let (mut silent_since, mut is_interrupted) = (None::<Instant>, false);
    let report = run_while(command, |id| match silent_since {
        None if server.answered() > 5 => silent_since = Some(Instant::now()),
        Some(since) if !is_interrupted && since.elapsed() > Duration::from_secs(1) => {
            is_interrupted = true;
            interrupt(id);
        }
        _ => {}
    });
    assert_eq!(report.code, Some(130), "{report}");
    let text = std::fs::read_to_string(&file).expect("the file was written");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_valid(&json);
    let ledger = |name| figure(&json, &format!("/ledger/{name}"));
    let (planned, sent) = (ledger("planned"), ledger("sent"));
    // A second at 500 requests a second.
    assert!(planned > 490.0, "{report}");
    assert_eq!((ledger("ok"), ledger("under_way")), (5.0, sent - 5.0));
    assert_eq!(sent + ledger("unsent"), planned, "{report}");
    assert_eq!(figure(&json, "/latency/count"), planned, "{report}");
    assert_eq!(figure(&json, "/latency/unanswered"), planned - 5.0);
    assert_eq!(json["latency"]["percentiles"][0]["is_lower_bound"], true);
    assert!(
        figure(&json, &format!("/latency{P50}")) > 400_000.0,
        "{report}"
    );
    assert!(figure(&json, "/throughput_per_s") < 5.0, "{report}");
    assert_eq!(json["backlog"]["grows"], true, "{report}");
    assert_eq!(json["little"]["holds"], true, "{report}");
}

#[test]
fn refusals_have_latencies_of_their_own() {
    let flags = ["--clients", "2", "--rate", "400", "--duration", "0.5"];
    let (report, json) = run_json(&server(Fault::BusyAlways), &flags);
    assert!(matches!(report.code, Some(0 | 5)), "{report}");
    assert_eq!(figure(&json, "/latency/count"), 0.0);
    let refused = figure(&json, "/busy/latency/count");
    assert!(refused > 50.0, "{report}");
    assert_eq!(refused, figure(&json, "/ledger/busy"));
}

#[test]
fn what_was_due_in_the_warmup_is_not_measured() {
    let flags = ["--clients", "2", "--rate", "400", "--arrivals", "uniform"];
    let flags = [&flags[..], &["--duration", "0.5", "--warmup", "0.25"]].concat();
    let (report, json) = run_json(&server(Fault::None), &flags);
    assert_eq!(figure(&json, "/ledger/planned"), 200.0, "{report}");
    assert_eq!(figure(&json, "/latency/count"), 100.0, "{report}");
}

#[test]
fn a_threshold_that_is_met_exits_4_and_says_the_figure() {
    let server = server(Fault::None);
    let report = run(against(
        &server,
        &["--clients", "4", "--fail-if", "max>0us"],
    ));
    // Unless the machine is so busy that the generator is the limit.
    assert!(matches!(report.code, Some(4 | 5)), "{report}");
    assert!(
        report.stdout.contains("--fail-if max>0us: it is "),
        "{report}"
    );
    let report = run(against(
        &server,
        &["--clients", "4", "--fail-if", "max>1000s"],
    ));
    assert!(matches!(report.code, Some(0 | 5)), "{report}");
    let report = run(against(
        &server,
        &["--clients", "4", "--fail-if", "p99.99>1000s"],
    ));
    assert!(matches!(report.code, Some(4 | 5)), "{report}");
    assert!(report.stdout.contains("p99.99>1000s: n/a"), "{report}");
}

#[test]
fn a_wrong_answer_outweighs_a_threshold() {
    let server = server(Fault::Alter);
    let report = run(against(
        &server,
        &["--clients", "1", "--fail-if", "max>0us"],
    ));
    assert_eq!(report.code, Some(1), "{report}");
}

#[test]
fn the_ledger_tells_wrong_from_missing() {
    for (fault, wrong, missing) in [
        (Fault::Alter, 1.0, 0.0),
        (Fault::Drop, 0.0, 1.0),
        (Fault::Swap, 1.0, 0.0),
        (Fault::Cut, 0.0, 4.0),
    ] {
        let flags = ["--clients", "1", "--frames", "50", "--max-inflight", "4"];
        let flags = [&flags[..], &["--payload", "20..40"]].concat();
        let (report, json) = run_json(&server(fault), &flags);
        let ledger = |name| figure(&json, &format!("/ledger/{name}"));
        assert_eq!(ledger("wrong"), wrong, "{report}");
        assert!(ledger("missing") <= missing, "{report}");
        assert!(missing == 0.0 || ledger("missing") > 0.0, "{report}");
        assert_eq!(json["ledger"]["balances"], true, "{report}");
        assert_eq!(json["little"]["holds"], true, "{report}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_the_run() {
    let report = run(stress_test(&["--json", "/nowhere/at/all.json"]));
    report.assert_complains(2, &["--json", "/nowhere/at/all.json"]);
}

/// A client alone gets 200 answers a second of the double, which serves any number of them.
#[test]
fn an_open_loop_connects_the_clients_that_it_needs_or_says_that_it_may_not() {
    let flags = ["--rate", "1k", "--arrivals", "uniform", "--duration", "1"];
    let flags = [&flags[..], &["--clients", "1", "--max-clients"]].concat();
    let run = |most| run_json(&server(Fault::Slow), &[&flags[..], &[most]].concat());
    let (report, json) = run("100");
    assert_eq!(figure(&json, "/ledger/ok"), 1000.0, "{report}");
    assert!(figure(&json, "/generator/clients/count") > 5.0, "{report}");
    let (report, json) = run("1");
    assert_valid(&json);
    assert_eq!(report.code, Some(5), "{report}");
    let text = " % of the due requests waited for a free client (p99 ";
    assert!(report.stdout.contains(text), "{report}");
    assert_eq!(figure(&json, "/generator/clients/count"), 1.0, "{report}");
    let flags = ["--rate", "1k", "--clients", "9", "--max-clients", "8"];
    let complaint = ["--max-clients", "at least --clients, 9"];
    crate::support::run(stress_test(&flags)).assert_complains(2, &complaint);
}

#[test]
fn a_generator_that_is_stopped_does_not_blame_the_server() {
    let report = stopped_for_half_a_second(&["--clients", "20", "--frames", "80"]);
    assert_eq!(report.code, Some(5), "{report}");
    let text = "generator-limited: it did not look for answers for ";
    assert!(report.stdout.contains(text), "{report}");
}

/// No percentile shows half a second of four requests, but it is most of the time that was
/// measured, so the rate is not the server's.
#[test]
fn a_stop_that_shapes_no_percentile_is_told_and_fails_no_condition() {
    let load = ["--clients", "4", "--frames", "60"];
    let report = stopped_for_half_a_second(&load);
    assert_eq!(report.code, Some(0), "{report}");
    let (_, told) = report
        .stdout
        .split_once("away for at most ")
        .expect("a line");
    let ms = told.split(' ').next().expect("a number");
    // Before the stop it might have slept for 50 ms.
    assert!(ms.parse::<f64>().expect(ms) > 400.0, "{report}");
    // On a busy machine there may be another reason as well.
    assert!(
        report
            .stdout
            .contains("\n            generator-limited: it "),
        "{report}"
    );
    let flags = [&load[..], &["--fail-if", "rate<10k"]].concat();
    let report = stopped_for_half_a_second(&flags);
    assert_eq!(report.code, Some(5), "{report}");
}

/// What comes due meanwhile finds too few clients with room, which is no fault of the server.
#[test]
fn an_open_loop_that_is_stopped_does_not_blame_the_server() {
    // Enough requests for a p99, whatever chance has it.
    let flags = ["--rate", "600", "--arrivals", "uniform", "--clients", "4"];
    let flags = [&flags[..], &["--duration", "2"]].concat();
    let report = stopped_for_half_a_second(&flags);
    assert_eq!(report.code, Some(5), "{report}");
    for figure in ["own lag p99 ", "away for at most "] {
        let told = report.stdout.split_once(figure);
        let told = told.and_then(|(_, rest)| rest.split_once(" ms")?.0.parse().ok());
        assert!(told.is_some_and(|ms: f64| ms > 300.0), "{figure}: {report}");
    }
    // On a busy machine its reason may be another time at which it was away.
    let blames_clients = report.stdout.contains("waited for a free client");
    assert!(!blames_clients, "{report}");
}

/// A run with these flags that is stopped after 50 answers.
fn stopped_for_half_a_second(flags: &[&str]) -> Report {
    let double = server(Fault::Slow);
    let is_time = || double.answered() > 50;
    run_stopped(against(&double, flags), is_time, Duration::from_millis(500))
}

#[test]
fn a_run_without_an_answer_does_not_pass() {
    let flags = ["--rate", "0.1", "--duration", "0.1", "--seed", "1"];
    let (report, json) = run_json(&server(Fault::None), &flags);
    assert_eq!(figure(&json, "/ledger/planned"), 0.0, "{report}");
    assert_eq!(report.code, Some(1), "{report}");
    let text = "0 failures (no request was answered)";
    assert!(report.verdict().contains(text), "{report}");
}

/// Who divides the first figure of a line by the second one gets the third.
#[test]
fn the_rate_is_that_of_the_answers_and_the_time_beside_it() {
    let flags = ["--rate", "500", "--duration", "1", "--arrivals", "uniform"];
    let report = run(against(&server(Fault::Die(20)), &flags));
    let line = "\nanswers     20 verified in 1.000 s, 20 frames/s\n";
    assert!(report.stdout.contains(line), "{report}");
    // The answer that is due when the second ends comes later.
    let flags = ["--clients", "1", "--duration", "1"];
    let report = run(against(&server(Fault::Slow), &flags));
    let line = report
        .stdout
        .split_once("\nanswers     ")
        .expect("a line")
        .1;
    let (verified, rest) = line.split_once(" verified, ").expect("not all count");
    let (within, rest) = rest
        .split_once(" of them in the 1.000 s measured: ")
        .expect("some do");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    assert!(number(verified) > number(within), "{report}");
    assert!(
        rest.starts_with(&format!("{within} frames/s\n")),
        "{report}"
    );
}

#[test]
fn a_load_that_ends_within_the_warmup_has_no_rate() {
    let flags = ["--clients", "2", "--frames", "5", "--warmup", "60"];
    let double = server(Fault::None);
    let report = run(against(&double, &flags));
    assert_eq!(report.code, Some(0), "{report}");
    let line = "\nanswers     10 verified, none of them measured: the load ended within the warmup";
    assert!(report.stdout.contains(line), "{report}");
    assert!(
        report.verdict().contains(", n/a frames/s, p50 n/a"),
        "{report}"
    );
    let flags = [&flags[..], &["--fail-if", "rate>1"]].concat();
    let report = run(against(&double, &flags));
    assert_eq!(report.code, Some(4), "{report}");
}

#[test]
fn wrong_answers_are_answers() {
    let flags = [
        "--send",
        "ECHO a\\n",
        "--expect",
        "OK b\\n",
        "--frames",
        "1",
    ];
    let report = run(against(&server(Fault::None), &flags));
    let text = "50 failures (50 altered, no answer was right)";
    assert!(report.verdict().contains(text), "{report}");
}

/// As in the report of one run.
#[test]
fn a_lower_bound_is_one_in_the_table_of_rounds_too() {
    let load = ["--clients", "4", "--frames", "300", "--max-inflight", "300"];
    let flags = [&load[..], &["--timeout", "0.5", "--rounds", "2"]].concat();
    let report = run(against(&server(Fault::FallSilent), &flags));
    let row = report
        .stdout
        .lines()
        .find(|line| line.starts_with("    1 "));
    assert!(row.is_some_and(|row| row.contains(" >=")), "{report}");
}

#[test]
fn a_rate_beyond_the_generator_is_the_generators_limit_not_the_servers() {
    let flags = ["--clients", "4", "--rate", "5M", "--duration", "0.2"];
    let flags = [&flags[..], &["--max-inflight", "100000", "--timeout", "60"]].concat();
    let (report, json) = run_json(&server(Fault::None), &flags);
    assert_eq!(report.code, Some(5), "{report}");
    assert_valid(&json);
    assert!(
        report.verdict().starts_with("GENERATOR-LIMITED: "),
        "{report}"
    );
    assert!(
        report.stdout.contains("generator-limited: its "),
        "{report}"
    );
}

#[test]
fn progress_in_a_log_tells_of_the_seconds_that_have_just_passed() {
    // One client gets 200 answers a second at most, of 5 ms each.
    let flags = ["--clients", "1", "--rate", "20", "--arrivals", "uniform"];
    let flags = [&flags[..], &["--duration", "5.5", "--max-clients", "1"]].concat();
    let report = run(against(&server(Fault::Slow), &flags));
    let line = report.stderr.lines().next().unwrap_or_default();
    let (time, what) = line.split_once(" s left; the last 5 s: ").expect("a line");
    assert!(time.starts_with("5 s, "), "{line}");
    let (rate, p99) = what
        .split_once("/s, p99 ")
        .expect("a rate and a percentile");
    let rate: f64 = rate.parse().expect("a number");
    assert!((10.0..=21.0).contains(&rate), "{line}");
    let p99: f64 = p99.trim_end_matches(" ms").parse().expect("a number");
    assert!(p99 >= 5.0, "{line}");
}

#[test]
fn no_client_comes_when_the_load_has_ended() {
    // Twice what the server can do: at the end no client has room, and each that came then would
    // wait for ever for something to send.
    let server = server(Fault::OneWorker);
    let flags = ["--clients", "5", "--rate", "400", "--duration", "1"];
    let report = run(against(&server, &flags));
    assert!(matches!(report.code, Some(0 | 5)), "{report}");
}
