//! Gives the ground state back: unfinished tasks, open batches and registrations, from rows that only say what happened.
//!
//! Everything is read set by set, never task by task, in one transaction with one view of the database. Step rows are not
//! read at all: they follow from the template. Results are read last, and only those that a child still needs.

mod load;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Row, Transaction};
use tasker_engine::{
    BatchId, BatchItem, BatchSnapshot, ItemRecord, Pause, RegistrationId, SettledKind, SettledSnapshot, StepSnapshot,
    TaskId, TaskLabels, TaskSnapshot, TaskState, TemplateKey, TraceContext, Wall, WorkerSnapshot,
};
use uuid::Uuid;

use super::connect::{RECOVERY_TIMEOUT, Reader, within};
use super::error::Error;
use super::json::JsonBytes;
use super::templates::{self, StoredTemplate};
use super::{fleet, workers};

pub use load::{load_outcomes, load_task};

/// Results fetched at once: enough that round trips do not count, few enough that their arrays stay small.
const RESULTS_AT_ONCE: usize = 10_000;

/// What is unfinished in a lane, and what it refers to.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Every template, in order of registration.
    pub templates: Vec<StoredTemplate>,
    /// Unfinished tasks, in order of id.
    pub tasks: Vec<TaskSnapshot>,
    /// Tasks that have ended and have a step in one of `batches`, with their templates.
    pub ended_tasks: Vec<(TaskId, TemplateKey)>,
    /// Batches without a closing, in order of id.
    pub batches: Vec<BatchSnapshot>,
    /// Registrations without an end.
    pub workers: Vec<WorkerSnapshot>,
    /// The largest batch id ever used.
    pub newest_batch: Option<BatchId>,
    /// Paused namespaces.
    pub pauses: Vec<(Arc<str>, Pause)>,
}

/// Reads the ground state of a lane. The lane must have been claimed: then nobody else changes it meanwhile.
pub async fn recover(pool: &PgPool, lane: i16) -> Result<Recovered, Error> {
    let mut session = Reader::take(pool).await?;
    let recovered = within(RECOVERY_TIMEOUT, recover_by(&mut session, lane)).await?;
    session.give_back();
    Ok(recovered)
}

async fn recover_by(session: &mut PgConnection, lane: i16) -> Result<Recovered, Error> {
    let mut transaction = snapshot(session).await?;
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *transaction).await?;
    let templates = templates::all(&mut transaction).await?;
    let definitions = definitions(&mut transaction, Scope::Unfinished(lane)).await?;
    let mut tasks = Tasks::read(&mut transaction, Scope::Unfinished(lane), &definitions).await?;
    tasks.read_steps(&mut transaction).await?;
    let batches = tasks.read_batches(&mut transaction).await?;
    let ended_tasks = ended_tasks(&mut transaction, &tasks.snapshots, &batches).await?;
    tasks.read_results(&mut transaction, &definitions).await?;
    let workers = workers::unended(&mut transaction, lane).await?;
    let pauses = fleet::pauses(&mut transaction).await?;
    let newest = "SELECT batch_id FROM tasker.batches ORDER BY batch_id DESC LIMIT 1";
    let newest_batch = sqlx::query_scalar(newest).fetch_optional(&mut *transaction).await?.map(BatchId);
    transaction.commit().await?;
    Ok(Recovered { templates, tasks: tasks.snapshots, ended_tasks, batches, workers, newest_batch, pauses })
}

/// Begins a transaction with one view of the database. The lock comes before the view: while it is held, no partition takes
/// the place of another, whose rows an older view would not have.
async fn snapshot(session: &mut PgConnection) -> Result<Transaction<'_, Postgres>, Error> {
    let mut transaction = session.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sqlx::query("LOCK TABLE ONLY tasker.tasks IN ACCESS SHARE MODE").execute(&mut *transaction).await?;
    Ok(transaction)
}

