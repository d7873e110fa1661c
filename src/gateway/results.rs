//! Outcomes that workers report. A step must never be lost over what its handler returned: an outcome that cannot be
//! stored becomes a failure that says so.

use std::sync::Arc;

use bytes::Bytes;
use tasker_engine::{BatchId, CompletedStep, CompletionStatus, Failure, Outcome, StepReference, StepReport, TaskId};

use super::fields::{self, Checked, invalid};
use super::limits::*;
use crate::protocol::{self, JsonText, OutcomeStatus};

/// Class of the failure that stands in for an outcome which cannot be stored.
const INVALID_RESULT: &str = "TaskerCore::Errors::InvalidResult";

/// The outcomes of one report. Refused as a whole when a reference cannot be one that the broker ever gave out.
pub(super) fn step_reports(
    field: &str,
    outcomes: Vec<protocol::StepOutcome>,
    payload_bytes_max: usize,
) -> Checked<Vec<StepReport>> {
    fields::list(field, &outcomes, RESULTS_PER_MESSAGE_MAX)?;
    let reports = outcomes.into_iter().enumerate();
    reports.map(|(index, outcome)| step_report(field, index, outcome, payload_bytes_max)).collect()
}

/// A step that says how far it is.
pub(super) fn progress(message: protocol::ReportProgress) -> Checked<(StepReference, Bytes)> {
    let protocol::ReportProgress { batch_id, task_id, step, attempt, progress, .. } = message;
    let progress = fields::json("progress", &progress, PROGRESS_BYTES_MAX)?;
    fields::name("step", &step)?;
    let at = StepReference { batch: BatchId(batch_id), task: TaskId(task_id), step: Arc::from(step), attempt };
    Ok((at, progress))
}

/// Steps that a worker names.
pub(super) fn step_references(steps: Vec<protocol::StepReference>) -> Checked<Vec<StepReference>> {
    fields::list("steps", &steps, RESULTS_PER_MESSAGE_MAX)?;
    let references = steps.into_iter().enumerate();
    references.map(|(index, step)| reference("steps", index, step)).collect()
}

/// The lines of a batch completion.
pub(super) fn completed_steps(steps: Vec<protocol::CompletedStep>) -> Checked<Vec<CompletedStep>> {
    fields::list("steps", &steps, RESULTS_PER_MESSAGE_MAX)?;
    let lines = steps.into_iter().enumerate();
    lines
        .map(|(index, line)| {
            check_attempt("steps", index, &line.step, line.attempt)?;
            Ok(CompletedStep {
                task: TaskId(line.task_id),
                step: Arc::from(line.step),
                attempt: line.attempt,
                status: match line.status {
                    protocol::CompletionStatus::Complete => CompletionStatus::Complete,
                    protocol::CompletionStatus::Error => CompletionStatus::Failed,
                    protocol::CompletionStatus::Returned => CompletionStatus::Returned,
                },
            })
        })
        .collect()
}

fn check_attempt(field: &str, index: usize, step: &str, attempt: u32) -> Checked<()> {
    fields::name(format_args!("{field}[{index}].step"), step)?;
    if !(1..=INTEGER_MAX).contains(&attempt) {
        return Err(invalid(format_args!("{field}[{index}].attempt"), format_args!("is {attempt}, not from 1 up")));
    }
    Ok(())
}

fn reference(field: &str, index: usize, at: protocol::StepReference) -> Checked<StepReference> {
    check_attempt(field, index, &at.step, at.attempt)?;
    let (batch, task) = (BatchId(at.batch_id), TaskId(at.task_id));
    Ok(StepReference { batch, task, step: Arc::from(at.step), attempt: at.attempt })
}

