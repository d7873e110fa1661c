//! Bad input of every kind gets an error that names what is wrong and where, and leaves nothing behind.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::peers::{Client, WorkerPeer};
use crate::support::{Database, Stage, read, request, task};

/// Rows of every table that a client's command could write to. Refusals of commands are on record in `commands`, where
/// each row says so; everything else has to stay as it was.
fn rows(database: &Database) -> Vec<String> {
    let tables = database.texts(
        "SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE nspname = 'tasker' AND relkind IN ('r', 'p') AND NOT relispartition
           AND relname NOT IN ('commands', 'group_log', 'lanes', 'brokers') ORDER BY 1",
    );
    assert!(tables.len() > 10, "{tables:?}");
    let count =
        |table: &String| format!("{table}: {}", database.number(&format!("SELECT count(*) FROM tasker.{table}")));
    tables.iter().map(count).collect()
}

/// What a refusal has to say: its code, the field or position, and a piece of the message.
struct Expected(&'static str, &'static str, &'static str);

fn check(error: &ErrorReply, Expected(code, place, message): &Expected) {
    assert_eq!(error.code.as_str(), *code, "{error:?}");
    assert!(error.message.contains(message), "{message:?} is not said in {error:?}");
    let places = [error.field.as_deref().unwrap_or(""), error.position.as_deref().unwrap_or("")];
    assert!(place.is_empty() || places.iter().any(|said| said.contains(place)), "{place:?} is not named in {error:?}");
    assert!(!error.retryable, "{error:?}");
}

fn yaml(steps: &str) -> String {
    format!("namespace_name: bad\nname: bad\nversion: 1.0.0\nstep_templates:\n{steps}")
}

#[test]
fn templates_that_are_wrong_are_refused_with_their_place() {
    let mut stage = Stage::open();
    let before = rows(&stage.database);
    let step =
        |name: &str, parent: &str| format!("  - name: {name}\n    handler_class: H\n    depends_on_step: {parent}\n");
    let cases = [
        (yaml(&(step("a", "b") + &step("b", "a"))), Expected("invalid_template", "flow.yaml:7:", "a -> b -> a")),
        (yaml(&step("a", "nobody")), Expected("invalid_template", "flow.yaml:7:", "nobody")),
        (
            yaml("  - {name: a, handler_class: H}\n  - {name: a, handler_class: H}\n"),
            Expected("invalid_template", "flow.yaml:6:", "a"),
        ),
        (
            yaml("  - {name: a, handler_class: H, retry_limit: 3}\n"),
            Expected("invalid_template", "step_templates[0].retry_limit", "retry_limit"),
        ),
        (yaml("  - {name: a}\n"), Expected("invalid_template", "flow.yaml:5", "handler_class")),
        (
            yaml("  - {name: a, handler_class: H, timeout_seconds: soon}\n"),
            Expected("invalid_template", "timeout_seconds", "soon"),
        ),
        ("name: [".to_owned(), Expected("invalid_template", "flow.yaml:", "")),
        (
            yaml("  - {name: a, handler_class: H}\n").replace("1.0.0", "1.0"),
            Expected("invalid_template", "version", "1.0"),
        ),
        ("# ".to_owned() + &"x".repeat(5_000_000), Expected("too_large", "yaml", "")),
    ];
    for (yaml, expected) in &cases {
        let source = Some("flow.yaml".to_owned());
        let command = RegisterTemplate { correlation_id: Uuid::nil(), yaml: yaml.clone(), source };
        check(&stage.refusal(command), expected);
    }
    assert_eq!(rows(&stage.database), before);
}

#[test]
fn submissions_that_are_wrong_are_refused_with_their_place() {
    let mut stage = Stage::open();
    let linear = "linear_workflow/mathematical_sequence";
    stage.register_text(&read("examples/linear_workflow/template.yaml"));
    stage.register("skippable");
    let before = rows(&stage.database);
    let context = |text: &str| request(linear, text);
    let payload_max = 1_048_576;
    let cases = [
        (request("nowhere/nothing", "{}"), Expected("unknown_template", "", "nowhere/nothing")),
        (request("linear_workflow/mathematical_sequence@2.0.0", "{}"), Expected("unknown_version", "", "2.0.0")),
        (context("{\"even_number\": \"six\"}"), Expected("invalid_context", "/even_number", "integer")),
        (context("{}"), Expected("invalid_context", "", "even_number")),
        (context("{\"even_number\": 6"), Expected("invalid_json", "context", "")),
        (context("{\"even_number\": 6, \"a\": \"\\u0000\"}"), Expected("invalid_json", "context", "NUL")),
        (context("{\"even_number\": 6, \"a\": \"\\ud800\"}"), Expected("invalid_json", "context", "")),
        (context("{\"even_number\": 6, \"a\": \"\\udc00\"}"), Expected("invalid_json", "context", "surrogate")),
        (context("[6]"), Expected("invalid_field", "context", "object")),
        (
            context(&format!("{{\"even_number\": 6, \"a\": \"{}\"}}", "x".repeat(payload_max))),
            Expected("too_large", "context", "1048576"),
        ),
        (
            TaskRequest { idempotency_key: Some("k".repeat(256)), ..context("{\"even_number\": 6}") },
            Expected("too_large", "idempotency_key", "255"),
        ),
        (
            TaskRequest { bypass_steps: vec!["a".to_owned()], ..task("skippable", "{}") },
            Expected("invalid_field", "bypass_steps", "a"),
        ),
        (
            TaskRequest { bypass_steps: vec!["z".to_owned()], ..task("skippable", "{}") },
            Expected("unknown_step", "bypass_steps", "z"),
        ),
        (
            TaskRequest { reason: Some("a\0b".to_owned()), ..context("{\"even_number\": 6}") },
            Expected("invalid_field", "reason", "NUL"),
        ),
    ];
    for (request, expected) in cases {
        let outcome = stage.submit_all(vec![request]).remove(0);
        assert_eq!(outcome.task_id, None);
        check(&outcome.error.expect("it is refused"), &expected);
    }
    assert_eq!(rows(&stage.database), before);
    let acknowledged = stage
        .database
        .number("SELECT count(*) FROM tasker.commands WHERE outcome = 'accepted' AND name = 'InitializeTask'");
    assert_eq!(acknowledged, 0);
}

#[test]
fn commands_about_what_does_not_exist_are_refused() {
    let mut stage = Stage::open();
    stage.register("single");
    let id = stage.submit(task("single", "{}"));
    let before = rows(&stage.database);
    let nil = Uuid::nil();
    let nobody = Uuid::now_v7();
    let (actor, reason) = (String::new(), String::new());
    let unknown = Expected("unknown_task", "task_id", "");
    let status = |task_id, results: &[&str]| TaskStatus {
        correlation_id: nil,
        task_id,
        include_steps: false,
        include_results: results.iter().map(|step| (*step).to_owned()).collect(),
    };
    let retry = |task_id, steps: &[&str]| RetryTask {
        correlation_id: nil,
        task_id,
        steps: steps.iter().map(|step| (*step).to_owned()).collect(),
        actor: actor.clone(),
        reason: reason.clone(),
    };
    let resolve = |task_id, step: &str, result: &str| ResolveStep {
        correlation_id: nil,
        task_id,
        step: step.to_owned(),
        result: Some(JsonText::new(result)),
        actor: actor.clone(),
        reason: reason.clone(),
    };
    let cancel = CancelTask { correlation_id: nil, task_id: nobody, actor: actor.clone(), reason: reason.clone() };
    check(&stage.refusal(cancel), &unknown);
    check(&stage.refusal(status(nobody, &[])), &unknown);
    check(&stage.refusal(retry(nobody, &[])), &unknown);
    check(&stage.refusal(resolve(nobody, "a", "1")), &unknown);
    check(&stage.refusal(WaitForTask { correlation_id: nil, task_id: nobody, timeout_ms: 1 }), &unknown);
    check(&stage.refusal(TryTaskIfReady { correlation_id: nil, task_id: nobody }), &unknown);
    check(&stage.refusal(status(id, &["z"])), &Expected("unknown_step", "include_results", "z"));
    check(&stage.refusal(resolve(id, "z", "1")), &Expected("unknown_step", "step", "z"));
    check(&stage.refusal(resolve(id, "a", "{")), &Expected("invalid_json", "result", ""));
    check(&stage.refusal(retry(id, &["a"])), &Expected("invalid_state", "steps", "pending"));
    let show = |template: &str| ShowTemplate { correlation_id: nil, template: template.to_owned() };
    check(&stage.refusal(show("stories/none")), &Expected("unknown_template", "", "stories/none"));
    check(&stage.refusal(show("stories/single@3.0.0")), &Expected("unknown_version", "", "3.0.0"));
    check(&stage.refusal(show("none")), &Expected("invalid_field", "template", ""));
    let list = |state: &str, limit| ListTasks { state: Some(state.to_owned()), limit, ..ListTasks::default() };
    check(&stage.refusal(list("finished", 10)), &Expected("invalid_field", "state", "in_progress"));
    check(&stage.refusal(list("error", 0)), &Expected("invalid_field", "limit", ""));
    let filtered = |text: &str| ListTasks { filter: Some(text.to_owned()), limit: 10, ..ListTasks::default() };
    check(&stage.refusal(filtered("tag:a nmae:x")), &Expected("invalid_field", "character 7", "did you mean `name`?"));
    check(&stage.refusal(filtered("state:lost")), &Expected("invalid_field", "filter", "one of pending"));
    assert_eq!(rows(&stage.database), before);
}

#[test]
fn frames_that_are_no_message_are_refused_and_the_peer_goes_on() {
    let mut stage = Stage::open();
    let before = rows(&stage.database);
    let work = stage.work.clone();
    let (header, body) = encode(&HealthCheck { correlation_id: Uuid::new_v4(), level: HealthLevel::Basic }.into());
    let [magic, version, high, low] = header;
    let nil_map = vec![0x80];
    let cases = [
        (vec![header.to_vec()], Expected("malformed_message", "", "frame")),
        (vec![header.to_vec(), body.clone(), body.clone()], Expected("malformed_message", "", "frame")),
        (vec![vec![], body.clone()], Expected("malformed_message", "", "header")),
        (vec![vec![magic, version, high], body.clone()], Expected("malformed_message", "", "3 bytes")),
        (vec![vec![magic + 1, version, high, low], body.clone()], Expected("malformed_message", "", "begins with")),
        (vec![vec![magic, version + 1, high, low], body.clone()], Expected("unsupported_version", "", "version")),
        (vec![vec![magic, version, 0x7f, 0xff], body.clone()], Expected("unknown_message", "", "0x7fff")),
        // An event is defined, but the broker does not take it.
        (vec![MessageType::Event.header().to_vec(), event()], Expected("unknown_message", "", "Event")),
        (vec![header.to_vec(), vec![0xc1]], Expected("malformed_message", "", "map")),
        (vec![header.to_vec(), vec![0x81, 0xa1]], Expected("malformed_message", "", "HealthCheck")),
        (vec![header.to_vec(), nil_map], Expected("invalid_field", "correlation_id", "missing")),
        (
            vec![header.to_vec(), b"\x81\xaecorrelation_id\xa3abc".to_vec()],
            Expected("malformed_message", "", "HealthCheck"),
        ),
    ];
    let replies: Vec<ErrorReply> = stage.database.run(async {
        let mut client = Client::connect(&work).await;
        let mut replies = Vec::new();
        for (frames, _) in &cases {
            client.send_frames(frames.clone()).await;
            match client.next().await {
                Message::Error(error) => replies.push(error),
                other => panic!("{other:?}"),
            }
            // What is right in between is answered as ever.
            let check = HealthCheck { correlation_id: Uuid::new_v4(), level: HealthLevel::Basic };
            assert!(matches!(client.request(check).await, Message::HealthReport(_)));
        }
        replies
    });
    for (reply, (_, expected)) in replies.iter().zip(&cases) {
        check(reply, expected);
    }
    assert_eq!(rows(&stage.database), before);
    let health = stage.command(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic });
    assert_eq!(health.status, "ok");
}

#[test]
fn a_report_of_nothing_is_answered() {
    let mut stage = Stage::open();
    stage.register("single");
    let work = stage.work.clone();
    stage.database.run(async {
        let mut worker = WorkerPeer::connect(&work, "idle").await;
        let introduction = worker.introduction(&["stories/single"], 1);
        worker.register(introduction).await;
        let report = ReportPartialResult { correlation_id: Uuid::new_v4(), results: Vec::new() };
        match worker.client.request(report).await {
            Message::ResultsAccepted(accepted) => assert!(accepted.results.is_empty()),
            other => panic!("{other:?}"),
        }
    });
}

fn event() -> Vec<u8> {
    encode(&Event::default().into()).1
}
