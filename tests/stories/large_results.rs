//! Results that together fit no message: the step that waits for them ends in error and says why, whoever asks for all of
//! them at once is refused, and nobody else notices.

use tasker_core::protocol::*;
use uuid::Uuid;

use crate::invariants;
use crate::peers::WorkerPeer;
use crate::support::{Stage, task};

const MESSAGE_BYTES_MAX: u64 = 1 << 20;
const RESULT_BYTES: usize = 60_000;
/// More than twice what fits.
const PARENTS: usize = 40;
/// At a time, so that the reports fit.
const SLOTS: u32 = 10;

/// Steps without parents, and one that waits for all of them.
fn fan_in() -> String {
    let mut yaml = "namespace_name: stories\nname: fan_in\nversion: 1.0.0\nstep_templates:\n".to_owned();
    let names: Vec<String> = (0..PARENTS).map(|number| format!("part_{number}")).collect();
    for name in &names {
        yaml += &format!("  - {{name: {name}, handler_class: H}}\n");
    }
    yaml + &format!("  - {{name: join, handler_class: H, depends_on_steps: [{}]}}\n", names.join(", "))
}

#[test]
fn results_that_fit_no_message_end_their_step_and_are_given_out_in_parts() {
    let mut stage = Stage::with(|config| {
        config.limits.message_bytes_max = MESSAGE_BYTES_MAX;
        config.limits.payload_bytes_max = 64 * 1024;
        config.limits.template_bytes_max = 64 * 1024;
    });
    stage.register_text(&fan_in());
    stage.register("single");
    let id = stage.submit(task("fan_in", "{}"));
    let work = stage.work.clone();
    let mut worker = stage.database.run(async {
        let mut worker = WorkerPeer::connect(&work, "wide").await;
        worker.register(worker.introduction(&["stories/fan_in", "stories/single"], SLOTS)).await;
        let large = format!("\"{}\"", "x".repeat(RESULT_BYTES - 2));
        let mut done = 0;
        while done < PARENTS {
            let batch = worker.receive_batch().await;
            assert!(batch.steps.iter().all(|step| step.name != "join"), "it would not fit");
            done += batch.steps.len();
            worker.report(&batch, |_, _| Ok(large.clone())).await;
            worker.complete(&batch, CompletionStatus::Complete).await;
        }
        worker
    });
    assert_eq!(stage.ended(id).state, "error");
    let status = |results: &[&str]| TaskStatus {
        correlation_id: Uuid::nil(),
        task_id: id,
        include_steps: true,
        include_results: results.iter().map(|step| (*step).to_owned()).collect(),
    };
    let report = stage.command(status(&[]));
    let join = report.steps.last().expect("it has steps");
    assert_eq!((join.name.as_str(), join.state.as_str(), join.attempts), ("join", "error", 1));
    assert_eq!(join.error_class.as_deref(), Some("TaskerCore::Errors::StepTooLargeError"));
    let message = join.error_message.as_deref().expect("it says why");
    assert!(message.contains(&(PARENTS * RESULT_BYTES).to_string()), "{message}");
    assert!(message.contains(&MESSAGE_BYTES_MAX.to_string()), "{message}");

    let refusal = stage.refusal(status(&["*"]));
    assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::TooLarge, Some("include_results")));
    assert_eq!(refusal.limit, Some(MESSAGE_BYTES_MAX));
    let some = stage.command(status(&["part_3", "part_39", "join"]));
    let given: Vec<&str> = some.steps.iter().filter(|step| step.result.is_some()).map(|step| &*step.name).collect();
    assert_eq!(given, ["part_3", "part_39"]);

    // The step that could not be sent has taken nothing from the worker: all its slots are free.
    let others: Vec<Uuid> = (0..SLOTS).map(|_| stage.submit(task("single", "{}"))).collect();
    stage.database.run(async {
        let mut done = 0;
        while done < SLOTS as usize {
            let batch = worker.receive_batch().await;
            done += batch.steps.len();
            worker.report(&batch, |_, _| Ok("1".to_owned())).await;
            worker.complete(&batch, CompletionStatus::Complete).await;
        }
    });
    for other in others {
        assert_eq!(stage.ended(other).state, "complete");
    }
    invariants::hold(&stage.database);
}
