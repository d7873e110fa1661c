//! What workers report: outcomes, returned steps, batch completions. And how an attempt ends without a result.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Completion, ItemStatus};
use crate::deadlines::Deadline;
use crate::effect::{
    AttemptFailed, Deliver, Disposition, Effects, FailureCause, Notice, NoticeKind, ReceivedResult, Reply, Save,
    SettledKind, StepSettled, WorkerMessage,
};
use crate::engine::{Engine, reason};
use crate::event::{CompletedStep, CompletionStatus, Failure, Outcome, StepReference, StepReport};
use crate::id::{BatchId, Origin, RegistrationId, TaskId};
use crate::retry::parse_retry_after;
use crate::state::BatchState;
use crate::step::{Phase, StepInput};
use crate::time::{Mono, Now};

/// Error class of an attempt whose deadline passed; the Ruby gem raises the same.
const TIMEOUT_CLASS: &str = "TaskerCore::Errors::TimeoutError";
/// Error class of an attempt whose worker was lost.
const WORKER_LOST_CLASS: &str = "TaskerCore::Errors::WorkerLostError";
/// Error class of a step that lost too many workers.
const POISON_CLASS: &str = "TaskerCore::Errors::PoisonStepError";

/// An attempt that ended without a result.
pub(crate) struct EndedAttempt {
    pub task: TaskId,
    pub step: u32,
    pub batch: BatchId,
    pub registration: RegistrationId,
    pub dispatched: Mono,
    pub cause: FailureCause,
    pub failure: Failure,
    pub started_at_us: i64,
    pub duration_us: u64,
}

impl Engine {
    pub(crate) fn results_reported(&mut self, now: Now, origin: Origin, results: Vec<StepReport>, out: &mut Effects) {
        let Some(registration) = self.heard_from(now, origin, out) else { return };
        let (results, closed_batches) = self.take_results(now, registration, results, out);
        out.reply(origin, Reply::ResultsAccepted { results, closed_batches });
        self.leave_if_drained(registration, out);
    }

    /// Takes outcomes; returns what was made of each, and the batches that they closed.
    pub(crate) fn take_results(
        &mut self,
        now: Now,
        registration: RegistrationId,
        results: Vec<StepReport>,
        out: &mut Effects,
    ) -> (Vec<(StepReference, Disposition)>, Vec<BatchId>) {
        let mut dispositions = Vec::with_capacity(results.len());
        let mut closed = Vec::new();
        for report in results {
            let at = report.at.clone();
            let disposition = self.take_result(now, registration, report, out);
            self.advance_task(now, at.task, out);
            if self.close_if_done(at.batch, out) {
                closed.push(at.batch);
            }
            dispositions.push((at, disposition));
        }
        (dispositions, closed)
    }

    fn take_result(
        &mut self,
        now: Now,
        registration: RegistrationId,
        report: StepReport,
        out: &mut Effects,
    ) -> Disposition {
        let at = &report.at;
        let item = self
            .batches
            .get(&at.batch)
            .filter(|batch| batch.registration == registration)
            .and_then(|batch| batch.find(at.task, &at.step, at.attempt));
        let Some(item) = item else {
            let disposition = self.disposition_out_of_batch(&report);
            return ledger(registration, report, disposition, out);
        };
        let batch = self.batches.get_mut(&at.batch).expect("found just now");
        let status = batch.items[item].status;
        let disposition = match (status, &report.outcome) {
            (ItemStatus::Open, Outcome::Complete(_) | Outcome::Failed(_)) => {
                return self.accept(now, registration, item, report, out);
            }
            (ItemStatus::Complete(checksum), Outcome::Complete(result)) if crate::checksum(result) == checksum => {
                Disposition::Duplicate
            }
            (ItemStatus::Failed, Outcome::Failed(_)) => Disposition::Duplicate,
            (ItemStatus::Complete(_) | ItemStatus::Failed, Outcome::Complete(_) | Outcome::Failed(_)) => {
                Disposition::Contradicting
            }
            (
                ItemStatus::Returned
                | ItemStatus::TimedOut
                | ItemStatus::Cancelled
                | ItemStatus::TimedOutReleased
                | ItemStatus::CancelledReleased,
                Outcome::Complete(_) | Outcome::Failed(_),
            ) => {
                batch.items[item].status = status.released();
                Disposition::Late
            }
        };
        if status.holds_slot() {
            self.workers.change(registration, |worker| worker.out = worker.out.saturating_sub(1));
        }
        ledger(registration, report, disposition, out)
    }

