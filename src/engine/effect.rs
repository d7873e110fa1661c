//! What follows from an event: saves, which must be durable, and deliveries, which may leave once those saves are.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::event::{
    Capability, Failure, Operation, OperationKind, StepReference, TaskLabels, TemplateSource, WorkerIntroduction,
};
use crate::id::{BatchId, Origin, PeerId, RegistrationId, TaskId};
use crate::results::StrangeReports;
use crate::state::{BatchState, StepState, TaskState};
use crate::submit::Submission;
use crate::template::{Template, TemplateKey};
use crate::time::{Mono, Wall};

/// Saves and deliveries, in the order in which they were decided.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be written in one commit group.
    pub saves: Vec<Save>,
    /// To be released when that group is committed.
    pub deliveries: Vec<Deliver>,
    /// When the present event is handled.
    pub(crate) now: Mono,
}

/// A row (or a few) that must be durable.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum Save {
    /// A template, with its definition.
    Template(TemplateSource),
    /// A task with all its steps.
    Task(Box<NewTask>),
    /// A task has ended.
    TaskFinished { task: TaskId, state: TaskState },
    /// An operator's reset made a task that had ended unfinished again.
    TaskReopened { task: TaskId },
    /// A batch was dispatched.
    Batch(NewBatch),
    /// A batch was closed.
    BatchClosed { batch: BatchId, state: BatchState, differences: Vec<Difference> },
    /// A step has its one accepted result.
    StepSettled(StepSettled),
    /// An attempt failed.
    AttemptFailed(AttemptFailed),
    /// A step came back unrun; its attempt number will be used again.
    StepReturned { task: TaskId, step: u32, attempt: u32, batch: BatchId, reason: Arc<str> },
    /// A result that was not simply accepted.
    ResultReceived(Box<ReceivedResult>),
    /// An operator did something.
    OperatorAction(Box<OperatorAction>),
    /// A registration episode began.
    WorkerRegistered { registration: RegistrationId, worker: Box<WorkerIntroduction> },
    /// A registration episode ended: `superseded`, `reconnected`, `lost`, `unregistered`, `drained`.
    WorkerEnded { registration: RegistrationId, reason: &'static str },
    /// A command that changes something was taken.
    Command(Command),
    /// An inbox row became a task (or was refused, with the reason) and leaves the inbox.
    InboxTaken { row: i64, refusal: Option<String> },
}

/// A task as it is first written.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// Its template; the step rows follow from it.
    pub template: Arc<Template>,
    /// JSON object, after merging defaults.
    pub context: Bytes,
    /// Higher goes first.
    pub priority: i32,
    /// Names the request for ever.
    pub idempotency_key: Option<Box<str>>,
    /// Steps that the request skips.
    pub bypass_steps: Vec<u32>,
    /// Not before this time.
    pub run_at: Option<Wall>,
    /// What is only recorded.
    pub labels: TaskLabels,
}

/// A batch as it is written: one row.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// Its id.
    pub id: BatchId,
    /// Who gets it.
    pub registration: RegistrationId,
    /// Its steps.
    pub items: Vec<BatchItem>,
    /// Milliseconds from dispatch until the last of its steps times out.
    pub deadline_in_ms: u64,
}

/// A step of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchItem {
    /// The task.
    pub task: TaskId,
    /// Index of the step in its template.
    pub step: u32,
    /// The attempt.
    pub attempt: u32,
}

/// How a step was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettledKind {
    /// Its handler returned a result.
    Complete,
    /// The request skipped it.
    Bypassed,
    /// An operator settled it.
    ResolvedManually,
}

impl SettledKind {
    /// The name in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            SettledKind::Complete => "complete",
            SettledKind::Bypassed => "bypassed",
            SettledKind::ResolvedManually => "resolved_manually",
        }
    }

    /// The state that a step settled in this way is in.
    pub const fn state(self) -> StepState {
        match self {
            SettledKind::Complete => StepState::Complete,
            SettledKind::Bypassed | SettledKind::ResolvedManually => StepState::ResolvedManually,
        }
    }
}

