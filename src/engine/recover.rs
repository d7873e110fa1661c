//! From the ground state in the store back to a running engine.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::batch::{Batch, Completion, Item, ItemStatus};
use crate::config::Config;
use crate::deadlines::Deadline;
use crate::effect::Effects;
use crate::engine::Engine;
use crate::event::WorkerIntroduction;
use crate::hash::BuildIdHasher;
use crate::id::{BatchId, RegistrationId, TaskId};
use crate::snapshot::{BatchSnapshot, ItemRecord, Snapshot, StepSnapshot, TaskSnapshot, WorkerSnapshot};
use crate::state::TaskState;
use crate::step::{Phase, Step};
use crate::task::{Task, count};
use crate::template::TemplateKey;
use crate::time::Now;
use crate::workers::{Standing, Worker};

/// Open attempts by task and step.
type OpenSteps = HashMap<(TaskId, u32), BatchId, BuildIdHasher>;
/// Templates of tasks that have ended while a batch with a step of theirs is open.
type EndedTasks = HashMap<TaskId, TemplateKey, BuildIdHasher>;

impl Engine {
    /// An engine with everything that the store holds unfinished. Workers have the grace period to come back and claim
    /// their batches; deadlines of steps begin anew, so that no jump of the wall clock ends one early.
    ///
    /// # Panics
    /// When a task names a template that the snapshot lacks, or a batch a task: the store reads all in one transaction.
    pub fn recover(config: Config, seed: [u64; 2], now: Now, snapshot: Snapshot, out: &mut Effects) -> Engine {
        let mut engine = Engine::new(config, seed);
        engine.pauses.extend(snapshot.pauses);
        engine.census.now = now.mono;
        for source in snapshot.templates {
            let index = engine.registry.register(source).ok().flatten().expect("the store holds a template once");
            engine.take_template_in(index);
        }
        engine.ids.advance_past(snapshot.newest_batch.map_or(Uuid::nil(), |batch| batch.0));
        for worker in snapshot.workers {
            engine.await_worker(now, worker);
        }
        let mut open = OpenSteps::default();
        for batch in &snapshot.batches {
            for (item, record) in &batch.items {
                if *record == ItemRecord::Open {
                    open.insert((item.task, item.step), batch.id);
                }
            }
        }
        let ids: Vec<TaskId> = snapshot.tasks.iter().map(|task| task.id).collect();
        for task in snapshot.tasks {
            engine.restore_task(now, task, &open);
        }
        let ended: EndedTasks = snapshot.ended_tasks.into_iter().collect();
        for batch in snapshot.batches {
            engine.restore_batch(now, batch, &ended, out);
        }
        for id in ids {
            engine.advance_task(now, id, out);
        }
        engine
    }

    fn await_worker(&mut self, now: Now, snapshot: WorkerSnapshot) {
        let registration = snapshot.registration;
        let introduction = WorkerIntroduction {
            name: snapshot.name,
            incarnation: snapshot.incarnation,
            capabilities: snapshot.capabilities,
            templates: Vec::new(),
            concurrency: snapshot.concurrency,
            host: snapshot.host,
            pid: snapshot.pid,
            language: snapshot.language,
            library: snapshot.library,
            key: snapshot.key,
            open_batches: Vec::new(),
            unacknowledged: Vec::new(),
        };
        let mut worker = Worker::new(registration, introduction, now.mono);
        worker.standing = Standing::Awaited;
        worker.check_at = now.mono + self.config.recovery_grace_ms;
        self.deadlines.add(worker.check_at, Deadline::Worker(registration));
        self.workers.add(worker);
    }

    /// Takes a task that had ended in error back, for an operation on it.
    pub(crate) fn take_task_in(&mut self, now: Now, snapshot: TaskSnapshot) {
        self.restore_task(now, snapshot, &OpenSteps::default());
    }

