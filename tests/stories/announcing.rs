//! Tasks that applications submit in their own transactions, announced and looked for.

use std::time::{Duration, Instant};

use tasker_core::client::Error;
use tasker_core::protocol::*;
use uuid::Uuid;

use crate::peers::Client as Peer;
use crate::support::{PATIENCE, Stage, task};

fn submit(stage: &Stage, name: &str, key: &str) {
    stage
        .database
        .execute(&format!("SELECT tasker.submit_task('stories', '{name}', '{{}}', idempotency_key => '{key}')"));
}

fn find(name: &str, key: &str) -> FindTask {
    FindTask {
        correlation_id: Uuid::nil(),
        namespace: "stories".to_owned(),
        name: name.to_owned(),
        idempotency_key: key.to_owned(),
    }
}

fn announce(stage: &mut Stage) {
    stage.command(AnnounceTasks { correlation_id: Uuid::nil() });
}

#[test]
fn a_row_that_is_announced_is_taken_long_before_the_next_look() {
    const ROWS: u32 = 20;
    let mut stage = Stage::open();
    stage.register("single");
    let began = Instant::now();
    for row in 0..ROWS {
        // The look that finds the inbox empty follows the commit of the row before, and the next one follows a second later.
        submit(&stage, "single", &format!("row-{row}"));
        announce(&mut stage);
        while stage.database.number("SELECT count(*) FROM tasker.task_inbox") > 0 {
            assert!(began.elapsed() < PATIENCE, "row {row} stays");
        }
    }
    let each = began.elapsed() / ROWS;
    println!("{} ms a row", each.as_millis());
    assert!(each < Duration::from_millis(500), "{} ms a row: as if nothing had been announced", each.as_millis());
    assert_eq!(stage.database.number("SELECT count(*) FROM tasker.tasks"), i64::from(ROWS));
}

#[test]
fn however_many_announcements_come_looks_do_not_pile_up() {
    const ANNOUNCEMENTS: usize = 5_000;
    const AT_ONCE: usize = 500;
    let looks = "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'task_inbox'";
    let began = Instant::now();
    let mut stage = Stage::open();
    let work = stage.work.clone();
    stage.database.run(async {
        let mut client = Peer::connect(&work).await;
        for _ in 0..ANNOUNCEMENTS / AT_ONCE {
            for _ in 0..AT_ONCE {
                client.send(AnnounceTasks { correlation_id: Uuid::new_v4() }).await;
            }
            for _ in 0..AT_ONCE {
                let reply = client.next().await;
                assert!(matches!(reply, Message::TasksAnnounced(_)), "{reply:?}");
            }
        }
    });
    stage.stop();
    let elapsed = began.elapsed();
    // Sessions report what they did when they end.
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while stage.database.number(sessions) > 0 {
        assert!(began.elapsed() < PATIENCE, "the broker's sessions do not end");
    }
    let looks = stage.database.number(looks);
    println!("{looks} looks in {} ms", elapsed.as_millis());
    let most = i64::try_from(elapsed.as_millis() / 10).expect("a short time") + 2;
    assert!((2..=most).contains(&looks), "{looks} looks, not 2 to {most}, for {ANNOUNCEMENTS} announcements");
}

#[test]
fn a_task_is_found_by_its_key_whichever_way_in_it_came() {
    let mut stage = Stage::open();
    stage.register("single");
    let key = Some("by-wire".to_owned());
    let task = stage.submit(TaskRequest { idempotency_key: key, ..task("single", "{}") });
    let found = stage.command(find("single", "by-wire"));
    assert_eq!((found.task_id, &*found.template), (task, "stories/single@1.0.0"));

    submit(&stage, "single", "by-row");
    announce(&mut stage);
    let found = stage.until("the row is a task", |stage| match stage.client.request(find("single", "by-row")) {
        Ok(found) => Some(found),
        Err(Error::Refused(refusal)) if refusal.code == ErrorCode::UnknownTask => None,
        Err(error) => panic!("{error}"),
    });
    let stored = stage.database.text("SELECT task_id::text FROM tasker.tasks WHERE idempotency_key = 'by-row'");
    assert_eq!(found.task_id.to_string(), stored);

    let refusal = stage.refusal(find("single", "another"));
    assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::UnknownTask, Some("idempotency_key")));
    let refusal = stage.refusal(find("another", "by-row"));
    assert_eq!(refusal.code, ErrorCode::UnknownTask, "a key belongs to its template");
    let refusal = stage.refusal(find("single", ""));
    assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::InvalidField, Some("idempotency_key")));
}

#[test]
fn whoever_looks_for_a_request_that_was_refused_hears_why() {
    let mut stage = Stage::open();
    submit(&stage, "nowhere", "lost");
    announce(&mut stage);
    let refusal = stage.until("the row is refused", |stage| {
        Some(stage.refusal(find("nowhere", "lost"))).filter(|refusal| refusal.code != ErrorCode::UnknownTask)
    });
    assert_eq!((refusal.code, refusal.retryable), (ErrorCode::Refused, false));
    assert!(refusal.message.contains("unknown_template: no template stories/nowhere"), "{}", refusal.message);
}
