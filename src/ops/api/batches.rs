//! Batches, and whether the closing report agrees with what was reported before.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tasker_engine::BatchId;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::paging::Page;
use super::view::shown_bytes;
use crate::ops::guard::Visitor;
use crate::ops::problem::Problem;
use crate::ops::redact::Redaction;
use crate::ops::site::Shared;
use crate::store::{self, BatchFilter, BatchRow, BatchStep};

/// A batch.
#[derive(Debug, Serialize, ToSchema)]
struct Batch {
    batch_id: Uuid,
    /// Who got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    registration_id: Uuid,
    /// `published`, `executing`, `completed`, `failed`, `timeout` or `cancelled`.
    state: String,
    /// Steps in it.
    total: u32,
    /// Of them, those with a result.
    complete: u32,
    /// Those that failed.
    failed: u32,
    /// Those that came back unrun.
    returned: u32,
    /// Where the closing report and the partial results disagree; not there when they agree, or it is still to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    differences: Option<Box<RawValue>>,
    created_at_ms: i64,
    /// When its steps time out.
    deadline_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at_ms: Option<i64>,
}

impl Batch {
    fn of(row: BatchRow, hidden: &Redaction) -> Batch {
        Batch {
            batch_id: row.id.0,
            worker: row.worker,
            registration_id: row.registration.0,
            state: row.state,
            total: row.total,
            complete: row.complete,
            failed: row.failed,
            returned: row.returned,
            differences: row.differences.as_ref().map(|differences| shown_bytes(differences, hidden)),
            created_at_ms: row.created_at_ms,
            deadline_ms: row.deadline_ms,
            closed_at_ms: row.closed_at_ms,
        }
    }
}

/// Which of the batches.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Only {
    /// Those that are not closed.
    Open,
    /// Those whose closing report disagrees.
    Differing,
}

/// Which batches.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those of this worker.
    worker: Option<String>,
    /// Only those that are open, or whose closing report disagrees with what was reported before.
    #[param(inline)]
    only: Option<Only>,
    /// Where to go on: the `next` of the page before.
    after: Option<String>,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
}

/// A page of batches.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchPage {
    batches: Vec<Batch>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Whether the look ended before the page was full, although there are older batches.
    short: bool,
}

/// List batches
///
/// Newest first.
#[utoipa::path(get, path = "/batches", operation_id = "list_batches", tag = "batches", params(Wanted),
    responses((status = 200, description = "A page.", body = BatchPage)))]
pub(super) async fn list(
    State(site): State<Shared>,
    visitor: Visitor,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<BatchPage>, Problem> {
    let Query(Wanted { worker, only, after, limit }) = wanted?;
    let page = Page::new(after, limit);
    let (after, rows) = (page.after::<Uuid>()?.map(BatchId), page.rows()?);
    let (is_open, is_differing) = (matches!(only, Some(Only::Open)), matches!(only, Some(Only::Differing)));
    let found = store::list_batches(site.pool()?, &BatchFilter { worker, is_open, is_differing }, after, rows).await?;
    let hidden = site.redaction(&visitor);
    Ok(Json(BatchPage {
        batches: found.batches.into_iter().map(|row| Batch::of(row, &hidden)).collect(),
        next: found.next.map(|next| next.to_string()),
        short: found.is_short,
    }))
}

/// A step of a batch.
#[derive(Debug, Serialize, ToSchema)]
struct Item {
    /// Its place in the batch, from 1.
    position: u32,
    task_id: Uuid,
    /// Its name; not there when the task has left the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    attempt: u32,
    /// `complete`, `failed`, `timed_out`, `worker_lost`, `returned` or `open`.
    state: String,
}

impl From<BatchStep> for Item {
    fn from(item: BatchStep) -> Item {
        let BatchStep { position, task, step: _, name, attempt, state } = item;
        Item { position, task_id: task.0, step: name, attempt, state }
    }
}

/// A batch with a page of its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchDetail {
    batch: Batch,
    /// In the order of the batch.
    steps: Vec<Item>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Show a batch
///
/// What came back for each of its steps.
#[utoipa::path(get, path = "/batches/{batch}", operation_id = "show_batch", tag = "batches",
    params(("batch" = Uuid, Path, description = "The batch."), Page),
    responses((status = 200, description = "The batch, with a page of its steps.", body = BatchDetail)))]
pub(super) async fn show(
    State(site): State<Shared>,
    visitor: Visitor,
    batch: Result<Path<Uuid>, PathRejection>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<BatchDetail>, Problem> {
    let (Path(id), Query(page)) = (batch?, page?);
    let (after, rows) = (page.after::<u32>()?, page.rows()?);
    let found = store::batch_detail(site.pool()?, BatchId(id), after, rows).await?;
    let found = found.ok_or_else(|| Problem::unknown_batch(id))?;
    Ok(Json(BatchDetail {
        batch: Batch::of(found.batch, &site.redaction(&visitor)),
        steps: found.items.into_iter().map(Item::from).collect(),
        next: found.next.map(|next| next.to_string()),
    }))
}
