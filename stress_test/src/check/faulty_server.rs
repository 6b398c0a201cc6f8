//! A server of the protocol with one fault, to show that `stress_test` finds it.
//!
//! One thread per connection, answers inline. Knows the right answers from `oracle`; knows nothing
//! of the program that it fools.
//!
//! Rule: everything but the one fault is right, so whatever else is reported is a false alarm.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::check::oracle;
use crate::wire::{Framing, LENGTH_BYTES, Limits, LineEnding, split_length};

/// The answer (counted from 0 on each connection) at which faults of one answer happen.
pub(crate) const FAULTY_ANSWER: usize = 5;
/// How long [`Fault::Stall`] lasts.
pub const STALL: Duration = Duration::from_millis(300);
/// How long a worker of [`Fault::Slow`] or [`Fault::OneWorker`] takes for an answer.
pub(crate) const SERVICE: Duration = Duration::from_millis(5);
/// Two connections that exchange answers wait this long for each other.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is wrong. Unless it says otherwise, it happens once, on the first connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// An answer and the next one change places.
    Swap,
    /// An answer is not sent.
    Drop,
    /// An answer is sent twice.
    Repeat,
    /// The last byte of an answer is another one.
    Alter,
    /// The first two connections get each other's answer.
    Cross,
    /// The connection is closed instead of an answer.
    Cut,
    /// The connection is closed in the middle of an answer.
    CutInside,
    /// An answer that nobody asked for comes before another one.
    Extra,
    /// The last answer is sent again after the end of the client's stream.
    ExtraAtEnd,
    /// Half an answer follows the last one.
    HalfLineAtEnd,
    /// From an answer on, nothing is said any more.
    FallSilent,
    /// An answer, and all after it, come [`STALL`] later; then all goes on as before.
    Stall,
    /// The connection is not closed after the end of the client's stream.
    StayOpen,
    /// The connection is refused.
    TooMany,
    /// Every second connection gets `FAULTY_ANSWER` answers and then no more.
    Starve,
    /// Each connection has a worker of its own, which takes `SERVICE` for each answer.
    Slow,
    /// All connections have one worker, which takes `SERVICE` for each answer.
    OneWorker,
    /// After so many answers of all connections together, the server is gone.
    Die(u64),
    /// On every connection, the first try of each request is refused as busy.
    BusyFirst,
    /// On every connection, every request is refused as busy.
    BusyAlways,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct FaultyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fault: Fault,
    limits: Limits,
    /// Written by `drop`, read by every thread between two waits.
    stopped: AtomicBool,
    /// How many answers have been given, by all connections.
    answered: AtomicU64,
    /// For [`Fault::Cross`]: the answers of the first two connections.
    exchange: Mutex<[Option<Vec<u8>>; 2]>,
    exchanged: Condvar,
    /// For [`Fault::OneWorker`].
    worker: Mutex<()>,
}

impl FaultyServer {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(fault: Fault, limits: Limits) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            fault,
            limits,
            stopped: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            exchange: Mutex::default(),
            exchanged: Condvar::new(),
            worker: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many answers it has given so far.
    pub fn answered(&self) -> u64 {
        // A plain counter: nothing else is read because of it.
        self.shared.answered.load(Ordering::Relaxed)
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        // Pairs with the loads in `accept` and `serve`.
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes `accept`; if it cannot be reached, it is not waiting either.
        TcpStream::connect(self.address).ok();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for index in 0.. {
        let Ok((stream, _)) = listener.accept() else {
            return;
        };
        if shared.stopped.load(Ordering::Acquire) {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let mut connection = Connection {
                stream,
                shared,
                index,
                answers: 0,
                held: None,
                last: Vec::new(),
                seen: HashSet::new(),
            };
            // An error means that the client has gone; there is nobody to tell.
            connection.serve().ok();
        });
    }
}

struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    /// 0 for the first connection that was accepted.
    index: usize,
    answers: usize,
    /// For [`Fault::Swap`]: the answer that the next one overtakes.
    held: Option<Vec<u8>>,
    last: Vec<u8>,
    /// For [`Fault::BusyFirst`]: the requests that have been refused.
    seen: HashSet<Vec<u8>>,
}

impl Connection {
    fn serve(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream
            .set_read_timeout(Some(Duration::from_millis(50)))?;
        if self.has(Fault::TooMany) {
            let answer = self.enclosed(oracle::TOO_MANY_CONNECTIONS);
            self.stream.write_all(&answer)?;
            return self.stream.shutdown(Shutdown::Both);
        }
        let mut unread = Vec::new();
        let mut buffer = [0; 16 * 1024];
        let mut is_skipping = false;
        while !self.shared.stopped.load(Ordering::Acquire) {
            match self.stream.read(&mut buffer) {
                Ok(0) => return self.finish(&unread, is_skipping),
                Ok(count) => unread.extend_from_slice(&buffer[..count]),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
            match self.shared.limits.framing {
                Framing::Lines => self.answer_lines(&mut unread, &mut is_skipping)?,
                Framing::Length => self.answer_framed(&mut unread, &mut is_skipping)?,
            }
        }
        Ok(())
    }

    /// Answers the whole lines in `unread` and takes them out of it. While `is_skipping`, it is in
    /// a line that is too long and has been answered.
    fn answer_lines(&mut self, unread: &mut Vec<u8>, is_skipping: &mut bool) -> io::Result<()> {
        let mut start = 0;
        while let Some(length) = unread[start..].iter().position(|&byte| byte == b'\n') {
            let line = &unread[start..start + length];
            start += length + 1;
            if std::mem::take(is_skipping) {
                continue;
            }
            let (line, ending) = match line.strip_suffix(b"\r") {
                Some(line) => (line, LineEnding::CrLf),
                None => (line, LineEnding::Lf),
            };
            self.answer(line, ending)?;
        }
        unread.drain(..start);
        let limit = self.shared.limits.max_line_bytes;
        let may_be_cr_lf = unread.len() == limit + 1 && unread.ends_with(b"\r");
        if unread.len() > limit && !may_be_cr_lf {
            if !std::mem::replace(is_skipping, true) {
                self.answer(unread, LineEnding::Eof)?;
            }
            unread.clear();
        }
        Ok(())
    }

    /// The same with lengths in front. While `is_skipping`, there is no more to answer: what
    /// follows a request that is too long cannot be told from one.
    fn answer_framed(&mut self, unread: &mut Vec<u8>, is_skipping: &mut bool) -> io::Result<()> {
        let mut start = 0;
        while !*is_skipping && let Some((length, rest)) = split_length(&unread[start..]) {
            if length > self.shared.limits.max_line_bytes {
                *is_skipping = true;
                self.answer(&unread[start..], LineEnding::Eof)?;
                self.stream.shutdown(Shutdown::Write)?;
            } else if let Some(request) = rest.get(..length) {
                self.answer(request, LineEnding::None)?;
                start += LENGTH_BYTES + length;
            } else {
                break;
            }
        }
        unread.drain(..start);
        if *is_skipping {
            unread.clear();
        }
        Ok(())
    }

    fn answer(&mut self, line: &[u8], ending: LineEnding) -> io::Result<()> {
        let mut answer = Vec::new();
        oracle::append_answer(self.shared.limits, line, ending, &mut answer);
        let refuses = match self.shared.fault {
            Fault::BusyAlways => true,
            Fault::BusyFirst => self.seen.insert(line.to_vec()),
            _ => false,
        };
        if refuses {
            answer = oracle::BUSY.to_vec();
        }
        let answer = self.enclosed(&answer);
        if self.shared.fault == Fault::Slow {
            thread::sleep(SERVICE);
        }
        if self.shared.fault == Fault::OneWorker {
            let worker = self.shared.worker.lock();
            let _worker = worker.unwrap_or_else(PoisonError::into_inner);
            thread::sleep(SERVICE);
        }
        let answered = self.shared.answered.fetch_add(1, Ordering::Relaxed);
        if let Fault::Die(after) = self.shared.fault
            && answered >= after
        {
            self.shared.stopped.store(true, Ordering::Release);
            return self.stream.shutdown(Shutdown::Both);
        }
        let number = self.answers;
        self.answers += 1;
        self.say(number, answer)
    }

    fn say(&mut self, number: usize, mut answer: Vec<u8>) -> io::Result<()> {
        if let Some(held) = self.held.take() {
            self.stream.write_all(&answer)?;
            return self.stream.write_all(&held);
        }
        if self.shared.fault == Fault::Cross && self.index < 2 && number == FAULTY_ANSWER {
            answer = self.exchange(answer);
        }
        let is_starved = self.shared.fault == Fault::Starve && self.index % 2 == 1;
        if (is_starved || self.has(Fault::FallSilent)) && number >= FAULTY_ANSWER {
            return Ok(());
        }
        let is_faulty = self.index == 0 && number == FAULTY_ANSWER;
        match self.shared.fault {
            Fault::Swap if is_faulty => {
                self.held = Some(answer);
                return Ok(());
            }
            Fault::Drop if is_faulty => return Ok(()),
            Fault::Stall if is_faulty => thread::sleep(STALL),
            Fault::Repeat if is_faulty => self.stream.write_all(&answer)?,
            Fault::Alter if is_faulty => {
                let behind = match self.shared.limits.framing {
                    Framing::Lines => b"\n".len(),
                    Framing::Length => 0,
                };
                let last = answer.len() - behind - 1;
                answer[last] ^= 1;
            }
            Fault::Cut if is_faulty => return self.stream.shutdown(Shutdown::Both),
            Fault::CutInside if is_faulty => {
                self.stream.write_all(&answer[..answer.len() / 2])?;
                return self.stream.shutdown(Shutdown::Both);
            }
            Fault::Extra if is_faulty => {
                let extra = self.enclosed(b"OK nobody asked for this");
                self.stream.write_all(&extra)?;
            }
            _ => {}
        }
        self.stream.write_all(&answer)?;
        self.last = answer;
        Ok(())
    }

    /// Gives `answer` to the other one of the first two connections for its own.
    fn exchange(&self, answer: Vec<u8>) -> Vec<u8> {
        let own = answer.clone();
        let lock = self.shared.exchange.lock();
        let mut answers = lock.unwrap_or_else(PoisonError::into_inner);
        answers[self.index] = Some(answer);
        self.shared.exchanged.notify_all();
        let other = 1 - self.index;
        let waited =
            self.shared
                .exchanged
                .wait_timeout_while(answers, EXCHANGE_TIMEOUT, |answers| {
                    answers[other].is_none()
                });
        let (answers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        answers[other].clone().unwrap_or(own)
    }

    /// The client's stream has ended.
    fn finish(&mut self, unread: &[u8], is_skipping: bool) -> io::Result<()> {
        if !unread.is_empty() && !is_skipping {
            self.answer(unread, LineEnding::Eof)?;
        }
        if self.has(Fault::ExtraAtEnd) {
            self.stream.write_all(&self.last)?;
        }
        if self.has(Fault::HalfLineAtEnd) {
            let whole = self.enclosed(b"OK half a line");
            self.stream.write_all(&whole[..whole.len() - 3])?;
        }
        while self.has(Fault::StayOpen) && !self.shared.stopped.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(10));
        }
        self.stream.shutdown(Shutdown::Both)
    }

    /// `answer` as it is sent.
    fn enclosed(&self, answer: &[u8]) -> Vec<u8> {
        let mut bytes = answer.to_vec();
        let ending = self.shared.limits.framing.usual_ending();
        ending.enclose(0, &mut bytes);
        bytes
    }

    fn has(&self, fault: Fault) -> bool {
        self.shared.fault == fault && self.index == 0
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
