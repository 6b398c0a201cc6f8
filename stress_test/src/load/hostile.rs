//! The lines of the `errors` mix: every error that a request line can provoke, and every form of a
//! right request that a careless server gets wrong, about half of each.
//!
//! Knows no right answers; it only reaches for the corners.
//!
//! Rule: a line that ends in CR is sent with CR LF, or that CR would belong to its ending.

use crate::draws::Draws;
use crate::load::payload::{Frame, Payloads, append_tag};
use crate::wire::{LineEnding, append_decimal};

/// One corner: appends a line, and may ask for an ending.
type Corner = fn(&Payloads, Frame, &mut Draws, &mut Vec<u8>);

const CORNERS: &[Corner] = &[
    empty_line,
    unknown_op,
    unknown_op_of_odd_bytes,
    unknown_op_of_great_length,
    almost_an_op,
    leading_space,
    sleep_out_of_range,
    sleep_without_an_integer,
    sleep_in_blanks_and_zeros,
    line_too_long,
    line_of_the_limit,
    op_in_any_case,
    payload_of_any_bytes,
    payload_with_blanks_at_its_ends,
    no_argument,
];

/// Appends one line and returns its ending.
pub(crate) fn append_line(
    payloads: &Payloads,
    frame: Frame,
    draws: &mut Draws,
    line: &mut Vec<u8>,
) -> LineEnding {
    let start = line.len();
    if draws.below(3) == 0 {
        right_echo(payloads, frame, draws, line);
    } else {
        let corner = CORNERS[draws.below(CORNERS.len() as u64) as usize];
        corner(payloads, frame, draws, line);
    }
    ending_of(&line[start..], draws)
}

/// Appends the last line of a client: for most of them one that the end of the stream cuts off.
pub(crate) fn append_last_line(
    payloads: &Payloads,
    frame: Frame,
    draws: &mut Draws,
    line: &mut Vec<u8>,
) -> LineEnding {
    match draws.below(5) {
        0 => return append_line(payloads, frame, draws, line),
        1 => right_echo(payloads, frame, draws, line),
        2 => line.push(b'\r'),
        3 => {
            right_echo(payloads, frame, draws, line);
            line.push(b'\r');
        }
        _ => line_too_long(payloads, frame, draws, line),
    }
    LineEnding::Eof
}

fn ending_of(line: &[u8], draws: &mut Draws) -> LineEnding {
    if line.ends_with(b"\r") || draws.below(2) == 0 {
        LineEnding::CrLf
    } else {
        LineEnding::Lf
    }
}

fn right_echo(payloads: &Payloads, frame: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    line.extend_from_slice(b"ECHO ");
    payloads.append(frame, draws, line);
}

fn empty_line(_: &Payloads, _: Frame, _: &mut Draws, _: &mut Vec<u8>) {}

fn unknown_op(_: &Payloads, frame: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    line.extend_from_slice(draws.pick(&[b"nope-", b"Ping-", b"GET--"]));
    append_tag(frame, line);
    if draws.below(2) == 0 {
        line.extend_from_slice(b" with an argument");
    }
}

fn unknown_op_of_odd_bytes(_: &Payloads, _: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    let length = 1 + draws.below(31);
    append_any_bytes(length, draws, line);
}

fn unknown_op_of_great_length(
    payloads: &Payloads,
    _: Frame,
    draws: &mut Draws,
    line: &mut Vec<u8>,
) {
    let length = 31 + draws.below(64) as usize;
    payloads.append_filler(length, draws, line);
}

fn almost_an_op(_: &Payloads, _: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    let lines: [&[u8]; 8] = [
        b"ECH x",
        b"ECHOX x",
        b"ECHO\tx",
        b"\0ECHO x",
        b"SLEEP5",
        b"HASH\0 x",
        b"ECHO\r x",
        b"\xef\xbb\xbfECHO x",
    ];
    line.extend_from_slice(draws.pick(&lines));
}

fn leading_space(payloads: &Payloads, frame: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    line.push(b' ');
    if draws.below(4) > 0 {
        right_echo(payloads, frame, draws, line);
    }
}

