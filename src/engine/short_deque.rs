//! A deque whose first item stands in it, not in memory of its own: most connections have one request under way.
//!
//! Knows nothing of what it holds.
//!
//! Rule: one item allocates nothing, and no item keeps nothing allocated.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

#[derive(Debug)]
pub(super) struct ShortDeque<T> {
    /// None only if there is no item at all.
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for ShortDeque<T> {
    fn default() -> ShortDeque<T> {
        ShortDeque {
            first: None,
            rest: VecDeque::new(),
        }
    }
}

impl<T> ShortDeque<T> {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut T> {
        self.rest.back_mut().or(self.first.as_mut())
    }

    pub(super) fn push_back(&mut self, item: T) -> &mut T {
        if self.first.is_none() {
            return self.first.insert(item);
        }
        self.rest.push_back(item);
        self.rest.back_mut().expect("it was pushed just now")
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let item = self.first.take()?;
        if self.rest.capacity() > 0 {
            self.first = self.rest.pop_front();
            if self.first.is_none() {
                self.rest = VecDeque::new();
            }
        }
        Some(item)
    }

    /// Puts an item right behind the one at `position`.
    ///
    /// # Panics
    /// When there is none at `position`.
    pub(super) fn insert_after(&mut self, position: usize, item: T) {
        assert!(!self.is_empty(), "an item stands behind another");
        self.rest.insert(position, item);
    }

    /// Where the items end that `is_before`, all of which stand at the front.
    pub(super) fn partition_point(&self, is_before: impl Fn(&T) -> bool) -> usize {
        match &self.first {
            Some(first) if is_before(first) => 1 + self.rest.partition_point(is_before),
            _ => 0,
        }
    }
}

impl<T> Index<usize> for ShortDeque<T> {
    type Output = T;

    fn index(&self, position: usize) -> &T {
        match position {
            0 => self.first.as_ref().expect("an item at 0"),
            _ => &self.rest[position - 1],
        }
    }
}

impl<T> IndexMut<usize> for ShortDeque<T> {
    fn index_mut(&mut self, position: usize) -> &mut T {
        match position {
            0 => self.first.as_mut().expect("an item at 0"),
            _ => &mut self.rest[position - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_deque(steps in prop::collection::vec((0..6u8, any::<prop::sample::Index>()), 0..60)) {
            let (mut short, mut model) = (ShortDeque::default(), VecDeque::new());
            for (number, (kind, at)) in steps.into_iter().enumerate() {
                match kind {
                    0 | 1 => prop_assert_eq!(short.pop_front(), model.pop_front()),
                    2 if !model.is_empty() => {
                        let at = at.index(model.len());
                        short.insert_after(at, number);
                        model.insert(at + 1, number);
                    }
                    3 if !model.is_empty() => {
                        let at = at.index(model.len());
                        prop_assert_eq!(short[at], model[at]);
                        short[at] += 1000;
                        model[at] += 1000;
                    }
                    _ => {
                        short.push_back(number);
                        model.push_back(number);
                    }
                }
                prop_assert!(short.iter().eq(&model));
                prop_assert_eq!((short.len(), short.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(short.front(), model.front());
                prop_assert_eq!(short.front_mut(), model.front_mut());
                prop_assert_eq!(short.back_mut(), model.back_mut());
                prop_assert!(!short.is_empty() || short.rest.capacity() == 0);
            }
        }

        #[test]
        fn it_is_divided_where_a_slice_is(mut items in prop::collection::vec(0..9u8, 0..9), bound in 0..9u8) {
            items.sort_unstable();
            let mut short = ShortDeque::default();
            for item in &items {
                short.push_back(*item);
            }
            let is_before = |item: &u8| *item < bound;
            prop_assert_eq!(short.partition_point(is_before), items.partition_point(is_before));
        }
    }

    #[test]
    fn one_item_allocates_nothing_and_no_item_keeps_nothing() {
        let mut deque = ShortDeque::default();
        deque.push_back(1);
        assert_eq!(deque.rest.capacity(), 0);
        deque.push_back(2);
        assert_eq!((deque.pop_front(), deque.pop_front()), (Some(1), Some(2)));
        assert_eq!(deque.rest.capacity(), 0);
    }
}
