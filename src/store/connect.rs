//! Sessions: one for writing, with everything set so that its plans never go wrong, and a small pool for reading.

use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, PgPool, Postgres};

use super::error::Error;

/// Longest wait for a session. A server on the same network answers in milliseconds or is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The writer has a statement for each combination of things in a group, of which a broker meets a few dozen.
const STATEMENTS_MAX: usize = 512;

/// Sessions of the writer. Plans are made once, with arrays of unknown length on tables that were perhaps empty then:
/// every join must be an index lookup for each array element, whatever the planner believes about sizes. And a broker
/// that is stopped in the middle of a transaction must not keep the lane locked; one that has given up a session must not
/// have it wait for the lane any longer than the broker did.
const WRITER_SETTINGS: [(&str, &str); 9] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("synchronous_commit", "on"),
    ("idle_in_transaction_session_timeout", "2000"),
    ("lock_timeout", "5000"),
    ("timezone", "UTC"),
];

/// Longest wait for an answer of a session that reads: more than Postgres lets a statement take. No answer by then means
/// that the network has lost the connection.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);

/// Longest recovery, which has no limit on the side of Postgres. A million unfinished steps take some seconds.
pub(super) const RECOVERY_TIMEOUT: Duration = Duration::from_secs(600);

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

/// A session of the pool. One that is not given back is closed, because an answer may still be on its way to it.
pub(super) struct Reader {
    session: Option<PoolConnection<Postgres>>,
}

impl Reader {
    pub async fn take(pool: &PgPool) -> Result<Reader, Error> {
        Ok(Reader { session: Some(pool.acquire().await?) })
    }

    /// To be used again.
    pub fn give_back(mut self) {
        self.session = None;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The pool would wait for the answer before it counts the session as free.
        if let Some(session) = self.session.take() {
            drop(session.detach());
        }
    }
}

impl Deref for Reader {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.session.as_ref().expect("it is taken when the reader goes")
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.session.as_mut().expect("it is taken when the reader goes")
    }
}

/// An answer that has to come in time.
pub(super) async fn within<T, E>(limit: Duration, answer: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    match tokio::time::timeout(limit, answer).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(Error::silent(limit)),
    }
}
