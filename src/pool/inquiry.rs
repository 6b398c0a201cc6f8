//! Questions to the loop, from any thread, and its answers.
//!
//! Knows neither what is answered nor how the loop is woken.
//!
//! Rule: an answer is younger than the question that gets it. While nobody asks, the loop pays one
//! load for it in each tick.

use super::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering};
use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Questions that all get the same kind of answer; those that come together get the same one.
pub struct Inquiry<A> {
    /// Somebody may wait for an answer. Set by those who ask, cleared by the loop.
    is_asked: AtomicBool,
    state: Mutex<State<A>>,
    /// Notified at each answer.
    answered: Condvar,
}

/// All of it is guarded by the one lock.
struct State<A> {
    /// Questions so far, and how many of them have been answered.
    asked: u64,
    answered: u64,
    /// The last answer.
    answer: A,
    /// The loop runs, and so it answers.
    is_open: bool,
}

impl<A: Clone> Inquiry<A> {
    /// Questions that get `answer` for as long as the loop does not run.
    pub fn new(answer: A) -> Inquiry<A> {
        Inquiry {
            is_asked: AtomicBool::new(false),
            state: Mutex::new(State {
                asked: 0,
                answered: 0,
                answer,
                is_open: false,
            }),
            answered: Condvar::new(),
        }
    }

    /// Asks, and waits for the answer; `wake` makes the loop come. None if it has not answered
    /// within `timeout`. While no loop runs, the last answer holds.
    pub fn ask(&self, timeout: Duration, wake: impl FnOnce()) -> Option<A> {
        let start = Instant::now();
        let mut state = self.lock();
        if !state.is_open {
            return Some(state.answer.clone());
        }
        state.asked += 1;
        let number = state.asked;
        drop(state);
        // Relaxed: the lock orders the numbers. Stored before the loop is woken, which looks after
        // each drain, and whose drain sees what came before an announcement.
        self.is_asked.store(true, Ordering::Relaxed);
        wake();
        let mut state = self.lock();
        while state.is_open && state.answered < number {
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return None;
            }
            let waited = self.answered.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Some(state.answer.clone())
    }

    /// From here on the loop answers.
    pub fn open(&self) {
        self.lock().is_open = true;
    }

    /// The number of the last question, if one may wait. Only the loop calls it, after a drain,
    /// and answers then.
    pub fn asked(&self) -> Option<u64> {
        // Relaxed, both: the lock orders the numbers. Cleared before the number is read: whoever
        // set it before has a number already, and whoever takes one later sets it again.
        if !self.is_asked.load(Ordering::Relaxed) {
            return None;
        }
        self.is_asked.store(false, Ordering::Relaxed);
        Some(self.lock().asked)
    }

    /// Answers all questions up to that number. What is answered was found out since
    /// [`Inquiry::asked`] told of it.
    pub fn answer(&self, number: u64, answer: A) {
        let mut state = self.lock();
        state.answered = number;
        state.answer = answer;
        drop(state);
        self.answered.notify_all();
    }

    /// The loop has ended: whoever waits, and whoever asks from here on, gets what `last` makes of
    /// the last answer.
    pub fn close(&self, last: impl FnOnce(A) -> A) {
        let mut state = self.lock();
        state.is_open = false;
        state.answer = last(state.answer.clone());
        drop(state);
        self.answered.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> fmt::Debug for Inquiry<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquiry").finish_non_exhaustive()
    }
}
