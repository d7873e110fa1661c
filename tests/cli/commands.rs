//! What commands send, and what they make of replies.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::fake_broker::{FakeBroker, Peer};
use crate::tasker::{Run, command, run};

const TASK: Uuid = Uuid::from_u128(0x0190_b8a4_0000_7000_8000_0000_0000_0001);

/// Runs `tasker` against the broker that `script` plays.
fn against(arguments: &[&str], script: impl FnOnce(&mut Peer) + Send + 'static) -> Run {
    let broker = FakeBroker::start(script);
    let endpoints = ["--broker", &broker.work, "--events", &broker.events, "--timeout", "10s"];
    let run = run(command(arguments).args(endpoints));
    broker.join();
    run
}

fn initialized(correlation_id: Uuid, duplicate: bool) -> TasksInitialized {
    let template = Some("shop/order@1.0.0".to_owned());
    let steps = vec!["pay".to_owned()];
    let task = TaskInitialized { task_id: Some(TASK), template, steps, duplicate, error: None };
    TasksInitialized { correlation_id, tasks: vec![task] }
}

fn summary(state: &str) -> TaskSummary {
    TaskSummary { task_id: TASK, name: "order".to_owned(), state: state.to_owned(), ..TaskSummary::default() }
}

#[test]
fn submit_sends_every_option_and_prints_the_id() {
    let context = "{\"big\": 340282366920938463463374607431768211456, \"price\": 209.970}";
    let arguments = [
        "task",
        "submit",
        "shop/order@1.0.0",
        "--context",
        context,
        "--key",
        "k",
        "--priority",
        "-3",
        "--tag",
        "a",
        "--tag",
        "b",
        "--bypass",
        "ship",
        "--run-at",
        "2026-01-31T08:00:00Z",
        "--initiator",
        "i",
        "--reason",
        "r",
        "--source-system",
        "s",
        "--correlation-id",
        "c",
        "--options",
        "{\"o\":1}",
        "--traceparent",
        "p",
        "--tracestate",
        "t",
    ];
    let run = against(&arguments, move |peer| {
        let Message::InitializeTask(command) = peer.receive() else { panic!("not a submission") };
        let text = |text: &str| Some(text.to_owned());
        let expected = TaskRequest {
            namespace: "shop".to_owned(),
            name: "order".to_owned(),
            version: text("1.0.0"),
            context: JsonText::new(context),
            idempotency_key: text("k"),
            priority: -3,
            initiator: text("i"),
            source_system: text("s"),
            reason: text("r"),
            tags: vec!["a".to_owned(), "b".to_owned()],
            bypass_steps: vec!["ship".to_owned()],
            run_at_ms: Some(1_769_846_400_000),
            correlation_id: text("c"),
            options: Some(JsonText::new("{\"o\":1}")),
            traceparent: text("p"),
            tracestate: text("t"),
        };
        assert_eq!(command.tasks, [expected]);
        peer.send(initialized(command.correlation_id, true));
    });
    assert_eq!((run.code, run.stdout), (0, format!("{TASK}\n")));
    assert_eq!(run.stderr, "this key was used before; the task is the one submitted then\n");
}

#[test]
fn a_refused_submission_ends_with_3_and_all_details() {
    let run = against(&["task", "submit", "shop/order"], |peer| {
        let Message::InitializeTask(command) = peer.receive() else { panic!("not a submission") };
        let refusal = ErrorReply::new(ErrorCode::InvalidContext, "customer is required")
            .with_field("context")
            .with_position("/customer");
        let task =
            TaskInitialized { task_id: None, template: None, steps: vec![], duplicate: false, error: Some(refusal) };
        peer.send(TasksInitialized { correlation_id: command.correlation_id, tasks: vec![task] });
    });
    assert_eq!((run.code, run.stdout.as_str()), (3, ""));
    let details =
        "error: customer is required\n  code: invalid_context\n  field: context\n  position: /customer\nhint: ";
    assert!(run.stderr.starts_with(details), "{}", run.stderr);
}

#[test]
fn submit_and_wait_ends_as_the_task_does() {
    for (state, code) in [("complete", 0), ("resolved_manually", 0), ("error", 1), ("cancelled", 1)] {
        let run = against(&["task", "submit", "shop/order", "--wait", "-o", "json"], move |peer| {
            let Message::InitializeTask(command) = peer.receive() else { panic!("not a submission") };
            peer.send(initialized(command.correlation_id, false));
            let Message::WaitForTask(command) = peer.receive() else { panic!("not a wait") };
            peer.send(TaskWaited { correlation_id: command.correlation_id, finished: true, task: summary(state) });
        });
        assert_eq!(run.code, code, "{}", run.stderr);
        let document: serde_json::Value = serde_json::from_str(&run.stdout).expect("one JSON document");
        assert_eq!(document["task_id"], TASK.to_string());
        assert_eq!(document["task"]["state"], state);
    }
}

