//! What clients and operators do to a task: cancel it, give failed steps new attempts, settle a step by hand. A task that
//! has ended is loaded from the store first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::ItemStatus;
use crate::delivery::{Deliver, NoticeKind, Read, Reply};
use crate::effect::{Effects, OperatorAction, Save, SettledKind};
use crate::engine::Engine;
use crate::event::{Operation, OperationKind, StepReference};
use crate::id::{BatchId, Origin, RegistrationId, TaskId};
use crate::inspect::unknown_task;
use crate::loads::LoadTurn;
use crate::refusal::{Refusal, RefusalKind};
use crate::snapshot::TaskSnapshot;
use crate::span::AttemptEnd;
use crate::state::{StepState, TaskState};
use crate::step::{Phase, StepInput};
use crate::task::count;
use crate::time::Now;

impl Engine {
    pub(crate) fn operation_asked(&mut self, now: Now, origin: Origin, operation: Operation, out: &mut Effects) {
        if self.tasks.contains_key(&operation.task) {
            self.operate(now, origin, operation, out);
        } else {
            self.load(origin, operation, out);
        }
    }

    fn load(&mut self, origin: Origin, operation: Operation, out: &mut Effects) {
        let asked = self.loads.asked(origin);
        out.deliveries.push(Deliver::Read(Read::Task { to: origin, operation: Box::new(operation), asked }));
    }

    pub(crate) fn task_loaded(
        &mut self,
        now: Now,
        origin: Origin,
        operation: Operation,
        asked: LoadTurn,
        loaded: Option<Box<TaskSnapshot>>,
        out: &mut Effects,
    ) {
        let id = operation.task;
        let fresh = self.loads.answered(origin, id, asked);
        if self.tasks.contains_key(&id) {
            // Another operation has brought it back meanwhile.
            self.operate(now, origin, operation, out);
        } else if fresh {
            self.operate_loaded(now, origin, operation, loaded, out);
        } else {
            self.load(origin, operation, out);
        }
    }

    fn operate_loaded(
        &mut self,
        now: Now,
        origin: Origin,
        operation: Operation,
        loaded: Option<Box<TaskSnapshot>>,
        out: &mut Effects,
    ) {
        let id = operation.task;
        let name = command_name(&operation.kind);
        let refusal = match loaded.as_ref().map(|snapshot| snapshot.final_state) {
            None => Some(unknown_task(id)),
            Some(None) => {
                let message = format!("task {id} is unfinished but not run by this broker");
                Some(Refusal::new(RefusalKind::InvalidState, message))
            }
            Some(Some(TaskState::Error)) => None,
            Some(Some(state)) => {
                let message = format!("task {id} has ended as {}; {name} does not apply", state.as_str());
                Some(Refusal::new(RefusalKind::InvalidState, message))
            }
        };
        match (loaded, refusal) {
            (Some(snapshot), None) => {
                self.take_task_in(now, *snapshot);
                self.operate(now, origin, operation, out);
                // An operation that was refused leaves the task as ended as it was.
                if self.tasks.get(&id).is_some_and(|task| task.state() == TaskState::Error) {
                    self.let_go(id);
                }
            }
            (_, refusal) => {
                let refusal = refusal.unwrap_or_else(|| unknown_task(id));
                out.audit(name, origin, Some(id), Err(&refusal));
                out.refuse(origin, refusal);
            }
        }
    }

    /// Forgets a task that was only looked at.
    fn let_go(&mut self, id: TaskId) {
        let mut task = self.tasks.remove(&id).expect("the caller has looked at it");
        self.held_bytes -= task.held_bytes;
        self.queues.dequeue(&mut task);
        self.census.leave(&task);
        let unfinished = task.steps.iter().filter(|step| !step.phase().state().is_final()).count();
        self.steps_unfinished -= unfinished as u64;
        if let Some(key) = task.key_lookup() {
            self.keys.remove(&key);
        }
    }

