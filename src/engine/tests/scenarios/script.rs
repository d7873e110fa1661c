//! `check`: a scenario as text. A line is an action (several joined by ` + ` share a group); a line that starts with `->`
//! is what it must cause, in order, with everything that is routine left out: accepted results, heartbeat replies,
//! accepted tasks and registrations.

use std::collections::HashMap;

use bytes::Bytes;
use tasker_engine::*;
use uuid::Uuid;

use crate::world::{World, template};

/// Plays a scenario and compares what happened with what is written.
pub fn check(scenario: &str) {
    check_with(Config::default(), scenario);
}

/// The same with other settings.
pub fn check_with(config: Config, scenario: &str) {
    let mut stage = Stage::new(config);
    let written: Vec<&str> = scenario.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut happened: Vec<String> = Vec::new();
    for line in written.iter().filter(|line| !line.starts_with("->")) {
        happened.push((*line).to_owned());
        happened.extend(stage.act(line).into_iter().map(|effect| format!("-> {effect}")));
    }
    assert!(happened == written, "written:\n{}\n\nhappened:\n{}\n", written.join("\n"), happened.join("\n"));
}

pub struct Held {
    pub at: StepReference,
    pub reported: Option<CompletionStatus>,
}

pub struct Peer {
    pub id: PeerId,
    pub registration: Option<RegistrationId>,
    introduction: WorkerIntroduction,
    pub held: Vec<Held>,
}

/// A world whose inhabitants have names.
pub struct Stage {
    pub world: World,
    pub peers: HashMap<String, Peer>,
    pub tasks: HashMap<String, TaskId>,
    pub batches: Vec<BatchId>,
    next_peer: u64,
    incarnations: u64,
    /// Names for the tasks that the next reply brings.
    pub submitted: Vec<String>,
    hold_reads: bool,
    pub origins: HashMap<Uuid, String>,
}

impl Stage {
    pub fn new(config: Config) -> Stage {
        Stage {
            world: World::new(config),
            peers: HashMap::new(),
            tasks: HashMap::new(),
            batches: Vec::new(),
            next_peer: 100,
            incarnations: 0,
            submitted: Vec::new(),
            hold_reads: false,
            origins: HashMap::new(),
        }
    }

    /// Plays a line and says what followed.
    pub fn act(&mut self, line: &str) -> Vec<String> {
        let mut said = Vec::new();
        let lost = line.strip_prefix("lost: ");
        let refused = line.strip_prefix("refused: ");
        for action in lost.or(refused).unwrap_or(line).split(" + ") {
            self.action(action, &mut said);
        }
        if lost.is_some() {
            self.world.crash();
            self.submitted.clear();
        }
        if refused.is_some() {
            for released in self.world.refuse() {
                self.tell(released, &mut said);
            }
        }
        loop {
            let released = self.world.commit();
            self.tell(released, &mut said);
            if self.hold_reads || self.world.reads.is_empty() {
                return said;
            }
            for read in self.world.answer_reads() {
                let line = match read {
                    Read::Status { query, .. } => format!("the store shows {}", self.task_name(query.task)),
                    Read::Explanation { live: Some(explanation), .. } => {
                        said.extend(self.explained(&explanation));
                        "the store adds the last errors".to_owned()
                    }
                    Read::Explanation { query, .. } => format!("the store explains {}", self.task_name(query.task)),
                    Read::Waited { task, .. } => format!("the store tells the end of {}", self.task_name(task)),
                    Read::Tried { task, .. } => format!("the store says why {} is not tried", self.task_name(task)),
                    Read::IdempotencyKeys { .. } | Read::Task { .. } | Read::EndedTasks { .. } => {
                        unreachable!("the world answers these")
                    }
                };
                said.push(line);
            }
        }
    }

