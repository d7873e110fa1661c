//! Records of what was said and done, by month of the time: whole partitions leave. And idempotency keys, which are in no
//! partition and leave block by block.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::age::Ages;
use super::month::Month;
use super::report::RecordsReport;
use super::tasks::run;
use super::{LOCK_PAUSE, LOCK_TRIES, children};
use crate::store::Error;

/// Blocks of the table of keys that are looked through in one statement: some 10,000 keys.
const BLOCKS_AT_ONCE: i64 = 128;

/// Months of records that are old enough, the oldest first in each table.
pub(super) async fn survey(session: &mut PgConnection, ages: &Ages) -> Result<Vec<RecordsReport>, Error> {
    let mut found = Vec::new();
    for (table, age) in
        [("group_log", ages.group_log), ("commands", ages.commands), ("received_results", ages.received_results)]
    {
        let Some(age) = age else { continue };
        for (partition, _) in children(session, table).await?.into_iter().filter(|(_, month)| *month < age) {
            let sql = format!(
                "SELECT count(*) AS rows, pg_total_relation_size('tasker.{partition}') AS bytes FROM tasker.{partition}"
            );
            let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *session).await?;
            let (rows, bytes): (i64, i64) = (row.try_get("rows")?, row.try_get("bytes")?);
            let (rows_left, bytes_before) = (rows.unsigned_abs(), bytes.unsigned_abs());
            found.push(RecordsReport { partition, rows_left, bytes_before });
        }
    }
    Ok(found)
}

/// Drops one. `false` when somebody reads the table all the time.
pub(super) async fn drop(session: &mut PgConnection, records: &RecordsReport) -> Result<bool, Error> {
    for tried in 0..LOCK_TRIES {
        if tried > 0 {
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        match try_drop(session, records).await {
            Ok(()) => return Ok(true),
            Err(error) if super::is_lock_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

async fn try_drop(session: &mut PgConnection, records: &RecordsReport) -> Result<(), Error> {
    let partition = &records.partition;
    let mut transaction = session.begin().await?;
    run(&mut transaction, super::briefly()).await?;
    run(&mut transaction, format!("DROP TABLE tasker.{partition}")).await?;
    let month = Month::of_partition(partition).ok_or_else(|| Error::corrupt(format!("`{partition}` has no month")))?;
    let subject = partition.trim_end_matches(&month.suffix());
    sqlx::query("INSERT INTO tasker.prunings (subject, month, rows_left, bytes_before) VALUES ($1, $2::date, $3, $4)")
        .bind(subject)
        .bind(month.first_day())
        .bind(records.rows_left.cast_signed())
        .bind(records.bytes_before.cast_signed())
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// The condition on `key` for leaving: its request is old enough, and its task is gone, or goes in the same run.
fn keys_leave(age: Month, leaving: &str) -> String {
    format!(
        "key.task_id < tasker.uuid_at({})
         AND NOT EXISTS (SELECT FROM tasker.tasks AS task WHERE task.task_id = key.task_id AND NOT {leaving})",
        age.start()
    )
}

/// How many idempotency keys are old enough.
pub(super) async fn count_keys(session: &mut PgConnection, age: Month, leaving: &str) -> Result<u64, Error> {
    let sql = format!("SELECT count(*) FROM tasker.idempotency_keys AS key WHERE {}", keys_leave(age, leaving));
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(session).await?;
    Ok(count.unsigned_abs())
}

/// Deletes them, some blocks of the table at a time, so that no transaction is long. Returns how many there were.
pub(super) async fn delete_keys(session: &mut PgConnection, age: Month) -> Result<u64, Error> {
    let size = "SELECT pg_relation_size('tasker.idempotency_keys') / current_setting('block_size')::bigint";
    let blocks: i64 = sqlx::query_scalar(size).fetch_one(&mut *session).await?;
    let (mut from, mut deleted) = (0, 0);
    while from < blocks {
        let to = from + BLOCKS_AT_ONCE;
        let sql = format!(
            "DELETE FROM tasker.idempotency_keys AS key
             WHERE key.ctid >= '({from},0)'::tid AND key.ctid < '({to},0)'::tid AND {}",
            keys_leave(age, "false")
        );
        deleted += sqlx::query(AssertSqlSafe(sql)).execute(&mut *session).await?.rows_affected();
        from = to;
    }
    Ok(deleted)
}
