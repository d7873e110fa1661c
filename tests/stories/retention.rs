//! Old tasks leave under a broker that runs, and are unknown from then on.

use std::process::Command;

use serde_json::Value;
use tasker_core::protocol::*;
use uuid::Uuid;

use crate::support::Stage;

const YAML: &str =
    "namespace_name: shop\nname: order\nversion: 1.0.0\nstep_templates:\n  - {name: pay, handler_class: H}\n";

/// A task of three months ago that ended in error, as the broker would have written it.
fn old_task(stage: &Stage) -> Uuid {
    let at = "date_trunc('month', now()) - interval '3 months' + interval '1 hour'";
    stage.database.execute(&format!(
        "SELECT tasker.ensure_partitions(({at})::date, 1);
         INSERT INTO tasker.tasks (task_id, created_seq, finished_seq, created_at, finished_at, template_id, priority, lane,
                                   final_state, context, idempotency_key)
         SELECT tasker.uuid_at({at}), 1, 1, {at}, {at}, template_id, 0, 1, 'error', '{{\"n\": 18446744073709551616}}', 'old'
         FROM tasker.task_templates;
         INSERT INTO tasker.idempotency_keys SELECT 'shop', 'order', 'old', task_id, template_id FROM tasker.tasks;
         INSERT INTO tasker.step_attempts_failed (task_id, batch_id, registration_id, seq, dispatched_at, step_number, attempt,
                                                  lane, final, cause, error_class, error_message)
         SELECT task_id, gen_random_uuid(), gen_random_uuid(), 1, created_at, 0, 1, 1, true, 'failed', 'E', 'no'
         FROM tasker.tasks"
    ));
    stage.database.text("SELECT task_id::text FROM tasker.tasks").parse().expect("an id")
}

fn prune(stage: &Stage, more: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasker"));
    command.env("DATABASE_URL", stage.database.url()).args(["prune", "-o", "json", "--older-than", "20d"]).args(more);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_task_that_has_left_is_unknown_to_every_operation() {
    let mut stage = Stage::open();
    stage.register_text(YAML);
    let task_id = old_task(&stage);
    assert_eq!(stage.status(task_id).task.state, "error");
    let folder = stage.folder.path().join("archive");
    let archive = ["--archive", folder.to_str().expect("UTF-8")];
    let expected = prune(&stage, &["--dry-run"]);
    assert_eq!(stage.status(task_id).task.state, "error", "nothing has happened yet");
    let mut done = prune(&stage, &archive);
    let file = done["months"][0]["archive"].take();
    assert_eq!(done, expected);

    let (actor, reason, correlation_id) = ("ada".to_owned(), "again".to_owned(), Uuid::nil());
    let retry = RetryTask { correlation_id, task_id, actor: actor.clone(), reason: reason.clone(), steps: vec![] };
    assert_eq!(stage.refusal(retry).code, ErrorCode::UnknownTask);
    let cancel = CancelTask { correlation_id, task_id, actor: actor.clone(), reason: reason.clone() };
    assert_eq!(stage.refusal(cancel).code, ErrorCode::UnknownTask);
    let status = TaskStatus { correlation_id, task_id, include_steps: true, include_results: vec![] };
    assert_eq!(stage.refusal(status).code, ErrorCode::UnknownTask);

    // Its key goes on to name it, and the broker goes on to take tasks.
    let request =
        TaskRequest { idempotency_key: Some("old".to_owned()), ..crate::support::request("shop/order", "{}") };
    let again = stage.submit_all(vec![request]).remove(0);
    assert_eq!(again.task_id, Some(task_id));
    assert!(again.duplicate, "{again:?}");
    stage.submit(crate::support::request("shop/order", "{}"));

    let file = file.as_str().expect("an archive");
    let show =
        Command::new(env!("CARGO_BIN_EXE_tasker")).args(["archive", "show", file, &task_id.to_string()]).output();
    let shown = String::from_utf8(show.expect("it runs").stdout).expect("UTF-8");
    assert!(shown.contains(r#"{"n": 18446744073709551616}"#), "{shown}");
    for (file, code) in [(file, Some(0)), ("/no/such.jsonl.gz", Some(1))] {
        let check = Command::new(env!("CARGO_BIN_EXE_tasker")).args(["archive", "check", file]).status();
        assert_eq!(check.expect("it runs").code(), code, "{file}");
    }
}
