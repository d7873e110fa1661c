//! Attempts of steps: of one step with all that is known, of all steps of a task as compact rows.

use bytes::Bytes;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tasker_engine::{BatchId, RegistrationId, TaskId};
use uuid::Uuid;

use super::{bounded, count, number};
use crate::store::error::Error;
use crate::store::json::JsonBytes;
use crate::store::listing::{Listing, Sql};

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// Its result was accepted.
    Complete,
    /// The request bypassed the step; nothing ran.
    Bypassed,
    /// An operator settled the step; nothing ran.
    ResolvedManually,
    /// The handler failed.
    Failed,
    /// Its deadline passed.
    TimedOut,
    /// Its worker was lost.
    WorkerLost,
    /// It came back unrun; the number is used again.
    Returned,
    /// A worker has it.
    InProgress,
}

impl AttemptState {
    /// Its name in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            AttemptState::Complete => "complete",
            AttemptState::Bypassed => "bypassed",
            AttemptState::ResolvedManually => "resolved_manually",
            AttemptState::Failed => "failed",
            AttemptState::TimedOut => "timed_out",
            AttemptState::WorkerLost => "worker_lost",
            AttemptState::Returned => "returned",
            AttemptState::InProgress => "in_progress",
        }
    }

    fn read(row: &PgRow) -> Result<AttemptState, Error> {
        let name: &str = row.try_get("state")?;
        let all = [
            AttemptState::Complete,
            AttemptState::Bypassed,
            AttemptState::ResolvedManually,
            AttemptState::Failed,
            AttemptState::TimedOut,
            AttemptState::WorkerLost,
            AttemptState::Returned,
            AttemptState::InProgress,
        ];
        let known = all.into_iter().find(|state| state.name() == name);
        known.ok_or_else(|| Error::corrupt(format!("an attempt is `{name}`")))
    }
}

/// An attempt of a step, in the timeline of its task. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineRow {
    /// The step.
    pub step: u32,
    /// The attempt, from 1; 0 when the step was settled without any.
    pub attempt: u32,
    /// What became of it.
    pub state: AttemptState,
    /// When the broker decided its dispatch.
    pub dispatched_at_ms: Option<i64>,
    /// When the handler started, by the worker's clock.
    pub started_at_ms: Option<i64>,
    /// When its outcome was accepted, by the clock of the database.
    pub finished_at_ms: Option<i64>,
    /// How long the handler ran, in microseconds.
    pub duration_us: Option<u64>,
    /// When the next attempt may start.
    pub retry_at_ms: Option<i64>,
    /// The worker's registration.
    pub registration: Option<RegistrationId>,
    /// The batch.
    pub batch: Option<BatchId>,
}

/// All attempts of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// In order of step, attempt and batch: ids of batches grow, and their times are of two clocks.
    pub rows: Vec<TimelineRow>,
    /// Whether there are more than [`TIMELINE_ROWS_MAX`].
    pub is_cut: bool,
    /// Names of the workers, by registration.
    pub workers: Vec<(RegistrationId, String)>,
}

/// Most rows of a timeline: a task of 10,000 steps with five attempts each.
pub const TIMELINE_ROWS_MAX: u32 = 50_000;

/// Attempts of one step, with all that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepHistory {
    /// The attempts, oldest first, at most as many as were asked for: the newest of them.
    pub attempts: Vec<Attempt>,
    /// Results that were not simply accepted, newest first.
    pub ledger: Vec<LedgerEntry>,
}

/// An attempt with all that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What the timeline has of it.
    pub row: TimelineRow,
    /// Name of the worker.
    pub worker: Option<String>,
    /// From dispatch to the start of the handler, in microseconds: two clocks, so that it may be a little off.
    pub queue_us: Option<u64>,
    /// How it failed.
    pub failing: Option<Failing>,
    /// Why it came back unrun.
    pub returned_because: Option<String>,
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Whether no attempt follows by itself.
    pub is_final: bool,
    /// Class of the error.
    pub class: String,
    /// Its message.
    pub message: String,
    /// Its code.
    pub code: Option<String>,
    /// What the handler added, JSON text.
    pub context: Option<Bytes>,
    /// Lines of the backtrace, innermost first.
    pub backtrace: Vec<String>,
}

/// A result that was not simply accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The attempt that it names.
    pub attempt: i64,
    /// The batch that it names.
    pub batch: BatchId,
    /// Name of the worker that sent it, when it is known.
    pub worker: Option<String>,
    /// `duplicate`, `late`, `unknown`, `contradicting` or `refused`.
    pub disposition: String,
    /// `complete` or `error`.
    pub status: String,
    /// What it carried, as text.
    pub payload: String,
    /// When, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

