//! A broker on a database of its own, with the workers and the client of a test.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tasker_core::client::{self, Client, Command, Subscription};
use tasker_core::config::Config;
use tasker_core::protocol::*;
use tasker_core::server::metrics::Observer;
use tasker_core::server::{self, Broker, Options};
use tempfile::TempDir;
use uuid::Uuid;

use super::{Database, Gate, PATIENCE, RubyWorker, Serves, read, repository};

/// What the stories' own templates call for.
pub const HANDLERS: &str = "tests/stories/ruby/handlers.rb";

/// Dropped from top to bottom: the broker before its database.
pub struct Stage {
    pub client: Client,
    broker: Option<Broker>,
    config: Config,
    pub work: String,
    pub events: String,
    pub folder: TempDir,
    pub database: Database,
}

impl Stage {
    pub fn open() -> Stage {
        Stage::with(|_| {})
    }

    /// A stage whose broker has other settings.
    pub fn with(change: impl FnOnce(&mut Config)) -> Stage {
        let database = Database::create();
        let mut config = Config::default();
        config.endpoints.work = vec!["tcp://127.0.0.1:0".to_owned()];
        config.endpoints.events = vec!["tcp://127.0.0.1:0".to_owned()];
        change(&mut config);
        let broker = start(&config, &database);
        // A broker that is started again listens where the first one did.
        config.endpoints.work.clone_from(&broker.endpoints().work);
        config.endpoints.events.clone_from(&broker.endpoints().events);
        let (work, events) = (config.endpoints.work[0].clone(), config.endpoints.events[0].clone());
        let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
        let client = connect(&work);
        Stage { client, broker: Some(broker), config, work, events, folder, database }
    }

    /// Stops the broker in order.
    pub fn stop(&mut self) {
        self.broker.take().expect("it runs").stop().expect("it ends in order");
    }

    /// Lets the broker drain, and says how it ended.
    pub fn drain(&mut self, limit: Duration) -> Result<(), server::Error> {
        self.broker.take().expect("it runs").drain(limit)
    }

    /// Starts it again with other settings, where it was.
    pub fn start_with(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.start();
    }

    /// Starts it again, where it was.
    pub fn start(&mut self) {
        self.broker = Some(start(&self.config, &self.database));
    }

    /// Watches the broker.
    pub fn observer(&self) -> Observer {
        self.broker.as_ref().expect("it runs").observer().clone()
    }

    pub fn gate(&self) -> Gate {
        Gate::open(self.folder.path(), "gate")
    }

    /// Starts a worker with the stories' own handlers, for these templates.
    pub fn worker(&self, name: &str, concurrency: u32, templates: &[&str]) -> RubyWorker {
        worker_at(&self.work, name, concurrency, templates)
    }

    /// Stores a template of `tests/stories/templates`.
    pub fn register(&mut self, name: &str) -> TemplateRegistered {
        let path = template_path(name);
        self.command(RegisterTemplate { correlation_id: Uuid::nil(), yaml: read(&path), source: Some(path) })
    }

    /// Stores a template that a test writes itself.
    pub fn register_text(&mut self, yaml: &str) -> TemplateRegistered {
        self.command(RegisterTemplate { correlation_id: Uuid::nil(), yaml: yaml.to_owned(), source: None })
    }

    /// A command that has to be accepted.
    pub fn command<C: Command>(&mut self, command: C) -> C::Reply {
        self.client.request(command).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// A command that has to be refused.
    pub fn refusal<C: Command>(&mut self, command: C) -> ErrorReply {
        match self.client.request(command) {
            Err(client::Error::Refused(refusal)) => *refusal,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was accepted"),
        }
    }

    /// Submits one task that has to be accepted.
    pub fn submit(&mut self, request: TaskRequest) -> Uuid {
        let name = request.name.clone();
        let outcome = self.submit_all(vec![request]).remove(0);
        outcome.task_id.unwrap_or_else(|| panic!("{name}: {:?}", outcome.error))
    }

    /// Submits tasks in one message.
    pub fn submit_all(&mut self, tasks: Vec<TaskRequest>) -> Vec<TaskInitialized> {
        self.command(InitializeTask { correlation_id: Uuid::nil(), tasks }).tasks
    }

    /// Waits until the task has ended.
    pub fn ended(&mut self, task: Uuid) -> TaskSummary {
        let waited = self.client.wait_for_task(task, Some(PATIENCE)).expect("the broker answers");
        assert!(waited.finished, "task {task} has not ended: {:#?}", self.status(task));
        waited.task
    }

    /// Submits a task and waits until it has ended; its summary and its steps.
    pub fn perform(&mut self, request: TaskRequest) -> (TaskSummary, Vec<StepSummary>) {
        let task = self.submit(request);
        let summary = self.ended(task);
        (summary, self.status(task).steps)
    }

    /// Everything about a task.
    pub fn status(&mut self, task_id: Uuid) -> TaskStatusReport {
        self.command(TaskStatus {
            correlation_id: Uuid::nil(),
            task_id,
            include_steps: true,
            include_results: vec!["*".to_owned()],
        })
    }

    /// Waits until something holds: looks after each event, and now and then in case one was published before the
    /// subscription stood.
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Stage) -> Option<T>) -> T {
        let mut events = Subscription::connect(&self.events).expect("the endpoint is valid");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            events.next(Instant::now() + Duration::from_millis(200)).expect("the connection stands");
        }
    }

    /// Waits until a step is in a state.
    pub fn reaches(&mut self, task: Uuid, step: &str, state: &str) -> StepSummary {
        self.until(&format!("{step} is {state}"), |stage| {
            Some(stage.step(task, step)).filter(|step| step.state == state)
        })
    }

    pub fn cancel(&mut self, task_id: Uuid) -> TaskCancelled {
        let (actor, reason) = ("operator".to_owned(), "seen enough".to_owned());
        self.command(CancelTask { correlation_id: Uuid::nil(), task_id, actor, reason })
    }

    /// One step of a task.
    pub fn step(&mut self, task: Uuid, name: &str) -> StepSummary {
        let steps = self.status(task).steps;
        steps.into_iter().find(|step| step.name == name).unwrap_or_else(|| panic!("task {task} has a step {name}"))
    }
}

pub fn connect(work: &str) -> Client {
    Client::connect(work, PATIENCE).expect("the endpoint is valid")
}

/// A request for `namespace/name` or `namespace/name@version`.
pub fn request(template: &str, context: impl Into<String>) -> TaskRequest {
    let (key, version) = template.split_once('@').map_or((template, None), |(key, version)| (key, Some(version)));
    let (namespace, name) = key.split_once('/').expect("namespace/name");
    TaskRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        version: version.map(str::to_owned),
        context: JsonText::new(context),
        ..TaskRequest::default()
    }
}

/// A request for one of the stories' own templates.
pub fn task(name: &str, context: impl Into<String>) -> TaskRequest {
    request(&format!("stories/{name}"), context)
}

/// Starts a worker with the stories' own handlers, for these templates, at a broker.
pub fn worker_at(broker: &str, name: &str, concurrency: u32, templates: &[&str]) -> RubyWorker {
    let templates: Vec<PathBuf> = templates.iter().map(|name| repository(&template_path(name))).collect();
    RubyWorker::start(broker, name, concurrency, &[repository(HANDLERS)], &Serves::Files(&templates))
}

fn template_path(name: &str) -> String {
    format!("tests/stories/templates/{name}.yaml")
}

fn start(config: &Config, database: &Database) -> Broker {
    let options = Options { config: config.clone(), database_url: database.url().to_owned() };
    Broker::start(options).expect("the broker starts")
}
