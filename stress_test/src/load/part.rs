//! Which part of a plan each of several event loops does.
//!
//! Knows numbers of clients and hogs; no loop.
//!
//! Rule: the parts together are the plan, whatever their count: each client belongs to one of
//! them, and so does each request of a timetable.

use std::ops::Range;

use crate::load::plan::Plan;

/// The part of one loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its ordinary clients. They are neighbours, so that loops do not write into the same lines
    /// of memory.
    pub(crate) clients: Range<u32>,
    /// Its hogs, which are numbered after all ordinary clients.
    pub(crate) hogs: Range<u32>,
    /// The ordinary clients that it may add to an open loop, which are numbered after the hogs.
    pub(crate) added: Range<u32>,
    /// How many ordinary clients all parts begin with together.
    pub(crate) all_clients: u32,
    /// How many parts there are.
    pub(crate) count: u32,
}

impl Part {
    /// The parts of `plan`, one for each of its threads; none is without a client.
    pub(crate) fn all_of(plan: &Plan) -> Vec<Self> {
        let count = plan.threads.min(plan.clients);
        let share = |number, all: u32| {
            let before = |number: u32| u64::from(all) * u64::from(number) / u64::from(count);
            before(number) as u32..before(number + 1) as u32
        };
        let behind = |first, share: Range<u32>| first + share.start..first + share.end;
        let (hogs, added) = (plan.hog_numbers(), plan.most_clients - plan.clients);
        let part = |number| Self {
            clients: share(number, plan.clients),
            hogs: behind(hogs.start, share(number, plan.hogs)),
            added: behind(hogs.end, share(number, added)),
            all_clients: plan.clients,
            count,
        };
        (0..count).map(part).collect()
    }

    /// Whether request number `request` of a timetable is one of its own: the clients take turns.
    pub(crate) fn has(&self, request: u64) -> bool {
        let turn = request % u64::from(self.all_clients);
        self.clients.contains(&(turn as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Mix;
    use crate::load::plan::tests::plan;

    #[test]
    fn every_client_hog_and_request_belongs_to_one_part() {
        for (clients, hogs, threads) in [(1, 0, 4), (3, 2, 2), (50, 1, 7), (8, 8, 8)] {
            let plan = Plan {
                clients,
                most_clients: clients + 9,
                hogs,
                threads,
                ..plan(Mix::Echo)
            };
            let parts = Part::all_of(&plan);
            assert_eq!(parts.len() as u32, threads.min(clients));
            assert!(parts.iter().all(|part| !part.clients.is_empty()));
            let all = |range: fn(&Part) -> Range<u32>| parts.iter().flat_map(range);
            let all_clients: Vec<u32> = all(|part| part.clients.clone()).collect();
            let all_hogs: Vec<u32> = all(|part| part.hogs.clone()).collect();
            assert_eq!(all_clients, (0..clients).collect::<Vec<_>>());
            assert_eq!(all_hogs, plan.hog_numbers().collect::<Vec<_>>());
            let all_added: Vec<u32> = all(|part| part.added.clone()).collect();
            let hogs_end = clients + hogs;
            assert_eq!(all_added, (hogs_end..hogs_end + 9).collect::<Vec<_>>());
            for request in 0..200 {
                let owners = parts.iter().filter(|part| part.has(request));
                assert_eq!(owners.count(), 1, "request {request}");
            }
        }
    }
}
