//! Comma-separated values of what `--json` wrote.
//!
//! Knows columns by their names.
//!
//! Rule: what stands in a cell stands in the JSON too.

use std::fs;
use std::process::{Command, Stdio};

use stress_test::Fault;

use crate::support::{Report, against, run, server, stress_test};

/// The cells of a table, each row by the names of its columns. No cell in these tests has a comma.
struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(|line| {
            let cells: Vec<String> = line.split(',').map(str::to_owned).collect();
            cells
        });
        let table = Self {
            head: lines.next().expect("a head"),
            rows: lines.collect(),
        };
        let are_whole = table.rows.iter().all(|row| row.len() == table.head.len());
        assert!(are_whole, "{text}");
        table
    }

    fn column(&self, name: &str) -> Vec<&str> {
        let place = self.head.iter().position(|column| column == name);
        let place = place.unwrap_or_else(|| panic!("no {name} in {:?}", self.head));
        self.rows.iter().map(|row| row[place].as_str()).collect()
    }
}

/// A folder with the results of a run, of two rounds and of a ramp.
fn folder() -> tempfile::TempDir {
    let double = server(Fault::None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let make = |mut command: Command, flags: &[&str]| {
        command.args(flags).current_dir(folder.path());
        let report = run(command);
        assert!(matches!(report.code, Some(0 | 4 | 5)), "{report}");
    };
    let flags = ["--clients", "2", "--seed", "5"];
    make(against(&double, &flags), &["--json", "run.json"]);
    make(
        against(&double, &flags),
        &["--rounds", "2", "--json", "rounds.json"],
    );
    let port = double.address().port().to_string();
    let limits = [
        "--max-line",
        "2000",
        "--duration",
        "0.5",
        "--warmup",
        "0",
        "--clients",
        "1",
    ];
    let ramp = ["ramp", "--port", &port, "--start", "50", "--max-rate", "50"];
    let more = [
        "--precision",
        "100",
        "--max-clients",
        "1",
        "--slo",
        "busy<1%",
        "--json",
        "ramp.json",
    ];
    make(stress_test(&[&ramp[..], &limits].concat()), &more);
    folder
}

fn csv(folder: &tempfile::TempDir, flags: &[&str]) -> Report {
    let mut command = stress_test(&["csv"]);
    command.args(flags).current_dir(folder.path());
    run(command)
}

#[test]
fn a_row_stands_for_each_run_and_for_each_interval() {
    let folder = folder();
    let report = csv(&folder, &["run.json", "rounds.json", "ramp.json"]);
    assert_eq!(report.code, Some(0), "{report}");
    let table = Table::parse(&report.stdout);
    let files = ["run.json", "rounds.json", "rounds.json", "ramp.json"];
    assert_eq!(table.column("file"), files);
    assert_eq!(table.column("place"), ["1", "1", "2", "1"]);
    assert_eq!(table.column("kind"), ["run", "run", "run", "step"]);
    assert_eq!(table.column("seed")[..3], ["5", "5", "6"]);
    assert_eq!(table.column("ok")[..3], ["200", "200", "200"]);
    assert_eq!(table.column("offered_per_s"), ["", "", "", "50"]);
    // Of 200 answers p90 is known, and p99 is not.
    assert!(!table.column("latency_p90_us")[0].is_empty(), "{report}");
    assert_eq!(table.column("latency_p99_us")[0], "", "{report}");
    let report = csv(&folder, &["--intervals", "rounds.json"]);
    let table = Table::parse(&report.stdout);
    for place in ["1", "2"] {
        let places = table.column("place").into_iter();
        let answers = places.zip(table.column("answers"));
        let answers = answers.filter(|(of, _)| *of == place);
        let answers = answers.map(|(_, count)| count.parse::<u32>().expect("a number"));
        assert_eq!(answers.sum::<u32>(), 200, "{report}");
    }
}

/// 400 requests are needed to see a rate that is a fifth too high.
#[test]
fn a_step_of_a_ramp_has_the_length_that_it_had() {
    let double = server(Fault::None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = double.address().port().to_string();
    let rates = ["--start", "400", "--max-rate", "400", "--precision", "20"];
    let flags = [&["ramp", "--port", &port, "--max-line", "2000"], &rates[..]].concat();
    let more = ["--duration", "0.5", "--warmup", "0", "--slo", "busy<1%"];
    let mut command = stress_test(&[&flags[..], &more, &["--json", "ramp.json"]].concat());
    command.current_dir(folder.path());
    let report = run(command);
    assert!(
        report.stdout.contains(": steps of 1.0 to 1.0 s\n"),
        "{report}"
    );
    let table = Table::parse(&csv(&folder, &["ramp.json"]).stdout);
    assert_eq!(table.column("duration_s"), ["1"]);
}

#[test]
fn a_table_may_come_from_stdin_and_go_to_a_file() {
    let folder = folder();
    let direct = csv(&folder, &["run.json"]).stdout;
    let mut command = stress_test(&["csv", "-", "-o", "run.csv"]);
    let input = fs::File::open(folder.path().join("run.json")).expect("it was written");
    command.current_dir(folder.path()).stdin(Stdio::from(input));
    let report = run(command);
    assert_eq!(
        (report.code, report.stdout.as_str()),
        (Some(0), ""),
        "{report}"
    );
    let written = fs::read_to_string(folder.path().join("run.csv")).expect("it was written");
    assert_eq!(written.replace("\n-,", "\nrun.json,"), direct);
    let report = csv(&folder, &["run.json", "-o", "-"]);
    assert_eq!(report.stdout, direct, "{report}");
    assert!(!folder.path().join("-").exists(), "it is no file");
}

#[test]
fn what_has_no_rows_is_one_line() {
    let folder = folder();
    let report = csv(&folder, &["--intervals", "ramp.json"]);
    report.assert_complains(1, &["ramp.json", "only runs and rounds"]);
    let report = csv(&folder, &["nothing.json"]);
    report.assert_complains(1, &["nothing.json", "cannot read it"]);
    let report = csv(&folder, &["run.json", "-o", "no/such/folder.csv"]);
    report.assert_complains(1, &["no/such/folder.csv", "cannot write it"]);
    csv(&folder, &[]).assert_complains(2, &["<FILE>"]);
}
