//! One live task: its steps, the counts by which its state is known, and its own state machine.
//!
//! ```text
//!  Pending ----> InProgress ----> Complete | ResolvedManually
//!     |            |    ^  |
//!     |            |    |  '----> Error --.
//!     |            |    '-----------------'  (an operator reset or resolved a failed step)
//!     '------------'---> Cancelled
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::census::Census;
use crate::effect::SettledKind;
use crate::event::TaskLabels;
use crate::id::{BatchId, TaskId};
use crate::report::StepCounts;
use crate::state::TaskState;
use crate::step::{Illegal, Phase, Step, StepInput};
use crate::template::Template;
use crate::time::{Mono, Wall};

/// Steps by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PhaseCounts {
    pub waiting: u32,
    pub ready: u32,
    pub dispatched: u32,
    pub retrying: u32,
    pub complete: u32,
    pub bypassed: u32,
    pub resolved: u32,
    pub failed: u32,
    pub cancelled: u32,
}

impl PhaseCounts {
    fn of(&mut self, phase: Phase) -> &mut u32 {
        match phase {
            Phase::Waiting => &mut self.waiting,
            Phase::Ready(_) => &mut self.ready,
            Phase::Dispatched(_) => &mut self.dispatched,
            Phase::Retrying(_) => &mut self.retrying,
            Phase::Settled(SettledKind::Complete) => &mut self.complete,
            Phase::Settled(SettledKind::Bypassed) => &mut self.bypassed,
            Phase::Settled(SettledKind::ResolvedManually) => &mut self.resolved,
            Phase::Failed => &mut self.failed,
            Phase::Cancelled => &mut self.cancelled,
        }
    }

    /// The state in which a task ends that has these counts, or `None` while a step can still run.
    pub fn end(&self) -> Option<TaskState> {
        if self.ready + self.dispatched + self.retrying > 0 {
            None
        } else if self.failed > 0 && !planted!(FailureOverlooked) {
            Some(TaskState::Error)
        } else if self.waiting > 0 || self.cancelled > 0 {
            // Waiting without a failure above it does not happen in an acyclic graph; cancelling ends the task itself.
            None
        } else if self.resolved > 0 {
            Some(TaskState::ResolvedManually)
        } else {
            Some(TaskState::Complete)
        }
    }
}

/// A live task.
#[derive(Debug)]
pub(crate) struct Task {
    pub id: TaskId,
    pub template: Arc<Template>,
    /// Index of the template in the registry.
    pub template_index: u32,
    pub context: Bytes,
    pub priority: i32,
    pub idempotency_key: Option<Box<str>>,
    pub run_at: Option<Wall>,
    pub created_at: Wall,
    pub labels: Arc<TaskLabels>,
    pub steps: Box<[Step]>,
    pub counts: PhaseCounts,
    /// Steps in the order in which they became ready; one that was resolved meanwhile is skipped when its turn comes.
    pub ready: VecDeque<u32>,
    /// When it may run, if that is not yet; a deadline of the same time makes it due.
    pub start_at: Option<Mono>,
    /// Place in the planner's order; see `planner`.
    pub turn: u64,
    /// Steps taken in the present turn.
    pub taken: u32,
    /// Whether the planner has it in a queue.
    pub queued: bool,
    /// The batch that a step of it was written out with last, and its place among the tasks of that message.
    pub written: Option<(BatchId, u32)>,
    /// When it began to run again, after it had ended. Only a trace shows it, so that it need not outlast the engine.
    pub reopened_at: Option<Wall>,
    /// Payload that it keeps in memory: what its request brought, and results that steps wait for.
    pub held_bytes: u64,
    state: TaskState,
}

impl Task {
    pub fn new(
        id: TaskId,
        template: Arc<Template>,
        template_index: u32,
        context: Bytes,
        labels: TaskLabels,
        created_at: Wall,
        now: Mono,
    ) -> Task {
        let mut counts = PhaseCounts::default();
        let mut ready = VecDeque::new();
        let steps: Box<[Step]> = (0_u32..)
            .zip(template.steps.iter())
            .map(|(number, definition)| {
                let parents = count(template.dag.parents(number).len());
                let children = count(template.dag.children(number).len());
                let step = Step::new(definition.retry_limit, parents, children, now);
                *counts.of(step.phase()) += 1;
                if matches!(step.phase(), Phase::Ready(_)) {
                    ready.push_back(number);
                }
                step
            })
            .collect();
        let held_bytes = (context.len() + labels.bytes()) as u64;
        Task {
            id,
            template,
            template_index,
            context,
            priority: 0,
            idempotency_key: None,
            run_at: None,
            created_at,
            labels: Arc::new(labels),
            steps,
            counts,
            ready,
            start_at: None,
            turn: 0,
            taken: 0,
            queued: false,
            written: None,
            reopened_at: None,
            held_bytes,
            state: TaskState::Pending,
        }
    }

