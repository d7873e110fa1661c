//! The engine's own way to the sockets, beside the gateway's thread.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tasker_core::gateway::{Line, Outgoing};
use tasker_core::protocol::*;
use tasker_engine::{Origin, TaskId};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use uuid::Uuid;

use crate::broker::*;
use crate::peers::{Client, Subscriber};

fn signs(line: &Line) -> AsyncFd<OwnedFd> {
    let signs = line.signs().expect("descriptors are left");
    // SAFETY: the descriptor belongs to the AsyncFd, and is open as long as that is.
    unsafe { AsyncFd::register_with_interest(signs, Interest::READABLE) }.expect("it can be watched")
}

fn report(to: Origin) -> Vec<Outgoing> {
    let report = HealthReport { correlation_id: to.correlation, status: "ok".to_owned(), ..HealthReport::default() };
    vec![Outgoing::Message { to, message: Box::new(report.into()) }]
}

/// Lets the gateway's thread turn, twice: it may have been in a turn already.
async fn turn(broker: &Broker, subscriber: &mut Subscriber) {
    for _ in 0..2 {
        let id = Uuid::new_v4();
        broker.send(Outgoing::Control { kind: ControlKind::Cancel, task: Some(TaskId(id)) });
        while !matches!(subscriber.next().await.1, Message::Control(control) if control.task_id == Some(id)) {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_listens_on_the_line_reads_instead_of_the_gateways_thread() {
    let broker = Broker::start(options());
    let mut client = broker.client().await;
    let mut subscriber = Subscriber::connect(&broker.gateway.endpoints().events[0], &["control."]).await;
    // A subscription takes its time.
    while subscriber.next_within(Duration::from_millis(20)).await.is_none() {
        broker.send(Outgoing::Control { kind: ControlKind::Pause, task: None });
    }
    broker.check_health(&mut client).await;
    let line = broker.gateway.line().expect("descriptors are left");
    let signs = signs(&line);

    line.listen(true);
    turn(&broker, &mut subscriber).await;
    let command = health_check();
    client.send(command.clone()).await;
    let origin = loop {
        signs.readable().await.expect("it is watched").clear_ready();
        turn(&broker, &mut subscriber).await;
        assert!(broker.inbox.is_empty(), "the gateway's thread has read");
        line.read();
        if !broker.inbox.is_empty() {
            break broker.heard_health();
        }
    };
    assert_eq!(origin.correlation, command.correlation_id);
    line.send(report(origin)).expect("the gateway runs");
    assert!(matches!(client.reply_to(command.correlation_id).await, Message::HealthReport(_)));

    line.listen(false);
    broker.check_health(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_sends_in_the_order_of_handing_over() {
    let broker = Broker::start(options());
    let mut client = broker.client().await;
    let line = broker.gateway.line().expect("descriptors are left");
    let command = health_check();
    client.send(command.clone()).await;
    let to = broker.heard_health();
    let numbered = |number: u64| {
        let report = HealthReport { correlation_id: to.correlation, uptime_seconds: number, ..HealthReport::default() };
        Outgoing::Message { to, message: Box::new(report.into()) }
    };
    for _ in 0..300 {
        broker.send(numbered(0));
        line.send(vec![numbered(1)]).expect("the gateway runs");
        // Too many for the caller's thread.
        line.send((2..22).map(numbered).collect()).expect("the gateway runs");
        for number in 0..22 {
            let Message::HealthReport(report) = client.next().await else { panic!("not a report") };
            assert_eq!(report.uptime_seconds, number);
        }
    }
}

/// A client that asks one question after the other. What is overlooked is found by the gateway's next look at the connections,
/// a twentieth of a second later, so that it takes some to end the test.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_line_changes_hands() {
    const QUESTIONS: usize = 10_000;
    let broker = Broker::start(options());
    let endpoint = broker.gateway.endpoints().work[0].clone();
    let client = tokio::spawn(async move {
        let mut client = Client::connect(&endpoint).await;
        for _ in 0..QUESTIONS {
            let command = health_check();
            client.send(command.clone()).await;
            assert!(matches!(client.reply_to(command.correlation_id).await, Message::HealthReport(_)));
        }
    });
    let line = broker.gateway.line().expect("descriptors are left");
    let signs = signs(&line);
    let engine = async {
        let (mut answered, mut listens) = (0, false);
        while answered < QUESTIONS {
            if broker.inbox.is_empty() {
                tokio::select! {
                    ready = signs.readable(), if listens => {
                        ready.expect("it is watched").clear_ready();
                        line.read();
                    }
                    () = broker.arrived.notified() => {}
                }
                continue;
            }
            let report = report(broker.heard_health());
            answered += 1;
            // Through the gateway's thread at times, which then sends while somebody else listens.
            if answered % 3 == 0 {
                broker.gateway.outbox().send(report).expect("the gateway runs");
            } else {
                line.send(report).expect("the gateway runs");
            }
            if answered % 2 == 0 {
                listens = !listens;
                line.listen(listens);
            }
        }
    };
    let all = tokio::time::timeout(PATIENCE, async { tokio::join!(engine, client).1 }).await;
    all.expect("questions or answers were overlooked").expect("every question is answered");
}
