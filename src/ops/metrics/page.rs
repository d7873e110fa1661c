//! Writes families of metrics.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::server::metrics::Spread;

/// Microseconds, as histograms have them, in a second.
pub(super) const MICROSECONDS: f64 = 1e6;
/// Things that are counted one by one.
pub(super) const ONES: f64 = 1.0;

/// Labels of a series.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// A text in the making.
pub(super) struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl<'a> Page<'a> {
    pub fn of(encoder: DescriptorEncoder<'a>) -> Page<'a> {
        Page { encoder }
    }

    /// A count since the start.
    pub fn counter(&mut self, name: &str, unit: Option<Unit>, help: &str, value: u64) -> fmt::Result {
        self.counters(name, unit, help, [(Labels::new(), value)])
    }

    /// Counts since the start, a series each.
    pub fn counters<'l>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        series.into_iter().try_for_each(|(labels, value)| {
            each(&mut family, &labels, |metric| metric.encode_counter::<NoLabelSet, u64, f64>(&value, None))
        })
    }

    /// How it is now.
    pub fn gauge(&mut self, name: &str, unit: Option<Unit>, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, unit, help, [(Labels::new(), value)])
    }

    /// How it is now, a series each.
    pub fn gauges<'l>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        series
            .into_iter()
            .try_for_each(|(labels, value)| each(&mut family, &labels, |metric| metric.encode_gauge(&value)))
    }

    /// How values are distributed; so many of the spread's units make one of the metric's.
    pub fn histogram(&mut self, name: &str, unit: Option<Unit>, help: &str, spread: &Spread, per: f64) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?;
        let buckets = spread.buckets.iter().map(|&(bound, count)| (bound as f64 / per, count));
        let buckets: Vec<(f64, u64)> = buckets.chain([(f64::INFINITY, spread.beyond)]).collect();
        family.encode_histogram::<NoLabelSet>(spread.sum as f64 / per, spread.count(), &buckets, None)
    }

    /// What does not change.
    pub fn info(&mut self, name: &str, help: &str, labels: &Labels<'_>) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels)
    }
}

fn each(
    family: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { write(family) } else { write(&mut family.encode_family(labels)?) }
}
