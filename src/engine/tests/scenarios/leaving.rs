//! Workers come back, fall silent, are replaced, drain and go.

use tasker_engine::Config;

use crate::script::{check, check_with};

#[test]
fn a_lost_worker_uses_an_attempt_and_others_get_its_steps() {
    check(
        "
        template t: a b[limit=1]
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        pass 20000
        v registers 2
        pass 9999
        pass 1
        -> T.a/1 worker_lost, again in 0
        -> T.b/1 worker_lost for good
        -> B1 closes failed
        -> w is lost
        -> w must register
        -> v runs B2: T.a/2
        v done T.a
        -> T ends error
        w done T.a/1
        -> w must register
        ",
    );
}

#[test]
fn nothing_goes_to_a_worker_that_missed_three_heartbeats_until_it_is_heard_again() {
    check(
        "
        template t: a
        w registers 2
        pass 15000
        submit T t
        w beats
        -> w runs B1: T.a/1
        pass 15000
        submit U t
        w done T.a
        -> T ends complete
        -> w runs B2: U.a/1
        ",
    );
}

#[test]
fn nobody_is_lost_or_late_because_the_broker_stood_still() {
    check(
        "
        template t: a[timeout=20000,limit=1] b[limit=1]
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        pass 10000
        stall 100000
        w beats
        pass 9999
        w beats
        w done T.b
        pass 1
        -> T.a/1 timed_out for good
        -> T ends error
        -> w stops T.a/1: timeout
        pass 29998
        pass 1
        -> B1 closes failed
        -> w is lost
        -> w must register
        ",
    );
}

#[test]
fn a_step_that_loses_too_many_workers_is_poison() {
    check(
        "
        template t: a[limit=10] b(a)
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w restarts
        -> T.a/1 worker_lost, again in 0
        -> B1 closes failed
        -> w is superseded
        -> w runs B2: T.a/2
        w fails T.a after=0
        -> T.a/2 failed, again in 0
        -> w runs B3: T.a/3
        w restarts
        -> B2 closes failed
        -> T.a/3 worker_lost, again in 0
        -> B3 closes failed
        -> w is superseded
        -> w runs B4: T.a/4
        w restarts
        -> T.a/4 worker_lost poison for good
        -> T ends error
        -> B4 closes failed
        -> w is superseded
        retry T
        -> T runs again
        -> T reset: a
        -> w runs B5: T.a/5
        w restarts
        -> T.a/5 worker_lost, again in 0
        -> B5 closes failed
        -> w is superseded
        -> w runs B6: T.a/6
        ",
    );
}

#[test]
fn another_worker_on_a_connection_takes_the_place_of_the_first() {
    check(
        "
        template t: a
        w registers 1 on=500
        submit T t
        -> w runs B1: T.a/1
        v registers 1 on=500
        -> T.a/1 worker_lost, again in 0
        -> B1 closes failed
        -> w is superseded
        -> v runs B2: T.a/2
        ",
    );
}

#[test]
fn the_same_process_keeps_the_batches_that_it_lists() {
    check(
        "
        template t: a b c
        w registers 3
        submit T t
        -> w runs B1: T.a/1 T.b/1 T.c/1
        w done T.a
        w reconnects
        -> w is reconnected
        w beats
        w done T.b T.c
        -> T ends complete
        w closes B1
        -> B1 closes completed
        -> w forgets B1
        ",
    );
}

#[test]
fn the_same_process_gives_back_unrun_what_never_reached_it() {
    check(
        "
        template t: a[limit=1] b[limit=1]
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w done T.a
        -> w runs B2: T.b/1
        w reconnects open=B1
        -> T.b/1 comes back
        -> B2 closes completed
        -> w is reconnected
        w beats
        -> w runs B3: T.b/1
        w done T.b/1@B2
        -> ledger: T.b/1 late
        -> w hears: T.b/1 late
        w done T.b/1@B3
        -> T ends complete
        w closes B1
        -> B1 closes completed
        -> w forgets B1
        ",
    );
}

#[test]
fn results_that_were_not_acknowledged_come_with_the_registration() {
    check(
        "
        template t: a b(a) c
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.c/1
        w done T.c
        w reconnects unsent=T.a,T.c
        -> w is reconnected
        -> ledger: T.c/1 duplicate
        -> w hears: T.c/1 duplicate
        -> w runs B2: T.b/1
        ",
    );
}

#[test]
fn a_process_that_was_given_up_hears_that_its_batches_are_closed() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        pass 30000
        -> T.a/1 worker_lost, again in 0
        -> B1 closes failed
        -> w is lost
        -> w must register
        w reconnects unsent=T.a
        -> ledger: T.a/1 late
        -> w forgets B1
        -> w hears: T.a/1 late
        -> w runs B2: T.a/2
        ",
    );
}

#[test]
fn a_worker_that_cannot_be_reached_gets_nothing_until_it_registers_again() {
    check(
        "
        template t: a b(a)
        w registers 2
        submit T t
        -> w runs B1: T.a/1
        w unreachable
        w done T.a
        w beats
        -> w must register
        w reconnects
        -> w is reconnected
        -> w runs B2: T.b/1
        w beats
        ",
    );
}

#[test]
fn a_worker_that_does_not_know_its_batch_must_register() {
    check(
        "
        template t: a b
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        pass 10000
        w beats 0
        pass 1
        w beats 1
        -> w must register
        w beats 2
        w done T.a
        w beats 1
        w reconnects open=none
        -> T.b/1 comes back
        -> B1 closes completed
        -> w is reconnected
        w beats
        -> w runs B2: T.b/1
        ",
    );
}

