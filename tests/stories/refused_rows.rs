//! A database that refuses one row, or cuts the connection: what is at fault is refused alone, everything else is stored
//! once.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tasker_core::client::{Client, Error, Subscription};
use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::support::{PATIENCE, Stage, task};

/// When the database finds out.
#[derive(Clone, Copy)]
enum Refused {
    WithTheRow,
    AtCommit,
}

/// Raises when a row of a table meets a condition.
fn refuse(stage: &Stage, table: &str, condition: &str, when: Refused) {
    let trigger = match when {
        Refused::WithTheRow => format!("TRIGGER refuse BEFORE INSERT ON tasker.{table}"),
        Refused::AtCommit => {
            format!("CONSTRAINT TRIGGER refuse AFTER INSERT ON tasker.{table} DEFERRABLE INITIALLY DEFERRED")
        }
    };
    stage.database.execute(&format!(
        "CREATE FUNCTION tasker.refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF {condition} THEN RAISE EXCEPTION 'the policy forbids it'; END IF;
             RETURN NEW;
         END $$;
         CREATE {trigger} FOR EACH ROW EXECUTE FUNCTION tasker.refuse_{table}()"
    ));
}

#[test]
fn a_task_that_the_database_refuses_is_refused_alone() {
    let mut stage = Stage::open();
    stage.register("single");
    let worker = stage.worker("one", 5, &["single"]);
    worker.registered();
    refuse(&stage, "tasks", "NEW.reason = 'forbidden'", Refused::WithTheRow);
    let work = stage.work.clone();
    // From many peers at once, so that good and bad ones share commit groups.
    let (accepted, refused) = stage.database.run(async {
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(crate::peers::Client::connect(&work).await);
        }
        let mut sent = Vec::new();
        for number in 0..400 {
            let bad = number % 40 == 7;
            let request = TaskRequest {
                reason: bad.then(|| "forbidden".to_owned()),
                // Half of them by way of a look-up.
                idempotency_key: (number % 80 < 40).then(|| number.to_string()),
                ..task("single", "{}")
            };
            let command = InitializeTask { correlation_id: Uuid::new_v4(), tasks: vec![request] };
            sent.push((number % 40, command.correlation_id, bad));
            clients[number % 40].send(command).await;
        }
        let (mut accepted, mut refused) = (Vec::new(), 0);
        for (client, correlation_id, bad) in sent {
            match clients[client].reply_to(correlation_id).await {
                Message::TasksInitialized(reply) if !bad => accepted.push(reply.tasks[0].task_id.expect("accepted")),
                Message::Error(error) if bad => {
                    assert_eq!(error.code, ErrorCode::Refused);
                    assert!(error.message.contains("the policy forbids it"), "{error:?}");
                    refused += 1;
                }
                other => panic!("bad: {bad}, {other:?}"),
            }
        }
        (accepted, refused)
    });
    assert_eq!((accepted.len(), refused), (390, 10));
    for id in &accepted {
        assert_eq!(stage.ended(*id).state, "complete");
    }
    assert!(worker.stop().success());
    assert_eq!(stage.database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0);
    invariants::exactly_these_tasks(&stage.database, &accepted);
    invariants::hold(&stage.database);
}

#[test]
fn a_result_that_the_database_refuses_fails_its_step_alone() {
    one_result_is_refused(Refused::WithTheRow);
}

#[test]
fn a_result_that_the_database_refuses_at_commit_fails_its_step_alone() {
    one_result_is_refused(Refused::AtCommit);
}

