//! Workers that follow PROTOCOL.md's rules, unless they die, hang and wake late, lie, leave, or come back as another
//! process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tasker_engine::{
    BatchId, Beat, Capability, CompletedStep, CompletionStatus, Dispatch, Event, Failure, Origin, Outcome,
    RegistrationId, Reply, StepReference, StepReport, WorkerIntroduction, WorkerMessage,
};
use uuid::Uuid;

use crate::network::{Message, Party};
use crate::run::{Happening, NAMESPACES, Sim};

pub(crate) const HEARTBEAT_MS: u64 = 1_000;
/// Silence after which either side gives the other up.
pub(crate) const WORKER_TIMEOUT_MS: u64 = 6_000;
/// What was not answered for so long is sent again.
const AGAIN_MS: u64 = 2_500;
/// Outcomes without an acknowledgement at which a worker gives back what arrives.
const KEPT_MAX: usize = 12;

#[derive(Debug, Default)]
pub(crate) struct Worker {
    pub incarnation: u128,
    pub alive: bool,
    pub hung_until: u64,
    pub slots: u32,
    serves_all: bool,
    pub registration: Option<RegistrationId>,
    /// The registration that is not answered yet, and when it was sent.
    asked: Option<(Uuid, u64)>,
    must_register: bool,
    batches: BTreeMap<BatchId, Held>,
    /// Every batch that it ever took: a message that comes twice is taken once.
    seen: BTreeSet<BatchId>,
    /// Outcomes that it was not thanked for, and when they were sent last.
    kept: Vec<(StepReport, u64)>,
    heard_at: u64,
    /// False once it has said what was not so: its slots are then not what the broker must think.
    pub honest: bool,
    /// When it asked to leave last.
    draining: Option<u64>,
    /// What arrived while it hung.
    waiting: Vec<Arrival>,
}

#[derive(Debug)]
enum Arrival {
    Message(Message),
    Ended(StepReference),
}

/// A batch as its worker has it.
#[derive(Debug, Default)]
struct Held {
    steps: Vec<(StepReference, Option<CompletionStatus>)>,
    completed_at: Option<u64>,
}

impl Worker {
    fn running(&self) -> usize {
        let steps = self.batches.values().flat_map(|batch| &batch.steps);
        steps.filter(|(_, ended)| ended.is_none()).count()
    }

    /// Notes how a step has ended; `false` when it is not running here.
    fn end(&mut self, at: &StepReference, status: CompletionStatus) -> bool {
        let Some(batch) = self.batches.get_mut(&at.batch) else { return false };
        let Some((_, ended)) = batch.steps.iter_mut().find(|(known, _)| known == at) else { return false };
        if ended.is_some() {
            return false;
        }
        *ended = Some(status);
        true
    }
}

impl Sim {
    /// A new process under the worker's name.
    pub fn start_worker(&mut self, number: usize) {
        self.incarnations += 1;
        let first = number == 0;
        let slots = u32::try_from(self.rng.within(1, 4)).expect("a small number");
        let liar = self.faulty() && self.rng.chance(self.faults.liar);
        let serves_all = first || self.rng.chance(700);
        self.workers[number] = Worker {
            incarnation: self.incarnations,
            alive: true,
            slots,
            serves_all,
            honest: !liar,
            heard_at: self.now,
            ..Worker::default()
        };
        self.net.reset(Party::Worker(number));
        self.note(|| format!("w{number} starts with {slots} slots"));
        self.register(number);
    }

    pub fn kill_worker(&mut self, number: usize) {
        self.note(|| format!("w{number} dies"));
        self.workers[number].alive = false;
    }

    pub fn hang_worker(&mut self, number: usize, for_ms: u64) {
        self.note(|| format!("w{number} hangs for {for_ms} ms"));
        let worker = &mut self.workers[number];
        worker.hung_until = self.now + for_ms;
        let incarnation = worker.incarnation;
        self.queue.at(self.now + for_ms, Happening::WorkerWakes { number, incarnation });
    }

    fn hangs(&self, number: usize) -> bool {
        self.workers[number].hung_until > self.now
    }

