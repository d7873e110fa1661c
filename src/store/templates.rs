//! Templates as stored: the definition in YAML, and its steps as rows for SQL.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::postgres::PgBindIterExt;
use sqlx::{PgConnection, PgPool, Row};
use tasker_engine::{Template, TemplateKey, TemplateSource};

use super::bind::integer_array;
use super::error::Error;
use super::json::{JsonBytes, JsonText};

/// A definition as it was registered. The caller parses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTemplate {
    /// Its name.
    pub key: TemplateKey,
    /// The YAML as given.
    pub yaml: Arc<str>,
    /// SHA-256 of the YAML.
    pub digest: [u8; 32],
    /// The environment that it was compiled for.
    pub environment: Option<Arc<str>>,
    /// For people.
    pub description: Option<Arc<str>>,
    /// Class whose `initialize_task` may adjust or refuse a request.
    pub task_handler_class: Option<Arc<str>>,
    /// JSON object for that class.
    pub handler_config: Option<Arc<str>>,
}

/// Every stored template, by key.
pub async fn stored_templates(pool: &PgPool) -> Result<Vec<StoredTemplate>, Error> {
    all(&mut *pool.acquire().await?).await
}

pub(super) async fn all(session: &mut PgConnection) -> Result<Vec<StoredTemplate>, Error> {
    let rows = sqlx::query(
        "SELECT namespace, name, version, definition, digest, environment, description, task_handler_class,
             handler_config
         FROM tasker.task_templates ORDER BY template_id",
    )
    .fetch_all(session)
    .await?;
    let mut templates = Vec::with_capacity(rows.len());
    for row in rows {
        let key = key(&row)?;
        let digest = <[u8; 32]>::try_from(row.try_get::<&[u8], _>("digest")?)
            .map_err(|_| Error::corrupt(format!("the digest of template {key} is not one of SHA-256")))?;
        let handler_config = row.try_get::<Option<JsonBytes>, _>("handler_config")?;
        templates.push(StoredTemplate {
            key,
            yaml: row.try_get::<&str, _>("definition")?.into(),
            digest,
            environment: row.try_get::<Option<&str>, _>("environment")?.map(Arc::from),
            description: row.try_get::<Option<&str>, _>("description")?.map(Arc::from),
            task_handler_class: row.try_get::<Option<&str>, _>("task_handler_class")?.map(Arc::from),
            handler_config: handler_config.map(|json| String::from_utf8_lossy(&json.0).into()),
        });
    }
    Ok(templates)
}

/// The numbers under which templates are stored.
pub(super) async fn ids(session: &mut PgConnection) -> Result<HashMap<TemplateKey, i32>, Error> {
    let rows = sqlx::query("SELECT template_id, namespace, name, version FROM tasker.task_templates")
        .fetch_all(session)
        .await?;
    rows.iter().map(|row| Ok((key(row)?, row.try_get("template_id")?))).collect()
}

fn key(row: &sqlx::postgres::PgRow) -> Result<TemplateKey, Error> {
    Ok(TemplateKey {
        namespace: row.try_get::<&str, _>("namespace")?.into(),
        name: row.try_get::<&str, _>("name")?.into(),
        version: row.try_get::<&str, _>("version")?.into(),
    })
}

/// Stores templates, and says under which numbers. One that is stored already must have the same content.
pub(super) async fn store(
    session: &mut PgConnection,
    sources: &[&TemplateSource],
) -> Result<Vec<(TemplateKey, i32)>, Error> {
    let mut stored = Vec::with_capacity(sources.len());
    for source in sources {
        let key = &source.template.key;
        let inserted: Option<i32> = sqlx::query_scalar(
            "INSERT INTO tasker.task_templates (namespace, name, version, definition, digest, description,
                 task_handler_class, handler_config, environment)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING template_id",
        )
        .bind(&*key.namespace)
        .bind(&*key.name)
        .bind(&*key.version)
        .bind(&*source.yaml)
        .bind(source.digest.as_slice())
        .bind(source.description.as_deref())
        .bind(source.task_handler_class.as_deref())
        .bind(source.handler_config.as_deref().map(|json| JsonText(json.as_bytes())))
        .bind(source.environment.as_deref())
        .fetch_optional(&mut *session)
        .await?;
        let id = match inserted {
            Some(id) => {
                store_steps(session, id, &source.template).await?;
                id
            }
            None => same_content(session, source).await?,
        };
        stored.push((key.clone(), id));
    }
    Ok(stored)
}

async fn same_content(session: &mut PgConnection, source: &TemplateSource) -> Result<i32, Error> {
    let key = &source.template.key;
    let row = sqlx::query(
        "SELECT template_id, digest = $4 AS same FROM tasker.task_templates
         WHERE namespace = $1 AND name = $2 AND version = $3",
    )
    .bind(&*key.namespace)
    .bind(&*key.name)
    .bind(&*key.version)
    .bind(source.digest.as_slice())
    .fetch_one(session)
    .await?;
    if row.try_get("same")? {
        return Ok(row.try_get("template_id")?);
    }
    Err(Error::Refused {
        sqlstate: "23505".into(),
        message: format!("template {key} is stored with another content"),
        constraint: Some("task_templates_namespace_name_version_key".into()),
    })
}

async fn store_steps(session: &mut PgConnection, id: i32, template: &Template) -> Result<(), Error> {
    let steps = || template.steps.iter();
    sqlx::query(
        "INSERT INTO tasker.template_steps (template_id, step_number, name, handler, retryable, retry_limit, skippable,
             timeout_ms, dependent_system, inputs, parents)
         SELECT $1, unnest($2::integer[]), unnest($3::text[]), unnest($4::text[]), unnest($5::boolean[]),
             unnest($6::integer[]), unnest($7::boolean[]), unnest($8::bigint[]), unnest($9::text[]), unnest($10::json[]),
             unnest($11::text[])::integer[]",
    )
    .bind(id)
    .bind((0_i32..).zip(steps()).map(|(number, _)| number).bind_iter())
    .bind(steps().map(|step| &*step.name).bind_iter())
    .bind(steps().map(|step| &*step.handler_class).bind_iter())
    .bind(steps().map(|step| step.retryable).bind_iter())
    .bind(steps().map(|step| i32::try_from(step.retry_limit).unwrap_or(i32::MAX)).bind_iter())
    .bind(steps().map(|step| step.skippable).bind_iter())
    .bind(steps().map(|step| i64::try_from(step.timeout_ms).unwrap_or(i64::MAX)).bind_iter())
    .bind(steps().map(|step| step.dependent_system.as_deref()).bind_iter())
    .bind(steps().map(|step| JsonText(if step.inputs.is_empty() { b"{}" } else { &step.inputs })).bind_iter())
    .bind((0..template.dag.len()).map(|step| integer_array(template.dag.parents(step))).bind_iter())
    .execute(session)
    .await?;
    Ok(())
}
