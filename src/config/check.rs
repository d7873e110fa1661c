//! What a single value must satisfy beyond its type, and what two of them must satisfy together.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{Config, Http, Otel};
use crate::security::PublicKey;

/// Longest path of a Unix socket that every system takes (`sun_path` has 108 bytes on Linux, NUL included).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Ages that anybody can mean: up to a century.
const DAYS: RangeInclusive<u64> = 0..=36_500;

type Problem = (&'static str, String);

/// The first key that is out of its range, and why.
pub(super) fn check(config: &Config) -> Result<(), Problem> {
    ranges(config)?;
    together(config)?;
    if config.broker.environment.is_empty() {
        return Err(("broker.environment", "must not be empty".to_owned()));
    }
    if config.postgres.data.is_empty() {
        return Err(("postgres.data", "must not be empty".to_owned()));
    }
    if let Some(url) = config.database.url.reveal()
        && !(url.starts_with("postgres://") || url.starts_with("postgresql://"))
    {
        return Err(("database.url", "must begin with postgres:// or postgresql://".to_owned()));
    }
    check_log_level(&config.log.level).map_err(|problem| ("log.level", problem))?;
    for (key, endpoints) in [("endpoints.work", &config.endpoints.work), ("endpoints.events", &config.endpoints.events)]
    {
        if endpoints.is_empty() {
            return Err((key, "must name at least one endpoint".to_owned()));
        }
        for endpoint in endpoints {
            check_endpoint(endpoint).map_err(|problem| (key, problem))?;
            if !config.security.curve && !config.endpoints.allow_insecure && !is_loopback(endpoint) {
                let problem = format!(
                    "{endpoint} can be reached from other machines and would be neither encrypted nor authenticated; \
                     set security.curve = true, bind a loopback address, or set endpoints.allow_insecure = true in a \
                     network that you trust"
                );
                return Err((key, problem));
            }
        }
    }
    http(&config.http)?;
    otel(&config.otel)?;
    keys(config)?;
    check_endpoint(&config.worker.broker).map_err(|problem| ("worker.broker", problem))
}

fn http(http: &Http) -> Result<(), Problem> {
    if http.listen.is_empty() {
        return Ok(());
    }
    check_address(&http.listen).map_err(|problem| ("http.listen", problem))?;
    if http.token_file.is_empty() && !is_loopback(&format!("tcp://{}", http.listen)) {
        let problem = format!(
            "{} can be reached from other machines, where everybody could do everything; set http.token_file, or listen at \
             a loopback address",
            http.listen
        );
        return Err(("http.listen", problem));
    }
    Ok(())
}

fn otel(otel: &Otel) -> Result<(), Problem> {
    let problem = if !otel.is_on() {
        return Ok(());
    } else if cfg!(not(feature = "otel")) {
        "this program was built without the feature `otel` and sends no traces; build it with `--features otel`, or leave \
         the endpoint empty"
            .to_owned()
    } else if otel.endpoint.strip_prefix("http://").is_none_or(str::is_empty) {
        format!(
            "`{}` must begin with http://; for a collector that is not on this machine or in a network that you trust, have \
             one here that forwards",
            otel.endpoint
        )
    } else {
        return Ok(());
    };
    Err(("otel.endpoint", problem))
}

fn keys(config: &Config) -> Result<(), Problem> {
    let Config { security, worker, .. } = config;
    if security.curve && security.secret_key_file.is_empty() {
        let problem =
            "must name the file with the broker's key when security.curve is true; `tasker key new` makes one";
        return Err(("security.secret_key_file", problem.to_owned()));
    }
    if worker.server_public_key.is_empty() != worker.secret_key_file.is_empty() {
        let problem = "worker.server_public_key and worker.secret_key_file belong together".to_owned();
        return Err((
            if worker.secret_key_file.is_empty() { "worker.secret_key_file" } else { "worker.server_public_key" },
            problem,
        ));
    }
    match worker.server_public_key.parse::<PublicKey>() {
        Err(error) if !worker.server_public_key.is_empty() => Err(("worker.server_public_key", error.to_string())),
        _ => Ok(()),
    }
}

fn ranges(config: &Config) -> Result<(), Problem> {
    let Config { broker, database, engine, http, limits, retention, worker, .. } = config;
    let ranges: [(&'static str, u64, RangeInclusive<u64>); 38] = [
        ("broker.shutdown_timeout_seconds", broker.shutdown_timeout_seconds, 0..=3_600),
        ("broker.keep_awake_ms", broker.keep_awake_ms, 0..=60_000),
        ("database.read_connections", database.read_connections.into(), 1..=100),
        ("http.connections_max", http.connections_max.into(), 1..=10_000),
        ("http.read_connections", http.read_connections.into(), 1..=100),
        ("database.lease_seconds", database.lease_seconds, 3..=600),
        ("retention.complete_days", retention.complete_days.into(), DAYS),
        ("retention.cancelled_days", retention.cancelled_days.into(), DAYS),
        ("retention.resolved_days", retention.resolved_days.into(), DAYS),
        ("retention.error_days", retention.error_days.into(), DAYS),
        ("retention.group_log_days", retention.group_log_days.into(), DAYS),
        ("retention.commands_days", retention.commands_days.into(), DAYS),
        ("retention.received_results_days", retention.received_results_days.into(), DAYS),
        ("retention.idempotency_keys_days", retention.idempotency_keys_days.into(), DAYS),
        ("engine.heartbeat_ms", engine.heartbeat_ms, 1_000..=600_000),
        ("engine.worker_timeout_ms", engine.worker_timeout_ms, 3_000..=3_600_000),
        ("engine.recovery_grace_ms", engine.recovery_grace_ms, 0..=600_000),
        ("engine.batch_bytes_max", engine.batch_bytes_max, 1_024..=1 << 30),
        ("engine.batch_steps_max", engine.batch_steps_max.into(), 1..=10_000),
        ("engine.poison_limit", engine.poison_limit.into(), 1..=u64::MAX),
        ("engine.steps_max", engine.steps_max, 1..=u64::MAX),
        ("engine.held_bytes_max", engine.held_bytes_max, 1_048_576..=u64::MAX),
        ("engine.waiters_max", engine.waiters_max.into(), 1..=u64::MAX),
        ("engine.wait_ms_max", engine.wait_ms_max, 1_000..=3_600_000),
        ("engine.worker_concurrency_max", engine.worker_concurrency_max.into(), 1..=u64::MAX),
        ("engine.workers_max", engine.workers_max.into(), 1..=u64::MAX),
        ("limits.message_bytes_max", limits.message_bytes_max, 65_536..=1_073_741_824),
        ("limits.payload_bytes_max", limits.payload_bytes_max, 1_024..=u64::MAX),
        ("limits.tasks_per_command_max", limits.tasks_per_command_max.into(), 1..=u64::MAX),
        ("limits.peers_max", limits.peers_max.into(), 1..=u64::MAX),
        ("limits.peer_bytes_max", limits.peer_bytes_max, 131_072..=u64::MAX),
        ("limits.inbox_events_max", limits.inbox_events_max.into(), 1..=u64::MAX),
        ("limits.inbox_bytes_max", limits.inbox_bytes_max, 65_536..=u64::MAX),
        ("limits.unacknowledged_max", limits.unacknowledged_max.into(), 1..=u64::MAX),
        ("limits.template_bytes_max", limits.template_bytes_max, 1_024..=u64::MAX),
        ("worker.concurrency", worker.concurrency.into(), 1..=u64::MAX),
        ("worker.processes", worker.processes.into(), 0..=1_000),
        ("worker.timeout_seconds", worker.timeout_seconds, 0..=3_600),
    ];
    for (key, value, range) in ranges {
        let (least, most) = (range.start(), range.end());
        if !range.contains(&value) {
            let allowed = match *most {
                u64::MAX => format!("at least {least}"),
                _ => format!("{least} to {most}"),
            };
            return Err((key, format!("{value} is out of range, {allowed} is allowed")));
        }
    }
    Ok(())
}

fn together(config: &Config) -> Result<(), Problem> {
    let Config { engine, limits, worker, .. } = config;
    let least = engine.heartbeat_ms.saturating_mul(3);
    if engine.worker_timeout_ms < least {
        let problem =
            format!("{} is less than three heartbeats (engine.heartbeat_ms), {least}", engine.worker_timeout_ms);
        return Err(("engine.worker_timeout_ms", problem));
    }
    for (key, bytes) in [
        ("limits.payload_bytes_max", limits.payload_bytes_max),
        ("limits.template_bytes_max", limits.template_bytes_max),
    ] {
        if bytes >= limits.message_bytes_max {
            let whole = limits.message_bytes_max;
            return Err((key, format!("{bytes} does not fit into a message (limits.message_bytes_max), {whole}")));
        }
    }
    let least = limits.message_bytes_max.saturating_mul(2);
    if limits.peer_bytes_max < least {
        let problem =
            format!("{} is less than two messages (limits.message_bytes_max), {least}", limits.peer_bytes_max);
        return Err(("limits.peer_bytes_max", problem));
    }
    if limits.inbox_bytes_max < limits.message_bytes_max {
        let problem = format!(
            "{} is less than one message may have (limits.message_bytes_max), {}",
            limits.inbox_bytes_max, limits.message_bytes_max
        );
        return Err(("limits.inbox_bytes_max", problem));
    }
    let concurrency = u64::from(worker.concurrency) * u64::from(worker.processes.max(1));
    if concurrency > engine.worker_concurrency_max.into() {
        let most = engine.worker_concurrency_max;
        let problem = format!("{concurrency} is more than a broker takes (engine.worker_concurrency_max), {most}");
        return Err(("worker.concurrency", problem));
    }
    Ok(())
}

fn check_log_level(filter: &str) -> Result<(), String> {
    // A misspelt level would pass as the name of a module.
    for directive in filter.split(',') {
        if !directive.contains(['=', '[']) && directive.parse::<LevelFilter>().is_err() {
            return Err(format!("`{directive}` is none of error, warn, info, debug, trace, off, nor MODULE=LEVEL"));
        }
    }
    EnvFilter::try_new(filter).map(drop).map_err(|error| format!("`{filter}` is not a log filter: {error}"))
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    if let Some(path) = endpoint.strip_prefix("ipc://") {
        if path.is_empty() {
            return Err(format!("`{endpoint}` has no path"));
        }
        if path.len() > SOCKET_PATH_BYTES_MAX {
            return Err(format!("the path of `{endpoint}` is longer than {SOCKET_PATH_BYTES_MAX} bytes"));
        }
        return Ok(());
    }
    let Some(address) = endpoint.strip_prefix("tcp://") else {
        return Err(format!("`{endpoint}` is neither tcp://ADDRESS:PORT nor ipc:///PATH"));
    };
    check_address(address).map_err(|_| format!("`{endpoint}` must have an address and a port from 0 to 65535"))
}

fn check_address(address: &str) -> Result<(), String> {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(format!("`{address}` must have an address and a port from 0 to 65535")),
    }
}

/// Whether only this machine can reach the endpoint. A name other than `localhost` counts as reachable: what it
/// resolves to may change.
pub fn is_loopback(endpoint: &str) -> bool {
    let Some(address) = endpoint.strip_prefix("tcp://") else {
        return endpoint.starts_with("ipc://");
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
