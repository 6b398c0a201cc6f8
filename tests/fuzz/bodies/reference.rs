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
    /// The first line is of another protocol. Nothing comes behind it.
    Foreign(&'static str),
}

/// The cuts of a stream of which so much has been read; `ended` says that there is no more.
pub(crate) fn cut(stream: &[u8], ended: bool, max_line: usize) -> Vec<Cut> {
    let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let rest = pieces.pop().expect("splitting gives a piece at least");
    let is_too_long = |line: &[u8]| line.len() > max_line;
    let first = pieces.first().map(|line| without_cr(line));
    if let Some(words) = first.filter(|line| !is_too_long(line)).and_then(foreign) {
        return vec![Cut::Foreign(words)];
    }
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

/// What a first line is told that is of another protocol.
fn foreign(line: &[u8]) -> Option<&'static str> {
    const METHODS: &str = " GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH PRI ";
    let starts = ["PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN"];
    if starts
        .iter()
        .any(|start| line.starts_with(start.as_bytes()))
    {
        return Some("ERR unexpected PROXY header");
    }
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, _, version] = words[..] else {
        return None;
    };
    let method = str::from_utf8(method).ok()?;
    let is_method = !method.is_empty() && METHODS.contains(&format!(" {method} "));
    let is_digit = |at: usize| version[at].is_ascii_digit();
    let is_version = version.len() == "HTTP/1.1".len()
        && version.starts_with(b"HTTP/")
        && (is_digit(5) && version[6] == b'.' && is_digit(7));
    (is_method && is_version).then_some("ERR this is not an HTTP server")
}

/// A header of version 2 is known only if it comes in one read, which no stream tells. So nothing
/// here begins like one.
pub(crate) fn without_binary_header(stream: &[u8]) -> &[u8] {
    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    match stream.starts_with(HEADER) {
        true => &stream[1..],
        false => stream,
    }
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
        Cut::Foreign(words) => Some(format!("{words}\n").into_bytes()),
    }
}
