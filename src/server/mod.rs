//! The broker as a whole: claims its lane, rebuilds the engine from Postgres, binds the sockets, runs the event loop, and
//! stops in order. Usable from a Rust test as well as from the `tasker` command.

mod admission;
mod clock;
mod descriptors;
mod distribution;
mod ear;
mod event_loop;
mod explained;
mod gathered;
mod handle;
mod health;
mod inbox;
pub mod metrics;
mod reads;
mod recovery;
mod replay;
mod replies;
mod templates;
mod upkeep;
mod writer;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tasker_engine::Effects;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info};
use uuid::Uuid;

use crate::awake::{self, Awake};
use crate::config::{self, Config};
use crate::gateway::{self, Endpoints, Gateway, Outgoing};
use crate::otel::{self, Sampling, Tracer};
use crate::protocol::ControlKind;
use crate::security::Access;
use crate::store;
use clock::Clock;
use event_loop::{End, Input, Parts};
use metrics::{Metrics, Numbers, Observer};

pub use handle::{Handle, Inside, Stage};
pub(crate) use replies::task_summary;

/// What a broker needs to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// All settings; the database's address is taken from `database_url`.
    pub config: Config,
    /// Where Postgres is. Its migrations must be up to date.
    pub database_url: String,
}

/// Why a broker did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that is only looked at when it is needed.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The sockets.
    #[error(transparent)]
    Gateway(#[from] gateway::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A stored template cannot be read any more.
    #[error("failed to read template {template} as stored: {problem}")]
    Template {
        /// `namespace/name@version`.
        template: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The kernel is not to be asked to keep cores awake.
    #[error("broker.keep_awake_ms is set, and {0}")]
    Awake(#[from] awake::Error),
    /// The export of spans.
    #[error(transparent)]
    Otel(#[from] otel::Error),
    /// The operating system refused a thread.
    #[error("failed to start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The sockets are gone.
    #[error(transparent)]
    Stopped(#[from] gateway::Stopped),
    /// Asked to end, and the last changes cannot be made durable in the time given.
    #[error("stopped while Postgres was away: the last changes are not durable, and nobody was told that they are")]
    Unfinished,
    /// Our own fault.
    #[error("the event loop ended by a panic; its message is in the log")]
    Panicked,
}

/// A running broker. Dropping it stops it.
#[derive(Debug)]
pub struct Broker {
    endpoints: Endpoints,
    access: Option<Access>,
    observer: Observer,
    inputs: UnboundedSender<Input>,
    handle: Handle,
    ended: Receiver<Option<Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker and returns when it can be reached. Waits as a standby while another broker holds the lane.
    pub fn start(options: Options) -> Result<Broker, Error> {
        Broker::start_with(options, Handle::default())
    }

    /// The same with a handle that says meanwhile how far it is, and is of no other broker.
    pub fn start_with(options: Options, handle: Handle) -> Result<Broker, Error> {
        let broker_id = Uuid::now_v7();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let Options { config, database_url } = options;
        let security =
            config.secret_key()?.map(|key| gateway::Security { key, access: Access::new(&config.security.peers) });
        let access = security.as_ref().map(|security| security.access.clone());
        let (tracer, exporter) = otel::Exporter::start(&config.otel, broker_id)?.unzip();
        let awake = Awake::open(Duration::from_millis(config.broker.keep_awake_ms))?;
        let clock = Clock::start();
        let lease = Duration::from_secs(config.database.lease_seconds);
        // The writer lives in the loop's own thread: between a decision and its commit nobody has to be woken.
        let writing = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let claimed = writing.block_on(recovery::claim(&database_url, broker_id, lease, &handle))?;
        let epoch = claimed.epoch();
        // The pool's upkeep runs in the runtime that it is made in.
        let _entered = runtime.enter();
        let pool = store::pool(&database_url, config.database.read_connections)?;
        let mut effects = Effects::default();
        let engine = runtime.block_on(recovery::recover(&pool, &config, clock.now(), &mut effects))?;

        let (to_loop, peers) = crossbeam_channel::unbounded();
        let arrived = Arc::new(Notify::new());
        let sampling = tracer.as_ref().map(Tracer::sampling);
        let gateway_options = gateway_options(&config, security, sampling, broker_id, epoch);
        let gateway = Gateway::start(gateway_options, to_loop, arrived.clone())?;
        let (inputs, for_loop) = tokio::sync::mpsc::unbounded_channel();
        let (groups, for_writer) = tokio::sync::mpsc::unbounded_channel();
        let renew_every = lease / 3;
        let health = health::Health::new(broker_id, epoch);
        let metrics = Arc::new(Metrics::new(broker_id, epoch, lease));
        let spans = tracer.as_ref().map(|tracer| tracer.counts().clone());
        let observer = Observer::new(metrics.clone(), gateway.traffic(), spans, inputs.clone());
        let writer =
            writing.spawn(writer::run(claimed, for_writer, inputs.clone(), renew_every, metrics.clone(), awake));
        let (inbox, removed) = tokio::sync::mpsc::unbounded_channel();
        let payload_bytes_max = usize::try_from(config.limits.payload_bytes_max).unwrap_or(usize::MAX);
        let retention = store::retention::Task::from(&config.retention);
        runtime.spawn(upkeep::run(upkeep::Upkeep {
            pool: pool.clone(),
            database_url: database_url.clone(),
            retention,
            metrics: metrics.clone(),
        }));
        let announced = Arc::new(Notify::new());
        let told = inbox::Told { fates: removed, announced: announced.clone() };
        runtime.spawn(inbox::run(pool.clone(), inputs.clone(), told, payload_bytes_max, metrics.clone()));
        let results_bytes_max = config.limits.message_bytes_max;
        let reads = reads::Reads::new(
            runtime.handle().clone(),
            pool.clone(),
            gateway.outbox(),
            inputs.clone(),
            results_bytes_max,
        );
        let recovery = recovery::Recovery { runtime: runtime.handle().clone(), pool, config };
        let ear = ear::Ear::new(gateway.line()?, &writing).map_err(Error::Thread)?;
        let endpoints = gateway.endpoints().clone();
        let budget = gateway.budget();
        let parts = Parts {
            engine,
            clock,
            peers,
            arrived,
            budget,
            inputs: for_loop,
            writer: groups,
            ear,
            reads,
            health,
            numbers: Numbers::new(metrics),
            tracer,
            recovery,
            inbox,
            announced,
        };
        let (desk, shown) = (gateway.desk(), handle.clone());
        let (tell_end, ended) = crossbeam_channel::bounded(1);
        let work = move || {
            let end = event_loop::run(parts, &writing, effects);
            shown.set_stage(Stage::Stopped);
            let _ = gateway.outbox().send(vec![Outgoing::Control { kind: ControlKind::Pause, task: None }]);
            gateway.stop();
            let end = finish(runtime, &writing, writer, end);
            // The lease is given back by now: nobody waits for the collector.
            exporter.into_iter().for_each(otel::Exporter::finish);
            if let Some(error) = &end {
                error!(%error, "the broker has stopped");
            }
            // Nobody may be waiting for the end.
            let _ = tell_end.send(end);
        };
        let builder = std::thread::Builder::new().name("engine".to_owned());
        let thread = builder.spawn(work).map_err(Error::Thread)?;
        handle.open(Inside {
            desk,
            observer: observer.clone(),
            broker_id,
            epoch,
            database_url,
            inputs: inputs.clone(),
        });
        info!(%broker_id, work = ?endpoints.work, events = ?endpoints.events, "the broker is ready");
        Ok(Broker { endpoints, access, observer, inputs, handle, ended, thread: Some(thread) })
    }

    /// Where peers connect to.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The list of peers in force, to be exchanged; none when no keys are demanded.
    pub fn access(&self) -> Option<&Access> {
        self.access.as_ref()
    }

    /// Watches the broker, for as long as anybody likes.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Gets a message when the broker has ended: the reason, if it ended by itself.
    pub fn ended(&self) -> &Receiver<Option<Error>> {
        &self.ended
    }

    /// Finishes the commit that is under way, sends what it allows, and stops. Work that is with workers stays theirs: they
    /// keep their results until a broker is back.
    pub fn stop(self) -> Result<(), Error> {
        self.drain(Duration::ZERO)
    }

    /// Takes no new tasks and hands out no more steps, but what workers report, until they have nothing left to report or
    /// the time is over; then stops as [`stop`](Broker::stop) does.
    pub fn drain(mut self, limit: Duration) -> Result<(), Error> {
        let result = self.join(limit);
        match self.ended.try_recv() {
            Ok(Some(error)) => Err(error),
            Ok(None) | Err(_) => result,
        }
    }

    fn join(&mut self, limit: Duration) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        if self.handle.stage() == Stage::Ready {
            self.handle.set_stage(Stage::Draining);
        }
        // The loop may have ended by itself.
        let _ = self.inputs.send(Input::Stop(limit));
        thread.join().map_err(|_| Error::Panicked)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.join(Duration::ZERO).is_err() {
            error!("the event loop ended by a panic");
        }
    }
}

/// Lets the writer give the lease back, and ends the runtime.
fn finish(runtime: Runtime, writing: &Runtime, writer: tokio::task::JoinHandle<()>, end: End) -> Option<Error> {
    if let End::Failed(Error::Unfinished) = end {
        // It would try until Postgres is back.
        writer.abort();
    }
    if let Err(error) = writing.block_on(writer)
        && error.is_panic()
    {
        error!(%error, "the writer has ended by a panic");
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    match end {
        End::Stopped => None,
        End::Failed(error) => Some(error),
    }
}

fn gateway_options(
    config: &Config,
    security: Option<gateway::Security>,
    tracing: Option<Sampling>,
    broker_id: Uuid,
    epoch: i64,
) -> gateway::Options {
    gateway::Options {
        work: config.endpoints.work.clone(),
        events: config.endpoints.events.clone(),
        allow_insecure: config.endpoints.allow_insecure,
        security,
        connections_max: descriptors::connections_max(config.limits.peers_max) as usize,
        peers_max: config.limits.peers_max as usize,
        peer_bytes_max: config.limits.peer_bytes_max,
        payload_bytes_max: config.limits.payload_bytes_max,
        message_bytes_max: config.limits.message_bytes_max,
        template_bytes_max: config.limits.template_bytes_max,
        tasks_per_command_max: config.limits.tasks_per_command_max,
        inbox_events_max: config.limits.inbox_events_max as usize,
        inbox_bytes_max: config.limits.inbox_bytes_max,
        broker_id,
        epoch,
        heartbeat_ms: config.engine.heartbeat_ms,
        worker_timeout_ms: config.engine.worker_timeout_ms,
        unacknowledged_max: config.limits.unacknowledged_max,
        tracing,
        environment: Some(config.broker.environment.clone()),
        parse_template: templates::compile,
    }
}