    /// The worker holds no open batch with that attempt: what do we know of the step itself?
    fn disposition_out_of_batch(&self, report: &StepReport) -> Disposition {
        let at = &report.at;
        let Some(task) = self.tasks.get(&at.task) else { return Disposition::Unknown };
        let Some(number) = task.template.step_number(&at.step) else { return Disposition::Unknown };
        let step = task.step(number);
        match (step.phase(), &report.outcome) {
            (Phase::Settled(SettledKind::Complete), outcome) if step.attempts == at.attempt => match outcome {
                Outcome::Complete(result) if crate::checksum(result) == step.checksum => Disposition::Duplicate,
                Outcome::Complete(_) | Outcome::Failed(_) => Disposition::Contradicting,
            },
            (
                Phase::Waiting
                | Phase::Ready
                | Phase::Dispatched(_)
                | Phase::Retrying(_)
                | Phase::Settled(_)
                | Phase::Failed
                | Phase::Cancelled,
                Outcome::Complete(_) | Outcome::Failed(_),
            ) => {
                if (1..=step.attempts).contains(&at.attempt) {
                    Disposition::Late
                } else {
                    Disposition::Unknown
                }
            }
        }
    }

    /// The first report of an open attempt.
    fn accept(
        &mut self,
        now: Now,
        registration: RegistrationId,
        item: usize,
        report: StepReport,
        out: &mut Effects,
    ) -> Disposition {
        let id = report.at.task;
        let batch = self.batches.get_mut(&report.at.batch).expect("the item was found in it");
        let dispatched = batch.dispatched;
        let step = batch.items[item].step;
        let status = match &report.outcome {
            Outcome::Complete(result) => ItemStatus::Complete(crate::checksum(result)),
            Outcome::Failed(_) => ItemStatus::Failed,
        };
        batch.items[item].status = status;
        self.workers.change(registration, |worker| worker.out = worker.out.saturating_sub(1));
        self.publish_custom(id, step, report.events, out);
        match report.outcome {
            Outcome::Complete(result) => {
                self.move_step(id, step, StepInput::Succeeded);
                let checksum = crate::checksum(&result);
                let task = self.tasks.get_mut(&id).expect("an open item belongs to a live task");
                task.step_mut(step).checksum = checksum;
                out.publish(Notice {
                    batch: Some(report.at.batch),
                    ..task.step_notice(NoticeKind::StepCompleted, step)
                });
                out.saves.push(Save::StepSettled(StepSettled {
                    task: id,
                    step,
                    attempt: report.at.attempt,
                    kind: SettledKind::Complete,
                    batch: Some(report.at.batch),
                    registration: Some(registration),
                    dispatched_ms_ago: now.mono.since(dispatched),
                    started_at_us: report.started_at_us,
                    duration_us: report.duration_us,
                    result: result.clone(),
                    checksum,
                    metadata: report.metadata,
                }));
                self.satisfy_children(id, step, result);
            }
            Outcome::Failed(failure) => self.end_attempt(
                now,
                EndedAttempt {
                    task: id,
                    step,
                    batch: report.at.batch,
                    registration,
                    dispatched,
                    cause: FailureCause::Failed,
                    failure,
                    started_at_us: report.started_at_us,
                    duration_us: report.duration_us,
                },
                out,
            ),
        }
        if report.refused { Disposition::Refused } else { Disposition::Accepted }
    }

    /// Events of a step, as far as its template declares them.
    fn publish_custom(&self, id: TaskId, step: u32, events: Vec<(String, Bytes)>, out: &mut Effects) {
        let task = &self.tasks[&id];
        let declared = &task.template.steps[step as usize].custom_events;
        for (name, payload) in events {
            if let Some(name) = declared.iter().find(|known| ***known == *name) {
                let custom = Some((name.clone(), payload));
                out.publish(Notice { custom, ..task.step_notice(NoticeKind::Custom, step) });
            }
        }
    }

