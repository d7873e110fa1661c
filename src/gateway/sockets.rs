//! The two sockets and their options, all set before the first bind: later ones do not reach what is bound already.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;

use zmq::{Context, Socket, SocketType};

use super::attentive::Attentive;
use super::monitor::{self, Monitor};
use super::zap::{self, Domain, Zap};
use super::{Endpoints, Error, Options};

/// Messages that one peer may leave unread before it counts as unreachable.
const SEND_MESSAGES_MAX: i32 = 1_000;
/// Events that wait for one subscriber; further ones are lost to it. A commit group ends some thousand tasks at once, and
/// whoever reads as fast as it can is to hear of all of them.
const SEND_EVENTS_MAX: i32 = 10_000;
/// Messages of one peer that wait to be read. Their bytes are bounded too (`guard.rs`).
const RECEIVE_MESSAGES_MAX: i32 = 100;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// A connection that does not greet is cut after this time.
const HANDSHAKE_MS: i32 = 5_000;
/// Seconds of silence after which TCP asks whether the other host is still there, the seconds between questions, and
/// how many stay unanswered before the connection is cut. ZMTP's own heartbeats would do the same but are not sent:
/// implementations that do not know them, the `zeromq` crate among them, cut the connection at the first one.
const KEEPALIVE_IDLE_S: i32 = 15;
const KEEPALIVE_INTERVAL_S: i32 = 5;
const KEEPALIVE_COUNT: i32 = 3;
/// How long the last messages may take to leave at the end.
const LINGER_MS: i32 = 1_000;
/// The longest path of a unix socket, without its final NUL.
const IPC_PATH_BYTES_MAX: usize = 107;

/// The two sockets, and their monitors.
pub(super) const SOCKETS: usize = 4;
/// The place of one of them in [`Sockets::all`].
pub(super) const ROUTER: usize = 0;

/// Names of the sockets' monitors within the process; each broker has a context of its own.
const WORK_MONITOR: &str = "work-monitor";
const EVENTS_MONITOR: &str = "events-monitor";

/// The bound sockets. Dropped from top to bottom.
pub(super) struct Sockets {
    pub(super) router: Attentive,
    pub(super) publisher: Attentive,
    pub(super) work_monitor: Monitor,
    pub(super) events_monitor: Monitor,
    pub(super) endpoints: Endpoints,
    /// After the sockets, which ask it for every connection.
    _zap: Option<Zap>,
}

impl Drop for Sockets {
    fn drop(&mut self) {
        monitor::quiet(self.router.socket(), WORK_MONITOR);
        monitor::quiet(self.publisher.socket(), EVENTS_MONITOR);
    }
}

impl Sockets {
    /// Whatever is waited for.
    pub(super) fn all(&self) -> [&Attentive; SOCKETS] {
        [&self.router, &self.publisher, self.work_monitor.socket(), self.events_monitor.socket()]
    }

    /// Whether each of them will tell of what comes next.
    pub(super) fn are_silent(&self) -> bool {
        self.all().iter().all(|socket| socket.is_silent())
    }

    /// Whether a connection may have come or gone.
    pub(super) fn may_tell_of_connections(&self) -> bool {
        [&self.work_monitor, &self.events_monitor].iter().any(|monitor| monitor.socket().may_have_messages())
    }

    pub(super) fn bind(options: &Options) -> Result<Sockets, Error> {
        let context = Context::new();
        let zap =
            options.security.as_ref().map(|security| Zap::start(&context, security.access.clone())).transpose()?;
        let mut router = socket(&context, zmq::ROUTER, options)?;
        router.set_router_mandatory(true).map_err(Error::Socket)?;
        router.set_router_handover(true).map_err(Error::Socket)?;
        // On the wire an XPUB is a PUB; on this side it tells which topics somebody wants.
        let mut publisher = socket(&context, zmq::XPUB, options)?;
        publisher.set_sndhwm(SEND_EVENTS_MAX).map_err(Error::Socket)?;
        if let Some(security) = &options.security {
            zap::demand_keys(&mut router, security, Domain::Work).map_err(Error::Socket)?;
            zap::demand_keys(&mut publisher, security, Domain::Events).map_err(Error::Socket)?;
        }
        let work_monitor = Monitor::watch(&context, &router, WORK_MONITOR)?;
        let events_monitor = Monitor::watch(&context, &publisher, EVENTS_MONITOR)?;
        let endpoints = Endpoints { work: Vec::new(), events: Vec::new() };
        let router = Attentive::new(router).map_err(Error::Socket)?;
        let publisher = Attentive::new(publisher).map_err(Error::Socket)?;
        let mut sockets = Sockets { router, publisher, work_monitor, events_monitor, endpoints, _zap: zap };
        let any_address = options.allow_insecure || options.security.is_some();
        let work = bind_all(sockets.router.socket(), &options.work, any_address)?;
        let events = bind_all(sockets.publisher.socket(), &options.events, any_address)?;
        sockets.endpoints = Endpoints { work, events };
        Ok(sockets)
    }
}

