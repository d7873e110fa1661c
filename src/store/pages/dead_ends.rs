//! Dead ends: tasks in error, by what went wrong.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tasker_engine::{TaskId, TemplateKey};

use super::count;
use crate::store::error::Error;
use crate::store::listing::{Listing, Sql};

/// Tasks that ended in error because the same step failed with the same class of error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEnd {
    /// Their template.
    pub template: TemplateKey,
    /// The step.
    pub step: String,
    /// Class of the error.
    pub class: String,
    /// How many tasks.
    pub tasks: u32,
    /// The newest of them.
    pub newest: TaskId,
    /// What its error says.
    pub message: String,
    /// When that one failed, in milliseconds since the Unix epoch.
    pub failed_at_ms: i64,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEnds {
    /// Most tasks first. A task with several failed steps is in several.
    pub groups: Vec<DeadEnd>,
    /// Tasks in error that were counted.
    pub tasks: u32,
    /// Whether there are more: only the newest [`DEAD_TASKS_MAX`] were counted.
    pub is_capped: bool,
}

/// Tasks in error that are counted, the newest ones: some hundredths of a second.
pub const DEAD_TASKS_MAX: u32 = 10_000;

/// Groups that are told apart; the smallest are left out beyond.
const GROUPS_MAX: i64 = 1_000;

/// What went wrong.
pub async fn dead_ends(pool: &PgPool) -> Result<DeadEnds, Error> {
    let mut listing = Listing::begin(pool).await?;
    let mut sql = Sql::new(
        "WITH dead AS MATERIALIZED (
             SELECT task.task_id, task.template_id FROM tasker.tasks AS task
             WHERE task.final_state = 'error' AND task.final_state IN ('error', 'cancelled', 'resolved_manually')
             ORDER BY task.task_id DESC LIMIT ",
    );
    sql.bind(i64::from(DEAD_TASKS_MAX) + 1).add(
        "), failed AS (
             SELECT dead.task_id, dead.template_id, failure.step_number, failure.error_class, failure.error_message,
                    failure.failed_at
             FROM dead CROSS JOIN LATERAL (
                 SELECT DISTINCT ON (attempt.step_number) attempt.* FROM tasker.step_attempts_failed AS attempt
                 WHERE attempt.task_id = dead.task_id ORDER BY attempt.step_number, attempt.attempt DESC
             ) AS failure
             WHERE failure.final AND NOT EXISTS (
                 SELECT FROM tasker.step_outcomes AS outcome
                 WHERE outcome.task_id = dead.task_id AND outcome.step_number = failure.step_number)
         )
         SELECT template.namespace, template.name, template.version, step.name AS step, part.error_class,
                part.tasks, part.newest, part.error_message,
                (extract(epoch FROM part.failed_at) * 1000)::bigint AS failed_at_ms,
                (SELECT count(*)::integer FROM dead) AS counted
         FROM (
             SELECT template_id, step_number, error_class, count(*)::integer AS tasks,
                    (array_agg(task_id ORDER BY task_id DESC))[1] AS newest,
                    (array_agg(error_message ORDER BY task_id DESC))[1] AS error_message,
                    (array_agg(failed_at ORDER BY task_id DESC))[1] AS failed_at
             FROM failed GROUP BY template_id, step_number, error_class
         ) AS part
         JOIN tasker.task_templates AS template ON template.template_id = part.template_id
         JOIN tasker.template_steps AS step ON step.template_id = part.template_id AND step.step_number = part.step_number
         ORDER BY part.tasks DESC, part.newest DESC LIMIT ",
    );
    sql.bind(GROUPS_MAX);
    let rows = listing.rows(sql).await?;
    listing.end().await?;
    let counted = rows.first().map_or(Ok(0), |row| count(row, "counted"))?;
    let groups = rows.iter().map(dead_end).collect::<Result<_, _>>()?;
    Ok(DeadEnds { groups, tasks: counted.min(DEAD_TASKS_MAX), is_capped: counted > DEAD_TASKS_MAX })
}

fn dead_end(row: &PgRow) -> Result<DeadEnd, Error> {
    let template = TemplateKey {
        namespace: row.try_get::<&str, _>("namespace")?.into(),
        name: row.try_get::<&str, _>("name")?.into(),
        version: row.try_get::<&str, _>("version")?.into(),
    };
    Ok(DeadEnd {
        template,
        step: row.try_get("step")?,
        class: row.try_get("error_class")?,
        tasks: count(row, "tasks")?,
        newest: TaskId(row.try_get("newest")?),
        message: row.try_get("error_message")?,
        failed_at_ms: row.try_get("failed_at_ms")?,
    })
}
