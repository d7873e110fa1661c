//! Answers and orders of the engine become messages.

use std::sync::Arc;

use bytes::Bytes;
use tasker_engine::{
    Dispatch, DispatchedStep, DispatchedTask, Disposition, Origin, Refusal, RefusalKind, Reply, StepReference,
    TaskInitialized, Template, TemplateReport, TemplateSource, WorkerMessage, WorkerReport,
};
use uuid::Uuid;

use super::explained::step_explained;
use super::limits::{BUNDLE_MESSAGES_MAX, PROGRESS_BYTES_MAX, RETRY_AFTER_MS};
use super::{Settings, summary, templates};
use crate::otel::{Sampling, TaskTrace, attempt_span};
use crate::protocol::{self, ErrorCode, ErrorReply, JsonText, Message};

/// The message that carries an answer.
pub(super) fn reply(settings: &Settings, to: Origin, reply: Reply) -> Message {
    let correlation_id = to.correlation;
    match reply {
        Reply::Refused(refusal) => error_reply(correlation_id, refusal).into(),
        Reply::TemplateRegistered { template, created } => protocol::TemplateRegistered {
            correlation_id,
            template: template.key.to_string(),
            created,
            steps: step_names(&template),
        }
        .into(),
        Reply::TasksInitialized(rows) => {
            let tasks = rows.into_iter().map(|row| task_initialized(correlation_id, row)).collect();
            protocol::TasksInitialized { correlation_id, tasks }.into()
        }
        Reply::TaskTried { task, steps_dispatched, batches, steps_waiting, state } => protocol::TaskTried {
            correlation_id,
            task_id: task.0,
            ready: steps_dispatched > 0,
            steps_dispatched,
            batch_ids: batches.into_iter().map(|batch| batch.0).collect(),
            steps_waiting,
            state: state.as_str().to_owned(),
        }
        .into(),
        Reply::Status(report) => protocol::TaskStatusReport {
            correlation_id,
            task: summary::task_summary(&report),
            steps: report.steps.iter().map(summary::step_summary).collect(),
        }
        .into(),
        Reply::Waited { finished, task } => {
            protocol::TaskWaited { correlation_id, finished, task: summary::task_summary(&task) }.into()
        }
        Reply::TaskCancelled { task, steps_stopped, steps_cancelled } => {
            protocol::TaskCancelled { correlation_id, task_id: task.0, steps_stopped, steps_cancelled }.into()
        }
        Reply::TaskRetried { task, steps } => {
            protocol::TaskRetried { correlation_id, task_id: task.0, steps: strings(&steps) }.into()
        }
        Reply::StepResolved { task, step, state } => protocol::StepResolved {
            correlation_id,
            task_id: task.0,
            step: step.to_string(),
            task_state: state.as_str().to_owned(),
        }
        .into(),
        Reply::NamespaceChanged { changed, namespace } => {
            protocol::NamespaceChanged { correlation_id, changed, namespace: summary::namespace_summary(&namespace) }
                .into()
        }
        Reply::Namespaces(namespaces) => {
            let namespaces = namespaces.iter().map(summary::namespace_summary).collect();
            protocol::NamespaceList { correlation_id, namespaces }.into()
        }
        Reply::WorkerDraining { worker, changed, in_flight, batches } => {
            let worker = worker.to_string();
            protocol::WorkerDraining { correlation_id, worker, changed, in_flight, batches }.into()
        }
        Reply::Explained(explanation) => step_explained(correlation_id, &explanation).into(),
        Reply::Workers(workers) => {
            let workers = workers.into_iter().map(worker_summary).collect();
            protocol::WorkerList { correlation_id, workers }.into()
        }
        Reply::Templates(templates) => {
            let templates = templates.iter().map(template_summary).collect();
            protocol::TemplateList { correlation_id, templates }.into()
        }
        Reply::Template(report) => template_definition(correlation_id, &report).into(),
        Reply::WorkerRegistered { registration, closed_batches, templates } => protocol::WorkerRegistered {
            correlation_id,
            registration_id: registration.0,
            broker_id: settings.broker_id,
            epoch: settings.epoch,
            heartbeat_ms: settings.heartbeat_ms,
            worker_timeout_ms: settings.worker_timeout_ms,
            payload_bytes_max: settings.payload_bytes_max,
            message_bytes_max: settings.message_bytes_max,
            unacknowledged_max: settings.unacknowledged_max,
            progress_bytes_max: Some(PROGRESS_BYTES_MAX as u64),
            bundle_max: u32::try_from(BUNDLE_MESSAGES_MAX).ok(),
            closed_batches: closed_batches.into_iter().map(|batch| batch.0).collect(),
            templates: templates.iter().map(|template| template.key.to_string()).collect(),
        }
        .into(),
        Reply::HeartbeatAcknowledged => {
            protocol::HeartbeatAcknowledged { correlation_id, broker_id: settings.broker_id, epoch: settings.epoch }
                .into()
        }
        Reply::ResultsAccepted { results, closed_batches } => protocol::ResultsAccepted {
            correlation_id,
            results: results.into_iter().map(accepted_result).collect(),
            closed_batches: closed_batches.into_iter().map(|batch| batch.0).collect(),
        }
        .into(),
        Reply::ResultsMissing { batch, steps } => {
            let steps = steps.into_iter().map(step_reference).collect();
            protocol::ResultsMissing { correlation_id, batch_id: batch.0, steps }.into()
        }
        Reply::WorkerUnregistered { registration, steps_returned } => {
            protocol::WorkerUnregistered { correlation_id, registration_id: registration.0, steps_returned }.into()
        }
        Reply::RegisterAgain { reason } => register_again(settings, correlation_id, reason),
    }
}

