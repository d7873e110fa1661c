//! The wall clock of a broker jumps: deadlines do not move with it, and what is recorded is recorded.

use std::time::{SystemTime, UNIX_EPOCH};

use tasker_core::protocol::TaskRequest;

use crate::plan::{Fault, Plan};
use crate::scene::Scene;

const DAY: i64 = 86_400;

fn in_seconds(seconds: i64) -> Option<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_millis();
    Some(i64::try_from(now).expect("it is before the year 292 million") + seconds * 1_000)
}

/// Steps run, retries wait, a task waits for its time; then the clock jumps, and jumps back.
fn a_jump_changes_nothing(name: &str, seconds: i64) {
    let faults = vec![(0, Fault::JumpClock { seconds })];
    let mut scene = Scene::open(name, Plan { faults, ..Plan::calm() });
    scene.submit(&["held"; 6]);
    scene.submit(&["patient"; 3]);
    let mut at = |seconds| {
        let request = TaskRequest { run_at_ms: in_seconds(seconds), ..scene.request("chain") };
        scene.submit_all(vec![request])[0]
    };
    let (early, soon) = (at(3_600), at(5));
    scene.until_some("the retries wait", "SELECT count(*) / 3 FROM tasker.step_attempts_failed");
    scene.fleet.clock.as_ref().expect("the plan sets it").set(seconds);
    // Long enough for heartbeats on both sides of the jump, and for the retries.
    scene.submit(&["chain"; 4]);
    scene.ended(3 + 1 + 4);
    let database = &scene.fleet.database;
    let began = |task| format!("SELECT count(*) FROM tasker.batches WHERE '{task}' = ANY (task_ids)");
    assert_eq!(database.number(&began(early)), 0, "a task has started an hour early");
    assert!(database.number(&began(soon)) > 0, "a task is an hour late");
    // By the clock of the database, which did not jump. Commits take their time, hence the half second.
    let early_retries = "SELECT count(*) FROM tasker.step_attempts_failed AS failure JOIN tasker.batches AS batch
                         ON failure.task_id = ANY (batch.task_ids) AND batch.attempts[1] = 2
                         WHERE batch.created_at < failure.failed_at + interval '3 seconds'";
    assert_eq!(database.number(early_retries), 0, "a retry came early");
    scene.fleet.clock.as_ref().expect("the plan sets it").set(0);
    scene.open_gate();
    scene.submit(&["chain"; 2]);
    scene.cancel(early);
    let report = scene.close();
    assert!(report.same_attempt.is_empty(), "{report}");
    assert_eq!(report.further_attempts.keys().collect::<Vec<_>>(), ["failed"], "{report}");
}

#[test]
fn a_day_ahead() {
    a_jump_changes_nothing("day-ahead", DAY);
}

#[test]
fn an_hour_back() {
    a_jump_changes_nothing("hour-back", -3_600);
}

#[test]
fn twenty_years_ahead() {
    a_jump_changes_nothing("years-ahead", 20 * 365 * DAY);
}