fn one_result_is_refused(when: Refused) {
    let mut stage = Stage::open();
    stage.register("chain");
    let worker = stage.worker("one", 20, &["chain"]);
    worker.registered();
    refuse(&stage, "step_outcomes", "NEW.result::text = '1002'", when);
    let requests = (0..60).map(|number| task("chain", format!("{{\"start\": {}}}", number * 50))).collect();
    let outcomes = stage.submit_all(requests);
    let mut failed = Vec::new();
    for outcome in &outcomes {
        let id = outcome.task_id.expect("accepted");
        if stage.ended(id).state != "complete" {
            failed.push(id);
        }
    }
    // Start 1000: its second step returns 1002.
    assert_eq!(failed, [outcomes[20].task_id.expect("accepted")]);
    let steps = stage.status(failed[0]).steps;
    let states: Vec<_> = steps.iter().map(|step| step.state.as_str()).collect();
    assert_eq!(states, ["complete", "error", "pending", "pending"]);
    assert_eq!(steps[1].error_class.as_deref(), Some("TaskerCore::Errors::ResultRefusedError"));
    assert!(steps[1].error_message.as_ref().is_some_and(|text| text.contains("the policy forbids it")), "{steps:?}");
    assert!(worker.stop().success());
    let broken: Vec<_> = invariants::INVARIANTS.iter().filter(|rule| rule.count(&stage.database) > 0).collect();
    // The worker closes its batch with what it saw: that the step was complete.
    let names: Vec<_> = broken.iter().map(|rule| rule.name).filter(|name| !name.contains("closing report")).collect();
    assert_eq!(names, Vec::<&str>::new());
}

