//! How values are distributed over a few buckets, as monitoring systems collect it. One thread adds, anybody reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread changes, so that a change is a read and a write and waits for nobody.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }
}

/// Upper bounds of waiting and running times, in microseconds: a broker at rest hands a step over in some milliseconds, and a
/// timeout may be days.
pub(super) const TIMES_US: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    14_400_000_000,
    86_400_000_000,
];

/// Upper bounds of the time that a commit takes, in microseconds: 0.3 ms on a fast disk, and beyond two seconds Postgres
/// counts as away.
pub(super) const COMMIT_TIMES_US: &[u64] = &[
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    30_000_000,
];

/// Upper bounds of the rows of a commit: a lone outcome is one, full groups are some thousands.
pub(super) const COMMIT_ROWS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000];

/// Counts of values by size.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [u64],
    /// A bucket a bound, and one for what is beyond.
    counts: Box<[Count]>,
    sum: Count,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Upper bounds, each with the number of values up to it that are above the bound before it.
    pub buckets: Vec<(u64, u64)>,
    /// Values beyond the last bound.
    pub beyond: u64,
    /// The values together.
    pub sum: u64,
}

impl Spread {
    /// All values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|&(_, count)| count).sum::<u64>() + self.beyond
    }
}

impl Histogram {
    pub fn new(bounds: &'static [u64]) -> Histogram {
        Histogram { bounds, counts: (0..=bounds.len()).map(|_| Count::default()).collect(), sum: Count::default() }
    }

    pub fn add(&self, value: u64) {
        self.counts[self.bounds.partition_point(|&bound| bound < value)].add(1);
        self.sum.add(value);
    }

    pub fn spread(&self) -> Spread {
        let counts = self.counts.iter().map(Count::get);
        let buckets = self.bounds.iter().copied().zip(counts).collect();
        Spread { buckets, beyond: self.counts[self.bounds.len()].get(), sum: self.sum.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_it() {
        let histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1_000] {
            histogram.add(value);
        }
        let spread = histogram.spread();
        assert_eq!(spread, Spread { buckets: vec![(10, 2), (20, 2)], beyond: 2, sum: 1_062 });
        assert_eq!(spread.count(), 6);
    }
}
