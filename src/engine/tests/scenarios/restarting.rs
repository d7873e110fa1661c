//! What another engine finds and goes on with: after a restart, and after a group that the database has refused.

use crate::script::check;

#[test]
fn after_a_restart_a_worker_claims_its_batches() {
    check(
        "
        template t: a b c(a,b)
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w done T.a
        crash
        pass 14999
        w reconnects unsent=T.b
        -> w is reconnected
        -> w runs B2: T.c/1
        w closes B1
        -> B1 closes completed
        -> w forgets B1
        w done T.c
        -> T ends complete
        ",
    );
}

#[test]
fn after_a_restart_a_worker_that_stays_away_is_lost_after_the_grace_period() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        v registers 1
        crash
        v reconnects
        -> v is reconnected
        pass 14999
        v beats
        pass 1
        -> T.a/1 worker_lost, again in 0
        -> B1 closes failed
        -> w is lost
        -> v runs B2: T.a/2
        ",
    );
}

#[test]
fn after_two_restarts_a_claimed_batch_is_still_its_claimants() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        crash
        w reconnects
        -> w is reconnected
        crash
        w reconnects
        -> w is reconnected
        w done T.a
        -> T ends complete
        ",
    );
}

#[test]
fn a_lost_group_of_results_is_sent_again_after_the_restart() {
    check(
        "
        template t: a b(a)
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        lost: w done T.a
        w reconnects unsent=T.a
        -> w is reconnected
        -> w runs B2: T.b/1
        ",
    );
}

#[test]
fn a_lost_dispatch_is_decided_anew() {
    check(
        "
        template t: a
        w registers 1
        lost: submit T t
        w reconnects
        -> w is reconnected
        submit T t
        -> w runs B1: T.a/1
        ",
    );
}

#[test]
fn after_a_restart_steps_of_tasks_that_ended_are_no_disagreement() {
    check(
        "
        template t: a
        w registers 2
        submit T t + submit U t
        -> w runs B1: T.a/1 U.a/1
        w done T.a
        -> T ends complete
        crash
        w reconnects
        -> w is reconnected
        w done U.a
        -> U ends complete
        w closes B1
        -> B1 closes completed
        -> w forgets B1
        ",
    );
}

#[test]
fn after_a_restart_a_repeated_result_of_a_task_that_ended_is_a_duplicate() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w done T.a
        -> T ends complete
        crash
        w reconnects unsent=T.a
        -> w is reconnected
        -> ledger: T.a/1 duplicate
        -> w hears: T.a/1 duplicate
        ",
    );
}

#[test]
fn after_a_restart_a_cancelled_step_still_takes_its_slot() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        cancel T
        -> T ends cancelled
        -> w stops T.a/1: cancelled
        -> T cancelled: 1 stopped, 0 never started
        crash
        w reconnects
        -> w is reconnected
        -> w stops T.a/1: cancelled
        submit U t
        w closes B1 T.a=error
        -> B1 closes cancelled
        -> w forgets B1
        -> w runs B2: U.a/1
        ",
    );
}

#[test]
fn after_a_restart_a_step_that_timed_out_still_takes_its_slot() {
    check(
        "
        template t: a[timeout=1000]
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        pass 1000
        -> T.a/1 timed_out, again in 2
        -> w stops T.a/1: timeout
        crash
        w reconnects
        -> w is reconnected
        -> w stops T.a/1: timeout
        pass 2
        w done T.a
        -> ledger: T.a/1 late
        -> w hears: T.a/1 late
        -> w runs B2: T.a/2
        ",
    );
}

#[test]
fn workers_go_on_under_the_engine_that_takes_over_after_a_refused_group() {
    check(
        "
        template t: a b(a)
        w registers 2
        submit T t
        -> w runs B1: T.a/1
        refused: w beats
        w done T.a
        -> w runs B2: T.b/1
        submit U t
        -> w runs B3: U.a/1
        ",
    );
}

/// Found by the simulation: a peer whose every message the database refuses must not keep others' deadlines from passing.
#[test]
fn refused_groups_do_not_put_off_what_a_batch_waits_for() {
    check(
        "
        template t: a[timeout=1000]
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        pass 600
        refused: w beats 1
        pass 399
        refused: w beats 1
        pass 1
        -> T.a/1 timed_out, again in 2
        -> w stops T.a/1: timeout
        ",
    );
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        pass 6000
        refused: w beats 1
        pass 4001
        refused: w beats 1
        w beats 0
        -> w must register
        ",
    );
}

#[test]
fn after_a_restart_attempts_limits_losses_and_waits_are_as_before() {
    check(
        "
        template t: a[limit=3] b[limit=2] c d(c)
        w registers 4
        submit T t
        -> w runs B1: T.a/1 T.b/1 T.c/1
        w fails T.a after=5
        -> T.a/1 failed, again in 5000
        w fails T.b permanent
        -> T.b/1 failed for good
        w done T.c=8
        -> w runs B2: T.d/1
        retry T
        -> T reset: b
        -> w runs B3: T.b/2
        w restarts
        -> B1 closes failed
        -> T.d/1 worker_lost, again in 0
        -> B2 closes failed
        -> T.b/2 worker_lost, again in 0
        -> B3 closes failed
        -> w is superseded
        -> w runs B4: T.d/2 T.b/3
        w fails T.b
        -> T.b/3 failed for good
        pass 2000
        crash
        w reconnects
        -> w is reconnected
        show T
        -> T is in_progress: a=waiting_for_retry b=error c=complete d=in_progress
        pass 2999
        w done T.d
        pass 1
        -> w runs B5: T.a/2
        w restarts
        -> B4 closes failed
        -> T.a/2 worker_lost, again in 0
        -> B5 closes failed
        -> w is superseded
        -> w runs B6: T.a/3
        w fails T.a
        -> T.a/3 failed for good
        -> T ends error
        ",
    );
}

#[test]
fn after_a_restart_a_task_still_waits_for_its_time() {
    check(
        "
        template t: a
        w registers 1
        submit T t in=3000
        pass 1000
        crash
        w reconnects
        -> w is reconnected
        pass 1999
        pass 1
        -> w runs B1: T.a/1
        ",
    );
}
