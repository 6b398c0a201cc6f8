//! Results as comma-separated values, for spreadsheets and data frames.
//!
//! Knows which figure has which column; commas and quotes are the crate's.
//!
//! Rule: every kind of row has all columns. A cell is empty where there is no such figure.

use std::collections::BTreeMap;

use csv::Writer;

use crate::figures::distribution::{Distribution, PERCENTILES};
use crate::figures::load::LoadFigures;
use crate::figures::provenance::Provenance;
use crate::figures::ramp::{RampResult, RampStep};
use crate::figures::results::{LedgerFigures, RunResult};
use crate::figures::saved::Saved;
use crate::figures::stages::StageFigures;
use crate::figures::sweep::{CellFigures, Spread, SweepResult};

/// The columns of a row that stands for a run. Those of percentiles follow.
const RUN_COLUMNS: [&str; 33] = [
    "file",
    "kind",
    "place",
    "stage",
    "started",
    "version",
    "host",
    "target",
    "verdict",
    "loop",
    "clients",
    "offered_per_s",
    "duration_s",
    "warmup_s",
    "max_inflight",
    "mix",
    "payload",
    "sleep_ms",
    "workers",
    "queue",
    "seed",
    "elapsed_s",
    "answers_per_s",
    "planned",
    "unsent",
    "ok",
    "expected_errors",
    "busy",
    "wrong",
    "missing",
    "lost",
    "failures",
    "generator_cpu_percent",
];
/// The distributions that have columns.
const TIMES: [&str; 2] = ["latency", "service"];
/// The columns of a row that stands for a slice of a run.
const SLICE_COLUMNS: [&str; 11] = [
    "file",
    "place",
    "begin_s",
    "end_s",
    "answers",
    "answers_per_s",
    "busy",
    "p50_us",
    "p99_us",
    "max_us",
    "due_max_us",
];

/// The cells of a row by their columns.
type Row = BTreeMap<String, String>;

/// A row for each run, round, step of a ramp and cell of a sweep in `files`, which are names and
/// what was read. Behind a run of several stages each of them has one, too. An error says which
/// file has none.
pub(crate) fn of_runs(files: &[(String, Saved)]) -> Result<Vec<u8>, String> {
    let mut columns: Vec<String> = RUN_COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    for times in TIMES {
        columns.extend(time_cells(times, None).into_iter().map(|(name, _)| name));
    }
    let mut rows = Vec::new();
    for (name, saved) in files {
        let from = rows.len();
        match saved {
            Saved::Run(run) => rows.extend(run_rows(run)),
            Saved::Rounds(rounds) => rows.extend(rounds.rounds.iter().flat_map(run_rows)),
            Saved::Ramp(ramp) => rows.extend(ramp.steps.iter().map(|step| step_row(ramp, step))),
            Saved::Sweep(sweep) => {
                rows.extend(sweep.cells.iter().map(|cell| cell_row(sweep, cell)))
            }
            Saved::Comparison(_) => return Err(format!("{name}: a comparison holds no run")),
        }
        name_rows(&mut rows[from..], name);
    }
    Ok(write(&columns, &rows))
}

/// A row for each slice of each run and round in `files`. An error says which file has none.
pub(crate) fn of_slices(files: &[(String, Saved)]) -> Result<Vec<u8>, String> {
    let columns: Vec<String> = SLICE_COLUMNS
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    let mut rows = Vec::new();
    for (name, saved) in files {
        let runs: Vec<&RunResult> = match saved {
            Saved::Run(run) => vec![run],
            Saved::Rounds(rounds) => rounds.rounds.iter().collect(),
            _ => return Err(format!("{name}: only runs and rounds have intervals")),
        };
        for (place, run) in (1..).zip(runs) {
            for mut row in slice_rows(run) {
                row.insert("file".to_owned(), name.clone());
                row.insert("place".to_owned(), i32::to_string(&place));
                rows.push(row);
            }
        }
    }
    Ok(write(&columns, &rows))
}

