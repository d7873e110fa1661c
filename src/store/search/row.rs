//! What a list shows of its tasks.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgRow;
use tasker_engine::{StepCounts, TaskId};
use uuid::Uuid;

use crate::store::error::Error;
use crate::store::inspect::{TASK_COLUMNS, TaskView, task_view};
use crate::store::listing::{Listing, Sql};

/// A task in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    /// The task, without its steps.
    pub task: TaskView,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Who asked for it.
    pub initiator: Option<String>,
    /// From creation to end, by the clock of the database.
    pub duration_ms: Option<i64>,
    /// Of a task in error: its last final failure.
    pub last_error: Option<LastError>,
}

/// Why a task is in error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// The step that failed.
    pub step: String,
    /// The attempt.
    pub attempt: u32,
    /// Class of the error.
    pub class: String,
    /// Its message.
    pub message: String,
    /// Its code.
    pub code: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub failed_at_ms: i64,
}

/// The tasks with these ids, in the same order.
pub(super) async fn rows(listing: &mut Listing, ids: &[Uuid]) -> Result<Vec<TaskRow>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: HashMap<Uuid, TaskRow> = HashMap::with_capacity(ids.len());
    let mut unknown = Vec::new();
    for row in &listing.rows(facts(ids)).await? {
        let id: Uuid = row.try_get("task_id")?;
        found.insert(id, task_row(row)?);
        if row.try_get::<Option<&str>, _>("final_state")? != Some("complete") {
            unknown.push(id);
        }
    }
    if !unknown.is_empty() {
        for row in &listing.rows(statuses(&unknown)).await? {
            let task = task_view(row)?;
            if let Some(row) = found.get_mut(&task.id.0) {
                row.task = task;
            }
        }
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// The rows of the tasks themselves. All steps of a complete task are complete, or bypassed as the request asked: it needs no
/// look at them.
fn facts(ids: &[Uuid]) -> Sql {
    let mut sql = Sql::new(
        "SELECT task.task_id, template.namespace, template.name, template.version, task.final_state, task.priority,
                coalesce(cardinality(task.bypass_steps), 0) AS bypassed, task.tags, task.initiator, task.idempotency_key,
                (SELECT step.step_number + 1 FROM tasker.template_steps AS step
                 WHERE step.template_id = task.template_id ORDER BY step.step_number DESC LIMIT 1) AS total,
                (extract(epoch FROM task.created_at) * 1000)::bigint AS created_at_ms,
                (extract(epoch FROM task.finished_at) * 1000)::bigint AS finished_at_ms,
                (extract(epoch FROM task.run_at) * 1000)::bigint AS run_at_ms,
                failure.step, failure.attempt, failure.error_class, failure.error_message, failure.error_code,
                (extract(epoch FROM failure.failed_at) * 1000)::bigint AS failed_at_ms
         FROM tasker.tasks AS task
         JOIN tasker.task_templates AS template ON template.template_id = task.template_id
         LEFT JOIN LATERAL (
             SELECT attempt.*, step.name AS step FROM tasker.step_attempts_failed AS attempt
             JOIN tasker.template_steps AS step
               ON step.template_id = task.template_id AND step.step_number = attempt.step_number
             WHERE task.final_state = 'error' AND attempt.task_id = task.task_id AND attempt.final
             ORDER BY attempt.failed_at DESC LIMIT 1
         ) AS failure ON true
         WHERE task.task_id = ANY (",
    );
    sql.bind(ids).add("::uuid[])");
    sql
}

/// `OFFSET 0` keeps the planner from taking the view apart and computing it for all tasks.
fn statuses(ids: &[Uuid]) -> Sql {
    let mut sql = Sql::new("SELECT ");
    sql.add(TASK_COLUMNS).add(" FROM unnest(").bind(ids).add(
        "::uuid[]) AS page (task_id) CROSS JOIN LATERAL (
             SELECT * FROM tasker.task_status AS one WHERE one.task_id = page.task_id OFFSET 0
         ) AS status",
    );
    sql
}

fn task_row(row: &PgRow) -> Result<TaskRow, Error> {
    let number =
        |column: &str| Ok::<_, Error>(row.try_get::<Option<i32>, _>(column)?.unwrap_or(0).max(0).cast_unsigned());
    let (total, bypassed) = (number("total")?, number("bypassed")?);
    let created_at_ms: i64 = row.try_get("created_at_ms")?;
    let finished_at_ms: Option<i64> = row.try_get("finished_at_ms")?;
    let task = TaskView {
        id: TaskId(row.try_get("task_id")?),
        namespace: row.try_get("namespace")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        state: "complete".to_owned(),
        priority: row.try_get("priority")?,
        total,
        counts: StepCounts {
            complete: total.saturating_sub(bypassed),
            resolved_manually: bypassed,
            ..StepCounts::default()
        },
        execution_status: "all_complete".to_owned(),
        recommended_action: "none".to_owned(),
        completion_percentage: 100.0,
        health: "healthy".to_owned(),
        created_at_ms,
        finished_at_ms,
        run_at_ms: row.try_get("run_at_ms")?,
        tags: row.try_get::<Option<Vec<String>>, _>("tags")?.unwrap_or_default(),
        steps: Vec::new(),
        results_too_large: false,
    };
    let last_error = match row.try_get::<Option<String>, _>("step")? {
        Some(step) => Some(LastError {
            step,
            attempt: number("attempt")?,
            class: row.try_get("error_class")?,
            message: row.try_get("error_message")?,
            code: row.try_get("error_code")?,
            failed_at_ms: row.try_get("failed_at_ms")?,
        }),
        None => None,
    };
    Ok(TaskRow {
        task,
        key: row.try_get("idempotency_key")?,
        initiator: row.try_get("initiator")?,
        duration_ms: finished_at_ms.map(|end| end - created_at_ms),
        last_error,
    })
}
