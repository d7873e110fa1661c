//! When nothing fails, each step runs exactly once: counted by the handlers, not by the broker.

use crate::invariants;
use crate::support::{Stage, task};

const SHAPES: [(&str, usize); 5] = [("single", 1), ("chain", 4), ("diamond", 4), ("tree", 8), ("wide", 8)];
const TASKS: usize = 1_000;
const WORKERS: usize = 4;

#[test]
fn a_thousand_tasks_over_four_worker_processes() {
    let mut stage = Stage::open();
    let templates = SHAPES.map(|(name, _)| name);
    let workers: Vec<_> = (0..WORKERS).map(|n| stage.worker(&format!("worker-{n}"), 10, &templates)).collect();
    // All of them take part only if none comes when the work is done.
    workers.iter().for_each(|worker| worker.registered());

    let ledger = stage.folder.path().join("ledger");
    let context = |start: usize| format!("{{\"start\": {start}, \"ledger\": {ledger:?}}}");
    let requests = (0..TASKS).map(|number| task(SHAPES[number % SHAPES.len()].0, context(number))).collect();
    let accepted = stage.submit_all(requests);
    let tasks: Vec<_> = accepted.iter().map(|task| task.task_id.expect("accepted")).collect();
    for task in &tasks {
        assert_eq!(stage.ended(*task).state, "complete");
    }
    for worker in workers {
        assert!(worker.stop().success());
    }

    let ledger = std::fs::read_to_string(ledger).expect("the handlers wrote it");
    let processes = invariants::ran_once(&stage.database, &ledger);
    let steps: usize = (0..TASKS).map(|number| SHAPES[number % SHAPES.len()].1).sum();
    assert_eq!(processes.values().sum::<usize>(), steps);
    assert_eq!(processes.len(), WORKERS, "{processes:?}");
    assert_eq!(stage.database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0);
    invariants::exactly_these_tasks(&stage.database, &tasks);
    invariants::hold(&stage.database);
}
