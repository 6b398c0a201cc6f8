//! Whether the figures of a run are the server's, or the limit of this program itself.
//!
//! Knows processor time and lag; nothing of the server.
//!
//! Rule: a load generator that cannot keep its own timetable says so instead of blaming the
//! server.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::figures::distribution::{Distribution, REPORTED_PERCENTILES, microseconds};
use crate::figures::latencies::Latencies;
use crate::figures::outcome::{Effort, OpenLoopEffort, Outcome};
use crate::load::plan::{Load, Plan};

/// Over a shorter time than this, processor time says nothing.
const SHORTEST: Duration = Duration::from_millis(200);
/// An event loop that uses so much of a core is the limit.
const BUSY_PERCENT: f64 = 95.0;
/// An own lag up to this never counts as a limit: it is what a busy machine does to any program.
const HARMLESS_LAG: Duration = Duration::from_millis(1);
/// Nor does one that is up to this share of the latencies which it is part of.
const HARMLESS_SHARE: f64 = 0.1;

/// A program that is away for so long does not measure anything. Machines with other things to do
/// keep it waiting for a tenth of that.
const LONG_AWAY: Duration = Duration::from_millis(200);
/// A service time that is up to so many times the shortest one is that of a server that was not
/// busy, so a request that waited for a client did not wait for the server.
const UNHURRIED: f64 = 2.0;

/// The load generator itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GeneratorFigures {
    /// Its event loops, each with a thread of its own.
    pub(crate) threads: u32,
    /// How much of one core they used while measuring, all together.
    pub(crate) cpu_percent: Option<f64>,
    /// In an open loop: how late requests were handed out that could have been sent.
    pub(crate) own_lag: Option<Distribution>,
    /// In an open loop: whether there were enough clients.
    pub(crate) clients: Option<ClientFigures>,
    /// At each answer, for how long the event loop had not looked for any.
    pub(crate) delay: Option<Distribution>,
    /// At each answer, for how long its thread waits for a processor, where the system tells.
    pub(crate) run_queue_wait: Option<Distribution>,
    /// Why the figures are the generator's own limit, if they are.
    pub(crate) limited: Option<String>,
    /// Whether it was stopped or without a processor for so long that no figure holds, whatever
    /// the run is for.
    pub(crate) was_away: bool,
}

/// Whether an open loop had enough clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClientFigures {
    /// How many there were in the end.
    pub(crate) count: u32,
    /// How many there might have been.
    pub(crate) most: u32,
    /// How many of the due requests waited for a client that had room.
    pub(crate) waited_percent: f64,
    /// How long each due request waited for one; most of them not at all.
    pub(crate) wait: Distribution,
}

impl ClientFigures {
    fn of(plan: &Plan, effort: &OpenLoopEffort) -> Self {
        let due = effort.client_waits.count().max(1);
        Self {
            count: effort.clients,
            most: plan.most_clients,
            waited_percent: 100.0 * effort.waited.iter().sum::<u64>() as f64 / due as f64,
            wait: Distribution::of(&effort.client_waits),
        }
    }
}

impl GeneratorFigures {
    /// The figures of `outcome`, a run of `plan` that measured `service`.
    pub(crate) fn of(plan: &Plan, outcome: &Outcome, service: &Distribution) -> Self {
        let (effort, quickest) = (&outcome.effort, outcome.ledger.clients.quickest);
        let busiest = percent(effort.busiest, effort);
        let open_loop = effort.open_loop.as_ref();
        let own_lag = open_loop.map(|open| Distribution::of(&open.own_lag));
        let clients = open_loop.map(|open| ClientFigures::of(plan, open));
        let latencies = &outcome.ledger.clients.latencies;
        let by_lag = open_loop.and_then(|open| limited_by_lag(&open.own_lag, latencies));
        let by_clients = || {
            let wait = away(&open_loop?.client_waits, latencies)?;
            limited_by_clients(clients.as_ref()?, wait, service, quickest?)
        };
        let away = away(&effort.delays, latencies)
            .map(|away| (away, "it did not look for answers for"))
            .or_else(|| {
                let away = away(&effort.run_queue_waits, latencies)?;
                Some((away, "it waited for a processor for"))
            });
        let distribution =
            |times: &Latencies| Some(Distribution::of(times)).filter(|d| d.count > 0);
        Self {
            was_away: away.as_ref().is_some_and(|(away, _)| away.own >= LONG_AWAY),
            // The lag has all that is its own; the others are parts of it.
            limited: by_lag
                .or_else(|| away.map(|(away, what)| format!("{what} {away}")))
                .or_else(by_clients)
                .or_else(|| limited_by_absences(plan, effort))
                .or_else(|| limited_by_core(plan, busiest)),
            delay: distribution(&effort.delays),
            run_queue_wait: distribution(&effort.run_queue_waits),
            threads: effort.threads,
            cpu_percent: percent(effort.cpu, effort),
            own_lag,
            clients,
        }
    }
}

