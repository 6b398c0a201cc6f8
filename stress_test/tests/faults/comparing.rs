//! Rounds, and what `compare` says of two sides.
//!
//! Knows the JSON of rounds and comparisons, and makes figures up where a test needs known ones.
//!
//! Rule: how fast the double is, is nobody's promise; what is said of given figures is.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use stress_test::Fault;

use crate::command::{folder_with_server, interrupt};
use crate::measuring::{assert_valid, run_json};
use crate::support::{Report, against, program, run, run_while, server, stress_test};

#[test]
fn each_round_is_a_run_with_a_seed_of_its_own() {
    let flags = ["--clients", "2", "--rounds", "3", "--seed", "4294967295"];
    let (report, json) = run_json(&server(Fault::None), &flags);
    report.assert_passes("3 of 3 rounds of 2 clients x 100 frames, 0 failures");
    assert_valid(&json);
    let rounds = json["rounds"].as_array().expect("a list");
    let seeds: Vec<u64> = rounds
        .iter()
        .filter_map(|round| round["load"]["seed"].as_u64())
        .collect();
    assert_eq!(seeds, [4_294_967_295, 0, 1], "{report}");
    for round in rounds {
        assert_eq!(round["kind"], "run");
        assert_eq!(round["ledger"]["ok"], 200);
    }
}

#[test]
fn each_round_has_a_new_server() {
    let double = server(Fault::None);
    let script = format!(
        "echo start >> starts\necho addr={} >&2\ntrap 'exit 0' TERM\n\
         while :; do sleep 0.02; done\n",
        double.address()
    );
    let folder = folder_with_server(Some(&script));
    let flags = ["--spawn", "--max-line", "2000", "--clients", "1"];
    let program = program(
        &folder.path().join("stress_test"),
        &[&flags[..], &["--rounds", "3"]].concat(),
    );
    run(program).assert_passes("3 of 3 rounds");
    let starts = fs::read_to_string(folder.path().join("starts")).expect("the script ran");
    assert_eq!(starts.lines().count(), 3);
}

#[test]
fn what_is_wrong_in_one_round_fails_all() {
    let flags = ["--clients", "1", "--rounds", "2"];
    let (report, json) = run_json(&server(Fault::Alter), &flags);
    assert_eq!(report.code, Some(1), "{report}");
    assert!(
        report.verdict().starts_with("FAIL: 2 of 2 rounds"),
        "{report}"
    );
    assert!(
        report.stdout.contains("round 1: client 0 frame 5: altered"),
        "{report}"
    );
    assert_valid(&json);
    let flags = [&flags[..], &["--fail-if", "rate>0"]].concat();
    let (report, json) = run_json(&server(Fault::None), &flags);
    // Unless the machine is so busy that the generator is the limit.
    assert!(matches!(report.code, Some(4 | 5)), "{report}");
    assert!(
        report.stdout.contains("round 2: --fail-if rate>0: it is "),
        "{report}"
    );
    assert_valid(&json);
}

#[test]
fn ctrl_c_keeps_the_rounds_that_were_measured() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("rounds.json");
    let name = file.to_str().expect("the folder has a plain name");
    let server = server(Fault::None);
    let flags = ["--clients", "1", "--rounds", "1000", "--json", name];
    let mut interrupted: Option<Instant> = None;
    let report = run_while(against(&server, &flags), |id| {
        if interrupted.is_none() && server.answered() >= 250 {
            interrupted = Some(Instant::now());
            interrupt(id);
        }
    });
    assert_eq!(report.code, Some(130), "{report}");
    let verdict = report.verdict();
    assert!(
        verdict.starts_with("INTERRUPTED (no failure so far): "),
        "{report}"
    );
    let json = read(&file);
    assert_valid(&json);
    let rounds = json["rounds"].as_array().expect("a list");
    assert!((2..1000).contains(&rounds.len()), "{report}");
    assert!(
        rounds.iter().all(|round| round["verdict"] == "PASS"),
        "{report}"
    );
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("the file was written");
    serde_json::from_str(&text).expect("it is JSON")
}

/// Files of one round each, with figures that are made up.
struct Rounds {
    folder: tempfile::TempDir,
    /// A real run, which the others are made from.
    run: Value,
}

