//! The views agree with what a person works out from the same history.

use sqlx::Row;
use tasker_core::store::{dossier, task_status};
use tasker_engine::*;

use crate::fixture::{Fixture, template};

/// A task in short: state, states of the steps, execution status, recommended action, percentage, health.
async fn check(fixture: &Fixture, task: TaskId, state: &str, steps: &str, words: [&str; 3], percentage: f64) {
    let view = task_status(&fixture.pool, task, true, &[], 0).await.unwrap().unwrap();
    let mark = |step: &tasker_core::store::StepView| format!("{}{}", step.state, if step.ready { "!" } else { "" });
    let found: Vec<String> = view.steps.iter().map(mark).collect();
    assert_eq!(found.join(" "), steps);
    assert_eq!(view.state, state, "{steps}");
    assert_eq!([&*view.execution_status, &*view.recommended_action, &*view.health], words, "{steps}");
    assert_eq!(view.completion_percentage, percentage, "{steps}");
    let counts = view.counts;
    let count = |state: &str| view.steps.iter().filter(|step| step.state == state).count() as u32;
    assert_eq!(counts.ready, view.steps.iter().filter(|step| step.ready).count() as u32);
    assert_eq!(
        (counts.pending, counts.in_progress, counts.complete),
        (count("pending"), count("in_progress"), count("complete"))
    );
    assert_eq!((counts.error, counts.cancelled), (count("error"), count("cancelled")));
    assert_eq!(
        (counts.resolved_manually, counts.waiting_for_retry),
        (count("resolved_manually"), count("waiting_for_retry"))
    );
    assert_eq!(view.total, 4);
    let dossier = dossier(&fixture.pool, task).await.unwrap().unwrap();
    let mark =
        |step: &tasker_core::store::StepLine| format!("{}{}", step.state.as_str(), if step.ready { "!" } else { "" });
    assert_eq!(dossier.steps.iter().map(mark).collect::<Vec<_>>(), found, "the dossier says the same");
    assert_eq!(dossier.state.as_str(), state, "{steps}");
}

const READY: [&str; 3] = ["has_ready_steps", "execute_ready_steps", "healthy"];
const DONE: [&str; 3] = ["all_complete", "none", "healthy"];
const PROCESSING: [&str; 3] = ["processing", "wait_for_completion", "healthy"];

#[tokio::test]
async fn a_diamond_from_request_to_end() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    check(&fixture, task, "pending", "pending! pending pending pending", READY, 0.0).await;
    let batch = fixture.dispatch(task, 0, 1).await;
    check(&fixture, task, "in_progress", "in_progress pending pending pending", PROCESSING, 0.0).await;
    fixture.commit(&[fixture.settled(task, 0, 1, batch, "1")]).await;
    check(&fixture, task, "in_progress", "complete pending! pending! pending", READY, 25.0).await;
    let batch = fixture.dispatch(task, 1, 1).await;
    fixture.commit(&[fixture.settled(task, 1, 1, batch, "1"), fixture.set(task, 2, 0, SettledKind::Bypassed)]).await;
    check(&fixture, task, "in_progress", "complete complete resolved_manually pending!", READY, 75.0).await;
    let batch = fixture.dispatch(task, 3, 1).await;
    let saves = [fixture.settled(task, 3, 1, batch, "1"), fixture.ended(task, TaskState::ResolvedManually)];
    fixture.commit(&saves).await;
    let steps = "complete complete resolved_manually complete";
    check(&fixture, task, "resolved_manually", steps, DONE, 100.0).await;
}

