//! An in-memory store: folds every save into the state that tables would hold, refuses what no correct engine may save,
//! and gives the ground state back after a crash.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tasker_engine::*;
use uuid::Uuid;

#[derive(Debug, Default)]
pub struct Store {
    config: Config,
    pub templates: Vec<TemplateSource>,
    pub tasks: BTreeMap<TaskId, StoredTask>,
    pub batches: BTreeMap<BatchId, StoredBatch>,
    pub workers: BTreeMap<RegistrationId, StoredWorker>,
    pub keys: HashMap<KeyLookup, TaskId>,
    pub ledger: Vec<ReceivedResult>,
    pub inbox_taken: BTreeSet<i64>,
    /// The next registration of the same process, and the last one of each.
    heirs: HashMap<RegistrationId, RegistrationId>,
    last_of: HashMap<Uuid, RegistrationId>,
    newest_batch: Option<BatchId>,
    pub pauses: BTreeMap<Arc<str>, Pause>,
    /// Tasks and batches that have not ended, so that a check need not walk over all.
    pub live: BTreeSet<TaskId>,
    pub open: BTreeSet<BatchId>,
    /// Per open batch, the steps that are out in it and count.
    running: HashMap<BatchId, BTreeSet<(TaskId, u32)>>,
}

#[derive(Debug)]
pub struct StoredTask {
    pub new: NewTask,
    pub created_at: Wall,
    pub state: Option<TaskState>,
    pub steps: Vec<StoredStep>,
}

#[derive(Clone, Debug, Default)]
pub struct StoredStep {
    pub attempts: u32,
    pub limit: u32,
    pub losses: u32,
    pub open: Option<BatchId>,
    pub settled: Option<(SettledKind, Bytes)>,
    pub failed: bool,
    pub retry_at: Option<Mono>,
    pub cancelled: bool,
    /// Attempts that ended without a result: 1, 2, 3 and so on.
    pub failures: Vec<(u32, FailureCause)>,
}

#[derive(Debug)]
pub struct StoredBatch {
    pub registration: RegistrationId,
    pub items: Vec<(BatchItem, ItemRecord)>,
    pub closed: Option<(BatchState, Vec<Difference>)>,
}

#[derive(Debug)]
pub struct StoredWorker {
    pub introduction: Box<WorkerIntroduction>,
    pub ended: Option<&'static str>,
}

impl StoredStep {
    pub fn state(&self, now: Mono) -> StepState {
        let retry_at = self.retry_at.filter(|&at| at > now);
        match (&self.settled, self.cancelled, self.failed, self.open, retry_at) {
            (Some((kind, _)), ..) => kind.state(),
            (None, true, ..) => StepState::Cancelled,
            (None, false, true, ..) => StepState::Error,
            (None, false, false, Some(_), _) => StepState::InProgress,
            (None, false, false, None, Some(_)) => StepState::WaitingForRetry,
            (None, false, false, None, None) => StepState::Pending,
        }
    }
}

impl Store {
    pub fn new(config: Config) -> Store {
        Store { config, ..Store::default() }
    }

    /// One commit group.
    pub fn commit(&mut self, now: Now, saves: Vec<Save>) {
        let mut closed = Vec::new();
        for save in saves {
            if let Save::BatchClosed { batch, .. } = &save {
                closed.push(*batch);
            }
            self.save(now, save);
        }
        for batch in closed {
            let running = self.running.remove(&batch).unwrap_or_default();
            assert!(running.is_empty(), "{batch:?} is closed over open steps {running:?}");
        }
    }

