//! The page of a task as a browser asks for it, and what its forms do.

use std::fmt::Write;
use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use tasker_core::security::{Holder, TokenRole};
use tempfile::TempDir;

use crate::support::{BrokerProcess, Database, RubyWorker, Serves, read, repository};
use crate::visitor::{Answer, Visitor};

fn register(visitor: &Visitor, yaml: String) {
    let answer = visitor.send(visitor.request(Method::POST, "/api/v1/templates").body(yaml));
    assert_eq!(answer.status, 201, "{}", answer.text);
}

/// A task of a template of the stories; its id.
fn submit(visitor: &Visitor, name: &str, context: &str) -> String {
    let submission = format!(r#"{{"namespace": "stories", "name": "{name}", "context": {context}}}"#);
    let submitted = visitor.post("/api/v1/tasks", &submission);
    assert_eq!(submitted.status, 201, "{}", submitted.text);
    submitted.json()["task_id"].as_str().expect("an id").to_owned()
}

/// Sends a form, as a browser does from a page of `site`.
fn send(visitor: &Visitor, path: &str, site: &str, fields: &str) -> Answer {
    let request = visitor.request(Method::POST, path).header("sec-fetch-site", site);
    visitor.send(request.header("content-type", "application/x-www-form-urlencoded").body(fields.to_owned()))
}

#[test]
fn a_failed_step_is_found_retried_and_resolved() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    register(&visitor, read("tests/stories/templates/permanent.yaml"));
    let handlers = [repository("tests/stories/ruby/handlers.rb")];
    let worker = RubyWorker::start(broker.work(), "ruby", 2, &handlers, &Serves::Stored(&["stories"]));
    let task = submit(&visitor, "permanent", "{}");
    let ended = |task: &str| visitor.get(&format!("/api/v1/tasks/{task}/wait?timeout_ms=30000")).json();
    assert_eq!(ended(&task)["task"]["state"], "error");

    let page = visitor.get(&format!("/tasks/{task}"));
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    assert!(page.text.contains("Gives 1 failed step new attempts."), "{}", page.text);
    let step = database.text(
        "SELECT step.name FROM tasker.step_attempts_failed AS failure
         JOIN tasker.steps AS step USING (task_id, step_number)",
    );
    let detail = visitor.get(&format!("/tasks/{task}?step={step}"));
    assert!(detail.text.contains("Backtrace") && detail.text.contains("Resolve this step"), "{}", detail.text);

    let retried = send(&visitor, &format!("/tasks/{task}/retry"), "same-origin", "reason=try+again");
    assert_eq!((retried.status, retried.header("location")), (303, &*format!("/tasks/{task}?done=retried")));
    assert!(visitor.get(retried.header("location")).text.contains("Failed steps have new attempts."));
    assert_eq!(ended(&task)["task"]["state"], "error", "it fails again");
    assert_eq!(worker.stop().code(), Some(0));

    let fields = format!("step={step}&reason=by+hand&result=%5B1.50");
    let broken = send(&visitor, &format!("/tasks/{task}/resolve"), "same-origin", &fields);
    assert_eq!(broken.status, 400, "the result is no JSON: {}", broken.text);
    let resolved = send(&visitor, &format!("/tasks/{task}/resolve"), "same-origin", &format!("{fields}%5D"));
    assert_eq!(resolved.status, 303, "{}", resolved.text);
    let detail = visitor.get(&format!("/tasks/{task}?step={step}"));
    assert!(detail.text.contains("by hand") && detail.text.contains("What operators did"), "{}", detail.text);
    assert_eq!(visitor.get(&format!("/tasks/{task}/raw/result?step={step}")).text, "[1.50]");
}

