//! The audit of a task: every change of state, in the order in which they were committed.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tasker_engine::{BatchId, TaskId};
use uuid::Uuid;

use super::{bounded, number};
use crate::store::error::Error;
use crate::store::listing::{Listing, Sql};

/// A change of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The step; nothing when it is the task's own state.
    pub step: Option<String>,
    /// Its attempt.
    pub attempt: Option<u32>,
    /// The state before; nothing for the first one.
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: Option<i64>,
    /// The batch that it came with.
    pub batch: Option<BatchId>,
    /// Who did it, when a person did.
    pub by: Option<String>,
    /// Why.
    pub detail: Option<String>,
}

/// A page of transitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transitions {
    /// Oldest first.
    pub rows: Vec<Transition>,
    /// Where to go on.
    pub next: Option<TransitionCursor>,
}

/// A place in the audit of a task. Its text is for whoever asks for the next page to give back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitionCursor {
    seq: i64,
    phase: i32,
    step: i32,
    attempt: i32,
    batch: Uuid,
}

impl fmt::Display for TransitionCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TransitionCursor { seq, phase, step, attempt, batch } = self;
        write!(formatter, "{seq}_{phase}_{step}_{attempt}_{}", batch.as_simple())
    }
}

impl FromStr for TransitionCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<TransitionCursor, &'static str> {
        let read = || {
            let mut parts = text.splitn(5, '_');
            Some(TransitionCursor {
                seq: parts.next()?.parse().ok()?,
                phase: parts.next()?.parse().ok()?,
                step: parts.next()?.parse().ok()?,
                attempt: parts.next()?.parse().ok()?,
                batch: Uuid::try_parse(parts.next()?).ok()?,
            })
        };
        read().ok_or("not a cursor of transitions")
    }
}

/// Transitions of a task after a place. A task that is not there has none.
pub async fn transitions(
    pool: &PgPool,
    task: TaskId,
    after: Option<&TransitionCursor>,
    limit: u32,
) -> Result<Transitions, Error> {
    let limit = bounded(limit);
    let mut sql = Sql::new(
        "SELECT change.step, change.attempt, change.from_state, change.to_state, change.batch_id, change.by,
                change.detail, (extract(epoch FROM change.at) * 1000)::bigint AS at_ms,
                change.seq, change.phase, coalesce(change.step_number, -1) AS place, coalesce(change.attempt, 0) AS turn,
                coalesce(change.batch_id, '00000000-0000-0000-0000-000000000000') AS part
         FROM tasker.transitions AS change WHERE change.task_id = ",
    );
    sql.bind(task.0);
    if let Some(TransitionCursor { seq, phase, step, attempt, batch }) = after {
        sql.add(
            " AND (change.seq, change.phase, coalesce(change.step_number, -1), coalesce(change.attempt, 0),
                   coalesce(change.batch_id, '00000000-0000-0000-0000-000000000000')) > (",
        );
        sql.bind(*seq).add(", ").bind(*phase).add(", ").bind(*step).add(", ").bind(*attempt).add(", ");
        sql.bind(*batch).add(")");
    }
    sql.add(" ORDER BY change.seq, change.phase, place, turn, part LIMIT ").bind(limit + 1);
    let mut listing = Listing::begin(pool).await?;
    let mut rows = listing.rows(sql).await?;
    listing.end().await?;
    let is_cut = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = rows.last().filter(|_| is_cut).map(cursor).transpose()?;
    Ok(Transitions { rows: rows.iter().map(transition).collect::<Result<_, _>>()?, next })
}

fn cursor(row: &PgRow) -> Result<TransitionCursor, Error> {
    Ok(TransitionCursor {
        seq: row.try_get("seq")?,
        phase: row.try_get("phase")?,
        step: row.try_get("place")?,
        attempt: row.try_get("turn")?,
        batch: row.try_get("part")?,
    })
}

fn transition(row: &PgRow) -> Result<Transition, Error> {
    Ok(Transition {
        step: row.try_get("step")?,
        attempt: number(row, "attempt")?,
        from: row.try_get("from_state")?,
        to: row.try_get("to_state")?,
        at_ms: row.try_get("at_ms")?,
        batch: row.try_get::<Option<Uuid>, _>("batch_id")?.map(BatchId),
        by: row.try_get("by")?,
        detail: row.try_get("detail")?,
    })
}