impl Rounds {
    fn new() -> Self {
        let flags = ["--clients", "1", "--frames", "1000"];
        let (report, run) = run_json(&server(Fault::None), &flags);
        assert_eq!(report.code, Some(0), "{report}");
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            run,
        }
    }

    /// Files of rounds with `rates`; percentiles are as the rate has it. The first one starts in
    /// second `begin`, and the others each `step` seconds later.
    fn write(&self, name: &str, rates: &[f64], begin: usize, step: usize) -> Vec<String> {
        let write = |(place, rate): (usize, &f64)| {
            let file = format!("{name}{place}.json");
            let mut run = self.run.clone();
            let second = begin + place * step;
            run["throughput_per_s"] = Value::from(*rate);
            run["provenance"]["started"] =
                Value::from(format!("2026-01-01T00:00:{second:02}.000Z"));
            run["generator"]["limited"] = Value::Null;
            for percentile in run["latency"]["percentiles"]
                .as_array_mut()
                .expect("a list")
            {
                if !percentile["us"].is_null() {
                    percentile["us"] = Value::from(1e6 / rate);
                }
            }
            fs::write(self.folder.path().join(&file), run.to_string()).expect("the folder is ours");
            file
        };
        rates.iter().enumerate().map(write).collect()
    }

    fn compare(&self, base: &[String], new: &[String], flags: &[&str]) -> Report {
        let mut command = stress_test(&["compare", "--base"]);
        command.current_dir(self.folder.path());
        command.args(base).arg("--new").args(new).args(flags);
        run(command)
    }

    fn change(&self, name: &str, change: impl Fn(&mut Value)) {
        let file = self.folder.path().join(name);
        let mut json = read(&file);
        change(&mut json);
        fs::write(&file, json.to_string()).expect("the folder is ours");
    }
}

const BASE: [f64; 5] = [1000.0, 1010.0, 990.0, 1005.0, 995.0];

#[test]
fn a_slower_server_is_told_and_exits_4() {
    let rounds = Rounds::new();
    let slower = BASE.map(|rate| 0.95 * rate);
    let base = rounds.write("base", &BASE, 0, 1);
    let new = rounds.write("new", &slower, 30, 1);
    let report = rounds.compare(&base, &new, &["--json", "c.json"]);
    assert_eq!(report.code, Some(4), "{report}");
    let verdict = report.verdict();
    assert!(
        verdict.starts_with("SLOWER: 5 against 5 rounds, rate -5.0 % ("),
        "{report}"
    );
    assert!(report.stdout.contains("p99.9          n/a"), "{report}");
    assert!(report.stdout.contains("not in turns"), "{report}");
    let json = read(&rounds.folder.path().join("c.json"));
    assert_valid(&json);
    assert_eq!(json["is_interleaved"], false);
    // The other way round it is faster, and no reason to fail.
    let report = rounds.compare(&new, &base, &[]);
    assert_eq!(report.code, Some(0), "{report}");
    assert!(report.verdict().starts_with("FASTER: "), "{report}");
    // What is ignored is no difference, of whatever size.
    let report = rounds.compare(&base, &new, &["--ignore", "10"]);
    assert_eq!(report.code, Some(0), "{report}");
    assert!(report.verdict().starts_with("NO-DIFFERENCE: "), "{report}");
}

