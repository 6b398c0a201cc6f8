//! Bad HTTP over real sockets, each shape by its name: what would be understood differently by two
//! readers, what is too large, what does not come to its end.
//!
//! Knows the public names of the crate, and HTTP as RFC 9112 has it.
//!
//! Rule: what came before is answered; then there is one refusal with its status, and the
//! connection closes; nothing behind it is run, and another client that waits loses nothing.

use super::harness::{Client, DEADLINE, Running};
use super::http::{get, response, start};
use reactor_pool::codec::Http1;
use reactor_pool::codec::http1::Request;
use reactor_pool::{Config, Response};
use std::io::Write as _;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The longest body that the server of [`start`] takes, and its longest head.
const MAX_BODY: usize = 1000;
const MAX_HEAD: usize = 16_384;

const POST: &str = "POST /wrong HTTP/1.1\r\nhost: a\r\n";
const CHUNKED: &str = "POST /wrong HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// A server, and a client of it whose request `/held` runs until the end.
struct Scene {
    server: Running,
    held: Client,
    go_on: mpsc::Sender<()>,
    /// What the handler is asked, in the order in which that begins.
    targets: mpsc::Receiver<String>,
}

impl Scene {
    fn begin(config: Config) -> Scene {
        let (go_on, gate) = mpsc::channel::<()>();
        let (asked, targets) = mpsc::channel();
        let (gate, asked) = (Mutex::new(gate), Mutex::new(asked));
        let server = start(config, move |request| {
            let asked = asked.lock().expect("nobody panics here");
            asked.send(request.target.to_owned()).expect("it listens");
            drop(asked);
            if request.target == "/held" {
                let gate = gate.lock().expect("nobody panics here");
                gate.recv_timeout(DEADLINE).expect("it is let go on");
            }
            (200, request.target.to_owned())
        });
        let mut held = server.connect();
        held.send(get("/held"));
        let target = targets.recv_timeout(DEADLINE);
        assert_eq!(target.as_deref(), Ok("/held"));
        Scene {
            server,
            held,
            go_on,
            targets,
        }
    }

    /// The next response to `client` is this refusal, and nothing comes behind it.
    #[track_caller]
    fn expect_refusal(client: &mut Client, status: u16, wrong: &str) {
        let (got, closes, body) = response(client);
        assert_eq!((got, closes), (status, true), "{wrong:?}: {body}");
        client.expect_end();
    }

    /// The client that waits gets its response, and of all others `/before` alone was asked.
    #[track_caller]
    fn end(mut self, before: usize) {
        self.go_on.send(()).expect("it waits");
        let expected = (200, false, "/held".to_owned());
        assert_eq!(response(&mut self.held), expected);
        self.held.send(get("/last"));
        let expected = (200, false, "/last".to_owned());
        assert_eq!(response(&mut self.held), expected);
        drop(self.held);
        let stats = self.server.stop().stats;
        let asked: Vec<String> = self.targets.try_iter().collect();
        let mut expected = vec!["/before"; before];
        expected.push("/last");
        assert_eq!(asked, expected);
        assert_eq!(stats.answered_ok, 2 + before as u64);
    }
}

/// Each of `wrongs` is sent between two good requests: the first is answered, then this status is
/// all that comes.
#[track_caller]
fn are_refused(status: u16, wrongs: &[&str]) {
    let scene = Scene::begin(Config::default());
    for wrong in wrongs {
        let mut client = scene.server.connect();
        client.send([&get("/before"), *wrong, &get("/behind")].concat());
        let expected = (200, false, "/before".to_owned());
        assert_eq!(response(&mut client), expected, "{wrong:?}");
        Scene::expect_refusal(&mut client, status, wrong);
    }
    scene.end(wrongs.len());
}

/// The heads with these headers, in a request with this body.
fn with_headers(headers: &[&str], body: &str) -> Vec<String> {
    let wrong = |headers: &&str| format!("{POST}{headers}\r\n{body}");
    headers.iter().map(wrong).collect()
}

