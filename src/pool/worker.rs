//! The worker threads: take a task, run the handler, send the response back.
//!
//! Knows no sockets, and of connections only the id that it copies from task to response.
//!
//! Rule: one response for each task, whatever the handler does, and the worker goes on.

use super::{ResponseQueue, WorkQueue};
use crate::handler::{Handler, ResponseLine};
use crate::task::{Outcome, Response, Task};
use crate::wire::ErrorLine;
use memchr::memchr;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
        handler: H,
        queue: &Arc<WorkQueue<Task>>,
        responses: &Arc<ResponseQueue<Response>>,
    ) -> io::Result<Pool> {
        let handler = Arc::new(handler);
        let mut pool = Pool {
            threads: Vec::with_capacity(workers),
            queue: Arc::clone(queue),
        };
        for number in 0..workers {
            let (handler, tasks) = (Arc::clone(&handler), Arc::clone(queue));
            let responses = Arc::clone(responses);
            let work = move || work(number, &*handler, &tasks, &responses);
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

fn work<H: Handler>(
    worker: usize,
    handler: &H,
    queue: &WorkQueue<Task>,
    responses: &ResponseQueue<Response>,
) {
    while let Some(popped) = queue.pop() {
        if popped.made_room {
            // The loop waits for this slot: tell it now, not when the task is done.
            responses.announce();
        }
        responses.push(run(worker, handler, popped.task));
    }
}

fn run<H: Handler>(worker: usize, handler: &H, task: Task) -> Response {
    let Task {
        connection,
        sequence,
        line: request,
        queued_at,
    } = task;
    let started_at = Instant::now();
    trace!(conn = %connection, seq = %sequence, worker,
        waiting_us = micros(queued_at, started_at), "started");
    let mut line = Vec::new();
    let answer = || handler.handle(&request, &mut ResponseLine::new(&mut line));
    // A handler is told in its contract that it is used again after a panic.
    let outcome = match catch_unwind(AssertUnwindSafe(answer)) {
        Ok(()) if memchr(b'\n', &line).is_some() => {
            error!(conn = %connection, seq = %sequence, "the handler wrote more than one line");
            Outcome::Internal
        }
        Ok(()) if line.starts_with(b"OK") => Outcome::Ok,
        Ok(()) => Outcome::Error,
        Err(panic) => {
            error!(conn = %connection, seq = %sequence, worker,
                panic = panic_text(&*panic), "the handler panicked");
            drop_panic(panic);
            Outcome::Internal
        }
    };
    if outcome == Outcome::Internal {
        line.clear();
        ErrorLine::Internal.append_to(&mut line);
    }
    line.push(b'\n');
    let finished_at = Instant::now();
    trace!(conn = %connection, seq = %sequence, worker,
        working_us = micros(started_at, finished_at), "finished");
    Response {
        connection,
        sequence,
        line,
        outcome,
        queued_at,
        started_at,
        finished_at,
    }
}

fn micros(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_micros() as u64
}

/// What a panic says, fit for a line of the log: it may hold bytes of the client.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    const SHOWN_CHARS: usize = 200;
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("not a text");
    text.chars()
        .take(SHOWN_CHARS)
        .flat_map(char::escape_debug)
        .collect()
}

/// Drops what a panic carried. That may panic in turn, and what such a panic carries is kept for good.
fn drop_panic(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
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
