//! The file of `--trace-file`: that each request is in it once, with its parts where they belong,
//! and that it says what is missing.
//!
//! Knows the Chrome trace event format as its viewers read it.
//!
//! Rule: what a viewer would draw is computed from the file alone, and compared with what the
//! clients sent.

mod common;

use common::{DEADLINE, Server};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// A slice of a track, in nanoseconds.
#[derive(Debug, Clone, PartialEq)]
struct Slice {
    track: u64,
    name: String,
    begin: u64,
    end: u64,
    args: Value,
}

impl Slice {
    fn number(&self, arg: &str) -> u64 {
        let number = self.args[arg].as_u64();
        number.unwrap_or_else(|| panic!("no {arg} in {self:?}"))
    }

    /// Whose requests they are, the first one, and how many.
    fn requests(&self) -> (u64, u64, u64) {
        (
            self.number("conn"),
            self.number("first"),
            self.number("requests"),
        )
    }

    fn holds(&self, at: u64) -> bool {
        (self.begin..=self.end).contains(&at)
    }
}

/// A file, read.
struct Picture {
    head: Value,
    tracks: BTreeMap<u64, String>,
    slices: Vec<Slice>,
    instants: Vec<String>,
    /// The points of each flow, in the order of the file: phase, track, time.
    flows: BTreeMap<u64, Vec<(String, u64, u64)>>,
}

impl Picture {
    fn read(path: &PathBuf) -> Picture {
        let text = fs::read_to_string(path).expect("the file was written");
        let file: Value = serde_json::from_str(&text).expect("it is JSON");
        let mut picture = Picture {
            head: file["otherData"].clone(),
            tracks: BTreeMap::new(),
            slices: Vec::new(),
            instants: Vec::new(),
            flows: BTreeMap::new(),
        };
        let events = file["traceEvents"].as_array().expect("a list of events");
        events.iter().for_each(|event| picture.take(event));
        picture
    }

    fn take(&mut self, event: &Value) {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let track = event["tid"].as_u64().expect("a track");
        // Microseconds with a fraction that is a multiple of an eighth.
        let nanos = |key: &str| {
            let nanos = event[key].as_f64().expect("a time") * 1000.0;
            assert_eq!(nanos % 125.0, 0.0, "{event}");
            nanos as u64
        };
        match text(&event["ph"]).as_str() {
            "M" if event["name"] == "thread_name" => {
                let other = self.tracks.insert(track, text(&event["args"]["name"]));
                assert_eq!(other, None, "a track has one name");
            }
            "M" => {}
            "X" => self.slices.push(Slice {
                track,
                name: text(&event["name"]),
                begin: nanos("ts"),
                end: nanos("ts") + nanos("dur"),
                args: event["args"].clone(),
            }),
            "i" => self.instants.push(text(&event["name"])),
            phase => {
                let id = event["id"].as_u64().expect("a flow has an id");
                let point = (phase.to_owned(), track, nanos("ts"));
                self.flows.entry(id).or_default().push(point);
            }
        }
    }

    fn is_connection(&self, slice: &Slice) -> bool {
        self.tracks[&slice.track].starts_with("conn ")
    }

    /// Tasks on the tracks of their connections.
    fn requests(&self) -> Vec<&Slice> {
        let has_numbers = |slice: &&Slice| !slice.args.is_null() && self.is_connection(slice);
        self.slices.iter().filter(has_numbers).collect()
    }

    /// What workers had in hand.
    fn work(&self) -> Vec<&Slice> {
        let is_work = |slice: &&Slice| self.tracks[&slice.track].starts_with("worker-");
        self.slices.iter().filter(is_work).collect()
    }

    fn parts_of<'a>(&'a self, request: &'a Slice) -> Vec<&'a Slice> {
        let is_part = move |slice: &&Slice| {
            let is_inside = slice.begin >= request.begin && slice.end <= request.end;
            slice.track == request.track && slice.args.is_null() && is_inside
        };
        self.slices.iter().filter(is_part).collect()
    }

