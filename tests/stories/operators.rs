//! What operators do to namespaces and workers, and what they are told when they ask why nothing moves.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::peers::Subscriber;
use crate::support::{
    BrokerProcess, Database, Gate, HANDLERS, PATIENCE, RubyWorker, Serves, Stage, connect, repository, task, worker_at,
};

const DISPATCHED: &str = "SELECT coalesce(sum(cardinality(task_ids)), 0)::bigint FROM tasker.batches";
const AUDIT: &str = "SELECT concat_ws(' ', subject_kind, subject, operation, actor, reason, state_before, state_after)
                     FROM tasker.fleet_actions ORDER BY action_id";

fn pause() -> PauseNamespace {
    let (actor, reason) = ("anna".to_owned(), "deploy".to_owned());
    PauseNamespace { correlation_id: Uuid::nil(), namespace: "stories".to_owned(), actor, reason }
}

fn resume() -> ResumeNamespace {
    let (actor, reason) = ("kim".to_owned(), "done".to_owned());
    ResumeNamespace { correlation_id: Uuid::nil(), namespace: "stories".to_owned(), actor, reason }
}

fn drain(worker: &str) -> DrainWorker {
    let (actor, reason) = ("anna".to_owned(), "the host is replaced".to_owned());
    DrainWorker { correlation_id: Uuid::nil(), worker: worker.to_owned(), actor, reason }
}

fn explain(task_id: Uuid, step: Option<&str>) -> ExplainStep {
    ExplainStep { correlation_id: Uuid::nil(), task_id, step: step.map(str::to_owned) }
}

fn gated(gate: &Gate) -> TaskRequest {
    task("gated", format!("{{\"gate\": {:?}}}", gate.path()))
}

/// The steps with their reasons.
fn reasons(explained: &StepExplained) -> Vec<(&str, &str)> {
    explained.steps.iter().map(|step| (&*step.step, &*step.reason)).collect()
}

#[test]
fn a_namespace_that_is_paused_stays_so_until_it_is_resumed() {
    let database = Database::create();
    let mut broker = BrokerProcess::start(&database);
    let mut client = connect(broker.work());
    let worker = worker_at(broker.work(), "one", 5, &["single", "diamond"]);
    worker.registered();
    let changed = client.request(pause()).expect("accepted");
    assert!(changed.changed && changed.namespace.paused && changed.namespace.templates == 2, "{changed:?}");
    let again = client.request(PauseNamespace { actor: "kim".to_owned(), ..pause() }).expect("accepted");
    assert_eq!((again.changed, again.namespace.paused_by.as_deref()), (false, Some("anna")), "the first one stands");

    let tasks = vec![task("single", "{}"), task("diamond", "{}")];
    let accepted = client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }).expect("accepted");
    let tasks: Vec<Uuid> = accepted.tasks.iter().map(|task| task.task_id.expect("accepted")).collect();
    let tried = client.request(TryTaskIfReady { correlation_id: Uuid::nil(), task_id: tasks[0] }).expect("accepted");
    assert_eq!((tried.ready, tried.steps_waiting), (false, 1));

    broker.kill();
    broker.start_again(&database);
    let look = |client: &mut tasker_core::client::Client| {
        let list = client.request(ListNamespaces { correlation_id: Uuid::nil() }).expect("accepted");
        let [stories] = &list.namespaces[..] else { panic!("{list:?}") };
        stories.clone()
    };
    let stories = look(&mut client);
    assert_eq!((stories.paused_by.as_deref(), stories.reason.as_deref()), (Some("anna"), Some("deploy")));
    assert_eq!((stories.tasks, stories.steps_ready, stories.steps_in_progress, stories.steps_waiting), (2, 2, 0, 3));
    let health = HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Full };
    let health = client.request(health).expect("accepted");
    assert_eq!((health.namespaces_paused, health.templates_without_worker), (vec!["stories".to_owned()], vec![]));
    let why = client.request(explain(tasks[0], None)).expect("accepted");
    assert_eq!(why.steps[0].reason, "namespace_paused");
    assert_eq!(why.steps[0].message, "the namespace stories is paused by anna: deploy");
    assert_eq!(database.number(DISPATCHED), 0);

    assert!(client.request(resume()).expect("accepted").changed);
    assert!(!client.request(resume()).expect("accepted").changed);
    for task in &tasks {
        let waited = client.wait_for_task(*task, Some(PATIENCE)).expect("the broker answers");
        assert_eq!((waited.finished, waited.task.state.as_str()), (true, "complete"));
    }
    assert_eq!(
        database.texts(AUDIT),
        ["namespace stories pause anna deploy active paused", "namespace stories resume kim done paused active"]
    );
    let stories = look(&mut client);
    assert_eq!((stories.paused, stories.tasks, stories.steps_ready, stories.steps_waiting), (false, 0, 0, 0));
    assert!(worker.stop().success());
    invariants::hold(&database);
    broker.stop();
}

