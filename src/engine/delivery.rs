//! What may leave once the saves before it are durable: answers, messages to workers, notices, questions to the store.

use std::sync::Arc;

use bytes::Bytes;

use crate::event::{Operation, StepReference, TaskLabels};
use crate::explain::{Explanation, ExplanationQuery};
use crate::id::{BatchId, Origin, PeerId, RegistrationId, TaskId};
use crate::loads::LoadTurn;
use crate::refusal::Refusal;
use crate::report::{NamespaceReport, TaskReport, TemplateReport, WorkerReport};
use crate::results::StrangeReports;
use crate::state::TaskState;
use crate::submit::Submission;
use crate::template::Template;

/// Something that may leave once the saves before it are durable.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum Deliver {
    /// An answer to a command.
    Reply { to: Origin, reply: Reply },
    /// A message to a worker.
    Worker { peer: PeerId, message: WorkerMessage },
    /// Something for PUB.
    Publish(Notice),
    /// Rows of the inbox that cannot be taken now: to be handed in again later. Their applications have been told nothing.
    InboxLater { rows: Vec<i64> },
    /// A question for the store. Asked only after the saves before it are durable, so that it sees them.
    Read(Read),
}

/// Answers to commands.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum Reply {
    /// To any command.
    Refused(Refusal),
    /// To a template registration.
    TemplateRegistered { template: Arc<Template>, created: bool },
    /// To a task request, a row each.
    TasksInitialized(Vec<Result<TaskInitialized, Refusal>>),
    /// To a try.
    TaskTried { task: TaskId, steps_dispatched: u32, batches: Vec<BatchId>, steps_waiting: u32, state: TaskState },
    /// To a status request about a live task.
    Status(Box<TaskReport>),
    /// To a wait: the live task at the end of the time.
    Waited { finished: bool, task: Box<TaskReport> },
    /// To a cancellation.
    TaskCancelled { task: TaskId, steps_stopped: u32, steps_cancelled: u32 },
    /// To a reset.
    TaskRetried { task: TaskId, steps: Vec<Arc<str>> },
    /// To a resolution.
    StepResolved { task: TaskId, step: Arc<str>, state: TaskState },
    /// To a pause or a resumption; `changed` is false when it was so already.
    NamespaceChanged { changed: bool, namespace: Box<NamespaceReport> },
    /// To a question for namespaces.
    Namespaces(Vec<NamespaceReport>),
    /// To a drain of a worker: steps and batches that it has; `changed` is false when it was draining already.
    WorkerDraining { worker: Arc<str>, changed: bool, in_flight: u32, batches: u32 },
    /// To the question why steps of a live task do not run.
    Explained(Box<Explanation>),
    /// To a question for workers.
    Workers(Vec<WorkerReport>),
    /// To a question for templates.
    Templates(Vec<TemplateReport>),
    /// To a question for one template.
    Template(Box<TemplateReport>),
    /// To a worker's registration.
    WorkerRegistered { registration: RegistrationId, closed_batches: Vec<BatchId>, templates: Vec<Arc<Template>> },
    /// To a heartbeat.
    HeartbeatAcknowledged,
    /// To reports of results, returned steps and batch completions.
    ResultsAccepted { results: Vec<(StepReference, Disposition)>, closed_batches: Vec<BatchId> },
    /// To a completion that names results which never arrived.
    ResultsMissing { batch: BatchId, steps: Vec<StepReference> },
    /// To a leaving worker.
    WorkerUnregistered { registration: RegistrationId, steps_returned: u32 },
    /// To a message of a worker that is not registered.
    RegisterAgain { reason: &'static str },
}

/// A task that was made, or found by its key.
#[derive(Clone, Debug)]
pub struct TaskInitialized {
    /// The task.
    pub task: TaskId,
    /// Its template.
    pub template: Arc<Template>,
    /// Whether the idempotency key named an existing task.
    pub duplicate: bool,
}

/// Messages to workers that answer nothing.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum WorkerMessage {
    /// Run these.
    Execute(Box<Dispatch>),
    /// Stop these; `true` when their deadline passed, `false` when they were cancelled.
    Cancel { steps: Vec<StepReference>, timed_out: bool },
    /// Finish and leave.
    Drain { reason: Arc<str> },
    /// I took you for lost: register again.
    RegisterAgain { reason: &'static str },
}

/// A batch as it goes out.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The batch.
    pub batch: BatchId,
    /// Whom it is meant for.
    pub registration: RegistrationId,
    /// Milliseconds until the last step times out.
    pub deadline_in_ms: u64,
    /// The tasks of its steps, each once.
    pub tasks: Vec<DispatchedTask>,
    /// The steps.
    pub steps: Vec<DispatchedStep>,
}