    /// Replaces the steps by what the store found, with the bytes of their results.
    pub fn restore(&mut self, steps: Box<[Step]>, sizes: &[u64], state: TaskState, bytes_max: u64) {
        self.counts = PhaseCounts::default();
        self.ready.clear();
        for (number, step) in (0_u32..).zip(steps.iter()) {
            *self.counts.of(step.phase()) += 1;
            if matches!(step.phase(), Phase::Ready(_)) {
                self.ready.push_back(number);
            }
        }
        self.held_bytes +=
            steps.iter().filter_map(|step| step.result.as_ref()).map(|kept| kept.len() as u64).sum::<u64>();
        self.steps = steps;
        self.state = state;
        let template = self.template.clone();
        for (number, &size) in (0_u32..).zip(sizes).filter(|&(_, &size)| size > 0) {
            self.count_result(&template, number, size, bytes_max);
        }
    }

    pub fn state(&self) -> TaskState {
        self.state
    }

    /// Whether its `run_at`, if any, has come.
    pub fn is_due(&self) -> bool {
        self.start_at.is_none()
    }

    /// Its `run_at` has come: what could have run before waits from now on.
    pub fn become_due(&mut self, census: &mut Census) {
        census.leave(self);
        self.start_at = None;
        for &number in &self.ready {
            self.steps[number as usize].wait_from(census.now);
        }
        census.enter(self);
    }

    pub fn step(&self, number: u32) -> &Step {
        &self.steps[number as usize]
    }

    pub fn step_mut(&mut self, number: u32) -> &mut Step {
        &mut self.steps[number as usize]
    }

    /// Moves a step and keeps the counts and the ready list in line.
    pub fn apply(&mut self, number: u32, input: StepInput, census: &mut Census) -> Result<(), Illegal> {
        let is_due = self.is_due();
        let step = &mut self.steps[number as usize];
        let before = step.phase();
        step.apply(input, census.now)?;
        let after = step.phase();
        *self.counts.of(before) -= 1;
        *self.counts.of(after) += 1;
        census.step_moved(self.template_index, is_due, before, after);
        if matches!(after, Phase::Ready(_)) {
            self.ready.push_back(number);
        }
        Ok(())
    }

    /// Moves a step where the caller has made sure that its phase allows it.
    pub fn must_apply(&mut self, number: u32, input: StepInput, census: &mut Census) {
        let phase = self.step(number).phase();
        self.apply(number, input, census).unwrap_or_else(|Illegal| panic!("a step in {phase:?} was given {input:?}"));
    }

    /// The next ready step, left on the list.
    pub fn next_ready(&mut self) -> Option<u32> {
        while let Some(&number) = self.ready.front() {
            if matches!(self.step(number).phase(), Phase::Ready(_)) {
                return Some(number);
            }
            self.ready.pop_front();
        }
        None
    }

    /// The next ready step, taken off the list.
    pub fn pop_ready(&mut self) -> Option<u32> {
        self.next_ready()?;
        self.ready.pop_front()
    }

    /// After a step was settled: hands its result to the children, of which some may become ready.
    pub fn satisfy_children(&mut self, number: u32, result: Bytes, bytes_max: u64, census: &mut Census) {
        let template = self.template.clone();
        self.keep_result(&template, number, result, bytes_max);
        for &child in template.dag.children(number) {
            let waiting = self.step_mut(child);
            waiting.parents_left = waiting.parents_left.saturating_sub(1);
            if waiting.parents_left <= u32::from(planted!(ChildReadyEarly)) && waiting.phase() == Phase::Waiting {
                self.must_apply(child, StepInput::Satisfied, census);
            }
        }
    }

    /// Keeps the result of a step that was settled as long as children need it, and lets go of those of its parents that
    /// no other step needs. What waits for more than `bytes_max` fits no message and will not run: nothing is kept for it.
    fn keep_result(&mut self, template: &Template, number: u32, result: Bytes, bytes_max: u64) {
        let size = result.len() as u64;
        let settled = self.step_mut(number);
        if settled.children_left > 0 {
            settled.result = Some(result);
            self.held_bytes += size;
        }
        if self.step(number).parents_bytes <= bytes_max {
            self.release_parents(template, number);
        }
        self.count_result(template, number, size, bytes_max);
    }

    /// Counts a result for the children.
    fn count_result(&mut self, template: &Template, number: u32, size: u64, bytes_max: u64) {
        for &child in template.dag.children(number) {
            let waiting = self.step_mut(child);
            let before = waiting.parents_bytes;
            waiting.parents_bytes += size;
            let passes = before <= bytes_max && waiting.parents_bytes > bytes_max;
            // What is settled already has let go of its parents then.
            if passes && !waiting.phase().state().satisfies_dependents() {
                self.release_parents(template, child);
            }
        }
    }

