//! Workers by themselves: one response for each task, whatever the handler does.
//!
//! Knows no reactor; a channel takes its wakes.
//!
//! Rule: every wait has a deadline.

use super::*;
use crate::codec::Lines;
use crate::config::QueueOrder;
use crate::task::{ConnectionId, Run, Sequence, Span};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn crew<S: Service>(
    service: S,
    queue: &Arc<WorkQueue<Task>>,
    completions: &Arc<ResponseQueue<Completion>>,
    workers: usize,
) -> Crew<S, Lines> {
    Crew {
        service: Arc::new(service),
        codec: Guarded::new(Arc::new(Lines::new(65_536))),
        queue: Arc::clone(queue),
        completions: Arc::clone(completions),
        connections: Arc::default(),
        board: Arc::new(Board::new(workers)),
    }
}

/// A task of these requests, the first of which is `first`.
fn task(flow: usize, first: u64, is_quick: bool, requests: &[&str]) -> Task {
    Task {
        connection: ConnectionId::new(1, flow),
        run: Run {
            span: Span {
                first: Sequence(first),
                requests: requests.len(),
            },
            frames: requests
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>()
                .into(),
            framed_at: Instant::now(),
            is_quick,
        },
    }
}

/// A pool, and the loop's end of its queues.
struct Bench {
    pool: Pool,
    queue: Arc<WorkQueue<Task>>,
    completions: Arc<ResponseQueue<Completion>>,
    wakes: mpsc::Receiver<()>,
    board: Arc<Board>,
    /// Requests that were pushed.
    requests: usize,
    /// How those fared that were answered.
    outcomes: Outcomes,
}

impl Bench {
    fn new<S: Service>(workers: usize, handler: S) -> Bench {
        let queue = Arc::new(WorkQueue::new(2000, QueueOrder::Fair));
        let (wake, wakes) = mpsc::channel();
        let completions = Arc::new(ResponseQueue::new(move || {
            wake.send(()).expect("the test listens")
        }));
        let crew = crew(handler, &queue, &completions, workers);
        let pool = Pool::start(&Config::default().workers(workers), &crew).expect("a few threads");
        Bench {
            pool,
            queue,
            completions,
            wakes,
            board: crew.board,
            requests: 0,
            outcomes: Outcomes::default(),
        }
    }

    /// Pushes a task for each of `runs`, all at once.
    fn push(&mut self, is_quick: bool, runs: &[&[&str]]) {
        let mut tasks = Vec::new();
        for (flow, run) in runs.iter().enumerate() {
            tasks.push(task(flow, self.requests as u64 + 1, is_quick, run));
            self.requests += run.len();
        }
        self.queue.push(Instant::now(), tasks);
    }

    /// Waits for the responses to that many requests; returns them in the order of the requests.
    fn completions(&mut self, requests: usize) -> Vec<Completion> {
        let (mut got, mut count) = (Vec::new(), 0);
        while count < requests {
            if self.completions.park() {
                self.wakes
                    .recv_timeout(PATIENCE)
                    .expect("every request gets a response");
            }
            self.completions.drain(|completion| {
                self.outcomes.ok += completion.outcomes.ok;
                self.outcomes.error += completion.outcomes.error;
                self.outcomes.internal += completion.outcomes.internal;
                count += completion.span.requests;
                got.push(completion);
            });
        }
        got.sort_by_key(|completion| completion.span.first);
        got
    }
}

/// What a pool of three answers: how the requests fared, and the lines of each run.
fn answers(is_quick: bool, runs: &[&[&str]]) -> (Outcomes, Vec<String>) {
    let mut bench = Bench::new(3, handler);
    bench.push(is_quick, runs);
    let got = bench.completions(bench.requests);
    bench.pool.join();
    let text = |completion: Completion| String::from_utf8(completion.responses).expect("ASCII");
    (bench.outcomes, got.into_iter().map(text).collect())
}

fn handler(request: &[u8], response: &mut Response<'_>) {
    match request {
        b"panic" => {
            response.push(b"OK half a li");
            panic!("as asked");
        }
        b"two lines" => response.push(b"OK\nOK"),
        b"nothing" => {}
        other => response.push(other),
    }
}

