//! HTTP: health checks, the API, what is there for people. It asks the broker as any client does, and decides nothing.
//!
//! The server is there before the broker is ready, because a standby and a start that hangs have to be seen; and it runs
//! in a thread of its own that gives way to the broker's, so that nobody who looks can hold the broker up.

mod api;
mod bulk;
mod counts;
mod dashboard;
mod events;
pub mod graph;
mod guard;
pub mod json;
mod listen;
pub mod metrics;
pub mod pages;
mod priority;
mod probes;
mod problem;
mod reason;
pub mod redact;
mod sessions;
mod site;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tracing::info;

use crate::config::Config;
use crate::security::{TokenFileError, Tokens};
use crate::server::Handle;
use site::Site;

/// How long open requests may take when the server stops.
const ENDING: Duration = Duration::from_secs(1);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or is none.
    #[error("failed to listen at {address} (http.listen): {source}")]
    Listen {
        /// As configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The tokens are not there.
    #[error("{} (http.token_file) {problem}", file.display())]
    Tokens {
        /// As configured.
        file: PathBuf,
        /// What is wrong.
        problem: TokenFileError,
    },
    /// The operating system refused a thread.
    #[error("failed to start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tokens: Option<Tokens>,
    stop: watch::Sender<bool>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Listens as `[http]` says; `None` when it says nowhere. What cannot be answered before the broker is ready is refused
    /// until then.
    pub fn start(config: &Config, handle: Handle) -> Result<Option<Server>, Error> {
        let http = &config.http;
        if http.listen.is_empty() {
            return Ok(None);
        }
        let tokens = match http.token_file.as_str() {
            "" => None,
            file => {
                Some(Tokens::read(Path::new(file)).map_err(|problem| Error::Tokens { file: file.into(), problem })?)
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("http")
            .on_thread_start(priority::give_way)
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let refused = |source| Error::Listen { address: http.listen.clone(), source };
        let listener = runtime.block_on(TcpListener::bind(&http.listen)).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (stop, stopped) = watch::channel(false);
        let site = Arc::new(Site::new(config, tokens.clone(), handle, stopped.clone()));
        let connections_max = http.connections_max as usize;
        runtime.spawn(listen::serve(listener, router(site), connections_max, stopped));
        info!(%address, tokens = tokens.is_some(), "the API listens");
        Ok(Some(Server { address, tokens, stop, runtime: Some(runtime) }))
    }

    /// Where it listens, with the port that was picked for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The tokens in force, to be read again; none when none are demanded.
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Streams that would never end by themselves are told.
        self.stop.send_replace(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(ENDING);
        }
    }
}

/// The OpenAPI document of the API, JSON text: what is at `/api/v1/openapi.json`.
pub fn openapi() -> String {
    api::document()
}

/// Everything that can be asked. The guard stands before all of it, so that nothing is open by being forgotten.
fn router(site: Arc<Site>) -> Router {
    let routes = Router::new()
        .merge(probes::routes())
        .merge(metrics::routes())
        .merge(sessions::routes())
        .merge(events::routes())
        .merge(dashboard::routes())
        .merge(api::routes())
        .fallback(dashboard::no_such_page)
        .method_not_allowed_fallback(problem::no_such_method);
    guard::before(routes, &site).with_state(site)
}
