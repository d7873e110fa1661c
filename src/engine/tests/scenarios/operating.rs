//! What clients and operators do: try, wait, cancel, reset, resolve.

use tasker_engine::{
    Capability, Config, Deliver, Effects, Event, Operation, OperationKind, Outcome, PeerId, StepReference, StepReport,
    TaskRequest, TaskState, WorkerIntroduction, WorkerMessage,
};
use uuid::Uuid;

use crate::script::{Stage, check, check_with};
use crate::world::{World, template};

#[test]
fn a_thousand_tries_dispatch_once_and_tell_the_truth() {
    let tries = vec!["try T"; 1_000].join(" + ");
    let nothing = vec!["-> T tried: 0 dispatched, 1 waiting"; 1_000].join("\n");
    check(&format!(
        "
        template t: a b c
        submit T t
        try T
        -> T tried: 0 dispatched, 3 waiting
        w registers 2 + try T
        -> w runs B1: T.a/1 T.b/1
        -> T tried: 2 dispatched in B1, 1 waiting
        {tries}
        {nothing}
        w done T.a T.b + try T
        -> w runs B2: T.c/1
        -> T tried: 1 dispatched in B2, 0 waiting
        w done T.c
        -> T ends complete
        try T
        -> the store says why T is not tried
        ",
    ));
}

#[test]
fn whoever_waits_hears_of_the_end_or_of_the_end_of_their_patience() {
    check(
        "
        template t: a
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        await T 1000 + await T 5000
        pass 1000
        -> client has waited: T in_progress
        w done T.a
        -> T ends complete
        -> client hears: T complete
        await T 1000
        -> the store tells the end of T
        await X 1000
        -> the store tells the end of nobody
        pass 5000
        ",
    );
}

#[test]
fn waiting_has_a_limit_in_clients_and_in_time() {
    check_with(
        Config { waiters_max: 1, wait_ms_max: 500, ..Config::default() },
        "
        template t: a
        submit T t
        await T 9000
        await T 1
        -> client is refused: overloaded
        pass 500
        -> client has waited: T pending
        await T 0
        -> client has waited: T pending
        ",
    );
}

#[test]
fn a_task_that_waits_for_its_time_or_for_a_retry_can_be_cancelled() {
    check(
        "
        template t: a
        w registers 1
        submit T t in=1000
        cancel T
        -> T ends cancelled
        -> T cancelled: 0 stopped, 1 never started
        submit U t
        -> w runs B1: U.a/1
        w fails U.a after=1
        -> U.a/1 failed, again in 1000
        cancel U
        -> U ends cancelled
        -> U cancelled: 0 stopped, 1 never started
        pass 1000
        ",
    );
}

#[test]
fn a_task_that_ended_in_error_is_loaded_to_be_reset() {
    check(
        "
        template t: a[limit=1] b[limit=1] c(a) d
        w registers 3
        submit T t key=k
        -> w runs B1: T.a/1 T.b/1 T.d/1
        w done T.d
        w fails T.a
        -> T.a/1 failed for good
        w fails T.b
        -> T.b/1 failed for good
        -> T ends error
        retry T x
        -> client is refused: unknown_step
        retry T d
        -> client is refused: invalid_state
        submit U t key=k
        -> U is T again
        hold
        retry T a
        retry T b
        answer
        -> T runs again
        -> T reset: a
        -> T reset: b
        -> w runs B2: T.a/2 T.b/2
        show T
        -> T is in_progress: a=in_progress b=in_progress c=pending d=complete
        w done T.a T.b
        -> w runs B3: T.c/1
        w done T.c
        -> T ends complete
        retry T
        -> client is refused: invalid_state
        ",
    );
}

#[test]
fn a_step_is_resolved_by_hand_whatever_it_waits_for() {
    check(
        "
        template t: a b(a) c(b) d(c)
        submit T t
        resolve T.b 7
        -> T.b resolved_manually
        -> T.b resolved, task in_progress
        resolve T.b 8
        -> client is refused: invalid_state
        resolve T.x
        -> client is refused: unknown_step
        show T
        -> T is in_progress: a=pending b=resolved_manually c=pending d=pending
        w registers 1
        -> w runs B1: T.a/1
        resolve T.a
        -> T.a resolved_manually
        -> w stops T.a/1: cancelled
        -> T.a resolved, task in_progress
        w done T.a
        -> ledger: T.a/1 late
        -> w hears: T.a/1 late
        -> w runs B2: T.c/1
        w fails T.c after=9
        -> T.c/1 failed, again in 9000
        resolve T.c
        -> T.c resolved_manually
        -> T.c resolved, task in_progress
        -> w runs B3: T.d/1
        pass 9000
        resolve T.d
        -> T.d resolved_manually
        -> T ends resolved_manually
        -> w stops T.d/1: cancelled
        -> T.d resolved, task resolved_manually
        w done T.d
        -> ledger: T.d/1 late
        -> w hears: T.d/1 late
        w closes B3
        -> B3 closes cancelled
        -> w forgets B3
        ",
    );
}