fn all(wrongs: &[String]) -> Vec<&str> {
    wrongs.iter().map(String::as_str).collect()
}

// ---- what two readers would understand differently
// --------------------------------------------------

#[test]
fn both_a_content_length_and_a_transfer_encoding_are_refused() {
    let headers = [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "content-length: 5\r\ntransfer-encoding: identity\r\n",
        "content-length: 5\r\ntransfer-encoding: \r\n",
    ];
    are_refused(400, &all(&with_headers(&headers, "0\r\n\r\n")));
}

#[test]
fn two_lengths_are_refused() {
    let headers = [
        "content-length: 3\r\ncontent-length: 3\r\n",
        "content-length: 3\r\nContent-Length: 30\r\n",
        "content-length: 0\r\ncontent-length: 3\r\n",
        "content-length: 3, 3\r\n",
        "content-length: 3,\r\n",
    ];
    are_refused(400, &all(&with_headers(&headers, "abc")));
}

#[test]
fn a_length_that_is_no_number_is_refused() {
    let headers = [
        "content-length: +3\r\n",
        "content-length: -3\r\n",
        "content-length: 0x3\r\n",
        "content-length: 3 3\r\n",
        "content-length: 3.0\r\n",
        "content-length:\r\n",
        "content-length: \u{663}\r\n",
    ];
    are_refused(400, &all(&with_headers(&headers, "abc")));
    let sizes = ["+3", "-3", "0x3", "3 3", "x", ""];
    let chunks = sizes.map(|size| format!("{CHUNKED}{size}\r\nabc\r\n0\r\n\r\n"));
    are_refused(400, &all(&chunks));
}

#[test]
fn another_coding_than_chunked_is_refused() {
    let headers = [
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \u{b}chunked\r\n",
    ];
    are_refused(400, &all(&with_headers(&headers, "0\r\n\r\n")));
    let old = "POST / HTTP/1.0\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n";
    are_refused(400, &[&format!("{old}0\r\n\r\n")]);
}

#[test]
fn a_bare_cr_is_refused() {
    are_refused(
        400,
        &[
            &format!("{POST}x: y\rz\r\n\r\n"),
            &format!("{POST}x: y\r\r\n\r\n"),
            &format!("{POST}x\r: y\r\n\r\n"),
            &format!("{POST}x: y\rcontent-length: 3\r\n\r\nabc"),
            "GET /\r HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\rhost: a\r\n\r\n",
            &format!("{CHUNKED}3\rabc\r\n0\r\n\r\n"),
            &format!("{CHUNKED}3;x\ry\r\nabc\r\n0\r\n\r\n"),
            &format!("{CHUNKED}3\r\nabc\r0\r\n\r\n"),
            &format!("{CHUNKED}0\r\nx: y\rz\r\n\r\n"),
        ],
    );
}

#[test]
fn a_bare_lf_is_refused() {
    are_refused(
        400,
        &[
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\nhost: a\n\n",
            "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            &format!("{POST}x: y\n\r\n"),
            &format!("{POST}\n"),
            &format!("{POST}x: y\ncontent-length: 3\r\n\r\nabc"),
            &format!("{CHUNKED}3\nabc\r\n0\r\n\r\n"),
            // A reader that ends the line there sees a chunk `abc`, and then a second request.
            &format!("{CHUNKED}3;\nabc\r\n0\r\n\r\n"),
            &format!("{CHUNKED}3;\n\r\nabc\r\n0\r\n\r\n"),
            &format!("{CHUNKED}3\r\nabc\n0\r\n\r\n"),
            &format!("{CHUNKED}0\r\nx: y\n\r\n"),
            &format!("{CHUNKED}0\r\n\n"),
        ],
    );
}

