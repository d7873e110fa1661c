//! Failures: what is tried again, when, how often, and what people can do when it is over.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::support::{Stage, task};

fn retry(task_id: Uuid) -> RetryTask {
    let (actor, reason) = ("operator".to_owned(), "repaired".to_owned());
    RetryTask { correlation_id: Uuid::nil(), task_id, steps: Vec::new(), actor, reason }
}

fn resolve(task_id: Uuid, step: &str, result: &str) -> ResolveStep {
    let (actor, reason, step) = ("operator".to_owned(), "done by hand".to_owned(), step.to_owned());
    ResolveStep { correlation_id: Uuid::nil(), task_id, step, result: Some(JsonText::new(result)), actor, reason }
}

/// Milliseconds from the end of each failed try of a step to the start of the next, as the worker recorded them.
fn gaps(stage: &Stage, task: Uuid, step: &str) -> Vec<i64> {
    let query = format!(
        "SELECT (extract(epoch FROM started_at - ended_at) * 1000)::bigint::text FROM (
             SELECT attempt, started_at, lag(started_at + duration_us * interval '1 us') OVER (ORDER BY attempt) AS ended_at
             FROM (SELECT task_id, step_number, attempt, started_at, duration_us FROM tasker.step_attempts_failed
                   UNION ALL
                   SELECT task_id, step_number, attempt, started_at, duration_us FROM tasker.step_outcomes) AS try
             JOIN tasker.steps AS step USING (task_id, step_number)
             WHERE task_id = '{task}' AND step.name = '{step}') AS tries
         WHERE ended_at IS NOT NULL ORDER BY attempt"
    );
    stage.database.texts(&query).iter().map(|gap| gap.parse().expect("a number")).collect()
}

