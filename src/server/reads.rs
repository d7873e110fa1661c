//! Questions that Postgres answers, beside the writer: asked when everything that was decided before them is durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_engine::{
    Event, Explanation, ExplanationQuery, KeyLookup, Origin, Read, Refusal, RefusalKind, Reply, StatusQuery,
    StepProgress, TaskId, WhyNot,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

use super::event_loop::Input;
use super::{explained, replies};
use crate::filter::Filter;
use crate::gateway::{Outbox, Outgoing, step_explained};
use crate::protocol::{
    HealthLevel, HealthReport, ListTasks, Message, TaskFound, TaskList, TaskStatusReport, TaskTried, TaskWaited,
};
use crate::store;

/// Questions under way at once; each holds its own small state while it waits for a connection. Beyond, questions are
/// refused as `overloaded`.
const UNDER_WAY_MAX: usize = 10_000;

/// Time between tries of a question that must be answered.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks the store and answers: the engine by an event, clients directly.
#[derive(Clone)]
pub(crate) struct Reads {
    runtime: Handle,
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
}

struct Shared {
    pool: PgPool,
    outbox: Outbox,
    inputs: UnboundedSender<Input>,
    /// Bytes of results in one answer.
    results_bytes_max: u64,
}

impl Reads {
    pub fn new(
        runtime: Handle,
        pool: PgPool,
        outbox: Outbox,
        inputs: UnboundedSender<Input>,
        results_bytes_max: u64,
    ) -> Reads {
        let shared = Arc::new(Shared { pool, outbox, inputs, results_bytes_max });
        Reads { runtime, shared, room: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }

    /// Answers a question of the engine.
    pub fn ask(&self, read: Read) {
        let shared = self.shared.clone();
        match read {
            // What the engine waits for comes back to it, whatever happens meanwhile.
            Read::IdempotencyKeys { .. } | Read::EndedTasks { .. } | Read::Task { .. } => {
                self.runtime.spawn(async move {
                    if let Some(answer) = shared.answer(read).await {
                        shared.tell_engine(answer);
                    }
                });
            }
            Read::Status { to, query, progress } => {
                self.spawn(Some(to), async move { shared.status(to, query, &progress).await });
            }
            Read::Explanation { to, query, live } => {
                self.spawn(Some(to), async move { shared.explain(to, query, live).await });
            }
            Read::Waited { to, task } => self.spawn(Some(to), async move { shared.waited(to, task).await }),
            Read::Tried { to, task } => self.spawn(Some(to), async move { shared.tried(to, task).await }),
        }
    }

    /// Waits for the answer to a question that the engine waits for; nothing for one of a client.
    pub fn answer_now(&self, read: Read) -> Option<Event> {
        self.runtime.block_on(self.shared.answer(read))
    }

    /// Answers a client's list.
    pub fn list_tasks(&self, to: Origin, query: ListTasks, filter: Filter) {
        let shared = self.shared.clone();
        self.spawn(Some(to), async move { shared.list(to, &query, &filter).await });
    }

    /// Answers a client that looks for the task with a key.
    pub fn find_task(&self, to: Origin, key: KeyLookup) {
        let shared = self.shared.clone();
        self.spawn(Some(to), async move { shared.find(to, key).await });
    }

    /// Completes a health report and sends it.
    pub fn health(&self, to: Origin, level: HealthLevel, report: HealthReport) {
        let shared = self.shared.clone();
        self.spawn(Some(to), async move {
            let report = if level == HealthLevel::Full { shared.try_postgres(report).await } else { report };
            shared.message(to, report);
            Ok(())
        });
    }

    /// Runs a question; when it fails, its asker is told so.
    fn spawn(&self, to: Option<Origin>, question: impl Future<Output = Result<(), store::Error>> + Send + 'static) {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            let message = format!("{UNDER_WAY_MAX} questions to the database are under way already");
            self.shared.refuse(to, Refusal::new(RefusalKind::Overloaded, message));
            return;
        };
        let shared = self.shared.clone();
        self.runtime.spawn(async move {
            if let Err(error) = question.await {
                warn!(%error, "a question to the database failed");
                shared.refuse(to, Refusal::new(RefusalKind::Unavailable, error.to_string()));
            }
            drop(permit);
        });
    }
}

