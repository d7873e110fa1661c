//! Answers to questions about tasks, live or ended, by the views of the database.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use sqlx::postgres::{PgBindIterExt, PgRow};
use sqlx::{PgConnection, PgPool, Row};
use tasker_engine::{KeyLookup, StepCounts, TaskId, TemplateKey};
use uuid::Uuid;

use super::connect::{ANSWER_TIMEOUT, Reader, within};
use super::error::Error;
use super::json::JsonBytes;

/// A task in numbers and words.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Template namespace.
    pub namespace: String,
    /// Template name.
    pub name: String,
    /// Template version.
    pub version: String,
    /// One of the six task states.
    pub state: String,
    /// Priority.
    pub priority: i32,
    /// All steps.
    pub total: u32,
    /// Steps by state.
    pub counts: StepCounts,
    /// `has_ready_steps`, `processing`, and so on.
    pub execution_status: String,
    /// What should happen next.
    pub recommended_action: String,
    /// 0 to 100, two decimals.
    pub completion_percentage: f64,
    /// `healthy`, `recovering`, `blocked`.
    pub health: String,
    /// Milliseconds since the Unix epoch, database clock.
    pub created_at_ms: i64,
    /// When it ended.
    pub finished_at_ms: Option<i64>,
    /// Not before.
    pub run_at_ms: Option<i64>,
    /// Labels of the request.
    pub tags: Vec<String>,
    /// The steps in order of definition, when asked for.
    pub steps: Vec<StepView>,
    /// Whether the results asked for have more bytes than were allowed; none is there then.
    pub results_too_large: bool,
}

/// A step of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct StepView {
    /// Index in the template.
    pub step: u32,
    /// Its name.
    pub name: String,
    /// One of the seven step states.
    pub state: String,
    /// Attempts made.
    pub attempts: u32,
    /// Most attempts.
    pub retry_limit: u32,
    /// Whether it could run now.
    pub ready: bool,
    /// Why it does or does not run.
    pub reason: String,
    /// Names of the parents.
    pub parents: Vec<String>,
    /// The worker that has it, or had it last.
    pub worker: Option<String>,
    /// Milliseconds until the next attempt, when it waits for one.
    pub retry_in_ms: Option<u64>,
    /// Last dispatch, milliseconds since the Unix epoch.
    pub dispatched_at_ms: Option<i64>,
    /// End.
    pub finished_at_ms: Option<i64>,
    /// How long the handler ran, in microseconds.
    pub duration_us: Option<u64>,
    /// Class of the last error.
    pub error_class: Option<String>,
    /// Message of the last error.
    pub error_message: Option<String>,
    /// Code of the last error.
    pub error_code: Option<String>,
    /// The result (JSON text), when asked for.
    pub result: Option<Bytes>,
}

macro_rules! task_columns {
    () => {
        "status.task_id, status.namespace, status.name, status.version, status.state, status.priority, status.total,
         status.pending, status.ready, status.in_progress, status.complete, status.error, status.cancelled,
         status.resolved_manually, status.waiting_for_retry, status.execution_status, status.recommended_action,
         status.completion_percentage::float8 AS completion_percentage, status.health, status.tags,
         (extract(epoch FROM status.created_at) * 1000)::bigint AS created_at_ms,
         (extract(epoch FROM status.finished_at) * 1000)::bigint AS finished_at_ms,
         (extract(epoch FROM status.run_at) * 1000)::bigint AS run_at_ms"
    };
}

/// What [`task_view`] reads, of the row `status` of the view `task_status`.
pub(super) const TASK_COLUMNS: &str = task_columns!();

/// Results read at once at first, and at most: sixteen of the largest are one message.
const RESULTS_AT_ONCE_MIN: usize = 16;
const RESULTS_AT_ONCE_MAX: usize = 1_024;