    fn action(&mut self, action: &str, said: &mut Vec<String>) {
        if let Some((name, steps)) = action.strip_prefix("template ").and_then(|rest| rest.split_once(": ")) {
            let origin = self.origin("client", PeerId(1));
            return self.world.handle(Event::TemplateSubmitted { origin, template: template(name, steps) });
        }
        let words: Vec<&str> = action.split_whitespace().collect();
        match words[..] {
            ["pass", ms] => self.world.pass(ms.parse().expect("milliseconds")),
            ["stall", ms] => self.world.stall(ms.parse().expect("milliseconds")),
            ["crash"] => self.world.crash(),
            ["drain"] => self.world.engine.drain(),
            ["awaited?"] => {
                let awaited = if self.world.engine.awaits_reports() { "reports are" } else { "nothing is" };
                said.push(format!("{awaited} awaited"));
            }
            ["hold"] => self.hold_reads = true,
            ["answer"] => {
                self.hold_reads = false;
                self.world.answer_reads();
            }
            ["show", task] => said.push(self.show(task)),
            ["submit", name, template, ref options @ ..] => {
                let request = self.request(template, options);
                self.submitted.push(name.to_owned());
                let origin = self.origin("client", PeerId(1));
                self.world.handle(Event::TasksSubmitted { origin, requests: vec![Ok(request)] });
            }
            ["inbox", row, template, ref options @ ..] => {
                let request = self.request(template, options);
                self.world.handle(Event::InboxTaken { rows: vec![(row.parse().expect("a number"), Ok(request))] });
            }
            ["try", task] => {
                let (origin, task) = (self.origin("client", PeerId(1)), self.task(task));
                self.world.handle(Event::TaskTried { origin, task });
            }
            ["await", task, ms] => {
                let (origin, task) = (self.origin("client", PeerId(1)), self.task(task));
                let timeout_ms = ms.parse().expect("milliseconds");
                self.world.handle(Event::WaitAsked { origin, task, timeout_ms });
            }
            ["pause", namespace] => self.fleet_action(FleetActionKind::PauseNamespace, namespace),
            ["resume", namespace] => self.fleet_action(FleetActionKind::ResumeNamespace, namespace),
            ["dismiss", worker] => self.fleet_action(FleetActionKind::DrainWorker, worker),
            ["namespaces?"] => {
                let reports = self.world.namespaces();
                said.extend(reports.iter().map(|report| {
                    let state = report
                        .pause
                        .as_ref()
                        .map_or("active".to_owned(), |pause| format!("paused by {}: {}", pause.actor, pause.reason));
                    let (ready, running, waiting) =
                        (report.steps_ready, report.steps_in_progress, report.steps_waiting);
                    format!(
                        "{} is {state}; {} tasks, steps {ready} {running} {waiting}, {} workers, {} templates",
                        report.name, report.tasks, report.workers, report.templates
                    )
                }));
            }
            ["why", target, ref away @ ..] => {
                let (task, step) = target.split_once('.').map_or((target, None), |(task, step)| (task, Some(step)));
                let (task, step) = (self.task(task), step.map(str::to_owned));
                let query = ExplanationQuery { task, step, store_away: !away.is_empty() };
                let origin = self.origin("client", PeerId(1));
                self.world.handle(Event::ExplanationAsked { origin, query });
            }
            ["cancel", task] => self.operation(task, OperationKind::Cancel),
            ["retry", task, ref steps @ ..] => {
                let steps = steps.iter().map(|&step| step.to_owned()).collect();
                self.operation(task, OperationKind::Retry { steps });
            }
            ["resolve", target, ref value @ ..] => {
                let (task, step) = target.split_once('.').expect("task.step");
                let result = Bytes::copy_from_slice(value.first().unwrap_or(&"0").as_bytes());
                self.operation(task, OperationKind::Resolve { step: step.to_owned(), result });
            }
            [worker, verb, ref rest @ ..] => self.worker_action(worker, verb, rest),
            _ => panic!("no action {action:?}"),
        }
    }