/// The one accepted result of a step.
#[derive(Clone, Debug)]
pub struct StepSettled {
    /// The task.
    pub task: TaskId,
    /// Index of the step.
    pub step: u32,
    /// The attempt; for a step that was bypassed or resolved, the attempts made before (0 when none).
    pub attempt: u32,
    /// How.
    pub kind: SettledKind,
    /// The batch, for `complete`.
    pub batch: Option<BatchId>,
    /// The registration that ran it, for `complete`.
    pub registration: Option<RegistrationId>,
    /// Milliseconds between dispatch and acceptance, for `complete`.
    pub dispatched_ms_ago: u64,
    /// Start by the worker's clock, microseconds since the Unix epoch; 0 when not known.
    pub started_at_us: i64,
    /// Duration of the handler, microseconds.
    pub duration_us: u64,
    /// JSON text.
    pub result: Bytes,
    /// [`checksum`](crate::checksum) of the result.
    pub checksum: u64,
    /// JSON object.
    pub metadata: Option<Bytes>,
}

/// Why an attempt ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureCause {
    /// The handler failed.
    Failed,
    /// The deadline passed.
    TimedOut,
    /// The worker was lost, superseded, or left without finishing.
    WorkerLost,
}

impl FailureCause {
    /// The name in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureCause::Failed => "failed",
            FailureCause::TimedOut => "timed_out",
            FailureCause::WorkerLost => "worker_lost",
        }
    }
}

/// An attempt that ended without a result.
#[derive(Clone, Debug)]
pub struct AttemptFailed {
    /// The task.
    pub task: TaskId,
    /// Index of the step.
    pub step: u32,
    /// The attempt.
    pub attempt: u32,
    /// Why.
    pub cause: FailureCause,
    /// The batch.
    pub batch: BatchId,
    /// Who had it.
    pub registration: RegistrationId,
    /// Milliseconds between dispatch and this.
    pub dispatched_ms_ago: u64,
    /// Start by the worker's clock, microseconds since the Unix epoch; 0 when not known.
    pub started_at_us: i64,
    /// Duration of the handler, microseconds; 0 when not known.
    pub duration_us: u64,
    /// What went wrong.
    pub failure: Failure,
    /// When the next attempt may start; `None` when the step has ended in error.
    pub retry_in_ms: Option<u64>,
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

/// A ledger row: a result that was not simply accepted.
#[derive(Clone, Debug)]
pub struct ReceivedResult {
    /// What the worker named; none of it need exist.
    pub at: StepReference,
    /// Who sent it, when the sender is registered.
    pub registration: Option<RegistrationId>,
    /// What was made of it.
    pub disposition: Disposition,
    /// `complete` or `error`.
    pub status: &'static str,
    /// Checksum of the payload.
    pub checksum: u64,
    /// The result (JSON text), or the failure's message.
    pub payload: Bytes,
}

/// Where a batch completion and the partial results disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The task.
    pub task: TaskId,
    /// The step's name.
    pub step: Arc<str>,
    /// The attempt.
    pub attempt: u32,
    /// What the completion says: `complete`, `error`, `returned`, or `absent`.
    pub completion: &'static str,
    /// What the partial results said: `complete`, `error`, `returned`, `timeout`, `cancelled`, or `not_in_batch`.
    pub recorded: &'static str,
}

/// An operator's deed.
#[derive(Clone, Debug)]
pub struct OperatorAction {
    /// What, to which task, by whom, why.
    pub operation: Operation,
    /// The step, for an action on one step.
    pub step: Option<u32>,
    /// State before: of the step when there is one, else of the task.
    pub before: &'static str,
    /// State after.
    pub after: &'static str,
    /// For a reset: attempts made when it happened. The step may make as many more as its limit says.
    pub attempts_before: u32,
}

impl OperatorAction {
    /// The name in `operator_actions`.
    pub const fn kind(&self) -> &'static str {
        self.operation.kind.name()
    }

    /// The result given, when the action resolved a step.
    pub fn result(&self) -> Option<&Bytes> {
        match &self.operation.kind {
            OperationKind::Resolve { result, .. } => Some(result),
            OperationKind::Cancel | OperationKind::Retry { .. } => None,
        }
    }
}

