//! What workers report of steps: the first report of an open attempt moves its step, any other goes into the ledger.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::attempt::EndedAttempt;
use crate::batch::{Batch, ItemStatus};
use crate::delivery::{Deliver, Disposition, Notice, NoticeKind, Read, Reply};
use crate::effect::{Effects, FailureCause, ReceivedResult, Save, SettledKind, StepSettled};
use crate::engine::Engine;
use crate::event::{Event, Outcome, StepReference, StepReport};
use crate::id::{Origin, RegistrationId, TaskId};
use crate::mark::{Mark, StepEnd};
use crate::snapshot::TaskSnapshot;
use crate::span::AttemptEnd;
use crate::step::{Phase, StepInput};
use crate::time::Now;

/// What was made of a report, with the step that it names.
type Taken = (StepReference, Disposition);

impl Engine {
    pub(crate) fn results_reported(&mut self, now: Now, origin: Origin, results: Vec<StepReport>, out: &mut Effects) {
        let Some(registration) = self.heard_from(now, origin, out) else { return };
        self.take_results(now, origin, registration, results, out);
        self.leave_if_drained(registration, out);
    }

    /// Takes outcomes and acknowledges them. Those of tasks that are not live, and not of a batch that the worker has
    /// open, are acknowledged when the store has said what it knows of them.
    pub(crate) fn take_results(
        &mut self,
        now: Now,
        origin: Origin,
        registration: RegistrationId,
        results: Vec<StepReport>,
        out: &mut Effects,
    ) {
        let mut dispositions = Vec::with_capacity(results.len());
        let mut closed = Vec::new();
        let mut strange = Vec::new();
        let mut near = 0;
        for report in results {
            let item = self.find_item(near, registration, &report.at);
            if item.is_none() && !self.tasks.contains_key(&report.at.task) {
                strange.push(report);
                continue;
            }
            near = item.map_or(near, |item| item + 1);
            let taken = self.take_result(now, registration, item, report, out);
            let StepReference { task, batch, .. } = taken.0;
            self.advance_task(now, task, out);
            if self.close_if_done(now, batch, out) {
                closed.push(batch);
            }
            dispositions.push(taken);
        }
        let later = !strange.is_empty();
        if later {
            self.look_tasks_up(StrangeReports::new(origin, registration, strange), out);
        }
        if !later || !dispositions.is_empty() {
            out.reply(origin, Reply::ResultsAccepted { results: dispositions, closed_batches: closed });
        }
    }

    /// Asks the store for the tasks of strange reports. When too many are being asked for, the worker is to report again; it
    /// is told so before it hears what became of its other reports, which it then need not repeat.
    fn look_tasks_up(&mut self, reports: StrangeReports, out: &mut Effects) {
        let (rows, bytes) = (reports.reports.len() as u64, reports.bytes);
        match self.strange.room(rows, bytes, "reports of tasks that have ended") {
            Ok(()) => {
                self.strange.asked(rows, bytes);
                out.deliveries.push(Deliver::Read(Read::EndedTasks { reports: Box::new(reports) }));
            }
            Err(refusal) => out.refuse(reports.origin, refusal),
        }
    }

    /// The store has loaded the tasks of strange reports, as far as there are any.
    pub(crate) fn ended_tasks_loaded(
        &mut self,
        now: Now,
        strange: StrangeReports,
        tasks: &[TaskSnapshot],
        out: &mut Effects,
    ) {
        let StrangeReports { origin, registration, reports, bytes } = strange;
        self.strange.answered(reports.len() as u64, bytes);
        let mut dispositions = Vec::with_capacity(reports.len());
        for report in reports {
            let id = report.at.task;
            let taken = if self.tasks.contains_key(&id) {
                // An operator has brought the task back meanwhile.
                let item = self.find_item(0, registration, &report.at);
                let taken = self.take_result(now, registration, item, report, out);
                self.advance_task(now, id, out);
                taken
            } else {
                let known = tasks.iter().find(|task| task.id == id);
                let disposition = known.map_or(Disposition::Unknown, |task| self.disposition_in(task, &report));
                ledger(registration, report, disposition, out)
            };
            dispositions.push(taken);
        }
        out.reply(origin, Reply::ResultsAccepted { results: dispositions, closed_batches: Vec::new() });
    }

    /// What a report means to a task that has ended.
    fn disposition_in(&self, task: &TaskSnapshot, report: &StepReport) -> Disposition {
        let at = &report.at;
        let template = self.registry.index(&task.template).map(|index| &self.registry.get(index).template);
        let step = template.and_then(|template| template.step_number(&at.step));
        let Some(step) = step.and_then(|number| task.steps.get(number as usize)) else { return Disposition::Unknown };
        match (&step.settled, &report.outcome) {
            (Some(settled), Outcome::Complete(result))
                if settled.kind == SettledKind::Complete && step.attempts == at.attempt =>
            {
                let same = crate::checksum(result) == settled.checksum;
                if same { Disposition::Duplicate } else { Disposition::Contradicting }
            }
            (Some(settled), Outcome::Failed(_))
                if settled.kind == SettledKind::Complete && step.attempts == at.attempt =>
            {
                Disposition::Contradicting
            }
            (Some(_) | None, Outcome::Complete(_) | Outcome::Failed(_)) => late_or_unknown(at.attempt, step.attempts),
        }
    }

