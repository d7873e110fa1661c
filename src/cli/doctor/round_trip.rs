//! One task of one step, all the way: this process registers as a worker, submits, runs the step, and leaves. What stays is a
//! template, once, and a task that has ended. A task that does not end in time is cancelled.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::client::{self, Client};
use crate::protocol::*;
use crate::security::ClientKeys;

/// The template; its version rises when it changes.
const TEMPLATE: &str = "\
namespace_name: tasker-doctor
name: round-trip
version: 1.0.0
step_templates:
  - name: answer
    handler_class: TaskerDoctor::Answer
";

/// Makes the trip, and says how long it took from the submission to the end.
pub(super) fn make(endpoint: &str, keys: Option<&ClientKeys>, limit: Duration) -> Result<Duration, String> {
    let deadline = Instant::now() + limit;
    let failed = |error: client::Error| error.to_string();
    let mut client = Client::connect_with(endpoint, keys, limit).map_err(failed)?;
    let template = RegisterTemplate {
        correlation_id: Uuid::nil(),
        yaml: TEMPLATE.to_owned(),
        source: Some("tasker doctor".to_owned()),
    };
    let template = client.request(template).map_err(failed)?.template;
    let mut worker = Worker::register(endpoint, keys, template, deadline)?;
    let submitted = Instant::now();
    let request = TaskRequest {
        namespace: "tasker-doctor".to_owned(),
        name: "round-trip".to_owned(),
        initiator: Some("tasker doctor".to_owned()),
        ..TaskRequest::default()
    };
    let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![request] };
    let task = client.request(command).map_err(failed)?.tasks.into_iter().next().ok_or("the answer names no task")?;
    let task_id = match (task.task_id, task.error) {
        (Some(task_id), None) => task_id,
        (_, refusal) => return Err(refusal.map_or("the answer names no task".to_owned(), |refusal| refusal.message)),
    };
    let ran = worker.run_until(task_id, deadline);
    let ended = ran.and_then(|()| {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = client.wait_for_task(task_id, Some(left)).map_err(failed)?;
        match waited.task.state.as_str() {
            "complete" => Ok(submitted.elapsed()),
            state => Err(format!("the task is {state}")),
        }
    });
    if ended.is_err() {
        let (actor, reason) = ("tasker doctor".to_owned(), "the round trip did not end in time".to_owned());
        // It may have ended meanwhile.
        let _ = client.request(CancelTask { correlation_id: Uuid::nil(), task_id, actor, reason });
    }
    worker.leave(Instant::now() + limit)?;
    ended
}

struct Worker {
    socket: zmq::Socket,
    registration: Uuid,
}

impl Worker {
    fn register(
        endpoint: &str,
        keys: Option<&ClientKeys>,
        template: String,
        deadline: Instant,
    ) -> Result<Worker, String> {
        let socket = client::dealer(endpoint, keys).map_err(|error| error.to_string())?;
        let introduction = RegisterWorker {
            correlation_id: Uuid::new_v4(),
            name: format!("doctor-{}", Uuid::new_v4().simple()),
            incarnation: Uuid::new_v4(),
            templates: vec![Capability { template, yaml: None, source: None }],
            concurrency: 1,
            host: String::new(),
            pid: std::process::id(),
            language: "rust".to_owned(),
            library: concat!("tasker doctor ", env!("CARGO_PKG_VERSION")).to_owned(),
            open_batches: Vec::new(),
            unacknowledged: Vec::new(),
            bundle_max: None,
        };
        let mut worker = Worker { socket, registration: Uuid::nil() };
        worker.send(introduction)?;
        loop {
            match worker.receive(deadline, "the registration of a worker is not answered")? {
                Message::WorkerRegistered(registered) => {
                    worker.registration = registered.registration_id;
                    return Ok(worker);
                }
                Message::Error(refusal) => return Err(refusal.message),
                _ => {}
            }
        }
    }

    /// Runs what comes until the step of the task was among it. A step of another doctor is answered as well.
    fn run_until(&mut self, task_id: Uuid, deadline: Instant) -> Result<(), String> {
        loop {
            match self.receive(deadline, "the step was not handed to the worker")? {
                Message::ExecuteBatch(batch) if batch.registration_id == self.registration => {
                    let is_ours = batch.tasks.iter().any(|task| task.task_id == task_id);
                    self.answer(&batch)?;
                    if is_ours {
                        return Ok(());
                    }
                }
                Message::Error(refusal) => return Err(refusal.message),
                _ => {}
            }
        }
    }

    fn answer(&self, batch: &ExecuteBatch) -> Result<(), String> {
        let batch_id = batch.batch_id;
        let task_of = |step: &BatchStep| Some(batch.tasks.get(usize::try_from(step.task).ok()?)?.task_id);
        let steps: Vec<(Uuid, &BatchStep)> =
            batch.steps.iter().filter_map(|step| Some((task_of(step)?, step))).collect();
        let outcome = |(task_id, step): &(Uuid, &BatchStep)| StepOutcome {
            batch_id,
            task_id: *task_id,
            step: step.name.clone(),
            attempt: step.attempt,
            status: OutcomeStatus::Complete,
            result: Some(JsonText::new("true")),
            metadata: None,
            error: None,
            started_at_us: 0,
            duration_us: 0,
            events: Vec::new(),
        };
        self.send(ReportPartialResult {
            correlation_id: Uuid::new_v4(),
            results: steps.iter().map(outcome).collect(),
        })?;
        let complete = |(task_id, step): &(Uuid, &BatchStep)| CompletedStep {
            task_id: *task_id,
            step: step.name.clone(),
            attempt: step.attempt,
            status: CompletionStatus::Complete,
        };
        let steps = steps.iter().map(complete).collect();
        self.send(ReportBatchCompletion { correlation_id: Uuid::new_v4(), batch_id, steps })
    }

    fn leave(&self, deadline: Instant) -> Result<(), String> {
        let reason = "the round trip is over".to_owned();
        let registration_id = self.registration;
        self.send(UnregisterWorker { correlation_id: Uuid::new_v4(), registration_id, drain: false, reason })?;
        loop {
            let said = self.receive(deadline, "the worker's leave is not answered")?;
            if matches!(said, Message::WorkerUnregistered(_)) {
                return Ok(());
            }
        }
    }

    fn send(&self, message: impl Into<Message>) -> Result<(), String> {
        let (header, body) = encode(&message.into());
        self.socket.send_multipart([&header[..], &body[..]], 0).map_err(|error| error.to_string())
    }

    fn receive(&self, deadline: Instant, else_: &str) -> Result<Message, String> {
        if !client::readable(&self.socket, deadline).map_err(|error| error.to_string())? {
            return Err(else_.to_owned());
        }
        let frames = self.socket.recv_multipart(0).map_err(|error| error.to_string())?;
        let [header, body] = &frames[..] else { return Err("a message has not 2 frames".to_owned()) };
        decode(header, body).map_err(|error| error.to_string())
    }
}
