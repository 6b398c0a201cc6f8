//! The clients: what they send, when they stop, how they misbehave.
//!
//! Knows the socket's buffers and the request language, and nothing of the server.
//!
//! Rule: everything is allowed that a stranger could do, and each request that has room for it
//! names its client and its number.

use crate::random::Random;
use crate::socket::Socket;
use std::collections::VecDeque;

/// Which lines a client prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taste {
    /// Good requests.
    Honest,
    /// Requests with long answers, which do not fit into the socket.
    Bulky,
    /// Lines about as long as the limit, or longer.
    Long,
    /// Anything.
    Mixed,
    /// One line that never ends.
    Endless,
}

#[derive(Debug)]
pub(crate) struct Client {
    number: u32,
    next_request: u32,
    taste: Taste,
    /// Percent of its actions that read what the server sent.
    takes: usize,
    /// Lines that it writes in one go, at most.
    burst: usize,
    /// Written, not yet in the socket.
    pending: VecDeque<u8>,
    /// Everything that it got.
    pub(crate) received: Vec<u8>,
}

/// What a client did, for the trace.
#[derive(Debug)]
#[expect(dead_code, reason = "read by the trace, through Debug")]
pub(crate) enum Act {
    Sent(usize),
    Took(usize),
    Finished,
    Reset,
    Nothing,
}

impl Client {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn new(number: u32, random: &mut Random) -> Client {
        use Taste::{Bulky, Endless, Honest, Long, Mixed};
        Client {
            number,
            next_request: 0,
            taste: random.pick(&[Honest, Honest, Bulky, Long, Mixed, Mixed, Endless]),
            takes: random.pick(&[0, 10, 40, 40, 80]),
            burst: random.pick(&[1, 1, 2, 6, 20]),
            pending: VecDeque::new(),
            received: Vec::new(),
        }
    }

    /// One action of a client that does as it likes.
    pub(crate) fn act(&mut self, socket: &mut Socket, max_line: usize, random: &mut Random) -> Act {
        if socket.is_reset() {
            return Act::Nothing;
        }
        if random.percent(self.takes) {
            let some = match random.below(4) {
                0 => 1,
                1 => random.between(1, 1 + socket.takeable()),
                _ => socket.takeable(),
            };
            return self.take(socket, some);
        }
        match random.below(200) {
            0 | 1 => {
                socket.client_resets();
                Act::Reset
            }
            2..=4 => self.finish(socket),
            _ => {
                if self.pending.is_empty() {
                    for _ in 0..random.between(1, self.burst) {
                        self.write_line(max_line, random);
                    }
                }
                let some = match random.below(8) {
                    0 => 1,
                    1 | 2 => random.between(1, 20),
                    _ => self.pending.len(),
                };
                self.send(socket, some)
            }
        }
    }

    /// One action of a client that wants to end well: it takes everything and, if it is to
    /// `finish`, sends what it has begun and shuts its sending side.
    pub(crate) fn behave(&mut self, socket: &mut Socket, finish: bool) -> Act {
        if socket.is_reset() {
            return Act::Nothing;
        }
        if socket.takeable() > 0 {
            return self.take(socket, usize::MAX);
        }
        if !finish {
            return Act::Nothing;
        }
        if !self.pending.is_empty() && !socket.is_finished() {
            return self.send(socket, usize::MAX);
        }
        self.finish(socket)
    }

    fn take(&mut self, socket: &mut Socket, at_most: usize) -> Act {
        let count = at_most.min(socket.takeable());
        if count == 0 {
            return Act::Nothing;
        }
        self.received.extend(socket.client_takes(count));
        Act::Took(count)
    }

    fn send(&mut self, socket: &mut Socket, at_most: usize) -> Act {
        let count = at_most.min(self.pending.len()).min(socket.room());
        if count == 0 {
            return Act::Nothing;
        }
        socket.client_sends(self.pending.drain(..count));
        Act::Sent(count)
    }

    fn finish(&mut self, socket: &mut Socket) -> Act {
        if socket.is_finished() {
            return Act::Nothing;
        }
        socket.client_finishes();
        Act::Finished
    }

    fn write_line(&mut self, max_line: usize, random: &mut Random) {
        let taste = match self.taste {
            Taste::Mixed => random.pick(&[Taste::Honest, Taste::Long, Taste::Mixed]),
            Taste::Bulky => random.pick(&[Taste::Bulky, Taste::Bulky, Taste::Honest]),
            other => other,
        };
        self.next_request += 1;
        let line = match taste {
            Taste::Honest => self.honest(max_line, random),
            Taste::Bulky => format!("B{}", random.below(10)).into_bytes(),
            Taste::Long => {
                let length = match random.below(if max_line > 1000 { 16 } else { 4 }) {
                    // Short enough that several fit into a run, and together do not: four lines of
                    // 4095 bytes just do.
                    4..=13 => random.between(4094, 4096),
                    14.. => random.between(1000, 5000),
                    0 => max_line * random.between(1, 5),
                    1 => max_line.saturating_sub(1),
                    2 => max_line,
                    _ => max_line + random.between(1, 2),
                };
                (0..length).map(|_| random.pick(b"ab \r\0")).collect()
            }
            Taste::Mixed => {
                let length = random.below(7);
                let bytes = b"EeCcOoSs 019\r\r\0\xff~\x7f!\t";
                (0..length).map(|_| random.pick(bytes)).collect()
            }
            Taste::Endless => {
                let length = random.between(1, 3);
                self.pending.extend((0..length).map(|_| b'e'));
                return;
            }
        };
        self.pending.extend(line);
        let ending: &[u8] = random.pick(&[&b"\n"[..], b"\n", b"\n", b"\r\n", b"\r\r\n"]);
        self.pending.extend(ending);
    }

    fn honest(&self, max_line: usize, random: &mut Random) -> Vec<u8> {
        let name = format!("{}.{}", self.number, self.next_request);
        let line = match random.below(16) {
            0 => String::new(),
            1 => "ECHO".to_owned(),
            2 => "eChO ".to_owned(),
            3 => random
                .pick(&["SLEEP 0", "sleep \t000 ", "SLEEP 0\t"])
                .to_owned(),
            4 => random
                .pick(&["SLEEP", "SLEEP 1", "SLEEP +0", "SLEEP 0 0", "SLEEP -0"])
                .to_owned(),
            5 => "HASH".to_owned(),
            6 => random
                .pick(&[" ECHO", "FROB x", "ECHO\tx", "x\x01"])
                .to_owned(),
            7 => format!("ECHO {name}  with spaces \r."),
            _ => format!("ECHO {name}"),
        };
        if line.len() > max_line {
            // Without its operation, which is an error worth its place too.
            return name.into_bytes();
        }
        line.into_bytes()
    }
}