#[test]
fn retry_after_two_seconds_means_two_to_three() {
    let mut stage = Stage::open();
    let worker = stage.worker("one", 5, &["retry_after"]);
    stage.register("retry_after");
    let (summary, steps) = stage.perform(task("retry_after", "{}"));
    assert_eq!(summary.state, "complete");
    assert_eq!((steps[0].attempts, steps[0].result.as_ref().expect("a result").as_str()), (2, "\"attempt 2\""));
    let gaps = gaps(&stage, summary.task_id, "fails_once");
    assert!(matches!(gaps[..], [2_000..3_000]), "{gaps:?}");
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn backoff_doubles_and_attempts_never_pass_the_limit() {
    let mut stage = Stage::open();
    let worker = stage.worker("one", 5, &["backoff"]);
    stage.register("backoff");
    let (summary, steps) = stage.perform(task("backoff", "{}"));
    assert_eq!((summary.state.as_str(), summary.health.as_str()), ("error", "blocked"));
    assert_eq!((steps[0].state.as_str(), steps[0].attempts, steps[0].retry_limit), ("error", 4, 4));
    assert_eq!(steps[0].error_message.as_deref(), Some("attempt 4 fails as asked"));
    assert_eq!(steps[0].error_class.as_deref(), Some("RuntimeError"));
    // `default_retryable: false` still runs once.
    assert_eq!((steps[1].state.as_str(), steps[1].attempts), ("error", 1));
    let planned = stage.database.texts(&format!(
        "SELECT (extract(epoch FROM retry_at - failed_at) * 1000)::bigint::text FROM tasker.step_attempts_failed
         WHERE task_id = '{}' AND step_number = 0 AND NOT final ORDER BY attempt",
        summary.task_id
    ));
    let planned: Vec<i64> = planned.iter().map(|gap| gap.parse().expect("a number")).collect();
    assert!(matches!(planned[..], [90..=110, 180..=220, 360..=440]), "{planned:?}");
    let gaps = gaps(&stage, summary.task_id, "fails_always");
    assert!(gaps.iter().zip(&planned).all(|(gap, planned)| gap >= planned), "{gaps:?}, planned {planned:?}");

    // An operator gives both steps a new set of attempts; the numbers go on.
    let retried = stage.command(retry(summary.task_id));
    assert_eq!(retried.steps, ["fails_always", "runs_once"]);
    assert_eq!(stage.ended(summary.task_id).state, "error");
    let steps = stage.status(summary.task_id).steps;
    assert_eq!((steps[0].attempts, steps[1].attempts), (8, 2));
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_permanent_error_ends_its_branch_and_the_task_but_not_the_others() {
    let mut stage = Stage::open();
    let worker = stage.worker("one", 5, &["permanent"]);
    stage.register("permanent");
    let (summary, steps) = stage.perform(task("permanent", "{\"start\": 1}"));
    assert_eq!(summary.state, "error");
    assert_eq!(
        (summary.execution_status.as_str(), summary.recommended_action.as_str()),
        ("blocked_by_failures", "handle_failures")
    );
    assert_eq!(summary.completion_percentage, 60.0);
    let states: Vec<_> = steps.iter().map(|step| (step.name.as_str(), step.state.as_str(), step.attempts)).collect();
    let expected = [
        ("start", "complete", 1),
        ("fails", "error", 1),
        ("below", "pending", 0),
        ("beside", "complete", 1),
        ("beside_below", "complete", 1),
    ];
    assert_eq!(states, expected);
    assert_eq!(steps[1].error_code.as_deref(), Some("NO_WAY"));

    // Resolved by hand, its children run with the result that was given.
    let resolved = stage.command(resolve(summary.task_id, "fails", "{\"by\": 18446744073709551616}"));
    assert_eq!(resolved.task_state, "in_progress");
    assert_eq!(stage.ended(summary.task_id).state, "resolved_manually");
    let below = stage.step(summary.task_id, "below").result.expect("it ran");
    assert!(below.as_str().contains("\"fails\":{\"by\":18446744073709551616}"), "{below:?}");
    let refusal = stage.refusal(resolve(summary.task_id, "fails", "1"));
    assert_eq!(refusal.code.as_str(), "invalid_state");
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_reset_finishes_a_task_that_was_repaired() {
    let mut stage = Stage::open();
    let worker = stage.worker("one", 5, &["permanent"]);
    stage.register("permanent");
    // Fails in attempt 1, and would not in attempt 2: somebody has repaired what was wrong.
    let (summary, _) = stage.perform(task("permanent", "{\"repaired\": 2}"));
    assert_eq!(summary.state, "error");
    // The engine has forgotten the task by now, and a broker that was started again never knew it.
    stage.stop();
    stage.start();
    assert_eq!(stage.command(retry(summary.task_id)).steps, ["fails"]);
    assert_eq!(stage.ended(summary.task_id).state, "complete");
    let steps = stage.status(summary.task_id).steps;
    assert_eq!((steps[1].state.as_str(), steps[1].attempts), ("complete", 2));
    assert_eq!((steps[0].attempts, steps[3].attempts), (1, 1), "what was done is not done again");
    let refusal = stage.refusal(retry(summary.task_id));
    assert_eq!(refusal.code.as_str(), "invalid_state");
    let audit = stage.database.texts(
        "SELECT concat_ws(' ', operation, actor, reason, state_before, state_after) FROM tasker.operator_actions",
    );
    assert_eq!(audit, ["retry operator repaired error pending"]);
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_step_that_overruns_its_time_is_tried_again_and_its_late_result_is_on_record() {
    let mut stage = Stage::open();
    let worker = stage.worker("one", 5, &["stubborn"]);
    stage.register("stubborn");
    let gate = stage.gate();
    let id = stage.submit(task("stubborn", format!("{{\"gate\": {:?}}}", gate.path())));
    let first = gate.next();
    assert_eq!(first.attempt, 1);
    // The handler does not let itself be interrupted: the second attempt runs while the first still does.
    assert_eq!(stage.ended(id).state, "complete");
    assert_eq!(stage.step(id, "overruns").result.expect("a result").as_str(), "\"attempt 2\"");
    let failed = stage.database.texts(
        "SELECT concat_ws(' ', attempt, cause, dispatched_at + interval '0.5 s' <= failed_at)
         FROM tasker.step_attempts_failed",
    );
    assert_eq!(failed, ["1 timed_out t"]);

    first.release("too late");
    // Leaving, the worker waits for the acknowledgement of everything that it has.
    assert!(worker.stop().success());
    let ledger = stage.database.texts(
        "SELECT concat_ws(' ', step, attempt, disposition, status) FROM tasker.received_results ORDER BY received_at",
    );
    assert_eq!(ledger, ["overruns 1 late complete"]);
    let payload = stage.database.text("SELECT payload FROM tasker.received_results");
    assert!(payload.contains("too late"), "{payload}");
    assert_eq!(stage.step(id, "overruns").result.expect("a result").as_str(), "\"attempt 2\"");
    let broken: Vec<_> =
        invariants::INVARIANTS.iter().filter(|invariant| invariant.count(&stage.database) > 0).collect();
    // The worker's closing report says that attempt 1 was complete, which it was not in time: that is on record too.
    assert!(broken.iter().all(|invariant| invariant.name.contains("closing report")));
}

#[test]
fn cancelling_tells_the_steps_that_run_and_starts_no_more() {
    let mut stage = Stage::open();
    let worker = stage.worker("one", 5, &["attentive"]);
    stage.register("attentive");
    let gate = stage.gate();
    let id = stage.submit(task("attentive", format!("{{\"gate\": {:?}}}", gate.path())));
    let mut running = gate.next();
    let cancelled = stage.cancel(id);
    assert_eq!((cancelled.steps_stopped, cancelled.steps_cancelled), (1, 1));
    assert_eq!(running.hear(), "told to stop");
    assert_eq!(stage.ended(id).state, "cancelled");
    running.release("stopped");
    assert!(worker.stop().success());
    let steps = stage.status(id).steps;
    assert_eq!((steps[0].state.as_str(), steps[1].state.as_str()), ("cancelled", "cancelled"));
    assert_eq!(steps[1].attempts, 0);
    let ledger = stage.database.texts("SELECT concat_ws(' ', step, disposition) FROM tasker.received_results");
    assert_eq!(ledger, ["runs late"]);
    assert_eq!(stage.database.number("SELECT count(*) FROM tasker.step_outcomes"), 0);
    assert_eq!(stage.refusal(retry(id)).code.as_str(), "invalid_state");
}