fn outcomes(ok: usize, error: usize, internal: usize) -> Outcomes {
    Outcomes {
        ok,
        error,
        internal,
    }
}

#[test]
fn every_task_gets_exactly_one_line_whatever_its_handler_does() {
    let expected = [
        ("OK 1", "OK 1\n"),
        ("panic", "ERR internal error\n"),
        ("two lines", "ERR internal error\n"),
        ("nothing", "\n"),
        ("ERR no", "ERR no\n"),
        ("OK 2", "OK 2\n"),
    ];
    let runs = expected.map(|(request, _)| [request]);
    let runs: Vec<&[&str]> = runs.iter().map(|run| &run[..]).collect();
    let lines = expected.map(|(_, line)| line.to_owned()).to_vec();
    let expected = (outcomes(2, 2, 2), lines);
    assert_eq!(answers(false, &runs), expected);
    assert_eq!(answers(true, &runs), expected);
}

#[test]
fn responses_take_the_memory_of_their_requests_only_if_they_about_fill_it() {
    let mut bench = Bench::new(1, handler);
    // The second answer is one byte.
    for (request, does) in [("OK as long as the request", true), ("nothing", false)] {
        let task = task(0, 1, false, &[request]);
        let memory = task.run.frames.as_ptr();
        bench.queue.push(Instant::now(), [task]);
        let responses = bench.completions(1).remove(0).responses;
        assert_eq!(responses.as_ptr() == memory, does, "{request}");
    }
    bench.pool.join();
}

#[test]
fn a_response_holds_on_to_little_more_memory_than_its_bytes() {
    let mut bench = Bench::new(1, |request: &[u8], response: &mut Response<'_>| {
        response.push(request);
        assert!(!request.starts_with(b"panic"), "as asked");
        if request == b"short" {
            response.push(b", and more than was asked for");
        }
    });
    let long = "x".repeat(30_000);
    let panics = format!("panic{}", "x".repeat(60_000));
    for request in [&long, "short", &long, "y", &panics, "short"] {
        let task = task(0, 1, false, &[request]);
        bench.queue.push(Instant::now(), [task]);
        let responses = bench.completions(1).remove(0).responses;
        let (capacity, bytes) = (responses.capacity(), responses.len());
        assert!(capacity <= 2 * bytes, "{capacity} for {bytes} bytes");
    }
    bench.pool.join();
}

#[test]
fn a_worker_that_dies_outside_a_handler_is_reported() {
    let queue = Arc::new(WorkQueue::new(9, QueueOrder::Fair));
    let (reported, reports) = mpsc::channel();
    // The first wake is a bug in the worker's own code, in the middle of an announcement.
    let wakes = Mutex::new(0);
    let responses = Arc::new(ResponseQueue::new(move || {
        let mut wakes = wakes.lock().unwrap_or_else(PoisonError::into_inner);
        *wakes += 1;
        assert!(*wakes > 1, "as arranged");
        reported.send(()).expect("the test listens");
    }));
    let pool = Pool::start(
        &Config::default().workers(1),
        &crew(handler, &queue, &responses, 1),
    );
    let pool = pool.expect("a thread");
    assert!(responses.park() && !responses.has_death());
    queue.push(Instant::now(), [task(0, 1, false, &["OK"])]);
    reports.recv_timeout(PATIENCE).expect("the loop is woken");
    assert!(responses.has_death());
    pool.join();
}

#[test]
fn a_run_is_answered_line_by_line() {
    let got = answers(true, &[&["OK a", "", "OK b", "ERR c"], &["OK d"]]);
    let lines = ["OK a\n\nOK b\nERR c\n", "OK d\n"].map(str::to_owned);
    assert_eq!(got, (outcomes(3, 2, 0), lines.to_vec()));
}

