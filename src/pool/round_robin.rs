//! The order inside the work queue: flows take turns, and each flow is first in, first out.
//!
//! Knows no lock, no capacity and no meaning of what it holds; a flow is a small number.
//!
//! Rule: a flow that has items stands in the ring exactly once, so an item waits for at most one
//! item of each other flow ahead of every item of its own.

use slab::Slab;
use std::collections::VecDeque;

/// Round robin over flows, O(1) for each push and pop (the idea is Nagle's: "On Packet Switches
/// with Infinite Storage", RFC 970).
///
/// The items stand in one slab, as linked lists. So there may be very many flows, and a push
/// allocates only while more items are queued than ever before.
#[derive(Debug)]
pub(super) struct RoundRobin<T> {
    /// The flows that have items; the next one first.
    ring: VecDeque<usize>,
    items: Slab<Item<T>>,
    /// The ends of each flow that has items, by its number.
    flows: Vec<Option<Ends>>,
}

#[derive(Debug)]
struct Item<T> {
    value: T,
    /// The one behind it in its flow, unless it is the last.
    next: Option<u32>,
}

/// The first and the last item of a flow.
#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

impl<T> RoundRobin<T> {
    pub(super) fn new() -> RoundRobin<T> {
        RoundRobin {
            ring: VecDeque::new(),
            items: Slab::new(),
            flows: Vec::new(),
        }
    }

    /// Items of all flows.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn push(&mut self, flow: usize, value: T) {
        if flow >= self.flows.len() {
            self.flows.resize(flow + 1, None);
        }
        if self.flows[flow].is_none() {
            self.ring.push_back(flow);
        }
        self.append(flow, value);
    }

    /// The new last item of `flow`.
    fn append(&mut self, flow: usize, value: T) {
        let item = self.items.insert(Item { value, next: None });
        let last = u32::try_from(item).expect("no more items are queued than 32 bits count");
        let first = match self.flows[flow] {
            Some(ends) => {
                self.items[ends.last as usize].next = Some(last);
                ends.first
            }
            None => last,
        };
        self.flows[flow] = Some(Ends { first, last });
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let flow = self.ring.pop_front()?;
        let value = self.pop_of(flow);
        if self.flows[flow].is_some() {
            self.ring.push_back(flow);
        }
        value
    }

    /// The first item of `flow`.
    fn pop_of(&mut self, flow: usize) -> Option<T> {
        let ends = self.flows[flow]?;
        let Item { value, next } = self.items.remove(ends.first as usize);
        self.flows[flow] = next.map(|first| Ends { first, ..ends });
        Some(value)
    }

    /// Takes out the items of `flow` that `unwanted` picks, in their order; the flow keeps its
    /// place. Linear in the flows that have items, and in the items of this one.
    pub(super) fn remove(&mut self, flow: usize, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let Some(place) = self.ring.iter().position(|other| *other == flow) else {
            return Vec::new();
        };
        let items: Vec<T> = std::iter::from_fn(|| self.pop_of(flow)).collect();
        let (removed, kept): (Vec<T>, Vec<T>) = items.into_iter().partition(unwanted);
        if kept.is_empty() {
            self.ring.remove(place);
        }
        for value in kept {
            self.append(flow, value);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn drain(flows: &mut RoundRobin<(usize, u32)>) -> Vec<(usize, u32)> {
        std::iter::from_fn(|| flows.pop()).collect()
    }

    #[test]
    fn flows_take_turns_however_much_one_has_queued() {
        let mut flows = RoundRobin::new();
        for n in 0..4 {
            flows.push(0, (0, n));
        }
        flows.push(1, (1, 0));
        flows.push(2, (2, 0));
        let order = drain(&mut flows);
        assert_eq!(order, [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn a_flow_emptied_by_remove_comes_last_when_its_number_is_used_again() {
        let mut flows = RoundRobin::new();
        flows.push(0, (0, 0));
        flows.push(1, (1, 0));
        assert_eq!(flows.remove(0, |_| true), [(0, 0)]);
        flows.push(0, (0, 7));
        flows.push(0, (0, 8));
        assert_eq!(drain(&mut flows), [(1, 0), (0, 7), (0, 8)]);
    }

    proptest! {
        /// Against the obvious model: a list per flow, and for each item a bound on who may pass.
        #[test]
        fn nothing_is_lost_and_nobody_passes_twice(
            steps in prop::collection::vec((0..10u8, 0..5usize), 1..200)
        ) {
            let mut flows = RoundRobin::new();
            let mut model: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
            // By flow: which flows were served since its first item became its first.
            let mut passed: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (number, (kind, flow)) in steps.into_iter().enumerate() {
                let number = number as u32;
                match kind {
                    0 => {
                        let odd = |n: &u32| n % 2 == 1;
                        let queue = model.entry(flow).or_default();
                        let expected: Vec<_> = queue.extract_if(.., |n| odd(n)).map(|n| (flow, n)).collect();
                        prop_assert_eq!(flows.remove(flow, |(_, n)| odd(n)), expected);
                        passed.remove(&flow);
                    }
                    1..=5 => {
                        flows.push(flow, (flow, number));
                        model.entry(flow).or_default().push(number);
                    }
                    _ => {
                        let got = flows.pop();
                        let Some((flow, n)) = got else {
                            prop_assert!(model.values().all(Vec::is_empty));
                            continue;
                        };
                        prop_assert_eq!(model.get_mut(&flow).expect("a known flow").remove(0), n);
                        passed.remove(&flow);
                        for other in model.iter().filter(|(k, q)| **k != flow && !q.is_empty()) {
                            let servings = passed.entry(*other.0).or_default();
                            prop_assert!(!servings.contains(&flow), "flow {} passed {} twice", flow, other.0);
                            servings.push(flow);
                        }
                    }
                }
                prop_assert_eq!(flows.len(), model.values().map(Vec::len).sum::<usize>());
                passed.retain(|flow, _| model.get(flow).is_some_and(|queue| !queue.is_empty()));
            }
        }
    }
}
