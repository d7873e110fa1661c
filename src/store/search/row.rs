//! What a list shows of its tasks.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::PgRow;
use tasker_engine::{StepCounts, TaskId, TaskState};
use uuid::Uuid;

use crate::store::error::Error;
use crate::store::inspect::TaskView;
use crate::store::listing::{Listing, Sql};
use crate::store::pages::{count, number};

/// A task in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    /// The task, without its steps.
    pub task: TaskView,
    /// Whether its steps are told apart. On a page with many steps of unfinished tasks, those of the later ones that are
    /// neither done nor failed count as pending.
    pub is_counted: bool,
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

/// Steps of unfinished tasks that are told apart on a page: each takes some look-ups by key, a tenth of a millisecond in
/// all at worst.
const STEPS_COUNTED_MAX: u32 = 5_000;

/// The tasks with these ids, in the same order.
pub(super) async fn rows(listing: &mut Listing, ids: &[Uuid]) -> Result<Vec<TaskRow>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: HashMap<Uuid, TaskRow> = HashMap::with_capacity(ids.len());
    for row in &listing.rows(facts(ids)).await? {
        found.insert(row.try_get("task_id")?, task_row(row)?);
    }
    let (mut counted, mut settled, mut steps) = (Vec::new(), Vec::new(), 0_u32);
    for id in ids {
        match found.get(id).map(|row| (row.task.finished_at_ms, &*row.task.state, row.task.total)) {
            Some((Some(_), "complete", _)) | None => {}
            Some((None, _, total)) if steps.saturating_add(total) <= STEPS_COUNTED_MAX => {
                steps += total;
                counted.push(*id);
            }
            Some(_) => settled.push(*id),
        }
    }
    if !settled.is_empty() {
        for row in &listing.rows(settled_steps(&settled)).await? {
            if let Some(found) = found.get_mut(&row.try_get("task_id")?) {
                add_settled(found, row)?;
            }
        }
    }
    if !counted.is_empty() {
        for row in &listing.rows(all_steps(&counted)).await? {
            if let Some(found) = found.get_mut(&row.try_get("task_id")?) {
                add_all(found, row)?;
            }
        }
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).map(in_words).collect())
}

/// The rows of the tasks themselves.
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

