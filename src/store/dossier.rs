//! One task as a person looks at it: its request, and a line for each step. A few statements that walk sets by the task's key,
//! so that ten thousand steps cost tenths of a second; what is large is cut, and asked for by itself.

use std::collections::HashMap;

use bytes::Bytes;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use tasker_engine::{StepState, TaskId, TaskState};
use uuid::Uuid;

use super::connect::{ANSWER_TIMEOUT, Reader, within};
use super::error::Error;
use super::json::JsonBytes;

/// Bytes of a payload that a dossier holds at most; the whole of it is asked for by [`payload`].
pub const EXCERPT_BYTES_MAX: i32 = 64 * 1024;
/// Letters of an error message in the line of a step.
const MESSAGE_LETTERS: i32 = 300;

/// A task with its steps.
#[derive(Clone, Debug)]
pub struct Dossier {
    /// Its id.
    pub id: TaskId,
    /// Template namespace.
    pub namespace: String,
    /// Template name.
    pub name: String,
    /// Template version.
    pub version: String,
    /// Its state.
    pub state: TaskState,
    /// Priority.
    pub priority: i32,
    /// Creation, in milliseconds since the Unix epoch, database clock, as all times here.
    pub created_at_ms: i64,
    /// When it ended.
    pub finished_at_ms: Option<i64>,
    /// Not before.
    pub run_at_ms: Option<i64>,
    /// When all of this was read.
    pub read_at_ms: i64,
    /// Labels.
    pub tags: Vec<String>,
    /// Key of the request.
    pub idempotency_key: Option<String>,
    /// Who asked.
    pub initiator: Option<String>,
    /// Which system asked.
    pub source_system: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The submitter's id of the business process.
    pub correlation_id: Option<String>,
    /// The context.
    pub context: Excerpt,
    /// Options, when there are any.
    pub options: Option<Excerpt>,
    /// The steps by number.
    pub steps: Vec<StepLine>,
}

/// JSON text, or its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// At most about [`EXCERPT_BYTES_MAX`].
    pub text: String,
    /// Bytes of the whole.
    pub bytes: usize,
}

/// A step.
#[derive(Clone, Debug)]
pub struct StepLine {
    /// Its name.
    pub name: String,
    /// Its handler.
    pub handler: String,
    /// Its state.
    pub state: StepState,
    /// Whether nothing but a worker is missing.
    pub ready: bool,
    /// Attempts made.
    pub attempts: u32,
    /// Most attempts.
    pub retry_limit: u32,
    /// Whether it may be skipped.
    pub skippable: bool,
    /// How long an attempt may take.
    pub timeout_ms: i64,
    /// Numbers of its parents.
    pub parents: Vec<u32>,
    /// The worker that has it, or had it last.
    pub worker: Option<String>,
    /// When it is tried again.
    pub retry_at_ms: Option<i64>,
    /// Last dispatch.
    pub dispatched_at_ms: Option<i64>,
    /// End.
    pub finished_at_ms: Option<i64>,
    /// How long the handler ran, in microseconds.
    pub duration_us: Option<u64>,
    /// Class of the last error, while it counts.
    pub error_class: Option<String>,
    /// Beginning of its message.
    pub error_message: Option<String>,
}

/// The dossier of a task, as of one moment.
pub async fn dossier(pool: &PgPool, task: TaskId) -> Result<Option<Dossier>, Error> {
    let mut session = begin(pool).await?;
    let Some(mut dossier) = head(&mut session, task).await? else {
        end(session).await?;
        return Ok(None);
    };
    dossier.steps = steps(&mut session, task).await?;
    let is_due = dossier.finished_at_ms.is_none() && dossier.run_at_ms.is_none_or(|at_ms| at_ms <= dossier.read_at_ms);
    if is_due {
        mark_ready(&mut dossier.steps);
    }
    // Without an end, a task is in progress from its first dispatch on, and in any case once something of it is settled.
    let untouched = |step: &StepLine| step.state == StepState::Pending && step.attempts == 0;
    if dossier.finished_at_ms.is_none() && dossier.steps.iter().all(untouched) {
        dossier.state = TaskState::Pending;
    }
    end(session).await?;
    Ok(Some(dossier))
}

/// A snapshot that only reads, and gives up in time: a person waits for it.
pub(super) async fn begin(pool: &PgPool) -> Result<Reader, Error> {
    let mut session = Reader::take(pool).await?;
    let sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 5000";
    within(ANSWER_TIMEOUT, sqlx::raw_sql(sql).execute(&mut *session)).await?;
    Ok(session)
}

