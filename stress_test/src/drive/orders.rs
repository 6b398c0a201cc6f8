//! What the event loops and the crew that runs them say to each other.
//!
//! Knows channels and what wakes who sleeps; decides nothing.
//!
//! Rule: whoever is told something is woken, so nobody waits for a timeout to hear it.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mio::Waker;

use crate::figures::ledger::Ledger;
use crate::figures::timeline::Slice;

/// What a loop says.
#[derive(Debug)]
pub(crate) enum News {
    /// Each of its connections has been made, or given up.
    Settled,
    /// All connections that it has begun have failed, for this reason. It says so once, and only if
    /// no other loop has made one.
    NothingMade(io::Error),
    /// Its ordinary clients are over.
    ClientsOver,
    /// It has ended; if not as it should, the others have to end too.
    Ended {
        /// Whether it came to its end in the ordinary way.
        as_it_should: bool,
    },
}

/// What a loop is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The clients may send from this moment on.
    Start(Instant),
    /// There are no ordinary clients left, so hogs are in nobody's way.
    StopHogs,
    /// The run is over.
    End,
}

/// The end of a loop.
#[derive(Debug)]
pub(crate) struct LoopEnd {
    /// Orders come from here.
    pub(crate) orders: Receiver<Order>,
    /// News goes there.
    pub(crate) news: Sender<News>,
    /// Wakes the crew.
    pub(crate) crew: Arc<Waker>,
    /// How far the loop is.
    pub(crate) counts: Arc<Counts>,
    /// Whether any loop has ever made a connection.
    pub(crate) is_reached: Arc<AtomicBool>,
    /// The loop has come to its end in the ordinary way.
    pub(crate) is_finished: bool,
}

impl LoopEnd {
    /// A connection has been made.
    pub(crate) fn note_reached(&self) {
        // A plain fact: nothing else is read because of it.
        self.is_reached.store(true, Ordering::Relaxed);
    }

    /// Whether any loop has ever made a connection.
    pub(crate) fn has_been_reached(&self) -> bool {
        self.is_reached.load(Ordering::Relaxed)
    }

    /// The next order. A crew that has gone wants the run to end.
    pub(crate) fn order(&self) -> Option<Order> {
        match self.orders.try_recv() {
            Ok(order) => Some(order),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Order::End),
        }
    }

    /// Says it to the crew.
    pub(crate) fn tell(&self, news: News) -> io::Result<()> {
        // The crew listens until every loop has ended.
        self.news.send(news).map_err(io::Error::other)?;
        self.crew.wake()
    }
}

impl Drop for LoopEnd {
    fn drop(&mut self) {
        let as_it_should = self.is_finished;
        // The crew may have gone before, and then waits for nobody.
        self.tell(News::Ended { as_it_should }).ok();
    }
}

/// How far a loop is, for those who look now and then. The loop writes, the crew reads.
#[derive(Debug)]
pub(crate) struct Counts {
    ended: AtomicU64,
    failures: AtomicU64,
    /// What came since the crew looked.
    recent: Mutex<Slice>,
}

impl Counts {
    /// Nothing yet.
    pub(crate) fn none() -> Self {
        Self {
            ended: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            recent: Mutex::new(Slice::new()),
        }
    }

    /// It stands so in `ledger`.
    pub(crate) fn publish(&self, ledger: &mut Ledger) {
        // Plain counters: nothing else is read because of them.
        self.ended.store(ledger.clients.ended(), Ordering::Relaxed);
        self.failures
            .store(ledger.failures.total(), Ordering::Relaxed);
        let recent = ledger.take_recent();
        self.recent().add(&recent);
    }

    /// Requests that came to an end, and failures.
    pub(crate) fn read(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.ended), read(&self.failures))
    }

    /// What came since the last time.
    pub(crate) fn take_recent(&self) -> Slice {
        let none = Slice::new();
        mem::replace(&mut self.recent(), none)
    }

    fn recent(&self) -> MutexGuard<'_, Slice> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
