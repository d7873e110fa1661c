//! What the engine knows of a task, a worker or a template, as it is told to whoever asks.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::event::{Capability, TemplateSource};
use crate::fleet::Pause;
use crate::id::{RegistrationId, TaskId};
use crate::state::{StepState, TaskState};
use crate::template::TemplateKey;
use crate::time::Wall;

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
    /// What the open attempt said last about how far it is (JSON text).
    pub progress: Option<Bytes>,
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

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceReport {
    /// Its name.
    pub name: Arc<str>,
    /// That it is paused.
    pub pause: Option<Pause>,
    /// Live tasks.
    pub tasks: u64,
    /// Steps that could run now.
    pub steps_ready: u64,
    /// Steps with workers.
    pub steps_in_progress: u64,
    /// Steps that wait for others, for a retry, or for the time of their task.
    pub steps_waiting: u64,
    /// Connected workers that can run something of it.
    pub workers: u32,
    /// Registered templates, each version for itself.
    pub templates: u32,
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
    /// Paused namespaces.
    pub namespaces_paused: Vec<Arc<str>>,
}

/// An engine in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineFigures {
    /// In the order in which [`Mark`](crate::Mark)s number them.
    pub templates: Vec<TemplateFigures>,
    /// By name.
    pub workers: Vec<WorkerFigures>,
    /// Templates with waiting work that no connected worker serves.
    pub templates_without_worker: u64,
    /// Steps of live tasks that have not ended.
    pub steps_unfinished: u64,
    /// Most of them.
    pub steps_unfinished_max: u64,
    /// Payload of live tasks, in bytes.
    pub held_bytes: u64,
    /// Most of it.
    pub held_bytes_max: u64,
    /// Open batches.
    pub batches: u64,
    /// Waiting clients.
    pub waiters: u64,
}

/// A template with its live tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateFigures {
    /// Which.
    pub key: TemplateKey,
    /// Tasks of which nothing has begun.
    pub tasks_pending: u64,
    /// Tasks under way.
    pub tasks_in_progress: u64,
    /// Steps that wait for others.
    pub steps_waiting: u64,
    /// Steps that could run if the time of their task had come.
    pub steps_scheduled: u64,
    /// Steps that wait for a worker.
    pub steps_ready: u64,
    /// Steps with workers.
    pub steps_in_progress: u64,
    /// Steps that wait for their next attempt.
    pub steps_retrying: u64,
    /// For how long the oldest ready step has been so in this engine, in milliseconds.
    pub oldest_ready_ms: Option<u64>,
}

/// A worker in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFigures {
    /// Its name.
    pub name: Arc<str>,
    /// `active`, `suspect`, `draining`, `awaited`.
    pub state: &'static str,
    /// Slots.
    pub slots: u32,
    /// Steps out.
    pub in_flight: u32,
    /// Milliseconds since the last sign of life.
    pub seen_ms_ago: u64,
}

/// How much an engine holds in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldCounts {
    /// Live tasks.
    pub tasks: u64,
    /// Steps of them that have not ended.
    pub steps_unfinished: u64,
    /// Open batches.
    pub batches: u64,
    /// Registered workers.
    pub workers: u64,
    /// Waiting clients.
    pub waiters: u64,
    /// Idempotency keys of live tasks.
    pub keys: u64,
    /// Keys of ended tasks, kept while look-ups are under way.
    pub ended_keys: u64,
    /// Requests whose keys are being looked up.
    pub lookups: u64,
    /// Reports of tasks that are not live, on their way through the store.
    pub strange: u64,
    /// Questions for ended tasks that are under way.
    pub loads: u64,
    /// Tasks that ended while such questions were under way.
    pub loads_ended: u64,
    /// Deadlines that are set.
    pub deadlines: u64,
}