#[test]
fn an_obs_fold_is_refused() {
    are_refused(
        400,
        &[
            &format!("{POST}x: y\r\n z\r\n\r\n"),
            &format!("{POST}x: y\r\n\tz\r\n\r\n"),
            &format!("{POST}content-length:\r\n 3\r\n\r\nabc"),
            &format!("{POST}transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
            "GET / HTTP/1.1\r\n host: a\r\n\r\n",
            &format!("{CHUNKED}0\r\nx: y\r\n z\r\n\r\n"),
        ],
    );
}

#[test]
fn a_nul_is_refused() {
    are_refused(
        400,
        &[
            &format!("{POST}x: \0\r\n\r\n"),
            &format!("{POST}x\0: y\r\n\r\n"),
            &format!("{POST}content-length: 3\0\r\n\r\nabc"),
            "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
            "G\0T / HTTP/1.1\r\nhost: a\r\n\r\n",
            &format!("{CHUNKED}3;\0\r\nabc\r\n0\r\n\r\n"),
            &format!("{CHUNKED}0\r\nx: \0\r\n\r\n"),
        ],
    );
}

#[test]
fn a_space_before_a_colon_and_a_name_that_is_none_are_refused() {
    let headers = [
        "content-length : 3\r\n",
        "x y: z\r\n",
        ": z\r\n",
        "no colon\r\n",
        "host: b\r\n",
    ];
    are_refused(400, &all(&with_headers(&headers, "abc")));
    are_refused(
        400,
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.2\r\nhost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nhost: a\r\n\r\n",
            "GET /\r\n\r\n",
            "hello\r\n\r\n",
        ],
    );
}

// ---- what is too large
// ------------------------------------------------------------------------------

#[test]
fn a_body_too_large_is_a_413_before_it_comes() {
    // What comes behind is no body: nobody has waited for one.
    are_refused(
        413,
        &[
            &format!("{POST}content-length: {}\r\n\r\n", MAX_BODY + 1),
            &format!("{CHUNKED}3e9\r\n"),
            &format!("{CHUNKED}3e8\r\n{}\r\n1\r\n", "x".repeat(MAX_BODY)),
            &format!("{CHUNKED}1;{}", "x".repeat(MAX_BODY + MAX_HEAD)),
        ],
    );
    let server = start(Config::default(), |_| (200, String::new()));
    let mut client = server.connect();
    let body = "x".repeat(MAX_BODY);
    client.send(format!("{POST}content-length: {MAX_BODY}\r\n\r\n{body}"));
    assert_eq!(response(&mut client).0, 200);
    drop(client);
    server.stop();
}

#[test]
fn a_length_that_overflows_is_refused() {
    are_refused(
        413,
        &[
            &format!("{POST}content-length: 18446744073709551615\r\n\r\n"),
            &format!("{POST}content-length: 18446744073709551616\r\n\r\n"),
            &format!("{POST}content-length: {}\r\n\r\n", "9".repeat(100)),
            &format!("{CHUNKED}ffffffffffffffff\r\n"),
        ],
    );
    // So many digits say no size to anybody.
    are_refused(400, &[&format!("{CHUNKED}10000000000000000\r\n")]);
}

#[test]
fn a_head_too_large_is_a_431() {
    let many = "x: y\r\n".repeat(65);
    are_refused(
        431,
        &[
            &format!("{POST}x: {}\r\n\r\n", "y".repeat(MAX_HEAD)),
            &format!("{POST}x: {}", "y".repeat(MAX_HEAD)),
            &format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(MAX_HEAD)),
            &format!("{POST}{many}\r\n"),
        ],
    );
}

#[test]
fn the_refusal_of_megabytes_reaches_a_client_that_goes_on_sending_them() {
    let scene = Scene::begin(Config::default());
    let client = scene.server.connect().0.into_inner();
    let mut writer = client.try_clone().expect("a second handle");
    let sending = thread::spawn(move || {
        let body = [b'x'; 1 << 16];
        let head = format!("{POST}content-length: {}\r\n\r\n", 4 << 20);
        let all = std::iter::once(head.as_bytes()).chain([&body[..]; 64]);
        all.map(|piece| writer.write_all(piece)).collect::<Vec<_>>()
    });
    let mut client = Client::over(client);
    Scene::expect_refusal(&mut client, 413, "4 MiB");
    let sent = sending.join().expect("it only writes");
    assert!(sent.iter().all(Result::is_ok), "nothing is reset");
    drop(client);
    scene.end(0);
}

