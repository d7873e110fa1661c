//! A month of tasks: what of it leaves, what stays, and the exchange of its partitions for smaller ones.
//!
//! What stays is copied into tables of its own while the month is in use, and these take the place of its partitions in one
//! short transaction: nothing is deleted row by row, and writers stand still only for the exchange. Rows of ended tasks
//! never change, except when an operator acts on the task, and then there is a row in `operator_actions`: if one came while
//! the copies were made, they are thrown away. Rows of tasks that run are copied again when nobody can write.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tracing::debug;
use uuid::Uuid;

use super::archive::Archived;
use super::month::Month;
use super::report::{MonthReport, TableReport};
use super::{LOCK_PAUSE, LOCK_TRIES};
use crate::store::Error;

/// Tables by month of a task or batch; the tasks come first, since the others follow from them.
pub(super) const TABLES: [Table; 6] = [
    Table { name: "tasks", key: "task_id" },
    Table { name: "step_outcomes", key: "task_id" },
    Table { name: "step_attempts_failed", key: "task_id" },
    Table { name: "step_returns", key: "task_id" },
    Table { name: "batches", key: "batch_id" },
    Table { name: "batch_closings", key: "batch_id" },
];

/// Unfinished tasks, or open batches, of a month that is worked on: they are copied again while nobody can write.
const LIVE_MAX: i64 = 10_000;

#[derive(Clone, Copy)]
pub(super) struct Table {
    pub name: &'static str,
    key: &'static str,
}

/// What holds while a month is worked on.
pub(super) struct Scene {
    /// The condition on `task` for leaving.
    pub leaving: String,
    /// How many groups each lane had written before anything was read.
    pub seqs: Vec<(i16, i64)>,
}

/// Copies of what may change at any time.
#[derive(Default)]
pub(super) struct Live {
    /// Unfinished tasks, and those that are in an open batch.
    tasks: Vec<Uuid>,
    /// Batches without a closing.
    batches: Vec<Uuid>,
}

/// How an exchange ended.
pub(super) enum Exchange {
    /// Nobody could write, or begin to read, for this long.
    Done(Duration),
    /// An operator has acted on one of the tasks meanwhile.
    Disturbed,
    /// Somebody reads the tables all the time.
    Locked,
}

/// The month as it is.
pub(super) struct Survey {
    pub month: Month,
    /// Its partitions, those that exist.
    tables: Vec<Table>,
    pub report: MonthReport,
}

