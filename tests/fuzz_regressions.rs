//! The fuzz targets without a fuzzer: their bodies over the kept inputs, and over seeded random
//! ones.
//!
//! Knows neither libFuzzer nor what the bodies check.
//!
//! Rule: an input that ever failed is kept in `tests/fuzz/corpus-kept` for good; a failure names
//! its input as the line that belongs there.

#[path = "fuzz/bodies/mod.rs"]
mod bodies;

use bodies::{connection, framing, headers, http, lengths, mistakes, slots};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const FRAMING: &str = include_str!("fuzz/corpus-kept/framing.hex");
const CONNECTION: &str = include_str!("fuzz/corpus-kept/connection.hex");
const SLOTS: &str = include_str!("fuzz/corpus-kept/slots.hex");
const LENGTHS: &str = include_str!("fuzz/corpus-kept/lengths.hex");
const HEADERS: &str = include_str!("fuzz/corpus-kept/headers.hex");
const MISTAKES: &str = include_str!("fuzz/corpus-kept/mistakes.hex");
const HTTP: &str = include_str!("fuzz/corpus-kept/http.hex");

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
fn kept_inputs_of_lengths_pass() {
    let inputs = kept(LENGTHS);
    assert!(inputs.len() >= 10, "the file is there");
    inputs.iter().for_each(|input| {
        run(lengths::check, input);
    });
}

#[test]
fn kept_inputs_of_headers_pass() {
    let inputs = kept(HEADERS);
    assert!(inputs.len() >= 10, "the file is there");
    inputs.iter().for_each(|input| {
        run(headers::check, input);
    });
}

#[test]
fn kept_inputs_of_http_pass() {
    let inputs = kept(HTTP);
    assert!(inputs.len() >= 10, "the file is there");
    inputs.iter().for_each(|input| {
        run(http::check, input);
    });
}

