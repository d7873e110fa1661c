//! Tasks that applications submit in their own transactions.

use sqlx::Connection;
use tasker_core::store::{Found, find_task, take_inbox};
use tasker_engine::{KeyLookup, NewTask, Save, TraceContext, Wall};

use crate::fixture::Fixture;

#[tokio::test]
async fn a_request_is_seen_when_its_transaction_commits_and_leaves_with_its_task() {
    let mut fixture = Fixture::new().await;
    let mut application = fixture.session().await;
    let mut transaction = application.begin().await.unwrap();
    let row: i64 = sqlx::query_scalar(
        "SELECT tasker.submit_task('shop', 'diamond', '{\"a\":  1e400}', idempotency_key => 'order-1', priority => 7,
             run_at => '2030-01-01Z', tags => ARRAY['x', 'y z'], bypass_steps => ARRAY['left'], options => '{}',
             traceparent => '00-0af7-b7ad-01', tracestate => 'congo=t61')",
    )
    .fetch_one(&mut *transaction)
    .await
    .unwrap();
    assert!(take_inbox(&fixture.pool, 10, &[]).await.unwrap().rows.is_empty());
    transaction.commit().await.unwrap();

    let taken = take_inbox(&fixture.pool, 10, &[]).await.unwrap().rows;
    let (found, request) = &taken[0];
    let request = request.as_ref().unwrap();
    assert_eq!((taken.len(), *found), (1, row));
    assert_eq!((&*request.namespace, &*request.name, request.priority), ("shop", "diamond", 7));
    assert_eq!(&request.context[..], b"{\"a\":  1e400}");
    assert_eq!(request.idempotency_key.as_deref(), Some("order-1"));
    assert_eq!(request.run_at, Some(Wall(1_893_456_000_000)));
    assert_eq!(request.bypass_steps, ["left"]);
    assert_eq!(request.labels.tags, ["x".into(), "y z".into()]);
    assert_eq!(request.labels.trace, TraceContext::of(Some("00-0af7-b7ad-01".into()), Some("congo=t61".into())));
    assert!(take_inbox(&fixture.pool, 10, &[row]).await.unwrap().rows.is_empty(), "in flight already");

    let task = Save::Task(Box::new(fixture.task()));
    fixture.commit(&[task, Save::InboxTaken { row, refusal: None }]).await;
    assert_eq!(fixture.count("task_inbox").await, 0);
}

#[tokio::test]
async fn a_refused_request_stays_with_its_reason_and_is_not_taken_again() {
    let mut fixture = Fixture::new().await;
    let row: i64 = sqlx::query_scalar("SELECT tasker.submit_task('shop', 'nothing', '{}')")
        .fetch_one(&fixture.pool)
        .await
        .unwrap();
    fixture.commit(&[Save::InboxTaken { row, refusal: Some("there is no such template".into()) }]).await;
    assert!(take_inbox(&fixture.pool, 10, &[]).await.unwrap().rows.is_empty());
    assert_eq!(fixture.text("SELECT refusal FROM tasker.task_inbox").await, "there is no such template");
}

#[tokio::test]
async fn what_is_under_a_key_is_the_task_or_else_the_last_request() {
    let mut fixture = Fixture::new().await;
    let key = |key: &str| KeyLookup { namespace: "shop".into(), name: "diamond".into(), key: key.into() };
    let find = async |fixture: &Fixture, text: &str| find_task(&fixture.pool, &key(text)).await.unwrap();
    let submit = "SELECT tasker.submit_task('shop', 'diamond', '{}', idempotency_key => 'order-1')";
    assert_eq!(find(&fixture, "order-1").await, Found::Nothing);
    let first: i64 = sqlx::query_scalar(submit).fetch_one(&fixture.pool).await.unwrap();
    assert_eq!(find(&fixture, "order-1").await, Found::Waiting);
    assert_eq!(find(&fixture, "order-2").await, Found::Nothing);
    fixture.commit(&[Save::InboxTaken { row: first, refusal: Some("no".into()) }]).await;
    assert_eq!(find(&fixture, "order-1").await, Found::Refused("no".into()));
    let second: i64 = sqlx::query_scalar(submit).fetch_one(&fixture.pool).await.unwrap();
    assert_eq!(find(&fixture, "order-1").await, Found::Waiting, "it was submitted again");

    let task = NewTask { idempotency_key: Some("order-1".into()), ..fixture.task() };
    let id = task.id;
    fixture.commit(&[Save::Task(Box::new(task)), Save::InboxTaken { row: second, refusal: None }]).await;
    assert_eq!(find(&fixture, "order-1").await, Found::Task(id, fixture.template.key.clone()));
    assert_eq!(fixture.count("task_inbox").await, 1, "the refused request stays, and counts no more");
}

#[tokio::test]
async fn whoever_calls_as_before_there_were_traces_is_understood() {
    let fixture = Fixture::new().await;
    for call in [
        "SELECT tasker.submit_task('shop', 'diamond', '{}', '1.0.0', 'k', 3, NULL, ARRAY['left'], 'ada', 'web', 'why', \
         ARRAY['x'], 'p-1', '{}')",
        "SELECT tasker.submit_task(namespace => 'shop', name => 'diamond', context => '{}', correlation_id => 'p-1')",
        "SELECT tasker.submit_task('shop', 'diamond', '{}', tracestate => 'congo=t61', correlation_id => 'p-1')",
    ] {
        fixture.execute(call).await;
    }
    let taken = take_inbox(&fixture.pool, 10, &[]).await.unwrap().rows;
    assert_eq!(taken.len(), 3);
    for (_, request) in taken {
        let labels = request.unwrap().labels;
        assert_eq!((labels.correlation_id.as_deref(), labels.trace), (Some("p-1"), None));
    }
}
