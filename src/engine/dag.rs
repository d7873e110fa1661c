//! The dependencies between the steps of a template: who waits for whom, in flat arrays.
//! Built once a template and shared by all of its tasks; a task only counts down, it never walks the graph.

/// A directed acyclic graph over the steps `0..len`, stored as compressed sparse rows in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dag {
    parents: Rows,
    children: Rows,
    roots: Box<[u32]>,
}

/// Steps that wait for each other: each depends on the next, the last on the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("steps {0:?} wait for each other")]
pub struct Cycle(pub Vec<u32>);

/// Lists of step numbers, one after the other in `edges`; list `i` ends where list `i + 1` starts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rows {
    starts: Box<[u32]>,
    edges: Box<[u32]>,
}

impl Dag {
    /// Builds the graph from each step's parents; a parent named twice counts once. Linear in steps and edges.
    ///
    /// # Panics
    /// When a parent is not one of the steps, or when there are 2^32 edges or more.
    pub fn new(mut parents: Vec<Vec<u32>>) -> Result<Dag, Cycle> {
        for list in &mut parents {
            list.sort_unstable();
            list.dedup();
        }
        let parents = Rows::new(&parents);
        let children = parents.reversed();
        let dag = Dag { roots: parents.empty_rows(), parents, children };
        match dag.find_cycle() {
            None => Ok(dag),
            Some(cycle) => Err(cycle),
        }
    }

    /// The steps that `step` waits for, in ascending order.
    pub fn parents(&self, step: u32) -> &[u32] {
        self.parents.row(step)
    }

    /// The steps that wait for `step`, in ascending order.
    pub fn children(&self, step: u32) -> &[u32] {
        self.children.row(step)
    }

    /// The steps that wait for nothing, in ascending order.
    pub fn roots(&self) -> &[u32] {
        &self.roots
    }

    /// Number of steps.
    pub fn len(&self) -> u32 {
        self.parents.len()
    }

    /// Whether there are no steps at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kahn's algorithm: takes away steps whose parents are all gone; what cannot be taken away holds a cycle.
    fn find_cycle(&self) -> Option<Cycle> {
        let mut waits_for: Vec<usize> = (0..self.len()).map(|step| self.parents(step).len()).collect();
        let mut free = self.roots.to_vec();
        let mut gone = 0;
        while let Some(step) = free.pop() {
            gone += 1;
            for &child in self.children(step) {
                waits_for[child as usize] -= 1;
                if waits_for[child as usize] == 0 {
                    free.push(child);
                }
            }
        }
        (gone < self.len()).then(|| self.cycle_among(&waits_for))
    }

    /// A step that still waits has a parent that still waits, so going from parent to parent must come back to a
    /// step seen before.
    fn cycle_among(&self, waits_for: &[usize]) -> Cycle {
        let waiting = |step: &u32| waits_for[*step as usize] > 0;
        let mut step = (0..self.len()).find(waiting).expect("a step that was not taken away still waits");
        let mut path = Vec::new();
        let mut place = vec![usize::MAX; waits_for.len()];
        while place[step as usize] == usize::MAX {
            place[step as usize] = path.len();
            path.push(step);
            step = *self.parents(step).iter().find(|parent| waiting(parent)).expect("it waits for a waiting parent");
        }
        let mut cycle = path.split_off(place[step as usize]);
        let lowest = cycle.iter().enumerate().min_by_key(|(_, step)| **step).map_or(0, |(index, _)| index);
        cycle.rotate_left(lowest);
        Cycle(cycle)
    }
}

impl Rows {
    fn new(lists: &[Vec<u32>]) -> Rows {
        let mut starts = Vec::with_capacity(lists.len() + 1);
        let mut edges = Vec::with_capacity(lists.iter().map(Vec::len).sum());
        starts.push(0);
        for list in lists {
            assert!(list.iter().all(|&step| (step as usize) < lists.len()), "every parent is one of the steps");
            edges.extend_from_slice(list);
            starts.push(u32::try_from(edges.len()).expect("fewer than 2^32 edges"));
        }
        Rows { starts: starts.into(), edges: edges.into() }
    }

    /// The same edges seen from their other end.
    fn reversed(&self) -> Rows {
        let mut starts = vec![0u32; self.starts.len()];
        for &to in &self.edges {
            starts[to as usize + 1] += 1;
        }
        for row in 1..starts.len() {
            starts[row] += starts[row - 1];
        }
        let mut next = starts.clone();
        let mut edges = vec![0u32; self.edges.len()];
        for from in 0..self.len() {
            for &to in self.row(from) {
                edges[next[to as usize] as usize] = from;
                next[to as usize] += 1;
            }
        }
        Rows { starts: starts.into(), edges: edges.into() }
    }