    pub fn worker_wakes(&mut self, number: usize, incarnation: u128) {
        let worker = &self.workers[number];
        if !worker.alive || worker.incarnation != incarnation || self.hangs(number) {
            return;
        }
        self.note(|| format!("w{number} wakes"));
        // What it had run goes on where it was: handlers end before it reads what came meanwhile, or after.
        let mut waiting = std::mem::take(&mut self.workers[number].waiting);
        if self.rng.chance(500) {
            waiting.sort_by_key(|arrival| matches!(arrival, Arrival::Message(_)));
        }
        for arrival in waiting {
            match arrival {
                Arrival::Message(message) => self.worker_hears(number, message),
                Arrival::Ended(at) => self.step_ends(number, incarnation, at),
            }
        }
    }

    fn say(&mut self, number: usize, event: impl FnOnce(Origin) -> Event) -> Uuid {
        let party = Party::Worker(number);
        let origin = self.origin(party);
        self.tell_broker(party, event(origin));
        origin.correlation
    }

    fn register(&mut self, number: usize) {
        let worker = &self.workers[number];
        let capabilities = if worker.serves_all {
            NAMESPACES.map(|namespace| Capability::Namespace(namespace.into())).to_vec()
        } else {
            vec![Capability::Exact(self.templates[0].template.key.clone())]
        };
        let introduction = WorkerIntroduction {
            name: format!("w{number}").into(),
            key: None,
            incarnation: Uuid::from_u128(worker.incarnation),
            capabilities,
            templates: Vec::new(),
            concurrency: worker.slots,
            host: "host".into(),
            pid: 1,
            language: "ruby".into(),
            library: "tasker_core".into(),
            open_batches: worker.batches.keys().copied().collect(),
            unacknowledged: worker.kept.iter().map(|(report, _)| report.clone()).collect(),
        };
        let correlation = self.say(number, |origin| Event::WorkerRegistered { origin, worker: introduction });
        let now = self.now;
        let worker = &mut self.workers[number];
        worker.asked = Some((correlation, now));
        worker.must_register = false;
        worker.kept.iter_mut().for_each(|(_, sent_at)| *sent_at = now);
    }

    /// Once a heartbeat: shows that it lives, and sends again what was not answered.
    pub fn worker_ticks(&mut self, number: usize) {
        let worker = &self.workers[number];
        if !worker.alive || self.hangs(number) {
            return;
        }
        let now = self.now;
        if let Some((_, sent_at)) = worker.asked {
            if sent_at + AGAIN_MS < now {
                self.reconnect_perhaps(number);
                self.register(number);
            }
            return;
        }
        let silent = worker.heard_at + WORKER_TIMEOUT_MS < now;
        if worker.must_register || worker.registration.is_none() || silent {
            self.reconnect_perhaps(number);
            self.register(number);
            return;
        }
        self.beat(number);
        self.tell_progress(number);
        if self.faulty() && !self.workers[number].honest {
            self.lie(number);
        }
        self.send_again(number);
    }

    fn reconnect_perhaps(&mut self, number: usize) {
        if self.rng.chance(500) {
            self.net.reset(Party::Worker(number));
        }
    }

    fn beat(&mut self, number: usize) {
        let worker = &self.workers[number];
        let Some(registration) = worker.registration else { return };
        let in_flight = u32::try_from(worker.running()).expect("a small number");
        let beat = Beat { free_slots: worker.slots.saturating_sub(in_flight), in_flight };
        self.say(number, |origin| Event::WorkerBeat { origin, registration, beat });
    }

    /// Says how far the step is that runs longest.
    fn tell_progress(&mut self, number: usize) {
        let steps = self.workers[number].batches.values().flat_map(|batch| &batch.steps);
        let Some(at) = steps.filter(|(_, ended)| ended.is_none()).map(|(at, _)| at.clone()).next() else { return };
        let progress = Bytes::from(self.now.to_string());
        self.say(number, |origin| Event::StepProgressed { peer: origin.peer, at, progress });
    }