impl Survey {
    /// Counts. None when nothing of the month leaves.
    pub async fn of(session: &mut PgConnection, month: Month, scene: &Scene) -> Result<Option<Survey>, Error> {
        let mut tables = Vec::new();
        for table in TABLES {
            if exists(session, &partition(table, month)).await? {
                tables.push(table);
            }
        }
        let mut survey = Survey { month, tables, report: MonthReport::new(month) };
        survey.count_tasks(session, scene).await?;
        let (leave, stay) = (sum(&survey.report.tasks_left), sum(&survey.report.tasks_kept));
        if leave == 0 && stay > 0 {
            return Ok(None);
        }
        for table in survey.tables.clone() {
            let part = partition(table, month);
            let sql = format!(
                "SELECT count(*) AS total, count(*) FILTER (WHERE {}) AS kept,
                     pg_total_relation_size('tasker.{part}') AS bytes FROM tasker.{part} AS row",
                survey.stays(table, scene)
            );
            let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *session).await?;
            let (total, kept): (i64, i64) = (row.try_get("total")?, row.try_get("kept")?);
            let bytes: i64 = row.try_get("bytes")?;
            survey.report.tables.push(TableReport {
                partition: part,
                rows_left: (total - kept).unsigned_abs(),
                rows_kept: kept.unsigned_abs(),
                bytes_before: bytes.unsigned_abs(),
            });
        }
        let all_stay = survey.report.tables.iter().all(|table| table.rows_left == 0 && table.rows_kept > 0);
        Ok((!survey.tables.is_empty() && !all_stay).then_some(survey))
    }

    async fn count_tasks(&mut self, session: &mut PgConnection, scene: &Scene) -> Result<(), Error> {
        if !self.has("tasks") {
            return Ok(());
        }
        let sql = format!(
            "SELECT coalesce(final_state, 'unfinished') AS state, count(*) FILTER (WHERE {leaving}) AS leaving,
                 count(*) FILTER (WHERE NOT {leaving}) AS staying
             FROM tasker.tasks{suffix} AS task GROUP BY 1",
            leaving = scene.leaving,
            suffix = self.month.suffix()
        );
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(session).await? {
            let state: String = row.try_get("state")?;
            for (column, counts) in [("leaving", &mut self.report.tasks_left), ("staying", &mut self.report.tasks_kept)]
            {
                let count: i64 = row.try_get(column)?;
                if count > 0 {
                    counts.insert(state.clone(), count.unsigned_abs());
                }
            }
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table.name == name)
    }

    /// The condition on `row` for staying: a task's rows stay with it, and a batch stays while it is open or one of its
    /// tasks does. Tasks are older than their batches; the day is for clocks that were set back.
    fn stays(&self, table: Table, scene: &Scene) -> String {
        let (leaving, suffix) = (&scene.leaving, self.month.suffix());
        let batch_stays = |batch: &str| {
            format!(
                "({batch}.batch_id IN (
                     SELECT sent.batch_id FROM tasker.batches{suffix} AS sent
                     CROSS JOIN LATERAL unnest(sent.task_ids) AS item (task_id)
                     JOIN tasker.tasks AS task ON task.task_id = item.task_id
                     WHERE task.task_id < tasker.uuid_at({next} + interval '1 day') AND NOT {leaving})
                  OR {batch}.batch_id >= (SELECT lane.oldest_open_batch FROM tasker.lanes AS lane
                                          WHERE lane.lane = {batch}.lane)
                     AND NOT EXISTS (SELECT FROM tasker.batch_closings AS closing
                                     WHERE closing.batch_id = {batch}.batch_id))",
                next = self.month.next().start(),
            )
        };
        match table.name {
            "tasks" => format!("NOT {}", leaving.replace("task.", "row.")),
            "batches" => batch_stays("row"),
            "batch_closings" if self.has("batches") => format!(
                "EXISTS (SELECT FROM tasker.batches{suffix} AS batch
                         WHERE batch.batch_id = row.batch_id AND {})",
                batch_stays("batch")
            ),
            _ if table.key == "task_id" && self.has("tasks") => format!(
                "EXISTS (SELECT FROM tasker.tasks{suffix} AS task WHERE task.task_id = row.task_id AND NOT {leaving})"
            ),
            _ => "false".to_owned(),
        }
    }

    /// Copies what stays.
    pub async fn keep(&self, session: &mut PgConnection, scene: &Scene) -> Result<(), Error> {
        for &table in &self.tables {
            let (part, kept) = (partition(table, self.month), kept(table, self.month));
            let (from, to) = self.range();
            let key = table.key;
            run(session, format!("CREATE TABLE tasker.{kept} (LIKE tasker.{part} INCLUDING ALL)")).await?;
            if table.name == "tasks" {
                // As `ensure_partitions` has it.
                run(session, format!("ALTER TABLE tasker.{kept} SET (fillfactor = 80)")).await?;
            }
            let stays = self.stays(table, scene);
            run(session, format!("INSERT INTO tasker.{kept} SELECT row.* FROM tasker.{part} AS row WHERE {stays}"))
                .await?;
            // With it Postgres need not look at the rows when the table is attached.
            run(
                session,
                format!(
                    "ALTER TABLE tasker.{kept} ADD CONSTRAINT in_month
                     CHECK ({key} IS NOT NULL AND {key} >= {from} AND {key} < {to})"
                ),
            )
            .await?;
        }
        Ok(())
    }

    /// Drops the copies.
    pub async fn discard(&self, session: &mut PgConnection) -> Result<(), Error> {
        for table in TABLES {
            run(session, format!("DROP TABLE IF EXISTS tasker.{}", kept(table, self.month))).await?;
        }
        Ok(())
    }

    /// What of the copies may change at any time. None when it is too much.
    pub async fn live(&self, session: &mut PgConnection, open: &[Uuid]) -> Result<Option<Live>, Error> {
        let (suffix, mut live) = (self.month.suffix(), Live::default());
        if self.has("tasks") {
            let sql = format!(
                "SELECT task_id FROM tasker.tasks{suffix}_kept WHERE final_state IS NULL OR task_id = ANY ($1) LIMIT $2"
            );
            let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(open).bind(LIVE_MAX + 1);
            live.tasks = query.fetch_all(&mut *session).await?;
        }
        if self.has("batches") && self.has("batch_closings") {
            let sql = format!(
                "SELECT batch_id FROM tasker.batches{suffix}_kept AS batch
                 WHERE NOT EXISTS (SELECT FROM tasker.batch_closings{suffix}_kept AS closing
                                   WHERE closing.batch_id = batch.batch_id) LIMIT $1"
            );
            live.batches = sqlx::query_scalar(AssertSqlSafe(sql)).bind(LIVE_MAX + 1).fetch_all(session).await?;
        }
        let most = live.tasks.len().max(live.batches.len());
        Ok(i64::try_from(most).is_ok_and(|most| most <= LIVE_MAX).then_some(live))
    }

    /// Puts the copies in the place of the partitions. A lock that is not free is waited for briefly, because whoever wants
    /// to write waits behind us, and then asked for again.
    pub async fn exchange(
        &self,
        session: &mut PgConnection,
        scene: &Scene,
        live: &Live,
        archived: Option<&Archived>,
    ) -> Result<Exchange, Error> {
        for tried in 0..LOCK_TRIES {
            if tried > 0 {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            match self.try_exchange(session, scene, live, archived).await {
                Ok(Some(took)) => return Ok(Exchange::Done(took)),
                Ok(None) => return Ok(Exchange::Disturbed),
                Err(error) if super::is_lock_timeout(&error) => debug!(month = %self.month, tried, "tables are in use"),
                Err(error) => return Err(error),
            }
        }
        Ok(Exchange::Locked)
    }

    async fn try_exchange(
        &self,
        session: &mut PgConnection,
        scene: &Scene,
        live: &Live,
        archived: Option<&Archived>,
    ) -> Result<Option<Duration>, Error> {
        let mut transaction = session.begin().await?;
        let begun = Instant::now();
        run(&mut transaction, super::briefly()).await?;
        let names: Vec<String> = TABLES.iter().map(|table| format!("tasker.{}", table.name)).collect();
        run(&mut transaction, format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", names.join(", "))).await?;
        run(&mut transaction, "SET LOCAL statement_timeout = 0".to_owned()).await?;
        if self.is_disturbed(&mut transaction, scene).await? {
            transaction.rollback().await?;
            return Ok(None);
        }
        for &table in &self.tables {
            self.copy_again(&mut transaction, table, live).await?;
        }
        for &table in &self.tables {
            self.swap(&mut transaction, table).await?;
        }
        let (from, to) = self.range();
        for table in ["operator_actions", "task_reopenings"] {
            let sql = format!(
                "DELETE FROM tasker.{table} AS row WHERE row.task_id >= {from} AND row.task_id < {to}
                 AND NOT EXISTS (SELECT FROM tasker.tasks AS task WHERE task.task_id = row.task_id)"
            );
            run(&mut transaction, sql).await?;
        }
        self.record(&mut transaction, archived).await?;
        transaction.commit().await?;
        Ok(Some(begun.elapsed()))
    }

    /// Whether an operator has acted on a task of the month since the beginning.
    async fn is_disturbed(&self, session: &mut PgConnection, scene: &Scene) -> Result<bool, Error> {
        let (from, to) = self.range();
        let sql = format!(
            "SELECT EXISTS (
                 SELECT FROM tasker.operator_actions AS action
                 LEFT JOIN (SELECT unnest($1::smallint[]) AS lane, unnest($2::bigint[]) AS seq) AS known
                        ON known.lane = action.lane
                 WHERE action.task_id >= {from} AND action.task_id < {to} AND action.seq > coalesce(known.seq, 0))"
        );
        let (lanes, seqs): (Vec<i16>, Vec<i64>) = scene.seqs.iter().copied().unzip();
        Ok(sqlx::query_scalar(AssertSqlSafe(sql)).bind(lanes).bind(seqs).fetch_one(session).await?)
    }

    /// Rows of tasks and batches that were not at rest when they were copied.
    async fn copy_again(&self, session: &mut PgConnection, table: Table, live: &Live) -> Result<(), Error> {
        let (part, kept) = (partition(table, self.month), kept(table, self.month));
        let (key, keys) = match table.name {
            "batches" => return Ok(()),
            "batch_closings" => ("batch_id", &live.batches),
            _ => ("task_id", &live.tasks),
        };
        if keys.is_empty() {
            return Ok(());
        }
        for sql in [
            format!("DELETE FROM tasker.{kept} WHERE {key} = ANY ($1)"),
            format!("INSERT INTO tasker.{kept} SELECT row.* FROM tasker.{part} AS row WHERE row.{key} = ANY ($1)"),
        ] {
            sqlx::query(AssertSqlSafe(sql)).bind(keys).execute(&mut *session).await?;
        }
        Ok(())
    }

    async fn swap(&self, session: &mut PgConnection, table: Table) -> Result<(), Error> {
        let (part, kept) = (partition(table, self.month), kept(table, self.month));
        let (parent, (from, to)) = (table.name, self.range());
        run(session, format!("DROP TABLE tasker.{part}")).await?;
        let sql = format!("SELECT EXISTS (SELECT FROM tasker.{kept})");
        if !sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *session).await? {
            return run(session, format!("DROP TABLE tasker.{kept}")).await;
        }
        run(session, format!("ALTER TABLE tasker.{kept} RENAME TO {part}")).await?;
        run(
            session,
            format!("ALTER TABLE tasker.{parent} ATTACH PARTITION tasker.{part} FOR VALUES FROM ({from}) TO ({to})"),
        )
        .await?;
        run(session, format!("ALTER TABLE tasker.{part} DROP CONSTRAINT in_month")).await
    }

    async fn record(&self, session: &mut PgConnection, archived: Option<&Archived>) -> Result<(), Error> {
        let json = |counts: &BTreeMap<String, u64>| serde_json::to_string(counts).unwrap_or_default();
        let totals = |of: fn(&TableReport) -> u64| self.report.tables.iter().map(of).sum::<u64>().cast_signed();
        sqlx::query(
            "INSERT INTO tasker.prunings (subject, month, tasks_left, tasks_kept, rows_left, bytes_before, archive, sha256)
             VALUES ('tasks', $1::date, $2::json, $3::json, $4, $5, $6, $7)",
        )
        .bind(self.month.first_day())
        .bind(json(&self.report.tasks_left))
        .bind(json(&self.report.tasks_kept))
        .bind(totals(|table| table.rows_left))
        .bind(totals(|table| table.bytes_before))
        .bind(archived.map(|archived| archived.file.as_str()))
        .bind(archived.map(|archived| archived.sha256.as_str()))
        .execute(session)
        .await?;
        Ok(())
    }

    /// Where the month's rows of a table of tasks are; asked for directly, they cost half.
    pub fn source(&self, name: &str) -> String {
        let suffix = if self.has(name) { self.month.suffix() } else { String::new() };
        format!("tasker.{name}{suffix}")
    }

    /// The keys of the month, from and up to.
    pub fn range(&self) -> (String, String) {
        (format!("tasker.uuid_at({})", self.month.start()), format!("tasker.uuid_at({})", self.month.next().start()))
    }
}

fn partition(table: Table, month: Month) -> String {
    format!("{}{}", table.name, month.suffix())
}

fn kept(table: Table, month: Month) -> String {
    format!("{}{}_kept", table.name, month.suffix())
}

fn sum(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

async fn exists(session: &mut PgConnection, table: &str) -> Result<bool, Error> {
    let sql = "SELECT to_regclass('tasker.' || $1) IS NOT NULL";
    Ok(sqlx::query_scalar(sql).bind(table).fetch_one(session).await?)
}

pub(super) async fn run(session: &mut PgConnection, sql: String) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(session).await?;
    Ok(())
}
