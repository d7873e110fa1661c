//! Runs one workload for `benches/count`, and prints how many events, steps or messages it was. Without a name it lists the
//! workloads.

use std::process::ExitCode;

use tasker_benches::broker::Broker;
use tasker_benches::shapes::{self, Parents};
use tasker_benches::{counted, messages, protocol, snapshot};
use tasker_engine::Config;

/// Messages of a kind that are encoded or decoded.
const MESSAGES: u64 = 50;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        for (name, _) in workloads() {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, run)) = workloads().into_iter().find(|(known, _)| *known == name) else {
        eprintln!("there is no workload {name}; without a name they are listed");
        return ExitCode::FAILURE;
    };
    println!("{}", run());
    ExitCode::SUCCESS
}

type Workload = (String, Box<dyn Fn() -> u64>);

fn workloads() -> Vec<Workload> {
    let mut all: Vec<Workload> = Vec::new();
    for (name, parents, tasks) in [
        ("engine/chain_4", shapes::chain(4), 2_000),
        ("engine/diamond", shapes::diamond(), 2_000),
        ("engine/fan_100", shapes::fan(100), 80),
        ("engine/wide_10000", shapes::wide(10_000), 1),
        ("engine/deep_2000", shapes::chain(2_000), 1),
        ("engine/random_10000", shapes::random(10_000), 1),
    ] {
        all.push((name.to_owned(), Box::new(move || complete(&parents, tasks))));
    }
    all.push(("engine/recover_4".to_owned(), Box::new(|| recover(2_000))));
    for (kind, _, _) in messages::samples() {
        all.push((format!("codec/encode_{kind}"), Box::new(move || encode(kind))));
        all.push((format!("codec/decode_{kind}"), Box::new(move || decode(kind))));
    }
    all.push(("codec/check_json".to_owned(), Box::new(check_json)));
    all
}

/// Documents.
fn check_json() -> u64 {
    let document = protocol::JsonText::new(messages::DOCUMENT);
    for _ in 0..MESSAGES {
        counted(|| document.check()).expect("it is JSON");
    }
    MESSAGES
}

/// Runs tasks from submission to their end. Events.
fn complete(parents: &Parents, tasks: usize) -> u64 {
    let mut broker = Broker::new(Config::default());
    broker.register("order", parents);
    broker.submit("order", tasks);
    broker.finish();
    assert_eq!(broker.engine.held().tasks, 0, "every task has ended");
    broker.events
}

/// Rebuilds an engine. Steps.
fn recover(tasks: u32) -> u64 {
    let snapshot = snapshot::begun(&shapes::chain(4), tasks);
    let engine = counted(|| snapshot::recover(snapshot));
    assert_eq!(engine.held().tasks, u64::from(tasks), "every task is back");
    u64::from(tasks) * 4
}

fn sample(kind: &str) -> protocol::Message {
    let found = messages::samples().into_iter().find(|(known, _, _)| *known == kind);
    found.expect("the kinds come from the samples").2
}

/// Messages.
fn encode(kind: &str) -> u64 {
    let message = sample(kind);
    for _ in 0..MESSAGES {
        counted(|| protocol::encode(&message));
    }
    MESSAGES
}

/// Messages.
fn decode(kind: &str) -> u64 {
    let message = sample(kind);
    let (header, body) = protocol::encode(&message);
    for _ in 0..MESSAGES {
        let decoded = counted(|| protocol::decode(&header, &body));
        assert_eq!(decoded.as_ref(), Ok(&message), "decoding is the inverse");
    }
    MESSAGES
}
