//! What docs/protocol.md says about lines, written the plain way: the whole stream, cut at each
//! LF.
//!
//! Knows nothing of the engine.
//!
//! Rule: nothing here is taken from the code that it is compared with.

/// What a place in the order of a connection is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    Line(Vec<u8>),
    TooLong,
    Incomplete,
}

/// The cuts of a stream of which so much has been read; `ended` says that there is no more.
pub(crate) fn cut(stream: &[u8], ended: bool, max_line: usize) -> Vec<Cut> {
    let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let rest = pieces.pop().expect("splitting gives a piece at least");
    let is_too_long = |line: &[u8]| line.len() > max_line;
    let mut cuts: Vec<Cut> = pieces
        .into_iter()
        .map(without_cr)
        .map(|line| match is_too_long(line) {
            true => Cut::TooLong,
            false => Cut::Line(line.to_vec()),
        })
        .collect();
    if is_too_long(without_cr(rest)) {
        cuts.push(Cut::TooLong);
    } else if ended && !rest.is_empty() {
        cuts.push(Cut::Incomplete);
    }
    cuts
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What the loop itself answers, LF included; nothing for a line, which a worker answers.
pub(crate) fn answer_of_the_loop(cut: &Cut, max_line: usize) -> Option<Vec<u8>> {
    match cut {
        Cut::Line(_) => None,
        Cut::TooLong => Some(format!("ERR line too long (limit {max_line} bytes)\n").into_bytes()),
        Cut::Incomplete => Some(b"ERR incomplete line\n".to_vec()),
    }
}
