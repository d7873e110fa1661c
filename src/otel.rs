//! Traces for OpenTelemetry: spans of tasks and attempts, told by the engine, go to a collector from a thread of their own.
//! Which ids they have follows from the ids of the tasks (`identity`), so that nothing is stored for them. Sending them needs
//! the feature `otel`; a configuration that asks for it without the feature is refused (`config/check.rs`).

#[cfg(feature = "otel")]
mod client;
#[cfg(feature = "otel")]
mod convert;
#[cfg(feature = "otel")]
mod export;
mod identity;
mod queue;

pub use identity::{Sampling, TaskTrace, again_span, attempt_span, returned_span, task_span, wait_span};
pub use queue::{Counts, Tracer};
#[cfg(not(feature = "otel"))]
pub use without::Exporter;

#[cfg(feature = "otel")]
pub use client::export_timeout;
#[cfg(feature = "otel")]
pub use export::Exporter;

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This program was built without what sends them.
    #[error("otel.endpoint is set, but this program was built without the feature `otel`")]
    NotBuilt,
    /// The exporter does not take its settings, some of which are `OTEL_*` variables.
    #[error("failed to set up the export of spans (otel.endpoint, OTEL_EXPORTER_OTLP_*): {0}")]
    Settings(String),
    /// The operating system refused a thread.
    #[error("failed to start the thread that sends spans: {0}")]
    Thread(#[source] std::io::Error),
}

#[cfg(not(feature = "otel"))]
mod without {
    use uuid::Uuid;

    use super::{Error, Tracer};
    use crate::config;

    /// What would send spans.
    #[derive(Debug)]
    pub enum Exporter {}

    impl Exporter {
        /// Starts nothing, and refuses to where something is to be started.
        pub fn start(config: &config::Otel, _: Uuid) -> Result<Option<(Tracer, Exporter)>, Error> {
            if config.is_on() { Err(Error::NotBuilt) } else { Ok(None) }
        }

        /// There is none.
        pub fn finish(self) {
            match self {}
        }
    }
}
