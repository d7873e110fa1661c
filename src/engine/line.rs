//! A line in which the lowest rank goes first. Nearly everything leaves it at the front, which a heap makes cheap; what leaves
//! from elsewhere is remembered until it comes to the front.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use crate::hash::BuildIdHasher;

/// A place in the order; no two in a line are the same.
pub(crate) type Rank = (i64, u64);

/// What waits, by rank.
#[derive(Debug)]
pub(crate) struct Line<T> {
    /// What is at the front is not in `gone`.
    places: BinaryHeap<Reverse<(Rank, T)>>,
    /// Ranks in `places` that have left: at most half of them.
    gone: HashSet<Rank, BuildIdHasher>,
}

impl<T: Copy + Ord> Line<T> {
    pub fn new() -> Line<T> {
        Line { places: BinaryHeap::new(), gone: HashSet::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn first(&self) -> Option<(Rank, T)> {
        self.places.peek().map(|&Reverse(place)| place)
    }

    pub fn insert(&mut self, rank: Rank, item: T) {
        // It comes back before it was missed.
        if self.gone.is_empty() || !self.gone.remove(&rank) {
            self.places.push(Reverse((rank, item)));
        }
    }

    /// Takes out what is in line with this rank.
    pub fn remove(&mut self, rank: Rank) {
        if self.first().is_some_and(|(first, _)| first == rank) {
            self.places.pop();
        } else {
            self.gone.insert(rank);
        }
        while !self.gone.is_empty()
            && let Some((rank, _)) = self.first()
            && self.gone.remove(&rank)
        {
            self.places.pop();
        }
        if self.gone.len() * 2 > self.places.len() {
            self.places.retain(|Reverse((rank, _))| !self.gone.contains(rank));
            self.gone.clear();
        }
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
                prop_assert!(line.places.len() <= 2 * sorted.len(), "what has left is let go of");
            }
        }
    }
}
