//! Which steps go out, when, and to whom.

use tasker_engine::Config;

use crate::script::{check, check_with};

#[test]
fn a_chain_runs_one_step_after_the_other() {
    check(
        "
        template line: a b(a) c(b)
        w registers 4
        submit T line
        -> w runs B1: T.a/1
        w done T.a
        -> w runs B2: T.b/1
        w done T.b
        -> w runs B3: T.c/1
        w done T.c
        -> T ends complete
        w closes B1 + w closes B2 + w closes B3
        -> B1 closes completed
        -> B2 closes completed
        -> B3 closes completed
        -> w forgets B1
        -> w forgets B2
        -> w forgets B3
        ",
    );
}

#[test]
fn both_branches_of_a_diamond_run_at_once_and_its_end_waits_for_both() {
    check(
        "
        template diamond: start left(start) right(start) end(left,right)
        w registers 4
        submit T diamond
        -> w runs B1: T.start/1
        w done T.start
        -> w runs B2: T.left/1 T.right/1
        w done T.right
        w done T.left
        -> w runs B3: T.end/1
        w done T.end
        -> T ends complete
        ",
    );
}

#[test]
fn steps_of_a_batch_share_the_results_of_their_parents() {
    // That each is in the message once is looked at in every script.
    check(
        "
        template net: a b c(a,b) d(b) e(a) f
        w registers 8
        submit T net
        -> w runs B1: T.a/1 T.b/1 T.f/1
        submit U net
        -> w runs B2: U.a/1 U.b/1 U.f/1
        w done T.a T.b U.a U.b
        -> w runs B3: T.e/1 T.c/1 T.d/1 U.e/1 U.c/1 U.d/1
        ",
    );
}

#[test]
fn the_levels_of_a_tree_run_together() {
    check(
        "
        template tree: root l(root) r(root) d(l) e(l) f(r) g(r) top(d,e,f,g)
        w registers 8
        submit T tree
        -> w runs B1: T.root/1
        w done T.root
        -> w runs B2: T.l/1 T.r/1
        w done T.l
        -> w runs B3: T.d/1 T.e/1
        w done T.r
        -> w runs B4: T.f/1 T.g/1
        w done T.d T.e T.f
        w done T.g
        -> w runs B5: T.top/1
        w done T.top
        -> T ends complete
        ",
    );
}

#[test]
fn a_mixed_graph_runs_each_step_when_its_own_parents_are_done() {
    check(
        "
        template mixed: init l(init) r(init) v(l,r) t(l) n(r) end(v,t,n)
        w registers 8
        submit T mixed
        -> w runs B1: T.init/1
        w done T.init
        -> w runs B2: T.l/1 T.r/1
        w done T.l
        -> w runs B3: T.t/1
        w done T.t T.r
        -> w runs B4: T.v/1 T.n/1
        w done T.v T.n
        -> w runs B5: T.end/1
        w done T.end
        -> T ends complete
        ",
    );
}

#[test]
fn results_that_arrive_together_are_planned_once() {
    check(
        "
        template diamond: start left(start) right(start) end(left,right)
        w registers 4
        submit T diamond + submit U diamond
        -> w runs B1: T.start/1 U.start/1
        w done T.start + w done U.start
        -> w runs B2: T.left/1 T.right/1 U.left/1 U.right/1
        w done T.left U.left
        w done T.right + w done U.right
        -> w runs B3: T.end/1 U.end/1
        ",
    );
}

#[test]
fn a_worker_never_has_more_steps_than_slots() {
    check(
        "
        template wide: a b c d e
        w registers 2
        submit T wide
        -> w runs B1: T.a/1 T.b/1
        w done T.a
        -> w runs B2: T.c/1
        v registers 1
        -> v runs B3: T.d/1
        w done T.b T.c
        -> w runs B4: T.e/1
        ",
    );
}

