//! Asks the scheduler to run the workers as batch jobs (`SCHED_BATCH`, sched(7)).
//!
//! Knows no tasks. Where the system has no such policy, nothing happens.
//!
//! Rule: only the usual policy is changed: a program that runs under another one does so on
//! purpose.

/// Makes this thread a batch job. It buys a quarter of the throughput of pipelined small requests:
/// a worker that has just been woken does not interrupt the event loop, which is about to sleep
/// anyway and has more to hand out by then.
#[cfg(target_os = "linux")]
pub(super) fn become_batch() {
    use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, get_scheduler, set_scheduler};
    let this = Pid::current_thread();
    let is_usual = get_scheduler(this).is_ok_and(|policy| policy == Scheduler::SCHED_NORMAL);
    let params = SchedulerParams { priority: 0 };
    if is_usual && let Err(cause) = set_scheduler(this, Scheduler::SCHED_BATCH, params) {
        crate::log::debug!(%cause, "a worker stays under the usual scheduling policy");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn become_batch() {}
