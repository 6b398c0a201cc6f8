//! The worker threads: take a task, run the handler, send the response back.
//!
//! Knows no sockets, and of connections only the id that it copies from task to response.
//!
//! Rule: one response for each task, whatever the handler does, and the worker goes on.

use super::batch_scheduling::become_batch;
use super::{Popped, ResponseQueue, Taker, WorkQueue};
use crate::handler::{Handler, ResponseLine, catch};
use crate::log::{error, trace};
use crate::task::{
    INLINE_BYTES, Lines, Outcomes, QUICK_LIMIT, Response, Task, find_lf, operation_name,
    split_lines,
};
use crate::wire::ErrorLine;
use std::io;
use std::sync::Arc;
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
    /// Starts `workers` threads named `worker-0`, `worker-1`, …; `batch_workers` is that of
    /// [`Config`](crate::Config).
    ///
    /// # Errors
    /// When the system gives no more threads; those started by then have ended again.
    pub fn start<H: Handler>(
        workers: usize,
        batch_workers: bool,
        handler: &Arc<H>,
        queue: &Arc<WorkQueue<Task>>,
        responses: &Arc<ResponseQueue<Response>>,
    ) -> io::Result<Pool> {
        let mut pool = Pool {
            threads: Vec::with_capacity(workers),
            queue: Arc::clone(queue),
        };
        for number in 0..workers {
            let (handler, tasks) = (Arc::clone(handler), Arc::clone(queue));
            let responses = Arc::clone(responses);
            let work = move || {
                let _guard = DeathGuard(&responses);
                if batch_workers {
                    become_batch();
                }
                let worker = Worker {
                    number,
                    handler: &*handler,
                    taker: Taker::new(&tasks),
                    responses: &responses,
                    spare: Vec::new(),
                };
                worker.work();
            };
            match thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(work)
            {
                Ok(thread) => pool.threads.push(thread),
                Err(cause) => {
                    pool.join();
                    let error = format!("cannot start worker {} of {workers}: {cause}", number + 1);
                    return Err(io::Error::new(cause.kind(), error));
                }
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
struct DeathGuard<'a>(&'a ResponseQueue<Response>);

impl Drop for DeathGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.report_death();
        }
    }
}

/// A worker keeps no spare buffer for answers that is longer.
const SPARE_BYTES: usize = 32_768;

struct Worker<'a, H> {
    number: usize,
    handler: &'a H,
    taker: Taker<Task>,
    responses: &'a ResponseQueue<Response>,
    /// Room for the next answers to quick requests.
    spare: Vec<u8>,
}