#[test]
fn batches_are_split_at_their_largest_size() {
    check_with(
        Config { batch_steps_max: 2, ..Config::default() },
        "
        template wide: a b c d e
        w registers 8
        submit T wide
        -> w runs B1: T.a/1 T.b/1
        -> w runs B2: T.c/1 T.d/1
        -> w runs B3: T.e/1
        ",
    );
}

#[test]
fn a_batch_takes_no_further_step_when_it_has_enough_payload() {
    // Batch and task count some 650 bytes, each step some 270.
    check_with(
        Config { batch_bytes_max: 1_000, ..Config::default() },
        "
        template wide: a b c
        w registers 8
        submit T wide
        -> w runs B1: T.a/1 T.b/1
        -> w runs B2: T.c/1
        ",
    );
}

#[test]
fn no_batch_is_larger_than_a_message() {
    // Two steps take some 1,200 bytes, a third would pass the limit; as payload goes, all four fit.
    check_with(
        Config { delivery_bytes_max: 1_400, ..Config::default() },
        "
        template wide: a b c d
        w registers 8
        submit T wide
        -> w runs B1: T.a/1 T.b/1
        -> w runs B2: T.c/1 T.d/1
        ",
    );
}

#[test]
fn a_step_that_fits_no_message_ends_in_error_and_others_run() {
    let (large, small) = ("7".repeat(1_000), "7".repeat(900));
    check_with(
        Config { delivery_bytes_max: 2_500, ..Config::default() },
        &format!(
            "
        template t: a b c(a,b) d(a)
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w done T.a={large}
        -> w runs B2: T.d/1
        w done T.b={small}
        -> T.c/1 failed for good
        -> B3 closes failed
        w done T.d
        -> T ends error
        retry T c
        -> T runs again
        -> T.c/2 failed for good
        -> B4 closes failed
        -> T ends error
        -> T reset: c
        resolve T.c
        -> T runs again
        -> T.c resolved_manually
        -> T ends resolved_manually
        -> T.c resolved, task resolved_manually
        "
        ),
    );
}

#[test]
fn trying_a_task_whose_last_step_fits_no_message_is_answered_by_the_store() {
    let large = "7".repeat(2_000);
    check_with(
        Config { delivery_bytes_max: 2_000, ..Config::default() },
        &format!(
            "
        template t: a b(a)
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w done T.a={large} + try T
        -> T.b/1 failed for good
        -> B2 closes failed
        -> T ends error
        -> the store says why T is not tried
        "
        ),
    );
}

#[test]
fn steps_are_spread_over_workers_by_their_free_slots() {
    check(
        "
        template wide: a b c d
        w registers 4
        v registers 2
        submit T wide
        -> w runs B1: T.a/1 T.b/1 T.d/1
        -> v runs B2: T.c/1
        ",
    );
}

#[test]
fn a_higher_priority_goes_first_then_the_older_task() {
    check(
        "
        template one: a
        submit T one + submit U one priority=1 + submit V one priority=-1 + submit W one priority=1
        w registers 1
        -> w runs B1: U.a/1
        w done U.a
        -> U ends complete
        -> w runs B2: W.a/1
        w done W.a
        -> W ends complete
        -> w runs B3: T.a/1
        w done T.a
        -> T ends complete
        -> w runs B4: V.a/1
        ",
    );
}

#[test]
fn a_wide_task_gives_way_after_its_quantum() {
    let steps: Vec<String> = (1..=40).map(|number| format!("s{number}")).collect();
    let quantum: Vec<String> = (1..=16).map(|number| format!("T.s{number}/1")).collect();
    check(&format!(
        "
        template wide: {}
        template one: a
        submit T wide
        submit U one
        w registers 16
        -> w runs B1: {}
        w done T.s1 T.s2
        -> w runs B2: U.a/1 T.s17/1
        ",
        steps.join(" "),
        quantum.join(" "),
    ));
}

