//! Messages as they are under load.

use uuid::Uuid;

use crate::protocol::*;

/// A result of some size, as handlers return it: objects in a list, texts with and without escapes, numbers of all kinds.
pub const DOCUMENT: &str = r#"{"order_id":42,"customer":{"name":"Zo\u00eb \"Z\" Quist","city":"K\u00f8benhavn","vip":true},
"items":[{"sku":"a-1","quantity":2,"price":109.97},{"sku":"b-22","quantity":1,"price":5.5},{"sku":"c-333","quantity":12,
"price":0.125}],"total":286.94,"discount":null,"shipped_at":"2026-02-02T02:40:00Z","note":"leave it with the neighbour"}"#;

/// A message with its short name, and the steps or tasks that it is about.
pub type Sample = (&'static str, u64, Message);

/// The messages of which there are many.
pub fn samples() -> Vec<Sample> {
    vec![
        ("ExecuteBatch_20", 20, execute_batch(20)),
        ("ReportPartialResult_20", 20, report_partial_result(20)),
        ("ResultsAccepted_20", 20, results_accepted(20)),
        ("InitializeTask_1000", 1_000, initialize_task(1_000)),
    ]
}

/// The `number`th id of a kind.
fn id(kind: u64, number: u32) -> Uuid {
    Uuid::from_u64_pair(0x0197_0000_0000_7000 + kind, 0x8000_0000_0000_0000 + u64::from(number) * 0x9E37_79B9)
}

fn step_name(number: u32) -> String {
    format!("reserve_stock_{number}")
}

fn execute_batch(steps: u32) -> Message {
    let task = |number: u32| BatchTask {
        task_id: id(1, number),
        namespace: "shop".to_owned(),
        name: "order_fulfillment".to_owned(),
        version: "1.0.0".to_owned(),
        context: JsonText::new(r#"{"order_id":42,"customer":"c-17","items":[{"sku":"a-1","quantity":2}]}"#),
        tags: vec!["web".to_owned()],
        priority: 0,
        correlation_id: None,
        traceparent: None,
        tracestate: None,
        results: vec![ParentResult {
            step: step_name(0),
            result: JsonText::new(r#"{"reserved":true,"warehouse":"w-3"}"#),
        }],
    };
    let step = |number: u32| BatchStep {
        task: number / 2,
        name: step_name(1 + number % 2),
        handler: "Orders::ReserveStockHandler".to_owned(),
        attempt: 1,
        traceparent: None,
        retry_limit: 3,
        retryable: true,
        timeout_seconds: 30.0,
        inputs: JsonText::new(r#"{"region":"eu-west","strict":true}"#),
        parents: vec![step_name(0)],
        custom_events: Vec::new(),
    };
    ExecuteBatch {
        batch_id: id(2, 1),
        registration_id: id(3, 1),
        deadline_ms: 30_000,
        tasks: (0..steps.div_ceil(2)).map(task).collect(),
        steps: (0..steps).map(step).collect(),
    }
    .into()
}

fn report_partial_result(results: u32) -> Message {
    let outcome = |number: u32| StepOutcome {
        batch_id: id(2, 1),
        task_id: id(1, number),
        step: step_name(1),
        attempt: 1,
        status: OutcomeStatus::Complete,
        result: Some(JsonText::new(r#"{"reserved":true,"warehouse":"w-3","items":[{"sku":"a-1","shelf":17.5}]}"#)),
        metadata: None,
        error: None,
        started_at_us: 1_770_000_000_000_000,
        duration_us: 1_500,
        events: Vec::new(),
    };
    ReportPartialResult { correlation_id: id(4, 1), results: (0..results).map(outcome).collect() }.into()
}

fn results_accepted(results: u32) -> Message {
    let accepted = |number: u32| AcceptedResult {
        batch_id: id(2, 1),
        task_id: id(1, number),
        step: step_name(1),
        attempt: 1,
        disposition: Disposition::Accepted,
    };
    ResultsAccepted {
        correlation_id: id(4, 1),
        results: (0..results).map(accepted).collect(),
        closed_batches: vec![id(2, 0)],
    }
    .into()
}

fn initialize_task(tasks: u32) -> Message {
    let request = |number: u32| TaskRequest {
        namespace: "shop".to_owned(),
        name: "order_fulfillment".to_owned(),
        context: JsonText::new(r#"{"order_id":42,"customer":"c-17","items":[{"sku":"a-1","quantity":2}]}"#),
        idempotency_key: Some(format!("order-{number}")),
        ..TaskRequest::default()
    };
    InitializeTask { correlation_id: id(4, 1), tasks: (0..tasks).map(request).collect() }.into()
}
