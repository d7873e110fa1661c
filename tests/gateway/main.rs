//! The gateway alone, over real sockets; the test stands in for the engine.

mod broker;
mod bundles;
mod line;
mod room;
mod values;

#[path = "../peers/mod.rs"]
mod peers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tasker_core::gateway::{Error, Gateway, Incoming, Options, Outgoing};
use tasker_core::protocol::*;
use tasker_engine as engine;
use tasker_engine::{Event as Happened, Outcome, Reply};
use uuid::Uuid;

use broker::*;
use peers::{Client, Subscriber, WorkerPeer};

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
