//! One trace from the request through the broker to the handlers, whatever happens to the broker meanwhile.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde::Deserialize;
use tasker_core::protocol::*;
use tempfile::TempDir;
use uuid::Uuid;

use crate::collector::{Collector, attribute};
use crate::support::{
    BrokerProcess, Database, Gate, HANDLERS, PATIENCE, RubyWorker, Serves, connect, gem, read, repository, task,
    worker_at,
};

/// A span as the Ruby side wrote it.
#[derive(Clone, Debug, Deserialize)]
struct Written {
    name: String,
    trace: String,
    span: String,
    parent: Option<String>,
    sampled: bool,
    step: Option<String>,
    attempt: Option<u32>,
    error: Option<String>,
}

/// A broker that traces, and a folder in which the Ruby side writes its spans.
struct Scene {
    broker: BrokerProcess,
    collector: Collector,
    folder: TempDir,
    database: Database,
}

impl Scene {
    fn open(settings: &[(&str, &str)]) -> Scene {
        let (database, collector) = (Database::create(), Collector::open());
        let settings: Vec<_> = [("otel.endpoint", collector.endpoint())].iter().chain(settings).copied().collect();
        let broker = BrokerProcess::start_with(&database, &settings);
        let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
        let telemetry = repository("tests/otel/ruby/telemetry.rb");
        let spans = folder.path().join("spans");
        let ruby = format!("SPANS = {spans:?}\nrequire {telemetry:?}\n");
        std::fs::write(folder.path().join("telemetry.rb"), ruby).expect("the folder is ours");
        Scene { broker, collector, folder, database }
    }

    fn telemetry(&self) -> PathBuf {
        self.folder.path().join("telemetry.rb")
    }

    fn worker(&self) -> RubyWorker {
        let handlers = [self.telemetry(), repository(HANDLERS)];
        let templates =
            [repository("tests/otel/templates/traced.yaml"), repository("tests/stories/templates/single.yaml")];
        let worker = RubyWorker::start(self.broker.work(), "tracer", 5, &handlers, &Serves::Files(&templates));
        worker.registered();
        worker
    }

