//! The payloads of one step as a person looks at them: what it got, and what came out.

use sqlx::{PgConnection, PgPool, Row};
use tasker_engine::TaskId;

use super::connect::{ANSWER_TIMEOUT, within};
use super::dossier::{EXCERPT_BYTES_MAX, Excerpt, begin, end, excerpt};
use super::error::Error;

/// Parents whose results are shown. A step may have thousands; the first ones say what kind they are.
pub const PARENTS_MAX: i64 = 20;
/// Bytes of each parent's result.
const PARENT_BYTES_MAX: i32 = 4 * 1024;
/// A step with its payloads.
#[derive(Clone, Debug)]
pub struct StepFile {
    /// Inputs of its definition.
    pub inputs: Excerpt,
    /// Its result.
    pub result: Option<Excerpt>,
    /// What the worker said about the result.
    pub metadata: Option<Excerpt>,
    /// `complete`, `bypassed`, `resolved_manually`, when it is settled.
    pub kind: Option<String>,
    /// The first of its parents, with their results.
    pub parents: Vec<(String, Option<Excerpt>)>,
}

/// The file of a step by name.
pub async fn step_file(pool: &PgPool, task: TaskId, name: &str) -> Result<Option<StepFile>, Error> {
    let mut session = begin(pool).await?;
    let Some((step, mut file)) = payloads(&mut session, task, name).await? else {
        end(session).await?;
        return Ok(None);
    };
    file.parents = parents(&mut session, task, step).await?;
    end(session).await?;
    Ok(Some(file))
}

async fn payloads(session: &mut PgConnection, task: TaskId, name: &str) -> Result<Option<(i32, StepFile)>, Error> {
    let query = sqlx::query(
        "SELECT step.step_number, outcome.kind,
             left(step.inputs::text, $3) AS inputs, octet_length(step.inputs::text) AS inputs_bytes,
             left(outcome.result::text, $3) AS result, octet_length(outcome.result::text) AS result_bytes,
             left(outcome.metadata::text, $3) AS metadata, octet_length(outcome.metadata::text) AS metadata_bytes
         FROM tasker.tasks AS task
         JOIN tasker.template_steps AS step ON step.template_id = task.template_id
         LEFT JOIN tasker.step_outcomes AS outcome
                ON outcome.task_id = task.task_id AND outcome.step_number = step.step_number
         WHERE task.task_id = $1 AND step.name = $2",
    );
    let answer = query.bind(task.0).bind(name).bind(EXCERPT_BYTES_MAX).fetch_optional(session);
    let Some(row) = within(ANSWER_TIMEOUT, answer).await? else { return Ok(None) };
    let file = StepFile {
        inputs: excerpt(&row, "inputs", "inputs_bytes")?.unwrap_or_default(),
        result: excerpt(&row, "result", "result_bytes")?,
        metadata: excerpt(&row, "metadata", "metadata_bytes")?,
        kind: row.try_get("kind")?,
        parents: Vec::new(),
    };
    Ok(Some((row.try_get("step_number")?, file)))
}

async fn parents(session: &mut PgConnection, task: TaskId, step: i32) -> Result<Vec<(String, Option<Excerpt>)>, Error> {
    let query = sqlx::query(
        "SELECT parent.name, left(outcome.result::text, $3) AS result,
             octet_length(outcome.result::text) AS result_bytes
         FROM tasker.tasks AS task
         JOIN tasker.template_steps AS step ON step.template_id = task.template_id AND step.step_number = $2
         CROSS JOIN LATERAL (
             SELECT number FROM unnest(step.parents) AS number ORDER BY number LIMIT $4
         ) AS edge
         JOIN tasker.template_steps AS parent
           ON parent.template_id = task.template_id AND parent.step_number = edge.number
         LEFT JOIN tasker.step_outcomes AS outcome
                ON outcome.task_id = task.task_id AND outcome.step_number = edge.number
         WHERE task.task_id = $1 ORDER BY edge.number",
    );
    let query = query.bind(task.0).bind(step).bind(PARENT_BYTES_MAX).bind(PARENTS_MAX);
    let rows = within(ANSWER_TIMEOUT, query.fetch_all(session)).await?;
    rows.iter().map(|row| Ok((row.try_get("name")?, excerpt(row, "result", "result_bytes")?))).collect()
}
