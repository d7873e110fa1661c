//! Brings the schema up to date, and keeps partitions ready for the months to come.

use std::str::FromStr;

use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::error::Error;

/// The migrations, embedded. They only go forward.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Months for which partitions are kept ready, the current one included: a broker that is restarted, or calls
/// [`ensure_partitions`], once in two months never writes into a default partition.
const MONTHS_READY: i32 = 3;

/// What [`migrate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationReport {
    /// Migrations that were run now.
    pub applied: usize,
    /// The version of the schema.
    pub version: i64,
    /// Partitions that were made now.
    pub partitions: i32,
}

/// Runs the migrations that are missing and makes the partitions of this month and the next two.
pub async fn migrate(url: &str) -> Result<MigrationReport, Error> {
    let mut session = PgConnectOptions::from_str(url)?.application_name("tasker migrate").connect().await?;
    session.ensure_migrations_table(&MIGRATOR.table_name).await?;
    let before = session.list_applied_migrations(&MIGRATOR.table_name).await?.len();
    MIGRATOR.run(&mut session).await?;
    let after = session.list_applied_migrations(&MIGRATOR.table_name).await?;
    let partitions = ensure_partitions(&mut session).await?;
    session.close().await?;
    Ok(MigrationReport {
        applied: after.len().saturating_sub(before),
        version: after.iter().map(|migration| migration.version).max().unwrap_or(0),
        partitions,
    })
}

/// Makes the partitions of this month and the next two where they are missing, and says how many it made. To be called
/// daily by a broker that runs for long; claiming a lane calls it too.
pub async fn ensure_partitions(session: &mut PgConnection) -> Result<i32, Error> {
    let statement = "SELECT tasker.ensure_partitions((now() AT TIME ZONE 'UTC')::date, $1)";
    Ok(sqlx::query_scalar(statement).bind(MONTHS_READY).fetch_one(session).await?)
}
