//! Stretches of time in the lives of tasks and steps that are over, for whoever draws traces of them. They are told only when
//! [`Config::spans`](crate::Config::spans) asks for them. When something began is read from ids, which have the time in them:
//! nothing is kept for it, and an engine that was recovered tells the same as the one before.

use std::sync::Arc;

use crate::batch::Item;
use crate::effect::{AttemptFailed, Effects, FailureCause};
use crate::engine::Engine;
use crate::event::TaskLabels;
use crate::id::{BatchId, RegistrationId, TaskId};
use crate::state::TaskState;
use crate::task::Task;
use crate::template::Template;
use crate::time::{Now, Wall};

/// A wait that is shorter is not told, in milliseconds: with a worker at hand a step waits for its commit only, and a span for
/// that would double their number.
const WAIT_MS_MIN: u64 = 10;

/// Something that is over as soon as its group is durable.
#[derive(Clone, Debug)]
pub struct Span {
    /// The task.
    pub task: TaskId,
    /// Its template.
    pub template: Arc<Template>,
    /// Its labels, with the trace of its request.
    pub labels: Arc<TaskLabels>,
    /// When it began.
    pub begun: Wall,
    /// When it ended; not before it began.
    pub ended: Wall,
    /// What it was.
    pub of: SpanOf,
}

/// What a span is about.
#[derive(Clone, Debug)]
pub enum SpanOf {
    /// A task, from its acceptance to its end.
    Task {
        /// How it ended.
        state: TaskState,
    },
    /// A task that had ended, from an operator's act that made it run again to its next end.
    Again {
        /// How it ended.
        state: TaskState,
    },
    /// A step that was ready and waited for a worker.
    Wait {
        /// Index of the step in its template.
        step: u32,
        /// The attempt that it waited for.
        attempt: u32,
        /// The batch that took it.
        batch: BatchId,
    },
    /// An attempt, from its dispatch to its outcome.
    Attempt {
        /// Index of the step in its template.
        step: u32,
        /// The attempt. A later one has the same number if this one came back unrun.
        attempt: u32,
        /// The batch.
        batch: BatchId,
        /// The worker's name, if it is known still.
        worker: Option<Arc<str>>,
        /// The outcome.
        end: AttemptEnd,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum AttemptEnd {
    /// With a result.
    Complete,
    /// Without one.
    Failed {
        /// Why.
        cause: FailureCause,
        /// Error class.
        class: Box<str>,
        /// What went wrong.
        message: Box<str>,
        /// When the next attempt may start; `None` when the step has ended in error.
        retry_in_ms: Option<u64>,
    },
    /// It came back unrun.
    Returned {
        /// Why.
        reason: Arc<str>,
    },
    /// An operator ended its task or its step meanwhile.
    Cancelled,
}

impl Task {
    fn span(&self, begun: Wall, ended: Wall, of: SpanOf) -> Span {
        let (template, labels) = (self.template.clone(), self.labels.clone());
        Span { task: self.id, template, labels, begun: begun.min(ended), ended, of }
    }
}

impl Engine {
    /// A step is handed out.
    pub(crate) fn tell_wait(&self, now: Now, item: &Item, batch: BatchId, queued_ms: u64, out: &mut Effects) {
        if !self.config.spans || queued_ms < WAIT_MS_MIN {
            return;
        }
        let Some(task) = self.tasks.get(&item.task) else { return };
        let begun = Wall(now.wall.0.saturating_sub_unsigned(queued_ms));
        out.spans.push(task.span(begun, now.wall, SpanOf::Wait { step: item.step, attempt: item.attempt, batch }));
    }

    /// An attempt is over.
    pub(crate) fn tell_attempt(
        &self,
        now: Now,
        (id, step, attempt): (TaskId, u32, u32),
        batch: BatchId,
        registration: RegistrationId,
        end: impl FnOnce() -> AttemptEnd,
        out: &mut Effects,
    ) {
        if !self.config.spans {
            return;
        }
        let Some(task) = self.tasks.get(&id) else { return };
        let worker = self.workers.get(registration).map(|worker| worker.name());
        let of = SpanOf::Attempt { step, attempt, batch, worker, end: end() };
        out.spans.push(task.span(batch.made_at(), now.wall, of));
    }

    /// A task has ended.
    pub(crate) fn tell_task(&self, now: Now, task: &Task, state: TaskState, out: &mut Effects) {
        if !self.config.spans {
            return;
        }
        let (begun, of) = match task.reopened_at {
            None => (task.id.made_at(), SpanOf::Task { state }),
            Some(reopened_at) => (reopened_at, SpanOf::Again { state }),
        };
        out.spans.push(task.span(begun, now.wall, of));
    }
}

impl AttemptEnd {
    pub(crate) fn of(failed: &AttemptFailed) -> AttemptEnd {
        AttemptEnd::Failed {
            cause: failed.cause,
            class: failed.failure.class.as_str().into(),
            message: failed.failure.message.as_str().into(),
            retry_in_ms: failed.retry_in_ms,
        }
    }

    /// The name: as of the step's end in metrics, and `cancelled`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            AttemptEnd::Complete => "complete",
            AttemptEnd::Failed { cause, .. } => cause.as_str(),
            AttemptEnd::Returned { .. } => "returned",
            AttemptEnd::Cancelled => "cancelled",
        }
    }
}
