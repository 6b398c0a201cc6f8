//! What a right server answers to a request, written from docs/protocol.md.
//!
//! Shares no code with the server and knows nothing of what is being sent or why: bytes in, the
//! one right answer out. Only `ERR server busy`, which depends on load, is not its business.
//!
//! Rule: it errs on no side; whatever request it is given, it knows the answer to the byte.

use sha2::{Digest, Sha256};

use crate::wire::{Framing, Limits, LineEnding, append_decimal, split_length};

/// What stands before a result.
const OK: &[u8] = b"OK ";
/// Repeats its argument.
const ECHO: &[u8; 4] = b"ECHO";
/// The answer to a request that found no queue slot in time.
pub(crate) const BUSY: &[u8] = b"ERR server busy";
/// What a connection is told that the server will not have; then it closes.
pub(crate) const TOO_MANY_CONNECTIONS: &[u8] = b"ERR too many connections";
/// What a connection is told that has been idle for too long; then it closes.
pub(crate) const IDLE_TIMEOUT: &[u8] = b"ERR idle timeout";

/// Of an unknown operation, the answer names so many bytes at most.
const SHOWN_NAME_BYTES: usize = 32;

/// Appends the right answer to `line`, without the LF that ends it on the wire or the length in
/// front of it there.
///
/// `line` holds no ending. With [`LineEnding::Lf`] it must not end in CR, as that CR would be part
/// of the ending. With [`LineEnding::Eof`] it is never whole, and holds what came of the length in
/// front of it, where there is to be one.
pub(crate) fn append_answer(limits: Limits, line: &[u8], ending: LineEnding, answer: &mut Vec<u8>) {
    debug_assert!(ending != LineEnding::Lf || !line.ends_with(b"\r"));
    if is_too_long(limits, line, ending) {
        append_text(answer, "ERR line too long (limit ");
        append_decimal(answer, limits.max_line_bytes as u64);
        append_text(answer, " bytes)");
        return;
    }
    if ending == LineEnding::Eof {
        return append_text(answer, "ERR incomplete line");
    }
    if line.is_empty() {
        return append_text(answer, "ERR empty request");
    }
    let (op, argument) = match memchr::memchr(b' ', line) {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line, &[][..]),
    };
    if op.eq_ignore_ascii_case(ECHO) {
        answer.extend_from_slice(OK);
        answer.extend_from_slice(argument);
    } else if op.eq_ignore_ascii_case(b"SLEEP") {
        append_sleep(limits, argument, answer);
    } else if op.eq_ignore_ascii_case(b"HASH") {
        append_text(answer, "OK ");
        append_hex(answer, &Sha256::digest(argument));
    } else {
        append_unknown_op(op, answer);
    }
}

/// How long the right answer to `line` is, if `bytes` begin with it. `scratch` may be written
/// into.
#[inline]
pub(crate) fn answer_at_the_front(
    limits: Limits,
    line: &[u8],
    ending: LineEnding,
    bytes: &[u8],
    scratch: &mut Vec<u8>,
) -> Option<usize> {
    // What is only repeated need not be written anew to be compared.
    if let Some(text) = echoed(limits, line, ending) {
        let repeated = bytes.strip_prefix(OK)?;
        return repeated.starts_with(text).then_some(OK.len() + text.len());
    }
    scratch.clear();
    append_answer(limits, line, ending, scratch);
    bytes.starts_with(scratch).then_some(scratch.len())
}

/// What follows `OK ` in the answer to an ECHO that is one.
#[inline]
fn echoed(limits: Limits, line: &[u8], ending: LineEnding) -> Option<&[u8]> {
    let (op, rest) = line.split_first_chunk()?;
    let is_whole = ending != LineEnding::Eof && !is_too_long(limits, line, ending);
    let text = rest.strip_prefix(b" ")?;
    // Without this bit a letter is its capital, and no other byte is one.
    let is_echo = op.map(|byte| byte & !0x20) == *ECHO;
    (is_whole && is_echo).then_some(text)
}

/// Whether the limit is passed before the request ends. At the end of the stream that is known of
/// a length as soon as all of it is there; and a CR after exactly the most bytes of a line has
/// passed no limit: the server is still waiting for the LF.
#[inline]
fn is_too_long(limits: Limits, line: &[u8], ending: LineEnding) -> bool {
    let limit = limits.max_line_bytes;
    match (ending, limits.framing) {
        (LineEnding::Eof, Framing::Length) => {
            split_length(line).is_some_and(|(length, _)| length > limit)
        }
        (LineEnding::Eof, Framing::Lines) => {
            let waits_for_lf = line.len() == limit + 1 && line.ends_with(b"\r");
            line.len() > limit && !waits_for_lf
        }
        _ => line.len() > limit,
    }
}

