//! What can run at the same time does, and nobody has to ask for the next step.

use crate::invariants;
use crate::support::{Stage, task};

#[test]
fn both_branches_run_at_the_same_time_and_the_join_follows_by_itself() {
    let mut stage = Stage::open();
    stage.register("gated_diamond");
    // One slot each: the branches have to be on both workers.
    let workers = ["left", "right"].map(|name| stage.worker(name, 1, &["gated_diamond"]));
    workers.iter().for_each(|worker| worker.registered());
    let gate = stage.gate();
    let id = stage.submit(task("gated_diamond", format!("{{\"gate\": {:?}}}", gate.path())));

    // From here on the client says nothing until the task has ended.
    let start = gate.next();
    assert_eq!(start.step, "start");
    start.release("started");
    let (one, other) = (gate.next(), gate.next());
    let mut branches = [one.step.as_str(), other.step.as_str()];
    branches.sort_unstable();
    assert_eq!(branches, ["branch_b", "branch_c"], "both are at the gate, and neither was let go");
    one.release("one");
    other.release("other");
    let end = gate.next();
    assert_eq!((end.step.as_str(), end.attempt), ("end", 1));
    end.release("joined");

    assert_eq!(stage.ended(id).state, "complete");
    assert_eq!(stage.step(id, "end").result.expect("it has a result").as_str(), "\"joined\"");
    let workers_of_branches = stage
        .database
        .number("SELECT count(DISTINCT registration_id) FROM tasker.step_outcomes WHERE step_number IN (1, 2)");
    assert_eq!(workers_of_branches, 2);
    workers.into_iter().for_each(|worker| assert!(worker.stop().success()));
    invariants::hold(&stage.database);
}

#[test]
fn one_worker_runs_as_many_steps_at_once_as_it_has_slots() {
    let mut stage = Stage::open();
    stage.register("gated");
    let worker = stage.worker("wide", 3, &["gated"]);
    let gate = stage.gate();
    let context = format!("{{\"gate\": {:?}}}", gate.path());
    let tasks: Vec<_> = (0..5).map(|_| stage.submit(task("gated", context.clone()))).collect();
    let running = [gate.next(), gate.next(), gate.next()];
    // The worker has three slots, so that the other two wait at the broker, not in the worker.
    let out = stage.database.number("SELECT sum(cardinality(task_ids))::bigint FROM tasker.batches");
    assert_eq!(out, 3);
    running.into_iter().for_each(|visitor| visitor.release("go"));
    gate.next().release("go");
    gate.next().release("go");
    for task in tasks {
        assert_eq!(stage.ended(task).state, "complete");
    }
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}
