//! What operators did.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use tasker_engine::TaskId;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::paging::Page;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::store::{self, ActCursor, ActedOn, OperatorAct};

/// What an operator did: to a task or one of its steps, to a namespace, or to a worker.
#[derive(Debug, Serialize, ToSchema)]
struct RecordedAct {
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<Uuid>,
    /// Not there when it was the whole task.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    /// `cancel`, `retry`, `resolve`, `pause`, `resume` or `drain`.
    operation: String,
    /// Who.
    actor: String,
    /// Why.
    reason: String,
    /// The state before.
    from: String,
    /// The state after.
    to: String,
    at_ms: i64,
}

impl From<OperatorAct> for RecordedAct {
    fn from(act: OperatorAct) -> RecordedAct {
        let OperatorAct { id: _, on, operation, actor, reason, before, after, acted_at_ms } = act;
        let (mut task_id, mut of_task, mut namespace, mut worker) = (None, None, None, None);
        match on {
            ActedOn::Task { task, step } => (task_id, of_task) = (Some(task.0), step),
            ActedOn::Namespace(name) => namespace = Some(name),
            ActedOn::Worker(name) => worker = Some(name),
        }
        RecordedAct {
            task_id,
            step: of_task,
            namespace,
            worker,
            operation,
            actor,
            reason,
            from: before,
            to: after,
            at_ms: acted_at_ms,
        }
    }
}

/// Which acts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those on this task and its steps.
    task: Option<Uuid>,
    /// Where to go on: the `next` of the page before.
    after: Option<String>,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
}

/// A page of acts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Acts {
    acts: Vec<RecordedAct>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List what operators did
///
/// Newest first, with who and why.
#[utoipa::path(get, path = "/acts", operation_id = "list_acts", tag = "broker", params(Wanted),
    responses((status = 200, description = "A page.", body = Acts)))]
pub(super) async fn list(
    State(site): State<Shared>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Acts>, Problem> {
    let Query(Wanted { task, after, limit }) = wanted?;
    let page = Page::new(after, limit);
    let rows = page.rows()?;
    let Some(task) = task else {
        let found = store::acts(site.pool()?, page.after::<ActCursor>()?, rows).await?;
        let acts = found.acts.into_iter().map(RecordedAct::from).collect();
        return Ok(Json(Acts { acts, next: found.next.map(|next| next.to_string()) }));
    };
    let found = store::operator_acts(site.pool()?, Some(TaskId(task)), page.after::<i64>()?, rows).await?;
    let is_full = found.len() == rows as usize;
    let next = found.last().filter(|_| is_full).map(|act| act.id.to_string());
    Ok(Json(Acts { acts: found.into_iter().map(RecordedAct::from).collect(), next }))
}
