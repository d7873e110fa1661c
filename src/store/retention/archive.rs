//! Tasks as documents: one JSON object a task, made by Postgres, so that payloads are what was stored, digit for digit.

use std::path::Path;

use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use super::Error;
use super::tasks::{Scene, Survey};
use crate::archive::{Manifest, Writer};

/// Tasks read at once: a few megabytes of usual ones.
const TASKS_AT_ONCE: i64 = 200;

/// A complete archive.
pub(super) struct Archived {
    pub file: String,
    pub sha256: String,
}

/// Writes what leaves of a month. The files are complete and on the disk when this returns.
///
/// Runs that were cut off left no row in `prunings`: the next one takes the same name, so that each task that has left is in
/// exactly one file that counts.
pub(super) async fn write(
    session: &mut PgConnection,
    folder: &Path,
    survey: &Survey,
    scene: &Scene,
) -> Result<Archived, Error> {
    let month = survey.month;
    let count =
        "SELECT count(*) FROM tasker.prunings WHERE subject = 'tasks' AND month = $1::date AND archive IS NOT NULL";
    let before: i64 = sqlx::query_scalar(count).bind(month.first_day()).fetch_one(&mut *session).await?;
    let origin =
        "SELECT current_database() || ', made ' || (SELECT to_char(min(installed_on), 'YYYY-MM-DD HH24:MI:SS.US')
                  FROM tasker._sqlx_migrations)";
    let database: String = sqlx::query_scalar(origin).fetch_one(&mut *session).await?;
    let name = format!("tasks-{month}-{:03}", before + 1);
    let mut writer = Writer::create(folder, &name, &database)?;
    let sql = documents(survey, scene);
    let mut cursor = Uuid::nil();
    loop {
        let query = sqlx::query(AssertSqlSafe(sql.clone())).bind(cursor).bind(TASKS_AT_ONCE);
        let rows = query.fetch_all(&mut *session).await?;
        let Some(last) = rows.last() else { break };
        cursor = last.try_get("task_id")?;
        for row in &rows {
            writer.add(row.try_get("document")?)?;
        }
    }
    let manifest = Manifest {
        month: month.to_string(),
        database,
        states: survey.report.tasks_left.clone(),
        ..Manifest::default()
    };
    let manifest = writer.finish(manifest)?;
    Ok(Archived { file: folder.join(&manifest.file).display().to_string(), sha256: manifest.sha256 })
}

