//! What operators did: to tasks, and to namespaces and workers.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tasker_engine::TaskId;

use super::bounded;
use crate::store::error::Error;
use crate::store::listing::{Listing, Sql};

/// An act of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorAct {
    /// Its number among those on tasks, or among the others; later ones are higher.
    pub id: i64,
    /// What it changed.
    pub on: ActedOn,
    /// `cancel`, `retry` or `resolve`; `pause` or `resume`; `drain`.
    pub operation: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The state before.
    pub before: String,
    /// The state after.
    pub after: String,
    /// When, in milliseconds since the Unix epoch.
    pub acted_at_ms: i64,
}

/// What an operator acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActedOn {
    /// A task.
    Task {
        /// Which.
        task: TaskId,
        /// The step; nothing when it was the whole task.
        step: Option<String>,
    },
    /// A namespace, by name.
    Namespace(String),
    /// A worker, by name.
    Worker(String),
}

impl ActedOn {
    /// The step, when it was one.
    pub fn step(&self) -> Option<&str> {
        match self {
            ActedOn::Task { step, .. } => step.as_deref(),
            ActedOn::Namespace(_) | ActedOn::Worker(_) => None,
        }
    }
}

/// Acts on one task, or on all, older than one, newest first. The last row of a full page is where the next one goes on.
pub async fn operator_acts(
    pool: &PgPool,
    task: Option<TaskId>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<OperatorAct>, Error> {
    let mut listing = Listing::begin(pool).await?;
    let acts = on_tasks(&mut listing, task, before.unwrap_or(i64::MAX), bounded(limit)).await?;
    listing.end().await?;
    Ok(acts)
}

async fn on_tasks(
    listing: &mut Listing,
    task: Option<TaskId>,
    before: i64,
    limit: i64,
) -> Result<Vec<OperatorAct>, Error> {
    let mut sql = Sql::new(
        "SELECT action.action_id, action.task_id, step.name AS step, action.operation, action.actor, action.reason,
                action.state_before, action.state_after, (extract(epoch FROM action.acted_at) * 1000)::bigint AS acted_at_ms
         FROM (SELECT * FROM tasker.operator_actions AS one WHERE one.action_id < ",
    );
    sql.bind(before);
    if let Some(task) = task {
        sql.add(" AND one.task_id = ").bind(task.0);
    }
    sql.add(" ORDER BY one.action_id DESC LIMIT ").bind(limit).add(
        ") AS action
         LEFT JOIN tasker.tasks AS task ON task.task_id = action.task_id
         LEFT JOIN tasker.template_steps AS step
           ON step.template_id = task.template_id AND step.step_number = action.step_number
         ORDER BY action.action_id DESC",
    );
    let rows = listing.rows(sql).await?;
    rows.iter()
        .map(|row| act(row, ActedOn::Task { task: TaskId(row.try_get("task_id")?), step: row.try_get("step")? }))
        .collect()
}

fn act(row: &PgRow, on: ActedOn) -> Result<OperatorAct, Error> {
    Ok(OperatorAct {
        id: row.try_get("action_id")?,
        on,
        operation: row.try_get("operation")?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        before: row.try_get("state_before")?,
        after: row.try_get("state_after")?,
        acted_at_ms: row.try_get("acted_at_ms")?,
    })
}

/// Acts on namespaces and workers.
async fn on_fleet(listing: &mut Listing, before: i64, limit: i64) -> Result<Vec<OperatorAct>, Error> {
    let mut sql = Sql::new(
        "SELECT action.action_id, action.subject_kind, action.subject, action.operation, action.actor, action.reason,
                action.state_before, action.state_after, (extract(epoch FROM action.acted_at) * 1000)::bigint AS acted_at_ms
         FROM tasker.fleet_actions AS action WHERE action.action_id < ",
    );
    sql.bind(before).add(" ORDER BY action.action_id DESC LIMIT ").bind(limit);
    listing.rows(sql).await?.iter().map(|row| act(row, of_fleet(row)?)).collect()
}

fn of_fleet(row: &PgRow) -> Result<ActedOn, Error> {
    match row.try_get("subject_kind")? {
        "namespace" => Ok(ActedOn::Namespace(row.try_get("subject")?)),
        "worker" => Ok(ActedOn::Worker(row.try_get("subject")?)),
        other => Err(Error::corrupt(format!("an operator acted on a `{other}`"))),
    }
}

/// A place among all acts: each of the two kinds has numbers of its own. Its text is for whoever asks for the next page to
/// give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActCursor {
    task: i64,
    fleet: i64,
}

impl fmt::Display for ActCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_{}", self.task, self.fleet)
    }
}

impl FromStr for ActCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<ActCursor, &'static str> {
        let (task, fleet) = text.split_once('_').ok_or("not a cursor of acts")?;
        let number = |text: &str| text.parse().map_err(|_| "not a cursor of acts");
        Ok(ActCursor { task: number(task)?, fleet: number(fleet)? })
    }
}

/// A page of acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acts {
    /// Newest first.
    pub acts: Vec<OperatorAct>,
    /// Where to go on.
    pub next: Option<ActCursor>,
}

/// All acts after a place, newest first.
pub async fn acts(pool: &PgPool, after: Option<ActCursor>, limit: u32) -> Result<Acts, Error> {
    let limit = bounded(limit);
    let mut place = after.unwrap_or(ActCursor { task: i64::MAX, fleet: i64::MAX });
    let mut listing = Listing::begin(pool).await?;
    let on_tasks = on_tasks(&mut listing, None, place.task, limit + 1).await?;
    let on_fleet = on_fleet(&mut listing, place.fleet, limit + 1).await?;
    listing.end().await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut acts = merged(on_tasks, on_fleet);
    let is_cut = acts.len() > limit;
    acts.truncate(limit);
    for act in &acts {
        let place = match act.on {
            ActedOn::Task { .. } => &mut place.task,
            ActedOn::Namespace(_) | ActedOn::Worker(_) => &mut place.fleet,
        };
        *place = act.id.min(*place);
    }
    Ok(Acts { acts, next: is_cut.then_some(place) })
}

/// Both kinds as one list, newest first. Each kind stays in the order of its numbers, so that a place in the list is one in both,
/// also where clocks disagree.
fn merged(on_tasks: Vec<OperatorAct>, on_fleet: Vec<OperatorAct>) -> Vec<OperatorAct> {
    let mut acts = Vec::with_capacity(on_tasks.len() + on_fleet.len());
    let (mut on_tasks, mut on_fleet) = (on_tasks.into_iter().peekable(), on_fleet.into_iter().peekable());
    loop {
        let task_is_newer = match (on_tasks.peek(), on_fleet.peek()) {
            (Some(task), Some(fleet)) => task.acted_at_ms >= fleet.acted_at_ms,
            (task, _) => task.is_some(),
        };
        let next = if task_is_newer { on_tasks.next() } else { on_fleet.next() };
        let Some(act) = next else { return acts };
        acts.push(act);
    }
}
