//! The crew: as many event loops as the plan has threads, each with its part of the clients.
//!
//! Starts them together, hears signals, shows how far they are, and adds up what came of them.
//! Knows no connection.
//!
//! Rule: the loops share nothing but what stands in `orders` and `sent`, and none waits for
//! another one.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Registry, Token, Waker};
use signal_hook_mio::v1_0::Signals;

use crate::check::failure::Failures;
use crate::check::sent::Sent;
use crate::drive::driver::Driver;
use crate::drive::orders::{Counts, LoopEnd, News, Order};
use crate::figures::outcome::{Ended, Outcome, Standing};
use crate::figures::timeline::Slice;
use crate::load::part::Part;
use crate::load::plan::Plan;

const SIGNALS: Token = Token(0);
const NEWS: Token = Token(1);
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Runs `plan` against the server at `address`, until all is done or a signal comes. With
/// `announced`, failures are said on stderr at once. `show` is told now and then how far it is.
pub(crate) fn run(
    plan: &Plan,
    address: SocketAddr,
    signals: &mut Signals,
    announced: bool,
    show: &mut dyn FnMut(Standing),
) -> io::Result<Outcome> {
    let mut poll = Poll::new()?;
    poll.registry()
        .register(signals, SIGNALS, Interest::READABLE)?;
    let outcome = Crew::new(plan, poll.registry()).and_then(|mut crew| {
        let drivers = crew.drivers(address, announced)?;
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (number, driver) in drivers.into_iter().enumerate() {
                let thread = thread::Builder::new().name(format!("loop-{number}"));
                threads.push(thread.spawn_scoped(scope, || driver.run())?);
            }
            let ended = crew.watch(&mut poll, signals, show);
            // From here on nobody gives orders, which ends whatever still runs.
            drop(crew);
            let outcome = join(threads)?;
            let ended = ended?;
            Ok(Outcome { ended, ..outcome })
        })
    });
    poll.registry().deregister(signals)?;
    outcome
}

struct Crew<'a> {
    plan: &'a Plan,
    waker: Arc<Waker>,
    news_to: Sender<News>,
    news: Receiver<News>,
    loops: Vec<Loop>,
    /// How many loops have said this.
    settled: usize,
    nothing_made: usize,
    without_clients: usize,
    over: usize,
    start: Option<Instant>,
    ended: Ended,
}

/// A loop, as the crew sees it.
struct Loop {
    orders: Sender<Order>,
    waker: Waker,
    counts: Arc<Counts>,
}

impl<'a> Crew<'a> {
    fn new(plan: &'a Plan, registry: &Registry) -> io::Result<Self> {
        let (news_to, news) = channel();
        Ok(Self {
            plan,
            waker: Arc::new(Waker::new(registry, NEWS)?),
            news_to,
            news,
            loops: Vec::new(),
            settled: 0,
            nothing_made: 0,
            without_clients: 0,
            over: 0,
            start: None,
            ended: Ended::Finished,
        })
    }

    /// The loops, which do not run yet.
    fn drivers(&mut self, address: SocketAddr, announced: bool) -> io::Result<Vec<Driver>> {
        let plan = self.plan;
        let sent = Sent::none(plan.most_connections());
        let is_reached = Arc::new(AtomicBool::new(false));
        let mut drivers = Vec::new();
        for part in Part::all_of(plan) {
            let (orders_to, orders) = channel();
            let counts = Arc::new(Counts::none());
            let end = LoopEnd {
                orders,
                news: self.news_to.clone(),
                crew: Arc::clone(&self.waker),
                counts: Arc::clone(&counts),
                is_reached: Arc::clone(&is_reached),
                is_finished: false,
            };
            let failures = Failures::new(announced);
            let driver = Driver::new(plan, part, address, sent.clone(), failures, end)?;
            self.loops.push(Loop {
                orders: orders_to,
                waker: driver.waker()?,
                counts,
            });
            drivers.push(driver);
        }
        Ok(drivers)
    }