impl Shared {
    /// The answer to a question that the engine waits for.
    async fn answer(&self, read: Read) -> Option<Event> {
        Some(match read {
            Read::IdempotencyKeys { submission, keys } => {
                let known = loop {
                    match until_known(|| store::lookup_keys(&self.pool, &keys)).await {
                        // Nobody can be told; the rows stay in the inbox, and the engine waits for them.
                        Err(_) if submission.origin().is_none() => tokio::time::sleep(PAUSE).await,
                        known => break known,
                    }
                };
                match known {
                    Ok(found) => Event::KeysLookedUp { submission, found },
                    Err(error) => return self.give_up(submission.origin(), &error),
                }
            }
            Read::EndedTasks { reports } => {
                let mut tasks = Vec::new();
                for task in reports.tasks() {
                    // A task that cannot be read explains nothing, as one that is not there.
                    tasks.extend(until_known(|| store::load_outcomes(&self.pool, task)).await.unwrap_or_default());
                }
                Event::EndedTasksLoaded { reports, tasks }
            }
            Read::Task { to, operation, asked } => {
                match until_known(|| store::load_task(&self.pool, operation.task)).await {
                    Ok(task) => Event::TaskLoaded { origin: to, operation, asked, task: task.map(Box::new) },
                    Err(error) => return self.give_up(Some(to), &error),
                }
            }
            Read::Status { .. } | Read::Explanation { .. } | Read::Waited { .. } | Read::Tried { .. } => return None,
        })
    }

    /// The database will never answer: whoever waits for it is told so, and the engine needs the answer no more.
    fn give_up(&self, to: Option<Origin>, error: &store::Error) -> Option<Event> {
        self.refuse(to, Refusal::new(RefusalKind::Refused, error.to_string()));
        None
    }

    async fn waited(&self, to: Origin, task: TaskId) -> Result<(), store::Error> {
        if let Some(view) = self.task(to, task).await? {
            let task = replies::task_summary(&view);
            let finished = task.finished_at_ms.is_some();
            self.message(to, TaskWaited { correlation_id: to.correlation, finished, task });
        }
        Ok(())
    }

    /// A task that is not live has nothing to dispatch.
    async fn tried(&self, to: Origin, task: TaskId) -> Result<(), store::Error> {
        if let Some(view) = self.task(to, task).await? {
            let reply = TaskTried {
                correlation_id: to.correlation,
                task_id: task.0,
                ready: false,
                steps_dispatched: 0,
                batch_ids: Vec::new(),
                steps_waiting: view.counts.ready,
                state: view.state,
            };
            self.message(to, reply);
        }
        Ok(())
    }

    async fn status(&self, to: Origin, query: StatusQuery, progress: &[StepProgress]) -> Result<(), store::Error> {
        let wanted = &query.include_results;
        let most = self.results_bytes_max;
        let view = store::task_status(&self.pool, query.task, query.include_steps, wanted, most).await?;
        let Some(mut view) = view else {
            self.unknown_task(to, query.task);
            return Ok(());
        };
        let all = query.include_steps || wanted.iter().any(|name| name == "*");
        let steps = std::mem::take(&mut view.steps);
        if let Some(name) = wanted.iter().find(|name| *name != "*" && !steps.iter().any(|step| step.name == **name)) {
            let message = format!("task {} has no step {name}", query.task);
            self.refuse(Some(to), Refusal::new(RefusalKind::UnknownStep, message).field("include_results"));
            return Ok(());
        }
        if view.results_too_large {
            let message = format!("the results have more than {most} bytes together; ask for fewer at a time");
            let refusal = Refusal::new(RefusalKind::TooLarge, message).field("include_results").limit(most);
            self.refuse(Some(to), refusal);
            return Ok(());
        }
        let steps = steps.into_iter().filter(|step| all || wanted.contains(&step.name));
        let steps = steps.map(|step| replies::step_summary(step, progress)).collect();
        let task = replies::task_summary(&view);
        self.message(to, TaskStatusReport { correlation_id: to.correlation, task, steps });
        Ok(())
    }

    /// Completes the explanation of a live task with the last errors of its steps, or makes that of one that has ended.
    async fn explain(
        &self,
        to: Origin,
        query: ExplanationQuery,
        live: Option<Box<Explanation>>,
    ) -> Result<(), store::Error> {
        if let Some(mut explanation) = live {
            let failed = explanation.steps.iter().filter(|step| matches!(step.why, WhyNot::RetryWait | WhyNot::Failed));
            let failed: Vec<u32> = failed.map(|step| step.step).collect();
            for (number, error) in store::last_errors(&self.pool, query.task, &failed).await? {
                if let Ok(place) = explanation.steps.binary_search_by_key(&number, |step| step.step) {
                    explanation.steps[place].error = Some(error);
                }
            }
            self.message(to, step_explained(to.correlation, &explanation));
            return Ok(());
        }
        let Some(view) = store::task_status(&self.pool, query.task, true, &[], 0).await? else {
            self.unknown_task(to, query.task);
            return Ok(());
        };
        if let Some(explanation) = explained::of_view(&view, query.step.as_deref()) {
            self.message(to, step_explained(to.correlation, &explanation));
        } else {
            let message = format!("task {} has no step {}", query.task, query.step.unwrap_or_default());
            self.refuse(Some(to), Refusal::new(RefusalKind::UnknownStep, message).field("step"));
        }
        Ok(())
    }

