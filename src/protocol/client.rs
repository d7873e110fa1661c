//! Messages between clients (and operators) and the broker. Every request has a typed reply with the same
//! `correlation_id`, or an [`ErrorReply`](super::ErrorReply).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ErrorReply;
use super::json::JsonText;

/// Create one task or many; each row has its own outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitializeTask {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The requests.
    pub tasks: Vec<TaskRequest>,
}

/// A request for one run of a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskRequest {
    /// Template namespace.
    pub namespace: String,
    /// Template name.
    pub name: String,
    /// Exact version; the highest registered one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// JSON object.
    #[serde(default)]
    pub context: JsonText,
    /// A second request with the same key and template returns the first task. At most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// Which system asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_system: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Steps to skip; each must be `skippable`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bypass_steps: Vec<String>,
    /// Not before this time, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at_ms: Option<i64>,
    /// The submitter's own id for the business process, handed to every step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// JSON object, merged over the template's `default_options`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<JsonText>,
    /// W3C Trace Context of the request, handed to every step; opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The rest of it; means nothing without `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}

/// Outcomes of an [`InitializeTask`], in its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TasksInitialized {
    /// From the request.
    pub correlation_id: Uuid,
    /// One entry a request.
    pub tasks: Vec<TaskInitialized>,
}

/// What became of one task request: `task_id` or `error` is present.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskInitialized {
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
    /// `namespace/name@version` as chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Step names in order of definition.
    #[serde(default)]
    pub steps: Vec<String>,
    /// `true` when the idempotency key named an existing task.
    #[serde(default)]
    pub duplicate: bool,
    /// The refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReply>,
}

/// Dispatch what is ready of a task now. The broker does so by itself; this reports truthfully what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TryTaskIfReady {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
}

/// What a [`TryTaskIfReady`] did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskTried {
    /// From the request.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// Whether this call dispatched anything.
    pub ready: bool,
    /// Steps dispatched by this call.
    pub steps_dispatched: u32,
    /// Batches that carry them.
    pub batch_ids: Vec<Uuid>,
    /// Steps that are ready and wait for a worker.
    pub steps_waiting: u32,
    /// The task's state.
    pub state: String,
}

/// How is a task?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// Whether to list the steps.
    #[serde(default)]
    pub include_steps: bool,
    /// Steps whose results to return; `["*"]` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_results: Vec<String>,
}

/// Reply to [`TaskStatus`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStatusReport {
    /// From the request.
    pub correlation_id: Uuid,
    /// The task.
    pub task: TaskSummary,
    /// The steps, when asked for, in order of definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepSummary>,
}

/// Answer when the task has ended, or when the time is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitForTask {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// How long to wait, in milliseconds; capped by the broker's `wait_ms_max`.
    pub timeout_ms: u64,
}

/// Reply to [`WaitForTask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskWaited {
    /// From the request.
    pub correlation_id: Uuid,
    /// Whether the task has ended.
    pub finished: bool,
    /// The task.
    pub task: TaskSummary,
}

/// The state of a task in numbers and words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskSummary {
    /// The task.
    pub task_id: Uuid,
    /// Template namespace.
    pub namespace: String,
    /// Template name.
    pub name: String,
    /// Template version.
    pub version: String,
    /// `pending`, `in_progress`, `complete`, `error`, `cancelled`, `resolved_manually`.
    pub state: String,
    /// Priority.
    pub priority: i32,
    /// Steps by state.
    pub counts: StepCounts,
    /// `has_ready_steps`, `processing`, `waiting_for_dependencies`, `waiting_for_retry`, `blocked_by_failures`, `all_complete`.
    pub execution_status: String,
    /// `execute_ready_steps`, `wait_for_completion`, `wait_for_dependencies`, `wait_for_retry`, `handle_failures`, `none`.
    pub recommended_action: String,
    /// 0 to 100, two decimals.
    pub completion_percentage: f64,
    /// `healthy`, `recovering`, `blocked`.
    pub health: String,
    /// Creation, in milliseconds since the Unix epoch, database clock.
    #[serde(default)]
    pub created_at_ms: i64,
    /// End, when it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at_ms: Option<i64>,
    /// Not before this time, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at_ms: Option<i64>,
    /// Request tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Steps of a task by state. `ready` counts those `pending` steps whose parents are satisfied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepCounts {
    /// All steps.
    pub total: u32,
    /// Not started, ready or not.
    pub pending: u32,
    /// Pending and ready to go.
    pub ready: u32,
    /// With a worker.
    pub in_progress: u32,
    /// Complete.
    pub complete: u32,
    /// Ended in error.
    pub error: u32,
    /// Cancelled.
    pub cancelled: u32,
    /// Resolved by hand or bypassed.
    pub resolved_manually: u32,
    /// Failed, to be tried again later.
    pub waiting_for_retry: u32,
}

