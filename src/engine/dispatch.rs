//! From ready steps to batches: runs the planner and writes out what it decided.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::batch::{Batch, Completion, Item, ItemStatus};
use crate::deadlines::Deadline;
use crate::delivery::{
    Deliver, Dispatch, DispatchedStep, DispatchedTask, Notice, NoticeKind, Read, Reply, WorkerMessage,
};
use crate::effect::{Effects, NewBatch, Save};
use crate::engine::Engine;
use crate::id::{BatchId, Origin, RegistrationId, TaskId};
use crate::planner::Blocked;
use crate::step::StepInput;
use crate::task::count;
use crate::time::Now;
use crate::workers::Standing;

/// A batch in the making.
struct Draft {
    id: BatchId,
    items: Vec<Item>,
    /// Payload so far. A result that several steps share counts for each: an upper bound is enough.
    bytes: u64,
}

impl Engine {
    /// Hands ready steps to workers with credit, until either runs out. Returns the batches made.
    pub fn plan(&mut self, now: Now, out: &mut Effects) -> Vec<BatchId> {
        if self.draining {
            return Vec::new();
        }
        let mut made = Vec::new();
        let mut drafts: BTreeMap<RegistrationId, Draft> = BTreeMap::new();
        let mut blocked = Blocked::default();
        while self.workers.any_credit() {
            let Some(pick) = self.queues.pick(&self.workers, &mut blocked) else { break };
            let ids = &mut self.ids;
            let draft = drafts.entry(pick.worker).or_insert_with(|| Draft {
                id: BatchId(ids.uuid(now.wall)),
                items: Vec::new(),
                bytes: 0,
            });
            let item = self.take_step(now, pick.task, draft.id, out);
            draft.bytes += self.payload_bytes(&item, draft.items.last());
            draft.items.push(item);
            self.workers.change(pick.worker, |worker| worker.out += 1);
            let full = draft.items.len() >= self.config.batch_steps_max as usize;
            if full || draft.bytes >= self.config.batch_bytes_max {
                let draft = drafts.remove(&pick.worker).expect("filled just now");
                made.push(draft.id);
                self.send_batch(now, pick.worker, draft.id, draft.items, out);
            }
        }
        self.queues.unblock(blocked);
        for (worker, draft) in drafts {
            made.push(draft.id);
            self.send_batch(now, worker, draft.id, draft.items, out);
        }
        made
    }

    /// From here on [`plan`](Engine::plan) hands out nothing: what workers have may come back, and the rest waits for
    /// another engine.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether a worker that can be reached still has something to say that counts: the outcome of an open step, or the
    /// completion that closes a batch. A step whose outcome is late by now is not waited for.
    pub fn awaits_reports(&self) -> bool {
        self.batches.values().any(|batch| {
            let worker = self.workers.get(batch.registration);
            let reachable = worker.is_some_and(|worker| match worker.standing {
                Standing::Active | Standing::Suspect | Standing::Draining => true,
                Standing::Unreachable | Standing::Awaited => false,
            });
            let given_up = batch.items.iter().any(|item| item.status != ItemStatus::Open && item.status.holds_slot());
            reachable && (batch.open_items().next().is_some() || !given_up)
        })
    }

    /// Takes the next ready step of a task into a batch.
    fn take_step(&mut self, now: Now, id: TaskId, batch: BatchId, out: &mut Effects) -> Item {
        let task = self.tasks.get_mut(&id).expect("the planner's queues hold live tasks only");
        if task.start() {
            out.publish(Notice { state: Some(task.state().as_str()), ..task.notice(NoticeKind::TaskStarted) });
        }
        let step = task.pop_ready().expect("a queued task has a ready step");
        task.must_apply(step, StepInput::Dispatched(batch));
        self.queues.taken(task);
        out.publish(Notice { batch: Some(batch), ..task.step_notice(NoticeKind::StepDispatched, step) });
        Item {
            task: id,
            template: task.template.clone(),
            step,
            attempt: task.step(step).attempts,
            status: ItemStatus::Open,
            deadline: now.mono + task.template.steps[step as usize].timeout_ms,
        }
    }

