//! The admin interface: what it tells, to whom, and that nobody else notices.
//!
//! Knows the paths that docs/operations.md promises, and the names of docs/reference.md.
//!
//! Rule: whatever the main server does, the admin interface answers; and whatever is asked there
//! changes nothing for the main server's clients.

mod common;
#[path = "admin/health.rs"]
mod health;
#[path = "admin/hostile.rs"]
mod hostile;
#[path = "admin/http.rs"]
mod http;

use common::{DEADLINE, Launch, Server, ms, wait_until};
use http::{admin_of, ask, get, start};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// All that can be asked.
const PATHS: [&str; 8] = [
    "/",
    "/livez",
    "/readyz",
    "/metrics",
    "/status",
    "/connections",
    "/workers",
    "/config",
];

// ---- where it listens
// ---------------------------------------------------------------------------

#[test]
fn without_the_flag_nothing_else_listens() {
    let server = Server::start(&[]);
    assert!(
        !server
            .log()
            .lines()
            .iter()
            .any(|line| line.contains("admin="))
    );
    assert!(
        !server
            .policies()
            .iter()
            .any(|(name, _)| name.starts_with("admin"))
    );
}

#[test]
fn it_can_be_asked_over_a_unix_socket_which_goes_with_the_server() {
    let path = std::env::temp_dir().join(format!("reactor-pool-admin-{}", std::process::id()));
    let admin = format!("unix:{}", path.display());
    let mut server = Launch::new(&[]).env("REACTOR_POOL_ADMIN", &admin).start();
    let mut client = UnixStream::connect(&path).expect("it listens");
    client.set_read_timeout(Some(DEADLINE)).expect("not zero");
    let request = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).expect("it takes that");
    let mut answer = Vec::new();
    client
        .read_to_end(&mut answer)
        .expect("an answer, and the end");
    assert_eq!(http::answers(answer)[0].status, 200);
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(DEADLINE).code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn an_admin_address_that_others_can_reach_is_warned_about() {
    let server = Launch::new(&["--admin", "0.0.0.0:0"]).start();
    server.log().wait_for("warns of 0.0.0.0", |line| {
        line.contains("WARN") && line.contains("0.0.0.0")
    });
}

// ---- what it tells
// ------------------------------------------------------------------------------

#[test]
fn status_and_metrics_agree_with_what_was_done() {
    let (server, admin) = start(&["--workers", "3", "--queue", "17"]);
    let mut client = server.connect();
    client.send("ECHO a\nHASH b\nwhat\n");
    client.expect("OK a");
    client.line();
    client.expect("ERR unknown op WHAT");
    client.send("SLEEP 20\n");
    client.expect("OK 20");

    let (status, metrics) = (get(admin, "/status").json(), get(admin, "/metrics"));
    for (of, expected) in [
        ("accepted", 1),
        ("framed", 4),
        ("answered_ok", 3),
        ("answered_error", 1),
        ("answered_internal", 0),
        ("bytes_in", 28),
        ("bytes_out", 5 + 68 + 20 + 6),
    ] {
        assert_eq!(status["totals"][of], expected, "{of} in {status}");
    }
    assert_eq!(status["state"], "serving");
    assert_eq!(status["limits"]["queue"], 17);
    assert_eq!(status["connections"], json!({"now": 1, "peak": 1}));
    for (name, expected) in [
        ("requests_total", 4.0),
        ("answers_total{outcome=\"ok\"}", 3.0),
        ("answers_total{outcome=\"error\"}", 1.0),
        ("refusals_total{reason=\"busy\"}", 0.0),
        ("connections", 1.0),
        ("connections_accepted_total", 1.0),
        ("received_bytes_total", 28.0),
        ("sent_bytes_total", 99.0),
        ("workers", 3.0),
        ("workers_busy", 0.0),
        ("queue_slots", 17.0),
        ("queue_requests", 0.0),
        ("log_lines_dropped_total", 0.0),
        ("state{state=\"serving\"}", 1.0),
        ("build_info{version=\"0.1.0\"}", 1.0),
        ("request_working_seconds_count", 4.0),
        ("request_working_seconds_bucket{le=\"0.01\"}", 3.0),
        ("request_working_seconds_bucket{le=\"+Inf\"}", 4.0),
    ] {
        assert_eq!(metrics.metric(name), expected, "{name}");
    }
    let working = metrics.metric("request_working_seconds_sum");
    assert!((0.0199..2.0).contains(&working), "{working}");
    let resident = metrics.metric("resident_memory_bytes");
    let outside = server.resident_bytes() as f64;
    assert!(
        (outside / 2.0..outside * 2.0).contains(&resident),
        "{resident} {outside}"
    );
    assert!(resident < metrics.metric("worst_case_memory_bytes"));
}

