//! What two sides of a comparison say of each other: each figure's change, and the verdict.
//!
//! Knows rounds and their order in time; not which files they came from.
//!
//! Rule: only what the rounds cannot explain by chance is a difference, and what could have been
//! missed is told.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::figures::interval::{self, Interval};
use crate::figures::load::LoadFigures;
use crate::figures::provenance::Provenance;
use crate::figures::results::{RunResult, SCHEMA};

/// How sure all intervals together are, in percent.
const CONFIDENCE_PERCENT: f64 = 95.0;

/// What is compared, and whether more of it is worse.
const FIGURES: [Figure; 4] = [
    Figure {
        name: "rate",
        more_is_worse: false,
        of: |run| Some(run.throughput_per_s),
    },
    Figure {
        name: "p50",
        more_is_worse: true,
        of: |run| run.latency.us(50.0),
    },
    Figure {
        name: "p99",
        more_is_worse: true,
        of: |run| run.latency.us(99.0),
    },
    Figure {
        name: "p99.9",
        more_is_worse: true,
        of: |run| run.latency.us(99.9),
    },
];

struct Figure {
    name: &'static str,
    more_is_worse: bool,
    of: fn(&RunResult) -> Option<f64>,
}

/// One comparison, in the format of docs/stress_test.schema.json.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ComparisonResult {
    /// [`SCHEMA`].
    pub(crate) schema: String,
    /// `comparison`.
    pub(crate) kind: String,
    /// What it came to.
    pub(crate) verdict: Difference,
    /// What the command exits with.
    pub(crate) exit_code: u8,
    /// Who compared, where and when.
    pub(crate) provenance: Provenance,
    /// What is compared with.
    pub(crate) base: SideFigures,
    /// What is compared.
    pub(crate) new: SideFigures,
    /// Whether the rounds were measured in turns and are compared in pairs.
    pub(crate) is_interleaved: bool,
    /// How sure all intervals together are, in percent.
    pub(crate) confidence_percent: f64,
    /// Changes up to so much are no difference.
    pub(crate) ignored_percent: f64,
    /// In what load and machine of the two sides differ.
    pub(crate) differs: Vec<String>,
    /// Why figures of a round were the generator's limit, if they were.
    pub(crate) limited: Option<String>,
    /// Each figure.
    pub(crate) figures: Vec<FigureChange>,
}

/// What the comparison comes to, or one figure of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub(crate) enum Difference {
    /// Nothing that chance does not explain.
    #[serde(rename = "NO-DIFFERENCE")]
    Same,
    /// The new side is better in something, and worse in nothing.
    Faster,
    /// It is worse in something, and better in nothing.
    Slower,
    /// Both.
    Mixed,
    /// No difference, but the generator was the limit, so there may be one.
    GeneratorLimited,
    /// A round had wrong answers or none, so that its times mean nothing.
    Fail,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "NO-DIFFERENCE",
            Self::Faster => "FASTER",
            Self::Slower => "SLOWER",
            Self::Mixed => "MIXED",
            Self::GeneratorLimited => "GENERATOR-LIMITED",
            Self::Fail => "FAIL",
        })
    }
}

/// One side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SideFigures {
    /// The files that its rounds are from.
    pub(crate) files: Vec<String>,
    /// The server, for people.
    pub(crate) target: String,
    /// How many rounds there are.
    pub(crate) rounds: usize,
    /// What was asked for, with the seed of the first round.
    pub(crate) load: LoadFigures,
    /// Where the first round comes from.
    pub(crate) provenance: Option<Provenance>,
    /// The whole distribution of the latency, as far as each round knows it.
    pub(crate) curve: Vec<CurvePoint>,
}

/// One percentile of several rounds, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct CurvePoint {
    /// Which percentile.
    pub(crate) percent: f64,
    /// What it is in the rounds.
    #[serde(flatten)]
    pub(crate) us: Middle,
}

/// One figure of both sides.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FigureChange {
    /// `rate` in answers per second, or a percentile of the latency in microseconds.
    pub(crate) name: String,
    /// Of the base.
    pub(crate) base: Option<Middle>,
    /// Of the new side.
    pub(crate) new: Option<Middle>,
    /// By how much it changed; `None` where a round does not have the figure.
    pub(crate) change: Option<Change>,
    /// What that comes to.
    pub(crate) verdict: Difference,
}

