//! The broker's sockets: ROUTER for work, PUB for events. The only part that knows both the protocol and the engine's
//! events; it decides nothing. Whoever has the sockets never waits for a peer.

mod attentive;
mod budget;
mod bundles;
mod carrier;
mod connections;
mod desk;
mod explained;
mod fields;
mod frames;
mod guard;
mod inbound;
mod inbox;
mod limits;
mod listeners;
mod log_limit;
mod memory;
mod monitor;
mod notices;
mod outbound;
mod peers;
mod refusals;
mod results;
mod roles;
mod shared;
mod sockets;
mod stir;
mod summary;
mod tcp;
mod templates;
mod traffic;
mod wake;
mod watch;
mod zap;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use tasker_engine::{Event, KeyLookup, Notice, Origin, PeerId, Reply, TaskId, WorkerMessage};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::filter::Filter;
use crate::otel::Sampling;
use crate::protocol::{self, ControlKind, HealthLevel};
use crate::security::{Access, SecretKey};
use carrier::{Carrier, Parcel};
use desk::Answers;
use inbox::Inbox;
use shared::Shared;
use sockets::Sockets;
use stir::Stir;
use wake::Wake;

pub use budget::Budget;
pub use desk::Desk;
pub use explained::step_explained;
pub use inbound::check_request;
pub use listeners::{Interest, News, Post, Reader};
pub use shared::Line;
pub use summary::step_counts;
pub use templates::TemplateParser;
pub use traffic::{Traffic, TrafficCounts};

/// How to start a gateway.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to bind the ROUTER: `tcp://` and `ipc://` endpoints, port 0 for a free one.
    pub work: Vec<String>,
    /// Where to bind the PUB.
    pub events: Vec<String>,
    /// Whether TCP endpoints other than loopback may be bound, although nothing on them is encrypted or authenticated.
    pub allow_insecure: bool,
    /// Keys are demanded of everybody, on every endpoint; `None` demands none.
    pub security: Option<Security>,
    /// Most connections to both sockets together; a further one is cut.
    pub connections_max: usize,
    /// Peers that are told apart at a time; further ones are refused.
    pub peers_max: usize,
    /// Bytes of a connection that may wait in libzmq, to be read or to be sent; beyond, the connection is cut.
    pub peer_bytes_max: u64,
    /// Largest payload (context, result) in bytes.
    pub payload_bytes_max: u64,
    /// Largest message in bytes.
    pub message_bytes_max: u64,
    /// Largest text of a template in bytes.
    pub template_bytes_max: u64,
    /// Most requests in one `InitializeTask`.
    pub tasks_per_command_max: u32,
    /// Most messages that may wait for the reader of the inbox.
    pub inbox_events_max: usize,
    /// Most bytes of messages that were read and are not done with.
    pub inbox_bytes_max: u64,
    /// The broker process.
    pub broker_id: Uuid,
    /// The lease epoch.
    pub epoch: i64,
    /// How often workers are to send heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Silence after which a worker is lost, in milliseconds.
    pub worker_timeout_ms: u64,
    /// Most unacknowledged results of a worker.
    pub unacknowledged_max: u32,
    /// The broker traces: each step goes out with the span of its attempt.
    pub tracing: Option<Sampling>,
    /// Environment whose overrides apply to templates that arrive in messages.
    pub environment: Option<String>,
    /// Compiles those templates.
    pub parse_template: TemplateParser,
}

/// What CURVE needs.
#[derive(Clone, Debug)]
pub struct Security {
    /// The broker's own key.
    pub key: SecretKey,
    /// Who may connect, and do what.
    pub access: Access,
}

/// Where the sockets are bound, with the ports that were picked for port 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// ROUTER.
    pub work: Vec<String>,
    /// PUB.
    pub events: Vec<String>,
}

/// What peers say. Each but [`Event::PeerUnreachable`] and [`Event::StepProgressed`] is to be answered once, with [`Outgoing::Reply`] or
/// [`Outgoing::Message`]: a peer with too many unanswered commands is refused.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum Incoming {
    /// For the engine.
    Event(Event),
    /// A client asks how the broker is. With [`HealthLevel::Full`] the gateway adds what it knows.
    Health { origin: Origin, level: HealthLevel, counts: Option<PeerCounts> },
    /// A client lists tasks.
    ListTasks { origin: Origin, query: protocol::ListTasks, filter: Box<Filter> },
    /// A client has put rows into the inbox.
    TasksAnnounced { origin: Origin },
    /// A client looks for the task with a key.
    FindTask { origin: Origin, key: KeyLookup },
}

/// What the gateway has seen of peers since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// Connections at this moment, subscribers included.
    pub connections: u64,
    /// Connections that were cut because they passed a bound.
    pub connections_cut: u64,
    /// Connections that ended before their handshake did.
    pub handshakes_failed: u64,
    /// Refusals that were sent, by code.
    pub refusals: Vec<protocol::RefusalCount>,
}

/// What a peer says, with what it costs to keep it.
#[derive(Debug)]
pub struct Received {
    /// What it says.
    pub incoming: Incoming,
    /// Header and body as they came, in bytes: taken from the [`Budget`] until they are given back. 0 for what is always
    /// taken: heartbeats, and the gateway's own [`Event::PeerUnreachable`].
    pub bytes: u64,
}

