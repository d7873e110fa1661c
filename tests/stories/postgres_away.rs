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
    stage.until("Postgres is away", |stage| {
        let health = stage.command(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic });
        (health.postgres == "down").then_some(())
    });
    silence.end(&stage);
    let id = submitting.join().expect("it was accepted");
    assert_eq!(stage.ended(id).state, "complete");
    assert_eq!(stage.database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0);
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}
