//! The worker threads: take a task, run the handler, send the response back.
//!
//! Knows no sockets, and of connections only the id that it copies from task to response.
//!
//! Rule: one response for each task, whatever the handler does, and the worker goes on.

use super::{Popped, ResponseQueue, Taker, WorkQueue};
use crate::handler::{Handler, ResponseLine, catch};
use crate::task::{Outcomes, Response, Task, split_lines};
use crate::wire::ErrorLine;
use memchr::memchr;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;
use tracing::{error, trace};

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
                let worker = Worker {
                    number,
                    handler: &*handler,
                    queue: &tasks,
                    taker: Taker::default(),
                    responses: &responses,
                    held_back: 0,
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

/// Looks for a task so often, and yields in between, before it waits for one: while requests keep
/// coming, that is cheaper than to fall asleep and be woken.
const LOOKS: usize = 4;

/// The loop hears of so many tasks with quick requests at once.
const HELD_BACK: usize = 16;

struct Worker<'a, H> {
    number: usize,
    handler: &'a H,
    queue: &'a WorkQueue<Task>,
    taker: Taker,
    responses: &'a ResponseQueue<Response>,
    /// Responses that have been pushed and not announced.
    held_back: usize,
}

impl<H: Handler> Worker<'_, H> {
    fn work(mut self) {
        while let Some(Popped { task, made_room }) = self.next() {
            if made_room {
                // The loop waits for these slots: tell it now, not when the task is done.
                self.responses.announce();
                self.held_back = 0;
            }
            let is_quick = task.is_quick;
            if !is_quick {
                self.announce();
            }
            self.responses.push(run(self.number, self.handler, task));
            self.held_back += 1;
            if !is_quick || self.held_back == HELD_BACK {
                self.announce();
            }
        }
    }

    /// The next task. Nothing is held back while this waits.
    fn next(&mut self) -> Option<Popped<Task>> {
        for _ in 0..LOOKS {
            if let Some(popped) = self.queue.try_pop(&mut self.taker) {
                return Some(popped);
            }
            self.announce();
            thread::yield_now();
        }
        self.queue.pop(&mut self.taker)
    }

    fn announce(&mut self) {
        if self.held_back > 0 {
            self.responses.announce();
            self.held_back = 0;
        }
    }
}

fn run<H: Handler>(worker: usize, handler: &H, task: Task) -> Response {
    let Task {
        connection,
        first,
        queued_at,
        ..
    } = task;
    let started_at = Instant::now();
    let mut outcomes = Outcomes::default();
    let mut lines = Vec::with_capacity(if task.is_quick { task.lines.len() } else { 0 });
    for (sequence, request) in first.run(task.requests).zip(split_lines(&task.lines)) {
        trace!(conn = %connection, seq = %sequence, worker,
            waiting_us = micros(queued_at, started_at), "started");
        let start = lines.len();
        match answer(handler, request, &mut lines) {
            Ok(()) if lines[start..].starts_with(b"OK") => outcomes.ok += 1,
            Ok(()) => outcomes.error += 1,
            Err(Fault { what, panic }) => {
                error!(conn = %connection, seq = %sequence, worker, panic, "{what}");
                lines.truncate(start);
                ErrorLine::Internal.append_to(&mut lines);
                outcomes.internal += 1;
            }
        }
        lines.push(b'\n');
    }
    let finished_at = Instant::now();
    for sequence in first.run(task.requests) {
        trace!(conn = %connection, seq = %sequence, worker,
            working_us = micros(started_at, finished_at), "finished");
    }
    Response {
        connection,
        first,
        lines,
        outcomes,
        queued_at,
        started_at,
        finished_at,
    }
}

/// What a handler did instead of answering.
struct Fault {
    what: &'static str,
    panic: Option<String>,
}

/// Appends the handler's answer to `lines`; after a fault there may be a part of one.
fn answer<H: Handler>(handler: &H, request: &[u8], lines: &mut Vec<u8>) -> Result<(), Fault> {
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
    use crate::task::{ConnectionId, Sequence};
    use std::sync::mpsc;
    use std::time::Duration;

    /// Runs the requests on a pool of three; the responses by sequence.
    fn answers<H: Handler>(handler: H, requests: &[&str]) -> Vec<(Outcome, String)> {
        let queue = Arc::new(WorkQueue::new(1000, QueueOrder::Fair));
        let (wake, wakes) = mpsc::channel();
        let responses = Arc::new(ResponseQueue::new(move || {
            wake.send(()).expect("the test listens")
        }));
        let pool = Pool::start(3, handler, &queue, &responses).expect("three threads");
        let mut tasks = requests.iter().enumerate().map(|(n, line)| {
            let task = Task {
                connection: ConnectionId::new(1, 0),
                sequence: Sequence(n as u64),
                line: line.as_bytes().to_vec(),
                queued_at: Instant::now(),
            };
            (0, task)
        });
        queue.push_while_room(|| tasks.next());
        let mut got = Vec::new();
        while got.len() < requests.len() {
            wakes
                .recv_timeout(Duration::from_secs(10))
                .expect("every task gets a response");
            responses.drain(|response| got.push(response));
        }
        pool.join();
        got.sort_by_key(|response| response.sequence);
        let text = |line| String::from_utf8(line).expect("ASCII");
        got.into_iter()
            .map(|response| (response.outcome, text(response.line)))
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

    #[test]
    fn every_task_gets_exactly_one_line_whatever_its_handler_does() {
        let got = answers(
            handler,
            &["OK 1", "panic", "two lines", "nothing", "ERR no", "OK 2"],
        );
        let internal = (Outcome::Internal, "ERR internal error\n".to_owned());
        let expected = [
            (Outcome::Ok, "OK 1\n".to_owned()),
            internal.clone(),
            internal,
            (Outcome::Error, "\n".to_owned()),
            (Outcome::Error, "ERR no\n".to_owned()),
            (Outcome::Ok, "OK 2\n".to_owned()),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn workers_go_on_after_hundreds_of_panics() {
        let requests: Vec<&str> = (0..900)
            .map(|n| if n % 3 == 0 { "OK" } else { "panic" })
            .collect();
        let got = answers(handler, &requests);
        for (n, (outcome, _)) in got.iter().enumerate() {
            assert_eq!(*outcome == Outcome::Ok, n % 3 == 0, "request {n}");
        }
    }
}
