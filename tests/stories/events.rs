//! Events are published after the commit, numbered without gaps; whoever loses them loses nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use tasker_core::protocol::*;

use crate::invariants;
use crate::peers::Subscriber;
use crate::support::{Stage, task};

/// A subscription that is known to stand: templates are registered until one is heard of.
fn subscribe(stage: &mut Stage, prefixes: &[&str]) -> (Subscriber, Event) {
    let events = stage.events.clone();
    let mut subscriber = stage.database.run(Subscriber::connect(&events, prefixes));
    for number in 0..1_000 {
        stage.register_text(&format!(
            "namespace_name: probe\nname: probe\nversion: 0.0.{number}\nstep_templates:\n  \
             - {{name: a, handler_class: H}}\n"
        ));
        let heard = subscriber.next_within(Duration::from_millis(100));
        if let Some((_, Message::Event(event))) = stage.database.run(heard) {
            return (subscriber, event);
        }
    }
    panic!("no event was heard");
}

#[test]
fn a_subscriber_hears_everything_in_order_and_without_gaps() {
    let mut stage = Stage::open();
    let (mut subscriber, first) = subscribe(&mut stage, &["event.", "control."]);
    stage.register("chain");
    stage.register("announce");
    stage.register("permanent");
    let worker = stage.worker("loud", 5, &["chain", "announce", "permanent"]);
    let (chain, _) = stage.perform(task("chain", "{}"));
    let (announce, _) = stage.perform(task("announce", "{\"start\": 18446744073709551616}"));
    let (failed, _) = stage.perform(task("permanent", "{}"));
    assert!(worker.stop().success());

    let mut heard = vec![first];
    while heard.last().is_none_or(|event| event.topic != "event.worker.unregistered") {
        match stage.database.run(subscriber.next()) {
            (topic, Message::Event(event)) => {
                assert_eq!(topic, event.topic);
                heard.push(event);
            }
            (topic, other) => panic!("{topic}: {other:?}"),
        }
    }
    for pair in heard.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1, "{pair:?}");
        assert_eq!(pair[1].broker_id, pair[0].broker_id);
    }
    let of_chain = |event: &&Event| event.task_id == Some(chain.task_id);
    let story: Vec<_> = heard.iter().filter(of_chain).map(|e| (e.topic.as_str(), e.step.as_deref())).collect();
    let mut expected = vec![("event.task.initialized", None), ("event.task.started", None)];
    for step in ["a", "b", "c", "d"] {
        expected.push(("event.step.dispatched", Some(step)));
        expected.push(("event.step.completed", Some(step)));
    }
    expected.push(("event.task.completed", None));
    assert_eq!(story, expected);
    let topics: BTreeSet<&str> = heard.iter().map(|event| event.topic.as_str()).collect();
    for topic in ["event.worker.registered", "event.batch.published", "event.batch.closed", "event.template.registered"]
    {
        assert!(topics.contains(topic), "{topic} is missing in {topics:?}");
    }
    let custom = heard.iter().find(|event| event.topic == "event.custom.stories.announced").expect("it was announced");
    assert_eq!(custom.task_id, Some(announce.task_id));
    assert_eq!(custom.payload.as_ref().expect("it has one").as_str(), "{\"start\":18446744073709551616}");
    let end = heard.iter().find(|event| event.topic == "event.task.failed").expect("one task failed");
    assert_eq!((end.task_id, end.state.as_deref()), (Some(failed.task_id), Some("error")));
    invariants::hold(&stage.database);
}

#[test]
fn an_event_is_published_after_its_commit() {
    let mut stage = Stage::open();
    let (mut subscriber, _) = subscribe(&mut stage, &["event.task.completed", "event.template."]);
    stage.register("single");
    let worker = stage.worker("one", 5, &["single"]);
    let ids: Vec<_> = (0..20).map(|_| stage.submit(task("single", "{}"))).collect();
    let mut completed = 0;
    while completed < ids.len() {
        let (_, message) = stage.database.run(subscriber.next());
        let Message::Event(Event { task_id: Some(id), .. }) = message else { continue };
        let state = stage.database.text(&format!("SELECT final_state FROM tasker.tasks WHERE task_id = '{id}'"));
        assert_eq!(state, "complete", "the event was there before its row");
        completed += 1;
    }
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

#[test]
fn a_subscriber_that_reads_nothing_holds_nobody_up() {
    let mut stage = Stage::open();
    let (subscriber, _) = subscribe(&mut stage, &["event."]);
    stage.register("wide");
    let worker = stage.worker("one", 10, &["wide"]);
    let outcomes = stage.submit_all((0..200).map(|_| task("wide", "{}")).collect());
    for outcome in outcomes {
        assert_eq!(stage.ended(outcome.task_id.expect("accepted")).state, "complete");
    }
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
    drop(subscriber);
}
