//! The pages of lists, and what their forms do, with a Ruby worker at the other end.

use reqwest::Method;
use serde_json::json;
use tasker_core::security::{Holder, TokenRole};
use tempfile::TempDir;

use crate::support::{BrokerProcess, Database, PATIENCE, RubyWorker, Serves, read, repository};
use crate::visitor::{Answer, Visitor};

const LINEAR: &str = "examples/linear_workflow";

/// A form as a browser sends it from a page of this site.
fn send(visitor: &Visitor, path: &str, form: &str) -> Answer {
    let request = visitor.request(Method::POST, path).header("sec-fetch-site", "same-origin");
    visitor.send(request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned()))
}

fn page(visitor: &Visitor, path: &str) -> String {
    let answer = visitor.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    assert!(answer.header("content-type").starts_with("text/html"), "{path}");
    answer.text
}

fn register(visitor: &Visitor, yaml: String) {
    let answer = visitor.send(visitor.request(Method::POST, "/api/v1/templates").body(yaml));
    assert_eq!(answer.status, 201, "{}", answer.text);
}

fn submit(visitor: &Visitor, submission: &serde_json::Value) -> String {
    let submitted = visitor.post("/api/v1/tasks", &submission.to_string());
    assert_eq!(submitted.status, 201, "{}", submitted.text);
    submitted.json()["task_id"].as_str().expect("an id").to_owned()
}

fn ended(visitor: &Visitor, task: &str) -> String {
    let waited = visitor.get(&format!("/api/v1/tasks/{task}/wait?timeout_ms={}", PATIENCE.as_millis() / 2)).json();
    waited["task"]["state"].as_str().expect("a state").to_owned()
}

#[test]
fn failed_tasks_are_found_grouped_and_retried() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    register(&visitor, read(&format!("{LINEAR}/template.yaml")));
    let handlers = [repository(&format!("{LINEAR}/handlers.rb"))];
    let _worker = RubyWorker::start(broker.work(), "lin", 4, &handlers, &Serves::Stored(&["linear_workflow"]));
    let request = |even: u32| {
        let context = json!({ "even_number": even });
        json!({ "namespace": "linear_workflow", "name": "mathematical_sequence", "context": context })
    };
    let failed: Vec<String> = (0..3).map(|_| submit(&visitor, &request(7))).collect();
    let complete = submit(&visitor, &request(6));
    assert!(failed.iter().all(|task| ended(&visitor, task) == "error"));
    assert_eq!(ended(&visitor, &complete), "complete");
    let found = page(&visitor, "/tasks?q=state%3Aerror");
    assert!(failed.iter().all(|task| found.contains(task)) && !found.contains(&complete));
    assert!(page(&visitor, "/tasks?q=stat%3Aerror").contains("at character 1 of the filter"));
    let groups = page(&visitor, "/dead-ends");
    assert!(groups.contains("linear_step_1") && groups.contains("PermanentError"), "{groups}");
    for path in
        ["/", "/workers", "/workers/lin", "/batches", "/batches?only=open&worker=lin", "/namespaces", "/templates"]
    {
        page(&visitor, path);
    }
    let batches = page(&visitor, "/batches?worker=lin");
    let (_, batch) = batches.split_once("href=\"/batches/").expect("a batch");
    page(&visitor, &format!("/batches/{}", &batch[..36]));
    assert!(page(&visitor, "/dead-ends/retry?q=state%3Aerror").contains("<b>3 tasks match.</b>"));
    // Without a reason, or without a task, nothing is done.
    let path = "/dead-ends/retry";
    assert_eq!(send(&visitor, path, "q=state%3Aerror&which=all&reason=+").status, 400);
    assert_eq!(send(&visitor, path, "q=state%3Aerror&which=selected&reason=why").status, 400);
    assert_eq!(database.number("SELECT count(*) FROM tasker.operator_actions"), 0);
    let one = send(&visitor, path, &format!("which=selected&reason=one&select={}&select={complete}", failed[0]));
    assert!(one.text.contains("1 of 2 tasks run again") && one.text.contains("invalid_state"), "{}", one.text);
    assert_eq!(ended(&visitor, &failed[0]), "error");
    let all = send(&visitor, path, "q=state%3Aerror&which=all&reason=all");
    assert!(all.text.contains("3 of 3 tasks run again"), "{}", all.text);
    assert!(failed.iter().all(|task| ended(&visitor, task) == "error"));
    let acts = "SELECT count(DISTINCT (task_id, reason)) FROM tasker.operator_actions WHERE operation = 'retry'";
    assert_eq!(database.number(acts), 4);
    let audit = page(&visitor, "/acts");
    assert!(audit.matches("id=\"task-act-").count() == 4 && audit.contains("step linear_step_1"), "{audit}");
    assert!(audit.contains(&format!("/tasks/{}?step=linear_step_1", failed[2])), "{audit}");
    assert_eq!(visitor.get("/acts?after=1").status, 400);
}