    /// What a step adds to a batch that ends with `last`.
    fn payload_bytes(&self, item: &Item, last: Option<&Item>) -> u64 {
        let task = &self.tasks[&item.task];
        let context = if last.is_some_and(|last| last.task == item.task) { 0 } else { task.context.len() };
        let parents = item.template.dag.parents(item.step).iter();
        let results: usize = parents.filter_map(|&parent| task.step(parent).result.as_ref()).map(Bytes::len).sum();
        (context + item.template.steps[item.step as usize].inputs.len() + results) as u64
    }

    fn send_batch(&mut self, now: Now, registration: RegistrationId, id: BatchId, items: Vec<Item>, out: &mut Effects) {
        let due = items.iter().map(|item| item.deadline).min().expect("a batch has a step");
        let last = items.iter().map(|item| item.deadline).max().expect("a batch has a step");
        let deadline_in_ms = last.since(now.mono);
        out.saves.push(Save::Batch(NewBatch {
            id,
            registration,
            items: items.iter().map(Item::saved).collect(),
            deadline_in_ms,
        }));
        let (peer, name) = self
            .workers
            .change(registration, |worker| {
                worker.batches.insert(id);
                (worker.peer, worker.name())
            })
            .expect("the planner picks registered workers");
        let peer = peer.expect("a worker with credit has a connection");
        let dispatch = Box::new(self.write_out(registration, id, deadline_in_ms, &items));
        out.deliveries.push(Deliver::Worker { peer, message: WorkerMessage::Execute(dispatch) });
        out.publish(Notice {
            batch: Some(id),
            worker: Some(name),
            state: Some(crate::BatchState::Published.as_str()),
            ..Notice::new(NoticeKind::BatchPublished)
        });
        self.deadlines.add(due, Deadline::Batch(id));
        self.batches.insert(
            id,
            Batch { registration, items, dispatched: now.mono, told: now.mono, due, completion: Completion::Awaited },
        );
    }

    /// The batch as its worker gets it: each task and each parent's result once.
    fn write_out(&self, registration: RegistrationId, batch: BatchId, deadline_in_ms: u64, items: &[Item]) -> Dispatch {
        let mut tasks: Vec<DispatchedTask> = Vec::new();
        let mut places: BTreeMap<TaskId, usize> = BTreeMap::new();
        let mut written: BTreeSet<(usize, u32)> = BTreeSet::new();
        let mut steps = Vec::with_capacity(items.len());
        for item in items {
            let task = &self.tasks[&item.task];
            let place = *places.entry(item.task).or_insert_with(|| {
                tasks.push(DispatchedTask {
                    id: task.id,
                    template: task.template.clone(),
                    context: task.context.clone(),
                    priority: task.priority,
                    labels: task.labels.clone(),
                    results: Vec::new(),
                });
                tasks.len() - 1
            });
            for &parent in task.template.dag.parents(item.step) {
                if let Some(result) = &task.step(parent).result
                    && written.insert((place, parent))
                {
                    tasks[place].results.push((parent, result.clone()));
                }
            }
            steps.push(DispatchedStep {
                task: count(place),
                step: item.step,
                attempt: item.attempt,
                retry_limit: task.step(item.step).limit,
            });
        }
        Dispatch { batch, registration, deadline_in_ms, tasks, steps }
    }

    /// Plans at once, and says what that did for one task.
    pub(crate) fn task_tried(&mut self, now: Now, origin: Origin, id: TaskId, out: &mut Effects) {
        if !self.tasks.contains_key(&id) {
            // It has ended, or never was: the store knows.
            out.deliveries.push(Deliver::Read(Read::Tried { to: origin, task: id }));
            return;
        }
        let mut batches = Vec::new();
        let mut steps_dispatched = 0;
        for batch in self.plan(now, out) {
            let steps = self.batches[&batch].items.iter().filter(|item| item.task == id).count();
            if steps > 0 {
                batches.push(batch);
                steps_dispatched += count(steps);
            }
        }
        if steps_dispatched > 0 {
            out.audit("TryTaskIfReady", origin, Some(id), Ok(()));
        }
        let task = &self.tasks[&id];
        out.reply(
            origin,
            Reply::TaskTried {
                task: id,
                steps_dispatched,
                batches,
                steps_waiting: task.step_counts().ready,
                state: task.state(),
            },
        );
    }
}