#[test]
fn other_commands_that_the_database_refuses_are_refused_alone() {
    let mut stage = Stage::open();
    stage.register("gated");
    let worker = stage.worker("one", 5, &["gated"]);
    let gate = stage.gate();
    let id = stage.submit(task("gated", format!("{{\"gate\": {:?}}}", gate.path())));
    let running = gate.next();
    refuse(&stage, "operator_actions", "true", Refused::WithTheRow);
    refuse(&stage, "task_templates", "NEW.name = 'single'", Refused::AtCommit);
    let (actor, reason) = ("operator".to_owned(), "no more".to_owned());
    let refusal = stage.refusal(CancelTask { correlation_id: Uuid::nil(), task_id: id, actor, reason });
    assert_eq!(refusal.code, ErrorCode::Refused);
    let yaml = crate::support::read("tests/stories/templates/single.yaml");
    let refusal = stage.refusal(RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: None });
    assert_eq!(refusal.code, ErrorCode::Refused);
    // The step that ran all the while belongs to the same worker still, and its result counts.
    running.release("done");
    assert_eq!(stage.ended(id).state, "complete");
    assert_eq!(stage.step(id, "wait").attempts, 1);
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn an_operation_on_an_ended_task_that_the_database_refuses_is_refused_alone() {
    let mut stage = Stage::open();
    stage.register("permanent");
    let worker = stage.worker("one", 5, &["permanent"]);
    let (first, _) = stage.perform(task("permanent", "{\"repaired\": 2}"));
    let (second, _) = stage.perform(task("permanent", "{\"repaired\": 2}"));
    refuse(&stage, "operator_actions", &format!("NEW.task_id = '{}'", first.task_id), Refused::WithTheRow);
    let retry = |task_id| RetryTask {
        correlation_id: Uuid::nil(),
        task_id,
        steps: Vec::new(),
        actor: "operator".to_owned(),
        reason: "repaired".to_owned(),
    };
    let refusal = stage.refusal(retry(first.task_id));
    assert_eq!(refusal.code, ErrorCode::Refused);
    assert_eq!(stage.status(first.task_id).task.state, "error");
    stage.command(retry(second.task_id));
    assert_eq!(stage.ended(second.task_id).state, "complete");
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_request_of_the_inbox_that_the_database_refuses_stays_with_its_reason() {
    let mut stage = Stage::open();
    stage.register("single");
    let worker = stage.worker("one", 5, &["single"]);
    worker.registered();
    refuse(&stage, "tasks", "NEW.reason = 'forbidden'", Refused::WithTheRow);
    stage.database.execute(
        "BEGIN;
         SELECT tasker.submit_task('stories', 'single', '{}', reason => CASE number WHEN 3 THEN 'forbidden' END,
                                   idempotency_key => 'row-' || number) FROM generate_series(1, 5) AS number;
         SELECT tasker.submit_task('stories', 'nowhere', '{}');
         COMMIT",
    );
    stage.until("the inbox is taken", |stage| {
        let left = stage.database.number("SELECT count(*) FROM tasker.task_inbox WHERE refusal IS NULL");
        (left == 0).then_some(())
    });
    let refused = stage.database.texts("SELECT concat_ws(' ', name, refusal) FROM tasker.task_inbox ORDER BY inbox_id");
    let [forbidden, unknown] = &refused[..] else { panic!("{refused:?}") };
    assert!(forbidden.starts_with("single ") && forbidden.contains("the policy forbids it"), "{forbidden}");
    assert!(unknown.starts_with("nowhere ") && unknown.contains("stories/nowhere"), "{unknown}");
    let mut tasks = Vec::new();
    for row in [1, 2, 4, 5] {
        // The key finds the task, whichever way in it came.
        let key = Some(format!("row-{row}"));
        let found = stage.submit_all(vec![TaskRequest { idempotency_key: key, ..task("single", "{}") }]).remove(0);
        assert!(found.duplicate);
        tasks.push(found.task_id.expect("accepted"));
        assert_eq!(stage.ended(tasks[tasks.len() - 1]).state, "complete");
    }
    assert!(worker.stop().success());
    invariants::exactly_these_tasks(&stage.database, &tasks);
    invariants::hold(&stage.database);
}

#[test]
fn commands_that_are_refused_one_after_the_other_are_all_answered() {
    let stage = Stage::open();
    refuse(&stage, "commands", "NEW.name = 'RegisterTemplate'", Refused::WithTheRow);
    let yaml = crate::support::read("tests/stories/templates/single.yaml");
    let work = stage.work.clone();
    stage.database.run(async {
        let mut client = crate::peers::Client::connect(&work).await;
        let mut sent = Vec::new();
        for _ in 0..50 {
            let command = RegisterTemplate { correlation_id: Uuid::new_v4(), yaml: yaml.clone(), source: None };
            sent.push(command.correlation_id);
            client.send(command).await;
        }
        for correlation_id in sent {
            match client.reply_to(correlation_id).await {
                Message::Error(error) => assert_eq!(error.code, ErrorCode::Refused),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn requests_of_the_inbox_that_cannot_be_taken_hold_up_no_other() {
    let mut stage = Stage::open();
    stage.register("single");
    refuse(&stage, "tasks", "NEW.reason = 'forbidden'", Refused::WithTheRow);
    let mut events = Subscription::connect(&stage.events).expect("the endpoint is valid");
    stage.database.execute(
        r#"BEGIN;
           SELECT tasker.submit_task('stories', 'single', '{}', run_at => 'infinity');
           SELECT tasker.submit_task('stories', 'single', '{}', tags => ARRAY['x', NULL]);
           SELECT tasker.submit_task('stories', 'single', '{}', bypass_steps => ARRAY[NULL]::text[]);
           SELECT tasker.submit_task('stories', 'single', '{"a": "\ud800"}');
           SELECT tasker.submit_task('stories', '', '{}');
           SELECT tasker.submit_task('stories', 'single', json_build_object('a', repeat('x', 5000000)));
           SELECT tasker.submit_task('stories', 'single', '{}', reason => 'forbidden') FROM generate_series(1, 3);
           SELECT tasker.submit_task('stories', 'single', '{}');
           COMMIT"#,
    );
    let deadline = Instant::now() + PATIENCE;
    while stage.database.number("SELECT count(*) FROM tasker.task_inbox WHERE refusal IS NULL") > 0 {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            stage.database.texts("SELECT inbox::text FROM tasker.task_inbox AS inbox WHERE refusal IS NULL")
        );
        events.next(Instant::now() + Duration::from_millis(200)).expect("the connection stands");
    }
    assert_eq!(stage.database.number("SELECT count(*) FROM tasker.tasks"), 1);
    let refusals = stage.database.texts("SELECT refusal FROM tasker.task_inbox ORDER BY inbox_id");
    let expected = ["run_at", "tags", "bypass_steps", "context", "name", "context", "policy", "policy", "policy"];
    assert_eq!(refusals.len(), expected.len(), "{refusals:?}");
    for (refusal, expected) in refusals.iter().zip(expected) {
        assert!(refusal.contains(expected), "{refusal}: {expected}");
    }
}

#[test]
fn a_postgres_that_keeps_silent_is_told_of() {
    let mut stage = Stage::with(|config| config.database.lease_seconds = 3);
    let url = stage.database.url().to_owned();
    // The broker renews its lease although nothing happens, and waits for this lock as long as it is held.
    let mut holder = stage.database.run(async {
        let mut session = PgConnection::connect(&url).await.expect("the database is there");
        sqlx::raw_sql("BEGIN; SELECT 1 FROM tasker.lanes FOR UPDATE").execute(&mut session).await.expect("a lock");
        session
    });
    health_becomes(&mut stage, "degraded", "down");
    // The first submissions may still wait for the database; after some seconds none does any more.
    let mut impatient = Client::connect(&stage.work, Duration::from_millis(500)).expect("an endpoint");
    let deadline = Instant::now() + PATIENCE;
    let refusal = loop {
        let submission = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![task("chain", "{}")] };
        match impatient.request(submission) {
            Err(Error::Refused(refusal)) => break refusal,
            Err(Error::NoAnswer { .. }) => assert!(Instant::now() < deadline, "submissions wait for ever"),
            other => panic!("accepted without a database: {other:?}"),
        }
    };
    assert_eq!((refusal.code, refusal.retryable), (ErrorCode::Unavailable, true));
    stage.database.run(async {
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("the session stands");
    });
    health_becomes(&mut stage, "ok", "up");
}

/// Asks until the broker says so; every question is answered at once.
fn health_becomes(stage: &mut Stage, status: &str, postgres: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let health = stage.command(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic });
        if (health.status.as_str(), health.postgres.as_str()) == (status, postgres) {
            return;
        }
        assert!(Instant::now() < deadline, "{health:?}");
    }
}

#[test]
fn a_connection_that_is_cut_loses_and_doubles_nothing() {
    let mut stage = Stage::open();
    stage.register("diamond");
    let workers = ["one", "two"].map(|name| stage.worker(name, 5, &["diamond"]));
    workers.iter().for_each(|worker| worker.registered());
    let ledger = stage.folder.path().join("ledger");
    let (mut ids, mut cuts) = (Vec::new(), 0);
    for round in 0..10 {
        let context = |number: usize| format!("{{\"start\": {number}, \"ledger\": {ledger:?}}}");
        let outcomes = stage.submit_all((0..30).map(|number| task("diamond", context(number))).collect());
        ids.extend(outcomes.iter().map(|outcome| outcome.task_id.expect("accepted")));
        // The writer alone, and every other time the readers as well.
        let sessions = if round % 2 == 0 { "pid = backend_pid" } else { "pid <> pg_backend_pid()" };
        cuts += stage.database.number(&format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity, tasker.lanes
             WHERE datname = current_database() AND {sessions}"
        ));
    }
    assert!(cuts >= 5, "only {cuts} connections were cut");
    for id in &ids {
        assert_eq!(stage.ended(*id).state, "complete");
    }
    workers.into_iter().for_each(|worker| assert!(worker.stop().success()));
    let ledger = std::fs::read_to_string(ledger).expect("the handlers wrote it");
    invariants::ran_once(&stage.database, &ledger);
    invariants::exactly_these_tasks(&stage.database, &ids);
    invariants::hold(&stage.database);
}
