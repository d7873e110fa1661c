//! The state of a task in a few words, from the counts of its steps.

use tasker_engine::{StepCounts, StepLine, TaskReport, TaskState};

use crate::protocol;

/// What the counts mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assessment {
    /// See [`protocol::TaskSummary::execution_status`].
    pub execution_status: &'static str,
    /// See [`protocol::TaskSummary::recommended_action`].
    pub recommended_action: &'static str,
    /// 0 to 100, two decimals.
    pub completion_percentage: f64,
    /// See [`protocol::TaskSummary::health`].
    pub health: &'static str,
}

/// Assesses a task, whether it is live or read from the database.
///
/// A task that has ended has nothing left to do: `blocked_by_failures` when it ended in error, else `all_complete`
/// (which, for a cancelled task, says that nothing will follow). In a live task, what can go on at once counts more
/// than what is waited for, and failures count only when nothing goes on.
pub fn assess(state: TaskState, counts: &StepCounts) -> Assessment {
    let (execution_status, recommended_action) = match state {
        TaskState::Complete | TaskState::ResolvedManually | TaskState::Cancelled => ("all_complete", "none"),
        TaskState::Error => ("blocked_by_failures", "handle_failures"),
        TaskState::Pending | TaskState::InProgress if counts.ready > 0 => ("has_ready_steps", "execute_ready_steps"),
        TaskState::Pending | TaskState::InProgress if counts.in_progress > 0 => ("processing", "wait_for_completion"),
        TaskState::Pending | TaskState::InProgress if counts.waiting_for_retry > 0 => {
            ("waiting_for_retry", "wait_for_retry")
        }
        TaskState::Pending | TaskState::InProgress if counts.error > 0 => ("blocked_by_failures", "handle_failures"),
        TaskState::Pending | TaskState::InProgress => ("waiting_for_dependencies", "wait_for_dependencies"),
    };
    let moving = counts.ready > 0 || counts.in_progress > 0 || counts.waiting_for_retry > 0;
    let health = match (counts.error > 0, counts.waiting_for_retry > 0) {
        (false, false) => "healthy",
        (true, _) if !moving || state == TaskState::Error => "blocked",
        (_, _) => "recovering",
    };
    let done = f64::from(counts.complete) + f64::from(counts.resolved_manually);
    let total = f64::from(total(counts)).max(1.0);
    let completion_percentage = (done / total * 10_000.0).round() / 100.0;
    Assessment { execution_status, recommended_action, completion_percentage, health }
}

/// All steps of a task. Those that are ready are among the pending ones.
fn total(counts: &StepCounts) -> u32 {
    let StepCounts { pending, ready: _, in_progress, complete, error, cancelled, resolved_manually, waiting_for_retry } =
        *counts;
    pending + in_progress + complete + error + cancelled + resolved_manually + waiting_for_retry
}

/// Counts as they are sent.
pub fn step_counts(counts: &StepCounts) -> protocol::StepCounts {
    protocol::StepCounts {
        total: total(counts),
        pending: counts.pending,
        ready: counts.ready,
        in_progress: counts.in_progress,
        complete: counts.complete,
        error: counts.error,
        cancelled: counts.cancelled,
        resolved_manually: counts.resolved_manually,
        waiting_for_retry: counts.waiting_for_retry,
    }
}

/// A live task as it is sent.
pub(super) fn task_summary(report: &TaskReport) -> protocol::TaskSummary {
    let assessment = assess(report.state, &report.counts);
    protocol::TaskSummary {
        task_id: report.id.0,
        namespace: report.template.namespace.to_string(),
        name: report.template.name.to_string(),
        version: report.template.version.to_string(),
        state: report.state.as_str().to_owned(),
        priority: report.priority,
        counts: step_counts(&report.counts),
        execution_status: assessment.execution_status.to_owned(),
        recommended_action: assessment.recommended_action.to_owned(),
        completion_percentage: assessment.completion_percentage,
        health: assessment.health.to_owned(),
        created_at_ms: report.created_at.0,
        finished_at_ms: report.finished_at.map(|time| time.0),
        run_at_ms: report.run_at.map(|time| time.0),
        tags: report.tags.iter().map(ToString::to_string).collect(),
    }
}

/// A step of a live task as it is sent; times and errors are in the database.
pub(super) fn step_summary(line: &StepLine) -> protocol::StepSummary {
    protocol::StepSummary {
        name: line.name.to_string(),
        state: line.state.as_str().to_owned(),
        attempts: line.attempts,
        retry_limit: line.retry_limit,
        ready: line.ready,
        parents: line.parents.iter().map(ToString::to_string).collect(),
        worker: line.worker.as_ref().map(ToString::to_string),
        retry_in_ms: line.retry_in_ms,
        ..protocol::StepSummary::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_go_on_counts_more_than_what_failed() {
        let none = StepCounts::default();
        for (state, counts, expected) in [
            (TaskState::Pending, StepCounts { pending: 4, ready: 1, ..none }, ("has_ready_steps", 0.0, "healthy")),
            (TaskState::Pending, StepCounts { pending: 4, ..none }, ("waiting_for_dependencies", 0.0, "healthy")),
            (
                TaskState::InProgress,
                StepCounts { pending: 1, in_progress: 1, complete: 1, ..none },
                ("processing", 33.33, "healthy"),
            ),
            (
                TaskState::InProgress,
                StepCounts { waiting_for_retry: 1, resolved_manually: 1, ..none },
                ("waiting_for_retry", 50.0, "recovering"),
            ),
            (TaskState::InProgress, StepCounts { error: 1, in_progress: 1, ..none }, ("processing", 0.0, "recovering")),
            (TaskState::Error, StepCounts { error: 1, complete: 3, ..none }, ("blocked_by_failures", 75.0, "blocked")),
            (TaskState::Complete, StepCounts { complete: 4, ..none }, ("all_complete", 100.0, "healthy")),
            (TaskState::Cancelled, StepCounts { cancelled: 4, ..none }, ("all_complete", 0.0, "healthy")),
        ] {
            let found = assess(state, &counts);
            assert_eq!((found.execution_status, found.completion_percentage, found.health), expected, "{counts:?}");
        }
    }
}
