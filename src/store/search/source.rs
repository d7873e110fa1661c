//! Where the tasks of a search come from: the index that leaves the fewest, and its ids window by window.

use sqlx::Row;
use uuid::Uuid;

use super::condition::possible_states;
use crate::filter::{Filter, TaskState};
use crate::store::error::Error;
use crate::store::listing::{Listing, Sql};

/// Ids from the lowest, included, to the highest, excluded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub lowest: Uuid,
    pub below: Uuid,
}

/// A part of the tasks, the newest that have not been looked at.
pub(super) struct Window {
    /// Where they are.
    pub range: Range,
    /// Which of the range, when not all.
    pub ids: Option<Vec<Uuid>>,
    /// How many, at most.
    pub tasks: u32,
}

/// An order of ids to walk along.
pub(super) enum Source {
    /// These only.
    Ids(Vec<Uuid>),
    /// Tasks that ended in a rare state, and unfinished ones.
    States { rare: Vec<&'static str>, unfinished: bool },
    /// Tasks with failed attempts.
    Failures,
    /// All tasks.
    All,
}

/// Most tasks that have an idempotency key of a filter: templates share keys rarely.
const KEYED_MAX: i64 = 10_000;

impl Source {
    pub async fn choose(listing: &mut Listing, filter: &Filter) -> Result<Source, Error> {
        if !filter.key.any.is_empty() {
            return Ok(Source::Ids(keyed(listing, &filter.key.any).await?));
        }
        let whole: Option<Vec<Uuid>> = filter.id.any.iter().map(|prefix| prefix.id()).collect();
        if let Some(mut ids) = whole.filter(|ids| !ids.is_empty()) {
            ids.sort_unstable_by(|left, right| right.cmp(left));
            return Ok(Source::Ids(ids));
        }
        let states = possible_states(filter);
        if !states.contains(&TaskState::Complete) {
            let is_unfinished = |state: &TaskState| matches!(state, TaskState::Pending | TaskState::InProgress);
            let rare = states.iter().filter(|state| !is_unfinished(state)).map(|state| state.name()).collect();
            return Ok(Source::States { rare, unfinished: states.iter().any(is_unfinished) });
        }
        Ok(if filter.error.any.is_empty() { Source::All } else { Source::Failures })
    }

    /// The newest of the range, about `size` of them. The window reaches to the end of the range when no more are there.
    pub async fn window(&self, listing: &mut Listing, range: Range, size: u32) -> Result<Window, Error> {
        let mut ids = match self {
            Source::Ids(ids) => {
                let ids = ids.iter().copied().filter(|id| (range.lowest..range.below).contains(id)).collect();
                return Ok(Window { range, ids: Some(ids), tasks: size });
            }
            Source::All => {
                let last = last_of_all(listing, range, size).await?;
                let range = Range { lowest: last.unwrap_or(range.lowest), ..range };
                return Ok(Window { range, ids: None, tasks: size });
            }
            Source::States { rare, unfinished } => in_states(listing, range, size, rare, *unfinished).await?,
            Source::Failures => with_failures(listing, range, size).await?,
        };
        let is_full = ids.len() >= size as usize;
        let lowest = ids.last().copied().filter(|_| is_full).unwrap_or(range.lowest);
        ids.dedup();
        Ok(Window { range: Range { lowest, ..range }, ids: Some(ids), tasks: size })
    }
}

fn ids(rows: &[sqlx::postgres::PgRow]) -> Result<Vec<Uuid>, Error> {
    rows.iter().map(|row| Ok(row.try_get("task_id")?)).collect()
}

/// Keys belong to the name of a template, so that each name is asked for each key.
async fn keyed(listing: &mut Listing, keys: &[String]) -> Result<Vec<Uuid>, Error> {
    let mut sql = Sql::new(
        "SELECT known.task_id
         FROM (SELECT DISTINCT namespace, name FROM tasker.task_templates OFFSET 0) AS template
         CROSS JOIN unnest(",
    );
    sql.bind(keys).add(
        "::text[]) AS wanted (key)
         CROSS JOIN LATERAL (
             SELECT task_id FROM tasker.idempotency_keys AS stored
             WHERE stored.namespace = template.namespace AND stored.name = template.name AND stored.key = wanted.key
             LIMIT 1
         ) AS known ORDER BY known.task_id DESC LIMIT ",
    );
    sql.bind(KEYED_MAX);
    ids(&listing.rows(sql).await?)
}

/// The last of the first `size` ids; none when there are fewer.
async fn last_of_all(listing: &mut Listing, range: Range, size: u32) -> Result<Option<Uuid>, Error> {
    let mut sql = Sql::new("SELECT task_id FROM tasker.tasks WHERE task_id >= ");
    sql.bind(range.lowest).add(" AND task_id < ").bind(range.below);
    sql.add(" ORDER BY task_id DESC LIMIT 1 OFFSET ").bind(i64::from(size) - 1);
    Ok(ids(&listing.rows(sql).await?)?.pop())
}

/// By the partial indexes: `complete` is in none of them.
async fn in_states(
    listing: &mut Listing,
    range: Range,
    size: u32,
    rare: &[&'static str],
    unfinished: bool,
) -> Result<Vec<Uuid>, Error> {
    let mut sql = Sql::new(
        "SELECT found.task_id FROM (
             SELECT ended.task_id FROM unnest(",
    );
    sql.bind(rare).add(
        "::text[]) AS wanted (state) CROSS JOIN LATERAL (
                 SELECT task.task_id FROM tasker.tasks AS task
                 WHERE task.final_state IN ('error', 'cancelled', 'resolved_manually')
                   AND task.final_state = wanted.state AND task.task_id >= ",
    );
    sql.bind(range.lowest).add(" AND task.task_id < ").bind(range.below);
    sql.add(" ORDER BY task.task_id DESC LIMIT ").bind(i64::from(size)).add(") AS ended");
    if unfinished {
        sql.add(
            " UNION ALL
              SELECT open.task_id FROM tasker.lanes AS lane CROSS JOIN LATERAL (
                  SELECT task.task_id FROM tasker.tasks AS task
                  WHERE task.final_state IS NULL AND task.lane = lane.lane AND task.task_id >= ",
        );
        sql.bind(range.lowest).add(" AND task.task_id < ").bind(range.below);
        sql.add(" ORDER BY task.task_id DESC LIMIT ").bind(i64::from(size)).add(") AS open");
    }
    sql.add(") AS found ORDER BY found.task_id DESC LIMIT ").bind(i64::from(size));
    ids(&listing.rows(sql).await?)
}

/// A task for each of its failed attempts. The last one may have more of them, which nobody needs.
async fn with_failures(listing: &mut Listing, range: Range, size: u32) -> Result<Vec<Uuid>, Error> {
    let mut sql = Sql::new("SELECT task_id FROM tasker.step_attempts_failed WHERE task_id >= ");
    sql.bind(range.lowest).add(" AND task_id < ").bind(range.below);
    sql.add(" ORDER BY task_id DESC, step_number DESC, attempt DESC LIMIT ").bind(i64::from(size));
    ids(&listing.rows(sql).await?)
}