    fn save(&mut self, now: Now, save: Save) {
        match save {
            Save::Template(source) => {
                let key = &source.template.key;
                assert!(self.templates.iter().all(|known| known.template.key != *key), "{key} is saved twice");
                self.templates.push(source);
            }
            Save::Task(new) => self.save_task(now, *new),
            Save::TaskFinished { task, state } => self.finish_task(task, state),
            Save::TaskReopened { task } => {
                let stored = self.tasks.get_mut(&task).expect("a stored task");
                assert_eq!(stored.state.take(), Some(TaskState::Error), "only a task in error runs again");
                self.live.insert(task);
            }
            Save::Batch(batch) => self.save_batch(now, batch),
            Save::BatchClosed { batch, state, differences } => {
                let stored = self.batches.get_mut(&batch).expect("a stored batch");
                assert!(stored.closed.is_none(), "{batch:?} is closed twice");
                stored.closed = Some((state, differences));
                self.open.remove(&batch);
            }
            Save::StepSettled(settled) => self.settle(settled),
            Save::AttemptFailed(failed) => self.fail(now, *failed),
            Save::StepReturned { task, step, attempt, batch, reason: _ } => {
                self.end_item(batch, task, step, attempt, ItemRecord::Returned);
                self.step(task, step).attempts -= 1;
            }
            Save::ResultReceived(received) => self.ledger.push(*received),
            Save::OperatorAction(action) => self.operate(now, &action),
            Save::FleetAction(acted) => self.act(now, *acted),
            Save::WorkerRegistered { registration, worker } => {
                let same =
                    self.workers.values().find(|other| other.ended.is_none() && other.introduction.name == worker.name);
                assert!(same.is_none(), "{} has two registrations", worker.name);
                if let Some(earlier) = self.last_of.insert(worker.incarnation, registration) {
                    self.heirs.insert(earlier, registration);
                }
                assert!(
                    self.workers.insert(registration, StoredWorker { introduction: worker, ended: None }).is_none()
                );
            }
            Save::WorkerEnded { registration, reason } => {
                let worker = self.workers.get_mut(&registration).expect("a stored registration");
                assert_eq!(worker.ended.replace(reason), None, "a registration ends once");
                if reason != "reconnected" {
                    let left: Vec<_> =
                        self.open.iter().filter(|id| self.batches[id].registration == registration).collect();
                    assert!(left.is_empty(), "{reason} worker leaves {left:?} open");
                }
            }
            Save::Command(_) => {}
            Save::InboxTaken { row, refusal: _ } => assert!(self.inbox_taken.insert(row), "row {row} is taken twice"),
        }
    }

    fn save_task(&mut self, now: Now, new: NewTask) {
        assert!(self.templates.iter().any(|known| known.template.key == new.template.key), "template is not stored");
        if let Some(key) = &new.idempotency_key {
            let template = &new.template.key;
            let (namespace, name) = (template.namespace.clone(), template.name.clone());
            let key = KeyLookup { namespace, name, key: key.clone() };
            assert_eq!(self.keys.insert(key, new.id), None, "an idempotency key is used twice");
        }
        let steps = new.template.steps.iter().map(|step| StoredStep { limit: step.retry_limit, ..Default::default() });
        let task = StoredTask { created_at: now.wall, state: None, steps: steps.collect(), new };
        self.live.insert(task.new.id);
        assert!(self.tasks.insert(task.new.id, task).is_none(), "a task id is used twice");
    }

    /// A task ends when every step is settled, has failed, or waits below one that has; or when it is cancelled.
    fn finish_task(&mut self, id: TaskId, end: TaskState) {
        let task = self.tasks.get_mut(&id).expect("a stored task");
        self.live.remove(&id);
        let before = task.state.replace(end);
        if end == TaskState::Cancelled {
            assert!(matches!(before, None | Some(TaskState::Error)), "{before:?} is cancelled");
            assert!(task.steps.iter().all(|step| step.cancelled || step.failed || step.settled.is_some()));
            return;
        }
        assert_eq!(before, None, "a task that has ended ends again");
        let dag = &task.new.template.dag;
        let mut kinds = BTreeSet::new();
        for (number, step) in (0..).zip(&task.steps) {
            match &step.settled {
                Some((kind, _)) => drop(kinds.insert(kind.as_str())),
                None if step.failed => drop(kinds.insert("failed")),
                None => {
                    assert!(step.open.is_none() && step.retry_at.is_none(), "step {number} still runs");
                    let blocked =
                        dag.parents(number).iter().any(|&parent| task.steps[parent as usize].settled.is_none());
                    assert!(blocked, "step {number} could still run");
                }
            }
        }
        let expected = if kinds.contains("failed") {
            TaskState::Error
        } else if kinds.contains("resolved_manually") {
            TaskState::ResolvedManually
        } else {
            TaskState::Complete
        };
        assert_eq!(end, expected, "of {kinds:?}");
    }

