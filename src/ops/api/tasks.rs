//! Tasks: find, submit, look, wait.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tasker_engine::TaskId;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::paging::Page;
use super::steps::{named, reported};
use super::view::{Count, ListedTask, Step, Task, shown_bytes, text};
use crate::filter::Filter;
use crate::ops::guard::Visitor;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::protocol::{ErrorCode, InitializeTask, JsonText, TaskRequest, TaskSummary, WaitForTask};
use crate::store::{self, Cursor, TransitionCursor};

/// Which tasks.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// A filter as in FILTERS.md: `state:error namespace:billing step:charge ctx.order.id:42 -tag:test since:1h`. All tasks when
    /// it is empty.
    #[serde(default)]
    q: String,
    /// Where to go on: the `next` of the page before.
    after: Option<String>,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// Whether to count what the filter selects.
    #[serde(default)]
    count: bool,
}

/// A page of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskPage {
    tasks: Vec<ListedTask>,
    /// Where to go on; not there when all tasks have been looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// When the page is not full although there is a next one: only tasks created since then have been looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    searched_back_to_ms: Option<i64>,
    /// When it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<Count>,
}

/// List tasks
///
/// Newest first. A page costs the database a bounded look; one that is not full says how far back that went.
#[utoipa::path(get, path = "/tasks", operation_id = "list_tasks", tag = "tasks", params(Wanted),
    responses((status = 200, description = "A page.", body = TaskPage)))]
pub(super) async fn list(
    State(site): State<Shared>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<TaskPage>, Problem> {
    let Query(Wanted { q, after, limit, count }) = wanted?;
    let filter = Filter::parse(&q).map_err(|error| Problem::filter("q", &error))?;
    let page = Page::new(after, limit);
    let (after, rows) = (page.after::<Cursor>()?, page.rows()?);
    let found = store::search_tasks(site.pool()?, &filter, after, rows).await?;
    let count = if count { Some(store::count_tasks(site.pool()?, &filter).await?) } else { None };
    Ok(Json(TaskPage {
        tasks: found.tasks.into_iter().map(ListedTask::from).collect(),
        next: found.next.map(|next| next.to_string()),
        searched_back_to_ms: found.searched_back_to_ms,
        count: count.map(Count::from),
    }))
}

/// A task as it is asked for; the keys are those of PROTOCOL.md, with payloads as JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    /// Template namespace.
    namespace: String,
    /// Template name.
    name: String,
    /// Template version; the highest when it is not there.
    version: Option<String>,
    /// JSON object that the template's schema allows.
    #[schema(value_type = Option<Object>)]
    context: Option<Box<RawValue>>,
    /// A second request with the same key and template gives the first task.
    idempotency_key: Option<String>,
    /// Higher goes first.
    #[serde(default)]
    priority: i32,
    /// Who asks. Where tokens are demanded, the name of the token is noted, too.
    initiator: Option<String>,
    /// Which system asks.
    source_system: Option<String>,
    /// Why.
    reason: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    /// Steps to skip; each must be `skippable`.
    #[serde(default)]
    bypass_steps: Vec<String>,
    /// Not before this time.
    run_at_ms: Option<i64>,
    /// The submitter's own id for the business process, handed to every step.
    correlation_id: Option<String>,
    /// JSON object, merged over the template's `default_options`.
    #[schema(value_type = Option<Object>)]
    options: Option<Box<RawValue>>,
    /// W3C Trace Context of the request.
    traceparent: Option<String>,
    /// The rest of it; means nothing without `traceparent`.
    tracestate: Option<String>,
}

/// What became of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Submitted {
    task_id: Uuid,
    /// `namespace/name@version` as chosen.
    template: String,
    /// Names of its steps in order of definition.
    steps: Vec<String>,
    /// Whether the idempotency key named a task that was there already.
    duplicate: bool,
}

/// Submit a task
///
/// The answer comes when the task is durable.
#[utoipa::path(post, path = "/tasks", operation_id = "submit_task", tag = "tasks", request_body = Submission,
    responses((status = 201, description = "The task is there.", body = Submitted),
              (status = 200, description = "It was there already, by its idempotency key.", body = Submitted)))]
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
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parts {
    /// Whether to list the steps.
    #[serde(default)]
    steps: bool,
    /// Names of steps whose results are wanted, separated by commas; `*` for all.
    #[serde(default)]
    results: String,
}

/// Show a task
///
/// Its state in numbers and words, and its steps when asked for.
#[utoipa::path(get, path = "/tasks/{task}", operation_id = "show_task", tag = "tasks",
    params(("task" = Uuid, Path, description = "The task."), Parts),
    responses((status = 200, description = "The task.", body = Task)))]