    fn send_again(&mut self, number: usize) {
        let now = self.now;
        let worker = &mut self.workers[number];
        let mut results = Vec::new();
        for (report, sent_at) in &mut worker.kept {
            if *sent_at + AGAIN_MS < now {
                *sent_at = now;
                results.push(report.clone());
            }
        }
        let old = |held: &Held| held.completed_at.is_some_and(|at| at + AGAIN_MS < now);
        let batches: Vec<BatchId> = worker.batches.iter().filter(|(_, held)| old(held)).map(|(&id, _)| id).collect();
        let leaves = worker.draining.is_some_and(|at| at + AGAIN_MS < now);
        if !results.is_empty() {
            self.say(number, |origin| Event::ResultsReported { origin, results });
        }
        for batch in batches {
            self.complete_batch(number, batch);
        }
        if leaves {
            self.drain(number);
        }
    }

    /// Asks to leave when what it has is done.
    pub fn drain(&mut self, number: usize) {
        let Some(registration) = self.workers[number].registration else { return };
        self.workers[number].draining = Some(self.now);
        let reason = String::new();
        self.say(number, |origin| Event::WorkerLeft { origin, registration, drain: true, reason });
    }

    /// Leaves at once: what it runs goes to others.
    pub fn leave(&mut self, number: usize) {
        let Some(registration) = self.workers[number].registration else { return };
        let reason = String::new();
        self.say(number, |origin| Event::WorkerLeft { origin, registration, drain: false, reason });
        self.kill_worker(number);
    }

    pub fn worker_hears(&mut self, number: usize, message: Message) {
        if !self.workers[number].alive {
            return;
        }
        if self.hangs(number) {
            self.workers[number].waiting.push(Arrival::Message(message));
            return;
        }
        match message {
            Message::Worker(WorkerMessage::Execute(dispatch)) => self.take_batch(number, &dispatch),
            Message::Worker(WorkerMessage::Cancel { steps, .. }) => {
                for at in steps {
                    // A handler that cannot be stopped runs on.
                    if self.rng.chance(700) {
                        self.stop_step(number, &at);
                    }
                }
            }
            Message::Worker(WorkerMessage::Drain { .. }) => {
                if self.workers[number].draining.is_none() {
                    self.drain(number);
                    self.plan_revival(number);
                }
            }
            Message::Worker(WorkerMessage::RegisterAgain { .. }) => self.workers[number].must_register = true,
            Message::Reply(correlation, reply) => self.worker_is_answered(number, correlation, reply),
            Message::Stored(..) => {}
        }
    }

    fn worker_is_answered(&mut self, number: usize, correlation: Uuid, reply: Reply) {
        let now = self.now;
        let worker = &mut self.workers[number];
        match reply {
            Reply::WorkerRegistered { registration, closed_batches, .. }
                if worker.asked.is_some_and(|(asked, _)| asked == correlation) =>
            {
                worker.asked = None;
                worker.registration = Some(registration);
                worker.heard_at = now;
                worker.batches.retain(|id, _| !closed_batches.contains(id));
                self.beat(number);
                // The broker may have missed the closing of what it still counts as open.
                let open: Vec<BatchId> = self.workers[number].batches.keys().copied().collect();
                for batch in open {
                    self.complete_if_done(number, batch);
                }
                if self.workers[number].draining.is_some() {
                    self.drain(number);
                }
            }
            Reply::ResultsAccepted { results, closed_batches } => {
                worker.heard_at = now;
                worker.kept.retain(|(report, _)| !results.iter().any(|(at, _)| *at == report.at));
                worker.batches.retain(|id, _| !closed_batches.contains(id));
            }
            Reply::ResultsMissing { batch: _, steps } => self.send_missing(number, steps),
            Reply::HeartbeatAcknowledged => worker.heard_at = now,
            Reply::RegisterAgain { .. } => worker.must_register = true,
            Reply::WorkerUnregistered { registration, .. }
                if worker.registration == Some(registration) && worker.draining.is_some() =>
            {
                self.kill_worker(number);
            }
            Reply::Refused(_) => {
                if worker.asked.is_some_and(|(asked, _)| asked == correlation) {
                    worker.asked = None;
                    worker.must_register = true;
                } else if worker.draining.is_some() {
                    // It is not registered any more.
                    worker.must_register = true;
                }
            }
            _ => {}
        }
    }

