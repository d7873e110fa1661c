//! The steps of a task and who waits for whom, by number: what a picture is drawn from.

use sqlx::{PgPool, Row};
use tasker_engine::TaskId;

use super::count;
use crate::store::error::Error;
use crate::store::listing::{Listing, Sql};

/// A step of the task's template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepNode {
    /// Its number, which is its place in the answer.
    pub step: u32,
    /// Its name.
    pub name: String,
    /// The class that runs it.
    pub handler: String,
    /// Numbers of the steps that it waits for.
    pub parents: Vec<u32>,
}

/// All steps in order of their numbers; none when there is no such task. A template has a bounded number of them.
pub async fn step_nodes(pool: &PgPool, task: TaskId) -> Result<Vec<StepNode>, Error> {
    let mut sql = Sql::new(
        "SELECT step.step_number, step.name, step.handler, step.parents
         FROM tasker.template_steps AS step
         WHERE step.template_id = (SELECT task.template_id FROM tasker.tasks AS task WHERE task.task_id = ",
    );
    sql.bind(task.0).add(") ORDER BY step.step_number");
    let mut listing = Listing::begin(pool).await?;
    let rows = listing.rows(sql).await?;
    listing.end().await?;
    rows.iter()
        .map(|row| {
            let parents: Vec<i32> = row.try_get("parents")?;
            Ok(StepNode {
                step: count(row, "step_number")?,
                name: row.try_get("name")?,
                handler: row.try_get("handler")?,
                parents: parents.into_iter().map(|parent| parent.max(0).cast_unsigned()).collect(),
            })
        })
        .collect()
}