/// A figure of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Middle {
    /// The geometric mean; of ten and more rounds without the outermost fifth at each end.
    pub(crate) typical: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

/// A change in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// The best guess.
    pub(crate) percent: f64,
    /// It is hardly less than this.
    pub(crate) low_percent: f64,
    /// It is hardly more than this.
    pub(crate) high_percent: f64,
}

/// The rounds of one side, with the names of their files.
#[derive(Debug)]
pub(crate) struct Side {
    /// The files.
    pub(crate) files: Vec<String>,
    /// The rounds, at least [`interval::LEAST_ROUNDS`].
    pub(crate) rounds: Vec<RunResult>,
}

impl ComparisonResult {
    /// Compares `new` with `base`. Changes up to `ignored_percent` are no difference.
    pub(crate) fn of(
        mut base: Side,
        mut new: Side,
        ignored_percent: f64,
        provenance: Provenance,
    ) -> Self {
        sort(&mut base.rounds);
        sort(&mut new.rounds);
        let is_interleaved = are_interleaved(&base.rounds, &new.rounds);
        let both = || base.rounds.iter().chain(&new.rounds);
        // Each figure may mislead, so each has to be surer than all of them together (Bonferroni).
        let compared = FIGURES
            .iter()
            .filter(|figure| both().all(|run| known(figure, run).is_some()));
        let doubt = (1.0 - CONFIDENCE_PERCENT / 100.0) / compared.count().max(1) as f64;
        let of = if is_interleaved {
            interval::of_pairs
        } else {
            interval::of_series
        };
        let figures = FIGURES.iter().map(|figure| {
            let (base, new) = (values(figure, &base.rounds), values(figure, &new.rounds));
            let found = base
                .as_ref()
                .zip(new.as_ref())
                .map(|(base, new)| of(base, new, 1.0 - doubt));
            change(
                figure,
                base.as_deref(),
                new.as_deref(),
                found,
                ignored_percent,
            )
        });
        let figures: Vec<FigureChange> = figures.collect();
        let limited = both().find_map(|run| run.generator.limited.clone());
        // Who answers nothing has no times, and a rate without a ratio: that is no equality.
        let is_wrong = both().any(|run| run.failures.total > 0 || run.throughput_per_s <= 0.0);
        let verdict = verdict(&figures, is_wrong, limited.is_some());
        let (base, new) = (side(base), side(new));
        Self {
            schema: SCHEMA.to_owned(),
            kind: "comparison".to_owned(),
            verdict,
            exit_code: 0,
            provenance,
            is_interleaved,
            confidence_percent: CONFIDENCE_PERCENT,
            ignored_percent,
            differs: differences(&base, &new),
            limited,
            figures,
            base,
            new,
        }
    }
}

fn side(side: Side) -> SideFigures {
    let first = &side.rounds[0];
    SideFigures {
        files: side.files,
        target: first.target.clone(),
        rounds: side.rounds.len(),
        load: first.load.clone(),
        provenance: first.provenance.clone(),
        curve: curve(&side.rounds),
    }
}

/// The curve of the latency in all of `rounds`, as far as all have the same percentiles.
fn curve(rounds: &[RunResult]) -> Vec<CurvePoint> {
    let point = |place: usize| {
        let points = rounds.iter().map(|run| run.latency.curve.get(place));
        let points: Vec<&(f64, f64)> = points.collect::<Option<_>>()?;
        let percent = points.first()?.0;
        let are_alike = points.iter().all(|point| point.0 == percent);
        let us: Vec<f64> = points.iter().map(|point| point.1).collect();
        are_alike.then(|| CurvePoint {
            percent,
            us: middle(&us),
        })
    };
    (0..).map_while(point).collect()
}

/// In the order of time, where it is known.
fn sort(rounds: &mut [RunResult]) {
    rounds.sort_by(|one, other| started(one).cmp(&started(other)));
}

fn started(run: &RunResult) -> Option<&str> {
    let provenance = run.provenance.as_ref()?;
    Some(provenance.started.as_str()).filter(|started| !started.is_empty())
}

