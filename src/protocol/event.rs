//! What the broker publishes on PUB: `[topic][header][body]`. Events may be lost and are never needed.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::json::JsonText;

macro_rules! topics {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The topic frame. Subscriptions are byte prefixes: `event.task.` gets every task event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Topic { $($(#[$doc])* #[serde(rename = $text)] $name,)* }
        impl Topic {
            /// Every topic. Custom events are sent as `event.custom.<namespace>.<event name>`.
            pub const ALL: &[Topic] = &[$(Topic::$name,)*];
            /// The topic as sent.
            pub const fn as_str(self) -> &'static str { match self { $(Topic::$name => $text,)* } }
        }
    };
}

topics! {
    /// A task was created.
    TaskInitialized = "event.task.initialized",
    /// Its first step was dispatched.
    TaskStarted = "event.task.started",
    /// All steps are complete.
    TaskCompleted = "event.task.completed",
    /// It ended in error.
    TaskFailed = "event.task.failed",
    /// It was cancelled.
    TaskCancelled = "event.task.cancelled",
    /// It ended, with steps resolved by hand.
    TaskResolved = "event.task.resolved",
    /// An operator gave failed steps new attempts.
    TaskReset = "event.task.reset",
    /// A step went to a worker.
    StepDispatched = "event.step.dispatched",
    /// A step is complete.
    StepCompleted = "event.step.completed",
    /// A step ended in error.
    StepFailed = "event.step.failed",
    /// An attempt failed; another follows.
    StepRetrying = "event.step.retrying",
    /// A step came back without having run.
    StepReturned = "event.step.returned",
    /// A step was resolved by hand or bypassed.
    StepResolved = "event.step.resolved",
    /// A running step said how far it is.
    StepProgressed = "event.step.progressed",
    /// A batch was sent.
    BatchPublished = "event.batch.published",
    /// A batch was closed.
    BatchClosed = "event.batch.closed",
    /// A worker registered.
    WorkerRegistered = "event.worker.registered",
    /// A worker was silent for three heartbeats or its connection is gone.
    WorkerSuspected = "event.worker.suspected",
    /// A worker was given up.
    WorkerLost = "event.worker.lost",
    /// A worker left.
    WorkerUnregistered = "event.worker.unregistered",
    /// An operator asked a worker to finish and leave.
    WorkerDraining = "event.worker.draining",
    /// An operator paused a namespace.
    NamespacePaused = "event.namespace.paused",
    /// An operator resumed a namespace.
    NamespaceResumed = "event.namespace.resumed",
    /// A template was stored.
    TemplateRegistered = "event.template.registered",
}

/// Something happened, and is committed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by one over all that this broker process publishes, custom events and controls included.
    pub sequence: u64,
    /// The broker process; a new one starts again at 1.
    pub broker_id: Uuid,
    /// Milliseconds since the Unix epoch, broker's clock.
    pub at_ms: i64,
    /// The topic again, for those who keep bodies only.
    pub topic: String,
    /// The task, for task, step and custom events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
    /// `namespace/name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<Uuid>,
    /// The worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The namespace, for events about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The state that the task, step, batch, worker or namespace is in now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why, in words: error message, reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// JSON text of a custom event; how far a step is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<JsonText>,
}

/// What a control message hints at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// `control.cancel`: a task was cancelled.
    Cancel,
    /// `control.drain`: the broker asks all workers to finish and leave.
    Drain,
    /// `control.pause`: the broker is stopping; keep results and reconnect.
    Pause,
}

impl ControlKind {
    /// The topic as sent.
    pub const fn topic(self) -> &'static str {
        match self {
            ControlKind::Cancel => "control.cancel",
            ControlKind::Drain => "control.drain",
            ControlKind::Pause => "control.pause",
        }
    }
}

/// A hint to workers. What must be known comes over ROUTER as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// As in [`Event::sequence`].
    pub sequence: u64,
    /// The broker process.
    pub broker_id: Uuid,
    /// What it is about.
    pub kind: ControlKind,
    /// The cancelled task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
}
