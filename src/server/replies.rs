//! What the database says, as the wire has it.

use tasker_engine::StepProgress;

use crate::gateway::step_counts;
use crate::protocol::{JsonText, StepSummary, TaskSummary};
use crate::store::{StepView, TaskView};

/// A task as it is sent.
pub(crate) fn task_summary(view: &TaskView) -> TaskSummary {
    TaskSummary {
        task_id: view.id.0,
        namespace: view.namespace.clone(),
        name: view.name.clone(),
        version: view.version.clone(),
        state: view.state.clone(),
        priority: view.priority,
        counts: step_counts(&view.counts),
        execution_status: view.execution_status.clone(),
        recommended_action: view.recommended_action.clone(),
        completion_percentage: view.completion_percentage,
        health: view.health.clone(),
        created_at_ms: view.created_at_ms,
        finished_at_ms: view.finished_at_ms,
        run_at_ms: view.run_at_ms,
        tags: view.tags.clone(),
    }
}

/// A step as it is sent, with what its attempt has said, when that still runs. `progress` is in order of steps.
pub(super) fn step_summary(view: StepView, progress: &[StepProgress]) -> StepSummary {
    let said = progress.binary_search_by_key(&view.step, |said| said.step).map(|place| &progress[place]);
    let said = said.ok().filter(|said| said.attempt == view.attempts && view.state == "in_progress");
    StepSummary {
        progress: said.map(|said| JsonText::from_bytes(said.progress.clone()).expect("it was checked when it came in")),
        name: view.name,
        state: view.state,
        attempts: view.attempts,
        retry_limit: view.retry_limit,
        ready: view.ready,
        parents: view.parents,
        worker: view.worker,
        retry_in_ms: view.retry_in_ms,
        dispatched_at_ms: view.dispatched_at_ms,
        finished_at_ms: view.finished_at_ms,
        duration_us: view.duration_us,
        error_class: view.error_class,
        error_message: view.error_message,
        error_code: view.error_code,
        result: view.result.map(|text| {
            JsonText::from_bytes(text).expect("the database's encoding is UTF-8, which its driver has checked")
        }),
    }
}
