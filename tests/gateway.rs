//! The gateway alone, over real sockets; the test stands in for the engine.

mod peers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use peers::{Client, Subscriber, WorkerPeer};
use tasker_core::gateway::{Error, Gateway, Incoming, Options, Outgoing, Received};
use tasker_core::protocol::*;
use tasker_engine as engine;
use tasker_engine::{Event as Happened, Origin, Outcome, Reply};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    Options {
        work: vec!["tcp://127.0.0.1:0".to_owned()],
        events: vec!["tcp://127.0.0.1:0".to_owned()],
        allow_insecure: false,
        security: None,
        connections_max: 100,
        peers_max: 100,
        peer_bytes_max: 1_000_000,
        payload_bytes_max: 1_000,
        message_bytes_max: 100_000,
        template_bytes_max: 1_000,
        tasks_per_command_max: 20,
        inbox_events_max: 100,
        inbox_bytes_max: 1_000_000,
        broker_id: Uuid::from_u128(1),
        epoch: 3,
        heartbeat_ms: 5_000,
        worker_timeout_ms: 30_000,
        unacknowledged_max: 10,
        tracing: None,
        environment: None,
        parse_template: |source, yaml, _| {
            let message = format!("{source}:1:1: {yaml} is no template");
            Err(engine::Refusal::new(engine::RefusalKind::InvalidTemplate, message).position("1:1"))
        },
    }
}

/// A gateway, and what its peers say.
struct Broker {
    gateway: Gateway,
    inbox: Receiver<Received>,
}

impl Broker {
    fn start(options: Options) -> Broker {
        let (sender, inbox) = crossbeam_channel::unbounded();
        Broker { gateway: Gateway::start(options, sender, Arc::default()).expect("loopback can be bound"), inbox }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.gateway.endpoints().work[0]).await
    }

    fn heard(&self) -> Incoming {
        let received = self.inbox.recv_timeout(PATIENCE).expect("a peer said something");
        self.gateway.budget().give_back(received.bytes);
        received.incoming
    }

    fn heard_event(&self) -> Happened {
        match self.heard() {
            Incoming::Event(event) => event,
            other => panic!("not for the engine: {other:?}"),
        }
    }

    fn heard_health(&self) -> Origin {
        match self.heard() {
            Incoming::Health { origin, .. } => origin,
            other => panic!("not a health check: {other:?}"),
        }
    }

    fn send(&self, outgoing: Outgoing) {
        self.gateway.outbox().send(vec![outgoing]).expect("the gateway runs");
    }

    fn report_health(&self, to: Origin) {
        let report =
            HealthReport { correlation_id: to.correlation, status: "ok".to_owned(), ..HealthReport::default() };
        self.send(Outgoing::Message { to, message: Box::new(report.into()) });
    }

    /// A health check there and back.
    async fn check_health(&self, client: &mut Client) {
        let command = health_check();
        client.send(command.clone()).await;
        self.report_health(self.heard_health());
        let Message::HealthReport(report) = client.reply_to(command.correlation_id).await else {
            panic!("not a health report")
        };
        assert_eq!(report.status, "ok");
    }
}

fn health_check() -> HealthCheck {
    HealthCheck { correlation_id: Uuid::new_v4(), level: HealthLevel::Detailed }
}

fn template() -> Arc<engine::Template> {
    let key = engine::TemplateKey { namespace: "n".into(), name: "squares".into(), version: "1.0.0".into() };
    let step = |name: &str| engine::StepTemplate {
        name: name.into(),
        handler_class: "Square".into(),
        retryable: true,
        retry_limit: 3,
        backoff: engine::Backoff::default(),
        skippable: false,
        timeout_ms: 1_500,
        inputs: Bytes::from_static(b"{\"of\":2}"),
        custom_events: Box::new(["squared".into()]),
        dependent_system: None,
    };
    let steps = vec![(step("first"), vec![]), (step("second"), vec!["first".into()])];
    Arc::new(engine::Template::new(key, steps).expect("two steps in a row"))
}

