//! A client that submits the tasks of a round, each under a key, and repeats what was not answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tasker_core::client::{Client, Error};
use tasker_core::protocol::*;
use uuid::Uuid;

/// Tasks in one message.
const TOGETHER: usize = 20;

/// Unfinished tasks at most, so that there is something to submit while things go wrong.
const AHEAD: usize = 200;

/// How long an answer may take before the same is asked again, of another broker if there is one.
const ANSWER: Duration = Duration::from_secs(2);

/// Of so many tasks one is submitted by SQL.
const BY_INBOX: usize = 10;

/// The templates in turn.
pub const SHAPES: [&str; 8] = ["chain", "diamond", "flaky", "wide", "tree", "broken", "chain", "slow"];

/// What a submitter is told.
#[derive(Clone)]
pub struct Orders {
    pub endpoints: Vec<String>,
    /// Straight to Postgres.
    pub database: String,
    pub ledger: String,
    pub tasks: usize,
}

pub struct Submitter {
    thread: JoinHandle<Submitted>,
    finished: Arc<AtomicUsize>,
}

/// What became of the submissions.
pub struct Submitted {
    /// The task of each key that a broker has named.
    pub acknowledged: BTreeMap<String, Uuid>,
    /// Keys that went in by SQL.
    pub by_inbox: Vec<String>,
    /// Requests that were repeated.
    pub repeated: usize,
    /// Tasks that an unanswered request had made.
    pub known_already: usize,
}

impl Submitter {
    pub fn start(orders: Orders) -> Submitter {
        let finished = Arc::new(AtomicUsize::new(0));
        let seen = finished.clone();
        Submitter { thread: std::thread::spawn(move || submit(&orders, &seen)), finished }
    }

    /// Tells of how many tasks have ended.
    pub fn note_finished(&self, count: usize) {
        self.finished.store(count, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    pub fn done(self) -> Submitted {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn submit(orders: &Orders, finished: &AtomicUsize) -> Submitted {
    let mut submitted =
        Submitted { acknowledged: BTreeMap::new(), by_inbox: Vec::new(), repeated: 0, known_already: 0 };
    let mut client = Caller { endpoints: &orders.endpoints, turn: 0, client: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let numbers: Vec<usize> = (0..orders.tasks).collect();
    for chunk in numbers.chunks(TOGETHER) {
        while chunk[0] > finished.load(Ordering::Relaxed) + AHEAD {
            std::thread::park_timeout(ANSWER);
        }
        let (by_inbox, by_wire): (Vec<usize>, Vec<usize>) = chunk.iter().partition(|number| *number % BY_INBOX == 3);
        for number in by_inbox {
            let task = request(orders, number);
            runtime.block_on(insert(&orders.database, &task));
            submitted.by_inbox.extend(task.idempotency_key);
        }
        let tasks: Vec<TaskRequest> = by_wire.iter().map(|number| request(orders, *number)).collect();
        let outcomes = loop {
            if let Some(outcomes) = client.ask(tasks.clone()) {
                break outcomes;
            }
            submitted.repeated += 1;
        };
        for (task, outcome) in tasks.into_iter().zip(outcomes) {
            let key = task.idempotency_key.expect("every task has one");
            let id = outcome.task_id.unwrap_or_else(|| panic!("{key}: {:?}", outcome.error));
            submitted.known_already += usize::from(outcome.duplicate);
            submitted.acknowledged.insert(key, id);
        }
    }
    submitted
}

fn request(orders: &Orders, number: usize) -> TaskRequest {
    // Three in ten look into the database.
    let (ledger, witness, database) = (&orders.ledger, number % 10 < 3, &orders.database);
    let context = serde_json::json!({
        "start": number, "ledger": ledger, "witness": witness.then_some(true), "database": database,
    });
    TaskRequest {
        namespace: "chaos".to_owned(),
        name: SHAPES[number % SHAPES.len()].to_owned(),
        context: JsonText::new(context.to_string()),
        idempotency_key: Some(format!("task-{number}")),
        ..TaskRequest::default()
    }
}

/// Puts a request into the inbox, again and again until Postgres has confirmed it. What was put in twice has one key.
async fn insert(database: &str, task: &TaskRequest) {
    loop {
        let inserting = async {
            let mut session = PgConnection::connect(database).await?;
            sqlx::query("SELECT tasker.submit_task('chaos', $1, $2::json, idempotency_key => $3)")
                .bind(&task.name)
                .bind(task.context.as_str())
                .bind(&task.idempotency_key)
                .execute(&mut session)
                .await
        };
        if let Ok(Ok(_)) = tokio::time::timeout(ANSWER, inserting).await {
            return;
        }
        tokio::time::sleep(super::process::LOOK).await;
    }
}

/// Asks the brokers in turn.
struct Caller<'a> {
    endpoints: &'a [String],
    turn: usize,
    client: Option<Client>,
}

impl Caller<'_> {
    /// The answer; nothing when there is none, or the broker says to try again.
    fn ask(&mut self, tasks: Vec<TaskRequest>) -> Option<Vec<TaskInitialized>> {
        let endpoint = &self.endpoints[self.turn % self.endpoints.len()];
        let client = self.client.get_or_insert_with(|| Client::connect(endpoint, ANSWER).expect("it is an endpoint"));
        match client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }) {
            Ok(reply) if reply.tasks.iter().all(|task| !is_retryable(task)) => return Some(reply.tasks),
            // The broker is busy, or it starts or stops.
            Ok(_) => std::thread::sleep(super::process::LOOK),
            Err(Error::Refused(refusal)) if refusal.retryable => std::thread::sleep(super::process::LOOK),
            // A proxy that has no broker behind it breaks handshakes off.
            Err(Error::NoAnswer { .. } | Error::Unreachable { .. } | Error::HandshakeBrokenOff { .. }) => {
                self.turn += 1;
                self.client = None;
            }
            Err(error) => panic!("{error:?}"),
        }
        None
    }
}

fn is_retryable(task: &TaskInitialized) -> bool {
    task.error.as_ref().is_some_and(|error| error.retryable)
}
