//! A blocking client of the broker: one DEALER for commands, one SUB for events. It matches replies by their
//! correlation id and knows neither what a command means nor how its reply is shown.

mod command;
mod link;
mod subscription;

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::protocol::{DecodeError, ErrorReply, Message, TaskWaited, WaitForTask, decode, encode};
use crate::security::ClientKeys;

pub use command::Command;
use link::Link;
pub use subscription::{Notice, Subscription};

/// A single request waits at most this long at the broker, so that a client notices within it that a broker is gone.
/// Below the broker's `wait_ms_max`.
const WAIT_SLICE: Duration = Duration::from_secs(10);

/// How long a peer may take for the ZMTP handshake, in milliseconds, before the connection is made anew.
const HANDSHAKE_MS: i32 = 5_000;

/// Longest pause between two attempts to connect, in milliseconds: what a user barely notices.
const RECONNECT_MS_MAX: i32 = 500;

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint cannot be used.
    #[error("`{endpoint}` cannot be connected to: {source}")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
        /// What ZeroMQ says.
        source: zmq::Error,
    },
    /// Nobody listens there, or not a broker.
    #[error("no broker could be reached at {endpoint} within {}", seconds(.waited))]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// How long we tried.
        waited: Duration,
    },
    /// The broker does not know the key, or does not let its holder in here.
    #[error("the broker at {endpoint} refused this key")]
    KeyRefused {
        /// The endpoint.
        endpoint: String,
    },
    /// The broker demands a key.
    #[error("the broker at {endpoint} demands a key, and none was given")]
    KeyNeeded {
        /// The endpoint.
        endpoint: String,
    },
    /// There is no encryption there: what was to be secret is not sent.
    #[error("the one who listens at {endpoint} knows no keys, and one was given")]
    NoKeysThere {
        /// The endpoint.
        endpoint: String,
    },
    /// Somebody is there, and closes each connection without a word.
    #[error("{endpoint} broke off each handshake for {}, as a broker does {}", seconds(.waited), suspicion(.has_keys))]
    HandshakeBrokenOff {
        /// The endpoint.
        endpoint: String,
        /// How long we tried.
        waited: Duration,
        /// Whether we have keys.
        has_keys: bool,
    },
    /// The command was sent; whether it was carried out is not known.
    #[error("the broker at {endpoint} was sent the command and did not answer within {}", seconds(.waited))]
    NoAnswer {
        /// The endpoint.
        endpoint: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The broker refused the command.
    #[error("the broker refused the command: {}", .0.message)]
    Refused(Box<ErrorReply>),
    /// The reply is not one that this command has.
    #[error("the broker's reply was not understood: {0}")]
    Reply(String),
    /// ZeroMQ failed.
    #[error("the connection failed: {0}")]
    Socket(#[from] zmq::Error),
}

fn suspicion(has_keys: &bool) -> &'static str {
    if *has_keys { "that has another server key" } else { "that demands a key" }
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// A connection to a broker. Each has an identity of its own, so that replies to an earlier process go nowhere.
pub struct Client {
    /// Closed before the link, which watches it.
    socket: zmq::Socket,
    link: Link,
    endpoint: String,
    has_keys: bool,
    timeout: Duration,
}

impl Client {
    /// Begins to connect to a broker that demands no keys; that nobody is there shows at the first command. `timeout`
    /// bounds each command.
    pub fn connect(endpoint: &str, timeout: Duration) -> Result<Client, Error> {
        Client::connect_with(endpoint, None, timeout)
    }

    /// Begins to connect, with keys if the broker demands them.
    pub fn connect_with(endpoint: &str, keys: Option<&ClientKeys>, timeout: Duration) -> Result<Client, Error> {
        let context = zmq::Context::new();
        let socket = socket(&context, zmq::DEALER, keys)?;
        // Nobody else can guess it, so that nobody else can take this client's place.
        socket.set_identity(Uuid::new_v4().simple().to_string().as_bytes())?;
        let link = Link::watch(&context, &socket, endpoint, keys.is_some())?;
        connect(&socket, endpoint)?;
        Ok(Client { socket, link, endpoint: endpoint.to_owned(), has_keys: keys.is_some(), timeout })
    }

    /// The same connection with another bound for each command.
    pub fn with_timeout(self, timeout: Duration) -> Client {
        Client { timeout, ..self }
    }

    /// Sends a command and waits for its reply.
    pub fn request<C: Command>(&mut self, command: C) -> Result<C::Reply, Error> {
        self.request_within(command, self.timeout)
    }

    /// Waits until the task has ended, or until `limit` is over; then `finished` is `false`.
    ///
    /// A broker that is restarted meanwhile is asked again; one that stays away for the client's time-out is an error.
    pub fn wait_for_task(&mut self, task_id: Uuid, limit: Option<Duration>) -> Result<TaskWaited, Error> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut unanswered = false;
        loop {
            let left = deadline.map_or(WAIT_SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            let slice = left.min(WAIT_SLICE);
            let timeout_ms = u64::try_from(slice.as_millis()).unwrap_or(u64::MAX);
            let command = WaitForTask { correlation_id: Uuid::nil(), task_id, timeout_ms };
            match self.request_within(command, slice + self.timeout) {
                Ok(waited) if waited.finished || left <= slice && deadline.is_some() => return Ok(waited),
                Ok(_) => unanswered = false,
                // A restart lost the command. Asking again is harmless.
                Err(Error::NoAnswer { .. }) if !unanswered => unanswered = true,
                Err(error) => return Err(error),
            }
        }
    }

    fn request_within<C: Command>(&mut self, mut command: C, timeout: Duration) -> Result<C::Reply, Error> {
        let correlation_id = Uuid::new_v4();
        command.set_correlation_id(correlation_id);
        let sent_by = Instant::now() + self.timeout;
        let answered_by = Instant::now() + timeout;
        self.send(&command.into(), sent_by)?;
        loop {
            let frames = self.receive(answered_by, timeout)?;
            let [header, body] = frames.as_slice() else {
                return Err(Error::Reply(format!("it has {} frames instead of 2", frames.len())));
            };
            match decode(header, body) {
                // An error without an id answers a command that the broker could not read: only ours is open.
                Ok(Message::Error(refusal)) if [correlation_id, Uuid::nil()].contains(&refusal.correlation_id) => {
                    return Err(Error::Refused(Box::new(refusal)));
                }
                Ok(message) => match C::reply(message) {
                    Some((id, reply)) if id == correlation_id => return Ok(reply),
                    // The late reply to a command that was given up.
                    _ => {}
                },
                Err(DecodeError(refusal)) if refusal.correlation_id == correlation_id => {
                    return Err(Error::Reply(refusal.message));
                }
                Err(_) => {}
            }
        }
    }

    fn send(&mut self, message: &Message, deadline: Instant) -> Result<(), Error> {
        let (header, body) = encode(message);
        // A command is not parked for a broker that is not there, to be carried out when nobody waits for it.
        if !self.link.await_connection(deadline)? {
            return Err(self.unreachable());
        }
        loop {
            if !poll(&[(&self.socket, zmq::POLLOUT)], deadline)? {
                return Err(self.unreachable());
            }
            match self.socket.send_multipart([header.as_slice(), body.as_slice()], zmq::DONTWAIT) {
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => {}
                sent => return Ok(sent?),
            }
        }
    }

    fn unreachable(&self) -> Error {
        let (endpoint, waited) = (self.endpoint.clone(), self.timeout);
        // A broker with another key cannot read the greeting. One that demands a key usually says so, but its word is lost
        // when it closes the connection before that was read.
        match self.link.broken_off() {
            true => Error::HandshakeBrokenOff { endpoint, waited, has_keys: self.has_keys },
            false => Error::Unreachable { endpoint, waited },
        }
    }

    fn receive(&self, deadline: Instant, waited: Duration) -> Result<Vec<Vec<u8>>, Error> {
        loop {
            if !poll(&[(&self.socket, zmq::POLLIN)], deadline)? {
                return Err(Error::NoAnswer { endpoint: self.endpoint.clone(), waited });
            }
            match self.socket.recv_multipart(zmq::DONTWAIT) {
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => {}
                received => return Ok(received?),
            }
        }
    }
}

/// A DEALER that begins to connect, for whoever speaks the protocol by himself: whoever is somebody else than the one who
/// asks, as a worker is. Several commands may be under way on it.
pub(crate) fn dealer(endpoint: &str, keys: Option<&ClientKeys>) -> Result<zmq::Socket, Error> {
    let socket = socket(&zmq::Context::new(), zmq::DEALER, keys)?;
    socket.set_identity(Uuid::new_v4().simple().to_string().as_bytes())?;
    connect(&socket, endpoint)?;
    Ok(socket)
}

/// Whether a message has come before the deadline.
pub(crate) fn readable(socket: &zmq::Socket, deadline: Instant) -> Result<bool, Error> {
    poll(&[(socket, zmq::POLLIN)], deadline)
}

fn socket(context: &zmq::Context, kind: zmq::SocketType, keys: Option<&ClientKeys>) -> Result<zmq::Socket, Error> {
    let socket = context.socket(kind)?;
    socket.set_linger(0)?;
    socket.set_ipv6(true)?;
    socket.set_handshake_ivl(HANDSHAKE_MS)?;
    socket.set_reconnect_ivl_max(RECONNECT_MS_MAX)?;
    if let Some(ClientKeys { server, own }) = keys {
        socket.set_curve_serverkey(server.bytes())?;
        socket.set_curve_publickey(own.public().bytes())?;
        socket.set_curve_secretkey(own.reveal())?;
    }
    Ok(socket)
}

fn connect(socket: &zmq::Socket, endpoint: &str) -> Result<(), Error> {
    socket.connect(endpoint).map_err(|source| Error::Endpoint { endpoint: endpoint.to_owned(), source })
}

/// Whether one of the sockets is ready before the deadline. A signal does not cut the wait short.
fn poll(sockets: &[(&zmq::Socket, zmq::PollEvents)], deadline: Instant) -> Result<bool, Error> {
    let mut items: Vec<zmq::PollItem<'_>> =
        sockets.iter().map(|(socket, events)| socket.as_poll_item(*events)).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a wait of half a millisecond must not become a busy loop.
        let left_ms = i64::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(i64::MAX);
        match zmq::poll(&mut items, left_ms) {
            Err(zmq::Error::EINTR) => {}
            Ok(0) if Instant::now() < deadline => {}
            ready => return Ok(ready? > 0),
        }
    }
}
