//! `TryTaskIfReady` says truthfully what it did, also when a thousand of them arrive at once.

use std::collections::{BTreeMap, HashSet};

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::peers::{Client, WorkerPeer};
use crate::support::{Stage, task};

const CALLS: usize = 1_000;
const PEERS: usize = 50;
const BRANCHES: usize = 300;

/// A root, many branches that become ready in one moment, and a join.
fn fan() -> String {
    let mut yaml = "namespace_name: stories\nname: fan\nversion: 1.0.0\nstep_templates:\n".to_owned();
    yaml += "  - {name: root, handler_class: H}\n";
    let names: Vec<String> = (0..BRANCHES).map(|number| format!("branch_{number}")).collect();
    for name in &names {
        yaml += &format!("  - {{name: {name}, handler_class: H, depends_on_step: root}}\n");
    }
    yaml + &format!("  - {{name: join, handler_class: H, depends_on_steps: [{}]}}\n", names.join(", "))
}

#[test]
fn a_thousand_calls_dispatch_each_step_once_and_report_truthfully() {
    let mut stage = Stage::open();
    stage.register_text(&fan());
    let id = stage.submit(task("fan", "{}"));
    let work = stage.work.clone();
    let told = stage.database.run(async {
        let mut callers = Vec::new();
        for _ in 0..PEERS {
            callers.push(Client::connect(&work).await);
        }
        let mut told = Vec::new();
        // Before there is a worker, the root is ready and nothing can be dispatched.
        let early = tried(callers[0].request(ask(id)).await);
        assert_eq!((early.ready, early.steps_dispatched, early.steps_waiting), (false, 0, 1));
        told.push(early);

        let mut worker = WorkerPeer::connect(&work, "fan").await;
        worker.register(worker.introduction(&["stories/fan"], 1_000)).await;
        let root = worker.receive_batch().await;
        // Half of the calls are on their way when the branches become ready, half of them after.
        let mut asked = Vec::new();
        let call = |index: usize| (index % PEERS, ask(id));
        for (caller, ask) in (0..CALLS / 2).map(call) {
            asked.push((caller, ask.correlation_id));
            callers[caller].send(ask).await;
        }
        let results = root.steps.iter().map(|step| crate::peers::outcome(&root, step, |_, _| Ok("1".to_owned())));
        let report = ReportPartialResult { correlation_id: Uuid::new_v4(), results: results.collect() };
        worker.client.send(report).await;
        for (caller, ask) in (0..CALLS / 2).map(call) {
            asked.push((caller, ask.correlation_id));
            callers[caller].send(ask).await;
        }
        for (caller, correlation_id) in asked {
            told.push(tried(callers[caller].reply_to(correlation_id).await));
        }
        worker.complete(&root, CompletionStatus::Complete).await;

        let mut branches = HashSet::new();
        while branches.len() < BRANCHES {
            let batch = worker.receive_batch().await;
            for step in &batch.steps {
                assert!(branches.insert(step.name.clone()), "{} came twice", step.name);
            }
            worker.report(&batch, |_, _| Ok("1".to_owned())).await;
            worker.complete(&batch, CompletionStatus::Complete).await;
        }
        worker.work_off(1, |_, _| Ok("2".to_owned())).await;
        told.push(tried(callers[0].request(ask(id)).await));
        told
    });
    assert_eq!(stage.ended(id).state, "complete");

    // What the calls say, against what is stored: no batch is claimed by two, and each has as many steps as was said.
    let sizes = stage.database.texts("SELECT concat_ws(' ', batch_id, cardinality(task_ids)) FROM tasker.batches");
    let sizes: BTreeMap<Uuid, u32> = sizes
        .iter()
        .map(|row| row.split_once(' ').expect("two words"))
        .map(|(id, size)| (id.parse().expect("an id"), size.parse().expect("a number")))
        .collect();
    let mut claimed = HashSet::new();
    for told in &told {
        assert_eq!(told.ready, told.steps_dispatched > 0, "{told:?}");
        assert_eq!(told.batch_ids.iter().map(|batch| sizes[batch]).sum::<u32>(), told.steps_dispatched, "{told:?}");
        assert!(told.batch_ids.iter().all(|batch| claimed.insert(*batch)), "{told:?} claims what another did");
    }
    assert_eq!(told.len(), CALLS + 2);
    let last = told.last().expect("there are many");
    assert_eq!((last.state.as_str(), last.ready), ("complete", false));
    let dispatched: u32 = sizes.values().sum();
    let claimed: u32 = claimed.iter().map(|batch| sizes[batch]).sum();
    let by_itself =
        stage.database.number("SELECT count(*) FROM tasker.step_outcomes WHERE attempt = 1 AND kind = 'complete'");
    assert_eq!(i64::from(dispatched), by_itself, "every step was dispatched once");
    assert!(claimed <= dispatched);
    invariants::hold(&stage.database);
}

fn ask(task_id: Uuid) -> TryTaskIfReady {
    TryTaskIfReady { correlation_id: Uuid::new_v4(), task_id }
}

fn tried(message: Message) -> TaskTried {
    match message {
        Message::TaskTried(tried) => tried,
        other => panic!("{other:?}"),
    }
}
