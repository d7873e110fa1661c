//! Peers for integration tests, over the pure-Rust `zeromq` crate: a second implementation of the transport meets the
//! broker's libzmq. They take the broker's word for nothing: every frame is decoded, every wait has an end.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tasker_core::protocol::{self, *};
use uuid::Uuid;
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, SubSocket, ZmqMessage};

/// Longer than anything that works takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// The `correlation_id` of a body; nil when it has none.
fn correlation_id(body: &[u8]) -> Uuid {
    #[derive(Deserialize)]
    struct Correlated {
        #[serde(default)]
        correlation_id: Uuid,
    }
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body).with_human_readable();
    Correlated::deserialize(&mut deserializer).map_or(Uuid::nil(), |body| body.correlation_id)
}

/// One connection to a broker's work endpoint.
pub struct Client {
    socket: DealerSocket,
    /// What came while something else was awaited, with its correlation id.
    kept: VecDeque<(Uuid, Message)>,
}

impl Client {
    pub async fn connect(endpoint: &str) -> Client {
        let mut socket = DealerSocket::new();
        soon("a connection", socket.connect(endpoint)).await.expect("the broker listens");
        Client { socket, kept: VecDeque::new() }
    }

    pub async fn send_frames(&mut self, frames: Vec<Vec<u8>>) {
        let mut frames = frames.into_iter().map(Bytes::from);
        let mut message = ZmqMessage::from(frames.next().expect("a message has frames"));
        frames.for_each(|frame| message.push_back(frame));
        soon("the way out", self.socket.send(message)).await.expect("the connection stands");
    }

    pub async fn send(&mut self, message: impl Into<Message>) {
        let (header, body) = protocol::encode(&message.into());
        self.send_frames(vec![header.to_vec(), body]).await;
    }

    /// Sends a command and waits for its reply; what else arrives is kept for [`next`](Client::next).
    pub async fn request(&mut self, command: impl Into<Message>) -> Message {
        let (header, body) = protocol::encode(&command.into());
        let wanted = correlation_id(&body);
        self.send_frames(vec![header.to_vec(), body]).await;
        self.reply_to(wanted).await
    }

    /// Waits for the reply to a command that was sent before.
    pub async fn reply_to(&mut self, wanted: Uuid) -> Message {
        if let Some(index) = self.kept.iter().position(|(id, _)| *id == wanted) {
            return self.kept.remove(index).expect("found just now").1;
        }
        loop {
            let (id, message) = self.read().await;
            if id == wanted {
                return message;
            }
            self.kept.push_back((id, message));
        }
    }

    /// The next message, whatever it is.
    pub async fn next(&mut self) -> Message {
        match self.kept.pop_front() {
            Some((_, message)) => message,
            None => self.read().await.1,
        }
    }

    /// The messages that come next as one.
    pub async fn next_bundle(&mut self) -> Vec<Message> {
        self.read_bundle().await.into_iter().map(|(_, message)| message).collect()
    }

    async fn read(&mut self) -> (Uuid, Message) {
        let mut bundle = self.read_bundle().await.into_iter();
        let first = bundle.next().expect("a bundle has messages");
        assert!(bundle.next().is_none(), "a bundle came to somebody who had not asked for any");
        first
    }

    async fn read_bundle(&mut self) -> Vec<(Uuid, Message)> {
        let frames = soon("a message", self.socket.recv()).await.expect("the connection stands").into_vec();
        let pairs = frames.chunks(2).map(|pair| {
            let [header, body] = pair else { panic!("{} frames instead of headers and bodies", frames.len()) };
            let message = protocol::decode(header, body).expect("the broker sends what can be read");
            (correlation_id(body), message)
        });
        pairs.collect()
    }
}

/// What a test's handler makes of a step: JSON text of the result, or why it failed.
pub type Made = Result<String, Box<StepError>>;

/// A worker whose every move a test makes.
pub struct WorkerPeer {
    pub client: Client,
    pub name: String,
    pub incarnation: Uuid,
    /// From the last registration.
    pub registration_id: Uuid,
}

impl WorkerPeer {
    pub async fn connect(endpoint: &str, name: &str) -> WorkerPeer {
        let (name, incarnation) = (name.to_owned(), Uuid::new_v4());
        WorkerPeer { client: Client::connect(endpoint).await, name, incarnation, registration_id: Uuid::nil() }
    }

    /// A registration of this worker, to be changed as a test likes.
    pub fn introduction(&self, templates: &[&str], concurrency: u32) -> RegisterWorker {
        let capability = |template: &&str| Capability { template: template.to_string(), yaml: None, source: None };
        RegisterWorker {
            correlation_id: Uuid::new_v4(),
            name: self.name.clone(),
            incarnation: self.incarnation,
            templates: templates.iter().map(capability).collect(),
            concurrency,
            host: "test".to_owned(),
            pid: std::process::id(),
            language: "rust".to_owned(),
            library: "test peer".to_owned(),
            open_batches: Vec::new(),
            unacknowledged: Vec::new(),
            bundle_max: None,
        }
    }

    pub async fn register(&mut self, introduction: RegisterWorker) -> WorkerRegistered {
        match self.client.request(introduction).await {
            Message::WorkerRegistered(registered) => {
                self.registration_id = registered.registration_id;
                registered
            }
            other => panic!("not registered: {other:?}"),
        }
    }

