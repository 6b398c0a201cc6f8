//! Conditions on the figures of a run: `p99>5ms`, `busy<0.1%`.
//!
//! Knows the names of figures and the units; not what follows from a condition.
//!
//! Rule: a figure that is not known meets neither a condition nor its opposite: that is said, and
//! counts against the run.

use std::fmt;

use crate::figures::distribution::{Distribution, Known, PERCENTILES};
use crate::figures::latencies::SAMPLES_ABOVE;
use crate::figures::results::RunResult;
use crate::load::mix::Operation;

/// Whether a figure and a value are in order.
type Relation = fn(&f64, &f64) -> bool;

/// One condition.
#[derive(Debug, Clone)]
pub(crate) struct Threshold {
    figure: Figure,
    relation: Relation,
    /// In the unit of the figure: microseconds, percent, per second, or a plain number.
    value: f64,
    /// As it was written.
    text: String,
}

/// Which times of a run.
#[derive(Debug, Clone, Copy)]
enum Times {
    Latency,
    /// Others of all requests.
    Of(fn(&RunResult) -> &Distribution),
    /// The latency of one operation.
    OfOperation(Operation),
    /// The latency of one stage, counted from 1.
    OfStage(usize),
}

#[derive(Debug, Clone, Copy)]
enum Figure {
    Time(Times, Point),
    BusyPercent,
    Throughput,
    Failures,
    Missing,
    Lost,
    Unsent,
    ConnectsRefused,
}

#[derive(Debug, Clone, Copy)]
enum Point {
    Percentile(f64),
    Min,
    Mean,
    Max,
}

/// What a condition comes to.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Whether it is met; `None` if the sample is too small for the figure.
    pub(crate) is_met: Option<bool>,
    /// The condition and the figure, for people.
    pub(crate) text: String,
}

const NEEDED: &str = "needed is FIGURE, one of > < >= <=, and a value, such as 'p99>5ms': a time \
    (p50, p75, p90, p95, p99, p99.9, p99.99, min, mean, max; of latency, or with service., lag., \
    connect., echo., sleep., hash. or stage2. before it) in ms, or with us or s; busy in %; rate per second, or with k or M; failures, missing, \
    lost, unsent or connects-refused";

