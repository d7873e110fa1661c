//! Batches, and what became of their steps.

use bytes::Bytes;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tasker_engine::{BatchId, RegistrationId, TaskId};

use super::{bounded, count};
use crate::store::error::Error;
use crate::store::json::JsonBytes;
use crate::store::listing::{Listing, Sql};

/// What batches to list. The default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchFilter {
    /// Only those of this worker.
    pub worker: Option<String>,
    /// Only those that are not closed.
    pub is_open: bool,
    /// Only those whose closing report and partial results disagree.
    pub is_differing: bool,
}

/// A batch. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// Its id.
    pub id: BatchId,
    /// The worker that got it.
    pub worker: Option<String>,
    /// That worker's registration.
    pub registration: RegistrationId,
    /// `published`, `executing`, `completed`, `failed`, `timeout` or `cancelled`.
    pub state: String,
    /// Steps.
    pub total: u32,
    /// Steps with a result.
    pub complete: u32,
    /// Steps that failed.
    pub failed: u32,
    /// Steps that came back unrun.
    pub returned: u32,
    /// Where the closing report and the partial results disagree, JSON text.
    pub differences: Option<Bytes>,
    /// When it was written.
    pub created_at_ms: i64,
    /// When its steps time out.
    pub deadline_ms: i64,
    /// When it was closed.
    pub closed_at_ms: Option<i64>,
}

/// A page of batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPage {
    /// Newest first.
    pub batches: Vec<BatchRow>,
    /// Only batches older than this one are left to look at; nothing when there are none.
    pub next: Option<BatchId>,
    /// Whether the look ended before the page was full: `WINDOW_BATCHES` were looked at.
    pub is_short: bool,
}

/// A step of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchStep {
    /// Its place in the batch, from 1.
    pub position: u32,
    /// The task.
    pub task: TaskId,
    /// The step's number.
    pub step: u32,
    /// The step's name; nothing when the task has left.
    pub name: Option<String>,
    /// The attempt.
    pub attempt: u32,
    /// `complete`, `failed`, `timed_out`, `worker_lost`, `returned` or `open`.
    pub state: String,
}

/// A batch with some of its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchDetail {
    /// The batch.
    pub batch: BatchRow,
    /// Its steps, in order.
    pub items: Vec<BatchStep>,
    /// The position after which there are more.
    pub next: Option<u32>,
}

/// Batches that a call looks at: no index knows which are open or differ. Some hundredths of a second.
const WINDOW_BATCHES: i64 = 20_000;

const COLUMNS: &str = "
    status.batch_id, status.worker, status.registration_id, status.state, status.total, status.complete, status.failed,
    status.returned, status.differences, (extract(epoch FROM status.created_at) * 1000)::bigint AS created_at_ms,
    (extract(epoch FROM status.deadline) * 1000)::bigint AS deadline_ms,
    (extract(epoch FROM status.closed_at) * 1000)::bigint AS closed_at_ms";

/// Batches older than one, newest first.
pub async fn list_batches(
    pool: &PgPool,
    filter: &BatchFilter,
    before: Option<BatchId>,
    limit: u32,
) -> Result<BatchPage, Error> {
    let limit = bounded(limit);
    let before = before.map_or(uuid::Uuid::max(), |batch| batch.0);
    let mut listing = Listing::begin(pool).await?;
    let mut sql = Sql::new("SELECT batch_id FROM tasker.batches WHERE batch_id < ");
    sql.bind(before).add(" ORDER BY batch_id DESC LIMIT 1 OFFSET ").bind(WINDOW_BATCHES - 1);
    let lowest: Option<uuid::Uuid> = listing.rows(sql).await?.first().map(|row| row.try_get("batch_id")).transpose()?;
    let mut sql = Sql::new("SELECT batch.batch_id FROM tasker.batches AS batch WHERE batch.batch_id < ");
    sql.bind(before).add(" AND batch.batch_id >= ").bind(lowest.unwrap_or(uuid::Uuid::nil()));
    if let Some(worker) = &filter.worker {
        sql.add(" AND batch.registration_id IN (SELECT registration.registration_id");
        sql.add(" FROM tasker.worker_registrations AS registration WHERE registration.worker = ").bind(worker).add(")");
    }
    if filter.is_open {
        sql.add(
            " AND NOT EXISTS (SELECT FROM tasker.batch_closings AS closing WHERE closing.batch_id = batch.batch_id)",
        );
    }
    if filter.is_differing {
        sql.add(" AND EXISTS (SELECT FROM tasker.batch_closings AS closing");
        sql.add(" WHERE closing.batch_id = batch.batch_id AND closing.differences IS NOT NULL)");
    }
    sql.add(" ORDER BY batch.batch_id DESC LIMIT ").bind(limit + 1);
    let mut ids = Vec::new();
    for row in &listing.rows(sql).await? {
        ids.push(row.try_get::<uuid::Uuid, _>("batch_id")?);
    }
    let is_full = ids.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    ids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = if is_full { ids.last().copied() } else { lowest };
    let batches = statuses(&mut listing, &ids).await?;
    listing.end().await?;
    Ok(BatchPage { batches, next: next.map(BatchId), is_short: !is_full && lowest.is_some() })
}

