//! What a proxy says of its client before all else: a header of the PROXY protocol, v1 or v2.
//!
//! Knows bytes; no connections and no time. How the fields are written, the crate proxy-header
//! knows.
//!
//! Rule: how the bytes were split on their way never changes what is found, and no more of them
//! than the longest header is looked at.

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use std::fmt;
use std::net::SocketAddr;

/// The longest header, of v2 with what is appended to it. The longest one without is 232 bytes.
pub(crate) const MAX_HEADER_BYTES: usize = 4096;
/// The longest one of v1, as its specification says.
const MAX_V1_BYTES: usize = 107;

/// What a header of v1 begins with, and what one of v2 does.
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What stands in front of the addresses in v2.
const V2_START_BYTES: usize = V2.len() + 4;
/// Version 2, and the command that says that the proxy speaks for itself.
const V2_LOCAL: u8 = 0x20;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The client's address; none if the proxy does not tell it, or speaks for itself.
    pub(crate) client: Option<SocketAddr>,
    /// Length of the header.
    pub(crate) bytes: usize,
}

/// Why a connection has no valid header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFault {
    /// What came is something else.
    Missing,
    /// It is one, and breaks the rules.
    Malformed,
    /// It has more bytes than one may have.
    TooLong,
    /// The stream ended inside it.
    Incomplete,
    /// It was not whole in time.
    Late,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeaderFault::Missing => "what came is no PROXY header",
            HeaderFault::Malformed => "the PROXY header is malformed",
            HeaderFault::TooLong => "the PROXY header is too long",
            HeaderFault::Incomplete => "the stream ended inside the PROXY header",
            HeaderFault::Late => "the PROXY header was not whole in time",
        })
    }
}

/// The header at the front of `bytes`; none if that is the beginning of one.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    if begins_like(bytes, V1) {
        header_v1(bytes)
    } else if begins_like(bytes, V2) {
        header_v2(bytes)
    } else {
        Err(HeaderFault::Missing)
    }
}

/// Whether there is no difference, as far as both go.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(one, other)| one == other)
}

fn header_v1(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    let bytes = &bytes[..bytes.len().min(MAX_V1_BYTES)];
    let Some(lf) = bytes.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() {
            MAX_V1_BYTES => Err(HeaderFault::TooLong),
            _ => Ok(None),
        };
    };
    let line = &bytes[..=lf];
    let header = parse(line)?;
    // The crate takes `+80` and `080`, too.
    let has_plain_ports = header.proxied_address().is_none_or(|both| {
        let ports = format!(" {} {}\r\n", both.source.port(), both.destination.port());
        line.ends_with(ports.as_bytes())
    });
    match has_plain_ports {
        true => Ok(Some(whole(&header, line.len()))),
        false => Err(HeaderFault::Malformed),
    }
}

fn header_v2(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    let Some(start) = bytes.first_chunk::<V2_START_BYTES>() else {
        return Ok(None);
    };
    let [.., command, _, high, low] = *start;
    let length = V2_START_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER_BYTES {
        return Err(HeaderFault::TooLong);
    }
    let Some(bytes) = bytes.get(..length) else {
        return Ok(None);
    };
    // Whatever stands behind this command counts for nothing, and need not be right.
    if command == V2_LOCAL {
        return Ok(Some(Header {
            client: None,
            bytes: length,
        }));
    }
    Ok(Some(whole(&parse(bytes)?, length)))
}

/// Parses a header whose end is known: one that is too short is wrong.
fn parse(bytes: &[u8]) -> Result<ProxyHeader<'_>, HeaderFault> {
    match ProxyHeader::parse(bytes, ParseConfig::default()) {
        Ok((header, length)) if length == bytes.len() => Ok(header),
        _ => Err(HeaderFault::Malformed),
    }
}

fn whole(header: &ProxyHeader<'_>, bytes: usize) -> Header {
    let both = header.proxied_address();
    // What carries requests is no datagram, so that header speaks of something else.
    let client = both.filter(|both| both.protocol == Protocol::Stream);
    Header {
        client: client.map(|both| both.source),
        bytes,
    }
}

/// Whether a line that was not expected to be a header of v1 is one, right or wrong.
pub(crate) fn is_text_header(line: &[u8]) -> bool {
    const PROTOCOLS: [&[u8]; 3] = [b"TCP4 ", b"TCP6 ", b"UNKNOWN"];
    let behind = line.strip_prefix(V1).unwrap_or_default();
    PROTOCOLS.iter().any(|name| behind.starts_with(name))
}

