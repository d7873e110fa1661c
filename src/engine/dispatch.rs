//! From ready steps to batches: runs the planner and writes out what it decided.

use std::collections::{BTreeMap, HashSet};

use crate::attempt::EndedAttempt;
use crate::batch::{Batch, Completion, Item, ItemStatus};
use crate::deadlines::Deadline;
use crate::delivery::{
    Deliver, Dispatch, DispatchedStep, DispatchedTask, Notice, NoticeKind, Read, Reply, WorkerMessage,
};
use crate::effect::{Effects, FailureCause, NewBatch, Save};
use crate::engine::Engine;
use crate::event::Failure;
use crate::hash::BuildIdHasher;
use crate::id::{BatchId, IdSource, Origin, RegistrationId, TaskId};
use crate::mark::Mark;
use crate::planner::Blocked;
use crate::state::BatchState;
use crate::step::{Phase, StepInput};
use crate::task::count;
use crate::time::Now;
use crate::workers::Standing;

/// A batch in the making.
struct Draft {
    id: BatchId,
    items: Vec<Item>,
    /// What its message takes so far. A result that several steps share counts for each: an upper bound is enough.
    bytes: u64,
}

impl Draft {
    fn new(ids: &mut IdSource, now: Now) -> Draft {
        Draft { id: BatchId(ids.uuid(now.wall)), items: Vec::new(), bytes: BATCH_BYTES }
    }
}

/// What a step takes in a message, and its task, which is there once.
struct Bytes {
    task: u64,
    step: u64,
}

/// Most bytes of a message for all that it has once, and for what a task or step has besides texts: keys, ids, numbers and
/// lengths, with some room.
const BATCH_BYTES: u64 = 256;
const TASK_BYTES: u64 = 384;
const STEP_BYTES: u64 = 256;

/// Error class of a step that fits no message.
const TOO_LARGE_CLASS: &str = "TaskerCore::Errors::StepTooLargeError";

