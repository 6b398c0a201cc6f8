//! Order by itself: places, runs, and what is held back.
//!
//! Knows no connection and no queue.
//!
//! Rule: whatever the order of completion, responses leave in the order of the requests.

use super::*;
use crate::codec::Lines;
use proptest::prelude::*;
use std::sync::Arc;

const MAX_RUN: usize = 3;

/// Responses by the number of their request.
fn leaving(order: &mut Order) -> Vec<(u64, Vec<u8>)> {
    let mut got = Vec::new();
    while let Some(leaving) = order.leave() {
        let lines = leaving.responses.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line).to_vec());
        got.extend(leaving.span.sequences().map(|n| n.0).zip(lines));
    }
    got
}

fn lines() -> Guarded<Lines> {
    Guarded::new(Arc::new(Lines::new(RUN_BYTES)))
}

fn span(first: u64, requests: usize) -> Span {
    Span {
        first: Sequence(first),
        requests,
    }
}

/// Opens a place for a line; says its number.
fn open(order: &mut Order, text: &str, is_quick: bool, now: Instant) -> Sequence {
    let frame = format!("{text}\n");
    let (requests, bytes) = order.room_to_join(MAX_RUN, now);
    if is_quick && requests > 0 && frame.len() <= bytes {
        order.join(frame.as_bytes(), 1, text.len());
    } else {
        order.open(frame.as_bytes(), 1, text.len(), is_quick, now);
    }
    Sequence(order.opened())
}

fn submit(order: &mut Order, slots: usize, now: Instant) -> Option<Run> {
    order.submit(slots, &lines(), now)
}

/// How the next waiting requests are submitted, with that many slots.
fn submitted(order: &mut Order, slots: usize) -> Option<(u64, usize, String)> {
    let run = submit(order, slots, Instant::now())?;
    let lines = String::from_utf8(run.frames).expect("ASCII");
    Some((run.span.first.0, run.span.requests, lines))
}

#[test]
fn a_response_waits_for_all_before_it() {
    let (mut order, now) = (Order::new(usize::MAX), Instant::now());
    let first = open(&mut order, "a", false, now);
    order.open_answered(b"too long\n".to_vec(), now);
    let third = open(&mut order, "c", false, now);
    assert_eq!(
        submit(&mut order, 9, now).map(|run| run.span.first),
        Some(first)
    );
    assert_eq!(
        submit(&mut order, 9, now).map(|run| run.span.first),
        Some(third)
    );
    order.fill(span(third.0, 1), b"3\n".to_vec(), now);
    assert_eq!(leaving(&mut order), []);
    order.fill(span(first.0, 1), b"1\n".to_vec(), now);
    let expected = [
        (1, b"1".to_vec()),
        (2, b"too long".to_vec()),
        (3, b"3".to_vec()),
    ];
    assert_eq!(leaving(&mut order), expected);
    assert!(order.is_empty() && order.kept_bytes() == 0);
}

