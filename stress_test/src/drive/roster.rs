//! Who takes part in a run: ordinary clients, hogs, and what each of them is to do.
//!
//! Knows the plan and the numbers; no socket, and not how far anybody is.
//!
//! Rule: a number says who it is, whenever its connection is made.

use std::ops::Range;
use std::time::Instant;

use crate::check::failure::Sender;
use crate::drive::client::{Client, Demand};
use crate::drive::connection::Connection;
use crate::drive::desk::Desk;
use crate::load::plan::{Load, Plan};

/// The connection of number `id`, not begun yet.
pub(crate) fn connection(plan: &Plan, desk: &Desk, id: u32, now: Instant) -> Connection {
    let sender = desk.expectations.sender(id);
    let last_frame_alone = desk.expectations.last_frame_may_end_the_stream(id);
    let demand = demand(plan, sender, last_frame_alone);
    Connection::new(Client::new(id, sender, demand, plan.seed, now), now)
}

fn demand(plan: &Plan, sender: Sender, last_frame_alone: bool) -> Demand {
    let reconnect = plan.reconnect.then_some(plan.timeout);
    match sender {
        Sender::Client(_) => Demand {
            frames: plan.load.frames(),
            paced: matches!(plan.load, Load::Rate(_)),
            max_inflight: plan.max_inflight,
            retries: plan.retries,
            last_frame_alone,
            reconnect,
            choice: plan.requests.choice(false, plan.seed),
        },
        // A hog takes a refusal as an answer and goes on.
        Sender::Hog(_) => Demand {
            frames: None,
            paced: false,
            max_inflight: plan.hog_inflight,
            retries: 0,
            last_frame_alone,
            reconnect,
            choice: plan.requests.choice(true, plan.seed),
        },
    }
}

/// The ordinary clients among `connections`, the others of which are `hogs`.
pub(crate) fn clients<'a>(
    connections: &'a mut [Connection],
    hogs: &Range<usize>,
) -> impl Iterator<Item = &'a mut Connection> {
    let (first, others) = connections.split_at_mut(hogs.start);
    first.iter_mut().chain(&mut others[hogs.len()..])
}
