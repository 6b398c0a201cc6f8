//! What is said on stderr beside the result.
//!
//! Knows no text of its own but how much it has left out.
//!
//! Rule: stderr may be closed at its other end, on a full disk, or a pipe that nobody reads. Then
//! what is said is lost, and nothing else: no run ends by that, and none waits. So a thread of its
//! own writes.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// So many bytes may wait to be written. What is said beyond is left out, and counted.
const MOST_WAITING_BYTES: usize = 1 << 20;
/// A stderr that takes nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The one stream; `None` if its thread cannot be started.
static STREAM: OnceLock<Option<Arc<Stream>>> = OnceLock::new();

/// Writes `text` and the end of the line, if anybody takes it. Does not wait for that.
pub(crate) fn say(text: impl fmt::Display) {
    // In one piece, so that lines of several threads do not mix.
    let line = format!("{text}\n");
    match stream() {
        Some(stream) => stream.push(line, MOST_WAITING_BYTES),
        None => write(&mut io::stderr(), &line),
    }
}

/// Says `text` after all else, however much that is, and waits until stderr has taken it.
pub(crate) fn say_at_the_end(text: impl fmt::Display) {
    if let Some(stream) = stream() {
        stream.push(format!("{text}\n"), usize::MAX);
        stream.flush();
    } else {
        say(text);
    }
}

/// Waits until stderr has taken all that was said, for as long as it takes something.
pub(crate) fn flush() {
    // Where nothing has been said there is no stream yet.
    if let Some(Some(stream)) = STREAM.get() {
        stream.flush();
    }
}

fn stream() -> Option<&'static Arc<Stream>> {
    let start = || Stream::start(io::stderr()).ok();
    STREAM.get_or_init(start).as_ref()
}

fn write(out: &mut impl Write, line: &str) {
    out.write_all(line.as_bytes()).ok();
}

/// Lines on their way to a writer.
#[derive(Debug)]
struct Stream {
    waiting: Mutex<Waiting>,
    /// Notified when a line comes, and when one has been written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The first one stays here while it is written.
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    left_out: u64,
    /// How many have been written.
    written: u64,
}

impl Stream {
    /// A stream whose lines a new thread writes to `out`.
    fn start(mut out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let stream = Arc::new(Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
        });
        let its = Arc::clone(&stream);
        let thread = thread::Builder::new().name("stderr".to_owned());
        thread.spawn(move || its.write_all(&mut out))?;
        Ok(stream)
    }

    /// Adds `line`, unless more than `most` bytes would wait.
    fn push(&self, line: String, most: usize) {
        let mut waiting = self.waiting();
        if waiting.bytes.saturating_add(line.len()) > most {
            waiting.left_out += 1;
            return;
        }
        if waiting.left_out > 0 {
            let count = std::mem::take(&mut waiting.left_out);
            let note = format!("(left out {count} lines that were not read in time)\n");
            waiting.add(note);
        }
        waiting.add(line);
        drop(waiting);
        self.changed.notify_all();
    }

    /// Writes what comes, for ever.
    fn write_all(&self, out: &mut impl Write) {
        loop {
            let waiting = self.waiting();
            let none = |waiting: &mut Waiting| waiting.lines.is_empty();
            let waiting = self.changed.wait_while(waiting, none);
            let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let line = Arc::clone(waiting.lines.front().expect("it has waited for one"));
            drop(waiting);
            write(out, &line);
            self.waiting().take();
            self.changed.notify_all();
        }
    }

    /// Waits until all is written, for as long as anything is.
    fn flush(&self) {
        let mut waiting = self.waiting();
        while !waiting.lines.is_empty() {
            let written = waiting.written;
            let stands = |waiting: &mut Waiting| waiting.written == written;
            let waited = self.changed.wait_timeout_while(waiting, PATIENCE, stands);
            let (now, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return;
            }
            waiting = now;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn add(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line.into());
    }

    /// The first line has been written.
    fn take(&mut self) {
        let line = self.lines.pop_front();
        self.bytes -= line.map_or(0, |line| line.len());
        self.written += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes a piece each time that the reader wants one.
    struct Pipe {
        wanted: Receiver<()>,
        pieces: Sender<Vec<u8>>,
    }

    impl Write for Pipe {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.wanted.recv().map_err(gone)?;
            self.pieces
                .send(piece.to_vec())
                .map_err(|_| gone(std::sync::mpsc::RecvError))?;
            Ok(piece.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe() -> (Arc<Stream>, Sender<()>, Receiver<Vec<u8>>) {
        let ((want, wanted), (pieces, read)) = (channel(), channel());
        let stream = Stream::start(Pipe { wanted, pieces });
        (stream.expect("a thread"), want, read)
    }

    #[test]
    fn what_nobody_reads_in_time_is_left_out_and_counted() {
        let (stream, want, read) = pipe();
        for number in 0..10 {
            stream.push(format!("{number}\n"), 6);
        }
        let next = || {
            want.send(()).expect("it is there");
            String::from_utf8(read.recv().expect("a piece")).expect("text")
        };
        assert_eq!([next(), next(), next()], ["0\n", "1\n", "2\n"]);
        stream.flush();
        stream.push("the next one\n".to_owned(), 100);
        assert_eq!(next(), "(left out 7 lines that were not read in time)\n");
        assert_eq!(next(), "the next one\n");
    }

    #[test]
    fn a_flush_waits_for_a_slow_reader_and_not_for_one_that_has_gone() {
        let (stream, want, read) = pipe();
        for number in 0..3 {
            stream.push(format!("{number}\n"), 100);
        }
        for _ in 0..3 {
            want.send(()).expect("it is there");
        }
        stream.flush();
        assert_eq!(read.try_iter().count(), 3);
        stream.push("nobody wants it\n".to_owned(), 100);
        // It would not return.
        stream.flush();
        drop(want);
        stream.flush();
        assert!(stream.waiting().lines.is_empty(), "its reader has gone");
    }
}