/// What peers are to be told.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants are documented, and their fields are named like their types")]
pub enum Outgoing {
    /// The engine's answer to a command.
    Reply { to: Origin, reply: Reply },
    /// The server's answer to a command.
    Message { to: Origin, message: Box<protocol::Message> },
    /// An order to a worker.
    Worker { peer: PeerId, message: WorkerMessage },
    /// For PUB. A cancelled task is published as `control.cancel` too.
    Publish(Notice),
    /// A hint to all workers, for PUB.
    Control { kind: ControlKind, task: Option<TaskId> },
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An endpoint could not be bound.
    #[error("failed to bind {endpoint}: {reason}")]
    Bind {
        /// As configured.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// An endpoint that others than this machine can reach, without encryption.
    #[error("refused to bind {endpoint}: it is not a loopback address, and neither CURVE nor allow_insecure is on")]
    Insecure {
        /// As configured.
        endpoint: String,
    },
    /// A socket could not be made.
    #[error("failed to set up a socket: {0}")]
    Socket(#[source] zmq::Error),
    /// The operating system refused a thread or a descriptor.
    #[error("failed to start the gateway's thread: {0}")]
    Thread(#[source] io::Error),
}

/// The gateway's thread is gone, and with it the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway has stopped")]
pub struct Stopped;

/// What the broker tells of itself.
#[derive(Clone, Copy, Debug)]
struct Settings {
    broker_id: Uuid,
    epoch: i64,
    heartbeat_ms: u64,
    worker_timeout_ms: u64,
    payload_bytes_max: u64,
    message_bytes_max: u64,
    unacknowledged_max: u32,
    tracing: Option<Sampling>,
}

/// The bound sockets with their thread. Dropping it stops it.
pub struct Gateway {
    endpoints: Endpoints,
    outbox: Outbox,
    answers: Answers,
    budget: Arc<Budget>,
    traffic: Arc<Traffic>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Binds the sockets and starts carrying. What peers say goes to `inbox`. While enough waits there, or the [`Budget`] is used
    /// up, messages are read on and refused as `overloaded`; heartbeats wait, one a peer. `arrived` is told of each that has
    /// come, and of the end.
    pub fn start(options: Options, inbox: Sender<Received>, arrived: Arc<Notify>) -> Result<Gateway, Error> {
        let sockets = Sockets::bind(&options)?;
        let endpoints = sockets.endpoints.clone();
        let (parcels, outgoing) = crossbeam_channel::bounded(limits::OUTBOX_GROUPS_MAX);
        let wake = Arc::new(Wake::new().map_err(Error::Thread)?);
        let stir = Stir::new().map_err(Error::Thread)?;
        let budget = Arc::new(Budget::new(options.inbox_bytes_max));
        let inbox = Inbox::new(inbox, arrived, options.inbox_events_max, budget.clone());
        let answers = Answers::new();
        let carrier = Carrier::new(options, sockets, outgoing, wake.clone(), stir, inbox, answers.clone());
        let traffic = carrier.traffic();
        let watch = carrier.watch().map_err(Error::Thread)?;
        let shared = Arc::new(Shared::new(carrier));
        let builder = std::thread::Builder::new().name("gateway".to_owned());
        let carried = shared.clone();
        let thread = Some(builder.spawn(move || carried.run(&watch)).map_err(Error::Thread)?);
        Ok(Gateway { endpoints, outbox: Outbox { parcels, wake }, answers, budget, traffic, shared, thread })
    }

    /// Where peers connect to.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Takes what is to be sent.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// The engine's own way to the sockets.
    pub fn line(&self) -> Result<Line, Error> {
        Line::new(self.shared.clone(), self.outbox()).map_err(Error::Thread)
    }

    /// For those who ask from inside of the process.
    pub fn desk(&self) -> Desk {
        Desk::new(self.outbox(), self.answers.clone())
    }

    /// Where the bytes of messages are given back that are done with.
    pub fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    /// What comes and goes.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// Sends what was handed over before, closes the sockets and waits for the thread. Peers that do not take their
    /// last messages within a second lose them.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // An error means that the thread has ended already.
        let _ = self.outbox.put(Parcel::Stop);
        if let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gateway").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.join();
    }
}

/// The way out: groups of messages, sent in order.
#[derive(Clone)]
pub struct Outbox {
    parcels: Sender<Parcel>,
    wake: Arc<Wake>,
}

impl Outbox {
    /// Hands over what is to be sent. Waits only when more than a thousand groups are waiting already.
    pub fn send(&self, group: Vec<Outgoing>) -> Result<(), Stopped> {
        if group.is_empty() {
            return Ok(());
        }
        self.put(Parcel::Group(group))
    }

    fn put(&self, parcel: Parcel) -> Result<(), Stopped> {
        self.parcels.send(parcel).map_err(|_| Stopped)?;
        self.wake.signal();
        Ok(())
    }

    /// Hands over without calling the gateway's thread.
    fn put_silently(&self, group: Vec<Outgoing>) -> Result<(), Stopped> {
        self.parcels.send(Parcel::Group(group)).map_err(|_| Stopped)
    }

    /// Whether something was handed over and is not sent yet.
    fn has_groups(&self) -> bool {
        !self.parcels.is_empty()
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Outbox").field("waiting", &self.parcels.len()).finish()
    }
}
