//! Tasks of earlier months, written by the writer itself under ids of that time; only the times that Postgres stamps are
//! set back afterwards.

use bytes::Bytes;
use tasker_engine::*;
use uuid::Uuid;

use crate::fixture::Fixture;

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Complete,
    /// Its first step failed for good.
    Error,
    Cancelled,
    /// Its first step failed, and an operator settled it.
    Resolved,
    /// Its first step is done, and nothing is with a worker.
    Unfinished,
    /// A worker has its first step.
    Dispatched,
}

/// A number that no float holds.
pub const LARGE: &str = r#"{"n":18446744073709551616, "sum": 209.970}"#;

pub struct History<'a> {
    pub fixture: &'a mut Fixture,
    /// The beginning of the month, in milliseconds since the Unix epoch.
    start_ms: i64,
    made: u64,
}

impl<'a> History<'a> {
    /// The month so many months ago, with its partitions.
    pub async fn of(fixture: &'a mut Fixture, months_ago: i32) -> History<'a> {
        let first = format!("date_trunc('month', now() AT TIME ZONE 'UTC') - interval '{months_ago} months'");
        fixture.rows(&format!("SELECT tasker.ensure_partitions(({first})::date, 1)")).await;
        let start_ms = fixture.number(&format!("SELECT (extract(epoch FROM {first}) * 1000)::bigint")).await;
        History { fixture, start_ms, made: 0 }
    }

    /// An id of the month, each a minute after the one before.
    fn id(&mut self) -> Uuid {
        self.made += 1;
        let ms = self.start_ms.unsigned_abs() + self.made * 60_000;
        uuid::Builder::from_unix_timestamp_millis(ms, Uuid::new_v4().as_bytes()[..10].try_into().unwrap()).into_uuid()
    }

    pub async fn task(&mut self, fate: Fate) -> TaskId {
        let id = TaskId(self.id());
        let mut task = self.fixture.task();
        task.id = id;
        task.context = Bytes::from_static(b"{\"big\":\n 340282366920938463463374607431768211456}");
        task.idempotency_key = Some(format!("key of {}", id.0).into());
        self.fixture.commit(&[Save::Task(Box::new(task))]).await;
        match fate {
            Fate::Complete => {
                for steps in [&[0][..], &[1, 2], &[3]] {
                    self.settle(id, steps, 1).await;
                }
            }
            Fate::Error => self.fail(id).await,
            Fate::Cancelled => {
                let batch = self.dispatch(id, &[0], 1).await;
                let act = self.fixture.action(id, None, OperationKind::Cancel, "in_progress", "cancelled", 0);
                self.close(batch, &[act], BatchState::Cancelled).await;
            }
            Fate::Resolved => {
                self.fail(id).await;
                let resolve = OperationKind::Resolve { step: "start".into(), result: Bytes::from_static(b"null") };
                let act = self.fixture.action(id, Some(0), resolve, "error", "resolved_manually", 1);
                let settled = self.fixture.set(id, 0, 1, SettledKind::ResolvedManually);
                self.fixture.commit(&[Save::TaskReopened { task: id }, act, settled]).await;
                for steps in [&[1, 2][..], &[3]] {
                    self.settle(id, steps, 1).await;
                }
            }
            Fate::Unfinished => self.settle(id, &[0], 1).await,
            Fate::Dispatched => drop(self.dispatch(id, &[0], 1).await),
        }
        let state = match fate {
            Fate::Complete => Some(TaskState::Complete),
            Fate::Error => Some(TaskState::Error),
            Fate::Cancelled => Some(TaskState::Cancelled),
            Fate::Resolved => Some(TaskState::ResolvedManually),
            Fate::Unfinished | Fate::Dispatched => None,
        };
        if let Some(state) = state {
            self.fixture.commit(&[self.fixture.ended(id, state)]).await;
        }
        self.set_back(id).await;
        id
    }

    /// The times that Postgres gave are those of the id, and an hour later.
    async fn set_back(&self, id: TaskId) {
        let ms = self.start_ms + i64::try_from(self.made).unwrap() * 60_000;
        self.fixture
            .execute(&format!(
                "UPDATE tasker.tasks SET created_at = to_timestamp({ms} / 1000.0),
                 finished_at = CASE WHEN final_state IS NOT NULL THEN to_timestamp({ms} / 1000.0) + interval '1 hour' END
                 WHERE task_id = '{}'",
                id.0
            ))
            .await;
    }

    async fn fail(&mut self, id: TaskId) {
        let batch = self.dispatch(id, &[0], 1).await;
        let failed = self.fixture.failed(id, 0, 1, batch, FailureCause::Failed, None);
        self.close(batch, &[failed], BatchState::Failed).await;
        if self
            .fixture
            .number(&format!("SELECT count(*) FROM tasker.operator_actions WHERE task_id = '{}'", id.0))
            .await
            == 0
        {
            self.fixture.commit(&[self.fixture.ended(id, TaskState::Error)]).await;
        }
    }

    async fn settle(&mut self, id: TaskId, steps: &[u32], attempt: u32) {
        let batch = self.dispatch(id, steps, attempt).await;
        let settled: Vec<Save> =
            steps.iter().map(|&step| self.fixture.settled(id, step, attempt, batch, LARGE)).collect();
        self.close(batch, &settled, BatchState::Completed).await;
    }

    pub async fn dispatch(&mut self, id: TaskId, steps: &[u32], attempt: u32) -> BatchId {
        let batch = BatchId(self.id());
        self.fixture.oldest_open_batch =
            Some(self.fixture.oldest_open_batch.map_or(batch.0, |oldest| oldest.min(batch.0)));
        let items = steps.iter().map(|&step| BatchItem { task: id, step, attempt }).collect();
        let registration = self.fixture.registration;
        self.fixture.commit(&[Save::Batch(NewBatch { id: batch, registration, items, deadline_in_ms: 30_000 })]).await;
        batch
    }

    /// Records what became of a batch, and closes it.
    async fn close(&mut self, batch: BatchId, saves: &[Save], state: BatchState) {
        let mut group = saves.to_vec();
        group.push(Save::BatchClosed { batch, state, differences: vec![] });
        if self.fixture.oldest_open_batch == Some(batch.0) {
            self.fixture.oldest_open_batch = None;
        }
        self.fixture.commit(&group).await;
    }
}