#[test]
fn namespaces_take_turns() {
    check(
        "
        template big/one: a
        template small/one: a
        submit T big/one + submit U big/one + submit V big/one + submit W small/one + submit X small/one priority=9
        w registers 2 serves=big/*,small/*
        -> w runs B1: T.a/1 X.a/1
        w done T.a X.a
        -> T ends complete
        -> X ends complete
        -> w runs B2: U.a/1 W.a/1
        w done U.a
        -> U ends complete
        -> w runs B3: V.a/1
        ",
    );
}

#[test]
fn a_namespace_without_workers_does_not_hold_up_the_others() {
    check(
        "
        template lonely/one: a
        template shop/one: a
        submit T lonely/one priority=100 + submit U shop/one
        w registers 1
        -> w runs B1: U.a/1
        v registers 1 serves=lonely/*
        -> v runs B2: T.a/1
        ",
    );
}

#[test]
fn a_template_without_workers_does_not_hold_up_its_namespace() {
    check(
        "
        template rare: a
        template usual: a
        submit T rare priority=100 + submit U usual + submit V usual
        w registers 1 serves=usual
        -> w runs B1: U.a/1
        w done U.a
        -> U ends complete
        -> w runs B2: V.a/1
        v registers 2 serves=rare@1.0.0
        -> v runs B3: T.a/1
        ",
    );
}

#[test]
fn work_goes_to_the_worker_that_serves_exactly_its_version() {
    check(
        "
        template t@1.0.0: a
        template t@1.1.0: a
        old registers 1 serves=t@1.0.0
        submit T t
        submit U t@1.0.0
        -> old runs B1: U.a/1
        any registers 1 serves=t
        -> any runs B2: T.a/1
        old done U.a + any done T.a
        -> U ends complete
        -> T ends complete
        submit V t@1.1.0
        -> any runs B3: V.a/1
        ",
    );
}

#[test]
fn a_worker_serves_templates_that_are_registered_after_it() {
    check(
        "
        any registers 1 serves=late
        all registers 1 serves=other/*
        template late: a
        template other/late: a
        submit T late + submit U other/late
        -> any runs B1: T.a/1
        -> all runs B2: U.a/1
        ",
    );
}

#[test]
fn no_version_means_the_highest_and_a_named_one_means_itself() {
    check(
        "
        template t@1.9.0: nine
        template t@1.10.0: ten
        template t@1.0.0: one
        w registers 9
        submit T t
        -> w runs B1: T.ten/1
        submit U t@1.0.0
        -> w runs B2: U.one/1
        submit V t@2.0.0
        -> V is refused: unknown_version
        submit W u
        -> W is refused: unknown_template
        ",
    );
}

#[test]
fn a_task_waits_for_its_time() {
    check(
        "
        template t: a b(a)
        w registers 1
        submit T t in=5000
        try T
        -> T tried: 0 dispatched, 0 waiting
        pass 4999
        pass 1
        -> w runs B1: T.a/1
        submit U t in=-5
        w done T.a
        -> w runs B2: T.b/1
        ",
    );
}

#[test]
fn bypassed_steps_never_run_and_let_their_children_start() {
    check(
        "
        template t: a[skippable] b[skippable](a) c(a,b) d
        w registers 4
        submit T t bypass=b,a,b
        -> T.b bypassed
        -> T.a bypassed
        -> w runs B1: T.d/1 T.c/1
        w done T.c T.d
        -> T ends complete
        submit U t bypass=d
        -> U is refused: invalid_field
        submit V t bypass=x
        -> V is refused: unknown_step
        template all: a[skippable] b[skippable](a)
        submit W all bypass=a,b
        -> W.a bypassed
        -> W.b bypassed
        -> W ends complete
        ",
    );
}

#[test]
fn a_task_that_does_not_fit_is_refused_until_others_have_ended() {
    check_with(
        Config { steps_max: 3, ..Config::default() },
        "
        template two: a b(a)
        w registers 1
        submit T two
        -> w runs B1: T.a/1
        submit U two
        -> U is refused: overloaded
        w done T.a
        -> w runs B2: T.b/1
        submit V two
        submit W two
        -> W is refused: overloaded
        cancel V
        -> V ends cancelled
        -> V cancelled: 0 stopped, 2 never started
        submit X two
        ",
    );
}
