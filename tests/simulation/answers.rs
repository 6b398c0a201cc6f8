//! What each request is answered, from docs/protocol.md alone, and the words of refusals.
//!
//! Knows no framing, and nothing of the server's code, but for [`handle`], which is what a worker
//! runs.
//!
//! Rule: the plain way, never the fast one.

use crate::operations::Operations;
use reactor_pool::{Handler, Response};

/// The longest SLEEP of the simulated server: nothing sleeps here.
pub(crate) const MAX_SLEEP: u64 = 0;
/// The longest response: that to `B9`.
pub(crate) const MAX_RESPONSE_BYTES: usize = 4 + 9 * BULK_BYTES;
const BULK_BYTES: usize = 5_000;

/// `B<digit>`, the operation that this simulation adds: a long response to a short request.
pub(crate) fn bulk(request: &[u8]) -> Option<Vec<u8>> {
    let [b'B', digit @ b'0'..=b'9'] = request else {
        return None;
    };
    let mut text = b"OK ".to_vec();
    text.push(*digit);
    text.resize(text.len() + usize::from(digit - b'0') * BULK_BYTES, b'.');
    Some(text)
}

/// Whether a request may travel with its neighbours: the rule of the production operations, with a
/// length of its own for each run.
pub(crate) fn is_quick(request: &[u8], quick_bytes: usize) -> bool {
    request.len() <= quick_bytes && !matches!(request.first(), Some(b's' | b'S'))
}

/// What a worker does: the production operations, and that one more.
pub(crate) fn handle(request: &[u8], response: &mut Vec<u8>) {
    match bulk(request) {
        Some(text) => response.extend(text),
        None => {
            let operations = Operations {
                max_sleep: MAX_SLEEP,
            };
            operations.handle(request, &mut Response::new(response));
        }
    }
}

/// The response to a request that a worker runs.
pub(crate) fn answer(request: &[u8]) -> Vec<u8> {
    bulk(request).unwrap_or_else(|| plain_answer(request))
}

fn plain_answer(request: &[u8]) -> Vec<u8> {
    if request.is_empty() {
        return b"ERR empty request".to_vec();
    }
    let (op, argument) = match request.iter().position(|byte| *byte == b' ') {
        Some(space) => (&request[..space], &request[space + 1..]),
        None => (request, &b""[..]),
    };
    match op.to_ascii_uppercase().as_slice() {
        b"ECHO" => [b"OK ", argument].concat(),
        b"SLEEP" => {
            let text = String::from_utf8_lossy(argument);
            let digits = text.trim_matches([' ', '\t']);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            match digits.parse::<u64>() {
                Ok(n) if is_number && (0..=MAX_SLEEP).contains(&n) => {
                    format!("OK {n}").into_bytes()
                }
                _ => format!("ERR SLEEP needs an integer from 0 to {MAX_SLEEP}").into_bytes(),
            }
        }
        b"HASH" => {
            assert!(argument.is_empty(), "the clients hash nothing else");
            b"OK e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_vec()
        }
        name => {
            let shown = name.iter().take(32);
            let shown = shown.map(|byte| match byte {
                0x21..=0x7e => *byte,
                _ => b'?',
            });
            b"ERR unknown op ".iter().copied().chain(shown).collect()
        }
    }
}

pub(crate) const BUSY: &[u8] = b"ERR server busy";
pub(crate) const INTERNAL: &[u8] = b"ERR internal error";
pub(crate) const INCOMPLETE: &[u8] = b"ERR incomplete line";
pub(crate) const IDLE: &[u8] = b"ERR idle timeout";
pub(crate) const NO_HEADER: &[u8] = b"ERR no valid PROXY header";
pub(crate) const REQUEST_TIMEOUT: &[u8] = b"ERR request timeout";
pub(crate) const TOO_MANY: &[u8] = b"ERR too many connections";

pub(crate) fn too_long(limit: usize) -> Vec<u8> {
    format!("ERR line too long (limit {limit} bytes)").into_bytes()
}
