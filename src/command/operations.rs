//! ECHO, SLEEP and HASH: the handler of the `server` command.
//!
//! Knows no connections and no queue: a line comes in, a line goes out.
//!
//! Rule: `OP` ends at the first space, and the argument is every byte after that one space.

use reactor_pool::{Handler, Response};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::time::Duration;

/// What the response to a success begins with.
const OK: &[u8] = b"OK ";

const TAKES_ALL: &str = "a response takes every write";

/// The most bytes of an unknown operation's name that are shown.
const SHOWN_NAME_BYTES: usize = 32;

/// The operations of docs/protocol.md.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    /// The longest SLEEP, in milliseconds.
    pub(crate) max_sleep: u64,
}

impl Handler for Operations {
    fn handle(&self, request: &[u8], response: &mut Response<'_>) {
        match Operation::of(request) {
            Operation::Echo(text) => {
                response.reserve(OK.len() + text.len() + 1);
                response.push(OK);
                response.push(text);
            }
            Operation::Sleep(number) => {
                match sleep_argument(number).filter(|n| *n <= self.max_sleep) {
                    Some(n) => {
                        std::thread::sleep(Duration::from_millis(n));
                        write!(response, "OK {n}").expect(TAKES_ALL);
                    }
                    None => write!(
                        response,
                        "ERR SLEEP needs an integer from 0 to {}",
                        self.max_sleep
                    )
                    .expect(TAKES_ALL),
                }
            }
            Operation::Hash(text) => {
                response.push(OK);
                push_hex(&Sha256::digest(text), response);
            }
            Operation::Empty => response.push(b"ERR empty request"),
            Operation::Unknown => {
                let shown = &request[..request.len().min(SHOWN_NAME_BYTES)];
                let name = shown.split(|byte| *byte == b' ').next();
                response.push(b"ERR unknown op ");
                for byte in name.unwrap_or_default() {
                    let shown = match byte.is_ascii_graphic() {
                        true => byte.to_ascii_uppercase(),
                        false => b'?',
                    };
                    response.push(&[shown]);
                }
            }
        }
    }

    /// Only what is known to be: a short ECHO, and a short HASH, which takes a few microseconds.
    fn is_quick(&self, request: &[u8]) -> bool {
        const QUICK_BYTES: usize = 1024;
        request.len() <= QUICK_BYTES
            && matches!(
                Operation::of(request),
                Operation::Echo(_) | Operation::Hash(_)
            )
    }
}

/// What a request asks for, with its argument.
enum Operation<'a> {
    Echo(&'a [u8]),
    Sleep(&'a [u8]),
    Hash(&'a [u8]),
    Empty,
    Unknown,
}

impl Operation<'_> {
    fn of(request: &[u8]) -> Operation<'_> {
        if let Some(text) = argument_of(b"ECHO", request) {
            Operation::Echo(text)
        } else if let Some(number) = argument_of(b"SLEEP", request) {
            Operation::Sleep(number)
        } else if let Some(text) = argument_of(b"HASH", request) {
            Operation::Hash(text)
        } else if request.is_empty() {
            Operation::Empty
        } else {
            Operation::Unknown
        }
    }
}

/// The argument of a request, if its operation is `name`, in upper or lower case.
fn argument_of<'a>(name: &[u8], request: &'a [u8]) -> Option<&'a [u8]> {
    let (first, rest) = request.split_at_checked(name.len())?;
    if !first.eq_ignore_ascii_case(name) {
        return None;
    }
    match rest {
        [] => Some(rest),
        [b' ', argument @ ..] => Some(argument),
        _ => None,
    }
}

/// Milliseconds from ASCII digits with spaces and tabs around them, however many leading zeros.
fn sleep_argument(argument: &[u8]) -> Option<u64> {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let first = argument.iter().position(|b| !blank(b))?;
    let last = argument.iter().rposition(|b| !blank(b))?;
    argument[first..=last].iter().try_fold(0u64, |n, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

fn push_hex(digest: &[u8], response: &mut Response<'_>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in digest {
        response.push(&[
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Operations { max_sleep: 5 }.handle(request, &mut Response::new(&mut out));
        out
    }

    #[track_caller]
    fn answers(request: &[u8], expected: &[u8]) {
        let got = answer(request);
        assert_eq!(
            got.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    #[test]
    fn echo_returns_every_byte_after_one_space() {
        answers(b"ECHO hello", b"OK hello");
        answers(b"echo  two \r\0\xff ", b"OK  two \r\0\xff ");
        answers(b"ECHO ", b"OK ");
        answers(b"ECHO", b"OK ");
    }

    #[test]
    fn sleep_takes_digits_in_range_and_answers_plain_decimal() {
        answers(b"SLEEP 5", b"OK 5");
        answers(b"sLeEp \t 003 \t", b"OK 3");
        answers(format!("SLEEP {}1", "0".repeat(200)).as_bytes(), b"OK 1");
        let range = b"ERR SLEEP needs an integer from 0 to 5";
        for wrong in [
            "", " ", " 6", " +1", " -1", " 1x", " 1 2", " 0x1", " 1.0", " 1\r",
        ] {
            answers(format!("SLEEP{wrong}").as_bytes(), range);
        }
        answers(format!("SLEEP {}", "9".repeat(100)).as_bytes(), range);
    }

    #[test]
    fn hash_is_sha_256_in_lowercase_hex() {
        // FIPS 180-4, examples: "abc" and the empty message.
        answers(
            b"HASH abc",
            b"OK ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        let empty = b"OK e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        answers(b"HASH", empty);
        answers(b"HASH ", empty);
    }

    #[test]
    fn anything_else_is_named_in_the_error() {
        answers(b"", b"ERR empty request");
        answers(b" ECHO x", b"ERR unknown op ");
        answers(b"ECHO\tx", b"ERR unknown op ECHO?X");
        answers(b"quit now", b"ERR unknown op QUIT");
        answers(
            &[b'x'; 40],
            &[&b"ERR unknown op "[..], &[b'X'; 32]].concat(),
        );
    }

    #[test]
    fn a_name_is_known_in_upper_and_lower_case_and_in_no_other_bytes() {
        for name in [b"ECHO x", b"HASH x"] {
            for (position, letter) in name[..4].iter().enumerate() {
                for byte in 0..=255 {
                    let mut request = *name;
                    request[position] = byte;
                    let is_known = answer(&request).starts_with(OK);
                    assert_eq!(is_known, byte.eq_ignore_ascii_case(letter), "{request:?}");
                }
            }
        }
    }

    #[test]
    fn only_short_echo_and_hash_are_quick() {
        let operations = Operations { max_sleep: 5 };
        let echo = |bytes: usize| [&b"ECHO "[..], &vec![b'x'; bytes - 5]].concat();
        for quick in [&b"ECHO"[..], b"echo a", b"HASH a", &echo(1024)] {
            assert!(operations.is_quick(quick), "{}", quick.escape_ascii());
        }
        for slow in [
            &b"SLEEP 1"[..],
            b"sleep 0",
            b"",
            b" ",
            b"quit",
            b"ECHOES a",
            &echo(1025),
        ] {
            assert!(!operations.is_quick(slow), "{}", slow.escape_ascii());
        }
    }
}
