//! The worker threads: take a task, run the handler, send the response back.
//!
//! Knows no sockets, and of connections only the id that it copies from task to response.
//!
//! Rule: one response for each task, whatever the handler does, and the worker goes on.

use super::{Board, Popped, ResponseQueue, Running, Taker, WorkQueue};
use crate::codec::{Broken, Codec, Guarded, NotOneResponse, Outcome, Refusal};
use crate::config::Config;
use crate::connections::Connections;
use crate::handler::Response;
use crate::log::{debug, error, trace};
use crate::panics::catch;
use crate::service::{Request, Service};
use crate::task::{Completion, ConnectionId, Outcomes, QUICK_LIMIT, Task};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
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
                    spare: Vec::new(),
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
    /// Has a line for each worker.
    pub(crate) board: Arc<Board>,
}

impl<S, C> Clone for Crew<S, C> {
    fn clone(&self) -> Crew<S, C> {
        Crew {
            service: Arc::clone(&self.service),
            codec: self.codec.clone(),
            queue: Arc::clone(&self.queue),
            completions: Arc::clone(&self.completions),
            connections: Arc::clone(&self.connections),
            board: Arc::clone(&self.board),
        }
    }
}

struct Worker<'a, S: Service, C> {
    number: usize,
    crew: &'a Crew<S, C>,
    taker: Taker<Task>,
    /// None before the start, and after a panic.
    state: Option<S::Worker>,
    /// Empty: the memory in which the responses to the next task are written.
    spare: Vec<u8>,
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
        let running = Running {
            connection,
            span: run.span,
            started_at,
        };
        self.crew.board.start(self.number, running);
        let codec = &self.crew.codec;
        let mut responses = Responses {
            bytes: mem::take(&mut self.spare),
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
        self.crew.board.finish(self.number, finished_at);
        if is_traced {
            for sequence in run.span.sequences() {
                trace!(conn = %connection, seq = %sequence, worker = self.number,
                    working_us = micros(started_at, finished_at), "finished");
            }
        }
        let took = finished_at.duration_since(started_at);
        let is_overrun = run.is_quick && took > QUICK_LIMIT;
        if is_overrun {
            debug!(conn = %connection, seq = %run.span.first, operation = %operation_name(codec, &run.frames),
                took_ms = took.as_millis() as u64, "not quick");
        }
        Completion {
            connection,
            span: run.span,
            responses: self.pack(responses.bytes, run.frames),
            outcomes: responses.outcomes,
            is_last: responses.is_last,
            worker: self.number,
            started_at,
            finished_at,
            is_overrun,
        }
    }

    /// Puts responses into the memory of their requests, if they about fill it. So it returns to
    /// the thread that it came from: an allocator gives back cheaply only what is its thread's
    /// own.
    ///
    /// Otherwise they keep the memory in which they were written, if they about fill that, or get
    /// their own. They may wait long for their turn, and the bound on memory counts their bytes.
    fn pack(&mut self, mut responses: Vec<u8>, mut frames: Vec<u8>) -> Vec<u8> {
        let about_fill = |capacity: usize| (capacity / 2..=capacity).contains(&responses.len());
        let is_spare = responses.capacity() <= SPARE_BYTES;
        let packed = if is_spare && about_fill(frames.capacity()) {
            frames.clear();
            frames.extend_from_slice(&responses);
            frames
        } else if about_fill(responses.capacity()) {
            return responses;
        } else {
            responses.to_vec()
        };
        if is_spare {
            responses.clear();
            self.spare = responses;
        }
        packed
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
            let closes = response.is_last();
            *is_last = closes;
            Ok(codec.finish(request, bytes, start, closes))
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
            *is_last = true;
        }
        if is_in_service.get() {
            self.drop_state();
        }
        Err(Fault { what, panic })
    }
}

/// The most memory that a worker keeps between two tasks. More than a run takes, see `RUN_BYTES`.
const SPARE_BYTES: usize = 64 << 10;

/// A fault of the codec.
const BROKEN: &str = "the connection closes, for its codec is broken";

/// What the first of some requests seems to ask for, fit for a line of the log: its first word,
/// escaped and shortened.
fn operation_name(codec: &Guarded<impl Codec>, frames: &[u8]) -> String {
    const SHOWN_BYTES: usize = 32;
    let first = codec.call(|codec| codec.first(frames));
    let payload = first.map_or(&b""[..], |whole| whole.payload);
    let word = payload.split(|byte| *byte == b' ').next();
    let word = word.unwrap_or_default();
    let shown = &word[..word.len().min(SHOWN_BYTES)];
    shown.escape_ascii().to_string()
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
mod tests;
