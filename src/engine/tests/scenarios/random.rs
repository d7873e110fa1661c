//! Random runs: templates, requests, operators, and workers that come, die, lie, repeat themselves and lose messages; groups
//! that are lost with their process. The store checks each group (see `store`), the world compares after each commit;
//! here is checked that honest workers are never given too much, and that everything ends when the faults stop.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use proptest::prelude::*;
use tasker_engine::*;
use uuid::Uuid;

use crate::world::{Released, World, template};

const WORKERS: usize = 4;

#[derive(Clone, Debug)]
enum Op {
    Submit { template: usize, key: Option<u8>, priority: i8, bypass: bool, in_ms: u16 },
    Register { worker: usize, slots: u32, fresh: bool, serves_all: bool },
    Report { worker: usize, pick: usize, outcome: u8 },
    Repeat { worker: usize, pick: usize, outcome: u8 },
    Lie { worker: usize, pick: usize, attempt: u32, outcome: u8 },
    Return { worker: usize, pick: usize },
    Close { worker: usize, pick: usize, status: u8 },
    Beat { worker: usize, in_flight: Option<u8> },
    Leave { worker: usize, drain: bool },
    Die { worker: usize },
    Unreachable { worker: usize },
    LoseMessages { worker: usize },
    Operate { task: usize, step: usize, kind: u8 },
    Try { task: usize },
    Wait { task: usize, ms: u16 },
    Pass { ms: u32 },
    Commit,
    AnswerReads,
    Refuse,
    Crash,
}

fn ops() -> impl Strategy<Value = Op> {
    let worker = 0..WORKERS;
    let pick = 0..64_usize;
    prop_oneof![
        8 => (pick.clone(), prop::option::of(0..4_u8), -1..2_i8, prop::bool::weighted(0.2), prop_oneof![4 => Just(0_u16), 1 => any::<u16>()])
            .prop_map(|(template, key, priority, bypass, in_ms)| Op::Submit { template, key, priority, bypass, in_ms }),
        6 => (worker.clone(), 1..5_u32, prop::bool::weighted(0.2), prop::bool::weighted(0.8))
            .prop_map(|(worker, slots, fresh, serves_all)| Op::Register { worker, slots, fresh, serves_all }),
        24 => (worker.clone(), pick.clone(), any::<u8>()).prop_map(|(worker, pick, outcome)| Op::Report { worker, pick, outcome }),
        3 => (worker.clone(), pick.clone(), any::<u8>()).prop_map(|(worker, pick, outcome)| Op::Repeat { worker, pick, outcome }),
        2 => (worker.clone(), pick.clone(), 0..4_u32, any::<u8>())
            .prop_map(|(worker, pick, attempt, outcome)| Op::Lie { worker, pick, attempt, outcome }),
        3 => (worker.clone(), pick.clone()).prop_map(|(worker, pick)| Op::Return { worker, pick }),
        6 => (worker.clone(), pick.clone(), any::<u8>()).prop_map(|(worker, pick, status)| Op::Close { worker, pick, status }),
        3 => (worker.clone(), prop::option::weighted(0.2, 0..4_u8)).prop_map(|(worker, in_flight)| Op::Beat { worker, in_flight }),
        1 => (worker.clone(), any::<bool>()).prop_map(|(worker, drain)| Op::Leave { worker, drain }),
        1 => worker.clone().prop_map(|worker| Op::Die { worker }),
        1 => worker.clone().prop_map(|worker| Op::Unreachable { worker }),
        1 => worker.prop_map(|worker| Op::LoseMessages { worker }),
        4 => (pick.clone(), 0..8_usize, any::<u8>()).prop_map(|(task, step, kind)| Op::Operate { task, step, kind }),
        1 => pick.clone().prop_map(|task| Op::Try { task }),
        2 => (pick, any::<u16>()).prop_map(|(task, ms)| Op::Wait { task, ms }),
        6 => prop_oneof![4 => 1..3_000_u32, 1 => 3_000..40_000_u32].prop_map(|ms| Op::Pass { ms }),
        12 => Just(Op::Commit),
        4 => Just(Op::AnswerReads),
        2 => Just(Op::Refuse),
        2 => Just(Op::Crash),
    ]
}

