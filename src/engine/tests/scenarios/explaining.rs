//! Why a step does not run.

use tasker_engine::{Event, ExplanationQuery, Origin, PeerId, Reply};
use uuid::Uuid;

use crate::script::{Stage, check};

#[test]
fn what_a_step_waits_for_is_told_down_to_what_holds_it_up() {
    check(
        "
        template t: a b(a) c(b) d(a) e(c,d)
        submit T t
        w registers 1 slots=1
        -> w runs B1: T.a/1
        pass 100
        why T
        -> T.a running by w since 100 in 599900
        -> T.b dependencies for a=in_progress above a=in_progress
        -> T.c dependencies for b=pending above a=in_progress
        -> T.d dependencies for a=in_progress above a=in_progress
        -> T.e dependencies for c=pending d=pending above a=in_progress
        w done T.a
        -> w runs B2: T.b/1
        why T.a
        -> T.a settled
        why T.d
        -> T.d no_credit
        why T.x
        -> client is refused: unknown_step
        ",
    );
}

#[test]
fn a_step_below_a_failed_one_says_so() {
    check(
        "
        template t: a[once] b(a) c(b) d
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.d/1
        w fails T.a permanent
        -> T.a/1 failed for good
        why T
        -> T.a failed
        -> T.b failed_dependency for a=error above a=error
        -> T.c failed_dependency for b=pending above a=error
        -> T.d running by w since 0 in 600000
        -> the store adds the last errors
        w done T.d
        -> T ends error
        why T
        -> the store explains T
        ",
    );
}

#[test]
fn a_ready_step_says_what_keeps_it() {
    check(
        "
        template t: a
        submit T t
        why T.a
        -> T.a no_worker
        why T.a away
        -> T.a postgres_away
        v registers 1 serves=other/*
        why T.a
        -> T.a no_worker
        pause shop
        -> shop was active and is paused
        w registers 1
        why T.a
        -> T.a namespace_paused
        resume shop + submit U t
        -> shop was paused and is active
        -> w runs B1: T.a/1
        why U.a
        -> U.a no_credit
        submit L t in=5000
        why L.a
        -> L.a run_at in 5000
        w fails T.a after=9
        -> T.a/1 failed, again in 9000
        -> w runs B2: U.a/1
        why T.a
        -> T.a retry_wait in 9000
        -> the store adds the last errors
        cancel L
        -> L ends cancelled
        -> L cancelled: 0 stopped, 1 never started
        why L.a
        -> the store explains L
        drain
        submit V t
        why V.a
        -> V.a broker_draining
        ",
    );
}

#[test]
fn after_a_restart_workers_are_awaited() {
    check(
        "
        template t: a b
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        crash
        pass 1000
        why T
        -> T.a worker_awaited by w since 1000 in 14000
        -> T.b worker_awaited in 14000
        w reconnects
        -> w is reconnected
        why T
        -> T.a running by w since 1000 in 599000
        -> T.b no_credit
        ",
    );
}

#[test]
fn what_has_no_room_is_counted() {
    let mut stage = Stage::new(tasker_engine::Config::default());
    stage.world.compare = false;
    let wide: Vec<String> = (0..1_500).map(|number| format!("s{number}")).collect();
    stage.act(&format!("template t: {} join({})", wide.join(" "), wide.join(",")));
    stage.act("submit T t");
    let mut ask = |step: Option<&str>| {
        let query = ExplanationQuery { task: stage.task("T"), step: step.map(str::to_owned), store_away: false };
        let origin = Origin { peer: PeerId(1), correlation: Uuid::nil() };
        stage.world.handle(Event::ExplanationAsked { origin, query });
        let released = stage.world.commit();
        released.deliveries.into_iter().find_map(|delivery| match delivery {
            tasker_engine::Deliver::Reply { reply: Reply::Explained(explanation), .. } => Some(explanation),
            _ => None,
        })
    };
    let all = ask(None).expect("explained");
    assert_eq!((all.steps.len(), all.steps_left_off, all.namespace_ready), (1_000, 501, 1_500));
    let join = &ask(Some("join")).expect("explained").steps[0];
    assert_eq!((join.waits_for.len(), join.waits_for_left_off, join.held_up_by.len()), (20, 1_480, 20));
}
