//! How the broker is: the question and its answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// How much a health check looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthLevel {
    /// Status only.
    #[default]
    Basic,
    /// And counts.
    Detailed,
    /// And templates without a worker, and Postgres asked anew.
    Full,
}

/// Is the broker well?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// How much to look at.
    #[serde(default)]
    pub level: HealthLevel,
}

/// Reply to [`HealthCheck`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthReport {
    /// From the request.
    #[schema(ignore)]
    pub correlation_id: Uuid,
    /// `ok` or `degraded`.
    pub status: String,
    /// Why it is degraded, one sentence each.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Broker version.
    pub version: String,
    /// The broker process.
    pub broker_id: Uuid,
    /// The lease epoch.
    pub epoch: i64,
    /// Seconds since start.
    pub uptime_seconds: u64,
    /// `up` or `down`.
    pub postgres: String,
    /// Unfinished tasks. From `detailed` on, like all that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Steps ready and waiting for a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_ready: Option<u64>,
    /// Steps with workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_in_progress: Option<u64>,
    /// Registered workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u64>,
    /// Slots of all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u64>,
    /// Registered templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<u64>,
    /// Namespaces that are paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces_paused: Vec<String>,
    /// Templates with waiting work that no worker serves, and whose namespace is not paused. Only with `full`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates_without_worker: Vec<String>,
    /// One round trip to Postgres in microseconds. Only with `full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres_round_trip_us: Option<u64>,
    /// Connections of peers, subscribers included. Only with `full`, like all that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Connections that were cut since the start because they passed a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_cut: Option<u64>,
    /// Connections since the start that ended before their handshake did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshakes_failed: Option<u64>,
    /// Refusals since the start by error code; codes that did not occur are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalCount>,
    /// Commit groups since the start by the number of things that each saved, smallest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commit_sizes: Vec<Bucket>,
    /// The same groups by how long each took to be durable, in microseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commit_times_us: Vec<Bucket>,
}

/// Values of a distribution that are close to each other: above the bound of the bucket before it, and up to `up_to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bucket {
    /// Largest value in it, at most an eighth above the smallest.
    pub up_to: u64,
    /// Values in it; empty buckets are missing.
    pub count: u64,
}

/// How often one error code was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusalCount {
    /// An [`ErrorCode`](super::ErrorCode) as text: a later broker may have more of them.
    pub code: String,
    /// Refusals with it since the start.
    pub count: u64,
}
