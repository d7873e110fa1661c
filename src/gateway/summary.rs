//! Live tasks, their steps and their namespaces as they are sent.

use tasker_engine::{NamespaceReport, StepCounts, StepLine, TaskReport};

use super::outbound;
use crate::protocol;

/// Counts as they are sent.
pub fn step_counts(counts: &StepCounts) -> protocol::StepCounts {
    protocol::StepCounts {
        total: counts.total(),
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
    let counts = &report.counts;
    protocol::TaskSummary {
        task_id: report.id.0,
        namespace: report.template.namespace.to_string(),
        name: report.template.name.to_string(),
        version: report.template.version.to_string(),
        state: report.state.as_str().to_owned(),
        priority: report.priority,
        counts: step_counts(counts),
        execution_status: counts.execution_status(report.state).to_owned(),
        recommended_action: counts.recommended_action(report.state).to_owned(),
        completion_percentage: counts.completion_percentage(),
        health: counts.health().to_owned(),
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
        progress: line.progress.clone().map(outbound::stored_json),
        ..protocol::StepSummary::default()
    }
}

/// A namespace as it is sent.
pub(super) fn namespace_summary(report: &NamespaceReport) -> protocol::NamespaceSummary {
    let pause = report.pause.as_ref();
    protocol::NamespaceSummary {
        name: report.name.to_string(),
        paused: pause.is_some(),
        paused_by: pause.map(|pause| pause.actor.to_string()),
        reason: pause.map(|pause| pause.reason.to_string()),
        paused_at_ms: pause.map(|pause| pause.at.0),
        tasks: report.tasks,
        steps_ready: report.steps_ready,
        steps_in_progress: report.steps_in_progress,
        steps_waiting: report.steps_waiting,
        workers: report.workers,
        templates: report.templates,
    }
}
