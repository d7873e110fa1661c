//! What happened: everything that the engine is told. Built by the gateway from messages, by the store from what it
//! read, and by the server from time.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::explain::ExplanationQuery;
use crate::fleet::FleetAction;
use crate::id::{BatchId, Origin, PeerId, RegistrationId, TaskId};
use crate::loads::LoadTurn;
use crate::refusal::Refusal;
use crate::results::StrangeReports;
use crate::snapshot::TaskSnapshot;
use crate::submit::Submission;
use crate::template::{Template, TemplateKey};
use crate::time::Wall;

/// Something that happened.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum Event {
    /// A client asked to store a template.
    TemplateSubmitted { origin: Origin, template: TemplateSource },
    /// A client asked for tasks; a row that the gateway refused keeps its place.
    TasksSubmitted { origin: Origin, requests: Vec<Result<TaskRequest, Refusal>> },
    /// The store answered [`Read::IdempotencyKeys`](crate::Read::IdempotencyKeys), in its order.
    KeysLookedUp { submission: Box<Submission>, found: Vec<Option<(TaskId, TemplateKey)>> },
    /// A client asked to dispatch what is ready of a task.
    TaskTried { origin: Origin, task: TaskId },
    /// A client asked for a task's state.
    StatusAsked { origin: Origin, query: StatusQuery },
    /// A client wants to hear when a task has ended.
    WaitAsked { origin: Origin, task: TaskId, timeout_ms: u64 },
    /// A client or operator wants to change a task.
    OperationAsked { origin: Origin, operation: Operation },
    /// The store answered [`Read::Task`](crate::Read::Task): the task of an operation, or nothing under that id.
    TaskLoaded { origin: Origin, operation: Box<Operation>, asked: LoadTurn, task: Option<Box<TaskSnapshot>> },
    /// The store answered [`Read::EndedTasks`](crate::Read::EndedTasks) with the tasks that there are.
    EndedTasksLoaded { reports: Box<StrangeReports>, tasks: Vec<TaskSnapshot> },
    /// An operator wants to change a namespace or a worker.
    FleetActionAsked { origin: Origin, action: FleetAction },
    /// A client asked for the namespaces.
    NamespacesAsked { origin: Origin },
    /// A client asked why steps do not run.
    ExplanationAsked { origin: Origin, query: ExplanationQuery },
    /// A client asked for the workers.
    WorkersAsked { origin: Origin },
    /// A client asked for the templates.
    TemplatesAsked { origin: Origin, namespace: Option<String> },
    /// A client asked for one template; no version means the highest.
    TemplateAsked { origin: Origin, namespace: String, name: String, version: Option<String> },
    /// A worker registered.
    WorkerRegistered { origin: Origin, worker: WorkerIntroduction },
    /// A worker showed that it lives.
    WorkerBeat { origin: Origin, registration: RegistrationId, beat: Beat },
    /// A worker reported outcomes.
    ResultsReported { origin: Origin, results: Vec<StepReport> },
    /// A worker says how far a step is (JSON text).
    StepProgressed { peer: PeerId, at: StepReference, progress: Bytes },
    /// A worker closed a batch.
    BatchReported { origin: Origin, batch: BatchId, steps: Vec<CompletedStep> },
    /// A worker gave steps back.
    StepsReturned { origin: Origin, steps: Vec<StepReference>, reason: String },
    /// A worker leaves.
    WorkerLeft { origin: Origin, registration: RegistrationId, drain: bool, reason: String },
    /// A message to this peer could not be delivered: its connection is gone or its queue is full.
    PeerUnreachable { peer: PeerId },
    /// Requests that applications put into the inbox in their own transactions, or why one cannot be taken.
    InboxTaken { rows: Vec<(i64, Result<TaskRequest, Refusal>)> },
}

