//! What distinguishes one run from another, and what a run has covered.
//!
//! Knows nothing of how a run goes.
//!
//! Rule: every bound is tiny in most runs, so that it is met.

use crate::framing::{self, Framing};
use crate::random::Random;
use reactor_pool::Config;
use reactor_pool::config::QueueOrder;
use std::rc::Rc;
use std::time::Duration;

/// How often each part of the world acts, relative to the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights {
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    pub(crate) clock: usize,
    pub(crate) ticks: usize,
}

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) framing: Rc<dyn Framing>,
    pub(crate) weights: Weights,
    /// Clients at a time; more than the connection limit in some runs.
    pub(crate) clients: usize,
    /// Percent of the clients' actions that are another client's first.
    pub(crate) connects: usize,
    /// Bytes that a socket holds on the way in, and on the way out.
    pub(crate) incoming: usize,
    pub(crate) outgoing: usize,
    /// Bytes that one read takes at most.
    pub(crate) chunk: usize,
    /// The socket that listens outlives the server.
    pub(crate) shares_listener: bool,
    /// Percent of the accepts for which the system has no descriptor.
    pub(crate) exhausted: usize,
    /// The longest request that is quick, if it does not begin with an s.
    pub(crate) quick_bytes: usize,
    /// Percent of the requests whose handler panics.
    pub(crate) panics: usize,
    /// Percent of readiness that the poll reports one tick later.
    pub(crate) withheld: usize,
    /// One in so many actions of clients asks for the stop, if one does.
    pub(crate) stops: bool,
    pub(crate) stop_one_in: usize,
    /// At the end the server is stopped, and no client shuts its sending side.
    pub(crate) ends_with_stop: bool,
}

impl Settings {
    pub(crate) fn draw(random: &mut Random) -> Settings {
        let ms = Duration::from_millis;
        let max_connections = random.between(1, 6);
        let is_wide = random.percent(8);
        let is_deep = random.percent(10);
        let config = Config::default()
            .workers(random.between(1, 4))
            .queue(match is_deep {
                true => random.pick(&[8, 12, 20]),
                false => random.pick(&[1, 1, 2, 3, 5, 12]),
            })
            .queue_order(random.pick(&[QueueOrder::Fair, QueueOrder::Fair, QueueOrder::Fifo]))
            .busy_timeout(ms(random.pick(&[0, 1, 3, 10, 50, 1000, 1000])))
            .max_line(match is_wide {
                true => random.pick(&[12_000, 24_000]),
                false if is_deep => 100,
                false => random.pick(&[1, 2, 5, 8, 16, 24, 40]),
            })
            .max_inflight(match is_wide || is_deep {
                true => 40,
                false => random.pick(&[1, 2, 3, 4, 5, 12, 40]),
            })
            .max_parallel(random.pick(&[1, 2, 65_536, 65_536]))
            .max_run(match is_wide {
                true => 32,
                false => random.pick(&[1, 1, 2, 3, 8, 32]),
            })
            .max_connections(max_connections)
            .max_buffered(random.pick(&[0, 1, 30, 300, 3000, 100_000, usize::MAX / 2]))
            .idle_timeout(ms(random.pick(&[0, 0, 10, 300, 1000, 3000])))
            .proxy_protocol(random.percent(25))
            .max_connections_per_address(random.pick(&[0, 0, 1, 2]))
            .max_inflight_per_address(random.pick(&[0, 0, 1, 2, 5]))
            .proxy_header_timeout(ms(random.pick(&[1, 10, 300, 1000])))
            .request_timeout(ms(random.pick(&[0, 0, 1, 10, 300, 2000])))
            .min_read_rate(random.pick(&[0, 0, 0, 3000, 1 << 30, 1 << 30]))
            .stop_delay(ms(random.pick(&[0, 0, 0, 1, 20, 400])))
            .trace_tasks(random.pick(&[0, 0, 0, 0, 0, 0, 2, 5000]))
            // Who does not end by then never will.
            .drain_timeout(Duration::from_secs(86_400));
        let is_storm = random.percent(2);
        let surplus = if is_storm {
            80
        } else {
            random.pick(&[0, 0, 1, 4])
        };
        Settings {
            framing: framing::draw(config.max_line, random),
            config,
            weights: Weights {
                clients: random.pick(&[20, 40, 60]),
                workers: random.pick(&[2, 6, 20, 60]),
                clock: random.pick(&[1, 2, 5, 15]),
                ticks: if is_deep {
                    2
                } else {
                    random.pick(&[10, 20, 40])
                },
            },
            clients: max_connections + surplus,
            connects: if is_storm { 50 } else { 5 },
            incoming: match is_wide || is_deep {
                true => 60_000,
                false => random.pick(&[2, 60, 400, 2000]),
            },
            outgoing: random.pick(&[2, 30, 1000, 10_000, 200_000, 200_000]),
            chunk: match is_wide || is_deep {
                true => 60_000,
                false => random.pick(&[1, 5, 50, 500, 500]),
            },
            shares_listener: random.percent(30),
            exhausted: random.pick(&[0, 0, 0, 30]),
            quick_bytes: random.pick(&[0, 8, 1024, usize::MAX, usize::MAX]),
            panics: random.pick(&[0, 0, 5, 50]),
            withheld: random.pick(&[0, 20, 60]),
            stops: random.percent(25),
            stop_one_in: 300,
            ends_with_stop: random.percent(40),
        }
    }