fn socket(context: &Context, kind: SocketType, options: &Options) -> Result<Socket, Error> {
    let socket = context.socket(kind).map_err(Error::Socket)?;
    let message_bytes_max = i64::try_from(options.message_bytes_max).unwrap_or(i64::MAX);
    let set = || {
        socket.set_ipv6(true)?;
        socket.set_sndhwm(SEND_MESSAGES_MAX)?;
        socket.set_rcvhwm(RECEIVE_MESSAGES_MAX)?;
        socket.set_maxmsgsize(message_bytes_max)?;
        socket.set_handshake_ivl(HANDSHAKE_MS)?;
        socket.set_tcp_keepalive(1)?;
        socket.set_tcp_keepalive_idle(KEEPALIVE_IDLE_S)?;
        socket.set_tcp_keepalive_intvl(KEEPALIVE_INTERVAL_S)?;
        socket.set_tcp_keepalive_cnt(KEEPALIVE_COUNT)?;
        socket.set_backlog(BACKLOG)?;
        socket.set_linger(LINGER_MS)
    };
    set().map_err(Error::Socket)?;
    Ok(socket)
}

/// Binds, and says where: with the port that was picked for port 0, with the path for `ipc://*`.
fn bind_all(socket: &Socket, endpoints: &[String], any_address: bool) -> Result<Vec<String>, Error> {
    endpoints.iter().map(|endpoint| bind(socket, endpoint, any_address)).collect()
}

fn bind(socket: &Socket, endpoint: &str, any_address: bool) -> Result<String, Error> {
    let failed = |reason: String| Error::Bind { endpoint: endpoint.to_owned(), reason };
    match endpoint.split_once("://") {
        Some(("tcp", address)) if is_loopback(address) || any_address => {}
        Some(("tcp", _)) => return Err(Error::Insecure { endpoint: endpoint.to_owned() }),
        Some(("ipc", path)) => check_path(path).map_err(failed)?,
        _ => return Err(failed("only tcp:// and ipc:// endpoints can be bound".to_owned())),
    }
    // The binding panics on error numbers that it does not know, such as that of a read-only file system.
    catch_unwind(AssertUnwindSafe(|| socket.bind(endpoint)))
        .map_err(|_| failed("libzmq failed for a reason that has no name here".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    match socket.get_last_endpoint() {
        // With IPv6 on, an IPv4 address comes back in its mapped form.
        Ok(Ok(bound)) => Ok(match bound.strip_prefix("tcp://[::ffff:").and_then(|rest| rest.split_once("]:")) {
            Some((address, port)) => format!("tcp://{address}:{port}"),
            None => bound,
        }),
        Ok(Err(_)) => Err(failed("the bound address is not UTF-8".to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "lo" || IpAddr::from_str(host).is_ok_and(|ip| ip.is_loopback())
}

fn check_path(path: &str) -> Result<(), String> {
    if path == "*" {
        return Ok(());
    }
    if path.len() > IPC_PATH_BYTES_MAX {
        return Err(format!("the path has {} bytes, a unix socket takes {IPC_PATH_BYTES_MAX}", path.len()));
    }
    match Path::new(path).parent() {
        Some(folder) if folder.as_os_str().is_empty() || folder.is_dir() => Ok(()),
        Some(folder) => Err(format!("{} is not a folder", folder.display())),
        None => Err("the path names no file".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_counts_as_loopback() {
        for address in ["127.0.0.1:7570", "127.9.9.9:0", "[::1]:7570", "::1:7570", "lo:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["0.0.0.0:7570", "*:7570", "10.0.0.1:1", "[::]:1", "localhost.example:1", "eth0:1", ""] {
            assert!(!is_loopback(address), "{address}");
        }
    }
}
