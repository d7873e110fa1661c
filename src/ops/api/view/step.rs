//! Steps and their attempts.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{raw, shown, shown_bytes};
use crate::ops::redact::Redaction;
use crate::protocol::StepSummary;
use crate::store;

/// A step of a task.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::ops::api) struct Step {
    name: String,
    /// One of the seven step states.
    state: String,
    /// Attempts made so far.
    attempts: u32,
    /// Most attempts.
    retry_limit: u32,
    /// Whether it could run now.
    ready: bool,
    parents: Vec<String>,
    /// The worker that has it, or had it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    /// Milliseconds until the next attempt, when it waits for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_in_ms: Option<u64>,
    /// When it was handed out last.
    #[serde(skip_serializing_if = "Option::is_none")]
    dispatched_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at_ms: Option<i64>,
    /// How long the handler ran, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    /// Any JSON, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    result: Option<Box<RawValue>>,
    /// What its running attempt said last about how far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    progress: Option<Box<RawValue>>,
}

impl Step {
    /// A step without the values that are not shown.
    pub fn of(step: StepSummary, hidden: &Redaction) -> Step {
        Step {
            result: step.result.as_ref().map(|result| shown(result.as_str(), hidden)),
            progress: step.progress.as_ref().map(|progress| shown(progress.as_str(), hidden)),
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

/// An attempt of a step.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::ops::api) struct Attempt {
    /// From 1; 0 when the step was settled without any.
    attempt: u32,
    /// `complete`, `bypassed`, `resolved_manually`, `failed`, `timed_out`, `worker_lost`, `returned` or `in_progress`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dispatched_at_ms: Option<i64>,
    /// By the worker's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at_ms: Option<i64>,
    /// From dispatch to the start of the handler, in microseconds: two clocks, so that it may be a little off.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_us: Option<u64>,
    /// How long the handler ran, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
    /// When the next attempt may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at_ms: Option<i64>,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failing>,
    /// Why it came back unrun.
    #[serde(skip_serializing_if = "Option::is_none")]
    returned_because: Option<String>,
}

/// How an attempt failed.
#[derive(Debug, Serialize, ToSchema)]
struct Failing {
    /// Whether no attempt follows by itself.
    #[serde(rename = "final")]
    is_final: bool,
    class: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// What the handler added.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    context: Option<Box<RawValue>>,
    /// Innermost line first.
    backtrace: Vec<String>,
}

impl Attempt {
    pub fn of(attempt: store::Attempt, hidden: &Redaction) -> Attempt {
        let store::Attempt { row, worker, queue_us, failing, returned_because } = attempt;
        Attempt {
            attempt: row.attempt,
            state: row.state.name(),
            worker,
            batch_id: row.batch.map(|batch| batch.0),
            dispatched_at_ms: row.dispatched_at_ms,
            started_at_ms: row.started_at_ms,
            finished_at_ms: row.finished_at_ms,
            queue_us,
            duration_us: row.duration_us,
            retry_at_ms: row.retry_at_ms,
            error: failing.map(|failing| {
                let store::Failing { is_final, class, message, code, context, backtrace } = failing;
                let context = context.as_ref().map(|context| shown_bytes(context, hidden));
                Failing { is_final, class, message, code, context, backtrace }
            }),
            returned_because,
        }
    }
}

/// A result that was not simply accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::ops::api) struct Note {
    /// The attempt that it names.
    attempt: i64,
    /// The batch that it names.
    batch_id: Uuid,
    /// Who sent it, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    /// `duplicate`, `late`, `unknown`, `contradicting` or `refused`.
    disposition: String,
    /// `complete` or `error`.
    status: String,
    /// What it carried; a string when it is no JSON.
    #[schema(value_type = Value)]
    payload: Box<RawValue>,
    received_at_ms: i64,
}

impl Note {
    pub fn of(entry: store::LedgerEntry, hidden: &Redaction) -> Note {
        let store::LedgerEntry { attempt, batch, worker, disposition, status, payload, received_at_ms } = entry;
        let payload = raw(&hidden.apply(&payload));
        Note { attempt, batch_id: batch.0, worker, disposition, status, payload, received_at_ms }
    }
}
