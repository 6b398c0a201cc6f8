//! Runs: the requests that travel together as one task.
//!
//! Knows what the engine pushed, and of a connection what the oracle does.
//!
//! Rule: a run is nothing but its requests. It is taken apart here, and every promise is then
//! checked of each request.

use super::{Oracle, State};
use crate::answers;
use crate::framing::Cut;
use reactor_pool::task::{ConnectionId, Task};

/// A run is no longer, all that frames its requests counted, unless it is a single one.
const RUN_BYTES: usize = 16_384;

/// What a task said when it was pushed.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: ConnectionId,
    pub(crate) first: u64,
    pub(crate) requests: usize,
    frames: Vec<u8>,
    is_quick: bool,
}

impl Run {
    pub(crate) fn of(task: &Task) -> Run {
        Run {
            id: task.connection,
            first: task.run.span.first.0,
            requests: task.run.span.requests,
            frames: task.run.frames.clone(),
            is_quick: task.run.is_quick,
        }
    }

    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> + use<> {
        self.first..self.first + self.requests as u64
    }
}

impl Oracle {
    /// Holds a pushed task to the rules of runs; its requests have not got their slots yet.
    pub(crate) fn check_run(&mut self, run: &Run) {
        let payloads = self.framing.requests(&run.frames);
        assert!(run.requests > 0, "a task without a request");
        assert_eq!(payloads.len(), run.requests, "a run is whole requests");
        let is_alone = run.requests == 1;
        assert!(is_alone || run.requests <= self.max_run, "a run too long");
        assert!(
            is_alone || run.frames.len() <= RUN_BYTES,
            "a run of too many bytes"
        );
        let framed_at = self.place(run.first).framed_at;
        for (sequence, payload) in run.sequences().zip(payloads) {
            let is_quick = self.is_quick(payload);
            assert_eq!(
                run.is_quick, is_quick,
                "a task is quick as its requests are"
            );
            assert!(is_alone || is_quick, "what is not quick travels alone");
            let place = self.place(sequence);
            assert_eq!(
                place.cut,
                Cut::Request(payload.to_vec()),
                "another request was submitted"
            );
            assert_eq!(
                place.framed_at, framed_at,
                "a run was framed at one instant"
            );
        }
        self.count_run(run);
    }

    /// Whether a request may travel with its neighbours.
    fn is_quick(&self, payload: &[u8]) -> bool {
        self.max_run > 1
            && answers::is_quick(payload, self.quick_bytes)
            && !self.framing.runs_alone(payload)
    }

    /// Whether it was a run, and why it is no longer.
    fn count_run(&mut self, run: &Run) {
        self.counts.runs += u64::from(run.requests > 1);
        let last = (run.first - self.left) as usize + run.requests - 2;
        let (Some(place), Some(next)) = (self.places.get(last), self.places.get(last + 1)) else {
            return;
        };
        let Cut::Request(payload) = &next.cut else {
            return;
        };
        let could_join = run.is_quick
            && next.state == State::Waiting
            && next.framed_at == place.framed_at
            && self.is_quick(payload);
        if !could_join {
            return;
        }
        if run.requests == self.max_run {
            self.counts.runs_full += 1;
        } else if run.frames.len() + payload.len() + self.framing.overhead() > RUN_BYTES {
            self.counts.runs_long += 1;
        } else {
            self.counts.runs_split += 1;
        }
    }
}
