//! Bytes and a split: however the bytes arrive, the engine frames what the reference cuts.
//!
//! Knows the engine's door for bytes and the reference; no time passes here.
//!
//! Rule: after each piece the answers are those to exactly what has come so far, none late.

use super::codec::pieces;
use super::reference::{Cut, answer_of_the_loop, cut, without_binary_header};
use super::{Input, MAX_RUNS, is_quick, lines, lines_of};
use reactor_pool::Config;
use reactor_pool::codec::Lines;
use reactor_pool::engine::{Action, Engine};
use reactor_pool::task::{Completion, ConnectionId, Outcomes};
use std::time::Instant;

/// Longer streams only take longer.
const LONGEST_STREAM_BYTES: usize = 2000;

/// Checks one input: two bytes of limits and slots, four lengths of pieces that take turns, then
/// the stream. Returns how many frames it had.
pub(crate) fn check(data: &[u8]) -> usize {
    let mut input = Input(data);
    let max_line = 1 + input.byte_or_zero() % 24;
    let choice = input.byte_or_zero();
    let slots = 1 + choice / 32;
    let config = Config::default()
        .max_line(max_line)
        .max_inflight(1 + choice % 8)
        .max_run(MAX_RUNS[choice / 8 % 4]);
    let lengths = [(); 4].map(|()| 1 + input.byte_or_zero() % 40);
    let stream = without_binary_header(input.take(LONGEST_STREAM_BYTES));

    arrive(&config, slots, &pieces(stream, lengths));
    arrive(&config, slots, &[stream]);
    cut(stream, true, config.max_line).len()
}

/// One connection whose stream arrives in `pieces`, with `slots` for workers that answer `OK ` and
/// the line.
fn arrive(config: &Config, slots: usize, pieces: &[&[u8]]) {
    let mut engine = Engine::new(config.clone(), lines(config), Box::new(is_quick));
    let now = Instant::now();
    let id = engine.accept(now).id;
    let (mut come, mut output) = (Vec::new(), Vec::new());
    for piece in pieces {
        if let [Cut::Foreign(_)] = cut(&come, false, config.max_line)[..] {
            assert_eq!(engine.next_action(id, true), Action::ShutDown);
            break;
        }
        assert_eq!(
            engine.next_action(id, true),
            Action::Read,
            "nothing is in the way"
        );
        engine.received(id, piece, now);
        engine.check_invariants();
        come.extend_from_slice(piece);
        answer_all(&mut engine, id, slots, now, &mut output);
        compare(&output, &come, false, config);
    }
    engine.received_end(id, now);
    answer_all(&mut engine, id, slots, now, &mut output);
    compare(&output, &come, true, config);
    assert!(matches!(
        engine.next_action(id, false),
        Action::Close { .. }
    ));
}

fn answer_all(
    engine: &mut Engine<Lines>,
    id: ConnectionId,
    slots: usize,
    now: Instant,
    output: &mut Vec<u8>,
) {
    loop {
        let unsent = engine.unsent(id).to_vec();
        engine.sent(id, unsent.len(), now);
        output.extend_from_slice(&unsent);
        let mut tasks = Vec::new();
        engine.submit(slots, now, &mut tasks);
        if tasks.is_empty() {
            return;
        }
        for task in tasks {
            let lines = lines_of(&task.run.frames);
            let completion = Completion {
                connection: id,
                span: task.run.span,
                responses: lines.into_iter().flat_map(answer).collect(),
                outcomes: Outcomes {
                    ok: task.run.span.requests,
                    ..Outcomes::default()
                },
                started_at: now,
                finished_at: now,
                is_last: false,
                worker: 0,
                is_overrun: false,
            };
            engine.completed(completion, now);
            engine.check_invariants();
        }
    }
}

fn answer(line: &[u8]) -> Vec<u8> {
    [b"OK ", line, b"\n"].concat()
}

#[track_caller]
fn compare(output: &[u8], come: &[u8], ended: bool, config: &Config) {
    let expected: Vec<u8> = cut(come, ended, config.max_line)
        .iter()
        .flat_map(|cut| match cut {
            Cut::Line(line) => answer(line),
            other => answer_of_the_loop(other, config.max_line).expect("it is no line"),
        })
        .collect();
    assert!(
        output == expected,
        "max_line {}, after {:?}: got {:?}, expected {:?}",
        config.max_line,
        come.escape_ascii().to_string(),
        output.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}