impl Event {
    /// The command that the event is, if it is one: who asked.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Event::TemplateSubmitted { origin, .. }
            | Event::TasksSubmitted { origin, .. }
            | Event::TaskTried { origin, .. }
            | Event::StatusAsked { origin, .. }
            | Event::WaitAsked { origin, .. }
            | Event::OperationAsked { origin, .. }
            | Event::TaskLoaded { origin, .. }
            | Event::FleetActionAsked { origin, .. }
            | Event::NamespacesAsked { origin }
            | Event::ExplanationAsked { origin, .. }
            | Event::WorkersAsked { origin }
            | Event::TemplatesAsked { origin, .. }
            | Event::TemplateAsked { origin, .. }
            | Event::WorkerRegistered { origin, .. }
            | Event::WorkerBeat { origin, .. }
            | Event::ResultsReported { origin, .. }
            | Event::BatchReported { origin, .. }
            | Event::StepsReturned { origin, .. }
            | Event::WorkerLeft { origin, .. } => Some(*origin),
            Event::KeysLookedUp { submission, .. } => submission.origin(),
            Event::EndedTasksLoaded { reports, .. } => Some(reports.origin()),
            Event::StepProgressed { .. } | Event::PeerUnreachable { .. } | Event::InboxTaken { .. } => None,
        }
    }
}

/// A template as it is to be stored.
#[derive(Clone, Debug)]
pub struct TemplateSource {
    /// The compiled definition.
    pub template: Arc<Template>,
    /// The YAML as given.
    pub yaml: Arc<str>,
    /// SHA-256 of the YAML.
    pub digest: [u8; 32],
    /// The environment whose overrides it was compiled with; it stays with the version for ever.
    pub environment: Option<Arc<str>>,
    /// For people.
    pub description: Option<Arc<str>>,
    /// Class whose `initialize_task` may adjust or refuse a request.
    pub task_handler_class: Option<Arc<str>>,
    /// JSON object for that class.
    pub handler_config: Option<Arc<str>>,
}

/// A request for one run of a template; payloads were checked.
#[derive(Clone, Debug, Default)]
pub struct TaskRequest {
    /// Template namespace.
    pub namespace: String,
    /// Template name.
    pub name: String,
    /// Exact version; the highest when absent.
    pub version: Option<String>,
    /// JSON object.
    pub context: Bytes,
    /// Names the request for ever, within the template's namespace and name.
    pub idempotency_key: Option<Box<str>>,
    /// Higher goes first.
    pub priority: i32,
    /// Steps to skip.
    pub bypass_steps: Vec<String>,
    /// Not before this time.
    pub run_at: Option<Wall>,
    /// What is only recorded and handed on.
    pub labels: TaskLabels,
}

/// Fields of a request that decide nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskLabels {
    /// Who asks.
    pub initiator: Option<Box<str>>,
    /// Which system asks.
    pub source_system: Option<Box<str>>,
    /// Why.
    pub reason: Option<Box<str>>,
    /// Labels.
    pub tags: Vec<Box<str>>,
    /// The submitter's own id for the business process.
    pub correlation_id: Option<Box<str>>,
    /// JSON object.
    pub options: Option<Bytes>,
    /// The trace that the request belongs to; boxed, because most have none.
    pub trace: Option<Box<TraceContext>>,
}

/// A trace of several systems, as W3C Trace Context has it. Nobody here looks into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: Box<str>,
    /// `tracestate`.
    pub state: Option<Box<str>>,
}

impl TraceContext {
    /// From its two texts. The second one means nothing without the first.
    pub fn of(parent: Option<Box<str>>, state: Option<Box<str>>) -> Option<Box<TraceContext>> {
        Some(Box::new(TraceContext { parent: parent?, state }))
    }

    fn bytes(&self) -> usize {
        self.parent.len() + self.state.as_ref().map_or(0, |state| state.len())
    }
}

impl TaskLabels {
    /// Bytes of the trace.
    pub(crate) fn trace_bytes(&self) -> usize {
        self.trace.as_ref().map_or(0, |trace| trace.bytes())
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        let TaskLabels { initiator, source_system, reason, tags, correlation_id, options, trace: _ } = self;
        let texts = [initiator, source_system, reason, correlation_id].into_iter().flatten().chain(tags);
        texts.map(|text| text.len()).sum::<usize>() + options.as_ref().map_or(0, Bytes::len) + self.trace_bytes()
    }
}

/// What a status request wants.
#[derive(Clone, Debug)]
pub struct StatusQuery {
    /// The task.
    pub task: TaskId,
    /// Whether to list the steps.
    pub include_steps: bool,
    /// Steps whose results to return; `*` for all. Results are read from the store.
    pub include_results: Vec<String>,
}