    fn take_batch(&mut self, number: usize, dispatch: &Dispatch) {
        let worker = &mut self.workers[number];
        if worker.asked.is_some() || worker.registration != Some(dispatch.registration) {
            return;
        }
        if !worker.seen.insert(dispatch.batch) {
            return;
        }
        let steps: Vec<StepReference> = dispatch
            .steps
            .iter()
            .map(|step| {
                let task = &dispatch.tasks[step.task as usize];
                let name: Arc<str> = task.template.steps[step.step as usize].name.clone();
                StepReference { batch: dispatch.batch, task: task.id, step: name, attempt: step.attempt }
            })
            .collect();
        let held = Held { steps: steps.iter().map(|at| (at.clone(), None)).collect(), completed_at: None };
        worker.batches.insert(dispatch.batch, held);
        let (running, slots) = (worker.running(), worker.slots as usize);
        assert!(!worker.honest || running <= slots, "w{number} has {running} steps for {slots} slots");
        let full = worker.draining.is_some() || worker.kept.len() >= KEPT_MAX;
        let incarnation = worker.incarnation;
        self.checks.dispatched.extend(steps.iter().cloned());
        for at in steps {
            if full || self.rng.chance(self.faults.returned_step) {
                self.give_back(number, at);
            } else {
                let takes_ms = if self.rng.chance(150) { self.rng.within(500, 9_000) } else { self.rng.within(1, 300) };
                self.queue.at(self.now + takes_ms, Happening::StepEnds { number, incarnation, at });
            }
        }
    }

    fn give_back(&mut self, number: usize, at: StepReference) {
        if !self.workers[number].end(&at, CompletionStatus::Returned) {
            return;
        }
        let steps = vec![at.clone()];
        self.say(number, |origin| Event::StepsReturned { origin, steps, reason: "a test".to_owned() });
        self.complete_if_done(number, at.batch);
    }

    /// The broker has given the step up: it is returned or reported all the same.
    fn stop_step(&mut self, number: usize, at: &StepReference) {
        if self.rng.chance(500) {
            self.give_back(number, at.clone());
        } else if self.workers[number].end(at, CompletionStatus::Failed) {
            self.report(number, at.clone(), failed(true, None));
        }
    }

    pub fn step_ends(&mut self, number: usize, incarnation: u128, at: StepReference) {
        let worker = &self.workers[number];
        if !worker.alive || worker.incarnation != incarnation {
            return;
        }
        if self.hangs(number) {
            self.workers[number].waiting.push(Arrival::Ended(at));
            return;
        }
        let (outcome, status) = match self.rng.below(1_000) {
            0..800 => {
                self.payloads += 1;
                let bad = self.rng.chance(self.faults.unstorable);
                let payload =
                    if bad { crate::client::unstorable() } else { format!("\"w{number} {}\"", self.payloads) };
                (Outcome::Complete(Bytes::from(payload)), CompletionStatus::Complete)
            }
            800..900 => (failed(true, None), CompletionStatus::Failed),
            900..960 => (failed(true, Some("1.5")), CompletionStatus::Failed),
            _ => (failed(false, None), CompletionStatus::Failed),
        };
        if self.workers[number].end(&at, status) {
            if let Outcome::Complete(result) = &outcome {
                self.checks.produced.insert((at.clone(), tasker_engine::checksum(result)));
            }
            self.report(number, at, outcome);
        }
    }

    fn report(&mut self, number: usize, at: StepReference, outcome: Outcome) {
        let batch = at.batch;
        let report = plain(at, outcome);
        self.workers[number].kept.push((report.clone(), self.now));
        self.say(number, |origin| Event::ResultsReported { origin, results: vec![report] });
        self.complete_if_done(number, batch);
    }

    fn complete_if_done(&mut self, number: usize, batch: BatchId) {
        let done = self.workers[number].batches.get(&batch);
        if done.is_some_and(|held| held.steps.iter().all(|(_, ended)| ended.is_some())) {
            self.complete_batch(number, batch);
        }
    }

