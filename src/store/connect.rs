//! Sessions: one for writing, with everything set so that its plans never go wrong, and a small pool for reading.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, PgPool};

use super::error::Error;

/// Longest wait for a session. A server on the same network answers in milliseconds or is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The writer has a statement for each combination of things in a group, of which a broker meets a few dozen.
const STATEMENTS_MAX: usize = 512;

/// Sessions of the writer. Plans are made once, with arrays of unknown length on tables that were perhaps empty then:
/// every join must be an index lookup for each array element, whatever the planner believes about sizes. And a broker
/// that is stopped in the middle of a transaction must not keep the lane locked.
const WRITER_SETTINGS: [(&str, &str); 8] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("synchronous_commit", "on"),
    ("idle_in_transaction_session_timeout", "2000"),
    ("timezone", "UTC"),
];

/// Sessions that read. A status request never takes this long; a runaway one must not hold a session for ever.
const READER_SETTINGS: [(&str, &str); 4] =
    [("jit", "off"), ("plan_cache_mode", "force_generic_plan"), ("statement_timeout", "60000"), ("timezone", "UTC")];

fn options(url: &str, role: &str, settings: &[(&str, &str)]) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(url)?;
    Ok(options.application_name(&format!("tasker {role}")).options(settings.iter().copied()))
}

/// A session for writing.
pub(super) async fn writer(url: &str) -> Result<PgConnection, Error> {
    let options = options(url, "writer", &WRITER_SETTINGS)?.statement_cache_capacity(STATEMENTS_MAX);
    match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(Error::unavailable(format!("no session within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

/// A small pool for reading. It connects when it is first used.
pub fn pool(url: &str, connections: u32) -> Result<PgPool, Error> {
    let options = options(url, "reader", &READER_SETTINGS)?;
    Ok(PgPoolOptions::new().max_connections(connections).acquire_timeout(CONNECT_TIMEOUT).connect_lazy_with(options))
}