    fn row(&self, step: u32) -> &[u32] {
        let row = step as usize;
        &self.edges[self.starts[row] as usize..self.starts[row + 1] as usize]
    }

    fn empty_rows(&self) -> Box<[u32]> {
        (0..self.len()).filter(|&step| self.row(step).is_empty()).collect()
    }

    fn len(&self) -> u32 {
        (self.starts.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Cycle, Dag};

    /// Random graphs whose edges go from a lower to a higher rank, with the ranks shuffled over the steps.
    fn acyclic() -> impl Strategy<Value = Vec<Vec<u32>>> {
        (1usize..40)
            .prop_flat_map(|len| {
                let ranks = Just((0..len as u32).collect::<Vec<_>>()).prop_shuffle();
                (ranks, prop::collection::vec((0..len, 0..len), 0..120))
            })
            .prop_map(|(step_at, edges)| {
                let mut parents = vec![Vec::new(); step_at.len()];
                for (one, other) in edges.into_iter().filter(|(one, other)| one != other) {
                    parents[step_at[one.max(other)] as usize].push(step_at[one.min(other)]);
                }
                parents
            })
    }

    proptest! {
        #[test]
        fn rows_equal_the_naive_lists(parents in acyclic()) {
            let dag = Dag::new(parents.clone()).expect("acyclic by construction");
            prop_assert_eq!(dag.len() as usize, parents.len());
            for step in 0..dag.len() {
                let mut naive = parents[step as usize].clone();
                naive.sort_unstable();
                naive.dedup();
                prop_assert_eq!(dag.parents(step), naive);
                let children: Vec<u32> =
                    (0..dag.len()).filter(|&other| parents[other as usize].contains(&step)).collect();
                prop_assert_eq!(dag.children(step), children);
                prop_assert_eq!(dag.roots().contains(&step), parents[step as usize].is_empty());
            }
        }

        #[test]
        fn counting_down_from_the_roots_reaches_every_step_after_its_parents(parents in acyclic()) {
            let dag = Dag::new(parents).expect("acyclic by construction");
            let mut left: Vec<usize> = (0..dag.len()).map(|step| dag.parents(step).len()).collect();
            let mut done = vec![false; left.len()];
            let mut ready = dag.roots().to_vec();
            while let Some(step) = ready.pop() {
                prop_assert!(dag.parents(step).iter().all(|&parent| done[parent as usize]));
                done[step as usize] = true;
                for &child in dag.children(step) {
                    left[child as usize] -= 1;
                    if left[child as usize] == 0 {
                        ready.push(child);
                    }
                }
            }
            prop_assert!(done.into_iter().all(|done| done));
        }

        #[test]
        fn a_closed_ring_is_found_and_named(
            mut parents in acyclic(),
            ring in prop::collection::hash_set(0u32..40, 1..8),
        ) {
            let ring: Vec<u32> = ring.into_iter().filter(|&step| (step as usize) < parents.len()).collect();
            prop_assume!(!ring.is_empty());
            for (index, &step) in ring.iter().enumerate() {
                parents[step as usize].push(ring[(index + 1) % ring.len()]);
            }
            let Cycle(cycle) = Dag::new(parents.clone()).expect_err("it has a ring");
            for (index, &step) in cycle.iter().enumerate() {
                prop_assert!(parents[step as usize].contains(&cycle[(index + 1) % cycle.len()]));
            }
            prop_assert_eq!(cycle.iter().min(), cycle.first());
            let mut distinct = cycle.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), cycle.len());
        }
    }

    #[test]
    fn large_graphs_of_every_shape_are_built_at_once() {
        let len = 10_000u32;
        let deep: Vec<Vec<u32>> = (0..len).map(|step| step.checked_sub(1).into_iter().collect()).collect();
        let fan: Vec<Vec<u32>> = (0..len).map(|step| if step == 0 { vec![] } else { vec![0] }).collect();
        let mut funnel = vec![Vec::new(); len as usize - 1];
        funnel.push((0..len - 1).collect());
        for parents in [deep.clone(), fan, funnel] {
            assert_eq!(Dag::new(parents).expect("acyclic").len(), len);
        }
        let mut ring = deep;
        ring[0].push(len - 1);
        assert_eq!(Dag::new(ring).expect_err("a ring of all steps").0.len(), len as usize);
    }
}
