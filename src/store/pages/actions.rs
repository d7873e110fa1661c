//! What operators did to tasks.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tasker_engine::TaskId;

use super::bounded;
use crate::store::error::Error;
use crate::store::listing::{Listing, Sql};

/// An act of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorAct {
    /// Its number; later ones are higher.
    pub id: i64,
    /// The task.
    pub task: TaskId,
    /// The step; nothing when it was the whole task.
    pub step: Option<String>,
    /// `cancel`, `retry` or `resolve`.
    pub operation: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The state before.
    pub before: String,
    /// The state after.
    pub after: String,
    /// When, in milliseconds since the Unix epoch.
    pub acted_at_ms: i64,
}

/// Acts on one task, or on all, older than one, newest first. The last row of a full page is where the next one goes on.
pub async fn operator_acts(
    pool: &PgPool,
    task: Option<TaskId>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<OperatorAct>, Error> {
    let mut sql = Sql::new(
        "SELECT action.action_id, action.task_id, step.name AS step, action.operation, action.actor, action.reason,
                action.state_before, action.state_after, (extract(epoch FROM action.acted_at) * 1000)::bigint AS acted_at_ms
         FROM (SELECT * FROM tasker.operator_actions AS one WHERE one.action_id < ",
    );
    sql.bind(before.unwrap_or(i64::MAX));
    if let Some(task) = task {
        sql.add(" AND one.task_id = ").bind(task.0);
    }
    sql.add(" ORDER BY one.action_id DESC LIMIT ").bind(bounded(limit)).add(
        ") AS action
         LEFT JOIN tasker.tasks AS task ON task.task_id = action.task_id
         LEFT JOIN tasker.template_steps AS step
           ON step.template_id = task.template_id AND step.step_number = action.step_number
         ORDER BY action.action_id DESC",
    );
    let mut listing = Listing::begin(pool).await?;
    let rows = listing.rows(sql).await?;
    listing.end().await?;
    rows.iter().map(act).collect()
}

fn act(row: &PgRow) -> Result<OperatorAct, Error> {
    Ok(OperatorAct {
        id: row.try_get("action_id")?,
        task: TaskId(row.try_get("task_id")?),
        step: row.try_get("step")?,
        operation: row.try_get("operation")?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        before: row.try_get("state_before")?,
        after: row.try_get("state_after")?,
        acted_at_ms: row.try_get("acted_at_ms")?,
    })
}
