//! The configuration: one TOML file that broker and Ruby workers share. Meanings, units and defaults of the options
//! are documented in `config/default.toml`, which is also the list of the keys that exist.

mod check;
mod load;
mod peers;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize, Serializer};

use crate::security::{Peer, SecretKey};

pub use check::is_loopback;
pub(crate) use load::process_environment;
pub use load::{Entry, Error, explain};

/// `config/default.toml`.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// All settings, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The broker process.
    pub broker: Broker,
    /// What the broker binds.
    pub endpoints: Endpoints,
    /// The API, the dashboard, metrics and health checks.
    pub http: Http,
    /// Keys, and who may do what.
    pub security: Security,
    /// The database.
    pub database: Database,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// Times and limits of the engine.
    pub engine: Engine,
    /// Limits at the door.
    pub limits: Limits,
    /// The private Postgres of `tasker up`.
    pub postgres: Postgres,
    /// Logging.
    pub log: Log,
    /// Traces.
    pub otel: Otel,
    /// The Ruby worker process.
    pub worker: Worker,
}

/// `[broker]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Selects the `environments.<name>` overrides of templates.
    pub environment: String,
    /// How long workers may take to report what they run when the broker stops.
    pub shutdown_timeout_seconds: u64,
    /// How long after each commit cores are kept from sleeping; 0 is never.
    pub keep_awake_ms: u64,
}

/// `[endpoints]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// ROUTER endpoints.
    pub work: Vec<String>,
    /// PUB endpoints.
    pub events: Vec<String>,
    /// Whether addresses that other machines can reach may be bound without encryption.
    pub allow_insecure: bool,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port; empty for none.
    pub listen: String,
    /// File with the tokens; empty when none are demanded.
    pub token_file: String,
    /// Names of this host when no tokens are demanded.
    pub hosts: Vec<String>,
    /// Most connections at a time.
    pub connections_max: u32,
    /// Connections to the database for lists and pages.
    pub read_connections: u32,
    /// Keys whose values are not shown.
    pub redact: Vec<String>,
}

/// `[security]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Whether keys are demanded of everybody, on every endpoint.
    pub curve: bool,
    /// File with the broker's secret key.
    pub secret_key_file: String,
    /// Who may connect, and do what.
    pub peers: Vec<Peer>,
}

/// `[database]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Where Postgres is.
    pub url: DatabaseUrl,
    /// Connections for queries.
    pub read_connections: u32,
    /// How long a silent broker keeps its tasks.
    pub lease_seconds: u64,
}

/// `[retention]`: days that things are kept; 0 is for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Tasks that completed.
    pub complete_days: u32,
    /// Tasks that were cancelled.
    pub cancelled_days: u32,
    /// Tasks that an operator resolved.
    pub resolved_days: u32,
    /// Tasks that ended in error.
    pub error_days: u32,
    /// The log of commit groups.
    pub group_log_days: u32,
    /// The audit of commands.
    pub commands_days: u32,
    /// The ledger of results that were not simply accepted.
    pub received_results_days: u32,
    /// Idempotency keys of tasks that have left.
    pub idempotency_keys_days: u32,
    /// Where tasks are written to before they leave; empty for nowhere.
    pub archive_dir: String,
}

/// `[engine]`, as in [`tasker_engine::Config`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "tasker_engine::Config documents the fields")]
pub struct Engine {
    pub heartbeat_ms: u64,
    pub worker_timeout_ms: u64,
    pub recovery_grace_ms: u64,
    pub batch_steps_max: u32,
    pub batch_bytes_max: u64,
    pub poison_limit: u32,
    pub steps_max: u64,
    pub held_bytes_max: u64,
    pub waiters_max: u32,
    pub wait_ms_max: u64,
    pub worker_concurrency_max: u32,
    pub workers_max: u32,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Largest message.
    pub message_bytes_max: u64,
    /// Largest context, result or other payload.
    pub payload_bytes_max: u64,
    /// Most tasks in one `InitializeTask`.
    pub tasks_per_command_max: u32,
    /// Most connections.
    pub peers_max: u32,
    /// Most bytes of a connection that wait to be read or sent.
    pub peer_bytes_max: u64,
    /// Most received commands that wait for the engine.
    pub inbox_events_max: u32,
    /// Most bytes of received messages that are not done with.
    pub inbox_bytes_max: u64,
    /// Most unacknowledged results of a worker.
    pub unacknowledged_max: u32,
    /// Largest template definition.
    pub template_bytes_max: u64,
}

/// `[postgres]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Data folder.
    pub data: String,
    /// Folder with the programs; empty to search.
    pub bin: String,
    /// System user that runs it under root; empty to choose.
    pub user: String,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level or a filter.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// `[otel]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otel {
    /// Where the collector is; empty for no traces.
    pub endpoint: String,
    /// The name of this service; empty for what `OTEL_SERVICE_NAME` says.
    pub service_name: String,
    /// One of so many tasks without a trace gets one; 0 for none.
    pub sample_one_in: u64,
}

