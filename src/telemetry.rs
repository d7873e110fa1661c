//! Logging: where it goes and what it looks like. What is logged is each module's own business.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// Why logging was not set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `RUST_LOG` cannot be understood; the setting was checked when the configuration was read.
    #[error("the log filter `{filter}` is not valid: {source}")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong.
        source: ParseError,
    },
    /// The process logs already.
    #[error("logging was set up before")]
    Twice,
}

/// Sends what is logged from now on to standard error. `RUST_LOG` goes before the configured level.
pub fn start(log: &Log) -> Result<(), Error> {
    let filter =
        std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty()).unwrap_or_else(|| log.level.clone());
    // The driver tells what Postgres remarks on, such as a table that is there already; a filter can ask for it.
    let filter = format!("sqlx=warn,{filter}");
    let filter = EnvFilter::try_new(&filter).map_err(|source| Error::Filter { filter, source })?;
    // What cannot be written is lost. The subscriber would say so on standard error, and panic, in whatever thread it is, when
    // that is what has failed.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| Error::Twice)
}
