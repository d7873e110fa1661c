//! Who may write: the lease of a lane.
//!
//! ```text
//!   free ──claim──► owned ──commit, renew──► owned (lease extended)
//!    ▲                │
//!    └──release, lease over (database clock), or the owner's Postgres session gone
//! ```
//! Each claim raises the epoch. An owner keeps the lane after its lease ran out until somebody else claims it; from then
//! on its epoch is not the lane's any more and it cannot write.

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::connect;
use super::error::Error;
use super::migrate::ensure_partitions;
use super::writer::Writer;

/// The broker as it introduces itself to the database.
#[derive(Clone, Debug)]
pub struct Broker {
    /// New for each process.
    pub id: Uuid,
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

/// Takes a lane that is free, whose lease is over, or whose owner's session is gone; otherwise [`Error::Held`].
pub async fn claim(url: &str, broker: &Broker, lane: i16, lease: Duration) -> Result<Writer, Error> {
    let mut session = connect::writer(url).await?;
    ensure_partitions(&mut session).await?;
    let mut transaction = session.begin().await?;
    sqlx::query("INSERT INTO tasker.lanes (lane) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(lane)
        .execute(&mut *transaction)
        .await?;
    check_free(&mut transaction, lane).await?;
    sqlx::query(
        "UPDATE tasker.brokers AS broker SET ended_at = now() FROM tasker.lanes AS lane
         WHERE lane.lane = $1 AND broker.broker_id = lane.owner AND broker.ended_at IS NULL",
    )
    .bind(lane)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO tasker.brokers (broker_id, host, pid, version) VALUES ($1, $2, $3, $4)
         ON CONFLICT (broker_id) DO UPDATE SET ended_at = NULL",
    )
    .bind(broker.id)
    .bind(&broker.host)
    .bind(i64::from(broker.pid))
    .bind(&broker.version)
    .execute(&mut *transaction)
    .await?;
    let row = sqlx::query(
        "UPDATE tasker.lanes SET epoch = epoch + 1, owner = $2,
             expires_at = clock_timestamp() + $3 * interval '1 ms', backend_pid = pg_backend_pid(),
             backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
         WHERE lane = $1 RETURNING epoch, seq",
    )
    .bind(lane)
    .bind(broker.id)
    .bind(milliseconds(lease))
    .fetch_one(&mut *transaction)
    .await?;
    let (epoch, seq) = (row.try_get("epoch")?, row.try_get("seq")?);
    transaction.commit().await?;
    Writer::new(url, session, broker.id, lane, epoch, seq, lease).await
}

/// Locks the lane's row and looks whether its owner is still there. A session whose start Postgres does not show to us
/// counts as the owner's: better to wait for the lease than to take the lane from somebody alive.
async fn check_free(session: &mut PgConnection, lane: i16) -> Result<(), Error> {
    let row = sqlx::query("SELECT owner, backend_pid FROM tasker.lanes WHERE lane = $1 FOR UPDATE")
        .bind(lane)
        .fetch_one(&mut *session)
        .await?;
    let Some(owner) = row.try_get::<Option<Uuid>, _>("owner")? else { return Ok(()) };
    let remaining_ms: Option<i64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM lane.expires_at - clock_timestamp()) * 1000)::bigint FROM tasker.lanes AS lane
         WHERE lane.lane = $1 AND lane.expires_at > clock_timestamp()
           AND EXISTS (SELECT FROM pg_stat_activity AS session WHERE session.pid = lane.backend_pid
                       AND coalesce(session.backend_start = lane.backend_start, true))",
    )
    .bind(lane)
    .fetch_optional(&mut *session)
    .await?;
    match remaining_ms {
        Some(remaining_ms) => Err(Error::Held { lane, owner, remaining_ms }),
        None => Ok(()),
    }
}

/// A duration as Postgres takes it.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
