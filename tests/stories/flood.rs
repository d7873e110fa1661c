//! More work than Postgres takes: what is accepted is done, the rest is told to come back, and the broker stays small.

use std::collections::HashSet;

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::peers::Client;
use crate::support::{BrokerProcess, Database, Gate, PATIENCE, connect, task, worker_at};

/// Bytes of a context.
const CONTEXT_BYTES: usize = 256 * 1024;
/// Commands of a client that are not answered yet, at most.
const WINDOW: usize = 100;
/// Commands of each client, at least, and how many of them have to be accepted before it ends.
const COMMANDS: usize = 500;
const ACCEPTED: usize = 40;
/// `limits.inbox_bytes_max` of the broker.
const INBOX_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Each commit takes a second more: long, but a Postgres that is there.
const SLOW: &str = "
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON tasker.group_log FOR EACH STATEMENT EXECUTE FUNCTION slow()";

/// What became of the commands of a client.
#[derive(Default)]
struct Account {
    sent: usize,
    accepted: Vec<Uuid>,
    refused: usize,
}

/// Submits as fast as the broker answers, each command a task.
async fn flood(work: &str, keyed: bool, mut look: impl FnMut()) -> Account {
    let mut client = Client::connect(work).await;
    let context = format!("{{\"start\": 1, \"padding\": \"{}\"}}", "x".repeat(CONTEXT_BYTES));
    let mut account = Account::default();
    let mut open: HashSet<Uuid> = HashSet::new();
    loop {
        let goes_on = account.sent < COMMANDS || account.accepted.len() < ACCEPTED;
        if goes_on {
            let correlation_id = Uuid::new_v4();
            let idempotency_key = keyed.then(|| account.sent.to_string());
            let tasks = vec![TaskRequest { idempotency_key, ..task("single", context.clone()) }];
            client.send(InitializeTask { correlation_id, tasks }).await;
            open.insert(correlation_id);
            account.sent += 1;
        } else if open.is_empty() {
            return account;
        }
        while open.len() >= WINDOW || (!goes_on && !open.is_empty()) {
            match client.next().await {
                Message::TasksInitialized(reply) => {
                    assert!(open.remove(&reply.correlation_id), "answered once");
                    account.accepted.push(reply.tasks[0].task_id.expect("accepted"));
                }
                Message::Error(error) => {
                    assert!(open.remove(&error.correlation_id), "answered once");
                    assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true), "{}", error.message);
                    assert!(error.retry_after_ms.is_some_and(|ms| ms > 0), "a time to come back");
                    account.refused += 1;
                }
                other => panic!("no answer to a submission: {other:?}"),
            }
            look();
        }
    }
}

#[test]
fn a_flood_is_refused_and_what_was_accepted_is_done() {
    let database = Database::create();
    let settings = [
        ("engine.heartbeat_ms", "1000"),
        ("engine.worker_timeout_ms", "5000"),
        ("limits.message_bytes_max", "4194304"),
        ("limits.template_bytes_max", "1048576"),
        ("limits.inbox_bytes_max", "33554432"),
    ];
    let mut broker = BrokerProcess::start_with(&database, &settings);
    let worker = worker_at(broker.work(), "w", 5, &["single", "gated"]);
    worker.registered();
    let folder = tempfile::TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let gate = Gate::open(folder.path(), "gate");
    let mut client = connect(broker.work());
    let context = format!("{{\"gate\": {:?}}}", gate.path());
    let tasks = vec![task("gated", context)];
    let first =
        client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }).expect("accepted").tasks.remove(0);
    // The worker has a step for as long as the flood lasts: were it lost, the attempt would be.
    let visitor = gate.next();
    database.execute(SLOW);

    let before = broker.resident_bytes();
    let mut most = before;
    let (plain, keyed) = database.run(async {
        let plain = flood(broker.work(), false, || most = most.max(broker.resident_bytes()));
        let keyed = flood(broker.work(), true, || {});
        tokio::join!(plain, keyed)
    });
    database.execute("DROP TRIGGER slow ON tasker.group_log");
    visitor.release("done");

    for account in [&plain, &keyed] {
        assert!(account.refused > 0, "the flood was none");
        assert_eq!(account.refused + account.accepted.len(), account.sent);
    }
    let accepted: Vec<Uuid> = plain.accepted.iter().chain(&keyed.accepted).copied().chain(first.task_id).collect();
    // Contexts of live tasks, the budget of messages (as they came, and as they are written), and what is not read yet.
    let live = accepted.len() as u64 * CONTEXT_BYTES as u64;
    let unread = 2 * WINDOW as u64 * CONTEXT_BYTES as u64;
    let bound = before + live + 2 * INBOX_BYTES_MAX + unread;
    eprintln!(
        "accepted {}, refused {}, {before} to {most} bytes, bound {bound}",
        accepted.len(),
        plain.refused + keyed.refused
    );
    assert!(most < bound, "{most} bytes are resident, of at most {bound}");

    for id in &accepted {
        let waited = client.wait_for_task(*id, Some(PATIENCE)).expect("the broker answers");
        assert_eq!((waited.finished, waited.task.state.as_str()), (true, "complete"));
    }
    assert_eq!(database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0, "the worker was never lost");
    // It may have registered again to hear of reports that wait for their commit, which costs it nothing.
    assert_eq!(database.number("SELECT count(*) FROM tasker.worker_registrations WHERE end_reason = 'lost'"), 0);
    assert!(worker.stop().success());
    invariants::exactly_these_tasks(&database, &accepted);
    invariants::hold(&database);
    broker.stop();
}
