//! Templates, registrations and requests: what is taken, what is refused whole, and what a repeated key means.

use tasker_engine::Config;

use crate::script::{check, check_with};

#[test]
fn a_version_keeps_its_content_for_ever() {
    check(
        "
        template t: a
        template t: a
        -> client registered it before
        template t: a b
        -> client is refused: template_conflict
        template t@1.0.1: a b
        ",
    );
}

#[test]
fn a_registration_is_taken_whole_or_not_at_all() {
    check(
        "
        template known: a
        w registers 1 serves=unknown@1.0.0
        -> w is refused: unknown_template
        w registers 1 serves=known@2.0.0
        -> w is refused: unknown_version
        w registers 0
        -> w is refused: invalid_field
        w registers 1 brings=fresh serves=unknown@1.0.0
        -> w is refused: unknown_template
        submit T fresh
        -> T is refused: unknown_template
        w registers 1 brings=fresh brings=known
        -> w is refused: template_conflict
        submit T fresh
        -> T is refused: unknown_template
        w registers 1 brings=fresh serves=fresh@1.0.0
        submit T fresh
        -> w runs B1: T.a/1
        submit U known
        ",
    );
}

#[test]
fn a_refused_registration_leaves_the_earlier_one_as_it_was() {
    check(
        "
        template t: a b
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w restarts 0 on=101
        -> w is refused: invalid_field
        show T
        -> T is in_progress: a=in_progress b=in_progress
        ",
    );
}

#[test]
fn more_workers_than_the_limit_are_refused() {
    check_with(
        Config { workers_max: 1, worker_concurrency_max: 5, ..Config::default() },
        "
        w registers 6
        -> w is refused: invalid_field
        w registers 5
        v registers 1
        -> v is refused: overloaded
        w restarts 1
        -> w is superseded
        w leaves
        -> w is unregistered
        -> w may go, 0 steps given up
        v registers 1
        ",
    );
}

#[test]
fn tasks_are_refused_while_much_payload_is_held() {
    // A context of 2 bytes a task, and a result of 10 for as long as a child waits for it.
    check_with(
        Config { held_bytes_max: 13, ..Config::default() },
        "
        template t: a b(a) c(b)
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w done T.a=1234567890
        -> w runs B2: T.b/1
        submit U t
        -> U is refused: overloaded
        w done T.b
        -> w runs B3: T.c/1
        submit V t
        w done T.c
        -> T ends complete
        -> w runs B4: V.a/1
        ",
    );
}

#[test]
fn a_key_names_one_task_for_ever() {
    check(
        "
        template t: a
        template t@2.0.0: b
        submit T t@1.0.0 key=k
        submit U t@1.0.0 key=k
        -> U is T again
        submit V t key=k
        -> V is T again
        submit W t key=l
        w registers 2
        -> w runs B1: T.a/1 W.b/1
        w done T.a
        -> T ends complete
        submit X t key=k
        -> X is T again
        crash
        submit Y t key=l
        -> Y is W again
        submit Z t key=k
        -> Z is T again
        ",
    );
}

#[test]
fn a_key_belongs_to_its_template() {
    check(
        "
        template t: a
        template u: a
        submit T t key=k
        submit U u key=k
        submit V u key=k
        -> V is U again
        ",
    );
}

#[test]
fn two_requests_with_a_key_that_is_being_looked_up_make_one_task() {
    check(
        "
        template t: a
        hold
        submit T t key=k
        submit U t key=k
        answer
        -> U is T again
        ",
    );
}

#[test]
fn a_task_that_ends_while_its_key_is_looked_up_is_found() {
    check(
        "
        template t: a
        w registers 1
        submit T t key=k
        -> w runs B1: T.a/1
        hold
        submit U t key=other
        w done T.a + submit V t key=k
        -> T ends complete
        answer
        -> V is T again
        -> w runs B2: U.a/1
        ",
    );
}

#[test]
fn a_lost_group_takes_its_request_with_it() {
    check(
        "
        template t: a
        w registers 1
        lost: submit T t key=k
        submit U t key=k
        w reconnects
        -> w is reconnected
        -> w runs B1: U.a/1
        ",
    );
}

#[test]
fn the_inbox_makes_tasks_or_says_why_not() {
    check(
        "
        template t: a
        inbox 1 t
        -> inbox 1 taken
        inbox 2 u
        -> inbox 2 refused: unknown_template
        inbox 3 t key=k
        -> inbox 3 taken
        inbox 4 t key=k
        -> inbox 4 taken
        w registers 9
        -> w runs B1: nobody.a/1 nobody.a/1
        ",
    );
}

#[test]
fn a_key_of_a_refused_group_is_looked_up_again() {
    check(
        "
        template t: a[skippable]
        hold
        submit T t key=k bypass=a
        refused: answer
        -> T.a bypassed
        -> T ends complete
        submit U t key=k
        -> U is T again
        ",
    );
}

#[test]
fn an_overloaded_broker_leaves_rows_in_the_inbox() {
    check_with(
        Config { steps_max: 2, ..Config::default() },
        "
        template t: a
        submit T t
        inbox 1 t + inbox 2 t
        -> inbox 1 taken
        -> inbox rows [2] wait
        cancel T
        -> T ends cancelled
        -> T cancelled: 0 stopped, 1 never started
        inbox 2 t
        -> inbox 2 taken
        ",
    );
}
