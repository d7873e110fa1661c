//! A database, a writer, and saves built by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tasker_core::postgres::testing::TestDatabase;
use tasker_core::store::{Broker, Committed, Error, Group, MIGRATOR, Writer, claim, pool};
use tasker_engine::*;
use uuid::Uuid;

pub const LEASE: Duration = Duration::from_secs(30);

pub struct Fixture {
    pub database: TestDatabase,
    pub pool: PgPool,
    pub writer: Writer,
    pub template: Arc<Template>,
    pub registration: RegistrationId,
    pub oldest_open_batch: Option<Uuid>,
}

pub async fn database() -> TestDatabase {
    TestDatabase::create(&MIGRATOR).await.unwrap()
}

pub fn broker() -> Broker {
    Broker { id: Uuid::now_v7(), host: "here".into(), pid: std::process::id(), version: "0.1.0".into() }
}

/// `start`, then `left` and `right`, then `end`.
pub fn diamond(version: &str) -> Arc<Template> {
    template(
        "diamond",
        version,
        &[("start", &[]), ("left", &["start"]), ("right", &["start"]), ("end", &["left", "right"])],
    )
}

pub fn template(name: &str, version: &str, steps: &[(&str, &[&str])]) -> Arc<Template> {
    let step = |(name, parents): &(&str, &[&str])| {
        let step = StepTemplate {
            name: (*name).into(),
            handler_class: format!("Handle::{name}").into(),
            retryable: true,
            retry_limit: 3,
            backoff: Backoff::default(),
            skippable: true,
            timeout_ms: 30_000,
            inputs: Bytes::from_static(br#"{"rate": 1.10}"#),
            custom_events: Box::default(),
            dependent_system: None,
        };
        (step, parents.iter().map(|parent| Arc::from(*parent)).collect())
    };
    let key = TemplateKey { namespace: "shop".into(), name: name.into(), version: version.into() };
    Arc::new(Template::new(key, steps.iter().map(step).collect()).unwrap())
}

pub fn source(template: &Arc<Template>, digest: u8) -> TemplateSource {
    TemplateSource {
        template: Arc::clone(template),
        yaml: "name: diamond".into(),
        digest: [digest; 32],
        description: Some("four steps".into()),
        task_handler_class: None,
        handler_config: Some(r#"{"a": 1e2}"#.into()),
        environment: Some("test".into()),
    }
}

pub fn introduction(name: &str) -> WorkerIntroduction {
    WorkerIntroduction {
        name: name.into(),
        incarnation: Uuid::now_v7(),
        capabilities: vec![
            Capability::Exact(diamond("1.0.0").key.clone()),
            Capability::AnyVersion("shop".into(), "refund".into()),
            Capability::Namespace("back office".into()),
        ],
        templates: vec![],
        concurrency: 5,
        host: "host".into(),
        pid: 4_000_000_000,
        language: "ruby 3.1".into(),
        library: "tasker_core 0.1.0".into(),
        key: Some("fleet".into()),
        open_batches: vec![],
        unacknowledged: vec![],
    }
}

impl Fixture {
    /// A claimed lane with the diamond template and one worker.
    pub async fn new() -> Fixture {
        Fixture::with(diamond("1.0.0")).await
    }

    pub async fn with(template: Arc<Template>) -> Fixture {
        let database = database().await;
        let pool = pool(&database.url, 4).unwrap();
        let writer = claim(&database.url, &broker(), 1, LEASE).await.unwrap();
        let registration = RegistrationId(Uuid::now_v7());
        let mut fixture = Fixture { database, pool, writer, template, registration, oldest_open_batch: None };
        let worker = Box::new(introduction("worker-1"));
        let saves = [Save::Template(source(&fixture.template, 1)), Save::WorkerRegistered { registration, worker }];
        fixture.commit(&saves).await;
        fixture
    }

    pub async fn commit(&mut self, saves: &[Save]) -> Committed {
        self.try_commit(saves).await.unwrap()
    }

    pub async fn try_commit(&mut self, saves: &[Save]) -> Result<Committed, Error> {
        self.writer.commit(&Group { saves, oldest_open_batch: self.oldest_open_batch }).await
    }

    pub fn task(&self) -> NewTask {
        NewTask {
            id: TaskId(Uuid::now_v7()),
            template: Arc::clone(&self.template),
            context: Bytes::from_static(br#"{"big": 18446744073709551616,  "b": 1, "a": 209.97}"#),
            priority: 0,
            idempotency_key: None,
            bypass_steps: vec![],
            run_at: None,
            labels: TaskLabels::default(),
        }
    }

    /// A task that is stored, with nothing done yet.
    pub async fn stored_task(&mut self) -> TaskId {
        let task = self.task();
        let id = task.id;
        self.commit(&[Save::Task(Box::new(task))]).await;
        id
    }

    pub fn batch(&mut self, items: &[(TaskId, u32, u32)]) -> (BatchId, Save) {
        let id = BatchId(Uuid::now_v7());
        self.oldest_open_batch.get_or_insert(id.0);
        let items = items.iter().map(|&(task, step, attempt)| BatchItem { task, step, attempt }).collect();
        (id, Save::Batch(NewBatch { id, registration: self.registration, items, deadline_in_ms: 30_000 }))
    }

    pub async fn dispatch(&mut self, task: TaskId, step: u32, attempt: u32) -> BatchId {
        let (id, save) = self.batch(&[(task, step, attempt)]);
        self.commit(&[save]).await;
        id
    }

    pub fn settled(&self, task: TaskId, step: u32, attempt: u32, batch: BatchId, result: &'static str) -> Save {
        Save::StepSettled(StepSettled {
            task,
            step,
            attempt,
            kind: SettledKind::Complete,
            batch: Some(batch),
            registration: Some(self.registration),
            dispatched_ms_ago: 5,
            started_at_us: 1_700_000_000_000_000,
            duration_us: 1500,
            result: Bytes::from_static(result.as_bytes()),
            checksum: checksum(result.as_bytes()),
            metadata: Some(Bytes::from_static(b"{}")),
        })
    }

    /// A step that was settled without running.
    pub fn set(&self, task: TaskId, step: u32, attempt: u32, kind: SettledKind) -> Save {
        Save::StepSettled(StepSettled {
            task,
            step,
            attempt,
            kind,
            batch: None,
            registration: None,
            dispatched_ms_ago: 0,
            started_at_us: 0,
            duration_us: 0,
            result: Bytes::from_static(b"null"),
            checksum: checksum(b"null"),
            metadata: None,
        })
    }

    pub fn failed(
        &self,
        task: TaskId,
        step: u32,
        attempt: u32,
        batch: BatchId,
        cause: FailureCause,
        retry_in_ms: Option<u64>,
    ) -> Save {
        Save::AttemptFailed(Box::new(AttemptFailed {
            task,
            step,
            attempt,
            cause,
            batch,
            registration: self.registration,
            dispatched_ms_ago: 7,
            started_at_us: 0,
            duration_us: 0,
            failure: Failure {
                class: "Net::Error".into(),
                message: "no\0 \"answer\"".into(),
                code: Some("E1".into()),
                retryable: retry_in_ms.is_some(),
                retry_after: None,
                backtrace: vec![r#"a "quoted" \line"#.into(), "second, {line}".into()],
                context: Some(Bytes::from_static(br#"{"tries": 1.0}"#)),
            },
            retry_in_ms,
        }))
    }

    pub fn reset(&self, task: TaskId, step: u32, attempts_before: u32) -> Save {
        self.action(task, Some(step), OperationKind::Retry { steps: vec![] }, "error", "pending", attempts_before)
    }

    pub fn action(
        &self,
        task: TaskId,
        step: Option<u32>,
        kind: OperationKind,
        before: &'static str,
        after: &'static str,
        attempts_before: u32,
    ) -> Save {
        let operation = Operation { task, kind, actor: "ada".into(), reason: "because".into() };
        Save::OperatorAction(Box::new(OperatorAction { operation, step, before, after, attempts_before }))
    }

    pub fn ended(&self, task: TaskId, state: TaskState) -> Save {
        Save::TaskFinished { task, state }
    }

    pub async fn rows(&self, sql: &str) -> Vec<PgRow> {
        sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&self.pool).await.unwrap()
    }

    /// The answer as one text: columns by `|`, rows by line.
    pub async fn text(&self, sql: &str) -> String {
        let sql = format!(
            "SELECT coalesce(string_agg(concat_ws('|', VARIADIC ARRAY(
            SELECT value FROM json_each_text(to_json(answer)))), E'\\n'), '') FROM ({sql}) AS answer"
        );
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM tasker.{table}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }

    /// The one number that a query answers.
    pub async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.unwrap();
    }

    /// A session outside of the pool.
    pub async fn session(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.unwrap()
    }

    /// Ends the writer's session from outside, and waits until it is gone.
    pub async fn kill_writer(&self) {
        let gone: bool =
            sqlx::query_scalar("SELECT pg_terminate_backend(backend_pid, 5000) FROM tasker.lanes WHERE lane = 1")
                .fetch_one(&self.pool)
                .await
                .unwrap();
        assert!(gone, "the session of the writer did not end");
    }
}