    fn save_batch(&mut self, now: Now, batch: NewBatch) {
        self.newest_batch = self.newest_batch.max(Some(batch.id));
        assert!((1..=self.config.batch_steps_max as usize).contains(&batch.items.len()), "{} steps", batch.items.len());
        let worker = &self.workers[&batch.registration];
        assert_eq!(worker.ended, None, "work for a worker that has gone");
        let concurrency = worker.introduction.concurrency as usize;
        let capabilities = worker.introduction.capabilities.clone();
        let mut longest = 0;
        for item in &batch.items {
            let task = self.tasks.get_mut(&item.task).expect("a stored task");
            assert_eq!(task.state, None, "work for a task that has ended");
            assert!(task.new.run_at.is_none_or(|run_at| run_at <= now.wall), "a step runs before its task's time");
            let template = task.new.template.clone();
            longest = longest.max(template.steps[item.step as usize].timeout_ms);
            let namespace = &template.key.namespace;
            assert!(!self.pauses.contains_key(namespace), "a step of the paused namespace {namespace} is dispatched");
            assert!(capabilities.iter().any(|capability| covers(capability, &template.key)), "a foreign template");
            for &parent in template.dag.parents(item.step) {
                assert!(task.steps[parent as usize].settled.is_some(), "a step runs before its parent {parent}");
            }
            let step = &mut task.steps[item.step as usize];
            assert_eq!(step.state(now.mono), StepState::Pending, "a step that cannot run is dispatched");
            assert_eq!(item.attempt, step.attempts + 1, "attempts have no gap");
            assert!(item.attempt <= step.limit, "attempt {} of {}", item.attempt, step.limit);
            step.attempts = item.attempt;
            step.retry_at = None;
            step.open = Some(batch.id);
        }
        assert_eq!(batch.deadline_in_ms, longest);
        self.running.insert(batch.id, batch.items.iter().map(|item| (item.task, item.step)).collect());
        self.open.insert(batch.id);
        let items = batch.items.into_iter().map(|item| (item, ItemRecord::Open)).collect();
        let registration = batch.registration;
        let stored = StoredBatch { registration, items, closed: None };
        assert!(self.batches.insert(batch.id, stored).is_none(), "a batch id is used twice");
        let out: usize = self
            .open
            .iter()
            .filter(|id| self.owner(self.batches[id].registration) == registration)
            .map(|id| self.running[id].len())
            .sum();
        assert!(out <= concurrency, "{out} steps out for a concurrency of {concurrency}");
    }

    /// The registration that has a batch now: a process that reconnects keeps what it lists.
    pub fn owner(&self, registration: RegistrationId) -> RegistrationId {
        let worker = &self.workers[&registration];
        if worker.ended != Some("reconnected") {
            return registration;
        }
        self.heirs.get(&registration).map_or(registration, |&heir| self.owner(heir))
    }

    fn step(&mut self, task: TaskId, step: u32) -> &mut StoredStep {
        &mut self.tasks.get_mut(&task).expect("a stored task").steps[step as usize]
    }

    /// The open attempt ends, and with it its place in its batch.
    fn end_item(&mut self, batch: BatchId, task: TaskId, step: u32, attempt: u32, record: ItemRecord) {
        assert_eq!(self.tasks[&task].state, None, "a step of a task that has ended");
        let stored = self.step(task, step);
        assert_eq!(stored.settled, None, "a step is settled once");
        assert_eq!(stored.open.take(), Some(batch), "the attempt was not open in this batch");
        assert_eq!(stored.attempts, attempt);
        let stored = self.batches.get_mut(&batch).expect("a stored batch");
        assert!(stored.closed.is_none(), "a result into a closed batch");
        let item = stored.items.iter_mut().find(|(item, _)| (item.task, item.step) == (task, step));
        let (item, known) = item.expect("a step of this batch");
        assert_eq!((item.attempt, *known), (attempt, ItemRecord::Open));
        *known = record;
        assert!(self.running.get_mut(&batch).expect("an open batch").remove(&(task, step)));
    }

