//! The measured limit of Postgres is that of a broker's own rows.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use tasker_core::bench::limit::{self, GroupSize, LimitOptions, measure, measure_in};

use crate::invariants;
use crate::support::{Database, Stage, task};

const TASKS: u32 = 40;
const STEPS_PER_TASK: u32 = 4;

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("it is not zero")
}

fn options(database: &Database) -> LimitOptions {
    LimitOptions {
        url: database.url().to_owned(),
        steps_per_task: number(STEPS_PER_TASK),
        context_bytes: 40,
        result_bytes: 10,
        batch_steps: number(5),
        tasks_per_command: number(TASKS),
        groups: vec![(GroupSize::Steps(number(7)), 2), (GroupSize::Rows(number(30)), 1)],
        steps: u64::from(TASKS * STEPS_PER_TASK),
        time_max: Duration::from_secs(60),
    }
}

/// A stop that never comes.
async fn nobody_stops_it() {
    std::future::pending().await
}

/// What of a run does not depend on who ran it and when.
fn account(database: &Database) -> BTreeMap<String, Vec<String>> {
    let mut account = BTreeMap::new();
    for table in ["tasks", "steps", "step_outcomes", "batches", "batch_closings", "commands", "group_log"] {
        let which = if table == "commands" { "WHERE name = 'InitializeTask'" } else { "" };
        let columns = format!(
            "SELECT DISTINCT key FROM tasker.{table} AS filled, jsonb_each(to_jsonb(filled)) {which}
             {} value <> 'null' AND key NOT IN ('host', 'key_name') ORDER BY key",
            if which.is_empty() { "WHERE" } else { "AND" }
        );
        account.insert(format!("columns of {table}"), database.texts(&columns));
        if !matches!(table, "batches" | "batch_closings" | "group_log") {
            let rows = database.number(&format!("SELECT count(*) FROM tasker.{table} {which}"));
            account.insert(format!("rows of {table}"), vec![rows.to_string()]);
        }
    }
    for (what, sql) in [
        ("dispatched steps", "SELECT sum(cardinality(task_ids))::text FROM tasker.batches"),
        ("open batches", "SELECT count(*)::text FROM tasker.batch_status WHERE state = 'open'"),
        ("task states", "SELECT DISTINCT state FROM tasker.task_status"),
        ("step states", "SELECT DISTINCT state FROM tasker.step_status"),
        ("closings", "SELECT DISTINCT state FROM tasker.batch_closings"),
    ] {
        account.insert(what.to_owned(), database.texts(sql));
    }
    account
}

#[test]
fn the_same_rows_are_written_as_by_a_broker() {
    let mut stage = Stage::open();
    let worker = stage.worker("worker-1", 10, &["chain"]);
    worker.registered();
    let accepted = stage.submit_all((0..TASKS).map(|start| task("chain", format!("{{\"start\": {start}}}"))).collect());
    for task in accepted {
        assert_eq!(stage.ended(task.task_id.expect("accepted")).state, "complete");
    }
    assert!(worker.stop().success());
    stage.stop();
    invariants::hold(&stage.database);

    let alone = Database::create();
    let report = alone.run(measure_in(alone.url(), &options(&alone))).expect("it is measured");
    invariants::hold(&alone);
    assert_eq!(account(&alone), account(&stage.database));
    assert_eq!((report.steps, report.tasks), (u64::from(TASKS * STEPS_PER_TASK), u64::from(TASKS)));
    // The first group has the template and the registration.
    let groups = alone.number("SELECT count(*) FROM tasker.group_log WHERE seq > 1");
    let rows = alone.number("SELECT sum(row_count) FROM tasker.group_log WHERE seq > 1");
    assert_eq!((i64::try_from(report.groups), i64::try_from(report.rows)), (Ok(groups), Ok(rows)));
    let sizes = alone.texts(
        "SELECT DISTINCT count(*)::text FROM tasker.step_outcomes GROUP BY seq HAVING count(*) = 7
         UNION ALL SELECT DISTINCT row_count::text FROM tasker.group_log WHERE row_count = 30",
    );
    assert_eq!(sizes, ["7", "30"], "groups have the sizes that were asked for");
}

#[test]
fn nothing_is_left_of_a_measurement() {
    let database = Database::create();
    let report = measure(&options(&database), nobody_stops_it()).expect("it is measured");
    assert_eq!(report.tasks, u64::from(TASKS));
    assert!(report.wal_bytes_per_step > 300.0, "a step has its ids and its result in the log: {report:?}");
    assert!(report.postgres_cpu_us_per_step.is_some(), "the server is on this machine");
    assert!(report.commit_ms.p50 <= report.commit_ms.p99 && report.commit_ms.p99 <= report.commit_ms.max);

    let stopped = measure(&options(&database), std::future::ready(()));
    assert!(matches!(stopped, Err(limit::Error::Stopped)), "{stopped:?}");
    let none = LimitOptions { groups: vec![], ..options(&database) };
    assert!(matches!(measure(&none, nobody_stops_it()), Err(limit::Error::NoGroups)));
    assert_eq!(database.number("SELECT count(*) FROM pg_database WHERE datname LIKE 'tasker\\_limit\\_%'"), 0);
    assert_eq!(database.number("SELECT count(*) FROM tasker.group_log"), 0, "the given database is not touched");
}
