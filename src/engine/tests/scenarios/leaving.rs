//! Workers fall silent, drain and go.

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