fn sleep_out_of_range(payloads: &Payloads, _: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    line.extend_from_slice(b"SLEEP ");
    let over = u64::from(payloads.limits().max_sleep_ms) + 1;
    match draws.below(3) {
        0 => append_decimal(line, over),
        1 => append_decimal(line, over + draws.below(1 << 40)),
        _ => line.extend_from_slice(b"18446744073709551617000000000000000000001"),
    }
}

fn sleep_without_an_integer(_: &Payloads, _: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    let arguments: [&[u8]; 16] = [
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
    ];
    line.extend_from_slice(b"SLEEP");
    line.extend_from_slice(draws.pick(&arguments));
}

fn sleep_in_blanks_and_zeros(_: &Payloads, _: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    let arguments: [&[u8]; 6] = [
        b"0",
        b"000",
        b"0000000000000000000000000000000000000000003",
        b" 2",
        b"\t1 \t",
        b"4  ",
    ];
    line.extend_from_slice(b"SLEEP ");
    line.extend_from_slice(draws.pick(&arguments));
}

fn line_too_long(payloads: &Payloads, frame: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    let start = line.len();
    let limit = payloads.limits().max_line_bytes;
    let over = match draws.below(3) {
        0 => 1,
        1 => 2,
        _ => 1 + draws.below(limit as u64) as usize,
    };
    append_echo_of(limit + over, payloads, frame, draws, line);
    if draws.below(4) == 0 {
        // A CR that is not the limit's business, as no LF follows it directly.
        line.truncate(start + limit);
        line.extend_from_slice(b"\rx");
    }
}

fn line_of_the_limit(payloads: &Payloads, frame: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    let limit = payloads.limits().max_line_bytes;
    let length = limit - draws.below(2) as usize;
    append_echo_of(length, payloads, frame, draws, line);
    if draws.below(4) == 0 {
        line.pop();
        line.push(b'\r');
    }
}

fn op_in_any_case(payloads: &Payloads, frame: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    line.extend_from_slice(draws.pick(&[b"echo ", b"eChO ", b"hash ", b"hAsH "]));
    payloads.append(frame, draws, line);
}

fn payload_of_any_bytes(_: &Payloads, frame: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    line.extend_from_slice(draws.pick(&[b"ECHO ", b"HASH "]));
    append_tag(frame, line);
    let length = draws.below(200);
    append_any_bytes(length, draws, line);
}

fn payload_with_blanks_at_its_ends(
    payloads: &Payloads,
    frame: Frame,
    draws: &mut Draws,
    line: &mut Vec<u8>,
) {
    let blanks: [&[u8]; 5] = [b"", b" ", b"\t", b"  ", b"\r"];
    line.extend_from_slice(b"ECHO ");
    line.extend_from_slice(draws.pick(&blanks));
    payloads.append(frame, draws, line);
    line.extend_from_slice(draws.pick(&blanks));
}

fn no_argument(_: &Payloads, _: Frame, draws: &mut Draws, line: &mut Vec<u8>) {
    let lines: [&[u8]; 6] = [b"ECHO", b"ECHO ", b"HASH", b"HASH ", b"echo", b"hash "];
    line.extend_from_slice(draws.pick(&lines));
}

/// Appends an ECHO that is `length` bytes long in all, or the beginning of one.
fn append_echo_of(
    length: usize,
    payloads: &Payloads,
    frame: Frame,
    draws: &mut Draws,
    line: &mut Vec<u8>,
) {
    let start = line.len();
    line.extend_from_slice(b"ECHO ");
    append_tag(frame, line);
    line.truncate(start + length);
    payloads.append_filler(length - (line.len() - start), draws, line);
}

/// Appends any bytes but LF, which no line can hold.
fn append_any_bytes(length: u64, draws: &mut Draws, line: &mut Vec<u8>) {
    line.extend((0..length).map(|_| match draws.below(255) as u8 {
        b'\n' => 0xff,
        byte => byte,
    }));
}