/// The templates of the tasks that have ended while a worker still had steps of them.
async fn ended_tasks(
    session: &mut PgConnection,
    unfinished: &[TaskSnapshot],
    batches: &[BatchSnapshot],
) -> Result<Vec<(TaskId, TemplateKey)>, Error> {
    let in_batches = batches.iter().flat_map(|batch| &batch.items).map(|(item, _)| item.task);
    let ended: BTreeSet<TaskId> =
        in_batches.filter(|task| unfinished.binary_search_by_key(task, |snapshot| snapshot.id).is_err()).collect();
    let rows = sqlx::query(
        "SELECT task.task_id, template.namespace, template.name, template.version FROM tasker.tasks AS task
         JOIN tasker.task_templates AS template ON template.template_id = task.template_id
         WHERE task.task_id = ANY ($1)",
    )
    .bind(ended.into_iter().map(|task| task.0).collect::<Vec<_>>())
    .fetch_all(session)
    .await?;
    let text = |row: &PgRow, column: &str| Ok::<Arc<str>, Error>(Arc::from(row.try_get::<&str, _>(column)?));
    let mut templates = Vec::with_capacity(rows.len());
    for row in &rows {
        let key = TemplateKey {
            namespace: text(row, "namespace")?,
            name: text(row, "name")?,
            version: text(row, "version")?,
        };
        templates.push((TaskId(row.try_get("task_id")?), key));
    }
    Ok(templates)
}

/// Which tasks are read. Both parts of the text are numbers that come from typed values.
#[derive(Clone, Copy)]
enum Scope {
    Unfinished(i16),
    Task(Uuid),
}

impl Scope {
    fn condition(self) -> String {
        match self {
            Scope::Unfinished(lane) => format!("task.lane = {lane} AND task.final_state IS NULL"),
            Scope::Task(id) => format!("task.task_id = '{id}'"),
        }
    }

    /// Of batches; for one task all open ones are searched.
    fn batch_condition(self) -> String {
        match self {
            Scope::Unfinished(lane) => format!("batch.lane = {lane}"),
            Scope::Task(id) => format!("item.task_id = '{id}'"),
        }
    }
}

/// The steps of a template: most attempts, and parents.
type Definition = Vec<(u32, Vec<i32>)>;

async fn definitions(session: &mut PgConnection, scope: Scope) -> Result<HashMap<i32, Definition>, Error> {
    let sql = format!(
        "SELECT template_id, retry_limit, parents FROM tasker.template_steps
         WHERE template_id IN (SELECT DISTINCT template_id FROM tasker.tasks AS task WHERE {})
         ORDER BY template_id, step_number",
        scope.condition()
    );
    let mut definitions: HashMap<i32, Definition> = HashMap::new();
    for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(session).await? {
        let step = (number(&row, "retry_limit")?, row.try_get("parents")?);
        definitions.entry(row.try_get("template_id")?).or_default().push(step);
    }
    Ok(definitions)
}

struct Tasks {
    scope: Scope,
    /// In order of id.
    snapshots: Vec<TaskSnapshot>,
    /// Of each task.
    template_ids: Vec<i32>,
}

/// The failures of a step so far, while they are read in order of attempt.
#[derive(Default)]
struct Failures {
    last: u32,
    reset_at: u32,
}

impl Tasks {
    async fn read(
        session: &mut PgConnection,
        scope: Scope,
        definitions: &HashMap<i32, Definition>,
    ) -> Result<Tasks, Error> {
        let sql = format!(
            "SELECT task.task_id, task.template_id, template.namespace, template.name, template.version, task.context,
                 task.priority, task.idempotency_key, task.initiator, task.source_system, task.reason, task.tags,
                 task.correlation_id, task.options, task.traceparent, task.tracestate, task.final_state,
                 (extract(epoch FROM task.run_at) * 1000)::bigint AS run_at_ms,
                 (extract(epoch FROM task.run_at - clock_timestamp()) * 1000)::bigint AS run_in_ms,
                 (extract(epoch FROM task.created_at) * 1000)::bigint AS created_at_ms
             FROM tasker.tasks AS task JOIN tasker.task_templates AS template ON template.template_id = task.template_id
             WHERE {} ORDER BY task.task_id",
            scope.condition()
        );
        let mut tasks = Tasks { scope, snapshots: Vec::new(), template_ids: Vec::new() };
        let mut keys = HashMap::new();
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(session);
        while let Some(row) = rows.try_next().await? {
            let template_id: i32 = row.try_get("template_id")?;
            let template = match keys.get(&template_id) {
                Some(key) => TemplateKey::clone(key),
                None => keys.entry(template_id).or_insert(template_key(&row)?).clone(),
            };
            let definition = definitions
                .get(&template_id)
                .ok_or_else(|| Error::corrupt(format!("template {template} has no steps in the database")))?;
            let step = |(retry_limit, _): &(u32, _)| StepSnapshot { retry_limit: *retry_limit, ..Default::default() };
            tasks.snapshots.push(task_snapshot(&row, template, definition.iter().map(step).collect())?);
            tasks.template_ids.push(template_id);
        }
        Ok(tasks)
    }

