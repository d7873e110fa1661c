//! Stopping on purpose: what runs gets its time, what does not comes back, nothing is lost, nothing is tried in vain.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection};
use tasker_core::client::{self, Client};
use tasker_core::protocol::*;
use tasker_core::server;
use uuid::Uuid;

use crate::invariants;
use crate::support::{
    BrokerProcess, Database, Gate, HANDLERS, PATIENCE, RubyWorker, Serves, Stage, broker_command, connect, read,
    repository, task, worker_at,
};

/// Dispatched steps, each time counted.
const DISPATCHED: &str = "SELECT coalesce(sum(cardinality(task_ids)), 0)::bigint FROM tasker.batches";
const FAILED_ATTEMPTS: &str = "SELECT count(*) FROM tasker.step_attempts_failed";
const LANE_IS_FREE: &str = "SELECT count(*) FROM tasker.lanes WHERE owner IS NULL";

fn submit(client: &mut Client, tasks: Vec<TaskRequest>) -> Vec<Uuid> {
    let accepted = client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }).expect("accepted");
    accepted.tasks.iter().map(|task| task.task_id.expect("accepted")).collect()
}

fn gated(gate: &Gate) -> TaskRequest {
    task("gated", format!("{{\"gate\": {:?}}}", gate.path()))
}

/// Waits until the broker says that it is about to stop.
fn until_it_drains(client: &mut Client) {
    let deadline = Instant::now() + PATIENCE;
    let health = HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic };
    loop {
        let report = client.request(health.clone()).expect("it answers while it drains");
        if report.problems.iter().any(|problem| problem.contains("the broker is stopping")) {
            assert_eq!(report.status, "degraded");
            return;
        }
        assert!(Instant::now() < deadline, "the broker does not drain: {:?}", report.problems);
    }
}

fn all_complete(client: &mut Client, tasks: &[Uuid]) {
    for task in tasks {
        let waited = client.wait_for_task(*task, Some(PATIENCE)).expect("the broker answers");
        assert_eq!((waited.finished, waited.task.state.as_str()), (true, "complete"));
    }
}

/// Lets the broker of a stage drain; a test is not to hang when it does not end.
fn drain(mut stage: Stage, limit: Duration) -> (Result<(), server::Error>, Stage) {
    let (tell, ended) = mpsc::channel();
    thread::spawn(move || {
        let end = stage.drain(limit);
        // The test may have given up.
        let _ = tell.send((end, stage));
    });
    ended.recv_timeout(PATIENCE).expect("a broker ends whatever its database does")
}

#[test]
fn a_broker_that_is_asked_to_stop_takes_what_runs_and_starts_nothing() {
    let database = Database::create();
    let mut broker = BrokerProcess::start(&database);
    let worker = worker_at(broker.work(), "one", 2, &["gated"]);
    worker.registered();
    let mut client = connect(broker.work());
    let folder = tempfile::TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let gate = Gate::open(folder.path(), "gate");
    let tasks = submit(&mut client, vec![gated(&gate); 3]);
    let at_work = [gate.next(), gate.next()];

    broker.terminate();
    until_it_drains(&mut client);
    let more = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![gated(&gate)] };
    match client.request(more) {
        Err(client::Error::Refused(refusal)) => {
            assert_eq!((refusal.code, refusal.retryable), (ErrorCode::Unavailable, true));
            assert!(refusal.retry_after_ms.is_some() && refusal.message.contains("stopping"), "{refusal:?}");
        }
        other => panic!("a broker that stops has taken a task: {other:?}"),
    }
    for visitor in at_work {
        assert_eq!(visitor.attempt, 1);
        visitor.release("done");
    }
    assert_eq!(broker.ended().code(), Some(0));
    assert_eq!(database.number(DISPATCHED), 2, "the third task waits, and so does what follows in the first two");
    assert_eq!(database.number("SELECT count(*) FROM tasker.step_outcomes"), 2);
    assert_eq!(database.number("SELECT count(*) FROM tasker.batch_closings WHERE state = 'completed'"), 1);
    assert_eq!(database.number(LANE_IS_FREE), 1);

    broker.start_again(&database);
    gate.next().release("done");
    all_complete(&mut client, &tasks);
    assert!(worker.stop().success());
    // Each of the six steps was started once, by whichever broker.
    assert_eq!((database.number(DISPATCHED), database.number(FAILED_ATTEMPTS)), (6, 0));
    invariants::exactly_these_tasks(&database, &tasks);
    invariants::hold(&database);
    broker.stop();
}

