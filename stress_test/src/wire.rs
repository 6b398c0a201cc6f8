//! What both sides of the comparison name in the same words: the limits that a server was started
//! with, how a line ends, a number in decimal.
//!
//! Knows no request and no answer.
//!
//! Rule: what is asked and what is right meet here and nowhere below.

/// The limits of the server under test, which its error texts name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a request line, its ending not counted.
    pub max_line_bytes: usize,
    /// The longest SLEEP in milliseconds.
    pub max_sleep_ms: u32,
}

/// How a request line ends on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnding {
    /// LF.
    Lf,
    /// CR LF.
    CrLf,
    /// Nothing: the client shuts its sending side down inside the line.
    Eof,
}

impl LineEnding {
    /// The bytes that end the line.
    pub(crate) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
            Self::Eof => b"",
        }
    }
}

/// Appends `number` in plain decimal.
pub(crate) fn append_decimal(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[first..]);
}