    /// The step that a row is about; none when its task is not among those read.
    fn step(&mut self, row: &PgRow) -> Result<Option<&mut StepSnapshot>, Error> {
        let task = TaskId(row.try_get("task_id")?);
        let step = number(row, "step_number")?;
        Ok(self.find(task, step))
    }

    fn find(&mut self, task: TaskId, step: u32) -> Option<&mut StepSnapshot> {
        let index = self.snapshots.binary_search_by_key(&task, |snapshot| snapshot.id).ok()?;
        self.snapshots[index].steps.get_mut(step as usize)
    }

    async fn read_steps(&mut self, session: &mut PgConnection) -> Result<(), Error> {
        let condition = self.scope.condition();
        self.read_outcomes(session, &condition).await?;
        let mut failures = self.read_resets(session, &condition).await?;
        self.read_failures(session, &condition, &mut failures).await?;
        self.read_returns(session, &condition, &failures).await
    }

    async fn read_outcomes(&mut self, session: &mut PgConnection, condition: &str) -> Result<(), Error> {
        let sql = format!(
            "SELECT outcome.task_id, outcome.step_number, outcome.attempt, outcome.kind, outcome.checksum
             FROM tasker.tasks AS task JOIN tasker.step_outcomes AS outcome ON outcome.task_id = task.task_id
             WHERE {condition}"
        );
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(session);
        while let Some(row) = rows.try_next().await? {
            let kind = match row.try_get("kind")? {
                "complete" => SettledKind::Complete,
                "bypassed" => SettledKind::Bypassed,
                "resolved_manually" => SettledKind::ResolvedManually,
                other => return Err(Error::corrupt(format!("`{other}` is no kind of outcome"))),
            };
            let attempt = number(&row, "attempt")?;
            let checksum = row.try_get::<i64, _>("checksum")?.cast_unsigned();
            if let Some(step) = self.step(&row)? {
                step.attempts = attempt;
                step.settled = Some(SettledSnapshot { kind, result: Bytes::new(), checksum });
            }
        }
        Ok(())
    }

    /// Resets lift the limit; failures up to the attempt of the last one do not count.
    async fn read_resets(
        &mut self,
        session: &mut PgConnection,
        condition: &str,
    ) -> Result<HashMap<(Uuid, u32), Failures>, Error> {
        let sql = format!(
            "SELECT action.task_id, action.step_number, max(action.attempts_before) AS attempts_before
             FROM tasker.tasks AS task JOIN tasker.operator_actions AS action ON action.task_id = task.task_id
             WHERE {condition} AND action.operation = 'retry' AND action.step_number IS NOT NULL
             GROUP BY action.task_id, action.step_number"
        );
        let mut resets = HashMap::new();
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(session).await? {
            let reset_at = number(&row, "attempts_before")?;
            if let Some(step) = self.step(&row)? {
                step.retry_limit = step.retry_limit.saturating_add(reset_at);
                step.attempts = step.attempts.max(reset_at);
            }
            let key = (row.try_get("task_id")?, number(&row, "step_number")?);
            resets.insert(key, Failures { last: 0, reset_at });
        }
        Ok(resets)
    }

    async fn read_failures(
        &mut self,
        session: &mut PgConnection,
        condition: &str,
        failures: &mut HashMap<(Uuid, u32), Failures>,
    ) -> Result<(), Error> {
        let sql = format!(
            "SELECT failure.task_id, failure.step_number, failure.attempt, failure.final, failure.cause,
                 (extract(epoch FROM failure.retry_at - clock_timestamp()) * 1000)::bigint AS retry_in_ms
             FROM tasker.tasks AS task
             JOIN tasker.step_attempts_failed AS failure ON failure.task_id = task.task_id
             WHERE {condition} ORDER BY failure.task_id, failure.step_number, failure.attempt"
        );
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(session);
        while let Some(row) = rows.try_next().await? {
            let (attempt, is_final) = (number(&row, "attempt")?, row.try_get("final")?);
            let was_lost = row.try_get::<&str, _>("cause")? == "worker_lost";
            let retry_in_ms: Option<i64> = row.try_get("retry_in_ms")?;
            let known = failures.entry((row.try_get("task_id")?, number(&row, "step_number")?)).or_default();
            known.last = attempt;
            let counts = attempt > known.reset_at;
            let Some(step) = self.step(&row)? else { continue };
            step.attempts = step.attempts.max(attempt);
            if counts && step.settled.is_none() {
                step.failed = is_final;
                step.retry_in_ms = retry_in_ms.map(|ms| u64::try_from(ms).unwrap_or(0));
                step.workers_lost += u32::from(was_lost);
            }
        }
        Ok(())
    }

