//! The seeded simulation: the reactor of production lives through millions of random steps on a
//! simulated network, and an oracle written from docs/protocol.md compares each.
//!
//! Knows the library's public parts and the command's operations; no sockets, no threads, no real
//! time.
//!
//! Rule: one seed, one run. A failing run says `SIM_SEED=…`, and that replays it exactly.
//!
//! `cargo test --test simulation` makes a million steps. `SIM_SEED=n` runs that seed alone,
//! `SIM_SEEDS=n` and `SIM_STEPS=n` say how many runs are made and how many random steps each has,
//! `SIM_FIRST=n` with which seed they begin.

#[path = "simulation/answers.rs"]
mod answers;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/framing.rs"]
mod framing;
#[path = "simulation/header.rs"]
mod header;
// The operations of the command, which no library has.
#[path = "../src/command/operations.rs"]
mod operations;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/settings.rs"]
mod settings;
#[path = "simulation/socket.rs"]
mod socket;
#[path = "simulation/world.rs"]
mod world;

use settings::Counts;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;
use world::{Life, Summary, Trace};

const SEEDS: u64 = 1500;
const STEPS: u64 = 700;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// One run; a failed one is repeated to print its last steps.
fn run(seed: u64, steps: u64, steps_before: u64) -> Summary {
    let live = |trace: Trace| catch_unwind(AssertUnwindSafe(|| Life::new(seed, trace).run(steps)));
    let failure = match live(None) {
        Ok(summary) => return summary,
        Err(failure) => failure,
    };
    let lines = Rc::new(RefCell::new(VecDeque::new()));
    let again = live(Some(Rc::clone(&lines)));
    for line in lines.borrow().iter() {
        eprintln!("{line}");
    }
    eprintln!("failed after {steps_before} steps of other seeds; to repeat it:");
    eprintln!("SIM_SEED={seed} SIM_STEPS={steps} cargo test --test simulation");
    assert!(
        again.is_err(),
        "the second run of seed {seed} did not fail: it is not deterministic"
    );
    std::panic::resume_unwind(failure)
}

#[test]
fn every_promise_holds_at_every_step_of_random_lives() {
    let steps = number("SIM_STEPS").unwrap_or(STEPS);
    let (first, seeds) = match number("SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (
            number("SIM_FIRST").unwrap_or(1),
            number("SIM_SEEDS").unwrap_or(SEEDS),
        ),
    };
    let (start, mut all, mut counts) = (Instant::now(), 0, Counts::default());
    for seed in first..first + seeds {
        let summary = run(seed, steps, all);
        all += summary.steps;
        counts.add(&summary.counts);
    }
    println!(
        "{seeds} seeds, {all} steps, {:?}: {counts:?}",
        start.elapsed()
    );
    if seeds >= SEEDS && steps >= STEPS {
        assert_eq!(counts.missing(), [""; 0], "these have never happened");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let lives = || {
        let lines = Rc::new(RefCell::new(VecDeque::new()));
        Life::new(7, Some(Rc::clone(&lines))).run(2000);
        lines.take()
    };
    assert_eq!(lives(), lives());
}
