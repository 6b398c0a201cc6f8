//! Variables and flags that say different things, and units.
//!
//! Knows the command line and the environment; no protocol.
//!
//! Rule: the command line wins, and what the environment says in vain is no mistake.

use stress_test::Fault;

use crate::support::{against, run, server, stress_test};

/// Variables with what they say, and flags that overrule them.
type Overruled = (
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

#[test]
fn the_command_line_wins_over_the_environment() {
    let cases: [Overruled; 11] = [
        (&[("SPAWN", "1")], &["--frames", "2"]),
        (&[("SPAWN", "0")], &["--frames", "2"]),
        (
            &[("SPAWN", "1"), ("WORKERS", "2"), ("QUEUE", "5")],
            &["--frames", "2"],
        ),
        (
            &[("WORKERS", "2"), ("SERVER_ARG", "-v")],
            &["--frames", "2"],
        ),
        (&[("RATE", "100")], &["--frames", "2"]),
        (&[("DURATION", "1")], &["--frames", "2"]),
        (&[("FRAMES", "7")], &["--duration", "0.2"]),
        (&[("QUIET", "1")], &["--frames", "2", "-v"]),
        (&[("VERBOSE", "0"), ("QUIET", "1")], &["--frames", "2"]),
        (
            &[("SEND", "x"), ("EXPECT", "y")],
            &["--frames", "2", "--mix", "echo"],
        ),
        (
            &[("HTTP", "/"), ("EXPECT_BODY", "y")],
            &["--frames", "2", "--mix", "echo"],
        ),
    ];
    let server = server(Fault::None);
    for (variables, flags) in cases {
        let mut command = against(&server, flags);
        command.args(["--clients", "2"]);
        for (name, value) in variables {
            command.env(format!("STRESS_TEST_{name}"), value);
        }
        let report = run(command);
        assert_eq!(report.code, Some(0), "{variables:?} {flags:?}: {report}");
    }
}

#[test]
fn two_variables_that_exclude_each_other_are_wrong_usage() {
    let mut command = stress_test(&[]);
    command
        .env("STRESS_TEST_RATE", "5")
        .env("STRESS_TEST_FRAMES", "5");
    run(command).assert_complains(2, &["--rate", "--frames"]);
    let mut command = stress_test(&["--port", "5"]);
    command.env("STRESS_TEST_SEND", "x");
    run(command).assert_complains(2, &["--expect"]);
}

#[test]
fn a_variable_that_holds_is_read() {
    let server = server(Fault::None);
    let mut command = against(&server, &["--clients", "2"]);
    command.env("STRESS_TEST_FRAMES", "7");
    run(command).assert_passes("2 clients x 7 frames = 14 verified");
}

#[test]
fn times_and_conditions_may_have_their_unit_or_not() {
    let server = server(Fault::None);
    for duration in ["0.3", "0.3s", "300ms"] {
        let flags = [
            "--duration",
            duration,
            "--warmup",
            "100ms",
            "--timeout",
            "10s",
        ];
        let report = run(against(&server, &flags));
        report.assert_passes("50 clients for 0.3 s");
    }
    let flags = ["--frames", "20", "--fail-if", "max<0.001"];
    let report = run(against(&server, &flags));
    // Unless the machine is so busy that the generator is the limit.
    assert!(matches!(report.code, Some(0 | 5)), "{report}");
    let flags = ["--frames", "20", "--fail-if", "max<60000,busy<1"];
    let report = run(against(&server, &flags));
    assert!(matches!(report.code, Some(4 | 5)), "{report}");
    assert!(
        report.stdout.contains("--fail-if max<60000: it is "),
        "{report}"
    );
}
