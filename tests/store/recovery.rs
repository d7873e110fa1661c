//! What comes back after a restart is what was saved.

use bytes::Bytes;
use tasker_core::store::{last_errors, load_outcomes, load_task, recover};
use tasker_engine::*;

use crate::fixture::{Fixture, introduction};

/// A step in short: attempts, limit, workers lost, settled with, retry, failed.
type Brief<'a> = (u32, u32, u32, Option<(&'a str, &'a str)>, Option<bool>, bool);

fn brief(step: &StepSnapshot) -> Brief<'_> {
    let settled = step.settled.as_ref().map(|settled| {
        assert!(settled.result.is_empty() || settled.checksum == checksum(&settled.result));
        (settled.kind.as_str(), std::str::from_utf8(&settled.result).unwrap())
    });
    (step.attempts, step.retry_limit, step.workers_lost, settled, step.retry_in_ms.map(|ms| ms > 0), step.failed)
}

#[tokio::test]
async fn a_task_comes_back_as_it_was_requested() {
    let mut fixture = Fixture::new().await;
    let mut task = fixture.task();
    task.priority = 4;
    task.idempotency_key = Some("k".into());
    task.run_at = Some(Wall(4_102_444_800_000));
    task.labels.tags = vec!["x".into(), "y".into()];
    task.labels.initiator = Some("ada".into());
    task.labels.options = Some(Bytes::from_static(b"{\"o\":1.50}"));
    task.labels.trace = TraceContext::of(Some("00-0af7-b7ad-01".into()), Some("congo=t61".into()));
    fixture.commit(&[Save::Task(Box::new(task.clone()))]).await;
    let done = fixture.stored_task().await;
    fixture.commit(&[fixture.ended(done, TaskState::Cancelled)]).await;

    let recovered = recover(&fixture.pool, 1).await.unwrap();
    let [found] = &recovered.tasks[..] else { panic!("{} tasks", recovered.tasks.len()) };
    assert_eq!((found.id, &found.template, found.priority), (task.id, &fixture.template.key, 4));
    assert_eq!((&found.context, &found.labels, found.run_at), (&task.context, &task.labels, task.run_at));
    assert_eq!(found.idempotency_key.as_deref(), Some("k"));
    assert!(found.run_in_ms.unwrap() > 1_000_000_000);
    assert_eq!(found.final_state, None);
    assert!(found.steps.iter().all(|step| brief(step) == (0, 3, 0, None, None, false)));
    assert_eq!(found.steps.len(), 4);
    let [template] = &recovered.templates[..] else { panic!("{:?}", recovered.templates) };
    assert_eq!((&template.key, template.digest, &*template.yaml), (&fixture.template.key, [1; 32], "name: diamond"));
    assert_eq!(template.handler_config.as_deref(), Some("{\"a\": 1e2}"));
    assert_eq!(template.environment.as_deref(), Some("test"));
    assert!(recover(&fixture.pool, 2).await.unwrap().tasks.is_empty());

    assert_eq!(load_task(&fixture.pool, done).await.unwrap().unwrap().final_state, Some(TaskState::Cancelled));
    assert!(load_task(&fixture.pool, TaskId(uuid::Uuid::nil())).await.unwrap().is_none());
}

#[tokio::test]
async fn results_come_back_only_where_a_child_needs_them() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let batch = fixture.dispatch(task, 0, 1).await;
    fixture.commit(&[fixture.settled(task, 0, 1, batch, "\"s\"")]).await;
    let result =
        |task: &TaskSnapshot, step: usize| task.steps[step].settled.as_ref().map(|settled| settled.result.clone());
    let found = load_task(&fixture.pool, task).await.unwrap().unwrap();
    assert_eq!(result(&found, 0), Some(Bytes::from_static(b"\"s\"")));
    let outcomes = load_outcomes(&fixture.pool, task).await.unwrap().unwrap();
    assert_eq!((result(&outcomes, 0), outcomes.context), (Some(Bytes::new()), Bytes::new()), "no payloads");
    let kept = |task: &TaskSnapshot| task.steps[0].settled.as_ref().map(|settled| (settled.kind, settled.checksum));
    assert_eq!(kept(&found), Some((SettledKind::Complete, checksum(b"\"s\""))));
    let outcomes = load_outcomes(&fixture.pool, task).await.unwrap().unwrap();
    assert_eq!(kept(&outcomes), kept(&found));
    fixture.commit(&[fixture.settled(task, 1, 1, batch, "\"l\"")]).await;
    fixture.commit(&[fixture.set(task, 2, 0, SettledKind::Bypassed)]).await;
    let found = recover(&fixture.pool, 1).await.unwrap().tasks.pop().unwrap();
    assert_eq!(result(&found, 0), Some(Bytes::new()), "its children have settled");
    assert_eq!(result(&found, 1), Some(Bytes::from_static(b"\"l\"")));
    assert_eq!(brief(&found.steps[2]), (0, 3, 0, Some(("bypassed", "null")), None, false));
    assert_eq!(brief(&found.steps[1]), (1, 3, 0, Some(("complete", "\"l\"")), None, false));
}

