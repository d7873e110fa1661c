//! Messages about tasks that applications submit in their own transactions: that there are some, and what became of one.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Rows were put into the inbox and committed: the broker looks at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnnounceTasks {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
}

/// Reply to [`AnnounceTasks`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TasksAnnounced {
    /// From the request.
    pub correlation_id: Uuid,
}

/// Which task has this idempotency key?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindTask {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// Template namespace.
    pub namespace: String,
    /// Template name.
    pub name: String,
    /// The key that the task was submitted with.
    pub idempotency_key: String,
}

/// Reply to [`FindTask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskFound {
    /// From the request.
    pub correlation_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// `namespace/name@version` as chosen.
    pub template: String,
}
