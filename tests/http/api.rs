//! The API as a whole: what its document says, who may do what, and an evening of an operator.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use tasker_core::security::{Holder, TokenRole};
use tempfile::TempDir;

use crate::document::{Document, Operation};
use crate::support::{BrokerProcess, Database, Gate, PATIENCE, RubyWorker, Serves, read, repository};
use crate::visitor::{Answer, Visitor};

/// A path of an operation with something in place of its parameters, which names nothing that is there.
fn asked(operation: &Operation) -> (Method, String) {
    let part = |part: &str| match part {
        "{task}" | "{batch}" => "0197a3c2-0000-7000-8000-000000000000".to_owned(),
        part if part.starts_with('{') => "nobody".to_owned(),
        part => part.to_owned(),
    };
    let path: Vec<String> = operation.path.split('/').map(part).collect();
    let method = Method::from_bytes(operation.method.to_uppercase().as_bytes()).expect("a method");
    (method, path.join("/"))
}

/// A stream would not end.
fn is_endless(operation: &Operation) -> bool {
    operation.value["responses"]["200"]["content"].get("text/event-stream").is_some()
}

#[test]
fn the_document_is_one_and_says_what_there_is() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    let answer = visitor.get("/api/v1/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.text, tasker_core::ops::openapi());

    let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, &answer.text).expect("the folder is ours");
    let python =
        std::env::var("TASKER_TEST_PYTHON").expect("TASKER_TEST_PYTHON names a Python with openapi-spec-validator");
    let mut command = Command::new(python);
    command.args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(&file);
    let checked = command.output().expect("it runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    let (mut ids, mut count) = (Vec::new(), 0);
    for operation in Document::get().operations() {
        let (method, path) = asked(&operation);
        assert!(operation.value["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
        ids.push(operation.value["operationId"].as_str().expect("an id").to_owned());
        count += 1;
        if is_endless(&operation) {
            continue;
        }
        let request = visitor.request(method.clone(), &path).header("content-type", "application/json").body("{}");
        let answer = visitor.send(request);
        // What is refused is refused by the operation, not for want of one.
        assert!(answer.status != 405 && answer.status < 500, "{method} {path}: {}", answer.text);
        if answer.status == 404 {
            assert_ne!(answer.problem().1, "not_found", "{method} {path}");
        }
        // No method beside those of the document.
        let answer = visitor.send(visitor.request(Method::PUT, &path));
        assert_eq!(answer.problem(), (405, "method_not_allowed".to_owned()), "{path}");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "each operation has an id of its own");
    assert!(count >= 29, "{count} operations");
}

#[test]
fn no_act_is_for_strangers_nor_for_those_who_may_only_look() {
    let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let file = folder.path().join("tokens");
    let mut tokens = [TokenRole::Read, TokenRole::Admin].into_iter().map(|role| {
        let (holder, token) = Holder::generate(&format!("{role}er"), role);
        holder.add_to(&file).expect("the folder is ours");
        token
    });
    let (reading, ruling) = (tokens.next().expect("one"), tokens.next().expect("two"));
    let database = Database::create();
    let path = file.to_str().expect("our own path is UTF-8");
    let broker = BrokerProcess::start_with(&database, &[("http.token_file", path)]);
    let stranger = Visitor::of(&broker);
    let (reader, admin) = (Visitor::holding(&broker, &reading), Visitor::holding(&broker, &ruling));
    let mut acts = 0;
    for operation in Document::get().operations() {
        let (method, path) = asked(&operation);
        let body = r#"{"reason": "why"}"#;
        let ask = |visitor: &Visitor| visitor.request(method.clone(), &path).body(body);
        let typed = |request: reqwest::RequestBuilder| request.header("content-type", "application/json");
        assert_eq!(stranger.send(typed(ask(&stranger))).problem(), (401, "unauthorized".to_owned()), "{method} {path}");
        if method == Method::GET {
            continue;
        }
        acts += 1;
        assert_eq!(reader.send(typed(ask(&reader))).problem(), (403, "forbidden".to_owned()), "{method} {path}");
        for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
            let foreign = admin.send(typed(ask(&admin)).header(name, value));
            assert_eq!(foreign.problem(), (403, "forbidden".to_owned()), "{method} {path}");
        }
        // A form of a browser is no JSON: what a page of another site can send without asking does nothing.
        if path != "/api/v1/templates" {
            let form = ask(&admin).header("content-type", "text/plain");
            assert_eq!(admin.send(form).problem().0, 415, "{method} {path}");
        }
    }
    assert!(acts >= 9, "{acts} acts");
    for table in ["operator_actions", "fleet_actions", "tasks", "task_templates"] {
        assert_eq!(database.number(&format!("SELECT count(*) FROM tasker.{table}")), 0, "{table}");
    }
}

#[test]
fn hostile_parameters_of_lists_and_acts_are_refused() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    let nobody = "/api/v1/tasks/0197a3c2-0000-7000-8000-000000000000";
    for (path, expected) in [
        ("/api/v1/tasks?limit=0", (400, "invalid_field")),
        ("/api/v1/tasks?limit=1001", (400, "invalid_field")),
        ("/api/v1/tasks?limit=-1", (400, "invalid_field")),
        ("/api/v1/tasks?limit=99999999999999999999", (400, "invalid_field")),
        ("/api/v1/tasks?after=x", (400, "invalid_field")),
        ("/api/v1/tasks?after=%27%20OR%201%3D1", (400, "invalid_field")),
        ("/api/v1/tasks?q=%00", (400, "invalid_field")),
        ("/api/v1/tasks?q=stat%3Aerror", (400, "invalid_field")),
        ("/api/v1/tasks?count=2", (400, "invalid_field")),
        ("/api/v1/tasks?surprise=1", (400, "invalid_field")),
        ("/api/v1/batches?only=closed", (400, "invalid_field")),
        ("/api/v1/batches?after=1", (400, "invalid_field")),
        ("/api/v1/batches/0197a3c2-0000-7000-8000-000000000000", (404, "unknown_batch")),
        ("/api/v1/acts?after=1", (400, "invalid_field")),
        ("/api/v1/acts?after=99999999999999999999_1", (400, "invalid_field")),
        ("/api/v1/stats?minutes=1441", (400, "invalid_field")),
        ("/api/v1/workers/%3Cscript%3E/registrations", (404, "unknown_worker")),
        ("/api/v1/workers/a%00/registrations", (400, "invalid_field")),
    ] {
        let (status, code) = expected;
        assert_eq!(visitor.get(path).problem(), (status, code.to_owned()), "{path}");
    }
    for (below, expected) in [
        ("/transitions", (404, "unknown_task")),
        ("/transitions?after=1_2", (400, "invalid_field")),
        ("/request", (404, "unknown_task")),
        ("/steps", (404, "unknown_task")),
        ("/steps/*", (404, "unknown_step")),
        ("/steps/%00", (400, "invalid_field")),
        ("/steps/a", (404, "unknown_task")),
        ("/steps/a?limit=0", (400, "invalid_field")),
        ("/why", (404, "unknown_task")),
        ("/why?step=%00", (400, "invalid_field")),
    ] {
        let (status, code) = expected;
        assert_eq!(visitor.get(&format!("{nobody}{below}")).problem(), (status, code.to_owned()), "{below}");
    }
    // The gateway would compare each event with all of them.
    let topics = vec!["event.task"; 21].join(",");
    for path in ["/api/v1/events", "/news"] {
        let refused = visitor.get(&format!("{path}?topics={topics}"));
        assert_eq!(refused.problem(), (400, "invalid_field".to_owned()), "{path}");
        assert_eq!(refused.json()["limit"], 20);
    }
    // Where it is wrong is said.
    let problem = visitor.get("/api/v1/tasks?q=state%3Aerror%20stat%3Aerror").json();
    assert_eq!((&problem["field"], &problem["position"]), (&json!("q"), &json!("character 13")));
    let problem = visitor.get("/api/v1/tasks?limit=1001").json();
    assert_eq!((&problem["field"], &problem["limit"]), (&json!("limit"), &json!(1000)));

    let many = vec!["0197a3c2-0000-7000-8000-000000000000"; 501];
    for (path, body, expected) in [
        ("/api/v1/tasks/retry", json!({}), (400, "invalid_field")),
        ("/api/v1/tasks/retry", json!({"reason": "why"}), (400, "invalid_field")),
        ("/api/v1/tasks/retry", json!({"filter": "state:error"}), (400, "invalid_field")),
        ("/api/v1/tasks/retry", json!({"filter": "state:error", "reason": " "}), (400, "invalid_field")),
        ("/api/v1/tasks/retry", json!({"filter": "(", "tasks": [many[0]], "reason": "why"}), (400, "invalid_field")),
        ("/api/v1/tasks/retry", json!({"filter": "stat:error", "reason": "why"}), (400, "invalid_field")),
        ("/api/v1/tasks/retry", json!({"tasks": many, "reason": "why"}), (400, "invalid_field")),
        ("/api/v1/tasks/retry", json!({"tasks": ["1"], "reason": "why"}), (422, "invalid_field")),
        ("/api/v1/namespaces/a/pause", json!({"actor": "anna"}), (400, "invalid_field")),
        ("/api/v1/namespaces/a%00/pause", json!({"reason": "why"}), (400, "invalid_field")),
        ("/api/v1/namespaces/a/resume", json!({"reason": "why", "surprise": 1}), (422, "invalid_field")),
        ("/api/v1/workers/nobody/drain", json!({"reason": ""}), (400, "invalid_field")),
        ("/api/v1/workers/nobody/drain", json!({"reason": "why"}), (404, "unknown_worker")),
    ] {
        let (status, code) = expected;
        assert_eq!(visitor.post(path, &body.to_string()).problem(), (status, code.to_owned()), "{path} {body}");
    }
    assert_eq!(visitor.get("/readyz").status, 200);
}

