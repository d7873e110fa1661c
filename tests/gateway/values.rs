//! Values that the door takes, refuses or mends.

use bytes::Bytes;
use tasker_core::gateway::{Options, Outgoing};
use tasker_core::protocol::*;
use tasker_engine as engine;
use tasker_engine::{Event as Happened, Outcome, Reply};
use uuid::Uuid;

use crate::broker::*;
use crate::peers::WorkerPeer;

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_not_taken_are_refused_by_name() {
    let broker = Broker::start(options());
    let mut client = broker.client().await;
    let worker = WorkerPeer::connect(&broker.gateway.endpoints().work[0], "w").await;
    let (correlation_id, task_id) = (Uuid::from_u128(77), Uuid::from_u128(78));
    let register = |change: &dyn Fn(&mut RegisterWorker)| {
        let mut introduction = RegisterWorker { correlation_id, ..worker.introduction(&["n/t"], 1) };
        change(&mut introduction);
        Message::from(introduction)
    };
    let capability = |template: &str| {
        let template = template.to_owned();
        register(&move |worker| worker.templates[0].template.clone_from(&template))
    };
    let list = |change: &dyn Fn(&mut ListTasks)| {
        let mut query = ListTasks { correlation_id, limit: 10, ..ListTasks::default() };
        change(&mut query);
        Message::from(query)
    };
    let resolve = |step: &str, result: &str| {
        let (step, result) = (step.to_owned(), Some(JsonText::new(result)));
        Message::from(ResolveStep {
            correlation_id,
            task_id,
            step,
            result,
            actor: String::new(),
            reason: String::new(),
        })
    };
    let cancel = |actor: &str| {
        let (actor, reason) = (actor.to_owned(), String::new());
        Message::from(CancelTask { correlation_id, task_id, actor, reason })
    };
    let yaml = |yaml: &str| Message::from(RegisterTemplate { correlation_id, yaml: yaml.to_owned(), source: None });
    let submit = Message::from(InitializeTask { correlation_id, tasks: vec![TaskRequest::default(); 21] });
    let returned = StepReference { batch_id: task_id, task_id, step: "s".to_owned(), attempt: 0 };
    let returned = ReturnSteps { correlation_id, steps: vec![returned], reason: String::new() };
    let show = |template: &str| Message::from(ShowTemplate { correlation_id, template: template.to_owned() });
    for (message, code, field) in [
        (register(&|worker| worker.name.clear()), ErrorCode::InvalidField, Some("name")),
        (register(&|worker| worker.name = "a\0b".to_owned()), ErrorCode::InvalidField, Some("name")),
        (register(&|worker| worker.name = "n".repeat(256)), ErrorCode::TooLarge, Some("name")),
        (register(&|worker| worker.host = "\0".to_owned()), ErrorCode::InvalidField, Some("host")),
        (register(&|worker| worker.concurrency = 0), ErrorCode::InvalidField, Some("concurrency")),
        (register(&|worker| worker.pid = u32::MAX), ErrorCode::InvalidField, Some("pid")),
        (capability("no slash"), ErrorCode::InvalidField, Some("templates[0].template")),
        (capability("n/"), ErrorCode::InvalidField, Some("templates[0].template")),
        (capability("n/*@1.0.0"), ErrorCode::InvalidField, Some("templates[0].template")),
        (capability("n/a/b"), ErrorCode::InvalidField, Some("templates[0].template")),
        (list(&|query| query.limit = 0), ErrorCode::InvalidField, Some("limit")),
        (list(&|query| query.limit = 1_001), ErrorCode::InvalidField, Some("limit")),
        (list(&|query| query.state = Some("lost".to_owned())), ErrorCode::InvalidField, Some("state")),
        (list(&|query| query.tag = Some("\0".to_owned())), ErrorCode::InvalidField, Some("tag")),
        (list(&|query| query.filter = Some("nmae:x".to_owned())), ErrorCode::InvalidField, Some("filter")),
        (resolve("s", "{"), ErrorCode::InvalidJson, Some("result")),
        (resolve("s", "\"\\ud800\""), ErrorCode::InvalidJson, Some("result")),
        (resolve("s", &format!("\"{}\"", "x".repeat(1_000))), ErrorCode::TooLarge, Some("result")),
        (resolve("", "1"), ErrorCode::InvalidField, Some("step")),
        (cancel("\0"), ErrorCode::InvalidField, Some("actor")),
        (returned.into(), ErrorCode::InvalidField, Some("steps[0].attempt")),
        (show("squares"), ErrorCode::InvalidField, Some("template")),
        (yaml("x"), ErrorCode::InvalidTemplate, None),
        (yaml(&"x".repeat(1_001)), ErrorCode::TooLarge, Some("yaml")),
        (submit, ErrorCode::TooLarge, Some("tasks")),
    ] {
        let what = format!("{message:.200?}");
        let Message::Error(error) = client.request(message).await else { panic!("{what} was taken") };
        assert_eq!((error.code, error.field.as_deref()), (code, field), "{what}: {}", error.message);
    }
    assert!(broker.inbox.is_empty(), "something that is not taken went through");
    broker.check_health(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_a_submission_stands_alone() {
    let broker = Broker::start(options());
    let mut client = broker.client().await;
    let row = || TaskRequest { namespace: "n".to_owned(), name: "squares".to_owned(), ..TaskRequest::default() };
    let text = |text: &str| Some(text.to_owned());
    let tasks = vec![
        TaskRequest { context: JsonText::new("{\"n\":1e999}"), idempotency_key: text("k"), ..row() },
        TaskRequest { context: JsonText::new("[1]"), ..row() },
        TaskRequest { context: JsonText::new("{\"n\":\"\\u0000\"}"), ..row() },
        TaskRequest { context: JsonText::new(format!("{{\"n\":\"{}\"}}", "x".repeat(1_000))), ..row() },
        TaskRequest { idempotency_key: Some("k".repeat(256)), ..row() },
        TaskRequest { idempotency_key: text("\0"), ..row() },
        TaskRequest { tags: vec!["t".to_owned(); 65], ..row() },
        TaskRequest { run_at_ms: Some(-1), ..row() },
        TaskRequest { options: Some(JsonText::new("7")), ..row() },
        TaskRequest { reason: text("a\0"), ..row() },
        row(),
    ];
    client.send(InitializeTask { correlation_id: Uuid::new_v4(), tasks }).await;
    let Happened::TasksSubmitted { origin, requests } = broker.heard_event() else { panic!("tasks") };
    let found: Vec<_> = requests
        .iter()
        .map(|row| {
            row.as_ref().map(|row| row.context.clone()).map_err(|refusal| (refusal.kind, refusal.field.as_deref()))
        })
        .collect();
    use engine::RefusalKind::{InvalidField, InvalidJson, TooLarge};
    let expected = [
        Ok(Bytes::from_static(b"{\"n\":1e999}")),
        Err((InvalidField, Some("context"))),
        Err((InvalidJson, Some("context"))),
        Err((TooLarge, Some("context"))),
        Err((TooLarge, Some("idempotency_key"))),
        Err((InvalidField, Some("idempotency_key"))),
        Err((TooLarge, Some("tags"))),
        Err((InvalidField, Some("run_at_ms"))),
        Err((InvalidField, Some("options"))),
        Err((InvalidField, Some("reason"))),
        Ok(Bytes::from_static(b"{}")),
    ];
    assert_eq!(found, expected);

    let refusal = requests[1].as_ref().expect_err("refused").clone();
    let task = engine::TaskId(Uuid::from_u128(4));
    let made = engine::TaskInitialized { task, template: template(), duplicate: true };
    broker.send(Outgoing::Reply { to: origin, reply: Reply::TasksInitialized(vec![Ok(made), Err(refusal)]) });
    let Message::TasksInitialized(initialized) = client.next().await else { panic!("not initialized") };
    let [made, refused] = &initialized.tasks[..] else { panic!("{initialized:?}") };
    assert_eq!((made.task_id, made.template.as_deref(), made.duplicate), (Some(task.0), Some("n/squares@1.0.0"), true));
    assert_eq!(made.steps, ["first", "second"]);
    assert_eq!(refused.error.as_ref().map(|error| error.code), Some(ErrorCode::InvalidField));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_cannot_be_stored_becomes_a_failure() {
    let broker = Broker::start(Options { message_bytes_max: 1_000_000, ..options() });
    let mut client = broker.client().await;
    let sample = || StepOutcome {
        batch_id: Uuid::from_u128(20),
        task_id: Uuid::from_u128(30),
        step: "first".to_owned(),
        attempt: 1,
        status: OutcomeStatus::Complete,
        result: None,
        metadata: None,
        error: None,
        started_at_us: i64::MIN,
        duration_us: u64::MAX,
        events: vec![],
    };
    let json = |text: &str| Some(JsonText::new(text));
    let error = StepError {
        context: json("{"),
        backtrace: vec!["l".repeat(2_000); 150],
        ..crate::peers::failure(&"C".repeat(300), &format!("a\0{}", "ä".repeat(20_000)), true)
    };
    let event = CustomEvent { name: "squared".to_owned(), payload: JsonText::new("nope") };
    let results = vec![
        StepOutcome { result: json("\"\\u0000\""), ..sample() },
        StepOutcome { result: json(&"9".repeat(1_001)), ..sample() },
        StepOutcome { metadata: json("[]"), ..sample() },
        StepOutcome { events: vec![event], ..sample() },
        StepOutcome { status: OutcomeStatus::Error, ..sample() },
        StepOutcome { status: OutcomeStatus::Error, error: Some(error), ..sample() },
        sample(),
    ];
    client.send(ReportPartialResult { correlation_id: Uuid::new_v4(), results }).await;
    let Happened::ResultsReported { results, .. } = broker.heard_event() else { panic!("results") };
    for (report, what) in results.iter().zip(["result", "result", "metadata", "events[0].payload", "error"]) {
        let Outcome::Failed(failure) = &report.outcome else { panic!("{report:?}") };
        assert_eq!((failure.class.as_str(), failure.retryable), ("TaskerCore::Errors::InvalidResult", false));
        assert!(failure.message.contains(what), "{} does not name {what}", failure.message);
        assert!(report.refused);
    }
    let Outcome::Failed(failure) = &results[5].outcome else { panic!("{:?}", results[5]) };
    assert!(!results[5].refused && failure.retryable);
    assert!(failure.message.starts_with("a\u{FFFD}ä") && failure.message.len() < 17_000);
    assert!(failure.message.contains("context was dropped"), "{}", failure.message);
    assert_eq!((failure.class.len(), failure.backtrace.len(), failure.backtrace[0].len()), (255, 100, 1_024));
    assert_eq!(results[6].outcome, Outcome::Complete(Bytes::from_static(b"null")));
    assert_eq!((results[6].started_at_us, results[6].duration_us), (0, i64::MAX as u64));
}