    /// Passes on what is said until every loop has ended. Returns how the run did.
    fn watch(
        &mut self,
        poll: &mut Poll,
        signals: &mut Signals,
        show: &mut dyn FnMut(Standing),
    ) -> io::Result<Ended> {
        let mut events = Events::with_capacity(8);
        let mut next_show = Instant::now();
        while self.over < self.loops.len() {
            match poll.poll(&mut events, Some(SHOW_EVERY)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let is_signal = |event: &mio::event::Event| event.token() == SIGNALS;
            if events.iter().any(is_signal) && signals.pending().next().is_some() {
                self.ended = Ended::Interrupted(Instant::now());
                self.order(Order::End)?;
            }
            while let Ok(news) = self.news.try_recv() {
                self.hear(news)?;
            }
            let now = Instant::now();
            if let Some(start) = self.start.filter(|_| now >= next_show) {
                next_show = now + SHOW_EVERY;
                show(self.standing(now.saturating_duration_since(start)));
            }
        }
        Ok(std::mem::replace(&mut self.ended, Ended::Finished))
    }

    fn hear(&mut self, news: News) -> io::Result<()> {
        let all = self.loops.len();
        match news {
            News::Settled => {
                self.settled += 1;
                if self.settled == all {
                    let start = Instant::now();
                    self.start = Some(start);
                    self.order(Order::Start(start))?;
                }
            }
            News::NothingMade(error) => {
                self.nothing_made += 1;
                if self.nothing_made == all {
                    self.ended = Ended::NothingListening(error);
                    self.order(Order::End)?;
                }
            }
            News::ClientsOver => {
                self.without_clients += 1;
                if self.without_clients == all {
                    self.order(Order::StopHogs)?;
                }
            }
            News::Ended { as_it_should } => {
                self.over += 1;
                if !as_it_should {
                    self.order(Order::End)?;
                }
            }
        }
        Ok(())
    }

    fn order(&self, order: Order) -> io::Result<()> {
        for one in &self.loops {
            // A loop that has ended needs no orders.
            if one.orders.send(order).is_ok() {
                one.waker.wake()?;
            }
        }
        Ok(())
    }

    /// How far the run is, `elapsed` after its start.
    fn standing(&self, elapsed: Duration) -> Standing {
        let (mut ended, mut failures, mut recent) = (0, 0, Slice::new());
        for one in &self.loops {
            let counts = one.counts.read();
            ended += counts.0;
            failures += counts.1;
            recent.add(&one.counts.take_recent());
        }
        let load = &self.plan.load;
        let done = match (load.frames(), load.duration()) {
            (Some(frames), _) => ended as f64 / (f64::from(self.plan.clients) * f64::from(frames)),
            (None, duration) => elapsed.div_duration_f64(duration.unwrap_or(Duration::MAX)),
        };
        Standing {
            elapsed,
            done,
            failures,
            recent,
        }
    }
}

/// What came of all loops together.
fn join(threads: Vec<ScopedJoinHandle<'_, io::Result<Outcome>>>) -> io::Result<Outcome> {
    let mut outcomes = threads.into_iter().map(|thread| match thread.join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    });
    let mut all = outcomes.next().expect("no plan is without a client")?;
    for outcome in outcomes {
        all.merge(outcome?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Mix;
    use crate::load::plan::tests::plan;
    use std::net::TcpListener;

    #[test]
    fn a_loop_says_once_that_nothing_listens_however_often_it_tries() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 has a free port");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        // A new connection each 20 ms, which is refused long before the next one.
        let mut plan = plan(Mix::Echo);
        plan.connect_rate = 50;
        let poll = Poll::new().expect("there is a poll");
        let mut crew = Crew::new(&plan, poll.registry()).expect("there is a waker");
        let drivers = crew.drivers(address, false).expect("there are loops");
        let said = thread::scope(|scope| {
            for driver in drivers {
                scope.spawn(|| driver.run());
            }
            let mut said = Vec::new();
            while !matches!(said.last(), Some(News::Settled)) {
                let news = crew.news.recv_timeout(Duration::from_secs(60));
                said.push(news.expect("it tells how connecting went"));
            }
            crew.order(Order::End).expect("it can be woken");
            said
        });
        let nothing = said
            .iter()
            .filter(|news| matches!(news, News::NothingMade(_)));
        assert_eq!(nothing.count(), 1, "{said:?}");
    }
}
