//! Why steps do not run: the question and its answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Why does a step not run?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainStep {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// The step; all that have no result, when absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// Reply to [`ExplainStep`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepExplained {
    /// From the request.
    #[schema(ignore)]
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// `namespace/name@version`.
    pub template: String,
    /// The task's state.
    pub task_state: String,
    /// The steps, in order of definition.
    #[serde(default)]
    pub steps: Vec<StepExplanation>,
    /// Steps that would be there, too, if there were room.
    #[serde(default)]
    pub steps_left_off: u32,
    /// Not before this time, when asked for, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at_ms: Option<i64>,
    /// Who paused the namespace, when it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_reason: Option<String>,
    /// Since when, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at_ms: Option<i64>,
    /// Steps of the namespace that could run now, those of other tasks included.
    #[serde(default)]
    pub namespace_steps_ready: u64,
    /// Workers that serve the template.
    #[serde(default)]
    pub workers_serving: u32,
    /// Of those, how many take work.
    #[serde(default)]
    pub workers_active: u32,
    /// Slots of those.
    #[serde(default)]
    pub slots: u32,
    /// Slots of those that are taken.
    #[serde(default)]
    pub slots_used: u32,
    /// Some of the workers that serve it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<ServingWorker>,
    /// Some of what other workers can run, when none serves it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// Why one step does or does not run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepExplanation {
    /// The step's name.
    pub step: String,
    /// Its state.
    pub state: String,
    /// One of the reasons of PROTOCOL.md.
    pub reason: String,
    /// The same as a sentence for people.
    pub message: String,
    /// Attempts made so far.
    pub attempts: u32,
    /// Most attempts.
    pub retry_limit: u32,
    /// Parents without a result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<NamedStep>,
    /// Parents without a result that are not named.
    #[serde(default)]
    pub waits_for_left_off: u32,
    /// Steps above it that hold everything up which it waits for: they run, or are ready, or have failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_up_by: Vec<NamedStep>,
    /// Milliseconds until what it waits for, when that is a time; of a running step, until its timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_ms: Option<u64>,
    /// The worker that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Milliseconds since that worker was given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Class of the last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    /// Message of the last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// A step and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NamedStep {
    /// Its name.
    pub step: String,
    /// Its state.
    pub state: String,
}

/// A worker that serves a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServingWorker {
    /// Its name.
    pub name: String,
    /// As in [`WorkerSummary`](super::WorkerSummary).
    pub state: String,
    /// Steps out.
    pub in_flight: u32,
    /// Slots.
    pub concurrency: u32,
}
