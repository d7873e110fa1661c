//! Messages of peers become events of the engine. Everything is checked here, so that behind this door every text can
//! be stored and every payload is a JSON document of bearable size.

use std::sync::Arc;

use bytes::Bytes;
use tasker_engine::{
    BatchId, Beat, Event, ExplanationQuery, FleetAction, FleetActionKind, KeyLookup, Operation, OperationKind, Origin,
    PeerId, Refusal, RefusalKind, RegistrationId, StatusQuery, TaskId, TaskLabels, TaskRequest, TraceContext, Wall,
    WorkerIntroduction,
};
use uuid::Uuid;

use super::Incoming;
use super::fields::{self, Checked, invalid};
use super::limits::*;
use super::results;
use super::templates::{self, Compiler};
use crate::filter::{self, Filter};
use crate::protocol::{self, JsonText, Message, MessageType};

/// The checks at the door, with the limits that are configured.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) payload_bytes_max: usize,
    pub(super) tasks_per_command_max: usize,
    pub(super) compiler: Compiler,
}

/// Why a message goes no further.
pub(super) enum Refused {
    /// A value that is not taken. Applications make such mistakes.
    Value(Origin, Refusal),
    /// A message that only a broker sends.
    Direction(MessageType),
}

/// What a message says, and whom to answer.
pub(super) type Admitted = Result<(Origin, Incoming), Refused>;

