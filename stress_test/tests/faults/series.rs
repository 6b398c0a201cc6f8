//! The commands beside the run: selftest, sweep, ramp and report.
//!
//! Knows their tables and their JSON; of the server that they start only that it is the double.
//!
//! Rule: the runs are as short as they can be; how fast the double is, is nobody's promise.

use std::fs;
use std::time::Instant;

use serde_json::Value;
use stress_test::{Fault, FaultyServer, Framing};

use crate::command::{folder_with_server, interrupt};
use crate::measuring::assert_valid;
use crate::support::{Report, program, run, run_while, server, server_of, stress_test};

/// A folder in which `server` says that it is `double`, and notes its arguments.
fn folder_with(double: &FaultyServer) -> tempfile::TempDir {
    let script = format!(
        "echo \"$@\" >> arguments\n\
         echo addr={} >&2\n\
         trap 'exit 0' TERM\n\
         while :; do sleep 0.02; done\n",
        double.address()
    );
    folder_with_server(Some(&script))
}

const SHORT: [&str; 7] = [
    "sweep",
    "--max-line",
    "2000",
    "--duration",
    "0.3",
    "--warmup",
    "0.1",
];

fn sweep(folder: &tempfile::TempDir, flags: &[&str]) -> (Report, Value) {
    let flags = [&SHORT, flags, &["--json", "sweep.json"]].concat();
    let mut command = program(&folder.path().join("stress_test"), &flags);
    command.current_dir(folder.path());
    let report = run(command);
    let text = fs::read_to_string(folder.path().join("sweep.json")).expect("the file was written");
    (report, serde_json::from_str(&text).expect("it is JSON"))
}

#[test]
fn selftest_shows_that_every_check_fires() {
    let report = run(stress_test(&["selftest"]));
    assert_eq!(report.code, Some(0), "{report}");
    assert!(report.verdict().starts_with("PASS: "), "{report}");
    assert!(report.stdout.contains("1 swapped"), "{report}");
    assert!(!report.stdout.contains("FAIL"), "{report}");
}

#[test]
fn a_sweep_measures_every_combination_in_every_round() {
    let double = server(Fault::None);
    let folder = folder_with(&double);
    let flags = ["--workers", "1,2", "--mix", "sleep,echo", "--rounds", "2"];
    let (report, json) = sweep(&folder, &[&flags[..], &["--sleep-ms", "1"]].concat());
    assert_eq!(report.code, Some(0), "{report}");
    assert!(
        report
            .verdict()
            .starts_with("PASS: 4 cells, 8 runs, 0 failures"),
        "{report}"
    );
    assert_valid(&json);
    assert_eq!(json["framing"], "lines");
    let cells = json["cells"].as_array().expect("a list");
    assert_eq!(cells.len(), 4);
    for cell in cells {
        assert_eq!(cell["rounds"], 2, "{cell:#}");
        assert!(
            cell["throughput_per_s"]["median"].as_f64() > Some(0.0),
            "{cell:#}"
        );
        assert!(
            cell["server_memory_bytes"]["max"].as_f64() > Some(0.0),
            "{cell:#}"
        );
    }
    assert_eq!(cells[1]["ideal_per_s"], 2000.0, "2 workers x 1000 / 1 ms");
    assert_eq!(cells[2]["ideal_per_s"], Value::Null, "ECHO has none");
    let arguments = fs::read_to_string(folder.path().join("arguments")).expect("the script ran");
    let with = |workers: &str| {
        arguments
            .lines()
            .filter(|line| line.contains(workers))
            .count()
    };
    assert_eq!(
        (with("--workers 1 "), with("--workers 2 ")),
        (4, 4),
        "{arguments}"
    );
}

#[test]
fn a_sweep_and_a_ramp_may_have_lengths_in_front() {
    let double = server_of(Fault::None, Framing::Length);
    let folder = folder_with(&double);
    let flags = ["--framing", "length", "--workers", "1", "--mix", "errors"];
    let (report, json) = sweep(&folder, &[&flags[..], &["--rounds", "1"]].concat());
    assert_eq!(report.code, Some(0), "{report}");
    assert!(report.stdout.contains(", framing length, "), "{report}");
    assert_valid(&json);
    assert_eq!(json["framing"], "length");
    let arguments = fs::read_to_string(folder.path().join("arguments")).expect("the script ran");
    assert!(arguments.contains(" --framing length "), "{arguments}");
    let flags = ["--framing", "length", "--start", "20", "--max-rate", "20"];
    let (report, json) = ramp(&double, "1", &[&flags[..], &["--slo", "busy<1%"]].concat());
    assert_eq!(report.code, Some(0), "{report}");
    assert_valid(&json);
    assert_eq!(json["load"]["framing"], "length");
}

