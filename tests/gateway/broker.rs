//! A gateway whose engine is the test, and what is sent through it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use tasker_core::gateway::{Gateway, Incoming, Options, Outgoing, Received};
use tasker_core::protocol::*;
use tasker_engine as engine;
use tasker_engine::{Event as Happened, Origin};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::peers::Client;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn options() -> Options {
    Options {
        work: vec!["tcp://127.0.0.1:0".to_owned()],
        events: vec!["tcp://127.0.0.1:0".to_owned()],
        allow_insecure: false,
        security: None,
        connections_max: 100,
        peers_max: 100,
        peer_bytes_max: 1_000_000,
        payload_bytes_max: 1_000,
        message_bytes_max: 100_000,
        template_bytes_max: 1_000,
        tasks_per_command_max: 20,
        inbox_events_max: 100,
        inbox_bytes_max: 1_000_000,
        broker_id: Uuid::from_u128(1),
        epoch: 3,
        heartbeat_ms: 5_000,
        worker_timeout_ms: 30_000,
        unacknowledged_max: 10,
        tracing: None,
        environment: None,
        parse_template: |source, yaml, _| {
            let message = format!("{source}:1:1: {yaml} is no template");
            Err(engine::Refusal::new(engine::RefusalKind::InvalidTemplate, message).position("1:1"))
        },
    }
}

/// A gateway, and what its peers say.
pub struct Broker {
    pub gateway: Gateway,
    pub inbox: Receiver<Received>,
    /// Told of each message that has come.
    pub arrived: Arc<Notify>,
}

impl Broker {
    pub fn start(options: Options) -> Broker {
        let (sender, inbox) = crossbeam_channel::unbounded();
        let arrived = Arc::<Notify>::default();
        let gateway = Gateway::start(options, sender, arrived.clone()).expect("loopback can be bound");
        Broker { gateway, inbox, arrived }
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.gateway.endpoints().work[0]).await
    }

    pub fn heard(&self) -> Incoming {
        let received = self.inbox.recv_timeout(PATIENCE).expect("a peer said something");
        self.gateway.budget().give_back(received.bytes);
        received.incoming
    }

    pub fn heard_event(&self) -> Happened {
        match self.heard() {
            Incoming::Event(event) => event,
            other => panic!("not for the engine: {other:?}"),
        }
    }

    pub fn heard_health(&self) -> Origin {
        match self.heard() {
            Incoming::Health { origin, .. } => origin,
            other => panic!("not a health check: {other:?}"),
        }
    }

    pub fn send(&self, outgoing: Outgoing) {
        self.gateway.outbox().send(vec![outgoing]).expect("the gateway runs");
    }

    pub fn report_health(&self, to: Origin) {
        let report =
            HealthReport { correlation_id: to.correlation, status: "ok".to_owned(), ..HealthReport::default() };
        self.send(Outgoing::Message { to, message: Box::new(report.into()) });
    }

    /// A health check there and back.
    pub async fn check_health(&self, client: &mut Client) {
        let command = health_check();
        client.send(command.clone()).await;
        self.report_health(self.heard_health());
        let Message::HealthReport(report) = client.reply_to(command.correlation_id).await else {
            panic!("not a health report")
        };
        assert_eq!(report.status, "ok");
    }
}

pub fn health_check() -> HealthCheck {
    HealthCheck { correlation_id: Uuid::new_v4(), level: HealthLevel::Detailed }
}

pub fn template() -> Arc<engine::Template> {
    let key = engine::TemplateKey { namespace: "n".into(), name: "squares".into(), version: "1.0.0".into() };
    let step = |name: &str| engine::StepTemplate {
        name: name.into(),
        handler_class: "Square".into(),
        retryable: true,
        retry_limit: 3,
        backoff: engine::Backoff::default(),
        skippable: false,
        timeout_ms: 1_500,
        inputs: Bytes::from_static(b"{\"of\":2}"),
        custom_events: Box::new(["squared".into()]),
        dependent_system: None,
    };
    let steps = vec![(step("first"), vec![]), (step("second"), vec!["first".into()])];
    Arc::new(engine::Template::new(key, steps).expect("two steps in a row"))
}

pub fn dispatch(registration: engine::RegistrationId) -> engine::Dispatch {
    engine::Dispatch {
        batch: engine::BatchId(Uuid::from_u128(20)),
        registration,
        deadline_in_ms: 1_500,
        tasks: vec![engine::DispatchedTask {
            id: engine::TaskId(Uuid::from_u128(30)),
            template: template(),
            context: Bytes::from_static(b"{\"n\":340282366920938463463374607431768211456}"),
            priority: 7,
            labels: Arc::default(),
            results: vec![(0, Bytes::from_static(b"4"))],
        }],
        steps: vec![engine::DispatchedStep { task: 0, step: 1, attempt: 2, retry_limit: 3 }],
    }
}