impl<H: Handler> Worker<'_, H> {
    fn work(mut self) {
        while let Some(Popped { task, made_room }) = self.taker.pop() {
            if made_room {
                // The loop waits for these slots: tell it now, not when the task is done.
                self.responses.announce();
            }
            let response = self.answer(task);
            self.responses.push(response);
            self.responses.announce();
        }
    }

    fn answer(&mut self, task: Task) -> Response {
        let started_at = Instant::now();
        let mut outcomes = Outcomes::default();
        let Task {
            connection,
            first,
            requests,
            lines: request_lines,
            is_quick,
        } = task;
        let mut lines = if is_quick {
            self.take_spare(request_lines.len())
        } else {
            Vec::new()
        };
        for (sequence, request) in first.run(requests).zip(split_lines(&request_lines)) {
            trace!(conn = %connection, seq = %sequence, worker = self.number, "started");
            let start = lines.len();
            match answer_line(self.handler, request, &mut lines) {
                Ok(()) if lines[start..].starts_with(b"OK") => outcomes.ok += 1,
                Ok(()) => outcomes.error += 1,
                Err(Fault { what, panic }) => {
                    error!(conn = %connection, seq = %sequence, worker = self.number, panic, "{what}");
                    lines.truncate(start);
                    ErrorLine::Internal.append_to(&mut lines);
                    outcomes.internal += 1;
                }
            }
            lines.push(b'\n');
        }
        let finished_at = Instant::now();
        if enabled!(Level::TRACE) {
            for sequence in first.run(requests) {
                trace!(conn = %connection, seq = %sequence, worker = self.number,
                    working_us = micros(started_at, finished_at), "finished");
            }
        }
        let is_overrun = is_quick && finished_at.duration_since(started_at) > QUICK_LIMIT;
        let first_request = || split_lines(&request_lines).next().unwrap_or_default();
        let overrun = is_overrun.then(|| operation_name(first_request()));
        Response {
            connection,
            first,
            requests,
            lines: self.pack(lines, request_lines, is_quick),
            outcomes,
            started_at,
            finished_at,
            overrun,
        }
    }

    /// The answers as they travel. A quick task leaves its worker a buffer: that of the answers, if
    /// they are short, or that of its requests.
    fn pack(&mut self, lines: Vec<u8>, request_lines: Lines, is_quick: bool) -> Lines {
        let (lines, buffer) = if lines.len() <= INLINE_BYTES {
            (Lines::from_slice(&lines), lines)
        } else {
            (Lines::from_vec(lines), request_lines.into_vec())
        };
        if is_quick {
            self.spare = buffer;
        }
        lines
    }

    /// An empty buffer for answers to `request_bytes` of quick requests. Not one that is far
    /// larger: answers may have to wait, and the bounds count what is in them.
    fn take_spare(&mut self, request_bytes: usize) -> Vec<u8> {
        let mut lines = std::mem::take(&mut self.spare);
        if lines.capacity() > (2 * request_bytes).clamp(4 * INLINE_BYTES, SPARE_BYTES) {
            lines = Vec::new();
        }
        lines.clear();
        lines.reserve(request_bytes);
        lines
    }
}

/// What a handler did instead of answering.
struct Fault {
    what: &'static str,
    panic: Option<String>,
}

/// Appends the handler's answer to `lines`; after a fault there may be a part of one.
fn answer_line<H: Handler>(handler: &H, request: &[u8], lines: &mut Vec<u8>) -> Result<(), Fault> {
    let start = lines.len();
    let (what, panic) = match catch(|| handler.handle(request, &mut ResponseLine::new(lines))) {
        Ok(()) if find_lf(&lines[start..]).is_none() => return Ok(()),
        Ok(()) => ("the handler wrote more than one line", None),
        Err(text) => ("the handler panicked", Some(text)),
    };
    Err(Fault { what, panic })
}