#[test]
fn resolving_the_failed_step_of_a_task_in_error_lets_it_go_on() {
    check(
        "
        template t: a[once] b(a)
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w fails T.a
        -> T.a/1 failed for good
        -> T ends error
        resolve T.a 3
        -> T runs again
        -> T.a resolved_manually
        -> T.a resolved, task in_progress
        -> w runs B2: T.b/1
        w done T.b
        -> T ends resolved_manually
        resolve T.a
        -> client is refused: invalid_state
        ",
    );
}

#[test]
fn resolving_a_step_below_a_failed_one_leaves_the_task_in_error() {
    check(
        "
        template t: a[once] b(a)
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w fails T.a
        -> T.a/1 failed for good
        -> T ends error
        resolve T.b 3
        -> T runs again
        -> T.b resolved_manually
        -> T ends error
        -> T.b resolved, task error
        cancel T
        -> T ends cancelled
        -> T cancelled: 0 stopped, 0 never started
        ",
    );
}

#[test]
fn a_reset_gives_a_failed_step_a_new_set_of_attempts() {
    check(
        "
        template t: a[limit=2] b(a) c
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.c/1
        w fails T.a permanent
        -> T.a/1 failed for good
        retry T b
        -> client is refused: invalid_state
        retry T x
        -> client is refused: unknown_step
        retry T a a
        -> T reset: a
        -> w runs B2: T.a/2
        w fails T.a
        -> T.a/2 failed, again in 2
        retry T
        -> client is refused: invalid_state
        pass 2
        -> w runs B3: T.a/3
        w fails T.a
        -> T.a/3 failed for good
        w done T.c
        -> T ends error
        ",
    );
}

#[test]
fn cancelling_stops_what_runs_and_nothing_else_starts() {
    check(
        "
        template t: a b c(a) d
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        await T 1000
        cancel T
        -> T ends cancelled
        -> w stops T.a/1 T.b/1: cancelled
        -> client hears: T cancelled
        -> T cancelled: 2 stopped, 2 never started
        submit U t
        w done T.a
        -> ledger: T.a/1 late
        -> w hears: T.a/1 late
        -> w runs B2: U.a/1
        w closes B1 T.b=error
        -> B1 closes cancelled
        -> w forgets B1
        -> w runs B3: U.b/1
        cancel T
        -> client is refused: invalid_state
        cancel X
        -> client is refused: unknown_task
        ",
    );
}

#[test]
fn a_cancelled_step_is_not_counted_against_the_others_of_its_batch() {
    check(
        "
        template t: a b
        w registers 4
        submit T t + submit U t
        -> w runs B1: T.a/1 T.b/1 U.a/1 U.b/1
        cancel T
        -> T ends cancelled
        -> w stops T.a/1 T.b/1: cancelled
        -> T cancelled: 2 stopped, 0 never started
        w done U.a U.b
        -> U ends complete
        w closes B1 T.a=error T.b=returned
        -> B1 closes completed
        -> w forgets B1
        ",
    );
}

#[test]
fn operations_on_a_task_that_ended_see_what_the_one_before_them_did() {
    check(
        "
        template t: a[once] b[once]
        w registers 2
        submit T t
        -> w runs B1: T.a/1 T.b/1
        w fails T.a
        -> T.a/1 failed for good
        w fails T.b
        -> T.b/1 failed for good
        -> T ends error
        hold
        resolve T.a
        retry T
        cancel T
        retry T
        answer
        -> T runs again
        -> T.a resolved_manually
        -> T ends error
        -> T.a resolved, task error
        -> T runs again
        -> T ends cancelled
        -> T reset: b
        -> T cancelled: 0 stopped, 1 never started
        -> client is refused: invalid_state
        ",
    );
}

