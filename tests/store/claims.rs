//! Taking and giving up a lane.

use std::time::Duration;

use tasker_core::store::{Error, MIGRATOR, claim, ensure_partitions, migrate};

use crate::fixture::{Fixture, LEASE, broker, database};

#[tokio::test]
async fn a_lane_that_is_owned_and_alive_is_held() {
    let database = database().await;
    let owner = broker();
    let _writer = claim(&database.url, &owner, 1, LEASE).await.unwrap();
    let Err(Error::Held { lane: 1, owner: found, remaining_ms }) = claim(&database.url, &broker(), 1, LEASE).await
    else {
        panic!("the lane was given away")
    };
    assert_eq!(found, owner.id);
    assert!((1..=30_000).contains(&remaining_ms), "{remaining_ms}");
    // Another lane is another matter.
    assert_eq!(claim(&database.url, &broker(), 2, LEASE).await.unwrap().epoch(), 1);
}

#[tokio::test]
async fn the_lane_of_a_dead_owner_is_free_at_once() {
    let fixture = Fixture::new().await;
    fixture.kill_writer().await;
    let writer = claim(&fixture.database.url, &broker(), 1, LEASE).await.unwrap();
    assert_eq!((writer.epoch(), writer.seq()), (2, 1));
    assert_eq!(fixture.text("SELECT count(*) FROM tasker.brokers WHERE ended_at IS NULL").await, "1");
}

#[tokio::test]
async fn an_expired_lease_is_free_and_a_renewed_one_is_not() {
    let mut fixture = Fixture::new().await;
    fixture.execute("UPDATE tasker.lanes SET expires_at = now() - interval '1 s'").await;
    fixture.writer.renew().await.unwrap();
    assert!(matches!(claim(&fixture.database.url, &broker(), 1, LEASE).await, Err(Error::Held { .. })));
    fixture.execute("UPDATE tasker.lanes SET expires_at = now() - interval '1 s'").await;
    assert_eq!(claim(&fixture.database.url, &broker(), 1, LEASE).await.unwrap().epoch(), 2);
}

#[tokio::test]
async fn a_released_lane_is_free() {
    let fixture = Fixture::new().await;
    fixture.writer.release().await.unwrap();
    let writer = claim(&fixture.database.url, &broker(), 1, Duration::from_secs(5)).await.unwrap();
    assert_eq!((writer.lane(), writer.epoch(), writer.seq()), (1, 2, 1));
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let database = database().await;
    let newest = MIGRATOR.iter().map(|migration| migration.version).max().unwrap();
    let first = migrate(&database.url).await.unwrap();
    assert_eq!((first.applied, first.version, first.partitions), (0, newest, 27));
    let second = migrate(&database.url).await.unwrap();
    assert_eq!((second.applied, second.version, second.partitions), (0, newest, 0));
}

#[tokio::test]
async fn rows_in_a_default_partition_move_to_the_partition_of_their_month() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    fixture
        .execute(
            "DO $$ DECLARE month text := to_char(now() AT TIME ZONE 'UTC', '\"_y\"YYYY\"m\"MM'); BEGIN
                 EXECUTE format('ALTER TABLE tasker.tasks DETACH PARTITION tasker.%I', 'tasks' || month);
                 EXECUTE format('INSERT INTO tasker.tasks SELECT * FROM tasker.%I', 'tasks' || month);
                 EXECUTE format('DROP TABLE tasker.%I', 'tasks' || month);
             END $$",
        )
        .await;
    assert_eq!(fixture.count("tasks_default").await, 1);
    assert_eq!(ensure_partitions(&mut fixture.session().await).await.unwrap(), 1);
    assert_eq!((fixture.count("tasks_default").await, fixture.count("tasks").await), (0, 1));
    let sql = format!("SELECT count(*) FROM tasker.step_status WHERE task_id = '{task}' AND state = 'pending'");
    assert_eq!(fixture.text(&sql).await, "4");
}

#[tokio::test]
async fn a_broker_of_the_release_before_may_go_on_inserting_steps() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let insert = format!(
        "WITH inserted AS (INSERT INTO tasker.steps (task_id, step_number, retry_limit, name) VALUES ('{task}', 0, 3, 'start'))
         SELECT 1"
    );
    fixture.execute(&insert).await;
    assert_eq!(fixture.count("steps").await, 4);
}