#[test]
fn what_runs_longer_than_a_broker_waits_is_its_workers_and_counts_for_the_next_broker() {
    let database = Database::create();
    let mut broker = BrokerProcess::start_with(&database, &[("broker.shutdown_timeout_seconds", "1")]);
    let worker = worker_at(broker.work(), "one", 2, &["gated"]);
    worker.registered();
    let mut client = connect(broker.work());
    let folder = tempfile::TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let gate = Gate::open(folder.path(), "gate");
    let tasks = submit(&mut client, vec![gated(&gate); 2]);
    let [between, after] = [gate.next(), gate.next()];

    broker.terminate();
    assert_eq!(broker.ended().code(), Some(0));
    assert_eq!(database.number("SELECT count(*) FROM tasker.step_outcomes"), 0);
    assert_eq!(database.number(LANE_IS_FREE), 1);
    // One handler ends while there is no broker, the other when there is one again.
    between.release("kept");
    broker.start_again(&database);
    after.release("kept");
    all_complete(&mut client, &tasks);
    assert!(worker.stop().success());
    let results = database.texts(
        "SELECT concat_ws(' ', outcome.attempt, outcome.result) FROM tasker.step_outcomes AS outcome
         JOIN tasker.steps AS step USING (task_id, step_number) WHERE step.name = 'wait'",
    );
    assert_eq!(results, ["1 \"kept\"", "1 \"kept\""]);
    assert_eq!((database.number(DISPATCHED), database.number(FAILED_ATTEMPTS)), (4, 0));
    invariants::hold(&database);
    broker.stop();
}

#[test]
fn a_standby_goes_on_when_the_owner_has_drained() {
    let database = Database::create();
    // A lease that outlasts the test: the standby has to be given the lane.
    let settings = [("database.lease_seconds", "600")];
    let mut owner = BrokerProcess::start_with(&database, &settings);
    let mut client = connect(owner.work());
    let yaml = read("tests/stories/templates/single.yaml");
    client.request(RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: None }).expect("accepted");
    let tasks = submit(&mut client, vec![task("single", "{}"); 3]);
    let mut standby = thread::scope(|scope| {
        scope.spawn(move || owner.stop());
        // It says that it is ready when it has the lane.
        BrokerProcess::start_with(&database, &settings)
    });
    assert_eq!(database.number("SELECT epoch FROM tasker.lanes"), 2);
    let worker = worker_at(standby.work(), "one", 5, &["single"]);
    all_complete(&mut connect(standby.work()), &tasks);
    assert!(worker.stop().success());
    standby.stop();
    invariants::exactly_these_tasks(&database, &tasks);
    invariants::hold(&database);
}

#[test]
fn a_broker_that_cannot_commit_ends_all_the_same() {
    let mut stage = Stage::open();
    stage.register("single");
    let mut blocker = stage.database.run(PgConnection::connect(stage.database.url())).expect("Postgres is there");
    let lock = "BEGIN; LOCK TABLE tasker.lanes IN ACCESS EXCLUSIVE MODE";
    stage.database.run(sqlx::raw_sql(lock).execute(&mut blocker)).expect("locked");
    let mut impatient = Client::connect(&stage.work, Duration::from_secs(1)).expect("the endpoint is valid");
    let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![task("single", "{}")] };
    impatient.request(command).expect_err("its group does not commit");
    let health = HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic };
    let deadline = Instant::now() + PATIENCE;
    while stage.command(health.clone()).postgres != "down" {
        assert!(Instant::now() < deadline, "the broker does not see that its commit is stuck");
    }
    let (end, stage) = drain(stage, Duration::from_millis(10));
    assert!(matches!(end, Err(server::Error::Unfinished)), "{end:?}");
    drop((blocker, stage));
}