fn write(columns: &[String], rows: &[Row]) -> Vec<u8> {
    let mut writer = Writer::from_writer(Vec::new());
    let empty = String::new();
    let records = rows.iter().map(|row| {
        let known = |name| columns.contains(name);
        assert!(row.keys().all(known), "every cell has its column: {row:?}");
        columns
            .iter()
            .map(|name| row.get(name).unwrap_or(&empty))
            .collect()
    });
    let head: Vec<&String> = columns.iter().collect();
    for record in std::iter::once(head).chain(records) {
        writer
            .write_record(record)
            .expect("all have the same columns, and a Vec takes them");
    }
    writer.into_inner().expect("a Vec takes it all")
}

fn name_rows(rows: &mut [Row], file: &str) {
    let mut place = 0;
    for row in rows {
        // A stage has the place of its run.
        place += i32::from(!row.contains_key("stage"));
        row.insert("file".to_owned(), file.to_owned());
        row.insert("place".to_owned(), i32::to_string(&place));
    }
}

fn row(cells: impl IntoIterator<Item = (&'static str, String)>) -> Row {
    let named = cells
        .into_iter()
        .map(|(name, cell)| (name.to_owned(), cell));
    named.collect()
}

fn cell<T: ToString>(figure: Option<T>) -> String {
    figure.map_or_else(String::new, |figure| figure.to_string())
}

fn run_rows(run: &RunResult) -> Vec<Row> {
    let stages = (1..).zip(run.load.stages.iter().zip(&run.stages));
    let stages = stages.map(|(number, (load, stage))| {
        let mut cells = stage_row(run, stage);
        cells.extend(row([
            ("stage", i32::to_string(&number)),
            ("duration_s", load.duration_s.to_string()),
        ]));
        cells
    });
    std::iter::once(run_row(run)).chain(stages).collect()
}

/// What of a run's row is the stage's. The other cells are empty, so that no sum counts twice.
fn stage_row(run: &RunResult, stage: &StageFigures) -> Row {
    let load = &run.load;
    let mut cells = row([
        ("kind", "stage".to_owned()),
        ("target", run.target.clone()),
        ("loop", load.r#loop.clone()),
        ("mix", load.mix.clone()),
        ("seed", load.seed.to_string()),
        ("offered_per_s", stage.offered_per_s.to_string()),
        ("answers_per_s", cell(stage.throughput_per_s)),
    ]);
    cells.extend(time_cells(TIMES[0], Some(&stage.latency)));
    cells
}

fn run_row(run: &RunResult) -> Row {
    let mut cells = row([
        ("kind", run.kind.clone()),
        ("target", run.target.clone()),
        ("verdict", run.verdict.to_string()),
        ("elapsed_s", run.elapsed_s.to_string()),
        ("answers_per_s", run.throughput_per_s.to_string()),
        ("failures", run.failures.total.to_string()),
        ("generator_cpu_percent", cell(run.generator.cpu_percent)),
    ]);
    cells.extend(load_cells(&run.load));
    cells.extend(provenance_cells(run.provenance.as_ref()));
    cells.extend(ledger_cells(&run.ledger));
    for (name, times) in TIMES.into_iter().zip([&run.latency, &run.service]) {
        cells.extend(time_cells(name, Some(times)));
    }
    cells
}

fn step_row(ramp: &RampResult, step: &RampStep) -> Row {
    let verdict = if step.holds { "holds" } else { "broken" };
    let mut cells = load_cells(&ramp.load);
    cells.extend(provenance_cells(ramp.provenance.as_ref()));
    cells.extend(row([
        ("kind", "step".to_owned()),
        ("target", ramp.target.clone()),
        ("verdict", verdict.to_owned()),
        ("offered_per_s", step.rate_per_s.to_string()),
        ("duration_s", cell(step.duration_s)),
        ("answers_per_s", step.throughput_per_s.to_string()),
        ("unsent", step.unsent.to_string()),
    ]));
    for (name, times) in TIMES.into_iter().zip([&step.latency, &step.service]) {
        cells.extend(time_cells(name, Some(times)));
    }
    cells
}

fn cell_row(sweep: &SweepResult, figures: &CellFigures) -> Row {
    let median = |spread: Option<Spread>| cell(spread.map(|spread| spread.median));
    let mut cells = provenance_cells(sweep.provenance.as_ref());
    cells.extend(row([
        ("kind", "cell".to_owned()),
        ("loop", "closed".to_owned()),
        ("clients", figures.clients.to_string()),
        ("duration_s", sweep.duration_s.to_string()),
        ("warmup_s", sweep.warmup_s.to_string()),
        ("max_inflight", sweep.max_inflight.to_string()),
        ("mix", figures.mix.clone()),
        ("payload", sweep.payload.clone()),
        ("sleep_ms", sweep.sleep_ms.clone()),
        ("workers", figures.workers.to_string()),
        ("queue", figures.queue.to_string()),
        ("seed", sweep.seed.to_string()),
        ("answers_per_s", figures.throughput_per_s.median.to_string()),
        ("failures", figures.failures.to_string()),
        (
            "generator_cpu_percent",
            median(figures.generator_cpu_percent),
        ),
    ]));
    cells.insert("latency_p50_us".to_owned(), median(figures.p50_us));
    cells.insert("latency_p99_us".to_owned(), median(figures.p99_us));
    cells
}

fn load_cells(load: &LoadFigures) -> Row {
    row([
        ("loop", load.r#loop.clone()),
        ("clients", load.clients.to_string()),
        ("offered_per_s", cell(load.rate_per_s)),
        ("duration_s", cell(load.duration_s)),
        ("warmup_s", load.warmup_s.to_string()),
        ("max_inflight", load.max_inflight.to_string()),
        ("mix", load.mix.clone()),
        ("payload", load.payload.clone()),
        ("sleep_ms", load.sleep_ms.clone()),
        ("seed", load.seed.to_string()),
    ])
}

fn provenance_cells(provenance: Option<&Provenance>) -> Row {
    let text = |of: fn(&Provenance) -> &String| cell(provenance.map(of));
    row([
        ("started", text(|from| &from.started)),
        ("version", text(|from| &from.version)),
        ("host", text(|from| &from.host)),
    ])
}

fn ledger_cells(ledger: &LedgerFigures) -> Row {
    row([
        ("planned", ledger.planned.to_string()),
        ("unsent", ledger.unsent.to_string()),
        ("ok", ledger.ok.to_string()),
        ("expected_errors", ledger.expected_errors.to_string()),
        ("busy", ledger.busy.to_string()),
        ("wrong", ledger.wrong.to_string()),
        ("missing", ledger.missing.to_string()),
        ("lost", ledger.lost.to_string()),
    ])
}

/// The columns of the distribution `name`, in their order.
fn time_cells(name: &str, times: Option<&Distribution>) -> Vec<(String, String)> {
    let figure = |of: fn(&Distribution) -> Option<f64>| cell(times.and_then(of));
    let mut cells = vec![
        (
            format!("{name}_count"),
            cell(times.map(|times| times.count)),
        ),
        (format!("{name}_min_us"), figure(|times| times.min_us)),
        (format!("{name}_mean_us"), figure(|times| times.mean_us)),
    ];
    for percent in PERCENTILES {
        let value = times.and_then(|times| times.us(percent));
        cells.push((format!("{name}_p{percent}_us"), cell(value)));
    }
    cells.push((format!("{name}_max_us"), figure(|times| times.max_us)));
    cells
}

fn slice_rows(run: &RunResult) -> Vec<Row> {
    let length_ms = run.timeline.slice_ms as f64;
    // Whole milliseconds are divided last: 0.3 has no 0.30000000000000004.
    let at = |place: u32| f64::from(place) * length_ms / 1000.0;
    let slices = (0..).zip(&run.timeline.slices);
    let rows = slices.map(|(place, slice)| {
        let rate = slice.answers as f64 * 1000.0 / length_ms;
        row([
            ("begin_s", at(place).to_string()),
            ("end_s", at(place + 1).to_string()),
            ("answers", slice.answers.to_string()),
            ("answers_per_s", rate.to_string()),
            ("busy", slice.busy.to_string()),
            ("p50_us", cell(slice.p50_us)),
            ("p99_us", cell(slice.p99_us)),
            ("max_us", cell(slice.max_us)),
            ("due_max_us", cell(slice.due_max_us)),
        ])
    });
    rows.collect()
}
