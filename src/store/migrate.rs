//! Brings the schema up to date, and keeps partitions ready for the months to come.

use std::str::FromStr;
use std::sync::LazyLock;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::error::Error;

/// The migrations, embedded. They only go forward.
///
/// Their log is named with its schema: a role called `tasker` finds tables in a schema of its own name first, so that a
/// log without one would be another after the first migration than before.
pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.create_schema("tasker");
    migrator.dangerous_set_table_name("tasker._sqlx_migrations");
    migrator
});

/// Months for which partitions are kept ready, the current one included: a broker that is restarted, or calls
/// [`ensure_partitions`], once in two months never writes into a default partition.
const MONTHS_READY: i32 = 3;

/// What [`migrate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationReport {
    /// Migrations that were run now.
    pub applied: i64,
    /// The version of the schema.
    pub version: i64,
    /// Partitions that were made now.
    pub partitions: i32,
}

/// Runs the migrations that are missing and makes the partitions of this month and the next two.
pub async fn migrate(url: &str) -> Result<MigrationReport, Error> {
    let mut session = PgConnectOptions::from_str(url)?.application_name("tasker migrate").connect().await?;
    let before = if has_log(&mut session).await? { applied(&mut session).await?.0 } else { 0 };
    MIGRATOR.run(&mut session).await?;
    let (after, version) = applied(&mut session).await?;
    let partitions = ensure_partitions(&mut session).await?;
    session.close().await?;
    Ok(MigrationReport { applied: after - before, version, partitions })
}

/// The versions of the migrations that the database lacks. Changes nothing.
pub async fn missing_migrations(url: &str) -> Result<Vec<i64>, Error> {
    let mut session = PgConnectOptions::from_str(url)?.application_name("tasker migrate").connect().await?;
    let applied: Vec<i64> = if has_log(&mut session).await? {
        let sql = "SELECT version FROM tasker._sqlx_migrations WHERE success";
        sqlx::query_scalar(sql).fetch_all(&mut session).await?
    } else {
        Vec::new()
    };
    session.close().await?;
    Ok(MIGRATOR.iter().map(|migration| migration.version).filter(|version| !applied.contains(version)).collect())
}

async fn has_log(session: &mut PgConnection) -> Result<bool, Error> {
    let sql = "SELECT to_regclass('tasker._sqlx_migrations') IS NOT NULL";
    Ok(sqlx::query_scalar(sql).fetch_one(session).await?)
}

/// How many migrations were run, and the last one.
async fn applied(session: &mut PgConnection) -> Result<(i64, i64), Error> {
    let sql = "SELECT count(*), coalesce(max(version), 0) FROM tasker._sqlx_migrations";
    Ok(sqlx::query_as(sql).fetch_one(session).await?)
}

/// Makes the partitions of this month and the next two where they are missing, and says how many it made. To be called
/// daily by a broker that runs for long; claiming a lane calls it too.
pub async fn ensure_partitions(session: &mut PgConnection) -> Result<i32, Error> {
    let statement = "SELECT tasker.ensure_partitions((now() AT TIME ZONE 'UTC')::date, $1)";
    Ok(sqlx::query_scalar(statement).bind(MONTHS_READY).fetch_one(session).await?)
}