impl Door {
    /// What a message says to the engine or the server.
    pub(super) fn admit(&self, peer: PeerId, message: Message) -> Admitted {
        match message {
            Message::RegisterWorker(message) => answer(peer, message.correlation_id, |o| self.register(o, message)),
            Message::WorkerHeartbeat(message) => answer(peer, message.correlation_id, |origin| {
                let beat = Beat { free_slots: message.free_slots, in_flight: message.in_flight };
                Ok(Event::WorkerBeat { origin, registration: RegistrationId(message.registration_id), beat })
            }),
            Message::ReportPartialResult(message) => answer(peer, message.correlation_id, |origin| {
                let results = results::step_reports("results", message.results, self.payload_bytes_max)?;
                Ok(Event::ResultsReported { origin, results })
            }),
            Message::ReportBatchCompletion(message) => answer(peer, message.correlation_id, |origin| {
                let steps = results::completed_steps(message.steps)?;
                Ok(Event::BatchReported { origin, batch: BatchId(message.batch_id), steps })
            }),
            Message::ReturnSteps(message) => answer(peer, message.correlation_id, |origin| {
                let reason = fields::tamed(message.reason, TEXT_BYTES_MAX);
                Ok(Event::StepsReturned { origin, steps: results::step_references(message.steps)?, reason })
            }),
            Message::UnregisterWorker(message) => answer(peer, message.correlation_id, |origin| {
                let (registration, reason) = (RegistrationId(message.registration_id), message.reason);
                let reason = fields::tamed(reason, TEXT_BYTES_MAX);
                Ok(Event::WorkerLeft { origin, registration, drain: message.drain, reason })
            }),
            Message::ReportProgress(message) => answer(peer, message.correlation_id, |_| {
                let (at, progress) = results::progress(message)?;
                Ok(Event::StepProgressed { peer, at, progress })
            }),
            Message::RegisterTemplate(message) => answer(peer, message.correlation_id, |origin| {
                fields::optional_name("source", message.source.as_deref())?;
                let template = self.compiler.compile("yaml", message.source.as_deref(), &message.yaml)?;
                Ok(Event::TemplateSubmitted { origin, template })
            }),
            Message::InitializeTask(message) => answer(peer, message.correlation_id, |origin| {
                fields::list("tasks", &message.tasks, self.tasks_per_command_max)?;
                let requests = message.tasks.into_iter().map(|request| self.task_request(request)).collect();
                Ok(Event::TasksSubmitted { origin, requests })
            }),
            Message::TryTaskIfReady(message) => answer(peer, message.correlation_id, |origin| {
                Ok(Event::TaskTried { origin, task: TaskId(message.task_id) })
            }),
            Message::TaskStatus(message) => answer(peer, message.correlation_id, |origin| {
                fields::names("include_results", &message.include_results, STEP_NAMES_MAX)?;
                let protocol::TaskStatus { task_id, include_steps, include_results, .. } = message;
                let query = StatusQuery { task: TaskId(task_id), include_steps, include_results };
                Ok(Event::StatusAsked { origin, query })
            }),
            Message::WaitForTask(message) => answer(peer, message.correlation_id, |origin| {
                Ok(Event::WaitAsked { origin, task: TaskId(message.task_id), timeout_ms: message.timeout_ms })
            }),
            Message::CancelTask(message) => answer(peer, message.correlation_id, |origin| {
                operation(origin, message.task_id, OperationKind::Cancel, message.actor, message.reason)
            }),
            Message::RetryTask(message) => answer(peer, message.correlation_id, |origin| {
                fields::names("steps", &message.steps, STEP_NAMES_MAX)?;
                let kind = OperationKind::Retry { steps: message.steps };
                operation(origin, message.task_id, kind, message.actor, message.reason)
            }),
            Message::ResolveStep(message) => answer(peer, message.correlation_id, |origin| {
                fields::name("step", &message.step)?;
                let result = match message.result {
                    Some(result) => fields::json("result", &result, self.payload_bytes_max)?,
                    None => Bytes::from_static(b"null"),
                };
                let kind = OperationKind::Resolve { step: message.step, result };
                operation(origin, message.task_id, kind, message.actor, message.reason)
            }),
            Message::PauseNamespace(message) => answer(peer, message.correlation_id, |origin| {
                let kind = FleetActionKind::PauseNamespace;
                fleet_action(origin, kind, "namespace", &message.namespace, message.actor, message.reason)
            }),
            Message::ResumeNamespace(message) => answer(peer, message.correlation_id, |origin| {
                let kind = FleetActionKind::ResumeNamespace;
                fleet_action(origin, kind, "namespace", &message.namespace, message.actor, message.reason)
            }),
            Message::DrainWorker(message) => answer(peer, message.correlation_id, |origin| {
                let kind = FleetActionKind::DrainWorker;
                fleet_action(origin, kind, "worker", &message.worker, message.actor, message.reason)
            }),
            Message::ListNamespaces(message) => {
                answer(peer, message.correlation_id, |origin| Ok(Event::NamespacesAsked { origin }))
            }
            Message::ExplainStep(message) => answer(peer, message.correlation_id, |origin| {
                let step = message.step.filter(|step| !step.is_empty());
                fields::optional_name("step", step.as_deref())?;
                let query = ExplanationQuery { task: TaskId(message.task_id), step, store_away: false };
                Ok(Event::ExplanationAsked { origin, query })
            }),
            Message::ListWorkers(message) => {
                answer(peer, message.correlation_id, |origin| Ok(Event::WorkersAsked { origin }))
            }
            Message::ListTemplates(message) => answer(peer, message.correlation_id, |origin| {
                fields::optional_name("namespace", message.namespace.as_deref())?;
                Ok(Event::TemplatesAsked { origin, namespace: message.namespace })
            }),
            Message::ShowTemplate(message) => answer(peer, message.correlation_id, |origin| {
                let (namespace, name, version) = templates::reference("template", &message.template)?;
                Ok(Event::TemplateAsked { origin, namespace, name, version })
            }),
            Message::ListTasks(query) => list_tasks(peer, query),
            Message::AnnounceTasks(message) => {
                let origin = Origin { peer, correlation: message.correlation_id };
                Ok((origin, Incoming::TasksAnnounced { origin }))
            }
            Message::FindTask(query) => find_task(peer, query),
            Message::HealthCheck(message) => {
                let origin = Origin { peer, correlation: message.correlation_id };
                Ok((origin, Incoming::Health { origin, level: message.level, counts: None }))
            }
            Message::WorkerRegistered(_)
            | Message::HeartbeatAcknowledged(_)
            | Message::ExecuteBatch(_)
            | Message::ResultsAccepted(_)
            | Message::ResultsMissing(_)
            | Message::CancelSteps(_)
            | Message::Drain(_)
            | Message::RegisterAgain(_)
            | Message::WorkerUnregistered(_)
            | Message::TemplateRegistered(_)
            | Message::TasksInitialized(_)
            | Message::TaskTried(_)
            | Message::TaskStatusReport(_)
            | Message::TaskWaited(_)
            | Message::TaskList(_)
            | Message::TaskCancelled(_)
            | Message::TaskRetried(_)
            | Message::StepResolved(_)
            | Message::WorkerList(_)
            | Message::HealthReport(_)
            | Message::TemplateList(_)
            | Message::TemplateDefinition(_)
            | Message::TasksAnnounced(_)
            | Message::TaskFound(_)
            | Message::NamespaceChanged(_)
            | Message::NamespaceList(_)
            | Message::WorkerDraining(_)
            | Message::StepExplained(_)
            | Message::Error(_)
            | Message::Event(_)
            | Message::Control(_) => Err(Refused::Direction(message.message_type())),
        }
    }

