//! How an attempt ends without a result: a failure, a passed deadline, a lost worker. And whether another follows.

use crate::batch::{Completion, ItemStatus};
use crate::deadlines::Deadline;
use crate::delivery::{Deliver, Notice, NoticeKind, WorkerMessage};
use crate::effect::{AttemptFailed, Effects, FailureCause, Save};
use crate::engine::{Engine, reason};
use crate::event::{Failure, StepReference};
use crate::id::{BatchId, RegistrationId, TaskId};
use crate::mark::Mark;
use crate::retry::parse_retry_after;
use crate::span::AttemptEnd;
use crate::state::BatchState;
use crate::step::StepInput;
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
        let poisoned = step.losses >= poison_limit && !planted!(PoisonLimitIgnored);
        if lost && poisoned {
            ended.failure.class = POISON_CLASS.to_owned();
            ended.failure.message = format!(
                "{} workers were lost while they ran this step, which is the limit (poison_limit); last: {}",
                step.losses, ended.failure.message
            );
            ended.failure.retryable = false;
        }
        let attempt = step.attempts;
        let again = ended.failure.retryable
            && definition.retryable
            && attempt < step.limit + u32::from(planted!(AttemptLimitOffByOne))
            && !poisoned;
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
            Some(_) if planted!(RetryBeforeItsTime) => self.move_step(ended.task, ended.step, StepInput::RetryDue),
            Some(_) if planted!(RetryForgotten) => {}
            Some(delay_ms) => self.deadlines.add(now.mono + delay_ms, Deadline::Retry(ended.task, ended.step)),
            None => {}
        }
        let kind = if again { NoticeKind::StepRetrying } else { NoticeKind::StepFailed };
        out.publish(Notice {
            batch: Some(ended.batch),
            reason: reason(&ended.failure.message),
            ..self.tasks[&ended.task].step_notice(kind, ended.step)
        });
        let template = self.tasks[&ended.task].template_index;
        out.marks.push(Mark::StepEnded { template, end: ended.cause.into(), ran_us: ended.duration_us });
        let failed = AttemptFailed {
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
        };
        let at = (failed.task, failed.step, failed.attempt);
        self.tell_attempt(now, at, failed.batch, failed.registration, || AttemptEnd::of(&failed), out);
        out.saves.push(Save::AttemptFailed(Box::new(failed)));
    }

    /// Gives up the steps of a batch whose deadline has passed.
    pub(crate) fn batch_due(&mut self, now: Now, id: BatchId, out: &mut Effects) {
        let Some(batch) = self.batches.get_mut(id) else { return };
        let (registration, dispatched) = (batch.registration, batch.dispatched);
        if batch.waits_until.is_some_and(|until| until <= now.mono) {
            batch.completion = Completion::Waived;
        }
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
        self.close_if_done(now, id, out);
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
    pub(crate) fn lose_batch(&mut self, now: Now, id: BatchId, why: &str, out: &mut Effects) {
        let batch = self.batches.get_mut(id).expect("a worker's batches are open");
        let (registration, dispatched) = (batch.registration, batch.dispatched);
        let mut lost = Vec::new();
        for item in &mut batch.items {
            if item.status == ItemStatus::Open {
                item.status = ItemStatus::CancelledReleased;
                lost.push((item.task, item.step));
            }
        }
        for (task, step) in lost {
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
    }
}
