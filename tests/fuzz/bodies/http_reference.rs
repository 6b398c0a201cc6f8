//! HTTP/1.1 messages, written the plain way from RFC 9112: where the first one ends, or that two
//! readers could understand it differently.
//!
//! Knows nothing of the codec, and of no parser.
//!
//! Rule: what is not said plainly is refused. A message that this reader and the codec cut at
//! different places is one that can be smuggled past a proxy.

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    /// Without the framing of chunks.
    pub(crate) body: Vec<u8>,
    /// Its own length, head and framing included.
    pub(crate) bytes: usize,
    /// The connection closes after its response.
    pub(crate) is_last: bool,
    /// `HTTP/1.0`, whose connections close unless both sides say otherwise.
    pub(crate) is_old: bool,
}

/// What a message may have at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head_bytes: usize,
    pub(crate) body_bytes: usize,
    pub(crate) headers: usize,
}

type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// The request at the front of `stream`, behind empty lines; nothing if none is whole, or it is
/// not plain.
pub(crate) fn request(stream: &[u8], limits: Limits) -> Option<Request> {
    let (mut lines, head) = head(stream)?;
    let first = lines.remove(0);
    let words: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return None;
    };
    let is_visible = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    let is_target =
        !target.is_empty() && target.iter().all(is_visible) && std::str::from_utf8(target).is_ok();
    let is_old = version == b"HTTP/1.0";
    if !is_token(method) || !is_target || !(is_old || version == b"HTTP/1.1") {
        return None;
    }
    let headers = headers(&lines)?;
    if head > limits.head_bytes || headers.len() > limits.headers {
        return None;
    }
    if !is_old && values(&headers, "host").len() != 1 {
        return None;
    }
    let (body, body_bytes) = body(&stream[head..], &headers, is_old, limits)?;
    let has = |option: &str| options(&headers, "connection").contains(&option.into());
    Some(Request {
        method: method.to_vec(),
        target: target.to_vec(),
        body,
        bytes: head + body_bytes,
        is_last: has("close") || is_old && !has("keep-alive"),
        is_old,
    })
}

/// Whether these bytes, a part of a request, are a head after which the client waits to hear that
/// it may send the body.
pub(crate) fn waits_for_continue(part: &[u8]) -> bool {
    let Some((lines, end)) = head(part) else {
        return false;
    };
    let headers = headers(&lines[1..]).expect("it would be refused otherwise");
    let is_new = lines[0].ends_with(b"HTTP/1.1");
    end == part.len() && is_new && options(&headers, "expect").contains(&"100-continue".into())
}

/// The body of a request, and how many bytes it has with its framing.
fn body(
    behind: &[u8],
    headers: &Headers,
    is_old: bool,
    limits: Limits,
) -> Option<(Vec<u8>, usize)> {
    let (lengths, codings) = (
        values(headers, "content-length"),
        values(headers, "transfer-encoding"),
    );
    match (&lengths[..], &codings[..]) {
        ([], []) => Some((Vec::new(), 0)),
        ([length], []) => {
            if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
            let body = behind.get(..length)?;
            (length <= limits.body_bytes).then(|| (body.to_vec(), length))
        }
        ([], [coding]) if !is_old && coding.eq_ignore_ascii_case(b"chunked") => {
            chunked(behind, limits)
        }
        _ => None,
    }
}

fn chunked(behind: &[u8], limits: Limits) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = line(&behind[at..])?;
        if line.len() + 2 > limits.head_bytes {
            return None;
        }
        at += line.len() + 2;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits = digits.count();
        let extension = trimmed(&line[digits..]);
        if !(1..=16).contains(&digits) || !(extension.is_empty() || extension.starts_with(b";")) {
            return None;
        }
        if !extension.iter().all(is_field_byte) {
            return None;
        }
        let text = std::str::from_utf8(&line[..digits]).expect("ASCII");
        let size = u64::from_str_radix(text, 16).expect("16 digits fit");
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        body.extend_from_slice(behind.get(at..at.checked_add(size)?)?);
        at += size;
        if !behind[at..].starts_with(b"\r\n") {
            return None;
        }
        at += 2;
    }
    let (mut trailers, start) = (Vec::new(), at);
    loop {
        let line = line(&behind[at..])?;
        at += line.len() + 2;
        if line.is_empty() {
            break;
        }
        trailers.push(line.to_vec());
    }
    let are_fine = headers(&trailers).is_some_and(|them| them.len() <= limits.headers);
    let is_within = body.len() <= limits.body_bytes
        && at - start <= limits.head_bytes
        && at <= limits.body_bytes + limits.head_bytes;
    (are_fine && is_within).then_some((body, at))
}

