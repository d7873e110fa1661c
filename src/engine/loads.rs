//! Tasks that the store is asked for, so that an operation can be done on them after they have ended. What was read before
//! a task came back and ended once more is out of date; this tells, and knows nothing else of tasks.

use std::collections::{BTreeSet, HashMap};

use crate::hash::BuildIdHasher;
use crate::id::{Origin, TaskId};

/// When a question was asked: how many tasks had ended by then. It travels with the question and comes back with the answer,
/// since commands cannot be told apart by their ids: a message may arrive twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadTurn(u64);

/// Ends that are remembered while questions are under way, which take a millisecond each; some are never answered. Beyond,
/// what was asked is asked again.
const ENDED_MAX: usize = 100_000;

/// Questions under way, and the tasks that ended meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads {
    /// Ends of tasks so far.
    turn: LoadTurn,
    /// Commands with a question under way.
    under_way: BTreeSet<Origin>,
    /// The turn in which a task ended, as long as a question is under way.
    ended: HashMap<TaskId, LoadTurn, BuildIdHasher>,
    /// Which tasks ended up to this turn is not known any more.
    forgotten: LoadTurn,
}

impl Loads {
    /// Questions under way, and tasks remembered for them.
    pub fn held(&self) -> (usize, usize) {
        (self.under_way.len(), self.ended.len())
    }

    /// A question is asked.
    pub fn asked(&mut self, origin: Origin) -> LoadTurn {
        self.under_way.insert(origin);
        self.turn
    }

    /// The same without the questions of these commands, which are about to be handled again and ask anew if need be.
    pub fn without(&self, commands: &BTreeSet<Origin>) -> Loads {
        let mut loads = self.clone();
        loads.under_way.retain(|origin| !commands.contains(origin));
        if loads.under_way.is_empty() {
            loads.ended.clear();
            loads.forgotten = loads.turn;
        }
        loads
    }

    /// A task has ended.
    pub fn ended(&mut self, task: TaskId) {
        self.turn.0 += 1;
        if self.under_way.is_empty() || self.ended.len() >= ENDED_MAX {
            self.ended.clear();
            self.forgotten = self.turn;
        } else {
            self.ended.insert(task, self.turn);
        }
    }

    /// An answer has come. Returns whether the task is known not to have ended since it was asked for.
    pub fn answered(&mut self, origin: Origin, task: TaskId, asked: LoadTurn) -> bool {
        self.under_way.remove(&origin);
        let ended = self.ended.get(&task).copied().unwrap_or_default();
        let fresh = asked >= self.forgotten && asked >= ended;
        if self.under_way.is_empty() {
            self.ended.clear();
            self.forgotten = self.turn;
        }
        fresh
    }
}
