//! What filters find, page by page, and that looking for it has a bound.

use std::time::Duration;

use tasker_core::filter::{self, Filter};
use tasker_core::store::{
    Budget, Count, Cursor, Error, Page, count_tasks, count_tasks_within, search_tasks, search_tasks_within, task_status,
};
use tasker_engine::*;

use crate::fixture::{Fixture, source, template};

/// A budget that only rows use up.
fn rows(tasks: u32) -> Budget {
    Budget { tasks, time: Duration::from_secs(3_600) }
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Filters stand alone, and know the engine's states by their names.
#[test]
fn filters_know_the_states_that_there_are() {
    let tasks: Vec<&str> = TaskState::ALL.iter().map(|state| state.as_str()).collect();
    let steps: Vec<&str> = StepState::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!((filter::TaskState::NAMES, filter::StepState::NAMES), (&*tasks, &*steps));
}

/// Tasks with all that filters speak of, oldest first.
struct World {
    fixture: Fixture,
    tasks: Vec<TaskId>,
}

impl World {
    async fn new() -> World {
        let mut fixture = Fixture::new().await;
        let refund = template("refund", "2.0.0", &[("refund", &[]), ("tell", &["refund"])]);
        fixture.commit(&[Save::Template(source(&refund, 2))]).await;
        let mut tasks = Vec::new();
        for index in 0..8 {
            let mut task = fixture.task();
            if index == 7 {
                task.template = refund.clone();
            }
            task.priority = index - 2;
            task.idempotency_key = Some(format!("ORDER-{index}").into());
            task.labels.tags = vec![format!("tag {index}").into(), ["even", "odd"][index as usize % 2].into()];
            task.labels.initiator = Some(format!("ada{}", index / 4).into());
            task.labels.correlation_id = Some(format!("c-{index}").into());
            task.labels.reason = Some("a Reason of mine".into());
            task.context = format!(
                r#"{{"order": {{"id": {index}, "big": 18446744073709551616, "lines": [{{"sku": "A-{index}"}}]}}, "a.b": "x y"}}"#
            )
            .into();
            tasks.push(task.id);
            fixture.commit(&[Save::Task(Box::new(task))]).await;
        }
        let mut world = World { fixture, tasks };
        world.run().await;
        world
    }

    /// 0 is complete after a retry; 1 in error; 2 cancelled; 3 resolved by hand; 4 runs; 5 waits for a retry; 6 and 7 are
    /// pending.
    async fn run(&mut self) {
        let World { fixture, tasks } = self;
        let tasks = tasks.clone();
        let batch = fixture.dispatch(tasks[0], 0, 1).await;
        fixture.commit(&[fixture.failed(tasks[0], 0, 1, batch, FailureCause::Failed, Some(0))]).await;
        let batch = fixture.dispatch(tasks[0], 0, 2).await;
        let all: Vec<Save> = (0..4).map(|step| fixture.settled(tasks[0], step, 2, batch, "1")).collect();
        fixture.commit(&all).await;
        fixture.commit(&[fixture.ended(tasks[0], TaskState::Complete)]).await;
        let batch = fixture.dispatch(tasks[1], 0, 1).await;
        let failed = fixture.failed(tasks[1], 0, 1, batch, FailureCause::TimedOut, None);
        fixture.commit(&[failed, fixture.ended(tasks[1], TaskState::Error)]).await;
        fixture.commit(&[fixture.ended(tasks[2], TaskState::Cancelled)]).await;
        let all: Vec<Save> = (0..4).map(|step| fixture.set(tasks[3], step, 0, SettledKind::ResolvedManually)).collect();
        fixture.commit(&all).await;
        fixture.commit(&[fixture.ended(tasks[3], TaskState::ResolvedManually)]).await;
        fixture.dispatch(tasks[4], 0, 1).await;
        let batch = fixture.dispatch(tasks[5], 0, 1).await;
        fixture.commit(&[fixture.failed(tasks[5], 0, 1, batch, FailureCause::Failed, Some(60_000))]).await;
    }

    fn numbers(&self, page: &Page) -> Vec<usize> {
        let number = |id: TaskId| self.tasks.iter().position(|known| *known == id).unwrap();
        page.tasks.iter().map(|row| number(row.task.id)).collect()
    }

    async fn find(&self, text: &str) -> Vec<usize> {
        let page = search_tasks_within(&self.fixture.pool, &filter(text), None, 100, rows(100_000)).await.unwrap();
        assert_eq!((page.next, page.searched_back_to_ms), (None, None), "{text}");
        self.numbers(&page)
    }
}

#[tokio::test]
async fn each_term_finds_its_tasks() {
    let world = World::new().await;
    let id = world.tasks[3].to_string();
    let others = world.tasks[5].0.simple().to_string();
    for (text, expected) in [
        ("", &[7, 6, 5, 4, 3, 2, 1, 0][..]),
        ("state:pending", &[7, 6]),
        ("state:in_progress", &[5, 4]),
        ("state:complete", &[0]),
        ("state:error", &[1]),
        ("state:cancelled,resolved_manually", &[3, 2]),
        ("state:error,pending", &[7, 6, 1]),
        ("-state:complete", &[7, 6, 5, 4, 3, 2, 1]),
        ("-state:pending -state:in_progress", &[3, 2, 1, 0]),
        ("state:error -state:error", &[]),
        ("name:refund", &[7]),
        ("-name:refund state:pending", &[6]),
        ("version:2.0.0,1.0.0 namespace:shop tag:even", &[6, 4, 2, 0]),
        ("namespace:nowhere", &[]),
        ("tag:\"tag 3\",\"tag 4\"", &[4, 3]),
        ("tag:odd -tag:\"tag 3\" -tag:\"tag 5\"", &[7, 1]),
        ("key:ORDER-6,ORDER-2", &[6, 2]),
        ("key:ORDER-6 state:error", &[]),
        ("-key:ORDER-6 state:pending", &[7]),
        ("initiator:ada0 -correlation:c-2", &[3, 1, 0]),
        ("priority:>4", &[7]),
        ("priority:..", &[]),
        ("priority:-2,0..1", &[3, 2, 0]),
        ("-priority:<5", &[7]),
        ("since:1h until:2100-01-01 state:error", &[1]),
        ("until:1h", &[]),
        ("since:2100-01-01", &[]),
        ("ctx.order.id:4,5", &[5, 4]),
        ("-ctx.order.id:4,5 state:in_progress", &[]),
        ("ctx.order.big:18446744073709551616 state:error", &[1]),
        ("ctx.order.big:18446744073709551615", &[]),
        ("ctx.order.big:18446744073709551616.0", &[]),
        ("ctx.order.lines.0.sku:A-6", &[6]),
        ("ctx.\"a.b\":\"x y\" state:error", &[1]),
        ("-ctx.nothing.there:1 state:error", &[1]),
        ("step:tell", &[7]),
        ("-step:tell state:pending", &[6]),
        ("step:start step.state:error", &[1]),
        ("step:end step.state:error", &[]),
        ("step.state:waiting_for_retry", &[5]),
        ("step.state:in_progress", &[4]),
        ("step.state:cancelled", &[2]),
        ("step.state:resolved_manually", &[3]),
        ("step:start step.state:complete", &[0]),
        ("step:start -step.state:pending", &[5, 4, 3, 2, 1, 0]),
        ("-step.state:pending -state:cancelled", &[3, 0]),
        ("step:left step.state:pending", &[6, 5, 4, 1]),
        ("worker:worker-1", &[5, 1, 0]),
        ("worker:worker-1 step:left", &[0]),
        ("worker:worker-1 error:net", &[5, 1, 0]),
        ("-worker:worker-1 state:in_progress", &[4]),
        ("worker:nobody", &[]),
        ("error:\"NET::error\"", &[5, 1, 0]),
        ("error:e1 state:complete", &[0]),
        ("error:net -error:answer", &[]),
        ("-error:net state:in_progress", &[4]),
        ("step:start -error:net -worker:worker-1", &[6, 4, 3, 2]),
        ("\"REASON of\" a-3", &[3]),
        ("-answer \"tag \"", &[7, 6, 4, 3, 2]),
        ("answer", &[5, 1, 0]),
        ("'; DROP TABLE tasker.tasks; --", &[]),
        ("tag:\"%\" tag:\"_\"", &[]),
        ("\"%\"", &[]),
        (&id, &[3]),
        (&format!("id:{}", &others[..30]), &[5][..]),
        (&format!("-id:{id} state:resolved_manually,error"), &[1]),
        (&format!("id:{id},{others} state:in_progress"), &[5]),
    ] {
        if text == "priority:.." {
            assert!(Filter::parse(text).is_err());
            continue;
        }
        assert_eq!(world.find(text).await, expected, "{text}");
    }
}

#[tokio::test]
async fn rows_say_the_same_as_the_status_of_the_task() {
    let mut world = World::new().await;
    let mut bypassed = world.fixture.task();
    bypassed.bypass_steps = vec![1];
    let id = bypassed.id;
    world.tasks.push(id);
    world.fixture.commit(&[Save::Task(Box::new(bypassed))]).await;
    let batch = world.fixture.dispatch(id, 0, 1).await;
    let mut saves: Vec<Save> = [0, 2, 3].map(|step| world.fixture.settled(id, step, 1, batch, "1")).into();
    saves.push(world.fixture.set(id, 1, 0, SettledKind::Bypassed));
    saves.push(world.fixture.ended(id, TaskState::Complete));
    world.fixture.commit(&saves).await;
    let page = search_tasks(&world.fixture.pool, &Filter::default(), None, 100).await.unwrap();
    assert_eq!(page.tasks.len(), 9);
    for row in &page.tasks {
        let status = task_status(&world.fixture.pool, row.task.id, false, &[], 0).await.unwrap().unwrap();
        assert_eq!(row.task, status);
    }
    let failed = page.tasks.iter().find(|row| row.task.id == world.tasks[1]).unwrap();
    let error = failed.last_error.as_ref().unwrap();
    assert_eq!((&*error.step, &*error.class, error.attempt), ("start", "Net::Error", 1));
    assert_eq!(failed.key.as_deref(), Some("ORDER-1"));
    assert!(failed.duration_ms.is_some());
    assert!(page.tasks.iter().filter(|row| row.task.id != world.tasks[1]).all(|row| row.last_error.is_none()));
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let world = World::new().await;
    for text in
        ["", "state:pending,in_progress,error", "error:net", "tag:even", "step.state:pending", "key:ORDER-1,ORDER-5"]
    {
        let whole = world.find(text).await;
        for limit in 1..=3 {
            for budget in [rows(1), rows(3), rows(1_000)] {
                let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
                loop {
                    let page =
                        search_tasks_within(&world.fixture.pool, &filter(text), after, limit, budget).await.unwrap();
                    assert!(page.tasks.len() <= limit as usize);
                    assert!(page.searched_back_to_ms.is_none() || page.next.is_some());
                    found.extend(world.numbers(&page));
                    pages += 1;
                    assert!(pages <= 20, "{text} does not end");
                    let Some(next) = page.next else { break };
                    after = Some(next.to_string().parse::<Cursor>().unwrap());
                }
                assert_eq!(found, whole, "{text}, {limit} a page, {budget:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_spent_budget_says_how_far_it_went() {
    let world = World::new().await;
    let pool = &world.fixture.pool;
    let page = search_tasks_within(pool, &filter("ctx.order.id:0"), None, 10, rows(3)).await.unwrap();
    assert_eq!((page.tasks.len(), page.next), (0, Some(Cursor::after(world.tasks[5]))));
    let created_ms = i64::try_from(world.tasks[5].0.as_u128() >> 80).unwrap();
    assert_eq!(page.searched_back_to_ms, Some(created_ms));
    let page = search_tasks_within(pool, &filter("ctx.order.id:0"), page.next, 10, rows(6)).await.unwrap();
    assert_eq!((world.numbers(&page), page.next, page.searched_back_to_ms), (vec![0], None, None));
    // A full page has not stopped for the budget.
    let page = search_tasks_within(pool, &filter("tag:even"), None, 1, rows(4)).await.unwrap();
    assert_eq!((world.numbers(&page), page.searched_back_to_ms), (vec![6], None));
}

#[tokio::test]
async fn counts_have_a_cap() {
    let world = World::new().await;
    let pool = &world.fixture.pool;
    let count = |tasks, is_capped| Count { tasks, is_capped };
    assert_eq!(count_tasks(pool, &Filter::default()).await.unwrap(), count(8, false));
    assert_eq!(count_tasks(pool, &filter("state:error,cancelled")).await.unwrap(), count(2, false));
    assert_eq!(count_tasks_within(pool, &filter("tag:even"), 3, rows(1_000)).await.unwrap(), count(3, true));
    assert_eq!(count_tasks_within(pool, &filter("tag:even"), 4, rows(1_000)).await.unwrap(), count(4, false));
    assert_eq!(count_tasks_within(pool, &filter("tag:even"), 4, rows(3)).await.unwrap(), count(1, true));
}

#[tokio::test]
async fn a_list_that_takes_too_long_is_given_up() {
    let world = World::new().await;
    // A lock is as slow as anything.
    let mut blocker = world.fixture.session().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE tasker.tasks IN ACCESS EXCLUSIVE MODE").execute(&mut blocker).await.unwrap();
    let error = search_tasks(&world.fixture.pool, &Filter::default(), None, 10).await.unwrap_err();
    assert!(matches!(error, Error::TooSlow { .. }), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut blocker).await.unwrap();
    assert_eq!(search_tasks(&world.fixture.pool, &Filter::default(), None, 10).await.unwrap().tasks.len(), 8);
}