/// The message that carries an order to a worker.
pub(super) fn worker_message(settings: &Settings, message: WorkerMessage) -> Message {
    match message {
        WorkerMessage::Execute(dispatch) => execute_batch(*dispatch, settings.tracing).into(),
        WorkerMessage::Cancel { steps, timed_out } => protocol::CancelSteps {
            steps: steps.into_iter().map(step_reference).collect(),
            reason: if timed_out { protocol::CancelReason::Timeout } else { protocol::CancelReason::Cancelled },
        }
        .into(),
        WorkerMessage::Drain { reason } => protocol::Drain { reason: reason.to_string() }.into(),
        WorkerMessage::RegisterAgain { reason } => register_again(settings, Uuid::nil(), reason),
    }
}

/// A refusal as it is sent.
pub(super) fn error_reply(correlation_id: Uuid, refusal: Refusal) -> ErrorReply {
    let Refusal { kind, message, field, position, limit } = refusal;
    let code = error_code(kind);
    ErrorReply {
        correlation_id,
        code,
        message,
        retryable: code.retryable(),
        field,
        limit,
        position,
        retry_after_ms: code.retryable().then_some(RETRY_AFTER_MS),
    }
}

const fn error_code(kind: RefusalKind) -> ErrorCode {
    match kind {
        RefusalKind::InvalidField => ErrorCode::InvalidField,
        RefusalKind::InvalidJson => ErrorCode::InvalidJson,
        RefusalKind::TooLarge => ErrorCode::TooLarge,
        RefusalKind::InvalidTemplate => ErrorCode::InvalidTemplate,
        RefusalKind::TemplateConflict => ErrorCode::TemplateConflict,
        RefusalKind::UnknownTemplate => ErrorCode::UnknownTemplate,
        RefusalKind::UnknownVersion => ErrorCode::UnknownVersion,
        RefusalKind::InvalidContext => ErrorCode::InvalidContext,
        RefusalKind::UnknownTask => ErrorCode::UnknownTask,
        RefusalKind::UnknownStep => ErrorCode::UnknownStep,
        RefusalKind::InvalidState => ErrorCode::InvalidState,
        RefusalKind::UnknownWorker => ErrorCode::UnknownWorker,
        RefusalKind::Overloaded => ErrorCode::Overloaded,
        RefusalKind::Unavailable => ErrorCode::Unavailable,
        RefusalKind::Refused => ErrorCode::Refused,
        RefusalKind::Forbidden => ErrorCode::Forbidden,
    }
}

