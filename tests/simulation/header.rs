//! What a proxy says of its client before all else, right, wrong or never: the PROXY protocol.
//!
//! Knows its specification; nothing of the parser of production.
//!
//! Rule: of each header it is known beforehand after which byte the server can tell.

use crate::random::Random;
use reactor_pool::Config;
use std::net::{Ipv4Addr, SocketAddr};

/// The longest part of a header that has to be remembered.
pub(crate) const MAX_HEADER_BYTES: usize = 4096;

/// What a client begins with.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) bytes: Vec<u8>,
    /// By how many of them the server knows what it is to think of it.
    pub(crate) known_after: usize,
    /// Whether it is right.
    pub(crate) is_valid: bool,
    /// The client that it names.
    pub(crate) client: Option<SocketAddr>,
    /// How many of the bytes the proxy sends; it stops before the end, or sends all.
    pub(crate) sent: usize,
}

impl Header {
    /// The header of the client of that number. What an address may have in flight is foretold
    /// only for one connection of each, so then no two share one.
    pub(crate) fn draw(number: u32, config: &Config, random: &mut Random) -> Header {
        let address = match config.max_inflight_per_address {
            0 => number % 3,
            _ => number,
        };
        let address = Ipv4Addr::from_bits(0x0a00_0000 + address);
        let client = SocketAddr::from((address, 1 + number as u16));
        let mut header = match random.below(10) {
            0..=2 => Header::valid(text(client), Some(client)),
            3..=5 => {
                let appended = random.pick(&[0, 0, 0, 3, 200, 4068]);
                Header::valid(binary(client, appended), Some(client))
            }
            6 => Header::valid(b"PROXY UNKNOWN\r\n".to_vec(), None),
            7 => Header::valid(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), None),
            _ => Header::broken(client, random),
        };
        if header.is_valid && random.percent(15) {
            header.sent = random.below(header.bytes.len());
        }
        header
    }

    fn valid(bytes: Vec<u8>, client: Option<SocketAddr>) -> Header {
        Header {
            known_after: bytes.len(),
            sent: bytes.len(),
            bytes,
            is_valid: true,
            client,
        }
    }

    fn broken(client: SocketAddr, random: &mut Random) -> Header {
        let (bytes, known_after) = match random.below(7) {
            // What is no header is known by its first byte that differs.
            0 => (b"ECHO x\n".to_vec(), 1),
            1 => (b"PROXIES\n".to_vec(), 5),
            2 => (b"\r\n\r\n\r\n".to_vec(), 5),
            // A line is judged once it has ended, or is too long.
            3 => {
                let text = String::from_utf8(text(client)).expect("ASCII");
                let bytes = text.replace("TCP4", "TCP6").into_bytes();
                (bytes.clone(), bytes.len())
            }
            4 => ([b"PROXY ".as_slice(), &[b'x'; 200]].concat(), 107),
            // What is binary has its length in front.
            5 => {
                let mut bytes = binary(client, 0);
                bytes[12] = 0x31;
                (bytes.clone(), bytes.len())
            }
            _ => (binary(client, 4069), 16),
        };
        Header {
            sent: bytes.len(),
            bytes,
            known_after,
            is_valid: false,
            client: None,
        }
    }
}

/// Version 1.
fn text(client: SocketAddr) -> Vec<u8> {
    let (ip, port) = (client.ip(), client.port());
    format!("PROXY TCP4 {ip} 198.51.100.7 {port} 443\r\n").into_bytes()
}

/// Version 2, with so many bytes behind the addresses.
fn binary(client: SocketAddr, appended: usize) -> Vec<u8> {
    let SocketAddr::V4(client) = client else {
        unreachable!("clients have addresses of IPv4")
    };
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    bytes.extend((12 + appended as u16).to_be_bytes());
    bytes.extend(client.ip().octets());
    bytes.extend([198, 51, 100, 7]);
    bytes.extend(client.port().to_be_bytes());
    bytes.extend([1, 187]);
    bytes.resize(bytes.len() + appended, 0xff);
    bytes
}