    fn operate(&mut self, now: Now, origin: Origin, operation: Operation, out: &mut Effects) {
        let name = command_name(&operation.kind);
        let id = operation.task;
        let done = match &operation.kind {
            OperationKind::Cancel => Ok(self.cancel(now, &operation, out)),
            OperationKind::Retry { steps } => self.retry(now, &operation, steps, out),
            OperationKind::Resolve { step, result } => self.resolve(now, &operation, step, result, out),
        };
        out.audit(name, origin, Some(id), done.as_ref().map(|_| ()));
        match done {
            Ok(reply) => out.reply(origin, reply),
            Err(refusal) => out.refuse(origin, refusal),
        }
    }

    fn cancel(&mut self, now: Now, operation: &Operation, out: &mut Effects) -> Reply {
        let id = operation.task;
        let task = &self.tasks[&id];
        let before = task.state();
        let mut steps_stopped = 0;
        let mut steps_cancelled = 0;
        let mut stopped = Vec::new();
        for step in 0..count(task.steps.len()) {
            let phase = self.tasks[&id].step(step).phase();
            match phase {
                Phase::Dispatched(_) => {
                    stopped.extend(self.stop_step(now, id, step, phase, out));
                    steps_stopped += 1;
                }
                Phase::Waiting | Phase::Ready(_) | Phase::Retrying(_) => steps_cancelled += 1,
                Phase::Settled(_) | Phase::Failed | Phase::Cancelled => continue,
            }
            self.move_step(id, step, StepInput::Cancelled);
        }
        self.tell_of_stopped(now, stopped, out);
        out.saves.push(Save::OperatorAction(Box::new(OperatorAction {
            operation: operation.clone(),
            step: None,
            before: before.as_str(),
            after: TaskState::Cancelled.as_str(),
            attempts_before: 0,
        })));
        self.end_task(now, id, TaskState::Cancelled, out);
        Reply::TaskCancelled { task: id, steps_stopped, steps_cancelled }
    }

    /// Gives up a dispatched step; what its worker still reports is late.
    fn stop_step(&mut self, now: Now, id: TaskId, step: u32, phase: Phase, out: &mut Effects) -> Option<StepReference> {
        let Phase::Dispatched(batch_id) = phase else { return None };
        let batch = self.batches.get_mut(batch_id).expect("a dispatched step is in an open batch");
        let item = batch
            .items
            .iter_mut()
            .find(|item| item.task == id && item.step == step && item.status == ItemStatus::Open)
            .expect("a dispatched step is open in its batch");
        item.status = if planted!(CancelledStepStaysOpen) { item.status } else { ItemStatus::Cancelled };
        let reference = item.reference(batch_id);
        batch.told = now.mono;
        let registration = batch.registration;
        self.tell_attempt(now, (id, step, reference.attempt), batch_id, registration, || AttemptEnd::Cancelled, out);
        Some(reference)
    }

    /// Tells workers to stop steps, each worker once: a message a step could fill its queue. Closes the batches that were
    /// waiting for those steps only.
    fn tell_of_stopped(&mut self, now: Now, stopped: Vec<StepReference>, out: &mut Effects) {
        let batches: BTreeSet<BatchId> = stopped.iter().map(|at| at.batch).collect();
        let mut by_worker: BTreeMap<RegistrationId, Vec<StepReference>> = BTreeMap::new();
        for at in stopped {
            by_worker.entry(self.batches[at.batch].registration).or_default().push(at);
        }
        let registrations: Vec<RegistrationId> = by_worker.keys().copied().collect();
        for (registration, steps) in by_worker {
            self.tell_to_stop(registration, steps, false, out);
        }
        for batch in batches {
            self.close_if_done(now, batch, out);
        }
        for registration in registrations {
            self.leave_if_drained(registration, out);
        }
    }

