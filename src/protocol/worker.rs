//! Messages between workers and the broker.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::json::JsonText;

/// A worker introduces itself, on its first connection and after every reconnect.
///
/// From the moment it sends this until it holds the matching [`WorkerRegistered`], a worker drops any [`ExecuteBatch`]:
/// the broker takes a batch that is not in `open_batches` as never received and hands it out again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterWorker {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The logical name; stable over restarts, unique in the fleet.
    pub name: String,
    /// New for each process start. Another incarnation under the same name supersedes the older one.
    pub incarnation: Uuid,
    /// What it can run.
    pub templates: Vec<Capability>,
    /// How many steps it takes at once.
    pub concurrency: u32,
    /// Host name.
    #[serde(default)]
    pub host: String,
    /// Process id.
    #[serde(default)]
    pub pid: u32,
    /// For example `ruby 3.1.2`.
    #[serde(default)]
    pub language: String,
    /// For example `tasker_core 0.1.0`.
    #[serde(default)]
    pub library: String,
    /// Batches that it received and whose closing the broker has not acknowledged.
    #[serde(default)]
    pub open_batches: Vec<Uuid>,
    /// Outcomes that the broker has not acknowledged; handled as a [`ReportPartialResult`].
    #[serde(default)]
    pub unacknowledged: Vec<StepOutcome>,
    /// Most messages that it takes in a bundle; nothing: it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_max: Option<u32>,
}

/// Templates that a worker can run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capability {
    /// `namespace/name@version`, `namespace/name` (every version) or `namespace/*` (every template of the namespace).
    pub template: String,
    /// The template's YAML, registered before the worker is when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yaml: Option<String>,
    /// Where the YAML came from, for error messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A sign of life with load figures. Any other message of a registered worker counts as one too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerHeartbeat {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The registration that the worker believes it has.
    pub registration_id: Uuid,
    /// Slots without a step.
    pub free_slots: u32,
    /// Steps received and not yet reported.
    pub in_flight: u32,
    /// Milliseconds since the last step ended; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// One-minute load average of the host, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
}

/// Outcomes of steps, each as soon as it is known; several may share one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportPartialResult {
    /// Carried back in the acknowledgement.
    pub correlation_id: Uuid,
    /// The outcomes.
    pub results: Vec<StepOutcome>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    /// The handler returned a result.
    Complete,
    /// The handler failed.
    Error,
}

/// The outcome of one attempt of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// The batch that brought the step.
    pub batch_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// The step's name.
    pub step: String,
    /// The attempt, as given in [`ExecuteBatch`].
    pub attempt: u32,
    /// How it ended.
    pub status: OutcomeStatus,
    /// JSON text of the result; `null` when absent. Only with `complete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JsonText>,
    /// JSON object of what the handler says about the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonText>,
    /// What went wrong. Required with `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// When the handler started, in microseconds since the Unix epoch by the worker's clock.
    #[serde(default)]
    pub started_at_us: i64,
    /// How long it ran, in microseconds.
    #[serde(default)]
    pub duration_us: u64,
    /// Events to publish, each named in the template's `custom_events`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<CustomEvent>,
}

/// An event that a step publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomEvent {
    /// The name, as listed in `custom_events`.
    pub name: String,
    /// JSON text.
    pub payload: JsonText,
}

/// Why a handler failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    /// Error class, for example `TaskerCore::Errors::PermanentError`.
    pub class: String,
    /// The message.
    #[serde(default)]
    pub message: String,
    /// A code of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// When to try again: a number of seconds as text (`"2"`, `"0.5"`) or an HTTP date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// Lines of the backtrace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
    /// JSON object of further facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonText>,
}

/// The closing report of a batch: every step of it with its final status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportBatchCompletion {
    /// Carried back in the acknowledgement.
    pub correlation_id: Uuid,
    /// The batch.
    pub batch_id: Uuid,
    /// Every step of the batch.
    pub steps: Vec<CompletedStep>,
}

/// One line of a batch completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompletedStep {
    /// The task.
    pub task_id: Uuid,
    /// The step's name.
    pub step: String,
    /// The attempt.
    pub attempt: u32,
    /// How it ended.
    pub status: CompletionStatus,
}

/// How a step of a batch ended, in the worker's closing report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompletionStatus {
    /// Reported as complete.
    Complete,
    /// Reported as failed.
    Error,
    /// Returned without having run.
    Returned,
}

/// Steps that the worker will not run, or not to their end. No attempt is used up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReturnSteps {
    /// Carried back in the acknowledgement.
    pub correlation_id: Uuid,
    /// The steps.
    pub steps: Vec<StepReference>,
    /// Why, in a few words: `draining`, `interrupted`, `unknown handler`, `child died`.
    pub reason: String,
}

/// One attempt of one step in one batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepReference {
    /// The batch that brought the step.
    pub batch_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// The step's name.
    pub step: String,
    /// The attempt.
    pub attempt: u32,
}

/// A worker leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnregisterWorker {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The registration to close.
    pub registration_id: Uuid,
    /// `true`: finish what is in flight, take no more, then close. `false`: leave now, unfinished steps go back.
    pub drain: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// How far a running step is. Not stored, and answered only when it is refused: the latest stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportProgress {
    /// Carried back in a refusal.
    pub correlation_id: Uuid,
    /// The batch that brought the step.
    pub batch_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// The step's name.
    pub step: String,
    /// The attempt.
    pub attempt: u32,
    /// JSON text, at most `progress_bytes_max` long.
    pub progress: JsonText,
}