#[test]
fn a_wait_whose_time_is_up_ends_with_6() {
    let run = against(&["task", "wait", &TASK.to_string(), "--for", "100ms"], |peer| {
        let Message::WaitForTask(command) = peer.receive() else { panic!("not a wait") };
        let task = summary("in_progress");
        peer.send(TaskWaited { correlation_id: command.correlation_id, finished: false, task });
    });
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains("time is up: the task is still in_progress"));
}

#[test]
fn results_are_printed_digit_for_digit() {
    let result = "{\"big\": 340282366920938463463374607431768211456, \"total\": 209.970, \"e\": 1E+2}";
    let yaml = "result:\n      big: 340282366920938463463374607431768211456\n      total: 209.970\n      e: 1E+2\n";
    for (format, expected) in [
        ("json", format!("\"result\": {result}")),
        ("jsonl", format!("\"result\":{result}}}]}}\n")),
        ("yaml", yaml.to_owned()),
        ("text", result.to_owned()),
    ] {
        let run = against(&["task", "status", &TASK.to_string(), "--results=pay,ship", "-o", format], move |peer| {
            let Message::TaskStatus(command) = peer.receive() else { panic!("not a status") };
            assert!(command.include_steps);
            assert_eq!(command.include_results, ["pay", "ship"]);
            let step =
                StepSummary { name: "pay".to_owned(), result: Some(JsonText::new(result)), ..StepSummary::default() };
            let (correlation_id, task) = (command.correlation_id, summary("complete"));
            peer.send(TaskStatusReport { correlation_id, task, steps: vec![step] });
        });
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains(&expected), "{}", run.stdout);
    }
}

#[test]
fn watch_follows_events_and_ends_with_the_status() {
    let run = against(&["task", "watch", &TASK.to_string()], |peer| {
        let answer = |peer: &mut Peer, task: &str, step: &str| {
            let Message::TaskStatus(command) = peer.receive() else { panic!("not a status") };
            let step = StepSummary {
                name: "pay".to_owned(),
                state: step.to_owned(),
                attempts: u32::from(step != "pending"),
                retry_limit: 3,
                ..StepSummary::default()
            };
            let (correlation_id, task) = (command.correlation_id, summary(task));
            peer.send(TaskStatusReport { correlation_id, task, steps: vec![step] });
        };
        peer.await_subscriber();
        answer(peer, "pending", "pending");
        let event = |topic: Topic, step: Option<&str>, state: &str| Event {
            topic: topic.as_str().to_owned(),
            task_id: Some(TASK),
            step: step.map(str::to_owned),
            attempt: Some(1),
            state: Some(state.to_owned()),
            worker: Some("w1".to_owned()),
            ..Event::default()
        };
        let broker = Uuid::from_u128(1);
        let foreign = Event { task_id: Some(Uuid::nil()), ..event(Topic::StepFailed, Some("pay"), "error") };
        peer.publish(broker, 1, foreign);
        peer.publish(broker, 2, event(Topic::StepDispatched, Some("pay"), "in_progress"));
        peer.publish(broker, 3, event(Topic::StepCompleted, Some("pay"), "complete"));
        peer.publish(broker, 4, event(Topic::TaskCompleted, None, "complete"));
        answer(peer, "complete", "complete");
        answer(peer, "complete", "complete");
    });
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines[..2], ["0/1 ▶ pay in_progress, worker w1", "1/1 ✓ pay complete, worker w1"], "{}", run.stderr);
    assert!(run.stdout.contains("state     complete"), "{}", run.stdout);
}

