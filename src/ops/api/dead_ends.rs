//! Tasks that ended in error, by what failed.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ops::bulk;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::store;

/// Tasks that ended in error because the same step failed with the same class of error.
#[derive(Debug, Serialize, ToSchema)]
struct DeadEnd {
    /// Template namespace.
    namespace: String,
    /// Template name.
    name: String,
    /// Template version.
    version: String,
    /// The step that failed.
    step: String,
    error_class: String,
    /// What the newest error says.
    error_message: String,
    failed_at_ms: i64,
    /// How many tasks.
    tasks: u32,
    /// The newest of them.
    newest_task_id: Uuid,
    /// Finds tasks that ended so; as it is taken by the list of tasks and by the retry of many.
    filter: String,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadEnds {
    /// Most tasks first. A task with several failed steps is in several.
    groups: Vec<DeadEnd>,
    /// Tasks in error that were looked at.
    tasks: u32,
    /// Whether there are more: only the newest were looked at.
    capped: bool,
}

/// List dead ends
///
/// Tasks that ended in error, grouped by template, step and class of error. Nothing of them runs again unless somebody acts.
#[utoipa::path(get, path = "/dead-ends", operation_id = "list_dead_ends", tag = "tasks",
    responses((status = 200, description = "The groups.", body = DeadEnds)))]
pub(super) async fn list(State(site): State<Shared>) -> Result<Json<DeadEnds>, Problem> {
    let found = store::dead_ends(site.pool()?).await?;
    let group = |group: store::DeadEnd| DeadEnd {
        filter: bulk::filter_of(&group),
        namespace: group.template.namespace.to_string(),
        name: group.template.name.to_string(),
        version: group.template.version.to_string(),
        step: group.step,
        error_class: group.class,
        error_message: group.message,
        failed_at_ms: group.failed_at_ms,
        tasks: group.tasks,
        newest_task_id: group.newest.0,
    };
    let groups = found.groups.into_iter().map(group).collect();
    Ok(Json(DeadEnds { groups, tasks: found.tasks, capped: found.is_capped }))
}
