//! Every kind of save becomes the rows that it stands for.

use bytes::Bytes;
use tasker_core::store::{Error, lookup_keys};
use tasker_engine::*;
use uuid::Uuid;

use crate::fixture::{Fixture, diamond, introduction, source};

#[tokio::test]
async fn a_template_is_stored_once_with_its_steps() {
    let mut fixture = Fixture::new().await;
    assert_eq!(
        fixture
            .text(
                "SELECT step_number, name, handler, retryable, retry_limit, skippable, timeout_ms, inputs::text,
                     parents::text FROM tasker.template_steps WHERE name IN ('start', 'end') ORDER BY step_number",
            )
            .await,
        "0|start|Handle::start|true|3|true|30000|{\"rate\": 1.10}|{}\n\
         3|end|Handle::end|true|3|true|30000|{\"rate\": 1.10}|{1,2}"
    );
    // The same again is no change; another content under the same version is refused.
    fixture.commit(&[Save::Template(source(&fixture.template, 1))]).await;
    let changed = [Save::Template(source(&fixture.template, 9))];
    let Err(Error::Refused { constraint, .. }) = fixture.try_commit(&changed).await else { panic!("replaced") };
    assert_eq!(constraint.as_deref(), Some("task_templates_namespace_name_version_key"));
    assert_eq!((fixture.count("task_templates").await, fixture.count("template_steps").await), (1, 4));
    // The refused group has not made the writer forget the template that it repeated.
    fixture.stored_task().await;
}

