//! A broker that is about to stop takes what comes back and hands out nothing.

use crate::script::check;

#[test]
fn a_broker_that_drains_takes_what_comes_and_hands_out_nothing() {
    check(
        "
        template t: a b(a) c
        w registers 2
        awaited?
        -> nothing is awaited
        submit T t
        -> w runs B1: T.a/1 T.c/1
        drain
        awaited?
        -> reports are awaited
        w done T.a
        v registers 2
        submit U t
        try T
        -> T tried: 0 dispatched, 1 waiting
        w fails T.c after=1
        -> T.c/1 failed, again in 1000
        awaited?
        -> reports are awaited
        w closes B1
        -> B1 closes completed
        -> w forgets B1
        awaited?
        -> nothing is awaited
        pass 1000
        show T
        -> T is in_progress: a=complete b=pending c=pending
        crash
        w reconnects
        -> w is reconnected
        -> w runs B2: T.b/1 T.c/2
        v reconnects
        -> v is reconnected
        -> v runs B3: U.a/1 U.c/1
        ",
    );
}

#[test]
fn a_broker_that_drains_does_not_wait_for_workers_that_are_away() {
    check(
        "
        template t: a
        w registers 1
        v registers 1
        submit T t + submit U t
        -> w runs B1: U.a/1
        -> v runs B2: T.a/1
        w unreachable
        drain
        awaited?
        -> reports are awaited
        v done T.a
        -> T ends complete
        v closes B2
        -> B2 closes completed
        -> v forgets B2
        awaited?
        -> nothing is awaited
        crash
        awaited?
        -> nothing is awaited
        w reconnects
        -> w is reconnected
        awaited?
        -> reports are awaited
        w done U.a
        -> U ends complete
        ",
    );
}

#[test]
fn a_broker_that_drains_does_not_wait_for_what_would_be_late() {
    check(
        "
        template t: a[timeout=1000] b[timeout=9000]
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        drain
        pass 1000
        -> T.a/1 timed_out, again in 2
        -> w stops T.a/1: timeout
        awaited?
        -> reports are awaited
        w done T.b
        awaited?
        -> nothing is awaited
        w done T.a
        -> ledger: T.a/1 late
        -> w hears: T.a/1 late
        awaited?
        -> reports are awaited
        ",
    );
}

#[test]
fn an_engine_that_takes_over_from_one_that_drains_drains_too() {
    check(
        "
        template t: a b(a)
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        drain
        refused: w done T.a
        w beats
        show T
        -> T is in_progress: a=complete b=pending
        ",
    );
}
