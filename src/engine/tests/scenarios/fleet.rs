//! What operators do to namespaces and workers: pause, resume, drain.

use crate::script::check;

#[test]
fn a_paused_namespace_takes_tasks_and_hands_out_nothing() {
    check(
        "
        template t: a b(a)
        template other/t: a
        w registers 4 serves=*,other/*
        submit T t
        -> w runs B1: T.a/1
        pause shop
        -> shop was active and is paused
        submit U t
        submit V other/t
        -> w runs B2: V.a/1
        w done T.a
        try U
        -> U tried: 0 dispatched, 1 waiting
        namespaces?
        -> other is active; 1 tasks, steps 0 1 0, 1 workers, 1 templates
        -> shop is paused by ada: a test; 2 tasks, steps 2 0 1, 1 workers, 1 templates
        pause shop
        -> shop is paused already
        resume shop
        -> shop was paused and is active
        -> w runs B3: T.b/1 U.a/1
        resume shop
        -> shop is active already
        ",
    );
}

#[test]
fn a_pause_and_what_it_stops_are_one_decision() {
    check(
        "
        template t: a
        w registers 4
        pause shop + submit T t
        -> shop was active and is paused
        resume shop + pause shop + submit U t
        -> shop was paused and is active
        -> shop was active and is paused
        pause shop + resume shop
        -> shop was paused and is active
        -> shop is paused already
        -> w runs B1: T.a/1 U.a/1
        ",
    );
}

#[test]
fn a_pause_outlives_the_broker_and_a_refused_group() {
    check(
        "
        template t: a
        w registers 4
        pause shop
        -> shop was active and is paused
        submit T t
        crash
        w reconnects
        -> w is reconnected
        lost: resume shop
        w reconnects
        -> w is reconnected
        refused: submit U t
        namespaces?
        -> shop is paused by ada: a test; 2 tasks, steps 2 0 0, 1 workers, 1 templates
        resume shop
        -> shop was paused and is active
        -> w runs B1: T.a/1 U.a/1
        ",
    );
}

#[test]
fn a_namespace_can_be_paused_before_it_has_a_template() {
    check(
        "
        pause shop
        -> shop was active and is paused
        namespaces?
        -> shop is paused by ada: a test; 0 tasks, steps 0 0 0, 0 workers, 0 templates
        template t: a
        w registers 1
        submit T t
        resume shop
        -> shop was paused and is active
        -> w runs B1: T.a/1
        pause nowhere
        -> nowhere was active and is paused
        resume nowhere
        -> nowhere was paused and is active
        namespaces?
        -> shop is active; 1 tasks, steps 0 1 0, 1 workers, 1 templates
        ",
    );
}

#[test]
fn steps_that_come_due_in_a_paused_namespace_wait() {
    check(
        "
        template t: a[timeout=900]
        w registers 2
        submit T t
        -> w runs B1: T.a/1
        submit U t in=500
        pause shop
        -> shop was active and is paused
        namespaces?
        -> shop is paused by ada: a test; 2 tasks, steps 0 1 1, 1 workers, 1 templates
        pass 500
        pass 400
        -> T.a/1 timed_out, again in 2
        -> w stops T.a/1: timeout
        pass 2
        namespaces?
        -> shop is paused by ada: a test; 2 tasks, steps 2 0 0, 1 workers, 1 templates
        resume shop
        -> shop was paused and is active
        -> w runs B2: T.a/2
        ",
    );
}

#[test]
fn a_worker_that_is_sent_away_finishes_what_it_has() {
    check(
        "
        template t: a b(a)
        w registers 2
        submit T t
        -> w runs B1: T.a/1
        dismiss w
        -> w was active and is draining
        -> w drains: a test
        dismiss w
        -> w drains already, 1 steps out
        dismiss nobody
        -> client is refused: unknown_worker
        w done T.a
        w beats
        -> w drains: a test
        w drains
        w beats
        w closes B1
        -> B1 closes completed
        -> w is drained
        -> w forgets B1
        -> w may go, 0 steps given up
        w registers 2
        -> w runs B2: T.b/1
        ",
    );
}

#[test]
fn an_order_to_leave_follows_the_process_to_its_next_connection() {
    check(
        "
        template t: a
        w registers 2
        submit T t
        -> w runs B1: T.a/1
        w unreachable
        dismiss w
        -> w was suspect and is draining
        w reconnects
        -> w is reconnected
        -> w drains: a test
        submit U t
        w restarts
        -> T.a/1 worker_lost, again in 0
        -> B1 closes failed
        -> w is superseded
        -> w runs B2: T.a/2 U.a/1
        ",
    );
}

#[test]
fn an_order_to_leave_survives_a_refused_group_and_may_be_what_is_refused() {
    check(
        "
        template t: a
        w registers 1
        dismiss w
        -> w was active and is draining
        -> w drains: a test
        refused: submit T t
        v registers 1
        -> v runs B1: T.a/1
        refused: dismiss v
        -> v was active and is draining
        -> v drains: a test
        submit U t
        ",
    );
}