/// An audit row of a command that changes something.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// The command's name, as in PROTOCOL.md.
    pub name: &'static str,
    /// Who asked.
    pub origin: Origin,
    /// The task it is about, when it is about one.
    pub task: Option<TaskId>,
    /// `accepted`, or the code of the refusal.
    pub outcome: &'static str,
    /// When the engine took it.
    pub taken: Mono,
    /// Milliseconds from then until its group was handed over for its commit; set by whoever hands it over.
    pub duration_ms: u32,
}

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

/// Why a command was refused. The gateway has the wire's code for each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of fault.
    pub kind: RefusalKind,
    /// One sentence for people.
    pub message: String,
    /// The field at fault.
    pub field: Option<String>,
    /// Where: template position, JSON pointer, byte of a document.
    pub position: Option<String>,
    /// The limit that was passed.
    pub limit: Option<u64>,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// A field has a value that is not allowed.
    InvalidField,
    /// A payload is not JSON that can be stored.
    InvalidJson,
    /// Too large.
    TooLarge,
    /// A template definition is not valid.
    InvalidTemplate,
    /// The version is registered with another content.
    TemplateConflict,
    /// No such template.
    UnknownTemplate,
    /// No such version of it.
    UnknownVersion,
    /// The context breaks the template's schema.
    InvalidContext,
    /// No such task.
    UnknownTask,
    /// No such step.
    UnknownStep,
    /// Does not apply in the present state.
    InvalidState,
    /// Not registered.
    UnknownWorker,
    /// A limit on load is reached.
    Overloaded,
    /// Postgres is away.
    Unavailable,
    /// Postgres refused this one command.
    Refused,
}

impl RefusalKind {
    /// The code, as on the wire and in `commands.outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            RefusalKind::InvalidField => "invalid_field",
            RefusalKind::InvalidJson => "invalid_json",
            RefusalKind::TooLarge => "too_large",
            RefusalKind::InvalidTemplate => "invalid_template",
            RefusalKind::TemplateConflict => "template_conflict",
            RefusalKind::UnknownTemplate => "unknown_template",
            RefusalKind::UnknownVersion => "unknown_version",
            RefusalKind::InvalidContext => "invalid_context",
            RefusalKind::UnknownTask => "unknown_task",
            RefusalKind::UnknownStep => "unknown_step",
            RefusalKind::InvalidState => "invalid_state",
            RefusalKind::UnknownWorker => "unknown_worker",
            RefusalKind::Overloaded => "overloaded",
            RefusalKind::Unavailable => "unavailable",
            RefusalKind::Refused => "refused",
        }
    }
}

impl Refusal {
    /// A refusal with a message only.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Refusal {
        Refusal { kind, message: message.into(), field: None, position: None, limit: None }
    }

    /// Names the field.
    pub fn field(mut self, field: impl Into<String>) -> Refusal {
        self.field = Some(field.into());
        self
    }

    /// Says where.
    pub fn position(mut self, position: impl Into<String>) -> Refusal {
        self.position = Some(position.into());
        self
    }

    /// Names the limit.
    pub fn limit(mut self, limit: u64) -> Refusal {
        self.limit = Some(limit);
        self
    }
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

/// A live task as the engine sees it.
#[derive(Clone, Debug)]
pub struct TaskReport {
    /// The task.
    pub id: TaskId,
    /// Its template.
    pub template: TemplateKey,
    /// Its state.
    pub state: TaskState,
    /// Priority.
    pub priority: i32,
    /// Steps by state.
    pub counts: StepCounts,
    /// When it was created, broker's clock.
    pub created_at: Wall,
    /// When it ended.
    pub finished_at: Option<Wall>,
    /// Not before.
    pub run_at: Option<Wall>,
    /// Labels.
    pub tags: Vec<Box<str>>,
    /// The steps, when asked for.
    pub steps: Vec<StepLine>,
}

