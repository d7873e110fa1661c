//! Lists over much history: how many pages of the database each reads, which does not depend on the machine, and on request how
//! long each takes.
//!
//! ```text
//! TASKER_LISTS_TASKS=1000000 cargo test --test lists -- --nocapture
//! ```

#![allow(clippy::unwrap_used)]

mod history;

use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_core::filter::Filter;
use tasker_core::store::*;
use tasker_engine::{BatchId, TaskId};

use history::History;

/// The environment variable with another number of tasks; with it, times are printed.
const TASKS_VARIABLE: &str = "TASKER_LISTS_TASKS";

/// Tasks of a usual run: several times the budget that is asked for, and some seconds of writing.
const TASKS: u32 = 40_000;

/// Tasks that a search may look at here.
const BUDGET: u32 = 3_000;

/// Rows of a page.
const PAGE: u32 = 50;

/// Most pages that a list may read which an index answers: the rows of a page, each with its task, its template, and some rows
/// for each of its steps, by three levels of an index each.
const INDEXED_MAX: i64 = 12_000;

/// Most pages that a list may read which looks at tasks one by one: at each, twice, its attempts or steps, if asked for.
const WALKED_MAX: i64 = BUDGET as i64 * 40;

/// A search and whether an index answers it.
const SEARCHES: &[(&str, bool)] = &[
    ("", true),
    ("state:complete", true),
    ("state:error", true),
    ("state:cancelled,resolved_manually", true),
    ("state:pending,in_progress", true),
    ("state:pending", true),
    ("-state:complete", true),
    ("key:ORDER-17", true),
    ("id:00000000-0000-7000-8000-000000000000", true),
    ("since:1s", true),
    ("until:2020-01-01", true),
    ("error:Net", true),
    ("error:Nothing", false),
    ("step.state:error", true),
    ("step:charge step.state:error error:Net", true),
    ("step.state:in_progress", false),
    ("step.state:waiting_for_retry", false),
    ("step:charge", true),
    ("step:charge step.state:complete", true),
    ("step:refund_all", false),
    ("step.state:resolved_manually", false),
    ("-step.state:complete", false),
    ("namespace:shop", true),
    ("name:refund", false),
    ("version:9.9.9", false),
    ("tag:nightly", true),
    ("tag:ancient", false),
    ("-tag:nightly", true),
    ("initiator:nobody", false),
    ("correlation:nothing", false),
    ("priority:>9", false),
    ("worker:worker-1", true),
    ("worker:worker-old", false),
    ("-worker:worker-1,worker-2,worker-3,worker-4", false),
    ("ctx.order.id:17", false),
    ("ctx.order.customer:c-17", true),
    ("\"nowhere to be found\"", false),
    ("state:error ctx.order.id:1", false),
    ("state:complete tag:ancient step:charge error:Flaky -worker:worker-1", false),
];

fn tasks() -> u32 {
    std::env::var(TASKS_VARIABLE).map_or(TASKS, |text| text.parse().expect("a number of tasks"))
}

/// Pages of tables and indexes that the sessions of this pool, which has one, have read since the last time.
struct Meter {
    pool: PgPool,
    read: i64,
}

impl Meter {
    async fn pages(&mut self) -> i64 {
        // The session says what it has done when it is asked to; another statement of it looks.
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&self.pool).await.unwrap();
        sqlx::query("SELECT pg_stat_clear_snapshot()").execute(&self.pool).await.unwrap();
        let sql =
            "SELECT (sum(heap_blks_read + heap_blks_hit) + sum(coalesce(idx_blks_read + idx_blks_hit, 0)))::bigint
                   FROM pg_statio_user_tables";
        let read: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap();
        read - std::mem::replace(&mut self.read, read)
    }
}

