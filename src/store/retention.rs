//! Lets old rows leave, by age and state, a month of partitions at a time.
//!
//! ```text
//!   survey ──► copy what stays ──► archive what leaves ──► exchange the partitions ──► next month
//!     │                                                        │
//!     └── nothing leaves: next month                           └── an operator acted: survey again
//! ```
//! A run may end at any point: until the exchange has committed, nothing is gone, and the next run begins anew. One run at
//! a time works on a database; it holds an advisory lock.

mod age;
mod archive;
mod month;
mod records;
mod report;
mod tasks;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};
use tracing::info;
use uuid::Uuid;

use super::error::Error as StoreError;
use age::Ages;
use tasks::{Exchange, Scene, Survey};

pub use age::Days;
pub use month::Month;
pub use report::{MonthReport, RecordsReport, Report, TableReport};

/// The advisory lock of a run: any number that nothing else in the database uses.
const LOCK: i64 = 0x7461_736b_7072_756e;

/// How long locks are waited for, in milliseconds, all together. Whoever wants to write waits behind them as long.
const LOCK_WAIT_MS: u64 = 200;

/// Until it is asked for again.
const LOCK_PAUSE: Duration = Duration::from_secs(1);

/// How often it is asked for. Longer than any query of the broker takes.
const LOCK_TRIES: u32 = 90;

/// How often a month is begun again because an operator acted on one of its tasks.
const DISTURBANCES_MAX: u32 = 3;

/// Sessions of a run: no limit on statements, since a month is counted in one.
const SETTINGS: [(&str, &str); 5] =
    [("statement_timeout", "0"), ("lock_timeout", "5000"), ("timezone", "UTC"), ("jit", "off"), ("work_mem", "64MB")];

/// What to do.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// How long what is kept.
    pub days: Days,
    /// Where tasks are written to before they leave; nowhere when absent.
    pub archive: Option<PathBuf>,
    /// Only count.
    pub dry_run: bool,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive could not be written; what it was to hold is still in the database.
    #[error(transparent)]
    Archive(#[from] crate::archive::Error),
    /// Somebody else is at it.
    #[error("another run prunes this database")]
    Running,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        Error::Store(error.into())
    }
}

/// Lets leave what is old enough, or counts it.
pub async fn prune(url: &str, task: &Task) -> Result<Report, Error> {
    let options = PgConnectOptions::from_str(url)?.application_name("tasker prune").options(SETTINGS);
    let mut session = options.connect().await?;
    let free: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut session).await?;
    if !free {
        return Err(Error::Running);
    }
    let report = Run { session: &mut session, task }.run().await?;
    // The server learns late that a session is gone, and the next run would find the lock taken. After an error it has to do.
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(&mut session).await?;
    session.close().await?;
    Ok(report)
}

struct Run<'a> {
    session: &'a mut PgConnection,
    task: &'a Task,
}