    pub(crate) fn is_fair(&self) -> bool {
        self.config.queue_order == QueueOrder::Fair
    }
}

macro_rules! counts {
    ($($(#[$note:meta])* $name:ident,)*) => {
        /// How often things happened: what the runs have covered, and what the engine has to have
        /// counted.
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct Counts {
            $($(#[$note])* pub(crate) $name: u64,)*
        }

        impl Counts {
            pub(crate) fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }

            /// What never happened.
            pub(crate) fn missing(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name)),*];
                all.iter().filter(|(_, count)| *count == 0).map(|(name, _)| *name).collect()
            }
        }
    };
}

counts! {
    framed,
    too_long,
    incomplete,
    busy,
    idle,
    /// Connections of which a request did not come whole in time.
    request_timeouts,
    /// Connections whose clients took too little, and times at which one had caught up.
    slow,
    caught_up,
    internal,
    too_many,
    too_many_per_address,
    /// Connections that began with a header that was right, and of those the headers that came in
    /// more than one read.
    introduced,
    introduced_by_parts,
    /// Connections whose header was wrong, ended too early, or did not end in time.
    headers_broken,
    headers_ended,
    headers_late,
    /// Requests too long behind which nothing could be told from a request.
    out_of_step,
    /// Requests that said that no other one can follow.
    last,
    /// Words that told a client to go on.
    interims,
    /// Connections that did not take what was pending after their last request.
    idle_at_last,
    /// Requests that had more bytes than all in flight together may have.
    large_alone,
    /// Responses that no length could say.
    unsayable,
    /// Connections whose client reset them.
    lost,
    /// Requests never run, because their connection had gone.
    discarded,
    /// Responses whose connection had gone.
    dropped,
    stops,
    /// Stops that were waited for, while all was served.
    lame_ducks,
    /// Connections that were accepted, and bytes that were read, meanwhile.
    accepted_by_lame_duck,
    read_by_lame_duck,
    /// Connections that a stop has left to the next server.
    left_to_the_next,
    /// Connections that closed with an answer because the server was about to stop.
    parted,
    /// Connections that were closed in order, with everything written.
    closed_whole,
    /// Steps at which the bound on unsent output kept a connection from being read.
    unsent_pauses,
    /// The same, for the bounds on requests in flight, or because one waited.
    places_pauses,
    /// The same, for the budget of all.
    budget_pauses,
    /// Connections that sent more, while they lingered, than is read.
    linger_limits,
    /// Connections closed because their time to linger was over.
    linger_timeouts,
    /// Times at which a client was seen to take what it had got.
    progress_seen,
    /// Times at which a full socket was tried again, because nobody tells what its client takes.
    tried_again,
    /// Times at which an idle connection was read before it was called idle, and there was
    /// something.
    read_before_idle,
    /// The same, because more had come while that was read.
    read_on_before_idle,
    /// Times at which a request that was begun came whole when its time was over already, for it
    /// had come before that was judged.
    whole_at_last,
    /// Bytes that were read in the last pass of a stop.
    read_at_stop,
    /// Connections closed because they did not take the error line that said goodbye.
    farewell_timeouts,
    /// Times at which not even one more connection could be refused.
    refusals_exhausted,
    /// Times at which accepting paused for want of descriptors.
    accept_pauses,
    /// Responses of which the last byte was written.
    written,
    /// Tasks of more than one request.
    runs,
    /// Tasks that end where the next request could have joined, but for the limit on requests.
    runs_full,
    /// The same, for the limit on bytes.
    runs_long,
    /// The same, because slots were scarce.
    runs_split,
    /// Runs in which some requests panicked and others did not.
    runs_with_panics,
    /// Times at which several requests of a connection were refused at once.
    runs_refused,
    /// Connections of which runs were taken back.
    runs_discarded,
    /// Turns for slots that a connection had although it was not the first and had one under the
    /// same lock.
    later_turns,
    /// Workers that were called because nobody had come for a task in time.
    woken_in_time,
    /// Times at which a parked worker woke for no reason.
    woken_for_nothing,
    /// Times at which the reactor would have slept beside responses that a worker was about to
    /// announce.
    unannounced,
    /// Requests that were held back when the reactor would have slept, because as many as may were
    /// in flight.
    held_back,
    /// Tasks beside which no other one of their connection ran.
    alone,
    /// Times at which the reactor would have slept, all of them looked at.
    sleeps,
}