/// The same of bytes and a header of v2.
pub(crate) fn is_binary_header(bytes: &[u8]) -> bool {
    bytes.starts_with(V2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLIENT: &str = "192.0.2.1:56324";
    const CLIENT6: &str = "[2001:db8::1]:56324";

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [V2, &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 1, 187];

    fn ipv6() -> Vec<u8> {
        let mut addresses = [0; 36];
        addresses[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        addresses[15] = 1;
        addresses[32..].copy_from_slice(&[0xdc, 0x04, 1, 187]);
        addresses.to_vec()
    }

    /// What is valid, with the client that it names.
    fn valid() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let tlvs = [3, 0, 4, 1, 2, 3, 4, 5, 0, 2, b'i', b'd'];
        let text = |text: &str| text.as_bytes().to_vec();
        vec![
            (
                text("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"),
                Some(CLIENT),
            ),
            (
                text("PROXY TCP6 2001:DB8::1 2001:db8:0:0::7 56324 443\r\n"),
                Some(CLIENT6),
            ),
            (
                text("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"),
                Some("0.0.0.0:0"),
            ),
            (text("PROXY UNKNOWN\r\n"), None),
            (text("PROXY UNKNOWN ff::1 what ever 1 2\r\n"), None),
            (
                format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)).into_bytes(),
                None,
            ),
            (v2(0x21, 0x11, &IPV4), Some(CLIENT)),
            (v2(0x21, 0x21, &ipv6()), Some(CLIENT6)),
            (v2(0x21, 0x11, &[&IPV4[..], &tlvs].concat()), Some(CLIENT)),
            // What is appended is not looked at, so it need not be right.
            (v2(0x21, 0x11, &[&IPV4[..], &[9]].concat()), Some(CLIENT)),
            (
                v2(0x21, 0x11, &[&IPV4[..], &[0; 4068]].concat()),
                Some(CLIENT),
            ),
            // Of datagrams, of unix sockets, and of nothing that it names.
            (v2(0x21, 0x12, &IPV4), None),
            (v2(0x21, 0x31, &[0; 216]), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &[]), None),
            (v2(0x20, 0xff, &[1, 2, 3]), None),
        ]
    }

    /// What no more bytes make valid, and why.
    fn broken() -> Vec<(&'static str, Vec<u8>, HeaderFault)> {
        use HeaderFault::{Malformed, Missing, TooLong};
        let v1 = |rest: &str| format!("PROXY {rest}").into_bytes();
        vec![
            ("a request", b"ECHO hello\n".to_vec(), Missing),
            ("an empty line", b"\n".to_vec(), Missing),
            ("in lower case", b"proxy TCP4 ".to_vec(), Missing),
            ("no space", b"PROXYTCP4".to_vec(), Missing),
            ("a TLS greeting", b"\x16\x03\x01\x02".to_vec(), Missing),
            (
                "another signature",
                b"\r\n\r\n\0\r\nEXIT\n".to_vec(),
                Missing,
            ),
            (
                "another protocol",
                v1("TCP5 192.0.2.1 192.0.2.2 1 2\r\n"),
                Malformed,
            ),
            ("no protocol", v1("\r\n"), Malformed),
            ("no CR", v1("TCP4 192.0.2.1 192.0.2.2 1 2\n"), Malformed),
            ("a CR inside", v1("UNKNOWN \r x\r\n"), Malformed),
            (
                "two spaces",
                v1("TCP4  192.0.2.1 192.0.2.2 1 2\r\n"),
                Malformed,
            ),
            (
                "a field too few",
                v1("TCP4 192.0.2.1 192.0.2.2 1\r\n"),
                Malformed,
            ),
            (
                "a field too many",
                v1("TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"),
                Malformed,
            ),
            (
                "no such address",
                v1("TCP4 192.0.2.256 192.0.2.2 1 2\r\n"),
                Malformed,
            ),
            (
                "a leading zero",
                v1("TCP4 192.0.2.01 192.0.2.2 1 2\r\n"),
                Malformed,
            ),
            ("the other family", v1("TCP4 ::1 ::2 1 2\r\n"), Malformed),
            (
                "no such port",
                v1("TCP4 192.0.2.1 192.0.2.2 65536 2\r\n"),
                Malformed,
            ),
            (
                "a zero before a port",
                v1("TCP4 192.0.2.1 192.0.2.2 01 2\r\n"),
                Malformed,
            ),
            (
                "a sign before a port",
                v1("TCP4 192.0.2.1 192.0.2.2 1 +2\r\n"),
                Malformed,
            ),
            ("a name", v1("TCP4 localhost localhost 1 2\r\n"), Malformed),
            (
                "a line too long",
                v1(&format!("UNKNOWN {}\r\n", "x".repeat(92))),
                TooLong,
            ),
            ("a line without an end", v1(&"x".repeat(500)), TooLong),
            ("version 1 in binary", v2(0x11, 0x11, &IPV4), Malformed),
            ("version 3", v2(0x31, 0x11, &IPV4), Malformed),
            ("another command", v2(0x22, 0x11, &IPV4), Malformed),
            ("another family", v2(0x21, 0x41, &IPV4), Malformed),
            ("another transport", v2(0x21, 0x13, &IPV4), Malformed),
            (
                "addresses cut short",
                v2(0x21, 0x11, &IPV4[..11]),
                Malformed,
            ),
            (
                "IPv6 of the length of IPv4",
                v2(0x21, 0x21, &IPV4),
                Malformed,
            ),
            ("no addresses", v2(0x21, 0x11, &[]), Malformed),
            ("a path cut short", v2(0x21, 0x31, &[0; 215]), Malformed),
            ("a byte too many", v2(0x21, 0x11, &[0; 4081]), TooLong),
            (
                "as long as can be said",
                v2(0x21, 0x11, &[0; 65_535]),
                TooLong,
            ),
        ]
    }

    /// What is found in bytes that come in such pieces, and after how many of them at the latest.
    fn found(bytes: &[u8], cuts: &[usize]) -> Result<Option<Header>, HeaderFault> {
        let found = cuts.iter().find_map(|cut| match header(&bytes[..*cut]) {
            Ok(None) => None,
            found => Some(found),
        });
        found.unwrap_or_else(|| header(bytes))
    }

    #[test]
    fn a_valid_header_names_its_client_and_ends_where_it_says() {
        for (bytes, client) in valid() {
            let name = bytes.escape_ascii().to_string();
            let client = client.map(|client| client.parse().expect("an address"));
            let expected = Ok(Some(Header {
                client,
                bytes: bytes.len(),
            }));
            assert_eq!(header(&bytes), expected, "{name}");
            let followed = [&bytes[..], b"ECHO PROXY\r\n"].concat();
            assert_eq!(header(&followed), expected, "{name}, and a request");
            for cut in 0..bytes.len() {
                assert_eq!(header(&bytes[..cut]), Ok(None), "{cut} bytes of {name}");
            }
        }
    }

    #[test]
    fn a_broken_header_is_refused_for_what_is_wrong_with_it() {
        for (name, bytes, fault) in broken() {
            assert_eq!(header(&bytes), Err(fault), "{name}");
            let followed = [&bytes[..], &b"ECHO PROXY\r\n".repeat(20)].concat();
            assert_eq!(header(&followed), Err(fault), "{name}, and requests");
            for cut in 0..bytes.len() {
                assert_eq!(found(&followed, &[cut]), Err(fault), "{name}, cut at {cut}");
            }
        }
    }

    #[test]
    fn a_header_that_was_not_expected_is_known_all_the_same() {
        for (bytes, _) in valid() {
            let is_known = is_text_header(&bytes) || is_binary_header(&bytes);
            assert!(is_known, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_split_of_any_bytes_gives_the_same_header_or_the_same_fault(
            which in any::<prop::sample::Index>(),
            changed in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            behind in prop::collection::vec(prop::sample::select(b"\r\n PROXYTC46.:019".to_vec()), 0..150),
            mut cuts in prop::collection::vec(0..250usize, 0..12),
        ) {
            let headers = valid().into_iter().map(|(bytes, _)| bytes);
            let headers: Vec<_> = headers.chain(broken().into_iter().map(|(_, bytes, _)| bytes)).collect();
            let mut bytes = which.get(&headers).clone();
            if let Some((at, byte)) = changed {
                *at.get_mut(&mut bytes) = byte;
            }
            bytes.extend(behind);
            cuts.retain(|cut| *cut <= bytes.len());
            cuts.sort_unstable();
            let whole = header(&bytes);
            prop_assert_eq!(found(&bytes, &cuts), whole);
            if let Ok(Some(header)) = whole {
                prop_assert!(header.bytes > 0 && header.bytes <= bytes.len().min(MAX_HEADER_BYTES));
            }
        }
    }
}