    /// The numbers of the requests of each connection, each as often as it stands there.
    fn numbers(&self) -> BTreeMap<u64, Vec<u64>> {
        let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for request in self.requests() {
            let (connection, first, requests) = request.requests();
            let all = numbers.entry(connection).or_default();
            all.extend(first..first + requests);
        }
        numbers.values_mut().for_each(|numbers| numbers.sort());
        numbers
    }

    /// What holds of every file.
    fn check(&self) {
        let named: BTreeSet<_> = self.tracks.keys().collect();
        let used: BTreeSet<_> = self.slices.iter().map(|slice| &slice.track).collect();
        assert!(used.is_subset(&named), "every track has a name");
        let names: BTreeSet<_> = self.tracks.values().collect();
        assert_eq!(names.len(), self.tracks.len(), "and no two the same");
        self.check_side_by_side(|slice| !self.is_connection(slice));
        self.check_side_by_side(|slice| self.is_connection(slice) && !slice.args.is_null());
        for request in self.requests() {
            self.check_parts(request);
        }
        let [mut worked, mut work] = [self.requests(), self.work()].map(|slices| {
            let has_worker = |slice: &&Slice| slice.args["worker"].is_u64();
            let slices = slices.into_iter().filter(has_worker);
            slices.map(Slice::requests).collect::<Vec<_>>()
        });
        worked.sort();
        work.sort();
        assert_eq!(worked, work, "what has a worker stands on the track of one");
        assert_eq!(self.flows.len(), work.len());
        self.flows
            .values()
            .for_each(|points| self.check_flow(points));
    }

    fn check_side_by_side(&self, which: impl Fn(&Slice) -> bool) {
        let mut slices: Vec<_> = self.slices.iter().filter(|slice| which(slice)).collect();
        slices.sort_by_key(|slice| (slice.track, slice.begin, slice.end));
        for pair in slices.windows(2) {
            let overlap = pair[0].track == pair[1].track && pair[0].end > pair[1].begin;
            assert!(!overlap, "{:?} and {:?}", pair[0], pair[1]);
        }
    }

    /// The parts of a request follow each other in their order and fill it.
    fn check_parts(&self, request: &Slice) {
        const PARTS: [&str; 4] = ["waiting for a slot", "queued", "working", "on its way back"];
        let parts = self.parts_of(request);
        let is_moment = request.begin == request.end;
        if is_moment || request.args["end"] == "answered by the event loop" {
            assert!(parts.is_empty(), "{request:?} has {parts:?}");
            return;
        }
        let mut order = PARTS.iter();
        for part in &parts {
            assert!(
                order.any(|name| part.name == *name),
                "{request:?}: {parts:?}"
            );
        }
        let ends: Vec<_> = parts.iter().map(|part| part.end).collect();
        let begins = parts.iter().skip(1).map(|part| part.begin);
        assert!(begins.eq(ends[..ends.len() - 1].iter().copied()));
        let (first, last) = (parts[0].begin, ends[ends.len() - 1]);
        assert_eq!((first, last), (request.begin, request.end));
        let is_worked = |work: &&&Slice| work.requests() == request.requests();
        let working = parts.iter().find(|part| part.name == "working");
        let work = self.work();
        let work = work.iter().find(is_worked);
        let times = |slice: &Slice| (slice.begin, slice.end);
        // What was done within a moment has no part to be seen.
        if working.is_some() {
            assert_eq!(
                work.map(|work| times(work)),
                working.map(|part| times(part))
            );
        }
    }

    /// From a request to its work, and back if it came back.
    fn check_flow(&self, points: &[(String, u64, u64)]) {
        let phases: String = points.iter().map(|(phase, ..)| phase.as_str()).collect();
        assert!(["stf", "sf"].contains(&phases.as_str()), "{points:?}");
        let [(_, from, queued_at), (_, worker, started_at)] = points[..2] else {
            unreachable!("there are two at least")
        };
        let work = self.work().into_iter();
        let mut work = work.filter(|slice| slice.track == worker && slice.begin == started_at);
        let work = work.next().expect("it comes to some work");
        let requests = self.requests();
        let belongs = |at| {
            let mut there = requests
                .iter()
                .filter(|slice| slice.track == from && slice.holds(at));
            there.any(|slice| slice.requests() == work.requests())
        };
        assert!(belongs(queued_at), "{points:?}");
        if let Some((_, back_on, finished_at)) = points.get(2) {
            assert_eq!((*back_on, *finished_at), (from, work.end));
            assert!(belongs(*finished_at), "{points:?}");
        }
    }
}

