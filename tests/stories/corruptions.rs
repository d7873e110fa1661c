//! The checks of the database see what they look for: one row is corrupted for each.

use crate::invariants;
use crate::support::{Stage, task};

#[test]
fn each_invariant_sees_its_corruption() {
    let mut stage = Stage::open();
    let worker = stage.worker("counter", 5, &["diamond"]);
    stage.register("diamond");
    for start in 0..3 {
        let id = stage.submit(task("diamond", format!("{{\"start\": {start}}}")));
        assert_eq!(stage.ended(id).state, "complete");
    }
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
    for invariant in &invariants::INVARIANTS {
        let seen = invariant.count_corrupted(&stage.database);
        assert!(seen > 0, "{} does not see {}", invariant.name, invariant.corruption);
    }
}
