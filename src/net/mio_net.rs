//! [`Net`] on mio: one poll for the listeners, the streams, the waker, the timer and the signals.
//!
//! Knows no requests: bytes go in and out.
//!
//! Rule: a token is either one of the few below or a whole connection id.

use super::alarm::Alarm;
use super::listener::{Accepting, Bound};
use super::signals::SignalSource;
use super::socket_diag::SocketDiag;
use super::stream::Stream;
use super::{Event, Net, Readiness, Wait, cannot};
use crate::address::Peer;
use crate::config::Config;
use crate::log::{debug, info};
use crate::task::ConnectionId;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{self, ErrorKind};
use std::time::Instant;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const ALARM: Token = Token(2);
/// The first listener; the others follow.
const LISTENERS: Token = Token(3);
/// Of the connection with the serial number 1: all tokens of connections are above it.
const FIRST_CONNECTION: usize = ConnectionId::SLOTS;

/// Events that one poll takes; more wait in the kernel.
const EVENTS_PER_POLL: usize = 256;

/// Urgent data too, for what it does to reads ([`Readiness::short_reads_mislead`]).
#[cfg(any(target_os = "linux", target_os = "android"))]
const INTERESTS: Interest = Interest::READABLE
    .add(Interest::WRITABLE)
    .add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const INTERESTS: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A peer that has gone is an error, not a signal.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::empty();
/// The end of the stream follows at once, and leaves in the same segment.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LAST_SEND_FLAGS: SendFlags = SEND_FLAGS.union(SendFlags::MORE);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const LAST_SEND_FLAGS: SendFlags = SEND_FLAGS;

// A token holds a whole connection id.
const _: () = assert!(usize::BITS >= 64, "64-bit targets only");

/// The sockets of one server.
#[derive(Debug)]
pub(crate) struct MioNet {
    poll: Poll,
    events: Events,
    alarm: Alarm,
    /// None before [`MioNet::listen`], and once the server drains.
    listeners: Vec<Accepting>,
    signals: Option<SignalSource>,
    diag: Option<SocketDiag>,
}

impl MioNet {
    /// Takes over the signals, if it is to, and listens nowhere yet.
    pub(crate) fn new(config: &Config) -> io::Result<MioNet> {
        let poll = Poll::new().map_err(cannot("create the event loop's poll"))?;
        let registry = poll.registry();
        let signals = SignalSource::take_over(config, registry, SIGNALS);
        let signals = signals.map_err(cannot("take over the signals"))?;
        let alarm = Alarm::register(registry, ALARM);
        let alarm = alarm.map_err(cannot("create the event loop's timer"))?;
        Ok(MioNet {
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            alarm,
            listeners: Vec::new(),
            signals,
            diag: None,
        })
    }

    /// What ends a sleep of the poll from another thread.
    pub(crate) fn waker(&self) -> io::Result<impl Fn() + Send + Sync + use<>> {
        let waker = Waker::new(self.poll.registry(), WAKER);
        let waker = waker.map_err(cannot("create the event loop's waker"))?;
        Ok(move || waker.wake().expect("an eventfd takes every wake"))
    }

    /// From here on clients can connect: the last thing of a start. Listeners have the numbers of
    /// their places in `bound`.
    pub(crate) fn listen(&mut self, bound: Vec<Bound>, buffer_bytes: usize) -> io::Result<()> {
        let tcp = bound.iter().find_map(|bound| bound.address().tcp());
        let tokens = (LISTENERS.0..).map(Token);
        for (bound, token) in bound.into_iter().zip(tokens) {
            let listener = bound.listen(self.poll.registry(), token, buffer_bytes)?;
            self.listeners.push(listener);
        }
        self.diag = tcp.and_then(SocketDiag::open);
        if tcp.is_some() && self.diag.is_none() {
            info!(
                "the system does not tell what clients have acknowledged: what their sockets take counts as taken"
            );
        }
        Ok(())
    }
}

