//! What the workers ask of the scheduler: to let the loop go first, and to run beside it while they have little to do.
//!
//! Knows no tasks, only how long a worker has worked. Where it cannot ask, nothing happens.
//!
//! Rule: a worker that moves is bound to a core only until it runs there; then the scheduler chooses again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

// Why these, docs/decisions.md says ("A worker with little to do runs beside the loop").

/// How often a worker looks where it is, and the loop says where it is.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A worker has little to do if it works between one part in so many of the time …
const AT_LEAST: u32 = 100;
/// … and one part in so many.
const AT_MOST: u32 = 16;

/// The core on which the loop is, noted by the loop and taken by the first worker with little to do: not all of
/// them are to come at once.
#[derive(Debug)]
pub struct LoopCore(AtomicUsize);

/// Not noted, or taken. Nothing depends on the order of this and other memory, so all access is relaxed.
const UNKNOWN: usize = usize::MAX;

impl Default for LoopCore {
    fn default() -> LoopCore {
        LoopCore(AtomicUsize::new(UNKNOWN))
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
            come_to(self.loop_core.0.swap(UNKNOWN, Ordering::Relaxed));
        }
        self.looked_at = end;
        self.worked = Duration::ZERO;
    }
}

fn has_little_to_do(worked: Duration, elapsed: Duration) -> bool {
    (elapsed / AT_LEAST..=elapsed / AT_MOST).contains(&worked)
}

/// Moves this thread to `core`, if it may run there and does not, and says whether it has. It may run on the same
/// cores afterwards, but on no others that are added later.
#[cfg(target_os = "linux")]
fn come_to(core: usize) -> bool {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
    if core >= CpuSet::MAX_CPU || core == sched_getcpu() {
        return false;
    }
    let Ok(allowed) = sched_getaffinity(None) else {
        return false;
    };
    if !allowed.is_set(core) {
        return false;
    }
    let mut only = CpuSet::new();
    only.set(core);
    if let Err(cause) = sched_setaffinity(None, &only) {
        crate::log::debug!(core, %cause, "a worker stays where it is");
        return false;
    }
    if let Err(cause) = sched_setaffinity(None, &allowed) {
        crate::log::warn!(core, %cause, "a worker stays bound to a core");
    }
    true
}

#[cfg(not(target_os = "linux"))]
fn come_to(_: usize) -> bool {
    false
}

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
        crate::log::debug!(%cause, "a worker stays under the usual scheduling policy");
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

        fn bind(core: usize) {
            let mut only = CpuSet::new();
            only.set(core);
            sched_setaffinity(None, &only).expect("an allowed core");
        }

        /// What a thread does that is bound to `core` then, which ends with it.
        fn bound<T: Send>(core: usize, act: impl FnOnce() -> T + Send) -> T {
            std::thread::scope(|scope| {
                let bound = scope.spawn(move || {
                    bind(core);
                    act()
                });
                bound.join().expect("no panic")
            })
        }

        #[test]
        fn a_worker_stays_off_cores_where_it_may_not_run() {
            let core = sched_getcpu();
            bound(core, || {
                let only = allowed();
                for other in (0..CpuSet::MAX_CPU).chain([UNKNOWN]) {
                    assert!(!come_to(other), "core {other}");
                    assert_eq!((sched_getcpu(), allowed()), (core, only));
                }
            });
        }

        #[test]
        fn the_first_worker_with_little_to_do_for_a_while_comes() {
            let all = allowed();
            let cores: Vec<_> = (0..CpuSet::MAX_CPU)
                .filter(|core| all.is_set(*core))
                .collect();
            let (here, loop_core) = (cores[0], LoopCore::default());
            let there = cores[cores.len() - 1];
            bound(there, || loop_core.note());
            assert_eq!(loop_core.0.load(Ordering::Relaxed), there);
            let came = |_| {
                bound(here, || {
                    loop_core.0.store(there, Ordering::Relaxed);
                    let mut place = Place::new(&loop_core);
                    sched_setaffinity(None, &all).expect("as before");
                    let end = place.looked_at + LOOK_EVERY;
                    place.worked(end - LOOK_EVERY / 50, end - LOOK_EVERY / 100);
                    let early = loop_core.0.load(Ordering::Relaxed);
                    assert_eq!(early, there, "not looked at yet");
                    place.worked(end - LOOK_EVERY / 100, end);
                    assert_eq!(loop_core.0.load(Ordering::Relaxed), UNKNOWN, "taken");
                    sched_getcpu() == there
                })
            };
            assert!((0..1000).any(came));
        }
    }
}
