//! Clients that ask again until they are answered, and the applications that fill the inbox.

use std::collections::BTreeMap;

use bytes::Bytes;
use tasker_engine::{
    Event, ExplanationQuery, FleetAction, FleetActionKind, Operation, OperationKind, RefusalKind, Reply, TaskId,
    TaskRequest, TaskState, Wall,
};
use uuid::Uuid;

use crate::broker::START_WALL_MS;
use crate::network::{Message, Party};
use crate::run::{NAMESPACES, Sim};

/// What was not answered for so long is asked again.
const AGAIN_MS: u64 = 2_000;

/// A payload that the simulated database refuses, whatever it is part of.
const UNSTORABLE: &str = "\"unstorable\"";

pub(crate) fn unstorable() -> String {
    UNSTORABLE.to_owned()
}

pub(crate) fn is_unstorable(payload: &[u8]) -> bool {
    payload == UNSTORABLE.as_bytes()
}

/// A request without an answer.
#[derive(Clone, Debug)]
struct Pending {
    request: TaskRequest,
    correlation: Uuid,
    sent_at: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Client {
    pending: Vec<Pending>,
    /// Tasks that it knows of.
    tasks: Vec<TaskId>,
    /// Waits by correlation: the task, and when an answer is overdue.
    waits: BTreeMap<Uuid, (TaskId, u64)>,
}

impl Client {
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.waits.is_empty()
    }
}

impl Sim {
    /// Asks for something new now and then, and again for what was not answered.
    pub fn client_ticks(&mut self, number: usize) {
        let now = self.now;
        let mut again = Vec::new();
        for pending in &self.clients[number].pending {
            if pending.sent_at + AGAIN_MS < now {
                again.push(pending.clone());
            }
        }
        self.clients[number].pending.retain(|pending| pending.sent_at + AGAIN_MS >= now);
        for pending in again {
            // Without a key nobody can know whether the first request came through.
            if pending.request.idempotency_key.is_some() {
                self.submit(number, pending.request);
            }
        }
        let overdue: Vec<(Uuid, TaskId)> = self.clients[number]
            .waits
            .iter()
            .filter(|(_, wait)| wait.1 < now)
            .map(|(&id, wait)| (id, wait.0))
            .collect();
        for (correlation, task) in overdue {
            self.clients[number].waits.remove(&correlation);
            self.wait(number, task);
        }
        if !self.faulty() {
            self.resume_all(number);
            return;
        }
        if self.rng.chance(self.faults.fleet_action) {
            self.act(number);
        }
        if self.rng.chance(450) && self.submitted < self.faults.tasks {
            self.submitted += 1;
            let request = self.new_request();
            self.submit(number, request);
        }
        if self.rng.chance(60) {
            self.inbox_rows += 1;
            let row = self.inbox_rows;
            let request = TaskRequest { context: row_context(row), ..self.new_request() };
            self.inbox.insert(row, request);
        }
        let tasks = self.clients[number].tasks.len();
        if tasks > 0 && self.rng.chance(150) {
            let place = tasks - 1 - self.rng.place(tasks.min(6));
            let task = self.clients[number].tasks[place];
            self.ask(number, task);
        }
    }

    fn new_request(&mut self) -> TaskRequest {
        let place = self.rng.place(self.templates.len());
        let template = self.templates[place].template.clone();
        let bypass = self.rng.chance(150);
        let bypass_steps =
            template.steps.iter().filter(|step| bypass && step.skippable).map(|step| step.name.to_string()).collect();
        // Few keys, so that the same one is used again, also after its task has ended.
        let key = self.rng.chance(800).then(|| self.rng.below(self.faults.keys).to_string().into());
        let run_at = self.rng.chance(100).then(|| {
            let at = self.now + self.rng.within(100, 8_000);
            Wall(START_WALL_MS + i64::try_from(at).expect("a short run"))
        });
        let unstorable = self.rng.chance(self.faults.unstorable);
        TaskRequest {
            namespace: template.key.namespace.to_string(),
            name: template.key.name.to_string(),
            context: if unstorable { Bytes::from_static(UNSTORABLE.as_bytes()) } else { Bytes::from_static(b"{}") },
            idempotency_key: key,
            priority: i32::try_from(self.rng.below(3)).expect("a small number"),
            bypass_steps,
            run_at,
            ..TaskRequest::default()
        }
    }

    fn submit(&mut self, number: usize, request: TaskRequest) {
        let party = Party::Client(number);
        let origin = self.origin(party);
        let pending = Pending { request: request.clone(), correlation: origin.correlation, sent_at: self.now };
        self.clients[number].pending.push(pending);
        self.tell_broker(party, Event::TasksSubmitted { origin, requests: vec![Ok(request)] });
    }

    fn wait(&mut self, number: usize, task: TaskId) {
        let party = Party::Client(number);
        let origin = self.origin(party);
        let timeout_ms = self.rng.within(100, 6_000);
        let overdue = self.now + timeout_ms + 4_000;
        self.clients[number].waits.insert(origin.correlation, (task, overdue));
        self.tell_broker(party, Event::WaitAsked { origin, task, timeout_ms });
    }