    fn restore_task(&mut self, now: Now, snapshot: TaskSnapshot, open: &OpenSteps) {
        let index = self.registry.index(&snapshot.template).expect("the store keeps the template of every task");
        let template = self.registry.get(index).template.clone();
        let id = snapshot.id;
        let mut task =
            Task::new(id, template.clone(), index, snapshot.context, snapshot.labels, snapshot.created_at, now.mono);
        task.priority = snapshot.priority;
        task.idempotency_key = snapshot.idempotency_key;
        task.run_at = snapshot.run_at;
        task.turn = self.queues.draw_turn();
        task.reopened_at = snapshot.final_state.map(|_| now.wall);
        let settled: Vec<bool> = snapshot.steps.iter().map(|step| step.settled.is_some()).collect();
        let unsettled = |numbers: &[u32]| count(numbers.iter().filter(|&&number| !settled[number as usize]).count());
        let size = |step: &StepSnapshot| step.settled.as_ref().map_or(0, |settled| settled.result.len() as u64);
        let sizes: Vec<u64> = snapshot.steps.iter().map(size).collect();
        let mut steps = Vec::with_capacity(snapshot.steps.len());
        for (number, stored) in (0_u32..).zip(snapshot.steps) {
            let parents_left = unsettled(template.dag.parents(number));
            let phase = self.phase_of(now, id, number, &stored, parents_left, open);
            let children_left = unsettled(template.dag.children(number));
            let mut step = Step::new(stored.retry_limit, parents_left, children_left, now.mono);
            step.attempts = stored.attempts;
            step.losses = stored.workers_lost;
            if let Some(settled) = stored.settled {
                step.checksum = settled.checksum;
                step.result = (step.children_left > 0).then_some(settled.result);
            }
            steps.push(step.restored(phase));
        }
        let touched = |step: &Step| step.attempts > 0 || matches!(step.phase(), Phase::Settled(_) | Phase::Failed);
        let running = if steps.iter().any(touched) { TaskState::InProgress } else { TaskState::Pending };
        let state = snapshot.final_state.unwrap_or(running);
        task.restore(steps.into(), &sizes, state, self.config.delivery_bytes_max);
        if let Some(delay_ms) = snapshot.run_in_ms {
            let start_at = now.mono + delay_ms;
            task.start_at = Some(start_at);
            self.deadlines.add(start_at, Deadline::Start(id));
        }
        if let Some(key) = task.key_lookup() {
            self.keys.insert(key, id);
        }
        self.steps_unfinished += task.steps.iter().filter(|step| !step.phase().state().is_final()).count() as u64;
        self.held_bytes += task.held_bytes;
        self.census.enter(&task);
        self.tasks.insert(id, Box::new(task));
    }

    fn phase_of(
        &mut self,
        now: Now,
        task: TaskId,
        number: u32,
        stored: &StepSnapshot,
        parents_left: u32,
        open: &OpenSteps,
    ) -> Phase {
        if let Some(settled) = &stored.settled {
            Phase::Settled(settled.kind)
        } else if let Some(&batch) = open.get(&(task, number)) {
            Phase::Dispatched(batch)
        } else if stored.failed {
            Phase::Failed
        } else if let Some(delay_ms) = stored.retry_in_ms.filter(|&delay_ms| delay_ms > 0) {
            let at = now.mono + delay_ms;
            self.deadlines.add(at, Deadline::Retry(task, number));
            Phase::Retrying(at)
        } else if parents_left == 0 {
            Phase::Ready(now.mono)
        } else {
            Phase::Waiting
        }
    }

    fn restore_batch(&mut self, now: Now, snapshot: BatchSnapshot, ended: &EndedTasks, out: &mut Effects) {
        let id = snapshot.id;
        let items: Vec<Item> = snapshot
            .items
            .into_iter()
            .map(|(saved, record)| {
                let task = self.tasks.get(&saved.task);
                let open = task.is_some_and(|task| task.step(saved.step).phase() == Phase::Dispatched(id));
                let template = match task {
                    Some(task) => task.template.clone(),
                    None => {
                        let index = ended.get(&saved.task).and_then(|key| self.registry.index(key));
                        let index = index.expect("the store gives the template of every task that it names");
                        self.registry.get(index).template.clone()
                    }
                };
                let status = match record {
                    ItemRecord::Open if open => ItemStatus::Open,
                    // Resolved or cancelled while the worker had it, which may still be so.
                    ItemRecord::Open => ItemStatus::Cancelled,
                    ItemRecord::Complete(checksum) => ItemStatus::Complete(checksum),
                    ItemRecord::Failed => ItemStatus::Failed,
                    // Its worker may still run it; if not, the slot is free when the batch closes.
                    ItemRecord::GivenUp => ItemStatus::TimedOut,
                    ItemRecord::Returned => ItemStatus::Returned,
                };
                let deadline = now.mono + template.steps[saved.step as usize].timeout_ms;
                Item { task: saved.task, template, step: saved.step, attempt: saved.attempt, status, deadline }
            })
            .collect();
        let registration: RegistrationId = snapshot.registration;
        let mut batch = Batch {
            registration,
            items,
            progress: BTreeMap::new(),
            dispatched: now.mono,
            told: now.mono,
            due: now.mono,
            waits_until: None,
            completion: Completion::Awaited,
        };
        if let Some(due) = batch.next_due() {
            batch.due = due;
            self.deadlines.add(due, Deadline::Batch(id));
        }
        let held = count(batch.items.iter().filter(|item| item.status.holds_slot()).count());
        let lacks_completion = batch.lacks_completion();
        self.batches.insert(id, batch);
        if lacks_completion {
            self.wait_for_completion(now, id);
        }
        let taken = self.workers.change(registration, |worker| {
            worker.out += held;
            worker.batches.insert(id);
        });
        if taken.is_none() {
            // Its worker's registration was ended, yet the batch was not closed with it.
            self.lose_batch(now, id, "the worker's registration had ended", out);
        }
    }
}
