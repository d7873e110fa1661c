//! Tasks that a filter selects, newest first, a page at a time.
//!
//! Where an index answers, it is asked: rare states, unfinished tasks, ids, idempotency keys, failed attempts. Everything else is
//! looked at window by window, backwards from the newest task, until the page is full or a budget is spent; then the page
//! says how far back it has looked, and the next one goes on from there. Whatever the filter and the number of tasks, a call
//! reads a bounded number of rows.

mod condition;
mod row;
mod source;
mod steps;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::{PgPool, Row};
use tasker_engine::TaskId;
use uuid::Uuid;

use super::error::Error;
use super::listing::{Listing, Sql};
use crate::filter::Filter;
use source::{Range, Source, Window};

pub use row::{LastError, TaskRow};

/// Most tasks of a page.
pub const PAGE_TASKS_MAX: u32 = 1_000;

/// A count ends here: "10,000+" says as much to a person as the number does.
pub const COUNT_MAX: u32 = 10_000;

/// A place in the list of all tasks; what comes after it is older. Its text is for whoever asks for the next page to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(Uuid);

impl Cursor {
    /// Right after this task.
    pub fn after(task: TaskId) -> Cursor {
        Cursor(task.0)
    }

    /// The id that all tasks after the place are below.
    pub fn id(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(formatter)
    }
}

impl FromStr for Cursor {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Cursor, uuid::Error> {
        Uuid::try_parse(text).map(Cursor)
    }
}

/// A page of tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The tasks, newest first.
    pub tasks: Vec<TaskRow>,
    /// Where to go on; nothing when all tasks have been looked at.
    pub next: Option<Cursor>,
    /// When the budget was spent before the page was full: only tasks created since then have been looked at, in milliseconds
    /// since the Unix epoch.
    pub searched_back_to_ms: Option<i64>,
}

/// How many tasks a filter selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// As many are known.
    pub tasks: u32,
    /// Whether there may be more.
    pub is_capped: bool,
}

/// What a search may cost. Each window is a statement of its own, under [`LIST_TIMEOUT`](super::LIST_TIMEOUT).
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Tasks looked at.
    pub tasks: u32,
    /// No further window is begun after this time.
    pub time: Duration,
}

impl Default for Budget {
    /// Answers in less than a tenth of a second with what is in memory: about a microsecond a task.
    fn default() -> Budget {
        Budget { tasks: 200_000, time: Duration::from_millis(50) }
    }
}

/// Tasks that a filter selects, older than `after`; at most `limit`, which is at most [`PAGE_TASKS_MAX`].
pub async fn search_tasks(pool: &PgPool, filter: &Filter, after: Option<Cursor>, limit: u32) -> Result<Page, Error> {
    search_tasks_within(pool, filter, after, limit, Budget::default()).await
}

/// The same with another budget.
pub async fn search_tasks_within(
    pool: &PgPool,
    filter: &Filter,
    after: Option<Cursor>,
    limit: u32,
    budget: Budget,
) -> Result<Page, Error> {
    let limit = limit.clamp(1, PAGE_TASKS_MAX) as usize;
    let mut listing = Listing::begin(pool).await?;
    // One more tells whether there is a next page.
    let mut found = walk(&mut listing, filter, after, limit + 1, budget).await?;
    let mut next = found.stopped_at.map(Cursor);
    let searched_back_to_ms = found.stopped_at.filter(|_| found.ids.len() <= limit).map(created_ms);
    if found.ids.len() > limit {
        found.ids.truncate(limit);
        next = found.ids.last().copied().map(Cursor);
    }
    let tasks = row::rows(&mut listing, &found.ids).await?;
    listing.end().await?;
    Ok(Page { tasks, next, searched_back_to_ms })
}

/// How many tasks a filter selects, up to [`COUNT_MAX`] and within the default budget.
pub async fn count_tasks(pool: &PgPool, filter: &Filter) -> Result<Count, Error> {
    count_tasks_within(pool, filter, COUNT_MAX, Budget::default()).await
}

/// The same with another bound and budget.
pub async fn count_tasks_within(pool: &PgPool, filter: &Filter, most: u32, budget: Budget) -> Result<Count, Error> {
    let mut listing = Listing::begin(pool).await?;
    let found = walk(&mut listing, filter, None, most as usize + 1, budget).await?;
    listing.end().await?;
    let counted = u32::try_from(found.ids.len()).unwrap_or(u32::MAX);
    Ok(Count { tasks: counted.min(most), is_capped: counted > most || found.stopped_at.is_some() })
}

/// What a walk has found.
struct Found {
    ids: Vec<Uuid>,
    /// Everything from here on, this id included, has been looked at; nothing when all tasks have been.
    stopped_at: Option<Uuid>,
}

/// The first window, and the largest one, in tasks. What is compared for each task may be a megabyte of JSON: the windows grow only
/// with what they were seen to cost.
const WINDOW_TASKS: u32 = 250;
const WINDOW_TASKS_MAX: u32 = 50_000;

