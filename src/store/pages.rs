//! What pages and the API show of one thing, or of many that no filter selects: each answer has a bound, and what has no end
//! comes in pages by key, newest first unless it says otherwise.

mod actions;
mod attempts;
mod batches;
mod dead_ends;
mod detail;
mod graph;
mod namespaces;
mod registrations;
mod transitions;

pub use actions::{ActCursor, ActedOn, Acts, OperatorAct, acts, operator_acts};
pub use attempts::{
    Attempt, AttemptState, Failing, LedgerEntry, StepHistory, TIMELINE_ROWS_MAX, Timeline, TimelineRow, step_history,
    timeline,
};
pub use batches::{BatchDetail, BatchFilter, BatchPage, BatchRow, BatchStep, batch_detail, list_batches};
pub use dead_ends::{DEAD_TASKS_MAX, DeadEnd, DeadEnds, dead_ends};
pub use detail::{TaskDetail, task_detail};
pub use graph::{StepNode, step_nodes};
pub use namespaces::{NamespaceRow, Namespaces, UNFINISHED_COUNTED_MAX, namespaces};
pub use registrations::{Registration, registrations};
pub use transitions::{Transition, TransitionCursor, Transitions, transitions};

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::error::Error;

/// Most rows of a page.
const ROWS_MAX: u32 = 1_000;

/// A bound for a statement, from what was asked for.
fn bounded(limit: u32) -> i64 {
    i64::from(limit.clamp(1, ROWS_MAX))
}

/// A number that is never negative, nothing when it is NULL.
pub(super) fn number(row: &PgRow, column: &str) -> Result<Option<u32>, Error> {
    let value: Option<i32> = row.try_get(column)?;
    let checked = value.map(|value| u32::try_from(value).map_err(|_| Error::corrupt(format!("`{column}` is {value}"))));
    checked.transpose()
}

/// A number that is there and never negative.
pub(super) fn count(row: &PgRow, column: &str) -> Result<u32, Error> {
    number(row, column)?.ok_or_else(|| Error::corrupt(format!("`{column}` is NULL")))
}