impl Run<'_> {
    async fn run(&mut self) -> Result<Report, Error> {
        let mut report = Report::default();
        let ages = Ages::of(self.session, &self.task.days).await?;
        if !self.task.dry_run {
            self.clear().await?;
        }
        if let Some(newest) = ages.newest() {
            if !self.task.dry_run {
                self.sort_defaults(newest).await?;
            }
            for month in self.months(newest).await? {
                if let Some(reason) = self.prune_month(month, &ages, &mut report).await? {
                    // Batches of later months may belong to its tasks.
                    report.stopped = Some(reason);
                    return Ok(report);
                }
            }
        }
        for records in records::survey(self.session, &ages).await? {
            if !self.task.dry_run && !records::drop(self.session, &records).await? {
                report.stopped = Some(format!("{} is read all the time", records.partition));
                return Ok(report);
            }
            report.records.push(records);
        }
        if let Some(age) = ages.idempotency_keys {
            report.idempotency_keys = if self.task.dry_run {
                let open = self.open_tasks(ages.newest()).await?;
                records::count_keys(self.session, age, &ages.condition(&open)).await?
            } else {
                records::delete_keys(self.session, age).await?
            };
        }
        Ok(report)
    }

    /// One month. Says why it has to wait, if it has to.
    async fn prune_month(&mut self, month: Month, ages: &Ages, report: &mut Report) -> Result<Option<String>, Error> {
        for _ in 0..DISTURBANCES_MAX {
            // First of all: whatever comes later is seen to have come later.
            let seqs = self.seqs().await?;
            let open = self.open_tasks(Some(month.next())).await?;
            let scene = Scene { leaving: ages.condition(&open), seqs };
            let Some(mut survey) = Survey::of(self.session, month, &scene).await? else { return Ok(None) };
            if self.task.dry_run {
                report.months.push(survey.report);
                return Ok(None);
            }
            survey.keep(self.session, &scene).await?;
            let Some(live) = survey.live(self.session, &open).await? else {
                survey.discard(self.session).await?;
                return Ok(Some(format!("too many tasks of {month} are unfinished")));
            };
            let archived = match &self.task.archive {
                Some(folder) if survey.report.tasks_left.values().sum::<u64>() > 0 => {
                    Some(archive::write(self.session, folder, &survey, &scene).await?)
                }
                _ => None,
            };
            match survey.exchange(self.session, &scene, &live, archived.as_ref()).await? {
                Exchange::Done(stood_still) => {
                    let tasks: u64 = survey.report.tasks_left.values().sum();
                    info!(%month, tasks, ?stood_still, "a month of tasks has left");
                    survey.report.archive = archived.map(|archived| archived.file);
                    report.months.push(survey.report);
                    return Ok(None);
                }
                Exchange::Disturbed => {
                    info!(%month, "an operator acted on a task of the month; counting again");
                    survey.discard(self.session).await?;
                }
                Exchange::Locked => {
                    survey.discard(self.session).await?;
                    return Ok(Some("the tables of tasks are read all the time".to_owned()));
                }
            }
        }
        Ok(Some(format!("operators act on tasks of {month}")))
    }

    /// Drops the copies that an interrupted run has left behind.
    async fn clear(&mut self) -> Result<(), Error> {
        let sql = r"SELECT relname::text FROM pg_class WHERE relnamespace = 'tasker'::regnamespace AND relkind = 'r'
                    AND relname ~ '_y\d{4}m\d{2}_kept$'";
        for name in sqlx::query_scalar::<_, String>(sql).fetch_all(&mut *self.session).await? {
            tasks::run(self.session, format!("DROP TABLE tasker.{name}")).await?;
        }
        Ok(())
    }

    /// How many groups each lane has written.
    async fn seqs(&mut self) -> Result<Vec<(i16, i64)>, Error> {
        let rows = sqlx::query("SELECT lane, seq FROM tasker.lanes").fetch_all(&mut *self.session).await?;
        rows.iter().map(|row| Ok((row.try_get("lane")?, row.try_get("seq")?))).collect()
    }

    /// Tasks from before this month that are in an open batch.
    async fn open_tasks(&mut self, before: Option<Month>) -> Result<Vec<Uuid>, Error> {
        let Some(before) = before else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT DISTINCT item.task_id FROM tasker.lanes AS lane
             JOIN tasker.batches AS batch ON batch.lane = lane.lane AND batch.batch_id >= lane.oldest_open_batch
             CROSS JOIN LATERAL unnest(batch.task_ids) AS item (task_id)
             WHERE item.task_id < tasker.uuid_at({})
               AND NOT EXISTS (SELECT FROM tasker.batch_closings AS closing WHERE closing.batch_id = batch.batch_id)",
            before.start()
        );
        Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *self.session).await?)
    }

    /// Months before this one that have a partition, the oldest first.
    async fn months(&mut self, before: Month) -> Result<Vec<Month>, Error> {
        let mut months = Vec::new();
        for table in tasks::TABLES {
            months.extend(children(self.session, table.name).await?.into_iter().map(|(_, month)| month));
        }
        months.sort_unstable();
        months.dedup();
        months.retain(|month| *month < before);
        Ok(months)
    }

    /// Gives rows that went into a default partition, because the broker ran for long without making others, a partition.
    async fn sort_defaults(&mut self, before: Month) -> Result<(), Error> {
        for (table, key) in [("tasks", "task_id"), ("batches", "batch_id")] {
            loop {
                // The first 48 bits are the time.
                let sql = format!(
                    "SELECT to_char(to_timestamp(('x' || translate(left({key}::text, 13), '-', ''))::bit(48)::bigint
                         / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM')
                     FROM tasker.{table}_default WHERE {key} < tasker.uuid_at({}) ORDER BY {key} LIMIT 1",
                    before.start()
                );
                let oldest: Option<String> =
                    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(&mut *self.session).await?;
                let Some(month) = oldest.as_deref().and_then(Month::parse) else { break };
                sqlx::query("SELECT tasker.ensure_partitions($1::date, 1)")
                    .bind(month.first_day())
                    .execute(&mut *self.session)
                    .await?;
            }
        }
        Ok(())
    }
}

/// The partitions of a table with their months, the oldest first; without the default one.
async fn children(session: &mut PgConnection, table: &str) -> Result<Vec<(String, Month)>, StoreError> {
    let sql = "SELECT child.relname::text FROM pg_inherits AS link JOIN pg_class AS child ON child.oid = link.inhrelid
               WHERE link.inhparent = ('tasker.' || $1)::regclass ORDER BY child.relname";
    let names: Vec<String> = sqlx::query_scalar(sql).bind(table).fetch_all(session).await?;
    Ok(names.into_iter().filter_map(|name| Month::of_partition(&name).map(|month| (name, month))).collect())
}

/// The settings of a transaction whose first statement waits for locks.
fn briefly() -> String {
    format!("SET LOCAL lock_timeout = '{LOCK_WAIT_MS}ms'; SET LOCAL statement_timeout = '{LOCK_WAIT_MS}ms'")
}

/// Whether locks were not free in time, or two sessions waited for each other.
fn is_lock_timeout(error: &StoreError) -> bool {
    let codes = ["55P03", "57014", "40P01"];
    matches!(error, StoreError::Unavailable { sqlstate: Some(code), .. } if codes.contains(&code.as_str()))
}
