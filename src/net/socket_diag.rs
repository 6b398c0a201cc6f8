//! Asks the kernel what a client has not acknowledged of what was written to it.
//!
//! Knows no connections and no deadlines: a socket in, a number of bytes out.
//!
//! Rule: the answer is a fact or it is missing, never a guess. Where the system cannot tell,
//! progress is what the socket takes.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use netlink::SocketDiag;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use missing::SocketDiag;

/// sock_diag(7): what `ss` shows as Send-Q. The ioctl SIOCOUTQ tells the same, but no safe wrapper
/// of it is to be had.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod netlink {
    use mio::net::TcpStream;
    use rustix::fd::OwnedFd;
    use rustix::io::Result;
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
        socket_with,
    };
    use std::net::{IpAddr, SocketAddr};

    const HEADER_BYTES: usize = 16;
    const REQUEST_BYTES: usize = HEADER_BYTES + 56;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const IPPROTO_TCP: u8 = 6;
    /// `idiag_state` in the answer, after the family; and the state of a listener (tcp_states.h).
    const STATE_AT: usize = HEADER_BYTES + 1;
    const LISTEN: u8 = 10;
    /// `idiag_wqueue` in the answer: header, 4 bytes of state, 48 of addresses, two other numbers.
    const WQUEUE_AT: usize = HEADER_BYTES + 4 + 48 + 8;

    #[derive(Debug)]
    pub(in crate::net) struct SocketDiag {
        netlink: OwnedFd,
        /// Number of the last question, by which its answer is known.
        sequence: u32,
    }

    impl SocketDiag {
        /// Makes sure that the kernel answers, with the `listener` that it should know.
        pub(in crate::net) fn open(listener: SocketAddr) -> Option<SocketDiag> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let protocol = Some(netlink::SOCK_DIAG);
            let netlink =
                socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol).ok()?;
            let mut diag = SocketDiag {
                netlink,
                sequence: 0,
            };
            let mut nobody = listener;
            nobody.set_ip(match listener {
                SocketAddr::V4(_) => IpAddr::from([0; 4]),
                SocketAddr::V6(_) => IpAddr::from([0; 16]),
            });
            nobody.set_port(0);
            let known = diag.ask(listener, nobody).ok().flatten();
            known.map(|_| diag)
        }

        /// Bytes that were written and that the other side has not acknowledged; a shut sending
        /// side counts as one.
        pub(in crate::net) fn unacknowledged(&mut self, stream: &TcpStream) -> Option<usize> {
            let (ours, theirs) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
            let (state, bytes) = self.ask(ours, theirs).ok().flatten()?;
            // Where there is no such connection, the kernel may answer for the listener.
            let is_it = state != LISTEN;
            usize::try_from(bytes).ok().filter(|_| is_it)
        }

        /// The state of the socket, and the bytes in its sending queue.
        fn ask(&mut self, ours: SocketAddr, theirs: SocketAddr) -> Result<Option<(u8, u32)>> {
            self.sequence = self.sequence.wrapping_add(1);
            let question = question(self.sequence, ours, theirs);
            send(&self.netlink, &question, SendFlags::empty())?;
            loop {
                let mut answer = [0; 512];
                let (length, _) = recv(&self.netlink, &mut answer, RecvFlags::empty())?;
                let answer = &answer[..length];
                // An answer that nobody waited for any more may lie before ours.
                if number(answer, 8) == Some(self.sequence) {
                    let found = answer[4..6] == SOCK_DIAG_BY_FAMILY.to_ne_bytes();
                    let state = answer.get(STATE_AT).copied();
                    let both = state.zip(number(answer, WQUEUE_AT));
                    return Ok(both.filter(|_| found));
                }
            }
        }
    }

    fn number(message: &[u8], at: usize) -> Option<u32> {
        let bytes = message.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }

    /// `struct nlmsghdr` and `struct inet_diag_req_v2`.
    fn question(sequence: u32, ours: SocketAddr, theirs: SocketAddr) -> [u8; REQUEST_BYTES] {
        let mut message = [0; REQUEST_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            message[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        let interface = match ours {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(address) => address.scope_id(),
        };
        put(&(REQUEST_BYTES as u32).to_ne_bytes());
        put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(&NLM_F_REQUEST.to_ne_bytes());
        put(&sequence.to_ne_bytes());
        put(&[0; 4]);
        let family = match ours {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        put(&[family.as_raw() as u8, IPPROTO_TCP, 0, 0]);
        // Any state.
        put(&[0xff; 4]);
        put(&ours.port().to_be_bytes());
        put(&theirs.port().to_be_bytes());
        put(&in_sixteen(ours.ip()));
        put(&in_sixteen(theirs.ip()));
        put(&interface.to_ne_bytes());
        // No cookie.
        put(&[0xff; 8]);
        message
    }

    fn in_sixteen(ip: IpAddr) -> [u8; 16] {
        match ip {
            IpAddr::V4(ip) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&ip.octets());
                bytes
            }
            IpAddr::V6(ip) => ip.octets(),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::io::{ErrorKind, Read as _, Write as _};
        use std::net::TcpListener;
        use std::time::{Duration, Instant};

        #[track_caller]
        fn wait_for(diag: &mut SocketDiag, stream: &TcpStream, wanted: usize) {
            let deadline = Instant::now() + Duration::from_secs(10);
            while diag.unacknowledged(stream) != Some(wanted) {
                let now = diag.unacknowledged(stream);
                assert!(Instant::now() < deadline, "{now:?}, not {wanted}");
                std::thread::sleep(Duration::from_millis(2));
            }
        }

        fn counts_what_is_not_acknowledged_on(host: &str) {
            let listener = TcpListener::bind((host, 0)).expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            let mut diag = SocketDiag::open(address).expect("Linux has sock_diag");
            let mut client = std::net::TcpStream::connect(address).expect("it listens");
            let (stream, _) = listener.accept().expect("it has connected");
            stream.set_nonblocking(true).expect("a socket");
            let mut stream = TcpStream::from_std(stream);
            wait_for(&mut diag, &stream, 0);

            let mut written = 0;
            loop {
                match stream.write(&[b'x'; 65_536]) {
                    Ok(count) => written += count,
                    Err(cause) if cause.kind() == ErrorKind::WouldBlock => break,
                    Err(cause) => panic!("{cause}"),
                }
            }
            let before = diag.unacknowledged(&stream).expect("it is known");
            assert!(before > 0 && before <= written, "{before} of {written}");
            let mut taken = vec![0; written];
            client.read_exact(&mut taken).expect("all that was written");
            wait_for(&mut diag, &stream, 0);
        }

        #[test]
        fn what_a_client_has_not_acknowledged_is_counted() {
            counts_what_is_not_acknowledged_on("127.0.0.1");
        }

        #[test]
        fn what_a_client_has_not_acknowledged_is_counted_over_ipv6() {
            if TcpListener::bind("[::1]:0").is_err() {
                eprintln!("this machine has no IPv6");
                return;
            }
            counts_what_is_not_acknowledged_on("::1");
        }

        #[test]
        fn a_listener_that_is_not_there_is_not_known() {
            let gone = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            assert!(SocketDiag::open(gone.expect("a free port")).is_none());
        }
    }
}

/// Elsewhere nothing tells without unsafe code.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod missing {
    use mio::net::TcpStream;
    use std::net::SocketAddr;

    #[derive(Debug)]
    pub(in crate::net) struct SocketDiag;

    impl SocketDiag {
        pub(in crate::net) fn open(_: SocketAddr) -> Option<SocketDiag> {
            None
        }

        pub(in crate::net) fn unacknowledged(&mut self, _: &TcpStream) -> Option<usize> {
            None
        }
    }
}
