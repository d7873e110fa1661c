//! How much there is of a namespace, kept as it changes: a question for all namespaces does not walk over their tasks.

use crate::task::Task;

/// Live tasks of a namespace, and their steps by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub tasks: u64,
    /// Steps that could run now.
    pub ready: u64,
    /// Steps with workers.
    pub in_progress: u64,
    /// Steps that wait for others, for a retry, or for the time of their task.
    pub waiting: u64,
}

/// The part of one task in it, as it was counted last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    tasks: u32,
    ready: u32,
    in_progress: u32,
    waiting: u32,
}

impl Share {
    /// The part that a task has now.
    pub fn of(task: &Task) -> Share {
        let counts = &task.counts;
        let (ready, delayed) = if task.is_due() { (counts.ready, 0) } else { (0, counts.ready) };
        Share { tasks: 1, ready, in_progress: counts.dispatched, waiting: counts.waiting + counts.retrying + delayed }
    }
}

impl Tally {
    /// Puts one part in the place of another.
    pub fn exchange(&mut self, before: Share, after: Share) {
        let put = |sum: &mut u64, before: u32, after: u32| *sum = *sum + u64::from(after) - u64::from(before);
        put(&mut self.tasks, before.tasks, after.tasks);
        put(&mut self.ready, before.ready, after.ready);
        put(&mut self.in_progress, before.in_progress, after.in_progress);
        put(&mut self.waiting, before.waiting, after.waiting);
    }
}