/// A change to a task that a client or operator asks for.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The task.
    pub task: TaskId,
    /// What to do.
    pub kind: OperationKind,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What an operation does.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum OperationKind {
    /// Stop the task.
    Cancel,
    /// Give these steps (all failed ones when empty) a new set of attempts.
    Retry { steps: Vec<String> },
    /// Settle one step with a result (JSON text).
    Resolve { step: String, result: Bytes },
}

impl OperationKind {
    /// The name in `operator_actions`.
    pub const fn name(&self) -> &'static str {
        match self {
            OperationKind::Cancel => "cancel",
            OperationKind::Retry { .. } => "retry",
            OperationKind::Resolve { .. } => "resolve",
        }
    }
}

/// A worker as it introduces itself.
#[derive(Clone, Debug)]
pub struct WorkerIntroduction {
    /// Logical name.
    pub name: Arc<str>,
    /// New each process start.
    pub incarnation: Uuid,
    /// What it can run.
    pub capabilities: Vec<Capability>,
    /// Templates that it brought along, to be stored first.
    pub templates: Vec<TemplateSource>,
    /// Slots.
    pub concurrency: u32,
    /// Host name.
    pub host: Arc<str>,
    /// Process id.
    pub pid: u32,
    /// Language and version.
    pub language: Arc<str>,
    /// Library and version.
    pub library: Arc<str>,
    /// The name of the key that it came with, if it needed one. Nobody with another one takes its place.
    pub key: Option<Arc<str>>,
    /// Batches that it received and whose closing it has not heard of.
    pub open_batches: Vec<BatchId>,
    /// Outcomes that it has not been thanked for.
    pub unacknowledged: Vec<StepReport>,
}

/// Templates that a worker can run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Exactly this template.
    Exact(TemplateKey),
    /// Every version of `namespace`, `name`.
    AnyVersion(Arc<str>, Arc<str>),
    /// Every template of a namespace.
    Namespace(Arc<str>),
}

/// Load figures of a heartbeat.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beat {
    /// Slots without a step.
    pub free_slots: u32,
    /// Steps received and not reported.
    pub in_flight: u32,
}

/// One attempt of one step in one batch, as a worker names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepReference {
    /// The batch.
    pub batch: BatchId,
    /// The task.
    pub task: TaskId,
    /// The step's name.
    pub step: Arc<str>,
    /// The attempt.
    pub attempt: u32,
}

/// An outcome as reported.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Which step.
    pub at: StepReference,
    /// What came out.
    pub outcome: Outcome,
    /// Start of the handler by the worker's clock, in microseconds since the Unix epoch; 0 when not given.
    pub started_at_us: i64,
    /// How long it ran, in microseconds.
    pub duration_us: u64,
    /// JSON object.
    pub metadata: Option<Bytes>,
    /// Events to publish: name and JSON text.
    pub events: Vec<(String, Bytes)>,
    /// Set when the gateway refused the payload and put a failure in its place.
    pub refused: bool,
}

/// What came out of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// JSON text.
    Complete(Bytes),
    /// A failure; boxed, because it is large and most outcomes are results.
    Failed(Box<Failure>),
}

/// Why an attempt failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Error class.
    pub class: String,
    /// Message.
    pub message: String,
    /// A code of the application.
    pub code: Option<String>,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// Seconds or HTTP date, as given.
    pub retry_after: Option<String>,
    /// Lines.
    pub backtrace: Vec<String>,
    /// JSON object.
    pub context: Option<Bytes>,
}

/// A line of a batch completion.
#[derive(Clone, Debug)]
pub struct CompletedStep {
    /// The task.
    pub task: TaskId,
    /// The step's name.
    pub step: Arc<str>,
    /// The attempt.
    pub attempt: u32,
    /// How the worker says it ended.
    pub status: CompletionStatus,
}

/// How a step ended, in a worker's closing report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompletionStatus {
    /// With a result.
    Complete,
    /// With a failure.
    Failed,
    /// Not run.
    Returned,
}

impl CompletionStatus {
    /// The name, as in SQL and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            CompletionStatus::Complete => "complete",
            CompletionStatus::Failed => "error",
            CompletionStatus::Returned => "returned",
        }
    }
}
