//! The sweep: every combination of pool size, workload, clients and queue, several times.
//!
//! Knows the order of the runs and how a server is started for each; no figures.
//!
//! Rule: the rounds are shuffled, each on its own, so that what changes on the machine meanwhile
//! falls on all cells alike; what has been measured is kept, whatever comes.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook_mio::v1_0::Signals;

use crate::check::failure::Failures;
use crate::command::cli::SweepArguments;
use crate::command::exit;
use crate::command::process;
use crate::command::run::{self, Refusal, Target};
use crate::command::spawn::Options;
use crate::draws::Draws;
use crate::figures::outcome::Ended;
use crate::figures::results::{RunResult, Verdict};
use crate::figures::sweep::{Cell, CellFigures, Round, SweepResult};
use crate::load::plan::{Plan, Requests};
use crate::output;
use crate::output::progress::Progress;

/// Runs the sweep, and returns the exit code.
pub(crate) fn sweep(arguments: &SweepArguments) -> anyhow::Result<Result<u8, Refusal>> {
    let plan = match arguments.plan() {
        Ok(plan) => plan,
        Err(text) => return Ok(Err(run::usage(text))),
    };
    let series = &arguments.series;
    let json = match series.json.as_deref().map(run::create).transpose() {
        Ok(json) => json,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut signals = run::catch_signals()?;
    let mut sweep = Sweep::new(arguments, plan);
    let ended = match sweep.measure_all(&mut signals)? {
        Ok(ended) => ended,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let result = sweep.into_result(&ended);
    let mut out = io::stdout().lock();
    output::sweep::write(&mut out, &result, series.output.quiet)
        .and_then(|()| out.flush())
        .context("cannot write the table")?;
    if let Some(file) = json {
        run::write_json(file, &result)?;
    }
    Ok(Ok(result.exit_code))
}

/// Whether all of it was measured.
enum Sweeping {
    Finished,
    Interrupted,
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

    fn measure_all(&mut self, signals: &mut Signals) -> anyhow::Result<Result<Sweeping, Refusal>> {
        let order = order(self.cells.len(), self.arguments.rounds, self.plan.seed);
        let mut progress = Progress::new(self.arguments.series.output.quiet);
        let began = Instant::now();
        for (done, &place) in order.iter().enumerate() {
            let left = order.len() - done;
            let share = done as f64 / order.len() as f64;
            let seconds = self.seconds_left(done, left, began.elapsed());
            let Cell {
                mix,
                workers,
                clients,
                queue,
            } = self.cells[place];
            let text = format!(
                "{seconds:.0} s left: {mix}, {workers} workers, {clients} clients, queue {queue}"
            );
            progress.step(share, text);
            match self.measure(place, signals)? {
                Ok(Some(round)) => self.rounds[place].push(round),
                Ok(None) => {
                    progress.finish();
                    return Ok(Ok(Sweeping::Interrupted));
                }
                Err(refusal) if refusal.code == exit::INTERRUPTED => {
                    progress.finish();
                    return Ok(Ok(Sweeping::Interrupted));
                }
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        progress.finish();
        Ok(Ok(Sweeping::Finished))
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

    /// One round of one cell, unless it was interrupted.
    fn measure(
        &self,
        place: usize,
        signals: &mut Signals,
    ) -> anyhow::Result<Result<Option<Round>, Refusal>> {
        let cell = self.cells[place];
        let (load, more) = (&self.arguments.series.load, &self.arguments.server_arg);
        let options = Options {
            arguments: load.server_arguments(Some(cell.workers), Some(cell.queue), more),
            show_log: self.arguments.series.output.verbose,
        };
        let target = match run::spawn(&options, signals) {
            Ok(target) => target,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.measure_target(cell, target, signals)
    }

    fn measure_target(
        &self,
        cell: Cell,
        target: Target,
        signals: &mut Signals,
    ) -> anyhow::Result<Result<Option<Round>, Refusal>> {
        let plan = Plan {
            clients: cell.clients,
            requests: Requests::all_of(cell.mix),
            ..self.plan.clone()
        };
        let id = target.server.as_ref().map(|server| server.id());
        let cpu = || id.and_then(process::processor_time);
        let (before, began) = (cpu(), Instant::now());
        let failures = Failures::new(self.arguments.series.output.verbose);
        let (address, mut quiet) = (target.address, Progress::Quiet);
        let mut outcome = run::measure(&plan, address, signals, failures, &mut quiet)?;
        let elapsed = began.elapsed();
        let used = cpu().zip(before).map(|(after, before)| after - before);
        let memory = id.and_then(process::peak_memory_bytes);
        if let Some(server) = target.server {
            run::stop(server, &mut outcome)?;
        }
        match &outcome.ended {
            Ended::Interrupted => return Ok(Ok(None)),
            Ended::NothingListening(cause) => {
                return Ok(Err(run::nothing_listening(&target.name, cause)));
            }
            Ended::Finished => {}
        }
        let percent = used.map(|used| 100.0 * used.as_secs_f64() / elapsed.as_secs_f64().max(1e-6));
        Ok(Ok(Some(Round {
            result: RunResult::of(&plan, &target.name, &outcome),
            server_cpu_percent: percent,
            server_memory_bytes: memory,
        })))
    }

    fn into_result(self, ended: &Sweeping) -> SweepResult {
        let cells = self.cells.iter().zip(&self.rounds);
        let figures = cells.filter_map(|(&cell, rounds)| CellFigures::of(cell, &self.plan, rounds));
        let mut result = SweepResult::new(&self.plan, self.arguments.rounds, figures.collect());
        (result.verdict, result.exit_code) = match (ended, result.verdict) {
            (Sweeping::Finished, Verdict::Pass) => (Verdict::Pass, exit::PASS),
            (Sweeping::Finished, _) => (Verdict::Fail, exit::FAIL),
            (Sweeping::Interrupted, Verdict::Pass) => {
                (Verdict::InterruptedClean, exit::INTERRUPTED)
            }
            (Sweeping::Interrupted, _) => (Verdict::InterruptedFailing, exit::FAIL),
        };
        result
    }
}

/// Each of `cells` places once per round, each round shuffled (Fisher and Yates).
fn order(cells: usize, rounds: u32, seed: u64) -> Vec<usize> {
    let mut order = Vec::new();
    for round in 0..rounds {
        let mut draws = Draws::of(seed, u32::MAX - 1, round);
        let mut places: Vec<usize> = (0..cells).collect();
        for last in (1..places.len()).rev() {
            let other = draws.below(last as u64 + 1) as usize;
            places.swap(last, other);
        }
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
