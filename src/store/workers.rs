//! Registration episodes without an end.

use std::sync::Arc;

use sqlx::{PgConnection, Row};
use tasker_engine::{Capability, RegistrationId, TemplateKey, WorkerSnapshot};

use super::error::Error;
use super::recover::number;

/// The workers of a lane, in order of registration.
pub(super) async fn unended(session: &mut PgConnection, lane: i16) -> Result<Vec<WorkerSnapshot>, Error> {
    let rows = sqlx::query(
        "SELECT registration_id, worker, incarnation, concurrency, host, pid, language, library, key_name,
             ARRAY (SELECT namespace FROM tasker.worker_templates AS may_run
                    WHERE may_run.registration_id = registration.registration_id ORDER BY position) AS namespaces,
             ARRAY (SELECT name FROM tasker.worker_templates AS may_run
                    WHERE may_run.registration_id = registration.registration_id ORDER BY position) AS names,
             ARRAY (SELECT version FROM tasker.worker_templates AS may_run
                    WHERE may_run.registration_id = registration.registration_id ORDER BY position) AS versions
         FROM tasker.worker_registrations AS registration
         WHERE lane = $1 AND ended_at IS NULL ORDER BY registered_at, registration_id",
    )
    .bind(lane)
    .fetch_all(session)
    .await?;
    let mut workers = Vec::with_capacity(rows.len());
    for row in rows {
        let namespaces: Vec<String> = row.try_get("namespaces")?;
        let names: Vec<Option<String>> = row.try_get("names")?;
        let versions: Vec<Option<String>> = row.try_get("versions")?;
        let columns = namespaces.into_iter().zip(names).zip(versions);
        workers.push(WorkerSnapshot {
            registration: RegistrationId(row.try_get("registration_id")?),
            name: row.try_get::<&str, _>("worker")?.into(),
            incarnation: row.try_get("incarnation")?,
            concurrency: number(&row, "concurrency")?,
            capabilities: columns.map(|((namespace, name), version)| capability(namespace, name, version)).collect(),
            host: row.try_get::<&str, _>("host")?.into(),
            pid: u32::try_from(row.try_get::<i64, _>("pid")?).unwrap_or(0),
            language: row.try_get::<&str, _>("language")?.into(),
            library: row.try_get::<&str, _>("library")?.into(),
            key: row.try_get::<Option<&str>, _>("key_name")?.map(Into::into),
        });
    }
    Ok(workers)
}

fn capability(namespace: String, name: Option<String>, version: Option<String>) -> Capability {
    let namespace = Arc::from(namespace);
    match (name, version) {
        (Some(name), Some(version)) => {
            Capability::Exact(TemplateKey { namespace, name: name.into(), version: version.into() })
        }
        (Some(name), None) => Capability::AnyVersion(namespace, name.into()),
        (None, _) => Capability::Namespace(namespace),
    }
}
