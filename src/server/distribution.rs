//! How values are distributed, in a fixed amount of memory and at the cost of an addition a value.

use crate::protocol::Bucket;

/// Each power of two is divided into so many buckets, so that a bucket's bounds are an eighth apart at most.
const PARTS: u64 = 8;

/// Buckets up to 2^40: as microseconds, twelve days.
const BUCKETS: usize = 8 + 8 * 37;

/// Counts of values by size. Values past the last bucket are counted in it.
#[derive(Clone, Debug)]
pub(crate) struct Distribution {
    counts: Box<[u64; BUCKETS]>,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { counts: Box::new([0; BUCKETS]) }
    }
}

impl Distribution {
    pub fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.counts.fill(0);
    }

    /// The bound up to which this share of the values is; 0 when there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let count: u64 = self.counts.iter().sum();
        // Rounded up, and 2^53 values are not reached.
        let wanted = (count as f64 * share).ceil() as u64;
        let mut passed = 0;
        let found = self.counts.iter().position(|&count| {
            passed += count;
            passed >= wanted.max(1)
        });
        found.map_or(0, upper_bound)
    }

    /// Those that are not empty, smallest first.
    pub fn buckets(&self) -> Vec<Bucket> {
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(index, count)| Bucket { up_to: upper_bound(index), count: *count }).collect()
    }
}

/// Up to 8 a bucket a value; beyond, the three bits after the highest one say which part of the power of two it is.
fn bucket(value: u64) -> usize {
    let index = if value < PARTS {
        value
    } else {
        let power = u64::from(value.ilog2());
        PARTS * (power - 2) + (value >> (power - 3)) - PARTS
    };
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < PARTS {
        return index;
    }
    let (power, part) = (index / PARTS + 2, index % PARTS);
    ((PARTS + part + 1) << (power - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap_and_are_narrow() {
        for index in 0..BUCKETS - 1 {
            let upper = upper_bound(index);
            assert_eq!(bucket(upper), index);
            assert_eq!(bucket(upper + 1), index + 1);
            let lower = if index == 0 { 0 } else { upper_bound(index - 1) + 1 };
            assert!(upper - lower <= lower / 8, "{lower} to {upper}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn values_are_counted_where_they_belong() {
        let mut distribution = Distribution::default();
        for value in [0, 3, 3, 1_000, 1_001] {
            distribution.add(value);
        }
        let buckets: Vec<(u64, u64)> = distribution.buckets().iter().map(|b| (b.up_to, b.count)).collect();
        assert_eq!(buckets, [(0, 1), (3, 2), (1_023, 2)]);
        let quantiles = [0.0, 0.2, 0.21, 0.6, 0.61, 1.0].map(|share| distribution.quantile(share));
        assert_eq!(quantiles, [0, 0, 3, 3, 1_023, 1_023]);
        distribution.clear();
        assert_eq!(distribution.quantile(0.5), 0);
    }
}
