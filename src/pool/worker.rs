//! The worker threads: take a task, run the handler, send the response back.
//!
//! Knows no sockets, and of connections only the id that it copies from task to response.
//!
//! Rule: one response for each task, whatever the handler does, and the worker goes on.

use super::{Popped, ResponseQueue, Taker, WorkQueue};
use crate::codec::{Broken, Codec, Guarded, NotOneResponse, Outcome, Refusal};
use crate::config::Config;
use crate::connections::Connections;
use crate::handler::Response;
use crate::log::{error, trace};
use crate::panics::catch;
use crate::service::{Request, Service};
use crate::task::{Completion, ConnectionId, Outcomes, QUICK_LIMIT, Task};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use tracing::{Level, enabled};

/// The running workers. Dropped, they end with what is queued, and nobody waits for them.
#[derive(Debug)]
pub struct Pool {
    threads: Vec<JoinHandle<()>>,
    queue: Arc<WorkQueue<Task>>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Pool {
    /// Starts the workers that `config` asks for, and what each owns.
    ///
    /// # Errors
    /// When the system gives no more threads, or a worker cannot be started; the others have ended
    /// again.
    pub fn start<S: Service, C: Codec>(config: &Config, crew: &Crew<S, C>) -> io::Result<Pool> {
        let workers = config.workers;
        let mut pool = Pool {
            threads: Vec::with_capacity(workers),
            queue: Arc::clone(&crew.queue),
        };
        let cannot = |number: usize, kind, cause: &dyn fmt::Display| {
            let error = format!("cannot start worker {} of {workers}: {cause}", number + 1);
            io::Error::new(kind, error)
        };
        let (report, reports) = mpsc::channel();
        for number in 0..workers {
            let (crew, report) = (crew.clone(), report.clone());
            let work = move || {
                let _guard = DeathGuard(&crew.completions);
                let mut worker = Worker {
                    number,
                    crew: &crew,
                    taker: Taker::new(&crew.queue),
                    state: None,
                };
                let started = worker.start();
                let is_started = started.is_ok();
                // Nobody listens if another one could not be started.
                drop(report.send((number, started)));
                drop(report);
                if is_started {
                    worker.work();
                }
            };
            // A name with a zero byte is a panic in std.
            let name = format!("{}-{number}", config.worker_name.replace('\0', ""));
            let thread = thread::Builder::new().name(name);
            match thread.stack_size(config.worker_stack).spawn(work) {
                Ok(thread) => pool.threads.push(thread),
                Err(cause) => {
                    pool.join();
                    return Err(cannot(number, cause.kind(), &cause));
                }
            }
        }
        drop(report);
        for (number, started) in reports {
            if let Err(cause) = started {
                pool.join();
                return Err(cannot(number, io::ErrorKind::Other, &cause));
            }
        }
        Ok(pool)
    }

    /// Closes the queue and waits until every worker has ended: for as long as the longest request
    /// that is queued or runs.
    pub fn join(mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            // One that has died has said so, and the loop has ended for it.
            drop(thread.join());
        }
    }

    /// Takes the queued tasks away and leaves the workers to end by themselves.
    pub fn abandon(self) {
        drop(self.queue.abandon());
    }
}

/// Tells the loop when its worker ends by a panic: one that no handler made, so a bug of this
/// program. What the worker had in hand will never be answered.
struct DeathGuard<'a>(&'a ResponseQueue<Completion>);

impl Drop for DeathGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.report_death();
        }
    }
}

/// What all workers of a pool share.
#[derive(Debug)]
pub struct Crew<S, C> {
    pub(crate) service: Arc<S>,
    pub(crate) codec: Guarded<C>,
    /// Where tasks come from.
    pub(crate) queue: Arc<WorkQueue<Task>>,
    /// Where completions go.
    pub(crate) completions: Arc<ResponseQueue<Completion>>,
    pub(crate) connections: Arc<Connections>,
}

impl<S, C> Clone for Crew<S, C> {
    fn clone(&self) -> Crew<S, C> {
        Crew {
            service: Arc::clone(&self.service),
            codec: self.codec.clone(),
            queue: Arc::clone(&self.queue),
            completions: Arc::clone(&self.completions),
            connections: Arc::clone(&self.connections),
        }
    }
}

struct Worker<'a, S: Service, C> {
    number: usize,
    crew: &'a Crew<S, C>,
    taker: Taker<Task>,
    /// None before the start, and after a panic.
    state: Option<S::Worker>,
}