#[test]
fn a_wrong_answer_in_any_cell_fails_the_sweep() {
    let double = server(Fault::Alter);
    let flags = [
        "--workers",
        "1",
        "--mix",
        "echo",
        "--rounds",
        "1",
        "--clients",
        "1",
    ];
    let (report, json) = sweep(&folder_with(&double), &flags);
    assert_eq!(report.code, Some(1), "{report}");
    assert!(report.stdout.contains(": altered: "), "{report}");
    assert_valid(&json);
}

#[test]
fn ctrl_c_keeps_what_the_sweep_has_measured() {
    let double = server(Fault::None);
    let folder = folder_with(&double);
    let flags = ["--workers", "1", "--mix", "echo", "--rounds", "100"];
    let mut command = program(
        &folder.path().join("stress_test"),
        &[&SHORT[..], &flags].concat(),
    );
    command.current_dir(folder.path());
    let mut interrupted: Option<Instant> = None;
    let report = run_while(command, |id| {
        let starts = fs::read_to_string(folder.path().join("arguments")).unwrap_or_default();
        if interrupted.is_none() && starts.lines().count() >= 3 {
            interrupted = Some(Instant::now());
            interrupt(id);
        }
    });
    assert_eq!(report.code, Some(130), "{report}");
    assert!(
        report
            .verdict()
            .starts_with("INTERRUPTED (no failure so far): 1 cells, "),
        "{report}"
    );
    assert!(!report.verdict().contains(" 0 runs"), "{report}");
}

#[test]
fn a_report_is_one_page_of_runs_and_sweeps_that_needs_nothing_else() {
    let double = server(Fault::None);
    let folder = folder_with(&double);
    let flags = ["--workers", "1,2", "--mix", "sleep", "--rounds", "1"];
    let (report, _) = sweep(&folder, &[&flags[..], &["--sleep-ms", "1"]].concat());
    assert_eq!(report.code, Some(0), "{report}");
    let in_folder = |flags: &[&str]| {
        let mut command = program(&folder.path().join("stress_test"), flags);
        command.current_dir(folder.path());
        run(command)
    };
    let port = double.address().port().to_string();
    let flags = ["--port", &port, "--max-line", "2000", "--json", "run.json"];
    assert_eq!(in_folder(&flags).code, Some(0));
    let report = in_folder(&["report", "run.json", "sweep.json", "-o", "page.html"]);
    assert_eq!(report.code, Some(0), "{report}");
    let page = fs::read_to_string(folder.path().join("page.html")).expect("it was written");
    for text in [
        "Run: run",
        "Percentiles of latency and service time",
        "Sweep: sweep",
        "sleep: throughput against workers",
        "sleep: share of the ideal",
        "sleep: latency against workers",
    ] {
        assert!(page.contains(text), "{text}");
    }
    for text in ["<script", "http", "NaN", "inf ", "src="] {
        assert!(!page.contains(text), "{text}");
    }
    let report = in_folder(&["report", "arguments"]);
    report.assert_complains(1, &["arguments", "not a result of stress_test"]);
    let report = in_folder(&["report", "nothing.json"]);
    report.assert_complains(1, &["nothing.json", "cannot read it"]);
}

/// A ramp of `clients` against `double`, as short and as coarse as can be.
fn ramp(double: &FaultyServer, clients: &str, flags: &[&str]) -> (Report, Value) {
    ramp_up_to(double, clients, clients, flags)
}

fn ramp_up_to(
    double: &FaultyServer,
    clients: &str,
    most_clients: &str,
    flags: &[&str],
) -> (Report, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ramp.json");
    let port = double.address().port().to_string();
    let name = file.to_str().expect("the folder has a plain name");
    let flags = [
        &[
            "ramp",
            "--max-line",
            "2000",
            "--port",
            &port,
            "--json",
            name,
        ],
        &[
            "--duration",
            "0.5",
            "--warmup",
            "0",
            "--arrivals",
            "uniform",
        ][..],
        &["--precision", "100", "--clients", clients],
        &["--max-clients", most_clients],
        flags,
    ];
    let report = run(stress_test(&flags.concat()));
    let text = fs::read_to_string(&file).expect("the file was written");
    (report, serde_json::from_str(&text).expect("it is JSON"))
}

