//! An open loop whose requests do not come evenly: stages and bursts.
//!
//! Knows the figures of a stage as they stand in the JSON file and in the report.
//!
//! Rule: how much is due is asserted exactly, how long it took is not.

use std::fs;

use serde_json::Value;
use stress_test::Fault;

use crate::measuring::{assert_valid, figure, run_json};
use crate::support::{against, run, server, stress_test};

/// Each stage's figure `name`.
fn of_stages(json: &Value, name: &str) -> Vec<f64> {
    let stages = json["stages"].as_array().expect("there are stages");
    let figures = stages.iter().map(|stage| stage[name].as_f64());
    figures.map(|figure| figure.expect(name)).collect()
}

#[test]
fn each_stage_has_its_requests_and_its_figures() {
    let flags = ["--stages", "200ms:500,100ms:0,200ms:1k", "--arrivals"];
    let flags = [&flags[..], &["uniform", "--threads", "2", "--fail-if"]].concat();
    let flags = [&flags[..], &["stage3.max>0us"]].concat();
    let (report, json) = run_json(&server(Fault::None), &flags);
    assert!(matches!(report.code, Some(4 | 5)), "{report}");
    assert_valid(&json);
    assert_eq!(of_stages(&json, "due"), [100.0, 0.0, 200.0], "{report}");
    assert_eq!(of_stages(&json, "answers"), [100.0, 0.0, 200.0], "{report}");
    assert_eq!(of_stages(&json, "begin_s"), [0.0, 0.2, 0.3], "{report}");
    assert_eq!(figure(&json, "/stages/2/latency/count"), 200.0, "{report}");
    assert_eq!(figure(&json, "/ledger/planned"), 300.0, "{report}");
    assert_eq!(figure(&json, "/load/rate_per_s"), 600.0, "{report}");
    assert_eq!(figure(&json, "/load/stages/2/rate_per_s"), 1000.0);
    for text in [
        "load        3 stages of 0 to 1000 requests/s (uniform) for 0.5 s\n            over 50 to ",
        "\n  #  at s  offered      due  answers ",
        "\n  3   0.3     1000      200      200 ",
        "--fail-if stage3.max>0us: it is ",
    ] {
        assert!(report.stdout.contains(text), "no {text:?} in {report}");
    }
}

#[test]
fn a_burst_finds_as_many_clients_as_it_takes() {
    let flags = ["--rate", "400", "--burst", "200", "--duration", "0.9"];
    let flags = [&flags[..], &["--arrivals", "uniform"]].concat();
    let (report, json) = run_json(&server(Fault::None), &flags);
    assert_valid(&json);
    assert_eq!(figure(&json, "/ledger/ok"), 400.0, "{report}");
    assert_eq!(figure(&json, "/load/burst"), 200.0);
    let text = "400 requests/s (uniform, 200 at a time) for 0.9 s";
    assert!(report.stdout.contains(text), "{report}");
    // The second burst comes 500 ms after the first.
    let waited = figure(&json, "/generator/clients/waited_percent");
    assert_eq!(waited, 0.0, "{report}");
}

#[test]
fn a_warmup_may_be_a_stage() {
    let flags = ["--stages", "100ms:500,100ms:1k", "--arrivals", "uniform"];
    let flags = [&flags[..], &["--warmup", "0.1"]].concat();
    let (report, json) = run_json(&server(Fault::None), &flags);
    assert_eq!(figure(&json, "/latency/count"), 100.0, "{report}");
    assert_eq!(of_stages(&json, "due"), [0.0, 100.0], "{report}");
    assert_eq!(json["stages"][0]["throughput_per_s"], Value::Null);
}

#[test]
fn refusals_and_waits_for_a_client_count_where_they_were_due() {
    let flags = ["--stages", "100ms:1k,100ms:100", "--arrivals", "uniform"];
    let flags = [&flags[..], &["--clients", "1", "--max-clients", "1"]].concat();
    let (report, json) = run_json(&server(Fault::BusyAlways), &flags);
    assert_eq!(of_stages(&json, "busy"), [100.0, 10.0], "{report}");
    assert_eq!(of_stages(&json, "answers"), [0.0, 0.0], "{report}");
    // One client gets 200 answers a second of this double, so the first stage queues for it.
    let (report, json) = run_json(&server(Fault::Slow), &flags);
    assert_eq!(of_stages(&json, "answers"), [100.0, 10.0], "{report}");
    assert!(of_stages(&json, "waited")[0] > 50.0, "{report}");
    let waited: f64 = of_stages(&json, "waited").iter().sum();
    let percent = figure(&json, "/generator/clients/waited_percent");
    assert!((waited / 1.1 - percent).abs() < 1e-9, "{report}");
}

#[test]
fn stages_have_rows_and_a_part_of_the_page() {
    let double = server(Fault::None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name| folder.path().join(name).display().to_string();
    let (json, page) = (path("run.json"), path("run.html"));
    let flags = ["--stages", "200ms:100,200ms:200", "--json", &json];
    let flags = [&flags[..], &["--rounds", "2", "--arrivals", "uniform"]].concat();
    let report = run(against(&double, &flags));
    assert!(matches!(report.code, Some(0 | 5)), "{report}");
    let table = run(stress_test(&["csv", &json])).stdout;
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split(',').collect()).collect();
    let column = |name| rows[0].iter().position(|column| *column == name);
    let cells = |name| {
        let place = column(name).expect(name);
        let cells = rows[1..].iter().map(|row| row[place]);
        cells.collect::<Vec<_>>()
    };
    assert_eq!(cells("kind")[..3], ["run", "stage", "stage"]);
    assert_eq!(cells("place"), ["1", "1", "1", "2", "2", "2"]);
    assert_eq!(cells("stage"), ["", "1", "2", "", "1", "2"]);
    assert_eq!(cells("latency_count")[..3], ["60", "20", "40"]);
    let rounds = fs::read_to_string(&json).expect("it was written");
    let rounds: Value = serde_json::from_str(&rounds).expect("it is JSON");
    let single = path("single.json");
    fs::write(&single, rounds["rounds"][0].to_string()).expect("it can be written");
    let report = run(stress_test(&["report", &single, "-o", &page]));
    assert_eq!(report.code, Some(0), "{report}");
    let html = fs::read_to_string(&page).expect("it was written");
    for text in ["Figures of the stages", ">stage 2<", "0.2s:100,0.2s:200"] {
        assert!(html.contains(text), "no {text}");
    }
}