#[tokio::test]
async fn failures_retries_returns_and_resets_come_back() {
    let mut fixture = Fixture::new().await;
    let steps = async |fixture: &Fixture, task: TaskId| load_task(&fixture.pool, task).await.unwrap().unwrap().steps;
    let task = fixture.stored_task().await;

    let batch = fixture.dispatch(task, 0, 1).await;
    fixture.commit(&[fixture.failed(task, 0, 1, batch, FailureCause::WorkerLost, Some(60_000))]).await;
    assert_eq!(brief(&steps(&fixture, task).await[0]), (1, 3, 1, None, Some(true), false));

    let batch = fixture.dispatch(task, 0, 2).await;
    assert_eq!(brief(&steps(&fixture, task).await[0]), (2, 3, 1, None, None, false));
    fixture.commit(&[Save::StepReturned { task, step: 0, attempt: 2, batch, reason: "drain".into() }]).await;
    // It came back: attempt 2 was not used, and there is nothing to wait for.
    assert_eq!(brief(&steps(&fixture, task).await[0]), (1, 3, 1, None, None, false));

    let batch = fixture.dispatch(task, 0, 2).await;
    fixture.commit(&[fixture.failed(task, 0, 2, batch, FailureCause::Failed, Some(0))]).await;
    assert_eq!(brief(&steps(&fixture, task).await[0]), (2, 3, 1, None, Some(false), false));

    let batch = fixture.dispatch(task, 0, 3).await;
    let failed = fixture.failed(task, 0, 3, batch, FailureCause::WorkerLost, None);
    fixture.commit(&[failed, fixture.ended(task, TaskState::Error)]).await;
    assert_eq!(brief(&steps(&fixture, task).await[0]), (3, 3, 2, None, None, true));

    let again = [fixture.reset(task, 0, 3), Save::TaskReopened { task }];
    fixture.commit(&again).await;
    assert_eq!(brief(&steps(&fixture, task).await[0]), (3, 6, 0, None, None, false));
    let batch = fixture.dispatch(task, 0, 4).await;
    fixture.commit(&[fixture.failed(task, 0, 4, batch, FailureCause::WorkerLost, None)]).await;
    assert_eq!(brief(&steps(&fixture, task).await[0]), (4, 6, 1, None, None, true));
    fixture.commit(&[fixture.set(task, 0, 4, SettledKind::ResolvedManually)]).await;
    assert_eq!(brief(&steps(&fixture, task).await[0]), (4, 6, 0, Some(("resolved_manually", "null")), None, false));
}

#[tokio::test]
async fn open_batches_come_back_with_what_is_known_of_each_item() {
    let mut fixture = Fixture::new().await;
    let tasks = [fixture.stored_task().await, fixture.stored_task().await];
    let [a, b] = tasks;
    let (closed, one) = fixture.batch(&[(a, 0, 1)]);
    let (open, two) = fixture.batch(&[(b, 0, 1), (b, 1, 1), (b, 2, 1), (b, 3, 1), (a, 1, 1), (a, 2, 1), (a, 3, 1)]);
    fixture.commit(&[one, two]).await;
    let saves = [
        fixture.settled(b, 0, 1, open, "7"),
        fixture.failed(b, 1, 1, open, FailureCause::Failed, Some(0)),
        fixture.failed(b, 2, 1, open, FailureCause::TimedOut, Some(0)),
        Save::StepReturned { task: b, step: 3, attempt: 1, batch: open, reason: "full".into() },
        fixture.set(a, 1, 1, SettledKind::ResolvedManually),
        fixture.failed(a, 2, 1, open, FailureCause::WorkerLost, None),
        Save::BatchClosed { batch: closed, state: BatchState::Completed, differences: vec![] },
    ];
    fixture.commit(&saves).await;
    let recovered = recover(&fixture.pool, 1).await.unwrap();
    let [batch] = &recovered.batches[..] else { panic!("{:?}", recovered.batches) };
    assert_eq!((batch.id, batch.registration), (open, fixture.registration));
    let records: Vec<ItemRecord> = batch.items.iter().map(|(_, record)| *record).collect();
    use ItemRecord::{Complete, Failed, GivenUp, Open, Returned};
    assert_eq!(records, [Complete(checksum(b"7")), Failed, GivenUp, Returned, Open, GivenUp, Open]);
    assert!(recovered.tasks[0].steps[1].settled.is_some(), "resolved while the worker had it");
    assert_eq!(batch.items[3].0, BatchItem { task: b, step: 3, attempt: 1 });

    // The returned attempt is used again by another batch: the first one still knows that it came back.
    fixture.dispatch(b, 3, 1).await;
    let batches = recover(&fixture.pool, 1).await.unwrap().batches;
    assert_eq!((batches[0].items[3].1, batches[1].items[0].1), (Returned, Open));

    // Nothing is open when the writer says so.
    fixture.oldest_open_batch = None;
    let close = batches.iter().map(|batch| Save::BatchClosed {
        batch: batch.id,
        state: BatchState::Failed,
        differences: vec![],
    });
    fixture.commit(&close.collect::<Vec<_>>()).await;
    assert!(recover(&fixture.pool, 1).await.unwrap().batches.is_empty());
}