    /// A step whose retry was dispatched and came back waits for nothing any more.
    async fn read_returns(
        &mut self,
        session: &mut PgConnection,
        condition: &str,
        failures: &HashMap<(Uuid, u32), Failures>,
    ) -> Result<(), Error> {
        let sql = format!(
            "SELECT back.task_id, back.step_number, max(back.attempt) AS attempt
             FROM tasker.tasks AS task JOIN tasker.step_returns AS back ON back.task_id = task.task_id
             WHERE {condition} GROUP BY back.task_id, back.step_number"
        );
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(session).await? {
            let key = (row.try_get("task_id")?, number(&row, "step_number")?);
            let last = failures.get(&key).map_or(0, |known| known.last);
            if number(&row, "attempt")? > last
                && let Some(step) = self.step(&row)?
            {
                step.retry_in_ms = None;
            }
        }
        Ok(())
    }

    /// Open batches, each item with what is recorded of that very dispatch. Nothing is recorded either when the step was
    /// settled by hand, or its task was cancelled, while the worker had it: the engine sees that from the step and the task.
    async fn read_batches(&mut self, session: &mut PgConnection) -> Result<Vec<BatchSnapshot>, Error> {
        let sql = format!(
            "SELECT batch.batch_id, coalesce(holder.registration_id, batch.registration_id) AS registration_id, item.task_id, item.step_number, item.attempt, outcome.checksum,
                 CASE
                     WHEN outcome.batch_id = batch.batch_id AND outcome.attempt = item.attempt THEN 'complete'
                     WHEN failure.cause = 'failed' THEN 'failed'
                     WHEN failure.cause IS NOT NULL THEN 'given_up'
                     WHEN back.batch_id IS NOT NULL THEN 'returned'
                     ELSE 'open'
                 END AS record
             FROM tasker.lanes AS lane
             JOIN tasker.batches AS batch ON batch.lane = lane.lane AND batch.batch_id >= lane.oldest_open_batch
             LEFT JOIN tasker.batch_closings AS closing ON closing.batch_id = batch.batch_id
             -- A worker that registered again took its open batches along.
             LEFT JOIN tasker.worker_registrations AS sent
                    ON sent.registration_id = batch.registration_id AND sent.end_reason = 'reconnected'
             LEFT JOIN tasker.worker_registrations AS holder
                    ON holder.worker = sent.worker AND holder.incarnation = sent.incarnation AND holder.ended_at IS NULL
             CROSS JOIN LATERAL unnest(batch.task_ids, batch.step_numbers, batch.attempts)
                 WITH ORDINALITY AS item (task_id, step_number, attempt, position)
             LEFT JOIN tasker.step_outcomes AS outcome
                    ON outcome.task_id = item.task_id AND outcome.step_number = item.step_number
             LEFT JOIN tasker.step_attempts_failed AS failure
                    ON failure.task_id = item.task_id AND failure.step_number = item.step_number
                   AND failure.attempt = item.attempt AND failure.batch_id = batch.batch_id
             LEFT JOIN tasker.step_returns AS back
                    ON back.task_id = item.task_id AND back.step_number = item.step_number
                   AND back.attempt = item.attempt AND back.batch_id = batch.batch_id
             WHERE closing.batch_id IS NULL AND {} ORDER BY batch.batch_id, item.position",
            self.scope.batch_condition()
        );
        let mut batches: Vec<BatchSnapshot> = Vec::new();
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(session);
        while let Some(row) = rows.try_next().await? {
            let id = BatchId(row.try_get("batch_id")?);
            let task = TaskId(row.try_get("task_id")?);
            let item = BatchItem { task, step: number(&row, "step_number")?, attempt: number(&row, "attempt")? };
            let record = item_record(&row)?;
            if batches.last().is_none_or(|last| last.id != id) {
                let registration = RegistrationId(row.try_get("registration_id")?);
                batches.push(BatchSnapshot { id, registration, items: Vec::new() });
            }
            if let Some(batch) = batches.last_mut() {
                batch.items.push((item, record));
            }
            if record == ItemRecord::Open
                && let Some(step) = self.find(item.task, item.step)
                && item.attempt > step.attempts
            {
                step.attempts = item.attempt;
                step.retry_in_ms = None;
            }
        }
        Ok(batches)
    }

