//! One client's TCP connection: bytes in and out, answers cut, and the orderly end.
//!
//! Knows when bytes can move; what they mean is `client`'s and `expectations`' business.
//!
//! Rule: readiness is edge-triggered, so it reads and writes until the kernel has no more to give
//! or take, and remembers what it was not able to finish.

mod anew;
mod http;

use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::check::failure::{Kind, speaker};
use crate::drive::attempts::Attempts;
use crate::drive::client::lengths::Taken;
use crate::drive::client::{Client, Next};
use crate::drive::desk::{Desk, READ_BYTES};
use crate::drive::outbox::Outbox;
use crate::drive::patience::Patience;
use crate::figures::fairness::Share;
use crate::wire::{AnswerEnd, LENGTH_BYTES, split_length};

/// No new request is written out while so many bytes of earlier ones are unsent.
const OUTBOX_BYTES: usize = 64 * 1024;
/// After so many reads the others have their turn, however much more there is.
const READS_AT_ONCE: usize = 64;
/// An answer may be so much longer than the longest right one before it is given up.
const ANSWER_MARGIN_BYTES: usize = 1024;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not begun, or waiting for the handshake.
    Connecting,
    /// Made, and waiting for the start of the run.
    Connected,
    /// At work.
    Running,
    /// All answered, sending side shut down: nothing but the end of the stream may come.
    Closing,
    /// Between two connections: the next one is begun when it is due.
    Waiting,
    /// Gone.
    Over,
}

/// One client with its connection.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    stream: Option<TcpStream>,
    phase: Phase,
    attempts: Attempts,
    /// When the next connection is to be begun, while it waits for one.
    due: Instant,
    /// The last time that something moved on. After the last answer only the end does.
    progress: Instant,
    /// There was more to read than was read at once.
    has_more: bool,
    outbox: Outbox,
    writable: bool,
    /// The last request ended the stream: when all is sent, the sending side is shut down.
    ends_stream: bool,
    /// The beginning of an answer whose end has not come.
    partial: Vec<u8>,
    /// What the driver has a timer for.
    pub(crate) timer: Option<Instant>,
    /// It is in the driver's ring of connections with room (open loop).
    pub(crate) is_ready: bool,
}

impl Connection {
    /// A connection that is not made yet.
    pub(crate) fn new(client: Client, now: Instant) -> Self {
        Self {
            client,
            stream: None,
            phase: Phase::Connecting,
            attempts: Attempts::new(now),
            due: now,
            progress: now,
            has_more: false,
            outbox: Outbox::default(),
            writable: false,
            ends_stream: false,
            partial: Vec::new(),
            timer: None,
            is_ready: false,
        }
    }

    /// The client, for what is not a matter of bytes.
    pub(crate) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// What the client got.
    pub(crate) fn into_share(self) -> Share {
        self.client.into_share()
    }

