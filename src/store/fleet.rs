//! What operators did to namespaces, as far as it still holds; and the last errors of steps.

use std::sync::Arc;

use sqlx::{PgConnection, PgPool, Row};
use tasker_engine::{Pause, TaskId, Wall};

use super::connect::{ANSWER_TIMEOUT, Reader, within};
use super::error::Error;

/// The paused namespaces: what was done to them last was a pause.
pub(super) async fn pauses(session: &mut PgConnection) -> Result<Vec<(Arc<str>, Pause)>, Error> {
    let rows = sqlx::query(
        "SELECT namespace, actor, reason, (extract(epoch FROM paused_at) * 1000)::bigint AS paused_at_ms
         FROM tasker.paused_namespaces ORDER BY namespace",
    )
    .fetch_all(session)
    .await?;
    let text =
        |row: &sqlx::postgres::PgRow, column: &str| Ok::<Arc<str>, Error>(row.try_get::<&str, _>(column)?.into());
    let mut pauses = Vec::with_capacity(rows.len());
    for row in rows {
        let at = Wall(row.try_get("paused_at_ms")?);
        let pause = Pause { actor: text(&row, "actor")?, reason: text(&row, "reason")?, at };
        pauses.push((text(&row, "namespace")?, pause));
    }
    Ok(pauses)
}

/// Class and message of the last failed attempt of each of these steps of a task.
pub async fn last_errors(pool: &PgPool, task: TaskId, steps: &[u32]) -> Result<Vec<(u32, (String, String))>, Error> {
    let query = sqlx::query(
        "SELECT asked.step_number, failure.error_class, failure.error_message
         FROM unnest($2::integer[]) AS asked (step_number)
         CROSS JOIN LATERAL (
             SELECT attempt.error_class, attempt.error_message FROM tasker.step_attempts_failed AS attempt
             WHERE attempt.task_id = $1 AND attempt.step_number = asked.step_number
             ORDER BY attempt.attempt DESC LIMIT 1
         ) AS failure",
    )
    .bind(task.0)
    .bind(steps.iter().map(|step| step.cast_signed()).collect::<Vec<i32>>());
    let mut session = Reader::take(pool).await?;
    let rows = within(ANSWER_TIMEOUT, query.fetch_all(&mut *session)).await?;
    session.give_back();
    let mut errors = Vec::with_capacity(rows.len());
    for row in rows {
        let step = row.try_get::<i32, _>("step_number")?.cast_unsigned();
        errors.push((step, (row.try_get("error_class")?, row.try_get("error_message")?)));
    }
    Ok(errors)
}
