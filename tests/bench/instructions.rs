//! A fixed amount of work for the engine, to be counted in instructions: `.ci/deep instructions`.
//!
//! A good figure is the last one: the count does not depend on the machine's load, so a change of
//! more than a few in a hundred is a change of the code.

mod path;

use path::Path;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str| {
        let text = arguments.next().unwrap_or_default();
        text.parse::<usize>().unwrap_or_else(|_| {
            eprintln!(
                "usage: instructions EXCHANGES PIPELINE MAX_RUN; {what} is no number: {text:?}"
            );
            std::process::exit(2);
        })
    };
    let (exchanges, pipeline) = (number("EXCHANGES"), number("PIPELINE"));
    let mut path = Path::new(128, number("MAX_RUN"));
    let chunk = b"ECHO hello\n".repeat(pipeline);
    for _ in 0..exchanges {
        assert_eq!(path.exchange(&chunk), pipeline);
    }
}