fn register_again(settings: &Settings, correlation_id: Uuid, reason: &str) -> Message {
    protocol::RegisterAgain { correlation_id, broker_id: settings.broker_id, reason: reason.to_owned() }.into()
}

fn task_initialized(correlation: Uuid, row: Result<TaskInitialized, Refusal>) -> protocol::TaskInitialized {
    match row {
        Ok(TaskInitialized { task, template, duplicate }) => protocol::TaskInitialized {
            task_id: Some(task.0),
            template: Some(template.key.to_string()),
            steps: step_names(&template),
            duplicate,
            error: None,
        },
        Err(refusal) => protocol::TaskInitialized {
            task_id: None,
            template: None,
            steps: Vec::new(),
            duplicate: false,
            error: Some(error_reply(correlation, refusal)),
        },
    }
}

fn accepted_result((at, disposition): (StepReference, Disposition)) -> protocol::AcceptedResult {
    protocol::AcceptedResult {
        batch_id: at.batch.0,
        task_id: at.task.0,
        step: at.step.to_string(),
        attempt: at.attempt,
        disposition: match disposition {
            Disposition::Accepted => protocol::Disposition::Accepted,
            Disposition::Duplicate => protocol::Disposition::Duplicate,
            Disposition::Late => protocol::Disposition::Late,
            Disposition::Unknown => protocol::Disposition::Unknown,
            Disposition::Contradicting => protocol::Disposition::Contradicting,
            Disposition::Refused => protocol::Disposition::Refused,
        },
    }
}

fn step_reference(at: StepReference) -> protocol::StepReference {
    let (batch_id, task_id, step) = (at.batch.0, at.task.0, at.step.to_string());
    protocol::StepReference { batch_id, task_id, step, attempt: at.attempt }
}

fn execute_batch(dispatch: Dispatch, tracing: Option<Sampling>) -> protocol::ExecuteBatch {
    let Dispatch { batch, registration, deadline_in_ms, tasks, steps } = dispatch;
    let step = |step: &DispatchedStep| {
        let task = &tasks[step.task as usize];
        let span = tracing.map(|sampling| {
            TaskTrace::of(task.id, &task.labels, sampling).traceparent(attempt_span(task.id, step.step, step.attempt))
        });
        batch_step(step, &task.template, span)
    };
    protocol::ExecuteBatch {
        batch_id: batch.0,
        registration_id: registration.0,
        deadline_ms: deadline_in_ms,
        steps: steps.iter().map(step).collect(),
        tasks: tasks.into_iter().map(batch_task).collect(),
    }
}

fn batch_task(task: DispatchedTask) -> protocol::BatchTask {
    let DispatchedTask { id, template, context, priority, labels, results } = task;
    let result = |(step, result): (u32, Bytes)| protocol::ParentResult {
        step: template.steps[step as usize].name.to_string(),
        result: stored_json(result),
    };
    protocol::BatchTask {
        task_id: id.0,
        namespace: template.key.namespace.to_string(),
        name: template.key.name.to_string(),
        version: template.key.version.to_string(),
        context: stored_json(context),
        tags: labels.tags.iter().map(ToString::to_string).collect(),
        priority,
        correlation_id: labels.correlation_id.as_ref().map(ToString::to_string),
        traceparent: labels.trace.as_ref().map(|trace| trace.parent.to_string()),
        tracestate: labels.trace.as_ref().and_then(|trace| Some(trace.state.as_ref()?.to_string())),
        results: results.into_iter().map(result).collect(),
    }
}