#[test]
fn a_ramp_that_is_interrupted_at_once_has_decided_nothing() {
    let double = server(Fault::None);
    let port = double.address().port().to_string();
    let mut is_interrupted = false;
    let flags = ["ramp", "--port", &port, "--max-line", "2000"];
    let report = run_while(stress_test(&flags), |id| {
        if !is_interrupted && double.answered() > 5 {
            is_interrupted = true;
            interrupt(id);
        }
    });
    assert_eq!(report.code, Some(130), "{report}");
    let text = "INTERRUPTED (no failure so far): no rate was decided for p99<10ms, busy<0.1%";
    assert_eq!(report.verdict(), text, "{report}");
}

#[test]
fn a_ramp_goes_up_as_far_as_it_may() {
    let flags = [
        "--start",
        "20",
        "--max-rate",
        "40",
        "--slo",
        "p50<100ms,busy<1%",
    ];
    let (report, json) = ramp(&server(Fault::None), "1", &flags);
    assert_valid(&json);
    assert_eq!(report.code, Some(0), "{report}");
    assert_eq!(json["highest_rate_per_s"], 40.0, "{report}");
    assert_eq!(json["lowest_broken_per_s"], Value::Null, "{report}");
    assert_eq!(json["steps"].as_array().map(Vec::len), Some(2), "{report}");
    assert!(
        report
            .verdict()
            .starts_with("PASS: 40 requests/s holds p50<100ms"),
        "{report}"
    );
}

/// The double serves 200 requests a second, however many clients there are.
#[test]
fn a_rate_that_the_server_cannot_serve_does_not_hold_however_short_the_step() {
    let flags = ["--start", "50", "--slo", "p50<100s"];
    let (report, json) = ramp(&server(Fault::OneWorker), "64", &flags);
    assert_valid(&json);
    let highest = json["highest_rate_per_s"].as_f64();
    assert!(highest.is_none_or(|rate| rate <= 200.0), "{report}");
    assert!(report.stdout.contains("the backlog grew by "), "{report}");
}

/// A client alone gets 200 answers a second of the double, which serves any number of them.
#[test]
fn a_ramp_finds_the_same_rate_however_many_clients_it_begins_with() {
    let flags = ["--start", "100", "--max-rate", "600", "--slo", "p50<50ms"];
    for clients in ["1", "8"] {
        let (report, json) = ramp_up_to(&server(Fault::Slow), clients, "64", &flags);
        assert_valid(&json);
        assert_eq!(json["highest_rate_per_s"], 600.0, "{report}");
    }
}

#[test]
fn a_ramp_on_which_nothing_holds_exits_4() {
    let flags = ["--start", "1.9", "--max-rate", "1.9", "--slo", "busy<1%"];
    let (report, json) = ramp(&server(Fault::BusyAlways), "1", &flags);
    assert_valid(&json);
    assert_eq!(report.code, Some(4), "{report}");
    assert_eq!(json["highest_rate_per_s"], Value::Null, "{report}");
    assert!(
        report.stdout.contains("busy<1%: it is 100.000 %"),
        "{report}"
    );
    assert!(report.verdict().starts_with("FAIL: no rate"), "{report}");
}

#[test]
fn a_ramp_of_sleeps_has_the_mean_of_theory_where_it_is_known() {
    let double = server(Fault::None);
    let folder = folder_with(&double);
    let steps = |flags: &[&str]| {
        let all = "ramp --spawn --slo rate>=0 --start 100 --max-rate 100 --precision 100 \
                   --max-line 2000 --duration 0.1 --warmup 0 --json ramp.json --sleep-ms 10";
        let all: Vec<&str> = all
            .split_whitespace()
            .chain(flags.iter().copied())
            .collect();
        let mut command = program(&folder.path().join("stress_test"), &all);
        command.current_dir(folder.path());
        let report = run(command);
        let text = fs::read_to_string(folder.path().join("ramp.json"));
        let json = serde_json::from_str(&text.expect("the file was written"));
        let json: Value = json.expect("it is JSON");
        assert_valid(&json);
        let steps = json["steps"].as_array().expect("a list").clone();
        assert!(!steps.is_empty(), "{report}");
        steps
    };
    for step in steps(&["--mix", "sleep", "--workers", "2"]) {
        // M/D/2 with half of the time busy waits for 0.17674 service times.
        assert_eq!(
            step["predicted_mean_us"].as_f64().map(f64::round),
            Some(11_767.0)
        );
    }
    for flags in [
        &["--mix", "sleep"][..],
        &["--mix", "balanced", "--workers", "2"],
        &["--mix", "sleep", "--workers", "2", "--arrivals", "uniform"],
    ] {
        for step in steps(flags) {
            assert!(
                step.get("predicted_mean_us").is_none(),
                "{flags:?} {step:#}"
            );
        }
    }
}

