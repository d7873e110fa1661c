//! What a person sees of one task and of one step.

use std::fmt::Write;
use std::time::Instant;

use bytes::Bytes;
use tasker_core::store::{Payload, dossier, payload, step_file};
use tasker_engine::*;
use uuid::Uuid;

use crate::fixture::{Fixture, template};

#[tokio::test]
async fn a_dossier_has_a_line_for_each_step() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let batch = fixture.dispatch(task, 0, 1).await;
    fixture.commit(&[fixture.settled(task, 0, 1, batch, "18446744073709551616")]).await;
    let batch = fixture.dispatch(task, 1, 1).await;
    fixture.commit(&[fixture.failed(task, 1, 1, batch, FailureCause::TimedOut, None)]).await;

    let found = dossier(&fixture.pool, task).await.unwrap().unwrap();
    let step = &found.steps[1];
    assert_eq!((&*step.name, &*step.handler, step.worker.as_deref()), ("left", "Handle::left", Some("worker-1")));
    assert_eq!((step.error_class.as_deref(), step.parents.as_slice()), (Some("Net::Error"), [0].as_slice()));
    assert_eq!(found.steps[3].parents, [1, 2]);
    assert_eq!(found.context.text, r#"{"big": 18446744073709551616,  "b": 1, "a": 209.97}"#);
    assert_eq!(found.context.bytes, found.context.text.len());
}

#[tokio::test]
async fn a_task_that_is_not_there_has_no_dossier() {
    let fixture = Fixture::new().await;
    let nobody = TaskId(Uuid::now_v7());
    assert!(dossier(&fixture.pool, nobody).await.unwrap().is_none());
    assert!(step_file(&fixture.pool, nobody, "start").await.unwrap().is_none());
    assert!(payload(&fixture.pool, nobody, Payload::Context).await.unwrap().is_none());
}

#[tokio::test]
async fn a_step_file_has_its_payloads_and_those_of_its_parents() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let batch = fixture.dispatch(task, 0, 1).await;
    fixture.commit(&[fixture.settled(task, 0, 1, batch, "[1.50]")]).await;

    let file = step_file(&fixture.pool, task, "left").await.unwrap().unwrap();
    assert_eq!(file.inputs.text, r#"{"rate": 1.10}"#);
    assert_eq!(file.result, None);
    let (parent, result) = &file.parents[0];
    assert_eq!((&**parent, result.as_ref().map(|result| &*result.text)), ("start", Some("[1.50]")));
    let file = step_file(&fixture.pool, task, "start").await.unwrap().unwrap();
    assert_eq!(
        (file.kind.as_deref(), file.result.map(|result| result.text).as_deref()),
        (Some("complete"), Some("[1.50]"))
    );
    assert!(step_file(&fixture.pool, task, "nothing").await.unwrap().is_none());
}

#[tokio::test]
async fn long_payloads_are_cut_and_can_be_had_as_a_whole() {
    let mut fixture = Fixture::new().await;
    let mut task = fixture.task();
    let text = format!(r#"{{"a": "{}"}}"#, "é".repeat(100_000));
    task.context = Bytes::from(text.clone());
    let id = task.id;
    fixture.commit(&[Save::Task(Box::new(task))]).await;
    let found = dossier(&fixture.pool, id).await.unwrap().unwrap();
    assert_eq!(found.context.bytes, text.len());
    assert!(found.context.text.len() < text.len() && text.starts_with(&found.context.text));
    for (which, whole) in [
        (Payload::Context, Some(text.as_str())),
        (Payload::Options, None),
        (Payload::Inputs("start"), Some(r#"{"rate": 1.10}"#)),
        (Payload::Result("start"), None),
    ] {
        let found = payload(&fixture.pool, id, which).await.unwrap();
        assert_eq!(found.as_deref(), whole.map(str::as_bytes), "{which:?}");
    }
}

/// Ten thousand steps with fifty thousand dependencies, half of them done. `--no-capture` shows how long it takes.
#[tokio::test]
async fn a_dossier_of_ten_thousand_steps() {
    const STEPS: u32 = 10_000;
    let names: Vec<String> = (0..STEPS).map(|step| format!("step_{step}")).collect();
    let parents = |step: usize| (1..=5).filter_map(move |back| step.checked_sub(back * 97)).collect::<Vec<_>>();
    let parents: Vec<Vec<&str>> =
        (0..names.len()).map(|step| parents(step).into_iter().map(|at| &*names[at]).collect()).collect();
    let steps: Vec<(&str, &[&str])> = names.iter().zip(&parents).map(|(name, of)| (&**name, &**of)).collect();
    let mut fixture = Fixture::with(template("large", "1.0.0", &steps)).await;
    let task = fixture.stored_task().await;
    let numbers: Vec<u32> = (0..STEPS / 2).collect();
    let items: Vec<_> = numbers.iter().map(|&step| (task, step, 1)).collect();
    let (batch, save) = fixture.batch(&items);
    fixture.commit(&[save]).await;
    let settled: Vec<Save> = numbers.iter().map(|&step| fixture.settled(task, step, 1, batch, "{}")).collect();
    fixture.commit(&settled).await;
    fixture.commit(&[Save::BatchClosed { batch, state: BatchState::Completed, differences: vec![] }]).await;

    let mut taken = String::new();
    for _ in 0..3 {
        let start = Instant::now();
        let found = dossier(&fixture.pool, task).await.unwrap().unwrap();
        let _ = write!(taken, " {:?}", start.elapsed());
        let count = |state| found.steps.iter().filter(|step| step.state == state).count();
        assert_eq!((count(StepState::Complete), count(StepState::Pending)), (5_000, 5_000));
        assert!(found.steps[5_000].ready && !found.steps[9_999].ready);
    }
    println!("dossier of {STEPS} steps:{taken}");
}
