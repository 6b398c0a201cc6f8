//! The requests of the `errors` mix: every error that a request can provoke, and every form of a
//! right request that a careless server gets wrong, about half of each.
//!
//! Knows no right answers; it only reaches for the corners.
//!
//! Rule: a line that ends in CR is sent with CR LF, or that CR would belong to its ending. A
//! request after which the server closes the connection is the last one.

use fastrand::Rng;

use crate::load::frame::{Frame, append_tag};
use crate::load::payload::Payloads;
use crate::wire::{Framing, LENGTH_BYTES, LineEnding, append_decimal, insert_length};

const CORNERS: &[fn(&mut Line<'_>)] = &[
    |_empty_line| {},
    unknown_op,
    unknown_op_of_odd_bytes,
    unknown_op_of_great_length,
    almost_an_op,
    leading_space,
    sleep_out_of_range,
    sleep_without_an_integer,
    sleep_in_blanks_and_zeros,
    corner_of_the_framing,
    line_of_the_limit,
    op_in_any_case,
    payload_of_any_bytes,
    payload_with_blanks_at_its_ends,
    no_argument,
];

/// Appends one request and returns its ending. Of most clients the last one is a request that the
/// end of the stream cuts off.
pub(crate) fn append(
    payloads: &Payloads,
    frame: Frame,
    is_last: bool,
    random: &mut Rng,
    bytes: &mut Vec<u8>,
) -> LineEnding {
    let mut line = Line {
        payloads,
        frame,
        random,
        start: bytes.len(),
        bytes,
    };
    if is_last && append_cut_off(&mut line) {
        return LineEnding::Eof;
    }
    if line.random.u8(..3) == 0 {
        right_echo(&mut line);
    } else {
        CORNERS[line.random.usize(..CORNERS.len())](&mut line);
    }
    line.cut_to_the_limit();
    line.ending()
}

/// A request in the making, and what it is made of.
struct Line<'a> {
    payloads: &'a Payloads,
    frame: Frame,
    random: &'a mut Rng,
    /// What will be sent; the line begins at `start`.
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Line<'_> {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn push_one_of(&mut self, choices: &[&[u8]]) {
        let choice = choices[self.random.usize(..choices.len())];
        self.push(choice);
    }

    fn push_payload(&mut self) {
        self.payloads.append(self.frame, self.random, self.bytes);
    }

    fn push_tag(&mut self) {
        append_tag(self.frame, self.bytes);
    }

    fn push_filler(&mut self, length: usize) {
        self.payloads.append_filler(length, self.random, self.bytes);
    }

    /// Appends any bytes but, in a line, LF, which no line can hold.
    fn push_any_bytes(&mut self, length: usize) {
        let is_line = self.framing() == Framing::Lines;
        for _ in 0..length {
            let byte = self.random.u8(..);
            let is_line_end = is_line && byte == b'\n';
            self.bytes.push(if is_line_end { 0xff } else { byte });
        }
    }

    /// Appends an ECHO, or the beginning of one, so that the line is `length` bytes long in all.
    fn fill_up_to(&mut self, length: usize) {
        self.push(b"ECHO ");
        self.push_tag();
        self.bytes.truncate(self.start + length);
        self.push_filler(self.start + length - self.bytes.len());
    }

    /// With a length in front, the server closes the connection behind a request over the limit. So
    /// one that is not meant to be the last is cut to the limit.
    fn cut_to_the_limit(&mut self) {
        if self.framing() == Framing::Length {
            self.bytes.truncate(self.start + self.limit());
        }
    }

    /// The ending of a request that is whole.
    fn ending(&mut self) -> LineEnding {
        if self.framing() == Framing::Length {
            LineEnding::None
        } else if self.bytes[self.start..].ends_with(b"\r") || self.random.bool() {
            LineEnding::CrLf
        } else {
            LineEnding::Lf
        }
    }

    fn framing(&self) -> Framing {
        self.payloads.limits().framing
    }

    fn limit(&self) -> usize {
        self.payloads.limits().max_line_bytes
    }
}

/// Whether the request is to be cut off, and then appends it.
fn append_cut_off(line: &mut Line<'_>) -> bool {
    match line.framing() {
        Framing::Lines => append_line_cut_off(line),
        Framing::Length => append_length_and_less(line),
    }
}

fn append_line_cut_off(line: &mut Line<'_>) -> bool {
    match line.random.u8(..5) {
        0 => return false,
        1 => right_echo(line),
        2 => line.push(b"\r"),
        3 => {
            right_echo(line);
            line.push(b"\r");
        }
        _ => line_too_long(line),
    }
    true
}

/// The same with a length in front: it is incomplete, or more than what follows, or too much.
fn append_length_and_less(line: &mut Line<'_>) -> bool {
    match line.random.u8(..5) {
        0 => return false,
        1 => {
            let length = line.random.usize(1..LENGTH_BYTES);
            line.push_any_bytes(length);
        }
        2 => {
            let length = line.random.usize(1..=line.limit());
            insert_length(line.start, length as u32, line.bytes);
        }
        3 => {
            let length = line.random.usize(1..=line.limit());
            line.fill_up_to(length - 1);
            insert_length(line.start, length as u32, line.bytes);
        }
        _ => length_too_much(line),
    }
    true
}