    /// One of the things that clients and operators do to a task.
    fn ask(&mut self, number: usize, task: TaskId) {
        let party = Party::Client(number);
        let step = format!("s{}", self.rng.below(6));
        let kind = match self.rng.below(10) {
            0..4 => return self.wait(number, task),
            4 => {
                let origin = self.origin(party);
                return self.tell_broker(party, Event::TaskTried { origin, task });
            }
            5 | 6 => OperationKind::Cancel,
            7 | 8 => OperationKind::Retry { steps: Vec::new() },
            _ => OperationKind::Resolve { step, result: Bytes::from_static(b"0") },
        };
        let origin = self.origin(party);
        let operation = Operation { task, kind, actor: "ada".into(), reason: "a test".into() };
        self.tell_broker(party, Event::OperationAsked { origin, operation });
    }

    /// What operators do to namespaces and workers, and what they ask before.
    fn act(&mut self, number: usize) {
        let namespace = NAMESPACES[self.rng.place(NAMESPACES.len())];
        let (kind, subject) = match self.rng.below(10) {
            0..4 => (FleetActionKind::PauseNamespace, namespace.to_owned()),
            4..8 => (FleetActionKind::ResumeNamespace, namespace.to_owned()),
            _ => (FleetActionKind::DrainWorker, format!("w{}", self.rng.place(self.workers.len()))),
        };
        self.tell_fleet(number, kind, &subject);
        let party = Party::Client(number);
        if let Some(&task) = self.clients[number].tasks.last() {
            let origin = self.origin(party);
            let query = ExplanationQuery { task, step: None, store_away: false };
            self.tell_broker(party, Event::ExplanationAsked { origin, query });
        }
    }

    /// Whatever was paused goes on: until the store knows, since the broker may be away.
    fn resume_all(&mut self, number: usize) {
        let paused: Vec<String> = self.store.pauses.keys().map(ToString::to_string).collect();
        for namespace in paused {
            self.tell_fleet(number, FleetActionKind::ResumeNamespace, &namespace);
        }
    }

    fn tell_fleet(&mut self, number: usize, kind: FleetActionKind, subject: &str) {
        let party = Party::Client(number);
        let origin = self.origin(party);
        let action = FleetAction { kind, subject: subject.into(), actor: "ada".into(), reason: "a test".into() };
        self.tell_broker(party, Event::FleetActionAsked { origin, action });
    }

    pub fn client_hears(&mut self, number: usize, message: Message) {
        match message {
            Message::Reply(correlation, Reply::TasksInitialized(rows)) => {
                let Some(request) = self.answered(number, correlation) else { return };
                for row in rows {
                    match row {
                        Ok(task) => self.acknowledged(number, &request, task.task),
                        Err(refusal) => self.refused(number, request.clone(), refusal.kind),
                    }
                }
            }
            Message::Reply(correlation, Reply::Refused(refusal)) => {
                self.clients[number].waits.remove(&correlation);
                if let Some(request) = self.answered(number, correlation) {
                    self.refused(number, request, refusal.kind);
                }
            }
            Message::Reply(correlation, Reply::Waited { finished, task }) => {
                assert_eq!(finished, task.state.is_final(), "a wait that ends early says so");
                let waited = self.clients[number].waits.remove(&correlation);
                assert!(waited.is_none_or(|(known, _)| known == task.id), "a wait is answered with another task");
            }
            Message::Stored(correlation, task, state) => {
                if let Some((known, _)) = self.clients[number].waits.remove(&correlation) {
                    assert_eq!(known, task);
                    let reopened = self.checks.reopened.contains(&task);
                    assert!(state.is_some_and(TaskState::is_final) || reopened, "{task} of a wait is {state:?}");
                }
            }
            Message::Reply(..) | Message::Worker(_) => {}
        }
    }

    fn answered(&mut self, number: usize, correlation: Uuid) -> Option<TaskRequest> {
        let pending = &mut self.clients[number].pending;
        let place = pending.iter().position(|pending| pending.correlation == correlation)?;
        Some(pending.remove(place).request)
    }

    fn acknowledged(&mut self, number: usize, request: &TaskRequest, task: TaskId) {
        self.clients[number].tasks.push(task);
        self.checks.accepted.insert(task);
        if let Some(key) = &request.idempotency_key {
            let known = self.checks.by_key.insert((request.name.clone(), key.to_string()), task);
            assert!(known.is_none_or(|known| known == task), "key {key} names {known:?} and {task:?}");
        }
    }

    fn refused(&mut self, number: usize, request: TaskRequest, kind: RefusalKind) {
        match kind {
            // Nothing was done; the next tick asks again.
            RefusalKind::Overloaded | RefusalKind::Unavailable if request.idempotency_key.is_some() => {
                let pending = Pending { request, correlation: Uuid::nil(), sent_at: self.now };
                self.clients[number].pending.push(pending);
            }
            _ => {}
        }
    }

    /// Looks into the inbox once a second, as the server does.
    pub fn poll_inbox(&mut self) {
        let process = self.active;
        if !self.brokers[process].up || self.brokers[process].paused_until > self.now {
            return;
        }
        let rows: Vec<_> = self
            .inbox
            .iter()
            .filter(|(row, _)| !self.inbox_handed.contains(row) && !self.store.inbox_taken.contains(row))
            .map(|(&row, request)| (row, Ok(request.clone())))
            .collect();
        if rows.is_empty() {
            return;
        }
        self.inbox_handed.extend(rows.iter().map(|(row, _)| *row));
        self.arrived(process, Event::InboxTaken { rows });
    }
}

/// The context by which the task of an inbox row is known.
pub(crate) fn row_context(row: i64) -> Bytes {
    Bytes::from(format!("{{\"row\":{row}}}"))
}