/// Steps of ended tasks by what they came to. A step fails for good once, unless an operator has reset it since.
fn settled_steps(ids: &[Uuid]) -> Sql {
    let mut sql = Sql::new(
        "SELECT page.task_id, outcome.complete, outcome.resolved, failure.error
         FROM unnest(",
    );
    sql.bind(ids).add(
        "::uuid[]) AS page (task_id)
         CROSS JOIN LATERAL (
             SELECT count(*) FILTER (WHERE settled.kind = 'complete')::integer AS complete,
                    count(*) FILTER (WHERE settled.kind <> 'complete')::integer AS resolved
             FROM tasker.step_outcomes AS settled WHERE settled.task_id = page.task_id
         ) AS outcome
         CROSS JOIN LATERAL (
             SELECT count(*)::integer AS error FROM tasker.step_attempts_failed AS attempt
             WHERE attempt.task_id = page.task_id AND attempt.final
               AND NOT EXISTS (SELECT FROM tasker.step_outcomes AS settled
                               WHERE settled.task_id = page.task_id AND settled.step_number = attempt.step_number OFFSET 0)
               AND attempt.attempt > coalesce((
                   SELECT max(action.attempts_before) FROM tasker.operator_actions AS action
                   WHERE action.task_id = page.task_id AND action.step_number = attempt.step_number
                     AND action.operation = 'retry'), 0)
         ) AS failure",
    );
    sql
}

/// Steps of unfinished tasks by state: in one statement for all, which reads what is with workers once.
fn all_steps(ids: &[Uuid]) -> Sql {
    let mut sql = Sql::new(
        "SELECT step.task_id, count(*) FILTER (WHERE step.state = 'pending')::integer AS pending,
                count(*) FILTER (WHERE step.ready)::integer AS ready,
                count(*) FILTER (WHERE step.state = 'in_progress')::integer AS in_progress,
                count(*) FILTER (WHERE step.state = 'complete')::integer AS complete,
                count(*) FILTER (WHERE step.state = 'error')::integer AS error,
                count(*) FILTER (WHERE step.state = 'resolved_manually')::integer AS resolved,
                count(*) FILTER (WHERE step.state = 'waiting_for_retry')::integer AS waiting_for_retry,
                bool_and(step.state = 'pending' AND step.attempts = 0) AS untouched
         FROM tasker.step_readiness AS step WHERE step.task_id = ANY (",
    );
    sql.bind(ids).add("::uuid[]) GROUP BY step.task_id");
    sql
}

/// A task with what its row says. All steps of a complete one are complete, or bypassed as the request asked: it needs no look
/// at them.
fn task_row(row: &PgRow) -> Result<TaskRow, Error> {
    let number = |column: &str| Ok::<_, Error>(number(row, column)?.unwrap_or(0));
    let (total, bypassed) = (number("total")?, number("bypassed")?);
    let created_at_ms: i64 = row.try_get("created_at_ms")?;
    let finished_at_ms: Option<i64> = row.try_get("finished_at_ms")?;
    let counts =
        StepCounts { complete: total.saturating_sub(bypassed), resolved_manually: bypassed, ..StepCounts::default() };
    let task = TaskView {
        id: TaskId(row.try_get("task_id")?),
        namespace: row.try_get("namespace")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        state: row.try_get::<Option<String>, _>("final_state")?.unwrap_or_else(|| "in_progress".to_owned()),
        priority: row.try_get("priority")?,
        total,
        counts,
        execution_status: String::new(),
        recommended_action: String::new(),
        completion_percentage: 0.0,
        health: String::new(),
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
        is_counted: true,
        key: row.try_get("idempotency_key")?,
        initiator: row.try_get("initiator")?,
        duration_ms: finished_at_ms.map(|end| end - created_at_ms),
        last_error,
    })
}

/// Steps of a task that has ended; of one that has not, when there are too many: those that are not done count as pending.
fn add_settled(found: &mut TaskRow, row: &PgRow) -> Result<(), Error> {
    let (complete, resolved, error) = (count(row, "complete")?, count(row, "resolved")?, count(row, "error")?);
    let rest = found.task.total.saturating_sub(complete + resolved + error);
    let (pending, cancelled) = if found.task.state == "cancelled" { (0, rest) } else { (rest, 0) };
    found.task.counts =
        StepCounts { pending, complete, error, cancelled, resolved_manually: resolved, ..StepCounts::default() };
    found.is_counted = found.task.finished_at_ms.is_some();
    Ok(())
}

fn add_all(found: &mut TaskRow, row: &PgRow) -> Result<(), Error> {
    found.task.counts = StepCounts {
        pending: count(row, "pending")?,
        ready: count(row, "ready")?,
        in_progress: count(row, "in_progress")?,
        complete: count(row, "complete")?,
        error: count(row, "error")?,
        cancelled: 0,
        resolved_manually: count(row, "resolved")?,
        waiting_for_retry: count(row, "waiting_for_retry")?,
    };
    if row.try_get("untouched")? {
        "pending".clone_into(&mut found.task.state);
    }
    Ok(())
}

/// The words for the counts, by the engine.
fn in_words(mut row: TaskRow) -> TaskRow {
    let TaskView { counts, state, .. } = &row.task;
    let state = TaskState::from_name(state).unwrap_or(TaskState::InProgress);
    let (status, action) = (counts.execution_status(state), counts.recommended_action(state));
    let (health, percentage) = (counts.health(), counts.completion_percentage());
    // Without a look at its steps, all that is known of a task that goes on is that it does.
    let (status, action) = if row.is_counted { (status, action) } else { ("processing", "wait_for_completion") };
    row.task.execution_status = status.to_owned();
    row.task.recommended_action = action.to_owned();
    row.task.health = health.to_owned();
    row.task.completion_percentage = percentage;
    row
}
