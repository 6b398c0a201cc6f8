//! Who of the workers is parked, who has been called, and whether one more has to be.
//!
//! Knows only numbers: neither threads nor tasks. The queue keeps it under its lock.
//!
//! Rule: each count is the number of workers whose own [`Whereabouts`] say the same.

use std::mem;

/// So many queued tasks are left to each worker that will be here soon, before one more is called:
/// about what it does in the time that a call takes.
pub(super) const TASKS_PER_WORKER: usize = 64;

/// Where one worker is, as far as the queue cares.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// Inside the queue, or out with a task that may take any time.
    #[default]
    Elsewhere,
    /// Out with a quick task: its handler says that it will be back soon.
    OutQuick,
    /// Sleeping until it is called.
    Parked,
}

/// The workers of one queue, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Parking {
    parked: usize,
    /// Calls that no parked worker has followed yet; at most as many as are parked.
    called: usize,
    out_quick: usize,
}

impl Parking {
    /// A worker is in the queue, wherever it was before.
    pub(super) fn enter(&mut self, worker: &mut Whereabouts) {
        match mem::take(worker) {
            Whereabouts::Elsewhere => {}
            Whereabouts::OutQuick => self.out_quick = one_less(self.out_quick),
            Whereabouts::Parked => {
                self.parked = one_less(self.parked);
                // It may have woken for no reason. Then it follows the call of another one, which
                // will come too.
                self.called = self.called.saturating_sub(1);
            }
        }
    }

    /// A worker that has entered leaves with a quick task.
    pub(super) fn leave_quick(&mut self, worker: &mut Whereabouts) {
        assert_eq!(*worker, Whereabouts::Elsewhere, "a worker is in one place");
        *worker = Whereabouts::OutQuick;
        self.out_quick += 1;
    }

    /// A worker that has entered and found nothing is going to sleep.
    pub(super) fn park(&mut self, worker: &mut Whereabouts) {
        assert_eq!(*worker, Whereabouts::Elsewhere, "a worker is in one place");
        *worker = Whereabouts::Parked;
        self.parked += 1;
    }

    /// Parked workers that have not been called.
    pub fn asleep(&self) -> usize {
        self.parked - self.called
    }

    /// Workers that have been called and have not come yet.
    pub fn called(&self) -> usize {
        self.called
    }

    /// Whether one more has to be called for so many queued tasks, if those who are out with quick
    /// ones come back soon.
    pub(super) fn wants_one(&self, tasks: usize) -> bool {
        self.asleep() > 0 && tasks > TASKS_PER_WORKER * (self.called + self.out_quick)
    }

    /// How many have to be called so that no task depends on who is out.
    pub(super) fn missing(&self, tasks: usize) -> usize {
        self.asleep().min(tasks.saturating_sub(self.called))
    }

    /// So many are called: as many sleepers will be woken.
    pub(super) fn call(&mut self, workers: usize) {
        assert!(workers <= self.asleep(), "only who sleeps is called");
        self.called += workers;
    }
}

/// A count that would pass below zero is a bug, which must not hide as a huge number.
fn one_less(count: usize) -> usize {
    count.checked_sub(1).expect("a worker leaves where it was")
}