/// Attempts of a task, each a row. What is in an open batch and has no outcome yet is in progress.
const ATTEMPTS: &str = "
    SELECT outcome.step_number, outcome.attempt, outcome.kind AS state, outcome.dispatched_at, outcome.started_at,
           outcome.finished_at, outcome.duration_us, NULL::timestamptz AS retry_at, outcome.registration_id,
           outcome.batch_id
    FROM tasker.step_outcomes AS outcome, asked WHERE outcome.task_id = asked.task_id
    UNION ALL
    SELECT failure.step_number, failure.attempt, failure.cause, failure.dispatched_at, failure.started_at,
           failure.failed_at, failure.duration_us, failure.retry_at, failure.registration_id, failure.batch_id
    FROM tasker.step_attempts_failed AS failure, asked WHERE failure.task_id = asked.task_id
    UNION ALL
    SELECT back.step_number, back.attempt, 'returned', batch.created_at, NULL, back.returned_at, NULL, NULL,
           batch.registration_id, back.batch_id
    FROM asked, tasker.step_returns AS back JOIN tasker.batches AS batch ON batch.batch_id = back.batch_id
    WHERE back.task_id = asked.task_id
    UNION ALL
    SELECT item.step_number, item.attempt, 'in_progress', item.created_at, NULL, NULL, NULL, NULL,
           item.registration_id, item.batch_id
    FROM tasker.open_items AS item, asked
    WHERE item.task_id = asked.task_id
      AND NOT EXISTS (SELECT FROM tasker.tasks AS task
                      WHERE task.task_id = item.task_id AND task.final_state IS NOT NULL)
      AND NOT EXISTS (SELECT FROM tasker.step_outcomes AS outcome
                      WHERE outcome.task_id = item.task_id AND outcome.step_number = item.step_number)
      AND NOT EXISTS (SELECT FROM tasker.step_attempts_failed AS failure
                      WHERE failure.task_id = item.task_id AND failure.step_number = item.step_number
                        AND failure.attempt = item.attempt)";

/// Columns that [`timeline_row`] reads.
const COLUMNS: &str = "
    attempt.step_number, attempt.attempt, attempt.state, attempt.duration_us, attempt.registration_id, attempt.batch_id,
    (extract(epoch FROM attempt.dispatched_at) * 1000)::bigint AS dispatched_at_ms,
    (extract(epoch FROM attempt.started_at) * 1000)::bigint AS started_at_ms,
    (extract(epoch FROM attempt.finished_at) * 1000)::bigint AS finished_at_ms,
    (extract(epoch FROM attempt.retry_at) * 1000)::bigint AS retry_at_ms";

/// All attempts of a task in one statement. A task that is not there has none.
pub async fn timeline(pool: &PgPool, task: TaskId) -> Result<Timeline, Error> {
    let mut listing = Listing::begin(pool).await?;
    let mut sql = Sql::new("WITH asked AS (SELECT ");
    sql.bind(task.0).add("::uuid AS task_id) SELECT").add(COLUMNS).add(" FROM (").add(ATTEMPTS);
    sql.add(") AS attempt ORDER BY attempt.step_number, attempt.attempt, attempt.batch_id LIMIT ");
    sql.bind(i64::from(TIMELINE_ROWS_MAX) + 1);
    let mut rows = listing.rows(sql).await?.iter().map(timeline_row).collect::<Result<Vec<_>, _>>()?;
    let is_cut = rows.len() > TIMELINE_ROWS_MAX as usize;
    rows.truncate(TIMELINE_ROWS_MAX as usize);
    let mut ids: Vec<Uuid> = rows.iter().filter_map(|row| row.registration.map(|id| id.0)).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut sql =
        Sql::new("SELECT registration_id, worker FROM tasker.worker_registrations WHERE registration_id = ANY (");
    sql.bind(ids).add("::uuid[])");
    let workers = listing.rows(sql).await?;
    listing.end().await?;
    let worker = |row: &PgRow| Ok((RegistrationId(row.try_get("registration_id")?), row.try_get("worker")?));
    Ok(Timeline { rows, is_cut, workers: workers.iter().map(worker).collect::<Result<_, Error>>()? })
}