    async fn read_results(
        &mut self,
        session: &mut PgConnection,
        definitions: &HashMap<i32, Definition>,
    ) -> Result<(), Error> {
        for needed in self.needed_results(definitions).chunks(RESULTS_AT_ONCE) {
            let (tasks, steps): (Vec<Uuid>, Vec<i32>) = needed.iter().copied().unzip();
            let rows = sqlx::query(
                "SELECT outcome.task_id, outcome.step_number, outcome.result
                 FROM (SELECT unnest($1::uuid[]) AS task_id, unnest($2::integer[]) AS step_number) AS needed
                 JOIN tasker.step_outcomes AS outcome
                   ON outcome.task_id = needed.task_id AND outcome.step_number = needed.step_number",
            )
            .bind(tasks)
            .bind(steps)
            .fetch_all(&mut *session)
            .await?;
            for row in rows {
                let result = row.try_get::<Option<JsonBytes>, _>("result")?.unwrap_or_default().0;
                if let Some(settled) = self.step(&row)?.and_then(|step| step.settled.as_mut()) {
                    settled.result = result;
                }
            }
        }
        Ok(())
    }

    /// Settled steps with a child that is not settled.
    fn needed_results(&self, definitions: &HashMap<i32, Definition>) -> Vec<(Uuid, i32)> {
        let mut needed = Vec::new();
        for (task, template_id) in self.snapshots.iter().zip(&self.template_ids) {
            let Some(definition) = definitions.get(template_id) else { continue };
            let is_settled = |number: i32| {
                let index = usize::try_from(number).unwrap_or(usize::MAX);
                task.steps.get(index).is_some_and(|step| step.settled.is_some())
            };
            let start = needed.len();
            for (step, (_, parents)) in task.steps.iter().zip(definition) {
                if step.settled.is_none() {
                    needed.extend(
                        parents.iter().filter(|&&parent| is_settled(parent)).map(|&parent| (task.id.0, parent)),
                    );
                }
            }
            needed[start..].sort_unstable();
        }
        needed.dedup();
        needed
    }
}

fn item_record(row: &PgRow) -> Result<ItemRecord, Error> {
    Ok(match row.try_get("record")? {
        "complete" => ItemRecord::Complete(row.try_get::<i64, _>("checksum")?.cast_unsigned()),
        "failed" => ItemRecord::Failed,
        "given_up" => ItemRecord::GivenUp,
        "returned" => ItemRecord::Returned,
        _ => ItemRecord::Open,
    })
}

fn template_key(row: &PgRow) -> Result<TemplateKey, Error> {
    Ok(TemplateKey {
        namespace: row.try_get::<&str, _>("namespace")?.into(),
        name: row.try_get::<&str, _>("name")?.into(),
        version: row.try_get::<&str, _>("version")?.into(),
    })
}

fn task_snapshot(row: &PgRow, template: TemplateKey, steps: Vec<StepSnapshot>) -> Result<TaskSnapshot, Error> {
    let boxed = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<&str>, _>(column)?.map(Box::from));
    let state = |name: &str| {
        TaskState::from_name(name).ok_or_else(|| Error::corrupt(format!("`{name}` is no state of a task")))
    };
    let run_in_ms: Option<i64> = row.try_get("run_in_ms")?;
    let tags: Option<Vec<String>> = row.try_get("tags")?;
    Ok(TaskSnapshot {
        id: TaskId(row.try_get("task_id")?),
        template,
        context: row.try_get::<JsonBytes, _>("context")?.0,
        priority: row.try_get("priority")?,
        idempotency_key: boxed("idempotency_key")?,
        run_in_ms: run_in_ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0),
        run_at: row.try_get::<Option<i64>, _>("run_at_ms")?.map(Wall),
        created_at: Wall(row.try_get("created_at_ms")?),
        final_state: row.try_get::<Option<&str>, _>("final_state")?.map(state).transpose()?,
        labels: TaskLabels {
            initiator: boxed("initiator")?,
            source_system: boxed("source_system")?,
            reason: boxed("reason")?,
            tags: tags.unwrap_or_default().into_iter().map(String::into).collect(),
            correlation_id: boxed("correlation_id")?,
            options: row.try_get::<Option<JsonBytes>, _>("options")?.map(|json| json.0),
            trace: TraceContext::of(boxed("traceparent")?, boxed("tracestate")?),
        },
        steps,
    })
}

/// A column of step numbers, attempts and the like.
pub(super) fn number(row: &PgRow, column: &str) -> Result<u32, Error> {
    let value: i32 = row.try_get(column)?;
    u32::try_from(value).map_err(|_| Error::corrupt(format!("`{column}` is {value}")))
}
