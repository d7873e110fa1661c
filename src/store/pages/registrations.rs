//! Workers over time: their registration episodes.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tasker_engine::RegistrationId;

use super::{bounded, count};
use crate::store::error::Error;
use crate::store::listing::{Listing, Sql};

/// An episode of a worker, from its registration to its end. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its id.
    pub id: RegistrationId,
    /// Name of the worker.
    pub worker: String,
    /// Most steps at once.
    pub concurrency: u32,
    /// Host of the process.
    pub host: String,
    /// Id of the process.
    pub pid: i64,
    /// Language and version.
    pub language: String,
    /// Library and version.
    pub library: String,
    /// What it may run: `namespace/name@version`, with `*` for all names.
    pub templates: Vec<String>,
    /// When it began.
    pub registered_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
    /// Why: `superseded`, `reconnected`, `lost`, `unregistered` or `drained`.
    pub end_reason: Option<String>,
}

/// Episodes of one worker, or of all, older than one, newest first. The last row of a full page is where the next one goes on.
pub async fn registrations(
    pool: &PgPool,
    worker: Option<&str>,
    before: Option<RegistrationId>,
    limit: u32,
) -> Result<Vec<Registration>, Error> {
    let mut sql = Sql::new(
        "SELECT registration.registration_id, registration.worker, registration.concurrency, registration.host,
                registration.pid, registration.language, registration.library, registration.end_reason,
                ARRAY (SELECT may_run.namespace || '/' || coalesce(may_run.name, '*') || coalesce('@' || may_run.version, '')
                       FROM tasker.worker_templates AS may_run
                       WHERE may_run.registration_id = registration.registration_id ORDER BY may_run.position) AS templates,
                (extract(epoch FROM registration.registered_at) * 1000)::bigint AS registered_at_ms,
                (extract(epoch FROM registration.ended_at) * 1000)::bigint AS ended_at_ms
         FROM tasker.worker_registrations AS registration WHERE registration.registration_id < ",
    );
    sql.bind(before.map_or(uuid::Uuid::max(), |registration| registration.0));
    if let Some(worker) = worker {
        sql.add(" AND registration.worker = ").bind(worker);
    }
    sql.add(" ORDER BY registration.registration_id DESC LIMIT ").bind(bounded(limit));
    let mut listing = Listing::begin(pool).await?;
    let rows = listing.rows(sql).await?;
    listing.end().await?;
    rows.iter().map(registration).collect()
}

fn registration(row: &PgRow) -> Result<Registration, Error> {
    Ok(Registration {
        id: RegistrationId(row.try_get("registration_id")?),
        worker: row.try_get("worker")?,
        concurrency: count(row, "concurrency")?,
        host: row.try_get("host")?,
        pid: row.try_get("pid")?,
        language: row.try_get("language")?,
        library: row.try_get("library")?,
        templates: row.try_get("templates")?,
        registered_at_ms: row.try_get("registered_at_ms")?,
        ended_at_ms: row.try_get("ended_at_ms")?,
        end_reason: row.try_get("end_reason")?,
    })
}
