//! What operators do to tasks: cancel, retry, resolve, retry many.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tasker_engine::TaskId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view;
use crate::filter::Filter;
use crate::ops::bulk::{self, TASKS_MAX};
use crate::ops::guard::Visitor;
use crate::ops::problem::Problem;
use crate::ops::reason::demanded;
use crate::ops::site::Shared;
use crate::protocol::{CancelTask, ResolveStep, RetryTask};
use crate::store;

/// Who acts, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Act {
    /// Who. Where tokens are demanded, the name of the token is noted, too.
    #[serde(default)]
    pub actor: String,
    /// Why, for those who look later.
    #[serde(default)]
    pub reason: String,
}

impl Act {
    /// Who, and the reason, which has to be there.
    pub fn reasoned(&self, visitor: &Visitor) -> Result<(String, String), Problem> {
        Ok((visitor.actor(&self.actor), demanded(&self.reason)?))
    }
}

/// What became of a task that is cancelled.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cancelled {
    task_id: Uuid,
    /// Running steps that are told to stop.
    steps_stopped: u32,
    /// Steps that will never start.
    steps_cancelled: u32,
}

/// Cancel a task
///
/// Running steps are told to stop, the others never start.
#[utoipa::path(post, path = "/tasks/{task}/cancel", operation_id = "cancel_task", tag = "tasks",
    params(("task" = Uuid, Path, description = "The task.")), request_body = Act,
    responses((status = 200, description = "It is cancelled.", body = Cancelled)))]
pub(super) async fn cancel(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    act: Result<Json<Act>, JsonRejection>,
) -> Result<Json<Cancelled>, Problem> {
    let (Path(task_id), Json(act)) = (task?, act?);
    let (actor, reason) = (visitor.actor(&act.actor), act.reason);
    let done = site.ask(CancelTask { correlation_id: Uuid::nil(), task_id, actor, reason }).await?;
    let (steps_stopped, steps_cancelled) = (done.steps_stopped, done.steps_cancelled);
    Ok(Json(Cancelled { task_id, steps_stopped, steps_cancelled }))
}

/// What to retry, who does it, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// Who. Where tokens are demanded, the name of the token is noted, too.
    #[serde(default)]
    actor: String,
    /// Why, for those who look later.
    #[serde(default)]
    reason: String,
    /// Only these steps; all that failed when it is empty.
    #[serde(default)]
    steps: Vec<String>,
}

/// What became of a task that is retried.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Retried {
    task_id: Uuid,
    /// Steps that have new attempts.
    steps: Vec<String>,
}

/// Retry a task
///
/// Its failed steps get as many new attempts as their limit says.
#[utoipa::path(post, path = "/tasks/{task}/retry", operation_id = "retry_task", tag = "tasks",
    params(("task" = Uuid, Path, description = "The task.")), request_body = Retry,
    responses((status = 200, description = "It goes on.", body = Retried)))]
pub(super) async fn retry(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    act: Result<Json<Retry>, JsonRejection>,
) -> Result<Json<Retried>, Problem> {
    let (Path(task_id), Json(Retry { actor, reason, steps })) = (task?, act?);
    let actor = visitor.actor(&actor);
    let done = site.ask(RetryTask { correlation_id: Uuid::nil(), task_id, steps, actor, reason }).await?;
    Ok(Json(Retried { task_id, steps: done.steps }))
}

/// How a step is settled by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolution {
    /// What its children get as its result; `null` when it is not there.
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
    /// Who. Where tokens are demanded, the name of the token is noted, too.
    #[serde(default)]
    actor: String,
    /// Why, for those who look later.
    #[serde(default)]
    reason: String,
}

/// What became of a step that is resolved.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Resolved {
    task_id: Uuid,
    step: String,
    /// The state of the task afterwards.
    task_state: String,
}

/// Resolve a step
///
/// Settles it by hand, with a result that its children get.
#[utoipa::path(post, path = "/tasks/{task}/steps/{step}/resolve", operation_id = "resolve_step", tag = "steps",
    params(("task" = Uuid, Path, description = "The task."), ("step" = String, Path, description = "The step's name.")),
    request_body = Resolution, responses((status = 200, description = "It is resolved.", body = Resolved)))]
