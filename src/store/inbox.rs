//! Requests that applications put into `task_inbox` in their own transactions.

use sqlx::{PgPool, Row};
use tasker_engine::{TaskLabels, TaskRequest, Wall};

use super::error::Error;
use super::json::JsonBytes;

/// Requests that wait, oldest first, without those in `in_flight`: the rows that were taken before and whose commit, which
/// removes them ([`tasker_engine::Save::InboxTaken`]), is still under way. A cursor would not do in place of `in_flight`,
/// because rows become visible in the order of their commits, not of their numbers.
///
/// Payloads are valid JSON objects, but nothing else about them has been checked.
pub async fn take_inbox(pool: &PgPool, limit: u32, in_flight: &[i64]) -> Result<Vec<(i64, TaskRequest)>, Error> {
    let rows = sqlx::query(
        "SELECT inbox_id, namespace, name, version, context, idempotency_key, priority, bypass_steps, initiator,
             source_system, reason, tags, correlation_id, options,
             (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms
         FROM tasker.task_inbox WHERE refusal IS NULL AND inbox_id <> ALL ($2)
         ORDER BY inbox_id LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(i64::from(limit))
    .bind(in_flight)
    .fetch_all(pool)
    .await?;
    let mut requests = Vec::with_capacity(rows.len());
    for row in rows {
        let boxed = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<String>, _>(column)?.map(String::into));
        let request = TaskRequest {
            namespace: row.try_get("namespace")?,
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            context: row.try_get::<JsonBytes, _>("context")?.0,
            idempotency_key: boxed("idempotency_key")?,
            priority: row.try_get("priority")?,
            bypass_steps: row.try_get("bypass_steps")?,
            run_at: row.try_get::<Option<i64>, _>("run_at_ms")?.map(Wall),
            labels: TaskLabels {
                initiator: boxed("initiator")?,
                source_system: boxed("source_system")?,
                reason: boxed("reason")?,
                tags: row.try_get::<Vec<String>, _>("tags")?.into_iter().map(String::into).collect(),
                correlation_id: boxed("correlation_id")?,
                options: row.try_get::<Option<JsonBytes>, _>("options")?.map(|json| json.0),
            },
        };
        requests.push((row.try_get("inbox_id")?, request));
    }
    Ok(requests)
}
