//! How times and sizes of a run are distributed.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::protocol::Bucket;

/// Times in milliseconds: percentiles of a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Times that were taken.
    pub count: u64,
    /// Half of them are at most this.
    pub p50_ms: f64,
    /// Nine of ten.
    pub p90_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All of them.
    pub max_ms: f64,
}

/// Percentiles of a distribution that the broker keeps in buckets, an eighth wide: each is the upper bound of its bucket.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spread {
    /// Values.
    pub count: u64,
    /// Half of them are at most this.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// All of them.
    pub max: u64,
}

/// Takes times down, to the microsecond and three digits.
pub(super) struct Recorder(Histogram<u64>);

/// Three digits of each time are kept.
const DIGITS: u8 = 3;

/// A week.
const LONGEST_US: u64 = 7 * 86_400 * 1_000_000;

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder(Histogram::new(DIGITS).expect("three digits are allowed"))
    }
}

impl Recorder {
    pub(super) fn add(&mut self, time: Duration) {
        self.add_us(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn add_us(&mut self, us: u64) {
        // The histogram grows as far as it has to; what is longer than this is counted as this.
        let recorded = self.0.record(us.min(LONGEST_US));
        debug_assert!(recorded.is_ok(), "{recorded:?}");
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all times of another.
    pub(super) fn merge(&mut self, other: &Recorder) {
        let merged = self.0.add(&other.0);
        debug_assert!(merged.is_ok(), "{merged:?}");
    }

    pub(super) fn latency(&self) -> Latency {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        Latency {
            count: self.0.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            max_ms: self.0.max() as f64 / 1_000.0,
        }
    }
}

/// What was added to a distribution between two looks at it.
pub(super) fn spread(before: &[Bucket], after: &[Bucket]) -> Spread {
    let count_before = |up_to| before.iter().find(|bucket| bucket.up_to == up_to).map_or(0, |bucket| bucket.count);
    let added = after.iter().map(|bucket| (bucket.up_to, bucket.count.saturating_sub(count_before(bucket.up_to))));
    let added: Vec<(u64, u64)> = added.filter(|(_, count)| *count > 0).collect();
    let count: u64 = added.iter().map(|(_, count)| count).sum();
    let at = |share: f64| {
        let mut left = (count as f64 * share).ceil() as u64;
        let reached = added.iter().find(|(_, count)| {
            let reached = *count >= left;
            left = left.saturating_sub(*count);
            reached
        });
        reached.map_or(0, |(up_to, _)| *up_to)
    };
    Spread { count, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: added.last().map_or(0, |(up_to, _)| *up_to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut recorder = Recorder::default();
        (1..=100).for_each(|ms| recorder.add(Duration::from_millis(ms)));
        let latency = recorder.latency();
        assert_eq!(latency.count, 100);
        for (found, expected) in [(latency.p50_ms, 50.0), (latency.p90_ms, 90.0), (latency.p99_ms, 99.0)] {
            assert!((found - expected).abs() < 0.1, "{found} for {expected}");
        }
        assert!((latency.max_ms - 100.0).abs() < 0.1, "{}", latency.max_ms);
    }

    #[test]
    fn a_spread_is_of_what_was_added() {
        let bucket = |(up_to, count)| Bucket { up_to, count };
        let before = [(5, 7), (9, 1)].map(bucket);
        let after = [(3, 50), (5, 7), (9, 41), (1_023, 10)].map(bucket);
        let spread = spread(&before, &after);
        assert_eq!((spread.count, spread.p50, spread.p90, spread.p99, spread.max), (100, 3, 9, 1_023, 1_023));
    }
}