    /// Decides whether a failed attempt is followed by another, and when.
    pub(crate) fn end_attempt(&mut self, now: Now, mut ended: EndedAttempt, out: &mut Effects) {
        let jitter = self.ids.random();
        let poison_limit = self.config.poison_limit;
        let task = self.tasks.get_mut(&ended.task).expect("an open item belongs to a live task");
        let template = task.template.clone();
        let definition = &template.steps[ended.step as usize];
        let step = task.step_mut(ended.step);
        let lost = ended.cause == FailureCause::WorkerLost;
        if lost {
            step.losses += 1;
        }
        let poisoned = step.losses >= poison_limit;
        if lost && poisoned {
            ended.failure.class = POISON_CLASS.to_owned();
            ended.failure.message = format!(
                "{} workers were lost while they ran this step, which is the limit (poison_limit); last: {}",
                step.losses, ended.failure.message
            );
            ended.failure.retryable = false;
        }
        let attempt = step.attempts;
        let again = ended.failure.retryable && definition.retryable && attempt < step.limit && !poisoned;
        let retry_in_ms = again.then(|| {
            if lost {
                return 0;
            }
            let asked = ended.failure.retry_after.as_deref().and_then(|text| parse_retry_after(text, now.wall.0));
            let since_reset = attempt - step.limit.saturating_sub(definition.retry_limit).min(attempt - 1);
            asked.unwrap_or_else(|| definition.backoff.delay_ms(since_reset, jitter))
        });
        let input = match retry_in_ms {
            Some(delay_ms) => StepInput::FailedToRetry(now.mono + delay_ms),
            None => StepInput::FailedForGood,
        };
        self.move_step(ended.task, ended.step, input);
        match retry_in_ms {
            Some(0) => self.move_step(ended.task, ended.step, StepInput::RetryDue),
            Some(delay_ms) => self.deadlines.add(now.mono + delay_ms, Deadline::Retry(ended.task, ended.step)),
            None => {}
        }
        let kind = if again { NoticeKind::StepRetrying } else { NoticeKind::StepFailed };
        out.publish(Notice {
            batch: Some(ended.batch),
            reason: reason(&ended.failure.message),
            ..self.tasks[&ended.task].step_notice(kind, ended.step)
        });
        out.saves.push(Save::AttemptFailed(AttemptFailed {
            task: ended.task,
            step: ended.step,
            attempt,
            cause: ended.cause,
            batch: ended.batch,
            registration: ended.registration,
            dispatched_ms_ago: now.mono.since(ended.dispatched),
            started_at_us: ended.started_at_us,
            duration_us: ended.duration_us,
            failure: ended.failure,
            retry_in_ms,
        }));
    }

    pub(crate) fn steps_returned(
        &mut self,
        now: Now,
        origin: Origin,
        steps: Vec<StepReference>,
        why: &str,
        out: &mut Effects,
    ) {
        let Some(registration) = self.heard_from(now, origin, out) else { return };
        let why: Arc<str> = Arc::from(why);
        let mut results = Vec::with_capacity(steps.len());
        let mut closed_batches = Vec::new();
        for at in steps {
            let open =
                self.batches.get(&at.batch).filter(|batch| batch.registration == registration).and_then(|batch| {
                    batch
                        .find(at.task, &at.step, at.attempt)
                        .filter(|&item| batch.items[item].status == ItemStatus::Open)
                });
            let disposition = match open {
                Some(item) => {
                    self.return_item(at.batch, item, &why, out);
                    self.advance_task(now, at.task, out);
                    Disposition::Accepted
                }
                None => {
                    self.release_item(registration, &at);
                    Disposition::Late
                }
            };
            if self.close_if_done(at.batch, out) {
                closed_batches.push(at.batch);
            }
            results.push((at, disposition));
        }
        out.reply(origin, Reply::ResultsAccepted { results, closed_batches });
        self.leave_if_drained(registration, out);
    }

    /// Takes a step back that its worker has not run. The caller advances the task.
    pub(crate) fn return_item(&mut self, id: BatchId, item: usize, why: &Arc<str>, out: &mut Effects) {
        let batch = self.batches.get_mut(&id).expect("the caller has found the item in it");
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
        out.saves.push(Save::StepReturned { task, step, attempt, batch: id, reason: why.clone() });
    }

    /// A worker has let go of a step that the broker had given up.
    fn release_item(&mut self, registration: RegistrationId, at: &StepReference) {
        let Some(batch) = self.batches.get_mut(&at.batch).filter(|batch| batch.registration == registration) else {
            return;
        };
        let Some(item) = batch.find(at.task, &at.step, at.attempt) else { return };
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
        if self.batches.get(&id).is_none_or(|batch| batch.registration != registration) {
            // Closed before, or never this worker's: either way nothing of it is awaited.
            out.reply(origin, Reply::ResultsAccepted { results: Vec::new(), closed_batches: vec![id] });
            return;
        }
        let why: Arc<str> = Arc::from("named as returned by the batch completion");
        for line in &steps {
            let batch = &self.batches[&id];
            let Some(item) = batch.find(line.task, &line.step, line.attempt) else { continue };
            let open = batch.items[item].status == ItemStatus::Open;
            if open && line.status == CompletionStatus::Returned {
                self.return_item(id, item, &why, out);
                self.advance_task(now, line.task, out);
            } else if !open {
                let at = StepReference { batch: id, task: line.task, step: line.step.clone(), attempt: line.attempt };
                self.release_item(registration, &at);
            }
        }
        let batch = self.batches.get_mut(&id).expect("looked at above, and closed only below");
        batch.completion = Completion::Reported(steps);
        if self.close_if_done(id, out) {
            out.reply(origin, Reply::ResultsAccepted { results: Vec::new(), closed_batches: vec![id] });
            self.leave_if_drained(registration, out);
        } else {
            let batch = &self.batches[&id];
            let missing = batch.open_items().map(|item| batch.items[item].reference(id)).collect();
            out.reply(origin, Reply::ResultsMissing { batch: id, steps: missing });
        }
    }

