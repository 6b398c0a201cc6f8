//! What the workers ask of the scheduler: to let the loop go first, and to run beside it while they have little to do.
//!
//! Knows no tasks, only how long a worker has worked. Where it cannot ask, nothing happens.
//!
//! Rule: what is asked leaves the choice to the scheduler again at once; nobody stays bound to a core.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often a worker looks where it is, and the loop says where it is.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A worker has little to do if it works between one part in so many of the time …
const AT_LEAST: u32 = 100;
/// … and one part in so many.
const AT_MOST: u32 = 16;

/// The core on which the loop was last, as far as is known.
#[derive(Debug)]
pub struct LoopCore(AtomicUsize);

impl Default for LoopCore {
    fn default() -> LoopCore {
        LoopCore(AtomicUsize::new(usize::MAX))
    }
}

impl LoopCore {
    /// Called by the loop: it is here.
    pub fn note(&self) {
        #[cfg(target_os = "linux")]
        self.0
            .store(rustix::thread::sched_getcpu(), Ordering::Relaxed);
    }
}

/// Where one worker is to run.
#[derive(Debug)]
pub(super) struct Place<'a> {
    loop_core: &'a LoopCore,
    looked_at: Instant,
    /// Since then.
    worked: Duration,
}

impl Place<'_> {
    pub(super) fn new(loop_core: &LoopCore) -> Place<'_> {
        Place {
            loop_core,
            looked_at: Instant::now(),
            worked: Duration::ZERO,
        }
    }

    /// The worker has worked from `start` to `end`. Has it had little to do for a while, it comes to the core of the loop.
    ///
    /// There it runs when the loop sleeps, with the requests and for the answers in the same caches, and neither has to
    /// interrupt another core to wake the other. The scheduler leaves it there unless a core is idle when it is woken; by itself it
    /// would leave it beside whoever it happened to be with before.
    pub(super) fn worked(&mut self, start: Instant, end: Instant) {
        self.worked += end.saturating_duration_since(start);
        let elapsed = end.saturating_duration_since(self.looked_at);
        if elapsed < LOOK_EVERY {
            return;
        }
        if has_little_to_do(self.worked, elapsed) {
            come_to(self.loop_core.0.load(Ordering::Relaxed));
        }
        self.looked_at = end;
        self.worked = Duration::ZERO;
    }
}

fn has_little_to_do(worked: Duration, elapsed: Duration) -> bool {
    (elapsed / AT_LEAST..=elapsed / AT_MOST).contains(&worked)
}

/// Moves this thread to `core`, if it may run there; where it may run is the same afterwards.
#[cfg(target_os = "linux")]
fn come_to(core: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
    if sched_getcpu() == core {
        return;
    }
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    if core >= CpuSet::MAX_CPU || !allowed.is_set(core) {
        return;
    }
    let mut only = CpuSet::new();
    only.set(core);
    let moved = sched_setaffinity(None, &only).and_then(|()| sched_setaffinity(None, &allowed));
    if let Err(cause) = moved {
        tracing::debug!(%cause, "a worker stays where it is");
    }
}

#[cfg(not(target_os = "linux"))]
fn come_to(_: usize) {}

/// Asks the scheduler not to interrupt the loop for the worker that it has just woken: the loop is about to
/// sleep anyway, and has more to hand out by then (`SCHED_BATCH`, sched(7)).
///
/// Only where the policy is the usual one: whoever started the program under another knows why.
#[cfg(target_os = "linux")]
pub(super) fn let_the_loop_go_first() {
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
        tracing::debug!(%cause, "a worker stays under the usual scheduling policy");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn let_the_loop_go_first() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_to_do_is_neither_next_to_nothing_nor_a_full_load() {
        let little = |micros| has_little_to_do(Duration::from_micros(micros), LOOK_EVERY);
        let got = [0, 99, 100, 625, 626, 10_000].map(little);
        assert_eq!(got, [false, false, true, true, false, false]);
    }

    #[cfg(target_os = "linux")]
    mod linux {
        use super::*;
        use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

        fn allowed() -> CpuSet {
            sched_getaffinity(None).expect("a thread may ask for that")
        }

        #[test]
        fn a_worker_that_comes_may_still_run_wherever_it_might() {
            let before = allowed();
            for core in (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core)) {
                // It may be moved on before it has looked, but not each time.
                let came = |_| {
                    come_to(core);
                    sched_getcpu() == core
                };
                assert!((0..1000).any(came), "core {core}");
                assert_eq!(allowed(), before);
            }
        }

        #[test]
        fn a_worker_stays_off_cores_where_it_may_not_run() {
            let before = allowed();
            let core = sched_getcpu();
            let mut only = CpuSet::new();
            only.set(core);
            sched_setaffinity(None, &only).expect("a core that it is on");
            for other in (0..CpuSet::MAX_CPU).chain([usize::MAX]) {
                come_to(other);
                assert_eq!((sched_getcpu(), allowed()), (core, only));
            }
            sched_setaffinity(None, &before).expect("as before");
        }

        #[test]
        fn a_worker_comes_once_it_has_had_little_to_do_for_a_while() {
            let (loop_core, before) = (LoopCore::default(), allowed());
            let start = Instant::now();
            let mut place = Place::new(&loop_core);
            place.looked_at = start;
            let last = (0..CpuSet::MAX_CPU).rfind(|core| before.is_set(*core));
            let last = last.expect("this thread runs");
            loop_core.0.store(last, Ordering::Relaxed);
            let mut end = start;
            let came = |_| {
                end += LOOK_EVERY;
                place.worked(end - LOOK_EVERY / 50, end);
                sched_getcpu() == last
            };
            assert!((0..1000).any(came));
        }
    }
}