/// A length over the limit, and behind it nothing, something, or all of it.
fn length_too_much(line: &mut Line<'_>) {
    let limit = line.limit();
    let over = line.random.usize(1..=limit);
    let length = match line.random.u8(..4) {
        0 => limit + 1,
        1 => limit + over,
        2 => {
            line.fill_up_to(limit + over);
            limit + over
        }
        _ => {
            right_echo(line);
            u32::MAX as usize
        }
    };
    insert_length(line.start, length as u32, line.bytes);
}

fn right_echo(line: &mut Line<'_>) {
    line.push(b"ECHO ");
    line.push_payload();
}

fn unknown_op(line: &mut Line<'_>) {
    line.push_one_of(&[b"nope-", b"Ping-", b"GET--"]);
    line.push_tag();
    if line.random.bool() {
        line.push(b" with an argument");
    }
}

fn unknown_op_of_odd_bytes(line: &mut Line<'_>) {
    let length = line.random.usize(1..32);
    line.push_any_bytes(length);
}

fn unknown_op_of_great_length(line: &mut Line<'_>) {
    let length = line.random.usize(31..95);
    line.push_filler(length);
}

fn almost_an_op(line: &mut Line<'_>) {
    line.push_one_of(&[
        b"ECH x",
        b"ECHOX x",
        b"ECHO\tx",
        b"\0ECHO x",
        b"SLEEP5",
        b"HASH\0 x",
        b"ECHO\r x",
        b"\xef\xbb\xbfECHO x",
    ]);
}

fn leading_space(line: &mut Line<'_>) {
    line.push(b" ");
    if line.random.u8(..4) > 0 {
        right_echo(line);
    }
}

fn sleep_out_of_range(line: &mut Line<'_>) {
    line.push(b"SLEEP ");
    let over = u64::from(line.payloads.limits().max_sleep_ms) + 1;
    match line.random.u8(..3) {
        0 => append_decimal(line.bytes, over),
        1 => append_decimal(line.bytes, over + line.random.u64(..1 << 40)),
        _ => line.push(b"18446744073709551617000000000000000000001"),
    }
}

fn sleep_without_an_integer(line: &mut Line<'_>) {
    line.push(b"SLEEP");
    line.push_one_of(&[
        b"",
        b" ",
        b" \t ",
        b" +5",
        b" -1",
        b" -0",
        b" abc",
        b" 1.5",
        b" 1 2",
        b" 0x10",
        b" 1e3",
        b" 5ms",
        b" 5\r",
        b" \x0b5",
        b" 5\0",
        b" \xd9\xa3",
    ]);
}

fn sleep_in_blanks_and_zeros(line: &mut Line<'_>) {
    line.push(b"SLEEP ");
    line.push_one_of(&[
        b"0",
        b"000",
        b"0000000000000000000000000000000000000000003",
        b" 2",
        b"\t1 \t",
        b"4  ",
    ]);
}

/// What one framing has and the other has not. With a length in front, a request that is too long
/// ends the connection, so it has to be the last one.
fn corner_of_the_framing(line: &mut Line<'_>) {
    match line.framing() {
        Framing::Lines => line_too_long(line),
        Framing::Length => line_ends_within(line),
    }
}

/// Of each the server sees one request, whatever a reader of lines would make of it.
fn line_ends_within(line: &mut Line<'_>) {
    line.push_one_of(&[
        b"\n",
        b"\r\n",
        b"ECHO\n",
        b"ECHO\nx",
        b"ECHO \n",
        b"ECHO \r\n",
        b"ECHO a\nECHO b\n",
        b"HASH \n",
        b"HASH a\r\nHASH b\r\n",
        b"SLEEP 5\n",
        b"SLEEP 5\r\n",
        b"SLEEP \n5",
        b"nope\n",
        b"\nECHO x",
    ]);
}

fn line_too_long(line: &mut Line<'_>) {
    let limit = line.limit();
    let over = match line.random.u8(..3) {
        0 => 1,
        1 => 2,
        _ => line.random.usize(1..=limit),
    };
    line.fill_up_to(limit + over);
    if line.random.u8(..4) == 0 {
        // A CR that is not the limit's business, as no LF follows it directly.
        line.bytes.truncate(line.start + limit);
        line.push(b"\rx");
    }
}

fn line_of_the_limit(line: &mut Line<'_>) {
    let length = line.limit() - line.random.usize(..2);
    line.fill_up_to(length);
    if line.random.u8(..4) == 0 {
        line.bytes.pop();
        line.push(b"\r");
    }
}

fn op_in_any_case(line: &mut Line<'_>) {
    line.push_one_of(&[b"echo ", b"eChO ", b"hash ", b"hAsH "]);
    line.push_payload();
}

fn payload_of_any_bytes(line: &mut Line<'_>) {
    line.push_one_of(&[b"ECHO ", b"HASH "]);
    line.push_tag();
    let length = line.random.usize(..200);
    line.push_any_bytes(length);
}

fn payload_with_blanks_at_its_ends(line: &mut Line<'_>) {
    let blanks: [&[u8]; 5] = [b"", b" ", b"\t", b"  ", b"\r"];
    line.push(b"ECHO ");
    line.push_one_of(&blanks);
    line.push_payload();
    line.push_one_of(&blanks);
}

fn no_argument(line: &mut Line<'_>) {
    line.push_one_of(&[b"ECHO", b"ECHO ", b"HASH", b"HASH ", b"echo", b"hash "]);
}