    /// Where it is in its life.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Begins to connect.
    pub(crate) fn connect(
        &mut self,
        address: SocketAddr,
        registry: &Registry,
        token: Token,
        now: Instant,
    ) -> io::Result<()> {
        self.phase = Phase::Connecting;
        self.progress = now;
        self.attempts.begin(now);
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Looks whether the handshake is over.
    pub(crate) fn finish_connect(&mut self, now: Instant, desk: &mut Desk) -> io::Result<()> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            // Where nothing listens on a port that the system gives to clients, a socket can get
            // that port for itself, and then it meets itself (simultaneous open).
            Ok(peer) if stream.local_addr()? == peer => {
                let text = "the connection met itself, so nothing listens there";
                Err(io::Error::new(ErrorKind::ConnectionRefused, text))
            }
            Ok(_) => {
                stream.set_nodelay(true)?;
                let time = now.saturating_duration_since(self.progress);
                let had_one = self.attempts.made(now);
                let sender = self.client.sender();
                desk.ledger.connected(sender, time, had_one);
                self.phase = Phase::Connected;
                self.progress = now;
                self.writable = true;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The run begins.
    pub(crate) fn start(&mut self, now: Instant, desk: &mut Desk) {
        if self.phase == Phase::Connected {
            self.phase = Phase::Running;
            self.progress = now;
            self.pump(now, desk);
        }
    }

    /// Frames that were sent and are not answered.
    pub(crate) fn unanswered(&self) -> u64 {
        self.client.unanswered()
    }

    /// Whether it can be offered one more frame.
    pub(crate) fn has_room(&self) -> bool {
        self.phase == Phase::Running && self.client.has_room()
    }

    /// Something has become possible.
    pub(crate) fn on_event(&mut self, event: &Event, desk: &mut Desk) {
        if event.is_writable() {
            self.writable = true;
        }
        let mut read = None;
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            // A short read means that nothing is left, unless the end of the stream is: that is
            // not announced a second time.
            let to_the_end = event.is_read_closed() || event.is_error();
            read = self.read(to_the_end, desk);
        }
        self.pump(read.unwrap_or_else(Instant::now), desk);
    }

    /// What was not read at once is announced as if it had just come.
    pub(crate) fn announce_rest(&mut self, registry: &Registry, token: Token, desk: &mut Desk) {
        if mem::take(&mut self.has_more)
            && let Some(stream) = &mut self.stream
            && let Err(error) =
                registry.reregister(stream, token, Interest::READABLE | Interest::WRITABLE)
        {
            self.on_read_error(&error, desk);
        }
    }

    /// Sends what may be sent, and moves on to closing when there is nothing more to do.
    pub(crate) fn pump(&mut self, now: Instant, desk: &mut Desk) {
        if self.phase == Phase::Waiting && self.client.is_done() {
            return self.close();
        }
        if self.phase == Phase::Running && self.client.is_between_requests() {
            // Nothing is sent into a connection that is known to have been closed.
            self.read(false, desk);
        }
        if self.phase != Phase::Running {
            return;
        }
        loop {
            self.fill_outbox(now, desk);
            if self.outbox.unsent().is_empty() {
                break;
            }
            self.write(now, desk);
            if self.phase != Phase::Running || !self.writable {
                return;
            }
        }
        if self.ends_stream {
            self.half_close();
        }
        if self.client.is_done() {
            self.half_close();
            self.phase = Phase::Closing;
            self.progress = now;
        }
    }

    /// Looks for what takes too long. What has come counts first: this program may have been busy.
    pub(crate) fn check_time(&mut self, patience: &Patience, now: Instant, desk: &mut Desk) {
        if self.is_late(patience, now) {
            self.read(true, desk);
            self.pump(now, desk);
        }
        let timeout = patience.timeout();
        let stalled = patience.is_over(self.progress, now);
        let seconds = timeout.as_secs_f64();
        match self.phase {
            Phase::Connecting if stalled && self.is_unconnected() => {
                let text = format!("no connection within {seconds} s");
                self.give_up_connecting(&io::Error::other(text), now, desk);
            }
            Phase::Running if self.client.is_overdue(patience, now) => {
                match self.client.on_timeout(timeout, now, &mut desk.ledger) {
                    Next::Continue => self.pump(now, desk),
                    Next::Abandon => self.close(),
                }
            }
            Phase::Running if stalled && self.client.is_done() => {
                self.end_unclosed("the server stopped reading", desk);
            }
            Phase::Closing if stalled => {
                let text = format!("not closed within {seconds} s of the client's half-close");
                self.end_unclosed(&text, desk);
            }
            _ => {}
        }
    }

    fn is_late(&self, patience: &Patience, now: Instant) -> bool {
        let stalled = patience.is_over(self.progress, now);
        match self.phase {
            // Not one that only has nothing to do: asking it would cost a call each time.
            Phase::Running if !self.client.is_done() => self.client.is_overdue(patience, now),
            Phase::Running | Phase::Closing => stalled,
            _ => false,
        }
    }

    /// Whether it has a stream that has met nobody.
    fn is_unconnected(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|stream| stream.peer_addr().is_err())
    }

    /// Ends it where it is, because the run is interrupted.
    pub(crate) fn abort(&mut self, now: Instant, desk: &mut Desk) {
        self.client.leave_open(now, &mut desk.ledger);
        self.close();
    }

    fn fill_outbox(&mut self, now: Instant, desk: &mut Desk) {
        self.outbox.forget_before(self.client.first_place());
        while self.outbox.unsent().len() < OUTBOX_BYTES && !self.ends_stream {
            let Some((what, count)) = self.client.next_tries(now) else {
                break;
            };
            let mut frame = self.client.frame(what);
            for _ in 0..count {
                let append = |bytes: &mut Vec<u8>| desk.expectations.append_request(frame, bytes);
                let (place, ends_stream) = self.outbox.queue(append);
                self.client.placed(place);
                self.ends_stream = ends_stream;
                frame.sequence += 1;
                if self.outbox.unsent().len() >= OUTBOX_BYTES {
                    break;
                }
            }
            let ledger = &mut desk.ledger;
            self.client.queued(what, self.ends_stream, now, ledger);
        }
    }

    fn write(&mut self, now: Instant, desk: &mut Desk) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let unsent = self.outbox.unsent();
        // The C library's own calls are slower in a program with threads, which it may have to
        // cancel.
        match send(&*stream, unsent, SendFlags::NOSIGNAL).map_err(io::Error::from) {
            Ok(count) => {
                // Less than asked for: the kernel has no more room, and will say when it has.
                self.writable = count == unsent.len();
                self.progress = now;
                let sent = self.outbox.note_sent(count);
                self.client.written_up_to(sent, now, &mut desk.ledger);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
            Err(error) => {
                // What the server said before it went may still be there.
                self.writable = false;
                self.read(true, desk);
                if self.stream.is_some() {
                    self.on_closed(&format!("connection lost ({error})"), desk);
                }
            }
        }
    }

    fn half_close(&mut self) {
        if let Some(stream) = &self.stream {
            // It fails if the peer is gone already; how that happened, the read side says. A
            // second time it does nothing.
            stream.shutdown(Shutdown::Write).ok();
        }
    }