#[test]
fn a_broker_whose_log_nobody_reads_lives_and_ends_all_the_same() {
    let database = Database::create();
    let mut command = broker_command(database.url(), "tcp://127.0.0.1:0", "tcp://127.0.0.1:0");
    command.env("TASKER__LOG__LEVEL", "warn").env("TASKER__BROKER__SHUTDOWN_TIMEOUT_SECONDS", "1");
    let mut broker = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cargo has built it");
    let mut ready = String::new();
    BufReader::new(broker.stdout.as_mut().expect("piped")).read_line(&mut ready).expect("the pipe stands");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("it is ready");
    drop(broker.stderr.take());
    let mut blocker = database.run(PgConnection::connect(database.url())).expect("Postgres is there");
    let lock = "BEGIN; LOCK TABLE tasker.lanes IN ACCESS EXCLUSIVE MODE";
    database.run(sqlx::raw_sql(lock).execute(&mut blocker)).expect("locked");
    let work = ready["work"][0].as_str().expect("an endpoint");
    let mut client = Client::connect(work, Duration::from_secs(1)).expect("the endpoint is valid");
    let command = RegisterTemplate {
        correlation_id: Uuid::nil(),
        yaml: read("tests/stories/templates/single.yaml"),
        source: None,
    };
    client.request(command).expect_err("its group does not commit");
    // It says so in its log, which nobody reads.
    let health = HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic };
    let deadline = Instant::now() + PATIENCE;
    while client.request(health.clone()).expect("it answers").postgres != "down" {
        assert!(Instant::now() < deadline, "the broker does not see that its commit is stuck");
    }
    let pid = Pid::from_raw(i32::try_from(broker.id()).expect("a process number"));
    kill(pid, Signal::SIGTERM).expect("it runs");
    let (tell, ended) = mpsc::channel();
    thread::spawn(move || tell.send(broker.wait()));
    let ended = ended.recv_timeout(PATIENCE);
    if ended.is_err() {
        let _ = kill(pid, Signal::SIGKILL);
    }
    let status = ended.expect("it ends, whatever its database and its log do").expect("it is our child");
    assert_eq!(status.code(), Some(7), "{status}");
    drop(blocker);
}

#[test]
fn a_broker_that_cannot_give_its_lease_back_ends_all_the_same() {
    let stage = Stage::open();
    let mut blocker = stage.database.run(PgConnection::connect(stage.database.url())).expect("Postgres is there");
    let lock = "BEGIN; LOCK TABLE tasker.lanes IN ACCESS EXCLUSIVE MODE";
    stage.database.run(sqlx::raw_sql(lock).execute(&mut blocker)).expect("locked");
    let (end, stage) = drain(stage, PATIENCE * 2);
    end.expect("nothing of it is lost");
    drop((blocker, stage));
}

#[test]
fn a_worker_whose_time_is_up_gives_back_what_it_runs() {
    let mut stage = Stage::open();
    stage.register("gated");
    let gate = stage.gate();
    let serves = [repository("tests/stories/templates/gated.yaml")];
    let handlers = [repository(HANDLERS)];
    let mut leaver = RubyWorker::start_with(&["-t", "4"], &stage.work, "leaver", 3, &handlers, &Serves::Files(&serves));
    leaver.registered();
    let tasks: Vec<_> = (0..3).map(|_| stage.submit(gated(&gate))).collect();
    let [quick, slow, slower] = [gate.next(), gate.next(), gate.next()];

    leaver.terminate();
    leaver.logged("TERM: stopping");
    quick.release("in time");
    assert_eq!(leaver.ended().code(), Some(4), "not everything was done in time");
    drop((slow, slower));
    assert_eq!(stage.database.texts("SELECT result::text FROM tasker.step_outcomes"), ["\"in time\""]);
    let returns = stage.database.texts("SELECT concat_ws(' ', attempt, reason) FROM tasker.step_returns");
    assert_eq!(returns, ["1 interrupted", "1 interrupted"]);
    let end = "SELECT end_reason FROM tasker.worker_registrations WHERE worker = 'leaver'";
    assert_eq!(stage.database.text(end), "drained");

    let heir = stage.worker("heir", 3, &["gated"]);
    for _ in 0..2 {
        let again = gate.next();
        assert_eq!(again.attempt, 1, "a step that came back has used no attempt");
        again.release("by another");
    }
    for task in &tasks {
        assert_eq!(stage.ended(*task).state, "complete");
    }
    assert!(heir.stop().success());
    assert_eq!(stage.database.number(FAILED_ATTEMPTS), 0);
    invariants::hold(&stage.database);
}

