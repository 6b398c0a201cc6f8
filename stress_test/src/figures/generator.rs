//! Whether the figures of a run are the server's, or the limit of this program itself.
//!
//! Knows processor time and lag; nothing of the server.
//!
//! Rule: a load generator that cannot keep its own timetable says so instead of blaming the
//! server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::figures::distribution::Distribution;
use crate::figures::outcome::Effort;
use crate::load::plan::{Load, Plan};

/// Over a shorter time than this, processor time says nothing.
const SHORTEST: Duration = Duration::from_millis(200);
/// An event loop that uses so much of a core is the limit.
const BUSY_PERCENT: f64 = 95.0;
/// An own lag up to this never counts as a limit: it is what a busy machine does to any program.
const HARMLESS_LAG_US: f64 = 1000.0;
/// Nor does one that is up to this share of the latencies which it is part of.
const HARMLESS_SHARE: f64 = 0.1;

/// The load generator itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GeneratorFigures {
    /// How much of one core its event loop used while measuring.
    pub(crate) cpu_percent: Option<f64>,
    /// In an open loop: how late requests were handed out that could have been sent.
    pub(crate) own_lag: Option<Distribution>,
    /// Why the figures are the generator's own limit, if they are.
    pub(crate) limited: Option<String>,
}

impl GeneratorFigures {
    /// The figures of `effort` in a run of `plan` that measured `latency`.
    pub(crate) fn of(plan: &Plan, effort: &Effort, latency: &Distribution) -> Self {
        let cpu_percent = cpu_percent(effort);
        let own_lag = effort.own_lag.as_ref().map(Distribution::of);
        Self {
            limited: why_limited(plan, cpu_percent, own_lag.as_ref(), latency),
            cpu_percent,
            own_lag,
        }
    }
}

/// How much of one core the event loop used, if it ran long enough to tell.
fn cpu_percent(effort: &Effort) -> Option<f64> {
    let percent = 100.0 * effort.cpu.as_secs_f64() / effort.elapsed.as_secs_f64();
    (effort.elapsed >= SHORTEST).then(|| (percent * 10.0).round() / 10.0)
}

/// Why the figures of a run are the generator's own limit, if they are.
fn why_limited(
    plan: &Plan,
    cpu_percent: Option<f64>,
    own_lag: Option<&Distribution>,
    latency: &Distribution,
) -> Option<String> {
    if let (Some(lag), Some(latency)) = (own_lag.and_then(|lag| lag.us(99.0)), latency.us(99.0))
        && lag > HARMLESS_LAG_US
        && lag > HARMLESS_SHARE * latency
    {
        return Some(format!(
            "its own lag (p99 {:.1} ms) is {:.0} % of the latency (p99 {:.1} ms)",
            lag / 1000.0,
            100.0 * lag / latency,
            latency / 1000.0
        ));
    }
    let used = cpu_percent.filter(|&percent| percent >= BUSY_PERCENT)?;
    let what = match plan.load {
        Load::Rate(_) => "its latencies include its own waits",
        Load::Frames(_) | Load::Duration(_) => "the server may be faster",
    };
    Some(format!(
        "its event loop used {used:.0} % of a core, so {what}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::latencies::Latencies;
    use crate::load::plan::Mix;
    use crate::load::plan::tests::plan;

    fn all(ms: f64) -> Distribution {
        let mut latencies = Latencies::default();
        for _ in 0..1000 {
            latencies.record(Duration::from_secs_f64(ms / 1000.0));
        }
        Distribution::of(&latencies)
    }

    fn limited(own_lag_ms: f64, latency_ms: f64) -> Option<String> {
        let (lag, latency) = (all(own_lag_ms), all(latency_ms));
        why_limited(&plan(Mix::Echo), Some(50.0), Some(&lag), &latency)
    }

    #[test]
    fn an_own_lag_that_shapes_the_result_is_a_limit() {
        assert!(limited(5.0, 6.0).is_some_and(|why| why.contains("its own lag (p99 5.0 ms)")));
        assert_eq!(limited(0.9, 1.0), None, "a lag that any busy machine has");
        assert_eq!(limited(5.0, 60.0), None, "a small part of the latency");
    }

    #[test]
    fn a_full_core_is_a_limit() {
        let why = why_limited(&plan(Mix::Echo), Some(99.0), None, &all(1.0));
        assert!(why.is_some_and(|why| why.contains("99 % of a core")));
        assert_eq!(
            why_limited(&plan(Mix::Echo), Some(80.0), None, &all(1.0)),
            None
        );
    }

    #[test]
    fn too_short_a_run_tells_nothing() {
        let effort = |ms| Effort {
            cpu: Duration::from_millis(ms),
            elapsed: Duration::from_millis(ms),
            own_lag: None,
        };
        assert_eq!(cpu_percent(&effort(100)), None);
        assert_eq!(cpu_percent(&effort(300)), Some(100.0));
    }
}
