//! What a task takes at least when it has the broker to itself: nothing of it can be done at the same time.

use serde::Serialize;

/// The least time of a task, and how far a run was from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Floor {
    /// Commits that follow each other, each with a round trip: the submission's, and one for each step of the longest way.
    pub rounds: u64,
    /// A commit of Postgres alone and a round trip over loopback, so many times, in milliseconds; medians of the same run.
    pub ms: f64,
    /// How many times as long half of the tasks took at most, from submission to completion.
    pub ratio: f64,
}

impl Floor {
    /// Of tasks whose longest way has so many steps; times in milliseconds.
    pub(super) fn of(steps_in_a_row: u64, commit_ms: f64, round_trip_ms: f64, task_ms: f64) -> Option<Floor> {
        let rounds = steps_in_a_row + 1;
        let ms = rounds as f64 * (commit_ms + round_trip_ms);
        (ms > 0.0).then(|| Floor { rounds, ms, ratio: task_ms / ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_four_has_five_rounds() {
        let floor = Floor::of(4, 0.25, 0.15, 3.0);
        assert_eq!(floor, Some(Floor { rounds: 5, ms: 2.0, ratio: 1.5 }));
        assert_eq!(Floor::of(4, 0.0, 0.0, 3.0), None, "nothing was measured");
    }
}