pub(super) async fn show(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
    wanted: Result<Query<Parts>, QueryRejection>,
) -> Result<Json<Task>, Problem> {
    let (Path(task), Query(Parts { steps, results })) = (task?, wanted?);
    let results = named(&results);
    let lists_steps = steps || !results.is_empty();
    let report = reported(&site, task, steps, results).await?;
    let hidden = site.redaction(&visitor);
    let steps = lists_steps.then(|| report.steps.into_iter().map(|step| Step::of(step, &hidden)).collect());
    Ok(Json(Task { task: report.task, steps }))
}

/// A task as it was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Request {
    task_id: Uuid,
    #[schema(value_type = Object)]
    context: Box<RawValue>,
    /// As asked for, over the template's `default_options`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    options: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_system: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
    /// Steps that were skipped.
    bypass_steps: Vec<String>,
}

/// Show the request of a task
///
/// Context and options digit for digit, without the values of the keys in `http.redact` unless the token is an admin's.
#[utoipa::path(get, path = "/tasks/{task}/request", operation_id = "show_request", tag = "tasks",
    params(("task" = Uuid, Path, description = "The task.")),
    responses((status = 200, description = "The request.", body = Request)))]
pub(super) async fn request(
    State(site): State<Shared>,
    visitor: Visitor,
    task: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<Request>, Problem> {
    let Path(task_id) = task?;
    let detail = store::task_detail(site.pool()?, TaskId(task_id)).await?.ok_or_else(|| unknown(task_id))?;
    let hidden = site.redaction(&visitor);
    Ok(Json(Request {
        task_id,
        context: shown_bytes(&detail.context, &hidden),
        options: detail.options.as_ref().map(|options| shown_bytes(options, &hidden)),
        idempotency_key: detail.key,
        initiator: detail.initiator,
        source_system: detail.source_system,
        reason: detail.reason,
        correlation_id: detail.correlation_id,
        traceparent: detail.traceparent,
        tracestate: detail.tracestate,
        bypass_steps: detail.bypassed,
    }))
}

fn unknown(task: Uuid) -> Problem {
    Problem::not_found(ErrorCode::UnknownTask.as_str(), format!("there is no task {task}"))
}

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Patience {
    /// Milliseconds; the broker's `limits.wait_ms_max` at most.
    #[serde(default = "Patience::default_ms")]
    #[param(default = 30_000)]
    timeout_ms: u64,
}

impl Patience {
    /// Less than most proxies wait.
    fn default_ms() -> u64 {
        30_000
    }
}

/// A task that has ended, or has not in time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Waited {
    /// Whether it has ended.
    finished: bool,
    task: TaskSummary,
}

/// Wait for a task
///
/// Answers when it has ended, or when the time is up.
#[utoipa::path(get, path = "/tasks/{task}/wait", operation_id = "wait_for_task", tag = "tasks",
    params(("task" = Uuid, Path, description = "The task."), Patience),
    responses((status = 200, description = "How it is.", body = Waited)))]
pub(super) async fn wait(
    State(site): State<Shared>,
    task: Result<Path<Uuid>, PathRejection>,
    patience: Result<Query<Patience>, QueryRejection>,
) -> Result<Json<Waited>, Problem> {
    let (Path(task_id), Query(Patience { timeout_ms })) = (task?, patience?);
    let waited = site.ask(WaitForTask { correlation_id: Uuid::nil(), task_id, timeout_ms }).await?;
    Ok(Json(Waited { finished: waited.finished, task: waited.task }))
}

/// A change of a state.
#[derive(Debug, Serialize, ToSchema)]
struct Transition {
    /// The step; not there when it is the task's own state.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// The state before; not there for the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<i64>,
    /// The batch that it came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<Uuid>,
    /// Who did it, when a person did.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// A page of transitions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Transitions {
    transitions: Vec<Transition>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List the transitions of a task
///
/// Every change of the state of the task and its steps, in the order in which they were committed.
#[utoipa::path(get, path = "/tasks/{task}/transitions", operation_id = "list_transitions", tag = "tasks",
    params(("task" = Uuid, Path, description = "The task."), Page),
    responses((status = 200, description = "A page.", body = Transitions)))]
pub(super) async fn transitions(
    State(site): State<Shared>,
    task: Result<Path<Uuid>, PathRejection>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Transitions>, Problem> {
    let (Path(task), Query(page)) = (task?, page?);
    let (after, rows) = (page.after::<TransitionCursor>()?, page.rows()?);
    let found = store::transitions(site.pool()?, TaskId(task), after.as_ref(), rows).await?;
    if found.rows.is_empty() && after.is_none() {
        // A task has at least the transition into its first state.
        return Err(unknown(task));
    }
    let next = found.next.map(|next| next.to_string());
    let transition = |row: store::Transition| {
        let store::Transition { step, attempt, from, to, at_ms, batch, by, detail } = row;
        Transition { step, attempt, from, to, at_ms, batch_id: batch.map(|batch| batch.0), by, detail }
    };
    Ok(Json(Transitions { transitions: found.rows.into_iter().map(transition).collect(), next }))
}
