//! The steps of a task as a graph: children by number, and which parts of it look alike.

use std::collections::HashMap;

use crate::protocol::StepSummary;

/// Steps with their children, both in the order of their definition.
pub(super) struct Graph<'a> {
    pub steps: &'a [StepSummary],
    /// Numbers of the children.
    pub children: Vec<Vec<usize>>,
    /// Numbers of the steps without a parent.
    pub roots: Vec<usize>,
    /// Equal for steps that look alike with all that is below them: same state, same shape, same number of parents.
    pub looks: Vec<usize>,
    /// Steps below each one, itself not counted; of a step with several parents the first one counts it.
    pub sizes: Vec<usize>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(steps: &'a [StepSummary]) -> Graph<'a> {
        let numbers: HashMap<&str, usize> =
            steps.iter().enumerate().map(|(number, step)| (step.name.as_str(), number)).collect();
        let mut children = vec![Vec::new(); steps.len()];
        let mut roots = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            // A parent that the broker does not name cannot be drawn; its child must be.
            let parents = step.parents.iter().filter_map(|parent| numbers.get(parent.as_str()));
            let mut has_parent = false;
            for &parent in parents {
                children[parent].push(number);
                has_parent = true;
            }
            if !has_parent {
                roots.push(number);
            }
        }
        let mut graph = Graph { steps, children, roots, looks: vec![0; steps.len()], sizes: vec![0; steps.len()] };
        graph.compare();
        graph
    }

    /// From the last to the first, so that what is below a step is known before the step is.
    fn compare(&mut self) {
        let order = self.order();
        let mut known: HashMap<(&str, usize, u32, bool, Vec<usize>), usize> = HashMap::new();
        for &number in order.iter().rev() {
            let step = &self.steps[number];
            let mut below: Vec<usize> = self.children[number].iter().map(|&child| self.looks[child]).collect();
            below.sort_unstable();
            let key = (step.state.as_str(), step.parents.len(), step.attempts, step.error_class.is_some(), below);
            let next = known.len();
            self.looks[number] = *known.entry(key).or_insert(next);
        }
        // Each step belongs to the first of its parents.
        let mut owner = vec![None; self.steps.len()];
        let mut taken = vec![false; self.steps.len()];
        for &number in &order {
            for &child in &self.children[number] {
                if !std::mem::replace(&mut taken[child], true) {
                    owner[child] = Some(number);
                }
            }
        }
        for &number in order.iter().rev() {
            if let Some(owner) = owner[number] {
                self.sizes[owner] += self.sizes[number] + 1;
            }
        }
    }

    /// Parents before children, whatever the order in which the steps came.
    fn order(&self) -> Vec<usize> {
        let mut waits: Vec<usize> = vec![0; self.steps.len()];
        self.children.iter().flatten().for_each(|&child| waits[child] += 1);
        let mut order = self.roots.clone();
        let mut at = 0;
        while let Some(&number) = order.get(at) {
            at += 1;
            for &child in &self.children[number] {
                waits[child] -= 1;
                if waits[child] == 0 {
                    order.push(child);
                }
            }
        }
        order
    }
}