    /// A step in a batch that this worker has open.
    pub(crate) fn find_item(&self, near: usize, registration: RegistrationId, at: &StepReference) -> Option<usize> {
        let owns = |batch: &&Batch| batch.registration == registration || planted!(RegistrationNotCompared);
        let batch = self.batches.get(at.batch).filter(owns)?;
        batch.find(near, at.task, &at.step, at.attempt)
    }

    fn take_result(
        &mut self,
        now: Now,
        registration: RegistrationId,
        item: Option<usize>,
        report: StepReport,
        out: &mut Effects,
    ) -> Taken {
        let at = &report.at;
        let Some(item) = item else {
            let disposition = self.disposition_out_of_batch(&report);
            return ledger(registration, report, disposition, out);
        };
        let batch = self.batches.get_mut(at.batch).expect("found just now");
        let status = batch.items[item].status;
        let (complete, late) = (matches!(status, ItemStatus::Complete(_)), status == ItemStatus::TimedOut);
        if match (complete, late) {
            (true, _) => planted!(SecondResultAccepted),
            (false, true) => planted!(LateResultAccepted),
            (false, false) => false,
        } {
            return self.accept(now, registration, item, report, out);
        }
        if planted!(SlotFreedTwice) && complete {
            self.workers.change(registration, |worker| worker.out = worker.out.saturating_sub(1));
        }
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
                | Phase::Ready(_)
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
    ) -> Taken {
        let id = report.at.task;
        let batch = self.batches.get_mut(report.at.batch).expect("the item was found in it");
        let dispatched = batch.dispatched;
        let step = batch.items[item].step;
        let (status, checksum) = match &report.outcome {
            Outcome::Complete(result) => {
                let checksum = crate::checksum(result);
                (ItemStatus::Complete(checksum), checksum)
            }
            Outcome::Failed(_) => (ItemStatus::Failed, 0),
        };
        batch.items[item].status = status;
        if !batch.progress.is_empty() {
            batch.progress.remove(&item);
        }
        self.workers.change(registration, |worker| worker.out = worker.out.saturating_sub(1));
        if !report.events.is_empty() {
            self.publish_custom(id, step, report.events, out);
        }
        match report.outcome {
            Outcome::Complete(result) => {
                let task = self.tasks.get_mut(&id).expect("an open item belongs to a live task");
                task.must_apply(step, StepInput::Succeeded, &mut self.census);
                task.step_mut(step).checksum = checksum;
                self.steps_unfinished -= 1;
                let held_before = task.held_bytes;
                task.satisfy_children(step, result.clone(), self.config.delivery_bytes_max, &mut self.census);
                self.held_bytes = self.held_bytes + task.held_bytes - held_before;
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
                    result,
                    checksum,
                    metadata: report.metadata,
                }));
                let template = task.template_index;
                out.marks.push(Mark::StepEnded { template, end: StepEnd::Complete, ran_us: report.duration_us });
                let at = (id, step, report.at.attempt);
                self.tell_attempt(now, at, report.at.batch, registration, || AttemptEnd::Complete, out);
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
                    failure: *failure,
                    started_at_us: report.started_at_us,
                    duration_us: report.duration_us,
                },
                out,
            ),
        }
        (report.at, if report.refused { Disposition::Refused } else { Disposition::Accepted })
    }

    /// Events of a step, as far as its template declares them.
    fn publish_custom(&self, id: TaskId, step: u32, events: Vec<(String, Bytes)>, out: &mut Effects) {
        let task = &self.tasks[&id];
        let declared = &task.template.steps[step as usize].custom_events;
        for (name, payload) in events {
            if let Some(name) = declared.iter().find(|known| ***known == *name) {
                let custom = Some(Box::new((name.clone(), payload)));
                out.publish(Notice { custom, ..task.step_notice(NoticeKind::Custom, step) });
            }
        }
    }
}

/// Reports of tasks that are not live: on their way through the store, which may know the tasks.
#[derive(Clone, Debug)]
pub struct StrangeReports {
    origin: Origin,
    registration: RegistrationId,
    reports: Vec<StepReport>,
    /// Payload and texts of the reports.
    bytes: u64,
}

impl StrangeReports {
    fn new(origin: Origin, registration: RegistrationId, reports: Vec<StepReport>) -> StrangeReports {
        let bytes = reports.iter().map(StepReport::bytes).sum();
        StrangeReports { origin, registration, reports, bytes }
    }

    /// Who reported.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The event that brought the reports, to be handled anew.
    pub fn into_event(self) -> Event {
        Event::ResultsReported { origin: self.origin, results: self.reports }
    }

    /// The tasks that they name, each once.
    pub fn tasks(&self) -> BTreeSet<TaskId> {
        self.reports.iter().map(|report| report.at.task).collect()
    }
}

/// An attempt that was made is over; one that was not made is not known.
fn late_or_unknown(attempt: u32, attempts: u32) -> Disposition {
    if (1..=attempts).contains(&attempt) { Disposition::Late } else { Disposition::Unknown }
}

/// Writes a result that changed nothing into the ledger.
fn ledger(registration: RegistrationId, report: StepReport, disposition: Disposition, out: &mut Effects) -> Taken {
    let (status, payload) = match report.outcome {
        Outcome::Complete(result) => ("complete", result),
        Outcome::Failed(failure) => ("error", Bytes::from(failure.message)),
    };
    if planted!(LedgerSkipped) {
        return (report.at, disposition);
    }
    out.saves.push(Save::ResultReceived(Box::new(ReceivedResult {
        at: report.at.clone(),
        registration: Some(registration),
        disposition,
        status,
        checksum: crate::checksum(&payload),
        payload,
    })));
    (report.at, disposition)
}