pub(super) async fn end(mut session: Reader) -> Result<(), Error> {
    within(ANSWER_TIMEOUT, sqlx::raw_sql("COMMIT").execute(&mut *session)).await?;
    session.give_back();
    Ok(())
}

async fn head(session: &mut PgConnection, task: TaskId) -> Result<Option<Dossier>, Error> {
    let query = sqlx::query(
        "SELECT template.namespace, template.name, template.version, task.final_state, task.priority, task.tags,
             task.idempotency_key, task.initiator, task.source_system, task.reason, task.correlation_id,
             left(task.context::text, $2) AS context, octet_length(task.context::text) AS context_bytes,
             left(task.options::text, $2) AS options, octet_length(task.options::text) AS options_bytes,
             (extract(epoch FROM task.created_at) * 1000)::bigint AS created_at_ms,
             (extract(epoch FROM task.finished_at) * 1000)::bigint AS finished_at_ms,
             (extract(epoch FROM task.run_at) * 1000)::bigint AS run_at_ms,
             (extract(epoch FROM now()) * 1000)::bigint AS read_at_ms
         FROM tasker.tasks AS task
         JOIN tasker.task_templates AS template ON template.template_id = task.template_id
         WHERE task.task_id = $1",
    );
    let answer = query.bind(task.0).bind(EXCERPT_BYTES_MAX).fetch_optional(session);
    let Some(row) = within(ANSWER_TIMEOUT, answer).await? else { return Ok(None) };
    let state = match row.try_get::<Option<&str>, _>("final_state")? {
        None => TaskState::InProgress,
        Some(name) => TaskState::from_name(name).ok_or_else(|| Error::corrupt(format!("task state {name}")))?,
    };
    Ok(Some(Dossier {
        id: task,
        namespace: row.try_get("namespace")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        state,
        priority: row.try_get("priority")?,
        created_at_ms: row.try_get("created_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
        run_at_ms: row.try_get("run_at_ms")?,
        read_at_ms: row.try_get("read_at_ms")?,
        tags: row.try_get::<Option<Vec<String>>, _>("tags")?.unwrap_or_default(),
        idempotency_key: row.try_get("idempotency_key")?,
        initiator: row.try_get("initiator")?,
        source_system: row.try_get("source_system")?,
        reason: row.try_get("reason")?,
        correlation_id: row.try_get("correlation_id")?,
        context: excerpt(&row, "context", "context_bytes")?.unwrap_or_default(),
        options: excerpt(&row, "options", "options_bytes")?,
        steps: Vec::new(),
    }))
}

pub(super) fn excerpt(row: &PgRow, text: &str, bytes: &str) -> Result<Option<Excerpt>, Error> {
    let text: Option<String> = row.try_get(text)?;
    let bytes: Option<i32> = row.try_get(bytes)?;
    Ok(text.zip(bytes).map(|(text, bytes)| Excerpt { text, bytes: usize::try_from(bytes).unwrap_or(0) }))
}

async fn steps(session: &mut PgConnection, task: TaskId) -> Result<Vec<StepLine>, Error> {
    let query = sqlx::query(
        "SELECT status.step_number, status.name, definition.handler, definition.skippable, definition.timeout_ms,
             definition.parents, status.state, status.attempts, status.retry_limit, status.registration_id,
             status.duration_us, status.error_class, left(status.error_message, $2) AS error_message,
             (extract(epoch FROM status.retry_at) * 1000)::bigint AS retry_at_ms,
             (extract(epoch FROM status.dispatched_at) * 1000)::bigint AS dispatched_at_ms,
             (extract(epoch FROM status.finished_at) * 1000)::bigint AS finished_at_ms
         FROM tasker.step_status AS status
         JOIN tasker.template_steps AS definition
           ON definition.template_id = status.template_id AND definition.step_number = status.step_number
         WHERE status.task_id = $1 ORDER BY status.step_number",
    );
    let answer = query.bind(task.0).bind(MESSAGE_LETTERS).fetch_all(&mut *session);
    let rows = within(ANSWER_TIMEOUT, answer).await?;
    let mut registrations = Vec::with_capacity(rows.len());
    for row in &rows {
        registrations.push(row.try_get::<Option<Uuid>, _>("registration_id")?);
    }
    let workers = workers(session, registrations.iter().flatten().copied().collect()).await?;
    let worker = |registration: &Option<Uuid>| registration.and_then(|id| workers.get(&id).cloned());
    rows.iter().zip(&registrations).map(|(row, registration)| step_line(row, worker(registration))).collect()
}

/// Names of workers by registration.
async fn workers(session: &mut PgConnection, mut registrations: Vec<Uuid>) -> Result<HashMap<Uuid, String>, Error> {
    registrations.sort_unstable();
    registrations.dedup();
    let sql = "SELECT registration_id, worker FROM tasker.worker_registrations WHERE registration_id = ANY ($1)";
    let rows = within(ANSWER_TIMEOUT, sqlx::query(sql).bind(registrations).fetch_all(session)).await?;
    rows.iter().map(|row| Ok((row.try_get("registration_id")?, row.try_get("worker")?))).collect()
}

fn step_line(row: &PgRow, worker: Option<String>) -> Result<StepLine, Error> {
    let name: &str = row.try_get("state")?;
    let parents: Vec<i32> = row.try_get("parents")?;
    Ok(StepLine {
        name: row.try_get("name")?,
        handler: row.try_get("handler")?,
        state: StepState::from_name(name).ok_or_else(|| Error::corrupt(format!("step state {name}")))?,
        ready: false,
        attempts: number(row, "attempts")?,
        retry_limit: number(row, "retry_limit")?,
        skippable: row.try_get("skippable")?,
        timeout_ms: row.try_get("timeout_ms")?,
        parents: parents.into_iter().map(i32::cast_unsigned).collect(),
        worker,
        retry_at_ms: row.try_get("retry_at_ms")?,
        dispatched_at_ms: row.try_get("dispatched_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
        duration_us: row.try_get::<Option<i64>, _>("duration_us")?.map(i64::cast_unsigned),
        error_class: row.try_get("error_class")?,
        error_message: row.try_get("error_message")?,
    })
}

fn number(row: &PgRow, column: &str) -> Result<u32, Error> {
    let value: i32 = row.try_get(column)?;
    u32::try_from(value).map_err(|_| Error::corrupt(format!("`{column}` is {value}")))
}

/// Ready is what is pending with all parents satisfied.
fn mark_ready(steps: &mut [StepLine]) {
    let satisfied: Vec<bool> =
        steps.iter().map(|step| matches!(step.state, StepState::Complete | StepState::ResolvedManually)).collect();
    for step in steps.iter_mut().filter(|step| step.state == StepState::Pending) {
        step.ready = step.parents.iter().all(|&parent| satisfied.get(parent as usize).copied().unwrap_or(false));
    }
}

/// A payload that is asked for as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The task's context.
    Context,
    /// The task's options.
    Options,
    /// A step's inputs.
    Inputs(&'a str),
    /// A step's result.
    Result(&'a str),
}

/// A payload of a task as it is stored.
pub async fn payload(pool: &PgPool, task: TaskId, which: Payload<'_>) -> Result<Option<Bytes>, Error> {
    let (sql, step) = match which {
        Payload::Context => ("SELECT context AS payload FROM tasker.tasks WHERE task_id = $1 AND $2 = ''", ""),
        Payload::Options => ("SELECT options AS payload FROM tasker.tasks WHERE task_id = $1 AND $2 = ''", ""),
        Payload::Inputs(step) => (
            "SELECT step.inputs AS payload FROM tasker.tasks AS task
             JOIN tasker.template_steps AS step ON step.template_id = task.template_id
             WHERE task.task_id = $1 AND step.name = $2",
            step,
        ),
        Payload::Result(step) => (
            "SELECT outcome.result AS payload FROM tasker.tasks AS task
             JOIN tasker.template_steps AS step ON step.template_id = task.template_id
             JOIN tasker.step_outcomes AS outcome
               ON outcome.task_id = task.task_id AND outcome.step_number = step.step_number
             WHERE task.task_id = $1 AND step.name = $2",
            step,
        ),
    };
    let mut session = Reader::take(pool).await?;
    let row = within(ANSWER_TIMEOUT, sqlx::query(sql).bind(task.0).bind(step).fetch_optional(&mut *session)).await?;
    session.give_back();
    let Some(row) = row else { return Ok(None) };
    Ok(row.try_get::<Option<JsonBytes>, _>("payload")?.map(|json| json.0))
}
