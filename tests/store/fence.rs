//! Who has lost the lane writes nothing, and a commit with an unknown outcome is neither lost nor done twice.

use bytes::Bytes;
use sqlx::{Connection, Row};
use tasker_core::store::{Error, Group, claim};
use tasker_engine::*;

use crate::fixture::{Fixture, LEASE, broker};

#[tokio::test]
async fn an_owner_that_was_superseded_writes_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.execute("UPDATE tasker.lanes SET expires_at = now() - interval '1 s'").await;
    let other = claim(&fixture.database.url, &broker(), 1, LEASE).await.unwrap();
    assert_eq!(other.epoch(), fixture.writer.epoch() + 1);
    let before = fixture.text("SELECT seq, epoch FROM tasker.lanes").await;
    let task = fixture.task();
    let saves = [Save::Task(Box::new(task))];
    assert!(matches!(fixture.try_commit(&saves).await, Err(Error::LostLease { lane: 1, epoch: 1 })));
    // With a template the group is a transaction: that leaves nothing either.
    let saves = [Save::Template(crate::fixture::source(&crate::fixture::diamond("2.0.0"), 2))];
    assert!(matches!(fixture.try_commit(&saves).await, Err(Error::LostLease { .. })));
    assert!(matches!(fixture.writer.renew().await, Err(Error::LostLease { .. })));
    assert_eq!(fixture.text("SELECT seq, epoch FROM tasker.lanes").await, before);
    assert_eq!((fixture.count("tasks").await, fixture.count("steps").await), (0, 0));
    assert_eq!((fixture.count("group_log").await, fixture.count("task_templates").await), (1, 1));
}

#[tokio::test]
async fn a_takeover_that_commits_while_a_group_waits_for_the_lane_fences_that_group() {
    let mut fixture = Fixture::new().await;
    let mut thief = fixture.session().await;
    let mut transaction = thief.begin().await.unwrap();
    sqlx::query("UPDATE tasker.lanes SET epoch = epoch + 1").execute(&mut *transaction).await.unwrap();
    let saves = [Save::Task(Box::new(fixture.task()))];
    let watcher = fixture.pool.clone();
    let group = Group { saves: &saves, oldest_open_batch: None };
    let takeover = async {
        // The group has taken its snapshot, with the old epoch, and waits for the lane's row.
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'WITH fence%'";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&watcher).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        transaction.commit().await.unwrap();
    };
    let (committed, ()) = tokio::join!(fixture.writer.commit(&group), takeover);
    assert!(matches!(committed, Err(Error::LostLease { .. })), "{committed:?}");
    assert_eq!((fixture.count("tasks").await, fixture.count("steps").await), (0, 0));
}

#[tokio::test]
async fn a_group_that_was_cut_before_it_committed_is_written_once_by_resume() {
    let mut fixture = Fixture::new().await;
    fixture.kill_writer().await;
    let saves = [Save::Task(Box::new(fixture.task())), Save::Template(crate::fixture::source(&fixture.template, 1))];
    let group = Group { saves: &saves, oldest_open_batch: None };
    assert!(matches!(fixture.writer.commit(&group).await, Err(Error::Unavailable { .. })));
    // There is nothing to write with until somebody resumes.
    assert!(matches!(fixture.writer.commit(&group).await, Err(Error::Unavailable { .. })));
    assert_eq!(fixture.count("tasks").await, 0);
    let committed = fixture.writer.resume(&group).await.unwrap();
    assert_eq!((committed.seq, committed.rows), (2, 1));
    assert_eq!(fixture.count("tasks").await, 1);
    // The lane names the new session, so that its end is noticed as well.
    fixture.kill_writer().await;
}

