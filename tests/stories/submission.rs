//! What submitters are promised: durable, once for a key, in the order of priorities, not before its time.

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::support::{Stage, connect, task};

fn keyed(key: &str) -> TaskRequest {
    TaskRequest { idempotency_key: Some(key.to_owned()), ..task("single", "{}") }
}

#[test]
fn a_task_waits_for_a_worker_and_then_runs() {
    let mut stage = Stage::open();
    stage.register("chain");
    let id = stage.submit(task("chain", "{\"start\": 40}"));
    let status = stage.status(id).task;
    assert_eq!((status.state.as_str(), status.execution_status.as_str()), ("pending", "has_ready_steps"));
    let health = stage.command(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Full });
    assert_eq!(health.status, "degraded");
    assert_eq!(health.templates_without_worker, ["stories/chain@1.0.0"]);
    let worker = stage.worker("late", 5, &["chain"]);
    assert_eq!(stage.ended(id).state, "complete");
    assert_eq!(stage.step(id, "d").result.expect("a result").as_str(), "44");
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_key_names_one_task_for_ever() {
    let mut stage = Stage::open();
    stage.register("single");
    let worker = stage.worker("one", 5, &["single"]);
    let first = stage.submit_all(vec![keyed("order-1")]).remove(0);
    assert!(!first.duplicate);
    let id = first.task_id.expect("accepted");
    let same = |outcome: TaskInitialized| assert_eq!((outcome.task_id, outcome.duplicate), (Some(id), true));
    same(stage.submit_all(vec![keyed("order-1")]).remove(0));
    assert_eq!(stage.ended(id).state, "complete");
    same(stage.submit_all(vec![keyed("order-1")]).remove(0));
    stage.stop();
    stage.start();
    same(stage.submit_all(vec![keyed("order-1")]).remove(0));

    // Two rows of one message with the same key are one task as well.
    let twins = stage.submit_all(vec![keyed("order-2"), keyed("order-2")]);
    assert_eq!(twins[0].task_id, twins[1].task_id);
    assert_eq!((twins[0].duplicate, twins[1].duplicate), (false, true));
    stage.ended(twins[0].task_id.expect("accepted"));
    assert!(worker.stop().success());
    invariants::exactly_these_tasks(&stage.database, &[id, twins[0].task_id.expect("accepted")]);
    invariants::hold(&stage.database);
}

#[test]
fn fifty_submitters_with_one_key_make_one_task() {
    let mut stage = Stage::open();
    stage.register("single");
    let work = stage.work.clone();
    let outcomes: Vec<TaskInitialized> = thread::scope(|scope| {
        let submit = || {
            let mut client = connect(&work);
            let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![keyed("once")] };
            client.request(command).expect("accepted").tasks.remove(0)
        };
        let submitters: Vec<_> = (0..50).map(|_| scope.spawn(submit)).collect();
        submitters.into_iter().map(|submitter| submitter.join().expect("it does not panic")).collect()
    });
    let id = outcomes[0].task_id.expect("accepted");
    assert!(outcomes.iter().all(|outcome| outcome.task_id == Some(id)));
    assert_eq!(outcomes.iter().filter(|outcome| !outcome.duplicate).count(), 1);
    let worker = stage.worker("one", 5, &["single"]);
    assert_eq!(stage.ended(id).state, "complete");
    assert!(worker.stop().success());
    invariants::exactly_these_tasks(&stage.database, &[id]);
    invariants::hold(&stage.database);
}

