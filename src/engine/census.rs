//! How many live tasks and steps are in each state, kept up to date with every change, so that nobody has to walk them to
//! know. By template, because names and namespaces follow from that.

use std::collections::VecDeque;

use crate::state::TaskState;
use crate::step::Phase;
use crate::task::Task;
use crate::time::Mono;

/// Room for so many moments is kept while nothing waits; what a burst took beyond is given back.
const MOMENTS_KEPT: usize = 1_024;

/// Where a live step that has not ended can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Some parents are not satisfied.
    Waiting,
    /// Could run, if its task's `run_at` had come.
    Scheduled,
    Ready,
    InProgress,
    Retrying,
    /// Nowhere any more; its count means nothing.
    Ended,
}

/// Places, the last included.
const PLACES: usize = Place::Ended as usize + 1;

impl Place {
    /// Of a step whose task's time has come.
    fn of(phase: Phase) -> Place {
        match phase {
            Phase::Waiting => Place::Waiting,
            Phase::Ready(_) => Place::Ready,
            Phase::Dispatched(_) => Place::InProgress,
            Phase::Retrying(_) => Place::Retrying,
            Phase::Settled(_) | Phase::Failed | Phase::Cancelled => Place::Ended,
        }
    }
}

/// The counts, and the time of the pass that changes them.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// When the present event is handled.
    pub now: Mono,
    /// By template index.
    templates: Vec<Counts>,
    /// Steps of all templates.
    steps: [u64; PLACES],
}

/// Live tasks of a template, and their steps.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub tasks_pending: u64,
    pub tasks_in_progress: u64,
    steps: [u64; PLACES],
    /// Since when those that are ready are so.
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

    /// Steps of all templates that are there.
    pub fn steps(&self, place: Place) -> u64 {
        self.steps[place as usize]
    }

    /// A task has become live. What is ready of it is so from now on.
    pub fn enter(&mut self, task: &Task) {
        self.count_task(task.template_index, task.state(), 1);
        self.count_steps(task, 1);
        if task.is_due() && task.counts.ready > 0 {
            let counts = &mut self.templates[task.template_index as usize];
            counts.ready_since.add(self.now, task.counts.ready);
        }
    }

    /// A task is about to be let go of.
    pub fn leave(&mut self, task: &Task) {
        self.count_task(task.template_index, task.state(), -1);
        self.count_steps(task, -1);
        if task.is_due() && task.counts.ready > 0 {
            let counts = &mut self.templates[task.template_index as usize];
            for step in &*task.steps {
                if let Phase::Ready(since) = step.phase() {
                    counts.ready_since.remove(since);
                }
            }
        }
    }

    /// A live task goes from one state to another.
    pub fn task_moved(&mut self, template: u32, from: TaskState, to: TaskState) {
        self.count_task(template, from, -1);
        self.count_task(template, to, 1);
    }

    /// A step of a live task goes from one phase to another.
    pub fn step_moved(&mut self, template: u32, is_due: bool, from: Phase, to: Phase) {
        let (mut before, mut after) = (Place::of(from), Place::of(to));
        let counts = &mut self.templates[template as usize];
        if is_due {
            if let Phase::Ready(since) = from {
                counts.ready_since.remove(since);
            }
            if let Phase::Ready(since) = to {
                counts.ready_since.add(since, 1);
            }
        } else {
            let early = |place| if place == Place::Ready { Place::Scheduled } else { place };
            (before, after) = (early(before), early(after));
        }
        for steps in [&mut counts.steps, &mut self.steps] {
            steps[before as usize] = steps[before as usize].wrapping_sub(1);
            steps[after as usize] = steps[after as usize].wrapping_add(1);
        }
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

    fn count_steps(&mut self, task: &Task, sign: i64) {
        let counts = &task.counts;
        let ready = if task.is_due() { Place::Ready } else { Place::Scheduled };
        let places = [
            (Place::Waiting, counts.waiting),
            (ready, counts.ready),
            (Place::InProgress, counts.dispatched),
            (Place::Retrying, counts.retrying),
        ];
        let of_template = &mut self.templates[task.template_index as usize].steps;
        for (place, count) in places {
            for steps in [&mut *of_template, &mut self.steps] {
                steps[place as usize] = steps[place as usize].wrapping_add_signed(sign * i64::from(count));
            }
        }
    }
}

impl Counts {
    /// Steps that are there.
    pub fn steps(&self, place: Place) -> u64 {
        self.steps[place as usize]
    }

    /// Since when the step waits that has been ready for the longest.
    pub fn oldest_ready(&self) -> Option<Mono> {
        self.ready_since.first()
    }
}

/// How many began at each moment and still wait. Most of what begins is over in the same pass, and does not come into the
/// queue; of the rest, nearly always the first leaves.
#[derive(Debug, Default)]
struct Moments {
    /// The latest moment, and how many began at it.
    latest: (Mono, u32),
    /// Those before it, in order of time; the first of them is not empty.
    earlier: VecDeque<(Mono, u32)>,
    /// Of them, those that are: at most half.
    empty: usize,
}

impl Moments {
    fn first(&self) -> Option<Mono> {
        let (latest, count) = self.latest;
        self.earlier.front().map(|&(at, _)| at).or_else(|| (count > 0).then_some(latest))
    }

    /// Time never goes back.
    fn add(&mut self, at: Mono, count: u32) {
        if self.latest.0 != at {
            if self.latest.1 > 0 {
                self.earlier.push_back(self.latest);
            }
            self.latest = (at, 0);
        }
        self.latest.1 += count;
    }

    fn remove(&mut self, at: Mono) {
        if self.latest.0 == at {
            self.latest.1 -= 1;
        } else {
            self.remove_earlier(at);
        }
    }

    fn remove_earlier(&mut self, at: Mono) {
        let place = match self.earlier.front() {
            Some(&(first, _)) if first == at => 0,
            Some(_) | None => {
                let found = self.earlier.binary_search_by_key(&at, |&(at, _)| at);
                found.expect("it was added at that moment")
            }
        };
        let count = &mut self.earlier[place].1;
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.empty += 1;
        while self.earlier.front().is_some_and(|&(_, count)| count == 0) {
            self.earlier.pop_front();
            self.empty -= 1;
        }
        if self.empty * 2 > self.earlier.len() {
            self.earlier.retain(|&(_, count)| count > 0);
            self.empty = 0;
        }
        if self.earlier.is_empty() && self.earlier.capacity() > MOMENTS_KEPT {
            self.earlier = VecDeque::new();
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
            let mut now = 0;
            for (kind, at) in ops {
                // Of what waits, the first leaves more often than others.
                let leaves = match kind % 4 {
                    0 | 1 => None,
                    2 => sorted.first_key_value().map(|(&at, _)| at),
                    _ => sorted.range(Mono(at)..).next().map(|(&at, _)| at),
                };
                match leaves {
                    Some(at) => {
                        moments.remove(at);
                        let count = sorted.get_mut(&at).expect("it waits");
                        *count -= 1;
                        if *count == 0 {
                            sorted.remove(&at);
                        }
                    }
                    None => {
                        now += u64::from(kind / 4 % 2);
                        moments.add(Mono(now), 1 + u32::from(kind / 8 % 3));
                        *sorted.entry(Mono(now)).or_default() += 1 + u32::from(kind / 8 % 3);
                    }
                }
                prop_assert_eq!(moments.first(), sorted.first_key_value().map(|(&at, _)| at));
                prop_assert!(moments.earlier.len() <= 2 * sorted.len(), "what has left is let go of");
            }
        }
    }
}