/// Text of a template with up to seven steps, each below any of those before it.
fn shapes() -> impl Strategy<Value = String> {
    let options = prop_oneof![
        4 => Just(""),
        1 => Just("[limit=1]"),
        1 => Just("[once]"),
        2 => Just("[skippable]"),
        1 => Just("[timeout=700]"),
        1 => Just("[timeout=5000,limit=2]"),
    ];
    prop::collection::vec((options, any::<u8>()), 1..8).prop_map(|steps| {
        let step = |(number, (options, parents)): (usize, (&str, u8))| {
            let parents: Vec<String> =
                (0..number).filter(|parent| parents & (1 << parent) != 0).map(|parent| format!("s{parent}")).collect();
            format!("s{number}{options}({}) ", parents.join(","))
        };
        steps.into_iter().enumerate().map(step).collect()
    })
}

#[derive(Default)]
struct Peer {
    id: u64,
    slots: u32,
    incarnation: u128,
    serves_all: bool,
    registration: Option<RegistrationId>,
    /// From sending its registration until it holds the reply, a worker drops batches.
    registering: bool,
    must_register: bool,
    alive: bool,
    loses_messages: bool,
    /// False once it has said what was not so: its slots are then not what the engine must think.
    honest: bool,
    batches: BTreeMap<BatchId, Vec<(StepReference, Option<CompletionStatus>)>>,
    unacknowledged: Vec<StepReport>,
}

impl Peer {
    fn running(&self) -> Vec<StepReference> {
        self.batches.values().flatten().filter(|(_, ended)| ended.is_none()).map(|(at, _)| at.clone()).collect()
    }