#[tokio::test]
async fn workers_come_back_while_their_registration_lasts() {
    let mut fixture = Fixture::new().await;
    let second = RegistrationId(uuid::Uuid::now_v7());
    let worker = introduction("worker-2");
    fixture.commit(&[Save::WorkerRegistered { registration: second, worker: Box::new(worker.clone()) }]).await;
    fixture.commit(&[Save::WorkerEnded { registration: fixture.registration, reason: "lost" }]).await;
    let [found] = &recover(&fixture.pool, 1).await.unwrap().workers[..] else { panic!("one worker") };
    assert_eq!((found.registration, &*found.name, found.incarnation), (second, "worker-2", worker.incarnation));
    assert_eq!((&found.capabilities, found.concurrency, found.pid), (&worker.capabilities, 5, 4_000_000_000));
    assert_eq!((&*found.host, &*found.language, &*found.library), ("host", "ruby 3.1", "tasker_core 0.1.0"));
    assert_eq!(found.key.as_deref(), Some("fleet"));
}

#[tokio::test]
async fn a_batch_follows_its_worker_through_reconnects() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let batch = fixture.dispatch(task, 0, 1).await;
    let incarnation = fixture.text("SELECT incarnation FROM tasker.worker_registrations").await.parse().unwrap();
    let mut held_by = fixture.registration;
    for number in 1..=2 {
        let next = RegistrationId(uuid::Uuid::from_u128(number));
        // The fixture's own worker, registered again by the same process.
        let worker = Box::new(WorkerIntroduction { incarnation, ..introduction("worker-1") });
        fixture
            .commit(&[
                Save::WorkerEnded { registration: held_by, reason: "reconnected" },
                Save::WorkerRegistered { registration: next, worker },
            ])
            .await;
        held_by = next;
        let recovered = recover(&fixture.pool, 1).await.unwrap();
        let [open] = &recovered.batches[..] else { panic!("{:?}", recovered.batches) };
        assert_eq!((open.id, open.registration), (batch, held_by));
    }
    fixture.commit(&[Save::WorkerEnded { registration: held_by, reason: "lost" }]).await;
    let recovered = recover(&fixture.pool, 1).await.unwrap();
    assert_eq!(recovered.batches[0].registration, fixture.registration, "nobody holds it any more");
}

#[tokio::test]
async fn what_was_done_to_a_namespace_last_comes_back() {
    let mut fixture = Fixture::new().await;
    let acted = |kind: FleetActionKind, subject: &str, actor: &str| {
        let (actor, reason) = (actor.to_owned(), "a \0 deploy".to_owned());
        let action = FleetAction { kind, subject: subject.into(), actor, reason };
        Save::FleetAction(Box::new(FleetActed { action, before: "before", after: "after" }))
    };
    let (pause, resume) = (FleetActionKind::PauseNamespace, FleetActionKind::ResumeNamespace);
    let first = [acted(pause, "shop", "ada"), acted(pause, "yard", "ada"), acted(pause, "back office", "ada")];
    assert_eq!(fixture.commit(&first).await.rows, 3);
    // The last one of a group counts.
    let second = [acted(resume, "yard", "kim"), acted(resume, "shop", "kim"), acted(pause, "shop", "kim")];
    fixture.commit(&second).await;
    fixture.commit(&[acted(FleetActionKind::DrainWorker, "yard", "kim")]).await;

    let recovered = recover(&fixture.pool, 1).await.unwrap();
    let found: Vec<_> = recovered.pauses.iter().map(|(name, pause)| (&**name, &*pause.actor, &*pause.reason)).collect();
    assert_eq!(found, [("back office", "ada", "a \u{FFFD} deploy"), ("shop", "kim", "a \u{FFFD} deploy")]);
    assert!(recovered.pauses.iter().all(|(_, pause)| pause.at > Wall(1_700_000_000_000)));
    let sql = "SELECT subject_kind, subject, operation, actor, state_before, state_after FROM tasker.fleet_actions
               WHERE subject = 'yard' ORDER BY action_id";
    assert_eq!(
        fixture.text(sql).await,
        "namespace|yard|pause|ada|before|after\nnamespace|yard|resume|kim|before|after\n\
         worker|yard|drain|kim|before|after"
    );
}

#[tokio::test]
async fn the_last_error_of_a_step_is_found() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    for attempt in 1..=2 {
        let batch = fixture.dispatch(task, 0, attempt).await;
        let mut failed = fixture.failed(task, 0, attempt, batch, FailureCause::Failed, (attempt == 1).then_some(0));
        if let Save::AttemptFailed(failed) = &mut failed {
            (failed.failure.class, failed.failure.message) = (format!("E{attempt}"), format!("m{attempt}"));
        }
        fixture.commit(&[failed]).await;
    }
    let errors = last_errors(&fixture.pool, task, &[0, 1]).await.unwrap();
    assert_eq!(errors, [(0, ("E2".to_owned(), "m2".to_owned()))]);
}