    /// Returns when the last bytes came, if some did.
    fn read(&mut self, to_the_end: bool, desk: &mut Desk) -> Option<Instant> {
        let mut buffer = mem::take(&mut desk.read_buffer);
        let mut last = None;
        for reads in 0.. {
            let Some(stream) = &mut self.stream else {
                break;
            };
            if reads == READS_AT_ONCE {
                self.has_more = true;
                break;
            }
            let received = recv(&*stream, &mut buffer[..], RecvFlags::empty());
            match received.map_err(io::Error::from) {
                Ok((0, _)) => self.on_closed("connection closed by the server", desk),
                Ok((count, _)) => {
                    let now = Instant::now();
                    last = Some(now);
                    if self.phase != Phase::Closing {
                        self.progress = now;
                    }
                    self.attempts.heard();
                    self.take(&buffer[..count], now, desk);
                    if count < READ_BYTES && !to_the_end {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.on_read_error(&error, desk),
            }
        }
        desk.read_buffer = buffer;
        last
    }

    /// Hands the answers in `bytes`, which have come in one read, to the client.
    fn take(&mut self, bytes: &[u8], now: Instant, desk: &mut Desk) {
        match desk.expectations.answer_end() {
            AnswerEnd::LineEnd => self.take_lines(bytes, now, desk),
            AnswerEnd::Length => self.take_framed(bytes, now, desk),
            AnswerEnd::AsDue => self.take_answers(bytes, now, desk),
            AnswerEnd::Head => self.take_http(bytes, now, desk),
        }
        self.client.book(&mut desk.ledger);
    }

    /// Hands the lines in `bytes` to the client.
    fn take_lines(&mut self, bytes: &[u8], now: Instant, desk: &mut Desk) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.partial.is_empty()
                && let Some(length) = self.client.take_due_line(rest, &self.outbox, now, desk)
            {
                rest = &rest[length..];
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else {
                break;
            };
            let next = if self.partial.is_empty() {
                self.client.on_line(&rest[..end], now, desk)
            } else {
                self.partial.extend_from_slice(&rest[..end]);
                let next = self.client.on_line(&self.partial, now, desk);
                self.partial.clear();
                next
            };
            if next == Next::Abandon {
                return self.abandon(desk);
            }
            rest = &rest[end + 1..];
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > longest_taken(desk) {
            let text = "given up in a line that is longer than any right answer";
            self.end(text, desk);
        }
    }

    /// Hands the answers in `bytes`, each with its length in front, to the client.
    fn take_framed(&mut self, bytes: &[u8], now: Instant, desk: &mut Desk) {
        self.partial.extend_from_slice(bytes);
        let longest = longest_taken(desk);
        let mut start = 0;
        while let Some((length, rest)) = split_length(&self.partial[start..]) {
            if length > longest {
                let who = speaker(&self.partial[start..]);
                let text =
                    format!("given up at a length of {length}, which no right answer has{who},");
                self.partial.drain(..start);
                return self.end(&text, desk);
            }
            let Some(answer) = rest.get(..length) else {
                break;
            };
            if self.client.on_line(answer, now, desk) == Next::Abandon {
                return self.abandon(desk);
            }
            start += LENGTH_BYTES + length;
        }
        self.partial.drain(..start);
    }

    /// Hands `bytes` to the client, which knows where an answer ends.
    fn take_answers(&mut self, bytes: &[u8], now: Instant, desk: &mut Desk) {
        self.partial.extend_from_slice(bytes);
        let mut start = 0;
        while start < self.partial.len() {
            match self.client.on_bytes(&self.partial[start..], now, desk) {
                Taken::Answer(length) => start += length,
                Taken::Nothing => break,
                Taken::Abandon => return self.abandon(desk),
            }
        }
        self.partial.drain(..start);
    }

    fn on_read_error(&mut self, error: &io::Error, desk: &mut Desk) {
        if self.client.is_done() && self.partial.is_empty() {
            self.end_unclosed(&format!("broken off after the last answer ({error})"), desk);
        } else {
            self.on_closed(&format!("connection lost ({error})"), desk);
        }
    }

    fn end(&mut self, cause: &str, desk: &mut Desk) {
        let now = Instant::now();
        self.client
            .on_end(cause, &self.partial, now, &mut desk.ledger);
        self.close();
    }

    fn end_unclosed(&mut self, text: &str, desk: &mut Desk) {
        let place = format!("{}", self.client.sender());
        desk.ledger.failures.add(Kind::Unclosed, 1, place, text);
        self.end("connection given up", desk);
    }

    fn close(&mut self) {
        self.stream = None;
        self.phase = Phase::Over;
        self.writable = false;
        self.outbox.clear();
        self.partial = Vec::new();
    }
}

/// An answer of more bytes is given up before all of it is there.
fn longest_taken(desk: &Desk) -> usize {
    desk.expectations.longest_answer_bytes() + ANSWER_MARGIN_BYTES
}

#[cfg(test)]
mod tests;