#[test]
fn a_worker_whose_handler_cannot_be_stopped_ends_in_time_and_its_step_comes_back() {
    let mut stage = Stage::open();
    stage.register("unkillable");
    let gate = stage.gate();
    let serves = [repository("tests/stories/templates/unkillable.yaml")];
    let handlers = [repository(HANDLERS)];
    let mut leaver = RubyWorker::start_with(&["-t", "0"], &stage.work, "leaver", 1, &handlers, &Serves::Files(&serves));
    leaver.registered();
    let id = stage.submit(task("unkillable", format!("{{\"gate\": {:?}}}", gate.path())));
    let mut stuck = gate.next();
    leaver.terminate();
    assert_eq!(leaver.ended().code(), Some(4));
    assert_eq!(stuck.hear(), "", "the handler has ended with its process");
    let end = "SELECT end_reason FROM tasker.worker_registrations WHERE worker = 'leaver'";
    assert_eq!(stage.database.text(end), "unregistered");

    let heir = stage.worker("heir", 1, &["unkillable"]);
    let again = gate.next();
    assert_eq!(again.attempt, 1, "the step has one attempt, which is not used up");
    again.release("by another");
    assert_eq!(stage.ended(id).state, "complete");
    assert!(heir.stop().success());
    assert_eq!(stage.database.text("SELECT reason FROM tasker.step_returns"), "stopping");
    invariants::hold(&stage.database);
}

#[test]
fn a_rolling_restart_of_all_workers_loses_and_repeats_nothing() {
    const SHAPES: [&str; 3] = ["chain", "diamond", "wide"];
    const WORKERS: [&str; 3] = ["one", "two", "three"];
    const TASKS_A_RESTART: usize = 200;
    let mut stage = Stage::open();
    let mut workers: Vec<_> = WORKERS.iter().map(|name| stage.worker(name, 5, &SHAPES)).collect();
    workers.iter().for_each(|worker| worker.registered());
    let ledger = stage.folder.path().join("ledger");
    let mut tasks = Vec::new();
    for (place, name) in WORKERS.iter().enumerate() {
        let context = |start: usize| format!("{{\"start\": {start}, \"ledger\": {ledger:?}}}");
        let requests = (0..TASKS_A_RESTART).map(|number| task(SHAPES[number % SHAPES.len()], context(number)));
        let accepted = stage.submit_all(requests.collect());
        tasks.extend(accepted.iter().map(|task| task.task_id.expect("accepted")));
        workers[place].terminate();
        let unfinished = stage.database.number("SELECT count(*) FROM tasker.tasks WHERE final_state IS NULL");
        assert!(unfinished > 0, "{name} was stopped too late for this test to say anything");
        assert_eq!(workers[place].ended().code(), Some(0), "handlers are short: all is done in time");
        workers[place] = stage.worker(name, 5, &SHAPES);
        workers[place].registered();
    }
    for task in &tasks {
        assert_eq!(stage.ended(*task).state, "complete");
    }
    for worker in workers {
        assert!(worker.stop().success());
    }
    let ledger = std::fs::read_to_string(ledger).expect("the handlers wrote it");
    invariants::ran_once(&stage.database, &ledger);
    assert_eq!(stage.database.number(FAILED_ATTEMPTS), 0);
    let ends = stage.database.texts("SELECT DISTINCT end_reason FROM tasker.worker_registrations");
    assert_eq!(ends, ["drained"]);
    invariants::exactly_these_tasks(&stage.database, &tasks);
    invariants::hold(&stage.database);
}
