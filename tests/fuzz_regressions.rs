//! The fuzz targets without a fuzzer: their bodies over the kept inputs, and over seeded random
//! ones.
//!
//! Knows neither libFuzzer nor what the bodies check.
//!
//! Rule: an input that ever failed is kept in `tests/fuzz/corpus-kept` for good; a failure names
//! its input as the line that belongs there.

#[path = "fuzz/bodies/mod.rs"]
mod bodies;

use bodies::{connection, framing, slots};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const FRAMING: &str = include_str!("fuzz/corpus-kept/framing.hex");
const CONNECTION: &str = include_str!("fuzz/corpus-kept/connection.hex");
const SLOTS: &str = include_str!("fuzz/corpus-kept/slots.hex");

/// Random inputs of each kind; seeds from 1.
const RANDOM_INPUTS: u64 = 1000;

/// Seeded random numbers (xorshift64*), the same on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        // Zero would stay zero for ever.
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (((self.next() >> 32) * end as u64) >> 32) as usize
    }

    /// Any bytes, or, where they are lines, mostly those that decide where a line ends.
    fn bytes(&mut self, count: usize, are_lines: bool) -> Vec<u8> {
        let of_lines = |random: &mut Random| b"\n\n\r\rabc\0"[random.below(8)];
        (0..count)
            .map(|_| match are_lines && self.below(16) > 0 {
                true => of_lines(self),
                false => self.next() as u8,
            })
            .collect()
    }
}

/// The inputs of a file: one a line in hexadecimal; what follows `#` says what it is.
fn kept(file: &str) -> Vec<Vec<u8>> {
    let lines = file
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    let lines = lines.map(str::trim).filter(|line| !line.is_empty());
    lines.map(from_hex).collect()
}

fn from_hex(line: &str) -> Vec<u8> {
    assert!(line.is_ascii() && line.len().is_multiple_of(2), "{line}");
    (0..line.len() / 2)
        .map(|at| &line[2 * at..2 * at + 2])
        .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"))
        .collect()
}

/// Runs `body`; a failure says with which input.
fn run<T>(body: fn(&[u8]) -> T, input: &[u8]) -> T {
    catch_unwind(AssertUnwindSafe(|| body(input))).unwrap_or_else(|failure| {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("the input that failed:\n{hex}");
        resume_unwind(failure)
    })
}

#[test]
fn kept_inputs_of_framing_pass() {
    let inputs = kept(FRAMING);
    assert!(inputs.len() >= 10, "the file is there");
    inputs.iter().for_each(|input| {
        run(framing::check, input);
    });
}

#[test]
fn kept_inputs_of_a_connection_pass() {
    let inputs = kept(CONNECTION);
    assert!(inputs.len() >= 10, "the file is there");
    inputs.iter().for_each(|input| {
        run(connection::check, input);
    });
}

#[test]
fn kept_inputs_of_slots_pass() {
    let inputs = kept(SLOTS);
    assert!(inputs.len() >= 10, "the file is there");
    inputs.iter().for_each(|input| {
        run(slots::check, input);
    });
}

#[test]
fn random_splits_of_random_bytes_are_framed_as_the_whole() {
    let mut frames = 0;
    for seed in 1..=RANDOM_INPUTS {
        let mut random = Random::new(seed);
        let mut input = random.bytes(6, false);
        let length = random.below(120);
        input.extend(random.bytes(length, true));
        frames += run(framing::check, &input);
    }
    assert!(frames as u64 > 10 * RANDOM_INPUTS, "only {frames} frames");
}

#[test]
fn random_lives_of_a_connection_keep_the_promises() {
    let mut all = connection::Counts::default();
    for seed in 1..=RANDOM_INPUTS {
        let mut random = Random::new(seed);
        let mut input = random.bytes(6, false);
        for _ in 0..random.below(250) {
            // Mostly what goes on; the ends of a connection, and of the server, now and then.
            let what = match random.below(60) {
                0 => 4,
                1 => 5,
                2 => 15,
                3 => 13,
                _ => [0, 2, 3, 6, 7, 8, 9, 10, 10, 12, 14, 14][random.below(12)],
            };
            let how = random.next() as u8;
            input.extend([what, how]);
            if what < 2 {
                input.extend(random.bytes(1 + usize::from(how) % 32, true));
            }
        }
        all.add(&run(connection::check, &input));
    }
    println!("{all:?}");
    assert!(all.steps > 100 * RANDOM_INPUTS);
    assert_eq!(all.never(), [""; 0], "these have never happened");
}

#[test]
fn slots_go_round_one_by_one_whatever_waits() {
    let mut all = slots::Counts::default();
    for seed in 1..=RANDOM_INPUTS {
        let mut random = Random::new(seed);
        let length = 1 + random.below(300);
        let counts = run(slots::check, &random.bytes(length, false));
        all.requests += counts.requests;
        all.several_rounds += counts.several_rounds;
        all.runs += counts.runs;
    }
    println!("{all:?}");
    assert!(all.several_rounds > RANDOM_INPUTS && all.runs > RANDOM_INPUTS);
}