#[test]
fn times_are_counted_in_buckets_of_which_each_holds_those_before() {
    let (server, admin) = start(&[]);
    server.exchange("SLEEP 3\nECHO a\nSLEEP 30\n".repeat(3));
    let status = get(admin, "/status").json();
    let times = &status["times"];
    let bounds = times["le_s"].as_array().expect("an array");
    for part in ["waiting", "queued", "working", "written"] {
        let counts = times[part].as_array().expect("an array");
        let counts: Vec<_> = counts.iter().filter_map(Value::as_u64).collect();
        assert_eq!(counts.len(), bounds.len() + 1, "{part}");
        assert!(
            counts.is_sorted() && counts.ends_with(&[9]),
            "{part}: {counts:?}"
        );
        if part == "working" {
            let up_to = |s: f64| counts[bounds.iter().position(|le| *le == s).expect("a bound")];
            // A sleep may last longer on a busy machine, never shorter.
            assert!(up_to(0.001) <= 3 && up_to(0.02) <= 6, "{counts:?}");
            assert_eq!(up_to(10.0), 9, "{counts:?}");
        }
    }
}

#[test]
fn workers_and_connections_say_who_holds_what() {
    let (server, admin) = start(&["--workers", "2", "--queue", "2"]);
    let mut hog = server.connect();
    hog.send("SLEEP 3000\n".repeat(6));
    server.barrier();
    let mut other = server.connect();
    other.send("ECHO x\n");
    server.barrier();

    let workers = get(admin, "/workers").json();
    for number in 0..2 {
        let worker = &workers[number];
        assert_eq!(worker["number"], number);
        assert_eq!(worker["state"], "running", "{workers}");
        assert_eq!(worker["running"]["connection"], 1);
        let peer = hog.writer().local_addr().expect("it has one").to_string();
        assert_eq!(worker["running"]["peer"], peer);
        let share = worker["busy_share"].as_f64().expect("a number");
        assert!(share > 0.0 && share <= 1.0, "{share}");
    }
    let sequences = [0, 1].map(|number: usize| workers[number]["running"]["sequence"].as_u64());
    assert!(
        sequences.contains(&Some(1)) && sequences.contains(&Some(2)),
        "{workers}"
    );

    let connections = get(admin, "/connections?n=1").json();
    for kind in ["most_in_flight", "most_buffered", "oldest"] {
        let most = connections[kind].as_array().expect("an array");
        assert_eq!(most.len(), 1, "{connections}");
        assert_eq!(most[0]["connection"], 1, "{kind}: {connections}");
    }
    let hog = &connections["most_in_flight"][0];
    assert_eq!(
        (&hog["in_flight"], &hog["waiting"]),
        (&json!(6), &json!(2)),
        "{hog}"
    );
    assert_eq!(
        hog["not_read_because"],
        Value::Null,
        "it has sent nothing more: {hog}"
    );
}

