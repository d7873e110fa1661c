//! The gateway with keys, over real sockets: who gets in, and who may say what. The peers use libzmq, because the crate
//! `zeromq` of the other tests has no CURVE.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tasker_core::client::{self, Client, Notice, Subscription};
use tasker_core::gateway::{Error, Gateway, Incoming, Options, Outgoing, Received, Security};
use tasker_core::protocol::*;
use tasker_core::security::{Access, ClientKeys, KeyPair, Peer, PublicKey, Role, SecretKey};
use tasker_engine as engine;
use tasker_engine::{Event as Happened, Origin, PeerId};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway with keys, what its peers say, and the list of them.
struct Broker {
    gateway: Gateway,
    inbox: Receiver<Received>,
    access: Access,
    listed: Vec<Peer>,
    public: PublicKey,
}

impl Broker {
    fn start() -> Broker {
        Broker::at("tcp://127.0.0.1:0").expect("loopback can be bound")
    }

    fn at(endpoint: &str) -> Result<Broker, Error> {
        let (sender, inbox) = crossbeam_channel::unbounded();
        let KeyPair { public, secret: key } = KeyPair::generate();
        let access = Access::new(&[]);
        let options = Options {
            work: vec![endpoint.to_owned()],
            events: vec!["tcp://127.0.0.1:0".to_owned()],
            allow_insecure: false,
            security: Some(Security { key, access: access.clone() }),
            peers_max: 100,
            connections_max: 100,
            peer_bytes_max: 1_000_000,
            inbox_events_max: 100,
            inbox_bytes_max: 1_000_000,
            payload_bytes_max: 1_000,
            message_bytes_max: 100_000,
            template_bytes_max: 1_000,
            tasks_per_command_max: 20,
            broker_id: Uuid::from_u128(1),
            epoch: 3,
            heartbeat_ms: 5_000,
            worker_timeout_ms: 30_000,
            unacknowledged_max: 10,
            tracing: None,
            environment: None,
            parse_template: |_, yaml, _| Ok(template(yaml)),
        };
        Ok(Broker {
            gateway: Gateway::start(options, sender, Arc::default())?,
            inbox,
            access,
            listed: Vec::new(),
            public,
        })
    }

    /// Lists a new key.
    fn list(&mut self, name: &str, role: Role, namespaces: &[&str]) -> SecretKey {
        let pair = KeyPair::generate();
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        self.listed.push(Peer { name: name.to_owned(), public_key: pair.public, role, namespaces });
        self.access.replace(&self.listed);
        pair.secret
    }

    fn work(&self) -> &str {
        &self.gateway.endpoints().work[0]
    }

    fn keys(&self, own: &SecretKey) -> ClientKeys {
        ClientKeys { server: self.public, own: own.clone() }
    }

    fn dealer(&self, own: &SecretKey, routing_id: &[u8]) -> Dealer {
        Dealer::connect(self.work(), Some(&self.keys(own)), routing_id)
    }

    /// A client of the product.
    fn client(&self, own: &SecretKey) -> Client {
        Client::connect_with(self.work(), Some(&self.keys(own)), PATIENCE).expect("the endpoint is valid")
    }

    fn heard(&self) -> Incoming {
        self.inbox.recv_timeout(PATIENCE).expect("a peer said something").incoming
    }

    fn heard_health(&self) -> Origin {
        match self.heard() {
            Incoming::Health { origin, .. } => origin,
            other => panic!("not a health check: {other:?}"),
        }
    }

    fn answer_health(&self, to: Origin) {
        let report =
            HealthReport { correlation_id: to.correlation, status: "ok".to_owned(), ..HealthReport::default() };
        self.send(Outgoing::Message { to, message: Box::new(report.into()) });
    }

    fn send(&self, outgoing: Outgoing) {
        self.gateway.outbox().send(vec![outgoing]).expect("the gateway runs");
    }

    /// A health check there and back.
    fn check_health(&self, dealer: &Dealer) -> PeerId {
        dealer.send(health_check());
        let origin = self.heard_health();
        self.answer_health(origin);
        assert!(matches!(dealer.next(), Message::HealthReport(_)));
        origin.peer
    }
}

