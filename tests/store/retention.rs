//! What leaves by age is exactly what was asked for, and what stays is whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tasker_core::archive;
use tasker_core::store::retention::{Days, Error, Report, Task, prune};
use tasker_core::store::{claim, load_task, migrate, recover, task_status};
use tasker_engine::*;

use crate::fixture::{Fixture, LEASE, broker};
use crate::history::{Fate, History, LARGE};
use crate::invariants::INVARIANTS;
use crate::support::Database;

/// Everything that has ended goes after a month.
const ALL: Days = Days {
    complete: 20,
    cancelled: 20,
    resolved: 20,
    error: 20,
    group_log: 0,
    commands: 0,
    received_results: 0,
    idempotency_keys: 0,
};

/// Tables whose rows leave with their task, by the task's id.
const PARTS: [&str; 6] =
    ["tasks", "step_outcomes", "step_attempts_failed", "step_returns", "operator_actions", "task_reopenings"];

async fn run(fixture: &Fixture, days: Days) -> Report {
    prune(&fixture.database.url, &Task { days, ..Task::default() }).await.unwrap()
}

async fn count(fixture: &Fixture, days: Days) -> Report {
    prune(&fixture.database.url, &Task { days, dry_run: true, ..Task::default() }).await.unwrap()
}

/// Rows of every table of tasks, in order.
async fn contents(fixture: &Fixture) -> BTreeMap<&'static str, Vec<String>> {
    let mut contents = BTreeMap::new();
    for table in PARTS.into_iter().chain(["batches", "batch_closings", "idempotency_keys", "group_log"]) {
        let rows = fixture.rows(&format!("SELECT row::text FROM tasker.{table} AS row ORDER BY 1")).await;
        contents.insert(table, rows.iter().map(|row| row.get(0)).collect());
    }
    contents
}

/// Rows that belong to a task in one way or another.
async fn traces(fixture: &Fixture, task: TaskId) -> i64 {
    let mut rows = 0;
    for table in PARTS {
        rows += fixture.number(&format!("SELECT count(*) FROM tasker.{table} WHERE task_id = '{}'", task.0)).await;
    }
    rows + fixture.number(&format!("SELECT count(*) FROM tasker.batches WHERE '{}' = ANY (task_ids)", task.0)).await
}