    fn end(&mut self, at: &StepReference, status: CompletionStatus) {
        let step = self.batches.get_mut(&at.batch).and_then(|steps| steps.iter_mut().find(|(known, _)| known == at));
        if let Some((_, ended)) = step {
            *ended = Some(status);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Asked {
    Worker(usize),
    Wait,
    /// A wait over whose end the database may have refused a group: its answer may have been lost with that.
    ForgottenWait,
}

struct Run {
    world: World,
    templates: Vec<TemplateKey>,
    peers: Vec<Peer>,
    asked: BTreeMap<Uuid, Asked>,
    tasks: Vec<TaskId>,
    accepted: HashSet<TaskId>,
    /// Everything that was ever dispatched, to lie with.
    seen: Vec<StepReference>,
    next: u64,
}

fn outcome(kind: u8) -> (Outcome, CompletionStatus) {
    let failure = |retryable, after: Option<&str>| {
        Outcome::Failed(Box::new(Failure { retryable, retry_after: after.map(str::to_owned), ..Failure::default() }))
    };
    match kind {
        0..=170 => (Outcome::Complete(Bytes::from(format!("{}", kind % 3))), CompletionStatus::Complete),
        171..=210 => (failure(true, None), CompletionStatus::Failed),
        211..=230 => (failure(true, Some("1.5")), CompletionStatus::Failed),
        231..=255 => (failure(false, None), CompletionStatus::Failed),
    }
}

impl Run {
    fn new(shapes: &[String]) -> Run {
        let config = Config {
            heartbeat_ms: 1_000,
            worker_timeout_ms: 10_000,
            recovery_grace_ms: 5_000,
            batch_steps_max: 3,
            steps_max: 60,
            waiters_max: 3,
            poison_limit: 2,
            ..Config::default()
        };
        let mut run = Run {
            world: World::new(config),
            templates: Vec::new(),
            peers: (0..WORKERS).map(|_| Peer::default()).collect(),
            asked: BTreeMap::new(),
            tasks: Vec::new(),
            accepted: HashSet::new(),
            seen: Vec::new(),
            next: 10,
        };
        for (number, shape) in shapes.iter().enumerate() {
            let template = template(&format!("t{number}"), shape);
            run.templates.push(template.template.key.clone());
            let origin = run.world.origin(PeerId(1));
            run.world.handle(Event::TemplateSubmitted { origin, template });
        }
        run.commit();
        run
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn commit(&mut self) {
        let released = self.world.commit();
        self.deliver(released);
    }

    fn answer_reads(&mut self) {
        for read in self.world.answer_reads() {
            if let Read::Waited { to, .. } = read {
                let asked = self.asked.remove(&to.correlation);
                assert!(matches!(asked, Some(Asked::Wait | Asked::ForgottenWait)), "a wait is answered once");
            }
        }
    }

    fn deliver(&mut self, released: Released) {
        for delivery in released.deliveries {
            match delivery {
                Deliver::Publish(_) | Deliver::Read(_) | Deliver::InboxLater { .. } => {}
                Deliver::Worker { peer, message } => {
                    let known = self.peers.iter().position(|known| known.id == peer.0 && known.alive);
                    if let Some(worker) = known
                        && !self.peers[worker].loses_messages
                    {
                        self.tell_worker(worker, message);
                    }
                }
                Deliver::Reply { to, reply } => match self.asked.get(&to.correlation).copied() {
                    Some(Asked::Worker(worker)) => {
                        let peer = &self.peers[worker];
                        if peer.id == to.peer.0 && peer.alive && !peer.loses_messages {
                            self.answer_worker(worker, reply);
                        }
                    }
                    Some(Asked::Wait | Asked::ForgottenWait) => {
                        if let Reply::Waited { finished, task } = reply {
                            assert_eq!(finished, task.state.is_final());
                            self.asked.remove(&to.correlation);
                        } else {
                            assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
                            self.asked.remove(&to.correlation);
                        }
                    }
                    None => {
                        if let Reply::TasksInitialized(rows) = reply {
                            for task in rows.into_iter().flatten() {
                                self.tasks.push(task.task);
                                self.accepted.insert(task.task);
                            }
                        }
                    }
                },
            }
        }
    }

    fn tell_worker(&mut self, worker: usize, message: WorkerMessage) {
        let peer = &mut self.peers[worker];
        match message {
            WorkerMessage::Execute(dispatch) => {
                if peer.registering || peer.registration != Some(dispatch.registration) {
                    return;
                }
                let steps: Vec<StepReference> = dispatch
                    .steps
                    .iter()
                    .map(|step| {
                        let task = &dispatch.tasks[step.task as usize];
                        for parent in task.template.dag.parents(step.step) {
                            assert!(
                                task.results.iter().any(|(known, _)| known == parent),
                                "a parent's result is missing"
                            );
                        }
                        let name = task.template.steps[step.step as usize].name.clone();
                        StepReference { batch: dispatch.batch, task: task.id, step: name, attempt: step.attempt }
                    })
                    .collect();
                self.seen.extend(steps.iter().cloned());
                peer.batches.insert(dispatch.batch, steps.into_iter().map(|at| (at, None)).collect());
                let running = peer.running().len();
                assert!(!peer.honest || running <= peer.slots as usize, "{running} steps for {} slots", peer.slots);
            }
            WorkerMessage::Cancel { steps, timed_out: _ } => {
                for at in steps {
                    peer.end(&at, CompletionStatus::Failed);
                }
            }
            WorkerMessage::Drain { .. } => {}
            WorkerMessage::RegisterAgain { .. } => peer.must_register = true,
        }
    }

    fn answer_worker(&mut self, worker: usize, reply: Reply) {
        let peer = &mut self.peers[worker];
        match reply {
            Reply::WorkerRegistered { registration, closed_batches, .. } => {
                peer.registration = Some(registration);
                peer.registering = false;
                peer.must_register = false;
                peer.batches.retain(|id, _| !closed_batches.contains(id));
            }
            Reply::ResultsAccepted { results, closed_batches } => {
                peer.unacknowledged.retain(|report| !results.iter().any(|(at, _)| *at == report.at));
                peer.batches.retain(|id, _| !closed_batches.contains(id));
            }
            Reply::RegisterAgain { .. } => peer.must_register = true,
            Reply::WorkerUnregistered { .. } => {
                peer.registration = None;
                peer.batches.clear();
                peer.unacknowledged.clear();
            }
            _ => {}
        }
    }

    fn origin(&mut self, worker: usize) -> Origin {
        let origin = self.world.origin(PeerId(self.peers[worker].id));
        self.asked.insert(origin.correlation, Asked::Worker(worker));
        origin
    }

    fn register(&mut self, worker: usize, slots: u32, fresh: bool, serves_all: bool) {
        let (id, incarnation) = (self.number(), self.number());
        let peer = &mut self.peers[worker];
        peer.id = id;
        if fresh || !peer.alive || peer.incarnation == 0 {
            *peer = Peer { id, incarnation: incarnation.into(), alive: true, honest: true, ..Peer::default() };
        }
        // A process with steps in hand does not give up slots.
        peer.slots = if peer.running().is_empty() { slots } else { slots.max(peer.slots) };
        peer.serves_all = serves_all;
        peer.registering = true;
        peer.loses_messages = false;
        let capability = match serves_all {
            true => Capability::Namespace("shop".into()),
            false => Capability::Exact(self.templates[0].clone()),
        };
        let introduction = WorkerIntroduction {
            name: format!("w{worker}").into(),
            incarnation: Uuid::from_u128(peer.incarnation),
            capabilities: vec![capability],
            templates: Vec::new(),
            concurrency: peer.slots,
            host: "host".into(),
            pid: 1,
            language: "ruby".into(),
            library: "tasker_core".into(),
            key: None,
            open_batches: peer.batches.keys().copied().collect(),
            unacknowledged: peer.unacknowledged.clone(),
        };
        let origin = self.origin(worker);
        self.world.handle(Event::WorkerRegistered { origin, worker: introduction });
    }

    fn report(&mut self, worker: usize, at: StepReference, kind: u8) {
        let (outcome, status) = outcome(kind);
        let report = StepReport {
            at: at.clone(),
            outcome,
            started_at_us: 0,
            duration_us: 0,
            metadata: None,
            events: Vec::new(),
            refused: false,
        };
        self.peers[worker].end(&at, status);
        self.peers[worker].unacknowledged.push(report.clone());
        let origin = self.origin(worker);
        self.world.handle(Event::ResultsReported { origin, results: vec![report] });
    }

    fn close(&mut self, worker: usize, batch: BatchId, status: impl Fn(Option<CompletionStatus>) -> CompletionStatus) {
        let steps = self.peers[worker].batches[&batch]
            .iter()
            .map(|(at, ended)| CompletedStep {
                task: at.task,
                step: at.step.clone(),
                attempt: at.attempt,
                status: status(*ended),
            })
            .collect();
        let origin = self.origin(worker);
        self.world.handle(Event::BatchReported { origin, batch, steps });
    }

    /// A worker acts only when it may; before, it registers.
    fn ready(&mut self, worker: usize) -> bool {
        let peer = &self.peers[worker];
        if !peer.alive || peer.registering {
            return false;
        }
        if peer.must_register || peer.registration.is_none() {
            let (slots, serves_all) = (peer.slots.max(1), peer.serves_all);
            self.register(worker, slots, false, serves_all);
            return false;
        }
        true
    }

    fn play(&mut self, op: Op) {
        match op {
            Op::Submit { template, key, priority, bypass, in_ms } => {
                let key_of = self.templates[template % self.templates.len()].clone();
                let source = self.world.store.templates.iter().find(|known| known.template.key == key_of);
                let steps = source.expect("registered at the start").template.steps.clone();
                let skipped = steps.iter().filter(|step| bypass && step.skippable).map(|step| step.name.to_string());
                let request = TaskRequest {
                    namespace: key_of.namespace.to_string(),
                    name: key_of.name.to_string(),
                    context: Bytes::from_static(b"{}"),
                    idempotency_key: key.map(|key| key.to_string().into()),
                    priority: priority.into(),
                    bypass_steps: skipped.collect(),
                    run_at: (in_ms > 0).then(|| Wall(self.world.now.wall.0 + i64::from(in_ms))),
                    ..TaskRequest::default()
                };
                let origin = self.world.origin(PeerId(1));
                self.world.handle(Event::TasksSubmitted { origin, requests: vec![Ok(request)] });
            }
            Op::Register { worker, slots, fresh, serves_all } => self.register(worker, slots, fresh, serves_all),
            Op::Report { worker, pick, outcome } => {
                if self.ready(worker) {
                    let running = self.peers[worker].running();
                    if !running.is_empty() {
                        self.report(worker, running[pick % running.len()].clone(), outcome);
                    }
                }
            }
            Op::Repeat { worker, pick, outcome } => {
                let ended: Vec<StepReference> = self.peers[worker]
                    .batches
                    .values()
                    .flatten()
                    .filter(|(_, ended)| ended.is_some())
                    .map(|(at, _)| at.clone())
                    .collect();
                if !ended.is_empty() && self.ready(worker) {
                    self.report(worker, ended[pick % ended.len()].clone(), outcome);
                }
            }
            Op::Lie { worker, pick, attempt, outcome: kind } => {
                if !self.seen.is_empty() && self.peers[worker].alive {
                    let mut at = self.seen[pick % self.seen.len()].clone();
                    at.attempt = attempt;
                    self.peers[worker].honest = false;
                    let (outcome, _) = outcome(kind);
                    let report = StepReport {
                        at,
                        outcome,
                        started_at_us: 0,
                        duration_us: 0,
                        metadata: None,
                        events: vec![("noted".to_owned(), Bytes::from_static(b"1"))],
                        refused: kind % 2 == 0,
                    };
                    let origin = self.origin(worker);
                    self.world.handle(Event::ResultsReported { origin, results: vec![report] });
                }
            }
            Op::Return { worker, pick } => {
                let running = self.peers[worker].running();
                if !running.is_empty() && self.ready(worker) {
                    let at = running[pick % running.len()].clone();
                    self.peers[worker].end(&at, CompletionStatus::Returned);
                    let origin = self.origin(worker);
                    self.world.handle(Event::StepsReturned { origin, steps: vec![at], reason: "test".into() });
                }
            }
            Op::Close { worker, pick, status } => {
                let batches: Vec<BatchId> = self.peers[worker].batches.keys().copied().collect();
                if !batches.is_empty() && self.ready(worker) {
                    let batch = batches[pick % batches.len()];
                    match status {
                        0..=9 => {
                            self.peers[worker].honest = false;
                            self.close(worker, batch, |_| CompletionStatus::Returned);
                        }
                        10..=19 => {
                            self.peers[worker].honest = false;
                            self.close(worker, batch, |_| CompletionStatus::Complete);
                        }
                        20..=255 => self.close_if_ended(worker, batch),
                    }
                }
            }
            Op::Beat { worker, in_flight } => {
                if self.ready(worker) {
                    self.beat(worker, in_flight);
                }
            }
            Op::Leave { worker, drain } => {
                if self.ready(worker) {
                    let registration = self.peers[worker].registration.expect("it is ready");
                    let origin = self.origin(worker);
                    let reason = String::new();
                    self.world.handle(Event::WorkerLeft { origin, registration, drain, reason });
                }
            }
            Op::Die { worker } => self.peers[worker].alive = false,
            Op::Unreachable { worker } => {
                let peer = PeerId(self.peers[worker].id);
                self.world.handle(Event::PeerUnreachable { peer });
            }
            Op::LoseMessages { worker } => self.peers[worker].loses_messages = true,
            Op::Operate { task, step, kind } => self.operate(task, step, kind),
            Op::Try { task } => {
                if !self.tasks.is_empty() {
                    let origin = self.world.origin(PeerId(1));
                    let task = self.tasks[task % self.tasks.len()];
                    self.world.handle(Event::TaskTried { origin, task });
                }
            }
            Op::Wait { task, ms } => {
                if !self.tasks.is_empty() {
                    let origin = self.world.origin(PeerId(1));
                    self.asked.insert(origin.correlation, Asked::Wait);
                    let task = self.tasks[task % self.tasks.len()];
                    self.world.handle(Event::WaitAsked { origin, task, timeout_ms: ms.into() });
                }
            }
            // The clock is read once for a group.
            Op::Pass { ms } => {
                self.commit();
                self.world.pass(ms.into());
            }
            Op::Commit => self.commit(),
            Op::AnswerReads => {
                self.commit();
                self.answer_reads();
            }
            Op::Refuse => {
                for asked in self.asked.values_mut().filter(|asked| **asked == Asked::Wait) {
                    *asked = Asked::ForgottenWait;
                }
                for released in self.world.refuse() {
                    self.deliver(released);
                }
            }
            Op::Crash => {
                self.world.crash();
                self.asked.clear();
                for peer in &mut self.peers {
                    // Its connection is gone, with what was on the way.
                    peer.registering = false;
                    peer.must_register = true;
                }
            }
        }
    }

    fn operate(&mut self, task: usize, step: usize, kind: u8) {
        if self.tasks.is_empty() {
            return;
        }
        let id = self.tasks[task % self.tasks.len()];
        let name = format!("s{step}");
        let kind = match kind {
            0..=60 => OperationKind::Cancel,
            61..=120 => OperationKind::Retry { steps: Vec::new() },
            121..=150 => OperationKind::Retry { steps: vec![name.clone(), name] },
            151..=255 => OperationKind::Resolve { step: name, result: Bytes::from_static(b"0") },
        };
        let origin = self.world.origin(PeerId(1));
        let operation = Operation { task: id, kind, actor: "ada".into(), reason: "a test".into() };
        self.world.handle(Event::OperationAsked { origin, operation });
    }

    fn beat(&mut self, worker: usize, in_flight: Option<u8>) {
        let registration = self.peers[worker].registration.expect("a ready worker");
        let in_flight = in_flight.map_or(self.peers[worker].running().len() as u32, u32::from);
        let origin = self.origin(worker);
        self.world.handle(Event::WorkerBeat { origin, registration, beat: Beat { free_slots: 0, in_flight } });
    }

    fn close_if_ended(&mut self, worker: usize, batch: BatchId) {
        if self.peers[worker].batches[&batch].iter().all(|(_, ended)| ended.is_some()) {
            self.close(worker, batch, |ended| ended.expect("all have ended"));
        }
    }

    /// The faults stop: who lives works honestly, and a worker that serves everything is among them.
    fn finish(&mut self) {
        self.commit();
        for worker in 0..WORKERS {
            self.peers[worker].loses_messages = false;
        }
        self.register(0, 4, true, true);
        for _ in 0..400 {
            self.commit();
            self.answer_reads();
            self.commit();
            let waits = self.asked.values().any(|asked| *asked == Asked::Wait);
            if self.world.store.live.is_empty() && self.world.store.open.is_empty() && !waits {
                return;
            }
            self.world.pass(500);
            for worker in 0..WORKERS {
                self.peers[worker].registering &= self.peers[worker].id != 0;
                if self.ready(worker) {
                    self.beat(worker, None);
                    for report in self.peers[worker].unacknowledged.clone() {
                        let origin = self.origin(worker);
                        self.world.handle(Event::ResultsReported { origin, results: vec![report] });
                    }
                    for at in self.peers[worker].running() {
                        self.report(worker, at, 0);
                    }
                    let batches: Vec<BatchId> = self.peers[worker].batches.keys().copied().collect();
                    for batch in batches {
                        self.close_if_ended(worker, batch);
                    }
                }
            }
        }
        panic!("after the faults {:?} and {:?} do not end", self.world.store.live, self.world.store.open);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1_000), max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_saves_are_sound_and_everything_ends(
        shapes in prop::collection::vec(shapes(), 1..4),
        ops in prop::collection::vec(ops(), 1..150),
    ) {
        let mut run = Run::new(&shapes);
        for op in ops {
            run.play(op);
        }
        run.finish();
        for id in &run.accepted {
            prop_assert!(run.world.store.tasks[id].state.is_some(), "{id:?} was accepted and has not ended");
        }
        let health = run.world.engine.health();
        prop_assert_eq!((health.tasks, health.steps_unfinished, health.steps_in_progress), (0, 0, 0));
    }
}