/// A server that traces into a file of its own, which is removed with it.
struct Traced {
    server: Server,
    path: PathBuf,
}

impl Drop for Traced {
    fn drop(&mut self) {
        // A server that failed may not have made it.
        fs::remove_file(&self.path).ok();
    }
}

impl Traced {
    fn start(name: &str, flags: &[&str]) -> Traced {
        let name = format!("reactor-pool-trace-{}-{name}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = path.to_str().expect("a plain path");
        let flags = [flags, &["--trace-file", file]].concat();
        Traced {
            server: Server::start(&flags),
            path,
        }
    }

    /// What is in the file at the end, which comes with that exit code.
    fn stop(&mut self, code: i32) -> Picture {
        self.server.signal("TERM");
        let status = self.server.wait_for_exit(DEADLINE);
        assert_eq!(status.code(), Some(code));
        let picture = Picture::read(&self.path);
        picture.check();
        picture
    }
}

#[test]
fn every_request_stands_in_the_file_once_with_its_parts() {
    let flags = ["--workers", "3", "--queue", "8", "--max-line", "1000"];
    let mut traced = Traced::start("all", &flags);
    let sleeps = "SLEEP 30\n".repeat(5);
    let echoes = "ECHO a\n".repeat(300);
    let long = format!("ECHO b\n{}\nSLEEP 1\nECHO c\n\n", "x".repeat(1001));
    let inputs = [&sleeps, &echoes, &long];
    // All at once, and each on a connection of its own.
    let answers = std::thread::scope(|scope| {
        let exchange = |input: &String| traced.server.exchange(input).len();
        let threads = inputs.map(|input| scope.spawn(move || exchange(input)));
        threads.map(|thread| thread.join().expect("it is answered"))
    });
    assert!(answers.iter().all(|bytes| *bytes > 0));
    let picture = traced.stop(0);

    let mut numbers: Vec<_> = picture.numbers().into_values().collect();
    numbers.sort_by_key(Vec::len);
    let expected: [Vec<u64>; 3] = [5, 5, 300].map(|last| (1..=last).collect());
    assert_eq!(numbers, expected, "each once");
    let head = &picture.head;
    let dropped = [&head["dropped_requests"], &head["dropped_ticks"]];
    assert_eq!((&head["requests"], dropped), (&310.into(), [&0.into(); 2]));

    let tracks = || picture.tracks.values().map(String::as_str);
    for track in ["event loop", "worker-0", "conn 1", "conn 2", "conn 3"] {
        assert!(tracks().any(|name| name == track), "no {track}");
    }
    let long_sleeps = picture.work().into_iter();
    let long_sleeps: Vec<_> = long_sleeps
        .filter(|s| s.end - s.begin >= 30_000_000)
        .collect();
    let workers: BTreeSet<_> = long_sleeps.iter().map(|slice| slice.track).collect();
    assert!(
        (long_sleeps.len(), workers.len()) >= (5, 2),
        "they ran in parallel"
    );
    let by_the_loop = |slice: &&Slice| slice.args["end"] == "answered by the event loop";
    let refused: Vec<_> = picture.requests().into_iter().filter(by_the_loop).collect();
    assert_eq!(
        refused
            .iter()
            .map(|slice| slice.number("first"))
            .collect::<Vec<_>>(),
        [2]
    );
    let longest_run = picture
        .requests()
        .iter()
        .map(|s| s.number("requests"))
        .max();
    assert!(longest_run > Some(1), "quick requests travel together");
    let tracks_of_loop = picture.slices.iter().filter(|slice| slice.name == "tick");
    assert!(tracks_of_loop.count() >= 3);
}

#[test]
fn the_last_requests_are_kept_and_the_others_are_counted() {
    let mut traced = Traced::start("few", &["--trace-tasks", "10"]);
    let mut client = traced.server.connect();
    for _ in 0..100 {
        client.send("ECHO a\n");
        client.expect("OK a");
    }
    drop(client);
    let picture = traced.stop(0);
    let numbers = picture.numbers();
    assert_eq!(
        numbers.values().collect::<Vec<_>>(),
        [&(91..=100).collect::<Vec<u64>>()]
    );
    let head = &picture.head;
    assert_eq!([&head["requests"], &head["dropped_requests"]], [10, 90]);
    assert!(head["dropped_ticks"].as_u64() >= Some(90), "{head}");
    assert_eq!(
        picture.instants,
        ["90 requests that ended earlier are not kept"]
    );
    let ticks = picture.slices.iter().filter(|slice| slice.name == "tick");
    assert_eq!(ticks.count(), 10);
    let says =
        |line: &str| line.contains("the trace was written") && line.contains("dropped_requests=90");
    traced
        .server
        .log()
        .wait_for("says how many are missing", says);
}

#[test]
fn what_a_drain_abandons_is_shown_as_unfinished() {
    let flags = [
        &["--workers", "1", "--queue", "1"][..],
        &["--busy-timeout", "60000", "--drain-timeout", "1"],
    ]
    .concat();
    let mut traced = Traced::start("drain", &flags);
    // One runs, one is queued, one waits for its slot.
    let clients = traced.server.occupy(3, 10_000);
    let picture = traced.stop(1);
    drop(clients);
    let mut last_parts = Vec::new();
    let is_unfinished = |slice: &&Slice| slice.args["end"] == "unfinished";
    // Those who saw to it that all are where they are were answered by the loop.
    for request in picture.requests().into_iter().filter(is_unfinished) {
        assert!(request.name.ends_with("(unfinished)"), "{request:?}");
        let parts = picture.parts_of(request);
        last_parts.push(parts[parts.len() - 1].name.as_str());
    }
    last_parts.sort();
    assert_eq!(last_parts, ["queued", "waiting for a slot", "working"]);
}

#[test]
fn a_request_whose_client_has_gone_is_shown_with_its_work() {
    let mut traced = Traced::start("gone", &["--workers", "1", "-vv"]);
    let mut client = traced.server.connect();
    client.send("SLEEP 500\nSLEEP 501\n");
    let has_started = |line: &str| line.contains("started conn=1 seq=1");
    traced
        .server
        .log()
        .wait_for("the first one runs", has_started);
    client.reset();
    let picture = traced.stop(0);
    let is_gone = |slice: &&Slice| slice.args["end"] == "its connection had gone";
    let gone: Vec<_> = picture.requests().into_iter().filter(is_gone).collect();
    let numbers: Vec<_> = gone.iter().map(|slice| slice.number("first")).collect();
    assert_eq!(numbers, [1, 2]);
    let ran = gone.iter().map(|slice| slice.args["worker"].is_u64());
    assert!(ran.eq([true, false]), "the second one was not run");
}

#[test]
fn sigusr1_writes_what_is_known_by_then() {
    let mut traced = Traced::start("asked", &[]);
    let mut client = traced.server.connect();
    client.send("ECHO a\n");
    client.expect("OK a");
    // Under way while it is written.
    client.send("SLEEP 1000\n");
    traced.server.barrier();
    traced.server.signal("USR1");
    let is_written = |line: &str| line.contains("the trace was written");
    traced.server.log().wait_for("says so", is_written);
    let picture = Picture::read(&traced.path);
    picture.check();
    let requests = picture.requests();
    let ours = requests.iter().filter(|slice| slice.number("conn") == 1);
    let ends: Vec<_> = ours.map(|slice| &slice.args["end"]).collect();
    assert_eq!(ends, ["written", "unfinished"]);
    client.expect("OK 1000");
    drop(client);
    let picture = traced.stop(0);
    assert!(
        picture
            .requests()
            .iter()
            .all(|slice| slice.args["end"] != "unfinished")
    );
}

#[test]
fn a_file_that_takes_nothing_at_the_end_is_an_error() {
    let mut server = Server::start(&["--trace-file", "/dev/full"]);
    server.assert_serves();
    server.signal("TERM");
    assert_eq!(server.wait_for_exit(DEADLINE).code(), Some(1));
    let says = |line: &str| line.contains("/dev/full") && line.contains("cannot write the trace");
    server.log().wait_for("says why", says);
}