    /// The next batch; anything else that comes before is dropped.
    pub async fn receive_batch(&mut self) -> ExecuteBatch {
        loop {
            if let Message::ExecuteBatch(batch) = self.client.next().await {
                assert_eq!(batch.registration_id, self.registration_id, "a batch for another registration");
                return batch;
            }
        }
    }

    /// Runs all steps of a batch, reports them in one message, and returns the acknowledgement.
    pub async fn report(
        &mut self,
        batch: &ExecuteBatch,
        handler: impl Fn(&BatchTask, &BatchStep) -> Made,
    ) -> ResultsAccepted {
        let results = batch.steps.iter().map(|step| outcome(batch, step, &handler)).collect();
        self.accepted(ReportPartialResult { correlation_id: Uuid::new_v4(), results }).await
    }

    /// Sends the completion of a batch, all steps with one status, and returns the answer.
    pub async fn complete(&mut self, batch: &ExecuteBatch, status: CompletionStatus) -> Message {
        let line = |step: &BatchStep| {
            let task_id = batch.tasks[step.task as usize].task_id;
            CompletedStep { task_id, step: step.name.clone(), attempt: step.attempt, status }
        };
        let steps = batch.steps.iter().map(line).collect();
        let completion = ReportBatchCompletion { correlation_id: Uuid::new_v4(), batch_id: batch.batch_id, steps };
        self.client.request(completion).await
    }

    /// Gives all steps of a batch back.
    pub async fn give_back(&mut self, batch: &ExecuteBatch, reason: &str) -> ResultsAccepted {
        let reference = |step: &BatchStep| StepReference {
            batch_id: batch.batch_id,
            task_id: batch.tasks[step.task as usize].task_id,
            step: step.name.clone(),
            attempt: step.attempt,
        };
        let (steps, reason) = (batch.steps.iter().map(reference).collect(), reason.to_owned());
        self.accepted(ReturnSteps { correlation_id: Uuid::new_v4(), steps, reason }).await
    }

    /// Receives, runs, reports and completes as many batches.
    pub async fn work_off(&mut self, batches: usize, handler: impl Fn(&BatchTask, &BatchStep) -> Made) {
        for _ in 0..batches {
            let batch = self.receive_batch().await;
            self.report(&batch, &handler).await;
            self.complete(&batch, CompletionStatus::Complete).await;
        }
    }

    pub async fn beat(&mut self, free_slots: u32, in_flight: u32) -> Message {
        let (correlation_id, registration_id) = (Uuid::new_v4(), self.registration_id);
        let beat =
            WorkerHeartbeat { correlation_id, registration_id, free_slots, in_flight, idle_ms: None, load: None };
        self.client.request(beat).await
    }

    async fn accepted(&mut self, report: impl Into<Message>) -> ResultsAccepted {
        match self.client.request(report).await {
            Message::ResultsAccepted(accepted) => accepted,
            other => panic!("not accepted: {other:?}"),
        }
    }
}

/// The outcome that a handler makes of a step.
pub fn outcome(
    batch: &ExecuteBatch,
    step: &BatchStep,
    handler: impl Fn(&BatchTask, &BatchStep) -> Made,
) -> StepOutcome {
    let task = &batch.tasks[step.task as usize];
    let made = handler(task, step);
    StepOutcome {
        batch_id: batch.batch_id,
        task_id: task.task_id,
        step: step.name.clone(),
        attempt: step.attempt,
        status: if made.is_ok() { OutcomeStatus::Complete } else { OutcomeStatus::Error },
        result: made.as_ref().ok().map(JsonText::new),
        metadata: None,
        error: made.err().map(|error| *error),
        started_at_us: 0,
        duration_us: 1,
        events: Vec::new(),
    }
}

/// A failure as a handler reports it.
pub fn failure(class: &str, message: &str, retryable: bool) -> StepError {
    StepError {
        class: class.to_owned(),
        message: message.to_owned(),
        code: None,
        retryable,
        retry_after: None,
        backtrace: Vec::new(),
        context: None,
    }
}

/// A subscriber of the events endpoint.
pub struct Subscriber {
    socket: SubSocket,
}

impl Subscriber {
    pub async fn connect(endpoint: &str, prefixes: &[&str]) -> Subscriber {
        let mut socket = SubSocket::new();
        soon("a connection", socket.connect(endpoint)).await.expect("the broker listens");
        for prefix in prefixes {
            socket.subscribe(prefix).await.expect("the connection stands");
        }
        Subscriber { socket }
    }

    /// The next message with its topic.
    pub async fn next(&mut self) -> (String, Message) {
        let frames = soon("an event", self.socket.recv()).await.expect("the connection stands").into_vec();
        let [topic, header, body] = &frames[..] else { panic!("{} frames instead of three", frames.len()) };
        let topic = String::from_utf8(topic.to_vec()).expect("a topic is text");
        (topic, protocol::decode(header, body).expect("the broker sends what can be read"))
    }

    /// The next message, if one comes before the time is up.
    pub async fn next_within(&mut self, limit: Duration) -> Option<(String, Message)> {
        tokio::time::timeout(limit, self.next()).await.ok()
    }
}
