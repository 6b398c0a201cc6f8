//! Whoever asks in a wrong way, too much, too slowly, or not at all.
//!
//! Knows the limits that docs/operations.md promises.
//!
//! Rule: the main server's clients notice nothing, memory stays bounded, and afterwards the admin
//! interface answers as before.

use crate::common::{Client, DEADLINE, Random, Server, ms, wait_until};
use crate::http::{answers, get, start};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// Asserts that both servers are there for others, and that no connection of the admin interface
/// has been taken for one of the main server.
#[track_caller]
fn assert_unharmed(server: &Server, admin: SocketAddr) {
    server.assert_serves();
    wait_until("the admin interface answers", DEADLINE, || {
        get(admin, "/livez").status == 200
    });
    assert_eq!(get(admin, "/status").json()["totals"]["lost"], 0);
}

#[test]
fn an_admin_connection_takes_no_place_of_the_main_server() {
    let (server, admin) = start(&["--max-connections", "1", "--workers", "1", "--queue", "1"]);
    let mut client = server.connect();
    client.send("SLEEP 500\n");
    let kept: Vec<_> = (0..20).map(|_| Client::connect(admin)).collect();
    let metrics = get(admin, "/metrics");
    assert_eq!(metrics.metric("connections"), 1.0);
    assert_eq!(
        metrics.metric("refusals_total{reason=\"too_many_connections\"}"),
        0.0
    );
    client.expect("OK 500");
    client.send("ECHO a\n");
    client.expect("OK a");
    drop(kept);
}

#[test]
fn wrong_requests_are_refused_by_the_codec_and_their_connection_closes() {
    let (server, admin) = start(&[]);
    for (request, status) in [
        ("hello\r\n\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01\x02\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000)), 431),
        (format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(100)), 431),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n".to_owned(),
            413,
        ),
    ] {
        let mut client = Client::connect(admin);
        client.send(&request);
        let got = answers(client.rest());
        assert_eq!((got.len(), got[0].status), (1, status), "{request:?}");
    }
    // A body of a size that is taken is not looked at.
    let mut client = Client::connect(admin);
    client.send(
        "POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
    );
    assert_eq!(answers(client.rest())[0].status, 405);
    assert_unharmed(&server, admin);
}

#[test]
fn each_of_a_thousand_random_streams_ends_and_harms_nobody() {
    let (server, admin) = start(&[]);
    let pieces: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /status HTTP/1.1\r\nhost: x\r\n\r\n",
        b"HEAD /metrics HTTP/1.0\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"content-length: 7\r\n",
        b"\r\n\r\n",
        b"\0\xff",
        b" HTTP/1.1\r\n",
    ];
    for seed in 1..=1000 {
        let mut random = Random::new(seed);
        let count = random.below(12);
        let stream = (0..count).flat_map(|_| pieces[random.below(pieces.len())]);
        let stream: Vec<u8> = stream.copied().collect();
        let mut client = Client::connect(admin);
        client.send(&stream);
        if seed % 3 == 0 {
            client.reset();
        } else {
            client.half_close();
            client.rest();
        }
    }
    assert_unharmed(&server, admin);
    assert_eq!(get(admin, "/status").json()["totals"]["accepted"], 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_server, admin) = start(&[]);
    let mut client = Client::connect(admin);
    let paths = ["/livez", "/nothing", "/connections?n=0", "/status"];
    let requests = paths.map(|path| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
    let mut writer = client.writer();
    let got = thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write as _;
            let all = requests.concat().repeat(250);
            writer.write_all(all.as_bytes()).expect("it takes all");
            writer
                .shutdown(std::net::Shutdown::Write)
                .expect("half-close");
        });
        answers(client.rest())
    });
    let statuses: Vec<_> = got.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 404, 400, 200].repeat(250));
}

#[test]
fn a_slow_one_holds_up_nobody() {
    let (_server, admin) = start(&[]);
    let mut slow: Vec<_> = (0..20).map(|_| Client::connect(admin)).collect();
    let begin = Instant::now();
    for byte in b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" {
        for client in &mut slow {
            client.send([*byte]);
        }
        assert_eq!(get(admin, "/livez").status, 200);
    }
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    for client in &mut slow {
        assert_eq!(client.line(), b"HTTP/1.1 200 OK\r");
    }
}

/// Each asks for much, does not read, and begins one request more; some get no place.
#[test]
fn a_thousand_connections_take_bounded_memory_and_change_nothing_for_clients() {
    let (server, admin) = start(&["--workers", "2"]);
    let mut client = server.connect();
    client.send("ECHO before\n");
    client.expect("OK before");
    let before = server.resident_bytes();

    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(400);
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        let mut one = Client::connect_with_small_buffers(admin);
        one.send_until_blocked(format!("{request}GET /li").as_bytes(), ms(1));
        crowd.push(one);
        if crowd.len() % 100 == 0 {
            client.send("ECHO meanwhile\n");
            client.expect("OK meanwhile");
        }
    }
    server.assert_serves();
    wait_until("the admin interface has done what it can", DEADLINE, || {
        server.cpu_time_during(ms(300)) < ms(30)
    });
    let peak = server.peak_resident_bytes();
    assert!(
        peak < before + 64 * MIB,
        "{} MiB more",
        (peak - before) / MIB
    );
    drop(crowd);
    assert_unharmed(&server, admin);
    client.send("ECHO after\n");
    client.expect("OK after");
}

#[test]
fn many_who_ask_at_once_wake_the_loop_no_more_often_than_promised() {
    let (server, admin) = start(&["--workers", "1"]);
    let (before, begin) = (server.loop_sleeps(), Instant::now());
    let ask = || {
        let mut client = Client::connect(admin);
        let mut asked = 0;
        while begin.elapsed() < Duration::from_secs(2) {
            client.send("HEAD /livez HTTP/1.1\r\nhost: x\r\n\r\n");
            while client.line() != b"\r" {}
            asked += 1;
        }
        asked
    };
    let asked: u64 = thread::scope(|scope| {
        let asking = [(); 16].map(|()| scope.spawn(ask));
        asking
            .into_iter()
            .map(|thread| thread.join().expect("answers"))
            .sum()
    });
    let woken = server.loop_sleeps() - before;
    // 200 a second, and some at once in the beginning.
    let promised = begin.elapsed().as_millis() as u64 / 5 + 30;
    assert!(
        woken <= promised && asked > 2 * promised,
        "{woken} of {promised} for {asked}"
    );
}