    /// Closes a batch whose completion is in and whose steps are all accounted for. The caller lets a draining worker
    /// leave, after it has told it of the closing.
    pub(crate) fn close_if_done(&mut self, id: BatchId, out: &mut Effects) -> bool {
        let Some(state) = self.batches.get(&id).and_then(|batch| batch.closing()) else { return false };
        self.close_batch(id, state, out);
        true
    }

    /// Closes a batch and frees what it held.
    pub(crate) fn close_batch(&mut self, id: BatchId, state: BatchState, out: &mut Effects) {
        let batch = self.batches.remove(&id).expect("the caller has looked at it");
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

    /// Gives up the steps of a batch whose deadline has passed.
    pub(crate) fn batch_due(&mut self, now: Now, id: BatchId, out: &mut Effects) {
        let Some(batch) = self.batches.get_mut(&id) else { return };
        let (registration, dispatched) = (batch.registration, batch.dispatched);
        let mut late = Vec::new();
        for item in &mut batch.items {
            if item.status == ItemStatus::Open && item.deadline <= now.mono {
                item.status = ItemStatus::TimedOut;
                late.push((
                    item.task,
                    item.step,
                    item.reference(id),
                    item.template.steps[item.step as usize].timeout_ms,
                ));
            }
        }
        if !late.is_empty() {
            batch.told = now.mono;
        }
        if let Some(due) = batch.next_due() {
            batch.due = due;
            self.deadlines.add(due, Deadline::Batch(id));
        }
        for (task, step, _, timeout_ms) in &late {
            let failure = Failure {
                class: TIMEOUT_CLASS.to_owned(),
                message: format!("no result within the step's timeout of {} s", *timeout_ms as f64 / 1000.0),
                retryable: true,
                ..Failure::default()
            };
            let cause = FailureCause::TimedOut;
            self.end_attempt(
                now,
                EndedAttempt {
                    task: *task,
                    step: *step,
                    batch: id,
                    registration,
                    dispatched,
                    cause,
                    failure,
                    started_at_us: 0,
                    duration_us: 0,
                },
                out,
            );
            self.advance_task(now, *task, out);
        }
        let steps = late.into_iter().map(|(_, _, reference, _)| reference).collect();
        self.tell_to_stop(registration, steps, true, out);
        self.close_if_done(id, out);
        self.leave_if_drained(registration, out);
    }

    /// Tells a worker to stop steps whose outcome no longer counts.
    pub(crate) fn tell_to_stop(
        &self,
        registration: RegistrationId,
        steps: Vec<StepReference>,
        timed_out: bool,
        out: &mut Effects,
    ) {
        if let Some(peer) = self.workers.get(registration).and_then(|worker| worker.peer)
            && !steps.is_empty()
        {
            out.deliveries.push(Deliver::Worker { peer, message: WorkerMessage::Cancel { steps, timed_out } });
        }
    }

    /// Gives up every open step of a batch, because its worker is gone.
    pub(crate) fn lose_batch(&mut self, now: Now, id: BatchId, why: &str, out: &mut Effects) -> u32 {
        let batch = self.batches.get_mut(&id).expect("a worker's batches are open");
        let (registration, dispatched) = (batch.registration, batch.dispatched);
        let mut lost = Vec::new();
        for item in &mut batch.items {
            if item.status == ItemStatus::Open {
                item.status = ItemStatus::CancelledReleased;
                lost.push((item.task, item.step));
            }
        }
        for &(task, step) in &lost {
            let failure = Failure {
                class: WORKER_LOST_CLASS.to_owned(),
                message: why.to_owned(),
                retryable: true,
                ..Failure::default()
            };
            self.end_attempt(
                now,
                EndedAttempt {
                    task,
                    step,
                    batch: id,
                    registration,
                    dispatched,
                    cause: FailureCause::WorkerLost,
                    failure,
                    started_at_us: 0,
                    duration_us: 0,
                },
                out,
            );
            self.advance_task(now, task, out);
        }
        self.close_batch(id, BatchState::Failed, out);
        crate::task::count(lost.len())
    }
}

/// Writes a result that changed nothing into the ledger.
fn ledger(
    registration: RegistrationId,
    report: StepReport,
    disposition: Disposition,
    out: &mut Effects,
) -> Disposition {
    let (status, payload) = match report.outcome {
        Outcome::Complete(result) => ("complete", result),
        Outcome::Failed(failure) => ("error", Bytes::from(failure.message)),
    };
    out.saves.push(Save::ResultReceived(Box::new(ReceivedResult {
        at: report.at,
        registration: Some(registration),
        disposition,
        status,
        checksum: crate::checksum(&payload),
        payload,
    })));
    disposition
}
