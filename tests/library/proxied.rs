//! A server behind proxies that say who their clients are.
//!
//! Knows the PROXY protocol, versions 1 and 2, from its specification.
//!
//! Rule: nobody is told of a connection, and no request of it runs, before its client is known.

use crate::harness::{self, Running};
use crate::local::{Client, Folder, Local};
use reactor_pool::codec::LengthDelimited;
use reactor_pool::{Config, ConnectionId, Peer, Request, Response, Server, Service};
use std::error::Error;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TEXT: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const CLIENT: &str = "192.0.2.1:56324";
const REFUSAL: &str = "ERR no valid PROXY header";

fn proxied() -> Config {
    Config::default().proxy_protocol(true)
}

/// Answers who asks what, and keeps all peers that it was told of. One address is not welcome.
#[derive(Clone, Default)]
struct Peers(Arc<Mutex<Vec<String>>>);

impl Peers {
    fn opened(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Service for Peers {
    type Worker = ();

    fn start(&self, _: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn handle(&self, (): &mut (), request: &Request<'_>, response: &mut Response<'_>) {
        let peer = request.peer().expect("its client waits");
        write!(response, "OK {peer} ").expect("a response takes every write");
        response.push(request.bytes());
    }

    fn opened(&self, _: ConnectionId, peer: Peer) -> bool {
        self.0.lock().expect("no panic").push(peer.to_string());
        peer.to_string() != "192.0.2.66:1"
    }
}

/// How a connection goes that sends these pieces, one after the other.
fn over_tcp(server: &Running, pieces: &[&[u8]]) -> (String, String) {
    let mut client = server.connect();
    let own = client.0.get_ref().local_addr().expect("it is connected");
    for piece in pieces {
        client.send(piece);
    }
    (client.line(), own.to_string())
}

#[test]
fn a_header_names_the_client_and_what_follows_it_are_requests() {
    let peers = Peers::default();
    let server = Running::start_service(proxied(), peers.clone());
    let mut expected = Vec::new();
    for (header, client) in [
        (TEXT, Some(CLIENT)),
        (BINARY, Some(CLIENT)),
        (b"PROXY TCP6 ::1 ::2 1 2\r\n", Some("[::1]:1")),
        (b"PROXY UNKNOWN\r\n", None),
        (LOCAL, None),
    ] {
        let whole = [header, b"x\n"].concat();
        for pieces in [vec![&whole[..]], vec![header, b"x\n"]] {
            let (line, own) = over_tcp(&server, &pieces);
            let peer = client.map_or(own, str::to_owned);
            assert_eq!(line, format!("OK {peer} x"));
            expected.push(peer);
        }
    }
    assert_eq!(peers.opened(), expected);
    let summary = server.stop();
    assert_eq!(
        (summary.stats.answered_ok, summary.stats.bad_headers),
        (10, 0)
    );
}

#[test]
fn a_header_may_be_cut_anywhere() {
    let server = Running::start_service(proxied(), Peers::default());
    for header in [TEXT, BINARY] {
        let whole = [header, b"x\n"].concat();
        for cut in 1..whole.len() {
            let (line, _) = over_tcp(&server, &[&whole[..cut], &whole[cut..]]);
            assert_eq!(line, format!("OK {CLIENT} x"), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(over_tcp(&server, &bytes).0, format!("OK {CLIENT} x"));
    }
    server.stop();
}

#[test]
fn a_second_header_is_a_request() {
    let server = Running::start_service(proxied(), Peers::default());
    let mut client = server.connect();
    client.send([BINARY, TEXT, b"x\n"].concat());
    let second = str::from_utf8(TEXT).expect("ASCII").trim_end();
    client.expect(&[&format!("OK {CLIENT} {second}"), &format!("OK {CLIENT} x")]);
    server.stop();
}

#[test]
fn a_header_names_the_client_over_a_unix_socket_too() {
    let (folder, peers) = (Folder::new(), Peers::default());
    let server = Local::start(proxied(), &folder.path(), peers.clone());
    for (header, peer) in [(TEXT, CLIENT), (BINARY, CLIENT), (LOCAL, "unix")] {
        let mut client: Client = server.connect();
        client.send([header, b"x\n"].concat());
        client.expect(&format!("OK {peer} x"));
    }
    let mut client = server.connect();
    client.send("ECHO x\n");
    client.expect(REFUSAL);
    client.expect_end();
    assert_eq!(peers.opened(), [CLIENT, CLIENT, "unix"]);
    server.stop();
}

#[test]
fn a_connection_without_a_valid_header_is_told_so_and_nobody_is_told_of_it() {
    let log = harness::Log::capture();
    let peers = Peers::default();
    let server = Running::start_service(proxied(), peers.clone());
    let broken: [&[u8]; 5] = [
        &[b"PROXY ".repeat(20), b"\r\nECHO x\n".to_vec()].concat(),
        b"ECHO x\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\nECHO x\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.7 56324 443\r\nECHO x\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0ECHO x\n",
    ];
    for bytes in broken {
        let mut client = server.connect();
        client.send(bytes);
        client.expect(&[REFUSAL]);
        client.expect_end();
    }
    let mut cut_short = server.connect();
    cut_short.send(&TEXT[..20]);
    cut_short.half_close();
    cut_short.expect(&[REFUSAL]);
    cut_short.expect_end();
    // Such as a check that the port is open.
    let nothing = server.connect();
    nothing.half_close();
    { nothing }.expect_end();

    assert_eq!(peers.opened(), [""; 0]);
    // No other test here has one like that.
    let warned = log.lines(&["WARN", "no valid PROXY header", "is too long"]);
    assert_eq!(warned.len(), 1, "at most one a second: {warned:?}");
    assert!(warned[0].contains("peer=127.0.0.1:"), "{warned:?}");
    let stats = server.stop().stats;
    assert_eq!((stats.bad_headers, stats.framed, stats.lost), (6, 0, 0));
}

#[test]
fn a_header_that_is_not_whole_in_time_is_refused() {
    let peers = Peers::default();
    let config = proxied().proxy_header_timeout(Duration::from_secs(1));
    let server = Running::start_service(config, peers.clone());
    let mut late = [&b""[..], &TEXT[..20], &BINARY[..20]].map(|bytes| {
        let mut client = server.connect();
        client.send(bytes);
        client
    });
    for client in &mut late {
        client.expect(&[REFUSAL]);
        client.expect_end();
    }
    assert_eq!(peers.opened(), [""; 0]);
    assert_eq!(server.stop().stats.bad_headers, 3);
}

#[test]
fn a_service_can_turn_a_client_away_for_the_address_in_its_header() {
    let peers = Peers::default();
    let server = Running::start_service(proxied(), peers.clone());
    let mut client = server.connect();
    client.send("PROXY TCP4 192.0.2.66 198.51.100.7 1 2\r\n");
    client.expect_end();
    assert_eq!(
        over_tcp(&server, &[TEXT, b"x\n"]).0,
        format!("OK {CLIENT} x")
    );
    assert_eq!(peers.opened(), ["192.0.2.66:1", CLIENT]);
    assert_eq!(server.stop().stats.framed, 1);
}

#[test]
fn each_codec_has_words_for_a_header_that_is_missing() {
    let builder = Server::builder(proxied()).and_then(|new| new.listen("127.0.0.1:0"));
    let codec = LengthDelimited::new(100);
    let server = builder.and_then(|builder| builder.codec(codec).serve(Peers::default()));
    let server = Running::run(server);
    let mut client = server.connect();
    client.send([TEXT, b"\0\0\0\x01x"].concat());
    let mut answer = [0; 24];
    std::io::Read::read_exact(&mut client.0, &mut answer).expect("an answer");
    assert_eq!(answer[4..], *format!("OK {CLIENT} x").as_bytes());
    drop(client);
    let mut client = server.connect();
    client.send(b"\0\0\0\x01x");
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut client.0, &mut answer).expect("an orderly end");
    assert_eq!(answer[4..], *REFUSAL.as_bytes());
    server.stop();
}

#[test]
fn without_the_setting_a_first_line_of_another_protocol_closes_the_connection() {
    let peers = Peers::default();
    let server = Running::start_service(Config::default(), peers);
    for (bytes, expected) in [
        (TEXT, "ERR unexpected PROXY header"),
        (BINARY, "ERR unexpected PROXY header"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "ERR this is not an HTTP server",
        ),
    ] {
        let mut client = server.connect();
        client.send([bytes, b"x\n"].concat());
        client.expect(&[expected]);
        client.expect_end();
    }
    // Behind another line it asks for an answer.
    let mut client = server.connect();
    client.send([b"x\n", TEXT].concat());
    assert!(client.line().ends_with(" x"));
    assert!(client.line().contains("PROXY TCP4 192.0.2.1"));
    drop(client);
    let stats = server.stop().stats;
    assert_eq!((stats.foreign, stats.framed), (3, 2));
}

#[test]
fn one_connection_too_many_of_an_address_is_told_so_and_others_are_served() {
    let log = harness::Log::capture();
    let peers = Peers::default();
    let config = proxied().max_connections_per_address(1);
    let server = Running::start_service(config, peers.clone());
    let header = |address: &str| format!("PROXY TCP6 {address} ::1 1 2\r\nx\n");
    let mut first = server.connect();
    first.send(header("2001:db8::1"));
    first.expect(&["OK [2001:db8::1]:1 x"]);
    let mut second = server.connect();
    second.send(header("2001:db8::2"));
    second.expect(&["ERR too many connections"]);
    second.expect_end();
    for _ in 0..2 {
        // One after the other, for the address of the proxy has that limit, too.
        let mut other = server.connect();
        other.send([LOCAL, b"x\n"].concat());
        assert!(other.line().starts_with("OK 127.0.0.1:"));
        other.half_close();
        other.expect_end();
    }
    first.half_close();
    first.expect_end();
    harness::wait_until("its place is free", || {
        let mut next = server.connect();
        next.send(header("2001:db8::3"));
        next.line() == "OK [2001:db8::3]:1 x"
    });
    assert!(!peers.opened().contains(&"[2001:db8::2]:1".to_owned()));
    let words = ["connection limit of an address", "2001:db8::2"];
    assert_eq!(log.count(&words), 1);
    assert!(server.stop().stats.too_many_per_address >= 1);
}

#[test]
fn clients_without_a_proxy_share_the_limit_of_their_address_and_unix_peers_have_none() {
    let config = Config::default().max_connections_per_address(1);
    let server = Running::start_service(config.clone(), Peers::default());
    let mut first = server.connect();
    first.send("x\n");
    assert!(first.line().ends_with(" x"));
    let mut second = server.connect();
    second.expect(&["ERR too many connections"]);
    second.expect_end();
    drop(first);
    server.stop();

    let folder = Folder::new();
    let server = Local::start(config, &folder.path(), Peers::default());
    let mut clients = [(); 3].map(|()| server.connect());
    for client in &mut clients {
        client.send("x\n");
        client.expect("OK unix x");
    }
    drop(clients);
    server.stop();
}

#[test]
fn what_an_address_has_in_flight_is_bounded_and_all_of_it_is_answered() {
    let running = Arc::new(Mutex::new((0, 0)));
    let seen = Arc::clone(&running);
    let config = Config::default().workers(8).max_inflight_per_address(2);
    let server = Running::start(
        config,
        move |request: &[u8], response: &mut Response<'_>| {
            {
                let (now, most) = &mut *seen.lock().expect("no panic");
                *now += 1;
                *most = (*now).max(*most);
            }
            std::thread::sleep(Duration::from_millis(2));
            seen.lock().expect("no panic").0 -= 1;
            response.push(request);
        },
    );
    let mut clients = [(); 5].map(|()| server.connect());
    for client in &mut clients {
        client.send("a\n".repeat(20));
    }
    for client in &mut clients {
        client.expect(&["a"; 20]);
    }
    drop(clients);
    let stats = server.stop().stats;
    assert_eq!(
        (stats.answered_ok + stats.answered_error, stats.discarded),
        (100, 0)
    );
    let (_, most) = *running.lock().expect("no panic");
    assert!(most <= 2, "{most} ran at a time");
    assert!(stats.address_pauses > 0);
}

#[test]
fn a_client_that_pipelines_keeps_no_other_of_its_address_waiting() {
    for most in [1, 3] {
        let config = Config::default().max_inflight_per_address(most);
        let server = Running::start(config, |request: &[u8], response: &mut Response<'_>| {
            std::thread::sleep(Duration::from_millis(5));
            response.push(request);
        });
        let (mut greedy, mut modest) = (server.connect(), server.connect());
        // All of them come in one read.
        const REQUESTS: usize = 6000;
        greedy.send("a\n".repeat(REQUESTS));
        greedy.expect(&["a"]);
        modest.send("b\n");
        modest.expect(&["b"]);
        drop((greedy, modest));
        let stats = server.stop().stats;
        assert!(stats.answered_ok < REQUESTS as u64, "{most}");
    }
}
