//! Flags, variables and arguments that are wrong.
//!
//! Knows the table of flags and their ranges in `command_line.rs`.
//!
//! Rule: one line on standard error that names the flag and what is allowed, and exit code 2.

use crate::common::Server;
use crate::{NUMBERS, OTHER_NUMBERS, WORDS, run, run_with, variable_of};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

#[track_caller]
fn assert_names_flag_and_range(line: &str, flag: &str, low: u64, high: u64, context: &str) {
    assert!(line.contains(flag), "{context}: {line}");
    // Taken apart, so that the 1 of 1024 does not pass for the lower end.
    let numbers: Vec<&str> = line
        .split(|c: char| !c.is_ascii_digit())
        .filter(|number| !number.is_empty())
        .collect();
    for end in [low, high] {
        assert!(
            numbers.contains(&end.to_string().as_str()),
            "{context}: no {end} in: {line}"
        );
    }
}

#[test]
fn a_wrong_number_gives_one_line_with_flag_and_range_and_exit_code_2() {
    for (flag, _, low, high) in NUMBERS {
        let above = (high + 1).to_string();
        let mut wrong = vec![
            "",
            "x",
            "-1",
            "1.5",
            " 1",
            "4k",
            "99999999999999999999999",
            &above,
        ];
        if *low > 0 {
            wrong.push("0");
        }
        for value in wrong {
            let context = format!("{flag} {value:?}");
            let outcome = run(&[flag, value], &[]);
            let line = outcome.only_line(2, &context);
            assert_names_flag_and_range(line, flag, *low, *high, &context);
        }
        let joined = format!("{flag}=-1");
        assert_names_flag_and_range(
            run(&[&joined], &[]).only_line(2, &joined),
            flag,
            *low,
            *high,
            &joined,
        );
    }
}

#[test]
fn a_wrong_number_of_any_other_flag_gives_one_line_with_the_flag_and_exit_code_2() {
    for (flag, _) in OTHER_NUMBERS {
        for value in ["", "x", "-1", "1.5", "99999999999999999999999"] {
            let context = format!("{flag} {value:?}");
            let outcome = run(&[flag, value], &[]);
            let line = outcome.only_line(2, &context);
            assert!(line.contains(flag), "{context}: {line}");
            // A range, whatever it is.
            assert!(
                line.contains(|c: char| c.is_ascii_digit()),
                "{context}: {line}"
            );
        }
    }
}

#[test]
fn a_wrong_word_gives_one_line_with_flag_and_choices_and_exit_code_2() {
    for (flag, _, choices) in WORDS {
        for value in ["", "x", "FAIRLY"] {
            let context = format!("{flag} {value:?}");
            let outcome = run(&[flag, value], &[]);
            let line = outcome.only_line(2, &context);
            assert!(line.contains(flag), "{context}: {line}");
            for choice in *choices {
                assert!(line.contains(choice), "{context}: {line}");
            }
        }
    }
}

#[test]
fn a_wrong_admin_address_gives_one_line_with_the_flag_and_its_forms_and_exit_code_2() {
    for value in [
        "",
        "9001",
        ":9001",
        "unix:",
        "::1:9001",
        "[::1]",
        "localhost:66000",
        "a:b",
    ] {
        let outcome = run(&["--port", "0", "--admin", value], &[]);
        let line = outcome.only_line(2, value);
        for told in ["--admin", "HOST:PORT", "unix:PATH"] {
            assert!(line.contains(told), "{value:?}: {line}");
        }
    }
}

#[test]
fn a_wrong_variable_is_told_like_a_wrong_flag() {
    for (flag, _, low, high) in NUMBERS {
        let above = (high + 1).to_string();
        for value in ["x", "-1", &above] {
            let variable = variable_of(flag);
            let context = format!("{variable}={value}");
            let outcome = run(&[], &[(&variable, value)]);
            assert_names_flag_and_range(
                outcome.only_line(2, &context),
                flag,
                *low,
                *high,
                &context,
            );
        }
    }
    for (flag, _, choices) in WORDS {
        let outcome = run(&[], &[(&variable_of(flag), "x")]);
        let line = outcome.only_line(2, flag);
        assert!(line.contains(flag) && line.contains(choices[1]), "{line}");
    }
}

