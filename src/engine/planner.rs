//! Which ready step goes to which worker: namespaces take turns; within one, priority then age decides; a task with much
//! ready work gives way after a quantum.
//!
//! Every task with ready steps has a place: a number drawn from one counter when the task is made, and again each time it
//! has used up its quantum. A level of priority moves a task [`PRIORITY_TURNS`] places ahead. So a higher priority goes
//! first, an older task goes before a younger one, a wide task shares with the others, and nothing waits for ever: a step
//! is overtaken by at most that many turns a level.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::id::{RegistrationId, TaskId};
use crate::line::{Line, Rank};
use crate::task::Task;
use crate::workers::Workers;

/// Places that one level of priority is worth. At 10,000 tasks a second, a level jumps a queue of 100 seconds.
const PRIORITY_TURNS: i64 = 1_000_000;

/// Steps that a task may take before others of the same rank come first. As many as a small worker process has slots.
const QUANTUM_STEPS: u32 = 16;

/// Tasks with ready steps, by template and rank, and templates by the rank of their first task.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    next_turn: u64,
    /// By template index.
    templates: Vec<TemplateQueue>,
    namespaces: Vec<NamespaceQueue>,
    namespace_index: BTreeMap<Arc<str>, usize>,
    /// Namespaces with ready work that are not paused, in the order in which they take turns.
    rotation: VecDeque<usize>,
}

#[derive(Debug)]
struct TemplateQueue {
    namespace: usize,
    tasks: Line<TaskId>,
    /// Whether its first task stands for it in the heads of its namespace. Not while it is blocked.
    heads: bool,
}

#[derive(Debug)]
struct NamespaceQueue {
    /// Its templates that have ready work, by the rank of their first task.
    heads: Line<u32>,
    /// Whether it is in `rotation`.
    rotating: bool,
    /// It is kept out of `rotation`, so that planning costs nothing for it, whatever waits.
    paused: bool,
}

/// A task that may run a step, and the worker for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub task: TaskId,
    pub worker: RegistrationId,
}

/// Templates that no worker with credit can run, taken out for the rest of a pass.
#[derive(Debug, Default)]
pub(crate) struct Blocked(Vec<u32>);

impl Queues {
    /// A new place at the end of the order.
    pub fn draw_turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    /// Makes room for a template; indices come one after the other.
    pub fn add_template(&mut self, namespace: &Arc<str>, paused: bool) {
        let next = self.namespaces.len();
        let namespace = *self.namespace_index.entry(namespace.clone()).or_insert(next);
        if namespace == next {
            self.namespaces.push(NamespaceQueue { heads: Line::new(), rotating: false, paused });
        }
        self.templates.push(TemplateQueue { namespace, tasks: Line::new(), heads: false });
    }

    /// Puts a task in line if it has ready steps and its time has come, and takes it out if not.
    pub fn place(&mut self, task: &mut Task) {
        if !task.is_due() || task.counts.ready == 0 {
            self.dequeue(task);
        } else if !task.queued {
            task.queued = true;
            self.insert(rank(task), task.id, task.template_index);
        }
    }

    /// Takes a task out of line.
    pub fn dequeue(&mut self, task: &mut Task) {
        if task.queued {
            task.queued = false;
            self.remove(rank(task), task.template_index);
        }
    }

    /// Counts a step taken from a task, and moves the task to the end when its quantum is used up or out of line when
    /// nothing of it is ready.
    pub fn taken(&mut self, task: &mut Task) {
        task.taken += 1;
        if task.counts.ready == 0 {
            self.dequeue(task);
        } else if task.taken >= QUANTUM_STEPS {
            self.dequeue(task);
            task.taken = 0;
            task.turn = self.draw_turn();
            self.place(task);
        }
    }

    /// The next task to take a step from, or `None` when no worker with credit can run anything that is ready.
    pub fn pick(&mut self, workers: &mut Workers, blocked: &mut Blocked) -> Option<Pick> {
        while let Some(namespace) = self.rotation.pop_front() {
            let queue = &mut self.namespaces[namespace];
            let Some((rank, template)) = queue.heads.first() else {
                queue.rotating = false;
                continue;
            };
            if let Some(worker) = workers.with_credit_for(template) {
                self.rotation.push_back(namespace);
                let first = self.templates[template as usize].tasks.first();
                let (_, task) = first.expect("a template with a head has a task in line");
                return Some(Pick { task, worker });
            }
            if !workers.any_credit() {
                self.rotation.push_front(namespace);
                return None;
            }
            queue.heads.remove(rank);
            self.templates[template as usize].heads = false;
            blocked.0.push(template);
            self.rotation.push_front(namespace);
        }
        None
    }