#[test]
fn quick_requests_of_one_moment_run_together_and_others_alone() {
    let (mut order, now) = (Order::new(usize::MAX), Instant::now());
    let later = now + std::time::Duration::from_millis(1);
    for (text, is_quick, framed_at) in [
        ("a", true, now),
        ("b", true, now),
        ("c", true, now),
        ("past max_run", true, now),
        ("slow", false, now),
        ("slow too", false, now),
        ("d", true, now),
        ("e", true, later),
    ] {
        open(&mut order, text, is_quick, framed_at);
    }
    let runs = std::iter::from_fn(|| submitted(&mut order, 9));
    let lines: Vec<String> = runs.map(|(.., lines)| lines).collect();
    let expected = [
        "a\nb\nc\n",
        "past max_run\n",
        "slow\n",
        "slow too\n",
        "d\n",
        "e\n",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_run_is_at_most_so_long() {
    // With their LFs, two of the short lines fill a run, and a byte more does not fit.
    let (short, long) = ("x".repeat(RUN_BYTES / 2 - 1), "x".repeat(RUN_BYTES / 2));
    for (lines, expected) in [
        ([&short, &short, &short], [2, 1].as_slice()),
        ([&short, &long, &short], &[1, 1, 1]),
    ] {
        let (mut order, now) = (Order::new(usize::MAX), Instant::now());
        for line in lines {
            open(&mut order, line, true, now);
        }
        let runs = std::iter::from_fn(|| submitted(&mut order, 9));
        let requests: Vec<_> = runs.map(|(_, requests, _)| requests).collect();
        assert_eq!(requests, expected);
    }
}

#[test]
fn a_run_is_split_where_slots_are_scarce() {
    let (mut order, now) = (Order::new(usize::MAX), Instant::now());
    for text in ["a", "bb", ""] {
        open(&mut order, text, true, now);
    }
    assert_eq!(submitted(&mut order, 1), Some((1, 1, "a\n".to_owned())));
    order.check_invariants(&lines());
    assert_eq!(submitted(&mut order, 5), Some((2, 2, "bb\n\n".to_owned())));
    assert_eq!(submitted(&mut order, 5), None);
    order.fill(span(2, 2), b"2\n3\n".to_vec(), now);
    order.fill(span(1, 1), b"1\n".to_vec(), now);
    let numbers = leaving(&mut order).into_iter().map(|(n, _)| n);
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn every_request_of_a_refused_run_is_answered() {
    let (mut order, now) = (Order::new(usize::MAX), Instant::now());
    open(&mut order, "a", true, now);
    open(&mut order, "b", true, now);
    let refused = order.refuse(&lines());
    assert_eq!(refused, Some((span(1, 2), Ok(()))));
    assert_eq!(
        leaving(&mut order),
        [1, 2].map(|n| (n, b"ERR server busy".to_vec()))
    );
}

#[test]
fn requests_past_max_parallel_are_held_back_and_wait_from_their_release_on() {
    let (mut order, now) = (Order::new(1), Instant::now());
    let later = now + std::time::Duration::from_millis(1);
    open(&mut order, "a", false, now);
    open(&mut order, "b", false, now);
    assert_eq!((order.waiting(), order.waiting_since()), (2, Some(now)));
    let first = submit(&mut order, 9, now).expect("it waits").span;
    assert_eq!((order.waiting(), order.without_slot()), (0, 1));
    assert_eq!(
        (order.waiting_since(), submit(&mut order, 9, now)),
        (None, None)
    );
    order.fill(first, b"1\n".to_vec(), later);
    assert_eq!((order.waiting(), order.waiting_since()), (1, Some(later)));
    assert!(submit(&mut order, 9, later).is_some());
}

#[test]
fn a_request_that_runs_alone_waits_for_those_before_it_and_holds_back_those_behind() {
    let (mut order, now) = (Order::new(usize::MAX), Instant::now());
    let text = |run: Run| String::from_utf8(run.frames).expect("ASCII");
    open(&mut order, "a", true, now);
    order.open_alone(b"b\n", 1, now);
    open(&mut order, "c", true, now);
    open(&mut order, "d", true, now);
    for (expected, first, requests) in [("a\n", 1, 1), ("b\n", 2, 1), ("c\nd\n", 3, 2)] {
        assert_eq!(order.waiting(), order.without_slot(), "{expected}");
        assert_eq!(
            submit(&mut order, 9, now).map(text).as_deref(),
            Some(expected)
        );
        assert_eq!((order.waiting(), submit(&mut order, 9, now)), (0, None));
        order.check_invariants(&lines());
        order.fill(span(first, requests), b"\n".repeat(requests), now);
        assert_eq!(leaving(&mut order).len(), requests);
    }
}

#[test]
fn what_is_said_between_two_responses_leaves_between_them() {
    let (mut order, now) = (Order::new(usize::MAX), Instant::now());
    open(&mut order, "a", false, now);
    order.open_interim(b"go on\n", now);
    let second = open(&mut order, "b", false, now);
    order.open_interim(b"", now);
    let runs = [(); 2].map(|()| submit(&mut order, 1, now).expect("it waits").span);
    assert_eq!((order.len(), runs[1]), (2, span(second.0, 1)));
    order.fill(runs[1], b"2\n".to_vec(), now);
    order.check_invariants(&lines());
    order.fill(runs[0], b"1\n".to_vec(), now);
    let all: Vec<_> = std::iter::from_fn(|| order.leave()).collect();
    let expected = [&b"1\n"[..], b"go on\n", b"2\n"];
    assert!(
        all.iter()
            .map(|leaving| &leaving.responses[..])
            .eq(expected)
    );
}

#[test]
fn nothing_behind_a_last_response_leaves() {
    let (mut order, now) = (Order::new(usize::MAX), Instant::now());
    for text in ["a", "b", "c", "d"] {
        open(&mut order, text, false, now);
    }
    let runs = [(); 3].map(|()| submit(&mut order, 1, now).expect("it waits").span);
    assert_eq!(order.fill(runs[2], b"3\n".to_vec(), now), Some(now));
    assert_eq!(order.end_after(runs[1]), 1, "the fourth waited");
    assert_eq!(order.fill(runs[1], b"2\n".to_vec(), now), Some(now));
    order.check_invariants(&lines());
    assert_eq!((order.len(), order.has_submitted()), (2, true));
    assert_eq!(order.fill(runs[0], b"1\n".to_vec(), now), Some(now));
    assert_eq!(leaving(&mut order).len(), 2);
    assert!(order.is_empty() && !order.has_submitted() && order.kept_bytes() == 0);
}

proptest! {
    /// Steps: open a request, quick or not; open one that is answered at once; give slots;
    /// refuse; or complete any of the submitted runs. Then finish in any order.
    #[test]
    fn any_completion_order_gives_request_order(
        steps in prop::collection::vec((0..7u8, 1..5usize, any::<prop::sample::Index>()), 1..200),
        finish in any::<u64>(),
    ) {
        let (mut order, mut now) = (Order::new(usize::MAX), Instant::now());
        let (mut opened, mut running, mut got) = (0u64, Vec::new(), Vec::new());
        let mut expected = Vec::new();
        let mut release = |order: &mut Order| {
            got.extend(leaving(order));
            order.check_invariants(&lines());
        };
        for (kind, slots, pick) in steps {
            match kind {
                0..=2 => {
                    opened += 1;
                    let text = opened.to_string();
                    prop_assert_eq!(open(&mut order, &text, kind > 0, now), Sequence(opened));
                    expected.push((opened, text.into_bytes()));
                }
                3 => {
                    opened += 1;
                    let text = opened.to_string();
                    order.open_answered(format!("{text}\n").into_bytes(), now);
                    expected.push((opened, text.into_bytes()));
                    now += std::time::Duration::from_millis(1);
                }
                4 => {
                    if let Some(run) = submit(&mut order, slots, now) {
                        prop_assert!(run.span.requests <= slots.min(MAX_RUN));
                        running.push((run.span, run.frames));
                    }
                }
                5 => {
                    for n in order.refuse(&lines()).iter().flat_map(|(span, _)| span.sequences()) {
                        expected[n.0 as usize - 1].1 = b"ERR server busy".to_vec();
                    }
                }
                _ if running.is_empty() => {}
                _ => {
                    let (span, lines) = running.swap_remove(pick.index(running.len()));
                    order.fill(span, lines, now);
                }
            }
            release(&mut order);
        }
        running.extend(std::iter::from_fn(|| submit(&mut order, 9, now)).map(|run| (run.span, run.frames)));
        running.sort_by_key(|(span, _)| (span.first.0 ^ finish).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for (span, lines) in running {
            order.fill(span, lines, now);
            release(&mut order);
        }
        prop_assert_eq!(got, expected);
        prop_assert!(order.is_empty());
    }
}
