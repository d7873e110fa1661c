//! Large graphs run to their end, and what a result costs does not depend on their size: counted in effects, not in time.

use bytes::Bytes;
use tasker_engine::*;
use uuid::Uuid;

use crate::world::{World, template};

/// Runs one task with one worker of 100 slots; returns the number of groups, and the most deliveries of a group.
fn run(steps: &str) -> (usize, usize) {
    let run = play(Config::default(), steps, Bytes::from_static(b"1"));
    assert_eq!(run.end, TaskState::Complete);
    (run.groups, run.deliveries_most)
}

struct Run {
    end: TaskState,
    groups: usize,
    deliveries_most: usize,
    held_bytes_most: u64,
}

fn play(config: Config, steps: &str, result: Bytes) -> Run {
    let mut world = World::new(config);
    world.compare = false;
    let peer = PeerId(1);
    let origin = world.origin(peer);
    world.handle(Event::TemplateSubmitted { origin, template: template("large", steps) });
    let origin = world.origin(peer);
    let worker = WorkerIntroduction {
        name: "w".into(),
        incarnation: Uuid::from_u128(1),
        capabilities: vec![Capability::Namespace("shop".into())],
        templates: Vec::new(),
        concurrency: 100,
        host: "host".into(),
        pid: 1,
        language: "ruby".into(),
        library: "tasker_core".into(),
        key: None,
        open_batches: Vec::new(),
        unacknowledged: Vec::new(),
    };
    world.handle(Event::WorkerRegistered { origin, worker });
    let origin = world.origin(peer);
    let request = TaskRequest {
        namespace: "shop".to_owned(),
        name: "large".to_owned(),
        context: Bytes::from_static(b"{}"),
        ..TaskRequest::default()
    };
    world.handle(Event::TasksSubmitted { origin, requests: vec![Ok(request)] });
    let (mut groups, mut deliveries_most, mut held_bytes_most) = (0, 0, 0);
    loop {
        groups += 1;
        let released = world.commit();
        deliveries_most = deliveries_most.max(released.deliveries.len());
        held_bytes_most = held_bytes_most.max(world.engine.held_bytes());
        let mut worked = false;
        for delivery in released.deliveries {
            if let Deliver::Worker { message: WorkerMessage::Execute(dispatch), .. } = delivery {
                worked = true;
                report(&mut world, peer, &dispatch, &result);
            }
        }
        if !worked {
            break;
        }
    }
    let ended: Vec<_> = world.store.tasks.values().map(|task| task.state).collect();
    let [Some(end)] = ended[..] else { panic!("the one task has not ended: {ended:?}") };
    assert!(world.store.open.is_empty());
    assert_eq!(world.engine.health().steps_unfinished, 0);
    assert_eq!(world.engine.held_bytes(), 0);
    Run { end, groups, deliveries_most, held_bytes_most }
}

fn report(world: &mut World, peer: PeerId, dispatch: &Dispatch, result: &Bytes) {
    let mut results = Vec::new();
    let mut steps = Vec::new();
    for step in &dispatch.steps {
        let task = &dispatch.tasks[step.task as usize];
        let parents = task.template.dag.parents(step.step);
        assert!(parents.len() <= task.results.len(), "each parent's result is there");
        let name = task.template.steps[step.step as usize].name.clone();
        let at = StepReference { batch: dispatch.batch, task: task.id, step: name.clone(), attempt: step.attempt };
        results.push(StepReport {
            at,
            outcome: Outcome::Complete(result.clone()),
            started_at_us: 0,
            duration_us: 0,
            metadata: None,
            events: Vec::new(),
            refused: false,
        });
        let status = CompletionStatus::Complete;
        steps.push(CompletedStep { task: task.id, step: name, attempt: step.attempt, status });
    }
    let origin = world.origin(peer);
    world.handle(Event::ResultsReported { origin, results });
    let origin = world.origin(peer);
    world.handle(Event::BatchReported { origin, batch: dispatch.batch, steps });
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

#[test]
fn ten_thousand_independent_steps() {
    let (groups, most) = run(&names("s", 10_000).join(" "));
    assert_eq!(groups, 10_000 / 100 + 1);
    assert!(most < 1_000, "{most} deliveries in a group");
}

#[test]
fn a_chain_of_ten_thousand_steps() {
    let steps: String = (0..10_000)
        .map(|number| match number {
            0 => "s0 ".to_owned(),
            _ => format!("s{number}(s{}) ", number - 1),
        })
        .collect();
    let (groups, most) = run(&steps);
    assert_eq!(groups, 10_001);
    assert!(most < 20, "{most} deliveries in a group");
}

#[test]
fn a_step_that_waits_for_five_thousand_others() {
    let parents = names("s", 5_000);
    let (groups, _) = run(&format!("{} end({})", parents.join(" "), parents.join(",")));
    assert_eq!(groups, 5_000 / 100 + 2);
}

#[test]
fn five_thousand_results_that_fit_no_message_are_not_kept() {
    let parents = names("s", 5_000);
    let config = Config { delivery_bytes_max: 1 << 20, ..Config::default() };
    let result = Bytes::from(format!("\"{}\"", "x".repeat(10_000)));
    let run = play(config, &format!("{} end({})", parents.join(" "), parents.join(",")), result);
    assert_eq!(run.end, TaskState::Error, "the last step cannot be sent");
    assert!(
        run.held_bytes_most > 500_000,
        "{} bytes: nothing was kept, so that this shows nothing",
        run.held_bytes_most
    );
    assert!(run.held_bytes_most <= 1 << 20, "{} bytes for a step that will not run", run.held_bytes_most);
}

#[test]
fn a_thousand_steps_that_each_wait_for_a_thousand_others() {
    let parents = names("s", 1_000);
    let list = parents.join(",");
    let children: Vec<String> = names("c", 1_000).iter().map(|child| format!("{child}({list})")).collect();
    let (groups, _) = run(&format!("{} {}", parents.join(" "), children.join(" ")));
    assert_eq!(groups, 1_000 / 100 * 2 + 1);
}