#[test]
fn watch_without_events_reads_the_status_and_tells_of_failure() {
    let broker = FakeBroker::start(|peer| {
        for (task, step, attempts) in [
            ("in_progress", "in_progress", 1),
            ("in_progress", "waiting_for_retry", 1),
            ("error", "error", 2),
            ("error", "error", 2),
        ] {
            let Message::TaskStatus(command) = peer.receive() else { panic!("not a status") };
            let failed = step != "in_progress";
            let step = StepSummary {
                name: "pay".to_owned(),
                state: step.to_owned(),
                attempts,
                error_class: failed.then(|| "Declined".to_owned()),
                ..StepSummary::default()
            };
            let (correlation_id, task) = (command.correlation_id, summary(task));
            peer.send(TaskStatusReport { correlation_id, task, steps: vec![step] });
        }
    });
    let run = run(&mut command(&["task", "watch", &TASK.to_string(), "--broker", &broker.work]));
    broker.join();
    assert_eq!(run.code, 1, "{}", run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    let expected =
        ["0/1 ▶ pay in_progress", "0/1 ↻ pay waiting_for_retry: Declined", "0/1 ✗ pay error, attempt 2: Declined"];
    assert_eq!(lines[..3], expected, "{}", run.stderr);
}

#[test]
fn operators_sign_what_they_do() {
    let task = TASK.to_string();
    let run = against(&["task", "cancel", &task, "--reason", "typo"], |peer| {
        let Message::CancelTask(command) = peer.receive() else { panic!("not a cancellation") };
        assert_eq!((command.actor.as_str(), command.reason.as_str()), ("anna", "typo"));
        let (correlation_id, task_id) = (command.correlation_id, command.task_id);
        peer.send(TaskCancelled { correlation_id, task_id, steps_stopped: 1, steps_cancelled: 2 });
    });
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = against(&["task", "retry", &task, "--step", "pay", "--actor", "bob"], |peer| {
        let Message::RetryTask(command) = peer.receive() else { panic!("not a reset") };
        assert_eq!((command.actor.as_str(), command.steps.len()), ("bob", 1));
        let (correlation_id, task_id) = (command.correlation_id, command.task_id);
        peer.send(TaskRetried { correlation_id, task_id, steps: command.steps });
    });
    assert_eq!((run.code, run.stdout.as_str()), (0, "pay\n"), "{}", run.stderr);
    let run = against(&["step", "resolve", &task, "pay", "--result", "18446744073709551616"], |peer| {
        let Message::ResolveStep(command) = peer.receive() else { panic!("not a resolution") };
        assert_eq!(command.result, Some(JsonText::new("18446744073709551616")));
        let ResolveStep { correlation_id, task_id, step, .. } = command;
        peer.send(StepResolved { correlation_id, task_id, step, task_state: "in_progress".to_owned() });
    });
    assert_eq!((run.code, run.stdout.as_str()), (0, "in_progress\n"), "{}", run.stderr);
}

#[test]
fn a_degraded_broker_ends_health_with_1() {
    for (status, code) in [("ok", 0), ("degraded", 1)] {
        let run = against(&["health"], move |peer| {
            let Message::HealthCheck(command) = peer.receive() else { panic!("not a health check") };
            assert_eq!(command.level, HealthLevel::Full);
            let correlation_id = command.correlation_id;
            peer.send(HealthReport { correlation_id, status: status.to_owned(), ..HealthReport::default() });
        });
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stdout.starts_with(&format!("status    {status}\n")), "{}", run.stdout);
    }
}

#[test]
fn a_filter_goes_out_as_it_is_and_the_answer_says_how_far_it_looked() {
    let run = against(&["task", "list", "state:error -tag:test", "--count", "step:\"a b\"", "--limit", "7"], |peer| {
        let Message::ListTasks(command) = peer.receive() else { panic!("not a list") };
        assert_eq!(command.filter.as_deref(), Some("state:error -tag:test step:\"a b\""));
        assert_eq!((command.limit, command.count), (7, true));
        peer.send(TaskList {
            correlation_id: command.correlation_id,
            next: Some(TASK),
            searched_back_to_ms: Some(0),
            count: Some(10_000),
            count_capped: true,
            ..TaskList::default()
        });
    });
    let back = format!("nothing among the tasks since 1970-01-01T00:00:00.000Z; further back: --before {TASK}\n");
    assert_eq!(run.stderr, format!("10000+ tasks\n{back}"));
}

