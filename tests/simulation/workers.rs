//! The stand-in for the workers: each does what src/pool/worker.rs does, one call at a time.
//!
//! Knows the two queues and the operations; of what a worker took, the oracles are told.
//!
//! Rule: a step is what a worker does between two points at which the loop could come in between.

use super::World;
use crate::answers;
use reactor_pool::pool::Taker;
use reactor_pool::task::{Batch, Outcomes, Response, Task, split_lines};
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Worker {
    taker: Taker,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// It looked for a task, found none and waits for one.
    #[default]
    Waiting,
    /// It is about to look for a task.
    Looking,
    Running {
        tasks: Vec<Task>,
        started_at: Instant,
    },
    /// It has pushed a batch that has to be announced before anything else.
    Announcing,
}

impl Worker {
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    /// Requests in its hands.
    pub(super) fn running(&self) -> usize {
        match &self.state {
            State::Running { tasks, .. } => tasks.iter().map(|task| task.requests).sum(),
            State::Waiting | State::Looking | State::Announcing => 0,
        }
    }

    /// It will wake the loop soon, and with nothing new.
    pub(super) fn will_announce(&self) -> bool {
        match &self.state {
            State::Announcing => true,
            State::Running { tasks, .. } => tasks[0].is_quick,
            State::Waiting | State::Looking => false,
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
        match std::mem::take(&mut self.workers[at].state) {
            State::Waiting if self.queued.is_empty() => {}
            State::Waiting | State::Looking => self.worker_looks(at),
            State::Running { tasks, started_at } => self.worker_finishes(at, tasks, started_at),
            State::Announcing => {
                self.steps += 1;
                self.responses.announce();
                self.workers[at].state = State::Looking;
            }
        }
    }

    fn worker_looks(&mut self, at: usize) {
        self.steps += 1;
        let Some(popped) = self.queue.try_pop(&mut self.workers[at].taker) else {
            assert!(self.queued.is_empty(), "promise 1: a queued task is lost");
            self.note(|| format!("worker {at} finds nothing"));
            return;
        };
        let (tasks, made_room) = (popped.tasks, popped.made_room);
        if made_room {
            self.responses.announce();
        }
        let is_alone = tasks.len() == 1;
        assert!(is_alone || tasks.iter().all(|task| task.is_quick));
        self.gone.batches += u64::from(!is_alone);
        for task in &tasks {
            self.started(task);
            self.note(|| {
                format!(
                    "worker {at} takes {:?} {} and {} more, made room: {made_room}",
                    task.connection,
                    task.first,
                    task.requests - 1
                )
            });
        }
        self.workers[at].state = State::Running {
            tasks,
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

    fn worker_finishes(&mut self, at: usize, tasks: Vec<Task>, started_at: Instant) {
        let mut outcomes = Outcomes::default();
        let (responses, panicked) = tasks
            .into_iter()
            .map(|task| self.answer(task, &mut outcomes))
            .unzip();
        self.workers[at].taker.worked_for(self.now - started_at);
        self.responses.push(Batch {
            responses,
            outcomes,
            started_at,
            finished_at: self.now,
        });
        self.undrained.push_back(panicked);
        self.steps += 1;
        self.workers[at].state = State::Announcing;
    }

    /// The response to a task, and of each of its requests whether it panicked.
    fn answer(&mut self, task: Task, outcomes: &mut Outcomes) -> (Response, Vec<bool>) {
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
        self.note(|| format!("{:?} {} is done", task.connection, task.first));
        let response = Response {
            connection: task.connection,
            first: task.first,
            requests: task.requests,
            lines: lines.into(),
        };
        (response, panicked)
    }
}
