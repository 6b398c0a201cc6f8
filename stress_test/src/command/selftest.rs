//! Shows that each check fires: a built-in server with one fault at a time, and what is found.
//!
//! Knows the faults and what has to be found for each; finds nothing itself.
//!
//! Rule: a check passes if the fault is found as what it is, in the right number, and nothing else
//! is: a false alarm is as bad as a blind eye.

mod comparisons;

use std::time::Duration;

use anyhow::Context;
use signal_hook_mio::v1_0::Signals;

use crate::check::failure::Kind;
use crate::check::faulty_server::{Fault, FaultyServer, SERVICE, STALL};
use crate::command::error::Error;
use crate::command::exit;
use crate::command::measure::{catch_signals, measure};
use crate::command::publish::to_stdout;
use crate::command::target::Target;
use crate::figures::outcome::Ended;
use crate::figures::results::RunResult;
use crate::figures::stages::StageFigures;
use crate::load::plan::{Arrivals, Load, Mix, OpenLoop, Plan, Requests, Span};
use crate::load::stages::Stage;
use crate::load::template::Exchange;
use crate::output::progress::Progress;
use crate::wire::{Framing, Limits};

/// The clients of a check.
const CLIENTS: u32 = 4;
/// The frames of each.
const FRAMES: u32 = 50;
/// Short, because some faults are found by waiting.
const TIMEOUT: Duration = Duration::from_secs(1);

/// One fault, and what is found if all is well.
struct Check {
    name: &'static str,
    fault: Fault,
    change: fn(&mut Plan),
    expected: Expected,
}

enum Expected {
    /// So many failures of one kind, and no others.
    Failures(u64, Kind),
    /// So many frames of one client without an answer, which were sent or not, and nothing else.
    Unanswered(u64),
    /// No failure, and a figure that the text tells.
    Figure(fn(&RunResult) -> bool, &'static str),
}

impl Check {
    /// A check that expects every answer to be right.
    const fn new(name: &'static str, fault: Fault) -> Self {
        Self {
            name,
            fault,
            change: |_| {},
            expected: Expected::Figure(is_right, "every answer is right"),
        }
    }

    /// The same with another plan.
    const fn with(self, change: fn(&mut Plan)) -> Self {
        Self { change, ..self }
    }

    const fn finds(self, count: u32, kind: Kind) -> Self {
        let expected = Expected::Failures(count as u64, kind);
        Self { expected, ..self }
    }

    const fn loses(self, count: u32) -> Self {
        let expected = Expected::Unanswered(count as u64);
        Self { expected, ..self }
    }