impl<S: Service, C: Codec> Worker<'_, S, C> {
    /// Makes what this worker owns.
    fn start(&mut self) -> Result<(), String> {
        let started = catch(|| self.crew.service.start(self.number));
        let started = started.map_err(|panic| format!("it panicked: {panic}"))?;
        self.state = Some(started.map_err(|cause| cause.to_string())?);
        Ok(())
    }

    fn work(mut self) {
        while let Some(Popped { task, made_room }) = self.taker.pop() {
            if made_room {
                // The loop waits for these slots: tell it now, not when the task is done.
                self.crew.completions.announce();
            }
            let completion = self.complete(task);
            self.crew.completions.push(completion);
            self.crew.completions.announce();
        }
        self.drop_state();
    }

    /// Drops what this worker owns; that may be somebody else's code, too.
    fn drop_state(&mut self) {
        let state = self.state.take();
        if let Err(panic) = catch(|| drop(state)) {
            error!(
                worker = self.number,
                panic, "what the worker owned panicked"
            );
        }
    }

    fn complete(&mut self, task: Task) -> Completion {
        let started_at = Instant::now();
        let Task { connection, run } = task;
        let codec = &self.crew.codec;
        let mut responses = Responses {
            bytes: Vec::with_capacity(run.frames.len()),
            outcomes: Outcomes::default(),
            is_last: false,
        };
        let is_traced = enabled!(Level::TRACE);
        let mut rest = &run.frames[..];
        for sequence in run.span.sequences() {
            if is_traced {
                trace!(conn = %connection, seq = %sequence, worker = self.number, "started");
            }
            let answered = self.answer(&mut rest, (connection, run.framed_at), &mut responses);
            if let Err(Fault { what, panic }) = answered {
                error!(conn = %connection, seq = %sequence, worker = self.number, panic, "{what}");
            }
            if responses.is_last {
                break;
            }
        }
        let finished_at = Instant::now();
        if is_traced {
            for sequence in run.span.sequences() {
                trace!(conn = %connection, seq = %sequence, worker = self.number,
                    working_us = micros(started_at, finished_at), "finished");
            }
        }
        let took = finished_at.duration_since(started_at);
        let is_overrun = run.is_quick && took > QUICK_LIMIT;
        Completion {
            connection,
            span: run.span,
            responses: responses.bytes,
            outcomes: responses.outcomes,
            is_last: responses.is_last,
            started_at,
            finished_at,
            overrun: is_overrun.then(|| operation_name(codec, &run.frames)),
        }
    }

    /// Answers the first request of `rest`, which leaves it: with the service's response, or after
    /// a fault with one that says so. Where the codec is broken there is none, and the connection
    /// closes.
    fn answer(
        &mut self,
        rest: &mut &[u8],
        (connection, framed_at): (ConnectionId, Instant),
        responses: &mut Responses,
    ) -> Result<(), Fault> {
        let cannot_start = match self.state {
            Some(_) => None,
            None => self.start().err(),
        };
        let Crew {
            service,
            codec,
            connections,
            ..
        } = self.crew;
        let Responses {
            bytes,
            outcomes,
            is_last,
        } = responses;
        let (guarded, codec) = (codec, codec.checked());
        let (start, is_in_service) = (bytes.len(), Cell::new(false));
        let mut request = &b""[..];
        // One catch for the codec and the service: what it was in says whose panic it is.
        let answered = catch(|| {
            let frame = codec.first(rest)?;
            *rest = &rest[frame.frame.len()..];
            request = frame.frame;
            let Some(state) = &mut self.state else {
                return Ok(Err(NotOneResponse("the worker cannot be started again")));
            };
            codec.begin(request, bytes);
            let mut response = Response::new(bytes);
            is_in_service.set(true);
            let seen = Request::new(frame.payload, connection, framed_at, connections);
            service.handle(state, &seen, &mut response);
            is_in_service.set(false);
            *is_last = response.is_last();
            Ok(codec.finish(request, bytes, start))
        });
        let (what, panic) = match answered {
            Ok(Ok(Ok(Outcome::Ok))) => {
                outcomes.ok += 1;
                return Ok(());
            }
            Ok(Ok(Ok(Outcome::Error))) => {
                outcomes.error += 1;
                return Ok(());
            }
            Ok(Ok(Err(NotOneResponse(what)))) => (what, cannot_start),
            Err(panic) if is_in_service.get() => ("the handler panicked", Some(panic)),
            Ok(Err(Broken)) => (BROKEN, None),
            Err(panic) => (BROKEN, Some(panic)),
        };
        outcomes.internal += 1;
        bytes.truncate(start);
        if what == BROKEN || guarded.refuse(Refusal::Internal, request, bytes).is_err() {
            bytes.truncate(start);
            *is_last = true;
        }
        if is_in_service.get() {
            self.drop_state();
        }
        Err(Fault { what, panic })
    }
}

/// A fault of the codec.
const BROKEN: &str = "the connection closes, for its codec is broken";

/// What the first of some requests seems to ask for, fit for a line of the log: its first word,
/// escaped and shortened.
fn operation_name(codec: &Guarded<impl Codec>, frames: &[u8]) -> Box<str> {
    const SHOWN_BYTES: usize = 32;
    let first = codec.call(|codec| codec.first(frames));
    let payload = first.map_or(&b""[..], |whole| whole.payload);
    let word = payload.split(|byte| *byte == b' ').next();
    let word = word.unwrap_or_default();
    let shown = &word[..word.len().min(SHOWN_BYTES)];
    shown.escape_ascii().to_string().into()
}

/// What becomes of the requests of one task.
struct Responses {
    bytes: Vec<u8>,
    outcomes: Outcomes,
    /// The connection closes after these.
    is_last: bool,
}

/// What a handler did instead of answering.
struct Fault {
    what: &'static str,
    panic: Option<String>,
}

fn micros(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_micros() as u64
}

#[cfg(test)]
mod tests {
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
    ) -> Crew<S, Lines> {
        Crew {
            service: Arc::new(service),
            codec: Guarded::new(Arc::new(Lines::new(65_536))),
            queue: Arc::clone(queue),
            completions: Arc::clone(completions),
            connections: Arc::default(),
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
            let crew = crew(handler, &queue, &completions);
            let pool =
                Pool::start(&Config::default().workers(workers), &crew).expect("a few threads");
            Bench {
                pool,
                queue,
                completions,
                wakes,
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

        /// The responses to so many requests, by sequence, as soon as the loop has been told of
        /// them.
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
            &crew(handler, &queue, &responses),
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
    fn what_is_called_quick_and_is_not_is_named() {
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
        assert_eq!(got[0].overrun.as_deref(), Some("n\\tap"));
        assert_eq!(got[2].overrun, None, "it may take any time");
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
}