    /// Puts back what a pass had taken out.
    pub fn unblock(&mut self, blocked: Blocked) {
        for template in blocked.0 {
            let queue = &mut self.templates[template as usize];
            if let Some((first, _)) = queue.tasks.first().filter(|_| !queue.heads) {
                queue.heads = true;
                let namespace = queue.namespace;
                self.namespaces[namespace].heads.insert(first, template);
                self.rotate(namespace);
            }
        }
    }

    /// Indices of templates that have ready work, but for those of paused namespaces.
    pub fn waiting_templates(&self) -> impl Iterator<Item = u32> {
        let waits = |queue: &TemplateQueue| !queue.tasks.is_empty() && !self.namespaces[queue.namespace].paused;
        (0_u32..).zip(&self.templates).filter(move |(_, queue)| waits(queue)).map(|(index, _)| index)
    }

    /// Hands out nothing of a namespace any more.
    pub fn pause(&mut self, namespace: &str) {
        let Some(&namespace) = self.namespace_index.get(namespace) else { return };
        let queue = &mut self.namespaces[namespace];
        queue.paused = true;
        queue.rotating = false;
        self.rotation.retain(|&other| other != namespace);
    }

    /// Lets a paused namespace take its turns again.
    pub fn resume(&mut self, namespace: &str) {
        let Some(&namespace) = self.namespace_index.get(namespace) else { return };
        let queue = &mut self.namespaces[namespace];
        queue.paused = false;
        if queue.heads.first().is_some() {
            self.rotate(namespace);
        }
    }

    /// Namespaces with templates.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<str>> {
        self.namespace_index.keys()
    }

    fn insert(&mut self, rank: Rank, task: TaskId, template: u32) {
        let queue = &mut self.templates[template as usize];
        let old_head = queue.tasks.first();
        queue.tasks.insert(rank, task);
        let namespace = queue.namespace;
        if old_head.is_none_or(|(old, _)| rank < old) {
            let heads = &mut self.namespaces[namespace].heads;
            if let Some((old, _)) = old_head.filter(|_| queue.heads) {
                heads.remove(old);
            }
            heads.insert(rank, template);
            queue.heads = true;
            self.rotate(namespace);
        }
    }

    fn remove(&mut self, rank: Rank, template: u32) {
        let queue = &mut self.templates[template as usize];
        let was_head = queue.tasks.first().is_some_and(|(first, _)| first == rank);
        queue.tasks.remove(rank);
        if was_head && queue.heads {
            let heads = &mut self.namespaces[queue.namespace].heads;
            heads.remove(rank);
            queue.heads = !queue.tasks.is_empty();
            if let Some((next, _)) = queue.tasks.first() {
                heads.insert(next, template);
            }
        }
    }

    fn rotate(&mut self, namespace: usize) {
        let queue = &mut self.namespaces[namespace];
        if !queue.rotating && (!queue.paused || planted!(PauseIgnored)) {
            queue.rotating = true;
            self.rotation.push_back(namespace);
        }
    }
}

fn rank(task: &Task) -> Rank {
    // 2^63 turns are not drawn in a million years, and a priority is worth at most 2^51 of them.
    (task.turn.cast_signed() - i64::from(task.priority) * PRIORITY_TURNS, task.turn)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::event::TaskLabels;
    use crate::retry::Backoff;
    use crate::template::{StepTemplate, Template, TemplateKey};
    use crate::time::{Mono, Wall};

    fn task(priority: i32, turn: i64) -> Task {
        let key = TemplateKey { namespace: "shop".into(), name: "order".into(), version: "1.0.0".into() };
        let step = StepTemplate {
            name: "pay".into(),
            handler_class: "Pay".into(),
            retryable: true,
            retry_limit: 1,
            backoff: Backoff::default(),
            skippable: false,
            timeout_ms: 1,
            inputs: Bytes::new(),
            custom_events: Box::default(),
            dependent_system: None,
        };
        let template = Arc::new(Template::new(key, vec![(step, Vec::new())]).expect("a template"));
        let id = TaskId(Uuid::nil());
        let mut task = Task::new(id, template, 0, Bytes::new(), TaskLabels::default(), Wall(0), Mono(0));
        task.priority = priority;
        task.turn = u64::try_from(turn).expect("a positive turn");
        task
    }

    #[test]
    fn a_lower_priority_is_overtaken_for_a_bounded_number_of_turns() {
        let waiting = task(0, 7);
        assert!(rank(&task(1, 7 + PRIORITY_TURNS - 1)) < rank(&waiting));
        assert!(rank(&task(1, 7 + PRIORITY_TURNS + 1)) > rank(&waiting));
        assert!(rank(&task(3, 7 + 3 * PRIORITY_TURNS + 1)) > rank(&waiting));
        assert!(rank(&task(i32::MAX, 7)) < rank(&waiting) && rank(&task(i32::MIN, 7)) > rank(&waiting));
    }
}
