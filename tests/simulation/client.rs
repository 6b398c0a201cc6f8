//! The clients: what they send, when they stop, how they misbehave.
//!
//! Knows the socket's buffers and the request language, and nothing of the server.
//!
//! Rule: everything is allowed that a stranger could do, and each request that has room for it
//! names its client and its number.

use crate::framing::Framing;
use crate::header::Header;
use crate::random::Random;
use crate::socket::Socket;
use std::collections::VecDeque;

/// Which requests a client prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taste {
    /// Good requests.
    Honest,
    /// Requests with long answers, which do not fit into the socket.
    Bulky,
    /// Requests about as long as the limit, or longer.
    Long,
    /// Anything.
    Mixed,
    /// Bytes that were not meant as a request, such as a line that never ends.
    Endless,
}

#[derive(Debug)]
pub(crate) struct Client {
    number: u32,
    next_request: u32,
    taste: Taste,
    /// Percent of its actions that read what the server sent.
    takes: usize,
    /// Requests that it writes in one go, at most.
    burst: usize,
    /// Written, not yet in the socket.
    pending: VecDeque<u8>,
    /// It never sends more than that: the rest of its header is missing.
    is_mute: bool,
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
            is_mute: false,
            received: Vec::new(),
        }
    }

    /// It begins with a header, or with what its proxy sends of it.
    pub(crate) fn begin_with(&mut self, header: &Header) {
        self.pending.extend(&header.bytes[..header.sent]);
        self.is_mute = header.sent < header.bytes.len();
    }

    /// One action of a client that does as it likes.
    pub(crate) fn act(
        &mut self,
        socket: &mut Socket,
        framing: &dyn Framing,
        random: &mut Random,
    ) -> Act {
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
                if self.pending.is_empty() && !self.is_mute {
                    for _ in 0..random.between(1, self.burst) {
                        self.write_request(framing, random);
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

    fn write_request(&mut self, framing: &dyn Framing, random: &mut Random) {
        let taste = match self.taste {
            Taste::Mixed => random.pick(&[Taste::Honest, Taste::Long, Taste::Mixed]),
            Taste::Bulky => random.pick(&[Taste::Bulky, Taste::Bulky, Taste::Honest]),
            other => other,
        };
        self.next_request += 1;
        let payload = match taste {
            Taste::Honest => self.honest(framing, random),
            Taste::Bulky => format!("B{}", random.below(10)).into_bytes(),
            Taste::Long => {
                let length = framing.long(random);
                (0..length).map(|_| random.pick(b"ab \r\0")).collect()
            }
            Taste::Mixed => {
                let length = random.below(7);
                anything(length, framing, random)
            }
            Taste::Endless => {
                let length = random.between(1, 3);
                self.pending.extend((0..length).map(|_| b'e'));
                return;
            }
        };
        self.pending.extend(framing.request(payload, random));
    }

    fn honest(&self, framing: &dyn Framing, random: &mut Random) -> Vec<u8> {
        let name = format!("{}.{}", self.number, self.next_request);
        let text = match random.below(16) {
            0 => "",
            1 => "ECHO",
            2 => "eChO ",
            3 => random.pick(&["SLEEP 0", "sleep \t000 ", "SLEEP 0\t"]),
            4 => random.pick(&["SLEEP", "SLEEP 1", "SLEEP +0", "SLEEP 0 0", "SLEEP -0"]),
            5 => "HASH",
            6 => random.pick(&[" ECHO", "FROB x", "ECHO\tx", "x\x01"]),
            7 => &format!("ECHO {name}  with spaces \r."),
            8 => &format!("ECHO {name} "),
            _ => &format!("ECHO {name}"),
        };
        let mut request = text.as_bytes().to_vec();
        if text.ends_with(&format!("{name} ")) {
            let length = random.below(9);
            request.extend(anything(length, framing, random));
        }
        if request.len() > framing.limit() {
            // Without its operation, which is an error worth its place too.
            return name.into_bytes();
        }
        request
    }
}

/// So many bytes of those that requests may consist of.
fn anything(length: usize, framing: &dyn Framing, random: &mut Random) -> Vec<u8> {
    let bytes = framing.alphabet();
    (0..length).map(|_| random.pick(bytes)).collect()
}