impl Engine {
    /// Hands ready steps to workers with credit, until either runs out. Returns the batches made.
    pub fn plan(&mut self, now: Now, out: &mut Effects) -> Vec<BatchId> {
        self.census.now = now.mono;
        if self.draining {
            return Vec::new();
        }
        let mut made = Vec::new();
        let mut drafts: BTreeMap<RegistrationId, Draft> = BTreeMap::new();
        let mut blocked = Blocked::default();
        while let Some(pick) = self.queues.pick(&mut self.workers, &mut blocked) {
            let next = self.bytes_of_next(pick.task);
            let alone = BATCH_BYTES + next.task + next.step;
            if alone > self.config.delivery_bytes_max {
                self.fail_too_large(now, pick.task, pick.worker, alone, out);
                continue;
            }
            let draft = drafts.entry(pick.worker).or_insert_with(|| Draft::new(&mut self.ids, now));
            let known = draft.items.last().is_some_and(|last| last.task == pick.task);
            let more = if known { next.step } else { next.task + next.step };
            if draft.bytes + more > self.config.delivery_bytes_max {
                let Draft { id, items, .. } = std::mem::replace(draft, Draft::new(&mut self.ids, now));
                made.push(id);
                self.send_batch(now, pick.worker, id, items, out);
            }
            draft.bytes += if draft.items.is_empty() { next.task + next.step } else { more };
            draft.items.push(self.take_step(now, pick.task, draft.id, out));
            self.workers.take_slot(pick.worker);
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
        self.room = [out.saves.len(), out.deliveries.len(), out.marks.len()];
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
        if task.start(&mut self.census) {
            out.publish(Notice { state: Some(task.state().as_str()), ..task.notice(NoticeKind::TaskStarted) });
        }
        let step = task.pop_ready().expect("a queued task has a ready step");
        let mut waited_ms = 0;
        if let Phase::Ready(since) = task.step(step).phase() {
            let queued_ms = now.mono.since(since);
            waited_ms = queued_ms;
            out.marks.push(Mark::StepDispatched { template: task.template_index, queued_ms });
        }
        task.must_apply(step, StepInput::Dispatched(batch), &mut self.census);
        self.queues.taken(task);
        out.publish(Notice { batch: Some(batch), ..task.step_notice(NoticeKind::StepDispatched, step) });
        let item = Item {
            task: id,
            template: task.template.clone(),
            step,
            attempt: task.step(step).attempts,
            status: ItemStatus::Open,
            deadline: now.mono + task.template.steps[step as usize].timeout_ms,
        };
        self.tell_wait(now, &item, batch, waited_ms, out);
        item
    }

    /// What a task and its next step take at most in a message.
    fn bytes_of_next(&mut self, id: TaskId) -> Bytes {
        let task = self.tasks.get_mut(&id).expect("the planner's queues hold live tasks only");
        let number = task.next_ready().expect("a queued task has a ready step");
        let texts = task.template.message_bytes(number);
        Bytes { task: TASK_BYTES + task.message_bytes(), step: STEP_BYTES + texts + task.step(number).parents_bytes }
    }

    /// Ends a step that fits no message as if its worker had failed it. Its batch is recorded, so that the attempt has
    /// one, and is over at once.
    fn fail_too_large(&mut self, now: Now, id: TaskId, registration: RegistrationId, bytes: u64, out: &mut Effects) {
        let batch = BatchId(self.ids.uuid(now.wall));
        let item = self.take_step(now, id, batch, out);
        let task = &self.tasks[&id];
        let message = format!(
            "the step takes up to {bytes} bytes as a message ({} of context, {} of inputs, {} of its parents' results), at              most {} (limits.message_bytes_max) can be sent",
            task.context.len(),
            item.template.steps[item.step as usize].inputs.len(),
            task.step(item.step).parents_bytes,
            self.config.delivery_bytes_max
        );
        let deadline_in_ms = item.deadline.since(now.mono);
        out.saves.push(Save::Batch(NewBatch { id: batch, registration, items: vec![item.saved()], deadline_in_ms }));
        let failure = Failure { class: TOO_LARGE_CLASS.to_owned(), message, retryable: false, ..Failure::default() };
        let ended = EndedAttempt {
            task: id,
            step: item.step,
            batch,
            registration,
            dispatched: now.mono,
            cause: FailureCause::Failed,
            failure,
            started_at_us: 0,
            duration_us: 0,
        };
        self.end_attempt(now, ended, out);
        out.saves.push(Save::BatchClosed { batch, state: BatchState::Failed, differences: Vec::new() });
        self.advance_task(now, id, out);
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
            state: Some(BatchState::Published.as_str()),
            ..Notice::new(NoticeKind::BatchPublished)
        });
        self.deadlines.add(due, Deadline::Batch(id));
        self.batches.insert(
            id,
            Batch {
                registration,
                items,
                progress: BTreeMap::new(),
                dispatched: now.mono,
                told: now.mono,
                due,
                waits_until: None,
                completion: Completion::Awaited,
            },
        );
    }

    /// The batch as its worker gets it: each task and each parent's result once.
    fn write_out(
        &mut self,
        registration: RegistrationId,
        batch: BatchId,
        deadline_in_ms: u64,
        items: &[Item],
    ) -> Dispatch {
        let mut tasks: Vec<DispatchedTask> = Vec::with_capacity(items.len());
        let mut steps = Vec::with_capacity(items.len());
        // Results that are in the message, of tasks that have several steps in it.
        let mut written: HashSet<(u32, u32), BuildIdHasher> = HashSet::default();
        for item in items {
            let task = self.tasks.get_mut(&item.task).expect("a step of it was taken just now");
            let (place, is_new) = match task.written {
                Some((last, place)) if last == batch => (place, false),
                Some(_) | None => (count(tasks.len()), true),
            };
            if is_new {
                task.written = Some((batch, place));
                tasks.push(DispatchedTask {
                    id: task.id,
                    template: task.template.clone(),
                    context: task.context.clone(),
                    priority: task.priority,
                    labels: task.labels.clone(),
                    results: Vec::with_capacity(task.template.dag.parents(item.step).len()),
                });
            }
            let results = &mut tasks[place as usize].results;
            if !is_new && results.first().is_some_and(|&(parent, _)| !written.contains(&(place, parent))) {
                written.extend(results.iter().map(|&(parent, _)| (place, parent)));
            }
            for &parent in task.template.dag.parents(item.step) {
                if let Some(result) = &task.step(parent).result
                    && (is_new || written.insert((place, parent)))
                {
                    results.push((parent, result.clone()));
                }
            }
            steps.push(DispatchedStep {
                task: place,
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
            let steps = self.batches[batch].items.iter().filter(|item| item.task == id).count();
            if steps > 0 {
                batches.push(batch);
                steps_dispatched += count(steps);
            }
        }
        if steps_dispatched > 0 {
            out.audit("TryTaskIfReady", origin, Some(id), Ok(()));
        }
        let Some(task) = self.tasks.get(&id) else {
            // Its last step fitted no message.
            out.deliveries.push(Deliver::Read(Read::Tried { to: origin, task: id }));
            return;
        };
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