/// How much of one core the processor time `cpu` is, if `effort` was long enough to tell.
fn percent(cpu: Duration, effort: &Effort) -> Option<f64> {
    let percent = 100.0 * cpu.as_secs_f64() / effort.elapsed.as_secs_f64();
    (effort.elapsed >= SHORTEST).then(|| (percent * 10.0).round() / 10.0)
}

/// A time of the generator's own, and the latency that it is a part of.
#[derive(Debug, PartialEq)]
struct Away {
    own: Duration,
    latency: Duration,
    /// Which latency that is.
    name: String,
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (own, latency, name) = (ms(self.own), ms(self.latency), &self.name);
        write!(
            f,
            "{own:.1} ms, and the latency's {name} is {latency:.1} ms"
        )
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Whether `own` times shape a percentile of the report that is known: so many requests were
/// delayed that the percentile lies among them.
///
/// Beyond p99 it takes a long absence: any busy machine keeps a program waiting for milliseconds
/// once in a thousand times. The longest latency is not judged: one request makes it, and the
/// report says beside it for how long the program was away.
fn away(own: &Latencies, latencies: &Latencies) -> Option<Away> {
    let shaped = REPORTED_PERCENTILES.into_iter().filter_map(|percent| {
        let (own, latency) = (
            own.percentile(percent),
            latencies.known_percentile(percent)?,
        );
        let harmless = match percent > 99.0 {
            true => LONG_AWAY,
            false => HARMLESS_LAG,
        };
        let is_shaped = own > harmless && own > latency.mul_f64(HARMLESS_SHARE);
        let name = format!("p{percent}");
        is_shaped.then_some(Away { own, latency, name })
    });
    // The worst of them: a busy machine makes others.
    shaped.max_by_key(|away| away.own)
}

fn limited_by_lag(lag: &Latencies, latencies: &Latencies) -> Option<String> {
    let away = away(lag, latencies)?;
    let (lag, latency, name) = (ms(away.own), ms(away.latency), away.name);
    let percent = 100.0 * lag / latency;
    Some(format!(
        "its own lag ({name} {lag:.1} ms) is {percent:.0} % of the latency ({name} {latency:.1} ms)"
    ))
}

/// Requests `wait` for a client too where a server is overloaded. Then their service times grow.
fn limited_by_clients(
    clients: &ClientFigures,
    wait: Away,
    service: &Distribution,
    quickest: Duration,
) -> Option<String> {
    let is_server_idle = service.us(50.0)? <= UNHURRIED * microseconds(quickest);
    let (count, percent) = (clients.count, clients.waited_percent);
    let (wait, name) = (ms(wait.own), wait.name);
    is_server_idle.then(|| {
        format!(
            "{percent:.1} % of the due requests waited for a free client ({name} {wait:.1} ms), \
             with {count} clients; --max-clients allows more"
        )
    })
}

/// A closed loop sends nothing while it is away, so its rate is that much too low.
fn limited_by_absences(plan: &Plan, effort: &Effort) -> Option<String> {
    let is_closed = !matches!(plan.load, Load::Rate(_));
    let (absent, elapsed) = (effort.absent.as_secs_f64(), effort.elapsed.as_secs_f64());
    (is_closed && absent > HARMLESS_SHARE * elapsed).then(|| {
        format!("it was away for {absent:.1} of {elapsed:.1} s, so the server may be faster")
    })
}

/// `busiest` is how much of a core the busiest loop used.
fn limited_by_core(plan: &Plan, busiest: Option<f64>) -> Option<String> {
    let used = busiest.filter(|&percent| percent >= BUSY_PERCENT)?;
    let what = match plan.load {
        Load::Rate(_) => "its latencies include its own waits",
        Load::Frames(_) | Load::Duration(_) => "the server may be faster",
    };
    Some(format!(
        "its busiest event loop used {used:.0} % of a core, so {what}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Mix;
    use crate::load::plan::tests::plan;

    fn all(ms: f64) -> Latencies {
        let mut latencies = Latencies::default();
        latencies.record_many(Duration::from_secs_f64(ms / 1000.0), 1000);
        latencies
    }

    #[test]
    fn an_own_lag_that_shapes_the_result_is_a_limit() {
        let limited = |lag_ms, latency_ms| limited_by_lag(&all(lag_ms), &all(latency_ms));
        assert!(limited(5.0, 6.0).is_some_and(|why| why.contains("its own lag (p99 5.0 ms)")));
        assert_eq!(limited(0.9, 1.0), None, "a lag that any busy machine has");
        assert_eq!(limited(5.0, 60.0), None, "a small part of the latency");
        let few = limited_by_lag(&sample(380, 120), &sample(380, 120));
        let why = few.expect("500 have a p90");
        assert!(why.contains("(p90 500.0 ms) is 100 %"), "{why}");
    }

    /// So many times of a millisecond each, and `count` of half a second.
    fn sample(others: u64, count: u64) -> Latencies {
        let mut sample = Latencies::default();
        sample.record_many(Duration::from_millis(1), others);
        if count > 0 {
            sample.record_many(Duration::from_millis(500), count);
        }
        sample
    }

    #[test]
    fn a_stop_that_shapes_a_known_figure_is_a_limit() {
        let away = |own: &Latencies, latencies: &Latencies| {
            let away = away(own, latencies)?;
            assert!(away.own >= LONG_AWAY, "{away:?}");
            Some(away.name)
        };
        let name = away(&sample(4945, 55), &sample(4945, 55));
        assert_eq!(name.as_deref(), Some("p99"));
        let few = away(&sample(370, 30), &sample(370, 30));
        assert_eq!(few, None, "400 have no p99, and the p90 is not among 30");
        assert_eq!(away(&sample(99_999, 1), &sample(90_000, 10_000)), None);
        assert_eq!(away(&sample(5000, 0), &sample(4945, 55)), None);
        assert_eq!(away(&sample(1, 9), &Latencies::default()), None);
        let (mut own, mut latencies) = (sample(30_000, 50), sample(30_000, 50));
        own.record_many(Duration::from_millis(5), 2000);
        latencies.record_many(Duration::from_millis(10), 2000);
        let name = away(&own, &latencies);
        assert_eq!(name.as_deref(), Some("p99.9"), "the worst of several");
        let mut tail = sample(200_000, 0);
        tail.record_many(Duration::from_millis(5), 100);
        assert_eq!(away(&tail, &tail), None, "milliseconds beyond p99");
        let all_late = sample(1, 4999);
        assert_eq!(away(&sample(4945, 55), &all_late).as_deref(), Some("p99"));
    }

    #[test]
    fn too_few_clients_are_a_limit_unless_it_is_the_server_that_is_busy() {
        let limited = |wait_ms, quickest_ms| {
            let clients = ClientFigures {
                count: 9,
                most: 9,
                waited_percent: 42.0,
                wait: Distribution::of(&all(wait_ms)),
            };
            let (wait, quickest) = (all(wait_ms), Duration::from_millis(quickest_ms));
            let service = Distribution::of(&all(10.0));
            limited_by_clients(&clients, away(&wait, &all(25.0))?, &service, quickest)
        };
        let why = limited(15.0, 9);
        assert!(why.is_some_and(|why| why.starts_with("42.0 % of the due requests waited")));
        assert_eq!(limited(0.5, 9), None);
        assert_eq!(limited(15.0, 1), None, "it is ten times as slow");
    }

    #[test]
    fn a_full_core_is_a_limit() {
        let limited = |percent| limited_by_core(&plan(Mix::Echo), Some(percent));
        assert!(limited(99.0).is_some_and(|why| why.contains("99 % of a core")));
        assert_eq!(limited(80.0), None);
    }

    #[test]
    fn too_short_a_run_tells_nothing() {
        let effort = |ms| Effort {
            cpu: Duration::from_millis(ms) * 2,
            busiest: Duration::from_millis(ms),
            threads: 2,
            elapsed: Duration::from_millis(ms),
            delays: Latencies::default(),
            absent: Duration::ZERO,
            run_queue_waits: Latencies::default(),
            open_loop: None,
        };
        let percents = |ms| {
            let effort = effort(ms);
            (
                percent(effort.busiest, &effort),
                percent(effort.cpu, &effort),
            )
        };
        assert_eq!(percents(100), (None, None));
        assert_eq!(percents(300), (Some(100.0), Some(200.0)));
    }
}