#[test]
fn a_page_has_the_curves_of_both_sides_and_the_changes_with_their_intervals() {
    let rounds = Rounds::new();
    let base = rounds.write("base", &BASE, 0, 1);
    let new = rounds.write("new", &BASE.map(|rate| 0.95 * rate), 30, 1);
    let curve = |factor: f64| serde_json::json!([[0.0, 5e3 * factor], [50.0, 1e4 * factor]]);
    for (place, file) in base.iter().chain(&new).enumerate() {
        rounds.change(file, |json| {
            json["latency"]["curve"] = curve([1.0, 2.0][place / base.len()]);
        });
    }
    // One round is short: the curve ends with it.
    rounds.change(&new[0], |json| {
        json["latency"]["curve"]
            .as_array_mut()
            .expect("a list")
            .pop();
    });
    let report = rounds.compare(&base, &new, &["--html", "c.html", "--json", "c.json"]);
    assert_eq!(report.code, Some(4), "{report}");
    let json = read(&rounds.folder.path().join("c.json"));
    assert_valid(&json);
    assert_eq!(json["base"]["curve"][1]["max"].as_f64(), Some(10_000.0));
    assert_eq!(json["base"]["curve"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["new"]["curve"].as_array().map(Vec::len), Some(1));
    let html = fs::read_to_string(rounds.folder.path().join("c.html")).expect("a page");
    for text in [
        "base: the typical round: 10 ms\npercentile: 50 %\n10 to 10 ms<",
        "new: the typical round: 10 ms\npercentile: 0 %",
        "class=\"band c0\"",
        "Change from base to new, with 95 % confidence",
        ">-5.0 %, worse</text>",
        ">SLOWER<",
    ] {
        assert!(html.contains(text), "no {text} in {html}");
    }
}

#[test]
fn what_slows_both_sides_in_turns_is_no_noise() {
    let rounds = Rounds::new();
    let base = [1000.0, 900.0, 810.0, 729.0, 656.0];
    let slower = base.map(|rate| 0.95 * rate);
    let base_files = rounds.write("base", &base, 0, 2);
    let in_turns = rounds.write("turns", &slower, 1, 2);
    let report = rounds.compare(&base_files, &in_turns, &[]);
    assert!(
        report.stdout.contains("in turns, compared in pairs"),
        "{report}"
    );
    assert_eq!(report.code, Some(4), "{report}");
    let afterwards = rounds.write("afterwards", &slower, 30, 2);
    let report = rounds.compare(&base_files, &afterwards, &[]);
    assert_eq!(report.code, Some(0), "{report}");
    assert!(report.verdict().starts_with("NO-DIFFERENCE: "), "{report}");
}

#[test]
fn one_file_may_hold_all_rounds_of_a_side() {
    let double = server(Fault::None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name| folder.path().join(name).to_str().map(str::to_owned);
    let [base, new, page] =
        ["base.json", "new.json", "page.html"].map(|name| path(name).expect("a plain name"));
    for file in [&base, &new] {
        let flags = ["--clients", "1", "--rounds", "3", "--json", file];
        assert_eq!(run(against(&double, &flags)).code, Some(0));
    }
    let comparison = path("comparison.json").expect("a plain name");
    let report = run(stress_test(&[
        "compare",
        &base,
        &new,
        "--json",
        &comparison,
    ]));
    // Whether they differ is the machine's business.
    assert!(matches!(report.code, Some(0 | 4 | 5)), "{report}");
    assert!(report.stdout.contains("3 against 3 rounds"), "{report}");
    assert_valid(&read(Path::new(&comparison)));
    let report = run(stress_test(&["report", &base, &comparison, "-o", &page]));
    assert_eq!(report.code, Some(0), "{report}");
    let page = fs::read_to_string(page).expect("it was written");
    assert!(
        page.contains("Rounds: base") && page.contains("Comparison: comparison"),
        "{page}"
    );
    run(stress_test(&["compare", &base, &base])).assert_complains(1, &["compared already"]);
}

#[test]
fn loads_and_machines_that_differ_are_told() {
    let rounds = Rounds::new();
    let base = rounds.write("base", &BASE, 0, 1);
    let new = rounds.write("new", &BASE, 30, 1);
    for file in &new {
        rounds.change(file, |json| {
            json["load"]["sleep_ms"] = Value::from("5");
            json["provenance"]["kernel"] = Value::from("9.9");
        });
    }
    let report = rounds.compare(&base, &new, &[]);
    assert_eq!(report.code, Some(0), "{report}");
    assert!(
        report.stdout.contains("\ndiffers     sleep_ms 1..10 | 5\n"),
        "{report}"
    );
    assert!(report.stdout.contains("\ndiffers     kernel "), "{report}");
    // Within a side they may not differ.
    rounds.change(&new[2], |json| json["load"]["clients"] = Value::from(7));
    let report = rounds.compare(&base, &new, &[]);
    report.assert_complains(1, &["new2.json", "not that of new", "clients 1 | 7"]);
}

#[test]
fn rounds_that_mean_nothing_are_not_compared() {
    let rounds = Rounds::new();
    let base = rounds.write("base", &BASE, 0, 1);
    let new = rounds.write("new", &BASE, 30, 1);
    rounds.change(&new[0], |json| {
        json["generator"]["limited"] = Value::from("busy")
    });
    let report = rounds.compare(&base, &new, &[]);
    assert_eq!(report.code, Some(5), "{report}");
    assert!(
        report.verdict().starts_with("GENERATOR-LIMITED: "),
        "{report}"
    );
    rounds.change(&new[0], |json| json["failures"]["total"] = Value::from(1));
    let report = rounds.compare(&base, &new, &[]);
    assert_eq!(report.code, Some(1), "{report}");
    assert!(report.verdict().starts_with("FAIL: "), "{report}");
    rounds.change(&new[0], |json| {
        json["verdict"] = Value::from("INTERRUPTED-CLEAN")
    });
    let report = rounds.compare(&base, &new, &[]);
    report.assert_complains(1, &["new0.json", "interrupted"]);
}

/// Such as of a server that refuses every request, which is no failure with `--retries 0`.
#[test]
fn a_side_without_an_answer_is_no_side_without_a_difference() {
    let rounds = Rounds::new();
    let base = rounds.write("base", &BASE, 0, 1);
    let new = rounds.write("new", &BASE, 30, 1);
    for file in &new {
        rounds.change(file, |json| {
            json["throughput_per_s"] = Value::from(0);
            for percentile in json["latency"]["percentiles"]
                .as_array_mut()
                .expect("a list")
            {
                percentile["us"] = Value::Null;
            }
        });
    }
    let report = rounds.compare(&base, &new, &[]);
    assert_eq!(report.code, Some(1), "{report}");
    let verdict = "FAIL: 5 against 5 rounds, a round had wrong answers or none";
    assert!(report.verdict().starts_with(verdict), "{report}");
}

/// A page or a table in the place of a measurement would be all that is left of it.
#[test]
fn no_result_that_is_read_is_written_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let double = server(Fault::None);
    let file = folder.path().join("rounds.json");
    let path = file.to_str().expect("it is text");
    let flags = ["--clients", "2", "--rounds", "3", "--json", path];
    let report = run(against(&double, &flags));
    assert_eq!(report.code, Some(0), "{report}");
    let before = fs::read_to_string(&file).expect("it was written");
    let again = folder.path().join(".").join("rounds.json");
    let again = again.to_str().expect("it is text");
    for arguments in [
        &["report", path, "-o", again][..],
        &["csv", path, "-o", again],
        &["compare", path, path, "--json", again],
        &["compare", path, path, "--html", again],
    ] {
        let text = "rounds.json is one of the results that are read";
        run(stress_test(arguments)).assert_complains(2, &[text]);
        let after = fs::read_to_string(&file).expect("it is still there");
        assert!(after == before, "{arguments:?} wrote over it");
    }
}

#[test]
fn what_cannot_be_compared_is_one_line() {
    let rounds = Rounds::new();
    let base = rounds.write("base", &BASE, 0, 1);
    let new = rounds.write("new", &BASE, 30, 1);
    let report = rounds.compare(&base[..2], &new, &[]);
    report.assert_complains(2, &["at least 3 rounds", "base has 2", "--rounds 10"]);
    let twice = [&base[..], &base[..1]].concat();
    let report = rounds.compare(&twice, &new, &[]);
    report.assert_complains(1, &["base0.json", "compared already"]);
    let report = rounds.compare(&base, &new, &["--ignore", "101"]);
    report.assert_complains(2, &["--ignore", "0 to 100"]);
    let report = rounds.compare(&base, &new, &["--html", "-"]);
    report.assert_complains(2, &["--html", "stdout", "needs a file"]);
    let report = rounds.compare(&base, &new, &["--quiet", "--html", "none/c.html"]);
    assert_eq!(report.code, Some(1), "{report}");
    assert!(
        report.stderr.contains("none/c.html: cannot write it"),
        "{report}"
    );
    fs::write(rounds.folder.path().join("none.json"), "{}").expect("the folder is ours");
    let report = rounds.compare(&base, &["none.json".to_owned()], &[]);
    report.assert_complains(1, &["none.json", "not a result of stress_test"]);
    run(stress_test(&["compare", "one.json"])).assert_complains(2, &["2"]);
    run(stress_test(&["compare"])).assert_complains(2, &["<BASE> <NEW>"]);
}