fn append_sleep(limits: Limits, argument: &[u8], answer: &mut Vec<u8>) {
    match sleep_ms(argument).filter(|&ms| ms <= u64::from(limits.max_sleep_ms)) {
        Some(ms) => {
            append_text(answer, "OK ");
            append_decimal(answer, ms);
        }
        None => {
            append_text(answer, "ERR SLEEP needs an integer from 0 to ");
            append_decimal(answer, u64::from(limits.max_sleep_ms));
        }
    }
}

/// The number in a SLEEP argument; numbers beyond a `u64` stop at its largest value, which is out
/// of every range.
fn sleep_ms(argument: &[u8]) -> Option<u64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let first = argument.iter().position(|byte| !is_blank(byte))?;
    let last = argument.iter().rposition(|byte| !is_blank(byte))?;
    argument[first..=last].iter().try_fold(0u64, |sum, byte| {
        byte.is_ascii_digit().then(|| {
            sum.saturating_mul(10)
                .saturating_add(u64::from(byte - b'0'))
        })
    })
}

fn append_unknown_op(op: &[u8], answer: &mut Vec<u8>) {
    append_text(answer, "ERR unknown op ");
    let shown = op.iter().take(SHOWN_NAME_BYTES);
    answer.extend(shown.map(|&byte| match byte {
        0x21..=0x7e => byte.to_ascii_uppercase(),
        _ => b'?',
    }));
}

fn append_text(answer: &mut Vec<u8>, text: &str) {
    answer.extend_from_slice(text.as_bytes());
}

