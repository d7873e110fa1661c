//! What Postgres can do to a broker, one thing at a time.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tasker_core::protocol::{ErrorCode, HealthLevel};
use tempfile::TempDir;

use crate::plan::Plan;
use crate::scene::{Scene, eventually};

fn scene(name: &str) -> Scene {
    Scene::open(name, Plan::calm())
}

/// Nothing ran twice: whatever went wrong, no attempt was given up for it.
fn nothing_ran_twice(scene: Scene) {
    let report = scene.close();
    assert!(report.same_attempt.is_empty() && report.further_attempts.is_empty(), "{report}");
}

#[test]
fn a_postgres_that_is_away_for_ten_seconds_is_waited_for() {
    let mut scene = scene("away");
    scene.submit(&["held"; 12]);
    scene.until_some("a step runs", "SELECT count(*) FROM tasker.batches");
    let gone = Instant::now();
    scene.fleet.cluster.end(Signal::SIGQUIT);
    // These results are held by the workers.
    scene.open_gate();
    let health = eventually("the broker notices", || {
        Some(scene.health(HealthLevel::Basic)).filter(|health| health.postgres == "down")
    });
    assert_eq!(health.status, "degraded");
    let refusal = scene.refusal();
    assert_eq!((refusal.code, refusal.retryable), (ErrorCode::Unavailable, true));
    std::thread::sleep(Duration::from_secs(10).saturating_sub(gone.elapsed()));
    scene.fleet.cluster.start_again();
    eventually("the broker is well", || (scene.health(HealthLevel::Basic).status == "ok").then_some(()));
    scene.submit(&["chain"; 4]);
    nothing_ran_twice(scene);
}

#[test]
fn commits_whose_answer_is_lost_are_known_to_have_happened() {
    let mut scene = scene("answers");
    for _ in 0..5 {
        scene.fleet.postgres.cut_answers(3);
        scene.submit(&["chain", "wide", "diamond"]);
        scene.until("all three were cut", |fleet| fleet.postgres.has_cut());
    }
    nothing_ran_twice(scene);
}

#[test]
fn commits_that_never_arrived_are_made_again() {
    let mut scene = scene("requests");
    for _ in 0..5 {
        scene.fleet.postgres.cut_requests(3);
        scene.submit(&["chain", "wide", "diamond"]);
        scene.until("all three were cut", |fleet| fleet.postgres.has_cut());
    }
    nothing_ran_twice(scene);
}

#[test]
fn sessions_that_the_network_has_forgotten_are_given_up() {
    let mut scene = scene("stranded");
    scene.submit(&["held"; 4]);
    scene.until_some("a step runs", "SELECT count(*) FROM tasker.batches");
    // Neither end is told. What was sent is never answered, for as long as the kernel cares to repeat it.
    scene.fleet.postgres.strand();
    scene.open_gate();
    scene.submit(&["chain"; 4]);
    nothing_ran_twice(scene);
}

#[test]
fn slow_commits_only_take_their_time() {
    let mut scene = scene("slow");
    for setting in ["commit_delay = 100000", "commit_siblings = 0"] {
        scene.fleet.database.execute(&format!("ALTER SYSTEM SET {setting}"));
    }
    scene.fleet.database.execute("SELECT pg_reload_conf()");
    scene.submit(&["chain", "wide", "diamond", "tree"]);
    nothing_ran_twice(scene);
}

/// A small file system for tables, which only root can make.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(scene: &Scene) -> Option<SmallDisk> {
        let folder = TempDir::with_prefix("tasker-disk").expect("there is a temporary folder");
        let owner = scene.fleet.cluster.owner();
        let options = format!("size=16m,uid={owner},mode=0700");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &options, "tasker-test"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| SmallDisk(folder))
    }

    /// Leaves no room, and says what to remove.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = File::create(&path).expect("root may write there");
        while file.write_all(&[0; 4_096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_is_full_is_waited_for() {
    let mut scene = scene("disk");
    let Some(disk) = SmallDisk::mount(&scene) else { return a_trigger_that_says_so(scene) };
    let database = &scene.fleet.database;
    database.execute(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.0.path().display()));
    for table in database.texts(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
         WHERE schemaname = 'tasker' AND tablename LIKE 'step_outcomes%'",
    ) {
        database.execute(&format!("ALTER TABLE {table} SET TABLESPACE small"));
    }
    let filler = disk.fill();
    scene.submit(&["bulky"; 3]);
    eventually("the broker notices", || (scene.health(HealthLevel::Basic).postgres == "down").then_some(()));
    assert!(scene.fleet.cluster.log().contains("No space left on device"), "{}", scene.fleet.cluster.log());
    std::fs::remove_file(filler).expect("it is ours");
    scene.ended(3);
    nothing_ran_twice(scene);
    drop(disk);
}

fn a_trigger_that_says_so(mut scene: Scene) {
    let database = &scene.fleet.database;
    database.execute(
        "CREATE FUNCTION tasker.full() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$",
    );
    database.execute(
        "CREATE TRIGGER full_disk BEFORE INSERT ON tasker.step_outcomes FOR EACH ROW EXECUTE FUNCTION tasker.full()",
    );
    scene.submit(&["bulky"; 3]);
    eventually("the broker notices", || (scene.health(HealthLevel::Basic).postgres == "down").then_some(()));
    scene.fleet.database.execute("DROP TRIGGER full_disk ON tasker.step_outcomes");
    nothing_ran_twice(scene);
}
