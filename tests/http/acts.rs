//! What can be done over the API, with Ruby workers at the other end.

use serde_json::json;
use tasker_core::security::{Holder, TokenRole};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{BrokerProcess, Database, PATIENCE, RubyWorker, Serves, read, repository};
use crate::visitor::Visitor;

fn register(visitor: &Visitor, path: &str) {
    let request = visitor.request(reqwest::Method::POST, "/api/v1/templates").body(read(path));
    let answer = visitor.send(request);
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[test]
fn a_task_runs_and_its_results_come_back_digit_for_digit() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    register(&visitor, "examples/tree_workflow/template.yaml");
    let handlers = [repository("examples/tree_workflow/handlers.rb")];
    let serves = Serves::Stored(&["tree_workflow"]);
    let _worker = RubyWorker::start(broker.work(), "tree", 4, &handlers, &serves);
    let submission = json!({
        "namespace": "tree_workflow", "name": "hierarchical_computation", "context": { "even_number": 2 },
        "idempotency_key": "once", "tags": ["vip"], "initiator": "anna",
    });
    let submitted = visitor.post("/api/v1/tasks", &submission.to_string());
    assert_eq!(submitted.status, 201, "{}", submitted.text);
    let task = submitted.json()["task_id"].as_str().expect("an id").to_owned();
    let again = visitor.post("/api/v1/tasks", &submission.to_string());
    assert_eq!((again.status, again.json()["duplicate"].clone()), (200, json!(true)));
    assert_eq!(again.json()["task_id"], task.as_str());
    let waited = visitor.get(&format!("/api/v1/tasks/{task}/wait?timeout_ms={}", PATIENCE.as_millis() / 2)).json();
    assert_eq!((&waited["finished"], &waited["task"]["state"]), (&json!(true), &json!("complete")));
    let shown = visitor.get(&format!("/api/v1/tasks/{task}?steps=true&results=*"));
    // As text: a parser would round it.
    assert!(shown.text.contains(r#""result":18446744073709551616"#), "{}", shown.text);
    assert_eq!(shown.json()["steps"].as_array().map(Vec::len), Some(8));
    assert_eq!(database.text("SELECT initiator FROM tasker.tasks"), "anna");
    let workers = visitor.get("/api/v1/workers").json();
    assert_eq!(workers["workers"][0]["name"], "tree");
    let health = visitor.get("/api/v1/health").json();
    assert_eq!((&health["status"], &health["workers"]), (&json!("ok"), &json!(1)));
}

#[test]
fn an_act_is_recorded_with_the_name_of_its_token() {
    let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let file = folder.path().join("tokens");
    let (holder, token) = Holder::generate("night-shift", TokenRole::Admin);
    holder.add_to(&file).expect("the folder is ours");
    let database = Database::create();
    let path = file.to_str().expect("our own path is UTF-8");
    let broker = BrokerProcess::start_with(&database, &[("http.token_file", path)]);
    let visitor = Visitor::holding(&broker, &token);
    register(&visitor, "tests/stories/templates/gated.yaml");
    let submission = json!({ "namespace": "stories", "name": "gated", "context": {} });
    let submitted = visitor.post("/api/v1/tasks", &submission.to_string());
    let task: Uuid = submitted.json()["task_id"].as_str().expect("an id").parse().expect("a UUID");
    let act = json!({ "actor": "anna", "reason": "a wrong order" }).to_string();
    let cancelled = visitor.post(&format!("/api/v1/tasks/{task}/cancel"), &act);
    assert_eq!((cancelled.status, cancelled.json()["steps_cancelled"].clone()), (200, json!(2)));
    let recorded = "SELECT actor || ': ' || reason FROM tasker.operator_actions";
    assert_eq!(database.text(recorded), "anna (night-shift): a wrong order");
    assert_eq!(database.text("SELECT initiator FROM tasker.tasks"), "night-shift");
    let again = visitor.post(&format!("/api/v1/tasks/{task}/retry"), &act);
    assert_eq!(again.problem(), (409, "invalid_state".to_owned()));
}

#[test]
fn events_are_told_as_they_happen() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    register(&visitor, "tests/stories/templates/gated.yaml");
    let stream = visitor.request(reqwest::Method::GET, "/api/v1/events?topics=event.task.");
    let mut stream = visitor.run(async { stream.send().await.expect("a stream") });
    assert_eq!(stream.status(), 200);
    let submission = json!({ "namespace": "stories", "name": "gated", "context": {} });
    let submitted = visitor.post("/api/v1/tasks", &submission.to_string());
    let task = submitted.json()["task_id"].as_str().expect("an id").to_owned();
    let mut heard = String::new();
    while !heard.contains("\n\n") {
        let chunk = visitor.run(async { stream.chunk().await.expect("the stream stands") });
        heard += &String::from_utf8_lossy(&chunk.expect("it has no end"));
    }
    let data =
        heard.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("no data in {heard:?}"));
    let event: serde_json::Value = serde_json::from_str(data).expect("JSON");
    assert_eq!((&event["topic"], &event["task_id"]), (&json!("event.task.initialized"), &json!(task)));
}

#[test]
fn pages_hear_that_there_is_news_and_not_what_it_is() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    register(&visitor, "tests/stories/templates/gated.yaml");
    let submission = json!({ "namespace": "stories", "name": "gated", "context": {} }).to_string();
    let submit = || {
        let submitted = visitor.post("/api/v1/tasks", &submission).json();
        submitted["task_id"].as_str().expect("an id").to_owned()
    };
    let task = submit();
    let open = |path: &str| {
        let stream = visitor.request(reqwest::Method::GET, path);
        visitor.run(async { stream.send().await.expect("a stream") })
    };
    let heard = |stream: &mut reqwest::Response| {
        let chunk = visitor.run(async { stream.chunk().await.expect("the stream stands") });
        String::from_utf8(chunk.expect("it has no end").to_vec()).expect("text")
    };
    let (mut of_task, mut of_all) = (open(&format!("/news?task={task}")), open("/news?topics=event.step,event.task"));
    // Of another task: the first one's page hears nothing of it.
    submit();
    assert_eq!(heard(&mut of_all), "data: {}\n\n");
    let act = json!({ "actor": "anna", "reason": "a wrong order" }).to_string();
    assert_eq!(visitor.post(&format!("/api/v1/tasks/{task}/cancel"), &act).status, 200);
    assert_eq!(heard(&mut of_task), "data: {}\n\n");
    assert_eq!(heard(&mut of_all), "data: {}\n\n");
}