/// A DEALER that says what it is told to.
struct Dealer(zmq::Socket);

impl Dealer {
    fn connect(endpoint: &str, keys: Option<&ClientKeys>, routing_id: &[u8]) -> Dealer {
        let socket = zmq::Context::new().socket(zmq::DEALER).expect("there is room for a socket");
        let set = || {
            socket.set_linger(0)?;
            socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis()).expect("seconds"))?;
            if !routing_id.is_empty() {
                socket.set_identity(routing_id)?;
            }
            if let Some(ClientKeys { server, own }) = keys {
                socket.set_curve_serverkey(server.bytes())?;
                socket.set_curve_publickey(own.public().bytes())?;
                socket.set_curve_secretkey(own.reveal())?;
            }
            socket.connect(endpoint)
        };
        set().expect("libzmq takes all of it");
        Dealer(socket)
    }

    fn send(&self, message: impl Into<Message>) {
        let (header, body) = encode(&message.into());
        self.0.send_multipart([&header[..], &body[..]], 0).expect("it is queued");
    }

    fn next(&self) -> Message {
        let frames = self.0.recv_multipart(0).expect("an answer");
        let [header, body] = &frames[..] else { panic!("{} frames", frames.len()) };
        decode(header, body).expect("the broker sends what can be read")
    }

    /// The refusal of a command, which must not have reached the engine.
    fn refusal(&self, broker: &Broker, message: impl Into<Message>) -> ErrorReply {
        self.send(message);
        match self.next() {
            Message::Error(refusal) => {
                assert!(broker.inbox.is_empty(), "what was refused was handed on");
                refusal
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn template(namespace: &str) -> engine::TemplateSource {
    let step = engine::StepTemplate {
        name: "only".into(),
        handler_class: "H".into(),
        retryable: true,
        retry_limit: 3,
        backoff: engine::Backoff::default(),
        skippable: false,
        timeout_ms: 1_500,
        inputs: bytes::Bytes::from_static(b"{}"),
        custom_events: Box::new([]),
        dependent_system: None,
    };
    let key = engine::TemplateKey { namespace: namespace.into(), name: "squares".into(), version: "1.0.0".into() };
    engine::TemplateSource {
        template: std::sync::Arc::new(engine::Template::new(key, vec![(step, vec![])]).expect("one step")),
        yaml: namespace.into(),
        digest: [0; 32],
        environment: None,
        description: None,
        task_handler_class: None,
        handler_config: None,
    }
}

fn routing_id() -> [u8; 16] {
    Uuid::new_v4().into_bytes()
}

fn health_check() -> HealthCheck {
    HealthCheck { correlation_id: Uuid::new_v4(), level: HealthLevel::Basic }
}

fn introduction(templates: &[&str]) -> RegisterWorker {
    let capability = |template: &&str| Capability { template: (*template).to_owned(), yaml: None, source: None };
    RegisterWorker {
        correlation_id: Uuid::new_v4(),
        name: "w".to_owned(),
        incarnation: Uuid::from_u128(7),
        templates: templates.iter().map(capability).collect(),
        concurrency: 1,
        host: String::new(),
        pid: 0,
        language: String::new(),
        library: String::new(),
        open_batches: Vec::new(),
        unacknowledged: Vec::new(),
        bundle_max: None,
    }
}

fn cancel(actor: &str) -> CancelTask {
    let (correlation_id, task_id) = (Uuid::new_v4(), Uuid::from_u128(3));
    CancelTask { correlation_id, task_id, actor: actor.to_owned(), reason: String::new() }
}

fn register_template(namespace: &str) -> RegisterTemplate {
    RegisterTemplate { correlation_id: Uuid::new_v4(), yaml: namespace.to_owned(), source: None }
}

#[test]
fn a_listed_key_gets_in_and_every_other_is_told_why_not() {
    let mut broker = Broker::start();
    let key = broker.list("app", Role::Client, &[]);
    std::thread::scope(|scope| {
        let mut client = broker.client(&key);
        let asked = scope.spawn(move || client.request(health_check()).map(|report| report.status));
        broker.answer_health(broker.heard_health());
        assert_eq!(asked.join().expect("no panic").expect("an answer"), "ok");
    });

    let refused = broker.client(&KeyPair::generate().secret).request(health_check()).expect_err("not listed");
    assert!(matches!(refused, client::Error::KeyRefused { .. }), "{refused}");
    let mut without = Client::connect(broker.work(), PATIENCE).expect("the endpoint is valid");
    let refused = without.request(health_check()).expect_err("no key");
    assert!(matches!(refused, client::Error::KeyNeeded { .. }), "{refused}");
    let stranger = ClientKeys { server: KeyPair::generate().public, own: key.clone() };
    let limit = Duration::from_millis(500);
    let mut wrong = Client::connect_with(broker.work(), Some(&stranger), limit).expect("the endpoint is valid");
    let refused = wrong.request(health_check()).expect_err("another broker is wanted");
    assert!(matches!(refused, client::Error::HandshakeBrokenOff { has_keys: true, .. }), "{refused}");
    // And the other way round: a client with keys does not talk to one who has none.
    let open = zmq::Context::new().socket(zmq::ROUTER).expect("there is room for a socket");
    open.bind("tcp://127.0.0.1:*").expect("loopback can be bound");
    let endpoint = open.get_last_endpoint().expect("bound").expect("UTF-8");
    let mut client = Client::connect_with(&endpoint, Some(&stranger), PATIENCE).expect("the endpoint is valid");
    let refused = client.request(health_check()).expect_err("no keys there");
    assert!(matches!(refused, client::Error::NoKeysThere { .. }), "{refused}");
    assert!(broker.inbox.is_empty(), "somebody was heard");
}

#[test]
fn everybody_listed_hears_events_and_a_subscriber_nothing_else() {
    let mut broker = Broker::start();
    let (subscriber, worker) =
        (broker.list("dashboard", Role::Subscriber, &[]), broker.list("w", Role::Worker, &["*"]));
    let events = &broker.gateway.endpoints().events[0];
    for key in [&subscriber, &worker] {
        let mut subscription = Subscription::connect_with(events, Some(&broker.keys(key))).expect("valid");
        let deadline = Instant::now() + PATIENCE;
        let heard = loop {
            // A subscription takes its time: what is published again and again is heard at last.
            broker.send(Outgoing::Publish(engine::Notice::new(engine::NoticeKind::TaskStarted)));
            match subscription.next(Instant::now() + Duration::from_millis(20)).expect("not refused") {
                Some(Notice::Event(event)) => break event,
                Some(Notice::Gap) | None => assert!(Instant::now() < deadline, "nothing was heard"),
            }
        };
        assert_eq!(heard.topic, "event.task.started");
    }
    let refused = broker.client(&subscriber).request(health_check()).expect_err("a subscriber");
    assert!(matches!(refused, client::Error::KeyRefused { .. }), "{refused}");
    let stranger = broker.keys(&KeyPair::generate().secret);
    let mut subscription = Subscription::connect_with(events, Some(&stranger)).expect("valid");
    let refused = subscription.next(Instant::now() + PATIENCE).expect_err("not listed");
    assert!(matches!(refused, client::Error::KeyRefused { .. }), "{refused}");
}

#[test]
fn a_role_may_do_what_is_its_own_and_is_refused_the_rest() {
    let mut broker = Broker::start();
    let (worker, client) = (broker.list("fleet", Role::Worker, &["billing"]), broker.list("app", Role::Client, &[]));
    let operator = broker.list("ops", Role::Operator, &[]);
    let [worker, client, operator] = [worker, client, operator].map(|key| broker.dealer(&key, &routing_id()));
    let list = || ListWorkers { correlation_id: Uuid::new_v4() };
    let command = cancel("anna");
    let refusal = client.refusal(&broker, command.clone());
    assert_eq!((refusal.code, refusal.correlation_id), (ErrorCode::Forbidden, command.correlation_id));
    assert!(refusal.message.contains("`app` is a client and may not send CancelTask"), "{}", refusal.message);
    for refusal in [
        client.refusal(&broker, list()),
        client.refusal(&broker, introduction(&["billing/*"])),
        operator.refusal(&broker, introduction(&["billing/*"])),
        worker.refusal(&broker, cancel("")),
        worker.refusal(&broker, InitializeTask { correlation_id: Uuid::new_v4(), tasks: vec![] }),
    ] {
        assert_eq!((refusal.code, refusal.retryable), (ErrorCode::Forbidden, false), "{refusal:?}");
    }
    for (dealer, message) in [
        (&operator, Message::from(list())),
        (&client, register_template("shop").into()),
        (&worker, register_template("billing").into()),
        (&worker, introduction(&["billing/*", "billing/x@1.0.0"]).into()),
    ] {
        dealer.send(message);
        let Incoming::Event(event) = broker.heard() else { panic!("not for the engine") };
        if let Happened::WorkerRegistered { worker, .. } = event {
            assert_eq!(worker.key.as_deref(), Some("fleet"));
        }
    }
    for (actor, recorded) in [("", "ops"), ("ops", "ops"), ("anna", "anna (ops)")] {
        operator.send(cancel(actor));
        let Incoming::Event(Happened::OperationAsked { operation, .. }) = broker.heard() else {
            panic!("no operation")
        };
        assert_eq!(operation.actor, recorded);
    }
    // What only a broker sends stays an offence.
    let refusal = client.refusal(&broker, WorkerList { correlation_id: Uuid::new_v4(), workers: vec![] });
    assert_eq!(refusal.code, ErrorCode::UnknownMessage);
}

#[test]
fn a_worker_is_held_to_its_namespaces() {
    let mut broker = Broker::start();
    let some = broker.list("some", Role::Worker, &["billing", "shop"]);
    let all = broker.list("all", Role::Worker, &["*"]);
    let [some, all] = [some, all].map(|key| broker.dealer(&key, &routing_id()));
    for foreign in ["hr/*", "hr/pay", "hr/pay@1.0.0", "billings/*", "*/*"] {
        let refusal = some.refusal(&broker, introduction(&["shop/*", foreign]));
        assert_eq!(refusal.code, ErrorCode::Forbidden, "{foreign}: {refusal:?}");
        assert_eq!(refusal.field.as_deref(), Some("templates[1].template"), "{foreign}: {refusal:?}");
        assert_eq!(refusal.position.as_deref(), Some(foreign));
        all.send(introduction(&[foreign]));
        assert!(matches!(broker.heard(), Incoming::Event(Happened::WorkerRegistered { .. })));
    }
    let refusal = some.refusal(&broker, register_template("hr"));
    assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::Forbidden, Some("yaml")));
}

#[test]
fn a_key_that_is_taken_off_the_list_loses_its_connections_voice() {
    let mut broker = Broker::start();
    let key = broker.list("app", Role::Client, &[]);
    let dealer = broker.dealer(&key, &routing_id());
    broker.check_health(&dealer);
    broker.access.replace(&[]);
    let refusal = dealer.refusal(&broker, health_check());
    assert_eq!(refusal.code, ErrorCode::Forbidden);
    assert!(refusal.message.contains("not listed any more"), "{}", refusal.message);
    let refused = broker.client(&key).request(health_check()).expect_err("not listed any more");
    assert!(matches!(refused, client::Error::KeyRefused { .. }), "{refused}");
    // Another key under the same name is another key.
    let rotated = Peer { public_key: KeyPair::generate().public, ..broker.listed[0].clone() };
    broker.access.replace(&[rotated]);
    assert_eq!(dealer.refusal(&broker, health_check()).code, ErrorCode::Forbidden);
    broker.access.replace(&broker.listed);
    broker.check_health(&dealer);
}

#[test]
fn a_routing_id_cannot_be_taken_over_by_another_key() {
    let mut broker = Broker::start();
    let (victim, thief) = (broker.list("victim", Role::Worker, &["a"]), broker.list("thief", Role::Worker, &["b"]));
    let id = routing_id();
    let victim_dealer = broker.dealer(&victim, &id);
    let victim_peer = broker.check_health(&victim_dealer);
    let thief = broker.dealer(&thief, &id);
    thief.send(health_check());
    // The engine hears that the victim is gone before it hears the thief, who is somebody else.
    let Incoming::Event(Happened::PeerUnreachable { peer }) = broker.heard() else {
        panic!("the victim was not missed")
    };
    assert_eq!(peer, victim_peer);
    let origin = broker.heard_health();
    assert_ne!(origin.peer, victim_peer);
    let secret = HealthReport { status: "for the victim".to_owned(), ..HealthReport::default() };
    let victim_origin = Origin { peer: victim_peer, correlation: Uuid::nil() };
    broker.send(Outgoing::Message { to: victim_origin, message: Box::new(secret.into()) });
    broker.answer_health(origin);
    let Message::HealthReport(report) = thief.next() else { panic!("not an answer") };
    assert_eq!(report.status, "ok", "the thief got what was meant for the victim");
    // The same key may come back with it.
    drop((thief, victim_dealer));
    let again = broker.dealer(&victim, &id);
    again.send(health_check());
    let origin = loop {
        match broker.heard() {
            Incoming::Health { origin, .. } => break origin,
            Incoming::Event(Happened::PeerUnreachable { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    broker.answer_health(origin);
    assert!(matches!(again.next(), Message::HealthReport(_)));
}

#[test]
fn a_routing_id_that_others_could_guess_is_refused() {
    let mut broker = Broker::start();
    let key = broker.list("app", Role::Client, &[]);
    for id in [&b"worker-1"[..], b""] {
        let refusal = broker.dealer(&key, id).refusal(&broker, health_check());
        assert_eq!(refusal.code, ErrorCode::Forbidden);
        assert!(refusal.message.contains("routing id"), "{}", refusal.message);
    }
}

#[test]
fn those_without_a_handshake_get_nowhere_and_hold_nobody_up() {
    let mut broker = Broker::start();
    let key = broker.list("app", Role::Client, &[]);
    let address = broker.work().strip_prefix("tcp://").expect("TCP").to_owned();
    // The greeting of a NULL peer, with everything that it wants to say; noise; and silence.
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend(b"NULL");
    greeting.resize(64, 0);
    let (header, body) = encode(&health_check().into());
    let mut message = vec![1, u8::try_from(header.len()).expect("short")];
    message.extend(header);
    message.extend([0, u8::try_from(body.len()).expect("short")]);
    message.extend(body);
    let mut held = Vec::new();
    for _ in 0..20 {
        for bytes in [&[&greeting[..], &message].concat()[..], &[0xa5; 300], &greeting[..11], b""] {
            let mut stream = TcpStream::connect(&address).expect("the broker listens");
            // A connection that is cut while it is written to is as good.
            let _ = stream.write_all(bytes);
            held.push(stream);
        }
    }
    let null = Dealer::connect(broker.work(), None, &routing_id());
    null.send(health_check());
    let wrong = broker.dealer(&KeyPair::generate().secret, &routing_id());
    wrong.send(health_check());
    let dealer = broker.dealer(&key, &routing_id());
    broker.check_health(&dealer);
    broker.check_health(&dealer);
    assert!(broker.inbox.is_empty(), "somebody without a key was heard");
    // The end does not wait for them either.
    broker.gateway.stop();
    assert!(broker.inbox.try_recv().is_err());
}

#[test]
fn keys_are_demanded_on_ipc_and_make_other_addresses_fit_to_bind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker = Broker::at(&format!("ipc://{}", folder.path().join("work").display())).expect("bound");
    let key = broker.list("app", Role::Client, &[]);
    broker.check_health(&broker.dealer(&key, &routing_id()));
    let mut without = Client::connect(broker.work(), PATIENCE).expect("the endpoint is valid");
    assert!(matches!(without.request(health_check()), Err(client::Error::KeyNeeded { .. })));
    // An address for documents (RFC 5737): no machine has it, so that nothing is bound; but it is not refused.
    let refused = Broker::at("tcp://192.0.2.1:0").err().expect("nobody's address");
    assert!(matches!(refused, Error::Bind { .. }), "{refused}");
}