fn batch_step(step: &DispatchedStep, template: &Template, traceparent: Option<String>) -> protocol::BatchStep {
    let definition = &template.steps[step.step as usize];
    let parents = template.dag.parents(step.step);
    protocol::BatchStep {
        task: step.task,
        name: definition.name.to_string(),
        handler: definition.handler_class.to_string(),
        attempt: step.attempt,
        traceparent,
        retry_limit: step.retry_limit,
        retryable: definition.retryable,
        timeout_seconds: definition.timeout_ms as f64 / 1000.0,
        inputs: stored_json(definition.inputs.clone()),
        parents: parents.iter().map(|&parent| template.steps[parent as usize].name.to_string()).collect(),
        custom_events: strings(&definition.custom_events),
    }
}

/// A payload that passed the door, or came from the database, which has only what passed it.
pub(super) fn stored_json(bytes: Bytes) -> JsonText {
    JsonText::from_bytes(bytes).expect("a stored payload is UTF-8: it was checked when it came in")
}

fn worker_summary(worker: WorkerReport) -> protocol::WorkerSummary {
    protocol::WorkerSummary {
        name: worker.name.to_string(),
        registration_id: worker.registration.0,
        incarnation: worker.incarnation,
        state: worker.state.to_owned(),
        concurrency: worker.concurrency,
        in_flight: worker.in_flight,
        batches: worker.batches,
        seen_ms_ago: worker.seen_ms_ago,
        templates: worker.capabilities.iter().map(templates::capability_text).collect(),
        host: worker.host.to_string(),
        pid: worker.pid,
        language: worker.language.to_string(),
        library: worker.library.to_string(),
    }
}

