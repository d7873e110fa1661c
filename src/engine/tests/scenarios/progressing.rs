//! What running steps say about how far they are.

use tasker_engine::*;

use crate::script::{Stage, check, check_with};

#[test]
fn the_latest_stands_as_long_as_the_attempt_is_open() {
    check(
        "template t: a b
        submit T t
        w registers slots=2
        -> w runs B1: T.a/1 T.b/1
        w says T.a 10
        -> T.a/1 is at 10
        w says T.a 20 + w says T.b 1
        -> T.a/1 is at 20
        -> T.b/1 is at 1
        show T
        -> T is in_progress: a=in_progress@20 b=in_progress@1
        w done T.a
        show T
        -> T is in_progress: a=complete b=in_progress@1
        w says T.a 30
        show T
        -> T is in_progress: a=complete b=in_progress@1",
    );
}

#[test]
fn another_attempt_begins_with_nothing_said() {
    check(
        "template t: a
        submit T t
        w registers
        -> w runs B1: T.a/1
        w says T.a 90
        -> T.a/1 is at 90
        w fails T.a after=0
        -> T.a/1 failed, again in 0
        -> w runs B2: T.a/2
        show T
        -> T is in_progress: a=in_progress
        w says T.a/1@B1 95
        show T
        -> T is in_progress: a=in_progress
        w says T.a/2 5
        -> T.a/2 is at 5
        show T
        -> T is in_progress: a=in_progress@5",
    );
}

#[test]
fn who_has_not_the_step_is_not_heard_and_not_answered() {
    check(
        "template t: a[timeout=1000]
        submit T t
        w registers
        -> w runs B1: T.a/1
        v registers
        v says T.a/1@B1 50
        v says T.a/1 50
        v leaves
        -> v is unregistered
        -> v may go, 0 steps given up
        v says T.a/1@B1 50
        show T
        -> T is in_progress: a=in_progress",
    );
}

#[test]
fn what_was_said_stays_when_the_worker_connects_again_and_when_a_group_is_refused() {
    check(
        "template t: a
        submit T t
        w registers
        -> w runs B1: T.a/1
        w says T.a 50
        -> T.a/1 is at 50
        w reconnects
        -> w is reconnected
        show T
        -> T is in_progress: a=in_progress@50
        refused: v registers
        show T
        -> T is in_progress: a=in_progress@50
        crash
        show T
        -> T is in_progress: a=in_progress",
    );
}

#[test]
fn it_is_a_sign_of_life() {
    let config = Config { heartbeat_ms: 1_000, worker_timeout_ms: 5_000, ..Config::default() };
    check_with(
        config,
        "template t: a
        submit T t
        w registers
        -> w runs B1: T.a/1
        pass 2900
        w says T.a 1
        -> T.a/1 is at 1
        pass 2900
        w says T.a 2
        -> T.a/1 is at 2
        pass 2900
        w says T.a 3
        -> T.a/1 is at 3
        show T
        -> T is in_progress: a=in_progress@3
        pass 5100
        -> T.a/1 worker_lost, again in 0
        -> B1 closes failed
        -> w is lost
        -> w must register",
    );
}

#[test]
fn a_question_for_results_takes_along_what_the_store_does_not_know() {
    let mut stage = Stage::new(Config::default());
    for line in ["template t: a b", "submit T t", "w registers slots=2", "w says T.b 7"] {
        stage.act(line);
    }
    let query = StatusQuery { task: stage.task("T"), include_steps: true, include_results: vec!["*".to_owned()] };
    let origin = stage.world.origin(PeerId(1));
    stage.world.handle(Event::StatusAsked { origin, query });
    stage.world.commit();
    let Some(Read::Status { progress, .. }) = stage.world.reads.pop() else { panic!("the store was not asked") };
    assert_eq!(progress, [StepProgress { step: 1, attempt: 1, progress: "7".into() }]);
}
