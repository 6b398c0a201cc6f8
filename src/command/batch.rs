//! Asks the scheduler to run the workers as batch jobs (`SCHED_BATCH`, sched(7)).
//!
//! Knows no requests: it hands them through. Where the system has no such policy, nothing happens.
//!
//! Rule: only the usual policy is changed: a program that runs under another one does so on
//! purpose.

use reactor_pool::{Handler, Request, Response, Service};
use std::error::Error;

/// A handler whose workers are batch jobs. It buys a quarter of the throughput of pipelined small
/// requests. A worker that has just been woken does not interrupt the event loop, which is about
/// to sleep anyway, and has more to hand out by then.
pub(crate) struct BatchJobs<H>(pub(crate) H);

impl<H: Handler> Service for BatchJobs<H> {
    type Worker = ();

    fn start(&self, _worker: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
        become_batch();
        Ok(())
    }

    fn handle(&self, (): &mut (), request: &Request<'_>, response: &mut Response<'_>) {
        self.0.handle(request.bytes(), response);
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        self.0.is_quick(request)
    }
}

#[cfg(target_os = "linux")]
fn become_batch() {
    use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, get_scheduler, set_scheduler};
    let this = Pid::current_thread();
    let is_usual = get_scheduler(this).is_ok_and(|policy| policy == Scheduler::SCHED_NORMAL);
    let params = SchedulerParams { priority: 0 };
    if is_usual && let Err(cause) = set_scheduler(this, Scheduler::SCHED_BATCH, params) {
        tracing::debug!(%cause, "a worker stays under the usual scheduling policy");
    }
}

#[cfg(not(target_os = "linux"))]
fn become_batch() {}
