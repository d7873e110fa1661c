//! A Postgres that does not answer for a while: what waits for it waits, and loses nothing by it.

use sqlx::{Connection, PgConnection};
use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::support::{Stage, connect, task};

/// Holds the lock that every commit needs, and so keeps Postgres silent as far as the broker can see.
struct Silence(PgConnection);

impl Silence {
    fn begin(stage: &Stage) -> Silence {
        let url = stage.database.url().to_owned();
        Silence(stage.database.run(async {
            let mut session = PgConnection::connect(&url).await.expect("the database is there");
            sqlx::raw_sql("BEGIN; SELECT 1 FROM tasker.lanes FOR UPDATE").execute(&mut session).await.expect("a lock");
            session
        }))
    }

    fn end(mut self, stage: &Stage) {
        stage.database.run(async {
            sqlx::raw_sql("ROLLBACK").execute(&mut self.0).await.expect("the session stands");
        });
    }
}

/// Raises this SQLSTATE whenever a step is settled.
fn raise(stage: &Stage, sqlstate: &str, condition: &str) {
    stage.database.execute(&format!(
        "CREATE FUNCTION tasker.raise() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF {condition} THEN RAISE EXCEPTION 'as the test wants' USING ERRCODE = '{sqlstate}'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER raise BEFORE INSERT ON tasker.step_outcomes FOR EACH ROW EXECUTE FUNCTION tasker.raise()"
    ));
}

/// Twenty chains that start so far from each other, in one message.
fn submit(stage: &mut Stage, distance: usize) -> Vec<Uuid> {
    let requests = (0..20).map(|number| task("chain", format!("{{\"start\": {}}}", number * distance))).collect();
    stage.submit_all(requests).iter().map(|outcome| outcome.task_id.expect("accepted")).collect()
}

fn postgres_becomes(stage: &mut Stage, state: &str) {
    stage.until(&format!("Postgres is {state}"), |stage| {
        let health = stage.command(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic });
        (health.postgres == state).then_some(())
    });
}

#[test]
fn results_wait_for_room_on_a_full_disk() {
    let mut stage = Stage::open();
    let worker = stage.worker("one", 5, &["chain"]);
    worker.registered();
    raise(&stage, "53100", "true");
    let ids = submit(&mut stage, 1);
    postgres_becomes(&mut stage, "down");
    stage.database.execute("DROP TRIGGER raise ON tasker.step_outcomes");
    for id in ids {
        assert_eq!(stage.ended(id).state, "complete");
    }
    postgres_becomes(&mut stage, "up");
    assert_eq!(stage.database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0);
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_row_that_is_refused_with_a_code_of_the_triggers_own_is_refused_alone() {
    let mut stage = Stage::open();
    let worker = stage.worker("one", 5, &["chain"]);
    worker.registered();
    raise(&stage, "UX001", "NEW.result::text = '12'");
    let ids = submit(&mut stage, 10);
    let states: Vec<String> = ids.iter().map(|id| stage.ended(*id).state).collect();
    let expected: Vec<&str> = (0..20).map(|number| if number == 1 { "error" } else { "complete" }).collect();
    assert_eq!(states, expected);
    assert!(worker.stop().success());
}

#[test]
fn why_nothing_moves_is_told_while_postgres_is_away() {
    let mut stage = Stage::open();
    stage.register("single");
    let id = stage.submit(task("single", "{}"));
    let why = ExplainStep { correlation_id: Uuid::nil(), task_id: id, step: None };
    let explained = stage.command(why.clone());
    assert_eq!(explained.steps[0].reason, "no_worker");
    let silence = Silence::begin(&stage);
    let work = stage.work.clone();
    let waiting = std::thread::spawn(move || {
        let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![task("single", "{}")] };
        connect(&work).request(command).expect("accepted in the end")
    });
    postgres_becomes(&mut stage, "down");
    let explained = stage.command(why);
    assert_eq!(explained.steps[0].reason, "postgres_away");
    silence.end(&stage);
    waiting.join().expect("it was accepted");
}

#[test]
fn a_step_whose_dispatch_waits_for_its_commit_does_not_time_out() {
    let mut stage = Stage::open();
    let worker = stage.worker("one", 5, &["impatient"]);
    worker.registered();
    let silence = Silence::begin(&stage);
    let work = stage.work.clone();
    let submitting = std::thread::spawn(move || {
        let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![task("impatient", "{}")] };
        connect(&work).request(command).expect("accepted in the end").tasks[0].task_id.expect("accepted")
    });
    // That takes four times as long as the step may.
    postgres_becomes(&mut stage, "down");
    silence.end(&stage);
    let id = submitting.join().expect("it was accepted");
    assert_eq!(stage.ended(id).state, "complete");
    assert_eq!(stage.database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0);
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}
