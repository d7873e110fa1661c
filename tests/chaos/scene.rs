//! A fleet for a story in which one thing goes wrong: tasks are submitted, and in the end everything is looked at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tasker_core::client::{Client, Error};
use tasker_core::protocol::*;
use uuid::Uuid;

use super::checks;
use super::fleet::Fleet;
use super::plan::Plan;
use super::process::LOOK;
use super::report::Report;
use super::submitter::Submitted;
use crate::support::{PATIENCE, repository};

pub struct Scene {
    pub fleet: Fleet,
    pub plan: Plan,
    folder: PathBuf,
    began: Instant,
    submitted: Submitted,
    /// The endpoint that commands go to.
    pub broker: usize,
}

impl Scene {
    pub fn open(name: &str, plan: Plan) -> Scene {
        let folder = repository(&format!("target/chaos/{name}-{}", std::process::id()));
        // Of an earlier process with the same number.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the folder of what is built is ours");
        let fleet = Fleet::start(&plan, &folder);
        let submitted =
            Submitted { acknowledged: BTreeMap::new(), by_inbox: Vec::new(), repeated: 0, known_already: 0 };
        Scene { fleet, plan, folder, began: Instant::now(), submitted, broker: 0 }
    }

    pub fn client(&self, timeout: Duration) -> Client {
        Client::connect(&self.fleet.endpoints()[self.broker], timeout).expect("it is an endpoint")
    }

    /// A request for a task of this template. Its number is where it starts to count.
    pub fn request(&self, name: &str) -> TaskRequest {
        self.numbered(name, self.submitted.acknowledged.len())
    }

    fn numbered(&self, name: &str, number: usize) -> TaskRequest {
        let context = serde_json::json!({
            "start": number, "witness": true, "database": self.fleet.cluster.url(),
            "ledger": self.folder.join("ledger"), "gate": self.gate(),
        });
        TaskRequest {
            namespace: "chaos".to_owned(),
            name: name.to_owned(),
            context: JsonText::new(context.to_string()),
            idempotency_key: Some(format!("task-{number}")),
            ..TaskRequest::default()
        }
    }

    /// Where steps of `held` look whether they may go on.
    pub fn gate(&self) -> PathBuf {
        self.folder.join("gate")
    }

    /// Lets them go on.
    pub fn open_gate(&self) {
        std::fs::write(self.gate(), "").expect("the folder is ours");
    }

    /// Submits tasks of these templates in one message; they have to be accepted.
    pub fn submit(&mut self, names: &[&str]) -> Vec<Uuid> {
        let first = self.submitted.acknowledged.len();
        self.submit_all(names.iter().zip(first..).map(|(name, number)| self.numbered(name, number)).collect())
    }

    /// Submits requests, again if need be, as a client does that is told to try again.
    pub fn submit_all(&mut self, tasks: Vec<TaskRequest>) -> Vec<Uuid> {
        let mut client = self.client(PATIENCE);
        let reply = eventually("it is accepted", || {
            match client.request(InitializeTask { correlation_id: Uuid::nil(), tasks: tasks.clone() }) {
                Err(Error::Refused(refusal)) if refusal.retryable => None,
                answer => Some(answer),
            }
        });
        let outcomes = reply.expect("it is accepted").tasks;
        let ids = outcomes.iter().map(|outcome| outcome.task_id.unwrap_or_else(|| panic!("{:?}", outcome.error)));
        let ids: Vec<Uuid> = ids.collect();
        let keys = tasks.into_iter().map(|task| task.idempotency_key.expect("every request has one"));
        self.submitted.acknowledged.extend(keys.zip(ids.iter().copied()));
        ids
    }

    pub fn cancel(&self, task_id: Uuid) {
        let (actor, reason) = ("test".to_owned(), "its time will not come".to_owned());
        let command = CancelTask { correlation_id: Uuid::nil(), task_id, actor, reason };
        self.client(PATIENCE).request(command).expect("it is accepted");
    }

    /// Why the next submission is refused, once it is. Those before it may be carried out later: all have one key.
    pub fn refusal(&self) -> ErrorReply {
        let deadline = Instant::now() + PATIENCE;
        let mut client = self.client(Duration::from_millis(500));
        loop {
            let tasks = vec![self.request("chain")];
            match client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }) {
                Err(Error::Refused(refusal)) => return *refusal,
                Err(Error::NoAnswer { .. }) => assert!(Instant::now() < deadline, "submissions wait for ever"),
                other => panic!("accepted without a database: {other:?}"),
            }
        }
    }

    pub fn health(&self, level: HealthLevel) -> HealthReport {
        let command = HealthCheck { correlation_id: Uuid::nil(), level };
        self.client(PATIENCE).request(command).expect("health is always told")
    }

    /// Waits for something that has to come, while the fleet is looked after.
    pub fn until(&mut self, what: &str, mut look: impl FnMut(&mut Fleet) -> bool) {
        self.fleet.until(what, |fleet| {
            fleet.supervise();
            look(fleet)
        });
    }

    /// Waits until a query answers a number other than 0.
    pub fn until_some(&mut self, what: &str, query: &str) {
        self.until(what, |fleet| fleet.database.glance(query).is_some_and(|count| count > 0));
    }

    /// Waits until so many tasks have ended.
    pub fn ended(&mut self, tasks: usize) {
        let query = format!("SELECT count(*) / {tasks} FROM tasker.tasks WHERE final_state IS NOT NULL");
        self.until_some(&format!("{tasks} tasks have ended"), &query);
    }

    /// Waits for the end of everything, lets everybody leave, and looks at it all.
    pub fn close(mut self) -> Report {
        self.ended(self.submitted.acknowledged.len());
        self.fleet.leave();
        let ledger = std::fs::read_to_string(self.folder.join("ledger")).expect("the handlers wrote it");
        checks::hold(&self.fleet.database, &self.submitted, &ledger);
        let report = Report::of(&self.plan, self.began.elapsed(), &self.fleet.database, &self.submitted);
        println!("{report}");
        let Scene { fleet, folder, .. } = self;
        drop(fleet);
        std::fs::remove_dir_all(folder).expect("the folder of the scene is ours");
        report
    }
}

/// Looks again after a moment, for as long as a test may take.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(LOOK);
    }
}