#[tokio::test]
async fn failures_retries_and_resets() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let batch = fixture.dispatch(task, 0, 1).await;
    fixture.commit(&[fixture.failed(task, 0, 1, batch, FailureCause::Failed, Some(60_000))]).await;
    let waiting = ["waiting_for_retry", "wait_for_retry", "recovering"];
    check(&fixture, task, "in_progress", "waiting_for_retry pending pending pending", waiting, 0.0).await;
    let batch = fixture.dispatch(task, 0, 2).await;
    check(&fixture, task, "in_progress", "in_progress pending pending pending", PROCESSING, 0.0).await;
    fixture.commit(&[Save::StepReturned { task, step: 0, attempt: 2, batch, reason: "drain".into() }]).await;
    check(&fixture, task, "in_progress", "pending! pending pending pending", READY, 0.0).await;
    let batch = fixture.dispatch(task, 0, 2).await;
    fixture.commit(&[fixture.settled(task, 0, 2, batch, "1")]).await;
    let (batch, both) = fixture.batch(&[(task, 1, 1), (task, 2, 1)]);
    fixture.commit(&[both, fixture.failed(task, 1, 1, batch, FailureCause::TimedOut, None)]).await;
    // One branch has failed, the other one runs on.
    let recovering = ["processing", "wait_for_completion", "recovering"];
    check(&fixture, task, "in_progress", "complete error in_progress pending", recovering, 25.0).await;
    fixture.commit(&[fixture.settled(task, 2, 1, batch, "1"), fixture.ended(task, TaskState::Error)]).await;
    let blocked = ["blocked_by_failures", "handle_failures", "blocked"];
    check(&fixture, task, "error", "complete error complete pending", blocked, 50.0).await;
    fixture.commit(&[fixture.reset(task, 1, 1), Save::TaskReopened { task }]).await;
    check(&fixture, task, "in_progress", "complete pending! complete pending", READY, 50.0).await;
    let view = task_status(&fixture.pool, task, true, &["left".into(), "right".into()], 1).await.unwrap().unwrap();
    assert_eq!((view.steps[1].attempts, view.steps[1].retry_limit), (1, 4));
    assert_eq!(view.steps[1].error_class.as_deref(), Some("Net::Error"));
    assert_eq!((&view.steps[1].result, view.steps[2].result.as_deref()), (&None, Some(&b"1"[..])));
    assert_eq!(view.steps[0].result, None, "not asked for");
    assert!(!view.results_too_large, "one byte");
    let view = task_status(&fixture.pool, task, true, &["*".into()], 1).await.unwrap().unwrap();
    assert!(view.results_too_large, "two bytes");
    assert!(view.steps.iter().all(|step| step.result.is_none()), "all or none");
    let view = task_status(&fixture.pool, task, true, &["*".into()], 2).await.unwrap().unwrap();
    assert_eq!(view.steps.iter().filter_map(|step| step.result.as_deref()).collect::<Vec<_>>(), [b"1", b"1"]);
    assert_eq!(
        (view.steps[2].worker.as_deref(), &view.steps[3].parents[..]),
        (Some("worker-1"), &["left".into(), "right".into()][..])
    );

    let sql = format!(
        "SELECT coalesce(step, '-') AS step, coalesce(attempt, 0) AS n, coalesce(from_state, '-') AS f, to_state
         FROM tasker.transitions WHERE task_id = '{task}' AND (step IS NULL OR step IN ('start', 'left'))
         ORDER BY step NULLS FIRST, seq, n, phase"
    );
    assert_eq!(
        fixture.text(&sql).await.lines().collect::<Vec<_>>(),
        [
            "-|0|-|pending",
            "-|0|pending|in_progress",
            "-|0|in_progress|error",
            "-|0|error|in_progress",
            "left|0|-|pending",
            "left|1|pending|in_progress",
            "left|1|in_progress|error",
            "left|1|error|pending",
            "start|0|-|pending",
            "start|1|pending|in_progress",
            "start|1|in_progress|waiting_for_retry",
            "start|2|waiting_for_retry|in_progress",
            "start|2|in_progress|pending",
            "start|2|pending|in_progress",
            "start|2|in_progress|complete",
        ]
    );
}

#[tokio::test]
async fn a_cancelled_task() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let batch = fixture.dispatch(task, 0, 1).await;
    let cancel = fixture.action(task, None, OperationKind::Cancel, "in_progress", "cancelled", 0);
    fixture.commit(&[cancel, fixture.ended(task, TaskState::Cancelled)]).await;
    let words = ["blocked_by_failures", "none", "healthy"];
    check(&fixture, task, "cancelled", "cancelled cancelled cancelled cancelled", words, 0.0).await;
    fixture.oldest_open_batch = None;
    fixture.commit(&[Save::BatchClosed { batch, state: BatchState::Cancelled, differences: vec![] }]).await;
    check(&fixture, task, "cancelled", "cancelled cancelled cancelled cancelled", words, 0.0).await;
    let sql = format!(
        "SELECT from_state, to_state, by FROM tasker.transitions WHERE task_id = '{task}' AND step = 'start'
         ORDER BY seq, attempt, phase"
    );
    // The dispatch is in the audit although nothing came of it.
    assert_eq!(fixture.text(&sql).await, "pending\npending|in_progress\nin_progress|cancelled|ada");
}

#[tokio::test]
async fn a_task_that_waits_for_its_time_has_nothing_ready() {
    let mut fixture = Fixture::new().await;
    let mut task = fixture.task();
    task.run_at = Some(Wall(4_102_444_800_000));
    let id = task.id;
    fixture.commit(&[Save::Task(Box::new(task))]).await;
    let words = ["waiting_for_dependencies", "wait_for_dependencies", "healthy"];
    check(&fixture, id, "pending", "pending pending pending pending", words, 0.0).await;
    let view = task_status(&fixture.pool, id, true, &[], 0).await.unwrap().unwrap();
    assert_eq!(view.steps[0].reason, "its task does not start before 2100-01-01 00:00:00+00");
    assert_eq!(view.steps[3].reason, "it waits for left, right");
    assert_eq!(view.run_at_ms, Some(4_102_444_800_000));
}

