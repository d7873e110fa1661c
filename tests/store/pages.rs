//! What pages show of a history that a person can follow.

use tasker_core::store::*;
use tasker_engine::*;

use crate::fixture::{Fixture, introduction, source, template};

/// A diamond whose first step fails, comes back unrun and succeeds, whose left step fails for good, and whose right one runs.
struct History {
    fixture: Fixture,
    task: TaskId,
    batches: Vec<BatchId>,
}

impl History {
    async fn new() -> History {
        let mut fixture = Fixture::new().await;
        let mut task = fixture.task();
        task.idempotency_key = Some("K".into());
        task.bypass_steps = vec![3];
        task.labels.options = Some(r#"{"fast": 1.0}"#.into());
        task.labels.trace = Some(Box::new(TraceContext { parent: "00-ab-cd-01".into(), state: Some("x=1".into()) }));
        let id = task.id;
        fixture.commit(&[Save::Task(Box::new(task))]).await;
        let mut batches = Vec::new();
        let first = fixture.dispatch(id, 0, 1).await;
        let mut failed = fixture.failed(id, 0, 1, first, FailureCause::Failed, Some(0));
        if let Save::AttemptFailed(failed) = &mut failed {
            (failed.started_at_us, failed.duration_us) = (1_700_000_000_000_000, 2_500);
        }
        fixture.commit(&[failed]).await;
        let second = fixture.dispatch(id, 0, 2).await;
        let returned = Save::StepReturned { task: id, step: 0, attempt: 2, batch: second, reason: "drain".into() };
        fixture.commit(&[returned]).await;
        let third = fixture.dispatch(id, 0, 2).await;
        let late = ReceivedResult {
            at: StepReference { task: id, step: "start".into(), attempt: 1, batch: first },
            registration: Some(fixture.registration),
            disposition: Disposition::Late,
            status: "complete",
            checksum: 7,
            payload: "18446744073709551616".into(),
        };
        fixture.commit(&[fixture.settled(id, 0, 2, third, "1"), Save::ResultReceived(Box::new(late))]).await;
        let (fourth, both) = fixture.batch(&[(id, 1, 1), (id, 2, 1)]);
        fixture.commit(&[both]).await;
        fixture.commit(&[fixture.failed(id, 1, 1, fourth, FailureCause::TimedOut, None)]).await;
        let differences =
            vec![Difference { task: id, step: "start".into(), attempt: 1, completion: "complete", recorded: "error" }];
        fixture.commit(&[Save::BatchClosed { batch: first, state: BatchState::Completed, differences }]).await;
        let closed = Save::BatchClosed { batch: second, state: BatchState::Completed, differences: vec![] };
        fixture.commit(&[closed]).await;
        batches.extend([first, second, third, fourth]);
        History { fixture, task: id, batches }
    }
}

#[tokio::test]
async fn a_task_is_shown_with_its_request() {
    let History { fixture, task, .. } = History::new().await;
    let detail = task_detail(&fixture.pool, task).await.unwrap().unwrap();
    let status = task_status(&fixture.pool, task, false, &[], 0).await.unwrap().unwrap();
    assert_eq!(detail.task, status);
    assert_eq!(&detail.context[..], &br#"{"big": 18446744073709551616,  "b": 1, "a": 209.97}"#[..]);
    assert_eq!(detail.options.as_deref(), Some(&br#"{"fast": 1.0}"#[..]));
    assert_eq!((detail.key.as_deref(), &detail.bypassed[..]), (Some("K"), &["end".to_owned()][..]));
    assert_eq!((detail.traceparent.as_deref(), detail.tracestate.as_deref()), (Some("00-ab-cd-01"), Some("x=1")));
    assert_eq!(task_detail(&fixture.pool, TaskId(uuid::Uuid::now_v7())).await.unwrap(), None);
}

#[tokio::test]
async fn a_step_is_shown_with_all_its_attempts() {
    let History { fixture, task, batches } = History::new().await;
    let history = step_history(&fixture.pool, task, "start", 100).await.unwrap();
    let states: Vec<_> = history.attempts.iter().map(|attempt| (attempt.row.attempt, attempt.row.state)).collect();
    let expected = [(1, AttemptState::Failed), (2, AttemptState::Returned), (2, AttemptState::Complete)];
    assert_eq!(states, expected);
    let [failed, returned, complete] = &history.attempts[..] else { panic!("three") };
    let failing = failed.failing.as_ref().unwrap();
    assert_eq!((&*failing.class, failing.is_final, failing.code.as_deref()), ("Net::Error", false, Some("E1")));
    assert_eq!((failing.backtrace.len(), failing.context.as_deref()), (2, Some(&br#"{"tries": 1.0}"#[..])));
    assert_eq!((failed.row.duration_us, failed.row.started_at_ms), (Some(2_500), Some(1_700_000_000_000)));
    assert!(failed.row.retry_at_ms.is_some() && failed.queue_us == Some(0));
    assert_eq!(returned.returned_because.as_deref(), Some("drain"));
    assert_eq!(returned.row.batch, Some(batches[1]));
    assert_eq!((complete.row.batch, &complete.failing), (Some(batches[2]), &None));
    assert!(history.attempts.iter().all(|attempt| attempt.worker.as_deref() == Some("worker-1")));
    let [entry] = &history.ledger[..] else { panic!("one") };
    assert_eq!((&*entry.disposition, entry.attempt, entry.batch), ("late", 1, batches[0]));
    assert_eq!((&*entry.payload, entry.worker.as_deref()), ("18446744073709551616", Some("worker-1")));
    // The newest, when not all are wanted.
    let history = step_history(&fixture.pool, task, "start", 1).await.unwrap();
    assert_eq!(history.attempts.len(), 1);
    assert_eq!(history.attempts[0].row.state, AttemptState::Complete);
    let running = step_history(&fixture.pool, task, "right", 10).await.unwrap();
    assert_eq!(running.attempts[0].row.state, AttemptState::InProgress);
    let nothing = StepHistory { attempts: vec![], ledger: vec![] };
    assert_eq!(step_history(&fixture.pool, task, "end", 10).await.unwrap(), nothing);
    assert_eq!(step_history(&fixture.pool, task, "nobody", 10).await.unwrap(), nothing);
}

#[tokio::test]
async fn the_timeline_has_every_attempt_of_a_task() {
    let History { mut fixture, task, .. } = History::new().await;
    let shape = |timeline: &Timeline| {
        let rows = timeline.rows.iter().map(|row| format!("{} {} {}", row.step, row.attempt, row.state.name()));
        rows.collect::<Vec<_>>()
    };
    let found = timeline(&fixture.pool, task).await.unwrap();
    let mut expected = vec!["0 1 failed", "0 2 returned", "0 2 complete", "1 1 timed_out", "2 1 in_progress"];
    assert_eq!(shape(&found), expected);
    assert_eq!((found.is_cut, &found.workers[..]), (false, &[(fixture.registration, "worker-1".to_owned())][..]));
    // A cancelled task has nothing that runs, whatever its open batches say.
    fixture.commit(&[fixture.ended(task, TaskState::Cancelled)]).await;
    expected.pop();
    assert_eq!(shape(&timeline(&fixture.pool, task).await.unwrap()), expected);
}

#[tokio::test]
async fn transitions_come_in_pages() {
    let History { fixture, task, .. } = History::new().await;
    let whole = transitions(&fixture.pool, task, None, 100).await.unwrap();
    assert_eq!(whole.next, None);
    let said: Vec<String> = whole
        .rows
        .iter()
        .filter(|row| row.step.as_deref() == Some("start"))
        .map(|row| format!("{} {}", row.from.as_deref().unwrap_or("-"), row.to))
        .collect();
    assert_eq!(
        said,
        [
            "- pending",
            "pending in_progress",
            "in_progress waiting_for_retry",
            "waiting_for_retry in_progress",
            "in_progress pending",
            "pending in_progress",
            "in_progress complete",
        ]
    );
    for limit in 1..4 {
        let (mut rows, mut after) = (Vec::new(), None::<TransitionCursor>);
        loop {
            let page = transitions(&fixture.pool, task, after.as_ref(), limit).await.unwrap();
            rows.extend(page.rows);
            let Some(next) = page.next else { break };
            after = Some(next.to_string().parse().unwrap());
        }
        assert_eq!(rows, whole.rows, "{limit} a page");
    }
    for text in ["", "1", "1_2_3_4", "1_2_3_4_x", "a_2_3_4_00000000000000000000000000000000"] {
        assert!(text.parse::<TransitionCursor>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn steps_are_nodes_of_a_graph() {
    let History { fixture, task, .. } = History::new().await;
    let nodes = step_nodes(&fixture.pool, task).await.unwrap();
    let shape: Vec<_> = nodes.iter().map(|node| (node.step, &*node.name, &node.parents[..])).collect();
    assert_eq!(shape, [(0, "start", &[][..]), (1, "left", &[0]), (2, "right", &[0]), (3, "end", &[1, 2])]);
    assert_eq!(nodes[0].handler, "Handle::start");
    assert_eq!(step_nodes(&fixture.pool, TaskId(uuid::Uuid::now_v7())).await.unwrap(), []);
}

#[tokio::test]
async fn batches_are_listed_and_shown() {
    let History { fixture, task, batches } = History::new().await;
    let list = async |filter: BatchFilter, before, limit| {
        let page = list_batches(&fixture.pool, &filter, before, limit).await.unwrap();
        assert!(!page.is_short);
        let ids: Vec<usize> =
            page.batches.iter().map(|row| batches.iter().position(|batch| *batch == row.id).unwrap()).collect();
        (ids, page.next)
    };
    let all = BatchFilter::default();
    assert_eq!(list(all.clone(), None, 100).await, (vec![3, 2, 1, 0], None));
    assert_eq!(list(all.clone(), None, 3).await, (vec![3, 2, 1], Some(batches[1])));
    assert_eq!(list(all.clone(), Some(batches[1]), 3).await, (vec![0], None));
    assert_eq!(list(BatchFilter { is_open: true, ..all.clone() }, None, 9).await, (vec![3, 2], None));
    assert_eq!(list(BatchFilter { is_differing: true, ..all.clone() }, None, 9).await, (vec![0], None));
    let worker = |name: &str| BatchFilter { worker: Some(name.into()), ..BatchFilter::default() };
    assert_eq!(list(worker("worker-1"), None, 9).await.0.len(), 4);
    assert_eq!(list(worker("nobody"), None, 9).await, (vec![], None));

    let detail = batch_detail(&fixture.pool, batches[3], None, 1).await.unwrap().unwrap();
    assert_eq!((&*detail.batch.state, detail.batch.total, detail.batch.failed), ("executing", 2, 1));
    let shape = |item: &BatchStep| (item.position, item.name.clone().unwrap(), item.state.clone());
    assert_eq!(detail.items.iter().map(shape).collect::<Vec<_>>(), [(1, "left".into(), "timed_out".into())]);
    assert_eq!(detail.next, Some(1));
    let detail = batch_detail(&fixture.pool, batches[3], detail.next, 10).await.unwrap().unwrap();
    assert_eq!(detail.items.iter().map(shape).collect::<Vec<_>>(), [(2, "right".into(), "open".into())]);
    assert_eq!((detail.next, detail.items[0].task), (None, task));
    let detail = batch_detail(&fixture.pool, batches[0], None, 10).await.unwrap().unwrap();
    let differences = String::from_utf8(detail.batch.differences.unwrap().to_vec()).unwrap();
    assert!(differences.contains("\"start\""), "{differences}");
    assert_eq!(batch_detail(&fixture.pool, BatchId(uuid::Uuid::now_v7()), None, 10).await.unwrap(), None);
}

#[tokio::test]
async fn workers_have_a_past() {
    let mut fixture = Fixture::new().await;
    let later = [RegistrationId(uuid::Uuid::now_v7()), RegistrationId(uuid::Uuid::now_v7())];
    for (registration, name) in later.into_iter().zip(["worker-1", "worker-2"]) {
        let worker = Box::new(introduction(name));
        fixture.commit(&[Save::WorkerRegistered { registration, worker }]).await;
    }
    let ended = Save::WorkerEnded { registration: fixture.registration, reason: "superseded" };
    fixture.commit(&[ended]).await;
    let all = registrations(&fixture.pool, None, None, 10).await.unwrap();
    assert_eq!(all.iter().map(|row| row.id).collect::<Vec<_>>(), [later[1], later[0], fixture.registration]);
    assert_eq!(all[2].end_reason.as_deref(), Some("superseded"));
    assert_eq!(all[0].templates, ["shop/diamond@1.0.0", "shop/refund", "back office/*"]);
    assert_eq!((all[0].pid, all[0].concurrency, all[0].ended_at_ms), (4_000_000_000, 5, None));
    let one = registrations(&fixture.pool, Some("worker-1"), Some(later[0]), 10).await.unwrap();
    assert_eq!(one.iter().map(|row| row.id).collect::<Vec<_>>(), [fixture.registration]);
    assert_eq!(registrations(&fixture.pool, None, None, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn dead_ends_are_grouped_by_what_went_wrong() {
    let mut fixture = Fixture::new().await;
    let mut newest = None;
    for step in [0, 0, 1] {
        let task = fixture.stored_task().await;
        let batch = fixture.dispatch(task, step, 1).await;
        let first = fixture.failed(task, step, 1, batch, FailureCause::Failed, Some(0));
        fixture.commit(&[first]).await;
        let batch = fixture.dispatch(task, step, 2).await;
        let last = fixture.failed(task, step, 2, batch, FailureCause::Failed, None);
        fixture.commit(&[last, fixture.ended(task, TaskState::Error)]).await;
        if step == 0 {
            newest = Some(task);
        }
    }
    // A task that goes on is no dead end, and one that went well neither.
    let running = fixture.stored_task().await;
    let batch = fixture.dispatch(running, 0, 1).await;
    fixture.commit(&[fixture.failed(running, 0, 1, batch, FailureCause::Failed, None)]).await;
    let found = dead_ends(&fixture.pool).await.unwrap();
    assert_eq!((found.tasks, found.is_capped), (3, false));
    let shape: Vec<_> = found.groups.iter().map(|group| (&*group.step, &*group.class, group.tasks)).collect();
    assert_eq!(shape, [("start", "Net::Error", 2), ("left", "Net::Error", 1)]);
    assert_eq!(Some(found.groups[0].newest), newest);
    assert_eq!(found.groups[0].template, fixture.template.key);
}

#[tokio::test]
async fn acts_of_operators_are_listed() {
    let mut fixture = Fixture::new().await;
    let tasks = [fixture.stored_task().await, fixture.stored_task().await];
    fixture.commit(&[fixture.reset(tasks[0], 1, 2)]).await;
    fixture.commit(&[fixture.action(tasks[1], None, OperationKind::Cancel, "pending", "cancelled", 0)]).await;
    let acts = operator_acts(&fixture.pool, None, None, 10).await.unwrap();
    let shape: Vec<_> = acts.iter().map(|act| (&*act.operation, &act.on)).collect();
    let cancelled = ActedOn::Task { task: tasks[1], step: None };
    let retried = ActedOn::Task { task: tasks[0], step: Some("left".to_owned()) };
    assert_eq!(shape, [("cancel", &cancelled), ("retry", &retried)]);
    assert_eq!(
        (&*acts[0].actor, &*acts[0].reason, &*acts[0].before, &*acts[0].after),
        ("ada", "because", "pending", "cancelled")
    );
    let older = operator_acts(&fixture.pool, None, Some(acts[0].id), 10).await.unwrap();
    assert_eq!(older, acts[1..]);
    assert_eq!(operator_acts(&fixture.pool, Some(tasks[1]), None, 10).await.unwrap(), acts[..1]);
}

#[tokio::test]
async fn acts_on_tasks_and_on_the_fleet_are_one_list() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let on_fleet = |kind: FleetActionKind, subject: &str| {
        let action = FleetAction { kind, subject: subject.into(), actor: "ada".into(), reason: "a test".into() };
        Save::FleetAction(Box::new(FleetActed { action, before: "before", after: "after" }))
    };
    fixture.commit(&[on_fleet(FleetActionKind::PauseNamespace, "yard")]).await;
    fixture.commit(&[fixture.reset(task, 1, 2)]).await;
    // The next two have the time of one group.
    let cancelled = fixture.action(task, None, OperationKind::Cancel, "pending", "cancelled", 0);
    fixture.commit(&[cancelled, on_fleet(FleetActionKind::DrainWorker, "crane")]).await;
    let (mut told, mut after) = (Vec::new(), None);
    loop {
        let page = acts(&fixture.pool, after, 1).await.unwrap();
        told.extend(page.acts.into_iter().map(|act| (act.operation, act.on)));
        let Some(next) = page.next else { break };
        // A place is given back as text.
        after = Some(next.to_string().parse().unwrap());
        assert!(told.len() < 5, "it goes on and on: {told:?}");
    }
    let on_task = |step: Option<&str>| ActedOn::Task { task, step: step.map(str::to_owned) };
    let expected = [
        ("cancel", on_task(None)),
        ("drain", ActedOn::Worker("crane".to_owned())),
        ("retry", on_task(Some("left"))),
        ("pause", ActedOn::Namespace("yard".to_owned())),
    ];
    assert_eq!(told, expected.map(|(operation, on)| (operation.to_owned(), on)));
    assert!("1".parse::<ActCursor>().is_err() && "a_1".parse::<ActCursor>().is_err());
}

#[tokio::test]
async fn namespaces_say_what_is_to_be_done() {
    let mut fixture = Fixture::new().await;
    for (version, digest) in [("2.0.0", 2), ("3.0.0", 3)] {
        fixture.commit(&[Save::Template(source(&template("refund", version, &[("a", &[])]), digest))]).await;
    }
    let task = fixture.stored_task().await;
    fixture.stored_task().await;
    fixture.commit(&[fixture.ended(task, TaskState::Cancelled)]).await;
    let found = namespaces(&fixture.pool).await.unwrap();
    let row = NamespaceRow { name: "shop".into(), templates: 2, versions: 3, unfinished: 1 };
    assert_eq!(found, Namespaces { rows: vec![row], is_capped: false });
}