/// Steps of a task by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Not started, ready or not.
    pub pending: u32,
    /// Pending with all parents satisfied and the task's time come.
    pub ready: u32,
    /// With a worker.
    pub in_progress: u32,
    /// Complete.
    pub complete: u32,
    /// In error.
    pub error: u32,
    /// Cancelled.
    pub cancelled: u32,
    /// Resolved by hand or bypassed.
    pub resolved_manually: u32,
    /// To be tried again.
    pub waiting_for_retry: u32,
}

/// A step of a live task.
#[derive(Clone, Debug)]
pub struct StepLine {
    /// Index in the template.
    pub step: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Its state.
    pub state: StepState,
    /// Attempts made.
    pub attempts: u32,
    /// Most attempts.
    pub retry_limit: u32,
    /// Whether it could run now.
    pub ready: bool,
    /// Parents.
    pub parents: Vec<Arc<str>>,
    /// Who has it.
    pub worker: Option<Arc<str>>,
    /// Milliseconds until the next attempt.
    pub retry_in_ms: Option<u64>,
}

/// A registered worker.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// Name.
    pub name: Arc<str>,
    /// Registration.
    pub registration: RegistrationId,
    /// Process.
    pub incarnation: Uuid,
    /// `active`, `suspect`, `draining`, `awaited`.
    pub state: &'static str,
    /// Slots.
    pub concurrency: u32,
    /// Steps out.
    pub in_flight: u32,
    /// Batches out.
    pub batches: u32,
    /// Milliseconds since the last sign of life.
    pub seen_ms_ago: u64,
    /// Capabilities.
    pub capabilities: Vec<Capability>,
    /// Host.
    pub host: Arc<str>,
    /// Process id.
    pub pid: u32,
    /// Language.
    pub language: Arc<str>,
    /// Library.
    pub library: Arc<str>,
}

/// A registered template.
#[derive(Clone, Debug)]
pub struct TemplateReport {
    /// With its definition.
    pub source: TemplateSource,
    /// Workers that serve it now.
    pub workers: u32,
}

/// The engine's part of a health check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthCounts {
    /// Unfinished tasks.
    pub tasks: u64,
    /// Steps ready and waiting.
    pub steps_ready: u64,
    /// Steps with workers.
    pub steps_in_progress: u64,
    /// Steps of unfinished tasks that have not ended; a limit bounds them.
    pub steps_unfinished: u64,
    /// Registered workers.
    pub workers: u64,
    /// Slots of all workers.
    pub slots: u64,
    /// Registered templates.
    pub templates: u64,
    /// Templates with waiting work that no live worker serves.
    pub templates_without_worker: Vec<TemplateKey>,
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
    Drain { reason: &'static str },
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
    /// The step.
    pub step: Option<Arc<str>>,
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
    /// For [`NoticeKind::Custom`]: name and JSON text.
    pub custom: Option<(Arc<str>, Bytes)>,
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
    BatchPublished,
    BatchClosed,
    WorkerRegistered,
    WorkerSuspected,
    WorkerLost,
    WorkerUnregistered,
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

/// A question that only the store can answer.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum Read {
    /// Which tasks have these keys? Answered by [`Event::KeysLookedUp`](crate::Event::KeysLookedUp).
    IdempotencyKeys { submission: Box<Submission>, keys: Vec<KeyLookup> },
    /// The state of a task that is not live (or whose results are wanted). The server replies to the client.
    Status { to: Origin, query: crate::event::StatusQuery },
    /// A wait for a task that is not live: it has ended, or never was. The server replies to the client.
    Waited { to: Origin, task: TaskId },
    /// A try of a task that is not live: nothing to dispatch. The server replies to the client.
    Tried { to: Origin, task: TaskId },
    /// The tasks of reports that no live task explains. Answered by
    /// [`Event::EndedTasksLoaded`](crate::Event::EndedTasksLoaded).
    EndedTasks { reports: Box<StrangeReports> },
    /// A task with all that an operation needs. Answered by [`Event::TaskLoaded`](crate::Event::TaskLoaded).
    Task { to: Origin, operation: Operation },
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
