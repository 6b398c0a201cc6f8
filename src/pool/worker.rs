//! The worker threads: take a task, run the handler, send the response back.
//!
//! Knows no sockets, and of connections only the id that it copies from task to response.
//!
//! Rule: one response for each task, whatever the handler does, and the worker goes on.

use super::{Popped, ResponseQueue, Taker, WorkQueue};
use crate::handler::{Handler, ResponseLine, catch};
use crate::task::{Batch, Outcomes, Response, Task, split_lines};
use crate::wire::ErrorLine;
use memchr::memchr;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;
#[cfg(target_os = "linux")]
use tracing::debug;
use tracing::{Level, enabled, error, trace};

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
    /// Starts `workers` threads named `worker-0`, `worker-1`, …
    ///
    /// # Errors
    /// When the system gives no more threads; those started by then have ended again.
    pub fn start<H: Handler>(
        workers: usize,
        handler: &Arc<H>,
        queue: &Arc<WorkQueue<Task>>,
        responses: &Arc<ResponseQueue<Batch>>,
    ) -> io::Result<Pool> {
        let mut pool = Pool {
            threads: Vec::with_capacity(workers),
            queue: Arc::clone(queue),
        };
        for number in 0..workers {
            let (handler, tasks) = (Arc::clone(handler), Arc::clone(queue));
            let responses = Arc::clone(responses);
            let work = move || {
                let_the_loop_go_first();
                let worker = Worker {
                    number,
                    handler: &*handler,
                    queue: &tasks,
                    taker: Taker::default(),
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

    /// Closes the queue and waits until every worker has ended: for as long as the longest request that
    /// is queued or runs.
    pub fn join(mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            thread
                .join()
                .expect("a worker catches the panics of its handler");
        }
    }

    /// Takes the queued tasks away and leaves the workers to end by themselves.
    pub fn abandon(self) {
        drop(self.queue.abandon());
    }
}

/// Asks the scheduler not to interrupt the loop for the worker that it has just woken: the loop is about to
/// sleep anyway, and has more to hand out by then (`SCHED_BATCH`, sched(7)).
///
/// Only where the policy is the usual one: whoever started the program under another knows why.
#[cfg(target_os = "linux")]
fn let_the_loop_go_first() {
    use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, get_scheduler, set_scheduler};
    let this = Pid::current_thread();
    let is_usual = get_scheduler(this).is_ok_and(|policy| policy == Scheduler::SCHED_NORMAL);
    if is_usual
        && let Err(cause) = set_scheduler(
            this,
            Scheduler::SCHED_BATCH,
            SchedulerParams { priority: 0 },
        )
    {
        debug!(%cause, "a worker stays under the usual scheduling policy");
    }
}

#[cfg(not(target_os = "linux"))]
fn let_the_loop_go_first() {}

/// A worker keeps no spare buffer for answers that is longer.
const SPARE_BYTES: usize = 32_768;

struct Worker<'a, H> {
    number: usize,
    handler: &'a H,
    queue: &'a WorkQueue<Task>,
    taker: Taker,
    responses: &'a ResponseQueue<Batch>,
    /// The lines of the last quick task, which have been answered: room for the next answers.
    spare: Vec<u8>,
}

