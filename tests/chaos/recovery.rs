//! How long a broker with much unfinished work takes to be ready again.

use std::time::Instant;

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::support::{BrokerProcess, Database, connect, read};

/// Steps of a task.
const STEPS_EACH: usize = 8;

/// Tasks in a message.
const TASKS_EACH: usize = 500;

/// Unfinished steps: 100,000, or as many as `TASKER_CHAOS_STEPS` says.
fn steps() -> usize {
    let asked = std::env::var("TASKER_CHAOS_STEPS").ok();
    let steps: usize = asked.map_or(100_000, |steps| steps.parse().expect("TASKER_CHAOS_STEPS is a number"));
    steps.next_multiple_of(STEPS_EACH * TASKS_EACH)
}

/// Resident memory of a broker in MiB.
fn resident_mib(broker: &BrokerProcess) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has memory");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

#[test]
fn a_hundred_thousand_unfinished_steps_are_all_there_again() {
    let steps = steps();
    let tasks = steps / STEPS_EACH;
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
    let idle = resident_mib(&broker);
    for _ in 0..tasks / TASKS_EACH {
        let tasks = vec![task.clone(); TASKS_EACH];
        client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }).expect("it is accepted");
    }
    let loaded = resident_mib(&broker);
    broker.kill();
    let began = Instant::now();
    broker.start_again(&database);
    let took = began.elapsed();
    let recovered = resident_mib(&broker);
    println!("ready {:.2} s after the start, with {steps} unfinished steps", took.as_secs_f64());
    println!("resident: {idle:.1} MiB without a task, {loaded:.1} MiB with all, {recovered:.1} MiB when started again");
    let health = client.request(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Detailed });
    let health = health.expect("it answers");
    let tasks = u64::try_from(tasks).expect("a few");
    assert_eq!((health.tasks, health.steps_ready), (Some(tasks), Some(tasks)));
    assert_eq!(usize::try_from(database.number("SELECT count(*) FROM tasker.steps")), Ok(steps));
    broker.stop();
}
