//! What is on its way through the store is bounded: beyond, a sender is told to come back.

use bytes::Bytes;
use tasker_engine::*;
use uuid::Uuid;

use crate::world::{World, template};

/// As many as may be on their way; see `inquiries.rs`.
const ROWS_MAX: usize = 20_000;
const BYTES_MAX: usize = 64 * 1024 * 1024;

const CLIENT: PeerId = PeerId(1);

fn world() -> World {
    let mut world = World::new(Config::default());
    // The store's view of tens of thousands of tasks is not what is looked at here.
    world.compare = false;
    let origin = world.origin(CLIENT);
    world.handle(Event::TemplateSubmitted { origin, template: template("t", "a") });
    let origin = world.origin(CLIENT);
    let worker = WorkerIntroduction {
        name: "w".into(),
        key: None,
        incarnation: Uuid::from_u128(1),
        capabilities: Vec::new(),
        templates: Vec::new(),
        concurrency: 1,
        host: "host".into(),
        pid: 1,
        language: "ruby".into(),
        library: "tasker_core".into(),
        open_batches: Vec::new(),
        unacknowledged: Vec::new(),
    };
    world.handle(Event::WorkerRegistered { origin, worker });
    world.commit();
    world
}

fn request(key: Option<usize>, context_bytes: usize) -> TaskRequest {
    TaskRequest {
        namespace: "shop".to_owned(),
        name: "t".to_owned(),
        context: Bytes::from(vec![b' '; context_bytes]),
        idempotency_key: key.map(|key| key.to_string().into()),
        ..TaskRequest::default()
    }
}

fn report(result_bytes: usize) -> StepReport {
    let (batch, task) = (BatchId(Uuid::from_u128(3)), TaskId(Uuid::from_u128(2)));
    StepReport {
        at: StepReference { batch, task, step: "a".into(), attempt: 1 },
        outcome: Outcome::Complete(Bytes::from(vec![b' '; result_bytes])),
        started_at_us: 0,
        duration_us: 0,
        metadata: None,
        events: Vec::new(),
        refused: false,
    }
}

/// Says something, and what was answered to it at once.
fn say(world: &mut World, event: impl FnOnce(Origin) -> Event) -> Option<Reply> {
    let origin = world.origin(CLIENT);
    world.handle(event(origin));
    let replies = world.commit().deliveries.into_iter().filter_map(|delivery| match delivery {
        Deliver::Reply { reply, .. } => Some(reply),
        _ => None,
    });
    replies.last()
}

fn submit(world: &mut World, requests: Vec<TaskRequest>) -> Option<Reply> {
    say(world, |origin| Event::TasksSubmitted { origin, requests: requests.into_iter().map(Ok).collect() })
}

fn limit(reply: Option<Reply>) -> u64 {
    let Some(Reply::Refused(refusal)) = reply else { panic!("not refused: {reply:?}") };
    assert_eq!(refusal.kind, RefusalKind::Overloaded);
    refusal.limit.expect("the limit is named")
}

#[test]
fn requests_whose_keys_are_looked_up_are_bounded_in_number() {
    let mut world = world();
    let many = (0..ROWS_MAX).map(|key| request(Some(key), 2)).collect();
    assert!(submit(&mut world, many).is_none(), "it waits for the store");
    assert_eq!(limit(submit(&mut world, vec![request(Some(ROWS_MAX), 2)])), ROWS_MAX as u64);
    assert!(matches!(submit(&mut world, vec![request(None, 2)]), Some(Reply::TasksInitialized(_))), "without a key");
    world.answer_reads();
    world.commit();
    assert_eq!(world.store.tasks.len(), ROWS_MAX + 1);
    assert!(submit(&mut world, vec![request(Some(ROWS_MAX), 2)]).is_none(), "there is room again");
}

#[test]
fn requests_whose_keys_are_looked_up_are_bounded_in_bytes() {
    let mut world = world();
    assert!(submit(&mut world, vec![request(Some(0), BYTES_MAX + 1)]).is_none(), "the first always goes");
    assert_eq!(limit(submit(&mut world, vec![request(Some(1), 2)])), BYTES_MAX as u64);
    world.answer_reads();
    world.commit();
    assert!(submit(&mut world, vec![request(Some(1), 2)]).is_none(), "there is room again");
}

#[test]
fn rows_of_the_inbox_are_never_refused_for_that() {
    let mut world = world();
    assert!(submit(&mut world, vec![request(Some(0), BYTES_MAX)]).is_none());
    world.handle(Event::InboxTaken { rows: vec![(1, Ok(request(Some(1), 2)))] });
    world.commit();
    world.answer_reads();
    world.commit();
    assert_eq!(world.store.tasks.len(), 2);
}

#[test]
fn reports_of_tasks_that_have_ended_are_bounded() {
    for (first, named) in [(vec![report(2); ROWS_MAX], ROWS_MAX), (vec![report(BYTES_MAX)], BYTES_MAX)] {
        let mut world = world();
        let results = |results: Vec<StepReport>| |origin| Event::ResultsReported { origin, results };
        assert!(say(&mut world, results(first)).is_none(), "it waits for the store");
        assert_eq!(limit(say(&mut world, results(vec![report(2)]))), named as u64);
        world.answer_reads();
        world.commit();
        assert!(say(&mut world, results(vec![report(2)])).is_none(), "there is room again");
    }
}

/// Found by the simulation: the store's answer brings the rows together, and the key of the first was forgotten with its task.
#[test]
fn a_key_is_known_to_the_next_row_although_its_task_has_ended_at_once() {
    let mut world = World::new(Config::default());
    let origin = world.origin(CLIENT);
    world.handle(Event::TemplateSubmitted { origin, template: template("t", "a[skippable]") });
    world.commit();
    let request = TaskRequest {
        namespace: "shop".into(),
        name: "t".into(),
        context: Bytes::from_static(b"{}"),
        idempotency_key: Some("k".into()),
        bypass_steps: vec!["a".into()],
        ..TaskRequest::default()
    };
    world.handle(Event::InboxTaken { rows: vec![(1, Ok(request.clone())), (2, Ok(request))] });
    world.commit();
    world.answer_reads();
    world.commit();
    assert_eq!(world.store.tasks.len(), 1);
    assert_eq!(world.store.inbox_taken.len(), 2);
}