#[tokio::test]
async fn a_task_is_stored_with_its_request_and_steps_and_its_template_may_come_in_the_same_group() {
    let mut fixture = Fixture::new().await;
    let newer = diamond("1.1.0");
    let mut task = fixture.task();
    task.template = newer.clone();
    task.priority = -3;
    task.idempotency_key = Some("order-7".into());
    task.bypass_steps = vec![1, 2];
    task.run_at = Some(Wall(1_893_456_000_123));
    task.labels = TaskLabels {
        initiator: Some("ada".into()),
        source_system: Some("web".into()),
        reason: Some("why not".into()),
        tags: vec!["a,b".into(), "{\"c\\".into(), "".into()],
        correlation_id: Some("process-1".into()),
        options: Some(Bytes::from_static(b"{\"o\" : 1}")),
        trace: TraceContext::of(Some("00-0af7-b7ad-01".into()), Some("congo=t61".into())),
    };
    let id = task.id;
    fixture.commit(&[Save::Template(source(&newer, 2)), Save::Task(Box::new(task))]).await;
    assert_eq!(
        fixture
            .text(
                "SELECT version, priority, context::text, idempotency_key, bypass_steps::text,
                     (extract(epoch FROM run_at) * 1000)::bigint AS run_at, initiator, source_system, reason,
                     array_length(tags, 1) AS tag_count, tags[1] AS first, tags[2] AS second, correlation_id, options::text,
                     traceparent, tracestate, coalesce(final_state, '-') AS final_state, created_seq, lane
                 FROM tasker.tasks JOIN tasker.task_templates USING (template_id)",
            )
            .await,
        "1.1.0|-3|{\"big\": 18446744073709551616,  \"b\": 1, \"a\": 209.97}|order-7|{1,2}|1893456000123|ada|web|why not|3|\
         a,b|{\"c\\|process-1|{\"o\" : 1}|00-0af7-b7ad-01|congo=t61|-|2|1"
    );
    assert_eq!(
        fixture.text("SELECT step_number, name, retry_limit FROM tasker.steps ORDER BY 1").await,
        "0|start|3\n1|left|3\n2|right|3\n3|end|3"
    );
    let key = |name: &str, key: &str| KeyLookup { namespace: "shop".into(), name: name.into(), key: key.into() };
    let asked = [key("diamond", "nothing"), key("diamond", "order-7"), key("refund", "order-7")];
    assert_eq!(lookup_keys(&fixture.pool, &asked).await.unwrap(), [None, Some((id, newer.key.clone())), None]);
    assert!(lookup_keys(&fixture.pool, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_idempotency_key_names_one_task_over_all_versions() {
    let mut fixture = Fixture::new().await;
    let mut first = fixture.task();
    first.idempotency_key = Some("k".into());
    let mut second = fixture.task();
    second.idempotency_key = Some("k".into());
    second.template = diamond("1.1.0");
    fixture.commit(&[Save::Template(source(&second.template, 2)), Save::Task(Box::new(first))]).await;
    let again = [Save::Task(Box::new(second))];
    let Err(Error::Refused { sqlstate, constraint, .. }) = fixture.try_commit(&again).await else { panic!("stored") };
    assert_eq!((&*sqlstate, constraint.as_deref()), ("23505", Some("idempotency_keys_pkey")));
    assert_eq!(fixture.count("tasks").await, 1);
}

#[tokio::test]
async fn a_task_of_a_template_that_is_not_stored_is_refused() {
    let mut fixture = Fixture::new().await;
    let mut task = fixture.task();
    task.template = diamond("9.0.0");
    let saves = [Save::Task(Box::new(task))];
    assert!(matches!(fixture.try_commit(&saves).await, Err(Error::Refused { .. })));
}

#[tokio::test]
async fn a_task_may_be_made_and_end_in_one_group_and_be_reopened_later() {
    let mut fixture = Fixture::new().await;
    let task = fixture.task();
    let id = task.id;
    let all: Vec<Save> = (0..4).map(|step| fixture.set(id, step, 0, SettledKind::Bypassed)).collect();
    let mut saves = vec![Save::Task(Box::new(task))];
    saves.extend(all);
    saves.push(fixture.ended(id, TaskState::ResolvedManually));
    fixture.commit(&saves).await;
    let state = "SELECT coalesce(final_state, '-') AS s, finished_seq, finished_at IS NOT NULL AS f FROM tasker.tasks";
    assert_eq!(fixture.text(state).await, "resolved_manually|2|true");
    fixture.commit(&[Save::TaskReopened { task: id }]).await;
    assert_eq!(fixture.text(state).await, "-|false");
    assert_eq!(
        fixture.text("SELECT final_state, finished_seq, seq FROM tasker.task_reopenings").await,
        "resolved_manually|2|3"
    );
    fixture.commit(&[fixture.ended(id, TaskState::Error)]).await;
    assert_eq!(fixture.text(state).await, "error|4|true");
    // Both in one group: the last word counts, and what it overwrote is kept.
    fixture.commit(&[Save::TaskReopened { task: id }, fixture.ended(id, TaskState::Complete)]).await;
    assert_eq!(fixture.text(state).await, "complete|5|true");
    assert_eq!(fixture.count("task_reopenings").await, 2);
}

#[tokio::test]
async fn batches_keep_their_items_apart() {
    let mut fixture = Fixture::new().await;
    let (a, b) = (fixture.stored_task().await, fixture.stored_task().await);
    let (first, one) = fixture.batch(&[(a, 0, 1), (b, 0, 1), (b, 1, 2)]);
    let (second, two) = fixture.batch(&[(a, 3, 4)]);
    fixture.commit(&[one, two]).await;
    let sql = "SELECT batch_id, task_ids::text, step_numbers::text, attempts::text,
                   round(extract(epoch FROM deadline - created_at)) AS s FROM tasker.batches ORDER BY batch_id";
    assert_eq!(
        fixture.text(sql).await,
        format!("{first}|{{{a},{b},{b}}}|{{0,0,1}}|{{1,1,2}}|30\n{second}|{{{a}}}|{{3}}|{{4}}|30")
    );
    let differences =
        vec![Difference { task: a, step: "start".into(), attempt: 1, completion: "complete", recorded: "timeout" }];
    fixture.commit(&[Save::BatchClosed { batch: first, state: BatchState::Timeout, differences }]).await;
    let sql = "SELECT state, differences -> 0 ->> 'step' AS s, differences -> 0 ->> 'recorded' AS r, seq
               FROM tasker.batch_closings";
    assert_eq!(fixture.text(sql).await, "timeout|start|timeout|5");
}

#[tokio::test]
async fn outcomes_and_failures_keep_every_field() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let batch = fixture.dispatch(task, 0, 1).await;
    let saves = [
        fixture.failed(task, 0, 1, batch, FailureCause::Failed, Some(2000)),
        fixture.settled(task, 1, 2, batch, "{\"x\":  18446744073709551616}"),
        fixture.set(task, 2, 3, SettledKind::ResolvedManually),
    ];
    fixture.commit(&saves).await;
    assert_eq!(
        fixture
            .text(
                "SELECT attempt, cause, final, round(extract(epoch FROM retry_at - failed_at)) AS retry, error_class,
                     error_message, error_code, error_context::text, array_length(backtrace, 1) AS lines,
                     backtrace[1] AS first, backtrace[2] AS second, duration_us,
                     round(extract(epoch FROM failed_at - dispatched_at) * 1000) AS ms
                 FROM tasker.step_attempts_failed",
            )
            .await,
        "1|failed|false|2|Net::Error|no\u{FFFD} \"answer\"|E1|{\"tries\": 1.0}|2|a \"quoted\" \\line|second, {line}|0|7"
    );
    let checksum = checksum(b"{\"x\":  18446744073709551616}").cast_signed();
    assert_eq!(
        fixture
            .text(
                "SELECT step_number, attempt, kind, result::text, metadata::text, checksum, duration_us,
                     extract(epoch FROM started_at)::bigint AS started,
                     round(extract(epoch FROM finished_at - dispatched_at) * 1000) AS ms, batch_id IS NULL AS n
                 FROM tasker.step_outcomes WHERE step_number = 1",
            )
            .await,
        format!("1|2|complete|{{\"x\":  18446744073709551616}}|{{}}|{checksum}|1500|1700000000|5|false")
    );
    let sql = "SELECT kind, attempt, result::text AS r, coalesce(duration_us, -1) AS d, batch_id IS NULL AS n
               FROM tasker.step_outcomes WHERE step_number = 2";
    assert_eq!(fixture.text(sql).await, "resolved_manually|3|null|-1|true");
}

#[tokio::test]
async fn the_rarer_saves_become_rows() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let batch = fixture.dispatch(task, 0, 1).await;
    let received = ReceivedResult {
        at: StepReference { batch, task, step: "nowhere".into(), attempt: u32::MAX },
        registration: None,
        disposition: Disposition::Late,
        status: "error",
        checksum: u64::MAX,
        payload: Bytes::from_static(b"not \0 JSON \xff"),
    };
    let origin = Origin { peer: PeerId(u64::MAX), correlation: Uuid::from_u128(5) };
    let brief = RegistrationId(Uuid::now_v7());
    let saves = [
        Save::StepReturned { task, step: 0, attempt: 1, batch, reason: "drain".into() },
        Save::ResultReceived(Box::new(received)),
        fixture.action(task, None, OperationKind::Cancel, "pending", "cancelled", 0),
        fixture.reset(task, 3, 2),
        Save::Command(Command {
            name: "CancelTask",
            origin,
            task: Some(task),
            outcome: "accepted",
            taken: Mono(0),
            duration_ms: 7,
        }),
        Save::WorkerRegistered { registration: brief, worker: Box::new(introduction("worker-1")) },
        Save::WorkerEnded { registration: brief, reason: "reconnected" },
        Save::WorkerEnded { registration: fixture.registration, reason: "superseded" },
    ];
    assert_eq!(fixture.commit(&saves).await.rows, 6);
    let sql = format!("SELECT attempt, batch_id = '{batch}' AS b, reason FROM tasker.step_returns");
    assert_eq!(fixture.text(&sql).await, "1|true|drain");
    let sql = "SELECT step, attempt, disposition, status, checksum, payload FROM tasker.received_results";
    assert_eq!(fixture.text(sql).await, "nowhere|4294967295|late|error|-1|not \u{FFFD} JSON \u{FFFD}");
    let sql =
        "SELECT operation, coalesce(step_number, -1) AS s, actor, reason, state_before, state_after, attempts_before
               FROM tasker.operator_actions ORDER BY action_id";
    assert_eq!(
        fixture.text(sql).await,
        "cancel|-1|ada|because|pending|cancelled|0\nretry|3|ada|because|error|pending|2"
    );
    let sql = "SELECT name, peer, correlation_id, outcome, duration_ms FROM tasker.commands";
    assert_eq!(fixture.text(sql).await, "CancelTask|-1|00000000-0000-0000-0000-000000000005|accepted|7");
    let sql = "SELECT worker, concurrency, pid, language, end_reason, ended_seq FROM tasker.worker_registrations
               ORDER BY registered_at";
    assert_eq!(
        fixture.text(sql).await,
        "worker-1|5|4000000000|ruby 3.1|superseded|4\nworker-1|5|4000000000|ruby 3.1|reconnected|4"
    );
    assert_eq!(fixture.text("SELECT name FROM tasker.workers").await, "worker-1");
    assert_eq!(
        fixture.text("SELECT DISTINCT templates::text FROM tasker.worker_health").await,
        "{shop/diamond@1.0.0,shop/refund,\"back office/*\"}"
    );
}
