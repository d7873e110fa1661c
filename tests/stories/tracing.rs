//! The trace that a request belongs to comes with every step of its task.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::peers::WorkerPeer;
use crate::support::{Stage, task};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_trace_reaches_the_steps_of_its_task_also_after_a_restart() {
    let mut stage = Stage::open();
    stage.register("single");
    let text = |text: &str| Some(text.to_owned());
    let requests = [
        (text(PARENT), text("congo=t61rcWkgMzE")),
        // Whatever it is: the broker does not look into it.
        (text("no trace"), None),
        (None, text("of nothing")),
        (None, None),
    ];
    let submitted = stage.submit_all(
        requests
            .iter()
            .cloned()
            .map(|(traceparent, tracestate)| TaskRequest { traceparent, tracestate, ..task("single", "{}") })
            .collect(),
    );
    stage.database.execute(&format!(
        "SELECT tasker.submit_task('stories', 'single', '{{}}', idempotency_key => 'row', traceparent => '{PARENT}')"
    ));
    stage.until("the row is a task", |stage| {
        (stage.database.number("SELECT count(*) FROM tasker.task_inbox") == 0).then_some(())
    });
    stage.stop();
    stage.start();

    let work = stage.work.clone();
    let received = stage.database.run(async {
        let mut worker = WorkerPeer::connect(&work, "tracer").await;
        worker.register(worker.introduction(&["stories/single"], 10)).await;
        let mut tasks = Vec::new();
        while tasks.len() < requests.len() + 1 {
            tasks.extend(worker.receive_batch().await.tasks);
        }
        tasks
    });
    let trace_of = |id: Uuid| {
        let task = received.iter().find(|task| task.task_id == id).expect("it was handed out");
        (task.traceparent.as_deref(), task.tracestate.as_deref())
    };
    let traces: Vec<_> = submitted.iter().map(|outcome| trace_of(outcome.task_id.expect("accepted"))).collect();
    assert_eq!(
        traces,
        [(Some(PARENT), Some("congo=t61rcWkgMzE")), (Some("no trace"), None), (None, None), (None, None)]
    );
    let row = stage.database.text("SELECT task_id::text FROM tasker.tasks WHERE idempotency_key = 'row'");
    assert_eq!(trace_of(row.parse().expect("an id")), (Some(PARENT), None));
}

#[test]
fn a_trace_that_is_too_long_is_refused() {
    let mut stage = Stage::open();
    stage.register("single");
    let long = TaskRequest { traceparent: Some("x".repeat(256)), ..task("single", "{}") };
    let state = TaskRequest { traceparent: Some("x".to_owned()), tracestate: Some("x".repeat(4097)), ..long.clone() };
    let refusals = stage.submit_all(vec![long, state]).into_iter().map(|outcome| outcome.error.expect("refused"));
    let refusals: Vec<_> = refusals.map(|error| (error.code, error.field.expect("a field"))).collect();
    let expected = ["traceparent", "tracestate"].map(|field| (ErrorCode::TooLarge, field.to_owned()));
    assert_eq!(refusals, expected);
}
