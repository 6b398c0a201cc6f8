//! A codec of one's own: RESP2, the protocol of redis, as arrays of bulk strings and as inline
//! commands.
//!
//! Knows no command by name: `store.rs` does, which is the service that speaks it.
//!
//! Rule: a length that claims more than is allowed is refused before a byte behind it is kept.

use reactor_pool::codec::{Codec, Frame, NotOneResponse, Notes, Outcome, Refusal, Then};

/// The longest command, in bytes, with all that frames it.
pub(crate) const MAX_COMMAND: usize = 1 << 20;
const MAX_WORDS: usize = 64;
const MAX_LINE: usize = 1024;

/// The words of the command at the front of `bytes`, and the length of the whole.
pub(crate) fn command(bytes: &[u8]) -> Result<(Vec<&[u8]>, usize), Refusal> {
    let mut at = 0;
    let first = line(bytes, &mut at)?;
    if !first.starts_with('*') {
        let words = first.split_ascii_whitespace().map(str::as_bytes);
        return Ok((words.collect(), at));
    }
    let mut words = Vec::new();
    for _ in 0..number(first, '*', MAX_WORDS)? {
        let length = line(bytes, &mut at)?;
        let room = MAX_COMMAND.checked_sub(at).ok_or(Refusal::TooLong)?;
        let end = at + number(length, '$', room)? + 2;
        let word = bytes.get(at..end).ok_or(Refusal::Incomplete)?;
        words.push(word.strip_suffix(b"\r\n").ok_or(Refusal::Malformed)?);
        at = end;
    }
    Ok((words, at))
}

/// The line at `at`, which moves behind it.
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a str, Refusal> {
    let rest = &bytes[*at..bytes.len().min(*at + MAX_LINE)];
    let Some(lf) = rest.iter().position(|byte| *byte == b'\n') else {
        return Err(match rest.len() {
            MAX_LINE => Refusal::TooLong,
            _ => Refusal::Incomplete,
        });
    };
    *at += lf + 1;
    str::from_utf8(&rest[..lf]).map_err(|_| Refusal::Malformed)
}

fn number(line: &str, sign: char, limit: usize) -> Result<usize, Refusal> {
    let digits = line.trim_end().strip_prefix(sign);
    let number: usize = digits
        .and_then(|digits| digits.parse().ok())
        .ok_or(Refusal::Malformed)?;
    Some(number)
        .filter(|number| *number <= limit)
        .ok_or(Refusal::TooLong)
}

#[derive(Debug)]
pub(crate) struct Resp;

impl Codec for Resp {
    fn max_incomplete_bytes(&self) -> usize {
        MAX_COMMAND + 2 + MAX_LINE
    }

    fn frame(&self, bytes: &[u8], _seen: usize, _notes: &mut Notes) -> Frame {
        match command(bytes) {
            Ok((_, length)) => Frame::Request {
                payload: 0..length,
                bytes: length,
                is_last: false,
                runs_alone: false,
            },
            Err(Refusal::Incomplete) => Frame::Incomplete,
            Err(why) => Frame::Malformed {
                why,
                bytes: bytes.len(),
                then: Then::Close,
            },
        }
    }

    fn finish(
        &self,
        _: &[u8],
        out: &mut Vec<u8>,
        at: usize,
        _: bool,
    ) -> Result<Outcome, NotOneResponse> {
        Ok(match out[at..].starts_with(b"-") {
            true => Outcome::Error,
            false => Outcome::Ok,
        })
    }

    fn refuse(&self, why: Refusal, _: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(match why {
            Refusal::Busy => b"-ERR server busy\r\n",
            Refusal::TooManyConnections => b"-ERR max number of clients reached\r\n",
            Refusal::IdleTimeout => b"-ERR idle timeout\r\n",
            Refusal::RequestTimeout => b"-ERR request timeout\r\n",
            Refusal::Internal => b"-ERR internal error\r\n",
            _ => b"-ERR Protocol error\r\n",
        });
    }
}