#[test]
fn behind_a_proxy_its_clients_are_seen_and_a_connection_without_a_header_is_counted() {
    let (server, admin) = start(&["--proxy-protocol", "-v"]);
    let mut client = server.connect();
    client.send("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nECHO x\n");
    client.expect("OK x");
    let mut silent = server.connect();
    silent.send("PROXY TCP4 ");
    wait_until("the second is accepted", DEADLINE, || {
        let status = get(admin, "/status").json();
        status["totals"]["accepted"] == 2
    });
    let connections = get(admin, "/connections").json();
    let oldest = &connections["oldest"];
    assert_eq!(oldest[0]["peer"], "192.0.2.1:56324", "{connections}");
    assert_eq!(oldest[0]["state"], "serving", "{connections}");
    let own = silent
        .writer()
        .local_addr()
        .expect("it has one")
        .to_string();
    assert_eq!(oldest[1]["peer"], own, "{connections}");
    assert_eq!(oldest[1]["state"], "header", "{connections}");
    server.log().wait_for("the client's address", |line| {
        line.contains("introduced") && line.contains("peer=192.0.2.1:56324")
    });

    silent.half_close();
    silent.expect("ERR no valid PROXY header");
    silent.expect_end();
    let metrics = get(admin, "/metrics");
    let refused = metrics.metric("refusals_total{reason=\"proxy_header\"}");
    assert_eq!(refused, 1.0);
}

#[test]
fn the_pages_name_each_path_and_each_metric_and_what_it_costs() {
    let guide = include_str!("../docs/operations.md");
    let reference = include_str!("../docs/reference.md");
    let (server, admin) = start(&[]);
    for path in PATHS {
        let row = guide
            .lines()
            .find(|line| line.starts_with(&format!("| `{path}")));
        assert!(row.is_some(), "no row for {path}");
    }
    let metrics = get(admin, "/metrics").body;
    let names = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE reactor_pool_"));
    let names = names.filter_map(|rest| rest.split(' ').next());
    let mut count = 0;
    for name in names {
        count += 1;
        let is_named = [format!("`{name}`"), format!("`{name}{{")];
        assert!(
            is_named.iter().any(|name| reference.contains(name)),
            "{name}"
        );
    }
    assert!(count > 30, "{count} metrics");

    let worst_case = |server: &Server| {
        let is_start = |line: &str| line.contains("listening addr=");
        let line = server.log().wait_for("shows the limits", is_start);
        let (_, rest) = line.split_once("worst_case_mib=").expect("it is there");
        let number = rest
            .split(' ')
            .next()
            .and_then(|number| number.parse::<u64>().ok());
        number.expect("a number")
    };
    let more = worst_case(&server) - worst_case(&Server::start(&[]));
    let words: Vec<&str> = guide.split_whitespace().collect();
    assert!(
        words
            .join(" ")
            .contains(&format!("raises the worst case by {more} MiB")),
        "{more}"
    );
}

#[test]
fn config_says_what_holds_and_where_it_comes_from() {
    let flags = ["--workers", "3", "--admin", "127.0.0.1:0"];
    let server = Launch::new(&flags)
        .env("REACTOR_POOL_WORKERS", "2")
        .env("REACTOR_POOL_QUEUE", "7")
        .env("REACTOR_POOL_REJECT_WHEN_FULL", "true")
        .start();
    let config = get(admin_of(&server), "/config").json();
    for (flag, value, unit, from) in [
        ("workers", json!(3), json!("threads"), "flag"),
        ("queue", json!(7), json!("requests"), "environment"),
        ("max-line", json!(65536), json!("bytes"), "default"),
        ("busy-timeout", json!(0), json!("ms"), "environment"),
        ("queue-order", json!("fair"), Value::Null, "default"),
        ("admin", json!("127.0.0.1:0"), Value::Null, "flag"),
        ("unix", Value::Null, Value::Null, "default"),
    ] {
        let expected = json!({"value": value, "unit": unit, "from": from});
        assert_eq!(config[flag], expected, "{flag}");
    }
}