    fn settle(&mut self, settled: StepSettled) {
        assert_eq!(settled.checksum, checksum(&settled.result));
        let (task, step) = (settled.task, settled.step);
        match settled.kind {
            SettledKind::Complete => {
                let batch = settled.batch.expect("a complete step was in a batch");
                assert_eq!(settled.registration, Some(self.owner(self.batches[&batch].registration)));
                self.end_item(batch, task, step, settled.attempt, ItemRecord::Complete(settled.checksum));
            }
            SettledKind::Bypassed => assert!(self.tasks[&task].new.bypass_steps.contains(&step)),
            SettledKind::ResolvedManually => {
                let stored = self.step(task, step);
                stored.failed = false;
                stored.retry_at = None;
                if let Some(batch) = stored.open.take() {
                    self.running.get_mut(&batch).expect("an open batch").remove(&(task, step));
                }
            }
        }
        assert_eq!(self.tasks[&task].state, None, "a step of a task that has ended");
        let stored = self.step(task, step);
        assert_eq!(stored.settled, None, "a step is settled once");
        assert!(!stored.failed && !stored.cancelled && stored.retry_at.is_none());
        assert_eq!(stored.attempts, settled.attempt);
        stored.settled = Some((settled.kind, settled.result));
    }

    fn fail(&mut self, now: Now, failed: AttemptFailed) {
        let record = match failed.cause {
            FailureCause::Failed => ItemRecord::Failed,
            FailureCause::TimedOut | FailureCause::WorkerLost => ItemRecord::GivenUp,
        };
        assert_eq!(failed.registration, self.owner(self.batches[&failed.batch].registration));
        self.end_item(failed.batch, failed.task, failed.step, failed.attempt, record);
        let template = self.tasks[&failed.task].new.template.clone();
        let poison_limit = self.config.poison_limit;
        let step = self.step(failed.task, failed.step);
        step.losses += u32::from(failed.cause == FailureCause::WorkerLost);
        step.failures.push((failed.attempt, failed.cause));
        match failed.retry_in_ms {
            Some(delay_ms) => {
                assert!(failed.attempt < step.limit, "another attempt is beyond the limit");
                assert!(failed.failure.retryable && template.steps[failed.step as usize].retryable);
                assert!(step.losses < poison_limit);
                step.retry_at = (delay_ms > 0).then(|| now.mono + delay_ms);
            }
            None => step.failed = true,
        }
    }

    /// What is done to a namespace changes it, and holds for what is saved after it.
    fn act(&mut self, now: Now, acted: FleetActed) {
        let FleetActed { action, before, after } = acted;
        let pause = Pause { actor: (*action.actor).into(), reason: (*action.reason).into(), at: now.wall };
        match action.kind {
            FleetActionKind::PauseNamespace => {
                assert_eq!((before, after), ("active", "paused"));
                assert_eq!(self.pauses.insert(action.subject, pause), None, "a namespace is paused twice");
            }
            FleetActionKind::ResumeNamespace => {
                assert_eq!((before, after), ("paused", "active"));
                assert!(self.pauses.remove(&action.subject).is_some(), "a namespace is resumed that is not paused");
            }
            FleetActionKind::DrainWorker => {
                assert!(before != after && after == "draining", "from {before} to {after}");
                let open = |worker: &&StoredWorker| worker.ended.is_none();
                let known = self.workers.values().filter(open).any(|worker| worker.introduction.name == action.subject);
                assert!(known, "{} is drained and not registered", action.subject);
            }
        }
    }

