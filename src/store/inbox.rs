//! Requests that applications put into `task_inbox` in their own transactions, and the tasks that they became.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tasker_engine::{
    KeyLookup, Refusal, RefusalKind, TaskId, TaskLabels, TaskRequest, TemplateKey, TraceContext, Wall,
};

use super::connect::{ANSWER_TIMEOUT, Reader, within};
use super::error::Error;
use super::json::JsonBytes;

/// A row by its number: the request, or why it is none.
pub type InboxRow = (i64, Result<TaskRequest, Refusal>);

/// What a look at the inbox finds.
#[derive(Debug)]
pub struct InboxRows {
    /// Requests that wait, oldest first.
    pub rows: Vec<InboxRow>,
    /// For how long the first of them has waited, in milliseconds; 0 when there is none.
    pub oldest_ms: u64,
}

/// Requests that wait, oldest first, without those in `in_flight`: the rows that were taken before and whose commit, which
/// removes them ([`tasker_engine::Save::InboxTaken`]), is still under way. A cursor would not do in place of `in_flight`,
/// because rows become visible in the order of their commits, not of their numbers.
///
/// Payloads are valid JSON objects, but nothing else about them has been checked. A row that cannot be read as a request
/// comes with the reason, so that it holds up no other.
pub async fn take_inbox(pool: &PgPool, limit: u32, in_flight: &[i64]) -> Result<InboxRows, Error> {
    let query = sqlx::query(
        "SELECT inbox_id, namespace, name, version, context, idempotency_key, priority, bypass_steps, initiator,
             source_system, reason, tags, correlation_id, options, traceparent, tracestate,
             CASE WHEN isfinite(run_at) THEN (extract(epoch FROM run_at) * 1000)::bigint END AS run_at_ms,
             isfinite(run_at) IS FALSE AS is_endless,
             (extract(epoch FROM clock_timestamp() - submitted_at) * 1000)::bigint AS waited_ms
         FROM tasker.task_inbox WHERE refusal IS NULL AND inbox_id <> ALL ($2)
         ORDER BY inbox_id LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(i64::from(limit))
    .bind(in_flight);
    let mut session = Reader::take(pool).await?;
    let rows = within(ANSWER_TIMEOUT, query.fetch_all(&mut *session)).await?;
    session.give_back();
    let waited_ms = rows.first().map(|row| row.try_get::<i64, _>("waited_ms")).transpose()?;
    Ok(InboxRows {
        rows: rows.iter().map(|row| Ok((row.try_get("inbox_id")?, request(row)?))).collect::<Result<_, Error>>()?,
        oldest_ms: waited_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0),
    })
}

/// What there is under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A task, with the template that it runs.
    Task(TaskId, TemplateKey),
    /// A request in the inbox that was refused, with the reason.
    Refused(String),
    /// A request in the inbox that nobody has looked at.
    Waiting,
    /// Neither.
    Nothing,
}

/// The task with a key, whichever way in it came; else what the inbox has under that key. Of several requests the last one
/// counts: it was made by somebody who knew of the refusal of the first.
pub async fn find_task(pool: &PgPool, key: &KeyLookup) -> Result<Found, Error> {
    // One statement, so that a request that becomes a task meanwhile is seen as one or the other.
    let query = sqlx::query(
        "SELECT found.task_id, found.version, request.inbox_id, request.refusal
         FROM (SELECT) AS one
         LEFT JOIN (
             SELECT key.task_id, template.version FROM tasker.idempotency_keys AS key
             JOIN tasker.task_templates AS template USING (template_id)
             WHERE key.namespace = $1 AND key.name = $2 AND key.key = $3
         ) AS found ON true
         LEFT JOIN (
             SELECT inbox.inbox_id, inbox.refusal FROM tasker.task_inbox AS inbox
             WHERE inbox.namespace = $1 AND inbox.name = $2 AND inbox.idempotency_key = $3
             ORDER BY inbox.inbox_id DESC LIMIT 1
         ) AS request ON true",
    )
    .bind(&*key.namespace)
    .bind(&*key.name)
    .bind(&*key.key);
    let mut session = Reader::take(pool).await?;
    let row = within(ANSWER_TIMEOUT, query.fetch_one(&mut *session)).await?;
    session.give_back();
    if let Some(task) = row.try_get("task_id")? {
        let version = row.try_get::<&str, _>("version")?.into();
        let template = TemplateKey { namespace: key.namespace.clone(), name: key.name.clone(), version };
        return Ok(Found::Task(TaskId(task), template));
    }
    if let Some(refusal) = row.try_get("refusal")? {
        return Ok(Found::Refused(refusal));
    }
    let waits = row.try_get::<Option<i64>, _>("inbox_id")?.is_some();
    Ok(if waits { Found::Waiting } else { Found::Nothing })
}

fn request(row: &PgRow) -> Result<Result<TaskRequest, Refusal>, Error> {
    let boxed = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<String>, _>(column)?.map(String::into));
    let (Some(bypass_steps), Some(tags)) = (texts(row, "bypass_steps")?, texts(row, "tags")?) else {
        return Ok(Err(Refusal::new(RefusalKind::InvalidField, "bypass_steps and tags take texts, not NULL")));
    };
    if row.try_get("is_endless")? {
        return Ok(Err(Refusal::new(RefusalKind::InvalidField, "run_at is infinite").field("run_at")));
    }
    Ok(Ok(TaskRequest {
        namespace: row.try_get("namespace")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        context: row.try_get::<JsonBytes, _>("context")?.0,
        idempotency_key: boxed("idempotency_key")?,
        priority: row.try_get("priority")?,
        bypass_steps,
        run_at: row.try_get::<Option<i64>, _>("run_at_ms")?.map(Wall),
        labels: TaskLabels {
            initiator: boxed("initiator")?,
            source_system: boxed("source_system")?,
            reason: boxed("reason")?,
            tags: tags.into_iter().map(String::into).collect(),
            correlation_id: boxed("correlation_id")?,
            options: row.try_get::<Option<JsonBytes>, _>("options")?.map(|json| json.0),
            trace: TraceContext::of(boxed("traceparent")?, boxed("tracestate")?),
        },
    }))
}

/// A column of texts; `None` when one of them is NULL.
fn texts(row: &PgRow, column: &str) -> Result<Option<Vec<String>>, sqlx::Error> {
    Ok(row.try_get::<Vec<Option<String>>, _>(column)?.into_iter().collect())
}
