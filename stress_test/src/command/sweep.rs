//! The sweep: every combination of pool size, workload, clients and queue, several times.
//!
//! Knows the order of the runs and how a server is started for each; no figures.
//!
//! Rule: the rounds are shuffled, each on its own, so that what changes on the machine meanwhile
//! falls on all cells alike; what has been measured is kept, whatever comes.

use std::time::{Duration, Instant, SystemTime};

use signal_hook_mio::v1_0::Signals;

use crate::command::cli::SweepArguments;
use crate::command::error::Error;
use crate::command::exit;
use crate::command::measure::{catch_signals, measure};
use crate::command::meter::Meter;
use crate::command::process;
use crate::command::provenance;
use crate::command::publish::{create, publish};
use crate::command::series::End;
use crate::command::spawn::{Options, SpawnedServer};
use crate::command::target::Target;
use crate::figures::outcome::Ended;
use crate::figures::results::{RunResult, Verdict};
use crate::figures::sweep::{Cell, CellFigures, Round, SweepResult};
use crate::load::plan::{Plan, Requests};
use crate::output;
use crate::output::progress::Progress;
use crate::random;

/// Runs the sweep, and returns the exit code.
pub(crate) fn sweep(arguments: &SweepArguments) -> Result<u8, Error> {
    let plan = arguments.plan().map_err(Error::Usage)?;
    let series = &arguments.series;
    let json = create(series.json.as_deref())?;
    let mut signals = catch_signals()?;
    let started = SystemTime::now();
    let mut sweep = Sweep::new(arguments, plan);
    let came_to = sweep.measure_all(&mut signals);
    let have_results = sweep.rounds.iter().any(|rounds| !rounds.is_empty());
    let end = End::of(came_to, have_results)?;
    let mut result = sweep.into_result(&end);
    result.provenance = Some(provenance::since(started));
    publish(&result, json, "table", |out| {
        output::sweep::write(out, &result, series.output.quiet)
    })?;
    end.exit(result.exit_code)
}

struct Sweep<'a> {
    arguments: &'a SweepArguments,
    plan: Plan,
    cells: Vec<Cell>,
    /// For each cell.
    rounds: Vec<Vec<Round>>,
}

impl<'a> Sweep<'a> {
    fn new(arguments: &'a SweepArguments, plan: Plan) -> Self {
        let mut cells = Vec::new();
        for &mix in &arguments.mix {
            for &clients in &arguments.clients {
                for &queue in &arguments.queue {
                    for &workers in &arguments.workers {
                        let cell = Cell {
                            mix,
                            workers,
                            clients,
                            queue,
                        };
                        if !cells.contains(&cell) {
                            cells.push(cell);
                        }
                    }
                }
            }
        }
        Self {
            arguments,
            plan,
            rounds: cells.iter().map(|_| Vec::new()).collect(),
            cells,
        }
    }

    fn measure_all(&mut self, signals: &mut Signals) -> Result<(), Error> {
        let order = order(self.cells.len(), self.arguments.rounds, self.plan.seed);
        let mut progress = Progress::new(self.arguments.series.output.quiet);
        let began = Instant::now();
        for (done, &place) in order.iter().enumerate() {
            let left = order.len() - done;
            let share = done as f64 / order.len() as f64;
            let seconds = self.seconds_left(done, left, began.elapsed());
            let cell = self.cells[place];
            progress.step(share, format!("{seconds:.0} s left: {cell}"));
            let round = self.measure(cell, signals)?;
            self.rounds[place].push(round);
        }
        Ok(())
    }

    /// How long the `left` runs will take, going by the `done` ones.
    fn seconds_left(&self, done: usize, left: usize, elapsed: Duration) -> f64 {
        let each = if done > 0 {
            elapsed.as_secs_f64() / done as f64
        } else {
            self.arguments.duration.as_secs_f64()
        };
        each * left as f64
    }

    /// One round of one cell.
    fn measure(&self, cell: Cell, signals: &mut Signals) -> Result<Round, Error> {
        let series = &self.arguments.series;
        let (workers, queue) = (Some(cell.workers), Some(cell.queue));
        let more = &self.arguments.server_arg;
        let options = Options {
            arguments: series
                .load
                .server_arguments(workers, queue, cell.clients, more),
            show_log: series.output.verbose,
        };
        let plan = Plan {
            clients: cell.clients,
            most_clients: cell.clients,
            requests: Requests::all_of(cell.mix),
            ..self.plan.clone()
        };
        let target = Target::spawn(&options, signals)?;
        let (name, id) = (
            target.name.clone(),
            target.server.as_ref().map(SpawnedServer::id),
        );
        let meter = id.map(Meter::start);
        let (verbose, quiet) = (series.output.verbose, Progress::Quiet);
        let outcome = measure(&plan, &target, signals, verbose, quiet);
        let readings = meter.map(Meter::stop).unwrap_or_default();
        let mut outcome = outcome?;
        let window = outcome.ledger.window();
        let until = window.until.unwrap_or_else(Instant::now);
        let server_memory_bytes = id.and_then(process::peak_memory_bytes);
        target.stop(&mut outcome)?;
        if let Ended::Interrupted(_) = outcome.ended {
            return Err(Error::Interrupted);
        }
        Ok(Round {
            result: RunResult::of(&plan, &name, &outcome),
            server_cpu_percent: readings.percent(window.from, until),
            server_memory_bytes,
        })
    }

    fn into_result(self, end: &End) -> SweepResult {
        let cells = self.cells.iter().zip(&self.rounds);
        let figures = cells.filter_map(|(&cell, rounds)| CellFigures::of(cell, &self.plan, rounds));
        let mut result = SweepResult::new(&self.plan, self.arguments.rounds, figures.collect());
        let is_failing = result.verdict != Verdict::Pass;
        let complete = if is_failing { exit::FAIL } else { exit::PASS };
        let cut_short = end.cut_short(is_failing);
        (result.verdict, result.exit_code) = cut_short.unwrap_or((result.verdict, complete));
        result
    }
}

/// Each of `cells` places once per round, each round shuffled.
fn order(cells: usize, rounds: u32, seed: u64) -> Vec<usize> {
    let mut order = Vec::new();
    for round in 0..rounds {
        let mut places: Vec<usize> = (0..cells).collect();
        random::of(seed, u32::MAX - 1, round).shuffle(&mut places);
        order.extend(places);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_cell_once_in_an_order_of_its_own() {
        let order = order(20, 3, 7);
        let rounds: Vec<&[usize]> = order.chunks(20).collect();
        assert_eq!(rounds.len(), 3);
        for round in &rounds {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        }
        assert!(rounds[0] != rounds[1] && rounds[1] != rounds[2]);
    }
}
