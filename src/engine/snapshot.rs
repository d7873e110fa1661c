//! What the store gives back: the ground state from which the engine is rebuilt.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::effect::{BatchItem, SettledKind};
use crate::event::{Capability, TaskLabels, TemplateSource};
use crate::fleet::Pause;
use crate::id::{BatchId, RegistrationId, TaskId};
use crate::state::TaskState;
use crate::template::TemplateKey;
use crate::time::Wall;

/// Everything that is unfinished, and what it refers to.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Every template.
    pub templates: Vec<TemplateSource>,
    /// Unfinished tasks, in order of id.
    pub tasks: Vec<TaskSnapshot>,
    /// Tasks that have ended and have a step in one of `batches`, with their templates.
    pub ended_tasks: Vec<(TaskId, TemplateKey)>,
    /// Batches without a closing, in order of id.
    pub batches: Vec<BatchSnapshot>,
    /// Registrations without an end.
    pub workers: Vec<WorkerSnapshot>,
    /// The largest batch id ever used: new ones must be larger.
    pub newest_batch: Option<BatchId>,
    /// Paused namespaces.
    pub pauses: Vec<(Arc<str>, Pause)>,
}

/// A task as stored.
#[derive(Clone, Debug)]
pub struct TaskSnapshot {
    /// Its id.
    pub id: TaskId,
    /// Its template.
    pub template: TemplateKey,
    /// JSON object.
    pub context: Bytes,
    /// Higher goes first.
    pub priority: i32,
    /// Names the request for ever.
    pub idempotency_key: Option<Box<str>>,
    /// Milliseconds until it may run, by the database clock; `None` when it may already.
    pub run_in_ms: Option<u64>,
    /// When it was asked to run.
    pub run_at: Option<Wall>,
    /// When it was created.
    pub created_at: Wall,
    /// How it ended, when it has.
    pub final_state: Option<TaskState>,
    /// What is only recorded.
    pub labels: TaskLabels,
    /// Its steps, in order of the template.
    pub steps: Vec<StepSnapshot>,
}

/// A step as stored. A step with none of the optional parts is pending.
#[derive(Clone, Debug, Default)]
pub struct StepSnapshot {
    /// Highest attempt that was dispatched and counted (returned dispatches do not count).
    pub attempts: u32,
    /// Most attempts: the template's limit on top of the attempts made at the last reset.
    pub retry_limit: u32,
    /// Attempts that ended because their worker was lost, since the last reset.
    pub workers_lost: u32,
    /// Its one accepted result.
    pub settled: Option<SettledSnapshot>,
    /// Milliseconds until the next attempt, by the database clock, when the last one failed and another may follow.
    pub retry_in_ms: Option<u64>,
    /// Whether its last attempt failed for good, and no reset came after.
    pub failed: bool,
}

/// The accepted result of a step.
#[derive(Clone, Debug)]
pub struct SettledSnapshot {
    /// How.
    pub kind: SettledKind,
    /// JSON text; empty when no unfinished child needs it any more.
    pub result: Bytes,
    /// Checksum of the result.
    pub checksum: u64,
}

/// A batch without a closing.
#[derive(Clone, Debug)]
pub struct BatchSnapshot {
    /// Its id.
    pub id: BatchId,
    /// Who has it: who got it, or the latest registration of the same process, which reconnected and kept it.
    pub registration: RegistrationId,
    /// Its steps, each with what was recorded of that attempt.
    pub items: Vec<(BatchItem, ItemRecord)>,
}

/// What the store knows of an attempt in an open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemRecord {
    /// Nothing.
    Open,
    /// A result, with its checksum.
    Complete(u64),
    /// A failure that the worker reported.
    Failed,
    /// The deadline passed. (A worker that is lost closes its batches.)
    GivenUp,
    /// It came back unrun.
    Returned,
}

/// A registration without an end.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// The registration.
    pub registration: RegistrationId,
    /// Logical name.
    pub name: Arc<str>,
    /// The process.
    pub incarnation: Uuid,
    /// Slots.
    pub concurrency: u32,
    /// What it can run.
    pub capabilities: Vec<Capability>,
    /// Host name.
    pub host: Arc<str>,
    /// Process id.
    pub pid: u32,
    /// Language and version.
    pub language: Arc<str>,
    /// Library and version.
    pub library: Arc<str>,
    /// The name of its key.
    pub key: Option<Arc<str>>,
}
