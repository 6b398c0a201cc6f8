//! The fuzz target `headers`: its body runs on what libFuzzer makes up.
//!
//! Knows nothing else: the body, and what it checks, stand in `bodies/headers.rs`.
//!
//! Rule: a target has no checks of its own, so tests/fuzz_regressions.rs repeats whatever it
//! finds.

#![no_main]

#[path = "../bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bodies::headers::check(data);
});
