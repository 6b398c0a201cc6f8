//! Every text that goes out on the wire, in one place.
//!
//! Knows no buffers and no time: it appends to what it is handed.
//!
//! Rule: the words are those of docs/protocol.md, byte for byte.

/// What an `OK` line begins with.
pub const OK: &[u8] = b"OK ";

/// At most so many bytes of an unknown operation's name are shown.
pub(crate) const SHOWN_NAME_BYTES: usize = 32;

/// An `ERR` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorLine<'a> {
    /// The line holds nothing.
    EmptyRequest,
    /// No operation has this name.
    UnknownOp(&'a [u8]),
    /// SLEEP without a number in range; `max_sleep` in milliseconds.
    SleepRange {
        /// The largest number allowed.
        max_sleep: u64,
    },
    /// The line passed the limit, in bytes.
    LineTooLong {
        /// The longest line allowed.
        max_line: usize,
    },
    /// The stream ended inside a line.
    IncompleteLine,
    /// No queue slot in time.
    Busy,
    /// The handler panicked, or broke its contract.
    Internal,
    /// The connection limit is reached.
    TooManyConnections,
    /// No progress for the idle timeout.
    IdleTimeout,
}

impl ErrorLine<'_> {
    /// Appends the text, without LF.
    pub fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"ERR ");
        match self {
            ErrorLine::EmptyRequest => out.extend_from_slice(b"empty request"),
            ErrorLine::UnknownOp(name) => {
                out.extend_from_slice(b"unknown op ");
                let shown = name.iter().take(SHOWN_NAME_BYTES);
                out.extend(shown.map(|b| {
                    if b.is_ascii_graphic() {
                        b.to_ascii_uppercase()
                    } else {
                        b'?'
                    }
                }));
            }
            ErrorLine::SleepRange { max_sleep } => {
                out.extend_from_slice(
                    format!("SLEEP needs an integer from 0 to {max_sleep}").as_bytes(),
                );
            }
            ErrorLine::LineTooLong { max_line } => {
                out.extend_from_slice(format!("line too long (limit {max_line} bytes)").as_bytes());
            }
            ErrorLine::IncompleteLine => out.extend_from_slice(b"incomplete line"),
            ErrorLine::Busy => out.extend_from_slice(b"server busy"),
            ErrorLine::Internal => out.extend_from_slice(b"internal error"),
            ErrorLine::TooManyConnections => out.extend_from_slice(b"too many connections"),
            ErrorLine::IdleTimeout => out.extend_from_slice(b"idle timeout"),
        }
    }

    /// The whole line, its LF included.
    pub fn to_line(self) -> Vec<u8> {
        let mut line = Vec::with_capacity(48);
        self.append_to(&mut line);
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(error: ErrorLine<'_>, text: &str) {
        assert_eq!(
            String::from_utf8_lossy(&error.to_line()),
            format!("{text}\n")
        );
    }

    #[test]
    fn every_error_has_the_words_of_the_protocol() {
        says(ErrorLine::EmptyRequest, "ERR empty request");
        says(
            ErrorLine::SleepRange { max_sleep: 10_000 },
            "ERR SLEEP needs an integer from 0 to 10000",
        );
        says(
            ErrorLine::LineTooLong { max_line: 65_536 },
            "ERR line too long (limit 65536 bytes)",
        );
        says(ErrorLine::IncompleteLine, "ERR incomplete line");
        says(ErrorLine::Busy, "ERR server busy");
        says(ErrorLine::Internal, "ERR internal error");
        says(ErrorLine::TooManyConnections, "ERR too many connections");
        says(ErrorLine::IdleTimeout, "ERR idle timeout");
    }

    #[test]
    fn an_unknown_name_is_upper_cased_cut_and_made_printable() {
        says(ErrorLine::UnknownOp(b"frob"), "ERR unknown op FROB");
        says(ErrorLine::UnknownOp(b""), "ERR unknown op ");
        says(
            ErrorLine::UnknownOp(b"a\0\xff\t\x7f~!"),
            "ERR unknown op A????~!",
        );
        says(
            ErrorLine::UnknownOp(&[b'x'; 33]),
            &format!("ERR unknown op {}", "X".repeat(32)),
        );
    }
}
