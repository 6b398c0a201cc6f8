//! The stand-in for the workers: each does what src/pool/worker.rs does, one call at a time.
//!
//! Knows the two queues and the operations; of what a worker took, the oracles are told.
//!
//! Rule: a step is what a worker does between two points at which the loop could come in between.

use super::World;
use crate::answers;
use reactor_pool::pool::Taker;
use reactor_pool::task::{Outcomes, Response, Task, split_lines};
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Worker {
    taker: Taker,
    state: State,
    /// Responses that have been pushed and not announced.
    held_back: usize,
}

#[derive(Debug, Default)]
enum State {
    /// It looked for a task, found none and waits for one.
    #[default]
    Waiting,
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
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    /// Requests in its hands.
    pub(super) fn running(&self) -> usize {
        match &self.state {
            State::Running { task, .. } => task.requests,
            State::Waiting | State::Looking | State::Announcing => 0,
        }
    }

    /// It will wake the loop soon, and with nothing new.
    pub(super) fn will_announce(&self) -> bool {
        match &self.state {
            State::Looking | State::Announcing => self.held_back > 0,
            State::Running { task, .. } => task.is_quick,
            State::Waiting => false,
        }
    }

    /// Responses that it may keep to itself for now: it will soon be back.
    pub(super) fn may_hold_back(&self) -> usize {
        match &self.state {
            State::Looking | State::Announcing => self.held_back,
            State::Running { task, .. } if task.is_quick => self.held_back,
            State::Running { .. } | State::Waiting => 0,
        }
    }
}

impl World {
    /// One worker does the next thing that it has to do.
    pub(super) fn worker_acts(&mut self) {
        let at = self.random.below(self.workers.len());
        match std::mem::take(&mut self.workers[at].state) {
            State::Waiting if self.queued.is_empty() => {}
            State::Waiting | State::Looking => self.worker_looks(at),
            State::Running { task, started_at } => self.worker_finishes(at, task, started_at),
            State::Announcing => {
                self.steps += 1;
                self.announce(at);
                self.workers[at].state = State::Looking;
            }
        }
    }

    fn worker_looks(&mut self, at: usize) {
        self.steps += 1;
        let Some(popped) = self.queue.try_pop(&mut self.workers[at].taker) else {
            assert!(self.queued.is_empty(), "promise 1: a queued task is lost");
            self.announce(at);
            self.note(|| format!("worker {at} finds nothing"));
            return;
        };
        let (task, made_room) = (popped.task, popped.made_room);
        if made_room && !task.is_quick {
            self.responses.announce();
            self.workers[at].held_back = 0;
        }
        if !task.is_quick {
            self.announce(at);
        }
        self.started(&task);
        self.note(|| {
            format!(
                "worker {at} takes {:?} {} and {} more, made room: {made_room}",
                task.connection,
                task.first,
                task.requests - 1
            )
        });
        self.workers[at].state = State::Running {
            task,
            started_at: self.now,
        };
    }

    /// Promises 6 and 7: whose task this is, and whose turn it was.
    fn started(&mut self, task: &Task) {
        let (id, first) = (task.connection, task.first.0);
        let mut queued = self.queued.iter();
        let place = queued.position(|run| (run.id, run.first) == (id, first));
        let place = place.expect("promise 6: a worker took what is not queued any more");
        let run = self.queued.remove(place).expect("it was found just now");
        assert_eq!(run.requests, task.requests, "a task changed in the queue");
        if self.settings.is_fair() {
            for (_, other) in self.oracles_mut().filter(|(other, _)| *other != id) {
                other.passed_by_task_of(id);
            }
        } else {
            assert_eq!(place, 0, "FIFO: an older task was queued");
        }
        self.oracle(id)
            .expect("promise 6: nothing is run for who has gone")
            .started(first, task.requests);
    }

    fn worker_finishes(&mut self, at: usize, task: Task, started_at: Instant) {
        let mut outcomes = Outcomes::default();
        let (mut lines, mut panicked) = (Vec::new(), Vec::new());
        for request in split_lines(&task.lines) {
            let panics = self.random.percent(self.settings.panics);
            panicked.push(panics);
            if panics {
                lines.extend_from_slice(answers::INTERNAL);
                outcomes.internal += 1;
                continue;
            }
            let start = lines.len();
            answers::handle(request, &mut lines);
            match lines[start..].starts_with(b"OK") {
                true => outcomes.ok += 1,
                false => outcomes.error += 1,
            }
            lines.push(b'\n');
        }
        self.note(|| format!("{:?} {} is done: {outcomes:?}", task.connection, task.first));
        self.responses.push(Response {
            connection: task.connection,
            first: task.first,
            lines,
            outcomes,
            queued_at: task.queued_at,
            started_at,
            finished_at: self.now,
        });
        self.undrained.push_back(panicked);
        self.steps += 1;
        let worker = &mut self.workers[at];
        worker.held_back += 1;
        let is_due = !task.is_quick || worker.held_back >= self.settings.held_back;
        worker.state = match is_due {
            true => State::Announcing,
            false => State::Looking,
        };
    }

    fn announce(&mut self, at: usize) {
        if std::mem::take(&mut self.workers[at].held_back) > 0 {
            self.responses.announce();
        }
    }
}
