//! Tasks.

use serde::Serialize;
use utoipa::ToSchema;

use super::Step;
use crate::protocol::TaskSummary;
use crate::server::task_summary;
use crate::store;

/// A task and, when asked for, its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::ops::api) struct Task {
    #[serde(flatten)]
    pub task: TaskSummary,
    /// In order of definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
}

/// A task in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::ops::api) struct ListedTask {
    #[serde(flatten)]
    task: TaskSummary,
    /// Whether its steps are told apart. On a page with many steps of unfinished tasks, those of the later ones that are neither
    /// done nor failed count as pending.
    counted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator: Option<String>,
    /// From its creation to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<i64>,
    /// Of a task in error: its last final failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastError>,
}

/// Why a task is in error.
#[derive(Debug, Serialize, ToSchema)]
struct LastError {
    /// The step that failed.
    step: String,
    attempt: u32,
    /// Class of the error.
    class: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    failed_at_ms: i64,
}

impl From<store::TaskRow> for ListedTask {
    fn from(row: store::TaskRow) -> ListedTask {
        let store::TaskRow { task, is_counted, key, initiator, duration_ms, last_error } = row;
        ListedTask {
            task: task_summary(&task),
            counted: is_counted,
            idempotency_key: key,
            initiator,
            duration_ms,
            last_error: last_error.map(|error| {
                let store::LastError { step, attempt, class, message, code, failed_at_ms } = error;
                LastError { step, attempt, class, message, code, failed_at_ms }
            }),
        }
    }
}

/// How many tasks a filter selects.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::ops::api) struct Count {
    /// As many are known.
    tasks: u32,
    /// Whether there may be more.
    capped: bool,
}

impl From<store::Count> for Count {
    fn from(count: store::Count) -> Count {
        Count { tasks: count.tasks, capped: count.is_capped }
    }
}
