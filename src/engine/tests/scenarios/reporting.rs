//! Results and completions: in order, late, twice, contradicting, missing.

use crate::script::check;

#[test]
fn a_step_is_tried_again_when_its_handler_asked_for_it() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w fails T.a after=2
        -> T.a/1 failed, again in 2000
        pass 1999
        pass 1
        -> w runs B2: T.a/2
        w fails T.a after=0
        -> T.a/2 failed, again in 0
        -> w runs B3: T.a/3
        w done T.a
        -> T ends complete
        ",
    );
}

#[test]
fn waits_between_attempts_grow_and_attempts_end_at_the_limit() {
    check(
        "
        template t: a b c(a)
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w fails T.a
        -> T.a/1 failed, again in 2
        pass 2
        -> w runs B2: T.a/2
        w fails T.a
        -> T.a/2 failed, again in 4
        pass 4
        -> w runs B3: T.a/3
        w fails T.a
        -> T.a/3 failed for good
        w done T.b
        -> T ends error
        ",
    );
}

#[test]
fn a_permanent_failure_ends_the_step_at_once_and_lets_other_branches_finish() {
    check(
        "
        template t: a b c(a) d(b)
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w fails T.a permanent
        -> T.a/1 failed for good
        w done T.b
        -> w runs B2: T.d/1
        show T
        -> T is in_progress: a=error b=complete c=pending d=in_progress
        w done T.d
        -> T ends error
        ",
    );
}

#[test]
fn a_step_that_is_not_retryable_runs_once() {
    check(
        "
        template t: a[once]
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w fails T.a after=1
        -> T.a/1 failed for good
        -> T ends error
        ",
    );
}

#[test]
fn a_timeout_uses_an_attempt_and_the_slot_is_free_only_when_the_worker_lets_go() {
    check(
        "
        template t: a[timeout=1000]
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        pass 999
        pass 1
        -> T.a/1 timed_out, again in 2
        -> w stops T.a/1: timeout
        pass 2
        w done T.a
        -> ledger: T.a/1 late
        -> w hears: T.a/1 late
        -> w runs B2: T.a/2
        w closes B1
        -> B1 closes timeout
        -> w forgets B1
        w done T.a/2
        -> T ends complete
        ",
    );
}

#[test]
fn a_completion_frees_the_slot_of_a_step_that_timed_out() {
    check(
        "
        template t: a[timeout=1000,limit=1] b
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        pass 1000
        -> T.a/1 timed_out for good
        -> w stops T.a/1: timeout
        w closes B1 T.a=error
        -> B1 closes timeout
        -> w forgets B1
        -> w runs B2: T.b/1
        ",
    );
}

#[test]
fn each_step_of_a_batch_has_its_own_deadline() {
    check(
        "
        template t: a[timeout=1000] b[timeout=2000] c[timeout=3000]
        w registers 3
        submit T t
        -> w runs B1: T.a/1 T.b/1 T.c/1
        w done T.a
        pass 1000
        pass 1000
        -> T.b/1 timed_out, again in 2
        -> w stops T.b/1: timeout
        w done T.c
        w closes B1 T.b=returned
        -> B1 closes timeout
        -> w forgets B1
        pass 2
        -> w runs B2: T.b/2
        ",
    );
}

#[test]
fn a_repeated_result_is_a_duplicate_and_another_one_contradicts() {
    check(
        "
        template t: a b
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w done T.a=1
        w done T.a=1
        -> ledger: T.a/1 duplicate
        -> w hears: T.a/1 duplicate
        w done T.a=2
        -> ledger: T.a/1 contradicting
        -> w hears: T.a/1 contradicting
        w fails T.a
        -> ledger: T.a/1 contradicting
        -> w hears: T.a/1 contradicting
        w fails T.b permanent
        -> T.b/1 failed for good
        -> T ends error
        w done T.b
        -> ledger: T.b/1 contradicting
        -> w hears: T.b/1 contradicting
        w fails T.b
        -> ledger: T.b/1 duplicate
        -> w hears: T.b/1 duplicate
        ",
    );
}

#[test]
fn results_for_what_never_was_are_unknown() {
    check(
        "
        template t: a b(a)
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w done X.a/1
        -> ledger: nobody.a/1 unknown
        -> w hears: nobody.a/1 unknown
        w done T.x/1@B1 T.a/7@B1 T.b/1@B1 T.a/0@B1
        -> ledger: T.x/1 unknown
        -> ledger: T.a/7 unknown
        -> ledger: T.b/1 unknown
        -> ledger: T.a/0 unknown
        -> w hears: T.x/1 unknown
        -> w hears: T.a/7 unknown
        -> w hears: T.b/1 unknown
        -> w hears: T.a/0 unknown
        ",
    );
}