/// The status of a task; with its steps, and the results of those named (`*` names all), when asked for.
pub async fn task_status(
    pool: &PgPool,
    task: TaskId,
    include_steps: bool,
    include_results: &[String],
    results_bytes_max: u64,
) -> Result<Option<TaskView>, Error> {
    let sql = concat!("SELECT ", task_columns!(), " FROM tasker.task_status AS status WHERE status.task_id = $1");
    let mut session = Reader::take(pool).await?;
    let row = within(ANSWER_TIMEOUT, sqlx::query(sql).bind(task.0).fetch_optional(&mut *session)).await?;
    let mut view = row.as_ref().map(task_view).transpose()?;
    if let Some(view) = view.as_mut().filter(|_| include_steps || !include_results.is_empty()) {
        view.steps = steps(&mut session, task).await?;
        let all = include_results.iter().any(|name| name == "*");
        let wanted: HashSet<&str> = include_results.iter().map(String::as_str).collect();
        let mut wanted: Vec<&mut StepView> =
            view.steps.iter_mut().filter(|step| all || wanted.contains(&*step.name)).collect();
        view.results_too_large = !read_results(&mut session, task, &mut wanted, results_bytes_max).await?;
    }
    session.give_back();
    Ok(view)
}

/// Reads the results of steps, in order of their numbers. `false` when they have too many bytes together: then no more is
/// read, and nothing is kept.
async fn read_results(
    session: &mut PgConnection,
    task: TaskId,
    steps: &mut [&mut StepView],
    bytes_max: u64,
) -> Result<bool, Error> {
    let (mut from, mut at_once, mut bytes) = (0, RESULTS_AT_ONCE_MIN, 0);
    while from < steps.len() {
        let to = steps.len().min(from + at_once);
        let numbers: Vec<i32> = steps[from..to].iter().map(|step| step.step.cast_signed()).collect();
        let sql = "SELECT step_number, result FROM tasker.step_outcomes WHERE task_id = $1 AND step_number = ANY ($2)";
        let query = sqlx::query(sql).bind(task.0).bind(numbers);
        let rows = within(ANSWER_TIMEOUT, query.fetch_all(&mut *session)).await?;
        let before = bytes;
        for row in rows {
            let number = count(&row, "step_number")?;
            let result = row.try_get::<Option<JsonBytes>, _>("result")?.map(|json| json.0);
            bytes += result.as_ref().map_or(0, Bytes::len) as u64;
            if let Ok(place) = steps.binary_search_by_key(&number, |step| step.step) {
                steps[place].result = result;
            }
        }
        if bytes > bytes_max {
            steps.iter_mut().for_each(|step| step.result = None);
            return Ok(false);
        }
        // Small results need not cost a round trip for sixteen of them.
        let small = (bytes - before).saturating_mul(16) < bytes_max;
        at_once = if small { RESULTS_AT_ONCE_MAX.min(at_once * 2) } else { RESULTS_AT_ONCE_MIN };
        from = to;
    }
    Ok(true)
}

async fn steps(session: &mut PgConnection, task: TaskId) -> Result<Vec<StepView>, Error> {
    let query = sqlx::query(
        "SELECT status.step_number, status.name, status.state, status.attempts, status.retry_limit, readiness.ready,
             readiness.reason, registration.worker, status.duration_us, status.error_class, status.error_message,
             status.error_code,
             ARRAY (SELECT parent.name FROM tasker.template_steps AS definition
                    JOIN tasker.template_steps AS parent ON parent.template_id = definition.template_id
                     AND parent.step_number = ANY (definition.parents)
                    WHERE definition.template_id = status.template_id AND definition.step_number = status.step_number
                    ORDER BY parent.step_number) AS parents,
             CASE WHEN status.retry_at IS NOT NULL
                  THEN greatest(extract(epoch FROM status.retry_at - now()) * 1000, 0)::bigint END AS retry_in_ms,
             (extract(epoch FROM status.dispatched_at) * 1000)::bigint AS dispatched_at_ms,
             (extract(epoch FROM status.finished_at) * 1000)::bigint AS finished_at_ms
         FROM tasker.step_status AS status
         JOIN tasker.step_readiness AS readiness
           ON readiness.task_id = status.task_id AND readiness.step_number = status.step_number
         LEFT JOIN tasker.worker_registrations AS registration ON registration.registration_id = status.registration_id
         WHERE status.task_id = $1 ORDER BY status.step_number",
    )
    .bind(task.0);
    let rows = within(ANSWER_TIMEOUT, query.fetch_all(session)).await?;
    rows.iter().map(step_view).collect()
}

