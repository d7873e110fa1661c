//! One batch with one worker: what became of each of its steps, and when it may be closed.
//!
//! ```text
//!  Created --committed--> Published --first report--> Executing --all accounted for, completion in--> Completed
//!     (the store's row and the send)                     |   '--some step passed its deadline--> Timeout
//!                                                        |   '--every step cancelled--> Cancelled
//!                                                        |  (a completion that is overdue counts as in)
//!                                                        '--worker lost or superseded--> Failed
//! ```
//! When a worker says itself that it gives up what it has, its batches close as if their completions had named the open
//! steps as returned.
//! The engine holds open batches only: `Created`, `Published` and `Executing` differ in what is on the wire, which the
//! engine does not see, so that they are derived where they are shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Index;
use std::sync::Arc;

use bytes::Bytes;

use crate::effect::{BatchItem, Difference};
use crate::event::{CompletedStep, CompletionStatus, StepReference};
use crate::hash::BuildIdHasher;
use crate::id::{BatchId, RegistrationId, TaskId};
use crate::state::BatchState;
use crate::template::Template;
use crate::time::Mono;

/// What became of a step of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemStatus {
    /// Nothing yet.
    Open,
    /// A result was accepted, with this checksum.
    Complete(u64),
    /// A failure was accepted.
    Failed,
    /// It came back unrun.
    Returned,
    /// Its deadline passed; the worker's slot is still taken.
    TimedOut,
    /// Its task was cancelled or an operator resolved it; the worker's slot is still taken.
    Cancelled,
    /// As `TimedOut`, and the worker has let go of it since.
    TimedOutReleased,
    /// As `Cancelled`, and the worker has let go of it since.
    CancelledReleased,
}

impl ItemStatus {
    /// Whether the step still takes a slot of the worker.
    pub fn holds_slot(self) -> bool {
        match self {
            ItemStatus::Open | ItemStatus::TimedOut | ItemStatus::Cancelled => true,
            ItemStatus::Complete(_)
            | ItemStatus::Failed
            | ItemStatus::Returned
            | ItemStatus::TimedOutReleased
            | ItemStatus::CancelledReleased => false,
        }
    }

    /// The same, after the worker has let go of the step.
    pub fn released(self) -> ItemStatus {
        match self {
            ItemStatus::TimedOut => ItemStatus::TimedOutReleased,
            ItemStatus::Cancelled => ItemStatus::CancelledReleased,
            ItemStatus::Open
            | ItemStatus::Complete(_)
            | ItemStatus::Failed
            | ItemStatus::Returned
            | ItemStatus::TimedOutReleased
            | ItemStatus::CancelledReleased => self,
        }
    }

    /// The word in a list of differences.
    fn recorded(self) -> &'static str {
        match self {
            ItemStatus::Open => "open",
            ItemStatus::Complete(_) => "complete",
            ItemStatus::Failed => "error",
            ItemStatus::Returned => "returned",
            ItemStatus::TimedOut | ItemStatus::TimedOutReleased => "timeout",
            ItemStatus::Cancelled | ItemStatus::CancelledReleased => "cancelled",
        }
    }
}

/// A step of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub task: TaskId,
    pub template: Arc<Template>,
    pub step: u32,
    pub attempt: u32,
    pub status: ItemStatus,
    pub deadline: Mono,
}

impl Item {
    pub fn name(&self) -> &Arc<str> {
        &self.template.steps[self.step as usize].name
    }

    pub fn reference(&self, batch: BatchId) -> StepReference {
        StepReference { batch, task: self.task, step: self.name().clone(), attempt: self.attempt }
    }

    pub fn saved(&self) -> BatchItem {
        BatchItem { task: self.task, step: self.step, attempt: self.attempt }
    }
}

/// An open batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub registration: RegistrationId,
    pub items: Vec<Item>,
    pub dispatched: Mono,
    /// What its open steps said last about how far they are, by their place in it.
    pub progress: BTreeMap<usize, Bytes>,
    /// When its worker was last told something of it: to run it, or to stop steps of it.
    pub told: Mono,
    /// The deadline that is set for it.
    pub due: Mono,
    /// Until when its closing report is waited for; known when every step of it is accounted for.
    pub waits_until: Option<Mono>,
    pub completion: Completion,
}

/// Whether a worker has closed its side of a batch.
#[derive(Debug)]
pub(crate) enum Completion {
    /// Not yet.
    Awaited,
    /// Its closing report: compared with what was recorded when the batch closes, since results may still follow.
    Reported(Vec<CompletedStep>),
    /// None will come, or is waited for any more: the worker never received the batch, has left, or its report is lost.
    Waived,
}

/// Open batches.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    batches: HashMap<BatchId, Batch, BuildIdHasher>,
    /// Their ids, in order of time.
    ids: BTreeSet<BatchId>,
}

impl Batches {
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    pub fn get(&self, id: BatchId) -> Option<&Batch> {
        self.batches.get(&id)
    }