    fn request(&self, template: &str, options: &[&str]) -> TaskRequest {
        let (name, version) = match template.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (template, None),
        };
        let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
        let mut request = TaskRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version,
            context: Bytes::from_static(b"{}"),
            ..TaskRequest::default()
        };
        for option in options {
            match option.split_once('=').expect("option=value") {
                ("key", key) => request.idempotency_key = Some(key.into()),
                ("priority", priority) => request.priority = priority.parse().expect("a number"),
                ("bypass", steps) => request.bypass_steps = steps.split(',').map(str::to_owned).collect(),
                ("in", ms) => {
                    request.run_at = Some(Wall(self.world.now.wall.0 + ms.parse::<i64>().expect("milliseconds")));
                }
                other => panic!("no request option {other:?}"),
            }
        }
        request
    }

    fn fleet_action(&mut self, kind: FleetActionKind, subject: &str) {
        let origin = self.origin("client", PeerId(1));
        let action = FleetAction { kind, subject: subject.into(), actor: "ada".into(), reason: "a test".into() };
        self.world.handle(Event::FleetActionAsked { origin, action });
    }

    fn operation(&mut self, task: &str, kind: OperationKind) {
        let origin = self.origin("client", PeerId(1));
        let operation = Operation { task: self.task(task), kind, actor: "ada".into(), reason: "a test".into() };
        self.world.handle(Event::OperationAsked { origin, operation });
    }

    fn worker_action(&mut self, name: &str, verb: &str, rest: &[&str]) {
        if let "registers" | "restarts" | "reconnects" = verb {
            return self.register(name, verb, rest);
        }
        let peer = self.peers.get(name).unwrap_or_else(|| panic!("no worker {name} to {verb}"));
        let (id, registration) = (peer.id, peer.registration.unwrap_or(RegistrationId(Uuid::nil())));
        let origin = self.origin(name, id);
        let event = match (verb, rest) {
            ("done", targets) => {
                let results = targets.iter().map(|target| self.outcome(name, target)).collect();
                Event::ResultsReported { origin, results }
            }
            ("fails", [target, options @ ..]) => {
                let mut failure =
                    Failure { class: "E".into(), message: "m".into(), retryable: true, ..Failure::default() };
                for option in options {
                    match option.split_once('=').unwrap_or((option, "")) {
                        ("permanent", "") => failure.retryable = false,
                        ("after", text) => failure.retry_after = Some(text.to_owned()),
                        other => panic!("no failure option {other:?}"),
                    }
                }
                let report = self.report(name, target, Outcome::Failed(Box::new(failure)));
                Event::ResultsReported { origin, results: vec![report] }
            }
            ("returns", targets) => {
                let steps = targets.iter().map(|target| self.hold(name, target, CompletionStatus::Returned)).collect();
                Event::StepsReturned { origin, steps, reason: "draining".into() }
            }
            ("says", [target, progress]) => {
                let progress = Bytes::copy_from_slice(progress.as_bytes());
                Event::StepProgressed { peer: id, at: self.reference_of(name, target), progress }
            }
            ("closes", [batch, lines @ ..]) => {
                let batch = self.batch(batch);
                Event::BatchReported { origin, batch, steps: self.completion(name, batch, lines) }
            }
            ("beats", count) => {
                let unreported = self.peers[name].held.iter().filter(|held| held.reported.is_none()).count();
                let in_flight = count.first().map_or(unreported as u32, |count| count.parse().expect("a number"));
                Event::WorkerBeat { origin, registration, beat: Beat { free_slots: 0, in_flight } }
            }
            ("drains", []) => Event::WorkerLeft { origin, registration, drain: true, reason: "deploy".into() },
            ("leaves", []) => Event::WorkerLeft { origin, registration, drain: false, reason: "deploy".into() },
            ("unreachable", []) => Event::PeerUnreachable { peer: id },
            _ => panic!("no worker action {verb:?} {rest:?}"),
        };
        self.world.handle(event);
    }

    fn register(&mut self, name: &str, verb: &str, rest: &[&str]) {
        self.next_peer += 1;
        let id = PeerId(self.next_peer);
        if verb != "reconnects" {
            self.incarnations += 1;
        }
        let peer = self.peers.entry(name.to_owned()).or_insert_with(|| Peer {
            id,
            registration: None,
            introduction: WorkerIntroduction {
                name: name.into(),
                incarnation: Uuid::nil(),
                capabilities: vec![Capability::Namespace("shop".into())],
                templates: Vec::new(),
                concurrency: 1,
                host: "host".into(),
                pid: 1,
                language: "ruby".into(),
                library: "tasker_core".into(),
                key: None,
                open_batches: Vec::new(),
                unacknowledged: Vec::new(),
            },
            held: Vec::new(),
        });
        peer.id = id;
        if verb != "reconnects" {
            peer.introduction.incarnation = Uuid::from_u128(self.incarnations.into());
            peer.held.clear();
        }
        let mut open: Vec<BatchId> = peer.held.iter().map(|held| held.at.batch).collect();
        open.dedup();
        let mut introduction = peer.introduction.clone();
        for option in rest {
            match option.split_once('=').unwrap_or(("slots", option)) {
                ("slots", slots) => introduction.concurrency = slots.parse().expect("a number"),
                ("serves", list) => introduction.capabilities = list.split(',').map(capability).collect(),
                ("on", other) => {
                    let id = PeerId(other.parse().expect("a number"));
                    for (_, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.id == id) {
                        peer.id = PeerId(0);
                    }
                    self.peers.get_mut(name).expect("just added").id = id;
                }
                ("open", list) => {
                    open = list.split(',').filter(|name| *name != "none").map(|name| self.batch(name)).collect();
                }
                ("key", name) => introduction.key = Some(name.into()),
                ("brings", name) => introduction.templates.push(template(name, "a b(a)")),
                ("unsent", list) => {
                    introduction.unacknowledged = list.split(',').map(|target| self.outcome(name, target)).collect();
                }
                other => panic!("no registration option {other:?}"),
            }
        }
        introduction.open_batches = open;
        let peer = self.peers.get_mut(name).expect("just added");
        peer.introduction =
            WorkerIntroduction { templates: Vec::new(), unacknowledged: Vec::new(), ..introduction.clone() };
        let id = peer.id;
        let origin = self.origin(name, id);
        self.world.handle(Event::WorkerRegistered { origin, worker: introduction });
    }

    /// The reference that a text means to a worker that does not end the step with it.
    fn reference_of(&mut self, worker: &str, target: &str) -> StepReference {
        let before: Vec<_> = self.peers[worker].held.iter().map(|held| held.reported).collect();
        let at = self.hold(worker, target, CompletionStatus::Complete);
        let held = &mut self.peers.get_mut(worker).expect("a known worker").held;
        held.iter_mut().zip(before).for_each(|(held, reported)| held.reported = reported);
        at
    }

    /// The reference that `T.a`, `T.a/2` or `T.a/2@B1` means to a worker: the last such step it was given.
    fn hold(&mut self, worker: &str, target: &str, status: CompletionStatus) -> StepReference {
        let (target, batch) = match target.split_once('@') {
            Some((target, batch)) => (target, Some(self.batch(batch))),
            None => (target, None),
        };
        let (target, attempt) = match target.split_once('/') {
            Some((target, attempt)) => (target, Some(attempt.parse::<u32>().expect("a number"))),
            None => (target, None),
        };
        let (task, step) = target.split_once('.').expect("task.step");
        let task = self.task(task);
        let peer = self.peers.get_mut(worker).expect("a known worker");
        let known = peer.held.iter_mut().rev().find(|held| {
            held.at.task == task
                && *held.at.step == *step
                && attempt.is_none_or(|attempt| held.at.attempt == attempt)
                && batch.is_none_or(|batch| held.at.batch == batch)
        });
        match known {
            Some(held) => {
                held.reported = Some(status);
                held.at.clone()
            }
            None => StepReference {
                batch: batch.unwrap_or(BatchId(Uuid::from_u128(1))),
                task,
                step: step.into(),
                attempt: attempt.unwrap_or_else(|| panic!("{worker} has never had {target}")),
            },
        }
    }

    fn outcome(&mut self, worker: &str, target: &str) -> StepReport {
        let (target, value) = target.split_once('=').unwrap_or((target, "1"));
        self.report(worker, target, Outcome::Complete(Bytes::copy_from_slice(value.as_bytes())))
    }

    fn report(&mut self, worker: &str, target: &str, outcome: Outcome) -> StepReport {
        let status = match outcome {
            Outcome::Complete(_) => CompletionStatus::Complete,
            Outcome::Failed(_) => CompletionStatus::Failed,
        };
        let at = self.hold(worker, target, status);
        let metadata = None;
        StepReport { at, outcome, started_at_us: 0, duration_us: 0, metadata, events: Vec::new(), refused: false }
    }

    /// What a worker says of a batch: what it has reported, unless the line says otherwise.
    fn completion(&self, worker: &str, batch: BatchId, lines: &[&str]) -> Vec<CompletedStep> {
        let said: HashMap<&str, &str> = lines.iter().map(|line| line.split_once('=').expect("T.a=status")).collect();
        let mut steps = Vec::new();
        for held in self.peers[worker].held.iter().filter(|held| held.at.batch == batch) {
            let name = format!("{}.{}", self.task_name(held.at.task), held.at.step);
            let status = match said.get(&*name) {
                Some(&"absent") => continue,
                Some(&"complete") => CompletionStatus::Complete,
                Some(&"error") => CompletionStatus::Failed,
                Some(&"returned") => CompletionStatus::Returned,
                Some(other) => panic!("no status {other}"),
                None => held.reported.unwrap_or(CompletionStatus::Complete),
            };
            let at = held.at.clone();
            steps.push(CompletedStep { task: at.task, step: at.step, attempt: at.attempt, status });
        }
        steps
    }

    fn origin(&mut self, who: &str, peer: PeerId) -> Origin {
        let origin = self.world.origin(peer);
        self.origins.insert(origin.correlation, who.to_owned());
        origin
    }

    pub fn task(&self, name: &str) -> TaskId {
        self.tasks.get(name).copied().unwrap_or(TaskId(Uuid::from_u128(2)))
    }

    fn batch(&self, name: &str) -> BatchId {
        let number: usize = name.strip_prefix('B').and_then(|number| number.parse().ok()).expect("B1, B2, ...");
        self.batches.get(number - 1).copied().unwrap_or(BatchId(Uuid::from_u128(3)))
    }
}

fn capability(text: &str) -> Capability {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    match (name, version) {
        ("*", None) => Capability::Namespace(namespace.into()),
        (name, None) => Capability::AnyVersion(namespace.into(), name.into()),
        (name, Some(version)) => {
            Capability::Exact(TemplateKey { namespace: namespace.into(), name: name.into(), version: version.into() })
        }
    }
}