#[test]
fn lists_are_aligned_and_say_when_they_are_empty() {
    let run = against(&["task", "list", "--limit", "1", "--state", "error"], |peer| {
        let Message::ListTasks(command) = peer.receive() else { panic!("not a list") };
        assert_eq!((command.limit, command.state.as_deref()), (1, Some("error")));
        assert_eq!((command.filter, command.count), (None, false));
        let next = Some(TASK);
        let correlation_id = command.correlation_id;
        peer.send(TaskList { correlation_id, tasks: vec![summary("error")], next, ..TaskList::default() });
    });
    assert_eq!(run.stdout.lines().count(), 2, "{}", run.stdout);
    assert_eq!(run.stderr, format!("there are more: --before {TASK}\n"));
    let run = against(&["task", "list", "-o", "jsonl"], |peer| {
        let Message::ListTasks(command) = peer.receive() else { panic!("not a list") };
        let tasks = vec![summary("error"), summary("complete")];
        peer.send(TaskList { correlation_id: command.correlation_id, tasks, ..TaskList::default() });
    });
    let states = run.stdout.lines().map(|line| {
        let task: serde_json::Value = serde_json::from_str(line).expect("an object a line");
        task["state"].as_str().expect("a task").to_owned()
    });
    assert_eq!(states.collect::<Vec<_>>(), ["error", "complete"]);
    let run = against(&["worker", "list"], |peer| {
        let Message::ListWorkers(command) = peer.receive() else { panic!("not a list") };
        peer.send(WorkerList { correlation_id: command.correlation_id, workers: vec![] });
    });
    assert_eq!((run.code, run.stderr.as_str()), (0, "no worker is registered\n"));
}

#[test]
fn namespaces_are_listed_paused_and_resumed() {
    let paused = NamespaceSummary {
        name: "shop".to_owned(),
        paused: true,
        paused_by: Some("anna".to_owned()),
        reason: Some("deploy\nat noon".to_owned()),
        paused_at_ms: Some(1_769_846_400_000),
        tasks: 3,
        steps_ready: 7,
        steps_in_progress: 2,
        templates: 1,
        ..NamespaceSummary::default()
    };
    let summary = paused.clone();
    let run = against(&["namespace", "list"], |peer| {
        let Message::ListNamespaces(command) = peer.receive() else { panic!("not a list") };
        let yard = NamespaceSummary { name: "yard".to_owned(), ..NamespaceSummary::default() };
        peer.send(NamespaceList { correlation_id: command.correlation_id, namespaces: vec![summary, yard] });
    });
    let rows: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..9], ["shop", "paused", "3", "7", "2", "0", "0", "1", "anna"], "{}", run.stdout);
    assert!(run.stdout.contains("deploy at noon\n"), "{}", run.stdout);
    assert_eq!(rows[2], ["yard", "active", "0", "0", "0", "0", "0", "0", "-", "-", "-"]);

    let arguments = ["namespace", "pause", "shop", "--actor", "anna", "--reason", "deploy"];
    let summary = paused.clone();
    let run = against(&arguments, |peer| {
        let Message::PauseNamespace(command) = peer.receive() else { panic!("not a pause") };
        let PauseNamespace { correlation_id, namespace, actor, reason } = command;
        assert_eq!((&*namespace, &*actor, &*reason), ("shop", "anna", "deploy"));
        peer.send(NamespaceChanged { correlation_id, changed: true, namespace: summary });
    });
    assert_eq!((run.code, &*run.stdout), (0, ""));
    assert_eq!(run.stderr, "shop is paused; 2 steps still run, 7 ready ones wait\n");

    let run = against(&["-o", "json", "namespace", "resume", "shop"], move |peer| {
        let Message::ResumeNamespace(command) = peer.receive() else { panic!("not a resumption") };
        let namespace = NamespaceSummary { paused: false, templates: 0, ..paused };
        peer.send(NamespaceChanged { correlation_id: command.correlation_id, changed: false, namespace });
    });
    let document: serde_json::Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!((&document["changed"], &document["namespace"]["steps_ready"]), (&false.into(), &7.into()));
    let notes = "shop is active already; nothing was done\nno template of shop is registered: is the name right?\n";
    assert_eq!(run.stderr, notes);
}

#[test]
fn a_worker_is_let_go_or_unknown() {
    let run = against(&["worker", "drain", "one", "--reason", "r"], |peer| {
        let Message::DrainWorker(command) = peer.receive() else { panic!("not a drain") };
        let DrainWorker { correlation_id, worker, reason, .. } = command;
        assert_eq!((&*worker, &*reason), ("one", "r"));
        peer.send(WorkerDraining { correlation_id, worker, changed: true, in_flight: 2, batches: 1 });
    });
    assert_eq!((run.code, run.stderr.as_str()), (0, "one is leaving; it has 2 steps to finish\n"));
    let run = against(&["worker", "drain", "two"], |peer| {
        let Message::DrainWorker(command) = peer.receive() else { panic!("not a drain") };
        let refusal = ErrorReply::new(ErrorCode::UnknownWorker, "no worker two is registered");
        peer.send(Message::Error(refusal.for_command(command.correlation_id)));
    });
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("`tasker worker list`"), "{}", run.stderr);
}

