//! Answers as the API has them: those of the protocol without correlation ids, with payloads as JSON instead of text.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::ops::redact::Redaction;
use crate::protocol::{JsonText, StepSummary, TaskSummary};

/// A payload that becomes a part of the document digit for digit: no number passes through a float.
pub(super) fn raw(payload: &JsonText) -> Box<RawValue> {
    RawValue::from_string(payload.as_str().to_owned()).unwrap_or_else(|_| {
        // The broker checks every payload; one that is not JSON is still shown, as a string.
        let quoted = serde_json::Value::from(payload.as_str()).to_string();
        RawValue::from_string(quoted).expect("a quoted string is JSON")
    })
}

/// A task and, when asked for, its steps.
#[derive(Debug, Serialize)]
pub(super) struct Task {
    #[serde(flatten)]
    pub task: TaskSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
}

/// A step of a task.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub name: String,
    pub state: String,
    pub attempts: u32,
    pub retry_limit: u32,
    pub ready: bool,
    pub parents: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatched_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Box<RawValue>>,
}

impl Step {
    /// A step without the values that are not shown.
    pub fn of(step: StepSummary, hidden: &Redaction) -> Step {
        let shown = |payload: &JsonText| raw(&JsonText::new(hidden.apply(payload.as_str())));
        Step {
            result: step.result.as_ref().map(shown),
            progress: step.progress.as_ref().map(shown),
            name: step.name,
            state: step.state,
            attempts: step.attempts,
            retry_limit: step.retry_limit,
            ready: step.ready,
            parents: step.parents,
            worker: step.worker,
            retry_in_ms: step.retry_in_ms,
            dispatched_at_ms: step.dispatched_at_ms,
            finished_at_ms: step.finished_at_ms,
            duration_us: step.duration_us,
            error_class: step.error_class,
            error_message: step.error_message,
            error_code: step.error_code,
        }
    }
}