/// What is in a list of an answer.
fn listed(answer: &Answer, list: &str) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()[list].as_array().expect("a list").clone()
}

fn submit(visitor: &Visitor, submission: &Value) -> String {
    let submitted = visitor.post("/api/v1/tasks", &submission.to_string());
    assert_eq!(submitted.status, 201, "{}", submitted.text);
    submitted.json()["task_id"].as_str().expect("an id").to_owned()
}

fn ended(visitor: &Visitor, task: &str) -> String {
    let waited = visitor.get(&format!("/api/v1/tasks/{task}/wait?timeout_ms={}", PATIENCE.as_millis() / 2)).json();
    waited["task"]["state"].as_str().expect("a state").to_owned()
}

/// All rows of a list, two at a time.
fn paged(visitor: &Visitor, path: &str, list: &str) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let join = if path.contains('?') { '&' } else { '?' };
        let answer = visitor.get(&format!("{path}{join}limit=2{after}"));
        let page = listed(&answer, list);
        assert!(page.len() <= 2);
        rows.extend(page);
        match answer.json()["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return rows,
        }
    }
}

#[test]
fn failed_tasks_are_found_looked_into_and_retried() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    let yaml = read("examples/linear_workflow/template.yaml");
    assert_eq!(visitor.send(visitor.request(Method::POST, "/api/v1/templates").body(yaml)).status, 201);
    let handlers = [repository("examples/linear_workflow/handlers.rb")];
    let _worker = RubyWorker::start(broker.work(), "lin", 4, &handlers, &Serves::Stored(&["linear_workflow"]));
    let request = |even: u32| {
        let context = json!({ "even_number": even, "order": { "id": 42, "password": "s3cret" } });
        let (tags, reason) = (["night"], "a test");
        json!({ "namespace": "linear_workflow", "name": "mathematical_sequence", "context": context, "tags": tags,
                "reason": reason })
    };
    let failed: Vec<String> = (0..5).map(|_| submit(&visitor, &request(7))).collect();
    let complete = submit(&visitor, &request(6));
    assert!(failed.iter().all(|task| ended(&visitor, task) == "error"));
    assert_eq!(ended(&visitor, &complete), "complete");

    let found = paged(&visitor, "/api/v1/tasks?q=state%3Aerror+ctx.order.id%3A42+tag%3Anight", "tasks");
    let ids: Vec<&str> = found.iter().map(|task| task["task_id"].as_str().expect("an id")).collect();
    let newest_first: Vec<&str> = failed.iter().rev().map(String::as_str).collect();
    assert_eq!(ids, newest_first);
    assert!(found.iter().all(|task| task["last_error"]["step"] == "linear_step_1"), "{found:?}");
    let counted = visitor.get("/api/v1/tasks?count=true&limit=1").json();
    assert_eq!(counted["count"], json!({ "tasks": 6, "capped": false }));

    // One of them, from all sides.
    let path = format!("/api/v1/tasks/{}", failed[0]);
    let request = visitor.get(&format!("{path}/request"));
    assert!(!request.text.contains("s3cret"), "{}", request.text);
    assert_eq!((&request.json()["reason"], &request.json()["context"]["even_number"]), (&json!("a test"), &json!(7)));
    let steps = listed(&visitor.get(&format!("{path}/steps")), "steps");
    assert_eq!(steps.len(), 4);
    let step = visitor.get(&format!("{path}/steps/linear_step_1")).json();
    assert_eq!((&step["step"]["state"], &step["attempts"][0]["state"]), (&json!("error"), &json!("failed")));
    let error = &step["attempts"][0]["error"];
    assert!(error["class"].as_str().expect("a class").ends_with("PermanentError"), "{error}");
    assert!(!error["backtrace"].as_array().expect("lines").is_empty() && error["final"] == true, "{error}");
    let why = visitor.get(&format!("{path}/why?step=linear_step_2")).json();
    assert_eq!(why["steps"][0]["waits_for"][0]["step"], "linear_step_1", "{why}");
    let transitions = paged(&visitor, &format!("{path}/transitions"), "transitions");
    let own: Vec<&str> =
        transitions.iter().filter(|row| row.get("step").is_none()).filter_map(|row| row["to"].as_str()).collect();
    assert_eq!(own, ["pending", "in_progress", "error"]);

    // What failed, and all of it again.
    let groups = listed(&visitor.get("/api/v1/dead-ends"), "groups");
    assert_eq!((groups.len(), &groups[0]["tasks"]), (1, &json!(5)));
    let filter = &groups[0]["filter"];
    let preview = visitor.post("/api/v1/tasks/retry", &json!({ "filter": filter, "preview": true }).to_string());
    assert_eq!(listed(&preview, "tasks").len(), 5);
    assert_eq!(preview.json()["count"], json!({ "tasks": 5, "capped": false }));
    assert_eq!(database.number("SELECT count(*) FROM tasker.operator_actions"), 0);
    let order = json!({ "tasks": [failed[0], complete], "reason": "one", "actor": "kim" });
    let outcomes = listed(&visitor.post("/api/v1/tasks/retry", &order.to_string()), "tasks");
    assert_eq!(
        (&outcomes[0]["steps"], &outcomes[1]["error"]["code"]),
        (&json!(["linear_step_1"]), &json!("invalid_state"))
    );
    assert_eq!(ended(&visitor, &failed[0]), "error");
    let order = json!({ "filter": filter, "reason": "all", "actor": "anna" });
    let outcomes = listed(&visitor.post("/api/v1/tasks/retry", &order.to_string()), "tasks");
    assert!(
        outcomes.len() == 5 && outcomes.iter().all(|outcome| outcome["steps"][0] == "linear_step_1"),
        "{outcomes:?}"
    );
    assert!(failed.iter().all(|task| ended(&visitor, task) == "error"));

    let acts = paged(&visitor, "/api/v1/acts", "acts");
    let told: Vec<(&str, &str)> =
        acts.iter().map(|act| (act["actor"].as_str().expect("who"), act["reason"].as_str().expect("why"))).collect();
    assert_eq!(told, [[("anna", "all"); 5].as_slice(), &[("kim", "one")]].concat());
    let of_task = paged(&visitor, &format!("/api/v1/acts?task={}", failed[0]), "acts");
    assert_eq!(of_task.iter().map(|act| &act["reason"]).collect::<Vec<_>>(), ["all", "one"]);

    let batches = paged(&visitor, "/api/v1/batches?worker=lin", "batches");
    assert_eq!(batches.len() as i64, database.number("SELECT count(*) FROM tasker.batches"));
    let batch = batches[0]["batch_id"].as_str().expect("an id");
    let shown = paged(&visitor, &format!("/api/v1/batches/{batch}"), "steps");
    assert_eq!(shown.len() as u64, batches[0]["total"].as_u64().expect("a number"));
    let stats = visitor.get("/api/v1/stats?minutes=5").json();
    let of_namespace = &stats["namespaces"][0];
    assert_eq!((&of_namespace["namespace"], &of_namespace["tasks_created"]), (&json!("linear_workflow"), &json!(6)));
    assert_eq!((&of_namespace["tasks_ended"]["complete"], &stats["acts"]["retry"]), (&json!(1), &json!(6)));
    assert_eq!(stats["batches"], batches.len());
}

