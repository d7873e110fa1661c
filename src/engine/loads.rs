//! Tasks that the store is asked for, so that an operation can be done on them after they have ended. What was read before
//! a task came back and ended once more is out of date; this tells, and knows nothing else of tasks.

use std::collections::{BTreeMap, HashMap};

use crate::hash::BuildIdHasher;
use crate::id::{Origin, TaskId};

/// Questions under way, and the tasks that ended meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads {
    /// Ends of tasks so far.
    turn: u64,
    /// By command: the turn in which its question was asked.
    under_way: BTreeMap<Origin, u64>,
    /// The turn in which a task ended, as long as a question is under way.
    ended: HashMap<TaskId, u64, BuildIdHasher>,
}

impl Loads {
    /// A question is asked. A command that repeats the id of another keeps the older turn, which at worst asks again.
    pub fn asked(&mut self, origin: Origin) {
        self.under_way.entry(origin).or_insert(self.turn);
    }

    /// A task has ended.
    pub fn ended(&mut self, task: TaskId) {
        self.turn += 1;
        if !self.under_way.is_empty() {
            self.ended.insert(task, self.turn);
        }
    }

    /// An answer has come. Returns whether the task is known not to have ended since it was asked for.
    pub fn answered(&mut self, origin: Origin, task: TaskId) -> bool {
        let asked = self.under_way.remove(&origin);
        let ended = self.ended.get(&task).copied().unwrap_or(0);
        if self.under_way.is_empty() {
            self.ended.clear();
        }
        asked.is_some_and(|asked| ended <= asked)
    }
}