#[test]
fn a_panic_or_a_second_line_in_a_run_is_an_error_in_its_own_place_only() {
    let got = answers(
        true,
        &[&[
            "panic",
            "OK a",
            "two lines",
            "panic",
            "nothing",
            "OK b",
            "two lines",
        ]],
    );
    let internal = "ERR internal error\n";
    let lines = format!("{internal}OK a\n{internal}{internal}\nOK b\n{internal}");
    assert_eq!(got, (outcomes(2, 1, 4), vec![lines]));
}

#[test]
fn workers_go_on_after_hundreds_of_panics() {
    let requests: Vec<&[&str]> = (0..900)
        .map(|n| if n % 3 == 0 { &["OK"] } else { &["panic"] })
        .map(|run: &[&str; 1]| &run[..])
        .collect();
    for is_quick in [false, true] {
        let (fared, got) = answers(is_quick, &requests);
        assert_eq!((fared, got.len()), (outcomes(300, 0, 600), 900));
        for (n, line) in got.iter().enumerate() {
            let expected = if n % 3 == 0 {
                "OK\n"
            } else {
                "ERR internal error\n"
            };
            assert_eq!(line, expected, "request {n}");
        }
    }
}

#[test]
fn what_is_called_quick_and_is_not_is_noticed() {
    let handler = |request: &[u8], response: &mut Response<'_>| {
        if request.starts_with(b"n\tap") {
            thread::sleep(2 * QUICK_LIMIT);
        }
        response.push(b"OK");
    };
    let mut bench = Bench::new(1, handler);
    bench.push(true, &[&["n\tap now", "then"], &["no"]]);
    bench.push(false, &[&["n\tap"]]);
    let got = bench.completions(4);
    bench.pool.join();
    let overruns: Vec<_> = got.iter().map(|got| got.is_overrun).collect();
    assert_eq!(
        overruns,
        [true, false, false],
        "a slow one may take any time"
    );
}

// When the loop is told.

/// One worker, which stops at each request `wait` until it is let go on.
fn gated() -> (Bench, mpsc::Sender<()>) {
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let bench = Bench::new(1, move |request: &[u8], response: &mut Response<'_>| {
        if request == b"wait" {
            let gate = gate.lock().expect("nobody panics");
            gate.recv_timeout(PATIENCE).expect("the test lets it go on");
        }
        response.push(b"OK");
    });
    (bench, go_on)
}

#[test]
fn each_answer_is_announced_before_the_next_task() {
    let (mut bench, go_on) = gated();
    bench.push(true, &[&["a", "b"], &["c"], &["wait"]]);
    assert_eq!(bench.completions(3).len(), 2);
    go_on.send(()).expect("the worker waits");
    assert_eq!(bench.completions(1).len(), 1);
    bench.pool.join();
}

#[test]
fn the_board_tells_what_each_worker_does_and_has_done() {
    let (go_on, gate) = mpsc::channel::<()>();
    let (runs, running) = mpsc::channel::<()>();
    let gate = Mutex::new((runs, gate));
    let handler = move |_: &[u8], response: &mut Response<'_>| {
        let (runs, gate) = &*gate.lock().expect("nobody panics here");
        runs.send(()).expect("the test listens");
        gate.recv_timeout(PATIENCE).expect("the test lets it go on");
        response.push(b"OK");
    };
    let mut bench = Bench::new(1, handler);
    let board = Arc::clone(&bench.board);
    assert!(board.lines()[0].running.is_none());
    bench.push(true, &[&["a", "b"]]);
    running.recv_timeout(PATIENCE).expect("it runs");
    let line = board.lines()[0];
    let seen = line.running.expect("it runs");
    assert_eq!(
        (seen.connection, seen.span.requests),
        (ConnectionId::new(1, 0), 2)
    );
    assert_eq!((line.tasks, line.busy), (0, Duration::ZERO));
    go_on.send(()).expect("it waits");
    go_on.send(()).expect("it waits");
    bench.completions(2);
    let line = board.lines()[0];
    assert!(line.running.is_none());
    assert_eq!((line.tasks, line.requests), (1, 2));
    assert!(line.busy > Duration::ZERO && line.busy <= seen.started_at.elapsed());
}