#[tokio::test]
async fn a_group_whose_answer_was_lost_is_found_committed_by_resume() {
    let mut fixture = Fixture::new().await;
    // The answer is lost on purpose: the call is cancelled while it waits for a lock, then the lock is released.
    let mut blocker = fixture.session().await;
    let mut transaction = blocker.begin().await.unwrap();
    sqlx::query("SELECT FROM tasker.lanes FOR UPDATE").fetch_all(&mut *transaction).await.unwrap();
    let saves = [Save::Task(Box::new(fixture.task()))];
    let group = Group { saves: &saves, oldest_open_batch: None };
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'WITH fence%'";
    let watcher = fixture.pool.clone();
    tokio::select! {
        committed = fixture.writer.commit(&group) => panic!("committed through a lock: {committed:?}"),
        () = async {
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&watcher).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    transaction.commit().await.unwrap();
    let committed = fixture.writer.resume(&group).await.unwrap();
    assert_eq!((committed.seq, committed.rows), (2, 1));
    assert_eq!((fixture.count("tasks").await, fixture.count("group_log").await), (1, 2));
    // And the next one follows it.
    let saves = [Save::Task(Box::new(fixture.task()))];
    assert_eq!(fixture.commit(&saves).await.seq, 3);
}

#[tokio::test]
async fn a_group_that_arrives_on_an_earlier_session_of_the_owner_writes_nothing() {
    let mut fixture = Fixture::new().await;
    let mut later = fixture.session().await;
    sqlx::query("UPDATE tasker.lanes SET backend_pid = pg_backend_pid()").execute(&mut later).await.unwrap();
    let saves = [Save::Task(Box::new(fixture.task()))];
    assert!(matches!(fixture.try_commit(&saves).await, Err(Error::LostLease { .. })));
    assert_eq!((fixture.count("tasks").await, fixture.count("steps").await), (0, 0));
}

#[tokio::test]
async fn resuming_after_a_takeover_says_that_the_lease_is_lost() {
    let mut fixture = Fixture::new().await;
    fixture.kill_writer().await;
    let saves = [Save::Task(Box::new(fixture.task()))];
    let group = Group { saves: &saves, oldest_open_batch: None };
    assert!(matches!(fixture.writer.commit(&group).await, Err(Error::Unavailable { .. })));
    claim(&fixture.database.url, &broker(), 1, LEASE).await.unwrap();
    assert!(matches!(fixture.writer.resume(&group).await, Err(Error::LostLease { .. })));
    assert_eq!(fixture.count("tasks").await, 0);
}

#[tokio::test]
async fn a_refused_row_leaves_nothing_of_its_group() {
    let mut fixture = Fixture::new().await;
    let (good, mut bad) = (fixture.task(), fixture.task());
    bad.context = Bytes::from_static(b"{");
    let id = good.id;
    let saves = [Save::Task(Box::new(good)), Save::Task(Box::new(bad))];
    let Err(Error::Refused { sqlstate, .. }) = fixture.try_commit(&saves).await else { panic!("not refused") };
    assert_eq!(sqlstate, "22P02");
    assert_eq!(
        (fixture.count("tasks").await, fixture.count("steps").await, fixture.count("group_log").await),
        (0, 0, 1)
    );
    // The writer goes on, with the next seq: the refused group left no gap.
    assert_eq!(fixture.commit(&saves[..1]).await.seq, 2);
    // A second outcome of a step is refused by the key.
    let batch = fixture.dispatch(id, 0, 1).await;
    let first = fixture.settled(id, 0, 1, batch, "1");
    fixture.commit(&[first]).await;
    let second = [fixture.settled(id, 0, 1, batch, "2")];
    let Err(Error::Refused { sqlstate, constraint, .. }) = fixture.try_commit(&second).await else {
        panic!("accepted")
    };
    assert_eq!(sqlstate, "23505");
    assert!(constraint.unwrap().contains("pkey"));
}

#[tokio::test]
async fn a_failure_at_the_very_commit_is_not_taken_for_success() {
    let mut fixture = Fixture::new().await;
    fixture
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'at commit' USING ERRCODE = '23514'; END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON tasker.idempotency_keys
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    let mut task = fixture.task();
    task.idempotency_key = Some("k".into());
    let saves = [Save::Task(Box::new(task))];
    assert!(matches!(fixture.try_commit(&saves).await, Err(Error::Refused { .. })));
    let saves = [saves[0].clone(), Save::Template(crate::fixture::source(&crate::fixture::diamond("2.0.0"), 2))];
    assert!(matches!(fixture.try_commit(&saves).await, Err(Error::Refused { .. })));
    assert_eq!(fixture.count("tasks").await, 0);
    let saves = [Save::Task(Box::new(fixture.task()))];
    assert_eq!(fixture.commit(&saves).await.seq, 2);
}

#[tokio::test]
async fn the_log_declares_as_many_rows_as_carry_its_seq() {
    let mut fixture = Fixture::new().await;
    let task = fixture.stored_task().await;
    let batch = fixture.dispatch(task, 0, 1).await;
    let done = fixture.settled(task, 0, 1, batch, "1");
    let closed = Save::BatchClosed { batch, state: BatchState::Completed, differences: vec![] };
    fixture.commit(&[done, closed]).await;
    let rows = fixture
        .rows(
            "SELECT log.seq, log.row_count, (SELECT count(*) FROM (
                 SELECT created_seq AS seq FROM tasker.tasks UNION ALL SELECT seq FROM tasker.step_outcomes
                 UNION ALL SELECT seq FROM tasker.batches UNION ALL SELECT seq FROM tasker.batch_closings
                 UNION ALL SELECT seq FROM tasker.worker_registrations
             ) AS written WHERE written.seq = log.seq)::integer AS found
             FROM tasker.group_log AS log ORDER BY seq",
        )
        .await;
    let pairs: Vec<(i64, i32, i32)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(pairs, [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 2, 2)]);
}
