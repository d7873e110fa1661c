//! Native workers: each a thread with one DEALER that speaks the worker's part of the protocol and does nothing with its
//! steps, or nothing for a while. What they cost is the least that a worker can cost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::{Error, Options, RegisteredTemplate, Shared, Target};
use crate::client;
use crate::protocol::*;

/// How long a worker waits for a message at most before it looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// Messages read before what they brought is reported.
const BURST: usize = 100;

/// Messages in a bundle at most, as in the Ruby worker.
const BUNDLE_MAX: usize = 16;

/// Outcomes in a message at most, as in the Ruby worker.
const RESULTS_MAX: usize = 500;

/// How long the broker may take to let a worker go.
const LEAVING: Duration = Duration::from_secs(2);

/// What native workers do.
#[derive(Clone, Debug)]
pub struct Work {
    /// Workers, each with a connection of its own.
    pub workers: usize,
    /// Steps at once in each.
    pub concurrency: u32,
    /// How long each step runs.
    pub duration: Duration,
    /// Bytes of each result, about.
    pub result_bytes: usize,
}

/// Threads that work until the run is over.
pub(super) struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts the workers of a run, and waits until all are registered.
    pub(super) fn start(
        options: &Options,
        template: &RegisteredTemplate,
        shared: &Arc<Shared>,
    ) -> Result<Workers, Error> {
        let Some(work) = &options.work else { return Ok(Workers(Vec::new())) };
        let mut threads = Vec::new();
        for number in 1..=work.workers {
            let mut worker = Worker::register(&options.target, work, template, number)?;
            let shared = shared.clone();
            threads.push(std::thread::spawn(move || {
                let worked = worker.work(&shared).and_then(|()| worker.leave());
                if let Err(error) = worked {
                    shared.fail(error);
                }
            }));
        }
        Ok(Workers(threads))
    }

    pub(super) fn join(self) {
        self.0.into_iter().for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
    }
}

/// A batch whose steps have not all ended.
struct Batch {
    steps: Vec<StepReference>,
    left: usize,
}

/// The way to the broker, and the messages of a bundle that were not taken yet.
struct Wire {
    socket: zmq::Socket,
    received: VecDeque<Message>,
    /// Messages that the broker takes at once.
    bundle_max: usize,
}

struct Worker {
    wire: Wire,
    registration: Uuid,
    heartbeat: Duration,
    next_heartbeat: Instant,
    concurrency: u32,
    duration: Duration,
    result: JsonText,
    batches: HashMap<Uuid, Batch>,
    /// When which step of which batch ends.
    running: BinaryHeap<Reverse<(Instant, Uuid, usize)>>,
    /// Not reported yet.
    outcomes: Vec<StepOutcome>,
    completions: Vec<ReportBatchCompletion>,
}

impl Worker {
    fn register(target: &Target, work: &Work, template: &RegisteredTemplate, number: usize) -> Result<Worker, Error> {
        let socket = client::dealer(&target.work, target.keys.as_ref())?;
        let mut wire = Wire { socket, received: VecDeque::new(), bundle_max: 1 };
        let introduction = RegisterWorker {
            correlation_id: Uuid::new_v4(),
            name: format!("bench-{}-{number}", std::process::id()),
            incarnation: Uuid::new_v4(),
            templates: vec![Capability { template: template.key.clone(), yaml: None, source: None }],
            concurrency: work.concurrency,
            host: String::new(),
            pid: std::process::id(),
            language: "rust".to_owned(),
            library: concat!("tasker bench ", env!("CARGO_PKG_VERSION")).to_owned(),
            open_batches: Vec::new(),
            unacknowledged: Vec::new(),
            bundle_max: u32::try_from(BUNDLE_MAX).ok(),
        };
        wire.send([introduction.into()])?;
        let deadline = Instant::now() + target.timeout;
        let registered = loop {
            match wire.receive(deadline)? {
                Some(Message::WorkerRegistered(registered)) => break registered,
                Some(Message::Error(error)) => return Err(Error::Worker(error.message)),
                Some(_) => {}
                None => return Err(Error::Worker("it does not answer the registration".to_owned())),
            }
        };
        let heartbeat = Duration::from_millis(registered.heartbeat_ms);
        wire.bundle_max =
            registered.bundle_max.and_then(|most| usize::try_from(most).ok()).unwrap_or(1).clamp(1, BUNDLE_MAX);
        Ok(Worker {
            wire,
            registration: registered.registration_id,
            heartbeat,
            next_heartbeat: Instant::now() + heartbeat,
            concurrency: work.concurrency,
            duration: work.duration,
            result: JsonText::new(format!("\"{}\"", "x".repeat(work.result_bytes.saturating_sub(2)))),
            batches: HashMap::new(),
            running: BinaryHeap::new(),
            outcomes: Vec::new(),
            completions: Vec::new(),
        })
    }

