//! Peers that do not read what they are sent.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::peers::WorkerPeer;
use crate::siege::{NOISE, PEER_BYTES_MAX, Siege};
use crate::zmtp::{Closed, Wire, frame};

const TEMPLATE: &str = "namespace_name: hostile\nname: large\nversion: 1.0.0\nstep_templates:\n  \
                        - {name: a, handler_class: Large, custom_events: [grown]}\n";
/// Near the largest payload.
const PAYLOAD_BYTES: usize = 1_000_000;

fn payload() -> JsonText {
    JsonText::new(format!("\"{}\"", "x".repeat(PAYLOAD_BYTES)))
}

/// Runs a task of one step with a large result and events with large payloads.
async fn run_large_task(work: &str, events: usize) -> Uuid {
    let mut worker = WorkerPeer::connect(work, "large").await;
    let correlation_id = Uuid::new_v4();
    let template = RegisterTemplate { correlation_id, yaml: TEMPLATE.to_owned(), source: None };
    let Message::TemplateRegistered(_) = worker.client.request(template).await else { panic!("not registered") };
    worker.register(worker.introduction(&["hostile/large"], 1)).await;
    let request = TaskRequest {
        namespace: "hostile".to_owned(),
        name: "large".to_owned(),
        context: JsonText::new("{}"),
        ..TaskRequest::default()
    };
    let submission = InitializeTask { correlation_id: Uuid::new_v4(), tasks: vec![request] };
    let Message::TasksInitialized(submitted) = worker.client.request(submission).await else { panic!("not taken") };
    let batch = worker.receive_batch().await;
    let mut outcome = crate::peers::outcome(&batch, &batch.steps[0], |_, _| Ok(payload().as_str().to_owned()));
    outcome.events = vec![CustomEvent { name: "grown".to_owned(), payload: payload() }; events];
    let report = ReportPartialResult { correlation_id: Uuid::new_v4(), results: vec![outcome] };
    let Message::ResultsAccepted(accepted) = worker.client.request(report).await else { panic!("not accepted") };
    assert_eq!(accepted.results[0].disposition, Disposition::Accepted);
    worker.complete(&batch, CompletionStatus::Complete).await;
    submitted.tasks[0].task_id.expect("it was accepted")
}

#[test]
fn a_client_that_never_reads_is_cut_at_the_bound() {
    let mut siege = Siege::begin();
    let work = siege.broker.work().to_owned();
    let alone = siege.health();
    let task_id = siege.database.run(run_large_task(&work, 0));
    let before = siege.until("the large task's worker has gone", |report| report.connections == alone.connections);
    let memory = siege.memory();
    let mut wire = Wire::greet(&work, "DEALER").expect("a good handshake");
    let include_results = vec!["a".to_owned()];
    let ask = TaskStatus { correlation_id: Uuid::new_v4(), task_id, include_steps: true, include_results };
    // Twenty times the bound, if all of it were answered.
    for _ in 0..20 * PEER_BYTES_MAX / PAYLOAD_BYTES as u64 {
        if wire.send_message(ask.clone()) == Err(Closed) {
            break;
        }
    }
    let cut = before.connections_cut.map(|count| count + 1);
    siege.until("it is cut", |report| report.connections_cut == cut && report.connections == before.connections);
    wire.wait_for_end();
    memory.stayed_within(2 * PEER_BYTES_MAX + NOISE);
}

#[test]
fn a_frozen_subscriber_is_cut_at_the_bound() {
    let mut siege = Siege::begin();
    let work = siege.broker.work().to_owned();
    let mut frozen = Wire::greet(siege.broker.events(), "SUB").expect("a good handshake");
    frozen.send(&frame(false, b"\x01event.custom.")).expect("the broker reads");
    let (memory, before) = (siege.memory(), siege.health());
    let mut published = 0;
    while siege.health().connections_cut == before.connections_cut {
        siege.database.run(run_large_task(&work, 10));
        siege.carries_on();
        published += 10 * PAYLOAD_BYTES as u64;
        assert!(published < 20 * PEER_BYTES_MAX, "the subscriber is still there");
    }
    eprintln!("cut after {published} bytes of events");
    memory.stayed_within(3 * PEER_BYTES_MAX + NOISE);
    frozen.send(&frame(false, b"\x01")).ok();
    frozen.wait_for_end();
}