#[test]
fn bytes_that_are_no_text_give_one_line_with_the_flag_and_exit_code_2() {
    let no_text = OsStr::from_bytes(b"a\xff");
    for (flag, allowed) in [("--workers", "from 1 to 1024"), ("--admin", "unix:PATH")] {
        let outcome = run_with(&[OsStr::new(flag), no_text], &[]);
        let line = outcome.only_line(2, flag);
        assert!(line.contains(flag) && line.contains(allowed), "{line}");
    }
    // A path may have any bytes: what is wrong is the other flag.
    let path_and = |wrong: &[&str], env: &[(&str, &str)]| {
        let mut args = vec![OsStr::new("--unix"), no_text];
        args.extend(wrong.iter().map(OsStr::new));
        let line = run_with(&args, env)
            .only_line(2, "beside a path")
            .to_owned();
        assert!(line.contains("--workers"), "{line}");
    };
    path_and(&["--workers", "x"], &[]);
    path_and(&[], &[("REACTOR_POOL_WORKERS", "x")]);
}

#[test]
fn a_line_feed_in_what_is_wrong_leaves_one_line_that_says_all() {
    for (args, env, told) in [
        (
            &["--workers", "3\n4"][..],
            None,
            ["3\\n4", "--workers", "from 1 to 1024"],
        ),
        (
            &[],
            Some("3\n"),
            ["3\\n", "--workers", "REACTOR_POOL_WORKERS"],
        ),
        (
            &["--queue-order", "\nfair"],
            None,
            ["\\nfair", "--queue-order", "fair, fifo"],
        ),
        (
            &["--wor\nkers"],
            None,
            ["--wor\\nkers", "unexpected", "found"],
        ),
        (&["a\n\nb"], None, ["a\\n\\nb", "unexpected", "found"]),
    ] {
        let env = env.map(|value| ("REACTOR_POOL_WORKERS", value));
        let outcome = run(args, env.as_slice());
        let line = outcome.only_line(2, told[0]);
        for part in told {
            assert!(line.contains(part), "no {part:?} in {line:?}");
        }
    }
}

#[test]
fn what_the_system_refuses_is_one_line_whatever_is_in_it() {
    for (flag, value, shown) in [
        ("--host", "a\nb", "cannot listen on a\\nb:"),
        (
            "--trace-file",
            "/no\x1b[2J/x",
            "cannot write the trace to /no\\u{1b}[2J/x:",
        ),
    ] {
        let outcome = run(&["--port", "0", flag, value], &[]);
        let line = outcome.only_line(1, flag);
        assert!(line.contains(shown), "{line:?}");
    }
}

#[test]
fn a_wrong_switch_or_host_gives_one_line_with_what_is_allowed_and_exit_code_2() {
    for switch in ["--reuse-port", "--proxy-protocol", "--reject-when-full"] {
        for value in ["", "maybe", "2"] {
            let variable = variable_of(switch);
            let outcome = run(&["--port", "0"], &[(&variable, value)]);
            let line = outcome.only_line(2, switch);
            for told in [switch, "true", "false", &variable] {
                assert!(line.contains(told), "{line}");
            }
        }
    }
    for host in [OsStr::new(""), OsStr::from_bytes(b"\xff")] {
        let outcome = run_with(&[OsStr::new("--host"), host], &[]);
        let line = outcome.only_line(2, "--host");
        let told = ["--host", "an address or a name"];
        assert!(told.iter().all(|told| line.contains(told)), "{line}");
    }
}

#[test]
fn an_unknown_flag_or_a_stray_argument_gives_one_line_and_exit_code_2() {
    for args in [
        &["--frobnicate"][..],
        &["--frobnicate", "3"],
        &["stray"],
        &["-x"],
    ] {
        let outcome = run(args, &[]);
        let line = outcome.only_line(2, args[0]);
        assert!(line.contains(args[0]), "{line}");
    }
}

#[test]
fn a_flag_without_its_value_gives_one_line_with_the_flag_and_exit_code_2() {
    for flag in ["--workers", "--host", "--log-format"] {
        let outcome = run(&[flag], &[]);
        let line = outcome.only_line(2, flag);
        assert!(line.contains(flag), "{line}");
    }
}

#[test]
fn the_ends_of_the_ranges_are_allowed() {
    let least = [
        "--workers",
        "1",
        "--queue",
        "1",
        "--busy-timeout",
        "0",
        "--max-line",
        "1",
        "--max-inflight",
        "1",
        "--max-connections",
        "1",
        "--idle-timeout",
        "0",
        "--drain-timeout",
        "0",
        "--max-sleep",
        "0",
    ];
    let server = Server::start(&least);
    let mut client = server.connect();
    client.send("a\n");
    client.expect("ERR unknown op A");
    drop(server);

    let greatest = [
        "--workers",
        "1024",
        "--queue",
        "1000",
        "--busy-timeout",
        "3600000",
        "--max-line",
        "16777216",
        "--max-inflight",
        "65536",
        "--max-connections",
        "1000000",
    ];
    Server::start(&greatest).assert_serves();
}