    fn register(&self, origin: Origin, message: protocol::RegisterWorker) -> Checked<Event> {
        fields::name("name", &message.name)?;
        for (field, value) in [("host", &message.host), ("language", &message.language), ("library", &message.library)]
        {
            fields::text(field, value, NAME_BYTES_MAX)?;
        }
        if message.concurrency == 0 {
            return Err(invalid("concurrency", "is 0; a worker without a slot can run nothing"));
        }
        for (field, value) in [("concurrency", message.concurrency), ("pid", message.pid)] {
            if value > INTEGER_MAX {
                return Err(invalid(field, format_args!("is {value}, at most {INTEGER_MAX} is taken")));
            }
        }
        fields::list("templates", &message.templates, CAPABILITIES_MAX)?;
        fields::list("open_batches", &message.open_batches, OPEN_BATCHES_MAX)?;
        let (capabilities, templates) = templates::capabilities(message.templates, &self.compiler)?;
        let worker = WorkerIntroduction {
            name: Arc::from(message.name),
            incarnation: message.incarnation,
            capabilities,
            templates,
            concurrency: message.concurrency,
            host: Arc::from(message.host),
            pid: message.pid,
            language: Arc::from(message.language),
            library: Arc::from(message.library),
            key: None,
            open_batches: message.open_batches.into_iter().map(BatchId).collect(),
            unacknowledged: results::step_reports("unacknowledged", message.unacknowledged, self.payload_bytes_max)?,
        };
        Ok(Event::WorkerRegistered { origin, worker })
    }

    /// One row of an `InitializeTask`; a refusal takes its place among the outcomes.
    fn task_request(&self, request: protocol::TaskRequest) -> Checked<TaskRequest> {
        let request = TaskRequest {
            namespace: request.namespace,
            name: request.name,
            version: request.version,
            context: request.context.bytes().clone(),
            idempotency_key: request.idempotency_key.map(Box::from),
            priority: request.priority,
            bypass_steps: request.bypass_steps,
            run_at: request.run_at_ms.map(Wall),
            labels: TaskLabels {
                initiator: request.initiator.map(Box::from),
                source_system: request.source_system.map(Box::from),
                reason: request.reason.map(Box::from),
                tags: request.tags.into_iter().map(Box::from).collect(),
                correlation_id: request.correlation_id.map(Box::from),
                options: request.options.map(|options| options.bytes().clone()),
                trace: TraceContext::of(request.traceparent.map(Box::from), request.tracestate.map(Box::from)),
            },
        };
        check_request(&request, self.payload_bytes_max)?;
        Ok(request)
    }
}

/// Holds a request to the limits of the wire, whichever way it came.
pub fn check_request(request: &TaskRequest, payload_bytes_max: usize) -> Result<(), Refusal> {
    let labels = &request.labels;
    fields::name("namespace", &request.namespace)?;
    fields::name("name", &request.name)?;
    fields::optional_name("version", request.version.as_deref())?;
    fields::optional_name("idempotency_key", request.idempotency_key.as_deref())?;
    fields::optional_name("correlation_id", labels.correlation_id.as_deref())?;
    for (field, value) in
        [("initiator", &labels.initiator), ("source_system", &labels.source_system), ("reason", &labels.reason)]
    {
        fields::text(field, value.as_deref().unwrap_or_default(), TEXT_BYTES_MAX)?;
    }
    if let Some(trace) = &labels.trace {
        fields::text("traceparent", &trace.parent, NAME_BYTES_MAX)?;
        fields::text("tracestate", trace.state.as_deref().unwrap_or_default(), TEXT_BYTES_MAX)?;
    }
    fields::names("tags", &labels.tags, TAGS_MAX)?;
    fields::names("bypass_steps", &request.bypass_steps, STEP_NAMES_MAX)?;
    if let Some(Wall(run_at_ms)) = request.run_at
        && !(0..=TIME_MS_MAX).contains(&run_at_ms)
    {
        return Err(invalid("run_at_ms", "is not a time between the years 1970 and 9999"));
    }
    for (field, payload) in [("context", Some(&request.context)), ("options", labels.options.as_ref())] {
        if let Some(payload) = payload {
            let text = JsonText::from_bytes(payload.clone()).map_err(|error| invalid(field, error))?;
            fields::object(field, &text, payload_bytes_max)?;
        }
    }
    Ok(())
}

