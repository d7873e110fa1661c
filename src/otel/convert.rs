//! A span of ours as OpenTelemetry has it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tasker_engine::{AttemptEnd, BatchId, SpanOf, TaskState, Wall};

use super::identity::{again_span, attempt_span, returned_span, task_span, wait_span};
use super::queue::Record;

/// What the parts of a span are made of.
struct Parts {
    id: u64,
    /// Below which span it is; `None` for the task's own parent.
    parent: Option<u64>,
    kind: SpanKind,
    name: String,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    events: Vec<Event>,
    status: Status,
}

impl Record {
    fn context(&self, span: u64) -> SpanContext {
        let (trace, span) = (TraceId::from(self.trace.trace), SpanId::from(span));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
    }

    /// As it is sent.
    pub(super) fn into_data(self, scope: &InstrumentationScope) -> SpanData {
        let template = self.template.key.to_string();
        let mut attributes = vec![
            KeyValue::new("messaging.system", "tasker_core"),
            KeyValue::new("messaging.destination.name", template.clone()),
            KeyValue::new("tasker.task_id", self.task.to_string()),
            KeyValue::new("tasker.namespace", self.template.key.namespace.to_string()),
            KeyValue::new("tasker.template", template.clone()),
        ];
        let parts = self.parts(&template);
        attributes.extend(parts.attributes);
        let parent = parts.parent.or(self.trace.parent).map_or(SpanId::INVALID, SpanId::from);
        let mut links = SpanLinks::default();
        links.links = parts.links;
        let mut events = SpanEvents::default();
        events.events = parts.events;
        SpanData {
            span_context: self.context(parts.id),
            parent_span_id: parent,
            parent_span_is_remote: parts.parent.is_none() && self.trace.parent.is_some(),
            span_kind: parts.kind,
            name: parts.name.into(),
            start_time: at(self.begun),
            end_time: end_of(self.ended),
            attributes,
            dropped_attributes_count: 0,
            events,
            links,
            status: parts.status,
            instrumentation_scope: scope.clone(),
        }
    }

    fn parts(&self, template: &str) -> Parts {
        let task = task_span(self.task);
        let step_name = |step: u32| self.template.steps[step as usize].name.to_string();
        match &self.of {
            SpanOf::Task { state } => Parts {
                id: task,
                parent: None,
                kind: SpanKind::Consumer,
                name: format!("{template} task"),
                attributes: vec![outcome(state.as_str())],
                links: Vec::new(),
                events: Vec::new(),
                status: of_task(*state),
            },
            SpanOf::Again { state } => Parts {
                id: again_span(self.task, self.ended.0),
                parent: Some(task),
                kind: SpanKind::Internal,
                name: format!("{template} again"),
                attributes: vec![outcome(state.as_str())],
                links: Vec::new(),
                events: Vec::new(),
                status: of_task(*state),
            },
            SpanOf::Wait { step, attempt, batch } => Parts {
                id: wait_span(self.task, *step, *batch),
                parent: Some(task),
                kind: SpanKind::Internal,
                name: format!("{template} {} wait", step_name(*step)),
                attributes: of_step(step_name(*step), *attempt, *batch).into(),
                links: Vec::new(),
                events: Vec::new(),
                status: Status::Unset,
            },
            SpanOf::Attempt { step, attempt, batch, worker, end } => {
                let returned = matches!(end, AttemptEnd::Returned { .. });
                let mut attributes: Vec<KeyValue> = of_step(step_name(*step), *attempt, *batch).into();
                attributes.extend(worker.as_ref().map(|name| KeyValue::new("tasker.worker", name.to_string())));
                attributes.push(outcome(end.as_str()));
                let (status, events) = self.failure(end, &mut attributes);
                let before = (*attempt > 1).then(|| attempt_span(self.task, *step, attempt - 1));
                let relation = || vec![KeyValue::new("tasker.link", "previous_attempt")];
                Parts {
                    id: match returned {
                        true => returned_span(self.task, *step, *batch),
                        false => attempt_span(self.task, *step, *attempt),
                    },
                    parent: Some(task),
                    kind: if returned { SpanKind::Internal } else { SpanKind::Producer },
                    name: format!("{template} {} {}", step_name(*step), if returned { "returned" } else { "attempt" }),
                    attributes,
                    links: before.map(|before| Link::new(self.context(before), relation(), 0)).into_iter().collect(),
                    events,
                    status,
                }
            }
        }
    }

    /// Status and events of an attempt; what is known of a failure beside them goes to the attributes.
    fn failure(&self, end: &AttemptEnd, attributes: &mut Vec<KeyValue>) -> (Status, Vec<Event>) {
        match end {
            AttemptEnd::Complete | AttemptEnd::Cancelled => (Status::Unset, Vec::new()),
            AttemptEnd::Returned { reason } => {
                attributes.push(KeyValue::new("tasker.reason", reason.to_string()));
                (Status::Unset, Vec::new())
            }
            AttemptEnd::Failed { cause: _, class, message, retry_in_ms } => {
                let (class, message) = (class.to_string(), message.to_string());
                attributes.push(KeyValue::new("error.type", class.clone()));
                let wait_ms = retry_in_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
                attributes.extend(wait_ms.map(|ms| KeyValue::new("tasker.retry_in_ms", ms)));
                let details =
                    vec![KeyValue::new("exception.type", class), KeyValue::new("exception.message", message.clone())];
                let event = Event::new("exception", end_of(self.ended), details, 0);
                (Status::error(message), vec![event])
            }
        }
    }
}

fn outcome(name: &'static str) -> KeyValue {
    KeyValue::new("tasker.outcome", name)
}

fn of_step(step: String, attempt: u32, batch: BatchId) -> [KeyValue; 3] {
    [
        KeyValue::new("tasker.step", step),
        KeyValue::new("tasker.attempt", i64::from(attempt)),
        KeyValue::new("tasker.batch_id", batch.to_string()),
    ]
}

fn of_task(state: TaskState) -> Status {
    match state {
        TaskState::Error => Status::error("a step has failed for good"),
        TaskState::Pending
        | TaskState::InProgress
        | TaskState::Complete
        | TaskState::Cancelled
        | TaskState::ResolvedManually => Status::Unset,
    }
}

fn at(wall: Wall) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(wall.0).unwrap_or(0))
}

/// The end of the millisecond: what ended in it, such as a handler's own span, must not end after what it is a part of.
fn end_of(wall: Wall) -> SystemTime {
    at(wall) + Duration::from_nanos(999_999)
}