impl Threshold {
    /// Reads one condition.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let relations: [(&str, Relation); 4] = [
            (">=", f64::ge),
            ("<=", f64::le),
            (">", f64::gt),
            ("<", f64::lt),
        ];
        let parts = relations.into_iter().find_map(|(sign, relation)| {
            let (figure, value) = text.split_once(sign)?;
            Some((figure.trim(), relation, value.trim()))
        });
        let read = parts.and_then(|(figure, relation, value)| {
            let figure = Figure::parse(figure)?;
            let value = figure.parse_value(value)?;
            Some(Self {
                figure,
                relation,
                value,
                text: text.to_owned(),
            })
        });
        read.ok_or_else(|| NEEDED.to_owned())
    }

    /// What it comes to for `result`.
    pub(crate) fn judge(&self, result: &RunResult) -> Finding {
        match self.figure.of(result) {
            Some((figure, is_bound)) => self.judge_known(figure, is_bound),
            None => Finding {
                is_met: None,
                text: format!("{self}: n/a, the sample is too small"),
            },
        }
    }

    /// What it comes to for `figure`, which may be only a lower bound: of requests without an
    /// answer nobody knows how long they would have taken.
    fn judge_known(&self, figure: f64, is_bound: bool) -> Finding {
        let is_met = (self.relation)(&figure, &self.value);
        let may_change = (self.relation)(&f64::INFINITY, &self.value) != is_met;
        let shown = self.show(figure);
        if is_bound && may_change {
            return Finding {
                is_met: None,
                text: format!("{self}: n/a, it is at least {shown}, as some got no answer"),
            };
        }
        let at_least = if is_bound { "at least " } else { "" };
        Finding {
            is_met: Some(is_met),
            text: format!("{self}: it is {at_least}{shown}"),
        }
    }

    /// What the latency of all requests is compared with, in microseconds, if it is about that.
    pub(crate) fn latency_us(&self) -> Option<f64> {
        matches!(self.figure, Figure::Time(Times::Latency, _)).then_some(self.value)
    }

    /// The operation that it is about, if it is about one.
    pub(crate) fn operation(&self) -> Option<Operation> {
        match self.figure {
            Figure::Time(Times::OfOperation(operation), _) => Some(operation),
            _ => None,
        }
    }

    /// The stage that it is about, counted from 1, if it is about one.
    pub(crate) fn stage(&self) -> Option<usize> {
        match self.figure {
            Figure::Time(Times::OfStage(number), _) => Some(number),
            _ => None,
        }
    }

    /// How large a sample a percentile needs so that it can be judged.
    pub(crate) fn sample(&self) -> f64 {
        match self.figure {
            Figure::Time(_, Point::Percentile(percent)) => {
                SAMPLES_ABOVE * 100.0 / (100.0 - percent)
            }
            _ => 0.0,
        }
    }

    fn show(&self, figure: f64) -> String {
        match self.figure {
            Figure::Time(..) => format!("{:.3} ms", figure / 1000.0),
            Figure::BusyPercent => format!("{figure:.3} %"),
            Figure::Throughput if figure < 10.0 => format!("{figure:.2}/s"),
            Figure::Throughput => format!("{figure:.0}/s"),
            _ => format!("{figure}"),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Figure {
    fn parse(text: &str) -> Option<Self> {
        let (name, point) = text.split_once('.').unwrap_or_default();
        let mut operations = Operation::ALL.into_iter();
        let operation = operations.find(|operation| operation.name() == name);
        let stage = name.strip_prefix("stage").and_then(|n| n.parse().ok());
        let (times, point) = match (name, operation, stage) {
            (_, Some(operation), _) => (Times::OfOperation(operation), point),
            (.., Some(number)) => (Times::OfStage(number), point),
            ("service", ..) => (Times::Of(|run| &run.service), point),
            ("lag", ..) => (Times::Of(|run| &run.send_lag), point),
            ("connect", ..) => (Times::Of(|run| &run.connections.connect_time), point),
            ("latency", ..) => (Times::Latency, point),
            _ => (Times::Latency, text),
        };
        let point = match point {
            "min" => Point::Min,
            "mean" => Point::Mean,
            "max" => Point::Max,
            _ => match PERCENTILES.into_iter().find(|p| point == format!("p{p}")) {
                Some(percent) => Point::Percentile(percent),
                None => return Self::parse_count(text),
            },
        };
        Some(Self::Time(times, point))
    }

    fn parse_count(text: &str) -> Option<Self> {
        Some(match text {
            "busy" => Self::BusyPercent,
            "rate" => Self::Throughput,
            "failures" => Self::Failures,
            "missing" => Self::Missing,
            "lost" => Self::Lost,
            "connects-refused" => Self::ConnectsRefused,
            "unsent" => Self::Unsent,
            _ => return None,
        })
    }

    fn parse_value(self, text: &str) -> Option<f64> {
        let units: &[(&str, f64)] = match self {
            Self::Time(..) => &[("us", 1.0), ("ms", 1e3), ("s", 1e6), ("", 1e3)],
            Self::BusyPercent => &[("%", 1.0), ("", 1.0)],
            Self::Throughput => &[
                ("k/s", 1e3),
                ("M/s", 1e6),
                ("/s", 1.0),
                ("k", 1e3),
                ("M", 1e6),
                ("", 1.0),
            ],
            _ => &[("", 1.0)],
        };
        units.iter().find_map(|(unit, factor)| {
            let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            (number.is_finite() && number >= 0.0).then_some(number * factor)
        })
    }

    /// What it is in `result`, and whether it is only known to be at least that.
    fn of(self, result: &RunResult) -> Option<(f64, bool)> {
        let ledger = &result.ledger;
        let figure = match self {
            Self::Time(times, point) => {
                let time = point.of(times.of(result)?);
                return Some((time.us?, time.is_lower_bound));
            }
            Self::BusyPercent => result.busy_percent()?,
            Self::Throughput => result.rate_per_s()?,
            Self::Failures => result.failures.total as f64,
            Self::Missing => ledger.missing as f64,
            Self::Lost => ledger.lost as f64,
            Self::ConnectsRefused => result.connections.refused as f64,
            Self::Unsent => ledger.unsent as f64,
        };
        Some((figure, false))
    }
}

impl Times {
    fn of(self, result: &RunResult) -> Option<&Distribution> {
        match self {
            Self::Latency => Some(&result.latency),
            Self::Of(times) => Some(times(result)),
            // Where there was no choice, it is the latency of all.
            Self::OfOperation(operation) if result.load.mix == operation.name() => {
                Some(&result.latency)
            }
            Self::OfOperation(operation) => result.operations.get(&operation),
            Self::OfStage(number) => {
                let stage = result.stages.get(number.checked_sub(1)?)?;
                Some(&stage.latency)
            }
        }
    }
}

impl Point {
    fn of(self, distribution: &Distribution) -> Known {
        match self {
            Self::Percentile(percent) => distribution.at(percent),
            Self::Min => Known {
                us: distribution.min_us,
                is_lower_bound: false,
            },
            Self::Mean => distribution.mean(),
            Self::Max => distribution.longest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::figures::latencies::Latencies;
    use crate::figures::results::tests::{outcome, result};
    use crate::figures::stages::tests::stage;

    fn judge(text: &str) -> Option<bool> {
        // 3000 answers of 10 us to 30 ms, evenly spread, 3 of 3003 tries refused.
        let mut outcome = outcome();
        // Those of the warmup are answers, but no measured tries.
        outcome.ledger.clients.busy_answers = 1000;
        let refusals = &mut outcome.ledger.clients.busy_latencies;
        refusals.record_many(Duration::from_millis(1), 3);
        let threshold = Threshold::parse(text).expect(text);
        threshold.judge(&result(&outcome)).is_met
    }

    #[test]
    fn a_condition_on_the_latency_of_all_has_a_line() {
        for (text, line) in [
            ("p99<50ms", Some(50_000.0)),
            ("latency.max < 2s", Some(2_000_000.0)),
            ("service.p99<50ms", None),
            ("echo.p99<50ms", None),
            ("busy<1%", None),
        ] {
            let threshold = Threshold::parse(text).expect(text);
            assert_eq!(threshold.latency_us(), line, "{text}");
        }
    }

    #[test]
    fn conditions_are_read_with_their_units() {
        for (text, value) in [
            ("p99>5ms", 5000.0),
            ("p99>5", 5000.0),
            ("busy>1", 1.0),
            ("p99.9 >= 20us", 20.0),
            ("service.p50<1.5s", 1_500_000.0),
            ("lag.max<=2ms", 2000.0),
            ("busy<0.1%", 0.1),
            ("rate<20k", 20_000.0),
            ("rate<0.5M/s", 500_000.0),
            ("rate<1M", 1_000_000.0),
            ("failures>0", 0.0),
            ("lost>0", 0.0),
            ("connects-refused>5", 5.0),
            ("connect.p99>1ms", 1000.0),
            ("sleep.p99>30", 30_000.0),
            ("stage12.p99>5ms", 5000.0),
        ] {
            let read = Threshold::parse(text).map(|threshold| threshold.value);
            assert_eq!(read, Ok(value), "{text}");
        }
        for text in [
            "",
            "p99",
            "p99>",
            ">5ms",
            "p98>5ms",
            "p99>xms",
            "p99=5ms",
            "p99>-1ms",
            "p99>nanms",
            "stage.p99>5ms",
            "stagex.p99>5ms",
        ] {
            let error = Threshold::parse(text).expect_err(text);
            assert!(error.contains("such as 'p99>5ms'"), "{error}");
        }
    }

    #[test]
    fn a_percentile_needs_ten_above_it() {
        let sample = |text| Threshold::parse(text).expect(text).sample().round();
        assert_eq!(sample("p99<5ms"), 1000.0);
        assert_eq!(sample("p99.9<5ms"), 10_000.0);
        assert_eq!(sample("busy<1%"), 0.0);
    }

    #[test]
    fn an_operation_is_judged_by_its_own_latency() {
        let mut outcome = outcome();
        let mut latencies = Latencies::default();
        for _ in 0..1000 {
            latencies.record(Duration::from_millis(70));
        }
        outcome
            .ledger
            .clients
            .operations
            .insert(Operation::Sleep, latencies);
        let mut result = result(&outcome);
        let mut judge = |mix: &str, text: &str| {
            mix.clone_into(&mut result.load.mix);
            Threshold::parse(text).expect(text).judge(&result).is_met
        };
        assert_eq!(judge("balanced", "sleep.p50>60ms"), Some(true));
        assert_eq!(judge("balanced", "p50>60ms"), Some(false));
        assert_eq!(judge("balanced", "hash.p50>1ms"), None);
        assert_eq!(judge("hash", "hash.p50>1ms"), Some(true), "all are HASH");
    }

    #[test]
    fn a_stage_is_judged_by_its_own_latency() {
        let mut result = result(&outcome());
        let mut latencies = Latencies::default();
        latencies.record_many(Duration::from_millis(70), 1000);
        result.stages = vec![stage(&Latencies::default()), stage(&latencies)];
        let judge = |text| Threshold::parse(text).expect(text).judge(&result).is_met;
        assert_eq!(judge("stage2.p50>60ms"), Some(true));
        assert_eq!(judge("stage2.p99>80ms"), Some(false));
        for unknown in ["stage1.p50>1ms", "stage3.max>1ms", "stage0.max>1ms"] {
            assert_eq!(judge(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn conditions_are_judged() {
        assert_eq!(judge("p50>14ms"), Some(true));
        assert_eq!(judge("p50>16ms"), Some(false));
        assert_eq!(judge("max<=30ms"), Some(true));
        assert_eq!(judge("max<30ms"), Some(false));
        assert_eq!(judge("failures>0"), Some(false));
        assert_eq!(judge("busy<=0.1%"), Some(true));
        assert_eq!(judge("busy<0.05%"), Some(false));
    }

    #[test]
    fn a_lower_bound_decides_only_what_more_would_not_change() {
        let mut outcome = outcome();
        // A tenth of the requests got no answer in 20 ms.
        for _ in 0..300 {
            let latencies = &mut outcome.ledger.clients.latencies;
            latencies.record_unanswered(Duration::from_millis(20));
        }
        let result = result(&outcome);
        let judge = |text| Threshold::parse(text).expect(text).judge(&result).is_met;
        assert_eq!(judge("p99>15ms"), Some(true), "it is 20 ms or more");
        assert_eq!(judge("p99<15ms"), Some(false));
        assert_eq!(judge("p99<100ms"), None, "nobody knows");
        assert_eq!(judge("max>100ms"), None);
        assert_eq!(judge("mean<100ms"), None);
        assert_eq!(judge("p50<100ms"), Some(true), "all of these got an answer");
        assert_eq!(judge("min<1ms"), Some(true));
    }

    #[test]
    fn what_the_sample_is_too_small_for_is_unknown_either_way() {
        assert_eq!(judge("p99.99>1ms"), None);
        assert_eq!(judge("p99.99<1ms"), None);
    }
}
