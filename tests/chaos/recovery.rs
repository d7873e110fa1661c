//! How long a broker with much unfinished work takes to be ready again.

use std::time::Instant;

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::support::{BrokerProcess, Database, connect, read};

/// Eight steps each.
const TASKS: usize = 12_500;
const STEPS: i64 = 100_000;

#[test]
fn a_hundred_thousand_unfinished_steps_are_all_there_again() {
    let database = Database::create();
    let mut broker = BrokerProcess::start(&database);
    let mut client = connect(broker.work());
    let yaml = read("tests/chaos/templates/wide.yaml");
    client.request(RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: None }).expect("it is accepted");
    let task = TaskRequest {
        namespace: "chaos".to_owned(),
        name: "wide".to_owned(),
        context: JsonText::new("{\"start\": 1}"),
        ..TaskRequest::default()
    };
    for _ in 0..TASKS / 500 {
        let tasks = vec![task.clone(); 500];
        client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }).expect("it is accepted");
    }
    broker.kill();
    let began = Instant::now();
    broker.start_again(&database);
    let took = began.elapsed();
    println!("ready {:.2} s after the start, with {STEPS} unfinished steps", took.as_secs_f64());
    let health = client.request(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Detailed });
    let health = health.expect("it answers");
    let tasks = u64::try_from(TASKS).expect("a few");
    assert_eq!((health.tasks, health.steps_ready), (Some(tasks), Some(tasks)));
    assert_eq!(database.number("SELECT count(*) FROM tasker.steps"), STEPS);
    broker.stop();
}