fn step_report(
    field: &str,
    index: usize,
    outcome: protocol::StepOutcome,
    payload_bytes_max: usize,
) -> Checked<StepReport> {
    let protocol::StepOutcome { batch_id, task_id, step, attempt, .. } = outcome;
    let at = reference(field, index, protocol::StepReference { batch_id, task_id, step, attempt })?;
    let checked = match (outcome.status, outcome.error) {
        (OutcomeStatus::Error, Some(error)) => Ok((failed(failure(error, payload_bytes_max)), None, vec![])),
        (OutcomeStatus::Error, None) => Err("the outcome says `error` but has no `error`".to_owned()),
        (OutcomeStatus::Complete, _) => payloads(outcome.result, outcome.metadata, outcome.events, payload_bytes_max),
    };
    let refused = checked.is_err();
    let (outcome_taken, metadata, events) =
        checked.unwrap_or_else(|message| (failed(unstorable(message)), None, Vec::new()));
    Ok(StepReport {
        at,
        outcome: outcome_taken,
        started_at_us: plausible_time_us(outcome.started_at_us),
        duration_us: outcome.duration_us.min(i64::MAX as u64),
        metadata,
        events,
        refused,
    })
}

type Payloads = (Outcome, Option<Bytes>, Vec<(String, Bytes)>);

/// Everything that a successful outcome carries, or what is wrong with it.
fn payloads(
    result: Option<JsonText>,
    metadata: Option<JsonText>,
    events: Vec<protocol::CustomEvent>,
    payload_bytes_max: usize,
) -> Result<Payloads, String> {
    let result = match result {
        Some(result) => fields::json("result", &result, payload_bytes_max).map_err(|refusal| refusal.message)?,
        None => Bytes::from_static(b"null"),
    };
    let metadata = metadata.map(|metadata| fields::object("metadata", &metadata, payload_bytes_max)).transpose();
    let metadata = metadata.map_err(|refusal| refusal.message)?;
    fields::list("events", &events, EVENTS_PER_OUTCOME_MAX).map_err(|refusal| refusal.message)?;
    let events = events.into_iter().enumerate().map(|(index, event)| {
        fields::name(format_args!("events[{index}].name"), &event.name)?;
        let payload = fields::json(format_args!("events[{index}].payload"), &event.payload, payload_bytes_max)?;
        Ok((event.name, payload))
    });
    let events = events.collect::<Checked<_>>().map_err(|refusal| refusal.message)?;
    Ok((Outcome::Complete(result), metadata, events))
}

fn failed(failure: Failure) -> Outcome {
    Outcome::Failed(Box::new(failure))
}

fn unstorable(message: String) -> Failure {
    Failure { class: INVALID_RESULT.to_owned(), message, retryable: false, ..Failure::default() }
}

/// A failure is kept whatever its texts hold: shortened, cleaned, and without a context that cannot be stored.
fn failure(error: protocol::StepError, payload_bytes_max: usize) -> Failure {
    let mut message = fields::tamed(error.message, ERROR_MESSAGE_BYTES_MAX);
    let context = error.context.and_then(|context| {
        fields::object("context", &context, payload_bytes_max)
            .inspect_err(|refusal| {
                message.push_str(&format!(" (the error's context was dropped: {})", refusal.message));
            })
            .ok()
    });
    let backtrace = error.backtrace.into_iter().take(BACKTRACE_LINES_MAX);
    Failure {
        class: fields::tamed(error.class, NAME_BYTES_MAX),
        message,
        code: error.code.map(|code| fields::tamed(code, NAME_BYTES_MAX)),
        retryable: error.retryable,
        retry_after: error.retry_after.map(|after| fields::tamed(after, RETRY_AFTER_BYTES_MAX)),
        backtrace: backtrace.map(|line| fields::tamed(line, BACKTRACE_LINE_BYTES_MAX)).collect(),
        context,
    }
}

/// A worker's clock may be anything; what no calendar has counts as not known.
fn plausible_time_us(time_us: i64) -> i64 {
    if (0..=TIME_MS_MAX * 1000).contains(&time_us) { time_us } else { 0 }
}