    async fn list(&self, to: Origin, query: &ListTasks, filter: &Filter) -> Result<(), store::Error> {
        let after = query.before.map(|task| store::Cursor::after(TaskId(task)));
        let page = store::search_tasks(&self.pool, filter, after, query.limit).await?;
        let count = if query.count { Some(store::count_tasks(&self.pool, filter).await?) } else { None };
        let list = TaskList {
            correlation_id: to.correlation,
            tasks: page.tasks.iter().map(|row| replies::task_summary(&row.task)).collect(),
            next: page.next.map(store::Cursor::id),
            searched_back_to_ms: page.searched_back_to_ms,
            count: count.map(|count| count.tasks),
            count_capped: count.is_some_and(|count| count.is_capped),
        };
        self.message(to, list);
        Ok(())
    }

    async fn find(&self, to: Origin, key: KeyLookup) -> Result<(), store::Error> {
        let KeyLookup { namespace, name, key: text } = &key;
        let refusal = match store::find_task(&self.pool, &key).await? {
            store::Found::Task(task, template) => {
                let template = template.to_string();
                self.message(to, TaskFound { correlation_id: to.correlation, task_id: task.0, template });
                return Ok(());
            }
            store::Found::Refused(reason) => {
                let message = format!("the request for {namespace}/{name} with the key {text} was refused: {reason}");
                Refusal::new(RefusalKind::Refused, message)
            }
            store::Found::Waiting => {
                let message = format!("the request for {namespace}/{name} with the key {text} waits in the inbox");
                Refusal::new(RefusalKind::UnknownTask, message).field("idempotency_key")
            }
            store::Found::Nothing => {
                let message = format!("there is no task of {namespace}/{name} with the key {text}");
                Refusal::new(RefusalKind::UnknownTask, message).field("idempotency_key")
            }
        };
        self.refuse(Some(to), refusal);
        Ok(())
    }

    /// Asks Postgres for nothing, to see how long that takes.
    async fn try_postgres(&self, mut report: HealthReport) -> HealthReport {
        let asked = Instant::now();
        match store::ping(&self.pool).await {
            Ok(()) => {
                report.postgres_round_trip_us = Some(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            Err(error) => {
                "degraded".clone_into(&mut report.status);
                "down".clone_into(&mut report.postgres);
                report.problems.push(format!("Postgres does not answer: {error}"));
            }
        }
        report
    }

    /// A task's view, or a refusal to whoever asked.
    async fn task(&self, to: Origin, task: TaskId) -> Result<Option<store::TaskView>, store::Error> {
        let view = store::task_status(&self.pool, task, false, &[], 0).await?;
        if view.is_none() {
            self.unknown_task(to, task);
        }
        Ok(view)
    }

    fn unknown_task(&self, to: Origin, task: TaskId) {
        let message = format!("there is no task {task}");
        self.refuse(Some(to), Refusal::new(RefusalKind::UnknownTask, message).field("task_id"));
    }

    fn tell_engine(&self, event: Event) {
        // The loop ends before the runtime does; then no answer is needed any more.
        let _ = self.inputs.send(Input::Answer(event));
    }

    fn message(&self, to: Origin, message: impl Into<Message>) {
        self.send(Outgoing::Message { to, message: Box::new(message.into()) });
    }

    fn refuse(&self, to: Option<Origin>, refusal: Refusal) {
        if let Some(to) = to {
            self.send(Outgoing::Reply { to, reply: Reply::Refused(refusal) });
        }
    }

    fn send(&self, outgoing: Outgoing) {
        if let Err(error) = self.outbox.send(vec![outgoing]) {
            warn!(%error, "an answer was not sent");
        }
    }
}

/// Asks for as long as Postgres is away; new submissions are refused meanwhile.
async fn until_known<T, F>(question: impl Fn() -> F) -> Result<T, store::Error>
where
    F: Future<Output = Result<T, store::Error>>,
{
    loop {
        match question().await {
            Err(error @ store::Error::Unavailable { .. }) => {
                warn!(%error, "a question to the database failed; asking again");
            }
            Err(error) => {
                warn!(%error, "a question to the database can never be answered");
                return Err(error);
            }
            answered => return answered,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
