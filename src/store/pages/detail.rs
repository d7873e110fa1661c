//! A task with all that its request said.

use bytes::Bytes;
use sqlx::{PgPool, Row};
use tasker_engine::TaskId;

use crate::store::error::Error;
use crate::store::inspect::{TASK_COLUMNS, TaskView, task_view};
use crate::store::json::JsonBytes;
use crate::store::listing::{Listing, Sql};

/// A task and its request.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDetail {
    /// The task in numbers and words, without its steps.
    pub task: TaskView,
    /// The context, JSON text as it came.
    pub context: Bytes,
    /// Options, JSON text.
    pub options: Option<Bytes>,
    /// Idempotency key.
    pub key: Option<String>,
    /// Who asked.
    pub initiator: Option<String>,
    /// Which system asked.
    pub source_system: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The submitter's own id.
    pub correlation_id: Option<String>,
    /// W3C Trace Context: `traceparent`.
    pub traceparent: Option<String>,
    /// W3C Trace Context: `tracestate`.
    pub tracestate: Option<String>,
    /// Steps that the request bypassed, by name.
    pub bypassed: Vec<String>,
    /// The lane that has it.
    pub lane: i16,
}

/// A task and its request; nothing when there is no such task.
pub async fn task_detail(pool: &PgPool, task: TaskId) -> Result<Option<TaskDetail>, Error> {
    let mut listing = Listing::begin(pool).await?;
    let mut sql = Sql::new("SELECT ");
    sql.add(TASK_COLUMNS).add(
        ", task.context, task.options, task.idempotency_key, task.initiator, task.source_system, task.reason,
           task.correlation_id, task.traceparent, task.tracestate, task.lane,
           ARRAY (SELECT step.name FROM tasker.template_steps AS step
                  WHERE step.template_id = task.template_id AND step.step_number = ANY (task.bypass_steps)
                  ORDER BY step.step_number) AS bypassed
         FROM tasker.task_status AS status JOIN tasker.tasks AS task ON task.task_id = status.task_id
         WHERE status.task_id = ",
    );
    sql.bind(task.0).add(" AND task.task_id = ").bind(task.0);
    let rows = listing.rows(sql).await?;
    listing.end().await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(TaskDetail {
        task: task_view(row)?,
        context: row.try_get::<JsonBytes, _>("context")?.0,
        options: row.try_get::<Option<JsonBytes>, _>("options")?.map(|json| json.0),
        key: row.try_get("idempotency_key")?,
        initiator: row.try_get("initiator")?,
        source_system: row.try_get("source_system")?,
        reason: row.try_get("reason")?,
        correlation_id: row.try_get("correlation_id")?,
        traceparent: row.try_get("traceparent")?,
        tracestate: row.try_get("tracestate")?,
        bypassed: row.try_get("bypassed")?,
        lane: row.try_get("lane")?,
    }))
}
