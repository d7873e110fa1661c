//! Gives one task back, for an operation on it or to tell what became of its steps.

use bytes::Bytes;
use sqlx::{PgConnection, PgPool};
use tasker_engine::{TaskId, TaskLabels, TaskSnapshot};

use super::{Scope, Tasks, definitions, snapshot};
use crate::store::Error;
use crate::store::connect::{ANSWER_TIMEOUT, Reader, within};

/// Reads one task, also one that has ended.
pub async fn load_task(pool: &PgPool, task: TaskId) -> Result<Option<TaskSnapshot>, Error> {
    read_task(pool, task, true).await
}

/// The same without payloads: context, options and results are empty. What became of the steps is there.
pub async fn load_outcomes(pool: &PgPool, task: TaskId) -> Result<Option<TaskSnapshot>, Error> {
    let mut found = read_task(pool, task, false).await?;
    if let Some(task) = &mut found {
        (task.context, task.labels) = (Bytes::new(), TaskLabels::default());
    }
    Ok(found)
}

async fn read_task(pool: &PgPool, task: TaskId, results: bool) -> Result<Option<TaskSnapshot>, Error> {
    let mut session = Reader::take(pool).await?;
    let loaded = within(ANSWER_TIMEOUT, load_by(&mut session, task, results)).await?;
    session.give_back();
    Ok(loaded)
}

async fn load_by(session: &mut PgConnection, task: TaskId, results: bool) -> Result<Option<TaskSnapshot>, Error> {
    let mut transaction = snapshot(session).await?;
    let definitions = definitions(&mut transaction, Scope::Task(task.0)).await?;
    let mut tasks = Tasks::read(&mut transaction, Scope::Task(task.0), &definitions).await?;
    if !tasks.snapshots.is_empty() {
        tasks.read_steps(&mut transaction).await?;
        tasks.read_batches(&mut transaction).await?;
        if results {
            tasks.read_results(&mut transaction, &definitions).await?;
        }
    }
    transaction.commit().await?;
    Ok(tasks.snapshots.pop())
}
