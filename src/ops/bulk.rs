//! The same act on many tasks: one command each, so that every one is checked, recorded and answered for itself.

use tasker_engine::TaskId;
use uuid::Uuid;

use super::problem::Problem;
use super::site::Site;
use crate::filter::Filter;
use crate::protocol::RetryTask;
use crate::store::{self, DeadEnd};

/// Tasks that one request acts on at most: some seconds of work, after which one sees how it went.
pub(super) const TASKS_MAX: u32 = 500;

/// What became of one task.
#[derive(Debug)]
pub(super) struct Outcome {
    pub task: Uuid,
    /// The steps that run again, or why none does.
    pub result: Result<Vec<String>, Problem>,
}

/// The tasks that match, newest first, at most [`TASKS_MAX`]; and whether there may be more.
pub(super) async fn matching(site: &Site, filter: &Filter) -> Result<(Vec<TaskId>, bool), Problem> {
    let page = store::search_tasks(site.pool()?, filter, None, TASKS_MAX).await?;
    Ok((page.tasks.iter().map(|row| row.task.id).collect(), page.next.is_some()))
}

/// Gives the failed steps of each task new attempts. Stops at the first task that the broker cannot answer for, since it
/// could not for the next ones either: they are not in the outcome.
pub(super) async fn retry(site: &Site, tasks: &[TaskId], actor: &str, reason: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(tasks.len());
    for task in tasks {
        let command = RetryTask {
            correlation_id: Uuid::nil(),
            task_id: task.0,
            steps: Vec::new(),
            actor: actor.to_owned(),
            reason: reason.to_owned(),
        };
        let result = site.ask(command).await.map(|done| done.steps);
        let is_away = matches!(&result, Err(problem) if problem.status == 503);
        outcomes.push(Outcome { task: task.0, result });
        if is_away {
            break;
        }
    }
    outcomes
}

/// A filter that finds the tasks of a group of dead ends.
pub(super) fn filter_of(group: &DeadEnd) -> String {
    let key = &group.template;
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    format!(
        "state:error namespace:{} name:{} version:{} step:{} step.state:error",
        quoted(&key.namespace),
        quoted(&key.name),
        quoted(&key.version),
        quoted(&group.step)
    )
}
