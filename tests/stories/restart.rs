//! Processes that are killed at any moment: everything finishes, nothing is lost, nothing is recorded twice.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::support::{BrokerProcess, Database, PATIENCE, RubyWorker, Stage, connect, read, task, worker_at};

const TASKS: usize = 200;
const SHAPES: [&str; 3] = ["chain", "diamond", "wide"];

/// A broker in a process of its own with two Ruby workers, and tasks under way.
struct Fleet {
    broker: BrokerProcess,
    workers: Vec<RubyWorker>,
    tasks: Vec<Uuid>,
    client: tasker_core::client::Client,
    folder: tempfile::TempDir,
    database: Database,
}

impl Fleet {
    fn start() -> Fleet {
        let database = Database::create();
        let broker = BrokerProcess::start(&database);
        let workers: Vec<_> = ["one", "two"].iter().map(|name| worker_at(broker.work(), name, 5, &SHAPES)).collect();
        workers.iter().for_each(|worker| worker.registered());
        let client = connect(broker.work());
        let folder = tempfile::TempDir::with_prefix("tasker").expect("there is a temporary folder");
        Fleet { broker, workers, tasks: Vec::new(), client, folder, database }
    }

    /// Submits all tasks and waits until some of them, but not all, have ended.
    fn get_halfway(&mut self) {
        let ledger = self.folder.path().join("ledger");
        let context = |start: usize| format!("{{\"start\": {start}, \"ledger\": {ledger:?}}}");
        let tasks = (0..TASKS).map(|number| task(SHAPES[number % SHAPES.len()], context(number))).collect();
        let accepted = self.client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }).expect("accepted");
        self.tasks = accepted.tasks.iter().map(|task| task.task_id.expect("accepted")).collect();
        // Older tasks go first, so that this one ends somewhere near the middle.
        self.client.wait_for_task(self.tasks[TASKS / 4], Some(PATIENCE)).expect("the broker answers");
    }

    fn unfinished(&self) -> i64 {
        self.database.number("SELECT count(*) FROM tasker.tasks WHERE final_state IS NULL")
    }

    /// Waits for all tasks, lets the workers leave, and looks at everything.
    fn finish(mut self) {
        for id in &self.tasks {
            let waited = self.client.wait_for_task(*id, Some(PATIENCE)).expect("the broker answers");
            assert_eq!((waited.finished, waited.task.state.as_str()), (true, "complete"));
        }
        for worker in self.workers.drain(..) {
            assert!(worker.stop().success());
        }
        invariants::exactly_these_tasks(&self.database, &self.tasks);
        // No attempt was given up: workers kept their results and came back with them. So no step ran twice either.
        assert_eq!(self.database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0);
        let ledger = std::fs::read_to_string(self.folder.path().join("ledger")).expect("the handlers wrote it");
        invariants::ran_once(&self.database, &ledger);
        invariants::hold(&self.database);
        self.broker.stop();
    }
}

#[test]
fn a_broker_that_is_killed_in_the_middle_goes_on_where_it_was() {
    let mut fleet = Fleet::start();
    fleet.get_halfway();
    fleet.broker.kill();
    let left = fleet.unfinished();
    assert!(left > 0, "it was killed too late for this test to say anything");
    fleet.broker.start_again(&fleet.database);
    assert_eq!(fleet.database.number("SELECT epoch FROM tasker.lanes"), 2);
    fleet.finish();
}

#[test]
fn a_broker_that_is_stopped_in_order_goes_on_where_it_was() {
    let mut fleet = Fleet::start();
    fleet.get_halfway();
    fleet.broker.stop();
    assert!(fleet.unfinished() > 0, "it was stopped too late for this test to say anything");
    assert_eq!(fleet.database.number("SELECT count(*) FROM tasker.lanes WHERE owner IS NULL"), 1);
    fleet.broker.start_again(&fleet.database);
    fleet.finish();
}

#[test]
fn tasks_that_a_killed_broker_acknowledged_wait_for_workers() {
    let database = Database::create();
    let mut broker = BrokerProcess::start(&database);
    let mut client = connect(broker.work());
    let yaml = read("tests/stories/templates/single.yaml");
    client.request(RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: None }).expect("accepted");
    let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![task("single", "{}"); 10] };
    let tasks: Vec<_> = client.request(command).expect("accepted").tasks;
    broker.kill();
    broker.start_again(&database);
    let worker = worker_at(broker.work(), "late", 5, &["single"]);
    for task in &tasks {
        let waited = client.wait_for_task(task.task_id.expect("accepted"), Some(PATIENCE)).expect("the broker answers");
        assert_eq!(waited.task.state, "complete");
    }
    assert!(worker.stop().success());
    invariants::exactly_these_tasks(&database, &tasks.iter().filter_map(|task| task.task_id).collect::<Vec<_>>());
    invariants::hold(&database);
}

#[test]
fn steps_of_a_killed_worker_go_to_others() {
    let mut stage = Stage::with(|config| {
        config.engine.heartbeat_ms = 1_000;
        config.engine.worker_timeout_ms = 3_000;
    });
    stage.register("gated");
    let gate = stage.gate();
    let mut victim = stage.worker("victim", 2, &["gated"]);
    let context = format!("{{\"gate\": {:?}}}", gate.path());
    let tasks: Vec<_> = (0..4).map(|_| stage.submit(task("gated", context.clone()))).collect();
    // Two of the four are in the middle of their handlers, in one worker.
    let at_work = [gate.next(), gate.next()];
    let heir = stage.worker("heir", 4, &["gated"]);
    let elsewhere = [gate.next(), gate.next()];
    victim.kill();
    let again = [gate.next(), gate.next()];
    for (before, after) in at_work.iter().zip(&again) {
        assert_eq!((before.attempt, after.attempt), (1, 2), "losing a worker uses an attempt");
    }
    for visitor in elsewhere.into_iter().chain(again) {
        visitor.release("done");
    }
    for task in &tasks {
        assert_eq!(stage.ended(*task).state, "complete");
    }
    assert!(heir.stop().success());
    let causes = stage.database.texts("SELECT cause FROM tasker.step_attempts_failed");
    assert_eq!(causes, ["worker_lost", "worker_lost"]);
    let end = stage.database.text("SELECT end_reason FROM tasker.worker_registrations WHERE worker = 'victim'");
    assert_eq!(end, "lost");
    invariants::hold(&stage.database);
}