#[test]
fn why_a_step_does_not_run_is_a_row_each_and_what_they_share() {
    let id = TASK.to_string();
    let step = |name: &str, reason: &str| StepExplanation {
        step: name.to_owned(),
        state: "pending".to_owned(),
        reason: reason.to_owned(),
        message: "two\nlines".to_owned(),
        ..StepExplanation::default()
    };
    let explained = StepExplained {
        template: "shop/order@1.0.0".to_owned(),
        steps: vec![step("pay", "no_worker"), step("ship", "no_credit")],
        steps_left_off: 5,
        capabilities: vec!["other/*".to_owned()],
        workers: vec![ServingWorker {
            name: "one".to_owned(),
            state: "active".to_owned(),
            in_flight: 5,
            concurrency: 5,
        }],
        ..StepExplained::default()
    };
    let answer = explained.clone();
    let run = against(&["task", "why", &id], move |peer| {
        let Message::ExplainStep(command) = peer.receive() else { panic!("not a question") };
        assert_eq!((command.task_id, command.step), (TASK, None));
        peer.send(StepExplained { correlation_id: command.correlation_id, ..answer });
    });
    assert_eq!(run.code, 0);
    assert_eq!(
        run.stdout,
        "STEP  STATE    REASON     WHY\npay   pending  no_worker  two lines\nship  pending  no_credit  two lines\n"
    );
    let notes = "5 further steps are left off\nother workers serve other/*\n\
                 shop/order@1.0.0 is served by one (active, 5/5)\n";
    assert_eq!(run.stderr, notes);
    let run = against(&["-o", "json", "task", "why", &id, "pay"], move |peer| {
        let Message::ExplainStep(command) = peer.receive() else { panic!("not a question") };
        assert_eq!(command.step.as_deref(), Some("pay"));
        peer.send(StepExplained { correlation_id: command.correlation_id, ..explained });
    });
    let document: serde_json::Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!(document["steps"][0]["reason"], "no_worker");
}

#[test]
fn watch_streams_the_steps_to_programs_that_read_lines() {
    let run = against(&["task", "watch", &TASK.to_string(), "-o", "jsonl"], |peer| {
        for state in ["in_progress", "complete", "complete"] {
            let Message::TaskStatus(command) = peer.receive() else { panic!("not a status") };
            let step = StepSummary { name: "pay".to_owned(), state: state.to_owned(), ..StepSummary::default() };
            let (correlation_id, task) = (command.correlation_id, summary(state));
            peer.send(TaskStatusReport { correlation_id, task, steps: vec![step] });
        }
    });
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(lines.len(), 3, "{}", run.stdout);
    assert_eq!((&lines[0]["state"], &lines[1]["state"]), (&"in_progress".into(), &"complete".into()));
    assert_eq!(lines[2]["task"]["state"], "complete");
}

#[test]
fn the_tree_of_ten_thousand_steps_is_short_and_its_json_is_whole() {
    let part = |number: u32| StepSummary {
        name: format!("part_{number}"),
        state: if number == 7 { "error" } else { "complete" }.to_owned(),
        parents: vec!["split".to_owned()],
        ..StepSummary::default()
    };
    let answer = move |peer: &mut Peer| {
        let Message::TaskStatus(command) = peer.receive() else { panic!("not a status") };
        assert!(command.include_steps && command.include_results.is_empty());
        let split = StepSummary { name: "split".to_owned(), state: "complete".to_owned(), ..StepSummary::default() };
        let steps = std::iter::once(split).chain((0..9_999).map(part)).collect();
        let (correlation_id, task) = (command.correlation_id, summary("error"));
        peer.send(TaskStatusReport { correlation_id, task, steps });
    };
    let task = TASK.to_string();
    let run = against(&["task", "tree", &task], answer);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("✗ part_7  error") && run.stdout.contains("… 9,994 more complete"), "{}", run.stdout);
    assert!(run.stdout.lines().count() < 20 && !run.stdout.contains('\u{1b}'), "{}", run.stdout);
    let run = against(&["task", "tree", &task, "-o", "json"], answer);
    let graph: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(graph["nodes"].as_array().map(Vec::len), Some(10_000));
    assert_eq!(graph["edges"][7], serde_json::json!({ "from": "split", "to": "part_7" }));
}
