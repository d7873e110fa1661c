//! An engine with workers that complete whatever they get: what the event loop does with it, without sockets and Postgres.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tasker_engine::*;
use uuid::Uuid;

use crate::counted;
use crate::shapes::{self, Parents};

/// Connected workers, and slots of each: as many steps are out as a few busy processes have.
const WORKERS: u64 = 10;
const SLOTS: u32 = 100;

/// Outcomes that share a message.
const RESULTS_PER_MESSAGE: usize = 20;

/// Requests that share a command.
const REQUESTS_PER_COMMAND: usize = 100;

/// Who submits.
const CLIENT: PeerId = PeerId(0);

/// An engine and what is on its way to it.
pub struct Broker {
    /// The engine.
    pub engine: Engine,
    now: Now,
    correlations: u64,
    waiting: Vec<Event>,
    /// Time that the engine took: events, deadlines, plan, and freeing what it decided.
    pub spent: Duration,
    /// Events that it took: a task request, the outcome of a step, the closing report of a batch count as one each.
    pub events: u64,
}

impl Broker {
    /// A broker with workers that run every template.
    pub fn new(config: Config) -> Broker {
        let mut broker = Broker::deserted(config);
        for worker in 1..=WORKERS {
            let introduction = WorkerIntroduction {
                name: format!("worker-{worker}").into(),
                incarnation: Uuid::from_u128(worker.into()),
                capabilities: vec![Capability::Namespace("bench".into())],
                templates: Vec::new(),
                concurrency: SLOTS,
                host: "host".into(),
                pid: 1,
                language: "ruby 3.1.2".into(),
                library: "tasker_core 0.1.0".into(),
                key: None,
                open_batches: Vec::new(),
                unacknowledged: Vec::new(),
            };
            let origin = broker.origin(PeerId(worker));
            broker.waiting.push(Event::WorkerRegistered { origin, worker: introduction });
        }
        broker.turn();
        broker
    }

    /// A broker that no worker has found yet.
    pub fn deserted(config: Config) -> Broker {
        Broker {
            engine: Engine::new(config, [7, 11]),
            now: Now { mono: Mono(1_000), wall: Wall(1_770_000_000_000) },
            correlations: 0,
            waiting: Vec::new(),
            spent: Duration::ZERO,
            events: 0,
        }
    }

    /// Registers a template and returns its name.
    pub fn register(&mut self, name: &str, parents: &Parents) -> String {
        let origin = self.origin(CLIENT);
        self.waiting.push(Event::TemplateSubmitted { origin, template: shapes::template(name, parents) });
        self.turn();
        name.to_owned()
    }

    /// Puts requests for tasks in line.
    pub fn submit(&mut self, name: &str, tasks: usize) {
        self.submit_with(name, tasks, Bytes::from_static(br#"{"order_id":42,"customer":"c-17"}"#));
    }

    /// The same with a context of the caller's.
    pub fn submit_with(&mut self, name: &str, tasks: usize, context: Bytes) {
        let request =
            TaskRequest { namespace: "bench".to_owned(), name: name.to_owned(), context, ..TaskRequest::default() };
        let mut left = tasks;
        while left > 0 {
            let count = left.min(REQUESTS_PER_COMMAND);
            let requests = (0..count).map(|_| Ok(request.clone())).collect();
            let origin = self.origin(CLIENT);
            self.waiting.push(Event::TasksSubmitted { origin, requests });
            left -= count;
        }
    }

    /// Runs until nothing is on its way any more.
    pub fn finish(&mut self) {
        while !self.waiting.is_empty() {
            self.turn();
        }
    }

    /// One turn of the event loop with everything that is waiting; what the workers answer waits for the next one.
    pub fn turn(&mut self) {
        let events = std::mem::take(&mut self.waiting);
        self.events += events.iter().map(weight).sum::<u64>();
        self.now.mono = self.now.mono + 1;
        self.now.wall.0 += 1;
        let start = Instant::now();
        let mut effects = counted(|| decide(&mut self.engine, self.now, events));
        self.spent += start.elapsed();
        let deliveries = std::mem::take(&mut effects.deliveries);
        let (orders, others): (Vec<Deliver>, Vec<Deliver>) =
            deliveries.into_iter().partition(|delivery| matches!(delivery, Deliver::Worker { .. }));
        let start = Instant::now();
        counted(|| drop((effects, others)));
        self.spent += start.elapsed();
        for order in orders {
            if let Deliver::Worker { peer, message: WorkerMessage::Execute(dispatch) } = order {
                self.run(peer, &dispatch);
            }
        }
    }

    /// What a worker says of a batch: results, some to a message, and the closing report.
    fn run(&mut self, peer: PeerId, dispatch: &Dispatch) {
        let reports = dispatch.steps.iter().map(|step| {
            let task = &dispatch.tasks[step.task as usize];
            StepReport {
                at: StepReference {
                    batch: dispatch.batch,
                    task: task.id,
                    step: (*task.template.steps[step.step as usize].name).into(),
                    attempt: step.attempt,
                },
                outcome: Outcome::Complete(Bytes::from_static(br#"{"reserved":true,"warehouse":"w-3"}"#)),
                started_at_us: 1_770_000_000_000_000,
                duration_us: 1_500,
                metadata: None,
                events: Vec::new(),
                refused: false,
            }
        });
        let reports: Vec<StepReport> = reports.collect();
        let closing = reports.iter().map(|report| CompletedStep {
            task: report.at.task,
            step: report.at.step.clone(),
            attempt: report.at.attempt,
            status: CompletionStatus::Complete,
        });
        let closing = closing.collect();
        let mut reports = reports.into_iter();
        loop {
            let results: Vec<StepReport> = reports.by_ref().take(RESULTS_PER_MESSAGE).collect();
            if results.is_empty() {
                break;
            }
            let origin = self.origin(peer);
            self.waiting.push(Event::ResultsReported { origin, results });
        }
        let origin = self.origin(peer);
        self.waiting.push(Event::BatchReported { origin, batch: dispatch.batch, steps: closing });
    }

    fn origin(&mut self, peer: PeerId) -> Origin {
        self.correlations += 1;
        Origin { peer, correlation: Uuid::from_u128(self.correlations.into()) }
    }
}

/// A turn of the engine, as the event loop does it.
fn decide(engine: &mut Engine, now: Now, events: Vec<Event>) -> Effects {
    let mut effects = Effects::default();
    for event in events {
        engine.handle(now, event, &mut effects);
    }
    engine.pass_deadlines(now, &mut effects);
    engine.plan(now, &mut effects);
    effects
}

/// How many events a message counts as.
fn weight(event: &Event) -> u64 {
    match event {
        Event::TasksSubmitted { requests, .. } => requests.len() as u64,
        Event::ResultsReported { results, .. } => results.len() as u64,
        _ => 1,
    }
}