fn template_summary(report: &TemplateReport) -> protocol::TemplateSummary {
    let TemplateSource { template, digest, description, .. } = &report.source;
    protocol::TemplateSummary {
        namespace: template.key.namespace.to_string(),
        name: template.key.name.to_string(),
        version: template.key.version.to_string(),
        description: description.as_ref().map(ToString::to_string),
        steps: u32::try_from(template.steps.len()).unwrap_or(u32::MAX),
        workers: report.workers,
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn template_definition(correlation_id: Uuid, report: &TemplateReport) -> protocol::TemplateDefinition {
    let source = &report.source;
    protocol::TemplateDefinition {
        correlation_id,
        template: template_summary(report),
        yaml: source.yaml.to_string(),
        task_handler_class: source.task_handler_class.as_ref().map(ToString::to_string),
        handler_config: source.handler_config.as_ref().map(|config| JsonText::new(&**config)),
    }
}

fn step_names(template: &Template) -> Vec<String> {
    template.steps.iter().map(|step| step.name.to_string()).collect()
}

fn strings(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use tasker_engine::{
        Backoff, Capability, Config, Deliver, Effects, Engine, Event, Mono, Now, Outcome, PeerId, StepReference,
        StepReport, StepTemplate, TaskLabels, TaskRequest, TemplateKey, TraceContext, Wall, WorkerIntroduction,
    };

    use super::*;

    const NOW: Now = Now { mono: Mono(1_000), wall: Wall(1_770_000_000_000) };

    /// Steps without parents, and two that wait for all of them; everything that has a name has a long one.
    fn wide_template() -> TemplateSource {
        let long = |name: &str| -> Arc<str> { format!("{name}{}", "n".repeat(120)).into() };
        let parents: Vec<Arc<str>> = (0..40).map(|number| long(&number.to_string())).collect();
        let step = |name: &Arc<str>| StepTemplate {
            name: name.clone(),
            handler_class: long("Handler"),
            retryable: true,
            retry_limit: u32::MAX,
            backoff: Backoff::default(),
            skippable: false,
            timeout_ms: 123_456_789,
            inputs: Bytes::from_static(br#"{"key":"value"}"#),
            custom_events: (0..10).map(|number| long(&number.to_string())).collect(),
            dependent_system: None,
        };
        let first = parents.iter().map(|name| (step(name), Vec::new()));
        let last = [long("x"), long("y")].map(|name| (step(&name), parents.clone()));
        let key = TemplateKey { namespace: "shop".into(), name: long("wide"), version: "1.0.0".into() };
        let template = Template::new(key, first.chain(last).collect()).expect("a valid template");
        TemplateSource {
            template: Arc::new(template),
            yaml: "".into(),
            digest: [0; 32],
            description: None,
            task_handler_class: None,
            handler_config: None,
            environment: None,
        }
    }

    /// Runs two tasks; the bytes of each message with a batch.
    fn batches(delivery_bytes_max: u64, tracing: Option<Sampling>) -> Vec<u64> {
        let config = Config { delivery_bytes_max, batch_bytes_max: u64::MAX, ..Config::default() };
        let mut engine = Engine::new(config, [1, 2]);
        let origin = Origin { peer: PeerId(1), correlation: Uuid::nil() };
        let source = wide_template();
        let template = source.template.clone();
        let worker = WorkerIntroduction {
            name: "w".into(),
            incarnation: Uuid::nil(),
            capabilities: vec![Capability::Namespace("shop".into())],
            templates: Vec::new(),
            concurrency: 100,
            host: "host".into(),
            pid: 1,
            language: "ruby".into(),
            library: "tasker_core".into(),
            key: None,
            open_batches: Vec::new(),
            unacknowledged: Vec::new(),
        };
        let request = TaskRequest {
            namespace: "shop".to_owned(),
            name: template.key.name.to_string(),
            context: Bytes::from(format!("\"{}\"", "c".repeat(700))),
            labels: TaskLabels {
                tags: vec!["t".repeat(200).into(); 5],
                trace: TraceContext::of(Some("p".repeat(55).into()), Some("s".repeat(500).into())),
                ..TaskLabels::default()
            },
            ..TaskRequest::default()
        };
        let mut events = vec![
            Event::TemplateSubmitted { origin, template: source },
            Event::WorkerRegistered { origin, worker },
            Event::TasksSubmitted { origin, requests: vec![Ok(request.clone()), Ok(request)] },
        ];
        let mut sizes = Vec::new();
        while !events.is_empty() {
            let mut out = Effects::default();
            events.drain(..).for_each(|event| engine.handle(NOW, event, &mut out));
            engine.plan(NOW, &mut out);
            for delivery in out.deliveries {
                let Deliver::Worker { message: WorkerMessage::Execute(dispatch), .. } = delivery else { continue };
                let results = dispatch.steps.iter().map(|step| StepReport {
                    at: StepReference {
                        batch: dispatch.batch,
                        task: dispatch.tasks[step.task as usize].id,
                        step: template.steps[step.step as usize].name.clone(),
                        attempt: step.attempt,
                    },
                    outcome: Outcome::Complete(Bytes::from(format!("\"{}\"", "r".repeat(500)))),
                    started_at_us: 0,
                    duration_us: 0,
                    metadata: None,
                    events: Vec::new(),
                    refused: false,
                });
                events.push(Event::ResultsReported { origin, results: results.collect() });
                let (_, body) = protocol::encode(&execute_batch(*dispatch, tracing).into());
                sizes.push(body.len() as u64);
            }
        }
        sizes
    }

    #[test]
    fn no_batch_is_larger_than_the_engine_was_told() {
        let tracing = Some(Sampling { one_in: 1 });
        let whole = batches(u64::MAX, tracing);
        assert_eq!(whole.len(), 2, "all that is ready at a time fits into one");
        assert!(batches(u64::MAX, None) < whole, "a step has its span, when there is one");
        for limit in (5_000..150_000).step_by(997) {
            let sizes = batches(limit, tracing);
            let most = sizes.iter().copied().max().expect("a first step fits");
            assert!(most <= limit, "{most} bytes, {limit} are allowed");
            assert!(most * 10 >= limit.min(whole[0]) * 5, "{most} bytes, {limit} are allowed: far too careful");
        }
    }
}
