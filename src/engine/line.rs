//! A line in which the lowest rank goes first. Most things come in order, behind everything that waits, and go to the end of a
//! queue; what comes before its end goes into a heap. Nearly everything leaves at the front, which both make cheap; what leaves
//! from elsewhere is remembered until it comes to the front.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};

use crate::hash::BuildIdHasher;

/// A place in the order; no two in a line are the same.
pub(crate) type Rank = (i64, u64);

/// What waits, by rank.
#[derive(Debug)]
pub(crate) struct Line<T> {
    /// In order. The first is not in `gone`, and neither is that of `between`.
    queue: VecDeque<(Rank, T)>,
    between: BinaryHeap<Reverse<(Rank, T)>>,
    /// Ranks that have left, but not from here: at most half of all.
    gone: HashSet<Rank, BuildIdHasher>,
}

impl<T: Copy + Ord> Line<T> {
    pub fn new() -> Line<T> {
        Line { queue: VecDeque::new(), between: BinaryHeap::new(), gone: HashSet::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.between.is_empty()
    }

    pub fn first(&self) -> Option<(Rank, T)> {
        let between = self.between.peek().map(|&Reverse(place)| place);
        match (self.queue.front(), between) {
            (Some(&(rank, item)), Some(between)) if rank < between.0 => Some((rank, item)),
            (Some(&place), None) => Some(place),
            (_, between) => between,
        }
    }

    pub fn insert(&mut self, rank: Rank, item: T) {
        // It comes back before it was missed.
        if !self.gone.is_empty() && self.gone.remove(&rank) {
            return;
        }
        if self.queue.back().is_none_or(|&(last, _)| last < rank) {
            self.queue.push_back((rank, item));
        } else {
            self.between.push(Reverse((rank, item)));
        }
    }

    /// Takes out what is in line with this rank.
    pub fn remove(&mut self, rank: Rank) {
        if self.queue.front().is_some_and(|&(first, _)| first == rank) {
            self.queue.pop_front();
        } else if self.between.peek().is_some_and(|&Reverse((first, _))| first == rank) {
            self.between.pop();
        } else {
            self.gone.insert(rank);
        }
        if self.gone.is_empty() {
            return;
        }
        while let Some((rank, _)) = self.queue.front()
            && self.gone.remove(rank)
        {
            self.queue.pop_front();
        }
        while let Some(Reverse((rank, _))) = self.between.peek()
            && self.gone.remove(rank)
        {
            self.between.pop();
        }
        if self.gone.len() * 2 > self.places() {
            self.queue.retain(|(rank, _)| !self.gone.contains(rank));
            self.between.retain(|Reverse((rank, _))| !self.gone.contains(rank));
            self.gone.clear();
        }
    }

    /// With those that have left.
    fn places(&self) -> usize {
        self.queue.len() + self.between.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Line;

    proptest! {
        #[test]
        fn it_is_in_the_order_of_a_sorted_map(ops in prop::collection::vec((any::<bool>(), 0i64..4, 0u64..12), 0..200)) {
            let mut line = Line::new();
            let mut sorted = BTreeMap::new();
            for (leaves_first, high, low) in ops {
                let rank = match sorted.first_key_value() {
                    Some((&first, _)) if leaves_first => first,
                    Some(_) | None => (high, low),
                };
                if sorted.remove(&rank).is_some() {
                    line.remove(rank);
                } else {
                    line.insert(rank, low);
                    sorted.insert(rank, low);
                }
                prop_assert_eq!(line.first(), sorted.first_key_value().map(|(&rank, &item)| (rank, item)));
                prop_assert_eq!(line.is_empty(), sorted.is_empty());
                prop_assert!(line.places() <= 2 * sorted.len(), "what has left is let go of");
            }
        }
    }
}