/// A registration was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerRegistered {
    /// From the request.
    pub correlation_id: Uuid,
    /// This episode; batches of an earlier one must not be started any more unless they were listed as open.
    pub registration_id: Uuid,
    /// The broker process.
    pub broker_id: Uuid,
    /// The lease epoch under which the broker writes.
    pub epoch: i64,
    /// Send a heartbeat this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// Silence after which the worker counts as lost, in milliseconds.
    pub worker_timeout_ms: u64,
    /// Largest payload (context, result) in bytes.
    pub payload_bytes_max: u64,
    /// Largest message in bytes.
    pub message_bytes_max: u64,
    /// Most unacknowledged results that a worker may hold before it stops taking work.
    pub unacknowledged_max: u32,
    /// Longest progress in bytes. A broker that does not say so takes no [`ReportProgress`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_bytes_max: Option<u64>,
    /// Most messages that the broker takes in a bundle; nothing: it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_max: Option<u32>,
    /// Of the batches listed as open, those that the broker has closed: nothing of them counts any more.
    #[serde(default)]
    pub closed_batches: Vec<Uuid>,
    /// Templates that this worker now serves.
    #[serde(default)]
    pub templates: Vec<String>,
}

/// A heartbeat arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatAcknowledged {
    /// From the request.
    pub correlation_id: Uuid,
    /// The broker process.
    pub broker_id: Uuid,
    /// The lease epoch under which the broker writes.
    pub epoch: i64,
}

/// Steps to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecuteBatch {
    /// The batch.
    pub batch_id: Uuid,
    /// The registration that it is meant for; another one drops it.
    pub registration_id: Uuid,
    /// Milliseconds from now until the last step of the batch times out.
    pub deadline_ms: u64,
    /// The tasks that the steps belong to, each once.
    pub tasks: Vec<BatchTask>,
    /// The steps.
    pub steps: Vec<BatchStep>,
}

/// A task in a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchTask {
    /// The task.
    pub task_id: Uuid,
    /// Template namespace.
    pub namespace: String,
    /// Template name.
    pub name: String,
    /// Template version.
    pub version: String,
    /// JSON object.
    pub context: JsonText,
    /// Request tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Priority.
    #[serde(default)]
    pub priority: i32,
    /// The correlation id that the submitter gave to the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The `traceparent` that the submitter gave to the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The `tracestate` that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// Results of the parents of the batch's steps, each once.
    #[serde(default)]
    pub results: Vec<ParentResult>,
}

/// The result of a parent step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParentResult {
    /// The parent's name.
    pub step: String,
    /// JSON text.
    pub result: JsonText,
}

/// A step in a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchStep {
    /// Index into [`ExecuteBatch::tasks`].
    pub task: u32,
    /// The step's name.
    pub name: String,
    /// Handler class.
    pub handler: String,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// The `traceparent` of this attempt, in place of its task's, with the task's `tracestate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Most attempts.
    pub retry_limit: u32,
    /// Whether a failure may be tried again.
    pub retryable: bool,
    /// Seconds from dispatch until the broker gives the attempt up.
    pub timeout_seconds: f64,
    /// JSON object: the step's `handler_config`.
    pub inputs: JsonText,
    /// Names of the parents, whose results are in [`BatchTask::results`].
    #[serde(default)]
    pub parents: Vec<String>,
    /// Names of events that the step may publish.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_events: Vec<String>,
}

/// What the broker made of a reported result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Recorded; it moved the step.
    Accepted,
    /// The same attempt was recorded before.
    Duplicate,
    /// The attempt was no longer open: timed out, cancelled, or handed to another worker.
    Late,
    /// No such task, step or batch.
    Unknown,
    /// The same attempt was recorded before with another payload.
    Contradicting,
    /// The outcome broke a rule (payload not JSON, too large); the attempt was recorded as failed.
    Refused,
}

/// These reports are durable: the worker may forget them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultsAccepted {
    /// From the report.
    pub correlation_id: Uuid,
    /// One entry an outcome, in the order of the report; those of tasks that have ended come in a second message.
    #[serde(default)]
    pub results: Vec<AcceptedResult>,
    /// Batches that are closed for good.
    #[serde(default)]
    pub closed_batches: Vec<Uuid>,
}

/// Disposition of one outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AcceptedResult {
    /// The batch.
    pub batch_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// The step.
    pub step: String,
    /// The attempt.
    pub attempt: u32,
    /// What became of it.
    pub disposition: Disposition,
}

/// Results that a completion named and that never arrived: send them again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultsMissing {
    /// From the completion.
    pub correlation_id: Uuid,
    /// The batch.
    pub batch_id: Uuid,
    /// What is missing.
    pub steps: Vec<StepReference>,
}

/// Steps to stop; whatever they still report is recorded as late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CancelSteps {
    /// The steps.
    pub steps: Vec<StepReference>,
    /// `timeout` or `cancelled`.
    pub reason: CancelReason,
}

/// Why a step is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// `timeout_seconds` passed.
    Timeout,
    /// The task was cancelled, or an operator resolved the step.
    Cancelled,
}

/// Finish what is in flight, then unregister.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// Why.
    pub reason: String,
}

/// The broker does not know the sender as a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterAgain {
    /// From the message that it could not place, when that had one.
    pub correlation_id: Uuid,
    /// The broker process.
    pub broker_id: Uuid,
    /// Why.
    pub reason: String,
}

/// A registration is closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerUnregistered {
    /// From the request.
    pub correlation_id: Uuid,
    /// The closed registration.
    pub registration_id: Uuid,
    /// Steps that went back to the queue.
    pub steps_returned: u32,
}
