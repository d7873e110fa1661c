//! Two brokers on one database: one has the lane, the other one waits.

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::fleet::SETTINGS;
use crate::plan::Plan;
use crate::scene::Scene;
use crate::support::PATIENCE;

/// Two brokers, the owner in the first seat; tasks whose steps run.
fn scene(name: &str) -> Scene {
    let mut scene = Scene::open(name, Plan { standby: true, ..Plan::calm() });
    assert_eq!(scene.fleet.owner(), Some(0));
    scene.until("the standby waits", |fleet| {
        fleet.brokers[1].process.as_ref().is_some_and(|process| process.said().contains("waiting as its standby"))
    });
    scene.submit(&["held"; 8]);
    let running = "SELECT sum(cardinality(task_ids))::bigint / 8 FROM tasker.batches";
    scene.until_some("the steps run", running);
    scene
}

/// Waits until the second broker has the lane, and says how long that took.
fn taken_over(scene: &mut Scene, what: &str) {
    let began = Instant::now();
    scene.fleet.until("the standby has taken over", |fleet| fleet.owner() == Some(1));
    let lease = SETTINGS.iter().find(|(name, _)| name.ends_with("LEASE_SECONDS")).expect("it is set").1;
    println!("{what}: the standby took over after {:.2} s; the lease is {lease} s", began.elapsed().as_secs_f64());
    scene.broker = 1;
}

/// The workers bring what they have to the new one, by themselves: nothing is done twice.
fn everything_finishes_there(mut scene: Scene) {
    scene.open_gate();
    scene.submit(&["chain"; 4]);
    let report = scene.close();
    assert!(report.same_attempt.is_empty() && report.further_attempts.is_empty(), "{report}");
}

#[test]
fn a_standby_takes_over_at_once_from_an_owner_that_was_killed() {
    let mut scene = scene("killed-owner");
    scene.fleet.brokers[0].kill(None);
    taken_over(&mut scene, "owner killed");
    everything_finishes_there(scene);
}

#[test]
fn a_standby_takes_over_when_the_lease_of_a_stopped_owner_ends() {
    let mut scene = scene("stopped-owner");
    scene.fleet.brokers[0].signal(Signal::SIGSTOP);
    taken_over(&mut scene, "owner stopped");
    let seq = "SELECT seq FROM tasker.lanes";
    scene.until_some("the new owner writes", "SELECT count(*) FROM tasker.group_log WHERE epoch = 2");
    // The old one wakes up and believes that it has the lane.
    scene.fleet.brokers[0].signal(Signal::SIGCONT);
    let mut old = scene.fleet.brokers[0].process.take().expect("it was stopped, no more");
    let status = old.ends_within(PATIENCE).expect("it has lost the lane");
    assert!(!status.success(), "{status}");
    assert!(old.said().contains("lane 1 was taken over: epoch 1 is no longer the owner's"), "{}", old.said());
    let stale = "SELECT count(*) FROM tasker.group_log AS log WHERE epoch = 1 AND EXISTS (
                     SELECT FROM tasker.group_log AS later WHERE later.epoch = 2 AND later.seq < log.seq)";
    assert_eq!(scene.fleet.database.number(stale), 0);
    assert!(scene.fleet.database.number(seq) > 0);
    everything_finishes_there(scene);
}

#[test]
fn a_standby_waits_through_a_restart_of_postgres() {
    let mut scene = scene("restarted-under-standby");
    let standby = scene.fleet.brokers[1].process.as_ref().expect("it waits").pid();
    scene.fleet.cluster.end(Signal::SIGQUIT);
    scene.until("the standby has noticed", |fleet| {
        fleet.brokers[1].process.as_ref().is_some_and(|process| process.said().contains("failed to look at the lease"))
    });
    scene.fleet.cluster.start_again();
    scene.fleet.until("somebody has the lane", |fleet| fleet.owner().is_some());
    scene.broker = scene.fleet.owner().expect("just now");
    let pid = scene.fleet.brokers[1].process.as_ref().map(|process| process.pid());
    assert_eq!(pid, Some(standby), "the standby is the same process still");
    everything_finishes_there(scene);
}