#[test]
fn a_namespace_is_paused_and_resumed_and_a_worker_drained() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    register(&visitor, read(&format!("{LINEAR}/template.yaml")));
    let handlers = [repository(&format!("{LINEAR}/handlers.rb"))];
    let mut worker = RubyWorker::start(broker.work(), "lin", 4, &handlers, &Serves::Stored(&["linear_workflow"]));
    worker.registered();
    let paused = send(&visitor, "/namespaces/linear_workflow/pause", "reason=a+night");
    assert_eq!((paused.status, paused.header("location")), (303, "/namespaces?done=paused"));
    let shown = page(&visitor, "/namespaces?done=paused");
    assert!(shown.contains("a night") && shown.contains("The namespace is paused"), "{shown}");
    let context = json!({ "even_number": 6 });
    let task = submit(
        &visitor,
        &json!({ "namespace": "linear_workflow", "name": "mathematical_sequence", "context": context }),
    );
    assert_eq!(database.number("SELECT count(*) FROM tasker.batches"), 0);
    assert_eq!(send(&visitor, "/namespaces/linear_workflow/resume", "reason=over").status, 303);
    assert_eq!(ended(&visitor, &task), "complete");
    assert_eq!(send(&visitor, "/workers/lin/drain", "reason=deploy").status, 303);
    assert!(worker.ended().success());
    assert_eq!(send(&visitor, "/workers/nobody/drain", "reason=deploy").status, 404);
    let audit = page(&visitor, "/acts");
    let told: Vec<usize> =
        ["drain", "resume", "pause"].map(|what| audit.find(&format!(">{what}<")).expect(what)).into();
    assert!(told.is_sorted() && audit.contains("worker lin"), "{audit}");
}

#[test]
fn who_may_only_look_is_shown_no_forms_and_can_send_none() {
    let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let file = folder.path().join("tokens");
    let (holder, token) = Holder::generate("looks", TokenRole::Read);
    holder.add_to(&file).expect("the folder is ours");
    let (admin, admins) = Holder::generate("anna", TokenRole::Admin);
    admin.add_to(&file).expect("the folder is ours");
    let database = Database::create();
    let path = file.to_str().expect("our own path is UTF-8");
    let broker = BrokerProcess::start_with(&database, &[("http.token_file", path)]);
    let (reader, admin) = (Visitor::holding(&broker, &token), Visitor::holding(&broker, &admins));
    register(&admin, read(&format!("{LINEAR}/template.yaml")));
    // A namespace can be paused before it has a template, whatever its name.
    let hostile = "/namespaces/%3Cscript%3Ealert(1)%3C%2Fscript%3E/pause";
    assert_eq!(send(&admin, hostile, "reason=%3Cb%3Ewhy%3C%2Fb%3E").status, 303);
    let shown = page(&reader, "/namespaces");
    assert!(shown.contains("&lt;script&gt;alert(1)") && !shown.contains("<script>alert"), "{shown}");
    assert!(shown.contains("&lt;b&gt;why") && !shown.contains("<b>why"), "{shown}");
    // Everybody may log out.
    let forms = |page: &str| page.matches("method=\"post\"").count() - page.matches("action=\"/logout\"").count();
    assert_eq!(forms(&shown), 0, "{shown}");
    assert!(forms(&page(&admin, "/namespaces")) > 0);
    for path in ["/namespaces/a/pause", "/namespaces/a/resume", "/workers/a/drain", "/dead-ends/retry"] {
        assert_eq!(send(&reader, path, "reason=x").problem(), (403, "forbidden".to_owned()), "{path}");
        let foreign = admin.request(Method::POST, path).header("origin", "http://evil.example").body("reason=x");
        assert_eq!(admin.send(foreign).problem(), (403, "forbidden".to_owned()), "{path}");
    }
    assert_eq!(database.number("SELECT count(*) FROM tasker.fleet_actions"), 1, "only what the admin did");
}