    fn retry(
        &mut self,
        now: Now,
        operation: &Operation,
        names: &[String],
        out: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let id = operation.task;
        let task = &self.tasks[&id];
        let template = task.template.clone();
        // A set: a step that is named twice is reset once.
        let numbers: BTreeSet<u32> = if names.is_empty() {
            (0..count(task.steps.len())).filter(|&step| task.step(step).phase() == Phase::Failed).collect()
        } else {
            names.iter().map(|name| self.step_number(id, name)).collect::<Result<_, _>>()?
        };
        if let Some(&wrong) = numbers.iter().find(|&&step| task.step(step).phase() != Phase::Failed) {
            let state = task.step(wrong).phase().state().as_str();
            let message =
                format!("step {} is {state}; only a step in error can be reset", template.steps[wrong as usize].name);
            return Err(Refusal::new(RefusalKind::InvalidState, message).field("steps"));
        }
        if numbers.is_empty() {
            let message = format!("task {id} has no step in error");
            return Err(Refusal::new(RefusalKind::InvalidState, message));
        }
        self.reopen(id, out);
        for &step in &numbers {
            let task = self.tasks.get_mut(&id).expect("looked up above");
            let attempts_before = task.step(step).attempts;
            task.step_mut(step).limit = attempts_before + template.steps[step as usize].retry_limit;
            self.move_step(id, step, StepInput::Reset);
            out.saves.push(Save::OperatorAction(Box::new(OperatorAction {
                operation: operation.clone(),
                step: Some(step),
                before: StepState::Error.as_str(),
                after: StepState::Pending.as_str(),
                attempts_before,
            })));
        }
        out.publish(self.tasks[&id].notice(NoticeKind::TaskReset));
        self.advance_task(now, id, out);
        let steps = numbers.iter().map(|&step| template.steps[step as usize].name.clone()).collect();
        Ok(Reply::TaskRetried { task: id, steps })
    }

    fn resolve(
        &mut self,
        now: Now,
        operation: &Operation,
        name: &str,
        result: &Bytes,
        out: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let id = operation.task;
        let step = self.step_number(id, name)?;
        let phase = self.tasks[&id].step(step).phase();
        let step_name: Arc<str> = self.tasks[&id].template.steps[step as usize].name.clone();
        if let Phase::Settled(_) | Phase::Cancelled = phase {
            let message = format!("step {step_name} is {} already", phase.state().as_str());
            return Err(Refusal::new(RefusalKind::InvalidState, message).field("step"));
        }
        self.reopen(id, out);
        self.tasks.get_mut(&id).expect("looked up above").start(&mut self.census);
        let stopped = self.stop_step(now, id, step, phase, out);
        self.tell_of_stopped(now, stopped.into_iter().collect(), out);
        out.saves.push(Save::OperatorAction(Box::new(OperatorAction {
            operation: operation.clone(),
            step: Some(step),
            before: phase.state().as_str(),
            after: StepState::ResolvedManually.as_str(),
            attempts_before: self.tasks[&id].step(step).attempts,
        })));
        let kind = SettledKind::ResolvedManually;
        self.settle_unrun(id, step, StepInput::Resolved, kind, result.clone(), out);
        let end = self.tasks[&id].counts.end();
        let state = end.unwrap_or(self.tasks[&id].state());
        self.advance_task(now, id, out);
        Ok(Reply::StepResolved { task: id, step: step_name, state })
    }

    /// Makes a task that had ended in error run again.
    fn reopen(&mut self, id: TaskId, out: &mut Effects) {
        let task = self.tasks.get_mut(&id).expect("the caller has looked it up");
        if task.state() == TaskState::Error {
            task.reopen(&mut self.census).expect("a task in error may run again");
            out.saves.push(Save::TaskReopened { task: id });
        }
    }

    pub(crate) fn step_number(&self, id: TaskId, name: &str) -> Result<u32, Refusal> {
        let template = &self.tasks[&id].template;
        template.step_number(name).ok_or_else(|| {
            let message = format!("task {id} ({}) has no step {name}", template.key);
            Refusal::new(RefusalKind::UnknownStep, message).field("step")
        })
    }
}

/// The command's name in the audit and on the wire.
fn command_name(kind: &OperationKind) -> &'static str {
    match kind {
        OperationKind::Cancel => "CancelTask",
        OperationKind::Retry { .. } => "RetryTask",
        OperationKind::Resolve { .. } => "ResolveStep",
    }
}