#[tokio::test]
async fn batches_and_workers() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let (batch, save) = fixture.batch(&[(task, 0, 1), (task, 1, 1), (task, 2, 1)]);
    fixture.commit(&[save]).await;
    let sql = "SELECT worker, state, total, complete, failed, returned FROM tasker.batch_status";
    assert_eq!(fixture.text(sql).await, "worker-1|published|3|0|0|0");
    let saves =
        [fixture.settled(task, 0, 1, batch, "1"), fixture.failed(task, 1, 1, batch, FailureCause::Failed, Some(0))];
    fixture.commit(&saves).await;
    assert_eq!(fixture.text(sql).await, "worker-1|executing|3|1|1|0");
    let health = "SELECT worker, state, steps_in_progress, batches_open FROM tasker.worker_health";
    assert_eq!(fixture.text(health).await, "worker-1|registered|1|1");
    let saves = [
        Save::StepReturned { task, step: 2, attempt: 1, batch, reason: "full".into() },
        Save::BatchClosed { batch, state: BatchState::Completed, differences: vec![] },
    ];
    fixture.commit(&saves).await;
    assert_eq!(fixture.text(sql).await, "worker-1|completed|3|1|1|1");
    assert_eq!(fixture.text(health).await, "worker-1|registered|0|0");
    let slowest = "SELECT step, runs, mean_ms, max_ms FROM tasker.slowest_steps";
    assert_eq!(fixture.text(slowest).await, "start|1|1.500|1.500");
}

#[tokio::test]
async fn the_status_of_a_large_task_reads_only_that_task() {
    let names: Vec<String> = (0..1000).map(|number| format!("s{number}")).collect();
    let parents: Vec<Vec<&str>> =
        (0..1000).map(|number| if number == 0 { vec![] } else { vec![&*names[number / 2], "s0"] }).collect();
    let steps: Vec<(&str, &[&str])> = names
        .iter()
        .zip(&parents)
        .map(|(name, parents)| (&**name, if &**name == "s1" { &["s0"][..] } else { parents }))
        .collect();
    let mut fixture = Fixture::with(template("tree", "1.0.0", &steps)).await;
    // What the planner knows is what is tested: nobody else may tell it more in between.
    fixture
        .execute(
            "DO $$ DECLARE part regclass; BEGIN
                 FOR part IN SELECT oid FROM pg_class WHERE relnamespace = 'tasker'::regnamespace AND relkind = 'r' LOOP
                     EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', part);
                 END LOOP;
             END $$",
        )
        .await;
    let others: Vec<Save> = (0..50).map(|_| Save::Task(Box::new(fixture.task()))).collect();
    fixture.commit(&others).await;
    let task = fixture.stored_task().await;
    let (batch, save) = fixture.batch(&[(task, 0, 1)]);
    let mut saves = vec![save];
    saves.extend((0..500).map(|step| fixture.settled(task, step, 1, batch, "1")));
    saves.extend((500..800).map(|step| fixture.batch(&[(task, step, 1)]).1));
    fixture.commit(&saves).await;
    let view = task_status(&fixture.pool, task, false, &[], 0).await.unwrap().unwrap();
    let counts = view.counts;
    assert_eq!((view.total, counts.complete, counts.in_progress, counts.ready), (1000, 500, 300, 200));

    // Without statistics, with those of some tables, and with all of them: a few rows for each step of this task, none for
    // those of the others.
    let some = ["step_outcomes", "tasks", "batches", "lanes"].map(|table| format!("ANALYZE tasker.{table}"));
    for statement in ["SELECT", &some[0], &some[1], &some[2], &some[3], "ANALYZE"] {
        fixture.execute(statement).await;
        for name in ["task_status", "step_readiness"] {
            let sql = format!(
                "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT * FROM tasker.{name} WHERE task_id = '{task}'"
            );
            let plan = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).fetch_one(&fixture.pool).await.unwrap();
            let plan: serde_json::Value = serde_json::from_str(plan.get_unchecked(0)).unwrap();
            let rows = rows_read(&plan[0]["Plan"]);
            assert!((1000.0..30_000.0).contains(&rows), "{name} after {statement} handles {rows} rows: {plan:#}");
        }
    }
}

/// Rows that the nodes of a plan handed on, all together.
fn rows_read(plan: &serde_json::Value) -> f64 {
    let number = |key: &str| plan[key].as_f64().unwrap_or(0.0);
    let below = plan["Plans"].as_array().map_or(0.0, |plans| plans.iter().map(rows_read).sum());
    number("Actual Rows") * number("Actual Loops") + below
}
