//! What will happen, by virtual time; what is due at the same millisecond happens in the order in which it was planned.

use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Schedule<T> {
    due: BTreeMap<(u64, u64), T>,
    planned: u64,
}

impl<T> Schedule<T> {
    pub fn new() -> Schedule<T> {
        Schedule { due: BTreeMap::new(), planned: 0 }
    }

    pub fn at(&mut self, time_ms: u64, what: T) {
        self.planned += 1;
        self.due.insert((time_ms, self.planned), what);
    }

    /// What happens next, and when.
    pub fn next(&mut self) -> Option<(u64, T)> {
        self.due.pop_first().map(|((time_ms, _), what)| (time_ms, what))
    }

    pub fn len(&self) -> usize {
        self.due.len()
    }
}