/// A task in a batch.
#[derive(Clone, Debug)]
pub struct DispatchedTask {
    /// The task.
    pub id: TaskId,
    /// Its template.
    pub template: Arc<Template>,
    /// JSON object.
    pub context: Bytes,
    /// Priority.
    pub priority: i32,
    /// Labels.
    pub labels: Arc<TaskLabels>,
    /// Results of the parents of the batch's steps: step index and JSON text.
    pub results: Vec<(u32, Bytes)>,
}

/// A step in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DispatchedStep {
    /// Index into [`Dispatch::tasks`].
    pub task: u32,
    /// Index of the step in its template.
    pub step: u32,
    /// The attempt.
    pub attempt: u32,
    /// Most attempts.
    pub retry_limit: u32,
}

/// Something worth publishing.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What about.
    pub kind: NoticeKind,
    /// The task.
    pub task: Option<TaskId>,
    /// Its template.
    pub template: Option<Arc<Template>>,
    /// The step's number in the template.
    pub step: Option<u32>,
    /// The attempt.
    pub attempt: Option<u32>,
    /// The batch.
    pub batch: Option<BatchId>,
    /// The worker.
    pub worker: Option<Arc<str>>,
    /// The state now.
    pub state: Option<&'static str>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// JSON text, with its name: of the event for [`NoticeKind::Custom`], of the step for [`NoticeKind::StepProgressed`], of
    /// the namespace, and no text, for the two about one: a field of its own would be moved with every notice.
    pub custom: Option<Box<(Arc<str>, Bytes)>>,
}

/// Kinds of notices; the gateway has a topic for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is documented at the topic of the same name in `protocol::Topic`")]
pub enum NoticeKind {
    TaskInitialized,
    TaskStarted,
    TaskCompleted,
    TaskFailed,
    TaskCancelled,
    TaskResolved,
    TaskReset,
    StepDispatched,
    StepCompleted,
    StepFailed,
    StepRetrying,
    StepReturned,
    StepResolved,
    StepProgressed,
    BatchPublished,
    BatchClosed,
    WorkerRegistered,
    WorkerSuspected,
    WorkerLost,
    WorkerUnregistered,
    WorkerDraining,
    NamespacePaused,
    NamespaceResumed,
    TemplateRegistered,
    Custom,
}

impl Notice {
    /// A notice of a kind, with nothing said yet.
    pub fn new(kind: NoticeKind) -> Notice {
        Notice {
            kind,
            task: None,
            template: None,
            step: None,
            attempt: None,
            batch: None,
            worker: None,
            state: None,
            reason: None,
            custom: None,
        }
    }
}

/// What the broker made of a reported result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Recorded; it moved the step.
    Accepted,
    /// The same attempt was recorded before.
    Duplicate,
    /// The attempt was no longer open.
    Late,
    /// No such task, step or batch.
    Unknown,
    /// The same attempt was recorded before with another payload.
    Contradicting,
    /// The payload broke a rule; the attempt was recorded as failed.
    Refused,
}

impl Disposition {
    /// The name, as in SQL and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Disposition::Accepted => "accepted",
            Disposition::Duplicate => "duplicate",
            Disposition::Late => "late",
            Disposition::Unknown => "unknown",
            Disposition::Contradicting => "contradicting",
            Disposition::Refused => "refused",
        }
    }
}

/// How far a running step is, as it said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepProgress {
    /// The step's number in the template.
    pub step: u32,
    /// The attempt that said it.
    pub attempt: u32,
    /// JSON text.
    pub progress: Bytes,
}

/// A question that only the store can answer.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum Read {
    /// Which tasks have these keys? Answered by [`Event::KeysLookedUp`](crate::Event::KeysLookedUp).
    IdempotencyKeys { submission: Box<Submission>, keys: Vec<KeyLookup> },
    /// The state of a task that is not live (or whose results are wanted). The server replies to the client.
    /// With it comes what the store does not know: how far running steps are.
    Status { to: Origin, query: crate::event::StatusQuery, progress: Vec<StepProgress> },
    /// Why steps do not run: of a task that is not live, or of a live one with what only the store knows, the last errors of
    /// its steps. The server replies to the client.
    Explanation { to: Origin, query: ExplanationQuery, live: Option<Box<Explanation>> },
    /// A wait for a task that is not live: it has ended, or never was. The server replies to the client.
    Waited { to: Origin, task: TaskId },
    /// A try of a task that is not live: nothing to dispatch. The server replies to the client.
    Tried { to: Origin, task: TaskId },
    /// The tasks of reports that no live task explains. Answered by
    /// [`Event::EndedTasksLoaded`](crate::Event::EndedTasksLoaded).
    EndedTasks { reports: Box<StrangeReports> },
    /// A task with all that an operation needs. Answered by [`Event::TaskLoaded`](crate::Event::TaskLoaded).
    Task { to: Origin, operation: Box<Operation>, asked: LoadTurn },
}

/// An idempotency key within its template's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyLookup {
    /// Template namespace.
    pub namespace: Arc<str>,
    /// Template name.
    pub name: Arc<str>,
    /// The key.
    pub key: Box<str>,
}
