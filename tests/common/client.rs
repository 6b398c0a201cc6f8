//! One blocking connection to the server, and its answers counted in the background.
//!
//! Knows lines, not what they mean.
//!
//! Rule: each read and write has a deadline, and an end that is not orderly is a failure.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::{DEADLINE, ms, show};

/// What the next read brings.
enum Event {
    Line(Vec<u8>),
    End,
    Timeout,
}

/// One connection, blocking, with a deadline on each read and write.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Where the next line begins in `unread`.
    next: usize,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server accepts");
        Self::over(stream)
    }

    /// With buffers so small that what is not read soon stays in the server. The sending one still
    /// holds a full segment: below that, each write waits for a delayed acknowledgement.
    pub(crate) fn connect_with_small_buffers(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap();
        socket
            .connect_timeout(&address.into(), DEADLINE)
            .expect("the server accepts");
        Self::over(socket.into())
    }

    /// With a sending buffer so small that what the server does not read soon blocks.
    pub(crate) fn connect_with_small_send_buffer(address: SocketAddr) -> Self {
        let client = Self::connect(address);
        SockRef::from(&client.stream)
            .set_send_buffer_size(64 * 1024)
            .unwrap();
        client
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self {
            stream,
            unread: Vec::new(),
            next: 0,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the server takes the bytes");
    }

    /// Sends a byte out of band; the server does not take it for data.
    pub(crate) fn send_urgent(&mut self, byte: u8) {
        let sent = SockRef::from(&self.stream).send_out_of_band(&[byte]);
        assert_eq!(sent.expect("the socket takes it"), 1);
    }

    /// The sending side by itself, for a thread that writes while this one reads.
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream
            .try_clone()
            .expect("a second handle of the socket")
    }

    /// Sends until the server has taken nothing for `patience`; returns how many bytes went out.
    pub(crate) fn send_until_blocked(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            // In pieces: one long write would return, and begin its wait anew, in the middle.
            let end = bytes.len().min(sent + 64 * 1024);
            match self.stream.write(&bytes[sent..end]) {
                Ok(count) => sent += count,
                Err(error) if is_timeout(&error) => break,
                Err(error) => panic!("after {sent} bytes: {error}"),
            }
        }
        self.stream.set_write_timeout(Some(DEADLINE)).unwrap();
        sent
    }

    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("half-close");
    }

    /// Ends the connection with a reset instead of a FIN.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// The next line without its LF.
    pub(crate) fn line(&mut self) -> Vec<u8> {
        self.try_line(DEADLINE)
            .unwrap_or_else(|| panic!("no line within {DEADLINE:?}"))
    }

    /// The next line without its LF, or nothing when none is complete within `timeout`.
    pub(crate) fn try_line(&mut self, timeout: Duration) -> Option<Vec<u8>> {
        match self.next_event(timeout) {
            Event::Line(line) => Some(line),
            Event::Timeout => None,
            Event::End => panic!(
                "the connection ended; a line was expected after {:?}",
                self.shown()
            ),
        }
    }

    /// The next line without its LF, or nothing when the stream ends here in an orderly way.
    pub(crate) fn line_or_end(&mut self) -> Option<Vec<u8>> {
        match self.next_event(DEADLINE) {
            Event::Line(line) => Some(line),
            Event::End if self.next == self.unread.len() => None,
            Event::End => panic!("the last line is cut: {:?}", self.shown()),
            Event::Timeout => panic!("neither a line nor the end within {DEADLINE:?}"),
        }
    }

    /// Whether the stream has ended in an orderly way right here, as far as is known now.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        match peeked {
            Ok(count) => count == 0 && self.next == self.unread.len(),
            Err(error) if is_timeout(&error) => false,
            Err(error) => panic!("{error}, after {:?}", self.shown()),
        }
    }

    fn next_event(&mut self, timeout: Duration) -> Event {
        let deadline = Instant::now() + timeout;
        let mut searched = self.next;
        loop {
            if let Some(at) = self.unread[searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let end = searched + at;
                let line = self.unread[self.next..end].to_vec();
                self.next = end + 1;
                return Event::Line(line);
            }
            searched = self.unread.len() - self.next;
            self.unread.drain(..self.next);
            self.next = 0;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Event::Timeout;
            }
            match self.read_some(left) {
                Ok(0) => return Event::End,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Event::Timeout,
                Err(error) => panic!("{error}; a line was expected after {:?}", self.shown()),
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, line: impl AsRef<[u8]>) {
        let got = self.line();
        let wanted = line.as_ref();
        assert!(
            got == wanted,
            "got {:?}, expected {:?}",
            show(&got),
            show(wanted)
        );
    }

    #[track_caller]
    pub(crate) fn expect_lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.expect(line);
        }
    }

    /// Asserts an orderly end right here: no further byte, no reset.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "got {:?}, expected the end", show(&rest));
    }

    /// All that comes until the server closes in an orderly way; a reset is a failure.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.read_some(DEADLINE) {
                Ok(0) => return self.unread.split_off(self.next),
                Ok(_) => {}
                Err(error) => panic!(
                    "{error} after {} bytes, where the end was expected; last bytes: {:?}",
                    self.unread.len() - self.next,
                    self.shown()
                ),
            }
        }
    }

    /// What comes until the connection ends in whatever way.
    pub(crate) fn rest_or_reset(&mut self) -> Vec<u8> {
        while let Ok(1..) = self.read_some(DEADLINE) {}
        self.unread.split_off(self.next)
    }

    /// Reads on a thread of its own and counts the lines.
    pub(crate) fn count_in_background(mut self) -> Counter {
        let count = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&count);
        let thread = thread::spawn(move || {
            let mut seen = 0;
            while let Ok(1..) = self.read_some(DEADLINE) {
                let lines = self.unread[seen..]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count();
                shared.fetch_add(lines, Ordering::Relaxed);
                seen = self.unread.len();
            }
            self.unread
        });
        Counter { count, thread }
    }

    fn read_some(&mut self, timeout: Duration) -> std::io::Result<usize> {
        self.stream.set_read_timeout(Some(timeout.max(ms(1))))?;
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.unread.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
            }
        }
    }

    fn shown(&self) -> String {
        show(&self.unread[self.unread.len().saturating_sub(100)..])
    }
}

/// The answers of a connection, counted as they come.
pub(crate) struct Counter {
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<u8>>,
}

impl Counter {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// All bytes, once the connection has ended.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.thread
            .join()
            .expect("the counting thread has no reason to panic")
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