#[test]
fn what_runs_when_its_namespace_is_paused_counts_and_what_follows_waits() {
    let mut stage = Stage::open();
    stage.register("gated");
    let (gate, worker) = (stage.gate(), stage.worker("one", 2, &["gated"]));
    let id = stage.submit(gated(&gate));
    let visitor = gate.next();
    let changed = stage.command(pause());
    assert_eq!((changed.namespace.steps_in_progress, changed.namespace.workers), (1, 1));
    let why = stage.command(explain(id, None));
    assert_eq!(reasons(&why), [("wait", "running"), ("after", "dependencies")]);
    let running = &why.steps[0];
    assert_eq!(running.worker.as_deref(), Some("one"));
    assert!(running.in_ms.is_some_and(|left| left > 0) && running.since_ms.is_some(), "{running:?}");
    assert_eq!(why.steps[1].held_up_by, [NamedStep { step: "wait".to_owned(), state: "in_progress".to_owned() }]);
    visitor.release("in time");
    stage.reaches(id, "wait", "complete");
    assert_eq!(reasons(&stage.command(explain(id, None))), [("after", "namespace_paused")]);
    assert_eq!(stage.database.number(DISPATCHED), 1);
    stage.command(resume());
    assert_eq!(stage.ended(id).state, "complete");
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}

/// An operator lets a worker go that has a step running: it finishes that, reports it, and ends in order.
fn dismissed(arguments: &[&str]) {
    let mut stage = Stage::open();
    stage.register("gated");
    let gate = stage.gate();
    let (serves, handlers) = ([repository("tests/stories/templates/gated.yaml")], [repository(HANDLERS)]);
    let mut leaver = RubyWorker::start_with(arguments, &stage.work, "leaver", 1, &handlers, &Serves::Files(&serves));
    leaver.registered();
    let id = stage.submit(gated(&gate));
    let visitor = gate.next();
    let draining = stage.command(drain("leaver"));
    assert!(draining.changed && draining.in_flight == 1, "{draining:?}");
    assert!(!stage.command(drain("leaver")).changed);
    leaver.logged("the broker asks this worker to drain: the host is replaced");
    let workers = stage.command(ListWorkers { correlation_id: Uuid::nil() }).workers;
    assert_eq!((workers.len(), workers[0].state.as_str()), (1, "draining"));
    let other = stage.submit(gated(&gate));
    let why = stage.command(explain(other, Some("wait")));
    assert_eq!((reasons(&why), why.workers_serving, why.workers_active), (vec![("wait", "no_credit")], 1, 0));
    visitor.release("in time");
    assert_eq!(leaver.ended().code(), Some(0));
    let end = "SELECT end_reason FROM tasker.worker_registrations WHERE worker = 'leaver'";
    assert_eq!(stage.database.text(end), "drained");
    assert_eq!(stage.database.texts("SELECT result::text FROM tasker.step_outcomes"), ["\"in time\""]);
    let refusal = stage.refusal(drain("leaver"));
    assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::UnknownWorker, Some("worker")));

    // Another process under the same name works again.
    let heir = RubyWorker::start_with(arguments, &stage.work, "leaver", 1, &handlers, &Serves::Files(&serves));
    gate.next().release("by another");
    for task in [id, other] {
        assert_eq!(stage.ended(task).state, "complete");
    }
    assert!(heir.stop().success());
    assert_eq!(stage.database.texts(AUDIT), ["worker leaver drain anna the host is replaced active draining"]);
    assert_eq!(stage.database.number("SELECT count(*) FROM tasker.step_attempts_failed"), 0);
    invariants::hold(&stage.database);
}

#[test]
fn a_worker_that_is_let_go_finishes_what_it_runs_and_leaves() {
    dismissed(&[]);
}