#[test]
fn operations_that_were_under_way_when_a_group_was_refused_do_not_overlook_each_other() {
    check(
        "
        template t: a[once]
        w registers 1
        submit T t
        -> w runs B1: T.a/1
        w fails T.a
        -> T.a/1 failed for good
        -> T ends error
        hold
        cancel T
        cancel T
        refused: answer
        -> T ends cancelled
        -> T cancelled: 0 stopped, 0 never started
        -> client is refused: invalid_state
        ",
    );
}

/// Found by the simulation, whose network repeats messages.
#[test]
fn a_command_that_arrives_twice_does_not_bring_back_what_another_has_cancelled() {
    let mut world = World::new(Config::default());
    let (client, worker) = (PeerId(1), PeerId(2));
    let origin = world.origin(client);
    world.handle(Event::TemplateSubmitted { origin, template: template("t", "a[once]") });
    let introduction = WorkerIntroduction {
        name: "w".into(),
        key: None,
        incarnation: Uuid::from_u128(1),
        capabilities: vec![Capability::Namespace("shop".into())],
        templates: Vec::new(),
        concurrency: 1,
        host: "host".into(),
        pid: 1,
        language: "ruby".into(),
        library: "tasker_core".into(),
        open_batches: Vec::new(),
        unacknowledged: Vec::new(),
    };
    let origin = world.origin(worker);
    world.handle(Event::WorkerRegistered { origin, worker: introduction });
    let origin = world.origin(client);
    let request = TaskRequest { namespace: "shop".into(), name: "t".into(), ..TaskRequest::default() };
    world.handle(Event::TasksSubmitted { origin, requests: vec![Ok(request)] });
    let dispatched = world.commit().deliveries.into_iter().find_map(|delivery| match delivery {
        Deliver::Worker { message: WorkerMessage::Execute(dispatch), .. } => Some(dispatch),
        _ => None,
    });
    let dispatch = dispatched.expect("a batch for the worker");
    let task = dispatch.tasks[0].id;
    let failed = StepReport {
        at: StepReference { batch: dispatch.batch, task, step: "a".into(), attempt: 1 },
        outcome: Outcome::Failed(Box::default()),
        started_at_us: 0,
        duration_us: 0,
        metadata: None,
        events: Vec::new(),
        refused: false,
    };
    let origin = world.origin(worker);
    world.handle(Event::ResultsReported { origin, results: vec![failed] });
    world.commit();
    assert_eq!(world.store.tasks[&task].state, Some(TaskState::Error));

    let ask = |kind| Operation { task, kind, actor: "ada".into(), reason: "a test".into() };
    let origin = world.origin(client);
    world.handle(Event::OperationAsked { origin, operation: ask(OperationKind::Cancel) });
    let origin = world.origin(client);
    for _ in 0..2 {
        let operation = ask(OperationKind::Retry { steps: Vec::new() });
        world.handle(Event::OperationAsked { origin, operation });
    }
    world.commit();
    while !world.reads.is_empty() {
        world.answer_reads();
        world.commit();
    }
    assert_eq!(world.store.tasks[&task].state, Some(TaskState::Cancelled));
}

#[test]
fn a_question_of_a_refused_group_is_not_remembered_for_ever() {
    let mut stage = Stage::new(Config::default());
    for line in ["template t: a[timeout=1000,limit=1]", "w registers 1", "submit T t", "pass 1000"] {
        stage.act(line);
    }
    let task = stage.tasks["T"];
    for line in ["submit U t", "w done T.a/1@B1", "w closes B1"] {
        stage.act(line);
    }
    let task_of_group = stage.tasks["U"];
    assert_ne!(task, task_of_group);
    // The time of U's step is up in the same pass in which its reset is asked for: the reset finds an ended task, and asks.
    let world = &mut stage.world;
    world.pass(1_000);
    world.engine.pass_deadlines(world.now, &mut Effects::default());
    let kind = OperationKind::Retry { steps: Vec::new() };
    let operation = Operation { task: task_of_group, kind, actor: "ada".into(), reason: "a test".into() };
    let origin = world.origin(PeerId(1));
    world.handle(Event::OperationAsked { origin, operation });
    assert_eq!(world.engine.held().loads, 1);
    // The group is refused. To the engine that takes over, the task still runs, so that nothing is asked.
    world.refuse();
    assert_eq!(world.engine.held().loads, 0);
}