    fn release_parents(&mut self, template: &Template, number: u32) {
        for &parent in template.dag.parents(number) {
            let parent = self.step_mut(parent);
            parent.children_left = parent.children_left.saturating_sub(1);
            if parent.children_left <= u32::from(planted!(ParentResultDropped))
                && let Some(result) = parent.result.take()
            {
                self.held_bytes -= result.len() as u64;
            }
        }
    }

    /// The first change makes a pending task run.
    pub fn start(&mut self, census: &mut Census) -> bool {
        let first = self.state == TaskState::Pending;
        if first {
            self.state = TaskState::InProgress;
            census.task_moved(self.template_index, TaskState::Pending, TaskState::InProgress);
        }
        first
    }

    /// Ends the task, if its machine allows that end now.
    pub fn finish(&mut self, end: TaskState) -> Result<(), Illegal> {
        self.state = next_task_state(self.state, end)?;
        Ok(())
    }

    /// Makes a task that ended in error run again.
    pub fn reopen(&mut self, census: &mut Census) -> Result<(), Illegal> {
        let before = self.state;
        self.state = next_task_state(before, TaskState::InProgress)?;
        census.task_moved(self.template_index, before, self.state);
        Ok(())
    }

    /// What a message says of the task itself, in bytes of text.
    pub fn message_bytes(&self) -> u64 {
        let key = &self.template.key;
        let tags = self.labels.tags.iter().map(|tag| tag.len() + 8).sum::<usize>();
        let correlation = self.labels.correlation_id.as_ref().map_or(0, |id| id.len());
        let labels = tags + correlation + self.labels.trace_bytes();
        (key.namespace.len() + key.name.len() + key.version.len() + self.context.len() + labels) as u64
    }

    pub fn step_counts(&self) -> StepCounts {
        StepCounts {
            pending: self.counts.waiting + self.counts.ready,
            ready: if self.is_due() && !self.state.is_final() { self.counts.ready } else { 0 },
            in_progress: self.counts.dispatched,
            complete: self.counts.complete,
            error: self.counts.failed,
            cancelled: self.counts.cancelled,
            resolved_manually: self.counts.bypassed + self.counts.resolved,
            waiting_for_retry: self.counts.retrying,
        }
    }
}

/// The transition table of tasks.
pub(crate) fn next_task_state(from: TaskState, to: TaskState) -> Result<TaskState, Illegal> {
    use TaskState as T;
    match (from, to) {
        (T::Pending | T::Error, T::InProgress)
        | (T::Pending | T::InProgress, T::Complete | T::Error | T::Cancelled | T::ResolvedManually)
        | (T::Error, T::Cancelled) => Ok(to),
        (
            T::Pending | T::InProgress | T::Complete | T::Error | T::Cancelled | T::ResolvedManually,
            T::Pending | T::InProgress | T::Complete | T::Error | T::Cancelled | T::ResolvedManually,
        ) => Err(Illegal),
    }
}

/// A number of steps as the wire and SQL have it.
pub(crate) fn count(steps: usize) -> u32 {
    u32::try_from(steps).expect("a template has at most some ten thousand steps")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_task_states_is_in_the_table() {
        let allowed = [
            (TaskState::Pending, TaskState::InProgress),
            (TaskState::Pending, TaskState::Complete),
            (TaskState::Pending, TaskState::Error),
            (TaskState::Pending, TaskState::Cancelled),
            (TaskState::Pending, TaskState::ResolvedManually),
            (TaskState::InProgress, TaskState::Complete),
            (TaskState::InProgress, TaskState::Error),
            (TaskState::InProgress, TaskState::Cancelled),
            (TaskState::InProgress, TaskState::ResolvedManually),
            (TaskState::Error, TaskState::InProgress),
            (TaskState::Error, TaskState::Cancelled),
        ];
        for &from in TaskState::ALL {
            for &to in TaskState::ALL {
                let expected = if allowed.contains(&(from, to)) { Ok(to) } else { Err(Illegal) };
                assert_eq!(next_task_state(from, to), expected, "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn a_task_ends_when_no_step_can_run() {
        let end = |counts: PhaseCounts| counts.end();
        let zero = PhaseCounts::default();
        assert_eq!(end(PhaseCounts { complete: 2, ..zero }), Some(TaskState::Complete));
        assert_eq!(end(PhaseCounts { complete: 1, bypassed: 1, ..zero }), Some(TaskState::Complete));
        assert_eq!(end(PhaseCounts { complete: 1, resolved: 1, ..zero }), Some(TaskState::ResolvedManually));
        assert_eq!(end(PhaseCounts { failed: 1, waiting: 3, ..zero }), Some(TaskState::Error));
        assert_eq!(end(PhaseCounts { failed: 1, dispatched: 1, ..zero }), None);
        assert_eq!(end(PhaseCounts { failed: 1, retrying: 1, ..zero }), None);
        assert_eq!(end(PhaseCounts { ready: 1, ..zero }), None);
    }
}
