//! Bad frames with their length in front, over real sockets, each kind by its name.
//!
//! Knows the public names of the crate, and TCP.
//!
//! Rule: what came before is answered; then there is one refusal in the protocol's own words, and
//! the connection closes; nothing behind it is run, and another client that waits loses nothing.

use super::codecs::{expect_bytes, frame};
use super::harness::{Client, DEADLINE, Running};
use reactor_pool::codec::{ByteOrder, LengthDelimited};
use reactor_pool::{Config, Response, Summary};
use std::io::Write as _;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: usize = 10;

/// A server that answers with what it is asked, and a client of it whose request runs until the
/// end.
struct Scene {
    server: Running,
    held: Client,
    go_on: mpsc::Sender<()>,
    started: mpsc::Receiver<Vec<u8>>,
}

impl Scene {
    fn begin(config: Config) -> Scene {
        Scene::speaking(LengthDelimited::new(LIMIT), config, &frame(b"held"))
    }

    /// With any widths of lengths; `held` is the request that asks to be held.
    fn speaking(codec: LengthDelimited, config: Config, held: &[u8]) -> Scene {
        let (go_on, gate) = mpsc::channel::<()>();
        let (asked, started) = mpsc::channel();
        let (gate, asked) = (Mutex::new(gate), Mutex::new(asked));
        let config = config.max_line(LIMIT);
        let echo = move |request: &[u8], response: &mut Response<'_>| {
            let asked = asked.lock().expect("nobody panics here");
            asked.send(request.to_vec()).expect("it listens");
            drop(asked);
            if request == b"held" {
                let gate = gate.lock().expect("nobody panics here");
                gate.recv_timeout(DEADLINE).expect("it is let go on");
            }
            response.push(request);
        };
        let server = Running::start_codec(config, codec, echo);
        let mut client = server.connect();
        client.send(held);
        let asked = started.recv_timeout(DEADLINE).expect("it runs");
        assert_eq!(asked, b"held");
        Scene {
            server,
            held: client,
            go_on,
            started,
        }
    }

    /// The client that waits gets its response, and nothing else was asked but `before`.
    #[track_caller]
    fn end(mut self, held: &[u8], before: usize) -> Summary {
        self.go_on.send(()).expect("it waits");
        expect_bytes(&mut self.held, held);
        drop(self.held);
        let summary = self.server.stop();
        let asked: Vec<_> = self.started.try_iter().collect();
        assert_eq!(asked, vec![b"before".to_vec(); before]);
        summary
    }
}

#[test]
fn a_frame_longer_than_the_limit_is_refused_and_the_connection_closes() {
    let scene = Scene::begin(Config::default());
    let (before, behind) = (frame(b"before"), frame(b"behind"));
    for length in [11_u32, 12, 256, 65_536, 1 << 24, 1 << 31] {
        let mut client = scene.server.connect();
        let wrong = length.to_be_bytes();
        client.send([&before, &wrong[..], &behind].concat());
        expect_bytes(&mut client, &before);
        expect_bytes(&mut client, &frame(b"ERR line too long (limit 10 bytes)"));
        client.expect_end();
    }
    // One byte less is a frame.
    let mut client = scene.server.connect();
    client.send(frame(b"before").repeat(2));
    expect_bytes(&mut client, &before.repeat(2));
    drop(client);
    let stats = scene.end(&frame(b"held"), 8).stats;
    assert_eq!((stats.framed, stats.too_long), (9, 6));
}

#[test]
fn nothing_of_a_frame_longer_than_the_limit_is_kept_and_its_refusal_is_not_lost() {
    let scene = Scene::begin(Config::default());
    let client = scene.server.connect().0.into_inner();
    let mut writer = client.try_clone().expect("a second handle");
    let sending = thread::spawn(move || {
        let length = (4_u32 << 20).to_be_bytes();
        let body = [b'x'; 1 << 16];
        let all = std::iter::once(&length[..]).chain([&body[..]; 64]);
        all.map(|piece| writer.write_all(piece)).collect::<Vec<_>>()
    });
    let mut client = Client::over(client);
    expect_bytes(&mut client, &frame(b"ERR line too long (limit 10 bytes)"));
    client.expect_end();
    let sent = sending.join().expect("it only writes");
    assert!(sent.iter().all(Result::is_ok), "nothing is reset");
    drop(client);
    let stats = scene.end(&frame(b"held"), 0).stats;
    assert!(stats.buffered.peak < 1000, "{} bytes", stats.buffered.peak);
}