/// The last `limit` attempts of a step, and as many results that were not simply accepted. A step that is not there has none.
pub async fn step_history(pool: &PgPool, task: TaskId, step: &str, limit: u32) -> Result<StepHistory, Error> {
    let limit = bounded(limit);
    let mut sql = Sql::new("WITH asked AS (SELECT ");
    sql.bind(task.0).add("::uuid AS task_id) SELECT").add(COLUMNS).add(
        ", registration.worker, failure.final, failure.error_class, failure.error_message, failure.error_code,
           failure.error_context, failure.backtrace, back.reason,
           greatest(extract(epoch FROM attempt.started_at - attempt.dispatched_at) * 1000000, 0)::bigint AS queue_us
         FROM (",
    );
    sql.add(ATTEMPTS).add(
        ") AS attempt
         LEFT JOIN tasker.worker_registrations AS registration ON registration.registration_id = attempt.registration_id
         LEFT JOIN tasker.step_attempts_failed AS failure
           ON failure.task_id = (SELECT asked.task_id FROM asked) AND failure.step_number = attempt.step_number
          AND failure.attempt = attempt.attempt AND attempt.state IN ('failed', 'timed_out', 'worker_lost')
         LEFT JOIN tasker.step_returns AS back
           ON back.task_id = (SELECT asked.task_id FROM asked) AND back.step_number = attempt.step_number
          AND back.attempt = attempt.attempt AND back.batch_id = attempt.batch_id AND attempt.state = 'returned'
         WHERE attempt.step_number = (SELECT step.step_number FROM tasker.steps AS step WHERE step.task_id = ",
    );
    sql.bind(task.0).add(" AND step.name = ").bind(step);
    sql.add(") ORDER BY attempt.attempt DESC, attempt.batch_id DESC LIMIT ").bind(limit);
    let mut ledger = Sql::new(
        "SELECT received.attempt, received.batch_id, registration.worker, received.disposition, received.status,
                received.payload, (extract(epoch FROM received.received_at) * 1000)::bigint AS received_at_ms
         FROM tasker.received_results AS received
         LEFT JOIN tasker.worker_registrations AS registration ON registration.registration_id = received.registration_id
         WHERE received.task_id = ",
    );
    ledger.bind(task.0).add(" AND received.step = ").bind(step);
    ledger.add(" ORDER BY received.received_at DESC, received.seq DESC LIMIT ").bind(limit);
    let mut listing = Listing::begin(pool).await?;
    let attempts = listing.rows(sql).await?;
    let ledger = listing.rows(ledger).await?;
    listing.end().await?;
    let attempts = attempts.iter().rev().map(attempt).collect::<Result<_, _>>()?;
    Ok(StepHistory { attempts, ledger: ledger.iter().map(entry).collect::<Result<_, _>>()? })
}

fn timeline_row(row: &PgRow) -> Result<TimelineRow, Error> {
    Ok(TimelineRow {
        step: count(row, "step_number")?,
        attempt: number(row, "attempt")?.unwrap_or(0),
        state: AttemptState::read(row)?,
        dispatched_at_ms: row.try_get("dispatched_at_ms")?,
        started_at_ms: row.try_get("started_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
        duration_us: row.try_get::<Option<i64>, _>("duration_us")?.map(i64::cast_unsigned),
        retry_at_ms: row.try_get("retry_at_ms")?,
        registration: row.try_get::<Option<Uuid>, _>("registration_id")?.map(RegistrationId),
        batch: row.try_get::<Option<Uuid>, _>("batch_id")?.map(BatchId),
    })
}

fn attempt(row: &PgRow) -> Result<Attempt, Error> {
    let failing = match row.try_get::<Option<bool>, _>("final")? {
        Some(is_final) => Some(Failing {
            is_final,
            class: row.try_get("error_class")?,
            message: row.try_get("error_message")?,
            code: row.try_get("error_code")?,
            context: row.try_get::<Option<JsonBytes>, _>("error_context")?.map(|json| json.0),
            backtrace: row.try_get::<Option<Vec<String>>, _>("backtrace")?.unwrap_or_default(),
        }),
        None => None,
    };
    Ok(Attempt {
        row: timeline_row(row)?,
        worker: row.try_get("worker")?,
        queue_us: row.try_get::<Option<i64>, _>("queue_us")?.map(i64::cast_unsigned),
        failing,
        returned_because: row.try_get("reason")?,
    })
}

fn entry(row: &PgRow) -> Result<LedgerEntry, Error> {
    Ok(LedgerEntry {
        attempt: row.try_get("attempt")?,
        batch: BatchId(row.try_get("batch_id")?),
        worker: row.try_get("worker")?,
        disposition: row.try_get("disposition")?,
        status: row.try_get("status")?,
        payload: row.try_get("payload")?,
        received_at_ms: row.try_get("received_at_ms")?,
    })
}