    /// Enqueues a task by the gem's client, in a process of its own with OpenTelemetry.
    fn enqueue(&self, name: &str, context: &str) -> Uuid {
        let mut command = Command::new("ruby");
        command.arg("-I").arg(gem().join("lib")).arg("-r").arg(self.telemetry());
        command.arg(repository("tests/otel/ruby/enqueue.rb")).args([self.broker.work(), name, context]);
        let output = command.output().expect("ruby is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("it prints the task's id")
    }

    /// Waits until the task has ended; its state.
    fn ended(&self, task: Uuid) -> String {
        let waited = connect(self.broker.work()).wait_for_task(task, Some(PATIENCE)).expect("the broker answers");
        assert!(waited.finished);
        waited.task.state
    }

    fn written(&self) -> Vec<Written> {
        let lines = std::fs::read_to_string(self.folder.path().join("spans")).expect("somebody wrote");
        lines.lines().map(|line| serde_json::from_str(line).expect("a line is a span")).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_of(span: &Span, task: Uuid) -> bool {
    attribute(span, "tasker.task_id") == Some(task.to_string())
}

fn has_ended(spans: &[Span], task: Uuid) -> bool {
    spans.iter().any(|span| is_of(span, task) && span.name.ends_with(" task"))
}

/// The attempts among the spans, by step and number.
fn attempts(spans: &[Span]) -> HashMap<(String, u32), Span> {
    let attempts = spans.iter().filter(|span| span.name.ends_with(" attempt"));
    let key = |span: &Span| {
        let number = attribute(span, "tasker.attempt").expect("an attempt has a number");
        (attribute(span, "tasker.step").expect("an attempt is of a step"), number.parse().expect("a number"))
    };
    let mut found = HashMap::new();
    for span in attempts {
        assert!(found.insert(key(span), span.clone()).is_none(), "told twice: {span:?}");
    }
    found
}

#[test]
fn one_trace_leads_from_the_request_to_the_handlers_also_when_the_broker_is_killed_meanwhile() {
    let mut scene = Scene::open(&[]);
    let worker = scene.worker();
    let gate = Gate::open(scene.folder.path(), "gate");
    let id = scene.enqueue("traced", &format!("{{\"gate\": {:?}}}", gate.path()));
    let visitor = gate.next();
    // The first two attempts are over and told; that of `held` is under way.
    scene.collector.until("both attempts are told", |spans| attempts(spans).len() == 2);
    scene.broker.kill();
    scene.broker.start_again(&scene.database);
    visitor.release("on");
    assert_eq!(scene.ended(id), "complete");
    let spans = scene.collector.until("the task is told", |spans| has_ended(spans, id));
    assert!(worker.stop().success());
    scene.broker.stop();

    let written = scene.written();
    let enqueue = written.iter().find(|span| span.name == "stories/traced enqueue").expect("it was enqueued");
    assert_eq!(enqueue.parent, None);
    let of_trace = |trace: &str| assert_eq!(trace, enqueue.trace, "everything is in one trace");
    spans.iter().for_each(|span| of_trace(&hex(&span.trace_id)));
    written.iter().for_each(|span| of_trace(&span.trace));

    let task = spans.iter().find(|span| span.name.ends_with(" task")).expect("waited for");
    assert_eq!(task.name, "stories/traced@1.0.0 task");
    assert_eq!(hex(&task.parent_span_id), enqueue.span, "the task is part of the request");
    assert_eq!(attribute(task, "tasker.outcome").as_deref(), Some("complete"));
    assert_eq!(attribute(task, "tasker.namespace").as_deref(), Some("stories"));
    assert_eq!(task.status.as_ref().map_or(0, |status| status.code), 0);

    let attempts = attempts(&spans);
    let mut known: Vec<_> = attempts.keys().map(|(step, attempt)| (step.as_str(), *attempt)).collect();
    known.sort_unstable();
    assert_eq!(known, [("after", 1), ("flaky", 1), ("flaky", 2), ("held", 1)]);
    for ((step, number), attempt) in &attempts {
        assert_eq!(hex(&attempt.parent_span_id), hex(&task.span_id), "{step} {number} is part of the task");
        let handler = written.iter().find(|span| span.step.as_ref() == Some(step) && span.attempt == Some(*number));
        let handler = handler.expect("each attempt had a handler");
        assert_eq!(handler.parent, Some(hex(&attempt.span_id)), "the handler is part of attempt {number} of {step}");
        assert_eq!(attribute(attempt, "tasker.worker").as_deref(), Some("tracer"));
        let (begun, ended) = (attempt.start_time_unix_nano, attempt.end_time_unix_nano);
        assert!(task.start_time_unix_nano <= begun && begun < ended && ended <= task.end_time_unix_nano, "{attempt:?}");
    }
    for wait in spans.iter().filter(|span| span.name.ends_with(" wait")) {
        assert_eq!(wait.parent_span_id, task.span_id);
    }
    assert_eq!(written.iter().filter(|span| span.step.is_some()).count(), attempts.len());

    let (first, second) = (&attempts[&("flaky".to_owned(), 1)], &attempts[&("flaky".to_owned(), 2)]);
    let links: Vec<_> = second.links.iter().map(|link| (link.trace_id.clone(), link.span_id.clone())).collect();
    assert_eq!(links, [(first.trace_id.clone(), first.span_id.clone())], "the second attempt links to the first");
    assert!(attempts.iter().all(|((_, number), attempt)| *number == 2 || attempt.links.is_empty()));

    let status = first.status.as_ref().expect("it failed");
    assert_eq!((status.code, status.message.as_str()), (2, "attempt 1 fails as asked"));
    assert_eq!(attribute(first, "tasker.outcome").as_deref(), Some("failed"));
    assert_eq!(attribute(first, "error.type").as_deref(), Some("TaskerCore::Errors::RetryableError"));
    assert_eq!(attribute(first, "tasker.retry_in_ms").as_deref(), Some("0"));
    assert_eq!(first.events.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["exception"]);
    assert_eq!(second.status.as_ref().map_or(0, |status| status.code), 0);
    let failed: Vec<_> = written.iter().filter_map(|span| span.error.as_deref()).collect();
    assert_eq!(failed, ["attempt 1 fails as asked"]);
    assert_eq!(scene.collector.of_sender("service.name").as_deref(), Some("tasker-broker"));
}

#[test]
fn a_task_without_a_trace_has_one_of_its_own_with_its_handlers() {
    let mut scene = Scene::open(&[("otel.service_name", "orders")]);
    let worker = scene.worker();
    let mut client = connect(scene.broker.work());
    let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![task("single", "{}")] };
    let id = client.request(command).expect("accepted").tasks[0].task_id.expect("accepted");
    let spans = scene.collector.until("the task is told", |spans| has_ended(spans, id));
    assert!(worker.stop().success());
    scene.broker.stop();
    let task = spans.iter().find(|span| span.name.ends_with(" task")).expect("waited for");
    assert_eq!(hex(&task.trace_id), id.simple().to_string(), "the task's id finds its trace");
    assert_eq!(task.parent_span_id, Vec::<u8>::new(), "the trace begins with the task");
    let attempts = attempts(&spans);
    let attempt = attempts.values().next().expect("it has a step");
    let written = scene.written();
    let [handler] = &written[..] else { panic!("{written:?}") };
    assert_eq!((handler.trace.clone(), handler.parent.clone()), (hex(&task.trace_id), Some(hex(&attempt.span_id))));
    assert!(handler.sampled);
    assert_eq!(scene.collector.of_sender("service.name").as_deref(), Some("orders"));
}

#[test]
fn what_is_not_recorded_is_not_sent_and_handlers_are_told_so() {
    let mut scene = Scene::open(&[("otel.sample_one_in", "0")]);
    let worker = scene.worker();
    let mut client = connect(scene.broker.work());
    let of_trace =
        |traceparent: &str| TaskRequest { traceparent: Some(traceparent.to_owned()), ..task("single", "{}") };
    let tasks = vec![
        task("single", "{}"),
        of_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        of_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let mut ids = Vec::new();
    // One after the other, so that what comes of the last comes last.
    for task in tasks {
        let accepted = client.request(InitializeTask { correlation_id: Uuid::nil(), tasks: vec![task] });
        ids.push(accepted.expect("accepted").tasks[0].task_id.expect("accepted"));
        assert_eq!(scene.ended(*ids.last().expect("just added")), "complete");
    }
    let spans = scene.collector.until("the recorded task is told", |spans| has_ended(spans, ids[2]));
    assert!(spans.iter().all(|span| is_of(span, ids[2])), "{spans:#?}");
    assert!(worker.stop().success());
    scene.broker.stop();
    let own = ids[0].simple().to_string();
    let traces: Vec<_> = scene.written().into_iter().map(|span| (span.trace, span.sampled)).collect();
    let expected = [
        (own, false),
        ("0af7651916cd43dd8448eb211c80319c".to_owned(), false),
        ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), true),
    ];
    assert_eq!(traces, expected);
}

#[test]
fn a_wait_for_a_worker_and_a_retry_by_an_operator_are_told() {
    let mut scene = Scene::open(&[]);
    let mut client = connect(scene.broker.work());
    let yaml = read("tests/stories/templates/permanent.yaml");
    client.request(RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: None }).expect("accepted");
    let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![task("permanent", "{}")] };
    let task_id = client.request(command).expect("accepted").tasks[0].task_id.expect("accepted");
    // A Ruby process takes longer to start than a wait has to last.
    let worker = worker_at(scene.broker.work(), "late", 5, &["permanent"]);
    assert_eq!(scene.ended(task_id), "error");
    let (actor, reason) = ("operator".to_owned(), "once more".to_owned());
    client
        .request(RetryTask { correlation_id: Uuid::nil(), task_id, steps: Vec::new(), actor, reason })
        .expect("accepted");
    assert_eq!(scene.ended(task_id), "error");
    let again = |span: &Span| span.name == "stories/permanent@1.0.0 again";
    let spans = scene.collector.until("the retry is told", |spans| spans.iter().any(again));
    assert!(worker.stop().success());
    scene.broker.stop();

    let tasks: Vec<_> = spans.iter().filter(|span| span.name.ends_with(" task")).collect();
    let [task] = tasks[..] else { panic!("{tasks:#?}") };
    assert_eq!(task.status.as_ref().map_or(0, |status| status.code), 2, "it ended in error");
    let again = spans.iter().find(|span| again(span)).expect("waited for");
    assert_eq!(again.parent_span_id, task.span_id);
    assert_ne!(again.span_id, task.span_id);
    assert!(again.start_time_unix_nano >= task.end_time_unix_nano - 1_000_000, "{again:?}");
    let waited = |span: &&Span| span.name == "stories/permanent@1.0.0 start wait";
    let wait = spans.iter().find(waited).expect("nobody was there at first");
    assert_eq!(wait.parent_span_id, task.span_id);
    assert!(wait.end_time_unix_nano - wait.start_time_unix_nano >= 10_000_000, "{wait:?}");
    let attempts = attempts(&spans);
    let [first, second] = [1, 2].map(|number| &attempts[&("fails".to_owned(), number)]);
    assert_eq!(second.links.iter().map(|link| &link.span_id).collect::<Vec<_>>(), [&first.span_id]);
}
