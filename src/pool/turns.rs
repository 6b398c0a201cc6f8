//! The order inside the work queue: flows in turn, each flow first in, first out.
//!
//! Knows no lock, no capacity and no meaning of what it holds; a flow is a small number.
//!
//! Rule: a flow that has items stands in the round exactly once, so an item waits for at most one
//! item of each other flow ahead of every item of its own.

use slab::Slab;
use std::collections::VecDeque;

/// Round robin over flows, O(1) per push and pop (deficit round robin with a quantum of one item:
/// Nagle, "On Packet Switches with Infinite Storage", RFC 970, is the idea).
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// The next item of each flow that has any, in the order of their turns. A ring, for the sake of those that push: they
    /// write over what has left, and need not fetch what another core has written there.
    round: VecDeque<(u32, T)>,
    /// By flow number.
    flows: Vec<Flow>,
    /// The other items of all flows, linked by `next`.
    behind: Slab<Item<T>>,
}

#[derive(Debug)]
struct Item<T> {
    value: T,
    next: Option<u32>,
}

/// What a flow has.
#[derive(Debug, Clone, Copy, Default)]
enum Flow {
    #[default]
    Nothing,
    /// One item, which stands in the round.
    One,
    /// One in the round, and those from `first` to `last` behind it.
    More { first: u32, last: u32 },
}

impl<T> Turns<T> {
    pub(super) fn new() -> Turns<T> {
        Turns {
            round: VecDeque::new(),
            flows: Vec::new(),
            behind: Slab::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.round.len() + self.behind.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.round.is_empty()
    }

    pub(super) fn push(&mut self, flow: usize, value: T) {
        if flow >= self.flows.len() {
            self.flows.resize(flow + 1, Flow::Nothing);
        }
        let entry = &mut self.flows[flow];
        if let Flow::Nothing = entry {
            *entry = Flow::One;
            return self.round.push_back((flow as u32, value));
        }
        let key = self.behind.insert(Item { value, next: None }) as u32;
        let mut first = key;
        if let Flow::More {
            first: before,
            last,
        } = *entry
        {
            first = before;
            self.behind[last as usize].next = Some(key);
        }
        *entry = Flow::More { first, last: key };
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let (flow, value) = self.round.pop_front()?;
        let entry = &mut self.flows[flow as usize];
        if let Flow::More { first, last } = *entry {
            let item = self.behind.remove(first as usize);
            self.round.push_back((flow, item.value));
            *entry = match item.next {
                Some(first) => Flow::More { first, last },
                None => Flow::One,
            };
        } else {
            *entry = Flow::Nothing;
        }
        Some(value)
    }

    /// Takes out the items of `flow` that `unwanted` picks, in their order. Linear in the flows that have items, and in those
    /// of this one.
    pub(super) fn remove(&mut self, flow: usize, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let is_it = |turn: &(u32, T)| turn.0 == flow as u32;
        let Some(place) = self.round.iter().position(is_it) else {
            return Vec::new();
        };
        let mut next = match std::mem::take(&mut self.flows[flow]) {
            Flow::More { first, .. } => Some(first),
            Flow::Nothing | Flow::One => None,
        };
        let mut items: Vec<T> = self
            .round
            .remove(place)
            .map(|(_, value)| value)
            .into_iter()
            .collect();
        while let Some(key) = next {
            let item = self.behind.remove(key as usize);
            items.push(item.value);
            next = item.next;
        }
        let (removed, kept): (Vec<T>, Vec<T>) = items.into_iter().partition(unwanted);
        let stood_last = self.round.len();
        kept.into_iter().for_each(|value| self.push(flow, value));
        // The flow keeps its turn.
        if self.round.len() > stood_last {
            let turn = self.round.pop_back().expect("it was pushed just now");
            self.round.insert(place, turn);
        }
        removed
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
        let mut turns = Turns::new();
        for n in 0..4 {
            turns.push(0, (0, n));
        }
        turns.push(1, (1, 0));
        turns.push(2, (2, 0));
        let order = drain(&mut turns);
        assert_eq!(order, [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn a_flow_emptied_by_remove_comes_last_when_its_number_is_used_again() {
        let mut turns = Turns::new();
        turns.push(0, (0, 0));
        turns.push(1, (1, 0));
        assert_eq!(turns.remove(0, |_| true), [(0, 0)]);
        turns.push(0, (0, 7));
        turns.push(0, (0, 8));
        assert_eq!(drain(&mut turns), [(1, 0), (0, 7), (0, 8)]);
    }

    proptest! {
        /// Against the obvious model: a list per flow, and for each item a bound on who may pass.
        #[test]
        fn nothing_is_lost_and_nobody_passes_twice(
            steps in prop::collection::vec((0..10u8, 0..5usize), 1..200)
        ) {
            let mut turns = Turns::new();
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
                prop_assert_eq!(turns.round.len() + turns.behind.len(), model.values().map(Vec::len).sum::<usize>());
                passed.retain(|flow, _| model.get(flow).is_some_and(|queue| !queue.is_empty()));
            }
        }
    }
}