    fn work(&mut self, shared: &Shared) -> Result<(), Error> {
        while !shared.is_over() {
            let mut until = (Instant::now() + LOOK).min(self.next_heartbeat);
            if let Some(Reverse((end, ..))) = self.running.peek() {
                until = until.min(*end);
            }
            for _ in 0..BURST {
                let Some(message) = self.wire.receive(until)? else { break };
                self.take(message)?;
                // Only the first one is waited for.
                until = Instant::now();
            }
            self.end_steps(Instant::now());
            self.report()?;
            self.beat()?;
        }
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::ExecuteBatch(batch) if batch.registration_id == self.registration => self.run(batch),
            Message::RegisterAgain(again) => return Err(Error::Worker(again.reason)),
            Message::Drain(drain) => return Err(Error::Worker(drain.reason)),
            Message::Error(error) => return Err(Error::Worker(error.message)),
            Message::ResultsAccepted(accepted) => {
                let refused = accepted.results.iter().find(|result| result.disposition != Disposition::Accepted);
                if let Some(result) = refused {
                    let (step, disposition) = (&result.step, result.disposition);
                    return Err(Error::Worker(format!("the result of {step} was taken as {disposition:?}")));
                }
            }
            // Nothing that has to be done.
            _ => {}
        }
        Ok(())
    }

    fn run(&mut self, batch: ExecuteBatch) {
        let (now, batch_id) = (Instant::now(), batch.batch_id);
        let tasks = batch.tasks;
        let references = batch.steps.into_iter().filter_map(|step| {
            let task_id = tasks.get(usize::try_from(step.task).ok()?)?.task_id;
            Some(StepReference { batch_id, task_id, step: step.name, attempt: step.attempt })
        });
        let steps: Vec<StepReference> = references.collect();
        self.running.extend((0..steps.len()).map(|step| Reverse((now + self.duration, batch_id, step))));
        self.batches.insert(batch_id, Batch { left: steps.len(), steps });
    }

    fn end_steps(&mut self, now: Instant) {
        let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let duration_us = self.duration.as_micros();
        let started_at_us = i64::try_from(wall_us.saturating_sub(duration_us)).unwrap_or(i64::MAX);
        while let Some(Reverse((end, batch_id, step))) = self.running.peek().copied() {
            if end > now {
                break;
            }
            self.running.pop();
            let Some(batch) = self.batches.get_mut(&batch_id) else { continue };
            let StepReference { task_id, step, attempt, .. } = batch.steps[step].clone();
            self.outcomes.push(StepOutcome {
                batch_id,
                task_id,
                step,
                attempt,
                status: OutcomeStatus::Complete,
                result: Some(self.result.clone()),
                metadata: None,
                error: None,
                started_at_us,
                duration_us: u64::try_from(duration_us).unwrap_or(u64::MAX),
                events: Vec::new(),
            });
            batch.left -= 1;
            if batch.left == 0 {
                self.close(batch_id);
            }
        }
    }

    fn close(&mut self, batch_id: Uuid) {
        let Some(batch) = self.batches.remove(&batch_id) else { return };
        let complete = |step: StepReference| CompletedStep {
            task_id: step.task_id,
            step: step.step,
            attempt: step.attempt,
            status: CompletionStatus::Complete,
        };
        let steps = batch.steps.into_iter().map(complete).collect();
        self.completions.push(ReportBatchCompletion { correlation_id: Uuid::new_v4(), batch_id, steps });
    }

    fn report(&mut self) -> Result<(), Error> {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        let mut reports: Vec<Message> = Vec::new();
        while !outcomes.is_empty() {
            let results = outcomes.drain(..outcomes.len().min(RESULTS_MAX)).collect();
            reports.push(ReportPartialResult { correlation_id: Uuid::new_v4(), results }.into());
        }
        reports.extend(self.completions.drain(..).map(Message::from));
        self.wire.send(reports)
    }

    fn beat(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if now < self.next_heartbeat {
            return Ok(());
        }
        self.next_heartbeat = now + self.heartbeat;
        let in_flight = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        let heartbeat = WorkerHeartbeat {
            correlation_id: Uuid::new_v4(),
            registration_id: self.registration,
            free_slots: self.concurrency.saturating_sub(in_flight),
            in_flight,
            idle_ms: None,
            load: None,
        };
        self.wire.send([heartbeat.into()])
    }

    fn leave(&mut self) -> Result<(), Error> {
        let goodbye = UnregisterWorker {
            correlation_id: Uuid::new_v4(),
            registration_id: self.registration,
            drain: false,
            reason: "the bench is over".to_owned(),
        };
        self.wire.send([goodbye.into()])?;
        let deadline = Instant::now() + LEAVING;
        while let Some(message) = self.wire.receive(deadline)? {
            if matches!(message, Message::WorkerUnregistered(_)) {
                break;
            }
        }
        Ok(())
    }
}

impl Wire {
    /// Sends messages, as many at once as the broker takes.
    fn send(&self, messages: impl IntoIterator<Item = Message>) -> Result<(), Error> {
        let messages: Vec<Message> = messages.into_iter().collect();
        for bundle in messages.chunks(self.bundle_max) {
            let encoded = bundle.iter().map(encode);
            let frames: Vec<Vec<u8>> = encoded.flat_map(|(header, body)| [header.to_vec(), body]).collect();
            self.socket.send_multipart(frames, 0)?;
        }
        Ok(())
    }

    /// The next message, or nothing when none comes before the deadline.
    fn receive(&mut self, deadline: Instant) -> Result<Option<Message>, Error> {
        loop {
            if let Some(message) = self.received.pop_front() {
                return Ok(Some(message));
            }
            match self.socket.recv_multipart(zmq::DONTWAIT) {
                Ok(frames) => {
                    for message in frames.chunks(2) {
                        let [header, body] = message else {
                            return Err(Error::Worker(format!("{} frames are no messages", frames.len())));
                        };
                        let message = decode(header, body).map_err(|error| Error::Worker(error.to_string()))?;
                        self.received.push_back(message);
                    }
                }
                Err(zmq::Error::EINTR) => {}
                Err(zmq::Error::EAGAIN) => {
                    if !client::readable(&self.socket, deadline)? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
