//! Requests that applications put into `task_inbox` in their own transactions.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tasker_engine::{Refusal, RefusalKind, TaskLabels, TaskRequest, Wall};

use super::connect::{ANSWER_TIMEOUT, Reader, within};
use super::error::Error;
use super::json::JsonBytes;

/// A row by its number: the request, or why it is none.
pub type InboxRow = (i64, Result<TaskRequest, Refusal>);

/// Requests that wait, oldest first, without those in `in_flight`: the rows that were taken before and whose commit, which
/// removes them ([`tasker_engine::Save::InboxTaken`]), is still under way. A cursor would not do in place of `in_flight`,
/// because rows become visible in the order of their commits, not of their numbers.
///
/// Payloads are valid JSON objects, but nothing else about them has been checked. A row that cannot be read as a request
/// comes with the reason, so that it holds up no other.
pub async fn take_inbox(pool: &PgPool, limit: u32, in_flight: &[i64]) -> Result<Vec<InboxRow>, Error> {
    let query = sqlx::query(
        "SELECT inbox_id, namespace, name, version, context, idempotency_key, priority, bypass_steps, initiator,
             source_system, reason, tags, correlation_id, options,
             CASE WHEN isfinite(run_at) THEN (extract(epoch FROM run_at) * 1000)::bigint END AS run_at_ms,
             isfinite(run_at) IS FALSE AS is_endless
         FROM tasker.task_inbox WHERE refusal IS NULL AND inbox_id <> ALL ($2)
         ORDER BY inbox_id LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(i64::from(limit))
    .bind(in_flight);
    let mut session = Reader::take(pool).await?;
    let rows = within(ANSWER_TIMEOUT, query.fetch_all(&mut *session)).await?;
    session.give_back();
    rows.iter().map(|row| Ok((row.try_get("inbox_id")?, request(row)?))).collect()
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
        },
    }))
}

/// A column of texts; `None` when one of them is NULL.
fn texts(row: &PgRow, column: &str) -> Result<Option<Vec<String>>, sqlx::Error> {
    Ok(row.try_get::<Vec<Option<String>>, _>(column)?.into_iter().collect())
}
