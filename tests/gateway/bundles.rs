//! Several messages at once, both ways.

use tasker_core::gateway::Outgoing;
use tasker_core::protocol::*;
use tasker_engine as engine;
use tasker_engine::{Event as Happened, Reply};
use uuid::Uuid;

use crate::broker::*;
use crate::peers::WorkerPeer;

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