#[test]
fn a_stranger_must_register() {
    check(
        "
        template t: a
        w registers 1
        w leaves
        -> w is unregistered
        -> w may go, 0 steps given up
        w beats
        -> w must register
        w done T.a/1@B1
        -> w must register
        w closes B1
        -> w must register
        w returns T.a/1@B1
        -> w must register
        w drains
        -> w is refused: unknown_worker
        w unreachable
        ",
    );
}

#[test]
fn an_idle_worker_drains_at_once() {
    check(
        "
        w registers 2
        w drains
        -> w is drained
        -> w may go, 0 steps given up
        ",
    );
}

#[test]
fn a_worker_that_leaves_at_once_gives_back_what_it_has_and_uses_no_attempt() {
    check(
        "
        template t: a[limit=1] b[limit=1] c[limit=1]
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w done T.b
        -> w runs B2: T.c/1
        w leaves
        -> T.a/1 comes back
        -> B1 closes completed
        -> T.c/1 comes back
        -> B2 closes completed
        -> w is unregistered
        -> w may go, 2 steps given up
        v registers 2
        -> v runs B3: T.a/1 T.c/1
        v done T.a T.c
        -> T ends complete
        ",
    );
}

#[test]
fn a_worker_that_leaves_at_once_counts_only_what_was_still_its_own() {
    check(
        "
        template t: a[timeout=1000,limit=1] b
        w registers 4
        submit T t + submit U t
        -> w runs B1: T.a/1 T.b/1 U.a/1 U.b/1
        w done T.b
        pass 1000
        -> T.a/1 timed_out for good
        -> T ends error
        -> U.a/1 timed_out for good
        -> w stops T.a/1 U.a/1: timeout
        w closes B1 U.b=complete
        -> w sends again: U.b/1
        w leaves
        -> U.b/1 comes back
        -> B1 closes timeout
        -> B1 differs: U.b/1 is complete and was returned
        -> w is unregistered
        -> w may go, 1 steps given up
        v registers 4
        -> v runs B2: U.b/1
        ",
    );
}

#[test]
fn what_a_worker_still_reports_after_it_left_is_a_strangers() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        v registers 1
        w leaves
        -> T.a/1 comes back
        -> B1 closes completed
        -> w is unregistered
        -> w may go, 1 steps given up
        -> v runs B2: T.a/1
        w done T.a
        -> w must register
        v done T.a
        -> T ends complete
        ",
    );
}

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
fn a_worker_that_falls_silent_again_is_suspected_as_fast_as_before() {
    check_with(
        Config { heartbeat_ms: 1_000, worker_timeout_ms: 30_000, ..Config::default() },
        "
        template t: a
        w registers 2
        pass 3000
        w beats
        pass 3000
        submit T t
        v registers 1
        -> v runs B1: T.a/1
        ",
    );
}

#[test]
fn a_draining_worker_finishes_what_it_has_and_gets_no_more() {
    check(
        "
        template t: a b(a)
        w registers 2
        submit T t
        -> w runs B1: T.a/1
        w drains
        w beats
        w done T.a
        submit U t
        w closes B1
        -> B1 closes completed
        -> w is drained
        -> w forgets B1
        -> w may go, 0 steps given up
        v registers 2
        -> v runs B2: T.b/1 U.a/1
        ",
    );
}

#[test]
fn a_drained_worker_hears_of_its_last_results_before_it_may_go() {
    check(
        "
        template t: a b
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w drains
        w done T.a
        w closes B1
        -> w sends again: T.b/1
        w done T.b
        -> T ends complete
        -> B1 closes completed
        -> w is drained
        -> w forgets B1
        -> w may go, 0 steps given up
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
fn a_worker_that_comes_back_is_told_again_what_to_stop() {
    check(
        "
        template t: a[timeout=1000] b
        w registers 3
        submit T t + submit U t
        -> w runs B1: T.a/1 T.b/1 U.a/1
        lost: pass 1000
        w reconnects
        -> w is reconnected
        pass 1000
        -> T.a/1 timed_out, again in 2
        -> U.a/1 timed_out, again in 2
        -> w stops T.a/1 U.a/1: timeout
        cancel T
        -> T ends cancelled
        -> w stops T.b/1: cancelled
        -> T cancelled: 1 stopped, 1 never started
        w reconnects
        -> w is reconnected
        -> w stops T.b/1: cancelled
        -> w stops T.a/1 U.a/1: timeout
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
fn a_batch_that_never_arrived_is_missed_even_when_its_steps_have_timed_out() {
    check(
        "
        template t: a[timeout=1000]
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        pass 1000
        -> T.a/1 timed_out, again in 2
        -> w stops T.a/1: timeout
        pass 10000
        w beats 0
        pass 1
        w beats 1
        w beats 0
        -> w must register
        w reconnects open=none
        -> B1 closes timeout
        -> w is reconnected
        w beats
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

#[test]
fn a_workers_name_belongs_to_the_key_that_it_came_with() {
    check(
        "
        template t: a
        w registers 1 key=fleet
        submit T t
        -> w runs B1: T.a/1
        w restarts 1 key=thief
        -> w is refused: forbidden
        crash
        w restarts 1 key=thief
        -> w is refused: forbidden
        w restarts 1 key=fleet
        -> T.a/1 worker_lost, again in 0
        -> B1 closes failed
        -> w is superseded
        -> w runs B2: T.a/2
        w done T.a
        -> T ends complete
        w leaves
        -> B2 closes completed
        -> w is unregistered
        -> w may go, 0 steps given up
        w restarts 1 key=thief
        ",
    );
}

#[test]
fn a_draining_worker_whose_completion_is_lost_may_go_all_the_same() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w done T.a
        -> T ends complete
        w drains
        pass 14000
        w beats
        pass 14000
        w beats
        pass 2000
        -> B1 closes completed
        -> w is drained
        -> w may go, 0 steps given up
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