fn answer(peer: PeerId, correlation: Uuid, event: impl FnOnce(Origin) -> Checked<Event>) -> Admitted {
    let origin = Origin { peer, correlation };
    match event(origin) {
        Ok(event) => Ok((origin, Incoming::Event(event))),
        Err(refusal) => Err(Refused::Value(origin, refusal)),
    }
}

fn operation(origin: Origin, task: Uuid, kind: OperationKind, actor: String, reason: String) -> Checked<Event> {
    fields::text("actor", &actor, NAME_BYTES_MAX)?;
    fields::text("reason", &reason, TEXT_BYTES_MAX)?;
    Ok(Event::OperationAsked { origin, operation: Operation { task: TaskId(task), kind, actor, reason } })
}

fn fleet_action(
    origin: Origin,
    kind: FleetActionKind,
    field: &str,
    subject: &str,
    actor: String,
    reason: String,
) -> Checked<Event> {
    fields::name(field, subject)?;
    fields::text("actor", &actor, NAME_BYTES_MAX)?;
    fields::text("reason", &reason, TEXT_BYTES_MAX)?;
    Ok(Event::FleetActionAsked { origin, action: FleetAction { kind, subject: subject.into(), actor, reason } })
}

fn list_tasks(peer: PeerId, query: protocol::ListTasks) -> Admitted {
    let origin = Origin { peer, correlation: query.correlation_id };
    match filter_of(&query) {
        Ok(filter) => Ok((origin, Incoming::ListTasks { origin, query, filter: Box::new(filter) })),
        Err(refusal) => Err(Refused::Value(origin, refusal)),
    }
}

/// The filter of a list, with its other fields as terms.
fn filter_of(query: &protocol::ListTasks) -> Checked<Filter> {
    for (field, value) in [("namespace", &query.namespace), ("name", &query.name), ("tag", &query.tag)] {
        fields::optional_name(field, value.as_deref())?;
    }
    if !(1..=LIST_ROWS_MAX).contains(&query.limit) {
        return Err(invalid("limit", format_args!("is {}, not from 1 to {LIST_ROWS_MAX}", query.limit)));
    }
    let parsed = Filter::parse(query.filter.as_deref().unwrap_or_default());
    let mut filter = parsed.map_err(|error| {
        let message = format!("filter is not valid: {error}");
        let refusal = Refusal::new(RefusalKind::InvalidField, message).field("filter");
        refusal.position(format!("character {}", error.position))
    })?;
    if let Some(state) = &query.state {
        let states = filter::TaskState::ALL.into_iter();
        let Some(state) = states.clone().find(|known| known.name() == state) else {
            let names = filter::TaskState::NAMES.join(", ");
            return Err(invalid("state", format_args!("is none of {names}")));
        };
        filter.state.add(false, state);
    }
    let values = [&query.namespace, &query.name, &query.tag];
    for (value, terms) in values.into_iter().zip([&mut filter.namespace, &mut filter.name, &mut filter.tag]) {
        if let Some(value) = value {
            terms.add(false, value.clone());
        }
    }
    Ok(filter)
}

fn find_task(peer: PeerId, query: protocol::FindTask) -> Admitted {
    let protocol::FindTask { correlation_id, namespace, name, idempotency_key } = query;
    let origin = Origin { peer, correlation: correlation_id };
    let check = || {
        fields::name("namespace", &namespace)?;
        fields::name("name", &name)?;
        fields::name("idempotency_key", &idempotency_key)
    };
    match check() {
        Ok(()) => {
            let key = KeyLookup { namespace: namespace.into(), name: name.into(), key: idempotency_key.into() };
            Ok((origin, Incoming::FindTask { origin, key }))
        }
        Err(refusal) => Err(Refused::Value(origin, refusal)),
    }
}
