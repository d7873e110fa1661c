//! Every deadline of the engine in one ordered set.

use std::collections::BTreeSet;

use crate::id::{BatchId, RegistrationId, TaskId};
use crate::time::Mono;

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// The earliest timeout among the open steps of a batch.
    Batch(BatchId),
    /// The next attempt of a step may start.
    Retry(TaskId, u32),
    /// A task's `run_at`.
    Start(TaskId),
    /// Time to look at when a worker was last heard of.
    Worker(RegistrationId),
    /// A worker that gave steps back may have some again.
    Resume(RegistrationId),
    /// A client has waited long enough.
    Wait(u64),
}

/// Deadlines by time.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(BTreeSet<(Mono, Deadline)>);

impl Deadlines {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn add(&mut self, at: Mono, deadline: Deadline) {
        self.0.insert((at, deadline));
    }

    pub fn remove(&mut self, at: Mono, deadline: Deadline) {
        self.0.remove(&(at, deadline));
    }

    pub fn next(&self) -> Option<Mono> {
        self.0.first().map(|&(at, _)| at)
    }

    /// The earliest deadline that has passed.
    pub fn pop_due(&mut self, now: Mono) -> Option<Deadline> {
        let &(at, deadline) = self.0.first()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some(deadline)
    }
}
