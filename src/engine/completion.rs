//! How a batch empties and closes: steps that come back unrun, and the worker's closing report.

use std::sync::Arc;

use crate::batch::{Completion, ItemStatus};
use crate::deadlines::Deadline;
use crate::delivery::{Disposition, Notice, NoticeKind, Reply};
use crate::effect::{Effects, Save};
use crate::engine::Engine;
use crate::event::{CompletedStep, CompletionStatus, StepReference};
use crate::id::{BatchId, Origin, RegistrationId};
use crate::mark::{Mark, StepEnd};
use crate::span::AttemptEnd;
use crate::state::BatchState;
use crate::step::StepInput;
use crate::time::Now;

/// A worker that gives steps back (it drains, or cannot run them) would often get the same ones again at once.
const PAUSE_AFTER_RETURN_MS: u64 = 1_000;

impl Engine {
    pub(crate) fn steps_returned(
        &mut self,
        now: Now,
        origin: Origin,
        steps: Vec<StepReference>,
        why: &str,
        out: &mut Effects,
    ) {
        let Some(registration) = self.heard_from(now, origin, out) else { return };
        let resume_at = now.mono + PAUSE_AFTER_RETURN_MS;
        self.workers.change(registration, |worker| worker.paused = true);
        self.deadlines.add(resume_at, Deadline::Resume(registration));
        let why: Arc<str> = Arc::from(why);
        let mut results = Vec::with_capacity(steps.len());
        let mut closed_batches = Vec::new();
        for at in steps {
            let open =
                self.batches.get(at.batch).filter(|batch| batch.registration == registration).and_then(|batch| {
                    batch
                        .find(0, at.task, &at.step, at.attempt)
                        .filter(|&item| batch.items[item].status == ItemStatus::Open)
                });
            let disposition = match open {
                Some(item) => {
                    self.return_item(now, at.batch, item, &why, out);
                    self.advance_task(now, at.task, out);
                    Disposition::Accepted
                }
                None => {
                    self.release_item(registration, &at);
                    Disposition::Late
                }
            };
            if self.close_if_done(now, at.batch, out) {
                closed_batches.push(at.batch);
            }
            results.push((at, disposition));
        }
        out.reply(origin, Reply::ResultsAccepted { results, closed_batches });
        self.leave_if_drained(registration, out);
    }

    /// Takes a step back that its worker has not run, or not to the end. The caller advances the task.
    pub(crate) fn return_item(&mut self, now: Now, id: BatchId, item: usize, why: &Arc<str>, out: &mut Effects) {
        let batch = self.batches.get_mut(id).expect("the caller has found the item in it");
        let registration = batch.registration;
        let item = &mut batch.items[item];
        item.status = ItemStatus::Returned;
        let (task, step, attempt) = (item.task, item.step, item.attempt);
        self.workers.change(registration, |worker| worker.out = worker.out.saturating_sub(1));
        self.move_step(task, step, StepInput::Returned);
        out.publish(Notice {
            batch: Some(id),
            attempt: Some(attempt),
            reason: Some(why.clone()),
            ..self.tasks[&task].step_notice(NoticeKind::StepReturned, step)
        });
        let template = self.tasks[&task].template_index;
        out.marks.push(Mark::StepEnded { template, end: StepEnd::Returned, ran_us: 0 });
        let end = || AttemptEnd::Returned { reason: why.clone() };
        self.tell_attempt(now, (task, step, attempt), id, registration, end, out);
        out.saves.push(Save::StepReturned { task, step, attempt, batch: id, reason: why.clone() });
    }

    /// A worker has let go of a step that the broker had given up.
    fn release_item(&mut self, registration: RegistrationId, at: &StepReference) {
        let Some(batch) = self.batches.get(at.batch).filter(|batch| batch.registration == registration) else {
            return;
        };
        let Some(item) = batch.find(0, at.task, &at.step, at.attempt) else { return };
        self.let_go_of(at.batch, item);
    }

