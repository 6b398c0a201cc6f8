//! The order inside the work queue: flows in turn, each flow first in, first out.
//!
//! Knows no lock, no capacity and no meaning of what it holds; a flow is a small number.
//!
//! Rule: a flow that has items stands in the round exactly once, so an item waits for at most one
//! item of each other flow ahead of every item of its own.

use slab::Slab;
use std::collections::VecDeque;

/// Round robin over flows, O(1) per operation (deficit round robin with a quantum of one item:
/// Nagle, "On Packet Switches with Infinite Storage", RFC 970, is the idea).
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// All items of all flows, linked by `next`; filled up to the queue's capacity, then reused.
    items: Slab<Item<T>>,
    /// By flow number. An entry outlives its items, to be found again.
    flows: Vec<Flow>,
    /// Flows whose turn comes, each at most once; a flow emptied by `remove` may still stand here.
    round: VecDeque<u32>,
}

#[derive(Debug)]
struct Item<T> {
    value: T,
    next: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    first: Option<u32>,
    /// Meaningless while `first` is none.
    last: u32,
    in_round: bool,
}

impl<T> Turns<T> {
    pub(super) fn with_capacity(items: usize) -> Turns<T> {
        Turns {
            items: Slab::with_capacity(items),
            flows: Vec::new(),
            round: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn push(&mut self, flow: usize, value: T) {
        if flow >= self.flows.len() {
            self.flows.resize(flow + 1, Flow::default());
        }
        let key = self.items.insert(Item { value, next: None }) as u32;
        self.append(flow, key);
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        self.pop_if(|_| true)
    }

    /// The next item, if it is wanted; nobody else's turn comes before it has gone.
    pub(super) fn pop_if(&mut self, is_wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        while let Some(number) = self.round.front().copied() {
            let flow = &mut self.flows[number as usize];
            let Some(first) = flow.first else {
                flow.in_round = false;
                self.round.pop_front();
                continue;
            };
            if !is_wanted(&self.items[first as usize].value) {
                return None;
            }
            let item = self.items.remove(first as usize);
            self.round.pop_front();
            flow.first = item.next;
            flow.in_round = item.next.is_some();
            if flow.in_round {
                self.round.push_back(number);
            }
            return Some(item.value);
        }
        None
    }

    /// Takes out the items of `flow` that `unwanted` picks, in their order.
    pub(super) fn remove(&mut self, flow: usize, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        let Some(entry) = self.flows.get_mut(flow) else {
            return removed;
        };
        let mut next = entry.first.take();
        while let Some(key) = next {
            next = self.items[key as usize].next.take();
            if unwanted(&self.items[key as usize].value) {
                removed.push(self.items.remove(key as usize).value);
            } else {
                self.append(flow, key);
            }
        }
        removed
    }

    /// Links an item to the end of its flow; a flow that was empty takes the last place in the
    /// round, unless it still stands there.
    fn append(&mut self, number: usize, key: u32) {
        let flow = &mut self.flows[number];
        match flow.first {
            Some(_) => self.items[flow.last as usize].next = Some(key),
            None => flow.first = Some(key),
        }
        flow.last = key;
        if !flow.in_round {
            flow.in_round = true;
            self.round.push_back(number as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn drain(turns: &mut Turns<(usize, u32)>) -> Vec<(usize, u32)> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn flows_take_turns_however_much_one_has_queued() {
        let mut turns = Turns::with_capacity(8);
        for n in 0..4 {
            turns.push(0, (0, n));
        }
        turns.push(1, (1, 0));
        turns.push(2, (2, 0));
        let order = drain(&mut turns);
        assert_eq!(order, [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn a_flow_emptied_by_remove_gets_one_turn_when_its_number_is_used_again() {
        let mut turns = Turns::with_capacity(8);
        turns.push(0, (0, 0));
        turns.push(1, (1, 0));
        assert_eq!(turns.remove(0, |_| true), [(0, 0)]);
        turns.push(0, (0, 7));
        turns.push(0, (0, 8));
        assert_eq!(drain(&mut turns), [(0, 7), (1, 0), (0, 8)]);
    }

    proptest! {
        /// Against the obvious model: a list per flow, and for each item a bound on who may pass.
        #[test]
        fn nothing_is_lost_and_nobody_passes_twice(
            steps in prop::collection::vec((0..10u8, 0..5usize), 1..200)
        ) {
            let mut turns = Turns::with_capacity(4);
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
                        prop_assert_eq!(turns.remove(flow, |(_, n)| odd(n)), expected);
                        passed.remove(&flow);
                    }
                    1..=5 => {
                        turns.push(flow, (flow, number));
                        model.entry(flow).or_default().push(number);
                    }
                    _ => {
                        let got = turns.pop();
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
                prop_assert_eq!(turns.items.len(), model.values().map(Vec::len).sum::<usize>());
                passed.retain(|flow, _| model.get(flow).is_some_and(|queue| !queue.is_empty()));
            }
        }
    }
}