/// A page of leaving tasks after an id, with their documents. Batches of cancelled tasks may have left no other trace than
/// themselves, so these are searched by time, as `step_dispatches` does.
fn documents(survey: &Survey, scene: &Scene) -> String {
    let (from, to) = survey.range();
    format!(
        "WITH page AS MATERIALIZED (
             SELECT task.* FROM {tasks} AS task
             WHERE task.task_id >= {from} AND task.task_id < {to} AND task.task_id > $1 AND {leaving}
             ORDER BY task.task_id LIMIT $2
         ), span AS MATERIALIZED (
             SELECT tasker.uuid_at(min(created_at) - interval '5 minutes') AS first,
                    tasker.uuid_at(max(finished_at) + interval '5 minutes') AS last
             FROM page WHERE final_state = 'cancelled'
         ), given AS MATERIALIZED (
             SELECT task_id, batch_id FROM {outcomes}
             WHERE task_id IN (SELECT task_id FROM page) AND batch_id IS NOT NULL
             UNION SELECT task_id, batch_id FROM {failures} WHERE task_id IN (SELECT task_id FROM page)
             UNION SELECT task_id, batch_id FROM {returns} WHERE task_id IN (SELECT task_id FROM page)
             UNION SELECT item.task_id, batch.batch_id
                   FROM tasker.batches AS batch CROSS JOIN LATERAL unnest(batch.task_ids) AS item (task_id)
                   WHERE batch.batch_id > (SELECT first FROM span) AND batch.batch_id < (SELECT last FROM span)
                     AND item.task_id IN (SELECT task_id FROM page WHERE final_state = 'cancelled')
         )
         SELECT page.task_id, json_build_object(
             'format', 1,
             'task_id', page.task_id,
             'template', template.namespace || '/' || template.name || '@' || template.version,
             'state', page.final_state,
             'created_at', page.created_at,
             'finished_at', page.finished_at,
             'lane', page.lane,
             'created_seq', page.created_seq,
             'finished_seq', page.finished_seq,
             'request', json_build_object(
                 'context', page.context, 'options', page.options, 'priority', page.priority, 'run_at', page.run_at,
                 'idempotency_key', page.idempotency_key, 'initiator', page.initiator,
                 'source_system', page.source_system, 'reason', page.reason, 'tags', page.tags,
                 'correlation_id', page.correlation_id, 'bypass_steps', page.bypass_steps,
                 'traceparent', page.traceparent, 'tracestate', page.tracestate),
             'steps', (
                 SELECT json_agg(json_build_object(
                     'step_number', step.step_number, 'name', step.name, 'handler', step.handler,
                     'outcome', (SELECT to_json(outcome) FROM {outcomes} AS outcome
                                 WHERE outcome.task_id = page.task_id AND outcome.step_number = step.step_number),
                     'failed_attempts', (SELECT coalesce(json_agg(failure ORDER BY failure.attempt), '[]')
                                         FROM {failures} AS failure
                                         WHERE failure.task_id = page.task_id AND failure.step_number = step.step_number),
                     'returns', (SELECT coalesce(json_agg(back ORDER BY back.attempt, back.batch_id), '[]')
                                 FROM {returns} AS back
                                 WHERE back.task_id = page.task_id AND back.step_number = step.step_number)
                 ) ORDER BY step.step_number)
                 FROM tasker.template_steps AS step WHERE step.template_id = page.template_id),
             'batches', (
                 SELECT coalesce(json_agg(json_build_object(
                     'batch_id', batch.batch_id, 'worker', registration.worker,
                     'registration_id', batch.registration_id, 'seq', batch.seq, 'created_at', batch.created_at,
                     'deadline', batch.deadline,
                     'items', (SELECT json_agg(json_build_object('step_number', item.step_number, 'attempt', item.attempt)
                                               ORDER BY item.step_number)
                               FROM unnest(batch.task_ids, batch.step_numbers, batch.attempts)
                                   AS item (task_id, step_number, attempt) WHERE item.task_id = page.task_id),
                     'closing', (SELECT to_json(closing) FROM tasker.batch_closings AS closing
                                 WHERE closing.batch_id = batch.batch_id)
                 ) ORDER BY batch.batch_id), '[]')
                 FROM given JOIN tasker.batches AS batch ON batch.batch_id = given.batch_id
                 LEFT JOIN tasker.worker_registrations AS registration
                        ON registration.registration_id = batch.registration_id
                 WHERE given.task_id = page.task_id),
             'operator_actions', (SELECT coalesce(json_agg(action ORDER BY action.action_id), '[]')
                                  FROM tasker.operator_actions AS action WHERE action.task_id = page.task_id),
             'reopenings', (SELECT coalesce(json_agg(reopening ORDER BY reopening.seq), '[]')
                            FROM tasker.task_reopenings AS reopening WHERE reopening.task_id = page.task_id),
             'received_results', (SELECT coalesce(json_agg(received ORDER BY received.received_at), '[]')
                                  FROM tasker.received_results AS received WHERE received.task_id = page.task_id)
         )::text AS document
         FROM page JOIN tasker.task_templates AS template ON template.template_id = page.template_id
         ORDER BY page.task_id",
        leaving = scene.leaving,
        tasks = survey.source("tasks"),
        outcomes = survey.source("step_outcomes"),
        failures = survey.source("step_attempts_failed"),
        returns = survey.source("step_returns"),
    )
}