#[test]
fn a_worker_with_processes_that_is_let_go_finishes_what_it_runs_and_leaves() {
    dismissed(&["-p", "1"]);
}

#[test]
fn what_operators_do_is_published() {
    let mut stage = Stage::open();
    let events = stage.events.clone();
    let mut subscriber =
        stage.database.run(Subscriber::connect(&events, &["event.namespace.", "event.worker.draining"]));
    let mut worker = stage.worker("one", 1, &["single"]);
    worker.registered();
    let mut heard = Vec::new();
    // The subscription may not stand yet when the first one is published.
    while heard.is_empty() {
        stage.command(pause());
        stage.command(resume());
        let next = subscriber.next_within(std::time::Duration::from_millis(100));
        heard.extend(stage.database.run(next));
    }
    stage.command(drain("one"));
    while heard.last().is_some_and(|(topic, _)| topic != "event.worker.draining") {
        heard.push(stage.database.run(subscriber.next()));
    }
    let told = heard.iter().map(|(topic, message)| match message {
        Message::Event(event) => (&**topic, event),
        other => panic!("{topic}: {other:?}"),
    });
    let of = |wanted: &str| told.clone().rev().find(|(topic, _)| *topic == wanted).map(|(_, event)| event);
    for (topic, event) in told.clone().filter(|(topic, _)| topic.starts_with("event.namespace.")) {
        assert_eq!(event.namespace.as_deref(), Some("stories"), "{topic}");
    }
    let resumed = of("event.namespace.resumed").expect("it was told");
    assert_eq!((resumed.state.as_deref(), resumed.reason.as_deref()), (Some("active"), Some("done")));
    let draining = of("event.worker.draining").expect("it was told");
    assert_eq!((draining.worker.as_deref(), draining.state.as_deref()), (Some("one"), Some("draining")));
    assert_eq!(worker.ended().code(), Some(0));
}

#[test]
fn the_last_error_of_a_step_is_told_and_so_is_the_end_of_its_task() {
    let mut stage = Stage::open();
    stage.register_text(
        "namespace_name: stories\nname: held\nversion: 1.0.0\nstep_templates:\n  \
         - {name: broken, handler_class: \"Stories::Fail\", handler_config: {error: permanent}}\n  \
         - {name: below, handler_class: \"Stories::Echo\", depends_on_step: broken}\n  \
         - {name: further, handler_class: \"Stories::Echo\", depends_on_step: below}\n  \
         - {name: wait, handler_class: \"Stories::Meet\"}\n",
    );
    let gate = stage.gate();
    let serves = Serves::Stored(&["stories/held"]);
    let worker = RubyWorker::start(&stage.work, "one", 5, &[repository(HANDLERS)], &serves);
    let id = stage.submit(task("held", format!("{{\"gate\": {:?}}}", gate.path())));
    let visitor = gate.next();
    stage.reaches(id, "broken", "error");
    let live = stage.command(explain(id, None));
    let expected =
        [("broken", "failed"), ("below", "failed_dependency"), ("further", "failed_dependency"), ("wait", "running")];
    assert_eq!(reasons(&live), expected);
    assert!(live.steps[0].error_class.as_deref().is_some_and(|class| class.contains("PermanentError")), "{live:?}");
    assert!(live.steps[0].message.contains("PermanentError"), "{live:?}");
    let refusal = stage.refusal(explain(id, Some("nowhere")));
    assert_eq!(refusal.code, ErrorCode::UnknownStep);

    visitor.release("done");
    assert_eq!(stage.ended(id).state, "error");
    // From here on the database answers.
    let ended = stage.command(explain(id, None));
    assert_eq!(reasons(&ended), expected[..3]);
    assert_eq!((ended.task_state.as_str(), &ended.steps[0].error_class), ("error", &live.steps[0].error_class));
    for (one, other) in ended.steps.iter().zip(&live.steps) {
        assert_eq!(
            (&one.waits_for, &one.held_up_by, &one.message),
            (&other.waits_for, &other.held_up_by, &other.message)
        );
    }
    assert_eq!(reasons(&stage.command(explain(id, Some("wait")))), [("wait", "settled")]);
    assert_eq!(stage.refusal(explain(id, Some("nowhere"))).code, ErrorCode::UnknownStep);
    assert_eq!(stage.refusal(explain(Uuid::nil(), None)).code, ErrorCode::UnknownTask);
    assert!(worker.stop().success());
    invariants::hold(&stage.database);
}
