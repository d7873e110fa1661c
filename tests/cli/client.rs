//! What the client makes of replies.

use std::time::{Duration, Instant};

use tasker_core::client::{Client, Error, Notice, Subscription};
use tasker_core::protocol::*;
use uuid::Uuid;

use crate::fake_broker::{FakeBroker, Peer};

const TIMEOUT: Duration = Duration::from_secs(10);

fn receive_list(peer: &mut Peer) -> Uuid {
    match peer.receive() {
        Message::ListTemplates(command) => command.correlation_id,
        other => panic!("{other:?}"),
    }
}

fn list() -> ListTemplates {
    ListTemplates { correlation_id: Uuid::nil(), namespace: None }
}

fn reply(correlation_id: Uuid, name: &str) -> TemplateList {
    let template = TemplateSummary { name: name.to_owned(), ..TemplateSummary::default() };
    TemplateList { correlation_id, templates: vec![template] }
}

#[test]
fn a_late_reply_to_an_abandoned_command_is_discarded() {
    let broker = FakeBroker::start(|peer| {
        let abandoned = receive_list(peer);
        let current = receive_list(peer);
        assert_ne!(abandoned, current);
        peer.send(reply(abandoned, "late"));
        peer.send(ErrorReply::new(ErrorCode::Unavailable, "late too").for_command(abandoned));
        peer.send(reply(current, "current"));
    });
    let mut client = Client::connect(&broker.work, Duration::from_millis(300)).expect("connect");
    let error = client.request(list()).expect_err("no answer yet");
    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
    // The second command may take its time: only the first was meant to be given up.
    let mut patient = client.with_timeout(TIMEOUT);
    assert_eq!(patient.request(list()).expect("the second reply").templates[0].name, "current");
    broker.join();
}

#[test]
fn a_refusal_arrives_as_a_typed_error() {
    let broker = FakeBroker::start(|peer| {
        for id in [receive_list(peer), Uuid::nil()] {
            let refusal = ErrorReply::new(ErrorCode::InvalidField, "limit must be 1 to 1000").with_field("limit");
            peer.send(refusal.for_command(id));
            if !id.is_nil() {
                receive_list(peer);
            }
        }
    });
    let mut client = Client::connect(&broker.work, TIMEOUT).expect("connect");
    for _ in 0..2 {
        match client.request(list()) {
            Err(Error::Refused(refusal)) => {
                assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::InvalidField, Some("limit")));
            }
            other => panic!("{other:?}"),
        }
    }
    broker.join();
}

#[test]
fn a_reply_that_is_no_message_is_an_error_and_not_a_time_out() {
    let broker = FakeBroker::start(|peer| {
        receive_list(peer);
        peer.send_frames(&[b"alone".to_vec()]);
    });
    let mut client = Client::connect(&broker.work, TIMEOUT).expect("connect");
    let error = client.request(list()).expect_err("not a message");
    assert_eq!(error.to_string(), "the broker's reply was not understood: it has 1 frames instead of 2");
    broker.join();
}

#[test]
fn a_wait_asks_again_until_the_task_has_ended() {
    let task_id = Uuid::new_v4();
    let broker = FakeBroker::start(move |peer| {
        for finished in [false, false, true] {
            let Message::WaitForTask(command) = peer.receive() else { panic!("not a wait") };
            assert_eq!(command.task_id, task_id);
            assert!((1_000..=60_000).contains(&command.timeout_ms), "{}", command.timeout_ms);
            let task = TaskSummary { task_id, ..TaskSummary::default() };
            peer.send(TaskWaited { correlation_id: command.correlation_id, finished, task });
        }
    });
    let mut client = Client::connect(&broker.work, TIMEOUT).expect("connect");
    assert!(client.wait_for_task(task_id, None).expect("finished").finished);
    broker.join();
}

#[test]
fn a_wait_ends_with_its_limit() {
    let broker = FakeBroker::start(|peer| {
        let Message::WaitForTask(command) = peer.receive() else { panic!("not a wait") };
        assert!(command.timeout_ms <= 200, "{}", command.timeout_ms);
        let task = TaskSummary::default();
        peer.send(TaskWaited { correlation_id: command.correlation_id, finished: false, task });
    });
    let mut client = Client::connect(&broker.work, TIMEOUT).expect("connect");
    let waited = client.wait_for_task(Uuid::nil(), Some(Duration::from_millis(200))).expect("not finished");
    assert!(!waited.finished);
    broker.join();
}

#[test]
fn a_gap_in_the_sequence_is_told_before_the_event_that_shows_it() {
    let broker = FakeBroker::start(|peer| {
        peer.await_subscriber();
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for (broker, sequence) in [(first, 7), (first, 8), (first, 10), (second, 11)] {
            let topic = Topic::TaskStarted.as_str().to_owned();
            peer.publish(broker, sequence, Event { topic, ..Event::default() });
        }
    });
    let mut subscription = Subscription::connect(&broker.events).expect("subscribe");
    let mut heard = Vec::new();
    for _ in 0..6 {
        heard.push(match subscription.next(Instant::now() + TIMEOUT).expect("receive").expect("in time") {
            Notice::Event(event) => event.sequence,
            Notice::Gap => 0,
        });
    }
    assert_eq!(heard, [7, 8, 0, 10, 0, 11]);
    assert!(subscription.next(Instant::now()).expect("receive").is_none());
    broker.join();
}
