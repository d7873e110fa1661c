//! Steps: how they are, what became of each attempt, why nothing happens.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use tasker_engine::TaskId;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::view::{Attempt, Note, Reply, Step};
use crate::ops::guard::Visitor;
use crate::ops::problem::Problem;
use crate::ops::site::{Shared, Site};
use crate::protocol::{ErrorCode, ExplainStep, StepExplained, TaskStatus, TaskStatusReport};
use crate::store;

/// Names in a list with commas.
pub(super) fn named(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What the broker says of a task.
pub(super) async fn reported(
    site: &Site,
    task: Uuid,
    include_steps: bool,
    include_results: Vec<String>,
) -> Result<TaskStatusReport, Problem> {
    site.ask(TaskStatus { correlation_id: Uuid::nil(), task_id: task, include_steps, include_results }).await
}

/// What is wanted of the steps.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parts {
    /// Names of steps whose results are wanted, separated by commas; `*` for all.
    #[serde(default)]
    results: String,
}

/// The steps of a task.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Steps {
    /// In order of definition.
    steps: Vec<Step>,
}

/// List the steps of a task
#[utoipa::path(get, path = "/tasks/{task}/steps", operation_id = "list_steps", tag = "steps",
    params(("task" = Uuid, Path, description = "The task."), Parts),
    responses((status = 200, description = "All of them.", body = Steps)))]
pub(super) async fn list(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    parts: Result<Query<Parts>, QueryRejection>,
) -> Result<Json<Steps>, Problem> {
    let (Path(task), Query(Parts { results })) = (task?, parts?);
    let report = reported(&site, task, true, named(&results)).await?;
    let hidden = site.redaction(&visitor);
    Ok(Json(Steps { steps: report.steps.into_iter().map(|step| Step::of(step, &hidden)).collect() }))
}

/// How much of the past is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Past {
    /// Most attempts, and as many notes: the newest.
    #[serde(default = "Past::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl Past {
    fn default_limit() -> u32 {
        50
    }
}

/// A step with its past.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StepDetail {
    step: Step,
    /// Oldest first.
    attempts: Vec<Attempt>,
    /// Results that were not simply accepted, newest first.
    notes: Vec<Note>,
}

/// Show a step
///
/// Its result, every attempt with its error and backtrace, and what came that was not simply accepted.
#[utoipa::path(get, path = "/tasks/{task}/steps/{step}", operation_id = "show_step", tag = "steps",
    params(("task" = Uuid, Path, description = "The task."), ("step" = String, Path, description = "The step's name."), Past),
    responses((status = 200, description = "The step.", body = StepDetail)))]
pub(super) async fn show(
    State(site): State<Shared>,
    visitor: Visitor,
    path: Result<Path<(Uuid, String)>, PathRejection>,
    past: Result<Query<Past>, QueryRejection>,
) -> Result<Json<StepDetail>, Problem> {
    let (Path((task, name)), Query(Past { limit })) = (path?, past?);
    let rows = super::paging::Page::new(None, Some(limit)).rows()?;
    // One step is wanted, and `*` would be all.
    let unknown = || Problem::not_found(ErrorCode::UnknownStep.as_str(), format!("task {task} has no step {name}"));
    if name == "*" {
        return Err(unknown());
    }
    let report = reported(&site, task, false, vec![name.clone()]).await?;
    let step = report.steps.into_iter().next().ok_or_else(unknown)?;
    let history = store::step_history(site.pool()?, TaskId(task), &name, rows).await?;
    let hidden = site.redaction(&visitor);
    Ok(Json(StepDetail {
        step: Step::of(step, &hidden),
        attempts: history.attempts.into_iter().map(|attempt| Attempt::of(attempt, &hidden)).collect(),
        notes: history.ledger.into_iter().map(|entry| Note::of(entry, &hidden)).collect(),
    }))
}

/// Which step.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only this one; all that have not ended when nothing is said.
    step: Option<String>,
}

/// Why do steps not run?
///
/// Answered by what decides it: a step that is not done above, no worker that serves the template, no free slot, a pause, a
/// time that has not come.
#[utoipa::path(get, path = "/tasks/{task}/why", operation_id = "explain_steps", tag = "steps",
    params(("task" = Uuid, Path, description = "The task."), Which),
    responses((status = 200, description = "The reason for each step.", body = StepExplained)))]
pub(super) async fn why(
    State(site): State<Shared>,
    task: Result<Path<Uuid>, PathRejection>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Reply<StepExplained>>, Problem> {
    let (Path(task_id), Query(Which { step })) = (task?, which?);
    Ok(Json(Reply(site.ask(ExplainStep { correlation_id: Uuid::nil(), task_id, step }).await?)))
}
