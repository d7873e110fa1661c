//! Whether what is counted is what there is: live tasks and steps by state, and marks of what becomes durable. Compared
//! after each commit of every scenario, the random ones included.

use std::collections::BTreeMap;

use tasker_engine::*;

/// Marks say as much as the rows of the group: no less, and nothing twice.
pub fn marks_tell_of_the_rows(marks: &[Mark], saves: &[Save]) {
    let mut marked: BTreeMap<&str, usize> = BTreeMap::new();
    for mark in marks {
        let name = match mark {
            Mark::TaskCreated { .. } => "created",
            Mark::TaskEnded { state, .. } => state.as_str(),
            Mark::StepDispatched { .. } => "dispatched",
            Mark::StepEnded { end: StepEnd::Complete, .. } => "step complete",
            Mark::StepEnded { end: StepEnd::ResolvedManually, .. } => "step resolved",
            Mark::StepEnded { end, .. } => end.as_str(),
        };
        *marked.entry(name).or_default() += 1;
    }
    let mut saved: BTreeMap<&str, usize> = BTreeMap::new();
    for save in saves {
        let (name, times) = match save {
            Save::Task(_) => ("created", 1),
            Save::TaskFinished { state, .. } => (state.as_str(), 1),
            Save::Batch(batch) => ("dispatched", batch.items.len()),
            Save::StepSettled(settled) => match settled.kind {
                SettledKind::Complete => ("step complete", 1),
                SettledKind::Bypassed => ("bypassed", 1),
                SettledKind::ResolvedManually => ("step resolved", 1),
            },
            Save::AttemptFailed(failed) => (failed.cause.as_str(), 1),
            Save::StepReturned { .. } => ("returned", 1),
            _ => continue,
        };
        *saved.entry(name).or_default() += times;
    }
    assert_eq!(marked, saved, "marks and rows");
}

/// The end of a task, or of one of its attempts (step and number), by name.
type Ended<'a> = (TaskId, Option<(u32, u32)>, &'a str);

/// Each end of a task and of an attempt has its span, and no other has one.
pub fn spans_tell_of_the_rows(spans: &[Span], saves: &[Save]) {
    let mut told: Vec<Ended<'_>> = Vec::new();
    for span in spans {
        assert!(span.begun <= span.ended, "{span:?}");
        match &span.of {
            SpanOf::Task { state } | SpanOf::Again { state } => told.push((span.task, None, state.as_str())),
            SpanOf::Wait { .. } => {}
            SpanOf::Attempt { step, attempt, end, .. } => told.push((span.task, Some((*step, *attempt)), end.as_str())),
        }
    }
    // That an attempt is stopped shows in the operator's row, which does not say that there was one.
    told.retain(|(_, at, end)| at.is_none() || *end != "cancelled" || !saves.iter().any(stops_attempts));
    let mut saved: Vec<Ended<'_>> = Vec::new();
    for save in saves {
        saved.push(match save {
            Save::TaskFinished { task, state } => (*task, None, state.as_str()),
            Save::StepSettled(settled) if settled.kind == SettledKind::Complete => {
                (settled.task, Some((settled.step, settled.attempt)), "complete")
            }
            Save::AttemptFailed(failed) => (failed.task, Some((failed.step, failed.attempt)), failed.cause.as_str()),
            Save::StepReturned { task, step, attempt, .. } => (*task, Some((*step, *attempt)), "returned"),
            _ => continue,
        });
    }
    told.sort_unstable();
    saved.sort_unstable();
    assert_eq!(told, saved, "spans and rows");
}

fn stops_attempts(save: &Save) -> bool {
    matches!(save, Save::OperatorAction(_))
}

/// The figures that are kept are those that a walk through all live tasks finds.
pub fn figures_are_those_of_the_tasks(figures: &EngineFigures, reports: &[TaskReport]) {
    for template in &figures.templates {
        let mut found = TemplateFigures {
            key: template.key.clone(),
            tasks_pending: 0,
            tasks_in_progress: 0,
            steps_waiting: 0,
            steps_scheduled: 0,
            steps_ready: 0,
            steps_in_progress: 0,
            steps_retrying: 0,
            oldest_ready_ms: template.oldest_ready_ms,
        };
        for report in reports.iter().filter(|report| report.template == template.key) {
            found.tasks_pending += u64::from(report.state == TaskState::Pending);
            found.tasks_in_progress += u64::from(report.state == TaskState::InProgress);
            let ended = |name: &str| {
                let line = report.steps.iter().find(|line| *line.name == *name);
                line.is_some_and(|line| line.state.satisfies_dependents())
            };
            for line in &report.steps {
                match line.state {
                    StepState::Pending if line.ready => found.steps_ready += 1,
                    StepState::Pending if line.parents.iter().all(|parent| ended(parent)) => found.steps_scheduled += 1,
                    StepState::Pending => found.steps_waiting += 1,
                    StepState::InProgress => found.steps_in_progress += 1,
                    StepState::WaitingForRetry => found.steps_retrying += 1,
                    StepState::Complete | StepState::Error | StepState::Cancelled | StepState::ResolvedManually => {}
                }
            }
        }
        assert_eq!(*template, found);
        assert_eq!(template.oldest_ready_ms.is_some(), found.steps_ready > 0, "{template:?}");
    }
}