/// The state of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepSummary {
    /// The step's name.
    pub name: String,
    /// One of the seven step states.
    pub state: String,
    /// Attempts made so far.
    pub attempts: u32,
    /// Most attempts.
    pub retry_limit: u32,
    /// Whether it could run now.
    #[serde(default)]
    pub ready: bool,
    /// Names of the parents.
    #[serde(default)]
    pub parents: Vec<String>,
    /// The worker that has it, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Milliseconds until the next attempt, when it waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Last dispatch, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatched_at_ms: Option<i64>,
    /// End.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at_ms: Option<i64>,
    /// How long the handler ran, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// Class of the last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    /// Message of the last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Code of the last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The result, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JsonText>,
    /// What its running attempt said last about how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<JsonText>,
}

/// List tasks, newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListTasks {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// Only this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only this template name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only tasks with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only tasks older than this one: the last of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Uuid>,
    /// Only what this filter selects; the four above are terms of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether to count all tasks that are selected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub count: bool,
    /// At most this many (1 to 1000).
    pub limit: u32,
}

/// Reply to [`ListTasks`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskList {
    /// From the request.
    pub correlation_id: Uuid,
    /// The tasks, newest first.
    pub tasks: Vec<TaskSummary>,
    /// The `before` of the next page; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Uuid>,
    /// When the page is not full although there is a next one: only tasks created since then were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searched_back_to_ms: Option<i64>,
    /// How many tasks are selected, when that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Whether there may be more than `count`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub count_capped: bool,
}

/// Cancel a task: running steps are told, waiting ones never start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CancelTask {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// Who.
    #[serde(default)]
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Reply to [`CancelTask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskCancelled {
    /// From the request.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// Steps that a worker was told to stop.
    pub steps_stopped: u32,
    /// Steps that will never start.
    pub steps_cancelled: u32,
}

/// Give the failed steps of a task a new set of attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryTask {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// Only these steps; all in `error` when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// Who.
    #[serde(default)]
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Reply to [`RetryTask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRetried {
    /// From the request.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// Steps that were reset.
    pub steps: Vec<String>,
}

/// Settle one step by hand, with a result that its children receive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolveStep {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// The step.
    pub step: String,
    /// JSON text; `null` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JsonText>,
    /// Who.
    #[serde(default)]
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Reply to [`ResolveStep`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResolved {
    /// From the request.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// The step.
    pub step: String,
    /// The task's state afterwards.
    pub task_state: String,
}

/// List workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListWorkers {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
}

/// Reply to [`ListWorkers`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerList {
    /// From the request.
    pub correlation_id: Uuid,
    /// Registered workers, by name.
    pub workers: Vec<WorkerSummary>,
}

/// One registered worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerSummary {
    /// Its name.
    pub name: String,
    /// The registration.
    pub registration_id: Uuid,
    /// The process.
    pub incarnation: Uuid,
    /// `active`, `suspect` (three heartbeats missed, nothing is sent), `draining`, `awaited` (after a broker restart).
    pub state: String,
    /// Slots.
    pub concurrency: u32,
    /// Steps out.
    pub in_flight: u32,
    /// Batches out.
    pub batches: u32,
    /// Milliseconds since the last sign of life.
    pub seen_ms_ago: u64,
    /// Capabilities, as registered.
    pub templates: Vec<String>,
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// Language and version.
    pub language: String,
    /// Library and version.
    pub library: String,
}