#[test]
fn numbers_are_exact_secrets_are_gone_and_what_a_step_waits_for_is_said() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    register(&visitor, read("tests/stories/templates/gated.yaml"));
    let task = submit(&visitor, "gated", r#"{"id": 18446744073709551616, "deep": [{"PassWord": {"is": "s3cret"}}]}"#);
    let page = visitor.get(&format!("/tasks/{task}?step=wait"));
    assert!(page.text.contains("18446744073709551616") && !page.text.contains("s3cret"));
    assert!(page.text.contains("No worker serves this template"), "{}", page.text);
    let raw = visitor.get(&format!("/tasks/{task}/raw/context"));
    assert_eq!(raw.header("content-type"), "application/json");
    assert_eq!(raw.text, r#"{"id": 18446744073709551616, "deep": [{"PassWord": "[redacted]"}]}"#);
}

#[test]
fn strangers_and_those_who_may_only_look_cannot_act() {
    let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
    let file = folder.path().join("tokens");
    let mut tokens = [TokenRole::Read, TokenRole::Operate, TokenRole::Admin].map(|role| {
        let (holder, token) = Holder::generate(&format!("may-{role}"), role);
        holder.add_to(&file).expect("the folder is ours");
        token.to_string()
    });
    let database = Database::create();
    let path = file.to_str().expect("our own path is UTF-8");
    let broker = BrokerProcess::start_with(&database, &[("http.token_file", path)]);
    let [reader, operator, admin] = tokens.each_mut().map(|token| Visitor::holding(&broker, token));
    register(&admin, read("tests/stories/templates/gated.yaml"));
    let task = submit(&operator, "gated", r#"{"token": "t0p"}"#);
    let cancel = format!("/tasks/{task}/cancel");

    assert!(!reader.get(&format!("/tasks/{task}")).text.contains("Cancel this task"));
    assert_eq!(send(&reader, &cancel, "same-origin", "reason=no").status, 403);
    assert_eq!(send(&operator, &cancel, "cross-site", "reason=no").status, 403);
    assert_eq!(database.text("SELECT count(*)::text FROM tasker.operator_actions"), "0");
    let raw = format!("/tasks/{task}/raw/context");
    assert_eq!(operator.get(&raw).text, r#"{"token": "[redacted]"}"#);
    assert_eq!(admin.get(&raw).text, r#"{"token": "t0p"}"#, "an administrator sees payloads as they are");
    assert!(!admin.get(&format!("/tasks/{task}")).text.contains("t0p"), "a page may be looked at by others, too");

    assert!(operator.get(&format!("/tasks/{task}")).text.contains("Cancel this task"));
    assert_eq!(send(&operator, &cancel, "same-origin", "reason=a+wrong+order").status, 303);
    let recorded = database.text("SELECT actor || ': ' || reason FROM tasker.operator_actions");
    assert_eq!(recorded, "may-operate: a wrong order");
}

#[test]
fn hostile_parameters_get_a_page_or_a_refusal() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    register(&visitor, read("tests/stories/templates/gated.yaml"));
    let task = submit(&visitor, "gated", "{}");
    let long = "9.".repeat(5_000);
    for (query, status) in [
        ("step=%3Cscript%3Ealert(1)%3C/script%3E&find=%3Cscript%3E", 200),
        ("page=18446744073709551616&group=-1&state=nothing", 200),
        (&*format!("open={long}"), 200),
        ("done=%3Cscript%3E", 200),
        ("find=%ff", 200),
    ] {
        let page = visitor.get(&format!("/tasks/{task}?{query}"));
        assert_eq!(page.status, status, "{query}: {}", page.text);
        assert!(!page.text.contains("<script>"), "{query}");
    }
    for (path, status) in [
        ("/tasks/0193".to_owned(), 400),
        ("/tasks/00000000-0000-0000-0000-000000000000".to_owned(), 404),
        (format!("/tasks/{task}/raw/..%2Fcontext"), 404),
        (format!("/tasks/{task}/raw/result?step='--"), 404),
        ("/assets/..%2Fstyle.css".to_owned(), 404),
    ] {
        assert_eq!(visitor.get(&path).status, status, "{path}");
    }
}

/// Files have addresses with their content in them, and pages name these. `--no-capture` prints what a page of ten thousand
/// steps takes.
#[test]
fn a_page_of_ten_thousand_steps_and_its_files() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    let mut yaml = "namespace_name: stories\nname: large\nversion: 1.0.0\nstep_templates:\n".to_owned();
    for step in 0..10_000_u32 {
        let parents: Vec<String> = (1..=5)
            .filter_map(|back: u32| step.checked_sub(back * 193))
            .map(|parent| format!("step_{parent}"))
            .collect();
        let handler = step % 4;
        writeln!(
            yaml,
            "  - {{name: step_{step}, handler_class: \"Work{handler}\", depends_on_steps: {}}}",
            json!(parents)
        )
        .expect("a String");
    }
    register(&visitor, yaml);
    let task = submit(&visitor, "large", "{}");
    let mut taken = Vec::new();
    let mut page = String::new();
    for _ in 0..3 {
        let start = Instant::now();
        let answer = visitor.get(&format!("/tasks/{task}?find=step_77"));
        taken.push(start.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.text);
        page = answer.text;
    }
    println!("a page of 10,000 steps: {} bytes in {taken:?}", page.len());
    assert!(page.contains("of 10,000 steps") && page.contains(">step_7799<"));
    for start in ["/assets/style-", "/assets/app-", "/assets/icon-"] {
        let from = page.find(start).unwrap_or_else(|| panic!("{start} is in the page"));
        let path: String = page[from..].chars().take_while(|letter| *letter != '"').collect();
        let file = visitor.get(&path);
        assert_eq!((file.status, file.header("cache-control")), (200, "public, max-age=31536000, immutable"), "{path}");
    }
}
