//! Tasks: submit, look, wait, act.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::view::{Step, Task};
use crate::ops::guard::Visitor;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::protocol::{
    CancelTask, InitializeTask, JsonText, ResolveStep, RetryTask, TaskRequest, TaskStatus, TaskSummary, WaitForTask,
};

/// A task as it is asked for; the keys are those of PROTOCOL.md, with payloads as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    namespace: String,
    name: String,
    version: Option<String>,
    context: Option<Box<RawValue>>,
    idempotency_key: Option<String>,
    #[serde(default)]
    priority: i32,
    initiator: Option<String>,
    source_system: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    bypass_steps: Vec<String>,
    run_at_ms: Option<i64>,
    correlation_id: Option<String>,
    options: Option<Box<RawValue>>,
    traceparent: Option<String>,
    tracestate: Option<String>,
}

/// What became of it.
#[derive(Debug, Serialize)]
pub(super) struct Submitted {
    task_id: Uuid,
    template: String,
    steps: Vec<String>,
    /// Whether the idempotency key named a task that was there already.
    duplicate: bool,
}

fn text(payload: &RawValue) -> JsonText {
    JsonText::new(payload.get())
}

pub(super) async fn submit(
    State(site): State<Shared>,
    visitor: Visitor,
    submission: Result<Json<Submission>, JsonRejection>,
) -> Result<(StatusCode, Json<Submitted>), Problem> {
    let Json(given) = submission?;
    let initiator = visitor.actor(given.initiator.as_deref().unwrap_or_default());
    let request = TaskRequest {
        namespace: given.namespace,
        name: given.name,
        version: given.version,
        context: given.context.as_deref().map_or_else(|| JsonText::new("{}"), text),
        idempotency_key: given.idempotency_key,
        priority: given.priority,
        initiator: Some(initiator).filter(|initiator| !initiator.is_empty()),
        source_system: given.source_system,
        reason: given.reason,
        tags: given.tags,
        bypass_steps: given.bypass_steps,
        run_at_ms: given.run_at_ms,
        correlation_id: given.correlation_id,
        options: given.options.as_deref().map(text),
        traceparent: given.traceparent,
        tracestate: given.tracestate,
    };
    let reply = site.ask(InitializeTask { correlation_id: Uuid::nil(), tasks: vec![request] }).await?;
    let outcome = reply.tasks.into_iter().next().expect("a row is answered by a row");
    if let Some(refusal) = outcome.error {
        return Err(Problem::refused(refusal));
    }
    let (Some(task_id), Some(template)) = (outcome.task_id, outcome.template) else {
        unreachable!("a row that was not refused has a task and its template")
    };
    let status = if outcome.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(Submitted { task_id, template, steps: outcome.steps, duplicate: outcome.duplicate })))
}

/// What is wanted of a task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Whether to list the steps.
    #[serde(default)]
    steps: bool,
    /// Names of steps whose results are wanted, separated by commas; `*` for all.
    #[serde(default)]
    results: String,
}

pub(super) async fn show(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Task>, Problem> {
    let (Path(task_id), Query(Wanted { steps, results })) = (task?, wanted?);
    let include_results: Vec<String> =
        results.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let lists_steps = steps || !include_results.is_empty();
    let question = TaskStatus { correlation_id: Uuid::nil(), task_id, include_steps: steps, include_results };
    let report = site.ask(question).await?;
    let hidden = site.redaction(&visitor);
    let steps = lists_steps.then(|| report.steps.into_iter().map(|step| Step::of(step, &hidden)).collect());
    Ok(Json(Task { task: report.task, steps }))
}

/// How long to wait.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Patience {
    #[serde(default = "Patience::default_ms")]
    timeout_ms: u64,
}

impl Patience {
    /// Less than most proxies wait.
    fn default_ms() -> u64 {
        30_000
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Waited {
    finished: bool,
    task: TaskSummary,
}

pub(super) async fn wait(
    State(site): State<Shared>,
    task: Result<Path<Uuid>, PathRejection>,
    patience: Result<Query<Patience>, QueryRejection>,
) -> Result<Json<Waited>, Problem> {
    let (Path(task_id), Query(Patience { timeout_ms })) = (task?, patience?);
    let waited = site.ask(WaitForTask { correlation_id: Uuid::nil(), task_id, timeout_ms }).await?;
    Ok(Json(Waited { finished: waited.finished, task: waited.task }))
}

/// Who acts, besides the token, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Act {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
    /// Of a retry: only these steps. All that failed when empty.
    #[serde(default)]
    steps: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Cancelled {
    task_id: Uuid,
    /// Running steps that are told to stop.
    steps_stopped: u32,
    /// Steps that will never start.
    steps_cancelled: u32,
}

pub(super) async fn cancel(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    act: Result<Json<Act>, JsonRejection>,
) -> Result<Json<Cancelled>, Problem> {
    let (Path(task_id), Json(act)) = (task?, act?);
    if !act.steps.is_empty() {
        return Err(Problem::invalid("steps", "a task is cancelled as a whole"));
    }
    let (actor, reason) = (visitor.actor(&act.actor), act.reason);
    let done = site.ask(CancelTask { correlation_id: Uuid::nil(), task_id, actor, reason }).await?;
    let (steps_stopped, steps_cancelled) = (done.steps_stopped, done.steps_cancelled);
    Ok(Json(Cancelled { task_id, steps_stopped, steps_cancelled }))
}

#[derive(Debug, Serialize)]
pub(super) struct Retried {
    task_id: Uuid,
    steps: Vec<String>,
}

pub(super) async fn retry(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    act: Result<Json<Act>, JsonRejection>,
) -> Result<Json<Retried>, Problem> {
    let (Path(task_id), Json(Act { actor, reason, steps })) = (task?, act?);
    let actor = visitor.actor(&actor);
    let done = site.ask(RetryTask { correlation_id: Uuid::nil(), task_id, steps, actor, reason }).await?;
    Ok(Json(Retried { task_id, steps: done.steps }))
}

/// How a step is settled by hand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolution {
    result: Option<Box<RawValue>>,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Resolved {
    task_id: Uuid,
    step: String,
    task_state: String,
}

pub(super) async fn resolve(
    State(site): State<Shared>,
    visitor: Visitor,
    path: Result<Path<(Uuid, String)>, PathRejection>,
    resolution: Result<Json<Resolution>, JsonRejection>,
) -> Result<Json<Resolved>, Problem> {
    let (Path((task_id, step)), Json(Resolution { result, actor, reason })) = (path?, resolution?);
    let (actor, result) = (visitor.actor(&actor), result.as_deref().map(text));
    let done = site.ask(ResolveStep { correlation_id: Uuid::nil(), task_id, step, result, actor, reason }).await?;
    Ok(Json(Resolved { task_id, step: done.step, task_state: done.task_state }))
}
