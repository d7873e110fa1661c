//! A round: tasks are submitted and run while the plan's faults happen; when they are over, everything is looked at.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::checks;
use super::fault::Under;
use super::fleet::Fleet;
use super::plan::Plan;
use super::process::LOOK;
use super::report::Report;
use super::submitter::{Orders, Submitted, Submitter};
use crate::support::repository;

/// Tasks of a round.
pub const TASKS: usize = 500;

/// Longer than a round takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(240);

/// Runs the round of this seed. When it fails, it says how to repeat it and where the logs are.
pub fn of_seed(seed: u64) -> Report {
    let plan = Plan::of(seed);
    let folder = repository(&format!("target/chaos/seed-{seed}-{}", std::process::id()));
    let ran = catch_unwind(AssertUnwindSafe(|| run(&plan, TASKS, &folder, |_| {})));
    ran.unwrap_or_else(|panic| {
        eprintln!("\nchaos: the round of seed {seed} failed: {plan}");
        eprintln!("chaos: the logs of its processes are in {}", folder.display());
        eprintln!(
            "chaos: repeat it with TASKER_CHAOS_SEED={seed} cargo test --test chaos rounds::asked_for -- --nocapture\n"
        );
        resume_unwind(panic)
    })
}

/// Runs a round and looks at the database once more when everything has held.
pub fn run(plan: &Plan, tasks: usize, folder: &PathBuf, look: impl FnOnce(&Fleet)) -> Report {
    let began = Instant::now();
    // Of an earlier process with the same number.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).expect("the folder of what is built is ours");
    let mut fleet = Fleet::start(plan, folder);
    let ledger = folder.join("ledger");
    let orders = Orders {
        endpoints: fleet.endpoints(),
        database: fleet.cluster.url().to_owned(),
        ledger: ledger.display().to_string(),
        tasks,
    };
    let submitted = storm(plan, tasks, &mut fleet, Submitter::start(orders));
    fleet.leave();
    checks::hold(&fleet.database, &submitted, &std::fs::read_to_string(ledger).expect("the handlers wrote it"));
    let report = Report::of(plan, began.elapsed(), &fleet.database, &submitted);
    assert!(report.witnessed.0 > 0, "no handler has seen the database");
    look(&fleet);
    drop(fleet);
    std::fs::remove_dir_all(folder).expect("the folder of the round is ours");
    report
}

/// Lets the faults happen, each at its moment, until they are over and all tasks have ended.
fn storm(plan: &Plan, tasks: usize, fleet: &mut Fleet, submitter: Submitter) -> Submitted {
    let mut coming: VecDeque<_> = plan.faults.iter().copied().collect();
    let mut under_way: Vec<Under> = Vec::new();
    let mut finished = 0;
    let deadline = Instant::now() + PATIENCE;
    while finished < tasks || !coming.is_empty() || !under_way.is_empty() || !submitter.is_done() {
        assert!(Instant::now() < deadline, "{finished} of {tasks} tasks have ended: {:#?}", unfinished(fleet));
        fleet.supervise();
        let ended = fleet.database.glance("SELECT count(*) FROM tasker.tasks WHERE final_state IS NOT NULL");
        finished = ended.map_or(finished, |ended| usize::try_from(ended).expect("a count"));
        submitter.note_finished(finished);
        let over = finished >= tasks;
        under_way = std::mem::take(&mut under_way)
            .into_iter()
            .filter_map(|under| if over { under.give_up(fleet) } else { under.go_on(fleet) })
            .collect();
        while let Some((moment, fault)) = coming.front().copied() {
            let has_come = finished * 1_000 >= tasks * moment as usize;
            if !has_come || !fault.can_begin(&under_way) {
                break;
            }
            coming.pop_front();
            under_way.extend(fault.begin(fleet));
        }
        std::thread::sleep(LOOK);
    }
    fleet.postgres.heal();
    submitter.done()
}

fn unfinished(fleet: &Fleet) -> Vec<String> {
    fleet.database.texts(
        "SELECT concat_ws(' ', task_id, task.name, step.name, step.state, step.reason)
         FROM tasker.task_status AS task JOIN tasker.step_readiness AS step USING (task_id)
         WHERE task.finished_at IS NULL AND step.state NOT IN ('complete') LIMIT 50",
    )
}