    pub fn get_mut(&mut self, id: BatchId) -> Option<&mut Batch> {
        self.batches.get_mut(&id)
    }

    pub fn insert(&mut self, id: BatchId, batch: Batch) {
        self.ids.insert(id);
        self.batches.insert(id, batch);
    }

    pub fn remove(&mut self, id: BatchId) -> Option<Batch> {
        self.ids.remove(&id);
        self.batches.remove(&id)
    }

    /// The one that was made first.
    pub fn oldest(&self) -> Option<BatchId> {
        self.ids.first().copied()
    }

    pub fn values(&self) -> impl Iterator<Item = &Batch> {
        self.batches.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (BatchId, &mut Batch)> {
        self.batches.iter_mut().map(|(&id, batch)| (id, batch))
    }
}

impl Index<BatchId> for Batches {
    type Output = Batch;

    fn index(&self, id: BatchId) -> &Batch {
        &self.batches[&id]
    }
}

impl Batch {
    /// The item that a reference names. It is looked for from `near` on first: what a worker says of the steps of a batch
    /// comes in about their order, so that one message is compared with each item once and not with all of them.
    pub fn find(&self, near: usize, task: TaskId, step: &str, attempt: u32) -> Option<usize> {
        let same_attempt = |item: &Item| item.attempt == attempt || planted!(AttemptNotCompared);
        let named = |item: &Item| item.task == task && same_attempt(item) && **item.name() == *step;
        let near = near.min(self.items.len());
        let (before, after) = self.items.split_at(near);
        let found = after.iter().position(named).map(|index| near + index);
        found.or_else(|| before.iter().position(named))
    }

    pub fn open_items(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.items.len()).filter(|&index| self.items[index].status == ItemStatus::Open)
    }

    /// Whether the worker has every step of it behind itself, and only the closing report is missing.
    pub fn lacks_completion(&self) -> bool {
        // From the end, because that is where a step is out the longest.
        matches!(self.completion, Completion::Awaited) && !self.items.iter().rev().any(|item| item.status.holds_slot())
    }

    /// The earliest deadline of an open step.
    pub fn next_due(&self) -> Option<Mono> {
        self.items.iter().filter(|item| item.status == ItemStatus::Open).map(|item| item.deadline).min()
    }

    /// The state in which the batch closes, once its completion is in and every step is accounted for.
    pub fn closing(&self) -> Option<BatchState> {
        let awaited = match self.completion {
            Completion::Awaited => true,
            Completion::Reported(_) | Completion::Waived => false,
        };
        if awaited || (self.open_items().next().is_some() && !planted!(CompletionClosesOpenSteps)) {
            return None;
        }
        let timed_out = |status| matches!(status, ItemStatus::TimedOut | ItemStatus::TimedOutReleased);
        let cancelled = |status| matches!(status, ItemStatus::Cancelled | ItemStatus::CancelledReleased);
        Some(if self.items.iter().any(|item| timed_out(item.status)) {
            BatchState::Timeout
        } else if self.items.iter().all(|item| cancelled(item.status)) {
            BatchState::Cancelled
        } else {
            BatchState::Completed
        })
    }

    /// Compares the worker's closing report with what its partial results said.
    pub fn differences(&self) -> Vec<Difference> {
        let Completion::Reported(reported) = &self.completion else { return Vec::new() };
        let mut differences = Vec::new();
        for (near, line) in reported.iter().enumerate() {
            let found = self.find(near, line.task, &line.step, line.attempt);
            let recorded = found.map(|index| self.items[index].status);
            if recorded.is_none_or(|recorded| !agrees(line.status, recorded)) {
                differences.push(Difference {
                    task: line.task,
                    step: line.step.clone(),
                    attempt: line.attempt,
                    completion: line.status.as_str(),
                    recorded: recorded.map_or("not_in_batch", ItemStatus::recorded),
                });
            }
        }
        for (near, item) in self.items.iter().enumerate() {
            let names = |line: &CompletedStep| {
                line.task == item.task && line.attempt == item.attempt && line.step == *item.name()
            };
            if !reported.get(near).is_some_and(names) && !reported.iter().any(names) {
                differences.push(Difference {
                    task: item.task,
                    step: item.name().clone(),
                    attempt: item.attempt,
                    completion: "absent",
                    recorded: item.status.recorded(),
                });
            }
        }
        differences
    }
}

/// Whether a line of a completion fits what was recorded. A step given up by the broker may have ended in any way.
fn agrees(reported: CompletionStatus, recorded: ItemStatus) -> bool {
    match recorded {
        ItemStatus::Complete(_) => reported == CompletionStatus::Complete,
        ItemStatus::Failed => reported == CompletionStatus::Failed,
        ItemStatus::Returned => reported == CompletionStatus::Returned,
        ItemStatus::Open
        | ItemStatus::TimedOut
        | ItemStatus::Cancelled
        | ItemStatus::TimedOutReleased
        | ItemStatus::CancelledReleased => true,
    }
}
