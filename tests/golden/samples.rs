//! One message of each type with every field set, the same in every run: the source of the golden frames.

use tasker_core::protocol::*;
use uuid::Uuid;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number)
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn json(text: &str) -> JsonText {
    JsonText::new(text)
}

const COMMAND: u128 = 0xC0;
const TASK: u128 = 0xA1;
const BATCH: u128 = 0xB1;
const REGISTRATION: u128 = 0xD1;
const BROKER: u128 = 0xE1;
const CREATED_MS: i64 = 1_760_000_000_000;
/// The example of W3C Trace Context.
const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STEP_TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

fn step_reference() -> StepReference {
    StepReference { batch_id: id(BATCH), task_id: id(TASK), step: "linear_step_2".to_owned(), attempt: 1 }
}

fn step_error() -> StepError {
    StepError {
        class: "TaskerCore::Errors::RetryableError".to_owned(),
        message: "the gateway did not answer".to_owned(),
        code: text("GATEWAY_TIMEOUT"),
        retryable: true,
        retry_after: text("2"),
        backtrace: list(&["handlers/charge.rb:12:in `call'"]),
        context: Some(json(r#"{"gateway":"north"}"#)),
    }
}

/// A result larger than 64 bits, and a failure. The first carries an `error` too, so that each field occurs.
fn outcomes() -> Vec<StepOutcome> {
    let StepReference { batch_id, task_id, step, attempt } = step_reference();
    let complete = StepOutcome {
        batch_id,
        task_id,
        step,
        attempt,
        status: OutcomeStatus::Complete,
        result: Some(json("340282366920938463463374607431768211456")),
        metadata: Some(json(r#"{"cache":"hit"}"#)),
        error: Some(step_error()),
        started_at_us: CREATED_MS * 1000,
        duration_us: 1_250,
        events: vec![CustomEvent { name: "square_taken".to_owned(), payload: json(r#"{"of":36}"#) }],
    };
    let failed = StepOutcome {
        step: "linear_step_3".to_owned(),
        status: OutcomeStatus::Error,
        result: None,
        metadata: None,
        error: Some(step_error()),
        events: Vec::new(),
        ..complete.clone()
    };
    vec![complete, failed]
}

fn task_summary() -> TaskSummary {
    TaskSummary {
        task_id: id(TASK),
        namespace: "linear_workflow".to_owned(),
        name: "mathematical_sequence".to_owned(),
        version: "1.0.0".to_owned(),
        state: "in_progress".to_owned(),
        priority: 5,
        counts: StepCounts {
            total: 4,
            pending: 2,
            ready: 1,
            in_progress: 0,
            complete: 1,
            error: 0,
            cancelled: 0,
            resolved_manually: 0,
            waiting_for_retry: 1,
        },
        execution_status: "has_ready_steps".to_owned(),
        recommended_action: "execute_ready_steps".to_owned(),
        completion_percentage: 25.5,
        health: "recovering".to_owned(),
        created_at_ms: CREATED_MS,
        finished_at_ms: Some(CREATED_MS + 12),
        run_at_ms: Some(CREATED_MS + 1),
        tags: list(&["nightly"]),
    }
}

fn step_summary() -> StepSummary {
    StepSummary {
        name: "linear_step_2".to_owned(),
        state: "waiting_for_retry".to_owned(),
        attempts: 1,
        retry_limit: 3,
        ready: false,
        parents: list(&["linear_step_1"]),
        worker: text("squares-1"),
        retry_in_ms: Some(1_900),
        dispatched_at_ms: Some(CREATED_MS + 3),
        finished_at_ms: Some(CREATED_MS + 9),
        duration_us: Some(1_250),
        error_class: text("TaskerCore::Errors::RetryableError"),
        error_message: text("the gateway did not answer"),
        error_code: text("GATEWAY_TIMEOUT"),
        result: Some(json("36")),
        progress: Some(json(r#"{"percent":40}"#)),
    }
}

fn error_reply() -> ErrorReply {
    ErrorReply {
        correlation_id: id(COMMAND),
        code: ErrorCode::InvalidContext,
        message: "even_number: 7 is not a multiple of 2".to_owned(),
        retryable: false,
        field: text("context"),
        limit: Some(2),
        position: text("/even_number"),
        retry_after_ms: Some(1_000),
    }
}

fn template_summary() -> TemplateSummary {
    TemplateSummary {
        namespace: "linear_workflow".to_owned(),
        name: "mathematical_sequence".to_owned(),
        version: "1.0.0".to_owned(),
        description: text("Squares a number four times"),
        steps: 4,
        workers: 2,
        digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
    }
}

/// Messages of workers, and to them.
fn worker_messages() -> Vec<Message> {
    let correlation_id = id(COMMAND);
    let (batch_id, task_id) = (id(BATCH), id(TASK));
    vec![
        RegisterWorker {
            correlation_id,
            name: "squares-1".to_owned(),
            incarnation: id(0xF1),
            templates: vec![
                Capability {
                    template: "linear_workflow/mathematical_sequence@1.0.0".to_owned(),
                    yaml: text("name: mathematical_sequence\n"),
                    source: text("templates/linear.yaml"),
                },
                Capability { template: "fulfillment/*".to_owned(), yaml: None, source: None },
            ],
            concurrency: 5,
            host: "worker-7".to_owned(),
            pid: 4_211,
            language: "ruby 3.1.2".to_owned(),
            library: "tasker_core 0.1.0".to_owned(),
            open_batches: vec![batch_id],
            unacknowledged: outcomes(),
            bundle_max: Some(16),
        }
        .into(),
        WorkerHeartbeat {
            correlation_id,
            registration_id: id(REGISTRATION),
            free_slots: 3,
            in_flight: 2,
            idle_ms: Some(40),
            load: Some(0.75),
        }
        .into(),
        ReportPartialResult { correlation_id, results: outcomes() }.into(),
        ReportBatchCompletion {
            correlation_id,
            batch_id,
            steps: vec![
                CompletedStep {
                    task_id,
                    step: "linear_step_2".to_owned(),
                    attempt: 1,
                    status: CompletionStatus::Complete,
                },
                CompletedStep {
                    task_id,
                    step: "linear_step_3".to_owned(),
                    attempt: 2,
                    status: CompletionStatus::Error,
                },
                CompletedStep {
                    task_id,
                    step: "linear_step_4".to_owned(),
                    attempt: 1,
                    status: CompletionStatus::Returned,
                },
            ],
        }
        .into(),
        ReturnSteps { correlation_id, steps: vec![step_reference()], reason: "draining".to_owned() }.into(),
        UnregisterWorker {
            correlation_id,
            registration_id: id(REGISTRATION),
            drain: true,
            reason: "deploy".to_owned(),
        }
        .into(),
        ReportProgress {
            correlation_id,
            batch_id,
            task_id,
            step: "linear_step_2".to_owned(),
            attempt: 1,
            progress: json(r#"{"percent":40}"#),
        }
        .into(),
        WorkerRegistered {
            correlation_id,
            registration_id: id(REGISTRATION),
            broker_id: id(BROKER),
            epoch: 3,
            heartbeat_ms: 5_000,
            worker_timeout_ms: 30_000,
            payload_bytes_max: 1_048_576,
            message_bytes_max: 16_777_216,
            unacknowledged_max: 1_000,
            progress_bytes_max: Some(4_096),
            bundle_max: Some(16),
            closed_batches: vec![batch_id],
            templates: list(&["linear_workflow/mathematical_sequence@1.0.0"]),
        }
        .into(),
        HeartbeatAcknowledged { correlation_id, broker_id: id(BROKER), epoch: 3 }.into(),
        ExecuteBatch {
            batch_id,
            registration_id: id(REGISTRATION),
            deadline_ms: 30_000,
            tasks: vec![BatchTask {
                task_id,
                namespace: "linear_workflow".to_owned(),
                name: "mathematical_sequence".to_owned(),
                version: "1.0.0".to_owned(),
                context: json(r#"{"even_number":6}"#),
                tags: list(&["nightly"]),
                priority: 5,
                correlation_id: text("order-1001"),
                traceparent: text(TRACE_PARENT),
                tracestate: text("congo=t61rcWkgMzE"),
                results: vec![ParentResult { step: "linear_step_1".to_owned(), result: json("36") }],
            }],
            steps: vec![BatchStep {
                task: 0,
                name: "linear_step_2".to_owned(),
                handler: "LinearWorkflow::StepHandlers::LinearStep2Handler".to_owned(),
                attempt: 1,
                traceparent: text(STEP_TRACE_PARENT),
                retry_limit: 3,
                retryable: true,
                timeout_seconds: 30.0,
                inputs: json(r#"{"operation":"square"}"#),
                parents: list(&["linear_step_1"]),
                custom_events: list(&["square_taken"]),
            }],
        }
        .into(),
        ResultsAccepted {
            correlation_id,
            results: vec![AcceptedResult {
                batch_id,
                task_id,
                step: "linear_step_2".to_owned(),
                attempt: 1,
                disposition: Disposition::Accepted,
            }],
            closed_batches: vec![batch_id],
        }
        .into(),
        ResultsMissing { correlation_id, batch_id, steps: vec![step_reference()] }.into(),
        CancelSteps { steps: vec![step_reference()], reason: CancelReason::Timeout }.into(),
        Drain { reason: "the broker is being replaced".to_owned() }.into(),
        RegisterAgain { correlation_id, broker_id: id(BROKER), reason: "the broker was restarted".to_owned() }.into(),
        WorkerUnregistered { correlation_id, registration_id: id(REGISTRATION), steps_returned: 2 }.into(),
    ]
}

/// Messages of clients.
fn client_messages() -> Vec<Message> {
    let correlation_id = id(COMMAND);
    let task_id = id(TASK);
    vec![
        RegisterTemplate {
            correlation_id,
            yaml: "name: mathematical_sequence\n".to_owned(),
            source: text("templates/linear.yaml"),
        }
        .into(),
        InitializeTask {
            correlation_id,
            tasks: vec![TaskRequest {
                namespace: "linear_workflow".to_owned(),
                name: "mathematical_sequence".to_owned(),
                version: text("1.0.0"),
                context: json(r#"{"even_number":6}"#),
                idempotency_key: text("order-1001"),
                priority: 5,
                initiator: text("nightly-import"),
                source_system: text("shop"),
                reason: text("an order came in"),
                tags: list(&["nightly"]),
                bypass_steps: list(&["linear_step_4"]),
                run_at_ms: Some(CREATED_MS),
                correlation_id: text("order-1001"),
                options: Some(json(r#"{"strict":true}"#)),
                traceparent: text(TRACE_PARENT),
                tracestate: text("congo=t61rcWkgMzE"),
            }],
        }
        .into(),
        TryTaskIfReady { correlation_id, task_id }.into(),
        TaskStatus { correlation_id, task_id, include_steps: true, include_results: list(&["*"]) }.into(),
        WaitForTask { correlation_id, task_id, timeout_ms: 5_000 }.into(),
        ListTasks {
            correlation_id,
            state: text("error"),
            namespace: text("linear_workflow"),
            name: text("mathematical_sequence"),
            tag: text("nightly"),
            before: Some(task_id),
            filter: text("step:linear_step_2 -tag:test ctx.order.id:18446744073709551616"),
            count: true,
            limit: 50,
        }
        .into(),
        CancelTask { correlation_id, task_id, actor: "kim@example.com".to_owned(), reason: "ordered twice".to_owned() }
            .into(),
        RetryTask {
            correlation_id,
            task_id,
            steps: list(&["linear_step_2"]),
            actor: "kim@example.com".to_owned(),
            reason: "the gateway is back".to_owned(),
        }
        .into(),
        ResolveStep {
            correlation_id,
            task_id,
            step: "linear_step_2".to_owned(),
            result: Some(json("1296")),
            actor: "kim@example.com".to_owned(),
            reason: "computed by hand".to_owned(),
        }
        .into(),
        ListWorkers { correlation_id }.into(),
        HealthCheck { correlation_id, level: HealthLevel::Full }.into(),
        ListTemplates { correlation_id, namespace: text("linear_workflow") }.into(),
        ShowTemplate { correlation_id, template: "linear_workflow/mathematical_sequence".to_owned() }.into(),
        AnnounceTasks { correlation_id }.into(),
        FindTask {
            correlation_id,
            namespace: "linear_workflow".to_owned(),
            name: "mathematical_sequence".to_owned(),
            idempotency_key: "order-1001".to_owned(),
        }
        .into(),
        PauseNamespace {
            correlation_id,
            namespace: "linear_workflow".to_owned(),
            actor: "kim@example.com".to_owned(),
            reason: "the gateway is down".to_owned(),
        }
        .into(),
        ResumeNamespace {
            correlation_id,
            namespace: "linear_workflow".to_owned(),
            actor: "kim@example.com".to_owned(),
            reason: "the gateway is back".to_owned(),
        }
        .into(),
        ListNamespaces { correlation_id }.into(),
        DrainWorker {
            correlation_id,
            worker: "squares-1".to_owned(),
            actor: "kim@example.com".to_owned(),
            reason: "the host is replaced".to_owned(),
        }
        .into(),
        ExplainStep { correlation_id, task_id, step: text("linear_step_2") }.into(),
    ]
}

fn namespace_summary() -> NamespaceSummary {
    NamespaceSummary {
        name: "linear_workflow".to_owned(),
        paused: true,
        paused_by: text("kim@example.com"),
        reason: text("the gateway is down"),
        paused_at_ms: Some(CREATED_MS),
        tasks: 12,
        steps_ready: 7,
        steps_in_progress: 2,
        steps_waiting: 30,
        workers: 3,
        templates: 4,
    }
}

fn step_explained() -> StepExplained {
    let step = |name: &str, state: &str| NamedStep { step: name.to_owned(), state: state.to_owned() };
    StepExplained {
        correlation_id: id(COMMAND),
        task_id: id(TASK),
        template: "linear_workflow/mathematical_sequence@1.0.0".to_owned(),
        task_state: "in_progress".to_owned(),
        steps: vec![StepExplanation {
            step: "linear_step_4".to_owned(),
            state: "pending".to_owned(),
            reason: "dependencies".to_owned(),
            message: "it waits for linear_step_3 (pending), and above that for linear_step_2 (in_progress)".to_owned(),
            attempts: 1,
            retry_limit: 3,
            waits_for: vec![step("linear_step_3", "pending")],
            waits_for_left_off: 5,
            held_up_by: vec![step("linear_step_2", "in_progress")],
            in_ms: Some(28_800),
            worker: text("squares-1"),
            since_ms: Some(1_200),
            error_class: text("TaskerCore::Errors::RetryableError"),
            error_message: text("the gateway did not answer"),
        }],
        steps_left_off: 6,
        run_at_ms: Some(CREATED_MS),
        paused_by: text("kim@example.com"),
        pause_reason: text("the gateway is down"),
        paused_at_ms: Some(CREATED_MS),
        namespace_steps_ready: 7,
        workers_serving: 3,
        workers_active: 2,
        slots: 10,
        slots_used: 9,
        workers: vec![ServingWorker {
            name: "squares-1".to_owned(),
            state: "active".to_owned(),
            in_flight: 5,
            concurrency: 5,
        }],
        capabilities: list(&["fulfillment/*"]),
    }
}

/// Answers to clients, and what is published.
fn broker_messages() -> Vec<Message> {
    let correlation_id = id(COMMAND);
    let task_id = id(TASK);
    vec![
        TemplateRegistered {
            correlation_id,
            template: "linear_workflow/mathematical_sequence@1.0.0".to_owned(),
            created: true,
            steps: list(&["linear_step_1", "linear_step_2"]),
        }
        .into(),
        TasksInitialized {
            correlation_id,
            tasks: vec![
                TaskInitialized {
                    task_id: Some(task_id),
                    template: text("linear_workflow/mathematical_sequence@1.0.0"),
                    steps: list(&["linear_step_1", "linear_step_2"]),
                    duplicate: false,
                    error: Some(error_reply()),
                },
                TaskInitialized { task_id: None, template: None, steps: vec![], duplicate: false, error: None },
            ],
        }
        .into(),
        TaskTried {
            correlation_id,
            task_id,
            ready: true,
            steps_dispatched: 2,
            batch_ids: vec![id(BATCH)],
            steps_waiting: 1,
            state: "in_progress".to_owned(),
        }
        .into(),
        TaskStatusReport { correlation_id, task: task_summary(), steps: vec![step_summary()] }.into(),
        TaskWaited { correlation_id, finished: true, task: task_summary() }.into(),
        TaskList {
            correlation_id,
            tasks: vec![task_summary()],
            next: Some(task_id),
            searched_back_to_ms: Some(1_750_000_000_000),
            count: Some(10_000),
            count_capped: true,
        }
        .into(),
        TaskCancelled { correlation_id, task_id, steps_stopped: 1, steps_cancelled: 2 }.into(),
        TaskRetried { correlation_id, task_id, steps: list(&["linear_step_2"]) }.into(),
        StepResolved {
            correlation_id,
            task_id,
            step: "linear_step_2".to_owned(),
            task_state: "in_progress".to_owned(),
        }
        .into(),
        WorkerList {
            correlation_id,
            workers: vec![WorkerSummary {
                name: "squares-1".to_owned(),
                registration_id: id(REGISTRATION),
                incarnation: id(0xF1),
                state: "active".to_owned(),
                concurrency: 5,
                in_flight: 2,
                batches: 1,
                seen_ms_ago: 40,
                templates: list(&["fulfillment/*"]),
                host: "worker-7".to_owned(),
                pid: 4_211,
                language: "ruby 3.1.2".to_owned(),
                library: "tasker_core 0.1.0".to_owned(),
            }],
        }
        .into(),
        HealthReport {
            correlation_id,
            status: "degraded".to_owned(),
            problems: list(&["no worker serves fulfillment/process_order@1.0.0, which has waiting work"]),
            version: "0.1.0".to_owned(),
            broker_id: id(BROKER),
            epoch: 3,
            uptime_seconds: 86_400,
            postgres: "up".to_owned(),
            tasks: Some(12),
            steps_ready: Some(3),
            steps_in_progress: Some(2),
            workers: Some(2),
            slots: Some(10),
            templates: Some(5),
            namespaces_paused: list(&["linear_workflow"]),
            templates_without_worker: list(&["fulfillment/process_order@1.0.0"]),
            postgres_round_trip_us: Some(180),
            connections: Some(4),
            connections_cut: Some(1),
            handshakes_failed: Some(7),
            refusals: vec![RefusalCount { code: "overloaded".to_owned(), count: 30 }],
            commit_sizes: vec![Bucket { up_to: 5, count: 2 }, Bucket { up_to: 1023, count: 1 }],
            commit_times_us: vec![Bucket { up_to: 895, count: 3 }],
        }
        .into(),
        TemplateList { correlation_id, templates: vec![template_summary()] }.into(),
        TemplateDefinition {
            correlation_id,
            template: template_summary(),
            yaml: "name: mathematical_sequence\n".to_owned(),
            task_handler_class: text("LinearWorkflow::TaskHandler"),
            handler_config: Some(json(r#"{"limit":50}"#)),
        }
        .into(),
        TasksAnnounced { correlation_id }.into(),
        TaskFound { correlation_id, task_id, template: "linear_workflow/mathematical_sequence@1.0.0".to_owned() }
            .into(),
        NamespaceChanged { correlation_id, changed: true, namespace: namespace_summary() }.into(),
        NamespaceList { correlation_id, namespaces: vec![namespace_summary()] }.into(),
        WorkerDraining { correlation_id, worker: "squares-1".to_owned(), changed: true, in_flight: 2, batches: 1 }
            .into(),
        step_explained().into(),
        Message::Error(error_reply()),
        Event {
            sequence: 17,
            broker_id: id(BROKER),
            at_ms: CREATED_MS,
            topic: "event.step.completed".to_owned(),
            task_id: Some(task_id),
            template: text("linear_workflow/mathematical_sequence@1.0.0"),
            step: text("linear_step_2"),
            attempt: Some(1),
            batch_id: Some(id(BATCH)),
            worker: text("squares-1"),
            namespace: text("linear_workflow"),
            state: text("complete"),
            reason: text("done"),
            payload: Some(json(r#"{"of":36}"#)),
        }
        .into(),
        Control { sequence: 18, broker_id: id(BROKER), kind: ControlKind::Cancel, task_id: Some(task_id) }.into(),
    ]
}

/// A message of each type.
pub fn samples() -> Vec<Message> {
    [worker_messages(), client_messages(), broker_messages()].concat()
}
