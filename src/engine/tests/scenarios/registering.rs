//! Workers introduce themselves, come back with what they have, and are asked to.

use crate::script::check;

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