    fn operate(&mut self, now: Now, action: &OperatorAction) {
        let id = action.operation.task;
        match (&action.operation.kind, action.step) {
            (OperationKind::Cancel, _) => {
                for step in 0..self.tasks[&id].steps.len() as u32 {
                    let stored = self.step(id, step);
                    stored.cancelled = stored.settled.is_none() && !stored.failed;
                    if let Some(batch) = stored.open.take() {
                        // Its worker was told to stop; the batch may have been closed in the same group.
                        if let Some(running) = self.running.get_mut(&batch) {
                            running.remove(&(id, step));
                        }
                    }
                }
            }
            (OperationKind::Retry { .. }, step) => {
                let number = step.expect("a reset names its step");
                let limit = self.tasks[&id].new.template.steps[number as usize].retry_limit;
                let stored = self.step(id, number);
                assert!(stored.failed, "only a step in error is reset");
                assert_eq!(stored.attempts, action.attempts_before);
                stored.failed = false;
                stored.losses = 0;
                stored.limit = stored.attempts + limit;
            }
            (OperationKind::Resolve { .. }, step) => {
                let stored = self.step(id, step.expect("a resolution names its step"));
                // A retry that is due in this very group may not have been noticed yet.
                let states = [stored.state(now.mono), stored.state(Mono(0))];
                assert!(states.iter().any(|state| state.as_str() == action.before), "{states:?}");
            }
        }
    }

    /// The store keeps times of the database's clock; here they are of the engine's, which starts anew after a crash.
    pub fn shift_clock(&mut self, ms: u64) {
        for id in &self.live {
            for step in &mut self.tasks.get_mut(id).expect("a stored task").steps {
                step.retry_at = step.retry_at.map(|at| at + ms);
            }
        }
    }

    /// The ground state that a new engine starts from.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        Snapshot {
            templates: self.templates.clone(),
            tasks: self.live.iter().map(|id| self.task_snapshot(now, *id).expect("a stored task")).collect(),
            ended_tasks: self
                .open
                .iter()
                .flat_map(|id| &self.batches[id].items)
                .map(|(item, _)| &self.tasks[&item.task])
                .filter(|task| task.state.is_some())
                .map(|task| (task.new.id, task.new.template.key.clone()))
                .collect(),
            batches: self
                .open
                .iter()
                .map(|&id| {
                    let batch = &self.batches[&id];
                    BatchSnapshot { id, registration: self.owner(batch.registration), items: batch.items.clone() }
                })
                .collect(),
            workers: self
                .workers
                .iter()
                .filter(|(_, worker)| worker.ended.is_none())
                .map(|(&registration, worker)| {
                    let worker = &worker.introduction;
                    WorkerSnapshot {
                        registration,
                        name: worker.name.clone(),
                        incarnation: worker.incarnation,
                        concurrency: worker.concurrency,
                        capabilities: worker.capabilities.clone(),
                        host: worker.host.clone(),
                        pid: worker.pid,
                        language: worker.language.clone(),
                        library: worker.library.clone(),
                        key: worker.key.clone(),
                    }
                })
                .collect(),
            newest_batch: self.newest_batch,
            pauses: self.pauses.iter().map(|(name, pause)| (name.clone(), pause.clone())).collect(),
        }
    }

    pub fn task_snapshot(&self, now: Now, id: TaskId) -> Option<TaskSnapshot> {
        let task = self.tasks.get(&id)?;
        let steps = task.steps.iter().map(|step| StepSnapshot {
            attempts: step.attempts,
            retry_limit: step.limit,
            workers_lost: step.losses,
            settled: step.settled.clone().map(|(kind, result)| SettledSnapshot {
                kind,
                checksum: checksum(&result),
                result,
            }),
            retry_in_ms: step.retry_at.map(|at| at.since(now.mono)).filter(|&delay_ms| delay_ms > 0),
            failed: step.failed,
        });
        Some(TaskSnapshot {
            id,
            template: task.new.template.key.clone(),
            context: task.new.context.clone(),
            priority: task.new.priority,
            idempotency_key: task.new.idempotency_key.clone(),
            run_in_ms: task.new.run_at.and_then(|at| u64::try_from(at.0 - now.wall.0).ok()).filter(|&ms| ms > 0),
            run_at: task.new.run_at,
            created_at: task.created_at,
            final_state: task.state,
            labels: task.new.labels.clone(),
            steps: steps.collect(),
        })
    }
}

fn covers(capability: &Capability, key: &TemplateKey) -> bool {
    match capability {
        Capability::Exact(exact) => exact == key,
        Capability::AnyVersion(namespace, name) => *namespace == key.namespace && *name == key.name,
        Capability::Namespace(namespace) => *namespace == key.namespace,
    }
}