impl Net for MioNet {
    type Stream = Stream;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = self.alarm.set(wait)?;
        self.events.clear();
        match self.poll.poll(&mut self.events, timeout) {
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &self.events {
            match event.token() {
                // What it announces is looked for in every tick.
                WAKER => {}
                SIGNALS => {
                    let pending = self.signals.as_mut().map(SignalSource::pending);
                    events.extend(pending.into_iter().flatten().map(Event::Signal));
                }
                ALARM => self.alarm.note_ring(),
                Token(below @ ..FIRST_CONNECTION) => {
                    events.push(Event::Connect(below - LISTENERS.0));
                }
                Token(bits) => {
                    let readiness = Readiness {
                        readable: event.is_readable() || event.is_read_closed(),
                        writable: event.is_writable(),
                        short_reads_mislead: event.is_read_closed() || event.is_priority(),
                        failed: event.is_error(),
                    };
                    let id = ConnectionId::from_bits(bits as u64);
                    events.push(Event::Stream(id, readiness));
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: usize) -> io::Result<Option<(Stream, Peer)>> {
        match self.listeners.get(listener) {
            Some(listener) => listener.accept(),
            None => Ok(None),
        }
    }

    fn register(&mut self, stream: &mut Stream, id: ConnectionId) -> io::Result<()> {
        if let Err(cause) = stream.set_options() {
            // The peer may have gone already; the first read will tell.
            debug!(conn = %id, %cause, "socket options not set");
        }
        let token = Token(id.bits() as usize);
        self.poll.registry().register(stream, token, INTERESTS)
    }

    fn short_reads_mislead(&self, stream: &Stream) -> bool {
        stream.short_reads_mislead()
    }

    // The system calls themselves: those of a libc are points at which a thread may be cancelled,
    // and in a program of several threads they pay for that. On epoll and kqueue mio has no part
    // in them; where it polls with poll(2), it would have to be told of "would block"
    // (`TcpStream::try_io`).

    fn receive(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = recv(stream, buffer, RecvFlags::empty())?;
        Ok(count)
    }

    fn send(&mut self, stream: &mut Stream, bytes: &[u8], is_last: bool) -> io::Result<usize> {
        let flags = match is_last {
            true => LAST_SEND_FLAGS,
            false => SEND_FLAGS,
        };
        Ok(send(stream, bytes, flags)?)
    }

    fn shut(&mut self, stream: &mut Stream) -> io::Result<()> {
        stream.shut()
    }

    fn take_error(&mut self, stream: &mut Stream) -> io::Error {
        let error = stream.take_error().unwrap_or_else(Some);
        error.unwrap_or_else(|| ErrorKind::ConnectionReset.into())
    }

    fn unread(&mut self, stream: &Stream) -> usize {
        ioctl_fionread(stream).map_or(0, |bytes| bytes as usize)
    }

    fn unacknowledged(&mut self, stream: &Stream) -> Option<usize> {
        match stream {
            Stream::Tcp(stream) => self.diag.as_mut()?.unacknowledged(stream),
            Stream::Unix(_) => None,
        }
    }

    fn close(&mut self, stream: Stream) {
        drop(stream);
    }

    fn stop_listening(&mut self) {
        for mut listener in self.listeners.drain(..) {
            // A socket that somebody else keeps open stays in the poll, too (epoll(7)), and would
            // end sleeps with what is no business of ours any more.
            if let Err(cause) = self.poll.registry().deregister(listener.source()) {
                debug!(%cause, "a listener stays in the poll until it is closed by all");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn a_listener_that_others_hold_ends_no_sleep_once_it_is_not_listened_at() {
        let config = Config::default();
        let mut net = MioNet::new(&config).expect("descriptors");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let copy = listener.try_clone().expect("a descriptor");
        let bound = Bound::given(copy.into()).expect("it listens");
        let listening = net.listen(vec![bound], config.socket_buffer);
        listening.expect("it is new");
        let mut poll = |is_stopped| {
            if is_stopped {
                net.stop_listening();
            }
            let _client = TcpStream::connect(address).expect("the test holds it");
            let mut events = Vec::new();
            let at = Instant::now() + Duration::from_millis(50);
            let polled = net.poll(Wait::Until(at), &mut events);
            polled.expect("polling does not fail");
            events
        };
        assert_eq!(poll(false), [Event::Connect(0)]);
        assert_eq!(poll(true), []);
    }

    #[test]
    fn the_last_bytes_leave_with_the_end_of_the_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut net = MioNet::new(&Config::default()).expect("descriptors");
        let mut wait_for_the_end = || {
            let mut client = TcpStream::connect(address).expect("the test listens");
            let (accepted, _) = listener.accept().expect("it has come");
            let mut stream = Stream::Tcp(mio::net::TcpStream::from_std(accepted));
            stream.set_options().expect("it is open");
            let sent = net.send(&mut stream, b"last", true);
            assert_eq!(sent.expect("there is room"), 4);
            client.set_nonblocking(true).expect("it is open");
            let is_early = client.read(&mut [0; 8]).is_ok();
            net.shut(&mut stream).expect("it is open");
            client.set_nonblocking(false).expect("it is open");
            let mut text = String::new();
            client.read_to_string(&mut text).expect("an orderly end");
            assert!(is_early || text == "last", "{text:?}");
            !is_early
        };
        // The system waits for a fifth of a second, in which a busy machine may not come back.
        let waits = (0..20).filter(|_| wait_for_the_end()).count();
        assert!(waits > 0 || cfg!(not(any(target_os = "linux", target_os = "android"))));
    }
}