/// One by one: `OFFSET 0` keeps the planner from computing the view for all batches.
async fn statuses(listing: &mut Listing, ids: &[uuid::Uuid]) -> Result<Vec<BatchRow>, Error> {
    let mut sql = Sql::new("SELECT");
    sql.add(COLUMNS).add(" FROM unnest(").bind(ids).add(
        "::uuid[]) AS page (batch_id) CROSS JOIN LATERAL (
             SELECT * FROM tasker.batch_status AS one WHERE one.batch_id = page.batch_id OFFSET 0
         ) AS status ORDER BY status.batch_id DESC",
    );
    listing.rows(sql).await?.iter().map(batch_row).collect()
}

/// A batch with its steps after a position; nothing when there is no such batch.
pub async fn batch_detail(
    pool: &PgPool,
    batch: BatchId,
    after: Option<u32>,
    limit: u32,
) -> Result<Option<BatchDetail>, Error> {
    let limit = bounded(limit);
    let mut listing = Listing::begin(pool).await?;
    let Some(row) = statuses(&mut listing, &[batch.0]).await?.pop() else {
        listing.end().await?;
        return Ok(None);
    };
    let mut sql = Sql::new(
        "SELECT item.position::integer AS position, item.task_id, item.step_number, item.attempt, step.name,
                CASE WHEN outcome.task_id IS NOT NULL THEN 'complete' WHEN failure.task_id IS NOT NULL THEN failure.cause
                     WHEN back.task_id IS NOT NULL THEN 'returned' ELSE 'open' END AS state
         FROM (SELECT part.*, batch.batch_id FROM tasker.batches AS batch
               CROSS JOIN LATERAL unnest(batch.task_ids, batch.step_numbers, batch.attempts)
                   WITH ORDINALITY AS part (task_id, step_number, attempt, position)
               WHERE batch.batch_id = ",
    );
    sql.bind(batch.0).add(" AND part.position > ").bind(i64::from(after.unwrap_or(0)));
    sql.add(" ORDER BY part.position LIMIT ").bind(limit + 1).add(
        ") AS item
         LEFT JOIN tasker.tasks AS task ON task.task_id = item.task_id
         LEFT JOIN tasker.template_steps AS step
           ON step.template_id = task.template_id AND step.step_number = item.step_number
         LEFT JOIN tasker.step_outcomes AS outcome
           ON outcome.task_id = item.task_id AND outcome.step_number = item.step_number
          AND outcome.batch_id = item.batch_id
         LEFT JOIN tasker.step_attempts_failed AS failure
           ON failure.task_id = item.task_id AND failure.step_number = item.step_number
          AND failure.attempt = item.attempt AND failure.batch_id = item.batch_id
         LEFT JOIN tasker.step_returns AS back
           ON back.task_id = item.task_id AND back.step_number = item.step_number
          AND back.attempt = item.attempt AND back.batch_id = item.batch_id
         ORDER BY item.position",
    );
    let mut items = listing.rows(sql).await?.iter().map(item).collect::<Result<Vec<_>, _>>()?;
    listing.end().await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_cut = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| is_cut).map(|item| item.position);
    Ok(Some(BatchDetail { batch: row, items, next }))
}

fn batch_row(row: &PgRow) -> Result<BatchRow, Error> {
    Ok(BatchRow {
        id: BatchId(row.try_get("batch_id")?),
        worker: row.try_get("worker")?,
        registration: RegistrationId(row.try_get("registration_id")?),
        state: row.try_get("state")?,
        total: count(row, "total")?,
        complete: count(row, "complete")?,
        failed: count(row, "failed")?,
        returned: count(row, "returned")?,
        differences: row.try_get::<Option<JsonBytes>, _>("differences")?.map(|json| json.0),
        created_at_ms: row.try_get("created_at_ms")?,
        deadline_ms: row.try_get("deadline_ms")?,
        closed_at_ms: row.try_get("closed_at_ms")?,
    })
}

fn item(row: &PgRow) -> Result<BatchStep, Error> {
    Ok(BatchStep {
        position: count(row, "position")?,
        task: TaskId(row.try_get("task_id")?),
        step: count(row, "step_number")?,
        name: row.try_get("name")?,
        attempt: count(row, "attempt")?,
        state: row.try_get("state")?,
    })
}