/// Checks that `written` is exactly one final response to a request with that method, with at most
/// so many headers; the lines of its head, and its body.
pub(crate) fn response(
    written: &[u8],
    method: &[u8],
    max_headers: usize,
) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let (lines, end) = head(written)?;
    let (first, rest) = lines.split_first()?;
    let old = || first.strip_prefix(b"HTTP/1.0");
    let status = first.strip_prefix(b"HTTP/1.1").or_else(old)?;
    let code = match status {
        [b' ', code @ ..] if code.len() == 3 || code.get(3) == Some(&b' ') => &code[..3],
        _ => return None,
    };
    let is_final = code.iter().all(u8::is_ascii_digit) && code[0] > b'1';
    if !is_final || !status.iter().all(is_field_byte) {
        return None;
    }
    let headers = headers(rest)?;
    if headers.len() > max_headers || !values(&headers, "transfer-encoding").is_empty() {
        return None;
    }
    let body = &written[end..];
    let has_no_body = matches!(code, b"204" | b"304");
    let fits = match values(&headers, "content-length")[..] {
        [] => has_no_body,
        // With the digits that a writer uses: no sign, no zeros in front.
        [length] => method == b"HEAD" || *length == body.len().to_string().as_bytes(),
        _ => false,
    };
    let is_empty = has_no_body || method == b"HEAD";
    let is_one = fits && (body.is_empty() || !is_empty);
    is_one.then(|| (lines, body.to_vec()))
}

/// The lines of a head, and where it ends; no line holds a CR, an LF or a NUL.
fn head(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (mut lines, mut at) = (Vec::new(), 0);
    loop {
        let line = line(&bytes[at..])?;
        at += line.len() + 2;
        if line.is_empty() {
            return (!lines.is_empty()).then_some((lines, at));
        }
        lines.push(line.to_vec());
    }
}

/// The first line, without its CR LF.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let is_plain = |byte: &u8| !matches!(byte, b'\r' | b'\n' | b'\0');
    let line = &bytes[..end];
    line.iter().all(is_plain).then_some(line)
}

fn headers(lines: &[Vec<u8>]) -> Option<Headers> {
    let header = |line: &Vec<u8>| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], trimmed(&line[colon + 1..]));
        let is_plain = is_token(name) && value.iter().all(is_field_byte);
        is_plain.then(|| (name.to_ascii_lowercase(), value.to_vec()))
    };
    lines.iter().map(header).collect()
}

fn values<'a>(headers: &'a Headers, name: &str) -> Vec<&'a Vec<u8>> {
    let own = headers.iter().filter(|(own, _)| own == name.as_bytes());
    own.map(|(_, value)| value).collect()
}

/// All that the headers of that name list, in lower case.
fn options(headers: &Headers, name: &str) -> Vec<Vec<u8>> {
    let values = values(headers, name).into_iter();
    values
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|option| trimmed(option).to_ascii_lowercase())
        .collect()
}

/// Without the spaces and tabs around it.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let Some(start) = text.iter().position(is_text) else {
        return &[];
    };
    let end = text.iter().rposition(is_text).expect("there is one") + 1;
    &text[start..end]
}

/// What may stand in the value of a header.
fn is_field_byte(byte: &u8) -> bool {
    *byte == b'\t' || *byte >= b' ' && *byte != 0x7f
}

fn is_token(text: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_token)
}