fn append_hex(answer: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        answer.push(DIGITS[usize::from(byte >> 4)]);
        answer.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        framing: Framing::Lines,
        max_line_bytes: 64,
        max_sleep_ms: 10_000,
    };

    fn answer_with(line: &[u8], ending: LineEnding) -> Vec<u8> {
        let mut answer = Vec::new();
        append_answer(LIMITS, line, ending, &mut answer);
        answer
    }

    /// The answer is found before other bytes, and nowhere else.
    #[track_caller]
    fn check_at_the_front(line: &[u8], answer: &[u8]) {
        let found = |bytes: &[u8]| {
            let ending = LineEnding::CrLf;
            answer_at_the_front(LIMITS, line, ending, bytes, &mut Vec::new())
        };
        let length = Some(answer.len());
        assert_eq!(found(answer), length);
        assert_eq!(found(&[answer, b"\nOK"].concat()), length);
        assert_eq!(found(&answer[..answer.len() - 1]), None);
        for place in 0..answer.len() {
            let mut altered = answer.to_vec();
            altered[place] ^= 1;
            assert_eq!(found(&altered), None, "byte {place}");
        }
    }

    #[track_caller]
    fn check(line: &[u8], expected: &[u8]) {
        check_at_the_front(line, expected);
        let answer = answer_with(line, LineEnding::CrLf);
        assert_eq!(
            answer.escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "for {:?}",
            line.escape_ascii().to_string()
        );
    }

    #[test]
    fn echo_returns_its_argument_byte_for_byte() {
        check(b"ECHO abc", b"OK abc");
        check(b"eChO abc", b"OK abc");
        check(b"ECHO", b"OK ");
        check(b"ECHO ", b"OK ");
        check(b"ECHO  a \t", b"OK  a \t");
        check(b"ECHO \0\xff\r", b"OK \0\xff\r");
    }

    #[test]
    fn sleep_answers_its_number_without_leading_zeros() {
        check(b"SLEEP 0", b"OK 0");
        check(b"sleep 10000", b"OK 10000");
        check(b"SLEEP \t 007\t ", b"OK 7");
        check(
            b"SLEEP 00000000000000000000000000000000000000000000000012",
            b"OK 12",
        );
    }

    #[test]
    fn sleep_without_such_an_integer_names_the_limit() {
        let arguments: [&[u8]; 12] = [
            b"",
            b" ",
            b" 10001",
            b" -1",
            b" +5",
            b" 1.5",
            b" 1 2",
            b" abc",
            b" 5\r",
            b" \x0b5",
            b" 99999999999999999999999999999999",
            b" \xd9\xa3",
        ];
        for argument in arguments {
            let line = [b"SLEEP", argument].concat();
            check(&line, b"ERR SLEEP needs an integer from 0 to 10000");
        }
    }

    #[test]
    fn hash_is_sha_256_in_lowercase_hex() {
        let of_nothing = b"OK e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let of_abc = b"OK ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(b"HASH", of_nothing);
        check(b"HASH ", of_nothing);
        check(b"hash abc", of_abc);
    }

    #[test]
    fn unknown_op_is_upper_cased_shortened_and_made_printable() {
        check(b"nope x", b"ERR unknown op NOPE");
        check(b" ECHO x", b"ERR unknown op ");
        check(b"ECHO\tx y", b"ERR unknown op ECHO?X");
        check(b"a\0\xffz~\x7f", b"ERR unknown op A??Z~?");
        check(
            &[b'x'; 40],
            &[&b"ERR unknown op "[..], &[b'X'; 32]].concat(),
        );
    }

    #[test]
    fn empty_line_is_an_error() {
        check(b"", b"ERR empty request");
    }

    #[test]
    fn the_limit_counts_the_line_without_its_ending() {
        let too_long = b"ERR line too long (limit 64 bytes)";
        check(&[b'x'; 65], too_long);
        check(&[&[b'x'; 64][..], b"\r"].concat(), too_long);
        let longest = [b"ECHO ", &[b'y'; 59][..]].concat();
        check(&longest, &[&b"OK "[..], &[b'y'; 59]].concat());
    }

    #[test]
    fn a_stream_that_ends_inside_a_line_is_told_so_once() {
        let incomplete = b"ERR incomplete line";
        assert_eq!(answer_with(b"\r", LineEnding::Eof), incomplete);
        assert_eq!(answer_with(b"ECHO x", LineEnding::Eof), incomplete);
        let waiting = [&[b'x'; 64][..], b"\r"].concat();
        assert_eq!(answer_with(&waiting, LineEnding::Eof), incomplete);
        let too_long = b"ERR line too long (limit 64 bytes)";
        assert_eq!(answer_with(&[b'x'; 65], LineEnding::Eof), too_long);
    }

    #[test]
    fn a_stream_that_ends_behind_a_length_is_told_so_once() {
        let framing = Framing::Length;
        let limits = Limits { framing, ..LIMITS };
        let all = [&64u32.to_be_bytes()[..], &[b'x'; 63]].concat();
        let too_long = [&65u32.to_be_bytes()[..], &[b'x'; 65]].concat();
        for (bytes, expected) in [
            (&b"\0"[..], "ERR incomplete line"),
            (b"\xff\xff\xff", "ERR incomplete line"),
            (b"\0\0\0\x05", "ERR incomplete line"),
            (b"\0\0\0\x05ECHO", "ERR incomplete line"),
            (&all, "ERR incomplete line"),
            (b"\0\0\0A", "ERR line too long (limit 64 bytes)"),
            (b"\xff\xff\xff\xff\n", "ERR line too long (limit 64 bytes)"),
            (&too_long, "ERR line too long (limit 64 bytes)"),
        ] {
            let mut answer = Vec::new();
            append_answer(limits, bytes, LineEnding::Eof, &mut answer);
            let answer = answer.escape_ascii().to_string();
            assert_eq!(answer, expected, "for {:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn with_a_length_in_front_line_ends_are_bytes_like_others() {
        let framing = Framing::Length;
        let limits = Limits { framing, ..LIMITS };
        let longest = [&b"ECHO "[..], &[b'\n'; 59]].concat();
        let echoed = [&b"OK "[..], &[b'\n'; 59]].concat();
        for (line, expected) in [
            (&b""[..], &b"ERR empty request"[..]),
            (b"ECHO a\nECHO b\r\n", b"OK a\nECHO b\r\n"),
            (b"ECHO x\r", b"OK x\r"),
            (b"ECHO\n", b"ERR unknown op ECHO?"),
            (b"SLEEP 5\n", b"ERR SLEEP needs an integer from 0 to 10000"),
            (&longest, &echoed),
            (&[b'\n'; 65], b"ERR line too long (limit 64 bytes)"),
        ] {
            let mut answer = Vec::new();
            append_answer(limits, line, LineEnding::None, &mut answer);
            assert_eq!(answer, expected, "for {:?}", line.escape_ascii());
        }
    }
}