    /// The same, of an item that was found.
    fn let_go_of(&mut self, id: BatchId, item: usize) {
        let batch = self.batches.get_mut(id).expect("the caller has found the item in it");
        let registration = batch.registration;
        let status = batch.items[item].status;
        batch.items[item].status = status.released();
        if status.holds_slot() && !batch.items[item].status.holds_slot() {
            self.workers.change(registration, |worker| worker.out = worker.out.saturating_sub(1));
        }
    }

    pub(crate) fn batch_reported(
        &mut self,
        now: Now,
        origin: Origin,
        id: BatchId,
        steps: Vec<CompletedStep>,
        out: &mut Effects,
    ) {
        let Some(registration) = self.heard_from(now, origin, out) else { return };
        if self.batches.get(id).is_none_or(|batch| batch.registration != registration) {
            // Closed before, or never this worker's: either way nothing of it is awaited.
            out.reply(origin, Reply::ResultsAccepted { results: Vec::new(), closed_batches: vec![id] });
            return;
        }
        let why: Arc<str> = Arc::from("named as returned by the batch completion");
        for (near, line) in steps.iter().enumerate() {
            let batch = &self.batches[id];
            let Some(item) = batch.find(near, line.task, &line.step, line.attempt) else { continue };
            let status = batch.items[item].status;
            if status == ItemStatus::Open && line.status == CompletionStatus::Returned {
                self.return_item(now, id, item, &why, out);
                self.advance_task(now, line.task, out);
            } else if status != status.released() {
                self.let_go_of(id, item);
            }
        }
        let batch = self.batches.get_mut(id).expect("looked at above, and closed only below");
        batch.completion = Completion::Reported(steps);
        if self.close_if_done(now, id, out) {
            out.reply(origin, Reply::ResultsAccepted { results: Vec::new(), closed_batches: vec![id] });
            self.leave_if_drained(registration, out);
        } else {
            let batch = &self.batches[id];
            let missing = batch.open_items().map(|item| batch.items[item].reference(id)).collect();
            out.reply(origin, Reply::ResultsMissing { batch: id, steps: missing });
        }
    }

    /// Closes a batch whose completion is in and whose steps are all accounted for. The caller lets a draining worker
    /// leave, after it has told it of the closing.
    pub(crate) fn close_if_done(&mut self, now: Now, id: BatchId, out: &mut Effects) -> bool {
        let Some(batch) = self.batches.get(id) else { return false };
        if let Some(state) = batch.closing() {
            self.close_batch(id, state, out);
            return true;
        }
        if batch.lacks_completion() && batch.waits_until.is_none() {
            self.wait_for_completion(now, id);
        }
        false
    }

    /// A closing report may be lost for good: a worker forgets it when the database refuses it, and some never send any. A
    /// batch is not kept for ever because of that, and neither is a worker that drains.
    pub(crate) fn wait_for_completion(&mut self, now: Now, id: BatchId) {
        let until = now.mono + self.config.worker_timeout_ms;
        let Some(batch) = self.batches.get_mut(id) else { return };
        self.deadlines.remove(batch.due, Deadline::Batch(id));
        batch.waits_until = Some(until);
        batch.due = until;
        self.deadlines.add(until, Deadline::Batch(id));
    }

    /// Closes a batch and frees what it held.
    pub(crate) fn close_batch(&mut self, id: BatchId, state: BatchState, out: &mut Effects) {
        let batch = self.batches.remove(id).expect("the caller has looked at it");
        self.deadlines.remove(batch.due, Deadline::Batch(id));
        let held = batch.items.iter().filter(|item| item.status.holds_slot()).count();
        let worker = self.workers.change(batch.registration, |worker| {
            worker.batches.remove(&id);
            worker.out = worker.out.saturating_sub(crate::task::count(held));
            worker.name()
        });
        out.saves.push(Save::BatchClosed { batch: id, state, differences: batch.differences() });
        out.publish(Notice {
            batch: Some(id),
            worker,
            state: Some(state.as_str()),
            ..Notice::new(NoticeKind::BatchClosed)
        });
    }
}