#[test]
fn a_namespace_is_paused_and_resumed_and_a_worker_drained() {
    let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let gate = Gate::open(folder.path(), "gate");
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    let yaml = read("tests/stories/templates/gated.yaml");
    assert_eq!(visitor.send(visitor.request(Method::POST, "/api/v1/templates").body(yaml)).status, 201);
    let handlers = [repository("tests/stories/ruby/handlers.rb")];
    let mut worker = RubyWorker::start(broker.work(), "ruby", 2, &handlers, &Serves::Stored(&["stories"]));
    worker.registered();
    let act = |path: &str, reason: &str| {
        let answer = visitor.post(path, &json!({ "actor": "anna", "reason": reason }).to_string());
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    let paused = act("/api/v1/namespaces/stories/pause", "a night");
    assert_eq!((&paused["changed"], &paused["namespace"]["paused"]), (&json!(true), &json!(true)));
    let context = json!({ "gate": gate.path() });
    let task = submit(&visitor, &json!({ "namespace": "stories", "name": "gated", "context": context }));
    let why = visitor.get(&format!("/api/v1/tasks/{task}/why")).json();
    assert_eq!(
        (&why["steps"][0]["reason"], &why["pause_reason"]),
        (&json!("namespace_paused"), &json!("a night")),
        "{why}"
    );
    let namespaces = listed(&visitor.get("/api/v1/namespaces"), "namespaces");
    assert_eq!((&namespaces[0]["paused_by"], &namespaces[0]["tasks"]), (&json!("anna"), &json!(1)));
    assert_eq!(act("/api/v1/namespaces/stories/resume", "over")["namespace"]["paused"], json!(false));
    let handler = gate.next();
    let draining = act("/api/v1/workers/ruby/drain", "deploy");
    assert_eq!((&draining["changed"], &draining["in_flight"]), (&json!(true), &json!(1)));
    let open = listed(&visitor.get("/api/v1/batches?only=open"), "batches");
    assert_eq!((open.len(), &open[0]["worker"]), (1, &json!("ruby")));
    handler.release("done");
    assert!(worker.ended().success());
    let episodes = paged(&visitor, "/api/v1/workers/ruby/registrations", "registrations");
    assert_eq!((episodes.len(), &episodes[0]["end_reason"]), (1, &json!("drained")), "{episodes:?}");
    // Acts on tasks and on the fleet are one list.
    let cancelled = visitor.post(&format!("/api/v1/tasks/{task}/cancel"), r#"{"actor": "kim", "reason": "enough"}"#);
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    let acts = paged(&visitor, "/api/v1/acts", "acts");
    let told: Vec<&str> = acts.iter().filter_map(|act| act["operation"].as_str()).collect();
    assert_eq!(told, ["cancel", "drain", "resume", "pause"]);
    assert_eq!(
        (&acts[0]["task_id"], &acts[1]["worker"], &acts[2]["namespace"]),
        (&json!(task), &json!("ruby"), &json!("stories"))
    );
}