fn dispatch(registration: engine::RegistrationId) -> engine::Dispatch {
    engine::Dispatch {
        batch: engine::BatchId(Uuid::from_u128(20)),
        registration,
        deadline_in_ms: 1_500,
        tasks: vec![engine::DispatchedTask {
            id: engine::TaskId(Uuid::from_u128(30)),
            template: template(),
            context: Bytes::from_static(b"{\"n\":340282366920938463463374607431768211456}"),
            priority: 7,
            labels: Arc::default(),
            results: vec![(0, Bytes::from_static(b"4"))],
        }],
        steps: vec![engine::DispatchedStep { task: 0, step: 1, attempt: 2, retry_limit: 3 }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_registers_gets_a_batch_and_reports() {
    let broker = Broker::start(options());
    let mut worker = WorkerPeer::connect(&broker.gateway.endpoints().work[0], "w").await;
    let registration = engine::RegistrationId(Uuid::from_u128(10));

    let introduction = worker.introduction(&["n/squares@1.0.0", "n/squares", "m/*"], 4);
    worker.client.send(introduction.clone()).await;
    let Happened::WorkerRegistered { origin, worker: introduced } = broker.heard_event() else {
        panic!("registration")
    };
    assert_eq!((origin.correlation, &*introduced.name, introduced.concurrency), (introduction.correlation_id, "w", 4));
    assert_eq!(
        introduced.capabilities,
        [
            engine::Capability::Exact(template().key.clone()),
            engine::Capability::AnyVersion("n".into(), "squares".into()),
            engine::Capability::Namespace("m".into()),
        ]
    );
    let reply = Reply::WorkerRegistered { registration, closed_batches: vec![], templates: vec![template()] };
    let order = engine::WorkerMessage::Execute(Box::new(dispatch(registration)));
    broker
        .gateway
        .outbox()
        .send(vec![Outgoing::Reply { to: origin, reply }, Outgoing::Worker { peer: origin.peer, message: order }])
        .expect("the gateway runs");
    let Message::WorkerRegistered(registered) = worker.client.reply_to(introduction.correlation_id).await else {
        panic!("not registered")
    };
    worker.registration_id = registered.registration_id;
    assert_eq!((registered.epoch, registered.heartbeat_ms, registered.payload_bytes_max), (3, 5_000, 1_000));
    assert_eq!(registered.templates, ["n/squares@1.0.0"]);

    let batch = worker.receive_batch().await;
    let (task, step) = (&batch.tasks[0], &batch.steps[0]);
    assert_eq!(task.context.as_str(), "{\"n\":340282366920938463463374607431768211456}");
    assert_eq!(task.results, [ParentResult { step: "first".to_owned(), result: JsonText::new("4") }]);
    assert_eq!((&*step.name, &*step.handler, step.timeout_seconds), ("second", "Square", 1.5));
    assert_eq!((step.inputs.as_str(), &step.parents[..], step.attempt), ("{\"of\":2}", &["first".to_owned()][..], 2));

    let outcome = peers::outcome(&batch, step, |_, _| Ok("16".to_owned()));
    let command = Uuid::new_v4();
    worker.client.send(ReportPartialResult { correlation_id: command, results: vec![outcome] }).await;
    let Happened::ResultsReported { origin, results } = broker.heard_event() else { panic!("results") };
    assert_eq!(results[0].outcome, Outcome::Complete(Bytes::from_static(b"16")));
    let results = vec![(results[0].at.clone(), engine::Disposition::Accepted)];
    broker.send(Outgoing::Reply { to: origin, reply: Reply::ResultsAccepted { results, closed_batches: vec![] } });
    let Message::ResultsAccepted(accepted) = worker.client.reply_to(command).await else { panic!("not accepted") };
    assert_eq!(accepted.results[0].disposition, Disposition::Accepted);
    assert_eq!((&*accepted.results[0].step, accepted.results[0].batch_id), ("second", batch.batch_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_are_answered_and_nobody_else_notices() {
    let broker = Broker::start(options());
    let (mut bad, mut good) = (broker.client().await, broker.client().await);
    let (header, body) = encode(&health_check().into());
    let (header, broker_only) = (header.to_vec(), MessageType::WorkerRegistered.header().to_vec());
    let registered =
        encode(&HeartbeatAcknowledged { correlation_id: Uuid::nil(), broker_id: Uuid::nil(), epoch: 1 }.into());
    for (what, frames, code) in [
        ("one frame", vec![header.clone()], ErrorCode::MalformedMessage),
        ("an empty frame", vec![vec![]], ErrorCode::MalformedMessage),
        ("three frames", vec![header.clone(), body.clone(), body.clone()], ErrorCode::MalformedMessage),
        ("a REQ socket", vec![vec![], header.clone(), body.clone()], ErrorCode::MalformedMessage),
        ("a hundred frames", vec![header.clone(); 100], ErrorCode::MalformedMessage),
        ("no map", vec![header.clone(), b"\xc0".to_vec()], ErrorCode::MalformedMessage),
        ("nothing required", vec![broker_only, b"\x80".to_vec()], ErrorCode::InvalidField),
        ("another version", vec![vec![0x54, 2, 3, 0x0b], body.clone()], ErrorCode::UnsupportedVersion),
        ("an unknown type", vec![vec![0x54, 1, 9, 9], body.clone()], ErrorCode::UnknownMessage),
        ("a broker's message", vec![registered.0.to_vec(), registered.1], ErrorCode::UnknownMessage),
    ] {
        bad.send_frames(frames).await;
        let Message::Error(error) = bad.next().await else { panic!("{what} was not refused") };
        assert_eq!(error.code, code, "{what}: {}", error.message);
        broker.check_health(&mut good).await;
    }
    broker.check_health(&mut bad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_bundle_are_taken_one_by_one() {
    let broker = Broker::start(options());
    let mut client = broker.client().await;
    let frames = |message: Message| {
        let (header, body) = encode(&message);
        [header.to_vec(), body]
    };
    let commands: Vec<HealthCheck> = (0..16).map(|_| health_check()).collect();
    client.send_frames(commands.iter().flat_map(|command| frames(command.clone().into())).collect()).await;
    for command in &commands {
        assert_eq!(broker.heard_health().correlation, command.correlation_id);
    }
    // What is wrong with one of them concerns no other.
    let (before, after) = (health_check(), health_check());
    let junk = [MessageType::HealthCheck.header().to_vec(), b"junk".to_vec()];
    let bundle = [frames(before.clone().into()), junk, frames(after.clone().into())].concat();
    client.send_frames(bundle).await;
    let Message::Error(error) = client.next().await else { panic!("junk was not refused") };
    assert_eq!(error.code, ErrorCode::MalformedMessage, "{}", error.message);
    assert_eq!(broker.heard_health().correlation, before.correlation_id);
    assert_eq!(broker.heard_health().correlation, after.correlation_id);

    let one_too_many: Vec<Vec<u8>> = (0..17).flat_map(|_| frames(health_check().into())).collect();
    client.send_frames(one_too_many).await;
    let Message::Error(error) = client.next().await else { panic!("too many were taken") };
    assert!(error.message.contains("at most 16 messages; this one has 17"), "{}", error.message);
    broker.check_health(&mut client).await;
    assert!(broker.inbox.is_empty(), "a part of a refused bundle was taken");
    let received = broker.gateway.traffic().counts().messages_received;
    assert_eq!(received, 16 + 3 + 1 + 1, "each message counts, and a bundle that is none as one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_gets_as_many_messages_at_once_as_it_takes() {
    let broker = Broker::start(options());
    let mut worker = WorkerPeer::connect(&broker.gateway.endpoints().work[0], "w").await;
    let registration = engine::RegistrationId(Uuid::from_u128(10));
    let batch = || engine::WorkerMessage::Execute(Box::new(dispatch(registration)));
    for (takes, sizes) in [(None, &[1, 1, 1, 1][..]), (Some(3), &[3, 1]), (Some(0), &[1, 1, 1, 1]), (Some(16), &[4])] {
        let introduction = RegisterWorker { bundle_max: takes, ..worker.introduction(&["n/squares"], 4) };
        worker.client.send(introduction.clone()).await;
        let Happened::WorkerRegistered { origin, .. } = broker.heard_event() else { panic!("registration") };
        let reply = Reply::WorkerRegistered { registration, closed_batches: vec![], templates: vec![template()] };
        let mut group = vec![Outgoing::Reply { to: origin, reply }];
        group.extend((0..3).map(|_| Outgoing::Worker { peer: origin.peer, message: batch() }));
        broker.gateway.outbox().send(group).expect("the gateway runs");
        let mut bundles = Vec::new();
        for _ in sizes {
            bundles.push(worker.client.next_bundle().await);
        }
        let lengths: Vec<usize> = bundles.iter().map(Vec::len).collect();
        assert_eq!(lengths, sizes, "{takes:?}");
        let mut messages = bundles.into_iter().flatten();
        let Some(Message::WorkerRegistered(registered)) = messages.next() else { panic!("not in their order") };
        assert_eq!((registered.correlation_id, registered.bundle_max), (introduction.correlation_id, Some(16)));
        assert!(messages.all(|message| matches!(message, Message::ExecuteBatch(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_offence_is_met_with_silence() {
    let broker = Broker::start(options());
    let (mut bad, mut good) = (broker.client().await, broker.client().await);
    for _ in 0..16 {
        bad.send_frames(vec![b"junk".to_vec()]).await;
        assert!(matches!(bad.next().await, Message::Error(_)));
    }
    bad.send_frames(vec![b"junk".to_vec()]).await;
    bad.send(health_check()).await;
    broker.check_health(&mut good).await;
    broker.check_health(&mut good).await;
    assert!(broker.inbox.is_empty(), "a silenced peer was heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_peer_that_is_gone_is_an_event() {
    let broker = Broker::start(options());
    let mut client = broker.client().await;
    client.send(health_check()).await;
    let origin = broker.heard_health();
    drop(client);
    let event = loop {
        // Until the connection's end is noticed, messages to it are taken.
        broker.report_health(origin);
        if let Ok(incoming) = broker.inbox.recv_timeout(Duration::from_millis(10)) {
            break incoming;
        }
    };
    let Incoming::Event(Happened::PeerUnreachable { peer }) = event.incoming else { panic!("{event:?}") };
    assert_eq!(peer, origin.peer);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_numbered_without_gaps_and_filtered_by_prefix() {
    let broker = Broker::start(options());
    let mut everything = Subscriber::connect(&broker.gateway.endpoints().events[0], &[""]).await;
    let mut controls = Subscriber::connect(&broker.gateway.endpoints().events[0], &["control."]).await;
    let publish = |kind| {
        let task = Some(engine::TaskId(Uuid::from_u128(5)));
        broker.send(Outgoing::Publish(engine::Notice { task, ..engine::Notice::new(kind) }));
    };
    // A subscription takes its time; the first messages that arrive show that it is there.
    for subscriber in [&mut everything, &mut controls] {
        loop {
            broker.send(Outgoing::Control { kind: ControlKind::Pause, task: None });
            if subscriber.next_within(Duration::from_millis(20)).await.is_some() {
                break;
            }
        }
    }
    publish(engine::NoticeKind::TaskStarted);
    let custom = Some(Box::new(("squared".into(), Bytes::from_static(b"[4]"))));
    let notice =
        engine::Notice { custom, template: Some(template()), ..engine::Notice::new(engine::NoticeKind::Custom) };
    broker.send(Outgoing::Publish(notice));
    publish(engine::NoticeKind::TaskCancelled);

    let mut last = None;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|topic| topic != "control.cancel") {
        let (topic, message) = everything.next().await;
        let sequence = match message {
            Message::Event(event) => {
                assert_eq!((&event.topic, event.broker_id), (&topic, Uuid::from_u128(1)));
                event.sequence
            }
            Message::Control(control) => control.sequence,
            other => panic!("{other:?} was published"),
        };
        assert_eq!(sequence, last.map_or(sequence, |last: u64| last + 1), "a gap before {topic}");
        last = Some(sequence);
        if topic != "control.pause" {
            seen.push(topic);
        }
    }
    let expected = ["event.task.started", "event.custom.n.squared", "event.task.cancelled", "control.cancel"];
    assert_eq!(seen, expected);
    loop {
        let (topic, message) = controls.next().await;
        assert!(topic.starts_with("control."), "{topic}");
        if let Message::Control(Control { kind: ControlKind::Cancel, task_id, .. }) = message {
            assert_eq!(task_id, Some(Uuid::from_u128(5)));
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_and_ipc_endpoints_serve_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let ipc = format!("ipc://{}", folder.path().join("work").display());
    let work = vec!["tcp://127.0.0.1:0".to_owned(), ipc.clone(), "tcp://[::1]:0".to_owned()];
    let broker = Broker::start(Options { work, ..options() });
    let endpoints = broker.gateway.endpoints().work.clone();
    assert!(!endpoints[0].ends_with(":0"), "{endpoints:?}");
    assert_eq!(endpoints[1], ipc);
    for endpoint in &endpoints[..2] {
        broker.check_health(&mut Client::connect(endpoint).await).await;
    }
}

#[test]
fn endpoints_that_cannot_be_bound_are_named() {
    let start = |endpoint: &str| {
        let work = vec![endpoint.to_owned()];
        Gateway::start(Options { work, ..options() }, crossbeam_channel::unbounded().0, Arc::default())
            .expect_err(endpoint)
    };
    for endpoint in ["tcp://0.0.0.0:0", "tcp://*:0"] {
        assert!(matches!(start(endpoint), Error::Insecure { .. }), "{endpoint}");
    }
    let taken = Broker::start(options());
    for endpoint in [
        taken.gateway.endpoints().work[0].as_str(),
        "ipc:///nonexistent-folder/socket",
        &format!("ipc:///tmp/{}", "x".repeat(120)),
        "inproc://here",
        "nonsense",
    ] {
        let error = start(endpoint);
        assert!(error.to_string().contains(endpoint), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_refuses_commands_and_keeps_the_last_heartbeat_of_each_worker() {
    let broker = Broker::start(Options { inbox_events_max: 2, ..options() });
    let mut client = broker.client().await;
    let mut worker = WorkerPeer::connect(&broker.gateway.endpoints().work[0], "w").await;
    let commands: Vec<HealthCheck> = (0..3).map(|_| health_check()).collect();
    for command in &commands {
        client.send(command.clone()).await;
    }
    let Message::Error(error) = client.reply_to(commands[2].correlation_id).await else { panic!("not refused") };
    assert_eq!((error.code, error.retryable, error.limit), (ErrorCode::Overloaded, true, Some(2)));
    assert!(error.retry_after_ms.is_some());

    let beats: Vec<WorkerHeartbeat> = (0..3).map(heartbeat).collect();
    for beat in &beats {
        worker.client.send(beat.clone()).await;
    }
    // What is refused on the same connection shows that the heartbeats before it were read.
    let last = health_check();
    worker.client.send(last.clone()).await;
    assert!(matches!(worker.client.reply_to(last.correlation_id).await, Message::Error(_)));

    let first = broker.heard_health();
    broker.report_health(first);
    assert!(matches!(client.reply_to(commands[0].correlation_id).await, Message::HealthReport(_)));
    assert_eq!(broker.heard_health().correlation, commands[1].correlation_id);
    let Happened::WorkerBeat { beat, .. } = broker.heard_event() else { panic!("not a heartbeat") };
    assert_eq!(beat.free_slots, 2, "the last of them");
    broker.check_health(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_done_with_are_bounded() {
    let broker = Broker::start(Options { inbox_bytes_max: 2_500, ..options() });
    let mut client = broker.client().await;
    let submit = |byte: &str| InitializeTask {
        correlation_id: Uuid::new_v4(),
        tasks: vec![TaskRequest {
            namespace: "n".to_owned(),
            name: "squares".to_owned(),
            context: JsonText::new(format!("{{\"a\":\"{}\"}}", byte.repeat(900))),
            ..TaskRequest::default()
        }],
    };
    let commands = ["a", "b", "c"].map(submit);
    for command in &commands {
        client.send(command.clone()).await;
    }
    let Message::Error(error) = client.reply_to(commands[2].correlation_id).await else { panic!("not refused") };
    assert_eq!((error.code, error.retryable, error.limit), (ErrorCode::Overloaded, true, Some(2_500)));
    assert!(error.retry_after_ms.is_some());

    let beat = heartbeat(7);
    client.send(beat.clone()).await;
    let first = broker.inbox.recv_timeout(PATIENCE).expect("it had room");
    assert!(first.bytes > 900 && broker.gateway.budget().taken() > 2 * 900);
    broker.inbox.recv_timeout(PATIENCE).expect("it had room");
    assert!(matches!(broker.heard_event(), Happened::WorkerBeat { .. }), "a heartbeat is always taken");

    broker.gateway.budget().give_back(first.bytes);
    let again = submit("d");
    client.send(again.clone()).await;
    assert_eq!(broker.heard_event().origin().map(|origin| origin.correlation), Some(again.correlation_id));
}

fn heartbeat(free_slots: u32) -> WorkerHeartbeat {
    let (correlation_id, registration_id) = (Uuid::new_v4(), Uuid::from_u128(7));
    WorkerHeartbeat { correlation_id, registration_id, free_slots, in_flight: 0, idle_ms: None, load: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_before_the_stop_is_sent() {
    let broker = Broker::start(options());
    let mut client = broker.client().await;
    let command = health_check();
    client.send(command.clone()).await;
    broker.report_health(broker.heard_health());
    let outbox = broker.gateway.outbox();
    broker.gateway.stop();
    assert!(matches!(client.reply_to(command.correlation_id).await, Message::HealthReport(_)));
    let control = Outgoing::Control { kind: ControlKind::Pause, task: None };
    outbox.send(vec![control]).expect_err("nobody sends it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_peers_than_are_taken_are_refused() {
    let broker = Broker::start(Options { peers_max: 1, ..options() });
    let mut first = broker.client().await;
    first.send(health_check()).await;
    let origin = broker.heard_health();
    let mut second = broker.client().await;
    second.send(health_check()).await;
    let Message::Error(error) = second.next().await else { panic!("not refused") };
    assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true));
    broker.report_health(origin);
    first.next().await;
    broker.check_health(&mut second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_not_taken_are_refused_by_name() {
    let broker = Broker::start(options());
    let mut client = broker.client().await;
    let worker = WorkerPeer::connect(&broker.gateway.endpoints().work[0], "w").await;
    let (correlation_id, task_id) = (Uuid::from_u128(77), Uuid::from_u128(78));
    let register = |change: &dyn Fn(&mut RegisterWorker)| {
        let mut introduction = RegisterWorker { correlation_id, ..worker.introduction(&["n/t"], 1) };
        change(&mut introduction);
        Message::from(introduction)
    };
    let capability = |template: &str| {
        let template = template.to_owned();
        register(&move |worker| worker.templates[0].template.clone_from(&template))
    };
    let list = |change: &dyn Fn(&mut ListTasks)| {
        let mut query = ListTasks { correlation_id, limit: 10, ..ListTasks::default() };
        change(&mut query);
        Message::from(query)
    };
    let resolve = |step: &str, result: &str| {
        let (step, result) = (step.to_owned(), Some(JsonText::new(result)));
        Message::from(ResolveStep {
            correlation_id,
            task_id,
            step,
            result,
            actor: String::new(),
            reason: String::new(),
        })
    };
    let cancel = |actor: &str| {
        let (actor, reason) = (actor.to_owned(), String::new());
        Message::from(CancelTask { correlation_id, task_id, actor, reason })
    };
    let yaml = |yaml: &str| Message::from(RegisterTemplate { correlation_id, yaml: yaml.to_owned(), source: None });
    let submit = Message::from(InitializeTask { correlation_id, tasks: vec![TaskRequest::default(); 21] });
    let returned = StepReference { batch_id: task_id, task_id, step: "s".to_owned(), attempt: 0 };
    let returned = ReturnSteps { correlation_id, steps: vec![returned], reason: String::new() };
    let show = |template: &str| Message::from(ShowTemplate { correlation_id, template: template.to_owned() });
    for (message, code, field) in [
        (register(&|worker| worker.name.clear()), ErrorCode::InvalidField, Some("name")),
        (register(&|worker| worker.name = "a\0b".to_owned()), ErrorCode::InvalidField, Some("name")),
        (register(&|worker| worker.name = "n".repeat(256)), ErrorCode::TooLarge, Some("name")),
        (register(&|worker| worker.host = "\0".to_owned()), ErrorCode::InvalidField, Some("host")),
        (register(&|worker| worker.concurrency = 0), ErrorCode::InvalidField, Some("concurrency")),
        (register(&|worker| worker.pid = u32::MAX), ErrorCode::InvalidField, Some("pid")),
        (capability("no slash"), ErrorCode::InvalidField, Some("templates[0].template")),
        (capability("n/"), ErrorCode::InvalidField, Some("templates[0].template")),
        (capability("n/*@1.0.0"), ErrorCode::InvalidField, Some("templates[0].template")),
        (capability("n/a/b"), ErrorCode::InvalidField, Some("templates[0].template")),
        (list(&|query| query.limit = 0), ErrorCode::InvalidField, Some("limit")),
        (list(&|query| query.limit = 1_001), ErrorCode::InvalidField, Some("limit")),
        (list(&|query| query.state = Some("lost".to_owned())), ErrorCode::InvalidField, Some("state")),
        (list(&|query| query.tag = Some("\0".to_owned())), ErrorCode::InvalidField, Some("tag")),
        (list(&|query| query.filter = Some("nmae:x".to_owned())), ErrorCode::InvalidField, Some("filter")),
        (resolve("s", "{"), ErrorCode::InvalidJson, Some("result")),
        (resolve("s", "\"\\ud800\""), ErrorCode::InvalidJson, Some("result")),
        (resolve("s", &format!("\"{}\"", "x".repeat(1_000))), ErrorCode::TooLarge, Some("result")),
        (resolve("", "1"), ErrorCode::InvalidField, Some("step")),
        (cancel("\0"), ErrorCode::InvalidField, Some("actor")),
        (returned.into(), ErrorCode::InvalidField, Some("steps[0].attempt")),
        (show("squares"), ErrorCode::InvalidField, Some("template")),
        (yaml("x"), ErrorCode::InvalidTemplate, None),
        (yaml(&"x".repeat(1_001)), ErrorCode::TooLarge, Some("yaml")),
        (submit, ErrorCode::TooLarge, Some("tasks")),
    ] {
        let what = format!("{message:.200?}");
        let Message::Error(error) = client.request(message).await else { panic!("{what} was taken") };
        assert_eq!((error.code, error.field.as_deref()), (code, field), "{what}: {}", error.message);
    }
    assert!(broker.inbox.is_empty(), "something that is not taken went through");
    broker.check_health(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_a_submission_stands_alone() {
    let broker = Broker::start(options());
    let mut client = broker.client().await;
    let row = || TaskRequest { namespace: "n".to_owned(), name: "squares".to_owned(), ..TaskRequest::default() };
    let text = |text: &str| Some(text.to_owned());
    let tasks = vec![
        TaskRequest { context: JsonText::new("{\"n\":1e999}"), idempotency_key: text("k"), ..row() },
        TaskRequest { context: JsonText::new("[1]"), ..row() },
        TaskRequest { context: JsonText::new("{\"n\":\"\\u0000\"}"), ..row() },
        TaskRequest { context: JsonText::new(format!("{{\"n\":\"{}\"}}", "x".repeat(1_000))), ..row() },
        TaskRequest { idempotency_key: Some("k".repeat(256)), ..row() },
        TaskRequest { idempotency_key: text("\0"), ..row() },
        TaskRequest { tags: vec!["t".to_owned(); 65], ..row() },
        TaskRequest { run_at_ms: Some(-1), ..row() },
        TaskRequest { options: Some(JsonText::new("7")), ..row() },
        TaskRequest { reason: text("a\0"), ..row() },
        row(),
    ];
    client.send(InitializeTask { correlation_id: Uuid::new_v4(), tasks }).await;
    let Happened::TasksSubmitted { origin, requests } = broker.heard_event() else { panic!("tasks") };
    let found: Vec<_> = requests
        .iter()
        .map(|row| {
            row.as_ref().map(|row| row.context.clone()).map_err(|refusal| (refusal.kind, refusal.field.as_deref()))
        })
        .collect();
    use engine::RefusalKind::{InvalidField, InvalidJson, TooLarge};
    let expected = [
        Ok(Bytes::from_static(b"{\"n\":1e999}")),
        Err((InvalidField, Some("context"))),
        Err((InvalidJson, Some("context"))),
        Err((TooLarge, Some("context"))),
        Err((TooLarge, Some("idempotency_key"))),
        Err((InvalidField, Some("idempotency_key"))),
        Err((TooLarge, Some("tags"))),
        Err((InvalidField, Some("run_at_ms"))),
        Err((InvalidField, Some("options"))),
        Err((InvalidField, Some("reason"))),
        Ok(Bytes::from_static(b"{}")),
    ];
    assert_eq!(found, expected);

    let refusal = requests[1].as_ref().expect_err("refused").clone();
    let task = engine::TaskId(Uuid::from_u128(4));
    let made = engine::TaskInitialized { task, template: template(), duplicate: true };
    broker.send(Outgoing::Reply { to: origin, reply: Reply::TasksInitialized(vec![Ok(made), Err(refusal)]) });
    let Message::TasksInitialized(initialized) = client.next().await else { panic!("not initialized") };
    let [made, refused] = &initialized.tasks[..] else { panic!("{initialized:?}") };
    assert_eq!((made.task_id, made.template.as_deref(), made.duplicate), (Some(task.0), Some("n/squares@1.0.0"), true));
    assert_eq!(made.steps, ["first", "second"]);
    assert_eq!(refused.error.as_ref().map(|error| error.code), Some(ErrorCode::InvalidField));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_cannot_be_stored_becomes_a_failure() {
    let broker = Broker::start(Options { message_bytes_max: 1_000_000, ..options() });
    let mut client = broker.client().await;
    let sample = || StepOutcome {
        batch_id: Uuid::from_u128(20),
        task_id: Uuid::from_u128(30),
        step: "first".to_owned(),
        attempt: 1,
        status: OutcomeStatus::Complete,
        result: None,
        metadata: None,
        error: None,
        started_at_us: i64::MIN,
        duration_us: u64::MAX,
        events: vec![],
    };
    let json = |text: &str| Some(JsonText::new(text));
    let error = StepError {
        context: json("{"),
        backtrace: vec!["l".repeat(2_000); 150],
        ..peers::failure(&"C".repeat(300), &format!("a\0{}", "ä".repeat(20_000)), true)
    };
    let event = CustomEvent { name: "squared".to_owned(), payload: JsonText::new("nope") };
    let results = vec![
        StepOutcome { result: json("\"\\u0000\""), ..sample() },
        StepOutcome { result: json(&"9".repeat(1_001)), ..sample() },
        StepOutcome { metadata: json("[]"), ..sample() },
        StepOutcome { events: vec![event], ..sample() },
        StepOutcome { status: OutcomeStatus::Error, ..sample() },
        StepOutcome { status: OutcomeStatus::Error, error: Some(error), ..sample() },
        sample(),
    ];
    client.send(ReportPartialResult { correlation_id: Uuid::new_v4(), results }).await;
    let Happened::ResultsReported { results, .. } = broker.heard_event() else { panic!("results") };
    for (report, what) in results.iter().zip(["result", "result", "metadata", "events[0].payload", "error"]) {
        let Outcome::Failed(failure) = &report.outcome else { panic!("{report:?}") };
        assert_eq!((failure.class.as_str(), failure.retryable), ("TaskerCore::Errors::InvalidResult", false));
        assert!(failure.message.contains(what), "{} does not name {what}", failure.message);
        assert!(report.refused);
    }
    let Outcome::Failed(failure) = &results[5].outcome else { panic!("{:?}", results[5]) };
    assert!(!results[5].refused && failure.retryable);
    assert!(failure.message.starts_with("a\u{FFFD}ä") && failure.message.len() < 17_000);
    assert!(failure.message.contains("context was dropped"), "{}", failure.message);
    assert_eq!((failure.class.len(), failure.backtrace.len(), failure.backtrace[0].len()), (255, 100, 1_024));
    assert_eq!(results[6].outcome, Outcome::Complete(Bytes::from_static(b"null")));
    assert_eq!((results[6].started_at_us, results[6].duration_us), (0, i64::MAX as u64));
}
