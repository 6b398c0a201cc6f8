//! Which workers are parked, which have been woken, and whether one more has to be.
//!
//! Knows only numbers: neither threads nor tasks. The queue keeps it under its lock.
//!
//! Rule: each count is the number of workers whose own [`Whereabouts`] say the same.

use std::mem;

/// Queued tasks that are left to each worker that will be here soon, before one more is woken. A
/// worker does about as many in the time that it takes to wake another.
pub(super) const TASKS_PER_WORKER: usize = 64;

/// Where one worker is, as far as the queue cares.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// Inside the queue, or out with a task that may take any time.
    #[default]
    Elsewhere,
    /// Out with a quick task: its handler says that it will be back soon.
    OutQuick,
    /// Sleeping until it is woken.
    Parked,
}

/// The workers of one queue, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Parking {
    parked: usize,
    /// Of these, as many have been woken and have not come yet.
    woken: usize,
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
                // It may have come by a spurious wake-up. Then it counts for another one that was
                // woken, which will come too.
                self.woken = self.woken.saturating_sub(1);
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

    /// Parked workers that have not been woken.
    pub fn parked(&self) -> usize {
        self.parked - self.woken
    }

    /// Workers that have been woken and have not come yet.
    pub fn woken(&self) -> usize {
        self.woken
    }

    /// Whether one more has to be woken for that many queued tasks, if those that are out with
    /// quick ones come back soon.
    pub(super) fn wants_one(&self, tasks: usize) -> bool {
        self.parked() > 0 && tasks > TASKS_PER_WORKER * (self.woken + self.out_quick)
    }

    /// How many have to be woken so that no task depends on a worker that is out.
    pub(super) fn missing(&self, tasks: usize) -> usize {
        self.parked().min(tasks.saturating_sub(self.woken))
    }

    /// That many are woken.
    pub(super) fn wake(&mut self, workers: usize) {
        assert!(workers <= self.parked(), "only parked workers are woken");
        self.woken += workers;
    }
}

/// A count that would pass below zero is a bug, which must not hide as a huge number.
fn one_less(count: usize) -> usize {
    count.checked_sub(1).expect("a worker leaves where it was")
}
