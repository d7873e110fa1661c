//! A broker that stood still holds that against nobody.

use nix::sys::signal::Signal;
use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::support::{BrokerProcess, Database, Gate, PATIENCE, connect, task, worker_at};

#[test]
fn a_broker_that_was_stopped_and_wakes_gives_no_worker_up() {
    let database = Database::create();
    let settings =
        [("engine.heartbeat_ms", "1000"), ("engine.worker_timeout_ms", "3000"), ("database.lease_seconds", "60")];
    let mut broker = BrokerProcess::start_with(&database, &settings);
    let worker = worker_at(broker.work(), "w", 1, &["gated"]);
    worker.registered();
    let mut client = connect(broker.work());
    let folder = tempfile::TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let gate = Gate::open(folder.path(), "gate");
    let tasks = vec![task("gated", format!("{{\"gate\": {:?}}}", gate.path()))];
    let accepted = client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }).expect("accepted");
    let id = accepted.tasks[0].task_id.expect("accepted");
    let visitor = gate.next();
    assert_eq!(visitor.attempt, 1);

    broker.signal(Signal::SIGSTOP);
    // The worker's timeout has passed twice by the clock of the database, where the lease still holds.
    let left = "SELECT extract(epoch FROM expires_at - clock_timestamp())::bigint FROM tasker.lanes";
    let at_first = database.number(left);
    while database.number(left) > at_first - 7 {}
    assert!(database.number(left) > 0);
    broker.signal(Signal::SIGCONT);
    // What it decides when it wakes, it decides before it answers this.
    client.request(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Detailed }).expect("it answers");
    visitor.release("done");
    let waited = client.wait_for_task(id, Some(PATIENCE)).expect("the broker answers");
    assert_eq!(waited.task.state, "complete");
    assert_eq!(database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0);
    assert_eq!(database.number("SELECT max(attempt)::bigint FROM tasker.step_outcomes"), 1);
    assert_eq!(database.number("SELECT epoch::bigint FROM tasker.lanes"), 1);
    assert!(worker.stop().success());
    invariants::exactly_these_tasks(&database, &[id]);
    invariants::hold(&database);
    broker.stop();
}
