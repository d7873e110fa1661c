//! What a running step says about how far it is: shown, published, and nothing else.

use std::time::Duration;

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::peers::{Subscriber, WorkerPeer};
use crate::support::{Stage, task};

fn said(batch: &ExecuteBatch, attempt: u32, progress: impl Into<String>) -> ReportProgress {
    ReportProgress {
        correlation_id: Uuid::new_v4(),
        batch_id: batch.batch_id,
        task_id: batch.tasks[0].task_id,
        step: batch.steps[0].name.clone(),
        attempt,
        progress: JsonText::new(progress),
    }
}

fn ask() -> HealthCheck {
    HealthCheck { correlation_id: Uuid::new_v4(), level: HealthLevel::Basic }
}

/// A worker with the one step of a task.
fn at_work(stage: &mut Stage) -> (WorkerPeer, ExecuteBatch) {
    stage.register("single");
    stage.submit(task("single", "{}"));
    let work = stage.work.clone();
    stage.database.run(async {
        let mut worker = WorkerPeer::connect(&work, "telling").await;
        let registered = worker.register(worker.introduction(&["stories/single"], 1)).await;
        assert_eq!(registered.progress_bytes_max, Some(4096));
        let batch = worker.receive_batch().await;
        (worker, batch)
    })
}

#[test]
fn how_far_a_step_is_shows_while_it_runs() {
    let mut stage = Stage::open();
    let (mut worker, batch) = at_work(&mut stage);
    let (task_id, step) = (batch.tasks[0].task_id, batch.steps[0].name.clone());
    let live = TaskStatus { correlation_id: Uuid::nil(), task_id, include_steps: true, include_results: vec![] };
    let progress = |steps: Vec<StepSummary>| steps[0].progress.as_ref().map(|said| said.as_str().to_owned());
    assert_eq!(progress(stage.command(live.clone()).steps), None);

    let events = stage.events.clone();
    stage.database.run(async {
        let mut subscriber = Subscriber::connect(&events, &["event.step.progressed"]).await;
        // Said until the subscription stands.
        let (topic, message) = loop {
            worker.client.send(said(&batch, 1, "{\"percent\": 41.0}")).await;
            if let Some(heard) = subscriber.next_within(Duration::from_millis(100)).await {
                break heard;
            }
        };
        let Message::Event(event) = message else { panic!("{message:?}") };
        assert_eq!(topic, "event.step.progressed");
        assert_eq!((event.task_id, event.step.as_deref(), event.attempt), (Some(task_id), Some(&*step), Some(1)));
        assert_eq!((event.state.as_deref(), event.batch_id), (Some("in_progress"), Some(batch.batch_id)));
        assert_eq!(event.payload.expect("what was said").as_str(), "{\"percent\": 41.0}");
        worker.client.send(said(&batch, 1, "42")).await;
        // What comes after it on the connection comes after it in the broker.
        worker.beat(0, 1).await;
    });
    assert_eq!(progress(stage.command(live.clone()).steps).as_deref(), Some("42"));
    // With results, the steps come from the database.
    assert_eq!(progress(stage.status(task_id).steps).as_deref(), Some("42"));

    stage.database.run(async {
        worker.report(&batch, |_, _| Ok("1".to_owned())).await;
        worker.client.send(said(&batch, 1, "43")).await;
        worker.complete(&batch, CompletionStatus::Complete).await;
    });
    assert_eq!(stage.ended(task_id).state, "complete");
    assert_eq!(progress(stage.status(task_id).steps), None);
    invariants::hold(&stage.database);
}

#[test]
fn progress_is_answered_only_when_it_is_refused() {
    let mut stage = Stage::open();
    let (mut worker, batch) = at_work(&mut stage);
    stage.database.run(async {
        for (attempt, progress) in [(1, "1".to_owned()), (2, "2".to_owned()), (0, "3".to_owned())] {
            worker.client.send(said(&batch, attempt, progress)).await;
        }
        let of_nothing = ReportProgress { batch_id: Uuid::new_v4(), ..said(&batch, 1, "4") };
        worker.client.send(of_nothing).await;
        worker.client.send(ask()).await;
        let answer = worker.client.next().await;
        assert!(matches!(answer, Message::HealthReport(_)), "{answer:?}");
        for (progress, code) in
            [(format!("\"{}\"", "x".repeat(4095)), ErrorCode::TooLarge), ("{".to_owned(), ErrorCode::InvalidJson)]
        {
            let Message::Error(error) = worker.client.request(said(&batch, 1, progress)).await else {
                panic!("it was not refused")
            };
            assert_eq!((error.code, error.field.as_deref()), (code, Some("progress")));
        }
        // Nobody on this connection is a worker.
        let mut stranger = crate::peers::Client::connect(&stage.work).await;
        // More than the commands of a connection that may wait for their answers.
        for _ in 0..10_100 {
            stranger.send(said(&batch, 1, "5")).await;
        }
        stranger.send(ask()).await;
        let answer = stranger.next().await;
        assert!(matches!(answer, Message::HealthReport(_)), "{answer:?}");
    });
    assert_eq!(stage.status(batch.tasks[0].task_id).steps[0].progress.as_ref().map(JsonText::as_str), Some("1"));
}