#[test]
fn a_length_that_overflows_is_refused() {
    // Of each width, the greatest there is, and one whose last byte to come says too much.
    for (width, order) in [
        (2, ByteOrder::Big),
        (4, ByteOrder::Big),
        (4, ByteOrder::Little),
        (8, ByteOrder::Big),
        (8, ByteOrder::Little),
    ] {
        let framed = |text: &[u8]| {
            let mut length = vec![0; width];
            let least = if order == ByteOrder::Big {
                width - 1
            } else {
                0
            };
            length[least] = text.len() as u8;
            [&length, text].concat()
        };
        let codec = LengthDelimited::new(LIMIT).width(width).byte_order(order);
        let scene = Scene::speaking(codec, Config::default(), &framed(b"held"));
        let mut one_bit = vec![0; width];
        one_bit[if order == ByteOrder::Big {
            0
        } else {
            width - 1
        }] = 0x80;
        for wrong in [vec![0xff; width], one_bit] {
            let mut client = scene.server.connect();
            client.send([&framed(b"before"), &wrong[..], b"behind"].concat());
            expect_bytes(&mut client, &framed(b"before"));
            let words = b"ERR line too long (limit 10 bytes)";
            expect_bytes(&mut client, &framed(words));
            client.expect_end();
        }
        scene.end(&framed(b"held"), 2);
    }
}

#[test]
fn half_a_frame_at_the_end_is_told_so() {
    let scene = Scene::begin(Config::default());
    let whole = frame(b"0123456789");
    for end in 1..whole.len() {
        let mut client = scene.server.connect();
        client.send([&frame(b"before"), &whole[..end]].concat());
        client.half_close();
        expect_bytes(&mut client, &frame(b"before"));
        expect_bytes(&mut client, &frame(b"ERR incomplete line"));
        client.expect_end();
    }
    let halves = whole.len() - 1;
    let stats = scene.end(&frame(b"held"), halves).stats;
    assert_eq!(stats.incomplete as usize, halves);
}

#[test]
fn a_frame_slower_than_the_idle_timeout_is_told_so() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let scene = Scene::begin(Config::default().idle_timeout(TIMEOUT));
    let mut client = scene.server.connect();
    client.send(frame(b"before"));
    expect_bytes(&mut client, &frame(b"before"));
    let start = Instant::now();
    let mut stream = client.0.get_ref().try_clone().expect("a second handle");
    let patience = Some(Duration::from_millis(200));
    stream.set_read_timeout(patience).expect("not zero");
    let mut slow = b"\0\0\0\x0a".iter().chain(b"012345678").copied();
    // A byte each fifth of a second, until there is something to read; never the last one.
    while stream.peek(&mut [0]).is_err() {
        assert!(start.elapsed() < DEADLINE, "it is not given up");
        let byte: Vec<u8> = slow.next().into_iter().collect();
        stream.write_all(&byte).expect("it is not reset");
    }
    let took = start.elapsed();
    assert!(took > TIMEOUT * 3 / 4, "{took:?}");
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    expect_bytes(&mut client, &frame(b"ERR idle timeout"));
    client.expect_end();
    drop((client, stream));
    let stats = scene.end(&frame(b"held"), 1).stats;
    assert_eq!(stats.idle_closed, 1);
}

#[test]
fn a_response_that_no_length_can_say_is_an_internal_error_in_its_place() {
    let codec = LengthDelimited::new(LIMIT).width(1);
    let config = Config::default().max_line(LIMIT);
    let server = Running::start_codec(config, codec, |request: &[u8], response: &mut _| {
        let bytes: usize = std::str::from_utf8(request)
            .expect("ASCII")
            .parse()
            .expect("a number");
        Response::push(response, &vec![b'x'; bytes]);
    });
    let mut client = server.connect();
    client.send(b"\x03255\x03256\x010");
    expect_bytes(&mut client, &[&[255], &[b'x'; 255][..]].concat());
    expect_bytes(&mut client, b"\x12ERR internal error");
    expect_bytes(&mut client, b"\0");
    drop(client);
    server.stop();
}
