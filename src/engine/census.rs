//! How many live tasks and steps are in each state, kept up to date with every change, so that nobody has to walk them to
//! know. By template, because names and namespaces follow from that.

use std::collections::VecDeque;

use crate::state::TaskState;
use crate::step::Phase;
use crate::task::Task;
use crate::time::Mono;

/// Room for so many moments is kept while nothing waits; what a burst took beyond is given back.
const MOMENTS_KEPT: usize = 1_024;

/// The counts, and the time of the pass that changes them.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// When the present event is handled.
    pub now: Mono,
    /// By template index.
    templates: Vec<Counts>,
    /// Steps of all templates that are ready, and that are with workers.
    ready: u64,
    in_progress: u64,
}

/// Live tasks of a template, and their steps that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub tasks_pending: u64,
    pub tasks_in_progress: u64,
    /// Some parents are not satisfied.
    pub waiting: u64,
    /// Could run, if their task's `run_at` had come.
    pub scheduled: u64,
    pub ready: u64,
    pub in_progress: u64,
    pub retrying: u64,
    /// Since when those in `ready` are so.
    ready_since: Moments,
}

impl Census {
    /// Makes room for a template; indices come one after the other.
    pub fn add_template(&mut self) {
        self.templates.push(Counts::default());
    }

    /// Of one template.
    pub fn of(&self, template: u32) -> &Counts {
        &self.templates[template as usize]
    }

    /// Steps that are ready.
    pub fn ready(&self) -> u64 {
        self.ready
    }

    /// Steps that are with workers.
    pub fn in_progress(&self) -> u64 {
        self.in_progress
    }

    /// A task has become live, with all of its steps.
    pub fn enter(&mut self, task: &Task) {
        self.count_task(task.template_index, task.state(), 1);
        for step in &*task.steps {
            self.count_step(task, step.phase(), 1);
        }
    }

    /// A task is about to be let go of.
    pub fn leave(&mut self, task: &Task) {
        self.count_task(task.template_index, task.state(), -1);
        for step in &*task.steps {
            self.count_step(task, step.phase(), -1);
        }
    }

    /// A live task goes from one state to another.
    pub fn task_moved(&mut self, template: u32, from: TaskState, to: TaskState) {
        self.count_task(template, from, -1);
        self.count_task(template, to, 1);
    }

    /// A step of a live task goes from one phase to another.
    pub fn step_moved(&mut self, task: &Task, from: Phase, to: Phase) {
        self.count_step(task, from, -1);
        self.count_step(task, to, 1);
    }

    fn count_task(&mut self, template: u32, state: TaskState, change: i64) {
        let counts = &mut self.templates[template as usize];
        let count = match state {
            TaskState::Pending => &mut counts.tasks_pending,
            TaskState::InProgress => &mut counts.tasks_in_progress,
            TaskState::Complete | TaskState::Error | TaskState::Cancelled | TaskState::ResolvedManually => return,
        };
        *count = count.wrapping_add_signed(change);
    }

    fn count_step(&mut self, task: &Task, phase: Phase, change: i64) {
        let counts = &mut self.templates[task.template_index as usize];
        let count = match phase {
            Phase::Waiting => &mut counts.waiting,
            Phase::Ready(_) if !task.is_due() => &mut counts.scheduled,
            Phase::Ready(since) => {
                counts.ready_since.count(since, change);
                self.ready = self.ready.wrapping_add_signed(change);
                &mut counts.ready
            }
            Phase::Dispatched(_) => {
                self.in_progress = self.in_progress.wrapping_add_signed(change);
                &mut counts.in_progress
            }
            Phase::Retrying(_) => &mut counts.retrying,
            Phase::Settled(_) | Phase::Failed | Phase::Cancelled => return,
        };
        *count = count.wrapping_add_signed(change);
    }
}

impl Counts {
    /// Since when the step waits that has been ready for the longest.
    pub fn oldest_ready(&self) -> Option<Mono> {
        self.ready_since.first()
    }
}

/// How many began at each moment and still wait. Costs nearly always a look at one end, because what began last is added
/// and what began first leaves.
#[derive(Debug, Default)]
struct Moments {
    /// In order of time; the first of them is not empty.
    counts: VecDeque<(Mono, u32)>,
    /// Of them, those that are: at most half.
    empty: usize,
}

impl Moments {
    fn first(&self) -> Option<Mono> {
        self.counts.front().map(|&(at, _)| at)
    }

    fn count(&mut self, at: Mono, change: i64) {
        if change > 0 { self.add(at) } else { self.remove(at) }
    }

    fn add(&mut self, at: Mono) {
        match self.place(at) {
            Ok(place) => {
                let count = &mut self.counts[place].1;
                self.empty -= usize::from(*count == 0);
                *count += 1;
            }
            Err(place) => self.counts.insert(place, (at, 1)),
        }
    }

    fn remove(&mut self, at: Mono) {
        let place = self.place(at).expect("it was added at that moment");
        let count = &mut self.counts[place].1;
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.empty += 1;
        while self.counts.front().is_some_and(|&(_, count)| count == 0) {
            self.counts.pop_front();
            self.empty -= 1;
        }
        if self.empty * 2 > self.counts.len() {
            self.counts.retain(|&(_, count)| count > 0);
            self.empty = 0;
        }
        if self.counts.is_empty() && self.counts.capacity() > MOMENTS_KEPT {
            self.counts = VecDeque::new();
        }
    }

    /// Where a moment is, or belongs.
    fn place(&self, at: Mono) -> Result<usize, usize> {
        match (self.counts.front(), self.counts.back()) {
            (Some(&(first, _)), _) if first == at => Ok(0),
            (_, Some(&(last, _))) if last == at => Ok(self.counts.len() - 1),
            (_, Some(&(last, _))) if last < at => Err(self.counts.len()),
            (None, _) | (_, None) => Err(0),
            (Some(_), Some(_)) => self.counts.binary_search_by_key(&at, |&(at, _)| at),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn moments_are_what_a_sorted_map_of_counts_says(ops in prop::collection::vec((any::<u8>(), 0_u64..20), 0..300)) {
            let mut moments = Moments::default();
            let mut sorted: BTreeMap<Mono, u32> = BTreeMap::new();
            for (kind, at) in ops {
                // Of what waits, the first leaves more often than others.
                let leaves = match kind % 4 {
                    0 | 1 => None,
                    2 => sorted.first_key_value().map(|(&at, _)| at),
                    _ => sorted.range(Mono(at)..).next().map(|(&at, _)| at),
                };
                match leaves {
                    Some(at) => {
                        moments.count(at, -1);
                        let count = sorted.get_mut(&at).expect("it waits");
                        *count -= 1;
                        if *count == 0 {
                            sorted.remove(&at);
                        }
                    }
                    None => {
                        moments.count(Mono(at), 1);
                        *sorted.entry(Mono(at)).or_default() += 1;
                    }
                }
                prop_assert_eq!(moments.first(), sorted.first_key_value().map(|(&at, _)| at));
                prop_assert!(moments.counts.len() <= 2 * sorted.len(), "what has left is let go of");
            }
        }
    }
}