#[test]
fn kept_inputs_of_mistakes_pass() {
    let inputs = kept(MISTAKES);
    assert!(inputs.len() >= 10, "the file is there");
    inputs.iter().for_each(|input| {
        run(mistakes::check, input);
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

#[test]
fn random_frames_with_their_length_in_front_are_found_however_they_are_split() {
    let mut all = lengths::Counts::default();
    for seed in 1..=RANDOM_INPUTS {
        let mut random = Random::new(seed);
        let mut input = random.bytes(7, false);
        // The width and order of the lengths are those that the first byte chooses.
        let width = 1 + usize::from(input[0]) % 8;
        let is_big_endian = (input[0] / 8).is_multiple_of(2);
        for _ in 0..random.below(20) {
            let length = random.below(70);
            let mut digits = (length as u64).to_le_bytes()[..width].to_vec();
            if is_big_endian {
                digits.reverse();
            }
            if random.below(20) == 0 {
                digits[random.below(width)] = random.next() as u8;
            }
            input.extend(digits);
            input.extend(random.bytes(length, false));
        }
        input.truncate(input.len() - random.below(3).min(input.len()));
        all.add(run(lengths::check, &input));
    }
    println!("{all:?}");
    assert!(all.requests > RANDOM_INPUTS);
    assert!(all.all().iter().all(|count| *count > 50), "{all:?}");
}

#[test]
fn random_headers_of_proxies_name_the_same_client_however_they_are_split() {
    let mut all = headers::Counts::default();
    for seed in 1..=RANDOM_INPUTS {
        let mut random = Random::new(seed);
        let mut input = random.bytes(7, false);
        // Most headers are right: no byte of them becomes another one.
        if random.below(3) > 0 {
            input[1] = 0xff;
        }
        let count = random.below(100);
        input.extend(random.bytes(count, true));
        all.add(&run(headers::check, &input));
    }
    println!("{all:?}");
    let headers::Counts {
        clients,
        local,
        bad,
        requests,
    } = all;
    assert!([clients, local, bad].iter().all(|count| *count > 100));
    assert!(requests > RANDOM_INPUTS);
}

#[test]
fn random_mistakes_of_a_codec_harm_no_other_connection() {
    let mut all = mistakes::Counts::default();
    for seed in 1..=RANDOM_INPUTS {
        let mut random = Random::new(seed);
        let mut input = random.bytes(1, false);
        for _ in 0..random.below(250) {
            let what = random.below(16) as u8;
            let how = random.next() as u8;
            input.extend([what, how]);
            if what < 7 {
                // Some that make no mistake, some of each kind that does.
                let kinds = [0, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
                let mut bytes = random.bytes(1 + usize::from(how) % 24, false);
                bytes[0] = kinds[random.below(kinds.len())];
                input.extend(bytes);
            }
        }
        let counts = run(mistakes::check, &input);
        all.good += counts.good;
        all.closed += counts.closed;
        all.run += counts.run;
    }
    println!("{all:?}");
    assert!(all.good > RANDOM_INPUTS && all.closed > RANDOM_INPUTS && all.run > RANDOM_INPUTS);
}

#[test]
fn random_http_is_cut_where_a_plain_reader_cuts_it() {
    let mut all = http::Counts::default();
    for seed in 1..=3 * RANDOM_INPUTS {
        let mut random = Random::new(seed);
        let mut input = random.bytes(6, false);
        // What a handler writes.
        let response = RESPONSES[random.below(RESPONSES.len())];
        let response = with_mistakes(&mut random, response);
        input.push(response.len() as u8);
        input.extend(response);
        for _ in 0..random.below(6) {
            let message = MESSAGES[random.below(MESSAGES.len())];
            input.extend(with_mistakes(&mut random, message));
        }
        all.add(run(http::check, &input));
    }
    println!("{all:?}");
    assert!(all.requests > RANDOM_INPUTS);
    assert!(all.all().iter().all(|count| *count > 50), "{all:?}");
}

/// Whole requests, in the pieces of which inputs consist.
const MESSAGES: [&[&str]; 9] = [
    &["GET / HTTP/1.1\r\nhost: a\r\n\r\n"],
    &["HEAD / HTTP/1.1\r\nhost: a\r\n\r\n"],
    &[POST, "x: y\r\n", "connection: close\r\n", "\r\n"],
    &[POST, "content-length: 3\r\n", "\r\n", "abc"],
    &[POST, "content-length: 3\r\n", "\r\n", "abc"],
    &[POST, CHUNKED, "\r\n", "3\r\nabc\r\n", "0\r\n\r\n"],
    &[POST, EXPECT, CHUNKED, "\r\n"],
    &[
        POST,
        CHUNKED,
        "\r\n",
        "2;a=b\r\nxy\r\n",
        "0\r\n",
        "x: y\r\n",
        "\r\n",
    ],
    &[
        "GET /a?b=c HTTP/1.0\r\n",
        "connection: keep-alive\r\n",
        "\r\n",
    ],
];
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\n";
const EXPECT: &str = "expect: 100-continue\r\n";
const CHUNKED: &str = "transfer-encoding: chunked\r\n";

/// Whole responses.
const RESPONSES: [&[&str]; 4] = [
    &[
        "HTTP/1.1 200 OK\r\n",
        "content-length: 3\r\n",
        "\r\n",
        "abc",
    ],
    &["HTTP/1.1 204 No Content\r\n", "x: y\r\n", "\r\n"],
    &[
        "HTTP/1.1 204 No Content\r\n",
        "content-length: 0\r\n",
        "\r\n",
    ],
    &[
        "HTTP/1.0 500 \r\n",
        "x: y\r\n",
        "content-length: 3\r\n",
        "\r\n",
        "abc",
    ],
];

/// A message, in which now and then a piece is missing, or another one is too much.
fn with_mistakes(random: &mut Random, message: &[&str]) -> Vec<u8> {
    let mut pieces: Vec<u8> = message.iter().map(|piece| http::piece(piece)).collect();
    match random.below(8) {
        0 => {
            pieces.remove(random.below(pieces.len()));
        }
        1 => {
            let anything = random.next() as u8;
            pieces.insert(random.below(pieces.len() + 1), anything);
        }
        _ => {}
    }
    pieces
}
