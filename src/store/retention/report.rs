//! What leaves, in numbers: the same before and after.

use std::collections::BTreeMap;

use serde::Serialize;

use super::month::Month;

/// What a run has done, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Months of tasks of which something leaves, the oldest first.
    pub months: Vec<MonthReport>,
    /// Months of records that leave.
    pub records: Vec<RecordsReport>,
    /// Idempotency keys that leave.
    pub idempotency_keys: u64,
    /// Why the run ended before its end; the rest is for the next one.
    pub stopped: Option<String>,
}

impl Report {
    /// Whether nothing leaves.
    pub fn is_empty(&self) -> bool {
        self.months.is_empty() && self.records.is_empty() && self.idempotency_keys == 0
    }
}

/// A month of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MonthReport {
    /// In which they were made, `YYYY-MM`.
    pub month: String,
    /// Tasks that leave, by state.
    pub tasks_left: BTreeMap<String, u64>,
    /// Tasks that stay, by state; `unfinished` is one here.
    pub tasks_kept: BTreeMap<String, u64>,
    /// Its partitions.
    pub tables: Vec<TableReport>,
    /// Where those that leave were written to.
    pub archive: Option<String>,
}

impl MonthReport {
    pub(super) fn new(month: Month) -> MonthReport {
        MonthReport { month: month.to_string(), ..MonthReport::default() }
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Its name, without the schema.
    pub partition: String,
    /// Rows that leave.
    pub rows_left: u64,
    /// Rows that are carried over into the partition that takes its place.
    pub rows_kept: u64,
    /// Its size with indexes.
    pub bytes_before: u64,
}

/// A month of records: a whole partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordsReport {
    /// The partition.
    pub partition: String,
    /// Its rows.
    pub rows_left: u64,
    /// Its size with indexes.
    pub bytes_before: u64,
}
