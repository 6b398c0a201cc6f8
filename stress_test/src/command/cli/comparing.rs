//! The flags of the commands that read what others wrote: compare and csv.
//!
//! Knows clap and the ranges; does nothing.
//!
//! Rule: a file is named, or is one of several behind one flag; nothing is guessed from its name.

use std::path::PathBuf;

use clap::Args;

use super::values::{file, percent};

const COMPARE_HELP: &str = "\
A round is one observation, whatever number of requests it had. So each side takes several: --rounds
of a run makes one file of them, and one file may hold one round. At least 3 a side are needed; 10
find a change of 5 % where rounds differ by 1 %.

Measure the sides in turns, so that what else happens on the machine falls on both alike:

    for i in 1 2 3 4 5 6 7 8 9 10; do
        stress_test --port 9001 --duration 5 --warmup 1 --json base$i.json
        stress_test --port 9002 --duration 5 --warmup 1 --json new$i.json
    done
    stress_test compare --base base*.json --new new*.json

Rounds in turns are compared in pairs, others as two series; the times in the files say which it
is. Rate, p50, p99 and p99.9 are compared, as far as every round has them, and all intervals
together hold with 95 % confidence. A figure differs if its whole interval lies beyond --ignore.

Exit codes:
    0  FASTER or NO-DIFFERENCE
    1  FAIL: a round had wrong answers or none, or a file cannot be used
    2  a flag is wrong, or there are too few rounds
    4  SLOWER, or MIXED: better in one figure and worse in another
    5  no difference, but the generator was the limit, so there may be one";

/// The flags of a comparison.
#[derive(Debug, Args)]
#[command(after_help = COMPARE_HELP)]
pub(crate) struct CompareArguments {
    /// What --json of a run wrote: the base and the new one
    #[arg(num_args = 2, value_names = ["BASE", "NEW"], value_parser = file,
        required_unless_present = "base", conflicts_with_all = ["base", "new"])]
    pub(crate) files: Vec<PathBuf>,

    /// The files of the base, where there are several
    #[arg(long, num_args = 1.., value_name = "FILE", value_parser = file, requires = "new")]
    pub(crate) base: Vec<PathBuf>,

    /// The files of the new side
    #[arg(long, num_args = 1.., value_name = "FILE", value_parser = file, requires = "base")]
    pub(crate) new: Vec<PathBuf>,

    /// Changes of at most this many percent are no difference, 0 to 100
    #[arg(long, default_value = "1", value_name = "PERCENT", value_parser = percent)]
    pub(crate) ignore: f64,

    /// Writes the comparison into this file, in the format of docs/stress_test.schema.json
    #[arg(long, value_name = "FILE", value_parser = file)]
    pub(crate) json: Option<PathBuf>,

    /// Writes a page into this file: the percentiles of both sides on one axis, and the changes
    /// with their intervals
    #[arg(long, value_name = "FILE", value_parser = file)]
    pub(crate) html: Option<PathBuf>,

    /// Prints the verdict only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl CompareArguments {
    /// The files of the base and of the new side.
    pub(crate) fn sides(&self) -> [&[PathBuf]; 2] {
        match self.files.as_slice() {
            [base, new] => [std::slice::from_ref(base), std::slice::from_ref(new)],
            _ => [&self.base, &self.new],
        }
    }
}

/// The flags of a table.
#[derive(Debug, Args)]
pub(crate) struct CsvArguments {
    /// What --json of a run, sweep or ramp wrote, one or more; - is stdin
    #[arg(required = true, value_name = "FILE", value_parser = file)]
    pub(crate) files: Vec<PathBuf>,

    /// A row for each interval of each run, with its answers and latencies, instead of one for
    /// each run, round, step of a ramp and cell of a sweep
    #[arg(long)]
    pub(crate) intervals: bool,

    /// The table; - is stdout
    #[arg(short, long, default_value = "-", value_name = "FILE", value_parser = file)]
    pub(crate) output: PathBuf,
}