/// Whether one round of each side follows the other in pairs, in whatever order within a pair.
fn are_interleaved(base: &[RunResult], new: &[RunResult]) -> bool {
    let side = |rounds: &[RunResult], is_new| {
        let times = rounds
            .iter()
            .map(|run| Some((started(run)?.to_owned(), is_new)));
        times.collect::<Option<Vec<_>>>()
    };
    let (Some(mut all), Some(new)) = (side(base, false), side(new, true)) else {
        return false;
    };
    let are_equally_many = all.len() == new.len();
    all.extend(new);
    all.sort();
    are_equally_many && all.chunks(2).all(|pair| pair[0].1 != pair[1].1)
}

/// The figure of one round; one that is 0 has no ratio.
fn known(figure: &Figure, run: &RunResult) -> Option<f64> {
    (figure.of)(run).filter(|&value| value > 0.0)
}

fn values(figure: &Figure, rounds: &[RunResult]) -> Option<Vec<f64>> {
    rounds.iter().map(|run| known(figure, run)).collect()
}

fn change(
    figure: &Figure,
    base: Option<&[f64]>,
    new: Option<&[f64]>,
    found: Option<Interval>,
    ignored_percent: f64,
) -> FigureChange {
    let change = found.map(|found| Change {
        percent: percent(found.change),
        low_percent: percent(found.low),
        high_percent: percent(found.high),
    });
    let verdict = match change {
        Some(change) if change.low_percent > ignored_percent => worse_if(figure.more_is_worse),
        Some(change) if change.high_percent < -ignored_percent => worse_if(!figure.more_is_worse),
        _ => Difference::Same,
    };
    FigureChange {
        name: figure.name.to_owned(),
        base: base.map(middle),
        new: new.map(middle),
        change,
        verdict,
    }
}

fn worse_if(is_worse: bool) -> Difference {
    if is_worse {
        Difference::Slower
    } else {
        Difference::Faster
    }
}

fn percent(logarithm: f64) -> f64 {
    100.0 * logarithm.exp_m1()
}

fn middle(values: &[f64]) -> Middle {
    Middle {
        typical: interval::typical(values),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(0.0, f64::max),
    }
}

fn verdict(figures: &[FigureChange], is_wrong: bool, is_limited: bool) -> Difference {
    let has = |verdict| figures.iter().any(|figure| figure.verdict == verdict);
    match (has(Difference::Slower), has(Difference::Faster)) {
        _ if is_wrong => Difference::Fail,
        (true, true) => Difference::Mixed,
        (true, false) => Difference::Slower,
        (false, true) => Difference::Faster,
        (false, false) if is_limited => Difference::GeneratorLimited,
        (false, false) => Difference::Same,
    }
}

/// In what the sides differ besides the server, each in one line.
fn differences(base: &SideFigures, new: &SideFigures) -> Vec<String> {
    let mut found = load_differences(&base.load, &new.load);
    let (Some(base), Some(new)) = (&base.provenance, &new.provenance) else {
        return found;
    };
    let processors = (base.processors.to_string(), new.processors.to_string());
    for (name, base, new) in [
        ("version", &base.version, &new.version),
        ("host", &base.host, &new.host),
        ("processor", &base.processor, &new.processor),
        ("processors", &processors.0, &processors.1),
        ("kernel", &base.kernel, &new.kernel),
    ] {
        if base != new {
            found.push(format!("{name} {base} | {new}"));
        }
    }
    found
}

/// In what two loads differ but for the seed, each in one line.
pub(crate) fn load_differences(base: &LoadFigures, new: &LoadFigures) -> Vec<String> {
    let fields = |load| serde_json::to_value(load).expect("figures are JSON");
    let (base, new) = (fields(base), fields(new));
    let names = [&base, &new].map(|fields| fields.as_object().expect("a load has fields"));
    let mut names: Vec<&String> = names.into_iter().flat_map(|fields| fields.keys()).collect();
    names.sort();
    names.dedup();
    let differing = names
        .into_iter()
        .filter(|name| *name != "seed" && base[*name] != new[*name]);
    differing
        .map(|name| format!("{name} {} | {}", shown(&base[name]), shown(&new[name])))
        .collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}
