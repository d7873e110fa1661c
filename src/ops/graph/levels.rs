//! Levels of a graph, and its critical path. Linear in steps and dependencies.

use tasker_engine::Dag;

use super::Step;

/// What follows from the dependencies alone, and from run times.
pub(super) struct Levels {
    /// Each step's level: the length of the longest chain that leads to it.
    pub(super) level: Vec<u32>,
    /// Number of levels.
    pub(super) depth: u32,
    /// The critical path, from first to last.
    pub(super) critical: Vec<u32>,
}

impl Levels {
    pub(super) fn of(dag: &Dag, steps: &[Step]) -> Levels {
        let order = from_the_roots(dag);
        let mut level = vec![0; steps.len()];
        // Run time up to the step's end, with the number of steps to tell equals apart; then its predecessor on that way.
        let mut cost = vec![(0u64, 0u32); steps.len()];
        let mut before = vec![None; steps.len()];
        for step in order {
            let at = step as usize;
            let mut longest = (0, 0);
            for &parent in dag.parents(step) {
                level[at] = level[at].max(level[parent as usize] + 1);
                if cost[parent as usize] > longest {
                    longest = cost[parent as usize];
                    before[at] = Some(parent);
                }
            }
            cost[at] = (longest.0.saturating_add(steps[at].run_us.unwrap_or(0)), longest.1 + 1);
        }
        let depth = level.iter().max().map_or(0, |deepest| deepest + 1);
        let last = (0..dag.len()).rev().max_by_key(|&step| cost[step as usize]);
        let mut critical: Vec<u32> = std::iter::successors(last, |&step| before[step as usize]).collect();
        critical.reverse();
        Levels { level, depth, critical }
    }
}

/// Every step after its parents.
fn from_the_roots(dag: &Dag) -> Vec<u32> {
    let mut waits_for: Vec<usize> = (0..dag.len()).map(|step| dag.parents(step).len()).collect();
    let mut order = dag.roots().to_vec();
    let mut next = 0;
    while let Some(&step) = order.get(next) {
        next += 1;
        for &child in dag.children(step) {
            waits_for[child as usize] -= 1;
            if waits_for[child as usize] == 0 {
                order.push(child);
            }
        }
    }
    order
}