#[test]
fn each_row_of_a_bulk_submission_has_its_own_outcome() {
    let mut stage = Stage::open();
    stage.register("single");
    let no_object = TaskRequest { context: JsonText::new("[1]"), ..task("single", "{}") };
    let rows = vec![
        task("single", "{\"start\": 1}"),
        task("nowhere", "{}"),
        task("single@9.9.9", "{}"),
        task("single", "{\"open\": "),
        no_object,
        TaskRequest { bypass_steps: vec!["z".to_owned()], ..task("single", "{}") },
        task("single", "{\"start\": 2}"),
    ];
    let outcomes = stage.submit_all(rows);
    let code = |outcome: &TaskInitialized| outcome.error.as_ref().map_or("accepted", |error| error.code.as_str());
    let codes: Vec<_> = outcomes.iter().map(code).collect();
    let expected = [
        "accepted",
        "unknown_template",
        "unknown_version",
        "invalid_json",
        "invalid_field",
        "unknown_step",
        "accepted",
    ];
    assert_eq!(codes, expected);
    let accepted: Vec<Uuid> = outcomes.iter().filter_map(|outcome| outcome.task_id).collect();
    let worker = stage.worker("one", 5, &["single"]);
    for (id, result) in accepted.iter().zip(["2", "3"]) {
        assert_eq!(stage.ended(*id).state, "complete");
        assert_eq!(stage.step(*id, "a").result.expect("a result").as_str(), result);
    }
    assert!(worker.stop().success());
    invariants::exactly_these_tasks(&stage.database, &accepted);
    invariants::hold(&stage.database);
}

#[test]
fn a_task_does_not_start_before_its_time() {
    let mut stage = Stage::open();
    stage.register("single");
    let worker = stage.worker("one", 5, &["single"]);
    worker.registered();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let at = i64::try_from(now).expect("before the year 9999") + 1_500;
    let id = stage.submit(TaskRequest { run_at_ms: Some(at), ..task("single", "{}") });
    let status = stage.status(id).task;
    assert_eq!((status.state.as_str(), status.counts.ready, status.run_at_ms), ("pending", 0, Some(at)));
    // The worker is there and free: what is submitted later runs at once.
    let (free, _) = stage.perform(task("single", "{}"));
    assert_eq!(free.state, "complete");
    assert_eq!(stage.ended(id).state, "complete");
    // Deadlines run on the monotonic clock, rounded to milliseconds: the two clocks may differ by that much.
    let early = stage.database.number(&format!(
        "SELECT count(*) FROM tasker.tasks AS task JOIN tasker.step_outcomes AS outcome USING (task_id)
         WHERE task_id = '{id}' AND outcome.started_at < task.run_at - interval '5 ms'"
    ));
    assert_eq!(early, 0);
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_bypassed_step_does_not_run_and_its_children_do() {
    let mut stage = Stage::open();
    stage.register("skippable");
    let worker = stage.worker("one", 5, &["skippable"]);
    let bypass = |step: &str| TaskRequest { bypass_steps: vec![step.to_owned()], ..task("skippable", "{}") };
    let (_, steps) = stage.perform(bypass("b"));
    let states: Vec<_> = steps.iter().map(|step| (step.state.as_str(), step.attempts)).collect();
    assert_eq!(states, [("complete", 1), ("resolved_manually", 0), ("complete", 1)]);
    let result = steps[2].result.as_ref().expect("a result").as_str();
    assert!(result.ends_with("\"parents\":{\"b\":null}}"), "{result}");
    let refused = stage.submit_all(vec![bypass("a")]).remove(0).error.expect("it is not skippable");
    assert_eq!((refused.code.as_str(), refused.field.as_deref()), ("invalid_field", Some("bypass_steps")));
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_higher_priority_goes_first_and_equals_go_by_age() {
    let mut stage = Stage::open();
    stage.register("ordered");
    let ledger = stage.folder.path().join("ledger");
    let prioritized =
        |priority: &i32| TaskRequest { priority: *priority, ..task("ordered", format!("{{\"ledger\": {ledger:?}}}")) };
    let priorities = [0, 5, -3, 5, 100, 0];
    let outcomes = stage.submit_all(priorities.iter().map(prioritized).collect());
    let ids: Vec<_> = outcomes.iter().map(|outcome| outcome.task_id.expect("accepted")).collect();
    // One slot: the order of executions is the order of dispatch.
    let worker = stage.worker("one", 1, &["ordered"]);
    for id in &ids {
        assert_eq!(stage.ended(*id).state, "complete");
    }
    assert!(worker.stop().success());
    let ledger = std::fs::read_to_string(ledger).expect("the handlers wrote it");
    let order: Vec<&str> = ledger.lines().map(|line| line.split(' ').next().expect("a task")).collect();
    let expected = [4, 1, 3, 0, 5, 2].map(|index: usize| ids[index].to_string());
    assert_eq!(order, expected);
    invariants::hold(&stage.database);
}