impl Otel {
    /// Whether spans are sent.
    pub fn is_on(&self) -> bool {
        !self.endpoint.is_empty()
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(name: String) -> Result<LogFormat, String> {
        match name.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("`{name}` is neither text nor json")),
        }
    }
}

/// `[worker]`: read by `tasker-worker`; here only checked, because the file is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// The broker's work endpoint.
    pub broker: String,
    /// The broker's public key; empty when it demands none.
    pub server_public_key: String,
    /// File with the worker's secret key; empty when none is demanded.
    pub secret_key_file: String,
    /// Name in the fleet; empty to make one.
    pub name: String,
    /// Steps at the same time, in each process.
    pub concurrency: u32,
    /// Processes that run steps; 0 when there is one for all.
    pub processes: u32,
    /// Resident memory of such a process that has it replaced; 0 for none.
    pub max_memory_mb: u64,
    /// Steps that have such a process replaced; 0 for none.
    pub max_steps: u64,
    /// How long a stopping worker waits for its steps.
    pub timeout_seconds: u64,
    /// Of the lines of its log.
    pub log_format: LogFormat,
    /// Namespaces to serve.
    pub namespaces: Vec<String>,
    /// Ruby files and folders to load.
    pub require: Vec<String>,
    /// Template files to register.
    pub templates: Vec<String>,
}

impl Config {
    /// The engine's part.
    pub fn engine(&self) -> tasker_engine::Config {
        let Engine {
            heartbeat_ms,
            worker_timeout_ms,
            recovery_grace_ms,
            batch_steps_max,
            batch_bytes_max,
            poison_limit,
            steps_max,
            held_bytes_max,
            waiters_max,
            wait_ms_max,
            worker_concurrency_max,
            workers_max,
        } = self.engine;
        tasker_engine::Config {
            heartbeat_ms,
            worker_timeout_ms,
            recovery_grace_ms,
            batch_steps_max,
            batch_bytes_max,
            delivery_bytes_max: self.limits.message_bytes_max,
            poison_limit,
            steps_max,
            held_bytes_max,
            waiters_max,
            wait_ms_max,
            worker_concurrency_max,
            workers_max,
            spans: self.otel.is_on(),
        }
    }
}

impl Config {
    /// The broker's key, when connections need one.
    pub fn secret_key(&self) -> Result<Option<SecretKey>, Error> {
        let Security { curve: true, secret_key_file: file, .. } = &self.security else { return Ok(None) };
        let refuse = |error: crate::security::Error| Error::Value {
            origin: file.clone(),
            key: "security.secret_key_file".to_owned(),
            problem: error.to_string(),
        };
        SecretKey::read(Path::new(file)).map(Some).map_err(refuse)
    }
}

impl Default for Config {
    /// The embedded defaults alone.
    fn default() -> Config {
        Config::load(None, []).expect("tests/config.rs loads the embedded defaults")
    }
}

/// A connection string. Shown without its password wherever it is printed or serialized.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Wraps a connection string.
    pub fn new(url: impl Into<String>) -> DatabaseUrl {
        DatabaseUrl(url.into())
    }

    /// The whole connection string, password included; `None` when none is set.
    pub fn reveal(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|url| !url.is_empty())
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatabaseUrl({self})")
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The URL with `****` for the password before the host and for every query parameter whose name speaks of one.
fn masked(url: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let (scheme, rest) = base.split_once("://").unwrap_or(("", base));
    // A password may hold an unescaped `@` or `/`: everything up to the last `@` counts as user and password.
    let mut shown = match rest.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:****@{host}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    if !scheme.is_empty() {
        shown = format!("{scheme}://{shown}");
    }
    if let Some(query) = query {
        let parameters: Vec<String> = query
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}=****"),
                _ => parameter.to_owned(),
            })
            .collect();
        shown = format!("{shown}?{}", parameters.join("&"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://anna:se:cr@et/x@db:5432/tasker", "postgres://anna:****@db:5432/tasker"),
            ("postgres://anna@db/tasker", "postgres://anna@db/tasker"),
            (
                "postgres:///tasker?host=/run&user=a&password=secret",
                "postgres:///tasker?host=/run&user=a&password=****",
            ),
            ("postgresql://a:b@h/d?sslpassword=x", "postgresql://a:****@h/d?sslpassword=****"),
            ("", ""),
        ] {
            assert_eq!(DatabaseUrl::new(url).to_string(), shown);
            assert!(!format!("{:?}", DatabaseUrl::new(url)).contains("secret"));
        }
    }
}
