//! What follows from an event: saves, which must be durable, and deliveries, which may leave once those saves are.

use std::sync::Arc;

use bytes::Bytes;

use crate::delivery::{Deliver, Disposition};
use crate::event::{Failure, Operation, OperationKind, StepReference, TaskLabels, TemplateSource, WorkerIntroduction};
use crate::fleet::FleetActed;
use crate::id::{BatchId, Origin, RegistrationId, TaskId};
use crate::mark::Mark;
use crate::span::Span;
use crate::state::{BatchState, StepState, TaskState};
use crate::template::Template;
use crate::time::{Mono, Wall};

/// Saves and deliveries, in the order in which they were decided.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be written in one commit group.
    pub saves: Vec<Save>,
    /// To be released when that group is committed.
    pub deliveries: Vec<Deliver>,
    /// To be counted when that group is committed.
    pub marks: Vec<Mark>,
    /// To be traced when that group is committed, if [`Config::spans`](crate::Config::spans) says so.
    pub spans: Vec<Span>,
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
    /// An attempt failed; boxed, because it is large and most attempts succeed.
    AttemptFailed(Box<AttemptFailed>),
    /// A step came back unrun; its attempt number will be used again.
    StepReturned { task: TaskId, step: u32, attempt: u32, batch: BatchId, reason: Arc<str> },
    /// A result that was not simply accepted.
    ResultReceived(Box<ReceivedResult>),
    /// An operator did something.
    OperatorAction(Box<OperatorAction>),
    /// An operator did something to a namespace or a worker.
    FleetAction(Box<FleetActed>),
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
    /// The worker was lost or superseded.
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
