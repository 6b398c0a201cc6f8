//! `--reconnect`: a server that is restarted, cut connections, refused connects.
//!
//! Knows the server's own program, which lies beside the one under test, and its log.
//!
//! Rule: a restart happens when the clients are connected, not after a time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use stress_test::Fault;

use crate::command::{interrupt, signal};
use crate::measuring::{assert_valid, figure, run_json};
use crate::support::{against, refusing_port, run, run_while, server, stress_test};

/// Clients of the tests with the real server.
const CLIENTS: usize = 10;

/// The server itself, which is killed when this is dropped.
struct Server {
    process: Child,
    port: String,
}

impl Server {
    fn start(port: &str) -> Self {
        let path = Path::new(env!("CARGO_BIN_EXE_stress_test")).with_file_name("server");
        assert!(path.is_file(), "no {}: run `cargo build`", path.display());
        let mut command = Command::new(path);
        command.args(["--port", port]);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the server can be run");
        let stderr = process.stderr.take().expect("it is piped");
        let lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut ports = lines.filter_map(|line| {
            let (_, address) = line.split_once("addr=127.0.0.1:")?;
            Some(address.split(' ').next().unwrap_or_default().to_owned())
        });
        let port = ports
            .next()
            .expect("a line of its log says where it listens");
        Self { process, port }
    }

    /// How many sockets it has.
    fn sockets(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        let files = std::fs::read_dir(folder).expect("the server runs");
        let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        let is_socket = |link: &std::path::PathBuf| link.to_string_lossy().starts_with("socket:");
        links.filter(is_socket).count()
    }

    /// Stops it in an orderly way, and starts another one in its place.
    fn restart(&mut self) {
        signal(self.process.id(), Signal::TERM);
        self.process.wait().expect("a child can be waited for");
        let port = self.port.clone();
        *self = Self::start(&port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        self.process.kill().ok();
        self.process.wait().expect("a child can be waited for");
    }
}

fn ledger(json: &Value, name: &str) -> f64 {
    figure(json, &format!("/ledger/{name}"))
}

/// Runs open or closed loops against a server that is restarted twice, until all clients have come
/// back for the second time.
fn restarted_twice(flags: &[&str]) {
    let mut server = Server::start("0");
    let own_sockets = server.sockets();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.json");
    let mut command = stress_test(&["--clients", "10", "--duration", "600", "--reconnect"]);
    command
        .args(["--port", &server.port])
        .args(flags)
        .arg("--json");
    command.arg(&file);
    let mut restarts = 0;
    let report = run_while(command, |id| {
        if restarts > 2 || server.sockets() < own_sockets + CLIENTS {
            return;
        }
        restarts += 1;
        if restarts > 2 {
            return interrupt(id);
        }
        server.restart();
    });
    let text = std::fs::read_to_string(&file).expect("the file was written");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_valid(&json);
    let (made, lost) = (figure(&json, "/connections/made"), ledger(&json, "lost"));
    assert!(made >= 3.0 * CLIENTS as f64, "{report}");
    let anew = figure(&json, "/connections/reconnects");
    assert_eq!(anew, made - CLIENTS as f64, "{report}");
    assert_eq!(figure(&json, "/connections/connect_time/count"), made);
    let ends = ledger(&json, "ok") + lost + ledger(&json, "under_way");
    assert_eq!(ledger(&json, "sent"), ends, "{report}");
    // Each client has at most one request in flight when it is cut, once per restart.
    assert!(lost <= 2.0 * CLIENTS as f64, "{report}");
    let expected = if lost > 0.0 { 1 } else { 130 };
    assert_eq!(report.code, Some(expected), "{report}");
    let four = format!(
        "requests    {} sent, {} answered, 0 refused, {lost} lost",
        ledger(&json, "sent"),
        ledger(&json, "ok")
    );
    assert!(report.stdout.contains(&four), "no {four:?} in {report}");
}

#[test]
fn an_open_loop_goes_on_over_restarts() {
    restarted_twice(&["--rate", "300", "--max-clients", "10"]);
}

#[test]
fn a_closed_loop_goes_on_over_restarts() {
    restarted_twice(&[]);
}

#[test]
fn a_server_that_does_not_come_back_is_given_up_after_the_timeout() {
    let mut server = Server::start("0");
    let own_sockets = server.sockets();
    let flags = ["--clients", "10", "--duration", "600", "--reconnect"];
    let mut command = stress_test(&[&flags[..], &["--timeout", "0.5"]].concat());
    command.args(["--port", &server.port, "--mix", "sleep"]);
    let mut is_killed = false;
    let report = run_while(command, |_| {
        if !is_killed && server.sockets() >= own_sockets + CLIENTS {
            is_killed = true;
            server.process.kill().expect("it runs");
            server.process.wait().expect("a child can be waited for");
        }
    });
    assert_eq!(report.code, Some(1), "{report}");
    let verdict = report.verdict();
    assert!(verdict.contains("10 refused"), "{report}");
    assert!(report.stdout.contains(" connects refused\n"), "{report}");
    assert!(!report.stdout.contains(" 0 connects refused\n"), "{report}");
}

#[test]
fn a_request_in_flight_on_a_cut_connection_is_lost_and_all_others_are_answered() {
    for fault in [Fault::Cut, Fault::CutInside] {
        let flags = ["--clients", "4", "--frames", "50", "--reconnect"];
        let (report, json) = run_json(&server(fault), &flags);
        report.assert_fails(1, "client ");
        assert!(report.verdict().contains("(1 lost)"), "{report}");
        assert_eq!((ledger(&json, "ok"), ledger(&json, "lost")), (199.0, 1.0));
        assert_eq!(figure(&json, "/connections/reconnects"), 1.0, "{report}");
        assert_eq!(json["ledger"]["balances"], true, "{report}");
        assert_eq!(json["little"]["holds"], true, "{report}");
    }
}

#[test]
fn a_connection_that_is_turned_away_is_tried_again() {
    let flags = ["--clients", "4", "--frames", "50", "--reconnect"];
    let (report, json) = run_json(&server(Fault::TooMany), &flags);
    report.assert_passes("4 clients x 50 frames = 200 verified, 0 failures");
    assert_eq!(figure(&json, "/connections/refused"), 1.0, "{report}");
}

#[test]
fn without_a_server_nobody_waits_for_one() {
    let port = refusing_port();
    let address = format!("127.0.0.1:{port}");
    let report = run(stress_test(&["--port", &port, "--reconnect"]));
    report.assert_complains(3, &["nothing is listening on", &address, "refused"]);
}

#[test]
fn the_time_to_connect_is_measured_apart() {
    let (report, json) = run_json(&server(Fault::None), &["--clients", "30"]);
    assert_eq!(figure(&json, "/connections/connect_time/count"), 30.0);
    assert!(report.stdout.contains("\n  connect "));
    let report = run(against(
        &server(Fault::None),
        &["--clients", "30", "--fail-if", "connect.max>0us,lost>0"],
    ));
    assert!(
        report.stdout.contains("--fail-if connect.max>0us"),
        "{report}"
    );
    assert!(!report.stdout.contains("--fail-if lost>0"), "{report}");
}
