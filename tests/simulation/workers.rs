//! The stand-in for the workers: each does what src/pool/worker.rs does, one call at a time.
//!
//! Knows the two queues and the operations; of what a worker took, the oracles are told.
//!
//! Rule: a step is what a worker does between two points at which the loop could come in between.

use super::{Undrained, World};
use crate::answers;
use reactor_pool::codec::{Frame, NotOneResponse, Notes, Outcome, Refusal};
use reactor_pool::pool::{Popped, Taker, WorkQueue};
use reactor_pool::task::{Completion, Outcomes, Task};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Worker {
    taker: Taker<Task>,
    state: State,
}

enum State {
    /// It looked for a task, found none and sleeps until it is called.
    Parked,
    /// It is about to look for a task.
    Looking,
    Running {
        task: Task,
        started_at: Instant,
    },
    /// It has pushed a response that has to be announced before anything else.
    Announcing,
}

impl Worker {
    pub(super) fn new(queue: &Arc<WorkQueue<Task>>) -> Worker {
        Worker {
            taker: Taker::new(queue),
            state: State::Looking,
        }
    }

    pub(super) fn is_parked(&self) -> bool {
        matches!(self.state, State::Parked)
    }

    /// Requests in its hands.
    pub(super) fn running(&self) -> usize {
        match &self.state {
            State::Running { task, .. } => task.run.span.requests,
            State::Parked | State::Looking | State::Announcing => 0,
        }
    }

    /// It is about to announce what it has pushed.
    pub(super) fn is_announcing(&self) -> bool {
        matches!(self.state, State::Announcing)
    }
}

impl World {
    /// One worker does the next thing that it has to do.
    pub(super) fn worker_acts(&mut self) {
        let at = self.random.below(self.workers.len());
        let looking = std::mem::replace(&mut self.workers[at].state, State::Looking);
        match looking {
            // Any of those that sleep may be the one that is called; and a sleep may end for no
            // reason.
            State::Parked if self.queue.parking().woken() == 0 => {
                if self.random.percent(2) {
                    self.gone.woken_for_nothing += 1;
                    self.worker_looks(at);
                } else {
                    self.workers[at].state = State::Parked;
                }
            }
            State::Parked | State::Looking => self.worker_looks(at),
            State::Running { task, started_at } => self.worker_finishes(at, task, started_at),
            State::Announcing => {
                self.steps += 1;
                self.completions.announce();
                self.workers[at].state = State::Looking;
            }
        }
    }

    fn worker_looks(&mut self, at: usize) {
        self.steps += 1;
        let Some(Popped { task, made_room }) = self.workers[at].taker.try_pop() else {
            assert!(self.queued.is_empty(), "promise 1: a queued task is lost");
            self.note(|| format!("worker {at} finds nothing"));
            self.workers[at].state = State::Parked;
            return;
        };
        if made_room {
            self.completions.announce();
        }
        self.started(&task);
        self.note(|| {
            format!(
                "worker {at} takes {:?} {} and {} more, made room: {made_room}",
                task.connection,
                task.run.span.first,
                task.run.span.requests - 1
            )
        });
        self.workers[at].state = State::Running {
            task,
            started_at: self.now,
        };
    }

    /// Promises 6 and 7: whose task this is, and whose turn it was.
    fn started(&mut self, task: &Task) {
        let (id, span) = (task.connection, task.run.span);
        let first = span.first.0;
        let mut queued = self.queued.iter();
        let place = queued.position(|(run, _)| (run.id, run.first) == (id, first));
        let place = place.expect("promise 6: a worker took what is not queued any more");
        let (run, _) = self.queued.remove(place).expect("it was found just now");
        assert_eq!(run.requests, span.requests, "a task changed in the queue");
        if self.settings.is_fair() {
            for (_, other) in self.oracles_mut().filter(|(other, _)| *other != id) {
                other.passed_by_task_of(id);
            }
        } else {
            assert_eq!(place, 0, "FIFO: an older task was queued");
        }
        self.oracle(id)
            .expect("promise 6: nothing is run for who has gone")
            .started(first, span.requests);
    }

    fn worker_finishes(&mut self, at: usize, task: Task, started_at: Instant) {
        let (completion, panicked) = self.answer(task, started_at);
        self.undrained.push(Undrained {
            id: completion.connection,
            first: completion.span.first.0,
            outcomes: completion.outcomes,
            panicked,
        });
        self.completions.push(completion);
        self.steps += 1;
        self.workers[at].state = State::Announcing;
    }

    /// The response to a task, and of each of its requests whether it panicked.
    fn answer(&mut self, task: Task, started_at: Instant) -> (Completion, Vec<bool>) {
        let (mut responses, mut panicked) = (Vec::new(), Vec::new());
        let mut outcomes = Outcomes::default();
        let mut rest = &task.run.frames[..];
        for _ in task.run.span.sequences() {
            let Frame::Request { payload, bytes, .. } =
                self.codec.frame(rest, 0, &mut Notes::default())
            else {
                panic!("a run is whole requests, not {}", rest.escape_ascii());
            };
            let request;
            (request, rest) = rest.split_at(bytes);
            let start = responses.len();
            self.codec.begin(request, &mut responses);
            let text = responses.len();
            answers::handle(&request[payload], &mut responses);
            let is_ok = responses[text..].starts_with(b"OK");
            let panics = self.random.percent(self.settings.panics);
            panicked.push(panics);
            let finished = match panics {
                true => Err(NotOneResponse("it panicked")),
                false => self.codec.finish(request, &mut responses, start, false),
            };
            match finished {
                Ok(outcome) => {
                    assert_eq!(outcome == Outcome::Ok, is_ok, "how it counts");
                    outcomes.ok += usize::from(is_ok);
                    outcomes.error += usize::from(!is_ok);
                }
                Err(_) => {
                    responses.truncate(start);
                    let why = Refusal::Internal;
                    self.codec.refuse(why, request, &mut responses);
                    outcomes.internal += 1;
                }
            }
        }
        self.note(|| format!("{:?} {} is done", task.connection, task.run.span.first));
        let completion = Completion {
            connection: task.connection,
            span: task.run.span,
            responses,
            outcomes,
            started_at,
            finished_at: self.now,
            is_last: false,
            worker: 0,
            is_overrun: false,
        };
        (completion, panicked)
    }
}