fn micros(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::QueueOrder;
    use crate::task::{ConnectionId, Sequence};
    use std::sync::{Mutex, PoisonError, mpsc};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A pool, and the loop's end of its queues.
    struct Bench {
        pool: Pool,
        queue: Arc<WorkQueue<Task>>,
        responses: Arc<ResponseQueue<Response>>,
        wakes: mpsc::Receiver<()>,
        /// Requests that were pushed.
        requests: usize,
        /// How those fared that were answered.
        outcomes: Outcomes,
    }

    impl Bench {
        fn new<H: Handler>(workers: usize, handler: H) -> Bench {
            let queue = Arc::new(WorkQueue::new(2000, QueueOrder::Fair));
            let (wake, wakes) = mpsc::channel();
            let responses = Arc::new(ResponseQueue::new(move || {
                wake.send(()).expect("the test listens")
            }));
            let pool = Pool::start(
                workers,
                false,
                &Arc::new(handler),
                &queue,
                &responses,
            )
            .expect("a few threads");
            Bench {
                pool,
                queue,
                responses,
                wakes,
                requests: 0,
                outcomes: Outcomes::default(),
            }
        }

        /// Pushes a task for each of `runs`, all at once.
        fn push(&mut self, is_quick: bool, runs: &[&[&str]]) {
            self.queue.push_while_room(Instant::now(), |room| {
                for (flow, run) in runs.iter().enumerate() {
                    let lines = run.iter().map(|line| format!("{line}\n"));
                    let task = Task {
                        connection: ConnectionId::new(1, 0),
                        first: Sequence(self.requests as u64 + 1),
                        requests: run.len(),
                        lines: lines.collect::<String>().into_bytes().into(),
                        is_quick,
                    };
                    room.push(flow, run.len(), is_quick, task);
                    self.requests += run.len();
                }
            });
        }

        /// The responses to so many requests, by sequence, as soon as the loop has been told of
        /// them.
        fn responses(&mut self, requests: usize) -> Vec<Response> {
            let (mut got, mut count) = (Vec::new(), 0);
            while count < requests {
                if self.responses.fall_asleep() {
                    self.wakes
                        .recv_timeout(PATIENCE)
                        .expect("every request gets a response");
                }
                self.responses.drain(|response| {
                    self.outcomes.ok += response.outcomes.ok;
                    self.outcomes.error += response.outcomes.error;
                    self.outcomes.internal += response.outcomes.internal;
                    count += response.requests;
                    got.push(response);
                });
            }
            got.sort_by_key(|response| response.first);
            got
        }
    }

    /// What a pool of three answers: how the requests fared, and the lines of each run.
    fn answers(is_quick: bool, runs: &[&[&str]]) -> (Outcomes, Vec<String>) {
        let mut bench = Bench::new(3, handler);
        bench.push(is_quick, runs);
        let got = bench.responses(bench.requests);
        bench.pool.join();
        assert!(got.iter().map(|response| response.first.0).is_sorted());
        let text = |response: Response| String::from_utf8(response.lines.to_vec()).expect("ASCII");
        (bench.outcomes, got.into_iter().map(text).collect())
    }

    fn handler(request: &[u8], response: &mut ResponseLine<'_>) {
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
        let pool = Pool::start(1, false, &Arc::new(handler), &queue, &responses)
            .expect("a thread");
        assert!(responses.fall_asleep() && !responses.has_death());
        queue.push_while_room(Instant::now(), |room| {
            let task = Task {
                connection: ConnectionId::new(1, 0),
                first: Sequence(1),
                requests: 1,
                lines: b"OK\n"[..].into(),
                is_quick: false,
            };
            room.push(0, 1, false, task);
        });
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
    fn short_answers_do_not_keep_the_buffers_of_long_requests() {
        let long = "x".repeat(4000);
        let mut bench = Bench::new(1, handler);
        bench.push(true, &[&[&long], &["ERR short"], &["ERR again"]]);
        let got = bench.responses(3);
        bench.pool.join();
        let kept: Vec<_> = got
            .iter()
            .map(|response| response.lines.capacity())
            .collect();
        assert!(kept[1] < 40 && kept[2] < 40, "{kept:?}");
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
        let handler = |request: &[u8], response: &mut ResponseLine<'_>| {
            if request.starts_with(b"n\tap") {
                thread::sleep(2 * QUICK_LIMIT);
            }
            response.push(b"OK");
        };
        let mut bench = Bench::new(1, handler);
        bench.push(true, &[&["n\tap now", "then"], &["no"]]);
        bench.push(false, &[&["n\tap"]]);
        let got = bench.responses(4);
        bench.pool.join();
        assert_eq!(got[0].overrun.as_deref(), Some("n\\tap"));
        assert_eq!(got[2].overrun, None, "it may take any time");
    }

    // When the loop is told.

    /// One worker, which stops at each request `wait` until it is let go on.
    fn gated() -> (Bench, mpsc::Sender<()>) {
        let (go_on, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let bench = Bench::new(1, move |request: &[u8], response: &mut ResponseLine<'_>| {
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
        assert_eq!(bench.responses(3).len(), 2);
        go_on.send(()).expect("the worker waits");
        assert_eq!(bench.responses(1).len(), 1);
        bench.pool.join();
    }
}