#[test]
fn the_page_may_run_what_stands_in_it_and_nothing_else() {
    let (_server, admin) = start(&[]);
    let page = get(admin, "/");
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let hash_of = |tag: &str| {
        let (_, rest) = page
            .body
            .split_once(&format!("<{tag}>"))
            .expect("one of each");
        let (inline, _) = rest.split_once(&format!("</{tag}>")).expect("it ends");
        base64(&Sha256::digest(inline))
    };
    let expected = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style")
    );
    let policy = page.header("content-security-policy");
    assert_eq!(policy, Some(expected.to_lowercase().as_str()));
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(*three.get(at).unwrap_or(&0))
        });
        let letter = |at: usize| match at <= three.len() {
            true => LETTERS[(bits >> (18 - 6 * at) & 63) as usize] as char,
            false => '=',
        };
        [0, 1, 2, 3].map(letter)
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[test]
fn bytes_of_requests_are_never_shown() {
    const SECRET: &str = "open-sesame";
    let (server, admin) = start(&["--workers", "1", "--queue", "1"]);
    let mut client = server.connect();
    client.send(format!("ECHO {SECRET}\n{SECRET} x\nSLEEP {SECRET}\n"));
    client.line();
    client.line();
    client.line();
    // Running, queued, waiting, and the beginning of a request.
    client.send(format!(
        "SLEEP 2000\nECHO {SECRET}\nECHO {SECRET}\nECHO {SECRET}"
    ));
    server.barrier();
    for path in PATHS {
        let answer = get(admin, path);
        assert_eq!(answer.status, 200, "{path}");
        let shown = answer.body.to_lowercase();
        assert!(!shown.contains(SECRET), "{path}: {shown}");
    }
}

// ---- how it is asked
// ----------------------------------------------------------------------------

#[test]
fn other_paths_methods_and_numbers_are_told_so() {
    let (server, admin) = start(&[]);
    for (method, target, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/livez/", 404),
        ("GET", "//livez", 404),
        ("GET", "/../livez", 404),
        ("POST", "/nothing", 404),
        ("GET", "/livez?", 200),
        ("GET", "/livez?a=b", 200),
        ("GET", "/connections?n=100", 200),
        ("GET", "/connections?x&n=1", 200),
        ("GET", "/connections?n=0", 400),
        ("GET", "/connections?n=101", 400),
        ("GET", "/connections?n=-1", 400),
        ("GET", "/connections?n=", 400),
    ] {
        let answer = ask(admin, method, target);
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
    }
    for path in PATHS {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"] {
            let answer = ask(admin, method, path);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("get, head"), "{method} {path}");
        }
        let (whole, head) = (get(admin, path), ask(admin, "HEAD", path));
        assert_eq!((whole.status, head.status), (200, 200), "{path}");
        let lengths = [&whole, &head].map(|answer| answer.header("content-length").is_some());
        assert_eq!((lengths, head.body.as_str()), ([true; 2], ""), "{path}");
        assert!(!whole.body.is_empty(), "{path}");
    }
    server.assert_serves();
    assert_eq!(
        get(admin, "/status").json()["totals"]["accepted"],
        1,
        "only its own clients"
    );
}

#[test]
fn a_connection_that_is_kept_open_does_not_hold_up_the_end() {
    let (mut server, admin) = start(&[]);
    let mut kept = common::Client::connect(admin);
    kept.send("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(kept.line(), b"HTTP/1.1 200 OK\r");
    let start = std::time::Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(Duration::from_secs(2)).code(), Some(0));
    assert!(start.elapsed() < ms(1500), "{:?}", start.elapsed());
    // Of its own end it says nothing: reports and totals are those of the main server.
    let is_last = |line: &str| line.contains("stopped");
    server.log().wait_for("says that it stopped", is_last);
    let lines = server.log().lines();
    let reports = lines.iter().filter(|line| line.contains("report "));
    assert_eq!(reports.count(), 1, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("WARN")), "{lines:?}");
}