#[tokio::test]
async fn lists_read_a_bounded_number_of_pages() {
    let history = History::write(tasks()).await;
    let pool = pool(&history.database.url, 1).unwrap();
    if std::env::var_os(TASKS_VARIABLE).is_some() {
        times(&pool, &history).await;
    }
    let mut meter = Meter { pool: pool.clone(), read: 0 };
    meter.pages().await;
    let budget = Budget { tasks: BUDGET, time: Duration::from_secs(3_600) };
    let mut problems = Vec::new();
    // With what the planner knows after ANALYZE, and with nothing.
    for statistics in ["with", "without"] {
        if statistics == "without" {
            history.forget_statistics().await;
        }
        for (text, is_indexed) in SEARCHES {
            let filter = Filter::parse(text).unwrap();
            meter.pages().await;
            let page = search_tasks_within(&pool, &filter, None, PAGE, budget).await.unwrap();
            let listed = meter.pages().await;
            count_tasks_within(&pool, &filter, COUNT_MAX, budget).await.unwrap();
            let counted = meter.pages().await;
            let most = if *is_indexed { INDEXED_MAX } else { WALKED_MAX };
            if listed > most || counted > WALKED_MAX {
                let found = page.tasks.len();
                problems.push(format!(
                    "{text:?} {statistics} statistics: {found} rows for {listed} pages, counted for {counted}"
                ));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    history.analyze().await;
    other_lists(&pool, &history, &mut meter).await;
}

/// What lists beside the search read.
async fn other_lists(pool: &PgPool, history: &History, meter: &mut Meter) {
    let task = history.some_task().await;
    let mut problems = Vec::new();
    for (name, most) in OTHERS {
        meter.pages().await;
        other(name, pool, task).await;
        let pages = meter.pages().await;
        if pages > *most {
            problems.push(format!("{name}: {pages} pages"));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Lists beside the search, and the most pages that each may read.
const OTHERS: &[(&str, i64)] = &[
    ("task detail", 1_000),
    ("step history", 1_000),
    ("timeline", 1_000),
    ("transitions", 2_000),
    ("graph", 200),
    ("batches", 20_000),
    ("open batches", 100_000),
    ("differing batches", 100_000),
    ("batches of a worker", 100_000),
    ("registrations", 500),
    ("dead ends", 200_000),
    ("acts", 200),
    ("all acts", 200),
    ("namespaces", 20_000),
];

async fn other(name: &str, pool: &PgPool, task: TaskId) {
    let batches = async |filter: BatchFilter| {
        let page = list_batches(pool, &filter, None, PAGE).await.unwrap();
        page.batches.first().map(|batch| batch.id)
    };
    match name {
        "task detail" => drop(task_detail(pool, task).await.unwrap().unwrap()),
        "step history" => assert!(!step_history(pool, task, "reserve", PAGE).await.unwrap().attempts.is_empty()),
        "timeline" => assert_eq!(timeline(pool, task).await.unwrap().rows.len(), 4),
        "transitions" => assert!(!transitions(pool, task, None, PAGE).await.unwrap().rows.is_empty()),
        "graph" => assert_eq!(step_nodes(pool, task).await.unwrap().len(), 4),
        "batches" => {
            let newest: BatchId = batches(BatchFilter::default()).await.unwrap();
            batch_detail(pool, newest, None, PAGE).await.unwrap().unwrap();
        }
        "open batches" => _ = batches(BatchFilter { is_open: true, ..BatchFilter::default() }).await,
        "differing batches" => _ = batches(BatchFilter { is_differing: true, ..BatchFilter::default() }).await,
        "batches of a worker" => {
            _ = batches(BatchFilter { worker: Some("worker-old".into()), ..BatchFilter::default() }).await;
        }
        "registrations" => assert!(!registrations(pool, None, None, PAGE).await.unwrap().is_empty()),
        "dead ends" => assert!(!dead_ends(pool).await.unwrap().groups.is_empty()),
        "acts" => drop(operator_acts(pool, None, None, PAGE).await.unwrap()),
        "all acts" => drop(acts(pool, None, PAGE).await.unwrap()),
        "namespaces" => assert_eq!(namespaces(pool).await.unwrap().rows.len(), 1),
        other => panic!("{other}"),
    }
}

/// Times of a search and its count, the median of five. They say nothing about right or wrong here.
async fn times(pool: &PgPool, history: &History) {
    println!("{} tasks, {} steps", history.tasks, u64::from(history.tasks) * 4);
    println!("{:<75} {:>9} {:>9} {:>6}  looked back to", "filter", "page ms", "count ms", "rows");
    for (text, _) in SEARCHES {
        let filter = Filter::parse(text).unwrap();
        let page = search_tasks(pool, &filter, None, PAGE).await.unwrap();
        let listed = median(async || drop(search_tasks(pool, &filter, None, PAGE).await.unwrap())).await;
        let counted = median(async || _ = count_tasks(pool, &filter).await.unwrap()).await;
        let place = match page.searched_back_to_ms {
            Some(_) => format!("the newest {}", history.newer_than(page.next.unwrap().id()).await),
            None => String::new(),
        };
        println!("{text:<75} {listed:>9.1} {counted:>9.1} {:>6}  {place}", page.tasks.len());
    }
    let task = history.some_task().await;
    for (name, _) in OTHERS {
        println!("{name:<75} {:>9.1}", median(async || other(name, pool, task).await).await);
    }
}

/// Milliseconds.
async fn median(run: impl AsyncFn()) -> f64 {
    let mut times = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        run().await;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[2]
}
