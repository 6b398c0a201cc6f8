//! The `stress_test` command.
//!
//! Knows the library only.
//!
//! Rule: nothing happens here.

use std::process::ExitCode;

fn main() -> ExitCode {
    stress_test::main()
}