#[test]
fn a_worker_cannot_report_what_another_one_has() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        v registers 1
        v done T.a/1@B1
        -> ledger: T.a/1 late
        -> v hears: T.a/1 late
        v closes B1
        -> v forgets B1
        v returns T.a/1@B1
        -> v hears: T.a/1 late
        w done T.a
        -> T ends complete
        ",
    );
}

#[test]
fn a_completion_before_its_results_asks_for_them_and_closes_when_they_came() {
    check(
        "
        template t: a b
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w closes B1
        -> w sends again: T.a/1 T.b/1
        w done T.b
        w done T.a
        -> T ends complete
        -> B1 closes completed
        -> w forgets B1
        w done T.a/1@B1
        -> ledger: T.a/1 duplicate
        -> w hears: T.a/1 duplicate
        w closes B1
        -> w forgets B1
        ",
    );
}

#[test]
fn a_result_of_a_task_that_has_ended_is_held_against_what_is_stored() {
    check(
        "
        template t: a b
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w done T.a=1
        w fails T.b permanent
        -> T.b/1 failed for good
        -> T ends error
        w closes B1
        -> B1 closes completed
        -> w forgets B1
        w done T.a/1@B1=1
        -> ledger: T.a/1 duplicate
        -> w hears: T.a/1 duplicate
        w done T.a/1@B1=2
        -> ledger: T.a/1 contradicting
        -> w hears: T.a/1 contradicting
        w done T.b/1@B1
        -> ledger: T.b/1 late
        -> w hears: T.b/1 late
        w done T.b/2@B1
        -> ledger: T.b/2 unknown
        -> w hears: T.b/2 unknown
        ",
    );
}

#[test]
fn a_completion_that_disagrees_is_recorded() {
    check(
        "
        template t: a b c
        w registers 3
        submit T t
        -> w runs B1: T.a/1 T.b/1 T.c/1
        w done T.a T.b T.c
        -> T ends complete
        w closes B1 T.a=error T.b=absent
        -> B1 closes completed
        -> B1 differs: T.a/1 is error and was complete
        -> B1 differs: T.b/1 is absent and was complete
        -> w forgets B1
        ",
    );
}

#[test]
fn a_returned_step_that_is_reported_after_all_is_late() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        v registers 1
        w drains
        w returns T.a
        -> T.a/1 comes back
        -> v runs B2: T.a/1
        w done T.a
        -> ledger: T.a/1 late
        -> w hears: T.a/1 late
        v done T.a
        -> T ends complete
        ",
    );
}

#[test]
fn a_worker_that_gave_steps_back_gets_none_for_a_second() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w returns T.a
        -> T.a/1 comes back
        pass 999
        pass 1
        -> w runs B2: T.a/1
        w done T.a
        -> T ends complete
        ",
    );
}

#[test]
fn a_completion_is_compared_with_results_that_come_after_it() {
    check(
        "
        template t: a b
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w closes B1 T.a=error T.b=complete
        -> w sends again: T.a/1 T.b/1
        w done T.a T.b
        -> T ends complete
        -> B1 closes completed
        -> B1 differs: T.a/1 is error and was complete
        -> w forgets B1
        ",
    );
}

#[test]
fn returned_steps_use_no_attempt() {
    check(
        "
        template t: a[limit=1] b[limit=1]
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        v registers 2
        w drains
        w returns T.a
        -> T.a/1 comes back
        -> v runs B2: T.a/1
        w closes B1 T.b=returned
        -> T.b/1 comes back
        -> B1 closes completed
        -> w is drained
        -> w forgets B1
        -> w may go, 0 steps given up
        -> v runs B3: T.b/1
        v done T.a T.b
        -> T ends complete
        ",
    );
}

#[test]
fn a_batch_whose_completion_does_not_come_is_closed_without_it() {
    check(
        "
        template t: a b
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w done T.a
        pass 10000
        w done T.b
        -> T ends complete
        pass 14000
        w beats
        pass 14000
        w beats
        pass 1999
        w beats
        pass 1
        -> B1 closes completed
        w closes B1
        -> w forgets B1
        ",
    );
}

#[test]
fn a_step_that_its_worker_does_not_let_go_of_keeps_its_batch_open() {
    check(
        "
        template t: a[timeout=1000,limit=1]
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        pass 1000
        -> T.a/1 timed_out for good
        -> T ends error
        -> w stops T.a/1: timeout
        pass 14000
        w beats 1
        pass 14000
        w beats 1
        pass 14000
        w beats 1
        w done T.a/1@B1
        -> ledger: T.a/1 late
        -> w hears: T.a/1 late
        pass 14000
        w beats
        pass 14000
        w beats
        pass 2000
        -> B1 closes timeout
        ",
    );
}

#[test]
fn a_completion_is_waited_for_anew_after_a_crash() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w done T.a
        -> T ends complete
        pass 10000
        w beats
        crash
        w reconnects 1
        -> w is reconnected
        pass 14000
        w beats
        pass 14000
        w beats
        pass 1999
        pass 1
        -> B1 closes completed
        ",
    );
}
