//! What is done with more than there is room for.

use tasker_core::gateway::Options;
use tasker_core::protocol::*;
use tasker_engine::Event as Happened;
use uuid::Uuid;

use crate::broker::*;
use crate::peers::WorkerPeer;

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