/// Which tasks have these keys, and what templates they run, in the order of the question.
pub async fn lookup_keys(pool: &PgPool, keys: &[KeyLookup]) -> Result<Vec<Option<(TaskId, TemplateKey)>>, Error> {
    let query = sqlx::query(
        "SELECT found.task_id, asked.namespace, asked.name, template.version
         FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS asked (namespace, name, key, position)
         LEFT JOIN (tasker.idempotency_keys AS found
                    JOIN tasker.task_templates AS template ON template.template_id = found.template_id)
                ON found.namespace = asked.namespace AND found.name = asked.name AND found.key = asked.key
         ORDER BY asked.position",
    )
    .bind(keys.iter().map(|key| &*key.namespace).bind_iter())
    .bind(keys.iter().map(|key| &*key.name).bind_iter())
    .bind(keys.iter().map(|key| &*key.key).bind_iter());
    let mut session = Reader::take(pool).await?;
    let rows = within(ANSWER_TIMEOUT, query.fetch_all(&mut *session)).await?;
    session.give_back();
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let task: Option<Uuid> = row.try_get("task_id")?;
        let template = |column| Ok::<_, sqlx::Error>(Arc::from(row.try_get::<&str, _>(column)?));
        found.push(match task {
            Some(task) => Some((
                TaskId(task),
                TemplateKey {
                    namespace: template("namespace")?,
                    name: template("name")?,
                    version: template("version")?,
                },
            )),
            None => None,
        });
    }
    Ok(found)
}

/// Asks for nothing, to see whether the database answers.
pub async fn ping(pool: &PgPool) -> Result<(), Error> {
    let mut session = Reader::take(pool).await?;
    within(ANSWER_TIMEOUT, sqlx::query("SELECT").execute(&mut *session)).await?;
    session.give_back();
    Ok(())
}

fn count(row: &PgRow, column: &str) -> Result<u32, Error> {
    let value: i32 = row.try_get(column)?;
    u32::try_from(value).map_err(|_| Error::corrupt(format!("`{column}` is {value}")))
}

pub(super) fn task_view(row: &PgRow) -> Result<TaskView, Error> {
    Ok(TaskView {
        id: TaskId(row.try_get("task_id")?),
        namespace: row.try_get("namespace")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        state: row.try_get("state")?,
        priority: row.try_get("priority")?,
        total: count(row, "total")?,
        counts: StepCounts {
            pending: count(row, "pending")?,
            ready: count(row, "ready")?,
            in_progress: count(row, "in_progress")?,
            complete: count(row, "complete")?,
            error: count(row, "error")?,
            cancelled: count(row, "cancelled")?,
            resolved_manually: count(row, "resolved_manually")?,
            waiting_for_retry: count(row, "waiting_for_retry")?,
        },
        execution_status: row.try_get("execution_status")?,
        recommended_action: row.try_get("recommended_action")?,
        completion_percentage: row.try_get("completion_percentage")?,
        health: row.try_get("health")?,
        created_at_ms: row.try_get("created_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
        run_at_ms: row.try_get("run_at_ms")?,
        tags: row.try_get::<Option<Vec<String>>, _>("tags")?.unwrap_or_default(),
        steps: Vec::new(),
        results_too_large: false,
    })
}

fn step_view(row: &PgRow) -> Result<StepView, Error> {
    Ok(StepView {
        step: count(row, "step_number")?,
        name: row.try_get("name")?,
        state: row.try_get("state")?,
        attempts: count(row, "attempts")?,
        retry_limit: count(row, "retry_limit")?,
        ready: row.try_get("ready")?,
        reason: row.try_get("reason")?,
        parents: row.try_get("parents")?,
        worker: row.try_get("worker")?,
        retry_in_ms: row.try_get::<Option<i64>, _>("retry_in_ms")?.map(i64::cast_unsigned),
        dispatched_at_ms: row.try_get("dispatched_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
        duration_us: row.try_get::<Option<i64>, _>("duration_us")?.map(i64::cast_unsigned),
        error_class: row.try_get("error_class")?,
        error_message: row.try_get("error_message")?,
        error_code: row.try_get("error_code")?,
        result: None,
    })
}
