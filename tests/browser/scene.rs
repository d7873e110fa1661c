//! A broker with templates, a worker, and tasks that end in different ways.

use std::fmt::Write;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::Browser;
use crate::support::{BrokerProcess, Database, Gate, HANDLERS, PATIENCE, RubyWorker, Serves, read, repository};
use crate::visitor::Visitor;

/// Steps beside each other in the task that fans out.
pub const FAN: u32 = 200;

/// Dropped from top to bottom: the worker before its broker, the broker before its database.
pub struct Scene {
    pub worker: RubyWorker,
    pub visitor: Visitor,
    pub broker: BrokerProcess,
    pub database: Database,
    folder: TempDir,
}

impl Scene {
    /// A broker without tokens, and a worker for the namespace `shop`.
    pub fn open() -> Scene {
        let database = Database::create();
        let broker = BrokerProcess::start(&database);
        let visitor = Visitor::of(&broker);
        for template in ["order", "refund", "invoice", "patient", "island"] {
            register(&visitor, read(&format!("tests/browser/templates/{template}.yaml")));
        }
        register(&visitor, fan());
        let handlers = [repository(HANDLERS)];
        let worker = RubyWorker::start(broker.work(), "night-1", 4, &handlers, &Serves::Stored(&["shop"]));
        worker.registered();
        let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
        Scene { worker, visitor, broker, database, folder }
    }

    pub fn browser(&self) -> Browser {
        Browser::open(self.broker.http())
    }

    pub fn gate(&self) -> Gate {
        Gate::open(self.folder.path(), "gate")
    }

    /// Submits a task of `namespace/name`; its id.
    pub fn submit(&self, template: &str, context: &Value) -> String {
        submit(&self.visitor, template, context)
    }

    /// Waits until a task has ended; its state.
    pub fn ended(&self, task: &str) -> String {
        let path = format!("/api/v1/tasks/{task}/wait?timeout_ms={}", PATIENCE.as_millis() / 2);
        let waited = self.visitor.get(&path).json();
        assert_eq!(waited["finished"], true, "task {task} has not ended");
        waited["task"]["state"].as_str().expect("a state").to_owned()
    }
}

pub fn register(visitor: &Visitor, yaml: String) {
    let answer = visitor.send(visitor.request(Method::POST, "/api/v1/templates").body(yaml));
    assert_eq!(answer.status, 201, "{}", answer.text);
}

pub fn submit(visitor: &Visitor, template: &str, context: &Value) -> String {
    let (namespace, name) = template.split_once('/').expect("namespace/name");
    let submission = json!({
        "namespace": namespace, "name": name, "context": context, "tags": ["nightly", "eu"], "initiator": "cron",
    });
    let submitted = visitor.post("/api/v1/tasks", &submission.to_string());
    assert_eq!(submitted.status, 201, "{}", submitted.text);
    submitted.json()["task_id"].as_str().expect("an id").to_owned()
}

/// One step, many that follow it, and one that gathers them.
fn fan() -> String {
    let mut yaml = "namespace_name: shop\nname: catalogue\nversion: 1.0.0\nstep_templates:\n".to_owned();
    let mut step = |name: &str, parents: &[String]| {
        let parents = json!(parents);
        writeln!(yaml, "  - {{name: {name}, handler_class: \"Stories::Count\", depends_on_steps: {parents}}}")
            .expect("a String");
    };
    step("list", &[]);
    let pages: Vec<String> = (0..FAN).map(|page| format!("page_{page}")).collect();
    for page in &pages {
        step(page, &["list".to_owned()]);
    }
    step("publish", &pages);
    yaml
}