#[test]
fn a_run_of_sleeps_says_how_far_its_mean_is_from_theory() {
    let double = server(Fault::None);
    let folder = folder_with(&double);
    let flags = "--spawn --workers 2 --mix sleep --sleep-ms 10 --rate 100 --duration 0.3 \
                 --max-line 2000 --json run.json";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let mut command = program(&folder.path().join("stress_test"), &flags);
    command.current_dir(folder.path());
    let report = run(command);
    let text = fs::read_to_string(folder.path().join("run.json")).expect("the file was written");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_valid(&json);
    let theory = &json["queueing"];
    assert_eq!(theory["model"], "M/D/2", "{report}");
    assert_eq!(
        theory["predicted_mean_us"].as_f64().map(f64::round),
        Some(11_767.0)
    );
    let line = "\nqueueing    M/D/2, 50 % busy: mean 11.8 ms in theory, ";
    assert!(report.stdout.contains(line), "{report}");
}

#[test]
fn a_wrong_answer_ends_the_ramp() {
    let flags = ["--start", "40", "--slo", "busy<1%"];
    let (report, json) = ramp(&server(Fault::Alter), "1", &flags);
    assert_valid(&json);
    assert_eq!(report.code, Some(1), "{report}");
    assert!(report.stderr.contains(": altered: "), "{report}");
}

#[test]
fn flags_of_a_run_do_not_go_with_another_command() {
    run(stress_test(&["--clients", "5", "selftest"])).assert_complains(2, &["selftest"]);
    run(stress_test(&["sweep", "--workers", "0"])).assert_complains(2, &["--workers", "1 to 1024"]);
    run(stress_test(&["sweep", "--warmup", "2"])).assert_complains(2, &["--warmup", "2 s"]);
}

#[test]
fn an_environment_variable_of_a_run_does_not_stop_another_command() {
    let mut command = stress_test(&["selftest", "--help"]);
    command.env("STRESS_TEST_PORT", "5");
    assert_eq!(run(command).code, Some(0));
}

/// As many answers come as the first step takes, and some more.
#[test]
fn a_server_that_goes_does_not_take_the_steps_of_a_ramp_with_it() {
    let flags = ["--start", "40", "--slo", "p50<100s", "--precision", "50"];
    let (report, json) = ramp(&server(Fault::Die(80)), "1", &flags);
    assert_valid(&json);
    assert_eq!(report.code, Some(3), "{report}");
    assert!(report.stderr.contains("nothing is listening"), "{report}");
    assert_eq!(json["exit_code"], 3);
    assert_eq!(json["verdict"], "FAIL");
    assert_eq!(json["highest_rate_per_s"], 40.0, "{report}");
    assert!(
        report.verdict().starts_with("FAIL: 40 requests/s holds"),
        "{report}"
    );
}

#[test]
fn a_server_that_does_not_start_does_not_take_the_cells_of_a_sweep_with_it() {
    let double = server(Fault::None);
    let script = format!(
        "echo start >> starts\n\
         test $(wc -l < starts) -gt 2 && exit 7\n\
         echo addr={} >&2\n\
         trap 'exit 0' TERM\n\
         while :; do sleep 0.02; done\n",
        double.address()
    );
    let folder = folder_with_server(Some(&script));
    let flags = ["--workers", "1", "--mix", "echo", "--rounds", "3"];
    let (report, json) = sweep(&folder, &flags);
    assert_valid(&json);
    assert_eq!(report.code, Some(3), "{report}");
    assert!(report.stderr.contains("did not start"), "{report}");
    assert_eq!(
        (&json["exit_code"], &json["verdict"]),
        (&3.into(), &"FAIL".into())
    );
    assert_eq!(json["cells"][0]["rounds"], 2, "{report}");
    assert!(
        report.verdict().starts_with("FAIL: 1 cells, 2 runs"),
        "{report}"
    );
}