pub(super) async fn resolve(
    State(site): State<Shared>,
    visitor: Visitor,
    path: Result<Path<(Uuid, String)>, PathRejection>,
    resolution: Result<Json<Resolution>, JsonRejection>,
) -> Result<Json<Resolved>, Problem> {
    let (Path((task_id, step)), Json(Resolution { result, actor, reason })) = (path?, resolution?);
    let (actor, result) = (visitor.actor(&actor), result.as_deref().map(view::text));
    let done = site.ask(ResolveStep { correlation_id: Uuid::nil(), task_id, step, result, actor, reason }).await?;
    Ok(Json(Resolved { task_id, step: done.step, task_state: done.task_state }))
}

/// Which tasks to retry: `filter` or `tasks`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryMany {
    /// Those that a filter selects, newest first.
    filter: Option<String>,
    /// These.
    #[serde(default)]
    #[schema(max_items = 500)]
    tasks: Vec<Uuid>,
    /// Only say which these are, and do nothing.
    #[serde(default)]
    preview: bool,
    /// Who. Where tokens are demanded, the name of the token is noted, too.
    #[serde(default)]
    actor: String,
    /// Why. Has to be there, unless it is a preview.
    #[serde(default)]
    reason: String,
}

/// What became of the tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetriedMany {
    /// How many the filter selects; not there for tasks by their ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<view::Count>,
    /// Each task that was asked for, or that would be. After a refusal with status 503 no further task was asked for.
    tasks: Vec<OneOfMany>,
    /// Whether more tasks match than one call retries. Those that go on now match no more, so that the next call has the next ones.
    more: bool,
}

/// What became of one task.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OneOfMany {
    task_id: Uuid,
    /// Steps that have new attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<String>>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// Retry many tasks
///
/// Each is a command of its own: one that is refused keeps no other back. At most 500 at a time.
#[utoipa::path(post, path = "/tasks/retry", operation_id = "retry_tasks", tag = "tasks", request_body = RetryMany,
    responses((status = 200, description = "The outcome for each task.", body = RetriedMany)))]
pub(super) async fn retry_many(
    State(site): State<Shared>,
    visitor: Visitor,
    wanted: Result<Json<RetryMany>, JsonRejection>,
) -> Result<Json<RetriedMany>, Problem> {
    let Json(RetryMany { filter, tasks, preview, actor, reason }) = wanted?;
    let reason = if preview { String::new() } else { demanded(&reason)? };
    let (tasks, count, more) = match filter {
        Some(_) if !tasks.is_empty() => return Err(Problem::invalid("tasks", "is there beside `filter`")),
        None if tasks.is_empty() => {
            return Err(Problem::invalid("filter", "neither `filter` nor `tasks` names a task"));
        }
        None if tasks.len() > TASKS_MAX as usize => {
            let problem = Problem::invalid("tasks", format!("at most {TASKS_MAX} tasks are retried at a time"));
            return Err(problem.limited_to(TASKS_MAX.into()));
        }
        None => (tasks.into_iter().map(TaskId).collect(), None, false),
        Some(text) => {
            let filter = Filter::parse(&text).map_err(|error| Problem::filter("filter", &error))?;
            let count = store::count_tasks(site.pool()?, &filter).await?;
            let (tasks, more) = bulk::matching(&site, &filter).await?;
            (tasks, Some(count.into()), more)
        }
    };
    let outcomes = match preview {
        true => tasks.iter().map(|task| OneOfMany { task_id: task.0, steps: None, error: None }).collect(),
        false => {
            let outcomes = bulk::retry(&site, &tasks, &visitor.actor(&actor), &reason).await;
            outcomes.into_iter().map(OneOfMany::of).collect()
        }
    };
    Ok(Json(RetriedMany { count, tasks: outcomes, more }))
}

impl OneOfMany {
    fn of(outcome: bulk::Outcome) -> OneOfMany {
        let (steps, error) = match outcome.result {
            Ok(steps) => (Some(steps), None),
            Err(problem) => (None, Some(problem)),
        };
        OneOfMany { task_id: outcome.task, steps, error }
    }
}