    fn complete_batch(&mut self, number: usize, batch: BatchId) {
        let now = self.now;
        let Some(held) = self.workers[number].batches.get_mut(&batch) else { return };
        held.completed_at = Some(now);
        let steps =
            held.steps.iter().map(|(at, ended)| line(at, ended.unwrap_or(CompletionStatus::Returned))).collect();
        self.say(number, |origin| Event::BatchReported { origin, batch, steps });
    }

    /// Sends what the broker lacks, or gives the step back when the outcome is gone.
    fn send_missing(&mut self, number: usize, steps: Vec<StepReference>) {
        let worker = &self.workers[number];
        let kept = |at: &StepReference| worker.kept.iter().map(|(report, _)| report).find(|report| report.at == *at);
        let results: Vec<StepReport> = steps.iter().filter_map(kept).cloned().collect();
        let running = |at: &StepReference| {
            let held = worker.batches.get(&at.batch);
            held.is_some_and(|held| held.steps.iter().any(|(known, ended)| known == at && ended.is_none()))
        };
        let gone: Vec<StepReference> = steps.iter().filter(|at| kept(at).is_none() && !running(at)).cloned().collect();
        if !results.is_empty() {
            self.say(number, |origin| Event::ResultsReported { origin, results });
        }
        if !gone.is_empty() {
            self.say(number, |origin| Event::StepsReturned { origin, steps: gone, reason: "gone".to_owned() });
        }
    }

    /// Says something that is not so.
    fn lie(&mut self, number: usize) {
        if self.checks.dispatched.is_empty() {
            return;
        }
        self.payloads += 1;
        let payload = Bytes::from(format!("\"lie {}\"", self.payloads));
        let own: Vec<BatchId> = self.workers[number].batches.keys().copied().collect();
        match self.rng.below(4) {
            // A result of a step that others have, or had.
            0 | 1 => {
                let place = self.rng.place(self.checks.dispatched.len());
                let back = self.rng.place(place.min(20) + 1);
                let at = self.checks.dispatched[self.checks.dispatched.len() - 1 - back].clone();
                if !own.contains(&at.batch) {
                    let report = plain(at, Outcome::Complete(payload));
                    self.say(number, |origin| Event::ResultsReported { origin, results: vec![report] });
                }
            }
            // A result of another attempt of a step that it has.
            2 => {
                let held = own.first().and_then(|batch| self.workers[number].batches[batch].steps.first());
                if let Some((at, _)) = held {
                    let at = StepReference { attempt: at.attempt + 1, ..at.clone() };
                    let report = plain(at, Outcome::Complete(payload));
                    self.say(number, |origin| Event::ResultsReported { origin, results: vec![report] });
                }
            }
            // The completion of a batch whose steps still run.
            _ => {
                if let Some(&batch) = own.first() {
                    let returned = self.rng.chance(300);
                    let status = if returned { CompletionStatus::Returned } else { CompletionStatus::Complete };
                    let steps = self.workers[number].batches[&batch].steps.iter().map(|(at, _)| line(at, status));
                    let steps = steps.collect();
                    self.say(number, |origin| Event::BatchReported { origin, batch, steps });
                }
            }
        }
    }

    /// The faults are over: every worker lives and tells the truth.
    pub fn calm_worker(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        if worker.hung_until > self.now {
            worker.hung_until = self.now;
            let incarnation = worker.incarnation;
            self.worker_wakes(number, incarnation);
        }
        if !self.workers[number].alive {
            self.start_worker(number);
        }
    }
}

fn plain(at: StepReference, outcome: Outcome) -> StepReport {
    StepReport {
        at,
        outcome,
        started_at_us: 0,
        duration_us: 0,
        metadata: None,
        events: vec![("noted".to_owned(), Bytes::from_static(b"1"))],
        refused: false,
    }
}

fn line(at: &StepReference, status: CompletionStatus) -> CompletedStep {
    CompletedStep { task: at.task, step: at.step.clone(), attempt: at.attempt, status }
}

fn failed(retryable: bool, after: Option<&str>) -> Outcome {
    Outcome::Failed(Box::new(Failure { retryable, retry_after: after.map(str::to_owned), ..Failure::default() }))
}
