//! Messages of operators about namespaces and workers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Hand out no step of a namespace until it is resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseNamespace {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The namespace; it need not have templates yet.
    pub namespace: String,
    /// Who.
    #[serde(default)]
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Hand out the steps of a namespace again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResumeNamespace {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The namespace.
    pub namespace: String,
    /// Who.
    #[serde(default)]
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Reply to [`PauseNamespace`] and [`ResumeNamespace`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamespaceChanged {
    /// From the request.
    pub correlation_id: Uuid,
    /// `false` when it was so already, and nothing was done.
    pub changed: bool,
    /// The namespace as it is now.
    pub namespace: NamespaceSummary,
}

/// List namespaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListNamespaces {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
}

/// Reply to [`ListNamespaces`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamespaceList {
    /// From the request.
    pub correlation_id: Uuid,
    /// Those with templates, and those that are paused, by name.
    pub namespaces: Vec<NamespaceSummary>,
}

/// A namespace in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NamespaceSummary {
    /// Its name.
    pub name: String,
    /// Whether it is paused.
    pub paused: bool,
    /// Who paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at_ms: Option<i64>,
    /// Unfinished tasks.
    pub tasks: u64,
    /// Steps that could run now.
    pub steps_ready: u64,
    /// Steps with workers.
    pub steps_in_progress: u64,
    /// Steps that wait for others, for a retry, or for the time of their task.
    pub steps_waiting: u64,
    /// Connected workers that serve some of it.
    pub workers: u32,
    /// Registered templates, each version for itself.
    pub templates: u32,
}

/// Let a worker finish what it has, and leave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainWorker {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The worker, by name.
    pub worker: String,
    /// Who.
    #[serde(default)]
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Reply to [`DrainWorker`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerDraining {
    /// From the request.
    pub correlation_id: Uuid,
    /// The worker.
    pub worker: String,
    /// `false` when it was draining already, and nothing was done.
    pub changed: bool,
    /// Steps that it has.
    pub in_flight: u32,
    /// Batches that it has.
    pub batches: u32,
}