/// What a window should take: short against the budget, long against a round trip.
const WINDOW_TIME: Duration = Duration::from_millis(10);

/// Looks for ids, newest first.
async fn walk(
    listing: &mut Listing,
    filter: &Filter,
    after: Option<Cursor>,
    wanted: usize,
    budget: Budget,
) -> Result<Found, Error> {
    let mut range = range(filter, after);
    let mut found = Found { ids: Vec::new(), stopped_at: None };
    let source = Source::choose(listing, filter).await?;
    let deadline = Instant::now() + budget.time;
    let (mut size, mut looked_at) = (WINDOW_TASKS, 0_u32);
    while range.lowest < range.below {
        if looked_at >= budget.tasks || Instant::now() >= deadline {
            found.stopped_at = Some(range.below);
            break;
        }
        let started = Instant::now();
        let window = source.window(listing, range, size.min(budget.tasks - looked_at)).await?;
        // States of steps are looked up apart, and rule most candidates out.
        let room = if steps::are_checked(filter) { steps::CANDIDATES_MAX } else { wanted - found.ids.len() };
        let candidates = candidates(listing, filter, &window, room).await?;
        let last = candidates.last().filter(|_| candidates.len() == room).map(|candidate| candidate.id);
        let mut checked = steps::check(listing, filter, candidates, deadline).await?;
        found.ids.append(&mut checked.matching);
        if found.ids.len() >= wanted {
            found.ids.truncate(wanted);
            break;
        }
        range.below = checked.stopped_at.or(last).unwrap_or(window.range.lowest);
        looked_at = looked_at.saturating_add(window.tasks);
        size = next_size(size, started.elapsed());
    }
    Ok(found)
}

/// Four times as many tasks after a window that took much less than it should, fewer after one that took longer.
fn next_size(size: u32, took: Duration) -> u32 {
    let aimed = f64::from(size) * WINDOW_TIME.as_secs_f64() / took.as_secs_f64().max(1e-6);
    (aimed as u32).clamp(size / 8, size.saturating_mul(4)).clamp(16, WINDOW_TASKS_MAX)
}

/// The ids that the filter's times and ids leave, and the cursor.
fn range(filter: &Filter, after: Option<Cursor>) -> Range {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let at = |moment: Option<crate::filter::Moment>| moment.map(|moment| first_id(moment.at_ms(now_ms)));
    let prefixes = filter.id.any.iter().map(|prefix| prefix.range());
    let (first, last) = prefixes.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1))).unzip();
    let past_last = last.map(|last| Uuid::from_u128(last.as_u128().saturating_add(1)));
    let below = [at(filter.until), past_last, after.map(Cursor::id)];
    Range {
        lowest: [at(filter.since), first].into_iter().flatten().max().unwrap_or(Uuid::nil()),
        below: below.into_iter().flatten().min().unwrap_or(Uuid::max()),
    }
}

/// The smallest version 7 UUID of a time, as `tasker.uuid_at`.
fn first_id(ms: i64) -> Uuid {
    // 48 bits of milliseconds reach beyond the year 10000.
    Uuid::from_u128(u128::from(ms.max(0).cast_unsigned() & 0xFFFF_FFFF_FFFF) << 80)
}

/// When the task with this id was created, by its broker's clock.
fn created_ms(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).expect("48 bits")
}

/// A task of a window that fulfils all that one statement can see.
struct Candidate {
    id: Uuid,
    /// Steps of its template.
    steps: u32,
}

async fn candidates(
    listing: &mut Listing,
    filter: &Filter,
    window: &Window,
    most: usize,
) -> Result<Vec<Candidate>, Error> {
    let steps = if steps::are_checked(filter) {
        ", (SELECT step.step_number + 1 FROM tasker.template_steps AS step
            WHERE step.template_id = task.template_id ORDER BY step.step_number DESC LIMIT 1)"
    } else {
        ", 0"
    };
    let mut sql = Sql::new("SELECT task.task_id");
    sql.add(steps).add(
        " AS steps
         FROM tasker.tasks AS task WHERE task.task_id >= ",
    );
    sql.bind(window.range.lowest).add(" AND task.task_id < ").bind(window.range.below);
    if let Some(ids) = &window.ids {
        sql.add(" AND task.task_id = ANY (").bind(ids).add(")");
    }
    condition::add(&mut sql, filter);
    sql.add(" ORDER BY task.task_id DESC LIMIT ").bind(i64::try_from(most).unwrap_or(i64::MAX));
    let rows = listing.rows(sql).await?;
    let candidate = |row: &sqlx::postgres::PgRow| {
        let steps = row.try_get::<Option<i32>, _>("steps")?.unwrap_or(0);
        Ok(Candidate { id: row.try_get("task_id")?, steps: steps.max(0).cast_unsigned() })
    };
    rows.iter().map(candidate).collect()
}