impl<H: Handler> Worker<'_, H> {
    fn work(mut self) {
        while let Some(Popped { tasks, made_room }) = self.queue.pop(&mut self.taker) {
            if made_room {
                // The loop waits for these slots: tell it now, not when the task is done.
                self.responses.announce();
            }
            let batch = self.run(tasks);
            self.taker.worked_for(batch.finished_at - batch.started_at);
            self.responses.push(batch);
            self.responses.announce();
        }
    }

    fn run(&mut self, tasks: Vec<Task>) -> Batch {
        let started_at = Instant::now();
        let mut responses = Vec::with_capacity(tasks.len());
        for task in tasks {
            responses.push(self.answer(task, started_at));
        }
        let finished_at = Instant::now();
        if enabled!(Level::TRACE) {
            self.trace_finished(&responses, started_at, finished_at);
        }
        Batch {
            responses,
            started_at,
            finished_at,
        }
    }

    fn answer(&mut self, task: Task, started_at: Instant) -> Response {
        let Task {
            connection,
            first,
            requests,
            lines: request_lines,
            is_quick,
            queued_at,
        } = task;
        let mut outcomes = Outcomes::default();
        let mut lines = if is_quick {
            self.take_spare(request_lines.len())
        } else {
            Vec::new()
        };
        for (sequence, request) in first.run(requests).zip(split_lines(&request_lines)) {
            trace!(conn = %connection, seq = %sequence, worker = self.number,
                waiting_us = micros(queued_at, started_at), "started");
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
        if is_quick {
            self.spare = request_lines;
        }
        Response {
            connection,
            first,
            lines,
            outcomes,
            queued_at,
        }
    }

    /// An empty buffer for answers to `request_bytes` of quick requests. Not one that is far larger: answers may
    /// have to wait, and the bounds count what is in them.
    fn take_spare(&mut self, request_bytes: usize) -> Vec<u8> {
        let mut lines = std::mem::take(&mut self.spare);
        if lines.capacity() > (2 * request_bytes).min(SPARE_BYTES) {
            lines = Vec::new();
        }
        lines.clear();
        lines.reserve(request_bytes);
        lines
    }

    fn trace_finished(&self, responses: &[Response], started_at: Instant, finished_at: Instant) {
        for response in responses {
            for sequence in response.first.run(response.outcomes.requests()) {
                trace!(conn = %response.connection, seq = %sequence, worker = self.number,
                    working_us = micros(started_at, finished_at), "finished");
            }
        }
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
        Ok(()) if memchr(b'\n', &lines[start..]).is_none() => return Ok(()),
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
    use crate::pool::work_queue::QUICK_BATCH;
    use crate::task::{ConnectionId, Sequence};
    use std::sync::{Barrier, Mutex, mpsc};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A pool, and the loop's end of its queues.
    struct Bench {
        pool: Pool,
        queue: Arc<WorkQueue<Task>>,
        responses: Arc<ResponseQueue<Batch>>,
        wakes: mpsc::Receiver<()>,
        /// Requests that were pushed.
        requests: usize,
    }

    impl Bench {
        fn new<H: Handler>(workers: usize, handler: H) -> Bench {
            let queue = Arc::new(WorkQueue::new(2000, QueueOrder::Fair));
            let (wake, wakes) = mpsc::channel();
            let responses = Arc::new(ResponseQueue::new(move || {
                wake.send(()).expect("the test listens")
            }));
            let pool = Pool::start(workers, &Arc::new(handler), &queue, &responses)
                .expect("a few threads");
            Bench {
                pool,
                queue,
                responses,
                wakes,
                requests: 0,
            }
        }

        /// Pushes a task for each of `runs`, all at once.
        fn push(&mut self, is_quick: bool, runs: &[&[&str]]) {
            self.queue.push_while_room(|room| {
                for (flow, run) in runs.iter().enumerate() {
                    let lines = run.iter().map(|line| format!("{line}\n"));
                    let task = Task {
                        connection: ConnectionId::new(1, 0),
                        first: Sequence(self.requests as u64 + 1),
                        requests: run.len(),
                        lines: lines.collect::<String>().into_bytes(),
                        is_quick,
                        queued_at: Instant::now(),
                    };
                    room.push(flow, run.len(), is_quick, task);
                    self.requests += run.len();
                }
            });
        }

        /// The responses to so many requests, by sequence, as soon as the loop has been told of them.
        fn responses(&self, requests: usize) -> Vec<Response> {
            let (mut got, mut count) = (Vec::new(), 0);
            while count < requests {
                self.wakes
                    .recv_timeout(PATIENCE)
                    .expect("every request gets a response");
                self.responses.drain(|batch| {
                    for response in batch.responses {
                        count += response.outcomes.requests();
                        got.push(response);
                    }
                });
            }
            got.sort_by_key(|response| response.first);
            got
        }
    }

    /// What a pool of three answers: the outcomes of each run, and its lines.
    fn answers(is_quick: bool, runs: &[&[&str]]) -> Vec<(Outcomes, String)> {
        let mut bench = Bench::new(3, handler);
        bench.push(is_quick, runs);
        let got = bench.responses(bench.requests);
        bench.pool.join();
        assert!(got.iter().map(|response| response.first.0).is_sorted());
        let text = |lines| String::from_utf8(lines).expect("ASCII");
        got.into_iter()
            .map(|response| (response.outcomes, text(response.lines)))
            .collect()
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

    const OK: Outcomes = Outcomes {
        ok: 1,
        error: 0,
        internal: 0,
    };
    const ERROR: Outcomes = Outcomes {
        ok: 0,
        error: 1,
        internal: 0,
    };
    const INTERNAL: Outcomes = Outcomes {
        ok: 0,
        error: 0,
        internal: 1,
    };

    #[test]
    fn every_task_gets_exactly_one_line_whatever_its_handler_does() {
        let expected = [
            ("OK 1", OK, "OK 1\n"),
            ("panic", INTERNAL, "ERR internal error\n"),
            ("two lines", INTERNAL, "ERR internal error\n"),
            ("nothing", ERROR, "\n"),
            ("ERR no", ERROR, "ERR no\n"),
            ("OK 2", OK, "OK 2\n"),
        ];
        let runs = expected.map(|(request, ..)| [request]);
        let runs: Vec<&[&str]> = runs.iter().map(|run| &run[..]).collect();
        let expected = expected.map(|(_, outcomes, line)| (outcomes, line.to_owned()));
        assert_eq!(answers(false, &runs), expected);
        assert_eq!(answers(true, &runs), expected);
    }

    #[test]
    fn a_run_is_answered_line_by_line() {
        let got = answers(true, &[&["OK a", "", "OK b", "ERR c"], &["OK d"]]);
        let outcomes = Outcomes {
            ok: 2,
            error: 2,
            internal: 0,
        };
        let expected = [
            (outcomes, "OK a\n\nOK b\nERR c\n".to_owned()),
            (OK, "OK d\n".to_owned()),
        ];
        assert_eq!(got, expected);
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
        let outcomes = Outcomes {
            ok: 2,
            error: 1,
            internal: 4,
        };
        let internal = "ERR internal error\n";
        let lines = format!("{internal}OK a\n{internal}{internal}\nOK b\n{internal}");
        assert_eq!(got, [(outcomes, lines)]);
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
            let got = answers(is_quick, &requests);
            assert_eq!(got.len(), 900);
            for (n, (outcomes, _)) in got.iter().enumerate() {
                let expected = if n % 3 == 0 { OK } else { INTERNAL };
                assert_eq!(*outcomes, expected, "request {n}");
            }
        }
    }

    #[test]
    fn quick_requests_that_take_their_time_get_a_second_worker() {
        let both = Barrier::new(2);
        let mut bench = Bench::new(2, move |request: &[u8], response: &mut ResponseLine<'_>| {
            match request {
                b"meet" => drop(both.wait()),
                _ => thread::sleep(Duration::from_millis(1)),
            }
            response.push(b"OK");
        });
        let mut runs = vec![&["nap"][..]; QUICK_BATCH];
        runs.extend([&["meet"][..]; 2 * QUICK_BATCH]);
        for _ in 0..3 {
            bench.push(true, &runs);
            assert_eq!(bench.responses(runs.len()).len(), runs.len());
        }
        bench.pool.join();
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
    fn all_quick_answers_are_announced() {
        let (mut bench, _) = gated();
        for runs in [1, QUICK_BATCH - 1, QUICK_BATCH + 1, 2 * QUICK_BATCH + 3] {
            bench.push(true, &vec![&["a", "b"][..]; runs]);
            assert_eq!(bench.responses(2 * runs).len(), runs);
        }
        bench.pool.join();
    }

    #[test]
    fn quick_answers_do_not_wait_for_a_slow_request() {
        let (mut bench, go_on) = gated();
        // The first one stops the worker until all are queued.
        bench.push(true, &[&["wait"]]);
        bench.push(true, &[&["a", "b"], &["c"]]);
        bench.push(false, &[&["wait"]]);
        go_on.send(()).expect("the worker waits");
        assert_eq!(bench.responses(1 + 3).len(), 3);
        go_on.send(()).expect("the worker waits");
        assert_eq!(bench.responses(1).len(), 1);
        bench.pool.join();
    }

    #[test]
    fn the_loop_hears_of_some_quick_answers_while_the_worker_has_more_to_do() {
        let (mut bench, go_on) = gated();
        let mut runs = vec![&["a"][..]; QUICK_BATCH];
        runs.push(&["wait"]);
        bench.push(true, &runs);
        assert_eq!(bench.responses(QUICK_BATCH).len(), QUICK_BATCH);
        go_on.send(()).expect("the worker waits");
        assert_eq!(bench.responses(1).len(), 1);
        bench.pool.join();
    }
}
