//! Sends spans to a collector by OTLP over HTTP, as protobuf, from a thread of its own. What the collector does not take within
//! the exporter's own retries and timeout is dropped and counted: spans are not worth memory without end.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};
use uuid::Uuid;

use super::client::Plain;
use super::queue::{Counts, Record, Tracer};
use super::{Error, Sampling};
use crate::config;

/// Spans that wait for the thread that sends: some seconds of a busy broker, and with errors of full length 20 MB.
const QUEUE_SPANS_MAX: usize = 16_384;

/// Most spans in one request, as in the SDK's own processor.
const REQUEST_SPANS_MAX: usize = 512;

/// How long the first span of a request waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// How long what still waits may take at the end of the broker.
const FINISH: Duration = Duration::from_secs(2);

/// The log says at most this often that spans were dropped.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// The name of this service where nothing else says one.
const SERVICE: &str = "tasker-broker";

/// The thread that sends.
#[derive(Debug)]
pub struct Exporter {
    ended: crossbeam_channel::Receiver<()>,
}

impl Exporter {
    /// Starts it where the configuration has an endpoint. It ends when all that is told to the tracer was sent and nobody can
    /// tell it more.
    pub fn start(config: &config::Otel, broker: Uuid) -> Result<Option<(Tracer, Exporter)>, Error> {
        if !config.is_on() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let endpoint = format!("{}/v1/traces", config.endpoint.trim_end_matches('/'));
        let builder = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(Plain::new());
        let built = builder.with_protocol(Protocol::HttpBinary).with_endpoint(endpoint).build();
        let mut exporter = built.map_err(|error| Error::Settings(error.to_string()))?;
        exporter.set_resource(&resource(&config.service_name, broker));
        let (queue, waiting) = channel(QUEUE_SPANS_MAX);
        let tracer = Tracer::new(queue, Sampling { one_in: config.sample_one_in });
        let counts = tracer.counts().clone();
        let (tell_end, ended) = crossbeam_channel::bounded(1);
        let work = move || {
            run(&runtime, waiting, &exporter, &counts);
            // Nobody may be waiting for it.
            let _ = tell_end.send(());
        };
        std::thread::Builder::new().name("spans".to_owned()).spawn(work).map_err(Error::Thread)?;
        info!(endpoint = config.endpoint, "spans are sent");
        Ok(Some((tracer, Exporter { ended })))
    }

    /// Waits until everything was sent, but two seconds at most. The tracer has to be gone.
    pub fn finish(self) {
        if self.ended.recv_timeout(FINISH).is_err() {
            warn!("the collector of spans does not answer; the last ones are not sent");
        }
    }
}

fn resource(service: &str, broker: Uuid) -> Resource {
    let facts = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", broker.to_string()),
    ];
    let build = |name: Option<&str>| {
        let builder = Resource::builder().with_attributes(facts.clone());
        match name {
            Some(name) => builder.with_service_name(name.to_owned()).build(),
            None => builder.build(),
        }
    };
    if !service.is_empty() {
        return build(Some(service));
    }
    // OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES may have said one.
    let found = build(None);
    let name = found.get(&Key::from_static_str("service.name")).map(|name| name.to_string());
    if name.is_none_or(|name| name.starts_with("unknown_service")) { build(Some(SERVICE)) } else { found }
}

fn run(
    runtime: &Runtime,
    mut waiting: Receiver<Record>,
    exporter: &opentelemetry_otlp::SpanExporter,
    counts: &Arc<Counts>,
) {
    let scope = InstrumentationScope::builder("tasker_core").with_version(env!("CARGO_PKG_VERSION")).build();
    let mut complained: Option<Instant> = None;
    runtime.block_on(async {
        loop {
            let batch = gather(&mut waiting).await;
            if batch.is_empty() {
                return;
            }
            let spans = batch.len() as u64;
            let data: Vec<SpanData> = batch.into_iter().map(|record| record.into_data(&scope)).collect();
            match exporter.export(data).await {
                Ok(()) => counts.count_sent(spans),
                Err(error) => {
                    counts.count_failed(spans);
                    if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                        complained = Some(Instant::now());
                        let (dropped, found_full) = (counts.failed(), counts.found_full());
                        warn!(%error, dropped, found_full, "the collector does not take spans; they are dropped");
                    }
                }
            }
        }
    });
}

/// The next spans; none when there will be none any more.
async fn gather(waiting: &mut Receiver<Record>) -> Vec<Record> {
    let mut batch = Vec::new();
    if waiting.recv_many(&mut batch, REQUEST_SPANS_MAX).await == 0 {
        return batch;
    }
    let until = Instant::now() + GATHER;
    while batch.len() < REQUEST_SPANS_MAX {
        let room = REQUEST_SPANS_MAX - batch.len();
        match timeout_at(until, waiting.recv_many(&mut batch, room)).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    batch
}