/// Invariants that hold also when some of the history has left; those that compare the log of groups with all rows, or ask
/// that everything is at rest, do not.
fn assert_whole(fixture: &Fixture, but: &[&str]) {
    let database = Database::at(&fixture.database.url);
    let of_all_history = [
        "each group has the rows that it declared",
        "no row belongs to a task, batch or registration that does not exist",
    ];
    let held = INVARIANTS.iter().filter(|one| !of_all_history.contains(&one.name) && !but.contains(&one.name));
    let broken = crate::invariants::broken(&database, held);
    assert!(broken.is_empty(), "{broken:#?}");
    let orphans =
        "SELECT (SELECT count(*) FROM tasker.step_outcomes WHERE task_id NOT IN (SELECT task_id FROM tasker.tasks))
        + (SELECT count(*) FROM tasker.batch_closings WHERE batch_id NOT IN (SELECT batch_id FROM tasker.batches))
        + (SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_kept')";
    assert_eq!(database.number(orphans), 0);
}

#[tokio::test]
async fn nothing_leaves_unless_it_is_asked_for() {
    let mut fixture = Fixture::new().await;
    History::of(&mut fixture, 40).await.task(Fate::Complete).await;
    let before = contents(&fixture).await;
    assert_eq!(run(&fixture, Days::default()).await, Report::default());
    assert_eq!(contents(&fixture).await, before);
    assert!(Days::default().keep_everything() && !ALL.keep_everything());
}

#[tokio::test]
async fn a_month_leaves_when_all_of_it_is_old_enough() {
    let mut fixture = Fixture::new().await;
    let mut gone = Vec::new();
    let mut old = History::of(&mut fixture, 3).await;
    for fate in [Fate::Complete, Fate::Error, Fate::Cancelled, Fate::Resolved] {
        gone.push(old.task(fate).await);
    }
    let kept = History::of(&mut fixture, 0).await.task(Fate::Complete).await;
    let rows = traces(&fixture, kept).await;
    let expected = count(&fixture, ALL).await;
    assert_eq!(run(&fixture, ALL).await, expected, "the count before is what happens");
    let [month] = &expected.months[..] else { panic!("{expected:?}") };
    let by_state = [("cancelled", 1), ("complete", 1), ("error", 1), ("resolved_manually", 1)];
    assert_eq!(month.tasks_left, by_state.map(|(state, count)| (state.to_owned(), count)).into());
    assert!(
        month.tasks_kept.is_empty() && month.tables.iter().all(|table| table.rows_kept == 0 && table.bytes_before > 0)
    );
    for task in gone {
        assert_eq!(traces(&fixture, task).await, 0, "{task:?}");
        assert!(load_task(&fixture.pool, task).await.unwrap().is_none());
        assert!(task_status(&fixture.pool, task, true, &[], 1).await.unwrap().is_none());
    }
    assert_eq!(traces(&fixture, kept).await, rows);
    let tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^(tasks|batches|step_).*_y' AND relkind = 'r'
        AND relname LIKE '%' || to_char(now() AT TIME ZONE 'UTC' - interval '3 months', '_y\"\"YYYY\"m\"MM')";
    assert_eq!(fixture.number(tables).await, 0, "its tables are gone");
    let pruned = "SELECT subject, tasks_left->>'error' FROM tasker.prunings";
    assert_eq!(fixture.text(pruned).await, "tasks|1");
    assert_eq!(fixture.count("idempotency_keys").await, 5, "a key names its request for ever, unless said otherwise");
    assert_whole(&fixture, &[]);
    assert!(run(&fixture, ALL).await.is_empty(), "nothing is left to do");
}

#[tokio::test]
async fn what_must_stay_longer_is_carried_over_with_all_of_its_rows() {
    let mut fixture = Fixture::new().await;
    let mut old = History::of(&mut fixture, 3).await;
    let gone = old.task(Fate::Complete).await;
    let mut kept = Vec::new();
    for fate in [Fate::Error, Fate::Unfinished, Fate::Resolved, Fate::Dispatched] {
        kept.push(old.task(fate).await);
    }
    let before = contents(&fixture).await;
    let days = Days { error: 0, resolved: 3_000, ..ALL };
    let expected = count(&fixture, days).await;
    assert_eq!(run(&fixture, days).await, expected);
    let month = &expected.months[0];
    assert_eq!(month.tasks_left, [("complete".to_owned(), 1)].into());
    let staying = [("error", 1), ("resolved_manually", 1), ("unfinished", 2)];
    assert_eq!(month.tasks_kept, staying.map(|(state, count)| (state.to_owned(), count)).into());

    // Exactly the rows of the one that left are missing, and the others are what they were.
    let after = contents(&fixture).await;
    for (table, rows) in before {
        let missing: Vec<String> = rows.into_iter().filter(|row| !after[table].contains(row)).collect();
        let about = |row: &String| row.contains(&gone.0.to_string()) || table == "batch_closings";
        assert!(missing.iter().all(about), "{table}: {missing:?}");
        let lost = match table {
            "tasks" => 1,
            "step_outcomes" => 4,
            "batches" | "batch_closings" => 3,
            _ => 0,
        };
        assert_eq!(missing.len(), lost, "{table}");
    }
    assert_eq!(fixture.count("tasks_default").await, 0, "they stay in their month");
    assert_whole(&fixture, &["every task has ended", "no batch is open at rest"]);

    let recovered = recover(&fixture.pool, 1).await.unwrap();
    assert_eq!(recovered.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [kept[1], kept[3]]);
    assert_eq!(recovered.batches.len(), 1);
    assert!(run(&fixture, days).await.is_empty(), "what stays is not copied every day");

    // At its own age it leaves, from the smaller partition.
    let later = run(&fixture, Days { complete: 0, ..ALL }).await;
    assert_eq!(later.months[0].tasks_left.keys().collect::<Vec<_>>(), ["error", "resolved_manually"]);
    assert_eq!(recover(&fixture.pool, 1).await.unwrap().tasks.len(), 2);
    assert_whole(&fixture, &["every task has ended", "no batch is open at rest"]);
}

#[tokio::test]
async fn age_is_counted_from_the_end_of_a_task_and_in_whole_months() {
    let mut fixture = Fixture::new().await;
    let mut old = History::of(&mut fixture, 3).await;
    let (late, early) = (old.task(Fate::Complete).await, old.task(Fate::Complete).await);
    let this_month = "date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'";
    let end =
        |at: &str, task: TaskId| format!("UPDATE tasker.tasks SET finished_at = {at} WHERE task_id = '{}'", task.0);
    // A second before the month that one day ago is in, and the second itself.
    let month = "(date_trunc('month', now() AT TIME ZONE 'UTC' - interval '1 day') AT TIME ZONE 'UTC')";
    fixture.execute(&end(&format!("{month} - interval '1 second'"), early)).await;
    fixture.execute(&end(month, late)).await;
    let report = run(&fixture, Days { complete: 1, ..Days::default() }).await;
    assert_eq!(report.months[0].tasks_left, [("complete".to_owned(), 1)].into(), "{this_month}");
    assert_eq!((traces(&fixture, early).await, traces(&fixture, late).await > 0), (0, true));
}

#[tokio::test]
async fn a_batch_stays_as_long_as_one_of_its_tasks() {
    let mut fixture = Fixture::new().await;
    let long = History::of(&mut fixture, 4).await.task(Fate::Unfinished).await;
    let mut later = History::of(&mut fixture, 3).await;
    later.task(Fate::Complete).await;
    // The old task goes on in the later month, in a batch of its own.
    let batch = later.dispatch(long, &[1], 1).await;
    let settled = fixture.settled(long, 1, 1, batch, "1");
    fixture.oldest_open_batch = None;
    let closed = Save::BatchClosed { batch, state: BatchState::Completed, differences: vec![] };
    fixture.commit(&[settled, closed]).await;
    let report = run(&fixture, ALL).await;
    assert_eq!(report.months.len(), 1, "{report:?}");
    let batches = format!("SELECT count(*) FROM tasker.batches WHERE batch_id = '{}'", batch.0);
    assert_eq!(fixture.number(&batches).await, 1);
    assert_whole(&fixture, &["every task has ended"]);

    fixture.commit(&[fixture.ended(long, TaskState::Error)]).await;
    fixture
        .execute("UPDATE tasker.tasks SET finished_at = now() - interval '100 days' WHERE final_state = 'error'")
        .await;
    let report = run(&fixture, ALL).await;
    assert_eq!(report.months.len(), 2, "the batch left with its task: {report:?}");
    assert_eq!((fixture.number(&batches).await, traces(&fixture, long).await), (0, 0));
}

#[tokio::test]
async fn a_task_that_runs_meanwhile_keeps_what_is_written_to_it() {
    let mut fixture = Fixture::new().await;
    let mut old = History::of(&mut fixture, 3).await;
    old.task(Fate::Complete).await;
    let runs = old.task(Fate::Dispatched).await;
    let batch = BatchId(fixture.oldest_open_batch.unwrap());
    // Readers keep the exchange from its locks until the worker has reported.
    let mut reader = fixture.session().await;
    sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
    sqlx::query("SELECT count(*) FROM tasker.step_returns").execute(&mut reader).await.unwrap();
    let url = fixture.database.url.clone();
    let pruning = tokio::spawn(async move { prune(&url, &Task { days: ALL, ..Task::default() }).await.unwrap() });
    wait_for(&fixture, "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'").await;
    let settled = fixture.settled(runs, 0, 1, batch, LARGE);
    fixture.oldest_open_batch = None;
    let closed = Save::BatchClosed { batch, state: BatchState::Completed, differences: vec![] };
    fixture.commit(&[settled, closed]).await;
    sqlx::query("COMMIT").execute(&mut reader).await.unwrap();
    let report = pruning.await.unwrap();
    assert_eq!((report.months.len(), report.stopped), (1, None));
    let recovered = recover(&fixture.pool, 1).await.unwrap();
    assert_eq!(recovered.tasks[0].steps[0].settled.as_ref().unwrap().result, LARGE);
    assert!(recovered.batches.is_empty());
    assert_whole(&fixture, &["every task has ended"]);
}

#[tokio::test]
async fn a_task_that_an_operator_brings_back_meanwhile_stays() {
    let mut fixture = Fixture::new().await;
    let task = History::of(&mut fixture, 3).await.task(Fate::Error).await;
    let mut reader = fixture.session().await;
    sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
    sqlx::query("SELECT count(*) FROM tasker.step_returns").execute(&mut reader).await.unwrap();
    let url = fixture.database.url.clone();
    let pruning = tokio::spawn(async move { prune(&url, &Task { days: ALL, ..Task::default() }).await.unwrap() });
    wait_for(&fixture, "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'").await;
    fixture.commit(&[Save::TaskReopened { task }, fixture.reset(task, 0, 1)]).await;
    sqlx::query("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(pruning.await.unwrap(), Report::default(), "nothing of the month leaves any more");
    let [found] = &recover(&fixture.pool, 1).await.unwrap().tasks[..] else { panic!("it is gone") };
    assert_eq!((found.id, found.final_state), (task, None));
    assert_whole(&fixture, &["every task has ended"]);
}

/// Asks until the answer is not 0.
async fn wait_for(fixture: &Fixture, sql: &str) {
    while fixture.number(sql).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_group_that_would_bring_back_a_task_that_has_left_is_refused() {
    let mut fixture = Fixture::new().await;
    let task = History::of(&mut fixture, 3).await.task(Fate::Error).await;
    // What the engine has loaded by now is all that there is of it.
    run(&fixture, ALL).await;
    let refused = fixture.try_commit(&[Save::TaskReopened { task }, fixture.reset(task, 0, 1)]).await;
    assert!(matches!(refused, Err(tasker_core::store::Error::Refused { .. })), "{refused:?}");
    assert_eq!(traces(&fixture, task).await, 0);
}

#[tokio::test]
async fn a_view_of_the_database_is_not_taken_while_partitions_are_exchanged() {
    let mut fixture = Fixture::new().await;
    let mut old = History::of(&mut fixture, 3).await;
    old.task(Fate::Complete).await;
    let unfinished = old.task(Fate::Unfinished).await;
    let mut holder = fixture.session().await;
    sqlx::query("BEGIN").execute(&mut holder).await.unwrap();
    sqlx::query("LOCK TABLE ONLY tasker.tasks IN ACCESS EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    let pool = fixture.pool.clone();
    let recovering = tokio::spawn(async move { recover(&pool, 1).await.unwrap() });
    wait_for(&fixture, "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'").await;
    // As an exchange does: the rows of the month move to another table.
    let month = "to_char(now() AT TIME ZONE 'UTC' - interval '3 months', '\"y\"YYYY\"m\"MM')";
    let part = fixture.text(&format!("SELECT 'tasks_' || {month}")).await;
    for sql in [
        format!("CREATE TABLE tasker.moved (LIKE tasker.{part} INCLUDING ALL)"),
        format!("INSERT INTO tasker.moved SELECT * FROM tasker.{part}"),
        format!("DELETE FROM tasker.{part}"),
        format!("INSERT INTO tasker.{part} SELECT * FROM tasker.moved"),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut holder).await.unwrap();
    }
    sqlx::query("COMMIT").execute(&mut holder).await.unwrap();
    let recovered = recovering.await.unwrap();
    assert_eq!(recovered.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [unfinished]);
}

#[tokio::test]
async fn one_run_at_a_time_and_an_interrupted_one_leaves_nothing_behind() {
    let mut fixture = Fixture::new().await;
    let mut old = History::of(&mut fixture, 3).await;
    old.task(Fate::Complete).await;
    let unfinished = old.task(Fate::Unfinished).await;
    let before = contents(&fixture).await;
    let folder = tempfile::tempdir().unwrap();
    let task = Task { days: ALL, archive: Some(folder.path().to_owned()), dry_run: false };
    let mut reader = fixture.session().await;
    sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
    sqlx::query("SELECT count(*) FROM tasker.step_returns").execute(&mut reader).await.unwrap();
    let (url, again) = (fixture.database.url.clone(), task.clone());
    let pruning = tokio::spawn(async move { prune(&url, &again).await });
    wait_for(&fixture, "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'").await;
    assert!(matches!(prune(&fixture.database.url, &task).await, Err(Error::Running)));

    // The process dies between the archive and the exchange.
    pruning.abort();
    assert!(pruning.await.unwrap_err().is_cancelled());
    fixture
        .number("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'tasker prune'")
        .await;
    sqlx::query("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(contents(&fixture).await, before, "both are there: the rows, and the archive");
    assert_eq!(archived(folder.path()).len(), 1);
    let report = prune(&fixture.database.url, &task).await.unwrap();
    assert_eq!(report.months.len(), 1);
    let files = archived(folder.path());
    assert_eq!((files.len(), files[0].1.len()), (1, 1), "the same file, not a second one with the same task");
    assert_eq!(recover(&fixture.pool, 1).await.unwrap().tasks[0].id, unfinished);
    assert_whole(&fixture, &["every task has ended"]);
}

/// The files of a folder with their tasks; each is what its manifest says.
fn archived(folder: &Path) -> Vec<(archive::Manifest, Vec<Value>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gz") {
            let tasks = archive::lines(&path).unwrap().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
            files.push((archive::check(&path).unwrap(), tasks.collect()));
        }
    }
    files.sort_by(|left, right| left.0.file.cmp(&right.0.file));
    files
}

#[tokio::test]
async fn an_archive_has_everything_of_its_tasks_digit_for_digit() {
    let mut fixture = Fixture::new().await;
    let mut old = History::of(&mut fixture, 3).await;
    let (complete, resolved) = (old.task(Fate::Complete).await, old.task(Fate::Resolved).await);
    let cancelled = old.task(Fate::Cancelled).await;
    old.task(Fate::Unfinished).await;
    let folder = tempfile::tempdir().unwrap();
    let task = Task { days: Days { resolved: 0, ..ALL }, archive: Some(folder.path().to_owned()), dry_run: false };
    let report = prune(&fixture.database.url, &task).await.unwrap();
    let files = archived(folder.path());
    let (manifest, tasks) = &files[0];
    assert_eq!(report.months[0].archive.as_deref(), folder.path().join(&manifest.file).to_str());
    assert_eq!((manifest.tasks, manifest.month.as_str()), (2, report.months[0].month.as_str()));
    assert_eq!(manifest.states, report.months[0].tasks_left);
    let sha = fixture.text("SELECT sha256 FROM tasker.prunings").await;
    assert_eq!(sha, manifest.sha256);

    let [first, second] = &tasks[..] else { panic!("{tasks:?}") };
    assert_eq!((&first["task_id"], &first["state"]), (&complete.0.to_string().into(), &"complete".into()));
    assert_eq!(first["request"]["context"].to_string(), r#"{"big":340282366920938463463374607431768211456}"#);
    assert_eq!(first["request"]["idempotency_key"], format!("key of {}", complete.0));
    let steps = first["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4);
    assert_eq!(steps[3]["outcome"]["result"].to_string(), r#"{"n":18446744073709551616,"sum":209.970}"#);
    assert_eq!(first["batches"].as_array().unwrap().len(), 3);
    assert_eq!(first["batches"][0]["closing"]["state"], "completed");
    assert_eq!(first["batches"][0]["worker"], "worker-1");
    assert_eq!(second["task_id"], cancelled.0.to_string());
    assert_eq!(second["operator_actions"][0]["actor"], "ada");
    assert_eq!(second["batches"][0]["items"][0]["step_number"], 0, "a batch that left no other trace");

    // The rest of the month goes into a file of its own.
    prune(&fixture.database.url, &Task { days: ALL, ..task }).await.unwrap();
    let files = archived(folder.path());
    let [_, (_, tasks)] = &files[..] else { panic!("{} files", files.len()) };
    assert_eq!(tasks[0]["task_id"], resolved.0.to_string());
    assert_eq!(tasks[0]["steps"][0]["failed_attempts"][0]["error_class"], "Net::Error");
    assert_eq!(tasks[0]["reopenings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn without_its_archive_nothing_leaves() {
    let mut fixture = Fixture::new().await;
    History::of(&mut fixture, 3).await.task(Fate::Complete).await;
    let before = contents(&fixture).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let task = Task { days: ALL, archive: Some(file.path().join("under a file")), dry_run: false };
    assert!(matches!(prune(&fixture.database.url, &task).await, Err(Error::Archive(_))));
    assert_eq!(contents(&fixture).await, before);
}

#[tokio::test]
async fn records_leave_by_month_and_keys_when_their_task_is_gone() {
    let mut fixture = Fixture::new().await;
    let mut old = History::of(&mut fixture, 3).await;
    old.task(Fate::Complete).await;
    old.task(Fate::Error).await;
    fixture
        .execute(
            "INSERT INTO tasker.commands (received_at, seq, peer, correlation_id, lane, name, outcome, duration_ms)
             SELECT now() - interval '3 months', 1, 1, gen_random_uuid(), 1, 'CancelTask', 'accepted', 1
             FROM generate_series(1, 5)",
        )
        .await;
    let days = Days { error: 0, commands: 30, idempotency_keys: 30, ..ALL };
    let expected = count(&fixture, days).await;
    assert_eq!(run(&fixture, days).await, expected);
    let [records] = &expected.records[..] else { panic!("{expected:?}") };
    assert!(records.partition.starts_with("commands_y") && records.rows_left == 5, "{records:?}");
    assert_eq!((fixture.count("commands").await, expected.idempotency_keys), (0, 1));
    assert_eq!(fixture.count("idempotency_keys").await, 1, "the task of the other key is still there");
    assert_eq!(run(&fixture, days).await, Report::default());
}

#[tokio::test]
async fn rows_in_a_default_partition_leave_like_the_others() {
    let mut fixture = Fixture::new().await;
    let task = History::of(&mut fixture, 3).await.task(Fate::Complete).await;
    // As if nobody had made partitions in time.
    for table in ["tasks", "step_outcomes", "step_attempts_failed", "step_returns", "batches", "batch_closings"] {
        let part =
            format!("SELECT '{table}' || to_char(now() AT TIME ZONE 'UTC' - interval '3 months', '\"_y\"YYYY\"m\"MM')");
        let part = fixture.text(&part).await;
        fixture
            .execute(&format!(
                "ALTER TABLE tasker.{table} DETACH PARTITION tasker.{part};
                 INSERT INTO tasker.{table} SELECT * FROM tasker.{part}; DROP TABLE tasker.{part}"
            ))
            .await;
    }
    assert_eq!(fixture.count("tasks_default").await, 1);
    assert_eq!(run(&fixture, ALL).await.months.len(), 1);
    assert_eq!((fixture.count("tasks_default").await, traces(&fixture, task).await), (0, 0));
}

#[tokio::test]
async fn a_broker_goes_on_after_its_old_months_have_left() {
    let mut fixture = Fixture::new().await;
    let mut old = History::of(&mut fixture, 3).await;
    old.task(Fate::Complete).await;
    let unfinished = old.task(Fate::Unfinished).await;
    run(&fixture, ALL).await;
    // The writer whose statements were planned before, and one that comes after.
    fixture.oldest_open_batch = None;
    fixture.commit(&[fixture.ended(unfinished, TaskState::Cancelled)]).await;
    fixture.stored_task().await;
    migrate(&fixture.database.url).await.unwrap();
    fixture.kill_writer().await;
    claim(&fixture.database.url, &broker(), 1, LEASE).await.unwrap();
    let state = format!("SELECT final_state FROM tasker.tasks WHERE task_id = '{}'", unfinished.0);
    assert_eq!(fixture.text(&state).await, "cancelled");
}

#[tokio::test]
async fn every_partitioned_table_is_known() {
    let fixture = Fixture::new().await;
    let mut session = PgConnection::connect(&fixture.database.url).await.unwrap();
    let sql =
        "SELECT relname::text FROM pg_class WHERE relkind = 'p' AND relnamespace = 'tasker'::regnamespace ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut session).await.unwrap();
    // `steps_stored` has been dropped. One more here needs a place in `store/retention`.
    let known = [
        "batch_closings",
        "batches",
        "commands",
        "group_log",
        "received_results",
        "step_attempts_failed",
        "step_outcomes",
        "step_returns",
        "tasks",
    ];
    assert_eq!(tables, known);
}