    const fn shows(self, text: &'static str, figure: fn(&RunResult) -> bool) -> Self {
        let expected = Expected::Figure(figure, text);
        Self { expected, ..self }
    }
}

const CHECKS: [Check; 30] = [
    Check::new("no fault", Fault::None),
    Check::new("two answers change places", Fault::Swap).finds(1, Kind::Swapped),
    Check::new("the same, of --send and --expect", Fault::Swap)
        .with(of_templates)
        .finds(1, Kind::Swapped),
    Check::new("two clients get each other's answer", Fault::Cross).finds(2, Kind::Foreign),
    Check::new("the same, each client in a thread of its own", Fault::Cross)
        .with(|plan| plan.threads = CLIENTS)
        .finds(2, Kind::Foreign),
    Check::new("an answer comes twice", Fault::Repeat).finds(1, Kind::Repeated),
    Check::new("an answer comes again at the end", Fault::ExtraAtEnd).finds(1, Kind::Repeated),
    Check::new("one byte is another one", Fault::Alter).finds(1, Kind::Altered),
    Check::new("an answer is left out, others follow", Fault::Drop).finds(1, Kind::Missing),
    Check::new("an answer is left out, none follow", Fault::Drop)
        .with(one_at_a_time)
        .finds(1, Kind::Missing),
    Check::new("the connection is cut", Fault::Cut).loses(FRAMES - 5),
    Check::new("it is cut in the middle of an answer", Fault::CutInside).loses(FRAMES - 5),
    Check::new("it is cut, and the client reconnects", Fault::Cut)
        .with(reconnecting)
        .finds(1, Kind::Lost),
    Check::new("it is refused, and the client reconnects", Fault::TooMany)
        .with(reconnecting)
        .shows("every answer is right, and one connect refused", |result| {
            is_right(result) && result.connections.refused == 1
        }),
    Check::new("the server falls silent", Fault::FallSilent).loses(FRAMES - 5),
    Check::new("an answer that nobody asked for", Fault::Extra).finds(1, Kind::Unexpected),
    Check::new("half an answer after the last one", Fault::HalfLineAtEnd)
        .finds(1, Kind::Unexpected),
    Check::new("a connection is refused", Fault::TooMany).finds(FRAMES, Kind::Refused),
    Check::new("a connection is not closed", Fault::StayOpen).finds(1, Kind::Unclosed),
    Check::new("each first try is refused as busy", Fault::BusyFirst)
        .shows("all retried, every answer is right", is_right),
    Check::new("every try is refused as busy", Fault::BusyAlways)
        .with(|plan| plan.retries = 1)
        .finds(CLIENTS * FRAMES, Kind::Busy),
    Check::new("the server stalls under a closed loop", Fault::Stall)
        .with(one_at_a_time)
        .shows("the longest service time shows it", |result| {
            result.service.max_us >= Some(STALL.as_micros() as f64)
        }),
    Check::new("the server stalls under an open loop", Fault::Stall)
        .with(open_loop)
        .shows(
            "p90 of the latency shows it, not only one service time",
            |result| {
                let (latency, service) = (result.latency.us(90.0), result.service.us(90.0));
                latency > Some(STALL.as_micros() as f64 / 4.0) && latency > service
            },
        ),
    Check::new(
        "the server falls silent under an open loop",
        Fault::FallSilent,
    )
    .with(open_loop)
    .shows("what gets no answer stays in the latencies", |result| {
        let kinds = &result.failures.by_kind;
        kinds.contains_key("missing") && result.latency.unanswered > 0
    }),
    Check::new("the server stalls in one of two stages", Fault::Stall)
        .with(two_stages)
        .shows("each has its requests, and one has the stall", |result| {
            let due: Vec<u64> = result.stages.iter().map(|stage| stage.due).collect();
            let stall = Some(STALL.as_micros() as f64);
            let has_stall = |stage: &StageFigures| stage.latency.max_us >= stall;
            let stalls: Vec<bool> = result.stages.iter().map(has_stall).collect();
            (due, stalls) == (vec![50, 250], vec![true, false])
        }),
    Check::new("the server dies under an open loop", Fault::Die(20))
        .with(open_loop)
        .shows("all that was due counts in every figure", is_whole_plan),
    Check::new("half of the clients are starved", Fault::Starve)
        .with(|plan| {
            one_at_a_time(plan);
            plan.load = Load::Duration(Duration::from_secs(1));
        })
        .shows("by Jain's index, half of them got nothing", |result| {
            // A machine with other things to do serves the others unevenly too.
            result.fairness.jains_index < Some(0.6)
        }),
    Check::new("a rate that the server can serve", Fault::OneWorker)
        .with(|plan| many_clients_at(plan, 40.0))
        .shows("its backlog does not grow", |result| {
            grows(result) == Some(false)
        }),
    Check::new("the same rate in bursts of ten", Fault::OneWorker)
        .with(bursts)
        .shows("each waits for those before it", is_queue_of_a_burst),
    Check::new("a rate that is too high, for a moment", Fault::OneWorker)
        .with(|plan| many_clients_at(plan, 600.0))
        .shows("its backlog grows, though no latency is long", |result| {
            grows(result) == Some(true) && result.latency.max_us < Some(10e6)
        }),
];

fn grows(result: &RunResult) -> Option<bool> {
    result.backlog.as_ref().map(|backlog| backlog.grows)
}

/// Of 500 requests in a second, 20 got an answer. The others waited until the end of the load and
/// the second in which they might still have been sent.
fn is_whole_plan(result: &RunResult) -> bool {
    let median = result.latency.percentile(50.0);
    let is_median_a_bound = median.is_some_and(|median| median.is_lower_bound);
    (result.ledger.planned, result.ledger.ok) == (500, 20)
        && result.throughput_per_s == 20.0
        && is_median_a_bound
        && result.latency.us(50.0) > Some(1e6)
        && result.latency.unanswered == 480
}

fn is_right(result: &RunResult) -> bool {
    result.ledger.ok == u64::from(CLIENTS * FRAMES)
}

fn one_at_a_time(plan: &mut Plan) {
    plan.max_inflight = 1;
}

fn reconnecting(plan: &mut Plan) {
    one_at_a_time(plan);
    plan.reconnect = true;
}

/// One client that is due to send 500 requests a second.
fn open_loop(plan: &mut Plan) {
    one_at_a_time(plan);
    (plan.clients, plan.most_clients) = (1, 1);
    let second = Duration::from_secs(1);
    plan.load = Load::Rate(OpenLoop::steady(500.0, Arrivals::Uniform, second));
}

/// The same client, at 100 a second and then at 500.
fn two_stages(plan: &mut Plan) {
    open_loop(plan);
    let stages = [100.0, 500.0].map(|rate| Stage {
        duration: Duration::from_millis(500),
        rate,
    });
    plan.load = Load::Rate(OpenLoop {
        stages: stages.to_vec(),
        arrivals: Arrivals::Uniform,
        burst: 1,
    });
}

/// Four bursts of ten requests, far enough from each other.
fn bursts(plan: &mut Plan) {
    many_clients_at(plan, 40.0);
    if let Load::Rate(open) = &mut plan.load {
        open.burst = 10;
    }
}

/// The n-th of a burst waits for n times the service time of the one worker, or longer.
fn is_queue_of_a_burst(result: &RunResult) -> bool {
    let service_us = SERVICE.as_micros() as f64;
    result.ledger.ok == 40
        && result.latency.mean_us >= Some(5.5 * service_us)
        && result.latency.min_us < Some(5.5 * service_us)
        && result.latency.max_us >= Some(10.0 * service_us)
}

/// Far more clients than there are workers, at `rate`.
fn many_clients_at(plan: &mut Plan, rate: f64) {
    plan.max_inflight = 1;
    (plan.clients, plan.most_clients) = (64, 64);
    let second = Duration::from_secs(1);
    plan.load = Load::Rate(OpenLoop::steady(rate, Arrivals::Uniform, second));
}

/// They are lines, whatever the protocol is.
fn of_templates(plan: &mut Plan) {
    plan.requests = Requests::Template(template());
    plan.limits.framing = Framing::Lines;
}

fn plan(framing: Framing) -> Plan {
    Plan {
        clients: CLIENTS,
        most_clients: CLIENTS,
        threads: 1,
        load: Load::Frames(FRAMES),
        warmup: Duration::ZERO,
        max_inflight: 4,
        requests: Requests::all_of(Mix::Echo),
        hogs: 0,
        hog_inflight: 1,
        payload: Span { min: 20, max: 40 }.into(),
        sleep_ms: Span { min: 0, max: 0 }.into(),
        limits: Limits {
            framing,
            max_line_bytes: 2000,
            max_sleep_ms: 10_000,
        },
        seed: 1,
        timeout: TIMEOUT,
        retries: 5,
        connect_rate: 5000,
        reconnect: false,
    }
}

fn template() -> Exchange {
    let parsed = Exchange::parse(r"ECHO {c}-{n}\n", r"OK {c}-{n}\n");
    parsed.expect("both templates are well formed")
}

/// Runs every check in `framing`, and returns the exit code.
pub(crate) fn selftest(framing: Framing) -> Result<u8, Error> {
    let mut signals = catch_signals()?;
    let mut blind = 0;
    for check in &CHECKS {
        let Some(result) = run_check(check, framing, &mut signals)? else {
            return Ok(exit::INTERRUPTED);
        };
        let is_found = is_found(check, &result);
        blind += u32::from(!is_found);
        write_line(is_found, check.name, &found(check, &result))?;
    }
    for case in &comparisons::CASES {
        let finding = comparisons::judge(case, &plan(framing));
        blind += u32::from(!finding.is_right);
        write_line(finding.is_right, case.name, &finding.text)?;
    }
    let count = CHECKS.len() + comparisons::CASES.len();
    if blind == 0 {
        show(&format!(
            "PASS: {count} checks, each finds its fault and nothing else"
        ))?;
        Ok(exit::PASS)
    } else {
        show(&format!(
            "FAIL: {blind} of {count} checks do not find what they should"
        ))?;
        Ok(exit::FAIL)
    }
}

fn show(line: &str) -> anyhow::Result<()> {
    to_stdout(format!("{line}\n").as_bytes()).context("cannot write the report")
}

fn write_line(is_found: bool, name: &str, text: &str) -> anyhow::Result<()> {
    let mark = if is_found { "ok  " } else { "FAIL" };
    show(&format!("{mark}  {name:<44} {text}"))
}

/// The figures of one check, unless it was interrupted.
fn run_check(
    check: &Check,
    framing: Framing,
    signals: &mut Signals,
) -> Result<Option<RunResult>, Error> {
    let mut plan = plan(framing);
    (check.change)(&mut plan);
    let server = FaultyServer::start(check.fault, plan.limits)
        .context("cannot start the built-in server")?;
    let target = Target {
        addresses: vec![server.address()],
        name: "the built-in server".to_owned(),
        server: None,
    };
    let outcome = measure(&plan, &target, signals, false, Progress::Quiet)?;
    let was_interrupted = matches!(outcome.ended, Ended::Interrupted(_));
    Ok((!was_interrupted).then(|| RunResult::of(&plan, &target.name, &outcome)))
}

fn is_found(check: &Check, result: &RunResult) -> bool {
    let is_accounted = result.ledger.balances && result.little.holds && tells_the_same(result);
    let (total, ledger) = (result.failures.total, &result.ledger);
    let is_found = match &check.expected {
        Expected::Unanswered(count) => total == *count && ledger.missing + ledger.unsent == *count,
        Expected::Failures(count, kind) => {
            let of_kind = result.failures.by_kind.get(&kind.to_string());
            of_kind == Some(count) && result.failures.total == *count
        }
        Expected::Figure(holds, _) => holds(result),
    };
    is_accounted && is_found
}

/// Whether the failures count as many missing and unsent frames as the ledger does. Those of a
/// client that was refused are told as that.
fn tells_the_same(result: &RunResult) -> bool {
    let of = |kind: Kind| result.failures.by_kind.get(&kind.to_string()).copied();
    let told = (of(Kind::Missing), of(Kind::Unsent));
    let (missing, unsent) = (told.0.unwrap_or_default(), told.1.unwrap_or_default());
    let is_same = (missing, unsent) == (result.ledger.missing, result.ledger.unsent);
    is_same || of(Kind::Refused).is_some()
}

/// What was found, for people.
fn found(check: &Check, result: &RunResult) -> String {
    let by_kind = result.failures.by_kind.iter();
    let kinds: Vec<String> = by_kind
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let mut text = match (&check.expected, kinds.is_empty()) {
        (Expected::Figure(_, text), _) if is_found(check, result) => (*text).to_owned(),
        (_, true) => "found nothing".to_owned(),
        (_, false) => format!("found {}", kinds.join(", ")),
    };
    if !is_found(check, result) {
        text += match check.expected {
            Expected::Failures(count, kind) => format!("; should be {count} {kind}"),
            Expected::Unanswered(count) => format!("; should be {count} without an answer"),
            Expected::Figure(_, figure) => format!("; should be: {figure}"),
        }
        .as_str();
    }
    if !tells_the_same(result) {
        text += "; the failures are not those of the ledger";
    }
    if !result.ledger.balances {
        text += "; the ledger does not balance";
    }
    if !result.little.holds {
        text += "; Little's law does not hold";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::results::tests::{outcome, result};

    #[test]
    fn a_blind_check_and_a_false_alarm_are_told() {
        let mut outcome = outcome();
        let swapped = Check::new("swap", Fault::Swap).finds(1, Kind::Swapped);
        let blind = result(&outcome);
        assert!(!is_found(&swapped, &blind));
        assert_eq!(
            found(&swapped, &blind),
            "found nothing; should be 1 swapped"
        );
        let failures = &mut outcome.ledger.failures;
        failures.add(Kind::Swapped, 1, format_args!("client 0"), "x");
        assert!(is_found(&swapped, &result(&outcome)));
        let failures = &mut outcome.ledger.failures;
        failures.add(Kind::Missing, 1, format_args!("client 0"), "x");
        assert!(!is_found(&swapped, &result(&outcome)));
    }

    #[test]
    fn every_kind_that_a_built_in_server_can_cause_is_checked() {
        let kinds: Vec<Kind> = CHECKS
            .iter()
            .filter_map(|check| match check.expected {
                Expected::Failures(_, kind) => Some(kind),
                Expected::Unanswered(_) | Expected::Figure(..) => None,
            })
            .collect();
        // The spawned server's own end is no answer; what is unsent depends on time.
        let others = [Kind::Server, Kind::Unsent];
        for (kind, name) in Kind::NAMED {
            let is_checked = kinds.contains(&kind);
            assert!(is_checked || others.contains(&kind), "{name}");
        }
    }
}