// ---- what does not come to its end
// ------------------------------------------------------------------

#[test]
fn half_a_request_at_the_end_is_a_400() {
    let scene = Scene::begin(Config::default());
    let halves = [
        "G",
        "GET / HT",
        "GET / HTTP/1.1\r\nhost: a\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r",
        &format!("{POST}content-length: 3\r\n\r\nab"),
        &format!("{CHUNKED}3\r\nab"),
        &format!("{CHUNKED}3\r\nabc\r\n"),
        &format!("{CHUNKED}0\r\n"),
    ];
    for half in halves {
        let mut client = scene.server.connect();
        client.send([&get("/before"), half].concat());
        client.half_close();
        let expected = (200, false, "/before".to_owned());
        assert_eq!(response(&mut client), expected, "{half:?}");
        Scene::expect_refusal(&mut client, 400, half);
    }
    scene.end(halves.len());
}

#[test]
fn a_body_slower_than_the_idle_timeout_is_a_408() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let scene = Scene::begin(Config::default().idle_timeout(TIMEOUT));
    thread::scope(|scope| {
        for slow in [
            format!("{POST}content-length: 900\r\n\r\n"),
            CHUNKED.to_owned() + "384\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: ".to_owned(),
        ] {
            let mut client = scene.server.connect();
            scope.spawn(move || {
                client.send([&get("/before"), &slow[..]].concat());
                let expected = (200, false, "/before".to_owned());
                assert_eq!(response(&mut client), expected, "{slow:?}");
                let start = Instant::now();
                let mut stream = client.0.get_ref().try_clone().expect("a second handle");
                stream.set_nonblocking(false).expect("a socket");
                let patience = Some(Duration::from_millis(100));
                stream.set_read_timeout(patience).expect("not zero");
                // A byte each tenth of a second, until there is something to read.
                while stream.peek(&mut [0]).is_err() {
                    assert!(start.elapsed() < DEADLINE, "it is not given up: {slow:?}");
                    stream.write_all(b"x").expect("it is not reset");
                }
                let patience = Some(DEADLINE);
                stream.set_read_timeout(patience).expect("not zero");
                let took = start.elapsed();
                assert!(took > TIMEOUT * 3 / 4, "{took:?}: {slow:?}");
                Scene::expect_refusal(&mut client, 408, &slow);
            });
        }
    });
    scene.end(3);
}

#[test]
fn a_connection_too_many_is_a_503_that_closes() {
    let scene = Scene::begin(Config::default().max_connections(1));
    let mut client = scene.server.connect();
    Scene::expect_refusal(&mut client, 503, "a connection");
    drop(client);
    scene.end(0);
}

#[test]
fn what_a_handler_writes_and_is_no_response_is_a_500_in_its_place() {
    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n!";
    const NO_BODY: &[u8] = b"HTTP/1.1 204 No Content\r\ncontent-length: 1\r\n\r\n!";
    let write = |bytes: &[u8], response: &mut Response<'_>| {
        let request = Request::parse(bytes).expect("the codec has found it");
        let pieces: &[&[u8]] = match request.target {
            "/none" => &[b"no response"],
            "/half" => &[&GOOD[..30]],
            "/two" => &[GOOD, GOOD],
            "/no-body" => &[NO_BODY],
            _ => &[GOOD],
        };
        pieces.iter().for_each(|piece| response.push(piece));
    };
    let server = Running::start_codec(Config::default(), Http1::new(MAX_BODY), write);
    let mut client = server.connect();
    client.send(
        ["/none", "/half", "/two", "/no-body", "/one"]
            .map(get)
            .concat(),
    );
    for _ in 0..4 {
        let (status, closes, _) = response(&mut client);
        assert_eq!((status, closes), (500, false));
    }
    assert_eq!(response(&mut client), (200, false, "!".to_owned()));
    client.half_close();
    client.expect_end();
    let stats = server.stop().stats;
    assert_eq!((stats.answered_internal, stats.answered_ok), (4, 1));
}
